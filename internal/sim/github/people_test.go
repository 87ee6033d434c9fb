package github_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim/github"
)

func TestCommentsOfARepository(t *testing.T) {
	s := newScene(t, github.Options{})
	c := s.as(t, "pat-wanda")
	var ids []int64
	for n := range 2 {
		c.do(201, "POST", repoPath+"/issues", body{"title": fmt.Sprint(n)})
	}
	for n := range 35 {
		ids = append(ids, c.do(201, "POST", fmt.Sprintf("%s/issues/%d/comments", repoPath, n%2+1), body{"body": fmt.Sprint("comment ", n)}).number("id"))
		s.clock.wind(time.Minute)
	}
	list := func(query string) []string {
		t.Helper()
		g := c.do(200, "GET", repoPath+"/issues/comments"+query, nil)
		var out []string
		for n := range g.len() {
			out = append(out, strings.TrimPrefix(g.text(n, "body"), "comment "))
		}
		return out
	}
	g := c.do(200, "GET", repoPath+"/issues/comments", nil)
	if g.len() != 30 || !strings.Contains(g.header.Get("Link"), `page=2>; rel="next"`) || g.text(0, "body") != "comment 0" || !strings.HasSuffix(g.text(1, "issue_url"), "/issues/2") {
		t.Errorf("%d comments, Link %q: %v", g.len(), g.header.Get("Link"), g.body)
	}
	c.do(200, "PATCH", fmt.Sprintf("%s/issues/comments/%d", repoPath, ids[3]), body{"body": "comment 3!"})
	at := func(n int) string { return s.clock.now().Add(time.Duration(n-35) * time.Minute).Format(time.RFC3339) }
	for query, want := range map[string]string{
		"?per_page=3&page=2":                                "[3! 4 5]",
		"?per_page=2&direction=desc":                        "[0 1]", // ignored without sort
		"?per_page=2&sort=created":                          "[34 33]",
		"?per_page=2&sort=created&direction=asc":            "[0 1]",
		"?per_page=2&sort=updated&direction=desc":           "[3! 34]",
		"?since=" + at(33):                                  "[3! 33 34]",
		"?since=" + at(33) + "&sort=created&direction=desc": "[34 33 3!]",
		"?since=" + at(100):                                 "[]",
	} {
		if got := fmt.Sprint(list(query)); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	for _, query := range []string{"?since=yesterday", "?sort=size", "?sort=created&direction=up"} {
		c.do(422, "GET", repoPath+"/issues/comments"+query, nil)
	}
	s.actions(t, "pull-requests:read").do(200, "GET", repoPath+"/issues/comments", nil)
	s.actions(t, "contents:write").do(403, "GET", repoPath+"/issues/comments", nil)
	s.as(t, "pat-nobody").do(404, "GET", repoPath+"/issues/comments", nil)
}

// told is what webhooks say, as "event action".
func told(hooks []hook) []string {
	out := []string{}
	for _, h := range hooks {
		line := h.header.Get("X-GitHub-Event")
		if action, ok := h.body["action"].(string); ok {
			line += " " + action
		}
		out = append(out, line)
	}
	return out
}

func TestPeople(t *testing.T) {
	hooks := newReceiver(t)
	s := newScene(t, github.Options{})
	s.commit(t, "main", "ci", map[string]string{".github/workflows/commands.yml": "on:\n  issue_comment:\n    types: [created]\n"})
	s.commit(t, "shops/acme", "shop", map[string]string{"a": "1\n"})
	s.commit(t, "topic", "topic", map[string]string{"b": "1\n"})
	app := newApp(t, s, appGrant, hooks.URL, "issue_comment", "pull_request", "issues", "push")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	wants := func(want ...string) []hook {
		t.Helper()
		got := hooks.take(s)
		if fmt.Sprint(told(got)) != fmt.Sprint(want) {
			t.Fatalf("told %q, want %q", told(got), want)
		}
		return got
	}
	r := &runs{s: s}
	r.take()

	number, err := s.helm.OpenPull("wanda", "topic", "shops/acme", "Move", "text")
	must(err)
	wants("pull_request opened")
	id, err := s.helm.Comment("wanda", number, "/rollback")
	must(err)
	heard := got{body: wants("issue_comment created")[0].body}
	if heard.text("sender", "login") != "wanda" || heard.number("sender", "id") != heard.number("comment", "user", "id") || heard.text("comment", "body") != "/rollback" ||
		heard.text("comment", "created_at") != heard.text("comment", "updated_at") || heard.at("issue", "pull_request") == nil || heard.number("comment", "id") != id ||
		heard.number("installation", "id") != app.inst.ID || heard.at("comment", "performed_via_github_app") != nil {
		t.Errorf("a comment: %v", heard.body)
	}
	r.want(t, "a comment", "issue_comment refs/heads/main commands.yml")
	s.clock.wind(time.Second)
	must(s.helm.EditComment("adam", id, "/rollback acme"))
	heard = got{body: wants("issue_comment edited")[0].body}
	if heard.text("sender", "login") != "adam" || heard.text("comment", "user", "login") != "wanda" || heard.text("changes", "body", "from") != "/rollback" || heard.text("comment", "created_at") == heard.text("comment", "updated_at") {
		t.Errorf("an edit: %v", heard.body)
	}
	r.want(t, "an edit")
	must(s.helm.ReactAs("rita", id, "+1"))
	must(s.helm.ReactAs("rita", id, "+1"))
	wants()
	g := s.as(t, app.token(nil)).do(200, "GET", fmt.Sprintf("%s/issues/comments/%d/reactions", repoPath, id), nil)
	if g.len() != 1 || g.text(0, "user", "login") != "rita" || g.number(0, "user", "id") == 0 || g.text(0, "created_at") != s.clock.now().Format(time.RFC3339) {
		t.Errorf("reactions: %v", g.body)
	}
	must(s.helm.DeleteComment("wanda", id))
	wants("issue_comment deleted")

	if _, err := s.helm.Comment(app.Bot, number, "an answer"); err != nil {
		t.Error(err)
	}
	if heard := (got{body: wants("issue_comment created")[0].body}); heard.text("sender", "type") != "Bot" || heard.text("comment", "performed_via_github_app", "slug") != "shopfleet" {
		t.Errorf("the App's own comment: %v", heard.body)
	}
	r.want(t, "the App's comment", "issue_comment refs/heads/main commands.yml")
	if _, err := s.helm.Comment("github-actions[bot]", number, "from a workflow"); err != nil {
		t.Error(err)
	}
	wants("issue_comment created")
	r.want(t, "a workflow's comment")

	fork, err := s.helm.Fork("nobody")
	must(err)
	if _, err := fork.Commit("evil", "evil", map[string]string{"x": "1"}); err != nil {
		t.Fatal(err)
	}
	forked, err := s.helm.OpenPull("rita", "nobody:evil", "shops/acme", "Gift", "")
	must(err)
	heard = got{body: wants("pull_request opened")[0].body}
	if heard.text("pull_request", "head", "repo", "full_name") != "nobody/helm" || heard.text("pull_request", "base", "ref") != "shops/acme" {
		t.Errorf("a fork: %v", heard.body)
	}
	sha, err := fork.PushAs("nobody", "evil", "more", map[string]string{"x": "2"})
	must(err)
	if heard := (got{body: wants("pull_request synchronize")[0].body}); heard.text("after") != sha || heard.text("sender", "login") != "nobody" {
		t.Errorf("a push to a fork: %v", heard.body)
	}
	must(s.helm.LabelAs("tom", forked, "spam"))
	must(s.helm.Close("wanda", forked))
	must(s.helm.Reopen("wanda", forked))
	wants("pull_request labeled", "pull_request closed", "pull_request reopened")
	if _, err := s.helm.PushAs("wanda", "topic", "more", map[string]string{"b": "2\n"}); err != nil {
		t.Error(err)
	}
	wants("push", "pull_request synchronize")
	issue, err := s.helm.OpenIssue("rita", "Fleet", "")
	must(err)
	wants("issues opened")

	for what, err := range map[string]error{
		"a stranger comments":           second(s.helm.Comment("nobody", number, "x")),
		"nobody knows who":              second(s.helm.Comment("who", number, "x")),
		"no such issue":                 second(s.helm.Comment("wanda", 99, "x")),
		"an empty comment":              second(s.helm.Comment("wanda", number, " \n")),
		"another's comment":             s.helm.EditComment("rita", mustID(s.helm.Comment("wanda", issue, "x")), "y"),
		"no such reaction":              s.helm.ReactAs("wanda", id, "thumb"),
		"a reader pushes":               second(s.helm.PushAs("rita", "x", "x", nil)),
		"a reader opens from here":      second(s.helm.OpenPull("rita", "topic", "main", "x", "")),
		"a reader labels":               s.helm.LabelAs("rita", number, "x"),
		"an App that is not from here":  second(s.helm.Comment("other[bot]", number, "x")),
		"a path in place of a branch":   second(s.helm.PushAs("wanda", "../x", "x", nil)),
		"a comment that has been taken": s.helm.EditComment("wanda", id, "y"),
	} {
		if err == nil {
			t.Errorf("%s: done", what)
		}
	}
	wants("issue_comment created")
	// No limit stops people: 80 creations a minute are those of one who calls the API.
	for range 100 {
		mustID(s.helm.Comment("wanda", issue, "x"))
	}
}

func second[T any](_ T, err error) error { return err }

func mustID(id int64, err error) int64 {
	if err != nil {
		panic(err)
	}
	return id
}

func TestButtons(t *testing.T) {
	ours, others := newReceiver(t), newReceiver(t)
	s := newScene(t, github.Options{})
	s.commit(t, "main", "ci", map[string]string{".github/workflows/buttons.yml": "on:\n  check_run:\n    types: [requested_action]\n"})
	sha := s.commit(t, "shops/acme", "shop", map[string]string{"a": "1"})
	app := newApp(t, s, map[string]string{"checks": "write"}, ours.URL, "check_run")
	other, err := s.AddApp(github.NewApp{Owner: "kvick", Slug: "other", Key: &app.key.PublicKey, Permissions: map[string]string{"checks": "write"}, Events: []string{"check_run"}, HookURL: others.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Install("kvick"); err != nil {
		t.Fatal(err)
	}
	c := s.as(t, app.token(nil))
	button := func(label, description, identifier string) body {
		return body{"label": label, "description": description, "identifier": identifier}
	}
	id := c.do(201, "POST", repoPath+"/check-runs", body{"name": "release", "head_sha": sha, "conclusion": "success", "actions": []body{
		button(strings.Repeat("ä", 20), strings.Repeat("ä", 40), strings.Repeat("x", 20)), button("Roll back", "Back to the last good", "rollback"), button("Hold", "Nothing deploys", "hold"),
	}}).number("id")
	if got := told(ours.take(s)); fmt.Sprint(got) != "[check_run created check_run completed]" {
		t.Errorf("told %q", got)
	}
	others.take(s)
	if list, err := s.helm.Actions(id); err != nil || len(list) != 3 || list[1].Identifier != "rollback" || list[1].Label != "Roll back" {
		t.Errorf("buttons: %v, %v", list, err)
	}
	r := &runs{s: s}
	r.take()
	if err := s.helm.Press("wanda", id, "rollback"); err != nil {
		t.Fatal(err)
	}
	r.want(t, "a button", "check_run refs/heads/main buttons.yml")
	if err := s.helm.Rerequest("wanda", id); err != nil {
		t.Fatal(err)
	}
	heard := ours.take(s)
	if fmt.Sprint(told(heard)) != "[check_run requested_action check_run rerequested]" {
		t.Fatalf("told %q", told(heard))
	}
	if got := told(others.take(s)); len(got) != 0 {
		t.Errorf("another App was told %q", got)
	}
	holdsRecorded(t, "check_run.requested_action", heard[0].body)
	if g := (got{body: heard[0].body}); g.text("requested_action", "identifier") != "rollback" || g.number("check_run", "id") != id || g.text("sender", "login") != "wanda" || g.text("check_run", "head_sha") != sha {
		t.Errorf("a button: %v", g.body)
	}
	for what, err := range map[string]error{
		"a reader":        s.helm.Press("rita", id, "rollback"),
		"a stranger":      s.helm.Press("nobody", id, "rollback"),
		"an App":          s.helm.Press(app.Bot, id, "rollback"),
		"no such button":  s.helm.Press("wanda", id, "rollback "),
		"no such run":     s.helm.Press("wanda", id+1000, "rollback"),
		"a reader reruns": s.helm.Rerequest("rita", id),
	} {
		if err == nil {
			t.Errorf("%s: done", what)
		}
	}
	path := fmt.Sprintf("%s/check-runs/%d", repoPath, id)
	c.do(200, "PATCH", path, body{"external_id": "y"})
	if list, _ := s.helm.Actions(id); len(list) != 3 {
		t.Errorf("a change of something else left %v", list)
	}
	for what, actions := range map[string][]body{
		"four":                 {button("a", "a", "a"), button("b", "b", "b"), button("c", "c", "c"), button("d", "d", "d")},
		"a long label":         {button(strings.Repeat("x", 21), "d", "i")},
		"a long description":   {button("l", strings.Repeat("x", 41), "i")},
		"a long identifier":    {button("l", "d", strings.Repeat("x", 21))},
		"without identifier":   {{"label": "l", "description": "d"}},
		"an empty description": {button("l", "", "i")},
	} {
		t.Run(what, func(t *testing.T) {
			s.as(t, c.token).do(422, "POST", repoPath+"/check-runs", body{"name": "n", "head_sha": sha, "actions": actions})
			s.as(t, c.token).do(422, "PATCH", path, body{"actions": actions})
		})
	}
	c.do(200, "PATCH", path, body{"actions": []body{}})
	if err := s.helm.Press("wanda", id, "rollback"); err == nil {
		t.Error("a button that was taken away was pressed")
	}
}
