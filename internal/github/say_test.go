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

func TestNewComment(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, pullRights)
	number := w.pull(t, c)
	w.ops()
	k, err := c.NewComment(t.Context(), number, "shopfleet:order 4711", "under way")
	if err != nil || k.ID == 0 || k.Issue != number || k.Body != "<!-- shopfleet:order 4711 -->\nunder way" || k.Author != "github-actions[bot]" || k.AuthorID == 0 || !k.Bot || k.HTMLURL == "" || k.Created.IsZero() {
		t.Errorf("got %+v, %v", k, err)
	}
	if err := c.EditComment(t.Context(), k.ID, k.Body+"\ndone"); err != nil {
		t.Fatal(err)
	}
	if got := w.ops(); len(got) != 2 {
		t.Errorf("called %v", got)
	}
	again, err := c.Comment(t.Context(), k.ID)
	if err != nil || again.Body != k.Body+"\ndone" || again.Issue != number || again.ID != k.ID {
		t.Errorf("got %+v, %v", again, err)
	}
	// The marker that somebody else wrote is not ours.
	w.send(t, "POST", w.person(t, "eve"), fmt.Sprintf("/issues/%d/comments", number), map[string]string{"body": "<!-- lost -->\nmine"}, &struct{}{})
	for _, rule := range []sim.Rule{{Cut: true}, {Status: 502, After: true}, {Status: 201, After: true, Body: "{"}, {Status: 201, After: true, Body: "{}"}, {Drop: true}, {Status: 502}} {
		rule.Method, rule.Path = "POST", "/comments$"
		w.fault(t, rule)
		marker := fmt.Sprintf("order %d", time.Now().UnixNano())
		k, err := c.NewComment(t.Context(), number, marker, "x")
		if err != nil || k.ID == 0 || k.Issue != number || k.Author != "github-actions[bot]" || k.Created.IsZero() || k.HTMLURL == "" {
			t.Errorf("%+v: got %+v, %v", rule, k, err)
		}
		w.ClearFaults()
		n := 0
		all, err := c.Comments(t.Context(), number, time.Time{})
		for _, k := range all {
			if strings.HasPrefix(k.Body, "<!-- "+marker) {
				n++
			}
		}
		if err != nil || n != 1 {
			t.Errorf("%+v: %d comments, %v", rule, n, err)
		}
	}
	k, err = c.NewComment(t.Context(), number, "lost", "x")
	if err != nil || k.Author != "github-actions[bot]" {
		t.Errorf("got %+v, %v", k, err)
	}
	w.fault(t, sim.Rule{Method: "POST", Path: "/comments$", Cut: true})
	w.fault(t, sim.Rule{Method: "GET", Path: "/comments", Status: 503, Count: -1})
	var e *github.Error
	if k, err := c.NewComment(t.Context(), number, "unknown", "x"); !errors.As(err, &e) || !e.Unclear {
		t.Errorf("got %+v, %v", k, err)
	}
	w.ClearFaults()

	var absent *github.NotFoundError
	_, none := c.NewComment(t.Context(), 99, "m", "x")
	_, gone := c.Comment(t.Context(), 99999)
	for _, err := range []error{none, gone, c.EditComment(t.Context(), 99999, "x")} {
		if !errors.As(err, &absent) || absent.What == "" {
			t.Errorf("got %v", err)
		}
	}
	for _, marker := range []string{"", "a --> b", "a\nb", "--"} {
		if _, err := c.NewComment(t.Context(), number, marker, "x"); !errors.Is(err, github.ErrArgument) {
			t.Errorf("%q: %v", marker, err)
		}
	}
	for _, err := range []error{c.EditComment(t.Context(), 0, "x"), c.EditComment(t.Context(), k.ID, " \n")} {
		if !errors.Is(err, github.ErrArgument) {
			t.Error(err)
		}
	}
}

// What is too long is cut, what is secret is hidden, and both keep the marker.
func TestCommentsAreCutAndHidden(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, pullRights)
	c.Hide = func(s string) string { return strings.ReplaceAll(s, "hunter2", "***") }
	number := w.pull(t, c)
	k, err := c.NewComment(t.Context(), number, "m", "hunter2\n"+strings.Repeat("line\n", 20000))
	if err != nil || len(k.Body) > 65536 || strings.Contains(k.Body, "hunter2") || !strings.HasPrefix(k.Body, "<!-- m -->\n***\n") {
		t.Fatalf("got %d bytes, %v", len(k.Body), err)
	}
	if err := c.EditComment(t.Context(), k.ID, "<!-- m -->\nhunter2\x00\xff"+strings.Repeat("line\n", 20000)); err != nil {
		t.Fatal(err)
	}
	if k, err = c.Comment(t.Context(), k.ID); err != nil || len(k.Body) > 65536 || strings.Contains(k.Body, "hunter2") || !strings.HasPrefix(k.Body, "<!-- m -->\n***\uFFFD\uFFFD") {
		t.Errorf("got %.60q, %v", k.Body, err)
	}
}

