package command

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/rebase"
)

const testAction = "kvick/shopfleet@0123456789abcdef0123456789abcdef01234567"

// newRepository is an empty repository: no commit, no remote.
func newRepository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("git", "init", "--quiet", dir).CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	return dir
}

// initIn runs init in a directory. A stdin that is not "" is a person's.
func initIn(t *testing.T, dir, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, problems bytes.Buffer
	code = Run(t.Context(), &Door{
		Args: append([]string{"init"}, args...), Getenv: func(string) string { return "" },
		Stdin: strings.NewReader(stdin), Asks: stdin != "", Stdout: &out, Stderr: &problems, Dir: dir, Now: time.Now,
		Version: "v1.2.3", Commit: strings.TrimPrefix(testAction, "kvick/shopfleet@"),
	})
	return code, out.String(), problems.String()
}

func readFile(t *testing.T, elem ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// workflows are the files that init writes into an empty repository, by name.
func workflows(t *testing.T, args ...string) (dir string, files map[string][]byte) {
	t.Helper()
	dir = newRepository(t)
	if code, _, stderr := initIn(t, dir, "", append([]string{"--repository=kvick/helm"}, args...)...); code != ExitDone {
		t.Fatalf("init: exit code %d\n%s", code, stderr)
	}
	files = map[string][]byte{}
	for _, name := range workflowFiles {
		files[name] = readFile(t, dir, workflowDir, name)
	}
	return dir, files
}

// TestWorkflowsPassActionlint ignores one thing: actionlint 1.7.12 does not know queue yet (contracts/github/wire.md §2f).
func TestWorkflowsPassActionlint(t *testing.T) {
	out, err := exec.Command("go", "-C", "../../testdata/judge", "tool", "-n", "actionlint").CombinedOutput()
	if err != nil {
		if os.Getenv("SHOPFLEET_JUDGES") == "require" {
			t.Fatalf("building actionlint: %v\n%s", err, out)
		}
		t.Skipf("actionlint cannot be built here: %v\n%s", err, out)
	}
	for _, args := range [][]string{nil, {"--main=trunk", "--config=ops/fleet.yml"}} {
		dir, files := workflows(t, args...)
		lint := exec.Command(strings.TrimSpace(string(out)), "-shellcheck=", "-pyflakes=", "-format={{json .}}")
		lint.Dir = filepath.Join(dir, workflowDir)
		lint.Args = slices.AppendSeq(lint.Args, maps.Keys(files))
		said, err := lint.Output() // exit code 1: there are findings
		var found []struct {
			Message, Filepath string
			Line              int
		}
		if problem := json.Unmarshal(said, &found); problem != nil {
			t.Fatalf("actionlint: %v, %v\n%s", err, problem, said)
		}
		queues := 0
		for _, f := range found {
			if slices.Contains([]string{"deploy-shop.yml", "rebase.yml", "onboard.yml", "offboard.yml", "move.yml"}, f.Filepath) && strings.HasPrefix(f.Message, `unexpected key "queue" for "concurrency" section`) {
				queues++
				continue
			}
			t.Errorf("%v: %s:%d: %s", args, f.Filepath, f.Line, f.Message)
		}
		if queues != 6 {
			t.Errorf("%v: %d queues were ignored, want 6", args, queues)
		}

		// With the configuration that docs/github.md gives there is nothing to ignore.
		block := regexp.MustCompile("(?s)### actionlint\n.*?```yaml\n(.*?)```").FindSubmatch(readFile(t, "..", "..", "docs", "github.md"))
		if block == nil {
			t.Fatal("docs/github.md has no configuration of actionlint")
		}
		if err := os.WriteFile(filepath.Join(dir, ".github", "actionlint.yaml"), block[1], 0o644); err != nil {
			t.Fatal(err)
		}
		lint = exec.Command(lint.Path, "-shellcheck=", "-pyflakes=")
		lint.Dir = dir
		if said, err := lint.CombinedOutput(); err != nil {
			t.Errorf("%v: with docs/github.md's configuration: %v\n%s", args, err, said)
		}
	}
}

// workflowFile is as much of a workflow as the tests below judge.
type workflowFile struct {
	On          map[string]any
	Permissions *map[string]string
	Concurrency map[string]any
	Jobs        map[string]struct {
		If          string
		Needs       any
		Uses        string
		Secrets     string
		Outputs     map[string]string
		Permissions *map[string]string
		Environment struct {
			Name       string
			Deployment *bool
		}
		Concurrency struct {
			Group  string
			Queue  string
			Cancel bool `yaml:"cancel-in-progress"`
		}
		Timeout int `yaml:"timeout-minutes"`
		Env     map[string]string
		Steps   []struct {
			ID, Name, If, Uses, Run string
			Env, With               map[string]string
		}
	}
}

func TestWorkflowsAreSafe(t *testing.T) {
	_, files := workflows(t)
	permissions := map[string]map[string]string{
		"deploy.yml/deploy":        {"contents": "read", "deployments": "write", "checks": "write"},
		"deploy-shop.yml/shop":     {},
		"deploy-shop.yml/packages": {"contents": "read"},
		"deploy-shop.yml/deploy":   {"contents": "read", "deployments": "write", "checks": "write"},
		"plan.yml/packages":        {"contents": "read"},
		"plan.yml/plan":            {"contents": "read", "checks": "write", "deployments": "read", "pull-requests": "write"},
		"plan.yml/check":           {"contents": "read"},
		"audit.yml/audit":          {"contents": "read", "issues": "write"},
		"audit.yml/sarif":          {"contents": "read", "security-events": "write"},
		"rebase.yml/packages":      {"contents": "read"},
		"rebase.yml/rebase":        {"contents": "read"}, // what it writes, the App writes
		"rebase.yml/land":          {"contents": "read"},
		"commands.yml/commands":    {"contents": "read"},
		"rollback.yml/rollback":    {"contents": "read"},
		"audit.yml/pages":          {"contents": "read", "deployments": "read"},
		"onboard.yml/packages":     {"contents": "read"},
		"onboard.yml/onboard":      {"contents": "read"}, // what these write, the App writes
		"offboard.yml/packages":    {"contents": "read"},
		"offboard.yml/offboard":    {"contents": "read"},
		"move.yml/packages":        {"contents": "read"},
		"move.yml/move":            {"contents": "read"},
		"backup.yml/backup":        {"contents": "read"},
		"drill.yml/packages":       {"contents": "read"},
		"drill.yml/drill":          {"contents": "read"},
	}
	secrets := map[string][]string{ // the inputs of our action that may be secrets
		"deploy-shop.yml/deploy": {"cloudflare-api-token", "secrets", "secrets-key"},
		"plan.yml/plan":          {"cloudflare-api-token"},
		"audit.yml/audit":        {"cloudflare-api-token"},
		"rebase.yml/rebase":      {"cloudflare-api-token", "app-private-key"},
		"rebase.yml/land":        {"app-private-key"},
		"commands.yml/commands":  {"cloudflare-api-token", "app-private-key"},
		"rollback.yml/rollback":  {"cloudflare-api-token", "app-private-key"},
		"audit.yml/pages":        {"cloudflare-api-token"},
		"onboard.yml/onboard":    {"cloudflare-api-token", "app-private-key", "secrets", "secrets-key"},
		"offboard.yml/offboard":  {"cloudflare-api-token", "app-private-key", "backup-api-token", "secrets-key"},
		"move.yml/move":          {"cloudflare-api-token", "app-private-key", "secrets-key"},
		"backup.yml/backup":      {"cloudflare-api-token", "backup-api-token"},
		"drill.yml/drill":        {"cloudflare-api-token", "app-private-key", "secrets-key"},
	}
	pinned := regexp.MustCompile(`^[A-Za-z0-9-]+/[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*@[0-9a-f]{40}$`)
	for name, src := range files {
		var w workflowFile
		if err := yaml.Unmarshal(src, &w); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if w.Permissions == nil || len(*w.Permissions) > 0 {
			t.Errorf("%s: permissions are %v at the top, want {}", name, w.Permissions)
		}
		if w.On["pull_request_target"] != nil {
			t.Errorf("%s is started by pull_request_target", name)
		}
		inSteps := 0
		for jobName, job := range w.Jobs {
			at := name + "/" + jobName
			want, ok := permissions[at]
			if !ok || job.Permissions == nil || !maps.Equal(*job.Permissions, want) {
				t.Errorf("%s: permissions %v, want %v", at, job.Permissions, want)
			}
			if job.Uses != "" {
				if job.Uses != "kvick/helm/.github/workflows/deploy-shop.yml@main" {
					t.Errorf("%s uses %s", at, job.Uses)
				}
				continue
			}
			if job.Timeout == 0 || len(job.Env) > 0 {
				t.Errorf("%s: timeout %d, environment %v", at, job.Timeout, job.Env)
			}
			for _, step := range job.Steps {
				if step.Uses != "" && !pinned.MatchString(step.Uses) {
					t.Errorf("%s uses %s, which is no commit", at, step.Uses)
				}
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != "false" {
					t.Errorf("%s: the checkout leaves its token behind", at)
				}
				if strings.Contains(step.Run, "${{") {
					t.Errorf("%s: an expression becomes part of a script:\n%s", at, step.Run)
				}
				if strings.Contains(step.Run, "npm") && (!strings.Contains(step.Run, "--ignore-scripts") || len(step.Env) > 0) {
					t.Errorf("%s: %s with %v", at, step.Run, step.Env)
				}
				if step.Uses == testAction {
					for input, value := range step.With {
						if strings.Contains(value, "secrets.") {
							inSteps++
							if !slices.Contains(secrets[at], input) {
								t.Errorf("%s: input %s is a secret", at, input)
							}
						}
					}
				}
			}
		}
		// Every mention of a secret, in comments too, is one that was seen in with:.
		if n := len(regexp.MustCompile(`secrets\.[A-Z]`).FindAll(src, -1)); n != inSteps {
			t.Errorf("%s mentions secrets %d times, and %d of them are inputs of the action", name, n, inSteps)
		}
		// Comments after a pinned action say which release it is.
		for _, m := range regexp.MustCompile(`(?m)uses: (actions/|github/|kvick/shopfleet@).*$`).FindAllString(string(src), -1) {
			if !regexp.MustCompile(`@[0-9a-f]{40} # v\d+\.\d+\.\d+$`).MatchString(m) {
				t.Errorf("%s: %s does not say its version", name, m)
			}
		}
	}

	var audit workflowFile
	if err := yaml.Unmarshal(files["audit.yml"], &audit); err != nil {
		t.Fatal(err)
	}
	if _, byHand := audit.On["workflow_dispatch"]; !byHand || audit.On["schedule"] == nil || len(audit.On) != 2 {
		t.Errorf("the audit is started by %v", audit.On)
	}
	if job := audit.Jobs["audit"]; job.Environment.Name != "fleet-audit" || job.Environment.Deployment == nil || *job.Environment.Deployment ||
		!strings.Contains(job.If, "github.ref == 'refs/heads/main'") {
		t.Errorf("the audit has its secret in environment %+v, if %q", job.Environment, job.If)
	}

	testForms(t, files)

	var weekly workflowFile
	if err := yaml.Unmarshal(files["rebase.yml"], &weekly); err != nil {
		t.Fatal(err)
	}
	// The events whose runs are main's own: what a push or a pull request starts is as whoever pushed it likes.
	if want := []string{"issues", "schedule", "workflow_dispatch"}; !slices.Equal(slices.Sorted(maps.Keys(weekly.On)), want) {
		t.Errorf("the rebase is started by %v", slices.Sorted(maps.Keys(weekly.On)))
	}
	cron := regexp.MustCompile(`cron: ('[^']+') # the week's rebase`).FindSubmatch(files["rebase.yml"])
	if cron == nil {
		t.Fatal("rebase.yml does not say when the week's rebase is")
	}
	for _, name := range []string{"rebase", "land"} {
		job := weekly.Jobs[name]
		if !strings.Contains(job.If, "github.event.schedule "+map[string]string{"rebase": "==", "land": "!="}[name]+" "+string(cron[1])) {
			t.Errorf("job %s does not know the week's rebase: if %q", name, job.If)
		}
		if job.Environment.Name != "fleet-rebase" || job.Environment.Deployment == nil || *job.Environment.Deployment ||
			!strings.HasPrefix(job.If, "${{ github.repository == 'kvick/helm' && github.ref == 'refs/heads/main' && (") {
			t.Errorf("job %s has its secrets in environment %+v, if %q", name, job.Environment, job.If)
		}
		if c := job.Concurrency; c.Group != "fleet-rebase" || c.Cancel || c.Queue != "max" {
			t.Errorf("concurrency of %s: %+v", name, c)
		}
		for _, step := range job.Steps {
			if token, given := step.With["github-token"]; step.Uses == testAction && (!given || token != "") {
				t.Errorf("job %s: the workflow's own token goes before the App", name)
			}
		}
	}
	if job := weekly.Jobs["land"]; !strings.Contains(job.If, "'"+rebase.IssueMarker+"'") {
		t.Errorf("ticking a box of the fleet issue does not start land: if %q", job.If)
	}

	// The groups of shops are shopfleet-<slug>, and any other of that form is some shop's, whose deploy it would cancel or hold up.
	for name, text := range files {
		for _, m := range regexp.MustCompile(`(?m)^ *group: (.*)$`).FindAllStringSubmatch(string(text), -1) {
			if g := m[1]; !strings.HasPrefix(g, "fleet-") && g != "shopfleet-${{ inputs.shop }}" && g != "shopfleet-${{ needs.shop.outputs.slug }}" {
				t.Errorf("%s has a group that can be a shop's: %s", name, g)
			}
		}
	}

	// What hears comments and what takes shops back has its secrets on main alone, waits for nothing, and is the App.
	heard := []string{}
	for name, on := range map[string][]string{"commands.yml": {"issue_comment", "schedule", "workflow_dispatch"}, "rollback.yml": {"workflow_dispatch"}} {
		var w workflowFile
		if err := yaml.Unmarshal(files[name], &w); err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(maps.Keys(w.On)); !slices.Equal(got, on) || w.Concurrency != nil || len(w.Jobs) != 1 {
			t.Errorf("%s is started by %v, concurrency %v, %d jobs", name, got, w.Concurrency, len(w.Jobs))
		}
		for jobName, job := range w.Jobs {
			if job.Environment.Name != "fleet-commands" || job.Environment.Deployment == nil || *job.Environment.Deployment ||
				!strings.HasPrefix(job.If, "${{ github.repository == 'kvick/helm' && github.ref == 'refs/heads/main'") {
				t.Errorf("job %s has its secrets in environment %+v, if %q", jobName, job.Environment, job.If)
			}
			if c := job.Concurrency; c.Cancel || c.Queue != "" || c.Group != map[string]string{"commands.yml": "fleet-command-${{ github.event.comment.id || 'recovery' }}"}[name] {
				t.Errorf("concurrency of %s: %+v", jobName, c)
			}
			for _, step := range job.Steps {
				if step.Run != "" {
					t.Errorf("job %s runs %s", jobName, step.Run)
				}
				if token, given := step.With["github-token"]; step.Uses == testAction && (!given || token != "" || step.With["app-private-key"] == "") {
					t.Errorf("job %s is not the App", jobName)
				}
				for input, value := range step.With {
					if strings.Contains(value, "github.event") {
						t.Errorf("job %s: input %s is what somebody wrote: %s", jobName, input, value)
					}
				}
			}
		}
	}
	for name, src := range files {
		var w workflowFile
		if err := yaml.Unmarshal(src, &w); err != nil {
			t.Fatal(err)
		}
		if _, ok := w.On["issue_comment"]; ok {
			heard = append(heard, name)
		}
		if name != "commands.yml" && bytes.Contains(src, []byte("comment.body")) {
			t.Errorf("%s looks into comments", name)
		}
	}
	if !slices.Equal(heard, []string{"commands.yml"}) { // or a comment is answered twice
		t.Errorf("comments are heard by %q", heard)
	}

	var shop workflowFile
	if err := yaml.Unmarshal(files["deploy-shop.yml"], &shop); err != nil {
		t.Fatal(err)
	}
	deploy := shop.Jobs["deploy"]
	if c := deploy.Concurrency; c.Group != "shopfleet-${{ needs.shop.outputs.slug }}" || c.Cancel || c.Queue != "max" {
		t.Errorf("concurrency of a deploy: %+v", c)
	}
	if e := deploy.Environment; e.Name != "shop-${{ needs.shop.outputs.slug }}" || e.Deployment == nil || *e.Deployment {
		t.Errorf("environment of a deploy: %+v", e)
	}
	if policy, err := fleet.Parse("fleet.yml", readFile(t, "..", "..", "testdata", "helm", "fleet.yml")); err != nil {
		t.Error(err)
	} else if s, err := policy.Shop("swicked"); err != nil || s.Environment() != "shop-swicked" {
		t.Errorf("the environment of a shop's releases is %s (%v), and the workflow's is another", s.Environment(), err)
	}
}

// testForms holds the workflows that make, move, keep and end shops: by hand or by the clock, on main alone, and what is typed
// goes to the action as it is.
func testForms(t *testing.T, files map[string][]byte) {
	t.Helper()
	for name, want := range map[string]struct {
		on          []string
		environment string
		group       string // of the job's concurrency, or of the workflow's
		app         bool
	}{
		"onboard.yml":  {[]string{"workflow_dispatch"}, "fleet-onboard", "shopfleet-${{ inputs.shop }}", true},
		"offboard.yml": {[]string{"workflow_dispatch"}, "fleet-offboard", "shopfleet-${{ inputs.shop }}", true},
		"move.yml":     {[]string{"workflow_dispatch"}, "fleet-offboard", "shopfleet-${{ inputs.shop }}", true},
		"backup.yml":   {[]string{"schedule", "workflow_dispatch"}, "fleet-backup", "fleet-backup", false},
		"drill.yml":    {[]string{"schedule", "workflow_dispatch"}, "fleet-drill", "fleet-drill", true},
	} {
		var w workflowFile
		if err := yaml.Unmarshal(files[name], &w); err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(maps.Keys(w.On)); !slices.Equal(got, want.on) {
			t.Errorf("%s is started by %v", name, got)
		}
		verb := strings.TrimSuffix(name, ".yml")
		if by := fleetEvents[verb]; by.file != name || !slices.Equal(by.may, want.on) {
			t.Errorf("the action lets %v start %s, in %s", by.may, verb, by.file)
		}
		for jobName, job := range w.Jobs {
			if job.If != "${{ github.repository == 'kvick/helm' && github.ref == 'refs/heads/main' }}" {
				t.Errorf("%s/%s: if %q", name, jobName, job.If)
			}
		}
		job := w.Jobs[verb]
		if job.Environment.Name != want.environment || job.Environment.Deployment == nil || *job.Environment.Deployment {
			t.Errorf("%s has its secrets in environment %+v", name, job.Environment)
		}
		group := fmt.Sprint(w.Concurrency["group"])
		if w.Concurrency == nil {
			group = job.Concurrency.Group
			if job.Concurrency.Cancel || job.Concurrency.Queue != "max" {
				t.Errorf("concurrency of %s: %+v", name, job.Concurrency)
			}
		} else if w.Concurrency["cancel-in-progress"] == true {
			t.Errorf("%s is cancelled by the next one", name)
		}
		if group != want.group {
			t.Errorf("%s waits for %q", name, group)
		}
		told := 0
		form, _ := w.On["workflow_dispatch"].(map[string]any)
		inputs, _ := form["inputs"].(map[string]any)
		for _, step := range job.Steps {
			if step.Uses != testAction {
				continue
			}
			if step.With["command"] != verb {
				t.Errorf("%s runs command %s", name, step.With["command"])
			}
			if token, given := step.With["github-token"]; want.app != (given && token == "" && step.With["app-private-key"] != "") {
				t.Errorf("%s is the App: %v", name, !want.app)
			}
			for input := range inputs {
				if !slices.ContainsFunc(slices.Collect(maps.Values(step.With)), func(v string) bool { return strings.Contains(v, "inputs."+input) }) {
					t.Errorf("%s: nobody hears of %s", name, input)
				}
				told++
			}
		}
		if told != len(inputs) || len(inputs) == 0 {
			t.Errorf("%s has inputs %v", name, slices.Sorted(maps.Keys(inputs)))
		}
	}
}

// TestSecretsAreAloneWithTheAction: npm runs what a commit wants it to run, and what ran once can change the steps after it,
// by $GITHUB_ENV or by the files of the machine. So a job that is given secrets runs nothing but what brings the files.
func TestSecretsAreAloneWithTheAction(t *testing.T) {
	allowed := regexp.MustCompile(`^(actions/(checkout|download-artifact)@[0-9a-f]{40}|` + regexp.QuoteMeta(testAction) + `)$`)
	privileged := []string{}
	_, files := workflows(t)
	for name, src := range files {
		var w workflowFile
		var raw struct{ Jobs map[string]any } // with all that workflowFile does not know
		if err := errors.Join(yaml.Unmarshal(src, &w), yaml.Unmarshal(src, &raw)); err != nil {
			t.Fatal(err)
		}
		for jobName, job := range w.Jobs {
			at := name + "/" + jobName
			text, err := yaml.Marshal(raw.Jobs[jobName])
			if err != nil {
				t.Fatal(err)
			}
			if job.Uses != "" || !regexp.MustCompile(`(?m)\bsecrets\b *[.\[)]|^ *(environment|container|services):`).Match(text) {
				continue
			}
			privileged = append(privileged, at)
			for _, step := range job.Steps {
				switch {
				case step.Uses != "" && allowed.MatchString(step.Uses):
				case strings.HasPrefix(at, "audit.yml/") && strings.HasPrefix(step.Uses, "actions/upload-artifact@"): // nothing of a commit runs before or after it
				case step.Uses == "" && step.Name == "Unpack the packages" && len(step.Env) == 0:
					for line := range strings.Lines(step.Run) {
						if program, _, _ := strings.Cut(line, " "); !slices.Contains([]string{"mkdir", "tar", "rm", "mv"}, program) {
							t.Errorf("%s runs %s", at, line)
						}
					}
				default:
					t.Errorf("%s has secrets and runs %s%s", at, step.Uses, step.Run)
				}
			}
		}
		packages, ok := w.Jobs["packages"]
		if without := []string{"deploy.yml", "audit.yml", "commands.yml", "rollback.yml", "backup.yml"}; !slices.Contains(without, name) && (!ok || packages.Needs != nil) {
			t.Errorf("%s: packages waits for %v", name, packages.Needs)
		}
		for _, with := range []string{"plan", "rebase", "onboard", "offboard", "move", "drill"} {
			if job, ok := w.Jobs[with]; ok && (job.Needs != "packages" || job.If != packages.If) {
				t.Errorf("%s: %s needs %v, if %q, and packages if %q", name, with, job.Needs, job.If, packages.If)
			}
		}
	}
	slices.Sort(privileged)
	if want := []string{"audit.yml/audit", "audit.yml/pages", "backup.yml/backup", "commands.yml/commands", "deploy-shop.yml/deploy", "drill.yml/drill", "move.yml/move", "offboard.yml/offboard", "onboard.yml/onboard", "plan.yml/plan", "rebase.yml/land", "rebase.yml/rebase", "rollback.yml/rollback"}; !slices.Equal(privileged, want) {
		t.Errorf("jobs with secrets: %v, want %v", privileged, want)
	}

	// Nothing of the commit is where the slug is made.
	var shop workflowFile
	if err := yaml.Unmarshal(files["deploy-shop.yml"], &shop); err != nil {
		t.Fatal(err)
	}
	if job := shop.Jobs["shop"]; job.Needs != nil || len(job.Steps) != 1 || job.Steps[0].Uses != "" || job.Outputs["slug"] != "${{ steps.slug.outputs.slug }}" {
		t.Errorf("job shop: %+v", job)
	}
	if needs := fmt.Sprint(shop.Jobs["deploy"].Needs); needs != "[shop packages]" || shop.Jobs["deploy"].If != "" {
		t.Errorf("deploy needs %s, if %q: it must not run when one of them failed", needs, shop.Jobs["deploy"].If)
	}
}

// missingJudge skips a test whose judge is not here, or fails it where judges are required.
func missingJudge(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("SHOPFLEET_JUDGES") == "require" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// TestUnpackScript gives the job with the secrets tars that somebody's code made.
func TestUnpackScript(t *testing.T) {
	for _, tool := range []string{"bash", "tar"} {
		if _, err := exec.LookPath(tool); err != nil {
			missingJudge(t, "the workflow's script needs "+tool+", which is not installed")
		}
	}
	if said, err := exec.Command("tar", "--version").Output(); err != nil || !bytes.HasPrefix(said, []byte("tar (GNU tar)")) {
		missingJudge(t, "the tar here is not that of GitHub's Linux runners")
	}
	_, files := workflows(t)
	var w workflowFile
	if err := yaml.Unmarshal(files["deploy-shop.yml"], &w); err != nil {
		t.Fatal(err)
	}
	script := ""
	for _, step := range w.Jobs["deploy"].Steps {
		if step.Name == "Unpack the packages" {
			script = step.Run
		}
	}
	const outside = "of the checkout\n"
	for name, test := range map[string]struct {
		members []tar.Header
		commits string // what node_modules is a link to in the commit
		fails   bool
	}{
		"packages": {members: []tar.Header{
			{Name: "node_modules/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "node_modules/a/cli.js", Mode: 0o755},
			{Name: "node_modules/.bin/a", Typeflag: tar.TypeSymlink, Linkname: "../a/cli.js"},
			{Name: "node_modules/workspace", Typeflag: tar.TypeSymlink, Linkname: "../src"},
		}},
		"beside node_modules": {members: []tar.Header{{Name: "node_modules/a"}, {Name: ".git/config"}, {Name: "src/code.js"}, {Name: "node_modules.txt"}}},
		"no node_modules":     {members: []tar.Header{{Name: ".git/config"}}, fails: true},
		"a name with ..":      {members: []tar.Header{{Name: "node_modules/../src/code.js"}}, fails: true},
		"an absolute name":    {members: []tar.Header{{Name: "/node_modules/a"}, {Name: "node_modules/a"}}},
		"through a link": {members: []tar.Header{
			{Name: "node_modules/l", Typeflag: tar.TypeSymlink, Linkname: "../../workspace/.git"}, {Name: "node_modules/l/config"},
		}, fails: true},
		"through node_modules": {members: []tar.Header{
			{Name: "node_modules", Typeflag: tar.TypeSymlink, Linkname: "../workspace/.git"}, {Name: "node_modules/config"},
		}, fails: true},
		"through a hard link": {members: []tar.Header{
			{Name: "node_modules/h", Typeflag: tar.TypeLink, Linkname: "../workspace/.git/config"}, {Name: "node_modules/h"},
		}, fails: true},
		"through the commit's link": {commits: ".git", members: []tar.Header{{Name: "node_modules/config"}}},
		"out by the commit's link":  {commits: "../victim", members: []tar.Header{{Name: "node_modules/config"}}},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			temp, workspace := filepath.Join(top, "temp"), filepath.Join(top, "workspace")
			kept := []string{"workspace/.git/config", "workspace/src/code.js", "victim/config"}
			for _, file := range kept {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(top, file)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(top, file), []byte(outside), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if test.commits != "" {
				if err := os.Symlink(test.commits, filepath.Join(workspace, "node_modules")); err != nil {
					t.Fatal(err)
				}
			}
			var packed bytes.Buffer
			out := tar.NewWriter(&packed)
			for _, h := range test.members {
				body := "of the tar\n"
				if h.Typeflag != 0 {
					body = ""
				}
				h.Size = int64(len(body))
				if h.Mode == 0 {
					h.Mode = 0o644
				}
				if err := out.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(out, body); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(out.Close(), os.MkdirAll(filepath.Join(temp, "packages"), 0o755),
				os.WriteFile(filepath.Join(temp, "packages", "node_modules.tar"), packed.Bytes(), 0o644)); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("bash", "-e", "-c", script)
			cmd.Dir = workspace
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "RUNNER_TEMP=" + temp}
			if said, err := cmd.CombinedOutput(); (err != nil) != test.fails {
				t.Errorf("%v, want a failure: %v\n%s", err, test.fails, said)
			}
			for _, file := range kept {
				if text := readFile(t, top, file); string(text) != outside {
					t.Errorf("%s was written to: %q", file, text)
				}
			}
			if entries, err := os.ReadDir(workspace); err != nil || len(entries) > 3 {
				t.Errorf("the workspace has %v (%v)", entries, err)
			}
			if test.fails {
				return
			}
			if at, err := os.Lstat(filepath.Join(workspace, "node_modules")); err != nil || !at.IsDir() {
				t.Errorf("node_modules is no directory: %v, %v", at, err)
			}
			if name == "packages" {
				at, err := os.Stat(filepath.Join(workspace, "node_modules", ".bin", "a"))
				if err != nil || at.Mode().Perm() != 0o755 {
					t.Errorf(".bin/a is %v (%v)", at, err)
				}
				if text := readFile(t, workspace, "node_modules", "workspace", "code.js"); string(text) != outside {
					t.Errorf("a link to a workspace leads to %q", text)
				}
			}
		})
	}
}

// TestWorkflowsUseInputsThatExist holds the workflows against action.yml.
func TestWorkflowsUseInputsThatExist(t *testing.T) {
	var action struct{ Inputs map[string]any }
	if err := yaml.Unmarshal(readFile(t, "..", "..", "action.yml"), &action); err != nil {
		t.Fatal(err)
	}
	_, files := workflows(t, "--main=trunk", "--config=ops/fleet.yml")
	for name, src := range files {
		var w workflowFile
		if err := yaml.Unmarshal(src, &w); err != nil {
			t.Fatal(err)
		}
		for _, job := range w.Jobs {
			for _, step := range job.Steps {
				if step.Uses != testAction {
					continue
				}
				for input := range step.With {
					if _, ok := action.Inputs[input]; !ok {
						t.Errorf("%s gives the action %s, which action.yml does not have", name, input)
					}
				}
				if step.With["main"] != "trunk" || step.With["config"] != "ops/fleet.yml" {
					t.Errorf("%s: the action is not told where the policy is: %v", name, step.With)
				}
			}
		}
	}
}

// TestInitAsks is a person in an empty repository.
func TestInitAsks(t *testing.T) {
	dir := newRepository(t)
	code, stdout, stderr := initIn(t, dir, "kvick/Helm.POS\n\n7f3a0c5e9b1d4826a0e4c2d8f6b19357\nkvick.bike\n")
	if code != ExitDone {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	if want := "Repository on GitHub, as owner/name: Short name of the product [helm-pos]: Id of the Cloudflare account [fill in later]: "; !strings.HasPrefix(stderr, want) {
		t.Errorf("asked %q, want %q…", stderr, want)
	}
	policy, err := fleet.Parse("fleet.yml", readFile(t, dir, "fleet.yml"))
	if err != nil {
		t.Fatal(err)
	}
	shop, err := policy.Shop("swicked")
	if err != nil {
		t.Fatal(err)
	}
	if shop.Hostname != "helm-pos-swicked.kvick.bike" || policy.Accounts[0].ID != "7f3a0c5e9b1d4826a0e4c2d8f6b19357" {
		t.Errorf("hostname %s, account %s", shop.Hostname, policy.Accounts[0].ID)
	}
	if strings.Contains(stdout, "fill in") {
		t.Errorf("everything was answered, and yet:\n%s", stdout)
	}

	// An end of input is an answer too: the defaults, and no repository.
	code, _, stderr = initIn(t, newRepository(t), " ")
	if code != ExitUsage || !strings.Contains(stderr, "--repository") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestInitIsInterrupted is a person who does not answer.
func TestInitIsInterrupted(t *testing.T) {
	in, out := io.Pipe()
	defer out.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("interrupted")
	cancel(cause)
	ask := (&Door{Stdin: in, Stderr: io.Discard, Asks: true}).questions(false)
	if _, err := ask(ctx, "Name", ""); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

// TestInitTakesNoOddValues are values that would mean something in a workflow, a shell or YAML.
func TestInitTakesNoOddValues(t *testing.T) {
	hostile := []string{"", "x'", "${{ secrets.A }}", "$(touch pwned)", "`id`", "a b", "a\nb", "-x", "../x", "/x", "a: b", "x #", "*"}
	for _, flag := range []string{"--repository", "--action", "--main", "--config", "--product", "--account", "--zone"} {
		for _, value := range hostile {
			dir := newRepository(t)
			args := []string{"--repository=kvick/helm", flag + "=" + value}
			code, stdout, stderr := initIn(t, dir, "", args...)
			empty := value == "" && flag != "--main" && flag != "--config" && flag != "--repository" // as if not given
			if !empty && code != ExitUsage {
				t.Errorf("%s=%q: exit code %d\n%s%s", flag, value, code, stdout, stderr)
			}
			if _, err := os.Stat(filepath.Join(dir, ".github")); !empty && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s=%q: something was written (%v)", flag, value, err)
			}
		}
	}
}

// TestInitReadsTheNamingRule: branches need not begin with shops/.
func TestInitReadsTheNamingRule(t *testing.T) {
	dir := newRepository(t)
	src := bytes.Replace(readFile(t, "..", "..", "testdata", "helm", "fleet.yml"), []byte("shops/{slug}"), []byte("customer-{slug}-live"), 1)
	if err := os.WriteFile(filepath.Join(dir, "fleet.yml"), src, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := initIn(t, dir, "", "--repository=kvick/helm"); code != ExitDone {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	for _, name := range []string{"deploy.yml", "plan.yml"} {
		if text := readFile(t, dir, workflowDir, name); !bytes.Contains(text, []byte("'customer-**-live'")) {
			t.Errorf("%s is not started by the shops' branches:\n%s", name, text)
		}
	}
	for branch, want := range map[string]string{
		"customer-swicked-live": "swicked", "customer-a-live-live": "a-live", "shops/swicked": "", "customer--live": "", "customer-live": "", "customer-A-live": "",
	} {
		if got := slugOf(t, readFile(t, dir, workflowDir, "deploy-shop.yml"), branch, ""); got != want {
			t.Errorf("the slug of %s is %q, want %q", branch, got, want)
		}
	}
}

// TestSlugScript gives the script of job shop what people may call a branch.
func TestSlugScript(t *testing.T) {
	_, files := workflows(t)
	for _, test := range []struct{ branch, shop, want string }{
		{"shops/swicked", "", "swicked"},
		{"shops/mike-s-bikes", "", "mike-s-bikes"},
		{"legacy/old", "swicked", "swicked"},
		{"main", "", ""},
		{"shops/", "", ""},
		{"shops/a/b", "", ""},
		{"shops/A", "", ""},
		{"shops/ä", "", ""},
		{"shops/-a", "", ""},
		{"shops/a.b", "", ""},
		{"shops/$(touch${IFS}pwned)", "", ""},
		{"shops/`touch${IFS}pwned`", "", ""},
		{"shops/';touch${IFS}pwned;'", "", ""},
		{`shops/";touch${IFS}pwned;"`, "", ""},
		{"shops/a\nslug=other", "", ""},
		{"shops/a::set-output", "", ""},
		{"shops/swicked", "a\nslug=other", ""},
		{"shops/" + strings.Repeat("a", 64), "", ""},
	} {
		if got := slugOf(t, files["deploy-shop.yml"], test.branch, test.shop); got != test.want {
			t.Errorf("branch %q, shop %q: slug %q, want %q", test.branch, test.shop, got, test.want)
		}
	}
}

// A run that was asked for a commit is about that one or fails.
func TestWorkflowDeploysTheCommit(t *testing.T) {
	_, files := workflows(t)
	sha := strings.Repeat("a", 40)
	for _, test := range []struct {
		commit string
		goes   bool
	}{{"", true}, {sha, true}, {strings.Repeat("b", 40), false}, {sha[:12], false}, {"*", false}, {"$(touch pwned)", false}, {"\"$GITHUB_SHA\"", false}, {" " + sha, false}} {
		if got := slugOf(t, files["deploy-shop.yml"], "shops/swicked", "", "COMMIT="+test.commit, "GITHUB_SHA="+sha); (got == "swicked") != test.goes {
			t.Errorf("commit %q: slug %q", test.commit, got)
		}
	}
}

// slugOf runs the script of job shop as the runner would; "" is a script that fails.
func slugOf(t *testing.T, workflow []byte, branch, shop string, env ...string) string {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		missingJudge(t, "bash is not installed, which the workflow's script is written for")
	}
	var w workflowFile
	if err := yaml.Unmarshal(workflow, &w); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "script.sh")
	if err := os.WriteFile(script, []byte(w.Jobs["shop"].Steps[0].Run), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bash, "--noprofile", "--norc", "-eo", "pipefail", script)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GITHUB_OUTPUT=" + filepath.Join(dir, "output"), "BRANCH=" + branch, "SHOP=" + shop, "LC_ALL=C"}
	cmd.Env = append(cmd.Env, env...)
	said, failed := cmd.CombinedOutput()
	if entries, err := os.ReadDir(dir); err != nil || slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.Contains(e.Name(), "pwned") }) {
		t.Fatalf("branch %q ran a command (%v)", branch, err)
	}
	if failed != nil {
		if len(branch) > 10 && strings.Contains(string(said), branch) {
			t.Errorf("branch %q is echoed: %s", branch, said)
		}
		return ""
	}
	text := string(readFile(t, dir, "output"))
	slug, ok := strings.CutPrefix(strings.TrimSuffix(text, "\n"), "slug=")
	if !ok || strings.Contains(slug, "\n") {
		t.Fatalf("branch %q: outputs %q", branch, text)
	}
	return slug
}

// TestInitIsWhole: when one file cannot be written none is.
func TestInitIsWhole(t *testing.T) {
	dir := newRepository(t)
	if err := os.MkdirAll(filepath.Join(dir, workflowDir, "plan.yml"), 0o755); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := initIn(t, dir, "", "--repository=kvick/helm", "--force")
	if code != ExitUsage || !strings.Contains(stderr, "plan.yml is no file") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	entries, err := os.ReadDir(filepath.Join(dir, workflowDir))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v (%v) were left", entries, err)
	}
}

// TestInitJSON decodes the document.
func TestInitJSON(t *testing.T) {
	dir := newRepository(t)
	for i, want := range []string{fileCreated, fileUnchanged} {
		_, stdout, stderr := initIn(t, dir, "", "--repository=kvick/helm", "--json")
		var page struct {
			Exit    int `json:"exit_code"`
			Written bool
			Action  string
			Files   []setupFile
			Todo    []string
		}
		if err := json.Unmarshal([]byte(stdout), &page); err != nil {
			t.Fatalf("%v\n%s%s", err, stdout, stderr)
		}
		if page.Exit != ExitDone || page.Written != (want == fileCreated) || page.Action != testAction+" # v1.2.3" || len(page.Todo) == 0 {
			t.Errorf("run %d: %+v", i, page)
		}
		for _, f := range page.Files {
			if f.Status != want {
				t.Errorf("run %d: %s is %s, want %s", i, f.Path, f.Status, want)
			}
		}
	}
}

// TestInitRefusesLargeFiles: nobody means them to be read.
func TestInitRefusesLargeFiles(t *testing.T) {
	dir := newRepository(t)
	if err := os.MkdirAll(filepath.Join(dir, workflowDir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, workflowDir, "plan.yml"), bytes.Repeat([]byte("#\n"), maxWorkflow), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := initIn(t, dir, "", "--repository=kvick/helm"); code != ExitUsage {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestActionlintConfiguration: where a repository has one, init says what it needs, once.
func TestActionlintConfiguration(t *testing.T) {
	dir := newRepository(t)
	if err := os.Mkdir(filepath.Join(dir, ".github"), 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"self-hosted-runner: {}\n": true, "paths: {x: {ignore: ['unexpected key \"queue\"']}}\n": false} {
		if err := os.WriteFile(filepath.Join(dir, ".github", "actionlint.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, stdout, _ := initIn(t, dir, "", "--repository=kvick/helm", "--dry-run")
		if got := strings.Contains(stdout, "let actionlint pass"); got != want {
			t.Errorf("with %q: %v, want %v", text, got, want)
		}
	}
}

// TestReasonsAreDocumented holds docs/github.md against the code.
func TestReasonsAreDocumented(t *testing.T) {
	documented := map[string]string{}
	_, section, _ := strings.Cut(string(readFile(t, "..", "..", "docs", "github.md")), "| reason-code |")
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(section, -1) {
		documented[m[1]] = ""
	}
	if !maps.EqualFunc(documented, reasons, func(string, string) bool { return true }) {
		t.Errorf("docs/github.md has %v, the code %v", slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(reasons)))
	}
}

func ExampleRun_init() {
	dir, err := os.MkdirTemp("", "shopfleet-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	var stderr bytes.Buffer
	code := Run(context.Background(), &Door{
		Args: []string{"init"}, Getenv: func(string) string { return "" }, Stdin: strings.NewReader(""),
		Stdout: io.Discard, Stderr: &stderr, Dir: dir, Now: time.Now,
	})
	fmt.Println(code, strings.Contains(stderr.String(), "git init"))
	// Output: 2 true
}
