package github_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/sim/github"
)

const deployWorkflow = "name: deploy\non:\n  push:\n    branches: ['shops/**']\n  workflow_dispatch:\n    inputs:\n      reason: {default: none}\n      must: {required: true}\n"

// runs renders what was started since the last time.
type runs struct {
	s    *scene
	seen int
}

func (r *runs) take() []string {
	var out []string
	list := r.s.helm.Runs()
	for _, run := range list[r.seen:] {
		out = append(out, run.Event+" "+run.Ref+" "+strings.TrimPrefix(run.File, ".github/workflows/"))
	}
	r.seen = len(list)
	return out
}

func (r *runs) want(t *testing.T, what string, want ...string) {
	t.Helper()
	if got := r.take(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s started %v, want %v", what, got, want)
	}
}

func TestWhichTokensStartWorkflows(t *testing.T) {
	s := newScene(t, github.Options{})
	s.commit(t, "main", "ci", map[string]string{
		".github/workflows/deploy.yml":  deployWorkflow,
		".github/workflows/comment.yml": "on: issue_comment\n",
		".github/workflows/pr.yml":      "on: [pull_request, create, delete, deployment, deployment_status]\n",
		".github/workflows/hook.yml":    "on:\n  repository_dispatch:\n    types: [go]\n",
		".github/workflows/called.yml":  "on: workflow_call\n",
		".github/workflows/broken.yml":  "on: [\n",
		".github/workflows/notes.txt":   "on: push\n",
	})
	first := s.commit(t, "shops/acme", "acme", map[string]string{"a": "1\n"})
	second := s.commit(t, "next", "next", map[string]string{"a": "1\n", "b": "1\n"})
	app := newApp(t, s, appGrant, "")
	r := &runs{s: s}
	r.want(t, "building the world")
	github := s.actions(t, "contents:write", "deployments:write", "pull-requests:write", "issues:write", "actions:write")
	tokens := map[string]client{"app": s.as(t, app.token(nil)), "user": s.as(t, "pat-wanda"), "GITHUB_TOKEN": github}
	for _, who := range []string{"app", "user", "GITHUB_TOKEN"} {
		c := tokens[who]
		starts := func(list ...string) []string {
			if who == "GITHUB_TOKEN" {
				return nil
			}
			return list
		}
		branch := "shops/" + strings.ToLower(who)
		c.do(201, "POST", repoPath+"/git/refs", body{"ref": "refs/heads/" + branch, "sha": first})
		r.want(t, who+" creating a branch", starts("create refs/heads/"+branch+" pr.yml", "push refs/heads/"+branch+" deploy.yml")...)
		c.do(200, "PATCH", repoPath+"/git/refs/heads/"+branch, body{"sha": second, "force": true})
		r.want(t, who+" moving it", starts("push refs/heads/"+branch+" deploy.yml")...)
		n := c.do(201, "POST", repoPath+"/pulls", body{"title": "t", "head": branch, "base": "main"}).number("number")
		r.want(t, who+" opening a pull request", starts(fmt.Sprintf("pull_request refs/pull/%d/merge pr.yml", n))...)
		c.do(201, "POST", fmt.Sprintf("%s/issues/%d/comments", repoPath, n), body{"body": "x"})
		r.want(t, who+" commenting", starts("issue_comment refs/heads/main comment.yml")...)
		d := c.do(201, "POST", repoPath+"/deployments", body{"ref": branch, "auto_merge": false, "required_contexts": []string{}}).number("id")
		r.want(t, who+" deploying", starts("deployment refs/heads/"+branch+" pr.yml")...)
		statuses := fmt.Sprintf("%s/deployments/%d/statuses", repoPath, d)
		c.do(201, "POST", statuses, body{"state": "success"})
		r.want(t, who+" succeeding", starts("deployment_status refs/heads/"+branch+" pr.yml")...)
		c.do(201, "POST", statuses, body{"state": "inactive"})
		r.want(t, who+" inactivating")
		c.do(204, "POST", repoPath+"/actions/workflows/deploy.yml/dispatches", body{"ref": branch, "inputs": body{"must": "x"}})
		r.want(t, who+" dispatching", "workflow_dispatch refs/heads/"+branch+" deploy.yml")
		c.do(204, "POST", repoPath+"/dispatches", body{"event_type": "go"})
		r.want(t, who+" dispatching to the repository", "repository_dispatch refs/heads/main hook.yml")
		c.do(204, "POST", repoPath+"/dispatches", body{"event_type": "stop"})
		r.want(t, who+" dispatching another type")
		c.do(204, "DELETE", repoPath+"/git/refs/heads/"+branch, nil)
		r.want(t, who+" deleting the branch", starts("delete refs/heads/main pr.yml")...)
	}
	if waiting := s.helm.WaitingRuns(); len(waiting) != 1 || waiting[0].Event != "pull_request" || !waiting[0].Waits {
		t.Errorf("waiting for approval: %+v", waiting)
	}

	git := clone(t, s.helm, github.token)
	git.git("push", "-q", "origin", "origin/next:refs/heads/shops/git")
	r.want(t, "git push with GITHUB_TOKEN")
	git.git("push", "-q", remote(s.helm, app.token(nil)), "origin/main:refs/heads/shops/git2", "origin/main:refs/tags/v1", "origin/main:refs/heads/other")
	got := r.take()
	if fmt.Sprint(got) != "[create refs/heads/shops/git2 pr.yml push refs/heads/shops/git2 deploy.yml create refs/tags/v1 pr.yml create refs/heads/other pr.yml]" {
		t.Errorf("git push with an App's token started %v", got)
	}
}

