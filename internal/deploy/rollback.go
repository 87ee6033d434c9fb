package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/fleet"
)

// A rollback gives the traffic back to a release that was known to be good, by the id of its version, and puts the crons
// and hostnames of its commit around it.
//
//	PlanRollback  journal + account → RollbackPlan: which release, and whether its code gets on with today's database
//	Rollback      RollbackPlan      → RollbackOutcome
//
// choose (rollback_choose.go) decides, and is pure: what was taken down, by a rollback or because it did not pass its gate,
// is never gone back to. Both places that remember that are heard: the journal, where the bad release's entry says failure,
// and the account, where the deployment that took its place says from which version (memo.from).
//
// From a cold start the traffic changes hands in the fourth round of calls at the latest: what is live and what there is,
// the target and the database, once more what is live, the release. A restore of the database has rounds of its own, and so
// has a database that shopfleet never migrated.

// RollbackWant says which shop goes back, and to what.
type RollbackWant struct {
	Shop   fleet.Shop
	Policy *fleet.Policy
	// To is a version id or a beginning of one, a commit or a beginning of one, or an entry's id; "" is the newest known good
	// release other than the live one. Only what was recorded as a release counts.
	To string
	// RestoreData lets the database go back too, OldSecrets lets secrets have the values again that they had then.
	RestoreData, OldSecrets bool
	// Source makes a commit's config and migration files ready, without packages. The error is fs.ErrNotExist where git does
	// not have the commit. It is called by several at once.
	Source func(ctx context.Context, commit string) (Source, error)
	// Not says which commits are no targets; nil is none. It is how a bad commit is taken back from every shop that got it.
	Not func(commit string) bool
	// By is who asks and Order which order it is ("" for none): both are written down, and a run that takes an order over
	// recognises by it what was done already.
	By, Order string
	// Asked is when it was asked for, where that was before now: what took the place of a bad release since then is not what
	// was meant. Of two who say it at once the second would go one release too far.
	Asked time.Time
	// Reason is why, in one line.
	Reason string
	// Run and Tool are for the journal.
	Run  *Run
	Tool string
}

// Readiness says how well the old code of a candidate gets on with today's database.
type Readiness string

// The labels of candidates; "" is one that was not looked at.
const (
	ReadySafe    Readiness = "safe"          // it finds everything that it needs
	ReadyRestore Readiness = "needs restore" // of the database too, which loses rows
	ReadyBlocked Readiness = "blocked"       // it cannot be released at all, or must not be
)

// Candidate is a release that a shop could go back to.
type Candidate struct {
	Release
	Recorded time.Time `json:"recorded"` // when it was
	Label    Readiness `json:"label"`
	Why      []string  `json:"why,omitempty"`    // of the label, one line each
	Good     bool      `json:"known_good"`       // it passed its gate; false when nobody knows
	Losses   []Loss    `json:"losses,omitempty"` // of a restore, where it is needed and was looked at
}

// RollbackPlan is a rollback of one shop, as data.
type RollbackPlan struct {
	Shop   string `json:"shop"`
	Worker string `json:"worker"`
	// Live is what takes the traffic now, From its commit ("" when nobody knows).
	Live string `json:"live"`
	From string `json:"from_commit,omitempty"`
	// Target is what it goes back to; nil when there is nothing that it can go back to, and Findings say why. One that needs a
	// restore which nobody asked for is there, with a finding that stops it.
	Target *Candidate `json:"target,omitempty"`
	// Candidates are the releases that were looked at, newest first.
	Candidates []Candidate `json:"candidates"`
	Steps      []Step      `json:"steps"`
	// Restore is what the database goes back to; nil when it stays.
	Restore *RestorePlan `json:"restore,omitempty"`
	// OldSecrets says that secrets whose values changed since get their old ones. Cloudflare names them when it is asked.
	OldSecrets bool `json:"old_secrets,omitempty"`
	// NotUndone is what stays as the bad release made it.
	NotUndone []string  `json:"not_undone"`
	Findings  []Finding `json:"findings,omitempty"`
	// Done says that the target is live already, by the same order or by a run that was cut off: only what comes after the
	// release is done again.
	Done bool `json:"done,omitempty"`

	turn *turn // what it was made from
}

