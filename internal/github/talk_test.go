package github_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/github"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

func TestComments(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, pullRights)
	person := w.person(t, "wanda")
	number := w.pull(t, c)
	say := func(by *github.Client, body string) {
		var out any
		w.send(t, "POST", by, fmt.Sprintf("/issues/%d/comments", number), map[string]string{"body": body}, &out)
	}
	say(person, "/land")
	w.Sleep(t.Context(), time.Hour)
	since := w.Now()
	say(c, "landed")
	say(person, "/pause")
	all, err := c.Comments(t.Context(), number, time.Time{})
	if err != nil || len(all) != 3 || all[0].Body != "/land" || all[0].Author != "wanda" || all[0].Bot || !all[1].Bot || all[0].ID == 0 || all[0].HTMLURL == "" || all[0].Created.IsZero() {
		t.Errorf("got %+v, %v", all, err)
	}
	if some, err := c.Comments(t.Context(), number, since); err != nil || len(some) != 2 || some[1].Body != "/pause" {
		t.Errorf("got %+v, %v", some, err)
	}
	for range 110 {
		w.Sleep(t.Context(), time.Minute)
		say(person, "x")
	}
	w.ops()
	if all, err := c.Comments(t.Context(), number, time.Time{}); err != nil || len(all) != 113 || len(w.ops()) != 2 {
		t.Errorf("got %d, %v", len(all), err)
	}
	var absent *github.NotFoundError
	if _, err := c.Comments(t.Context(), 99, time.Time{}); !errors.As(err, &absent) {
		t.Errorf("got %v", err)
	}
	for name, body := range map[string]string{"no id": `[{"body":"x","created_at":"2026-11-23T09:00:00Z"}]`, "no time": `[{"id":1}]`, "a login that is none": `[{"id":1,"created_at":"2026-11-23T09:00:00Z","user":{"login":"a\nb"}}]`, "no list": `{}`} {
		s := serve(t, map[string]answer{"GET /repos/acme/helm/issues/1/comments": says(200, body)})
		if all, err := s.client(newClock()).Comments(t.Context(), 1, time.Time{}); err == nil {
			t.Errorf("%s: got %+v", name, all)
		}
	}
	// Without an account, or through an App, it is no person who says it.
	s := serve(t, map[string]answer{"GET /repos/acme/helm/issues/1/comments": says(200, `[{"id":1,"created_at":"2026-11-23T09:00:00Z","user":null},{"id":2,"created_at":"2026-11-23T09:00:00Z","user":{"login":"eve","type":"User"},"performed_via_github_app":{"id":1}},{"id":2,"created_at":"2026-11-23T09:00:00Z"}]`)})
	if all, err := s.client(newClock()).Comments(t.Context(), 1, time.Time{}); err != nil || len(all) != 2 || !all[0].Bot || !all[1].Bot {
		t.Errorf("got %+v, %v", all, err)
	}
}

func TestIssue(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, pullRights)
	if none, err := c.FindIssue(t.Context(), "fleet"); err != nil || none.Number != 0 {
		t.Errorf("got %+v, %v", none, err)
	}
	number, err := c.PutIssue(t.Context(), "fleet", "Rebase", "- [ ] land `acme`", true)
	if err != nil {
		t.Fatal(err)
	}
	i, err := c.Issue(t.Context(), number)
	if err != nil || i.Title != "Rebase" || !strings.HasSuffix(i.Body, "- [ ] land `acme`") || i.State != "open" || i.Author != "github-actions[bot]" || i.Pull || i.HTMLURL == "" || i.Updated.IsZero() {
		t.Errorf("got %+v, %v", i, err)
	}
	if found, err := c.FindIssue(t.Context(), "<!-- fleet -->"); err != nil || found.Number != number || found.Body != i.Body || !found.Updated.Equal(i.Updated) {
		t.Errorf("got %+v, %v", found, err)
	}
	pull := w.pull(t, c)
	if i, err := c.Issue(t.Context(), pull); err != nil || !i.Pull {
		t.Errorf("got %+v, %v", i, err)
	}
	var absent *github.NotFoundError
	if _, err := c.Issue(t.Context(), 99); !errors.As(err, &absent) {
		t.Errorf("got %v", err)
	}
	for _, body := range []string{`{"number":2}`, `{}`, `[]`, `null`} {
		s := serve(t, map[string]answer{"GET /repos/acme/helm/issues/1": says(200, body)})
		if i, err := s.client(newClock()).Issue(t.Context(), 1); err == nil {
			t.Errorf("%s: got %+v", body, i)
		}
	}
}

