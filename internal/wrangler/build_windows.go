package wrangler

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
)

// shellCommand is command for the shell. A cancelled ctx kills it with its children.
func shellCommand(ctx context.Context, command string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "cmd.exe", "/d", "/s", "/c", command)
	cmd.Cancel = func() error {
		return exec.Command("taskkill.exe", "/T", "/F", "/PID", strconv.Itoa(cmd.Process.Pid)).Run()
	}
	return cmd
}

// runInGroup runs the command.
func runInGroup(cmd *exec.Cmd) error { return cmd.Run() }

// isSystemVariable names what programs do not start without.
func isSystemVariable(name string) bool {
	switch strings.ToUpper(name) {
	case "PATH", "PATHEXT", "SYSTEMROOT", "COMSPEC", "TEMP", "TMP":
		return true
	}
	return false
}
