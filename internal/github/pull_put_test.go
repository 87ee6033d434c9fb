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

const (
	opPulls     = "GET /repos/{owner}/{repo}/pulls"
	opNewPull   = "POST /repos/{owner}/{repo}/pulls"
	opPull      = "GET /repos/{owner}/{repo}/pulls/{pull_number}"
	opEditPull  = "PATCH /repos/{owner}/{repo}/pulls/{pull_number}"
	opAddLabels = "POST /repos/{owner}/{repo}/issues/{issue_number}/labels"
	opComments  = "GET /repos/{owner}/{repo}/issues/{issue_number}/comments"
	opComment   = "POST /repos/{owner}/{repo}/issues/{issue_number}/comments"
)

// rebased makes the rebase branch of a shop, whose own branch is made too if it is not there.
func (w *world) rebased(t *testing.T, slug string) github.NewPull {
	t.Helper()
	for branch, files := range map[string]map[string]string{
		"shops/" + slug:  {"wrangler.jsonc": "{}\n"},
		"rebase/" + slug: {"wrangler.jsonc": "{}\n", "new": slug + "\n"},
	} {
		if _, err := w.repo.Commit(branch, "on "+branch, files); err != nil {
			t.Fatal(err)
		}
	}
	return github.NewPull{Head: "rebase/" + slug, Base: "shops/" + slug, Marker: "shopfleet rebase " + slug, Title: "Rebase " + slug, Body: "what is new"}
}

// person is a client of somebody who may write.
func (w *world) person(t *testing.T, login string) *github.Client {
	t.Helper()
	_, err := w.AddUser(login, "")
	if err := errors.Join(err, w.repo.SetPermission(login, "write"), w.AddToken("ghp_"+login, login)); err != nil {
		t.Fatal(err)
	}
	c := w.client(t, nil)
	c.Token, c.Login = github.Secret("ghp_"+login), login
	return c
}

var pullRights = map[string]string{"contents": "read", "pull_requests": "write", "issues": "write", "checks": "write", "statuses": "write"}

// A pull request's whole life, and what each step of it costs.
func TestPutPull(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, pullRights)
	n := w.rebased(t, "acme")
	person := w.person(t, "wanda")
	edit := func(change map[string]string) func() {
		return func() {
			var out any
			w.send(t, "PATCH", person, "/pulls/1", change, &out)
		}
	}
	for _, step := range []struct {
		name        string
		before      func()
		title, body string
		labels      []string
		ops         []string
		has, says   string
	}{
		{"made", nil, "Rebase acme", "one", nil, []string{opPulls, opNewPull}, "Rebase acme", "one"},
		{"the same", nil, "Rebase acme", "one\n\n", nil, []string{opPulls}, "Rebase acme", "one"},
		{"another text", nil, "Rebase acme", "two", nil, []string{opPulls, opEditPull}, "Rebase acme", "two"},
		{"another title", nil, "Rebase acme: 2 conflicts", "two", nil, []string{opPulls, opEditPull}, "Rebase acme: 2 conflicts", "two"},
		{"with a label", nil, "Rebase acme: 2 conflicts", "two", []string{"rebase"}, []string{opPulls, opAddLabels}, "Rebase acme: 2 conflicts", "two"},
		{"labelled in another case", nil, "Rebase acme: 2 conflicts", "two", []string{"Rebase"}, []string{opPulls}, "Rebase acme: 2 conflicts", "two"},
		{"a person's title", edit(map[string]string{"title": "mine"}), "Rebase acme: 3 conflicts", "two", nil, []string{opPulls}, "mine", "two"},
		{"a person's title and another text", nil, "Rebase acme: 3 conflicts", "three", nil, []string{opPulls, opEditPull}, "mine", "three"},
		{"a person's text", edit(map[string]string{"body": "<!-- shopfleet rebase acme -->\r\nx"}), "Rebase acme", "three", nil, []string{opPulls, opEditPull}, "Rebase acme", "three"},
	} {
		t.Run(step.name, func(t *testing.T) {
			if step.before != nil {
				step.before()
			}
			w.ops()
			n.Title, n.Body, n.Labels = step.title, step.body, step.labels
			p, err := c.PutPull(t.Context(), n)
			if err != nil || p.Number != 1 {
				t.Fatalf("got %+v, %v", p, err)
			}
			if got := w.ops(); fmt.Sprint(got) != fmt.Sprint(step.ops) {
				t.Errorf("called %v; want %v", got, step.ops)
			}
			there, err := c.PullRequest(t.Context(), 1)
			if err != nil || there.Title != step.has || p.Title != step.has || !strings.HasPrefix(there.Body, "<!-- shopfleet rebase acme title=") ||
				!strings.HasSuffix(strings.TrimSpace(there.Body), "-->\n"+step.says) {
				t.Errorf("it is %+v, %v", there, err)
			}
			for _, l := range step.labels {
				if !there.Has(l) {
					t.Errorf("it has the labels %q", there.Labels)
				}
			}
		})
	}
	// With a list at hand nothing is asked; a list that is out of date does no harm.
	open, err := c.Pulls(t.Context(), "open")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		open []github.PullRequest
		ops  []string
	}{{open, nil}, {[]github.PullRequest{}, []string{opNewPull, opPulls}}} {
		w.ops()
		n.Open = tt.open
		if p, err := c.PutPull(t.Context(), n); err != nil || p.Number != 1 || fmt.Sprint(w.ops()) != fmt.Sprint(tt.ops) {
			t.Errorf("with %d listed: %+v, %v", len(tt.open), p, err)
		}
	}
	all, err := c.Pulls(t.Context(), "all")
	if err != nil || len(all) != 1 || all[0].HTMLURL == "" || all[0].Created.IsZero() || all[0].Author != "github-actions[bot]" || all[0].Merged {
		t.Errorf("got %+v, %v", all, err)
	}
}