func TestPermission(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, pullRights)
	for login, role := range map[string]string{"rita": "read", "tom": "triage", "wanda": "write", "mia": "maintain", "ada": "admin", "nobody": ""} {
		if _, err := w.AddUser(login, ""); err != nil {
			t.Fatal(err)
		}
		if role != "" {
			if err := w.repo.SetPermission(login, role); err != nil {
				t.Fatal(err)
			}
		}
	}
	for login, want := range map[string]string{
		"rita": "read", "tom": "read", "wanda": "write", "Wanda": "write", "mia": "write", "ada": "admin", "nobody": "none", "not-there": "none",
		"": "none", "a/b": "none", "../x": "none", "a b": "none", "a\nb": "none", "github-actions[bot]": "none",
	} {
		if got, err := c.Permission(t.Context(), login); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", login, got, err, want)
		}
	}
	for _, body := range []string{`{"permission":"admin","user":{"login":"eve"}}`, `{"permission":"owner","user":{"login":"ada"}}`, `{}`, `[]`} {
		s := serve(t, map[string]answer{"GET /repos/acme/helm/collaborators/ada/permission": says(200, body)})
		if got, err := s.client(newClock()).Permission(t.Context(), "ada"); err == nil {
			t.Errorf("%s: got %q", body, got)
		}
	}
	s := serve(t, map[string]answer{"GET /repos/acme/helm/collaborators/ada/permission": says(403, `{"message":"no"}`)})
	if got, err := s.client(newClock()).Permission(t.Context(), "ada"); err == nil {
		t.Errorf("got %q", got)
	}
}

func TestReact(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, pullRights)
	number := w.pull(t, c)
	comment := func() int64 {
		var made struct{ ID int64 }
		w.send(t, "POST", c, fmt.Sprintf("/issues/%d/comments", number), map[string]string{"body": "/land"}, &made)
		return made.ID
	}
	id := comment()
	for _, want := range []bool{true, false, false} {
		if fresh, err := c.React(t.Context(), id, "eyes"); err != nil || fresh != want {
			t.Errorf("got %v, %v; want %v", fresh, err, want)
		}
	}
	if _, err := c.React(t.Context(), id, "thumb"); !errors.Is(err, github.ErrArgument) {
		t.Errorf("got %v", err)
	}
	var absent *github.NotFoundError
	if _, err := c.React(t.Context(), 1, "eyes"); !errors.As(err, &absent) {
		t.Errorf("got %v", err)
	}
	for name, tt := range map[string]struct {
		rule           sim.Rule
		fresh, unclear bool
	}{
		"cut after the effect":  {sim.Rule{Cut: true}, false, true},
		"502 after the effect":  {sim.Rule{Status: 502, After: true}, false, true},
		"cut before the effect": {sim.Rule{Drop: true}, true, false},
		"503 before the effect": {sim.Rule{Status: 503}, true, false},
		"a limit":               {sim.Rule{Status: 429}, true, false},
		"no end":                {sim.Rule{Status: 500, Count: -1}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			id := comment()
			tt.rule.Path = "/reactions$"
			w.fault(t, tt.rule)
			defer w.ClearFaults()
			fresh, err := c.React(t.Context(), id, "rocket")
			var e *github.Error
			if fresh != tt.fresh || tt.unclear != (errors.As(err, &e) && e.Unclear) || !tt.unclear && err != nil {
				t.Errorf("got %v, %v", fresh, err)
			}
		})
	}
}

func TestChecks(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, pullRights)
	var out any
	for _, body := range []map[string]string{
		{"name": "plan", "head_sha": w.tip, "status": "completed", "conclusion": "failure"},
		{"name": "plan", "head_sha": w.tip, "status": "completed", "conclusion": "success"},
		{"name": "lint", "head_sha": w.tip, "status": "in_progress"},
	} {
		w.send(t, "POST", c, "/check-runs", body, &out)
		w.Sleep(t.Context(), time.Minute)
	}
	for _, state := range []string{"pending", "success"} {
		w.send(t, "POST", c, "/statuses/"+w.tip, map[string]string{"state": state, "context": "legacy"}, &out)
		w.Sleep(t.Context(), time.Minute)
	}
	all, err := c.Checks(t.Context(), w.tip)
	var got []string
	for _, k := range all {
		got = append(got, fmt.Sprint(k.Name, " ", k.State, " ", k.App, " ", k.Status, " ", k.Green(), " ", k.Pending()))
	}
	want := []string{"legacy success  true true false", "lint pending github-actions false false true", "plan success github-actions false true false"}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if none, err := c.Checks(t.Context(), strings.Repeat("d", 40)); err == nil {
		t.Errorf("got %v", none)
	}
	if _, err := c.Checks(t.Context(), "main"); !errors.Is(err, github.ErrArgument) {
		t.Errorf("got %v", err)
	}
	other := strings.Repeat("e", 40)
	for _, tt := range [][2]string{
		{`{"check_runs":[{"id":1,"head_sha":"` + other + `","status":"completed","conclusion":"success"}]}`, `{"sha":"` + sha + `"}`},
		{`{"check_runs":[]}`, `{"sha":"` + other + `","statuses":[{"state":"success"}]}`},
		{`[]`, `{"sha":"` + sha + `"}`},
	} {
		s := serve(t, map[string]answer{
			"GET /repos/acme/helm/commits/" + sha + "/check-runs": says(200, tt[0]),
			"GET /repos/acme/helm/commits/" + sha + "/status":     says(200, tt[1]),
		})
		if all, err := s.client(newClock()).Checks(t.Context(), sha); err == nil {
			t.Errorf("got %+v", all)
		}
	}
}

