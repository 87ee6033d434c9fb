package cloudflare

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestWaitsBetweenAttempts(t *testing.T) {
	bad := answer{status: 503, body: "<html>"}
	after := func(status int, value string) answer {
		return answer{status, "busy", map[string]string{"Retry-After": value}}
	}
	date := newClock().Now().Add(40 * time.Second).Format(http.TimeFormat)
	for name, tc := range map[string]struct {
		answers  []answer
		attempts int
		jitter   float64
		requests int
		waits    []time.Duration // between attempts; sleeps for the budget included
		fails    bool
	}{
		"backoff":                  {[]answer{bad}, 7, 0, 7, []time.Duration{500e6, 1e9, 2e9, 4e9, 8e9, 8e9}, true},
		"shortened by up to half":  {[]answer{bad}, 3, 1, 3, []time.Duration{250e6, 500e6}, true},
		"recovers":                 {[]answer{bad, bad, ok(`[]`)}, 0, 0, 3, []time.Duration{500e6, 1e9}, false},
		"once only":                {[]answer{bad}, 1, 0, 1, nil, true},
		"seconds":                  {[]answer{after(503, "7"), ok(`[]`)}, 0, 0.5, 2, []time.Duration{7500e6}, false},
		"date":                     {[]answer{after(503, date), ok(`[]`)}, 0, 0, 2, []time.Duration{40e9}, false},
		"date that is past":        {[]answer{after(503, "Mon, 02 Jan 2006 15:04:05 GMT"), ok(`[]`)}, 0, 0, 2, []time.Duration{500e6}, false},
		"not a time":               {[]answer{after(503, "soon"), ok(`[]`)}, 0, 0, 2, []time.Duration{500e6}, false},
		"negative":                 {[]answer{after(503, "-5"), ok(`[]`)}, 0, 0, 2, []time.Duration{500e6}, false},
		"429 with a wait":          {[]answer{after(429, "30"), ok(`[]`)}, 0, 0.25, 2, []time.Duration{30250e6}, false},
		"429 without":              {[]answer{{status: 429}, ok(`[]`)}, 0, 0, 2, []time.Duration{1e9}, false},
		"the API's block":          {[]answer{after(429, "300"), ok(`[]`)}, 0, 0, 2, []time.Duration{300e9}, false},
		"longer than we will wait": {[]answer{after(503, "361")}, 0, 0, 1, nil, true},
		"absurdly long":            {[]answer{after(429, "99999999999999999999")}, 0, 0, 1, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, script(tc.answers...))
			w.Attempts, w.Jitter = tc.attempts, func() float64 { return tc.jitter }
			err := read(w.Client)
			if (err != nil) != tc.fails {
				t.Fatalf("got %v", err)
			}
			if n := len(w.requests()); n != tc.requests {
				t.Errorf("%d requests, want %d", n, tc.requests)
			}
			if !slices.Equal(w.clock.slept, tc.waits) {
				t.Errorf("waited %v, want %v", w.clock.slept, tc.waits)
			}
			if tc.fails {
				if e := asError(t, err); e.Attempts != tc.requests {
					t.Errorf("the error counts %d attempts", e.Attempts)
				}
			}
		})
	}
}

func TestLongRetryAfterIsReported(t *testing.T) {
	w := newWorld(t, script(answer{429, "", map[string]string{"Retry-After": "3600"}}))
	err := add(w.Client)
	if e := asError(t, err); e.RetryAfter != time.Hour || !errors.Is(err, ErrRateLimited) || e.Outcome != Refused {
		t.Errorf("got %+v", e)
	}
}

// Every attempt carries the whole body.
func TestBodyIsSentAgain(t *testing.T) {
	w := newWorld(t, script(answer{status: 502}, answer{status: 429}, ok(`null`)))
	if err := w.PatchScriptSettings(context.Background(), "helm-swicked", ScriptSettings{Tags: []string{}}); err != nil {
		t.Fatal(err)
	}
	if err := w.PutSchedules(context.Background(), "helm-swicked", nil); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{`{"tags":[]}`, `{"tags":[]}`, `{"tags":[]}`, `[]`} {
		if r := w.requests()[i]; r.Body != want {
			t.Errorf("request %d carried %q, want %q", i, r.Body, want)
		}
	}
}

// faults are what a network can do to a request, and whether it may have arrived.
func faults(t *testing.T) map[string]struct {
	handler http.HandlerFunc
	next    func(*world) http.RoundTripper
	arrived bool
} {
	cut := func(rw http.ResponseWriter, before string) {
		conn, _, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, before)
		conn.Close()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := listener.Addr().String()
	listener.Close()
	return map[string]struct {
		handler http.HandlerFunc
		next    func(*world) http.RoundTripper
		arrived bool
	}{
		"nobody listens": {next: func(w *world) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				r.URL.Host = dead
				return http.DefaultTransport.RoundTrip(r)
			})
		}},
		"no such name": {next: func(w *world) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				return nil, &net.DNSError{Err: "no such host", Name: r.URL.Hostname(), IsNotFound: true}
			})
		}},
		"cut before the answer": {handler: func(rw http.ResponseWriter, r *http.Request) { cut(rw, "") }, arrived: true},
		"cut in the headers":    {handler: func(rw http.ResponseWriter, r *http.Request) { cut(rw, "HTTP/1.1 200 OK\r\nContent-") }, arrived: true},
		"cut in the body": {handler: func(rw http.ResponseWriter, r *http.Request) {
			cut(rw, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"success\":true,")
		}, arrived: true},
		"not HTTP": {handler: func(rw http.ResponseWriter, r *http.Request) { cut(rw, "SSH-2.0-OpenSSH\r\n") }, arrived: true},
		"no answer in time": {handler: func(rw http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, next: func(w *world) http.RoundTripper {
			w.Timeout = time.Millisecond
			return w.Transport
		}, arrived: true},
	}
}

