package sim

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// edge serves the hostnames of what was deployed. Static files it serves itself (edge_assets.go, edge_rules.go); Worker
// code runs in real workerd processes, one for each version (edge_workerd.go, edge_config.go), whose D1, KV and R2 bindings
// come back to the stores that the REST API reads and writes (edge_binding.go and edge_d1.go, edge_kv.go, edge_r2.go).
//
// It plays the network between a browser and a Worker only as far as a Worker can tell: https, a Ray id, the address and
// place of the client, Cloudflare's own error texts. It has no cache and no certificates.
type edge struct {
	w      *World
	runner *runner // nil: there is no workerd, and what needs code gets 503

	mu    sync.Mutex
	sites map[*servedAssets]*site
	swept uint64 // the picture for which sites and processes were last cleared out
}

func newEdge(w *World, o Options) (*edge, error) {
	e := &edge{w: w, sites: map[*servedAssets]*site{}}
	if o.Workerd != "" {
		var err error
		if e.runner, err = newRunner(e, o.Workerd); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Close ends every workerd process.
func (e *edge) Close() error {
	if e.runner == nil {
		return nil
	}
	return e.runner.Close()
}

// errNoRuntime is what callers read when a Worker's code is asked for and cannot run.
var errNoRuntime = errors.New(`no workerd was found to run the Worker's code: run "npm ci" in testdata/judge, or name the binary in SHOPFLEET_WORKERD`)

func (e *edge) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	picture := e.w.served()
	e.sweep(picture)
	r = fromOutside(r, e.ray())
	rw.Header().Set("Server", "cloudflare")
	rw.Header().Set("Cf-Ray", r.Header.Get("Cf-Ray")+"-"+edgeColo)

	script, v := picture.route(hostOnly(r.Host), urlPath(r.URL.EscapedPath()))
	if script == nil {
		// 1016 is what a hostname without an origin gives (Cloudflare's 1xxx errors).
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		rw.WriteHeader(530)
		fmt.Fprintf(rw, "error code: 1016\nNo Worker serves %s%s.\n", r.Host, r.URL.EscapedPath())
		return
	}
	if v == nil {
		v = script.pick(r.Header, e.random())
	}
	e.serve(rw, r, script, v)
}

// serve answers a request with one version of a Worker: from its files, or by running its code.
func (e *edge) serve(rw http.ResponseWriter, r *http.Request, s *servedScript, v *servedVersion) {
	start := time.Now()
	event := trafficEvent{
		Account: s.Account, Script: s.Name, Version: v.ID, At: e.w.now(), Kind: "fetch", Outcome: "ok",
		Method: r.Method, URL: "https://" + r.Host + r.URL.RequestURI(),
	}
	defer func() {
		event.Wall = time.Since(start)
		e.w.traffic(event)
	}()
	if v.Assets != nil {
		site, err := e.site(v)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			event.Status, event.Outcome = http.StatusInternalServerError, "exception"
			return
		}
		if site.takes(r, len(v.Modules) > 0) {
			event.AssetOnly = true
			event.Status = site.serve(rw, r, e.w.blob)
			return
		}
	}
	if e.runner == nil {
		http.Error(rw, "Only static files are served here, since "+errNoRuntime.Error()+".", http.StatusServiceUnavailable)
		event.Status, event.Outcome = http.StatusServiceUnavailable, "exception"
		return
	}
	p, release, err := e.runner.acquire(r.Context(), s, v)
	if err != nil {
		e.w.log.Error("edge: a Worker did not start", "script", s.Name, "version", v.ID, "error", err)
		http.Error(rw, "error code: 1101\n"+err.Error(), http.StatusInternalServerError)
		event.Status, event.Outcome = http.StatusInternalServerError, "exception"
		return
	}
	defer release()
	event.Status, event.Outcome = p.fetch(rw, r)
}

