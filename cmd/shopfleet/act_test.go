package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"gopkg.in/yaml.v3"

	shopfleet "github.com/kvick/shopfleet"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/sim"
)

// findAct builds act (github.com/nektos/act), which runs workflows without GitHub, or skips the test.
func findAct(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "-C", "../../testdata/judge", "tool", "-n", "act").CombinedOutput()
	if err != nil {
		if os.Getenv("SHOPFLEET_JUDGES") == "require" {
			t.Fatalf("building act: %v\n%s", err, out)
		}
		t.Skipf("act cannot be built here: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestAct runs the workflows that `shopfleet init` writes, under act. Beyond the commands of TestScripts there are:
//
//	dispatch DIR BRANCH [NAME=VALUE...]  makes what follows a run that somebody starts by hand
//	event DIR NAME FILE  makes what follows an event on main whose payload is in a file
//	act DIR [FILE]   runs the workflows of the event for which push, pull or dispatch was the last, or one; prints act's log
//	only SHOP        requires that of what was sent to the account since the last `forget` nothing names another shop, and
//	                 that something was written to this one
//	quiet            requires that nothing was sent to the account since then
//
// act does not know two keys of the workflows and refuses files with them, has no containers without an engine, and does
// not filter branches or guard environments and permissions (contracts/github/wire.md §4.2). So the two keys are taken
// out, and where the workflows use our action they get one with the same inputs that runs this test's shopfleet as the
// image does. With SHOW_ACTION set that one runs nothing and writes its inputs to $WORK/inputs, which is not there when no
// job came to it. setup-node, which would download, does nothing; upload-artifact and download-artifact copy to and from a
// directory. npm writes down its arguments and environment, installs a package greeting and runs what .npmrc calls git, as
// it would for a package from git. The upload writes down its environment too: what npm could do to its own job.
//
// act now and then drops the last lines that a step prints. What its log says of steps, outputs and summaries is all there.
func TestAct(t *testing.T) {
	act, j := findAct(t), findJudges(t)
	if _, err := exec.LookPath("bash"); err != nil {
		if os.Getenv("SHOPFLEET_JUDGES") == "require" {
			t.Fatal("the workflows' steps need bash, which is not installed")
		}
		t.Skip("the workflows' steps need bash, which is not installed")
	}
	noSecrets(t)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "act"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			return setUpWorld(env, sim.Options{KeepBodies: true})
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"helm":        cmdHelm,
			"exits":       cmdExits,
			"writes":      cmdWrites,
			"edit":        cmdEdit,
			"forget":      func(ts *testscript.TestScript, _ bool, _ []string) { scriptWorld(ts).ForgetRequests() },
			"hub":         cmdHub,
			"push":        cmdPush,
			"unpush":      cmdUnpush,
			"pull":        cmdPull,
			"ongithub":    cmdOnGitHub,
			"githubcalls": cmdGitHubCalls,
			"dispatch":    cmdDispatch,
			"event":       cmdEvent,
			"only":        cmdOnly,
			"quiet": func(ts *testscript.TestScript, _ bool, _ []string) {
				for _, r := range scriptWorld(ts).Requests() {
					ts.Fatalf("the account was asked for %s", r.Op)
				}
			},
			"act": func(ts *testscript.TestScript, neg bool, args []string) {
				if len(args) < 1 || len(args) > 2 {
					ts.Fatalf("usage: [!] act DIR [FILE]")
				}
				r := actRun{ts: ts, act: act, node: filepath.Dir(j.node), dir: ts.MkAbs(args[0])}
				if len(args) == 2 {
					r.file = args[1]
				}
				if err := r.run(); (err != nil) != neg {
					ts.Fatalf("act: %v\n%s", err, r.log.String())
				}
			},
		},
	})
}

func cmdDispatch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: dispatch DIR BRANCH [NAME=VALUE...]")
	}
	dir, branch := ts.MkAbs(args[0]), args[1]
	realGit(ts, dir, "push", "--quiet", "--force", "origin", branch)
	realGit(ts, dir, "fetch", "--quiet", "origin")
	inputs := map[string]any{}
	for _, pair := range args[2:] {
		name, value, _ := strings.Cut(pair, "=")
		inputs[name] = value
	}
	token := deployToken
	if branch == "main" { // where only the audit is started
		token = map[string]string{"contents": "read", "issues": "write"}
	}
	step(ts, "workflow_dispatch", "refs/heads/"+branch, realGit(ts, dir, "rev-parse", "refs/heads/"+branch), token, map[string]any{
		"ref": "refs/heads/" + branch, "inputs": inputs,
		"repository": map[string]any{"full_name": hubOwner + "/" + hubRepo, "default_branch": "main"},
		"sender":     map[string]any{"login": hubOperator},
	})
}

