package github

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/golang-jwt/jwt/v4"
	sdk "github.com/google/go-github/v62/github"
)

// App is a GitHub App that is installed on the repository.
type App struct {
	ID           string // the App's id, or its client id
	Key          Secret // its private key, PEM
	Installation int64  // 0 means looked up, which takes one call
}

// Check returns ErrConfig where nobody can act as the App, as far as that is seen without asking GitHub.
func (a *App) Check() error {
	if !appIDRule.MatchString(a.ID) {
		return fmt.Errorf("%w: the App's id is missing or not one", ErrConfig)
	}
	_, err := a.key()
	return err
}

func (a *App) key() (*rsa.PrivateKey, error) {
	text := strings.TrimSpace(string(a.Key))
	if !strings.Contains(text, "\n") { // a key that went through an environment file
		text = strings.ReplaceAll(text, `\n`, "\n")
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%w: the App's private key is not an RSA key in PEM form", ErrConfig)
	}
	return key, nil
}

// appTokens mints an App's tokens for one repository. They live for an hour (wire.md §1.1) and are renewed a minute early,
// by our clock: ghinstallation's own renewal knows the real one only, so each of its transports mints once.
type appTokens struct {
	apps    *ghinstallation.AppsTransport
	api     *sdk.Client // authorised as the App itself
	options *sdk.InstallationTokenOptions
	find    func(context.Context) (int64, error)

	now func() time.Time

	mu           sync.Mutex
	installation int64
	minted       func() Secret // in a func, where no fmt verb looks
	renew        time.Time
}

var appIDRule = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

func (c *Client) newAppTokens() (*appTokens, error) {
	if err := c.App.Check(); err != nil {
		return nil, err
	}
	may, err := grants(c.Permissions)
	if err != nil {
		return nil, err
	}
	key, err := c.App.key()
	if err != nil {
		return nil, err
	}
	signer := appSigner{app: c.App.ID, key: ghinstallation.NewRSASigner(jwt.SigningMethodRS256, key), now: c.wire.now}
	number, _ := strconv.ParseInt(c.App.ID, 10, 64) // for ghinstallation's messages; the signer knows the App
	apps, err := ghinstallation.NewAppsTransportWithOptions(door{transport: c.wire}, number, ghinstallation.WithSigner(signer))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	apps.BaseURL = c.wire.base.String()
	t := &appTokens{
		apps: apps, api: c.over(apps), now: c.wire.now,
		// Never more than this repository and what the task needs, whatever the App was granted.
		options: &sdk.InstallationTokenOptions{Repositories: []string{c.Repo}, Permissions: may},
	}
	t.find = func(ctx context.Context) (int64, error) {
		if c.App.Installation != 0 {
			return c.App.Installation, nil
		}
		return c.findInstallation(ctx, t.api)
	}
	return t, nil
}

// appSigner makes the App's JWT with our clock, and with an id that may be a client id. GitHub accepts ten minutes at
// most; a minute is left for clocks that differ.
type appSigner struct {
	app string
	key ghinstallation.Signer
	now func() time.Time
}

func (s appSigner) Sign(jwt.Claims) (string, error) {
	now := s.now().Truncate(time.Second)
	return s.key.Sign(&jwt.RegisteredClaims{
		IssuedAt: jwt.NewNumericDate(now.Add(-time.Minute)), ExpiresAt: jwt.NewNumericDate(now.Add(5 * time.Minute)), Issuer: s.app,
	})
}

