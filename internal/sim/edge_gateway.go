package sim

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"
)

// gateway is where the bindings of every workerd process lead: one HTTP server on loopback. A request says in a header
// which binding it came through; the header's value is a secret between the gateway and the configuration that
// workerd read, so that a Worker reaches through a binding what the binding is for and nothing else.
type gateway struct {
	e       *edge
	address string
	server  http.Server

	uploads uploadBook // of R2 bindings

	mu       sync.RWMutex
	bindings map[string]http.HandlerFunc // by token
}

// bindingEnd is what a token stands for: a binding of one Worker, or one of the ways out that every Worker has.
type bindingEnd struct {
	kind         string // d1, kv, r2, assets, service, outbound or trace
	resource     string // id or name of what it is bound to
	jurisdiction string

	account string
	script  *servedScript // whose binding it is
	version *servedVersion
	process *process
	log     *slog.Logger
}

func newGateway(e *edge) (*gateway, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for bindings: %w", err)
	}
	g := &gateway{e: e, address: l.Addr().String(), bindings: map[string]http.HandlerFunc{}}
	g.server.Handler = g
	g.server.ReadHeaderTimeout = time.Minute
	g.server.ErrorLog = slog.NewLogLogger(e.w.log.Handler(), slog.LevelWarn)
	go func() {
		if err := g.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			e.w.log.Error("edge: serving bindings stopped", "error", err)
		}
	}()
	return g, nil
}

func (g *gateway) Close() error { return g.server.Close() }

// connect opens an end and gives its token.
func (g *gateway) connect(b bindingEnd) string {
	token := rand.Text() // a secret: not from the world's source of ids, which tests pin
	serve := map[string]func(http.ResponseWriter, *http.Request, bindingEnd){
		"d1": g.serveD1, "kv": g.serveKV, "r2": g.serveR2, "assets": g.serveAssets, "service": g.serveService,
		"outbound": g.serveOutbound, "trace": g.serveTrace,
	}[b.kind]
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bindings[token] = func(rw http.ResponseWriter, r *http.Request) { serve(rw, r, b) }
	return token
}

func (g *gateway) disconnect(tokens []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range tokens {
		delete(g.bindings, t)
	}
}

func (g *gateway) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	g.mu.RLock()
	h := g.bindings[r.Header.Get(bindingHeader)]
	g.mu.RUnlock()
	if h == nil {
		http.Error(rw, "this address serves the bindings of Workers only", http.StatusForbidden)
		return
	}
	r.URL.Scheme, r.URL.Host = r.Header.Get(schemeHeader), r.Host // as the Worker's request had it
	for name := range r.Header {
		if strings.HasPrefix(name, controlPrefix) {
			r.Header.Del(name) // a Worker may not speak to another's entry.js
		}
	}
	h(rw, r)
}

// serveAssets is env.ASSETS.fetch: the files of the Worker's own version, without its code having a say.
func (g *gateway) serveAssets(rw http.ResponseWriter, r *http.Request, b bindingEnd) {
	if b.version.Assets == nil {
		http.Error(rw, "this version has no assets", http.StatusNotFound)
		return
	}
	site, err := g.e.site(b.version)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	site.serve(rw, r, g.e.w.blob)
}

// serveService is a service binding to another Worker of the account, whatever hostname the request names.
func (g *gateway) serveService(rw http.ResponseWriter, r *http.Request, b bindingEnd) {
	for _, s := range g.e.w.served().Scripts {
		if s.Account == b.account && s.Name == b.resource {
			r.Header.Set("X-Forwarded-Proto", r.URL.Scheme)
			g.e.serve(rw, r, s, s.pick(r.Header, g.e.random()))
			return
		}
	}
	// 1042 is what a fetch to a Worker that cannot be reached gives.
	http.Error(rw, fmt.Sprintf("error code: 1042\nThere is no deployed Worker %s in this account.", b.resource), http.StatusNotFound)
}

// serveOutbound is the Worker's own fetch. It reaches the hostnames of this world and loopback addresses; no name is looked
// up and nothing leaves the machine, since a test that passes only with the real network is not a test.
func (g *gateway) serveOutbound(rw http.ResponseWriter, r *http.Request, b bindingEnd) {
	host := r.URL.Hostname()
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		proxy := &httputil.ReverseProxy{
			Rewrite:       func(pr *httputil.ProxyRequest) { pr.Out.URL.RawQuery = pr.In.URL.RawQuery },
			FlushInterval: -1,
			ErrorHandler: func(rw http.ResponseWriter, r *http.Request, err error) {
				// 521: the origin refuses connections.
				http.Error(rw, "error code: 521\n"+err.Error(), 521)
			},
		}
		proxy.ServeHTTP(rw, r)
		return
	}
	script, _ := g.e.w.served().route(host, urlPath(r.URL.EscapedPath()))
	switch {
	case script == nil:
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		rw.WriteHeader(530)
		fmt.Fprintf(rw, "error code: 1016\nA Worker in this simulator reaches its own world and loopback addresses, not %s.\n", host)
	case script.ID == b.script.ID:
		// A Worker that fetches its own hostname means the origin behind it, and there is none.
		http.Error(rw, "error code: 522\nThere is no origin behind "+host+".", 522)
	default:
		g.e.ServeHTTP(rw, r)
	}
}
