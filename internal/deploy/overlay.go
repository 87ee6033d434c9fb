package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// Base is what main has below a shop's commit, and where the commit is different. The zero value is a main that has no
// config, which is refused.
type Base struct {
	// Config is wrangler.jsonc at Source.Main; nil when main has none.
	Config []byte
	// Changes are the paths in which the commit's tree is not main's, wrangler.jsonc included.
	Changes []Change
}

// Change is a path in which a shop's commit is not what main is, with git's modes before and after; 0 is no such path.
type Change struct {
	Path          string
	Before, After uint32
}

// listed is how many paths are named one by one.
const listed = 10

// overlay checks that the shop's branch changes nothing over main but what the policy lets it: files, and keys of its own
// environment. Code, and how it is built, is main's.
func (a *admission) overlay(src Source) {
	a.files(src)
	a.top()
	if src.Base.Config == nil {
		a.report("base-missing", Finding{File: src.ConfigName, Message: fmt.Sprintf("main has no %s at %.12s, so what the branch changes cannot be told", src.ConfigName, src.Main),
			Expected: "a " + src.ConfigName + " on main, with everything that all shops have in common", Hint: "commit it to main, and rebase the branch"})
		return
	}
	base, err := wrangler.Parse(src.Dir, src.ConfigName, src.Base.Config)
	if err != nil {
		a.report("base-unreadable", Finding{File: src.ConfigName, Message: fmt.Sprintf("%s of main, at %.12s, cannot be read: %s", src.ConfigName, src.Main, firstLine(err)),
			Expected: "a config that can be read", Hint: "correct it on main, and rebase the branch"})
		return
	}
	a.keys(src, base)
	a.members(src, base)
}

// files checks the paths in which the branch's tree differs.
func (a *admission) files(src Source) {
	drifted := 0
	for _, c := range src.Base.Changes {
		switch {
		case !src.Policy.InOverlay(c.Path):
			if drifted++; drifted <= listed {
				a.report("overlay-drift", Finding{File: c.Path, Message: fmt.Sprintf("branch %s %s, which is main's", src.Shop.Branch, c.doing()),
					Expected: "a branch that differs from main in " + strings.Join(src.Policy.Overlay, ", ") + " only", Hint: "make the change on main, for all shops, or take it back: git checkout main -- " + shown(c.Path)})
			}
		case c.After != 0 && !regular(c.After):
			a.report("overlay-not-a-file", Finding{File: c.Path, Message: "it is a symbolic link or a submodule: what it holds is not in the branch",
				Expected: "a regular file", Hint: "commit the content itself"})
		case c.Path != src.ConfigName && (isCode(c.Path) || a.want.Config.CodeByRule(c.Path)):
			a.report("overlay-code", Finding{File: c.Path, Message: fmt.Sprintf("branch %s %s: it is code, or changes how code is built, run or served", src.Shop.Branch, c.doing()),
				Expected: "code that is main's in every shop", Hint: "make the change on main, for all shops"})
		case c.After != 0 && hasMarks(filepath.Join(src.Dir, filepath.FromSlash(c.Path)), src.Shop.Branch):
			a.report("overlay-marks", Finding{File: c.Path, Message: "a conflict of the weekly rebase is not resolved in it: it has git's marks",
				Expected: "a file without <<<<<<< main and >>>>>>> " + src.Shop.Branch, Hint: "leave what is right, and take the marks out"})
		}
	}
	if drifted > listed {
		a.report("overlay-drift", Finding{Message: fmt.Sprintf("branch %s differs from main in %d more paths", src.Shop.Branch, drifted-listed),
			Expected: "a branch that differs from main in " + strings.Join(src.Policy.Overlay, ", ") + " only", Hint: "rebase the branch onto main, and see git diff --name-only main..." + src.Shop.Branch})
	}
}

// hasMarks says whether a file has the marks that shopfleet rebase leaves where a person has to decide. They are looked for
// where both stand; a file that cannot be read is another finding's.
func hasMarks(name, branch string) bool {
	text, err := os.ReadFile(name)
	return err == nil && bytes.Contains(text, []byte("<<<<<<< main\n")) && bytes.Contains(text, []byte(">>>>>>> "+branch+"\n"))
}

// doing is what the branch did to the path.
func (c Change) doing() string {
	switch {
	case c.Before == 0:
		return "adds " + shown(c.Path)
	case c.After == 0:
		return "deletes " + shown(c.Path)
	}
	return "changes " + shown(c.Path)
}

