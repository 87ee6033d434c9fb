package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReadmeByHand runs the README's steps for deploying to the simulator, as
// they are written, in an empty directory.
func TestReadmeByHand(t *testing.T) {
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the README's steps need %s, which is not installed", tool)
		}
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)### Deploy by hand, to the simulator\n+```sh\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("README.md has no steps under \"Deploy by hand, to the simulator\"")
	}
	steps := string(block[1])
	built := strings.Replace(steps, "go build -o shopfleet ./cmd/shopfleet", "(cd '"+root+"' && go build -o \"$OLDPWD/shopfleet\" ./cmd/shopfleet)", 1)
	if built == steps {
		t.Fatal("the README's steps do not build shopfleet")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", built)
	cmd.Dir = t.TempDir()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second // the simulator in the background keeps the pipe open
	out, err := cmd.CombinedOutput()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) // the simulator
	}
	for _, want := range []string{
		"helm-swicked has no secret SESSION_KEY", "swicked  released", `"shop": "swicked"`, `"branch": "shops/swicked"`,
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the README's steps did not show %q (%v):\n%s", want, err, out)
		}
	}
}
