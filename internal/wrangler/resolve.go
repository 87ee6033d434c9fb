package wrangler

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// Resolve applies the environment env, or the top level when env is "", as wrangler does: which keys an
// environment inherits, the Worker's name, defaults, and what wrangler refuses or warns of (wire.md §9). It
// looks at nothing but the file; [Config.Check] asks what only a deploy needs.
//
// The error is Findings when the configuration is wrong; findings that do not stop wrangler are in
// Config.Warnings. Where a value is nonsense that wrangler happens to let pass (an array for an object, a
// date that is none, two bindings of one name among kinds that it does not compare) it is an error here.
func (p *Project) Resolve(env string) (*Config, error) {
	l := &layers{project: p, name: env, top: p.root}
	k := &checker{src: p.src, sections: sections}
	l.check(k)
	findings := append(slices.Clone(p.notices), k.findings...)
	c := &Config{File: p.File, Dir: p.Dir, Env: env, project: p}
	if len(k.findings.errors()) == 0 {
		l.fill(c)
		findings = append(findings, l.checkNames(k, c.Bindings)...)
	}
	all := Findings(findings).sorted()
	if len(all.errors()) > 0 {
		return nil, all
	}
	c.Warnings = all
	return c, nil
}

// layers are the two places a value can come from.
type layers struct {
	project *Project
	name    string // of the environment, "" for the top level
	top     *value
	// env is nil at the top level. It is nil too when the file has no environments: wrangler then uses the top
	// level, not inherited keys included, and only the name gets its suffix.
	env *value
}

// get is the value of a key after inheritance, nil when there is none or only null, and where it stands.
func (l *layers) get(key string) (*value, []any) {
	inherit, global := inherits(key)
	if v := present(key, l.env.get(key)); v != nil && !global {
		return v, []any{"env", l.name, key}
	}
	if l.env == nil || inherit {
		return present(key, l.top.get(key)), []any{key}
	}
	return nil, []any{key}
}

// dotted is get with one member of the value after a dot.
func (l *layers) dotted(key string) (*value, []any) {
	first, rest, nested := strings.Cut(key, ".")
	v, path := l.get(first)
	if nested {
		return v.get(rest), append(path, rest)
	}
	return v, path
}

func (l *layers) value(key string) *value {
	v, _ := l.get(key)
	return v
}

// present drops what wrangler takes for an absent key.
func present(key string, v *value) *value {
	if v == nil || v.kind == kindNull || v.is(kindString) && v.str == "" && (key == "account_id" || key == "route") {
		return nil
	}
	return v
}

// inherits says whether an environment takes key from the top level. A global key has no place in an
// environment: it is always the top level's.
func inherits(key string) (inherit, global bool) {
	for _, s := range sections {
		if s.name == key {
			return s.inherit, false
		}
	}
	return true, true
}

// check validates the top level and then the environment.
func (l *layers) check(k *checker) {
	root := node{value: l.top, offset: l.top.offset}
	k.topLevel(root)
	k.consistent(root, &layers{project: l.project, top: l.top})
	if l.name == "" {
		k.python(root, l)
		k.site(root, l)
		return
	}
	envs := root.get("env")
	section := envs.get(l.name)
	switch {
	case envs.value != nil && envs.value.kind != kindNull && envs.value.kind != kindObject:
		// topLevel has reported it.
	case section.value != nil:
		if !k.expect(section, kindObject) {
			return
		}
		l.env = section.value
		k.environment(section, l.name, l.top)
		k.consistent(section, l)
		k.python(section, l)
	case present("env", envs.value) != nil:
		f := Finding{
			Rule:     "unknown-env",
			Level:    LevelError,
			Message:  fmt.Sprintf("there is no environment %q", l.name),
			Expected: "one of " + strings.Join(envs.value.keys(), ", "),
			Hint:     fmt.Sprintf("add env.%s to the file", l.name),
		}
		if len(envs.value.members) == 0 {
			f.Expected = ""
		}
		if near := nearest(l.name, envs.value.keys()); near != "" {
			f.Hint = fmt.Sprintf("did you mean %q?", near)
		}
		k.add(envs, f)
	default:
		k.warn(root, "unknown-env", fmt.Sprintf("there is no environment %q; the top level is used under the name of the environment", l.name),
			fmt.Sprintf("add env.%s to the file", l.name))
	}
	k.site(root, l)
}

