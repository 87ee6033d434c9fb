package deploy_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// asked is a gate that asks a handler, and what it asks.
func asked(t *testing.T, h http.HandlerFunc) (*deploy.Gate, deploy.Question) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return &deploy.Gate{EdgeURL: server.URL, Transport: cloudflare.LoopbackOnly(http.DefaultTransport)}, deploy.Question{
		Hostname: "helm-x.example", BuildInfoURL: "/build_info.json", Shop: "x",
		Policy: fleet.Gate{Timeout: 15 * time.Millisecond, Interval: time.Millisecond, Protected: []string{"/", "/orders?open=1"}},
	}
}

// What sends a stranger away, what lets one in for good, and what may still change.
func TestGateProtected(t *testing.T) {
	const away, in, again = "away", "in", "again"
	for _, test := range []struct {
		status   int
		location string
		want     string
	}{
		{401, "", away}, {403, "", away},
		{301, "/login", away}, {302, "/login?to=/", away}, {303, "login", away}, {307, "https://id.example/", away}, {308, "//id.example/", away},
		{302, "https://helm-x.example.evil.example/", away},
		{302, "/", again}, {302, "?again=1", again}, {302, "https://helm-x.example/", again}, {302, "http://HELM-X.example:443/orders/", again}, {302, "/orders", again},
		{302, "", again}, {302, "http://[", again},
		{200, "", in}, {201, "", in}, {204, "", in}, {206, "", in}, {299, "/login", in},
		{300, "/login", again}, {304, "/login", again}, {404, "", again}, {405, "", again}, {429, "", again}, {500, "", again}, {503, "", again},
	} {
		g, q := asked(t, func(rw http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/build_info.json":
				rw.Write([]byte("mine"))
				return
			case r.Header.Get("Cookie")+r.Header.Get("Authorization") != "" || r.Host != "helm-x.example":
				t.Errorf("asked with %v at %s", r.Header, r.Host)
			}
			if test.location != "" {
				rw.Header().Set("Location", test.location)
			}
			rw.WriteHeader(test.status)
		})
		res, err := g.Check(t.Context(), q, []byte("mine"))
		if err != nil {
			t.Fatal(err)
		}
		got := again
		switch {
		case res.Passed:
			got = away
		case res.Tries == 1:
			got = in
		}
		if got != test.want || (got == away) != (len(res.Bounced) == 2) || (got == away) != (res.Reason == "") {
			t.Errorf("%d to %q: %s, want %s; %+v", test.status, test.location, got, test.want, res)
		}
	}
}

// While a release spreads, two answers in a row can be of two releases. What the one before still does is not held
// against the new one; and where nothing tells which one answers nothing is final.
func TestGateHoldsNothingOfAnotherReleaseAgainstThisOne(t *testing.T) {
	var infos, doors atomic.Int32
	handler := func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/build_info.json" {
			if infos.Add(1) == 2 { // asked again after the door was open
				rw.Write([]byte("the one before"))
				return
			}
			rw.Write([]byte("mine"))
			return
		}
		if doors.Add(1) == 1 {
			rw.Write([]byte("welcome"))
			return
		}
		rw.WriteHeader(401)
	}
	g, q := asked(t, handler)
	q.Policy.Timeout = 10 * time.Second
	if res, err := g.Check(t.Context(), q, []byte("mine")); err != nil || !res.Passed || res.Tries != 2 {
		t.Errorf("%+v, %v", res, err)
	}
	doors.Store(0)
	if res, err := g.Check(t.Context(), q, nil); err != nil || !res.Passed || res.Tries != 2 || !strings.Contains(res.Skipped, "names no build_info") {
		t.Errorf("without build_info: %+v, %v", res, err)
	}
}

// An answer that never ends is read as far as an answer can be.
func TestGateReadsNoMoreThanAnAnswer(t *testing.T) {
	g, q := asked(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/build_info.json" {
			rw.Write([]byte("mine"))
			return
		}
		page := []byte(strings.Repeat(" ", 1<<16))
		for range 1 << 12 {
			if _, err := rw.Write(page); err != nil {
				return
			}
		}
	})
	q.Policy.Protected, q.Identity.Path = nil, "/seen"
	began := time.Now()
	if res, err := g.Check(t.Context(), q, []byte("mine")); err != nil || res.Passed || time.Since(began) > 5*time.Second || len(res.Reason) > 200 {
		t.Errorf("%+v, %v after %s", res, err, time.Since(began))
	}
}
