package github_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/github"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

// A button that somebody presses comes back as an event that names it.
func TestButtons(t *testing.T) {
	w := newWorld(t)
	key, secret := newKey(t)
	e := newEar(t)
	rights := map[string]string{"checks": "write", "contents": "read"}
	app, err := w.AddApp(sim.NewApp{Slug: "shopfleet", Key: &key.PublicKey, HookURL: e.URL, HookSecret: hookSecret, Events: []string{"check_run"}, Permissions: rights})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Install("acme"); err != nil {
		t.Fatal(err)
	}
	c := &github.Client{
		BaseURL: w.API, Owner: "acme", Repo: "helm", App: &github.App{ID: fmt.Sprint(app.ID), Key: secret}, Transport: cloudflare.LoopbackOnly(nil),
		Permissions: rights, Now: w.Now, Sleep: w.Sleep,
	}
	w.person(t, "wanda")
	take := func() github.Event {
		t.Helper()
		w.Settle()
		heard, errs := e.take()
		if len(errs) > 0 || len(heard) == 0 || heard[len(heard)-1].Kind != "check_run" {
			t.Fatalf("heard %+v, %v", heard, errs)
		}
		return heard[len(heard)-1].Event
	}
	put := func(run github.CheckRun) {
		t.Helper()
		if _, err := c.PutCheckRun(t.Context(), run); err != nil {
			t.Fatal(err)
		}
	}
	run := github.CheckRun{Name: "shopfleet land", HeadSHA: w.tip, ExternalID: "land:7", Summary: "x", Conclusion: "action_required", Actions: []github.CheckAction{
		{Label: "Land", Description: "Lands the rebase of the shop", Identifier: "land"},
		{Label: strings.Repeat("ö", 20), Description: strings.Repeat("ö", 40), Identifier: strings.Repeat("x", 20)},
	}}
	put(run)
	id := take().CheckRun.ID
	if err := w.repo.Press("wanda", id, "land"); err != nil {
		t.Fatal(err)
	}
	got := take()
	if k := got.CheckRun; got.Action != "requested_action" || k.Requested != "land" || k.ID != id || k.ExternalID != "land:7" || k.AppID != app.ID || k.HeadSHA != w.tip || got.Sender != "wanda" || got.SenderID == 0 || got.SenderBot {
		t.Errorf("got %+v, %+v", got, k)
	}
	if err := w.repo.Rerequest("wanda", id); err != nil {
		t.Fatal(err)
	}
	if got := take(); got.Action != "rerequested" || got.CheckRun.Requested != "" || got.CheckRun.ID != id {
		t.Errorf("got %+v, %+v", got, got.CheckRun)
	}
	buttons := func(want int) {
		t.Helper()
		if list, err := w.repo.Actions(id); err != nil || len(list) != want {
			t.Errorf("%d buttons, %v; want %d", len(list), err, want)
		}
	}
	run.Actions, run.Summary = nil, "y" // says nothing about them
	put(run)
	buttons(2)
	run.Actions = []github.CheckAction{{Label: "Again", Description: "Again", Identifier: "again"}}
	put(run)
	buttons(1)
	run.Actions, run.Conclusion = []github.CheckAction{}, "success"
	put(run)
	buttons(0)
}

func TestButtonsRefused(t *testing.T) {
	c := serve(t, nil).client(newClock()) // nothing is sent
	good := github.CheckAction{Label: "Land", Description: "Lands it", Identifier: "land"}
	with := func(change func(*github.CheckAction)) []github.CheckAction {
		a := good
		change(&a)
		return []github.CheckAction{a}
	}
	for name, list := range map[string][]github.CheckAction{
		"four":                     {good, {"b", "b", "b"}, {"c", "c", "c"}, {"d", "d", "d"}},
		"two of one name":          {good, good},
		"no label":                 with(func(a *github.CheckAction) { a.Label = "" }),
		"a blank label":            with(func(a *github.CheckAction) { a.Label = " " }),
		"a long label":             with(func(a *github.CheckAction) { a.Label = strings.Repeat("x", 21) }),
		"two lines":                with(func(a *github.CheckAction) { a.Label = "a\nb" }),
		"not UTF-8":                with(func(a *github.CheckAction) { a.Label = "a\xff" }),
		"no description":           with(func(a *github.CheckAction) { a.Description = "" }),
		"a long description":       with(func(a *github.CheckAction) { a.Description = strings.Repeat("x", 41) }),
		"no identifier":            with(func(a *github.CheckAction) { a.Identifier = "" }),
		"a long identifier":        with(func(a *github.CheckAction) { a.Identifier = strings.Repeat("x", 21) }),
		"an identifier that hides": with(func(a *github.CheckAction) { a.Identifier = "a\u202eb" }),
	} {
		if _, err := c.PutCheckRun(t.Context(), github.CheckRun{Name: "x", HeadSHA: sha, Actions: list}); !errors.Is(err, github.ErrArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