// topLevel validates the keys at the top level.
func (k *checker) topLevel(root node) {
	k.removed(root)
	if m := root.get("legacy_env"); m.value != nil {
		k.fail(m, "removed-field", "is no longer supported", "no such key: every environment is a Worker of its own")
	}
	only := topLevelOnly
	k.known(root, only)
	known := append(names(only), tolerated...)
	for _, s := range sections {
		known = append(known, s.name)
		if m := root.get(s.name); m.value != nil {
			s.check(k, m)
		}
	}
	if env := root.get("env"); env.value != nil && env.value.kind != kindNull {
		k.expect(env, kindObject)
	}
	if unsafe := root.get("unsafe"); unsafe.value != nil {
		k.experimental(unsafe)
	}
	k.unexpected(root, append(known, "node_compat", "legacy_env"))
}

// environment validates an environment's section.
func (k *checker) environment(n node, name string, top *value) {
	k.env, k.top = name, top
	defer func() { k.env, k.top = "", nil }()
	k.removed(n)
	var known []string
	for _, s := range sections {
		known = append(known, s.name)
		m := n.get(s.name)
		switch {
		case m.value != nil:
			s.check(k, m)
		case !s.inherit && top.get(s.name) != nil:
			k.warn(n, "not-inherited", fmt.Sprintf("%q is set at the top level, but not in env.%s", s.name, name),
				fmt.Sprintf("environments do not inherit it: add %q to env.%s if the environment needs it", s.name, name))
		}
	}
	if unsafe := n.get("unsafe"); unsafe.value != nil && top.get("unsafe") == nil {
		k.experimental(unsafe)
	}
	only := names(topLevelOnly)
	for _, m := range n.members() {
		if slices.Contains(only, m.key) {
			k.warn(m, "unexpected-field", fmt.Sprintf("%q has no effect in an environment", m.path), fmt.Sprintf("move %q to the top level", m.key))
		}
	}
	k.unexpected(n, append(append(known, only...), "node_compat"))
}

// removed refuses what earlier versions of wrangler understood.
func (k *checker) removed(n node) {
	if m := n.get("node_compat"); m.value != nil {
		k.fail(m, "removed-field", "is no longer supported", `"nodejs_compat" among compatibility_flags`)
	}
}

func (k *checker) experimental(n node) {
	k.warn(n, "experimental-field", fmt.Sprintf("%q is experimental and may change or break at any time", n.path), "")
}

// consistent checks n, the top level or an environment, for keys that do not go together once l has said what
// is inherited.
func (k *checker) consistent(n node, l *layers) {
	if routes, route := n.get("routes"), n.get("route"); routes.value != nil && present("route", route.value) != nil {
		k.fail(route, "config-conflict", "and routes are both set", "one of the two")
	}
	if l.env != nil && l.env.get("routes") == nil {
		k.inheritedDomains(n, l)
	}
	migrations, exports := l.value("migrations"), l.value("exports")
	if migrations.is(kindArray) && len(migrations.elems) > 0 && slices.ContainsFunc(exports.properties(), func(m property) bool {
		return m.value.get("type").text() == "durable-object"
	}) {
		k.fail(where(n, "exports", "migrations"), "config-conflict", "and migrations both say what becomes of Durable Objects", "one of the two")
	}
	if !migrations.is(kindArray) || len(migrations.elems) == 0 {
		k.lifecycle(n, l)
	}
}

// python wants the flag that Python needs.
func (k *checker) python(n node, l *layers) {
	if strings.HasSuffix(l.value("main").text(), ".py") && !slices.Contains(l.value("compatibility_flags").texts(), "python_workers") {
		k.fail(where(n, "compatibility_flags", "main"), "config-required", "is not enough for a Python Worker", `"python_workers" among compatibility_flags`)
	}
}

// where is the first of the members that n has, or n.
func where(n node, keys ...string) node {
	for _, key := range keys {
		if m := n.get(key); m.value != nil {
			return m
		}
	}
	return n
}

