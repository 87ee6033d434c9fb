package sim

import (
	"encoding/base64"
	"net/http"
	"sort"
	"strings"
)

func zoneEndpoints() []endpoint {
	return []endpoint{
		{"GET /zones", reads, (*call).listZones},
		{"GET /zones/{zone}", reads, (*call).getZone},
	}
}

func zoneView(a *account, z *zone) map[string]any {
	return map[string]any{
		"id": z.ID, "name": z.Name, "status": "active", "paused": false, "type": "full", "development_mode": 0,
		"name_servers":          []string{"ada.ns.cloudflare.com", "bob.ns.cloudflare.com"},
		"original_name_servers": nil, "original_registrar": nil, "original_dnshost": nil,
		"created_on": stamp(z.Created), "modified_on": stamp(z.Created), "activated_on": stamp(z.Created),
		"account": map[string]any{"id": a.ID, "name": a.Name},
		"owner":   map[string]any{"id": a.ID, "type": "organization", "name": a.Name},
		"meta": map[string]any{
			"step": 2, "custom_certificate_quota": 0, "page_rule_quota": 3, "phishing_detected": false, "cdn_only": false, "dns_only": false, "foundation_dns": false,
		},
		"plan": map[string]any{
			"id": "0feeeeeeeeeeeeeeeeeeeeeeeeeeeeee", "name": "Free Website", "price": 0, "currency": "USD", "frequency": "", "is_subscribed": false,
			"can_subscribe": false, "legacy_id": "free", "legacy_discount": false, "externally_managed": false,
		},
		"permissions": []string{"#zone:read", "#zone:edit", "#dns_records:read", "#dns_records:edit"},
	}
}

// listZones filters by name, account.id and status. It pages by number, and by cursor when the client sends one back
// (P2 of wire.md §1).
func (c *call) listZones() (any, error) {
	list := []map[string]any{}
	for _, id := range sortedKeys(c.w.accounts) {
		a := c.w.accounts[id]
		if !c.cred.may("zone", false) || !c.cred.reaches(id) || c.query("account.id") != "" && c.query("account.id") != id {
			continue
		}
		if name := c.query("account.name"); name != "" && name != a.Name {
			continue
		}
		for _, z := range a.Zones {
			if matchName(c.query("name"), z.Name) && (c.query("status") == "" || c.query("status") == "active") {
				list = append(list, zoneView(a, z))
			}
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i]["name"].(string) < list[j]["name"].(string) })
	return cursored(c, list, 20, 50), nil
}

// matchName understands `name=x` and the operators of the zones API (equal:, contains:, starts_with:, ends_with:).
func matchName(want, name string) bool {
	op, text, ok := strings.Cut(want, ":")
	switch {
	case want == "":
		return true
	case !ok:
		return want == name
	case op == "equal":
		return text == name
	case op == "not_equal":
		return text != name
	case op == "contains":
		return strings.Contains(name, text)
	case op == "starts_with":
		return strings.HasPrefix(name, text)
	case op == "ends_with":
		return strings.HasSuffix(name, text)
	}
	return false
}

func (c *call) getZone() (any, error) { return zoneView(c.account, c.zone), nil }

// cursored is paged with a cursor to the next page besides the page numbers.
func cursored[T any](c *call, items []T, perPage, most int) page {
	start := 0
	if b, err := base64.RawURLEncoding.DecodeString(c.query("cursor")); err == nil && len(b) > 0 {
		start = positive(string(b), 1, len(items)+1)
		q := c.r.URL.Query()
		q.Set("page", "1")
		c.r.URL.RawQuery = q.Encode()
	}
	p := paged(c, items[min(start, len(items)):], perPage, most)
	p.Info["total_count"] = len(items)
	next := start + (p.Info["page"].(int)-1)*p.Info["per_page"].(int) + p.Info["count"].(int)
	p.Info["cursor"] = ""
	if next < len(items) && p.Info["count"].(int) > 0 {
		p.Info["cursor"] = base64.RawURLEncoding.EncodeToString([]byte(itoa(next)))
	}
	return p
}

func noSuchZone(what string) *refusal {
	return refuse(http.StatusBadRequest, 7003, "Could not find zone for %s on your account, perhaps your object identifier is invalid?", what)
}

// zoneFor finds the zone of an account that a hostname is in, by explicit id or name when given.
func (a *account) zoneFor(hostname, id, name string) (*zone, error) {
	var best *zone
	for _, z := range a.Zones {
		switch {
		case id != "" && z.ID != id, name != "" && z.Name != name:
			continue
		case !inZone(hostname, z.Name):
			continue
		case best == nil || len(z.Name) > len(best.Name):
			best = z
		}
	}
	if best == nil {
		return nil, noSuchZone(hostname)
	}
	return best, nil
}

func inZone(hostname, zone string) bool {
	return hostname == zone || strings.HasSuffix(hostname, "."+zone)
}
