package wrangler

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// metadata is the metadata part, its members in wrangler's order (wire.md §3.2). show gives the text of the
// values that must not be seen.
func (f *formBuilder) metadata(show func(Secret) string) json.RawMessage {
	c, u := f.config, f.upload
	var o jsonObject
	if f.bundle == nil {
		o.set("assets", f.assets(show))
		o.set("annotations", f.annotations())
		o.setString("compatibility_date", c.CompatibilityDate)
		o.set("compatibility_flags", jsonStrings(c.CompatibilityFlags))
		return o.json()
	}
	main := "main_module"
	if f.bundle.Main.Type == CommonJS {
		main = "body_part"
	}
	o.set(main, jsonString(f.bundle.Main.Name))
	o.set("bindings", f.printBindings(show))
	o.set("containers", f.containers)
	o.setString("compatibility_date", c.CompatibilityDate)
	o.set("compatibility_flags", jsonStrings(c.CompatibilityFlags))
	o.set("migrations", f.migrations)
	o.set("code_update_strategy", f.strategy)
	o.set("exports", c.Exports)
	keep := []string{"secret_text", "secret_key"}
	if u.Keep != nil && !u.Put {
		keep = nil // by name, in addBindings
	}
	if c.KeepVars {
		keep = append([]string{"plain_text", "json"}, keep...)
	}
	o.set("keep_bindings", jsonStrings(keep))
	if c.Logpush != nil && !u.VersionOnly {
		o.set("logpush", fmt.Appendf(nil, "%t", *c.Logpush))
	}
	o.set("placement", c.Placement)
	o.set("tail_consumers", c.TailConsumers)
	if !u.VersionOnly {
		o.set("streaming_tail_consumers", c.StreamingTailConsumers)
	}
	o.set("limits", c.Limits)
	o.set("annotations", f.annotations())
	o.set("assets", f.assets(show))
	if !u.VersionOnly {
		o.set("observability", c.Observability)
	}
	o.set("cache_options", c.Cache)
	o.set("package_dependencies", f.packages)
	for _, m := range members(c.UnsafeMetadata) {
		o.set(m.name, m.value)
	}
	return o.json()
}

// ownMetadata are the members of the metadata that unsafe.metadata may not replace.
var ownMetadata = []string{"main_module", "body_part", "bindings", "keep_bindings", "keep_assets", "assets", "annotations"}

// checkUnsafe refuses an unsafe.metadata with members that say which code, which resources and which release this is:
// what was checked and shown before would not be what is uploaded, and secrets could get lost. wrangler lets it replace
// anything.
func (f *formBuilder) checkUnsafe() {
	for _, m := range members(f.config.UnsafeMetadata) {
		if slices.Contains(ownMetadata, m.name) {
			f.report(LevelError, "unsafe-metadata", fmt.Sprintf("unsafe.metadata would replace %s, which the upload has of its own", m.name),
				"", "remove it", "unsafe", "metadata", m.name)
		}
	}
}

func (f *formBuilder) printBindings(show func(Secret) string) json.RawMessage {
	list := make([]json.RawMessage, len(f.bindings))
	for i, b := range f.bindings {
		if b.isSecret {
			b.Binding = b.With("text", show(b.secret))
		}
		list[i], _ = b.MarshalJSON() // never fails
	}
	return jsonArray(list)
}

func (f *formBuilder) assets(show func(Secret) string) json.RawMessage {
	if f.upload.Assets == nil || f.upload.DryRun {
		return nil
	}
	var o jsonObject
	o.set("jwt", jsonString(show(f.upload.AssetsJWT)))
	o.set("config", f.upload.Assets.Config)
	return o.json()
}

func (f *formBuilder) annotations() json.RawMessage {
	var o jsonObject
	o.setString("workers/message", f.upload.Message)
	o.setString("workers/tag", f.upload.Tag)
	o.setString("workers/alias", f.upload.Alias)
	if len(o) == 0 && !f.upload.VersionOnly {
		return nil
	}
	return o.json()
}

