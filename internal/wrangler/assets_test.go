package wrangler_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// assetsProject writes a project whose assets are in public, and returns its directory. Further lines of the assets
// section can be given.
func assetsProject(t testing.TB, files map[string]string, section ...string) string {
	t.Helper()
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"wrangler.jsonc": "{\n  \"name\": \"shop\",\n  \"main\": \"index.js\",\n  \"assets\": {\n    \"directory\": \"public\"" +
		strings.Join(append([]string{""}, section...), ",\n    ") + "\n  }\n}\n"})
	writeFiles(t, dir, files)
	return dir
}

// readAssets is the assets of a project that has no mistakes.
func readAssets(t testing.TB, dir string, replace map[string][]byte) *wrangler.AssetSet {
	t.Helper()
	set, err := configOf(t, dir, "wrangler.jsonc", "").ReadAssets(replace)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func assetPaths(set *wrangler.AssetSet) []string {
	var paths []string
	for _, a := range set.Assets {
		paths = append(paths, a.Path)
	}
	return paths
}

// readUpload reads a body and checks its announced size.
func readUpload(t testing.TB, u *wrangler.AssetUpload) []byte {
	t.Helper()
	r := u.Open()
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if int64(len(body)) != u.Size {
		t.Fatalf("the body has %d bytes, %d were announced", len(body), u.Size)
	}
	return body
}

func TestReadAssetsNone(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"wrangler.jsonc": `{"name": "shop", "main": "index.js"}`})
	if set := readAssets(t, dir, nil); set != nil {
		t.Errorf("there are assets: %v", set)
	}
}

