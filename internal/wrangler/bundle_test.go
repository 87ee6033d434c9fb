package wrangler_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// TestBundleGolden shows whole bundles. Read the difference after -update: what changed travels.
func TestBundleGolden(t *testing.T) {
	for _, test := range []struct{ dir, env string }{
		{"default-rules", ""},
		{"alias-define", "minified"},
		{"service-worker", ""},
	} {
		t.Run(test.dir, func(t *testing.T) {
			b := mustBundle(t, bundleConfig(t, bundleProject(t, test.dir, false), test.env), wrangler.BundleOptions{})
			var got bytes.Buffer
			for _, p := range bundleParts(b) {
				fmt.Fprintf(&got, "-- %s (%s) --\n", p.Name, p.ContentType)
				if utf8.Valid(p.Content) && !bytes.ContainsRune(p.Content, 0) {
					got.Write(bytes.TrimSuffix(p.Content, []byte("\n")))
				} else {
					fmt.Fprintf(&got, "%x", p.Content)
				}
				got.WriteByte('\n')
			}
			golden := filepath.Join("testdata", "bundle", "golden", test.dir+".txt")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("the bundle differs from %s:\n%s", golden, firstDifference(got.Bytes(), want))
			}
		})
	}
}

func mustBundle(t testing.TB, c *wrangler.Config, o wrangler.BundleOptions) *wrangler.Bundle {
	t.Helper()
	b, err := c.Bundle(t.Context(), o)
	if err != nil {
		t.Fatalf("Bundle: %v", err)
	}
	return b
}

// bundleFiles writes a project and returns its directory.
func bundleFiles(t testing.TB, files map[string]string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, files)
	return dir
}

// What the machine has beside the commit does not get into a bundle, whichever way code asks for it.
func TestBundleStaysInside(t *testing.T) {
	outside := bundleFiles(t, map[string]string{"environ": "TOKEN=secret", "code.js": "export default 'secret';\n"})
	environ, code := filepath.Join(outside, "environ"), filepath.Join(outside, "code.js")
	rule := `"rules": [{ "type": "Text", "globs": ["**/environ"], "fallthrough": true }],`
	tests := []struct {
		name    string
		members string
		index   string
		links   map[string]string // in the project, to their targets
		want    []string
	}{
		{"a module by its absolute path", rule, fmt.Sprintf("import e from %q;\nexport default e;\n", environ), nil,
			[]string{"src/index.ts:1:15 outside-project"}},
		{"a module by ../", rule, "import e from '../../REL/environ';\nexport default e;\n", nil,
			[]string{"src/index.ts:1:15 outside-project"}},
		{"a module through a link", rule, "import e from './link/environ';\nexport default e;\n", map[string]string{"src/link": outside},
			[]string{"src/index.ts:1:15 outside-project"}},
		{"code by its absolute path", "", fmt.Sprintf("import e from %q;\nexport default e;\n", code), nil,
			[]string{"src/index.ts:1:15 outside-project"}},
		{"code through a link", "", "import e from './code.js';\nexport default e;\n", map[string]string{"src/code.js": code},
			[]string{"src/index.ts:1:15 outside-project"}},
		{"an alias", fmt.Sprintf(`"alias": { "a": %q },`, code), "import e from 'a';\nexport default e;\n", nil,
			[]string{"src/index.ts:1:15 outside-project"}},
		{"an import without ./", strings.Replace(rule, "**/environ", "*environ", 1), "import e from 'environ';\nexport default e;\n",
			map[string]string{"src/environ": environ}, []string{"src/index.ts:1:15 outside-project"}},
		{"a module that is found", `"find_additional_modules": true,`, fetchHandler, map[string]string{"src/e.txt": environ},
			[]string{"src/e.txt outside-project"}},
		{"a module that is found without bundling", `"no_bundle": true,`, fetchHandler, map[string]string{"src/e.txt": environ},
			[]string{"src/e.txt outside-project"}},
		{"a source map", `"no_bundle": true, "upload_source_maps": true,`, fetchHandler + "//# sourceMappingURL=link/environ\n", map[string]string{"src/link": outside},
			[]string{"src/index.ts source-map"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := bundleFiles(t, worker(test.members, nil))
			rel, err := filepath.Rel(dir, outside)
			if err != nil {
				t.Fatal(err)
			}
			index := strings.ReplaceAll(test.index, "../../REL", "../"+filepath.ToSlash(rel))
			writeFiles(t, dir, map[string]string{"src/index.ts": index})
			for link, target := range test.links {
				if err := os.Symlink(target, filepath.Join(dir, filepath.FromSlash(link))); err != nil {
					t.Fatal(err)
				}
			}
			_, err = bundleConfig(t, dir, "").Bundle(t.Context(), wrangler.BundleOptions{})
			var findings wrangler.Findings
			if !errors.As(err, &findings) || !slices.Equal(places(findings), test.want) {
				t.Fatalf("Bundle returned %v; want findings at %v", err, test.want)
			}
		})
	}
	t.Run("the entry point", func(t *testing.T) {
		for _, members := range []string{"", `"no_bundle": true,`} {
			files := worker(members, nil)
			files["wrangler.jsonc"] = strings.Replace(files["wrangler.jsonc"], "src/index.ts", code, 1)
			_, err := bundleConfig(t, bundleFiles(t, files), "").Bundle(t.Context(), wrangler.BundleOptions{})
			if err == nil || !strings.Contains(err.Error(), "[outside-project]") {
				t.Errorf("%s Bundle returned %v", members, err)
			}
		}
	})
	t.Run("a wider root", func(t *testing.T) {
		root := bundleFiles(t, map[string]string{"shared/code.ts": "export default 'shared';\n"})
		dir := filepath.Join(root, "packages", "worker")
		writeFiles(t, dir, worker("", map[string]string{"src/index.ts": "import e from '../../../shared/code';\nexport default e;\n"}))
		b := mustBundle(t, bundleConfig(t, dir, ""), wrangler.BundleOptions{Root: root})
		if !bytes.Contains(b.Main.Content, []byte("// ../../shared/code.ts")) {
			t.Errorf("the bundle is\n%s", b.Main.Content)
		}
	})
}

