package wrangler

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Check asks what a deploy needs and the file alone does not settle: a name and a compatibility date, the
// entry point and the directory of assets on disk, routes and crons that Cloudflare accepts, and nothing that
// [Config.Unsupported] names. The error is Findings when the answer is no; warnings are what wrangler would
// print at this point and go on.
//
// wrangler has Cloudflare refuse a bad cron, after the code is live; here it is refused before.
func (c *Config) Check() (warnings []Finding, err error) {
	k := &checker{src: c.project.src}
	k.required(c)
	k.entryPoint(c)
	k.assets(c)
	k.routes(c)
	k.crons(c)
	k.workflows(c)
	all := append(k.findings, c.Unsupported()...).sorted()
	if errs := all.errors(); len(errs) > 0 {
		return nil, all
	}
	return all, nil
}

// at is the node of a key for findings: path is as for Config.Position.
func (c *Config) at(path ...any) node {
	var name strings.Builder
	for _, p := range path {
		switch p := p.(type) {
		case string:
			if name.Len() > 0 {
				name.WriteByte('.')
			}
			name.WriteString(p)
		case int:
			fmt.Fprintf(&name, "[%d]", p)
		}
	}
	return node{path: name.String(), offset: c.offset(path)}
}

func (k *checker) required(c *Config) {
	if c.Name == "" {
		k.add(c.at("name"), Finding{Rule: "config-required", Level: LevelError, Message: "the Worker has no name", Expected: `"name" at the top level or in the environment`})
	}
	if c.CompatibilityDate == "" {
		k.add(c.at("compatibility_date"), Finding{Rule: "config-required", Level: LevelError, Message: "there is no compatibility_date", Expected: `a date such as "compatibility_date": "2026-06-01"`})
	}
	if len(c.project.Envs()) > 0 && c.TopLevelName == "" {
		k.warn(c.at("name"), "no-service-name", "without a name at the top level the Worker is not grouped with its other environments", `add "name" at the top level`)
	}
}

// entryPoint wants main on disk. A build command may be what makes it.
func (k *checker) entryPoint(c *Config) {
	if c.Main == "" {
		if c.Assets == nil {
			k.add(c.at("main"), Finding{Rule: "main-missing", Level: LevelError, Message: "there is neither code nor assets to deploy", Expected: `"main" or "assets"`})
		}
		return
	}
	if c.Build.Command != "" {
		return
	}
	info, err := os.Stat(c.Main)
	f := Finding{Rule: "main-missing", Level: LevelError, Expected: "the file that the Worker starts with"}
	switch {
	case err == nil && !info.IsDir():
		return
	case err == nil:
		f.Message = fmt.Sprintf("%q is %s, which is a directory", "main", c.slashed(c.Main))
		for _, name := range []string{"worker", "dist/worker", "index", "dist/index"} {
			for _, ext := range []string{".ts", ".tsx", ".js", ".jsx"} {
				if file := filepath.Join(c.Main, filepath.FromSlash(name+ext)); f.Hint == "" && isFile(file) {
					f.Hint = fmt.Sprintf("did you mean %q?", c.slashed(file))
				}
			}
		}
	case filepath.Ext(c.Main) == "" && slices.ContainsFunc([]string{".ts", ".tsx", ".js", ".jsx"}, func(ext string) bool { return isFile(c.Main + ext) }):
		return // esbuild finds it
	case errors.Is(err, fs.ErrNotExist):
		f.Message = fmt.Sprintf("%q is %s, which does not exist", "main", c.slashed(c.Main))
		if near := nearestFile(c.Main); near != "" {
			f.Hint = fmt.Sprintf("did you mean %q?", c.slashed(near))
		}
	default:
		f.Message = fmt.Sprintf("%q is %s, which cannot be read: %v", "main", c.slashed(c.Main), errors.Unwrap(err))
	}
	k.add(c.at("main"), f)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// nearestFile is the file beside the missing path whose name is most like it, or has another extension.
func nearestFile(path string) string {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return ""
	}
	stem := func(name string) string { return strings.TrimSuffix(name, filepath.Ext(name)) }
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			if stem(e.Name()) == stem(filepath.Base(path)) {
				return filepath.Join(filepath.Dir(path), e.Name())
			}
			names = append(names, e.Name())
		}
	}
	if near := nearest(filepath.Base(path), names); near != "" {
		return filepath.Join(filepath.Dir(path), near)
	}
	return ""
}

