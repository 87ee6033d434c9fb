package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// Cloudflare does not check who owns a resource that a Worker is bound to
// (field.md §0.1). Admission is the wall: every binding that can reach data is
// either proven to be this shop's own, or refused.

// admission collects what is refused.
type admission struct {
	want  *Desired
	found Findings
}

// report adds a finding. Whatever admission refuses, it refuses here: scripts/admission-mutants.sh counts on it.
func (a *admission) report(rule string, f Finding) {
	f.Rule = rule
	if f.Level == "" {
		f.Level = LevelError
	}
	a.found = append(a.found, f)
}

// refuse reports a finding at a place in wrangler.jsonc.
func (a *admission) refuse(rule string, path []any, message, expected, hint string) {
	a.report(rule, a.at(path, Finding{Message: message, Expected: expected, Hint: hint}))
}

// at gives a finding its place in wrangler.jsonc.
func (a *admission) at(path []any, f Finding) Finding {
	a.want.locate(&f, path...)
	return f
}

// admitOffline checks a resolved config against what the shop may own and what
// its branch may change, before anything is asked of Cloudflare.
func admitOffline(want *Desired, src Source) Findings {
	a := &admission{want: want}
	c, shop := want.Config, want.Shop
	env := []any{"env", c.Env}
	if c.Env != shop.Slug {
		a.refuse("env-not-the-shop", env, fmt.Sprintf("environment %q was resolved for shop %q", c.Env, shop.Slug), shop.Slug, "")
	}
	if c.Name != shop.Worker {
		a.refuse("worker-not-owned", append(env, "name"), fmt.Sprintf("the Worker is named %q, shop %s owns %q", c.Name, shop.Slug, shop.Worker),
			shop.Worker, fmt.Sprintf("set env.%s.name to %q", c.Env, shop.Worker))
	}
	if c.AccountID != "" && c.AccountID != shop.Account.ID {
		a.refuse("account-not-the-shops", append(env, "account_id"), fmt.Sprintf("account_id is %s, fleet.yml puts shop %s into account %s (%s)", c.AccountID, shop.Slug, shop.Account.Name, shop.Account.ID),
			shop.Account.ID, "remove account_id, or give the shop that account in fleet.yml")
	}
	if c.Main == "" && c.Assets == nil {
		a.refuse("nothing-to-deploy", env, "the config has neither main nor assets", "a main module", "set main in wrangler.jsonc")
	}
	a.bindings()
	a.beside()
	a.hostnames()
	a.overlay(src)
	return a.found
}

// verdict is what admission says of a thing that is reached, without words.
type verdict int

const (
	admitted   verdict = iota
	foreign            // neither the shop's nor shared
	incomplete         // nothing says which one it is
	pinned             // fleet.yml holds the shop to another id
	absent             // the account has no such thing
	misnamed           // the account calls what has the id otherwise than the config
)

// reached is a Reach with what is known of it.
type reached struct {
	Reach
	Declared string // what the config calls a database; Cloudflare is never told
	Asked    bool   // the account was asked: Exists and Actual say what it has
	Exists   bool
	Actual   string // the name behind an id
}

// judge is the wall: whether a shop's Worker may reach something. It is pure and cheap, for it is asked of every binding
// of every shop.
func judge(shop *fleet.Shop, policy *fleet.Policy, r reached) verdict {
	may := func(name string) bool { return shop.Owns(r.Type, name) || policy.IsShared(r.Type, name) }
	switch {
	case r.Free:
		return admitted
	case r.Resource == "":
		return incomplete
	case r.Type == "d1":
		switch {
		case !may(r.Declared):
			return foreign
		case r.Declared == shop.D1 && shop.D1ID != "" && r.Resource != shop.D1ID:
			return pinned
		case !plainID(r.Resource):
			return absent
		case !r.Asked:
			return admitted
		case !r.Exists:
			return absent
		case r.Actual != r.Declared:
			return misnamed
		}
		return admitted
	case r.Type == "kv_namespace":
		// Only the account knows what an id is called.
		switch {
		case !plainID(r.Resource):
			return absent
		case !r.Asked:
			return admitted
		case !r.Exists:
			return absent
		case !may(r.Actual):
			return misnamed
		}
		return admitted
	case !may(r.Resource):
		return foreign
	case r.Type == "r2_bucket" && r.Asked && !r.Exists:
		return absent
	}
	return admitted
}

