package deploy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
)

// Event is one line of progress.
type Event struct {
	Action Action
	Text   string
}

// Outcome is what Apply did. It is filled as far as Apply came, also when it
// returns an error.
type Outcome struct {
	Shop   string `json:"shop"`
	Commit string `json:"commit"`
	// Changed reports whether anything was written.
	Changed bool `json:"changed"`
	// VersionID takes the traffic now; PreviousVersionID did before.
	VersionID         string `json:"version_id,omitempty"`
	PreviousVersionID string `json:"previous_version_id,omitempty"`
	// Uploaded is the version that was made. Where it is not VersionID it takes no traffic.
	Uploaded string `json:"uploaded_version_id,omitempty"`
	// Bookmark is the database's point in time before Migrations were applied.
	Bookmark   string   `json:"bookmark,omitempty"`
	Migrations []string `json:"migrations,omitempty"`
	// MigrationsElsewhere are files of the plan that another run applied meanwhile.
	MigrationsElsewhere []string `json:"migrations_elsewhere,omitempty"`
	// SchemaBefore and SchemaAfter are the schema's fingerprints around Migrations.
	SchemaBefore string `json:"schema_before,omitempty"`
	SchemaAfter  string `json:"schema_after,omitempty"`
	// URL is the shop's address.
	URL  string     `json:"url"`
	Gate GateResult `json:"gate"`
	// Before is what the version said before it took traffic; nil when it was not asked.
	Before *GateResult `json:"before_release,omitempty"`
	// Restored is the version that was released again because the gate was not
	// passed; "" when that was not necessary or not possible.
	Restored string `json:"restored,omitempty"`
	// NotUndone says what a restore left as the failed release made it.
	NotUndone []string `json:"not_undone,omitempty"`
	// Recorded is a version that was live without the journal knowing how it stands, and is written down now.
	Recorded string `json:"recorded,omitempty"`
	// Adopted counts calls whose answer was lost and whose effect was then found.
	Adopted  int           `json:"adopted,omitempty"`
	Digest   string        `json:"plan_digest"`
	Duration time.Duration `json:"duration_ns"`
	// Calls and Writes count what was sent to Cloudflare for this shop after its plan.
	Calls  int `json:"calls"`
	Writes int `json:"writes"`
}

// staleAfter is how old the reads behind a plan may be when Apply begins.
// Older plans are made again first and must come out the same.
const staleAfter = 30 * time.Second

// farewell bounds the writes that are made after the context is cancelled or a
// gate failed: they restore, they never go forward.
const farewell = 30 * time.Second

// GateError says that a release did not pass its gate. When Restored is empty
// there was no known good version, and the release stays.
type GateError struct {
	Result   GateResult
	Restored string
	// Back says that the release is one that a rollback went back to. Nothing is put back a second time.
	Back bool
	// Before says that the version was asked before its release and never took traffic: Restored is live as it was.
	Before bool
}

func (e *GateError) Error() string {
	if e.Before {
		return "the version did not pass before its release: " + e.Result.URL + ": " + e.Result.Reason + "; it took no traffic, version " + e.Restored + " stays"
	}
	what := "the release did not pass its gate: " + e.Result.URL + ": " + e.Result.Reason
	if e.Back {
		return "the shop went back, and " + what + "; it stays, since one rollback does not undo another"
	}
	if e.Restored == "" {
		return what + "; there is no earlier version to restore"
	}
	return what + "; version " + e.Restored + " takes all traffic again"
}

// Hint says where to look.
func (e *GateError) Hint() string {
	if e.Before {
		return "correct the commit or its bindings, and deploy again; version and reason are in the journal"
	}
	if e.Back {
		return "open " + e.Result.URL + " and the Worker's logs; if it is the release and not what is around it, roll back to an older one by its id"
	}
	return "open " + e.Result.URL + " and the Worker's logs; the version stays uploaded and can be looked at"
}

// StaleError says that the world moved between the plan and its application.
type StaleError struct {
	Shop string
	// Live is the version that somebody else released while this plan was on its way; "" when nothing was written yet.
	Live string
}

func (e *StaleError) Error() string {
	if e.Live != "" {
		return "version " + e.Live + " was released for " + e.Shop + " while this deploy was on its way; it stays"
	}
	return "the account changed since the plan for " + e.Shop + " was made; nothing was written"
}

// Hint says what to do.
func (e *StaleError) Hint() string { return "run the same command again" }

