package sim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// workerdBinary finds real workerd among the judges, or skips the test.
func workerdBinary(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("SHOPFLEET_JUDGE_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "testdata", "judge")
	}
	arch := map[string]string{"amd64": "64", "arm64": "arm64"}[runtime.GOARCH]
	binary, err := filepath.Abs(filepath.Join(dir, "node_modules", "@cloudflare", "workerd-"+runtime.GOOS+"-"+arch, "bin", "workerd"))
	if err == nil {
		_, err = os.Stat(binary)
	}
	if err != nil {
		if os.Getenv("SHOPFLEET_JUDGES") == "require" {
			t.Fatalf("workerd is required and missing: %v", err)
		}
		t.Skipf("no workerd to run Workers with (npm ci in testdata/judge installs it): %v", err)
	}
	return binary
}

// serveWorkerd runs a configuration and returns the port of each of its sockets.
func serveWorkerd(t testing.TB, binary, dir, config string, sockets int) map[string]int {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "config.capnp"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	events, control, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	cmd := exec.Command(binary, "serve", "config.capnp", "--experimental", "--control-fd=3")
	cmd.Dir = dir
	cmd.ExtraFiles = []*os.File{control}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	control.Close()
	t.Cleanup(func() {
		cmd.Process.Kill()
		_ = cmd.Wait() // killed on purpose
	})
	ports := map[string]int{}
	lines := bufio.NewScanner(events)
	for len(ports) < sockets && lines.Scan() {
		var event struct {
			Socket string
			Port   int
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatal(fmt.Errorf("reading %s: %w", lines.Bytes(), err))
		}
		ports[event.Socket] = event.Port
	}
	if len(ports) < sockets {
		cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("workerd did not start:\n%s", stderr.String())
	}
	return ports
}
