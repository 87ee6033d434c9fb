package wrangler

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
)

// jsonObject is a JSON object whose members keep the order in which they were first set, as in JavaScript. The zero value
// is an empty object.
type jsonObject []jsonMember

type jsonMember struct {
	name  string
	value json.RawMessage
}

// set sets a member; nil is JavaScript's undefined and sets nothing.
func (o *jsonObject) set(name string, value json.RawMessage) {
	if value == nil {
		return
	}
	i := slices.IndexFunc(*o, func(m jsonMember) bool { return m.name == name })
	if i < 0 {
		*o = append(*o, jsonMember{name, value})
		return
	}
	(*o)[i].value = value
}

// setString sets a member unless value is empty.
func (o *jsonObject) setString(name, value string) {
	if value != "" {
		o.set(name, jsonString(value))
	}
}

// json prints the object as JSON.stringify does: names that are array indexes come first.
func (o jsonObject) json() json.RawMessage {
	o = slices.Clone(o)
	slices.SortStableFunc(o, func(x, y jsonMember) int {
		i, isIndex := arrayIndex(x.name)
		j, isIndexToo := arrayIndex(y.name)
		switch {
		case isIndex && isIndexToo:
			return cmp.Compare(i, j)
		case isIndex:
			return -1
		case isIndexToo:
			return 1
		}
		return 0
	})
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, jsonString(m.name)...)
		b = append(b, ':')
		b = append(b, m.value...)
	}
	return append(b, '}')
}

// jsonArray prints elements that are JSON already.
func jsonArray(elements []json.RawMessage) json.RawMessage {
	b := []byte{'['}
	for i, e := range elements {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e...)
	}
	return append(b, ']')
}

// jsonStrings prints a list of strings.
func jsonStrings(list []string) json.RawMessage {
	elements := make([]json.RawMessage, len(list))
	for i, s := range list {
		elements[i] = jsonString(s)
	}
	return jsonArray(elements)
}

// members reads the members of an object that was printed before. Anything else has none.
func members(object json.RawMessage) jsonObject {
	var o jsonObject
	d := json.NewDecoder(bytes.NewReader(object))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return o
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return o
		}
		o = append(o, jsonMember{name.(string), value})
	}
	return o
}

// text returns the text of the string member called name, "" when there is none.
func (o jsonObject) text(name string) string {
	var s string
	for _, m := range o {
		if m.name == name && json.Unmarshal(m.value, &s) == nil {
			return s
		}
	}
	return ""
}
