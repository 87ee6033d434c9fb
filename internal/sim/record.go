package sim

import (
	"slices"
	"sort"
	"sync"
	"time"
)

// Request is one call to the API as it was seen from the server.
type Request struct {
	// Seq numbers the calls from 1 in the order they arrived.
	Seq int `json:"seq"`
	// Op is the route that answered, such as "PUT /accounts/{account}/workers/scripts/{script}"; "" when there was none.
	Op string `json:"op"`
	// Method, Path (without /client/v4) and Query are as sent.
	Method string `json:"method"`
	Path   string `json:"path"`
	Query  string `json:"query,omitempty"`
	// Token is the name of the token, never its value.
	Token string `json:"token,omitempty"`
	// Write tells whether the call may have changed something.
	Write bool `json:"write"`
	// Started is when the call arrived and Ended when its answer began to leave, both on the system clock (never the
	// world's), so that a call which waited for another's answer cannot overlap it.
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
	// Status is the HTTP status, 0 when the connection was cut before an answer; Ray is its cf-ray.
	Status int    `json:"status"`
	Ray    string `json:"ray"`
	// Fault is the id of the rule that hit the call, 0 for none.
	Fault int `json:"fault,omitempty"`
	// Body is what was sent, kept for writes when Options.KeepBodies is set, with its Content-Type.
	Body        []byte `json:"body,omitempty"`
	ContentType string `json:"content_type,omitempty"`
}

// maxRequests bounds the log of a simulator that somebody leaves running.
const maxRequests = 100_000

// requestLog holds what was asked, in the order of arrival.
type requestLog struct {
	mu   sync.Mutex
	last int // number of the newest request
	all  []*Request
}

// open adds a call that has just arrived.
func (l *requestLog) open(r *Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	r.Seq = l.last
	if l.all = append(l.all, r); len(l.all) > maxRequests {
		l.all = slices.Clone(l.all[maxRequests/2:])
	}
}

// update changes an entry under the lock of the log.
func (l *requestLog) update(r *Request, f func(*Request)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(r)
}

// Requests returns the calls that have been answered (or cut) so far, in the order they arrived: all of them, or the
// newest when there were very many.
// Calls to the control endpoints and presigned URLs are not among them.
func (w *World) Requests() []Request {
	w.requests.mu.Lock()
	defer w.requests.mu.Unlock()
	var out []Request
	for _, r := range w.requests.all {
		if !r.Ended.IsZero() {
			out = append(out, *r)
		}
	}
	return out
}

// ForgetRequests empties the request log.
func (w *World) ForgetRequests() {
	w.requests.mu.Lock()
	defer w.requests.mu.Unlock()
	w.requests.all, w.requests.last = nil, 0
}

// Rounds returns the length of the longest chain of calls of which each began after the one before had been answered:
// how many network round trips the requests cost, however many of them ran side by side. Set a latency
// (World.SetLatency) that is long against the client's own work, or calls meant to be parallel may not have met.
func Rounds(requests []Request) int {
	byEnd := append([]Request(nil), requests...)
	sort.Slice(byEnd, func(i, j int) bool { return byEnd[i].Ended.Before(byEnd[j].Ended) })
	rounds := 0
	var last time.Time
	for _, r := range byEnd {
		if rounds == 0 || !r.Started.Before(last) {
			rounds++
			last = r.Ended
		}
	}
	return rounds
}
