package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/git"
	simgithub "github.com/kvick/shopfleet/internal/sim/github"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

// carried is a GitHub with a small product and some shops, a clone of it, and shopfleet as a process of its own, which can be
// killed.
type carried struct {
	t    *testing.T
	hub  *simtest.GitHub
	repo *simgithub.Repository
	on   *git.Repository // the repository on GitHub
	dir  string          // the clone
	env  []string
}

const carriedPolicy = `product: helm
naming:
  branch: "shops/{slug}"
  worker: "helm-{slug}"
  d1: "helm-{slug}-db"
  r2: "helm-{slug}-assets"
  kv: "helm-{slug}-kv"
  hostname: "helm-{slug}.kvick.bike"
accounts:
  kvick-1:
    id: 7f3a0c5e9b1d4826a0e4c2d8f6b19357
    zone: kvick.bike
    max_shops: 500
build_info:
  path: public/build_info.json
`

const carriedConfig = `{
  // The base of every shop.
  "name": "helm",
  "main": "src/index.ts",
  "compatibility_date": "2026-06-01",
  "vars": { "THEME": "plain" },

  // A shop is reached by its own hostname only.
  "workers_dev": false,
  "preview_urls": false,
}
`

// newCarried makes the world with shops that begin where main is. policy is put behind the fleet's.
func newCarried(t *testing.T, policy string, slugs ...string) *carried {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal(err)
	}
	w := &carried{t: t, hub: simtest.NewGitHub(t, simgithub.Options{Unlimited: true})}
	w.repo = w.hub.Repository(t, hubOwner, hubRepo)
	if _, err := w.hub.AddUser(hubOperator, "User"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.repo.SetPermission(hubOperator, "admin"), w.hub.AddToken(hubToken, hubOperator)); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.on, err = git.Open(t.Context(), w.repo.Dir); err != nil {
		t.Fatal(err)
	}
	w.main(map[string]string{
		"fleet.yml": carriedPolicy + policy, "wrangler.jsonc": carriedConfig, "src/index.ts": "export default { fetch: () => new Response('1') }\n",
		"public/index.html": "one\ntwo\nthree\n",
	})
	for _, slug := range slugs {
		w.shop(slug)
	}
	w.dir = filepath.Join(t.TempDir(), "clone")
	w.git(filepath.Dir(w.dir), "clone", "--quiet", "file://"+w.repo.Dir, w.dir)
	w.env = append(os.Environ(), "GITHUB_API_URL="+w.hub.API, "GITHUB_SERVER_URL="+w.hub.Git, "GITHUB_REPOSITORY="+hubOwner+"/"+hubRepo,
		"GITHUB_TOKEN="+hubToken, "CLOUDFLARE_API_TOKEN=")
	return w
}

// main commits to main on GitHub, without anybody being told.
func (w *carried) main(files map[string]string) string { return w.commit("main", "", files) }

func (w *carried) commit(branch, from string, files map[string]string) string {
	w.t.Helper()
	content := map[string][]byte{}
	for name, text := range files {
		content[name] = []byte(text)
	}
	ids, err := w.on.Write(w.t.Context(), git.Draft{Branch: branch, From: from, Message: "change " + branch + "\n", Files: content})
	if err != nil {
		w.t.Fatal(err)
	}
	return ids[0]
}

func (w *carried) shop(slug string) {
	w.t.Helper()
	config := strings.Replace(carriedConfig, "\n}\n", fmt.Sprintf("\n  \"env\": {\n    // %[1]s\n    \"%[1]s\": { \"name\": \"helm-%[1]s\", \"vars\": { \"SHOP_SLUG\": \"%[1]s\" } },\n  },\n}\n", slug), 1)
	w.commit("shops/"+slug, "main", map[string]string{"wrangler.jsonc": config})
	w.commit("shops/"+slug, "main", map[string]string{"shop-overrides/copy.txt": slug + "\n"})
}

func (w *carried) git(dir string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a person", "GIT_AUTHOR_EMAIL=person@example.invalid",
		"GIT_COMMITTER_NAME=a person", "GIT_COMMITTER_EMAIL=person@example.invalid")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// ran is how a run of shopfleet ended.
type ran struct {
	code        int
	out, errors string
}

