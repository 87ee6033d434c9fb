package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/sim"
)

// book is a diary that tells how its entries stand as GitHub's deployments do.
type book struct{ diary }

func (b *book) Standing(_ context.Context, id string) (deploy.Standing, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	var s deploy.Standing
	list := b.states[id]
	for i := len(list) - 1; i >= 0; i-- {
		if i == len(list)-1 {
			s.State, s.Text = list[i].State, list[i].Text
		}
		if list[i].State == deploy.StateFailure || list[i].State == deploy.StateError {
			break
		}
		s.Passed = s.Passed || list[i].State == deploy.StateSuccess
	}
	return s, nil
}

// counter is a shop with a journal and a git that remembers what each commit had.
type counter struct {
	*stage
	b       *book
	commits map[string]deploy.Source
	want    deploy.RollbackWant
	urgent  bool
	budget  *cloudflare.Budget
}

func newCounter(t testing.TB) *counter {
	t.Helper()
	return newCounterIn(t, sim.Options{KeepBodies: true})
}

func newCounterIn(t testing.TB, o sim.Options) *counter {
	t.Helper()
	k := &counter{stage: newStageIn(t, o), b: &book{}, commits: map[string]deploy.Source{}}
	k.edit = func(src *deploy.Source) {
		kept := *src
		kept.Dir = t.TempDir()
		k.must(os.CopyFS(filepath.Join(kept.Dir, "migrations"), os.DirFS(filepath.Join(src.Dir, "migrations"))))
		kept.Config = slices.Clone(src.Config)
		k.commits[src.Commit] = kept
	}
	shop, err := k.policy.Shop("swicked")
	k.must(err)
	k.want = deploy.RollbackWant{Shop: shop, Policy: k.policy, By: "alice", Tool: "test", Source: func(_ context.Context, commit string) (deploy.Source, error) {
		src, ok := k.commits[commit]
		if !ok {
			return src, fmt.Errorf("commit %s: %w", commit, fs.ErrNotExist)
		}
		return src, nil
	}}
	return k
}

func (k *counter) machine() *deploy.Engine {
	e := k.engine()
	e.CF.Urgent, e.CF.Budget = k.urgent, k.budget
	gate := *e.Gate
	gate.Sleep = func(ctx context.Context, d time.Duration) error { // nobody else releases here while a rollback waits for that
		time.Sleep(min(d, 10*time.Millisecond))
		return ctx.Err()
	}
	e.Gate = &gate
	if k.b != nil {
		e.Journal = k.b
	}
	return e
}

// ship deploys what the tree has, with a page that says so, and returns the version.
func (k *counter) ship(page string) string {
	k.t.Helper()
	out, err := k.shipping(page)
	k.must(err)
	return out.VersionID
}

func (k *counter) shipping(page string) (*deploy.Outcome, error) {
	k.t.Helper()
	ctx := context.Background()
	k.stage.write("public/page.txt", page)
	want, err := k.prepare(ctx)
	k.must(err)
	e := k.machine()
	have, err := e.Observe(ctx, want)
	k.must(err)
	return e.Apply(ctx, want, have, deploy.Diff(want, have), nil)
}

// fail makes the gate fail while f runs.
func (k *counter) fail(f func()) {
	was := k.policy.Gate
	k.policy.Gate.Path, k.policy.Gate.Status, k.policy.Gate.Timeout = "/no-such-page", 299, 0
	f()
	k.policy.Gate = was
}

func (k *counter) planned() *deploy.RollbackPlan {
	k.t.Helper()
	p, err := k.machine().PlanRollback(context.Background(), k.want)
	k.must(err)
	return p
}

func (k *counter) back() (*deploy.RollbackPlan, *deploy.RollbackOutcome, error) {
	k.t.Helper()
	e := k.machine()
	p, err := e.PlanRollback(context.Background(), k.want)
	if err != nil {
		return nil, nil, err
	}
	out, err := e.Rollback(context.Background(), k.want, p, nil)
	return p, out, err
}

func (k *counter) mustBack(to string) *deploy.RollbackOutcome {
	k.t.Helper()
	p, out, err := k.back()
	if err != nil {
		k.t.Fatalf("rolling back: %v\n%v", err, p)
	}
	if k.live() != to || out.VersionID != to {
		k.t.Fatalf("live is %s, the outcome says %s, want %s", k.live(), out.VersionID, to)
	}
	return out
}

