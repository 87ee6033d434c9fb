package sim

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHostOnly(t *testing.T) {
	for host, want := range map[string]string{
		"helm-swicked.kvick.bike":                "helm-swicked.kvick.bike",
		"Helm-Swicked.Kvick.Bike:8787":           "helm-swicked.kvick.bike",
		"helm-swicked.kvick.bike.":               "helm-swicked.kvick.bike",
		"helm-swicked.kvick.bike.localhost:8787": "helm-swicked.kvick.bike",
		"swicked.localhost":                      "swicked.localhost",
		"localhost:80":                           "localhost",
		"[::1]:80":                               "::1",
	} {
		if got := hostOnly(host); got != want {
			t.Errorf("hostOnly(%q) = %q, want %q", host, got, want)
		}
	}
}

func TestFromOutside(t *testing.T) {
	r := httptest.NewRequest("GET", "https://a.test/", nil)
	r.RemoteAddr = "203.0.113.9:4711"
	for name, v := range map[string]string{"Cf-Connecting-Ip": "6.6.6.6", "Cf-Worker": "x", "Sim-Cron": "* * * * *", "X-Forwarded-Proto": "http", "X-Kept": "yes"} {
		r.Header.Set(name, v)
	}
	out := fromOutside(r, "0123456789abcdef").Header
	for name, want := range map[string]string{
		"Cf-Connecting-Ip": "203.0.113.9", "Cf-Worker": "", "Sim-Cron": "", "X-Forwarded-Proto": "https", "X-Kept": "yes",
		"Cf-Ray": "0123456789abcdef", "Cf-Visitor": `{"scheme":"https"}`,
	} {
		if got := out.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if r.Header.Get("Cf-Worker") != "x" {
		t.Error("the client's own request was changed")
	}
}

func TestPick(t *testing.T) {
	a, b := &servedVersion{ID: "a"}, &servedVersion{ID: "b"}
	s := &servedScript{Name: "helm-swicked", ID: "s", Versions: []*servedVersion{a, b}, Shares: []float64{90, 10}}
	for random, want := range map[float64]*servedVersion{0: a, 0.5: a, 0.899: a, 0.9: b, 0.999: b} {
		if got := s.pick(http.Header{}, random); got != want {
			t.Errorf("at %v the version is %s, want %s", random, got.ID, want.ID)
		}
	}
	for override, want := range map[string]*servedVersion{
		`helm-swicked="b"`:              b,
		`other="b", helm-swicked="b";q`: b,
		`other="b"`:                     a,
		`helm-swicked="nobody"`:         a,
		`helm-swicked`:                  a,
		``:                              a,
	} {
		h := http.Header{}
		h.Set(overridesHeader, override)
		if got := s.pick(h, 0); got != want {
			t.Errorf("override %q gives %s, want %s", override, got.ID, want.ID)
		}
	}
	met := map[string]bool{}
	for _, key := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20"} {
		h := http.Header{affinityHeader: {key}}
		first := s.pick(h, 0.1)
		if again := s.pick(h, 0.95); again != first {
			t.Errorf("key %s meets %s and %s", key, first.ID, again.ID)
		}
		met[first.ID] = true
	}
	if !met["a"] || !met["b"] {
		t.Errorf("twenty keys meet %v only", met)
	}
	// A version at 0 % is reached by an override only.
	s.Shares = []float64{100, 0}
	if got := s.pick(http.Header{}, 0.9999); got != a {
		t.Errorf("at 100:0 the version is %s", got.ID)
	}
}

func TestCapnpText(t *testing.T) {
	for text, want := range map[string]string{
		"plain":           `"plain"`,
		"ü":               `"ü"`,
		"a\"b\\c\n\x00\t": `"a\x22b\x5cc\x0a\x00\x09"`,
	} {
		if got := capnpText(text); got != want {
			t.Errorf("capnpText(%q) = %s, want %s", text, got, want)
		}
	}
}
