package wrangler

import (
	"slices"
	"sort"
)

// emission says how the entries of one configuration key become bindings of one type.
type emission struct {
	key, typ string
	name     string   // the member of an entry that names the binding; "binding" when empty
	id       string   // the member, of those below, without which the binding is not Complete
	members  []string // "wire=config", or "both" when the names are the same, in wire order
	// build replaces members where the rule is another.
	build func(entry *value) []bindingMember
}

// emissions are in the order in which wrangler emits types (wire.md §3.2); plain_text, json and the types
// whose entries are not lists are in Config.bindings.
var emissions = []emission{
	{key: "kv_namespaces", typ: "kv_namespace", id: "namespace_id", members: []string{"namespace_id=id", "raw"}},
	{key: "send_email", typ: "send_email", name: "name", build: func(e *value) []bindingMember {
		m := pick(e, "allowed_sender_addresses")
		if e.get("destination_address") != nil {
			return append(m, pick(e, "destination_address")...)
		}
		return append(m, pick(e, "allowed_destination_addresses")...)
	}},
	{key: "durable_objects.bindings", typ: "durable_object_namespace", name: "name", build: func(e *value) []bindingMember {
		return append(pick(e, "class_name"), pickTruthy(e, "script_name", "environment")...)
	}},
	{key: "workflows", typ: "workflow", members: []string{"workflow_name=name", "class_name", "script_name", "raw"}},
	{key: "queues.producers", typ: "queue", id: "queue_name", members: []string{"queue_name=queue", "delivery_delay", "raw"}},
	{key: "r2_buckets", typ: "r2_bucket", id: "bucket_name", members: []string{"bucket_name", "jurisdiction", "raw"}},
	{key: "d1_databases", typ: "d1", id: "id", members: []string{"id=database_id", "internalEnv=database_internal_env", "raw"}},
	{key: "vectorize", typ: "vectorize", members: []string{"index_name", "raw"}},
	{key: "ai_search_namespaces", typ: "ai_search_namespace", id: "namespace", members: []string{"namespace"}},
	{key: "ai_search", typ: "ai_search", members: []string{"instance_name"}},
	{key: "agent_memory", typ: "agent_memory", id: "namespace", members: []string{"namespace"}},
	{key: "hyperdrive", typ: "hyperdrive", members: []string{"id"}},
	{key: "secrets_store_secrets", typ: "secrets_store_secret", members: []string{"store_id", "secret_name"}},
	{key: "artifacts", typ: "artifacts", members: []string{"namespace"}},
	{key: "unsafe_hello_world", typ: "unsafe_hello_world", members: []string{"enable_timer"}},
	{key: "flagship", typ: "flagship", id: "app_id", members: []string{"app_id"}},
	{key: "ratelimits", typ: "ratelimit", name: "name", members: []string{"namespace_id", "simple"}},
	{key: "vpc_services", typ: "vpc_service", members: []string{"service_id"}},
	{key: "vpc_networks", typ: "vpc_network", members: []string{"tunnel_id", "network_id"}},
	{key: "services", typ: "service", build: func(e *value) []bindingMember {
		return append(pick(e, "service", "cross_account_grant"), pickTruthy(e, "environment", "entrypoint", "props")...)
	}},
	{key: "analytics_engine_datasets", typ: "analytics_engine", members: []string{"dataset"}},
	{key: "dispatch_namespaces", typ: "dispatch_namespace", id: "namespace", build: func(e *value) []bindingMember {
		m := []bindingMember{{"namespace", e.get("namespace").json()}}
		if out := e.get("outbound"); out.truthy() {
			m = append(m, bindingMember{"outbound", outbound(out).json()})
		}
		return m
	}},
	{key: "mtls_certificates", typ: "mtls_certificate", members: []string{"certificate_id"}},
	{key: "pipelines", typ: "pipelines", build: func(e *value) []bindingMember {
		if e.get("stream").truthy() {
			return pick(e, "stream")
		}
		return pick(e, "pipeline")
	}},
	{key: "k2", typ: "k2", members: []string{"stream"}},
	{key: "worker_loaders", typ: "worker_loader"},
	{key: "logfwdr.bindings", typ: "logfwdr", name: "name", members: []string{"destination"}},
	{key: "wasm_modules", typ: "wasm_module"},
	{key: "browser", typ: "browser", members: []string{"raw"}},
	{key: "analytics", typ: "analytics"},
	{key: "ai", typ: "ai", members: []string{"raw"}},
	{key: "images", typ: "images", members: []string{"raw"}},
	{key: "stream", typ: "stream"},
	{key: "media", typ: "media"},
	{key: "version_metadata", typ: "version_metadata"},
	{key: "assets", typ: "assets"},
	{key: "text_blobs", typ: "text_blob"},
	{key: "data_blobs", typ: "data_blob"},
}

// typeFirst are the types whose "type" wrangler prints before the "name".
var typeFirst = []string{"workflow", "queue"}

// bindings builds every binding of the environment, in wrangler's order.
func (l *layers) bindings() []Binding {
	out := l.vars()
	for _, e := range emissions {
		out = append(out, l.emit(e)...)
	}
	return append(out, l.unsafe()...)
}

