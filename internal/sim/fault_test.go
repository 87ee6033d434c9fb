package sim_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim"
)

func (c *client) fault(r sim.Rule) int {
	c.t.Helper()
	id, err := c.w.Fault(r)
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// versions counts the versions of the Worker: one more means that an upload had its effect.
func (c *client) versions() int {
	c.t.Helper()
	return c.ok("GET", script+"/versions?deployable=true", nil).len("items")
}

func TestFaults(t *testing.T) {
	const upload = script + "/versions"
	tests := []struct {
		name   string
		rule   sim.Rule
		effect bool // the version is there afterwards
		check  func(t *testing.T, a *answer, err error)
	}{
		{"error instead of the effect", sim.Rule{Method: "POST", Path: "/versions", Status: 500, Code: 10013, Message: "boom"}, false,
			func(t *testing.T, a *answer, err error) {
				if err != nil || a.Status != 500 || a.Success || a.Errors[0].Code != 10013 || a.Errors[0].Message != "boom" || a.Header.Get("cf-ray") == "" {
					t.Errorf("HTTP %d %s %v", a.Status, a.Body, err)
				}
			}},
		{"error after the effect", sim.Rule{Path: "/versions", Status: 502, HTML: true, After: true}, true,
			func(t *testing.T, a *answer, err error) {
				if err != nil || a.Status != 502 || !strings.HasPrefix(string(a.Body), "<!DOCTYPE html>") {
					t.Errorf("HTTP %d %s %v", a.Status, a.Body, err)
				}
			}},
		{"failure inside HTTP 200", sim.Rule{Path: "/versions", Status: 200, Code: 971, Message: "slow down"}, false,
			func(t *testing.T, a *answer, err error) {
				if err != nil || a.Status != 200 || a.Success || a.Errors[0].Code != 971 {
					t.Errorf("HTTP %d %s %v", a.Status, a.Body, err)
				}
			}},
		{"cut before the effect", sim.Rule{Path: "/versions", Drop: sim.DropBefore}, false, cut},
		{"cut after the effect", sim.Rule{Path: "/versions", Drop: sim.DropAfter}, true, cut},
		{"cut in the middle of the answer", sim.Rule{Path: "/versions", Truncate: true}, true,
			func(t *testing.T, a *answer, err error) {
				if a == nil || !errors.Is(err, io.ErrUnexpectedEOF) || len(a.Body) == 0 {
					t.Errorf("answer %v, error %v", a, err)
				}
			}},
		{"any body and header", sim.Rule{Path: "/versions", Status: 429, Body: `{"success":true}`, Header: map[string]string{"Retry-After": "7"}}, false,
			func(t *testing.T, a *answer, err error) {
				if err != nil || a.Status != 429 || string(a.Body) != `{"success":true}` || a.Header.Get("Retry-After") != "7" {
					t.Errorf("HTTP %d %s %v", a.Status, a.Body, err)
				}
			}},
		{"delay alone", sim.Rule{Path: "/versions", Delay: sim.Duration(time.Millisecond)}, true,
			func(t *testing.T, a *answer, err error) {
				if err != nil || !a.Success {
					t.Errorf("HTTP %d %s %v", a.Status, a.Body, err)
				}
			}},
		{"another method", sim.Rule{Method: "DELETE", Path: "/versions", Status: 500}, true,
			func(t *testing.T, a *answer, err error) {
				if err != nil || !a.Success {
					t.Errorf("HTTP %d %s %v", a.Status, a.Body, err)
				}
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := shop(t, sim.Options{})
			c.putWorker("helm-swicked")
			c.w.ForgetRequests()
			id := c.fault(tt.rule)
			a, err := c.send(c.w.URL, "POST", upload, c.worker(nil, nil))
			tt.check(t, a, err)
			log := c.w.Requests()
			if hit := log[0].Fault == id; hit != (tt.rule.Method != "DELETE") {
				t.Errorf("logged as %+v", log[0])
			}
			if cutOff := log[0].Status == 0; cutOff != (tt.rule.Drop != "") {
				t.Errorf("logged with status %d", log[0].Status)
			}
			c.w.ClearFaults()
			if got := c.versions() == 2; got != tt.effect {
				t.Errorf("effect is %v, want %v", got, tt.effect)
			}
		})
	}
}

func cut(t *testing.T, a *answer, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("the connection was not cut: HTTP %d %s", a.Status, a.Body)
	}
}

