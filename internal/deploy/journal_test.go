package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// diary is a journal in memory. Its entries tell their states in order.
type diary struct {
	mu      sync.Mutex
	entries []deploy.Release // oldest first
	states  map[string][]deploy.Status
	// begin, finish and read, when set, may refuse.
	begin, finish func(deploy.Release, deploy.Status) error
	read          error
	asked         int // how often Standing was asked
}

func (d *diary) Releases(context.Context, fleet.Shop) ([]deploy.Release, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := slices.Clone(d.entries)
	slices.Reverse(list)
	return list, d.read
}

func (d *diary) Standing(_ context.Context, id string) (deploy.Standing, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	list := d.states[id]
	return deploy.Standing{State: list[len(list)-1].State}, nil
}

func (d *diary) Begin(_ context.Context, _ fleet.Shop, r deploy.Release, s deploy.Status) (deploy.Release, error) {
	if d.begin != nil {
		if err := d.begin(r, s); err != nil {
			return deploy.Release{}, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.entries, func(e deploy.Release) bool { return e.Key() == r.Key() })
	if i < 0 {
		i = len(d.entries)
		kept, err := json.Marshal(r)
		if err != nil {
			return deploy.Release{}, err
		}
		r.ID, r.Digest = fmt.Sprint(i), deploy.EntryDigest(kept)
		d.entries = append(d.entries, r)
	}
	return d.entries[i], d.say(d.entries[i].ID, s)
}

func (d *diary) Finish(ctx context.Context, _ fleet.Shop, id string, s deploy.Status) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if d.finish != nil {
		if err := d.finish(deploy.Release{ID: id}, s); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.say(id, s)
}

func (d *diary) say(id string, s deploy.Status) error {
	if d.states == nil {
		d.states = map[string][]deploy.Status{}
	}
	d.states[id] = append(d.states[id], s)
	return nil
}

// line is an entry's states, as "in_progress success".
func (d *diary) line(i int) string {
	var words []string
	for _, s := range d.states[fmt.Sprint(i)] {
		words = append(words, string(s.State))
	}
	return strings.Join(words, " ")
}

func (s *stage) deployWith(d *diary) (*deploy.Outcome, error) {
	s.t.Helper()
	return s.deployIn(context.Background(), d)
}

func (s *stage) deployIn(ctx context.Context, d *diary) (*deploy.Outcome, error) {
	s.t.Helper()
	want, err := s.prepare(ctx)
	s.must(err)
	e := s.engine()
	e.Journal = d
	have, err := e.Observe(ctx, want)
	s.must(err)
	return e.Apply(ctx, want, have, deploy.Diff(want, have), nil)
}

func (s *stage) live() string {
	s.t.Helper()
	list, err := s.cf().Deployments(context.Background(), "helm-swicked")
	s.must(err)
	return list[0].Versions[0].VersionID
}

func TestJournal(t *testing.T) {
	s := newStage(t)
	d := &diary{}
	first, err := s.deployWith(d)
	s.must(err)
	if len(d.entries) != 1 || d.line(0) != "in_progress success" {
		t.Fatalf("after the first deploy: %d entries, %q", len(d.entries), d.line(0))
	}
	e := d.entries[0]
	if e.VersionID != first.VersionID || e.PreviousVersionID != "" || e.Commit != first.Commit || e.Shop != "swicked" ||
		e.Worker != "helm-swicked" || e.PlanDigest != first.Digest || len(e.Crons) != 3 || !slices.Equal(e.Hostnames, []string{swickedHost}) ||
		len(e.Migrations) == 0 || e.SchemaBefore == "" || e.SchemaAfter == "" || e.Bookmark != first.Bookmark || e.Content == "" || e.Main == "" {
		t.Errorf("the first entry is %+v", e)
	}

	// The entry is begun while the version before still has the traffic.
	s.write("public/new.txt", "new")
	before := ""
	d.begin = func(deploy.Release, deploy.Status) error { before = s.live(); return nil }
	second, err := s.deployWith(d)
	s.must(err)
	if before != first.VersionID || d.line(1) != "in_progress success" || d.line(0) != "in_progress success inactive" {
		t.Errorf("live when the entry was begun: %s, want %s; entries %q, %q", before, first.VersionID, d.line(0), d.line(1))
	}
	if e := d.entries[1]; e.PreviousVersionID != first.VersionID || e.VersionID != second.VersionID {
		t.Errorf("the second entry is %+v", e)
	}

	// Nothing changed, nothing is written.
	if _, err := s.deployWith(d); err != nil || len(d.entries) != 2 || d.line(1) != "in_progress success" {
		t.Errorf("an unchanged deploy: %v, %d entries, %q", err, len(d.entries), d.line(1))
	}
}

func TestJournalOfFailedGate(t *testing.T) {
	s := newStage(t)
	d := &diary{}
	first, err := s.deployWith(d)
	s.must(err)
	s.write("public/new.txt", "new")
	s.policy.Gate.Path, s.policy.Gate.Status = "/no-such-page", 299
	_, err = s.deployWith(d)
	if !errors.As(err, new(*deploy.GateError)) {
		t.Fatalf("got %v", err)
	}
	last := d.states["1"][1]
	if d.line(1) != "in_progress failure" || !strings.Contains(last.Text, first.VersionID) || d.line(0) != "in_progress success" {
		t.Errorf("entries %q, %q; the last says %q", d.line(0), d.line(1), last.Text)
	}

	// That this cannot be written either is said beside it, and not that nothing was released.
	s.write("public/new.txt", "newer")
	d.finish = func(deploy.Release, deploy.Status) error { return errors.New("no answer") }
	_, err = s.deployWith(d)
	var problem *deploy.JournalError
	if !errors.As(err, new(*deploy.GateError)) || !errors.As(err, &problem) || !problem.Released {
		t.Errorf("got %v", err)
	}
}

// A run that dies after its release leaves an entry in progress; the same command again finishes it.
func TestJournalHeals(t *testing.T) {
	s := newStage(t)
	d := &diary{finish: func(deploy.Release, deploy.Status) error { return errors.New("no answer") }}
	_, err := s.deployWith(d)
	var problem *deploy.JournalError
	if !errors.As(err, &problem) || !problem.Released || !strings.Contains(err.Error(), "released, but") {
		t.Fatalf("got %v", err)
	}
	d.finish = nil
	out, err := s.deployWith(d)
	s.must(err)
	if out.Changed || out.Recorded != s.live() || d.line(0) != "in_progress success" || len(d.entries) != 1 {
		t.Errorf("changed %v, recorded %q, %d entries, %q", out.Changed, out.Recorded, len(d.entries), d.line(0))
	}
}

func TestJournalAdopts(t *testing.T) {
	ctx := context.Background()
	t.Run("ours, unchanged", func(t *testing.T) {
		s := newStage(t)
		first := s.mustDeploy()
		d := &diary{}
		_, err := s.deployWith(d) // another commit with equal content
		s.must(err)
		if e := d.entries[0]; len(d.entries) != 1 || !e.Late || e.Outside || e.Commit != first.Commit || e.VersionID != first.VersionID || !e.Gate.Passed || d.line(0) != "success" {
			t.Errorf("%d entries, %q, %+v", len(d.entries), d.line(0), e)
		}
	})
	t.Run("ours, replaced", func(t *testing.T) {
		s := newStage(t)
		first := s.mustDeploy()
		s.write("public/new.txt", "new")
		d := &diary{}
		out, err := s.deployWith(d)
		s.must(err)
		if e := d.entries[0]; len(d.entries) != 2 || !e.Late || e.Outside || e.Commit != first.Commit || d.line(0) != " inactive" || out.Recorded != first.VersionID {
			t.Errorf("%d entries, %q, %+v", len(d.entries), d.line(0), e)
		}
	})
	t.Run("of somebody else", func(t *testing.T) {
		s := newStage(t)
		s.mustDeploy()
		hold(t, s, "helm-swicked", "")
		theirs := s.live()
		s.edit = func(src *deploy.Source) { src.OverwriteOutside = true }
		d := &diary{}
		_, err := s.deployWith(d)
		s.must(err)
		if e := d.entries[0]; len(d.entries) != 2 || !e.Outside || e.Late || e.Commit != "" || e.Content != "" || e.VersionID != theirs || d.line(0) != " inactive" {
			t.Errorf("%d entries, %q, %+v", len(d.entries), d.line(0), e)
		}
	})
	t.Run("shown by a plan", func(t *testing.T) {
		s := newStage(t)
		s.mustDeploy()
		want, err := s.prepare(ctx)
		s.must(err)
		e := s.engine()
		have, err := e.Observe(ctx, want)
		s.must(err)
		if have.Unrecorded() {
			t.Error("a version counts as unrecorded although there is no journal")
		}
		e.Journal = &diary{}
		with, err := e.Observe(ctx, want)
		s.must(err)
		if !with.Unrecorded() || deploy.Diff(want, with).Digest() != deploy.Diff(want, have).Digest() {
			t.Error("unrecorded is not seen, or the plan depends on the journal")
		}
	})
}

// Without its entry nothing is released.
func TestJournalRefuses(t *testing.T) {
	refuse := func(deploy.Release, deploy.Status) error { return errors.New("no answer") }
	t.Run("read", func(t *testing.T) {
		s := newStage(t)
		s.ForgetRequests()
		_, err := s.deployWith(&diary{read: errors.New("no answer")})
		var problem *deploy.JournalError
		if !errors.As(err, &problem) || problem.Released {
			t.Errorf("got %v", err)
		}
		if w := writes(s.Requests()); len(w) > 0 {
			t.Errorf("written: %q", w)
		}
	})
	t.Run("begin", func(t *testing.T) {
		s := newStage(t)
		first := s.mustDeploy()
		s.write("public/new.txt", "new")
		_, err := s.deployWith(&diary{begin: refuse})
		var problem *deploy.JournalError
		if !errors.As(err, &problem) || problem.Released || s.live() != first.VersionID {
			t.Errorf("got %v, live %s", err, s.live())
		}
	})
}

// The last status is written although the caller has gone.
func TestJournalAfterCancel(t *testing.T) {
	s := newStage(t)
	s.mustDeploy()
	s.write("public/new.txt", "new")
	ctx, cancel := context.WithCancel(context.Background())
	d := &diary{}
	d.begin = func(_ deploy.Release, st deploy.Status) error {
		if st.State == deploy.StateInProgress {
			cancel()
		}
		return nil
	}
	_, err := s.deployIn(ctx, d)
	if !errors.Is(err, context.Canceled) || d.line(1) != "in_progress error" {
		t.Errorf("got %v, %q", err, d.line(1))
	}
}

// Another run that releases while this one is on its way is not undone.
func TestReleasedMeanwhile(t *testing.T) {
	s := newStage(t)
	s.mustDeploy()
	s.write("public/new.txt", "older")
	d := &diary{}
	var newer string
	d.begin = func(_ deploy.Release, st deploy.Status) error {
		if st.State == deploy.StateInProgress {
			s.write("public/new.txt", "newer")
			newer = s.mustDeploy().VersionID
			s.passed += 3 * time.Second
		}
		return nil
	}
	_, err := s.deployWith(d)
	var stale *deploy.StaleError
	if !errors.As(err, &stale) || stale.Live != newer || s.live() != newer {
		t.Errorf("got %v, live %s, want %s", err, s.live(), newer)
	}
	if d.line(1) != "in_progress error" {
		t.Errorf("the entry says %q", d.line(1))
	}
}

// The entries of runs that died are made inactive by the next release; what is said of a failure stays.
func TestJournalRetires(t *testing.T) {
	s := newStage(t)
	d := &diary{}
	_, err := s.deployWith(d)
	s.must(err)
	s.write("public/new.txt", "1")
	d.finish = func(_ deploy.Release, st deploy.Status) error {
		if st.State != deploy.StateInProgress {
			return errors.New("no answer")
		}
		return nil
	}
	if _, err = s.deployWith(d); err == nil {
		t.Fatal("no error")
	}
	if d.line(0) != "in_progress success" || d.line(1) != "in_progress" {
		t.Fatalf("%q, %q", d.line(0), d.line(1))
	}
	d.finish = nil
	out, err := s.deployWith(d) // the same content: the run that died is brought to its end
	s.must(err)
	if out.Changed || d.line(0) != "in_progress success inactive" || d.line(1) != "in_progress success" {
		t.Errorf("changed %v, %q, %q", out.Changed, d.line(0), d.line(1))
	}
	// A failure, a release that was never made, and then one that is.
	good := s.policy.Gate
	s.write("public/new.txt", "2")
	s.policy.Gate.Path, s.policy.Gate.Status = "/no-such-page", 299
	if _, err = s.deployWith(d); err == nil {
		t.Fatal("no error")
	}
	s.policy.Gate = good
	d.entries = append(d.entries, deploy.Release{ID: "3", Shop: "swicked", VersionID: "never-released"})
	s.must(d.say("3", deploy.Status{State: deploy.StateInProgress}))
	s.write("public/new.txt", "3")
	_, err = s.deployWith(d)
	s.must(err)
	for i, want := range []string{"in_progress success inactive", "in_progress success inactive", "in_progress failure", "in_progress inactive", "in_progress success"} {
		if d.line(i) != want {
			t.Errorf("entry %d: %q, want %q", i, d.line(i), want)
		}
	}
}

// A deploy of crons alone keeps the version and has an entry of its own, known good by what the live release says of itself.
func TestJournalOfCrons(t *testing.T) {
	s := newStage(t)
	d := &diary{}
	first, err := s.deployWith(d)
	s.must(err)
	s.replaceConfig("0 13 * * *", "0 12 * * *")
	out, err := s.deployWith(d)
	s.must(err)
	if len(d.entries) != 2 || d.entries[1].VersionID != first.VersionID || d.entries[1].PreviousVersionID != first.VersionID ||
		d.line(0) != "in_progress success inactive" || d.line(1) != "in_progress success" || out.Gate.Skipped != "" || !slices.Contains(d.entries[1].Crons, "0 12 * * *") {
		t.Errorf("%d entries, %q, %q, gate %+v", len(d.entries), d.line(0), d.line(1), out.Gate)
	}
	if out, err = s.deployWith(d); err != nil || out.Changed || out.Recorded != "" || len(d.entries) != 2 {
		t.Errorf("again: %+v, %v, %d entries", out, err, len(d.entries))
	}
}

// Until it is released a version is uploaded and no more.
func TestUploadedIsNotReleased(t *testing.T) {
	s := newStage(t)
	first := s.mustDeploy()
	s.write("public/new.txt", "new")
	out, err := s.deployWith(&diary{begin: func(deploy.Release, deploy.Status) error { return errors.New("no answer") }})
	if err == nil || out.VersionID != first.VersionID || out.Uploaded == "" || out.Uploaded == first.VersionID || len(out.Migrations) != 0 {
		t.Errorf("%v: %+v", err, out)
	}
}

// A secret that is changed makes a version of its own. It is the release with another secret, also when it was restored.
func TestJournalAfterSecretChange(t *testing.T) {
	s := newStage(t)
	d := &diary{}
	first, err := s.deployWith(d)
	s.must(err)
	s.secrets = nil
	s.must(s.cf().SecretsBulk(context.Background(), "helm-swicked", map[string]cloudflare.Secret{"SESSION_KEY": "another"}))
	changed := s.live()
	s.write("public/new.txt", "1")
	good := s.policy.Gate
	s.policy.Gate.Path, s.policy.Gate.Status = "/no-such-page", 299
	out, err := s.deployWith(d)
	if !errors.As(err, new(*deploy.GateError)) || out.Restored != changed {
		t.Fatalf("got %v, restored %q, want %s", err, out.Restored, changed)
	}
	if e := d.entries[1]; e.VersionID != changed || e.Outside || !e.Late || e.Commit != first.Commit {
		t.Errorf("the version with the other secret is %+v", e)
	}
	s.policy.Gate = good
	out, err = s.deployWith(d)
	if err != nil || out.PreviousVersionID != changed || out.Recorded != "" || len(d.entries) != 4 {
		t.Fatalf("after a restore: %v, %d entries, %+v", err, len(d.entries), out)
	}
}

// Nothing but the live release stands as if it were live, however the runs before it ended.
func TestJournalRetiresOnce(t *testing.T) {
	refuse := func(_ deploy.Release, st deploy.Status) error {
		if st.State == deploy.StateInactive {
			return errors.New("no answer")
		}
		return nil
	}
	for name, test := range map[string]struct {
		between func(*testing.T, *stage, *diary)
		want    []string
	}{
		"released outside": {func(t *testing.T, s *stage, d *diary) {
			hold(t, s, "helm-swicked", "")
			s.edit = func(src *deploy.Source) { src.OverwriteOutside = true }
		}, []string{"in_progress success inactive", " inactive", "in_progress success"}},
		"cancelled at its gate": {func(t *testing.T, s *stage, d *diary) {
			s.write("public/new.txt", "1")
			ctx, cancel := context.WithCancel(context.Background())
			want, err := s.prepare(ctx)
			s.must(err)
			e := s.engine()
			e.Journal = d
			have, err := e.Observe(ctx, want)
			s.must(err)
			_, err = e.Apply(ctx, want, have, deploy.Diff(want, have), func(ev deploy.Event) {
				if ev.Action == deploy.ActionGate {
					cancel()
				}
			})
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v", err)
			}
		}, []string{"in_progress success inactive", "in_progress error inactive", "in_progress success"}},
		"no answer about the release before": {func(t *testing.T, s *stage, d *diary) {
			s.write("public/new.txt", "1")
			d.finish = refuse
			if _, err := s.deployWith(d); err == nil {
				t.Fatal("no error")
			}
			d.finish = nil
			_, err := s.deployWith(d)
			s.must(err)
		}, []string{"in_progress success inactive", "in_progress success inactive", "in_progress success"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			d := &diary{}
			_, err := s.deployWith(d)
			s.must(err)
			test.between(t, s, d)
			s.write("public/new.txt", "2")
			_, err = s.deployWith(d)
			s.must(err)
			for i, want := range test.want {
				if d.line(i) != want {
					t.Errorf("entry %d: %q, want %q", i, d.line(i), want)
				}
			}
		})
	}
}