// inheritedDomains warns that two Workers claim one custom domain.
func (k *checker) inheritedDomains(n node, l *layers) {
	routes := l.top.get("routes")
	if !routes.is(kindArray) {
		return
	}
	var domains []string
	for _, r := range routes.elems {
		if d := r.get("custom_domain"); d.is(kindBool) && d.boolean {
			domains = append(domains, r.get("pattern").text())
		}
	}
	if len(domains) > 0 {
		k.warn(n, "inherited-domains",
			fmt.Sprintf("env.%s inherits the custom domains of the top level (%s): deploying it takes them from the top-level Worker", l.name, strings.Join(domains, ", ")),
			fmt.Sprintf(`give env.%s routes of its own, or "routes": []`, l.name))
	}
}

// lifecycle warns of Durable Objects of this Worker that neither migrations nor exports create.
func (k *checker) lifecycle(n node, l *layers) {
	bindings, _ := l.dotted("durable_objects.bindings")
	if !bindings.is(kindArray) {
		return
	}
	exports := l.value("exports")
	var classes []string
	for _, b := range bindings.elems {
		if b.get("script_name").truthy() {
			continue
		}
		class := b.get("class_name")
		if !class.is(kindString) {
			return
		}
		export := exports.get(class.str)
		state := export.get("state").text()
		live := export.get("type").text() == "durable-object" && (export.get("state") == nil || state == "created" || state == "expecting-transfer")
		if !live {
			classes = append(classes, class.str)
		}
	}
	if len(classes) > 0 {
		k.warn(where(n, "durable_objects"), "no-lifecycle",
			"nothing creates the Durable Object classes "+strings.Join(classes, ", "),
			`add migrations with new_sqlite_classes, or exports such as "`+classes[0]+`": { "type": "durable-object", "storage": "sqlite" }`)
	}
}

// site checks what Workers Sites and main have to do with each other.
func (k *checker) site(root node, l *layers) {
	site := root.get("site")
	if !site.value.is(kindObject) {
		return
	}
	entry := site.get("entry-point")
	switch {
	case l.value("main") != nil && entry.value.truthy():
		k.fail(entry, "config-conflict", "and main are both set", "main alone")
	case l.value("main") == nil && !entry.value.truthy():
		k.warn(site, "deprecated-field", `"site" without "main" uses workers-site/index.js`, `set "main": "workers-site/index.js" at the top level`)
	}
}

// checkNames refuses two bindings of one name: the second would silently replace the first.
func (l *layers) checkNames(k *checker, bindings []Binding) []Finding {
	type claim struct {
		name, key string
		offset    int
	}
	var claims []claim
	for _, b := range bindings {
		path := slices.Clone(b.path)
		for _, key := range []string{"binding", "name"} {
			if l.top.at(append(path, key)...).text() == b.Name {
				path = append(path, key)
				break
			}
		}
		claims = append(claims, claim{b.Name, b.Key, l.top.locate(path...)})
	}
	required, path := l.dotted("secrets.required")
	for i, name := range required.texts() {
		claims = append(claims, claim{name, "secrets.required", l.top.locate(append(slices.Clone(path), i)...)})
	}
	sort.SliceStable(claims, func(i, j int) bool { return claims[i].offset < claims[j].offset })
	first := map[string]claim{}
	var out []Finding
	for _, c := range claims {
		earlier, taken := first[c.name]
		if !taken {
			first[c.name] = c
			continue
		}
		line, _ := l.project.src.position(earlier.offset)
		out = append(out, k.src.at(c.offset, Finding{
			Rule:     "duplicate-binding",
			Level:    LevelError,
			Message:  fmt.Sprintf("the binding %q of %s has the name of one of %s on line %d", c.name, c.key, earlier.key, line),
			Expected: "a name of its own for each binding",
			Hint:     "rename one of the two, and its use in the code",
		}))
	}
	return out
}

