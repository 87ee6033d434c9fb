package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/github"
)

// heard is a comment as its event tells of it.
func (w *carried) heard(token string, number int, isPull bool, body string) map[string]any {
	w.t.Helper()
	var comment map[string]any
	if code := w.api(token, "POST", fmt.Sprintf("/issues/%d/comments", number), map[string]any{"body": body}, &comment); code != 201 {
		w.t.Fatalf("commenting: %d", code)
	}
	issue := map[string]any{"number": number, "state": "open"}
	if isPull {
		issue["pull_request"] = map[string]any{"url": "x"}
	}
	return map[string]any{"action": "created", "issue": issue, "sender": comment["user"], "comment": comment}
}

// A comment is carried out by the workflow commands.yml, and by nobody else.
func TestCommentByWorkflow(t *testing.T) {
	w := newLanding(t, "anna", "bert")
	number := w.pull("anna").Number
	before := w.refs()["shops/anna"]
	reader := w.person("reader", "read")
	listen := func(payload map[string]any, inputs ...string) ran {
		t.Helper()
		w.git(w.dir, "fetch", "--quiet", "origin")
		return w.step("issue_comment", payload, append([]string{"INPUT_COMMAND=comment"}, inputs...)...)
	}

	if r := listen(w.heard(reader, number, true, "/land")); r.code != 0 || w.refs()["shops/anna"] != before || strings.Contains(w.comments(number), "shopfleet:order") {
		t.Errorf("a reader's word: %v\n%s", r, w.comments(number))
	}
	if r := listen(w.heard(hubToken, number, true, "please /land it")); r.code != 0 || w.refs()["shops/anna"] != before {
		t.Errorf("talk: %v", r)
	}
	said := w.heard(hubToken, number, true, "/land\nthanks")
	if r := listen(said); r.code != 0 {
		t.Fatalf("land: %v", r)
	}
	if w.refs()["shops/anna"] == before {
		t.Fatalf("it did not land: %s", w.comments(number))
	}
	// The same event again: by the workflow, and by a rebase.yml from before there was commands.yml.
	after, page := w.refs(), w.comments(number)
	if n := strings.Count(page, "<!-- shopfleet:order "); n != 1 {
		t.Errorf("%d answers:\n%s", n, page)
	}
	for _, verb := range []string{"comment", "land"} {
		if r := listen(said, "INPUT_COMMAND="+verb); r.code != 0 {
			t.Errorf("%s again: %v", verb, r)
		}
	}
	if fmt.Sprint(w.refs()) != fmt.Sprint(after) || w.comments(number) != page {
		t.Errorf("it was done twice:\n%s", w.comments(number))
	}

	// What is said in the wrong place is not called done.
	issue, _, _ := w.fleetIssue()
	bert := w.pull("bert").Number
	for _, x := range []struct {
		number     int
		pull       bool
		says, want string
	}{
		{bert, true, "/pause", "refused"}, {bert, true, "/skip bert", "refused"}, {issue, false, "/land", "refused"},
		{issue, false, "/pause", "done"}, {issue, false, "/resume", "done"}, {issue, false, "/skip bert", "done"},
	} {
		said := w.heard(hubToken, x.number, x.pull, x.says)
		if r := listen(said); r.code != 0 {
			t.Errorf("%s: %v", x.says, r)
		}
		_, answer, _ := strings.Cut(w.comments(x.number), fmt.Sprintf("<!-- shopfleet:order %.0f -->", said["comment"].(map[string]any)["id"]))
		if !strings.HasPrefix(answer, "\n<!-- shopfleet:outcome "+x.want+" -->") || strings.Contains(answer[:min(len(answer), 300)], "It is done.") {
			t.Errorf("%s on %d was answered with %s", x.says, x.number, answer)
		}
	}

	// A command that no run heard, and the clock.
	left := w.heard(hubToken, w.pull("bert").Number, true, "/help land")
	w.git(w.dir, "fetch", "--quiet", "origin")
	if r := w.step("schedule", map[string]any{"schedule": "11,41 * * * *"}, "INPUT_COMMAND=comment"); r.code != 0 {
		t.Errorf("recovering: %v", r)
	}
	if page := w.comments(w.pull("bert").Number); !strings.Contains(page, fmt.Sprintf("<!-- shopfleet:order %.0f -->", left["comment"].(map[string]any)["id"])) {
		t.Errorf("what was not heard is not answered:\n%s", page)
	}

	// As a workflow's own token it would not see what the server has taken.
	if r := w.step("issue_comment", said, "INPUT_COMMAND=comment", "SHOPFLEET_APP_ID=", "INPUT_GITHUB-TOKEN="+hubToken); r.code != 2 || !strings.Contains(r.errors+r.out, "as a GitHub App") {
		t.Errorf("without the App: %v", r)
	}
}

