package wrangler

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// configNames are the files wrangler looks for, the first one found wins.
var configNames = []string{"wrangler.json", "wrangler.jsonc", "wrangler.toml"}

// redirectFile is where build tools tell wrangler to deploy another configuration.
const redirectFile = ".wrangler/deploy/config.json"

// maxNesting bounds how deep a configuration may nest. The parser is recursive, and the file may be hostile.
const maxNesting = 500

// Load reads the configuration of the project in dir: wrangler.json, else wrangler.jsonc. The error is
// Findings when the file is missing, is TOML, or is not well-formed.
//
// Unlike wrangler it does not search the parent directories, and a redirect left by a build tool in
// .wrangler/deploy/config.json is not followed but noticed: what is deployed is what the project says, not
// what an untracked file says.
func Load(dir string) (*Project, error) {
	var found []string
	for _, name := range configNames {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			found = append(found, name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("looking for %s: %w", name, err)
		}
	}
	if len(found) == 0 {
		return nil, Findings{{
			Rule:     "config-missing",
			Level:    LevelError,
			Message:  "there is no wrangler configuration",
			Expected: "wrangler.jsonc or wrangler.json in the project's directory",
			Hint:     "add a wrangler.jsonc with at least \"name\", \"main\" and \"compatibility_date\"",
		}}
	}
	src, err := os.ReadFile(filepath.Join(dir, found[0]))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", found[0], err)
	}
	p, err := Parse(dir, found[0], src)
	if err != nil {
		return nil, err
	}
	for _, name := range found[1:] {
		p.notices = append(p.notices, Finding{
			Rule:    "config-shadowed",
			Level:   LevelNotice,
			File:    name,
			Message: fmt.Sprintf("%s is not used because %s comes first", name, found[0]),
			Hint:    "keep one of the two",
		})
	}
	return p, nil
}

// Parse reads a configuration whose bytes are src. It belongs in dir under name (slash separated, relative
// to dir), but nothing there has to exist: the paths in it are relative to that place. The error is Findings
// when src is not well-formed.
//
// Comments and trailing commas are allowed in .json as in .jsonc. A UTF-8 byte order mark is skipped, any
// other refused. A key given twice in one object is refused: wrangler would silently use the second, a reader
// of the file would believe the first.
func Parse(dir, name string, src []byte) (*Project, error) {
	abs, err := filepath.Abs(filepath.Join(dir, filepath.FromSlash(path.Dir(name))))
	if err != nil {
		return nil, fmt.Errorf("locating %s: %w", name, err)
	}
	if strings.HasSuffix(name, ".toml") {
		return nil, Findings{{
			Rule:     "toml-config",
			Level:    LevelError,
			File:     name,
			Message:  "the wrangler configuration is TOML, which shopfleet does not read",
			Expected: "wrangler.jsonc",
			Hint: "write the same settings to wrangler.jsonc and delete " + path.Base(name) +
				" (wrangler itself recommends JSON for new projects): [env.shop] becomes \"env\": { \"shop\": { … } }, [[d1_databases]] becomes \"d1_databases\": [ { … } ]",
		}}
	}
	s, findings := newSource(name, src)
	if findings != nil {
		return nil, findings
	}
	root, findings := s.parse()
	if findings != nil {
		return nil, findings
	}
	p := &Project{Dir: abs, File: name, src: s, root: root}
	if _, err := os.Stat(filepath.Join(abs, filepath.FromSlash(redirectFile))); err == nil {
		p.notices = append(p.notices, Finding{
			Rule:    "config-redirect",
			Level:   LevelNotice,
			File:    path.Join(path.Dir(name), redirectFile),
			Message: "a build tool left a redirect to another configuration; it is not followed",
			Hint:    "commit the configuration that is to be deployed as " + path.Base(name),
		})
	}
	return p, nil
}

// Envs are the names of the environments in the file, in wrangler's order.
func (p *Project) Envs() []string {
	env := p.root.get("env")
	if env == nil || env.kind != kindObject {
		return nil
	}
	return env.keys()
}

// source is the text of a configuration and where its lines begin.
type source struct {
	name  string
	text  []byte // without byte order mark
	bom   bool   // positions on line 1 count the mark's three bytes
	lines []int  // offset of each line's first byte
}

