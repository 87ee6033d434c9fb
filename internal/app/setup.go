package app

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/kvick/shopfleet/internal/github"
)

// setup plays the page with the one button. It registers an App by GitHub's manifest flow: the page sends the manifest to
// GitHub, where a person confirms it; GitHub sends that person back with a code, and the code is exchanged once for the
// App's key and secret. These are handed to made, and kept nowhere.
type setup struct {
	manifest  ManifestOptions
	owner     string // the organisation; "" means whoever registers it
	github    string // https://github.com
	self      string // http://127.0.0.1:port, of the page
	state     string // what GitHub gives back, so that nobody else's code is taken
	convert   func(ctx context.Context, code string) (github.NewApp, error)
	made      func(github.NewApp) error
	complain  func(error) // about a code that GitHub did not take: another may be tried
	finished  chan error
	mu        sync.Mutex // one code at a time
	exchanged bool
}

const policy = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action "

// codeRule is what GitHub's code may look like: it becomes a part of a path.
var codeRule = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)

func newState() string { return rand.Text() }

func (s *setup) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /callback", s.callback)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy+s.github)
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		// A page elsewhere whose name was made to point to this machine is not let in: the state is on the page.
		if "http://"+r.Host != s.self {
			http.Error(w, "this page is at "+s.self, http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// action is where the manifest is sent to.
func (s *setup) action() string {
	at := s.github + "/settings/apps/new"
	if s.owner != "" {
		at = s.github + "/organizations/" + url.PathEscape(s.owner) + "/settings/apps/new"
	}
	return at + "?state=" + url.QueryEscape(s.state)
}

func document(title, body string) string {
	return "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>" + html.EscapeString(title) + "</title>\n<h1>" + html.EscapeString(title) + "</h1>\n" + body + "\n</html>\n"
}

func (s *setup) page(w http.ResponseWriter, _ *http.Request) {
	manifest, err := s.manifest.Manifest(s.self + "/callback")
	if err != nil {
		http.Error(w, "the manifest cannot be made", http.StatusInternalServerError)
		return
	}
	var why strings.Builder
	for _, line := range s.manifest.reasons() {
		why.WriteString("<li>" + html.EscapeString(line) + "</li>\n")
	}
	owner := "your account"
	if s.owner != "" {
		owner = "the organisation " + s.owner
	}
	io.WriteString(w, document("Register the App of shopfleet",
		"<p>GitHub will ask you to confirm an App of "+html.EscapeString(owner)+" that may do this, and nothing else:</p>\n<ul>\n"+why.String()+"</ul>\n"+
			"<form method=\"post\" action=\""+html.EscapeString(s.action())+"\">\n"+
			"<input type=\"hidden\" name=\"manifest\" value=\""+html.EscapeString(string(manifest))+"\">\n"+
			"<button type=\"submit\">Register it on GitHub</button>\n</form>\n"+
			"<p>What to save is printed in the terminal then, once. This page never shows it.</p>"))
}

// callback is where GitHub sends people to with a code.
func (s *setup) callback(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, text string) {
		w.WriteHeader(status)
		io.WriteString(w, document("That did not work", "<p>"+html.EscapeString(text)+"</p>"))
	}
	q := r.URL.Query()
	if subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(s.state)) != 1 {
		refuse(http.StatusForbidden, "This is not the answer to what this page asked. Begin at "+s.self)
		return
	}
	code := q.Get("code")
	if !codeRule.MatchString(code) {
		refuse(http.StatusBadRequest, "GitHub sent no code. Begin at "+s.self)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.exchanged {
		refuse(http.StatusConflict, "The App was registered already; look at the terminal.")
		return
	}
	made, err := s.convert(r.Context(), code)
	if err != nil {
		refuse(http.StatusBadGateway, "GitHub did not exchange the code; the terminal says why. Begin at "+s.self)
		s.complain(fmt.Errorf("exchanging GitHub's code for the App: %w", err))
		return
	}
	s.exchanged = true
	err = s.made(made)
	if err != nil {
		refuse(http.StatusInternalServerError, "The App is registered, and could not be printed. Delete it on GitHub, and begin again.")
	} else {
		io.WriteString(w, document("The App is registered", "<p>What to save is in the terminal. Then <a rel=\"noreferrer\" href=\""+html.EscapeString(installPage(made))+"\">install it</a> on the repository.</p>"))
	}
	s.finished <- err // once, see exchanged
}

// installPage is where an App is installed. Its address is GitHub's, and is used only if it looks like one.
func installPage(a github.NewApp) string {
	if at, err := webAddress("", a.HTMLURL); err == nil {
		return at + "/installations/new"
	}
	return ""
}

// serve shows the page until the App is registered or ctx is done.
func (s *setup) serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	stopped := make(chan error, 1)
	go func() { stopped <- server.Serve(l) }()
	defer server.Close()
	select {
	case <-ctx.Done():
		return fmt.Errorf("waiting for GitHub: %w", ctx.Err())
	case err := <-stopped:
		return fmt.Errorf("showing the page: %w", err)
	case err := <-s.finished:
		// The browser still has to get its page.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(last)
		return err
	}
}

// printApp writes what there is to save. It is the only place where it is seen.
func printApp(w io.Writer, a github.NewApp, repository string) error {
	key := strings.TrimRight(string(a.PrivKey), "\n")
	_, err := fmt.Fprintf(w, `The App is registered: %s (id %d). What follows is shown once and stored nowhere.

For the server (shopfleet serve), in its environment:

SHOPFLEET_APP_ID=%d
SHOPFLEET_WEBHOOK_SECRET=%s
SHOPFLEET_APP_PRIVATE_KEY=%s
SHOPFLEET_APP_CLIENT_ID=%s
SHOPFLEET_APP_CLIENT_SECRET=%s

For the workflows:

gh variable set SHOPFLEET_APP_ID --repo %s --body %d
gh secret set SHOPFLEET_APP_PRIVATE_KEY --repo %s <<'KEY'
%s
KEY

Install it on the repository: %s
`, a.Slug, a.ID, a.ID, string(a.WebhookSecret), strings.ReplaceAll(key, "\n", `\n`), a.ClientID, string(a.ClientSecret), repository, a.ID, repository, key, installPage(a))
	return err
}
