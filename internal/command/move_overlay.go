package command

// The overlay of a shop that moves: the same file with the new account's names and ids in it, and nothing else changed.

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/transfer"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// residence is a shop in an account: what its overlay says of where it lives.
type residence struct {
	fleet.Shop
	DatabaseID, NamespaceID string
	ZoneID                  string // of the hostname's zone
	stores                  transfer.Shop
}

// moveOverlay is a shop's config for another account. Notes are places that a person should look at: where an id or a name
// of the old account stands in a text that is nobody's business but the shop's. It is pure.
func moveOverlay(config []byte, from, to residence) (text []byte, notes []string, err error) {
	p, err := wrangler.Parse("", configFile, config)
	if err != nil {
		return nil, nil, err
	}
	env := []any{"env", from.Slug}
	at := func(path ...any) []any { return append(slices.Clone(env), path...) }
	var list []wrangler.Replacement
	var old string
	if json.Unmarshal(p.Value(at("account_id")...), &old) != nil || old != from.Account.ID {
		return nil, nil, overlayFinding(p, at("account_id"), "overlay-account-missing",
			fmt.Sprintf("env.%s.account_id is not that of account %s, which the shop leaves", from.Slug, from.Account.Name), from.Account.ID,
			"write account_id into env."+from.Slug+", and run the same command again: it is what says where a shop lives")
	}
	list = append(list, wrangler.Replacement{Path: at("account_id"), Text: to.Account.ID})
	ids := func(key, was, now string, fields ...string) bool {
		var entries []map[string]any
		found := was == ""
		if was == "" || json.Unmarshal(p.Value(at(key)...), &entries) != nil {
			return found
		}
		for i, e := range entries {
			for _, field := range fields {
				if e[field] == was {
					list = append(list, wrangler.Replacement{Path: at(key, i, field), Text: now})
					found = true
				}
			}
		}
		return found
	}
	for _, store := range []struct {
		key, was, now, what string
		fields              []string
	}{
		{"d1_databases", from.DatabaseID, to.DatabaseID, "D1 database " + from.D1, []string{"database_id", "preview_database_id"}},
		{"kv_namespaces", from.NamespaceID, to.NamespaceID, "KV namespace " + from.KV, []string{"id", "preview_id"}},
	} {
		if !ids(store.key, store.was, store.now, store.fields...) {
			return nil, nil, overlayFinding(p, at(store.key), "overlay-other-stores",
				fmt.Sprintf("env.%s.%s does not bind the %s of account %s, %s", from.Slug, store.key, store.what, from.Account.Name, store.was),
				"the id of the store that is there", "correct the branch and run the same command again")
		}
	}
	routes, err := moveRoutes(p, from, to)
	if err != nil {
		return nil, nil, err
	}
	list = append(list, routes...)
	text, err = p.Replace(list...)
	if err != nil {
		return nil, nil, err
	}
	text = renameComments(text, from.Account.Name, to.Account.Name)
	var vars map[string]any
	if json.Unmarshal(p.Value(at("vars")...), &vars) == nil {
		for _, name := range sortedKeys(vars) {
			value, _ := vars[name].(string)
			for _, gone := range []string{from.Hostname, from.Account.ID, from.DatabaseID, from.NamespaceID} {
				if gone != "" && strings.Contains(value, gone) && !slices.Contains([]string{to.Hostname, to.Account.ID}, gone) {
					notes = append(notes, fmt.Sprintf("vars.%s still holds %s", name, gone))
				}
			}
		}
	}
	return text, notes, nil
}

// moveRoutes are the routes' replacements: the hostname by rule and the zone become the new account's.
func moveRoutes(p *wrangler.Project, from, to residence) (list []wrangler.Replacement, err error) {
	type route struct {
		path []any
		raw  json.RawMessage
	}
	var all []route
	env := []any{"env", from.Slug}
	if raw := p.Value(append(slices.Clone(env), "route")...); len(raw) > 0 && string(raw) != "null" {
		all = append(all, route{append(slices.Clone(env), "route"), raw})
	}
	var raws []json.RawMessage
	if json.Unmarshal(p.Value(append(slices.Clone(env), "routes")...), &raws) == nil {
		for i, raw := range raws {
			all = append(all, route{append(slices.Clone(env), "routes", i), raw})
		}
	}
	for _, r := range all {
		var plain string
		var full struct {
			Pattern  string `json:"pattern"`
			ZoneName string `json:"zone_name"`
			ZoneID   string `json:"zone_id"`
		}
		path := r.path
		if json.Unmarshal(r.raw, &plain) == nil {
			full.Pattern = plain
		} else if json.Unmarshal(r.raw, &full) == nil {
			path = append(slices.Clone(r.path), "pattern")
		} else {
			continue // admission says what is wrong with it
		}
		host, rest, _ := strings.Cut(full.Pattern, "/")
		if strings.Contains(full.Pattern, "/") {
			rest = "/" + rest
		}
		if host == from.Hostname && host != to.Hostname {
			list = append(list, wrangler.Replacement{Path: path, Text: to.Hostname + rest})
			host = to.Hostname
		}
		zone := zoneOn(to.Account, host)
		if zone == "" {
			return nil, overlayFinding(p, path, "move-hostname", fmt.Sprintf("hostname %s is in no zone of account %s", host, to.Account.Name),
				"a hostname in "+strings.Join(to.Account.Zones(), " or "), "take it out of the branch first, or give that account the zone: two accounts cannot serve one")
		}
		if full.ZoneName != "" && full.ZoneName != zone {
			list = append(list, wrangler.Replacement{Path: append(slices.Clone(r.path), "zone_name"), Text: zone})
		}
		if full.ZoneID != "" && to.ZoneID != "" && full.ZoneID != to.ZoneID {
			list = append(list, wrangler.Replacement{Path: append(slices.Clone(r.path), "zone_id"), Text: to.ZoneID})
		}
	}
	return list, nil
}

// zoneOn is the zone of an account that a hostname lies in: the longest that fits, "" when none does.
func zoneOn(a fleet.Account, host string) string {
	longest := ""
	for _, zone := range a.Zones() {
		if (host == zone || strings.HasSuffix(host, "."+zone)) && len(zone) > len(longest) {
			longest = zone
		}
	}
	return longest
}

// renameComments keeps comments true that say, in the words of onboard, which account of fleet.yml an id is.
func renameComments(text []byte, from, to string) []byte {
	lines := strings.SplitAfter(string(text), "\n")
	for i, l := range lines {
		if strings.HasPrefix(strings.TrimSpace(l), "//") {
			lines[i] = strings.ReplaceAll(l, "("+from+" in "+policyFile+")", "("+to+" in "+policyFile+")")
		}
	}
	return []byte(strings.Join(lines, ""))
}

// overlayFinding is a finding at a place of the config.
func overlayFinding(p *wrangler.Project, path []any, rule, message, expected, hint string) error {
	f := p.At(wrangler.Finding{Rule: rule, Level: wrangler.LevelError, Message: message, Expected: expected, Hint: hint}, path...)
	return deploy.Findings{deploy.Finding(f)}
}
