//go:build unix

package git

import (
	"os/exec"
	"syscall"
)

// runGroup runs a command that takes its children along when it is cancelled. git leaves the ones that hold a connection
// behind, and they would go on to push what nobody waits for any more.
func runGroup(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stopped := false
	cmd.Cancel = func() error {
		stopped = true
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
	}
	err := cmd.Run()
	if stopped { // the group outlives its leader while a member does
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	return err
}