// The user's mistakes come back with the place to mend, and all at once.
func TestReadAssetsFindings(t *testing.T) {
	tests := []struct {
		name    string
		files   map[string]string
		section []string
		prepare func(t *testing.T, dir string)
		want    []string // "file:line: rule"
	}{
		{"missing directory", nil, nil, nil, []string{"wrangler.jsonc:5: assets-missing"}},
		{"a file for a directory", map[string]string{"public": "x"}, nil, nil, []string{"wrangler.jsonc:5: assets-missing"}},
		{"server code of Pages", map[string]string{"public/_worker.js/index.js": "", "public/_worker.js/chunk.js": "", "public/a": ""}, nil, nil,
			[]string{"public/_worker.js:0: asset-worker-js"}},
		{"server code of Pages, a file", map[string]string{"public/_worker.js": ""}, nil, nil, []string{"public/_worker.js:0: asset-worker-js"}},
		{"bad patterns", map[string]string{"public/.assetsignore": "fine\n[~-!]\n# comment\n\\x41\n"}, nil, nil,
			[]string{"public/.assetsignore:2: assetsignore-pattern", "public/.assetsignore:4: assetsignore-pattern"}},
		{"patterns that are no text", map[string]string{"public/.assetsignore": "a\xff"}, nil, nil, []string{"public/.assetsignore:0: asset-encoding"}},
		{"patterns with a zero", map[string]string{"public/.assetsignore": "a\x00"}, nil, nil, []string{"public/.assetsignore:0: asset-encoding"}},
		{"headers that are no text", map[string]string{"public/_headers": "\xff", "public/_redirects": "\xfe"}, nil, nil,
			[]string{"public/_headers:0: asset-encoding", "public/_redirects:0: asset-encoding"}},
		{"headers that are a directory", map[string]string{"public/_headers/a": ""}, nil, nil, []string{"public/_headers:0: asset-kind"}},
		{"large file", map[string]string{"public/fits": ""}, nil, func(t *testing.T, dir string) {
			writeFiles(t, dir, map[string]string{"public/large.bin": ""})
			truncate(t, filepath.Join(dir, "public", "large.bin"), wrangler.MaxAssetSize+1)
			truncate(t, filepath.Join(dir, "public", "fits"), wrangler.MaxAssetSize)
		}, []string{"public/large.bin:0: asset-size"}},
		{"links out of the project", map[string]string{"public/a": ""}, nil, func(t *testing.T, dir string) {
			outside := t.TempDir()
			writeFiles(t, outside, map[string]string{"secret": "secret"})
			link(t, filepath.Join(outside, "secret"), filepath.Join(dir, "public", "file"))
			link(t, outside, filepath.Join(dir, "public", "tree"))
			link(t, filepath.Join(outside, "secret"), filepath.Join(dir, "public", "_headers"))
			link(t, filepath.Join(outside, "secret"), filepath.Join(dir, "public", ".assetsignore"))
		}, []string{"public/.assetsignore:0: asset-link", "public/_headers:0: asset-link", "public/file:0: asset-link", "public/tree:0: asset-link"}},
		{"a directory that is a link out of the project", nil, nil, func(t *testing.T, dir string) {
			link(t, t.TempDir(), filepath.Join(dir, "public"))
		}, []string{"wrangler.jsonc:5: assets-outside-project"}},
		{"links in a circle, and to nothing", map[string]string{"public/a/b": ""}, nil, func(t *testing.T, dir string) {
			link(t, "..", filepath.Join(dir, "public", "a", "up"))
			link(t, "self", filepath.Join(dir, "public", "self"))
			link(t, "nowhere", filepath.Join(dir, "public", "gone"))
		}, []string{"public/a/up:0: asset-link", "public/gone:0: asset-link", "public/self:0: asset-link"}},
		{"links that unfold", map[string]string{"public/d0/a": "", "public/d20/a": ""}, nil, func(t *testing.T, dir string) {
			for i := range 20 {
				writeFiles(t, dir, map[string]string{fmt.Sprintf("public/d%d/b", i): ""})
				link(t, fmt.Sprintf("../d%d", i+1), filepath.Join(dir, fmt.Sprintf("public/d%d/left", i)))
				link(t, fmt.Sprintf("../d%d", i+1), filepath.Join(dir, fmt.Sprintf("public/d%d/right", i)))
			}
		}, []string{"wrangler.jsonc:5: asset-link"}},
		{"a socket", map[string]string{"public/a": ""}, nil, func(t *testing.T, dir string) {
			t.Chdir(dir) // the name of a socket has to be short
			l, err := net.Listen("unix", filepath.Join("public", "s"))
			if err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() { l.Close() })
		}, []string{"public/s:0: asset-kind"}},
		{"rules for the Worker", map[string]string{"public/a": ""}, []string{`"run_worker_first": [` + "\n      \"/api/*\",\n      \"api\",\n      \"!api\",\n      \"/api/*\",\n      \"/api/x\",\n      \"/" + strings.Repeat("x", 100) + "\"]"}, nil,
			[]string{"wrangler.jsonc:8: run-worker-first", "wrangler.jsonc:9: run-worker-first", "wrangler.jsonc:10: run-worker-first", "wrangler.jsonc:11: run-worker-first", "wrangler.jsonc:12: run-worker-first"}},
		{"exceptions only", map[string]string{"public/a": ""}, []string{`"run_worker_first": ["!/api/*"]`}, nil, []string{"wrangler.jsonc:6: run-worker-first"}},
		{"no rules", map[string]string{"public/a": ""}, []string{`"run_worker_first": []`}, nil, []string{"wrangler.jsonc:6: run-worker-first"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := assetsProject(t, test.files, test.section...)
			if test.prepare != nil {
				test.prepare(t, dir)
			}
			_, err := configOf(t, dir, "wrangler.jsonc", "").ReadAssets(nil)
			var findings wrangler.Findings
			if !errors.As(err, &findings) {
				t.Fatalf("got %v, want findings", err)
			}
			var got []string
			for _, f := range findings {
				got = append(got, fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Rule))
				if f.Level != wrangler.LevelError || f.Message == "" {
					t.Errorf("finding without level or message: %+v", f)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q\n%v", got, test.want, err)
			}
		})
	}
}

