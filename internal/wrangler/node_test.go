package wrangler_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// resolutionTree has packages of every kind that matters to CommonJS resolution.
var resolutionTree = map[string]string{
	"app/file.js":                            "",
	"app/both.js":                            "",
	"app/both/index.js":                      "",
	"app/only.json":                          "{}",
	"app/dir/index.js":                       "",
	"app/jsondir/index.json":                 "{}",
	"app/main/package.json":                  `{ "main": "lib/start" }`,
	"app/main/lib/start.js":                  "",
	"app/badmain/package.json":               `{ "main": "gone.js" }`,
	"app/badmain/index.js":                   "",
	"app/dot/package.json":                   `{ "main": "." }`,
	"app/dot/index.js":                       "",
	"app/native.node":                        "",
	"app/a b.txt":                            "",
	"node_modules/up/index.js":               "",
	"node_modules/up/sub/deep.js":            "",
	"node_modules/shadow/index.js":           "far",
	"app/node_modules/shadow/index.js":       "near",
	"app/node_modules/@scope/p/package.json": `{ "main": "./m.js" }`,
	"app/node_modules/@scope/p/m.js":         "",
	"app/node_modules/@scope/p/x.js":         "",
	"app/node_modules/exp/package.json": `{
		"main": "main.js",
		"exports": {
			".": { "types": "./t.d.ts", "import": "./esm.js", "require": "./cjs.js" },
			"./string": "./cjs.js",
			"./array": [{ "browser": "./gone.js" }, "./cjs.js"],
			"./nested": { "node": { "import": "./esm.js", "default": "./cjs.js" } },
			"./order": { "default": "./cjs.js", "require": "./esm.js" },
			"./private": null,
			"./gone": "./gone.js",
			"./f/*": "./files/*.js",
			"./f/special/*": "./special/*.js",
			"./f/internal/*": null,
			"./*.css": "./styles/*.css",
			"./outside": "../up/index.js"
		}
	}`,
	"app/node_modules/exp/main.js":             "",
	"app/node_modules/exp/cjs.js":              "",
	"app/node_modules/exp/esm.js":              "",
	"app/node_modules/exp/files/one.js":        "",
	"app/node_modules/exp/files/deep/two.js":   "",
	"app/node_modules/exp/files/internal/x.js": "",
	"app/node_modules/exp/special/one.js":      "",
	"app/node_modules/exp/styles/a.css":        "",
	"app/node_modules/sugar/package.json":      `{ "exports": "./s.js" }`,
	"app/node_modules/sugar/s.js":              "",
	"app/node_modules/cond/package.json":       `{ "exports": { "workerd": "./w.js", "module-sync": "./s.js", "default": "./d.js" } }`,
	"app/node_modules/cond/w.js":               "",
	"app/node_modules/cond/s.js":               "",
	"app/node_modules/cond/d.js":               "",
	"app/node_modules/broken/package.json":     `{ "main": 1 }`,
	"app/node_modules/broken/index.js":         "",
	"app/node_modules/file.js":                 "",
}

