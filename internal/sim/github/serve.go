package github

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxBody bounds a request of the API; GitHub takes blobs up to 100 MB.
const maxBody = 160 << 20

// call is one call of the API being answered, under World.mu.
type call struct {
	w     *World
	r     *http.Request
	route *route
	vars  map[string]string // of the path, unescaped
	repo  *Repository       // {owner}/{repo} of the path
	cred  *credential
	body  []byte
}

// API is the REST API and GraphQL.
func (w *World) API() http.Handler { return w.front(http.HandlerFunc(w.serveAPI), false) }

// Git is git over HTTP, and on the same host the page where people sign in.
func (w *World) Git() http.Handler {
	git, web := w.front(http.HandlerFunc(w.serveGit), true), w.front(http.HandlerFunc(w.serveLogin), false)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" || strings.HasPrefix(r.URL.Path, "/login/") {
			web.ServeHTTP(rw, r)
			return
		}
		git.ServeHTTP(rw, r)
	})
}

// entryKey is the context key of the request's entry in the log.
type entryKey struct{}

// front logs requests and plays faults.
func (w *World) front(next http.Handler, git bool) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		id := w.requestID()
		w.mu.Unlock()
		entry := &Request{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, At: w.now(), ID: id, Git: git}
		w.requests.open(entry)
		seen := &observed{ResponseWriter: rw}
		seen.Header().Set("X-GitHub-Request-Id", id)
		defer func() {
			w.requests.update(entry, func(e *Request) { e.Status = seen.status })
		}()
		r = r.WithContext(withEntry(r.Context(), entry))
		if f := w.faults.match(r.Method, r.URL.RequestURI()); f != nil {
			w.requests.update(entry, func(e *Request) { e.Fault = f.id })
			f.apply(seen, r, next)
			return
		}
		next.ServeHTTP(seen, r)
	})
}

// requestID is made like GitHub's: groups of upper-case hexadecimal digits.
func (w *World) requestID() string {
	b := make([]byte, 14)
	w.random(b)
	h := strings.ToUpper(hex.EncodeToString(b))
	return h[:4] + ":" + h[4:10] + ":" + h[10:17] + ":" + h[17:24] + ":" + h[20:28]
}

// observed notes the status of an answer.
type observed struct {
	http.ResponseWriter
	status int
}

func (o *observed) WriteHeader(status int) {
	if o.status == 0 {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

func (o *observed) Write(b []byte) (int, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	return o.ResponseWriter.Write(b)
}

func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }

func (w *World) serveAPI(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
	if err != nil {
		writeAnswer(rw, answer{}, refuse(http.StatusRequestEntityTooLarge, "The request body is too large"))
		return
	}
	w.mu.Lock()
	a, err := w.answerAPI(rw.Header(), r, body)
	var encoded []byte
	if err == nil && a.body != nil { // encoded under the lock: the body may point into the world
		encoded, err = encode(a.body)
	}
	w.mu.Unlock()
	if err == nil && a.body != nil {
		a.body = json.RawMessage(encoded)
	}
	if unexpected := (*refusal)(nil); err != nil && !errors.As(err, &unexpected) {
		w.log.Error("github: internal error", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	writeAnswer(rw, a, err)
}

// answerAPI answers one call, under World.mu.
func (w *World) answerAPI(h http.Header, r *http.Request, body []byte) (answer, error) {
	h.Set("X-GitHub-Media-Type", "github.v3; format=json")
	entry, _ := r.Context().Value(entryKey{}).(*Request)
	if r.Header.Get("User-Agent") == "" {
		return answer{}, refuse(http.StatusForbidden, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header") // [K]
	}
	version := r.Header.Get("X-GitHub-Api-Version")
	if version == "" {
		version = "2022-11-28"
	}
	if !slices.Contains([]string{"2022-11-28", "2026-03-10"}, version) {
		return answer{}, refuse(http.StatusBadRequest, "The API version %q is not supported", version)
	}
	h.Set("X-GitHub-Api-Version-Selected", version)
	cred, err := w.authenticate(r)
	if err != nil {
		return answer{}, err
	}
	rt, vars := w.find(r.Method, r.URL.EscapedPath())
	if entry != nil {
		w.requests.update(entry, func(e *Request) {
			e.Token = cred.name
			if rt != nil {
				e.Op = rt.method + " " + rt.pattern
			}
			if w.keepBodies && r.Method != http.MethodGet {
				e.Body = bytes.Clone(body)
			}
		})
	}
	if rt == nil || !rt.free {
		if err := w.limits.take(cred, r.Method != http.MethodGet && r.Method != http.MethodHead); err != nil {
			w.limits.headers(h, cred)
			return answer{}, err
		}
	}
	w.limits.headers(h, cred)
	if rt == nil {
		return answer{}, notFound()
	}
	if cred.isApp() && len(rt.needs) > 0 {
		h.Set("X-Accepted-GitHub-Permissions", strings.Join(rt.needs, "; "))
	}
	c := &call{w: w, r: r, route: rt, vars: vars, cred: cred, body: body}
	if err := c.authorise(); err != nil {
		return answer{}, err
	}
	return rt.handle(c)
}

func encode(body any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

func writeAnswer(rw http.ResponseWriter, a answer, err error) {
	if err != nil {
		var r *refusal
		if !errors.As(err, &r) {
			r = refuse(http.StatusInternalServerError, "Server Error")
		}
		a = answer{status: r.status, body: r.body(), header: r.header}
	}
	for k, v := range a.header {
		rw.Header().Set(k, v)
	}
	if a.body == nil {
		rw.WriteHeader(a.status)
		return
	}
	b, err := encode(a.body)
	if err != nil {
		a.status, b = http.StatusInternalServerError, []byte(`{"message":"Server Error"}`)
	}
	rw.Header().Set("Content-Type", "application/json; charset=utf-8")
	rw.WriteHeader(a.status)
	rw.Write(b)
}

// find matches a request with the table of routes. Paths are matched as sent, so that %2F stays inside a segment; a
// variable with … takes one or more segments, and a slash at the end (a prefix of refs may have one).
func (w *World) find(method, path string) (*route, map[string]string) {
	if !strings.HasPrefix(path, "/") {
		return nil, nil
	}
	segments := strings.Split(path[1:], "/")
	for i, s := range segments {
		u, err := url.PathUnescape(s)
		if err != nil || u == "" && i < len(segments)-1 {
			return nil, nil
		}
		segments[i] = u
	}
	for i := range w.routes {
		rt := &w.routes[i]
		if rt.method != method {
			continue
		}
		vars := map[string]string{}
		if match(rt.segments, segments, vars) {
			return rt, vars
		}
	}
	return nil, nil
}

func match(pattern, segments []string, vars map[string]string) bool {
	if len(pattern) == 0 {
		return len(segments) == 0
	}
	if len(segments) == 0 {
		return false
	}
	name, variable := strings.CutPrefix(pattern[0], "{")
	if !variable {
		return pattern[0] == segments[0] && match(pattern[1:], segments[1:], vars)
	}
	name = strings.TrimSuffix(name, "}")
	name, many := strings.CutSuffix(name, "...")
	most := 1
	if many {
		most = len(segments)
	}
	if segments[0] == "" {
		return false
	}
	for n := most; n >= 1; n-- {
		if match(pattern[1:], segments[n:], vars) {
			vars[name] = strings.Join(segments[:n], "/")
			return true
		}
	}
	return false
}
