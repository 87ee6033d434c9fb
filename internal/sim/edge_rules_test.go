package sim

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestHeaderRules(t *testing.T) {
	const file = `
# a comment
/exact
  X-One: 1
  x-one: again
  Not a header
  : no name
  X-Empty:
/a/*
  X-Splat: <:splat>
  ! Cache-Control
/:kind/:id/view
  X-Kind: :kind
  X-Id: :id-:kind
https://shop.example/*
  X-Host: yes
https://:sub.shop.example/*
  X-Sub: :sub
https://shop.example:8080/*
  X-Port: never
relative
  X-Relative: never
/two/*/stars/*
  X-Stars: never
/a/deep
  X-Splat: more
  Cache-Control: max-age=9
`
	rules := parseHeaders(file)
	for _, tt := range []struct{ host, path, want string }{
		{"a.test", "/exact", "Cache-Control: default; X-One: 1, again"},
		{"a.test", "/exact/", "Cache-Control: default"},
		{"a.test", "/a/b/c", "X-Splat: <b/c>"},
		{"a.test", "/a/", "X-Splat: <>"},
		{"a.test", "/a", "Cache-Control: default"},
		{"a.test", "/bike/7/view", "Cache-Control: default; X-Id: 7-bike; X-Kind: bike"},
		{"shop.example", "/", "Cache-Control: default; X-Host: yes"},
		{"eu.shop.example", "/", "Cache-Control: default; X-Sub: eu"},
		{"a.eu.shop.example", "/", "Cache-Control: default"},
		// A later rule adds to what an earlier one set, and replaces what the response brought along.
		{"a.test", "/a/deep", "Cache-Control: max-age=9; X-Splat: <deep>; X-Splat: more"},
		{"a.test", "/two/x/stars/y", "Cache-Control: default"},
	} {
		h := http.Header{"Cache-Control": {"default"}}
		applyHeaders(rules, h, tt.host, tt.path)
		if got := headerLine(h); got != tt.want {
			t.Errorf("%s%s: %s, want %s", tt.host, tt.path, got, tt.want)
		}
	}
}

// headerLine writes headers in order of their names.
func headerLine(h http.Header) string {
	var lines []string
	for _, name := range sortedKeys(h) {
		for _, v := range h[name] {
			lines = append(lines, name+": "+v)
		}
	}
	return strings.Join(lines, "; ")
}

func TestRedirectRules(t *testing.T) {
	const file = `
/old            /new                       # moved
/permanent      /elsewhere            301
/away           https://other.example/x?y=1#z 308
no-slash        /found
/query?x=1      /without-its-query
/bad-status     /x                    404
/three          /x  301  more
/x              ftp://other.example/
https://a.test/abs  /x
/old            /duplicate
/dir/           /dir/index.html
/proxy          /served/elsewhere     200
/proxy-away     https://other.example 200
/blog/:year/:slug  /posts/:slug-:year 302
/docs/*         /manual/:splat        303
/loop/*         /loop/index.html
/evil/*         /:splat
/late           /static-after-dynamic
`
	rules := parseRedirects(file, "auto-trailing-slash")
	for _, tt := range []struct{ path, want string }{
		{"/old", "302 /new"},
		{"/permanent", "301 /elsewhere"},
		{"/away", "308 https://other.example/x?y=1#z"},
		{"/no-slash", "302 /found"},
		{"/query", "302 /without-its-query"},
		{"/bad-status", ""},
		{"/three", ""},
		{"/x", ""},
		{"/abs", ""},
		{"/dir/", ""},
		{"/proxy", "200 /served/elsewhere"},
		{"/proxy-away", ""},
		{"/blog/2026/hello", "302 /posts/hello-2026"},
		{"/blog/2026/hello/x", ""},
		{"/docs/a/b", "303 /manual/a/b"},
		{"/docs/", "303 /manual/"},
		{"/loop/x", ""},
		{"/evil//other.example", "302 /other.example"},
		{`/evil/\\other.example`, "302 /other.example"},
		{"/late", "302 /static-after-dynamic"},
	} {
		got := ""
		if to, status, ok := rules.find("a.test", tt.path); ok {
			got = fmt.Sprint(status, " ", to)
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.path, got, tt.want)
		}
	}
	if _, _, ok := parseRedirects("/dir/ /dir/index.html", "none").find("", "/dir/"); !ok {
		t.Error("without HTML handling nothing redirects back from index.html, so the rule stands")
	}
}

func TestRuleLimits(t *testing.T) {
	var headers, static, dynamic strings.Builder
	for i := range 2 * maxStaticRedirects {
		fmt.Fprintf(&headers, "/h%d\n  X-N: %d\n", i, i)
		fmt.Fprintf(&static, "/s%d /t\n", i)
		fmt.Fprintf(&dynamic, "/d%d/* /t\n", i)
	}
	// The parser notices that there are too many when it meets the next path, so one more gets in.
	if got := len(parseHeaders(headers.String())); got != maxHeaderRules+1 {
		t.Errorf("%d header rules, want %d", got, maxHeaderRules+1)
	}
	both := parseRedirects(static.String()+dynamic.String(), "")
	if len(both.static) != maxStaticRedirects || len(both.dynamic) != maxDynamicRedirects {
		t.Errorf("%d static and %d dynamic redirects, want %d and %d", len(both.static), len(both.dynamic), maxStaticRedirects, maxDynamicRedirects)
	}
	long := "/long /" + strings.Repeat("x", maxRuleLine) + "\n/short /x\n"
	if rules := parseRedirects(long, ""); len(rules.static) != 1 {
		t.Errorf("the rules are %v, want the short one only", rules.static)
	}
}

func TestGlobExpression(t *testing.T) {
	for glob, paths := range map[string][]string{
		"/api/*":   {"/api/", "/api/a/b"},
		"*":        {"/", "/x"},
		"/a.b":     {"/a.b"},
		"/*/x/*/y": {"/1/x/2/3/y"},
	} {
		for _, p := range []string{"/", "/x", "/api", "/api/", "/api/a/b", "/a.b", "/a-b", "/1/x/2/3/y", "/x/y"} {
			want := slices.Contains(paths, p) || glob == "*"
			if got := globExpression(glob).MatchString(p); got != want {
				t.Errorf("%s matches %s: %v, want %v", glob, p, got, want)
			}
		}
	}
}