func (k *checker) assets(c *Config) {
	if c.Assets == nil {
		return
	}
	dir := c.at("assets", "directory")
	switch info, err := os.Stat(c.Assets.Directory); {
	case c.Assets.Directory == "":
		k.fail(dir, "config-required", "is required", "the directory with the assets")
	case err != nil:
		k.fail(dir, "assets-missing", fmt.Sprintf("is %s, which does not exist", c.slashed(c.Assets.Directory)), "the directory with the assets")
	case !info.IsDir():
		k.fail(dir, "assets-missing", fmt.Sprintf("is %s, which is no directory", c.slashed(c.Assets.Directory)), "the directory with the assets")
	}
	always := string(c.Assets.RunWorkerFirst) == "true"
	switch {
	case c.Main == "" && c.Assets.Binding != "":
		k.fail(c.at("assets", "binding"), "config-conflict", "is of no use without code", `no such key, or "main"`)
	case c.Main == "" && (always || bytes.HasPrefix(c.Assets.RunWorkerFirst, []byte("["))):
		k.fail(c.at("assets", "run_worker_first"), "config-conflict", "is of no use without code", `no such key, or "main"`)
	case always && c.Assets.Binding == "":
		k.warn(c.at("assets", "run_worker_first"), "assets-binding", "the Worker runs before the assets but has no binding to fetch them with", `add "binding" to assets`)
	}
	if always && bytes.HasPrefix(c.Placement, []byte(`{"mode":"smart"`)) {
		k.warn(c.at("placement"), "config-conflict", "smart placement together with run_worker_first takes every request for an asset to where the Worker runs", "leave one of the two out")
	}
}

// routes checks what wrangler checks before its first call: custom domains are bare hostnames.
func (k *checker) routes(c *Config) {
	for _, r := range c.Routes {
		n := c.at(r.path...)
		if r.CustomDomain {
			n = c.at(append(slices.Clone(r.path), "pattern")...)
			switch {
			case strings.Contains(r.Pattern, "*"):
				k.fail(n, "custom-domain", fmt.Sprintf("is %q: a custom domain has no wildcard", shorten(r.Pattern, 80)), "a hostname")
			case strings.Contains(r.Pattern, "/"):
				k.fail(n, "custom-domain", fmt.Sprintf("is %q: a custom domain has no path", shorten(r.Pattern, 80)), "a hostname")
			}
			continue
		}
		if path := strings.SplitN(r.Pattern, "/", 2); c.Assets != nil && c.Assets.Directory != "" && string(c.Assets.RunWorkerFirst) != "true" &&
			(len(path) != 2 || path[1] != "*") {
			k.warn(n, "assets-route", fmt.Sprintf("on the route %q assets are looked up below its path", shorten(r.Pattern, 80)), "end the pattern with /* right after the hostname")
		}
	}
}

func (k *checker) crons(c *Config) {
	triggers := (&layers{project: c.project, name: c.Env, top: c.project.root, env: c.section()})
	list, path := triggers.dotted("triggers.crons")
	if list == nil {
		return
	}
	for i, e := range list.elems {
		p := checkCron(e.text())
		if p == nil {
			continue
		}
		n := c.at(append(slices.Clone(path), i)...)
		// Point into the string, when it stands in the file as it is.
		if bytes.HasPrefix(k.src.text[n.offset:], []byte(`"`+e.str+`"`)) {
			n.offset += len(`"`) + p.offset
		}
		k.add(n, Finding{Rule: "cron", Level: LevelError, Message: p.message, Expected: p.expected, Hint: p.hint})
	}
}

// section is the environment's part of the file, nil at the top level.
func (c *Config) section() *value {
	if c.Env == "" {
		return nil
	}
	return c.project.root.at("env", c.Env)
}

