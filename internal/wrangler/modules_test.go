package wrangler_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

func TestGlobExpression(t *testing.T) {
	tests := []struct {
		glob     string
		globstar bool
		yes, no  []string
	}{
		// Imports: stars are all alike, and a slash in the pattern is one in the import.
		{"**/*.txt", false, []string{"./a.txt", "pkg/a.txt", "/.txt"}, []string{"a.txt", "./a.txt?raw", "./a.TXT"}},
		{"**/*.wasm?module", false, []string{"./a.wasm?module"}, []string{"./a.wasm", "./a.wasmXmodule"}},
		{"*.md", false, []string{"./docs/a.md", "a.md"}, []string{"a.mdx"}},
		{"a[b].{x,y}", false, []string{"a[b].{x,y}"}, []string{"ab.x"}},
		{"a+b$^|()=!", false, []string{"a+b$^|()=!"}, []string{"aab"}},
		// Files: one star stays in its directory, two cross any number of them.
		{"**/*.txt", true, []string{"a.txt", "b/a.txt", "b/c/a.txt"}, []string{"b/a.md"}},
		{"*.txt", true, []string{"a.txt", ".txt"}, []string{"b/a.txt"}},
		{"a/**/b", true, []string{"a/b", "a/x/b", "a/x/y/b"}, []string{"a/xb", "ab"}},
		{"a/**", true, []string{"a/", "a/x", "a/x/y"}, []string{"a", "b/x"}},
		{"**", true, []string{"a", "a/b", ""}, nil},
		{"a**b", true, []string{"ab", "axb"}, []string{"a/b"}},
		{"**a", true, []string{"a", "xa"}, []string{"x/a"}},
		{"***/a", true, []string{"a", "x/a"}, []string{"xa"}},
		{"é*", true, []string{"é", "éé"}, []string{"e"}},
	}
	for _, test := range tests {
		re, err := regexp.Compile(wrangler.GlobExpression(test.glob, test.globstar))
		if err != nil {
			t.Errorf("%q: %v", test.glob, err)
			continue
		}
		for _, s := range test.yes {
			if !re.MatchString(s) {
				t.Errorf("%q (globstar %v) does not match %q", test.glob, test.globstar, s)
			}
		}
		for _, s := range test.no {
			if re.MatchString(s) {
				t.Errorf("%q (globstar %v) matches %q", test.glob, test.globstar, s)
			}
		}
	}
}

// The content types are those of wire.md §3.2.
func TestModuleContentType(t *testing.T) {
	for typ, want := range map[wrangler.ModuleType]string{
		wrangler.ESModule:          "application/javascript+module",
		wrangler.CommonJS:          "application/javascript",
		wrangler.CompiledWasm:      "application/wasm",
		wrangler.DataModule:        "application/octet-stream",
		wrangler.TextModule:        "text/plain",
		wrangler.PythonModule:      "text/x-python",
		wrangler.PythonRequirement: "text/x-python-requirement",
	} {
		if got := typ.ContentType(); got != want {
			t.Errorf("%s is %s, want %s", typ, got, want)
		}
	}
}

// With preserve_file_names an import by absolute path must not carry the machine's directories into the bundle.
func TestModuleNameOfAbsolutePath(t *testing.T) {
	dir := bundleFiles(t, worker(`"preserve_file_names": true,`, map[string]string{"src/t.txt": "text"}))
	writeFiles(t, dir, map[string]string{"src/index.ts": fmt.Sprintf("import t from %q;\nexport default t;\n", filepath.Join(dir, "src", "t.txt"))})
	b := mustBundle(t, bundleConfig(t, dir, ""), wrangler.BundleOptions{})
	if len(b.Modules) != 1 || b.Modules[0].Name != "./372ea08cab33e71c02c651dbc83a474d32c676ea/t.txt" {
		t.Errorf("modules are %v", b.Modules)
	}
}

// TestGlobsEqualWrangler compares random globs with the glob-to-regexp inside wrangler.
func TestGlobsEqualWrangler(t *testing.T) {
	requireJudge(t)
	r := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"a", "b", ".", "/", "/", "*", "*", "**", "**/", "?", "+", "[", "]", "{", "}", ",", "(", ")", "|", "!", "=", "$", "^", "-", " ", "é"}
	random := func(n int, from []string) string {
		var b strings.Builder
		for range r.IntN(n) {
			b.WriteString(from[r.IntN(len(from))])
		}
		return b.String()
	}
	type question struct {
		Glob  string   `json:"glob"`
		Paths []string `json:"paths"`
	}
	questions := make([]question, 3000)
	for i := range questions {
		glob := random(8, pieces)
		questions[i].Glob = glob
		for range 6 {
			// Something like the glob, so that a good part matches.
			path := glob
			for strings.Contains(path, "*") {
				path = strings.Replace(path, "*", random(3, []string{"a", "b", "/", ".", "a/"}), 1)
			}
			questions[i].Paths = append(questions[i].Paths, path, random(6, pieces))
		}
	}
	in, err := json.Marshal(questions)
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs(filepath.Join("testdata", "bundle", "glob.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, exit := runNode(t, t.TempDir(), in, script, filepath.Join(judgeModules(t), "wrangler", "wrangler-dist", "cli.js"))
	if exit != 0 {
		t.Fatalf("glob.mjs ended with %d: %s", exit, stderr)
	}
	var answers [][2][]bool // without and with globstar
	if err := json.Unmarshal([]byte(stdout), &answers); err != nil {
		t.Fatal(err)
	}
	if len(answers) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(answers), len(questions))
	}
	matches := 0
	for i, q := range questions {
		for j, globstar := range []bool{false, true} {
			re, err := regexp.Compile(wrangler.GlobExpression(q.Glob, globstar))
			if err != nil {
				t.Fatalf("%q: %v", q.Glob, err)
			}
			for k, path := range q.Paths {
				got, want := re.MatchString(path), answers[i][j][k]
				if got != want {
					t.Errorf("%q (globstar %v) on %q: %v, wrangler says %v", q.Glob, globstar, path, got, want)
				}
				if want {
					matches++
				}
			}
		}
	}
	if matches < len(questions) {
		t.Errorf("only %d matches: the paths are too far from the globs", matches)
	}
}
