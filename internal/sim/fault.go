package sim

import (
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Rule makes calls go wrong. A call is matched by Method and Path; of the matching calls the first Skip pass, then
// Count are hit. The first rule in the order of adding that wants a call gets it.
//
// What happens, in this order: Delay passes; the connection is cut if Drop is DropBefore; otherwise, unless After or
// DropAfter or Truncate asks for the effect, the call is answered without having any. With none of the fields below Delay
// set, the call is only delayed.
type Rule struct {
	// Method is an HTTP method; "" matches any.
	Method string `json:"method,omitempty"`
	// Path is a regular expression over the path and query without /client/v4, such as `/d1/database/[^/]+/query$`;
	// "" matches any.
	Path string `json:"path,omitempty"`
	// Skip lets that many matching calls pass first.
	Skip int `json:"skip,omitempty"`
	// Count is how many calls are hit; 0 means one, a negative number all.
	Count int `json:"count,omitempty"`

	// Delay passes in real time before anything else happens.
	Delay Duration `json:"delay,omitempty"`
	// Status is the HTTP status of the answer; 0 means 200 when only Code or Body is set. With Code it carries an envelope with
	// success false, so Status 200 and a Code is a failure inside a success.
	Status int `json:"status,omitempty"`
	// Code and Message are errors[0] of the envelope.
	Code    int    `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// HTML answers with an error page as proxies in front of the API send, instead of an envelope.
	HTML bool `json:"html,omitempty"`
	// Body answers with exactly this, as application/json.
	Body string `json:"body,omitempty"`
	// Header is added to the answer, for example Retry-After or cf-mitigated.
	Header map[string]string `json:"header,omitempty"`
	// After lets the call have its effect before the answer above is sent in place of the real one.
	After bool `json:"after,omitempty"`
	// Drop cuts the connection without an answer.
	Drop Drop `json:"drop,omitempty"`
	// Truncate lets the call have its effect and cuts its answer in the middle of the body.
	Truncate bool `json:"truncate,omitempty"`
}

// Drop tells when a connection is cut.
type Drop string

const (
	// DropBefore cuts the connection before the call has any effect.
	DropBefore Drop = "before"
	// DropAfter lets the call have its effect and cuts the connection instead of answering.
	DropAfter Drop = "after"
)

// Duration is a time.Duration that is written in JSON as text, such as "1.5s".
type Duration time.Duration

// MarshalText writes the duration as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration accepts.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// faultBook holds the rules that are in force.
type faultBook struct {
	mu    sync.Mutex
	last  int
	rules []*rule
}

type rule struct {
	Rule
	id         int
	path       *regexp.Regexp
	seen, hits int
}

// Fault adds a rule and returns its number, which Request.Fault names when it hits. A Path that is no regular
// expression is refused.
func (w *World) Fault(r Rule) (int, error) {
	re, err := regexp.Compile(r.Path)
	if err != nil {
		return 0, fmt.Errorf("fault rule: path: %w", err)
	}
	switch r.Drop {
	case "", DropBefore, DropAfter:
	default:
		return 0, fmt.Errorf("fault rule: drop is %q, expected %q or %q", r.Drop, DropBefore, DropAfter)
	}
	b := &w.faults
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	b.rules = append(b.rules, &rule{Rule: r, id: b.last, path: re})
	return b.last, nil
}

// ClearFaults removes all rules.
func (w *World) ClearFaults() {
	w.faults.mu.Lock()
	defer w.faults.mu.Unlock()
	w.faults.rules = nil
}

// match finds the rule that hits a call, nil for none.
func (b *faultBook) match(method, path string) *rule {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.rules {
		if r.Method != "" && !strings.EqualFold(r.Method, method) || !r.path.MatchString(path) {
			continue
		}
		r.seen++
		if r.seen <= r.Skip || r.Count >= 0 && r.hits >= max(r.Count, 1) {
			continue
		}
		r.hits++
		return r
	}
	return nil
}

// answers tells whether the rule replaces the real answer.
func (r *rule) answers() bool {
	return r.Status != 0 || r.Code != 0 || r.HTML || r.Body != ""
}

// apply plays the rule; next is the call as it would have gone.
func (r *rule) apply(rw http.ResponseWriter, req *http.Request, next http.Handler) {
	if r.Delay > 0 {
		wait(req.Context(), time.Duration(r.Delay))
	}
	switch {
	case r.Drop == DropBefore:
		panic(http.ErrAbortHandler)
	case r.Drop == DropAfter:
		next.ServeHTTP(newHeld(), req)
		panic(http.ErrAbortHandler)
	case r.Truncate:
		h := newHeld()
		next.ServeHTTP(h, req)
		h.copyHeader(rw)
		rw.Header().Set("Content-Length", fmt.Sprint(len(h.body)))
		rw.WriteHeader(h.status)
		rw.Write(h.body[:len(h.body)/2])
		http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	case r.answers():
		if r.After {
			next.ServeHTTP(newHeld(), req)
		}
		r.answer(rw)
	default:
		next.ServeHTTP(rw, req)
	}
}

func (r *rule) answer(rw http.ResponseWriter) {
	for k, v := range r.Header {
		rw.Header().Set(k, v)
	}
	status := r.Status
	if status == 0 {
		status = http.StatusOK
	}
	switch {
	case r.HTML:
		rw.Header().Set("Content-Type", "text/html; charset=UTF-8")
		rw.WriteHeader(status)
		title := fmt.Sprintf("%d %s", status, http.StatusText(status))
		if r.Message != "" {
			title = r.Message
		}
		fmt.Fprintf(rw, "<!DOCTYPE html>\n<html><head><title>%s</title></head><body><h1>%[1]s</h1></body></html>\n", html.EscapeString(title))
	case r.Body != "":
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(status)
		rw.Write([]byte(r.Body))
	default:
		writeRefusal(rw, &refusal{Status: status, Code: r.Code, Message: r.Message})
	}
}

// held is a ResponseWriter that keeps an answer back.
type held struct {
	header http.Header
	status int
	body   []byte
}

func newHeld() *held { return &held{header: http.Header{}, status: http.StatusOK} }

func (h *held) Header() http.Header { return h.header }
func (h *held) WriteHeader(status int) {
	h.status = status
}
func (h *held) Write(b []byte) (int, error) {
	h.body = append(h.body, b...)
	return len(b), nil
}
func (h *held) copyHeader(rw http.ResponseWriter) {
	for k, v := range h.header {
		rw.Header()[k] = v
	}
}
