package sim_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim"
)

const secondID = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"

func TestAuthentication(t *testing.T) {
	clock := newClock()
	c := shop(t, sim.Options{Now: clock.now})
	for _, tok := range []sim.Token{
		{Value: "one-account-token", Name: "one", Accounts: []string{accountID}, Email: "dev@example.com"},
		{Value: "owned-token", Name: "owned", Accounts: []string{accountID}, AccountOwned: true},
		{Value: "short-lived", Name: "short", Expires: clock.now().Add(time.Hour)},
		{Value: "global-key", Name: "key", Key: true, Email: "dev@example.com"},
	} {
		if err := c.w.AddToken(tok); err != nil {
			t.Fatal(err)
		}
	}
	c.w.Account(t, secondID, "kvick-2")
	list := func(account string) string { return "/accounts/" + account + "/workers/scripts" }

	c.refused(400, 9106, "GET", list(accountID), nil, "Authorization", "")
	c.refused(400, 6003, "GET", list(accountID), nil, "Authorization", "Token x")
	c.refused(400, 6003, "GET", list(accountID), nil, "Authorization", "Bearer two words")
	c.refused(403, 10000, "GET", list(accountID), nil, "Authorization", "Bearer nobody")
	c.refused(403, 9109, "GET", "/user", nil, "Authorization", "Bearer nobody")
	c.refused(401, 1000, "GET", "/user/tokens/verify", nil, "Authorization", "Bearer nobody")
	c.refused(404, 7003, "GET", list("nope"), nil)
	c.refused(403, 10000, "GET", list(strings.Repeat("f", 32)), nil)
	c.refused(404, 7003, "GET", "/accounts/"+accountID+"/nothing/here", nil)
	c.refused(405, 7001, "DELETE", list(accountID), nil)

	one := []string{"Authorization", "Bearer one-account-token"}
	c.ok("GET", list(accountID), nil, one...)
	c.refused(403, 10000, "GET", list(secondID), nil, one...)
	c.refused(403, 9109, "GET", "/accounts/"+secondID, nil, one...)
	if a := c.ok("GET", "/accounts", nil, one...); a.len("") != 1 || a.text("0.id") != accountID {
		t.Errorf("accounts %s", a.Body)
	}
	if a := c.ok("GET", "/accounts", nil); a.len("") != 2 {
		t.Errorf("a token for all accounts sees %s", a.Body)
	}
	if a := c.ok("GET", "/memberships", nil, one...); a.text("0.account.id") != accountID {
		t.Errorf("memberships %s", a.Body)
	}
	if a := c.ok("GET", "/user", nil, one...); a.text("email") != "dev@example.com" {
		t.Errorf("user %s", a.Body)
	}

	owned := []string{"Authorization", "Bearer owned-token"}
	c.refused(401, 1000, "GET", "/user/tokens/verify", nil, owned...)
	c.refused(403, 9109, "GET", "/user", nil, owned...)
	c.refused(403, 9109, "GET", "/memberships", nil, owned...)
	c.ok("GET", "/accounts/"+accountID+"/tokens/verify", nil, owned...)
	c.refused(401, 1000, "GET", "/accounts/"+accountID+"/tokens/verify", nil, one...)

	c.ok("GET", list(accountID), nil, "Authorization", "", "X-Auth-Key", "global-key", "X-Auth-Email", "dev@example.com")
	c.refused(403, 9103, "GET", list(accountID), nil, "Authorization", "", "X-Auth-Key", "global-key", "X-Auth-Email", "else@example.com")
	c.refused(403, 10000, "GET", list(accountID), nil, "Authorization", "Bearer global-key")

	short := []string{"Authorization", "Bearer short-lived"}
	if a := c.ok("GET", "/user/tokens/verify", nil, short...); a.text("expires_on") == "" {
		t.Errorf("verify %s", a.Body)
	}
	clock.advance(2 * time.Hour)
	c.refused(401, 1000, "GET", "/user/tokens/verify", nil, short...)
}

