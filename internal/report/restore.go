package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kvick/shopfleet/internal/deploy"
)

// RestorePlan writes what a restore would take away and what it would leave, so that somebody can say yes to it. Tables
// that certainly lose nothing are only counted.
func RestorePlan(w io.Writer, s Style, p *deploy.RestorePlan) error {
	var b strings.Builder
	line := func(key, text string) { fmt.Fprintf(&b, "  %-11s %s\n", key, Clean(text)) }
	fmt.Fprintf(&b, "%s  restore of %s\n", s.Bold(Clean(p.Shop)), Clean(p.Database))
	if err := Findings(&b, s, p.Findings); err != nil {
		return err
	}
	state := "the state of " + moment(p.At)
	if p.Release != "" {
		state += ", the last one of version " + p.Release
	}
	line("back to", state)
	line("bookmark", p.Bookmark)
	line("present", p.Present)
	if p.Changes() {
		losses(&b, s, p.Losses)
		for i, m := range p.Migrations {
			sure := ""
			if !m.Sure {
				sure = ", in the second of the target: perhaps not undone"
			}
			line(map[bool]string{true: "migrations"}[i == 0], m.Name+" is undone (applied "+m.AppliedAt+sure+")")
		}
		for i, what := range p.NotUndone {
			line(map[bool]string{true: "not undone"}[i == 0], what)
		}
		b.WriteString(s.Dim("  plan "+p.Digest()) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// losses writes the table of losses.
func losses(b *strings.Builder, s Style, list []deploy.Loss) {
	rows := [][4]string{{"table", "rows now", "made since", ""}}
	nothing := 0
	for _, l := range list {
		if l.Known == deploy.Exact && l.Made == 0 && l.Changed == 0 {
			nothing++
			continue
		}
		made, note := string(l.Known), ""
		switch l.Known {
		case deploy.Exact:
			made = strconv.FormatInt(l.Made, 10)
		case deploy.AtLeast, deploy.AtMost:
			made += " " + strconv.FormatInt(l.Made, 10)
		}
		if l.By != "" {
			note = "by " + l.By
		}
		if l.Changed > 0 {
			note += fmt.Sprintf("; %d changed since", l.Changed)
		}
		rows = append(rows, [4]string{Clean(l.Table), strconv.FormatInt(l.Rows, 10), made, Clean(note)})
	}
	if len(rows) > 1 {
		var width [3]int
		for _, r := range rows {
			for i := range width {
				width[i] = max(width[i], utf8.RuneCountInString(r[i]))
			}
		}
		pad := func(i int, text string) string { return strings.Repeat(" ", width[i]-utf8.RuneCountInString(text)) }
		for i, r := range rows {
			text := r[0] + pad(0, r[0]) + "  " + pad(1, r[1]) + r[1] + "  " + pad(2, r[2])
			switch {
			case i == 0:
				text = s.Dim(text + r[2])
			case r[2] == "0":
				text += r[2]
			default:
				text += s.Red(r[2])
			}
			b.WriteString(strings.TrimRight("    "+text+"  "+s.Dim(r[3]), " ") + "\n")
		}
	}
	if nothing > 0 {
		fmt.Fprintf(b, "    %d %s no row\n", nothing, plural(nothing, "table loses", "tables lose"))
	}
	b.WriteString(s.Dim("    Counted by columns whose default is the time. Rows changed or deleted since come back as they were.") + "\n")
}

// Restored writes what a restore did and the command that undoes it.
func Restored(w io.Writer, s Style, r *deploy.Restored) error {
	var b strings.Builder
	line := func(key, text string) { fmt.Fprintf(&b, "  %-11s %s\n", key, Clean(text)) }
	if !r.Changed {
		fmt.Fprintf(&b, "%s  %s: %s is as it was\n", s.Bold(Clean(r.Shop)), s.Yellow("not restored"), Clean(r.Database))
		_, err := io.WriteString(w, b.String())
		return err
	}
	fmt.Fprintf(&b, "%s  %s  in %s\n", s.Bold(Clean(r.Shop)), s.Green("restored"), r.Duration.Round(time.Millisecond))
	line("database", r.Database)
	line("is at", r.Target)
	if r.Adopted {
		line("", "the answer was lost; the rows show that it happened")
	}
	if r.Undo != "" {
		line("undo with", "shopfleet d1 restore "+r.Shop+" --to "+r.Undo+" --yes "+r.Shop)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// moment is a time to the second, in UTC.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
