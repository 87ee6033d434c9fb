package sim_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"unsafe"
)

// runOnTerminal runs a command whose standard output is a terminal, and collects what it shows.
func runOnTerminal(t *testing.T, cmd *exec.Cmd, out *bytes.Buffer) error {
	t.Helper()
	outer, inner, err := openTerminal()
	if err != nil {
		t.Skipf("this system gives out no terminals: %v", err)
	}
	defer outer.Close()
	cmd.Stdout, cmd.Stderr = inner, inner
	if err := cmd.Start(); err != nil {
		inner.Close()
		return err
	}
	inner.Close()
	drain(out, outer)
	return cmd.Wait()
}

// openTerminal makes a pseudo terminal (pts(4)).
func openTerminal() (outer, inner *os.File, err error) {
	outer, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	var unlock, number int32
	for request, value := range map[uintptr]*int32{syscall.TIOCSPTLCK: &unlock, syscall.TIOCGPTN: &number} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, outer.Fd(), request, uintptr(unsafe.Pointer(value))); errno != 0 {
			outer.Close()
			return nil, nil, errno
		}
	}
	inner, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		outer.Close()
	}
	return outer, inner, err
}
