package github_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/github"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

const callback = "http://127.0.0.1:9/sign-in/callback"

// signIn is a world with an App that people can sign in with.
func (w *world) signIn(t *testing.T) *github.SignIn {
	t.Helper()
	key, _ := newKey(t)
	app, err := w.AddApp(sim.NewApp{
		Slug: "shopfleet", Key: &key.PublicKey, Permissions: map[string]string{"contents": "write"}, ClientSecret: "client-s3cr3t", Callbacks: []string{callback},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Install("acme"); err != nil {
		t.Fatal(err)
	}
	return &github.SignIn{Web: w.Git, ClientID: app.ClientID, ClientSecret: "client-s3cr3t", Callback: callback, Transport: cloudflare.LoopbackOnly(nil)}
}

// browser is one in which somebody is signed in to GitHub. It stops at the callback.
func (w *world) browser(t *testing.T, login string) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	if login != "" {
		cookie, err := w.Browse(login)
		if err != nil {
			t.Fatal(err)
		}
		at, err := url.Parse(w.Git)
		if err != nil {
			t.Fatal(err)
		}
		jar.SetCookies(at, []*http.Cookie{cookie})
	}
	return &http.Client{Jar: jar, Transport: cloudflare.LoopbackOnly(nil), CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), callback) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

var formField = regexp.MustCompile(`name="([^"]+)" value="([^"]*)"`)

// press goes to an address, presses the button of the page there, and returns what the callback would be told.
func press(t *testing.T, b *http.Client, address, authorize string) url.Values {
	t.Helper()
	resp, err := b.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		page, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		form := url.Values{}
		for _, m := range formField.FindAllStringSubmatch(string(page), -1) {
			form.Set(m[1], strings.ReplaceAll(m[2], "&amp;", "&"))
		}
		form.Set("authorize", authorize)
		at, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err = b.PostForm("http://"+at.Host+"/login/oauth/authorize", form); err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
	}
	to, err := resp.Location()
	if err != nil {
		t.Fatalf("%s: %s, %v", address, resp.Status, err)
	}
	return to.Query()
}

func TestSignIn(t *testing.T) {
	w := newWorld(t)
	s := w.signIn(t)
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	for login, role := range map[string]string{"wanda": "write", "rita": "read", "mara": "maintain", "tom": "triage", "stranger": ""} {
		if _, err := w.AddUser(login, ""); err != nil {
			t.Fatal(err)
		}
		if role == "" {
			continue
		}
		if err := w.repo.SetPermission(login, role); err != nil {
			t.Fatal(err)
		}
	}
	access := func(token github.Secret) (github.Access, error) {
		c := &github.Client{BaseURL: w.API, Owner: "acme", Repo: "helm", Token: token, Transport: cloudflare.LoopbackOnly(nil), Now: w.Now, Sleep: w.Sleep}
		return c.Access(t.Context())
	}
	var last github.Secret
	for login, want := range map[string]string{"wanda": "write", "rita": "read", "mara": "write", "tom": "read", "stranger": "none"} {
		b := w.browser(t, login)
		for again := range 2 { // the second time nobody is asked
			state, verifier := fmt.Sprint("state-", login, again), strings.Repeat("v", 43)
			q := press(t, b, s.Address(state, verifier), "1")
			if q.Get("state") != state || q.Get("code") == "" {
				t.Fatalf("%s came back with %v", login, q)
			}
			token, err := s.Token(t.Context(), q.Get("code"), verifier)
			if err != nil || !strings.HasPrefix(string(token), "ghu_") {
				t.Fatalf("%s: %v", login, err)
			}
			if a, err := access(token); err != nil || a != (github.Access{Login: login, Permission: want}) {
				t.Errorf("%s: %+v, %v; want %s", login, a, err, want)
			}
			if _, err := s.Token(t.Context(), q.Get("code"), verifier); !errors.Is(err, github.ErrCode) {
				t.Errorf("%s, the same code again: %v", login, err)
			}
			last = token
		}
	}
	w.repo.MakePublic()
	if a, err := access(last); err != nil || !a.Public {
		t.Errorf("a public repository: %+v, %v", a, err)
	}
	w.Sleep(t.Context(), 9*time.Hour)
	if _, err := access(last); err == nil {
		t.Error("a token lives on")
	}
	var refused *github.Error
	other := *s
	other.ClientSecret = "wrong-s3cr3t"
	verifier := strings.Repeat("v", 43)
	code := func() string { return press(t, w.browser(t, "rita"), s.Address("x", verifier), "1").Get("code") }
	if _, err := other.Token(t.Context(), code(), verifier); !errors.As(err, &refused) || refused.Code != "incorrect_client_credentials" || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("a wrong secret: %v", err)
	}
	if _, err := s.Token(t.Context(), code(), strings.Repeat("w", 43)); !errors.Is(err, github.ErrCode) {
		t.Errorf("somebody else's verifier: %v", err)
	}
	late := code()
	w.Sleep(t.Context(), 11*time.Minute)
	if _, err := s.Token(t.Context(), late, verifier); !errors.Is(err, github.ErrCode) {
		t.Errorf("late: %v", err)
	}
	if q := press(t, w.browser(t, "tom"), s.Address("x", verifier), "0"); q.Get("code") == "" { // said yes before
		t.Errorf("tom: %v", q)
	}
	if _, err := w.AddUser("newcomer", ""); err != nil {
		t.Fatal(err)
	}
	if q := press(t, w.browser(t, "newcomer"), s.Address("x", verifier), "0"); q.Get("error") != "access_denied" || q.Get("code") != "" || q.Get("state") != "x" {
		t.Errorf("who says no: %v", q)
	}
	// GitHub sends nobody to an address that the App does not have, and shows who is not signed in the door.
	other = *s
	other.Callback = callback + "/else"
	for address, b := range map[string]*http.Client{other.Address("x", verifier): w.browser(t, "rita"), s.Address("x", verifier): w.browser(t, "")} {
		resp, err := b.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.Request.URL.Path != "/login" && resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", resp.Request.URL, resp.Status)
		}
	}
}

