package github

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Apps made from a manifest: docs.github.com/apps/sharing-github-apps/registering-a-github-app-from-a-manifest. Who
// registers one is at a browser; the code that it brings back is exchanged by the API.

// manifest is what the form sends, with the fields that the documentation has.
type manifest struct {
	Name        string `json:"name"`
	URL         string `json:"url"`
	Description string `json:"description"`
	Hook        *struct {
		URL    string `json:"url"`
		Active *bool  `json:"active"`
	} `json:"hook_attributes"`
	RedirectURL string            `json:"redirect_url"`
	Callbacks   []string          `json:"callback_urls"`
	SetupURL    string            `json:"setup_url"`
	Public      bool              `json:"public"`
	Events      []string          `json:"default_events"`
	Permissions map[string]string `json:"default_permissions"`
	OAuth       bool              `json:"request_oauth_on_install"`
	OnUpdate    bool              `json:"setup_on_update"`
}

// eventNeeds are the events an App may subscribe to with what it must be able to read for them, one of several [K]. Those
// that are not in hookEvents are taken and never sent.
var eventNeeds = map[string]string{
	"check_run": "checks", "check_suite": "checks", "create": "contents", "delete": "contents", "deployment": "deployments",
	"deployment_status": "deployments", "issue_comment": "issues|pull_requests", "issues": "issues", "label": "issues|pull_requests", "pull_request": "pull_requests",
	"pull_request_review": "pull_requests", "push": "contents", "release": "contents", "repository": "metadata", "status": "statuses",
	"workflow_dispatch": "contents", "workflow_job": "actions", "workflow_run": "actions", "team": "members", "membership": "members",
}

const (
	manifestWindow = time.Hour
	maxAppName     = 34 // characters [K]
	maxCallbacks   = 10
)

// pending is an App whose code has not been exchanged yet.
type pending struct {
	app *App
	at  time.Time
}

func fullURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func readManifest(text string) (*manifest, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	m := &manifest{}
	if err := d.Decode(m); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one value")
	}
	optional := map[string]string{"redirect_url": m.RedirectURL, "setup_url": m.SetupURL}
	for n, u := range m.Callbacks {
		optional[fmt.Sprintf("callback_urls[%d]", n)] = u
		if u == "" {
			return nil, errors.New("an empty callback URL")
		}
	}
	for _, name := range sortedKeys(optional) {
		if u := optional[name]; u != "" && !fullURL(u) {
			return nil, fmt.Errorf("%s %q is not a full URL", name, u)
		}
	}
	switch {
	case !fullURL(m.URL):
		return nil, fmt.Errorf("url %q is not a full URL", m.URL)
	case m.RedirectURL == "":
		return nil, errors.New("without redirect_url nobody gets the code")
	case m.Hook != nil && !fullURL(m.Hook.URL):
		return nil, fmt.Errorf("hook_attributes.url %q is not a full URL", m.Hook.URL)
	case len(m.Callbacks) > maxCallbacks:
		return nil, fmt.Errorf("%d callback URLs, of at most %d", len(m.Callbacks), maxCallbacks)
	case len(m.Events) > 0 && m.Hook == nil:
		return nil, errors.New("events without hook_attributes")
	}
	permissions, err := appPermissions(m.Permissions)
	if err != nil {
		return nil, err
	}
	m.Permissions = permissions
	for n, e := range m.Events {
		needs, known := eventNeeds[e]
		switch {
		case !known:
			return nil, fmt.Errorf("event %q is not known", e)
		case slices.Contains(m.Events[:n], e):
			return nil, fmt.Errorf("event %s is there twice", e)
		case !slices.ContainsFunc(strings.Split(needs, "|"), func(p string) bool { return permissions[p] != "" }):
			return nil, fmt.Errorf("event %s needs permission %s", e, needs)
		}
	}
	return m, nil
}

var notSlug = regexp.MustCompile(`[^a-z0-9]+`)

