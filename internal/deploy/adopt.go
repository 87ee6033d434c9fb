package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/fleet"
)

// AdoptPlan is what has to be written so that a shop's Worker and stores say whose they are, as data.
type AdoptPlan struct {
	Shop   string       `json:"shop"`
	Writes []AdoptWrite `json:"writes"`
	// Notes say what cannot be written now, and why.
	Notes    []string  `json:"notes,omitempty"`
	Findings []Finding `json:"findings,omitempty"`
}

// AdoptWrite is one tag or record.
type AdoptWrite struct {
	What string `json:"what"` // "tag" or "record"
	Kind string `json:"kind"` // worker, d1_database, kv_namespace or r2_bucket
	ID   string `json:"id"`
	Name string `json:"name"`
	// Key is what the record stands under, Table the database's table, which is made where Make is set.
	Key          string `json:"key,omitempty"`
	Table        string `json:"table,omitempty"`
	Make         bool   `json:"make,omitempty"`
	Jurisdiction string `json:"jurisdiction,omitempty"`
	// Value is the slug.
	Value string `json:"value"`
	// Fresh says that whoever plans it has just made the thing: the first try does not look.
	Fresh bool `json:"-"`
}

// The values of AdoptWrite.What.
const (
	adoptTag    = "tag"
	adoptRecord = "record"
)

// Fresh stores, and a Worker, of a shop that was made by now, and what they are called.
type Fresh struct {
	Worker, DatabaseID, NamespaceID, Bucket string
}

// MarkStores are the identity records of stores that were just made. The database's is among them where the table is
// shopfleet's own; a product's own table comes with its migrations, and Mark is for that.
func MarkStores(shop fleet.Shop, where fleet.Identity, f Fresh, fresh func(kind, id string) bool) *AdoptPlan {
	p := &AdoptPlan{Shop: shop.Slug, Writes: []AdoptWrite{}}
	for _, s := range []struct{ kind, id, name string }{{kindKV, f.NamespaceID, shop.KV}, {kindR2, f.Bucket, shop.R2}, {kindD1, f.DatabaseID, shop.D1}} {
		w := AdoptWrite{What: adoptRecord, Kind: s.kind, ID: s.id, Name: s.name, Key: where.Key, Value: shop.Slug, Fresh: fresh(s.kind, s.id)}
		if s.kind == kindD1 {
			if where.Table != fleet.IdentityTable {
				continue
			}
			w.Table, w.Make = where.Table, true
		}
		if s.id != "" {
			p.Writes = append(p.Writes, w)
		}
	}
	return p
}

// Mark is what says whose a shop is once it was deployed: the owner tag of its Worker, where tags can be had, and the record in
// a table of the product's own. fresh says which of them this run has made.
func Mark(shop fleet.Shop, where fleet.Identity, f Fresh, tags bool, fresh func(kind, id string) bool) *AdoptPlan {
	p := &AdoptPlan{Shop: shop.Slug, Writes: []AdoptWrite{}}
	if tags {
		p.Writes = append(p.Writes, AdoptWrite{What: adoptTag, Kind: kindWorker, ID: f.Worker, Name: f.Worker, Value: shop.Slug, Fresh: fresh(kindWorker, f.Worker)})
	}
	if where.Table != fleet.IdentityTable && f.DatabaseID != "" {
		p.Writes = append(p.Writes, AdoptWrite{What: adoptRecord, Kind: kindD1, ID: f.DatabaseID, Name: shop.D1, Key: where.Key, Table: where.Table, Value: shop.Slug, Fresh: fresh(kindD1, f.DatabaseID)})
	}
	return p
}

// ErrNoIdentityTable says that a database has no table for its identity record, or one of another shape.
var ErrNoIdentityTable = errors.New("the database has no such table with columns key and value")

// String is the write in one line for people.
func (w AdoptWrite) String() string {
	if w.What == adoptTag {
		return fmt.Sprintf("tag %s=%s on %s %s", ownerTag, w.Value, word(w.Kind), w.Name)
	}
	where := w.Key
	if w.Table != "" {
		where = "table " + w.Table
	}
	return fmt.Sprintf("record %s in %s %s (%s)", w.Value, word(w.Kind), w.Name, where)
}

