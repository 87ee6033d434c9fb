package wrangler_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"mime"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// formConfig is a configuration with the given members beside a name, a main module and a date.
func formConfig(t testing.TB, members string) *wrangler.Config {
	t.Helper()
	dir := t.TempDir()
	if members != "" {
		members = ",\n  " + members
	}
	writeFiles(t, dir, map[string]string{"wrangler.jsonc": "{\n  \"name\": \"shop\", \"main\": \"index.js\", \"compatibility_date\": \"2026-06-01\"" + members + "\n}\n"})
	return configOf(t, dir, "wrangler.jsonc", "")
}

// moduleBundle is a bundle with an ES module and others beside it.
func moduleBundle(modules ...wrangler.Module) *wrangler.Bundle {
	return &wrangler.Bundle{Main: wrangler.Module{Name: "index.js", Type: wrangler.ESModule, Content: []byte("export default {}")}, Modules: modules}
}

func newForm(t testing.TB, c *wrangler.Config, b *wrangler.Bundle, u wrangler.Upload) *wrangler.Form {
	t.Helper()
	form, err := wrangler.NewForm(c, b, u)
	if err != nil {
		t.Fatal(err)
	}
	return form
}

// rules are the rules of findings, with the line where there is one.
func rules(err error) []string {
	var findings wrangler.Findings
	if !errors.As(err, &findings) {
		return []string{fmt.Sprint("no findings: ", err)}
	}
	var out []string
	for _, f := range findings {
		if f.Line > 0 {
			out = append(out, fmt.Sprintf("%s:%d", f.Rule, f.Line))
		} else {
			out = append(out, f.Rule)
		}
	}
	return out
}

func metadataOf(t testing.TB, f *wrangler.Form) map[string]json.RawMessage {
	t.Helper()
	for _, p := range uploadParts(t, f.Body) {
		if p.Name == "metadata" {
			var members map[string]json.RawMessage
			if err := json.Unmarshal(p.Content, &members); err != nil {
				t.Fatal(err)
			}
			return members
		}
	}
	t.Fatal("there is no metadata")
	return nil
}

// Secrets travel behind the variables, sorted by name; they are in the body and nowhere else.
func TestFormSecrets(t *testing.T) {
	c := formConfig(t, `"vars": {"A": "a", "TOKEN": "plain"}, "kv_namespaces": [{"binding": "KV", "id": "0f0f"}], "secrets": {"required": ["KEY", "OTHER"]}`)
	values := []string{"k3y-value", "t0ken \"<&>\"\n\u2028 value", "jwt-value"}
	upload := wrangler.Upload{
		Secrets: map[string]wrangler.Secret{"TOKEN": wrangler.Secret(values[1]), "KEY": wrangler.Secret(values[0])},
		Assets:  &wrangler.AssetSet{Config: json.RawMessage(`{}`)}, AssetsJWT: wrangler.Secret(values[2]),
	}
	form := newForm(t, c, moduleBundle(), upload)
	want := `[{"name":"OTHER","type":"inherit"},{"name":"A","type":"plain_text","text":"a"},{"name":"KEY","type":"secret_text","text":"k3y-value"},` +
		`{"name":"TOKEN","type":"secret_text","text":"t0ken \"<&>\"\n` + "\u2028" + ` value"},{"name":"KV","type":"kv_namespace","namespace_id":"0f0f"}]`
	if got := string(metadataOf(t, form)["bindings"]); got != want {
		t.Errorf("bindings\n got %s\nwant %s", got, want)
	}
	if got := rules(wrangler.Findings(form.Warnings)); !slices.Equal(got, []string{"secret-replaces-binding:3"}) {
		t.Errorf("warnings %q", got)
	}

	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("", "form", form, "upload", upload)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("", "form", form, "upload", upload, "metadata", string(form.Metadata))
	printed := []string{logged.String(), string(form.Metadata), mustJSON(t, form), mustJSON(t, upload)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		printed = append(printed, fmt.Sprintf(verb, form), fmt.Sprintf(verb, upload), fmt.Sprintf(verb, upload.Secrets))
	}
	for _, text := range printed {
		for _, value := range values {
			for _, shape := range []string{value, fmt.Sprintf("%x", value), value[:5]} {
				if strings.Contains(text, shape) {
					t.Errorf("a secret shows: %s", text)
				}
			}
		}
	}

	// What does not depend on their values is the same for other values.
	upload.Secrets["KEY"], upload.AssetsJWT = "another", "another"
	if other := newForm(t, c, moduleBundle(), upload); !bytes.Equal(other.Metadata, form.Metadata) {
		t.Errorf("the masked metadata differs:\n%s\n%s", other.Metadata, form.Metadata)
	}
}

