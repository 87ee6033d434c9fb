package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// Engine observes and changes the shops of one Cloudflare account. Set the
// fields before use. It is safe for concurrent use: many shops share one
// engine, and with it the account-wide lists, which are read once.
type Engine struct {
	CF   *cloudflare.Client
	Gate *Gate
	// Rehearsals is shared by the engines of a fleet; nil is one of its own.
	Rehearsals *Rehearsals
	// Journal is where releases are written down; nil where there is none.
	Journal Journal
	// Holds are asked before a release; nil where there are none.
	Holds Locker
	Now   func() time.Time // nil is time.Now
	Log   *slog.Logger     // nil discards

	mu    sync.Mutex
	lists *lists
}

// lists are the account-wide reads that every shop needs a part of. Listing
// once costs fewer calls than asking for each shop: with 50 shops it is the
// difference between 8 calls a shop and 13.
type lists struct {
	done       chan struct{}
	err        error
	at         time.Time
	workers    map[string]cloudflare.Worker
	domains    []cloudflare.Domain
	databases  map[string]string
	namespaces map[string]string
	buckets    map[string]bool
	zones      map[string]string
	owners     map[string]string // owner tags by kind and id; nil where there are none to be had
}

func (e *Engine) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

// Observe reads what a plan for the shop depends on. It only reads. The reads
// go out side by side; a second round follows only where the first showed
// something that must be looked at: a release that shopfleet did not make, a
// hostname that is to be attached, zone routes, secrets whose presence the live
// release does not prove, stores that it does not know to be the shop's, or a
// database that shopfleet has not migrated yet.
// Pending migrations are then rehearsed, which may ask the live rows something.
func (e *Engine) Observe(ctx context.Context, want *Desired) (*State, error) {
	have := &State{At: e.now()}
	var account *lists
	var deployments []cloudflare.Deployment
	worker := want.Config.Name
	known := want.Database.DatabaseID == "" || len(want.Migrations) == 0 // the database needs no second look
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		account, err = e.account(gctx)
		return err
	})
	group.Go(func() (err error) {
		deployments, err = e.CF.Deployments(gctx, worker)
		return notFoundIsEmpty(err, "reading the releases of "+worker)
	})
	group.Go(func() error {
		crons, err := e.CF.Schedules(gctx, worker)
		have.Crons = crons
		return notFoundIsEmpty(err, "reading the crons of "+worker)
	})
	group.Go(func() error {
		have.Journal, have.JournalError = e.observeJournal(gctx, want.Shop)
		return nil
	})
	if want.Database.DatabaseID != "" && len(want.Migrations) > 0 {
		group.Go(func() (err error) {
			have.Database, known, err = readDatabase(gctx, e.CF, want.Database)
			// A database that does not exist is a finding of Diff, which names the id and its place.
			known = known || errors.Is(err, cloudflare.ErrNotFound)
			return notFoundIsEmpty(err, "")
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err // the journal was not read because of that
	}
	account.fill(want, have)
	live(deployments, &have.Live)
	return have, e.lookCloser(ctx, want, have, account, known)
}

// Live reads what takes a Worker's traffic; its Version is "" when nothing is released. One call.
func (e *Engine) Live(ctx context.Context, worker string) (Live, error) {
	list, err := e.CF.Deployments(ctx, worker)
	if err := notFoundIsEmpty(err, "reading the releases of "+worker); err != nil {
		return Live{}, err
	}
	var at Live
	live(list, &at)
	return at, nil
}

// Prefetch begins to read what every shop of the account needs, beside what the caller does next; Observe finds it there.
func (e *Engine) Prefetch(ctx context.Context) {
	go e.account(ctx) // whoever needs the lists meets the error
}

// account returns the account-wide lists, reading them once in staleAfter: what
// they say of one shop does not change because another shop is deployed. When
// the caller that reads is cancelled the next one reads again.
func (e *Engine) account(ctx context.Context) (*lists, error) {
	for {
		e.mu.Lock()
		l := e.lists
		mine := l == nil || e.now().Sub(l.at) > staleAfter
		if mine {
			l = &lists{done: make(chan struct{}), at: e.now()}
			e.lists = l
		}
		e.mu.Unlock()
		if mine {
			l.err = l.read(ctx, e.CF)
			if l.err != nil {
				e.mu.Lock()
				if e.lists == l {
					e.lists = nil
				}
				e.mu.Unlock()
			}
			close(l.done)
			return l, l.err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-l.done:
		}
		if isContextError(l.err) && ctx.Err() == nil {
			continue
		}
		return l, l.err
	}
}

func (l *lists) read(ctx context.Context, cf *cloudflare.Client) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		list, err := cf.Workers(ctx)
		l.workers = make(map[string]cloudflare.Worker, len(list))
		for _, w := range list {
			l.workers[w.Name] = w
		}
		return doing(err, "listing Workers")
	})
	group.Go(func() (err error) {
		l.domains, err = cf.Domains(ctx, cloudflare.DomainFilter{})
		return doing(err, "listing custom domains")
	})
	group.Go(func() error {
		list, err := cf.D1Databases(ctx, "")
		l.databases = make(map[string]string, len(list))
		for _, d := range list {
			l.databases[d.ID] = d.Name
		}
		return doing(err, "listing D1 databases")
	})
	group.Go(func() error {
		list, err := cf.KVNamespaces(ctx)
		l.namespaces = make(map[string]string, len(list))
		for _, n := range list {
			l.namespaces[n.ID] = n.Title
		}
		return doing(err, "listing KV namespaces")
	})
	group.Go(func() error {
		list, err := cf.R2Buckets(ctx, "")
		l.buckets = make(map[string]bool, len(list))
		for _, b := range list {
			l.buckets[b.Name] = true
		}
		return doing(err, "listing R2 buckets")
	})
	group.Go(func() error {
		list, err := cf.Zones(ctx, "")
		l.zones = make(map[string]string, len(list))
		for _, z := range list {
			l.zones[z.Name] = z.ID
		}
		return doing(err, "listing zones")
	})
	group.Go(func() (err error) {
		l.owners, err = readOwners(ctx, cf)
		return err
	})
	return group.Wait()
}

