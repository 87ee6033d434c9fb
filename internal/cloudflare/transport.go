package cloudflare

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Call is one attempt at a call, for telemetry and tests.
type Call struct {
	Op      string // the method of Client
	Method  string
	Path    string // escaped, without base URL and query
	Write   bool
	Attempt int           // 1 for the first
	Waited  time.Duration // for the Budget
	Took    time.Duration // from sending to the last byte of the answer
	Status  int           // HTTP; 0 when there was no answer
	Ray     string
	Err     error // an *Error when the attempt failed, whether or not it is repeated
}

// transport is what the SDK sends through. It does not know about authentication; it owns pace, retries, and what counts
// as an answer, and hands the SDK either an *Error or a plain success with status 200.
type transport struct {
	next     http.RoundTripper
	base     *url.URL
	budget   *Budget
	urgent   bool
	attempts int
	timeout  time.Duration
	maxBody  int64
	log      *slog.Logger
	observe  func(Call)
	now      func() time.Time
	sleep    func(context.Context, time.Duration) error
	jitter   func() float64
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	ctx := req.Context()
	cl, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return nil, fmt.Errorf("%w: %s %s was not declared", ErrArgument, req.Method, req.URL.Path)
	}
	// The table is the truth about what a call may do, so nothing but the declared request passes, whatever the SDK made of it.
	if req.Method != cl.method || req.URL.EscapedPath() != cl.urlPath || req.URL.Host != t.base.Host {
		return nil, cl.fail(&Error{Err: fmt.Errorf("%w: %s %s is not the declared request", ErrArgument, req.Method, req.URL.EscapedPath())})
	}
	known := NotSent // the worst that earlier attempts left behind
	for n := 1; ; n++ {
		answer, e := t.attempt(req, cl, n)
		if e == nil {
			return respond(req, answer), nil
		}
		if cl.method == http.MethodDelete && known == Unknown && e.notFound() {
			return respond(req, envelope{Result: json.RawMessage("null")}), nil // an earlier attempt deleted it
		}
		known = max(known, e.Outcome)
		if n < t.attempts && e.mayRepeat(cl.effect) && ctx.Err() == nil {
			// After a refusal for the rate the budget holds everybody, this call included.
			if e.rateLimited() || t.sleep(ctx, t.patience(n, e)) == nil {
				continue
			}
		}
		e.Attempts, e.Outcome = n, known
		if err := ctx.Err(); err != nil && !errors.Is(e.Err, err) {
			e.Err = errors.Join(err, e.Err)
		}
		return nil, e
	}
}

// attempt sends the request once.
func (t *transport) attempt(req *http.Request, cl *call, n int) (envelope, *Error) {
	ctx := req.Context()
	u := use{urgent: t.urgent, graphql: cl.shape == graphql}
	waited, err := t.budget.acquire(ctx, u)
	if err != nil {
		return envelope{}, cl.fail(&Error{Err: err})
	}
	began := t.now()
	answer, header, status, e := t.exchange(req, cl)
	var hold time.Duration
	if e != nil && e.rateLimited() {
		hold = t.patience(n, e)
	}
	t.budget.done(u, header, hold)

	seen := Call{Op: cl.op, Method: cl.method, Path: cl.subpath, Write: cl.effect != reads, Attempt: n, Waited: waited,
		Took: t.now().Sub(began), Status: status, Ray: header.Get("Cf-Ray")}
	line := []any{"op", seen.Op, "method", seen.Method, "path", seen.Path, "attempt", n, "status", status, "took", seen.Took, "waited", waited, "ray", seen.Ray}
	if e != nil {
		seen.Err = e
		line = append(line, "error", e.Error())
	}
	t.log.DebugContext(ctx, "cloudflare call", line...)
	if t.observe != nil {
		t.observe(seen)
	}
	return answer, e
}

