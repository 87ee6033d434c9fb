package cloudflare

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"testing"
	"time"
)

// Uploads go where wrangler's go, with the form as it is.
func TestUploadsLikeWrangler(t *testing.T) {
	ctx := context.Background()
	form, contentType := sampleForm(t)
	for _, tc := range []struct {
		file, method, path string
		do                 func(c *Client) (any, error)
	}{
		{"deploy-first", "PUT", "/workers/scripts/helm-swicked", func(c *Client) (any, error) {
			u, err := c.PutWorker(ctx, "helm-swicked", contentType, form)
			return u.DeploymentID, err
		}},
		{"deploy-redeploy", "POST", "/versions", func(c *Client) (any, error) {
			v, err := c.CreateVersion(ctx, "helm-swicked", contentType, form)
			return v.ID, err
		}},
	} {
		rec := decodeContract[recording](t, "recordings/"+tc.file+".json")
		call := rec.Calls[find(rec, tc.method, tc.path)]
		w := newWorld(t, script(answer{status: call.Response.Status, body: string(call.Response.Body)}))
		id, err := tc.do(w.Client)
		if err != nil || id == "" {
			t.Errorf("%s: %v, %v", tc.file, id, err)
		}
		r := w.requests()[0]
		query := url.Values{}
		for k, v := range call.Query {
			query.Set(k, v)
		}
		if r.Method != call.Method || r.Path != call.Path || r.Query != query.Encode() || r.Body != string(form) || r.Header.Get("Content-Type") != contentType {
			t.Errorf("%s: sent %+v", tc.file, r)
		}
	}
}

func TestVersionReadsBothSpellings(t *testing.T) {
	w := newWorld(t, script(
		ok(`{"id":"v","number":3,"metadata":{"created_on":"2026-11-23T14:41:18.216Z","author_email":"dev@example.com","source":"wrangler","has_preview":true},`+
			`"annotations":{"workers/tag":"t"},"resources":{"script":{"etag":"e","handlers":["fetch"]},"script_runtime":{"compatibility_date":"2026-06-01","compatibility_flags":["nodejs_compat"]},`+
			`"bindings":[{"type":"d1","name":"DB","id":"x"}]},"startup_time_ms":12}`),
		ok(`{"id":"v","metadata":{"hasPreview":true}}`),
	))
	v, err := w.Version(context.Background(), "helm", "v")
	want := Version{
		ID: "v", Number: 3, CreatedOn: time.Date(2026, 11, 23, 14, 41, 18, 216e6, time.UTC), AuthorEmail: "dev@example.com", Source: "wrangler", HasPreview: true,
		Annotations: map[string]string{"workers/tag": "t"}, Etag: "e", Handlers: []string{"fetch"}, CompatibilityDate: "2026-06-01", CompatibilityFlags: []string{"nodejs_compat"},
		Bindings: []Binding{{"DB", "d1", json.RawMessage(`{"type":"d1","name":"DB","id":"x"}`)}}, StartupTime: 12 * time.Millisecond,
	}
	if err != nil || !reflect.DeepEqual(v, want) {
		t.Errorf("got %+v, %v\nwant %+v", v, err, want)
	}
	if v, err = w.Version(context.Background(), "helm", "v"); err != nil || !v.HasPreview {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestWorkersKeepWhatTheTypedCallLoses(t *testing.T) {
	w := newWorld(t, script(ok(`[{"id":"helm-swicked","tag":"84f6","tags":["cf:service=helm"],"etag":"516c","migration_tag":"v1","last_deployed_from":"dash",`+
		`"modified_on":"2026-11-23T14:57:54.111Z","has_assets":true,"logpush":false,"routes":[{"id":"r","pattern":"x/*","script":"helm-swicked"}],"observability":{"enabled":true},"tail_consumers":null}]`)))
	workers, err := w.Workers(context.Background())
	if err != nil || len(workers) != 1 {
		t.Fatal(workers, err)
	}
	got := workers[0]
	if got.Name != "helm-swicked" || got.Tag != "84f6" || got.Tags[0] != "cf:service=helm" || got.Etag != "516c" || got.MigrationTag != "v1" || got.LastDeployedFrom != "dash" ||
		!got.HasAssets || got.Routes[0] != (Route{"r", "x/*", "helm-swicked"}) || string(got.Observability) != `{"enabled":true}` {
		t.Errorf("got %+v", got)
	}
}

func TestForceIsAskedFor(t *testing.T) {
	w := newWorld(t, script(no(400, 10220, "x. The following secrets have changed: API_KEY"), ok(`{"id":"d"}`)))
	release := Release{Versions: []Share{{"84bbf71a-be69-40e8-ac34-b6ba4a0fc0b5", 100}}, Message: "sf-1"}
	if _, err := w.CreateDeployment(context.Background(), "helm", release); asError(t, err).Code != 10220 || asError(t, err).Hint() == "" {
		t.Errorf("got %v", err)
	}
	release.Force = true
	if _, err := w.CreateDeployment(context.Background(), "helm", release); err != nil {
		t.Error(err)
	}
	if r := w.requests(); r[0].Query != "" || r[1].Query != "force=true" {
		t.Errorf("asked %q, then %q", r[0].Query, r[1].Query)
	}
	if want := `{"strategy":"percentage","versions":[{"version_id":"84bbf71a-be69-40e8-ac34-b6ba4a0fc0b5","percentage":100}],` +
		`"annotations":{"workers/message":"sf-1"},"code_update_strategy":{"mode":"deferred","max_delay":300}}`; !sameJSON(w.requests()[1].Body, want) {
		t.Errorf("sent %s", w.requests()[1].Body)
	}
}

func TestSecretsBulkSetsOrRemoves(t *testing.T) {
	w := newWorld(t, script(ok(`null`)))
	if err := w.SecretsBulk(context.Background(), "helm", map[string]Secret{"A": "x"}, "A"); !errors.Is(err, ErrArgument) || len(w.requests()) != 0 {
		t.Errorf("both at once: %v", err)
	}
	if err := w.SecretsBulk(context.Background(), "helm", nil, "A"); err != nil || w.requests()[0].Body != `{"secrets":{"A":null}}` {
		t.Errorf("%v, sent %+v", err, w.requests())
	}
}

func TestVerifyTokenOfAnAccount(t *testing.T) {
	notAUsers := no(401, 1000, "Invalid API Token")
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/client/v4/user/tokens/verify" {
			notAUsers.write(rw)
			return
		}
		ok(`{"id":"acc","status":"active","expires_on":"2027-01-01T00:00:00Z"}`).write(rw)
	})
	status, err := w.VerifyToken(context.Background())
	if err != nil || status.ID != "acc" || status.ExpiresOn.Year() != 2027 || w.requests()[1].Path != "/accounts/"+testAccount+"/tokens/verify" {
		t.Errorf("%+v, %v", status, err)
	}
	w = newWorld(t, script(notAUsers))
	w.AccountID = ""
	if _, err := w.VerifyToken(context.Background()); !errors.Is(err, ErrUnauthorized) || len(w.requests()) != 1 {
		t.Errorf("without an account: %v", err)
	}
}