// cron delivers a scheduled event and waits for the handler, including what it passed to waitUntil.
func (e *edge) cron(ctx context.Context, s *servedScript, expression string, at time.Time) error {
	if e.runner == nil {
		return errNoRuntime
	}
	e.sweep(e.w.served())
	v := s.pick(http.Header{}, e.random())
	p, release, err := e.runner.acquire(ctx, s, v)
	if err != nil {
		return err
	}
	defer release()
	start := time.Now()
	err = p.scheduled(ctx, expression, at)
	event := trafficEvent{
		Account: s.Account, Script: s.Name, Version: v.ID, At: at, Kind: "scheduled", Cron: expression,
		Outcome: "ok", Wall: time.Since(start),
	}
	if err != nil {
		event.Outcome = "exception"
	}
	e.w.traffic(event)
	return err
}

// sweep forgets what no picture shows any more, once for each change of the world: prepared files, and processes of
// versions that were superseded. Requests in flight are finished first.
func (e *edge) sweep(picture *served) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.swept == picture.Change {
		return
	}
	e.swept = picture.Change
	live, assets := map[string]bool{}, map[*servedAssets]bool{}
	for _, s := range picture.Scripts {
		for _, v := range s.Versions {
			live[processKey(s, v)] = true
			assets[v.Assets] = true
		}
		for _, v := range s.Preview {
			live[processKey(s, v)] = true
			assets[v.Assets] = true
		}
	}
	for a := range e.sites {
		if !assets[a] {
			delete(e.sites, a)
		}
	}
	if e.runner != nil {
		e.runner.retain(live)
	}
}

// site is the prepared static half of a version.
func (e *edge) site(v *servedVersion) (*site, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s, ok := e.sites[v.Assets]; ok {
		return s, nil
	}
	s, err := newSite(v)
	if err != nil {
		return nil, err
	}
	e.sites[v.Assets] = s
	return s, nil
}

// Where this edge says it is.
const (
	edgeColo    = "SEA"
	edgeCountry = "US"
	edgeCF      = `{"asn":64512,"asOrganization":"localhost","city":"Seattle","colo":"SEA","continent":"NA","country":"US",` +
		`"httpProtocol":"HTTP/1.1","postalCode":"98101","region":"Washington","regionCode":"WA",` +
		`"timezone":"America/Los_Angeles","tlsCipher":"AEAD-AES128-GCM-SHA256","tlsVersion":"TLSv1.3"}`
)

// fromOutside is the request as Cloudflare hands it on: what a client says about itself in Cloudflare's own headers is
// replaced by what the edge knows.
func fromOutside(r *http.Request, ray string) *http.Request {
	out := r.Clone(r.Context())
	for name := range out.Header {
		if strings.HasPrefix(name, "Cf-") || strings.HasPrefix(name, controlPrefix) {
			out.Header.Del(name)
		}
	}
	client, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		client = "127.0.0.1"
	}
	out.Header.Set("Cf-Connecting-Ip", client)
	out.Header.Set("X-Real-Ip", client)
	out.Header.Set("Cf-Ipcountry", edgeCountry)
	out.Header.Set("Cf-Ray", ray)
	out.Header.Set("Cf-Visitor", `{"scheme":"https"}`)
	out.Header.Set("X-Forwarded-Proto", "https")
	return out
}

// hostOnly is a Host header without port, in lower case. Browsers resolve *.localhost to this machine by themselves, so
// shop.example.localhost is taken for shop.example.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if bare, ok := strings.CutSuffix(host, ".localhost"); ok && strings.Contains(bare, ".") {
		return bare
	}
	return host
}

// ray makes a Ray id.
func (e *edge) ray() string {
	var b [8]byte
	e.w.fill(b[:])
	return hex.EncodeToString(b[:])
}

// random is a number in [0, 1) from the world's source.
func (e *edge) random() float64 {
	var b [8]byte
	e.w.fill(b[:])
	return float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53)
}

func (e *edge) logger(s *servedScript, v *servedVersion) *slog.Logger {
	return e.w.log.With("script", s.Name, "version", v.ID)
}
