package wrangler

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// resourceMember names, by binding type, the member that says which resource a binding is bound to: in the metadata and
// in the configuration. These are the types whose resource wrangler can find out by itself (wire.md §3.5).
var resourceMember = map[string]struct{ wire, config string }{
	"kv_namespace":        {"namespace_id", "id"},
	"d1":                  {"id", "database_id"},
	"r2_bucket":           {"bucket_name", "bucket_name"},
	"queue":               {"queue_name", "queue"},
	"ai_search_namespace": {"namespace", "namespace"},
	"agent_memory":        {"namespace", "namespace"},
	"flagship":            {"app_id", "app_id"},
	"dispatch_namespace":  {"namespace", "namespace"},
}

// addBindings fills in the bindings in wrangler's order: inherited secrets, then the configuration's with the secrets
// behind vars.
func (f *formBuilder) addBindings() error {
	c, u := f.config, f.upload
	taken := map[string]bool{}
	for _, b := range c.Bindings {
		taken[b.Name] = true
	}
	var missing []string
	for _, name := range c.RequiredSecrets {
		if _, given := u.Secrets[name]; given || taken[name] {
			continue
		}
		missing = append(missing, name)
		f.bindings = append(f.bindings, formBinding{Binding: NewBinding(name, "inherit")})
	}
	if len(missing) > 0 && u.New && !u.DryRun {
		f.report(LevelError, "required-secrets", "required secrets have no value: "+strings.Join(missing, ", "),
			"a value for each, since a Worker that does not exist yet has nothing to inherit",
			"give the values with the first deploy", "secrets", "required")
	}

	for _, name := range u.Keep {
		if _, given := u.Secrets[name]; !given && !taken[name] && !slices.Contains(missing, name) {
			f.bindings = append(f.bindings, formBinding{Binding: NewBinding(name, "inherit")})
		}
	}

	secrets := make([]formBinding, 0, len(u.Secrets))
	for _, name := range slices.Sorted(maps.Keys(u.Secrets)) {
		if !utf8.ValidString(string(u.Secrets[name])) {
			f.report(LevelError, "secret-encoding", fmt.Sprintf("the value of the secret %s is not UTF-8, so it would not arrive as it is", name),
				"text", "encode it, in base64 for example")
		}
		secrets = append(secrets, formBinding{Binding: NewBinding(name, "secret_text"), secret: u.Secrets[name], isSecret: true})
	}
	for _, b := range c.Bindings {
		if _, replaced := u.Secrets[b.Name]; replaced {
			level := LevelWarning
			if b.Key != "vars" {
				level = LevelError // wrangler would leave the Worker without its database
			}
			f.report(level, "secret-replaces-binding", fmt.Sprintf("the secret %s replaces the binding of the same name", b.Name),
				"", "remove the binding from the configuration, or rename one of the two", b.Path()...)
			continue
		}
		if b.Key != "vars" {
			f.bindings = append(f.bindings, secrets...)
			secrets = nil
		}
		f.bindings = append(f.bindings, formBinding{Binding: f.bound(b)})
	}
	f.bindings = append(f.bindings, secrets...)

	// The files come in the order of their binding types, not in that of the configuration.
	return errors.Join(
		f.addFiles("wasm_modules", c.WASMModules, CompiledWasm),
		f.addFiles("text_blobs", c.TextBlobs, TextModule),
		f.addFiles("data_blobs", c.DataBlobs, DataModule),
	)
}

// bound is b with its resource, or the order to inherit it.
func (f *formBuilder) bound(b Binding) Binding {
	member, ok := resourceMember[b.Type]
	if b.Complete || !ok {
		return b
	}
	if resource := f.upload.Resources[b.Name]; resource != "" {
		return b.With(member.wire, resource)
	}
	if f.upload.New && !f.upload.DryRun {
		f.report(LevelError, "binding-without-resource",
			fmt.Sprintf("the binding %s names no resource, and a Worker that does not exist yet has none to inherit", b.Name),
			fmt.Sprintf("%q in %s", member.config, b.Key), "create the resource and put its id into the configuration", b.Path()...)
	}
	return b.Inherit()
}

