package wrangler

import (
	"cmp"
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"
)

var jsIdentifier = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)

// maxCodeUpdateDelay is the longest that running Durable Objects may keep old code, in seconds.
const maxCodeUpdateDelay = 24 * 60 * 60

func checkDurableObjects(k *checker, n node) {
	if !k.expect(n, kindObject) {
		return
	}
	k.unexpected(n, []string{"bindings", "code_update_strategy"})
	if n.get("bindings").value != nil {
		k.bindingsObject(n, durableObjects)
	} else {
		// Without the list wrangler takes it for an empty one.
		k.warnMissing(n, bindingNames(k.top.get(n.key).get("bindings"), "name"), nil)
	}
	strategy := n.get("code_update_strategy")
	if !k.optional(strategy, kindObject) {
		return
	}
	k.fields(strategy, []field{
		choice("mode", "immediate", "deferred").must(),
		with("max_delay", func(k *checker, n node) {
			if !k.expect(n, kindNumber) {
				return
			}
			ms := n.value.num * 1000
			switch {
			case n.value.num < 0 || n.value.num > maxCodeUpdateDelay:
				k.fail(n, "config-range", "is "+string(n.value.json()), fmt.Sprintf("0 to %d seconds", maxCodeUpdateDelay))
			case n.value.num > 0 && math.Round(ms) == 0 || math.Abs(ms-math.Round(ms)) > 1e-6:
				k.fail(n, "config-range", "is "+string(n.value.json()), "at most three digits after the point: milliseconds")
			}
		}),
	})
}

func checkWorkflows(k *checker, n node) {
	k.bindingList(n, bindingShapes["workflows"])
	seen := map[string]bool{}
	for _, e := range n.elems() {
		name := e.get("name")
		if !name.value.is(kindString) {
			continue
		}
		if seen[name.value.str] {
			k.fail(name, "duplicate-workflow", fmt.Sprintf("is %q, as an earlier one is", shorten(name.value.str, 80)), "a name of its own for each workflow")
		}
		seen[name.value.str] = true
	}
}

func checkMigrations(k *checker, n node) {
	if n.value.is(kindNull) || !k.expect(n, kindArray) {
		return
	}
	for _, e := range n.elems() {
		if !k.expect(e, kindObject) {
			continue
		}
		k.fields(e, []field{
			str("tag").must(),
			stringList("new_classes"), stringList("new_sqlite_classes"), stringList("deleted_classes"),
			with("renamed_classes", moves(str("from").must(), str("to").must())),
			with("transferred_classes", moves(str("from").must(), str("from_script").must(), str("to").must())),
		})
	}
}

// moves checks a list of objects that say where a class comes from and where it goes.
func moves(fields ...field) func(*checker, node) {
	return func(k *checker, n node) {
		if !k.expect(n, kindArray) {
			return
		}
		for _, e := range n.elems() {
			if k.expect(e, kindObject) {
				k.known(e, fields)
			}
		}
	}
}

func checkExports(k *checker, n node) {
	if n.value.is(kindNull) || !k.expect(n, kindObject) {
		return
	}
	workflows := map[string]string{}
	for _, e := range n.members() {
		if !k.expect(e, kindObject) {
			continue
		}
		switch typ := e.get("type"); typ.value.text() {
		case "durable-object":
			checkDurableObjectExport(k, e)
		case "worker":
			k.fields(e, []field{str("type"), object("cache", boolean("enabled").must())})
		case "workflow":
			k.fields(e, append([]field{str("type"), with("name", checkWorkflowName).must()}, workflowSettings...))
			name := e.get("name")
			if other, ok := workflows[name.value.text()]; ok && name.value.is(kindString) {
				k.fail(name, "duplicate-workflow", fmt.Sprintf("is %q, as that of exports.%s is", shorten(name.value.str, 80), other), "a name of its own for each workflow")
			} else {
				workflows[name.value.text()] = e.key
			}
		default:
			if k.expect(typ, kindString) {
				k.oneOf(typ, "durable-object", "worker", "workflow")
			}
		}
	}
}