// Apply carries out a plan that Diff made from want. Findings of level error in
// the plan come back as Findings and nothing is written. When the reads behind
// the plan are older than half a minute they are made again, and a plan that
// would come out different is refused with a StaleError; only the numbers of rows
// in findings may have changed, in a shop that is open.
//
// Once ctx is cancelled no further write is begun. A gate that is not passed
// restores the version which was live before, once, and returns a *GateError.
func (e *Engine) Apply(ctx context.Context, want *Desired, have *State, plan *Plan, tell func(Event)) (*Outcome, error) {
	if tell == nil {
		tell = func(Event) {}
	}
	started := e.now()
	out := &Outcome{
		Shop: plan.Shop, Commit: plan.Commit, VersionID: plan.Live, PreviousVersionID: plan.Live,
		URL: "https://" + want.Shop.Hostname, Digest: plan.Digest(),
	}
	if f := Findings(plan.Findings); f.Blocking() {
		return out, f
	}
	if started.Sub(have.At) > staleAfter {
		now, err := e.Observe(ctx, want)
		if err != nil {
			return out, err
		}
		if !Diff(want, now).sameWork(plan) {
			return out, &StaleError{Shop: plan.Shop}
		}
		have = now
	}
	if have.JournalError != nil {
		return out, have.JournalError
	}
	a := &applying{e: e, cf: e.CF, want: want, have: have, plan: plan, out: out, tell: tell, looked: have.At}
	if plan.Changes() {
		if err := a.free(ctx); err != nil {
			return out, err
		}
	}
	err := a.finish(ctx, a.run(ctx))
	out.Duration = e.now().Sub(started)
	out.Calls, out.Writes = a.counts()
	out.Changed = out.Writes > 0
	return out, err
}

// applying is one plan on its way.
type applying struct {
	e    *Engine
	cf   *cloudflare.Client
	want *Desired
	have *State
	plan *Plan
	out  *Outcome
	tell func(Event)
	// entry is the journal's id of this release; "" while it has none.
	entry string
	// force releases a version although secrets have changed since it was made, which then have their old values again.
	force bool
	// back is what the journal says of the live version's entry when a rollback takes its place; nil says that it was replaced.
	back *Status
	// looked is when the version that is to be replaced was last seen to be live.
	looked time.Time
	// asked is when nobody held the shop.
	asked time.Time

	mu            sync.Mutex
	calls, writes int
	assetsToken   cloudflare.Secret
}

func (a *applying) counts() (calls, writes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls, a.writes
}

// read and write count a call before it is made.
func (a *applying) read()  { a.mu.Lock(); a.calls++; a.mu.Unlock() }
func (a *applying) write() { a.mu.Lock(); a.calls++; a.writes++; a.mu.Unlock() }

func (a *applying) run(ctx context.Context) error {
	if !a.plan.Changes() {
		return a.confirm(ctx)
	}
	put := a.plan.Has(ActionPut)
	// First what nobody sees. On a first upload no code runs on the database
	// yet, so the migrations can go beside the assets.
	err := together(
		func() error { return a.assets(ctx) },
		func() error {
			// The message of a release promises it, so it comes before.
			if put {
				return nil
			}
			return a.subdomain(ctx)
		},
		func() error {
			if err := a.bookmark(ctx); err != nil || a.plan.Live != "" {
				return err
			}
			return a.migrate(ctx, ActionMigrate)
		})
	if err != nil {
		return err
	}
	if err := a.upload(ctx); err != nil {
		return err
	}
	// The entry comes before all that the running release may notice. Only the upload that releases tells its version's
	// id, so there it comes after.
	if !put {
		if err := a.begin(ctx); err != nil {
			return err
		}
	}
	if a.plan.Live != "" {
		err := together(func() error { return a.migrate(ctx, ActionMigrate) }, func() error { return a.unmoved(ctx) })
		if err != nil {
			return err
		}
	}
	var unwritten error
	if put {
		if err := a.put(ctx); err != nil {
			return err
		}
		// It has the traffic: what belongs to it, and above all its gate, does not wait for GitHub.
		if unwritten = a.begin(ctx); unwritten != nil && ctx.Err() != nil {
			return unwritten
		}
	}
	for _, next := range []func(context.Context) error{a.prove, a.release, a.triggers, a.gate} {
		if err := next(ctx); err != nil {
			return errors.Join(err, unwritten)
		}
	}
	if unwritten != nil {
		return unwritten
	}
	return a.contract(ctx)
}

// together runs every function to its end, side by side, and returns all their
// errors. One that fails does not cut the others off in the middle of a write.
func together(fs ...func() error) error {
	errs := make([]error, len(fs))
	var group sync.WaitGroup
	for i, f := range fs {
		group.Go(func() { errs[i] = f() })
	}
	group.Wait()
	return errors.Join(errs...)
}

// liveTags are the tags that the Worker has now.
func (a *applying) liveTags() []string {
	if a.have.Worker == nil {
		return nil
	}
	return a.have.Worker.Tags
}

// step runs f for the plan's step of that kind, if it has one.
func (a *applying) step(ctx context.Context, action Action, text string, f func(Step) error) error {
	s, ok := a.plan.step(action)
	if !ok {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	a.tell(Event{Action: action, Text: text})
	return f(s)
}

func (a *applying) bookmark(ctx context.Context) error {
	return a.step(ctx, ActionBookmark, "taking a bookmark of the database", func(s Step) error {
		a.read()
		b, err := a.cf.D1Bookmark(ctx, s.ID, time.Time{})
		if err != nil {
			return fmt.Errorf("taking a bookmark of %s: %w", s.Target, err)
		}
		a.out.Bookmark = b
		return nil
	})
}
