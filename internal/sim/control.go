package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// control mounts the endpoints for people (and for tests in other processes) at the root of the API's host. They need no
// token: Start listens on loopback only.
//
//	GET    /__sim/requests              what was asked; ?ops=1 as lines of text
//	DELETE /__sim/requests              forget it
//	GET    /__sim/rounds                longest chain of calls that waited for each other
//	GET    /__sim/faults                rules in force, with how often they were met
//	POST   /__sim/faults                add a Rule; answers {"id": n}
//	DELETE /__sim/faults                remove all rules
//	PUT    /__sim/latency               {"latency": "100ms"}
//	POST   /__sim/cron                  {"account", "script", "cron"}: fire a cron trigger
//	POST   /__sim/usage                 {"account", "usage": [Usage…]}: what analytics will have besides
//	POST   /__sim/reset                 forget requests, faults, latency and budgets; what was deployed stays
func (w *World) control(mux *http.ServeMux) {
	handle := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(rw http.ResponseWriter, r *http.Request) {
			v, err := f(r)
			status := http.StatusOK
			if err != nil {
				status, v = http.StatusBadRequest, map[string]any{"error": err.Error()}
			}
			b, err := json.MarshalIndent(v, "", "  ")
			if err != nil {
				status, b = http.StatusInternalServerError, []byte(`{"error": "internal error"}`)
			}
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(status)
			rw.Write(append(b, '\n'))
		})
	}
	done := map[string]any{"ok": true}
	handle("DELETE /__sim/requests", func(*http.Request) (any, error) {
		w.ForgetRequests()
		return done, nil
	})
	handle("GET /__sim/rounds", func(*http.Request) (any, error) {
		list := w.Requests()
		return map[string]any{"requests": len(list), "rounds": Rounds(list)}, nil
	})
	handle("GET /__sim/faults", func(*http.Request) (any, error) { return w.faults.report(), nil })
	handle("DELETE /__sim/faults", func(*http.Request) (any, error) {
		w.ClearFaults()
		return done, nil
	})
	handle("POST /__sim/faults", func(r *http.Request) (any, error) {
		var rule Rule
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&rule); err != nil {
			return nil, fmt.Errorf("reading the rule: %w", err)
		}
		id, err := w.Fault(rule)
		return map[string]any{"id": id}, err
	})
	handle("PUT /__sim/latency", func(r *http.Request) (any, error) {
		var in struct {
			Latency Duration `json:"latency"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			return nil, fmt.Errorf("reading the latency: %w", err)
		}
		w.SetLatency(time.Duration(in.Latency))
		return done, nil
	})
	handle("POST /__sim/cron", func(r *http.Request) (any, error) {
		var in struct{ Account, Script, Cron string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			return nil, fmt.Errorf("reading the cron: %w", err)
		}
		return done, w.FireCron(r.Context(), in.Account, in.Script, in.Cron)
	})
	handle("POST /__sim/usage", func(r *http.Request) (any, error) {
		var in struct {
			Account string  `json:"account"`
			Usage   []Usage `json:"usage"`
		}
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil {
			return nil, fmt.Errorf("reading the usage: %w", err)
		}
		return done, w.Plant(in.Account, in.Usage...)
	})
	handle("POST /__sim/reset", func(*http.Request) (any, error) {
		w.Reset()
		return done, nil
	})
	mux.HandleFunc("GET /__sim/requests", func(rw http.ResponseWriter, r *http.Request) {
		list := w.Requests()
		if r.URL.Query().Get("ops") == "" {
			rw.Header().Set("Content-Type", "application/json")
			json.NewEncoder(rw).Encode(list)
			return
		}
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		for _, q := range list {
			path := q.Path
			if q.Query != "" {
				path += "?" + q.Query
			}
			fmt.Fprintf(rw, "%3d %3d %6dms %-6s %s\n", q.Seq, q.Status, q.Ended.Sub(q.Started).Milliseconds(), q.Method, path)
		}
	})
}

// Reset forgets the requests, the faults, the latency and what tokens have used of their budget. What was deployed and
// stored stays.
func (w *World) Reset() {
	w.ForgetRequests()
	w.ClearFaults()
	w.SetLatency(0)
	w.limits.mu.Lock()
	w.limits.buckets = nil
	w.limits.mu.Unlock()
}

// report lists the rules in force.
func (b *faultBook) report() []any {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := []any{}
	for _, r := range b.rules {
		list = append(list, struct {
			ID   int  `json:"id"`
			Rule Rule `json:"rule"`
			Seen int  `json:"seen"`
			Hits int  `json:"hits"`
		}{r.id, r.Rule, r.seen, r.hits})
	}
	return list
}
