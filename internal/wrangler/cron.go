package wrangler

import (
	"fmt"
	"strconv"
	"strings"
)

// cronField is one of the five fields of a cron expression.
type cronField struct {
	name     string
	low      int
	high     int
	names    []string // three letters, in any case, for the values from low on
	calendar bool     // days of the month: L, LW, L-3, L-3W and 15W
	week     bool     // days of the week: L, 6L and 6#3
}

// cronFields is what Cloudflare accepts: developers.cloudflare.com/workers/configuration/cron-triggers, section
// "Supported cron expressions". A week begins with Sunday, which is 1 and not 0; the details that the page
// leaves open (L, W and # stand alone and not in lists, steps begin with 1 and stay below the number of
// values, a range may wrap around) are those of Cloudflare's parser, github.com/cloudflare/saffron.
var cronFields = [5]cronField{
	{name: "minute", low: 0, high: 59},
	{name: "hour", low: 0, high: 23},
	{name: "day of the month", low: 1, high: 31, calendar: true},
	{name: "month", low: 1, high: 12, names: []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	{name: "day of the week", low: 1, high: 7, week: true, names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
}

// cronProblem is what is wrong with a cron expression.
type cronProblem struct {
	offset   int // in the expression, in bytes
	message  string
	expected string
	hint     string
}

// checkCron says what is wrong with expr, nil when Cloudflare accepts it.
func checkCron(expr string) *cronProblem {
	if expr != strings.Trim(expr, " \t") {
		return &cronProblem{message: fmt.Sprintf("the cron expression %q begins or ends with a space", expr), hint: fmt.Sprintf("write %q", strings.Trim(expr, " \t"))}
	}
	words := strings.FieldsFunc(expr, func(r rune) bool { return r == ' ' || r == '\t' })
	if len(words) != len(cronFields) {
		p := &cronProblem{
			message:  fmt.Sprintf("the cron expression %q does not have five fields but %d", shorten(expr, 60), len(words)),
			expected: "minute, hour, day of the month, month, day of the week",
		}
		switch {
		case len(words) == 6 || len(words) == 7:
			p.hint = "Cloudflare's expressions have no seconds and no year"
		case strings.HasPrefix(expr, "@"):
			p.hint = "Cloudflare knows no nicknames: @daily is written 0 0 * * *"
		}
		return p
	}
	at := 0
	for i, word := range words {
		at += strings.Index(expr[at:], word)
		if p := cronFields[i].check(word); p != nil {
			p.offset = at
			p.message += fmt.Sprintf(" in the cron expression %q", shorten(expr, 60))
			if p.expected == "" {
				p.expected = cronFields[i].expected()
			}
			return p
		}
		at += len(word)
	}
	return nil
}

func (f cronField) expected() string {
	s := fmt.Sprintf("%d-%d, *, lists such as %d,%d, ranges such as %d-%d, steps such as */2", f.low, f.high, f.low, f.low+1, f.low, f.low+2)
	switch {
	case f.calendar:
		s += ", L, LW or 15W"
	case f.week:
		s += ", SUN-SAT, 6L or 6#3; Sunday is 1"
	case f.names != nil:
		s += ", JAN-DEC"
	}
	return s
}

func (f cronField) check(word string) *cronProblem {
	if f.calendar && f.special(word) || f.week && f.special(word) {
		return nil
	}
	if strings.Contains(word, "?") {
		return &cronProblem{message: fmt.Sprintf("%q is no %s", shorten(word, 40), f.name), hint: "Cloudflare does not know ?: write *"}
	}
	if word == "*" {
		return nil
	}
	for i, item := range strings.Split(word, ",") {
		if p := f.item(item, i == 0); p != nil {
			return p
		}
	}
	return nil
}

// special says whether word is one of the expressions with L, W or #. Letters are capitals.
func (f cronField) special(word string) bool {
	if f.week {
		if word == "L" {
			return true
		}
		if day, ok := strings.CutSuffix(word, "L"); ok {
			return f.value(day) == nil
		}
		day, nth, ok := strings.Cut(word, "#")
		return ok && f.value(day) == nil && number(nth, 1, 5)
	}
	switch day, weekday := strings.CutSuffix(word, "W"); {
	case day == "L":
		return true
	case strings.HasPrefix(day, "L-"):
		return number(day[len("L-"):], 1, 30)
	default:
		return weekday && number(day, f.low, f.high)
	}
}

// item checks one part of a list: a value or a range, each with a step. A * at the head of a list is not a
// value; further on Cloudflare takes it for the lowest one.
func (f cronField) item(item string, first bool) *cronProblem {
	body, step, stepped := strings.Cut(item, "/")
	if stepped && !number(step, 1, f.high-f.low) {
		return &cronProblem{message: fmt.Sprintf("%q is no step for the %s", shorten(step, 20), f.name), expected: fmt.Sprintf("a step from 1 to %d", f.high-f.low)}
	}
	from, to, ranged := strings.Cut(body, "-")
	if ranged {
		if p := f.value(to); p != nil {
			return p
		}
	}
	if from == "*" {
		if first && (!stepped || ranged) {
			return &cronProblem{message: fmt.Sprintf("* stands together with something else in the %s", f.name)}
		}
		return nil
	}
	return f.value(from)
}

// value checks a number or a name.
func (f cronField) value(s string) *cronProblem {
	if number(s, f.low, f.high) {
		return nil
	}
	for _, name := range f.names {
		if strings.EqualFold(s, name) {
			return nil
		}
	}
	p := &cronProblem{message: fmt.Sprintf("%q is no %s", shorten(s, 20), f.name)}
	switch upper := strings.ToUpper(s); {
	case s == "":
		p.message = fmt.Sprintf("a value is missing in the %s", f.name)
	case f.week && s == "0":
		p.hint = "Sunday is 1, or SUN"
	case upper != s && (f.calendar || f.week) && f.special(upper):
		p.hint = "write it in capitals: " + upper
	case strings.ContainsAny(s, "LW#") && (f.calendar || f.week):
		p.hint = "L, W and # stand alone, not in lists and ranges"
	case f.names != nil && len(s) > 3:
		for _, name := range f.names {
			if strings.HasPrefix(upper, name) {
				p.hint = "names have three letters: " + name
			}
		}
	}
	return p
}

// number says whether s is written in digits and between low and high.
func number(s string, low, high int) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return err == nil && int(n) >= low && int(n) <= high
}