func TestWhichWorkflowFileRuns(t *testing.T) {
	s := newScene(t, github.Options{})
	main := s.commit(t, "main", "ci", map[string]string{".github/workflows/deploy.yml": deployWorkflow})
	stale := s.commit(t, "shops/stale", "stale", map[string]string{".github/workflows/deploy.yml": deployWorkflow + "# older\n"})
	s.commit(t, "shops/own", "own", map[string]string{".github/workflows/own.yml": "on: [push, workflow_dispatch]\n"})
	c := s.as(t, "pat-wanda")
	g := c.do(200, "POST", repoPath+"/actions/workflows/deploy.yml/dispatches", body{"ref": "shops/stale", "inputs": body{"must": "1"}, "return_run_details": true})
	list := s.helm.Runs()
	if len(list) != 1 || list[0].FileSHA != stale || list[0].SHA != stale || list[0].WorkflowRef != "kvick/helm/.github/workflows/deploy.yml@refs/heads/shops/stale" ||
		list[0].Inputs["reason"] != "none" || list[0].ID != g.number("workflow_run_id") {
		t.Errorf("runs %+v, answer %v", list, g.body)
	}
	run := fmt.Sprintf("%s/actions/runs/%d", repoPath, list[0].ID)
	if g := c.do(200, "GET", run, nil); g.text("head_branch") != "shops/stale" || g.text("status") != "queued" {
		t.Errorf("run: %v", g.body)
	}
	if g := c.do(200, "GET", repoPath+"/actions/runs?branch=shops/stale", nil); g.number("total_count") != 1 {
		t.Errorf("runs: %v", g.body)
	}
	c.do(202, "POST", run+"/cancel", nil)
	c.do(409, "POST", run+"/cancel", nil)
	c.do(200, "GET", repoPath+"/actions/workflows", nil)
	c.do(200, "GET", repoPath+"/actions/workflows/deploy.yml", nil)
	c.do(404, "POST", repoPath+"/actions/workflows/own.yml/dispatches", body{"ref": "shops/own"}) // not on the default branch
	c.says(422, "No ref found", "POST", repoPath+"/actions/workflows/deploy.yml/dispatches", body{"ref": "none"})
	c.says(422, "No ref found", "POST", repoPath+"/actions/workflows/deploy.yml/dispatches", body{"ref": main})
	c.says(422, "Unexpected inputs", "POST", repoPath+"/actions/workflows/deploy.yml/dispatches", body{"ref": "main", "inputs": body{"other": "1"}})
	c.says(422, "Required input", "POST", repoPath+"/actions/workflows/deploy.yml/dispatches", body{"ref": "main"})
	s.actions(t, "actions:read").do(403, "POST", repoPath+"/actions/workflows/deploy.yml/dispatches", body{"ref": "main"})

	// A conflicting pull request runs nothing (wire.md §2a).
	s.commit(t, "main", "pr", map[string]string{".github/workflows/pr.yml": "on:\n  pull_request:\n    branches: [main]\n", "a": "1\n"})
	s.commit(t, "topic", "topic", map[string]string{"b": "1\n"})
	s.commit(t, "main", "conflict", map[string]string{"b": "2\n"})
	c.do(201, "POST", repoPath+"/pulls", body{"title": "t", "head": "topic", "base": "main"})
	if n := len(s.helm.Runs()); n != 1 {
		t.Errorf("a conflicting pull request started %d runs", n-1)
	}
	fork, err := s.helm.Fork("nobody")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fork.Commit("evil", "evil", map[string]string{"x": "1"}); err != nil {
		t.Fatal(err)
	}
	s.as(t, "pat-rita").do(201, "POST", repoPath+"/pulls", body{"title": "f", "head": "nobody:evil", "base": "main"})
	list = s.helm.Runs()
	if last := list[len(list)-1]; !last.Fork || last.Event != "pull_request" || last.Pull != 2 {
		t.Errorf("run of a fork: %+v", last)
	}
}