func truncate(t *testing.T, file string, size int64) {
	t.Helper()
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, file string) {
	t.Helper()
	if err := os.Symlink(target, file); err != nil {
		t.Fatal(err)
	}
}

func TestReadAssetsNameNotUTF8(t *testing.T) {
	dir := assetsProject(t, map[string]string{"public/a": ""})
	if err := os.WriteFile(filepath.Join(dir, "public", "a\xff.txt"), nil, 0o644); err != nil {
		t.Skip("the file system takes UTF-8 only")
	}
	_, err := configOf(t, dir, "wrangler.jsonc", "").ReadAssets(nil)
	var findings wrangler.Findings
	if !errors.As(err, &findings) || findings[0].Rule != "asset-name" || findings[0].File != "public/a\ufffd.txt" {
		t.Errorf("got %v", err)
	}
}

// A directory outside of the project is refused however it is written.
func TestReadAssetsOutsideProject(t *testing.T) {
	outside := t.TempDir()
	writeFiles(t, outside, map[string]string{"secret": "x", "project/keep": ""})
	for _, directory := range []string{outside, "..", "../project/..", "public/../.."} {
		config, err := json.Marshal(map[string]any{"name": "shop", "assets": map[string]any{"directory": directory}})
		if err != nil {
			t.Fatal(err)
		}
		writeFiles(t, outside, map[string]string{"project/wrangler.jsonc": string(config)})
		_, err = configOf(t, filepath.Join(outside, "project"), "wrangler.jsonc", "").ReadAssets(nil)
		var findings wrangler.Findings
		if !errors.As(err, &findings) || findings[0].Rule != "assets-outside-project" {
			t.Errorf("%s: got %v", directory, err)
		}
	}
}

// What is hidden is not looked at: not links, not sizes, not kinds.
func TestReadAssetsHidden(t *testing.T) {
	dir := assetsProject(t, map[string]string{"public/.assetsignore": "/hidden\n/hidden-tree/\n*.bin\n_worker.js\n", "public/a": "", "public/_worker.js": "", "public/x.bin": ""})
	outside := t.TempDir()
	link(t, outside, filepath.Join(dir, "public", "hidden-tree"))
	link(t, "nowhere", filepath.Join(dir, "public", "hidden"))
	truncate(t, filepath.Join(dir, "public", "x.bin"), 1<<40)
	if got := assetPaths(readAssets(t, dir, nil)); !slices.Equal(got, []string{"/a"}) {
		t.Errorf("got %q", got)
	}
}

// An empty .assetsignore says that a _worker.js is meant to be published.
func TestReadAssetsWorkerJS(t *testing.T) {
	dir := assetsProject(t, map[string]string{"public/.assetsignore": "", "public/_worker.js": "x"})
	if got := assetPaths(readAssets(t, dir, nil)); !slices.Equal(got, []string{"/_worker.js"}) {
		t.Errorf("got %q", got)
	}
}