// shown is a path for people: a name in git may hold anything.
func shown(name string) string {
	quoted := fmt.Sprintf("%q", name)
	if quoted == `"`+name+`"` && !strings.ContainsRune(name, ' ') {
		return name
	}
	return quoted
}

// regular says whether one of git's modes is that of a file.
func regular(mode uint32) bool { return mode&0o170000 == 0o100000 }

// codeEnds are the ends of the names of files that are code, in lower case. SQL is: migrations are run.
var codeEnds = []string{".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".mts", ".cts", ".wasm", ".wasm?module", ".wat", ".py", ".pyc", ".node", ".sql", ".sh"}

// buildNames are files that steer how code is built, or how it and the assets beside it are served, in lower case.
var buildNames = []string{
	"package.json", "jsconfig.json", ".npmrc", ".yarnrc", ".yarnrc.yml", "bunfig.toml", "deno.json", "deno.jsonc", "pnpm-workspace.yaml",
	"package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb", "deno.lock", "pyproject.toml", "requirements.txt",
	"wrangler.json", "wrangler.jsonc", "wrangler.toml", "_headers", "_redirects", "_routes.json", ".assetsignore",
}

// isCode says whether a file in the overlay would be code, or change what becomes of code. Case makes no difference, since
// it makes none on some people's disks.
func isCode(name string) bool {
	name = strings.ToLower(name)
	file := path.Base(name)
	return slices.Contains(buildNames, file) ||
		strings.HasPrefix(file, "tsconfig") && strings.HasSuffix(file, ".json") ||
		slices.ContainsFunc(codeEnds, func(end string) bool { return strings.HasSuffix(file, end) }) ||
		slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return part == "node_modules" || part == ".wrangler" })
}

// top refuses what stands at the top level and a Worker that is deployed without an environment would have: a binding to
// somebody's data, or a hostname. Some of it is inherited by every environment that does not say otherwise.
func (a *admission) top() {
	project := a.want.Config.Project()
	top, err := project.Resolve("")
	if err != nil {
		var found wrangler.Findings
		if !errors.As(err, &found) {
			return
		}
		for _, f := range found {
			a.report("base-unreadable", Finding{Level: f.Level, File: f.File, Line: f.Line, Column: f.Column, Message: f.Message, Expected: f.Expected, Hint: f.Hint, Source: f.Source})
		}
		return
	}
	at := func(message, expected, hint string, path ...any) Finding {
		return Finding(project.At(wrangler.Finding{Message: message, Expected: expected, Hint: hint}, path...))
	}
	const everywhere, move = "no bindings at the top level: a deploy without --env would use them", "bind it in each shop's environment"
	for _, b := range top.Bindings {
		if slices.ContainsFunc(ReachOf(b), func(r Reach) bool { return !r.Free }) {
			a.report("base-binding", at(fmt.Sprintf("the top level binds %s (%s): the Worker %s, deployed without an environment, would reach it", b.Name, b.Type, top.Name), everywhere, move, b.Path()...))
		}
	}
	for _, key := range []string{"tail_consumers", "streaming_tail_consumers", "previews"} {
		if v := project.Value(key); len(v) > 0 && !slices.Contains([]string{"null", "[]", "{}"}, string(v)) {
			a.report("base-binding", at(key+" at the top level reaches what a deploy without an environment must not", everywhere, move, key))
		}
	}
	for _, r := range top.Routes {
		a.report("base-route", at(fmt.Sprintf("the top level has route %q: every environment without routes of its own inherits it, and the last one deployed takes the hostname", r.Pattern),
			"routes in the shops' environments only", "move it into the environment of the shop whose hostname it is", r.Path()...))
	}
}