// cmdEvent is for events whose runs are of the default branch.
func cmdEvent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: event DIR NAME FILE")
	}
	dir := ts.MkAbs(args[0])
	var payload map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[2])), &payload))
	payload["repository"] = map[string]any{"full_name": hubOwner + "/" + hubRepo, "default_branch": "main"}
	step(ts, args[1], "refs/heads/main", realGit(ts, dir, "rev-parse", "refs/heads/main"), map[string]string{"contents": "read"}, payload)
}

// cmdOnly looks at everything that was sent to the account since the last forget: no other shop's names may be in it.
func cmdOnly(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: only SHOP")
	}
	src, err := fs.ReadFile(shopfleet.Helm, helmMain+"/fleet.yml")
	ts.Check(err)
	policy, err := fleet.Parse("fleet.yml", src)
	ts.Check(err)
	slugs, err := helmShops()
	ts.Check(err)
	w, own := scriptWorld(ts), false
	for _, r := range w.Requests() {
		sent := r.Path + " " + r.Query + " " + string(r.Body)
		for _, slug := range slugs {
			shop, err := policy.Shop(slug)
			ts.Check(err)
			for _, name := range []string{shop.Worker, shop.D1, shop.R2, shop.KV, shop.Hostname} {
				if !strings.Contains(sent, name) {
					continue
				}
				if slug != args[0] {
					ts.Fatalf("%s names %s, which is of shop %s", r.Op, name, slug)
				}
				own = own || r.Write
			}
		}
	}
	if !own {
		ts.Fatalf("nothing was written to shop %s", args[0])
	}
}

// actRun is one run of act, for the event that the script's environment tells.
type actRun struct {
	ts             *testscript.TestScript
	act, node, dir string
	file           string // the workflow; "" for the one of the event
	log            bytes.Buffer
}

