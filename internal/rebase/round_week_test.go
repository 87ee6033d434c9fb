package rebase

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/fleet"
)

// week is a fleet in a simulated week: what people, deploys and ticks do to it, and what happened when.
type week struct {
	t        *testing.T
	random   *rand.Rand
	policy   fleet.Rebase
	now      time.Time
	shops    []*weekShop // in the order of their slugs
	commands []Command
	landings int
	stops    int
	failures int
}

type weekShop struct {
	Candidate
	result    time.Time // when its release ends
	landedAt  time.Time
	passes    bool // whether it will
	decidesAt time.Time
	greenAt   time.Time
}

func newWeek(t *testing.T, seed uint64) *week {
	random := rand.New(rand.NewPCG(seed, 6))
	w := &week{t: t, random: random, now: monday, policy: green()}
	w.policy.Land = []string{fleet.LandGreen, fleet.LandGreen, fleet.LandSilent, fleet.LandManual}[random.IntN(4)]
	w.policy.Replay = []string{fleet.ReplayOffer, fleet.ReplayApply}[random.IntN(2)]
	w.policy.Waves = fleet.Waves{Percent: [][]int{nil, {10, 50}, {1, 5, 30}}[random.IntN(3)],
		Bake: time.Duration(random.IntN(180)) * time.Minute, StopAt: 1 + random.IntN(3)}
	for i := range 1 + random.IntN(60) {
		slug := fmt.Sprintf("shop-%02d", i)
		s := &weekShop{Candidate: Candidate{Slug: slug, Move: randomMove(random, slug), Asked: monday}}
		s.decidesAt = monday.Add(time.Duration(random.IntN(120*60)) * time.Minute)
		s.greenAt = monday.Add(time.Duration(1+random.IntN(30)) * time.Minute)
		if random.IntN(15) == 0 {
			s.greenAt = monday.Add(200 * time.Hour) // its checks never come by themselves
		}
		if random.IntN(20) == 0 {
			s.Hold = "label hold"
		}
		if random.IntN(15) == 0 { // on main before the week began
			s.Landed, s.Move = true, nil
			s.Release = Release{State: ReleasePassed, At: monday.Add(-100 * time.Hour)}
		}
		w.shops = append(w.shops, s)
		if random.IntN(12) == 0 {
			w.policy.Waves.Canaries = append(w.policy.Waves.Canaries, slug)
		}
	}
	return w
}

// people do what they do between two ticks: agree, resolve, repair, pause, resume, skip.
func (w *week) people() {
	say := func(verb, shop string) {
		w.commands = append(w.commands, Command{Verb: verb, Shop: shop, By: "kay", At: w.now})
	}
	switch w.random.IntN(40) {
	case 0:
		say("pause", "")
	case 1, 2, 3:
		say("resume", "")
	case 4:
		say("skip", w.shops[w.random.IntN(len(w.shops))].Slug)
	}
	for _, s := range w.shops {
		if !s.Landed && !w.now.Before(s.decidesAt) {
			s.Hold = ""
			if ok, _ := s.Move.Landable(); !ok {
				s.Move = &Move{Slug: s.Slug, State: Clean, Main: roundMain, From: s.Slug + "-from", To: s.Slug + "-to2", Touched: true}
				s.Asked, s.greenAt = w.now, w.now.Add(10*time.Minute)
			}
			s.Approved = true
			if s.greenAt.Sub(w.now) > 24*time.Hour {
				s.Asked, s.greenAt = w.now, w.now.Add(10*time.Minute) // somebody ran them again
			}
		}
		s.Checks = ChecksPending
		if !w.now.Before(s.greenAt) {
			s.Checks = ChecksPassed
		}
	}
}

// deploys ends releases whose time has come, and begins them anew where people repair what failed.
func (w *week) deploys() {
	for _, s := range w.shops {
		if !s.Landed || s.landedAt.IsZero() {
			continue
		}
		switch s.Release.State {
		case NoRelease, ReleasePending:
			if !s.result.IsZero() && !w.now.Before(s.result) {
				s.Release = Release{State: ReleasePassed, At: s.result}
				if !s.passes {
					s.Release.State = ReleaseFailed
					w.failures++
				}
			} else if s.result.IsZero() && w.random.IntN(8) == 0 {
				s.result, s.passes = w.now, true // somebody found the deploy that never ran
			}
		case ReleaseFailed:
			if w.random.IntN(6) == 0 {
				s.Release = Release{State: ReleasePassed, At: w.now} // repaired by another push
			}
		}
	}
}

func (w *week) list() []Candidate {
	var list []Candidate
	for _, s := range w.shops {
		list = append(list, s.Candidate)
	}
	return list
}

func (w *week) shop(slug string) *weekShop {
	i := slices.IndexFunc(w.shops, func(s *weekShop) bool { return s.Slug == slug })
	return w.shops[i]
}

