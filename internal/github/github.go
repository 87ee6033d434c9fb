// Package github holds everything shopfleet says to GitHub: the REST API on one side, the files and the log of an Actions
// runner on the other. It knows no policy.
//
// Start with [Client] for the API: set its fields, then call its methods, which are safe for concurrent use.
//
//	gh := &github.Client{Owner: "acme", Repo: "helm", Token: github.Secret(token)}
//	sha, err := gh.Tip(ctx, "shops/swicked")
//
// What a caller can rely on:
//
//   - A method makes the calls that its comment says and no others, when all goes well; [Client.Calls] counts them.
//   - Reads are repeated after faults, and everything after a rate limit that ends soon. A write whose answer was lost is
//     looked for before it is sent again, so that nothing is created twice; when it cannot be known, [Error.Unclear] says so.
//   - Errors are an [*Error], a [*NotFoundError] or a [*RateLimitError]; errors.As with *Error works for all three.
//   - Writes are paced below GitHub's secondary limits, see [Pace].
//   - A token travels to the host of BaseURL over https (or to a loopback host) and nowhere else; redirects are refused.
//   - An App's tokens are minted for one repository and for the permissions that were asked for.
//   - Tokens and keys are of type [Secret] and appear in no error and under no fmt verb.
//
// Start with [Runner] for a step of GitHub Actions: inputs, masks, annotations, outputs, the summary, and what started it.
//
// The transport is github.com/google/go-github/v62 with github.com/bradleyfalzon/ghinstallation/v2 for App tokens. Retries
// and rate limits are a RoundTripper of our own and not github.com/gofri/go-github-ratelimit: that one waits by the real
// clock only, and does not know which writes may be repeated. Facts about GitHub are from contracts/github/wire.md.
package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	sdk "github.com/google/go-github/v62/github"
)

// Client speaks to the API about one repository. Set the fields, then use it: they must not change after the first call.
type Client struct {
	BaseURL     string // "" means https://api.github.com; plain http is accepted for loopback hosts only
	Owner, Repo string

	Token       Secret            // a token, or else an App
	App         *App              // whose tokens are minted when they are needed
	Permissions map[string]string // what an App's tokens may do, as {"deployments": "write"}; an App needs some
	Login       string            // who the client is, as "shopfleet[bot]"; "" means asked when it must be known
	// Hide takes secrets out of text that others will read: check runs, comments, descriptions. Nil leaves it as it is. A
	// runner masks its log alone.
	Hide func(string) string

	UserAgent string            // such as shopfleet/1.2.3; "" means shopfleet/dev
	Pace      *Pace             // shared by all clients of a process; nil means one of its own
	Transport http.RoundTripper // nil means net/http's defaults
	Timeout   time.Duration     // for one request; 0 means 30 seconds

	Now    func() time.Time                           // nil means time.Now
	Sleep  func(context.Context, time.Duration) error // nil means a timer; must return the context's error when it is done
	Jitter func() float64                             // in [0,1); nil means math/rand

	once  sync.Once
	wire  *transport
	app   *appTokens
	token func(context.Context) (Secret, error)
	api   *sdk.Client
	fault error // why the client cannot be used

	loginLock sync.Mutex
	login     string
	node      string // GraphQL's name for the repository
}

// hidden is text as others may read it.
func (c *Client) hidden(text string) string {
	if c.Hide == nil {
		return text
	}
	return c.Hide(text)
}

const (
	defaultBaseURL = "https://api.github.com"
	defaultTimeout = 30 * time.Second
)

// Format prints which repository the client is for, under every verb: what is inside holds tokens.
func (c *Client) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "github.Client(%s/%s)", c.Owner, c.Repo) }

// Calls is the number of HTTP requests sent so far, repeated ones and those for tokens included.
func (c *Client) Calls() int {
	c.once.Do(c.setUp)
	return int(c.wire.calls.Load())
}

func (c *Client) setUp() {
	c.wire = c.newWire()
	c.fault = c.connect()
}

// newWire is the transport with what is set of it, and defaults for the rest.
func (c *Client) newWire() *transport {
	wire := &transport{next: c.Transport, pace: c.Pace, timeout: c.Timeout, now: c.Now, sleep: c.Sleep, jitter: c.Jitter, hide: []Secret{c.Token}}
	if wire.next == nil {
		wire.next = http.DefaultTransport.(*http.Transport).Clone()
	}
	if wire.pace == nil {
		wire.pace = &Pace{}
	}
	if wire.timeout == 0 {
		wire.timeout = defaultTimeout
	}
	if c.Now == nil {
		wire.now = time.Now
	}
	if wire.sleep == nil {
		wire.sleep = sleepContext
	}
	if wire.jitter == nil {
		wire.jitter = rand.Float64
	}
	return wire
}

