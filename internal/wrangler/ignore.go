package wrangler

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// ignoreRules decides which files of an assets directory stay unpublished. The verdict must be the one wrangler gives,
// since a difference publishes a file that its author believes to be hidden. wrangler asks the npm package ignore 5.3.1,
// which is not git: it folds case, and it rewrites each pattern step by step into a JavaScript regular expression, with
// results of its own for escapes, for "**" glued to a name and for lines that end in CRLF. A library that is faithful to
// git would differ in those, so the steps are taken here as that package takes them (see rewrite), and a test puts the
// same patterns and paths to both. What remains is that Go folds a few letters that JavaScript does not, such as the
// Kelvin sign and k.
type ignoreRules []ignoreRule

type ignoreRule struct {
	negative bool
	re       *regexp.Regexp
}

// badPattern is a pattern that wrangler's package cannot compile either, or one whose meaning exists only in JavaScript
// regular expressions (a numbered escape, say).
type badPattern struct {
	line    int // index into the patterns, from 0
	pattern string
	err     error
}

// parseIgnore compiles patterns, one per line of the file, a trailing carriage return included when there is one.
func parseIgnore(patterns []string) (ignoreRules, []badPattern) {
	var rules ignoreRules
	var bad []badPattern
	for i, line := range patterns {
		if !isPattern(line) {
			continue
		}
		pattern, negative := strings.CutPrefix(line, "!")
		if strings.HasPrefix(pattern, `\!`) || strings.HasPrefix(pattern, `\#`) {
			pattern = pattern[1:]
		}
		re, err := compileJS(rewrite(pattern))
		if err != nil {
			bad = append(bad, badPattern{i, line, err})
			continue
		}
		rules = append(rules, ignoreRule{negative, re})
	}
	return rules, bad
}

