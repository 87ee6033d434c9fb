package wrangler

import (
	"encoding/json"
	"regexp"
	"slices"
)

// Difference is a key in which one configuration is not what another one is.
type Difference struct {
	Env string // the environment that the key stands in; "" is the top level
	Key string // "" when the environment as a whole is new or gone
	// Path is the first place that differs, or that the other configuration has and this one lacks; for Project.At.
	Path []any
	// New: the other configuration does not have it. Gone: this one does not.
	New, Gone bool
}

// String is the key and what became of it, for people: "env.swicked.vars is new".
func (d Difference) String() string {
	path := ""
	if d.Env != "" {
		path = keyPath("env", d.Env)
	}
	if d.Key != "" {
		path = keyPath(path, d.Key)
	}
	switch {
	case d.New:
		return path + " is new"
	case d.Gone:
		return path + " is gone"
	}
	return path + " differs"
}

// Differences are the keys in which p is not what base is, one for each key of the top level and of each environment, in
// the order of p's file. Values are compared for what they mean: comments, blanks, the order of an object's members and
// how a number or string is written make no difference.
func (p *Project) Differences(base *Project) []Difference {
	out := differences("", nil, p.root, base.root, "env")
	ours, theirs := p.root.get("env"), base.root.get("env")
	if !(ours == nil || ours.is(kindObject)) || !(theirs == nil || theirs.is(kindObject)) {
		if d, ok := differ([]any{"env"}, ours, theirs); ok {
			out = append(out, Difference{Key: "env", Path: d, New: theirs == nil, Gone: ours == nil})
		}
		return out
	}
	for _, env := range union(ours, theirs) {
		a, b := ours.get(env), theirs.get(env)
		path := []any{"env", env}
		switch {
		case a.is(kindObject) && b.is(kindObject):
			out = append(out, differences(env, path, a, b)...)
		case a.is(kindObject) && b == nil:
			out = append(out, Difference{Env: env, Path: path, New: true})
			out = append(out, differences(env, path, a, newObject())...)
		default:
			if at, ok := differ(path, a, b); ok {
				out = append(out, Difference{Env: env, Path: at, New: b == nil, Gone: a == nil})
			}
		}
	}
	return out
}

// differences compares the members of two objects.
func differences(env string, path []any, a, b *value, without ...string) []Difference {
	var out []Difference
	for _, key := range union(a, b) {
		if slices.Contains(without, key) {
			continue
		}
		x, y := a.get(key), b.get(key)
		if at, ok := differ(append(slices.Clone(path), key), x, y); ok {
			out = append(out, Difference{Env: env, Key: key, Path: at, New: y == nil, Gone: x == nil})
		}
	}
	return out
}

// union are the keys of a, and those that only b has.
func union(a, b *value) []string {
	out := a.keys()
	for _, key := range b.keys() {
		if a.get(key) == nil {
			out = append(out, key)
		}
	}
	return out
}

// differ is the first place below path in which a is not b.
func differ(path []any, a, b *value) ([]any, bool) {
	if a == nil || b == nil || a.kind != b.kind {
		return path, a != b
	}
	switch a.kind {
	case kindBool:
		return path, a.boolean != b.boolean
	case kindNumber:
		return path, a.num != b.num
	case kindString:
		return path, a.str != b.str
	case kindArray:
		for i := range min(len(a.elems), len(b.elems)) {
			if at, ok := differ(append(slices.Clone(path), i), a.elems[i], b.elems[i]); ok {
				return at, true
			}
		}
		return path, len(a.elems) != len(b.elems)
	case kindObject:
		for _, key := range union(a, b) {
			if at, ok := differ(append(slices.Clone(path), key), a.get(key), b.get(key)); ok {
				return at, true
			}
		}
	}
	return path, false
}

// At returns f with the file, position and source line of a key, or of the nearest key above it that the file has.
func (p *Project) At(f Finding, path ...any) Finding {
	return p.src.at(p.root.locate(path...), f)
}

// Value is the JSON at a path of the file as JSON.stringify would print it; nil when there is none. Nothing is inherited.
func (p *Project) Value(path ...any) json.RawMessage { return p.root.at(path...).json() }

// Project is the file that the configuration was resolved from.
func (c *Config) Project() *Project { return c.project }

// Strings are all strings that stand under a key of that name, wherever the file has it, each once.
func (p *Project) Strings(key string) []string {
	var out []string
	var walk func(v *value, under bool)
	walk = func(v *value, under bool) {
		if v == nil {
			return
		}
		if under && v.is(kindString) && !slices.Contains(out, v.str) {
			out = append(out, v.str)
		}
		for _, e := range v.elems {
			walk(e, under)
		}
		for _, m := range v.members {
			walk(m.value, under || m.key == key)
		}
	}
	walk(p.root, false)
	return out
}

// CodeByRule says whether one of the configuration's rules makes code of a file, whatever its name ends in. path is
// slash separated, relative to the project.
func (c *Config) CodeByRule(path string) bool {
	for _, rule := range c.Rules {
		if rule.Type == "Text" || rule.Type == "Data" {
			continue
		}
		for _, glob := range rule.Globs {
			for _, globstar := range []bool{true, false} {
				if re, err := regexp.Compile(globExpression(glob, globstar)); err != nil || re.MatchString(path) {
					return true
				}
			}
		}
	}
	return false
}
