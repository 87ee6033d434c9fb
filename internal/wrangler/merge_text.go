package wrangler

import (
	"strings"
)

// placed is an item of a result.
type placed struct {
	item
	text    string // of the value, laid out for the host
	v       *value
	foreign *item // the guest's item whose lead it has; nil when the lead is the host's
	whole   bool  // all of it is the guest's
}

func (it *item) placed(foreign bool) *placed {
	out := &placed{item: *it, text: it.val.text(), v: it.val.v}
	if foreign {
		out.foreign, out.whole = it, true
	}
	return out
}

// layOut writes a container of the host with other items.
func layOut(b, h, g *tree, items []*placed) string {
	d := h.doc
	outer := d.indentAt(h.start)
	inner := outer + d.unit
	for i := range h.items {
		if broken(h.items[i].lead) {
			inner = d.indentAt(h.items[i].start)
			break
		}
	}
	foreign := false
	for _, it := range items {
		foreign = foreign || it.foreign != nil
	}
	closing := h.closing
	foreignClosing := pickGuest(b.closing, h.closing, g.closing, false)
	// What has to be on lines of its own brings that along for everything.
	spread := !h.lines && g.lines && (foreign || foreignClosing)
	lines := h.lines || spread
	if foreignClosing {
		_, body, _ := readLead(g.closing)
		closing = d.nl + inner + d.adopt(body, g.doc, g.itemIndent(), inner) + d.nl + outer
		if !lines {
			closing = " " + body + " "
		}
	} else if blank(closing) {
		switch {
		case len(items) == 0 && len(h.items) > 0:
			closing = ""
		case spread && len(items) > 0:
			closing = d.nl + outer
		case len(h.items) == 0 && len(items) > 0 && !lines:
			closing = ""
			if blank(g.closing) {
				closing = g.closing
			}
		}
	}
	comma := h.comma
	if len(h.items) == 0 || spread {
		comma = g.comma
	}
	// firstLead and otherLead are for items on the bracket's line.
	firstLead, otherLead := "", " "
	for _, t := range []*tree{g, h} {
		if len(t.items) > 0 && oneLine(t.items[0].lead) {
			firstLead = t.items[0].lead
		}
		if len(t.items) > 1 && oneLine(t.items[1].lead) {
			otherLead = t.items[1].lead
		}
	}

	var out strings.Builder
	comment := false // what is written last is a comment that ends with the line
	write := func(s string) {
		if s == "" {
			return
		}
		if comment && s[0] != '\n' && s[0] != '\r' {
			out.WriteString(d.nl)
		}
		out.WriteString(s)
		comment = false
	}
	out.WriteByte(d.text[h.start])
	before := -1 // the host's index of the item before
	for i, it := range items {
		lead := it.lead
		at, ours := h.index[it.id]
		switch {
		case it.foreign != nil:
			gap, body, apart := readLead(lead)
			switch {
			case lines && body == "":
				lead = d.nl + inner
			case lines && apart:
				lead = d.nl + inner + d.adopt(body, g.doc, g.doc.indentAt(it.foreign.start), inner) + d.nl + inner
			case lines:
				lead = d.nl + inner + d.adopt(body, g.doc, g.doc.indentAt(it.foreign.start), inner) + " "
			case i == 0 && body == "":
				lead = firstLead
			case body == "":
				lead = otherLead
			default:
				lead = " " + body + " "
			}
			if gap && lines && i > 0 {
				lead = d.nl + lead
			}
		case oneLine(lead):
			switch {
			case spread, lines && (at != before+1 || before < 0 && at != 0):
				lead = d.nl + inner
			case at == before+1 && (before >= 0 || i == 0):
			case i == 0:
				lead = firstLead
			default:
				lead = otherLead
			}
		}
		before = -2
		if ours {
			before = at
		}
		write(lead)
		head, text, gap := it.head, it.text, it.gap
		if it.whole {
			from, to := g.doc.indentAt(it.start), inner
			if !lines {
				to = outer
			}
			head, text, gap = d.adopt(head, g.doc, from, to), d.adopt(text, g.doc, from, to), d.adopt(gap, g.doc, from, to)
		}
		write(head)
		write(text)
		write(gap)
		if comma || i+1 < len(items) {
			write(",")
		}
		if it.trail != "" {
			write(it.trail)
			comment = true
		}
	}
	write(closing)
	write(d.text[h.end-1 : h.end])
	return out.String()
}

// itemIndent is the indentation of the lines that hold items.
func (t *tree) itemIndent() string {
	for i := range t.items {
		if broken(t.items[i].lead) {
			return t.doc.indentAt(t.items[i].start)
		}
	}
	return t.doc.indentAt(t.start) + t.doc.unit
}

