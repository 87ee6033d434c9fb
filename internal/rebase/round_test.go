package rebase

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

const roundMain = "1111111111111111111111111111111111111111"

var monday = time.Date(2026, 11, 30, 5, 17, 0, 0, time.UTC)

// green is the policy by default.
func green() fleet.Rebase {
	return fleet.Rebase{Style: fleet.StyleRebase, Land: fleet.LandGreen, Replay: fleet.ReplayOffer,
		Waves: fleet.Waves{Percent: []int{10, 50}, Bake: time.Hour, StopAt: 1}}
}

// ready is a shop that nothing holds up.
func ready(slug string) Candidate {
	return Candidate{Slug: slug, Checks: ChecksPassed,
		Move: &Move{Slug: slug, State: Clean, Main: roundMain, From: "a", To: "b"}}
}

func landed(slug string, state ReleaseState, at time.Time) Candidate {
	return Candidate{Slug: slug, Landed: true, Release: Release{State: state, At: at}}
}

func find(t *testing.T, r Round, slug string) WaveShop {
	t.Helper()
	var found []WaveShop
	for _, w := range r.Waves {
		for _, s := range w.Shops {
			if s.Slug == slug {
				found = append(found, s)
			}
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s is in the waves %d times: %+v", slug, len(found), r.Waves)
	}
	return found[0]
}

func TestWhereAShopIs(t *testing.T) {
	with := func(change func(*Candidate)) Candidate {
		c := ready("swicked")
		change(&c)
		return c
	}
	choices := []wrangler.Choice{{Key: "env.swicked.vars.THEME", Taken: "shop"}}
	now := monday.Add(24 * time.Hour)
	resume := Command{Verb: "resume", At: now.Add(-time.Hour)}
	skip := Command{Verb: "skip", Shop: "swicked", At: now}
	cases := []struct {
		name     string
		shop     Candidate
		policy   func(*fleet.Rebase)
		commands []Command
		want     ShopState
		why      string
		forgiven bool
	}{
		{name: "nothing to decide, green", shop: ready("swicked"), want: ShopReady},
		{name: "checks run", shop: with(func(c *Candidate) { c.Checks = ChecksPending }), want: ShopWaiting, why: "checks"},
		{name: "nobody looked at checks", shop: with(func(c *Candidate) { c.Checks = "" }), want: ShopWaiting, why: "checks"},
		{name: "checks run since an hour", shop: with(func(c *Candidate) { c.Checks, c.Asked = ChecksPending, now.Add(-time.Hour) }), want: ShopWaiting, why: "checks"},
		{name: "checks never come", shop: with(func(c *Candidate) { c.Checks, c.Asked = ChecksPending, now.Add(-Patience) }), want: ShopPerson, why: "6 hours"},
		{name: "a check failed", shop: with(func(c *Candidate) { c.Checks, c.Approved = ChecksFailed, true }), want: ShopPerson, why: "check failed"},
		{name: "silent asks no checks", shop: with(func(c *Candidate) { c.Checks = "" }), policy: func(p *fleet.Rebase) { p.Land = fleet.LandSilent }, want: ShopReady},
		{name: "silent hears of a failed check", shop: with(func(c *Candidate) { c.Checks = ChecksFailed }), policy: func(p *fleet.Rebase) { p.Land = fleet.LandSilent }, want: ShopPerson, why: "check failed"},
		{name: "silent with a decision", shop: with(func(c *Candidate) { c.Move.State, c.Move.Choices = Resolved, choices }), policy: func(p *fleet.Rebase) { p.Land = fleet.LandSilent }, want: ShopPerson, why: "same keys"},
		{name: "silent with a decision made", shop: with(func(c *Candidate) { c.Move.Choices, c.Approved, c.Checks = choices, true, ChecksPending }), policy: func(p *fleet.Rebase) { p.Land = fleet.LandSilent }, want: ShopWaiting, why: "checks"},
		{name: "manual", shop: ready("swicked"), policy: func(p *fleet.Rebase) { p.Land = fleet.LandManual }, want: ShopPerson, why: "lands nothing"},
		{name: "manual, agreed", shop: with(func(c *Candidate) { c.Approved = true }), policy: func(p *fleet.Rebase) { p.Land = fleet.LandManual }, want: ShopReady},
		{name: "a policy that says nothing", shop: ready("swicked"), policy: func(p *fleet.Rebase) { p.Land = "" }, want: ShopPerson, why: "lands nothing"},
		{name: "choices", shop: with(func(c *Candidate) { c.Move.State, c.Move.Choices = Resolved, choices }), want: ShopPerson, why: "same keys"},
		{name: "choices, agreed", shop: with(func(c *Candidate) { c.Move.State, c.Move.Choices, c.Approved = Resolved, choices, true }), want: ShopReady},
		{name: "replayed, offered", shop: with(func(c *Candidate) { c.Move.State, c.Move.Replayed = Resolved, []Replayed{{}} }), want: ShopPerson, why: "another shop"},
		{name: "replayed, applied", shop: with(func(c *Candidate) { c.Move.State, c.Move.Replayed = Resolved, []Replayed{{}} }), policy: func(p *fleet.Rebase) { p.Replay = fleet.ReplayApply }, want: ShopReady},
		{name: "drifted", shop: with(func(c *Candidate) { c.Move.State, c.Move.Drift = Drifted, []string{"src/a.ts"} }), want: ShopPerson, why: "main's"},
		{name: "people committed", shop: with(func(c *Candidate) { c.Move.Touched = true }), want: ShopPerson, why: "people committed"},
		{name: "conflicts cannot be agreed away", shop: with(func(c *Candidate) { c.Move.State, c.Move.Conflicts, c.Approved = Conflicted, []Conflict{{}}, true }), want: ShopPerson, why: "not resolved"},
		{name: "the rebase branch is kept", shop: with(func(c *Candidate) { c.Move.Kept, c.Approved = "the shop moved on", true }), want: ShopPerson, why: "moved on"},
		{name: "nothing carried", shop: with(func(c *Candidate) { c.Move.State, c.Move.To, c.Approved = Unusable, "", true }), want: ShopPerson, why: "nothing was carried"},
		{name: "broken", shop: with(func(c *Candidate) { c.Move.State, c.Move.Problem = Unusable, "no history" }), want: ShopPerson, why: "no history"},
		{name: "not surveyed", shop: with(func(c *Candidate) { c.Move, c.Approved = nil, true }), want: ShopPerson, why: "not surveyed"},
		{name: "another main", shop: with(func(c *Candidate) { c.Move.Main, c.Approved = "2", true }), want: ShopPerson, why: "another commit"},
		{name: "held", shop: with(func(c *Candidate) { c.Hold, c.Approved = "label hold", true }), want: ShopHeld, why: "label hold"},
		{name: "skipped", shop: with(func(c *Candidate) { c.Hold = "label hold" }), commands: []Command{skip}, want: ShopSkipped},

		{name: "on main already", shop: with(func(c *Candidate) {
			c.Move.State, c.Release = Current, Release{State: ReleasePassed, At: now}
		}), want: ShopPassed},
		{name: "current on another main", shop: with(func(c *Candidate) { c.Move.State, c.Move.Main = Current, "2" }), want: ShopPerson, why: "another commit"},
		{name: "landed, no release yet", shop: landed("swicked", NoRelease, now.Add(-time.Minute)), want: ShopLanded},
		{name: "landed, nothing known of releases", shop: landed("swicked", "", now.Add(-time.Minute)), want: ShopLanded},
		{name: "new, and never released", shop: landed("swicked", NoRelease, time.Time{}), want: ShopPerson, why: "never released"},
		{name: "landed, a release runs", shop: landed("swicked", ReleasePending, now.Add(-Patience+time.Second)), want: ShopLanded},
		{name: "landed, a release hangs", shop: landed("swicked", ReleasePending, now.Add(-Patience)), want: ShopFailed, why: "no result"},
		{name: "passed", shop: landed("swicked", ReleasePassed, now.Add(-9*Patience)), want: ShopPassed},
		{name: "passed and skipped", shop: landed("swicked", ReleasePassed, now), commands: []Command{skip}, want: ShopPassed},
		{name: "failed", shop: landed("swicked", ReleaseFailed, now.Add(-time.Minute)), want: ShopFailed, why: "failed"},
		{name: "failed, then resumed", shop: landed("swicked", ReleaseFailed, now.Add(-2*time.Hour)), commands: []Command{resume}, want: ShopFailed, why: "failed", forgiven: true},
		{name: "resumed, then failed", shop: landed("swicked", ReleaseFailed, now.Add(-time.Minute)), commands: []Command{resume}, want: ShopFailed, why: "failed"},
		{name: "resumed at the second of the failure", shop: landed("swicked", ReleaseFailed, resume.At), commands: []Command{resume}, want: ShopFailed, why: "failed"},
		{name: "failed and skipped", shop: landed("swicked", ReleaseFailed, now), commands: []Command{skip}, want: ShopSkipped},
		{name: "landed and held", shop: func() Candidate { c := landed("swicked", ReleasePending, now); c.Hold = "label"; return c }(), want: ShopLanded},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			policy := green()
			if c.policy != nil {
				c.policy(&policy)
			}
			r := Plan(policy, now, roundMain, []Candidate{c.shop}, c.commands)
			got := find(t, r, "swicked")
			if got.State != c.want || !strings.Contains(got.Why, c.why) || c.why == "" && got.Why != "" || got.Forgiven != c.forgiven {
				t.Errorf("%+v; want %s because of %q", got, c.want, c.why)
			}
			if lands := slices.Contains(r.Land, "swicked"); lands != (c.want == ShopReady) {
				t.Errorf("lands: %v", r.Land)
			}
			if r.Done != (c.want == ShopPassed || c.want == ShopSkipped) {
				t.Errorf("done: %v", r.Done)
			}
			if (r.Stopped != "") != (c.want == ShopFailed && !c.forgiven) {
				t.Errorf("stopped: %q", r.Stopped)
			}
			if r.Done != (r.Waiting == "") && len(r.Land) == 0 {
				t.Errorf("waits for %q", r.Waiting)
			}
		})
	}
}

