package wrangler_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// bundleFixtures are the projects below testdata/bundle with the environments that are built ("" is the top
// level). Their packages/ is node_modules, under a name that git does not ignore.
var bundleFixtures = []struct {
	dir  string
	envs []string
	// node links wrangler and what it brings for Node.js compatibility into node_modules.
	node bool
	// anyOrder says that several files import modules: wrangler's order is then a matter of luck.
	anyOrder bool
}{
	{dir: "default-rules", envs: []string{""}, anyOrder: true},
	{dir: "custom-rules", envs: []string{""}},
	{dir: "additional-modules", envs: []string{"", "preserve"}},
	{dir: "preserve-names", envs: []string{""}, anyOrder: true},
	{dir: "alias-define", envs: []string{"", "minified"}},
	{dir: "tsx", envs: []string{"", "h", "custom"}},
	{dir: "commonjs", envs: []string{"", "no-maps", "maps", "v1"}, node: true},
	{dir: "service-worker", envs: []string{"", "named", "star"}, anyOrder: true},
	{dir: "node", envs: []string{
		"d2024-08-01", "d2024-09-23", "d2025-09-01", "d2025-09-20", "d2026-01-01", "d2026-03-01", "d2026-06-01",
		"d2026-06-01-flags", "d2026-11-17", "v2-flag", "als", "none", "off",
	}, node: true},
	{dir: "node-bare", envs: []string{"", "d2026-11-17"}, node: true},
	{dir: "no-bundle", envs: []string{"", "maps", "alone", "script"}},
	{dir: "classes", envs: []string{""}},
	{dir: "build-command", envs: []string{""}},
	{dir: "odds", envs: []string{"", "legacy", "extensionless"}},
}

// TestBundleEqualsWrangler holds every byte that is uploaded as code to what the real wrangler writes.
func TestBundleEqualsWrangler(t *testing.T) {
	requireJudge(t)
	// Each wrangler is a process of 250 MB that keeps a core busy.
	running := make(chan struct{}, 2)
	for _, fixture := range bundleFixtures {
		for _, env := range fixture.envs {
			t.Run(strings.TrimSuffix(fixture.dir+"/"+env, "/"), func(t *testing.T) {
				t.Parallel()
				running <- struct{}{}
				defer func() { <-running }()

				dir := bundleProject(t, fixture.dir, fixture.node)
				got, err := bundleConfig(t, dir, env).Bundle(t.Context(), wrangler.BundleOptions{
					Environ: os.Environ(),
					Root:    filepath.VolumeName(dir) + string(filepath.Separator), // the links to the judges lead out of dir
				})
				if err != nil {
					t.Fatalf("Bundle: %v", err)
				}
				// outdir is where our source maps say it is: modules that are no files show it.
				form := filepath.Join(t.TempDir(), "form")
				args := []string{"deploy", "--dry-run", "--outdir", ".wrangler/tmp/deploy", "--outfile", form}
				if env != "" {
					args = append(args, "--env", env)
				}
				if stdout, stderr, exit := runWrangler(t, dir, args...); exit != 0 {
					t.Fatalf("wrangler ended with %d:\n%s%s", exit, stdout, stderr)
				}
				compareParts(t, bundleParts(got), codeParts(readForm(t, form)), fixture.anyOrder)
			})
		}
	}
}

// bundleProject copies a fixture.
func bundleProject(t testing.TB, name string, node bool) string {
	t.Helper()
	dir := copyTree(t, filepath.Join("testdata", "bundle", name))
	modules := filepath.Join(dir, "node_modules")
	if err := os.Rename(filepath.Join(dir, "packages"), modules); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if node {
		for _, name := range []string{"wrangler", "unenv", "@cloudflare/unenv-preset"} {
			link := filepath.Join(modules, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Join(judgeModules(t), filepath.FromSlash(name)), link); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func bundleConfig(t testing.TB, dir, env string) *wrangler.Config {
	t.Helper()
	project, err := wrangler.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	config, err := project.Resolve(env)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// bundleParts are the parts that a bundle is uploaded as: in service-worker format everything but the entry
// point comes first, as bindings.
func bundleParts(b *wrangler.Bundle) []formPart {
	part := func(m wrangler.Module, name string) formPart {
		return formPart{Name: name, ContentType: m.Type.ContentType(), Content: m.Content}
	}
	var parts []formPart
	if b.Main.Type == wrangler.CommonJS {
		for _, m := range b.Modules {
			parts = append(parts, part(m, m.Identifier()))
		}
		parts = append(parts, part(b.Main, b.Main.Name))
	} else {
		for _, m := range slices.Concat([]wrangler.Module{b.Main}, b.Modules) {
			parts = append(parts, part(m, m.Name))
		}
	}
	for _, m := range b.SourceMaps {
		parts = append(parts, formPart{Name: m.Name, ContentType: "application/source-map", Content: m.Content})
	}
	return parts
}

// codeParts leaves the metadata out.
func codeParts(parts []formPart) []formPart {
	return slices.DeleteFunc(parts, func(p formPart) bool { return p.Name == "metadata" })
}

func compareParts(t *testing.T, got, want []formPart, anyOrder bool) {
	t.Helper()
	if anyOrder {
		for _, parts := range [][]formPart{got, want} {
			slices.SortStableFunc(parts, func(x, y formPart) int { return strings.Compare(x.Name, y.Name) })
		}
	}
	list := func(parts []formPart) string {
		var b strings.Builder
		for _, p := range parts {
			fmt.Fprintf(&b, "  %s (%s, %d bytes)\n", p.Name, p.ContentType, len(p.Content))
		}
		return b.String()
	}
	if g, w := list(got), list(want); g != w {
		t.Errorf("parts are\n%swrangler uploads\n%s", g, w)
	}
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i].Content, want[i].Content) {
			t.Errorf("%s differs from wrangler's:\n%s", got[i].Name, firstDifference(got[i].Content, want[i].Content))
		}
	}
}

// firstDifference shows two texts where they part.
func firstDifference(got, want []byte) string {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	around := func(b []byte) string { return fmt.Sprintf("%.300q", b[max(0, i-120):]) }
	return fmt.Sprintf("at byte %d\n  ours     %s\n  wrangler %s", i, around(got), around(want))
}

// TestBundleRefusesWithWrangler makes sure that what we refuse wrangler refuses too, but for what says why not.
// What esbuild alone decides needs no wrangler.
func TestBundleRefusesWithWrangler(t *testing.T) {
	requireJudge(t)
	running := make(chan struct{}, 2)
	for _, test := range refusals {
		if strings.HasSuffix(test.want[0], " code") || strings.HasSuffix(test.want[0], " unresolved-import") {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			running <- struct{}{}
			defer func() { <-running }()
			dir := bundleFiles(t, test.files)
			stdout, stderr, exit := runWrangler(t, dir, "deploy", "--dry-run")
			if (exit == 0) != (test.ours != "") {
				t.Errorf("wrangler ended with %d:\n%s%s", exit, stdout, stderr)
			}
		})
	}
}
