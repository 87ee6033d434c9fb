//go:build !linux

package sim_test

import (
	"bytes"
	"os/exec"
	"testing"
)

func runOnTerminal(t *testing.T, _ *exec.Cmd, _ *bytes.Buffer) error {
	t.Skip("only on Linux do the tests know how to make a terminal")
	return nil
}