// TestDecisionAndNeedsPersonAgree holds the two ways to ask for a person to one answer.
func TestDecisionAndNeedsPersonAgree(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	asked := 0
	for range 2000 {
		m := randomMove(random, "swicked")
		ok, _ := m.Landable()
		if !ok {
			if m.State != Current && m.Decision(fleet.ReplayOffer) == "" && m.To != "" {
				t.Errorf("%+v cannot land, and nobody is told", m)
			}
			continue
		}
		if got := m.Decision(fleet.ReplayOffer) != ""; got != m.NeedsPerson() {
			t.Errorf("Decision %q, NeedsPerson %v: %+v", m.Decision(fleet.ReplayOffer), m.NeedsPerson(), m)
		} else if got {
			asked++
		}
	}
	if asked < 100 {
		t.Errorf("only %d moves needed a person", asked)
	}
}

// randomMove is one that a survey could give.
func randomMove(random *rand.Rand, slug string) *Move {
	m := &Move{Slug: slug, State: Clean, Main: roundMain, From: slug + "-from", To: slug + "-to"}
	switch random.IntN(10) {
	case 0:
		m.State, m.Choices = Resolved, []wrangler.Choice{{Key: "env." + slug + ".vars.THEME", Taken: "shop"}}
	case 1:
		m.State, m.Replayed = Resolved, []Replayed{{Shop: "other"}}
	case 2:
		m.State, m.Conflicts = Conflicted, []Conflict{{Path: "wrangler.jsonc"}}
	case 3:
		m.State, m.Drift = Drifted, []string{"src/index.ts"}
	case 4:
		m.State, m.To, m.Problem = Unusable, "", "no commit in common with main"
	case 5:
		m.State, m.Sorted = Diverged, "main had been merged by hand"
	}
	if random.IntN(10) == 0 {
		m.Touched = true
	}
	if random.IntN(20) == 0 {
		m.Kept = "people committed to it"
	}
	return m
}

