package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// PlanClose plans how a shop becomes unreachable with everything still there: its Worker loses its custom domains, routes
// and crons, and does not answer on workers.dev. The next deploy gives it back what its branch says. It is pure; have must
// be of a Look at this shop. A shop that has no Worker, or that nothing reaches, gets no steps.
func PlanClose(shop fleet.Shop, have *Account) *Plan {
	p := &Plan{Verb: VerbClose, Shop: shop.Slug, Account: have.Name, Worker: shop.Worker, Steps: []Step{}, Zone: have.zoneID(zoneOf(have.Account, shop.Hostname))}
	if p.unread(have) {
		return p
	}
	p.unreachable(shop, have)
	return p
}

// PlanDelete plans the deletion of everything that a shop owns in an account, what PlanClose does included: the Worker
// first, so that no version that takes traffic ever lacks its stores, and the database last. It is pure; have must be of a
// Look at this shop. What has the shop's name and another owner's tag is a finding, and then nothing is planned.
func PlanDelete(shop fleet.Shop, have *Account) *Plan {
	p := PlanClose(shop, have)
	p.Verb = VerbDelete
	if have.Error != "" {
		return p
	}
	for _, kind := range []string{kindKV, kindR2, kindD1} {
		name := storeName(shop, kind)
		if id := have.store(kind, name); id != "" {
			p.foreign(kind, name, have.owner(kind, id))
			if kind == kindD1 && shop.D1ID != "" && shop.D1ID != id {
				p.refuse(ruleOwnerMismatch, fmt.Sprintf("D1 database %s is %s, and fleet.yml holds shop %s to %s", name, id, shop.Slug, shop.D1ID),
					"the shop's own database", "correct shops."+shop.Slug+".d1 in fleet.yml")
			}
		}
	}
	if deploy.Findings(p.Findings).Blocking() {
		p.Steps = []Step{}
		return p
	}
	if have.worker(shop.Worker) != nil {
		p.step(Step{Action: actionDelete, Kind: kindWorker, Name: shop.Worker, ID: shop.Worker})
	}
	p.records(shop, have)
	if id := have.store(kindKV, shop.KV); id != "" {
		p.step(Step{Action: actionDelete, Kind: kindKV, Name: shop.KV, ID: id})
	}
	if id := have.store(kindR2, shop.R2); id != "" {
		p.step(Step{Action: actionClear, Kind: kindR2, Name: shop.R2, ID: id})
		p.step(Step{Action: actionDelete, Kind: kindR2, Name: shop.R2, ID: id})
	}
	if id := have.store(kindD1, shop.D1); id != "" {
		p.step(Step{Action: actionDelete, Kind: kindD1, Name: shop.D1, ID: id})
	}
	return p
}

func storeName(shop fleet.Shop, kind string) string {
	return map[string]string{kindD1: shop.D1, kindKV: shop.KV, kindR2: shop.R2, kindWorker: shop.Worker}[kind]
}

// unread is the finding that an account could not be read.
func (p *Plan) unread(have *Account) bool {
	if have.Error != "" {
		p.refuse("account-unread", "account "+have.Name+" could not be read: "+have.Error, "", "look at its token, and run this again")
	}
	return have.Error != ""
}

// foreign is the finding that a thing with the shop's name says that it is another's.
func (p *Plan) foreign(kind, name, owner string) {
	if owner != "" && owner != p.Shop {
		p.refuse(ruleOwnerMismatch, fmt.Sprintf("%s %s says that it is shop %s's, and it was to be treated as shop %s's", words[kind], name, excerpt(owner), p.Shop),
			"what is "+p.Shop+"'s own", "stop and find out whose it is; no flag lets this pass")
	}
}

// unreachable plans what PlanClose does.
func (p *Plan) unreachable(shop fleet.Shop, have *Account) {
	if have.worker(shop.Worker) == nil {
		p.note("there is no Worker " + shop.Worker)
		return
	}
	if p.foreign(kindWorker, shop.Worker, have.Owners[kindWorker+"/"+shop.Worker]); len(p.Findings) > 0 {
		return
	}
	for _, d := range have.Domains {
		if d.Service == shop.Worker {
			p.step(Step{Action: actionDetach, Kind: kindDomain, Name: d.Hostname, ID: d.ID, Zone: d.ZoneID})
		}
	}
	for _, zone := range sortedKeys(have.Routes) {
		for _, r := range have.Routes[zone] {
			if r.Script == shop.Worker {
				p.step(Step{Action: actionDetach, Kind: kindRoute, Name: r.Pattern, ID: r.ID, Zone: have.zoneID(zone)})
			}
		}
	}
	if have.Crons[shop.Worker] > 0 {
		p.step(Step{Action: actionClear, Kind: kindCrons, Name: shop.Worker})
	}
	if s := have.Subdomains[shop.Worker]; s.Enabled || s.PreviewsEnabled {
		p.step(Step{Action: actionDetach, Kind: kindDevHost, Name: shop.Worker})
	}
}

