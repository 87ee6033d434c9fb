package cloudflare

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	testAccount = "0123456789abcdef0123456789abcdef" // as in the recordings
	testToken   = Secret("tok-5f1e2d3c4b5a6978-never-print-me")
)

// clock is a time that only moves when somebody sleeps.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.slept = append(c.slept, d)
	return nil
}

// seen is a request as the server got it.
type seen struct {
	Method, Path, Query, Body string
	Header                    http.Header
}

// world is a server on loopback, a client for it, and what passed between them.
type world struct {
	*Client
	clock *clock
	mu    sync.Mutex
	seen  []seen
	calls []Call
}

func (w *world) requests() []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]seen(nil), w.seen...)
}

func (w *world) observed() []Call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Call(nil), w.calls...)
}

func newWorld(t *testing.T, handler http.HandlerFunc) *world {
	t.Helper()
	w := &world{clock: newClock()}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.mu.Lock()
		w.seen = append(w.seen, seen{r.Method, strings.TrimPrefix(r.URL.EscapedPath(), "/client/v4"), r.URL.RawQuery, string(body), r.Header})
		w.mu.Unlock()
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		handler(rw, r)
	}))
	t.Cleanup(server.Close)
	w.Client = &Client{
		BaseURL: server.URL + "/client/v4", AccountID: testAccount, Token: testToken,
		Transport: LoopbackOnly(server.Client().Transport),
		Now:       w.clock.Now, Sleep: w.clock.Sleep, Jitter: func() float64 { return 0 },
		Observe: func(c Call) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.calls = append(w.calls, c)
		},
	}
	return w
}

// answer is one canned response.
type answer struct {
	status int
	body   string
	header map[string]string
}

func (a answer) write(rw http.ResponseWriter) {
	for k, v := range a.header {
		rw.Header().Set(k, v)
	}
	rw.WriteHeader(a.status)
	io.WriteString(rw, a.body)
}

// script answers the n-th request with the n-th answer, and every further one with the last.
func script(answers ...answer) http.HandlerFunc {
	var mu sync.Mutex
	n := 0
	return func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		a := answers[min(n, len(answers)-1)]
		n++
		mu.Unlock()
		a.write(rw)
	}
}

func ok(result string) answer {
	return answer{status: 200, body: `{"success":true,"errors":[],"messages":[],"result":` + result + `}`}
}

func no(status, code int, message string) answer {
	body, _ := json.Marshal(map[string]any{"success": false, "result": nil, "messages": []any{}, "errors": []any{map[string]any{"code": code, "message": message}}})
	return answer{status: status, body: string(body)}
}

// asError fails the test unless err is an *Error.
func asError(t *testing.T, err error) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %T (%v), want *Error", err, err)
	}
	return e
}