// Digest identifies what the plan does. Numbers of rows and the times of reads are no part of it: they change while a shop
// is open, and whoever agreed to a plan has agreed to it a minute later.
func (p *RollbackPlan) Digest() string {
	what := struct {
		Shop, Worker, Live, Target, Commit, Content string
		Steps                                       []Step
		Database, Bookmark                          string
		OldSecrets, Done                            bool
		Rules                                       []string
	}{Shop: p.Shop, Worker: p.Worker, Live: p.Live, Steps: p.Steps, OldSecrets: p.OldSecrets, Done: p.Done}
	if p.Target != nil {
		what.Target, what.Commit, what.Content = p.Target.VersionID, p.Target.Commit, p.Target.Content
	}
	if p.Restore != nil {
		what.Database, what.Bookmark = p.Restore.DatabaseID, p.Restore.Bookmark
	}
	for _, f := range p.Findings {
		if f.Level == LevelError {
			what.Rules = append(what.Rules, f.Rule)
		}
	}
	b, err := json.Marshal(what)
	if err != nil {
		// Strings all the way down; Marshal has no way to fail on them.
		panic("deploy: encoding a rollback: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// RollbackOutcome is what Rollback did. It is filled as far as it came, also when there is an error.
type RollbackOutcome struct {
	Outcome
	// Data is the restore of the database; nil when it stayed.
	Data *Restored `json:"data,omitempty"`
	// OldSecrets are the secrets that have their old values again.
	OldSecrets []string `json:"old_secrets,omitempty"`
	// NotRecorded says what could not be written down, and where.
	NotRecorded []string `json:"not_recorded,omitempty"`
}

// Rollback carries out a plan of PlanRollback. Findings of level error in the plan come back as Findings, and nothing is
// written. A plan whose reads are older than half a minute is made again, and refused with a *StaleError when it comes out
// different.
//
// That the journal cannot be written does not stop it: the account remembers what was taken down, and NotRecorded says what
// is missing. A release that does not pass its gate stays, and is a *GateError with Back set: one rollback does not undo
// another. When secrets changed since the target was made, nothing is released and the Findings name them, unless the
// want says OldSecrets.
func (e *Engine) Rollback(ctx context.Context, want RollbackWant, plan *RollbackPlan, tell func(Event)) (*RollbackOutcome, error) {
	if tell == nil {
		tell = func(Event) {}
	}
	started := e.now()
	out := &RollbackOutcome{Outcome: Outcome{
		Shop: plan.Shop, VersionID: plan.Live, PreviousVersionID: plan.Live, URL: "https://" + want.Shop.Hostname, Digest: plan.Digest(),
	}}
	if f := Findings(plan.Findings); f.Blocking() {
		return out, f
	}
	if plan.Target == nil || plan.Shop != want.Shop.Slug {
		return out, fmt.Errorf("rolling %s back: the plan is for shop %q and has no target", want.Shop.Slug, plan.Shop)
	}
	t := plan.turn
	if t == nil || started.Sub(t.have.At) > staleAfter {
		again, err := e.PlanRollback(ctx, want)
		if err != nil {
			return out, err
		}
		if again.Digest() != plan.Digest() || again.turn == nil {
			return out, &StaleError{Shop: plan.Shop}
		}
		t = again.turn
	}
	out.Commit, out.NotUndone = plan.Target.Commit, plan.NotUndone
	a := &applying{
		e: e, cf: e.CF, want: t.want, have: t.have, out: &out.Outcome, tell: tell, looked: t.have.At,
		plan: &Plan{Shop: plan.Shop, Worker: plan.Worker, Commit: plan.Target.Commit, Mark: plan.Target.Content, Live: t.from,
			Steps: plan.Steps, Schema: t.schema, SchemaAfter: t.schemaAfter},
		back: &Status{State: StateFailure, Text: rolledBack(plan.Target.VersionID, want)},
	}
	if plan.Done {
		out.PreviousVersionID = t.from
	}
	g := &going{applying: a, rollback: want, planned: plan, turn: t, done: out}
	err := g.run(ctx)
	out.Duration = e.now().Sub(started)
	out.Calls, out.Writes = a.counts()
	out.Changed = out.Writes > 0 || out.Data != nil && out.Data.Changed
	out.Uploaded = "" // nothing was
	return out, err
}

// rolledBack is what the journal says of the release whose place was taken.
func rolledBack(to string, want RollbackWant) string {
	text := "rolled back to version " + to
	if want.By != "" {
		text += " by " + want.By
	}
	if want.Reason != "" {
		text += ": " + want.Reason
	}
	text = strings.Join(strings.Fields(text), " ") // a reason is what somebody typed
	if r := []rune(text); len(r) > 140 {           // contracts/github/wire.md §1.5
		text = string(r[:139]) + "…"
	}
	return text
}

// going is one rollback on its way.
type going struct {
	*applying
	rollback RollbackWant
	planned  *RollbackPlan
	turn     *turn
	done     *RollbackOutcome
	gave     time.Time // when the target got the traffic; zero where it had it before
}

func (g *going) run(ctx context.Context) error {
	if err := g.note(ctx); err != nil {
		return err
	}
	err := g.back(ctx)
	after := g.finish(ctx, err)
	var unwritten *JournalError
	if errors.As(after, &unwritten) {
		g.unrecorded(unwritten.Doing)
	}
	return err
}

// unrecorded notes what the journal does not say. The cause is in the log: it may hold what is not everybody's.
func (g *going) unrecorded(what string) {
	g.done.NotRecorded = append(g.done.NotRecorded, "the journal: "+what)
}

// note begins the entry of the rollback. A journal that cannot be read or written stops nobody who goes back.
func (g *going) note(ctx context.Context) error {
	target := g.planned.Target.VersionID
	switch {
	case g.e.Journal == nil || g.turn.unread:
		g.unrecorded(fmt.Sprintf("that version %s took the place of %s", target, g.turn.from))
		return nil
	case g.planned.Done:
		g.out.VersionID, g.out.Uploaded = target, ""
		if entry, known := g.have.Live.Entry(g.have.Journal); known {
			g.entry = entry.ID
			return nil
		}
	default:
		g.out.Uploaded = target
	}
	err := g.begin(ctx)
	var unwritten *JournalError
	if errors.As(err, &unwritten) && ctx.Err() == nil {
		if g.e.Log != nil {
			g.e.Log.Warn("the journal cannot be written", "shop", g.planned.Shop, "error", unwritten.Err)
		}
		g.unrecorded(unwritten.Doing)
		return nil
	}
	return err
}

// back is the rollback itself.
func (g *going) back(ctx context.Context) error {
	if err := g.data(ctx); err != nil {
		return err
	}
	if err := g.give(ctx); err != nil {
		return err
	}
	// It has the traffic. What is around it may fail, and its gate is asked all the same.
	around := g.triggers(ctx)
	if err := g.ask(ctx); err != nil {
		return errors.Join(err, around)
	}
	return errors.Join(around, g.still(ctx))
}

// data puts the database back. What Cloudflare has against the release it says before: the version becomes part of the
// deployment without traffic first, since data that went back for nothing is the worst of both.
func (g *going) data(ctx context.Context) error {
	if g.planned.Restore == nil || g.planned.Done {
		return nil
	}
	if err := g.unmoved(ctx); err != nil {
		return err
	}
	target := g.planned.Target.VersionID
	shares := []cloudflare.Share{{VersionID: g.have.Live.most(), Percentage: 100}, {VersionID: target, Percentage: 0}}
	var err error
	if g.have.Live.Shares[target] == 0 {
		err = g.allowing(func() error { return g.deployShares(ctx, g.plan.Worker, shares, g.have.Live.Message) })
		if len(g.have.Live.Shares) > 1 {
			g.have.Live.Shares = map[string]float64{shares[0].VersionID: 100}
		}
	}
	if err != nil {
		return err
	}
	g.done.Data, err = g.e.Restore(ctx, g.rollback.Shop, g.planned.Restore, g.tell)
	if err != nil {
		return err
	}
	g.out.Bookmark = g.done.Data.Undo
	return nil
}

// give gives the target all traffic.
func (g *going) give(ctx context.Context) error {
	if g.planned.Done {
		return nil
	}
	return g.step(ctx, ActionRelease, "giving the traffic to version "+g.planned.Target.VersionID, func(s Step) error {
		if g.done.Data != nil {
			g.looked = time.Time{} // a restore takes its time
		}
		if err := g.unmoved(ctx); err != nil {
			return err
		}
		text := g.memo().String()
		if err := g.allowing(func() error { return g.deployVersion(ctx, s.Target, g.planned.Target.VersionID, text) }); err != nil {
			return err
		}
		g.out.VersionID, g.gave = g.planned.Target.VersionID, g.e.now()
		return nil
	})
}

// memo is what the deployment remembers. Which secrets the version has nobody proved again, and workers.dev stays as it is.
func (g *going) memo() memo {
	m := memo{mark: g.plan.Mark, reach: notRecorded, commit: g.plan.Commit, bookmark: g.out.Bookmark, from: g.turn.from, order: orderWord(g.rollback.Order)}
	if g.turn.known {
		m.stores = rememberStores(g.want, g.have)
	}
	return m
}

var orderForm = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

// orderWord is an order as a memo holds it: itself, or where it is no single word a digest of it.
func orderWord(order string) string {
	if order == "" || orderForm.MatchString(order) {
		return order
	}
	return listDigest([]string{order})
}

// allowing releases, and once more by force where secrets changed and whoever asked said that they may go back.
func (g *going) allowing(release func() error) error {
	err := release()
	var api *cloudflare.Error
	switch {
	case !errors.As(err, &api) || api.Outcome != cloudflare.Refused || !slices.Contains(api.Codes, 10220):
		return err
	case !g.rollback.OldSecrets || g.force:
		return Findings{secretsChanged(g.plan.Shop, api.Message)}
	}
	g.done.OldSecrets = secretNames(api.Message)
	g.force = true
	return release()
}

// ask is the gate.
func (g *going) ask(ctx context.Context) error {
	return g.step(ctx, ActionGate, "checking the release", func(Step) error {
		if err := g.healthy(ctx, g.want.Gate.Timeout); err != nil {
			return err
		}
		if !g.out.Gate.Passed {
			return &GateError{Result: g.out.Gate, Back: true}
		}
		return nil
	})
}

// still looks whether the target is what is live after all of that. A deploy that found the shop free a moment before it was
// held takes that for granted for looksFresh, and releases over the rollback: that long it is waited for.
func (g *going) still(ctx context.Context) error {
	if left := looksFresh + looksFresh/4 - g.e.now().Sub(g.gave); left > 0 {
		sleep := g.e.gateOrDefault().Sleep
		if sleep == nil {
			sleep = sleepContext
		}
		_ = sleep(ctx, left) // who has no time looks at once
	}
	g.read()
	list, err := g.cf.Deployments(ctx, g.plan.Worker)
	if err != nil {
		return fmt.Errorf("asking once more what is live on %s: %w", g.plan.Worker, err)
	}
	var now Live
	live(list, &now)
	if now.Version != g.out.VersionID && !(now.SecretsSince > 0 && now.Mark == g.plan.Mark) {
		g.out.VersionID = now.Version
		return &StaleError{Shop: g.plan.Shop, Live: now.Version}
	}
	return nil
}

// secretsAre is what stands before the names in Cloudflare's message (wire.md §2).
const secretsAre = "The following secrets have changed: "

// secretsChanged says which secrets a release would put back. Cloudflare compares values, which nobody can read.
func secretsChanged(shop, said string) Finding {
	names := "some"
	if list := secretNames(said); len(list) > 0 {
		names = strings.Join(list, ", ")
	}
	return Finding{
		Rule: "secrets-changed", Level: LevelError,
		Message:  secretsAre + names + "; the version was made with the old values, and they would be in use again",
		Expected: "a version that has today's secrets",
		Hint: "if they were changed because somebody else may know them, do not go back: deploy the good commit of " + shop +
			" instead, which takes today's; else roll back with --old-secrets, and set them again with wrangler secret put",
	}
}

// secretNames are the secrets that Cloudflare's message names.
func secretNames(said string) []string {
	_, list, ok := strings.Cut(said, secretsAre)
	if !ok {
		return nil
	}
	list, _, _ = strings.Cut(list, " [") // the code
	var out []string
	for _, name := range strings.Split(list, ",") {
		if name = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(name), ".")); secretForm.MatchString(name) {
			out = append(out, name)
		}
	}
	return out
}

var secretForm = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]{0,127}$`)