func TestAccountsAreIsolated(t *testing.T) {
	c := shop(t, sim.Options{})
	second := c.w.Account(t, secondID, "kvick-2")
	if err := second.AddZone("other.bike", ""); err != nil {
		t.Fatal(err)
	}
	c.putWorker("helm-swicked")
	other := "/accounts/" + secondID + "/workers"
	c.refused(404, 10007, "GET", other+"/scripts/helm-swicked/settings", nil)
	c.ok("PUT", other+"/scripts/helm-swicked", c.worker(nil, nil))
	// Neither stores nor zones of one account can be reached from the other.
	c.refused(400, 10181, "PUT", other+"/scripts/helm-swicked", c.worker([]any{binding("DB", "d1", "id", d1ID)}, nil))
	c.refused(400, 10041, "PUT", other+"/scripts/helm-swicked", c.worker([]any{binding("KV", "kv_namespace", "namespace_id", kvID)}, nil))
	c.refused(400, 7003, "PUT", other+"/scripts/helm-swicked/domains/records", c.records("", true, "swicked.kvick.bike"))
	c.ok("DELETE", other+"/services/helm-swicked", nil)
	c.ok("GET", script+"/settings", nil)
	if _, err := c.w.World.Account("not hex", "x"); err == nil {
		t.Error("an account id that is none was accepted")
	}
	if err := second.AddZone("kvick.bike", ""); err == nil {
		t.Error("a zone was added to two accounts")
	}
}

func TestRateLimit(t *testing.T) {
	clock := newClock()
	c := shop(t, sim.Options{Now: clock.now, RateLimit: 5})
	if err := c.w.AddToken(sim.Token{Value: "rollback-token", Name: "rollback"}); err != nil {
		t.Fatal(err)
	}
	path := "/accounts/" + accountID + "/workers/scripts"
	for i := range 5 {
		a := c.ok("GET", path, nil)
		if want := fmt.Sprintf(`"default";r=%d;t=300`, 4-i); a.Header.Get("Ratelimit") != want {
			t.Errorf("call %d: Ratelimit %s, want %s", i+1, a.Header.Get("Ratelimit"), want)
		}
	}
	clock.advance(4 * time.Minute) // still the same window
	a := c.refused(429, 971, "GET", path, nil)
	if a.Header.Get("Retry-After") != "300" || a.Header.Get("Ratelimit-Policy") != `"default";q=5;w=300` || a.Header.Get("cf-ray") == "" {
		t.Errorf("headers %v", a.Header)
	}
	clock.advance(2 * time.Minute) // the window would be over, the block is not
	if a := c.refused(429, 971, "GET", path, nil); a.Header.Get("Retry-After") != "180" {
		t.Errorf("Retry-After %s, want 180", a.Header.Get("Retry-After"))
	}
	c.ok("GET", path, nil, "Authorization", "Bearer rollback-token") // every token has its own budget
	clock.advance(3 * time.Minute)
	c.ok("GET", path, nil)

	for range 4 {
		c.ok("GET", path, nil)
	}
	clock.advance(5 * time.Minute)
	c.ok("GET", path, nil) // a new window before the budget was overrun
}

