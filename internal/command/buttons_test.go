package command

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/rebase"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

// token is what the journal of a deploy is written with, and with which check runs are looked at.
func (w *office) token(t *testing.T) string {
	t.Helper()
	token, err := w.repo.ActionsToken(map[string]string{"contents": "read", "deployments": "write", "checks": "read"})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (w *office) shop(t *testing.T) fleet.Shop {
	t.Helper()
	policy, err := fleet.Parse("fleet.yml", []byte(officePolicy))
	if err != nil {
		t.Fatal(err)
	}
	shop, err := policy.Shop("swicked")
	if err != nil {
		t.Fatal(err)
	}
	return shop
}

func (w *office) tip(t *testing.T, branch string) string {
	t.Helper()
	sha, err := w.client(t).Tip(t.Context(), branch)
	if err != nil {
		t.Fatal(err)
	}
	return sha
}

// released writes a release of a version into the journal, with how it ended.
func (w *office) released(t *testing.T, version, commit string, state deploy.ReleaseState) {
	t.Helper()
	hub := w.client(t)
	hub.Token = github.Secret(w.token(t))
	j := &journal{client: hub}
	_, err := j.Begin(t.Context(), w.shop(t), deploy.Release{Shop: "swicked", VersionID: version, Commit: commit}, deploy.Status{State: state, Text: "ended"})
	if err != nil {
		t.Fatal(err)
	}
}

// take are the events since the last one was taken.
func (w *office) take(t *testing.T, kind, action string) []github.Event {
	t.Helper()
	w.Settle()
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []github.Event
	for i, e := range w.events {
		if w.kinds[i] == kind && e.Action == action {
			out = append(out, e)
		}
	}
	w.events, w.kinds = nil, nil
	return out
}

func (w *office) present(t *testing.T, k *Desk, kind, action string) {
	t.Helper()
	for _, e := range w.take(t, kind, action) {
		if err := k.Present(t.Context(), e, kind); err != nil {
			t.Fatal(err)
		}
	}
}

type shownCheck struct {
	ID         int64
	Name       string
	Conclusion string
	External   string `json:"external_id"`
	Output     struct{ Title, Summary string }
}

// checks are the check runs of a commit.
func (w *office) checks(t *testing.T, sha string) []shownCheck {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.API+"/repos/acme/helm/commits/"+sha+"/check-runs", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.token(t))
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("User-Agent", "test")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	var page struct {
		Runs []shownCheck `json:"check_runs"`
	}
	if err != nil || json.Unmarshal(text, &page) != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return page.Runs
}

