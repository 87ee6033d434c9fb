package deploy

import (
	"slices"
	"testing"
)

// One shop looks for its own words in 500 branches; for all shops each branch is understood once.
func BenchmarkRivals(b *testing.B) {
	w := newWall(b, wallShops)
	branches := make([]Branch, len(w.shops))
	for i, s := range w.shops {
		branches[i] = Branch{Shop: s.Shop, Config: s.config.Project().Value()}
	}
	mine := claimsToCompare(w.policy, w.shops[7].config, w.shops[7].Shop)
	mine = slices.DeleteFunc(mine, func(c Claim) bool { return c.Value == "ns-shared" }) // it stands in every branch
	for name, all := range map[string]bool{"one shop": false, "all": true} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r := NewRivals(w.policy, "wrangler.jsonc", branches)
				if all {
					r.asked.Store(few)
				}
				if by := r.against(mine); !slices.Equal(by[mine[0]], []int{7}) {
					b.Fatalf("%v claim %v", by[mine[0]], mine[0])
				}
			}
		})
	}
}
