package github_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kvick/shopfleet/internal/github"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

const (
	hold      = "refs/shopfleet/holds/swicked"
	opRef     = "GET /repos/{owner}/{repo}/git/ref/{ref...}"
	opMakeRef = "POST /repos/{owner}/{repo}/git/refs"
	opGraph   = "POST /graphql"
)

var refRights = map[string]string{"contents": "write"}

func (w *world) note(t *testing.T, c *github.Client, text string) string {
	t.Helper()
	made, err := c.NewNote(t.Context(), w.tip, text)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// set makes a ref, or moves it, behind the client's back.
func (w *world) refs(t *testing.T, c *github.Client) string {
	t.Helper()
	list, err := c.Refs(t.Context(), "refs/shopfleet/holds/")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(list)
}

func TestRefs(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, refRights)
	if list, err := c.Refs(t.Context(), "refs/shopfleet/holds/"); err != nil || len(list) != 0 {
		t.Errorf("got %v, %v", list, err)
	}
	w.ops()
	one, two := w.note(t, c, `{"shopfleet_hold":1,"reason":"öl"}`), w.note(t, c, "two")
	if got := w.ops(); len(got) != 4 || one == two {
		t.Errorf("called %v for %s and %s", got, one, two)
	}
	if text, err := c.CommitMessage(t.Context(), one); err != nil || text != `{"shopfleet_hold":1,"reason":"öl"}` {
		t.Errorf("got %q, %v", text, err)
	}
	w.ops()
	for i, tt := range []struct {
		sha  string
		made bool
	}{{one, true}, {two, false}, {one, false}} {
		if made, err := c.CreateRef(t.Context(), github.Ref{Name: hold, SHA: tt.sha}); err != nil || made != tt.made {
			t.Errorf("%d: got %v, %v", i, made, err)
		}
	}
	if got := w.ops(); len(got) != 3 {
		t.Errorf("called %v", got)
	}
	if made, err := c.CreateRef(t.Context(), github.Ref{Name: "refs/shopfleet/holds/acme", SHA: two}); err != nil || !made {
		t.Errorf("got %v, %v", made, err)
	}
	if made, err := c.CreateRef(t.Context(), github.Ref{Name: "refs/shopfleet/holdsx", SHA: two}); err != nil || !made {
		t.Errorf("got %v, %v", made, err)
	}
	want := fmt.Sprint([]github.Ref{{Name: "refs/shopfleet/holds/acme", SHA: two}, {Name: hold, SHA: one}})
	if got := w.refs(t, c); got != want {
		t.Errorf("got %s; want %s", got, want)
	}

	var absent *github.NotFoundError
	if _, err := c.CommitMessage(t.Context(), sha); !errors.As(err, &absent) {
		t.Errorf("got %v", err)
	}
	if _, err := c.NewNote(t.Context(), sha, "x"); !errors.As(err, &absent) {
		t.Errorf("got %v", err)
	}
	if made, err := c.CreateRef(t.Context(), github.Ref{Name: "refs/shopfleet/holds/x", SHA: sha}); err == nil || made {
		t.Errorf("made a ref to nothing: %v", err)
	}
	if _, err := w.client(t, map[string]string{"contents": "read"}).CreateRef(t.Context(), github.Ref{Name: "refs/shopfleet/holds/x", SHA: one}); err == nil {
		t.Error("made a ref without the right")
	}
}

