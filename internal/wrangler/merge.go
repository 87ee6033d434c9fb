package wrangler

import (
	"bytes"
	"errors"
	"fmt"
)

// Choice is a key that both sides changed, each differently.
type Choice struct {
	Key string `json:"key"` // as env.swicked.vars.THEME; elements of arrays as d1_databases[DB]
	// The JSON of the key's value on each side; "" where the side does not have it.
	Base string `json:"base,omitempty"`
	Main string `json:"main,omitempty"`
	Shop string `json:"shop,omitempty"`
	// Taken is the side whose value was taken, "main" or "shop"; "" when a person has to decide.
	Taken string `json:"taken,omitempty"`
}

// Merged is a configuration that two sides changed.
type Merged struct {
	Text    []byte   // nil when a person has to decide
	Choices []Choice // in the order of the file
}

// Merge merges what main and a shop made of one wrangler.jsonc. env is the shop's environment, name the file's name for
// findings; base is nil when both sides added the file.
//
// The result is main's text, into which the shop's changes are put with the shop's own words: comments in and before a
// member go along. Inside of env.<env> it is the other way round. What one side changed is that side's; what both changed
// alike is there once; objects are merged by key, and arrays by what identifies their elements (see identities). A comment
// is treated as a value: who changed it has its own, and a comment that both changed is the host text's.
//
// What both changed differently is a Choice: the shop's is taken inside of env.<env>, main's elsewhere. A person has to
// decide where taking a side would lose more than a value: an object or array that one side removed and the other changed,
// arrays changed on both sides with elements that cannot be told apart, and inside of env.<env> values of two types.
//
// The error has Findings when a side cannot be read, by the rules of Parse.
func Merge(name, env string, base, main, shop []byte) (*Merged, error) {
	sides := [3]*document{}
	for i, side := range []struct {
		name string
		text []byte
	}{{"base", base}, {"main", main}, {"shop", shop}} {
		if i == 0 && base == nil {
			continue
		}
		doc, findings := readDocument(side.name, name, side.text)
		if findings != nil {
			return nil, fmt.Errorf("reading the %s side of %s: %w", side.name, name, findings)
		}
		sides[i] = doc
	}
	switch {
	case base != nil && bytes.Equal(base, shop), bytes.Equal(main, shop):
		return &Merged{Text: bytes.Clone(main)}, nil
	case base != nil && bytes.Equal(base, main):
		return &Merged{Text: bytes.Clone(shop)}, nil
	}
	b, h, g := sides[0], sides[1], sides[2]
	m := merger{env: env}
	var root *tree
	var head, foot string
	if b != nil {
		root, head, foot = b.root, b.head, b.foot
	}
	text, want := m.value(mergePlace{}, root, h.root, g.root)
	if m.stuck {
		return &Merged{Choices: m.choices}, nil
	}
	if pickGuest(head, h.head, g.head, false) {
		head = h.adopt(g.head, g, "", "")
	} else {
		head = h.head
	}
	if pickGuest(foot, h.foot, g.foot, false) {
		foot = h.adopt(g.foot, g, "", "")
	} else {
		foot = h.foot
	}
	out := []byte(head + text + foot)
	if h.src.bom {
		out = append([]byte("\uFEFF"), out...)
	}
	// Nothing is handed out that does not read as what was decided, whatever was done to the text.
	got, findings := readDocument("merged", name, out)
	if findings != nil {
		return nil, fmt.Errorf("reading what main and the shop make of %s: %w", name, findings)
	}
	if !same(got.root.v, want) {
		return nil, errors.New("merging " + name + ": the text does not mean what was decided")
	}
	return &Merged{Text: out, Choices: m.choices}, nil
}

// merger merges trees. Of the two sides one is the host, whose text the result begins as, and one the guest, whose changes
// are put into it. What both changed is the host's.
type merger struct {
	env     string
	choices []Choice
	stuck   bool // a person has to decide
}

// mergePlace is where in the file a value stands.
type mergePlace struct {
	path string
	own  bool // inside of the shop's environment
}

func (p mergePlace) member(key string) mergePlace {
	return mergePlace{path: keyPath(p.path, key), own: p.own}
}