// isPattern tells patterns from blank lines, comments and lines that end in a lone backslash, which are skipped.
func isPattern(line string) bool {
	return strings.TrimFunc(line, isSpaceJS) != "" && line[0] != '#' &&
		(!strings.HasSuffix(line, `\`) || strings.HasSuffix(line, `\\`))
}

// matches reports whether the last rule that matches path hides it. A directory's path ends in a slash. What lies in a
// hidden directory is hidden whatever the rules say of it, so a walk does not descend there.
func (rules ignoreRules) matches(path string) bool {
	subject := codeUnits(path)
	for i := len(rules) - 1; i >= 0; i-- {
		if rules[i].re.MatchString(subject) {
			return !rules[i].negative
		}
	}
	return false
}

var (
	rangeInClass = regexp.MustCompile(`([0-z])-([0-z])`)
	classes      = regexp.MustCompile(`(\\)?\[([^\]/]*?)(\\*)($|\])`)
)

// rewrite turns a pattern into the source of a JavaScript regular expression, in the steps and the order of the package:
// later steps see the backslashes that earlier ones put in, which is where most of its peculiarities come from.
func rewrite(pattern string) string {
	s := strings.TrimPrefix(pattern, "\ufeff")

	// Spaces at the end go away, but for one that a backslash protects.
	if trimmed := strings.TrimRightFunc(s, isSpaceJS); trimmed != s {
		if s = trimmed; strings.HasSuffix(s, `\`) {
			s = s[:len(s)-1] + " "
		}
	}
	s = unescapeSpaces(s)

	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(`\$.|*+(){^`, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	s = strings.ReplaceAll(b.String(), "?", "[^/]")

	if rest, ok := strings.CutPrefix(s, "/"); ok {
		s = "^" + rest
	}
	s = strings.ReplaceAll(s, "/", `\/`)

	if rest, ok := strings.CutPrefix(strings.TrimLeft(s, "^"), `\*\*\/`); ok {
		s = `^(?:.*\/)?` + rest
	}

	// A slash before the end ties the pattern to the root. The package looks at the pattern as it was written, so in a
	// file with CRLF lines "build/" is tied to the root too: its slash is not the last character there.
	if s != "" && s[0] != '^' {
		if slash := strings.IndexByte(pattern, '/'); slash >= 0 && slash < len(pattern)-1 {
			s = "^" + s
		} else {
			s = `(?:^|\/)` + s
		}
	}

	s = rewriteGlobstars(s)
	s = rewriteStars(s)
	s = unescapeMeta(s)
	s = strings.ReplaceAll(s, `\\`, `\`)
	s = rewriteClasses(s)

	// The end: a name matches itself and, as a directory, all below it.
	switch {
	case s == "":
		return "" // "!" alone: matches everything
	case strings.HasSuffix(s, "/"):
		return s + "$"
	case !strings.HasSuffix(s, "*"):
		return s + atEnd
	case !strings.HasSuffix(s, `\*`):
		return s
	}
	s = strings.TrimSuffix(s, `\*`)
	if strings.HasSuffix(s, "^") || strings.HasSuffix(s, `\/`) {
		return s + "[^/]+" + atEnd
	}
	return s + "[^/]*" + atEnd
}

// atEnd is a JavaScript assertion that only ever stands last in a rewritten pattern.
const atEnd = `(?=$|\/$)`

func unescapeSpaces(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == '\\' {
			if next, n := utf8.DecodeRuneInString(s[i+1:]); n > 0 && isSpaceJS(next) {
				b.WriteByte(' ')
				i += 1 + n
				continue
			}
		}
		b.WriteString(s[i : i+size])
		i += size
	}
	return b.String()
}

// rewriteGlobstars replaces "/**" before a slash or the end.
func rewriteGlobstars(s string) string {
	const globstar = `\/\*\*`
	var b strings.Builder
	for i := 0; i < len(s); {
		switch rest := s[i:]; {
		case rest == globstar:
			b.WriteString(`\/.+`)
			i += len(globstar)
		case strings.HasPrefix(rest, globstar+`\/`):
			b.WriteString(`(?:\/[^\/]+)*`)
			i += len(globstar)
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return b.String()
}

// rewriteStars replaces a run of unescaped stars that something follows by "anything but a slash". The last star of a
// pattern is left to the end of rewrite.
func rewriteStars(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		run := 0
		for strings.HasPrefix(s[i+run:], `\*`) {
			run += 2
		}
		// What follows counts only when the dot of a JavaScript expression matches it.
		if rest := s[i+run:]; run > 0 && (rest == "" || strings.HasPrefix(rest, "\r") ||
			strings.HasPrefix(rest, "\u2028") || strings.HasPrefix(rest, "\u2029")) {
			run -= 2
		}
		if run == 0 || i > 0 && s[i-1] == '\\' {
			b.WriteByte(s[i])
			i++
			continue
		}
		b.WriteString(`[^\/]*`)
		i += run
		// The package needs a character of its own before the next run.
		if i < len(s) {
			b.WriteByte(s[i])
			i++
		}
	}
	return b.String()
}

// unescapeMeta takes back the doubled backslash before an escaped metacharacter.
func unescapeMeta(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		if strings.HasPrefix(s[i:], `\\\`) && i+3 < len(s) && strings.IndexByte("$.|*+(){^", s[i+3]) >= 0 {
			b.WriteByte('\\')
			i += 3
			continue
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}

func rewriteClasses(s string) string {
	var b strings.Builder
	last := 0
	for _, m := range classes.FindAllStringSubmatchIndex(s, -1) {
		b.WriteString(s[last:m[0]])
		last = m[1]
		members, slashes, closing := s[m[4]:m[5]], s[m[6]:m[7]], s[m[8]:m[9]]
		switch {
		case m[2] >= 0:
			b.WriteString(`\[` + members + slashes[len(slashes)%2:] + closing)
		case closing == "]" && len(slashes)%2 == 0:
			members = rangeInClass.ReplaceAllStringFunc(members, func(span string) string {
				if span[0] <= span[2] {
					return span
				}
				return ""
			})
			b.WriteString("[" + members + slashes + "]")
		default:
			b.WriteString("[]")
		}
	}
	b.WriteString(s[last:])
	return b.String()
}

// compileJS compiles the JavaScript expressions that rewrite makes: no flags but i, no assertion but atEnd.
func compileJS(source string) (*regexp.Regexp, error) {
	source, anchored := strings.CutSuffix(source, atEnd)
	runes := []rune(codeUnits(source))
	var b strings.Builder
	b.WriteString("(?i)")
	for i := 0; i < len(runes); {
		n, err := translate(&b, runes[i:])
		if err != nil {
			return nil, err
		}
		i += n
	}
	if anchored {
		b.WriteString("(?:$|/$)")
	}
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return re, nil
}

// What the dot leaves out and what \s stands for in JavaScript, as the inside of a Go character class.
const (
	lineTerminators = `\n\r\x{2028}\x{2029}`
	spacesJS        = `\t-\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}`
)

// translate writes the first term of a JavaScript expression as Go has it and returns how many runes it took.
func translate(b *strings.Builder, s []rune) (int, error) {
	switch s[0] {
	case '\\':
		if len(s) == 1 {
			return 0, errors.New("a backslash ends the pattern")
		}
		class, ok := escapeClass(s[1])
		switch {
		case ok:
			b.WriteString(class)
		case s[1] == 'b' || s[1] == 'B':
			b.WriteString(`\` + string(s[1]))
		default:
			r, err := escapedRune(s[1])
			if err != nil {
				return 0, err
			}
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
		return 2, nil
	case '[':
		return translateClass(b, s)
	case '.':
		b.WriteString("[^" + lineTerminators + "]")
		return 1, nil
	case '(':
		if len(s) > 2 && s[1] == '?' && s[2] == ':' {
			b.WriteString("(?:")
			return 3, nil
		}
		b.WriteString("(?:")
		return 1, nil
	case '^', '$', '|', '*', '+', '?', ')':
		b.WriteRune(s[0])
		return 1, nil
	}
	b.WriteString(regexp.QuoteMeta(string(s[0])))
	return 1, nil
}

func translateClass(b *strings.Builder, s []rune) (int, error) {
	i, negated := 1, false
	if i < len(s) && s[i] == '^' {
		i, negated = 2, true
	}
	var members strings.Builder
	for ; i < len(s) && s[i] != ']'; i++ {
		low, n, err := classMember(s[i:])
		if err != nil {
			return 0, err
		}
		i += n
		high := low
		if low.set == "" && i+2 < len(s) && s[i+1] == '-' && s[i+2] != ']' {
			if high, n, err = classMember(s[i+2:]); err != nil {
				return 0, err
			}
			if high.set != "" || high.char < low.char {
				return 0, fmt.Errorf("the range %q does not run upwards", string(s[i:i+3+n]))
			}
			i += 2 + n
		}
		if low.set != "" {
			members.WriteString(low.set)
		} else {
			fmt.Fprintf(&members, `\x{%x}-\x{%x}`, low.char, high.char)
		}
	}
	if i >= len(s) {
		return 0, errors.New("a [ is not closed")
	}
	switch {
	case members.Len() > 0 && negated:
		b.WriteString("[^" + members.String() + "]")
	case members.Len() > 0:
		b.WriteString("[" + members.String() + "]")
	case negated:
		b.WriteString(`[\x00-\x{10FFFF}]`)
	default: // JavaScript's empty class matches nothing
		b.WriteString(`[^\x00-\x{10FFFF}]`)
	}
	return i + 1, nil
}

// member is one member of a character class: a character, or the inside of a class such as \d.
type member struct {
	char rune
	set  string
}

// classMember reads a member at the start of s and returns how many runes beyond the first it took.
func classMember(s []rune) (member, int, error) {
	if s[0] != '\\' {
		return member{char: s[0]}, 0, nil
	}
	if len(s) == 1 {
		return member{}, 0, errors.New("a [ is not closed")
	}
	if s[1] == 'b' {
		return member{char: '\b'}, 1, nil
	}
	if set, ok := escapeClass(s[1]); ok {
		if strings.HasPrefix(set, "[^") {
			return member{}, 0, fmt.Errorf(`\%c inside [ ] is not supported`, s[1])
		}
		return member{set: set[1 : len(set)-1]}, 1, nil
	}
	r, err := escapedRune(s[1])
	return member{char: r}, 1, err
}

// escapeClass returns the set of characters that an escaped letter stands for.
func escapeClass(r rune) (class string, ok bool) {
	switch r {
	case 'd':
		return "[0-9]", true
	case 'D':
		return "[^0-9]", true
	case 'w':
		return "[0-9A-Za-z_]", true
	case 'W':
		return "[^0-9A-Za-z_]", true
	case 's':
		return "[" + spacesJS + "]", true
	case 'S':
		return "[^" + spacesJS + "]", true
	}
	return "", false
}

// escapedRune returns the character that an escaped one stands for. Escapes that take digits or a letter after them
// mean something to JavaScript that no author of a pattern can have meant; they are refused.
func escapedRune(r rune) (rune, error) {
	switch r {
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'v':
		return '\v', nil
	case 'f':
		return '\f', nil
	case 'x', 'u', 'c', 'k', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return 0, fmt.Errorf(`\%c is not an escape of a pattern`, r)
	}
	return r, nil
}

// codeUnits spells s in UTF-16 code units, as JavaScript sees it: a character beyond the basic plane becomes two, so
// "?" does not match it. A surrogate cannot stand alone in a Go string; each travels as a character of the last plane,
// which no longer occurs otherwise.
func codeUnits(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r > 0xffff }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
			b.WriteRune(high - 0xd800 + 0x100000)
			b.WriteRune(low - 0xd800 + 0x100000)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isSpaceJS reports whether r is white space to a JavaScript expression. Unlike unicode.IsSpace it counts the byte
// order mark and leaves out U+0085.
func isSpaceJS(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', ' ', 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff:
		return true
	}
	return 0x2000 <= r && r <= 0x200a
}
