package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
)

// What Cloudflare allows on a paid plan (developers.cloudflare.com/workers/platform/limits, /kv/platform/limits,
// /d1/platform/limits, /r2/platform/limits).
const (
	maxCrons      = 250     // per account
	maxWorkers    = 500     // per account
	maxDomains    = 100     // custom domains per zone
	maxRoutes     = 1_000   // per zone
	maxNamespaces = 1_000   // per account
	maxDatabases  = 50_000  // per account
	maxBuckets    = 100_000 // per account
)

// The values of Limit.What; routes and custom domains are followed by their zone.
const (
	limitShops      = "shops"
	limitCrons      = "crons"
	limitWorkers    = "Workers"
	limitNamespaces = "KV namespaces"
	limitDatabases  = "D1 databases"
	limitBuckets    = "R2 buckets"
	limitRoutes     = "routes of "
	limitDomains    = "custom domains of "
)

// near is how much room a limit must have left for Apply not to count again. A run of fifty shops beside this one cannot
// fill what has more, and counting costs calls of the budget that fifty shops share.
const near = 100

// nearCrons is the same for crons, which cost a call for each Worker to count.
const nearCrons = 30

// Limit is one limit of an account, or of one of its zones.
type Limit struct {
	What string  `json:"what"` // shops, crons, Workers, routes of ZONE, …
	Used int     `json:"used"`
	Max  int     `json:"max"`
	Each float64 `json:"each"` // what a shop takes of it: on average in a Room, what this one takes in a Plan
}

// full says that what a plan takes does not fit any more.
func (l Limit) full() bool { return l.Each > 0 && float64(l.Used)+l.Each > float64(l.Max) }

// finding says that.
func (l Limit) finding(account string) deploy.Finding {
	message := fmt.Sprintf("account %s has %d of %d %s, and this shop takes %g", account, l.Used, l.Max, l.What, l.Each)
	hint := "give the shop another account; shopfleet accounts shows which one has room"
	if l.What == limitShops {
		hint += ", and max_shops in fleet.yml says how many this one may carry"
	}
	return blocking(ruleAccountFull, message, "room for one more shop", hint)
}

// shops are the slugs of the shops that are on the account: by its owner tags, and those that the caller knows of.
func (a *Account) shops(known ...string) map[string]bool {
	out := map[string]bool{}
	for _, slug := range known {
		out[slug] = true
	}
	for thing, owner := range a.Owners {
		kind, _, _ := strings.Cut(thing, "/")
		if owner != "" && slices.Contains([]string{kindWorker, kindD1, kindKV, kindR2}, kind) {
			out[owner] = true
		}
	}
	return out
}

func (a *Account) crons() int {
	n := 0
	for _, c := range a.Crons {
		n += c
	}
	return n
}

func (a *Account) domainsIn(zone string) int {
	n := 0
	for _, d := range a.Domains {
		if d.ZoneName == zone || d.ZoneID != "" && d.ZoneID == a.zoneID(zone) {
			n++
		}
	}
	return n
}

// takes is what the plan, and the first deploy after it, take of the account's limits.
func (m *making) takes() []Limit {
	a, shop := m.have, m.want.Shop
	others := a.shops(m.want.Others...)
	delete(others, shop.Slug)
	creates := func(kind string) float64 {
		return float64(boolInt(slices.ContainsFunc(m.p.Steps, func(s Step) bool { return s.Action == actionCreate && s.Kind == kind })))
	}
	all := []Limit{
		{limitShops, len(others), a.MaxShops, 1},
		{limitWorkers, len(a.Workers), maxWorkers, float64(boolInt(a.worker(shop.Worker) == nil))},
		{limitCrons, a.crons() - a.Crons[shop.Worker], maxCrons, float64(m.want.Crons)},
		{limitNamespaces, len(a.Namespaces), maxNamespaces, creates(kindKV)},
		{limitDatabases, len(a.Databases), maxDatabases, creates(kindD1)},
		{limitBuckets, len(a.Buckets), maxBuckets, creates(kindR2)},
	}
	zone := zoneOf(a.Account, shop.Hostname)
	mine := func(service, host string) bool { return service == shop.Worker && host == shop.Hostname }
	switch {
	case zone == "":
	case m.want.CustomDomain:
		there := slices.ContainsFunc(a.Domains, func(d cloudflare.Domain) bool { return mine(d.Service, d.Hostname) })
		all = append(all, Limit{limitDomains + zone, a.domainsIn(zone), maxDomains, float64(boolInt(!there))})
	default:
		there := slices.ContainsFunc(a.Routes[zone], func(r cloudflare.Route) bool { return mine(r.Script, patternHost(r.Pattern)) })
		all = append(all, Limit{limitRoutes + zone, len(a.Routes[zone]), maxRoutes, float64(boolInt(!there))})
	}
	return slices.DeleteFunc(all, func(l Limit) bool { return l.Each == 0 })
}

