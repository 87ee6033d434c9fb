package wrangler

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// shape is what one entry of a list of bindings looks like.
type shape struct {
	key    string // the member that names the binding: "binding" unless given
	fields []field
	open   bool // wrangler does not warn of other members
	check  func(*checker, node)
}

func (s shape) name() string {
	if s.key == "" {
		return "binding"
	}
	return s.key
}

var (
	r2BucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`)
	workflowName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_-]{0,63}$`)
)

// remote is the member by which "wrangler dev" is told to use the real resource.
var remote = boolean("remote")

// bindingShapes are the lists of bindings, by configuration key.
var bindingShapes = map[string]shape{
	"kv_namespaces": {fields: []field{
		str("binding").must(), str("id").filled(), str("preview_id"), remote,
	}},
	"d1_databases": {fields: []field{
		str("binding").must(), str("database_id"), str("database_name"), str("database_internal_env"),
		str("preview_database_id"), str("jurisdiction"),
		str("migrations_dir"), str("migrations_table"), str("migrations_pattern"), remote,
	}},
	"r2_buckets": {fields: []field{
		str("binding").must(), bucket("bucket_name"), bucket("preview_bucket_name"), str("jurisdiction"), remote,
		with("local_dev", func(k *checker, n node) {
			if k.expect(n, kindObject) {
				k.fields(n, []field{with("experimental_s3_credentials", func(k *checker, n node) {
					k.experimental(n)
					if k.expect(n, kindObject) {
						k.known(n, []field{str("accessKeyId").must(), str("secretAccessKey").must()})
					}
				})})
			}
		}),
	}},
	"vectorize":            {fields: []field{str("binding").must(), str("index_name").must(), remote}},
	"ai_search_namespaces": {fields: []field{str("binding").must(), str("namespace").must(), remote}},
	"ai_search":            {fields: []field{str("binding").must(), str("instance_name").must(), remote}},
	"agent_memory":         {fields: []field{str("binding").must(), str("namespace").must(), remote}},
	"hyperdrive":           {fields: []field{str("binding").must(), str("id").must(), anything("localConnectionString"), remote}},
	"vpc_services":         {fields: []field{str("binding").must(), str("service_id").must(), anything("remote")}},
	"vpc_networks": {
		fields: []field{str("binding").must(), str("tunnel_id"), str("network_id"), anything("remote")},
		check: func(k *checker, n node) {
			if (n.get("tunnel_id").value == nil) == (n.get("network_id").value == nil) {
				k.fail(n, "config-conflict", "needs one of tunnel_id and network_id", "exactly one of the two")
			}
		},
	},
	"analytics_engine_datasets": {fields: []field{str("binding").must(), str("dataset").filled(), remote}},
	"mtls_certificates":         {fields: []field{str("binding").must(), str("certificate_id").must().filled(), remote}},
	"pipelines": {
		fields: []field{str("binding").must(), str("stream"), str("pipeline"), remote},
		check: func(k *checker, n node) {
			switch {
			case n.get("stream").value.truthy():
			case n.get("pipeline").value.truthy():
				k.warn(n.get("pipeline"), "deprecated-field", fmt.Sprintf("%q is deprecated", n.get("pipeline").path), `use "stream" instead`)
			default:
				k.fail(n.get("stream"), "config-required", "is required", "a string")
			}
		},
	},
	"k2": {
		fields: []field{str("binding").must(), str("stream").must(), remote},
		check: func(k *checker, n node) {
			if r := n.get("remote"); r.value.is(kindBool) && !r.value.boolean {
				k.fail(r, "config-choice", "is false", "true, or no such key: a K2 stream is always remote")
			}
		},
	},
	"secrets_store_secrets": {fields: []field{str("binding").must(), str("store_id").must(), str("secret_name").must()}},
	"artifacts":             {fields: []field{str("binding").must(), str("namespace").must(), remote}},
	"unsafe_hello_world":    {fields: []field{str("binding").must(), boolean("enable_timer")}},
	"flagship":              {fields: []field{str("binding").must(), str("app_id"), remote}},
	"worker_loaders":        {fields: []field{str("binding").must()}},
	"ratelimits": {key: "name", fields: []field{
		str("name").must(), str("namespace_id").must(),
		object("simple", num("limit").must(), with("period", func(k *checker, n node) {
			if k.expect(n, kindNumber) && n.value.num != 10 && n.value.num != 60 {
				k.fail(n, "config-choice", "is "+string(n.value.json()), "10 or 60 (seconds)")
			}
		}).must()).must(),
	}},
	"send_email": {
		key: "name",
		fields: []field{
			str("name").must(), str("destination_address"), stringList("allowed_destination_addresses"),
			stringList("allowed_sender_addresses"), anything("binding"), remote,
		},
		check: func(k *checker, n node) {
			if n.get("destination_address").value != nil && n.get("allowed_destination_addresses").value != nil {
				k.fail(n.get("destination_address"), "config-conflict", "and allowed_destination_addresses are both set", "one of the two")
			}
		},
	},
	"services": {
		open: true,
		fields: []field{
			str("binding").must(), str("service").must(), str("environment"), str("entrypoint"), remote,
			with("dev", checkServiceDev),
		},
		check: func(k *checker, n node) {
			if r := n.get("remote"); n.get("dev").value.is(kindObject) && r.value.truthy() {
				k.warn(r, "config-conflict", fmt.Sprintf("%q is ignored beside dev", r.path), "")
			}
		},
	},
	"dispatch_namespaces": {open: true, fields: []field{
		str("binding").must(), str("namespace"), remote,
		with("outbound", func(k *checker, n node) {
			if k.expect(n, kindObject) {
				k.known(n, []field{str("service").must(), str("environment"), stringList("parameters")})
			}
		}),
	}},
	"workflows": {
		fields: append([]field{
			str("binding").must(), with("name", checkWorkflowName).must(), str("class_name").must(), str("script_name"),
		}, workflowSettings...),
	},
}

