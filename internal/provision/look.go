package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/fleet"
)

// manyShops is from how many shops on a zone's DNS records are read as one list instead of one by one.
const manyShops = 8

// Look reads an account and, in a second round, what stands under the names of some shops: the records of their
// hostnames, whether there is something in stores that have no owner tag, and what makes their Workers reachable. It only
// reads, and of what is in a store nothing but the identity record. The error is deploy.Findings where the token lacks a permission.
func Look(ctx context.Context, cf *cloudflare.Client, account fleet.Account, shops ...fleet.Shop) (*Account, error) {
	l := &looking{cf: cf, a: &Account{
		Account: account, Routes: map[string][]cloudflare.Route{}, Records: map[string][]cloudflare.DNSRecord{},
		Filled: map[string]bool{}, Says: map[string]string{}, Crons: map[string]int{}, Subdomains: map[string]cloudflare.Subdomain{},
	}}
	err := l.lists(ctx)
	if err == nil {
		err = l.closer(ctx, shops)
	}
	l.a.Calls = int(l.calls.Load())
	if err != nil {
		return nil, explain(account.Name, err)
	}
	return l.a, nil
}

// looking is one Look under way. mu is for the maps of a.
type looking struct {
	cf    *cloudflare.Client
	a     *Account
	calls atomic.Int64
	mu    sync.Mutex
}

// ask runs one question in a group.
func (l *looking) ask(group *errgroup.Group, doing string, question func() error) {
	group.Go(func() error {
		l.calls.Add(1)
		if err := question(); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		return nil
	})
}

// lists is the first round.
func (l *looking) lists(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	a := l.a
	l.ask(group, "listing Workers", func() (err error) { a.Workers, err = l.cf.Workers(ctx); return err })
	l.ask(group, "listing D1 databases", func() (err error) { a.Databases, err = l.cf.D1Databases(ctx, ""); return err })
	l.ask(group, "listing KV namespaces", func() (err error) { a.Namespaces, err = l.cf.KVNamespaces(ctx); return err })
	l.ask(group, "listing R2 buckets", func() (err error) { a.Buckets, err = l.cf.R2Buckets(ctx, ""); return err })
	l.ask(group, "listing custom domains", func() (err error) { a.Domains, err = l.cf.Domains(ctx, cloudflare.DomainFilter{}); return err })
	l.ask(group, "listing zones", func() (err error) { a.Zones, err = l.cf.Zones(ctx, ""); return err })
	l.ask(group, "listing owner tags", func() (err error) { a.Owners, err = owners(ctx, l.cf); return err })
	if err := group.Wait(); err != nil {
		return err
	}
	// A tag may outlive what it was on.
	maps.DeleteFunc(a.Owners, func(thing, _ string) bool {
		kind, id, _ := strings.Cut(thing, "/")
		return slices.Contains([]string{kindWorker, kindD1, kindKV, kindR2}, kind) && !a.exists(kind, id)
	})
	return nil
}

// exists says whether the account has a thing with that id.
func (a *Account) exists(kind, id string) bool {
	switch kind {
	case kindD1:
		return slices.ContainsFunc(a.Databases, func(d cloudflare.D1Database) bool { return d.ID == id })
	case kindKV:
		return slices.ContainsFunc(a.Namespaces, func(n cloudflare.KVNamespace) bool { return n.ID == id })
	case kindR2:
		return a.store(kindR2, id) != ""
	}
	return a.worker(id) != nil
}

// owners lists the owner tags by kind and id; nil where there are none to be had: the account has no tags, or the token
// may not read them.
func owners(ctx context.Context, cf *cloudflare.Client) (map[string]string, error) {
	list, err := cf.TaggedResources(ctx, ownerTag)
	if errors.Is(err, cloudflare.ErrUnauthorized) || errors.Is(err, cloudflare.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(list))
	for _, t := range list {
		out[t.Type+"/"+t.ID] = t.Tags[ownerTag]
	}
	return out, nil
}

// closer is the second round.
func (l *looking) closer(ctx context.Context, shops []fleet.Shop) error {
	group, ctx := errgroup.WithContext(ctx)
	a := l.a
	zones := a.Account.Zones()
	hosts := map[string][]string{} // by zone
	for _, shop := range shops {
		for _, host := range append([]string{shop.Hostname}, shop.Hostnames...) {
			if zone := zoneOf(a.Account, host); zone != "" && !slices.Contains(hosts[zone], host) {
				hosts[zone] = append(hosts[zone], host)
			}
		}
		if w := a.worker(shop.Worker); w != nil {
			for _, r := range w.Routes {
				if zone := a.zoneWith(patternHost(r.Pattern)); zone != "" && !slices.Contains(zones, zone) {
					zones = append(zones, zone)
				}
			}
			l.reach(ctx, group, shop.Worker)
		}
		for kind, name := range map[string]string{kindD1: shop.D1, kindKV: shop.KV, kindR2: shop.R2} {
			if id := a.store(kind, name); id != "" && a.Owners[kind+"/"+id] == "" {
				l.inside(ctx, group, kind, id, Identity{shop.Identity.Key, shop.Identity.Table})
			}
		}
	}
	for _, zone := range zones {
		if id := a.zoneID(zone); id != "" {
			l.zone(ctx, group, zone, id, hosts[zone])
		}
	}
	return group.Wait()
}

