package github_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v4"

	"github.com/kvick/shopfleet/internal/github"
)

func newKey(t *testing.T) (*rsa.PrivateKey, github.Secret) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key, github.Secret(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

func minted(token string, expires time.Time) answer {
	return says(201, fmt.Sprintf(`{"token":%q,"expires_at":%q,"permissions":{"deployments":"write"}}`, token, expires.UTC().Format(time.RFC3339)))
}

const mintPath = "/app/installations/77/access_tokens"

func TestApp(t *testing.T) {
	key, secret := newKey(t)
	// wire.md §1.1: the new tokens are long.
	long := "ghs_1_" + strings.Repeat("eyJhbGciOi.", 60)
	s := serve(t, map[string]answer{
		"GET /repos/acme/helm/installation": says(200, `{"id":77,"permissions":{"contents":"write"},"suspended_at":null}`),
		"POST " + mintPath:                  minted(long, time.Now().Add(time.Hour)),
		"POST " + deployments:               says(201, deploymentText(7, "swicked/v2")),
	})
	// With the real clock, in which GitHub judges the App's own tokens.
	c := &github.Client{
		BaseURL: s.URL + "/", Owner: "acme", Repo: "helm", App: &github.App{ID: "Iv23liAbc", Key: secret},
		Permissions: map[string]string{"deployments": "write", "contents": "read"},
	}
	for range 2 {
		if _, err := c.CreateDeployment(t.Context(), newDeployment()); err != nil {
			t.Fatal(err)
		}
	}
	wantSent(t, s, "GET /repos/acme/helm/installation", "POST "+mintPath, "POST "+deployments, "POST "+deployments)
	if c.Calls() != 4 {
		t.Errorf("%d calls", c.Calls())
	}
	if s.last().auth != "Bearer "+long {
		t.Error("not authorised with the token that was minted")
	}
	body := s.got[1].body
	if fmt.Sprint(body["repositories"]) != "[helm]" || fmt.Sprint(body["permissions"]) != "map[contents:read deployments:write]" || len(body) != 2 {
		t.Errorf("asked for %v", body)
	}
	for _, r := range s.got[:2] {
		text := strings.TrimPrefix(r.auth, "Bearer ")
		claims := &jwt.RegisteredClaims{}
		if _, err := jwt.ParseWithClaims(text, claims, func(*jwt.Token) (any, error) { return &key.PublicKey, nil }, jwt.WithValidMethods([]string{"RS256"})); err != nil {
			t.Errorf("%s: %v", r, err)
			continue
		}
		if life := claims.ExpiresAt.Sub(claims.IssuedAt.Time); claims.Issuer != "Iv23liAbc" || life > 10*time.Minute || claims.IssuedAt.After(time.Now().Add(-30*time.Second)) {
			t.Errorf("%s claims %+v", r, claims)
		}
	}
	for _, v := range []any{c, c.App} {
		hidden(t, v, long)
		hidden(t, v, string(secret))
	}
}

func TestAppRenewsItsToken(t *testing.T) {
	_, secret := newKey(t)
	world := newClock()
	s := serve(t, map[string]answer{
		"POST " + mintPath: inTurn(says(502, ""), cutOff, minted("ghs_one", world.Now().Add(time.Hour)), minted("ghs_two", world.Now().Add(2*time.Hour))),
		"GET " + tipPath:   says(200, refAnswer(sha)),
	})
	c := s.client(world)
	// A key that went through an environment file keeps working.
	c.Token, c.App = "", &github.App{ID: "1", Key: github.Secret(strings.ReplaceAll(string(secret), "\n", `\n`)), Installation: 77}
	c.Permissions = map[string]string{"contents": "read"}
	for i, want := range []string{"Bearer ghs_one", "Bearer ghs_one", "Bearer ghs_two", "Bearer ghs_two"} {
		if i == 2 {
			world.Sleep(t.Context(), 59*time.Minute)
		}
		if _, err := c.Tip(t.Context(), "shops/swicked"); err != nil || s.last().auth != want {
			t.Fatalf("authorised with %s, %v; want %s", s.last().auth, err, want)
		}
	}
	if n := strings.Count(strings.Join(s.sent(), "\n"), "POST"); n != 4 {
		t.Errorf("%d requests for tokens", n)
	}
}

func TestAppFails(t *testing.T) {
	_, secret := newKey(t)
	installation := "GET /repos/acme/helm/installation"
	there := says(200, `{"id":77}`)
	for _, test := range []struct {
		name   string
		routes map[string]answer
		want   string
	}{
		{"not installed", map[string]answer{installation: says(404, `{"message":"Not Found"}`)}, "the App is not installed"},
		{"suspended", map[string]answer{installation: says(200, `{"id":77,"suspended_at":"2026-01-01T00:00:00Z"}`)}, "suspended"},
		{"nonsense", map[string]answer{installation: says(200, `[]`)}, "not one this API gives"},
		{"no id", map[string]answer{installation: says(200, `{}`)}, "no id"},
		{"a wrong key", map[string]answer{installation: says(401, `{"message":"A JSON web token could not be decoded"}`)}, "401 A JSON web token could not be decoded"},
		{"too much asked", map[string]answer{installation: there, "POST " + mintPath: says(422, `{"message":"The permissions requested are not granted to this installation."}`)}, mintPath + ": 422 The permissions requested"},
		{"no token", map[string]answer{installation: there, "POST " + mintPath: says(201, `{}`)}, "holds none"},
		{"no JSON", map[string]answer{installation: there, "POST " + mintPath: says(201, `<html>`)}, "minting a token"},
		{"limited", map[string]answer{installation: there, "POST " + mintPath: says(403, `{}`, "Retry-After", "3000")}, "rate limit"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, test.routes)
			c := s.client(newClock())
			c.Token, c.App, c.Permissions = "", &github.App{ID: "1", Key: secret}, map[string]string{"deployments": "write"}
			_, err := c.CreateDeployment(t.Context(), newDeployment())
			var e *github.Error
			var absent *github.NotFoundError
			if errors.As(err, &absent) {
				t.Errorf("%v reads as if the deployment's environment or commit were missing", err)
			}
			if !errors.As(err, &e) || e.Hint() == "" && e.Status >= 400 || e.Unclear || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v; want …%s…", err, test.want)
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				hidden(t, e, string(secret))
				hidden(t, e, "eyJ") // the App's own tokens
			}
			for _, r := range s.sent() {
				if r == "POST "+deployments {
					t.Error("the deployment was sent without a token")
				}
			}
		})
	}
}

// Many calls at once share one installation and one token.
func TestAppConcurrently(t *testing.T) {
	_, secret := newKey(t)
	s := serve(t, map[string]answer{
		"GET /repos/acme/helm/installation": says(200, `{"id":77}`),
		"POST " + mintPath:                  minted("ghs_x", newClock().Now().Add(time.Hour)),
		"GET " + tipPath:                    says(200, refAnswer(sha)),
	})
	c := s.client(newClock())
	c.Token, c.App, c.Permissions = "", &github.App{ID: "1", Key: secret}, map[string]string{"contents": "read"}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := c.Tip(t.Context(), "shops/swicked"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if c.Calls() != 22 {
		t.Errorf("%d calls; want 22", c.Calls())
	}
}