func TestCommentsSince(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, pullRights)
	one := w.pull(t, c)
	two, err := c.PutIssue(t.Context(), "fleet", "Rebase", "x", true)
	if err != nil {
		t.Fatal(err)
	}
	old, err := c.NewComment(t.Context(), one, "a", "old")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.NewComment(t.Context(), one, "a", "older still"); err != nil {
		t.Fatal(err)
	}
	w.Sleep(t.Context(), time.Hour)
	since := w.Now()
	for i := range 120 {
		w.Sleep(t.Context(), time.Minute)
		if _, err := c.NewComment(t.Context(), []int{one, two}[i%2], "b", "new"); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.EditComment(t.Context(), old.ID, "edited"); err != nil {
		t.Fatal(err)
	}
	w.ops()
	all, err := c.CommentsSince(t.Context(), since)
	if got := w.ops(); err != nil || len(all) != 121 || len(got) != 2 {
		t.Fatalf("got %d, %v, %v", len(all), err, got)
	}
	if all[0].ID != old.ID || !all[0].Updated.After(all[0].Created) || all[0].Body != "edited" || all[1].Issue != one || all[2].Issue != two {
		t.Errorf("got %+v", all[:3])
	}
	for i := 1; i < len(all); i++ {
		if all[i].Created.Before(all[i-1].Created) {
			t.Errorf("%d is older than the one before", i)
		}
	}
	if all, err := c.CommentsSince(t.Context(), time.Time{}); err != nil || len(all) != 122 {
		t.Errorf("got %d, %v", len(all), err)
	}
	s := serve(t, map[string]answer{"GET /repos/acme/helm/issues/comments": says(200, `[{"id":1}]`)})
	if all, err := s.client(newClock()).CommentsSince(t.Context(), since); err == nil {
		t.Errorf("got %+v", all)
	}
}

func TestReactions(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, pullRights)
	number := w.pull(t, c)
	k, err := c.NewComment(t.Context(), number, "m", "x")
	if err != nil {
		t.Fatal(err)
	}
	if list, err := c.Reactions(t.Context(), k.ID); err != nil || len(list) != 0 {
		t.Errorf("got %v, %v", list, err)
	}
	wanda := w.person(t, "wanda")
	for _, by := range []*github.Client{c, wanda, wanda} {
		w.Sleep(t.Context(), time.Minute)
		if _, err := by.React(t.Context(), k.ID, "+1"); err != nil {
			t.Fatal(err)
		}
	}
	list, err := c.Reactions(t.Context(), k.ID)
	if err != nil || len(list) != 2 || list[0].Author != "github-actions[bot]" || list[1].Author != "wanda" || list[1].UserID == 0 || list[1].Content != "+1" || !list[1].Created.After(list[0].Created) {
		t.Errorf("got %+v, %v", list, err)
	}
	var absent *github.NotFoundError
	if _, err := c.Reactions(t.Context(), 99999); !errors.As(err, &absent) {
		t.Errorf("got %v", err)
	}
	for _, body := range []string{`[{"content":"+1"}]`, `[{"id":1,"content":"boo"}]`, `{}`} {
		s := serve(t, map[string]answer{"GET /repos/acme/helm/issues/comments/1/reactions": says(200, body)})
		if list, err := s.client(newClock()).Reactions(t.Context(), 1); err == nil {
			t.Errorf("%s: %+v", body, list)
		}
	}
	s := serve(t, map[string]answer{"GET /repos/acme/helm/issues/comments/1/reactions": says(200, `[{"id":2,"content":"eyes","user":null,"created_at":"2026-11-23T10:00:00Z"},{"id":1,"content":"eyes","created_at":"2026-11-23T09:00:00Z","user":{"login":"a","id":9}}]`)})
	if list, err := s.client(newClock()).Reactions(t.Context(), 1); err != nil || len(list) != 2 || list[0].UserID != 9 || list[1].Author != "" {
		t.Errorf("got %+v, %v", list, err)
	}
}

// A burst of claims does not wait for the pace of comments, which go on waiting.
func TestReactionsAreNotHeldBack(t *testing.T) {
	s := serve(t, map[string]answer{"POST /repos/acme/helm/issues/comments/1/reactions": says(201, `{}`), "PATCH /repos/acme/helm/issues/comments/1": says(200, `{}`)})
	k := newClock()
	c := s.client(k)
	for range 300 {
		if fresh, err := c.React(t.Context(), 1, "eyes"); err != nil || !fresh {
			t.Fatal(err)
		}
	}
	if len(k.slept) != 0 {
		t.Errorf("waited %v", k.slept)
	}
	if err := c.EditComment(t.Context(), 1, "x"); err != nil {
		t.Fatal(err)
	}
	if len(k.slept) != 1 || k.slept[0] > time.Second {
		t.Errorf("waited %v", k.slept)
	}
}

