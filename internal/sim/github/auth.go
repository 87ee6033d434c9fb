package github

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind is a kind of credential.
type kind int

const (
	anonymous    kind = iota
	personal          // a personal access token: may do what its user may
	actions           // the GITHUB_TOKEN of a workflow run
	installation      // an App on an account
	appJWT            // an App itself
	onBehalf          // an App for somebody: may do what both may
)

// credential is who asks.
type credential struct {
	kind        kind
	name        string // in the request log
	user        *User  // who acts; nil for anonymous
	app         *App
	inst        *Installation
	repo        *Repository       // of a GITHUB_TOKEN
	repos       []*Repository     // of an installation token that was scoped down; nil: all of the installation
	permissions map[string]string // of an App's token
	expires     time.Time
	played      bool // somebody at a browser, whom no limit stops
}

// reaches tells whether an App's token is for the repository.
func (c *credential) reaches(r *Repository) bool {
	switch c.kind {
	case actions:
		return c.repo == r
	case installation:
		return c.inst.covers(r) && (c.repos == nil || slices.Contains(c.repos, r))
	}
	return false
}

// sees tells whether the repository exists for the credential. What it does not see answers 404.
func (c *credential) sees(r *Repository) bool {
	switch c.kind {
	case personal:
		return r.role(c.user) != ""
	case actions, installation:
		return r.public || c.reaches(r)
	case onBehalf:
		return r.public || r.role(c.user) != "" && c.behind(r) != nil
	}
	return r.public
}

// behind is the installation by which an App may do something on a repository for somebody, nil for none.
func (c *credential) behind(r *Repository) *Installation {
	for _, i := range c.app.installations {
		if i.covers(r) && i.suspended.IsZero() {
			return i
		}
	}
	return nil
}

// grants tells whether an App's token has all permissions of need, such as "contents=write,workflows=write".
func (c *credential) grants(need string) bool {
	for part := range strings.SplitSeq(need, ",") {
		name, level, _ := strings.Cut(part, "=")
		have := c.permissions[name]
		if have == "" || level == "write" && have != "write" {
			return false
		}
	}
	return true
}

// may tells whether the credential can do something on the repository: need for Apps, role for people.
func (c *credential) may(r *Repository, need, role string) bool {
	switch c.kind {
	case personal:
		return roleRank(r.role(c.user)) >= roleRank(role)
	case actions, installation:
		if !c.reaches(r) {
			return r.public && !strings.Contains(need, "=write")
		}
		return c.grants(need)
	case onBehalf:
		i := c.behind(r)
		if i == nil {
			return r.public && !strings.Contains(need, "=write")
		}
		granted := credential{permissions: c.app.permissions}
		return roleRank(r.role(c.user)) >= roleRank(role) && granted.grants(need)
	}
	return r.public && role == "read" && !strings.Contains(need, "=write")
}

// isApp tells whether the credential acts for an App, GitHub Actions included.
func (c *credential) isApp() bool { return c.kind == actions || c.kind == installation }

// authenticate finds who sent a request. Git sends its token as the password of basic authentication; the API takes that too.
func (w *World) authenticate(r *http.Request) (*credential, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return &credential{kind: anonymous}, nil
	}
	value := ""
	if user, password, ok := r.BasicAuth(); ok {
		if value = password; value == "" || value == "x-oauth-basic" {
			value = user
		}
	} else {
		scheme, rest, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "bearer") && !strings.EqualFold(scheme, "token") {
			return nil, badCredentials()
		}
		value = strings.TrimSpace(rest)
	}
	// Installation tokens may look like ghs_APPID_JWT (wire.md §1.1), so dots alone do not make an App's JWT.
	if strings.Count(value, ".") == 2 && !strings.HasPrefix(value, "ghs_") {
		return w.authenticateApp(value)
	}
	c := w.tokens[value]
	if c == nil || !c.expires.IsZero() && !w.now().Before(c.expires) || c.inst != nil && !c.inst.suspended.IsZero() {
		return nil, badCredentials()
	}
	return c, nil
}

func badCredentials() *refusal { return refuse(http.StatusUnauthorized, "Bad credentials") }

