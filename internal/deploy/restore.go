package deploy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// RestoreWant says which shop's database is to go back to what.
type RestoreWant struct {
	Shop fleet.Shop
	// Database is the shop's own, from OwnDatabase.
	Database wrangler.D1Database
	Target   RestoreTarget
}

// RestorePlan is a restore of one shop's database, as data: what it goes back to, and what is lost. Making it writes
// nothing, and Restore carries it out as it is.
type RestorePlan struct {
	Shop       string `json:"shop"`
	Worker     string `json:"worker"`
	Database   string `json:"database"`
	DatabaseID string `json:"database_id"`
	Ledger     string `json:"ledger"` // its table of migrations
	// Bookmark names the state to go back to, and At when the database last changed before it: what is younger is lost.
	Bookmark string    `json:"bookmark"`
	At       time.Time `json:"at"`
	// Release is the version whose last state this is; "" when a time or a bookmark was asked for.
	Release string `json:"release,omitempty"`
	// Live is the version that takes the traffic, and goes on to; "" when there is none.
	Live string `json:"live,omitempty"`
	// Present is the bookmark of the database when the plan was made, at Made.
	Present string    `json:"present"`
	Made    time.Time `json:"made"`
	// Losses has a row for each table, by name; Migrations are those that are undone, in the order of the ledger.
	Losses     []Loss            `json:"losses"`
	Migrations []UndoneMigration `json:"migrations,omitempty"`
	// NotUndone is what a restore leaves as it is.
	NotUndone []string  `json:"not_undone"`
	Findings  []Finding `json:"findings,omitempty"`
}

