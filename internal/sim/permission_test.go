package sim_test

import (
	"net/http/httptest"
	"testing"

	"github.com/kvick/shopfleet/internal/sim"
)

// A token may do what its permissions say: whoever may edit may read, and what is refused is refused before it has any
// effect, with 10000 on an account and 9109 on a zone.
func TestTokensWithPermissions(t *testing.T) {
	c := shop(t, sim.Options{})
	const a, z = "/accounts/" + accountID, "/zones/" + zoneID
	record := map[string]any{"type": "AAAA", "name": "x.kvick.bike", "content": "100::", "proxied": true, "ttl": 1}
	type request struct {
		permission, method, path string
		body                     any
		write                    bool
	}
	requests := []request{
		{"d1", "GET", a + "/d1/database", nil, false},
		{"d1", "POST", a + "/d1/database/" + d1ID + "/query", map[string]any{"sql": "SELECT 1"}, false},
		{"d1", "POST", a + "/d1/database/" + d1ID + "/query", map[string]any{"sql": "CREATE TABLE IF NOT EXISTS t (id)"}, true},
		{"workers r2 storage", "GET", a + "/r2/buckets", nil, false},
		{"workers r2 storage", "DELETE", a + "/r2/buckets/helm-swicked-assets/objects/none", nil, true},
		{"workers kv storage", "GET", a + "/storage/kv/namespaces", nil, false},
		{"workers kv storage", "DELETE", a + "/storage/kv/namespaces/" + kvID + "/values/none", nil, true},
		{"workers scripts", "GET", a + "/workers/scripts", nil, false},
		{"workers scripts", "GET", a + "/workers/domains", nil, false},
		{"zone workers routes", "GET", z + "/workers/routes", nil, false},
		{"zone workers routes", "POST", z + "/workers/routes", map[string]any{"pattern": "none.kvick.bike/*"}, true},
		{"zone dns", "GET", z + "/dns_records", nil, false},
		{"zone dns", "POST", z + "/dns_records", record, true},
		{"zone", "GET", z, nil, false},
		{"resource tagging", "GET", a + "/tags/resources", nil, false},
		{"resource tagging", "PUT", a + "/tags", map[string]any{"resource_type": "d1_database", "resource_id": d1ID, "tags": map[string]string{"shop": "x"}}, true},
	}
	all := []string{"d1", "workers r2 storage", "workers kv storage", "workers scripts", "zone workers routes", "zone dns", "zone", "resource tagging"}
	for _, r := range requests {
		for _, level := range []string{"", "read", "edit"} {
			var have []string
			for _, name := range all {
				switch {
				case name != r.permission:
					have = append(have, name+"=edit")
				case level != "":
					have = append(have, name+"="+level)
				}
			}
			if err := c.w.AddToken(sim.Token{Value: "poor-token", Name: "poor", Permissions: have}); err != nil {
				t.Fatal(err)
			}
			as := []string{"Authorization", "Bearer poor-token"}
			code := 10000
			if r.path[:len("/zones")] == "/zones" {
				code = 9109
			}
			switch {
			case level == "edit" || level == "read" && !r.write:
				c.ok(r.method, r.path, r.body, as...)
			default:
				c.refused(403, code, r.method, r.path, r.body, as...)
			}
		}
	}
	// What may not be read among zones is left out of their list, and a token without any permission has none.
	for _, have := range [][]string{{"zone dns=edit"}, {}} {
		if err := c.w.AddToken(sim.Token{Value: "poor-token", Name: "poor", Permissions: have}); err != nil {
			t.Fatal(err)
		}
		if list := c.ok("GET", "/zones", nil, "Authorization", "Bearer poor-token"); len(list.Result.([]any)) != 0 {
			t.Errorf("zones %v", list.Result)
		}
		c.refused(403, 10000, "GET", a+"/d1/database", nil, "Authorization", "Bearer poor-token")
		c.ok("GET", "/accounts", nil, "Authorization", "Bearer poor-token")
	}
	for _, odd := range []string{"d1", "d1=write", "d2=edit", ""} {
		if err := c.w.AddToken(sim.Token{Value: "odd-token", Permissions: []string{odd}}); err == nil {
			t.Errorf("permission %q was accepted", odd)
		}
	}
}

// What a token may do is kept with the world.
func TestPermissionsAreKept(t *testing.T) {
	dir := t.TempDir()
	for i, have := range [][]string{{"d1=read"}, {}} {
		w, err := sim.New(sim.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if _, err := w.Account(accountID, "kvick-1"); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.AddToken(sim.Token{Value: "kept-token", Permissions: have}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if w, err = sim.New(sim.Options{Dir: dir}); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]int{"/d1/database": map[int]int{0: 200, 1: 403}[i], "/r2/buckets": 403} {
			if got := status(w, "/client/v4/accounts/"+accountID+path, "kept-token"); got != want {
				t.Errorf("%v: GET %s answered %d, want %d", have, path, got, want)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func status(w *sim.World, path, token string) int {
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	out := httptest.NewRecorder()
	w.API().ServeHTTP(out, r)
	return out.Code
}
