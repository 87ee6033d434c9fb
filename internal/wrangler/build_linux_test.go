package wrangler_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// build.command runs as the user whose credentials this process has, and must not find them in it.
func TestBuildCommandCannotReadItsParent(t *testing.T) {
	const variable, token = "SHOPFLEET_TEST_TOKEN", "in-the-parent-only"
	if os.Getenv(variable) == "" {
		// Again in a process that has the credential from its start, as nobody when we are root.
		program, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		dir, err := os.MkdirTemp("", "shopfleet-test-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		cmd := exec.Command(filepath.Join(dir, "test"), "-test.run=^"+t.Name()+"$", "-test.v")
		text, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(cmd.Path, text, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), variable+"="+token, "TMPDIR="+dir)
		if os.Getuid() == 0 {
			const nobody = 65534
			if err := os.Chown(dir, nobody, nobody); err != nil {
				t.Fatal(err)
			}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		out, err := cmd.CombinedOutput()
		if strings.Contains(string(out), "--- SKIP") {
			t.Skipf("%s", out)
		}
		if err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if canPtrace(t) {
		t.Skip("CAP_SYS_PTRACE reads every process")
	}
	// Before any build.command the parent can be read, or the test would prove nothing.
	if out, err := exec.Command("/bin/sh", "-c", "cat /proc/$PPID/environ").Output(); err != nil || !strings.Contains(string(out), token) {
		t.Skipf("the parent's environment cannot be read anyway: %v", err)
	}
	c := buildProject(t, `( cat /proc/$PPID/environ; ls /proc/$PPID/fd/; cat /proc/$PPID/maps; echo x > /proc/$PPID/fd/1 ) > found 2>&1; mkdir -p ../src; cp handler.ts ../src/index.ts`)
	mustBundle(t, c, wrangler.BundleOptions{Environ: []string{"PATH=" + os.Getenv("PATH")}})
	found, err := os.ReadFile(filepath.Join(c.Dir, "tools", "found"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(found), token) || strings.Count(string(found), "ermission denied") != 4 {
		t.Errorf("build.command found in its parent:\n%s", found)
	}
}

func canPtrace(t *testing.T) bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "CapEff:")
	mask, err := strconv.ParseUint(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	const sysPtrace = 19
	return mask&(1<<sysPtrace) != 0
}