func TestBundleFormats(t *testing.T) {
	tests := []struct {
		name, code string
		format     wrangler.Format
		main       wrangler.ModuleType
	}{
		{"a default export", "export default {};", wrangler.Modules, wrangler.ESModule},
		{"only a class", "export class A {}", wrangler.Modules, wrangler.ESModule},
		{"no export", "addEventListener('fetch', () => {});", wrangler.ServiceWorker, wrangler.CommonJS},
		{"an export and a listener", "export const a = 1; self.addEventListener('fetch', () => {});", wrangler.ServiceWorker, wrangler.CommonJS},
		{"a default export and a listener", "addEventListener('x', () => {}); export default {};", wrangler.Modules, wrangler.ESModule},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := bundleFiles(t, worker("", map[string]string{"src/index.ts": test.code}))
			b := mustBundle(t, bundleConfig(t, dir, ""), wrangler.BundleOptions{})
			if b.Format != test.format || b.Main.Type != test.main {
				t.Errorf("format %v, main %s; want %v, %s", b.Format, b.Main.Type, test.format, test.main)
			}
			if b.Main.Name != "index.js" {
				t.Errorf("main is called %q", b.Main.Name)
			}
		})
	}
}

// A Worker that has no code has no bundle, but a build.command that may make the assets runs.
func TestBundleAssetsOnly(t *testing.T) {
	dir := bundleFiles(t, map[string]string{
		"wrangler.jsonc": `{ "name": "n", "assets": { "directory": "public" }, "build": { "command": "mkdir public" } }`,
	})
	b := mustBundle(t, bundleConfig(t, dir, ""), wrangler.BundleOptions{})
	if b.Main.Name != "" || b.Modules != nil || b.Digest() == "" {
		t.Errorf("the bundle is %+v with digest %q", b, b.Digest())
	}
	if _, err := os.Stat(filepath.Join(dir, "public")); err != nil {
		t.Errorf("build.command did not run: %v", err)
	}
}