func TestRefArguments(t *testing.T) {
	s := serve(t, nil) // nothing is sent
	c := s.client(newClock())
	for _, name := range []string{"", "heads/x", "refs/", "refs/a b", "refs/a/../b", "refs/a\n", "refs/a//b", "refs/a?x", "refs/a.lock"} {
		if _, err := c.CreateRef(t.Context(), github.Ref{Name: name, SHA: sha}); !errors.Is(err, github.ErrArgument) {
			t.Errorf("CreateRef %q: %v", name, err)
		}
		if _, err := c.SwapRef(t.Context(), name, sha, ""); !errors.Is(err, github.ErrArgument) {
			t.Errorf("SwapRef %q: %v", name, err)
		}
		if _, err := c.Refs(t.Context(), name); name != "refs/" && !errors.Is(err, github.ErrArgument) {
			t.Errorf("Refs %q: %v", name, err)
		}
	}
	for _, id := range []string{"main", sha[:39], strings.Repeat("0", 40), sha + "\n", strings.ToUpper(sha)} {
		_, create := c.CreateRef(t.Context(), github.Ref{Name: hold, SHA: id})
		_, from := c.SwapRef(t.Context(), hold, id, sha)
		_, to := c.SwapRef(t.Context(), hold, sha, id)
		_, read := c.CommitMessage(t.Context(), id)
		_, like := c.NewNote(t.Context(), id, "x")
		for _, err := range []error{create, from, to, read, like} {
			if !errors.Is(err, github.ErrArgument) {
				t.Errorf("%q: %v", id, err)
			}
		}
	}
	for _, before := range []string{"", sha} {
		if _, err := c.SwapRef(t.Context(), hold, before, sha); !errors.Is(err, github.ErrArgument) {
			t.Errorf("%q: %v", before, err)
		}
	}
	if _, err := c.NewNote(t.Context(), sha, " \n"); !errors.Is(err, github.ErrArgument) {
		t.Error(err)
	}
}

// Whatever happens to the answers, who is told that the ref is theirs has it.
func TestCreateRefWithFaults(t *testing.T) {
	for name, rules := range map[string][]sim.Rule{
		"lost":                         {{Method: "POST", Path: "/git/refs$", Cut: true}},
		"502 with effect":              {{Method: "POST", Path: "/git/refs$", Status: 502, After: true}},
		"502 without":                  {{Method: "POST", Path: "/git/refs$", Status: 502}},
		"dropped":                      {{Method: "POST", Path: "/git/refs$", Drop: true}},
		"lost, and not to be seen yet": {{Method: "POST", Path: "/git/refs$", Cut: true}, {Method: "GET", Path: "/git/ref/", Status: 404}},
		"a limit":                      {{Method: "POST", Path: "/git/refs$", Status: 429}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.client(t, refRights)
			mine, theirs := w.note(t, c, "mine"), w.note(t, c, "theirs")
			for _, r := range rules {
				w.fault(t, r)
			}
			if made, err := c.CreateRef(t.Context(), github.Ref{Name: hold, SHA: mine}); err != nil || !made {
				t.Errorf("got %v, %v", made, err)
			}
			w.ClearFaults()
			for _, r := range rules {
				w.fault(t, r)
			}
			if made, err := c.CreateRef(t.Context(), github.Ref{Name: hold, SHA: theirs}); err != nil || made {
				t.Errorf("the second got %v, %v", made, err)
			}
		})
	}
	w := newWorld(t)
	c := w.client(t, refRights)
	mine := w.note(t, c, "mine")
	w.fault(t, sim.Rule{Method: "POST", Path: "/git/refs$", Cut: true})
	w.fault(t, sim.Rule{Path: "/git/ref/", Status: 503, Count: -1})
	var e *github.Error
	if made, err := c.CreateRef(t.Context(), github.Ref{Name: hold, SHA: mine}); made || !errors.As(err, &e) || !e.Unclear {
		t.Errorf("got %v, %v", made, err)
	}
}