func (r ran) String() string {
	return fmt.Sprintf("exit code %d\n--- stdout\n%s--- stderr\n%s", r.code, r.out, r.errors)
}

func (w *carried) start(args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	w.t.Helper()
	program, err := exec.LookPath("shopfleet")
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.dir, w.env, &out, &errs
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return cmd, &out, &errs
}

func (w *carried) run(args ...string) ran {
	w.t.Helper()
	cmd, out, errs := w.start(args...)
	_ = cmd.Wait() // its exit code tells
	return ran{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

func (w *carried) must(args ...string) ran {
	w.t.Helper()
	r := w.run(args...)
	if r.code != 0 {
		w.t.Fatalf("shopfleet %s: %v", strings.Join(args, " "), r)
	}
	return r
}

// killed runs shopfleet and kills it at its call number n of GitHub, counted from 0: before the call, or when the call has had
// its effect and nobody has heard of it. It says whether there was such a call.
func (w *carried) killed(n int, effect bool, args ...string) bool {
	w.t.Helper()
	w.hub.ForgetRequests()
	defer w.hub.ClearFaults()
	if effect {
		w.fault(simgithub.Rule{Skip: n, Cut: true})
	}
	w.fault(simgithub.Rule{Skip: n, Count: -1, Drop: true})
	cmd, _, _ := w.start(args...)
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	for {
		select {
		case <-done:
			return slices.ContainsFunc(w.hub.Requests(), func(r simgithub.Request) bool { return r.Fault != 0 })
		case <-time.After(2 * time.Millisecond):
		}
		if slices.ContainsFunc(w.hub.Requests(), func(r simgithub.Request) bool { return r.Fault != 0 }) {
			_ = cmd.Process.Kill()
			<-done
			return true
		}
	}
}

func (w *carried) fault(r simgithub.Rule) {
	w.t.Helper()
	if _, err := w.hub.Fault(r); err != nil {
		w.t.Fatal(err)
	}
}

// api is a call of the operator's, or of whom the token is.
func (w *carried) api(token, method, path string, in, out any) int {
	w.t.Helper()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			w.t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, w.hub.API+"/repos/"+hubOwner+"/"+hubRepo+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && out != nil && resp.StatusCode < 300 {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		w.t.Fatalf("%s %s: %d %s: %v", method, path, resp.StatusCode, text, err)
	}
	return resp.StatusCode
}

// pullOnHub is a pull request as the API shows it.
type pullOnHub struct {
	Number      int
	State       string
	Title, Body string
	Merged      *string `json:"merged_at"`
	Head, Base  struct{ Ref, SHA string }
	Labels      []struct{ Name string }
}

func (w *carried) pulls() []pullOnHub {
	w.t.Helper()
	var all []pullOnHub
	for page := 1; ; page++ {
		var list []pullOnHub
		w.api(hubToken, "GET", fmt.Sprintf("/pulls?state=all&per_page=100&page=%d", page), nil, &list)
		if all = append(all, list...); len(list) < 100 {
			return all
		}
	}
}

// refs are GitHub's branches, without refs/heads/.
func (w *carried) refs() map[string]string {
	w.t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(w.git(w.repo.Dir, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/shopfleet")) {
		name, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		out[strings.TrimPrefix(name, "refs/heads/")] = id
	}
	return out
}

// has says whether a commit can be reached from a branch.
func (w *carried) has(branch, commit string) bool {
	return exec.Command("git", "-C", w.repo.Dir, "merge-base", "--is-ancestor", commit, "refs/heads/"+branch).Run() == nil
}

// The process is killed before each call of GitHub, and after each call's effect. The next run ends where an undisturbed one
// does: the same branches, one pull request for each shop, one issue, and no commit lost.
func TestRebaseKilledAtEveryCall(t *testing.T) {
	slugs := []string{"anna", "bert"}
	build := func(t *testing.T) *carried {
		w := newCarried(t, "rebase:\n  land: manual\n", slugs...)
		w.main(map[string]string{"src/index.ts": "export default { fetch: () => new Response('2') }\n"})
		w.main(map[string]string{"wrangler.jsonc": strings.Replace(carriedConfig, "plain", "green", 1)})
		return w
	}
	undisturbed := build(t)
	undisturbed.hub.ForgetRequests()
	undisturbed.must("rebase")
	atEveryCall(t, len(undisturbed.hub.Requests()), 8, func(t *testing.T, n int, effect bool) {
		w := build(t)
		if !w.killed(n, effect, "rebase") {
			t.Fatal("there was no such call")
		}
		w.must("rebase")
		refs := w.refs()
		if len(refs) != 1+2*len(slugs) {
			t.Errorf("the branches are %v", refs)
		}
		for _, slug := range slugs {
			if head := refs["rebase/"+slug]; !w.has("rebase/"+slug, refs["main"]) || w.git(w.repo.Dir, "rev-list", "--count", refs["main"]+".."+head) != "2" {
				t.Errorf("%s is not carried", slug)
			}
		}
		open := map[string]int{}
		for _, p := range w.pulls() {
			open[p.Base.Ref+" "+p.State]++
		}
		if len(open) != len(slugs) || open["shops/anna open"] != 1 || open["shops/bert open"] != 1 {
			t.Errorf("the pull requests are %v", open)
		}
		var issues []struct {
			PullRequest *struct{} `json:"pull_request"`
		}
		w.api(hubToken, "GET", "/issues?state=all", nil, &issues)
		own := 0
		for _, i := range issues {
			if i.PullRequest == nil {
				own++
			}
		}
		if own != 1 {
			t.Errorf("there are %d issues", own)
		}
		w.hub.ForgetRequests()
		w.must("rebase")
		for _, r := range w.hub.Requests() {
			if r.Method != "GET" && !strings.HasSuffix(r.Path, "git-upload-pack") && !strings.HasSuffix(r.Path, "/graphql") {
				t.Errorf("the run after the next one sends %s %s", r.Method, r.Path)
			}
		}
	})
}

// atEveryCall runs a test for each of the calls that a run makes, before the call and after its effect, side by side.
func atEveryCall(t *testing.T, calls, least int, test func(t *testing.T, n int, effect bool)) {
	t.Helper()
	if calls < least {
		t.Fatalf("a run has only %d calls", calls)
	}
	for n := range calls {
		for _, effect := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d, effect %v", n, effect), func(t *testing.T) {
				t.Parallel()
				test(t, n, effect)
			})
		}
	}
}

