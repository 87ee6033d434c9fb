package wrangler_test

import (
	"archive/zip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// A file that esbuild reads as a tsconfig shows in what it says; what the machine has beside the commit must not.
func TestTSConfigStaysInside(t *testing.T) {
	const secret = "TOKEN=hidden-from-the-commit"
	outside := bundleFiles(t, map[string]string{
		"secret":           secret + "\n",
		"base.json":        `{ "compilerOptions": { "target": "` + secret + `", "jsxFactory": "a b ` + secret + `" } }`,
		"pkg/package.json": `{ "name": "pkg" }`, "pkg/tsconfig.json": secret,
		"dir/tsconfig.json": secret, "dir/a.ts": "export default 1;\n",
	})
	if archive, err := os.Create(filepath.Join(outside, "a.zip")); err != nil {
		t.Fatal(err)
	} else {
		w := zip.NewWriter(archive)
		f, err := w.Create("a.js")
		if err == nil {
			_, err = f.Write([]byte("export default '" + secret + "';"))
		}
		if err := errors.Join(err, w.Close(), archive.Close()); err != nil {
			t.Fatal(err)
		}
	}
	extends := func(target string) string { return fmt.Sprintf(`{ "extends": %q }`, target) }
	abs := filepath.Join(outside, "secret")
	virtual := "./__virtual__/x/99" + abs
	type project struct {
		name    string
		members string
		files   map[string]string
		links   map[string]string
		says    string // of the finding; "" for one of esbuild's messages
	}
	tests := []project{
		{"an absolute path", "", map[string]string{"tsconfig.json": extends(abs)}, nil, `tsconfig.json:1:14: `},
		{"a relative path", "", map[string]string{"tsconfig.json": extends("REL/secret")}, nil, `is outside the project`},
		{"valid JSON", "", map[string]string{"tsconfig.json": extends(filepath.Join(outside, "base.json"))}, nil, `is outside the project`},
		{"without .json", "", map[string]string{"tsconfig.json": extends(filepath.Join(outside, "base"))}, nil, `is outside the project`},
		{"an array", "", map[string]string{"tsconfig.json": fmt.Sprintf(`{ "extends": ["./ok.json", %q,], /* … */ }`, abs), "ok.json": "{}"}, nil, `tsconfig.json:1:28: `},
		{"two of them", "", map[string]string{"tsconfig.json": fmt.Sprintf(`{ "extends": %q, "extends": "./ok.json" }`, abs), "ok.json": "{}"}, nil, `is outside the project`},
		{"an escaped name", "", map[string]string{"tsconfig.json": fmt.Sprintf(`{ "\u0065xtends": %q }`, abs)}, nil, `is outside the project`},
		{"a comment that JavaScript ends", "", map[string]string{"tsconfig.json": "{ // \u2028 \"extends\": \"" + abs + "\"\n}"}, nil, `is outside the project`},
		{"a comment that a carriage return ends", "", map[string]string{"tsconfig.json": "{ // \r \"extends\": \"" + abs + "\"\n}"}, nil, `is outside the project`},
		{"a byte order mark", "", map[string]string{"tsconfig.json": "\uFEFF" + extends(abs)}, nil, ``},
		{"a chain", "", map[string]string{"tsconfig.json": extends("./a"), "a.json": extends("./conf/b.json"), "conf/b.json": extends("../REL/secret")}, nil, `is outside the project`},
		{"a directory below", "", map[string]string{"src/deep/tsconfig.json": extends(abs), "src/deep/a.ts": "export {}"}, nil, `src/deep/tsconfig.json:1:14: `},
		{"a jsconfig", "", map[string]string{"jsconfig.json": extends(abs)}, nil, `jsconfig.json:1:14: `},
		{"a link", "", nil, map[string]string{"tsconfig.json": abs}, `tsconfig.json leads outside the project`},
		{"a link that is extended", "", map[string]string{"tsconfig.json": extends("./a.json")}, map[string]string{"a.json": abs}, `is outside the project`},
		{"a link to a directory", "", map[string]string{"tsconfig.json": extends("./conf/secret")}, map[string]string{"conf": outside}, `is outside the project`},
		{"a linked directory's own", "", map[string]string{"src/index.ts": "import a from './d/a';\nexport default a;\n"}, map[string]string{"src/d": filepath.Join(outside, "dir")}, `would heed src/d/tsconfig.json`},
		{"the configured one", fmt.Sprintf(`"tsconfig": %q,`, abs), nil, nil, `wrangler.jsonc:5:2: `},
		{"the configured one extends", `"tsconfig": "conf/t.json",`, map[string]string{"conf/t.json": extends(abs)}, nil, `conf/t.json:1:14: `},
		{"a package", "", map[string]string{"tsconfig.json": extends("pkg")}, map[string]string{"node_modules/pkg": filepath.Join(outside, "pkg")}, `is outside the project`},
		{"a package that extends", "", map[string]string{"tsconfig.json": extends("@tsconfig/x/tsconfig.json"),
			"node_modules/@tsconfig/x/tsconfig.json": extends(abs)}, nil, `node_modules/@tsconfig/x/tsconfig.json:1:14: `},
		{"a package's tsconfig", "", map[string]string{"tsconfig.json": extends("pkg"),
			"node_modules/pkg/package.json": fmt.Sprintf(`{ "tsconfig": %q }`, abs), "node_modules/pkg/tsconfig.json": "{}"}, nil, `is outside the project`},
		{"a package's exports", "", map[string]string{"tsconfig.json": extends("pkg/base"),
			"node_modules/pkg/package.json": `{ "exports": { "./*": [{ "require": "./conf/*.json" }] } }`}, map[string]string{"node_modules/pkg/conf/base.json": abs}, `is outside the project`},
		{"a package's only export", "", map[string]string{"tsconfig.json": extends("pkg"),
			"node_modules/pkg/package.json": `{ "exports": "./x.json" }`, "node_modules/pkg/x.json": extends(abs)}, nil, `node_modules/pkg/x.json:1:14: `},
		{"a package with ..", "", map[string]string{"tsconfig.json": extends("pkg/../../REL/secret")}, nil, `is outside the project`},
		{"Yarn's manifest", "", map[string]string{"tsconfig.json": extends("pkg/secret"), ".pnp.data.json": fmt.Sprintf(`{
			"enableTopLevelFallback": true, "ignorePatternData": null, "fallbackExclusionList": [], "fallbackPool": [], "dependencyTreeRoots": [{"name":"n","reference":"workspace:."}],
			"packageRegistryData": [[null, [[null, {"packageLocation": "./", "packageDependencies": [["pkg", "1"]]}]]],
			["pkg", [["1", {"packageLocation": %q, "packageDependencies": []}]]]] }`, "REL/")}, nil, `Yarn Plug'n'Play`},
		{"Yarn's virtual directories", "", map[string]string{"tsconfig.json": extends(virtual)}, nil, `is outside the project`},
		{"code in a virtual directory", "", map[string]string{"src/index.ts": fmt.Sprintf("import a from './$$virtual/x/99%s/dir/a.ts';\nexport default a;\n", outside)}, nil, `[outside-project]`},
		{"code in an archive", "", map[string]string{"src/index.ts": fmt.Sprintf("import a from %q;\nexport default a;\n", filepath.Join(outside, "a.zip", "a.js"))}, nil, `[outside-project]`},
		{"a package.json", "", map[string]string{"src/index.ts": "import 'pkg';\nexport default {};\n"}, map[string]string{"node_modules/pkg/package.json": abs}, ``},
		{"a package.json beside the code", "", nil, map[string]string{"package.json": abs}, ``},
		{"a source map", "", map[string]string{"src/index.ts": "import './a.js';\nexport default {};\n", "src/a.js": "1;\n//# sourceMappingURL=file://" + abs + "\n"}, nil, ``},
		{"a directory by its absolute path", "", map[string]string{"src/index.ts": fmt.Sprintf("import a from '%s/dir/a';\nexport default a;\n", outside)}, nil, `[outside-project]`},
	}
	if runtime.GOOS == "linux" {
		t.Setenv("SHOPFLEET_TEST_SECRET", secret)
		for _, file := range []string{"/proc/self/environ", "/proc/self/fd/0", "/proc/self/root" + abs, "/proc/thread-self/environ", fmt.Sprintf("/proc/%d/environ", os.Getpid()), "/etc/passwd"} {
			tests = append(tests,
				project{file, "", map[string]string{"tsconfig.json": extends(file)}, nil, `is outside the project`},
				project{file + " configured", fmt.Sprintf(`"tsconfig": %q,`, file), nil, nil, `is outside the project`},
				project{file + " linked", "", nil, map[string]string{"tsconfig.json": file}, `leads outside the project`},
			)
		}
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := bundleFiles(t, worker(test.members, map[string]string{"src/index.ts": fetchHandler}))
			rel, err := filepath.Rel(dir, outside)
			if err != nil {
				t.Fatal(err)
			}
			for name, content := range test.files {
				writeFiles(t, dir, map[string]string{name: strings.ReplaceAll(content, "REL", filepath.ToSlash(rel))})
			}
			for link, target := range test.links {
				link = filepath.Join(dir, filepath.FromSlash(link))
				if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(target, link)); err != nil {
					t.Fatal(err)
				}
			}
			bundle, err := bundleConfig(t, dir, "").Bundle(t.Context(), wrangler.BundleOptions{})
			var findings wrangler.Findings
			if err == nil {
				findings = bundle.Warnings
				if strings.Contains(string(bundle.Main.Content), "hidden-from") {
					t.Errorf("the bundle has it:\n%s", bundle.Main.Content)
				}
			} else if !errors.As(err, &findings) {
				t.Fatal(err)
			}
			text := fmt.Sprintf("%v\n%+v", findings, findings)
			if strings.Contains(text, "hidden-from") || strings.Contains(text, "root:") {
				t.Errorf("it shows:\n%s", text)
			}
			if len(findings) == 0 || !strings.Contains(text, test.says) || !strings.Contains(text, "outside-project") {
				t.Errorf("Bundle returned %v and %s; want %q", err, text, test.says)
			}
		})
	}
}

