package wrangler_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// worker is a project whose configuration has the given members besides name, main and a late date.
func worker(members string, files map[string]string) map[string]string {
	config := `{
	"name": "worker",
	"main": "src/index.ts",
	"compatibility_date": "2026-06-01",
	` + members + `
}
`
	out := map[string]string{"wrangler.jsonc": config}
	for name, content := range files {
		out[name] = content
	}
	return out
}

const fetchHandler = "export default { fetch: () => new Response() };\n"

// refusals are projects that cannot be bundled.
var refusals = []struct {
	name  string
	files map[string]string
	// want is "file:line:column rule" of every finding, warnings included, in order.
	want    []string
	message string // part of the first message
	hint    string // part of the first hint
	source  string // source line of the first
	// ours says why wrangler takes the project, or takes it to be another mistake.
	ours string
}{
	{
		name: "syntax errors of several files at once",
		files: worker("", map[string]string{
			"src/index.ts": "import { a } from './a';\nexport default { fetch() { return a( } };\n",
			"src/a.ts":     "export const a = (x: number) => x;\n",
			"src/unused":   "(((",
		}),
		want:    []string{"src/index.ts:2:38 code"},
		message: `Unexpected "}"`,
		source:  "export default { fetch() { return a( } };",
	},
	{
		name: "the entry point and what it imports are both wrong",
		files: worker("", map[string]string{
			"src/index.ts": "import './b.ts';\nimport './missing';\nexport default { fetch() {} };\n",
			"src/b.ts":     "const x: = 1;\n",
			"src/c.ts":     "not imported",
		}),
		want:    []string{"src/b.ts:1:10 code", "src/index.ts:2:8 unresolved-import"},
		message: `Unexpected "="`,
		source:  "const x: = 1;",
	},
	{
		name: "columns are bytes",
		files: worker("", map[string]string{
			"src/index.ts": "/* é */ import './missing';\n" + fetchHandler,
		}),
		want:    []string{"src/index.ts:1:17 unresolved-import"},
		message: `Could not resolve "./missing"`,
		source:  "/* é */ import './missing';",
	},
	{
		name:    "an import of a package that is not installed",
		files:   worker("", map[string]string{"src/index.ts": "import hono from 'hono';\nexport default hono;\n"}),
		want:    []string{"src/index.ts:1:18 unresolved-import"},
		message: `Could not resolve "hono"`,
		hint:    `"alias" in wrangler.jsonc`,
	},
	{
		name:    "a module of Node.js without its prefix and without the flag",
		files:   worker("", map[string]string{"src/index.ts": "import fs from 'fs';\nexport default fs;\n"}),
		want:    []string{"src/index.ts:1:16 unresolved-import"},
		message: `Could not resolve "fs"`,
		hint:    `add "nodejs_compat" to compatibility_flags`,
	},
	{
		name:    "an export that does not exist, with the note of where it was looked for",
		files:   worker("", map[string]string{"src/index.ts": "import { two } from './a';\nexport default two;\n", "src/a.ts": "export const one = 1;\n"}),
		want:    []string{"src/index.ts:1:10 code"},
		message: `No matching export in "src/a.ts" for import "two"`,
	},
	{
		name:    "the note says where the first of two is",
		files:   worker("", map[string]string{"src/index.ts": "const a = 1;\nconst a = 2;\n" + fetchHandler}),
		want:    []string{"src/index.ts:2:7 code"},
		message: `The symbol "a" has already been declared`,
		hint:    `src/index.ts:1:7: The symbol "a" was originally declared here`,
	},
	{
		name: "code that would write to the terminal",
		files: worker("", map[string]string{
			"src/index.ts": "import './\u009b31m';\n" + fetchHandler,
		}),
		want:   []string{"src/index.ts:1:8 unresolved-import"},
		source: "import './??31m';",
	},
	{
		name: "a line that nobody reads",
		files: worker("", map[string]string{
			"src/index.ts": strings.Repeat("a();", 1000) + ")\n",
		}),
		want: []string{"src/index.ts:1:4001 code"},
	},
	{
		name: "a module of Node.js without its prefix, in the time before unenv",
		files: map[string]string{
			"wrangler.jsonc": `{ "name": "n", "main": "index.js", "compatibility_date": "2024-08-01", "compatibility_flags": ["nodejs_compat"] }`,
			"index.js":       "import fs from 'fs';\nexport default fs;\n",
		},
		want: []string{"index.js:1:16 unresolved-import"},
		hint: `import "node:fs", or set compatibility_date to 2024-09-23 or later`,
	},
	{
		name: "a module of Node.js that Workers do not have",
		files: worker(`"compatibility_flags": ["nodejs_compat"],`, map[string]string{
			"src/index.ts": "import sea from 'node:sea';\nexport default sea;\n",
		}),
		want: []string{"src/index.ts:1:17 unresolved-import"},
		hint: "Workers do not have it",
	},
	{
		name: "a module of the preset for unenv",
		files: map[string]string{
			"wrangler.jsonc": `{ "name": "n", "main": "index.js", "compatibility_date": "2024-10-01", "compatibility_flags": ["nodejs_compat"] }`,
			"index.js":       "import process from 'node:process';\nexport default process;\n",
		},
		want:    []string{"index.js:1:21 node-runtime-missing", "wrangler.jsonc:1:36 node-runtime-missing"},
		message: `"node:process" is replaced by unenv`,
		ours:    "wrangler brings its own",
	},
	{
		name: "no_bundle with an entry point that only esbuild finds",
		files: map[string]string{
			"wrangler.jsonc": `{ "name": "n", "main": "index", "no_bundle": true, "compatibility_date": "2026-06-01" }`,
			"index.js":       fetchHandler,
		},
		want:    []string{"wrangler.jsonc:1:16 main-missing"},
		message: "there is no file index",
		hint:    "give main its file extension",
	},
	{
		name: "a module that is a directory",
		files: worker("", map[string]string{
			"src/index.ts": "import t from './t.txt';\nexport default t;\n", "src/t.txt/x": "",
		}),
		want:    []string{"src/index.ts:1:15 unresolved-import"},
		message: `could not read "./t.txt": is a directory`,
	},
	{
		name:    "no entry point on disk",
		files:   worker("", nil),
		want:    []string{"wrangler.jsonc:3:2 main-missing"},
		message: "src/index.ts",
		source:  `	"main": "src/index.ts",`,
	},
	{
		name:    "neither code nor assets",
		files:   map[string]string{"wrangler.jsonc": `{ "name": "n", "compatibility_date": "2026-06-01" }`},
		want:    []string{"wrangler.jsonc:1:1 main-missing"},
		message: "neither code nor assets",
	},
	{
		name: "an import of a type whose rule is dropped",
		files: worker(`"rules": [{ "type": "Text", "globs": ["**/*.md"] }],`, map[string]string{
			"src/index.ts": "import t from './t.txt';\nexport default t;\n", "src/t.txt": "t",
		}),
		want:    []string{"src/index.ts:1:15 module-rule-ignored", "wrangler.jsonc:5:12 module-rule-ends-type"},
		message: `"./t.txt" matches a module rule of type Text that is ignored`,
		hint:    `"fallthrough": true`,
	},
	{
		name:    "a module that is not there",
		files:   worker("", map[string]string{"src/index.ts": "import t from './t.txt';\nexport default t;\n"}),
		want:    []string{"src/index.ts:1:15 unresolved-import"},
		message: "there is no file src/t.txt",
	},
	{
		name: "an alias to nothing",
		files: worker(`"alias": { "a": "./gone" },`, map[string]string{
			"src/index.ts": "import a from 'a';\nexport default a;\n",
		}),
		want:    []string{"src/index.ts:1:15 alias-target"},
		message: `could not resolve "./gone"`,
		hint:    "from the project's directory",
	},
	{
		name: "classes that are not exported",
		files: worker(`"durable_objects": { "bindings": [{ "name": "CART", "class_name": "Cart" }, { "name": "O", "class_name": "O", "script_name": "other" }] },
	"workflows": [{ "name": "w", "binding": "W", "class_name": "Flow" }],
	"migrations": [{ "tag": "v1", "new_sqlite_classes": ["Cart"] }],`, map[string]string{
			"src/index.ts": "class Cart {}\nvoid Cart;\n" + fetchHandler,
		}),
		want:    []string{"wrangler.jsonc:5:54 class-not-exported", "wrangler.jsonc:6:47 class-not-exported"},
		message: "src/index.ts does not export the class Cart of the Durable Object CART",
		hint:    "export { Cart } from src/index.ts",
	},
	{
		name: "a Durable Object in a script",
		files: worker(`"durable_objects": { "bindings": [{ "name": "CART", "class_name": "Cart" }] },
	"migrations": [{ "tag": "v1", "new_sqlite_classes": ["Cart"] }],`, map[string]string{
			"src/index.ts": "addEventListener('fetch', () => {});\n",
		}),
		want:    []string{"wrangler.jsonc:5:36 service-worker-format", "wrangler.jsonc:6:2 service-worker-format"},
		message: "CART cannot be in a Worker in service-worker format",
		hint:    "export default {",
	},
	{
		name:    "a module of the runtime in a script",
		files:   worker("", map[string]string{"src/index.ts": "import { env } from 'cloudflare:workers';\naddEventListener('fetch', () => env);\n"}),
		want:    []string{"src/index.ts service-worker-format"},
		message: `cannot import "cloudflare:workers"`,
	},
	{
		name: "modules of Node.js in a script",
		files: worker(`"compatibility_flags": ["nodejs_compat"],`, map[string]string{
			"src/index.ts": "import fs from 'node:fs';\nimport os from 'os';\naddEventListener('fetch', () => [fs, os]);\n",
		}),
		want:    []string{"src/index.ts service-worker-format"},
		message: `cannot import "node:fs" and "os"`,
	},
	{
		name: "additional modules in a script",
		files: worker(`"find_additional_modules": true,`, map[string]string{
			"src/index.ts": "addEventListener('fetch', () => {});\n",
		}),
		want:    []string{"wrangler.jsonc:5:2 service-worker-format"},
		message: "find_additional_modules needs",
	},
	{
		name: "flags that contradict each other",
		files: worker(`"compatibility_flags": ["nodejs_compat", "nodejs_compat_v2", "global_navigator", "no_global_navigator"],`, map[string]string{
			"src/index.ts": fetchHandler,
		}),
		want:    []string{"wrangler.jsonc:5:2 compatibility-flags", "wrangler.jsonc:5:2 compatibility-flags"},
		message: "global_navigator",
	},
	{
		name: "a define that is no JavaScript",
		files: worker(`"define": { "OK": "1", "VERSION": "not valid" },`, map[string]string{
			"src/index.ts": fetchHandler,
		}),
		want:    []string{"wrangler.jsonc:5:25 code"},
		message: "not valid",
	},
	{
		name:    "a tsconfig that is not there",
		files:   worker(`"tsconfig": "tsconfig.build.json",`, map[string]string{"src/index.ts": fetchHandler}),
		want:    []string{"wrangler.jsonc:5:2 code"},
		message: "tsconfig.build.json",
	},
	{
		name: "a glob that is no pattern",
		files: worker(`"rules": [{ "type": "Text", "globs": ["**/*.md", "\\q"] }],`, map[string]string{
			"src/index.ts": fetchHandler,
		}),
		want:    []string{"wrangler.jsonc:5:12 module-rule-ends-type", "wrangler.jsonc:5:30 module-rule"},
		message: "the last one of type Text",
	},
	{
		name: "unenv is needed and not installed",
		files: map[string]string{
			"wrangler.jsonc": `{
	"name": "n", "main": "index.js",
	"compatibility_date": "2025-09-01",
	"compatibility_flags": ["nodejs_compat"],
}`,
			"index.js": "import os from 'node:os';\nexport default os;\n",
		},
		want:    []string{"index.js:1:16 node-runtime-missing", "wrangler.jsonc:3:2 node-runtime-missing"},
		message: `"node:os" is replaced by unenv`,
		hint:    "install wrangler in the project: npm install --save-dev wrangler@4.164.0, or set compatibility_date to 2026-03-17 or later",
		ours:    "wrangler brings its own",
	},
	{
		name: "unenv is needed because of a flag",
		files: worker(`"compatibility_flags": ["nodejs_compat", "disable_nodejs_process_v2"],`, map[string]string{
			"src/index.ts": fetchHandler,
		}),
		want: []string{"wrangler.jsonc:4:2 node-runtime-missing"},
		hint: `or remove "disable_nodejs_process_v2" from compatibility_flags`,
		ours: "wrangler brings its own",
	},
	{
		name: "unenv is needed for a package that it replaces",
		files: worker(`"compatibility_flags": ["nodejs_compat"],`, map[string]string{
			"src/index.ts":                         "import fetch from 'node-fetch';\nexport default fetch;\n",
			"node_modules/node-fetch/package.json": `{ "main": "index.js" }`,
			"node_modules/node-fetch/index.js":     "module.exports = 1;\n",
		}),
		want:    []string{"src/index.ts:1:19 node-runtime-missing"},
		message: `"node-fetch" is replaced by unenv`,
		hint:    "or import something else",
		ours:    "wrangler brings its own",
	},
	{
		name:    "Python",
		files:   map[string]string{"wrangler.jsonc": `{ "name": "n", "main": "main.py", "compatibility_date": "2026-06-01", "compatibility_flags": ["python_workers"] }`, "main.py": "x = 1\n"},
		want:    []string{"wrangler.jsonc:1:16 main-python"},
		message: "Python",
		ours:    "wrangler deploys it",
	},
	{
		name:    "no_bundle with an entry point that is not text",
		files:   worker(`"no_bundle": true,`, map[string]string{"src/index.ts": "export default 1; // \xff\n"}),
		want:    []string{"src/index.ts main-encoding"},
		message: "UTF-8",
		ours:    "wrangler replaces the bytes",
	},
	{
		name: "no_bundle with a source map that is asked for",
		files: worker(`"no_bundle": true, "upload_source_maps": true,`, map[string]string{
			"src/index.ts": fetchHandler + "//# sourceMappingURL=gone.map\n",
		}),
		want:    []string{"src/index.ts source-map"},
		message: "there is no source map src/gone.map",
	},
	{
		name: "no_bundle with what is wrong in the code",
		files: worker(`"no_bundle": true,`, map[string]string{
			"src/index.ts": "export default {;\n",
		}),
		want:    []string{"src/index.ts:1:17 code"},
		message: `found ";"`,
	},
	{
		name: "base_dir that is not there",
		files: worker(`"base_dir": "lib", "find_additional_modules": true,`, map[string]string{
			"src/index.ts": fetchHandler,
		}),
		want:    []string{"wrangler.jsonc:5:2 base-dir"},
		message: "lib",
	},
}