// records plans the deletion of the DNS records that are the shop's: marked as its own, or just what is made for a shop.
func (p *Plan) records(shop fleet.Shop, have *Account) {
	for _, zone := range sortedKeys(have.Records) {
		for _, r := range have.Records[zone] {
			switch {
			case r.Managed:
			case r.Comment == recordComment(shop.Slug), ownRecord(r, shop):
				p.step(Step{Action: actionDelete, Kind: kindDNS, Name: r.Name, ID: r.ID, Zone: have.zoneID(zone)})
			default:
				p.note(fmt.Sprintf("DNS record %s of %s was not made for the shop, and stays", r.Type, r.Name))
			}
		}
	}
}

// phases is the order of undo: what stands in one group goes side by side, and a group begins when the one before is done.
var phases = [][]string{
	{actionDetach + " " + kindDomain, actionDetach + " " + kindRoute, actionClear + " " + kindCrons, actionDetach + " " + kindDevHost},
	{actionDelete + " " + kindWorker},
	{actionDelete + " " + kindDNS},
	{actionDelete + " " + kindKV, actionClear + " " + kindR2},
	{actionDelete + " " + kindR2},
	{actionDelete + " " + kindD1},
}

// undo closes or deletes. Before the first write everything is looked at again: what is gone is passed over, and when
// anything has become somebody else's nothing is done.
func (a *applying) undo(ctx context.Context) error {
	for _, s := range a.p.Steps {
		if !slices.Contains(slices.Concat(phases...), s.Action+" "+s.Kind) {
			return fmt.Errorf("%s is no step of a plan to %s a shop", s, a.p.Verb)
		}
	}
	a.tell("looking again whose everything is")
	left, err := a.still(ctx)
	if err != nil {
		return explain(a.p.Account, err)
	}
	for _, phase := range phases {
		var work []func() error
		for _, s := range left {
			if slices.Contains(phase, s.Action+" "+s.Kind) {
				work = append(work, func() error { return a.undoStep(ctx, s) })
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := gather(a.p.Account, together(work)...); err != nil {
			return err
		}
	}
	return nil
}

// still looks again, and returns the steps whose things are there and the shop's. The error is findings for what is
// somebody else's by now.
func (a *applying) still(ctx context.Context) ([]Step, error) {
	now := &Account{Routes: map[string][]cloudflare.Route{}, Records: map[string][]cloudflare.DNSRecord{}} // by zone id
	zones := map[string]map[string]bool{}
	for _, s := range a.p.Steps {
		if s.Kind == kindRoute || s.Kind == kindDNS {
			if zones[s.Kind] == nil {
				zones[s.Kind] = map[string]bool{}
			}
			zones[s.Kind][s.Zone+" "+s.Name] = true
		}
	}
	l := &looking{cf: a.cf, a: now}
	group, gctx := errgroup.WithContext(ctx)
	need := func(kinds ...string) bool {
		return slices.ContainsFunc(a.p.Steps, func(s Step) bool { return slices.Contains(kinds, s.Kind) })
	}
	l.ask(group, "listing owner tags", func() (err error) { now.Owners, err = owners(gctx, a.cf); return err })
	if need(kindWorker, kindCrons, kindDevHost) {
		l.ask(group, "listing Workers", func() (err error) { now.Workers, err = a.cf.Workers(gctx); return err })
	}
	if need(kindD1) {
		l.ask(group, "listing D1 databases", func() (err error) { now.Databases, err = a.cf.D1Databases(gctx, ""); return err })
	}
	if need(kindKV) {
		l.ask(group, "listing KV namespaces", func() (err error) { now.Namespaces, err = a.cf.KVNamespaces(gctx); return err })
	}
	if need(kindR2) {
		l.ask(group, "listing R2 buckets", func() (err error) { now.Buckets, err = a.cf.R2Buckets(gctx, ""); return err })
	}
	if need(kindDomain) {
		l.ask(group, "listing custom domains", func() (err error) { now.Domains, err = a.cf.Domains(gctx, cloudflare.DomainFilter{}); return err })
	}
	asked := map[string]bool{}
	for place := range zones[kindRoute] {
		zone, _, _ := strings.Cut(place, " ")
		if asked[zone] {
			continue
		}
		asked[zone] = true
		l.ask(group, "listing the routes of a zone", func() error {
			list, err := a.cf.ZoneRoutes(gctx, zone)
			l.mu.Lock()
			defer l.mu.Unlock()
			now.Routes[zone] = list
			return err
		})
	}
	for place := range zones[kindDNS] {
		zone, host, _ := strings.Cut(place, " ")
		l.ask(group, "listing the DNS records of "+host, func() error {
			list, err := a.cf.DNSRecords(gctx, zone, host)
			l.mu.Lock()
			defer l.mu.Unlock()
			now.Records[zone] = append(now.Records[zone], list...)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	check := &Plan{Shop: a.p.Shop}
	var left []Step
	for _, s := range a.p.Steps {
		if now.has(s, a.p, check) {
			left = append(left, s)
		}
	}
	if check.Findings != nil {
		return nil, deploy.Findings(check.Findings)
	}
	return left, nil
}

// has says whether the thing of a step is there. That it is somebody else's by now is a finding of check.
func (a *Account) has(s Step, p, check *Plan) bool {
	switch s.Kind {
	case kindD1, kindKV, kindR2:
		id := a.store(s.Kind, s.Name)
		if id != s.ID {
			return false // gone, and what has the name now is another thing
		}
		check.foreign(s.Kind, s.Name, a.Owners[s.Kind+"/"+id])
		return true
	case kindWorker, kindCrons, kindDevHost:
		check.foreign(kindWorker, s.Name, a.Owners[kindWorker+"/"+s.Name])
		return a.worker(s.Name) != nil
	case kindDomain:
		return slices.ContainsFunc(a.Domains, func(d cloudflare.Domain) bool { return d.ID == s.ID && d.Service == p.Worker })
	case kindRoute:
		return slices.ContainsFunc(a.Routes[s.Zone], func(r cloudflare.Route) bool { return r.ID == s.ID && r.Script == p.Worker })
	case kindDNS:
		return slices.ContainsFunc(a.Records[s.Zone], func(r cloudflare.DNSRecord) bool {
			return r.ID == s.ID && (r.Comment == recordComment(p.Shop) || ownRecord(r, shopOf(p)))
		})
	}
	return true
}

// undoStep carries out one step. That its thing is gone meanwhile is fine.
func (a *applying) undoStep(ctx context.Context, s Step) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a.tell(s.String())
	if s.Action == actionDelete && s.Kind != kindDNS { // first: a run that is cut off behind the deletion leaves nothing to find the tag by
		if err := a.untag(ctx, s); err != nil {
			return err
		}
	}
	var err error
	switch s.Action + " " + s.Kind {
	case actionDetach + " " + kindDomain:
		err = a.cf.DetachDomain(ctx, s.ID)
	case actionDetach + " " + kindRoute:
		err = a.cf.DeleteRoute(ctx, s.Zone, s.ID)
	case actionClear + " " + kindCrons:
		err = a.cf.PutSchedules(ctx, s.Name, nil)
	case actionDetach + " " + kindDevHost:
		off := false
		err = a.cf.SetSubdomain(ctx, s.Name, false, &off)
	case actionDelete + " " + kindWorker:
		err = a.cf.DeleteWorker(ctx, s.Name)
	case actionDelete + " " + kindDNS:
		err = a.cf.DeleteDNSRecord(ctx, s.Zone, s.ID)
	case actionDelete + " " + kindKV:
		err = a.cf.DeleteKVNamespace(ctx, s.ID)
	case actionClear + " " + kindR2:
		err = a.empty(ctx, s)
	case actionDelete + " " + kindR2:
		err = a.cf.DeleteR2Bucket(ctx, s.Name, "")
	case actionDelete + " " + kindD1:
		err = a.cf.DeleteD1(ctx, s.ID)
	}
	if err = gone(err); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	return nil
}

// pageOfObjects is how many objects are deleted before the bucket is looked at again.
const pageOfObjects = 1000

// empty deletes what is in a bucket. A run that is cut off has deleted what it has, and the next one goes on from there.
func (a *applying) empty(ctx context.Context, s Step) error {
	deleted := 0
	for {
		keys, err := a.cf.FirstR2Objects(ctx, s.Name, "", pageOfObjects)
		if err != nil || len(keys) == 0 {
			return err
		}
		group, gctx := errgroup.WithContext(ctx)
		group.SetLimit(16)
		for _, key := range keys {
			group.Go(func() error { return gone(a.cf.DeleteR2Object(gctx, s.Name, "", key)) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		deleted += len(keys)
		a.tell(fmt.Sprintf("%s: %d objects deleted", s, deleted))
	}
}

// untag takes the tags off what is deleted: a bucket or Worker that gets the name again must not begin as this shop's.
// Where the account keeps none of it there is nothing to do.
func (a *applying) untag(ctx context.Context, s Step) error {
	err := a.cf.PutTags(ctx, cloudflare.ResourceTags{Type: s.Kind, ID: s.ID, Tags: map[string]string{}})
	if err == nil || errors.Is(err, cloudflare.ErrNotFound) || errors.Is(err, cloudflare.ErrUnauthorized) {
		return nil
	}
	return fmt.Errorf("taking the tags off %s %s, which is to be deleted: %w", words[s.Kind], s.Name, err)
}
