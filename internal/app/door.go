package app

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kvick/shopfleet/internal/github"
)

// WebhookPath is where deliveries are sent to.
const WebhookPath = "/webhook"

const (
	maxWeight  = 128 << 20 // bytes of bodies at a time, whoever sends them: what is read is not verified yet
	retryAfter = "30"      // seconds, for who reads it; GitHub asks for nothing again by itself
)

// class is which queue a kind of event goes into.
type class int

const (
	ignored class = iota
	urgent        // somebody may have ordered something
	calm          // something may have to be shown
)

// classOf sorts events. What the desk makes of one is its own matter; here only what can never be of use is left out.
func classOf(kind, action string) class {
	switch kind + "." + action {
	case "issue_comment.created", "check_run.requested_action":
		return urgent
	case "pull_request.opened", "pull_request.reopened", "pull_request.synchronize", "deployment_status.created":
		return calm
	}
	return ignored
}

// delivered is a delivery in the queue.
type delivered struct {
	github.Delivery
	at time.Time // when it came in
}

// handler is what listens.
func (r *running) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(WebhookPath, r.webhook)
	mux.HandleFunc("GET /healthz", r.healthz)
	mux.HandleFunc("GET /metrics", r.metrics)
	r.addPages(mux)
	return mux
}

// webhook takes a delivery. It waits for nothing but the body.
func (r *running) webhook(w http.ResponseWriter, req *http.Request) {
	status, said := r.take(req)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfter)
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	}
	w.WriteHeader(status)
	io.WriteString(w, said+"\n")
}

// take puts a delivery into the queue, or says why it does not. Nothing of the request is in what it says.
func (r *running) take(req *http.Request) (status int, said string) {
	if state := r.state.Load(); state != accepting {
		r.count.delivery("refused")
		return http.StatusServiceUnavailable, state.String()
	}
	body := &weighed{ReadCloser: req.Body, all: &r.weight}
	defer body.release()
	req.Body = body
	d, err := r.Hook.Read(req)
	if err != nil {
		var no *github.HookError
		switch {
		case body.heavy:
			r.count.delivery("full")
			return http.StatusServiceUnavailable, "too much at a time"
		case errors.As(err, &no):
			r.count.delivery("rejected")
			r.Log.Warn("a request is no delivery of ours", "status", no.Status, "why", no.Why)
			return no.Status, no.Why
		}
		r.count.delivery("rejected")
		return http.StatusBadRequest, "not a delivery"
	}
	c := classOf(d.Kind, d.Event.Action)
	switch {
	case d.Kind == "ping":
		r.count.delivery("ignored")
		return http.StatusOK, "pong"
	case c == ignored:
		r.count.delivery("ignored")
		return http.StatusOK, "ignored"
	case !strings.EqualFold(d.Event.RepositoryName, r.Repository):
		r.count.delivery("ignored")
		return http.StatusOK, "another repository"
	case !r.seen.take(d.GUID):
		r.count.delivery("seen")
		return http.StatusOK, "seen"
	case !r.offer(c, delivered{d, r.Now()}):
		r.seen.forget(d.GUID)
		r.count.delivery("full")
		return http.StatusServiceUnavailable, "the queue is full"
	}
	r.count.delivery("queued")
	return http.StatusAccepted, "queued"
}

// offer puts a delivery into its queue if there is room, without waiting.
func (r *running) offer(c class, d delivered) bool {
	r.gate.RLock()
	defer r.gate.RUnlock()
	if waiting, _ := r.lanes.counts(); waiting >= r.Queue || r.state.Load() != accepting {
		return false
	}
	into := r.calm
	if c == urgent {
		into = r.urgent
	}
	select {
	case into <- d:
		return true
	default:
		return false
	}
}

// weighed is a body whose bytes count together with those of all others that are being read. Who sends slowly costs
// little, and who sends much has to have it sent.
type weighed struct {
	io.ReadCloser
	all   *atomic.Int64
	mine  int64
	heavy bool
}

var errHeavy = errors.New("too much at a time")

func (b *weighed) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mine += int64(n)
	if b.all.Add(int64(n)) > maxWeight {
		b.heavy = true
		return 0, errHeavy
	}
	return n, err
}

func (b *weighed) release() { b.all.Add(-b.mine) }

// healthz says whether deliveries are taken, for who decides where to send them.
func (r *running) healthz(w http.ResponseWriter, _ *http.Request) {
	status, said := http.StatusOK, "ok"
	if state := r.state.Load(); state != accepting {
		status, said = http.StatusServiceUnavailable, state.String()
	} else if since := r.Now().Sub(time.Unix(0, r.recovered.Load())); since > unwell {
		status, said = http.StatusServiceUnavailable, fmt.Sprintf("what was missed could not be looked for since %d minutes; see the log", int(since.Minutes()))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, said+"\n")
}

// slow are limits for who sends or reads slowly. GitHub waits ten seconds for an answer (wire.md §2d).
func slow(h http.Handler, errors *logWriter) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 15 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: errors.logger(),
	}
}