// esbuild reads source maps, and the sources that they name, without asking.
func TestSourceMapsStayInside(t *testing.T) {
	const text = "hidden-from the commit"
	outside := bundleFiles(t, map[string]string{"secret": text, "a.map": `{"version":3,"sources":["x.ts"],"sourcesContent":["` + text + `"],"names":[],"mappings":"AAAA"}`})
	if strings.ContainsAny(outside, "% ") {
		t.Skip("the temporary directory is no plain URL")
	}
	names := func(source string) string {
		return fmt.Sprintf(`{"version":3,"sources":[%q],"names":[],"mappings":"AAAA"}`, source)
	}
	escaped := strings.Replace(outside, "/tmp", "/t%6dp", 1)
	for name, test := range map[string]struct{ comment, content string }{
		"a map":                       {"//# sourceMappingURL=file://" + outside + "/a.map", ""},
		"a map by its path":           {"//# sourceMappingURL=" + outside + "/a.map", ""},
		"a map by ../":                {"//# sourceMappingURL=REL/a.map", ""},
		"a map in another comment":    {"/*# sourceMappingURL=file://" + outside + "/a.map*/", ""},
		"an escaped map":              {"//@ sourceMappingURL=file://" + escaped + "/a.map", ""},
		"a map in a virtual place":    {"//# sourceMappingURL=__virtual__/x/99" + outside + "/a.map", ""},
		"a source":                    {"//# sourceMappingURL=a.js.map", names(outside + "/secret")},
		"a source by ../":             {"//# sourceMappingURL=a.js.map", names("REL/secret")},
		"a source by a URL":           {"//# sourceMappingURL=a.js.map", names("file://" + outside + "/secret")},
		"an escaped source":           {"//# sourceMappingURL=a.js.map", names("file://" + escaped + "/s%65cret")},
		"a source in a virtual place": {"//# sourceMappingURL=a.js.map", names("__virtual__/x/99" + outside + "/secret")},
	} {
		t.Run(name, func(t *testing.T) {
			dir := bundleFiles(t, worker("", map[string]string{"src/index.ts": "import './a.js';\nexport default {};\n"}))
			rel, err := filepath.Rel(filepath.Join(dir, "src"), outside)
			if err != nil {
				t.Fatal(err)
			}
			put := strings.NewReplacer("REL", filepath.ToSlash(rel))
			writeFiles(t, dir, map[string]string{"src/a.js": "console.log(1);\n" + put.Replace(test.comment) + "\n", "src/a.js.map": put.Replace(test.content)})
			b, err := bundleConfig(t, dir, "").Bundle(t.Context(), wrangler.BundleOptions{})
			if err == nil {
				t.Fatalf("it is bundled: %s", b.SourceMaps[0].Content)
			}
			if !strings.Contains(err.Error(), "[outside-project]") {
				t.Errorf("Bundle returned %v", err)
			}
		})
	}
	t.Run("a source that is not there", func(t *testing.T) {
		dir := bundleFiles(t, worker("", map[string]string{"src/index.ts": "import './a.js';\nexport default {};\n",
			"src/a.js": "console.log(1);\n//# sourceMappingURL=a.js.map\n", "src/a.js.map": names("../../../../nowhere/a.ts")}))
		mustBundle(t, bundleConfig(t, dir, ""), wrangler.BundleOptions{})
	})
}

