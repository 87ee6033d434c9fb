package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
)

// binding is a resolved binding of a version, secrets with their value. Fields are as uploaded (wire.md §3.3), without name and type.
type binding struct {
	Name   string         `json:"name"`
	Type   string         `json:"type"`
	Fields map[string]any `json:"fields,omitempty"`
}

func (b binding) text(key string) string { s, _ := b.Fields[key].(string); return s }

// UnmarshalJSON keeps numbers as they were written.
func (b *binding) UnmarshalJSON(raw []byte) error {
	type plain binding
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode((*plain)(b))
}

// readBinding takes a binding from upload metadata.
func readBinding(raw json.RawMessage) (binding, error) {
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		return binding{}, refuse(http.StatusBadRequest, 10021, "bindings: %v", err)
	}
	name, _ := m["name"].(string)
	kind, _ := m["type"].(string)
	if name == "" || kind == "" {
		return binding{}, refuse(http.StatusBadRequest, 10021, "binding must have a `name` and a `type` specified")
	}
	delete(m, "name")
	delete(m, "type")
	return binding{Name: name, Type: kind, Fields: m}, nil
}

// secret tells whether the value of the binding must never leave the server.
func (b binding) secret() bool { return b.Type == "secret_text" || b.Type == "secret_key" }

// show is the binding as settings and versions report it: a secret without its value.
func (b binding) show() map[string]any {
	m := map[string]any{"name": b.Name, "type": b.Type}
	for k, v := range b.Fields {
		if b.Type == "secret_text" && k == "text" || b.Type == "secret_key" && (k == "key_base64" || k == "key_jwk") {
			continue
		}
		m[k] = v
	}
	return m
}

func showBindings(list []binding) []map[string]any {
	out := make([]map[string]any, 0, len(list))
	for _, b := range list {
		out = append(out, b.show())
	}
	return out
}

// resolution is what an upload's bindings become.
type resolution struct {
	strict bool     // bindings_inherit=strict
	keep   []string // types kept from the version before
}

// resolve looks up inherit and keep_bindings in the version before (nil for none) and returns the complete list.
// Without strict, what cannot be inherited is silently dropped (OpenAPI, bindings_inherit).
func (r resolution) resolve(uploaded []binding, before *version) ([]binding, error) {
	var previous []binding
	if before != nil {
		previous = before.Bindings
	}
	seen := map[string]bool{}
	out := []binding{}
	var missing []refusal
	for _, b := range uploaded {
		if seen[b.Name] {
			return nil, refuse(http.StatusBadRequest, 10053, "Binding name '%s' already in use. Please use a different name and try again.", b.Name)
		}
		seen[b.Name] = true
		if b.Type != "inherit" {
			out = append(out, b)
			continue
		}
		from := b.Name
		if old := b.text("old_name"); old != "" {
			from = old
		}
		i := slices.IndexFunc(previous, func(p binding) bool { return p.Name == from })
		switch {
		case i >= 0:
			p := previous[i]
			p.Name = b.Name
			out = append(out, p)
		case r.strict:
			missing = append(missing, *refuse(0, 10057, "inherit binding '%s' is invalid because it does not exist on the previous version of the Worker", b.Name))
		default:
			seen[b.Name] = false
		}
	}
	if len(missing) > 0 {
		first := missing[0]
		first.Status, first.More = http.StatusBadRequest, missing[1:]
		return nil, &first
	}
	for _, p := range previous {
		if slices.Contains(r.keep, p.Type) && !seen[p.Name] {
			seen[p.Name] = true
			out = append(out, p)
		}
	}
	return out, nil
}

