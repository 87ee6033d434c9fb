package wrangler_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// formCase is what the real wrangler uploads for one configuration.
type formCase struct {
	name string // of the test
	dir  string // the project's directory, a copy
	file string // of the configuration
	env  string
}

// formCases lists the sample configurations and the fixtures in testdata/form.
func formCases(t *testing.T) []formCase {
	t.Helper()
	var all []formCase
	sample := copyTree(t, sampleDir(t))
	// wrangler finds itself even where it is not installed, and would report it as a dependency.
	if err := os.Remove(filepath.Join(sample, "package.json")); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(sample, "wrangler.*jsonc"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sample configurations (%v)", err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		env := ""
		if bytes.Contains(src, []byte(`"swicked"`)) {
			env = "swicked"
		}
		all = append(all, formCase{"sample/" + filepath.Base(file), sample, filepath.Base(file), env})
	}
	fixtures, err := filepath.Glob("testdata/form/*/wrangler.jsonc")
	if err != nil || len(fixtures) == 0 {
		t.Fatalf("no fixtures (%v)", err)
	}
	for _, file := range fixtures {
		dir := filepath.Dir(file)
		all = append(all, formCase{filepath.Base(dir), copyTree(t, dir), "wrangler.jsonc", ""})
	}
	return all
}

// wranglerForm is the body that "wrangler deploy --dry-run" would send.
func (d formCase) wranglerForm(t *testing.T) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "form")
	_, stderr, exit := runWrangler(t, d.dir, "deploy", "--dry-run", "-c", d.file, "--env="+d.env, "--outfile", out)
	if exit != 0 {
		t.Fatalf("wrangler: exit %d\n%s", exit, stderr)
	}
	body, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// The form of every sample and fixture is wrangler's, byte for byte: parts, order, headers, metadata, code.
func TestFormJudge(t *testing.T) {
	requireJudge(t)
	for _, d := range formCases(t) {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			c := configOf(t, d.dir, d.file, d.env)
			if c.Main == "" {
				t.Skip("a dry run of assets only uploads a Worker of wrangler's own; TestAssetsJudge compares the real upload")
			}
			want := d.wranglerForm(t)
			boundary, _, _ := strings.Cut(strings.TrimPrefix(string(want), "--"), "\r\n")
			bundle, err := c.Bundle(t.Context(), wrangler.BundleOptions{})
			if err != nil {
				t.Fatal(err)
			}
			form, err := wrangler.NewForm(c, bundle, wrangler.Upload{DryRun: true, Boundary: boundary})
			if err != nil {
				t.Fatal(err)
			}
			compareForms(t, form.Body, want)
		})
	}
}

// compareForms says in which part two bodies differ.
func compareForms(t *testing.T, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	gotParts, wantParts := uploadParts(t, got), uploadParts(t, want)
	for i := range max(len(gotParts), len(wantParts)) {
		switch {
		case i >= len(gotParts):
			t.Errorf("part %d %q is missing", i, wantParts[i].Name)
		case i >= len(wantParts):
			t.Errorf("part %d %q is not wrangler's", i, gotParts[i].Name)
		case gotParts[i].Name != wantParts[i].Name || gotParts[i].FileName != wantParts[i].FileName || gotParts[i].ContentType != wantParts[i].ContentType:
			t.Errorf("part %d is %q %q %q, want %q %q %q", i, gotParts[i].Name, gotParts[i].FileName, gotParts[i].ContentType,
				wantParts[i].Name, wantParts[i].FileName, wantParts[i].ContentType)
		case !bytes.Equal(gotParts[i].Content, wantParts[i].Content):
			at := 0
			for at < min(len(gotParts[i].Content), len(wantParts[i].Content)) && gotParts[i].Content[at] == wantParts[i].Content[at] {
				at++
			}
			t.Errorf("part %d %q, from byte %d\n got %.300q\nwant %.300q", i, gotParts[i].Name, at, gotParts[i].Content[at:], wantParts[i].Content[at:])
		}
	}
	if !t.Failed() {
		t.Errorf("the bodies differ outside of the parts:\n got %q\nwant %q", got, want)
	}
}

// Whatever strings and names stand in a configuration, the metadata is what JavaScript prints of it. The code is
// wrangler's own here.
func TestFormJudgeStrings(t *testing.T) {
	requireJudge(t)
	dir := t.TempDir()
	vars := map[string]any{}
	for i, s := range []string{
		"\x00\x01\b\t\n\v\f\r\x1f \x7f", `"\/'`, "<script>&amp;</script>", "\u2028\u2029\ufeff\ufffd", "ü😀\U0010ffff", "--boundary\r\n", strings.Repeat("x", 2000),
	} {
		vars["V"+string(rune('A'+i))] = s
		vars["K "+s[:min(len(s), 10)]] = []any{s, map[string]any{s: i}}
	}
	config, err := json.Marshal(map[string]any{"name": "strings", "main": "index.js", "compatibility_date": "2026-06-01", "vars": vars})
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{"wrangler.json": string(config), "index.js": "export default { fetch() {} }"})
	want := formCase{dir: dir, file: "wrangler.json"}.wranglerForm(t)
	boundary, _, _ := strings.Cut(strings.TrimPrefix(string(want), "--"), "\r\n")
	form, err := wrangler.NewForm(configOf(t, dir, "wrangler.json", ""), bundleOf(uploadParts(t, want)), wrangler.Upload{DryRun: true, Boundary: boundary})
	if err != nil {
		t.Fatal(err)
	}
	compareForms(t, form.Body, want)
}

// package_dependencies is what wrangler collects, when it is asked for.
func TestFormJudgePackages(t *testing.T) {
	requireJudge(t)
	dir := copyTree(t, filepath.Join("testdata", "form", "packages"))
	// An npm tree has a directory that version control and Go leave alone.
	if err := os.Rename(filepath.Join(dir, "installed"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	want := formCase{dir: dir, file: "wrangler.jsonc"}.wranglerForm(t)
	if !bytes.Contains(want, []byte("package_dependencies")) {
		t.Fatal("wrangler collected nothing")
	}
	boundary, _, _ := strings.Cut(strings.TrimPrefix(string(want), "--"), "\r\n")
	c := configOf(t, dir, "wrangler.jsonc", "")
	bundle := bundleOf(uploadParts(t, want))
	form, err := wrangler.NewForm(c, bundle, wrangler.Upload{DryRun: true, Boundary: boundary, PackageDependencies: true})
	if err != nil {
		t.Fatal(err)
	}
	compareForms(t, form.Body, want)

	form, err = wrangler.NewForm(c, bundle, wrangler.Upload{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(uploadParts(t, form.Body), func(p formPart) bool { return bytes.Contains(p.Content, []byte("package_dependencies")) }) {
		t.Error("packages were sent although nobody asked for them")
	}
}
