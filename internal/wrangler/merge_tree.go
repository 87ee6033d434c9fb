package wrangler

import (
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// document is one side of a merge: its text, cut into pieces that can be put together again.
type document struct {
	side       string // "base", "main" or "shop"
	src        *source
	text       string
	root       *tree
	head, foot string // before and after the root
	unit       string // of indentation
	nl         string // end of a line
}

// tree is a value and its text. Of an object or array everything between the brackets belongs to one of the items or is
// closing.
type tree struct {
	doc        *document
	v          *value
	start, end int
	items      []item
	index      map[string]int // of the items by their id
	known      bool           // the items can be told apart
	closing    string         // before the closing bracket
	comma      bool           // the last item has one
	lines      bool           // not everything is on one line
}

// item is a member of an object or an element of an array.
type item struct {
	id    string // the key, or what identifies an element
	label string // id for people
	start int
	lead  string // blanks and comments before it
	head  string // the key with everything up to the value
	val   *tree
	gap   string // between the value and the comma
	trail string // comments behind the comma, up to the end of the line
}

// identities are the keys that identify an element of an array, the first that it has. A string of routes is a pattern.
var identities = []string{"binding", "name", "pattern", "tag", "queue", "service", "class_name", "from", "type"}

func readDocument(side, name string, src []byte) (*document, Findings) {
	s, findings := newSource(name, src)
	if findings != nil {
		return nil, findings
	}
	root, parsed, findings := s.read()
	if findings != nil {
		return nil, findings
	}
	d := &document{side: side, src: s, text: string(s.text), unit: "  ", nl: "\n"}
	d.root = d.tree(parsed, root, "")
	d.head, d.foot = d.text[:d.root.start], d.text[d.root.end:]
	for i := range d.root.items {
		it := &d.root.items[i]
		if indent := d.indentAt(it.start); broken(it.lead) && indent != "" {
			d.unit = indent
			break
		}
	}
	crlf, lf := strings.Count(d.text, "\r\n"), strings.Count(d.text, "\n")
	switch {
	case crlf > lf-crlf:
		d.nl = "\r\n"
	case lf == 0 && strings.Contains(d.text, "\r"):
		d.nl = "\r"
	}
	return d, nil
}

// tree cuts a value into pieces. key is the member that holds it.
func (d *document) tree(h *hujson.Value, v *value, key string) *tree {
	t := &tree{doc: d, v: v, start: h.StartOffset, end: h.EndOffset, known: true}
	at := t.start + 1
	switch c := h.Value.(type) {
	case *hujson.Object:
		for i := range c.Members {
			name, val := &c.Members[i].Name, &c.Members[i].Value
			id := name.Value.(hujson.Literal).String()
			end := t.end - 1
			if i+1 < len(c.Members) {
				end = c.Members[i+1].Name.StartOffset
			}
			at = t.add(item{id: id, label: id, start: name.StartOffset, head: d.text[name.StartOffset:val.StartOffset], val: d.tree(val, v.get(id), id)}, at, end)
		}
	case *hujson.Array:
		for i := range c.Elements {
			val := &c.Elements[i]
			id, label := identity(v.elems[i], key)
			end := t.end - 1
			if i+1 < len(c.Elements) {
				end = c.Elements[i+1].StartOffset
			}
			at = t.add(item{id: id, label: label, start: val.StartOffset, val: d.tree(val, v.elems[i], "")}, at, end)
		}
	default:
		return t
	}
	t.closing = d.text[at : t.end-1]
	t.lines = t.lines || broken(t.closing)
	return t
}

// add appends an item whose lead begins at an offset, and returns where the next one begins; end is the next token that
// is no comma.
func (t *tree) add(it item, at, end int) int {
	it.lead = t.doc.text[at:it.start]
	after := it.val.end
	if i := comma(t.doc.text[after:end]); i >= 0 {
		it.gap = t.doc.text[after : after+i]
		after += i + 1
		t.comma = true
	} else {
		t.comma = false
	}
	it.trail = sameLine(t.doc.text[after:end])
	if t.index == nil {
		t.index = map[string]int{}
	}
	if _, twice := t.index[it.id]; twice || it.id == "" && it.head == "" {
		t.known = false
	}
	t.index[it.id] = len(t.items)
	t.items = append(t.items, it)
	t.lines = t.lines || broken(it.lead)
	return after + len(it.trail)
}

// identity is what an element of the array under key is known by, "" when there is nothing, and how to write it.
func identity(v *value, key string) (id, label string) {
	switch v.kind {
	case kindString:
		if key == "routes" {
			return "pattern\x00" + v.str, v.str
		}
		return "\x00" + v.str, v.str
	case kindObject:
		for _, k := range identities {
			if id := v.get(k); id.is(kindString) {
				return k + "\x00" + id.str, id.str
			}
		}
		return "", ""
	case kindArray:
		return "", ""
	}
	return string(v.json()), string(v.json())
}

func (t *tree) text() string { return t.doc.text[t.start:t.end] }

// json is the value as JSON; "" when there is none.
func (t *tree) json() string {
	if t == nil {
		return ""
	}
	return string(t.v.json())
}

// find is the item of that id, nil when there is none.
func (t *tree) find(id string) *item {
	if i, ok := t.index[id]; ok {
		return &t.items[i]
	}
	return nil
}

// order are the ids of three containers in the order of the result: the host's, with what the guest added behind what
// it is behind there, after additions of the host. Only when the guest alone changed an array's order it is the guest's.
func order(b, h, g *tree, object bool) []string {
	if !object && len(b.items) > 0 {
		moved := func(t *tree) bool {
			last := -1
			for i := range b.items {
				id := b.items[i].id
				if h.find(id) == nil || g.find(id) == nil {
					continue
				}
				if at := t.index[id]; at < last {
					return true
				} else {
					last = at
				}
			}
			return false
		}
		if moved(g) && !moved(h) {
			h, g = g, h
		}
	}
	// behind are the guest's additions behind each of the host's items; those that are first are at -1.
	behind := map[int][]string{}
	at := -1
	for i := range g.items {
		id := g.items[i].id
		if n, ok := h.index[id]; ok {
			at = n
			continue
		}
		if b.find(id) != nil {
			continue // the host removed it
		}
		behind[at] = append(behind[at], id)
	}
	added := func(n int) bool {
		return n < len(h.items) && g.find(h.items[n].id) == nil && b.find(h.items[n].id) == nil
	}
	var out, waiting []string
	for n := -1; n < len(h.items); n++ {
		if n >= 0 {
			out = append(out, h.items[n].id)
		}
		waiting = append(waiting, behind[n]...)
		if !added(n + 1) {
			out = append(out, waiting...)
			waiting = nil
		}
	}
	// What the host removed and the guest changed has no place, and is decided on all the same.
	for i := range g.items {
		if id := g.items[i].id; h.find(id) == nil && b.find(id) != nil {
			out = append(out, id)
		}
	}
	return out
}

// same says whether two values mean the same: the order of members makes no difference.
func same(a, b *value) bool {
	if a == nil || b == nil || a.kind != b.kind {
		return a == b
	}
	switch a.kind {
	case kindBool:
		return a.boolean == b.boolean
	case kindNumber:
		return a.num == b.num
	case kindString:
		return a.str == b.str
	case kindArray:
		return slices.EqualFunc(a.elems, b.elems, same)
	case kindObject:
		if len(a.members) != len(b.members) {
			return false
		}
		for _, m := range a.members {
			if !same(m.value, b.get(m.key)) {
				return false
			}
		}
	}
	return true
}
