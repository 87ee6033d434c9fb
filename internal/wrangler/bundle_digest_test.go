package wrangler_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// Nothing of where a tree stands gets into what is built from it.
func TestBundleElsewhere(t *testing.T) {
	for _, fixture := range bundleFixtures {
		if fixture.node {
			continue // TestBundleUnenvElsewhere
		}
		t.Run(fixture.dir, func(t *testing.T) {
			near := bundleProject(t, fixture.dir, false)
			for _, env := range fixture.envs {
				sameElsewhere(t, near, env)
			}
		})
	}
}

// sameElsewhere bundles a project where it is and in a copy far below.
func sameElsewhere(t *testing.T, near, env string) {
	t.Helper()
	far := filepath.Join(t.TempDir(), "a", "deeper", "directory with space", "project")
	if err := os.CopyFS(far, os.DirFS(near)); err != nil {
		t.Fatal(err)
	}
	options := wrangler.BundleOptions{Environ: os.Environ()}
	x := mustBundle(t, bundleConfig(t, near, env), options)
	y := mustBundle(t, bundleConfig(t, far, env), options)
	if x.Digest() != y.Digest() {
		t.Errorf("%s: digests are %s and %s", env, x.Digest(), y.Digest())
	}
	compareParts(t, bundleParts(x), bundleParts(y), false)
	if !slices.Equal(x.Inputs, y.Inputs) {
		t.Errorf("%s: inputs are\n%v\nand\n%v", env, x.Inputs, y.Inputs)
	}
	for _, p := range bundleParts(x) {
		if bytes.Contains(p.Content, []byte(near)) {
			t.Errorf("%s: the directory shows in %s", env, p.Name)
		}
	}
}

// A link on the way to the project changes nothing either.
func TestBundleThroughLink(t *testing.T) {
	dir := bundleProject(t, "default-rules", false)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	replace := func(dir string) wrangler.BundleOptions {
		return wrangler.BundleOptions{Replace: map[string][]byte{filepath.Join(dir, "src", "imprint.txt"): []byte("new")}}
	}
	x := mustBundle(t, bundleConfig(t, dir, ""), replace(dir))
	y := mustBundle(t, bundleConfig(t, link, ""), replace(link))
	compareParts(t, bundleParts(x), bundleParts(y), false)
	if x.Digest() != y.Digest() {
		t.Errorf("digests are %s and %s", x.Digest(), y.Digest())
	}
}

