package deploy_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/fleet"
)

// TestLook asks a hostname once, whatever it answers, and follows nothing.
func TestLook(t *testing.T) {
	for name, test := range map[string]struct {
		path   string
		status int
		want   string // the reason; "" is well
	}{
		"as wanted":           {"/healthz", 204, ""},
		"another status":      {"/healthz", 200, "it answered 200, the policy wants 204"},
		"sent away":           {"/healthz", 302, "it answered 302, the policy wants 204"},
		"down":                {"/healthz", 503, "it answered 503, the policy wants 204"},
		"no path, well":       {"", 200, ""},
		"no path, a login":    {"", 302, ""},
		"no path, not for us": {"", 403, ""},
		"no path, down":       {"", 500, "it answered 500"},
	} {
		calls := 0
		g, q := asked(t, func(rw http.ResponseWriter, r *http.Request) {
			calls++
			if want := test.path + strings.Repeat("/", 1-min(1, len(test.path))); r.URL.Path != want || r.Host != askedHost || r.Method != http.MethodGet {
				t.Errorf("%s: it was asked for %s %s at %s", name, r.Method, r.URL.Path, r.Host)
			}
			rw.Header().Set("Location", "/elsewhere")
			rw.WriteHeader(test.status)
		})
		got, err := g.Look(t.Context(), q.Hostname, fleet.Gate{Path: test.path, Status: 204})
		if err != nil || got.Reason != test.want || got.Status != test.status || calls != 1 || got.Took <= 0 {
			t.Errorf("%s: %+v after %d requests, %v; want %q", name, got, calls, err, test.want)
		}
	}
	g, q := asked(t, func(rw http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
	if got, err := g.Look(t.Context(), q.Hostname, fleet.Gate{}); err != nil || got.Status != 0 || got.Reason == "" {
		t.Errorf("of what does not answer it says %+v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Look(ctx, q.Hostname, fleet.Gate{}); !errors.Is(err, context.Canceled) {
		t.Errorf("when nobody waits it says %v", err)
	}
}

// askedHost is the hostname of asked.
const askedHost = "helm-x.example"

// TestLedger wants the migrations of a database in one call, whoever applied them.
func TestLedger(t *testing.T) {
	s := newStage(t)
	e := s.engine()
	want, err := s.prepare(t.Context())
	s.must(err)
	if got, err := e.Ledger(t.Context(), want.Database); err != nil || len(got) != 0 {
		t.Fatalf("of a fresh database it says %q, %v", got, err)
	}
	if live, err := e.Live(t.Context(), want.Config.Name); err != nil || live.Ours() || live.Commit() != "" {
		t.Errorf("of no release it says %+v, %v", live, err)
	}
	s.mustDeploy()
	s.ForgetRequests()
	got, err := e.Ledger(t.Context(), want.Database)
	var names []string
	for _, m := range want.Migrations {
		names = append(names, m.Name)
	}
	if err != nil || !slices.Equal(got, names) || len(names) == 0 {
		t.Errorf("it says %q, %v; want %q", got, err, names)
	}
	if n := len(s.Requests()); n != 1 {
		t.Errorf("it made %d calls", n)
	}
	live, err := e.Live(t.Context(), want.Config.Name)
	if err != nil || !live.Ours() || len(live.Commit()) != 40 {
		t.Errorf("the live release is %+v of %q, %v", live, live.Commit(), err)
	}
}