// An upload that releases is followed by all that a release needs, also when its entry cannot be written.
func TestUploadThatReleasesIsAsked(t *testing.T) {
	s := newStage(t)
	out, err := s.deployWith(&diary{begin: func(deploy.Release, deploy.Status) error { return errors.New("no answer") }})
	var problem *deploy.JournalError
	if !errors.As(err, &problem) || !problem.Released || !out.Gate.Passed {
		t.Errorf("got %v, gate %+v", err, out.Gate)
	}
	crons, err := s.cf().Schedules(context.Background(), "helm-swicked")
	if err != nil || len(crons) != 3 {
		t.Errorf("%v, crons %q", err, crons)
	}
	d := &diary{}
	if out, err = s.deployWith(d); err != nil || out.Changed || d.line(0) != "success" {
		t.Errorf("again: %v, %+v, %q", err, out, d.line(0))
	}
}

// Nor is what was released meanwhile undone by an upload that releases.
func TestReleasedBeforeUploadThatReleases(t *testing.T) {
	s := newStage(t)
	s.mustDeploy()
	was, base := s.config, s.base
	s.replaceConfig(`"workers_dev": false,`, `"migrations": [{ "tag": "v1", "new_sqlite_classes": ["Till"] }], "workers_dev": false,`)
	s.write("src/index.ts", string(s.read("src/index.ts"))+"\nexport class Till {}\n")
	e, want, have, plan, err := s.plan(context.Background())
	s.must(err)
	if !plan.Has(deploy.ActionPut) {
		t.Fatalf("steps %+v", plan.Steps)
	}
	s.config, s.base = was, base
	s.write("public/new.txt", "newer")
	newer := s.mustDeploy().VersionID
	s.passed += 3 * time.Second
	_, err = e.Apply(context.Background(), want, have, plan, nil)
	var stale *deploy.StaleError
	if !errors.As(err, &stale) || stale.Live != newer || s.live() != newer {
		t.Errorf("got %v, live %s, want %s", err, s.live(), newer)
	}
}