// fill takes from the account's lists what concerns the shop, and only that:
// a plan's basis must not change because another shop did.
func (l *lists) fill(want *Desired, have *State) {
	if w, ok := l.workers[want.Config.Name]; ok {
		have.Worker = &Worker{
			Tags: w.Tags, MigrationTag: w.MigrationTag, Logpush: w.Logpush,
			Observability: w.Observability, TailConsumers: w.TailConsumers,
		}
	}
	l.fillOwners(want, have)
	for _, d := range l.domains {
		// A route goes before a custom domain, so that it would take the hostname too.
		held := func(r wrangler.Route) bool { return routeHost(r) == d.Hostname }
		if d.Service == want.Config.Name || slices.ContainsFunc(want.Config.Routes, held) {
			have.Domains = append(have.Domains, Domain{ID: d.ID, Hostname: d.Hostname, Worker: d.Service, ZoneID: d.ZoneID})
		}
	}
	sort.Slice(have.Domains, func(i, j int) bool { return compare(have.Domains[i].Hostname, have.Domains[j].Hostname) < 0 })
	have.Zones = map[string]string{}
	for _, zone := range want.Shop.Account.Zones() {
		if id, ok := l.zones[zone]; ok {
			have.Zones[zone] = id
		}
	}
	have.Databases, have.Namespaces, have.Buckets = map[string]string{}, map[string]string{}, map[string]bool{}
	for _, b := range want.Config.Bindings {
		l.names(ReachOf(b), have)
	}
	for _, w := range l.workers {
		for _, r := range w.Routes {
			covers := func(route wrangler.Route) bool { return shadows(r.Pattern, route) }
			if w.Name != want.Config.Name && slices.ContainsFunc(want.Config.Routes, covers) {
				have.Shadows = append(have.Shadows, Route{ID: r.ID, Pattern: r.Pattern, Worker: w.Name})
			}
		}
	}
	sort.Slice(have.Shadows, func(i, j int) bool {
		return compare(have.Shadows[i].Pattern+" "+have.Shadows[i].Worker, have.Shadows[j].Pattern+" "+have.Shadows[j].Worker) < 0
	})
}

