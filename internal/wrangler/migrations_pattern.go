package wrangler

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/bmatcuk/doublestar/v4"
)

// compilePattern makes a matcher of a migrations_pattern, for slash-separated names below the migrations
// folder. It understands what wrangler's matcher (minimatch, dot:false) and doublestar agree on: *, ?,
// character classes, ** and {a,b}. What only minimatch knows, or reads differently, is an error, so that no
// migration is left out without a word.
func compilePattern(pattern string) (func(name string) bool, error) {
	switch {
	case pattern == "":
		return func(string) bool { return false }, nil
	case strings.HasPrefix(pattern, "!"), strings.HasPrefix(pattern, "#"):
		return nil, fmt.Errorf("begins with %q", pattern[:1])
	}
	for _, op := range []string{"?(", "*(", "+(", "@(", "!("} {
		if strings.Contains(pattern, op) {
			return nil, fmt.Errorf("has the extended operator %q", op+"…)")
		}
	}
	if strings.ContainsAny(plainClass.ReplaceAllString(pattern, ""), "[]") {
		return nil, errors.New("has an unusual character class")
	}
	alternatives, err := expandBraces(pattern)
	if err != nil {
		return nil, err
	}
	compiled := make([][]string, len(alternatives))
	for i, a := range alternatives {
		compiled[i] = strings.Split(a, "/")
		for j, segment := range compiled[i] {
			if segment != "**" && strings.Contains(segment, "**") {
				// Both read it as one star, doublestar only without a warning of ours.
				return nil, errors.New("has ** beside other characters")
			}
			if !doublestar.ValidatePattern(segment) {
				return nil, errors.New("is not well-formed")
			}
			compiled[i][j] = units(segment)
		}
	}
	return func(name string) bool {
		segments := strings.Split(units(name), "/")
		return slices.ContainsFunc(compiled, func(p []string) bool { return matchSegments(p, segments) })
	}, nil
}

// plainClass is a character class that everybody reads alike.
var plainClass = regexp.MustCompile(`\[[!^]?[^]\[!^/{},]+\]`)

// units makes one rune of each UTF-16 code unit: a ? matches one of those for wrangler, half a character
// beyond the basic plane.
func units(s string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		r := rune(u)
		if utf16.IsSurrogate(r) {
			r += 0xF0000 // private, and a character
		}
		b.WriteRune(r)
	}
	return b.String()
}

// expandBraces gives the alternatives of {a,b}, nested ones too. Braces without a comma are plain characters
// to minimatch but not to doublestar, and ranges are known to minimatch only: both are errors.
func expandBraces(pattern string) ([]string, error) {
	open := strings.IndexByte(pattern, '{')
	if open < 0 {
		if strings.Contains(pattern, "}") {
			return nil, errors.New("has a brace without its partner")
		}
		return []string{pattern}, nil
	}
	depth, start := 0, open+1
	var parts []string
	for i := open; i < len(pattern); i++ {
		switch pattern[i] {
		case '{':
			depth++
		case ',':
			if depth == 1 {
				parts = append(parts, pattern[start:i])
				start = i + 1
			}
		case '}':
			if depth--; depth > 0 {
				continue
			}
			parts = append(parts, pattern[start:i])
			if len(parts) < 2 {
				return nil, errors.New("has braces without a comma")
			}
			var out []string
			for _, part := range parts {
				expanded, err := expandBraces(pattern[:open] + part + pattern[i+1:])
				if err != nil {
					return nil, err
				}
				out = append(out, expanded...)
				if len(out) > maxAlternatives {
					return nil, fmt.Errorf("has more than %d alternatives", maxAlternatives)
				}
			}
			return out, nil
		}
	}
	return nil, errors.New("has a brace without its partner")
}

// maxAlternatives bounds what a hostile pattern can expand to.
const maxAlternatives = 1000

// matchSegments matches a name against a pattern, both split at slashes. A leading dot is only matched by a
// leading dot, in ** too.
func matchSegments(pattern, name []string) bool {
	if len(pattern) == 0 {
		return len(name) == 0
	}
	if pattern[0] != "**" {
		return len(name) > 0 && matchSegment(pattern[0], name[0]) && matchSegments(pattern[1:], name[1:])
	}
	rest := pattern[1:]
	for len(rest) > 0 && rest[0] == "**" {
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return len(name) > 0 && !slices.ContainsFunc(name, hidden)
	}
	for {
		if matchSegments(rest, name) {
			return true
		}
		if len(name) == 0 || hidden(name[0]) {
			return false
		}
		name = name[1:]
	}
}

func matchSegment(pattern, name string) bool {
	if hidden(name) && !hidden(pattern) {
		return false
	}
	ok, err := doublestar.Match(pattern, name)
	return ok && err == nil
}

func hidden(segment string) bool { return strings.HasPrefix(segment, ".") }
