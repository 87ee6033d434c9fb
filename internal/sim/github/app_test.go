package github_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim/github"
)

// testApp is an App on kvick with its private key.
type testApp struct {
	*github.App
	t    *testing.T
	s    *scene
	key  *rsa.PrivateKey
	inst *github.Installation
}

func newApp(t *testing.T, s *scene, permissions map[string]string, hook string, events ...string) *testApp {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.AddApp(github.NewApp{Owner: "kvick", Slug: "shopfleet", Key: &key.PublicKey, Permissions: permissions, Events: events, HookURL: hook, HookSecret: "It's a Secret to Everybody"})
	if err != nil {
		t.Fatal(err)
	}
	i, err := a.Install("kvick")
	if err != nil {
		t.Fatal(err)
	}
	return &testApp{a, t, s, key, i}
}

func (a *testApp) jwt(claims body) string {
	now := a.s.clock.now()
	all := body{"iss": fmt.Sprint(a.ID), "iat": now.Add(-30 * time.Second).Unix(), "exp": now.Add(2 * time.Minute).Unix()}
	for k, v := range claims {
		all[k] = v
	}
	part := func(v any) string {
		b, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	signed := part(body{"alg": "RS256", "typ": "JWT"}) + "." + part(all)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, a.key, crypto.SHA256, sum[:])
	if err != nil {
		a.t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func (a *testApp) client() client { return a.s.as(a.t, a.jwt(nil)) }

// token makes an installation token, scoped down to permissions when there are any.
func (a *testApp) token(permissions map[string]string) string {
	a.t.Helper()
	in := body{}
	if permissions != nil {
		in["permissions"] = permissions
	}
	return a.client().do(201, "POST", fmt.Sprintf("/app/installations/%d/access_tokens", a.inst.ID), in).text("token")
}

func TestAppTokens(t *testing.T) {
	s := newScene(t, github.Options{})
	other := s.Repository(t, "kvick", "other")
	app := newApp(t, s, map[string]string{"contents": "write", "deployments": "read"}, "")
	c := app.client()
	if g := c.do(200, "GET", "/app", nil); g.text("slug") != "shopfleet" || g.number("installations_count") != 1 {
		t.Errorf("app: %v", g.body)
	}
	if g := c.do(200, "GET", repoPath+"/installation", nil); g.number("id") != app.inst.ID {
		t.Errorf("installation: %v", g.body)
	}
	c.do(200, "GET", "/app/installations", nil)
	c.do(401, "GET", repoPath, nil) // a JWT is no token
	tokens := fmt.Sprintf("/app/installations/%d/access_tokens", app.inst.ID)

	g := c.do(201, "POST", tokens, nil)
	if g.text("permissions", "contents") != "write" || g.text("permissions", "metadata") != "read" || len(g.text("token")) < 300 {
		t.Errorf("token: %v", g.body)
	}
	wide := s.as(t, g.text("token"))
	if g := wide.do(200, "GET", "/installation/repositories", nil); g.number("total_count") != 2 {
		t.Errorf("repositories: %v", g.body)
	}
	g = c.do(201, "POST", tokens, body{"repositories": []string{"helm"}, "permissions": body{"contents": "read"}})
	narrow := s.as(t, g.text("token"))
	if g := narrow.do(200, "GET", "/installation/repositories", nil); g.number("total_count") != 1 {
		t.Errorf("repositories: %v", g.body)
	}
	narrow.do(404, "GET", "/repos/kvick/other", nil)
	narrow.do(200, "GET", repoPath+"/git/ref/heads/main", nil)
	if g := narrow.says(403, "Resource not accessible by integration", "GET", repoPath+"/deployments", nil); g.header.Get("X-Accepted-GitHub-Permissions") != "deployments=read" {
		t.Errorf("accepted: %v", g.header)
	}
	narrow.do(403, "DELETE", repoPath+"/git/refs/heads/x", nil)
	c.do(201, "POST", tokens, body{"repository_ids": []int64{other.ID}})
	c.says(422, "not granted", "POST", tokens, body{"permissions": body{"deployments": "write"}})
	c.says(422, "not granted", "POST", tokens, body{"permissions": body{"issues": "read"}})
	c.says(422, "does not exist or is not accessible", "POST", tokens, body{"repositories": []string{"none"}})
	c.do(404, "POST", "/app/installations/1/access_tokens", nil)

	narrow.do(204, "DELETE", "/installation/token", nil)
	narrow.do(401, "GET", repoPath, nil)
	s.clock.wind(time.Hour - time.Second)
	wide.do(200, "GET", repoPath, nil)
	s.clock.wind(time.Second)
	wide.says(401, "Bad credentials", "GET", repoPath, nil)
	app.inst.Suspend()
	app.client().do(403, "POST", tokens, nil)
}

func TestJWT(t *testing.T) {
	s := newScene(t, github.Options{})
	app := newApp(t, s, nil, "")
	now := s.clock.now().Unix()
	for what, tt := range map[string]struct {
		claims body
		status int
	}{
		"client id":       {body{"iss": app.ClientID}, 200},
		"id as a number":  {body{"iss": app.ID}, 200},
		"ten minutes":     {body{"iat": now, "exp": now + 600}, 200},
		"too long":        {body{"iat": now, "exp": now + 601}, 401},
		"expired":         {body{"exp": now}, 401},
		"from the future": {body{"iat": now + 60}, 401},
		"no exp":          {body{"exp": nil}, 401},
		"no iat":          {body{"iat": nil}, 401},
		"unknown App":     {body{"iss": "1"}, 404},
	} {
		if g := s.as(t, app.jwt(tt.claims)).do(tt.status, "GET", "/app", nil); g.status != tt.status {
			t.Errorf("%s: %v", what, g.body)
		}
	}
	good := app.jwt(nil)
	unsigned := strings.Join([]string{base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)), strings.Split(good, ".")[1], ""}, ".")
	for what, token := range map[string]string{"no algorithm": unsigned, "changed": good[:len(good)-4] + "AAAA", "no JSON": "a.b.c"} {
		if g := s.as(t, token).do(401, "GET", "/app", nil); g.status != 401 {
			t.Errorf("%s: %v", what, g.body)
		}
	}
	s.as(t, "pat-adam").do(401, "GET", "/app", nil)
}

