package github_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/github"
	sim "github.com/kvick/shopfleet/internal/sim/github"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

// world is a GitHub with a repository and an App on it. Every request is held against GitHub's own description.
type world struct {
	*simtest.GitHub
	repo *sim.Repository
	tip  string
	*clock
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{clock: newClock()}
	w.GitHub = simtest.NewGitHub(t, sim.Options{Now: w.Now, KeepBodies: true})
	w.repo = w.GitHub.Repository(t, "acme", "helm")
	var err error
	if w.tip, err = w.repo.Commit("shops/swicked", "a shop", map[string]string{"wrangler.jsonc": "{}\n"}); err != nil {
		t.Fatal(err)
	}
	return w
}

// client is one with the token of a workflow.
func (w *world) client(t *testing.T, permissions map[string]string) *github.Client {
	t.Helper()
	token, err := w.repo.ActionsToken(permissions)
	if err != nil {
		t.Fatal(err)
	}
	return &github.Client{
		BaseURL: w.API, Owner: "acme", Repo: "helm", Token: github.Secret(token), Login: "github-actions[bot]",
		Transport: cloudflare.LoopbackOnly(nil), Now: w.Now, Sleep: w.Sleep,
	}
}

// ops are the calls since the last look.
func (w *world) ops() []string {
	var list []string
	for _, r := range w.Requests() {
		list = append(list, r.Op)
	}
	w.ForgetRequests()
	return list
}

func (w *world) fault(t *testing.T, r sim.Rule) {
	t.Helper()
	if _, err := w.Fault(r); err != nil {
		t.Fatal(err)
	}
}

const (
	opTip    = "GET /repos/{owner}/{repo}/git/ref/{ref...}"
	opList   = "GET /repos/{owner}/{repo}/deployments"
	opCreate = "POST /repos/{owner}/{repo}/deployments"
	opStatus = "POST /repos/{owner}/{repo}/deployments/{deployment_id}/statuses"
)