// unsupportedBOMs are the byte order marks wrangler refuses, longest first.
var unsupportedBOMs = []struct {
	encoding string
	mark     []byte
}{
	{"UTF-32 BE", []byte{0x00, 0x00, 0xFE, 0xFF}},
	{"UTF-32 LE", []byte{0xFF, 0xFE, 0x00, 0x00}},
	{"UTF-16 BE", []byte{0xFE, 0xFF}},
	{"UTF-16 LE", []byte{0xFF, 0xFE}},
}

func newSource(name string, src []byte) (*source, Findings) {
	for _, b := range unsupportedBOMs {
		if bytes.HasPrefix(src, b.mark) {
			return nil, Findings{{
				Rule:     "config-encoding",
				Level:    LevelError,
				File:     name,
				Line:     1,
				Column:   1,
				Message:  "the file is encoded as " + b.encoding,
				Expected: "UTF-8",
				Hint:     "save the file as UTF-8 without a byte order mark",
			}}
		}
	}
	s := &source{name: name, text: src, lines: []int{0}}
	if rest, ok := bytes.CutPrefix(src, []byte("\uFEFF")); ok {
		s.text, s.bom = rest, true
	}
	for i := range s.text {
		if s.endsLine(i) {
			s.lines = append(s.lines, i+1)
		}
	}
	if !utf8.Valid(s.text) {
		bad := 0
		for rest := s.text; ; {
			r, n := utf8.DecodeRune(rest)
			if r == utf8.RuneError && n == 1 {
				break
			}
			bad, rest = bad+n, rest[n:]
		}
		return nil, Findings{s.at(bad, Finding{
			Rule:     "config-encoding",
			Level:    LevelError,
			Message:  fmt.Sprintf("byte 0x%02x is not UTF-8", s.text[bad]),
			Expected: "UTF-8",
			Hint:     "save the file as UTF-8",
		})}
	}
	return s, nil
}

// endsLine says whether the byte at i is the last one of its line. A carriage return alone ends one, as it
// ends a comment for wrangler.
func (s *source) endsLine(i int) bool {
	return s.text[i] == '\n' || s.text[i] == '\r' && (i+1 == len(s.text) || s.text[i+1] != '\n')
}

// position turns an offset into a line and a column, both 1-based, the column in bytes.
func (s *source) position(offset int) (line, column int) {
	offset = min(max(offset, 0), len(s.text))
	i, exact := slices.BinarySearch(s.lines, offset)
	if !exact {
		i--
	}
	column = offset - s.lines[i] + 1
	if i == 0 && s.bom {
		column += len("\uFEFF")
	}
	return i + 1, column
}

// longestLine is how many bytes a line may have to be shown. Every finding has a copy, and a file may be one line.
const longestLine = 2000

// line is the text of a line (1-based) without its end; "" when it is too long for people.
func (s *source) line(n int) string {
	if n < 1 || n > len(s.lines) {
		return ""
	}
	rest := s.text[s.lines[n-1]:]
	rest = rest[:min(len(rest), longestLine+1)]
	if i := bytes.IndexAny(rest, "\r\n"); i >= 0 {
		rest = rest[:i]
	}
	if len(rest) > longestLine {
		return ""
	}
	return string(rest)
}

// at gives f the file, position and source line of an offset. Whoever wrote the file does not get to send
// control characters to the terminal of whoever reads the finding.
func (s *source) at(offset int, f Finding) Finding {
	f.File = s.name
	f.Line, f.Column = s.position(offset)
	f.Source = printable(s.line(f.Line))
	f.Message, f.Expected, f.Hint = printable(f.Message), printable(f.Expected), printable(f.Hint)
	return f
}