// addLifecycle fills in what an upload may change beside the code: containers, Durable Object migrations and how Durable
// Objects get the new code. What only a PUT can carry in an upload that is none is the caller's mistake.
func (f *formBuilder) addLifecycle() error {
	c, u := f.config, f.upload
	for _, m := range members(c.Exports) {
		if members(m.value).text("type") == "workflow" {
			f.apiDate = workflowAPIDate
		}
	}
	f.addContainers()
	if !c.DOExports && !u.DryRun { // exports take the place of migrations
		f.addMigrations()
	}
	why := ""
	switch {
	case f.bundle.Format == ServiceWorker:
		why = "the code is in service-worker format"
	case f.migrations != nil:
		why = "a Durable Object migration is pending"
	case c.DOExports:
		why = "exports declares Durable Objects"
	case f.containers != nil:
		why = "there are containers"
	}
	if why != "" && !u.Put && !u.DryRun && !u.VersionOnly {
		return errors.New("this upload has to be a PUT: " + why)
	}
	if f.migrations != nil && u.VersionOnly {
		f.report(LevelError, "migration-pending", "a Durable Object migration is pending, which a version cannot carry", "",
			"deploy first, then upload versions", "migrations")
	}
	if u.DryRun && why != "" || u.Put && !u.DryRun {
		f.strategy = c.CodeUpdateStrategy
	}
	return nil
}

// addMigrations adds the Durable Object migrations that the Worker has not had (wire.md §3.4).
func (f *formBuilder) addMigrations() {
	all, tag := f.config.DOMigrations, f.upload.MigrationTag
	if len(all) == 0 {
		return
	}
	pending := all
	if tag != "" {
		i := slices.IndexFunc(all, func(m DOMigration) bool { return m.Tag == tag })
		if i < 0 {
			f.report(LevelWarning, "migration-tag-unknown",
				fmt.Sprintf("the Worker's migration tag is %q, which is not in the configuration: all migrations will be applied", tag),
				"", "put the missing migration back, if it was deleted by mistake", "migrations")
		}
		pending = all[i+1:]
	}
	if len(pending) == 0 {
		return
	}
	steps := make([]json.RawMessage, len(pending))
	for i, m := range pending {
		steps[i] = m.Step
	}
	var o jsonObject
	o.setString("old_tag", tag)
	o.set("new_tag", jsonString(all[len(all)-1].Tag))
	o.set("steps", jsonArray(steps))
	f.migrations = o.json()
}

// workflowAPIDate is the date of the API that knows workflows in exports.
const workflowAPIDate = "2026-11-09"

// addContainers adds the link between containers and Durable Object classes. Images are built and rolled out by calls
// of their own; those of containers that a Durable Object manages would have to be built before the upload. A container
// without a name has the one that wrangler derives.
func (f *formBuilder) addContainers() {
	var containers []json.RawMessage
	if f.config.Containers == nil || json.Unmarshal(f.config.Containers, &containers) != nil {
		return
	}
	list := make([]json.RawMessage, len(containers))
	for i, raw := range containers {
		container := members(raw)
		name, class := container.text("name"), container.text("class_name")
		if container.text("scheduling_policy") == "durable_object" {
			if class == "" {
				class = f.containerClass(name)
			}
			if class == "" {
				f.report(LevelError, "container-class", fmt.Sprintf("no Durable Object manages the container %q", name), "class_name, or an export that names the container",
					`set "class_name"`, "containers", i)
			}
			for _, m := range container {
				if m.name == "images" && len(members(m.value)) > 0 {
					f.report(LevelError, "container-images", fmt.Sprintf("the images of container %q have to be built before the upload, which shopfleet does not do", name),
						"", "deploy this Worker with wrangler", "containers", i, "images")
				}
			}
		}
		if name == "" {
			name = strings.ToLower(strings.ReplaceAll(strings.TrimSuffix(f.config.TopLevelName+"-"+class+"-"+f.config.Env, "-"), " ", "-"))
		}
		var o jsonObject
		o.setString("name", name)
		o.setString("class_name", class)
		list[i] = o.json()
	}
	f.containers = jsonArray(list)
}

// containerClass is the class of the first export that says it is managed with the container.
func (f *formBuilder) containerClass(container string) string {
	for _, m := range members(f.config.Exports) {
		if export := members(m.value); export.text("type") == "durable-object" && export.text("container") == container {
			return m.name
		}
	}
	return ""
}