// connect builds the layers, from below: Transport, the wire with its retries, tokens, go-github.
func (c *Client) connect() error {
	base, err := checkURL("the base URL", orDefault(c.BaseURL, defaultBaseURL))
	if err != nil {
		return err
	}
	base.Path = strings.TrimRight(base.Path, "/")
	c.wire.base = base
	if err := checkRepository(c.Owner, c.Repo); err != nil {
		return err
	}
	top := door{transport: c.wire}
	switch {
	case c.App != nil && c.Token != "":
		return fmt.Errorf("%w: a token and an App are both set; set one", ErrConfig)
	case c.App != nil:
		if c.app, err = c.newAppTokens(); err != nil {
			return err
		}
		top.token = c.app.token
	case c.Token == "":
		return fmt.Errorf("%w: no token is set", ErrConfig)
	case strings.ContainsFunc(string(c.Token), func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("%w: the token holds a character that no token has", ErrConfig)
	default:
		top.token = func(context.Context) (Secret, error) { return c.Token, nil }
	}
	c.token = top.token
	c.api = c.over(top)
	return nil
}

// GitPassword is the token as git's password, for the user x-access-token: the client's own, or an App's that is minted
// when it must be, with the client's Permissions. It lives at least a minute longer.
func (c *Client) GitPassword(ctx context.Context) (Secret, error) {
	c.once.Do(c.setUp)
	if c.fault != nil {
		return "", fmt.Errorf("getting a token for git: %w", c.fault)
	}
	token, err := c.token(ctx)
	if err != nil {
		return "", fmt.Errorf("getting a token for git: %w", err)
	}
	c.wire.remember("Bearer " + string(token))
	return token, nil
}

// over is go-github on a transport.
func (c *Client) over(rt http.RoundTripper) *sdk.Client {
	// A redirect would carry the token, and what a renamed repository answers to a write is a redirect too: better told at
	// the first call than at the last.
	api := sdk.NewClient(&http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }})
	base := *c.wire.base
	base.Path += "/"
	api.BaseURL = &base
	api.UserAgent = orDefault(c.UserAgent, "shopfleet/dev")
	return api
}

// call is one use of the API. path is for errors that say nothing about where they come from.
type call struct {
	method, path string
	repeat       bool // may be sent again although it may have happened
}

type callKey struct{}

// do sends one request through send and turns every error into one of this package's.
func (c *Client) do(ctx context.Context, cl call, send func(ctx context.Context, api *sdk.Client) error) error {
	c.once.Do(c.setUp)
	return c.doWith(ctx, cl, c.api, send)
}

func (c *Client) doWith(ctx context.Context, cl call, api *sdk.Client, send func(ctx context.Context, api *sdk.Client) error) error {
	cl.repeat = cl.repeat || cl.method == http.MethodGet
	if err := c.fault; err != nil {
		return typed(&Error{Method: cl.method, Path: cl.path, Err: err})
	}
	if err := ctx.Err(); err != nil {
		return typed(&Error{Method: cl.method, Path: cl.path, Err: err})
	}
	err := send(context.WithValue(ctx, callKey{}, cl), api)
	var e *Error
	var accepted *sdk.AcceptedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
	case errors.As(err, &accepted): // wire.md §5: every 202
		e = &Error{Status: http.StatusAccepted, Message: "GitHub took the request and did not do what it asks for", Unclear: !cl.repeat}
	case ctx.Err() != nil: // go-github returns the bare error of a context that ended on the way
		e = &Error{Err: ctx.Err(), Unclear: !cl.repeat}
	default:
		e = &Error{Err: fmt.Errorf("%w: %w", ErrMalformed, c.wire.secretless(err)), Unclear: !cl.repeat}
	}
	if e.Method == "" {
		e.Method, e.Path = cl.method, cl.path
	}
	return typed(e)
}

// lookFirst performs a write that must happen once. When its answer is lost, look says whether it happened; only if it did
// not is it sent again.
func (c *Client) lookFirst(ctx context.Context, write func() error, look func() (bool, error)) error {
	for n := 1; ; n++ {
		err := write()
		var e *Error
		if err == nil || !errors.As(err, &e) || !e.Unclear {
			return err
		}
		// What was written may take a moment to be seen.
		if c.wire.sleep(ctx, backoff(n+1, c.wire.jitter())) != nil {
			return err
		}
		found, lookErr := look()
		switch {
		case lookErr != nil:
			e.Message = strings.TrimPrefix(e.Message+"; looking whether it happened failed too: "+lookErr.Error(), "; ")
			return err
		case found:
			return nil
		}
		e.Unclear = false // it was looked for and is not there
		if n == writeAttempts || e.Status == http.StatusAccepted {
			return err
		}
	}
}

// repoPath is a path below the repository, for errors.
func (c *Client) repoPath(format string, args ...any) string {
	return "/repos/" + c.Owner + "/" + c.Repo + fmt.Sprintf(format, args...)
}

// checkURL refuses addresses to which a token would travel in clear text.
func checkURL(what, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		return nil, fmt.Errorf("%w: %s is not an absolute URL", ErrConfig, what)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%w: %s may hold no user, query or fragment", ErrConfig, what)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("%w: %s is not https", ErrConfig, what)
}

// GitHub's rules: an owner is letters, digits and single hyphens, with an underscore for managed users; a repository's name
// is up to a hundred letters, digits, hyphens, underscores and dots.
var (
	ownerRule = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,38})$`)
	repoRule  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)
	shaRule   = regexp.MustCompile(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`)
)

func checkRepository(owner, repo string) error {
	if !ownerRule.MatchString(owner) || !repoRule.MatchString(repo) || repo == "." || repo == ".." {
		return fmt.Errorf("%w: %q is not the owner and name of a repository", ErrConfig, clean(owner+"/"+repo))
	}
	return nil
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// object is JSON text as an object; GitHub gives a payload back as it was sent, which for other programs may be a string
// that holds JSON, or any text.
func object(text json.RawMessage) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) == nil {
		return fields
	}
	return nil
}

// readAll reads at most limit bytes, and says when there are more.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return b, err
}