// A code is exchanged once, whatever happens to the answer, and what GitHub says instead of a token is no token.
func TestSignInAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		say  answer
		want error
	}{
		"a page":   {func(w http.ResponseWriter, _ request, _ int) { io.WriteString(w, "<html>") }, github.ErrMalformed},
		"no token": {func(w http.ResponseWriter, _ request, _ int) { io.WriteString(w, `{"token_type":"bearer"}`) }, github.ErrMalformed},
		"no bearer": {func(w http.ResponseWriter, _ request, _ int) {
			io.WriteString(w, `{"access_token":"ghu_x","token_type":"mac"}`)
		}, github.ErrMalformed},
		"the code": {func(w http.ResponseWriter, _ request, _ int) { io.WriteString(w, `{"error":"bad_verification_code"}`) }, github.ErrCode},
		"another": {func(w http.ResponseWriter, _ request, _ int) {
			io.WriteString(w, `{"error":"slow_down","error_description":"it was client-s3cr3t and thecode"}`)
		}, nil},
		"a fault": {func(w http.ResponseWriter, _ request, _ int) { w.WriteHeader(http.StatusBadGateway) }, nil},
	} {
		calls := 0
		web := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			calls++
			if err := r.ParseForm(); err != nil || r.PostForm.Get("client_secret") != "client-s3cr3t" || r.PostForm.Get("code_verifier") != "averifier" || r.URL.RawQuery != "" || r.Header.Get("Accept") != "application/json" {
				t.Errorf("%s: sent %v", name, r.PostForm)
			}
			rec := httptest.NewRecorder()
			tt.say(rec, request{}, 1)
			answer := rec.Result()
			answer.Request = r
			return answer, nil
		})}
		s := &github.SignIn{ClientID: "Iv23x", ClientSecret: "client-s3cr3t", Callback: "https://shops.example.com/sign-in/callback", Transport: web.Transport}
		token, err := s.Token(t.Context(), "thecode", "averifier")
		if err == nil || token != "" || tt.want != nil && !errors.Is(err, tt.want) || calls != 1 {
			t.Errorf("%s: %v, %d calls", name, err, calls)
		}
		if err != nil && (strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "thecode")) {
			t.Errorf("%s: the error tells: %v", name, err)
		}
	}
	good := github.SignIn{ClientID: "Iv23x", ClientSecret: "s", Callback: "https://a.example/x"}
	for name, change := range map[string]func(*github.SignIn){
		"clear text": func(s *github.SignIn) { s.Web = "http://github.com" }, "no id": func(s *github.SignIn) { s.ClientID = "" }, "no secret": func(s *github.SignIn) { s.ClientSecret = "" },
		"a callback in clear text": func(s *github.SignIn) { s.Callback = "http://a.example/x" }, "no callback": func(s *github.SignIn) { s.Callback = "" }, "an id of two lines": func(s *github.SignIn) { s.ClientID = "a\nb" },
	} {
		s := good
		change(&s)
		if err := s.Check(); !errors.Is(err, github.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, code := range []string{"", "a b", "a/../b", strings.Repeat("a", 300)} {
		if _, err := good.Token(t.Context(), code, "v"); !errors.Is(err, github.ErrCode) {
			t.Errorf("code %q: %v", code, err)
		}
	}
}
