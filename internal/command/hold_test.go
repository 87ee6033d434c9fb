package command

// Holds against a GitHub on localhost, with the real client: several who come at once, and what others wrote there.

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

// holds are those of a process of its own.
func (w *office) holds(t *testing.T) *holds {
	t.Helper()
	c := &github.Client{
		BaseURL: w.API, Owner: "acme", Repo: "helm", Now: w.clock, UserAgent: "shopfleet/test",
		App: &github.App{ID: w.env[envAppID], Key: github.Secret(w.env[envAppKey])}, Permissions: permissions{"contents": "write"},
	}
	h := &holds{client: c, now: w.clock}
	var err error
	if h.like, err = c.Tip(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	return h
}

func (w *office) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *office) heldBy(owner string) Hold {
	return Hold{Shop: "swicked", Owner: owner, Reason: "stock", Created: w.clock(), By: "hold", State: holdHeld}
}

func TestHoldIsKept(t *testing.T) {
	w := newOffice(t)
	h, ctx := w.holds(t), t.Context()
	shop, other := fleet.Shop{Slug: "swicked"}, fleet.Shop{Slug: "anna"}
	if x, err := h.of(ctx, "swicked"); x != nil || err != nil {
		t.Fatalf("at first: %v, %v", x, err)
	}
	x := w.heldBy("alice")
	x.Expires = w.clock().Add(2 * time.Hour)
	mine, placed, err := h.place(ctx, x)
	if err != nil || !placed {
		t.Fatal(placed, err)
	}
	if there, placed, err := w.holds(t).place(ctx, w.heldBy("bob")); err != nil || placed || there.Owner != "alice" || there.sha != mine.sha {
		t.Errorf("a second one: %+v, %v, %v", there, placed, err)
	}
	if held, err := h.Held(ctx, shop); err != nil || held == nil || held.Owner != "alice" || held.Reason != "stock" || !held.Until.Equal(x.Expires) || held.Fleet || held.Working {
		t.Errorf("held: %+v, %v", held, err)
	}
	if held, err := h.Held(ctx, other); err != nil || held != nil {
		t.Errorf("another shop: %+v, %v", held, err)
	}
	all := w.heldBy("carol")
	all.Shop = ""
	if _, placed, err := h.place(ctx, all); err != nil || !placed {
		t.Fatal(placed, err)
	}
	if held, err := h.Held(ctx, other); err != nil || held == nil || held.Owner != "carol" || !held.Fleet {
		t.Errorf("the fleet: %+v, %v", held, err)
	}
	if list, err := h.list(ctx); err != nil || len(list) != 2 || list[0].Shop != "" || list[1].Shop != "swicked" {
		t.Errorf("listed: %+v, %v", list, err)
	}

	// What was read and is another by now is neither lifted nor replaced.
	old := *mine
	if _, swapped, err := h.replace(ctx, mine, w.heldBy("dora")); err != nil || !swapped {
		t.Fatal(swapped, err)
	}
	if lifted, err := h.lift(ctx, &old); err != nil || lifted {
		t.Errorf("an old one was lifted: %v, %v", lifted, err)
	}
	if _, swapped, err := h.replace(ctx, &old, w.heldBy("erin")); err != nil || swapped {
		t.Errorf("an old one was replaced: %v, %v", swapped, err)
	}
	now, err := h.of(ctx, "swicked")
	if err != nil || now.Owner != "dora" {
		t.Fatalf("now: %+v, %v", now, err)
	}
	// The same hold again, within the second, is the same commit.
	if same, swapped, err := h.replace(ctx, now, *now); err != nil || !swapped || same.sha != now.sha {
		t.Errorf("the same again: %+v, %v, %v", same, swapped, err)
	}
	if lifted, err := h.lift(ctx, now); err != nil || !lifted {
		t.Errorf("lifted: %v, %v", lifted, err)
	}
	if x, err := h.of(ctx, "swicked"); x != nil || err != nil {
		t.Errorf("at last: %v, %v", x, err)
	}
}