// printable puts question marks for control characters, as many as they have bytes, so that columns stay.
func printable(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) && r != '\t' {
			b.WriteString(strings.Repeat("?", utf8.RuneLen(r)))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// parse reads the text as JSON with comments and trailing commas. The result is an object.
func (s *source) parse() (*value, Findings) {
	root, _, findings := s.read()
	return root, findings
}

// read is parse that also returns where the parser found everything.
func (s *source) read() (*value, *hujson.Value, Findings) {
	if len(bytes.TrimSpace(s.text)) == 0 {
		return nil, nil, Findings{s.at(0, Finding{
			Rule: "config-syntax", Level: LevelError,
			Message: "the file is empty", Expected: "an object: { … }",
		})}
	}
	if off := tooDeep(s.text, maxNesting); off >= 0 {
		return nil, nil, Findings{s.at(off, Finding{
			Rule: "config-syntax", Level: LevelError,
			Message: fmt.Sprintf("objects and arrays are nested more than %d deep", maxNesting),
		})}
	}
	// hujson wants a line comment to end with a newline; to wrangler a carriage return or the end of the file
	// will do. Neither byte can be part of a string.
	text := append(slices.Clip(s.text), '\n')
	for i := range s.text {
		if s.text[i] == '\r' && s.endsLine(i) {
			text[i] = '\n'
		}
	}
	parsed, err := hujson.Parse(text)
	if err != nil {
		return nil, nil, Findings{s.syntaxFinding(err)}
	}
	c := converter{src: s}
	root := c.convert(&parsed)
	if len(c.findings) > 0 {
		return nil, nil, c.findings.sorted()
	}
	if root.kind != kindObject {
		return nil, nil, Findings{s.at(root.offset, Finding{
			Rule: "config-syntax", Level: LevelError,
			Message: "the configuration is " + root.kind.article(), Expected: "an object: { … }",
		})}
	}
	return root, &parsed, nil
}

// syntaxFinding words hujson's error, whose text begins with the position ("hujson: line 1, column 2: …").
func (s *source) syntaxFinding(err error) Finding {
	f := Finding{Rule: "config-syntax", Level: LevelError}
	offset := len(s.text)
	var line, column int
	if _, scan := fmt.Sscanf(err.Error(), "hujson: line %d, column %d:", &line, &column); scan == nil && line <= len(s.lines) {
		offset = s.lines[line-1] + column - 1
	}
	cause := err.Error()
	if inner := errors.Unwrap(err); inner != nil {
		cause = inner.Error()
	}
	switch {
	case strings.Contains(cause, "unexpected EOF"):
		f.Message = "the file ends too early"
		f.Expected = "a closing quote, bracket, brace or */"
		// The end of the last line says more than the empty line after it.
		offset = len(bytes.TrimRight(s.text, " \t\r\n"))
	case strings.Contains(cause, "at start of object name"):
		f.Message = cause
		f.Expected = "a key in double quotes, or }"
	case strings.Contains(cause, "after object name"):
		f.Message = cause
		f.Expected = "a colon"
	case strings.Contains(cause, "after object value"), strings.Contains(cause, "after array value"):
		f.Message, _, _ = strings.Cut(cause, " (expecting")
		f.Expected = "a comma or the closing bracket"
		f.Hint = "is a comma missing before this?"
	case strings.Contains(cause, "at start of value"):
		f.Message = cause
		f.Expected = "a string in double quotes, a number, true, false, null, [ or {"
	case strings.Contains(cause, "after top-level value"):
		f.Message = cause
		f.Expected = "the end of the file"
	case strings.Contains(cause, "invalid literal"):
		literal, _, _ := strings.Cut(strings.TrimPrefix(cause, "invalid literal: "), "\n")
		f.Message = shorten(literal, 40) + " is not a valid value"
		f.Expected = "a string in double quotes on one line, a number, true, false or null"
	default:
		f.Message = cause
	}
	return s.at(offset, f)
}

// tooDeep is the offset of the bracket that nests deeper than limit, or -1.
func tooDeep(text []byte, limit int) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '/':
			var end string
			switch {
			case bytes.HasPrefix(text[i:], []byte("//")):
				end = "\n"
			case bytes.HasPrefix(text[i:], []byte("/*")):
				end = "*/"
			default:
				continue
			}
			j := bytes.Index(text[i+2:], []byte(end))
			if j < 0 {
				return -1
			}
			i += 2 + j + len(end) - 1
		case '{', '[':
			if depth++; depth > limit {
				return i
			}
		case '}', ']':
			depth--
		}
	}
	return -1
}

// shorten cuts s to at most n runes.
func shorten(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