func TestBundleFindings(t *testing.T) {
	for _, test := range refusals {
		t.Run(test.name, func(t *testing.T) {
			dir := bundleFiles(t, test.files)
			b, err := bundleConfig(t, dir, "").Bundle(t.Context(), wrangler.BundleOptions{})
			var findings wrangler.Findings
			if !errors.As(err, &findings) {
				t.Fatalf("Bundle returned %v, %v; want findings", b, err)
			}
			if got := places(findings); !slices.Equal(got, test.want) {
				t.Fatalf("findings are\n%s\nwant\n%s\n%v", strings.Join(got, "\n"), strings.Join(test.want, "\n"), findings)
			}
			first := findings[0]
			if !strings.Contains(first.Message, test.message) {
				t.Errorf("message is %q, want %q in it", first.Message, test.message)
			}
			if !strings.Contains(first.Hint, test.hint) {
				t.Errorf("hint is %q, want %q in it", first.Hint, test.hint)
			}
			if (test.source != "" || len(first.Source) > 1000) && first.Source != test.source {
				t.Errorf("source is %q, want %q", first.Source, test.source)
			}
			for _, f := range findings {
				if strings.Contains(fmt.Sprint(f), dir) || strings.Contains(f.Hint, dir) {
					t.Errorf("an absolute path shows in %+v", f)
				}
				if shown := fmt.Sprint(f) + f.Source; strings.ContainsFunc(shown, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
					t.Errorf("control characters show in %q", shown)
				}
			}
		})
	}
}