// exchange sends the request and reads the answer, within the time of one attempt.
func (t *transport) exchange(req *http.Request, cl *call) (envelope, http.Header, int, *Error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	allowed := t.timeout + time.Duration(req.ContentLength/slowUpload)*time.Second
	timer := time.AfterFunc(allowed, func() { cancel(context.DeadlineExceeded) })
	release := func() { timer.Stop(); cancel(nil) }
	defer func() { release() }()
	out := req.Clone(ctx)
	if req.Body != nil && req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return envelope{}, nil, 0, cl.fail(&Error{Err: err})
		}
		out.Body = body
	}
	cl.sent = true
	resp, err := t.next.RoundTrip(out)
	if err != nil {
		if ctx.Err() != nil && req.Context().Err() == nil {
			err = fmt.Errorf("no answer within %v: %w", allowed, context.Cause(ctx))
		}
		return envelope{}, nil, 0, cl.lost(err)
	}
	if cl.shape == stream && resp.StatusCode == http.StatusOK {
		// From here on the caller reads, for as long as a slow connection needs.
		timer.Reset(t.timeout + time.Duration(max(resp.ContentLength, 0)/slowUpload)*time.Second)
		resp.Body = openBody{ctx, resp.Body, release}
		cl.opened, release = resp, func() {}
		return envelope{Success: true}, resp.Header, resp.StatusCode, nil
	}
	defer resp.Body.Close()
	limit := t.maxBody
	if cl.shape == rows || cl.shape == content {
		limit *= rowsFactor
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	var e *Error
	var answer envelope
	switch {
	case err != nil:
		e = cl.lost(fmt.Errorf("reading the answer: %w", err))
	case int64(len(body)) > limit:
		e = cl.odd(resp.StatusCode, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, limit))
	default:
		answer, e = cl.judge(resp, body)
	}
	if e != nil {
		e.Status, e.Ray = resp.StatusCode, resp.Header.Get("Cf-Ray")
		e.RetryAfter = retryAfter(resp.Header, t.now())
	}
	return answer, resp.Header, resp.StatusCode, e
}

// lost is a call whose answer never came, or not to its end.
func (cl *call) lost(err error) *Error {
	var distrust *tls.CertificateVerificationError
	e := &Error{Err: err, transient: !errors.As(err, &distrust)}
	if cl.effect != reads && !beforeSending(err) {
		e.Outcome = Unknown
	}
	return cl.fail(e)
}

// odd is an answer that is not the API's own: the status is all there is to judge by.
func (cl *call) odd(status int, err error) *Error {
	e := &Error{Err: err, Status: status, Outcome: Refused}
	if e.transient = status >= 500 || status == http.StatusRequestTimeout; e.transient || status < 300 {
		e.Outcome = cl.unclear()
	}
	return cl.fail(e)
}

// unclear is the outcome of an answer that does not say whether the call took effect.
func (cl *call) unclear() Outcome {
	if cl.effect == reads {
		return Refused
	}
	return Unknown
}

// envelope is the frame of every answer (wire.md §1), by its exact keys: encoding/json would take "SUCCESS" for "success".
type envelope struct {
	Success    bool
	Errors     []apiError
	Messages   []apiError
	Result     json.RawMessage
	ResultInfo json.RawMessage
}