func checkDurableObjectExport(k *checker, n node) {
	storage := choice("storage", "sqlite", "legacy-kv").must()
	container := field{name: "container", kind: kindString, nonEmpty: true, check: func(k *checker, c node) {
		if n.get("storage").value.text() == "legacy-kv" {
			k.fail(c, "config-conflict", `needs "storage": "sqlite"`, "a Durable Object with a container stores in SQLite")
		}
	}}
	if n.key == "" {
		k.fail(n, "config-empty", "has an empty name", "the name of a class")
	}
	state := n.get("state")
	if state.value != nil && !k.expect(state, kindString) {
		return
	}
	fields := []field{str("type"), anything("state")}
	switch name := state.value.text(); name {
	case "", "created":
		if state.value != nil && name == "" {
			k.oneOf(state, "created", "deleted", "renamed", "transferred", "expecting-transfer")
			return
		}
		fields = append(fields, storage, container)
	case "deleted":
	case "renamed":
		fields = append(fields, field{name: "renamed_to", kind: kindString, required: true, nonEmpty: true, check: func(k *checker, to node) {
			switch {
			case !jsIdentifier.MatchString(to.value.str):
				k.fail(to, "class-name", fmt.Sprintf("is %q, which is no name for a class", shorten(to.value.str, 80)), "a JavaScript identifier")
			case to.value.str == n.key:
				k.fail(to, "class-name", "is the name that the class already has", "another name")
			}
		}})
	case "transferred":
		fields = append(fields, str("transferred_to").must().filled())
	case "expecting-transfer":
		fields = append(fields, storage, container, str("transfer_from").must().filled())
	default:
		k.oneOf(state, "created", "deleted", "renamed", "transferred", "expecting-transfer")
		return
	}
	k.known(n, fields)
	allowed := names(fields)
	for _, m := range n.members() {
		if !slices.Contains(allowed, m.key) {
			k.fail(m, "config-conflict", fmt.Sprintf("does not belong to a class that is %q", cmp.Or(state.value.text(), "created")), "only "+strings.Join(allowed, ", "))
		}
	}
}

func checkCloudchamber(k *checker, n node) {
	if !k.expect(n, kindObject) {
		return
	}
	k.known(n, []field{
		str("memory"), str("image"), str("location"), boolean("ipv4"), num("vcpu"),
		choice("instance_type", "lite", "basic", "standard-1", "standard-2", "standard-3", "standard-4", "dev", "standard"),
	})
	for _, key := range []string{"memory", "vcpu"} {
		if m := n.get(key); m.value != nil && n.get("instance_type").value != nil {
			k.fail(m, "config-conflict", "and instance_type are both set", "one of the two")
		}
	}
}

// checkContainers looks at the names only: Config.Check refuses to deploy containers at all.
func checkContainers(k *checker, n node) {
	if !n.value.truthy() || !k.expect(n, kindArray) {
		return
	}
	for _, e := range n.elems() {
		if k.expect(e, kindObject) {
			k.known(e, []field{str("name"), str("class_name")})
		}
	}
}

func checkQueues(k *checker, n node) {
	if !k.expect(n, kindObject) {
		return
	}
	k.fields(n, []field{
		with("consumers", func(k *checker, n node) {
			if !k.expect(n, kindArray) {
				return
			}
			for _, e := range n.elems() {
				if k.expect(e, kindObject) {
					k.fields(e, []field{
						str("queue").must(), choice("type", "worker"), num("max_batch_size"), num("max_batch_timeout"),
						num("max_retries"), str("dead_letter_queue"), num("max_concurrency"),
						num("visibility_timeout_ms"), num("retry_delay"),
					})
				}
			}
		}),
		with("producers", func(k *checker, n node) { k.bindingList(n, producers) }),
	})
}

func checkConnect(k *checker, n node) {
	if !k.expect(n, kindArray) {
		return
	}
	seen := map[string]bool{}
	for _, e := range n.elems() {
		if !k.expect(e, kindObject) {
			continue
		}
		fields := []field{choice("protocol", "tcp", "udp").must(), integer("port", 1, 65535).must(), str("address")}
		if e.get("protocol").value.text() == "udp" {
			fields = append(fields, integer("idle_timeout_ms", 0, math.MaxUint32), integer("max_pending_bytes", 0, math.MaxUint32))
		}
		k.fields(e, fields)
		if protocol, port := e.get("protocol").value, e.get("port").value; protocol.is(kindString) && port.is(kindNumber) {
			key := protocol.str + ":" + string(port.json())
			if seen[key] {
				k.fail(e, "config-conflict", "has the protocol and port of an earlier entry", "another port")
			}
			seen[key] = true
		}
	}
}

func integer(name string, low, high float64) field {
	return field{name: name, kind: kindNumber, check: func(k *checker, n node) {
		if v := n.value.num; v != math.Trunc(v) || v < low || v > high {
			k.fail(n, "config-range", "is "+string(n.value.json()), fmt.Sprintf("an integer from %.0f to %.0f", low, high))
		}
	}}
}

func checkTailConsumers(k *checker, n node) {
	if !n.value.truthy() || !k.expect(n, kindArray) {
		return
	}
	for _, e := range n.elems() {
		if !k.expect(e, kindObject) {
			continue
		}
		k.known(e, []field{str("service").must()})
		if n.key == "tail_consumers" {
			k.known(e, []field{str("environment")})
		}
	}
}

