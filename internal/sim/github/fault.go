package github

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Rule makes calls go wrong, of the API and of git over HTTP alike. A call is matched by Method and Path; of the matching
// calls the first Skip pass, then Count are hit. The first rule in the order of adding that wants a call gets it.
//
// What happens, in this order: Delay passes; then the call has its effect if After or Cut asks for it; then the
// connection is cut if Drop or Cut is set, or the answer below is sent. With nothing below Delay set the call is only delayed.
type Rule struct {
	Method string // an HTTP method; "" matches any
	Path   string // a regular expression over path and query; "" matches any
	Skip   int    // how many matching calls pass first
	Count  int    // how many calls are hit; 0 means one, a negative number all

	Delay  time.Duration // in real time
	Status int           // of the answer
	Header map[string]string
	Body   string // of the answer; "" with a Status means {"message": text of the status}
	After  bool   // the call has its effect before the answer above is sent in place of the real one
	Drop   bool   // the connection is cut before the call has any effect
	Cut    bool   // a lost answer: the call has its effect, then the connection is cut
}

type faultBook struct {
	mu    sync.Mutex
	rules []*fault
	last  int
}

type fault struct {
	Rule
	id         int
	path       *regexp.Regexp
	seen, hits int
}

// Fault adds a rule and returns its number, which Request.Fault names when it hits.
func (w *World) Fault(r Rule) (int, error) {
	re, err := regexp.Compile(r.Path)
	if err != nil {
		return 0, fmt.Errorf("fault rule: path: %w", err)
	}
	if r.Drop && r.Cut {
		return 0, fmt.Errorf("fault rule: a connection is cut before or after the effect, not both")
	}
	b := &w.faults
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	b.rules = append(b.rules, &fault{Rule: r, id: b.last, path: re})
	return b.last, nil
}

// ClearFaults removes all rules.
func (w *World) ClearFaults() {
	w.faults.mu.Lock()
	defer w.faults.mu.Unlock()
	w.faults.rules = nil
}

// match finds the rule that hits a call, nil for none.
func (b *faultBook) match(method, path string) *fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.rules {
		if f.Method != "" && !strings.EqualFold(f.Method, method) || !f.path.MatchString(path) {
			continue
		}
		f.seen++
		if f.seen <= f.Skip || f.Count >= 0 && f.hits >= max(f.Count, 1) {
			continue
		}
		f.hits++
		return f
	}
	return nil
}

// apply plays the rule; next is the call as it would have gone.
func (f *fault) apply(rw http.ResponseWriter, r *http.Request, next http.Handler) {
	if f.Delay > 0 {
		t := time.NewTimer(f.Delay)
		select {
		case <-t.C:
		case <-r.Context().Done():
		}
		t.Stop()
	}
	switch {
	case f.Drop:
		panic(http.ErrAbortHandler)
	case f.Cut:
		next.ServeHTTP(&unheard{header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		if f.After {
			next.ServeHTTP(&unheard{header: http.Header{}}, r)
		}
		rw.Header().Set("Content-Type", "application/json; charset=utf-8")
		for k, v := range f.Header {
			rw.Header().Set(k, v)
		}
		body := f.Body
		if body == "" {
			body = fmt.Sprintf(`{"message":%q,"documentation_url":"https://docs.github.com/rest","status":"%d"}`, http.StatusText(f.Status), f.Status)
		}
		rw.WriteHeader(f.Status)
		rw.Write([]byte(body))
	default:
		next.ServeHTTP(rw, r)
	}
}

// unheard takes an answer that nobody gets.
type unheard struct{ header http.Header }

func (u *unheard) Header() http.Header         { return u.header }
func (u *unheard) WriteHeader(int)             {}
func (u *unheard) Write(b []byte) (int, error) { return len(b), nil }