func (r *actRun) run() error {
	ts := r.ts
	work := filepath.Join(ts.Getenv("WORK"), ".act")
	ts.Check(os.RemoveAll(work))
	ts.Check(os.RemoveAll(filepath.Join(ts.Getenv("WORK"), "inputs")))
	main, started, own, tools, home := filepath.Join(work, "main"), filepath.Join(work, "started"), filepath.Join(work, "action"),
		filepath.Join(work, "tools"), filepath.Join(work, "home")
	for _, dir := range []string{filepath.Join(main, ".github", "workflows"), started, own, tools, home} {
		ts.Check(os.MkdirAll(dir, 0o755))
	}
	event := ts.Getenv("GITHUB_EVENT_NAME")
	file := "deploy.yml"
	if event == "pull_request" {
		file = "plan.yml"
	} else if r.file != "" {
		file = r.file
	} else { // for a pull request, cmdPull has checked out the merge
		realGit(ts, r.dir, "checkout", "--quiet", ts.Getenv("GITHUB_REF_NAME"), "--")
	}
	// The workflow of the commit that started the run, and the called one of main.
	r.strip(filepath.Join(r.dir, ".github", "workflows", file), filepath.Join(started, file))
	called := filepath.Join(work, "deploy-shop.yml")
	ts.Check(os.WriteFile(called, []byte(realGit(ts, r.dir, "show", "origin/main:.github/workflows/deploy-shop.yml")+"\n"), 0o644))
	r.strip(called, filepath.Join(main, ".github", "workflows", "deploy-shop.yml"))
	ts.Check(os.WriteFile(filepath.Join(own, "action.yml"), r.ownAction(), 0o644))
	ts.Check(os.WriteFile(filepath.Join(tools, "npm"), fmt.Appendf(nil, npmOfScripts, filepath.Join(ts.Getenv("WORK"), "npm.env")), 0o755))
	artifacts := filepath.Join(work, "artifacts")

	args := []string{
		// One job after the other: jobs of a called workflow that run side by side write into one map, and act dies of it now and then.
		event, "--concurrent-jobs", "1", "-P", "ubuntu-latest=-self-hosted", "--pull=false", "--no-cache-server", "-W", filepath.Join(started, file),
		"-e", ts.Getenv("GITHUB_EVENT_PATH"), "-a", ts.Getenv("GITHUB_ACTOR"),
		"--local-repository", hubOwner + "/" + hubRepo + "@main=" + main,
		"--local-repository", actionOfScripts + "=" + own,
	}
	for action, script := range map[string]string{
		"actions/setup-node": "true",
		"actions/upload-artifact": fmt.Sprintf(`env > '%s'; mkdir -p '%s'/"$NAME" && printf '%%s\n' "$AT" | while read -r f; do test -z "$f" || cp "$f" '%[2]s'/"$NAME"; done`,
			filepath.Join(ts.Getenv("WORK"), "upload.env"), artifacts),
		"actions/download-artifact": fmt.Sprintf(`mkdir -p "${AT:=.}" && cp '%s'/"$NAME"/* "$AT"`, artifacts),
	} {
		used := r.used(main, started, action)
		dir := filepath.Join(work, path.Base(action))
		ts.Check(os.MkdirAll(dir, 0o755))
		ts.Check(os.WriteFile(filepath.Join(dir, "action.yml"), composite(ts, map[string]any{
			"name": path.Base(used), "inputs": map[string]any{"name": map[string]string{}, "path": map[string]string{}},
		}, map[string]any{
			"shell": "bash", "env": map[string]string{"NAME": "${{ inputs.name }}", "AT": "${{ inputs.path }}"}, "run": script,
		}), 0o644))
		args = append(args, "--local-repository", used+"="+dir)
	}
	if r.file == "audit.yml" { // the one that hands a log to code scanning, which this writes down
		used := r.used(main, started, "github/codeql-action/upload-sarif")
		dir := filepath.Join(work, "codeql", "upload-sarif")
		ts.Check(os.MkdirAll(dir, 0o755))
		ts.Check(os.WriteFile(filepath.Join(dir, "action.yml"), composite(ts, map[string]any{
			"name": "upload-sarif", "inputs": map[string]any{"sarif_file": map[string]string{}, "category": map[string]string{}, "ref": map[string]string{}, "sha": map[string]string{}},
		}, map[string]any{
			"shell": "bash", "env": map[string]string{"LOG": "${{ inputs.sarif_file }}"}, "run": fmt.Sprintf(`cp "$LOG" '%s'`, filepath.Join(ts.Getenv("WORK"), "scanned.sarif")),
		}), 0o644))
		args = append(args, "--local-repository", strings.Replace(used, "/upload-sarif", "", 1)+"="+filepath.Dir(dir), "--var", "SHOPFLEET_CODE_SCANNING="+ts.Getenv("CODE_SCANNING"))
	}
	for _, name := range []string{"GITHUB_API_URL", "GITHUB_REPOSITORY", "CLOUDFLARE_API_BASE_URL", "SHOPFLEET_EDGE_URL", transcriptVariable} {
		args = append(args, "--env", name+"="+ts.Getenv(name))
	}
	// Of a fork's pull request GitHub withholds the secrets. Here they are there, so that a job which asked for them would be seen.
	secrets := map[string]string{
		"GITHUB_TOKEN": ts.Getenv("INPUT_GITHUB-TOKEN"), "SHOP_SECRETS": ts.Getenv("SHOP_SECRETS"),
		"CLOUDFLARE_API_TOKEN": scriptToken, "CLOUDFLARE_PLAN_TOKEN": scriptToken, "CLOUDFLARE_AUDIT_TOKEN": scriptToken,
		"CLOUDFLARE_ROLLBACK_TOKEN": scriptToken,
		"SHOPFLEET_APP_PRIVATE_KEY": ts.Getenv("APP_KEY"),
	}
	args = append(args, "--var", "SHOPFLEET_APP_ID="+ts.Getenv("APP_ID"))
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		args = append(args, "-s", name+"="+secrets[name])
	}
	cmd := exec.Command(r.act, args...)
	cmd.Dir = r.dir
	cmd.Env = []string{
		"PATH=" + strings.Join([]string{tools, ts.Getenv("PATH"), r.node}, string(os.PathListSeparator)),
		"HOME=" + home, "XDG_CACHE_HOME=" + filepath.Join(home, "cache"), "XDG_CONFIG_HOME=" + filepath.Join(home, "config"),
	}
	cmd.Stdout, cmd.Stderr = &r.log, &r.log
	failed := cmd.Run()
	_, err := ts.Stdout().Write(r.log.Bytes())
	ts.Check(err)
	for name, value := range secrets {
		if value != "" && strings.Contains(r.log.String(), value) {
			ts.Fatalf("secret %s is in the log:\n%s", name, r.log.String())
		}
	}
	if strings.Contains(r.log.String(), secretMark) {
		ts.Fatalf("a part of a secret is in the log:\n%s", r.log.String())
	}
	ts.Check(filepath.WalkDir(ts.Getenv("WORK"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "pwned" {
			ts.Fatalf("a command was injected: it made %s\n%s", path, r.log.String())
		}
		return err
	}))
	return failed
}

