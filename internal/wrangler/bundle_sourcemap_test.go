package wrangler_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

func TestRewriteSourceMap(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{
			"members keep their order and file comes last when it is new",
			"{\n  \"version\": 3,\n  \"sources\": [\"../a.ts\"],\n  \"mappings\": \"AAAA\",\n  \"names\": []\n}\n",
			`{"version":3,"sources":["<../a.ts>"],"mappings":"AAAA","names":[],"file":"index.js"}`,
		},
		{
			"file is replaced where it is",
			`{"file": "old.js", "version": 3, "sources": []}`,
			`{"file":"index.js","version":3,"sources":[]}`,
		},
		{
			"a sourceRoot is rewritten, an empty one is left",
			`{"sourceRoot": "../x", "sources": []}`,
			`{"sourceRoot":"(../x)","sources":[],"file":"index.js"}`,
		},
		{
			"no sourceRoot",
			`{"sourceRoot": "", "sources": []}`,
			`{"sourceRoot":"","sources":[],"file":"index.js"}`,
		},
		{
			"null for a sourceRoot",
			`{"sourceRoot": null, "sources": []}`,
			`{"sourceRoot":null,"sources":[],"file":"index.js"}`,
		},
		{
			"escapes are JavaScript's",
			`{"sources": [], "sourcesContent": ["\u00e9\ud83d\udeb2\u2028</\/script>&\u0007", null], "n": [1.50, 1e3, -0]}`,
			"{\"sources\":[],\"sourcesContent\":[\"é\U0001F6B2\u2028<//script>&\\u0007\",null],\"n\":[1.5,1000,0],\"file\":\"index.js\"}",
		},
		{
			"sources are escaped too",
			`{"sources": ["\"<é>"]}`,
			`{"sources":["<\"<é>>"],"file":"index.js"}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := wrangler.RewriteSourceMap([]byte(test.in), "index.js",
				func(s string) string { return "(" + s + ")" }, func(s string) string { return "<" + s + ">" })
			if err != nil || string(got) != test.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, test.want)
			}
		})
	}
	for _, bad := range []string{"", "[]", "{", `{"sources": 1}`, `{"sources": [], }`, `{"a": "\q"}`} {
		if got, err := wrangler.RewriteSourceMap([]byte(bad), "f", strings.ToUpper, strings.ToUpper); err == nil {
			t.Errorf("%q became %s", bad, got)
		}
	}
}

// Source maps of modules that are not bundled: who points to one, and what becomes of the paths in it.
func TestBundleScansSourceMaps(t *testing.T) {
	dir := bundleFiles(t, worker(`"no_bundle": true,`, map[string]string{
		"src/index.ts":         fetchHandler + "//# sourceMappingURL=maps/index.map \n//# another=comment\n\n",
		"src/maps/index.map":   `{"version":3,"sourceRoot":"./../root","sources":["../../src/a.ts",".\\b.ts","c.ts"]}`,
		"src/code-follows.txt": "//# sourceMappingURL=maps/index.map\ncode\n",
		"src/gone.txt":         "//# sourceMappingURL=gone.map",
		"src/inline.txt":       "//# sourceMappingURL=data:application/json;base64,e30=",
		"src/broken.txt":       "//# sourceMappingURL=maps/broken.map",
		"src/maps/broken.map":  "{",
	}))
	b := mustBundle(t, bundleConfig(t, dir, ""), wrangler.BundleOptions{})
	if len(b.SourceMaps) != 1 || b.SourceMaps[0].Name != "index.ts.map" {
		t.Fatalf("source maps are %v", b.SourceMaps)
	}
	want := `{"version":3,"sourceRoot":"root","sources":["src/a.ts","b.ts","c.ts"],"file":"index.ts"}`
	if got := string(b.SourceMaps[0].Content); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Whatever is in a map, what comes out is JSON that has nothing left to change.
func FuzzRewriteSourceMap(f *testing.F) {
	f.Add([]byte(`{"version":3,"sources":["../a.ts"],"sourceRoot":"","sourcesContent":["\u00e9",null],"names":[],"mappings":"AAAA"}`))
	f.Add([]byte(`{"file": 1, "file": 2, "names": ["\/"], "x": {"b": [1.50, {"10": 1, "2": -0}]}}`))
	f.Add([]byte(`{"sourceRoot":"\ud800"}`))
	same := func(s string) string { return s }
	f.Fuzz(func(t *testing.T, in []byte) {
		once, err := wrangler.RewriteSourceMap(in, "index.js", same, same)
		if err != nil {
			return
		}
		if !json.Valid(once) {
			t.Fatalf("%q became %q, which is no JSON", in, once)
		}
		twice, err := wrangler.RewriteSourceMap(once, "index.js", same, same)
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%q became %q, and that %q (%v)", in, once, twice, err)
		}
	})
}
