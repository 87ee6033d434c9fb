package sim_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// issuer is an identity provider with one user, who signs in without being asked.
type issuer struct {
	*httptest.Server
	email    string
	verified bool
	codes    map[string]url.Values // the authorization request, by code
	asked    []string              // paths
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{verified: true, codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	answer := func(rw http.ResponseWriter, v any) {
		rw.Header().Set("Content-Type", "application/json")
		json.NewEncoder(rw).Encode(v)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(rw http.ResponseWriter, r *http.Request) {
		answer(rw, map[string]string{"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize?tenant=kvick",
			"token_endpoint": i.URL + "/token", "userinfo_endpoint": i.URL + "/userinfo"})
	})
	mux.HandleFunc("GET /authorize", func(rw http.ResponseWriter, r *http.Request) {
		code := fmt.Sprintf("code-%d", len(i.codes))
		i.codes[code] = r.URL.Query()
		back, err := url.Parse(r.URL.Query().Get("redirect_uri"))
		if err != nil {
			t.Error(err)
		}
		back.RawQuery = url.Values{"code": {code}, "state": {r.URL.Query().Get("state")}}.Encode()
		http.Redirect(rw, r, back.String(), http.StatusFound)
	})
	mux.HandleFunc("POST /token", func(rw http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		asked, known := i.codes[r.Form.Get("code")]
		sum := sha256.Sum256([]byte(r.Form.Get("code_verifier")))
		switch {
		case !known, r.Form.Get("grant_type") != "authorization_code", r.Form.Get("client_secret") != "oauth-secret",
			r.Form.Get("client_id") != asked.Get("client_id"), r.Form.Get("redirect_uri") != asked.Get("redirect_uri"),
			asked.Get("code_challenge_method") != "S256", base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge"):
			http.Error(rw, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		delete(i.codes, r.Form.Get("code"))
		answer(rw, map[string]string{"access_token": "token-of-" + i.email, "token_type": "Bearer"})
	})
	mux.HandleFunc("GET /userinfo", func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer token-of-"+i.email {
			http.Error(rw, "who are you", http.StatusUnauthorized)
			return
		}
		answer(rw, map[string]any{"sub": "1", "email": i.email, "email_verified": i.verified})
	})
	i.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		i.asked = append(i.asked, r.URL.Path)
		mux.ServeHTTP(rw, r)
	}))
	t.Cleanup(i.Close)
	return i
}