// grants are permissions as a request for a token holds them.
func grants(wanted map[string]string) (*sdk.InstallationPermissions, error) {
	if len(wanted) == 0 {
		return nil, fmt.Errorf("%w: an App's tokens need Permissions; none would mean all that the App has", ErrConfig)
	}
	for name, level := range wanted {
		if level != "read" && level != "write" && level != "admin" {
			return nil, fmt.Errorf("%w: the permission %s: %s is not read, write or admin", ErrConfig, clean(name), clean(level))
		}
	}
	text, err := json.Marshal(wanted)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	may := &sdk.InstallationPermissions{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(may); err != nil {
		return nil, fmt.Errorf("%w: Permissions: %w", ErrConfig, err)
	}
	return may, nil
}

func (t *appTokens) token(ctx context.Context) (Secret, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now().Before(t.renew) {
		return t.minted(), nil
	}
	if t.installation == 0 {
		id, err := t.find(ctx)
		if err != nil {
			return "", err
		}
		t.installation = id
	}
	mint := ghinstallation.NewFromAppsTransport(t.apps, t.installation)
	mint.InstallationTokenOptions = t.options
	token, err := mint.Token(ctx)
	switch {
	case err != nil:
		return "", fmt.Errorf("minting a token: %w", err)
	case token == "":
		return "", errors.New("minting a token: the answer holds none")
	}
	expires, _, err := mint.Expiry()
	if err != nil {
		return "", fmt.Errorf("minting a token: %w", err)
	}
	t.minted, t.renew = func() Secret { return Secret(token) }, expires.Add(-time.Minute)
	return Secret(token), nil
}

// findInstallation asks where the App is installed on the repository.
func (c *Client) findInstallation(ctx context.Context, api *sdk.Client) (int64, error) {
	var in *sdk.Installation
	cl := call{method: http.MethodGet, path: c.repoPath("/installation")}
	err := c.doWith(ctx, cl, api, func(ctx context.Context, api *sdk.Client) (err error) {
		in, _, err = api.Apps.FindRepositoryInstallation(ctx, c.Owner, c.Repo)
		return err
	})
	var absent *NotFoundError
	switch {
	case errors.As(err, &absent):
		absent.Err.Err = errNoInstallation
		return 0, absent.Err
	case err != nil:
		return 0, err
	case in.GetID() <= 0:
		return 0, &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: the installation has no id", ErrMalformed)}
	case in.SuspendedAt != nil:
		return 0, &Error{Method: cl.method, Path: cl.path, Err: errors.New("the installation of the App is suspended")}
	}
	return in.GetID(), nil
}

// whoami is the login under which the client's comments appear. It is asked once: an App is asked for its slug, any other
// token's owner through GraphQL, which unlike GET /user answers the tokens of Actions too.
func (c *Client) whoami(ctx context.Context) (string, error) {
	c.once.Do(c.setUp)
	if c.Login != "" {
		return c.Login, nil
	}
	c.loginLock.Lock()
	defer c.loginLock.Unlock()
	if c.login != "" {
		return c.login, nil
	}
	if c.app != nil {
		var app *sdk.App
		cl := call{method: http.MethodGet, path: "/app"}
		if err := c.doWith(ctx, cl, c.app.api, func(ctx context.Context, api *sdk.Client) (err error) {
			app, _, err = api.Apps.Get(ctx, "")
			return err
		}); err != nil {
			return "", err
		}
		if app.GetSlug() == "" {
			return "", &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: the App has no slug", ErrMalformed)}
		}
		c.login = app.GetSlug() + "[bot]"
		return c.login, nil
	}
	var answer struct {
		Data struct {
			Viewer struct{ Login string }
		}
	}
	cl := call{method: http.MethodPost, path: "/graphql", repeat: true}
	err := c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
		address := "graphql"
		if strings.HasSuffix(c.wire.base.Path, "/api/v3") {
			address = "../graphql" // GitHub Enterprise Server: /api/v3 and /api/graphql
		}
		req, err := api.NewRequest(http.MethodPost, address, map[string]string{"query": "query { viewer { login } }"})
		if err != nil {
			return err
		}
		_, err = api.Do(ctx, req, &answer)
		return err
	})
	if err != nil {
		return "", err
	}
	if c.login = answer.Data.Viewer.Login; c.login == "" {
		return "", &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: it does not say whose token this is", ErrMalformed)}
	}
	return c.login, nil
}
