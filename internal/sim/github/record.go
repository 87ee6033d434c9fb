package github

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Request is one call to the API, or of git over HTTP, as it was seen from the server.
type Request struct {
	Seq    int       // from 1 in the order of arrival
	Op     string    // the route that answered, such as "POST /repos/{owner}/{repo}/deployments"; "" when there was none
	Method string    // as sent
	Path   string    // as sent, escaped
	Query  string    // as sent
	Token  string    // the name of the credential, never its value; "" without one
	At     time.Time // on the world's clock
	Status int       // 0 when the connection was cut before an answer
	ID     string    // X-GitHub-Request-Id
	Fault  int       // the rule that hit the call, 0 for none
	Body   []byte    // of writes, when Options.KeepBodies is set
	Git    bool      // git over HTTP
}

// maxRequests bounds the log of a simulator that somebody leaves running.
const maxRequests = 100_000

type requestLog struct {
	mu   sync.Mutex
	last int
	all  []*Request
}

func (l *requestLog) open(r *Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	r.Seq = l.last
	if l.all = append(l.all, r); len(l.all) > maxRequests {
		l.all = slices.Clone(l.all[maxRequests/2:])
	}
}

func (l *requestLog) update(r *Request, f func(*Request)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(r)
}

// Requests returns the calls so far in the order they arrived.
func (w *World) Requests() []Request {
	w.requests.mu.Lock()
	defer w.requests.mu.Unlock()
	out := make([]Request, 0, len(w.requests.all))
	for _, r := range w.requests.all {
		out = append(out, *r)
	}
	return out
}

// ForgetRequests empties the request log.
func (w *World) ForgetRequests() {
	w.requests.mu.Lock()
	defer w.requests.mu.Unlock()
	w.requests.all, w.requests.last = nil, 0
}

func withEntry(ctx context.Context, r *Request) context.Context {
	return context.WithValue(ctx, entryKey{}, r)
}
