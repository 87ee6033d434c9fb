package github_test

import (
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/github"
)

// An App is made from a manifest, and what comes back is enough to work with it: to ask who is in a team, and to hear.
func TestManifestInTheWorld(t *testing.T) {
	w := newWorld(t)
	w.person(t, "adam")
	w.person(t, "wanda")
	w.person(t, "pete")
	const manifest = `{"name":"Shop Fleet","url":"https://example.com","hook_attributes":{"url":"https://fleet.example.com/hook","active":true},"redirect_url":"http://127.0.0.1:1/done",
		"public":false,"default_permissions":{"issues":"write","members":"read"},"default_events":["issue_comment"]}`
	register := func() string {
		t.Helper()
		to, err := w.RegisterApp("adam", "adam", manifest, "state", fmt.Sprint("Shop Fleet ", w.Now().Unix()))
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		return u.Query().Get("code")
	}
	convert := func(code string) (github.NewApp, error) {
		return github.ConvertManifest(t.Context(), w.API, cloudflare.LoopbackOnly(nil), code)
	}
	code := register()
	made, err := convert(code)
	if err != nil || made.ID == 0 || made.Slug == "" || made.ClientID == "" || made.ClientSecret == "" || made.WebhookSecret == "" || made.PrivKey == "" || made.HTMLURL == "" {
		t.Fatalf("got %+v, %v", made, err)
	}
	var absent *github.NotFoundError
	if _, err := convert(code); !errors.As(err, &absent) {
		t.Errorf("a second time: %v", err)
	}
	w.Sleep(t.Context(), time.Minute)
	code = register()
	w.Sleep(t.Context(), 2*time.Hour)
	if _, err := convert(code); !errors.As(err, &absent) {
		t.Errorf("after its hour: %v", err)
	}

	if _, err := github.NewHook(0, made.WebhookSecret); err != nil {
		t.Error(err)
	}
	app := w.App(made.Slug)
	if app == nil {
		t.Fatalf("there is no App %s", made.Slug)
	}
	if _, err := app.Install("acme"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{w.AddTeam("acme", "ops", "wanda"), w.SetTeamMember("acme", "ops", "pete", "pending")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := &github.Client{
		BaseURL: w.API, Owner: "acme", Repo: "helm", App: &github.App{ID: made.ClientID, Key: made.PrivKey}, Transport: cloudflare.LoopbackOnly(nil),
		Permissions: map[string]string{"members": "read"}, Now: w.Now, Sleep: w.Sleep,
	}
	for login, want := range map[string]bool{"wanda": true, "WANDA": true, "adam": false, "pete": false, "nobody": false} {
		if in, err := c.InTeam(t.Context(), "ops", login); err != nil || in != want {
			t.Errorf("%s: %v, %v", login, in, err)
		}
	}
	if in, err := c.InTeam(t.Context(), "leads", "wanda"); err != nil || in {
		t.Errorf("a team that is none: %v, %v", in, err)
	}
	bare := w.client(t, map[string]string{"contents": "read"})
	var e *github.Error
	if in, err := bare.InTeam(t.Context(), "ops", "wanda"); in || !errors.As(err, &e) || e.Status != 403 {
		t.Errorf("without the permission: %v, %v", in, err)
	}
	if login, err := c.Self(t.Context()); err != nil || login != made.Slug+"[bot]" {
		t.Errorf("it is %q, %v", login, err)
	}
}
