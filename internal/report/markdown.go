package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
)

// The pages below are GitHub's Markdown: step summaries, check runs, comments. Their words are ours; whatever comes from
// the user's world stands in code, where GitHub sees no markup, no mention, no reference and no link.

// Code is text from the user's world as an inline code span, on one line.
func Code(s string) string {
	s = strings.TrimSpace(Clean(strings.Join(strings.Fields(s), " ")))
	if s == "" {
		return "–"
	}
	fence := strings.Repeat("`", longestRun(s)+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + s + fence
}

// Block is text from the user's world as a fenced block.
func Block(s string) string {
	lines := strings.Split(strings.ReplaceAll(strings.TrimRight(s, "\n"), "\r\n", "\n"), "\n")
	for i := range lines {
		lines[i] = Clean(lines[i])
	}
	s = strings.Join(lines, "\n")
	fence := strings.Repeat("`", max(3, longestRun(s)+1))
	return fence + "text\n" + s + "\n" + fence + "\n"
}

// longestRun is the length of the longest run of backticks.
func longestRun(s string) int {
	longest, run := 0, 0
	for _, r := range s {
		if r == '`' {
			run++
			longest = max(longest, run)
			continue
		}
		run = 0
	}
	return longest
}

// MarkdownFindings lists findings, the gravest first in the order that they are given.
func MarkdownFindings(list []deploy.Finding) string {
	var b strings.Builder
	for _, level := range []string{deploy.LevelError, deploy.LevelWarning, deploy.LevelNotice} {
		for _, f := range list {
			if f.Level != level {
				continue
			}
			icon := map[string]string{deploy.LevelError: "❌", deploy.LevelWarning: "⚠️", deploy.LevelNotice: "ℹ️"}[level]
			fmt.Fprintf(&b, "- %s **%s** %s", icon, Clean(f.Rule), Code(f.Message))
			if f.File != "" {
				place := f.File
				if f.Line > 0 {
					place = fmt.Sprintf("%s:%d", f.File, f.Line)
				}
				b.WriteString(" at " + Code(place))
			}
			b.WriteString("\n")
			if f.Expected != "" {
				b.WriteString("  - expected: " + Code(f.Expected) + "\n")
			}
			if f.Hint != "" {
				b.WriteString("  - hint: " + Code(f.Hint) + "\n")
			}
		}
	}
	return b.String()
}

// MarkdownPlan is what a plan would do, without a heading.
func MarkdownPlan(p *deploy.Plan) string {
	var b strings.Builder
	if !p.Changes() {
		b.WriteString("Nothing changes: what is live is what the commit says.\n")
	}
	for _, step := range p.Steps {
		fmt.Fprintf(&b, "- %s\n", Code(step.String()))
		if step.Action != deploy.ActionMigrate && step.Action != deploy.ActionContract {
			continue
		}
		for _, line := range migrationsOf(p, step) {
			fmt.Fprintf(&b, "  - %s\n", Code(line))
		}
	}
	return b.String()
}

// MarkdownOutcome is what a deploy did, in at most ten lines under its heading.
func MarkdownOutcome(p *deploy.Plan, o *deploy.Outcome) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "- "+format+"\n", args...) }
	if !o.Changed {
		line("nothing to do: commit %s is live as version %s", Code(short(o.Commit)), Code(o.VersionID))
		gateLine(line, o)
		recordedLine(line, o)
		return b.String()
	}
	asked := o.Gate.Tries > 0 // which comes after all that is around a version
	switch {
	case o.VersionID == "":
		line("commit %s is not released, and nothing else is", Code(short(o.Commit)))
	case o.PreviousVersionID == "":
		line("commit %s is version %s, the first of this shop", Code(short(o.Commit)), Code(o.VersionID))
	case o.Restored != "":
		line("version %s is live again; commit %s is not", Code(o.Restored), Code(short(o.Commit)))
	case o.Uploaded != "" && o.Uploaded != o.VersionID:
		line("version %s takes the traffic as before; commit %s is uploaded as %s and takes none", Code(o.VersionID), Code(short(o.Commit)), Code(o.Uploaded))
	case o.VersionID == o.PreviousVersionID && (p.Has(deploy.ActionRelease) || p.Has(deploy.ActionPut)):
		line("version %s takes the traffic as before; commit %s is not released", Code(o.VersionID), Code(short(o.Commit)))
	case o.VersionID == o.PreviousVersionID && !asked:
		line("version %s stays; what commit %s changes around it is not finished", Code(o.VersionID), Code(short(o.Commit)))
	case o.VersionID == o.PreviousVersionID:
		line("version %s stays; commit %s changed what is around it", Code(o.VersionID), Code(short(o.Commit)))
	default:
		line("commit %s is version %s, in place of %s", Code(short(o.Commit)), Code(o.VersionID), Code(o.PreviousVersionID))
	}
	if n := len(o.Migrations); n > 0 {
		names := o.Migrations
		more := ""
		if n > 3 {
			names, more = names[n-3:], fmt.Sprintf(" and %d before", n-3)
		}
		line("%d %s applied: %s%s", n, plural(n, "migration", "migrations"), Code(strings.Join(names, ", ")), more)
	}
	var around []string
	for _, s := range p.Steps {
		switch s.Action {
		case deploy.ActionSettings, deploy.ActionSubdomain, deploy.ActionCrons, deploy.ActionAttach, deploy.ActionDetach, deploy.ActionRoutes:
			around = append(around, s.String())
		}
	}
	// Where it stopped before, the error says at what; a restore put some of it back and lists the rest.
	if len(around) > 0 && asked && o.Restored == "" {
		line("%s", Code(strings.Join(around, "; ")))
	}
	if o.Bookmark != "" {
		line("database before: bookmark %s", Code(o.Bookmark))
	}
	gateLine(line, o)
	recordedLine(line, o)
	for _, what := range o.NotUndone {
		line("not undone: %s", Code(what))
	}
	line("%s, %d writes, plan %s", o.Duration.Round(100*time.Millisecond), o.Writes, Code(o.Digest[:min(12, len(o.Digest))]))
	return b.String()
}

func recordedLine(line func(string, ...any), o *deploy.Outcome) {
	if o.Recorded != "" {
		line("how version %s stands was not in the journal; it is now", Code(o.Recorded))
	}
}

func gateLine(line func(string, ...any), o *deploy.Outcome) {
	if b := o.Before; b != nil {
		switch {
		case b.Passed:
			line("asked before its release%s", proved(*b, Code))
		case b.Reason != "":
			line("**not passed** before its release, took no traffic: %s: %s", Code(b.URL), Code(b.Reason))
		case b.Skipped != "":
			line("%s", Code(b.Skipped))
		}
	}
	switch {
	case o.Gate.Passed:
		line("gate passed after %d %s: %s%s", o.Gate.Tries, plural(o.Gate.Tries, "try", "tries"), link(o.URL), proved(o.Gate, Code))
	case o.Gate.Reason != "":
		line("gate **not passed**: %s: %s", Code(o.Gate.URL), Code(o.Gate.Reason))
	}
}

// link is a shop's own address, which the policy has checked to be a hostname, as something to click on.
func link(url string) string {
	if strings.ContainsAny(url, "<>()[]` \n") {
		return Code(url)
	}
	return "<" + Clean(url) + ">"
}