func TestFaultsAreCounted(t *testing.T) {
	c := shop(t, sim.Options{})
	c.fault(sim.Rule{Path: "/workers/scripts$", Skip: 1, Count: 2, Status: 503})
	var got []int
	for range 5 {
		a, err := c.send(c.raw, "GET", workers+"/scripts", nil)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.Status)
	}
	if want := "[200 503 503 200 200]"; fmt.Sprint(got) != want {
		t.Errorf("statuses %v, want %s", got, want)
	}
	c.fault(sim.Rule{Path: `\?tags=`, Count: -1, Status: 500})
	for range 3 {
		if a, err := c.send(c.raw, "GET", workers+"/scripts?tags=a:yes", nil); err != nil || a.Status != 500 {
			t.Errorf("a rule over the query: HTTP %d %v", a.Status, err)
		}
	}
}

func TestRequestLog(t *testing.T) {
	c := shop(t, sim.Options{KeepBodies: true})
	c.putWorker("helm-swicked")
	c.ok("PUT", script+"/schedules", `[{"cron":"0 13 * * *"}]`)
	c.ok("POST", script+"/domains/changeset", []any{})
	c.ok("GET", script+"/schedules", nil)
	log := c.w.Requests()
	if len(log) != 4 {
		t.Fatalf("%d requests", len(log))
	}
	put := log[1]
	if put.Op != "PUT /accounts/{account}/workers/scripts/{script}/schedules" || put.Path != script+"/schedules" || !put.Write ||
		string(put.Body) != `[{"cron":"0 13 * * *"}]` || put.Token != "simtest" || put.Status != 200 || put.Ray == "" || put.Ended.Before(put.Started) {
		t.Errorf("logged %+v", put)
	}
	if log[2].Write || log[3].Write || log[2].Body != nil {
		t.Error("reads are logged as writes")
	}
}

// The rounds of a client are the calls that waited for each other, not those that ran side by side.
func TestRounds(t *testing.T) {
	at := func(start, end int) sim.Request {
		base := time.Unix(0, 0)
		return sim.Request{Started: base.Add(time.Duration(start)), Ended: base.Add(time.Duration(end))}
	}
	tests := []struct {
		name     string
		requests []sim.Request
		want     int
	}{
		{"none", nil, 0},
		{"one", []sim.Request{at(0, 10)}, 1},
		{"one after the other", []sim.Request{at(0, 10), at(10, 20), at(25, 30)}, 3},
		{"side by side", []sim.Request{at(0, 10), at(1, 11), at(2, 12)}, 1},
		{"fan out, then one", []sim.Request{at(0, 10), at(0, 12), at(13, 20)}, 2},
		{"one long beside three short", []sim.Request{at(0, 100), at(0, 10), at(10, 20), at(20, 30)}, 3},
		{"not in order", []sim.Request{at(20, 30), at(0, 10), at(10, 20)}, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := sim.Rounds(tt.requests); got != tt.want {
				t.Errorf("%d rounds, want %d", got, tt.want)
			}
		})
	}
}

// Two calls that are both under way before either is answered are one round; the call that waits for them is another.
func TestRoundsOfRealCalls(t *testing.T) {
	c := shop(t, sim.Options{})
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	arrived := make(chan struct{}, 2)
	trace := &httptrace.ClientTrace{Got100Continue: func() { arrived <- struct{}{} }}
	var bodies []*io.PipeWriter
	var answered sync.WaitGroup
	for range 2 {
		r, w := io.Pipe()
		bodies = append(bodies, w)
		req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "PUT", c.raw+script+"/schedules", r)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+c.token)
		req.Header.Set("Expect", "100-continue")
		answered.Go(func() {
			resp, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
		})
	}
	for range bodies {
		<-arrived
	}
	for _, w := range bodies {
		io.WriteString(w, "[]")
		w.Close()
	}
	answered.Wait()
	c.ok("GET", workers+"/scripts", nil)
	if log := c.w.Requests(); len(log) != 3 || sim.Rounds(log) != 2 {
		t.Errorf("%d requests in %d rounds, want 3 in 2", len(log), sim.Rounds(log))
	}
}
