package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	simgithub "github.com/kvick/shopfleet/internal/sim/github"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

// The people and places of the scripts' GitHub.
const (
	hubOwner    = "kvick"
	hubRepo     = "helm"
	hubOperator = "operator"
	hubToken    = "ghp_" + secretMark + "0123456789abcdefghijklmno"
)

type hubKey struct{}

// hub is the GitHub of one script; empty until the script asks for it.
type hub struct {
	*simtest.GitHub
	repo *simgithub.Repository
}

func scriptHub(ts *testscript.TestScript) *hub {
	h := ts.Value(hubKey{}).(*hub)
	if h.repo == nil {
		ts.Fatalf("no GitHub: begin with `hub DIR`")
	}
	return h
}

// deployToken are the permissions of the deploy workflow's job, planToken those of the plan workflow's.
var (
	deployToken = map[string]string{"contents": "read", "deployments": "write", "checks": "write"}
	planToken   = map[string]string{"contents": "read", "checks": "write", "pull-requests": "write", "deployments": "read"}
)

// cmdHub starts a GitHub that has the branches of a repository, and makes it that repository's origin.
func cmdHub(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hub DIR")
	}
	t := ts.Value(testKey{}).(testing.TB)
	h := ts.Value(hubKey{}).(*hub)
	// What is sent to GitHub is public there.
	transcripts := ts.Getenv(transcriptVariable) // here, since the script goes on beside the requests
	kept := func(api http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err == nil {
				err = keep(transcripts, "sent-", body)
			}
			if err != nil {
				t.Error(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			api.ServeHTTP(w, r)
		})
	}
	h.GitHub = simtest.NewGitHub(t, simgithub.Options{Wrap: kept})
	_, err := h.AddUser(hubOperator, "User")
	ts.Check(err)
	h.repo, err = h.World.Repository(hubOwner, hubRepo)
	ts.Check(err)
	ts.Check(h.repo.SetPermission(hubOperator, "admin"))
	ts.Check(h.AddToken(hubToken, hubOperator))
	dir := ts.MkAbs(args[0])
	realGit(ts, dir, "remote", "add", "origin", h.repo.Dir)
	realGit(ts, dir, "push", "--quiet", "origin", "--all")
	realGit(ts, dir, "fetch", "--quiet", "origin")
	ts.Setenv("GITHUB_API_URL", h.API)
	ts.Setenv("GITHUB_SERVER_URL", h.Git)
	ts.Setenv("GITHUB_REPOSITORY", hubOwner+"/"+hubRepo)
	ts.Setenv("GITHUB_TOKEN", hubToken)
}

// realGit runs git in a directory, for what scripts are about only in passing.
func realGit(ts *testscript.TestScript, dir string, args ...string) string {
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=shop", "GIT_AUTHOR_EMAIL=shop@example.invalid",
		"GIT_COMMITTER_NAME=shop", "GIT_COMMITTER_EMAIL=shop@example.invalid")
	out, err := cmd.CombinedOutput()
	if err != nil {
		ts.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// cmdPush pushes a branch of a repository and sets the environment that the step of the workflow it starts would have.
func cmdPush(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: push DIR BRANCH")
	}
	dir, branch := ts.MkAbs(args[0]), args[1]
	h := scriptHub(ts)
	before := "0000000000000000000000000000000000000000"
	if out, err := exec.Command("git", "-C", h.repo.Dir, "rev-parse", "--verify", "--quiet", "refs/heads/"+branch).Output(); err == nil {
		before = strings.TrimSpace(string(out))
	}
	realGit(ts, dir, "push", "--quiet", "--force", "origin", branch)
	realGit(ts, dir, "fetch", "--quiet", "origin")
	sha := realGit(ts, dir, "rev-parse", "refs/heads/"+branch)
	step(ts, "push", "refs/heads/"+branch, sha, deployToken, map[string]any{
		"ref": "refs/heads/" + branch, "before": before, "after": sha, "deleted": false, "forced": false,
		"repository": map[string]any{"full_name": hubOwner + "/" + hubRepo, "default_branch": "main"},
		"sender":     map[string]any{"login": hubOperator},
	})
}

