package wrangler

import (
	"bytes"
	"encoding/json"
	"slices"
)

// Binding is one binding of the Worker as it travels in the upload's metadata (wire.md §3.3).
type Binding struct {
	Name string
	Type string // "plain_text", "kv_namespace", "d1", …
	// Key is the configuration key that it comes from, such as "d1_databases".
	Key string
	// Complete says that the binding names its resource. When false (a D1 database without database_id,
	// a KV namespace without id, an R2 bucket without bucket_name, …) the account has to supply it, and
	// an upload that supplies nothing sends Inherit().
	Complete bool

	members []bindingMember // in wire order, name and type included
	path    []any           // where it stands in the file
}

// bindingMember is one member of a binding. Without a value it is not printed, but With finds its place.
type bindingMember struct {
	name  string
	value json.RawMessage
}

// Field is the string member called name, or "" when there is none or it is no string.
func (b Binding) Field(name string) string {
	var s string
	if err := json.Unmarshal(b.Raw(name), &s); err != nil {
		return ""
	}
	return s
}

// Raw is the member called name as JSON, nil when there is none.
func (b Binding) Raw(name string) json.RawMessage {
	for _, m := range b.members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// Path is where the binding stands in the file: arguments for Config.Position.
func (b Binding) Path() []any { return b.path }

// Inherit is the binding that tells Cloudflare to take the one of the same name from the Worker's latest
// version.
func (b Binding) Inherit() Binding {
	return newBinding(b.Key, b.path, "name", b.Name, "type", "inherit")
}

// With returns a complete copy whose member called name is the string value, at the place where wrangler has
// it. It is how an id that only the account knows gets into a binding.
func (b Binding) With(name, value string) Binding {
	out := b
	out.Complete = true
	out.members = slices.Clone(b.members)
	for i := range out.members {
		if out.members[i].name == name {
			out.members[i].value = jsonString(value)
			return out
		}
	}
	out.members = append(out.members, bindingMember{name, jsonString(value)})
	return out
}

// MarshalJSON prints the members in wrangler's order. encoding/json escapes <, > and & in what it returns;
// use an Encoder with SetEscapeHTML(false) to get the bytes that wrangler sends.
func (b Binding) MarshalJSON() ([]byte, error) {
	var buf bytes.Buffer
	buf.WriteByte('{')
	for _, m := range b.members {
		if m.value == nil {
			continue
		}
		if buf.Len() > 1 {
			buf.WriteByte(',')
		}
		buf.Write(jsonString(m.name))
		buf.WriteByte(':')
		buf.Write(m.value)
	}
	buf.WriteByte('}')
	return buf.Bytes(), nil
}

// NewBinding makes a binding that no configuration knows, such as a secret that is uploaded with the code:
// pairs are the names and string values of its members after "name" and "type".
func NewBinding(name, typ string, pairs ...string) Binding {
	return newBinding("", nil, append([]string{"name", name, "type", typ}, pairs...)...)
}

func newBinding(key string, path []any, pairs ...string) Binding {
	b := Binding{Key: key, path: path, Complete: true}
	for i := 0; i+1 < len(pairs); i += 2 {
		switch pairs[i] {
		case "name":
			b.Name = pairs[i+1]
		case "type":
			b.Type = pairs[i+1]
		}
		b.members = append(b.members, bindingMember{pairs[i], jsonString(pairs[i+1])})
	}
	return b
}