// RegisterApp plays somebody at a browser who sends a manifest to github.com/settings/apps/new, or for an organisation to
// github.com/organizations/ORGANIZATION/settings/apps/new, names the App ("" keeps the manifest's name) and presses "Create
// GitHub App". It returns where GitHub sends the browser: the manifest's redirect_url with code and, when there is one,
// state. The App is there from now on and gets its key when the code is exchanged, within an hour and once.
//
// GitHub wants a webhook that the internet can reach. Here any URL will do; one that is not on loopback is reached once
// App.Tunnel leads there.
func (w *World) RegisterApp(login, account, manifest, state, name string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("registering an App from a manifest as %s: %w", login, err)
	}
	u, owner := w.userByLogin[strings.ToLower(login)], w.userByLogin[strings.ToLower(account)]
	if u == nil || owner == nil || u.Type != "User" || !w.actsFor(u, owner) {
		return fail(fmt.Errorf("no such account, or %s is not theirs", account))
	}
	m, err := readManifest(manifest)
	if err != nil {
		return fail(err)
	}
	name = strings.TrimSpace(deflt(name, m.Name))
	slug := strings.Trim(notSlug.ReplaceAllString(strings.ToLower(name), "-"), "-")
	switch {
	case name == "" || utf8.RuneCountInString(name) > maxAppName || !slugPattern.MatchString(slug):
		return fail(fmt.Errorf("%q is no name for an App", name))
	case slices.ContainsFunc(w.apps, func(a *App) bool { return a.Slug == slug }):
		return fail(fmt.Errorf("the name %s is taken", name))
	}
	bot, err := w.addUser(slug+"[bot]", "Bot")
	if err != nil {
		return fail(err)
	}
	a := &App{
		ID: w.nextID(), ClientID: "Iv23" + w.letters(16), Slug: slug, Bot: bot.Login, w: w, bot: bot, owner: owner, name: name, description: m.Description, homepage: m.URL,
		permissions: m.Permissions, events: slices.Clone(m.Events), created: w.clock(),
		callbacks: slices.Clone(m.Callbacks),
	}
	if m.Hook != nil {
		a.hookSecret = w.hex(20)
		if deref(m.Hook.Active, true) {
			a.hookURL = m.Hook.URL
		}
	}
	w.apps = append(w.apps, a)
	code := w.hex(20)
	if w.manifests == nil {
		w.manifests = map[string]pending{}
	}
	w.manifests[code] = pending{a, w.clock()}
	to, err := url.Parse(m.RedirectURL)
	if err != nil {
		return fail(err)
	}
	q := to.Query()
	q.Set("code", code)
	if state != "" {
		q.Set("state", state)
	}
	to.RawQuery = q.Encode()
	return to.String(), nil
}

// hex is n random bytes in hexadecimal.
func (w *World) hex(n int) string {
	b := make([]byte, n)
	w.random(b)
	return hex.EncodeToString(b)
}

// convertManifest exchanges a code, which is all the authentication there is.
func convertManifest(c *call) (answer, error) {
	code := c.vars["code"]
	p, known := c.w.manifests[code]
	if !known || c.w.clock().Sub(p.at) > manifestWindow {
		return answer{}, notFound()
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return answer{}, err
	}
	delete(c.w.manifests, code)
	p.app.key, p.app.clientSecret = &key.PublicKey, c.w.hex(20)
	o := c.w.app(p.app).(object)
	maps.Copy(o, object{
		"client_secret": p.app.clientSecret, "webhook_secret": maybe(p.app.hookSecret),
		"pem": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	})
	return answer{status: http.StatusCreated, body: o}, nil
}

// App finds an App by its slug, nil for none.
func (w *World) App(slug string) *App {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.apps {
		if a.Slug == slug {
			return a
		}
	}
	return nil
}

// Tunnel leads the App's webhooks to a server on loopback, whatever host its webhook URL names; the path stays.
func (a *App) Tunnel(server string) error {
	if err := loopbackURL(server); err != nil {
		return fmt.Errorf("leading the webhooks of %s: %w", a.Slug, err)
	}
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	a.tunnel = strings.TrimRight(server, "/")
	return nil
}

// reached is where a webhook to u is sent in truth.
func (a *App) reached(u string) string {
	if parsed, err := url.Parse(u); err == nil && a.tunnel != "" {
		return a.tunnel + parsed.RequestURI()
	}
	return u
}