// The order of modules is that of the imports, breadth first, however the goroutines that read them run.
func TestBundleModuleOrder(t *testing.T) {
	files := map[string]string{}
	var index strings.Builder
	var want []string
	for i := range 20 {
		fmt.Fprintf(&index, "import './part%02d';\nimport t%d from './%02d.txt';\nconsole.log(t%d);\n", i, i, 99-i, i)
		want = append(want, fmt.Sprintf("./%02d.txt", 99-i))
		files[fmt.Sprintf("src/%02d.txt", 99-i)] = fmt.Sprint("top ", i)
	}
	for i := range 20 {
		files[fmt.Sprintf("src/part%02d.ts", i)] = fmt.Sprintf("import a from './z%02d.txt';\nimport b from './a%02d.txt';\nconsole.log(a, b);\n", i, i)
		files[fmt.Sprintf("src/z%02d.txt", i)], files[fmt.Sprintf("src/a%02d.txt", i)] = fmt.Sprint("z", i), fmt.Sprint("a", i)
		want = append(want, fmt.Sprintf("./z%02d.txt", i), fmt.Sprintf("./a%02d.txt", i))
	}
	for _, format := range []string{"export default {};\n", "addEventListener('fetch', () => {});\n"} {
		files["src/index.ts"] = index.String() + format
		b := mustBundle(t, bundleConfig(t, bundleFiles(t, worker(`"preserve_file_names": true,`, files)), ""), wrangler.BundleOptions{})
		var got []string
		for _, m := range b.Modules {
			got = append(got, m.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: modules are in the order\n%v\nwant\n%v", b.Format, got, want)
		}
	}
}

// What unenv and the preset give is in the bundle, and what is injected in wrangler's order.
func TestBundleUnenv(t *testing.T) {
	preset := "node_modules/@cloudflare/unenv-preset/"
	dir := bundleFiles(t, map[string]string{
		"wrangler.jsonc":                      `{ "name": "n", "main": "index.js", "compatibility_date": "2025-09-01", "compatibility_flags": ["nodejs_compat"] }`,
		"index.js":                            "const inherits = require('inherits');\nimport os from 'node:os';\nexport default { os, inherits };\n",
		"node_modules/unenv/package.json":     `{ "exports": { "./package.json": "./package.json", "./*": "./*.mjs" } }`,
		"node_modules/unenv/node/os.mjs":      "export default 'os of unenv';\n",
		"node_modules/unenv/npm/inherits.mjs": "export default 'inherits of unenv';\n",
		preset + "package.json":               `{ "version": "2.16.2", "exports": { "./package.json": "./package.json", "./*": "./*.mjs" } }`,
		preset + "node/process.mjs":           "export default 'process of the preset';\n",
		preset + "node/console.mjs":           "export default 'console of the preset';\n",
		preset + "polyfill/performance.mjs":   "globalThis.performance = 'polyfill';\n",
	})
	b := mustBundle(t, bundleConfig(t, dir, ""), wrangler.BundleOptions{})
	if len(b.Warnings) > 0 {
		t.Errorf("warnings: %v", b.Warnings)
	}
	for _, want := range []string{
		"globalThis.process = process_default", "globalThis.console = console_default", "polyfill", "os of unenv",
		// required, as CommonJS sees it
		"inherits of unenv", `"required-unenv-alias:inherits"`,
		// the order of what is injected
		`// index.js
init_virtual_unenv_global_polyfill_cloudflare_unenv_preset_node_process();
init_virtual_unenv_global_polyfill_cloudflare_unenv_preset_node_console();
init_performance();
`,
	} {
		if !bytes.Contains(b.Main.Content, []byte(want)) {
			t.Errorf("there is no %q in the bundle:\n%s", want, b.Main.Content)
		}
	}
}

func TestBundleNodeEnv(t *testing.T) {
	dir := bundleFiles(t, worker("", map[string]string{"src/index.ts": "export default process.env.NODE_ENV;\n"}))
	t.Setenv("NODE_ENV", "from the environment")
	t.Setenv("WRANGLER_BUILD_CONDITIONS", "node")
	for nodeEnv, want := range map[string]string{"": `"production"`, `st"ging`: `'st"ging'`} {
		b := mustBundle(t, bundleConfig(t, dir, ""), wrangler.BundleOptions{NodeEnv: nodeEnv})
		if !bytes.Contains(b.Main.Content, []byte(want)) {
			t.Errorf("NodeEnv %q: there is no %s in\n%s", nodeEnv, want, b.Main.Content)
		}
	}
}

// cancelling is a context that is cancelled when it has been asked for its error n times.
type cancelling struct {
	context.Context
	cancel context.CancelFunc
	left   atomic.Int32
}

func (c *cancelling) Err() error {
	if c.left.Add(-1) == 0 {
		c.cancel()
	}
	return c.Context.Err()
}

func TestBundleCancelled(t *testing.T) {
	dir := bundleProject(t, "default-rules", false)
	config := bundleConfig(t, dir, "")
	complete := false
	for n := int32(1); !complete; n++ {
		ctx, cancel := context.WithCancel(t.Context())
		counting := &cancelling{Context: ctx, cancel: cancel}
		counting.left.Store(n)
		b, err := config.Bundle(counting, wrangler.BundleOptions{})
		switch complete = counting.left.Load() > 0; {
		case complete && err != nil:
			t.Errorf("after %d checks: %v", n, err)
		case !complete && (!errors.Is(err, context.Canceled) || b != nil):
			t.Errorf("cancelled at check %d: %v, %v", n, b, err)
		}
		cancel()
		if complete && n < 8 {
			t.Errorf("there were only %d chances to cancel", n)
		}
	}
}

func TestBundleConcurrently(t *testing.T) {
	config := bundleConfig(t, bundleProject(t, "default-rules", false), "")
	want := mustBundle(t, config, wrangler.BundleOptions{})
	var group errgroup.Group
	for i := range 8 {
		group.Go(func() error {
			b, err := config.Bundle(t.Context(), wrangler.BundleOptions{Replace: map[string][]byte{
				filepath.Join(config.Dir, "unused"): fmt.Append(nil, i),
			}})
			if err != nil {
				return err
			}
			if b.Digest() != want.Digest() || !bytes.Equal(b.Main.Content, want.Main.Content) || len(b.Modules) != len(want.Modules) {
				return errors.New("two bundles of one project differ")
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// TestESBuildVersion holds the version that digests name to the one that is linked in.
func TestESBuildVersion(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(repoRoot(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "github.com/evanw/esbuild " + wrangler.ESBuildVersion + "\n"; !bytes.Contains(mod, []byte(want)) {
		t.Errorf("go.mod does not require %q", want)
	}
}

func BenchmarkBundle(b *testing.B) {
	for _, name := range []string{"default-rules", "commonjs"} {
		b.Run(name, func(b *testing.B) {
			config := bundleConfig(b, bundleProject(b, name, false), "")
			b.ReportAllocs()
			for b.Loop() {
				mustBundle(b, config, wrangler.BundleOptions{})
			}
		})
	}
}
