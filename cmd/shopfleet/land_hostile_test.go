package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/git"
)

// edited runs the step that an edit of the fleet's issue starts.
func (w *carried) edited(login string, number int, body string, changes map[string]any) ran {
	w.t.Helper()
	return w.step("issues", map[string]any{
		"action": "edited", "issue": map[string]any{"number": number, "body": body}, "changes": changes, "sender": map[string]any{"login": login, "type": "User"},
	})
}

func ticked(body, slug string) string {
	return strings.Replace(body, "- [ ] land `"+slug+"`", "- [x] land `"+slug+"`", 1)
}

// A box is whose edit ticked it, although others edited the issue before the run began, and although the sender edited
// something else.
func TestLandByBoxOfOthers(t *testing.T) {
	w := newLanding(t, "anna", "bert")
	reader := w.person("reader", "triage")
	number, _, body := w.fleetIssue()
	before := w.refs()

	byOperator := ticked(body, "bert")
	byBoth := ticked(byOperator, "anna")
	w.api(hubToken, "PATCH", fmt.Sprintf("/issues/%d", number), map[string]any{"body": byOperator}, nil)
	w.api(reader, "PATCH", fmt.Sprintf("/issues/%d", number), map[string]any{"body": byBoth}, nil)
	w.edited(hubOperator, number, byOperator, map[string]any{"body": map[string]any{"from": body}})
	after := w.refs()
	if after["shops/anna"] != before["shops/anna"] || after["shops/bert"] == before["shops/bert"] {
		t.Error("a box that was ticked later counted as the operator's, or the operator's did not")
	}
	w.edited(hubOperator, number, byBoth, map[string]any{"title": map[string]any{"from": "x"}})
	if w.refs()["shops/anna"] != before["shops/anna"] {
		t.Error("an edit of the title ticked a box")
	}
}

// Pull requests that strangers can open keep no shop from landing: of a branch that is no shop's by the policy, and from one
// whose name we do not take.
func TestLandAmongStrangePulls(t *testing.T) {
	w := newLanding(t, "anna")
	for _, branch := range []string{"shops/Bad_Name", "rebase/Bad_Name", "left\u202eright"} {
		w.commit(branch, "main", map[string]string{"x.txt": "x"})
	}
	for _, p := range [][2]string{{"rebase/Bad_Name", "shops/Bad_Name"}, {"left\u202eright", "shops/anna"}} {
		if status := w.api(hubToken, "POST", "/pulls", map[string]any{"title": "t", "head": p[0], "base": p[1]}, nil); status != 201 {
			t.Fatalf("opening a pull request from %q: %d", p[0], status)
		}
	}
	r := w.run("land", "anna")
	if !w.has("shops/anna", w.refs()["main"]) {
		t.Errorf("anna did not land: %v", r)
	}
}

// A label that was there before in another spelling is the same label.
func TestHeldInCapitals(t *testing.T) {
	w := newLanding(t, "anna")
	w.api(hubToken, "POST", fmt.Sprintf("/issues/%d/labels", w.pull("anna").Number), map[string]any{"labels": []string{"Hold"}}, nil)
	if r := w.run("land", "anna"); r.code != 1 || !strings.Contains(r.out, "it has the label") {
		t.Errorf("got %v", r)
	}
}

// The beginning of an id that fits what the page shows does not agree to another commit that was made to begin the same.
func TestLandShortID(t *testing.T) {
	w := newLanding(t, "anna")
	p := w.pull("anna")
	w.people("rebase/anna", map[string]string{"shop-overrides/evil.txt": "x"})
	head, before := w.refs()["rebase/anna"], w.refs()["shops/anna"]
	// As if the ids began the same: the page says so.
	shown := head[:8] + strings.Repeat("0", 32)
	w.api(hubToken, "PATCH", fmt.Sprintf("/pulls/%d", p.Number), map[string]any{"body": "<!-- shopfleet:shown " + shown + " -->\n"}, nil)
	w.comment(hubToken, hubOperator, p.Number, true, "/land "+head[:7])
	if w.refs()["shops/anna"] != before {
		t.Error("a commit landed that the page did not show")
	}
	w.comment(hubToken, hubOperator, p.Number, true, "/land "+head[:12])
	if w.refs()["shops/anna"] == before {
		t.Errorf("the commit that was named did not land: %s", w.comments(p.Number))
	}
}