func TestFilters(t *testing.T) {
	s := newScene(t, github.Options{})
	c := s.as(t, "pat-wanda")
	for n, tt := range []struct {
		on, ref, file string
		starts        bool
	}{
		{"push", "refs/heads/x", "a", true},
		{"{push: {branches: ['shops/**']}}", "refs/heads/shops/a", "a", true},
		{"{push: {branches: ['shops/**']}}", "refs/heads/shops/d/b", "a", true},
		{"{push: {branches: ['shops/**']}}", "refs/heads/shops2", "a", false},
		{"{push: {branches: 'shops/*'}}", "refs/heads/shops/c/b", "a", false},
		{"{push: {branches: ['shops/**', '!shops/test-*']}}", "refs/heads/shops/test-1", "a", false},
		{"{push: {branches-ignore: ['rebase/**']}}", "refs/heads/rebase/x", "a", false},
		{"{push: {branches-ignore: ['rebase/**']}}", "refs/heads/y", "a", true},
		{"{push: {branches: [x]}}", "refs/tags/t1", "a", false},
		{"{push: {tags: ['v*']}}", "refs/tags/v1", "a", true},
		{"{push: {tags: ['v*']}}", "refs/heads/z", "a", false},
		{"{push: {paths: ['docs/**']}}", "refs/heads/p1", "docs/x/y.md", true},
		{"{push: {paths: ['**/x.md']}}", "refs/heads/p2", "x.md", true},
		{"{push: {paths-ignore: ['docs/**']}}", "refs/heads/p3", "docs/y", false},
		{"{push: {branches: ['v[12].[0-9]+']}}", "refs/heads/v1.20", "a", true},
		{"workflow_call", "refs/heads/q", "a", false},
		{"{schedule: [{cron: '0 0 * * *'}]}", "refs/heads/q2", "a", false},
	} {
		t.Run(tt.on+" "+tt.ref, func(t *testing.T) {
			before := len(s.helm.Runs())
			// Two commits: of a new branch only the last one's paths count.
			build := fmt.Sprint("build/", n)
			s.commit(t, build, "workflow", map[string]string{".github/workflows/w.yml": "on: " + tt.on + "\n"})
			sha := s.commit(t, build, "file", map[string]string{tt.file: "x"})
			c := client{t, c.base, c.token}
			c.do(201, "POST", repoPath+"/git/refs", body{"ref": tt.ref, "sha": sha})
			if got := len(s.helm.Runs()) > before; got != tt.starts {
				t.Errorf("started: %v, want %v", got, tt.starts)
			}
		})
	}
	before := len(s.helm.Runs())
	sha := s.commit(t, "build/quiet", "quiet [skip ci]", map[string]string{".github/workflows/w.yml": "on: push\n"})
	c.do(201, "POST", repoPath+"/git/refs", body{"ref": "refs/heads/quiet", "sha": sha})
	if len(s.helm.Runs()) != before {
		t.Error("[skip ci] did not skip")
	}
}