// Of many who come at once one holds the shop, and all others are told who: also when a hold that is over is in their way.
func TestHoldIsPlacedOnce(t *testing.T) {
	w := newOffice(t)
	const many = 12
	for _, before := range []string{"", "expired"} {
		if before != "" {
			w.pass(time.Hour)
		}
		var won atomic.Int32
		var winner sync.Map
		var group sync.WaitGroup
		for i := range many {
			h := w.holds(t)
			group.Go(func() {
				x := w.heldBy(fmt.Sprintf("p%d%s", i, before))
				x.Expires = w.clock().Add(time.Minute)
				there, placed, err := h.place(t.Context(), x)
				if err != nil {
					t.Error(err)
					return
				}
				if placed {
					won.Add(1)
				}
				winner.Store(there.Owner, true)
			})
		}
		group.Wait()
		seen := 0
		winner.Range(func(any, any) bool { seen++; return true })
		if won.Load() != 1 || seen != 1 {
			t.Errorf("%q: %d placed it, %d different holds were seen", before, won.Load(), seen)
		}
		w.pass(time.Minute) // at its end it is over
		if x, err := w.holds(t).of(t.Context(), "swicked"); x != nil || err != nil {
			t.Errorf("when it is over: %+v, %v", x, err)
		}
	}
}

// Whoever may write contents may write a hold. What cannot be read holds the shop, and can be lifted.
// A hold that is written once more in the same second, by a run that goes on where another one died, is the same commit.
func TestHoldIsReplacedByItself(t *testing.T) {
	w := newOffice(t)
	h, ctx := w.holds(t), t.Context()
	mine, placed, err := h.place(ctx, w.heldBy("alice"))
	if err != nil || !placed {
		t.Fatal(placed, err)
	}
	again, swapped, err := h.replace(ctx, mine, w.heldBy("alice"))
	if err != nil || !swapped || again.sha != mine.sha {
		t.Fatalf("by itself: %+v, %v, %v; the clock of this test stands still", again, swapped, err)
	}
	if _, swapped, err := h.replace(ctx, again, w.heldBy("bob")); err != nil || !swapped {
		t.Fatal(swapped, err)
	}
	if _, swapped, err := h.replace(ctx, again, w.heldBy("alice")); err != nil || swapped {
		t.Errorf("where it stood before: %v, %v", swapped, err)
	}
}

func TestForgedHold(t *testing.T) {
	w := newOffice(t)
	h, ctx := w.holds(t), t.Context()
	now := w.clock().Format(time.RFC3339)
	main := h.like
	for name, text := range map[string]string{
		"empty":              "-",
		"prose":              "held by me",
		"another format":     `{"shopfleet_hold":2,"shop":"swicked","owner":"a","state":"held","created":"` + now + `"}`,
		"another shop":       `{"shopfleet_hold":1,"shop":"anna","owner":"a","state":"held","created":"` + now + `"}`,
		"nobody":             `{"shopfleet_hold":1,"shop":"swicked","state":"held","created":"` + now + `"}`,
		"another state":      `{"shopfleet_hold":1,"shop":"swicked","owner":"a","state":"free","created":"` + now + `"}`,
		"cut":                `{"shopfleet_hold":1,"shop":"swicked","owner":"a","state":"he`,
		"two":                `{"shopfleet_hold":1,"shop":"swicked","owner":"a","state":"held","created":"` + now + `"}{}`,
		"over before it was": `{"shopfleet_hold":1,"shop":"swicked","owner":"a","state":"held","created":"` + now + `","expires":"2020-01-01T00:00:00Z"}`,
		"no time, over":      `{"shopfleet_hold":1,"shop":"swicked","owner":"a","state":"working"}`,
		"work in 2099":       `{"shopfleet_hold":1,"shop":"swicked","owner":"a","state":"working","created":"2099-01-01T00:00:00Z"}`,
		"a branch's commit":  "",
	} {
		sha := main
		if text != "" {
			var err error
			if sha, err = h.client.NewNote(ctx, main, text); err != nil {
				t.Fatal(err)
			}
		}
		if made, err := h.client.CreateRef(ctx, github.Ref{Name: holdName("swicked"), SHA: sha}); err != nil || !made {
			t.Fatal(made, err)
		}
		held, err := h.Held(ctx, fleet.Shop{Slug: "swicked"})
		if err != nil || held == nil || held.Working || !held.Until.IsZero() {
			t.Errorf("%s: %+v, %v", name, held, err)
		}
		there, placed, err := h.place(ctx, w.heldBy("bob"))
		if err != nil || placed {
			t.Fatalf("%s: placed %v, %v", name, placed, err)
		}
		if lifted, err := h.lift(ctx, there); err != nil || !lifted {
			t.Fatalf("%s: lifted %v, %v", name, lifted, err)
		}
	}
}