// What fleet.yml leaves to others counts for the clock too, which reads what was said to the round by itself.
func TestRulesOfTheRound(t *testing.T) {
	w := newCarried(t, "rebase:\n  land: manual\n  checks: []\ncommands:\n  verbs:\n    pause: {permission: admin}\n    land: {users: [boss]}\n", "anna")
	w.main(map[string]string{"src/index.ts": "export default { fetch: () => new Response('2') }\n"})
	w.asApp(rebaseApp("workflows"))
	w.must("rebase")
	writer, before := w.person("writer", "write"), w.refs()["shops/anna"]
	issue, _, _ := w.fleetIssue()
	w.heard(writer, issue, false, "/pause")
	w.must("land")
	if _, title, body := w.fleetIssue(); strings.Contains(title+body, "aused") && strings.Contains(body, "`writer`") {
		t.Errorf("somebody paused who may not: %s\n%s", title, body)
	}
	number := w.pull("anna").Number
	if r := w.comment(writer, "writer", number, true, "/land"); r.code != 0 || !strings.Contains(w.comments(number), "`writer` may not land by `commands: in fleet.yml`") || w.refs()["shops/anna"] != before {
		t.Errorf("somebody landed who may not: %v\n%s", r, w.comments(number))
	}
	boss := w.person("boss", "write")
	if r := w.comment(boss, "boss", number, true, "/land"); r.code != 0 || w.refs()["shops/anna"] == before {
		t.Errorf("it did not land: %v\n%s", r, w.comments(number))
	}
}

// desk is the App's server without its webhooks.
func (w *carried) desk() *command.Desk {
	w.t.Helper()
	env := map[string]string{}
	for _, pair := range w.env {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	k, err := (&command.Door{
		Getenv: func(name string) string { return env[name] }, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard,
		Dir: w.dir, Now: time.Now, Version: "v1.2.3", Transport: cloudflare.LoopbackOnly(nil),
	}).Desk(w.t.Context(), command.DeskOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

// A pressed Land lands the commit that it was on, and no other.
func TestLandByButton(t *testing.T) {
	w := newCarried(t, "rebase:\n  land: manual\n  checks: []\n", "anna", "bert")
	w.main(map[string]string{"src/index.ts": "export default { fetch: () => new Response('2') }\n"})
	app := w.asApp(rebaseApp("workflows"))
	w.must("rebase")
	w.git(w.dir, "fetch", "--quiet", "origin")
	k := w.desk()
	button := func(slug string) github.Event {
		t.Helper()
		p := w.pull(slug)
		head := w.refs()["rebase/"+slug]
		err := k.Present(t.Context(), github.Event{Action: "opened", PullRequest: &github.PullRequest{
			Number: p.Number, State: "open", Head: github.Branch{Ref: "rebase/" + slug, SHA: head}, Base: github.Branch{Ref: "shops/" + slug},
		}}, "pull_request")
		if err != nil {
			t.Fatal(err)
		}
		var page struct {
			Runs []struct {
				ID         int64
				Name       string
				ExternalID string `json:"external_id"`
			} `json:"check_runs"`
		}
		w.api(hubToken, "GET", "/commits/"+head+"/check-runs", nil, &page)
		for _, c := range page.Runs {
			if c.Name == "shopfleet land: "+slug {
				return github.Event{Action: "requested_action", Sender: hubOperator, SenderID: 1, CheckRun: &github.CheckRunEvent{
					ID: c.ID, Name: c.Name, HeadSHA: head, ExternalID: c.ExternalID, AppID: app.ID, AppSlug: "shopfleet", Requested: "land",
				}}
			}
		}
		t.Fatalf("there is no button for %s: %+v", slug, page)
		return github.Event{}
	}
	press := func(e github.Event) {
		t.Helper()
		w.git(w.dir, "fetch", "--quiet", "origin")
		o, err := k.Hear(t.Context(), e, "check_run")
		if err != nil || o == nil {
			t.Fatal(o, err)
		}
		if err := k.Carry(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	says := func(e github.Event) string {
		t.Helper()
		var run struct{ Output json.RawMessage }
		w.api(hubToken, "GET", fmt.Sprintf("/check-runs/%d", e.CheckRun.ID), nil, &run)
		return string(run.Output)
	}

	e := button("anna")
	press(e)
	if w.refs()["shops/anna"] != e.CheckRun.HeadSHA {
		t.Fatalf("it did not land: %s", says(e))
	}
	if text := says(e); !strings.Contains(text, "Land, pressed by "+hubOperator+": done") {
		t.Errorf("it says %s", text)
	}
	// Pressed again it is on main already, or its pull request closed.
	press(e)
	if text := says(e); !strings.Contains(text, "nothing was done") {
		t.Errorf("pressed again it says %s", text)
	}

	// The check run does not keep a tick from knowing that nothing was released, nor a landing from landing.
	stale := button("bert")
	w.people("rebase/bert", map[string]string{"shop-overrides/x.txt": "x\n"})
	before := w.refs()["shops/bert"]
	press(stale)
	if w.refs()["shops/bert"] != before || !strings.Contains(says(stale), "nothing was done") {
		t.Errorf("an old button landed something: %s", says(stale))
	}
}
