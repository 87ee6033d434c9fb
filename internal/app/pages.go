package app

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"html"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
)

// Pages are what the server shows to people in a browser, behind its own sign-in. Set the fields before Serve.
type Pages struct {
	SignIn *github.SignIn
	// Access asks what the owner of a user's token may do in the repository.
	Access func(ctx context.Context, token github.Secret) (github.Access, error)
	// Key signs cookies; who changes it signs everybody out.
	Key []byte
}

// CallbackPath is where GitHub sends people back to.
const CallbackPath = "/sign-in/callback"

const (
	sessionCookie = "__Host-shopfleet"         // a browser takes it from https and for this host alone
	stateCookie   = "__Host-shopfleet-sign-in" // while somebody is at GitHub
	sessionLife   = time.Hour                  // nobody is asked again meanwhile; GitHub lets who said yes once through without a word
	stateLife     = 10 * time.Minute
	pageFresh     = time.Minute
	pageOld       = 10 * time.Minute // a page this old is not shown any more
	pageRetry     = 10 * time.Second // after a page that could not be read
	pageWait      = 10 * time.Second // the listener's limit is 15
	pageTime      = 5 * time.Minute
	signInsAtOnce = 8
)

// seal signs values for a cookie of a kind, so that one kind is never taken for another.
func (p *Pages) seal(kind string, until time.Time, values ...string) string {
	body := base64.RawURLEncoding.EncodeToString([]byte(strings.Join(append([]string{kind, strconv.FormatInt(until.Unix(), 10)}, values...), "\n")))
	return body + "." + base64.RawURLEncoding.EncodeToString(p.sum(body))
}

func (p *Pages) sum(body string) []byte {
	m := hmac.New(sha256.New, p.Key)
	io.WriteString(m, body)
	return m.Sum(nil)
}

// open is what seal signed, nil when it did not or its time is over.
func (p *Pages) open(kind, cookie string, now time.Time) []string {
	body, sum, ok := strings.Cut(cookie, ".")
	given, err := base64.RawURLEncoding.DecodeString(sum)
	if !ok || err != nil || !hmac.Equal(given, p.sum(body)) {
		return nil
	}
	text, err := base64.RawURLEncoding.DecodeString(body)
	values := strings.Split(string(text), "\n")
	if err != nil || len(values) < 3 || values[0] != kind {
		return nil
	}
	if until, err := strconv.ParseInt(values[1], 10, 64); err != nil || now.Unix() >= until {
		return nil
	}
	return values[2:]
}

// pages are Pages at work.
type pages struct {
	*Pages
	r       *running
	signing chan struct{}

	mu     sync.Mutex
	page   []byte
	made   time.Time
	tried  time.Time
	failed bool
	making chan struct{} // closed when the page under work is done; nil when there is none
}

func (r *running) addPages(mux *http.ServeMux) {
	if r.Pages == nil {
		return
	}
	p := &pages{Pages: r.Pages, r: r, signing: make(chan struct{}, signInsAtOnce)}
	for pattern, h := range map[string]http.HandlerFunc{
		"GET /{$}": p.home, "GET /status": p.status, "GET /sign-in": p.signIn, "GET " + CallbackPath: p.callback, "POST /sign-out": p.signOut, "GET /sign-out": p.askSignOut,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
			h2 := w.Header()
			h2.Set("Content-Type", "text/html; charset=utf-8")
			h2.Set("Content-Security-Policy", policy+"'self'")
			h2.Set("X-Content-Type-Options", "nosniff")
			h2.Set("Referrer-Policy", "no-referrer")
			h2.Set("Cache-Control", "no-store")
			h2.Set("Cross-Origin-Opener-Policy", "same-origin")
			h2.Set("Cross-Origin-Resource-Policy", "same-origin")
			h(w, req)
		})
	}
}

func (p *pages) who(req *http.Request) string {
	c, err := req.Cookie(sessionCookie)
	if err != nil {
		return ""
	}
	if v := p.open("session", c.Value, p.r.Now()); len(v) == 1 {
		return v[0]
	}
	return ""
}

func setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: int(life / time.Second), Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

func say(w http.ResponseWriter, status int, title, body string) {
	w.WriteHeader(status)
	io.WriteString(w, document(title, body))
}

const signOutForm = `<form method="post" action="/sign-out"><button type="submit">Sign out</button></form>`

func (p *pages) home(w http.ResponseWriter, req *http.Request) {
	http.Redirect(w, req, "/status", http.StatusSeeOther)
}

func (p *pages) askSignOut(w http.ResponseWriter, req *http.Request) {
	who := p.who(req)
	if who == "" {
		http.Redirect(w, req, "/status", http.StatusSeeOther)
		return
	}
	say(w, http.StatusOK, "Sign out", "<p>You are signed in as "+html.EscapeString(who)+`.</p>`+signOutForm+`<p><a href="/status">Back to the status</a></p>`)
}

// signOut is taken from the server's own pages alone.
func (p *pages) signOut(w http.ResponseWriter, req *http.Request) {
	own, err := url.Parse(p.SignIn.Callback)
	from := req.Header.Get("Origin")
	if site := req.Header.Get("Sec-Fetch-Site"); err != nil || site != "" && site != "same-origin" || from != "" && from != "null" && from != own.Scheme+"://"+own.Host {
		say(w, http.StatusForbidden, "Not from here", "<p>Sign out on the server's own page.</p>")
		return
	}
	setCookie(w, sessionCookie, "", 0)
	say(w, http.StatusOK, "Signed out", `<p><a href="/sign-in">Sign in</a></p>`)
}