// Work that is under way is so for an hour at most, whatever it says. Who did it died then, and perhaps behind the release:
// the shop stays held until somebody looks.
func TestWorkEnds(t *testing.T) {
	w := newOffice(t)
	h := w.holds(t)
	x := w.heldBy("alice")
	x.State, x.Expires = holdWorking, w.clock().Add(1000*time.Hour)
	if _, placed, err := h.place(t.Context(), x); err != nil || !placed {
		t.Fatal(placed, err)
	}
	for _, working := range []bool{true, false} {
		held, err := h.Held(t.Context(), fleet.Shop{Slug: "swicked"})
		if err != nil || held == nil || held.Working != working || !working && (!held.Until.IsZero() || !strings.Contains(held.Reason, "did not end")) {
			t.Errorf("%+v, %v; want %v", held, err, working)
		}
		w.pass(longestWork)
	}
}

// When GitHub cannot be asked nobody knows whether the shop is held, and that is an error.
func TestHoldUnread(t *testing.T) {
	for _, path := range []string{"matching-refs", "git/commits/"} {
		w := newOffice(t)
		h := w.holds(t)
		if _, placed, err := h.place(t.Context(), w.heldBy("alice")); err != nil || !placed {
			t.Fatal(placed, err)
		}
		if _, err := w.Fault(sim.Rule{Method: "GET", Path: path, Status: 403, Count: -1}); err != nil {
			t.Fatal(err)
		}
		if held, err := h.Held(t.Context(), fleet.Shop{Slug: "swicked"}); err == nil {
			t.Errorf("%s: %+v", path, held)
		}
		if list, err := h.list(t.Context()); err == nil {
			t.Errorf("%s: %+v", path, list)
		}
	}
}

func FuzzHold(f *testing.F) {
	now := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	good, err := Hold{Shop: "swicked", Owner: "alice", Reason: "stock", Created: now, By: "hold", State: holdHeld}.text()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "{}", good, strings.Replace(good, "stock", `\u001b[31m\u202e\n## x`, 1), strings.Replace(good, holdHeld, holdWorking, 1), strings.Replace(good, "2026", "0001", 1)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		x := readHold("swicked", "0", text, now)
		var w written
		over := json.Unmarshal([]byte(text), &w) == nil && !w.Created.IsZero() && !w.Created.After(now) && (w.State == holdWorking || !w.Expires.IsZero())
		switch {
		case x.Shop != "swicked" || x.Owner == "" || x.State != holdHeld && x.State != holdWorking || x.sha != "0":
			t.Errorf("%+v", x)
		case !x.counts(now) && !over:
			t.Errorf("free, and nothing says so: %+v", x)
		case x.State == holdWorking && x.counts(now.Add(longestWork+clocksDiffer)):
			t.Errorf("under way for ever: %+v", x)
		}
		for _, said := range []string{x.Owner, x.Reason} {
			if strings.ContainsAny(said, "\n\r\x1b") || utf8.RuneCountInString(said) > maxReason+1 {
				t.Errorf("said as %q", said)
			}
		}
	})
}

// TestHoldOfADeadRollback: what a rollback wrote before its process died nobody knows, so that no deploy goes over it.
func TestHoldOfADeadRollback(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	text, err := Hold{Shop: "swicked", Owner: "alice", Reason: "wrong colour", Created: now.Add(-guardTime), Expires: now, By: "rollback", State: holdWorking}.text()
	if err != nil {
		t.Fatal(err)
	}
	if x := readHold("swicked", "0", text, now.Add(-time.Second)); x.State != holdWorking || !x.counts(now.Add(-time.Second)) {
		t.Errorf("a second before its time: %+v", x)
	}
	x := readHold("swicked", "0", text, now)
	if x.State != holdHeld || !x.counts(now.Add(1000*time.Hour)) || x.Owner != "alice" || !strings.Contains(x.Reason, "did not end, so look at what is live: wrong colour") {
		t.Errorf("after it: %+v", x)
	}
}

