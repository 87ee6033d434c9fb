package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// Snapshot is what one account says, as data.
type Snapshot struct {
	Account fleet.Account
	At      time.Time
	Calls   int    // questions that were asked; a retry is not counted
	Error   string // why the account could not be read; everything below is empty then
	Deep    bool
	// NotRead says what was not asked, or not answered, a sentence each.
	NotRead []string

	Workers    []Worker
	Domains    []cloudflare.Domain
	Databases  []cloudflare.D1Database
	Namespaces []cloudflare.KVNamespace
	Buckets    []cloudflare.R2Bucket
	Zones      []cloudflare.Zone
	Routes     []Route // of the fleet's zones
	// Tags are the resources that have an owner tag; TagsRead is false where tags cannot be read.
	Tags     []cloudflare.ResourceTags
	TagsRead bool
	// Details are the shops that were read deeply, by slug.
	Details map[string]*Detail
}

// Worker is a Worker of the account and what it is bound to.
type Worker struct {
	cloudflare.Worker
	// Settings are those of the newest version.
	Settings cloudflare.Settings
	// Live is the release that takes the traffic, Beside are the versions that take a part of it besides Live.Version; both
	// are read with Deep.
	Live   deploy.Live
	Beside []cloudflare.Version
}

// Route is a zone route.
type Route struct{ Zone, Pattern, Worker string }

// Detail is what is asked of one shop besides the lists.
type Detail struct {
	Crons     []string
	Subdomain *cloudflare.Subdomain
	// Records are identity records by store ("d1", "kv", "r2"): the slug found, "" where there is none. What could not be
	// read is not in it.
	Records map[string]string
	// Denied are columns that no table may have, as table.column; nil when the schema was not read.
	Denied []string
}

// Options say how an account is read.
type Options struct {
	// Deep are the shops to read deeply: crons, workers.dev, schemas and identity records, and what is live of every Worker
	// of the account: also that of another shop, or of nobody, may reach their stores.
	Deep []Shop
	// Jurisdictions are those of R2 that are listed besides the default one.
	Jurisdictions []string
	Policy        *fleet.Policy
	Now           func() time.Time
	// Side is how many calls wait side by side; 0 is 20. Cloudflare takes 200 calls a second from one address, whatever
	// their tokens, so that accounts which are read at the same time should have it divided between them.
	Side int
	// Progress is told what has been read; it may be nil. It is called by several goroutines.
	Progress func(text string)
}

// DeepNotRead is what a snapshot says when it was not read deeply.
const DeepNotRead = "live versions, crons, schemas and identity records were not read; --deep reads them"

// ownerTag is the key of owner tags.
const ownerTag = "shop"

// Read asks an account for what an audit judges. It only reads, and makes at most twelve calls for lists of a common size
// and one for each Worker; with Options.Deep two more for each Worker and up to six for each of those shops. An account that
// cannot be read gives a Snapshot that says so.
func Read(ctx context.Context, cf *cloudflare.Client, account fleet.Account, o Options) *Snapshot {
	r := &reader{cf: cf, options: o, s: &Snapshot{Account: account, At: o.Now()}}
	if err := r.all(ctx); err != nil {
		return &Snapshot{Account: account, At: r.s.At, Calls: int(r.calls.Load()), Error: err.Error()}
	}
	r.s.Calls = int(r.calls.Load())
	return r.s
}

// reader is one run of Read.
type reader struct {
	cf      *cloudflare.Client
	options Options
	s       *Snapshot
	calls   atomic.Int64

	mu      sync.Mutex
	notRead map[string]bool
}

// side is how many calls wait side by side unless Options say otherwise: at a tenth of a second each, 200 a second.
const side = 20

