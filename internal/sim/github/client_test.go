package github_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim/github"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

// clock is a clock that tests wind.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) wind(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// got is an answer.
type got struct {
	status int
	header http.Header
	body   any
}

// at reads into the body: at("object", "sha"), or by index of an array.
func (g got) at(path ...any) any {
	v := g.body
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			a, _ := v.([]any)
			if p >= len(a) {
				return nil
			}
			v = a[p]
		}
	}
	return v
}

func (g got) text(path ...any) string {
	s, _ := g.at(path...).(string)
	return s
}

func (g got) number(path ...any) int64 {
	f, _ := g.at(path...).(float64)
	return int64(f)
}

func (g got) len(path ...any) int {
	a, _ := g.at(path...).([]any)
	return len(a)
}

// client calls the API with a token.
type client struct {
	t     *testing.T
	base  string
	token string
}

type body = map[string]any

// try makes a call; err is a connection that was cut.
func (c client) try(method, path string, in any) (got, error) {
	c.t.Helper()
	var r io.Reader
	switch v := in.(type) {
	case nil:
	case string:
		r = strings.NewReader(v)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			c.t.Fatal(err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, r)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.github+json")
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return got{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return got{}, err
	}
	g := got{status: resp.StatusCode, header: resp.Header}
	if len(b) > 0 {
		if err := json.Unmarshal(b, &g.body); err != nil {
			g.body = string(b)
		}
	}
	return g, nil
}

// do makes a call that must be answered with status.
func (c client) do(status int, method, path string, in any) got {
	c.t.Helper()
	g, err := c.try(method, path, in)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	if g.status != status {
		c.t.Fatalf("%s %s: status %d, want %d: %v", method, path, g.status, status, g.body)
	}
	return g
}

// says makes a call that must be refused with status and a message that contains text.
func (c client) says(status int, text, method, path string, in any) got {
	c.t.Helper()
	g := c.do(status, method, path, in)
	b, _ := json.Marshal(g.body)
	if !strings.Contains(string(b), text) {
		c.t.Errorf("%s %s: %s; want %q in it", method, path, b, text)
	}
	return g
}

// scene is a world with one repository, a writer and a reader.
type scene struct {
	*simtest.GitHub
	clock *clock
	helm  *github.Repository
}

const repoPath = "/repos/kvick/helm"

func newScene(t *testing.T, o github.Options) *scene {
	t.Helper()
	c := newClock()
	if o.Now == nil {
		o.Now = c.now
	}
	g := simtest.NewGitHub(t, o)
	s := &scene{GitHub: g, clock: c, helm: g.Repository(t, "kvick", "helm")}
	for login, role := range map[string]string{"wanda": "write", "rita": "read", "tom": "triage", "mara": "maintain", "adam": "admin", "nobody": ""} {
		if _, err := g.AddUser(login, ""); err != nil {
			t.Fatal(err)
		}
		if err := g.AddToken("pat-"+login, login); err != nil {
			t.Fatal(err)
		}
		if err := s.helm.SetPermission(login, role); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *scene) as(t *testing.T, token string) client { return client{t, s.API, token} }

// actions is a client with a GITHUB_TOKEN; permissions are like "contents:read".
func (s *scene) actions(t *testing.T, permissions ...string) client {
	t.Helper()
	m := map[string]string{}
	for _, p := range permissions {
		name, level, _ := strings.Cut(p, ":")
		m[name] = level
	}
	token, err := s.helm.ActionsToken(m)
	if err != nil {
		t.Fatal(err)
	}
	return s.as(t, token)
}

func (s *scene) commit(t *testing.T, branch, message string, files map[string]string) string {
	t.Helper()
	sha, err := s.helm.Commit(branch, message, files)
	if err != nil {
		t.Fatal(err)
	}
	return sha
}
