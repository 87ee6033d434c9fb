//go:build !linux

package sim

import "os/exec"

// withParent does nothing where the kernel cannot tie a process to its parent.
func withParent(*exec.Cmd) (done func()) { return func() {} }