func checkUnsafe(k *checker, n node) {
	if !k.expect(n, kindObject) {
		return
	}
	if n.get("bindings").value != nil {
		k.bindingsObject(n, unsafeBinding)
	}
	k.optional(n.get("metadata"), kindObject)
	capnp := n.get("capnp")
	if k.optional(capnp, kindObject) {
		if compiled := capnp.get("compiled_schema"); compiled.value != nil {
			k.expect(compiled, kindString)
			for _, key := range []string{"base_path", "source_schemas"} {
				if m := capnp.get(key); m.value != nil {
					k.fail(m, "config-conflict", "and compiled_schema are both set", "one of the two")
				}
			}
		} else {
			k.known(capnp, []field{str("base_path").must(), with("source_schemas", isStrings).must()})
		}
	}
	k.unexpected(n, []string{"bindings", "metadata", "capnp"})
}

func checkSimpleBinding(k *checker, n node) {
	if k.expect(n, kindObject) {
		k.fields(n, []field{str("binding").must(), remote})
	}
}

func checkOpenBinding(k *checker, n node) {
	if !k.expect(n, kindObject) {
		return
	}
	k.known(n, []field{str("binding").must()})
	if n.key == "ai" {
		k.known(n, []field{remote})
	}
}

func checkLogfwdr(k *checker, n node) {
	if !k.expect(n, kindObject) {
		return
	}
	k.bindingsObject(n, logfwdr)
	if schema := n.get("schema"); schema.value != nil {
		k.fail(schema, "removed-field", "is no longer supported", "unsafe.capnp")
	}
}

func checkObservability(k *checker, n node) {
	if !k.expect(n, kindObject) {
		return
	}
	rate := func(k *checker, n node) {
		if k.expect(n, kindNumber) && (n.value.num < 0 || n.value.num > 1) {
			k.fail(n, "config-range", "is "+string(n.value.json()), "0 to 1")
		}
	}
	k.fields(n, []field{
		boolean("enabled"), with("head_sampling_rate", rate), boolean("redact_query_string"),
		object("issues", boolean("enabled")),
		object("logs", boolean("enabled"), with("head_sampling_rate", rate), boolean("invocation_logs"), stringList("destinations"), boolean("persist")),
		object("traces", boolean("enabled"), with("head_sampling_rate", rate), stringList("destinations"), boolean("persist")),
	})
	for _, part := range [][]any{{"enabled"}, {"logs", "enabled"}, {"traces", "enabled"}, {"issues", "enabled"}} {
		if n.value.at(part...) != nil {
			return
		}
	}
	k.fail(n.get("enabled"), "config-required", "is required", "enabled, logs.enabled, traces.enabled or issues.enabled")
}

func checkAccess(k *checker, n node) {
	if k.expect(n, kindObject) {
		k.fields(n, []field{object("dev", str("aud").must(), with("identity", func(k *checker, n node) { k.expect(n, kindObject) }))})
	}
}

func checkCache(k *checker, n node) {
	if k.expect(n, kindObject) {
		k.fields(n, []field{boolean("enabled").must(), boolean("cross_version_cache")})
	}
}

// previewSections are the keys that previews may have.
var previewSections = []string{
	"vars", "define", "durable_objects", "workflows", "kv_namespaces", "send_email", "queues", "d1_databases",
	"r2_buckets", "vectorize", "ai_search_namespaces", "ai_search", "hyperdrive", "services",
	"analytics_engine_datasets", "dispatch_namespaces", "mtls_certificates", "tail_consumers",
	"streaming_tail_consumers", "unsafe", "browser", "analytics", "ai", "images", "stream", "media", "pipelines",
	"k2", "secrets_store_secrets", "artifacts", "unsafe_hello_world", "flagship", "worker_loaders", "ratelimits",
	"vpc_services", "version_metadata", "containers", "logpush", "observability", "limits", "placement", "cache",
}

// checkPreviews checks the section that says how previews differ from the Worker. Nothing in it is deployed.
func checkPreviews(k *checker, n node) {
	if !k.expect(n, kindObject) {
		return
	}
	k.unexpected(n, previewSections)
	top := k.top
	k.top = nil
	for _, s := range k.sections {
		if m := n.get(s.name); m.value != nil && slices.Contains(previewSections, s.name) {
			s.check(k, m)
		}
	}
	k.top = top
}

func checkDev(k *checker, n node) {
	if n.value.is(kindNull) || !k.expect(n, kindObject) {
		return
	}
	k.fields(n, []field{
		str("ip"), num("port"), num("inspector_port"), str("inspector_ip"),
		choice("local_protocol", "http", "https"), choice("upstream_protocol", "http", "https"), str("host"),
		boolean("enable_containers"), str("container_engine"), boolean("generate_types"),
	})
}

func checkSite(k *checker, n node) {
	if !k.expect(n, kindObject) {
		return
	}
	k.fields(n, []field{str("bucket").must(), str("entry-point"), stringList("include"), stringList("exclude")})
	if entry := n.get("entry-point"); entry.value.is(kindString) {
		k.warn(entry, "deprecated-field", fmt.Sprintf("%q is deprecated", entry.path),
			fmt.Sprintf(`delete it and set "main": %q at the top level`, path.Join(entry.value.str, "index.js")))
	}
}
