package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// turn is what a plan of a rollback was made from, kept so that carrying it out reads nothing twice.
type turn struct {
	want *Desired // the target's commit, without a bundle
	have *State
	from string // the version whose place is taken
	// known says that want is the commit's own config; else git did not have it, and want holds what the entry says.
	known bool
	// unread says that there is a journal and it could not be read.
	unread bool
	// schema and schemaAfter are fingerprints of the database; "" where it goes back too, or is not known.
	schema, schemaAfter string
}

// look is one candidate as it is looked at.
type look struct {
	entry Release
	want  *Desired
	known bool   // want is the commit's own config
	wrong string // why its config or files cannot be used; "" when they can
	// version is what Cloudflare has of it; gone says that it has no more.
	version cloudflare.Version
	gone    bool
	// fit is how its code gets on with today's database, doubt why that cannot be told, and safe why it does where fit does not
	// say so.
	fit     d1.Fit
	doubt   string
	safe    string
	pending []string // its migrations that the database has not
}

// PlanRollback finds what a shop goes back to, and whether that is safe. It only reads. Mistakes, and reasons why there is
// nothing to go back to, are in the plan's Findings.
func (e *Engine) PlanRollback(ctx context.Context, want RollbackWant) (*RollbackPlan, error) {
	if want.Policy == nil || want.Shop.Slug == "" {
		return nil, errors.New("planning a rollback: no shop and policy are given")
	}
	c, have, account, err := e.readChronicle(ctx, want)
	if err != nil {
		return nil, err
	}
	chosen := choose(c, want)
	p := &RollbackPlan{
		Shop: want.Shop.Slug, Worker: want.Shop.Worker, Live: c.live.Version, From: commitOf(c),
		Candidates: chosen.candidates, Done: chosen.done, OldSecrets: want.OldSecrets, NotUndone: []string{}, Steps: []Step{}, Findings: chosen.findings,
	}
	if have.JournalError != nil {
		p.Findings = append(p.Findings, Finding{Rule: "rollback-journal-unread", Level: LevelWarning, Message: "the journal could not be read, so Cloudflare's list of releases has to do",
			Hint: "the rollback is written down in the account alone; deploy writes the journal again when GitHub answers"})
	}
	if chosen.target < 0 || Findings(p.Findings).Blocking() {
		p.Findings = Findings(p.Findings).sorted()
		return p, nil
	}
	if err := e.examine(ctx, want, p, c, have, account, chosen); err != nil {
		return nil, err
	}
	p.Findings = Findings(p.Findings).sorted()
	return p, nil
}

// commitOf is the commit of what is live; "" when nobody knows.
func commitOf(c *chronicle) string {
	if m, ok := parseMemo(c.live.Message); ok && m.mark == c.live.Mark {
		return m.commit
	}
	entry, _ := c.live.Entry(c.journal)
	return entry.Commit
}

// readChronicle is the first round of calls.
func (e *Engine) readChronicle(ctx context.Context, want RollbackWant) (*chronicle, *State, *lists, error) {
	c := &chronicle{shop: want.Shop.Slug, worker: want.Shop.Worker, standings: map[string]Standing{}}
	have := &State{At: e.now()}
	var account *lists
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		account, err = e.account(gctx)
		return err
	})
	group.Go(func() (err error) {
		c.deployments, err = e.CF.Deployments(gctx, c.worker)
		return notFoundIsEmpty(err, "reading the releases of "+c.worker)
	})
	group.Go(func() (err error) {
		c.versions, err = e.CF.Versions(gctx, c.worker)
		return notFoundIsEmpty(err, "listing the versions of "+c.worker)
	})
	group.Go(func() error {
		crons, err := e.CF.Schedules(gctx, c.worker)
		have.Crons = crons
		return notFoundIsEmpty(err, "reading the crons of "+c.worker)
	})
	group.Go(func() error {
		have.Journal, have.JournalError = e.observeJournal(gctx, want.Shop)
		return nil
	})
	if err := group.Wait(); err != nil {
		return nil, nil, nil, err
	}
	live(c.deployments, &c.live)
	if len(c.live.Shares) > 1 {
		c.live.Version = c.youngest(c.live)
	}
	if c.live.Mark == "" {
		if v, ok := c.version(c.live.Version); ok && isMark(v.Annotations[annotationTag]) {
			c.live.Mark = v.Annotations[annotationTag]
		}
	}
	have.Live = c.live
	if have.JournalError == nil && e.Journal != nil {
		c.journal, c.heard = have.Journal, true
		if err := e.readStandings(ctx, c, want); err != nil {
			c.journal, c.heard, have.Journal, have.JournalError = nil, false, nil, err
		}
	}
	return c, have, account, ctx.Err()
}