func (r *reader) all(ctx context.Context) error {
	s := r.s
	r.notRead = map[string]bool{}
	// A group's context ends with the group, so the Workers are read in one of their own.
	outer, cancel := context.WithCancel(ctx)
	defer cancel()
	details, dctx := errgroup.WithContext(outer)
	details.SetLimit(cmp.Or(r.options.Side, side))
	group, gctx := errgroup.WithContext(ctx)
	ask := func(what string, read func() error) {
		group.Go(func() error {
			r.calls.Add(1)
			return doing(read(), what)
		})
	}
	ask("listing custom domains", func() (err error) {
		s.Domains, err = r.cf.Domains(gctx, cloudflare.DomainFilter{})
		return err
	})
	ask("listing D1 databases", func() (err error) {
		s.Databases, err = r.cf.D1Databases(gctx, "")
		return err
	})
	ask("listing KV namespaces", func() (err error) {
		s.Namespaces, err = r.cf.KVNamespaces(gctx)
		r.calls.Add(int64(len(s.Namespaces) / 100)) // pages
		return err
	})
	for i, jurisdiction := range append([]string{""}, r.options.Jurisdictions...) {
		ask("listing R2 buckets", func() error {
			list, err := r.cf.R2Buckets(gctx, jurisdiction)
			for j := range list {
				if i > 0 && list[j].Jurisdiction == "" {
					list[j].Jurisdiction = jurisdiction
				}
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			s.Buckets = append(s.Buckets, list...)
			return err
		})
	}
	ask("listing owner tags", func() (err error) {
		s.Tags, err = r.cf.TaggedResources(gctx, ownerTag)
		if r.without(err, "owner tags cannot be read with this token, or in this account") {
			return nil
		}
		s.TagsRead = err == nil
		return err
	})
	group.Go(func() error { return r.zones(gctx, group) })
	group.Go(func() error {
		r.calls.Add(1)
		list, err := r.cf.Workers(gctx)
		if err != nil {
			return doing(err, "listing Workers")
		}
		s.Workers = make([]Worker, len(list))
		for i, w := range list {
			s.Workers[i].Worker = w
			details.Go(func() (err error) {
				r.calls.Add(1)
				s.Workers[i].Settings, err = r.cf.Settings(dctx, w.Name)
				r.tell("read " + w.Name)
				if errors.Is(err, cloudflare.ErrNotFound) {
					s.Workers[i].Name = "" // deleted since it was listed
					return nil
				}
				return doing(err, "reading the bindings of "+w.Name)
			})
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		cancel()
		_ = details.Wait() // group's error is why they stopped
		return err
	}
	if err := details.Wait(); err != nil {
		return err
	}
	s.Workers = slices.DeleteFunc(s.Workers, func(w Worker) bool { return w.Name == "" })
	if err := r.deep(ctx); err != nil {
		return err
	}
	s.NotRead = sorted(r.notRead)
	s.sort()
	return nil
}

// zones lists the account's zones, and the routes of those that the fleet names.
func (r *reader) zones(ctx context.Context, group *errgroup.Group) (err error) {
	r.calls.Add(1)
	if r.s.Zones, err = r.cf.Zones(ctx, ""); err != nil {
		return doing(err, "listing zones")
	}
	for _, z := range r.s.Zones {
		if !slices.Contains(r.s.Account.Zones(), z.Name) {
			continue
		}
		group.Go(func() error {
			r.calls.Add(1)
			list, err := r.cf.ZoneRoutes(ctx, z.ID)
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, route := range list {
				r.s.Routes = append(r.s.Routes, Route{z.Name, route.Pattern, route.Script})
			}
			return doing(err, "listing the routes of zone "+z.Name)
		})
	}
	return nil
}

// without notes that something could not be read for want of a permission or a product, which is no failure.
func (r *reader) without(err error, what string) bool {
	if !errors.Is(err, cloudflare.ErrUnauthorized) && !errors.Is(err, cloudflare.ErrNotFound) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notRead[what] = true
	return true
}

func (r *reader) tell(text string) {
	if r.options.Progress != nil {
		r.options.Progress(text)
	}
}

// deep reads the shops of Options.Deep that are on this account.
func (r *reader) deep(ctx context.Context) error {
	r.s.Details = map[string]*Detail{}
	if len(r.options.Deep) == 0 {
		r.notRead[DeepNotRead] = true
		return nil
	}
	r.s.Deep = true
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(cmp.Or(r.options.Side, side))
	for i, w := range r.s.Workers {
		group.Go(func() error {
			err := r.release(ctx, &r.s.Workers[i])
			r.tell("looked at " + w.Name)
			if errors.Is(err, cloudflare.ErrNotFound) {
				return nil // deleted since it was listed
			}
			return doing(err, "reading the live release of "+w.Name)
		})
	}
	for _, shop := range r.options.Deep {
		if shop.Account.Name != r.s.Account.Name {
			continue
		}
		d := &Detail{Records: map[string]string{}}
		r.s.Details[shop.Slug] = d
		if slices.ContainsFunc(r.s.Workers, func(w Worker) bool { return w.Name == shop.Worker }) {
			r.triggers(ctx, group, shop, d)
		}
		r.stores(ctx, group, shop, d)
	}
	return group.Wait()
}

// release reads every version of a Worker that takes traffic.
func (r *reader) release(ctx context.Context, w *Worker) (err error) {
	r.calls.Add(1)
	if w.Live, err = (&deploy.Engine{CF: r.cf}).Look(ctx, w.Name); w.Live.Version != "" {
		r.calls.Add(1)
	}
	for _, id := range sorted(w.Live.Shares) {
		if err != nil || id == w.Live.Version {
			continue
		}
		var v cloudflare.Version
		r.calls.Add(1)
		v, err = r.cf.Version(ctx, w.Name, id)
		w.Beside = append(w.Beside, v)
	}
	return err
}

// triggers reads what is set beside the versions of a shop's Worker.
func (r *reader) triggers(ctx context.Context, group *errgroup.Group, shop Shop, d *Detail) {
	ask := func(what string, read func() error) {
		group.Go(func() error {
			r.calls.Add(1)
			err := read()
			if errors.Is(err, cloudflare.ErrNotFound) {
				return nil
			}
			return doing(err, what+" of "+shop.Worker)
		})
	}
	ask("reading the crons", func() (err error) {
		d.Crons, err = r.cf.Schedules(ctx, shop.Worker)
		return err
	})
	ask("reading the workers.dev state", func() error {
		state, err := r.cf.Subdomain(ctx, shop.Worker)
		if err == nil {
			d.Subdomain = &state
		}
		return err
	})
}

// stores reads the schema and the identity records of a shop's stores.
func (r *reader) stores(ctx context.Context, group *errgroup.Group, shop Shop, d *Detail) {
	s, identity := r.s, r.options.Policy.Identity
	record := func(store, found string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		d.Records[store] = found
	}
	if i := slices.IndexFunc(s.Databases, func(db cloudflare.D1Database) bool { return db.Name == shop.D1 }); i >= 0 {
		id := s.Databases[i].ID
		group.Go(func() error {
			r.calls.Add(1)
			rows, err := r.cf.D1Read(ctx, id, "SELECT CAST(i.value AS TEXT) AS value FROM "+quoteName(identity.Table)+" AS i WHERE i.key = ? LIMIT 2", identity.Key)
			if r.without(err, "identity records in D1 cannot be read with this token") {
				return nil
			}
			var list []struct{ Value string }
			if err == nil {
				err = rows.Decode(&list)
			} else if strings.Contains(err.Error(), "no such table") || strings.Contains(err.Error(), "no such column") {
				err = nil
			}
			text := ""
			for _, row := range list { // a table that takes a key twice may hold two; the one that is not the shop's counts
				if text = strings.TrimSpace(row.Value); text != shop.Slug {
					break
				}
			}
			if err == nil {
				record("d1", text)
			}
			return doing(err, "reading the identity record in "+shop.D1)
		})
		if denied := r.options.Policy.Migrations.DenyColumns; len(denied) > 0 {
			group.Go(func() error {
				r.calls.Add(1)
				found, err := deniedColumns(ctx, r.cf, id, denied)
				if r.without(err, "schemas cannot be read with this token") {
					return nil
				}
				d.Denied = found
				return doing(err, "reading the schema of "+shop.D1)
			})
		}
	}
	if i := slices.IndexFunc(s.Namespaces, func(n cloudflare.KVNamespace) bool { return n.Title == shop.KV }); i >= 0 {
		group.Go(func() error {
			r.calls.Add(1)
			value, err := r.cf.KVValue(ctx, s.Namespaces[i].ID, identity.Key)
			return r.found(err, "identity records in KV", shop.KV, func() { record("kv", strings.TrimSpace(value)) })
		})
	}
	if i := slices.IndexFunc(s.Buckets, func(b cloudflare.R2Bucket) bool { return b.Name == shop.R2 }); i >= 0 {
		group.Go(func() error {
			r.calls.Add(1)
			value, err := r.cf.R2Object(ctx, shop.R2, s.Buckets[i].Jurisdiction, identity.Key)
			return r.found(err, "identity records in R2", shop.R2, func() { record("r2", strings.TrimSpace(string(value))) })
		})
	}
}

// found takes a record that was read; one that is not there is none.
func (r *reader) found(err error, what, where string, take func()) error {
	switch {
	case err == nil || errors.Is(err, cloudflare.ErrNotFound):
		take()
		return nil
	case r.without(err, what+" cannot be read with this token"):
		return nil
	}
	return doing(err, "reading the identity record in "+where)
}

// deniedColumns asks a database for columns that no table may have.
func deniedColumns(ctx context.Context, cf *cloudflare.Client, id string, denied []string) ([]string, error) {
	params := make([]any, len(denied))
	for i, name := range denied {
		params[i] = strings.ToLower(name)
	}
	rows, err := cf.D1Read(ctx, id, `SELECT m.name AS "table", c.name AS "column" FROM sqlite_master AS m, pragma_table_xinfo(m.name) AS c
WHERE m.type = 'table' AND m.name NOT GLOB 'sqlite_*' AND lower(m.name) NOT GLOB '_cf_*' AND lower(c.name) IN (`+
		strings.TrimSuffix(strings.Repeat("?, ", len(denied)), ", ")+`) ORDER BY 1, 2`, params...)
	if err != nil {
		return nil, err
	}
	var list []struct{ Table, Column string }
	if err := rows.Decode(&list); err != nil {
		return nil, err
	}
	out := []string{}
	for _, c := range list {
		out = append(out, c.Table+"."+c.Column)
	}
	return out, nil
}

func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// sort gives the lists an order of their own.
func (s *Snapshot) sort() {
	sort.Slice(s.Workers, func(i, j int) bool { return s.Workers[i].Name < s.Workers[j].Name })
	sort.Slice(s.Domains, func(i, j int) bool { return s.Domains[i].Hostname < s.Domains[j].Hostname })
	sort.Slice(s.Databases, func(i, j int) bool {
		return s.Databases[i].Name+"\x00"+s.Databases[i].ID < s.Databases[j].Name+"\x00"+s.Databases[j].ID
	})
	sort.Slice(s.Namespaces, func(i, j int) bool {
		return s.Namespaces[i].Title+"\x00"+s.Namespaces[i].ID < s.Namespaces[j].Title+"\x00"+s.Namespaces[j].ID
	})
	sort.Slice(s.Buckets, func(i, j int) bool {
		return s.Buckets[i].Name+"\x00"+s.Buckets[i].Jurisdiction < s.Buckets[j].Name+"\x00"+s.Buckets[j].Jurisdiction
	})
	sort.Slice(s.Routes, func(i, j int) bool {
		return s.Routes[i].Zone+"\x00"+s.Routes[i].Pattern < s.Routes[j].Zone+"\x00"+s.Routes[j].Pattern
	})
	sort.Slice(s.Tags, func(i, j int) bool { return s.Tags[i].Type+"\x00"+s.Tags[i].ID < s.Tags[j].Type+"\x00"+s.Tags[j].ID })
}

// worker finds a Worker by name.
func (s *Snapshot) worker(name string) (Worker, bool) {
	i, ok := slices.BinarySearchFunc(s.Workers, name, func(w Worker, name string) int { return strings.Compare(w.Name, name) })
	if !ok {
		return Worker{}, false
	}
	return s.Workers[i], true
}

// bindings are a Worker's, as Cloudflare returns them.
func (w Worker) bindings() json.RawMessage {
	b, err := json.Marshal(w.Settings.Bindings)
	if err != nil {
		return nil // they came as JSON
	}
	return b
}

func doing(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
