package sim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/sim"
)

func TestPutDeploysVersionDoesNot(t *testing.T) {
	c := shop(t, sim.Options{})
	put := c.ok("PUT", script+"?excludeScript=true&bindings_inherit=strict", c.worker(nil, map[string]any{
		"annotations": map[string]any{"workers/tag": "v1", "workers/message": "first"},
	}))
	live := c.live()
	if len(live) != 1 || strings.ReplaceAll(live[0], "-", "") != put.text("deployment_id") {
		t.Fatalf("live %v, PUT said deployment_id %s", live, put.text("deployment_id"))
	}
	v := c.ok("GET", script+"/versions/"+live[0], nil)
	if a, _ := v.get("annotations").(map[string]any); a["workers/tag"] != "v1" || a["workers/message"] != "first" || a["workers/triggered_by"] != "upload" {
		t.Errorf("annotations %v", a)
	}

	second := c.ok("POST", script+"/versions", c.worker(nil, nil)).text("id")
	if now := c.live(); len(now) != 1 || now[0] != live[0] {
		t.Errorf("uploading a version changed what is live: %v", now)
	}
	if n := c.ok("GET", script+"/versions?deployable=true", nil).len("items"); n != 2 {
		t.Errorf("%d versions, want 2", n)
	}
	if first := c.ok("GET", script+"/versions?deployable=true", nil).text("items.0.id"); first != second {
		t.Errorf("the newest version is not first")
	}
}

func TestVersionNeedsAWorkerInModuleSyntax(t *testing.T) {
	c := shop(t, sim.Options{})
	c.refused(404, 10007, "POST", script+"/versions", c.worker(nil, nil))
	old := newForm(t, map[string]any{"body_part": "script", "bindings": []any{}},
		part{"script", "application/javascript", "addEventListener('fetch', e => e.respondWith(new Response('x')))"})
	c.ok("PUT", script, old)
	c.refused(400, 10021, "POST", script+"/versions", old)
	if v := c.ok("GET", "/accounts/"+accountID+"/workers/scripts", nil); v.get("0.has_modules") != false {
		t.Errorf("a service worker is listed as made of modules")
	}
}

func TestUploadRefusals(t *testing.T) {
	c := shop(t, sim.Options{})
	index := part{"index.js", module, hello}
	meta := func(pairs ...any) map[string]any {
		m := map[string]any{"main_module": "index.js"}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
		return m
	}
	tests := []struct {
		name string
		form *form
		code int
		text string
	}{
		{"no metadata", newForm(t, nil, index), 10021, "metadata"},
		{"neither main_module nor body_part", newForm(t, map[string]any{"bindings": []any{}}, index), 10021, "main_module"},
		{"main module is not a part", newForm(t, meta("main_module", "other.js"), index), 10021, "other.js"},
		{"main module of the wrong type", newForm(t, meta(), part{"index.js", "application/javascript", hello}), 10021, "Content-Type"},
		{"part of an unknown type", newForm(t, meta(), index, part{"a.css", "text/css", "x"}), 10021, "text/css"},
		{"part twice", newForm(t, meta(), index, index), 10021, "more than once"},
		{"does not parse", newForm(t, meta(), part{"index.js", module, "export default {"}), 10021, "SyntaxError"},
		{"imports a module that is not there", newForm(t, meta(), part{"index.js", module, "import x from './lib.js'; export default x"}), 10021, `No such module "lib.js"`},
		{"exports nothing", newForm(t, meta(), part{"index.js", module, "console.log(1)"}), 10068, "event handlers"},
		{"bad compatibility date", newForm(t, meta("compatibility_date", "2026-13-01"), index), 10021, "2026-13-01"},
		{"binding without name", newForm(t, meta("bindings", []any{map[string]any{"type": "plain_text"}}), index), 10021, "name"},
		{"binding twice", newForm(t, meta("bindings", []any{binding("A", "plain_text", "text", "1"), binding("A", "plain_text", "text", "2")}), index), 10053, "'A'"},
		{"D1 id that is no uuid", newForm(t, meta("bindings", []any{binding("DB", "d1", "id", "nope")}), index), 10021, "binding DB of type d1 must have a valid `id` specified"},
		{"D1 database of nobody", newForm(t, meta("bindings", []any{binding("DB", "d1", "id", "00000000-0000-4000-8000-000000000000")}), index), 10181, "D1"},
		{"KV namespace of nobody", newForm(t, meta("bindings", []any{binding("KV", "kv_namespace", "namespace_id", strings.Repeat("0", 32))}), index), 10041, "KV"},
		{"R2 bucket of nobody", newForm(t, meta("bindings", []any{binding("B", "r2_bucket", "bucket_name", "nope")}), index), 10085, "R2"},
		{"service of nobody", newForm(t, meta("bindings", []any{binding("S", "service", "service", "nope")}), index), 10144, "nope"},
		{"queue of nobody", newForm(t, meta("bindings", []any{binding("Q", "queue", "queue_name", "nope")}), index), 11000, "nope"},
		{"Durable Object without migration", newForm(t, meta("bindings", []any{binding("R", "durable_object_namespace", "class_name", "Room")}), index), 10061, "Room"},
		{"migrations and exports", newForm(t, meta("migrations", map[string]any{"new_tag": "v1"}, "exports", map[string]any{"Room": map[string]any{"type": "durable-object"}}), index), 10021, "exclusive"},
		{"assets token that is none", newForm(t, meta("assets", map[string]any{"jwt": "nope"}), index), 10000, "token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := c.send(c.raw, "PUT", script, tt.form)
			if err != nil {
				t.Fatal(err)
			}
			if a.Success || len(a.Errors) == 0 || a.Errors[0].Code != tt.code || !strings.Contains(a.Errors[0].Message, tt.text) {
				t.Errorf("HTTP %d %s; want code %d and %q", a.Status, a.Body, tt.code, tt.text)
			}
		})
	}
	c.refused(415, 10001, "PUT", script, `{"main_module":"index.js"}`)
	c.refused(404, 10007, "GET", script+"/settings", nil)
}

