package command

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/report"
)

// TestStatusPage wants a door that stays open to show where the fleet stands also where it has no token for an account: what
// GitHub and the hostnames say is there, and what is missing is said. It writes nothing, and nothing of it fails the page.
func TestStatusPage(t *testing.T) {
	w := newOffice(t)
	edge := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Host, "anna") {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(edge.Close)
	w.env["SHOPFLEET_EDGE_URL"] = edge.URL
	fetched := 0
	k := w.desk(t, DeskOptions{Fetch: func(context.Context) error { fetched++; return nil }})
	w.released(t, "v1", "", deploy.StateSuccess)
	w.released(t, "v2", "", deploy.StateFailure)
	h := w.holds(t)
	if _, placed, err := h.place(t.Context(), Hold{Shop: "anna", Owner: "bob", Reason: "<b>stock</b>", Created: w.clock(), By: "hold", State: holdHeld}); err != nil || !placed {
		t.Fatal(placed, err)
	}
	w.ForgetRequests()
	page, err := k.StatusPage(t.Context(), report.Link{Text: "Sign out", Address: "/sign-out"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`<a href="/sign-out">Sign out</a>`, "2 shops: 1 down, 1 not read", "no API token: CLOUDFLARE_API_TOKEN is not set", "its account was not asked",
		"it answered 503", "held by bob since 2026-11-28: &lt;b&gt;stock&lt;/b&gt;", "the last deploy failed: ended", report.PagePolicy(),
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if fetched != 1 {
		t.Errorf("the repository was fetched %d times", fetched)
	}
	for _, r := range w.Requests() {
		if r.Method != http.MethodGet && !strings.HasSuffix(r.Path, "/graphql") && !strings.HasSuffix(r.Path, "/access_tokens") {
			t.Errorf("it sent %s %s", r.Method, r.Path)
		}
	}

	broken := errors.New("no way")
	k = w.desk(t, DeskOptions{Fetch: func(context.Context) error { return broken }})
	if _, err := k.StatusPage(t.Context()); !errors.Is(err, broken) {
		t.Errorf("without a repository it says %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.desk(t, DeskOptions{}).StatusPage(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("when nobody waits any more it says %v", err)
	}
}
