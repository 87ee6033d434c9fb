package report

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/rebase"
)

// FleetPage is what the fleet's issue and the pages of a run say.
type FleetPage struct {
	Round    rebase.Round // without waves when none was planned; the decisions are then those of Moves
	Moves    []rebase.Move
	Pulls    map[string]int // numbers of the shops' open pull requests
	Clusters []rebase.Cluster
	Main     string
	// At is when. It is on a run's page and not in the issue, which is not written again while it says the same.
	At time.Time
	// Policy is asked where no round was planned.
	Policy fleet.Rebase
}

// Open says whether there is anything that the issue has to say.
func (p FleetPage) Open() bool {
	return len(p.decisions()) > 0 || len(p.Round.Waves) > 0 && !p.Round.Done
}

// Checked is a ticked box of the fleet issue: a command about one shop and one commit.
type Checked struct {
	Verb string // "land"
	Slug string
	SHA  string // the commit that the branch shall become, in full
}

// box is the line of a check box. The marker at its end says the same as its words, so that neither can be changed alone.
func box(c Checked, words string) string {
	return fmt.Sprintf("- [ ] %s `%s` at `%s`%s <!-- %s %s %s -->\n", c.Verb, c.Slug, c.SHA[:12], words, c.Verb, c.Slug, c.SHA)
}

var (
	boxLine  = regexp.MustCompile("^- \\[[xX]\\] (land) `([a-z0-9-]{1,63})` at `([0-9a-f]{12})`(.*) <!-- (land) ([a-z0-9-]{1,63}) ([0-9a-f]{40}) -->$")
	fullSHA  = regexp.MustCompile(`^[0-9a-f]{40}$`)
	openCode = regexp.MustCompile("^ {0,3}(```+|~~~+)")
)

