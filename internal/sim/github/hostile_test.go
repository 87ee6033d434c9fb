package github

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNothingBreaks sends odd names and bodies to every route: each is answered, none with 500, and nothing appears
// outside the repositories.
func TestNothingBreaks(t *testing.T) {
	dir := t.TempDir()
	w, err := New(Options{Dir: filepath.Join(dir, "world"), Unlimited: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r, err := w.Repository("kvick", "helm")
	if err != nil {
		t.Fatal(err)
	}
	for branch, files := range map[string]map[string]string{"main": {".github/workflows/w.yml": "on: [push, workflow_dispatch]\n"}, "topic": {"a": "1\n"}} {
		if _, err := r.Commit(branch, "c", files); err != nil {
			t.Fatal(err)
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	app, err := w.AddApp(NewApp{Slug: "app", Key: &key.PublicKey})
	if err != nil {
		t.Fatal(err)
	}
	everything := map[string]string{}
	for _, s := range actionsScopes {
		everything[s] = "write"
	}
	token, err := r.ActionsToken(everything)
	if err != nil {
		t.Fatal(err)
	}
	cred := w.tokens[token]
	w.tokens["jwt"] = &credential{kind: appJWT, app: app, user: app.bot}
	w.tokens["admin"] = &credential{kind: personal, user: r.owner}
	r.roles["kvick"] = "admin"
	values := []string{
		"1", "main", "topic", "w.yml", "refs%2Fheads%2Fmain", "heads/main", "main...topic", "...", "main...", "--help", "-x", "..", "%2E%2E%2F%2E%2E", "%00", "%0A", "a%0Ab", "%FF", "%", "%ZZ",
		"main%5E%7Btree%7D", "HEAD", "@%7B1%7D", "%24%28id%29", "%60id%60", strings.Repeat("a", 40), strings.Repeat("0", 40), strings.Repeat("a", 5000), "99999999999999999999", "-1", "",
	}
	bodies := []string{
		"", "null", "[]", "[", "1", `"x"`, "{}", `{"ref":null}`, `{"ref":1}`, `{"ref":"--all","sha":"--all","head":"--all","base":"--all","tree":"--all","message":"--all","name":"--all","head_sha":"--all","title":"--all","state":"--all","content":"--all"}`,
		`{"ref":"refs/heads/x\u0000","sha":"HEAD"}`, `{"ref":"main","inputs":{"a":{}},"payload":[1],"required_contexts":null}`, `{"title":{},"labels":[1],"assignees":[null],"body":"\u0000"}`,
		`{"tree":[{"path":"../../x","mode":"100644","type":"blob","content":"x"}]}`, `{"tree":[{"path":"-x\n","mode":"100644","type":"blob","content":"x"}]}`, `{"name":"n","head_sha":"` + strings.Repeat("0", 40) + `","output":{"title":"t","summary":"s","annotations":[{}]}}`,
		`{"query":"{"}`, `{"query":"mutation($i: UpdateRefsInput!) { updateRefs(input: $i) { clientMutationId } }","variables":{"i":{"repositoryId":"x","refUpdates":[null]}}}`,
		`{"event_type":"x","client_payload":{}}`, `{"ref":"main"}{}`, strings.Repeat(`{"a":`, 20000), `{"head":"topic","base":"main","title":"t"}`, `{"body":"x"}`, `{"state":"closed"}`, `{"merge_method":"octopus"}`,
	}
	api := w.API()
	codes := map[int]int{}
	for _, rt := range routes() {
		for _, value := range values {
			path := rt.pattern
			for _, s := range rt.segments {
				switch {
				case s == "{owner}":
					path = strings.Replace(path, s, "kvick", 1)
				case s == "{repo}":
					path = strings.Replace(path, s, "helm", 1)
				case strings.HasPrefix(s, "{"):
					path = strings.Replace(path, s, value, 1)
				}
			}
			send := bodies
			if rt.method == "GET" || rt.method == "DELETE" {
				send = []string{""}
			} else if path != rt.pattern && value != values[0] && strings.Contains(rt.pattern[1:], "}/") {
				send = bodies[:1]
			}
			if !strings.Contains(strings.NewReplacer("{owner}", "", "{repo}", "").Replace(rt.pattern), "{") && value != values[0] {
				continue // nothing in the path to vary
			}
			for _, body := range send {
				for _, name := range []string{token, "admin"} {
					if rt.asks == byApp {
						name = "jwt"
					}
					req := httptest.NewRequest(rt.method, "/", strings.NewReader(body))
					req.URL.Path, req.URL.RawPath = path, ""
					if p, err := url.PathUnescape(path); err == nil {
						req.URL.Path, req.URL.RawPath = p, path
					}
					req.Header.Set("User-Agent", "test")
					req.Header.Set("Authorization", "Bearer "+name)
					w.tokens[token] = cred // one of the calls revokes it
					rec := httptest.NewRecorder()
					api.ServeHTTP(rec, req)
					codes[rec.Code]++
					if rec.Code >= http.StatusInternalServerError {
						t.Errorf("%s %.200s with %.200s: %d %s", rt.method, path, body, rec.Code, rec.Body)
					}
				}
			}
		}
	}
	for _, code := range []int{200, 201, 400, 404, 422} { // or the requests did not get where they were meant to
		if codes[code] < 10 {
			t.Errorf("only %d answers with %d: %v", codes[code], code, codes)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the world there is %v %v", entries, err)
	}
}
