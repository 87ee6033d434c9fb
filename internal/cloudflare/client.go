package cloudflare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	sdk "github.com/cloudflare/cloudflare-go"
)

// Client speaks to the API for one account with one token. Set the fields, then use it: they must not change after the
// first call. All methods are safe for concurrent use, and return an [*Error] when they return an error.
type Client struct {
	BaseURL   string // "" means https://api.cloudflare.com/client/v4; plain http is accepted for loopback hosts only
	AccountID string // needed by every method but those that name a zone, Accounts, VerifyToken and GraphQL
	Token     Secret
	UserAgent string // such as shopfleet/1.2.3; "" means shopfleet/dev

	Budget *Budget // shared by all clients of the token, see Budgets; nil means one of its own
	Urgent bool    // may use the reserve of the Budget: for rollbacks and other work that must not wait behind a wave

	Transport http.RoundTripper // nil means net/http's defaults with a larger pool of idle connections
	Attempts  int               // how often a call is tried at most; 0 means 4
	Timeout   time.Duration     // for one attempt, uploads included; 0 means 2 minutes
	MaxBody   int64             // the largest answer accepted, in bytes; 0 means 8 MiB; table rows may have eight times as much

	Log     *slog.Logger // one debug line for each attempt; nil means none
	Observe func(Call)   // called after each attempt, in the goroutine that made it, so possibly by many at once; may be nil

	Now    func() time.Time                           // nil means time.Now
	Sleep  func(context.Context, time.Duration) error // nil means a timer; must return the context's error when it is done
	Jitter func() float64                             // in [0,1); nil means math/rand

	readOnly bool
	once     sync.Once
	options  []sdk.Option
	api      *sdk.API
	wire     *transport
	fault    error // why the client cannot be used
}

const (
	defaultBaseURL = "https://api.cloudflare.com/client/v4"
	defaultTimeout = 2 * time.Minute
	defaultMaxBody = 8 << 20
	rowsFactor     = 8
	maxMessage     = 2000 // bytes of an API's message that are kept
)

// ReadOnly returns a client for the same account that refuses every write with ErrReadOnly before anything is sent.
// It shares the Budget and the connections of c, which counts as used from then on.
func (c *Client) ReadOnly() *Client {
	c.once.Do(c.setUp)
	return &Client{
		BaseURL: c.BaseURL, AccountID: c.AccountID, Token: c.Token, UserAgent: c.UserAgent,
		Budget: c.wire.budget, Urgent: c.Urgent,
		Transport: c.wire.next, Attempts: c.Attempts, Timeout: c.Timeout, MaxBody: c.MaxBody,
		Log: c.Log, Observe: c.Observe, Now: c.Now, Sleep: c.Sleep, Jitter: c.Jitter,
		readOnly: true,
	}
}

// setUp fills in the defaults once, on the first call.
func (c *Client) setUp() {
	c.wire = &transport{
		next: c.Transport, budget: c.Budget, urgent: c.Urgent, log: c.Log, observe: c.Observe,
		attempts: orDefault(c.Attempts, defaultAttempts), timeout: orDefault(c.Timeout, defaultTimeout),
		maxBody: orDefault(c.MaxBody, int64(defaultMaxBody)), now: c.Now, sleep: c.Sleep, jitter: c.Jitter,
	}
	if c.wire.next == nil {
		pool := http.DefaultTransport.(*http.Transport).Clone()
		pool.MaxIdleConnsPerHost = 64 // HTTP/1.1 to a simulator: net/http's 2 would mean a new connection for most calls
		c.wire.next = pool
	}
	if c.wire.budget == nil {
		c.wire.budget = &Budget{Now: c.Now, Sleep: c.Sleep}
	}
	if c.wire.log == nil {
		c.wire.log = slog.New(slog.DiscardHandler)
	}
	if c.wire.now == nil {
		c.wire.now = time.Now
	}
	if c.wire.sleep == nil {
		c.wire.sleep = sleepContext
	}
	if c.wire.jitter == nil {
		c.wire.jitter = rand.Float64
	}
	base, err := checkBaseURL(orDefault(c.BaseURL, defaultBaseURL))
	switch {
	case err != nil:
		c.fault = err
		return
	case c.Token == "":
		c.fault = fmt.Errorf("%w: no API token is set", ErrConfig)
		return
	case strings.ContainsAny(string(c.Token), " \t\r\n"):
		c.fault = fmt.Errorf("%w: the API token contains white space", ErrConfig)
		return
	}
	c.wire.base = base
	c.options = []sdk.Option{
		sdk.BaseURL(base.String()),
		sdk.HTTPClient(&http.Client{Transport: c.wire}),
		sdk.UserAgent(orDefault(c.UserAgent, "shopfleet/dev")),
		// Retries and pace are ours: the SDK's ignore Retry-After and repeat every POST.
		sdk.UsingRetryPolicy(0, 0, 0),
		sdk.UsingRateLimit(1e9),
	}
	c.api, c.fault = sdk.NewWithAPIToken(string(c.Token), c.options...)
}

// checkBaseURL refuses addresses to which the token would travel in clear text.
func checkBaseURL(text string) (*url.URL, error) {
	base, err := url.Parse(strings.TrimRight(text, "/"))
	switch {
	case err != nil || base.Host == "":
		return nil, fmt.Errorf("%w: the base URL is not an absolute URL", ErrConfig)
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, fmt.Errorf("%w: the base URL may hold no user, query or fragment", ErrConfig)
	case base.Scheme == "https", base.Scheme == "http" && isLoopback(base.Hostname()):
		return base, nil
	}
	return nil, fmt.Errorf("%w: the base URL %s would send the token in clear text; use https", ErrConfig, base)
}