// PlanAdoption reads what a shop's Worker and stores say of their owner, and plans what is missing. It only reads. Of the
// source it needs what admission does: Policy, Shop, Commit, Main, Dir, ConfigName, Config and Base; nothing is built. The
// error is Findings when the config is wrong.
func (e *Engine) PlanAdoption(ctx context.Context, src Source) (*AdoptPlan, error) {
	config, err := resolve(src)
	if err != nil {
		return nil, err
	}
	want := &Desired{Shop: src.Shop, Commit: src.Commit, Config: config, Identity: src.Policy.Identity, policy: src.Policy}
	want.Findings = admitOffline(want, src)
	if want.admitClaims(src.Rivals); want.Findings.Blocking() {
		return nil, want.Findings.sorted()
	}
	account, err := e.account(ctx)
	if err != nil {
		return nil, err
	}
	have := &State{At: e.now()}
	account.fill(want, have)
	r := &records{cf: e.CF, shop: want.Shop.Slug, where: want.Identity, found: map[string]string{}}
	have.Records = r.found
	group, gctx := errgroup.WithContext(ctx)
	for _, s := range want.owned(have) {
		group.Go(func() error { return r.read(gctx, s) })
	}
	e.lookAtBuckets(gctx, group, want, have)
	e.lookAtRoutes(gctx, group, want, have)
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return Adopt(want, have), nil
}

// Adopt plans the tags and records that a shop's Worker and stores lack. It is pure. A shop that is not admitted, or has
// something that says it is another's, gets findings and no writes: what is written here is believed for ever after.
func Adopt(want *Desired, have *State) *AdoptPlan {
	p := &AdoptPlan{Shop: want.Shop.Slug, Writes: []AdoptWrite{}}
	findings := Findings(admitLive(want, have))
	for _, f := range admitOwnership(want, have) {
		if f.Rule != "owner-missing" {
			findings = append(findings, f)
		}
	}
	if findings.Blocking() {
		p.Findings = findings.sorted()
		return p
	}
	slug, where := want.Shop.Slug, want.Identity
	stores := want.owned(have)
	tagged := stores
	if have.Worker != nil {
		tagged = append([]Store{{Kind: kindWorker, ID: want.Config.Name}}, tagged...)
	} else {
		p.Notes = append(p.Notes, "Worker "+want.Config.Name+" is not there yet; run adopt again after its first deploy")
	}
	if have.Owners == nil {
		p.Notes = append(p.Notes, "the account or the token has no resource tags; identity records have to do")
		tagged = nil
	}
	for _, s := range tagged {
		if have.Owners[s.key()] == "" {
			p.Writes = append(p.Writes, AdoptWrite{What: adoptTag, Kind: s.Kind, ID: s.ID, Name: have.nameOf(s), Value: slug})
		}
	}
	for _, s := range stores {
		record, read := have.Records[s.key()]
		w := AdoptWrite{What: adoptRecord, Kind: s.Kind, ID: s.ID, Name: have.nameOf(s), Key: where.Key, Jurisdiction: s.Jurisdiction, Value: slug}
		if s.Kind == kindD1 {
			w.Table, w.Make = where.Table, where.Table == fleet.IdentityTable
		}
		switch {
		case !read:
			p.Notes = append(p.Notes, fmt.Sprintf("D1 database %s has no table %s with columns key and value yet; run adopt again after the deploy that makes it", w.Name, where.Table))
		case record == "":
			p.Writes = append(p.Writes, w)
		}
	}
	return p
}

// ApplyAdoption carries out a plan as it is. Each write first looks again: what another shop's name has come to stand on
// meanwhile is left as it is and comes back as Findings, and what is there already is not written. It returns how many
// of the writes were made.
func (e *Engine) ApplyAdoption(ctx context.Context, p *AdoptPlan, tell func(Event)) (written int, err error) {
	if f := Findings(p.Findings); f.Blocking() {
		return 0, f
	}
	if tell == nil {
		tell = func(Event) {}
	}
	done := make([]bool, len(p.Writes))
	work := make([]func() error, len(p.Writes))
	for i, w := range p.Writes {
		work[i] = func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			tell(Event{Text: w.String()})
			if done[i], err = e.adopt(ctx, w); err != nil {
				var found Findings
				if !errors.As(err, &found) {
					err = fmt.Errorf("writing the %s of %s %s: %w", w.What, word(w.Kind), w.Name, err)
				}
			}
			return err
		}
	}
	err = together(work...)
	for _, d := range done {
		if d {
			written++
		}
	}
	return written, err
}

