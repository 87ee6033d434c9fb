//go:build !unix

package git

import (
	"os/exec"
	"strconv"
)

// runGroup runs a command that takes its children along when it is cancelled. git leaves the ones that hold a connection
// behind, and they would go on to push what nobody waits for any more.
func runGroup(cmd *exec.Cmd) error {
	cmd.Cancel = func() error {
		return exec.Command("taskkill.exe", "/T", "/F", "/PID", strconv.Itoa(cmd.Process.Pid)).Run()
	}
	return cmd.Run()
}
