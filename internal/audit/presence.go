package audit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// A branch may be so far behind main that it is a finding: two of the weekly rebases missed, or many changes at once.
const (
	manyCommits = 50
	manyDays    = 14
)

// branch says what is wrong with a shop's branch, whatever the account says.
func (a *audit) branch(shop *Shop) {
	for _, p := range shop.Problems {
		a.add(Finding{Account: shop.Account.Name, Shop: shop.Slug, Worker: shop.Worker, Finding: p})
	}
	days := 0
	if !shop.Since.IsZero() {
		days = int(a.At.Sub(shop.Since) / (24 * time.Hour))
	}
	if shop.Behind == 0 || shop.Behind <= manyCommits && days <= manyDays {
		return
	}
	a.add(Finding{Account: shop.Account.Name, Shop: shop.Slug, Finding: deploy.Finding{
		Rule: "behind-main", Level: deploy.LevelWarning,
		Message:  fmt.Sprintf("branch %s is %s behind main, the oldest of them from %s", shop.Branch, counted(shop.Behind, "commit"), shop.Since.Format("2006-01-02")),
		Expected: fmt.Sprintf("at most %d commits and %d days", manyCommits, manyDays),
		Hint:     "git rebase main " + shop.Branch,
	}})
}

// present says what of a shop is not in its account.
func (a *audit) present(shop *Shop, s *Snapshot) {
	worker, deployed := s.worker(shop.Worker)
	var missing []string
	if !deployed {
		missing = append(missing, "no Worker "+shop.Worker)
	}
	if c := shop.Config; c != nil {
		for _, own := range [][3]string{{"d1", shop.D1, "D1 database"}, {"kv_namespace", shop.KV, "KV namespace"}, {"r2_bucket", shop.R2, "R2 bucket"}} {
			if slices.ContainsFunc(c.Bindings, func(b wrangler.Binding) bool { return b.Type == own[0] }) && !a.graph.named[[3]string{s.Account.Name, own[0], own[1]}] {
				missing = append(missing, "no "+own[2]+" "+own[1])
			}
		}
		if deployed && shop.Leaving == "" && !s.served(shop) && len(s.takers(shop)) == 0 {
			missing = append(missing, "nothing that serves "+shop.Hostname)
		}
	}
	a.ids(shop, s)
	if len(missing) > 0 {
		f := Finding{Account: s.Account.Name, Shop: shop.Slug, Worker: shop.Worker, Finding: deploy.Finding{
			Rule: "shop-incomplete", Level: deploy.LevelError,
			Message:  fmt.Sprintf("shop %s has a branch, and account %s has %s", shop.Slug, s.Account.Name, strings.Join(missing, ", ")),
			Expected: "a Worker, the stores that its config binds, and its hostname",
			Hint:     "shopfleet deploy " + shop.Slug,
		}}
		if !deployed {
			f.Level = deploy.LevelWarning // it was never deployed, or is no more: nobody is served wrongly
		}
		a.add(f)
	}
	if !deployed {
		return
	}
	var secrets []string
	for _, b := range worker.Settings.Bindings {
		if b.Type == "secret_text" || b.Type == "secret_key" || b.Type == "secrets_store_secret" {
			secrets = append(secrets, b.Name)
		}
	}
	lacks := slices.DeleteFunc(slices.Clone(shop.RequiredSecrets), func(name string) bool { return slices.Contains(secrets, name) })
	if len(lacks) > 0 {
		a.add(Finding{Account: s.Account.Name, Shop: shop.Slug, Worker: shop.Worker, Finding: deploy.Finding{
			Rule: "secret-missing", Level: deploy.LevelError,
			Message:  fmt.Sprintf("%s has no secret %s", shop.Worker, strings.Join(lacks, ", ")),
			Expected: "every secret that fleet.yml or wrangler.jsonc requires",
			Hint:     "wrangler secret put --env " + shop.Slug + " " + lacks[0],
		}})
	}
	d := s.Details[shop.Slug]
	switch {
	case d == nil || len(d.Denied) == 0: // what the branch's migrations would make is left to say
		for _, f := range shop.Denied {
			a.add(Finding{Account: s.Account.Name, Shop: shop.Slug, Resource: "D1 " + shop.D1, Finding: f})
		}
	default:
		a.add(Finding{Account: s.Account.Name, Shop: shop.Slug, Resource: "D1 " + shop.D1, Finding: deploy.Finding{
			Rule: "denied-column", Level: deploy.LevelError,
			Message:  fmt.Sprintf("database %s has a column %s", shop.D1, strings.Join(d.Denied, ", ")),
			Expected: "a database holds one shop, so no column tells shops apart",
			Hint:     "take the column away in a migration on main",
		}})
	}
}