// A secret may take the place of a variable, not of a resource.
func TestFormSecretReplacesResource(t *testing.T) {
	c := formConfig(t, `"kv_namespaces": [{"binding": "KV", "id": "0f0f"}]`)
	_, err := wrangler.NewForm(c, moduleBundle(), wrangler.Upload{Secrets: map[string]wrangler.Secret{"KV": "value"}})
	if got := rules(err); !slices.Equal(got, []string{"secret-replaces-binding:3"}) {
		t.Errorf("got %q", got)
	}
}

// What would not arrive as it is is refused.
func TestFormSecretEncoding(t *testing.T) {
	_, err := wrangler.NewForm(formConfig(t, ""), moduleBundle(), wrangler.Upload{Secrets: map[string]wrangler.Secret{"KEY": "\xff"}})
	if got := rules(err); !slices.Equal(got, []string{"secret-encoding"}) {
		t.Errorf("got %q", got)
	}
}

// unsafe.metadata adds and changes, but it cannot swap what was checked for something else, nor lose secrets.
func TestFormUnsafeMetadata(t *testing.T) {
	c := formConfig(t, `"unsafe": {"metadata": {
    "bindings": [{"name": "DB", "type": "d1", "id": "another shop's"}],
    "keep_bindings": [],
    "annotations": {},
    "fine": 1
  }}`)
	_, err := wrangler.NewForm(c, moduleBundle(), wrangler.Upload{})
	if got, want := rules(err), []string{"unsafe-metadata:4", "unsafe-metadata:5", "unsafe-metadata:6"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A finding about a secret names it and says nothing of its value.
func TestFormSecretTooLarge(t *testing.T) {
	value := strings.Repeat("v4lue", 1025)
	_, err := wrangler.NewForm(formConfig(t, ""), moduleBundle(), wrangler.Upload{Secrets: map[string]wrangler.Secret{"KEY": wrangler.Secret(value)}})
	if got := rules(err); !slices.Equal(got, []string{"variable-size"}) || !strings.Contains(err.Error(), "KEY") || strings.Contains(err.Error(), "v4lue") {
		t.Errorf("got %v", err)
	}
}

// A Worker that does not exist yet has nothing to inherit.
func TestFormNew(t *testing.T) {
	c := formConfig(t, `"kv_namespaces": [{"binding": "KV"}],
  "d1_databases": [{"binding": "DB", "database_name": "db", "database_internal_env": "x"}],
  "r2_buckets": [{"binding": "BUCKET"}],
  "queues": {"producers": [{"binding": "QUEUE"}]},
  "secrets": {"required": ["KEY"]}`)
	inherited := newForm(t, c, moduleBundle(), wrangler.Upload{})
	want := `[{"name":"KEY","type":"inherit"},{"name":"KV","type":"inherit"},{"name":"QUEUE","type":"inherit"},{"name":"BUCKET","type":"inherit"},{"name":"DB","type":"inherit"}]`
	if got := string(metadataOf(t, inherited)["bindings"]); got != want {
		t.Errorf("bindings\n got %s\nwant %s", got, want)
	}

	_, err := wrangler.NewForm(c, moduleBundle(), wrangler.Upload{Put: true, New: true})
	if got, want := rules(err), []string{"binding-without-resource:3", "binding-without-resource:4", "binding-without-resource:5", "binding-without-resource:6", "required-secrets:7"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	form := newForm(t, c, moduleBundle(), wrangler.Upload{
		Put: true, New: true, Secrets: map[string]wrangler.Secret{"KEY": "value"},
		Resources: map[string]string{"KV": "k", "DB": "d", "BUCKET": "b", "QUEUE": "q"},
	})
	want = `[{"name":"KEY","type":"secret_text","text":"value"},{"name":"KV","type":"kv_namespace","namespace_id":"k"},{"type":"queue","name":"QUEUE","queue_name":"q"},` +
		`{"name":"BUCKET","type":"r2_bucket","bucket_name":"b"},{"name":"DB","type":"d1","id":"d","internalEnv":"x"}]`
	if got := string(metadataOf(t, form)["bindings"]); got != want {
		t.Errorf("bindings\n got %s\nwant %s", got, want)
	}
}

func TestFormMigrations(t *testing.T) {
	c := formConfig(t, `"durable_objects": {"bindings": [{"name": "ROOM", "class_name": "Room"}]},
  "migrations": [{"tag": "v1", "new_sqlite_classes": ["Room"]}, {"tag": "v2", "new_classes": ["Hall"]}, {"tag": "v3", "deleted_classes": ["Hall"]}]`)
	tests := []struct{ tag, want string }{
		{"", `{"new_tag":"v3","steps":[{"new_sqlite_classes":["Room"]},{"new_classes":["Hall"]},{"deleted_classes":["Hall"]}]}`},
		{"v1", `{"old_tag":"v1","new_tag":"v3","steps":[{"new_classes":["Hall"]},{"deleted_classes":["Hall"]}]}`},
		{"v2", `{"old_tag":"v2","new_tag":"v3","steps":[{"deleted_classes":["Hall"]}]}`},
		{"v3", ""},
		{"gone", `{"old_tag":"gone","new_tag":"v3","steps":[{"new_sqlite_classes":["Room"]},{"new_classes":["Hall"]},{"deleted_classes":["Hall"]}]}`},
	}
	for _, test := range tests {
		form := newForm(t, c, moduleBundle(), wrangler.Upload{Put: true, MigrationTag: test.tag})
		metadata := metadataOf(t, form)
		if got := string(metadata["migrations"]); got != test.want {
			t.Errorf("from %q:\n got %s\nwant %s", test.tag, got, test.want)
		}
		if got := string(metadata["code_update_strategy"]); got != `{"mode":"deferred","max_delay":300}` {
			t.Errorf("from %q: code_update_strategy %s", test.tag, got)
		}
		if warned := len(form.Warnings) > 0; warned != (test.tag == "gone") {
			t.Errorf("from %q: warnings %v", test.tag, form.Warnings)
		}

		// A version cannot carry them.
		_, err := wrangler.NewForm(c, moduleBundle(), wrangler.Upload{MigrationTag: test.tag})
		if refused := err != nil && strings.Contains(err.Error(), "PUT"); refused != (test.want != "") {
			t.Errorf("from %q by POST: %v", test.tag, err)
		}
		_, err = wrangler.NewForm(c, moduleBundle(), wrangler.Upload{VersionOnly: true, MigrationTag: test.tag})
		if refused := err != nil && slices.Contains(rules(err), "migration-pending:4"); refused != (test.want != "") {
			t.Errorf("from %q as a version only: %v", test.tag, err)
		}
	}
}

// What versions cannot carry is refused unless the upload is a PUT.
func TestFormNeedsPut(t *testing.T) {
	script := &wrangler.Bundle{Format: wrangler.ServiceWorker, Main: wrangler.Module{Name: "index.js", Type: wrangler.CommonJS}}
	tests := []struct {
		name, members string
		bundle        *wrangler.Bundle
		apiDate       string
	}{
		{"service worker", "", script, ""},
		{"Durable Objects in exports", `"exports": {"Room": {"type": "durable-object", "storage": "sqlite"}}`, moduleBundle(), ""},
		{"containers", `"containers": [{"class_name": "Room", "image": "registry.cloudflare.com/0123456789abcdef0123456789abcdef/room:1"}]`, moduleBundle(), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := formConfig(t, test.members)
			if _, err := wrangler.NewForm(c, test.bundle, wrangler.Upload{}); err == nil || !strings.Contains(err.Error(), "has to be a PUT") {
				t.Errorf("got %v", err)
			}
			form := newForm(t, c, test.bundle, wrangler.Upload{Put: true})
			if metadataOf(t, form)["code_update_strategy"] == nil {
				t.Error("there is no code_update_strategy")
			}
			if dry := newForm(t, c, test.bundle, wrangler.Upload{DryRun: true}); metadataOf(t, dry)["code_update_strategy"] == nil {
				t.Error("there is no code_update_strategy in a dry run")
			}
		})
	}
	form := newForm(t, formConfig(t, `"exports": {"Flow": {"type": "workflow", "name": "flow"}}`), moduleBundle(), wrangler.Upload{})
	if form.APIDate == "" {
		t.Error("workflows in exports need a date of the API")
	}
	if form := newForm(t, formConfig(t, ""), moduleBundle(), wrangler.Upload{}); form.APIDate != "" {
		t.Errorf("a date of the API without need: %s", form.APIDate)
	}
}

func TestFormContainers(t *testing.T) {
	c := formConfig(t, `"exports": {"Other": {"type": "worker"}, "Room": {"type": "durable-object", "storage": "sqlite", "container": "rooms"}},
  "containers": [{"name": "rooms", "scheduling_policy": "durable_object"}, {"name": "halls", "class_name": "Hall", "image": "i"}, {"class_name": "Big Hall", "image": "i"}]`)
	form := newForm(t, c, moduleBundle(), wrangler.Upload{Put: true})
	want := `[{"name":"rooms","class_name":"Room"},{"name":"halls","class_name":"Hall"},{"name":"shop-big-hall","class_name":"Big Hall"}]`
	if got := string(metadataOf(t, form)["containers"]); got != want {
		t.Errorf("containers\n got %s\nwant %s", got, want)
	}
	c.Containers = json.RawMessage(`[{"name":"rooms","scheduling_policy":"durable_object","images":{"a":{}}},{"name":"unknown","scheduling_policy":"durable_object"}]`)
	if _, err := wrangler.NewForm(c, moduleBundle(), wrangler.Upload{Put: true}); !slices.Equal(rules(err), []string{"container-images:4", "container-class:4"}) {
		t.Errorf("got %v", err)
	}
}

// Names of modules that a form cannot carry are refused; all others arrive as they are.
func TestFormModuleNames(t *testing.T) {
	text := func(name, content string) wrangler.Module {
		return wrangler.Module{Name: name, Type: wrangler.TextModule, Content: []byte(content)}
	}
	c := formConfig(t, "")
	for _, name := range []string{"a\r\nX-Injected: yes\r\n\r\nb", "a\nb", "a\rb", "a\x00b", "a\x7fb", "a\u0085b", "a\xffb", "metadata", ""} {
		if _, err := wrangler.NewForm(c, moduleBundle(text(name, "")), wrangler.Upload{}); !slices.Equal(rules(err), []string{"module-name"}) {
			t.Errorf("%q: got %v", name, err)
		}
	}
	for _, modules := range [][]wrangler.Module{
		{text("a.txt", "1"), text("a.txt", "2")},
		{text("index.js", "not the main module")},
		{text("a.txt", "1"), {Name: "a.txt", Type: wrangler.DataModule, Content: []byte("1")}},
	} {
		if _, err := wrangler.NewForm(c, moduleBundle(modules...), wrangler.Upload{}); !slices.Equal(rules(err), []string{"module-name"}) {
			t.Errorf("%v: got %v", modules, err)
		}
	}
	names := []string{`quo"te.txt`, "../up.txt", "./here.txt", "/root.txt", `back\slash.txt`, "semi;colon=\"x\".txt", "ü😀.txt", "per%22cent.txt", " space .txt", "a.txt"}
	var modules []wrangler.Module
	for _, name := range names {
		modules = append(modules, text(name, name))
	}
	modules = append(modules, text("a.txt", "a.txt")) // the same once more
	parts := uploadParts(t, newForm(t, c, moduleBundle(modules...), wrangler.Upload{}).Body)
	if len(parts) != len(names)+2 {
		t.Fatalf("%d parts, want %d", len(parts), len(names)+2)
	}
	for i, name := range names {
		if string(parts[i+2].Content) != name {
			t.Errorf("part %d holds %q, want %q", i+2, parts[i+2].Content, name)
		}
	}
}

// Whatever a module is called and holds, it arrives: the parts that a reader of the form finds are the ones that went in.
func FuzzForm(f *testing.F) {
	f.Add("a.txt", []byte("text"), "secret")
	f.Add("a\"b", []byte("\r\n--x--\r\n"), "\"\\\n")
	f.Add("\r\n", []byte{0xff}, "\xff")
	f.Add("----shopfleet-", []byte("------shopfleet-0000\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{}"), "")
	c := formConfig(f, `"vars": {"A": "a"}`)
	f.Fuzz(func(t *testing.T, name string, content []byte, secret string) {
		module := wrangler.Module{Name: name, Type: wrangler.DataModule, Content: content}
		form, err := wrangler.NewForm(c, moduleBundle(module), wrangler.Upload{Secrets: map[string]wrangler.Secret{"KEY": wrangler.Secret(secret)}})
		if err != nil {
			if got := rules(err); !slices.Contains([]string{"module-name", "variable-size", "secret-encoding"}, got[0]) {
				t.Fatal(err)
			}
			return
		}
		_, params, err := mime.ParseMediaType(form.ContentType)
		if err != nil || !bytes.HasPrefix(form.Body, []byte("--"+params["boundary"]+"\r\n")) {
			t.Fatalf("%s: %v", form.ContentType, err)
		}
		parts := parseForm(t, form.Body)
		if len(parts) != 3 || parts[0].Name != "metadata" || parts[1].Name != "index.js" || !bytes.Equal(parts[2].Content, content) {
			t.Fatalf("got %+v", parts)
		}
		var metadata struct {
			Bindings []struct{ Name, Text string }
		}
		if err := json.Unmarshal(parts[0].Content, &metadata); err != nil {
			t.Fatal(err)
		}
		if got := metadata.Bindings[1]; got.Name != "KEY" || got.Text != secret {
			t.Errorf("the secret arrives as %q", got.Text)
		}
	})
}

// Boundaries cannot be foreseen, and one that is given has to hold.
func TestFormBoundary(t *testing.T) {
	c := formConfig(t, "")
	seen := map[string]bool{}
	for range 100 {
		form := newForm(t, c, moduleBundle(), wrangler.Upload{})
		if seen[form.ContentType] {
			t.Fatalf("the boundary of %s came twice", form.ContentType)
		}
		seen[form.ContentType] = true
	}
	form := newForm(t, c, moduleBundle(), wrangler.Upload{Boundary: "fixed"})
	if form.ContentType != "multipart/form-data; boundary=fixed" || !bytes.HasSuffix(form.Body, []byte("\r\n--fixed--\r\n")) {
		t.Errorf("%s %q", form.ContentType, form.Body)
	}
	for _, boundary := range []string{"export default", "has space", "a\r\nb", `a"b`, strings.Repeat("x", 71), "ü"} {
		if _, err := wrangler.NewForm(c, moduleBundle(), wrangler.Upload{Boundary: boundary}); err == nil {
			t.Errorf("the boundary %q was taken", boundary)
		}
	}
	b := moduleBundle()
	b.Main.Content = []byte("a fixed content")
	if _, err := wrangler.NewForm(c, b, wrangler.Upload{Boundary: "fixed"}); err == nil {
		t.Error("a boundary that the content has was taken")
	}
}

// Limits are known before anything is sent.
func TestFormLimits(t *testing.T) {
	vars := func(n, size int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, ", \"V%d\": \"%s\"", i, strings.Repeat("x", size))
		}
		return `"vars": {` + strings.TrimPrefix(b.String(), ", ") + "}"
	}
	noise := make([]byte, 11<<20)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(noise)
	data := func(content []byte) *wrangler.Bundle {
		return moduleBundle(wrangler.Module{Name: "d.bin", Type: wrangler.DataModule, Content: content})
	}
	tests := []struct {
		name     string
		config   *wrangler.Config
		bundle   *wrangler.Bundle
		secrets  int
		want     string // of an error
		warnings string
	}{
		{"as many as can be", formConfig(t, vars(100, 5<<10)), moduleBundle(), 28, "", ""},
		{"one variable too many", formConfig(t, vars(100, 1)), moduleBundle(), 29, "variable-count:3", ""},
		{"a large variable", formConfig(t, vars(1, 5<<10+1)), moduleBundle(), 0, "variable-size:3", ""},
		{"a large JSON variable", formConfig(t, `"vars": {"A": ["`+strings.Repeat("x", 5<<10)+`"]}`), moduleBundle(), 0, "variable-size:3", ""},
		{"large metadata", formConfig(t, `"unsafe": {"metadata": {"x": "`+strings.Repeat("x", 1<<20)+`"}}`), moduleBundle(), 0, "metadata-size", ""},
		{"a long name", func() *wrangler.Config { c := formConfig(t, ""); c.Name = strings.Repeat("x", 64); return c }(), moduleBundle(), 0, "worker-name-length:2", ""},
		{"the longest name", func() *wrangler.Config { c := formConfig(t, ""); c.Name = strings.Repeat("x", 63); return c }(), moduleBundle(), 0, "", ""},
		{"large code", formConfig(t, ""), data(make([]byte, 64<<20)), 0, "code-size", ""},
		{"code that does not compress", formConfig(t, ""), data(noise), 0, "", "code-size"},
		{"code that does", formConfig(t, ""), data(make([]byte, 11<<20)), 0, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			secrets := map[string]wrangler.Secret{}
			for i := range test.secrets {
				secrets[fmt.Sprint("S", i)] = "value"
			}
			form, err := wrangler.NewForm(test.config, test.bundle, wrangler.Upload{Secrets: secrets})
			if test.want != "" {
				if got := rules(err); !slices.Equal(got, []string{test.want}) {
					t.Errorf("got %q, want %s", got, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(rules(wrangler.Findings(form.Warnings)), " "); got != test.warnings {
				t.Errorf("warnings %q, want %q", got, test.warnings)
			}
		})
	}
}

// Files of the service-worker format have to be files of the project.
func TestFormBlobs(t *testing.T) {
	script := &wrangler.Bundle{Format: wrangler.ServiceWorker, Main: wrangler.Module{Name: "index.js", Type: wrangler.CommonJS}}
	c := formConfig(t, `"text_blobs": {"FINE": "a.txt",
    "GONE": "gone.txt",
    "LINK": "link.txt"
  }`)
	outside := t.TempDir()
	writeFiles(t, outside, map[string]string{"secret": "s3cret"})
	writeFiles(t, c.Dir, map[string]string{"a.txt": "a"})
	link(t, filepath.Join(outside, "secret"), filepath.Join(c.Dir, "link.txt"))
	_, err := wrangler.NewForm(c, script, wrangler.Upload{Put: true})
	if got, want := rules(err), []string{"blob-missing:4", "blob-outside-project:5"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	_, err = wrangler.NewForm(c, moduleBundle(), wrangler.Upload{Put: true})
	if got, want := rules(err), []string{"blobs-in-modules:3", "blobs-in-modules:4", "blobs-in-modules:5"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	script.Modules = []wrangler.Module{{Name: "other.js", Type: wrangler.ESModule}}
	if _, err := wrangler.NewForm(formConfig(t, ""), script, wrangler.Upload{Put: true}); !slices.Equal(rules(err), []string{"module-name"}) {
		t.Errorf("got %v", err)
	}
}

// Mistakes of the caller are no findings: the user can do nothing about them.
func TestFormMisuse(t *testing.T) {
	c := formConfig(t, "")
	for name, err := range map[string]error{
		"no bundle":       second(wrangler.NewForm(c, nil, wrangler.Upload{})),
		"an empty bundle": second(wrangler.NewForm(c, &wrangler.Bundle{}, wrangler.Upload{})),
		"no token":        second(wrangler.NewForm(c, moduleBundle(), wrangler.Upload{Assets: &wrangler.AssetSet{}})),
		"a long tag":      second(wrangler.NewForm(c, moduleBundle(), wrangler.Upload{Tag: strings.Repeat("x", 101)})),
	} {
		var findings wrangler.Findings
		if err == nil || errors.As(err, &findings) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// wrangler uploads nothing without a compatibility date, assets only included.
func TestFormDate(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"wrangler.json": `{"name": "shop", "assets": {"directory": "public"}}`, "public/a": ""})
	_, err := wrangler.NewForm(configOf(t, dir, "wrangler.json", ""), nil, wrangler.Upload{Put: true})
	if got := rules(err); !slices.Equal(got, []string{"config-required:1"}) {
		t.Errorf("got %q", got)
	}
}

func second[T any](_ T, err error) error { return err }

func BenchmarkNewForm(b *testing.B) {
	c := formConfig(b, `"vars": {"A": "a"}, "kv_namespaces": [{"binding": "KV", "id": "0f0f"}], "d1_databases": [{"binding": "DB", "database_id": "d"}]`)
	bundle := moduleBundle()
	bundle.Main.Content = bytes.Repeat([]byte("const x = 1; // 20 bytes\n"), 1<<20/25)
	bundle.SourceMaps = []wrangler.SourceMap{{Name: "index.js.map", Content: bytes.Repeat([]byte("AAAA,"), 1<<20/5)}}
	b.SetBytes(int64(len(bundle.Main.Content) + len(bundle.SourceMaps[0].Content)))
	for b.Loop() {
		if _, err := wrangler.NewForm(c, bundle, wrangler.Upload{Secrets: map[string]wrangler.Secret{"KEY": "value"}}); err != nil {
			b.Fatal(err)
		}
	}
}

// Secrets that are kept by name are inherited, and with them no others; a PUT keeps all, whatever is asked for.
func TestFormKeepsSecretsByName(t *testing.T) {
	c := formConfig(t, `"vars": {"A": "a"}, "secrets": {"required": ["KEY", "OTHER"]}, "keep_vars": true`)
	upload := wrangler.Upload{Secrets: map[string]wrangler.Secret{"KEY": "k3y"}, Keep: []string{"A", "KEY", "MORE", "OTHER"}}
	form := newForm(t, c, moduleBundle(), upload)
	meta := metadataOf(t, form)
	want := `[{"name":"OTHER","type":"inherit"},{"name":"MORE","type":"inherit"},{"name":"A","type":"plain_text","text":"a"},{"name":"KEY","type":"secret_text","text":"k3y"}]`
	if got := string(meta["bindings"]); got != want {
		t.Errorf("bindings\n got %s\nwant %s", got, want)
	}
	if got := string(meta["keep_bindings"]); got != `["plain_text","json"]` {
		t.Errorf("keep_bindings %s", got)
	}
	upload.Keep = []string{}
	if got := string(metadataOf(t, newForm(t, formConfig(t, ""), moduleBundle(), upload))["keep_bindings"]); got != `[]` {
		t.Errorf("with nothing to keep: keep_bindings %s", got)
	}
	upload.Put = true
	if got := string(metadataOf(t, newForm(t, c, moduleBundle(), upload))["keep_bindings"]); got != `["plain_text","json","secret_text","secret_key"]` {
		t.Errorf("a PUT: keep_bindings %s", got)
	}
}
