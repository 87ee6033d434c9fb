package wrangler_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// account plays just enough of Cloudflare for the real wrangler to upload a first version. Every hash of the manifest is
// asked for, in one bucket; the upload of the Worker itself is refused, which ends the deploy.
type account struct {
	t *testing.T

	mu       sync.Mutex
	manifest json.RawMessage
	buckets  [][]formPart
	form     []byte
}

func (a *account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Error(err)
	}
	answer := func(status int, text string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}
	switch {
	case path.Base(r.URL.Path) == "assets-upload-session":
		var session struct{ Manifest json.RawMessage }
		var manifest map[string]struct{ Hash string }
		if err := json.Unmarshal(body, &session); err != nil {
			a.t.Error(err)
		}
		if err := json.Unmarshal(session.Manifest, &manifest); err != nil {
			a.t.Error(err)
		}
		a.manifest = session.Manifest
		bucket, seen := []string{}, map[string]bool{}
		for _, file := range manifest {
			if !seen[file.Hash] {
				seen[file.Hash] = true
				bucket = append(bucket, file.Hash)
			}
		}
		text, _ := json.Marshal([][]string{bucket})
		answer(http.StatusCreated, `{"success":true,"errors":[],"messages":[],"result":{"jwt":"session","buckets":`+string(text)+`}}`)
	case strings.HasSuffix(r.URL.Path, "/assets/upload"):
		a.buckets = append(a.buckets, uploadParts(a.t, body))
		answer(http.StatusCreated, `{"success":true,"errors":[],"messages":[],"result":{"jwt":"completion"}}`)
	case r.Method == http.MethodPut:
		a.form = body
		answer(http.StatusBadRequest, `{"success":false,"errors":[{"code":10021,"message":"enough"}],"messages":[],"result":null}`)
	case r.Method == http.MethodGet:
		answer(http.StatusNotFound, `{"success":false,"errors":[{"code":10007,"message":"not found"}],"messages":[],"result":null}`)
	default:
		answer(http.StatusOK, `{"success":true,"errors":[],"messages":[],"result":{}}`)
	}
}

// deploy runs the real "wrangler deploy" in dir against an account of its own.
func deploy(t *testing.T, dir string) (a *account, output string) {
	t.Helper()
	requireJudge(t)
	a = &account{t: t}
	server := httptest.NewServer(a)
	defer server.Close()
	cmd := exec.CommandContext(t.Context(), judgeNode(t), judgeWrangler(t), "deploy")
	cmd.Dir = dir
	cmd.Env = judgeEnviron(t, "CLOUDFLARE_API_BASE_URL="+server.URL, "CLOUDFLARE_API_TOKEN=token",
		"CLOUDFLARE_ACCOUNT_ID=0123456789abcdef0123456789abcdef")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Error("wrangler took the refusal for a success")
	}
	return a, string(out)
}