func names(list []WaveShop) []string {
	var slugs []string
	for _, s := range list {
		slugs = append(slugs, s.Slug)
	}
	return slugs
}

func fleetOf(n int) (slugs []string, list []Candidate) {
	for i := range n {
		slugs = append(slugs, fmt.Sprintf("shop-%03d", i))
		list = append(list, ready(slugs[i]))
	}
	return slugs, list
}

func TestWaves(t *testing.T) {
	cases := []struct {
		name  string
		shops int
		waves fleet.Waves
		want  string
	}{
		{"the default", 50, fleet.Waves{Percent: []int{10, 50}}, "10 %:5 50 %:20 the rest:25"},
		{"canaries count in", 50, fleet.Waves{Canaries: []string{"shop-007", "shop-003"}, Percent: []int{10, 50}}, "canaries:2 10 %:3 50 %:20 the rest:25"},
		{"more canaries than the first share", 50, fleet.Waves{Canaries: []string{"shop-001", "shop-002", "shop-003", "shop-004", "shop-005", "shop-006"}, Percent: []int{10, 20}}, "canaries:6 20 %:4 the rest:40"},
		{"a canary that is gone, and one twice", 10, fleet.Waves{Canaries: []string{"gone", "shop-001", "shop-001"}, Percent: []int{50}}, "canaries:1 50 %:4 the rest:5"},
		{"all canaries", 2, fleet.Waves{Canaries: []string{"shop-001", "shop-000"}, Percent: []int{50}}, "canaries:2"},
		{"no shares", 3, fleet.Waves{Canaries: []string{"shop-002"}}, "canaries:1 the rest:2"},
		{"neither", 3, fleet.Waves{}, "all shops:3"},
		{"three shops", 3, fleet.Waves{Percent: []int{10, 50}}, "10 %:1 50 %:1 the rest:1"},
		{"one shop", 1, fleet.Waves{Percent: []int{10, 50}}, "10 %:1"},
		{"none", 0, fleet.Waves{Percent: []int{10, 50}}, ""},
		{"five hundred", 500, fleet.Waves{Percent: []int{1, 10, 50}}, "1 %:5 10 %:45 50 %:200 the rest:250"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			slugs, list := fleetOf(c.shops)
			policy := green()
			policy.Waves = c.waves
			r := Plan(policy, monday, roundMain, list, nil)
			var got, all []string
			for i, w := range r.Waves {
				got = append(got, fmt.Sprintf("%s:%d", w.Name, len(w.Shops)))
				all = append(all, names(w.Shops)...)
				if w.Open != (i == 0) {
					t.Errorf("wave %d is open: %v", i, w.Open)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("waves %q; want %q", strings.Join(got, " "), c.want)
			}
			slices.Sort(all)
			if !slices.Equal(all, slugs) {
				t.Errorf("the waves hold %v", all)
			}
			if len(r.Waves) > 0 && !slices.Equal(r.Land, names(r.Waves[0].Shops)) {
				t.Errorf("lands %v", r.Land)
			}
		})
	}
}