func TestReadAssetsReplace(t *testing.T) {
	dir := assetsProject(t, map[string]string{"public/old.json": "old", "public/b": "b", "public/_headers": "old", "public/.assetsignore": "/b\n*.hidden\n"})
	before := tree(t, dir)
	public := filepath.Join(dir, "public")
	replace := map[string][]byte{
		filepath.Join(public, "old.json"):         []byte("new"),
		filepath.Join(public, "made", "new.json"): []byte("made"),
		filepath.Join(public, "empty"):            nil,
		filepath.Join(public, "x.hidden"):         []byte("x"),
		filepath.Join(public, "_headers"):         []byte("new"),
		filepath.Join(public, "_redirects"):       []byte("made"),
		filepath.Join(public, ".assetsignore"):    []byte("*.hidden\n"),
		filepath.Join(dir, "elsewhere"):           []byte("not an asset"),
		filepath.Join(dir, "public2", "x"):        []byte("not an asset"),
	}
	set := readAssets(t, dir, replace)
	if got, want := assetPaths(set), []string{"/b", "/empty", "/made/new.json", "/old.json"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := string(set.Config), `{"_redirects":"made","_headers":"new"}`; got != want {
		t.Errorf("config %s, want %s", got, want)
	}
	if len(set.Warnings) != 1 || set.Warnings[0].Rule != "asset-hidden" || set.Warnings[0].File != "public/x.hidden" {
		t.Errorf("warnings %v", set.Warnings)
	}
	for file, want := range map[string]bool{"old.json": true, "made/new.json": true, "x.hidden": false, "_headers": false} {
		if got := set.Has(filepath.Join(public, filepath.FromSlash(file))); got != want {
			t.Errorf("Has(%s) is %t", file, got)
		}
	}

	// On the wire replaced files are what was handed in, with the hash of a file with that content.
	for _, asset := range set.Assets {
		single, err := set.Single(asset.Hash)
		if err != nil {
			t.Fatal(err)
		}
		content := readUpload(t, single)
		if rel := strings.TrimPrefix(asset.Path, "/"); rel != "b" && !bytes.Equal(content, replace[filepath.Join(public, filepath.FromSlash(rel))]) {
			t.Errorf("%s is uploaded as %q", asset.Path, content)
		}
		written := assetsProject(t, map[string]string{"public" + asset.Path: string(content)})
		if got := readAssets(t, written, nil).Assets[0]; got.Hash != asset.Hash || got.Size != asset.Size || got.ContentType != asset.ContentType {
			t.Errorf("%s replaced is %v, on disk %v", asset.Path, asset, got)
		}
	}
	if after := tree(t, dir); !maps.Equal(before, after) {
		t.Errorf("the project was written to: %v, before %v", after, before)
	}
}

// Made files are enough: the directory need not be there.
func TestReadAssetsReplaceOnly(t *testing.T) {
	dir := assetsProject(t, nil)
	set := readAssets(t, dir, map[string][]byte{filepath.Join(dir, "public", "build_info.json"): []byte("{}")})
	if got := assetPaths(set); !slices.Equal(got, []string{"/build_info.json"}) {
		t.Errorf("got %q", got)
	}
}

// tree is the content of every file below dir.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(file string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			files[file] = "directory"
			return err
		}
		content, err := os.ReadFile(file)
		files[file] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestAssetSetDigest(t *testing.T) {
	files := map[string]string{"public/a.txt": "a", "public/b.txt": "b", "public/_headers": "/*\n  A: b\n"}
	digest := func(change func(files map[string]string), replace map[string]string, exclude ...string) string {
		changed := maps.Clone(files)
		change(changed)
		dir := assetsProject(t, changed)
		made := map[string][]byte{}
		for name, content := range replace {
			made[filepath.Join(dir, name)] = []byte(content)
		}
		for i, name := range exclude {
			exclude[i] = filepath.Join(dir, name)
		}
		return readAssets(t, dir, made).Digest(exclude...)
	}
	none := func(map[string]string) {}
	base := digest(none, nil)
	for name, other := range map[string]string{
		"the same tree elsewhere":            digest(none, nil),
		"a made file that is left out":       digest(none, map[string]string{"public/info.json": "{}"}, "public/info.json"),
		"a file that is left out, not there": digest(none, nil, "public/info.json"),
		"a hidden file":                      digest(func(f map[string]string) { f["public/.assetsignore"] = "*.map"; f["public/x.map"] = "x" }, nil),
	} {
		if other != base {
			t.Errorf("%s changes the digest", name)
		}
	}
	for name, other := range map[string]string{
		"content":                 digest(func(f map[string]string) { f["public/a.txt"] = "c" }, nil),
		"a name":                  digest(func(f map[string]string) { f["public/c.txt"] = f["public/a.txt"]; delete(f, "public/a.txt") }, nil),
		"a file more":             digest(func(f map[string]string) { f["public/c.txt"] = "" }, nil),
		"headers":                 digest(func(f map[string]string) { f["public/_headers"] += "#" }, nil),
		"redirects":               digest(func(f map[string]string) { f["public/_redirects"] = "" }, nil),
		"a made file":             digest(none, map[string]string{"public/info.json": "{}"}),
		"a file that is left out": digest(none, nil, "public/a.txt"),
		"two contents swapped":    digest(func(f map[string]string) { f["public/a.txt"], f["public/b.txt"] = "b", "a" }, nil),
	} {
		if other == base {
			t.Errorf("%s does not change the digest", name)
		}
	}
}

