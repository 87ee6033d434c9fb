package wrangler

import (
	"encoding/json"
	"path"
	"path/filepath"
	"strings"
)

func (l *layers) databases() []D1Database {
	list, path := l.get("d1_databases")
	if list == nil {
		return nil
	}
	out := make([]D1Database, len(list.elems))
	for i, e := range list.elems {
		out[i] = D1Database{
			Binding:           e.get("binding").text(),
			DatabaseName:      e.get("database_name").text(),
			DatabaseID:        e.get("database_id").text(),
			PreviewDatabaseID: e.get("preview_database_id").text(),
			InternalEnv:       e.get("database_internal_env").text(),
			MigrationsDir:     orDefault(e.get("migrations_dir"), defaultMigrationsDir),
			MigrationsTable:   orDefault(e.get("migrations_table"), defaultMigrationsTable),
			MigrationsPattern: e.get("migrations_pattern").text(),
			path:              append(path[:len(path):len(path)], i),
			hasDir:            e.get("migrations_dir") != nil,
		}
	}
	return out
}

// triggers sets what makes the Worker run: crons, routes and the workers.dev switches.
func (l *layers) triggers(c *Config) {
	if crons := l.value("triggers").get("crons"); crons != nil {
		c.Crons, c.CronsSet = crons.texts(), true
	}
	routes, at := l.get("routes")
	if routes == nil {
		if route, path := l.get("route"); route != nil {
			c.Routes = []Route{newRoute(route, path)}
		}
	} else {
		for i, r := range routes.elems {
			c.Routes = append(c.Routes, newRoute(r, append(at[:len(at):len(at)], i)))
		}
	}
	c.WorkersDev = len(c.Routes) == 0
	if dev := l.value("workers_dev"); dev.is(kindBool) {
		c.WorkersDev, c.WorkersDevSet = dev.boolean, true
	}
	c.PreviewURLs = l.value("preview_urls").boolPtr()
}

func newRoute(v *value, path []any) Route {
	if v.is(kindString) {
		pattern := newObject()
		pattern.set("pattern", v)
		return Route{Pattern: v.str, Raw: pattern.json(), path: path}
	}
	return Route{
		Pattern:         v.get("pattern").text(),
		ZoneID:          v.get("zone_id").text(),
		ZoneName:        v.get("zone_name").text(),
		CustomDomain:    v.get("custom_domain").truthy(),
		Enabled:         v.get("enabled").boolPtr(),
		PreviewsEnabled: v.get("previews_enabled").boolPtr(),
		Raw:             v.json(),
		path:            path,
	}
}

func (l *layers) assets() *Assets {
	v := l.value("assets")
	if v == nil {
		return nil
	}
	a := &Assets{
		Binding:          v.get("binding").text(),
		HTMLHandling:     v.get("html_handling").text(),
		NotFoundHandling: v.get("not_found_handling").text(),
		BasePath:         v.get("base_path").text(),
		RunWorkerFirst:   v.get("run_worker_first").json(),
	}
	if dir := v.get("directory"); dir.truthy() {
		a.Directory = l.resolvePath(dir)
	}
	return a
}

func (l *layers) rules() []Rule {
	list := l.value("rules")
	if !list.is(kindArray) {
		return nil
	}
	var out []Rule
	for _, e := range list.elems {
		out = append(out, Rule{
			Type:        e.get("type").text(),
			Globs:       e.get("globs").texts(),
			Fallthrough: e.get("fallthrough").boolPtr(),
		})
	}
	return out
}

func (l *layers) files(key string) []FileBinding {
	var out []FileBinding
	for _, m := range l.top.get(key).properties() {
		out = append(out, FileBinding{m.key, l.resolvePath(m.value)})
	}
	return out
}

// durableObjects sets how Durable Object classes come and go, and how running ones get new code.
func (l *layers) durableObjects(c *Config) {
	if list := l.value("migrations"); list != nil {
		for _, e := range list.elems {
			step := newObject()
			for _, m := range e.members {
				if m.key != "tag" {
					step.members = append(step.members, m)
				}
			}
			c.DOMigrations = append(c.DOMigrations, DOMigration{Tag: e.get("tag").text(), Step: step.json()})
		}
	}
	strategy := newObject()
	configured := l.value("durable_objects").get("code_update_strategy")
	if configured.get("mode").text() == "immediate" {
		strategy.set("mode", configured.get("mode"))
	} else {
		strategy.set("mode", &value{kind: kindString, str: "deferred"})
		delay := configured.get("max_delay")
		if delay == nil {
			delay = &value{kind: kindNumber, num: 300}
		}
		strategy.set("max_delay", delay)
	}
	c.CodeUpdateStrategy = strategy.json()
}

// placement is the value as it travels, nil for none.
func placement(v *value) json.RawMessage {
	if v == nil {
		return nil
	}
	out := newObject()
	mode := func(name string) { out.set("mode", &value{kind: kindString, str: name}) }
	switch hint := v.get("hint"); {
	case !hint.truthy() && v.get("mode").text() == "off":
		return nil
	case hint.truthy() || v.get("mode").text() == "smart":
		mode("smart")
		out.set("hint", hint)
		return out.json()
	}
	for _, key := range []string{"region", "host", "hostname"} {
		if target := v.get(key); target.truthy() {
			mode("targeted")
			out.set(key, target)
			return out.json()
		}
	}
	return nil
}

// exports is the value in the order in which wrangler sends it: Workers, Durable Objects, workflows. It also
// says whether there are Durable Objects.
func exports(v *value) (json.RawMessage, bool) {
	out := newObject()
	durable := false
	for _, typ := range []string{"worker", "durable-object", "workflow"} {
		for _, m := range v.properties() {
			if m.value.get("type").text() == typ {
				out.set(m.key, m.value)
				durable = durable || typ == "durable-object"
			}
		}
	}
	if len(out.members) == 0 {
		return nil, false
	}
	sortMembers(out.members)
	return out.json(), durable
}

// cutName splits "wire=config"; a name without "=" is both.
func cutName(name string) (wire, config string) {
	wire, config, ok := strings.Cut(name, "=")
	if !ok {
		config = wire
	}
	return wire, config
}

// slashed is p relative to the project, slash separated, as people know it.
func (c *Config) slashed(p string) string {
	rel, err := filepath.Rel(c.Dir, p)
	if err != nil {
		return filepath.ToSlash(p)
	}
	return path.Clean(filepath.ToSlash(rel))
}
