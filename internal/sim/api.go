package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/d1"
)

const (
	apiPrefix = "/client/v4"
	// maxBody bounds a request; a Worker is at most 10 MB compressed, an asset 25 MiB before base64.
	maxBody = 256 << 20
)

// endpoint is one route of the API. Pattern is a ServeMux pattern without the /client/v4 prefix.
type endpoint struct {
	pattern string
	access  access
	answer  func(*call) (any, error)
}

// access is what a handler does to the state, which decides how it is run.
type access int

const (
	reads   access = iota // under the read lock of World.mu
	writes                // under World.mu; what was touched is flushed before the answer
	ownLock               // takes World.mu itself, through call.change
)

// call is one API call being answered.
type call struct {
	w       *World
	r       *http.Request
	account *account    // the {account} of the path, or the one that owns {zone}; nil elsewhere
	zone    *zone       // the {zone} of the path
	cred    *credential // who asks
	body    []byte
}

func (c *call) path(name string) string  { return c.r.PathValue(name) }
func (c *call) query(name string) string { return c.r.URL.Query().Get(name) }

// decode reads the body as JSON whatever its Content-Type says (wire.md §1).
func (c *call) decode(v any) error {
	if err := json.Unmarshal(c.body, v); err != nil {
		return refuse(http.StatusBadRequest, 10026, "Could not parse request body: %v", err)
	}
	return nil
}

// change runs f under World.mu and flushes. It is for handlers with ownLock.
func (c *call) change(f func() (any, error)) (any, error) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	result, err := f()
	if ferr := c.w.flush(); err == nil && ferr != nil {
		return nil, ferr
	}
	return result, err
}

// API is the REST API below /client/v4, the presigned URLs that it hands out, and the control endpoints below /__sim.
func (w *World) API() http.Handler { return w.api }

// routes puts the API together.
func (w *World) routes() http.Handler {
	v4 := http.NewServeMux()
	for _, area := range [][]endpoint{
		identityEndpoints(), scriptEndpoints(), uploadEndpoints(), versionEndpoints(), settingEndpoints(), secretEndpoints(),
		serviceEndpoints(), assetEndpoints(), domainEndpoints(), routeEndpoints(), zoneEndpoints(), dnsEndpoints(),
		productEndpoints(), tagEndpoints(), tailEndpoints(), graphqlEndpoints(), billingEndpoints(),
	} {
		for _, e := range area {
			v4.HandleFunc(e.pattern, w.handler(e))
		}
	}
	w.storage.handle(v4)

	root := http.NewServeMux()
	root.Handle(apiPrefix+"/", http.StripPrefix(apiPrefix, w.front(v4)))
	w.storage.handleSigned(root)
	w.control(root)
	w.tailSockets(root)
	return root
}

// handler runs an endpoint.
func (w *World) handler(e endpoint) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
		if err != nil {
			writeRefusal(rw, refuse(http.StatusRequestEntityTooLarge, 10027, "request body: %v", err))
			return
		}
		c := &call{w: w, r: r, body: body}
		c.cred, _ = r.Context().Value(credentialKey{}).(*credential)
		var result any
		switch e.access {
		case reads:
			w.mu.RLock()
			if err = c.locate(); err == nil {
				result, err = e.answer(c)
			}
			w.mu.RUnlock()
		case writes:
			result, err = c.change(func() (any, error) {
				if err := c.locate(); err != nil {
					return nil, err
				}
				return e.answer(c)
			})
		case ownLock:
			w.mu.RLock()
			err = c.locate()
			w.mu.RUnlock()
			if err == nil {
				result, err = e.answer(c)
			}
		}
		writeAnswer(rw, result, err)
	}
}

// locate finds the account and the zone of the path; front has checked that they exist and may be seen.
func (c *call) locate() error {
	if id := c.path("account"); id != "" {
		c.account = c.w.accounts[id]
	}
	if id := c.path("zone"); id != "" {
		c.account, c.zone = c.w.findZone(id)
	}
	return nil
}

type credentialKey struct{}

// front is what every call passes before its handler: log, Ray id, latency, faults, authentication, budget.
func (w *World) front(v4 *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		entry := &Request{
			Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery,
			Write: isWrite(r), Started: time.Now(), Ray: w.id()[:16] + "-SIM",
		}
		_, entry.Op = v4.Handler(r)
		w.requests.open(entry)
		out := &recorder{ResponseWriter: rw, log: &w.requests, entry: entry}
		defer out.ended(0) // cut connections end here
		out.Header().Set("cf-ray", entry.Ray)
		query := queryPath.MatchString(r.URL.Path)
		if query || w.keepBody && entry.Write {
			body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
			if err != nil {
				return // the caller has gone
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			w.requests.update(entry, func(e *Request) {
				e.Write = e.Write && !(query && readsOnly(body))
				if w.keepBody && e.Write {
					e.Body, e.ContentType = body, r.Header.Get("Content-Type")
				}
			})
		}
		wait(r.Context(), time.Duration(w.latency.Load()))
		next := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.admit(rw, r, entry, v4) })
		target := entry.Path
		if entry.Query != "" {
			target += "?" + entry.Query
		}
		if rule := w.faults.match(r.Method, target); rule != nil {
			w.requests.update(entry, func(e *Request) { e.Fault = rule.id })
			rule.apply(out, r, next)
			return
		}
		next.ServeHTTP(out, r)
	})
}

