package rebase

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/fleet"
)

// Patience is how long a round waits for what others owe it, the checks of a pull request or the result of a release.
// After it a check counts as missing, and a release as failed: nothing waits for ever.
const Patience = 6 * time.Hour

// IssueMarker is the hidden line by which the fleet issue is found again. rebase.yml looks for it too.
const IssueMarker = "<!-- shopfleet:rebase -->"

// Candidate is a shop as a round sees it.
type Candidate struct {
	Slug string
	// Move is the shop's branch carried onto the round's main; nil when the shop was not surveyed.
	Move *Move
	// Landed says that the shop's branch has the round's main in it.
	Landed bool
	// Release is the journal's word on what landed.
	Release Release
	Pull    int // number of the open pull request; 0 when there is none
	Checks  ChecksState
	Asked   time.Time // since when the checks are awaited, such as the head's push; the zero value sets no limit
	Hold    string    // why it must not land, for people: a label, or a person's word; "" when nothing holds it
	// Approved says that a person wants Move.To on the branch: a label, a comment or a box that names just this commit.
	Approved bool
}

// ReleaseState is what became of a release.
type ReleaseState string

// The states of a release. The zero value is NoRelease.
const (
	NoRelease      ReleaseState = "none" // the journal has nothing yet
	ReleasePending ReleaseState = "pending"
	ReleasePassed  ReleaseState = "passed"
	ReleaseFailed  ReleaseState = "failed"
)

// Release is the journal's word on a shop's releases that have the round's main in them.
type Release struct {
	// State is the newest finished one's, pending when none is finished. A shop that passed stays passed while its next
	// release runs: a push to a canary does not begin the wave anew.
	State ReleaseState
	// At is when it failed, first passed, began, or, with no release at all, when the branch landed; zero when it did
	// not land in this round, as of a shop that is new.
	At   time.Time
	What string // the reason of a failure, for people
}

// ChecksState is what the checks say of a commit.
type ChecksState string

// The states of checks. The zero value counts as ChecksPending: what is not known to be green is not.
const (
	ChecksPassed  ChecksState = "passed" // all that the policy names are there and green, or it names none
	ChecksPending ChecksState = "pending"
	ChecksFailed  ChecksState = "failed"
)

// ShopState is where a shop is in a round.
type ShopState string

// The states of a shop in a round.
const (
	ShopWaiting ShopState = "waiting" // for checks
	ShopReady   ShopState = "ready"   // lands when its wave is open
	ShopLanded  ShopState = "landed"  // and the release has no result yet
	ShopPassed  ShopState = "passed"
	ShopFailed  ShopState = "failed"
	ShopSkipped ShopState = "skipped"
	ShopHeld    ShopState = "held"
	ShopPerson  ShopState = "person" // a person has to decide or to repair something
)

// Round is what is to be done with a fleet now, and what it waits for. It is computed anew at every tick and kept nowhere.
type Round struct {
	Main    string    `json:"main"`
	Waves   []Wave    `json:"waves"`
	Land    []string  `json:"land"`              // the shops that land now, in this order
	Waiting string    `json:"waiting,omitempty"` // for what, for people; "" when it waits for nothing
	Until   time.Time `json:"until,omitzero"`    // when time alone changes something; zero when it does not
	Paused  *Command  `json:"paused,omitempty"`  // by this word of a person
	Stopped string    `json:"stopped,omitempty"` // because of these failures; "" when it is not
	Skipped []string  `json:"skipped,omitempty"` // sorted
	// Done says that every shop is on main and well, or was skipped.
	Done bool `json:"done"`
}

// Wave is a group of shops that land together.
type Wave struct {
	Name  string     `json:"name"` // "canaries", "10 %", "the rest"
	Shops []WaveShop `json:"shops"`
	// Open says that its shops may land: every wave before is settled and has baked.
	Open bool `json:"open"`
	// BakedAt is when the wave after it may begin, as far as time is concerned; zero while it is not settled and when
	// nothing of it was released.
	BakedAt time.Time `json:"baked_at,omitzero"`
}

// WaveShop is a shop in a wave.
type WaveShop struct {
	Slug  string    `json:"shop"`
	State ShopState `json:"state"`
	Why   string    `json:"why,omitempty"` // for people
	// Forgiven says of a failed shop that a person went on after the failure: it neither stops nor holds up the round.
	Forgiven bool `json:"forgiven,omitempty"`
}