// request is one call of one endpoint.
type request struct {
	op     string // a key of endpoints
	args   []string
	query  url.Values
	header http.Header
	body   any    // []byte travels as it is, anything else as JSON
	bearer Secret // instead of the token
	hide   []Secret
}

// call is a request on its way, known to the transport through the context.
type call struct {
	endpoint
	op      string
	urlPath string // escaped, base path included, as it must appear in the request
	subpath string // escaped, without base path
	hide    []Secret
	sent    bool
	opened  *http.Response // the answer of a stream, whose body is the caller's
}

type callKey struct{}

// do is the one way out: it finds the endpoint, refuses what must not be sent, and turns every error into an *Error.
// send performs the call with exactly one request to path, through the typed methods of api or Raw.
func (c *Client) do(ctx context.Context, r request, send func(ctx context.Context, api *sdk.API, path string) error) error {
	c.once.Do(c.setUp)
	cl, err := c.declare(r)
	api := c.api
	switch {
	case c.fault != nil:
		err = c.fault
	case err != nil:
	case c.readOnly && cl.effect != reads:
		err = ErrReadOnly
	case ctx.Err() != nil:
		err = ctx.Err()
	case r.bearer != "":
		api, err = sdk.NewWithAPIToken(string(r.bearer), c.options...)
	}
	if err != nil {
		return cl.fail(&Error{Err: err})
	}
	cl.urlPath = c.wire.base.EscapedPath() + cl.subpath
	err = send(context.WithValue(ctx, callKey{}, cl), api, cl.subpath)
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		if e.Op == "" {
			cl.fail(e) // send's own verdict on the answer
		}
		return e
	}
	// Neither the transport nor the API failed: the SDK refused its parameters, or the answer is not what the call promises.
	e = &Error{Err: fmt.Errorf("%w: %w", ErrMalformed, err)}
	if !cl.sent {
		e.Err = fmt.Errorf("%w: %w", ErrArgument, err)
	} else if cl.effect != reads {
		e.Outcome = Unknown
	}
	return cl.fail(e)
}

// declare looks r up in the table.
func (c *Client) declare(r request) (*call, error) {
	row, ok := endpoints[r.op]
	cl := &call{op: r.op, endpoint: row, subpath: row.path, hide: append(r.hide, c.Token, r.bearer)}
	if !ok {
		return cl, fmt.Errorf("%w: no such endpoint", ErrArgument)
	}
	path, err := row.expand(c.AccountID, r.args)
	if err == nil {
		cl.subpath = path
	}
	return cl, err
}

// refuse is the error for a call whose arguments must not be sent.
func (c *Client) refuse(r request, err error) error {
	cl, _ := c.declare(r)
	return cl.fail(&Error{Err: err})
}

// fail completes e with what is known about the call.
func (cl *call) fail(e *Error) *Error {
	e.Op, e.Method, e.Path, e.service = cl.op, cl.method, cl.subpath, cl.service()
	if e.Message = redact(e.Message, cl.hide); len(e.Message) > maxMessage {
		e.Message = strings.ToValidUTF8(e.Message[:maxMessage], "") + "…"
	}
	if e.Err != nil {
		if text := e.Err.Error(); redact(text, cl.hide) != text {
			cause := e.Err
			e.Err = maskedError{redact(text, cl.hide), func(target error) bool { return errors.Is(cause, target) }}
		}
	}
	return e
}

// maskedError stands for an error whose text held a secret. What it was can still be asked, its text cannot be had: there
// is no Unwrap, and the cause is behind a func, where no fmt verb looks.
type maskedError struct {
	text string
	is   func(error) bool
}

func (m maskedError) Error() string        { return m.text }
func (m maskedError) Is(target error) bool { return m.is(target) }

// raw performs r with the SDK's Raw. out is a pointer to decode the result into, a func([]byte) error that does so
// itself, or nil when the result does not matter.
func (c *Client) raw(ctx context.Context, r request, out any) error {
	_, err := c.rawPage(ctx, r, out)
	return err
}

// rawPage is raw with the paging information of the answer.
func (c *Client) rawPage(ctx context.Context, r request, out any) (info sdk.ResultInfo, err error) {
	err = c.do(ctx, r, func(ctx context.Context, api *sdk.API, path string) error {
		var body any
		switch b := r.body.(type) {
		case nil:
		case []byte:
			body = b
		default:
			text, err := json.Marshal(b)
			if err != nil {
				return err
			}
			body = text
		}
		if len(r.query) > 0 {
			path += "?" + r.query.Encode()
		}
		answer, err := api.Raw(ctx, r.method(), path, body, r.header)
		if err != nil {
			return err
		}
		if answer.ResultInfo != nil {
			info = *answer.ResultInfo
		}
		switch out := out.(type) {
		case nil:
			return nil
		case func([]byte) error:
			return out(answer.Result)
		default:
			return json.Unmarshal(answer.Result, out)
		}
	})
	return info, err
}

func (r request) method() string { return endpoints[r.op].method }

// account is the SDK's name for the client's account.
func (c *Client) account() *sdk.ResourceContainer { return sdk.AccountIdentifier(c.AccountID) }

// need decodes a result object that must have certain members: an absent list must not pass for an empty one.
func need(out any, members ...string) func([]byte) error {
	return func(text []byte) error {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(text, &fields); err != nil {
			return err
		}
		for _, m := range members {
			if len(fields[m]) == 0 || string(fields[m]) == "null" {
				return lacks(m)
			}
		}
		return json.Unmarshal(text, out)
	}
}

// lacks is the error for a result without a member that callers depend on.
func lacks(member string) error { return fmt.Errorf("the result has no %q", member) }
