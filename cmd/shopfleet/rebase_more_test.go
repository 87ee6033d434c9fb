package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
	simgithub "github.com/kvick/shopfleet/internal/sim/github"
)

// released writes into the journal what became of a shop's release of what its branch has now.
func (w *carried) released(slug string, state deploy.ReleaseState, text string) {
	w.t.Helper()
	refs := w.refs()
	r := deploy.Release{
		Shop: slug, Worker: "helm-" + slug, Commit: refs["shops/"+slug], Main: w.git(w.repo.Dir, "merge-base", refs["main"], refs["shops/"+slug]),
		VersionID: "v-" + slug + refs["shops/"+slug][:8],
	}
	var made struct{ ID int64 }
	status := w.api(hubToken, "POST", "/deployments", map[string]any{
		"ref": r.Commit, "environment": "shop-" + slug, "task": "shopfleet", "auto_merge": false, "required_contexts": []string{},
		"payload": map[string]any{"shopfleet": 1, "release": r, "key": r.Key()},
	}, &made)
	if status != 201 {
		w.t.Fatalf("the journal answers %d", status)
	}
	w.standing(made.ID, state, text)
}

func (w *carried) standing(id int64, state deploy.ReleaseState, text string) {
	w.t.Helper()
	if status := w.api(hubToken, "POST", fmt.Sprintf("/deployments/%d/statuses", id), map[string]any{"state": string(state), "description": text}, nil); status != 201 {
		w.t.Fatalf("a status is answered with %d", status)
	}
}

// fleetIssue is the fleet's one issue, open or not.
func (w *carried) fleetIssue() (number int, title, body string) {
	w.t.Helper()
	var list []struct {
		Number      int
		Title, Body string
		Pull        *struct{} `json:"pull_request"`
	}
	w.api(hubToken, "GET", "/issues?state=all&per_page=100", nil, &list)
	for _, i := range list {
		if i.Pull == nil {
			if number != 0 {
				w.t.Fatal("there is more than one issue")
			}
			number, title, body = i.Number, i.Title, i.Body
		}
	}
	return number, title, body
}

// onMain are the shops whose branches have a commit of main in them.
func (w *carried) onMain(commit string, slugs ...string) string {
	w.t.Helper()
	var on []string
	for _, slug := range slugs {
		if w.has("shops/"+slug, commit) {
			on = append(on, slug)
		}
	}
	return strings.Join(on, " ")
}

// A round from the first canary to the last shop: what the journal says opens the next wave or stops all, and so do people.
func TestWavesByJournal(t *testing.T) {
	slugs := []string{"anna", "bert", "cleo", "dora"}
	w := newCarried(t, "rebase:\n  checks: []\n  waves:\n    canaries: [anna]\n    percent: [50]\n    bake: 3s\n", slugs...)
	main := w.main(map[string]string{"src/index.ts": "export default { fetch: () => new Response('2') }\n"})
	w.asApp(rebaseApp("workflows"))
	w.must("rebase")
	tick := func(what, want string) ran {
		t.Helper()
		r := w.step("schedule", map[string]any{})
		if r.code != 0 {
			t.Fatalf("%s: %v", what, r)
		}
		if on := w.onMain(main, slugs...); on != want {
			_, title, body := w.fleetIssue()
			t.Fatalf("%s: on main are %q, want %q\n%s\n%s\n%v", what, on, want, title, body, r)
		}
		return r
	}
	tick("the first tick", "anna")
	w.hub.ForgetRequests()
	tick("nothing is known of the release", "anna")
	for _, r := range w.hub.Requests() {
		if r.Method != "GET" && !strings.Contains(r.Path, "access_tokens") && !strings.Contains(r.Path, "git-upload-pack") && !strings.HasSuffix(r.Path, "/graphql") {
			t.Errorf("a tick that changes nothing sends %s %s", r.Method, r.Path)
		}
	}
	w.released("anna", deploy.StateInProgress, "it takes traffic")
	tick("the release is under way", "anna")
	w.released("anna", deploy.StateInProgress, "again")

	// The canary fails: everything stops, and the issue says why.
	var list []struct{ ID int64 }
	w.api(hubToken, "GET", "/deployments?environment=shop-anna", nil, &list)
	w.standing(list[len(list)-1].ID, deploy.StateFailure, "the gate answered 500")
	tick("the canary failed", "anna")
	number, title, body := w.fleetIssue()
	if !strings.Contains(title, "stopped") || !strings.Contains(body, "1 release failed: anna") || !strings.Contains(body, "the gate answered 500") {
		t.Errorf("of the failure the issue says\n%s\n%s", title, body)
	}
	time.Sleep(1100 * time.Millisecond) // comments have seconds; one of the same second as the failure is not after it
	w.comment(w.person("reader", "triage"), "reader", number, false, "/resume")
	tick("a /resume of somebody who may not push", "anna")

	// It was not main's fault.
	w.comment(hubToken, hubOperator, number, false, "/resume\n\nThe shop's own cron was at fault.")
	on := strings.Fields(w.onMain(main, slugs...))
	if len(on) != 2 {
		t.Fatalf("after /resume %q are on main", on)
	}
	second := on[1]
	var left []string
	for _, slug := range slugs[1:] {
		if slug != second {
			left = append(left, slug)
		}
	}

	// The second wave passes, bakes, and then somebody pauses.
	began := time.Now()
	w.released(second, deploy.StateSuccess, "good")
	tick("the second wave bakes", strings.Join(on, " "))
	if _, _, body := w.fleetIssue(); !strings.Contains(body, "bake time") && time.Since(began) < 2*time.Second {
		t.Errorf("of the bake time the issue says\n%s", body)
	}
	w.comment(hubToken, hubOperator, number, false, "/pause")
	time.Sleep(time.Until(began.Add(4500 * time.Millisecond)))
	tick("paused", strings.Join(on, " "))
	if _, title, body := w.fleetIssue(); !strings.Contains(title, "paused") || !strings.Contains(body, "**Paused** by `"+hubOperator+"`") {
		t.Errorf("of the pause the issue says\n%s\n%s", title, body)
	}
	w.comment(hubToken, hubOperator, number, false, "/skip "+left[0])
	tick("paused, and one is skipped", strings.Join(on, " "))
	w.comment(hubToken, hubOperator, number, false, "/resume")
	want := append(slices.Clone(on), left[1])
	slices.Sort(want)
	tick("resumed", strings.Join(want, " "))
	w.released(left[1], deploy.StateSuccess, "good")

	// The canary is repaired by a commit of the shop's own, and the round is done: the issue is closed.
	w.people("shops/anna", map[string]string{"shop-overrides/copy.txt": "repaired\n"})
	w.released("anna", deploy.StateSuccess, "good")
	r := tick("the last", strings.Join(want, " "))
	if !strings.Contains(r.out, "every shop is on main and well, or was skipped") {
		t.Errorf("the last tick says %v", r)
	}
	var issue struct{ State string }
	if w.api(hubToken, "GET", fmt.Sprintf("/issues/%d", number), nil, &issue); issue.State != "closed" {
		t.Errorf("the issue is %s when all is done", issue.State)
	}
}

