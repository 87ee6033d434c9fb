package sim

import "testing"

func TestURLPath(t *testing.T) {
	for raw, want := range map[string]string{
		"/":              "/",
		"":               "/",
		"/a/b":           "/a/b",
		"/a/./b":         "/a/b",
		"/a/../b":        "/b",
		"/a/..":          "/",
		"/a/.":           "/a/",
		"/../../etc":     "/etc",
		"/a/%2e%2E/b":    "/b",
		"/a/.%2e/b":      "/b",
		"/a/%2e":         "/a/",
		`/a\b\..\c`:      "/a/c",
		"//a//b":         "//a//b",
		"/a b":           "/a%20b",
		"/%41":           "/%41",
		"/ünï":           "/%C3%BCn%C3%AF",
		"/{x}<y>\"`^'|~": "/%7Bx%7D%3Cy%3E%22%60%5E'|~",
		"/a...b/...":     "/a...b/...",
		"/a/b/../../..":  "/",
	} {
		if got := urlPath(raw); got != want {
			t.Errorf("urlPath(%q) = %q, want %q", raw, got, want)
		}
	}
}

func TestDecodeAndEncodePath(t *testing.T) {
	for raw, want := range map[string]string{
		"/a%20b":     "/a b",
		"/a%2Fb":     "/a/b",
		"/a//b///c":  "/a/b/c",
		"/%zz":       "/%zz",
		"/%FF":       "/%FF", // not UTF-8: stays as it is
		"/%C3%BC":    "/ü",
		"/a+b":       "/a+b",
		"/%2F%2Fa/b": "/a/b",
	} {
		if got := decodePath(raw); got != want {
			t.Errorf("decodePath(%q) = %q, want %q", raw, got, want)
		}
	}
	for path, want := range map[string]string{
		"/a b":            "/a%20b",
		"/ü":              "/%C3%BC",
		"/a+b=c&d":        "/a%2Bb%3Dc%26d",
		"/-_.!~*'()/9":    "/-_.!~*'()/9",
		"/%zz":            "/%25zz",
		"/a/b/":           "/a/b/",
		"/quote\"@:[x];,": "/quote%22%40%3A%5Bx%5D%3B%2C",
	} {
		if got := encodePath(path); got != want {
			t.Errorf("encodePath(%q) = %q, want %q", path, got, want)
		}
	}
}

func FuzzURLPath(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", `\..\x`, "/%2e%2E/", "//", "/a b?"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		once := urlPath(raw)
		if once == "" || once[0] != '/' {
			t.Fatalf("urlPath(%q) = %q does not begin with a slash", raw, once)
		}
		if twice := urlPath(once); twice != once {
			t.Errorf("urlPath(%q) = %q, and again %q", raw, once, twice)
		}
		for i := range len(once) {
			if c := once[i]; c <= ' ' || c >= 0x7f || c == '?' || c == '#' {
				t.Fatalf("urlPath(%q) = %q holds %q", raw, once, c)
			}
		}
	})
}
