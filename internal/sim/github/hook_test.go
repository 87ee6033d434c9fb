package github_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim/github"
)

// receiver takes webhooks.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []hook
	status int
}

type hook struct {
	header http.Header
	raw    []byte
	body   map[string]any
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{status: 200}
	r.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		raw, _ := io.ReadAll(req.Body)
		h := hook{header: req.Header, raw: raw}
		json.Unmarshal(raw, &h.body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, h)
		rw.WriteHeader(r.status)
		io.WriteString(rw, "heard")
	}))
	t.Cleanup(r.Close)
	return r
}

// take returns what came since the last time, after everything owed has been delivered.
func (r *receiver) take(s *scene) []hook {
	s.Settle()
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

func (r *receiver) answers(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

var everyEvent = []string{"push", "pull_request", "issue_comment", "deployment", "deployment_status", "check_run", "create", "delete", "workflow_dispatch"}

var appGrant = map[string]string{
	"contents": "write", "workflows": "write", "pull_requests": "write", "issues": "write", "deployments": "write", "checks": "write", "actions": "write", "statuses": "write",
}

// keyPaths are the names of all members of an object, as paths through objects.
func keyPaths(v any, at string, into map[string]bool) {
	m, ok := v.(map[string]any)
	if !ok {
		return
	}
	for k, sub := range m {
		p := at + "/" + k
		into[p] = true
		keyPaths(sub, p, into)
	}
}

// TestWebhookPayloads holds each payload against a recorded one: whatever GitHub sends is there.
func TestWebhookPayloads(t *testing.T) {
	hooks := newReceiver(t)
	s := newScene(t, github.Options{})
	s.commit(t, "main", "ci", map[string]string{".github/workflows/hello.yml": "on:\n  workflow_dispatch:\n    inputs:\n      name: {}\n"})
	sha := s.commit(t, "topic", "topic", map[string]string{"a": "1\n"})
	app := newApp(t, s, appGrant, hooks.URL+"/hook", everyEvent...)
	c := s.as(t, app.token(nil))

	c.do(201, "POST", repoPath+"/git/refs", body{"ref": "refs/heads/shops/acme", "sha": sha})
	c.do(204, "DELETE", repoPath+"/git/refs/heads/shops/acme", nil)
	c.do(201, "POST", repoPath+"/pulls", body{"title": "t", "head": "topic", "base": "main"})
	comment := c.do(201, "POST", repoPath+"/issues/1/comments", body{"body": "/rollback"}).number("id")
	c.do(200, "PATCH", fmt.Sprintf("%s/issues/comments/%d", repoPath, comment), body{"body": "new"})
	id := c.do(201, "POST", repoPath+"/deployments", body{"ref": "topic", "auto_merge": false, "required_contexts": []string{}}).number("id")
	c.do(201, "POST", fmt.Sprintf("%s/deployments/%d/statuses", repoPath, id), body{"state": "success"})
	run := c.do(201, "POST", repoPath+"/check-runs", body{"name": "n", "head_sha": sha, "conclusion": "neutral", "output": body{"title": "T", "summary": "S"}}).number("id")
	c.do(201, "POST", fmt.Sprintf("%s/check-runs/%d/rerequest", repoPath, run), nil)
	c.do(204, "POST", repoPath+"/actions/workflows/hello.yml/dispatches", body{"ref": "main", "inputs": body{"name": "x"}})
	side := s.commit(t, "side", "side", map[string]string{"b": "1\n"})
	c.do(200, "PATCH", repoPath+"/git/refs/heads/topic", body{"sha": side, "force": true})
	c.do(200, "PATCH", repoPath+"/pulls/1", body{"state": "closed"})

	got := map[string][]hook{}
	for _, h := range hooks.take(s) {
		name := h.header.Get("X-GitHub-Event")
		if action, ok := h.body["action"].(string); ok {
			name += "." + action
		}
		got[name] = append(got[name], h)
		mac := hmac.New(sha256.New, []byte("It's a Secret to Everybody"))
		mac.Write(h.raw)
		if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); h.header.Get("X-Hub-Signature-256") != want {
			t.Errorf("%s: signature %q, want %q", name, h.header.Get("X-Hub-Signature-256"), want)
		}
		if !strings.HasPrefix(h.header.Get("User-Agent"), "GitHub-Hookshot/") || len(h.header.Get("X-GitHub-Delivery")) != 36 || h.header.Get("X-GitHub-Hook-Installation-Target-Type") != "integration" ||
			h.header.Get("X-GitHub-Hook-ID") == "" || h.header.Get("X-GitHub-Hook-Installation-Target-ID") != fmt.Sprint(app.ID) || h.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: headers %v", name, h.header)
		}
	}
	for name, example := range map[string]string{
		"push": "push.with-new-branch", "create": "create.with-installation", "delete": "delete", "pull_request.opened": "pull_request.opened",
		"pull_request.synchronize": "pull_request.synchronize", "pull_request.closed": "pull_request.closed", "issue_comment.created": "issue_comment.created.with-installation",
		"issue_comment.edited": "issue_comment.edited", "deployment.created": "deployment.created", "deployment_status.created": "deployment_status.created.with-installation",
		"check_run.rerequested": "check_run.rerequested", "workflow_dispatch": "workflow_dispatch", "check_run.created": "", "check_run.completed": "",
	} {
		t.Run(name, func(t *testing.T) {
			if len(got[name]) == 0 {
				t.Fatalf("was not sent; there were %v", got)
			}
			if example == "" {
				return
			}
			holdsRecorded(t, example, got[name][0].body)
			if got[name][0].body["installation"] == nil {
				t.Error("lacks installation")
			}
		})
	}
	forced := got["push"][len(got["push"])-1].body
	if forced["forced"] != true || forced["after"] != side || forced["ref"] != "refs/heads/topic" {
		t.Errorf("forced push: %v %v %v", forced["forced"], forced["after"], forced["ref"])
	}
}