// In the merging style the ordinary button is right: the branch only goes forward, nothing is healed afterwards, and week
// after week the shop's own commits are what is ahead.
func TestMergingButton(t *testing.T) {
	w := newCarried(t, "rebase:\n  style: merging\n  checks: []\n", "anna", "bert")
	for week := 2; week < 5; week++ {
		main := w.main(map[string]string{"src/index.ts": fmt.Sprintf("export default { fetch: () => new Response('%d') }\n", week)})
		before := w.refs()
		w.must("rebase")
		p := w.pull("anna")
		if !strings.Contains(p.Body, "merge") {
			t.Errorf("the page does not speak of the merge button:\n%s", p.Body)
		}
		if status := w.api(hubToken, "PUT", fmt.Sprintf("/pulls/%d/merge", p.Number), map[string]any{"merge_method": "merge"}, nil); status != 200 {
			t.Fatalf("week %d: the button answers %d", week, status)
		}
		w.must("land", "bert")
		for _, slug := range []string{"anna", "bert"} {
			branch := "shops/" + slug
			if !w.has(branch, main) || !w.has(branch, before[branch]) {
				t.Fatalf("week %d: %s did not go forward to main", week, slug)
			}
			if changed := w.git(w.repo.Dir, "diff", "--name-only", main, branch); changed != "shop-overrides/copy.txt\nwrangler.jsonc" {
				t.Errorf("week %d: %s differs from main in %q", week, slug, changed)
			}
		}
		at := w.refs()
		r := w.must("rebase", "--json") // which finds nothing to do
		if after := w.refs(); after["shops/anna"] != at["shops/anna"] || after["rebase/anna"] != "" || after["rebase/bert"] != "" {
			t.Errorf("week %d: after the landing a rebase makes %v of %v\n%v", week, after, at, r)
		}
		for _, p := range w.pulls() {
			if p.State == "open" {
				t.Errorf("week %d: pull request %d is still open", week, p.Number)
			}
		}
	}
}