// Crons that go back and forth: each time is an entry of its own, and the newest is the one that holds.
func TestJournalOfCronsBackAndForth(t *testing.T) {
	s := newStage(t)
	d := &diary{}
	_, err := s.deployWith(d)
	s.must(err)
	crons := []string{"0 13 * * *", "0 12 * * *"}
	for i := range 4 {
		s.replaceConfig(crons[i%2], crons[(i+1)%2])
		s.edit = func(src *deploy.Source) { src.Commit = fmt.Sprintf("%040x", 0xa+i%2) }
		_, err := s.deployWith(d)
		s.must(err)
		if len(d.entries) != i+2 || d.line(i+1) != "in_progress success" || d.line(i) != "in_progress success inactive" || d.entries[i+1].Commit != fmt.Sprintf("%040x", 0xa+i%2) {
			t.Fatalf("%d: %d entries, %q, %q", i, len(d.entries), d.line(i), d.line(i+1))
		}
	}
	if out, err := s.deployWith(d); err != nil || out.Changed || out.Recorded != "" {
		t.Errorf("again: %v, %+v", err, out)
	}
}

// An entry that is used again is not looked for among those behind it.
func TestJournalAsksLittle(t *testing.T) {
	s := newStage(t)
	d := &diary{}
	for i := range 5 {
		s.write("public/new.txt", fmt.Sprint(i))
		_, err := s.deployWith(d)
		s.must(err)
	}
	s.edit = func(src *deploy.Source) { src.Commit = fmt.Sprintf("%040x", 0xa) }
	for range 2 {
		s.must(s.cf().PutSchedules(context.Background(), "helm-swicked", []string{"1 1 * * *"}))
		d.asked = 0
		_, err := s.deployWith(d)
		s.must(err)
	}
	if len(d.entries) != 6 || d.line(5) != "in_progress success in_progress success" || d.asked > 1 {
		t.Errorf("%d entries, %q, asked %d times", len(d.entries), d.line(5), d.asked)
	}
}