// holdsRecorded holds a payload against a recorded one: whatever GitHub sends is there.
func holdsRecorded(t *testing.T, example string, sent map[string]any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "testdata", "contracts", "github", "webhooks", example+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var recorded map[string]any
	if err := json.Unmarshal(raw, &recorded); err != nil {
		t.Fatal(err)
	}
	want, have := map[string]bool{}, map[string]bool{}
	keyPaths(recorded, "", want)
	keyPaths(sent, "", have)
	var lacking []string
	for p := range want {
		parent := p[:strings.LastIndexByte(p, '/')]
		if !have[p] && (parent == "" || have[parent] && isObject(sent, parent)) {
			lacking = append(lacking, p)
		}
	}
	sort.Strings(lacking)
	// The commits here are by nobody who has an account, and what an App may is its own.
	lacking = slices.DeleteFunc(lacking, func(p string) bool {
		return strings.HasSuffix(p, "/username") || strings.Contains(p, "/app/permissions/")
	})
	if len(lacking) > 0 {
		t.Errorf("lacks %v", lacking)
	}
}

// isObject tells whether the value at a path is an object that has members.
func isObject(v any, path string) bool {
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		m, ok := v.(map[string]any)
		if !ok {
			return false
		}
		v = m[part]
	}
	m, ok := v.(map[string]any)
	return ok && len(m) > 0
}

func TestDeliveries(t *testing.T) {
	hooks := newReceiver(t)
	s := newScene(t, github.Options{})
	app := newApp(t, s, map[string]string{"contents": "read"}, hooks.URL, "push", "issue_comment")
	c := clone(t, s.helm, "pat-wanda")
	push := func(n int) {
		t.Helper()
		c.write(fmt.Sprint("f", n), "x")
		c.git("push", "-q", "origin", "HEAD")
		s.Settle() // or the answer to the next one would be this one's
	}
	push(1)
	hooks.answers(500)
	push(2)
	hooks.answers(204)
	push(3)
	s.as(t, "pat-wanda").do(201, "POST", repoPath+"/issues", body{"title": "t"})
	s.as(t, "pat-wanda").do(201, "POST", repoPath+"/issues/1/comments", body{"body": "the App may not read issues"})
	got := hooks.take(s)
	if len(got) != 3 {
		t.Fatalf("%d deliveries, want 3", len(got))
	}
	jwt := app.client()
	page := jwt.do(200, "GET", "/app/hook/deliveries?per_page=2", nil)
	link := page.header.Get("Link")
	if page.len() != 2 || !strings.Contains(link, "cursor=") || page.text(0, "event") != "push" {
		t.Fatalf("page of %d, Link %q", page.len(), link)
	}
	next := strings.TrimPrefix(link[1:strings.IndexByte(link, '>')], s.API)
	if g := jwt.do(200, "GET", next, nil); g.len() != 1 || g.header.Get("Link") != "" || g.text(0, "guid") != got[0].header.Get("X-GitHub-Delivery") {
		t.Errorf("second page: %v", g.body)
	}
	failed := jwt.do(200, "GET", "/app/hook/deliveries?status=failure", nil)
	if failed.len() != 1 || failed.number(0, "status_code") != 500 || failed.text(0, "status") == "OK" {
		t.Fatalf("failed: %v", failed.body)
	}
	one := jwt.do(200, "GET", fmt.Sprint("/app/hook/deliveries/", failed.number(0, "id")), nil)
	if one.text("request", "headers", "X-GitHub-Event") != "push" || one.text("response", "payload") != "heard" {
		t.Errorf("delivery: %v", one.body)
	}
	jwt.do(202, "POST", fmt.Sprintf("/app/hook/deliveries/%d/attempts", failed.number(0, "id")), nil)
	again := hooks.take(s)
	if len(again) != 1 || again[0].header.Get("X-GitHub-Delivery") != failed.text(0, "guid") || string(again[0].raw) != string(got[1].raw) {
		t.Errorf("redelivery: %v", again)
	}
	if g := jwt.do(200, "GET", "/app/hook/deliveries?per_page=1", nil); g.at(0, "redelivery") != true || g.text(0, "status") != "OK" {
		t.Errorf("after redelivery: %v", g.body)
	}
	s.as(t, "pat-adam").do(401, "GET", "/app/hook/deliveries", nil)
	s.clock.wind(3*24*time.Hour + time.Second)
	if g := app.client().do(200, "GET", "/app/hook/deliveries", nil); g.len() != 0 {
		t.Errorf("after three days: %v", g.body)
	}

	if _, err := s.AddApp(github.NewApp{Owner: "kvick", Slug: "away", Key: &app.key.PublicKey, HookURL: "https://example.com/"}); err == nil {
		t.Error("a webhook may leave the machine")
	}
}

