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
	byHand(t, "README.md", "### Deploy by hand, to the simulator", 1,
		"helm-swicked has no secret SESSION_KEY", "swicked  released", `"shop": "swicked"`, `"branch": "shops/swicked"`)
}

// TestGitHubByHand does the same with the last steps of docs/github.md.
func TestGitHubByHand(t *testing.T) {
	byHand(t, "docs/github.md", "## Try it without GitHub", 2,
		"to create  .github/workflows/deploy.yml", "created    .github/workflows/plan.yml", "main -> main",
		"unchanged  .github/workflows/deploy-shop.yml", "swicked  checked", "### ✅ `swicked`: released", "known good  live")
}

// TestRebaseOnSimulator does the same with docs/rebase.md.
func TestRebaseOnSimulator(t *testing.T) {
	byHand(t, "docs/rebase.md", "## Try it without GitHub", 1,
		"nothing was written", "pull request 2 of 2: swicked", `"title":"Rebase swicked onto main`, "landed: swicked", "swicked: the shop's overlay", "1 current")
}

// TestRollbackByHand does the same with docs/rollback.md.
func TestRollbackByHand(t *testing.T) {
	byHand(t, "docs/rollback.md", "## Try it on the simulator", 1,
		"swicked  rollback to version ", "known good", "safe: the code alone goes back", "swicked  rolled back to version ",
		"[shop-held]", "wrong colour", "swicked is held no more")
}

// byHand runs the first blocks of commands under a heading of a page, and wants to see texts in what they print.
func byHand(t *testing.T, page, heading string, blocks int, wants ...string) {
	t.Helper()
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the steps of %s need %s, which is not installed", page, tool)
		}
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), heading+"\n")
	found := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, blocks)
	if len(found) != blocks {
		t.Fatalf("%s has %d blocks of steps under %q, want %d", page, len(found), heading, blocks)
	}
	steps := ""
	for _, block := range found {
		steps += block[1]
	}
	built := strings.Replace(steps, "go build -o shopfleet ./cmd/shopfleet", "(cd '"+root+"' && go build -o \"$OLDPWD/shopfleet\" ./cmd/shopfleet)", 1)
	if built == steps {
		t.Fatalf("the steps of %s do not build shopfleet", page)
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
	for _, want := range wants {
		if !strings.Contains(string(out), want) {
			t.Errorf("the steps of %s did not show %q (%v):\n%s", page, want, err, out)
		}
	}
}
