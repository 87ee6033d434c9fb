package sim

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// migrations are the Durable Object migrations of an upload (wire.md §3.4).
type migrations struct {
	OldTag string            `json:"old_tag"`
	NewTag string            `json:"new_tag"`
	Steps  []json.RawMessage `json:"steps"`
}

type migrationStep struct {
	New     []string `json:"new_classes"`
	NewSQL  []string `json:"new_sqlite_classes"`
	Deleted []string `json:"deleted_classes"`
	Renamed []struct {
		From string `json:"from"`
		To   string `json:"to"`
	} `json:"renamed_classes"`
	Transferred []struct {
		From       string `json:"from"`
		FromScript string `json:"from_script"`
		To         string `json:"to"`
	} `json:"transferred_classes"`
}

// readMigrations takes both forms of the specification: one step inline, or steps.
func readMigrations(raw json.RawMessage) (*migrations, []migrationStep, error) {
	var m migrations
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, nil, refuse(http.StatusBadRequest, 10021, "migrations: %v", err)
	}
	parts := m.Steps
	if parts == nil {
		parts = []json.RawMessage{raw}
	}
	var steps []migrationStep
	for _, p := range parts {
		var s migrationStep
		if err := json.Unmarshal(p, &s); err != nil {
			return nil, nil, refuse(http.StatusBadRequest, 10021, "migrations: %v", err)
		}
		steps = append(steps, s)
	}
	return &m, steps, nil
}

// migrated is what an upload makes of the Durable Object namespaces of its Worker. Nothing has changed yet.
type migrated struct {
	classes    map[string]*class
	tag        string
	given      []func()       // takes transferred classes away from other Workers
	reconciled map[string]any // what declared exports changed; nil for migrations
}

// migrate applies the migrations of an upload to a copy of the Worker's namespaces.
func (c *call) migrate(s *script, raw json.RawMessage) (*migrated, error) {
	m, steps, err := readMigrations(raw)
	if err != nil {
		return nil, err
	}
	if m.OldTag != s.MigrationTag {
		current := s.MigrationTag
		if current == "" {
			current = "unset"
		}
		return nil, refuse(http.StatusPreconditionFailed, 10079, "Migration tag precondition failed; current tag is %s", current)
	}
	var given []func()
	classes := maps.Clone(s.Classes)
	if classes == nil {
		classes = map[string]*class{}
	}
	add := func(name string, sqlite bool) error {
		if classes[name] != nil {
			return refuse(http.StatusBadRequest, 10074, "Cannot apply new-class migration to class '%s' that is already depended on by existing Durable Objects", name)
		}
		classes[name] = &class{Namespace: c.w.id(), Name: name, SQLite: sqlite}
		return nil
	}
	move := func(from *class, name, to string) error {
		if from == nil {
			return refuse(http.StatusBadRequest, 10061, "Cannot apply migration from class '%s': it does not implement Durable Objects", name)
		}
		if classes[to] != nil {
			return refuse(http.StatusBadRequest, 10074, "Class '%s' cannot be the target of more than one migration", to)
		}
		moved := *from
		moved.Name = to
		classes[to] = &moved
		return nil
	}
	for _, step := range steps {
		for _, n := range step.New {
			err = errors.Join(err, add(n, false))
		}
		for _, n := range step.NewSQL {
			err = errors.Join(err, add(n, true))
		}
		for _, r := range step.Renamed {
			from := classes[r.From]
			delete(classes, r.From)
			err = errors.Join(err, move(from, r.From, r.To))
		}
		for _, t := range step.Transferred {
			var from *class
			if other := c.account.Scripts[t.FromScript]; other != nil {
				from = other.Classes[t.From]
				given = append(given, func() {
					delete(other.Classes, t.From)
					c.w.touchScript(c.account, other)
				})
			}
			err = errors.Join(err, move(from, t.From, t.To))
		}
		for _, n := range step.Deleted {
			if classes[n] == nil {
				err = errors.Join(err, refuse(http.StatusBadRequest, 10061, "Cannot apply deleted-class migration to class '%s': it does not implement Durable Objects", n))
			}
			delete(classes, n)
		}
		var first *refusal
		if errors.As(err, &first) {
			return nil, first
		}
	}
	return &migrated{classes: classes, tag: m.NewTag, given: given}, nil
}

// checkClasses refuses an upload that lacks a class it promised to implement, or binds to one of its own that no
// migration made.
func checkClasses(list []binding, self string, classes map[string]*class, exported []string) error {
	for _, name := range sortedKeys(classes) {
		if !slices.Contains(exported, name) {
			return refuse(http.StatusBadRequest, 10064, "New version of script does not export class '%s' which is depended on by existing Durable Objects. If you want to delete the Durable Object's data, use a deleted-class migration.", name)
		}
	}
	for _, b := range list {
		if s := b.text("script_name"); b.Type == "durable_object_namespace" && (s == "" || s == self) && b.text("namespace_id") == "" {
			if classes[b.text("class_name")] == nil {
				return noSuchClass(b.text("class_name"))
			}
		}
	}
	return nil
}

// declared reads the `exports` map of an upload and provisions the Durable Object classes it declares
// (wire.md §3.4: mutually exclusive with migrations).
func (c *call) declared(s *script, raw json.RawMessage) (*migrated, error) {
	var exports map[string]struct {
		Type    string `json:"type"`
		Storage string `json:"storage"`
	}
	if err := json.Unmarshal(raw, &exports); err != nil {
		return nil, refuse(http.StatusBadRequest, 10021, "exports: %v", err)
	}
	classes := map[string]*class{}
	created := []string{}
	for _, name := range sortedKeys(exports) {
		if exports[name].Type != "durable-object" {
			continue
		}
		if old := s.Classes[name]; old != nil {
			classes[name] = old
			continue
		}
		created = append(created, name)
		classes[name] = &class{Namespace: c.w.id(), Name: name, SQLite: exports[name].Storage == "sqlite"}
	}
	var lost []string
	for _, name := range sortedKeys(s.Classes) {
		if classes[name] == nil {
			lost = append(lost, name)
		}
	}
	if len(lost) > 0 {
		return nil, refuse(http.StatusBadRequest, 100402, "exports reconciliation: provisioned classes are missing from the configuration: %s", strings.Join(lost, ", "))
	}
	empty := []string{}
	return &migrated{classes: classes, tag: s.MigrationTag, reconciled: map[string]any{
		"created": created, "deleted": empty, "updated": empty, "renamed": empty, "transferred": empty,
		"transfer_pending": empty, "removable_entries": empty, "info": empty, "warnings": empty,
	}}, nil
}
