package deploy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// hostnames checks what the Worker would answer to: its own hostname must
// be among them, and nothing else may be.
func (a *admission) hostnames() {
	want := a.want
	c, shop := want.Config, want.Shop
	own := append([]string{shop.Hostname}, shop.Hostnames...)
	reached := false
	for _, r := range c.Routes {
		host, at := routeHost(r), r.Path()
		reached = reached || host == shop.Hostname
		zone := want.zoneOf(r)
		switch {
		case !slices.Contains(own, host):
			a.refuse("hostname-not-owned", at, fmt.Sprintf("route %q is on hostname %q, shop %s owns %q", r.Pattern, host, shop.Slug, shop.Hostname),
				shop.Hostname, "use the shop's own hostname, or declare the exception in fleet.yml")
		case !plainPattern(r.Pattern, host):
			a.refuse("hostname-pattern", at, fmt.Sprintf("route %q is more than a hostname and a path", r.Pattern),
				fmt.Sprintf("%q, or %q for a custom domain", host+"/*", host), "write it in lower case, without scheme, port, query and * before the end")
		case zone == "":
			a.refuse("hostname-outside-zone", at, fmt.Sprintf("hostname %q is in no zone of account %s", host, shop.Account.Name),
				"a hostname under "+strings.Join(shop.Account.Zones(), " or "), "correct the hostname, or the account's zones in fleet.yml")
		case r.ZoneName != "" && r.ZoneName != zone:
			a.refuse("hostname-outside-zone", at, fmt.Sprintf("route %q names zone %q, its hostname is in %s", r.Pattern, r.ZoneName, zone),
				zone, "remove zone_name, or correct it")
		case shareDomain(host, shop.PublicSite, zone):
			a.refuse("hostname-on-public-site", at, fmt.Sprintf("hostname %s and the shop's public site %s share a domain: cookies cross between the two", host, shop.PublicSite),
				"domains that have nothing in common", "give the public site a domain of its own in fleet.yml")
		}
	}
	if !reached {
		a.refuse("hostname-missing", []any{"env", c.Env, "routes"}, fmt.Sprintf("no route serves %s, the hostname of shop %s", shop.Hostname, shop.Slug),
			fmt.Sprintf(`{"pattern": %q, "custom_domain": true}`, shop.Hostname), fmt.Sprintf("add it to env.%s.routes", c.Env))
	}
}

// plainPattern says whether a route is the hostname, or the hostname and a path with at most one * at its end.
func plainPattern(pattern, host string) bool {
	path, ok := strings.CutPrefix(pattern, host)
	if !ok || path != "" && path[0] != '/' {
		return false
	}
	path = strings.TrimSuffix(path, "*")
	return !strings.ContainsAny(path, "*?#\\% \t\r\n") && !strings.Contains(path, "//") && !strings.Contains(path, "/.")
}

// shareDomain says whether a cookie can be set for both a hostname in a zone and the domain of a public site.
func shareDomain(host, site, zone string) bool {
	return site != "" && (underZone(host, site) || underZone(site, host) || underZone(site, zone))
}

func underZone(host, zone string) bool {
	return zone != "" && (host == zone || strings.HasSuffix(host, "."+zone))
}

// routeHost is the hostname of a route's pattern: what stands before the first
// slash, without a scheme.
func routeHost(r wrangler.Route) string { return patternHost(r.Pattern) }

func patternHost(p string) string {
	if _, rest, ok := strings.Cut(p, "://"); ok {
		p = rest
	}
	host, _, _ := strings.Cut(p, "/")
	return strings.ToLower(host)
}

// liveHostnames checks that nobody else answers on the shop's hostnames.
func (a *admission) liveHostnames(have *State) {
	want := a.want
	c, shop := want.Config, want.Shop
	for _, r := range c.Routes {
		host, zone, at := routeHost(r), want.zoneOf(r), r.Path()
		if zone == "" {
			continue // refused already
		}
		if id, ok := have.Zones[zone]; !ok {
			a.refuse("zone-unknown", at, fmt.Sprintf("account %s has no zone %s", shop.Account.Name, zone), "a zone of the account", "add the zone to the account, or correct the zone in fleet.yml")
			continue
		} else if r.ZoneID != "" && r.ZoneID != id {
			a.refuse("hostname-outside-zone", at, fmt.Sprintf("route %q names zone id %s, zone %s has %s", r.Pattern, r.ZoneID, zone, id), id, "remove zone_id, or correct it")
		}
		for _, d := range have.Domains {
			if d.Hostname == host && d.Worker != c.Name {
				a.refuse("hostname-taken", at, fmt.Sprintf("hostname %s is held by Worker %s", host, d.Worker), "a hostname that no other Worker holds",
					"detach it from "+d.Worker+" first if it is this shop's; shopfleet never takes a hostname")
			}
		}
		for _, other := range have.Shadows {
			if (other.Pattern != r.Pattern || r.CustomDomain) && shadows(other.Pattern, r) { // the same route is taken, see below
				a.refuse("hostname-shadowed", at, fmt.Sprintf("route %s runs Worker %s on hostname %s", other.Pattern, other.Worker, host), "a hostname that only this Worker answers on",
					"delete that route, or narrow it: it takes requests, and the cookies in them, that are this shop's")
			}
		}
		if r.CustomDomain {
			for _, rec := range have.DNS {
				if rec.Hostname == host {
					a.refuse("hostname-taken", at, fmt.Sprintf("hostname %s already has a DNS record (%s %s)", host, rec.Type, rec.Content), "a hostname without DNS records",
						"delete the record first if nothing needs it; shopfleet never replaces one")
				}
			}
			for _, con := range have.Conflicts {
				if con.Hostname == host {
					a.refuse("hostname-taken", at, fmt.Sprintf("hostname %s cannot be attached: %s", host, con.Why), "a hostname that nobody holds",
						"free it first if it is this shop's; shopfleet never takes a hostname")
				}
			}
			continue
		}
		for _, other := range have.Routes {
			if other.Pattern == r.Pattern && other.Worker != c.Name {
				a.refuse("hostname-taken", at, fmt.Sprintf("route %s runs Worker %s", other.Pattern, other.Worker), "a route that no other Worker has",
					"delete that route first if it is this shop's; shopfleet never takes one")
			}
		}
	}
}

// shadows says whether another Worker's route takes requests that come to r. Routes go before custom domains; among routes
// the more specific one wins, so that a wildcard for the whole zone takes nothing from a route with the hostname in it.
func shadows(pattern string, r wrangler.Route) bool {
	host := routeHost(r)
	other := patternHost(pattern)
	if other == host {
		return true
	}
	rest, wild := strings.CutPrefix(other, "*")
	return wild && strings.HasSuffix(host, rest) && (r.CustomDomain || !strings.HasSuffix(r.Pattern, host+"/*"))
}