// keyPath is the path of a member as people write it.
func keyPath(path, key string) string {
	plain := key != ""
	for _, r := range key {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '$') {
			plain = false
		}
	}
	switch {
	case !plain:
		return path + "[" + string(jsonString(key)) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

// choose records that both sides changed a key; the host's value is taken unless a person has to decide.
func (m *merger) choose(path string, b, h, g *tree, host string, person bool) {
	c := Choice{Key: path, Base: b.json(), Main: h.json(), Shop: g.json(), Taken: host}
	if host == "shop" {
		c.Main, c.Shop = c.Shop, c.Main
	}
	if person {
		c.Taken, m.stuck = "", true
	}
	m.choices = append(m.choices, c)
}

// value merges two values that are both there and returns the text, laid out as the host's, and what it means.
func (m *merger) value(p mergePlace, b, h, g *tree) (string, *value) {
	if b != nil && g.text() == b.text() || g.text() == h.text() {
		return h.text(), h.v
	}
	hostKept := b != nil && same(b.v, h.v)
	guestKept := b != nil && same(b.v, g.v)
	guest := func() (string, *value) {
		return h.doc.adopt(g.text(), g.doc, g.doc.indentAt(g.start), h.doc.indentAt(h.start)), g.v
	}
	if h.v.kind == g.v.kind && h.v.isObject() {
		from := b
		if b != nil && b.v.kind != h.v.kind {
			from = nil
		}
		array := h.v.is(kindArray)
		switch {
		case array && hostKept && !guestKept && h.text() == b.text():
			return guest() // with its layout
		case !array || h.known && g.known && (from == nil || from.known):
			return m.container(p, from, h, g)
		}
	}
	switch {
	case guestKept, same(h.v, g.v):
	case hostKept:
		return guest()
	default:
		m.choose(p.path, b, h, g, h.doc.side, h.v.is(kindArray) && g.v.is(kindArray) || p.own && h.v.kind != g.v.kind)
	}
	return h.text(), h.v
}

// item merges a member or an element that at least one side has; nil when there is none in the end.
func (m *merger) item(p mergePlace, object bool, b, h, g *item, hostDoc string) *placed {
	some := h
	if h == nil {
		some = g
	}
	if object {
		p = p.member(some.id)
	} else {
		p.path += "[" + some.label + "]"
	}
	switch {
	case h == nil && b == nil:
		return g.placed(true)
	case h == nil && g.val.text() != b.val.text() && !same(g.val.v, b.val.v):
		m.choose(p.path, b.val, nil, g.val, hostDoc, b.val.v.isObject() || g.val.v.isObject())
		return nil
	case h == nil:
		return nil
	case g == nil && b == nil:
		return h.placed(false)
	case g == nil && h.val.text() != b.val.text() && !same(h.val.v, b.val.v):
		m.choose(p.path, b.val, h.val, nil, hostDoc, b.val.v.isObject() || h.val.v.isObject())
		return h.placed(false)
	case g == nil:
		return nil
	}
	var base *tree
	was := &item{}
	if b != nil {
		base, was = b.val, b
	}
	out := h.placed(false)
	own := object && !p.own && p.path == keyPath("env", m.env) && m.env != ""
	if !own {
		out.text, out.v = m.value(p, base, h.val, g.val)
	} else if b == nil || !same(b.val.v, g.val.v) || b.val.text() != g.val.text() {
		// Here the shop's text is the host. It is brought into main's layout when it is done.
		p.own = true
		text, v := m.value(p, base, g.val, h.val)
		out.text = h.val.doc.adopt(text, g.val.doc, g.val.doc.indentAt(g.val.start), h.val.doc.indentAt(h.val.start))
		out.v = v
	}
	if pickGuest(was.lead, h.lead, g.lead, own) {
		out.lead, out.foreign = g.lead, g
	}
	if pickGuest(was.trail, h.trail, g.trail, own) {
		out.trail = " " + trimBlank(g.trail)
	}
	if pickGuest(was.head, h.head, g.head, own) {
		out.head = h.val.doc.adopt(g.head, g.val.doc, g.val.doc.indentAt(g.start), h.val.doc.indentAt(h.start))
	}
	if pickGuest(was.gap, h.gap, g.gap, own) {
		out.gap = h.val.doc.adopt(g.gap, g.val.doc, g.val.doc.indentAt(g.start), h.val.doc.indentAt(h.start))
	}
	return out
}

// container merges two objects, or two arrays whose elements can be told apart; b is of the same kind or nil.
func (m *merger) container(p mergePlace, b, h, g *tree) (string, *value) {
	if b == nil {
		b = &tree{}
	}
	object := h.v.is(kindObject)
	var out []*placed
	for _, id := range order(b, h, g, object) {
		if it := m.item(p, object, b.find(id), h.find(id), g.find(id), h.doc.side); it != nil {
			out = append(out, it)
		}
	}
	v := &value{kind: h.v.kind, offset: -1}
	for _, it := range out {
		if object {
			v.members = append(v.members, property{it.id, -1, it.v})
		} else {
			v.elems = append(v.elems, it.v)
		}
	}
	v.indexed()
	return layOut(b, h, g, out), v
}