// plainID says whether an account can have a database or namespace with this id. What cannot be one needs no asking.
func plainID(id string) bool {
	return !strings.ContainsFunc(id, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_'
	})
}

// reaches pairs what a binding reaches with what the config and the account, if it was asked, say of it.
func (want *Desired) reached(b wrangler.Binding, have *State) []reached {
	var out []reached
	for _, r := range ReachOf(b) {
		x := reached{Reach: r}
		if r.Type == "d1" {
			for _, db := range want.Config.D1 {
				if db.Binding == b.Name {
					x.Declared = db.DatabaseName
				}
			}
		}
		x.ask(have)
		out = append(out, x)
	}
	return out
}

// ask looks up what the account says; nil is no account.
func (x *reached) ask(have *State) {
	if have == nil {
		return
	}
	x.Asked = true
	switch x.Type {
	case "d1":
		x.Actual, x.Exists = have.Databases[x.Resource]
	case "kv_namespace":
		x.Actual, x.Exists = have.Namespaces[x.Resource]
	case "r2_bucket":
		x.Exists = have.Buckets[bucketKey(x.Resource, x.Jurisdiction)]
	}
}

// bucketKey tells buckets of one name in different jurisdictions apart.
func bucketKey(name, jurisdiction string) string {
	if jurisdiction == "" {
		return name
	}
	return name + " in " + jurisdiction
}

// bindings checks each binding whose owner shows in the config itself.
func (a *admission) bindings() {
	for _, b := range a.want.Config.Bindings {
		for _, r := range a.want.reached(b, nil) {
			a.binding(b, r)
		}
		if (b.Type == "plain_text" || b.Type == "json") && slices.Contains(a.want.RequiredSecrets, b.Name) {
			a.refuse("var-hides-secret", b.Path(), fmt.Sprintf("the variable %s has the name of a required secret and would replace it, for everybody to read", b.Name),
				"a name that no secret has", "delete the variable; set the secret with wrangler secret put "+b.Name)
		}
	}
}