// readStandings asks how the entries stand, newest first, until there are enough known good ones to choose from.
func (e *Engine) readStandings(ctx context.Context, c *chronicle, want RollbackWant) error {
	const batch = 8
	var mu sync.Mutex
	list := c.ordered()
	for at := 0; at < len(list); at += batch {
		group, gctx := errgroup.WithContext(ctx)
		for _, r := range list[at:min(at+batch, len(list))] {
			group.Go(func() error {
				s, err := e.Journal.Standing(gctx, r.ID)
				if err != nil {
					return &JournalError{Doing: "reading how entry " + r.ID + " stands", Err: err}
				}
				mu.Lock()
				defer mu.Unlock()
				c.standings[r.ID] = s
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		chosen := choose(&chronicle{
			shop: c.shop, worker: c.worker, live: c.live, deployments: c.deployments, versions: c.versions, heard: true,
			journal: slices.DeleteFunc(slices.Clone(c.journal), func(r Release) bool { _, asked := c.standings[r.ID]; return !asked }), standings: c.standings,
		}, want)
		if chosen.done || chosen.target >= 0 && (want.To != "" || len(chosen.candidates) >= shownCandidates) {
			return nil
		}
	}
	return nil
}

// examine looks closely at the candidates, and makes the plan of what it sees.
func (e *Engine) examine(ctx context.Context, want RollbackWant, p *RollbackPlan, c *chronicle, have *State, account *lists, chosen choice) error {
	looks := make([]*look, len(p.Candidates))
	group, gctx := errgroup.WithContext(ctx)
	for i, k := range p.Candidates {
		group.Go(func() (err error) {
			looks[i], err = e.resolveLook(gctx, want, k.Release, i == chosen.target)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	target := looks[chosen.target]
	if !target.known && c.cronsDiffer(target.entry) {
		target.want.Config.Crons, target.want.Config.CronsSet = nil, false
	}
	journal, unread := have.Journal, have.JournalError
	account.fill(target.want, have)
	have.Journal, have.JournalError = journal, nil
	db := databaseOf(want, account, looks)
	if err := e.lookAtTarget(ctx, want, c, have, looks, target, db); err != nil {
		return err
	}
	if err := e.lookAtFit(ctx, c, have, looks, db); err != nil {
		return err
	}
	for i, l := range looks {
		p.Candidates[i].judge(want, have, account, l, i == chosen.target && chosen.done)
	}
	t := &turn{want: target.want, have: have, from: c.live.Version, known: target.known, unread: unread != nil}
	if chosen.done {
		t.from = chosen.from
	}
	if len(have.Database.Objects) > 0 {
		if s, err := e.rehearsals().schema(ctx, db, have.Database.Objects); err == nil {
			t.schema = s.Fingerprint()
			t.schemaAfter = t.schema
		}
	}
	p.turn = t
	if err := e.settle(ctx, want, p, c, target, chosen, db); err != nil {
		return err
	}
	p.steps(want, t)
	p.notUndone(want, c, t, target)
	return nil
}

// resolveLook reads the config and the migrations of a candidate's commit.
func (e *Engine) resolveLook(ctx context.Context, rw RollbackWant, entry Release, target bool) (*look, error) {
	l := &look{entry: entry}
	src, err := Source{}, error(fs.ErrNotExist)
	if rw.Source != nil && entry.Commit != "" {
		src, err = rw.Source(ctx, entry.Commit)
	}
	base := &Desired{
		Shop: rw.Shop, Commit: entry.Commit, Main: entry.Main, Mark: entry.Content, Gate: rw.Policy.Gate, Identity: rw.Policy.Identity,
		Actor: rw.By, Run: rw.Run, Tool: rw.Tool, bundle: entry.Bundle, assets: entry.Assets, policy: rw.Policy,
	}
	if rw.Policy.BuildInfo.Path != "" {
		base.BuildInfoURL = rw.Policy.BuildInfo.URL
	}
	l.want = base
	// What stands in for a config: without routes and bindings nothing in it has a place in a file.
	base.Config = &wrangler.Config{Name: rw.Shop.Worker, Env: rw.Shop.Slug, Crons: entry.Crons, CronsSet: entry.ID != ""}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l, nil
	case err != nil && target:
		return nil, fmt.Errorf("reading commit %s of %s: %w", entry.Commit, rw.Shop.Slug, err)
	case err != nil:
		l.wrong = "its commit could not be read"
		return l, nil
	}
	src.Shop, src.Policy, src.Commit = rw.Shop, rw.Policy, entry.Commit
	config, err := resolve(src)
	var found Findings
	if errors.As(err, &found) {
		l.wrong = "the config of its commit cannot be read: " + found[0].Message
		return l, nil
	} else if err != nil {
		return nil, err
	}
	if config.Name != rw.Shop.Worker {
		l.wrong = fmt.Sprintf("the config of its commit names the Worker %q", config.Name)
		return l, nil
	}
	want := *base
	want.Config, want.RequiredSecrets, l.known = config, union(rw.Policy.Secrets.Required, config.RequiredSecrets), true
	if err := asFindings(want.readMigrations()); errors.As(err, &found) {
		l.wrong = "the migrations of its commit cannot be read: " + found[0].Message
	} else if err != nil {
		return nil, err
	}
	l.want = &want
	return l, nil
}

// databaseOf is the shop's own database: that of a config, or the account's of the shop's name.
func databaseOf(rw RollbackWant, account *lists, looks []*look) wrangler.D1Database {
	db := wrangler.D1Database{DatabaseName: rw.Shop.D1, MigrationsTable: "d1_migrations"}
	for _, l := range looks {
		if l.known && l.want.Database.DatabaseID != "" {
			db = l.want.Database
			break
		}
	}
	if account.databases[db.DatabaseID] == rw.Shop.D1 {
		return db
	}
	db.DatabaseID = ""
	for id, name := range account.databases {
		if name == rw.Shop.D1 && (rw.Shop.D1ID == "" || rw.Shop.D1ID == id) {
			db.DatabaseID = id
		}
	}
	return db
}

// lookAtTarget is the second round of calls: the versions with their bindings, the database, and what stands around the
// hostnames of the target.
func (e *Engine) lookAtTarget(ctx context.Context, rw RollbackWant, c *chronicle, have *State, looks []*look, target *look, db wrangler.D1Database) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range looks {
		if _, there := c.version(l.entry.VersionID); !there {
			l.gone = true
			continue
		}
		group.Go(func() (err error) {
			l.version, err = e.CF.Version(ctx, c.worker, l.entry.VersionID)
			if l.gone = errors.Is(err, cloudflare.ErrNotFound); l.gone {
				return nil
			}
			return doing(err, "reading version "+l.entry.VersionID+" of "+c.worker)
		})
	}
	if db.DatabaseID != "" {
		group.Go(func() error {
			state, complete, err := readDatabase(ctx, e.CF, db)
			if err == nil && !complete {
				state, err = exploreDatabase(ctx, e.CF, db)
			}
			have.Database = state
			return notFoundIsEmpty(err, "reading the schema of "+db.DatabaseName)
		})
	}
	if target.known && wantsRecords(target.want, have) {
		r := &records{cf: e.CF, shop: rw.Shop.Slug, where: rw.Policy.Identity, found: map[string]string{}}
		have.Records = r.found
		for _, s := range target.want.owned(have) {
			group.Go(func() error { return r.read(ctx, s) })
		}
	}
	e.lookAtBuckets(ctx, group, target.want, have)
	e.lookAtDNS(ctx, group, target.want, have)
	e.lookAtChangeset(ctx, group, target.want, have)
	if target.known {
		e.lookAtRoutes(ctx, group, target.want, have)
	}
	return group.Wait()
}

// lookAtFit compares what each candidate's code was written for with today's database. Where rows decide, they are asked
// for, and beside that once more what is live, so that no round is added before the release.
func (e *Engine) lookAtFit(ctx context.Context, c *chronicle, have *State, looks []*look, db wrangler.D1Database) error {
	if db.DatabaseID == "" {
		return nil // no database, or it is gone: the bindings tell
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, l := range looks {
		group.Go(func() error { return e.fit(gctx, c, have, l, db) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var questions []string
	place := map[string]int{}
	for _, l := range looks {
		for _, w := range l.fit.While {
			if _, asked := place[w.Table]; !asked {
				place[w.Table] = len(questions)
				questions = append(questions, "SELECT EXISTS (SELECT 1 FROM "+quoteName(w.Table)+")")
			}
		}
	}
	if len(questions) == 0 {
		return nil
	}
	var answers []int64
	group, gctx = errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		answers, err = ask(gctx, e.CF, db, questions)
		return err
	})
	group.Go(func() error {
		at := e.now()
		now, err := e.Live(gctx, c.worker)
		if err == nil && now.Version != c.live.Version && !now.sharedAs(c.live) {
			return &StaleError{Shop: c.shop, Live: now.Version}
		}
		have.At = at
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	for _, l := range looks {
		for _, w := range l.fit.While {
			if answers[place[w.Table]] != 0 {
				l.fit.Lacks = append(l.fit.Lacks, w.Text)
			}
		}
	}
	return nil
}

// fit fills in how the code of one candidate gets on with the database.
func (e *Engine) fit(ctx context.Context, c *chronicle, have *State, l *look, db wrangler.D1Database) error {
	same := func() (bool, error) {
		if l.entry.SchemaAfter == "" {
			return false, nil
		}
		s, err := e.rehearsals().schema(ctx, db, have.Database.Objects)
		ok := err == nil && s.Fingerprint() == l.entry.SchemaAfter
		if ok {
			l.safe = "the database has the schema that it ran on"
		}
		return ok, doing(err, "reading the schema of "+db.DatabaseName)
	}
	switch {
	case l.gone || l.wrong != "":
		return nil
	case !l.known:
		ok, err := same()
		switch {
		case ok:
		case c.migratedSince(l.entry.VersionID, l.entry.Content):
			l.doubt = "git does not have its commit, so that what it needs of the database is not known"
		default:
			l.safe = "no release since has migrated the database"
		}
		return err
	}
	files := l.want.files()
	for _, f := range pending(files, have.Database.Ledger) {
		l.pending = append(l.pending, f.Name)
	}
	if len(l.pending) > 0 {
		return nil
	}
	fit, err := d1.FitFiles(ctx, files, have.Database.Objects, ledgers(db)...)
	if errors.Is(err, d1.ErrRefused) {
		// They were never meant for an empty database. Without a newer file in the ledger it is the one that they ran on.
		newer := slices.DeleteFunc(slices.Clone(have.Database.Ledger), func(name string) bool {
			return slices.ContainsFunc(files, func(m d1.Migration) bool { return m.Name == name })
		})
		ok, err := same()
		if len(newer) > 0 && !ok {
			l.doubt = "its migrations do not go through on an empty database, so that what it needs is not known"
		} else if !ok {
			l.safe = "all migrations of the database are its own"
		}
		return err
	} else if err != nil {
		return fmt.Errorf("comparing the schema with that of commit %s: %w", l.entry.Commit, err)
	}
	l.fit = fit
	return nil
}

// migratedSince says whether a release that migrated took a version's place since it was released first, or nobody knows.
func (c *chronicle) migratedSince(version, content string) bool {
	return c.latest(version) < 0 || c.wayBack(version, content) != ""
}

// judge gives a candidate its label.
func (k *Candidate) judge(rw RollbackWant, have *State, account *lists, l *look, done bool) {
	if done {
		return
	}
	block := func(why ...string) { k.Label, k.Why = ReadyBlocked, append(why, k.Why...) }
	if l.gone {
		if k.Label != ReadyBlocked {
			block("Cloudflare no longer has the version; it keeps the newest 100")
		}
		return
	}
	var reasons []string
	if l.wrong != "" {
		reasons = append(reasons, l.wrong)
	}
	lost, foreign := l.reaches(rw, have, account)
	reasons = append(append(reasons, foreign...), lost...)
	if why := l.objects(have); why != "" {
		reasons = append(reasons, why)
	}
	if len(l.pending) > 0 {
		reasons = append(reasons, "its migrations are not applied to the database: "+strings.Join(l.pending, ", "))
	}
	if l.doubt != "" {
		reasons = append(reasons, l.doubt)
	}
	switch {
	case len(reasons) > 0:
		block(reasons...)
	case len(l.fit.Lacks) > 0:
		k.Label, k.Why = ReadyRestore, append(slices.Clone(l.fit.Lacks), k.Why...)
	default:
		k.Label = ReadySafe
		why := l.safe
		switch {
		case why != "":
		case len(l.want.Migrations) > 0 || l.want.Database.DatabaseID != "":
			why = "the database has everything that its migrations made"
		default:
			why = "there is no database that it is made for"
		}
		k.Why = append([]string{why}, k.Why...)
	}
}

// objects says why Durable Objects stand in the way of a version: Cloudflare releases none from before a migration of them.
func (l *look) objects(have *State) string {
	if have.Worker == nil {
		return "the account has no such Worker"
	}
	now, was := have.Worker.MigrationTag, l.version.MigrationTag
	if was == "" && l.known && len(l.want.Config.DOMigrations) > 0 {
		was = l.want.Config.DOMigrations[len(l.want.Config.DOMigrations)-1].Tag
	}
	if was == now {
		return ""
	}
	return fmt.Sprintf("Durable Objects were migrated since (from %s to %s), and Cloudflare releases no version from before that", orNone(was), orNone(now))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return fmt.Sprintf("%q", s)
}

// reaches holds what a version is bound to, as Cloudflare says, against what is the shop's today: what is gone, and what
// is not provably its own. It is the wall of admission for a version that went through it once.
func (l *look) reaches(rw RollbackWant, have *State, account *lists) (gone, foreign []string) {
	policy := rw.Policy
	shop := rw.Shop
	for _, b := range l.version.Bindings {
		all, err := ReachOfLive(b.JSON)
		if err != nil {
			foreign = append(foreign, "binding "+b.Name+" cannot be read")
			continue
		}
		names := &State{Databases: map[string]string{}, Namespaces: map[string]string{}, Buckets: map[string]bool{}}
		account.names(all, names)
		for _, r := range all {
			if r.Free || r.Type == "durable_object_namespace" && r.Resource == shop.Worker {
				continue
			}
			x := reached{Reach: r}
			x.ask(names)
			if r.Type == "r2_bucket" && r.Jurisdiction != "" {
				x.Exists = have.Buckets[bucketKey(r.Resource, r.Jurisdiction)]
			}
			x.Declared = x.Actual
			store := Store{Kind: resourceKinds[r.Type], ID: r.Resource}
			owner, record := account.owners[store.key()], have.Records[store.key()]
			shared := policy.IsShared(r.Type, x.Actual) || policy.IsShared(r.Type, r.Resource)
			what := fmt.Sprintf("the %s %q that it is bound to as %s", wordOf(r.Type), r.Resource, b.Name)
			switch {
			case (r.Type == "d1" || r.Type == "kv_namespace" || r.Type == "r2_bucket" && shop.Owns(r.Type, r.Resource)) && !x.Exists:
				gone = append(gone, what+" is gone")
			case judge(&shop, policy, x) != admitted || r.Type == "d1" && shop.D1ID != "" && x.Actual == shop.D1 && r.Resource != shop.D1ID:
				foreign = append(foreign, what+" is not provably the shop's own")
			case !shared && owner != "" && owner != shop.Slug:
				foreign = append(foreign, what+" says in its owner tag that it is shop "+excerpt(owner)+"'s")
			case !shared && record != "" && record != shop.Slug:
				foreign = append(foreign, what+" holds the identity record of shop "+excerpt(record))
			}
		}
	}
	if owner := account.owners[Store{Kind: kindWorker, ID: shop.Worker}.key()]; owner != "" && owner != shop.Slug {
		foreign = append(foreign, "the owner tag of its Worker says that it is shop "+excerpt(owner)+"'s")
	}
	return gone, foreign
}

// wordOf is a type of binding for people.
func wordOf(typ string) string {
	if w := word(resourceKinds[typ]); w != "" {
		return w
	}
	return typ
}
