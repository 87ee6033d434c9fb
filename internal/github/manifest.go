package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	sdk "github.com/google/go-github/v62/github"
)

// NewApp is what GitHub answers when a manifest became an App.
type NewApp struct {
	ID                                   int64
	Slug, ClientID, HTMLURL              string
	ClientSecret, WebhookSecret, PrivKey Secret
}

var codeRule = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)

// withPath hides the path of an error behind another: the code is in it, and may still be good.
func withPath(err error, path string) error {
	var e *Error
	if errors.As(err, &e) {
		e.Path = path
	}
	return err
}

// ConvertManifest exchanges the code that GitHub's page handed over for the App it made. It works once, for an hour, without a
// token. One request, never repeated. What it returns GitHub does not tell again: it is an error only without an id or a key.
func ConvertManifest(ctx context.Context, baseURL string, transport http.RoundTripper, code string) (NewApp, error) {
	cl := call{method: http.MethodPost, path: "/app-manifests/***/conversions"}
	c := &Client{Transport: transport}
	c.wire = c.newWire()
	c.wire.hide = []Secret{Secret(code)}
	base, err := checkURL("the base URL", orDefault(baseURL, defaultBaseURL))
	if err == nil && !codeRule.MatchString(code) {
		err = fmt.Errorf("%w: the code is not one that GitHub hands over", ErrArgument)
	}
	if err != nil {
		return NewApp{}, &Error{Method: cl.method, Path: cl.path, Err: err}
	}
	base.Path = strings.TrimRight(base.Path, "/")
	c.wire.base = base
	var w struct {
		ID            int64  `json:"id"`
		Slug          string `json:"slug"`
		ClientID      string `json:"client_id"`
		ClientSecret  string `json:"client_secret"`
		WebhookSecret string `json:"webhook_secret"` // null where the manifest has no webhook
		PEM           string `json:"pem"`
		HTML          string `json:"html_url"`
	}
	err = c.doWith(ctx, cl, c.over(door{transport: c.wire, once: true}), func(ctx context.Context, api *sdk.Client) error {
		req, err := api.NewRequest(cl.method, "app-manifests/"+code+"/conversions", nil)
		if err != nil {
			return err
		}
		_, err = api.Do(ctx, req, &w)
		if err == nil && (w.ID <= 0 || w.PEM == "") {
			err = fmt.Errorf("the App has no id or no key")
		}
		return err
	})
	if err != nil {
		return NewApp{}, missing(withPath(err, cl.path), "the code, or what is left of its hour,")
	}
	return NewApp{
		ID: w.ID, Slug: clean(w.Slug), ClientID: clean(w.ClientID), HTMLURL: clean(w.HTML),
		ClientSecret: Secret(w.ClientSecret), WebhookSecret: Secret(w.WebhookSecret), PrivKey: Secret(w.PEM),
	}, nil
}