// authenticateApp checks a JWT: RS256 by the App's key, issued by its id or client id, for ten minutes at most (wire.md §1.1).
func (w *World) authenticateApp(value string) (*credential, error) {
	undecodable := refuse(http.StatusUnauthorized, "A JSON web token could not be decoded")
	parts := strings.Split(value, ".")
	var header struct {
		Alg string `json:"alg"`
	}
	var claims struct {
		Iss any      `json:"iss"`
		Iat *float64 `json:"iat"`
		Exp *float64 `json:"exp"`
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !decodePart(parts[0], &header) || !decodePart(parts[1], &claims) || header.Alg != "RS256" {
		return nil, undecodable
	}
	var app *App
	for _, a := range w.apps {
		switch iss := claims.Iss.(type) {
		case string:
			if iss == a.ClientID || iss == strconv.FormatInt(a.ID, 10) {
				app = a
			}
		case float64:
			if iss == float64(a.ID) {
				app = a
			}
		}
	}
	if app == nil || app.key == nil {
		return nil, refuse(http.StatusNotFound, "Integration not found")
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(app.key, crypto.SHA256, sum[:], signature) != nil {
		return nil, undecodable
	}
	now := float64(w.now().Unix())
	switch {
	case claims.Exp == nil || *claims.Exp <= now || math.IsInf(*claims.Exp, 0):
		return nil, refuse(http.StatusUnauthorized, "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires")
	case *claims.Exp > now+600:
		return nil, refuse(http.StatusUnauthorized, "'Expiration time' claim ('exp') is too far in the future")
	case claims.Iat == nil || *claims.Iat > now:
		return nil, refuse(http.StatusUnauthorized, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued")
	case *claims.Exp-*claims.Iat > 660: // iat may lie back a minute against clock drift
		return nil, refuse(http.StatusUnauthorized, "'Expiration time' claim ('exp') is too far in the future")
	}
	return &credential{kind: appJWT, name: "JWT of " + app.Slug, user: app.bot, app: app}, nil
}

func decodePart(part string, v any) bool {
	b, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(b, v) == nil
}

// authorise decides whether c may call its route, and finds the repository of the path.
func (c *call) authorise() error {
	need := c.route.needs
	switch {
	case c.route.asks == byApp && c.cred.kind != appJWT:
		return refuse(http.StatusUnauthorized, "A JSON web token could not be decoded")
	case c.route.asks != byApp && c.cred.kind == appJWT:
		return badCredentials()
	case c.route.asks == byInstallation && !c.cred.isApp():
		return refuse(http.StatusForbidden, "You must authenticate with an installation access token in order to list repositories for an installation.")
	}
	if c.vars["owner"] == "" {
		if c.route.asks == byAnyone && c.cred.kind == anonymous && c.route.role != "" {
			return refuse(http.StatusUnauthorized, "Requires authentication")
		}
		return nil
	}
	r := c.w.repoByName[strings.ToLower(c.vars["owner"]+"/"+c.vars["repo"])]
	if r == nil {
		return notFound()
	}
	if c.route.asks == byApp { // which App may know of the repository is for the handler
		c.repo = r
		return nil
	}
	if !c.cred.sees(r) {
		return notFound()
	}
	c.repo = r
	if c.route.appOnly && !c.cred.isApp() {
		if c.cred.kind == anonymous {
			return refuse(http.StatusUnauthorized, "Requires authentication")
		}
		return refuse(http.StatusForbidden, "You must authenticate via a GitHub App.")
	}
	if slices.ContainsFunc(need, func(n string) bool { return c.cred.may(r, n, c.route.role) }) {
		return nil
	}
	switch c.cred.kind {
	case anonymous:
		return refuse(http.StatusUnauthorized, "Requires authentication")
	case personal:
		if c.route.role == "admin" {
			return refuse(http.StatusForbidden, "Must have admin rights to Repository.")
		}
		return refuse(http.StatusForbidden, "Must have push access to repository")
	}
	return inaccessible()
}

func inaccessible() *refusal {
	return refuse(http.StatusForbidden, "Resource not accessible by integration")
}