// stands is how an entry of a version stands, the newest one.
func (k *counter) stands(version string) string {
	for i := len(k.b.entries) - 1; i >= 0; i-- {
		if k.b.entries[i].VersionID == version {
			return k.b.line(i)
		}
	}
	return ""
}

func (k *counter) refused(rule string) *deploy.RollbackPlan {
	k.t.Helper()
	before := k.live()
	p, _, err := k.back()
	var found deploy.Findings
	if !errors.As(err, &found) || !hasError(found, rule) {
		k.t.Fatalf("got %v, want a finding %s", err, rule)
	}
	if k.live() != before {
		k.t.Errorf("live is %s, was %s", k.live(), before)
	}
	return p
}

func TestRollback(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	second := k.ship("two")
	third := k.ship("three")
	k.want.Reason = "checkout is broken"
	p, out, err := k.back()
	k.must(err)
	if k.live() != second || out.VersionID != second || out.PreviousVersionID != third || !out.Changed || !out.Gate.Passed || len(out.NotRecorded) != 0 {
		t.Fatalf("live %s, outcome %+v", k.live(), out)
	}
	if p.Target.VersionID != second || p.Target.Label != deploy.ReadySafe || !p.Target.Good || p.Live != third || len(p.Candidates) != 2 || p.Candidates[1].VersionID != first ||
		p.From == "" || p.From == p.Target.Commit || len(p.NotUndone) == 0 {
		t.Errorf("the plan is %+v", p)
	}
	if s := k.stands(third); s != "in_progress success failure" {
		t.Errorf("the bad release's entry went through %q", s)
	}
	if s := k.stands(second); s != "in_progress success" || len(k.b.entries) != 4 {
		t.Errorf("the rollback's entry went through %q, %d entries", s, len(k.b.entries))
	}
	last := k.b.states["2"][2]
	if !strings.Contains(last.Text, "rolled back to version "+second) || !strings.Contains(last.Text, "alice") || !strings.Contains(last.Text, "checkout is broken") {
		t.Errorf("it says %q", last.Text)
	}
	if f := deploy.Chain(reversed(k.b.entries), true); len(f) > 0 {
		t.Errorf("the journal is no chain any more: %v", f)
	}
	// Once more goes one further back, and never to the bad one; then there is nothing left.
	k.mustBack(first)
	k.refused("rollback-nothing")
	// What was taken down is not gone back to by name either.
	k.want.To = third
	k.refused("rollback-taken-down")
	// A deploy of the same commit is deliberate.
	k.want.To = ""
	fourth := k.ship("three")
	fifth := k.ship("four")
	k.mustBack(fourth)
	_ = fifth
}

func reversed(list []deploy.Release) []deploy.Release {
	out := slices.Clone(list)
	slices.Reverse(out)
	return out
}

// From a cold start the traffic changes hands in the fourth round of calls at the latest, also where rows have to be asked for.
func TestRollbackRounds(t *testing.T) {
	for name, arrange := range map[string]func(*counter){
		"code alone": func(*counter) {},
		"crons and schema": func(k *counter) {
			k.replaceConfig(`"0 15 1 * *"`, `"0 16 1 * *"`)
			k.stage.write("migrations/017_more.sql", "CREATE TABLE gifts (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id));\n")
		},
		"no journal": func(k *counter) { k.b = nil },
	} {
		t.Run(name, func(t *testing.T) {
			k := newCounter(t)
			first := k.ship("one")
			arrange(k)
			k.ship("two")
			k.SetLatency(30 * time.Millisecond)
			k.ForgetRequests()
			k.mustBack(first)
			var until []sim.Request
			all := k.Requests()
			for _, r := range all {
				until = append(until, r)
				if r.Method == "POST" && strings.HasSuffix(r.Path, "/deployments") {
					break
				}
			}
			n := sim.Rounds(until)
			t.Logf("%d rounds and %d calls until the release, %d rounds and %d calls in all", n, len(until), sim.Rounds(all), len(all))
			if n > 4 || len(until) == len(all) {
				t.Errorf("%d rounds until the release, want at most 4", n)
			}
		})
	}
}
