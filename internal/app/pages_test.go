package app

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
	sim "github.com/kvick/shopfleet/internal/sim/github"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

// shower is a desk with a status.
type shower struct {
	clerk
	asked atomic.Int64
	err   error
	panic bool
}

func (s *shower) StatusPage(context.Context, ...report.Link) ([]byte, error) {
	s.asked.Add(1)
	if s.panic {
		panic("the inner cause")
	}
	return []byte("<!doctype html><title>the fleet</title>"), s.err
}

var formField = regexp.MustCompile(`name="([^"]+)" value="([^"]*)"`)

// Who may see the repository signs in with GitHub and sees the status; nobody else does, and the log holds nothing of it.
func TestPages(t *testing.T) {
	w := simtest.NewGitHub(t, sim.Options{})
	repo := w.Repository(t, "acme", "helm")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	desk := &shower{}
	var target *url.URL
	front := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	t.Cleanup(front.Close)
	app, err := w.AddApp(sim.NewApp{Slug: "shopfleet", Key: &key.PublicKey, Permissions: map[string]string{"contents": "write"}, ClientSecret: "client-s3cr3t", Callbacks: []string{front.URL + CallbackPath}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Install("acme"); err != nil {
		t.Fatal(err)
	}
	for login, role := range map[string]string{"rita": "read", "stranger": ""} {
		if _, err := w.AddUser(login, ""); err != nil {
			t.Fatal(err)
		}
		if role != "" {
			if err := repo.SetPermission(login, role); err != nil {
				t.Fatal(err)
			}
		}
	}
	var late atomic.Int64 // nanoseconds that the server's clock is ahead
	r := start(t, &Server{Now: func() time.Time { return time.Now().Add(time.Duration(late.Load())) }, Pages: &Pages{
		Key:    []byte("a key"),
		SignIn: &github.SignIn{Web: w.Git, ClientID: app.ClientID, ClientSecret: "client-s3cr3t", Callback: front.URL + CallbackPath},
		Access: func(ctx context.Context, token github.Secret) (github.Access, error) {
			return (&github.Client{BaseURL: w.API, Owner: "acme", Repo: "helm", Token: token}).Access(ctx)
		},
	}}, desk)
	if target, err = url.Parse(r.url); err != nil {
		t.Fatal(err)
	}
	browser := func(login string) *http.Client {
		b := front.Client()
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		cookie, err := w.Browse(login)
		if err != nil {
			t.Fatal(err)
		}
		at, err := url.Parse(w.Git)
		if err != nil {
			t.Fatal(err)
		}
		jar.SetCookies(at, []*http.Cookie{cookie})
		return &http.Client{Transport: b.Transport, Jar: jar}
	}
	read := func(resp *http.Response, err error) (*http.Response, string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(text)
	}
	authorize := func(b *http.Client, page string) (*http.Response, string) {
		t.Helper()
		form := url.Values{"authorize": {"1"}}
		for _, m := range formField.FindAllStringSubmatch(page, -1) {
			form.Set(m[1], m[2])
		}
		return read(b.PostForm(w.Git+"/login/oauth/authorize", form))
	}

	rita := browser("rita")
	_, page := read(rita.Get(front.URL + "/"))
	if !strings.Contains(page, "Authorize shopfleet") || desk.asked.Load() != 0 {
		t.Fatalf("without a session: %s", page)
	}
	resp, page := authorize(rita, page)
	if resp.StatusCode != 200 || resp.Request.URL.Path != "/status" || !strings.Contains(page, "the fleet") {
		t.Fatalf("signed in: %s %s %s", resp.Status, resp.Request.URL.Path, page)
	}
	if p := resp.Header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || !strings.Contains(p, "frame-ancestors 'none'") || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers: %v", resp.Header)
	}
	at, _ := url.Parse(front.URL)
	session := func() string { // GitHub's own cookie is for the same host here
		for _, c := range rita.Jar.Cookies(at) {
			if c.Name == sessionCookie {
				return c.Value
			}
		}
		return ""
	}
	good := session()
	if good == "" {
		t.Fatal("there is no session")
	}
	for range 3 {
		read(rita.Get(front.URL + "/status"))
	}
	if n := desk.asked.Load(); n != 1 {
		t.Errorf("the status was read %d times in its minute", n)
	}
	late.Store(int64(2 * time.Minute))
	if _, page := read(rita.Get(front.URL + "/status")); !strings.Contains(page, "the fleet") {
		t.Errorf("over its minute: %s", page)
	}
	eventually(t, "it is not read again", func() bool { return desk.asked.Load() == 2 })

	// A changed cookie, one of another kind and one over its time are none.
	stay := &http.Client{Transport: front.Client().Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	with := func(value string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", front.URL+"/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.AddCookie(&http.Cookie{Name: sessionCookie, Value: value})
		resp, _ := read(stay.Do(req))
		return resp
	}
	keys := &Pages{Key: []byte("a key")}
	for name, value := range map[string]string{
		"none": "", "changed": "A" + good[1:], "cut": good[:len(good)-2], "another key": (&Pages{Key: []byte("b")}).seal("session", time.Now().Add(time.Hour), "rita"),
		"another kind": keys.seal("state", time.Now().Add(time.Hour), "rita"), "over": keys.seal("session", time.Now().Add(-time.Hour), "rita"),
	} {
		if resp := with(value); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/sign-in" {
			t.Errorf("cookie %s: %s", name, resp.Status)
		}
	}
	if resp := with(good); resp.StatusCode != 200 {
		t.Errorf("the cookie itself: %s", resp.Status)
	}
	late.Store(int64(61 * time.Minute))
	if resp := with(good); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("after its time: %s", resp.Status)
	}
	late.Store(0)
	// The page that was made two minutes from now is not shown.
	before := desk.asked.Load()
	if resp := with(good); resp.StatusCode != 200 || desk.asked.Load() != before+1 {
		t.Errorf("after the clock went back: %s, read %d times", resp.Status, desk.asked.Load()-before)
	}

	// Who begins nowhere, and who may not see the repository, do not come in.
	if resp, _ := read(stay.Get(front.URL + CallbackPath + "?code=abc&state=def")); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a callback that nobody asked for: %s", resp.Status)
	}
	stranger := browser("stranger")
	_, page = read(stranger.Get(front.URL + "/status"))
	if resp, page := authorize(stranger, page); resp.StatusCode != http.StatusForbidden || !strings.Contains(page, "Not for you") {
		t.Errorf("a stranger: %s %s", resp.Status, page)
	}

	// Signing out is for the server's own page.
	req, _ := http.NewRequestWithContext(t.Context(), "POST", front.URL+"/sign-out", nil)
	req.Header.Set("Origin", "https://evil.example")
	if resp, _ := read(rita.Do(req)); resp.StatusCode != http.StatusForbidden || session() != good {
		t.Errorf("signed out from elsewhere: %s", resp.Status)
	}
	req, _ = http.NewRequestWithContext(t.Context(), "POST", front.URL+"/sign-out", nil)
	req.Header.Set("Origin", front.URL)
	if resp, _ := read(rita.Do(req)); resp.StatusCode != 200 || session() != "" {
		t.Errorf("signed out: %s, %q", resp.Status, session())
	}
	for _, s := range []string{good, "s3cr3t", "ghu_", "code="} {
		if strings.Contains(r.log.String(), s) {
			t.Errorf("the log has %q", s)
		}
	}
}

