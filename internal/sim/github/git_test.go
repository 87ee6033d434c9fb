package github_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/sim/github"
)

// checkout is a clone that somebody works in.
type checkout struct {
	t   *testing.T
	dir string
}

// run runs git and returns its output and whether it succeeded.
func (c checkout) run(args ...string) (string, bool) {
	c.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C", "GIT_AUTHOR_NAME=w", "GIT_AUTHOR_EMAIL=w@example.com",
		"GIT_COMMITTER_NAME=w", "GIT_COMMITTER_EMAIL=w@example.com"}
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func (c checkout) git(args ...string) string {
	c.t.Helper()
	out, ok := c.run(args...)
	if !ok {
		c.t.Fatalf("git %s: %s", strings.Join(args, " "), out)
	}
	return strings.TrimSpace(out)
}

// fails runs a git that must fail with text in its output.
func (c checkout) fails(text string, args ...string) {
	c.t.Helper()
	out, ok := c.run(args...)
	if ok || !strings.Contains(out, text) {
		c.t.Errorf("git %s: succeeded %v, want a failure with %q:\n%s", strings.Join(args, " "), ok, text, out)
	}
}

func (c checkout) write(name, content string) {
	c.t.Helper()
	path := filepath.Join(c.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		c.t.Fatal(err)
	}
	c.git("add", "-A")
	c.git("commit", "-qm", "write "+name)
}

// remote is a clone URL with a token in it.
func remote(r *github.Repository, token string) string {
	u, _ := url.Parse(r.CloneURL())
	if token != "" {
		u.User = url.UserPassword("x-access-token", token)
	}
	return u.String()
}

func clone(t *testing.T, r *github.Repository, token string, options ...string) checkout {
	t.Helper()
	c := checkout{t, t.TempDir()}
	c.git(append(append([]string{"clone", "-q"}, options...), remote(r, token), ".")...)
	return c
}

func TestGitOverHTTP(t *testing.T) {
	s := newScene(t, github.Options{})
	s.commit(t, "shops/acme", "shop", map[string]string{"a": "1\n"})
	reader, writer := s.actions(t, "contents:read").token, s.actions(t, "contents:write").token

	c := clone(t, s.helm, writer)
	if got := c.git("branch", "-r"); !strings.Contains(got, "origin/shops/acme") || !strings.Contains(got, "origin/HEAD -> origin/main") {
		t.Errorf("branches: %s", got)
	}
	c.git("switch", "-q", "shops/acme")
	c.write("a", "2\n")
	c.git("push", "-q", "origin", "HEAD")
	api := s.as(t, reader)
	tip := c.git("rev-parse", "HEAD")
	if g := api.do(200, "GET", repoPath+"/git/ref/heads/shops/acme", nil); g.text("object", "sha") != tip {
		t.Errorf("after the push the API says %v", g.body)
	}
	c.git("push", "-q", "origin", "HEAD:refs/heads/backup/acme") // brings no objects
	c.git("push", "-q", "origin", ":refs/heads/backup/acme")
	api.do(404, "GET", repoPath+"/git/ref/heads/backup/acme", nil)
	c.fails("refusing to delete the current branch", "push", "-q", "origin", ":refs/heads/main")
	c.fails("deny updating a hidden ref", "push", "-q", "origin", "HEAD:refs/pull/1/head")

	// Leases are compare-and-swap, over several refs with --atomic (wire.md §2c).
	c.git("commit", "-q", "--amend", "-m", "other")
	c.fails("stale info", "push", "-q", "--porcelain", "--atomic", "--force-with-lease=shops/acme:"+strings.Repeat("1", 40), "origin", "HEAD:shops/acme", "HEAD:rebase/acme")
	api.do(404, "GET", repoPath+"/git/ref/heads/rebase/acme", nil)
	c.git("push", "-q", "--atomic", "--force-with-lease=shops/acme:"+tip, "--force-with-lease=rebase/acme:", "origin", "HEAD:shops/acme", "HEAD:rebase/acme")
	api.do(200, "GET", repoPath+"/git/ref/heads/rebase/acme", nil)
	c.fails("", "push", "-q", "--force-with-lease=rebase/acme:", "origin", "HEAD~1:rebase/acme")

	// One ref that cannot be made takes the whole atomic push down, and only itself otherwise.
	c.fails("rejected", "push", "-q", "--atomic", "origin", "HEAD:refs/heads/shops", "HEAD:refs/heads/one")
	api.do(404, "GET", repoPath+"/git/ref/heads/one", nil)
	c.fails("rejected", "push", "-q", "origin", "HEAD:refs/heads/shops", "HEAD:refs/heads/one")
	api.do(200, "GET", repoPath+"/git/ref/heads/one", nil)

	shallow := clone(t, s.helm, writer, "--depth=1", "--branch=shops/acme")
	shallow.write("b", "1\n")
	shallow.git("push", "-q", "origin", "HEAD")
	bare := clone(t, s.helm, reader, "--bare", "--filter=blob:none")
	if got := bare.git("rev-parse", "shops/acme"); got != shallow.git("rev-parse", "HEAD") {
		t.Errorf("the fetched tip is %s", got)
	}
	c.git("fetch", "-q", "origin", shallow.git("rev-parse", "HEAD")) // by sha, as actions/checkout does

	read := clone(t, s.helm, reader)
	read.write("c", "1")
	read.fails("403", "push", "-q", "origin", "HEAD")
	nobody := checkout{t, t.TempDir()}
	nobody.fails("not found", "clone", "-q", remote(s.helm, "pat-nobody"), ".")
	nobody.fails("could not read Username", "clone", "-q", remote(s.helm, ""), ".")
	nobody.fails("Authentication failed", "clone", "-q", remote(s.helm, "wrong"), ".")
	nobody.fails("Authentication failed", "clone", "-q", strings.Replace(remote(s.helm, "wrong"), "helm.git", "..%2F..%2Fhelm.git", 1), ".")
	s.helm.MakePublic()
	clone(t, s.helm, "")
}

