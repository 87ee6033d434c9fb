package deploy

import (
	"testing"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

func TestGateWords(t *testing.T) {
	for want, g := range map[string]GateResult{
		"passed its gate after 1 try":                            {Passed: true, Tries: 1, Identity: map[string]string{"d1": ""}},
		"passed its gate after 3 tries; KV says swicked":         {Passed: true, Tries: 3, Identity: map[string]string{"kv": "swicked", "d1": ""}},
		"passed its gate after 2 tries; strangers are sent away": {Passed: true, Tries: 2, Bounced: []string{"/admin"}},
		"passed its gate after 1 try; D1, KV and R2 say swicked; strangers are sent away": {
			Passed: true, Tries: 1, Identity: map[string]string{"r2": "swicked", "d1": "swicked", "kv": "swicked"}, Bounced: []string{"/admin", "/"},
		},
	} {
		if got := g.words(); got != want || len(got) > 140 {
			t.Errorf("got %q; want %q", got, want)
		}
	}
}

func TestVouchers(t *testing.T) {
	want := &Desired{Shop: fleet.Shop{Slug: "swicked"}, Config: &wrangler.Config{}}
	have := &State{Owners: map[string]string{"kv_namespace/k": "swicked", "d1_database/d": "other"}, Records: map[string]string{"d1_database/d": "swicked"}}
	for r, n := range map[Reach]int{{Type: "kv_namespace", Resource: "k"}: 1, {Type: "d1", Resource: "d"}: 1, {Type: "queue", Resource: "k"}: 0} {
		if got := want.vouchers(have, r); len(got) != n {
			t.Errorf("%v: %v", r, got)
		}
	}
	// The live release proved the stores that were the shop's: one is, one is shared.
	want.Shop.KV = "own-kv"
	want.Config.Bindings = []wrangler.Binding{wrangler.NewBinding("A", "kv_namespace", "namespace_id", "a"), wrangler.NewBinding("B", "kv_namespace", "namespace_id", "b")}
	proved := &State{Live: Live{Stores: want.storesID()}, Namespaces: map[string]string{"a": "own-kv", "b": "shared-kv"}}
	for id, n := range map[string]int{"a": 1, "b": 0} {
		if got := want.vouchers(proved, Reach{Type: "kv_namespace", Resource: id}); len(got) != n {
			t.Errorf("namespace %s: %v", id, got)
		}
	}
	want.Config.Bindings = nil
	bare := &State{Live: Live{Stores: storesBare}}
	if got := want.vouchers(bare, Reach{Type: "d1", Resource: "d"}); got != nil {
		t.Errorf("where neither was read, nor proved before: %v", got)
	}
}
