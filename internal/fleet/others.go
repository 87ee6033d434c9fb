package fleet

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// This file is about what a shop's Worker may be bound to besides its own database, bucket and namespace.

// bindingTypes are the types of binding that reach something which has a name or an id, in Cloudflare's words on the wire
// (contracts/cloudflare/wire.md §3.3). A tail_consumer is no binding, but gets a Worker's requests and logs all the same.
var bindingTypes = []string{
	"agent_memory", "ai", "ai_search", "ai_search_namespace", "analytics_engine", "artifacts", "browser", "d1", "dispatch_namespace",
	"durable_object_namespace", "flagship", "hyperdrive", "images", "k2", "kv_namespace", "logfwdr", "media", "mtls_certificate",
	"pipelines", "queue", "r2_bucket", "secrets_store_secret", "service", "stream", "tail_consumer", "vectorize",
	"vpc_network", "vpc_service", "worker_loader", "workflow",
}

// BindingTypes lists the types of binding that shared: and others: may name.
func BindingTypes() []string { return slices.Clone(bindingTypes) }

var resourceName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}$`)

// overlayKeys are the keys that a shop's branch may set unless the policy says otherwise: names and ids of what is the
// shop's, and what only it feels.
var overlayKeys = []string{
	"account_id", "d1_databases", "kv_namespaces", "limits", "name", "observability", "placement", "r2_buckets", "route",
	"routes", "secrets", "triggers", "vars",
}

// mainsKeys change code, how it is built or what it is built from. They are main's.
var mainsKeys = []string{
	"$schema", "alias", "assets", "base_dir", "build", "cloudchamber", "compatibility_date", "compatibility_flags", "containers",
	"data_blobs", "define", "env", "exports", "find_additional_modules", "first_party_worker", "jsx_factory", "jsx_fragment",
	"keep_names", "main", "migrations", "minify", "no_bundle", "preserve_file_names", "previews", "python_modules", "rules",
	"site", "text_blobs", "tsconfig", "unsafe", "upload_source_maps", "wasm_modules", "worker_loaders",
}

// IsMains says whether a key of wrangler.jsonc is main's whatever overlay_keys lists.
func IsMains(key string) bool { return slices.Contains(mainsKeys, key) }

var overlayKey = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

func (c *checker) overlayKeys() {
	at, ok := c.entry("overlay_keys")
	if ok && len(c.policy.OverlayKeys) == 0 {
		c.report(at.key, problem{ruleEmpty, "overlay_keys: lists nothing", "at least one key",
			"leave it out for the default: " + strings.Join(overlayKeys, ", ")})
	}
	c.items([]string{"overlay_keys"}, c.policy.OverlayKeys, func(at mark, key string) {
		switch {
		case IsMains(key):
			c.report(at, problem{ruleOverlayKey, quote(key) + " changes code, or what it is built from or with: that is the same for all shops",
				"a key whose value is one shop's", "the default is " + strings.Join(overlayKeys, ", ")})
		case !overlayKey.MatchString(key):
			c.report(at, problem{ruleOverlayKey, quote(key) + " is no key of wrangler.jsonc", "one key, without dots", ""})
		}
	})
}

// others is what a shop may be bound to by the rules and by its exceptions.
func (p *Policy) others(slug string, e Exception) map[string][]string {
	if len(p.Naming.Others)+len(e.Others) == 0 {
		return nil
	}
	all := map[string][]string{}
	for typ, rules := range p.Naming.Others {
		for _, rule := range rules {
			all[typ] = append(all[typ], expand(rule, slug, ""))
		}
	}
	for typ, names := range e.Others {
		all[typ] = append(all[typ], names...)
	}
	return all
}

// patterns are the naming rules that make names of one type of binding. Workers are reached by three types.
func (n Naming) patterns(typ string) []string {
	var all []string
	switch typ {
	case "d1":
		all = append(all, n.D1)
	case "kv_namespace":
		all = append(all, n.KV)
	case "r2_bucket":
		all = append(all, n.R2)
	case "service", "durable_object_namespace", "tail_consumer":
		all = append(all, n.Worker)
	}
	for _, as := range sameThings(typ) {
		all = append(all, n.Others[as]...)
	}
	return all
}

// first is the shop's name of one type that does not come from others.
func (s Shop) first(typ string) string {
	switch typ {
	case "d1":
		return s.D1
	case "kv_namespace":
		return s.KV
	case "r2_bucket":
		return s.R2
	case "service", "durable_object_namespace", "tail_consumer":
		return s.Worker
	}
	return ""
}

// others checks naming.others and the others of shops: known types, good names, and that no two shops can meet.
func (c *checker) others() {
	p := c.policy
	for _, typ := range slices.Sorted(maps.Keys(p.Naming.Others)) {
		path := []string{"naming", "others", typ}
		if !c.bindingType(path, typ) {
			continue
		}
		c.items(path, p.Naming.Others[typ], func(at mark, rule string) {
			if !c.pattern(at, rule, false) {
				return
			}
			if name := expand(rule, "shop", ""); !resourceName.MatchString(name) {
				c.report(at, problem{ruleBadName, quote(name) + " is no name, for a shop called shop", "letters, digits, _ - . and /", ""})
			}
			for _, other := range p.Naming.patterns(typ) {
				if other != rule && overlap(rule, other) {
					c.report(at, problem{ruleOthersWide,
						fmt.Sprintf("%s and %s can give two shops one name", quote(rule), quote(other)),
						"rules whose names never meet", "let them begin, or end, with different words"})
				}
			}
		})
	}
	type owner struct {
		slug string
		at   mark
	}
	seen := map[[2]string]owner{}
	for _, slug := range c.listed() {
		e := p.Shops[slug]
		for _, typ := range slices.Sorted(maps.Keys(e.Others)) {
			path := []string{"shops", slug, "others", typ}
			if !c.bindingType(path, typ) {
				continue
			}
			c.items(path, e.Others[typ], func(at mark, name string) {
				if !resourceName.MatchString(name) {
					c.report(at, problem{ruleBadName, quote(name) + " is no name or id", "letters, digits, _ - . and /", ""})
					return
				}
				thing := [2]string{sameThings(typ)[0], name}
				if other, ok := seen[thing]; ok && other.slug != slug {
					c.report(at, problem{ruleTakenName, fmt.Sprintf("the %s %s is also that of shop %s", typ, quote(name), other.slug),
						"a thing that no other shop has", ""})
				}
				seen[thing] = owner{slug, at}
				c.ruledName(at, typ, name, slug, p.Naming.patterns(typ))
			})
		}
	}
	// A name by exception of the first kinds must not be what naming.others gives to another shop, nor the other way round.
	for _, slug := range c.listed() {
		s := p.shop(slug)
		for _, typ := range []string{"d1", "kv_namespace", "r2_bucket", "service"} {
			key := map[string]string{"d1": "d1", "kv_namespace": "kv", "r2_bucket": "r2", "service": "worker"}[typ]
			if at, ok := c.entry(exception(slug, key)...); ok {
				c.ruledName(at.value, typ, s.first(typ), slug, p.Naming.patterns(typ)[1:])
			}
			if other, ok := seen[[2]string{typ, s.first(typ)}]; ok && other.slug != slug {
				c.report(other.at, problem{ruleTakenName, fmt.Sprintf("the %s %s is that of shop %s", typ, quote(s.first(typ)), slug),
					"a thing that no other shop has", ""})
			}
		}
	}
}

// sameThings are the types of binding that reach the same kind of thing.
func sameThings(typ string) []string {
	if workers := []string{"service", "durable_object_namespace", "tail_consumer"}; slices.Contains(workers, typ) {
		return workers
	}
	return []string{typ}
}

// ruledName reports a name by exception that a rule gives to another shop, be it listed or not.
func (c *checker) ruledName(at mark, typ, name, slug string, rules []string) {
	for _, rule := range rules {
		other, ok := reduce(rule, name, "")
		if ok && other != slug && len(slugProblems(other)) == 0 {
			c.report(at, problem{ruleTakenName, fmt.Sprintf("the %s %s is what %s gives to shop %s", typ, quote(name), quote(rule), other),
				"a thing that no other shop can get", ""})
		}
	}
}

func (c *checker) bindingType(path []string, typ string) bool {
	at, ok := c.entry(path...)
	if !ok {
		return false
	}
	if slices.Contains(bindingTypes, typ) {
		return true
	}
	hint := ""
	if near := nearest(typ, bindingTypes); near != "" {
		hint = "did you mean " + near + "?"
	}
	c.report(at.key, problem{ruleBindingType, quote(typ) + " is no type of binding that reaches something", "one of " + strings.Join(bindingTypes, ", "), hint})
	return false
}

// overlap says whether two rules can give one name to two slugs: the fixed beginnings agree as far as both go, and so do
// the fixed ends.
func overlap(a, b string) bool {
	aBefore, aAfter, _ := strings.Cut(a, slugMark)
	bBefore, bAfter, _ := strings.Cut(b, slugMark)
	return (strings.HasPrefix(aBefore, bBefore) || strings.HasPrefix(bBefore, aBefore)) &&
		(strings.HasSuffix(aAfter, bAfter) || strings.HasSuffix(bAfter, aAfter))
}

// shared checks what shops have in common: a known type, a reason, and nothing that is one shop's by the rules.
func (c *checker) shared() {
	p := c.policy
	for _, s := range p.Shared {
		path := []string{"shared", s.Name}
		at, ok := c.entry(path...)
		if !ok {
			continue
		}
		if !resourceName.MatchString(s.Name) {
			c.report(at.key, problem{ruleBadName, quote(s.Name) + " is no name or id", "letters, digits, _ - . and /", ""})
		}
		if kind, ok := c.entry(under(path, "type")...); ok && !slices.Contains(bindingTypes, s.Type) {
			hint := ""
			if near := nearest(s.Type, bindingTypes); near != "" {
				hint = "did you mean " + near + "?"
			}
			c.report(kind.value, problem{ruleBindingType, quote(s.Type) + " is no type of binding that reaches something",
				"one of " + strings.Join(bindingTypes, ", "), hint})
			continue
		}
		if why, ok := c.entry(under(path, "reason")...); ok && len(strings.Fields(s.Reason)) < 3 {
			c.report(why.value, problem{ruleReason, quote(s.Reason) + " does not say why no shop's data is behind it", "a sentence", ""})
		}
		for _, typ := range sameThings(s.Type) {
			for _, rule := range p.Naming.patterns(typ) {
				if slug, ok := reduce(rule, s.Name, ""); ok && len(slugProblems(slug)) == 0 {
					c.report(at.key, problem{ruleSharedOwned, fmt.Sprintf("%s is what %s gives to shop %s", quote(s.Name), quote(rule), slug),
						"something that no shop can own", ""})
				}
			}
		}
		for slug := range p.Shops {
			if slices.ContainsFunc(sameThings(s.Type), func(typ string) bool { return p.shop(slug).Owns(typ, s.Name) }) {
				c.report(at.key, problem{ruleSharedOwned, quote(s.Name) + " is shop " + slug + "'s", "something that no shop owns", ""})
			}
		}
	}
}

// IsShared says whether a thing is on the list of what shops have in common.
func (p *Policy) IsShared(typ, name string) bool {
	return slices.ContainsFunc(p.Shared, func(s Shared) bool { return s.Type == typ && s.Name == name })
}
