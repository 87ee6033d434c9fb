package deploy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// Cloudflare does not check who owns a resource that a Worker is bound to
// (field.md §0.1). Admission is the wall: every binding that can reach data is
// either proven to be this shop's own, or refused.

// dataFree are the binding types that reach no stored data of anybody.
// Every other type needs a rule in admitOffline, or is refused.
var dataFree = []string{
	"plain_text", "json", "secret_text", "version_metadata", "assets",
	"ai", "browser", "images", "media", "ratelimit", "send_email",
	"wasm_module", "text_blob", "data_blob",
}

// admitOffline checks a resolved config against the names that the shop may
// own, before anything is asked of Cloudflare.
func admitOffline(want *Desired) []Finding {
	var out []Finding
	c, shop := want.Config, want.Shop
	env := []any{"env", c.Env}
	add := func(rule string, path []any, message, expected, hint string) {
		f := Finding{Rule: rule, Level: LevelError, Message: message, Expected: expected, Hint: hint}
		want.locate(&f, path...)
		out = append(out, f)
	}
	if c.Env != shop.Slug {
		add("env-not-the-shop", env, fmt.Sprintf("environment %q was resolved for shop %q", c.Env, shop.Slug), shop.Slug, "")
	}
	if c.Name != shop.Worker {
		add("worker-not-owned", append(env, "name"), fmt.Sprintf("the Worker is named %q, shop %s owns %q", c.Name, shop.Slug, shop.Worker),
			shop.Worker, fmt.Sprintf("set env.%s.name to %q", c.Env, shop.Worker))
	}
	if c.AccountID != "" && c.AccountID != shop.Account.ID {
		add("account-not-the-shops", append(env, "account_id"), fmt.Sprintf("account_id is %s, fleet.yml puts shop %s into account %s (%s)", c.AccountID, shop.Slug, shop.Account.Name, shop.Account.ID),
			shop.Account.ID, "remove account_id, or give the shop that account in fleet.yml")
	}
	if c.Main == "" && c.Assets == nil {
		add("nothing-to-deploy", env, "the config has neither main nor assets", "a main module", "set main in wrangler.jsonc")
	}
	out = append(out, admitDatabases(want)...)
	for _, b := range c.Bindings {
		out = append(out, want.admitBinding(b)...)
	}
	return append(out, want.admitHostnames()...)
}

// admitDatabases checks that every D1 binding names the shop's own database.
func admitDatabases(want *Desired) []Finding {
	var out []Finding
	c, shop := want.Config, want.Shop
	env := []any{"env", c.Env}
	add := func(rule string, path []any, message, expected, hint string) {
		f := Finding{Rule: rule, Level: LevelError, Message: message, Expected: expected, Hint: hint}
		want.locate(&f, path...)
		out = append(out, f)
	}
	for i, db := range c.D1 {
		at := append(env, "d1_databases", i)
		switch {
		case db.DatabaseID == "":
			add("d1-without-id", at, fmt.Sprintf("D1 binding %s has no database_id", db.Binding), "the id of "+shop.D1,
				"run wrangler d1 info "+shop.D1+" and write its id into the overlay")
		case db.DatabaseName != shop.D1:
			add("binding-not-owned", append(at, "database_name"), fmt.Sprintf("D1 binding %s names database %q, shop %s owns %q", db.Binding, db.DatabaseName, shop.Slug, shop.D1),
				shop.D1, "bind the shop's own database, or declare the exception in fleet.yml")
		case shop.D1ID != "" && db.DatabaseID != shop.D1ID:
			add("binding-not-owned", append(at, "database_id"), fmt.Sprintf("D1 binding %s has id %s, fleet.yml pins shop %s to %s", db.Binding, db.DatabaseID, shop.Slug, shop.D1ID),
				shop.D1ID, "bind the shop's own database, or correct the exception in fleet.yml")
		}
	}
	return out
}