// cmdUnpush deletes a branch on GitHub and sets the environment of the workflow that this starts.
func cmdUnpush(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: unpush DIR BRANCH")
	}
	h := scriptHub(ts)
	before := realGit(ts, h.repo.Dir, "rev-parse", "refs/heads/"+args[1])
	realGit(ts, ts.MkAbs(args[0]), "push", "--quiet", "origin", ":refs/heads/"+args[1])
	step(ts, "push", "refs/heads/"+args[1], realGit(ts, h.repo.Dir, "rev-parse", "refs/heads/main"), deployToken, map[string]any{
		"ref": "refs/heads/" + args[1], "before": before, "after": strings.Repeat("0", 40), "deleted": true,
		"repository": map[string]any{"full_name": hubOwner + "/" + hubRepo, "default_branch": "main"},
	})
}

// cmdPull opens a pull request, checks out the merge that GitHub would make of it, and sets the environment of the step
// that it starts. With "fork" its head is in a fork, and the step has the token that GitHub gives those.
func cmdPull(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: pull DIR HEAD BASE [fork]")
	}
	dir, head, base := ts.MkAbs(args[0]), args[1], args[2]
	h := scriptHub(ts)
	realGit(ts, dir, "push", "--quiet", "--force", "origin", head)
	realGit(ts, dir, "fetch", "--quiet", "origin")
	number := 1
	if existing := ts.Getenv("PULL_" + head); existing != "" {
		number, _ = strconv.Atoi(existing)
	} else {
		var made struct{ Number int }
		h.as(ts, http.MethodPost, "/repos/"+hubOwner+"/"+hubRepo+"/pulls", map[string]any{"title": "change", "head": head, "base": base}, &made)
		number = made.Number
		ts.Setenv("PULL_"+head, strconv.Itoa(number))
	}
	ts.Setenv("PULL", strconv.Itoa(number))
	realGit(ts, dir, "checkout", "--quiet", "--detach", "origin/"+base)
	realGit(ts, dir, "merge", "--quiet", "--no-ff", "-m", "merge", "origin/"+head)
	sha, merge := realGit(ts, dir, "rev-parse", "origin/"+head), realGit(ts, dir, "rev-parse", "HEAD")
	ts.Setenv("HEAD_SHA", sha)
	here := map[string]any{"id": h.repo.ID, "full_name": hubOwner + "/" + hubRepo}
	there, token := here, planToken
	if len(args) == 4 {
		there, token = map[string]any{"id": h.repo.ID + 1000, "full_name": "stranger/" + hubRepo}, map[string]string{"contents": "read"}
	}
	step(ts, "pull_request", fmt.Sprintf("refs/pull/%d/merge", number), merge, token, map[string]any{
		"action": "opened", "number": number,
		"pull_request": map[string]any{
			"number": number, "title": "change", "state": "open", "user": map[string]any{"login": "mallory"},
			"head": map[string]any{"ref": head, "sha": sha, "repo": there},
			"base": map[string]any{"ref": base, "sha": realGit(ts, dir, "rev-parse", "origin/"+base), "repo": here},
		},
		"repository": map[string]any{"full_name": hubOwner + "/" + hubRepo, "default_branch": "main"},
	})
}

// step sets the environment of a step, with fresh files for what it says.
func step(ts *testscript.TestScript, event, ref, sha string, permissions map[string]string, payload any) {
	h := scriptHub(ts)
	token, err := h.repo.ActionsToken(permissions)
	ts.Check(err)
	rememberSecret(ts, token)
	text, err := json.Marshal(payload)
	ts.Check(err)
	work := ts.Getenv("WORK")
	for name, content := range map[string][]byte{"event.json": text, "output": nil, "summary": nil} {
		ts.Check(os.WriteFile(filepath.Join(work, "step."+name), content, 0o600))
	}
	for name, value := range map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": event, "GITHUB_REF": ref, "GITHUB_SHA": sha,
		"GITHUB_REF_NAME":   strings.TrimPrefix(strings.TrimPrefix(ref, "refs/heads/"), "refs/"),
		"GITHUB_EVENT_PATH": filepath.Join(work, "step.event.json"), "GITHUB_OUTPUT": filepath.Join(work, "step.output"),
		"GITHUB_STEP_SUMMARY": filepath.Join(work, "step.summary"), "GITHUB_RUN_ID": "4711", "GITHUB_RUN_ATTEMPT": "1",
		"GITHUB_ACTOR": "mallory", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_WORKFLOW": "deploy", "GITHUB_JOB": "deploy",
		"INPUT_GITHUB-TOKEN": token, "INPUT_CLOUDFLARE-API-TOKEN": scriptToken,
	} {
		ts.Setenv(name, value)
	}
	h.ForgetRequests()
}

