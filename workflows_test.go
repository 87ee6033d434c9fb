package shopfleet_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// workflows reads this repository's workflows: file name → content.
func workflows(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(".github/workflows/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no workflows in .github/workflows: %v", err)
	}
	found := map[string][]byte{}
	for _, file := range files {
		if found[file], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// TestWorkflowsPassActionlint: it checks keys, expressions and types, and that
// nothing a stranger writes is expanded in a script.
func TestWorkflowsPassActionlint(t *testing.T) {
	out, err := exec.Command("go", "-C", "testdata/judge", "tool", "-n", "actionlint").CombinedOutput()
	if err != nil {
		if os.Getenv("SHOPFLEET_JUDGES") == "require" {
			t.Fatalf("building actionlint: %v\n%s", err, out)
		}
		t.Skipf("actionlint cannot be built here: %v\n%s", err, out)
	}
	lint := exec.Command(strings.TrimSpace(string(out)), "-no-color", "-shellcheck=", "-pyflakes=")
	for file := range workflows(t) {
		lint.Args = append(lint.Args, file)
	}
	if out, err := lint.CombinedOutput(); err != nil {
		t.Errorf("actionlint: %v\n%s", err, out)
	}
}

// TestWorkflowsAreHeldTight: what actionlint leaves to taste.
func TestWorkflowsAreHeldTight(t *testing.T) {
	pinned := regexp.MustCompile(`^(\./|[\w.-]+/[\w./-]+@[0-9a-f]{40}$)`)
	type job struct {
		Uses        string
		Permissions any
		Timeout     int `yaml:"timeout-minutes"`
		Steps       []struct {
			Uses, Run string
			With      map[string]any
		}
	}
	for file, content := range workflows(t) {
		var w struct {
			Permissions map[string]string
			Jobs        map[string]job
		}
		if err := yaml.Unmarshal(content, &w); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if w.Permissions == nil {
			t.Errorf("%s: no permissions at the top: every job would get the repository's default", file)
		}
		for scope, access := range w.Permissions {
			if access != "read" {
				t.Errorf("%s: permissions at the top: %s: %s is for the job that needs it", file, scope, access)
			}
		}
		for name, j := range w.Jobs {
			if all, ok := j.Permissions.(string); ok {
				t.Errorf("%s: job %s: permissions: %s; name what it needs", file, name, all)
			}
			if j.Uses == "" && j.Timeout == 0 {
				t.Errorf("%s: job %s has no timeout-minutes", file, name)
			}
			if j.Uses != "" && !pinned.MatchString(j.Uses) {
				t.Errorf("%s: job %s: %s is not pinned to a commit", file, name, j.Uses)
			}
			for _, step := range j.Steps {
				if step.Uses != "" && !pinned.MatchString(step.Uses) {
					t.Errorf("%s: job %s: %s is not pinned to a commit", file, name, step.Uses)
				}
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
					t.Errorf("%s: job %s: checkout leaves its token in .git/config; say persist-credentials: false", file, name)
				}
				if strings.Contains(step.Run, "${{") {
					t.Errorf("%s: job %s: an expression in a script; hand it over by env:\n%s", file, name, step.Run)
				}
			}
		}
		for i, line := range strings.Split(string(content), "\n") {
			if strings.Contains(line, "uses: ") && strings.Contains(line, "@") && !regexp.MustCompile(`@[0-9a-f]{40} # v\d+\.\d+\.\d+$`).MatchString(line) {
				t.Errorf("%s:%d: say the version behind the commit: %s", file, i+1, strings.TrimSpace(line))
			}
		}
	}
}

// TestRightsAreAloneWithTheirSteps: a job that may write or sign runs nothing of third parties but what logs in to the
// registry and pushes. Steps of one job share a machine, so what runs once can change the steps after it.
func TestRightsAreAloneWithTheirSteps(t *testing.T) {
	known := regexp.MustCompile(`^(actions/(checkout|setup-go|download-artifact|attest)|docker/(setup-buildx|login|build-push)-action)@`)
	for file, content := range workflows(t) {
		var w struct {
			Jobs map[string]struct {
				Permissions map[string]string
				Environment string
				Steps       []struct{ Uses string }
			}
		}
		if err := yaml.Unmarshal(content, &w); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for name, j := range w.Jobs {
			writes := false
			for _, access := range j.Permissions {
				writes = writes || access != "read"
			}
			for _, step := range j.Steps {
				if writes && step.Uses != "" && !known.MatchString(step.Uses) {
					t.Errorf("%s: job %s may write %v and runs %s", file, name, j.Permissions, step.Uses)
				}
			}
			if j.Permissions["contents"] == "write" && j.Environment != "release" {
				t.Errorf("%s: job %s can push and waits for nobody: its environment is %q", file, name, j.Environment)
			}
		}
	}
}

// TestImageBasesArePinned: what the Dockerfile builds on is named by digest, in
// FROM itself, where Dependabot finds it.
func TestImageBasesArePinned(t *testing.T) {
	content, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	from := regexp.MustCompile(`(?m)^FROM +(.+)$`).FindAllStringSubmatch(string(content), -1)
	if len(from) == 0 {
		t.Fatal("Dockerfile has no FROM")
	}
	pinned := regexp.MustCompile(`^(scratch|[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64} AS \w+)$`)
	for _, line := range from {
		if !pinned.MatchString(line[1]) {
			t.Errorf("Dockerfile: FROM %s: name a tag and a digest", line[1])
		}
	}
}

// TestImageHoldsNoWorld builds the program as the Dockerfile does, as far as that shows what is in it: the simulators are
// for people who try shopfleet, and the image has a size to keep.
func TestImageHoldsNoWorld(t *testing.T) {
	dockerfile, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`go build [^\n]*-tags noworld `).Match(dockerfile) {
		t.Error("the Dockerfile builds without the tag noworld")
	}
	list, err := exec.Command("go", "list", "-tags", "noworld", "-deps", "./cmd/shopfleet").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, list)
	}
	for name := range strings.Lines(string(list)) {
		if strings.Contains(name, "shopfleet/internal/sim") || strings.Contains(name, "gqlparser") {
			t.Errorf("the image holds %s", name)
		}
	}
	if out, err := exec.Command("go", "build", "-tags", "noworld", "-o", os.DevNull, "./cmd/shopfleet").CombinedOutput(); err != nil {
		t.Errorf("building it: %v\n%s", err, out)
	}
}