// admit authenticates and counts a call, then lets its handler answer.
func (w *World) admit(rw http.ResponseWriter, r *http.Request, entry *Request, v4 *http.ServeMux) {
	if !assetUpload(r.URL.Path) { // those carry the session's JWT instead (wire.md §5)
		cred, err := w.authenticate(r)
		if err == nil {
			w.requests.update(entry, func(e *Request) { e.Token = cred.Name })
			limit, key := w.rateLimit, cred.ID
			if r.URL.Path == "/graphql" && limit >= 0 {
				limit, key = graphqlLimit, key+"/graphql"
			}
			err = w.limits.take(rw, key, limit, w.now())
		}
		if err == nil {
			err = w.authorize(cred, r)
		}
		if err == nil {
			err = cred.permitted(r, entry.Write)
		}
		if err != nil {
			writeRefusal(rw, err)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), credentialKey{}, cred))
	}
	if entry.Op == "" {
		noRoute(rw, r, v4)
		return
	}
	v4.ServeHTTP(rw, r)
}

// noRoute answers what no endpoint takes: another method of a known path, or an unknown path.
func noRoute(rw http.ResponseWriter, r *http.Request, v4 *http.ServeMux) {
	h := newHeld()
	v4.ServeHTTP(h, r)
	if h.status == http.StatusMethodNotAllowed {
		writeRefusal(rw, refuse(h.status, 7001, "Method %s not available for that URI.", r.Method))
		return
	}
	writeRefusal(rw, &refusal{Status: http.StatusNotFound, Code: 7003,
		Message: fmt.Sprintf("Could not route to %s, perhaps your object identifier is invalid?", r.URL.Path),
		More:    []refusal{{Code: 7000, Message: "No route for that URI"}}})
}

var (
	assetUploadPath = regexp.MustCompile(`^/accounts/[^/]+/workers/assets/upload(/|$)`)
	// harmlessPost are POSTs that change nothing.
	harmlessPost = regexp.MustCompile(`^/graphql$|/domains/changeset$|/bulk/get$`)
)

var (
	queryPath = regexp.MustCompile(`^/accounts/[^/]+/d1/database/[^/]+/(query|raw)$`)
	selects   = regexp.MustCompile(`(?is)^(\s|--[^\n]*\n|/\*.*?\*/)*(select|explain|values|pragma\s+\w+\s*(\([^=]*\))?\s*;?\s*$)`)
)

// readsOnly tells whether the body of a D1 query holds nothing but statements that read.
func readsOnly(body []byte) bool {
	type query struct {
		SQL   string  `json:"sql"`
		Batch []query `json:"batch"`
	}
	var in query
	if json.Unmarshal(body, &in) != nil {
		return false
	}
	for _, q := range append(in.Batch, in) {
		list, err := d1.Split(q.SQL)
		if err != nil {
			return false
		}
		for _, s := range list {
			if !selects.MatchString(s.SQL) {
				return false
			}
		}
	}
	return true
}

func assetUpload(path string) bool { return assetUploadPath.MatchString(path) }

func isWrite(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	case http.MethodPost:
		return !harmlessPost.MatchString(r.URL.Path)
	}
	return true
}

// recorder notes when and with what status an answer begins.
type recorder struct {
	http.ResponseWriter
	log   *requestLog
	entry *Request
}

func (o *recorder) ended(status int) {
	now := time.Now()
	o.log.update(o.entry, func(e *Request) {
		if e.Ended.IsZero() {
			e.Ended, e.Status = now, status
		}
	})
}

func (o *recorder) WriteHeader(status int) {
	o.ended(status)
	o.ResponseWriter.WriteHeader(status)
}

func (o *recorder) Write(b []byte) (int, error) {
	o.ended(http.StatusOK)
	return o.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (o *recorder) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// wait passes d in real time, or until the caller has gone.
func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// paged cuts one page out of items as page and per_page ask (P1 and P3 of wire.md §1). For items that are already selected and sorted.
func paged[T any](c *call, items []T, perPage, most int) page {
	number := positive(c.query("page"), 1, 1<<30)
	perPage = positive(c.query("per_page"), perPage, most)
	total := len(items)
	from := min((number-1)*perPage, total)
	items = items[from:min(from+perPage, total)]
	if items == nil {
		items = []T{}
	}
	return page{items, map[string]any{
		"page": number, "per_page": perPage, "count": len(items), "total_count": total,
		"total_pages": (total + perPage - 1) / perPage,
	}}
}

func positive(text string, otherwise, most int) int {
	n := 0
	if _, err := fmt.Sscanf(strings.TrimSpace(text), "%d", &n); err != nil || n < 1 {
		return min(otherwise, most)
	}
	return min(n, most)
}