// Digest identifies the plan: equal plans have equal digests, on every machine.
func (p *RestorePlan) Digest() string {
	b, err := json.Marshal(p)
	if err != nil {
		// Strings, numbers and times of this century; Marshal has no way to fail on them.
		panic("deploy: encoding a restore: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Changes reports whether the restore would write: it does not where the target is the present.
func (p *RestorePlan) Changes() bool { return p.Bookmark != p.Present }

// OwnDatabase resolves the config of a shop's commit and returns its entry for the shop's own database, admitted by the
// rules of a deploy. Of the source it needs Shop, ConfigName and Config; nothing is built. The error is Findings when the
// config is wrong, or has no such database.
func OwnDatabase(src Source) (wrangler.D1Database, error) {
	config, err := resolve(src)
	if err != nil {
		return wrangler.D1Database{}, err
	}
	want := &Desired{Shop: src.Shop, Config: config, policy: cmp.Or(src.Policy, &fleet.Policy{})}
	for _, db := range want.Config.D1 {
		if db.DatabaseName == src.Shop.D1 && db.DatabaseID != "" && (src.Shop.D1ID == "" || src.Shop.D1ID == db.DatabaseID) {
			return db, nil
		}
	}
	a := &admission{want: want}
	for _, b := range config.Bindings {
		for _, r := range want.reached(b, nil) {
			if r.Type == "d1" {
				a.binding(b, r)
			}
		}
	}
	if len(a.found) > 0 {
		return wrangler.D1Database{}, a.found.sorted()
	}
	f := Finding{Rule: "restore-not-owned", Level: LevelError, Message: "the config binds no D1 database", Expected: src.Shop.D1}
	want.locate(&f, "env", want.Config.Env)
	return wrangler.D1Database{}, Findings{f}
}

// OwnMigrations is OwnDatabase with the files that belong to it.
func OwnMigrations(src Source) (wrangler.D1Database, []wrangler.Migration, error) {
	db, err := OwnDatabase(src)
	if err != nil {
		return db, nil, err
	}
	config, err := resolve(src)
	if err != nil {
		return db, nil, err
	}
	files, err := config.Migrations(db)
	return db, files, asFindings(err)
}

// AdmitDatabase makes sure that a database is the shop's own in the account too, before anything else is asked of it. The
// error is Findings when it is not.
func (e *Engine) AdmitDatabase(ctx context.Context, shop fleet.Shop, id string) error {
	_, err := e.ownDatabase(ctx, shop, id)
	return err
}

// PlanRestore finds the state that is asked for and computes what going back to it takes away. It only reads; a target
// given as a bookmark costs about 25 calls, because its time has to be searched for. Mistakes come back as Findings:
// a database that is not the shop's, a target that is not in its history.
func (e *Engine) PlanRestore(ctx context.Context, want RestoreWant) (*RestorePlan, error) {
	shop, db := want.Shop, want.Database
	if shop.D1ID != "" && db.DatabaseID != shop.D1ID {
		return nil, Findings{notOwned(shop, db.DatabaseID, "fleet.yml pins the shop to "+shop.D1ID)}
	}
	now := e.now().UTC()
	p := &RestorePlan{Shop: shop.Slug, Worker: shop.Worker, Database: shop.D1, DatabaseID: db.DatabaseID, Made: now, Ledger: db.MigrationsTable}
	var live cloudflare.D1Database
	var deployments []cloudflare.Deployment
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		live, err = e.ownDatabase(gctx, shop, db.DatabaseID)
		return err
	})
	group.Go(func() (err error) {
		deployments, err = e.CF.Deployments(gctx, shop.Worker)
		return notFoundIsEmpty(err, "reading the releases of "+shop.Worker)
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if live.Version == "alpha" {
		return nil, Findings{{Rule: "restore-alpha", Level: LevelError, Message: shop.D1 + " is of D1's alpha version, which keeps no history",
			Hint: "move its content to a new database (wrangler d1 export, wrangler d1 execute --file)"}}
	}
	p.Live = liveVersion(deployments)
	var err error
	if p.Present, err = e.CF.D1Bookmark(ctx, db.DatabaseID, time.Time{}); err != nil {
		return nil, fmt.Errorf("taking a bookmark of %s: %w", shop.D1, err)
	}
	h := &history{cf: e.CF, database: db.DatabaseID, created: live.CreatedAt, now: now, present: p.Present}
	if err := p.find(ctx, h, want.Target, deployments); err != nil {
		return nil, err
	}
	if p.Losses, p.Migrations, err = losses(ctx, e.CF, db, p.At, time.Time{}); err != nil {
		return nil, err
	}
	p.notUndone(shop)
	p.judge()
	return p, nil
}

// ownDatabase reads a database and makes sure that it is the shop's: whatever an overlay says, the account's own name for
// the id decides.
func (e *Engine) ownDatabase(ctx context.Context, shop fleet.Shop, id string) (cloudflare.D1Database, error) {
	db, err := e.CF.D1Database(ctx, id)
	switch {
	case errors.Is(err, cloudflare.ErrNotFound):
		return db, Findings{{Rule: "d1-unknown", Level: LevelError, Message: fmt.Sprintf("account %s has no D1 database with id %q", shop.Account.Name, id),
			Expected: "the id of " + shop.D1, Hint: "run wrangler d1 list and write the id of " + shop.D1 + " into the overlay"}}
	case err != nil:
		return db, fmt.Errorf("reading the database %s: %w", shop.D1, err)
	case db.ID != id || db.Name != shop.D1:
		return db, Findings{notOwned(shop, id, fmt.Sprintf("it is named %q", db.Name))}
	}
	return db, nil
}

func notOwned(shop fleet.Shop, id, why string) Finding {
	return Finding{Rule: "restore-not-owned", Level: LevelError, Message: fmt.Sprintf("database %s is not that of shop %s: %s", id, shop.Slug, why),
		Expected: shop.D1, Hint: "write the id of the shop's own database into the overlay; shopfleet restores no other"}
}

// liveVersion is the version with the largest share of the traffic.
func liveVersion(deployments []cloudflare.Deployment) string {
	var l Live
	live(deployments, &l)
	return l.Version
}

// find sets the plan's bookmark and time from what is asked for.
func (p *RestorePlan) find(ctx context.Context, h *history, target RestoreTarget, deployments []cloudflare.Deployment) error {
	at := target.Time
	p.Bookmark = target.Bookmark
	if target.Release != "" {
		version, next, err := replaced(deployments, target.Release)
		if err != nil {
			return err
		}
		p.Release = version
		if m, ok := parseMemo(next.Annotations[annotationMessage]); ok && bookmarkForm.MatchString(m.bookmark) {
			p.Bookmark = m.bookmark
		} else {
			// The second before, so that what the new release wrote in its first one is not in it.
			at = next.CreatedOn.Add(-time.Second)
			p.Findings = append(p.Findings, Finding{Rule: "restore-release-time", Level: LevelNotice,
				Message: fmt.Sprintf("the deployment that replaced version %s notes no bookmark, so its time is taken: %s", version, at.UTC().Format(time.RFC3339)),
				Hint:    "if migrations ran before it, give a time before them"})
		}
	}
	if p.Bookmark == "" {
		p.At = endOfSecond(at)
		if p.At.After(h.now) {
			p.At = h.now
		}
		b, ok, refusal, err := h.bookmarkAt(ctx, p.At)
		if err != nil {
			return err
		}
		if !ok {
			return Findings{{Rule: "restore-no-history", Level: LevelError,
				Message: fmt.Sprintf("D1 has no history of %s at %s: %s", p.Database, p.At.Format(time.RFC3339), refusalText(refusal)),
				Hint:    "give a later time; D1 keeps 30 days, 7 on free plans"}}
		}
		p.Bookmark = b
		return nil
	}
	if p.Bookmark > h.present {
		return Findings{{Rule: "restore-bookmark", Level: LevelError,
			Message: fmt.Sprintf("bookmark %s is newer than the present of %s, %s", p.Bookmark, p.Database, h.present),
			Hint:    "is it another database's? Bookmarks are good for one only"}}
	}
	since, matched, err := h.since(ctx, p.Bookmark)
	switch {
	case errors.Is(err, errBeforeHistory):
		return Findings{{Rule: "restore-bookmark", Level: LevelError,
			Message: fmt.Sprintf("bookmark %s is older than the history of %s that D1 keeps", p.Bookmark, p.Database),
			Hint:    "D1 keeps 30 days, 7 on free plans; is it another database's?"}}
	case err != nil:
		return err
	case !matched:
		p.Findings = append(p.Findings, Finding{Rule: "restore-bookmark-unmatched", Level: LevelWarning,
			Message: fmt.Sprintf("no time in the history of %s has exactly this bookmark; going by its place among the others it is of %s", p.Database, since.Format(time.RFC3339)),
			Hint:    "make sure that it was taken of this database; D1 has the last word"})
	}
	p.At = since
	return nil
}

// notUndone lists what a restore of the database does not touch, by name.
func (p *RestorePlan) notUndone(shop fleet.Shop) {
	code := "code: no version is live"
	if p.Live != "" {
		code = "code: version " + p.Live + " stays live"
	}
	p.NotUndone = []string{
		code, "crons, hostnames and secrets of " + shop.Worker, "files in R2 bucket " + shop.R2, "entries of KV namespace " + shop.KV,
		"what was sent elsewhere since: payments, mail, messages",
	}
}

// judge adds what should be known before somebody says yes.
func (p *RestorePlan) judge() {
	if !p.Changes() {
		p.Findings = append(p.Findings, Finding{Rule: "restore-nothing", Level: LevelNotice, Message: p.Database + " is at this bookmark now; there is nothing to restore"})
	}
	if len(p.Migrations) > 0 {
		names := make([]string, len(p.Migrations))
		for i, m := range p.Migrations {
			names[i] = m.Name
		}
		p.Findings = append(p.Findings, Finding{Rule: "restore-undoes-migrations", Level: LevelWarning,
			Message: "the restore undoes migrations that the live release may need: " + strings.Join(names, ", "),
			Hint:    "release code that runs without them first; shopfleet deploy " + p.Shop + " applies them again"})
	}
	p.Findings = Findings(p.Findings).sorted()
}

// Restored is what Restore did. It is filled as far as Restore came, also when it returns an error.
type Restored struct {
	Shop     string `json:"shop"`
	Database string `json:"database"`
	// Changed reports whether the database was put back.
	Changed bool `json:"changed"`
	// Target is the bookmark of the state that was asked for, Bookmark that of the database now, where D1 said so.
	Target   string `json:"target"`
	Bookmark string `json:"bookmark,omitempty"`
	// Undo is the bookmark that leads back to the state before the restore.
	Undo string `json:"undo,omitempty"`
	// Adopted reports that the answer was lost and the effect then found.
	Adopted  bool          `json:"adopted,omitempty"`
	Digest   string        `json:"plan_digest"`
	Duration time.Duration `json:"duration_ns"`
}

// UnknownRestoreError says that a restore was sent and nothing tells whether it happened. It was not repeated.
type UnknownRestoreError struct {
	Shop, Target, Undo string // Target and Undo are bookmarks
	Err                error
}

func (e *UnknownRestoreError) Error() string {
	return fmt.Sprintf("whether the database of %s was restored to %s is not known; the state before is %s: %v", e.Shop, e.Target, e.Undo, e.Err)
}

// Unwrap returns what went wrong.
func (e *UnknownRestoreError) Unwrap() error { return e.Err }

// Hint says how to find out, and how to get either state.
func (e *UnknownRestoreError) Hint() string {
	return fmt.Sprintf("look with: shopfleet d1 restore %s --to %s; restore with the same and --yes %s; for the state before: shopfleet d1 restore %s --to %s --yes %s",
		e.Shop, e.Target, e.Shop, e.Shop, e.Undo, e.Shop)
}

// Restore carries out a plan of PlanRestore for the shop it was made for. It takes a bookmark of the present first and
// tells it before anything is written, so that the way back is known whatever happens. What was written since the plan
// was made is lost too.
//
// It refuses with Findings when the database is not the shop's own, and with a *StaleError when another version was
// released since the plan was made. When the answer is lost it looks whether the rows that were to go are gone, repeats
// the call only when they are all still there, and returns an *UnknownRestoreError when that cannot be told.
func (e *Engine) Restore(ctx context.Context, shop fleet.Shop, plan *RestorePlan, tell func(Event)) (*Restored, error) {
	if tell == nil {
		tell = func(Event) {}
	}
	started := e.now()
	out := &Restored{Shop: plan.Shop, Database: plan.Database, Target: plan.Bookmark, Digest: plan.Digest()}
	err := e.restore(ctx, shop, plan, out, tell)
	out.Duration = e.now().Sub(started)
	return out, err
}

func (e *Engine) restore(ctx context.Context, shop fleet.Shop, plan *RestorePlan, out *Restored, tell func(Event)) error {
	if f := Findings(plan.Findings); f.Blocking() {
		return f
	}
	if plan.Shop != shop.Slug || plan.Database != shop.D1 || shop.D1ID != "" && plan.DatabaseID != shop.D1ID {
		return Findings{notOwned(shop, plan.DatabaseID, "the plan is for shop "+plan.Shop)}
	}
	if !bookmarkForm.MatchString(plan.Bookmark) {
		return fmt.Errorf("restoring %s: %q is no bookmark", plan.Database, plan.Bookmark)
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		_, err := e.ownDatabase(gctx, shop, plan.DatabaseID)
		return err
	})
	group.Go(func() error {
		deployments, err := e.CF.Deployments(gctx, shop.Worker)
		if err = notFoundIsEmpty(err, "reading the releases of "+shop.Worker); err != nil {
			return err
		}
		if liveVersion(deployments) != plan.Live {
			return &StaleError{Shop: plan.Shop}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	for try := 0; ; try++ {
		present, err := e.CF.D1Bookmark(ctx, plan.DatabaseID, time.Time{})
		if err != nil {
			return fmt.Errorf("taking a bookmark of %s: %w", plan.Database, err)
		}
		if present == plan.Bookmark {
			return nil
		}
		out.Undo = present
		tell(Event{Action: ActionBookmark, Text: "the present of " + plan.Database + " is bookmark " + present})
		if err := ctx.Err(); err != nil {
			return err
		}
		tell(Event{Action: ActionRestore, Text: "restoring " + plan.Database + " to bookmark " + plan.Bookmark})
		done, err := e.CF.D1Restore(ctx, plan.DatabaseID, plan.Bookmark)
		if err == nil {
			out.Changed, out.Bookmark, out.Undo = true, done.Bookmark, done.Previous
			return nil
		}
		if !errors.Is(err, cloudflare.ErrUnknownOutcome) {
			return fmt.Errorf("restoring %s: %w", plan.Database, err)
		}
		unknown := &UnknownRestoreError{Shop: plan.Shop, Target: plan.Bookmark, Undo: present, Err: err}
		happened, known := e.lookForRestore(ctx, plan, present, unknown)
		switch {
		case known && happened:
			out.Changed, out.Adopted = true, true
			return nil
		case !known || ctx.Err() != nil || try == 2:
			return unknown
		}
	}
}

// lookForRestore tells whether a restore happened whose answer was lost. Only reads are made, also when the caller's
// context is cancelled: whoever cancelled wants to know.
func (e *Engine) lookForRestore(ctx context.Context, plan *RestorePlan, before string, unknown *UnknownRestoreError) (happened, known bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	present, err := e.CF.D1Bookmark(ctx, plan.DatabaseID, time.Time{})
	if err != nil {
		unknown.Err = errors.Join(unknown.Err, err)
		return false, false
	}
	if present == before {
		return false, true // nothing at all was written since
	}
	// The shop may have written, or the restore happened. A restore takes all rows at once that the plan counted, and
	// brings back old ones that were not there: what the shop makes meanwhile is younger than the plan.
	db := wrangler.D1Database{DatabaseName: plan.Database, DatabaseID: plan.DatabaseID, MigrationsTable: plan.Ledger}
	now, migrations, err := losses(ctx, e.CF, db, plan.At, plan.Made)
	if err != nil {
		unknown.Err = errors.Join(unknown.Err, err)
		return false, false
	}
	there, gone := 0, 0
	see := func(was, is int64) {
		switch {
		case was > 0 && is == 0:
			gone++
		case was > 0 && is >= was:
			there++
		case was > 0:
			there, gone = there+1, gone+1 // some: the shop deletes rows of its own
		}
	}
	for _, was := range plan.Losses {
		i := slices.IndexFunc(now, func(l Loss) bool { return l.Table == was.Table })
		is := Loss{}
		if i >= 0 {
			is = now[i]
		}
		if was.Known == Exact || was.Known == AtLeast {
			see(was.Made, is.Made)
		}
		if is.old > was.Rows {
			gone++
		}
	}
	see(int64(len(plan.Migrations)), int64(len(migrations)))
	switch {
	case gone > 0 && there == 0:
		return true, true
	case there > 0 && gone == 0:
		return false, true
	}
	return false, false
}