// only is the one check run of a commit with a name.
func (w *office) only(t *testing.T, sha, name string) shownCheck {
	t.Helper()
	var found []shownCheck
	for _, c := range w.checks(t, sha) {
		if c.Name == name {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d check runs %s on %s: %+v", len(found), name, sha, w.checks(t, sha))
	}
	if found[0].Conclusion != "neutral" {
		t.Errorf("%s ends %s", name, found[0].Conclusion)
	}
	return found[0]
}

// press presses a button and returns the event that came of it.
func (w *office) press(t *testing.T, login string, check int64, button string) github.Event {
	t.Helper()
	if err := w.repo.Press(login, check, button); err != nil {
		t.Fatal(err)
	}
	list := w.take(t, "check_run", "requested_action")
	if len(list) != 1 {
		t.Fatalf("%d presses came", len(list))
	}
	return list[0]
}

const (
	versionOne = "11111111-1111-4111-8111-111111111111"
	versionTwo = "22222222-2222-4222-8222-222222222222"
)

func TestButtonRollsBack(t *testing.T) {
	w := newOffice(t)
	k := w.desk(t, DeskOptions{})
	tip := w.tip(t, "shops/swicked")
	w.released(t, versionOne, tip, deploy.StateSuccess)
	w.present(t, k, "deployment_status", "created")
	check := w.only(t, tip, "shopfleet release: swicked")
	if check.External != "shopfleet rollback swicked "+versionOne {
		t.Errorf("it is about %q", check.External)
	}
	// Twice is once.
	w.released(t, versionOne, tip, deploy.StateSuccess)
	w.present(t, k, "deployment_status", "created")
	w.only(t, tip, "shopfleet release: swicked")

	e := w.press(t, "bob", check.ID, "rollback")
	o, err := k.Hear(t.Context(), e, "check_run")
	if err != nil || o == nil || o.Verb != "rollback" || o.Shop != "swicked" || o.By != "bob" || o.Comment != 0 || o.about != versionOne {
		t.Fatalf("heard %+v, %v", o, err)
	}
	// Pressed again by somebody else before that is done, and the same delivery once more.
	for _, e := range []github.Event{e, w.press(t, "alice", check.ID, "rollback")} {
		if again, err := k.Hear(t.Context(), e, "check_run"); again != nil || err != nil {
			t.Errorf("heard twice: %+v, %v", again, err)
		}
	}
	if err := k.Carry(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(w.runs()); got != "[rollback swicked for bob]" {
		t.Errorf("ran %s", got)
	}
	check = w.only(t, tip, "shopfleet release: swicked")
	if check.Output.Title != "Roll back, pressed by bob: done" || !strings.Contains(check.Output.Summary, "It went back.") {
		t.Errorf("answered %+v", check.Output)
	}
	if err := w.repo.Press("bob", check.ID, "rollback"); err == nil {
		t.Error("the button is still there")
	}
	if len(w.answers(t, 0)) != 0 {
		t.Error("a comment was written")
	}
	// The verb compares what the button was about with what is live.
	if list := o.moved(versionTwo); len(list) != 1 || !deploy.Findings(list).Blocking() {
		t.Errorf("after another release: %v", list)
	}
	if o.moved(versionOne) != nil || (*Order)(nil).moved(versionTwo) != nil || (&Order{Verb: "rollback"}).moved(versionTwo) != nil {
		t.Error("what was not moved is refused")
	}
}

// What is no press of a button of ours by somebody who may.
func TestButtonForgeries(t *testing.T) {
	w := newOffice(t)
	k := w.desk(t, DeskOptions{})
	tip := w.tip(t, "shops/swicked")
	w.released(t, versionOne, tip, deploy.StateSuccess)
	w.present(t, k, "deployment_status", "created")
	good := w.press(t, "bob", w.only(t, tip, "shopfleet release: swicked").ID, "rollback")
	for name, change := range map[string]func(e *github.Event, c *github.CheckRunEvent){
		"another App":     func(_ *github.Event, c *github.CheckRunEvent) { c.AppID++ },
		"no App":          func(_ *github.Event, c *github.CheckRunEvent) { c.AppID = 0 },
		"run again":       func(e *github.Event, _ *github.CheckRunEvent) { e.Action = "rerequested" },
		"a bot":           func(e *github.Event, _ *github.CheckRunEvent) { e.SenderBot = true },
		"nobody":          func(e *github.Event, _ *github.CheckRunEvent) { e.Sender, e.SenderID = "", 0 },
		"a stranger":      func(e *github.Event, _ *github.CheckRunEvent) { e.Sender, e.SenderID = "mallory", 4711 },
		"a reader":        func(e *github.Event, _ *github.CheckRunEvent) { e.Sender = "rea" },
		"one who triages": func(e *github.Event, _ *github.CheckRunEvent) { e.Sender = "tri" },
		"another button":  func(_ *github.Event, c *github.CheckRunEvent) { c.Requested = "deploy" },
		"no button":       func(_ *github.Event, c *github.CheckRunEvent) { c.Requested = "" },
		"no id":           func(_ *github.Event, c *github.CheckRunEvent) { c.ExternalID = "" },
		"a flag in the id": func(_ *github.Event, c *github.CheckRunEvent) {
			c.ExternalID = "shopfleet rollback --all " + versionOne
		},
		"more in the id":       func(_ *github.Event, c *github.CheckRunEvent) { c.ExternalID += " --restore-data" },
		"a line in the id":     func(_ *github.Event, c *github.CheckRunEvent) { c.ExternalID += "\n" },
		"no shop of the fleet": func(_ *github.Event, c *github.CheckRunEvent) { c.ExternalID = "shopfleet rollback -- " + versionOne },
		"a commit as version":  func(_ *github.Event, c *github.CheckRunEvent) { c.ExternalID = "shopfleet rollback swicked " + tip },
		"another commit": func(_ *github.Event, c *github.CheckRunEvent) {
			c.ExternalID, c.Requested = "shopfleet deploy swicked "+strings.Repeat("a", 40), "deploy"
		},
	} {
		e, c := good, *good.CheckRun
		e.CheckRun = &c
		change(&e, &c)
		if o, err := k.Hear(t.Context(), e, "check_run"); o != nil || err != nil {
			t.Errorf("%s: heard %+v, %v", name, o, err)
		}
	}
	if o, err := k.Hear(t.Context(), good, "check_run"); o == nil || err != nil {
		t.Fatalf("the good one: %+v, %v", o, err)
	} else if err := w.repo.SetPermission("bob", "read"); err != nil {
		t.Fatal(err)
	} else if err := k.Carry(t.Context(), o); err != nil || len(w.runs()) != 0 {
		t.Errorf("who may not any more had %v, %v", w.runs(), err)
	}
	if got := w.only(t, tip, "shopfleet release: swicked").Output.Title; got != "Roll back, pressed by bob: nothing was done" {
		t.Error(got)
	}
}

// A deployment of the journal's task that is none of its entries, and an older one whose word comes late, get no button.
func TestNoButtonForForgedReleases(t *testing.T) {
	w := newOffice(t)
	k := w.desk(t, DeskOptions{})
	tip := w.tip(t, "shops/swicked")
	hub := w.client(t)
	hub.Token = github.Secret(w.token(t))
	x, err := hub.CreateDeployment(t.Context(), github.NewDeployment{
		Ref: tip, Environment: "shop-swicked", Task: journalTask, Key: "x", Production: true,
		Payload: map[string]any{"shopfleet": 1, "release": map[string]string{"shop": "anna", "version_id": versionOne}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := hub.SetDeploymentStatus(t.Context(), x.ID, github.DeploymentStatus{State: "success"}); err != nil {
		t.Fatal(err)
	}
	w.present(t, k, "deployment_status", "created")
	w.released(t, versionOne, tip, deploy.StateSuccess)
	late := w.take(t, "deployment_status", "created")
	w.released(t, versionTwo, tip, deploy.StateInProgress)
	for _, e := range late {
		if err := k.Present(t.Context(), e, "deployment_status"); err != nil {
			t.Fatal(err)
		}
	}
	if list := w.checks(t, tip); len(list) != 0 {
		t.Errorf("there are %+v", list)
	}
}

func TestButtonDeploys(t *testing.T) {
	w := newOffice(t)
	w.flows(t, "main", "shops/swicked")
	k := w.desk(t, DeskOptions{})
	tip := w.tip(t, "shops/swicked")
	w.released(t, versionOne, tip, deploy.StateFailure)
	w.present(t, k, "deployment_status", "created")
	check := w.only(t, tip, "shopfleet deploy: swicked")
	o, err := k.Hear(t.Context(), w.press(t, "bob", check.ID, "deploy"), "check_run")
	if err != nil || o == nil {
		t.Fatal(o, err)
	}
	if err := k.Carry(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got := w.dispatched(); got != "deploy.yml refs/heads/shops/swicked commit="+tip {
		t.Errorf("started %s", got)
	}
	if c := w.only(t, tip, "shopfleet deploy: swicked"); c.Output.Title != "Deploy, pressed by bob: a run was started" || !strings.Contains(c.Output.Summary, "[run](") {
		t.Errorf("answered %+v", c.Output)
	}

	// The next failure, and a push before somebody presses.
	w.released(t, versionTwo, tip, deploy.StateFailure)
	w.present(t, k, "deployment_status", "created")
	o, err = k.Hear(t.Context(), w.press(t, "bob", check.ID, "deploy"), "check_run")
	if err != nil || o == nil {
		t.Fatal(o, err)
	}
	if _, err := w.repo.PushAs("alice", "shops/swicked", "newer", map[string]string{"a.txt": "a\n"}); err != nil {
		t.Fatal(err)
	}
	if err := k.Carry(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if c := w.only(t, tip, "shopfleet deploy: swicked"); c.Output.Title != "Deploy, pressed by bob: nothing was done" || !strings.Contains(c.Output.Summary, "moved since") {
		t.Errorf("answered %+v", c.Output)
	}
	if got := w.dispatched(); strings.Count(got, "deploy.yml") != 1 {
		t.Errorf("started %s", got)
	}
}

// After a rollback the shop is held, and the tip that is not live gets the button.
func TestButtonDeploysAfterRollback(t *testing.T) {
	w := newOffice(t)
	k := w.desk(t, DeskOptions{})
	old := w.tip(t, "shops/swicked")
	tip, err := w.repo.PushAs("alice", "shops/swicked", "newer", map[string]string{"a.txt": "a\n"})
	if err != nil {
		t.Fatal(err)
	}
	w.released(t, versionTwo, tip, deploy.StateSuccess)
	w.present(t, k, "deployment_status", "created")
	// A release of an older commit alone is no reason: the newer one may be on its way.
	w.released(t, "33333333-3333-4333-8333-333333333333", old, deploy.StateSuccess)
	w.present(t, k, "deployment_status", "created")
	if n := len(w.checks(t, tip)); n != 1 {
		t.Errorf("%d check runs on the tip", n)
	}
	c, err := k.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h := &holds{client: w.client(t), now: w.clock}
	if err := c.lend(t.Context(), h, "main"); err != nil {
		t.Fatal(err)
	}
	if _, placed, err := h.place(t.Context(), Hold{Shop: "swicked", Owner: "bob", Reason: "it was bad @all", By: "rollback", State: holdHeld, Created: w.clock()}); err != nil || !placed {
		t.Fatal(placed, err)
	}
	w.released(t, versionOne, old, deploy.StateSuccess)
	w.present(t, k, "deployment_status", "created")
	check := w.only(t, tip, "shopfleet deploy: swicked")
	if !strings.Contains(check.Output.Summary, "held by `bob`") || check.External != "shopfleet deploy swicked "+tip {
		t.Errorf("it says %+v", check)
	}
	w.only(t, old, "shopfleet release: swicked")
}

// Landing does not wait for buttons, is not stopped by them, and does not take them for a release.
func TestButtonsAreNoChecks(t *testing.T) {
	w := newOffice(t)
	k := w.desk(t, DeskOptions{})
	tip := w.tip(t, "shops/swicked")
	own, err := k.as(t.Context(), toPresent())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range allButtons() {
		run := b.check("swicked", tip, tip, "x", "y", true)
		if _, err := own.PutCheckRun(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		if !isButton(run.Name) {
			t.Errorf("%s is no button", run.Name)
		}
	}
	hub := w.client(t)
	token, err := w.repo.ActionsToken(map[string]string{"checks": "read", "statuses": "read", "deployments": "read", "contents": "read"})
	if err != nil {
		t.Fatal(err)
	}
	hub.Token = github.Secret(token)
	r := &rebasing{hub: hub, all: []rebase.Branch{{Shop: w.shop(t)}}, c: &checkout{policy: k.rules(), main: tip}, backups: map[string]time.Time{"swicked": w.clock().Add(-time.Hour)}}
	m := &rebase.Move{Slug: "swicked", From: tip, To: tip}
	if got, err := r.release(t.Context(), m); err != nil || got.State != rebase.NoRelease {
		t.Errorf("released: %+v, %v", got, err)
	}
	for _, wanted := range [][]string{{"shopfleet land: {slug}"}, {"shopfleet release: swicked"}} {
		r.c.policy.Rebase.Checks = wanted
		if got, err := r.checks(t.Context(), m); err != nil || got != rebase.ChecksPending {
			t.Errorf("waiting for %v: %v, %v", wanted, got, err)
		}
	}
	r.c.policy.Rebase.Checks = nil
	if got, err := r.checks(t.Context(), m); err != nil || got != rebase.ChecksPassed {
		t.Errorf("waiting for none: %v, %v", got, err)
	}
	if isButton("shopfleet plan: swicked") || isButton(planCheck("swicked")) {
		t.Error("the plan is taken for a button")
	}
}

func TestButtonLands(t *testing.T) {
	w := newOffice(t)
	k := w.desk(t, DeskOptions{})
	head, err := w.repo.Commit("rebase/swicked", "rebased", map[string]string{"new.txt": "x\n"})
	if err != nil {
		t.Fatal(err)
	}
	w.take(t, "pull_request", "opened")
	number, err := w.repo.OpenPull("alice", "rebase/swicked", "shops/swicked", "rebase", "")
	if err != nil {
		t.Fatal(err)
	}
	w.present(t, k, "pull_request", "opened")
	check := w.only(t, head, "shopfleet land: swicked")
	e := w.press(t, "bob", check.ID, "land")
	o, err := k.Hear(t.Context(), e, "check_run")
	if err != nil || o == nil || o.Issue != number || o.Head != head || o.about != head {
		t.Fatalf("heard %+v, %v", o, err)
	}
	if err := k.Carry(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(w.runs()); got != "[land for bob]" {
		t.Errorf("ran %s", got)
	}
	// The event of an order by a button is no comment's.
	if kind, _ := (&Door{order: o}).event(); kind != "check_run" {
		t.Errorf("the event is %s", kind)
	}

	// Pressed on the old head, before it was heard and after.
	o, err = k.Hear(t.Context(), e, "check_run")
	if err != nil || o == nil {
		t.Fatal(o, err)
	}
	if _, err := w.repo.PushAs("alice", "rebase/swicked", "newer", map[string]string{"a.txt": "a\n"}); err != nil {
		t.Fatal(err)
	}
	if err := k.Carry(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	o, err = k.Hear(t.Context(), e, "check_run")
	if err != nil || o == nil {
		t.Fatal(o, err)
	}
	if err := k.Carry(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got := len(w.runs()); got != 1 {
		t.Errorf("ran %v", w.runs())
	}
	if c := w.only(t, head, "shopfleet land: swicked"); !strings.HasSuffix(c.Output.Title, "nothing was done") {
		t.Errorf("answered %+v", c.Output)
	}
	// The new head has its own.
	w.present(t, k, "pull_request", "synchronize")
	w.only(t, w.tip(t, "rebase/swicked"), "shopfleet land: swicked")

	// No other pull request has one.
	if _, err := w.repo.OpenPull("alice", "rebase/swicked", "main", "a trap", ""); err != nil {
		t.Fatal(err)
	}
	w.present(t, k, "pull_request", "opened")
	if n := len(w.checks(t, w.tip(t, "rebase/swicked"))); n != 1 {
		t.Errorf("%d check runs", n)
	}
}

// flows puts the workflows that init writes on branches.
func (w *office) flows(t *testing.T, branches ...string) {
	t.Helper()
	_, files := workflows(t)
	at := map[string]string{}
	for name, text := range files {
		at[workflowDir+name] = string(text)
	}
	for _, b := range branches {
		if _, err := w.repo.Commit(b, "workflows", at); err != nil {
			t.Fatal(err)
		}
	}
}

// dispatched are the runs that were started by dispatch, with the inputs that are not as they are by default.
func (w *office) dispatched() string {
	var out []string
	for _, r := range w.repo.Runs() {
		if r.Event != "workflow_dispatch" {
			continue
		}
		line := strings.TrimPrefix(r.File, workflowDir) + " " + r.Ref
		for _, name := range sortedKeys(r.Inputs) {
			if v := r.Inputs[name]; v != "" && v != "false" {
				line += " " + name + "=" + v
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "; ")
}

func TestDispatch(t *testing.T) {
	w := newOffice(t)
	w.flows(t, "main", "shops/swicked")
	k := w.desk(t, DeskOptions{})
	tip := w.tip(t, "shops/swicked")
	var want []string
	for _, x := range []struct{ say, started string }{
		{"/deploy", "deploy.yml refs/heads/shops/swicked commit=" + tip},
		{"/plan swicked", "deploy.yml refs/heads/shops/swicked commit=" + tip + " dry-run=true"},
		{"/audit", "audit.yml refs/heads/main"},
		{"/rebase", "rebase.yml refs/heads/main shops=swicked"},
		{"/rebase anna swicked", "rebase.yml refs/heads/main shops=anna swicked"},
	} {
		id, e := w.says(t, "bob", w.pull, x.say)
		w.do(t, k, e)
		want = append(want, x.started)
		if got := w.dispatched(); got != strings.Join(want, "; ") {
			t.Fatalf("%s started %s, want %s", x.say, got, x.started)
		}
		body, outcome := w.answer(t, id)
		if outcome != outcomeWaiting || !strings.Contains(body, "[run](http") {
			t.Errorf("%s is answered %s", x.say, body)
		}
	}
}

func TestDispatchGoesWrong(t *testing.T) {
	w := newOffice(t)
	k := w.desk(t, DeskOptions{})
	say := func(what string) (body, outcome string) {
		t.Helper()
		id, e := w.says(t, "bob", w.pull, what)
		w.do(t, k, e)
		return w.answer(t, id)
	}
	if body, outcome := say("/deploy"); outcome != outcomeRefused || !strings.Contains(body, "`shopfleet init` writes it") {
		t.Errorf("without a workflow: %s", body)
	}
	w.flows(t, "main", "shops/swicked")

	// An answer that is lost: it is not sent again, and nothing is claimed of it.
	if _, err := w.Fault(sim.Rule{Method: "POST", Path: "/dispatches$", Cut: true}); err != nil {
		t.Fatal(err)
	}
	body, outcome := say("/deploy")
	if outcome != outcomeFailed || !strings.Contains(body, "not known whether") || !strings.Contains(body, "(https://github.com/acme/helm/actions/workflows/deploy.yml)") {
		t.Errorf("a lost answer: %s", body)
	}
	if got := w.dispatched(); strings.Count(got, "deploy.yml") != 1 {
		t.Errorf("started %s", got)
	}
	if _, err := w.Fault(sim.Rule{Method: "POST", Path: "/dispatches$", Status: 403, Body: `{"message":"Resource not accessible by integration"}`}); err != nil {
		t.Fatal(err)
	}
	if body, outcome := say("/audit"); outcome != outcomeFailed || !strings.Contains(body, "`actions: write`") {
		t.Errorf("an App that may not: %s", body)
	}
	if _, err := w.Fault(sim.Rule{Method: "POST", Path: "/dispatches$", Status: 422, Body: `{"message":"Cannot trigger a 'workflow_dispatch' on a disabled workflow"}`}); err != nil {
		t.Fatal(err)
	}
	if body, outcome := say("/audit"); outcome != outcomeRefused || !strings.Contains(body, "may be disabled") {
		t.Errorf("one that is disabled: %s", body)
	}

	// A branch whose deploy.yml is from before the input.
	_, files := workflows(t)
	old := strings.ReplaceAll(string(files["deploy.yml"]), "      commit: ${{ inputs.commit }}\n", "")
	from := strings.Index(old, "      commit:\n")
	old = old[:from] + old[strings.Index(old, "\n# No job"):]
	if _, err := w.repo.Commit("shops/swicked", "older", map[string]string{workflowDir + "deploy.yml": old}); err != nil {
		t.Fatal(err)
	}
	if body, outcome := say("/deploy"); outcome != outcomeWaiting || !strings.Contains(body, "older than the input") {
		t.Errorf("an older branch: %s", body)
	}
	if got := w.dispatched(); strings.Count(got, "deploy.yml") != 2 {
		t.Errorf("started %s", got)
	}
}

// A pull request whose head is the shop's branch: what is deployed is that head or nothing.
func TestDispatchAfterPush(t *testing.T) {
	w := newOffice(t)
	w.flows(t, "main", "shops/swicked")
	k := w.desk(t, DeskOptions{})
	number, err := w.repo.OpenPull("alice", "shops/swicked", "main", "to main", "")
	if err != nil {
		t.Fatal(err)
	}
	id, e := w.says(t, "bob", number, "/deploy")
	o, err := k.Hear(t.Context(), e, "issue_comment")
	if err != nil || o == nil {
		t.Fatal(o, err)
	}
	if _, err := w.repo.PushAs("alice", "shops/swicked", "newer", map[string]string{"a.txt": "a\n"}); err != nil {
		t.Fatal(err)
	}
	// Past the look of the desk at the pull request, the push comes before the dispatch.
	page, err := k.dispatch(t.Context(), o)
	if err == nil && o.outcome != outcomeRefused {
		t.Errorf("%s: %s", o.outcome, page)
	}
	if err := k.Carry(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if body, outcome := w.answer(t, id); outcome != outcomeRefused || !strings.Contains(body, "moved since") {
		t.Errorf("answered %s", body)
	}
	if got := w.dispatched(); got != "" {
		t.Errorf("started %s", got)
	}
}