// ids says which ids in a branch's config are not those of the shop's own stores: a plan would be refused because of them.
func (a *audit) ids(shop *Shop, s *Snapshot) {
	if shop.Config == nil {
		return
	}
	refuse := func(rule, message, name string, path []any) {
		f := deploy.Finding{Rule: rule, Level: deploy.LevelError, Message: message, Expected: "the id of " + name, Hint: "write the id of " + name + " into the overlay"}
		f = deploy.Finding(shop.Config.At(wrangler.Finding(f), path...))
		a.add(Finding{Account: s.Account.Name, Shop: shop.Slug, Worker: shop.Worker, Finding: f})
	}
	for _, kind := range [][4]string{{"d1", shop.D1, "D1 database", "d1-unknown"}, {"kv_namespace", shop.KV, "KV namespace", "kv-unknown"}} {
		exists := a.graph.named[[3]string{s.Account.Name, kind[0], kind[1]}]
		for _, b := range shop.Config.Bindings {
			id := cmp.Or(b.Field("namespace_id"), b.Field("id"))
			if b.Type != kind[0] || id == "" {
				continue
			}
			n := a.graph.nodes[key{account: s.Account.Name, typ: kind[0], id: id}]
			switch {
			case (n == nil || !n.exists) && exists:
				refuse(kind[3], fmt.Sprintf("account %s has no %s with id %q", s.Account.Name, kind[2], id), kind[1], b.Path())
			case n != nil && n.exists && n.Shop != shop.Slug && n.Shared == "":
				refuse("binding-not-owned", fmt.Sprintf("binding %s is %s %s, which account %s calls %s", b.Name, kind[2], id, s.Account.Name, n.Name), kind[1], b.Path())
			}
		}
	}
}

// served says whether the shop's Worker has its hostname.
func (s *Snapshot) served(shop *Shop) bool {
	for _, d := range s.Domains {
		if d.Hostname == shop.Hostname && d.Service == shop.Worker {
			return true
		}
	}
	return slices.ContainsFunc(s.Routes, func(r Route) bool { return r.Worker == shop.Worker && covers(r.Pattern, shop.Hostname) != 0 })
}

// hostnames are those that a shop answers to, by fleet.yml.
func (s *Shop) hostnames() []string { return append([]string{s.Hostname}, s.Hostnames...) }

// taker is a Worker that has a shop's hostname in the shop's place, or a part of it.
type taker struct {
	host, worker, how string
	shadows           bool // it has a part of the hostname, or comes before the shop's
}

// takers finds what holds a shop's hostnames besides the shop's own Worker. Routes come before custom domains, and of
// routes the one that says more (developers.cloudflare.com/workers/configuration/routing/routes).
func (s *Snapshot) takers(shop *Shop) []taker {
	var out []taker
	for _, host := range shop.hostnames() {
		own := 0
		for _, r := range s.Routes {
			if r.Worker == shop.Worker {
				own = max(own, covers(r.Pattern, host))
			}
		}
		for _, d := range s.Domains {
			if d.Hostname == host && d.Service != shop.Worker {
				out = append(out, taker{host, d.Service, "custom domain " + d.Hostname, false})
			}
		}
		for _, r := range s.Routes {
			how := covers(r.Pattern, host)
			switch {
			case r.Worker == shop.Worker || how == 0 || how < own:
			case how == whole && own < whole && !s.held(shop, host):
				out = append(out, taker{host, r.Worker, "route " + r.Pattern, false})
			default:
				out = append(out, taker{host, r.Worker, "route " + r.Pattern, true})
			}
		}
	}
	return out
}

// held says whether a hostname is a custom domain of the shop's Worker.
func (s *Snapshot) held(shop *Shop, host string) bool {
	for _, d := range s.Domains {
		if d.Hostname == host && d.Service == shop.Worker {
			return true
		}
	}
	return false
}

// How a route's pattern covers a hostname, the more special the greater.
const (
	wild  = 1 // with many others
	whole = 2 // it alone, every path
	part  = 3 // it alone, some paths
)

// covers says how a route's pattern covers a hostname; 0 when it does not.
func covers(pattern, host string) int {
	if _, rest, ok := strings.Cut(pattern, "://"); ok {
		pattern = rest
	}
	at, path, _ := strings.Cut(strings.ToLower(pattern), "/")
	exact := at == host
	if rest, ok := strings.CutPrefix(at, "*"); !exact && (!ok || !strings.HasSuffix(host, rest)) {
		return 0
	}
	switch {
	case !exact:
		return wild
	case path == "*":
		return whole
	}
	return part
}