func TestSwapRef(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, refRights)
	one, two, three := w.note(t, c, "one"), w.note(t, c, "two"), w.note(t, c, "three")
	if _, err := c.CreateRef(t.Context(), github.Ref{Name: hold, SHA: one}); err != nil {
		t.Fatal(err)
	}
	w.ops()
	for _, tt := range []struct {
		before, after string
		swapped       bool
		ops           []string
		at            string
	}{
		{one, two, true, []string{opGraph, opGraph}, two},
		{two, three, true, []string{opGraph}, three},
		{two, one, false, []string{opGraph, opRef}, three},
		{one, "", false, []string{opGraph, opRef}, three},
		{three, "", true, []string{opGraph}, ""},
		{three, "", false, []string{opGraph, opRef}, ""},
		{three, one, false, []string{opGraph, opRef}, ""},
	} {
		swapped, err := c.SwapRef(t.Context(), hold, tt.before, tt.after)
		if err != nil || swapped != tt.swapped {
			t.Errorf("%+v: got %v, %v", tt, swapped, err)
		}
		if got := w.ops(); !slices.Equal(got, tt.ops) {
			t.Errorf("%+v: called %v", tt, got)
		}
		want := "[]"
		if tt.at != "" {
			want = fmt.Sprint([]github.Ref{{Name: hold, SHA: tt.at}})
		}
		if got := w.refs(t, c); got != want {
			t.Errorf("%+v: at %s", tt, got)
		}
		w.ops()
	}
	if _, err := c.CreateRef(t.Context(), github.Ref{Name: hold, SHA: one}); err != nil {
		t.Fatal(err)
	}
	if swapped, err := w.client(t, map[string]string{"contents": "read"}).SwapRef(t.Context(), hold, one, two); swapped || err == nil || !strings.Contains(err.Error(), "not accessible") {
		t.Errorf("without the right: %v, %v", swapped, err)
	}
	w.ops()
	if swapped, err := c.SwapRef(t.Context(), hold, one, sha); swapped || err == nil || !strings.Contains(err.Error(), "Something went wrong") {
		t.Errorf("to nothing: %v, %v", swapped, err)
	}
	if got := w.ops(); len(got) != 6 {
		t.Errorf("called %v", got)
	}
}