// vars are the bindings of the variables: strings first, then all other values.
func (l *layers) vars() []Binding {
	vars, path := l.get("vars")
	var texts, values []Binding
	for _, m := range vars.properties() {
		at := append(slices.Clone(path), m.key)
		if m.value.is(kindString) {
			b := newBinding("vars", at, "name", m.key, "type", "plain_text")
			b.members = append(b.members, bindingMember{"text", m.value.json()})
			texts = append(texts, b)
			continue
		}
		b := newBinding("vars", at, "name", m.key, "type", "json")
		b.members = append(b.members, bindingMember{"json", m.value.json()})
		values = append(values, b)
	}
	return append(texts, values...)
}

// entry is one binding of the configuration.
type entry struct {
	name  string
	value *value
	path  []any
}

func (l *layers) emit(e emission) []Binding {
	entries := l.entries(e)
	if e.typ == "unsafe_hello_world" {
		entries = append(l.unsafeEntries(true), entries...)
	}
	sortEntries(entries)
	out := make([]Binding, 0, len(entries))
	for _, en := range entries {
		pairs := []string{"name", en.name, "type", e.typ}
		if slices.Contains(typeFirst, e.typ) {
			pairs = []string{"type", e.typ, "name", en.name}
		}
		b := newBinding(e.key, en.path, pairs...)
		if e.typ == "ai" {
			// The only type with a member between the two.
			b.members = slices.Insert(b.members, 1, pick(en.value, "staging")...)
		}
		switch {
		case e.build != nil:
			b.members = append(b.members, e.build(en.value)...)
		case e.key == "wasm_modules" || e.key == "text_blobs" || e.key == "data_blobs":
			b.members = append(b.members, bindingMember{"part", jsonString(en.name)})
		default:
			b.members = append(b.members, pick(en.value, e.members...)...)
		}
		b.Complete = e.id == "" || b.Raw(e.id) != nil
		out = append(out, b)
	}
	return out
}

// entries are the bindings that the key of e holds: a list, one object, or a map from names to files.
func (l *layers) entries(e emission) []entry {
	name := e.name
	if name == "" {
		name = "binding"
	}
	v, path := l.dotted(e.key)
	var out []entry
	switch {
	case v.is(kindArray):
		for i, el := range v.elems {
			out = append(out, entry{el.get(name).text(), el, append(slices.Clone(path), i)})
		}
	case v.is(kindObject) && slices.Contains([]string{"wasm_modules", "text_blobs", "data_blobs"}, e.key):
		for _, m := range v.members {
			out = append(out, entry{m.key, m.value, append(slices.Clone(path), m.key)})
		}
	case v.is(kindObject) && (e.key != "assets" || v.get(name).truthy()):
		out = append(out, entry{v.get(name).text(), v, path})
	}
	return out
}

// unsafe are the bindings of types that wrangler does not know, with whatever members they were given.
func (l *layers) unsafe() []Binding {
	entries := l.unsafeEntries(false)
	sortEntries(entries)
	var out []Binding
	for _, en := range entries {
		b := newBinding("unsafe.bindings", en.path, "name", en.name, "type", en.value.get("type").text())
		for _, m := range en.value.members {
			if m.key != "name" && m.key != "type" {
				b.members = append(b.members, bindingMember{m.key, m.value.json()})
			}
		}
		sort.SliceStable(b.members, func(i, j int) bool { return compareKeys(b.members[i].name, b.members[j].name) < 0 })
		out = append(out, b)
	}
	return out
}

// unsafeEntries are the unsafe bindings. Those of the type "hello_world" are told from the others: wrangler
// prefixes the type with "unsafe_" and then takes them for unsafe_hello_world.
func (l *layers) unsafeEntries(helloWorld bool) []entry {
	v, path := l.dotted("unsafe.bindings")
	var out []entry
	if v == nil {
		return nil
	}
	for i, el := range v.elems {
		if (el.get("type").text() == "hello_world") == helloWorld {
			out = append(out, entry{el.get("name").text(), el, append(slices.Clone(path), i)})
		}
	}
	return out
}

// sortEntries puts entries in the order in which JavaScript enumerates an object that has them as members.
func sortEntries(entries []entry) {
	sort.SliceStable(entries, func(i, j int) bool { return compareKeys(entries[i].name, entries[j].name) < 0 })
}

// pick makes members of e's: "wire=config" renames. One that e does not have keeps its place.
func pick(e *value, names ...string) []bindingMember {
	var out []bindingMember
	for _, name := range names {
		wire, config := cutName(name)
		out = append(out, bindingMember{wire, e.get(config).json()})
	}
	return out
}

// pickTruthy is pick without what JavaScript holds for false.
func pickTruthy(e *value, names ...string) []bindingMember {
	var out []bindingMember
	for _, name := range names {
		if e.get(name).truthy() {
			out = append(out, pick(e, name)...)
		}
	}
	return out
}

// outbound is a dispatch namespace's outbound Worker as it travels.
func outbound(v *value) *value {
	worker := newObject()
	worker.set("service", v.get("service"))
	worker.set("environment", v.get("environment"))
	out := newObject()
	out.set("worker", worker)
	if params := v.get("parameters"); params.is(kindArray) {
		list := &value{kind: kindArray, offset: params.offset}
		for _, p := range params.elems {
			param := newObject()
			param.set("name", p)
			list.elems = append(list.elems, param)
		}
		out.set("params", list)
	}
	return out
}
