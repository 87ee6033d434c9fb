package github_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/github"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

// dying lets a number of requests of a method through and ends the run at the next, before or after its effect.
type dying struct {
	next   http.RoundTripper
	method string
	after  bool
	left   atomic.Int64
	end    func()
}

func (d *dying) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != d.method || !strings.HasSuffix(r.URL.Path, "/pulls") || d.left.Add(-1) >= 0 {
		return d.next.RoundTrip(r)
	}
	if d.after {
		resp, err := d.next.RoundTrip(r)
		if err == nil {
			resp.Body.Close()
		}
	}
	d.end()
	return nil, context.Canceled
}

// Three hundred pull requests, below GitHub's limits, with everything that can go wrong in the middle and as many reruns
// as that takes: each is there once.
func TestThreeHundredPulls(t *testing.T) {
	const shops = 300
	w := newWorld(t)
	key, secret := newKey(t)
	rights := map[string]string{"contents": "write", "pull_requests": "write"}
	app, err := w.AddApp(sim.NewApp{Slug: "shopfleet", Key: &key.PublicKey, Permissions: rights})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Install("acme"); err != nil {
		t.Fatal(err)
	}
	pace := &github.Pace{}
	client := func(next http.RoundTripper) *github.Client {
		return &github.Client{
			BaseURL: w.API, Owner: "acme", Repo: "helm", App: &github.App{ID: fmt.Sprint(app.ID), Key: secret}, Permissions: rights,
			Transport: next, Pace: pace, Now: w.Now, Sleep: w.Sleep,
		}
	}
	var pulls []github.NewPull
	var drafts []git.Draft
	for i := range shops {
		slug := fmt.Sprintf("s%03d", i)
		pulls = append(pulls, github.NewPull{Head: "rebase/" + slug, Base: "shops/" + slug, Marker: "shopfleet rebase " + slug, Title: "Rebase " + slug, Body: "x"})
		drafts = append(drafts,
			git.Draft{Branch: "shops/" + slug, Message: "shop " + slug, Files: map[string][]byte{"slug": []byte(slug)}},
			git.Draft{Branch: "rebase/" + slug, Message: "rebased", From: "shops/" + slug, Files: map[string][]byte{"new": []byte("x")}})
	}
	w.push(t, client(cloudflare.LoopbackOnly(nil)), drafts)

	for _, r := range []sim.Rule{
		{Skip: 25, Status: 403, Body: `{"message":"You have exceeded a secondary rate limit"}`, Header: map[string]string{"Retry-After": "75"}},
		{Skip: 50, Status: 429, Body: `{"message":"slow down"}`},
		{Skip: 75, Cut: true},
		{Skip: 100, Drop: true},
		{Skip: 125, Status: 502, After: true},
		{Skip: 150, Status: 403, Body: `{"message":"Resource not accessible by integration"}`},
		{Skip: 175, Status: 422, Body: `{"message":"Validation Failed","errors":[{"message":"not now"}]}`},
		{Skip: 200, Status: 500, Count: 3},
	} {
		r.Method, r.Path = "POST", "/pulls$"
		w.fault(t, r)
	}
	start := w.Now()
	w.ForgetRequests()
	// run is one run over all shops that stops at the first error. What GitHub refused is left for the next one.
	run := func(c *github.Client, ctx context.Context) error {
		for _, n := range pulls {
			if _, err := c.PutPull(ctx, n); err != nil {
				return err
			}
		}
		return nil
	}
	failed := 0
	for err = errors.New("not yet"); err != nil && failed < 10; {
		if err = run(client(cloudflare.LoopbackOnly(nil)), t.Context()); err != nil {
			failed++
		}
		// Killed somewhere in the next runs, before or behind the effect of a request.
		if failed == 1 || failed == 2 {
			ctx, cancel := context.WithCancel(t.Context())
			d := &dying{next: cloudflare.LoopbackOnly(nil), method: "POST", after: failed == 2, end: cancel}
			d.left.Store(10)
			if err := run(client(d), ctx); !errors.Is(err, context.Canceled) {
				t.Fatalf("a killed run says %v", err)
			}
			cancel()
		}
	}
	if err != nil || failed != 3 {
		t.Errorf("%d runs failed, the last with %v; want 3: forbidden, refused, and a fault that stays", failed, err)
	}
	for _, r := range w.Requests() {
		if r.Fault == 0 && (r.Status == 403 || r.Status == 429) {
			t.Fatalf("%s was over a limit of GitHub's", r.Op)
		}
	}
	if took := w.Now().Sub(start); took > time.Hour || took < 20*time.Minute {
		t.Errorf("it took %v", took)
	}
	w.ClearFaults()
	w.ForgetRequests()
	c := client(cloudflare.LoopbackOnly(nil))
	all, err := c.Pulls(t.Context(), "all")
	if err != nil || len(all) != shops {
		t.Fatalf("there are %d pull requests, %v", len(all), err)
	}
	heads := map[string]bool{}
	for _, p := range all {
		heads[p.Head.Ref] = true
	}
	if len(heads) != shops || c.Calls() != 5 { // three pages, and two for the token
		t.Errorf("of %d branches, in %d calls", len(heads), c.Calls())
	}
}