// names takes from the account's lists what it calls the things that are reached.
func (l *lists) names(all []Reach, have *State) {
	for _, r := range all {
		switch r.Type {
		case "d1":
			if name, ok := l.databases[r.Resource]; ok {
				have.Databases[r.Resource] = name
			}
		case "kv_namespace":
			if title, ok := l.namespaces[r.Resource]; ok {
				have.Namespaces[r.Resource] = title
			}
		case "r2_bucket":
			if r.Jurisdiction == "" && l.buckets[r.Resource] {
				have.Buckets[r.Resource] = true
			}
		}
	}
}

// live reads a Worker's deployments, newest first.
func live(deployments []cloudflare.Deployment, out *Live) {
	if len(deployments) == 0 {
		return
	}
	newest := deployments[0]
	out.Deployment, out.Source, out.Author, out.Created = newest.ID, newest.Source, newest.AuthorEmail, newest.CreatedOn
	out.Trigger, out.Message = newest.Annotations[annotationTrigger], newest.Annotations[annotationMessage]
	var largest float64
	for _, v := range newest.Versions {
		if v.Percentage > largest {
			out.Version, largest = v.VersionID, v.Percentage
		}
	}
	if len(taking(newest)) > 1 {
		out.Shares = map[string]float64{}
		for _, v := range newest.Versions {
			out.Shares[v.VersionID] = v.Percentage
		}
		return
	}
	// A secret that is changed makes a version and a deployment of its own, on
	// top of what was live. What lies below them is the release.
	for i, d := range deployments {
		if m, ok := parseMemo(d.Annotations[annotationMessage]); ok && len(taking(d)) == 1 {
			out.Mark, out.SecretsSince = m.mark, i
			if m.reach != notRecorded {
				out.Reach = m.reach
			}
			out.Stores = m.stores
			if i == 0 {
				out.Required, out.Values = m.required, m.values
				return
			}
			// Released again it has to be known for what it is: its version has no tag of ours. Which secrets it has is not proven.
			m.required, m.values = "", ""
			out.Message = m.String()
			return
		}
		if d.Annotations[annotationTrigger] != "secret" {
			return
		}
	}
}

// taking are the versions of a deployment that take traffic. A version at 0 % is there to be asked (ActionProve), and
// stays there when the process that asks dies.
func taking(d cloudflare.Deployment) []cloudflare.Share {
	return slices.DeleteFunc(slices.Clone(d.Versions), func(v cloudflare.Share) bool { return v.Percentage <= 0 })
}

// sharedAs says that the traffic is as it was where that was split, or was split until we gave the larger part all of it.
func (l Live) sharedAs(was Live) bool {
	if len(was.Shares) == 1 {
		return len(l.Shares) == 0 && l.Version == was.most()
	}
	return len(l.Shares) > 1 && maps.Equal(l.Shares, was.Shares)
}

// most is the version that takes the largest part of the traffic.
func (l Live) most() string {
	most := l.Version
	for id, part := range l.Shares {
		if part > l.Shares[most] || part == l.Shares[most] && id < most {
			most = id
		}
	}
	return most
}