// recount counts those limits of a plan again that are near, so that a plan that was shown a while ago, or many that
// are carried out side by side, do not fill an account over its limits.
func recount(ctx context.Context, cf *cloudflare.Client, p *Plan) error {
	counts := make([]int, len(p.Limits))
	group, gctx := errgroup.WithContext(ctx)
	for i, l := range p.Limits {
		counts[i] = l.Used
		margin := near
		if l.What == limitCrons {
			margin = nearCrons
		}
		if l.Max-l.Used-int(l.Each) > margin {
			continue
		}
		group.Go(func() error {
			n, err := count(gctx, cf, p, l)
			counts[i] = n
			if err != nil {
				return fmt.Errorf("counting %s again: %w", l.What, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var found deploy.Findings
	for i, l := range p.Limits {
		if l.Used = counts[i]; l.full() {
			found = append(found, l.finding(p.Account))
		}
	}
	if found != nil {
		return found
	}
	return nil
}

// count is how much of a limit is used now, without the shop's own part. It is never less than the plan knew where what
// it knew came from elsewhere: of shops that have no tags, and of crons on branches that are yet to be deployed.
func count(ctx context.Context, cf *cloudflare.Client, p *Plan, l Limit) (int, error) {
	switch l.What {
	case limitShops:
		tags, err := owners(ctx, cf)
		shops := (&Account{Owners: tags}).shops()
		delete(shops, p.Shop)
		if now := (Limit{l.What, len(shops), l.Max, l.Each}); err == nil && now.full() {
			again := &looking{cf: cf, a: &Account{}} // a tag may outlive what it was on, which the lists tell
			err = again.lists(ctx)
			shops = again.a.shops()
			delete(shops, p.Shop)
		}
		return max(l.Used, len(shops)), err
	case limitCrons:
		n, err := countCrons(ctx, cf, p)
		return max(l.Used, n), err
	case limitWorkers:
		list, err := cf.Workers(ctx)
		return len(list), err
	case limitNamespaces:
		list, err := cf.KVNamespaces(ctx)
		return len(list), err
	case limitDatabases:
		list, err := cf.D1Databases(ctx, "")
		return len(list), err
	case limitBuckets:
		list, err := cf.R2Buckets(ctx, "")
		return len(list), err
	}
	if strings.HasPrefix(l.What, limitRoutes) {
		list, err := cf.ZoneRoutes(ctx, p.Zone)
		return len(list), err
	}
	list, err := cf.Domains(ctx, cloudflare.DomainFilter{ZoneID: p.Zone})
	return len(list), err
}

// countCrons asks every Worker but the shop's.
func countCrons(ctx context.Context, cf *cloudflare.Client, p *Plan) (int, error) {
	workers, err := cf.Workers(ctx)
	if err != nil {
		return 0, err
	}
	var total atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(20) // Cloudflare takes 200 calls a second from one address
	for _, w := range workers {
		if w.Name == p.Worker {
			continue
		}
		group.Go(func() error {
			list, err := cf.Schedules(ctx, w.Name)
			total.Add(int64(len(list)))
			return gone(err)
		})
	}
	err = group.Wait()
	return int(total.Load()), err
}