// binding words the verdict on one thing that a binding reaches.
func (a *admission) binding(b wrangler.Binding, r reached) {
	shop, policy := a.want.Shop, a.want.policy
	v := judge(&shop, policy, r)
	if v == admitted {
		return
	}
	own := "one that shop " + shop.Slug + " owns or fleet.yml shares"
	switch {
	case r.Type == "d1" && v == incomplete:
		a.refuse("d1-without-id", b.Path(), fmt.Sprintf("D1 binding %s has no database_id", b.Name), "the id of "+shop.D1,
			"run wrangler d1 info "+shop.D1+" and write its id into the overlay")
	case r.Type == "d1" && v == foreign:
		a.refuse("binding-not-owned", append(slices.Clip(b.Path()), "database_name"), fmt.Sprintf("D1 binding %s names database %q, shop %s owns %q", b.Name, r.Declared, shop.Slug, shop.D1),
			shop.D1, "bind the shop's own database, or declare the exception in fleet.yml")
	case r.Type == "d1" && v == pinned:
		a.refuse("binding-not-owned", append(slices.Clip(b.Path()), "database_id"), fmt.Sprintf("D1 binding %s has id %s, fleet.yml pins shop %s to %s", b.Name, r.Resource, shop.Slug, shop.D1ID),
			shop.D1ID, "bind the shop's own database, or correct the exception in fleet.yml")
	case r.Type == "d1" && v == absent:
		a.refuse("d1-unknown", append(slices.Clip(b.Path()), "database_id"), fmt.Sprintf("account %s has no D1 database with id %q", shop.Account.Name, r.Resource), "the id of "+r.Declared,
			"run wrangler d1 list and write the id of "+r.Declared+" into the overlay")
	case r.Type == "d1" && v == misnamed:
		a.refuse("binding-not-owned", append(slices.Clip(b.Path()), "database_id"), fmt.Sprintf("database %s is named %q, not %q: shop %s does not own it", r.Resource, r.Actual, r.Declared, shop.Slug), r.Declared,
			"write the id of the shop's own database into the overlay")
	case r.Type == "kv_namespace" && v == incomplete:
		a.refuse("binding-incomplete", b.Path(), fmt.Sprintf("KV binding %s has no id", b.Name), "the id of "+shop.KV, "run wrangler kv namespace list and write the id into the overlay")
	case r.Type == "kv_namespace" && v == absent:
		a.refuse("kv-unknown", b.Path(), fmt.Sprintf("account %s has no KV namespace with id %q", shop.Account.Name, r.Resource), "the id of "+shop.KV,
			"run wrangler kv namespace list and write the id of "+shop.KV+" into the overlay")
	case r.Type == "kv_namespace" && v == misnamed:
		a.refuse("binding-not-owned", b.Path(), fmt.Sprintf("KV namespace %s is titled %q, shop %s owns %q", r.Resource, r.Actual, shop.Slug, shop.KV), shop.KV,
			"write the id of the shop's own namespace into the overlay")
	case r.Type == "r2_bucket" && v == foreign:
		a.refuse("binding-not-owned", b.Path(), fmt.Sprintf("R2 binding %s names bucket %q, shop %s owns %q", b.Name, r.Resource, shop.Slug, shop.R2), shop.R2,
			"bind the shop's own bucket, or declare the exception in fleet.yml")
	case r.Type == "r2_bucket" && v == absent:
		a.refuse("r2-unknown", b.Path(), fmt.Sprintf("account %s has no R2 bucket %q", shop.Account.Name, bucketKey(r.Resource, r.Jurisdiction)), "",
			"run wrangler r2 bucket create "+r.Resource)
	case strings.HasPrefix(r.Type, "unsafe "):
		a.refuse("binding-not-owned", b.Path(), fmt.Sprintf("unsafe binding %s of type %q cannot be proved to be shop %s's own", b.Name, b.Type, shop.Slug), "no unsafe bindings", "declare it under its own key")
	case !slices.Contains(fleet.BindingTypes(), r.Type):
		a.refuse("binding-not-owned", b.Path(), fmt.Sprintf("binding %s is of type %s, of which shopfleet cannot tell what it reaches", b.Name, r.Type), "a type that can be judged", "remove the binding")
	case v == incomplete:
		a.refuse("binding-incomplete", b.Path(), fmt.Sprintf("binding %s of type %s does not say what it is bound to: it would be whatever the account has", b.Name, b.Type), own, "name it")
	default:
		a.refuse("binding-not-owned", b.Path(), fmt.Sprintf("binding %s reaches the %s %q, which shop %s does not own", b.Name, r.Type, r.Resource, shop.Slug), own,
			"remove the binding, or declare the thing in fleet.yml under naming.others, shops."+shop.Slug+".others or shared")
	}
}

// beside checks what reaches other Workers and is no binding.
func (a *admission) beside() {
	c := a.want.Config
	for _, t := range []struct {
		key string
		raw json.RawMessage
	}{{"tail_consumers", c.TailConsumers}, {"streaming_tail_consumers", c.StreamingTailConsumers}} {
		for i, r := range ReachOfConsumers(t.raw) {
			if !a.may(r) {
				a.refuse("binding-not-owned", []any{t.key, i}, fmt.Sprintf("%s sends the shop's requests to %q, which shop %s does not own", t.key, r.Resource, a.want.Shop.Slug),
					"a Worker that fleet.yml shares", "remove it, or declare it under shared")
			}
		}
	}
	for i, m := range c.DOMigrations {
		var step members
		var moves []members
		if json.Unmarshal(m.Step, &step) != nil || step["transferred_classes"] != nil && json.Unmarshal(step["transferred_classes"], &moves) != nil {
			continue // the config's own check says what is wrong with it
		}
		for _, move := range moves {
			if script := move.text("from_script"); !a.may(Reach{Type: "durable_object_namespace", Resource: script}) {
				a.refuse("binding-not-owned", []any{"migrations", i}, fmt.Sprintf("migration %s takes Durable Objects, and what they keep, from Worker %q", m.Tag, script), "classes of this Worker", "move objects between Workers by hand")
			}
		}
	}
	var exports map[string]members
	if len(c.Exports) > 0 && json.Unmarshal(c.Exports, &exports) == nil {
		for _, name := range slices.Sorted(maps.Keys(exports)) {
			for _, script := range []string{exports[name].text("transfer_from"), exports[name].text("transferred_to")} {
				if script != "" && !a.may(Reach{Type: "durable_object_namespace", Resource: script}) {
					a.refuse("binding-not-owned", []any{"exports", name}, fmt.Sprintf("Durable Objects of class %s, and what they keep, move between this Worker and %q", name, script), "classes of this Worker", "move objects between Workers by hand")
				}
			}
		}
	}
	if len(c.UnsafeMetadata) > 0 {
		a.refuse("unsafe-metadata", []any{"unsafe"}, "unsafe.metadata is merged over what is uploaded, bindings included", "no unsafe.metadata", "use the keys that wrangler.jsonc has")
	}
}