func TestBundleUnenvElsewhere(t *testing.T) {
	requireJudge(t)
	near := bundleProject(t, "node", false)
	for _, name := range []string{"unenv", "@cloudflare/unenv-preset"} {
		from, to := filepath.Join(judgeModules(t), filepath.FromSlash(name)), filepath.Join(near, "node_modules", filepath.FromSlash(name))
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	writeFiles(t, near, map[string]string{"node_modules/wrangler/package.json": `{ "name": "wrangler", "version": "4.164.0" }`})
	sameElsewhere(t, near, "d2025-09-01")
}

func TestBundleDigest(t *testing.T) {
	base := worker(`"define": { "A": "1" },`, map[string]string{
		"src/index.ts":     "import 'pkg';\nimport t from './t.txt';\nexport default { a: A, t };\n",
		"src/t.txt":        "text",
		"src/unrelated.ts": "export {};\n",
		// Which file the package gives is for its package.json to say, which is no input.
		"node_modules/pkg/package.json": `{ "main": "one.js" }`,
		"node_modules/pkg/one.js":       "globalThis.one = 1;\n",
		"node_modules/pkg/two.js":       "globalThis.one = 1;\n",
	})
	digest := func(change map[string]string) string {
		files := maps.Clone(base)
		maps.Copy(files, change)
		return mustBundle(t, bundleConfig(t, bundleFiles(t, files), ""), wrangler.BundleOptions{}).Digest()
	}
	want := digest(nil)
	if len(want) != 64 {
		t.Errorf("the digest is %q", want)
	}
	if got := digest(map[string]string{"src/unrelated.ts": "export const changed = 1;\n", "README.md": "new"}); got != want {
		t.Error("a file that is not used changes the digest")
	}
	config := func(old, new string) map[string]string {
		return map[string]string{"wrangler.jsonc": strings.Replace(base["wrangler.jsonc"], old, new, 1)}
	}
	if got := digest(config(`"name": "worker"`, `"name": "another", "vars": { "X": "1" }`)); got != want {
		t.Error("what is not code changes the digest")
	}
	for name, change := range map[string]map[string]string{
		"the entry point":   {"src/index.ts": base["src/index.ts"] + "\n"},
		"a module":          {"src/t.txt": "changed"},
		"package.json":      {"node_modules/pkg/package.json": `{ "main": "two.js" }`},
		"side effects":      {"node_modules/pkg/package.json": `{ "main": "one.js", "sideEffects": false }`},
		"tsconfig.json":     {"tsconfig.json": `{ "compilerOptions": { "paths": { "pkg": ["./node_modules/pkg/two.js"] } } }`},
		"a define":          config(`"A": "1"`, `"A": "2"`),
		"an unused define":  config(`"A": "1"`, `"A": "1", "B": "2"`),
		"minify":            config(`"define"`, `"minify": true, "define"`),
		"source maps":       config(`"define"`, `"upload_source_maps": false, "define"`),
		"the date":          config("2026-06-01", "2026-06-02"),
		"a rule":            config(`"define"`, `"rules": [{ "type": "Text", "globs": ["**/*.x"], "fallthrough": true }], "define"`),
		"preserved names":   config(`"define"`, `"preserve_file_names": true, "define"`),
		"the node_env used": nil,
	} {
		if change == nil {
			dir := bundleFiles(t, base)
			got := mustBundle(t, bundleConfig(t, dir, ""), wrangler.BundleOptions{NodeEnv: "staging"}).Digest()
			if got == want {
				t.Errorf("%s does not change the digest", name)
			}
			continue
		}
		if digest(change) == want {
			t.Errorf("%s does not change the digest", name)
		}
	}
}

func TestBundleReplace(t *testing.T) {
	const info = "src/build_info.json"
	index := map[string]string{
		"module":  "import info from './build_info.json';\nimport { text } from './sub/sub';\nexport default { info, text };\n",
		"named":   "import { version } from './build_info.json';\nimport { text } from './sub/sub';\nexport default { version, text };\n",
		"unused":  "export default {};\n",
		"guessed": "import info from './build_info';\nimport { text } from './sub/sub';\nexport default { info, text };\n",
	}
	for name, code := range index {
		for _, onDisk := range []bool{true, false} {
			if name == "guessed" && !onDisk {
				continue // esbuild guesses extensions of what it sees
			}
			t.Run(name, func(t *testing.T) {
				files := worker("", map[string]string{
					"src/index.ts":    code,
					"src/sub/sub.ts":  "import note from '../note.txt';\nimport build_info from '../build_info.json';\nexport const text = note + build_info.version;\n",
					"src/note.txt":    "on disk",
					"src/code.ts":     "",
					"src/sub/code.ts": "export {};\n",
				})
				if onDisk {
					files[info] = `{ "version": "on disk" }`
				}
				dir := bundleFiles(t, files)
				config := bundleConfig(t, dir, "")
				bundle := func(version, note string) *wrangler.Bundle {
					return mustBundle(t, config, wrangler.BundleOptions{Replace: map[string][]byte{
						filepath.Join(dir, filepath.FromSlash(info)): []byte(`{ "version": "` + version + `" }`),
						filepath.Join(dir, "src", "note.txt"):        []byte(note),
						filepath.Join(dir, "not", "there"):           nil,
					}})
				}
				one, two := bundle("1.0.1", "a note"), bundle("1.0.2", "another note")
				if one.Digest() != two.Digest() {
					t.Error("the content of a replaced file changes the digest")
				}
				used := name != "unused"
				if got := bytes.Contains(one.Main.Content, []byte("1.0.1")) && bytes.Contains(two.Main.Content, []byte("1.0.2")); got != used {
					t.Errorf("the replaced content is in the bundle: %v", got)
				}
				if used && (len(one.Modules) != 1 || string(one.Modules[0].Content) != "a note") {
					t.Errorf("modules are %v", one.Modules)
				}
				sum := sha256.Sum256([]byte(`{ "version": "1.0.1" }`))
				input := wrangler.Input{Path: info, SHA256: hex.EncodeToString(sum[:]), Replaced: true}
				if slices.Contains(one.Inputs, input) != used {
					t.Errorf("inputs are %v", one.Inputs)
				}
				// The code around it still counts.
				if err := os.WriteFile(filepath.Join(dir, "src", "index.ts"), []byte("globalThis.x = 1;\n"+code), 0o644); err != nil {
					t.Fatal(err)
				}
				if bundle("1.0.1", "a note").Digest() == one.Digest() {
					t.Error("the code around a replaced file does not change the digest")
				}
				if text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(info))); onDisk && string(text) != files[info] || !onDisk && !os.IsNotExist(err) {
					t.Errorf("on disk there is %q, %v", text, err)
				}
			})
		}
	}
}

// A replaced entry point leaves the rest to go by.
func TestBundleReplaceMain(t *testing.T) {
	for _, mode := range []string{"", `"no_bundle": true,`} {
		dir := bundleFiles(t, worker(mode, map[string]string{"src/other.ts": "export const other = 1;\n"}))
		bundle := func(comment string) *wrangler.Bundle {
			return mustBundle(t, bundleConfig(t, dir, ""), wrangler.BundleOptions{Replace: map[string][]byte{
				filepath.Join(dir, "src", "index.ts"): []byte("export default { comment: '" + comment + "' };\n"),
			}})
		}
		one, two := bundle("one"), bundle("two")
		if one.Digest() != two.Digest() {
			t.Errorf("%s the content of a replaced file changes the digest", mode)
		}
		if !bytes.Contains(two.Main.Content, []byte("two")) {
			t.Errorf("%s the entry point is not replaced: %s", mode, two.Main.Content)
		}
	}
}

// Additional modules can be replaced too, with and without bundling.
func TestBundleReplaceFound(t *testing.T) {
	for _, mode := range []string{`"find_additional_modules": true,`, `"no_bundle": true,`} {
		dir := bundleFiles(t, worker(mode, map[string]string{"src/index.ts": fetchHandler, "src/a.txt": "disk", "src/c.txt": "disk"}))
		bundle := func(content string) *wrangler.Bundle {
			return mustBundle(t, bundleConfig(t, dir, ""), wrangler.BundleOptions{Replace: map[string][]byte{
				filepath.Join(dir, "src", "a.txt"):           []byte(content),
				filepath.Join(dir, "src", "b", "new.txt"):    []byte(content),
				filepath.Join(dir, "elsewhere", "other.txt"): []byte(content),
			}})
		}
		b := bundle("one")
		var got []string
		for _, m := range b.Modules {
			got = append(got, m.Name+"="+string(m.Content))
		}
		if want := []string{"a.txt=one", "b/new.txt=one", "c.txt=disk"}; !slices.Equal(got, want) {
			t.Errorf("%s modules are %q, want %q", mode, got, want)
		}
		if bundle("two").Digest() != b.Digest() {
			t.Errorf("%s the content of a replaced file changes the digest", mode)
		}
	}
}