// zone reads the routes of a zone and the records of hostnames in it.
func (l *looking) zone(ctx context.Context, group *errgroup.Group, zone, id string, hosts []string) {
	l.ask(group, "listing the routes of "+zone, func() error {
		list, err := l.cf.ZoneRoutes(ctx, id)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.a.Routes[zone] = list
		return err
	})
	read := func(name string) {
		l.ask(group, "listing the DNS records of "+zone, func() error {
			list, err := l.cf.DNSRecords(ctx, id, name)
			list = slices.DeleteFunc(list, func(r cloudflare.DNSRecord) bool { return !slices.Contains(hosts, strings.ToLower(r.Name)) })
			l.mu.Lock()
			defer l.mu.Unlock()
			l.a.Records[zone] = append(l.a.Records[zone], list...)
			sort.Slice(l.a.Records[zone], func(i, j int) bool {
				return l.a.Records[zone][i].Name+" "+l.a.Records[zone][i].ID < l.a.Records[zone][j].Name+" "+l.a.Records[zone][j].ID
			})
			return err
		})
	}
	if len(hosts) > manyShops {
		read("")
		return
	}
	for _, host := range hosts {
		read(host)
	}
}

// reach reads what a Worker answers to besides hostnames.
func (l *looking) reach(ctx context.Context, group *errgroup.Group, worker string) {
	l.ask(group, "reading the crons of "+worker, func() error {
		list, err := l.cf.Schedules(ctx, worker)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.a.Crons[worker] = len(list)
		return gone(err)
	})
	l.ask(group, "reading the workers.dev state of "+worker, func() error {
		s, err := l.cf.Subdomain(ctx, worker)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.a.Subdomains[worker] = s
		return gone(err)
	})
}

// inside notes whether there is something in a store, and whose that says it is.
func (l *looking) inside(ctx context.Context, group *errgroup.Group, kind, id string, where Identity) {
	l.ask(group, "looking whether "+words[kind]+" "+id+" is empty", func() error {
		full, says, err := contents(ctx, l.cf, kind, id, where)
		if full {
			l.calls.Add(1)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.a.Filled[kind+"/"+id] = full; says != "" {
			l.a.Says[kind+"/"+id] = says
		}
		return gone(err)
	})
}

// contents says whether there is something in a store, and what its identity record says then.
func contents(ctx context.Context, cf *cloudflare.Client, kind, id string, where Identity) (full bool, says string, err error) {
	if full, err = filled(ctx, cf, kind, id); err != nil || !full || where.Key == "" {
		return full, "", err
	}
	says, err = record(ctx, cf, kind, id, where)
	return full, strings.TrimSpace(says), err
}

// record reads the identity record of a store; "" where there is none. Package deploy writes and reads the same ones.
func record(ctx context.Context, cf *cloudflare.Client, kind, id string, where Identity) (string, error) {
	switch kind {
	case kindKV:
		text, err := cf.KVValue(ctx, id, where.Key)
		return text, gone(err)
	case kindR2:
		object, err := cf.R2Object(ctx, id, "", where.Key)
		return string(object), gone(err)
	}
	quote := func(mark, text string) string { return mark + strings.ReplaceAll(text, mark, mark+mark) + mark }
	result, err := cf.D1Read(ctx, id, "SELECT CAST(i.value AS TEXT) AS value FROM "+quote(`"`, where.Table)+" AS i WHERE i.key = "+quote("'", where.Key)+" LIMIT 1")
	if err != nil {
		if text := err.Error(); strings.Contains(text, "no such table") || strings.Contains(text, "no such column") {
			return "", nil
		}
		return "", err
	}
	var rows []struct{ Value string }
	if err := result.Decode(&rows); err != nil || len(rows) == 0 {
		return "", err
	}
	return rows[0].Value, nil
}

// filled says whether there is something in a store.
func filled(ctx context.Context, cf *cloudflare.Client, kind, id string) (bool, error) {
	switch kind {
	case kindD1:
		db, err := cf.D1Database(ctx, id)
		return db.Tables > 0, err
	case kindKV:
		keys, err := cf.FirstKVKeys(ctx, id, 10)
		return len(keys) > 0, err
	}
	keys, err := cf.FirstR2Objects(ctx, id, "", 1)
	return len(keys) > 0, err
}

// gone passes over that a thing was deleted since it was listed.
func gone(err error) error {
	if errors.Is(err, cloudflare.ErrNotFound) {
		return nil
	}
	return err
}

// zoneWith is the zone of the account that a hostname lies in, whether or not it is one of the fleet's.
func (a *Account) zoneWith(host string) string {
	longest := ""
	for _, z := range a.Zones {
		if under(strings.TrimPrefix(strings.TrimPrefix(host, "*"), "."), z.Name) && len(z.Name) > len(longest) {
			longest = z.Name
		}
	}
	return longest
}

// sortedKeys are the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// patternHost is the hostname of a route's pattern.
func patternHost(pattern string) string {
	if _, rest, ok := strings.Cut(pattern, "://"); ok {
		pattern = rest
	}
	host, _, _ := strings.Cut(pattern, "/")
	return strings.ToLower(host)
}
