package app

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/github"
)

const (
	secret    = "It's a Secret to Everybody"
	oldSecret = "what it was before"
)

// clerk is a desk that claims in memory. Its zero value hears whatever begins with a slash: "/verb shop".
type clerk struct {
	mu        sync.Mutex
	heard     []string // GUID-less: verb shop comment
	claimed   map[int64]bool
	carried   []string
	presented []string
	recover   func() ([]*command.Order, error)

	hearing  func(*command.Order) error                  // called before a claim
	carrying func(context.Context, *command.Order) error // called for an order
}

func (c *clerk) Hear(_ context.Context, e github.Event, kind string) (*command.Order, error) {
	if kind != "issue_comment" || e.Comment == nil || !strings.HasPrefix(e.Comment.Body, "/") {
		return nil, nil
	}
	verb, shop, _ := strings.Cut(e.Comment.Body[1:], " ")
	o := &command.Order{Verb: verb, Shop: shop, Comment: e.Comment.ID, URL: e.Comment.HTMLURL, By: e.Comment.Author}
	if c.hearing != nil {
		if err := c.hearing(o); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = append(c.heard, names(o))
	if c.claimed[o.Comment] {
		return nil, nil
	}
	if c.claimed == nil {
		c.claimed = map[int64]bool{}
	}
	c.claimed[o.Comment] = true
	return o, nil
}

func (c *clerk) Carry(ctx context.Context, o *command.Order) (err error) {
	if c.carrying != nil {
		err = c.carrying(ctx, o)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.carried = append(c.carried, names(o))
	return err
}

func (c *clerk) Recover(context.Context) ([]*command.Order, error) {
	if c.recover != nil {
		return c.recover()
	}
	return nil, nil
}

func (c *clerk) Present(_ context.Context, e github.Event, kind string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.presented = append(c.presented, kind+"."+e.Action)
	return nil
}

func (c *clerk) done() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string{}, c.carried...)
}

// rig is a server at work.
type rig struct {
	url  string
	addr string
	log  *lines
	stop context.CancelFunc // as SIGTERM does
	over chan error         // what Serve returned
}

// lines are a log's.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t testing.TB, s *Server, desk Desk) *rig {
	t.Helper()
	return startAt(t, "127.0.0.1:0", s, desk)
}

func startAt(t testing.TB, addr string, s *Server, desk Desk) *rig {
	t.Helper()
	r := &rig{log: &lines{}, over: make(chan error, 1)}
	if s.Hook == nil {
		hook, err := github.NewHook(0, secret, oldSecret)
		if err != nil {
			t.Fatal(err)
		}
		s.Hook = hook
	}
	if s.Open == nil {
		s.Open = func(context.Context) (Desk, error) { return desk, nil }
	}
	if s.Log == nil {
		s.Log = NewLog(r.log, secret, oldSecret)
	}
	s.Repository = orDefault(s.Repository, "Codertocat/Hello-World")
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.addr, r.url, r.stop = l.Addr().String(), "http://"+l.Addr().String(), stop
	go func() { r.over <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		select {
		case <-r.over:
		default:
			if t.Failed() {
				t.Log(r.log)
			}
			select {
			case <-r.over:
			case <-time.After(30 * time.Second):
				t.Error("the server does not stop")
			}
		}
	})
	eventually(t, "the server does not begin", func() bool { status, _ := r.get(t, "/healthz"); return status == 200 })
	return r
}

func (r *rig) ended(t testing.TB) error {
	t.Helper()
	select {
	case err := <-r.over:
		r.over <- err
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the server does not stop")
		return nil
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(what)
}

func (r *rig) get(t testing.TB, path string) (int, string) {
	t.Helper()
	resp, err := http.Get(r.url + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// sign is X-Hub-Signature-256 of a body.
func sign(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// payload is a recorded one, changed.
func payload(t testing.TB, name string, change func(map[string]any)) []byte {
	t.Helper()
	text, err := os.ReadFile("../../testdata/contracts/github/webhooks/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(m)
	}
	if text, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return text
}

func comment(t testing.TB, id int, text string) []byte {
	return payload(t, "issue_comment.created", func(m map[string]any) {
		m["comment"].(map[string]any)["id"] = id
		m["comment"].(map[string]any)["body"] = text
	})
}

func guid(n int) string { return fmt.Sprintf("72d3162e-cc78-11e3-81ab-%012d", n) }

// request is a delivery as GitHub sends it.
func (r *rig) request(t testing.TB, kind, guid string, body []byte) *http.Request {
	t.Helper()
	req, err := http.NewRequest("POST", r.url+WebhookPath, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{
		"Content-Type": "application/json", "X-GitHub-Event": kind, "X-GitHub-Delivery": guid, "X-Hub-Signature-256": sign(secret, body),
		"User-Agent": "GitHub-Hookshot/1", "X-GitHub-Hook-ID": "1",
	} {
		req.Header.Set(k, v)
	}
	return req
}

func (r *rig) send(t testing.TB, req *http.Request) (int, string) {
	t.Helper()
	began := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second { // a second of ours, and a busy machine
		t.Errorf("the answer took %s", took)
	}
	if resp.StatusCode == 503 && resp.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}

func (r *rig) deliver(t testing.TB, kind, guid string, body []byte) string {
	t.Helper()
	status, said := r.send(t, r.request(t, kind, guid, body))
	return fmt.Sprintf("%d %s", status, said)
}

var errBroken = errors.New("the desk is broken")