// TestPermissionMatrix holds the table of wire.md §1 against the server: each call with every App permission alone, and by
// people of each role.
func TestPermissionMatrix(t *testing.T) {
	s := newScene(t, github.Options{Unlimited: true})
	sha := s.commit(t, "shops/acme", "shop", map[string]string{"a": "1\n"})
	admin := s.as(t, "pat-adam")
	admin.do(201, "POST", repoPath+"/issues", body{"title": "one"})
	note := admin.do(201, "POST", repoPath+"/issues/1/comments", body{"body": "x"}).number("id")
	admin.do(201, "POST", repoPath+"/pulls", body{"title": "two", "head": "shops/acme", "base": "main"})
	deployment := admin.do(201, "POST", repoPath+"/deployments", body{"ref": "main", "required_contexts": []string{}}).number("id")

	calls := []struct {
		method, path string
		in           any
		any          []string // permissions of which one suffices
		role         string   // the least role
	}{
		{"GET", "", nil, []string{"metadata:read"}, "read"},
		{"GET", "/collaborators/rita/permission", nil, []string{"metadata:read"}, "read"},
		{"GET", "/git/ref/heads/main", nil, []string{"contents:read"}, "read"},
		{"GET", "/git/matching-refs/heads/", nil, []string{"contents:read"}, "read"},
		{"GET", "/compare/main...shops/acme", nil, []string{"contents:read"}, "read"},
		{"PATCH", "/git/refs/heads/shops/acme", body{"sha": sha}, []string{"contents:write"}, "write"},
		{"GET", "/pulls", nil, []string{"pull_requests:read"}, "read"},
		{"GET", "/pulls/2", nil, []string{"pull_requests:read", "contents:read"}, "read"},
		{"PATCH", "/pulls/2", body{"title": "t"}, []string{"pull_requests:write"}, "write"},
		{"GET", "/issues/1/comments", nil, []string{"issues:read", "pull_requests:read"}, "read"},
		{"POST", "/issues/1/comments", body{"body": "b"}, []string{"issues:write", "pull_requests:write"}, "read"},
		{"POST", fmt.Sprintf("/issues/comments/%d/reactions", note), body{"content": "eyes"}, []string{"issues:write"}, "read"},
		{"GET", "/deployments", nil, []string{"deployments:read"}, "read"},
		{"POST", "/deployments", body{"ref": "main", "required_contexts": []string{}}, []string{"deployments:write"}, "write"},
		{"POST", fmt.Sprintf("/deployments/%d/statuses", deployment), body{"state": "queued"}, []string{"deployments:write"}, "write"},
		{"GET", "/environments", nil, []string{"actions:read"}, "read"},
		{"PUT", "/environments/a", body{}, []string{"administration:write"}, "admin"},
		{"GET", "/commits/main/check-runs", nil, []string{"checks:read"}, "read"},
		{"POST", "/check-runs", body{"name": "n", "head_sha": sha}, []string{"checks:write"}, ""},
		{"POST", "/statuses/" + sha, body{"state": "success"}, []string{"statuses:write"}, "write"},
	}
	names := []string{"actions", "administration", "checks", "contents", "deployments", "issues", "pull_requests", "statuses"}
	grant := map[string]string{}
	for _, n := range names {
		grant[n] = "write"
	}
	app := newApp(t, s, grant, "")
	tokens := map[string]string{"metadata:read": app.token(map[string]string{"metadata": "read"})}
	for _, n := range names {
		for _, level := range []string{"read", "write"} {
			tokens[n+":"+level] = app.token(map[string]string{n: level})
		}
	}
	people := []string{"rita", "tom", "wanda", "mara", "adam"}
	rank := map[string]int{"read": 0, "triage": 1, "write": 2, "maintain": 3, "admin": 4, "": 9}
	for _, call := range calls {
		for permission, token := range tokens {
			name, level, _ := strings.Cut(permission, ":")
			want := slices.ContainsFunc(call.any, func(need string) bool {
				needName, needLevel, _ := strings.Cut(need, ":")
				return needName == "metadata" || name == needName && (needLevel == "read" || level == "write")
			})
			g, err := s.as(t, token).try(call.method, repoPath+call.path, call.in)
			if err != nil || (g.status < 300) != want || !want && g.status != 403 {
				t.Errorf("%s %s with %s: %d, allowed should be %v: %v %v", call.method, call.path, permission, g.status, want, g.body, err)
			}
		}
		for r, login := range people {
			want := r >= rank[call.role]
			g, err := s.as(t, "pat-"+login).try(call.method, repoPath+call.path, call.in)
			if err != nil || (g.status < 300) != want || !want && g.status != 403 {
				t.Errorf("%s %s by %s: %d, allowed should be %v: %v %v", call.method, call.path, login, g.status, want, g.body, err)
			}
		}
		s.as(t, "pat-nobody").do(404, call.method, repoPath+call.path, call.in)
		s.as(t, "").do(404, call.method, repoPath+call.path, call.in)
		s.as(t, "wrong").do(401, call.method, repoPath+call.path, call.in)
	}
	s.helm.MakePublic()
	s.as(t, "").do(200, "GET", repoPath+"/git/ref/heads/main", nil)
	s.as(t, "").do(401, "PATCH", repoPath+"/git/refs/heads/main", body{"sha": sha})
	if _, err := s.helm.ActionsToken(map[string]string{"workflows": "write"}); err == nil {
		t.Error("a GITHUB_TOKEN got the workflows permission")
	}
}
