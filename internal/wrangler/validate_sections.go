package wrangler

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// section is one key of an environment.
type section struct {
	name    string
	inherit bool // an environment without the key takes the top level's value
	check   func(*checker, node)
}

// inherited and own declare a section; wire.md §9 has the two lists.
func inherited(name string, check func(*checker, node)) section { return section{name, true, check} }
func own(name string, check func(*checker, node)) section       { return section{name, false, check} }

// sections are the keys that an environment may have, and the top level too, in wrangler's order: Bindings are
// resolved in it.
var sections = []section{
	inherited("account_id", func(k *checker, n node) { k.ignoredWhenEmpty(n) }),
	inherited("compatibility_date", checkCompatibilityDate),
	inherited("compatibility_flags", isStrings),
	inherited("jsx_factory", isString),
	inherited("jsx_fragment", isString),
	inherited("tsconfig", isString),
	inherited("rules", checkRules),
	inherited("name", checkName),
	inherited("main", isString),
	inherited("find_additional_modules", isBool),
	inherited("preserve_file_names", isBool),
	inherited("base_dir", isString),
	inherited("route", checkRoute),
	inherited("routes", checkRoutes),
	inherited("triggers", checkTriggers),
	inherited("assets", checkAssets),
	inherited("limits", checkLimits),
	inherited("placement", checkPlacement),
	inherited("build", checkBuild),
	inherited("workers_dev", isBool),
	inherited("preview_urls", isBool),
	own("vars", checkVars),
	own("secrets", checkSecrets),
	own("define", checkDefine),
	own("durable_objects", checkDurableObjects),
	own("workflows", checkWorkflows),
	inherited("migrations", checkMigrations),
	inherited("exports", checkExports),
	list("kv_namespaces"),
	own("cloudchamber", checkCloudchamber),
	own("containers", checkContainers),
	list("send_email"),
	own("queues", checkQueues),
	own("connect", checkConnect),
	list("r2_buckets"),
	list("d1_databases"),
	list("vectorize"),
	list("ai_search_namespaces"),
	list("ai_search"),
	list("agent_memory"),
	list("hyperdrive"),
	list("services"),
	list("analytics_engine_datasets"),
	list("dispatch_namespaces"),
	list("mtls_certificates"),
	own("tail_consumers", checkTailConsumers),
	own("streaming_tail_consumers", checkTailConsumers),
	own("unsafe", checkUnsafe),
	own("browser", checkSimpleBinding),
	own("analytics", checkSimpleBinding),
	own("ai", checkOpenBinding),
	own("images", checkSimpleBinding),
	own("stream", checkSimpleBinding),
	own("media", checkSimpleBinding),
	list("pipelines"),
	list("k2"),
	list("secrets_store_secrets"),
	list("artifacts"),
	list("unsafe_hello_world"),
	list("flagship"),
	list("worker_loaders"),
	list("ratelimits"),
	list("vpc_services"),
	list("vpc_networks"),
	own("version_metadata", checkOpenBinding),
	inherited("logfwdr", checkLogfwdr),
	inherited("no_bundle", isBool),
	inherited("minify", isBool),
	inherited("keep_names", isBool),
	inherited("first_party_worker", isBool),
	inherited("logpush", isBool),
	inherited("upload_source_maps", isBool),
	inherited("observability", checkObservability),
	inherited("access", checkAccess),
	inherited("cache", checkCache),
	inherited("compliance_region", func(k *checker, n node) {
		if k.expect(n, kindString) {
			k.oneOf(n, "public", "fedramp_high")
		}
	}),
	inherited("python_modules", func(k *checker, n node) {
		if k.expect(n, kindObject) {
			k.known(n, []field{stringList("exclude")})
		}
	}),
	inherited("previews", checkPreviews),
}

func list(name string) section {
	return own(name, func(k *checker, n node) { k.bindingList(n, bindingShapes[name]) })
}

// topLevelOnly are the keys that have no meaning inside an environment.
var topLevelOnly = []field{
	str("$schema"),
	boolean("send_metrics"),
	object("dependencies_instrumentation", boolean("enabled"), stringList("exclude_packages")),
	boolean("keep_vars"),
	stringList("addresses"),
	str("pages_build_output_dir"),
	with("dev", checkDev),
	with("site", checkSite),
	with("alias", isStringMap),
	with("wasm_modules", isStringMap),
	with("text_blobs", isStringMap),
	with("data_blobs", isStringMap),
	anything("env"),
}

// tolerated are keys that wrangler writes to its own resolved configuration and does not warn of.
var tolerated = []string{"configPath", "userConfigPath", "topLevelName", "definedEnvironments", "targetEnvironment"}

