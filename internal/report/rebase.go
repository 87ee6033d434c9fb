package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/rebase"
)

// RebasePage is what a run found and did, for a terminal.
type RebasePage struct {
	FleetPage
	Pushed []string // shops whose rebase branch was pushed
	Landed []string // what landed, a line each
	Would  []string // shops that were named and would land, in a dry run
	Dry    bool     // nothing was written
}

// states are a move's states from the one that needs a person most to the one that needs nobody.
var states = []rebase.State{rebase.Unusable, rebase.Conflicted, rebase.Drifted, rebase.Diverged, rebase.Resolved, rebase.Clean, rebase.Current}

// Rebase writes a line for each shop that is not simply carried, what several shops have in common, how many there are of
// each kind, and what happens next.
func Rebase(w io.Writer, s Style, p RebasePage) error {
	var b strings.Builder
	width := 0
	shown := func(m *rebase.Move) bool {
		return m.NeedsPerson() || m.Kept != "" || m.State == rebase.Resolved || m.State == rebase.Diverged
	}
	for i := range p.Moves {
		if shown(&p.Moves[i]) {
			width = max(width, len(Clean(p.Moves[i].Slug)))
		}
	}
	for _, state := range states {
		paint := s.Dim
		switch state {
		case rebase.Unusable, rebase.Conflicted:
			paint = s.Red
		case rebase.Drifted, rebase.Diverged:
			paint = s.Yellow
		case rebase.Resolved:
			paint = s.Green
		}
		for i := range p.Moves {
			m := &p.Moves[i]
			if m.State != state || !shown(m) {
				continue
			}
			slug := Clean(m.Slug)
			fmt.Fprintf(&b, "%s%s  %s", s.Bold(slug), strings.Repeat(" ", width-len(slug)), paint(fmt.Sprintf("%-10s", state)))
			if pull := p.Pulls[m.Slug]; pull > 0 {
				fmt.Fprintf(&b, "  #%d", pull)
			}
			fmt.Fprintf(&b, "  %s\n", Clean(moveWords(m)))
			for _, line := range moveDetails(m) {
				fmt.Fprintf(&b, "    %s\n", Clean(line))
			}
		}
	}
	for _, c := range p.Clusters {
		if len(c.Shops) > 1 {
			fmt.Fprintf(&b, "%s %s on %s\n", s.Bold(fmt.Sprintf("one decision for %d shops:", len(c.Shops))), Clean(c.Path), Clean(few(c.Shops, 5)))
		}
	}
	fmt.Fprintf(&b, "%s onto main %s: %s\n", counted(len(p.Moves), "shop"), Clean(short(p.Main)), stateCounts(p.Moves))
	if n := len(p.Pushed); n > 0 {
		fmt.Fprintf(&b, "pushed: %d %s\n", n, plural(n, "rebase branch", "rebase branches"))
	}
	if n := len(p.Pulls); n > 0 {
		fmt.Fprintf(&b, "open: %s\n", counted(n, "pull request"))
	}
	for _, line := range p.Landed {
		fmt.Fprintf(&b, "%s %s\n", s.Green("landed:"), Clean(line))
	}
	if len(p.Would) > 0 {
		fmt.Fprintf(&b, "%s %s\n", s.Green("would land:"), Clean(few(p.Would, 10)))
	}
	r := &p.Round
	for _, wave := range r.Waves {
		fmt.Fprintf(&b, "wave %s: %s\n", Clean(wave.Name), waveWords(wave))
	}
	switch {
	case r.Done:
		b.WriteString(s.Green("done:") + " every shop is on main and well, or was skipped\n")
	case r.Paused != nil:
		fmt.Fprintf(&b, "%s by %s; nothing lands until a /resume\n", s.Yellow("paused"), Clean(r.Paused.By))
	case r.Stopped != "":
		fmt.Fprintf(&b, "%s %s; nothing lands until those pass, or a /resume\n", s.Red("stopped:"), Clean(r.Stopped))
	case len(r.Land) > 0:
		fmt.Fprintf(&b, "%s %s\n", s.Green("lands now:"), Clean(few(r.Land, 10)))
	case r.Waiting != "":
		fmt.Fprintf(&b, "%s %s\n", s.Yellow("waits for:"), Clean(r.Waiting))
	}
	if p.Dry {
		b.WriteString("nothing was written\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// moveWords say in one line what became of a shop's branch.
func moveWords(m *rebase.Move) string {
	switch {
	case m.Problem != "":
		return m.Problem
	case len(m.Conflicts) > 0:
		return counted(len(m.Conflicts), "file") + " to decide on: " + few(paths(m), 3)
	case m.Kept != "":
		return m.Kept
	case m.State == rebase.Current:
		return "is on main already"
	}
	var parts []string
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, counted(n, what))
		}
	}
	add(len(m.Commits), "commit")
	if n := len(m.Dropped); n > 0 {
		parts = append(parts, fmt.Sprintf("%d dropped", n))
	}
	if n := len(m.Choices); n > 0 {
		parts = append(parts, counted(n, "value")+" chosen")
	}
	if n := len(m.Replayed); n > 0 {
		parts = append(parts, counted(n, "conflict")+" resolved as before")
	}
	if len(m.Drift) > 0 {
		parts = append(parts, "changes "+few(m.Drift, 3))
	}
	if m.Touched {
		parts = append(parts, "people committed to "+rebase.HeadBranch(m.Slug))
	}
	if len(parts) == 0 {
		return "main as it is"
	}
	return strings.Join(parts, ", ")
}