func TestWorkflowFilesNeedPermission(t *testing.T) {
	s := newScene(t, github.Options{})
	s.commit(t, "shops/acme", "shop", map[string]string{"a": "1\n"})
	s.commit(t, "main", "ci", map[string]string{".github/workflows/ci.yml": "on: push\n"})
	app := newApp(t, s, map[string]string{"contents": "write", "workflows": "write"}, "")
	without, with := app.token(map[string]string{"contents": "write"}), app.token(nil)
	const refused = "refusing to allow a GitHub App to create or update workflow `.github/workflows/ci.yml` without `workflows` permission"

	c := clone(t, s.helm, without)
	c.git("push", "-q", "origin", "origin/main:refs/heads/copy") // the same files as a branch that is there
	c.git("switch", "-q", "shops/acme")
	c.git("rebase", "-q", "origin/main")
	c.fails(refused, "push", "-q", "-f", "origin", "HEAD:shops/acme")
	tip := c.git("rev-parse", "HEAD")
	c.git("push", "-q", "origin", "HEAD:refs/heads/rebase/acme")
	s.as(t, without).do(403, "PATCH", repoPath+"/git/refs/heads/shops/acme", body{"sha": tip, "force": true})
	c.write(".github/workflows/ci.yml", "on: pull_request\n")
	c.fails(refused, "push", "-q", "origin", "HEAD:refs/heads/new")
	s.actions(t, "contents:write").do(403, "PATCH", repoPath+"/git/refs/heads/shops/acme", body{"sha": tip, "force": true})
	c.git("push", "-q", "-f", remote(s.helm, with), "HEAD:shops/acme")
	c.git("push", "-q", "-f", remote(s.helm, "pat-wanda"), "HEAD:refs/heads/new")
}

func TestLostAnswerOfAPush(t *testing.T) {
	s := newScene(t, github.Options{})
	c := clone(t, s.helm, s.actions(t, "contents:write").token)
	c.write("a", "1\n")
	if _, err := s.Fault(github.Rule{Method: "POST", Path: "git-receive-pack$", Cut: true}); err != nil {
		t.Fatal(err)
	}
	c.fails("", "push", "-q", "origin", "HEAD")
	if g := s.as(t, "pat-rita").do(200, "GET", repoPath+"/git/ref/heads/main", nil); g.text("object", "sha") != c.git("rev-parse", "HEAD") {
		t.Errorf("the push whose answer was lost did not land: %v", g.body)
	}
}

func TestMalformedPushes(t *testing.T) {
	s := newScene(t, github.Options{})
	const a, zeros = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "0000000000000000000000000000000000000000"
	for _, tt := range []struct {
		body   string
		status int
		want   string
	}{
		{"0000", 200, ""}, // git asks so whether it may come in before a long push
		{"", 400, ""}, {"zzzz", 400, ""}, {"0003", 400, ""}, {"ffff", 400, ""}, {"0008abcd", 400, ""}, {"0008abcd0000", 400, ""},
		{pkt(zeros+" "+a+" refs/heads/x\x00report-status") + "0000", 200, "ng refs/heads/x missing necessary objects"},
		{pkt(zeros+" "+a+" refs/heads/../x\x00report-status") + "0000", 200, "ng refs/heads/../x funny refname"},
		{pkt(zeros+" "+a+" refs/heads/x\x00report-status") + "0000PACK\x00\x00\x00\x02\x00\x00\x00\x09garbage", 200, "unpack index-pack abnormal exit"},
		{pkt(a+" "+zeros+" refs/heads/x\x00report-status") + "0000", 200, "ng refs/heads/x"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", s.Git+"/kvick/helm.git/git-receive-pack", strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("x-access-token", "pat-wanda")
		req.Header.Set("Content-Type", "application/x-git-receive-pack-request")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.status || !strings.Contains(string(got), tt.want) {
			t.Errorf("%q: %d %q, want %d and %q", tt.body, resp.StatusCode, got, tt.status, tt.want)
		}
	}
}

func pkt(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }
