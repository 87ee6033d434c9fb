package command

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
)

// action.yml as far as it is a promise.
type actionFile struct {
	Name, Description, Author string
	Branding                  struct{ Icon, Color string }
	Inputs                    map[string]struct{ Description, Default string }
	Outputs                   map[string]struct{ Description string }
	Runs                      struct {
		Using, Image string
		Args         []string
	}
}

func readAction(t *testing.T) actionFile {
	t.Helper()
	src, err := os.ReadFile("../../action.yml")
	if err != nil {
		t.Fatal(err)
	}
	var a actionFile
	if err := yaml.Unmarshal(src, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// step is an environment as a step of a workflow has it, with a file for its outputs.
func step(t *testing.T, inputs map[string]string) (getenv func(string) string, output string) {
	t.Helper()
	dir := t.TempDir()
	env := map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/heads/shops/swicked", "GITHUB_REF_NAME": "shops/swicked",
		"GITHUB_SHA": strings.Repeat("a", 40), "GITHUB_REPOSITORY": "kvick/helm", "GITHUB_RUN_ID": "1", "GITHUB_SERVER_URL": "https://github.com",
		"GITHUB_EVENT_PATH": filepath.Join(dir, "event.json"), "GITHUB_OUTPUT": filepath.Join(dir, "output"), "GITHUB_STEP_SUMMARY": filepath.Join(dir, "summary"),
	}
	for name, value := range inputs {
		env["INPUT_"+strings.ToUpper(name)] = value
	}
	for name, content := range map[string]string{"event.json": "{}", "output": "", "summary": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func(name string) string { return env[name] }, env["GITHUB_OUTPUT"]
}

// Every input that action.yml promises is read, and no other; every output is set, and no other.
func TestActionFile(t *testing.T) {
	a := readAction(t)
	getenv, output := step(t, nil)
	asked := map[string]bool{}
	d := &Door{
		Args: []string{"action"}, Stdin: strings.NewReader(""), Stdout: &strings.Builder{}, Stderr: &strings.Builder{}, Dir: t.TempDir(), Now: time.Now,
		Getenv: func(name string) string {
			if input, ok := strings.CutPrefix(name, "INPUT_"); ok {
				asked[strings.ToLower(input)] = true
			}
			return getenv(name)
		},
	}
	// In a directory without a repository it fails after it read its inputs, and says so in its outputs.
	if code := Run(context.Background(), d); code != ExitUsage {
		t.Errorf("exit code %d", code)
	}
	asked["plan-digest"] = true // asked with deploy alone, which is the default
	if want := sortedKeys(a.Inputs); !slices.Equal(sortedKeys(asked), want) {
		t.Errorf("inputs that are read: %q\naction.yml has: %q", sortedKeys(asked), want)
	}
	text, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(line, "<<"); ok {
			set[name] = true
		} else if name, _, ok := strings.Cut(line, "="); ok {
			set[name] = true
		}
	}
	if want := sortedKeys(a.Outputs); !slices.Equal(sortedKeys(set), want) {
		t.Errorf("outputs that are set: %q\naction.yml has: %q", sortedKeys(set), want)
	}
	for name, x := range a.Inputs {
		if x.Description == "" {
			t.Errorf("input %s is not described", name)
		}
	}
	for name, x := range a.Outputs {
		if x.Description == "" {
			t.Errorf("output %s is not described", name)
		}
	}
	if a.Name == "" || a.Description == "" || a.Branding.Icon == "" || a.Branding.Color == "" || a.Runs.Using != "docker" || !slices.Equal(a.Runs.Args, []string{"action"}) {
		t.Errorf("action.yml lacks something: %+v", a)
	}
}

func TestActionArgs(t *testing.T) {
	for _, tt := range []struct {
		inputs map[string]string
		want   string // the arguments, or the error
	}{
		{nil, "deploy --"},
		{map[string]string{"command": "plan", "shop": "a b"}, "plan -- a b"},
		{map[string]string{"dry-run": "true"}, "plan --"},
		{map[string]string{"dry-run": "false", "redeploy": "true", "overwrite-outside": "true", "allow-destructive": "true"}, "deploy --allow-destructive --overwrite-outside --redeploy --"},
		{map[string]string{"main": "trunk", "config": "ops/fleet.yml", "all": "true"}, "deploy --all --config=ops/fleet.yml --main=trunk --"},
		{map[string]string{"secrets": "A=b"}, "deploy --secrets-file=- --"},
		{map[string]string{"plan-digest": "abc"}, "deploy --plan=abc --"},
		{map[string]string{"command": "check", "redeploy": "true", "secrets": "A=b"}, "check --"},
		{map[string]string{"command": "lint", "main": "trunk"}, "lint --"},
		{map[string]string{"command": "audit", "issue": "true", "report": "out/audit", "all": "true"}, "audit --deep --html=out/audit.html --issue --sarif=out/audit.sarif --"},
		{map[string]string{"command": "audit"}, "audit --deep --"},
		{map[string]string{"command": "audit", "report": "../audit"}, `input report is "../audit"`},
		{map[string]string{"command": "audit", "report": "a b"}, `input report is "a b"`},
		{map[string]string{"command": "audit", "issue": "yes"}, `input issue is "yes"`},
		{map[string]string{"command": "verify", "all": "true", "issue": "true", "report": "x"}, "verify --all --"},
		{map[string]string{"command": "receipts", "all": "true", "shop": "swicked"}, "receipts -- swicked"},
		{map[string]string{"command": "rebase", "all": "true", "land": "true", "dry-run": "true", "shop": "a b", "main": "trunk"}, "rebase --dry-run --land --main=trunk -- a b"},
		{map[string]string{"command": "rebase", "land": "false", "redeploy": "true", "secrets": "A=b"}, "rebase --"},
		{map[string]string{"command": "rebase", "land": "yes"}, `input land is "yes"`},
		{map[string]string{"command": "land", "land": "true", "dry-run": "true", "config": "ops/fleet.yml"}, "land --config=ops/fleet.yml --dry-run --"},
		{map[string]string{"command": "land", "shop": "--pause"}, "land -- --pause"},
		{map[string]string{"command": "comment", "shop": "swicked", "all": "true", "to": "x", "reason": "y", "config": "ops/fleet.yml"}, "comment --config=ops/fleet.yml --"},
		{map[string]string{"command": "rollback", "shop": "swicked"}, "rollback -- swicked"},
		{map[string]string{"command": "rollback", "shop": "swicked", "to": "1f2e3d4c", "reason": "it\n is --broken\u202e", "dry-run": "true", "all": "true", "main": "trunk"}, "rollback --dry-run --main=trunk --reason=it is --broken -- swicked to 1f2e3d4c"},
		{map[string]string{"command": "rollback", "commit": "9f2c1d0"}, "rollback --commit=9f2c1d0 --"},
		{map[string]string{"command": "rollback"}, `input shop is ""`},
		{map[string]string{"command": "rollback", "shop": "swicked to 1f2e"}, `input shop is "swicked to 1f2e"`},
		{map[string]string{"command": "rollback", "shop": "--restore-data"}, `input shop is "--restore-data"`},
		{map[string]string{"command": "rollback", "shop": "swicked", "to": "--restore-data"}, `input to is "--restore-data"`},
		{map[string]string{"command": "rollback", "shop": "swicked", "to": "1f2e --old-secrets"}, `input to is "1f2e --old-secrets"`},
		{map[string]string{"command": "rollback", "commit": "HEAD"}, `input commit is "HEAD"`},
		{map[string]string{"command": "rollback", "shop": "swicked", "commit": "9f2c1d0"}, `input commit is "9f2c1d0"`},
		{map[string]string{"command": "rollback", "to": "1f2e", "commit": "9f2c1d0"}, `input commit is "9f2c1d0"`},
		{map[string]string{"command": "hold", "shop": "swicked", "reason": "--for=1h counting stock"}, "hold --shop=swicked -- --for=1h counting stock"},
		{map[string]string{"command": "hold", "all": "true", "reason": "holidays"}, "hold --all -- holidays"},
		{map[string]string{"command": "hold", "all": "true", "shop": "swicked"}, `input all is "true"`},
		{map[string]string{"command": "hold", "shop": "swicked", "to": "x"}, `input to is "x"`},
		{map[string]string{"command": "hold", "shop": "swicked"}, "hold --shop=swicked --"},
		{map[string]string{"command": "release-hold", "shop": "swicked", "reason": "x"}, "release-hold -- swicked"},
		{map[string]string{"command": "release-hold", "all": "true"}, "release-hold --all --"},
		{map[string]string{"command": "release-hold", "shop": "swicked", "all": "true"}, `input all is "true"`},
		{map[string]string{"command": "release-hold", "shop": "a b"}, `input shop is "a b"`},
		{map[string]string{"command": "release-hold", "commit": "9f2c1d0"}, `input commit is "9f2c1d0"`},
		{map[string]string{"command": "onboard", "shop": "bike-lane", "name": "Bike & Lane", "region": "weur", "account": "kvick-2", "custom-domain": "true", "seed": "seeds/demo.sql", "secrets": "A=b", "config": "ops/fleet.yml"},
			"onboard --account=kvick-2 --config=ops/fleet.yml --custom-domain --name=Bike & Lane --region=weur --secrets-file=- --seed=seeds/demo.sql -- bike-lane"},
		{map[string]string{"command": "onboard", "shop": "bike-lane", "dry-run": "true"}, "onboard --plan -- bike-lane"},
		{map[string]string{"command": "onboard", "shop": "bike-lane", "name": "--plan"}, "onboard --name=--plan -- bike-lane"},
		{map[string]string{"command": "onboard"}, `input shop is ""`},
		{map[string]string{"command": "onboard", "shop": "a b"}, `input shop is "a b"`},
		{map[string]string{"command": "onboard", "shop": "Bike"}, `input shop is "Bike"`},
		{map[string]string{"command": "onboard", "shop": "--all"}, `input shop is "--all"`},
		{map[string]string{"command": "onboard", "shop": "a", "all": "true"}, `input all is "true"`},
		{map[string]string{"command": "onboard", "shop": "a", "name": "two\nlines"}, `input name is "two\nlines"`},
		{map[string]string{"command": "onboard", "shop": "a", "name": "gnp.\u202eevil"}, `input name is "gnp.\u202eevil"`},
		{map[string]string{"command": "onboard", "shop": "a", "name": strings.Repeat("a", 101)}, `input name is "` + strings.Repeat("a", 101) + `"`},
		{map[string]string{"command": "onboard", "shop": "a", "account": "--plan"}, `input account is "--plan"`},
		{map[string]string{"command": "onboard", "shop": "a", "region": "WNAM; id"}, `input region is "WNAM; id"`},
		{map[string]string{"command": "onboard", "shop": "a", "seed": "../../etc/passwd"}, `input seed is "../../etc/passwd"`},
		{map[string]string{"command": "onboard", "shop": "a", "seed": "/etc/passwd"}, `input seed is "/etc/passwd"`},
		{map[string]string{"command": "onboard", "shop": "a", "custom-domain": "yes"}, `input custom-domain is "yes"`},
		{map[string]string{"command": "onboard", "shop": "a", "to": "x"}, `input to is "x"`},
		{map[string]string{"command": "onboard", "shop": "a", "confirm": "a"}, `input confirm is "a"`},
		{map[string]string{"command": "offboard", "shop": "a", "to": "offsite"}, "offboard --to=offsite -- a"},
		{map[string]string{"command": "offboard", "shop": "a", "step": "cancel"}, "offboard --cancel -- a"},
		{map[string]string{"command": "offboard", "shop": "a", "step": "delete", "confirm": "a"}, "offboard --delete -- a"},
		{map[string]string{"command": "offboard", "shop": "a", "step": "delete"}, `input confirm is ""`},
		{map[string]string{"command": "offboard", "shop": "a", "step": "delete", "confirm": "b"}, `input confirm is "b"`},
		{map[string]string{"command": "offboard", "shop": "a", "step": "delete", "confirm": "a", "to": "offsite"}, `input to is "offsite"`},
		{map[string]string{"command": "offboard", "shop": "a", "confirm": "a"}, `input confirm is "a"`},
		{map[string]string{"command": "offboard", "shop": "a", "step": "confirm", "confirm": "a"}, `input step is "confirm"`},
		{map[string]string{"command": "offboard", "shop": "a", "step": "now"}, `input step is "now"`},
		{map[string]string{"command": "offboard", "shop": "a", "dry-run": "true"}, `input dry-run is "true"`},
		{map[string]string{"command": "offboard", "shop": "a b", "step": "delete", "confirm": "a"}, `input shop is "a b"`},
		{map[string]string{"command": "move", "shop": "a", "account": "kvick-2"}, "move --to=kvick-2 -- a"},
		{map[string]string{"command": "move", "shop": "a", "step": "confirm", "confirm": "a"}, "move --confirm -- a"},
		{map[string]string{"command": "move", "shop": "a", "step": "back"}, "move --back -- a"},
		{map[string]string{"command": "move", "shop": "a"}, `input account is ""`},
		{map[string]string{"command": "move", "shop": "a", "account": "kvick-2", "step": "back"}, `input account is "kvick-2"`},
		{map[string]string{"command": "move", "shop": "a", "step": "confirm"}, `input confirm is ""`},
		{map[string]string{"command": "backup", "all": "true", "to": "offsite", "keep": "30"}, "backup --all --keep=30 --to=offsite --"},
		{map[string]string{"command": "backup", "shop": "a b", "to": "offsite"}, "backup --to=offsite -- a b"},
		{map[string]string{"command": "backup", "to": "offsite"}, `input shop is ""`},
		{map[string]string{"command": "backup", "all": "true", "shop": "a", "to": "offsite"}, `input shop is "a"`},
		{map[string]string{"command": "backup", "all": "true"}, `input to is ""`},
		{map[string]string{"command": "backup", "all": "true", "to": "../x"}, `input to is "../x"`},
		{map[string]string{"command": "backup", "all": "true", "to": "offsite", "keep": "0"}, `input keep is "0"`},
		{map[string]string{"command": "drill", "account": "kvick-1", "main": "trunk"}, "drill --account=kvick-1 --main=trunk --"},
		{map[string]string{"command": "drill", "shop": "a"}, `input shop is "a"`},
		{map[string]string{"command": "status", "report": "out/status", "all": "true"}, "status --html=out/status.html --"},
		{map[string]string{"command": "status", "shop": "a b"}, "status -- a b"},
		{map[string]string{"command": "status", "report": "/tmp/x"}, `input report is "/tmp/x"`},
		{map[string]string{"command": "cost", "report": "cost", "days": "7"}, "cost --days=7 --html=cost.html --"},
		{map[string]string{"command": "cost", "history": "cost.jsonl"}, "cost --history=cost.jsonl --"},
		{map[string]string{"command": "cost", "history": "../x"}, `input history is "../x"`},
		{map[string]string{"command": "status", "history": "cost.jsonl"}, `input history is "cost.jsonl"`},
		{map[string]string{"command": "cost", "days": "a week"}, `input days is "a week"`},
		{map[string]string{"command": "accounts", "all": "true"}, "accounts --"},
		{map[string]string{"command": "secrets", "shop": "a", "main": "trunk"}, "secrets status --main=trunk -- a"},
		{map[string]string{"command": "secrets set"}, `input command is "secrets set"`},
		{map[string]string{"command": "restore", "shop": "a"}, `input command is "restore"`},
		{map[string]string{"shop": "--redeploy"}, "deploy -- --redeploy"},
		{map[string]string{"main": "--redeploy"}, "deploy --main=--redeploy --"},
		{map[string]string{"command": "d1"}, `input command is "d1"`},
		{map[string]string{"command": "deploy --all"}, `input command is "deploy --all"`},
		{map[string]string{"all": "1"}, `input all is "1"`},
	} {
		in := func(name string) string { return tt.inputs[name] }
		args, err := actionArgs(in, tt.inputs["secrets"] != "")
		got := strings.Join(args, " ")
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%v: %s, want %s", tt.inputs, got, tt.want)
		}
	}
}

