package audit

import (
	"fmt"

	"github.com/kvick/shopfleet/internal/deploy"
)

// What Cloudflare allows on a paid plan (developers.cloudflare.com/workers/platform/limits, /kv/platform/limits).
const (
	maxCrons   = 250   // per account
	maxWorkers = 500   // per account
	maxDomains = 100   // custom domains per zone
	maxRoutes  = 1_000 // per zone
	maxSpaces  = 1_000 // KV namespaces per account
)

// nearPercent is from which share of a limit on a wall is near.
const nearPercent = 80

// capacity says which walls are near, per account and zone.
func (a *audit) capacity() {
	for _, s := range a.Snapshots {
		if s.Error != "" {
			continue
		}
		at := s.Account
		shops, crons := 0, 0
		for i := range a.Shops {
			shop := &a.Shops[i]
			if shop.Account.Name != at.Name {
				continue
			}
			shops++
			if d := s.Details[shop.Slug]; d != nil {
				crons += len(d.Crons)
			} else if shop.Config != nil {
				crons += len(shop.Config.Crons) // as the branch has them; drift would not be seen
			}
		}
		a.wall(s, "shops", "account "+at.Name, shops, at.MaxShops, "give new shops another account in fleet.yml, or raise max_shops")
		a.wall(s, "crons", "account "+at.Name, crons, maxCrons, "fewer crons per shop, or another account for new shops")
		a.wall(s, "Workers", "account "+at.Name, len(s.Workers), maxWorkers, "delete Workers that nobody needs, or use another account for new shops")
		a.wall(s, "KV namespaces", "account "+at.Name, len(s.Namespaces), maxSpaces, "use another account for new shops")
		domains, routes := map[string]int{}, map[string]int{}
		for _, d := range s.Domains {
			domains[d.ZoneName]++
		}
		for _, r := range s.Routes {
			routes[r.Zone]++
		}
		for _, zone := range sorted(domains) {
			a.wall(s, "custom domains", "zone "+zone, domains[zone], maxDomains, "serve new shops by a route instead of a custom domain, or in another zone")
		}
		for _, zone := range sorted(routes) {
			a.wall(s, "routes", "zone "+zone, routes[zone], maxRoutes, "serve new shops in another zone")
		}
	}
}

// wall compares a count with its limit.
func (a *audit) wall(s *Snapshot, what, where string, count, limit int, hint string) {
	if count*100 < limit*nearPercent {
		return
	}
	f := Finding{Account: s.Account.Name, Resource: where, Finding: deploy.Finding{
		Rule: "capacity", Level: deploy.LevelWarning,
		Message:  fmt.Sprintf("%s has %d of %d %s", where, count, limit, what),
		Expected: fmt.Sprintf("less than %d %%", nearPercent), Hint: hint,
	}}
	if count > limit {
		f.Level = deploy.LevelError
	}
	a.add(f)
}
