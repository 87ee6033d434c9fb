package command

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// A shop's overlay moves with its names and ids, keeps every other byte, and comes back to be the very same.
func TestMoveOverlay(t *testing.T) {
	helm, err := os.ReadFile("../../testdata/helm.overlays/swicked/wrangler.jsonc")
	if err != nil {
		t.Fatal(err)
	}
	old := residence{
		Shop: fleet.Shop{Slug: "swicked", D1: "kvick-helm-swicked", KV: "helm-swicked-kv", Hostname: "helm-swicked.kvick.bike",
			Account: fleet.Account{Name: "kvick-1", ID: "7f3a0c5e9b1d4826a0e4c2d8f6b19357", Zone: "kvick.bike"}},
		DatabaseID: "134ea8a4-8582-4fdc-84ec-f0eb8f4e4b60", NamespaceID: "a1f0c3d2e4b5968778695a4b3c2d1e0f", ZoneID: strings.Repeat("a", 32),
	}
	new := old
	new.Account = fleet.Account{Name: "kvick-2", ID: strings.Repeat("2", 32), Zone: "kvick-2.bike"}
	new.Hostname, new.DatabaseID, new.NamespaceID, new.ZoneID = "helm-swicked.kvick-2.bike", "0000aaaa-8582-4fdc-84ec-f0eb8f4e4b60", strings.Repeat("b", 32), strings.Repeat("c", 32)
	for name, routes := range map[string]string{
		"a custom domain":       `"routes": [{ "pattern": "helm-swicked.kvick.bike", "custom_domain": true }]`,
		"a route":               `"routes": [{ "pattern": "helm-swicked.kvick.bike/*", "zone_name": "kvick.bike" }]`,
		"a route by id":         `"routes": [{ "pattern": "helm-swicked.kvick.bike/*", "zone_id": "` + old.ZoneID + `" }]`,
		"a route as a text":     `"routes": ["helm-swicked.kvick.bike/*"]`,
		"a single route":        `"route": "helm-swicked.kvick.bike/*"`,
		"a single route, whole": `"route": { "pattern": "helm-swicked.kvick.bike/*", "zone_name": "kvick.bike" }`,
	} {
		config := strings.Replace(string(helm), `"routes": [{ "pattern": "helm-swicked.kvick.bike", "custom_domain": true }]`, routes, 1)
		config = strings.Replace(config, `"SHOP_SLUG": "swicked",`, `"SHOP_SLUG": "swicked", "HOME": "https://helm-swicked.kvick.bike/",`, 1)
		got, notes, err := moveOverlay([]byte(config), old, new)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := config
		for _, r := range [][2]string{{old.Account.ID, new.Account.ID}, {"(kvick-1 in fleet.yml)", "(kvick-2 in fleet.yml)"}, {old.DatabaseID, new.DatabaseID}, {old.NamespaceID, new.NamespaceID},
			{`"helm-swicked.kvick.bike`, `"helm-swicked.kvick-2.bike`}, {`"zone_name": "kvick.bike"`, `"zone_name": "kvick-2.bike"`}, {old.ZoneID, new.ZoneID}} {
			want = strings.ReplaceAll(want, r[0], r[1])
		}
		if want = strings.Replace(want, "(kvick-1 in fleet.yml)", "(kvick-2 in fleet.yml)", 1); string(got) != want {
			t.Errorf("%s: the overlay became\n%s", name, got)
		}
		if len(notes) != 1 || !strings.Contains(notes[0], "vars.HOME") {
			t.Errorf("%s: noted %q, want the var that holds the old hostname", name, notes)
		}
		if back, _, err := moveOverlay(got, new, old); err != nil || string(back) != config {
			t.Errorf("%s: back again it is not what it was: %v", name, err)
		}
	}
	for name, test := range map[string]struct {
		change func(string) string
		rule   string
	}{
		"no account":        {func(s string) string { return strings.Replace(s, `"account_id"`, `"not_the_account_id"`, 1) }, "overlay-account-missing"},
		"another account":   {func(s string) string { return strings.ReplaceAll(s, old.Account.ID, strings.Repeat("f", 32)) }, "overlay-account-missing"},
		"another database":  {func(s string) string { return strings.ReplaceAll(s, old.DatabaseID, "x") }, "overlay-other-stores"},
		"another namespace": {func(s string) string { return strings.ReplaceAll(s, old.NamespaceID, "x") }, "overlay-other-stores"},
		"a hostname that stays behind": {func(s string) string {
			return strings.Replace(s, `"custom_domain": true }`, `"custom_domain": true }, "pos.kvick.bike/*"`, 1)
		}, "move-hostname"},
	} {
		_, _, err := moveOverlay([]byte(test.change(string(helm))), old, new)
		var found deploy.Findings
		if !errors.As(err, &found) || found[0].Rule != test.rule || found[0].Line == 0 {
			t.Errorf("%s: %v, want a finding %s with its place", name, err, test.rule)
		}
	}
}

// Made-up values have the format that fleet.yml asks for, and no two are the same.
func TestDrillValue(t *testing.T) {
	seen := map[string]bool{}
	for _, format := range []string{"", "sk_(live|test)_[A-Za-z0-9]+", "AC[0-9a-f]{32}", "[A-Z]{3,8}-?[0-9]{4,}", ".{20}", `\d+\.\w+`, "(?i)whsec_[a-z]*x"} {
		for range 20 {
			value, err := drillValue(format) // which holds it against the format
			if err != nil {
				t.Errorf("%q: %v", format, err)
				break
			}
			if format == "" || format == "AC[0-9a-f]{32}" {
				if seen[value] {
					t.Errorf("%q gave one value twice", format)
				}
				seen[value] = true
			}
		}
	}
	if value, err := drillValue(`\bx^y`); err == nil {
		t.Errorf("a format that nothing matches gave %q", value)
	}
}