// ParseChecked reads the ticked boxes of a fleet issue, in their order and each once. It takes a line only as FleetIssue
// writes it, with nothing in disagreement. Who ticked the box is not in the text: the caller asks that.
func ParseChecked(body string) []Checked {
	var out []Checked
	fence := ""
	for _, line := range strings.Split(strings.ReplaceAll(body, "\r\n", "\n"), "\n") {
		if run := openCode.FindStringSubmatch(line); run != nil {
			switch {
			case fence == "":
				fence = run[1]
			case strings.HasPrefix(run[1], fence):
				fence = ""
			}
			continue
		}
		m := boxLine.FindStringSubmatch(line)
		if fence != "" || m == nil || m[1] != m[5] || m[2] != m[6] || m[3] != m[7][:12] || strings.Contains(m[4], "<!--") || fleet.CheckSlug(m[2]) != nil {
			continue
		}
		c := Checked{Verb: m[1], Slug: m[2], SHA: m[7]}
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// pull names a shop's pull request, "" when it has none.
func (p FleetPage) pull(slug string) string {
	if n := p.Pulls[slug]; n > 0 {
		return fmt.Sprintf(" (#%d)", n)
	}
	return ""
}

// persons are the shops that wait for a person, and why.
func (p FleetPage) persons() []rebase.WaveShop {
	var out []rebase.WaveShop
	for _, w := range p.Round.Waves {
		for _, s := range w.Shops {
			if s.State == rebase.ShopPerson {
				out = append(out, s)
			}
		}
	}
	if len(p.Round.Waves) > 0 {
		return out
	}
	for i := range p.Moves {
		m := &p.Moves[i]
		why := m.Decision(p.Policy.Replay)
		if ok, _ := m.Landable(); why == "" && ok && p.Policy.Land == fleet.LandManual {
			why = "the policy lands nothing by itself"
		}
		if why != "" && m.To != m.From { // otherwise nothing is to be moved, whatever was found
			out = append(out, rebase.WaveShop{Slug: m.Slug, State: rebase.ShopPerson, Why: why})
		}
	}
	return out
}

// decisions are the lines of what people have to decide. A cluster is one decision, whatever the number of shops; a shop is
// listed alone for what is in no cluster.
func (p FleetPage) decisions() []string {
	persons := p.persons()
	waits := map[string]bool{}
	for _, s := range persons {
		waits[s.Slug] = true
	}
	var out []string
	clustered := map[string]int{}
	for _, c := range p.Clusters {
		shops := slices.DeleteFunc(slices.Clone(c.Shops), func(slug string) bool { return !waits[slug] })
		if len(shops) < 2 {
			continue
		}
		what, where := Code(clip(c.Path, 200)), "a pull request of theirs"
		var keys []string
		for _, v := range c.Values {
			if v.Taken == "" {
				keys = append(keys, v.Key)
			}
		}
		if len(keys) > 0 {
			what += ", " + Code(clip(few(keys, 3), 200))
		}
		for _, slug := range slices.Backward(shops) {
			clustered[slug]++
			if n := p.Pulls[slug]; n > 0 {
				where = fmt.Sprintf("#%d", n)
			}
		}
		out = append(out, fmt.Sprintf("- **One decision, %d shops**: %s on %s. Resolve it in %s; what lands there goes into the others too.\n",
			len(shops), what, Code(clip(few(shops, 10), 700)), where))
	}
	moves := map[string]*rebase.Move{}
	for i := range p.Moves {
		moves[p.Moves[i].Slug] = &p.Moves[i]
	}
	for _, s := range persons {
		m, why := moves[s.Slug], s.Why
		if m != nil && m.Problem == "" && len(m.Conflicts) > 0 {
			if len(m.Conflicts) == clustered[s.Slug] {
				continue
			}
			why += ": " + few(paths(m), 3)
		}
		words := ": " + Code(clip(why, 300)) + p.pull(s.Slug)
		if m != nil && p.Pulls[m.Slug] > 0 && fleet.CheckSlug(m.Slug) == nil && fullSHA.MatchString(m.To) {
			if ok, _ := m.Landable(); ok {
				out = append(out, box(Checked{"land", m.Slug, m.To}, words))
				continue
			}
		}
		out = append(out, "- "+Code(clip(s.Slug, 100))+words+"\n")
	}
	return out
}

// lines are the shops of a round that are in a state, and why.
func (p FleetPage) lines(state rebase.ShopState) []string {
	var out []string
	for _, w := range p.Round.Waves {
		for _, s := range w.Shops {
			if s.State == state {
				out = append(out, fmt.Sprintf("- %s: %s%s\n", Code(clip(s.Slug, 100)), Code(clip(s.Why, 300)), p.pull(s.Slug)))
			}
		}
	}
	return out
}

// RebaseMarkdown is a run's page, for the summary of a step.
func RebaseMarkdown(p FleetPage) string {
	head := fmt.Sprintf("%s onto main %s: %s.\n", counted(len(p.Moves), "shop"), Code(short(p.Main)), stateCounts(p.Moves))
	if !p.At.IsZero() {
		head = p.At.UTC().Format("2006-01-02 15:04 UTC") + ": " + head
	}
	// Without boxes: nobody reads here what is ticked.
	decisions := p.decisions()
	for i, line := range decisions {
		if text, ok := strings.CutPrefix(line, "- [ ] land "); ok {
			text, _, _ = strings.Cut(text, " <!-- ")
			decisions[i] = "- " + text + "\n"
		}
	}
	return p.page(head, decisions, "")
}

// FleetIssue is the fleet's one issue: the open decisions, with a box where a person can agree, and how far the round is.
func FleetIssue(p FleetPage) (title, body string) {
	decisions := p.decisions()
	title = "Rebase: nothing to decide"
	if len(decisions) > 0 {
		title = "Rebase: " + counted(len(decisions), "open decision")
	}
	switch {
	case p.Round.Paused != nil:
		title += ", paused"
	case p.Round.Stopped != "":
		title += ", stopped"
	}
	well, total := 0, 0
	for _, w := range p.Round.Waves {
		for _, s := range w.Shops {
			if total++; s.State == rebase.ShopPassed {
				well++
			}
		}
	}
	head := fmt.Sprintf("Main is %s.\n", Code(short(p.Main)))
	if total > 0 {
		head = fmt.Sprintf("Main is %s; on it and well: %d of %s.\n", Code(short(p.Main)), well, counted(total, "shop"))
	}
	foot := "\n### Commands\n\nA ticked box is a command of whom that ticks it. As comments:\n\n" +
		"- `/pause`: nothing more lands\n" +
		"- `/resume`: it goes on, after a pause or after failures\n" +
		"- `/skip swicked`, with a shop's slug: this round does without the shop\n"
	return title, p.page(head, decisions, foot)
}

// page is what the issue and the summary have in common, in at most maxPage bytes.
func (p FleetPage) page(title string, decisions []string, foot string) string {
	r := &p.Round
	var head strings.Builder
	head.WriteString(title)
	switch {
	case r.Paused != nil:
		fmt.Fprintf(&head, "\n**Paused** by %s at %s; nothing lands until somebody comments `/resume`.\n", Code(r.Paused.By), r.Paused.At.UTC().Format("2006-01-02 15:04 UTC"))
	case r.Stopped != "":
		fmt.Fprintf(&head, "\n**Stopped**: %s. Nothing lands until those pass, or somebody comments `/resume`.\n", Code(clip(r.Stopped, 500)))
	case r.Done:
		head.WriteString("\nThe round is done.\n")
	case len(r.Land) > 0:
		fmt.Fprintf(&head, "\nLanding now: %s.\n", Code(few(r.Land, 10)))
	case r.Waiting != "":
		fmt.Fprintf(&head, "\nWaiting for %s.\n", Code(clip(r.Waiting, 500)))
	}
	var waves strings.Builder
	if len(r.Waves) > 0 {
		waves.WriteString("\n### Waves\n\n")
	}
	for _, w := range r.Waves {
		fmt.Fprintf(&waves, "- **%s**, %s: %s\n", Clean(w.Name), counted(len(w.Shops), "shop"), waveWords(w))
	}
	if len(r.Skipped) > 0 {
		fmt.Fprintf(&waves, "\nSkipped: %s\n", Code(few(r.Skipped, 20)))
	}
	left := maxPage - head.Len() - waves.Len() - len(foot)
	list := func(name string, lines []string) string {
		const room = 300 // for the heading and the word about the rest
		if len(lines) == 0 {
			return ""
		}
		var b strings.Builder
		fmt.Fprintf(&b, "\n### %s\n\n", name)
		for i, line := range lines {
			if b.Len()+len(line)+room > left {
				fmt.Fprintf(&b, "\n… and %d more; `shopfleet rebase` lists all.\n", len(lines)-i)
				break
			}
			b.WriteString(line)
		}
		left -= b.Len()
		return b.String()
	}
	return head.String() + list("To decide", decisions) + list("Failed", p.lines(rebase.ShopFailed)) + list("Held", p.lines(rebase.ShopHeld)) + waves.String() + foot
}
