package wrangler_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// presetAnswers is what testdata/bundle/preset.mjs prints.
type presetAnswers struct {
	Days []string
	Sets []struct {
		Flags []string
		Runs  [][2]any // the day it begins and the index of its environment
	}
	Environments []struct {
		Alias    map[string]string
		Inject   [][2]string
		External []string
		Polyfill []string
	}
	Resolved map[string]string
}

// TestNodeTableEqualsPreset compares our table with the preset that wrangler comes with, for every day from
// before nodejs_compat meant unenv until after its last threshold, under every flag.
func TestNodeTableEqualsPreset(t *testing.T) {
	requireJudge(t)
	modules, err := filepath.EvalSymlinks(judgeModules(t))
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs(filepath.Join("testdata", "bundle", "preset.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, exit := runNode(t, t.TempDir(), nil, script,
		filepath.Join(modules, "wrangler", "wrangler-dist", "cli.js"), "2024-09-01", "2026-12-31")
	if exit != 0 {
		t.Fatalf("preset.mjs ended with %d: %s", exit, stderr)
	}
	var want presetAnswers
	if err := json.Unmarshal([]byte(stdout), &want); err != nil {
		t.Fatal(err)
	}
	external := make([]map[string]bool, len(want.Environments))
	for i, env := range want.Environments {
		external[i] = map[string]bool{}
		for _, name := range env.External {
			external[i][name] = true
		}
	}

	compared := 0
	for _, set := range want.Sets {
		run := -1
		for _, day := range want.Days {
			if run+1 < len(set.Runs) && set.Runs[run+1][0] == day {
				run++
			}
			i := int(set.Runs[run][1].(float64))
			env := want.Environments[i]
			alias, inject, ext, polyfill := wrangler.NodeEnvironment(day, set.Flags)
			switch {
			case !maps.Equal(alias, env.Alias):
				t.Errorf("%s %v: aliases differ from the preset's: %v", day, set.Flags, mapDifference(alias, env.Alias))
			case !slices.Equal(inject, env.Inject):
				t.Errorf("%s %v: globals are %v, the preset has %v", day, set.Flags, inject, env.Inject)
			case !maps.Equal(ext, external[i]):
				t.Errorf("%s %v: external modules differ from the preset's", day, set.Flags)
			case !slices.Equal(polyfill, env.Polyfill):
				t.Errorf("%s %v: polyfills are %v, the preset has %v", day, set.Flags, polyfill, env.Polyfill)
			}
			if compared++; t.Failed() {
				t.FailNow()
			}
		}
	}
	t.Logf("%d days, %d sets of flags, %d environments: %d comparisons", len(want.Days), len(want.Sets), len(want.Environments), compared)

	// The files that the aliases mean, found from a project that has wrangler through a link, as pnpm makes them.
	project := t.TempDir()
	if err := os.Mkdir(filepath.Join(project, "node_modules"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(modules, "wrangler"), filepath.Join(project, "node_modules", "wrangler")); err != nil {
		t.Fatal(err)
	}
	for alias, file := range want.Resolved {
		got, ok := wrangler.ResolveUnenv(project, alias)
		if rel, err := filepath.Rel(modules, got); err == nil && filepath.IsAbs(got) {
			got = filepath.ToSlash(rel)
		}
		if ok != (file != "") || got != file {
			t.Errorf("%s means %q (%v), to wrangler %q", alias, got, ok, file)
		}
	}
}

// TestUnenvPresetVersion holds the version that the table is labelled with to the one installed.
func TestUnenvPresetVersion(t *testing.T) {
	requireJudge(t)
	text, err := os.ReadFile(filepath.Join(judgeModules(t), "@cloudflare", "unenv-preset", "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	var pkg struct{ Version string }
	if err := json.Unmarshal(text, &pkg); err != nil {
		t.Fatal(err)
	}
	if pkg.Version != wrangler.UnenvPresetVersion {
		t.Errorf("the table is of %s, wrangler comes with %s", wrangler.UnenvPresetVersion, pkg.Version)
	}
}

// mapDifference lists what two maps do not agree on, ours first.
func mapDifference(got, want map[string]string) map[string][2]string {
	out := map[string][2]string{}
	for _, m := range []map[string]string{got, want} {
		for key := range m {
			if got[key] != want[key] {
				out[key] = [2]string{got[key], want[key]}
			}
		}
	}
	return out
}
