package fleet

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Finding is something wrong in the user's world (not an error of ours).
type Finding struct {
	Rule     string // kebab-case name, stable; rules.go says what each one means
	Level    string // "error", "warning" or "notice"
	File     string // as the user knows it, slash separated; "" when there is none
	Line     int    // 1-based; 0 unknown
	Column   int    // 1-based, in bytes; 0 unknown
	Message  string // what is wrong
	Expected string // what was expected; may be ""
	Hint     string // what to type or do next; may be ""
	Source   string // the source line, without newline; may be ""
}

// Findings are all problems of one input, sorted by file, line, column and rule.
type Findings []Finding

// Error puts every finding on its own line, as "file:line:column: message [rule]".
func (fs Findings) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		var at string
		if f.File != "" {
			at = f.File + ":"
		}
		if f.Line > 0 {
			at += fmt.Sprintf("%d:%d:", f.Line, f.Column)
		}
		if at != "" {
			at += " "
		}
		lines[i] = fmt.Sprintf("%s%s [%s]", at, f.Message, f.Rule)
	}
	return strings.Join(lines, "\n")
}

// sorted orders the findings and drops repetitions; the result is nil when nothing was found, so that it can be
// told apart from an error without an interface that holds an empty list.
func (fs Findings) sorted() error {
	if len(fs) == 0 {
		return nil
	}
	sort.SliceStable(fs, func(i, j int) bool {
		return cmp.Or(
			cmp.Compare(fs[i].File, fs[j].File),
			cmp.Compare(fs[i].Line, fs[j].Line),
			cmp.Compare(fs[i].Column, fs[j].Column),
			cmp.Compare(fs[i].Rule, fs[j].Rule),
			cmp.Compare(fs[i].Message, fs[j].Message),
		) < 0
	})
	return slices.Compact(fs)
}

// problem is a finding before anybody knows where it stands.
type problem struct{ rule, message, expected, hint string }

// unplaced makes findings of problems that have no file, such as a slug typed on the command line.
func unplaced(problems []problem) error {
	fs := make(Findings, len(problems))
	for i, p := range problems {
		fs[i] = Finding{Rule: p.rule, Level: "error", Message: p.message, Expected: p.expected, Hint: p.hint}
	}
	return fs.sorted()
}

// longest is how much of a user's text one message repeats.
const longest = 80

// quote shows a user's text in a message: quoted, cut to a readable length and without anything that may be a secret.
func quote(s string) string {
	s = conceal(s)
	if utf8.RuneCountInString(s) > longest {
		s = string([]rune(s)[:longest]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

var run = regexp.MustCompile(`[A-Za-z0-9_-]{32,}`)

// conceal replaces what looks like a Cloudflare credential. People do paste a token where its variable's name belongs,
// and a finding ends in logs and comments. API tokens are 40 characters drawn from both cases, digits, - and _; the
// global key is 37 hexadecimal digits. The names and ids of a fleet are never written so.
func conceal(s string) string {
	return run.ReplaceAllStringFunc(s, func(word string) string {
		if strings.Trim(word, "0123456789abcdefABCDEF-") == "" && len(word) != 37 {
			return word // an id, if a badly written one
		}
		upper := strings.ContainsFunc(word, unicode.IsUpper)
		lower := strings.ContainsFunc(word, unicode.IsLower)
		digit := strings.ContainsFunc(word, unicode.IsDigit)
		if upper && lower && digit || strings.Trim(word, "0123456789abcdef") == "" {
			return "***"
		}
		return word
	})
}