func TestSwapRefWithFaults(t *testing.T) {
	for name, rules := range map[string][]sim.Rule{
		"lost":              {{Path: "^/graphql$", Skip: 1, Cut: true}},
		"502 with effect":   {{Path: "^/graphql$", Skip: 1, Status: 502, After: true}},
		"502 without":       {{Path: "^/graphql$", Skip: 1, Status: 502}},
		"502 at the name":   {{Path: "^/graphql$", Status: 502}},
		"dropped":           {{Path: "^/graphql$", Skip: 1, Drop: true}},
		"an error, done":    {{Path: "^/graphql$", Skip: 1, Status: 200, After: true, Body: `{"errors":[{"message":"Something went wrong"}]}`}},
		"an error, not yet": {{Path: "^/graphql$", Skip: 1, Status: 200, Body: `{"data":null,"errors":[{"message":"Something went wrong"}]}`}},
		"nonsense, done":    {{Path: "^/graphql$", Skip: 1, Status: 200, After: true, Body: `<html>`}},
		"a limit":           {{Path: "^/graphql$", Skip: 1, Status: 403, Body: `{"message":"You have exceeded a secondary rate limit"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, gone := range []bool{false, true} {
				if gone && name == "an error, done" {
					continue // that somebody else took it off cannot be told from that
				}
				w := newWorld(t)
				c := w.client(t, refRights)
				one, two := w.note(t, c, "one"), w.note(t, c, "two")
				if _, err := c.CreateRef(t.Context(), github.Ref{Name: hold, SHA: one}); err != nil {
					t.Fatal(err)
				}
				if gone {
					two = ""
				}
				for _, r := range rules {
					w.fault(t, r)
				}
				if swapped, err := c.SwapRef(t.Context(), hold, one, two); err != nil || !swapped {
					t.Errorf("got %v, %v", swapped, err)
				}
				w.ClearFaults()
				want := fmt.Sprint([]github.Ref{{Name: hold, SHA: two}})
				if gone {
					want = "[]"
				}
				if got := w.refs(t, c); got != want {
					t.Errorf("at %s", got)
				}
			}
		})
	}
	w := newWorld(t)
	c := w.client(t, refRights)
	one, two := w.note(t, c, "one"), w.note(t, c, "two")
	w.fault(t, sim.Rule{Path: "^/graphql$", Skip: 1, Cut: true})
	w.fault(t, sim.Rule{Path: "/git/ref/", Status: 503, Count: -1})
	var e *github.Error
	if swapped, err := c.SwapRef(t.Context(), hold, one, two); swapped || !errors.As(err, &e) || !e.Unclear {
		t.Errorf("got %v, %v", swapped, err)
	}
	limited := serve(t, map[string]answer{
		"POST /graphql": inTurn(says(200, `{"data":{"repository":{"id":"R_1"}}}`), says(200, `{"errors":[{"type":"RATE_LIMITED","message":"API rate limit exceeded"}]}`)),
		"GET /repos/acme/helm/git/ref/shopfleet/holds/swicked": says(200, `{"ref":"`+hold+`","object":{"sha":"`+sha+`"}}`),
	})
	var limit *github.RateLimitError
	if _, err := limited.client(newClock()).SwapRef(t.Context(), hold, sha, strings.Repeat("a", 40)); !errors.As(err, &limit) {
		t.Errorf("got %v", err)
	}
}

// Of many who want a ref one gets it, and of many who want to replace it too.
func TestRefsAreWonOnce(t *testing.T) {
	w := newWorld(t)
	const many = 8
	clients, notes := make([]*github.Client, many), make([]string, many)
	for i := range clients {
		clients[i] = w.client(t, refRights)
		notes[i] = w.note(t, clients[i], fmt.Sprint("note ", i))
	}
	race := func(do func(i int) (bool, error)) (winner int) {
		t.Helper()
		var wg sync.WaitGroup
		won, errs := make([]bool, many), make([]error, many)
		for i := range many {
			wg.Go(func() { won[i], errs[i] = do(i) })
		}
		wg.Wait()
		winner, n := -1, 0
		for i := range many {
			if errs[i] != nil {
				t.Error(errs[i])
			}
			if won[i] {
				winner, n = i, n+1
			}
		}
		if n != 1 {
			t.Fatalf("%d won", n)
		}
		return winner
	}
	first := race(func(i int) (bool, error) {
		return clients[i].CreateRef(t.Context(), github.Ref{Name: hold, SHA: notes[i]})
	})
	second := race(func(i int) (bool, error) {
		if i == first {
			return clients[i].SwapRef(t.Context(), hold, notes[first], w.tip)
		}
		return clients[i].SwapRef(t.Context(), hold, notes[first], notes[i])
	})
	at := notes[second]
	if second == first {
		at = w.tip
	}
	if got := w.refs(t, clients[0]); got != fmt.Sprint([]github.Ref{{Name: hold, SHA: at}}) {
		t.Errorf("at %s", got)
	}
	race(func(i int) (bool, error) { return clients[i].SwapRef(t.Context(), hold, at, "") })
}

func TestRefsMalformed(t *testing.T) {
	for name, body := range map[string]string{
		"another prefix": `[{"ref":"refs/heads/main","object":{"sha":"` + sha + `"}}]`,
		"no object":      `[{"ref":"` + hold + `"}]`,
		"no list":        `{}`,
	} {
		s := serve(t, map[string]answer{"GET /repos/acme/helm/git/matching-refs/shopfleet/holds/": says(200, body)})
		if list, err := s.client(newClock()).Refs(t.Context(), "refs/shopfleet/holds/"); err == nil {
			t.Errorf("%s: %v", name, list)
		}
	}
	s := serve(t, map[string]answer{"GET /repos/acme/helm/git/commits/" + sha: says(200, `{"sha":"`+strings.Repeat("a", 40)+`","message":"x","tree":{"sha":"`+sha+`"}}`)})
	if text, err := s.client(newClock()).CommitMessage(t.Context(), sha); err == nil {
		t.Errorf("got %q", text)
	}
}
