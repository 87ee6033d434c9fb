package wrangler

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/tailscale/hujson"
)

type kind int

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

// String is the kind as wrangler's rules name types.
func (k kind) String() string {
	return [...]string{"null", "boolean", "number", "string", "array", "object"}[k]
}

func (k kind) article() string {
	return [...]string{"null", "a boolean", "a number", "a string", "an array", "an object"}[k]
}

// value is a JSON value and where it stands. A nil *value is JavaScript's undefined: all methods accept it.
type value struct {
	kind    kind
	str     string
	num     float64
	boolean bool
	elems   []*value
	members []property // in the order JavaScript enumerates them
	// index finds the members of an object that has many: looking for each of them in turn would take the square of their
	// number, and whoever may push a configuration chooses it. Nil for few.
	index  map[string]int
	offset int // of the value's first byte; -1 for a value that is not in the file
}

type property struct {
	key    string
	offset int // of the key
	value  *value
}

// get is the member called key, nil when v is no object or has none.
func (v *value) get(key string) *value {
	if i := v.find(key); i >= 0 {
		return v.members[i].value
	}
	return nil
}

// many is from how many members on an object has an index.
const many = 64

// find is the index of the member called key, or -1.
func (v *value) find(key string) int {
	if v == nil {
		return -1
	}
	if v.index == nil {
		return slices.IndexFunc(v.members, func(m property) bool { return m.key == key })
	}
	if i, ok := v.index[key]; ok {
		return i
	}
	return -1
}

// indexed gives an object that is complete its index.
func (v *value) indexed() {
	if len(v.members) >= many {
		v.index = make(map[string]int, len(v.members))
		for i, m := range v.members {
			v.index[m.key] = i
		}
	}
}

// at follows path: strings are keys, ints are indexes.
func (v *value) at(path ...any) *value {
	for _, p := range path {
		if v == nil {
			return nil
		}
		switch p := p.(type) {
		case string:
			v = v.get(p)
		case int:
			if p < 0 || p >= len(v.elems) {
				return nil
			}
			v = v.elems[p]
		default:
			return nil
		}
	}
	return v
}

// locate is the offset of the deepest part of path that exists: of the key for a member, of the value for an
// element.
func (v *value) locate(path ...any) int {
	offset := v.offset
	for _, p := range path {
		switch p := p.(type) {
		case string:
			i := v.find(p)
			if i < 0 {
				return offset
			}
			offset, v = v.members[i].offset, v.members[i].value
		case int:
			if p < 0 || p >= len(v.elems) {
				return offset
			}
			v = v.elems[p]
			offset = v.offset
		default:
			return offset
		}
	}
	return offset
}

func (v *value) keys() []string {
	if v == nil {
		return nil
	}
	out := make([]string, len(v.members))
	for i, m := range v.members {
		out[i] = m.key
	}
	return out
}

func (v *value) is(k kind) bool { return v != nil && v.kind == k }

// isObject says what JavaScript's typeof calls an object and is not null: arrays too.
func (v *value) isObject() bool { return v.is(kindObject) || v.is(kindArray) }

// text is the string, or "" when v is none.
func (v *value) text() string {
	if !v.is(kindString) {
		return ""
	}
	return v.str
}

// texts are the strings of an array, nil when v is none.
func (v *value) texts() []string {
	if !v.is(kindArray) {
		return nil
	}
	out := make([]string, 0, len(v.elems))
	for _, e := range v.elems {
		if e.is(kindString) {
			out = append(out, e.str)
		}
	}
	return out
}

// boolPtr is nil when v is no boolean.
func (v *value) boolPtr() *bool {
	if !v.is(kindBool) {
		return nil
	}
	b := v.boolean
	return &b
}

// properties are the members of an object, nil when v is none.
func (v *value) properties() []property {
	if v == nil {
		return nil
	}
	return v.members
}

// newObject is an object that is not in the file.
func newObject() *value { return &value{kind: kindObject, offset: -1} }

// set appends a member; an undefined one leaves v as it is.
func (v *value) set(key string, member *value) {
	if member != nil {
		v.members = append(v.members, property{key, -1, member})
	}
}

// truthy is JavaScript's idea of a condition.
func (v *value) truthy() bool {
	if v == nil {
		return false
	}
	switch v.kind {
	case kindNull:
		return false
	case kindBool:
		return v.boolean
	case kindNumber:
		return v.num != 0
	case kindString:
		return v.str != ""
	default:
		return true
	}
}

