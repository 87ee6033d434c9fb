package fleet

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files; read the difference afterwards")

// golden compares got with a file, or rewrites the file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("not as in %s (go test -update rewrites it)\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

func samples(t *testing.T, kind string) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/" + kind + "/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	return files
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func outFile(file string) string { return strings.TrimSuffix(file, ".yml") + ".out" }

func TestParseGoodFiles(t *testing.T) {
	for _, file := range samples(t, "ok") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			p, err := Parse("fleet.yml", read(t, file))
			if err != nil {
				t.Fatal(err)
			}
			shops := []Shop{}
			for _, slug := range append(slices.Sorted(maps.Keys(p.Shops)), "not-listed") {
				s, err := p.Shop(slug)
				if err != nil {
					t.Fatal(err)
				}
				if got, ok := p.Slug(s.Branch); !ok || got != slug {
					t.Errorf("Slug(%q) = %q, %v; want %q", s.Branch, got, ok, slug)
				}
				shops = append(shops, s)
			}
			got, err := json.MarshalIndent(map[string]any{"policy": p, "shops": shops}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, outFile(file), string(got)+"\n")
		})
	}
}

func TestParseBadFiles(t *testing.T) {
	for _, file := range samples(t, "err") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			src := read(t, file)
			p, err := Parse("fleet.yml", src)
			var fs Findings
			if !errors.As(err, &fs) || p != nil {
				t.Fatalf("Parse = %v, %v; want Findings and no Policy", p, err)
			}
			checkPlaces(t, src, fs)
			golden(t, outFile(file), render(fs))
		})
	}
}

// render prints findings for a golden file.
func render(fs Findings) string {
	var b strings.Builder
	for _, f := range fs {
		fmt.Fprintf(&b, "%s:%d:%d: %s [%s]\n", f.File, f.Line, f.Column, f.Message, f.Rule)
		if f.Source != "" {
			fmt.Fprintf(&b, "    | %s\n", f.Source)
		}
		if f.Expected != "" {
			fmt.Fprintf(&b, "    expected: %s\n", f.Expected)
		}
		if f.Hint != "" {
			fmt.Fprintf(&b, "    hint: %s\n", f.Hint)
		}
	}
	return b.String()
}

// checkPlaces holds every finding to its contract: complete, and in a place that the file has.
func checkPlaces(t *testing.T, src []byte, fs Findings) {
	t.Helper()
	lines := strings.Split(strings.TrimPrefix(string(src), "\ufeff"), "\n")
	for _, f := range fs {
		if f.Rule == "" || f.Message == "" || f.Level != "error" || f.File != "fleet.yml" {
			t.Errorf("incomplete finding %+v", f)
		}
		if f.Line < 1 || f.Line > len(lines) || f.Column < 1 || f.Column > len(lines[f.Line-1])+1 {
			t.Errorf("%d:%d is not in the file: %+v", f.Line, f.Column, f)
		}
		if strings.ContainsAny(f.Message+f.Expected+f.Hint, "\n\r") {
			t.Errorf("a finding of several lines: %+v", f)
		}
	}
	if !slices.IsSortedFunc(fs, func(a, b Finding) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	}) {
		t.Errorf("not sorted: %v", fs)
	}
}

// TestEveryRuleHasASample looks for each rule of rules.go in the golden files.
func TestEveryRuleHasASample(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "rules.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	for _, file := range samples(t, "err") {
		seen.Write(read(t, outFile(file)))
	}
	elsewhere := map[string]bool{ruleTooLarge: true} // TestParseHugeFile
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			rule, _ := strconv.Unquote(lit.Value)
			if !elsewhere[rule] && !strings.Contains(seen.String(), " ["+rule+"]\n") {
				t.Errorf("no sample in testdata/err for the rule %s", rule)
			}
		}
		return true
	})
}

func TestParseHugeFile(t *testing.T) {
	small := read(t, "testdata/ok/smallest.yml")
	atLimit := append(slices.Clone(small), []byte("#"+strings.Repeat("x", maxSize-len(small)-2)+"\n")...)
	if _, err := Parse("fleet.yml", atLimit); err != nil {
		t.Errorf("a file of %d bytes: %v", len(atLimit), err)
	}
	_, err := Parse("fleet.yml", append(atLimit, '\n'))
	var fs Findings
	if !errors.As(err, &fs) || len(fs) != 1 || fs[0].Rule != ruleTooLarge {
		t.Errorf("a file of %d bytes: %v", len(atLimit)+1, err)
	}
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("internal error (please report)") }

func TestPanicOfTheYAMLLibraryIsAnError(t *testing.T) {
	documents, err := parseYAML(panicking{})
	if err == nil || !strings.Contains(err.Error(), "please report") || documents != nil {
		t.Errorf("parseYAML = %v, %v", documents, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/ok/*.yml", "testdata/err/*.yml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		p, err := Parse("fleet.yml", src)
		if err != nil {
			var fs Findings
			if !errors.As(err, &fs) || len(fs) == 0 || p != nil {
				t.Fatalf("Parse = %v, %#v", p, err)
			}
			checkPlaces(t, src, fs)
			return
		}
		for slug := range p.Shops {
			s, err := p.Shop(slug)
			if err != nil {
				t.Fatalf("a good file lists a bad shop: %v", err)
			}
			if got, ok := p.Slug(s.Branch); !ok || got != slug {
				t.Errorf("Slug(%q) = %q, %v; want %q", s.Branch, got, ok, slug)
			}
		}
	})
}

// TestDocumentedPolicyIsGood parses the policy that docs/fleet.md shows.
func TestDocumentedPolicyIsGood(t *testing.T) {
	_, rest, _ := strings.Cut(string(read(t, "../../docs/fleet.md")), "A policy that uses everything:\n\n```yaml\n")
	example, _, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatal("docs/fleet.md has no policy that uses everything")
	}
	p, err := Parse("fleet.yml", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Rebase.ChecksOf("swicked"); len(got) != 1 || got[0] != "shopfleet plan: swicked" {
		t.Errorf("a landing waits for %q", got)
	}
}

// TestEveryKeyIsDocumented holds docs/fleet.md against the schema: each key stands in the policy that it shows, or in a
// table by its whole path or as a further one of its section.
func TestEveryKeyIsDocumented(t *testing.T) {
	var schema any
	if err := json.Unmarshal(read(t, "schema.json"), &schema); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		m, _ := v.(map[string]any)
		for name, x := range m {
			if list, ok := x.(map[string]any); ok && name == "properties" {
				for key := range list {
					keys[key] = true
				}
			}
			walk(x)
		}
	}
	walk(schema)
	if len(keys) < 60 {
		t.Fatalf("only %d keys found in the schema", len(keys))
	}
	text := string(read(t, "../../docs/fleet.md"))
	for key := range keys {
		if !regexp.MustCompile("(?m)(^ *|[{,] ?)" + key + ":|`([a-z_0-9.<>A-Z]*\\.)?" + key + "`").MatchString(text) {
			t.Errorf("docs/fleet.md lacks %s", key)
		}
	}
}
