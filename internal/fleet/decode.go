package fleet

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// policy fills in a Policy from the root of the file.
func (r *reader) policy(p *Policy, root *yaml.Node) {
	r.fill(reflect.ValueOf(p).Elem(), root, nil)
}

// field is a field of a struct that the file may fill: its key, and whether it must. The yaml tags say so, with
// omitempty for what may be left out. yaml.v3's own decoding is not used because it stops at a type's first mistake and
// forgets where values stood.
type field struct {
	key      string
	required bool
	index    int
}

func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		key, option, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if key == "" || key == "-" {
			continue
		}
		fields = append(fields, field{key, option != "omitempty", i})
	}
	return fields
}

var (
	duration = reflect.TypeFor[time.Duration]()
	moment   = reflect.TypeFor[time.Time]()
)

// fill writes a node's value into a field and reports whether it could. Structs and lists of structs are mappings in
// the file; such a list keeps their order and takes the key as Name.
func (r *reader) fill(into reflect.Value, n *yaml.Node, path []string) bool {
	if n.Kind == yaml.AliasNode || n.Style&yaml.TaggedStyle != 0 {
		return false // plain has reported it
	}
	t := into.Type()
	switch {
	case t == duration:
		return r.duration(into, n)
	case t == moment:
		return r.moment(into, n)
	case t.Kind() == reflect.String:
		return r.text(into, n)
	case t.Kind() == reflect.Int:
		return r.number(into, n)
	case t.Kind() == reflect.Struct:
		return r.object(into, n, path)
	case t.Kind() == reflect.Map, t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return r.named(into, n, path)
	case t.Kind() == reflect.Slice:
		return r.list(into, n, path)
	}
	panic("fleet: no way to read a " + t.String())
}

// place fills an entry and keeps where it stands, if it is good. Its place is known while its value is read: that is
// where missing keys are reported.
func (r *reader) place(into reflect.Value, key, value *yaml.Node, path []string) bool {
	r.places[join(path)] = place{r.at(key), r.at(value)}
	ok := r.fill(into, value, path)
	if !ok {
		delete(r.places, join(path))
	}
	return ok
}

// under is the path of an entry one level below.
func under(path []string, key string) []string { return append(slices.Clone(path), key) }

func (r *reader) object(into reflect.Value, n *yaml.Node, path []string) bool {
	if n.Kind != yaml.MappingNode {
		r.wrongType(n, "a mapping of keys", braces(n))
		return false
	}
	fields := fieldsOf(into.Type())
	seen := r.entries(n, func(key, value *yaml.Node) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key.Value })
		if i < 0 {
			r.unknown(key, fields, path)
			return
		}
		r.place(into.Field(fields[i].index), key, value, under(path, key.Value))
	})
	for _, f := range fields {
		if f.required && !seen[f.key] && !seen["<<"] {
			at := r.at(n)
			if parent, ok := r.places[join(path)]; ok {
				at = parent.key
			}
			r.report(at, problem{ruleMissingKey,
				where(path) + " has no " + f.key, "the key " + f.key, ""})
		}
	}
	return true
}

// named reads a mapping whose keys the user chooses, into a map or into a list of structs with a Name.
func (r *reader) named(into reflect.Value, n *yaml.Node, path []string) bool {
	if n.Kind != yaml.MappingNode {
		r.wrongType(n, "a mapping from a name to keys", "")
		return false
	}
	if into.Kind() == reflect.Map {
		into.Set(reflect.MakeMap(into.Type()))
	}
	r.entries(n, func(key, value *yaml.Node) {
		item := reflect.New(into.Type().Elem()).Elem()
		ok := r.place(item, key, value, under(path, key.Value))
		switch {
		case into.Kind() == reflect.Slice:
			// Also a bad one: it is there, and who refers to it makes no mistake.
			item.FieldByName("Name").SetString(key.Value)
			into.Set(reflect.Append(into, item))
		case ok:
			into.SetMapIndex(reflect.ValueOf(key.Value), item)
		}
	})
	return true
}

func (r *reader) list(into reflect.Value, n *yaml.Node, path []string) bool {
	if n.Kind != yaml.SequenceNode {
		hint := ""
		if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
			hint = "put the value in brackets: [ … ]"
		}
		r.wrongType(n, "a list", hint)
		return false
	}
	for i, child := range n.Content {
		item := reflect.New(into.Type().Elem()).Elem()
		r.place(item, child, child, under(path, strconv.Itoa(i)))
		// A bad item stays in, empty, so that the others keep their numbers.
		into.Set(reflect.Append(into, item))
	}
	return true
}