func TestModulesThatResolve(t *testing.T) {
	c := shop(t, sim.Options{})
	c.ok("PUT", script, newForm(t, map[string]any{"main_module": "index.js", "bindings": []any{}},
		part{"index.js", module, "import a from './lib/a.js'; import t from './abc-t.txt'; import fs from 'node:fs'; import os from 'os'; import { DurableObject } from 'cloudflare:workers'; export default { fetch() {} }"},
		part{"lib/a.js", module, "import b from '../b.js'; export default b"},
		part{"b.js", module, "export default 1"},
		part{"./abc-t.txt", "text/plain", "text"},
		part{"index.js.map", "application/source-map", "{}"}))
	a, err := c.send(c.w.URL, "GET", script, nil)
	if err != nil || a.Status != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), "multipart/form-data") || !strings.Contains(string(a.Body), "export default b") {
		t.Errorf("download: %v HTTP %d %s", err, a.Status, a.Header.Get("Content-Type"))
	}
}

func TestInheritance(t *testing.T) {
	c := shop(t, sim.Options{})
	c.ok("PUT", script, c.worker([]any{
		binding("DB", "d1", "id", d1ID), binding("KV", "kv_namespace", "namespace_id", kvID), binding("MODE", "plain_text", "text", "a"),
		binding("KEY", "secret_text", "text", "s3cret"),
	}, nil))

	t.Run("inherit resolves to the version before", func(t *testing.T) {
		c.deploy([]any{binding("DB", "inherit"), binding("STORE", "inherit", "old_name", "KV")}, nil)
		got := c.bindings()
		if got["DB"]["type"] != "d1" || got["DB"]["id"] != d1ID {
			t.Errorf("DB is %v", got["DB"])
		}
		if got["STORE"]["namespace_id"] != kvID {
			t.Errorf("STORE is %v", got["STORE"])
		}
		if got["MODE"] != nil || got["KV"] != nil {
			t.Errorf("bindings that were not asked for are still there: %v", got)
		}
	})
	t.Run("strict names everything that is missing", func(t *testing.T) {
		before := c.live()
		a := c.refused(400, 10057, "POST", script+"/versions?bindings_inherit=strict", c.worker([]any{binding("A", "inherit"), binding("B", "inherit")}, nil))
		if len(a.Errors) != 2 || !strings.Contains(a.Errors[0].Message, "inherit binding 'A' is invalid") || a.Errors[1].Code != 10057 {
			t.Errorf("errors %v", a.Errors)
		}
		if after := c.live(); after[0] != before[0] {
			t.Errorf("a refused upload changed what is live")
		}
	})
	t.Run("without strict what is missing is dropped", func(t *testing.T) {
		id := c.ok("POST", script+"/versions", c.worker([]any{binding("A", "inherit"), binding("DB", "inherit")}, nil)).text("id")
		if n := c.ok("GET", script+"/versions/"+id, nil).len("resources.bindings"); n != 1 {
			t.Errorf("%d bindings, want 1", n)
		}
	})
	t.Run("keep_bindings keeps types", func(t *testing.T) {
		c.deploy([]any{binding("DB", "d1", "id", d1ID), binding("MODE", "plain_text", "text", "b"), binding("N", "json", "json", 1)}, nil)
		c.deploy([]any{binding("DB", "d1", "id", d1ID)}, map[string]any{"keep_bindings": []string{"plain_text", "json", "secret_text"}})
		if got := c.bindings(); got["MODE"]["text"] != "b" || got["N"]["json"] != float64(1) {
			t.Errorf("bindings %v", got)
		}
	})
}

