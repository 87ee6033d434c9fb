package sim_test

import (
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/kvick/shopfleet/internal/sim"
)

// wanted are the calls of a recording as templates. What the log of a world leaves out is left out: presigned URLs,
// websockets.
func wanted(rec *recording) []string {
	var list []string
	for _, c := range rec.Calls {
		if strings.HasPrefix(c.Path, "/r2-") || strings.Contains(c.Method, " ") {
			continue
		}
		q := url.Values{}
		for k, v := range c.Query {
			q.Set(k, v)
		}
		list = append(list, template(c.Method, c.Path, q))
	}
	return settle(list)
}

// made are the calls that a world met, as templates.
func made(requests []sim.Request) []string {
	var list []string
	for _, r := range requests {
		q, err := url.ParseQuery(r.Query)
		if err != nil {
			q = url.Values{"unreadable": {r.Query}}
		}
		list = append(list, template(r.Method, r.Path, q))
	}
	return settle(list)
}

var ids = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b|\bdom1\b|\b` + recZone + `\b`)

// template takes ids out of a call, and the values of parameters that depend on the time.
func template(method, path string, query url.Values) string {
	names := make([]string, 0, len(query))
	for k := range query {
		names = append(names, k)
	}
	sort.Strings(names)
	text := method + " " + path
	for i, k := range names {
		v := query.Get(k)
		if k == "bookmark" || k == "timestamp" {
			v = "*"
		}
		text += string("?&"[min(i, 1)]) + k + "=" + v
	}
	text = ids.ReplaceAllString(text, "{id}")
	return strings.Replace(text, "/accounts/{id}", "", 1)
}

// repeated are calls that are made as often as the server wants: polling, and one upload for each bucket of files.
var repeated = regexp.MustCompile(`^POST /d1/database/\{id\}/(import|export)$|^POST /workers/assets/upload`)

// settle gives calls that are made side by side a fixed order (wire.md §3.1: the guards after a dashboard edit and the
// triggers at the end; §1: accounts and memberships), keeping the order within each of the chains, and writes calls that are
// made as often as the server wants once.
func settle(list []string) []string {
	list = slices.CompactFunc(list, func(a, b string) bool { return a == b && repeated.MatchString(a) })
	for i := 0; i < len(list); {
		group, _ := chain(list[i])
		j := i + 1
		for j < len(list) {
			if g, _ := chain(list[j]); g != group {
				break
			}
			j++
		}
		if group != "" {
			slices.SortStableFunc(list[i:j], func(a, b string) int {
				_, x := chain(a)
				_, y := chain(b)
				return strings.Compare(x, y)
			})
		}
		i = j
	}
	return list
}

var chains = []struct {
	group, chain string // chain "" = each call is one of its own
	call         *regexp.Regexp
}{
	{"guards", "", regexp.MustCompile(`^GET /workers/services/[^/]+/environments/|^GET /workers/domains/records\?|^GET /workers/scripts/[^/]+/schedules$`)},
	{"identity", "", regexp.MustCompile(`^GET /accounts\?page=1$|^GET /memberships\?page=1$`)},
	{"triggers", "domains", regexp.MustCompile(`/domains/(changeset|records)`)},
	{"triggers", "", regexp.MustCompile(`^GET /zones`)}, // the zones of several routes are looked up side by side
	{"triggers", "routes", regexp.MustCompile(`^PUT /workers/scripts/[^/]+/routes$|^POST /zones/`)},
	{"triggers", "schedules", regexp.MustCompile(`^PUT /workers/scripts/[^/]+/schedules$`)},
	{"triggers", "workflows", regexp.MustCompile(`^PUT /workflows/`)},
}

func chain(call string) (group, name string) {
	for _, c := range chains {
		if c.call.MatchString(call) {
			if c.chain == "" {
				return c.group, call
			}
			return c.group, c.chain
		}
	}
	return "", ""
}