// signIn sends a browser to GitHub, and has it keep what is needed when it comes back.
func (p *pages) signIn(w http.ResponseWriter, req *http.Request) {
	state, verifier := rand.Text(), rand.Text()+rand.Text() // 52 characters; RFC 7636 wants 43 to 128
	setCookie(w, stateCookie, p.seal("state", p.r.Now().Add(stateLife), state, verifier), stateLife)
	http.Redirect(w, req, p.SignIn.Address(state, verifier), http.StatusSeeOther)
}

// callback takes a person back from GitHub. Their token is asked two questions and forgotten.
func (p *pages) callback(w http.ResponseWriter, req *http.Request) {
	again := `<p><a href="/sign-in">Try again</a></p>`
	var kept []string
	if c, err := req.Cookie(stateCookie); err == nil {
		kept = p.open("state", c.Value, p.r.Now())
	}
	setCookie(w, stateCookie, "", 0)
	q := req.URL.Query()
	if len(kept) != 2 || subtle.ConstantTimeCompare([]byte(kept[0]), []byte(q.Get("state"))) != 1 {
		say(w, http.StatusForbidden, "That did not work", "<p>This is not the answer to what this browser asked.</p>"+again)
		return
	}
	if q.Get("error") != "" {
		say(w, http.StatusForbidden, "Not signed in", "<p>GitHub was not allowed to say who you are.</p>"+again)
		return
	}
	select {
	case p.signing <- struct{}{}:
		defer func() { <-p.signing }()
	default:
		w.Header().Set("Retry-After", retryAfter)
		say(w, http.StatusServiceUnavailable, "Too many at a time", again)
		return
	}
	ctx, cancel := context.WithTimeout(req.Context(), pageWait)
	defer cancel()
	token, err := p.SignIn.Token(ctx, q.Get("code"), kept[1])
	var a github.Access
	if err == nil {
		a, err = p.Access(ctx, token)
	}
	switch {
	case errors.Is(err, github.ErrCode):
		say(w, http.StatusForbidden, "That did not work", "<p>GitHub did not take its own code: it is good once, and for ten minutes.</p>"+again)
	case err != nil:
		p.r.Log.Error("somebody could not sign in", "error", err)
		say(w, http.StatusBadGateway, "That did not work", "<p>GitHub could not be asked who you are; the server's log says why.</p>"+again)
	case a.Permission == "none", a.Public && a.Permission == "read": // in a public repository everybody may read
		p.r.Log.Warn("somebody who may not signed in", "login", a.Login)
		say(w, http.StatusForbidden, "Not for you", "<p>Your account on GitHub may not see the repository of this fleet.</p>"+again)
	default:
		setCookie(w, sessionCookie, p.seal("session", p.r.Now().Add(sessionLife), a.Login), sessionLife)
		http.Redirect(w, req, "/status", http.StatusSeeOther)
	}
}

// status shows where the fleet stands: the page of the last minute, or an older one while a new one is made.
func (p *pages) status(w http.ResponseWriter, req *http.Request) {
	if p.who(req) == "" {
		http.Redirect(w, req, "/sign-in", http.StatusSeeOther)
		return
	}
	page, done := p.current()
	if page == nil && done != nil {
		select {
		case <-done:
		case <-time.After(pageWait):
		case <-req.Context().Done():
			return
		}
		p.mu.Lock()
		page = p.page
		failed := p.failed
		p.mu.Unlock()
		if page == nil && failed {
			say(w, http.StatusBadGateway, "No status", "<p>The status could not be read; the server's log says why.</p>"+signOutForm)
			return
		}
	}
	if page == nil {
		w.Header().Set("Refresh", "5")
		say(w, http.StatusOK, "One moment", "<p>The status is being read. This page comes back by itself.</p>")
		return
	}
	w.Header().Set("Content-Security-Policy", report.PagePolicy()+"; frame-ancestors 'none'")
	w.Write(page)
}

// current is the page to show, nil when it has to be waited for; one that is over its minute is made anew beside it, by one
// at a time.
func (p *pages) current() ([]byte, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	age := p.r.Now().Sub(p.made)
	if age >= pageOld || age < 0 { // the clock went back: how old it is nobody knows
		p.page = nil
	}
	if p.page != nil && age < pageFresh {
		return p.page, nil
	}
	if p.making == nil && p.failed {
		if since := p.r.Now().Sub(p.tried); since >= 0 && since < pageRetry { // who is in trouble is not asked by every look
			done := make(chan struct{})
			close(done)
			return p.page, done
		}
	}
	if p.making == nil {
		done := make(chan struct{})
		p.making = done
		go p.make(done)
	}
	return p.page, p.making
}

func (p *pages) make(done chan struct{}) {
	var page []byte
	err := p.r.safely(func() (err error) {
		page, err = p.read()
		return err
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed, p.tried = err != nil, p.r.Now()
	if err == nil {
		p.page, p.made = page, p.tried
	} else {
		p.r.Log.Error("the status could not be read", "error", err)
	}
	p.making = nil
	close(done)
}

func (p *pages) read() ([]byte, error) {
	if p.r.state.Load() != accepting {
		return nil, errors.New("the server is " + p.r.state.Load().String())
	}
	desk, ok := p.r.desk.(interface {
		StatusPage(ctx context.Context, links ...report.Link) ([]byte, error)
	})
	if !ok {
		return nil, errors.New("the desk has no status")
	}
	ctx, cancel := context.WithTimeout(p.r.work, pageTime)
	defer cancel()
	return desk.StatusPage(ctx, report.Link{Text: "Sign out", Address: "/sign-out"})
}