// reached says who has a shop's hostname in its place.
func (a *audit) reached(shop *Shop, s *Snapshot) {
	for _, t := range s.takers(shop) {
		who := "Worker " + t.worker
		if t.worker == "" {
			who = "no Worker"
		}
		f := Finding{Account: s.Account.Name, Shop: shop.Slug, Worker: t.worker, Resource: t.host, Finding: deploy.Finding{
			Rule: "hostname-taken", Level: deploy.LevelError,
			Message:  fmt.Sprintf("hostname %s of shop %s is served by %s: %s", t.host, shop.Slug, who, t.how),
			Expected: "Worker " + shop.Worker,
			Hint:     "remove the " + t.how + " when nothing else needs it, then shopfleet deploy " + shop.Slug,
		}}
		if t.shadows {
			f.Rule = "hostname-shadowed"
			f.Message = fmt.Sprintf("requests for %s of shop %s go to %s first: %s", t.host, shop.Slug, who, t.how)
		}
		if other := a.graph.nodes[key{account: s.Account.Name, typ: "worker", id: t.worker}]; other != nil && other.Shop != "" {
			f.Others = []string{other.Shop}
		}
		a.add(f)
	}
	if c := shop.Config; c != nil {
		for _, zone := range shop.Account.Zones() {
			known := slices.ContainsFunc(s.Zones, func(z cloudflare.Zone) bool { return z.Name == zone })
			if !known && under(shop.Hostname, zone) {
				a.add(Finding{Account: s.Account.Name, Shop: shop.Slug, Resource: "zone " + zone, Finding: deploy.Finding{
					Rule: "zone-unknown", Level: deploy.LevelError, Message: fmt.Sprintf("account %s has no zone %s", s.Account.Name, zone),
					Expected: "a zone of the account", Hint: "add the zone to the account, or correct the zone in fleet.yml",
				}})
			}
		}
	}
}

// drift says in what the account differs from the shop's branch.
func (a *audit) drift(shop *Shop, s *Snapshot) {
	w, deployed := s.worker(shop.Worker)
	c := shop.Config
	if !deployed || c == nil {
		return
	}
	var differs []string
	for _, change := range deploy.BindingChanges(c, w.bindings()) {
		if !a.graph.judged[[3]string{s.Account.Name, w.Name, change.Name}] {
			differs = append(differs, change.String())
		}
	}
	if live := w.Settings.CompatibilityDate; live != "" && live != c.CompatibilityDate {
		differs = append(differs, fmt.Sprintf("compatibility_date %s, in the branch %s", live, c.CompatibilityDate))
	}
	if live := w.Settings.CompatibilityFlags; !sameSet(live, c.CompatibilityFlags) {
		differs = append(differs, fmt.Sprintf("compatibility_flags %s, in the branch %s", list(live), list(c.CompatibilityFlags)))
	}
	if shop.Leaving == "" {
		differs = append(differs, a.triggers(shop, s)...)
	}
	if d := s.Details[shop.Slug]; d != nil {
		if shop.Leaving == "" && c.CronsSet && !sameSet(d.Crons, c.Crons) {
			differs = append(differs, fmt.Sprintf("crons %s, in the branch %s", list(d.Crons), list(c.Crons)))
		}
		if d.Subdomain != nil && d.Subdomain.Enabled != c.WorkersDev {
			differs = append(differs, "workers.dev "+map[bool]string{true: "on", false: "off"}[d.Subdomain.Enabled])
		}
	}
	if len(differs) == 0 {
		return
	}
	flag := ""
	if outside(shop, s, w) {
		flag = " --overwrite-outside" // without it the deploy is refused
	}
	a.add(Finding{Account: s.Account.Name, Shop: shop.Slug, Worker: w.Name, Finding: deploy.Finding{
		Rule: "drift", Level: deploy.LevelWarning,
		Message:  fmt.Sprintf("%s is not what its branch says: %s", w.Name, strings.Join(differs, "; ")),
		Expected: "what commit " + short(shop.Commit) + " says",
		Hint:     "shopfleet plan " + shop.Slug + " shows it, shopfleet deploy " + shop.Slug + flag + " mends it",
	}})
}

