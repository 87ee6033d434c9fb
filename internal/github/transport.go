package github

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxAnswer  = 32 << 20 // bytes: a hundred check runs with 64 KiB of summary and of text each
	maxMessage = 2000     // bytes of GitHub's message that are kept
)

// transport is what all requests of a client share.
type transport struct {
	next    http.RoundTripper
	base    *url.URL
	pace    *Pace
	timeout time.Duration
	now     func() time.Time
	sleep   func(context.Context, time.Duration) error
	jitter  func() float64
	calls   atomic.Int64

	mu      sync.Mutex
	blocked time.Time // when the rate limit ends that was last hit
	hide    []Secret  // what was sent as authorisation so far
}

// door is a way into the transport. Every answer that is not 2xx, and every failure, is an *Error; the answer's body is
// whole and in memory.
type door struct {
	*transport
	token func(context.Context) (Secret, error) // nil when requests bring their own authorisation
	once  bool                                  // what may have happened is not sent again
}

func (d door) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		body, err = io.ReadAll(req.Body)
		req.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("reading the request: %w", err)
		}
	}
	cl, _ := req.Context().Value(callKey{}).(call)
	repeat := req.Method == http.MethodGet || cl.repeat || d.mints(req)
	for n := 1; ; n++ {
		resp, e := d.attempt(req, body, repeat)
		if e == nil {
			return resp, nil
		}
		again := !e.settled && (e.limited || e.transient && (repeat || !e.Unclear))
		if n == attempts || !again {
			return nil, e
		}
		if e.limited {
			continue // attempt waits until the limit ends
		}
		wait := backoff(n, d.jitter())
		if after := e.until.Sub(d.now()); after > 0 {
			if after > maxPatience {
				return nil, e
			}
			wait = after
		}
		if err := d.sleep(req.Context(), wait); err != nil {
			return nil, e
		}
	}
}

// mints says that a request is for a token: one that nobody received is of no use to anyone and ends by itself.
func (d door) mints(req *http.Request) bool {
	return d.token == nil && !d.once && strings.HasSuffix(req.URL.Path, "/access_tokens")
}

// attempt sends a request once, when its turn has come.
func (d door) attempt(req *http.Request, body []byte, repeat bool) (*http.Response, *Error) {
	ctx := req.Context()
	e := &Error{Method: req.Method, Path: strings.TrimPrefix(req.URL.EscapedPath(), d.base.EscapedPath())}
	stop := func(err error) (*http.Response, *Error) {
		e.Err, e.settled = err, true
		return nil, e
	}
	// The host is part of every URL that go-github makes, and a token must not follow a URL elsewhere.
	if req.URL.Scheme != d.base.Scheme || req.URL.Host != d.base.Host {
		return stop(errHost)
	}
	if req.URL.Scheme != "https" && !isLoopback(req.URL.Hostname()) {
		return stop(errClearText)
	}
	if err := ctx.Err(); err != nil {
		return stop(err)
	}
	if wait := d.blockedFor(); wait > maxPatience {
		e.limited, e.until = true, d.now().Add(wait)
		return stop(errTooMany)
	} else if wait > 0 {
		if err := d.sleep(ctx, wait); err != nil {
			return stop(err)
		}
	}
	out := req.Clone(ctx)
	if d.token != nil {
		token, err := d.token(ctx)
		var cause *Error
		if errors.As(err, &cause) { // a call of its own, which was repeated on its own
			again := *cause
			again.settled, again.token, again.Unclear = true, true, false
			return nil, &again
		} else if err != nil {
			return stop(d.secretless(err))
		}
		out.Header.Set("Authorization", "Bearer "+string(token))
	}
	d.remember(out.Header.Get("Authorization"))
	if req.Method != http.MethodGet && !d.mints(req) {
		if err := d.pace.wait(ctx, req.URL.Path, d.now, d.sleep); err != nil {
			return stop(err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	out = out.WithContext(ctx)
	if body != nil {
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	d.calls.Add(1)
	resp, err := d.next.RoundTrip(out)
	if err != nil {
		e.transient = req.Context().Err() == nil
		e.Unclear = !repeat && !beforeSending(err)
		e.Err = d.secretless(err)
		return nil, e
	}
	answer, err := readAll(resp.Body, maxAnswer)
	resp.Body.Close()
	e.RequestID = cut(clean(resp.Header.Get("X-Github-Request-Id")), 64)
	if resp.StatusCode/100 == 2 {
		if err != nil {
			e.transient, e.Unclear = req.Context().Err() == nil, !repeat
			e.Err = fmt.Errorf("%w: reading it: %w", ErrMalformed, d.secretless(err))
			return nil, e
		}
		// go-github would refuse calls by itself, by the real clock, when these say that none is left.
		for _, name := range []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"} {
			resp.Header.Del(name)
		}
		resp.Body, resp.Request = io.NopCloser(bytes.NewReader(answer)), req
		return resp, nil
	}
	d.judge(e, resp, answer, repeat)
	return nil, e
}

// judge reads an answer that is an error.
func (d door) judge(e *Error, resp *http.Response, body []byte, repeat bool) {
	e.Status = resp.StatusCode
	e.Accepted = cut(clean(resp.Header.Get("X-Accepted-Github-Permissions")), 300)
	var said struct {
		Message string          `json:"message"`
		URL     string          `json:"documentation_url"`
		Errors  json.RawMessage `json:"errors"`
	}
	if json.Unmarshal(body, &said) != nil {
		said.Message = "" // HTML from something on the way
	}
	e.Message = said.Message
	var details []json.RawMessage
	json.Unmarshal(said.Errors, &details)
	for i, raw := range details {
		var detail struct{ Resource, Field, Code, Message string }
		if json.Unmarshal(raw, &detail) != nil {
			json.Unmarshal(raw, &detail.Message) // wire.md §1: it may be a text
		}
		if i == 0 {
			e.Code = cut(clean(detail.Code), 100)
		}
		text := detail.Message
		if text == "" {
			text = strings.Join(strings.Fields(detail.Resource+" "+detail.Field+" "+detail.Code), " ")
		}
		if text != "" && i < 10 {
			e.Message += "; " + text
		}
	}
	e.Message = cut(clean(d.redact(strings.TrimPrefix(e.Message, "; "))), maxMessage)
	now := d.now()
	switch wait, limited := limit(resp, said.Message+" "+said.URL, now); {
	case limited:
		e.limited, e.until = true, now.Add(wait)
		d.block(e.until)
	case e.Status >= 300 && e.Status < 400:
		e.Err = errRedirect
	case e.Status >= 500 || e.Status == http.StatusRequestTimeout:
		e.transient, e.Unclear = true, !repeat
		if wait > 0 {
			e.until = now.Add(wait)
		}
	}
}

func (t *transport) block(until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if until.After(t.blocked) {
		t.blocked = until
	}
}

func (t *transport) blockedFor() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.blocked.Sub(t.now())
}

// remember keeps an authorisation to redact it. There are few: one token an hour.
func (t *transport) remember(header string) {
	_, token, _ := strings.Cut(header, " ")
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, known := range t.hide {
		if string(known) == token {
			return
		}
	}
	t.hide = append(t.hide, Secret(token))
}

func (t *transport) redact(text string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return redact(text, t.hide...)
}

// secretless is err, or its redacted and cleaned text when that is another: what it was can then be asked no more.
func (t *transport) secretless(err error) error {
	if text := err.Error(); clean(t.redact(text)) != text {
		return errors.New(clean(t.redact(text)))
	}
	return err
}

// isLoopback judges the name alone: a name other than localhost may resolve to anything.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