// What cannot be read is told to people without its cause.
func TestPagesThatFail(t *testing.T) {
	for name, desk := range map[string]*shower{"an error": {err: errors.New("the inner cause")}, "a panic": {panic: true}} {
		t.Run(name, func(t *testing.T) { testPagesThatFail(t, desk) })
	}
}

func testPagesThatFail(t *testing.T, desk *shower) {
	p := &Pages{Key: []byte("a key"), SignIn: &github.SignIn{Callback: "https://a.example" + CallbackPath}}
	r := start(t, &Server{Pages: p}, desk)
	req, err := http.NewRequestWithContext(t.Context(), "GET", r.url+"/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.AddCookie(&http.Cookie{Name: sessionCookie, Value: p.seal("session", time.Now().Add(time.Hour), "rita")})
	for range 3 {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusBadGateway || strings.Contains(string(text), "inner cause") || !strings.Contains(r.log.String(), "inner cause") {
			t.Errorf("%s: %s", resp.Status, text)
		}
	}
	if n := desk.asked.Load(); n != 1 {
		t.Errorf("the status was read %d times at once", n)
	}
}

// Two servers of one App: who signed in to one repository's has not signed in to the other's.
func TestPagesOfOneAppHaveKeysOfTheirOwn(t *testing.T) {
	read := func(owner, name, address string) *Pages {
		t.Helper()
		env := map[string]string{envClientSecret: "client-s3cr3t", envClientID: "Iv1.client", envURL: address}
		p, err := readPages(&command.Door{Getenv: func(name string) string { return env[name] }}, settings{owner: owner, name: name}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	now := time.Now()
	cookie := read("acme", "helm", "https://a.example").seal("session", now.Add(time.Hour), "rita")
	if got := read("Acme", "helm", "https://a.example").open("session", cookie, now); len(got) != 1 {
		t.Errorf("the same server: %v", got)
	}
	for name, p := range map[string]*Pages{"another repository": read("acme", "rudder", "https://a.example"), "another host": read("acme", "helm", "https://b.example")} {
		if got := p.open("session", cookie, now); got != nil {
			t.Errorf("%s takes it: %v", name, got)
		}
	}
}
