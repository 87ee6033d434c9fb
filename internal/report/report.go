// Package report turns results into pages: text for a terminal or a log, and
// JSON for programs. It decides nothing and asks nobody; everything it shows
// is in the value that it is given.
//
// Text goes to a terminal with colour and to a file without (Style); the words
// are the same. What came from the user's world (names, messages of Cloudflare)
// is cleaned of control characters first, so that a hostile branch name cannot
// move the cursor or forge a line.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/kvick/shopfleet/internal/deploy"
)

// Style says how text may look. Its zero value is plain text.
type Style struct {
	// Color allows ANSI colours.
	Color bool
}

func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Bold, Red, Green, Yellow and Dim colour a text, or leave it as it is.
func (s Style) Bold(text string) string   { return s.paint("1", text) }
func (s Style) Red(text string) string    { return s.paint("31", text) }
func (s Style) Green(text string) string  { return s.paint("32", text) }
func (s Style) Yellow(text string) string { return s.paint("33", text) }
func (s Style) Dim(text string) string    { return s.paint("2", text) }

// Clean removes what could move the cursor, hide text or forge a line:
// control characters and the bidirectional overrides of Unicode. A tab
// becomes one space.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029':
			return -1
		}
		return r
	}, s)
}

// Findings writes findings the way compilers do: place, message, rule, the
// source line with a caret, what was expected and what to do next.
func Findings(w io.Writer, s Style, list []deploy.Finding) error {
	var b strings.Builder
	for _, f := range list {
		if f.File != "" {
			place := f.File
			if f.Line > 0 {
				place = fmt.Sprintf("%s:%d:%d", f.File, f.Line, max(f.Column, 1))
			}
			b.WriteString(s.Bold(Clean(place)) + ": ")
		}
		level := s.Dim(f.Level)
		switch f.Level {
		case deploy.LevelError:
			level = s.Red(f.Level)
		case deploy.LevelWarning:
			level = s.Yellow(f.Level)
		}
		fmt.Fprintf(&b, "%s: %s %s\n", level, cleanLines(f.Message), s.Dim("["+f.Rule+"]"))
		if f.Source != "" && f.Line > 0 {
			line, caret := excerpt(f.Source, f.Column)
			gutter := fmt.Sprintf("%5d | ", f.Line)
			b.WriteString(s.Dim(gutter) + line + "\n")
			b.WriteString(s.Dim("      | ") + strings.Repeat(" ", caret) + s.Red("^") + "\n")
		}
		if f.Expected != "" {
			b.WriteString("  expected: " + cleanLines(f.Expected) + "\n")
		}
		if f.Hint != "" {
			b.WriteString("  hint: " + cleanLines(f.Hint) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cleanLines cleans a text of several lines and indents all but the first.
func cleanLines(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i := range lines {
		lines[i] = Clean(lines[i])
	}
	return strings.Join(lines, "\n    ")
}

// excerpt shortens a source line around a byte column so that it fits beside
// the gutter, and says under which printed column the caret belongs.
func excerpt(source string, column int) (line string, caret int) {
	const width = 100
	if column < 1 || column > len(source)+1 {
		column = 1
	}
	before, after := []rune(Clean(source[:column-1])), []rune(Clean(source[column-1:]))
	if len(before) > width/2 {
		before = append([]rune("…"), before[len(before)-width/2:]...)
	}
	if len(after) > width-len(before) {
		after = append(after[:width-len(before)], '…')
	}
	return string(before) + string(after), len(before)
}

// Plan writes what a plan would do. A plan without steps says so.
func Plan(w io.Writer, s Style, p *deploy.Plan) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  commit %s\n", s.Bold(p.Shop), p.Worker, short(p.Commit))
	if err := Findings(&b, s, p.Findings); err != nil {
		return err
	}
	if !p.Changes() {
		b.WriteString("  " + s.Green("unchanged") + ": what is live is what the commit says; 0 writes\n")
	}
	for _, step := range p.Steps {
		fmt.Fprintf(&b, "  %s %s\n", s.Green("+"), Clean(step.String()))
		if step.Action == deploy.ActionMigrate || step.Action == deploy.ActionContract {
			for _, line := range migrationsOf(p, step) {
				fmt.Fprintf(&b, "      %s\n", Clean(line))
			}
		}
	}
	if p.Changes() {
		b.WriteString(s.Dim("  plan "+p.Digest()) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// manyFiles is from how many pending files on a plan shows only those that do more than make new things.
const manyFiles = 8

// migrationsOf say what the files of a step do, one line each; plain additions are left out of a long list.
func migrationsOf(p *deploy.Plan, step deploy.Step) []string {
	var lines []string
	for _, m := range p.Migrations {
		if !slices.Contains(step.After, m.File) || len(m.Changes) == 0 {
			continue
		}
		if len(step.After) > manyFiles && !slices.ContainsFunc(m.Changes, func(c string) bool { return !strings.HasPrefix(c, "creates ") }) {
			continue
		}
		lines = append(lines, m.File+": "+strings.Join(m.Changes, ", "))
		if m.Reason != "" {
			lines = append(lines, "data may go because "+m.Reason)
		}
	}
	return lines
}

func asIs(text string) string { return text }

// proved says what a gate proved besides health. code shows a text that is not ours.
func proved(g deploy.GateResult, code func(string) string) string {
	var sees []string
	for _, store := range []string{"d1", "r2", "kv"} {
		if g.Identity[store] != "" {
			sees = append(sees, store)
		}
	}
	out := ""
	if len(sees) > 0 {
		out += "; sees its own shop in " + strings.Join(sees, ", ")
	}
	if len(g.Bounced) > 0 {
		out += "; sends strangers away from " + code(strings.Join(g.Bounced, ", "))
	}
	return out
}

// Outcome writes what a deploy did, in a few lines.
func Outcome(w io.Writer, s Style, o *deploy.Outcome) error {
	var b strings.Builder
	line := func(key, format string, args ...any) {
		fmt.Fprintf(&b, "  %-11s %s\n", key, Clean(fmt.Sprintf(format, args...)))
	}
	state := s.Green("released")
	switch {
	case !o.Changed:
		state = s.Green("unchanged")
	case o.Restored != "":
		state = s.Red("restored")
	case !o.Gate.Passed:
		state = s.Red("not done")
	}
	fmt.Fprintf(&b, "%s  %s  in %s\n", s.Bold(o.Shop), state, o.Duration.Round(time.Millisecond))
	if o.VersionID != "" {
		line("version", "%s", o.VersionID)
	}
	if o.Uploaded != "" && o.Uploaded != o.VersionID && o.Restored == "" {
		line("uploaded", "%s, which takes no traffic", o.Uploaded)
	}
	if o.PreviousVersionID != "" && o.Changed {
		line("before", "%s", o.PreviousVersionID)
	}
	if len(o.Migrations) > 0 {
		line("migrations", "%d applied, the last is %s", len(o.Migrations), o.Migrations[len(o.Migrations)-1])
	}
	if len(o.MigrationsElsewhere) > 0 {
		line("", "%s applied by another run meanwhile", strings.Join(o.MigrationsElsewhere, ", "))
	}
	if o.SchemaAfter != "" {
		line("schema", "%s, before %s", o.SchemaAfter, o.SchemaBefore)
	}
	if o.Bookmark != "" {
		line("bookmark", "%s", o.Bookmark)
	}
	if o.URL != "" {
		line("address", "%s", o.URL)
	}
	if b := o.Before; b != nil {
		switch {
		case b.Passed:
			line("proof", "before the release, after %d %s%s", b.Tries, plural(b.Tries, "try", "tries"), proved(*b, asIs))
		case b.Reason != "":
			line("proof", "not passed, before the release: %s: %s", b.URL, b.Reason)
		}
		if b.Skipped != "" {
			line("", "%s", b.Skipped)
		}
	}
	switch {
	case o.Gate.Passed:
		line("gate", "passed after %d %s%s", o.Gate.Tries, plural(o.Gate.Tries, "try", "tries"), proved(o.Gate, asIs))
	case o.Gate.Reason != "":
		line("gate", "not passed: %s: %s", o.Gate.URL, o.Gate.Reason)
	}
	if o.Gate.Skipped != "" {
		line("", "%s", o.Gate.Skipped)
	}
	if o.Recorded != "" {
		line("journal", "how version %s stands was not there; it is now", o.Recorded)
	}
	if o.Restored != "" {
		line("restored", "%s takes all traffic again", o.Restored)
	}
	for _, what := range o.NotUndone {
		line("not undone", "%s", what)
	}
	if o.Changed {
		line("writes", "%d of %d calls after the plan", o.Writes, o.Calls)
	} else {
		line("writes", "0")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// JSON writes a value as one indented JSON document with a final newline.
// HTML characters stay readable; programs that embed it escape for themselves.
func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func short(sha string) string {
	if len(sha) > 10 {
		return sha[:10]
	}
	return sha
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