// producers are the bindings of queues.
var producers = shape{
	fields: []field{str("binding").must(), str("queue").filled(), num("delivery_delay"), remote},
	check: func(k *checker, n node) {
		if d := n.get("delivery_delay"); d.value != nil {
			k.warn(d, "deprecated-field", fmt.Sprintf("%q is deprecated and has no effect", d.path), "set the delay on the queue: wrangler queues update")
		}
	},
}

var durableObjects = shape{
	key: "name",
	// A "remote" here is checked and then reported as unexpected: wrangler does both.
	fields: []field{str("name").must(), str("class_name").must(), str("script_name"), str("environment")},
	check: func(k *checker, n node) {
		k.known(n, []field{remote})
		if n.get("environment").value != nil && n.get("script_name").value == nil {
			k.fail(n.get("environment"), "config-required", "needs a script_name beside it", "the name of the Worker that has the class")
		}
	},
}

var logfwdr = shape{key: "name", fields: []field{str("name").must(), str("destination").must()}}

// supportedTypes are the binding types that have a configuration key of their own, so that an unsafe binding
// of the type is not needed.
var supportedTypes = []string{
	"plain_text", "secret_text", "json", "wasm_module", "data_blob", "text_blob", "browser", "analytics", "ai",
	"ai_search_namespace", "ai_search", "agent_memory", "kv_namespace", "durable_object_namespace", "d1_database",
	"r2_bucket", "service", "logfwdr", "mtls_certificate", "pipeline", "k2", "worker_loader", "vpc_service",
	"flagship", "vpc_network", "stream", "media", "artifacts",
}

var unsafeBinding = shape{
	key:    "name",
	open:   true,
	fields: []field{str("name").must(), str("type").must()},
	check: func(k *checker, n node) {
		t := n.get("type")
		switch typ := t.value.text(); {
		case slices.Contains(supportedTypes, typ):
			k.warn(t, "unsafe-supported", fmt.Sprintf("the binding type %q has a configuration key of its own", typ), "use that instead of unsafe.bindings")
		case typ == "metadata" && n.get("name").value.is(kindString):
			k.warn(t, "deprecated-field", `the binding type "metadata" is deprecated`, `use "version_metadata"`)
		}
	},
}

func bucket(name string) field {
	return field{name: name, kind: kindString, nonEmpty: true, check: func(k *checker, n node) {
		if !r2BucketName.MatchString(n.value.str) {
			k.fail(n, "r2-name", fmt.Sprintf("is %q, which is no name for a bucket", shorten(n.value.str, 80)),
				"3 to 63 lower-case letters, digits and hyphens, the first and the last no hyphen")
		}
	}}
}

func checkWorkflowName(k *checker, n node) {
	if k.expect(n, kindString) && !workflowName.MatchString(n.value.str) {
		k.fail(n, "workflow-name", fmt.Sprintf("is %q, which is no name for a workflow", shorten(n.value.str, 80)),
			"1 to 64 letters, digits, underscores and hyphens, the first no hyphen")
	}
}