// A landing as contract 2c draws it: the shop's branch moves to the rebased head and the old tip is kept, in one push with
// leases and past a rule that binds everybody else; the pull request then shows as merged.
func TestLanding(t *testing.T) {
	w := newWorld(t)
	key, secret := newKey(t)
	rights := map[string]string{"contents": "write", "pull_requests": "write", "issues": "write"}
	app, err := w.AddApp(sim.NewApp{Slug: "shopfleet", Key: &key.PublicKey, Permissions: rights})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Install("acme"); err != nil {
		t.Fatal(err)
	}
	if err := w.repo.Protect(sim.Ruleset{Name: "shops", Include: []string{"refs/heads/shops/**"}, Rules: []string{"non_fast_forward", "deletion"}, Bypass: []sim.Bypass{{App: app}}}); err != nil {
		t.Fatal(err)
	}
	c := &github.Client{
		BaseURL: w.API, Owner: "acme", Repo: "helm", App: &github.App{ID: fmt.Sprint(app.ID), Key: secret}, Permissions: rights,
		Transport: cloudflare.LoopbackOnly(nil), Now: w.Now, Sleep: w.Sleep,
	}
	main, err := w.repo.Commit("main", "news", map[string]string{"news": "1\n"})
	if err != nil {
		t.Fatal(err)
	}
	repo, err := git.Bare(t.Context(), filepath.Join(t.TempDir(), "bare.git"))
	if err != nil {
		t.Fatal(err)
	}
	remote := func(c *github.Client) git.Remote {
		return git.Remote{URL: w.repo.CloneURL(), Password: func(ctx context.Context) (string, error) {
			password, err := c.GitPassword(ctx)
			return string(password), err
		}}
	}
	if err := repo.Fetch(t.Context(), remote(c), "+refs/heads/*:refs/heads/*"); err != nil {
		t.Fatal(err)
	}
	ids, err := repo.Write(t.Context(), git.Draft{Branch: "rebase/swicked", From: "main", Message: "a shop", Files: map[string][]byte{"wrangler.jsonc": []byte("{}\n")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.Push(t.Context(), remote(c), []git.RefUpdate{{Name: "refs/heads/rebase/swicked", After: ids[0]}}); err != nil {
		t.Fatal(err)
	}
	p, err := c.PutPull(t.Context(), github.NewPull{Head: "rebase/swicked", Base: "shops/swicked", Marker: "shopfleet rebase swicked", Title: "Rebase swicked", Body: "x"})
	if err != nil || p.Author != app.Bot {
		t.Fatalf("got %+v, %v", p, err)
	}
	landing := []git.RefUpdate{
		{Name: "refs/heads/shops/swicked", Before: w.tip, After: ids[0]}, {Name: "refs/heads/backup/swicked/1", After: w.tip},
	}
	var refused *git.PushError
	if err := repo.Push(t.Context(), remote(w.person(t, "wanda")), landing); !errors.As(err, &refused) || !refused.Has(git.Protected) {
		t.Errorf("a person got by: %v", err)
	}
	w.fault(t, sim.Rule{Method: "POST", Path: "receive-pack", Cut: true})
	if err := repo.Push(t.Context(), remote(c), landing); err != nil {
		t.Fatal(err)
	}
	if p, err = c.PullRequest(t.Context(), p.Number); err != nil || !p.Merged || p.State != "closed" {
		t.Errorf("got %+v, %v", p, err)
	}
	if err := c.ClosePull(t.Context(), p.Number, "landed"); err != nil { // left alone
		t.Error(err)
	}
	if said, err := c.Comments(t.Context(), p.Number, time.Time{}); err != nil || len(said) != 0 {
		t.Errorf("got %+v, %v", said, err)
	}
	refs, err := repo.RemoteRefs(t.Context(), remote(c), "refs/heads/")
	if err != nil || refs["refs/heads/shops/swicked"] != ids[0] || refs["refs/heads/backup/swicked/1"] != w.tip || refs["refs/heads/main"] != main {
		t.Errorf("got %v, %v", refs, err)
	}
	if all, err := c.Pulls(t.Context(), "closed"); err != nil || len(all) != 1 || !all[0].Merged {
		t.Errorf("got %+v, %v", all, err)
	}
}

// push writes commits and pushes their branches with the client's token.
func (w *world) push(t *testing.T, c *github.Client, drafts []git.Draft) {
	t.Helper()
	repo, err := git.Bare(t.Context(), filepath.Join(t.TempDir(), "push.git"))
	if err != nil {
		t.Fatal(err)
	}
	ids, err := repo.Write(t.Context(), drafts...)
	if err != nil {
		t.Fatal(err)
	}
	var moves []git.RefUpdate
	for i, d := range drafts {
		moves = append(moves, git.RefUpdate{Name: "refs/heads/" + d.Branch, After: ids[i]})
	}
	remote := git.Remote{URL: w.repo.CloneURL(), Password: func(ctx context.Context) (string, error) {
		password, err := c.GitPassword(ctx)
		return string(password), err
	}}
	if err := repo.Push(t.Context(), remote, moves); err != nil {
		t.Fatal(err)
	}
}
