package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxSize bounds the work on a file that cannot be a fleet policy: 500 shops with every exception written out are
// some 150 KB.
const maxSize = 512 << 10

// mark is a place in the file: 1-based, the column in bytes.
type mark struct{ line, column int }

// place is where an entry of the file stands.
type place struct{ key, value mark }

// reader turns the bytes of one file into a Policy and collects findings on the way.
type reader struct {
	file     string
	lines    []string
	places   map[string]place // of every entry whose value has the right type, by joined path
	hidden   map[int]int      // line → column from which findings must not show the line
	findings Findings
}

func newReader(file string, src []byte) *reader {
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	text := strings.ReplaceAll(string(src), "\r\n", "\n")
	return &reader{
		file:   file,
		lines:  strings.Split(text, "\n"),
		places: map[string]place{},
		hidden: map[int]int{},
	}
}

// report notes a problem and where it stands.
func (r *reader) report(at mark, p problem) {
	at.line = min(max(at.line, 1), len(r.lines))
	at.column = min(max(at.column, 1), len(r.lines[at.line-1])+1)
	r.findings = append(r.findings, Finding{
		Rule: p.rule, Level: "error",
		File: r.file, Line: at.line, Column: at.column,
		Message: p.message, Expected: p.expected, Hint: p.hint,
	})
}

// result is what was found, with source lines. They are added at the end because only then is it known what of a line
// must stay hidden.
func (r *reader) result() error {
	for i := range r.findings {
		f := &r.findings[i]
		source := r.lines[f.Line-1]
		if from, ok := r.hidden[f.Line]; ok {
			source = source[:from-1] + "***"
		}
		f.Source = conceal(visible(source))
	}
	return r.findings.sorted()
}

// invisible tells the characters that make different readers see different files: control characters, line separators
// that YAML honours and editors do not, and marks that reorder what is shown.
func invisible(c rune) bool {
	switch {
	case c == '\t':
		return false
	case unicode.IsControl(c), c == 0x2028, c == 0x2029, c == 0xfeff:
		return true
	}
	return c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069
}

// visible makes a line safe to print.
func visible(line string) string {
	return strings.Map(func(c rune) rune {
		if invisible(c) {
			return utf8.RuneError
		}
		return c
	}, strings.ToValidUTF8(line, "\ufffd"))
}

// document finds the one mapping the file consists of; nil when there is none, which has then been reported.
func (r *reader) document(src []byte) *yaml.Node {
	if len(src) > maxSize {
		r.report(mark{1, 1}, problem{ruleTooLarge,
			fmt.Sprintf("the file has %d bytes", len(src)),
			fmt.Sprintf("at most %d bytes", maxSize),
			"only shops that differ from the rules need to be listed under shops:"})
		return nil
	}
	if !r.readable() {
		return nil
	}
	text := strings.Join(r.lines, "\n")
	documents, err := parseYAML(strings.NewReader(text))
	if err != nil {
		r.syntax(text, err)
		return nil
	}
	if len(documents) == 0 {
		r.report(mark{1, 1}, problem{ruleEmptyFile,
			"the file is empty", "a fleet policy",
			"begin with product:, naming: and accounts:"})
		return nil
	}
	for _, extra := range documents[1:] {
		r.report(r.at(extra), problem{ruleMultipleDocuments,
			"a second YAML document begins here", "one document",
			`remove the "---" line and what follows it`})
	}
	root := documents[0].Content[0]
	r.plain(root)
	if root.Kind != yaml.MappingNode {
		r.wrongType(root, "a mapping of keys such as product: and naming:", "")
		return nil
	}
	return root
}

// readable reports bytes that are no text, and characters that nobody can see.
func (r *reader) readable() bool {
	for i, line := range r.lines {
		for at := 0; at < len(line); {
			c, size := utf8.DecodeRuneInString(line[at:])
			switch {
			case c == utf8.RuneError && size == 1:
				r.report(mark{i + 1, at + 1}, problem{ruleEncoding,
					"the file is not UTF-8", "UTF-8 text", "save the file as UTF-8"})
				return false
			case invisible(c):
				r.report(mark{i + 1, at + 1}, problem{ruleControlCharacter,
					fmt.Sprintf("invisible character %U", c), "text that reads the same everywhere", "delete the character"})
			}
			at += size
		}
	}
	return len(r.findings) == 0
}

