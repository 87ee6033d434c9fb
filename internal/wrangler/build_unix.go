//go:build unix

package wrangler

import (
	"context"
	"errors"
	"os/exec"
	"syscall"
)

// shellCommand is command for the shell, in a process group of its own which a cancelled ctx kills.
func shellCommand(ctx context.Context, command string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd) }
	return cmd
}

// runInGroup runs the command and ends what it leaves behind.
func runInGroup(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	err := cmd.Wait()
	// The group outlives its leader while a member does; without members there is none to kill.
	if killErr := killGroup(cmd); killErr != nil && !errors.Is(killErr, syscall.ESRCH) && !errors.Is(killErr, syscall.EPERM) && err == nil {
		err = killErr
	}
	return err
}

func killGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

func isSystemVariable(string) bool { return false }