// triggers compares hostnames and routes. A hostname that nothing serves, or that somebody else has, is told elsewhere.
func (a *audit) triggers(shop *Shop, s *Snapshot) []string {
	taken := s.takers(shop)
	told := func(host string) bool {
		return host == shop.Hostname && !s.served(shop) || slices.ContainsFunc(taken, func(t taker) bool { return t.host == host })
	}
	var differs []string
	wanted := map[string]bool{}
	for _, r := range shop.Config.Routes {
		if r.CustomDomain {
			host := strings.ToLower(strings.TrimSuffix(r.Pattern, "/"))
			wanted["domain "+host] = true
			if !s.held(shop, host) && !told(host) {
				differs = append(differs, "custom domain "+host+" (missing there)")
			}
			continue
		}
		wanted["route "+r.Pattern] = true
		host, _, _ := strings.Cut(r.Pattern, "/")
		if !slices.ContainsFunc(s.Routes, func(live Route) bool { return live.Pattern == r.Pattern && live.Worker == shop.Worker }) && !told(host) {
			differs = append(differs, "route "+r.Pattern+" (missing there)")
		}
	}
	for _, d := range s.Domains {
		if d.Service == shop.Worker && !wanted["domain "+d.Hostname] {
			differs = append(differs, "custom domain "+d.Hostname+" (not in the config)")
		}
	}
	for _, r := range s.Routes {
		if r.Worker == shop.Worker && !wanted["route "+r.Pattern] {
			differs = append(differs, "route "+r.Pattern+" (not in the config)")
		}
	}
	return differs
}

// outside says whether somebody else than shopfleet made what is live, as far as it was read.
func outside(shop *Shop, s *Snapshot, w Worker) bool {
	if s.Details[shop.Slug] == nil {
		// Other programs than wrangler and the dashboard are "api", as shopfleet is.
		return w.LastDeployedFrom != "" && w.LastDeployedFrom != "api"
	}
	return w.Live.Version != "" && w.Live.Mark == "" && len(w.Live.Shares) <= 1
}

// live says who released what besides shopfleet. Without a deep read only the account's list is asked, which knows who
// came last.
func (a *audit) live(shop *Shop, s *Snapshot) {
	w, deployed := s.worker(shop.Worker)
	if !deployed {
		return
	}
	f := Finding{Account: s.Account.Name, Shop: shop.Slug, Worker: w.Name, Finding: deploy.Finding{
		Rule: "changed-outside", Level: deploy.LevelWarning, Expected: "a version uploaded by shopfleet",
		Hint: "bring the change into the branch, or replace it: shopfleet deploy " + shop.Slug + " --overwrite-outside",
	}}
	if s.Details[shop.Slug] == nil {
		if outside(shop, s, w) {
			f.Message = fmt.Sprintf("%s was deployed last from %s, and not by shopfleet", w.Name, w.LastDeployedFrom)
			a.add(f)
		}
		return
	}
	switch at := w.Live; {
	case at.Version == "":
	case len(at.Shares) > 1:
		f.Rule, f.Message = "released-in-part", fmt.Sprintf("%s is split over %d versions", w.Name, len(at.Shares))
		f.Expected = "one version with 100 % of the traffic"
		a.add(f)
	case outside(shop, s, w):
		f.Message = fmt.Sprintf("the live version %s of %s was released outside shopfleet by %s", at.Version, w.Name, who(at))
		a.add(f)
	case !sameBindings(at.Bindings, w.bindings()):
		f.Rule, f.Level = "newest-not-live", deploy.LevelNotice
		f.Message = fmt.Sprintf("the newest version of %s is not the one that is live (%s), and has other bindings", w.Name, at.Version)
		f.Expected, f.Hint = "one version", "shopfleet deploy "+shop.Slug+" releases what the branch says"
		a.add(f)
	}
}

func who(l deploy.Live) string {
	switch {
	case l.Author != "" && l.Source != "":
		return l.Author + " (" + l.Source + ")"
	case l.Author+l.Source != "":
		return l.Author + l.Source
	}
	return "somebody"
}

// sameBindings compares two lists of bindings as Cloudflare returns them, secrets left out: a secret that is set makes a
// version of its own.
func sameBindings(a, b json.RawMessage) bool {
	read := func(raw json.RawMessage) map[string]string {
		var list []map[string]any
		if json.Unmarshal(raw, &list) != nil {
			return nil
		}
		out := map[string]string{}
		for _, m := range list {
			kind, _ := m["type"].(string)
			name, _ := m["name"].(string)
			if kind != "secret_text" && kind != "secret_key" {
				text, _ := json.Marshal(m) // it was JSON
				out[name] = string(text)
			}
		}
		return out
	}
	x, y := read(a), read(b)
	for name, text := range x {
		if y[name] != text {
			return false
		}
	}
	return len(x) == len(y)
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func list(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func short(sha string) string { return sha[:min(10, len(sha))] }

func under(host, zone string) bool { return host == zone || strings.HasSuffix(host, "."+zone) }
