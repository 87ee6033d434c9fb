package sim_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// seed builds the account that a recording found: its stores always, its Worker when the recording met one, with as
// many versions and deployments as it saw.
func (r *replayer) seed(name string, rec *recording) {
	t := r.t
	a := r.w.Account(t, recAccount, "Recorded Account")
	if err := a.AddZone("kvick.bike", replayZone); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		a.AddD1("helm-swicked-db", recD1, "wnam"), a.AddKV("helm-swicked-cache", recKV), a.AddR2("helm-swicked-assets"),
		a.SetSubdomain(recSubdomain), a.AddQueue("my-queue"), a.AddDispatchNamespace("ns1"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, helper := range []string{"other-worker", "outw", "tailer", "someone-else"} {
		r.put(helper, nil)
	}
	r.upload("PUT", "/accounts/"+recAccount+"/workers/scripts/other-worker", map[string]any{
		"migrations": map[string]any{"new_tag": "v1", "new_sqlite_classes": []string{"Other"}},
	})
	met, existed := r.existing(rec)
	if !existed {
		return
	}
	if first := follows[name]; first != "" {
		earlier := load(t, filepath.Join(recordings, first+".json"))
		if _, existed := r.existing(earlier); existed {
			r.put(met, r.before(earlier))
		}
		for _, c := range earlier.Calls {
			_, answer := r.send(c)
			r.learn(c.Response.Body, answer)
		}
		return
	}
	r.put(met, r.before(rec))
	if strings.HasPrefix(name, "rollback") || strings.HasPrefix(name, "versions-") || strings.HasPrefix(name, "deployments-") || name == "deploy-over-split" {
		r.history(met, rec)
	}
	switch name {
	case "deploy-domain-conflicts-tty", "deploy-domain-conflicts-non-tty":
		r.call("PUT", "/accounts/"+recAccount+"/workers/domains", map[string]any{"hostname": "other.kvick.bike", "service": "someone-else"})
		r.call("POST", "/zones/"+replayZone+"/dns_records", map[string]any{"type": "A", "name": "dns.kvick.bike", "content": "192.0.2.1", "ttl": 1})
	case "rollback-secret-changed-10220":
		r.call("PUT", "/accounts/"+recAccount+"/workers/scripts/"+met+"/secrets", map[string]any{"name": "A", "text": "new", "type": "secret_text"})
	}
	if name == "secret-delete" {
		r.call("PUT", "/accounts/"+recAccount+"/workers/scripts/"+met+"/secrets", map[string]any{"name": "A", "text": "x", "type": "secret_text"})
	}
	if name == "versions-upload-with-preview" || name == "deploy-workers-dev-true-previews-nocrons" {
		r.call("POST", "/accounts/"+recAccount+"/workers/scripts/"+met+"/subdomain", map[string]any{"enabled": true, "previews_enabled": true})
	}
}

// follows are recordings that go on where another one ended.
var follows = map[string]string{
	"deploy-assets-unchanged": "deploy-assets-first", "deploy-do-new-migration": "deploy-do-first", "deploy-do-nochange": "deploy-do-first",
	"deploy-all-bindings-again": "deploy-all-bindings", "deploy-provision-noids-again": "deploy-provision-noids",
}

var scriptInPath = regexp.MustCompile(`/workers/(?:services|scripts)/([^/?]+)`)

// existing finds the Worker that the recording works on and whether its first call about it found it.
func (r *replayer) existing(rec *recording) (string, bool) {
	for _, c := range rec.Calls {
		if m := scriptInPath.FindStringSubmatch(c.Path); m != nil {
			return m[1], c.Response.Status != 404
		}
	}
	return "", false
}

// before are the bindings that the recording saw in settings.
func (r *replayer) before(rec *recording) json.RawMessage {
	for _, c := range rec.Calls {
		if strings.HasSuffix(c.Path, "/settings") {
			var env struct {
				Result struct {
					Bindings []map[string]any `json:"bindings"`
				} `json:"result"`
			}
			if json.Unmarshal(c.Response.Body, &env) != nil {
				return nil
			}
			list := []map[string]any{}
			for _, b := range env.Result.Bindings {
				switch b["type"] {
				case "secret_text":
					b["text"] = "s3cret"
				case "durable_object_namespace", "d1", "kv_namespace", "assets":
					if b["type"] == "d1" && b["id"] == recD1 || b["type"] == "kv_namespace" && b["namespace_id"] == recKV {
						break
					}
					continue
				}
				list = append(list, b)
			}
			raw, _ := json.Marshal(list)
			return raw
		}
	}
	return nil
}

// history gives the Worker the deployments that the recording saw first, oldest made first.
func (r *replayer) history(worker string, rec *recording) {
	type share struct {
		Version    string  `json:"version_id"`
		Percentage float64 `json:"percentage"`
	}
	var deployments []struct {
		Versions []share `json:"versions"`
	}
	var versions []string // as recorded, in order of first appearance
	for _, c := range rec.Calls {
		var env struct {
			Result struct {
				ID          string `json:"id"`
				Deployments []struct {
					Versions []share `json:"versions"`
				} `json:"deployments"`
				Items []struct {
					ID string `json:"id"`
				} `json:"items"`
			} `json:"result"`
		}
		if c.Method != "GET" || json.Unmarshal(c.Response.Body, &env) != nil {
			continue
		}
		if strings.HasSuffix(c.Path, "/deployments") && deployments == nil {
			deployments = env.Result.Deployments
			slices.Reverse(deployments)
			for _, d := range deployments {
				for _, v := range d.Versions {
					versions = append(versions, v.Version)
				}
			}
		}
		items := env.Result.Items
		slices.Reverse(items)
		for _, x := range items {
			versions = append(versions, x.ID)
		}
		if strings.Contains(c.Path, "/versions/") {
			versions = append(versions, env.Result.ID)
		}
	}
	path := "/accounts/" + recAccount + "/workers/scripts/" + worker
	for _, v := range versions {
		if r.renamed[v] != "" {
			continue
		}
		r.renamed[v] = r.version(worker)
	}
	for _, d := range deployments {
		body := map[string]any{"strategy": "percentage", "versions": d.Versions}
		raw, _ := json.Marshal(body)
		r.call("POST", path+"/deployments", json.RawMessage(r.rename(string(raw))))
	}
}

func (r *replayer) version(worker string) string {
	answer := r.upload("POST", "/accounts/"+recAccount+"/workers/scripts/"+worker+"/versions", nil)
	var env struct {
		Result struct{ ID string }
	}
	json.Unmarshal(answer, &env)
	return env.Result.ID
}

func (r *replayer) put(worker string, bindings json.RawMessage) {
	if bindings == nil {
		bindings = json.RawMessage("[]")
	}
	r.upload("PUT", "/accounts/"+recAccount+"/workers/scripts/"+worker, map[string]any{"bindings": bindings})
}

func (r *replayer) upload(method, path string, more map[string]any) []byte {
	r.t.Helper()
	m := map[string]any{"main_module": "index.js", "compatibility_date": "2026-06-01"}
	maps.Copy(m, more)
	meta, _ := json.Marshal(m)
	code, kind := "export default { async fetch() {}, async scheduled() {} }; export class Named {}; export class Other {}", "application/javascript+module"
	status, answer := r.send(recordedCall{
		Method: method, Path: path, Headers: map[string]string{"authorization": "Bearer", "user-agent": "wrangler/4.164.0"},
		Body: &recordedBody{Multipart: []recordedPart{
			{Name: "metadata", JSON: meta}, {Name: "index.js", Filename: &indexName, ContentType: &kind, Text: &code},
		}},
	})
	if status != http.StatusOK {
		r.t.Fatalf("seeding: %s %s: HTTP %d %s", method, path, status, answer)
	}
	return answer
}

var indexName = "index.js"

func (r *replayer) call(method, path string, body any) []byte {
	r.t.Helper()
	var raw json.RawMessage
	if body != nil {
		raw, _ = json.Marshal(body)
	}
	c := recordedCall{Method: method, Headers: map[string]string{"authorization": "Bearer", "content-type": "application/json"}}
	var query string
	c.Path, query, _ = strings.Cut(path, "?")
	if query != "" {
		k, v, _ := strings.Cut(query, "=")
		c.Query = map[string]string{k: v}
	}
	if raw != nil {
		c.Body = &recordedBody{JSON: raw}
	}
	status, answer := r.send(c)
	if status != http.StatusOK {
		r.t.Fatalf("seeding: %s %s: HTTP %d %s", method, path, status, answer)
	}
	return answer
}
