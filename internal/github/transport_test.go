package github_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/github"
)

func TestPermissionHint(t *testing.T) {
	for accepted, want := range map[string]string{
		"deployments=write":                 "the token needs deployments: write;",
		"contents=read,deployments=write":   "contents: read and deployments: write",
		"issues=write; pull_requests=write": "issues: write, or pull_requests: write",
		"garbage":                           "other permissions",
		"":                                  "check its permissions",
		strings.Repeat("a", 5000):           "other permissions",
		"allows_permissionless_access=true,contents=write": "contents: write",
	} {
		s := serve(t, map[string]answer{"POST " + deployments: says(403, `{"message":"Resource not accessible by integration","documentation_url":"https://docs.github.com/rest"}`,
			"X-Accepted-GitHub-Permissions", accepted, "X-GitHub-Request-Id", "ABCD:12", "X-RateLimit-Remaining", "4999")})
		_, err := s.client(newClock()).CreateDeployment(t.Context(), newDeployment())
		var e *github.Error
		if !errors.As(err, &e) || !strings.Contains(e.Hint(), want) {
			t.Errorf("%q: %v, hint %q; want …%s…", accepted, err, e.Hint(), want)
			continue
		}
		if text := "GitHub: POST " + deployments + ": 403 Resource not accessible by integration (request ABCD:12)"; err.Error() != text {
			t.Errorf("the error is %q; want %q", err, text)
		}
		wantSent(t, s, "POST "+deployments)
	}
}

