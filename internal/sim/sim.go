// Package sim is a Cloudflare account on localhost: the REST API that wrangler and shopfleet talk to, a real SQLite
// behind each D1 database, and an edge that serves the hostnames of what was deployed.
//
// It is written from outside facts only (the wire contract, its recordings and Cloudflare's OpenAPI), never from what our
// client happens to send, and it shares no types with internal/cloudflare. Where the contract is silent it refuses
// rather than guesses, so that a client which works here has not been flattered.
//
//	w, _ := sim.New(sim.Options{})
//	defer w.Close()
//	a, _ := w.Account("7f3a0c5e9b1d4826a0e4c2d8f6b19357", "kvick-1")
//	a.AddToken("secret", "deploy")
//	a.AddZone("kvick.bike", "c0ffee5a1bb24e8f9d3c7a6b5e4f3d21")
//	l, _ := w.Start("", "")
//	// CLOUDFLARE_API_BASE_URL=l.API, SHOPFLEET_EDGE_URL=l.Edge
//
// Start reading at world.go (what a world holds and how a request travels), then script.go (Workers, versions and
// deployments), domain.go (hostnames), storage.go (D1, KV, R2) and edge.go (serving).
package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Options configure a world. The zero value is a world in memory, on the system clock, that serves assets but runs no code.
type Options struct {
	// Dir keeps the state over restarts; it is created when missing. Empty keeps everything in memory.
	// Every answered write is on disk before its answer is sent.
	Dir string
	// Now is the clock of the world: timestamps, expiry, the rate limit. Nil means time.Now.
	// Latency and delays of faults pass in real time whatever the clock says.
	Now func() time.Time
	// Random fills b; ids, keys and bookmarks are made from it. Nil means crypto/rand. Calls are serialised.
	Random func(b []byte)
	// Workerd is the path of a workerd binary that runs Worker code. Empty: only static assets are served.
	Workerd string
	// Log receives what an operator of the simulator wants to know. Nil discards it.
	Log *slog.Logger
	// RateLimit is how many calls a token may make in five minutes before it is blocked for five minutes.
	// 0 means Cloudflare's 1200; a negative value switches the limit off.
	RateLimit int
	// SingleAssetUploads makes upload sessions ask wrangler for one request per static file instead of buckets (wire.md §5.5).
	SingleAssetUploads bool
	// KeepBodies records the bodies of writes in the request log (Request.Body).
	KeepBodies bool
}

// Listening tells where a started world can be reached. Both servers listen on loopback only.
type Listening struct {
	// API is the base of the REST API, for CLOUDFLARE_API_BASE_URL: http://127.0.0.1:port/client/v4.
	API string
	// Edge serves the shops by Host header, for SHOPFLEET_EDGE_URL: http://127.0.0.1:port.
	Edge string
}

// Start serves the API and the edge on two loopback addresses until Close. An empty address means a free port on
// 127.0.0.1; an address that is not loopback is refused, since anybody who reaches the API may control the world.
func (w *World) Start(apiAddr, edgeAddr string) (*Listening, error) {
	api, err := listenLoopback(apiAddr)
	if err != nil {
		return nil, fmt.Errorf("listening for the API: %w", err)
	}
	edge, err := listenLoopback(edgeAddr)
	if err != nil {
		api.Close()
		return nil, fmt.Errorf("listening for the edge: %w", err)
	}
	w.serve(api, w.API())
	w.serve(edge, w.Edge())
	return &Listening{
		API:  "http://" + api.Addr().String() + apiPrefix,
		Edge: "http://" + edge.Addr().String(),
	}, nil
}

func listenLoopback(addr string) (net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%s is not a loopback address", addr)
	}
	return net.Listen("tcp", addr)
}

func (w *World) serve(l net.Listener, h http.Handler) {
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelWarn)}
	w.mu.Lock()
	w.servers = append(w.servers, s)
	w.mu.Unlock()
	go func() {
		if err := s.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			w.log.Error("sim: serving stopped", "address", l.Addr().String(), "error", err)
		}
	}()
}

// Close stops the servers that Start made and releases databases and processes. Calls still in flight get a few
// seconds to finish; a world with Options.Dir can be opened again afterwards.
func (w *World) Close() error {
	w.mu.Lock()
	servers := w.servers
	w.servers = nil
	w.mu.Unlock()
	w.closeTails()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	var errs []error
	for _, s := range servers {
		if err := s.Shutdown(ctx); err != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(append(errs, w.edge.Close(), w.storage.Close(), w.saveUsage())...)
}

// Edge serves the shops' hostnames: the Host header decides which Worker answers.
func (w *World) Edge() http.Handler { return w.edge }