// A deploy's whole conversation is six calls.
func TestDeployTakesSixCalls(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, map[string]string{"contents": "read", "deployments": "write"})
	record := func(key string) github.Deployment {
		t.Helper()
		n := newDeployment()
		n.Ref, n.Key = w.tip, key
		d, err := c.CreateDeployment(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	set := func(id int64, state string) {
		t.Helper()
		if err := c.SetDeploymentStatus(t.Context(), id, github.DeploymentStatus{State: state, LogURL: "https://github.com/acme/helm/actions/runs/1", EnvironmentURL: "https://swicked.kvick.bike", Description: "because"}); err != nil {
			t.Fatal(err)
		}
	}
	first := record("swicked/v1")
	set(first.ID, "success")
	w.Sleep(t.Context(), time.Minute)
	w.ops()
	before := c.Calls()

	if tip, err := c.Tip(t.Context(), "shops/swicked"); err != nil || tip != w.tip {
		t.Fatalf("the tip is %q, %v", tip, err)
	}
	list, err := c.Deployments(t.Context(), "shop-swicked", "", 30)
	if err != nil || len(list) != 1 || list[0].ID != first.ID {
		t.Fatalf("the journal is %+v, %v", list, err)
	}
	second := record("swicked/v2")
	set(second.ID, "in_progress")
	set(second.ID, "success")
	set(first.ID, "inactive")
	if n := c.Calls() - before; n != 6 {
		t.Errorf("%d calls; want 6", n)
	}
	if got, want := fmt.Sprint(w.ops()), fmt.Sprint([]string{opTip, opList, opCreate, opStatus, opStatus, opStatus}); got != want {
		t.Errorf("called %s; want %s", got, want)
	}

	list, err = c.Deployments(t.Context(), "shop-swicked", "", 30)
	if err != nil || len(list) != 2 || list[0].ID != second.ID || list[0].SHA != w.tip || list[0].Creator != "github-actions[bot]" || list[0].Created.IsZero() {
		t.Fatalf("the journal is %+v, %v", list, err)
	}
	var payload map[string]string
	if err := json.Unmarshal(list[0].Payload, &payload); err != nil || payload["key"] != "swicked/v2" || payload["version_id"] != "v2" {
		t.Errorf("the payload is %s, %v", list[0].Payload, err)
	}
	states, err := c.DeploymentStatuses(t.Context(), second.ID)
	if err != nil || len(states) != 2 || states[0].State != "success" || states[0].EnvironmentURL != "https://swicked.kvick.bike" || states[0].Description != "because" || states[1].State != "in_progress" {
		t.Errorf("the statuses are %+v, %v", states, err)
	}
	if states, err = c.DeploymentStatuses(t.Context(), first.ID); err != nil || states[0].State != "inactive" || len(states) != 2 {
		t.Errorf("the predecessor's are %+v, %v", states, err)
	}
}

// Whichever answer is lost, and whether the call had an effect or not, everything is there once in the end.
func TestNothingTwice(t *testing.T) {
	for name, rule := range map[string]sim.Rule{
		"cut after the effect":  {Cut: true},
		"cut before the effect": {Drop: true},
		"502 after the effect":  {Status: 502, After: true},
		"503 before the effect": {Status: 503},
		"twice":                 {Cut: true, Count: 2},
		"drop twice":            {Drop: true, Count: 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.client(t, map[string]string{"contents": "read", "deployments": "write", "checks": "write", "pull_requests": "write"})
			number := w.pull(t, c)
			for _, path := range []string{"/deployments$", "/statuses$", "/check-runs$", "/comments$"} {
				rule.Method, rule.Path = "POST", path
				w.fault(t, rule)
			}
			rule.Method, rule.Path = "PATCH", "/check-runs/"
			w.fault(t, rule)
			n := newDeployment()
			n.Ref = w.tip
			d, err := c.CreateDeployment(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.SetDeploymentStatus(t.Context(), d.ID, github.DeploymentStatus{State: "success", LogURL: "https://x.example/1"}); err != nil {
				t.Fatal(err)
			}
			run := checkRun(120)
			run.HeadSHA = w.tip
			if _, err := c.PutCheckRun(t.Context(), run); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := c.PutComment(t.Context(), number, "shopfleet plan", "the plan", true); err != nil {
					t.Fatal(err)
				}
			}
			w.ClearFaults()
			if list, err := c.Deployments(t.Context(), n.Environment, "", 0); err != nil || len(list) != 1 {
				t.Errorf("%d deployments, %v", len(list), err)
			}
			if list, err := c.DeploymentStatuses(t.Context(), d.ID); err != nil || len(list) != 1 {
				t.Errorf("%d statuses, %v", len(list), err)
			}
			var checks struct {
				Total int `json:"total_count"`
				Runs  []struct {
					Output struct {
						Count int `json:"annotations_count"`
					}
				} `json:"check_runs"`
			}
			w.get(t, c, "/commits/"+w.tip+"/check-runs", &checks)
			if checks.Total != 1 || checks.Runs[0].Output.Count != 120 {
				t.Errorf("check runs: %+v", checks)
			}
			var list []any
			w.get(t, c, fmt.Sprintf("/issues/%d/comments", number), &list)
			if len(list) != 1 {
				t.Errorf("%d comments", len(list))
			}
		})
	}
}

// A write that may not happen says which permission it lacks.
func TestMissingPermission(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, map[string]string{"contents": "read"})
	n := newDeployment()
	n.Ref = w.tip
	_, err := c.CreateDeployment(t.Context(), n)
	var e *github.Error
	if !errors.As(err, &e) || e.Status != 403 || !strings.Contains(e.Hint(), "deployments: write") {
		t.Errorf("got %v, hint %q", err, e.Hint())
	}
	if got := w.ops(); len(got) != 1 {
		t.Errorf("called %v", got)
	}
	stranger := w.client(t, nil)
	stranger.Repo = "other"
	var absent *github.NotFoundError
	if _, err := stranger.Tip(t.Context(), "main"); !errors.As(err, &absent) {
		t.Errorf("got %v", err)
	}
}

