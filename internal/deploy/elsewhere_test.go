package deploy

import (
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// A branch that names another account than its shop is live in is not deployed there: the shop would begin again, empty.
func TestElsewhere(t *testing.T) {
	here, there := fleet.Account{Name: "kvick-1", ID: strings.Repeat("1", 32)}, fleet.Account{Name: "kvick-2", ID: strings.Repeat("2", 32)}
	policy := &fleet.Policy{Accounts: []fleet.Account{here, there}}
	project, err := wrangler.Parse("", "wrangler.jsonc", []byte(`{"name": "helm", "main": "a.ts", "compatibility_date": "2026-06-01", "env": {"swicked": {"account_id": "x"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	config, err := project.Resolve("swicked")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		journal []Release
		live    string
		moved   bool
		found   bool
	}{
		{"a new shop", nil, "", false, false},
		{"live in another account", []Release{{Account: there.ID}}, "", false, true},
		{"live in another account, as a release before it says", []Release{{}, {Account: there.ID}}, "", false, true},
		{"it is being moved", []Release{{Account: there.ID}}, "", true, false},
		{"it is live here", []Release{{Account: there.ID}}, "v1", false, false},
		{"the newest was here", []Release{{Account: here.ID}, {Account: there.ID}}, "", false, false},
		{"nobody says", []Release{{}}, "", false, false},
		{"an account that is no longer the fleet's", []Release{{Account: strings.Repeat("3", 32)}}, "", false, true},
	} {
		want := &Desired{Shop: fleet.Shop{Slug: "swicked", Account: here}, Config: config, Moved: test.moved, policy: policy}
		list := elsewhere(want, &State{Journal: test.journal, Live: Live{Version: test.live}})
		switch {
		case len(list) == 0 && test.found:
			t.Errorf("%s: nothing is found", test.name)
		case len(list) == 0:
		case !test.found || list[0].Line != 1 || list[0].Rule != "account-changed" || list[0].Level != LevelError || !strings.Contains(list[0].Hint, "shopfleet move swicked --to kvick-1"):
			t.Errorf("%s: found %+v", test.name, list)
		}
	}
}