func TestSecretsSurviveUploads(t *testing.T) {
	c := shop(t, sim.Options{})
	c.ok("PUT", script, c.worker(nil, nil))
	c.ok("PUT", script+"/secrets", map[string]any{"name": "SESSION_KEY", "text": "s3cret-value", "type": "secret_text"})
	has := func() bool { return c.bindings()["SESSION_KEY"] != nil }

	c.deploy(nil, nil)
	if !has() {
		t.Fatal("a version upload that keeps secrets lost them")
	}
	c.ok("PUT", script, c.worker(nil, nil))
	if !has() {
		t.Fatal("a PUT lost the secrets")
	}
	if b := c.bindings()["SESSION_KEY"]; len(b) != 2 {
		t.Errorf("settings show %v, want name and type only", b)
	}
	for _, path := range []string{script + "/settings", script + "/secrets", script + "/versions/" + c.live()[0]} {
		if a := c.ok("GET", path, nil); strings.Contains(string(a.Body), "s3cret-value") {
			t.Errorf("GET %s gives the value away", path)
		}
	}
	c.ok("POST", script+"/versions", c.worker(nil, nil)) // asks for nothing, so keeps nothing
	if has() {
		t.Error("a version upload without keep_bindings kept secrets")
	}
}

const room = "export class Room {}; export class Lobby {}; export default { fetch() {} }"

func TestDurableObjectMigrations(t *testing.T) {
	c := shop(t, sim.Options{})
	upload := func(code string, migrations any, bindings ...any) *form {
		m := map[string]any{"main_module": "index.js", "bindings": emptyList(bindings)}
		if migrations != nil {
			m["migrations"] = migrations
		}
		return newForm(t, m, part{"index.js", module, code})
	}
	step := func(pairs ...any) map[string]any { return binding("", "", pairs...) }
	clean := func(m map[string]any) map[string]any { delete(m, "name"); delete(m, "type"); return m }
	v1 := map[string]any{"new_tag": "v1", "steps": []any{clean(step("new_sqlite_classes", []string{"Room"}))}}
	use := binding("ROOM", "durable_object_namespace", "class_name", "Room")

	c.ok("PUT", script, upload(room, v1, use))
	if tag := c.ok("GET", "/accounts/"+accountID+"/workers/services/helm-swicked", nil).text("default_environment.script.migration_tag"); tag != "v1" {
		t.Errorf("migration_tag %q, want v1", tag)
	}
	c.refused(412, 10079, "PUT", script, upload(room, v1, use)) // old_tag is not v1
	c.refused(400, 10074, "PUT", script, upload(room, map[string]any{"old_tag": "v1", "new_tag": "v2", "steps": v1["steps"]}, use))
	c.refused(400, 10064, "PUT", script, upload(hello, nil)) // no longer exports Room
	c.refused(400, 10061, "PUT", script, upload(room, nil, binding("L", "durable_object_namespace", "class_name", "Lobby")))
	c.refused(400, 10021, "POST", script+"/versions", upload(room, map[string]any{"old_tag": "v1", "new_tag": "v2"}, use))

	rename := map[string]any{"old_tag": "v1", "new_tag": "v2", "steps": []any{map[string]any{"renamed_classes": []any{map[string]any{"from": "Room", "to": "Lobby"}}}}}
	ids := func() map[string]any {
		out := map[string]any{}
		a := c.ok("GET", "/accounts/"+accountID+"/workers/durable_objects/namespaces", nil)
		for i := range a.len("") {
			out[a.text(fmt.Sprintf("%d.class", i))] = a.get(fmt.Sprintf("%d.id", i))
		}
		return out
	}
	before := ids()["Room"]
	c.ok("PUT", script, upload(room, rename, binding("L", "durable_object_namespace", "class_name", "Lobby")))
	if after := ids(); after["Lobby"] != before || after["Room"] != nil {
		t.Errorf("after the rename the namespaces are %v, before Room was %v", after, before)
	}
	c.ok("PUT", script, upload(hello, map[string]any{"old_tag": "v2", "new_tag": "v3", "deleted_classes": []string{"Lobby"}}))
	if left := ids(); len(left) != 0 {
		t.Errorf("after deleting the class: %v", left)
	}
}