// Several shops have one conflict. It is resolved on one, lands there, and is put into the others: offered or applied, by
// policy. A shop with another conflict in the same file keeps it.
func TestResolvedOnce(t *testing.T) {
	for _, replay := range []string{"offer", "apply"} {
		t.Run(replay, func(t *testing.T) {
			slugs := []string{"anna", "bert", "cleo", "dora"}
			w := newCarried(t, "rebase:\n  checks: []\n  replay: "+replay+"\n  waves:\n    percent: []\n", slugs...)
			w.main(map[string]string{"shop-overrides/greeting.txt": "hello\n"})
			w.must("rebase")
			w.must(append([]string{"land"}, slugs...)...)
			for _, slug := range slugs {
				text := "moin\n"
				if slug == "dora" {
					text = "servus\n"
				}
				w.commit("shops/"+slug, "", map[string]string{"shop-overrides/greeting.txt": text})
			}
			w.must("rebase")
			main := w.main(map[string]string{"shop-overrides/greeting.txt": "good day\n"})
			w.must("rebase")
			_, _, body := w.fleetIssue()
			if !strings.Contains(body, "**One decision, 3 shops**") || strings.Contains(body, "- [ ]") {
				t.Errorf("the issue says\n%s", body)
			}
			for _, slug := range slugs {
				if r := w.run("land", slug, "--unchecked"); r.code != 1 || !strings.Contains(r.out, "conflicts are not resolved") {
					t.Fatalf("%s with a conflict: %v", slug, r)
				}
			}
			resolved := w.people("rebase/bert", map[string]string{"shop-overrides/greeting.txt": "good day, moin\n"})
			w.must("rebase")
			if w.refs()["rebase/bert"] != resolved {
				t.Fatal("what a person pushed was replaced")
			}
			if text := w.git(w.repo.Dir, "show", "rebase/anna:shop-overrides/greeting.txt"); !strings.Contains(text, "<<<<<<<") {
				t.Errorf("before it landed the resolution is on another shop: %q", text)
			}
			w.must("land", "bert")
			w.must("rebase")
			w.must("land")
			want := "bert"
			if replay == "apply" {
				want = "anna bert cleo"
			}
			if on := w.onMain(main, slugs...); on != want {
				_, _, body := w.fleetIssue()
				t.Fatalf("on main are %q, want %q\n%s", on, want, body)
			}
			for _, slug := range []string{"anna", "cleo"} {
				branch := "rebase/" + slug
				if replay == "apply" {
					branch = "shops/" + slug
				} else if body := w.pull(slug).Body; !strings.Contains(body, "bert") {
					t.Errorf("the page of %s does not say where it was resolved:\n%s", slug, body)
				}
				if text := w.git(w.repo.Dir, "show", branch+":shop-overrides/greeting.txt"); text != "good day, moin" {
					t.Errorf("%s has %q", branch, text)
				}
				if own := w.git(w.repo.Dir, "show", branch+":shop-overrides/copy.txt"); own != slug {
					t.Errorf("%s has the copy of %q", branch, own)
				}
			}
			if text := w.git(w.repo.Dir, "show", "rebase/dora:shop-overrides/greeting.txt"); !strings.Contains(text, "servus") || !strings.Contains(text, "<<<<<<<") {
				t.Errorf("another conflict became %q", text)
			}
			if replay == "offer" {
				w.must("land", "anna", "cleo")
				if on := w.onMain(main, slugs...); on != "anna bert cleo" {
					t.Errorf("after a person's word on main are %q", on)
				}
			}
		})
	}
}

// Somebody brought a shop onto main by hand: its pull request is closed with a word, and what was pushed for it goes.
func TestPullOfACurrentShop(t *testing.T) {
	w := newCarried(t, "rebase:\n  checks: []\n", "anna", "bert")
	w.main(map[string]string{"public/index.html": "four\n"})
	w.must("rebase")
	number := w.pull("anna").Number
	w.git(w.dir, "fetch", "--quiet", "origin")
	w.git(w.dir, "checkout", "--quiet", "--detach", "origin/shops/anna")
	w.git(w.dir, "rebase", "--quiet", "origin/main")
	w.git(w.dir, "push", "--quiet", "--force", "origin", "HEAD:refs/heads/shops/anna")
	at := w.refs()["shops/anna"]
	w.must("rebase")
	for _, p := range w.pulls() {
		if p.Number == number && p.State != "closed" {
			t.Errorf("the pull request of a shop that is on main is %s", p.State)
		}
	}
	if said := w.comments(number); !strings.Contains(said, "nothing is left to do here") {
		t.Errorf("it was closed with %q", said)
	}
	if refs := w.refs(); refs["shops/anna"] != at || refs["rebase/anna"] != "" {
		t.Errorf("the branches are %v", refs)
	}
	w.pull("bert") // stays open
}

// Main moves between the rebase and a tick: the tick goes on with what was looked at, and the next rebase begins a new round
// for all, also for what has landed.
func TestMainMovedMeanwhile(t *testing.T) {
	w := newCarried(t, "rebase:\n  checks: []\n  waves:\n    canaries: [anna]\n", "anna", "bert")
	first := w.main(map[string]string{"public/index.html": "four\n"})
	w.must("rebase")
	second := w.main(map[string]string{"public/index.html": "five\n"})
	w.must("land")
	if !w.has("shops/anna", first) || w.has("shops/anna", second) {
		t.Fatal("the tick did not land what was looked at")
	}
	w.must("rebase")
	w.must("land")
	if w.onMain(second, "anna", "bert") != "anna" {
		t.Fatalf("in the new round on main are %q", w.onMain(second, "anna", "bert"))
	}
	if n := w.git(w.repo.Dir, "rev-list", "--count", second+"..shops/anna"); n != "2" {
		t.Errorf("anna is %s commits ahead", n)
	}
}

// One shop is carried onto a newer main in the middle of a round: the others are held, with the reason, until they are too.
func TestOneShopAheadOfTheRound(t *testing.T) {
	w := newCarried(t, "rebase:\n  checks: []\n  waves:\n    percent: []\n", "anna", "bert")
	first := w.main(map[string]string{"public/index.html": "four\n"})
	w.must("rebase")
	main := w.main(map[string]string{"public/index.html": "five\n"})
	w.must("rebase", "anna")
	if r := w.must("land"); w.onMain(main, "anna", "bert") != "anna" || !strings.Contains(r.out, "1 held") {
		t.Fatalf("on main are %q\n%v", w.onMain(main, "anna", "bert"), r)
	}
	// By hand the other lands where its own page says.
	if w.must("land", "bert"); w.onMain(first, "bert") != "bert" || w.has("shops/bert", main) {
		t.Error("the other by hand did not land on the main that it had been carried onto")
	}
	w.must("rebase")
	if w.must("land"); w.onMain(main, "anna", "bert") != "anna bert" {
		t.Errorf("in the end on main are %q", w.onMain(main, "anna", "bert"))
	}
}