// json prints v as JSON.stringify does, nil for undefined.
func (v *value) json() json.RawMessage {
	if v == nil {
		return nil
	}
	return v.appendJSON(nil)
}

func (v *value) appendJSON(b []byte) []byte {
	switch v.kind {
	case kindBool:
		return strconv.AppendBool(b, v.boolean)
	case kindNumber:
		return appendNumber(b, v.num)
	case kindString:
		return append(b, jsonString(v.str)...)
	case kindArray:
		b = append(b, '[')
		for i, e := range v.elems {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.appendJSON(b)
		}
		return append(b, ']')
	case kindObject:
		b = append(b, '{')
		for i, m := range v.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, jsonString(m.key)...)
			b = append(b, ':')
			b = m.value.appendJSON(b)
		}
		return append(b, '}')
	default:
		return append(b, "null"...)
	}
}

// appendNumber prints f as JavaScript does.
func appendNumber(b []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 0) || math.IsNaN(f):
		return append(b, "null"...)
	case f == 0: // also -0
		return append(b, '0')
	}
	format := byte('f')
	if abs := math.Abs(f); abs < 1e-6 || abs >= 1e21 {
		format = 'e'
	}
	s := strconv.FormatFloat(f, format, -1, 64)
	// Go pads the exponent to two digits.
	if i := strings.LastIndexAny(s, "+-"); format == 'e' && i > 0 && len(s) == i+3 && s[i+1] == '0' {
		s = s[:i+1] + s[i+2:]
	}
	return append(b, s...)
}

// jsonString prints s as JSON.stringify does: encoding/json would escape <, >, & and two line separators.
func jsonString(s string) json.RawMessage { return json.RawMessage(hujson.String(s)) }

// converter turns hujson's tree into values and collects duplicate keys.
type converter struct {
	src      *source
	findings Findings
}

func (c *converter) convert(h *hujson.Value) *value {
	v := &value{offset: h.StartOffset}
	switch t := h.Value.(type) {
	case *hujson.Object:
		v.kind = kindObject
		seen := make(map[string]int, len(t.Members))
		for i := range t.Members {
			name := t.Members[i].Name.Value.(hujson.Literal).String()
			offset := t.Members[i].Name.StartOffset
			if first, ok := seen[name]; ok {
				line, _ := c.src.position(first)
				c.findings = append(c.findings, c.src.at(offset, Finding{
					Rule:    "duplicate-key",
					Level:   LevelError,
					Message: fmt.Sprintf("the key %q is given twice; the first one is on line %d", name, line),
					Hint:    "wrangler would silently use the last one: delete one of the two",
				}))
				continue
			}
			seen[name] = offset
			v.members = append(v.members, property{name, offset, c.convert(&t.Members[i].Value)})
		}
		sortMembers(v.members)
		v.indexed()
	case *hujson.Array:
		v.kind = kindArray
		for i := range t.Elements {
			v.elems = append(v.elems, c.convert(&t.Elements[i]))
		}
	case hujson.Literal:
		switch t.Kind() {
		case 't', 'f':
			v.kind, v.boolean = kindBool, t.Bool()
		case '"':
			v.kind, v.str = kindString, t.String()
		case '0':
			v.kind = kindNumber
			// Out of range is ±Inf together with an error, which is what JavaScript makes of it.
			v.num, _ = strconv.ParseFloat(string(t), 64)
		default:
			v.kind = kindNull
		}
	}
	return v
}

// sortMembers puts members in the order in which JavaScript enumerates them. The order of bindings and of
// maps in the upload depends on it.
func sortMembers(members []property) {
	sort.SliceStable(members, func(i, j int) bool { return compareKeys(members[i].key, members[j].key) < 0 })
}

// compareKeys orders two keys of a JavaScript object: those that are array indexes come first and ascend,
// others are equal, which leaves them as they were written.
func compareKeys(a, b string) int {
	x, xok := arrayIndex(a)
	y, yok := arrayIndex(b)
	switch {
	case xok && yok:
		return cmp.Compare(x, y)
	case xok:
		return -1
	case yok:
		return 1
	default:
		return 0
	}
}

func arrayIndex(key string) (uint64, bool) {
	n, err := strconv.ParseUint(key, 10, 32)
	if err != nil || n == math.MaxUint32 || strconv.FormatUint(n, 10) != key {
		return 0, false
	}
	return n, true
}