// contract reads a file of testdata/contracts/cloudflare.
func contract(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../testdata/contracts/cloudflare", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestClientRefusesBadSetUp(t *testing.T) {
	for name, tc := range map[string]struct {
		client *Client
		want   string
	}{
		"no token":            {&Client{AccountID: "a"}, "no API token"},
		"token with newline":  {&Client{AccountID: "a", Token: testToken + "\n"}, "white space"},
		"no account":          {&Client{Token: testToken}, "no account id"},
		"plain http":          {&Client{AccountID: "a", Token: testToken, BaseURL: "http://api.cloudflare.com/client/v4"}, "clear text"},
		"plain http, a name":  {&Client{AccountID: "a", Token: testToken, BaseURL: "http://localhost.example.com"}, "clear text"},
		"other scheme":        {&Client{AccountID: "a", Token: testToken, BaseURL: "ftp://127.0.0.1"}, "clear text"},
		"no host":             {&Client{AccountID: "a", Token: testToken, BaseURL: "client/v4"}, "absolute"},
		"not a URL":           {&Client{AccountID: "a", Token: testToken, BaseURL: "https://[::1"}, "absolute"},
		"user in URL":         {&Client{AccountID: "a", Token: testToken, BaseURL: "https://u:p@example.com"}, "no user"},
		"query in URL":        {&Client{AccountID: "a", Token: testToken, BaseURL: "https://example.com/?a=b"}, "no user, query"},
		"account with dots":   {&Client{AccountID: "..", Token: testToken}, `".."`},
		"account with escape": {&Client{AccountID: "a\x00", Token: testToken}, "cannot stand for {account}"},
	} {
		t.Run(name, func(t *testing.T) {
			c := tc.client
			c.Transport = roundTripper(func(*http.Request) (*http.Response, error) {
				t.Error("a request was sent")
				return nil, errors.New("no")
			})
			for _, c := range []*Client{c, c.ReadOnly()} {
				_, err := c.Workers(context.Background())
				e := asError(t, err)
				if e.Outcome != NotSent || !strings.Contains(e.Error(), tc.want) {
					t.Errorf("got %v (%v), want %q and not sent", e, e.Outcome, tc.want)
				}
				if !errors.Is(err, ErrConfig) && !errors.Is(err, ErrArgument) {
					t.Errorf("%v is neither ErrConfig nor ErrArgument", err)
				}
			}
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestBaseURLs(t *testing.T) {
	for _, base := range []string{"https://api.cloudflare.com/client/v4", "http://127.0.0.1:8787", "http://[::1]:1/x", "http://localhost/client/v4/"} {
		got, err := checkBaseURL(base)
		if err != nil || strings.HasSuffix(got.String(), "/") {
			t.Errorf("checkBaseURL(%q) = %v, %v; want it without trailing slash", base, got, err)
		}
	}
}

func TestHeaders(t *testing.T) {
	w := newWorld(t, script(ok(`[]`)))
	if _, err := w.Workers(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.Client = &Client{BaseURL: w.BaseURL + "/", AccountID: testAccount, Token: testToken, UserAgent: "shopfleet/1.2.3", Transport: w.Transport}
	if _, err := w.Workers(context.Background()); err != nil {
		t.Fatal(err)
	}
	for i, agent := range []string{"shopfleet/dev", "shopfleet/1.2.3"} {
		r := w.requests()[i]
		if r.Header.Get("User-Agent") != agent || r.Header.Get("Authorization") != "Bearer "+string(testToken) {
			t.Errorf("request %d has headers %v", i, r.Header)
		}
		if r.Path != "/accounts/"+testAccount+"/workers/scripts" {
			t.Errorf("request %d went to %s", i, r.Path)
		}
	}
}

// Names come from branches and config files; none may reach another endpoint than the one that was called.
func TestHostileNames(t *testing.T) {
	w := newWorld(t, script(ok(`[]`)))
	ctx := context.Background()
	for _, name := range []string{"", ".", "..", "a\nb", "a\x7f", "\xff"} {
		if err := w.DeleteWorker(ctx, name); !errors.Is(err, ErrArgument) {
			t.Errorf("DeleteWorker(%q) = %v, want ErrArgument", name, err)
		}
		if _, err := w.Secrets(ctx, name); !errors.Is(err, ErrArgument) {
			t.Errorf("Secrets(%q) = %v, want ErrArgument", name, err)
		}
	}
	if n := len(w.requests()); n != 0 {
		t.Fatalf("%d requests were sent", n)
	}
	// A typed SDK call pastes the name into the path as it is; the transport sees that it is not the declared one.
	for _, name := range []string{"a/b", "a?force=true", "a#b", "a%2Fb", "x/../../../zones"} {
		if err := w.DeleteWorker(ctx, name); err == nil {
			for _, r := range w.requests() {
				if want := "/accounts/" + testAccount + "/workers/scripts/"; !strings.HasPrefix(r.Path, want) || strings.Contains(r.Path[len(want):], "/") || r.Query != "" {
					t.Errorf("DeleteWorker(%q) sent %s %s?%s", name, r.Method, r.Path, r.Query)
				}
			}
		}
		if _, err := w.Secrets(ctx, name); err != nil {
			t.Errorf("Secrets(%q): %v", name, err)
			continue
		}
		r := w.requests()[len(w.requests())-1]
		if parts := strings.Split(r.Path, "/"); len(parts) != 7 || parts[6] != "secrets" || r.Query != "" {
			t.Errorf("Secrets(%q) sent %s?%s", name, r.Path, r.Query)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	w := newWorld(t, script(ok(`[{"id":"helm-swicked"}]`)))
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			if workers, err := w.Workers(context.Background()); err != nil || len(workers) != 1 {
				t.Errorf("got %v, %v", workers, err)
			}
		})
	}
	wg.Wait()
	if n := len(w.requests()); n != 500 {
		t.Errorf("%d requests", n)
	}
}

func decodeContract[T any](t *testing.T, name string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(contract(t, name), &v); err != nil {
		t.Fatal(err)
	}
	return v
}