// Plan says which shops land now. It is a function of what it is given and of nothing else, so that a tick that died is
// repeated by the next one.
//
// list has each shop of the fleet once, in any order. commands are the words of people who may say them, about this round.
//
// A wave opens when every shop of the waves before is settled and those that were released have been good for the bake
// time. Settled is a shop that passed, was skipped, is held, needs a person, or failed within what the policy bears: one
// shop that nobody looks at must not hold up a fleet for ever, and failures have their own limit, which stops everything.
func Plan(policy fleet.Rebase, now time.Time, main string, list []Candidate, commands []Command) Round {
	r := Round{Main: main, Land: []string{}}
	said := hear(commands)
	if said.paused != nil {
		paused := *said.paused
		r.Paused = &paused
	}
	shops := map[string]Candidate{}
	for _, c := range list {
		shops[c.Slug] = c
	}
	slugs := slices.Sorted(maps.Keys(shops))
	for _, slug := range slugs {
		if said.skipped[slug] {
			r.Skipped = append(r.Skipped, slug)
		}
	}
	r.Waves = divide(policy.Waves, main, slugs)

	r.Done = true
	var failed []string
	open := true
	for i := range r.Waves {
		wave := &r.Waves[i]
		wave.Open = open
		settled := true
		for j := range wave.Shops {
			s := &wave.Shops[j]
			c := shops[s.Slug]
			*s = said.state(policy, now, main, c)
			switch s.State {
			case ShopPassed:
				wave.BakedAt = later(wave.BakedAt, c.Release.At.Add(policy.Waves.Bake))
			case ShopFailed:
				if !s.Forgiven {
					failed = append(failed, s.Slug)
				}
			case ShopLanded:
				settled = false
				r.until(now, c.Release.At.Add(Patience))
			case ShopWaiting:
				settled = false
				if !c.Asked.IsZero() {
					r.until(now, c.Asked.Add(Patience))
				}
			case ShopReady:
				settled = false
				if open {
					r.Land = append(r.Land, s.Slug)
				}
			}
			r.Done = r.Done && (s.State == ShopPassed || s.State == ShopSkipped)
		}
		if !settled {
			wave.BakedAt = time.Time{}
		} else if open && i+1 < len(r.Waves) {
			r.until(now, wave.BakedAt)
		}
		open = open && settled && !now.Before(wave.BakedAt)
	}
	if len(failed) >= max(policy.Waves.StopAt, 1) {
		slices.Sort(failed)
		r.Stopped = count(len(failed), "release") + " failed: " + some(failed)
	}
	if r.Paused != nil || r.Stopped != "" {
		r.Land = []string{}
	}
	r.Waiting = r.waits()
	return r
}

