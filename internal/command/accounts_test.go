package command

import (
	"testing"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/provision"
)

func TestOverlayCrons(t *testing.T) {
	for config, want := range map[string]struct {
		n  int
		ok bool
	}{
		`{"env": {"a": {"triggers": {"crons": ["* * * * *", "0 1 * * *"]}}}, "triggers": {"crons": ["0 2 * * *"]}}`: {2, true},
		`{"env": {"a": {}}, "triggers": {"crons": ["0 2 * * *"]}}`:                                                  {1, true},
		`{"env": {"a": {"triggers": {"crons": []}}}, "triggers": {"crons": ["0 2 * * *"]}}`:                         {0, true},
		`{"env": {"b": {"triggers": {"crons": ["0 2 * * *"]}}}}`:                                                    {0, true},
		`{`: {0, false},
	} {
		if n, ok := overlayCrons([]byte(config), "a"); n != want.n || ok != want.ok {
			t.Errorf("%s: %d %v, want %+v", config, n, ok, want)
		}
	}
}

// What was read of a Worker counts more than its branch, and a shop counts on its own account only.
func TestAddCrons(t *testing.T) {
	one, two := fleet.Account{Name: "one"}, fleet.Account{Name: "two"}
	accounts := []*provision.Account{{Account: one, Crons: map[string]int{"w-read": 7}}, {Account: two}}
	shops := []fleet.Shop{{Slug: "read", Worker: "w-read", Account: one}, {Slug: "told", Worker: "w-told", Account: one}, {Slug: "untold", Worker: "w-untold", Account: one}, {Slug: "other", Worker: "w-other", Account: two}}
	addCrons(accounts, shops, map[string]int{"read": 3, "told": 2, "other": 5})
	if c := accounts[0].Crons; len(c) != 2 || c["w-read"] != 7 || c["w-told"] != 2 {
		t.Errorf("one: %v", c)
	}
	if c := accounts[1].Crons; len(c) != 1 || c["w-other"] != 5 {
		t.Errorf("two: %v", c)
	}
}