// workflowSettings are what a workflow may have as a binding and as an export.
var workflowSettings = []field{
	object("limits", with("steps", func(k *checker, n node) {
		switch {
		case !k.expect(n, kindNumber):
		case !positiveInteger(n.value):
			k.fail(n, "config-range", "is "+string(n.value.json()), "an integer of at least 1")
		case n.value.num > 25000:
			k.warn(n, "config-range", fmt.Sprintf("%q is above 25000, the most that production allows", n.path), "")
		}
	})),
	object("concurrency", with("limit", func(k *checker, n node) {
		if k.expect(n, kindNumber) && !positiveInteger(n.value) {
			k.fail(n, "config-range", "is "+string(n.value.json()), "an integer of at least 1")
		}
	})),
	with("schedules", func(k *checker, n node) {
		list := n.elems()
		switch {
		case n.value.is(kindString):
			list = []node{n}
		case !k.expect(n, kindString, kindArray):
			return
		case len(list) == 0:
			k.fail(n, "config-empty", "is empty", "at least one schedule, or no such key")
		}
		for _, e := range list {
			if k.expect(e, kindString) && e.value.str == "" {
				k.fail(e, "config-empty", "is empty", "a cron expression")
			}
		}
	}),
	object("default_retention", with("success_retention", checkRetention), with("error_retention", checkRetention)),
	choice("jurisdiction", "eu", "fedramp", "us"),
}

func checkRetention(k *checker, n node) {
	if !positiveInteger(n.value) && n.value.text() == "" {
		k.fail(n, "config-type", "is "+shorten(string(n.value.json()), 40), `a positive number of milliseconds, or a duration such as "3 days"`)
	}
}

func positiveInteger(v *value) bool {
	return v.is(kindNumber) && v.num >= 1 && v.num == math.Trunc(v.num)
}

func checkServiceDev(k *checker, n node) {
	if !k.expect(n, kindObject) {
		return
	}
	k.known(n, []field{with("plugin", func(k *checker, n node) {
		if k.expect(n, kindObject) {
			k.known(n, []field{str("package").must(), str("name").must()})
		}
	}).must(), with("options", func(k *checker, n node) { k.expect(n, kindObject) })})
}

// bindingList checks a list of bindings and warns of those that only the top level has.
func (k *checker) bindingList(n node, s shape) {
	if !k.expect(n, kindArray) {
		return
	}
	for _, e := range n.elems() {
		k.binding(e, s)
	}
	// Bindings of the same key at the top level; queues.producers is not looked at there by wrangler.
	k.warnMissing(n, bindingNames(k.top.get(n.key), s.name()), bindingNames(n.value, s.name()))
}

func (k *checker) binding(n node, s shape) {
	if !k.expect(n, kindObject) {
		return
	}
	k.known(n, s.fields)
	if !s.open {
		k.unexpected(n, names(s.fields))
	}
	if s.check != nil {
		s.check(k, n)
	}
}

// bindingsObject checks an object with a list called bindings.
func (k *checker) bindingsObject(n node, s shape) {
	bindings := n.get("bindings")
	if !k.expect(bindings, kindArray) {
		return
	}
	before := len(k.findings.errors())
	for _, e := range bindings.elems() {
		k.binding(e, s)
	}
	if len(k.findings.errors()) == before {
		k.warnMissing(bindings, bindingNames(k.top.get(n.key).get("bindings"), s.name()), bindingNames(bindings.value, s.name()))
	}
}

// bindingNames are the names of a list of bindings.
func bindingNames(list *value, key string) []string {
	if !list.is(kindArray) {
		return nil
	}
	var out []string
	for _, e := range list.elems {
		if name := e.get(key); name.is(kindString) {
			out = append(out, name.str)
		}
	}
	return out
}

// warnMissing warns of what the top level has and the environment has not, although it has the key n.
func (k *checker) warnMissing(n node, top, env []string) {
	var missing []string
	for _, name := range top {
		if !slices.Contains(env, name) {
			missing = append(missing, name)
		}
	}
	for _, name := range missing {
		k.warn(n, "not-inherited",
			fmt.Sprintf("%q at the top level has %s, %q has not", strings.TrimPrefix(n.path, "env."+k.env+"."), name, n.path),
			fmt.Sprintf("environments do not inherit it: add %s to %q if the environment needs it", name, n.path))
	}
}