// tick plans, checks what was planned, and lands a part of it: now and then the run is killed.
func (w *week) tick() Round {
	r := Plan(w.policy, w.now, roundMain, w.list(), w.commands)
	shuffled := w.list()
	w.random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	if again := Plan(w.policy, w.now, roundMain, shuffled, w.commands); !reflect.DeepEqual(r, again) {
		w.t.Fatalf("two plans of one state:\n%+v\n%+v", r, again)
	}
	w.holds(r)
	if r.Stopped != "" {
		w.stops++
	}
	dies := len(r.Land)
	if w.random.IntN(5) == 0 {
		dies = w.random.IntN(len(r.Land) + 1)
	}
	for _, slug := range r.Land[:dies] {
		s := w.shop(slug)
		s.Landed, s.landedAt = true, w.now
		s.Release = Release{State: NoRelease, At: w.now}
		s.result, s.passes = w.now.Add(time.Duration(3+w.random.IntN(50))*time.Minute), w.random.IntN(25) > 0
		if w.random.IntN(40) == 0 {
			s.result = time.Time{} // nothing ever tells
		}
		w.landings++
	}
	return r
}

// holds checks a plan against what is promised, from the fleet itself and not from the plan's own words.
func (w *week) holds(r Round) {
	t := w.t
	t.Helper()
	var paused bool
	var resumed time.Time
	skipped := map[string]bool{}
	for _, c := range w.commands { // in the order of time
		switch c.Verb {
		case "pause":
			paused = true
		case "resume":
			paused, resumed = false, c.At
		case "skip":
			skipped[c.Shop] = true
		}
	}
	broken := func(s *weekShop) bool { // and nobody said that it may go on
		if !s.Landed || skipped[s.Slug] {
			return false
		}
		at := s.Release.At
		switch s.Release.State {
		case ReleasePassed:
			return false
		case NoRelease, ReleasePending:
			if at = at.Add(6 * time.Hour); w.now.Before(at) {
				return false
			}
		}
		return !resumed.After(at)
	}
	failed := 0
	for _, s := range w.shops {
		if broken(s) {
			failed++
		}
	}
	if len(r.Land) > 0 && (paused || failed >= w.policy.Waves.StopAt) {
		t.Fatalf("%v land with %d failures, paused %v", r.Land, failed, paused)
	}
	if (r.Stopped != "") != (failed >= w.policy.Waves.StopAt) {
		t.Fatalf("stopped %q with %d failures", r.Stopped, failed)
	}
	for _, slug := range r.Land {
		s := w.shop(slug)
		if s.Landed || s.Hold != "" || skipped[slug] {
			t.Fatalf("%+v lands", s.Candidate)
		}
		if ok, why := s.Move.Landable(); !ok {
			t.Fatalf("%s lands: %s", slug, why)
		}
		agreed := w.policy.Land != fleet.LandManual && (!s.Move.NeedsPerson() ||
			w.policy.Replay == fleet.ReplayApply && s.Move.State == Resolved && !s.Move.Touched && len(s.Move.Choices) == 0)
		if !agreed && !s.Approved {
			t.Fatalf("%s lands, and nobody agreed", slug)
		}
		if s.Checks != ChecksPassed && !(w.policy.Land == fleet.LandSilent && agreed) {
			t.Fatalf("%s lands before its checks", slug)
		}
		// Nothing of the waves before is in flight or fresh.
		for _, wave := range r.Waves {
			if slices.Contains(names(wave.Shops), slug) {
				break
			}
			for _, before := range names(wave.Shops) {
				b := w.shop(before)
				young := b.Landed && b.Release.State == ReleasePassed && w.now.Sub(b.Release.At) < w.policy.Waves.Bake
				flying := b.Landed && (b.Release.State == NoRelease || b.Release.State == ReleasePending) &&
					w.now.Sub(b.Release.At) < 6*time.Hour && !skipped[before]
				if young || flying || slices.Contains(r.Land, before) {
					t.Fatalf("%s lands while %s of an earlier wave: young %v, in flight %v", slug, before, young, flying)
				}
			}
		}
	}
	if !r.Until.IsZero() && !r.Until.After(w.now) {
		t.Fatalf("it waits until %v, which is over", r.Until)
	}
}

// TestAWeek runs random fleets through a week of ticks with failures, pauses, skips and kills. In the end every shop has
// landed, but those that people skipped.
func TestAWeek(t *testing.T) {
	landings, stops, failures := 0, 0, 0
	for seed := range uint64(60) {
		w := newWeek(t, seed)
		var r Round
		for range 7 * 24 * 2 {
			w.people()
			w.deploys()
			r = w.tick()
			w.now = w.now.Add(30 * time.Minute)
		}
		// People go home after one more word, and nothing fails any more.
		w.commands = append(w.commands, Command{Verb: "resume", At: w.now})
		for range 400 {
			w.now = w.now.Add(30 * time.Minute)
			w.deploys()
			for _, s := range w.shops {
				s.passes = true
			}
			if r = w.tick(); r.Stopped != "" {
				w.commands = append(w.commands, Command{Verb: "resume", At: w.now})
			}
		}
		if !r.Done || r.Waiting != "" || r.Stopped != "" {
			t.Fatalf("fleet %d is not done: waits for %q, stopped %q\n%+v", seed, r.Waiting, r.Stopped, r.Waves)
		}
		for _, s := range w.shops {
			if !s.Landed && !slices.Contains(r.Skipped, s.Slug) {
				t.Fatalf("fleet %d: %s never landed", seed, s.Slug)
			}
		}
		landings, stops, failures = landings+w.landings, stops+w.stops, failures+w.failures
	}
	t.Logf("%d landings, %d failures, %d ticks that were stopped", landings, failures, stops)
	if landings < 1000 || failures < 30 || stops < 50 {
		t.Error("the weeks were too quiet to tell anything")
	}
}