// status gives a commit a status.
func (w *carried) status(sha, name, state string) {
	w.t.Helper()
	if code := w.api(hubToken, "POST", "/statuses/"+sha, map[string]any{"context": name, "state": state}, nil); code != 201 {
		w.t.Fatalf("the status of %s: %d", sha, code)
	}
}

// What lands without a pull request does not land when a check of it failed.
func TestLandSilentlyWithFailedCheck(t *testing.T) {
	w := newCarried(t, "rebase:\n  land: silent\n  waves: { percent: [] }\n", "anna", "bert")
	w.main(map[string]string{"src/index.ts": "export default { fetch: () => new Response('2') }\n"})
	w.must("rebase")
	before := w.refs()
	w.status(before["rebase/anna"], "tests", "failure")
	w.must("land")
	if r := w.run("land", "anna", "--unchecked"); r.code != 1 || !strings.Contains(r.out, "a check failed") {
		t.Errorf("by name: %v", r)
	}
	after := w.refs()
	if after["shops/anna"] != before["shops/anna"] || after["shops/bert"] == before["shops/bert"] {
		t.Errorf("got %v, before %v", after, before)
	}
}

// The check that let a canary land does not say that its deploy went well.
func TestNoWaveBeforeRelease(t *testing.T) {
	w := newCarried(t, "rebase:\n  land: green\n  checks: [tests]\n  waves: { canaries: [anna], percent: [], bake: 0s }\n", "anna", "bert")
	w.main(map[string]string{"src/index.ts": "export default { fetch: () => new Response('2') }\n"})
	w.must("rebase")
	before := w.refs()
	w.status(before["rebase/anna"], "tests", "success")
	w.status(before["rebase/bert"], "tests", "success")
	w.must("land")
	if w.refs()["shops/anna"] == before["shops/anna"] {
		t.Fatal("the canary did not land")
	}
	for range 2 {
		w.must("land")
	}
	if w.refs()["shops/bert"] != before["shops/bert"] {
		t.Error("the next wave landed, and nothing is known of the canary's release")
	}
	w.status(w.refs()["shops/anna"], "deploy", "success")
	w.must("land")
	if w.refs()["shops/bert"] == before["shops/bert"] {
		t.Error("the next wave did not land after the canary's release")
	}
}

// Main was made on a machine whose clock is ahead. What people say now counts all the same, and so does what landed.
func TestLandWithClockAhead(t *testing.T) {
	w := newCarried(t, "rebase:\n  land: green\n  checks: []\n  waves: { canaries: [anna], percent: [], bake: 0s }\n", "anna", "bert")
	if _, err := w.on.Write(t.Context(), git.Draft{
		Branch: "main", Message: "ahead\n", When: time.Now().AddDate(1, 0, 0).Truncate(time.Second), Files: map[string][]byte{"public/index.html": []byte("four\n")},
	}); err != nil {
		t.Fatal(err)
	}
	w.must("rebase")
	before := w.refs()
	for _, slug := range []string{"anna", "bert"} {
		w.api(hubToken, "POST", fmt.Sprintf("/issues/%d/labels", w.pull(slug).Number), map[string]any{"labels": []string{"hold"}}, nil)
	}
	w.must("land")
	number, _, _ := w.fleetIssue()
	say := func(word string) {
		w.api(hubToken, "POST", fmt.Sprintf("/issues/%d/comments", number), map[string]any{"body": word}, nil)
	}
	say("/pause")
	for _, slug := range []string{"anna", "bert"} {
		w.api(hubToken, "DELETE", fmt.Sprintf("/issues/%d/labels/hold", w.pull(slug).Number), nil, nil)
	}
	w.must("land")
	if w.refs()["shops/anna"] != before["shops/anna"] {
		t.Fatal("a shop landed after /pause")
	}
	time.Sleep(1100 * time.Millisecond) // GitHub's times have seconds
	say("/resume")
	for range 3 {
		w.must("land")
	}
	after := w.refs()
	if after["shops/anna"] == before["shops/anna"] || after["shops/bert"] != before["shops/bert"] {
		t.Errorf("after /resume: %v, before %v", after, before)
	}
}