func (a *admission) may(r Reach) bool {
	return judge(&a.want.Shop, a.want.policy, reached{Reach: r}) == admitted
}

// admitLive checks the config against what the account really has: every id
// resolves to the resource with the owned name, no hostname is held or shadowed
// by another Worker, and the Worker is not bound to another shop's things now.
func admitLive(want *Desired, have *State) Findings {
	a := &admission{want: want}
	c := want.Config
	for _, b := range c.Bindings {
		for _, r := range want.reached(b, have) {
			offline := r
			offline.Asked = false
			if judge(&want.Shop, want.policy, offline) == admitted { // else it is refused already
				a.binding(b, r)
			}
		}
	}
	a.liveBindings(have)
	a.liveHostnames(have)
	a.contested(have)
	if missing := missingSecrets(want, have); len(missing) > 0 {
		a.report("secret-missing", Finding{
			Message:  fmt.Sprintf("%s has no secret %s", c.Name, strings.Join(missing, ", ")),
			Expected: "every secret that fleet.yml or wrangler.jsonc requires",
			Hint:     "pass them with --secrets-file, or put them into the shop's bundle: shopfleet secrets set " + want.Shop.Slug + " " + missing[0],
		})
	}
	return a.found
}

// liveBindings checks what the live version is bound to where it was made outside: its bindings then went through no
// admission. They are read only there.
func (a *admission) liveBindings(have *State) {
	if have.Live.Mark != "" || len(have.Live.Bindings) == 0 {
		return
	}
	var list []json.RawMessage
	if json.Unmarshal(have.Live.Bindings, &list) != nil {
		return
	}
	level, hint := LevelError, "look at who released it and what it read, then replace it with --overwrite-outside"
	if a.want.OverwriteOutside {
		level, hint = LevelWarning, "replaced by this deploy, as asked; look at who released it and what it read"
	}
	for _, raw := range list {
		var head struct{ Name, Type string }
		if json.Unmarshal(raw, &head) != nil {
			continue
		}
		all, err := ReachOfLive(raw)
		if err != nil {
			continue
		}
		for _, r := range all {
			x := reached{Reach: r}
			if x.ask(have); r.Type == "r2_bucket" {
				x.Asked = false // the name says whose it is
			}
			x.Declared = x.Actual // a version does not say what it calls a database
			what := fmt.Sprintf("%s %q", r.Type, r.Resource)
			if x.Actual != "" {
				what = fmt.Sprintf("%s %q (%s)", r.Type, x.Actual, r.Resource)
			}
			if judge(&a.want.Shop, a.want.policy, x) != admitted {
				a.report("live-binding-not-owned", Finding{Level: level, Hint: hint,
					Message:  fmt.Sprintf("the live version %s of %s is bound, as %s, to the %s, which is not provably shop %s's", have.Live.Version, a.want.Config.Name, head.Name, what, a.want.Shop.Slug),
					Expected: "a live version that reaches only what the shop owns"})
			}
		}
	}
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
