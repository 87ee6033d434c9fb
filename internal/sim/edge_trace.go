package sim

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// trace is what a Worker did in one invocation, as a tail handler receives it
// (developers.cloudflare.com/workers/runtime-apis/handlers/tail).
type trace struct {
	Outcome string `json:"outcome"`
	Event   struct {
		Cron          string  `json:"cron"`
		ScheduledTime float64 `json:"scheduledTime"`
		Request       struct {
			Method, URL string
		} `json:"request"`
	} `json:"event"`
	Exceptions []struct {
		Name, Message, Stack string
	} `json:"exceptions"`
	Logs []struct {
		Level   string            `json:"level"`
		Message []json.RawMessage `json:"message"`
	} `json:"logs"`
}

// traceTimeout is how long an outcome waits for its reasons.
const traceTimeout = 5 * time.Second

// traceBook hands traces of scheduled events to who waits for them.
type traceBook struct {
	mu      sync.Mutex
	waiting map[traceKey]chan trace
}

type traceKey struct {
	cron string
	at   int64 // milliseconds since 1970
}

func (b *traceBook) expect(cron string, at time.Time) <-chan trace {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting == nil {
		b.waiting = map[traceKey]chan trace{}
	}
	c := make(chan trace, 1)
	b.waiting[traceKey{cron, at.UnixMilli()}] = c
	return c
}

func (b *traceBook) forget(cron string, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, traceKey{cron, at.UnixMilli()})
}

func (b *traceBook) deliver(t trace) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c, ok := b.waiting[traceKey{t.Event.Cron, int64(t.Event.ScheduledTime)}]; ok {
		select {
		case c <- t:
		default: // delivered already
		}
	}
}

// serveTrace is the sink that trace.js posts to: it writes the log and passes the traces on.
func (g *gateway) serveTrace(rw http.ResponseWriter, r *http.Request, b bindingEnd) {
	var traces []trace
	if err := json.NewDecoder(r.Body).Decode(&traces); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	for _, t := range traces {
		for _, l := range t.Logs {
			b.log.Log(r.Context(), consoleLevel(l.Level), "console", "message", consoleText(l.Message))
		}
		for _, x := range t.Exceptions {
			b.log.Error("edge: the Worker threw", "exception", x.Name+": "+x.Message, "stack", x.Stack, "cron", t.Event.Cron, "url", t.Event.Request.URL)
		}
		b.process.traces.deliver(t)
	}
}

func consoleLevel(level string) slog.Level {
	switch level {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// consoleText joins the arguments of a console call as a console would: strings as they are, the rest as JSON.
func consoleText(parts []json.RawMessage) string {
	text := ""
	for i, part := range parts {
		if i > 0 {
			text += " "
		}
		var s string
		if json.Unmarshal(part, &s) == nil {
			text += s
		} else {
			text += string(part)
		}
	}
	return text
}
