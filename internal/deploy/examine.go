package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// Examine resolves and admits a shop's commit as Prepare does, and goes no further: nothing is built, and what it is
// worth is known without a bundle. Mistakes are in the Findings of what it returns; where the config cannot even be
// resolved they are the error, and nothing is returned.
func Examine(src Source) (*Desired, error) {
	config, err := resolve(src)
	if err != nil {
		return nil, err
	}
	want := &Desired{
		Shop: src.Shop, Commit: src.Commit, Main: src.Main, Config: config, Gate: src.Policy.Gate, Tool: src.Tool,
		DenyColumns:     src.Policy.Migrations.DenyColumns,
		RequiredSecrets: union(src.Policy.Secrets.Required, config.RequiredSecrets),
		policy:          src.Policy,
	}
	want.warn(config.Warnings)
	want.Findings = append(want.Findings, admitOffline(want, src)...)
	var findings Findings
	if err := asFindings(want.readMigrations()); errors.As(err, &findings) {
		want.Findings = append(want.Findings, findings...)
	} else if err != nil {
		return nil, err
	}
	want.admitClaims(src.Rivals)
	want.Findings = want.Findings.sorted()
	return want, nil
}

// Look reads what takes a Worker's traffic as Live does, and its version: whether it carries our tag, its bindings and
// its compatibility date. Two calls.
func (e *Engine) Look(ctx context.Context, worker string) (Live, error) {
	at, err := e.Live(ctx, worker)
	if err != nil || at.Version == "" {
		return at, err
	}
	v, err := e.CF.Version(ctx, worker, at.Version)
	if err != nil {
		return at, fmt.Errorf("reading the live version of %s: %w", worker, err)
	}
	return at, at.fill(worker, v)
}

// fill takes what a version says of itself.
func (l *Live) fill(worker string, v cloudflare.Version) (err error) {
	// A release whose deployment lost our message (a rollback made elsewhere, a
	// first upload) is still ours when its version carries our tag.
	if tag := v.Annotations[annotationTag]; l.Mark == "" && isMark(tag) {
		l.Mark = tag
	}
	l.CompatibilityDate = v.CompatibilityDate
	if l.Bindings, err = json.Marshal(v.Bindings); err != nil {
		return fmt.Errorf("reading the bindings of %s: %w", worker, err)
	}
	return nil
}

// BindingChange is a binding that a Worker has otherwise than its config.
type BindingChange struct {
	Name string
	How  string // "missing there", "not in the config" or "" for one that is another
}

// String is the change in words.
func (c BindingChange) String() string {
	if c.How == "" {
		return "binding " + c.Name
	}
	return "binding " + c.Name + " (" + c.How + ")"
}

// BindingChanges compares the bindings of a config with those that Cloudflare returns for a Worker, sorted by name.
// Secrets carry no value to compare.
func BindingChanges(c *wrangler.Config, live json.RawMessage) []BindingChange {
	var have []map[string]any
	if len(live) == 0 || json.Unmarshal(live, &have) != nil {
		return nil
	}
	var out []BindingChange
	seen := map[string]bool{}
	byName := map[string]map[string]any{}
	for _, b := range have {
		name, _ := b["name"].(string)
		byName[name] = b
	}
	for _, b := range c.Bindings {
		seen[b.Name] = true
		raw, err := json.Marshal(b)
		if err != nil {
			continue
		}
		var w map[string]any
		if json.Unmarshal(raw, &w) != nil {
			continue
		}
		h, ok := byName[b.Name]
		switch {
		case !ok:
			out = append(out, BindingChange{b.Name, "missing there"})
		case !coversValue(renamed(h), renamed(w)):
			out = append(out, BindingChange{b.Name, ""})
		}
	}
	for name, b := range byName {
		kind, _ := b["type"].(string)
		kept := c.KeepVars && (kind == "plain_text" || kind == "json") // the config says that the dashboard may have more
		if !seen[name] && !kept && kind != "secret_text" && kind != "secret_key" && kind != "assets" {
			out = append(out, BindingChange{name, "not in the config"})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}