// admitBinding checks one binding whose owner shows in the config itself. D1
// is checked with its config entry, which says more than the binding; KV shows
// only an id, whose owner the account must tell (admitLive).
func (want *Desired) admitBinding(b wrangler.Binding) []Finding {
	refuse := func(message, expected, hint string) []Finding {
		f := Finding{Rule: "binding-not-owned", Level: LevelError, Message: message, Expected: expected, Hint: hint}
		want.locate(&f, b.Path()...)
		return []Finding{f}
	}
	shop := want.Shop
	switch {
	case strings.HasPrefix(b.Key, "unsafe"):
		// An unsafe binding may be of any type, with any id, and appears in none of the lists that are checked.
		return refuse(fmt.Sprintf("unsafe binding %s of type %s cannot be proved to be shop %s's own", b.Name, b.Type, shop.Slug), "", "declare it under its own key")
	case slices.Contains(dataFree, b.Type):
	case b.Type == "d1", b.Type == "kv_namespace" && b.Field("namespace_id") != "":
	case b.Type == "kv_namespace":
		return refuse(fmt.Sprintf("KV binding %s has no id", b.Name), "the id of "+shop.KV, "run wrangler kv namespace list and write the id into the overlay")
	case b.Type == "r2_bucket":
		if name := b.Field("bucket_name"); name != shop.R2 {
			return refuse(fmt.Sprintf("R2 binding %s names bucket %q, shop %s owns %q", b.Name, name, shop.Slug, shop.R2), shop.R2,
				"bind the shop's own bucket, or declare the exception in fleet.yml")
		}
	case (b.Type == "durable_object_namespace" || b.Type == "workflow") && (b.Field("script_name") == "" || b.Field("script_name") == shop.Worker):
	case b.Type == "service" && b.Field("service") == shop.Worker:
	case b.Type == "inherit":
		// Inherited bindings are required secrets; a secret is the Worker's own.
	default:
		return refuse(fmt.Sprintf("binding %s of type %s reaches something that shopfleet cannot prove to be shop %s's own", b.Name, b.Type, shop.Slug),
			"D1, R2, KV, or a Durable Object class of this Worker", "remove the binding")
	}
	return nil
}

// admitHostnames checks what the Worker would answer to: its own hostname must
// be among them, and nothing else may be.
func (want *Desired) admitHostnames() []Finding {
	c, shop := want.Config, want.Shop
	var out []Finding
	own := append([]string{shop.Hostname}, shop.Hostnames...)
	reached := false
	for i, r := range c.Routes {
		host := routeHost(r)
		if host == shop.Hostname {
			reached = true
		}
		f := Finding{Level: LevelError}
		switch {
		case !slices.Contains(own, host):
			f.Rule, f.Message = "hostname-not-owned", fmt.Sprintf("route %q is on hostname %q, shop %s owns %q", r.Pattern, host, shop.Slug, shop.Hostname)
			f.Expected, f.Hint = shop.Hostname, "use the shop's own hostname, or declare the exception in fleet.yml"
		case want.zoneOf(r) == "":
			f.Rule, f.Message = "hostname-outside-zone", fmt.Sprintf("hostname %q is in no zone of account %s", host, shop.Account.Name)
			f.Expected, f.Hint = "a hostname under "+strings.Join(shop.Account.Zones(), " or "), "correct the hostname, or the account's zones in fleet.yml"
		case r.ZoneName != "" && r.ZoneName != want.zoneOf(r):
			f.Rule, f.Message = "hostname-outside-zone", fmt.Sprintf("route %q names zone %q, its hostname is in %s", r.Pattern, r.ZoneName, want.zoneOf(r))
			f.Expected, f.Hint = want.zoneOf(r), "remove zone_name, or correct it"
		default:
			continue
		}
		want.locate(&f, "env", c.Env, "routes", i)
		out = append(out, f)
	}
	if !reached {
		f := Finding{
			Rule: "hostname-missing", Level: LevelError,
			Message:  fmt.Sprintf("no route serves %s, the hostname of shop %s", shop.Hostname, shop.Slug),
			Expected: fmt.Sprintf(`{"pattern": %q, "custom_domain": true}`, shop.Hostname),
			Hint:     fmt.Sprintf("add it to env.%s.routes", c.Env),
		}
		want.locate(&f, "env", c.Env, "routes")
		out = append(out, f)
	}
	return out
}

func underZone(host, zone string) bool {
	return zone != "" && (host == zone || strings.HasSuffix(host, "."+zone))
}

// routeHost is the hostname of a route's pattern: what stands before the first
// slash, without a scheme.
func routeHost(r wrangler.Route) string {
	p := r.Pattern
	if _, rest, ok := strings.Cut(p, "://"); ok {
		p = rest
	}
	host, _, _ := strings.Cut(p, "/")
	return strings.ToLower(host)
}