// places are findings as "file:line:column rule".
func places(findings []wrangler.Finding) []string {
	out := make([]string, len(findings))
	for i, f := range findings {
		out[i] = f.File
		if f.Line > 0 {
			out[i] += fmt.Sprintf(":%d:%d", f.Line, f.Column)
		}
		out[i] += " " + f.Rule
	}
	return out
}

func TestBundleWarnings(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  []string
		text  string // part of the first message
	}{
		{
			name:  "none",
			files: worker("", map[string]string{"src/index.ts": fetchHandler}),
		},
		{
			name: "a module of Node.js with the flag, in the time before unenv",
			files: map[string]string{
				"wrangler.jsonc": `{ "name": "n", "main": "index.js", "compatibility_date": "2024-08-01", "compatibility_flags": ["nodejs_compat"] }`,
				"index.js":       "import fs from 'node:fs';\nexport default fs;\n",
			},
		},
		{
			name: "a module of Node.js without the flag, once for every file",
			files: worker("", map[string]string{
				"src/index.ts": "import fs from 'node:fs';\nimport './b';\nexport default fs;\n",
				"src/b.ts":     "export * from 'node:fs';\nimport('node:os');\n",
			}),
			want: []string{"src/b.ts node-import", "src/b.ts node-import", "src/index.ts node-import"},
			text: `"node:fs" is built into Node.js`,
		},
		{
			name: "the same with nodejs_als, but for the one module",
			files: worker(`"compatibility_flags": ["nodejs_als"],`, map[string]string{
				"src/index.ts": "import { AsyncLocalStorage } from 'node:async_hooks';\nimport fs from 'node:fs';\nexport default [fs, AsyncLocalStorage];\n",
			}),
			want: []string{"src/index.ts node-import"},
		},
		{
			name: "what esbuild warns of",
			files: worker("", map[string]string{
				"src/index.ts": "export default { fetch: (r) => r == -0, fetch: 1 };\n",
			}),
			want: []string{"src/index.ts:1:37 code", "src/index.ts:1:41 code"},
			text: "Comparison with -0",
		},
		{
			name: "an import without ./",
			files: worker("", map[string]string{
				"src/index.ts": "import t from 't.txt';\nexport default t;\n", "src/t.txt": "t",
			}),
			want: []string{"src/index.ts legacy-module-import"},
		},
		{
			name: "unenv of another version than the table's",
			files: map[string]string{
				"wrangler.jsonc":                  `{ "name": "n", "main": "index.js", "compatibility_date": "2025-09-01", "compatibility_flags": ["nodejs_compat"] }`,
				"index.js":                        "import os from 'node:os';\nexport default { os, process };\n",
				"node_modules/unenv/package.json": `{ "exports": { "./package.json": "./package.json", "./*": "./*.mjs" } }`,
				"node_modules/unenv/node/os.mjs":  "export default 'os of unenv';\n",
				"node_modules/@cloudflare/unenv-preset/package.json":             `{ "version": "2.0.0", "exports": { "./package.json": "./package.json", "./*": "./*.mjs" } }`,
				"node_modules/@cloudflare/unenv-preset/node/process.mjs":         "export default 'process of the preset';\n",
				"node_modules/@cloudflare/unenv-preset/node/console.mjs":         "export default 'console of the preset';\n",
				"node_modules/@cloudflare/unenv-preset/polyfill/performance.mjs": "globalThis.performance = 'polyfill';\n",
			},
			want: []string{"wrangler.jsonc:1:36 node-runtime-version"},
			text: "the project has @cloudflare/unenv-preset 2.0.0",
		},
		{
			name: "one name for two files",
			files: worker(`"preserve_file_names": true,`, map[string]string{
				"src/index.ts": "import t from './t.txt';\nimport './b/b';\nexport default t;\n", "src/t.txt": "t",
				"src/b/b.ts": "import t from './t.txt';\nglobalThis.t = t;\n", "src/b/t.txt": "another",
			}),
			want: []string{"src/b/t.txt duplicate-module"},
		},
		{
			name: "no_bundle makes other options moot",
			files: worker(`"no_bundle": true, "minify": true, "compatibility_flags": ["nodejs_compat_v2"],`, map[string]string{
				"src/index.ts": fetchHandler,
			}),
			want: []string{"wrangler.jsonc:5:21 no-bundle", "wrangler.jsonc:5:37 no-bundle"},
		},
		{
			name: "exports, but no default one, and a listener",
			files: worker("", map[string]string{
				"src/index.ts": "export const a = 1;\naddEventListener('fetch', () => {});\n",
			}),
			want: []string{"src/index.ts entry-format"},
		},
		{
			name: "two globs for one file",
			files: worker(`"find_additional_modules": true, "rules": [{ "type": "Data", "globs": ["*.sql", "**/*.sql"], "fallthrough": true }],`, map[string]string{
				"src/index.ts": fetchHandler, "src/a.sql": "SELECT 1",
			}),
			want: []string{"src/a.sql duplicate-module", "src/a.sql duplicate-module"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := mustBundle(t, bundleConfig(t, bundleFiles(t, test.files), ""), wrangler.BundleOptions{})
			if got := places(b.Warnings); !slices.Equal(got, test.want) {
				t.Fatalf("warnings are\n%s\nwant\n%s\n%v", strings.Join(got, "\n"), strings.Join(test.want, "\n"), b.Warnings)
			}
			for _, f := range b.Warnings {
				if f.Level != wrangler.LevelWarning {
					t.Errorf("%v has level %s", f, f.Level)
				}
			}
			if len(b.Warnings) > 0 && !strings.Contains(b.Warnings[0].Message, test.text) {
				t.Errorf("message is %q, want %q in it", b.Warnings[0].Message, test.text)
			}
		})
	}
}