func isString(k *checker, n node) { k.expect(n, kindString) }
func isBool(k *checker, n node)   { k.expect(n, kindBool) }
func isStrings(k *checker, n node) {
	k.strings(n, true)
}

// ignoredWhenEmpty wants a string and warns of "", which wrangler takes for an absent key.
func (k *checker) ignoredWhenEmpty(n node) {
	if k.expect(n, kindString) && n.value.str == "" {
		k.warn(n, "config-empty", fmt.Sprintf("%q is empty and has no effect", n.path), "delete it")
	}
}

func isStringMap(k *checker, n node) {
	if k.expect(n, kindObject) {
		for _, m := range n.members() {
			k.expect(m, kindString)
		}
	}
}

var workerName = regexp.MustCompile(`^[a-z0-9_][a-z0-9-_]*$`)

// checkName lets "" pass, as wrangler does here; Config.Check asks for a name.
func checkName(k *checker, n node) {
	if k.expect(n, kindString) && n.value.str != "" && !workerName.MatchString(n.value.str) {
		k.fail(n, "worker-name", fmt.Sprintf("is %q, which is no name for a Worker", shorten(n.value.str, 80)),
			"lower-case letters, digits, hyphens and underscores, the first no hyphen")
	}
}

// checkCompatibilityDate wants a calendar date. wrangler lets everything pass that JavaScript's Date can make
// sense of; Cloudflare then refuses all but this form.
func checkCompatibilityDate(k *checker, n node) {
	if !k.expect(n, kindString) {
		return
	}
	if _, err := time.Parse(time.DateOnly, n.value.str); err != nil {
		f := Finding{
			Rule:     "compatibility-date",
			Level:    LevelError,
			Message:  fmt.Sprintf("%q is %q, which is no date", n.path, shorten(n.value.str, 40)),
			Expected: `a date such as "2026-06-01"`,
		}
		if strings.ContainsAny(n.value.str, "–—") {
			f.Hint = "the dashes are typographic ones: type hyphens"
		}
		k.add(n, f)
	}
}

func checkRules(k *checker, n node) {
	if !n.value.truthy() || !k.expect(n, kindArray) {
		return
	}
	for _, e := range n.elems() {
		if k.expect(e, kindObject) {
			k.known(e, []field{
				choice("type", "ESModule", "CommonJS", "CompiledWasm", "Text", "Data").must(),
				with("globs", isStrings).must(),
				boolean("fallthrough"),
			})
		}
	}
}

func checkRoute(k *checker, n node) {
	if n.value.is(kindString) {
		k.ignoredWhenEmpty(n)
		return
	}
	k.route(n)
}

func checkRoutes(k *checker, n node) {
	if k.expect(n, kindArray) {
		for _, e := range n.elems() {
			k.route(e)
		}
	}
}

// route checks what a route is made of; what its pattern says is Config.Check's business.
func (k *checker) route(n node) {
	if n.value.is(kindString) {
		if n.value.str == "" {
			k.fail(n, "config-empty", "is empty", "a pattern such as \"example.com/*\"")
		}
		return
	}
	if !k.expect(n, kindString, kindObject) {
		return
	}
	before := len(k.findings)
	k.known(n, []field{
		str("pattern").must(), str("zone_id"), str("zone_name"),
		boolean("custom_domain"), boolean("enabled"), boolean("previews_enabled"),
	})
	known := []string{"pattern", "zone_id", "zone_name", "custom_domain", "enabled", "previews_enabled"}
	for _, m := range n.members() {
		if !slices.Contains(known, m.key) {
			f := Finding{Rule: "route", Level: LevelError, Message: fmt.Sprintf("%q is no part of a route", m.path), Expected: strings.Join(known, ", ")}
			if near := nearest(m.key, known); near != "" {
				f.Hint = fmt.Sprintf("did you mean %q?", near)
			}
			k.add(m, f)
		}
	}
	if len(k.findings) > before {
		return
	}
	has := func(key string) bool { return n.get(key).value != nil }
	switch {
	case has("zone_id") && has("zone_name"):
		k.fail(n.get("zone_name"), "route", "and zone_id are both set", "one of the two")
	case (has("enabled") || has("previews_enabled")) && !has("custom_domain"):
		k.fail(n, "route", "has enabled or previews_enabled, which only a custom domain may have", `"custom_domain": true beside it`)
	case !has("zone_id") && !has("zone_name") && !has("custom_domain"):
		k.fail(n, "route", "says neither its zone nor that it is a custom domain", "zone_id, zone_name or custom_domain beside the pattern")
	}
}

