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
	bare := &State{Live: Live{Stores: storesBare}}
	if got := want.vouchers(bare, Reach{Type: "d1", Resource: "d"}); got != nil {
		t.Errorf("where neither was read, nor proved before: %v", got)
	}
}