// strip copies a workflow without the keys that act does not know.
func (r *actRun) strip(from, to string) {
	text, err := os.ReadFile(from)
	r.ts.Check(err)
	text = regexp.MustCompile(`(?m)^ +(queue: max|deployment: false)\n`).ReplaceAll(text, nil)
	r.ts.Check(os.WriteFile(to, text, 0o644))
}

// used is how the workflows in two directories name an action.
func (r *actRun) used(main, started, action string) string {
	for _, pattern := range []string{filepath.Join(main, ".github", "workflows", "*.yml"), filepath.Join(started, "*.yml")} {
		files, err := filepath.Glob(pattern)
		r.ts.Check(err)
		for _, name := range files {
			text, err := os.ReadFile(name)
			r.ts.Check(err)
			if m := regexp.MustCompile(regexp.QuoteMeta(action) + `@[0-9a-f]{40}`).Find(text); m != nil {
				return string(m)
			}
		}
	}
	r.ts.Fatalf("no workflow uses %s", action)
	return ""
}

// ownAction is action.yml with the image's command as a step: what GitHub does with a container action's inputs and
// outputs, without a container (contracts/github/wire.md §2g).
func (r *actRun) ownAction() []byte {
	program, err := exec.LookPath("shopfleet")
	r.ts.Check(err)
	text, err := os.ReadFile("../../action.yml")
	r.ts.Check(err)
	var action struct {
		Inputs, Outputs map[string]map[string]string
		Runs            struct{ Args []string }
	}
	r.ts.Check(yaml.Unmarshal(text, &action))
	env := map[string]string{}
	for name := range action.Inputs {
		env["INPUT_"+strings.ToUpper(name)] = "${{ inputs." + name + " }}"
	}
	for name := range action.Outputs {
		action.Outputs[name]["value"] = "${{ steps.shopfleet.outputs." + name + " }}"
	}
	run := fmt.Sprintf("exec '%s' %s", program, strings.Join(action.Runs.Args, " "))
	if r.ts.Getenv("SHOW_ACTION") != "" {
		run = fmt.Sprintf("env | sed -n 's/^INPUT_//p' >> '%s'", filepath.Join(r.ts.Getenv("WORK"), "inputs"))
	}
	return composite(r.ts, map[string]any{"name": "shopfleet", "inputs": action.Inputs, "outputs": action.Outputs}, map[string]any{
		"id": "shopfleet", "shell": "bash", "env": env, "run": run,
	})
}

// composite is an action of one step.
func composite(ts *testscript.TestScript, action, step map[string]any) []byte {
	action["runs"] = map[string]any{"using": "composite", "steps": []any{step}}
	text, err := json.Marshal(action) // which is YAML too
	ts.Check(err)
	return text
}

// npmOfScripts is filled with the file that it writes its arguments and environment to.
const npmOfScripts = `#!/bin/sh
set -e
{ echo "npm $*"; env; } > '%s'
mkdir -p node_modules/greeting
echo '{"name": "greeting", "version": "1.0.0", "main": "index.js"}' > node_modules/greeting/package.json
echo 'export const greeting = "hello from a package";' > node_modules/greeting/index.js
if [ -f .npmrc ]; then sh "$(sed -n 's/^git=//p' .npmrc)"; fi
`