// longestIndent bounds what is taken for indentation: it is written once for each line.
const longestIndent = 200

// indentAt is the indentation of the line that an offset is on.
func (d *document) indentAt(offset int) string {
	line, _ := d.src.position(offset)
	rest := d.text[d.src.lines[line-1]:]
	n := 0
	for n < len(rest) && n < longestIndent && (rest[n] == ' ' || rest[n] == '\t') {
		n++
	}
	return rest[:n]
}

// adopt gives text of another document the indentation and the ends of lines of this one. Its first line stands where
// the caller puts it.
func (d *document) adopt(text string, from *document, was, indent string) string {
	if !broken(text) || from == d && was == indent {
		return text
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	var out strings.Builder
	for i, line := range strings.Split(text, "\n") {
		if i == 0 {
			out.WriteString(line)
			continue
		}
		out.WriteString(d.nl)
		rest := strings.TrimLeft(line, " \t")
		if rest == "" {
			continue
		}
		more, deeper := strings.CutPrefix(line[:len(line)-len(rest)], was)
		if !deeper {
			more = ""
		}
		out.WriteString(indent)
		for from.unit != d.unit && len(more) <= longestIndent && strings.HasPrefix(more, from.unit) {
			out.WriteString(d.unit)
			more = more[len(from.unit):]
		}
		out.WriteString(more + rest)
	}
	return out.String()
}

func broken(s string) bool { return strings.ContainsAny(s, "\r\n") }

// oneLine says that s has neither a comment nor the end of a line.
func oneLine(s string) bool { return blank(s) && !broken(s) }

func blank(s string) bool { return trimBlank(s) == "" }

func trimBlank(s string) string { return strings.Trim(s, " \t\r\n") }

// pickGuest says whether, of blanks and comments, the guest's are taken: it changed the comments, and the host did not.
// own says that what both changed is the guest's.
func pickGuest(b, h, g string, own bool) bool {
	if h == g || b == g {
		return false
	}
	b, h, g = comments(b), comments(h), comments(g)
	return g != h && g != b && (own || h == b)
}

// comments are the comments of a piece of text, without blanks that mean nothing.
func comments(s string) string {
	if !strings.Contains(s, "/") {
		return ""
	}
	var out strings.Builder
	for i := 0; i < len(s); {
		n := commentAt(s[i:])
		if n == 0 {
			// The key is no comment. It is a string, and may hold what looks like one.
			if s[i] == '"' {
				i += stringAt(s[i:])
			} else {
				i++
			}
			continue
		}
		for _, line := range strings.FieldsFunc(s[i:i+n], func(r rune) bool { return r == '\r' || r == '\n' }) {
			out.WriteString(trimBlank(line))
			out.WriteByte('\n')
		}
		i += n
	}
	return out.String()
}

// commentAt is the length of the comment that s begins with, without the end of the line; 0 when there is none.
func commentAt(s string) int {
	switch {
	case strings.HasPrefix(s, "//"):
		if i := strings.IndexAny(s, "\r\n"); i >= 0 {
			return i
		}
		return len(s)
	case strings.HasPrefix(s, "/*"):
		if i := strings.Index(s[2:], "*/"); i >= 0 {
			return i + 4
		}
		return len(s)
	}
	return 0
}

// stringAt is the length of the string that s begins with.
func stringAt(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// comma is the offset of the comma among blanks and comments, or -1.
func comma(s string) int {
	for i := 0; i < len(s); {
		if s[i] == ',' {
			return i
		}
		i += max(commentAt(s[i:]), 1)
	}
	return -1
}

// sameLine are the comments that s has on its first line, with the blanks around; "" when there are none, or when
// something else follows on that line.
func sameLine(s string) string {
	some := false
	for i := 0; i < len(s); {
		switch n := commentAt(s[i:]); {
		case n > 0 && broken(s[i:i+n]):
			return ""
		case n > 0:
			some = true
			i += n
		case (s[i] == '\n' || s[i] == '\r') && some:
			return s[:i]
		case s[i] == '\n' || s[i] == '\r':
			return ""
		default:
			i++
		}
	}
	return ""
}

// readLead takes blanks and comments apart: whether an empty line is before them, the comments as they are written, and
// whether a line ends behind them.
func readLead(s string) (gap bool, body string, apart bool) {
	body = trimBlank(s)
	if body == "" {
		return lineEnds(s) > 1, "", false
	}
	at := strings.Index(s, body)
	return lineEnds(s[:at]) > 1, body, broken(s[at+len(body):])
}

func lineEnds(s string) int {
	return strings.Count(s, "\n") + strings.Count(strings.ReplaceAll(s, "\r\n", ""), "\r")
}