// What the fleet's issue and a pull request's labels start.
func TestIssuesAndLabels(t *testing.T) {
	s := newScene(t, github.Options{})
	s.commit(t, "main", "ci", map[string]string{
		".github/workflows/land.yml":  "on:\n  issues:\n    types: [edited, labeled]\n  pull_request:\n    types: [labeled]\n",
		".github/workflows/other.yml": "on: pull_request\n",
	})
	s.commit(t, "topic", "topic", map[string]string{"a": "1\n"})
	hooks := newReceiver(t)
	app := newApp(t, s, appGrant, hooks.URL, "issues", "pull_request")
	r := &runs{s: s}
	r.take()
	bot, c := s.as(t, app.token(nil)), s.as(t, "pat-wanda")
	issue := repoPath + fmt.Sprint("/issues/", bot.do(201, "POST", repoPath+"/issues", body{"title": "Rebase", "body": "- [ ] x"}).number("number"))
	r.want(t, "opening an issue")
	c.do(200, "PATCH", issue, body{"body": "- [x] x"})
	r.want(t, "ticking a box", "issues refs/heads/main land.yml")
	c.do(200, "PATCH", issue, body{"body": "- [x] x"})
	r.want(t, "changing nothing")
	c.do(200, "POST", issue+"/labels", body{"labels": []string{"fleet"}})
	r.want(t, "a label on an issue", "issues refs/heads/main land.yml")
	c.do(200, "PATCH", issue, body{"state": "closed"})
	r.want(t, "closing it")
	c.do(201, "POST", repoPath+"/pulls", body{"title": "t", "head": "topic", "base": "main"})
	r.want(t, "a pull request", "pull_request refs/pull/2/merge other.yml")
	c.do(200, "POST", repoPath+"/issues/2/labels", body{"labels": []string{"land", "hold"}})
	r.want(t, "two labels", "pull_request refs/pull/2/merge land.yml", "pull_request refs/pull/2/merge land.yml")
	c.do(200, "POST", repoPath+"/issues/2/labels", body{"labels": []string{"land"}})
	r.want(t, "a label that is there")
	c.do(200, "DELETE", repoPath+"/issues/2/labels/land", nil)
	r.want(t, "taking it off")
	s.actions(t, "pull-requests:write").do(200, "POST", repoPath+"/issues/2/labels", body{"labels": []string{"land"}})
	r.want(t, "a label by a workflow")

	var got []string
	for _, h := range hooks.take(s) {
		line := fmt.Sprint(h.header.Get("X-GitHub-Event"), " ", h.body["action"])
		if l, ok := h.body["label"].(map[string]any); ok {
			line += fmt.Sprint(" ", l["name"])
		}
		if changes, ok := h.body["changes"].(map[string]any); ok {
			line += fmt.Sprint(" ", changes)
		}
		got = append(got, line)
	}
	sort.Strings(got)
	want := []string{
		"issues closed", "issues edited map[body:map[from:- [ ] x]]", "issues labeled fleet", "issues opened",
		"pull_request labeled hold", "pull_request labeled land", "pull_request labeled land", "pull_request opened", "pull_request unlabeled land",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("delivered %q, want %q", got, want)
	}
}
