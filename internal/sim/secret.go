package sim

import (
	"encoding/json"
	"net/http"
	"slices"
)

func secretEndpoints() []endpoint {
	const script = "/accounts/{account}/workers/scripts/{script}"
	return []endpoint{
		{"GET " + script + "/secrets", reads, (*call).listSecrets},
		{"PUT " + script + "/secrets", writes, (*call).putSecret},
		{"GET " + script + "/secrets/{secret}", reads, (*call).getSecret},
		{"DELETE " + script + "/secrets/{secret}", writes, (*call).deleteSecret},
		{"PATCH " + script + "/secrets-bulk", writes, (*call).patchSecrets},
	}
}

// maxBulkSecrets is how many secrets one bulk call may carry (field.md §5).
const maxBulkSecrets = 100

func (c *call) listSecrets() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	list := []map[string]any{}
	if v := s.latest(); v != nil {
		for _, b := range v.Bindings {
			if b.secret() {
				list = append(list, b.show())
			}
		}
	}
	return list, nil
}

func (c *call) getSecret() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	if v := s.latest(); v != nil {
		for _, b := range v.Bindings {
			if b.secret() && b.Name == c.path("secret") {
				return b.show(), nil
			}
		}
	}
	return nil, noSuchSecret(c.path("secret"))
}

func noSuchSecret(name string) *refusal {
	return refuse(http.StatusNotFound, 10056, "Secret %q was not found on this Worker.", name)
}

// editSecrets changes the secrets of the newest version. The edit is a version and a deployment of its own, so it is
// refused while something else than the newest version is live (wire.md §2: 10215).
func (c *call) editSecrets(annotations map[string]string, edit func(list []binding) ([]binding, error)) error {
	s, err := c.script()
	if err != nil {
		return err
	}
	if !s.settled() {
		return refuse(http.StatusBadRequest, 10215, "Secret edit failed. You attempted to modify a secret, but the latest version of your Worker isn't currently deployed.")
	}
	v := s.latest().successor()
	if v.Bindings, err = edit(v.Bindings); err != nil {
		return err
	}
	c.amend(s, v, "secret", annotations)
	return nil
}

// setSecret replaces or adds b in list.
func setSecret(list []binding, b binding) ([]binding, error) {
	if err := checkSecretName(b.Name); err != nil {
		return nil, err
	}
	if !b.secret() {
		return nil, refuse(http.StatusBadRequest, 10021, "%q is not the type of a secret", b.Type)
	}
	if b.Type == "secret_text" {
		if text, ok := b.Fields["text"].(string); !ok || len(text) > 5<<10 { // 5 KB each: field.md §5
			return nil, refuse(http.StatusBadRequest, 10021, "secret %s must have a `text` of at most 5 kB", b.Name)
		}
	}
	i := slices.IndexFunc(list, func(o binding) bool { return o.Name == b.Name })
	switch {
	case i < 0:
		return append(list, b), nil
	case !list[i].secret():
		return nil, refuse(http.StatusBadRequest, 10053, "Binding name '%s' already in use. Please use a different name and try again.", b.Name)
	}
	list[i] = b
	return list, nil
}

func (c *call) putSecret() (any, error) {
	b, err := readBinding(c.body)
	if err != nil {
		return nil, err
	}
	if err := c.editSecrets(nil, func(list []binding) ([]binding, error) { return setSecret(list, b) }); err != nil {
		return nil, err
	}
	return b.show(), nil
}

func (c *call) deleteSecret() (any, error) {
	name := c.path("secret")
	return nil, c.editSecrets(nil, func(list []binding) ([]binding, error) {
		kept := slices.DeleteFunc(list, func(b binding) bool { return b.secret() && b.Name == name })
		if len(kept) == len(list) {
			return nil, noSuchSecret(name)
		}
		return kept, nil
	})
}

// patchSecrets is a JSON merge patch over the secrets: a value sets, null deletes, what is not named stays.
func (c *call) patchSecrets() (any, error) {
	var in struct {
		Secrets map[string]json.RawMessage `json:"secrets"`
		Tags    map[string]string          `json:"version_tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if len(in.Secrets) > maxBulkSecrets {
		return nil, refuse(http.StatusBadRequest, 10026, "%d secrets in one call, at most %d are allowed", len(in.Secrets), maxBulkSecrets)
	}
	out := map[string]any{}
	err := c.editSecrets(in.Tags, func(list []binding) ([]binding, error) {
		for _, name := range sortedKeys(in.Secrets) {
			raw := in.Secrets[name]
			if string(raw) == "null" {
				list = slices.DeleteFunc(list, func(b binding) bool { return b.secret() && b.Name == name })
				continue
			}
			b, err := readBinding(raw)
			if err != nil {
				return nil, err
			}
			if b.Name != name {
				return nil, refuse(http.StatusBadRequest, 10026, "secret %q is filed under %q", b.Name, name)
			}
			if list, err = setSecret(list, b); err != nil {
				return nil, err
			}
		}
		for _, b := range list {
			if b.secret() {
				out[b.Name] = b.show()
			}
		}
		return list, nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