// A body can be read again for a retry, holds one file open at a time, and reading it fails when a file is no longer what
// was hashed.
func TestAssetUpload(t *testing.T) {
	dir := assetsProject(t, map[string]string{"public/a.txt": "first", "public/same.txt": "first", "public/b.html": strings.Repeat("b", 100_000)})
	set := readAssets(t, dir, nil)
	a, b := set.Assets[0], set.Assets[1]
	if first, ok := set.ByHash(a.Hash); !ok || first.Path != "/a.txt" {
		t.Errorf("%s stands for %v, want the first of the two", a.Hash, first)
	}
	bucket, err := set.Bucket([]string{b.Hash, a.Hash})
	if err != nil {
		t.Fatal(err)
	}
	if first, again := readUpload(t, bucket), readUpload(t, bucket); !bytes.Equal(first, again) {
		t.Error("the second reading differs")
	}
	if _, err := set.Bucket([]string{a.Hash, strings.Repeat("0", 32)}); err == nil {
		t.Error("a hash that is not in the manifest is uploaded")
	}
	if _, err := set.Single("../../x"); err == nil {
		t.Error("a hash that is not in the manifest is uploaded")
	}

	abandoned := bucket.Open()
	if _, err := io.ReadFull(abandoned, make([]byte, 5000)); err != nil {
		t.Fatal(err)
	}
	if err := abandoned.Close(); err != nil {
		t.Error(err)
	}
	if n, err := io.Copy(io.Discard, abandoned); err != nil && n > 200_000 {
		t.Error("a closed body is read on")
	}

	for _, content := range []string{"First", "first and more", "fir", ""} {
		writeFiles(t, dir, map[string]string{"public/a.txt": content})
		for _, upload := range []*wrangler.AssetUpload{bucket, must(set.Single(a.Hash))} {
			if _, err := io.ReadAll(upload.Open()); err == nil || !strings.Contains(err.Error(), "/a.txt") {
				t.Errorf("%q is uploaded for %q: %v", content, "first", err)
			}
		}
	}
	if err := os.Remove(filepath.Join(dir, "public", "a.txt")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(bucket.Open()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for a file that is gone", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Uploading does not hold the files in memory.
func TestAssetUploadMemory(t *testing.T) {
	dir := assetsProject(t, map[string]string{"public/large.bin": ""})
	truncate(t, filepath.Join(dir, "public", "large.bin"), wrangler.MaxAssetSize)
	set := readAssets(t, dir, nil)
	upload := must(set.Bucket([]string{set.Assets[0].Hash}))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	body := upload.Open()
	n, err := io.Copy(io.Discard, body)
	if err != nil || n != upload.Size {
		t.Fatal(n, err)
	}
	body.Close()
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("uploading %d bytes took %d bytes of memory", n, used)
	}
}

func BenchmarkReadAssets(b *testing.B) {
	files := map[string]string{"public/.assetsignore": "*.map\n/drafts/\n!keep.map\n"}
	for i := range 2000 {
		files[fmt.Sprintf("public/d%d/file%d.html", i%40, i)] = strings.Repeat(fmt.Sprint(i), 2000)
	}
	c := configOf(b, assetsProject(b, files), "wrangler.jsonc", "")
	for b.Loop() {
		set, err := c.ReadAssets(nil)
		if err != nil {
			b.Fatal(err)
		}
		if len(set.Manifest()) == 0 {
			b.Fatal("no manifest")
		}
	}
}
