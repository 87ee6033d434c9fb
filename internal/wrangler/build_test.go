//go:build unix

package wrangler_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// buildProject is a Worker whose code build.command writes.
func buildProject(t *testing.T, command string) *wrangler.Config {
	t.Helper()
	return bundleConfig(t, bundleFiles(t, worker(fmt.Sprintf(`"build": { "command": %q, "cwd": "tools" },`, command), map[string]string{
		"tools/handler.ts": fetchHandler,
	})), "")
}

func TestBuildCommandEnvironment(t *testing.T) {
	c := buildProject(t, `env > environment; echo "$HOME" > home; ls -A "$HOME" | grep -v '^\.output-' > leftovers; read line && exit 9; mkdir -p ../src && cp handler.ts ../src/index.ts`)
	mustBundle(t, c, wrangler.BundleOptions{
		NodeEnv: "staging",
		Environ: []string{
			"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "LC_ALL=C", "TZ=UTC",
			"CLOUDFLARE_API_TOKEN=secret", "CLOUDFLARE_ACCOUNT_ID=account", "CF_API_KEY=secret", "GITHUB_TOKEN=secret",
			"ACTIONS_RUNTIME_TOKEN=secret", "NODE_OPTIONS=--require=x", "HOME=/elsewhere", "WRANGLER_COMMAND=dev", "EDITOR=vi",
		},
	})
	text, err := os.ReadFile(filepath.Join(c.Dir, "tools", "environment"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "PWD", "SHLVL", "_", "OLDPWD": // the shell's own
		case "HOME", "PATH":
			got = append(got, name)
		default:
			got = append(got, name+"="+value)
		}
	}
	slices.Sort(got)
	want := []string{"HOME", "LANG=C.UTF-8", "LC_ALL=C", "NODE_ENV=staging", "PATH", "TZ=UTC", "WRANGLER_COMMAND=deploy"}
	if !slices.Equal(got, want) {
		t.Errorf("the environment is %q, want %q", got, want)
	}
	home, err := os.ReadFile(filepath.Join(c.Dir, "tools", "home"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(strings.TrimSpace(string(home))); !errors.Is(err, os.ErrNotExist) || string(home) == "/elsewhere\n" {
		t.Errorf("the home directory %s is still there: %v", home, err)
	}
	if text, err := os.ReadFile(filepath.Join(c.Dir, "tools", "leftovers")); err != nil || len(text) > 0 {
		t.Errorf("the home directory was not empty: %s %v", text, err)
	}
}

func TestBuildCommandFindings(t *testing.T) {
	tests := []struct {
		name, command, cwd string
		want               string
		message, hint      string
	}{
		{
			name:    "it fails",
			command: "echo to stdout; echo to stderr >&2; exit 3",
			want:    "wrangler.jsonc:5:13 build-command",
			message: "build.command ended with exit status 3: echo to stdout",
			hint:    "it printed:\nto stdout\nto stderr",
		},
		{
			name:    "it fails silently",
			command: "exit 1",
			want:    "wrangler.jsonc:5:13 build-command",
			message: "exit status 1",
			hint:    "it printed nothing",
		},
		{
			name:    "it prints more than anybody reads",
			command: "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i é; done; exit 1",
			want:    "wrangler.jsonc:5:13 build-command",
			hint:    "it printed:\nline 2981 é\n",
		},
		{
			name:    "it sends escape sequences",
			command: `printf 'a\033[31m\r\nb\377'; exit 1`,
			want:    "wrangler.jsonc:5:13 build-command",
			hint:    "it printed:\na?[31m?\nb\uFFFD",
		},
		{
			name:    "it is killed",
			command: "kill -9 $$",
			want:    "wrangler.jsonc:5:13 build-command",
			message: "signal: killed",
		},
		{
			name:    "it does not write the entry point",
			command: "true",
			want:    "wrangler.jsonc:3:2 main-missing",
			message: "there is no file src/index.ts after build.command ran",
		},
		{
			name:    "it runs nowhere",
			command: "true",
			cwd:     "gone",
			want:    "wrangler.jsonc:5:32 build-command",
			message: "build.cwd is not a directory: gone",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cwd := test.cwd
			if cwd == "" {
				cwd = "."
			}
			dir := bundleFiles(t, worker(fmt.Sprintf(`"build": { "command": %q, "cwd": %q },`, test.command, cwd), nil))
			_, err := bundleConfig(t, dir, "").Bundle(t.Context(), wrangler.BundleOptions{})
			var findings wrangler.Findings
			if !errors.As(err, &findings) || len(findings) != 1 {
				t.Fatalf("Bundle returned %v", err)
			}
			f := findings[0]
			if got := places(findings)[0]; got != test.want {
				t.Errorf("the finding is at %s, want %s", got, test.want)
			}
			if !strings.Contains(f.Message, test.message) || !strings.HasPrefix(f.Hint, test.hint) {
				t.Errorf("message %q, hint %.200q", f.Message, f.Hint)
			}
		})
	}
}

// listen makes a FIFO in the project and returns a function that opens it once build.command has. Reading it
// ends when no process has it open any more.
func listen(t *testing.T, c *wrangler.Config) func() (*bufio.Reader, error) {
	t.Helper()
	fifo := filepath.Join(c.Dir, "tools", "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	return func() (*bufio.Reader, error) {
		f, err := os.Open(fifo)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { f.Close() })
		return bufio.NewReader(f), nil
	}
}

func TestBuildCommandCancelled(t *testing.T) {
	c := buildProject(t, "exec 3>fifo; trap '' TERM INT; sleep 1000 & echo started >&3; wait")
	open := listen(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := c.Bundle(ctx, wrangler.BundleOptions{})
		done <- err
	}()
	r, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if line, err := r.ReadString('\n'); err != nil || line != "started\n" {
		t.Fatalf("build.command said %q, %v", line, err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Bundle returned %v", err)
	}
	// Ends only when the shell and its sleep are both gone.
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("build.command went on: %q, %v", rest, err)
	}
}

func TestBuildCommandLeavesNothingBehind(t *testing.T) {
	c := buildProject(t, "mkdir -p ../src && cp handler.ts ../src/index.ts; exec 3>fifo; sleep 1000 &")
	open := listen(t, c)
	done := make(chan error, 1)
	go func() {
		_, err := c.Bundle(t.Context(), wrangler.BundleOptions{})
		done <- err
	}()
	r, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Bundle returned %v", err)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("reading until what build.command started is gone: %q, %v", rest, err)
	}
}
