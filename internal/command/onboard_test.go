package command

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/provision"
	"github.com/kvick/shopfleet/internal/wrangler"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

// compareGolden holds a text against a file in testdata.
func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s is not what it was; run with -update and look at the difference:\n%s", file, got)
	}
}

// helmOverlay is the config of one of the product's shops.
func helmOverlay(t *testing.T, slug string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../testdata/helm.overlays", slug, "wrangler.jsonc"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func helmFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../testdata/helm", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// newShop is an overlay of the product as onboarding would fill it in.
func newShop(t *testing.T, slug, name string) overlay {
	t.Helper()
	policy, err := fleet.Parse("fleet.yml", helmFile(t, "fleet.yml"))
	if err != nil {
		t.Fatal(err)
	}
	shop, err := policy.Shop(slug)
	if err != nil {
		t.Fatal(err)
	}
	return overlay{
		Shop: shop, Name: name, Policy: policy.Onboard,
		Like:      alike(map[string][]byte{"swicked": helmOverlay(t, "swicked"), "mike-s-bikes": helmOverlay(t, "mike-s-bikes")}),
		Resources: provision.Resources{DatabaseID: "0b1f6e1c-58a4-4c8e-9a53-7c6d9a1e2f30", NamespaceID: strings.Repeat("0f", 16), Bucket: shop.R2},
		Crons:     json.RawMessage(`["0 13 * * *","0 14 * * mon"]`),
	}
}

// What a new shop begins with is what the others have in common, and nothing that is one shop's own.
func TestAlike(t *testing.T) {
	l := newShop(t, "mikes", "Mike's").Like
	if l.D1 != "DB" || l.R2 != "ASSETS_BUCKET" || l.KV != "KV" || l.MigrationsDir != "migrations" {
		t.Errorf("bindings %q %q %q, folder %q", l.D1, l.R2, l.KV, l.MigrationsDir)
	}
	for name, want := range map[string]string{"OAUTH_ISSUER": "https://id.kvick.bike", "OAUTH_CLIENT_ID": "helm-{slug}", "SHOP_SLUG": "{slug}"} {
		if l.Vars[name] != want {
			t.Errorf("%s is %q, want %q", name, l.Vars[name], want)
		}
	}
	if _, taken := l.Vars["SHOP_NAME"]; taken || !slices.Contains(l.Own, "SHOP_NAME") {
		t.Errorf("SHOP_NAME is another shop's: %+v", l)
	}

	// Of one shop alone nobody knows what is its own: only what is made of its slug is taken over.
	one := alike(map[string][]byte{"swicked": helmOverlay(t, "swicked")})
	if len(one.Vars) != 2 || one.Vars["OAUTH_CLIENT_ID"] != "helm-{slug}" || one.Vars["SHOP_SLUG"] != "{slug}" {
		t.Errorf("of one shop: %v", one.Vars)
	}
	if none := alike(map[string][]byte{"broken": []byte("{"), "empty": []byte(`{"env": {"empty": {}}}`)}); none.D1 != "" || none.Vars != nil {
		t.Errorf("of no shop: %+v", none)
	}
}

func TestSlugAside(t *testing.T) {
	for in, want := range map[string]string{
		"mike": "{slug}", "helm-mike": "helm-{slug}", "mike.mike": "{slug}.{slug}", "mike mike mike": "{slug} {slug} {slug}",
		"mikes": "mikes", "remike": "remike", "{mike}": "{mike}", "": "",
	} {
		if got := slugAside(in, "mike"); got != want {
			t.Errorf("slugAside(%q) = %q, want %q", in, got, want)
		}
	}
}

// The overlay is main's config with the shop in it: it resolves, binds what was made and leaves main's keys alone.
func TestOverlay(t *testing.T) {
	o := newShop(t, "mikes", `Mike's "Bikes" // 🚲`)
	text, err := o.text(helmFile(t, configFile))
	if err != nil {
		t.Fatal(err)
	}
	compareGolden(t, "onboard_overlay.jsonc", text)
	p, err := wrangler.Parse("../../testdata/helm", configFile, text)
	if err != nil {
		t.Fatal(err)
	}
	config, err := p.Resolve("mikes")
	if err != nil {
		t.Fatal(err)
	}
	if config.Name != "helm-mikes" || config.AccountID != o.Shop.Account.ID || len(config.D1) != 1 || config.D1[0].DatabaseID != o.Resources.DatabaseID {
		t.Errorf("resolved to %s on %s with %+v", config.Name, config.AccountID, config.D1)
	}
	if got := slices.Clone(config.Crons); !slices.Equal(got, []string{"0 13 * * *", "0 14 * * mon"}) {
		t.Errorf("crons %q", got)
	}
	var vars map[string]string
	if err := json.Unmarshal(p.Value("env", "mikes", "vars"), &vars); err != nil {
		t.Fatal(err)
	}
	if vars["SHOP_NAME"] != `Mike's "Bikes" // 🚲` || vars["SHOP_SLUG"] != "mikes" || vars["OAUTH_CLIENT_ID"] != "helm-mikes" {
		t.Errorf("vars %v", vars)
	}

	// A second shop on a main that has one already is an error, not a merge.
	if _, err := o.text(text); err == nil {
		t.Error("main has the shop's environment, and nobody minds")
	}
	o.Policy.Hostname = fleet.HostnameCustomDomain
	text, err = o.text(helmFile(t, configFile))
	if err != nil || !strings.Contains(string(text), `{ "pattern": "helm-mikes.kvick.bike", "custom_domain": true }`) {
		t.Errorf("by custom domain: %v\n%s", err, text)
	}
}

// Whatever a shop is called, its name stays inside of its var.
func TestOverlayHostile(t *testing.T) {
	for _, name := range []string{"*/ }, \"x\": 1", `\`, `"`, "a // b", "a\\u0022", "{slug}", "{{name}}", "</script>", "–", strings.Repeat("x", maxDisplayName)} {
		name, err := displayName(name, "mikes")
		if err != nil {
			t.Fatal(err)
		}
		text, err := newShop(t, "mikes", name).text(helmFile(t, configFile))
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		p, err := wrangler.Parse("", configFile, text)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		var got string
		if err := json.Unmarshal(p.Value("env", "mikes", "vars", "SHOP_NAME"), &got); err != nil || got != name {
			t.Errorf("%q came out as %q (%v)", name, got, err)
		}
	}
	for _, name := range []string{"\x00", "a\u202eb", strings.Repeat("x", maxDisplayName+1), "\xff"} {
		if got, err := displayName(name, "mikes"); err == nil {
			t.Errorf("%q is taken as %q", name, got)
		}
	}
}

func TestParseBatch(t *testing.T) {
	list, err := parseBatch([]byte("{\"shop\": \"a\", \"secrets\": {\"K\": \"v\"}}\n\n  {\"shop\":\"b\",\"name\":\"B\"}\n"))
	if err != nil || len(list) != 2 || list[0].Secrets["K"] != "v" || list[1].Name != "B" {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, bad := range []string{"", "[]", "{}", `{"shop": "A"}`, `{"shop": "a"} x`, `{"shop": "a", "secret": {"K": "hunter2"}}`, "{\"shop\":\"a\"}\n{\"shop\":\"a\"}", `{"shop": "a", "secrets": {"K": ["hunter2"]}}`} {
		_, err := parseBatch([]byte(bad))
		var usage *usageError
		if err == nil || !errors.As(err, &usage) && findings(err) == nil {
			t.Errorf("%q: %v", bad, err)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q is quoted: %v", bad, err)
		}
	}
}