// A ref of a hold can name anything: a file, a tag, a commit whose message is larger than what is read. Each holds the shop,
// and can be lifted.
func TestHoldOfAnyObject(t *testing.T) {
	w := newOffice(t)
	h, ctx := w.holds(t), t.Context()
	git := func(input string, args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", w.repo.Dir, "-c", "user.name=x", "-c", "user.email=x@example.invalid"}, args...)...)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(args, err)
		}
		return strings.TrimSpace(string(out))
	}
	tag := git("object "+h.like+"\ntype commit\ntag x\ntagger x <x@example.invalid> 0 +0000\n\nx\n", "hash-object", "-t", "tag", "-w", "--stdin")
	for name, sha := range map[string]string{
		"a file": git("x", "hash-object", "-w", "--stdin"), "a tag": tag,
		"too large": git("x", "commit-tree", h.like+"^{tree}"),
	} {
		git("", "update-ref", holdName("swicked"), sha)
		if name == "too large" { // or anything else that is no answer
			if _, err := w.Fault(sim.Rule{Method: "GET", Path: "git/commits/" + sha, Status: 200, Body: `{"sha": "` + sha + `"}`, Count: -1}); err != nil {
				t.Fatal(err)
			}
		}
		held, err := h.Held(ctx, fleet.Shop{Slug: "swicked"})
		if err != nil || held == nil || held.Working {
			t.Errorf("%s: %+v, %v", name, held, err)
		}
		there, err := h.there(ctx, "swicked")
		if err != nil || there == nil {
			t.Errorf("%s: %+v, %v", name, there, err)
			continue
		}
		if lifted, err := h.lift(ctx, there); err != nil || !lifted {
			t.Errorf("%s: lifted %v, %v", name, lifted, err)
		}
	}
}

// A ref below a shop's name leaves no place for the shop's own: it holds the shop, is lifted as that, and keeps nobody from
// going back.
func TestHoldBelowAShop(t *testing.T) {
	w := newOffice(t)
	h, ctx := w.holds(t), t.Context()
	for range 2 {
		if made, err := h.client.CreateRef(ctx, github.Ref{Name: holdName("swicked") + "/x", SHA: h.like}); err != nil || !made {
			t.Fatal(made, err)
		}
		if held, err := h.Held(ctx, fleet.Shop{Slug: "swicked"}); err != nil || held == nil {
			t.Errorf("%+v, %v", held, err)
		}
		there, placed, err := h.place(ctx, w.heldBy("bob"))
		if err != nil || placed {
			t.Fatalf("placed %v, %v", placed, err)
		}
		mine, swapped, err := h.replace(ctx, there, w.heldBy("bob"))
		if err != nil || !swapped {
			t.Fatalf("replaced %v, %v", swapped, err)
		}
		if held, err := h.Held(ctx, fleet.Shop{Slug: "swicked"}); err != nil || held == nil || held.Owner != "bob" {
			t.Errorf("%+v, %v", held, err)
		}
		if lifted, err := h.lift(ctx, mine); err != nil || !lifted {
			t.Fatalf("lifted %v, %v", lifted, err)
		}
		if held, err := h.Held(ctx, fleet.Shop{Slug: "swicked"}); err != nil || held != nil {
			t.Errorf("%+v, %v", held, err)
		}
	}
}

// TestGuardTellsOfOthers: a rollback that did nothing leaves what it found, and says so where somebody else changed that.
func TestGuardTellsOfOthers(t *testing.T) {
	for _, before := range []bool{false, true} {
		w := newOffice(t)
		h, ctx := w.holds(t), t.Context()
		mine, placed, err := h.place(ctx, w.heldBy("alice"))
		if err != nil || !placed {
			t.Fatal(placed, err)
		}
		g := &guard{r: &returning{door: &Door{Now: w.clock}, holds: h}, mine: mine}
		if before {
			x := w.heldBy("carol")
			g.before = &x
		}
		theirs, swapped, err := w.holds(t).replace(ctx, mine, w.heldBy("bob"))
		if err != nil || !swapped {
			t.Fatal(swapped, err)
		}
		if _, err := g.end(ctx, cameNowhere, shopResult{Shop: "swicked"}); err == nil {
			t.Errorf("before %v: bob's hold was in the way, and nothing was said", before)
		}
		if there, err := h.of(ctx, "swicked"); err != nil || there == nil || there.Owner != "bob" {
			t.Errorf("before %v: %+v, %v, want bob's hold", before, there, err)
		}
		g.mine = theirs
		if _, err := g.end(ctx, cameNowhere, shopResult{Shop: "swicked"}); err != nil {
			t.Errorf("before %v: %v", before, err)
		}
		if there, err := h.of(ctx, "swicked"); err != nil || (there != nil) != before || before && there.Owner != "carol" {
			t.Errorf("before %v: %+v, %v", before, there, err)
		}
	}
}
