package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	simgithub "github.com/kvick/shopfleet/internal/sim/github"
)

// step runs the action as a step of a workflow that an event started.
func (w *carried) step(event string, payload map[string]any, inputs ...string) ran {
	w.t.Helper()
	payload["repository"] = map[string]any{"full_name": hubOwner + "/" + hubRepo, "default_branch": "main"}
	text, err := json.Marshal(payload)
	if err != nil {
		w.t.Fatal(err)
	}
	dir := w.t.TempDir()
	for name, content := range map[string][]byte{"event.json": text, "output": nil, "summary": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	before := w.env
	defer func() { w.env = before }()
	w.env = append(w.env, "GITHUB_ACTIONS=true", "GITHUB_EVENT_NAME="+event, "GITHUB_REF=refs/heads/main", "GITHUB_REF_NAME=main", "GITHUB_SHA="+w.refs()["main"],
		"GITHUB_EVENT_PATH="+filepath.Join(dir, "event.json"), "GITHUB_OUTPUT="+filepath.Join(dir, "output"), "GITHUB_STEP_SUMMARY="+filepath.Join(dir, "summary"),
		"GITHUB_RUN_ID=4711", "GITHUB_RUN_ATTEMPT=1", "GITHUB_ACTOR=mallory", "GITHUB_WORKFLOW=rebase", "GITHUB_JOB=land", "INPUT_COMMAND=land")
	w.env = append(w.env, inputs...)
	return w.run("action")
}

// pull is a shop's open pull request.
func (w *carried) pull(slug string) pullOnHub {
	w.t.Helper()
	for _, p := range w.pulls() {
		if p.State == "open" && p.Base.Ref == "shops/"+slug && p.Head.Ref == "rebase/"+slug {
			return p
		}
	}
	w.t.Fatalf("%s has no open pull request", slug)
	return pullOnHub{}
}

// comment writes one and runs the step that it starts.
func (w *carried) comment(token, login string, number int, isPull bool, body string) ran {
	w.t.Helper()
	var made struct {
		ID int64
	}
	w.api(token, "POST", fmt.Sprintf("/issues/%d/comments", number), map[string]any{"body": body}, &made)
	issue := map[string]any{"number": number}
	if isPull {
		issue["pull_request"] = map[string]any{"url": "x"}
	}
	return w.step("issue_comment", map[string]any{
		"action": "created", "issue": issue, "sender": map[string]any{"login": login, "type": "User"},
		"comment": map[string]any{"id": made.ID, "body": body, "user": map[string]any{"login": login, "type": "User"}, "created_at": "2026-11-28T10:00:00Z", "updated_at": "2026-11-28T10:00:00Z"},
	})
}

// people commits to a branch and pushes it, as a person does.
func (w *carried) people(branch string, files map[string]string) string {
	w.t.Helper()
	w.git(w.dir, "fetch", "--quiet", "origin")
	w.git(w.dir, "checkout", "--quiet", "--force", "--detach", "origin/"+branch)
	for name, text := range files {
		at := filepath.Join(w.dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
		w.git(w.dir, "add", "--", name)
	}
	w.git(w.dir, "commit", "--quiet", "-m", "by hand")
	w.git(w.dir, "push", "--quiet", "origin", "HEAD:refs/heads/"+branch)
	return w.git(w.dir, "rev-parse", "HEAD")
}

// comments are what stands below an issue or pull request.
func (w *carried) comments(number int) string {
	w.t.Helper()
	var list []struct {
		Body string
		User struct{ Login string }
	}
	w.api(hubToken, "GET", fmt.Sprintf("/issues/%d/comments", number), nil, &list)
	var b strings.Builder
	for _, k := range list {
		fmt.Fprintf(&b, "%s: %s\n", k.User.Login, k.Body)
	}
	return b.String()
}

// person adds somebody with a role, and a token.
func (w *carried) person(login, role string) string {
	w.t.Helper()
	if _, err := w.hub.AddUser(login, "User"); err != nil {
		w.t.Fatal(err)
	}
	if err := w.repo.SetPermission(login, role); err != nil {
		w.t.Fatal(err)
	}
	token := "ghp_" + login
	if err := w.hub.AddToken(token, login); err != nil {
		w.t.Fatal(err)
	}
	return token
}

// newLanding is a world with open pull requests for its shops, and an App that lands. No check is required.
func newLanding(t *testing.T, slugs ...string) *carried {
	t.Helper()
	w := newCarried(t, "rebase:\n  land: manual\n  checks: []\n", slugs...)
	w.main(map[string]string{"src/index.ts": "export default { fetch: () => new Response('2') }\n"})
	w.asApp(rebaseApp("workflows"))
	w.must("rebase")
	return w
}

func TestLandByComment(t *testing.T) {
	w := newLanding(t, "anna", "bert")
	reader := w.person("reader", "triage")
	number := w.pull("anna").Number
	before := w.refs()["shops/anna"]

	// Who may not push is told so, and nothing moves.
	if r := w.comment(reader, "reader", number, true, "/land"); r.code != 0 {
		t.Errorf("a reader: %v", r)
	}
	if !strings.Contains(w.comments(number), "`reader` may not push") || w.refs()["shops/anna"] != before {
		t.Errorf("a reader's word: %s", w.comments(number))
	}
	// What only looks like a command is none.
	for _, body := range []string{"please /land", "/land now", "/landing", "/land --force", "```\n/land\n```", "/land abc", "> /land"} {
		if r := w.comment(hubToken, hubOperator, number, true, body); r.code != 0 {
			t.Errorf("%q: %v", body, r)
		}
		if w.refs()["shops/anna"] != before {
			t.Fatalf("%q landed", body)
		}
	}
	// A commit that is not what would land.
	w.comment(hubToken, hubOperator, number, true, "/land 0123456789ab")
	if w.refs()["shops/anna"] != before || !strings.Contains(w.comments(number), "not what was agreed to") {
		t.Errorf("another commit: %s", w.comments(number))
	}
	if r := w.comment(hubToken, hubOperator, number, true, "/land"); r.code != 0 {
		t.Fatalf("/land: %v", r)
	}
	if !w.has("shops/anna", w.refs()["main"]) || w.has("shops/bert", w.refs()["main"]) {
		t.Errorf("after /land: %v", w.refs())
	}
	for _, p := range w.pulls() {
		if p.Base.Ref == "shops/anna" && (p.State != "closed" || p.Merged == nil) {
			t.Errorf("anna's pull request: %+v", p)
		}
	}
}

// What was pushed to the rebase branch after the page was written was not agreed to.
func TestLandShown(t *testing.T) {
	w := newLanding(t, "anna")
	p := w.pull("anna")
	w.people("rebase/anna", map[string]string{"shop-overrides/evil.txt": "x"})
	before := w.refs()["shops/anna"]
	w.comment(hubToken, hubOperator, p.Number, true, "/land")
	if w.refs()["shops/anna"] != before {
		t.Fatal("a commit landed that the page did not show")
	}
	// The next run shows it, and then it lands: nobody's commit is lost.
	w.must("rebase")
	w.comment(hubToken, hubOperator, p.Number, true, "/land")
	if text := w.git(w.repo.Dir, "show", "shops/anna:shop-overrides/evil.txt"); text != "x" {
		t.Errorf("landed %q", text)
	}
}

func TestLandByLabel(t *testing.T) {
	w := newLanding(t, "anna")
	w.person("reader", "triage")
	p := w.pull("anna")
	before := w.refs()["shops/anna"]
	tick := func(what string, lands bool) {
		t.Helper()
		if r := w.step("schedule", map[string]any{}); r.code != 0 {
			t.Fatal(r)
		}
		if landed := w.refs()["shops/anna"] != before; landed != lands {
			t.Fatalf("%s: landed is %v\n%s", what, landed, w.comments(p.Number))
		}
	}
	review := func(login, state string) {
		t.Helper()
		if err := w.repo.Review(p.Number, login, state, ""); err != nil {
			t.Fatal(err)
		}
	}
	w.api("ghp_reader", "POST", fmt.Sprintf("/issues/%d/labels", p.Number), map[string]any{"labels": []string{"land"}}, nil)
	tick("the label alone", false)
	review("reader", "APPROVED")
	tick("with a review of somebody who may not push", false)
	review(hubOperator, "CHANGES_REQUESTED")
	tick("with a review that is against it", false)
	review(hubOperator, "APPROVED")
	tick("with a review of the operator's", true)
}

// The boxes of the fleet's issue are commands, of whom that ticks them.
func TestLandByBox(t *testing.T) {
	w := newLanding(t, "anna", "bert")
	reader := w.person("reader", "triage")
	var issues []struct {
		Number int
		Body   string
		Title  string
		Pull   *struct{} `json:"pull_request"`
	}
	w.api(hubToken, "GET", "/issues?state=open", nil, &issues)
	number, body := 0, ""
	for _, i := range issues {
		if i.Pull == nil {
			number, body = i.Number, i.Body
		}
	}
	if strings.Count(body, "- [ ] land") != 2 {
		t.Fatalf("the issue has not two boxes:\n%s", body)
	}
	tick := func(token, login, slug string) ran {
		var lines []string
		for line := range strings.Lines(body) {
			if strings.Contains(line, "- [ ] land `"+slug+"`") {
				line = strings.Replace(line, "[ ]", "[x]", 1)
			}
			lines = append(lines, line)
		}
		edited := strings.Join(lines, "")
		w.api(token, "PATCH", fmt.Sprintf("/issues/%d", number), map[string]any{"body": edited}, nil)
		defer func() { body = edited }()
		return w.step("issues", map[string]any{
			"action": "edited", "issue": map[string]any{"number": number, "body": edited}, "changes": map[string]any{"body": map[string]any{"from": body}},
			"sender": map[string]any{"login": login, "type": "User"},
		})
	}
	before := w.refs()
	tick(reader, "reader", "anna")
	if w.refs()["shops/anna"] != before["shops/anna"] {
		t.Fatal("the box of somebody who may not push landed a shop")
	}
	// The operator ticks another one; the reader's is still ticked.
	if r := tick(hubToken, hubOperator, "bert"); r.code != 0 {
		t.Fatal(r)
	}
	after := w.refs()
	if after["shops/anna"] != before["shops/anna"] || after["shops/bert"] == before["shops/bert"] {
		t.Errorf("after the operator's box: %v", after)
	}
}

func TestHeldAndManual(t *testing.T) {
	w := newLanding(t, "anna", "bert")
	w.api(hubToken, "POST", fmt.Sprintf("/issues/%d/labels", w.pull("anna").Number), map[string]any{"labels": []string{"hold"}}, nil)
	w.api(hubToken, "POST", fmt.Sprintf("/issues/%d/labels", w.pull("bert").Number), map[string]any{"labels": []string{"rebase/manual"}}, nil)
	title := "bert's own words"
	w.api(hubToken, "PATCH", fmt.Sprintf("/pulls/%d", w.pull("anna").Number), map[string]any{"title": title}, nil)
	before := w.refs()
	for _, slug := range []string{"anna", "bert"} {
		if r := w.run("land", slug, "--unchecked"); r.code != 1 || !strings.Contains(r.out, "it has the label") {
			t.Errorf("%s: %v", slug, r)
		}
	}
	w.main(map[string]string{"public/index.html": "four\n"})
	body := w.pull("bert").Body
	w.must("rebase")
	after := w.refs()
	if after["rebase/bert"] != before["rebase/bert"] || w.pull("bert").Body != body {
		t.Error("what is labelled rebase/manual was touched")
	}
	if after["rebase/anna"] == before["rebase/anna"] {
		t.Error("a shop on hold was not carried further")
	}
	if got := w.pull("anna").Title; got != title {
		t.Errorf("the title is %q, and was a person's", got)
	}
}

// What a workflow's own token pushes starts no deploy, so that nothing is pushed with one.
func TestLandWithoutApp(t *testing.T) {
	w := newCarried(t, "", "anna")
	w.main(map[string]string{"public/index.html": "four\n"})
	before := w.refs()
	r := w.step("schedule", map[string]any{}, "INPUT_COMMAND=rebase", "INPUT_GITHUB-TOKEN="+hubToken)
	if r.code != 2 || !strings.Contains(r.out, "there is no App to push as") {
		t.Errorf("got %v", r)
	}
	if fmt.Sprint(w.refs()) != fmt.Sprint(before) {
		t.Error("something was pushed")
	}
}

// Where rules keep everybody from rewriting a shop's branch, the App lands if it is let by, and is told of the rule if not;
// in the merging style it needs no such thing.
func TestLandProtected(t *testing.T) {
	for name, c := range map[string]struct {
		style     string
		bypass    bool
		lands     bool
		forbidden string
	}{
		"rebase, let by":      {"rebase", true, true, ""},
		"rebase, not let by":  {"rebase", false, false, "branch-protected"},
		"merging, not let by": {"merging", false, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newCarried(t, "rebase:\n  style: "+c.style+"\n  checks: []\n", "anna")
			w.main(map[string]string{"src/index.ts": "export default { fetch: () => new Response('2') }\n"})
			rules := simgithub.Ruleset{Name: "shops", Include: []string{"refs/heads/shops/**"}, Rules: []string{"non_fast_forward", "deletion"}}
			app := w.asApp(rebaseApp("workflows"))
			if c.bypass {
				rules.Bypass = []simgithub.Bypass{{App: app}}
			}
			if err := w.repo.Protect(rules); err != nil {
				t.Fatal(err)
			}
			w.must("rebase")
			before := w.refs()
			r := w.run("land", "anna")
			after := w.refs()
			if landed := after["shops/anna"] != before["shops/anna"]; landed != c.lands || (r.code == 0) != c.lands || !strings.Contains(r.out+r.errors, c.forbidden) {
				t.Errorf("landed %v: %v", landed, r)
			}
			if !c.lands && len(after) != len(before) {
				t.Errorf("a landing that was refused left %v", after)
			}
			if c.lands && !w.has("shops/anna", after["main"]) {
				t.Error("main is not in the branch")
			}
			if c.style == "merging" && !w.has("shops/anna", before["shops/anna"]) {
				t.Error("the branch did not go forward")
			}
		})
	}
}

// A shop that is held or frozen does not land, also when a person names it; and none does when nobody can tell.
func TestHeldDoesNotLand(t *testing.T) {
	w := newLanding(t, "anna", "bert")
	stays := func(what, slug, why string, code int) {
		t.Helper()
		before := w.refs()["shops/"+slug]
		if r := w.run("land", slug, "--unchecked"); r.code != code || !strings.Contains(r.out+r.errors, why) {
			t.Errorf("%s: %v", what, r)
		}
		if w.refs()["shops/"+slug] != before {
			t.Errorf("%s: it landed", what)
		}
	}
	w.must("hold", "anna", "the", "stock", "is", "counted")
	stays("held", "anna", "the stock is counted", 1)
	w.must("hold", "--all", "an", "incident")
	stays("the fleet is held", "bert", "an incident", 1)
	w.must("release-hold", "--all")
	w.must("release-hold", "anna")

	if _, err := w.hub.Fault(simgithub.Rule{Method: "GET", Path: "matching-refs/shopfleet", Status: 403, Count: -1}); err != nil {
		t.Fatal(err)
	}
	stays("nobody can tell", "bert", "reading the holds", 3)
	w.hub.ClearFaults()

	policy := w.git(w.dir, "show", "origin/main:fleet.yml") + "\nfreezes:\n  century: {from: 2026-01-01T00:00:00Z, until: 2126-01-01T00:00:00Z, reason: nobody looks, except: [bert]}\n"
	w.main(map[string]string{"fleet.yml": policy})
	w.must("rebase")
	stays("frozen", "anna", "freeze century until 2126-01-01 00:00 UTC: nobody looks", 1)
	before := w.refs()["shops/bert"]
	w.must("land", "bert", "--unchecked")
	if w.refs()["shops/bert"] == before {
		t.Error("a shop that is excepted did not land")
	}
}
