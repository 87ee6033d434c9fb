package github_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/github"
)

const (
	token = "ghs_thetokenthatnobodymaysee"
	sha   = "0123456789abcdef0123456789abcdef01234567"
)

// request is one that the server got.
type request struct {
	method, path, query, auth string
	body                      map[string]any
}

func (r request) String() string { return r.method + " " + r.path }

// server is a GitHub that says what a test wants, faults included.
type server struct {
	*httptest.Server
	t   *testing.T
	mu  sync.Mutex
	got []request
}

// answer writes an answer; n counts the requests of the same method and path from 1.
type answer func(w http.ResponseWriter, r request, n int)

func serve(t *testing.T, routes map[string]answer) *server {
	t.Helper()
	s := &server{t: t}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		r := request{method: hr.Method, path: hr.URL.EscapedPath(), query: hr.URL.RawQuery, auth: hr.Header.Get("Authorization")}
		if b, _ := io.ReadAll(hr.Body); len(b) > 0 {
			if err := json.Unmarshal(b, &r.body); err != nil {
				t.Errorf("%s: the body is not a JSON object: %s", r, b)
			}
		}
		s.mu.Lock()
		s.got = append(s.got, r)
		n := 0
		for _, old := range s.got {
			if old.String() == r.String() {
				n++
			}
		}
		s.mu.Unlock()
		say := routes[r.String()]
		if say == nil {
			t.Errorf("unexpected %s?%s", r, r.query)
			w.WriteHeader(http.StatusTeapot)
			return
		}
		say(w, r, n)
	}))
	t.Cleanup(s.Close)
	return s
}

// sent are the requests so far, as "METHOD path".
func (s *server) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, r := range s.got {
		list = append(list, r.String())
	}
	return list
}

func (s *server) last() request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got[len(s.got)-1]
}

// clock is a world where waiting takes no time.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.slept = append(c.slept, d)
	return ctx.Err()
}

func (s *server) client(c *clock) *github.Client {
	return &github.Client{
		BaseURL: s.URL, Owner: "acme", Repo: "helm", Token: token, Transport: cloudflare.LoopbackOnly(nil),
		Now: c.Now, Sleep: c.Sleep, Jitter: func() float64 { return 0 },
	}
}

// says answers with a status and JSON.
func says(status int, text string, header ...string) answer {
	return func(w http.ResponseWriter, _ request, _ int) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, text)
	}
}

// inTurn gives one answer after the other, and then the last one again.
func inTurn(list ...answer) answer {
	return func(w http.ResponseWriter, r request, n int) { list[min(n, len(list))-1](w, r, n) }
}

// cutOff closes the connection without an answer.
func cutOff(http.ResponseWriter, request, int) { panic(http.ErrAbortHandler) }

// halfway closes the connection in the middle of an answer.
func halfway(w http.ResponseWriter, _ request, _ int) {
	w.Header().Set("Content-Length", "1000")
	w.WriteHeader(http.StatusCreated)
	io.WriteString(w, `{"id":`)
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func wantSent(t *testing.T, s *server, want ...string) {
	t.Helper()
	if got := s.sent(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("sent\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const tipPath = "/repos/acme/helm/git/ref/heads/shops/swicked"

func refAnswer(sha string) string {
	return `{"ref":"refs/heads/shops/swicked","object":{"type":"commit","sha":"` + sha + `"}}`
}

func TestTip(t *testing.T) {
	s := serve(t, map[string]answer{"GET " + tipPath: says(200, refAnswer(sha))})
	c := s.client(newClock())
	if got, err := c.Tip(t.Context(), "shops/swicked"); err != nil || got != sha {
		t.Fatalf("the tip is %q, %v", got, err)
	}
	if n := c.Calls(); n != 1 {
		t.Errorf("it took %d calls; want 1", n)
	}
	if auth := s.last().auth; auth != "Bearer "+token {
		t.Errorf("authorised as %q", auth)
	}
	for _, branch := range []string{"", "../../../app", "a b", "shops/", "/x", "a..b", "x.lock", "-\x00", "a//b", ".a", "a\nb", "shops/\u202eswicked"} {
		if _, err := c.Tip(t.Context(), branch); !errors.Is(err, github.ErrArgument) {
			t.Errorf("the branch %q: %v", branch, err)
		}
	}
	if n := c.Calls(); n != 1 {
		t.Errorf("%d calls; what is not a branch was asked for", n)
	}
}

func TestTipMalformed(t *testing.T) {
	for name, text := range map[string]string{
		"html": "<html>", "empty": "", "null": "null", "list": "[]", "another branch": strings.Replace(refAnswer(sha), "swicked", "swicke", 1),
		"no commit": refAnswer("main"), "short": refAnswer("abc"), "cut": refAnswer(sha)[:60], "wrong type": `{"ref":5}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, map[string]answer{"GET " + tipPath: says(200, text)})
			if got, err := s.client(newClock()).Tip(t.Context(), "shops/swicked"); err == nil || got != "" {
				t.Errorf("the tip is %q, %v", got, err)
			}
		})
	}
}

func TestTipMissing(t *testing.T) {
	for _, say := range []answer{says(404, `{"message":"Not Found","status":"404"}`), says(409, `{"message":"Git Repository is empty."}`)} {
		s := serve(t, map[string]answer{"GET " + tipPath: say})
		_, err := s.client(newClock()).Tip(t.Context(), "shops/swicked")
		var absent *github.NotFoundError
		if !errors.As(err, &absent) || !strings.Contains(err.Error(), "the branch shops/swicked of acme/helm is not there") || absent.Hint() == "" {
			t.Errorf("got %v", err)
		}
		var e *github.Error
		if !errors.As(err, &e) || e.Status < 400 {
			t.Errorf("no *Error inside %v", err)
		}
	}
}