// keys compares wrangler.jsonc with main's, for what it means.
func (a *admission) keys(src Source, base *wrangler.Project) {
	project, slug := a.want.Config.Project(), src.Shop.Slug
	at := func(d wrangler.Difference, message, expected, hint string) Finding {
		return Finding(project.At(wrangler.Finding{Message: message, Expected: expected, Hint: hint}, d.Path...))
	}
	foreign := map[string]bool{}
	for _, d := range project.Differences(base) {
		switch {
		case d.Env == slug && (d.Key == "" && d.New || slices.Contains(src.Policy.OverlayKeys, d.Key)):
		case d.Env == slug && d.Gone:
			a.report("overlay-key-drift", at(d, fmt.Sprintf("env.%s lacks %q, which main has there", slug, d.Key), "main's value", "put it back"))
		case d.Env == slug:
			hint := "set it on main for all shops, or let branches set it: overlay_keys in fleet.yml"
			if fleet.IsMains(d.Key) {
				hint = "set it on main for all shops: it changes what is run, and no branch may"
			}
			a.report("overlay-key-drift", at(d, fmt.Sprintf("env.%s sets %q, which is main's", slug, d.Key),
				"one of "+strings.Join(src.Policy.OverlayKeys, ", "), hint))
		case d.Env != "" && d.Key == "" && d.New:
			foreign[d.Env] = true
			a.report("env-foreign", at(d, fmt.Sprintf("branch %s brings env.%s, which is another shop's and not on main", src.Shop.Branch, d.Env),
				"env."+slug+" only", "delete it: each shop's environment stands on its own branch"))
		case foreign[d.Env]:
		case d.Env != "":
			a.report("overlay-key-drift", at(d, fmt.Sprintf("env.%s is not what main has", d.Env), "main's value: the branch is shop "+slug+"'s", "put back what main has"))
		default:
			hint := "change it on main, for all shops"
			if slices.Contains(src.Policy.OverlayKeys, d.Key) {
				hint = "set env." + slug + "." + d.Key + " instead, or change it on main for all shops"
			}
			a.report("overlay-key-drift", at(d, fmt.Sprintf("%q at the top level is not what main has", d.Key), "main's value", hint))
		}
	}
}

// members checks what stands inside of the keys that a branch may set, and is main's or reaches something all the same.
func (a *admission) members(src Source, base *wrangler.Project) {
	c, env := a.want.Config, a.want.Config.Env
	project := c.Project()
	text := func(path ...any) string {
		var s string
		if v := project.Value(path...); v != nil && json.Unmarshal(v, &s) != nil {
			return string(v)
		}
		return s
	}
	for _, p := range []struct{ list, preview, real string }{
		{"d1_databases", "preview_database_id", "database_id"}, {"kv_namespaces", "preview_id", "id"}, {"r2_buckets", "preview_bucket_name", "bucket_name"},
	} {
		var list []json.RawMessage
		if json.Unmarshal(project.Value("env", env, p.list), &list) != nil {
			continue
		}
		for i := range list {
			if v := text("env", env, p.list, i, p.preview); v != "" && v != text("env", env, p.list, i, p.real) {
				a.refuse("preview-not-owned", []any{"env", env, p.list, i, p.preview}, fmt.Sprintf("%s is %q, which nobody can prove to be shop %s's", p.preview, v, src.Shop.Slug),
					"the same as "+p.real+", or nothing", "delete it: previews run on the shop's own, or not at all")
			}
		}
	}
	for _, db := range c.D1 {
		at := func(key string) []any { return append(slices.Clip(db.Path()), key) }
		dir := path.Clean(db.MigrationsDir)
		if dir != "migrations" && !slices.Contains(base.Strings("migrations_dir"), db.MigrationsDir) &&
			(src.Policy.InOverlay(dir) || src.Policy.InOverlay(dir+"/0001.sql") || dir == "." || strings.HasPrefix(dir, "..") || path.IsAbs(dir)) {
			a.refuse("overlay-migrations", at("migrations_dir"), fmt.Sprintf("migrations_dir %q lies where a branch may put files: migrations are code", db.MigrationsDir), "main's directory", "leave it out")
		}
		if db.MigrationsTable != "d1_migrations" && !slices.Contains(base.Strings("migrations_table"), db.MigrationsTable) {
			a.refuse("overlay-migrations", at("migrations_table"), fmt.Sprintf("migrations_table %q is neither the default nor on main: every migration would run again", db.MigrationsTable), "d1_migrations", "leave it out")
		}
		if db.MigrationsPattern != "" && !slices.Contains(base.Strings("migrations_pattern"), db.MigrationsPattern) {
			a.refuse("overlay-migrations", at("migrations_pattern"), fmt.Sprintf("migrations_pattern %q is not on main: it chooses which migrations run", db.MigrationsPattern), "no migrations_pattern", "leave it out")
		}
	}
	for _, name := range project.Strings("destinations") {
		if !slices.Contains(base.Strings("destinations"), name) {
			a.refuse("overlay-key-drift", []any{"env", env, "observability"}, fmt.Sprintf("observability sends logs or traces to %q, which is not on main", name), "the destinations that main has", "remove it")
		}
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
