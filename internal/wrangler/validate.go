package wrangler

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// node is a place in the configuration: a value, possibly absent, and where a finding about it points.
type node struct {
	path   string // as wrangler names it: env.swicked.d1_databases[0].database_id
	key    string // the last key of path, "" for an element
	value  *value // nil when absent
	offset int    // of the key when the value is a member, of the value when it is an element
}

// get is the member called key. One that is absent stands where its object stands.
func (n node) get(key string) node {
	child := node{path: key, key: key, offset: n.offset}
	if n.path != "" {
		child.path = n.path + "." + key
	}
	if i := n.value.find(key); i >= 0 {
		child.value, child.offset = n.value.members[i].value, n.value.members[i].offset
	}
	return child
}

// elems are the elements of an array.
func (n node) elems() []node {
	if !n.value.is(kindArray) {
		return nil
	}
	out := make([]node, len(n.value.elems))
	for i, e := range n.value.elems {
		out[i] = node{path: n.path + "[" + strconv.Itoa(i) + "]", value: e, offset: e.offset}
	}
	return out
}

// members are the members of an object.
func (n node) members() []node {
	if !n.value.is(kindObject) {
		return nil
	}
	out := make([]node, len(n.value.members))
	for i, m := range n.value.members {
		out[i] = n.get(m.key)
	}
	return out
}

// checker collects what is wrong with a configuration.
type checker struct {
	src      *source
	findings Findings
	// sections is the table of that name, which cannot refer to itself: a section checks what is in "previews".
	sections []section
	// env is the section under validation, "" at the top level; top is the top level when it is one.
	env string
	top *value
}

func (k *checker) add(n node, f Finding) {
	k.findings = append(k.findings, k.src.at(n.offset, f))
}

// fail adds an error about n: what is wrong with it, and what was expected.
func (k *checker) fail(n node, rule, what, expected string) {
	k.add(n, Finding{Rule: rule, Level: LevelError, Message: fmt.Sprintf("%q %s", n.path, what), Expected: expected})
}

func (k *checker) warn(n node, rule, message, hint string) {
	k.add(n, Finding{Rule: rule, Level: LevelWarning, Message: message, Hint: hint})
}

// expect says that n is present and one of kinds, or adds an error.
func (k *checker) expect(n node, kinds ...kind) bool {
	if n.value == nil {
		k.fail(n, "config-required", "is required", kindList(kinds))
		return false
	}
	if !slices.Contains(kinds, n.value.kind) {
		k.fail(n, "config-type", "is "+n.value.kind.article(), kindList(kinds))
		return false
	}
	return true
}

// optional says that n is one of kinds; when it is something else it adds an error.
func (k *checker) optional(n node, kinds ...kind) bool {
	return n.value != nil && k.expect(n, kinds...)
}

func kindList(kinds []kind) string {
	var words []string
	for _, kind := range kinds {
		words = append(words, kind.article())
	}
	return strings.Join(words, " or ")
}

// oneOf says that n, a string, is one of choices, or adds an error.
func (k *checker) oneOf(n node, choices ...string) bool {
	if slices.Contains(choices, n.value.text()) {
		return true
	}
	f := Finding{
		Rule:     "config-choice",
		Level:    LevelError,
		Message:  fmt.Sprintf("%q is %q", n.path, shorten(n.value.text(), 60)),
		Expected: "one of " + strings.Join(choices, ", "),
	}
	if near := nearest(n.value.text(), choices); near != "" {
		f.Hint = fmt.Sprintf("did you mean %q?", near)
	}
	k.add(n, f)
	return false
}

// strings says that n is an array of strings; it may be absent unless required.
func (k *checker) strings(n node, required bool) bool {
	if n.value == nil && !required {
		return true
	}
	if !k.expect(n, kindArray) {
		return false
	}
	ok := true
	for _, e := range n.elems() {
		ok = k.expect(e, kindString) && ok
	}
	return ok
}

// field is one member that an object may have.
type field struct {
	name     string
	kind     kind
	required bool
	nonEmpty bool     // a string that must not be ""
	choices  []string // of a string
	any      bool     // the value is not looked at
	check    func(*checker, node)
}

func str(name string) field     { return field{name: name, kind: kindString} }
func num(name string) field     { return field{name: name, kind: kindNumber} }
func boolean(name string) field { return field{name: name, kind: kindBool} }
func anything(name string) field {
	return field{name: name, any: true}
}
func choice(name string, choices ...string) field {
	return field{name: name, kind: kindString, choices: choices}
}
func stringList(name string) field {
	return field{name: name, any: true, check: func(k *checker, n node) { k.strings(n, false) }}
}
func with(name string, check func(*checker, node)) field {
	return field{name: name, any: true, check: check}
}
func object(name string, fields ...field) field {
	return field{name: name, kind: kindObject, check: func(k *checker, n node) { k.fields(n, fields) }}
}
func (f field) must() field   { f.required = true; return f }
func (f field) filled() field { f.nonEmpty = true; return f }

// fields checks the members of the object n and warns of those that are not among fields.
func (k *checker) fields(n node, fields []field) {
	k.known(n, fields)
	k.unexpected(n, names(fields))
}

func names(fields []field) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.name
	}
	return out
}

// known checks the members of the object n that fields names; others are not looked at.
func (k *checker) known(n node, fields []field) {
	for _, f := range fields {
		m := n.get(f.name)
		switch {
		case m.value == nil && !f.required:
			continue
		case f.any:
		case !k.expect(m, f.kind):
			continue
		case f.nonEmpty && m.value.str == "":
			k.fail(m, "config-empty", "is empty", "a value, or no such key")
			continue
		case f.choices != nil && !k.oneOf(m, f.choices...):
			continue
		}
		if f.check != nil {
			f.check(k, m)
		}
	}
}

// unexpected warns of the members of n that known does not list.
func (k *checker) unexpected(n node, known []string) {
	for _, m := range n.members() {
		if slices.Contains(known, m.key) {
			continue
		}
		where := "in " + n.path
		if n.path == "" {
			where = "at the top level"
		}
		hint := ""
		if near := nearest(m.key, known); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		k.warn(m, "unexpected-field", fmt.Sprintf("unexpected field %q %s; it has no effect", m.key, where), hint)
	}
}

// nearest is the candidate that a typing slip turns into s, "" when there is none.
func nearest(s string, candidates []string) string {
	best, limit := "", max(1, min(3, len(s)/3))
	for _, c := range candidates {
		if d := distance(strings.ToLower(s), strings.ToLower(c), limit); d <= limit {
			if d < limit || best == "" {
				best, limit = c, d
			}
		}
	}
	return best
}

// distance is the optimal string alignment distance of a and b: insertions, deletions, substitutions and
// swaps of neighbours. Beyond limit it is any number above limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