// resolutions are specifiers with the files that Node.js and the npm package resolve find from app/, "" for
// none.
var resolutions = []struct{ specifier, node, npm string }{
	{"./file", "app/file.js", "app/file.js"},
	{"./file.js", "app/file.js", "app/file.js"},
	{"./file.ts", "", ""},
	{"./both", "app/both.js", "app/both.js"},
	{"./both/", "app/both/index.js", "app/both/index.js"},
	{"./only", "app/only.json", ""},
	{"./dir", "app/dir/index.js", "app/dir/index.js"},
	{"./jsondir", "app/jsondir/index.json", ""},
	{"./main", "app/main/lib/start.js", "app/main/lib/start.js"},
	{"./badmain", "app/badmain/index.js", "app/badmain/index.js"},
	{"./dot", "app/dot/index.js", "app/dot/index.js"},
	{"./native", "app/native.node", ""},
	{"./a b.txt", "app/a b.txt", "app/a b.txt"},
	{"../node_modules/up/sub/deep", "node_modules/up/sub/deep.js", "node_modules/up/sub/deep.js"},
	{"up", "node_modules/up/index.js", "node_modules/up/index.js"},
	{"up/sub/deep.js", "node_modules/up/sub/deep.js", "node_modules/up/sub/deep.js"},
	{"up/sub", "", ""},
	{"shadow", "app/node_modules/shadow/index.js", "app/node_modules/shadow/index.js"},
	{"@scope/p", "app/node_modules/@scope/p/m.js", "app/node_modules/@scope/p/m.js"},
	{"@scope/p/x", "app/node_modules/@scope/p/x.js", "app/node_modules/@scope/p/x.js"},
	{"@scope/gone", "", ""},
	{"exp", "app/node_modules/exp/cjs.js", "app/node_modules/exp/main.js"},
	{"exp/string", "app/node_modules/exp/cjs.js", ""},
	{"exp/array", "app/node_modules/exp/cjs.js", ""},
	{"exp/nested", "app/node_modules/exp/cjs.js", ""},
	{"exp/order", "app/node_modules/exp/cjs.js", ""},
	{"exp/private", "", ""},
	{"exp/gone", "", ""},
	{"exp/cjs.js", "", "app/node_modules/exp/cjs.js"},
	{"exp/f/one", "app/node_modules/exp/files/one.js", ""},
	{"exp/f/deep/two", "app/node_modules/exp/files/deep/two.js", ""},
	{"exp/f/special/one", "app/node_modules/exp/special/one.js", ""},
	{"exp/f/internal/x", "", ""},
	{"exp/f/", "", ""},
	{"exp/a.css", "app/node_modules/exp/styles/a.css", ""},
	{"exp/outside", "", ""},
	{"sugar", "app/node_modules/sugar/s.js", ""},
	{"sugar/s.js", "", "app/node_modules/sugar/s.js"},
	{"cond", "app/node_modules/cond/s.js", ""},
	{"broken", "app/node_modules/broken/index.js", ""},
	{"file", "app/node_modules/file.js", "app/node_modules/file.js"},
	{"fs", "fs", "fs"},
	{"node:fs", "node:fs", "node:fs"},
	{"gone", "", ""},
}

func TestResolution(t *testing.T) {
	dir := bundleFiles(t, resolutionTree)
	resolve := func(find func(string, string) (string, bool), specifier string) string {
		file, ok := find(specifier, filepath.Join(dir, "app"))
		if !ok {
			return ""
		}
		if rel, err := filepath.Rel(dir, file); err == nil && filepath.IsAbs(file) {
			return filepath.ToSlash(rel)
		}
		return file
	}
	for _, test := range resolutions {
		if got := resolve(wrangler.NodeResolve, test.specifier); got != test.node {
			t.Errorf("Node.js finds %q for %q, we find %q", test.node, test.specifier, got)
		}
		if got := resolve(wrangler.NPMResolve, test.specifier); got != test.npm {
			t.Errorf("npm's resolve finds %q for %q, we find %q", test.npm, test.specifier, got)
		}
	}
}

// Node.js gives a package its real name, the npm package resolve the one it was found by.
func TestResolutionLinks(t *testing.T) {
	dir := bundleFiles(t, map[string]string{"store/pkg@1/index.js": "", "node_modules/other/index.js": ""})
	link := filepath.Join(dir, "node_modules", "pkg")
	if err := os.Symlink(filepath.Join(dir, "store", "pkg@1"), link); err != nil {
		t.Fatal(err)
	}
	if file, _ := wrangler.NodeResolve("pkg", dir); file != filepath.Join(dir, "store", "pkg@1", "index.js") {
		t.Errorf("Node.js's way leads to %s", file)
	}
	if file, _ := wrangler.NPMResolve("pkg", dir); file != filepath.Join(link, "index.js") {
		t.Errorf("npm's way leads to %s", file)
	}
}

// TestResolutionEqualsNode holds the table above to the real ones: Node.js, and the resolve inside wrangler.
func TestResolutionEqualsNode(t *testing.T) {
	requireJudge(t)
	dir := bundleFiles(t, resolutionTree)
	specifiers := make([]string, len(resolutions))
	for i, r := range resolutions {
		specifiers[i] = r.specifier
	}
	in, err := json.Marshal(specifiers)
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs(filepath.Join("testdata", "bundle", "resolve.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, exit := runNode(t, dir, in, script, filepath.Join(judgeModules(t), "wrangler", "wrangler-dist", "cli.js"), dir)
	if exit != 0 {
		t.Fatalf("resolve.mjs ended with %d: %s", exit, stderr)
	}
	var answers []struct{ Node, NPM string }
	if err := json.Unmarshal([]byte(stdout), &answers); err != nil {
		t.Fatal(err)
	}
	for i, r := range resolutions {
		if answers[i].Node != r.node {
			t.Errorf("for %q the table says that Node.js finds %q, it finds %q", r.specifier, r.node, answers[i].Node)
		}
		if answers[i].NPM != r.npm {
			t.Errorf("for %q the table says that resolve finds %q, it finds %q", r.specifier, r.npm, answers[i].NPM)
		}
	}
}