// as is a call of the operator's.
func (h *hub) as(ts *testscript.TestScript, method, path string, body, into any) {
	var b bytes.Buffer
	if body != nil {
		ts.Check(json.NewEncoder(&b).Encode(body))
	}
	req, err := http.NewRequest(method, h.API+path, &b)
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+hubToken)
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	ts.Check(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if resp.StatusCode >= 300 {
		ts.Fatalf("%s %s: %d: %s", method, path, resp.StatusCode, text)
	}
	if into == nil {
		into = new(any)
	}
	ts.Check(json.Unmarshal(text, into))
}

// cmdOnGitHub prints what GitHub has, for scripts to look at: deployments, statuses ID, checks SHA, comments NUMBER, issues,
// pulls, branches.
func cmdOnGitHub(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: ongithub deployments|statuses ID|checks SHA|comments NUMBER|issues|pulls|branches")
	}
	h := scriptHub(ts)
	repo := "/repos/" + hubOwner + "/" + hubRepo
	var list any
	switch args[0] {
	case "deployments":
		h.as(ts, http.MethodGet, repo+"/deployments", nil, &list)
	case "statuses":
		h.as(ts, http.MethodGet, repo+"/deployments/"+args[1]+"/statuses", nil, &list)
	case "comments":
		h.as(ts, http.MethodGet, repo+"/issues/"+args[1]+"/comments", nil, &list)
	case "issues":
		h.as(ts, http.MethodGet, repo+"/issues?state=all", nil, &list)
	case "pulls":
		h.as(ts, http.MethodGet, repo+"/pulls?state=all", nil, &list)
	case "branches":
		list = strings.Split(realGit(ts, h.repo.Dir, "for-each-ref", "--format=%(refname) %(objectname)"), "\n")
	case "checks":
		h.as(ts, http.MethodGet, repo+"/commits/"+args[1]+"/check-runs", nil, &list)
	default:
		ts.Fatalf("nothing is called %s", args[0])
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	ts.Check(enc.Encode(list))
	_, err := ts.Stdout().Write(b.Bytes())
	ts.Check(err)
}

// cmdGitHubCalls requires how many calls GitHub got since the step was set up, at most or exactly, and prints them.
func cmdGitHubCalls(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: githubcalls N")
	}
	h := scriptHub(ts)
	var list []string
	for _, r := range h.Requests() {
		if r.Token != "" && !r.Git {
			list = append(list, fmt.Sprintf("%s %s %d", r.Method, r.Path, r.Status))
		}
	}
	h.ForgetRequests()
	if want, err := strconv.Atoi(args[0]); err != nil || len(list) != want {
		ts.Fatalf("%d calls of GitHub, want %s:\n%s", len(list), args[0], strings.Join(list, "\n"))
	}
}

// cmdGitHubForget forgets the calls that GitHub got.
func cmdGitHubForget(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: githubforget")
	}
	scriptHub(ts).ForgetRequests()
}

// cmdGitHubWrites requires how many writes GitHub got since, pushes included.
func cmdGitHubWrites(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: githubwrites N")
	}
	var list []string
	for _, r := range scriptHub(ts).Requests() {
		if r.Method != http.MethodGet && !strings.HasSuffix(r.Path, "/git-upload-pack") && !strings.HasSuffix(r.Path, "/graphql") {
			list = append(list, fmt.Sprintf("%s %s %d", r.Method, r.Path, r.Status))
		}
	}
	if want, err := strconv.Atoi(args[0]); err != nil || len(list) != want {
		ts.Fatalf("%d writes, want %s:\n%s", len(list), args[0], strings.Join(list, "\n"))
	}
}

// cmdGitHubFault adds a fault rule to GitHub; without an argument it removes them all.
func cmdGitHubFault(ts *testscript.TestScript, neg bool, args []string) {
	h := scriptHub(ts)
	if len(args) == 0 {
		h.ClearFaults()
		return
	}
	var rule simgithub.Rule
	ts.Check(json.Unmarshal([]byte(args[0]), &rule))
	_, err := h.Fault(rule)
	ts.Check(err)
}