func TestNetworkFaults(t *testing.T) {
	for name, fault := range faults(t) {
		t.Run(name, func(t *testing.T) {
			for effect, do := range map[string]func(*Client) error{"read": read, "set": set, "add": add} {
				w := newWorld(t, fault.handler)
				w.Attempts = 2
				if fault.next != nil {
					w.Transport = fault.next(w)
				}
				e := asError(t, do(w.Client))
				attempts, outcome := 2, NotSent
				if fault.arrived && effect == "add" {
					attempts = 1
				}
				if fault.arrived && effect != "read" {
					outcome = Unknown
				}
				if e.Attempts != attempts || e.Outcome != outcome {
					t.Errorf("%s: %d attempts, %v; want %d, %v (%v)", effect, e.Attempts, e.Outcome, attempts, outcome, e)
				}
			}
		})
	}
}

// What an earlier attempt may have done is not forgotten because a later one was refused.
func TestUnknownSticks(t *testing.T) {
	w := newWorld(t, script(answer{status: 502}, no(400, 1, "no")))
	if e := asError(t, set(w.Client)); e.Outcome != Unknown || e.Code != 1 || e.Attempts != 2 {
		t.Errorf("got %+v", e)
	}
	w = newWorld(t, script(answer{status: 429}, no(400, 1, "no")))
	if e := asError(t, set(w.Client)); e.Outcome != Refused {
		t.Errorf("after a 429: %+v", e)
	}
}

// A deletion that was repeated because its first answer got lost finds nothing left: that is its success.
func TestDeleteAfterLostAnswer(t *testing.T) {
	gone := no(404, 10007, "This Worker does not exist")
	w := newWorld(t, script(answer{status: 502}, gone))
	if err := w.DeleteWorker(context.Background(), "helm-swicked"); err != nil {
		t.Errorf("got %v", err)
	}
	w = newWorld(t, script(gone))
	if err := w.DeleteWorker(context.Background(), "helm-swicked"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the first answer was %v", err)
	}
	w = newWorld(t, script(answer{status: 429}, gone)) // the 429 certainly deleted nothing
	if err := w.DeleteWorker(context.Background(), "helm-swicked"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after a 429 it was %v", err)
	}
}

func TestCancelled(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		w := newWorld(t, script(ok(`null`)))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		err := w.PutSchedules(ctx, "x", nil)
		if e := asError(t, err); !errors.Is(err, context.Canceled) || errors.Is(err, ErrArgument) || e.Outcome != NotSent || len(w.requests()) != 0 {
			t.Errorf("got %+v after %d requests", e, len(w.requests()))
		}
	})
	t.Run("between attempts", func(t *testing.T) {
		w := newWorld(t, script(answer{status: 502}))
		ctx, cancel := context.WithCancel(context.Background())
		w.Sleep = func(ctx context.Context, _ time.Duration) error {
			cancel()
			return ctx.Err()
		}
		err := w.PutSchedules(ctx, "x", nil)
		if e := asError(t, err); !errors.Is(err, context.Canceled) || e.Outcome != Unknown || len(w.requests()) != 1 {
			t.Errorf("got %+v after %d requests", e, len(w.requests()))
		}
	})
	t.Run("while it answers", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		})
		err := w.PutSchedules(ctx, "x", nil)
		if e := asError(t, err); !errors.Is(err, context.Canceled) || e.Outcome != Unknown || len(w.requests()) != 1 || len(w.clock.slept) != 0 {
			t.Errorf("got %+v after %d requests", e, len(w.requests()))
		}
	})
	t.Run("while it waits for the budget", func(t *testing.T) {
		w := newWorld(t, script(ok(`[]`)))
		ctx, cancel := context.WithCancel(context.Background())
		w.Budget = &Budget{Limit: 1, Now: w.clock.Now, Sleep: func(ctx context.Context, _ time.Duration) error {
			cancel()
			return ctx.Err()
		}}
		if err := read(w.Client); err != nil {
			t.Fatal(err)
		}
		err := w.PutSchedules(ctx, "x", nil)
		if e := asError(t, err); !errors.Is(err, context.Canceled) || e.Outcome != NotSent || len(w.requests()) != 1 {
			t.Errorf("got %+v after %d requests", e, len(w.requests()))
		}
		if n := w.Budget.Waiting(); n != 0 {
			t.Errorf("%d calls still wait", n)
		}
	})
}
