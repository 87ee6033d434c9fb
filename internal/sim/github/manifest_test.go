package github_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim/github"
)

func TestTeamMembership(t *testing.T) {
	s := newScene(t, github.Options{})
	app := newApp(t, s, map[string]string{"members": "read", "contents": "read"}, "")
	for _, err := range []error{
		s.AddTeam("kvick", "ops", "wanda", "Rita"), s.AddTeam("kvick", "leads"), s.SetTeamMember("kvick", "leads", "adam", "maintainer"), s.SetTeamMember("kvick", "leads", "tom", "pending"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := s.as(t, app.token(nil))
	const teams = "/orgs/kvick/teams/"
	for path, want := range map[string]string{
		"ops/memberships/wanda": "member active", "ops/memberships/RITA": "member active", "leads/memberships/adam": "maintainer active", "leads/memberships/tom": "member pending",
	} {
		if g := c.do(200, "GET", teams+path, nil); g.text("role")+" "+g.text("state") != want || !strings.Contains(g.text("url"), "/team/") {
			t.Errorf("%s: %v, want %s", path, g.body, want)
		}
	}
	for _, path := range []string{teams + "ops/memberships/adam", teams + "ops/memberships/nobody-at-all", teams + "none/memberships/wanda", "/orgs/none/teams/ops/memberships/wanda", "/orgs/wanda/teams/ops/memberships/wanda", teams + "ops/memberships/%00"} {
		c.do(404, "GET", path, nil)
	}
	const one = teams + "ops/memberships/wanda"
	s.as(t, app.token(map[string]string{"contents": "read"})).says(403, "not accessible by integration", "GET", one, nil)
	s.actions(t, "contents:read").do(403, "GET", one, nil)
	s.as(t, "pat-wanda").do(200, "GET", one, nil)
	s.as(t, "pat-adam").do(200, "GET", one, nil)
	s.as(t, "pat-tom").do(404, "GET", one, nil) // invited only
	s.as(t, "").do(401, "GET", one, nil)
	if _, err := s.World.Repository("elsewhere", "r"); err != nil {
		t.Fatal(err)
	}
	if err := s.AddTeam("elsewhere", "ops", "wanda"); err != nil {
		t.Fatal(err)
	}
	c.do(403, "GET", "/orgs/elsewhere/teams/ops/memberships/wanda", nil)
	if err := s.SetTeamMember("kvick", "ops", "wanda", ""); err != nil {
		t.Fatal(err)
	}
	c.do(404, "GET", one, nil)
	for what, err := range map[string]error{
		"of a person": s.AddTeam("wanda", "x"), "again": s.AddTeam("kvick", "ops"), "odd": s.AddTeam("kvick", "O ps"), "with nobody": s.AddTeam("kvick", "y", "nobody-at-all"),
		"no role": s.SetTeamMember("kvick", "ops", "wanda", "boss"), "no team": s.SetTeamMember("kvick", "none", "wanda", "member"),
	} {
		if err == nil {
			t.Errorf("a team %s was made", what)
		}
	}
}

// wholeManifest has every field of the documentation.
func wholeManifest() body {
	return body{
		"name": "Shop Fleet", "url": "https://example.com", "description": "d", "hook_attributes": body{"url": "https://fleet.example.com/github/webhook?x=1", "active": true},
		"redirect_url": "http://127.0.0.1:1/callback?a=b", "callback_urls": []string{"https://example.com/c"}, "setup_url": "https://example.com/s", "public": false,
		"default_permissions": body{"contents": "write", "issues": "write", "pull_requests": "write", "checks": "write", "members": "read"}, "default_events": []string{"issue_comment", "check_run", "push"},
		"request_oauth_on_install": false, "setup_on_update": false,
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestManifestFlow(t *testing.T) {
	hooks := newReceiver(t)
	s := newScene(t, github.Options{})
	to, err := s.RegisterApp("adam", "kvick", text(t, wholeManifest()), "st&te", "")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	code := u.Query().Get("code")
	if u.Host != "127.0.0.1:1" || u.Path != "/callback" || u.Query().Get("a") != "b" || u.Query().Get("state") != "st&te" || len(code) != 40 {
		t.Fatalf("sent to %s", to)
	}
	anyone := s.as(t, "")
	anyone.do(404, "POST", "/app-manifests/"+strings.Repeat("0", 40)+"/conversions", nil)
	g := anyone.do(201, "POST", "/app-manifests/"+code+"/conversions", nil)
	block, _ := pem.Decode([]byte(g.text("pem")))
	if block == nil {
		t.Fatalf("no key: %v", g.body)
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if g.text("slug") != "shop-fleet" || g.text("name") != "Shop Fleet" || g.text("client_id") == "" || g.text("client_secret") == "" || g.text("webhook_secret") == "" ||
		g.text("owner", "login") != "kvick" || g.text("external_url") != "https://example.com" || g.text("permissions", "members") != "read" || g.text("permissions", "metadata") != "read" || g.len("events") != 3 {
		t.Errorf("the App: %v", g.body)
	}
	anyone.do(404, "POST", "/app-manifests/"+code+"/conversions", nil) // once

	// What was made so works like any other.
	app := s.App("shop-fleet")
	if app == nil || app.ID != g.number("id") {
		t.Fatalf("the App: %+v", app)
	}
	inst, err := app.Install("kvick")
	if err != nil {
		t.Fatal(err)
	}
	made := &testApp{app, t, s, key, inst}
	c := s.as(t, made.token(nil))
	if g := made.client().do(200, "GET", "/app", nil); g.text("slug") != "shop-fleet" || g.text("description") != "d" {
		t.Errorf("GET /app: %v", g.body)
	}
	c.do(201, "POST", repoPath+"/issues", body{"title": "x"})
	if _, err := s.helm.Comment("wanda", 1, "before the tunnel"); err != nil {
		t.Fatal(err)
	}
	s.Settle()
	if list := app.Deliveries(); len(list) != 1 || list[0].Code != 0 {
		t.Errorf("a webhook left the machine: %+v", list)
	}
	if err := app.Tunnel("https://example.com"); err == nil {
		t.Error("a tunnel leaves the machine")
	}
	if err := app.Tunnel(hooks.URL + "/"); err != nil {
		t.Fatal(err)
	}
	if err := app.Redeliver(app.Deliveries()[0].GUID); err != nil {
		t.Fatal(err)
	}
	heard := hooks.take(s)
	if len(heard) != 1 || heard[0].header.Get("X-Hub-Signature-256") == "" || heard[0].body["action"] != "created" {
		t.Errorf("through the tunnel: %v", told(heard))
	}
	if g := made.client().do(200, "GET", fmt.Sprint("/app/hook/deliveries/", app.Deliveries()[1].ID), nil); g.text("url") != "https://fleet.example.com/github/webhook?x=1" {
		t.Errorf("delivered to %v", g.at("url"))
	}
	if _, err := s.RegisterApp("adam", "kvick", text(t, wholeManifest()), "", ""); err == nil {
		t.Error("a name was taken twice")
	}

	// For oneself, without a webhook, under another name; and too late.
	to, err = s.RegisterApp("wanda", "wanda", `{"url":"https://example.com","redirect_url":"http://localhost/"}`, "", "Mine")
	if err != nil {
		t.Fatal(err)
	}
	u, _ = url.Parse(to)
	if _, there := u.Query()["state"]; there {
		t.Errorf("a state that nobody gave: %s", to)
	}
	if g := anyone.do(201, "POST", "/app-manifests/"+u.Query().Get("code")+"/conversions", nil); g.at("webhook_secret") != nil || g.text("slug") != "mine" {
		t.Errorf("without a webhook: %v", g.body)
	}
	to, err = s.RegisterApp("wanda", "wanda", `{"url":"https://example.com","redirect_url":"http://localhost/"}`, "", "Late")
	if err != nil {
		t.Fatal(err)
	}
	s.clock.wind(time.Hour + time.Second)
	u, _ = url.Parse(to)
	anyone.do(404, "POST", "/app-manifests/"+u.Query().Get("code")+"/conversions", nil)
}

func TestManifestIsChecked(t *testing.T) {
	s := newScene(t, github.Options{})
	for what, change := range map[string]body{
		"no url":                     {"url": nil},
		"a bare host":                {"url": "example.com"},
		"no redirect":                {"redirect_url": nil},
		"a redirect to a script":     {"redirect_url": "javascript:alert(1)"},
		"no hook url":                {"hook_attributes": body{"active": true}},
		"an odd hook field":          {"hook_attributes": body{"url": "https://example.com", "secret": "x"}},
		"an unknown field":           {"webhook": "x"},
		"an unknown permission":      {"default_permissions": body{"kitchen": "write"}, "default_events": nil},
		"an unknown level":           {"default_permissions": body{"contents": "all"}, "default_events": nil},
		"an unknown event":           {"default_events": []string{"dinner"}},
		"an event that comes anyway": {"default_events": []string{"installation"}},
		"an event twice":             {"default_events": []string{"push", "push"}},
		"an event without a right":   {"default_permissions": body{"contents": "read"}},
		"events as text":             {"default_events": "push"},
		"public as text":             {"public": "yes"},
		"eleven callbacks":           {"callback_urls": strings.Split(strings.Repeat("https://example.com ", 10)+"https://example.com", " ")},
		"a callback to nowhere":      {"callback_urls": []string{""}},
		"no name":                    {"name": nil},
		"a long name":                {"name": strings.Repeat("x", 35)},
		"a name of signs":            {"name": "!!!"},
	} {
		m := wholeManifest()
		maps.Copy(m, change)
		maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
		if to, err := s.RegisterApp("adam", "kvick", text(t, m), "", ""); err == nil {
			t.Errorf("%s: sent to %s", what, to)
		}
	}
	for _, m := range []string{"", "null", "[]", "{", "{}", text(t, wholeManifest()) + "{}"} {
		if _, err := s.RegisterApp("adam", "kvick", m, "", ""); err == nil {
			t.Errorf("%s was taken", m)
		}
	}
	for _, who := range []string{"wanda", "nobody", "none"} { // none has admin
		if _, err := s.RegisterApp(who, "kvick", text(t, wholeManifest()), "", ""); err == nil {
			t.Errorf("%s registers Apps of kvick", who)
		}
	}
	if s.App("shop-fleet") != nil {
		t.Error("an App was made")
	}
}