func TestDurableObjectTransfer(t *testing.T) {
	c := shop(t, sim.Options{})
	upload := func(code string, migrations any) *form {
		return newForm(t, map[string]any{"main_module": "index.js", "bindings": []any{}, "migrations": migrations}, part{"index.js", module, code})
	}
	c.ok("PUT", workers+"/scripts/old", upload(room, map[string]any{"new_tag": "v1", "new_sqlite_classes": []string{"Room"}}))
	from := map[string]any{"from": "Room", "from_script": "old", "to": "Lobby"}
	c.refused(400, 10061, "PUT", script, upload(room, map[string]any{"new_tag": "v1", "transferred_classes": []any{map[string]any{"from": "Nope", "from_script": "old", "to": "Lobby"}}}))
	c.ok("PUT", script, upload(room, map[string]any{"new_tag": "v1", "transferred_classes": []any{from}}))
	a := c.ok("GET", workers+"/durable_objects/namespaces", nil)
	if a.len("") != 1 || a.text("0.script") != "helm-swicked" || a.text("0.class") != "Lobby" {
		t.Errorf("namespaces %s", a.Body)
	}
}

func TestEtagFollowsTheCode(t *testing.T) {
	c := shop(t, sim.Options{})
	c.ok("PUT", script, c.worker(nil, nil))
	etag := func(f *form) string { return c.ok("POST", script+"/versions", f).text("resources.script.etag") }
	a, b := etag(c.worker(nil, nil)), etag(c.worker([]any{binding("X", "plain_text", "text", "1")}, nil))
	if a != b || a == "" {
		t.Errorf("same code, etags %q and %q", a, b)
	}
	other := newForm(t, map[string]any{"main_module": "index.js", "bindings": []any{}}, part{"index.js", module, hello + "// more\n"})
	if etag(other) == a {
		t.Error("other code, same etag")
	}
}

func TestPatchSettings(t *testing.T) {
	c := shop(t, sim.Options{})
	c.ok("PUT", script, c.worker([]any{binding("MODE", "plain_text", "text", "a"), binding("KEY", "secret_text", "text", "x")}, nil))
	before := c.live()
	patch := func(settings map[string]any) *form {
		raw, _ := json.Marshal(settings)
		return newForm(t, nil, part{"settings", "application/json", string(raw)})
	}
	c.ok("PATCH", script+"/settings", patch(map[string]any{"bindings": []any{binding("MODE", "plain_text", "text", "b")}}))
	if got := c.bindings(); got["MODE"]["text"] != "b" || got["KEY"] == nil {
		t.Errorf("bindings %v", got)
	}
	if after := c.live(); after[0] == before[0] {
		t.Error("an edit of the settings did not make a version of its own")
	}
	c.ok("POST", script+"/versions", c.worker(nil, nil))
	c.refused(400, 10214, "PATCH", script+"/settings", patch(map[string]any{"compatibility_date": "2026-01-01"}))
}

func TestScriptSettingsAreNotVersioned(t *testing.T) {
	c := shop(t, sim.Options{})
	c.ok("PUT", script, c.worker(nil, map[string]any{"observability": map[string]any{"enabled": true}}))
	before := c.live()
	tags := []string{"cf:service=helm", "cf:environment=swicked"}
	c.ok("PATCH", script+"/script-settings", map[string]any{"tags": tags})
	service := c.ok("GET", "/accounts/"+accountID+"/workers/services/helm-swicked", nil)
	if got := fmt.Sprint(service.get("default_environment.script.tags")); got != fmt.Sprint(tags) {
		t.Errorf("services shows tags %s", got)
	}
	// A version carries observability along, but it belongs to the Worker.
	c.ok("POST", script+"/versions", c.worker(nil, map[string]any{"observability": map[string]any{"enabled": false}}))
	if on := c.ok("GET", script+"/script-settings", nil).get("observability.enabled"); on != true {
		t.Errorf("uploading a version changed observability to %v", on)
	}
	c.ok("PATCH", script+"/script-settings", map[string]any{"observability": map[string]any{"enabled": false}})
	if on := c.ok("GET", script+"/settings", nil).get("observability.enabled"); on != false {
		t.Errorf("observability.enabled is %v", on)
	}
	if after := c.live(); after[0] != before[0] {
		t.Error("script settings made a deployment")
	}
	list := c.ok("GET", "/accounts/"+accountID+"/workers/scripts?tags=cf:service%3Dhelm:yes", nil)
	if list.len("") != 1 {
		t.Errorf("filtering by tag found %d Workers", list.len(""))
	}
	if n := c.ok("GET", "/accounts/"+accountID+"/workers/scripts?tags=cf:service%3Dhelm:no", nil).len(""); n != 0 {
		t.Errorf("filtering the tag out found %d Workers", n)
	}
}