// cmdOutput reads the step's outputs as the runner does, and requires one of them to be a value.
func cmdOutput(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] output NAME VALUE")
	}
	values, err := readOutputs(ts.ReadFile(filepath.Join(ts.Getenv("WORK"), "step.output")))
	ts.Check(err)
	if got, ok := values[args[0]]; !ok || (got == args[1]) == neg {
		ts.Fatalf("output %s is %q (set: %v)", args[0], got, ok)
	}
}

// readOutputs follows the runner's rules for GITHUB_OUTPUT (contracts/github/wire.md §2g): name=value, or name<<DELIMITER
// with lines up to the delimiter.
func readOutputs(text string) (map[string]string, error) {
	values := map[string]string{}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		if lines[i] == "" {
			continue
		}
		equals, heredoc := strings.Index(lines[i], "="), strings.Index(lines[i], "<<")
		if equals >= 0 && (heredoc < 0 || equals < heredoc) {
			values[lines[i][:equals]] = lines[i][equals+1:]
			continue
		}
		if heredoc < 0 {
			return nil, fmt.Errorf("line %d is no output: %q", i+1, lines[i])
		}
		name, delimiter := lines[i][:heredoc], lines[i][heredoc+2:]
		end := slices.Index(lines[i+1:], delimiter)
		if end < 0 {
			return nil, errors.New("an output has no end")
		}
		values[name] = strings.Join(lines[i+1:i+1+end], "\n")
		i += end + 1
	}
	return values, nil
}

// cmdInert requires that a word stands in a page of Markdown only where it is code, by CommonMark's rule for code spans:
// a run of backticks up to the next run of the same length, or to the end of the paragraph none of it.
func cmdInert(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: inert FILE WORD")
	}
	page := ts.ReadFile(args[0])
	if !strings.Contains(page, args[1]) {
		ts.Fatalf("%s does not have %q at all", args[0], args[1])
	}
	var plain strings.Builder
	for _, paragraph := range strings.Split(page, "\n") {
		for paragraph != "" {
			i := strings.IndexByte(paragraph, '`')
			if i < 0 {
				plain.WriteString(paragraph)
				break
			}
			plain.WriteString(paragraph[:i])
			n := len(paragraph[i:]) - len(strings.TrimLeft(paragraph[i:], "`"))
			rest := paragraph[i+n:]
			end := -1
			for at := 0; at < len(rest); {
				j := strings.IndexByte(rest[at:], '`')
				if j < 0 {
					break
				}
				m := len(rest[at+j:]) - len(strings.TrimLeft(rest[at+j:], "`"))
				if m == n {
					end = at + j + m
					break
				}
				at += j + m
			}
			if end < 0 {
				plain.WriteString(paragraph[i:])
				break
			}
			paragraph = rest[end:]
		}
		plain.WriteString("\n")
	}
	if strings.Contains(plain.String(), args[1]) {
		ts.Fatalf("%q stands outside of code:\n%s", args[1], plain.String())
	}
}

// cmdForge has somebody who may write deployments write many of no concern, and some that claim a version of a shop's.
func cmdForge(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: forge SHOP VERSION")
	}
	h := scriptHub(ts)
	path := "/repos/" + hubOwner + "/" + hubRepo + "/deployments"
	made := func(task string, payload any) {
		h.as(ts, http.MethodPost, path, map[string]any{
			"ref": "main", "task": task, "environment": "shop-" + args[0], "auto_merge": false, "required_contexts": []string{}, "payload": payload,
		}, nil)
	}
	for range 31 {
		made("deploy", map[string]any{"a": 1})
	}
	main := realGit(ts, h.repo.Dir, "rev-parse", "refs/heads/main")
	for _, commit := range []string{strings.Repeat("d", 40), main, ""} {
		release := map[string]any{"shop": args[0], "version_id": args[1], "commit": commit, "bookmark": "evil-bookmark", "hostnames": []string{"evil.example"}}
		made("shopfleet", map[string]any{"shopfleet": 1, "release": release, "key": args[0] + " " + args[1]})
	}
	made("shopfleet", map[string]any{"shopfleet": "1", "release": []int{1}, "key": 7})
}