// judge tells success from failure.
func (cl *call) judge(resp *http.Response, body []byte) (envelope, *Error) {
	status := resp.StatusCode
	if resp.Header.Get("Cf-Mitigated") == "challenge" {
		e := cl.odd(http.StatusForbidden, fmt.Errorf("%w: a web firewall challenge", ErrMalformed))
		e.challenge = true
		return envelope{}, e
	}
	if len(body) == 0 && (status == http.StatusNoContent || status == http.StatusResetContent) && cl.effect != reads {
		return envelope{Success: true, Result: json.RawMessage("{}")}, nil
	}
	if cl.shape == content && status == http.StatusOK {
		text, err := json.Marshal(verbatim{resp.Header.Get("Content-Type"), resp.Header.Get("Cf-Entrypoint"), body})
		if err != nil {
			return envelope{}, cl.odd(status, err)
		}
		return envelope{Success: true, Result: text}, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		if head := bytes.TrimSpace(body); len(head) > 0 && head[0] == '<' {
			return envelope{}, cl.odd(status, fmt.Errorf("%w: a web page of %d bytes", ErrMalformed, len(body)))
		}
		e := cl.odd(status, fmt.Errorf("%w: %d bytes that are not JSON to their end", ErrMalformed, len(body)))
		e.transient = e.transient || status < 300 // cut short on the way, most likely
		return envelope{}, e
	}
	answer := envelope{
		Success: string(fields["success"]) == "true",
		Errors:  apiErrors(fields["errors"]), Messages: apiErrors(fields["messages"]),
		Result: fields["result"], ResultInfo: fields["result_info"],
	}
	if _, framed := fields["success"]; cl.shape == graphql && !framed {
		answer.Success, answer.Result = len(answer.Errors) == 0 && fields["data"] != nil, fields["data"]
	} else if !framed && len(answer.Errors) == 0 {
		return answer, cl.odd(status, fmt.Errorf(`%w: it says nothing about success`, ErrMalformed))
	}
	if !answer.Success {
		return answer, cl.refused(status, answer)
	}
	if cl.effect == reads && (len(answer.Result) == 0 || string(answer.Result) == "null") {
		return answer, cl.odd(status, fmt.Errorf("%w: it has no result", ErrMalformed)) // an empty list would be a lie
	}
	if cl.shape == unused {
		answer.Result = json.RawMessage("null")
	}
	return answer, nil
}

// verbatim is an answer that is the thing asked for, as it goes through the frame of the others.
type verbatim struct {
	ContentType, Entrypoint string
	Body                    []byte
}

// refused is the API's own no.
func (cl *call) refused(status int, answer envelope) *Error {
	e := &Error{Status: status, Outcome: Refused, envelope: true}
	said := answer.Errors
	if len(said) == 0 {
		said = answer.Messages
	}
	var texts []string
	for _, a := range said {
		e.Codes = append(e.Codes, a.codes...)
		texts = append(texts, a.String())
	}
	e.Message = orDefault(strings.Join(texts, "; "), "the API answered no, and not why")
	if len(e.Codes) > 0 {
		e.Code = e.Codes[0]
	}
	// 10001 is "method not allowed for this token" as well as a passing internal error: only the message tells.
	e.transient = status >= 500 || status == http.StatusRequestTimeout ||
		e.has([]int{10001}) && strings.Contains(strings.ToLower(e.Message), "internal error")
	if e.transient && !e.rateLimited() {
		e.Outcome = cl.unclear()
	}
	return cl.fail(e)
}

// apiError is one entry of errors or messages: an object as a rule, a bare string from some products.
type apiError struct {
	message string
	codes   []int // its own first, then those of its error chain
}

func (a apiError) String() string {
	if len(a.codes) == 0 {
		return a.message
	}
	return a.message + " [code: " + strconv.Itoa(a.codes[0]) + "]"
}

// apiErrors reads what can be read: an error must not get lost because its frame is unusual.
func apiErrors(raw json.RawMessage) []apiError {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil && len(raw) > 0 {
		list = []json.RawMessage{raw}
	}
	var all []apiError
	for _, item := range list {
		var text string
		if json.Unmarshal(item, &text) == nil {
			if text != "" {
				all = append(all, apiError{message: text})
			}
			continue
		}
		var fields map[string]json.RawMessage
		if json.Unmarshal(item, &fields) != nil {
			all = append(all, apiError{message: "an error in an unknown form"})
			continue
		}
		a := apiError{}
		if json.Unmarshal(fields["message"], &a.message) != nil {
			a.message = "an error without a message"
		}
		if code, err := strconv.Atoi(strings.Trim(string(fields["code"]), `"`)); err == nil && code > 0 {
			a.codes = append(a.codes, code)
		}
		for _, inner := range apiErrors(fields["error_chain"]) {
			a.message += " (" + inner.message + ")"
			a.codes = append(a.codes, inner.codes...)
		}
		all = append(all, a)
	}
	return all
}

// respond hands a success to the SDK in the one form that all of its methods understand.
func respond(req *http.Request, answer envelope) *http.Response {
	body := []byte(`{"success":true,"errors":[],"messages":[],"result":` + string(orNull(answer.Result)) +
		`,"result_info":` + string(orNull(answer.ResultInfo)) + `}`)
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)), Request: req,
	}
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}