// lookCloser is the second round of Observe.
func (e *Engine) lookCloser(ctx context.Context, want *Desired, have *State, account *lists, databaseKnown bool) error {
	group, ctx := errgroup.WithContext(ctx)
	worker := want.Config.Name
	var reached []Reach // by a live version of somebody else
	records := e.lookAtRecords(ctx, group, want, have)
	group.Go(func() (err error) {
		if !databaseKnown {
			if have.Database, err = exploreDatabase(ctx, e.CF, want.Database); err != nil {
				return err
			}
		}
		group.Go(func() error { return records.lookAtOwnRow(ctx, want, have) })
		return e.rehearse(ctx, want, have)
	})
	if have.Worker != nil && have.Live.Version != "" && have.Live.Mark == "" {
		group.Go(func() error {
			v, err := e.CF.Version(ctx, worker, have.Live.Version)
			if err != nil {
				return fmt.Errorf("reading the live version of %s: %w", worker, err)
			}
			for _, b := range v.Bindings {
				all, err := ReachOfLive(b.JSON)
				if err != nil {
					return fmt.Errorf("reading the bindings of %s: %w", worker, err)
				}
				reached = append(reached, all...)
			}
			return have.Live.fill(worker, v)
		})
	}
	e.lookAtCounters(ctx, group, want, have)
	// With a release to come workers.dev is set anyway; without one it must be known.
	if have.Worker != nil && have.Live.Reach == "" && have.Live.Mark == want.Mark {
		group.Go(func() error {
			s, err := e.CF.Subdomain(ctx, worker)
			if err == nil {
				have.Subdomain = &Subdomain{Enabled: s.Enabled, Previews: s.PreviewsEnabled}
			}
			return notFoundIsEmpty(err, "reading the workers.dev state of "+worker)
		})
	}
	listed := have.Worker != nil && (want.RemoveSecrets || len(want.RequiredSecrets)+len(want.Secrets) > 0)
	if listed && !secretsProven(want, have.Live, puts(want, have)) {
		group.Go(func() error {
			list, err := e.CF.Secrets(ctx, worker)
			have.Secrets = []string{}
			for _, s := range list {
				have.Secrets = append(have.Secrets, s.Name)
			}
			slices.Sort(have.Secrets)
			return notFoundIsEmpty(err, "listing the secrets of "+worker)
		})
	}
	e.lookAtBuckets(ctx, group, want, have)
	e.lookAtDNS(ctx, group, want, have)
	e.lookAtChangeset(ctx, group, want, have)
	e.lookAtRoutes(ctx, group, want, have)
	if err := group.Wait(); err != nil {
		return err
	}
	account.names(reached, have)
	return nil
}

// lookAtDNS reads the records that stand at hostnames which are to be attached.
func (e *Engine) lookAtDNS(ctx context.Context, group *errgroup.Group, want *Desired, have *State) {
	var mu sync.Mutex
	for _, r := range want.Config.Routes {
		host := routeHost(r)
		zone, known := have.Zones[want.zoneOf(r)]
		if !r.CustomDomain || !known || slices.ContainsFunc(have.Domains, func(d Domain) bool { return d.Hostname == host }) {
			continue
		}
		group.Go(func() error {
			list, err := e.CF.DNSRecords(ctx, zone, host)
			mu.Lock()
			defer mu.Unlock()
			for _, rec := range list {
				have.DNS = append(have.DNS, DNSRecord{Hostname: host, Type: rec.Type, Content: rec.Content})
			}
			sort.Slice(have.DNS, func(i, j int) bool {
				return compare(have.DNS[i].Hostname+have.DNS[i].Type+have.DNS[i].Content, have.DNS[j].Hostname+have.DNS[j].Type+have.DNS[j].Content) < 0
			})
			return doing(err, "reading the DNS records of "+host)
		})
	}
}

// lookAtCounters reads which rate limits the live version counts by, where another branch claims one of them. The account
// has no list of them that would say whose they are.
func (e *Engine) lookAtCounters(ctx context.Context, group *errgroup.Group, want *Desired, have *State) {
	version := have.Live.Version
	if version == "" || !slices.ContainsFunc(want.contested, func(x contest) bool { return x.claim.Type == "ratelimit" }) {
		return
	}
	group.Go(func() error {
		v, err := e.CF.Version(ctx, want.Config.Name, version)
		if err != nil {
			return fmt.Errorf("reading the live version of %s: %w", want.Config.Name, err)
		}
		for _, b := range v.Bindings {
			var m members
			if json.Unmarshal(b.JSON, &m) == nil && m.text("type") == "ratelimit" {
				have.Counters = append(have.Counters, counter(m.text("namespace_id"), want.Shop))
			}
		}
		return nil
	})
}

// lookAtBuckets reads the buckets of other jurisdictions where the config binds one: the account's list leaves them out.
func (e *Engine) lookAtBuckets(ctx context.Context, group *errgroup.Group, want *Desired, have *State) {
	wanted := map[string][]string{}
	for _, b := range want.Config.Bindings {
		for _, r := range ReachOf(b) {
			if r.Type == "r2_bucket" && r.Jurisdiction != "" {
				wanted[r.Jurisdiction] = append(wanted[r.Jurisdiction], r.Resource)
			}
		}
	}
	if len(wanted) == 0 {
		return
	}
	group.Go(func() error {
		for jurisdiction, names := range wanted {
			list, err := e.CF.R2Buckets(ctx, jurisdiction)
			if err != nil {
				return fmt.Errorf("listing R2 buckets of jurisdiction %s: %w", jurisdiction, err)
			}
			for _, b := range list {
				if slices.Contains(names, b.Name) {
					have.Buckets[bucketKey(b.Name, jurisdiction)] = true
				}
			}
		}
		return nil
	})
}

