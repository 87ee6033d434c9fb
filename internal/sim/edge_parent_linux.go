package sim

import (
	"os/exec"
	"runtime"
	"syscall"
)

// withParent makes the kernel end the command when this process dies, however it dies: a test that times out, or a
// simulator that is killed, leaves no workerd behind. The kernel watches the thread that starts the command, so the
// caller keeps its thread until done is called, after the command has ended.
func withParent(command *exec.Cmd) (done func()) {
	runtime.LockOSThread()
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return runtime.UnlockOSThread
}