func TestInTeam(t *testing.T) {
	const path = "GET /orgs/acme/teams/ops/memberships/wanda"
	for _, tt := range []struct {
		say  answer
		want bool
		fail bool
	}{
		{says(200, `{"state":"active","role":"member"}`), true, false},
		{says(200, `{"state":"pending"}`), false, false},
		{says(200, `{}`), false, false},
		{says(404, `{"message":"Not Found"}`), false, false},
		{says(403, `{"message":"Resource not accessible by integration"}`), false, true},
		{says(200, `<`), false, true},
		{says(500, ``), false, true},
	} {
		s := serve(t, map[string]answer{path: tt.say})
		if got, err := s.client(newClock()).InTeam(t.Context(), "ops", "wanda"); got != tt.want || (err != nil) != tt.fail {
			t.Errorf("got %v, %v", got, err)
		}
	}
	c := serve(t, nil).client(newClock())
	for _, team := range []string{"", "a/b", "../x", "a b", "-"} {
		if in, err := c.InTeam(t.Context(), team, "wanda"); in || !errors.Is(err, github.ErrArgument) {
			t.Errorf("%q: %v, %v", team, in, err)
		}
	}
	for _, login := range []string{"", "a/b", "..", "a\n"} {
		if in, err := c.InTeam(t.Context(), "ops", login); in || err != nil {
			t.Errorf("%q: %v, %v", login, in, err)
		}
	}
}

const deployFlow = "on:\n  workflow_dispatch:\n    inputs:\n      shop:\n        type: string\njobs:\n  x:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo\n"

func TestDispatch(t *testing.T) {
	w := newWorld(t)
	for _, branch := range []string{"main", "shops/swicked"} {
		if _, err := w.repo.Commit(branch, "a workflow", map[string]string{".github/workflows/deploy.yml": deployFlow}); err != nil {
			t.Fatal(err)
		}
	}
	c := w.client(t, map[string]string{"actions": "write"})
	w.ops()
	url, err := c.Dispatch(t.Context(), "deploy.yml", "shops/swicked", map[string]string{"shop": "swicked"})
	if err != nil || !strings.Contains(url, "/acme/helm/actions/runs/") {
		t.Errorf("got %q, %v", url, err)
	}
	if got := w.ops(); len(got) != 1 {
		t.Errorf("called %v", got)
	}
	const path = "/dispatches$"
	for name, rule := range map[string]sim.Rule{
		"204":           {Status: 204, Body: " "},
		"nonsense":      {Status: 200, Body: "<html>", After: true},
		"no address":    {Status: 200, Body: `{"html_url":"javascript:alert(1)"}`, After: true},
		"an odd one":    {Status: 200, Body: `{"html_url":"https://x/)\n@all"}`, After: true},
		"dropped early": {Status: 429},
	} {
		rule.Method, rule.Path = "POST", path
		w.fault(t, rule)
		if url, err := c.Dispatch(t.Context(), "deploy.yml", "main", nil); err != nil || url != "" && name != "dropped early" {
			t.Errorf("%s: got %q, %v", name, url, err)
		}
		w.ClearFaults()
	}
	for name, rule := range map[string]sim.Rule{"lost": {Cut: true}, "502": {Status: 502}, "cut": {Drop: true}} {
		rule.Method, rule.Path = "POST", path
		w.fault(t, rule)
		w.ops()
		var e *github.Error
		if _, err := c.Dispatch(t.Context(), "deploy.yml", "main", nil); !errors.As(err, &e) || !e.Unclear || len(w.ops()) > 1 {
			t.Errorf("%s: got %v", name, err)
		}
		w.ClearFaults()
	}
	var e *github.Error
	if _, err := c.Dispatch(t.Context(), "deploy.yml", "gone", nil); !errors.As(err, &e) || e.Unclear || e.Status != 422 {
		t.Errorf("got %v", err)
	}
	var absent *github.NotFoundError
	if _, err := c.Dispatch(t.Context(), "gone.yml", "main", nil); !errors.As(err, &absent) {
		t.Errorf("got %v", err)
	}
	many := map[string]string{}
	for i := range 26 {
		many[fmt.Sprint("i", i)] = "x"
	}
	for _, tt := range []struct {
		file, branch string
		inputs       map[string]string
	}{{"", "main", nil}, {"../x.yml", "main", nil}, {"x.sh", "main", nil}, {"a/b.yml", "main", nil}, {"x.yml", "", nil}, {"x.yml", "a b", nil}, {"x.yml", "main", many}} {
		if _, err := c.Dispatch(t.Context(), tt.file, tt.branch, tt.inputs); !errors.Is(err, github.ErrArgument) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}