func TestCanariesLandInTheirOrderAndTheOthersInOneThatChangesByTheWeek(t *testing.T) {
	_, list := fleetOf(40)
	policy := green()
	policy.Waves.Canaries = []string{"shop-031", "shop-004"}
	one := Plan(policy, monday, roundMain, list, nil)
	if want := []string{"shop-031", "shop-004"}; !slices.Equal(one.Land, want) {
		t.Errorf("lands %v; want %v", one.Land, want)
	}
	main := strings.Repeat("2", 40)
	for i := range list {
		list[i].Move.Main = main
	}
	two := Plan(policy, monday, main, list, nil)
	if slices.Equal(names(one.Waves[2].Shops), names(two.Waves[2].Shops)) {
		t.Error("two weeks, one order")
	}
}

func TestAWaveWaitsForTheOneBefore(t *testing.T) {
	policy := green()
	policy.Waves.Canaries, policy.Waves.Percent = []string{"canary"}, nil
	now := monday.Add(10 * time.Hour)
	cases := []struct {
		name     string
		canary   Candidate
		commands []Command
		open     bool
		waiting  string
		until    time.Time
	}{
		{"it lands now", ready("canary"), nil, false, "", time.Time{}},
		{"it was released", landed("canary", ReleasePending, now.Add(-time.Minute)), nil, false, "the results of 1 release", now.Add(Patience - time.Minute)},
		{"it bakes", landed("canary", ReleasePassed, now.Add(-time.Minute)), nil, false, `the bake time of the wave "canaries", until 2026-11-30 16:16 UTC`, now.Add(59 * time.Minute)},
		{"it baked", landed("canary", ReleasePassed, now.Add(-time.Hour)), nil, true, "", time.Time{}},
		{"its checks run", func() Candidate { c := ready("canary"); c.Checks, c.Asked = ChecksPending, now; return c }(), nil, false, "the checks of 1 shop", now.Add(Patience)},
		{"it is held", func() Candidate { c := ready("canary"); c.Hold = "label"; return c }(), nil, true, "", time.Time{}},
		{"it needs a person", func() Candidate { c := ready("canary"); c.Move.Touched = true; return c }(), nil, true, "", time.Time{}},
		{"it was skipped", ready("canary"), []Command{{Verb: "skip", Shop: "canary", At: now}}, true, "", time.Time{}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := Plan(policy, now, roundMain, []Candidate{ready("other"), c.canary}, c.commands)
			if r.Waves[1].Open != c.open || slices.Contains(r.Land, "other") != c.open {
				t.Errorf("open %v, lands %v", r.Waves[1].Open, r.Land)
			}
			if r.Waiting != c.waiting || !r.Until.Equal(c.until) {
				t.Errorf("waits for %q until %v", r.Waiting, r.Until)
			}
		})
	}
}