// addFiles adds the parts of the files that the configuration names for code in service-worker format. Like assets they
// have to be in the project: what is uploaded is what was committed.
func (f *formBuilder) addFiles(key string, files []FileBinding, as ModuleType) error {
	for _, file := range files {
		report := func(rule, problem, hint string) {
			f.report(LevelError, rule, fmt.Sprintf("%s.%s: %s", key, file.Name, problem), "", hint, key, file.Name)
		}
		if f.bundle.Format != ServiceWorker {
			report("blobs-in-modules", key+" is for code in service-worker format, and this Worker's code is an ES module",
				"import the file in the code, and remove it from "+key)
			continue
		}
		content, err := readInside(f.config.Dir, file.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			report("blob-missing", "the file does not exist", "give the path relative to the configuration file")
			continue
		case errors.Is(err, errOutside):
			report("blob-outside-project", "the file is outside the project", "move it into the project")
			continue
		case err != nil:
			return err
		}
		name, err := filepath.Rel(f.config.Dir, file.Path)
		if err != nil {
			return err
		}
		f.addPart(&f.before, part{file.Name, filepath.ToSlash(name), as.ContentType(), content})
	}
	return nil
}

var errOutside = errors.New("the file is outside the project")

// readInside reads a file that, once symbolic links are followed, has to be in dir.
func readInside(dir, file string) ([]byte, error) {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	target, err := filepath.EvalSymlinks(file)
	if err != nil {
		return nil, err
	}
	if rel, err := filepath.Rel(root, target); err != nil || !filepath.IsLocal(rel) {
		return nil, errOutside
	}
	return os.ReadFile(target)
}

// addParts adds the code: the main module, the modules, the source maps. Beside a script the modules are bindings with
// parts ahead of the metadata.
func (f *formBuilder) addParts() {
	b := f.bundle
	modules := b.Modules
	if b.Main.Type == CommonJS {
		modules = nil
		for _, m := range b.Modules {
			bindingType, ok := blobBinding[m.Type]
			if !ok {
				f.moduleFinding(m.Name, "code in service-worker format cannot have modules that are code themselves")
				continue
			}
			name := m.Identifier()
			f.bindings = append(f.bindings, formBinding{Binding: NewBinding(name, bindingType, "part", name)})
			f.addPart(&f.before, part{name, m.Name, m.Type.ContentType(), m.Content})
		}
	}
	f.addPart(&f.after, part{b.Main.Name, b.Main.Name, b.Main.Type.ContentType(), b.Main.Content})
	for _, m := range modules {
		f.addPart(&f.after, part{m.Name, m.Name, m.Type.ContentType(), m.Content})
	}
	for _, m := range b.SourceMaps {
		f.addPart(&f.after, part{m.Name, m.Name, "application/source-map", m.Content})
	}
}

var blobBinding = map[ModuleType]string{CompiledWasm: "wasm_module", TextModule: "text_blob", DataModule: "data_blob"}

// addPart refuses names that a form cannot carry. wrangler lets the last of several parts with one name win, the metadata
// included, and sends what its HTTP client makes of control characters.
func (f *formBuilder) addPart(parts *[]part, p part) {
	other, taken := f.named[p.name]
	switch names := p.name + p.filename; {
	case p.name == "":
		f.moduleFinding(p.filename, "the name is empty")
	case strings.ContainsFunc(names, unicode.IsControl) || !utf8.ValidString(names):
		f.moduleFinding(p.filename, "the name has characters that no form can carry")
	case p.name == metadataPart:
		f.moduleFinding(p.filename, "the name is reserved for the upload's metadata")
	case taken && other.contentType == p.contentType && bytes.Equal(other.content, p.content):
		// the same module once more
	case taken:
		f.moduleFinding(p.filename, "another part of the upload has this name")
	default:
		f.named[p.name] = p
		*parts = append(*parts, p)
	}
}

func (f *formBuilder) moduleFinding(name, message string) {
	f.findings = append(f.findings, Finding{
		Rule: "module-name", Level: LevelError, Message: fmt.Sprintf("module %q: %s", name, message), Hint: "rename the file",
	})
}