// parseYAML reads all documents of a text. A document that holds nothing at all, as in a file of comments, is none.
//
// yaml.v3 panics on some layouts of comments instead of refusing them (mikefarah/yq#2481).
func parseYAML(text io.Reader) (documents []*yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	in := yaml.NewDecoder(text)
	for {
		var n yaml.Node
		if err := in.Decode(&n); errors.Is(err, io.EOF) {
			return documents, nil
		} else if err != nil {
			return nil, err
		}
		documents = append(documents, &n)
	}
}

var (
	yamlPrefix = regexp.MustCompile(`^yaml: (line \d+: )?`)
	tabbed     = regexp.MustCompile(`^ *\t[\t ]*[^\t #]`)
	bareGlob   = regexp.MustCompile(`[\[,:-]\s*\*`)
	bareSlug   = regexp.MustCompile(`^[^"']*\{(slug|zone)\}`)
)

// syntax reports that the text is not YAML. The library names the line on which the enclosing mapping begins, or
// none; the mistake stands right after the last line up to which the text can still be read.
func (r *reader) syntax(text string, err error) {
	for i, line := range r.lines {
		if tabbed.MatchString(line) {
			r.report(mark{i + 1, strings.IndexByte(line, '\t') + 1}, problem{ruleTab,
				"a tab in the indentation", "blanks", "YAML indents with blanks: replace the tab"})
		}
	}
	if len(r.findings) > 0 {
		return
	}
	at := r.brokenLine(text)
	for at > 1 && strings.TrimSpace(r.lines[at-1]) == "" {
		at--
	}
	line := r.lines[at-1]
	hint := "check quotes, brackets and indentation on this line and the one before"
	switch {
	case bareSlug.MatchString(line):
		hint = `put text that holds braces in quotes: "helm-{slug}"`
	case bareGlob.MatchString(line):
		hint = `put a glob that begins with * in quotes: "**/theme.json"`
	}
	indent := len(line) - len(strings.TrimLeft(line, " "))
	r.report(mark{at, indent + 1}, problem{ruleSyntax,
		"not YAML: " + yamlPrefix.ReplaceAllString(err.Error(), ""), "YAML", hint})
}

// brokenLine is the number of the line that makes the text unreadable: the one after the longest readable beginning.
// The search starts where the parser gave up, a read buffer after the mistake at most.
func (r *reader) brokenLine(text string) int {
	in := strings.NewReader(text)
	_, _ = parseYAML(in) // the error is known; what counts is how far it came
	seen := text[:len(text)-in.Len()]
	for end := len(seen); end > 0; {
		end = strings.LastIndexByte(seen[:end], '\n')
		if end <= 0 {
			break
		}
		if _, err := parseYAML(strings.NewReader(seen[:end])); err == nil {
			return strings.Count(seen[:end], "\n") + 2
		}
	}
	return 1
}

// plain reports what would make it hard to see in a line what holds there: anchors, aliases, merge keys and tags.
func (r *reader) plain(n *yaml.Node) {
	const hint = "write the value out; a line of the policy should say by itself what it means"
	switch {
	case n.Kind == yaml.AliasNode:
		r.report(r.at(n), problem{ruleAnchor, "the alias *" + n.Value, "a value", hint})
		return
	case n.Anchor != "":
		r.report(r.at(n), problem{ruleAnchor, "the anchor &" + n.Anchor, "a value", hint})
	case n.Tag == "!!merge":
		r.report(r.at(n), problem{ruleMergeKey, "the merge key <<", "keys", hint})
	case n.Style&yaml.TaggedStyle != 0:
		r.report(r.at(n), problem{ruleTag, "the tag " + quote(n.Tag), "a value without a tag", hint})
	}
	for _, child := range n.Content {
		r.plain(child)
	}
}

// at is where a node stands. The library counts columns in characters.
func (r *reader) at(n *yaml.Node) mark {
	if n.Line < 1 || n.Line > len(r.lines) {
		return mark{n.Line, n.Column}
	}
	characters := 0
	for i := range r.lines[n.Line-1] {
		if characters++; characters == n.Column {
			return mark{n.Line, i + 1}
		}
	}
	return mark{n.Line, len(r.lines[n.Line-1]) + 1}
}

// entry says where the entry with this path stands; false when the file has none or its value has the wrong type.
func (r *reader) entry(path ...string) (place, bool) {
	at, ok := r.places[join(path)]
	return at, ok
}

// hide keeps the rest of the line out of every finding.
func (r *reader) hide(at mark) {
	if from, ok := r.hidden[at.line]; !ok || at.column < from {
		r.hidden[at.line] = at.column
	}
}