func TestFailuresStopTheRound(t *testing.T) {
	policy := green()
	policy.Waves = fleet.Waves{Canaries: []string{"a", "b", "c"}, StopAt: 2}
	now := monday.Add(10 * time.Hour)
	failed := func(slug string, ago time.Duration) Candidate { return landed(slug, ReleaseFailed, now.Add(-ago)) }
	passed := func(slug string) Candidate { return landed(slug, ReleasePassed, now.Add(-5*time.Hour)) }
	resume := []Command{{Verb: "resume", At: now.Add(-30 * time.Minute)}}
	cases := []struct {
		name     string
		list     []Candidate
		commands []Command
		stopped  string
	}{
		{"one of two that the policy bears", []Candidate{failed("a", time.Minute), passed("b"), passed("c")}, nil, ""},
		{"two", []Candidate{failed("c", time.Minute), failed("a", time.Hour), passed("b")}, nil, "2 releases failed: a, c"},
		{"one with no result", []Candidate{failed("a", time.Hour), landed("b", NoRelease, now.Add(-7*time.Hour)), passed("c")}, nil, "2 releases failed: a, b"},
		{"one of them was skipped", []Candidate{failed("a", time.Minute), failed("b", time.Hour), passed("c")}, []Command{{Verb: "skip", Shop: "b"}}, ""},
		{"resumed after both", []Candidate{failed("a", time.Hour), failed("b", time.Hour), passed("c")}, resume, ""},
		{"resumed between the two", []Candidate{failed("a", time.Minute), failed("b", time.Hour), passed("c")}, resume, ""},
		{"two more after it", []Candidate{failed("a", time.Minute), failed("b", time.Hour), failed("c", time.Second)}, resume, "2 releases failed: a, c"},
		{"one was repaired", []Candidate{failed("a", time.Minute), passed("b"), passed("c")}, nil, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := Plan(policy, now, roundMain, append(c.list, ready("other")), c.commands)
			if r.Stopped != c.stopped || slices.Contains(r.Land, "other") != (c.stopped == "") {
				t.Errorf("stopped %q, lands %v; want %q", r.Stopped, r.Land, c.stopped)
			}
			if c.stopped != "" && !strings.Contains(r.Waiting, "/resume") {
				t.Errorf("waits for %q", r.Waiting)
			}
		})
	}
}

func TestPauseAndResume(t *testing.T) {
	at := func(verb string, minute int) Command {
		return Command{Verb: verb, By: "kay", At: monday.Add(time.Duration(minute) * time.Minute)}
	}
	cases := []struct {
		name     string
		commands []Command
		paused   bool
	}{
		{"nobody said anything", nil, false},
		{"pause", []Command{at("pause", 1)}, true},
		{"pause, resume", []Command{at("pause", 1), at("resume", 2)}, false},
		{"in another order", []Command{at("resume", 2), at("pause", 1)}, false},
		{"resume, pause", []Command{at("resume", 1), at("pause", 2)}, true},
		{"pause, resume, pause", []Command{at("pause", 1), at("resume", 2), at("pause", 3)}, true},
		{"both in one second", []Command{at("pause", 1), at("resume", 1)}, true},
		{"a word that nobody knows", []Command{at("stop", 1)}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := Plan(green(), monday.Add(time.Hour), roundMain, []Candidate{ready("a")}, c.commands)
			if (r.Paused != nil) != c.paused || (len(r.Land) == 0) != c.paused {
				t.Errorf("paused %v, lands %v", r.Paused, r.Land)
			}
			if c.paused && r.Paused.By != "kay" {
				t.Errorf("paused by %q", r.Paused.By)
			}
		})
	}
}

func TestTarget(t *testing.T) {
	history := []string{"d", "c", "b", "a"}
	for _, c := range []struct {
		bases []string
		want  string
	}{
		{nil, ""}, {[]string{"", "x"}, ""}, {[]string{"a"}, "a"}, {[]string{"a", "c", "b"}, "c"}, {[]string{"d", "b", "b"}, "b"}, {[]string{"b", "d", "b", "d"}, "d"}, {[]string{"c", "x", "c"}, "c"},
	} {
		if got := Target(history, c.bases); got != c.want {
			t.Errorf("Target(%v) = %q; want %q", c.bases, got, c.want)
		}
	}
	if got := Target(nil, []string{"a"}); got != "" {
		t.Errorf("Target without history = %q", got)
	}
}