func TestRateLimits(t *testing.T) {
	world := newClock()
	reset := func(after time.Duration) string { return fmt.Sprint(world.Now().Add(after).Unix()) }
	const secondary = `{"message":"You have exceeded a secondary rate limit. Please wait a few minutes.","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`
	for _, test := range []struct {
		name  string
		say   answer
		wait  time.Duration // 0: it is a RateLimitError at once
		until time.Duration
	}{
		{"429 with Retry-After", says(429, `{"message":"x"}`, "Retry-After", "7"), 7 * time.Second, 0},
		{"403 with Retry-After", says(403, secondary, "Retry-After", "60"), time.Minute, 0},
		{"a date", says(429, "", "Retry-After", world.Now().Add(30*time.Second).Format(http.TimeFormat)), 30 * time.Second, 0},
		{"403 without a time", says(403, secondary), time.Minute, 0},
		{"429 without anything", says(429, "<html>"), time.Minute, 0},
		{"primary, soon over", says(403, `{"message":"API rate limit exceeded for installation ID 7."}`, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", reset(20*time.Second)), 21 * time.Second, 0},
		{"primary as 429", says(429, `{"message":"API rate limit exceeded"}`, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", reset(20*time.Second)), 21 * time.Second, 0},
		{"primary, far away", says(403, `{"message":"API rate limit exceeded"}`, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", reset(time.Hour)), 0, time.Hour + time.Second},
		{"Retry-After beyond patience", says(429, "", "Retry-After", "3600"), 0, time.Hour},
		{"a Retry-After out of this world", says(429, "", "Retry-After", "99999999999"), 0, 24 * time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClock()
			s := serve(t, map[string]answer{"GET " + tipPath: inTurn(test.say, says(200, refAnswer(sha)))})
			client := s.client(c)
			got, err := client.Tip(t.Context(), "shops/swicked")
			if test.wait > 0 {
				if err != nil || got != sha || len(c.slept) != 1 || c.slept[0] != test.wait {
					t.Errorf("got %q, %v after waiting %v; want %v", got, err, c.slept, test.wait)
				}
				return
			}
			var limited *github.RateLimitError
			if !errors.As(err, &limited) || limited.Until.Sub(c.Now()) != test.until || len(c.slept) != 0 || limited.Hint() == "" {
				t.Fatalf("got %v after waiting %v; want a limit for %v", err, c.slept, test.until)
			}
			// GitHub is left alone until then.
			if _, err := client.PullRequest(t.Context(), 1); !errors.As(err, &limited) || client.Calls() != 1 {
				t.Errorf("%v after %d calls", err, client.Calls())
			}
			c.Sleep(t.Context(), test.until)
			if got, err := client.Tip(t.Context(), "shops/swicked"); err != nil || got != sha {
				t.Errorf("after the limit: %q, %v", got, err)
			}
		})
	}
}

// A limit means that nothing happened: a write is sent again without a look.
func TestRateLimitedWrite(t *testing.T) {
	s := serve(t, map[string]answer{"POST " + deployments: inTurn(says(403, `{}`, "Retry-After", "2"), says(201, deploymentText(7, "swicked/v2")))})
	if d, err := s.client(newClock()).CreateDeployment(t.Context(), newDeployment()); err != nil || d.ID != 7 {
		t.Errorf("got %+v, %v", d, err)
	}
	wantSent(t, s, "POST "+deployments, "POST "+deployments)
}

// A limit that does not end is not waited for without end.
func TestRateLimitForever(t *testing.T) {
	c := newClock()
	s := serve(t, map[string]answer{"GET " + tipPath: says(429, "{}", "Retry-After", "60")})
	_, err := s.client(c).Tip(t.Context(), "shops/swicked")
	var limited *github.RateLimitError
	if !errors.As(err, &limited) || len(s.sent()) != 4 {
		t.Errorf("got %v after %d requests", err, len(s.sent()))
	}
}

// The last call of an hour succeeds, and the next one learns it from GitHub and not from go-github's own book.
func TestLastCallOfTheHour(t *testing.T) {
	s := serve(t, map[string]answer{"GET " + tipPath: says(200, refAnswer(sha), "X-RateLimit-Limit", "60", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", fmt.Sprint(time.Now().Add(time.Hour).Unix()))})
	c := s.client(newClock())
	for range 2 {
		if _, err := c.Tip(t.Context(), "shops/swicked"); err != nil {
			t.Error(err)
		}
	}
}

func TestRetry(t *testing.T) {
	fine := says(200, refAnswer(sha))
	for _, test := range []struct {
		name  string
		say   answer
		fails bool
		waits []time.Duration
	}{
		{"a 502", inTurn(says(502, "<html>bad gateway"), fine), false, []time.Duration{500 * time.Millisecond}},
		{"a 503 with Retry-After", inTurn(says(503, "", "Retry-After", "9"), fine), false, []time.Duration{9 * time.Second}},
		{"a 503 for an hour", inTurn(says(503, "", "Retry-After", "3600"), fine), true, nil},
		{"cut off twice", inTurn(cutOff, cutOff, fine), false, []time.Duration{500 * time.Millisecond, time.Second}},
		{"always", says(500, "{}"), true, []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second}},
		{"a 400", says(400, `{"message":"Problems parsing JSON"}`), true, nil},
		{"a 401", says(401, `{"message":"Bad credentials"}`), true, nil},
		{"a 451", says(451, `{"message":"Repository access blocked","block":{"reason":"tos"}}`), true, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClock()
			s := serve(t, map[string]answer{"GET " + tipPath: test.say})
			_, err := s.client(c).Tip(t.Context(), "shops/swicked")
			if (err != nil) != test.fails || fmt.Sprint(c.slept) != fmt.Sprint(test.waits) {
				t.Errorf("got %v after %v; want %v", err, c.slept, test.waits)
			}
			var e *github.Error
			if errors.As(err, &e) && (e.Unclear || e.Hint() == "" && e.Status != 400 && e.Status != 451) {
				t.Errorf("unclear %v, hint %q", e.Unclear, e.Hint())
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	c := newClock()
	client := &github.Client{BaseURL: s.URL, Owner: "acme", Repo: "helm", Token: token, Now: c.Now, Sleep: c.Sleep}
	_, err := client.CreateDeployment(t.Context(), newDeployment())
	var e *github.Error
	// Certainly not sent, so it is tried again without a look.
	if !errors.As(err, &e) || e.Unclear || e.Status != 0 || !strings.Contains(e.Hint(), "network") || client.Calls() != 4 {
		t.Errorf("got %v, hint %q, after %d calls", err, e.Hint(), client.Calls())
	}
}

func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, map[string]answer{"GET " + tipPath: func(w http.ResponseWriter, r request, n int) {
		if n == 1 {
			<-release
			return
		}
		says(200, refAnswer(sha))(w, r, n)
	}})
	t.Cleanup(func() { close(release) })
	c := s.client(newClock())
	c.Timeout = 50 * time.Millisecond
	if got, err := c.Tip(t.Context(), "shops/swicked"); err != nil || got != sha {
		t.Errorf("got %q, %v", got, err)
	}
}

// Cancelled means no new writes, neither the next attempt nor the one that waits for its turn.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, map[string]answer{"POST " + deployments: func(http.ResponseWriter, request, int) {
		cancel()
		panic(http.ErrAbortHandler)
	}})
	c := s.client(newClock())
	_, err := c.CreateDeployment(ctx, newDeployment())
	var e *github.Error
	if !errors.As(err, &e) || !e.Unclear {
		t.Errorf("got %v", err)
	}
	_, err = c.CreateDeployment(ctx, newDeployment())
	if !errors.Is(err, context.Canceled) || !errors.As(err, &e) || e.Unclear {
		t.Errorf("got %v", err)
	}
	wantSent(t, s, "POST "+deployments)

	ctx, cancel = context.WithCancel(t.Context())
	s = serve(t, map[string]answer{"POST " + deployments: says(429, "", "Retry-After", "60")})
	c = s.client(newClock())
	c.Sleep = func(context.Context, time.Duration) error { cancel(); return ctx.Err() }
	if _, err := c.CreateDeployment(ctx, newDeployment()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wantSent(t, s, "POST "+deployments)
}

func TestRedirectsAreRefused(t *testing.T) {
	elsewhere := serve(t, map[string]answer{})
	for _, status := range []int{301, 302, 307, 308} {
		for _, to := range []string{elsewhere.URL + "/x", "/repositories/1/git/ref/heads/shops/swicked"} {
			s := serve(t, map[string]answer{
				"GET " + tipPath:      says(status, `{"message":"Moved Permanently"}`, "Location", to),
				"POST " + deployments: says(status, `{"message":"Moved Permanently"}`, "Location", to),
			})
			c := s.client(newClock())
			_, err := c.Tip(t.Context(), "shops/swicked")
			var e *github.Error
			if !errors.As(err, &e) || !strings.Contains(e.Hint(), "renamed") {
				t.Errorf("%d: %v", status, err)
			}
			if _, err = c.CreateDeployment(t.Context(), newDeployment()); !errors.As(err, &e) || e.Unclear || !strings.Contains(e.Hint(), "renamed") {
				t.Errorf("%d: %v", status, err)
			}
			wantSent(t, s, "GET "+tipPath, "POST "+deployments)
		}
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]*github.Client{
		"clear text":        {BaseURL: "http://github.example", Owner: "a", Repo: "b", Token: token},
		"clear text by dns": {BaseURL: "http://localhost.example.com", Owner: "a", Repo: "b", Token: token},
		"no URL":            {BaseURL: "api.github.com", Owner: "a", Repo: "b", Token: token},
		"a user":            {BaseURL: "https://" + token + "@api.github.com", Owner: "a", Repo: "b", Token: token},
		"a query":           {BaseURL: "https://api.github.com?x=" + token, Owner: "a", Repo: "b", Token: token},
		"file":              {BaseURL: "file:///etc/passwd", Owner: "a", Repo: "b", Token: token},
		"no token":          {Owner: "a", Repo: "b"},
		"a token in lines":  {Owner: "a", Repo: "b", Token: token + "\nx: y"},
		"no repository":     {Token: token},
		"an odd owner":      {Owner: "a/b", Repo: "b", Token: token},
		"an odd repository": {Owner: "a", Repo: "..", Token: token},
		"a long repository": {Owner: "a", Repo: strings.Repeat("x", 101), Token: token},
		"two ways":          {Owner: "a", Repo: "b", Token: token, App: &github.App{ID: "1", Key: token}},
		"no App id":         {Owner: "a", Repo: "b", App: &github.App{Key: token}, Permissions: map[string]string{"contents": "read"}},
		"no permissions":    {Owner: "a", Repo: "b", App: &github.App{ID: "1", Key: token}},
		"odd permissions":   {Owner: "a", Repo: "b", App: &github.App{ID: "1", Key: token}, Permissions: map[string]string{"contents": "all"}},
		"what is that":      {Owner: "a", Repo: "b", App: &github.App{ID: "1", Key: token}, Permissions: map[string]string{"kontents": "read"}},
		"no key":            {Owner: "a", Repo: "b", App: &github.App{ID: "1", Key: token}, Permissions: map[string]string{"contents": "read"}},
	} {
		_, err := c.Tip(t.Context(), "main")
		var e *github.Error
		if !errors.Is(err, github.ErrConfig) || !errors.As(err, &e) || e.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, e), token) {
			t.Errorf("%s: the error holds the token: %v", name, err)
		}
		if c.Calls() != 0 {
			t.Errorf("%s: %d calls", name, c.Calls())
		}
	}
}

// Comments 80 in a minute and 500 in an hour, other writes 180 in a minute; reads are not held back.
func TestPace(t *testing.T) {
	comments := "/repos/acme/helm/issues/7/comments"
	s := serve(t, map[string]answer{
		"POST " + deployments + "/7/statuses": says(201, `{"id":1}`), "GET " + tipPath: says(200, refAnswer(sha)),
		"GET " + comments: says(200, `[]`), "POST " + comments: says(201, `{"id":1}`),
	})
	type limit struct {
		n      int
		within time.Duration
	}
	for _, tt := range []struct {
		what   string
		n      int
		write  func(*github.Client, int) error
		limits []limit
		free   int // writes that need not wait: a deploy does not
	}{
		{"comments", 600, func(c *github.Client, i int) error {
			_, err := c.PutComment(t.Context(), 7, fmt.Sprint("m", i), "x", true)
			return err
		}, []limit{{80, time.Minute}, {500, time.Hour}}, 20},
		{"statuses", 400, func(c *github.Client, _ int) error {
			return c.SetDeploymentStatus(t.Context(), 7, github.DeploymentStatus{State: "success"})
		}, []limit{{180, time.Minute}}, 60},
	} {
		c := newClock()
		pace := &github.Pace{}
		var at []time.Time
		for i := range tt.n {
			client := s.client(c)
			client.Pace = pace
			if i%100 == 0 {
				slept := len(c.slept)
				if _, err := client.Tip(t.Context(), "shops/swicked"); err != nil || len(c.slept) != slept {
					t.Fatalf("a read: %v, waited %v", err, c.slept[slept:])
				}
			}
			if err := tt.write(client, i); err != nil {
				t.Fatal(err)
			}
			at = append(at, c.Now())
		}
		for _, limit := range tt.limits {
			for i := limit.n; i < len(at); i++ {
				if took := at[i].Sub(at[i-limit.n]); took < limit.within {
					t.Fatalf("%s %d to %d came within %v", tt.what, i-limit.n, i, took)
				}
			}
		}
		if at[tt.free-1] != at[0] {
			t.Errorf("the first %d %s took %v", tt.free, tt.what, at[tt.free-1].Sub(at[0]))
		}
		if took := at[len(at)-1].Sub(at[0]); tt.what == "statuses" && took > 3*time.Minute {
			t.Errorf("%d %s took %v", tt.n, tt.what, took)
		}
	}
}

func TestLargeAnswer(t *testing.T) {
	s := serve(t, map[string]answer{"GET " + tipPath: func(w http.ResponseWriter, _ request, _ int) {
		io.WriteString(w, `{"ref":"`)
		chunk := strings.Repeat("x", 1<<20)
		for range 40 {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
		}
	}})
	if _, err := s.client(newClock()).Tip(t.Context(), "shops/swicked"); !errors.Is(err, github.ErrMalformed) {
		t.Errorf("got %v", err)
	}
}

// Whatever GitHub or something on the way quotes back, the token is in no error and in nothing that can be printed.
func TestTokenIsNeverShown(t *testing.T) {
	echo := fmt.Sprintf(`{"message":"bad token %s\u001b[31m\n::set-output name=a::b\u202e","errors":[{"code":"%s","message":"%s"}]}`, token, "custom", token)
	for _, say := range []answer{says(401, echo), says(403, echo, "Retry-After", "9999"), says(404, echo), says(422, echo), says(500, echo), says(200, `{"ref":"`+token+`"`), says(200, `{"ref":{"`+token+`":1}}`)} {
		s := serve(t, map[string]answer{"GET " + tipPath: say})
		c := s.client(newClock())
		_, err := c.Tip(t.Context(), "shops/swicked")
		if err == nil {
			t.Fatal("no error")
		}
		hidden(t, err, token)
		for e := err; e != nil; e = errors.Unwrap(e) {
			hidden(t, e, token)
		}
		if strings.ContainsAny(err.Error(), "\x1b\n\u202e") {
			t.Errorf("not clean: %q", err)
		}
		hidden(t, c, token)
	}
	app := &github.App{ID: "1", Key: token}
	hidden(t, app, token)
	hidden(t, *app, token)
	hidden(t, github.Secret(token), token)
	hidden(t, []any{github.Secret(token), map[string]github.Secret{"x": token}}, token)
}

// hidden fails when a way to print v shows a secret.
func hidden(t *testing.T, v any, secret string) {
	t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if text := fmt.Sprintf(verb, v); strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
			t.Errorf("%s shows it: %s", verb, text)
		}
	}
	if text, err := json.Marshal(v); err == nil && strings.Contains(string(text), secret) {
		t.Errorf("JSON shows it: %s", text)
	}
}

// roundTrip is a transport that a user brought along.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTransportThatTells(t *testing.T) {
	c := newClock()
	client := &github.Client{
		Owner: "acme", Repo: "helm", Token: token, Now: c.Now, Sleep: c.Sleep,
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("the proxy refused %q with %s\x1b[31m", r.URL, r.Header["Authorization"])
		}),
	}
	_, err := client.Tip(t.Context(), "main")
	if err == nil || !strings.Contains(err.Error(), `the proxy refused "https://api.github.com/repos/acme/helm/git/ref/heads/main" with [Bearer ***]`) {
		t.Errorf("got %v", err)
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		hidden(t, e, token)
	}
}