func TestPersistence(t *testing.T) {
	dir, clock := t.TempDir(), newClock()
	var version, jwt string
	seed := func(t *testing.T) *client {
		return shop(t, sim.Options{Dir: dir, Now: clock.now})
	}
	t.Run("first run", func(t *testing.T) {
		c := seed(t)
		c.ok("PUT", script, c.worker([]any{binding("KEY", "secret_text", "text", "s3cret"), binding("N", "json", "json", 1)}, nil))
		version = c.deploy([]any{binding("N", "json", "json", 2)}, nil)
		c.ok("PUT", script+"/domains/records", c.records("helm-swicked", false, "swicked.kvick.bike"))
		c.ok("PUT", script+"/schedules", []any{map[string]any{"cron": "0 13 * * *"}})
		c.putWorker("doomed")
		c.ok("DELETE", workers+"/services/doomed", nil)
		body, content := manifest(map[string]string{"/a.txt": "a"})
		token := c.ok("POST", assetSessions, body).text("jwt")
		jwt = c.ok("POST", workers+"/assets/upload?base64=true", bucket(t, content, hash(1)), "Authorization", "Bearer "+token).text("jwt")
	})
	// What a kill in the middle of a write leaves behind.
	if err := os.WriteFile(filepath.Join(dir, "accounts", accountID, "scripts", ".new-123"), []byte(`{"name":`), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Run("second run", func(t *testing.T) {
		c := seed(t)
		if live := c.live(); len(live) != 1 || live[0] != version {
			t.Errorf("live %v, want %s", live, version)
		}
		if b := c.bindings(); b["KEY"] == nil || b["N"]["json"] != float64(2) {
			t.Errorf("bindings %v", b)
		}
		if got := c.hostnames(); got["swicked.kvick.bike"] != "helm-swicked" {
			t.Errorf("domains %v", got)
		}
		if a := c.ok("GET", script+"/schedules", nil); a.len("schedules") != 1 {
			t.Errorf("schedules %s", a.Body)
		}
		c.refused(404, 10007, "GET", workers+"/scripts/doomed/settings", nil)
		c.ok("POST", script+"/versions", c.worker(nil, map[string]any{"assets": map[string]any{"jwt": jwt}}))
		a, err := c.send(c.w.URL, "GET", script, nil)
		if err != nil || !strings.Contains(string(a.Body), "hello") {
			t.Errorf("download: %v %s", err, a.Body)
		}
	})
}

func TestStartListensOnLoopbackOnly(t *testing.T) {
	w, err := sim.New(sim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Start("0.0.0.0:0", ""); err == nil {
		t.Error("the API was opened to the network")
	}
	l, err := w.Start("", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{l.API + "/user", l.Edge} {
		if !strings.HasPrefix(url, "http://127.0.0.1:") {
			t.Errorf("listening at %s", url)
		}
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
}

func TestControlEndpoints(t *testing.T) {
	c := shop(t, sim.Options{})
	root := strings.TrimSuffix(c.raw, "/client/v4") + "/__sim"
	do := func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, root+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	c.ok("GET", workers+"/scripts", nil)
	if _, text := do("GET", "/requests?ops=1", ""); !strings.Contains(text, "GET    "+workers+"/scripts") {
		t.Errorf("requests: %s", text)
	}
	if status, text := do("POST", "/faults", `{"path": "scripts$", "status": 503, "html": true, "delay": "1ms"}`); status != 200 || !strings.Contains(text, `"id": 1`) {
		t.Fatalf("HTTP %d %s", status, text)
	}
	if a, err := c.send(c.raw, "GET", workers+"/scripts", nil); err != nil || a.Status != 503 {
		t.Errorf("HTTP %d %v", a.Status, err)
	}
	if _, text := do("GET", "/faults", ""); !strings.Contains(text, `"hits": 1`) || !strings.Contains(text, `"delay": "1ms"`) {
		t.Errorf("faults: %s", text)
	}
	for _, bad := range []string{`{"path": "("}`, `{"pth": "x"}`, `{"drop": "maybe"}`, `nonsense`} {
		if status, _ := do("POST", "/faults", bad); status != 400 {
			t.Errorf("rule %s: HTTP %d", bad, status)
		}
	}
	if status, _ := do("PUT", "/latency", `{"latency": "1ms"}`); status != 200 {
		t.Errorf("latency: HTTP %d", status)
	}
	if status, text := do("POST", "/cron", `{"account": "x", "script": "y", "cron": "* * * * *"}`); status != 400 || !strings.Contains(text, "no deployed Worker y") {
		t.Errorf("cron: HTTP %d %s", status, text)
	}
	do("POST", "/reset", "")
	if len(c.w.Requests()) != 0 {
		t.Error("reset left requests")
	}
	c.ok("GET", workers+"/scripts", nil)
}

func TestIDsComeFromTheSource(t *testing.T) {
	ids := func() string {
		n := byte(0)
		c := shop(t, sim.Options{Random: func(b []byte) {
			for i := range b {
				n++
				b[i] = n
			}
		}})
		c.putWorker("helm-swicked")
		return c.live()[0]
	}
	if a, b := ids(), ids(); a != b {
		t.Errorf("same source, versions %s and %s", a, b)
	}
}