// A tree with everything a walk can meet: the real wrangler publishes the same files under the same hashes, with the same
// types and the same configuration.
func TestAssetsJudge(t *testing.T) {
	requireJudge(t)
	files := map[string]string{
		"wrangler.jsonc": `{"name": "assets", "compatibility_date": "2026-06-01", "workers_dev": false, "assets": {
			"directory": "./public/", "html_handling": "none", "not_found_handling": "404-page", "base_path": "/app"}}`,
		"public/.assetsignore": "# hidden\n*.map\n!keep.map\n/drafts/\nnode_modules\n**/tmp/*.txt\n" +
			"!/drafts/published.html\nFOO.HTML\n\\#literal\n[a-c].log\ntrailing \\ \n",
		"public/_headers":              "/*\r\n  X-Test: ü\r\n",
		"public/_redirects":            "\ufeff/old /new 301\n",
		"public/sub/_headers":          "published\n",
		"public/index.html":            "<!doctype html>",
		"public/same.html":             "<!doctype html>",
		"public/same.htm":              "<!doctype html>",
		"public/empty.css":             "",
		"public/noext":                 "x",
		"public/.well-known/a.json":    "{}",
		"public/.dotfile":              "x",
		"public/.css":                  "x",
		"public/dot.":                  "x",
		"public/two.tar.gz":            "x",
		"public/UPPER.PNG":             "x",
		"public/foo.html":              "hidden by another case",
		"public/app.js.map":            "hidden",
		"public/keep.map":              "kept",
		"public/drafts/secret.html":    "hidden",
		"public/drafts/published.html": "hidden with its directory",
		"public/drafts2/page.html":     "x",
		"public/node_modules/a/b.js":   "hidden",
		"public/a/tmp/x.txt":           "hidden",
		"public/a/tmp/y/x.txt":         "x",
		"public/#literal":              "hidden",
		"public/b.log":                 "hidden",
		"public/d.log":                 "x",
		"public/trailing  ":            "x",
		"public/trailing ":             "x",
		"public/quote\"s.txt":          "x",
		"public/new\nline.txt":         "x",
		"public/back\\slash.png":       "x",
		"public/sp ace/ü/😀.svg":        "<svg/>",
		"public/a&b<c>.xml":            "x",
		"shared/logo.svg":              "<svg/>",
		"shared/deep/more.txt":         "x",
		"public/big.bin":               strings.Repeat("0123456789abcdef", 1<<16),
	}
	dir := copyTree(t, t.TempDir())
	writeFiles(t, dir, files)
	for name, target := range map[string]string{"public/linked.svg": "../shared/logo.svg", "public/linked": "../shared", "public/gone.map": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}

	theirs, output := deploy(t, dir)
	if theirs.manifest == nil || theirs.form == nil {
		t.Fatalf("wrangler uploaded nothing\n%s", output)
	}
	c := configOf(t, dir, "wrangler.jsonc", "")
	ours, err := c.ReadAssets(nil)
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]map[string]any
	if err := json.Unmarshal(ours.Manifest(), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(theirs.manifest, &want); err != nil {
		t.Fatal(err)
	}
	for name := range want {
		if fmt.Sprint(got[name]) != fmt.Sprint(want[name]) {
			t.Errorf("%q is %v, want %v", name, got[name], want[name])
		}
	}
	for name := range got {
		if want[name] == nil {
			t.Errorf("%q would be published, wrangler hides it", name)
		}
	}

	for _, bucket := range theirs.buckets {
		var hashes []string
		for _, p := range bucket {
			hashes = append(hashes, p.Name)
		}
		upload, err := ours.Bucket(hashes)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range uploadParts(t, readUpload(t, upload)) {
			if w := bucket[i]; p.FileName != w.FileName || p.ContentType != w.ContentType || !bytes.Equal(p.Content, w.Content) {
				asset, _ := ours.ByHash(p.Name)
				t.Errorf("%q is uploaded as %q %q, want %q %q (or the content differs)", asset.Path, p.FileName, p.ContentType, w.FileName, w.ContentType)
			}
		}
	}

	boundary, _, _ := strings.Cut(strings.TrimPrefix(string(theirs.form), "--"), "\r\n")
	form, err := wrangler.NewForm(c, nil, wrangler.Upload{Put: true, New: true, Assets: ours, AssetsJWT: "completion", Boundary: boundary})
	if err != nil {
		t.Fatal(err)
	}
	compareForms(t, form.Body, theirs.form)
}

// Every extension that wrangler knows has the type that wrangler gives it, and so have names that look like extensions.
func TestContentTypeJudge(t *testing.T) {
	requireJudge(t)
	stdout, stderr, exit := runNode(t, t.TempDir(), nil, script(t, "mime.mjs"), wranglerSource(t))
	if exit != 0 {
		t.Fatal(stderr)
	}
	var want map[string]string
	if err := json.Unmarshal([]byte(stdout), &want); err != nil {
		t.Fatal(err)
	}
	if len(want) < 2400 {
		t.Fatalf("wrangler knows only %d names: was its table found?", len(want))
	}
	for name, contentType := range want {
		if got := wrangler.ContentType(name); got != contentType {
			t.Errorf("%q is %q, want %q", name, got, contentType)
		}
	}
}