// until notes a time at which something changes by itself.
func (r *Round) until(now, at time.Time) {
	if at.After(now) && (r.Until.IsZero() || at.Before(r.Until)) {
		r.Until = at
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// divide puts the shops into waves. Which shops come early differs from week to week, so that it is not always the same
// ones that find the mistakes, and yet it is the same for everybody who looks.
func divide(policy fleet.Waves, main string, slugs []string) []Wave {
	waves := []Wave{}
	add := func(name string, slugs []string) {
		if len(slugs) == 0 {
			return
		}
		w := Wave{Name: name, Shops: make([]WaveShop, len(slugs))}
		for i, slug := range slugs {
			w.Shops[i].Slug = slug
		}
		waves = append(waves, w)
	}
	var canaries []string
	for _, slug := range policy.Canaries {
		if slices.Contains(slugs, slug) && !slices.Contains(canaries, slug) {
			canaries = append(canaries, slug)
		}
	}
	add("canaries", canaries)
	rest := slices.DeleteFunc(slices.Clone(slugs), func(slug string) bool { return slices.Contains(canaries, slug) })
	draw := map[string][sha256.Size]byte{}
	for _, slug := range rest {
		draw[slug] = sha256.Sum256([]byte(main + "\x00" + slug))
	}
	sort.Slice(rest, func(i, j int) bool {
		a, b := rest[i], rest[j]
		x, y := draw[a], draw[b]
		return cmp.Or(bytes.Compare(x[:], y[:]), cmp.Compare(a, b)) < 0
	})
	landed := len(canaries)
	for _, percent := range policy.Percent {
		share := (len(slugs)*percent + 99) / 100
		take := min(max(share-landed, 0), len(rest))
		add(fmt.Sprintf("%d %%", percent), rest[:take])
		rest, landed = rest[take:], landed+take
	}
	if len(waves) == 0 {
		add("all shops", rest)
	} else {
		add("the rest", rest)
	}
	return waves
}

// words are what people said about a round.
type words struct {
	paused  *Command
	resumed time.Time // the last time; zero when nobody did
	skipped map[string]bool
}

func hear(commands []Command) words {
	w := words{skipped: map[string]bool{}}
	for i, c := range commands {
		switch c.Verb {
		case "pause":
			if w.paused == nil || c.At.After(w.paused.At) {
				w.paused = &commands[i]
			}
		case "resume":
			w.resumed = later(w.resumed, c.At)
		case "skip":
			w.skipped[c.Shop] = true
		}
	}
	// Of two words of one second the one that does less counts.
	if w.paused != nil && w.resumed.After(w.paused.At) {
		w.paused = nil
	}
	return w
}

// Paused is the word that a round is paused by; nil when it is not.
func Paused(commands []Command) *Command { return hear(commands).paused }

// state is where a shop is, and why.
func (w words) state(policy fleet.Rebase, now time.Time, main string, c Candidate) WaveShop {
	is := func(s ShopState, why string) WaveShop { return WaveShop{Slug: c.Slug, State: s, Why: why} }
	m := c.Move
	if c.Landed || m != nil && m.Main == main && m.State == Current {
		return w.released(now, c)
	}
	if w.skipped[c.Slug] {
		return is(ShopSkipped, "")
	}
	if c.Hold != "" {
		return is(ShopHeld, c.Hold)
	}
	switch {
	case m == nil:
		return is(ShopPerson, "its branch was not surveyed")
	case m.Main != main:
		return is(ShopPerson, "it was carried onto another commit of main")
	}
	if ok, why := m.Landable(); !ok {
		return is(ShopPerson, why)
	}
	decision := m.Decision(policy.Replay)
	if c.Checks == ChecksFailed {
		return is(ShopPerson, "a check failed")
	}
	if !c.Approved {
		if decision != "" {
			return is(ShopPerson, decision)
		}
		if policy.Land != fleet.LandGreen && policy.Land != fleet.LandSilent {
			return is(ShopPerson, "the policy lands nothing by itself")
		}
	}
	quiet := policy.Land == fleet.LandSilent && decision == ""
	if c.Checks != ChecksPassed && !quiet {
		if !c.Asked.IsZero() && !now.Before(c.Asked.Add(Patience)) {
			return is(ShopPerson, "checks have no result after "+hours(Patience))
		}
		return is(ShopWaiting, "checks have no result yet")
	}
	return is(ShopReady, "")
}

// released is where a shop is that has landed.
func (w words) released(now time.Time, c Candidate) WaveShop {
	r := c.Release
	is := func(s ShopState, why string) WaveShop { return WaveShop{Slug: c.Slug, State: s, Why: why} }
	failed := func(at time.Time, why string) WaveShop {
		s := is(ShopFailed, why)
		s.Forgiven = w.resumed.After(at)
		return s
	}
	switch {
	case r.State == ReleasePassed:
		return is(ShopPassed, "")
	case w.skipped[c.Slug]:
		return is(ShopSkipped, "")
	case r.State == ReleaseFailed:
		return failed(r.At, cmp.Or(r.What, "its release failed"))
	case r.At.IsZero():
		return is(ShopPerson, "its branch is on main, and it was never released")
	case !now.Before(r.At.Add(Patience)):
		return failed(r.At.Add(Patience), "its release has no result after "+hours(Patience))
	}
	return is(ShopLanded, "")
}

// Decision is what a person has to decide before the move may land; "" when nothing. replay is the policy's word on
// conflicts that were resolved on another shop.
func (m *Move) Decision(replay string) string {
	switch {
	case m.Problem != "":
		return m.Problem
	case len(m.Conflicts) > 0 || m.State == Conflicted:
		return "conflicts are not resolved"
	case m.Kept != "":
		return m.Kept
	case m.State == Drifted || len(m.Drift) > 0:
		return "it changes files that are main's"
	case m.Touched:
		return "people committed to its rebase branch"
	case len(m.Choices) > 0:
		return "main and the shop gave the same keys different values"
	case len(m.Replayed) > 0 && replay != fleet.ReplayApply, slices.ContainsFunc(m.Replayed, func(r Replayed) bool { return r.Unproven }):
		return "conflicts were resolved as they had been on another shop"
	case m.State == Unusable:
		return "nothing could be carried"
	}
	return ""
}

// waits says what the round waits for.
func (r *Round) waits() string {
	switch {
	case r.Done || len(r.Land) > 0:
		return ""
	case r.Paused != nil:
		return "a /resume: it was paused"
	case r.Stopped != "":
		return "the failed shops to pass, or a /resume"
	}
	states := map[ShopState]int{}
	last, baked := 0, time.Time{}
	for i, w := range r.Waves {
		if !w.Open {
			continue
		}
		last, baked = i, later(baked, w.BakedAt)
		for _, s := range w.Shops {
			states[s.State]++
		}
	}
	var parts []string
	if n := states[ShopLanded]; n > 0 {
		parts = append(parts, "the results of "+count(n, "release"))
	}
	if n := states[ShopWaiting]; n > 0 {
		parts = append(parts, "the checks of "+count(n, "shop"))
	}
	if len(parts) > 0 {
		return strings.Join(parts, " and ")
	}
	if last+1 < len(r.Waves) {
		return fmt.Sprintf("the bake time of the wave %q, until %s", r.Waves[last].Name, baked.UTC().Format("2006-01-02 15:04 UTC"))
	}
	if n := states[ShopPerson] + states[ShopHeld] + states[ShopFailed]; n > 0 {
		return "people, for " + count(n, "shop")
	}
	return ""
}

// count puts a number before a word.
func count(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// some names the first of many.
func some(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func hours(d time.Duration) string { return count(int(d.Hours()), "hour") }

// Target is the commit of main that a round is about: the one that most rebase branches were made on, and of those with as
// many the newest. One shop that was carried further alone takes no other with it. history are main's commits, each before
// its parents, as git rev-list gives them; bases are the commits of main that the rebase branches begin on. It is "" when
// there is no round.
func Target(history, bases []string) string {
	on := map[string]int{}
	for _, commit := range bases {
		on[commit]++
	}
	target := ""
	for _, commit := range history {
		if on[commit] > 0 && (target == "" || on[commit] > on[target]) {
			target = commit
		}
	}
	return target
}
