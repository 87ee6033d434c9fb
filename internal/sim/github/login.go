package github

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The web flow by which people show an App who they are, on the host of the web and of git:
// docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-user-access-token-for-a-github-app.
// Somebody is signed in to GitHub who has the cookie of World.Browse.

const (
	browserCookie = "user_session"
	codeWindow    = 10 * time.Minute
	userTokenLife = 8 * time.Hour
)

// grant is a code that was not exchanged yet.
type grant struct {
	user                *User
	app                 *App
	callback, challenge string
	at                  time.Time
}

// Browse signs somebody in to GitHub in a browser: the cookie is for the host of git, which is that of the web.
func (w *World) Browse(login string) (*http.Cookie, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	u := w.userByLogin[strings.ToLower(login)]
	if u == nil || u.Type != "User" {
		return nil, fmt.Errorf("signing %s in to GitHub: no such person", login)
	}
	value := w.hex(16)
	if w.browsers == nil {
		w.browsers = map[string]*User{}
	}
	w.browsers[value] = u
	return &http.Cookie{Name: browserCookie, Value: value, Path: "/", HttpOnly: true}, nil
}

// serveLogin is the part of the web that people come to when they sign in to something else with GitHub.
func (w *World) serveLogin(rw http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(rw, r.Body, 1<<16)
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	switch r.Method + " " + r.URL.Path {
	case "GET /login":
		io.WriteString(rw, "<!doctype html><title>Sign in to GitHub</title>\n")
	case "GET /login/oauth/authorize", "POST /login/oauth/authorize":
		w.authorizeApp(rw, r)
	case "POST /login/oauth/access_token":
		w.exchangeGrant(rw, r)
	default:
		http.Error(rw, "Not Found", http.StatusNotFound)
	}
}

// authorizeApp asks whether the App may know who somebody is, and sends them back to it. Whoever said yes before is not asked
// again.
func (w *World) authorizeApp(rw http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(rw, "Bad Request", http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var u *User
	if c, err := r.Cookie(browserCookie); err == nil {
		u = w.browsers[c.Value]
	}
	if u == nil {
		http.Redirect(rw, r, "/login?return_to="+url.QueryEscape(r.URL.RequestURI()), http.StatusFound)
		return
	}
	app := w.appOfClient(r.Form.Get("client_id"))
	if app == nil {
		http.Error(rw, "Not Found", http.StatusNotFound)
		return
	}
	callback, challenge := r.Form.Get("redirect_uri"), r.Form.Get("code_challenge")
	if callback == "" && len(app.callbacks) > 0 {
		callback = app.callbacks[0]
	}
	switch {
	case !slices.Contains(app.callbacks, callback):
		http.Error(rw, "The redirect_uri is not associated with this application.", http.StatusBadRequest) // [K]
		return
	case (challenge == "") != (r.Form.Get("code_challenge_method") == ""), challenge != "" && (len(challenge) != 43 || r.Form.Get("code_challenge_method") != "S256"):
		http.Error(rw, "The code_challenge is not valid.", http.StatusBadRequest) // [K]
		return
	}
	back := url.Values{}
	if state := r.Form.Get("state"); state != "" {
		back.Set("state", state)
	}
	switch {
	case r.Method == http.MethodPost && r.PostForm.Get("authorize") != "1":
		back.Set("error", "access_denied")
		back.Set("error_description", "The user has denied your application access.")
	case r.Method == http.MethodPost || app.authorized[u]:
		if app.authorized == nil {
			app.authorized = map[*User]bool{}
		}
		app.authorized[u] = true
		code := w.hex(10)
		if w.grants == nil {
			w.grants = map[string]grant{}
		}
		w.grants[code] = grant{u, app, callback, challenge, w.now()}
		back.Set("code", code)
	default:
		fields := ""
		for _, name := range sortedKeys(r.Form) {
			fields += `<input type="hidden" name="` + html.EscapeString(name) + `" value="` + html.EscapeString(r.Form.Get(name)) + `">` + "\n"
		}
		fmt.Fprintf(rw, "<!doctype html><title>Authorize %s</title>\n<form method=\"post\" action=\"/login/oauth/authorize\">\n%s<button name=\"authorize\" value=\"1\">Authorize</button></form>\n",
			html.EscapeString(deflt(app.name, app.Slug)), fields)
		return
	}
	http.Redirect(rw, r, callback+"?"+back.Encode(), http.StatusFound)
}

func (w *World) appOfClient(id string) *App {
	for _, a := range w.apps {
		if id != "" && a.ClientID == id {
			return a
		}
	}
	return nil
}

// exchangeGrant makes a user access token of a code. Its errors are answers with status 200.
func (w *World) exchangeGrant(rw http.ResponseWriter, r *http.Request) {
	say := func(values map[string]any) {
		if strings.Contains(r.Header.Get("Accept"), "json") {
			rw.Header().Set("Content-Type", "application/json; charset=utf-8")
			json.NewEncoder(rw).Encode(values)
			return
		}
		form := url.Values{}
		for name, value := range values {
			form.Set(name, fmt.Sprint(value))
		}
		rw.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		io.WriteString(rw, form.Encode())
	}
	refuse := func(code, why string) {
		say(map[string]any{"error": code, "error_description": why, "error_uri": "https://docs.github.com/apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors/#" + strings.ReplaceAll(code, "_", "-")})
	}
	if err := r.ParseForm(); err != nil {
		http.Error(rw, "Bad Request", http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	app := w.appOfClient(r.Form.Get("client_id"))
	if app == nil || app.clientSecret == "" || r.Form.Get("client_secret") != app.clientSecret {
		refuse("incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect.")
		return
	}
	code := r.Form.Get("code")
	g, known := w.grants[code]
	delete(w.grants, code)
	proved := g.challenge == ""
	if verifier := r.Form.Get("code_verifier"); !proved && verifier != "" {
		sum := sha256.Sum256([]byte(verifier))
		proved = base64.RawURLEncoding.EncodeToString(sum[:]) == g.challenge
	}
	switch back := r.Form.Get("redirect_uri"); {
	case !known || g.app != app || w.now().Sub(g.at) > codeWindow || !proved:
		refuse("bad_verification_code", "The code passed is incorrect or expired.")
		return
	case back != "" && back != g.callback:
		refuse("redirect_uri_mismatch", "The redirect_uri MUST match the registered callback URL for this application.")
		return
	}
	token := "ghu_" + w.letters(36)
	w.tokens[token] = &credential{kind: onBehalf, name: "token of " + g.user.Login + " for " + app.Slug, user: g.user, app: app, expires: w.clock().Add(userTokenLife)}
	say(map[string]any{
		"access_token": token, "expires_in": int(userTokenLife / time.Second), "refresh_token": "ghr_" + w.letters(76), "refresh_token_expires_in": 15811200,
		"scope": "", "token_type": "bearer",
	})
}