// A dispatch tells of its run when it is asked to, or when the version of the API always does; webhooks tell how it goes on.
func TestDispatchDetails(t *testing.T) {
	hooks := newReceiver(t)
	s := newScene(t, github.Options{})
	s.commit(t, "main", "ci", map[string]string{".github/workflows/hello.yml": "name: Hello\non:\n  workflow_dispatch:\n    inputs:\n      shop: {required: true}\n"})
	s.commit(t, "shops/acme", "shop", map[string]string{"a": "1"})
	app := newApp(t, s, appGrant, hooks.URL, "workflow_run", "workflow_dispatch")
	c := s.as(t, app.token(nil))
	const path = repoPath + "/actions/workflows/hello.yml/dispatches"
	in := body{"ref": "shops/acme", "inputs": body{"shop": "acme"}}
	if g := c.do(204, "POST", path, in); g.body != nil {
		t.Errorf("without details: %v", g.body)
	}
	in["return_run_details"] = false
	c.do(204, "POST", path, in)
	in["return_run_details"] = true
	g := c.do(200, "POST", path, in)
	id := g.number("workflow_run_id")
	if g.text("run_url") != fmt.Sprintf("%s%s/actions/runs/%d", s.API, repoPath, id) || g.text("html_url") != fmt.Sprintf("%s/kvick/helm/actions/runs/%d", s.Git, id) {
		t.Errorf("details: %v", g.body)
	}
	if g := c.do(200, "GET", strings.TrimPrefix(g.text("run_url"), s.API), nil); g.text("head_branch") != "shops/acme" || g.text("event") != "workflow_dispatch" || g.text("triggering_actor", "login") != app.Bot {
		t.Errorf("the run: %v", g.body)
	}
	list := s.helm.Runs()
	if last := list[len(list)-1]; last.ID != id || last.Inputs["shop"] != "acme" || last.Actor != app.Bot {
		t.Errorf("the run: %+v", last)
	}
	hooks.take(s)
	for _, step := range [][2]string{{"in_progress", ""}, {"completed", "failure"}} {
		if err := s.helm.SetRun(id, step[0], step[1]); err != nil {
			t.Fatal(err)
		}
	}
	heard := hooks.take(s)
	if fmt.Sprint(told(heard)) != "[workflow_run in_progress workflow_run completed]" {
		t.Fatalf("told %q", told(heard))
	}
	holdsRecorded(t, "workflow_run.completed", heard[1].body)
	if g := (got{body: heard[1].body}); g.text("workflow_run", "conclusion") != "failure" || g.number("workflow_run", "id") != id || g.text("workflow", "path") != ".github/workflows/hello.yml" || g.text("workflow", "name") != "Hello" {
		t.Errorf("completed: %v", g.body)
	}
	c.do(200, "POST", path, in)
	list = s.helm.Runs()
	c.do(202, "POST", fmt.Sprintf("%s/actions/runs/%d/cancel", repoPath, list[len(list)-1].ID), nil)
	if got := told(hooks.take(s)); fmt.Sprint(got) != "[workflow_run requested workflow_dispatch workflow_run completed]" {
		t.Errorf("told %q", got)
	}

	req, err := http.NewRequestWithContext(t.Context(), "POST", s.API+path, strings.NewReader(`{"ref":"main","inputs":{"shop":"acme"}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("X-GitHub-Api-Version", "2026-03-10")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("in the newer version: %d", resp.StatusCode)
	}
	for what, in := range map[string]any{
		"26 inputs": body{"ref": "main", "inputs": func() body {
			b := body{}
			for n := range 26 {
				b[fmt.Sprint(n)] = "x"
			}
			return b
		}()},
		"no such branch":  body{"ref": "refs/heads/none", "inputs": body{"shop": "acme"}},
		"no input":        body{"ref": "main", "return_run_details": true},
		"details as text": body{"ref": "main", "inputs": body{"shop": "acme"}, "return_run_details": "yes"},
	} {
		t.Run(what, func(t *testing.T) { s.as(t, c.token).do(422, "POST", path, in) })
	}
}