var artifactEvents = []string{
	"cf.artifacts.repo.created", "cf.artifacts.repo.deleted", "cf.artifacts.repo.forked", "cf.artifacts.repo.imported",
	"cf.artifacts.repo.pushed", "cf.artifacts.repo.cloned", "cf.artifacts.repo.fetched",
	"cf.artifacts.repo.token.created", "cf.artifacts.repo.token.revoked",
}

func checkTriggers(k *checker, n node) {
	if n.value.is(kindNull) || !k.expect(n, kindObject) {
		return
	}
	k.fields(n, []field{
		with("crons", isStrings),
		with("events", func(k *checker, n node) {
			if !k.expect(n, kindArray) {
				return
			}
			for _, e := range n.elems() {
				if k.expect(e, kindObject) {
					k.fields(e, []field{
						choice("type", artifactEvents...).must(),
						object("filter", str("namespace").filled(), str("repo_name").filled()),
						with("targets", checkEventTargets).must(),
					})
				}
			}
		}),
	})
}

func checkEventTargets(k *checker, n node) {
	if !k.expect(n, kindArray) {
		return
	}
	if len(n.value.elems) == 0 {
		k.fail(n, "config-empty", "is empty", "at least one target")
	}
	for _, e := range n.elems() {
		if k.expect(e, kindObject) {
			k.fields(e, []field{choice("type", "workflow").must(), str("workflow_name").must().filled()})
		}
	}
}

func checkAssets(k *checker, n node) {
	if !k.expect(n, kindObject) {
		return
	}
	k.fields(n, []field{
		str("directory"),
		str("binding"),
		choice("html_handling", "auto-trailing-slash", "force-trailing-slash", "drop-trailing-slash", "none"),
		choice("not_found_handling", "single-page-application", "404-page", "none"),
		str("base_path"),
		with("run_worker_first", func(k *checker, n node) {
			if k.expect(n, kindBool, kindArray) && n.value.is(kindArray) {
				k.strings(n, true)
			}
		}),
	})
}

func checkLimits(k *checker, n node) {
	if n.value.truthy() && k.expect(n, kindObject) {
		k.known(n, []field{num("cpu_ms"), num("subrequests")})
	}
}

func checkPlacement(k *checker, n node) {
	if !k.expect(n, kindObject) {
		return
	}
	targets := []string{"region", "host", "hostname"}
	var given []node
	for _, t := range targets {
		if m := n.get(t); m.value != nil {
			given = append(given, m)
		}
	}
	hint, mode := n.get("hint"), n.get("mode")
	switch {
	case hint.value != nil && len(given) > 0:
		k.fail(hint, "config-conflict", "and "+given[0].key+" are both set", "hint for smart placement; region, host or hostname for targeted placement")
	case hint.value != nil:
		k.known(n, []field{choice("mode", "off", "smart").must(), str("hint")})
		if hint.value.truthy() && mode.value.text() == "off" {
			k.fail(hint, "config-conflict", `is set although the mode is "off"`, `"mode": "smart"`)
		}
	case len(given) > 0:
		k.known(n, []field{choice("mode", "targeted")})
		for _, m := range given {
			if k.expect(m, kindString) && m.value.str == "" {
				k.fail(m, "config-empty", "is empty", "a value, or no such key")
			}
		}
		for _, m := range given[1:] {
			k.fail(m, "config-conflict", "and "+given[0].key+" are both set", "one of region, host and hostname")
		}
	default:
		k.known(n, []field{choice("mode", "off", "smart", "targeted").must()})
		if mode.value.text() == "targeted" {
			k.fail(mode, "config-required", "needs a target", "one of region, host and hostname beside it")
		}
	}
}

func checkBuild(k *checker, n node) {
	if n.value.is(kindNull) || !k.expect(n, kindObject) {
		return
	}
	k.fields(n, []field{str("command"), str("cwd"), with("watch_dir", func(k *checker, n node) {
		if k.expect(n, kindString, kindArray) && n.value.is(kindArray) {
			k.strings(n, true)
		}
	})})
}

func checkVars(k *checker, n node) {
	if k.expect(n, kindObject) {
		k.warnMissing(n, k.top.get("vars").keys(), n.value.keys())
	}
}

func checkSecrets(k *checker, n node) {
	if k.expect(n, kindObject) {
		k.fields(n, []field{stringList("required")})
	}
}

func checkDefine(k *checker, n node) {
	isStringMap(k, n)
	top := k.top.get("define").keys()
	if !n.value.is(kindObject) || len(top) == 0 {
		return
	}
	k.warnMissing(n, top, n.value.keys())
	for _, m := range n.members() {
		if !slices.Contains(top, m.key) {
			k.warn(m, "define-only-in-env", fmt.Sprintf("%q is not at the top level", m.path),
				"environments are meant to override what the top level defines: add it there too")
		}
	}
}