// workflows refuses a workflow that is declared twice and differently, as a binding and as an export.
func (k *checker) workflows(c *Config) {
	l := &layers{project: c.project, name: c.Env, top: c.project.root, env: c.section()}
	exports := l.value("exports")
	list, path := l.get("workflows")
	if list == nil {
		return
	}
	declared := map[string]string{}
	for _, m := range exports.properties() {
		if m.value.get("type").text() == "workflow" {
			declared[m.value.get("name").text()] = m.key
		}
	}
	for i, e := range list.elems {
		class, ok := declared[e.get("name").text()]
		if !ok {
			continue
		}
		n := c.at(append(slices.Clone(path), i)...)
		n.value = e
		if script := e.get("script_name").text(); script != "" && script != c.Name {
			k.fail(n.get("script_name"), "config-conflict", "names another Worker, but exports."+class+" declares the workflow here", "no such key, or another name")
			continue
		}
		if e.get("class_name").text() != class {
			k.fail(n.get("class_name"), "config-conflict", "is not "+class+", as exports says", fmt.Sprintf("%q", class))
		}
		for _, key := range []string{"limits", "concurrency", "schedules", "default_retention", "jurisdiction"} {
			if m := n.get(key); m.value != nil {
				k.fail(m, "config-conflict", "belongs to exports."+class+", which declares the workflow", "no such key here")
			}
		}
	}
}

// Unsupported names, as errors with positions, what "wrangler deploy" would do for this configuration and
// shopfleet does not do: deploying the rest would leave a Worker that is not what the file says.
func (c *Config) Unsupported() []Finding {
	k := &checker{src: c.project.src}
	l := &layers{project: c.project, name: c.Env, top: c.project.root, env: c.section()}
	refuse := func(what, hint string, path ...any) {
		k.add(c.at(path...), Finding{Rule: "unsupported", Level: LevelError, Message: "shopfleet does not deploy " + what, Hint: hint})
	}
	if strings.HasSuffix(c.Main, ".py") {
		refuse("Python Workers", "deploy this Worker with wrangler", "main")
	}
	for _, u := range []struct{ key, what, hint string }{
		{"site", "Workers Sites", `move to static assets: "assets": { "directory": … }`},
		{"pages_build_output_dir", "Pages projects", "this is the configuration of a Pages project, not of a Worker"},
		{"addresses", "e-mail routing", "route the addresses in the dashboard and delete the key"},
		{"containers", "containers", "deploy this Worker with wrangler"},
		{"cloudchamber", "containers", "deploy this Worker with wrangler"},
		{"connect", "connect handlers", "deploy this Worker with wrangler"},
		{"queues.consumers", "queue consumers", "configure the consumer with wrangler queues consumer add and delete the key"},
		{"triggers.events", "event triggers", "deploy this Worker with wrangler"},
		{"unsafe.capnp", "Cap'n Proto schemas", "deploy this Worker with wrangler"},
		{"first_party_worker", "first-party Workers", "delete the key"},
	} {
		v, path := l.dotted(u.key)
		if v.truthy() && (!v.isObject() || len(v.elems)+len(v.members) > 0) {
			refuse(u.what, u.hint, path...)
		}
	}
	if v, path := l.get("compliance_region"); v.text() == "fedramp_high" {
		refuse("to FedRAMP accounts", "deploy this Worker with wrangler", path...)
	}
	if list, path := l.get("workflows"); list != nil {
		for i, e := range list.elems {
			if script := e.get("script_name").text(); script == "" || script == c.Name {
				refuse("workflows", "deploy the Worker that has the workflow with wrangler; a binding to another Worker's workflow (script_name) is fine", append(slices.Clone(path), i)...)
			}
		}
	}
	exports, path := l.get("exports")
	for _, m := range exports.properties() {
		if m.value.get("type").text() == "workflow" {
			refuse("workflows", "deploy this Worker with wrangler", append(slices.Clone(path), m.key)...)
		}
	}
	return k.findings.sorted()
}