var d1ID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// check refuses bindings to what is not in the account. Products that the simulator does not hold are believed.
// self is the Worker being uploaded, which may bind to itself.
func (c *call) check(list []binding, self string) error {
	for i := range list {
		b := &list[i]
		if err := c.checkOne(b, self); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) checkOne(b *binding, self string) error {
	account, store := c.account, c.w.storage
	need := func(fields ...string) error {
		for _, f := range fields {
			if b.text(f) == "" {
				return refuse(http.StatusBadRequest, 10021, "binding %s of type %s must have a valid `%s` specified", b.Name, b.Type, f)
			}
		}
		return nil
	}
	absent := func(code int, what, name string) error {
		return refuse(http.StatusBadRequest, code, "%s '%s' bound to %s could not be found on your account.", what, name, b.Name)
	}
	switch b.Type {
	case "plain_text":
		if _, ok := b.Fields["text"].(string); !ok {
			return need("text")
		}
	case "secret_text":
		if _, ok := b.Fields["text"].(string); !ok {
			return need("text")
		}
	case "json":
		if _, ok := b.Fields["json"]; !ok {
			return need("json")
		}
	case "d1":
		// The specification says database_id, wrangler sends id (feasibility.md §2): both are taken and shown.
		id := b.text("id")
		if id == "" {
			id = b.text("database_id")
		}
		if !d1ID.MatchString(id) {
			return refuse(http.StatusBadRequest, 10021, "binding %s of type d1 must have a valid `id` specified", b.Name)
		}
		if db, err := store.findDatabase(account.ID, id); err != nil || db == nil || db.ID() != id {
			return absent(10181, "D1 database", id)
		}
		b.Fields = maps.Clone(b.Fields)
		b.Fields["id"], b.Fields["database_id"] = id, id
	case "kv_namespace":
		if err := need("namespace_id"); err != nil {
			return err
		}
		if ns, err := store.findNamespace(account.ID, b.text("namespace_id")); err != nil || ns == nil {
			return absent(10041, "KV namespace", b.text("namespace_id"))
		}
	case "r2_bucket":
		if err := need("bucket_name"); err != nil {
			return err
		}
		if bk, err := store.findBucket(account.ID, b.text("jurisdiction"), b.text("bucket_name")); err != nil || bk == nil {
			return absent(10085, "R2 bucket", b.text("bucket_name"))
		}
	case "queue":
		if err := need("queue_name"); err != nil {
			return err
		}
		if !slices.ContainsFunc(account.Queues, func(q *queue) bool { return q.Name == b.text("queue_name") }) {
			return absent(11000, "Queue", b.text("queue_name"))
		}
	case "service":
		if err := need("service"); err != nil {
			return err
		}
		if s := b.text("service"); s != self && account.Scripts[s] == nil {
			return absent(10144, "Service", s)
		}
	case "dispatch_namespace":
		if err := need("namespace"); err != nil {
			return err
		}
		if !slices.ContainsFunc(account.Dispatch, func(n *dispatchNamespace) bool { return n.Name == b.text("namespace") }) {
			return absent(100119, "Dispatch namespace", b.text("namespace"))
		}
	case "durable_object_namespace":
		if b.text("namespace_id") != "" {
			return nil
		}
		if err := need("class_name"); err != nil {
			return err
		}
		if s := b.text("script_name"); s != "" && s != self {
			other := account.Scripts[s]
			if other == nil {
				return absent(10007, "Worker", s)
			}
			if other.Classes[b.text("class_name")] == nil {
				return noSuchClass(b.text("class_name"))
			}
		}
	}
	return nil
}

func noSuchClass(name string) error {
	return refuse(http.StatusBadRequest, 10061, "Cannot create binding for class '%s' because it is not currently configured to implement Durable Objects. Did you forget to apply a migration?", name)
}

// secretsOf are the secrets of a version by name.
func secretsOf(v *version) map[string]map[string]any {
	m := map[string]map[string]any{}
	for _, b := range v.Bindings {
		if b.secret() {
			m[b.Name] = b.Fields
		}
	}
	return m
}

// changedSecrets are the names whose secret differs between two versions, sorted.
func changedSecrets(a, b *version) []string {
	x, y := secretsOf(a), secretsOf(b)
	var names []string
	for _, name := range sortedKeys(x) {
		if other, ok := y[name]; !ok || !reflect.DeepEqual(x[name], other) {
			names = append(names, name)
		}
	}
	for _, name := range sortedKeys(y) {
		if _, ok := x[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

var bindingName = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)

func checkSecretName(name string) error {
	if name == "" || len(name) > 128 {
		return refuse(http.StatusBadRequest, 10021, "secret name must have 1 to 128 characters")
	}
	if !bindingName.MatchString(name) {
		return refuse(http.StatusBadRequest, 10021, "%s is not a valid binding name", fmt.Sprintf("%q", name))
	}
	return nil
}
