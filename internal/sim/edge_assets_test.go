package sim

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// assetFixture is a tree of files with a configuration.
type assetFixture struct {
	files  []string
	config map[string]any // as uploaded: html_handling, …, _headers, _redirects
	date   string
}

// site makes our side of the fixture; every file holds its own path.
func (f assetFixture) site(t testing.TB) *site {
	t.Helper()
	config, err := json.Marshal(f.config)
	if err != nil {
		t.Fatal(err)
	}
	v := &servedVersion{CompatibilityDate: f.date, Assets: &servedAssets{Manifest: map[string]servedFile{}, Config: config}}
	for _, name := range f.files {
		file := servedFile{Hash: fmt.Sprintf("%x", sha256.Sum256([]byte(name)))[:32], Blob: name, Size: int64(len(name))}
		if strings.HasSuffix(name, ".html") {
			file.ContentType = "text/html; charset=utf-8"
		}
		v.Assets.Manifest[name] = file
	}
	s, err := newSite(v)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readPath(blob string) ([]byte, error) { return []byte(blob), nil }

// ask answers a request as the edge would with a Worker behind the files that only says "worker".
func ask(s *site, r *http.Request, hasCode bool) *http.Response {
	rec := httptest.NewRecorder()
	if s.takes(r, hasCode) {
		s.serve(rec, r, readPath)
	} else {
		io.WriteString(rec, "worker")
	}
	return rec.Result()
}

// summary is what a test compares of an answer.
func summary(t testing.TB, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprint(resp.StatusCode)
	if location := resp.Header.Get("Location"); location != "" {
		out += " to " + location
	} else if len(body) > 0 {
		out += " " + string(body)
	}
	for _, name := range []string{"X-Rule", "X-Other", "Cache-Control"} {
		for _, v := range resp.Header.Values(name) {
			if name != "Cache-Control" || v != "public, max-age=0, must-revalidate" {
				out += fmt.Sprintf(" [%s: %s]", name, v)
			}
		}
	}
	return out
}

var pages = []string{"/index.html", "/file.html", "/folder/index.html", "/both.html", "/both/index.html", "/plain", "/style.css"}

// The table is the one of developers.cloudflare.com/workers/static-assets/routing/advanced/html-handling.
func TestHTMLHandling(t *testing.T) {
	want := map[string]map[string]string{
		"auto-trailing-slash": {
			"/file": "200 /file.html", "/file.html": "307 to /file", "/file/": "307 to /file", "/file/index": "307 to /file",
			"/file/index.html": "307 to /file", "/folder": "307 to /folder/", "/folder.html": "307 to /folder/",
			"/folder/": "200 /folder/index.html", "/folder/index": "307 to /folder/", "/folder/index.html": "307 to /folder/",
			"/both": "200 /both.html", "/both/": "200 /both/index.html", "/": "200 /index.html", "/index.html": "307 to /",
		},
		"force-trailing-slash": {
			"/file": "307 to /file/", "/file.html": "307 to /file/", "/file/": "200 /file.html", "/file/index": "307 to /file/",
			"/file/index.html": "307 to /file/", "/folder": "307 to /folder/", "/folder.html": "307 to /folder/",
			"/folder/": "200 /folder/index.html", "/folder/index": "307 to /folder/", "/folder/index.html": "307 to /folder/",
		},
		"drop-trailing-slash": {
			"/file": "200 /file.html", "/file.html": "307 to /file", "/file/": "307 to /file", "/file/index": "307 to /file",
			"/file/index.html": "307 to /file", "/folder": "200 /folder/index.html", "/folder.html": "307 to /folder",
			"/folder/": "307 to /folder", "/folder/index": "307 to /folder", "/folder/index.html": "307 to /folder",
		},
		"none": {
			"/file": "404", "/file.html": "200 /file.html", "/file/": "404", "/folder": "404", "/folder/": "404",
			"/folder/index.html": "200 /folder/index.html", "/": "404", "/index.html": "200 /index.html",
		},
	}
	for mode, paths := range want {
		s := assetFixture{files: pages, config: map[string]any{"html_handling": mode}}.site(t)
		for path, want := range paths {
			if got := summary(t, ask(s, httptest.NewRequest("GET", "https://a.test"+path, nil), false)); got != want {
				t.Errorf("%s: %s gives %q, want %q", mode, path, got, want)
			}
			// A redirect keeps the query.
			if location, ok := strings.CutPrefix(want, "307 to "); ok {
				got := ask(s, httptest.NewRequest("GET", "https://a.test"+path+"?a=1&b", nil), false).Header.Get("Location")
				if got != location+"?a=1&b" {
					t.Errorf("%s: %s?a=1&b goes to %q, want %q", mode, path, got, location+"?a=1&b")
				}
			}
		}
	}
}

func TestNotFoundHandling(t *testing.T) {
	files := append([]string{"/404.html", "/folder/404.html"}, pages...)
	for mode, paths := range map[string]map[string]string{
		"none":                    {"/nope": "404", "/folder/x/y": "404"},
		"404-page":                {"/nope": "404 /404.html", "/folder/x/y": "404 /folder/404.html", "/folderx": "404 /404.html"},
		"single-page-application": {"/nope": "200 /index.html", "/folder/x/y": "200 /index.html"},
	} {
		s := assetFixture{files: files, config: map[string]any{"not_found_handling": mode}}.site(t)
		for path, want := range paths {
			if got := summary(t, ask(s, httptest.NewRequest("GET", "https://a.test"+path, nil), false)); got != want {
				t.Errorf("%s: %s gives %q, want %q", mode, path, got, want)
			}
		}
	}
}

func TestWhoAnswers(t *testing.T) {
	for _, tt := range []struct {
		name     string
		fixture  assetFixture
		path     string
		navigate bool
		want     string
	}{
		{"a file", assetFixture{}, "/file", false, "200 /file.html"},
		{"no file", assetFixture{}, "/api", false, "worker"},
		{"not found pages are for those who have no Worker", assetFixture{config: map[string]any{"not_found_handling": "404-page"}}, "/api", false, "worker"},
		{"a navigation before the date", assetFixture{config: map[string]any{"not_found_handling": "single-page-application"}, date: "2025-03-31"}, "/api", true, "worker"},
		{"a navigation from the date on", assetFixture{config: map[string]any{"not_found_handling": "single-page-application"}, date: "2025-04-01"}, "/api", true, "200 /index.html"},
		{"worker first", assetFixture{config: map[string]any{"run_worker_first": true}}, "/file", false, "worker"},
		{"listed", assetFixture{config: map[string]any{"run_worker_first": []string{"/api/*", "!/api/docs/*"}}}, "/api/x", false, "worker"},
		{"excepted", assetFixture{config: map[string]any{"run_worker_first": []string{"/api/*", "!/api/docs/*"}}}, "/api/docs/x", false, "404"},
		{"not listed", assetFixture{config: map[string]any{"run_worker_first": []string{"/api/*"}, "not_found_handling": "single-page-application"}}, "/nope", false, "200 /index.html"},
		{"a redirect", assetFixture{config: map[string]any{"_redirects": "/api /file 301"}}, "/api", false, "301 to /file"},
		{"outside of the base", assetFixture{config: map[string]any{"base_path": "/app"}}, "/file", false, "worker"},
		{"inside of the base", assetFixture{config: map[string]any{"base_path": "/app"}}, "/app/file", false, "200 /file.html"},
	} {
		tt.fixture.files = pages
		r := httptest.NewRequest("GET", "https://a.test"+tt.path, nil)
		if tt.navigate {
			r.Header.Set("Sec-Fetch-Mode", "navigate")
		}
		got := strings.TrimPrefix(summary(t, ask(tt.fixture.site(t), r, true)), "200 worker")
		if tt.want == "worker" {
			tt.want = ""
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestAssetHTTP(t *testing.T) {
	s := assetFixture{files: pages}.site(t)
	get := func(method string, header http.Header) *http.Response {
		r := httptest.NewRequest(method, "https://a.test/file", nil)
		r.Header = header
		return ask(s, r, false)
	}
	first := get("GET", http.Header{})
	etag := first.Header.Get("Etag")
	if want := `"` + s.files["/file.html"].Hash + `"`; etag != want {
		t.Errorf("ETag %s, want the manifest hash %s", etag, want)
	}
	if got := first.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("Content-Type %q, want the uploaded one", got)
	}
	for _, tag := range []string{etag, "W/" + etag} {
		if again := get("GET", http.Header{"If-None-Match": {tag}}); again.StatusCode != http.StatusNotModified || again.Header.Get("Etag") != etag {
			t.Errorf("If-None-Match %s: %s with ETag %q, want 304 with %s", tag, again.Status, again.Header.Get("Etag"), etag)
		}
	}
	if other := get("GET", http.Header{"If-None-Match": {`"other"`}}); summary(t, other) != "200 /file.html" {
		t.Errorf("another ETag: %s, want the file", other.Status)
	}
	head := get("HEAD", http.Header{})
	if body, err := io.ReadAll(head.Body); err != nil || len(body) != 0 || head.Header.Get("Content-Length") != "10" {
		t.Errorf("HEAD: body %q, length %s, error %v; want no body and the file's length", body, head.Header.Get("Content-Length"), err)
	}
	if post := get("POST", http.Header{}); post.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s, want 405", post.Status)
	}
	if got := get("GET", http.Header{"Authorization": {"x"}}).Header.Get("Cache-Control"); got != "" {
		t.Errorf("Cache-Control for a request with Authorization: %q, want none", got)
	}
	rec := httptest.NewRecorder()
	s.serve(rec, httptest.NewRequest("GET", "https://a.test/plain", nil), readPath)
	if types := rec.Result().Header.Values("Content-Type"); len(types) != 0 {
		t.Errorf("a file uploaded without a type is served as %q", types)
	}
	rec = httptest.NewRecorder()
	s.serve(rec, httptest.NewRequest("GET", "https://a.test/file", nil), func(string) ([]byte, error) { return nil, errors.New("disk on fire") })
	if rec.Code != http.StatusInternalServerError {
		t.Errorf("a file that cannot be read gives %d, want 500", rec.Code)
	}
}

// judgedFixtures are the configurations that workerd's own implementation of static assets judges.
func judgedFixtures() map[string]assetFixture {
	files := append([]string{
		"/404.html", "/folder/404.html", "/a b.txt", "/ü.html", "/deep/er/index.html", "/deep/er.html", "/x.html.html",
		"/folder/page.html", "/index/index.html", "/%41.txt", "/quote'.txt",
	}, pages...)
	fixtures := map[string]assetFixture{}
	for _, html := range []string{"auto-trailing-slash", "force-trailing-slash", "drop-trailing-slash", "none"} {
		for _, missing := range []string{"none", "404-page", "single-page-application"} {
			fixtures[html+" "+missing] = assetFixture{files: files, config: map[string]any{"html_handling": html, "not_found_handling": missing}}
		}
		fixtures[html+" base"] = assetFixture{files: files, config: map[string]any{"html_handling": html, "base_path": "/file/./app/"}}
	}
	fixtures["rules"] = assetFixture{files: files, config: map[string]any{
		"_headers": "/file\n  X-Rule: file\n  ! cache-control\n/*\n  X-Rule: all\n  X-Other: :splat\n/folder/:page\n  X-Other: page :page\n" +
			"https://a.test/both\n  X-Other: host\nhttps://:sub.test/plain\n  X-Other: sub :sub\n/index\n  Cache-Control: no-store\n",
		"_redirects": "/old /file 301\n/old2 /file?x=1#there\n/away https://other.example/a?b 308\n/proxy /folder/ 200\n/proxy404 /nope 200\n" +
			"/p/:a/:b /:b/:a\n/s/* /:splat 303\n/t/* https://other.example/:splat\n/u/* /folder/:splat 200\n/file.html /both 302\nnope /file\n/self https://a.test/file\n",
	}}
	fixtures["run_worker_first"] = assetFixture{files: files, config: map[string]any{
		"run_worker_first": []string{"/file*", "!/file.html", "/nope/*"}, "not_found_handling": "single-page-application",
	}}
	fixtures["worker first"] = assetFixture{files: files, config: map[string]any{"run_worker_first": true}}
	fixtures["old date"] = assetFixture{files: files, config: map[string]any{"not_found_handling": "404-page"}, date: "2024-10-01"}
	for name, f := range fixtures {
		if f.date == "" {
			f.date = "2026-06-01"
			fixtures[name] = f
		}
	}
	return fixtures
}

var judgedPaths = []string{
	"/", "/index", "/index/", "/index.html", "/index/index", "/index/index.html", "/file", "/file/", "/file.html", "/file/index", "/file/index.html",
	"/folder", "/folder/", "/folder.html", "/folder/index", "/folder/index.html", "/folder/page", "/folder/page/", "/folder/page.html",
	"/folder/nope", "/folder/nope/", "/both", "/both/", "/both.html", "/both/index", "/both/index.html", "/plain", "/plain/", "/style.css",
	"/nope", "/nope/", "/nope/x", "/404", "/404.html", "/404/", "/deep/er", "/deep/er/", "/deep/er.html", "/deep/er/index.html", "/deep", "/deep/",
	"/a%20b.txt", "/a+b", "/%C3%BC", "/%c3%bc", "/%C3%BC.html", "/x.html", "/x.html.html", "//file", "/folder//page", "/%66ile", "/%2541.txt", "/quote'.txt",
	"/file/app", "/file/app/", "/file/app/file", "/file/app/index.html", "/file/app/folder", "/file/app/nope", "/file/apple",
	"/old", "/old?q=1", "/old2", "/old2?q=1", "/away", "/away?c", "/proxy", "/proxy404", "/p/1/2", "/p/1/2/3", "/s/a/b", "/s//other.example/x", "/t/a",
	"/u/page", "/u/", "/self", "/self?q", "/file?q=1", "/folder?q=1",
}

// TestAssetsAgainstWorkerd asks workerd's implementation of static assets the same questions, for a Worker with code and
// for one without. Only what the two are known to differ in is left out: ETags, which workerd derives from the disk.
func TestAssetsAgainstWorkerd(t *testing.T) {
	binary := workerdBinary(t)
	dir := t.TempDir()
	fixtures := judgedFixtures()
	var services, sockets []string
	socket := map[string]string{}
	for i, name := range sortedKeys(fixtures) {
		f := fixtures[name]
		root := filepath.Join(dir, fmt.Sprintf("public%d", i))
		for _, file := range f.files {
			path := filepath.Join(root, filepath.FromSlash(file))
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		config := map[string]any{}
		for k, v := range f.config {
			config[strings.TrimPrefix(k, "_")] = v
		}
		text, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		worker := fmt.Sprintf(`(name = "worker%d", worker = (compatibilityDate = %q, modules = [(name = "w.js", esModule = "export default { fetch() { return new Response('worker') } }")]))`, i, f.date)
		services = append(services, worker)
		for _, kind := range []string{"code", "files"} {
			name := fmt.Sprintf("%s%d", kind, i)
			flags := fmt.Sprintf("compatibilityDate = %q", f.date)
			if kind == "code" {
				flags = fmt.Sprintf("userWorker = \"worker%d\"", i) // whose date counts
			} else if f.config["run_worker_first"] != nil {
				continue // refused: there is no Worker to run first
			}
			services = append(services, fmt.Sprintf(`(name = %q, assets = (path = %s, config = %s, %s))`,
				name, capnpText(root), capnpText(string(text)), flags))
			sockets = append(sockets, fmt.Sprintf(`(name = %q, address = "127.0.0.1:0", http = (forwardedProtoHeader = "X-Forwarded-Proto"), service = %[1]q)`, name))
		}
		socket[name] = fmt.Sprint(i)
	}
	ports := serveWorkerd(t, binary, dir, "using Workerd = import \"/workerd/workerd.capnp\";\nconst config :Workerd.Config = (\n services = [\n"+
		strings.Join(services, ",\n")+"],\n sockets = [\n"+strings.Join(sockets, ",\n")+"]);\n", len(sockets))

	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	compared := 0
	for name, f := range fixtures {
		s := f.site(t)
		for _, kind := range []string{"code", "files"} {
			port, ok := ports[kind+socket[name]]
			if !ok {
				continue
			}
			for _, path := range judgedPaths {
				for _, variant := range []string{"GET", "navigate", "POST"} {
					r, err := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
					if err != nil {
						t.Fatal(err)
					}
					r.Host = "a.test"
					r.Header.Set("X-Forwarded-Proto", "https")
					switch variant {
					case "navigate":
						r.Header.Set("Sec-Fetch-Mode", "navigate")
					case "POST":
						r.Method = "POST"
					}
					resp, err := client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					want := summary(t, resp)
					resp.Body.Close()
					if got := summary(t, ask(s, r, kind == "code")); got != want {
						t.Errorf("%s (%s), %s %s: %q, workerd says %q", name, kind, variant, path, got, want)
					}
					compared++
				}
			}
		}
	}
	t.Logf("%d answers compared", compared)
}