// adopt looks, and writes what is missing. All of it can be repeated: an answer that was lost is looked up by the next try.
func (e *Engine) adopt(ctx context.Context, w AdoptWrite) (written bool, err error) {
	for try := 0; ; try++ {
		says, write, err := "", e.adoption(w, cloudflare.ResourceTags{}), error(nil)
		if !w.Fresh || try > 0 {
			says, write, err = e.lookToAdopt(ctx, w)
		}
		switch {
		case err != nil:
			return written, err
		case says == w.Value:
			return written, nil
		case says != "":
			return written, Findings{{
				Rule: ruleOwnerMismatch, Level: LevelError,
				Message:  fmt.Sprintf("the %s of %s %s says %s by now, and was to be shop %s's", w.What, word(w.Kind), w.Name, excerpt(says), w.Value),
				Expected: "what is " + w.Value + "'s own", Hint: "stop and find out whose it is: one shop could read another's data",
			}}
		}
		err = write(ctx)
		again := errors.Is(err, cloudflare.ErrConflict) || errors.Is(err, cloudflare.ErrUnknownOutcome)
		switch {
		case err == nil:
			return true, nil
		case !again || try == 2 || ctx.Err() != nil:
			return false, err
		}
		written = errors.Is(err, cloudflare.ErrUnknownOutcome)
	}
}

// lookToAdopt reads what a write is about to change, and returns the call that would.
func (e *Engine) lookToAdopt(ctx context.Context, w AdoptWrite) (says string, write func(context.Context) error, err error) {
	if w.What == adoptTag {
		t, err := e.CF.Tags(ctx, w.Kind, w.ID)
		return t.Tags[ownerTag], e.adoption(w, t), err
	}
	r := &records{cf: e.CF, shop: w.Value, where: fleet.Identity{Key: w.Key, Table: w.Table}, found: map[string]string{}}
	s := Store{Kind: w.Kind, ID: w.ID, Jurisdiction: w.Jurisdiction}
	err = r.read(ctx, s)
	return r.found[s.key()], e.adoption(w, cloudflare.ResourceTags{}), err
}

// adoption is the call of a write. have are the tags that are there, which stay.
func (e *Engine) adoption(w AdoptWrite, have cloudflare.ResourceTags) func(context.Context) error {
	return func(ctx context.Context) error {
		switch {
		case w.What == adoptTag:
			tags := maps.Clone(have.Tags)
			if tags == nil {
				tags = map[string]string{}
			}
			tags[ownerTag] = w.Value
			return e.CF.PutTags(ctx, cloudflare.ResourceTags{Type: w.Kind, ID: w.ID, Tags: tags, ETag: have.ETag})
		case w.Kind == kindKV:
			return e.CF.PutKVValue(ctx, w.ID, w.Key, w.Value)
		case w.Kind == kindR2:
			return e.CF.PutR2Object(ctx, w.ID, w.Jurisdiction, w.Key, []byte(w.Value))
		}
		return e.insertRecord(ctx, w)
	}
}

// insertRecord adds the row where there is none, whatever another run does meanwhile.
func (e *Engine) insertRecord(ctx context.Context, w AdoptWrite) error {
	table := quoteName(w.Table)
	var sql []string
	if w.Make {
		sql = append(sql, "CREATE TABLE IF NOT EXISTS "+table+" (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;")
	}
	sql = append(sql, fmt.Sprintf("INSERT INTO %s (key, value) SELECT %s, %s WHERE NOT EXISTS (SELECT 1 FROM %[1]s AS i WHERE i.key = %[2]s);", table, quoteText(w.Key), quoteText(w.Value)))
	_, err := e.CF.D1Exec(ctx, w.ID, strings.Join(sql, "\n"))
	if err != nil && !w.Make {
		if why := refusalText(err); strings.Contains(why, "no such table") || strings.Contains(why, "no column named") || strings.Contains(why, "no such column") {
			return fmt.Errorf("%w: %s", ErrNoIdentityTable, w.Table)
		}
	}
	return err
}
