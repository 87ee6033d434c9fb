package github

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	sdk "github.com/google/go-github/v62/github"
)

// SignIn is the way by which people show an App who they are: GitHub's web flow for user access tokens, with PKCE. See
// docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-user-access-token-for-a-github-app.
type SignIn struct {
	Web          string // "" means https://github.com; plain http is accepted for loopback hosts only
	ClientID     string // of the App; not its id
	ClientSecret Secret
	Callback     string            // where GitHub sends people back to; exactly as it is in the App's settings
	Transport    http.RoundTripper // nil means net/http's defaults
}

// ErrCode says that GitHub did not take a code: it is somebody else's, too old, or was used before.
var ErrCode = errors.New("GitHub does not take the code")

const defaultWeb = "https://github.com"

// Check says whether people can sign in with what is set. Nothing is sent.
func (s *SignIn) Check() error {
	if _, err := checkURL("GitHub's address", orDefault(s.Web, defaultWeb)); err != nil {
		return err
	}
	if _, err := checkURL("the address that people come back to", s.Callback); err != nil {
		return err
	}
	if s.ClientID == "" || strings.ContainsFunc(s.ClientID, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%w: the App's client id is not one", ErrConfig)
	}
	if s.ClientSecret == "" {
		return fmt.Errorf("%w: the App's client secret is not set", ErrConfig)
	}
	return nil
}

// Address is where a browser is sent to. GitHub sends it back to Callback with state and a code, or with an error. state and
// verifier are random and of this browser alone; only a digest of the verifier is in the address.
func (s *SignIn) Address(state, verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"client_id": {s.ClientID}, "redirect_uri": {s.Callback}, "state": {state}, "allow_signup": {"false"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	return strings.TrimRight(orDefault(s.Web, defaultWeb), "/") + "/login/oauth/authorize?" + q.Encode()
}

// Token exchanges a code for a token that may do what both its user and the App may, for eight hours. One request, never
// repeated: a code is good for once. errors.Is ErrCode when it is not.
func (s *SignIn) Token(ctx context.Context, code, verifier string) (Secret, error) {
	cl := call{method: http.MethodPost, path: "/login/oauth/access_token"}
	fail := func(err error) (Secret, error) { return "", &Error{Method: cl.method, Path: cl.path, Err: err} }
	if err := s.Check(); err != nil {
		return fail(err)
	}
	if !codeRule.MatchString(code) || verifier == "" {
		return fail(fmt.Errorf("%w: it is not one that GitHub hands over", ErrCode))
	}
	base, err := checkURL("GitHub's address", orDefault(s.Web, defaultWeb))
	if err != nil {
		return fail(err)
	}
	base.Path = strings.TrimRight(base.Path, "/")
	c := &Client{Transport: s.Transport}
	c.once.Do(func() {}) // it has no repository, and needs none
	c.wire = c.newWire()
	c.wire.base, c.wire.hide = base, []Secret{Secret(code), Secret(verifier), s.ClientSecret}
	form := url.Values{
		"client_id": {s.ClientID}, "client_secret": {string(s.ClientSecret)}, "code": {code}, "redirect_uri": {s.Callback}, "code_verifier": {verifier},
	}
	var said struct {
		Token string `json:"access_token"`
		Type  string `json:"token_type"`
		Error string `json:"error"`
		Why   string `json:"error_description"`
	}
	err = c.doWith(ctx, cl, c.over(door{transport: c.wire, once: true}), func(ctx context.Context, api *sdk.Client) error {
		req, err := api.NewFormRequest("login/oauth/access_token", strings.NewReader(form.Encode()))
		if err != nil {
			return err
		}
		req.Header.Set("Accept", "application/json") // without it the answer is a form
		_, err = api.Do(ctx, req, &said)
		return err
	})
	switch {
	case err != nil:
		return "", err
	case said.Error == "bad_verification_code":
		return fail(ErrCode)
	case said.Error != "": // an answer with status 200
		return "", &Error{Method: cl.method, Path: cl.path, Code: cut(clean(said.Error), 100), Message: cut(clean(c.wire.redact(said.Error+": "+said.Why)), maxMessage)}
	case said.Token == "" || !strings.EqualFold(said.Type, "bearer"):
		return fail(fmt.Errorf("%w: it holds no token", ErrMalformed))
	}
	return Secret(said.Token), nil
}

// Access is what the owner of a token may do in the repository.
type Access struct {
	Login      string
	Permission string // admin, write, read or none; maintain counts as write and triage as read
	Public     bool   // everybody may read it
}

// Access asks who the owner of the client's token is, and what they may do in the repository as far as the token may, too.
// Who may not even see it has no permission. Two requests.
func (c *Client) Access(ctx context.Context) (Access, error) {
	login, err := c.whoami(ctx)
	if err != nil {
		return Access{}, err
	}
	a := Access{Login: login, Permission: "none"}
	cl := call{method: http.MethodGet, path: c.repoPath("")}
	var w struct {
		FullName    string `json:"full_name"`
		Private     *bool  `json:"private"`
		Permissions struct {
			Admin, Maintain, Push, Triage, Pull bool
		} `json:"permissions"`
	}
	_, err = c.request(ctx, cl, nil, nil, &w)
	var absent *NotFoundError
	switch {
	case errors.As(err, &absent):
		return a, nil
	case err != nil:
		return Access{}, err
	case !strings.EqualFold(w.FullName, c.Owner+"/"+c.Repo) || w.Private == nil || !loginRule.MatchString(login):
		return Access{}, &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: it is about another repository, or about nobody", ErrMalformed)}
	}
	a.Public = !*w.Private
	switch p := w.Permissions; {
	case p.Admin:
		a.Permission = "admin"
	case p.Maintain, p.Push:
		a.Permission = "write"
	case p.Triage, p.Pull:
		a.Permission = "read"
	}
	return a, nil
}