// lookAtChangeset asks what attaching hostnames would take from others, so that a conflict is known before anything is
// written. A Worker that does not exist yet cannot be asked about; for it the lists and DNS have to do, until the hostnames
// are attached.
func (e *Engine) lookAtChangeset(ctx context.Context, group *errgroup.Group, want *Desired, have *State) {
	held := func(host string) bool {
		return slices.ContainsFunc(have.Domains, func(d Domain) bool { return d.Hostname == host && d.Worker == want.Config.Name })
	}
	lost := func(r wrangler.Route) bool { return r.CustomDomain && have.Zones[want.zoneOf(r)] == "" }
	if have.Worker == nil || slices.ContainsFunc(want.Config.Routes, lost) ||
		!slices.ContainsFunc(want.customDomains(), func(host string) bool { return !held(host) }) {
		return
	}
	group.Go(func() error {
		changes, err := e.CF.DomainChangeset(ctx, want.Config.Name, want.origins())
		if err != nil {
			return fmt.Errorf("asking what attaching the hostnames of %s would change: %w", want.Config.Name, err)
		}
		have.Conflicts = conflicts(changes, want.customDomains(), held)
		return nil
	})
}

// conflicts are the hostnames that a changeset would take from somebody: those whose DNS records are managed elsewhere, and
// those that are new for the Worker and another one's now.
func conflicts(changes cloudflare.Changeset, wanted []string, held func(host string) bool) []Conflict {
	var out []Conflict
	for _, c := range changes.Conflicting {
		out = append(out, Conflict{c.Hostname, "it already has a DNS record"})
	}
	for _, c := range changes.Updated {
		if c.Modified && slices.Contains(wanted, c.Hostname) && !held(c.Hostname) {
			out = append(out, Conflict{c.Hostname, "another Worker holds it"})
		}
	}
	sort.Slice(out, func(i, j int) bool { return compare(out[i].Hostname+out[i].Why, out[j].Hostname+out[j].Why) < 0 })
	return out
}

// lookAtRoutes reads the zone routes where the config or the Worker has some.
func (e *Engine) lookAtRoutes(ctx context.Context, group *errgroup.Group, want *Desired, have *State) {
	zones := map[string]bool{}
	for _, r := range want.zoneRoutes() {
		if id := have.Zones[want.zoneOf(r)]; id != "" {
			zones[id] = true
		}
	}
	if e.hasRoutes(want.Config.Name) {
		for _, id := range have.Zones {
			zones[id] = true
		}
	}
	var mu sync.Mutex
	for id := range zones {
		group.Go(func() error {
			list, err := e.CF.ZoneRoutes(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			for _, r := range list {
				mine := r.Script == want.Config.Name
				wanted := slices.ContainsFunc(want.zoneRoutes(), func(w wrangler.Route) bool { return w.Pattern == r.Pattern })
				if mine || wanted {
					have.Routes = append(have.Routes, Route{ID: r.ID, ZoneID: id, Pattern: r.Pattern, Worker: r.Script})
				}
			}
			sort.Slice(have.Routes, func(i, j int) bool {
				return compare(have.Routes[i].ZoneID+have.Routes[i].Pattern, have.Routes[j].ZoneID+have.Routes[j].Pattern) < 0
			})
			return doing(err, "listing the routes of a zone")
		})
	}
}

// hasRoutes tells from the account's list of Workers whether one has zone routes.
func (e *Engine) hasRoutes(worker string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lists != nil && len(e.lists.workers[worker].Routes) > 0
}

// notFoundIsEmpty turns "there is no such thing" into nothing read.
func notFoundIsEmpty(err error, what string) error {
	if errors.Is(err, cloudflare.ErrNotFound) {
		return nil
	}
	return doing(err, what)
}

func doing(err error, what string) error {
	if err == nil || what == "" {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