// Branches that git cannot make beside others that are there. People may push those; they keep back one shop, and not the fleet.
func TestOneShopThatCannotBePushed(t *testing.T) {
	w := newCarried(t, "rebase:\n  land: green\n  checks: []\n  waves: { canaries: [anna], percent: [] }\n", "anna", "bert", "cleo")
	w.commit("rebase/cleo/x", "main", map[string]string{"x": "x"})
	w.main(map[string]string{"src/index.ts": "export default { fetch: () => new Response('2') }\n"})
	if r := w.run("rebase"); r.code == 0 || !strings.Contains(r.out, "cleo") {
		t.Errorf("rebase: %v", r)
	}
	before := w.refs()
	if before["rebase/anna"] == "" || before["rebase/bert"] == "" || w.pull("bert").Number == 0 {
		t.Fatalf("the other shops were not carried: %v", before)
	}
	w.commit("backup/anna", "main", map[string]string{"x": "x"})
	if r := w.run("land"); r.code == 0 || !strings.Contains(r.out, "anna") {
		t.Errorf("land: %v", r)
	}
	after := w.refs()
	if after["shops/anna"] != before["shops/anna"] || after["shops/bert"] == before["shops/bert"] {
		t.Errorf("got %v, before %v", after, before)
	}
}

// The ref of a resolution that somebody put in the way does not keep the shop from landing.
func TestLandWithoutLesson(t *testing.T) {
	w := newCarried(t, "rebase:\n  land: manual\n  checks: []\noverlay: [\"shop-overrides/**\"]\n", "anna")
	w.people("shops/anna", map[string]string{"shop-overrides/x": "anna\n"})
	w.main(map[string]string{"shop-overrides/x": "main\n"})
	w.must("rebase")
	w.people("rebase/anna", map[string]string{"shop-overrides/x": "both\n"})
	w.git(w.repo.Dir, "update-ref", "refs/shopfleet/resolutions", "refs/heads/main")
	w.must("land", "anna")
	if text := w.git(w.repo.Dir, "show", "shops/anna:shop-overrides/x"); text != "both" {
		t.Errorf("landed %q", text)
	}
}

// One shop was carried onto a newer main, by a run for it alone or by somebody's merge. The round of the others goes on, and
// that shop lands when somebody says so.
func TestOneShopOnNewerMain(t *testing.T) {
	for _, byHand := range []bool{false, true} {
		w := newCarried(t, "rebase:\n  land: green\n  checks: []\n  waves: { percent: [] }\n", "anna", "bert", "cleo")
		w.main(map[string]string{"src/index.ts": "export default { fetch: () => new Response('2') }\n"})
		w.asApp(rebaseApp("workflows"))
		w.must("rebase")
		older := w.refs()["main"]
		w.main(map[string]string{"src/index.ts": "export default { fetch: () => new Response('3') }\n"})
		if byHand {
			w.git(w.dir, "fetch", "--quiet", "origin")
			w.git(w.dir, "checkout", "--quiet", "--detach", "origin/rebase/anna")
			w.git(w.dir, "merge", "--quiet", "--no-edit", "origin/main")
			w.git(w.dir, "push", "--quiet", "origin", "HEAD:refs/heads/rebase/anna")
		} else {
			w.must("rebase", "anna")
		}
		before := w.refs()
		if r := w.step("schedule", map[string]any{}); r.code != 0 {
			t.Errorf("by hand %v: %v", byHand, r)
		}
		after := w.refs()
		if after["shops/anna"] != before["shops/anna"] || !w.has("shops/bert", older) || !w.has("shops/cleo", older) {
			t.Errorf("by hand %v: got %v, before %v", byHand, after, before)
		}
		if byHand {
			continue
		}
		number := w.pull("anna").Number
		w.comment(hubToken, hubOperator, number, true, "/land")
		if !w.has("shops/anna", after["main"]) {
			t.Errorf("it did not land when somebody said so: %s", w.comments(number))
		}
		if r := w.step("schedule", map[string]any{}); r.code != 0 || w.refs()["shops/anna"] != before["rebase/anna"] {
			t.Errorf("the tick after that: %v", r)
		}
	}
}