func paths(m *rebase.Move) []string {
	var out []string
	for _, c := range m.Conflicts {
		if !slices.Contains(out, c.Path) {
			out = append(out, c.Path)
		}
	}
	return out
}

// manyValues is how many keys of a file a terminal shows.
const manyValues = 5

// moveDetails are the keys that a move is about, for a terminal.
func moveDetails(m *rebase.Move) []string {
	var out []string
	value := func(s string) string {
		if s == "" {
			return "nothing"
		}
		return clip(s, 40)
	}
	for _, c := range m.Conflicts {
		if c.Why != "" {
			out = append(out, c.Path+" is not merged key by key: "+clip(c.Why, 200))
		}
		for i, v := range c.Values {
			if i == manyValues {
				out = append(out, fmt.Sprintf("… and %d more", len(c.Values)-i))
				break
			}
			if v.Taken == "" {
				out = append(out, fmt.Sprintf("%s: main %s, shop %s", clip(v.Key, 80), value(v.Main), value(v.Shop)))
			}
		}
	}
	for i, v := range m.Choices {
		if i == manyValues {
			out = append(out, fmt.Sprintf("… and %d more", len(m.Choices)-i))
			break
		}
		out = append(out, fmt.Sprintf("%s: main %s, shop %s; %s's taken", clip(v.Key, 80), value(v.Main), value(v.Shop), v.Taken))
	}
	if m.Sorted != "" {
		out = append(out, m.Sorted)
	}
	return out
}

// clip cuts a text to at most n characters.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

// stateCounts say how many shops are in which state.
func stateCounts(moves []rebase.Move) string {
	of := map[rebase.State]int{}
	for i := range moves {
		of[moves[i].State]++
	}
	var parts []string
	for _, state := range slices.Backward(states) {
		if of[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", of[state], state))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// waveWords say how many shops of a wave are in which state.
func waveWords(w rebase.Wave) string {
	of := map[rebase.ShopState]int{}
	for _, s := range w.Shops {
		of[s.State]++
	}
	var parts []string
	for _, state := range []struct {
		is   rebase.ShopState
		word string
	}{
		{rebase.ShopPassed, "passed"}, {rebase.ShopLanded, "being released"}, {rebase.ShopReady, "ready"}, {rebase.ShopWaiting, "waiting for checks"},
		{rebase.ShopPerson, "for a person"}, {rebase.ShopFailed, "failed"}, {rebase.ShopHeld, "held"}, {rebase.ShopSkipped, "skipped"},
	} {
		if n := of[state.is]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state.word))
		}
	}
	if !w.Open {
		parts = append(parts, "not open yet")
	}
	if !w.BakedAt.IsZero() {
		parts = append(parts, "baked at "+w.BakedAt.UTC().Format("2006-01-02 15:04 UTC"))
	}
	return strings.Join(parts, ", ")
}
