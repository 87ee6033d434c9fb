package wrangler_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"mime/multipart"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The judge is the real wrangler, installed by npm under testdata/judge (or $SHOPFLEET_JUDGE_DIR). Tests that
// ask it call requireJudge first: without it they are skipped with a line that says so, or fail when
// $SHOPFLEET_JUDGES is "require".

// repoRoot is the directory of go.mod.
func repoRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("there is no go.mod above the package")
		}
		dir = parent
	}
}

// judgeModules is the node_modules directory the judges are installed in. It may not exist.
func judgeModules(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("SHOPFLEET_JUDGE_DIR")
	if dir == "" {
		dir = filepath.Join(repoRoot(t), "testdata", "judge")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "node_modules")
}

// judgeNode is the node binary that wrangler runs on.
func judgeNode(t testing.TB) string { return filepath.Join(judgeModules(t), ".bin", "node") }

// judgeWrangler is the script that node runs as wrangler.
func judgeWrangler(t testing.TB) string {
	return filepath.Join(judgeModules(t), "wrangler", "bin", "wrangler.js")
}

// requireJudge skips the test when node or wrangler is not installed.
func requireJudge(t testing.TB) {
	t.Helper()
	for _, file := range []string{judgeNode(t), judgeWrangler(t)} {
		if _, err := os.Stat(file); err != nil {
			const line = "the real wrangler is not installed: run npm ci in testdata/judge"
			if os.Getenv("SHOPFLEET_JUDGES") == "require" {
				t.Fatalf("%s (%v)", line, err)
			}
			t.Skipf("%s (%v)", line, err)
		}
	}
}

// judgeEnviron is the environment judges run in: no configuration, credentials or telemetry of whoever runs
// the tests, a home of their own, and no names but this machine's.
func judgeEnviron(t testing.TB, extra ...string) []string {
	t.Helper()
	home := t.TempDir()
	offline := filepath.Join(repoRoot(t), "internal", "wrangler", "testdata", "config", "offline.cjs")
	env := []string{
		"PATH=" + filepath.Dir(judgeNode(t)) + string(os.PathListSeparator) + os.Getenv("PATH"),
		"HOME=" + home,
		"XDG_CONFIG_HOME=" + filepath.Join(home, ".config"),
		"TMPDIR=" + t.TempDir(),
		"CI=true",
		"NO_COLOR=1",
		`NODE_OPTIONS=--require="` + filepath.ToSlash(offline) + `"`,
		"WRANGLER_SEND_METRICS=false",
		"WRANGLER_HIDE_BANNER=true",
		"WRANGLER_LOG_PATH=" + filepath.Join(home, "logs"),
		"DO_NOT_TRACK=1",
	}
	return append(env, extra...)
}

// runWrangler runs the real wrangler in dir, which it may write to: give it a copy made by copyTree.
func runWrangler(t testing.TB, dir string, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	requireJudge(t)
	return runNode(t, dir, nil, append([]string{judgeWrangler(t)}, args...)...)
}

// runNode runs the judges' node in dir with stdin.
func runNode(t testing.TB, dir string, stdin []byte, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	requireJudge(t)
	cmd := exec.CommandContext(t.Context(), judgeNode(t), args...)
	cmd.Dir = dir
	cmd.Env = judgeEnviron(t)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		var exitErr *exec.ExitError
		if !errors.As(err, &exitErr) {
			t.Fatalf("running node %s: %v", strings.Join(args, " "), err)
		}
		exit = exitErr.ExitCode()
	}
	return out.String(), errOut.String(), exit
}

// copyTree copies the directory src to a fresh one and returns that.
func copyTree(t testing.TB, src string) string {
	t.Helper()
	dst := t.TempDir()
	if err := os.CopyFS(dst, os.DirFS(src)); err != nil {
		t.Fatalf("copying %s: %v", src, err)
	}
	// Temporary directories can be reached through a link (macOS); wrangler prints the real path.
	dst, err := filepath.EvalSymlinks(dst)
	if err != nil {
		t.Fatal(err)
	}
	return dst
}

// writeFiles writes files (slash-separated names to contents) below dir.
func writeFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// formPart is one part of an upload.
type formPart struct {
	Name        string
	FileName    string // "" when the part has none
	ContentType string // "" when the part has none
	Content     []byte
}

// readForm reads the multipart body that "wrangler deploy --dry-run --outfile" wrote to path, parts in order.
func readForm(t testing.TB, path string) []formPart {
	t.Helper()
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("wrangler wrote no form: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return parseForm(t, body)
}

// parseForm reads a multipart body, whose first line gives the boundary.
func parseForm(t testing.TB, body []byte) []formPart {
	t.Helper()
	line, _, ok := bytes.Cut(body, []byte("\r\n"))
	boundary, dashes := strings.CutPrefix(string(line), "--")
	if !ok || !dashes {
		t.Fatalf("the body does not begin with a boundary: %.80q", body)
	}
	var parts []formPart
	r := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return parts
		}
		if err != nil {
			t.Fatalf("reading part %d: %v", len(parts), err)
		}
		content, err := io.ReadAll(p)
		if err != nil {
			t.Fatalf("reading part %d: %v", len(parts), err)
		}
		parts = append(parts, formPart{
			Name:        p.FormName(),
			FileName:    p.FileName(),
			ContentType: p.Header.Get("Content-Type"),
			Content:     content,
		})
	}
}