func TestPutPullOfOthers(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, pullRights)
	person := w.person(t, "wanda")
	n := w.rebased(t, "acme")
	var made struct{ Number int }
	w.send(t, "POST", person, "/pulls", map[string]string{"title": "mine", "head": n.Head, "base": n.Base, "body": "<!-- shopfleet rebase acme -->\nall is fine"}, &made)
	w.ops()
	_, err := c.PutPull(t.Context(), n)
	var taken *github.TakenError
	if !errors.As(err, &taken) || taken.Number != made.Number || taken.Author != "wanda" || taken.Hint() == "" {
		t.Errorf("got %v", err)
	}
	if got := w.ops(); len(got) != 1 {
		t.Errorf("called %v", got)
	}
	// Ours, and somebody took the first line away.
	n = w.rebased(t, "zed")
	p, err := c.PutPull(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	w.send(t, "PATCH", person, fmt.Sprintf("/pulls/%d", p.Number), map[string]string{"body": "gone"}, &out)
	if _, err := c.PutPull(t.Context(), n); !errors.As(err, &taken) || !taken.WithoutMark || taken.Number != p.Number {
		t.Errorf("got %v", err)
	}
	// A closed one is another: a new one is made.
	if err := c.ClosePull(t.Context(), p.Number, ""); err != nil {
		t.Fatal(err)
	}
	if again, err := c.PutPull(t.Context(), n); err != nil || again.Number == p.Number {
		t.Errorf("got %+v, %v", again, err)
	}
	// Nothing to land.
	if _, err := w.repo.Commit("shops/none", "x", map[string]string{"a": "x"}); err != nil {
		t.Fatal(err)
	}
	n.Head, n.Base = "main", "shops/none"
	if _, err := c.PutPull(t.Context(), n); !errors.Is(err, github.ErrNoCommits) {
		t.Errorf("got %v", err)
	}
	for _, bad := range []github.NewPull{{}, {Head: "a", Base: "b", Title: "t"}, {Head: "a b", Base: "b", Marker: "m", Title: "t"}, {Head: "a", Base: "b", Marker: "m", Title: "\n"}, {Head: "a", Base: "b", Marker: "m", Title: "t", Labels: []string{""}}} {
		w.ops()
		if _, err := c.PutPull(t.Context(), bad); !errors.Is(err, github.ErrArgument) || len(w.ops()) > 0 {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// Whichever answer is lost, and whether the call had an effect or not, there is one pull request in the end, with its
// label, and closed with one comment.
func TestPutPullOnce(t *testing.T) {
	for name, rule := range map[string]sim.Rule{
		"cut after the effect":  {Cut: true},
		"cut before the effect": {Drop: true},
		"502 after the effect":  {Status: 502, After: true},
		"503 before the effect": {Status: 503},
		"twice":                 {Cut: true, Count: 2},
		"drop twice":            {Drop: true, Count: 2},
		"secondary limit":       {Status: 403, Body: `{"message":"You have exceeded a secondary rate limit."}`, Header: map[string]string{"Retry-After": "60"}},
		"too many":              {Status: 429, Body: `{"message":"slow down"}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.client(t, pullRights)
			n := w.rebased(t, "acme")
			n.Labels = []string{"rebase/manual"}
			for method, path := range map[string]string{"POST": "/(pulls|labels|comments)$", "PATCH": "/pulls/", "DELETE": "/labels/"} {
				rule.Method, rule.Path = method, path
				w.fault(t, rule)
			}
			for _, body := range []string{"one", "two"} {
				n.Body = body
				if p, err := c.PutPull(t.Context(), n); err != nil || p.Number != 1 {
					t.Fatalf("got %+v, %v", p, err)
				}
			}
			if err := c.RemoveLabel(t.Context(), 1, "rebase/manual"); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := c.ClosePull(t.Context(), 1, "shops/acme is up to date"); err != nil {
					t.Fatal(err)
				}
			}
			w.ClearFaults()
			all, err := c.Pulls(t.Context(), "all")
			if err != nil || len(all) != 1 || all[0].State != "closed" || !strings.HasSuffix(all[0].Body, "two") || len(all[0].Labels) != 0 {
				t.Errorf("got %+v, %v", all, err)
			}
			if said, err := c.Comments(t.Context(), 1, time.Time{}); err != nil || len(said) != 1 || !strings.HasSuffix(said[0].Body, "up to date") {
				t.Errorf("got %+v, %v", said, err)
			}
		})
	}
}

func TestClosePull(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, pullRights)
	p, err := c.PutPull(t.Context(), w.rebased(t, "acme"))
	if err != nil {
		t.Fatal(err)
	}
	w.ops()
	if err := c.ClosePull(t.Context(), p.Number, "done"); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(w.ops()), fmt.Sprint([]string{opPull, opComments, opComment, opEditPull}); got != want {
		t.Errorf("called %s", got)
	}
	if err := c.ClosePull(t.Context(), p.Number, "done"); err != nil || len(w.ops()) != 1 {
		t.Errorf("closing again: %v", err)
	}
	var absent *github.NotFoundError
	for _, err := range []error{c.ClosePull(t.Context(), 99, "x"), c.AddLabels(t.Context(), 99, "x"), c.RemoveLabel(t.Context(), 99, "x")} {
		if !errors.As(err, &absent) {
			t.Errorf("got %v", err)
		}
	}
	if err := c.RemoveLabel(t.Context(), p.Number, "never/there"); err != nil {
		t.Error(err)
	}
	if err := c.AddLabels(t.Context(), p.Number); err != nil {
		t.Error(err)
	}
	for _, label := range []string{"", " a", "a\nb", strings.Repeat("a", 51)} {
		if err := errors.Join(c.AddLabels(t.Context(), 1, label)); !errors.Is(err, github.ErrArgument) {
			t.Errorf("%q: %v", label, err)
		}
		if err := c.RemoveLabel(t.Context(), 1, label); !errors.Is(err, github.ErrArgument) {
			t.Errorf("%q: %v", label, err)
		}
	}
}

// Lists end, hold each once, and nothing that could pass for ours.
func TestPullsHostile(t *testing.T) {
	one := func(number int, ref string) string {
		repo := `{"id":1,"full_name":"acme/helm"}`
		return fmt.Sprintf(`{"number":%d,"state":"open","title":"\u001b[2J","user":null,"head":{"ref":%q,"sha":%q,"repo":%s},"base":{"ref":"shops/a","sha":%q,"repo":%s}}`, number, ref, sha, repo, sha, repo)
	}
	s := serve(t, map[string]answer{"GET /repos/acme/helm/pulls": says(200, "["+one(1, "rebase/a")+","+one(1, "rebase/a")+","+one(2, "re\u202ebase")+`,{"number":3,"state":"open"}]`)})
	if all, err := s.client(newClock()).Pulls(t.Context(), "open"); err != nil || len(all) != 1 || all[0].Number != 1 {
		t.Errorf("got %+v, %v", all, err)
	}
	for name, body := range map[string]string{"no number": `[{"state":"open"}]`, "no list": `{"a":1}`, "cut": `[{"number":1`, "null": `[null]`} {
		s := serve(t, map[string]answer{"GET /repos/acme/helm/pulls": says(200, body)})
		if all, err := s.client(newClock()).Pulls(t.Context(), "open"); err == nil {
			t.Errorf("%s: got %+v", name, all)
		}
	}
	if _, err := s.client(newClock()).Pulls(t.Context(), "merged"); !errors.Is(err, github.ErrArgument) {
		t.Errorf("got %v", err)
	}
	// A pull request that is not what was asked for is not ours, and does not become it.
	s = serve(t, map[string]answer{
		"GET /repos/acme/helm/pulls":  says(200, "["+one(1, "rebase/b")+"]"),
		"POST /repos/acme/helm/pulls": says(422, `{"message":"Validation Failed","errors":[{"resource":"PullRequest","code":"custom","message":"A pull request already exists for acme:rebase/a."}]}`),
	})
	_, err := s.client(newClock()).PutPull(t.Context(), github.NewPull{Head: "rebase/a", Base: "shops/a", Marker: "m", Title: "t"})
	var taken *github.TakenError
	if !errors.As(err, &taken) || taken.Hint() != "run it again" {
		t.Errorf("got %v", err)
	}
	if got := s.got[0].query; !strings.Contains(got, "head=acme%3Arebase%2Fa") || !strings.Contains(got, "base=shops%2Fa") {
		t.Errorf("asked for %s", got)
	}
}