// entries walks over a mapping, reporting keys that are no words or stand there twice, and says which keys there are.
func (r *reader) entries(n *yaml.Node, each func(key, value *yaml.Node)) map[string]bool {
	seen := map[string]bool{}
	first := map[string]mark{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			r.report(r.at(key), problem{ruleBadKey, "the key is " + describe(key), "a word as the key", braces(key)})
			continue
		}
		if key.Tag == "!!merge" {
			seen[key.Value] = true // plain has reported it; what it would have brought is not missing
			continue
		}
		if seen[key.Value] {
			r.report(r.at(key), problem{ruleDuplicateKey,
				fmt.Sprintf("the key %s stands here a second time", quote(key.Value)),
				fmt.Sprintf("each key once; the first is on line %d", first[key.Value].line),
				"remove one of the two"})
			continue
		}
		seen[key.Value], first[key.Value] = true, r.at(key)
		each(key, value)
	}
	return seen
}

func (r *reader) text(into reflect.Value, n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		hint := ""
		switch {
		case n.Kind == yaml.MappingNode:
			hint = braces(n)
		case n.Kind == yaml.ScalarNode && n.Tag != "!!null":
			hint = fmt.Sprintf("put quotes around it: %s", quote(n.Value))
		}
		r.wrongType(n, "text", hint)
		return false
	}
	into.SetString(n.Value)
	return true
}

func (r *reader) number(into reflect.Value, n *yaml.Node) bool {
	// YAML also reads 0x32, 1_000 and 062 as numbers, the last one as octal; a policy says what it looks like.
	i, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil || strconv.Itoa(i) != n.Value {
		hint := ""
		if n.Kind == yaml.ScalarNode && err == nil {
			hint = fmt.Sprintf("write %d", i)
		}
		r.wrongType(n, "a whole number", hint)
		return false
	}
	into.SetInt(int64(i))
	return true
}

func (r *reader) duration(into reflect.Value, n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		hint := ""
		if n.Tag == "!!int" {
			hint = fmt.Sprintf("say the unit: %ss", n.Value)
		}
		r.wrongType(n, "a duration such as 60s or 500ms", hint)
		return false
	}
	d, err := time.ParseDuration(n.Value)
	if err != nil || !durationShape.MatchString(n.Value) {
		r.report(r.at(n), problem{ruleDuration,
			quote(n.Value) + " is not a duration", "a number and a unit: ms, s or m, such as 500ms, 60s or 1m30s", ""})
		return false
	}
	into.SetInt(int64(d))
	return true
}

// moment reads a date and time. YAML knows them without quotes, in forms that hide which day is meant in which place.
func (r *reader) moment(into reflect.Value, n *yaml.Node) bool {
	const expected = "a date and time with its offset, such as 2026-12-18T18:00:00+01:00"
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" && n.Tag != "!!timestamp" {
		r.wrongType(n, expected, "")
		return false
	}
	at, err := time.Parse(time.RFC3339, n.Value)
	if err != nil || !momentShape.MatchString(n.Value) {
		r.report(r.at(n), problem{ruleMoment, quote(n.Value) + " is no date and time", expected, "Z instead of the offset is UTC"})
		return false
	}
	into.Set(reflect.ValueOf(at))
	return true
}

func (r *reader) wrongType(n *yaml.Node, expected, hint string) {
	r.report(r.at(n), problem{ruleWrongType, "found " + describe(n), expected, hint})
}

// describe says what a node is. Text is not repeated: it stands in the source line, and may be anything.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "no value"
	case n.Tag == "!!bool":
		return "true or false"
	case n.Tag == "!!int", n.Tag == "!!float":
		return "the number " + conceal(n.Value)
	case n.Tag == "!!timestamp":
		return "a date"
	}
	return "text"
}

// braces helps with what YAML makes of braces: {slug} without quotes is a mapping, and no braces are no mapping.
func braces(n *yaml.Node) string {
	if n.Tag == "!!null" {
		return "write {} or remove the key"
	}
	if n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[1].Tag == "!!null" {
		return fmt.Sprintf(`put quotes around it: "{%s}"`, conceal(n.Content[0].Value))
	}
	return ""
}

// where names an entry in a sentence.
func where(path []string) string {
	if len(path) == 0 {
		return "the file"
	}
	return conceal(strings.Join(path, "."))
}

func (r *reader) unknown(key *yaml.Node, fields []field, path []string) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.key
	}
	hint := ""
	if near := nearest(key.Value, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	r.report(r.at(key), problem{ruleUnknownKey,
		fmt.Sprintf("%s has no key %s", where(path), quote(key.Value)),
		"one of " + strings.Join(names, ", "), hint})
}

// nearest is the candidate that a misspelt word most likely stands for, "" when none is near. Case, hyphens and
// underscores do not count: maxShops and max-shops are max_shops.
func nearest(word string, candidates []string) string {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s))
	}
	if len(word) > longest {
		return ""
	}
	type near struct {
		name     string
		distance int
	}
	var all []near
	for _, c := range candidates {
		d := distance(plain(word), plain(c))
		if d <= max(1, len(plain(c))/3) && d < len(plain(c)) {
			all = append(all, near{c, d})
		}
	}
	if len(all) == 0 {
		return ""
	}
	return slices.MinFunc(all, func(a, b near) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	}).name
}

// distance counts the insertions, deletions, replacements and swaps of neighbours that turn a into b.
func distance(a, b string) int {
	before, row := []int(nil), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(next[j]+1, row[j+1]+1, row[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