// A comment of ours is found among those of others, who may have written the same marker.
func TestStickyCommentInTheWorld(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, map[string]string{"contents": "read", "pull_requests": "write"})
	number := w.pull(t, c)
	if _, err := w.AddUser("mallory", ""); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.repo.SetPermission("mallory", "write"), w.AddToken("ghp_mallory", "mallory")); err != nil {
		t.Fatal(err)
	}
	mallory := &github.Client{BaseURL: w.API, Owner: "acme", Repo: "helm", Token: "ghp_mallory", Login: "mallory", Now: w.Now, Sleep: w.Sleep}
	theirs, err := mallory.PutComment(t.Context(), number, "shopfleet plan", "all is fine", true)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := c.PutComment(t.Context(), number, "shopfleet plan", "one", true)
	if err != nil || ours == theirs {
		t.Fatalf("got %q, %v", ours, err)
	}
	if again, err := c.PutComment(t.Context(), number, "shopfleet plan", "two", false); err != nil || again != ours {
		t.Errorf("got %q, %v", again, err)
	}
	w.ops()
	if again, err := c.PutComment(t.Context(), number, "shopfleet plan", "two", false); err != nil || again != ours {
		t.Errorf("got %q, %v", again, err)
	}
	if got := w.ops(); len(got) != 1 {
		t.Errorf("an equal body took %v", got)
	}
	var list []struct{ Body string }
	w.get(t, c, fmt.Sprintf("/issues/%d/comments", number), &list)
	if len(list) != 2 || !strings.HasSuffix(list[0].Body, "all is fine") || !strings.HasSuffix(list[1].Body, "two") {
		t.Errorf("the comments are %q", list)
	}
}

func TestPullRequestInTheWorld(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, map[string]string{"contents": "read", "pull_requests": "write"})
	p, err := c.PullRequest(t.Context(), w.pull(t, c))
	if err != nil || p.Fork || p.Head.Ref != "shops/swicked" || p.Head.SHA != w.tip || p.Base.Ref != "main" || p.Head.Repo != "acme/helm" || p.State != "open" {
		t.Errorf("got %+v, %v", p, err)
	}
	var absent *github.NotFoundError
	if _, err := c.PullRequest(t.Context(), 999); !errors.As(err, &absent) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Tip(t.Context(), "shops/swicke"); !errors.As(err, &absent) { // a beginning of one that is there
		t.Errorf("got %v", err)
	}
}

// Our own pace keeps below the limits that the world enforces.
func TestPaceInTheWorld(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, map[string]string{"contents": "read", "pull_requests": "write"})
	number := w.pull(t, c)
	for i := range 120 {
		if _, err := c.PutComment(t.Context(), number, fmt.Sprint("m", i), "x", true); err != nil {
			t.Fatalf("comment %d: %v", i, err)
		}
	}
	for _, r := range w.Requests() {
		if r.Status >= 400 {
			t.Fatalf("%s was answered %d", r.Op, r.Status)
		}
	}
}

func TestExhausted(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, map[string]string{"contents": "read"})
	if err := w.ExhaustRateLimit(string(c.Token)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Tip(t.Context(), "main")
	var limited *github.RateLimitError
	if !errors.As(err, &limited) || len(w.ops()) != 1 {
		t.Fatalf("got %v", err)
	}
	w.Sleep(t.Context(), time.Hour+time.Second)
	if _, err := c.Tip(t.Context(), "main"); err != nil {
		t.Error(err)
	}
}

// pull opens a pull request of the shop's branch into main.
func (w *world) pull(t *testing.T, c *github.Client) int {
	t.Helper()
	var made struct{ Number int }
	w.send(t, "POST", c, "/pulls", map[string]string{"title": "a pull", "head": "shops/swicked", "base": "main"}, &made)
	return made.Number
}

func (w *world) get(t *testing.T, c *github.Client, path string, out any) {
	t.Helper()
	w.send(t, "GET", c, path+"?per_page=100", nil, out)
}

// send makes a call that the client has no method for.
func (w *world) send(t *testing.T, method string, c *github.Client, path string, in, out any) {
	t.Helper()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, w.API+"/repos/acme/helm"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+string(c.Token))
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := cloudflare.LoopbackOnly(nil).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %d %s, %v", method, path, resp.StatusCode, text, err)
	}
	if err := json.Unmarshal(text, out); err != nil {
		t.Fatal(err)
	}
}

func TestHas(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, map[string]string{"contents": "read"})
	for sha, want := range map[string]bool{w.tip: true, strings.Repeat("d", 40): false} {
		if has, err := c.Has(t.Context(), sha); err != nil || has != want {
			t.Errorf("%s: %v, %v", sha, has, err)
		}
	}
	if _, err := c.Has(t.Context(), "main"); !errors.Is(err, github.ErrArgument) {
		t.Errorf("got %v", err)
	}
	if _, err := w.client(t, map[string]string{"checks": "write"}).Has(t.Context(), w.tip); err == nil {
		t.Error("a token that may not look says so")
	}
}