func TestGitPassword(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, map[string]string{"contents": "write"})
	if got, err := c.GitPassword(t.Context()); err != nil || got != c.Token || c.Calls() != 0 {
		t.Errorf("got %q, %v", string(got), err)
	}
	key, secret := newKey(t)
	app, err := w.AddApp(sim.NewApp{Slug: "shopfleet", Key: &key.PublicKey, Permissions: map[string]string{"contents": "write", "workflows": "write"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Install("acme"); err != nil {
		t.Fatal(err)
	}
	c = &github.Client{BaseURL: w.API, Owner: "acme", Repo: "helm", App: &github.App{ID: fmt.Sprint(app.ID), Key: secret}, Permissions: map[string]string{"contents": "write"}, Now: w.Now, Sleep: w.Sleep}
	first, err := c.GitPassword(t.Context())
	if err != nil || !strings.HasPrefix(string(first), "ghs_") || fmt.Sprint(first) != "***" {
		t.Fatalf("got %q, %v", string(first), err)
	}
	if again, err := c.GitPassword(t.Context()); err != nil || again != first || c.Calls() != 2 {
		t.Errorf("got another, %v, after %d calls", err, c.Calls())
	}
	w.Sleep(t.Context(), time.Hour)
	if later, err := c.GitPassword(t.Context()); err != nil || later == first {
		t.Errorf("an hour later it is the same, %v", err)
	}
	if got, err := (&github.Client{Owner: "acme", Repo: "helm"}).GitPassword(t.Context()); !errors.Is(err, github.ErrConfig) || got != "" {
		t.Errorf("got %q, %v", string(got), err)
	}
}

// Every method of a rebase: what it says without the permission, and that a fault on the way does not show.
func TestEachOfThem(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, pullRights)
	n := w.rebased(t, "acme")
	p, err := c.PutPull(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddLabels(t.Context(), p.Number, "hold"); err != nil {
		t.Fatal(err)
	}
	var comment struct{ ID int64 }
	w.send(t, "POST", c, fmt.Sprintf("/issues/%d/comments", p.Number), map[string]string{"body": "/land"}, &comment)
	stranger := w.client(t, map[string]string{"deployments": "read"})
	m, fresh := w.rebased(t, "zed"), -1
	for _, tt := range []struct {
		name, needs string
		do          func(*github.Client) error
	}{
		{"Pulls", "pull_requests: read", func(c *github.Client) error { _, err := c.Pulls(t.Context(), "open"); return err }},
		{"PutPull", "pull_requests: read", func(c *github.Client) error { _, err := c.PutPull(t.Context(), m); return err }},
		{"Comments", "issues: read", func(c *github.Client) error { _, err := c.Comments(t.Context(), p.Number, time.Time{}); return err }},
		{"Issue", "issues: read", func(c *github.Client) error { _, err := c.Issue(t.Context(), p.Number); return err }},
		{"FindIssue", "issues: read", func(c *github.Client) error { _, err := c.FindIssue(t.Context(), "m"); return err }},
		{"Checks", "checks: read", func(c *github.Client) error { _, err := c.Checks(t.Context(), w.tip); return err }},
		{"AddLabels", "issues: write", func(c *github.Client) error { return c.AddLabels(t.Context(), p.Number, "x") }},
		{"RemoveLabel", "issues: write", func(c *github.Client) error { return c.RemoveLabel(t.Context(), p.Number, "hold") }},
		{"React", "issues: write", func(c *github.Client) error {
			fresh++ // another each time: one that is there already answers otherwise
			_, err := c.React(t.Context(), comment.ID, []string{"eyes", "+1", "-1", "heart", "rocket", "hooray"}[fresh])
			return err
		}},
		{"ClosePull", "pull_requests: read", func(c *github.Client) error { return c.ClosePull(t.Context(), p.Number, "x") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.do(stranger)
			var e *github.Error
			if !errors.As(err, &e) || e.Status != 403 || !strings.Contains(e.Hint(), tt.needs) {
				t.Errorf("without the permission: %v, hint %q", err, e.Hint())
			}
			for _, rule := range []sim.Rule{{Status: 502, Count: 2}, {Status: 429}, {Status: 403, Body: `{"message":"You have exceeded a secondary rate limit"}`}, {Drop: true}} {
				w.fault(t, rule)
				if err := tt.do(c); err != nil {
					t.Errorf("%+v: %v", rule, err)
				}
				w.ClearFaults()
			}
		})
	}
	if got, err := w.client(t, nil).Permission(t.Context(), "wanda"); err != nil || got != "none" {
		t.Errorf("got %q, %v", got, err)
	}
}