// admitLive checks the config against what the account really has: every id
// resolves to the resource with the owned name, and no hostname is held by
// another Worker.
func admitLive(want *Desired, have *State) []Finding {
	var out []Finding
	c, shop := want.Config, want.Shop
	add := func(rule string, path []any, message, expected, hint string) {
		f := Finding{Rule: rule, Level: LevelError, Message: message, Expected: expected, Hint: hint}
		want.locate(&f, path...)
		out = append(out, f)
	}
	for i, db := range c.D1 {
		at := []any{"env", c.Env, "d1_databases", i, "database_id"}
		name, ok := have.Databases[db.DatabaseID]
		switch {
		case db.DatabaseID == "":
		case !ok:
			add("d1-unknown", at, fmt.Sprintf("account %s has no D1 database with id %s", shop.Account.Name, db.DatabaseID), "the id of "+shop.D1,
				"run wrangler d1 list and write the id of "+shop.D1+" into the overlay")
		case name != shop.D1:
			add("binding-not-owned", at, fmt.Sprintf("database %s is named %q, shop %s owns %q", db.DatabaseID, name, shop.Slug, shop.D1), shop.D1,
				"write the id of the shop's own database into the overlay")
		}
	}
	for _, b := range c.Bindings {
		switch b.Type {
		case "kv_namespace":
			id := b.Field("namespace_id")
			title, ok := have.Namespaces[id]
			switch {
			case id == "":
			case !ok:
				add("kv-unknown", b.Path(), fmt.Sprintf("account %s has no KV namespace with id %s", shop.Account.Name, id), "the id of "+shop.KV,
					"run wrangler kv namespace list and write the id of "+shop.KV+" into the overlay")
			case title != shop.KV:
				add("binding-not-owned", b.Path(), fmt.Sprintf("KV namespace %s is titled %q, shop %s owns %q", id, title, shop.Slug, shop.KV), shop.KV,
					"write the id of the shop's own namespace into the overlay")
			}
		case "r2_bucket":
			if name := b.Field("bucket_name"); name == shop.R2 && !have.Buckets[name] {
				add("r2-unknown", b.Path(), fmt.Sprintf("account %s has no R2 bucket %q", shop.Account.Name, name), "",
					"run wrangler r2 bucket create "+name)
			}
		}
	}
	out = append(out, admitLiveHostnames(want, have)...)
	if missing := missingSecrets(want, have); len(missing) > 0 {
		f := Finding{
			Rule: "secret-missing", Level: LevelError,
			Message:  fmt.Sprintf("%s has no secret %s", c.Name, strings.Join(missing, ", ")),
			Expected: "every secret that fleet.yml or wrangler.jsonc requires",
			Hint:     "pass them with --secrets-file, or run wrangler secret put --env " + c.Env + " " + missing[0],
		}
		out = append(out, f)
	}
	return out
}

func admitLiveHostnames(want *Desired, have *State) []Finding {
	var out []Finding
	c, shop := want.Config, want.Shop
	add := func(rule string, i int, message, expected, hint string) {
		f := Finding{Rule: rule, Level: LevelError, Message: message, Expected: expected, Hint: hint}
		want.locate(&f, "env", c.Env, "routes", i)
		out = append(out, f)
	}
	for i, r := range c.Routes {
		host := routeHost(r)
		zone := want.zoneOf(r)
		if id, ok := have.Zones[zone]; !ok {
			add("zone-unknown", i, fmt.Sprintf("account %s has no zone %s", shop.Account.Name, zone), "a zone of the account", "add the zone to the account, or correct the zone in fleet.yml")
			continue
		} else if r.ZoneID != "" && r.ZoneID != id {
			add("hostname-outside-zone", i, fmt.Sprintf("route %q names zone id %s, zone %s has %s", r.Pattern, r.ZoneID, zone, id), id, "remove zone_id, or correct it")
		}
		if r.CustomDomain {
			for _, d := range have.Domains {
				if d.Hostname == host && d.Worker != c.Name {
					add("hostname-taken", i, fmt.Sprintf("hostname %s is held by Worker %s", host, d.Worker), "a hostname that no other Worker holds",
						"detach it from "+d.Worker+" first if it is this shop's; shopfleet never takes a hostname")
				}
			}
			for _, rec := range have.DNS {
				if rec.Hostname == host {
					add("hostname-taken", i, fmt.Sprintf("hostname %s already has a DNS record (%s %s)", host, rec.Type, rec.Content), "a hostname without DNS records",
						"delete the record first if nothing needs it; shopfleet never replaces one")
				}
			}
			continue
		}
		for _, other := range have.Routes {
			if other.Pattern == r.Pattern && other.Worker != c.Name {
				add("hostname-taken", i, fmt.Sprintf("route %s runs Worker %s", other.Pattern, other.Worker), "a route that no other Worker has",
					"delete that route first if it is this shop's; shopfleet never takes one")
			}
		}
	}
	return out
}

// missingSecrets names the required secrets that neither the Worker has nor
// this deploy brings.
func missingSecrets(want *Desired, have *State) []string {
	if have.Worker != nil && have.Secrets == nil {
		return nil // the live release proves them, see State.Secrets
	}
	var out []string
	for _, name := range want.RequiredSecrets {
		_, brought := want.Secrets[name]
		if !brought && !slices.Contains(have.Secrets, name) {
			out = append(out, name)
		}
	}
	return out
}

// newSecrets reports whether this deploy brings a secret that the Worker does
// not have; values are never compared, Cloudflare does not show them.
func newSecrets(want *Desired, have *State) bool {
	for name := range want.Secrets {
		if have.Secrets != nil && !slices.Contains(have.Secrets, name) {
			return true
		}
	}
	return false
}