// fill sets the fields of c from values that have been checked.
func (l *layers) fill(c *Config) {
	text := func(key string) string { return l.value(key).text() }
	c.TopLevelName = l.top.get("name").text()
	c.Name = l.workerName()
	c.AccountID = text("account_id")
	c.Main = l.resolvePath(l.value("main"))
	c.BaseDir = l.resolvePath(l.value("base_dir"))
	if tsconfig := l.value("tsconfig"); tsconfig.truthy() {
		c.TSConfig = l.resolvePath(tsconfig)
	}
	c.CompatibilityDate = text("compatibility_date")
	c.CompatibilityFlags = l.value("compatibility_flags").texts()
	c.Bindings = l.bindings()
	c.D1 = l.databases()
	l.triggers(c)
	c.Assets = l.assets()
	c.Rules = l.rules()
	c.FindAdditionalModules = l.value("find_additional_modules").boolPtr()
	c.PreserveFileNames = l.value("preserve_file_names").truthy()
	c.NoBundle = l.value("no_bundle").truthy()
	c.Minify = l.value("minify").boolPtr()
	c.KeepNames = l.value("keep_names").boolPtr()
	c.UploadSourceMaps = l.value("upload_source_maps").boolPtr()
	c.Define = l.value("define").stringMap()
	c.Alias = l.top.get("alias").stringMap()
	c.JSXFactory = orDefault(l.value("jsx_factory"), "React.createElement")
	c.JSXFragment = orDefault(l.value("jsx_fragment"), "React.Fragment")
	build := l.value("build")
	c.Build = Build{Command: build.get("command").text(), Cwd: build.get("cwd").text()}
	c.WASMModules = l.files("wasm_modules")
	c.TextBlobs = l.files("text_blobs")
	c.DataBlobs = l.files("data_blobs")
	c.Observability = l.truthyJSON("observability")
	c.Limits = l.truthyJSON("limits")
	c.Placement = placement(l.value("placement"))
	c.Cache = l.truthyJSON("cache")
	c.TailConsumers = l.truthyJSON("tail_consumers")
	c.StreamingTailConsumers = l.truthyJSON("streaming_tail_consumers")
	c.Containers = l.truthyJSON("containers")
	c.Exports, c.DOExports = exports(l.value("exports"))
	c.Logpush = l.value("logpush").boolPtr()
	l.durableObjects(c)
	required, _ := l.dotted("secrets.required")
	c.RequiredSecrets = required.texts()
	c.KeepVars = l.top.get("keep_vars").truthy()
	c.UnsafeMetadata = l.value("unsafe").get("metadata").json()
	instrumentation := l.top.get("dependencies_instrumentation")
	c.PackageDependencies = instrumentation.get("enabled").boolPtr()
	c.PackageDependenciesExclude = instrumentation.get("exclude_packages").texts()
	if strings.HasSuffix(c.Main, ".py") {
		c.NoBundle = true
		if !slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.Type == "PythonModule" }) {
			c.Rules = append(c.Rules, Rule{Type: "PythonModule", Globs: []string{"**/*.py"}})
		}
	}
	if envs := l.top.get("env").keys(); len(envs) > 0 && c.TopLevelName != "" {
		c.Tags = append(c.Tags, "cf:service="+c.TopLevelName)
		if c.Env != "" {
			c.Tags = append(c.Tags, "cf:environment="+c.Env)
		}
	}
}

// workerName is env.E.name verbatim, else the top level's name with the environment as its suffix.
func (l *layers) workerName() string {
	if l.name == "" {
		return l.top.get("name").text()
	}
	if own := l.env.get("name"); own.is(kindString) {
		return own.str
	}
	if top := l.top.get("name").text(); top != "" {
		return top + "-" + l.name
	}
	return ""
}

// resolvePath makes a path of the file absolute, "" when v is no string.
func (l *layers) resolvePath(v *value) string {
	if !v.is(kindString) {
		return ""
	}
	p := filepath.FromSlash(v.str)
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(l.project.Dir, p)
}

func (l *layers) truthyJSON(key string) json.RawMessage {
	if v := l.value(key); v.truthy() {
		return v.json()
	}
	return nil
}

func orDefault(v *value, text string) string {
	if v.is(kindString) {
		return v.str
	}
	return text
}

func (v *value) stringMap() map[string]string {
	out := map[string]string{}
	for _, m := range v.properties() {
		out[m.key] = m.value.text()
	}
	return out
}
