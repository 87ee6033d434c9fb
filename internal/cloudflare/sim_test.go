package cloudflare_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"reflect"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

const (
	account = "7f3a0c5e9b1d4826a0e4c2d8f6b19357"
	zone    = "c0ffee5a1bb24e8f9d3c7a6b5e4f3d21"
	d1ID    = "134ea8a4-8582-4fdc-84ec-f0eb8f4e4b60"
)

// simulated is a client for an account on localhost, where every request and answer is held against the OpenAPI description.
func simulated(t *testing.T) (*simtest.World, *cloudflare.Client) {
	t.Helper()
	w := simtest.New(t, sim.Options{})
	a := w.Account(t, account, "kvick-1")
	if err := errors.Join(a.AddZone("kvick.bike", zone), a.AddD1("kvick-helm-swicked", d1ID, "wnam"), a.SetSubdomain("kvick")); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	return w, &cloudflare.Client{
		BaseURL: w.URL, AccountID: account, Token: simtest.Token, Transport: cloudflare.LoopbackOnly(nil),
		Now: func() time.Time { return now },
		Sleep: func(ctx context.Context, d time.Duration) error {
			now = now.Add(d)
			return ctx.Err()
		},
	}
}

// form is a small upload.
func form(t *testing.T, code string, secrets map[string]string) (contentType string, body []byte) {
	t.Helper()
	bindings := []map[string]any{{"name": "DB", "type": "d1", "id": d1ID}}
	for name, text := range secrets {
		bindings = append(bindings, map[string]any{"name": name, "type": "secret_text", "text": text})
	}
	metadata, err := json.Marshal(map[string]any{
		"main_module": "index.js", "bindings": bindings, "compatibility_date": "2026-06-01", "compatibility_flags": []string{},
		"keep_bindings": []string{"secret_text", "secret_key"}, "annotations": map[string]string{"workers/tag": "sf-0123"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for _, part := range []struct{ disposition, contentType, text string }{
		{`form-data; name="metadata"`, "", string(metadata)},
		{`form-data; name="index.js"; filename="index.js"`, "application/javascript+module", code},
	} {
		header := textproto.MIMEHeader{"Content-Disposition": {part.disposition}}
		if part.contentType != "" {
			header.Set("Content-Type", part.contentType)
		}
		p, err := w.CreatePart(header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Write([]byte(part.text)); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return w.FormDataContentType(), buf.Bytes()
}

const code = "export default { fetch() { return new Response('hello') } }"

// The life of a Worker: absent, deployed, released again by id, given secrets and triggers, and gone.
func TestWorkerOnTheSimulator(t *testing.T) {
	_, cf := simulated(t)
	ctx := context.Background()
	const name = "helm-swicked"
	if _, err := cf.Deployments(ctx, name); !errors.Is(err, cloudflare.ErrNotFound) {
		t.Fatalf("before the first deploy: %v", err)
	}
	contentType, body := form(t, code, map[string]string{"SESSION_KEY": "s"})
	must(t, second(cf.PutWorker(ctx, name, contentType, body)))
	contentType, body = form(t, code+"// 2", nil)
	version := try(cf.CreateVersion(ctx, name, contentType, body))(t)
	before := try(cf.Deployments(ctx, name))(t)
	if before[0].Versions[0].VersionID == version.ID {
		t.Error("a version took traffic by being uploaded")
	}
	release := cloudflare.Release{Versions: []cloudflare.Share{{VersionID: version.ID, Percentage: 100}}, Message: "sf-0123"}
	must(t, second(cf.CreateDeployment(ctx, name, release)))
	after := try(cf.Deployments(ctx, name))(t)
	if len(after) != len(before)+1 || !reflect.DeepEqual(after[0].Versions, release.Versions) || after[0].Annotations["workers/message"] != "sf-0123" {
		t.Errorf("deployments %+v", after)
	}
	if v := try(cf.Version(ctx, name, version.ID))(t); v.Annotations["workers/tag"] != "sf-0123" || v.CompatibilityDate != "2026-06-01" || len(v.Bindings) < 1 {
		t.Errorf("version %+v", v)
	}
	if list := try(cf.Versions(ctx, name))(t); len(list) != 2 {
		t.Errorf("versions %+v", list)
	}

	must(t, cf.SecretsBulk(ctx, name, map[string]cloudflare.Secret{"STRIPE_SECRET_KEY": "sk"}, "SESSION_KEY"))
	if secrets := try(cf.Secrets(ctx, name))(t); len(secrets) != 1 || secrets[0] != (cloudflare.SecretName{Name: "STRIPE_SECRET_KEY", Type: "secret_text"}) {
		t.Errorf("secrets %+v", secrets)
	}
	must(t, cf.PatchScriptSettings(ctx, name, cloudflare.ScriptSettings{Tags: []string{"cf:service=helm"}}))
	settings := try(cf.Settings(ctx, name))(t)
	if settings.Tags[0] != "cf:service=helm" || settings.Bindings[0].Name != "DB" {
		t.Errorf("settings %+v", settings)
	}
	if workers := try(cf.Workers(ctx))(t); len(workers) != 1 || workers[0].Name != name || workers[0].Tags[0] != "cf:service=helm" {
		t.Errorf("workers %+v", workers)
	}

	for _, crons := range [][]string{{"0 13 * * *", "0 15 1 * *"}, {}} {
		must(t, cf.PutSchedules(ctx, name, crons))
		if got := try(cf.Schedules(ctx, name))(t); !reflect.DeepEqual(got, crons) {
			t.Errorf("crons %q, want %q", got, crons)
		}
	}
	must(t, cf.SetSubdomain(ctx, name, false, nil))
	if s := try(cf.Subdomain(ctx, name))(t); s.Enabled {
		t.Errorf("subdomain %+v", s)
	}
	if s := try(cf.AccountSubdomain(ctx))(t); s != "kvick" {
		t.Errorf("account subdomain %q", s)
	}
	must(t, cf.DeleteWorker(ctx, name))
	if err := cf.DeleteWorker(ctx, name); !errors.Is(err, cloudflare.ErrNotFound) {
		t.Errorf("a second deletion: %v", err)
	}
}

// A hostname that another Worker holds stays where it is.
func TestHostnamesOnTheSimulator(t *testing.T) {
	_, cf := simulated(t)
	ctx := context.Background()
	contentType, body := form(t, code, nil)
	for _, name := range []string{"helm-a", "helm-b"} {
		must(t, second(cf.PutWorker(ctx, name, contentType, body)))
	}
	origins := []cloudflare.Origin{{Hostname: "helm-a.kvick.bike"}}
	if cs := try(cf.DomainChangeset(ctx, "helm-a", origins))(t); len(cs.Added) != 1 || len(cs.Conflicting) != 0 {
		t.Errorf("changeset %+v", cs)
	}
	must(t, cf.PutDomains(ctx, "helm-a", origins))
	must(t, cf.PutDomains(ctx, "helm-a", origins)) // repeatable
	if err := cf.PutDomains(ctx, "helm-b", origins); !errors.Is(err, cloudflare.ErrConflict) {
		t.Errorf("taking a hostname: %v", err)
	}
	domains := try(cf.Domains(ctx, cloudflare.DomainFilter{Hostname: "helm-a.kvick.bike"}))(t)
	if len(domains) != 1 || domains[0].Service != "helm-a" {
		t.Fatalf("domains %+v", domains)
	}
	must(t, cf.DetachDomain(ctx, domains[0].ID))

	must(t, cf.PutRoutes(ctx, "helm-b", []cloudflare.RoutePattern{{Pattern: "helm-b.kvick.bike/*", ZoneName: "kvick.bike"}}))
	id := try(cf.CreateRoute(ctx, zone, "helm-b.kvick.bike/x/*", "helm-b"))(t)
	if routes := try(cf.ZoneRoutes(ctx, zone))(t); len(routes) != 2 {
		t.Errorf("routes %+v", routes)
	}
	must(t, cf.DeleteRoute(ctx, zone, id))
	if zones := try(cf.Zones(ctx, "kvick.bike"))(t); len(zones) != 1 || zones[0].ID != zone {
		t.Errorf("zones %+v", zones)
	}
	try(cf.DNSRecords(ctx, zone, ""))(t)
}

func TestStoresOnTheSimulator(t *testing.T) {
	_, cf := simulated(t)
	ctx := context.Background()

	before := try(cf.D1Bookmark(ctx, d1ID, time.Time{}))(t)
	results := try(cf.D1Exec(ctx, d1ID, "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2); SELECT a FROM t"))(t)
	if len(results) != 3 || results[1].Meta.Changes != 2 || string(results[2].Rows) != `[{"a":1},{"a":2}]` {
		t.Errorf("results %+v", results)
	}
	if _, err := cf.D1Exec(ctx, d1ID, "INSERT INTO t VALUES (3); INSERT INTO nope VALUES (1)"); err == nil || errors.Is(err, cloudflare.ErrUnknownOutcome) {
		t.Errorf("a batch that fails: %v", err)
	}
	var rows []struct{ N int }
	must(t, try(cf.D1Read(ctx, d1ID, "SELECT count(*) AS n FROM t"))(t).Decode(&rows))
	if len(rows) != 1 || rows[0].N != 2 {
		t.Errorf("rows %+v after a batch that failed", rows)
	}
	restored := try(cf.D1Restore(ctx, d1ID, before))(t)
	if _, err := cf.D1Read(ctx, d1ID, "SELECT * FROM t"); err == nil || restored.Previous == "" {
		t.Errorf("the table is still there after %+v", restored)
	}
	made := try(cf.CreateD1(ctx, cloudflare.D1Database{Name: "helm-new-db", LocationHint: "wnam"}))(t)
	if _, err := cf.CreateD1(ctx, cloudflare.D1Database{Name: "helm-new-db"}); !errors.Is(err, cloudflare.ErrConflict) {
		t.Errorf("the name twice: %v", err)
	}
	if db := try(cf.D1Database(ctx, made.ID))(t); db.Name != "helm-new-db" {
		t.Errorf("database %+v", db)
	}
	if all := try(cf.D1Databases(ctx, ""))(t); len(all) != 2 {
		t.Errorf("databases %+v", all)
	}
	must(t, cf.DeleteD1(ctx, made.ID))
	if _, err := cf.D1Database(ctx, made.ID); !errors.Is(err, cloudflare.ErrNotFound) {
		t.Errorf("after deletion: %v", err)
	}

	must(t, cf.CreateR2Bucket(ctx, cloudflare.R2Bucket{Name: "helm-new-assets", Location: "wnam"}))
	if err := cf.CreateR2Bucket(ctx, cloudflare.R2Bucket{Name: "helm-new-assets"}); !errors.Is(err, cloudflare.ErrConflict) {
		t.Errorf("the bucket twice: %v", err)
	}
	try(cf.R2Bucket(ctx, "helm-new-assets", ""))(t)
	if all := try(cf.R2Buckets(ctx, ""))(t); len(all) != 1 {
		t.Errorf("buckets %+v", all)
	}
	must(t, cf.DeleteR2Bucket(ctx, "helm-new-assets", ""))
	if _, err := cf.R2Bucket(ctx, "helm-new-assets", ""); !errors.Is(err, cloudflare.ErrNotFound) {
		t.Errorf("after deletion: %v", err)
	}

	kv := try(cf.CreateKVNamespace(ctx, "helm-new-kv"))(t)
	if _, err := cf.CreateKVNamespace(ctx, "helm-new-kv"); !errors.Is(err, cloudflare.ErrConflict) {
		t.Errorf("the title twice: %v", err)
	}
	if all := try(cf.KVNamespaces(ctx))(t); len(all) != 1 || all[0] != kv {
		t.Errorf("namespaces %+v", all)
	}
	must(t, cf.DeleteKVNamespace(ctx, kv.ID))
	if status := try(cf.VerifyToken(ctx))(t); status.Status != "active" {
		t.Errorf("token %+v", status)
	}
	if accounts := try(cf.Accounts(ctx))(t); len(accounts) != 1 || accounts[0].ID != account {
		t.Errorf("accounts %+v", accounts)
	}
}

// An answer that is lost after its effect: a write that adds is reported as unknown and was made once.
func TestLostAnswersOnTheSimulator(t *testing.T) {
	w, cf := simulated(t)
	ctx := context.Background()
	for _, tc := range []struct {
		rule    sim.Rule
		outcome cloudflare.Outcome
		made    int
	}{
		{sim.Rule{Method: http.MethodPost, Path: "/d1/database$", Status: 429}, -1, 1},
		{sim.Rule{Method: http.MethodPost, Path: "/d1/database$", Drop: sim.DropAfter}, cloudflare.Unknown, 1},
		{sim.Rule{Method: http.MethodPost, Path: "/d1/database$", Drop: sim.DropBefore}, cloudflare.Unknown, 0},
	} {
		if _, err := w.Fault(tc.rule); err != nil {
			t.Fatal(err)
		}
		_, err := cf.CreateD1(ctx, cloudflare.D1Database{Name: "helm-new-db"})
		var e *cloudflare.Error
		if errors.As(err, &e) != (tc.outcome >= 0) || e != nil && e.Outcome != tc.outcome {
			t.Errorf("%+v: %v", tc.rule, err)
		}
		found := try(cf.D1Databases(ctx, "helm-new-db"))(t)
		if len(found) != tc.made {
			t.Errorf("%+v: %d were made", tc.rule, len(found))
		}
		for _, db := range found {
			must(t, cf.DeleteD1(ctx, db.ID))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func second[T any](_ T, err error) error { return err }

// try returns v to a test that goes on only without an error.
func try[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		must(t, err)
		return v
	}
}

func TestIdentityCalls(t *testing.T) {
	w, c := simulated(t)
	a := w.Account(t, account, "kvick-1")
	if err := errors.Join(a.AddKV("helm-swicked-kv", "a1f0c3d2e4b5968778695a4b3c2d1e0f"), a.AddR2("helm-swicked-assets")); err != nil {
		t.Fatal(err)
	}
	ctx, kv, bucket := t.Context(), "a1f0c3d2e4b5968778695a4b3c2d1e0f", "helm-swicked-assets"
	if _, err := c.KVValue(ctx, kv, "shop_identity"); !errors.Is(err, cloudflare.ErrNotFound) {
		t.Errorf("a key that does not exist: %v", err)
	}
	if _, err := c.R2Object(ctx, bucket, "", "shop_identity"); !errors.Is(err, cloudflare.ErrNotFound) {
		t.Errorf("an object that does not exist: %v", err)
	}
	if err := errors.Join(c.PutKVValue(ctx, kv, "shop_identity", "swicked"), c.PutR2Object(ctx, bucket, "", "shop_identity", []byte("swicked"))); err != nil {
		t.Fatal(err)
	}
	value, err := c.KVValue(ctx, kv, "shop_identity")
	object, err2 := c.R2Object(ctx, bucket, "", "shop_identity")
	if err != nil || err2 != nil || value != "swicked" || string(object) != "swicked" {
		t.Errorf("read back %q, %v and %q, %v", value, err, object, err2)
	}

	tags, err := c.Tags(ctx, "kv_namespace", kv)
	if err != nil || len(tags.Tags) != 0 {
		t.Fatalf("Tags = %v, %v", tags, err)
	}
	tags.Tags = map[string]string{"shop": "swicked", "team": "pos"}
	if err := c.PutTags(ctx, tags); err != nil {
		t.Fatal(err)
	}
	if err := c.PutTags(ctx, tags); !errors.Is(err, cloudflare.ErrConflict) {
		t.Errorf("writing over tags that changed since: %v", err)
	}
	list, err := c.TaggedResources(ctx, "shop")
	if err != nil || len(list) != 1 || list[0].ID != kv || list[0].Type != "kv_namespace" || list[0].Tags["shop"] != "swicked" {
		t.Errorf("TaggedResources = %v, %v", list, err)
	}
	if list, err := c.TaggedResources(ctx, "nobody"); err != nil || len(list) != 0 {
		t.Errorf("TaggedResources of another key = %v, %v", list, err)
	}

	if _, err := c.WorkerContent(ctx, "helm-swicked"); !errors.Is(err, cloudflare.ErrNotFound) {
		t.Errorf("the code of no Worker: %v", err)
	}
	contentType, body := form(t, "export default { fetch() {} }", nil)
	if _, err := c.PutWorker(ctx, "helm-swicked", contentType, body); err != nil {
		t.Fatal(err)
	}
	code, err := c.WorkerContent(ctx, "helm-swicked")
	want := cloudflare.Content{Main: "index.js", Modules: []cloudflare.ContentModule{{Name: "index.js", ContentType: "application/javascript+module", Body: []byte("export default { fetch() {} }")}}}
	if err != nil || !reflect.DeepEqual(code, want) {
		t.Errorf("WorkerContent = %v, %v", code, err)
	}
}
