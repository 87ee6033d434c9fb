package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// newRepo makes an empty repository for a test, under a HOME in which nothing is.
func newRepo(t *testing.T) *Repository {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	r, err := Init(t.Context(), filepath.Join(t.TempDir(), "repo"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// write makes commits and returns their ids.
func write(t *testing.T, r *Repository, drafts ...Draft) []string {
	t.Helper()
	ids, err := r.Write(t.Context(), drafts...)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// git runs git itself, as a person would, for what the package has no method for.
func git(t *testing.T, r *Repository, stdin string, args ...string) string {
	t.Helper()
	out, err := r.run(t.Context(), strings.NewReader(stdin), args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func files(m map[string]string) map[string][]byte {
	b := map[string][]byte{}
	for path, s := range m {
		b[path] = []byte(s)
	}
	return b
}

func TestOpenFindsTheTop(t *testing.T) {
	r := newRepo(t)
	write(t, r, Draft{Branch: "main", Files: files(map[string]string{"src/deep/index.ts": "x"})})
	if err := r.Checkout(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{".", "src", "src/deep"} {
		got, err := Open(t.Context(), filepath.Join(r.Dir, dir))
		if err != nil || got.Dir != r.Dir {
			t.Errorf("Open(%s) = %v, %v; want %s", dir, got, err, r.Dir)
		}
	}
	t.Chdir(filepath.Join(r.Dir, "src"))
	if got, err := Open(t.Context(), "."); err != nil || got.Dir != r.Dir {
		t.Errorf("Open(.) in src = %v, %v; want %s", got, err, r.Dir)
	}
}

func TestOpenBareRepositoryAndWorktree(t *testing.T) {
	r := newRepo(t)
	want := write(t, r, Draft{Branch: "main", Files: files(map[string]string{"a": "x"})})[0]
	bare, tree := filepath.Join(t.TempDir(), "bare.git"), filepath.Join(t.TempDir(), "worktree")
	cmd := exec.Command("git", "clone", "--quiet", "--bare", r.Dir, bare)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	git(t, r, "", "worktree", "add", "--quiet", "--detach", tree, want)
	for _, dir := range []string{bare, tree} {
		r, err := Open(t.Context(), dir)
		if err != nil {
			t.Errorf("Open(%s): %v", dir, err)
			continue
		}
		if b, err := r.Branch(t.Context(), "main"); err != nil || b.Commit() != want {
			t.Errorf("%s: Branch(main) = %v, %v; want %s", dir, b, err, want)
		}
	}
}

func TestOpenNoRepository(t *testing.T) {
	plain := t.TempDir()
	outer := newRepo(t)
	// A .git in which nothing is must not lead to the repository around it.
	broken := filepath.Join(outer.Dir, "broken")
	if err := os.MkdirAll(filepath.Join(broken, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{plain, broken} {
		r, err := Open(t.Context(), dir)
		var none *NotRepositoryError
		if !errors.As(err, &none) || r != nil || !strings.Contains(err.Error(), dir) || none.Hint() == "" {
			t.Errorf("Open(%s) = %v, %v; want a *NotRepositoryError", dir, r, err)
		}
	}
}

// TestConfigurationHasNoSay sets every trap a user, a machine or a repository could, and looks whether one goes off.
func TestConfigurationHasNoSay(t *testing.T) {
	r := newRepo(t)
	home := t.TempDir()
	trap := filepath.Join(home, "sprung")
	script := filepath.Join(home, "trap")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$0 $*\" >> '"+trap+"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	main := write(t, r, Draft{Branch: "main", Files: files(map[string]string{
		".gitattributes": "* filter=trap diff=trap merge=trap text eol=crlf\n",
		"a.txt":          "one\ntwo\n",
	})})[0]
	other := write(t, r, Draft{Branch: "other", From: "main", Files: files(map[string]string{"a.txt": "three\n"})})[0]

	config := fmt.Sprintf(`
[core]
	hooksPath = %[1]s
	fsmonitor = %[2]s
	pager = %[2]s
	editor = %[2]s
	sshCommand = %[2]s
	attributesFile = %[1]s/attributes
	quotePath = true
[filter "trap"]
	smudge = %[2]s
	clean = %[2]s
	process = %[2]s
	required = true
[diff]
	external = %[2]s
	renames = copies
[diff "trap"]
	command = %[2]s
	textconv = %[2]s
[gpg]
	program = %[2]s
[log]
	showSignature = true
[alias]
	for-each-ref = !%[2]s
	rev-parse = !%[2]s
[uploadpack]
	packObjectsHook = %[2]s
[credential]
	helper = !%[2]s
[protocol]
	allow = always
[protocol "ext"]
	allow = always
`, home, script)
	for _, hook := range []string{"reference-transaction", "post-index-change", "pre-commit", "post-checkout", "fsmonitor-watchman"} {
		b, _ := os.ReadFile(script)
		if err := os.WriteFile(filepath.Join(home, hook), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{filepath.Join(home, ".gitconfig"), filepath.Join(r.Dir, ".git", "config")} {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(config); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	t.Setenv("HOME", home)
	t.Setenv("GIT_DIR", filepath.Join(home, "nowhere"))
	t.Setenv("GIT_WORK_TREE", home)
	t.Setenv("GIT_CONFIG_COUNT", "1")
	t.Setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
	t.Setenv("GIT_CONFIG_VALUE_0", script)
	t.Setenv("GIT_EXTERNAL_DIFF", script)
	t.Setenv("GIT_TRACE", trap)

	r, err := Open(t.Context(), r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "out")
	_, err1 := r.Branches(ctx, "")
	trees, err2 := r.Trees(ctx, main)
	err3 := r.Extract(ctx, trees[0], dir)
	changed, err4 := r.Changed(ctx, main, other)
	_, err5 := r.MergeBase(ctx, main, other)
	_, err6 := r.Commit(ctx, main)
	_, err7 := r.Write(ctx, Draft{Branch: "third", From: "main"})
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "a.txt")); string(got) != "one\ntwo\n" {
		t.Errorf("extracted %q; attributes have changed the bytes", got)
	}
	if !slices.Equal(changed, []string{"a.txt"}) {
		t.Errorf("Changed = %q", changed)
	}
	if sprung, err := os.ReadFile(trap); err == nil {
		t.Errorf("a configured program has run:\n%s", sprung)
	}
}

// TestOwnedBySomebodyElse uses git's own switch for testing this.
func TestOwnedBySomebodyElse(t *testing.T) {
	r := newRepo(t)
	list := func(env []string) string {
		cmd := exec.Command("git", "for-each-ref")
		cmd.Dir = r.Dir
		cmd.Env = append(env, "GIT_TEST_ASSUME_DIFFERENT_OWNER=true")
		out, err := cmd.CombinedOutput()
		return fmt.Sprint(string(out), err)
	}
	if got := list(os.Environ()); !strings.Contains(got, "dubious ownership") {
		t.Fatalf("git does not refuse by itself: %s", got)
	}
	if got := list(r.environment()); got != "<nil>" {
		t.Errorf("with our environment: %s", got)
	}
	// The same repository behind a link.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(r.Dir, link); err != nil {
		t.Fatal(err)
	}
	if got := list((&Repository{Dir: link}).environment()); got != "<nil>" {
		t.Errorf("with our environment, through a link: %s", got)
	}
}

func TestErrorSaysWhatGitSaid(t *testing.T) {
	r := newRepo(t)
	_, err := r.run(t.Context(), nil, "rev-parse", "--verify", "nothing")
	var e *Error
	if !errors.As(err, &e) || e.ExitCode != 128 || !strings.Contains(e.Stderr, "fatal:") {
		t.Fatalf("got %#v", err)
	}
	if got := err.Error(); !strings.HasPrefix(got, "git rev-parse --verify nothing: fatal: ") {
		t.Errorf("Error() = %q", got)
	}

	r.Program = filepath.Join(t.TempDir(), "git")
	_, err = r.run(t.Context(), nil, "version")
	if !errors.As(err, &e) || e.ExitCode != -1 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without git: %v", err)
	}
	t.Setenv("PATH", "")
	if _, err = Open(t.Context(), r.Dir); !errors.As(err, &e) || !strings.Contains(e.Hint(), "install git") {
		t.Errorf("without git on the PATH: %v", err)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var k tail
	for i := range 10_000 {
		fmt.Fprintf(&k, "line %d\n", i)
	}
	if got := k.String(); len(got) > tailSize || !strings.HasSuffix(got, "line 9999\n") {
		t.Errorf("%d bytes, ending in %q", len(got), got[len(got)-20:])
	}
}

func TestEchoCanBePasted(t *testing.T) {
	r := newRepo(t)
	want := write(t, r, Draft{Branch: "main"})[0]
	r.Dir = filepath.Join(filepath.Dir(r.Dir), "repo's copy")
	if err := os.Rename(filepath.Join(filepath.Dir(r.Dir), "repo"), r.Dir); err != nil {
		t.Fatal(err)
	}
	var echo bytes.Buffer
	r.Echo = &echo
	if _, err := r.Branches(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if strings.Count(echo.String(), "\n") != 1 {
		t.Fatalf("echo of one command: %q", echo.String())
	}
	out, err := exec.Command("sh", "-c", echo.String()).CombinedOutput()
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%s: %v\n%s", echo.String(), err, out)
	}
}

// waiting is a git that runs until it is told to stop: it waits for questions.
func waiting(t *testing.T, r *Repository) (stop context.CancelFunc, done <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	o, err := r.objects(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := o.out.ReadString('\n')
		ended <- o.broken(err)
	}()
	return cancel, ended
}

func TestCancelEndsGit(t *testing.T) {
	r := newRepo(t)
	stop, done := waiting(t, r)
	stop()
	err := <-done
	var e *Error
	if !errors.Is(err, context.Canceled) || !errors.As(err, &e) || e.ExitCode != -1 {
		t.Errorf("after cancel: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Branches(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
}

func TestCancelInterruptsFirst(t *testing.T) {
	r := newRepo(t)
	note := filepath.Join(t.TempDir(), "note")
	r.Program = filepath.Join(t.TempDir(), "git")
	script := "#!/bin/sh\ntrap 'echo cleaned up > " + note + "; exit 0' INT\necho ready\nwhile :; do sleep 0.01; done\n"
	if err := os.WriteFile(r.Program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o, err := r.objects(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := o.broken(nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
	if got, err := os.ReadFile(note); string(got) != "cleaned up\n" {
		t.Errorf("it was not given the time to clean up: %q, %v", got, err)
	}
}

// TestNonsenseFromGitIsAnError lets a program that is no git answer.
func TestNonsenseFromGitIsAnError(t *testing.T) {
	r := newRepo(t)
	id := write(t, r, Draft{Branch: "main", Files: files(map[string]string{"a": "x"})})[0]
	trees, err := r.Trees(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	r.Program = filepath.Join(t.TempDir(), "git")
	for _, answer := range []string{"", "hello\n", "a b c\n", id + " tree 99\n", id + " tree 99\nxyz", id + " tag 1\nx\n"} {
		script := "#!/bin/sh\nread question\nprintf '%s' '" + answer + "'\necho 'fatal: no git' >&2\nexit 3\n"
		if err := os.WriteFile(r.Program, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err1 := r.Trees(t.Context(), id)
		_, err2 := r.Files(t.Context(), "a", id)
		_, err3 := r.Commit(t.Context(), id)
		for i, err := range []error{err1, err2, err3} {
			if err == nil {
				t.Errorf("method %d takes %q for an answer", i+1, answer)
			}
		}
		var e *Error
		if errors.As(err1, &e) && (e.ExitCode != 3 || !strings.Contains(e.Stderr, "no git")) {
			t.Errorf("after %q: %#v", answer, e)
		}
		if err := r.Extract(t.Context(), trees[0], filepath.Join(t.TempDir(), "out")); err == nil {
			t.Errorf("Extract takes %q for an answer", answer)
		}
	}
	script := "#!/bin/sh\necho git version 2.30.2\n"
	if err := os.WriteFile(r.Program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.check(t.Context()); err == nil || !strings.Contains(err.Error(), "2.31 or newer") {
		t.Errorf("an old git: %v", err)
	}
}

func TestInitRefusesARepository(t *testing.T) {
	r := newRepo(t)
	if _, err := Init(t.Context(), r.Dir); err == nil || !strings.Contains(err.Error(), "is one already") {
		t.Errorf("Init over a repository: %v", err)
	}
}

// TestWriteIsTheSameEverywhere makes the same commits at once and one by one, in another time zone and under another
// name, and the first of them once more with git's own commands.
func TestWriteIsTheSameEverywhere(t *testing.T) {
	drafts := []Draft{
		{Branch: "main", Message: "base", Files: files(map[string]string{"wrangler.jsonc": "{}\n", "src/index.ts": "export {}\n", "empty": ""})},
		{Branch: "shops/swicked", From: "main", Message: "overlay", When: time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600)),
			Files: files(map[string]string{"wrangler.jsonc": `{"env":{}}`, "shop-overrides/ä \"quoted\" \\ name": "x"})},
		{Branch: "shops/swicked", Message: "less", Remove: []string{"src", "not-there"}},
	}
	first := write(t, newRepo(t), drafts...)
	t.Setenv("TZ", "Asia/Tokyo")
	t.Setenv("GIT_AUTHOR_NAME", "somebody")
	r := newRepo(t)
	var second []string
	for _, d := range drafts { // one process each
		second = append(second, write(t, r, d)...)
	}
	if !slices.Equal(first, second) {
		t.Errorf("ids differ: %v, %v", first, second)
	}
	byHand := exec.Command("git", "commit-tree", git(t, r, "", "rev-parse", first[0]+"^{tree}"))
	byHand.Dir, byHand.Stdin = r.Dir, strings.NewReader("base")
	byHand.Env = append(r.environment(), "GIT_AUTHOR_NAME=shopfleet", "GIT_AUTHOR_EMAIL=shopfleet@example.invalid", "GIT_AUTHOR_DATE=1767225600 +0000",
		"GIT_COMMITTER_NAME=shopfleet", "GIT_COMMITTER_EMAIL=shopfleet@example.invalid", "GIT_COMMITTER_DATE=1767225600 +0000")
	if id, err := byHand.Output(); err != nil || strings.TrimSpace(string(id)) != first[0] {
		t.Errorf("git commit-tree makes %s, %v; want %s", id, err, first[0])
	}
	c, err := r.Commit(t.Context(), first[1])
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject != "overlay" || c.AuthorDate.Format(time.RFC3339) != "2026-03-04T04:06:07Z" || !slices.Equal(c.Parents, first[:1]) {
		t.Errorf("Commit = %+v", c)
	}
	trees, err := r.Trees(t.Context(), first...)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, e := range trees[2] {
		paths = append(paths, e.Path)
	}
	if want := []string{"empty", "shop-overrides/ä \"quoted\" \\ name", "wrangler.jsonc"}; !slices.Equal(paths, want) {
		t.Errorf("paths = %q; want %q", paths, want)
	}
	// The same objects, made by git's other commands.
	hash := git(t, r, "export {}\n", "hash-object", "--stdin")
	if i := slices.IndexFunc(trees[0], func(e Entry) bool { return e.Path == "src/index.ts" }); i < 0 || trees[0][i].ID != hash {
		t.Errorf("src/index.ts is not %s in %v", hash, trees[0])
	}
	if fsck := git(t, r, "", "fsck", "--strict"); fsck != "" {
		t.Errorf("fsck: %s", fsck)
	}
}

func TestWriteRefusesBadBranches(t *testing.T) {
	r := newRepo(t)
	for _, name := range []string{"", "a b", "a\nM 100644 inline x", "a..b", "a.lock", "a~1", "@{-1}"} {
		if ids, err := r.Write(t.Context(), Draft{Branch: name}); err == nil {
			t.Errorf("Write to %q = %v", name, ids)
		}
	}
}

func TestCheckout(t *testing.T) {
	r := newRepo(t)
	if head, err := r.Head(t.Context()); err != nil || head != "main" {
		t.Errorf("Head before the first commit = %q, %v", head, err)
	}
	write(t, r,
		Draft{Branch: "main", Files: files(map[string]string{"a": "main", "b": "main"})},
		Draft{Branch: "shops/swicked", From: "main", Files: files(map[string]string{"a": "swicked"}), Remove: []string{"b"}})
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(r.Dir, name))
		if err != nil {
			return "none"
		}
		return string(b)
	}
	for _, step := range []struct{ branch, a, b string }{{"main", "main", "main"}, {"shops/swicked", "swicked", "none"}, {"main", "main", "main"}} {
		if err := r.Checkout(t.Context(), step.branch); err != nil {
			t.Fatal(err)
		}
		if a, b := read("a"), read("b"); a != step.a || b != step.b {
			t.Errorf("on %s: a = %s, b = %s", step.branch, a, b)
		}
		if head, err := r.Head(t.Context()); err != nil || head != step.branch {
			t.Errorf("on %s: Head = %q, %v", step.branch, head, err)
		}
		if got := git(t, r, "", "status", "--porcelain"); got != "" {
			t.Errorf("on %s: status %q", step.branch, got)
		}
	}
	git(t, r, "", "checkout", "--quiet", "--detach")
	if head, err := r.Head(t.Context()); err != nil || head != "" {
		t.Errorf("Head of no branch = %q, %v", head, err)
	}
	if err := r.Checkout(t.Context(), "--force"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Checkout(--force): %v", err)
	}
}
