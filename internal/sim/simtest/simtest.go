// Package simtest starts a simulated Cloudflare account for a test and holds everything that travels between the test and
// the account against Cloudflare's OpenAPI description.
//
//	w := simtest.New(t, sim.Options{})
//	a := w.Account(t, "7f3a0c5e9b1d4826a0e4c2d8f6b19357", "kvick-1")
//	// CLOUDFLARE_API_BASE_URL=w.URL, CLOUDFLARE_API_TOKEN=simtest.Token
//
// A request that the description does not allow fails the test, whoever sent it; so does an answer of the simulator that
// the description does not allow. Where the description is known to be wrong or silent, allowed.go says so, with the reason.
package simtest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/kvick/shopfleet/internal/sim"
)

// Token is a bearer token that every world of this package accepts for all accounts.
const Token = "simtest-token-0123456789abcdefghijklmno"

// World is a running simulator.
type World struct {
	*sim.World
	// URL is the base of the REST API, for CLOUDFLARE_API_BASE_URL.
	URL string
	// Edge is the base of the edge, for SHOPFLEET_EDGE_URL; requests carry the shop's Host header.
	Edge string
}

// New opens a world with o and serves it on loopback until the test ends. Every request and answer of the API is
// validated; a violation is reported with t.Errorf and answered as if nothing had happened.
func New(t testing.TB, o sim.Options) *World {
	t.Helper()
	doc, err := description()
	if err != nil {
		t.Fatalf("reading the OpenAPI description: %v", err)
	}
	w, err := sim.New(o)
	if err != nil {
		t.Fatalf("starting the simulator: %v", err)
	}
	if err := w.AddToken(sim.Token{Value: Token, Name: "simtest"}); err != nil {
		t.Fatalf("adding the token: %v", err)
	}
	api := httptest.NewServer(&validator{t: t, doc: doc, world: w, next: w.API()})
	edge := httptest.NewServer(w.Edge())
	t.Cleanup(func() {
		api.CloseClientConnections()
		api.Close()
		edge.Close()
		if err := w.Close(); err != nil {
			t.Errorf("closing the simulator: %v", err)
		}
	})
	return &World{World: w, URL: api.URL + prefix, Edge: edge.URL}
}

// Account adds an account, or fails the test.
func (w *World) Account(t testing.TB, id, name string) *sim.Account {
	t.Helper()
	a, err := w.World.Account(id, name)
	if err != nil {
		t.Fatalf("adding account %s: %v", id, err)
	}
	return a
}

// Request makes a request to the API with Token; path begins after /client/v4.
func (w *World) Request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, w.URL+path, reader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+Token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}