// The real clock's sleep ends with its context.
func TestSleepEndsWithItsContext(t *testing.T) {
	s := serve(t, map[string]answer{"GET " + tipPath: says(429, "", "Retry-After", "60")})
	c := &github.Client{BaseURL: s.URL, Owner: "acme", Repo: "helm", Token: token}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Tip(ctx, "shops/swicked"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	s = serve(t, map[string]answer{"GET " + tipPath: inTurn(says(502, ""), says(200, refAnswer(sha)))})
	c = &github.Client{BaseURL: s.URL, Owner: "acme", Repo: "helm", Token: token}
	if _, err := c.Tip(t.Context(), "shops/swicked"); err != nil {
		t.Error(err)
	}
}

func TestErrorsInWords(t *testing.T) {
	until := time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	e := &github.Error{Method: "GET", Path: "/x", Status: 404, Message: "Not Found", Accepted: "contents=read"}
	for _, test := range []struct {
		err        interface{ Error() string }
		text, hint string
	}{
		{&github.NotFoundError{Err: e}, "GitHub: GET /x: 404 Not Found", "check the name, and that the token has contents: read: GitHub says the same when it may not see it"},
		{&github.NotFoundError{What: "the branch a", Err: e}, "the branch a is not there: GitHub: GET /x: 404 Not Found", ""},
		{&github.RateLimitError{Until: until, Err: &github.Error{Method: "GET", Path: "/x", Status: 403}}, "GitHub's rate limit is used up until 2026-11-23T09:30:00Z: GitHub: GET /x: 403 Forbidden", "run it again after 09:30:00 UTC, or use a token with a limit of its own"},
		{&github.Error{Method: "POST", Path: "/x", Err: io.ErrUnexpectedEOF, Unclear: true}, "GitHub: POST /x: unexpected EOF; it may have happened", "look whether it happened before repeating it"},
		{&github.Error{Method: "POST", Path: "/x"}, "GitHub: POST /x: failed", ""},
	} {
		if test.err.Error() != test.text {
			t.Errorf("got %q; want %q", test.err, test.text)
		}
		if hint := test.err.(interface{ Hint() string }).Hint(); test.hint != "" && hint != test.hint {
			t.Errorf("the hint is %q; want %q", hint, test.hint)
		}
	}
}

func TestSecretInLogs(t *testing.T) {
	var b strings.Builder
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Info("x", "secret", github.Secret(token), "app", github.App{Key: token}, "list", []github.Secret{token})
	}
	if strings.Contains(b.String(), token) {
		t.Error(b.String())
	}
	if text, err := github.Secret(token).MarshalText(); err != nil || string(text) != "***" {
		t.Errorf("got %s, %v", text, err)
	}
}