// What is inside extends as before.
func TestTSConfigInside(t *testing.T) {
	factory := `{ "compilerOptions": { "jsxFactory": "made" } }`
	extends := func(target string) string { return fmt.Sprintf(`{ "extends": %q }`, target) }
	for name, files := range map[string]map[string]string{
		"a file":                     {"tsconfig.json": extends("./conf/base"), "conf/base.json": factory},
		"a file above":               {"src/tsconfig.json": extends(".."), "tsconfig.json": factory},
		"an array":                   {"tsconfig.json": `{ "extends": ["./a.json", "./b.json"], }`, "a.json": factory, "b.json": "{}"},
		"a package":                  {"tsconfig.json": extends("@tsconfig/x/tsconfig.json"), "node_modules/@tsconfig/x/tsconfig.json": factory, "node_modules/@tsconfig/x/package.json": "{}"},
		"a package's exports":        {"tsconfig.json": extends("pkg/x"), "node_modules/pkg/y.json": factory, "node_modules/pkg/package.json": `{ "exports": { "./x": "./y.json" } }`},
		"one that is not used":       {"tsconfig.json": factory, "node_modules/pkg/tsconfig.json": extends("/etc/passwd")},
		"one that extends nothing":   {"tsconfig.json": `{ "extends": "/nowhere/base.json", "compilerOptions": { "jsxFactory": "made" } }`},
		"two that extend each other": {"tsconfig.json": `{ "extends": "./a.json", "compilerOptions": { "jsxFactory": "made" } }`, "a.json": extends("./tsconfig.json")},
	} {
		t.Run(name, func(t *testing.T) {
			files["src/index.tsx"] = "declare const made: any;\nexport default { a: <a/> };\n"
			all := worker("", files)
			all["wrangler.jsonc"] = strings.Replace(all["wrangler.jsonc"], "src/index.ts", "src/index.tsx", 1)
			b := mustBundle(t, bundleConfig(t, bundleFiles(t, all), ""), wrangler.BundleOptions{})
			if !strings.Contains(string(b.Main.Content), "made(") {
				t.Errorf("the bundle is\n%s", b.Main.Content)
			}
		})
	}
	t.Run("above the project", func(t *testing.T) {
		root := bundleFiles(t, map[string]string{"tsconfig.json": factory})
		dir := filepath.Join(root, "packages", "worker")
		writeFiles(t, dir, worker("", map[string]string{"src/index.ts": fetchHandler}))
		_, err := bundleConfig(t, dir, "").Bundle(t.Context(), wrangler.BundleOptions{})
		if err == nil || !strings.Contains(err.Error(), "would heed ../../tsconfig.json") {
			t.Errorf("Bundle returned %v", err)
		}
		mustBundle(t, bundleConfig(t, dir, ""), wrangler.BundleOptions{Root: root})
	})
}