func script(t *testing.T, name string) string {
	t.Helper()
	file, err := filepath.Abs(filepath.Join("testdata", "assets", name))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// wranglerSource is the file that all of wrangler is in.
func wranglerSource(t *testing.T) string {
	return filepath.Join(judgeModules(t), "wrangler", "wrangler-dist", "cli.js")
}

// ignoreCase is a .assetsignore and paths to be judged by it.
type ignoreCase struct {
	Patterns []string `json:"patterns"`
	Paths    []string `json:"paths"`
}

// The package that wrangler asks gives the same verdicts, over the patterns of its documentation and git's and over
// random ones.
func TestIgnoreJudge(t *testing.T) {
	requireJudge(t)
	cases := documentedPatterns()
	documented := len(cases)
	cases = append(cases, randomPatterns(rand.New(rand.NewPCG(1, 2)), 8000)...)
	input, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, exit := runNode(t, t.TempDir(), input, script(t, "ignore.mjs"), wranglerSource(t))
	if exit != 0 {
		t.Fatal(stderr)
	}
	var verdicts [][]*bool // nil: the package threw
	if err := json.Unmarshal([]byte(stdout), &verdicts); err != nil {
		t.Fatal(err)
	}
	var ignored, published, refused int
	for i, c := range cases {
		for j, name := range c.Paths {
			got, ok := wrangler.Ignored(c.Patterns, name)
			want := verdicts[i][j]
			switch {
			case !ok && (want == nil || i >= documented):
				refused++ // escapes that only JavaScript knows: see escapedRune
			case !ok || want == nil || got != *want:
				t.Errorf("patterns %q hide %q: %t (patterns are good: %t), want %s", c.Patterns, name, got, ok, mustJSON(t, want))
			case got:
				ignored++
			default:
				published++
			}
		}
	}
	t.Logf("%d hidden, %d published, %d with patterns that are refused", ignored, published, refused)
	if ignored < 1000 || published < 1000 || refused > len(cases) {
		t.Error("the random patterns have become a poor test")
	}
}

// documentedPatterns are the cases that the documentation of gitignore and of the package describe, with paths around
// each.
func documentedPatterns() []ignoreCase {
	paths := []string{
		"a", "b", "a.js", "A.JS", "foo", "foo/bar", "foo/bar/baz", "x/foo", "x/foo/bar", "foo.js", "x/foo.js", "foobar", "a/b", "a/x/b", "a/x/y/b",
		"abc/x", "abc/x/y", "#a", "!a", " a", "a ", "a b", "*", "**", "a*b", "a?b", "[ab]", "a\\b", "a{b}", "(a)", "a+b", "a|b", "$a", "^a", "-", "0", "5", "é", "É", "😀", "x😀",
		"dir/file", "Dir/File", "dir/sub/file", ".hidden", "x/.hidden", "node_modules/a/b/c.js", "_worker.js", "_worker.js/index.js",
	}
	var cases []ignoreCase
	for _, patterns := range [][]string{
		{""}, {"# a"}, {"#a"}, {`\#a`}, {`\!a`}, {"!"}, {"a", "!a"}, {"!a", "a"}, {"foo", "!foo/bar"}, {"foo/*", "!foo/bar"}, {"foo/", "!foo/bar"},
		{"a"}, {"/a"}, {"a/"}, {"/a/"}, {"a/b"}, {"/a/b"}, {"*.js"}, {"/*.js"}, {"a.*"}, {"*"}, {"/*"}, {"*", "!*.js"}, {"/*", "!/foo"}, {"foo*"}, {"*foo"}, {"f*r"},
		{"**"}, {"**/foo"}, {"**/foo/bar"}, {"foo/**"}, {"abc/**"}, {"a/**/b"}, {"a/**"}, {"/**/b"}, {"**/"}, {"a**b"}, {"a**"}, {"**b"}, {"foo/**bar"}, {"a/***/b"},
		{"?"}, {"a?b"}, {"?/b"}, {`a\?b`}, {`\*`}, {`a\*b`}, {`\**`}, {`a\\b`}, {`a\b`}, {`a\`}, {`a\\`}, {`\`}, {`\ a`}, {`a\ `}, {"a "}, {"a  "}, {`a\ b`}, {" a"}, {"\ta"},
		{"[ab]"}, {"[a-c]"}, {"[c-a]"}, {"[!a]"}, {"[^a]"}, {"[]"}, {"["}, {"[a"}, {`\[ab]`}, {`\[ab\]`}, {`[\]]`}, {"[[:digit:]]"}, {"[0-9]"}, {"[a/b]"}, {"[]-]"}, {"[a-]"}, {"[-a]"},
		{"a{b}"}, {"(a)"}, {"a+b"}, {"a|b"}, {"$a"}, {"^a"}, {"."}, {".*"}, {".hidden"}, {"\ufeffa"}, {"a\r"}, {"foo/\r"}, {"\r"}, {"dir/\r", "!dir/file\r"},
		{"É"}, {"é"}, {"😀"}, {"x?"}, {"x??"}, {"DIR"}, {"dir/FILE"}, {"node_modules"}, {"_worker.js"}, {"_worker.js/"}, {"//a"}, {"a//b"}, {"./a"}, {"a/./b"}, {"../a"},
	} {
		cases = append(cases, ignoreCase{patterns, paths})
	}
	return cases
}

// randomPatterns joins what patterns are made of at random, and paths that these have a chance to match.
func randomPatterns(r *rand.Rand, n int) []ignoreCase {
	bits := []string{
		"a", "b", "js", ".", "*", "**", "/", "/", "?", "!", "#", `\`, " ", "[", "]", "-", "^", "a-c", "{", "}", "(", ")", "|", "+", "$", "\r", "é", "😀", "B", "\t", "\u00a0",
		"d", "w", `\*`, `\?`, "[a-z]", "[!a]", "[^a]", `\\`, `\s`, `\d`, "**/", "/**", "_",
	}
	names := []string{
		"a", "b", "c", "js", "a.js", "b.JS", "A", ".a", "*", "?", "[a]", "a b", "a ", "!a", "#a", "😀", "é", "É", "-", "^", "a-c", "{a}", "(a)", `\a`, `a\b`, "a|b", "a+", "$a", "d", "dd", "[^/]", "a\nb",
	}
	pick := func(from []string, most int, separator string) string {
		parts := make([]string, 1+r.IntN(most))
		for i := range parts {
			parts[i] = from[r.IntN(len(from))]
		}
		return strings.Join(parts, separator)
	}
	cases := make([]ignoreCase, n)
	for i := range cases {
		for range 1 + r.IntN(3) {
			cases[i].Patterns = append(cases[i].Patterns, pick(bits, 7, ""))
		}
		for range 6 {
			cases[i].Paths = append(cases[i].Paths, pick(names, 4, "/"))
		}
	}
	return cases
}