func TestTriggersAreRead(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		results := map[string]string{
			"/schedules": `{"schedules":[{"cron":"0 13 * * *","created_on":"2026-11-23T15:03:59.501Z"},{"cron":"0 14 * * mon"}]}`,
			"/domains":   `[{"id":"dom1","hostname":"a.kvick.bike","service":"helm-a","zone_id":"z","zone_name":"kvick.bike","environment":"production","enabled":false}]`,
			"/routes":    `[{"id":"r1","pattern":"a/*","script":"helm-a"},{"id":"r2","pattern":"b/*"}]`,
			"ns_records": `[{"id":"n","type":"CNAME","name":"a.kvick.bike","content":"x.example","ttl":1,"proxied":true,"comment":"c"},{"id":"m","type":"TXT","name":"a.kvick.bike","content":"t","ttl":300}]`,
			"subdomain":  `{"enabled":true,"previews_enabled":true}`,
		}
		for suffix, result := range results {
			if len(r.URL.Path) > len(suffix) && r.URL.Path[len(r.URL.Path)-len(suffix):] == suffix {
				ok(result).write(rw)
			}
		}
	})
	if crons, err := w.Schedules(ctx, "helm"); err != nil || !reflect.DeepEqual(crons, []string{"0 13 * * *", "0 14 * * mon"}) {
		t.Errorf("Schedules: %v, %v", crons, err)
	}
	domains, err := w.Domains(ctx, DomainFilter{Hostname: "a.kvick.bike", Service: "helm-a", ZoneID: "z"})
	if err != nil || len(domains) != 1 || domains[0].Service != "helm-a" || domains[0].Enabled == nil || *domains[0].Enabled || domains[0].PreviewsEnabled != nil {
		t.Errorf("Domains: %+v, %v", domains, err)
	}
	if q := w.requests()[1].Query; q != "hostname=a.kvick.bike&service=helm-a&zone_id=z" {
		t.Errorf("Domains asked %s", q)
	}
	if routes, err := w.ZoneRoutes(ctx, "z"); err != nil || !reflect.DeepEqual(routes, []Route{{"r1", "a/*", "helm-a"}, {"r2", "b/*", ""}}) {
		t.Errorf("ZoneRoutes: %v, %v", routes, err)
	}
	records, err := w.DNSRecords(ctx, "z", "a.kvick.bike")
	want := []DNSRecord{{ID: "n", Type: "CNAME", Name: "a.kvick.bike", Content: "x.example", Comment: "c", TTL: 1, Proxied: true}, {ID: "m", Type: "TXT", Name: "a.kvick.bike", Content: "t", TTL: 300}}
	if err != nil || !reflect.DeepEqual(records, want) {
		t.Errorf("DNSRecords: %+v, %v", records, err)
	}
	if q, _ := url.ParseQuery(w.requests()[3].Query); q.Get("name") != "a.kvick.bike" {
		t.Errorf("DNSRecords asked %v", q)
	}
	if s, err := w.Subdomain(ctx, "helm"); err != nil || s != (Subdomain{true, true}) {
		t.Errorf("Subdomain: %+v, %v", s, err)
	}
}