// Landing is killed before each call, and after each call's effect.
func TestLandKilledAtEveryCall(t *testing.T) {
	build := func(t *testing.T) (*carried, map[string]string) {
		w := newCarried(t, "", "anna", "bert")
		was := w.refs()
		w.main(map[string]string{"src/index.ts": "export default { fetch: () => new Response('2') }\n"})
		w.must("rebase")
		w.hub.ForgetRequests()
		return w, was
	}
	args := []string{"land", "anna", "bert", "--unchecked"}
	undisturbed, _ := build(t)
	undisturbed.must(args...)
	atEveryCall(t, len(undisturbed.hub.Requests()), 6, func(t *testing.T, n int, effect bool) {
		w, was := build(t)
		if !w.killed(n, effect, args...) {
			t.Fatal("there was no such call")
		}
		w.must(args...)
		w.must("rebase") // which closes what landing left open
		refs := w.refs()
		for _, slug := range []string{"anna", "bert"} {
			branch := "shops/" + slug
			if !w.has(branch, refs["main"]) {
				t.Errorf("main is not in %s", branch)
			}
			if ahead := w.git(w.repo.Dir, "rev-list", "--count", refs["main"]+".."+refs[branch]); ahead != "2" {
				t.Errorf("%s commits ahead", ahead)
			}
			kept := 0
			for name, id := range refs {
				if strings.HasPrefix(name, "backup/"+slug+"/") && id == was[branch] {
					kept++
				}
			}
			if kept != 1 {
				t.Errorf("%d branches keep %s as it was", kept, branch)
			}
		}
		for _, p := range w.pulls() {
			if p.State != "closed" {
				t.Errorf("pull request %d is %s", p.Number, p.State)
			}
		}
	})
}