// Nor while it is asked: the gate then sees another run's release, and that is no reason to go back behind both.
func TestReleasedDuringGate(t *testing.T) {
	s := newStage(t)
	d := &diary{}
	_, err := s.deployWith(d)
	s.must(err)
	s.write("public/new.txt", "older")
	ctx := context.Background()
	want, err := s.prepare(ctx)
	s.must(err)
	e := s.engine()
	e.Journal = d
	have, err := e.Observe(ctx, want)
	s.must(err)
	var newer string
	out, err := e.Apply(ctx, want, have, deploy.Diff(want, have), func(ev deploy.Event) {
		if ev.Action == deploy.ActionGate && newer == "" {
			s.write("public/new.txt", "newer")
			out, err := s.deployWith(d)
			s.must(err)
			newer = out.VersionID
		}
	})
	var stale *deploy.StaleError
	if !errors.As(err, &stale) || stale.Live != newer || s.live() != newer || out.VersionID != newer || out.Restored != "" {
		t.Errorf("got %v, live %s, want %s", err, s.live(), newer)
	}
	for i, want := range []string{"in_progress success inactive", "in_progress inactive error", "in_progress success"} {
		if d.line(i) != want {
			t.Errorf("entry %d: %q, want %q", i, d.line(i), want)
		}
	}
}

// A version of ours that somebody else released again is written down once.
func TestJournalAdoptsOnce(t *testing.T) {
	s := newStage(t)
	first := s.mustDeploy()
	s.write("public/new.txt", "1")
	s.mustDeploy()
	_, err := s.cf().CreateDeployment(context.Background(), "helm-swicked", cloudflare.Release{
		Versions: []cloudflare.Share{{VersionID: first.VersionID, Percentage: 100}}, Message: "rolled back",
	})
	s.must(err)
	d := &diary{}
	good := s.policy.Gate
	s.policy.Gate.Path, s.policy.Gate.Status = "/no-such-page", 299
	for i := range 2 {
		s.write("public/new.txt", fmt.Sprint(2+i))
		if _, err = s.deployWith(d); !errors.As(err, new(*deploy.GateError)) {
			t.Fatal(err)
		}
	}
	s.policy.Gate = good
	s.write("public/new.txt", "4")
	out, err := s.deployWith(d)
	s.must(err)
	if out.Recorded != "" || d.line(0) != " inactive" {
		t.Errorf("recorded %q, %q, %+v", out.Recorded, d.line(0), d.entries)
	}
}
