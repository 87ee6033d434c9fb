package github_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/github"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

func TestAppInTheWorld(t *testing.T) {
	w := newWorld(t)
	key, secret := newKey(t)
	app, err := w.AddApp(sim.NewApp{Slug: "shopfleet", Key: &key.PublicKey, Permissions: map[string]string{"contents": "write", "deployments": "write", "pull_requests": "write"}})
	if err != nil {
		t.Fatal(err)
	}
	w.GitHub.Repository(t, "acme", "other")
	if _, err := app.Install("acme"); err != nil {
		t.Fatal(err)
	}
	client := func(id string, permissions map[string]string) *github.Client {
		return &github.Client{
			BaseURL: w.API, Owner: "acme", Repo: "helm", App: &github.App{ID: id, Key: secret}, Permissions: permissions,
			Now: w.Now, Sleep: w.Sleep,
		}
	}
	n := newDeployment()
	n.Ref = w.tip
	for _, id := range []string{fmt.Sprint(app.ID), app.ClientID} {
		w.ops()
		c := client(id, map[string]string{"deployments": "write", "pull_requests": "write"})
		d, err := c.CreateDeployment(t.Context(), n)
		if err != nil || d.Creator != "shopfleet[bot]" {
			t.Fatalf("as %s: %+v, %v", id, d, err)
		}
		if got := w.ops(); len(got) != 3 || c.Calls() != 3 {
			t.Errorf("called %v", got)
		}
	}

	// The token reaches this repository only, and does what was asked for only, although the App may do more.
	c := client(fmt.Sprint(app.ID), map[string]string{"contents": "read"})
	if _, err := c.Tip(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	var e *github.Error
	if _, err := c.CreateDeployment(t.Context(), n); !errors.As(err, &e) || e.Status != 403 {
		t.Errorf("more than was asked for: %v", err)
	}
	var body map[string]any
	for _, r := range w.Requests() {
		if strings.HasSuffix(r.Path, "/access_tokens") {
			if err := json.Unmarshal(r.Body, &body); err != nil || fmt.Sprint(body["repositories"]) != "[helm]" {
				t.Errorf("asked for %s, %v", r.Body, err)
			}
		}
	}
	if _, err := client(fmt.Sprint(app.ID), map[string]string{"administration": "write"}).Tip(t.Context(), "main"); !errors.As(err, &e) || e.Status != 422 {
		t.Errorf("more than was granted: %v", err)
	}
	if _, err := client("12345", map[string]string{"contents": "read"}).Tip(t.Context(), "main"); err == nil {
		t.Error("an App that is none")
	}
}

// An App's runs, comments and tokens over hours, as one client.
func TestAppForHours(t *testing.T) {
	w := newWorld(t)
	key, secret := newKey(t)
	app, err := w.AddApp(sim.NewApp{Slug: "shopfleet", Key: &key.PublicKey, Permissions: map[string]string{"checks": "write", "contents": "read", "pull_requests": "write"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Install("acme"); err != nil {
		t.Fatal(err)
	}
	number := w.pull(t, w.client(t, map[string]string{"contents": "read", "pull_requests": "write"}))
	c := &github.Client{
		BaseURL: w.API, Owner: "acme", Repo: "helm", App: &github.App{ID: fmt.Sprint(app.ID), Key: secret},
		Permissions: map[string]string{"checks": "write", "pull_requests": "write"}, Now: w.Now, Sleep: w.Sleep,
	}
	// Another App's run of the same name and id, and another's comment, are not ours.
	actions := w.client(t, map[string]string{"checks": "write", "contents": "read", "pull_requests": "write"})
	run := checkRun(60)
	run.HeadSHA = w.tip
	theirs, err := actions.PutCheckRun(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := actions.PutComment(t.Context(), number, "plan", "theirs", true); err != nil {
		t.Fatal(err)
	}
	w.ops()
	urls := map[string]bool{}
	for i := range 3 {
		url, err := c.PutCheckRun(t.Context(), run)
		if err != nil || url == theirs {
			t.Fatalf("got %q, %v", url, err)
		}
		urls[url] = true
		if url, err = c.PutComment(t.Context(), number, "plan", fmt.Sprint("plan ", i), true); err != nil {
			t.Fatal(err)
		}
		urls[url] = true
		w.Sleep(t.Context(), 50*time.Minute)
	}
	if len(urls) != 2 {
		t.Errorf("made %v; want one run and one comment", urls)
	}
	count := map[string]int{}
	for _, op := range w.ops() {
		count[op]++
	}
	if count["POST /app/installations/{installation_id}/access_tokens"] != 2 || count["GET /app"] != 1 {
		t.Errorf("called %v", count)
	}
}