// The options that the action hands to a verb are options of that verb.
func TestActionFlags(t *testing.T) {
	tree := (&Door{}).tree()
	for _, inputs := range []map[string]string{
		{"command": "onboard", "shop": "a", "name": "A", "region": "weur", "account": "x", "custom-domain": "true", "seed": "a.sql", "secrets": "A=b", "dry-run": "true"},
		{"command": "offboard", "shop": "a", "to": "offsite"}, {"command": "offboard", "shop": "a", "step": "cancel"},
		{"command": "offboard", "shop": "a", "step": "delete", "confirm": "a"},
		{"command": "move", "shop": "a", "account": "x"}, {"command": "move", "shop": "a", "step": "back"}, {"command": "move", "shop": "a", "step": "confirm", "confirm": "a"},
		{"command": "backup", "all": "true", "to": "offsite", "keep": "3"}, {"command": "drill", "account": "x"},
		{"command": "status", "report": "status"}, {"command": "cost", "report": "cost", "days": "7", "history": "cost.jsonl"}, {"command": "accounts"}, {"command": "secrets", "shop": "a"},
		{"command": "audit", "report": "audit", "issue": "true"}, {"command": "rollback", "shop": "a", "to": "1f2e", "reason": "x", "dry-run": "true"},
	} {
		inputs["main"], inputs["config"] = "trunk", "ops/fleet.yml"
		args, err := actionArgs(func(name string) string { return inputs[name] }, inputs["secrets"] != "")
		if err != nil {
			t.Errorf("%v: %v", inputs, err)
			continue
		}
		cmd, rest, err := tree.Find(args)
		if err != nil {
			t.Errorf("%q: %v", args, err)
			continue
		}
		if cmd.Hidden {
			t.Logf("%s is not there yet", cmd.Name())
			continue
		}
		if err := cmd.ParseFlags(rest); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// Branches, releases and holds are moved by nothing that a push or a pull request starts.
func TestActionEvents(t *testing.T) {
	for event, verbs := range map[string]string{
		"schedule": "rebase land comment backup drill", "workflow_dispatch": "rebase land comment rollback hold release-hold onboard offboard move backup drill", "issue_comment": "land comment", "issues": "land",
		"push": "", "pull_request": "", "pull_request_target": "", "workflow_run": "", "repository_dispatch": "", "pull_request_review": "",
	} {
		for _, verb := range []string{"rebase", "land", "comment", "rollback", "hold", "release-hold", "onboard", "offboard", "move", "backup", "drill"} {
			inputs := map[string]string{"command": verb, "shop": "swicked"}
			switch verb {
			case "move":
				inputs["account"] = "kvick-2"
			case "backup":
				inputs["to"] = "offsite"
			case "drill":
				delete(inputs, "shop")
			}
			getenv, _ := step(t, inputs)
			var said strings.Builder
			code := Run(t.Context(), &Door{
				Args: []string{"action"}, Stdin: strings.NewReader(""), Stdout: &said, Stderr: &said, Dir: t.TempDir(), Now: time.Now,
				Getenv: func(name string) string {
					if name == "GITHUB_EVENT_NAME" {
						return event
					}
					return getenv(name)
				},
			})
			refused := strings.Contains(said.String(), "started does not "+verb) || strings.Contains(said.String(), "hands secrets to strangers")
			if may := slices.Contains(strings.Fields(verbs), verb); code == ExitDone || refused == may {
				t.Errorf("%s by %s: exit code %d\n%s", verb, event, code, said.String())
			}
		}
	}
}

// Plans share a page only when nothing but their shops' own names differs.
func TestDistinctPlans(t *testing.T) {
	src, err := os.ReadFile("../../testdata/helm/fleet.yml")
	if err != nil {
		t.Fatal(err)
	}
	policy, err := fleet.Parse("fleet.yml", src)
	if err != nil {
		t.Fatal(err)
	}
	plan := func(slug, cron string, findings ...deploy.Finding) shopResult {
		p := &deploy.Plan{Shop: slug, Worker: "helm-" + slug, Commit: slug, Mark: slug, Basis: slug, Live: slug, Findings: findings, Steps: []deploy.Step{
			{Action: deploy.ActionRelease, Target: "helm-" + slug, Before: []string{slug}},
			{Action: deploy.ActionCrons, Target: "helm-" + slug, After: []string{cron}},
		}}
		return result(slug, p, nil, nil)
	}
	bad := deploy.Finding{Rule: "x", Level: deploy.LevelError, Message: "wrong"}
	list := []shopResult{plan("a", "0 6 * * *"), plan("mike", "0 6 * * *"), plan("late", "0 7 * * *"), plan("bad", "0 6 * * *", bad), plan("ab", "0 6 * * *")}
	var got []string
	for _, g := range distinctPlans(policy, list) {
		got = append(got, strings.Join(g.shops, " "))
	}
	if want := []string{"bad", "a mike ab", "late"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRepositoryOf(t *testing.T) {
	for remote, want := range map[string]string{
		"https://github.com/kvick/helm.git":                 "kvick/helm",
		"https://github.com/kvick/helm":                     "kvick/helm",
		"https://x-access-token:t@github.com/kvick/helm":    "kvick/helm",
		"git@github.com:kvick/helm.git":                     "kvick/helm",
		"ssh://git@github.com/kvick/helm.git":               "kvick/helm",
		"ssh://git@github.com:22/kvick/helm.git":            "kvick/helm",
		"https://github.com.evil.example/kvick/helm":        "",
		"https://gitlab.com/kvick/helm":                     "",
		"https://github.com/kvick":                          "",
		"https://github.com/kvick/helm/../../secrets/other": "",
		"ext::sh -c github.com/kvick/helm":                  "",
		"":                                                  "",
	} {
		if got := repositoryOf(remote); got != want {
			t.Errorf("%s: %q, want %q", remote, got, want)
		}
	}
}

// What GitHub shows of a failure is one of the sentences that are written for it.
func TestPublicSaysNoCause(t *testing.T) {
	err := &github.Error{Method: "GET", Path: "/secret/path", Err: os.ErrPermission}
	r := result("swicked", nil, nil, err)
	if r.Reason != "github-failed" || strings.Contains(r.public(), "/secret/path") || !strings.Contains(r.Error, "/secret/path") {
		t.Errorf("reason %q, public %q, log %q", r.Reason, r.public(), r.Error)
	}
	if page := resultPage(r); strings.Contains(page, "/secret/path") {
		t.Errorf("the page has the cause: %s", page)
	}
	for _, a := range annotations([]shopResult{r}) {
		if strings.Contains(a.Message, "/secret/path") {
			t.Errorf("an annotation has the cause: %s", a.Message)
		}
	}
}

// Of several results the outputs tell the one that the exit code is of; of those that went well, the one with most to tell.
func TestOutputsOfSeveral(t *testing.T) {
	restored := result("a", nil, nil, &deploy.GateError{Restored: "v"})
	failed := result("b", nil, nil, os.ErrPermission)
	found := because("c", statusChecked, []deploy.Finding{{Rule: "x", Level: deploy.LevelError}})
	unchanged, released := shopResult{Status: statusUnchanged, Reason: statusUnchanged}, shopResult{Status: statusReleased, Reason: statusReleased}
	for _, tt := range []struct {
		list           []shopResult
		status, reason string
		code           int
	}{
		{[]shopResult{restored, failed, found}, statusFailed, "failed", ExitFailed},
		{[]shopResult{found, restored, unchanged}, statusRestored, "gate-failed-restored", ExitGate},
		{[]shopResult{unchanged, released, unchanged}, statusReleased, statusReleased, ExitDone},
		{[]shopResult{unchanged, found}, statusFindings, statusFindings, ExitFindings},
	} {
		getenv, output := step(t, nil)
		d := &Door{Stdout: &strings.Builder{}, Stderr: &strings.Builder{}}
		d.workflow = &workflow{runner: github.NewRunner(getenv, d.Stdout), results: tt.list}
		if code := gravest(tt.list); code != tt.code {
			t.Errorf("exit code %d, want %d", code, tt.code)
		}
		if err := d.setOutputs(tt.code); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		lines := strings.Split(string(text), "\n")
		for i, line := range lines {
			if name, _, ok := strings.Cut(line, "<<"); ok {
				got[name] = lines[i+1]
			}
		}
		if got["status"] != tt.status || got["reason-code"] != tt.reason {
			t.Errorf("status %s, reason %s, want %s, %s", got["status"], got["reason-code"], tt.status, tt.reason)
		}
	}
}

// The steps of a deploy that findings refused do not stand there as if they were done.
func TestPageOfRefusedDeploy(t *testing.T) {
	list := deploy.Findings{{Rule: "x", Level: deploy.LevelError, Message: "wrong"}}
	plan := &deploy.Plan{Shop: "a", Steps: []deploy.Step{{Action: deploy.ActionUpload, Target: "helm-a"}}, Findings: list}
	const words = "None of this was done"
	if page := resultPage(result("a", plan, &deploy.Outcome{}, list)); !strings.Contains(page, words) || !strings.Contains(page, "helm-a") {
		t.Errorf("a deploy: %s", page)
	}
	if page := resultPage(result("a", plan, nil, nil)); strings.Contains(page, words) {
		t.Errorf("a plan: %s", page)
	}
}