// cmdApp installs an App on the repository, and gives the step its id and key.
func cmdApp(ts *testscript.TestScript, neg bool, args []string) {
	h := scriptHub(ts)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	ts.Check(err)
	hook := ""
	if len(args) == 1 && args[0] == "hook" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Setenv("LISTEN", l.Addr().String())
		hook = "http://" + l.Addr().String() + "/webhook"
		ts.Check(l.Close())
	}
	app, err := h.AddApp(simgithub.NewApp{Owner: hubOwner, Slug: "shopfleet", Key: &key.PublicKey, Events: []string{"issue_comment", "check_run", "pull_request", "deployment_status"}, HookURL: hook, HookSecret: "s3cr3t-of-the-hook", Permissions: map[string]string{
		"contents": "write", "deployments": "write", "checks": "write", "pull_requests": "write", "issues": "write", "actions": "write", "statuses": "read",
	}})
	ts.Check(err)
	_, err = app.Install(hubOwner, h.repo)
	ts.Check(err)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") {
			rememberSecret(ts, line)
		}
	}
	ts.Setenv("INPUT_APP-ID", strconv.FormatInt(app.ID, 10))
	ts.Setenv("INPUT_APP-PRIVATE-KEY", text)
}

// cmdPress has somebody press a button of a check run, when it is there.
func cmdPress(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: press LOGIN COMMIT CHECK BUTTON")
	}
	h := scriptHub(ts)
	for range 100 {
		var page struct {
			Runs []struct {
				ID   int64
				Name string
			} `json:"check_runs"`
		}
		h.as(ts, http.MethodGet, "/repos/"+hubOwner+"/"+hubRepo+"/commits/"+args[1]+"/check-runs", nil, &page)
		for _, run := range page.Runs {
			if run.Name == args[2] {
				ts.Check(h.repo.Press(args[0], run.ID, args[3]))
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	ts.Fatalf("commit %s has no check run %s", args[1], args[2])
}

// cmdSay has somebody write a comment on a pull request, and sets the step that it starts.
func cmdSay(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: say DIR LOGIN NUMBER TEXT")
	}
	h := scriptHub(ts)
	number, err := strconv.Atoi(args[2])
	ts.Check(err)
	id, err := h.repo.Comment(args[1], number, args[3])
	ts.Check(err)
	repo := "/repos/" + hubOwner + "/" + hubRepo
	var comment, issue map[string]any
	h.as(ts, http.MethodGet, fmt.Sprintf("%s/issues/comments/%d", repo, id), nil, &comment)
	h.as(ts, http.MethodGet, repo+"/issues/"+args[2], nil, &issue)
	step(ts, "issue_comment", "refs/heads/main", realGit(ts, ts.MkAbs(args[0]), "rev-parse", "refs/heads/main"), map[string]string{"contents": "read"}, map[string]any{
		"action": "created", "comment": comment, "issue": issue, "sender": comment["user"],
		"repository": map[string]any{"full_name": hubOwner + "/" + hubRepo, "default_branch": "main"},
	})
	ts.Setenv("INPUT_GITHUB-TOKEN", "")
	ts.Setenv("GITHUB_TOKEN", "")
	ts.Setenv("COMMENT", strconv.FormatInt(id, 10))
}

// cmdPerson adds somebody with a role on the repository; none takes it away.
func cmdPerson(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: person LOGIN ROLE")
	}
	h := scriptHub(ts)
	_, _ = h.AddUser(args[0], "User") // who is there already stays
	role := args[1]
	if role == "none" {
		role = ""
	}
	ts.Check(h.repo.SetPermission(args[0], role))
}

// cmdReact has somebody react to the newest answer of the App's that asks for it, as soon as there is one.
func cmdReact(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: react LOGIN NUMBER CONTENT")
	}
	h := scriptHub(ts)
	for range 300 {
		var list []struct {
			ID   int64  `json:"id"`
			Body string `json:"body"`
		}
		h.as(ts, http.MethodGet, "/repos/"+hubOwner+"/"+hubRepo+"/issues/"+args[1]+"/comments", nil, &list)
		for _, c := range slices.Backward(list) {
			if strings.Contains(c.Body, "shopfleet:order") && strings.Contains(c.Body, "👍") && !strings.Contains(c.Body, "shopfleet:outcome") {
				time.Sleep(1100 * time.Millisecond) // GitHub's times are in seconds, and a reaction of the same one is not known to be later
				ts.Check(h.repo.ReactAs(args[0], c.ID, args[2]))
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	ts.Fatalf("nothing asks for a reaction on %s", args[1])
}
