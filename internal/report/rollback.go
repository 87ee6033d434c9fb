package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/kvick/shopfleet/internal/deploy"
)

// shownCandidates is how many releases a page lists below the one that is meant.
const shownCandidates = 5

// Rollback writes where a shop goes back to, why that is safe and what stays undone; and, where out is not nil, what came of it.
func Rollback(w io.Writer, s Style, p *deploy.RollbackPlan, out *deploy.Outcome) error {
	var b strings.Builder
	line := func(key, text string) { fmt.Fprintf(&b, "  %-11s %s\n", key, Clean(text)) }
	fmt.Fprintf(&b, "%s  %s\n", s.Bold(Clean(p.Shop)), Clean(rollbackTitle(p, out, asIs)))
	line("live before", released(p.Live, p.From, asIs))
	if t := p.Target; t != nil {
		line(goes(p, out)+" back to", describe(*t, asIs))
		line("", labelled(*t))
		for _, why := range t.Why {
			line("", "· "+why)
		}
	}
	if p.Restore != nil {
		line("database", "goes back to the state of "+moment(p.Restore.At)+", bookmark "+p.Restore.Bookmark)
		line("way back", p.Restore.Present+" is the present")
		losses(&b, s, p.Restore.Losses)
	}
	for i, step := range p.Steps {
		line(map[bool]string{true: "steps"}[i == 0], step.String())
	}
	for i, what := range p.NotUndone {
		line(map[bool]string{true: "not undone"}[i == 0], what)
	}
	if out == nil {
		first := true
		for _, c := range others(p) {
			line(map[bool]string{true: "others"}[first], describe(c, asIs)+" · "+labelled(c))
			first = false
		}
		b.WriteString(s.Dim("  plan "+p.Digest()) + "\n")
	} else if out.Changed {
		line("gate", gateWords(out.Gate))
	}
	if err := Findings(&b, s, p.Findings); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// MarkdownRollback is Rollback as GitHub's Markdown, without a heading.
func MarkdownRollback(p *deploy.RollbackPlan, out *deploy.Outcome) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "- "+format+"\n", args...) }
	fmt.Fprintf(&b, "%s\n\n", rollbackTitle(p, out, Code))
	line("live before: %s", released(p.Live, p.From, Code))
	if t := p.Target; t != nil {
		line("%s back to %s", goes(p, out), describe(*t, Code))
		line("**%s**", labelled(*t))
		for _, why := range t.Why {
			fmt.Fprintf(&b, "  - %s\n", Code(why))
		}
	}
	if r := p.Restore; r != nil {
		line("the database goes back to the state of %s; the way back is bookmark %s", Code(moment(r.At)), Code(r.Present))
		for _, l := range r.Losses {
			if l.Known == deploy.Exact && l.Made == 0 && l.Changed == 0 {
				continue
			}
			fmt.Fprintf(&b, "  - %s: %s\n", Code(l.Table), lost(l))
		}
	}
	for _, step := range p.Steps {
		switch step.Action {
		case deploy.ActionRestore, deploy.ActionRelease, deploy.ActionGate: // told above, and below
		default:
			line("with it: %s", Code(step.String()))
		}
	}
	for _, what := range p.NotUndone {
		line("not undone: %s", Code(what))
	}
	if out == nil {
		list := others(p)
		if len(list) > 0 {
			b.WriteString("\n<details><summary>other releases</summary>\n\n")
			for _, c := range list {
				line("%s · %s", describe(c, Code), labelled(c))
			}
			b.WriteString("\n</details>\n")
		}
	} else if out.Changed {
		line("gate: %s", Code(gateWords(out.Gate)))
	}
	b.WriteString(MarkdownFindings(p.Findings))
	return b.String()
}

// goes is whether the shop went back already.
func goes(p *deploy.RollbackPlan, out *deploy.Outcome) string {
	if out != nil && out.VersionID == p.Target.VersionID {
		return "went"
	}
	return "goes"
}

func rollbackTitle(p *deploy.RollbackPlan, out *deploy.Outcome, code func(string) string) string {
	switch {
	case p.Target == nil:
		return "there is no release to go back to"
	case p.Done:
		return "version " + code(p.Target.VersionID) + " is live already"
	case out == nil:
		return "rollback to version " + code(p.Target.VersionID)
	case !out.Changed || out.VersionID != p.Target.VersionID:
		return "not rolled back"
	}
	return "rolled back to version " + code(p.Target.VersionID)
}

// released names a version and what is known of its commit.
func released(version, commit string, code func(string) string) string {
	switch {
	case version == "":
		return "nothing"
	case commit == "":
		return "version " + code(version) + ", of which nobody knows the commit"
	}
	return "version " + code(version) + " of commit " + code(short(commit))
}

func describe(c deploy.Candidate, code func(string) string) string {
	s := released(c.VersionID, c.Commit, code)
	if !c.Recorded.IsZero() {
		s += ", released " + moment(c.Recorded)
	}
	if c.Good {
		return s + ", known good"
	}
	return s + ", not known to be good"
}

// labelled says how well the old code gets on with today's database.
func labelled(c deploy.Candidate) string {
	switch c.Label {
	case deploy.ReadySafe:
		return "safe: the code alone goes back"
	case deploy.ReadyRestore:
		text := "needs the database to go back too"
		var list []string
		for _, l := range c.Losses {
			if l.Known != deploy.Exact || l.Made > 0 || l.Changed > 0 {
				list = append(list, Clean(l.Table)+" ("+lost(l)+")")
			}
		}
		if len(list) > 0 {
			text += ", which loses rows of " + strings.Join(list, ", ")
		}
		return text
	}
	return "blocked"
}

// lost is a loss in words of ours.
func lost(l deploy.Loss) string {
	if l.Known == deploy.Unknown {
		return "nobody can tell how many"
	}
	s := fmt.Sprintf("%d made since", l.Made)
	if l.Known != deploy.Exact {
		s = string(l.Known) + " " + s
	}
	if l.Changed > 0 {
		s += fmt.Sprintf(", %d changed", l.Changed)
	}
	return s
}

// others are candidates besides the target.
func others(p *deploy.RollbackPlan) []deploy.Candidate {
	var list []deploy.Candidate
	for _, c := range p.Candidates {
		if (p.Target == nil || c.VersionID != p.Target.VersionID) && len(list) < shownCandidates {
			list = append(list, c)
		}
	}
	return list
}

func gateWords(g deploy.GateResult) string {
	switch {
	case g.Passed && g.Skipped != "":
		return "passed; " + g.Skipped
	case g.Passed:
		return "passed"
	case g.Tries == 0:
		return "was not asked"
	}
	return "not passed: " + g.Reason
}