// between runs shopfleet and does something when everything has been read and before anything is pushed.
func (w *carried) between(do func(), args ...string) ran {
	w.t.Helper()
	w.hub.ForgetRequests()
	w.fault(simgithub.Rule{Path: "service=git-receive-pack", Delay: 1500 * time.Millisecond})
	defer w.hub.ClearFaults()
	cmd, out, errs := w.start(args...)
	deadline := time.Now().Add(20 * time.Second)
	for !slices.ContainsFunc(w.hub.Requests(), func(r simgithub.Request) bool { return strings.HasSuffix(r.Path, "/pulls") }) {
		if time.Now().After(deadline) {
			w.t.Fatal("no pull request was asked for")
		}
		time.Sleep(5 * time.Millisecond)
	}
	do()
	_ = cmd.Wait() // its exit code tells
	return ran{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// A branch is advanced, forced or deleted after it was looked at and before it lands. It is looked at again, the other lands,
// and no commit of anybody's is lost.
func TestBranchMovesBeforeItLands(t *testing.T) {
	for _, what := range []string{"advanced", "forced", "deleted"} {
		t.Run(what, func(t *testing.T) {
			w := newCarried(t, "rebase:\n  checks: []\n  waves:\n    percent: []\n", "anna", "bert")
			main := w.main(map[string]string{"public/index.html": "four\n"})
			w.must("rebase")
			var at string
			r := w.between(func() {
				switch what {
				case "advanced":
					at = w.commit("shops/anna", "", map[string]string{"shop-overrides/more.txt": "more\n"})
				case "forced":
					at = w.git(w.repo.Dir, "rev-parse", "shops/anna~1")
					w.git(w.repo.Dir, "update-ref", "refs/heads/shops/anna", at)
				default:
					w.git(w.repo.Dir, "update-ref", "-d", "refs/heads/shops/anna")
				}
			}, "land")
			if r.code != 0 || !strings.Contains(r.errors, "shops/anna moved since it was looked at; looking again") {
				t.Errorf("the run: %v", r)
			}
			// It may have landed after the second look; where it was is kept then.
			kept := w.refs()["shops/anna"] == at
			for name, id := range w.refs() {
				kept = kept || strings.HasPrefix(name, "backup/anna/") && id == at
			}
			if !kept {
				t.Errorf("%s is lost: %v", at, w.refs())
			}
			if !w.has("shops/bert", main) || !strings.Contains(r.out, "landed: bert: ") {
				t.Errorf("the other shop did not land, or nobody is told: %v", r)
			}
			// The next rebase begins from what is there now.
			w.must("rebase")
			w.must("land")
			if what == "deleted" {
				if w.refs()["shops/anna"] != "" {
					t.Error("a branch that was deleted is there again")
				}
				return
			}
			count := map[string]string{"advanced": "3", "forced": "1"}[what]
			if n := w.git(w.repo.Dir, "rev-list", "--count", main+"..shops/anna"); !w.has("shops/anna", main) || n != count {
				t.Errorf("in the end anna is %s commits ahead of main, want %s", n, count)
			}
		})
	}
}

// GitHub refuses in the middle of many pull requests. The run says so and the next one makes the others, none twice.
func TestRefusedInTheMiddle(t *testing.T) {
	var slugs []string
	for n := range 12 {
		slugs = append(slugs, fmt.Sprintf("shop-%02d", n))
	}
	for name, rule := range map[string]simgithub.Rule{
		"one 422":            {Status: 422},
		"one 403":            {Status: 403, Body: `{"message":"Resource not accessible by integration"}`},
		"a limit that ends":  {Status: 403, Header: map[string]string{"Retry-After": "1"}, Body: `{"message":"You have exceeded a secondary rate limit."}`},
		"a limit of an hour": {Status: 429, Count: -1, Header: map[string]string{"Retry-After": "3600"}, Body: `{"message":"You have exceeded a secondary rate limit."}`},
		"a lost answer":      {Cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newCarried(t, "rebase:\n  checks: []\n", slugs...)
			w.main(map[string]string{"public/index.html": "four\n"})
			rule.Method, rule.Path, rule.Skip = "POST", "/pulls$", 5
			w.fault(rule)
			r := w.run("rebase")
			w.hub.ClearFaults()
			made := len(w.pulls())
			switch name {
			case "one 422", "one 403":
				if r.code == 0 || made != 11 {
					t.Errorf("%d pull requests after %v", made, r)
				}
			case "a limit of an hour":
				if r.code != 3 || made != 5 || !strings.Contains(r.errors, "5 of 12 pull requests are up to date, run the same command again") {
					t.Errorf("%d pull requests after %v", made, r)
				}
			default:
				if r.code != 0 || made != 12 {
					t.Errorf("%d pull requests after %v", made, r)
				}
			}
			before := w.refs()
			w.must("rebase")
			if fmt.Sprint(w.refs()) != fmt.Sprint(before) {
				t.Error("the next run pushed something again")
			}
			base := map[string]int{}
			for _, p := range w.pulls() {
				base[p.Base.Ref]++
			}
			for _, slug := range slugs {
				if base["shops/"+slug] != 1 {
					t.Errorf("%s has %d pull requests", slug, base["shops/"+slug])
				}
			}
		})
	}
}

// What branches may have in them besides text: it is carried as it is, or shown as a conflict, on a page that GitHub takes.
func TestUnusualBranches(t *testing.T) {
	w := newCarried(t, "rebase:\n  checks: []\n", "anna", "bert")
	odd := "shop-overrides/\xfc\xdf.txt" // not UTF-8
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:" + strings.Repeat("ab", 32) + "\nsize 12345\n"
	w.main(map[string]string{odd: "one\n", "shop-overrides/logo.png": "\x89PNG\x00\x01", "shop-overrides/old.txt": strings.Repeat("a line\n", 20), "shop-overrides/dos.txt": "a\r\nb\r\nc\r\n", "shop-overrides/run.sh": "#!/bin/sh\n"})
	w.must("rebase")
	w.must("land", "anna", "bert")
	w.must("rebase")
	for _, slug := range []string{"anna", "bert"} {
		w.git(w.dir, "fetch", "--quiet", "origin")
		w.git(w.dir, "checkout", "--quiet", "--force", "--detach", "origin/shops/"+slug)
		w.git(w.dir, "mv", "shop-overrides/old.txt", "shop-overrides/new name.txt")
		w.git(w.dir, "update-index", "--chmod=+x", "shop-overrides/run.sh")
		w.git(w.dir, "update-index", "--add", "--cacheinfo", "160000,"+w.refs()["main"]+",shop-overrides/module")
		w.git(w.dir, "commit", "--quiet", "-m", "a rename, a mode, a submodule")
		w.git(w.dir, "commit", "--quiet", "--allow-empty", "-m", "nothing")
		w.git(w.dir, "push", "--quiet", "origin", "HEAD:refs/heads/shops/"+slug)
		w.commit("shops/"+slug, "", map[string]string{"shop-overrides/dos.txt": "a\r\nb\r\nshop\r\n", "shop-overrides/film.mp4": pointer})
	}
	w.commit("shops/bert", "", map[string]string{odd: "bert\n", "shop-overrides/logo.png": "\x89PNG\x00\x02"})
	main := w.main(map[string]string{odd: "main\n", "shop-overrides/logo.png": "\x89PNG\x00\x03", "shop-overrides/dos.txt": "main\r\nb\r\nc\r\n", "shop-overrides/old.txt": strings.Repeat("a line\n", 20) + "and one\n"})
	var said struct {
		Shops []struct {
			Shop, State string
			Conflicts   []struct{ Path string }
		}
	}
	r := w.must("rebase", "--json")
	if err := json.Unmarshal([]byte(r.out), &said); err != nil {
		t.Fatal(err)
	}
	if len(said.Shops) != 2 || said.Shops[0].State != "clean" || said.Shops[1].State != "conflicted" || len(said.Shops[1].Conflicts) != 2 {
		t.Fatalf("the shops are %+v", said.Shops)
	}
	if w.pull("bert").Number > w.pull("anna").Number {
		t.Error("the pull request that a person has to look at was not opened first")
	}
	w.must("land", "anna")
	if !w.has("shops/anna", main) {
		t.Fatal("anna did not land")
	}
	show := func(path string) string {
		out, err := exec.Command("git", "-C", w.repo.Dir, "show", "shops/anna:"+path).Output()
		if err != nil {
			t.Errorf("%q: %v", path, err)
		}
		return string(out)
	}
	for path, want := range map[string]string{
		"shop-overrides/dos.txt": "main\r\nb\r\nshop\r\n", "shop-overrides/film.mp4": pointer, odd: "main\n",
		"shop-overrides/new name.txt": strings.Repeat("a line\n", 20) + "and one\n", "shop-overrides/logo.png": "\x89PNG\x00\x03",
	} {
		if got := show(path); got != want {
			t.Errorf("%q is %q", path, got)
		}
	}
	if tree := w.git(w.repo.Dir, "ls-tree", "shops/anna", "shop-overrides/"); !strings.Contains(tree, "160000 commit") || !strings.Contains(tree, "100755 blob") || strings.Contains(tree, "old.txt") {
		t.Errorf("the landed tree is\n%s", tree)
	}
	if body := w.pull("bert").Body; !strings.Contains(body, "logo.png") || !strings.Contains(body, "What must be decided") && !strings.Contains(body, "decide") {
		t.Errorf("the page says\n%s", body)
	}
	// Nobody has to resolve a binary by marks: a commit with the file is enough.
	w.people("rebase/bert", map[string]string{odd: "main, bert\n", "shop-overrides/logo.png": "\x89PNG\x00\x02"})
	w.must("rebase")
	w.must("land", "bert")
	if !w.has("shops/bert", main) {
		t.Error("bert did not land")
	}
}

// Main's configuration has a mistake, and so no shop's can be merged by its structure. The reason is said, on the terminal, in
// the document and on the page.
func TestConfigOfMainIsBroken(t *testing.T) {
	w := newCarried(t, "rebase:\n  style: merging\n  checks: []\n", "anna")
	w.main(map[string]string{"wrangler.jsonc": strings.Replace(carriedConfig, `"preview_urls": false,`, `"preview_urls": false, "preview_urls": true,`, 1)})
	const why = `the key "preview_urls" is given twice`
	if r := w.must("rebase"); !strings.Contains(r.out, "wrangler.jsonc is not merged key by key") || !strings.Contains(r.out, why) {
		t.Errorf("the terminal says %v", r)
	}
	if body := w.pull("anna").Body; !strings.Contains(body, why) || !strings.Contains(body, "Do not press the merge button before") {
		t.Errorf("the page says\n%s", body)
	}
	var said struct {
		Shops []struct {
			Conflicts []struct {
				Why  string
				Base struct{ Blob string } `json:"base"`
			}
		}
	}
	r := w.must("rebase", "--json")
	if err := json.Unmarshal([]byte(r.out), &said); err != nil || len(said.Shops) != 1 || len(said.Shops[0].Conflicts) != 1 {
		t.Fatalf("%v: %v", err, r)
	}
	if c := said.Shops[0].Conflicts[0]; !strings.Contains(c.Why, why) || c.Base.Blob == "" || !strings.Contains(r.out, `"base": {`) {
		t.Errorf("the document says %v", r)
	}
}

// What a person finds out at the command line: what would land, that a shop has landed, and what is wrong with a token.
func TestLandAtTheCommandLine(t *testing.T) {
	w := newCarried(t, "rebase:\n  land: manual\n  checks: []\n", "anna", "bert")
	w.main(map[string]string{"public/index.html": "four\n"})
	w.must("rebase")
	before := w.refs()
	var said struct {
		Would []string `json:"would_land"`
	}
	r := w.must("land", "anna", "--dry-run", "--json")
	if err := json.Unmarshal([]byte(r.out), &said); err != nil || fmt.Sprint(said.Would) != "[anna]" {
		t.Errorf("%v: %v", err, r)
	}
	if r := w.must("land", "anna", "--dry-run"); !strings.Contains(r.out, "would land: anna\n") || !strings.Contains(r.out, "nothing was written") {
		t.Errorf("a dry run says %v", r)
	}
	if fmt.Sprint(w.refs()) != fmt.Sprint(before) {
		t.Error("a dry run moved something")
	}
	w.must("land", "anna")
	at := w.refs()
	if r := w.must("land", "anna"); !strings.Contains(r.errors, "anna: is on main already") || fmt.Sprint(w.refs()) != fmt.Sprint(at) {
		t.Errorf("landing it again: %v", r)
	}
	w.env = append(w.env, "GITHUB_TOKEN=ghp_wrong")
	if r := w.run("rebase"); r.code != 3 || !strings.Contains(r.errors, "401 Bad credentials") || strings.Contains(r.errors, "terminal prompts disabled") {
		t.Errorf("a wrong token: %v", r)
	}
}

// check sets a commit's status.
func (w *carried) check(sha, name, state string) {
	w.t.Helper()
	if status := w.api(hubToken, "POST", "/statuses/"+sha, map[string]any{"state": state, "context": name}, nil); status != 201 {
		w.t.Fatalf("a status is answered with %d", status)
	}
}

// The commit that landed was on the rebase branch before, with checks. Those say nothing of the release: the next wave waits
// for the deploy.
func TestChecksOfBeforeAreNoRelease(t *testing.T) {
	w := newCarried(t, "rebase:\n  waves:\n    canaries: [anna]\n    percent: []\n    bake: 0s\n", "anna", "bert")
	main := w.main(map[string]string{"public/index.html": "four\n"})
	w.must("rebase")
	refs := w.refs()
	for _, slug := range []string{"anna", "bert"} {
		w.check(refs["rebase/"+slug], "shopfleet plan: "+slug, "success")
		w.check(refs["rebase/"+slug], "tests of our own", "success")
	}
	time.Sleep(1100 * time.Millisecond) // all of these have seconds
	for range 3 {
		if r := w.must("land"); w.onMain(main, "anna", "bert") != "anna" {
			t.Fatalf("on main are %q, and nothing has been released\n%v", w.onMain(main, "anna", "bert"), r)
		}
	}
	time.Sleep(1100 * time.Millisecond)
	w.check(refs["rebase/anna"], "shopfleet plan: anna", "success") // the plan once more
	if w.must("land"); w.onMain(main, "anna", "bert") != "anna" {
		t.Fatal("a plan counts as a release")
	}
	w.check(refs["rebase/anna"], "deploy / deploy", "pending")
	if w.must("land"); w.onMain(main, "anna", "bert") != "anna" {
		t.Fatal("a deploy that runs counts as a release")
	}
	w.check(refs["rebase/anna"], "deploy / deploy", "success") // it changed nothing, and is in no journal
	if r := w.must("land"); w.onMain(main, "anna", "bert") != "anna bert" {
		t.Fatalf("on main are %q\n%v", w.onMain(main, "anna", "bert"), r)
	}
}

// A canary that landed by the merge button is waited for like any other.
func TestMergeButtonOnACanary(t *testing.T) {
	w := newCarried(t, "rebase:\n  style: merging\n  checks: []\n  waves:\n    canaries: [anna]\n    percent: []\n    bake: 0s\n", "anna", "bert")
	main := w.main(map[string]string{"public/index.html": "four\n"})
	w.must("rebase")
	if status := w.api(hubToken, "PUT", fmt.Sprintf("/pulls/%d/merge", w.pull("anna").Number), map[string]any{"merge_method": "merge"}, nil); status != 200 {
		t.Fatalf("the button answers %d", status)
	}
	if r := w.must("land"); w.onMain(main, "anna", "bert") != "anna" || !strings.Contains(r.out, "the results of 1 release") {
		t.Fatalf("on main are %q, and nothing has been released\n%v", w.onMain(main, "anna", "bert"), r)
	}
	w.released("anna", deploy.StateFailure, "the gate answered 500")
	if r := w.must("land"); w.onMain(main, "anna", "bert") != "anna" || !strings.Contains(r.out, "stopped: 1 release failed: anna") {
		t.Fatalf("after a failure %v", r)
	}
	w.people("shops/anna", map[string]string{"shop-overrides/copy.txt": "repaired\n"})
	w.released("anna", deploy.StateSuccess, "good")
	if r := w.must("land"); w.onMain(main, "anna", "bert") != "anna bert" {
		t.Fatalf("after a repair %v", r)
	}
}

// Without a pull request a check that failed stops a shop all the same, a tick and a person.
func TestSilentIsStoppedByAFailedCheck(t *testing.T) {
	w := newCarried(t, "rebase:\n  land: silent\n  waves:\n    percent: []\n", "anna", "bert")
	main := w.main(map[string]string{"public/index.html": "four\n"})
	w.must("rebase")
	if list := w.pulls(); len(list) != 0 {
		t.Fatalf("there are pull requests: %v", list)
	}
	w.check(w.refs()["rebase/anna"], "tests of our own", "failure")
	if r := w.must("land"); w.onMain(main, "anna", "bert") != "bert" {
		t.Fatalf("on main are %q\n%v", w.onMain(main, "anna", "bert"), r)
	}
	if r := w.run("land", "anna", "--unchecked"); r.code != 1 || !strings.Contains(r.out, "a check failed") {
		t.Errorf("by hand: %v", r)
	}
	if _, _, body := w.fleetIssue(); !strings.Contains(body, "`anna`: `a check failed`") {
		t.Errorf("the issue says\n%s", body)
	}
}

// A fork's pull request from a branch of the same name is nobody's rebase: it is not touched, and none of its commits is pushed.
func TestForkHasNoSay(t *testing.T) {
	w := newCarried(t, "rebase:\n  checks: []\n", "anna")
	w.person("mallory", "read")
	fork, err := w.repo.Fork("mallory")
	if err != nil {
		t.Fatal(err)
	}
	w.git(w.dir, "checkout", "--quiet", "--detach", "origin/shops/anna")
	w.git(w.dir, "commit", "--quiet", "--allow-empty", "-m", "evil")
	evil := w.git(w.dir, "rev-parse", "HEAD")
	w.git(w.dir, "push", "--quiet", "file://"+fork.Dir, "HEAD:refs/heads/rebase/anna")
	var made pullOnHub
	if status := w.api("ghp_mallory", "POST", "/pulls", map[string]any{"title": "t", "head": "mallory:rebase/anna", "base": "shops/anna", "body": "<!-- shopfleet:pull -->\n<!-- shopfleet:shown " + evil + " -->"}, &made); status != 201 {
		t.Fatalf("the fork's pull request is answered with %d", status)
	}
	main := w.main(map[string]string{"public/index.html": "four\n"})
	w.must("rebase")
	w.must("land", "anna")
	if !w.has("shops/anna", main) || w.has("shops/anna", evil) {
		t.Error("the fork's commit landed, or nothing did")
	}
	for name, id := range w.refs() {
		if exec.Command("git", "-C", w.repo.Dir, "merge-base", "--is-ancestor", evil, id).Run() == nil {
			t.Errorf("%s has the fork's commit", name)
		}
	}
	for _, p := range w.pulls() {
		if p.Number == made.Number && (p.State != "open" || p.Title != "t") {
			t.Errorf("the fork's pull request is %+v", p)
		}
	}
}

// Branches that are no shop's, or that have nothing in common with main, are named, and hold up nobody.
func TestAlienBranches(t *testing.T) {
	w := newCarried(t, "rebase:\n  checks: []\n  waves:\n    percent: []\n", "anna")
	w.commit("shops/Not_A_Slug", "main", map[string]string{"a": "b"})
	alien := w.git(w.repo.Dir, "commit-tree", "-m", "alien", w.git(w.repo.Dir, "rev-parse", "main^{tree}"))
	w.git(w.repo.Dir, "update-ref", "refs/heads/shops/alien", alien)
	main := w.main(map[string]string{"public/index.html": "four\n"})
	for _, args := range [][]string{{"rebase"}, {"land"}} {
		r := w.run(args...)
		if r.code != 1 || !strings.Contains(r.out, "branch shops/Not_A_Slug: ") || !strings.Contains(r.out, "shops/alien cannot be carried onto main") {
			t.Errorf("%v: %v", args, r)
		}
	}
	if refs := w.refs(); !w.has("shops/anna", main) || refs["shops/alien"] != alien || refs["rebase/alien"] != "" {
		t.Errorf("the branches are %v", refs)
	}
}

// Somebody has a pull request of their own into a shop's branch. When the branch is replaced they are told what to type.
func TestOtherPullsAreTold(t *testing.T) {
	w := newCarried(t, "rebase:\n  checks: []\n", "anna", "bert")
	was := w.refs()["shops/anna"]
	w.commit("feature", "shops/anna", map[string]string{"shop-overrides/copy.txt": "new words\n"})
	var made pullOnHub
	w.api(hubToken, "POST", "/pulls", map[string]any{"title": "new words", "head": "feature", "base": "shops/anna"}, &made)
	w.main(map[string]string{"public/index.html": "four\n"})
	w.must("rebase")
	w.must("land", "anna", "bert")
	said := w.comments(made.Number)
	if want := "git rebase --onto origin/shops/anna " + was; !strings.Contains(said, want) {
		t.Fatalf("the other pull request is told %q", said)
	}
	w.git(w.dir, "fetch", "--quiet", "origin")
	w.git(w.dir, "checkout", "--quiet", "--detach", "origin/feature")
	w.git(w.dir, "rebase", "--quiet", "--onto", "origin/shops/anna", was) // as it says
	if log := w.git(w.dir, "log", "--format=%s", "origin/shops/anna.."); log != "change feature" {
		t.Errorf("the feature is %q", log)
	}
}

// A rule of the repository forbids the push of a shop's branch. It is named, with what helps, and nothing has moved.
func TestRuleForbidsLanding(t *testing.T) {
	w := newCarried(t, "rebase:\n  checks: []\n", "anna")
	main := w.main(map[string]string{"public/index.html": "four\n"})
	w.must("rebase")
	before := w.refs()
	packet := func(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }
	w.fault(simgithub.Rule{
		Method: "POST", Path: "git-receive-pack$", Status: 200, Header: map[string]string{"Content-Type": "application/x-git-receive-pack-result"},
		Body: packet("\x01"+packet("unpack ok\n")+packet("ng refs/heads/shops/anna push declined due to repository rule violations\n")+"0000") + "0000",
	})
	r := w.run("land", "anna")
	if r.code != 1 || !strings.Contains(r.out+r.errors, "rules of the repository do not let shops/anna be pushed") || !strings.Contains(r.out+r.errors, "[branch-protected]") {
		t.Errorf("a rule that forbids: %v", r)
	}
	if fmt.Sprint(w.refs()) != fmt.Sprint(before) {
		t.Error("something moved")
	}
	w.must("land", "anna") // the App is on the bypass list by now
	if !w.has("shops/anna", main) {
		t.Error("anna did not land")
	}
}

// GitHub refuses to close a pull request after the landing. The shop has landed, the run says what is open, and the next one
// closes it.
func TestLandedAndNotTold(t *testing.T) {
	w := newCarried(t, "rebase:\n  checks: []\n", "anna")
	main := w.main(map[string]string{"public/index.html": "four\n"})
	w.must("rebase")
	number := w.pull("anna").Number
	w.fault(simgithub.Rule{Method: "POST", Path: fmt.Sprintf("/issues/%d/comments$", number), Status: 403, Body: `{"message":"Resource not accessible by integration"}`})
	r := w.run("land", "anna")
	if r.code != 3 || !strings.Contains(r.out, "landed: anna: ") || !w.has("shops/anna", main) {
		t.Errorf("a pull request that cannot be told: %v", r)
	}
	at := w.refs()
	w.must("rebase")
	if after := w.refs(); after["shops/anna"] != at["shops/anna"] {
		t.Error("the next run moved the shop")
	}
	for _, p := range w.pulls() {
		if p.State == "open" {
			t.Errorf("pull request %d is still open", p.Number)
		}
	}
}

// A shop was brought onto main by hand while somebody's commits were on its rebase branch: they stay.
func TestPeoplesCommitsStay(t *testing.T) {
	w := newCarried(t, "rebase:\n  checks: []\n", "anna")
	w.main(map[string]string{"public/index.html": "four\n"})
	w.must("rebase")
	theirs := w.people("rebase/anna", map[string]string{"shop-overrides/more.txt": "more\n"})
	w.git(w.dir, "fetch", "--quiet", "origin")
	w.git(w.dir, "checkout", "--quiet", "--detach", "origin/shops/anna")
	w.git(w.dir, "rebase", "--quiet", "origin/main")
	w.git(w.dir, "push", "--quiet", "--force", "origin", "HEAD:refs/heads/shops/anna")
	r := w.run("rebase")
	if refs := w.refs(); refs["rebase/anna"] == "" || !w.has("rebase/anna", theirs) && w.git(w.repo.Dir, "show", "rebase/anna:shop-overrides/more.txt") != "more" {
		t.Fatalf("somebody's commit is gone: %v\n%v", refs, r)
	}
}