// While the round is paused, a word about one shop is noted, and the shop lands after /resume. Who takes the note away takes
// the word back, and the label alone does not bring it again.
func TestLandWhilePaused(t *testing.T) {
	w := newLanding(t, "anna", "bert")
	before := w.refs()
	number, _, _ := w.fleetIssue()
	w.comment(hubToken, hubOperator, number, false, "/pause")
	for _, slug := range []string{"anna", "bert"} {
		p := w.pull(slug)
		w.comment(hubToken, hubOperator, p.Number, true, "/land")
		if w.refs()["shops/"+slug] != before["shops/"+slug] || !strings.Contains(w.comments(p.Number), "/resume") {
			t.Fatalf("%s landed while the round was paused: %s", slug, w.comments(p.Number))
		}
	}
	var list []struct {
		ID   int64
		Body string
	}
	w.api(hubToken, "GET", fmt.Sprintf("/issues/%d/comments", w.pull("bert").Number), nil, &list)
	for _, k := range list {
		if strings.HasPrefix(k.Body, "<!-- shopfleet:approval -->") {
			w.api(hubToken, "DELETE", fmt.Sprintf("/issues/comments/%d", k.ID), nil, nil)
		}
	}
	time.Sleep(1100 * time.Millisecond) // GitHub's times have seconds
	w.comment(hubToken, hubOperator, number, false, "/resume")
	if r := w.step("schedule", map[string]any{}); r.code != 0 {
		t.Fatal(r)
	}
	after := w.refs()
	if after["shops/anna"] == before["shops/anna"] || after["shops/bert"] != before["shops/bert"] {
		t.Errorf("after /resume: %v, before %v", after, before)
	}
}

// A landing tells other pull requests to the same branch, and not as many as strangers like to open.
func TestLandTellsFew(t *testing.T) {
	w := newLanding(t, "anna")
	const many = 14
	for i := range many {
		branch := fmt.Sprintf("topic-%d", i)
		w.commit(branch, "main", map[string]string{"x.txt": branch})
		if status := w.api(hubToken, "POST", "/pulls", map[string]any{"title": "t", "head": branch, "base": "shops/anna"}, nil); status != 201 {
			t.Fatal(status)
		}
	}
	w.must("land", "anna")
	told := 0
	for _, p := range w.pulls() {
		if strings.HasPrefix(p.Head.Ref, "topic-") && strings.Contains(w.comments(p.Number), "was carried onto a new main") {
			told++
		}
	}
	if told == 0 || told > 10 {
		t.Errorf("%d of %d pull requests were told", told, many)
	}
}

// People who may not push are answered in one comment, however often they ask.
func TestStrangersGetOneAnswer(t *testing.T) {
	w := newLanding(t, "anna")
	number := w.pull("anna").Number
	for _, login := range []string{"reader", "other"} {
		token := w.person(login, "triage")
		for range 2 {
			w.comment(token, login, number, true, "/land")
		}
	}
	if text := w.comments(number); strings.Count(text, "may not push") != 1 || !strings.Contains(text, "`other`") {
		t.Errorf("the answers are\n%s", text)
	}
}