// Somebody presses a button on a rebase pull request. Whichever it is, the next run makes the shop's branch what it should be,
// and no commit of the shop is missing.
func TestWrongButtons(t *testing.T) {
	for _, method := range []string{"merge", "squash", "rebase"} {
		t.Run(method, func(t *testing.T) {
			w := newCarried(t, "rebase:\n  land: silent\n", "anna")
			w.main(map[string]string{"src/index.ts": "export default { fetch: () => new Response('2') }\n", "public/index.html": "one\ntwo\nthree\nfour\n"})
			w.main(map[string]string{"wrangler.jsonc": strings.Replace(carriedConfig, "plain", "green", 1)})
			w.must("rebase")
			var made pullOnHub
			w.api(hubToken, "POST", "/pulls", map[string]any{"title": "t", "head": "rebase/anna", "base": "shops/anna"}, &made)
			if status := w.api(hubToken, "PUT", fmt.Sprintf("/pulls/%d/merge", made.Number), map[string]any{"merge_method": method}, nil); status != 200 {
				t.Fatalf("the button answers %d", status)
			}
			w.main(map[string]string{"src/index.ts": "export default { fetch: () => new Response('3') }\n"}) // and main goes on
			before := w.refs()
			w.must("rebase")
			w.must("land", "anna", "--unchecked")
			refs := w.refs()
			if !w.has("shops/anna", refs["main"]) {
				t.Error("main is not an ancestor")
			}
			log := w.git(w.repo.Dir, "log", "--format=%an %s", refs["main"]+".."+refs["shops/anna"])
			if log != "shopfleet change shops/anna\nshopfleet change shops/anna" {
				t.Errorf("ahead of main are\n%s", log)
			}
			if changed := w.git(w.repo.Dir, "diff", "--name-only", refs["main"], refs["shops/anna"]); changed != "shop-overrides/copy.txt\nwrangler.jsonc" {
				t.Errorf("the branch differs from main in %q", changed)
			}
			if text := w.git(w.repo.Dir, "show", refs["shops/anna"]+":wrangler.jsonc"); !strings.Contains(text, "green") || !strings.Contains(text, `"SHOP_SLUG": "anna"`) {
				t.Errorf("wrangler.jsonc is\n%s", text)
			}
			found := false
			for name, id := range refs {
				found = found || strings.HasPrefix(name, "backup/anna/") && id == before["shops/anna"]
			}
			if !found {
				t.Error("nothing keeps where the branch was")
			}
		})
	}
}

// appKey is an App's key, once for all tests: making one takes a while.
func appKey(t *testing.T) (*rsa.PrivateKey, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

// asApp lets shopfleet act as an App with these permissions.
func (w *carried) asApp(permissions map[string]string) *simgithub.App {
	w.t.Helper()
	key, secret := appKey(w.t)
	app, err := w.hub.AddApp(simgithub.NewApp{Slug: "shopfleet", Key: &key.PublicKey, Permissions: permissions})
	if err == nil {
		_, err = app.Install(hubOwner)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.env = append(w.env, "GITHUB_TOKEN=", "SHOPFLEET_APP_ID="+fmt.Sprint(app.ID), "SHOPFLEET_APP_PRIVATE_KEY="+secret)
	return app
}

func rebaseApp(with ...string) map[string]string {
	p := map[string]string{"contents": "write", "pull_requests": "write", "issues": "write", "checks": "write", "statuses": "read", "deployments": "read"}
	for _, name := range with {
		p[name] = "write"
	}
	return p
}

// Main changed a workflow. An App that may not push workflows is told so, with the file; one that may pushes it.
func TestRebaseWorkflows(t *testing.T) {
	w := newCarried(t, "", "anna")
	w.main(map[string]string{".github/workflows/deploy.yml": "on: push\njobs: {}\n"})
	before := w.refs()
	w.asApp(rebaseApp())
	r := w.run("rebase")
	if r.code != 1 || !strings.Contains(r.out+r.errors, "app-workflows") || !strings.Contains(r.out+r.errors, ".github/workflows/deploy.yml") {
		t.Fatalf("without the permission: %v", r)
	}
	if after := w.refs(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("branches moved: %v", after)
	}
	w = newCarried(t, "", "anna")
	w.main(map[string]string{".github/workflows/deploy.yml": "on: push\njobs: {}\n"})
	w.asApp(rebaseApp("workflows"))
	w.must("rebase")
	if w.refs()["rebase/anna"] == "" {
		t.Error("with the permission nothing was pushed")
	}
}
