package fleet

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestNoTwoShopsMeet makes random naming rules and exceptions, and holds those that Parse accepts to what the isolation of
// shops stands on: no two slugs, listed or not, have one name of one kind.
func TestNoTwoShopsMeet(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	rule := func() string {
		return pick("", "", "a-", "h-", "h-a-", "b") + "{slug}" + pick("", "", "-a", "-b", "-a-b", "b")
	}
	slugs := []string{"a", "b", "ab", "a-b", "b-a", "a-a", "a-a-b", "b-b", "h-a", "h", "a-b-b", "bb", "ba"}
	types := []string{"queue", "service", "d1", "r2_bucket", "kv_namespace", "durable_object_namespace", "workflow"}
	accepted, refused := 0, 0
	for range 6000 {
		var y strings.Builder
		fmt.Fprintf(&y, "product: p\nnaming:\n  branch: \"shops/%s\"\n  worker: \"%s\"\n  d1: \"%s\"\n  r2: \"xyz%s\"\n  kv: \"%s\"\n  hostname: \"%s.example.com\"\n", rule(), rule(), rule(), rule(), rule(), rule())
		if random.IntN(2) == 0 {
			fmt.Fprintf(&y, "  others:\n    %s: [\"%s\", \"%s\"]\n", pick(types...), rule(), rule())
		}
		y.WriteString("accounts:\n  one:\n    id: 7f3a0c5e9b1d4826a0e4c2d8f6b19357\n    zone: example.com\nbuild_info:\n  path: public/build_info.json\n")
		if random.IntN(2) == 0 {
			name := func() string { return strings.ReplaceAll(rule(), "{slug}", pick(slugs...)) }
			fmt.Fprintf(&y, "shops:\n  %s:\n    worker: \"%s\"\n    d1:\n      name: \"%s\"\n    others:\n      %s: [\"%s\"]\n", pick(slugs...), name(), name(), pick(types...), name())
		}
		if random.IntN(3) == 0 {
			fmt.Fprintf(&y, "shared:\n  %s:\n    type: %s\n    reason: it holds nothing of shops\n", strings.ReplaceAll(rule(), "{slug}", pick(slugs...)), pick(types...))
		}
		p, err := Parse("fleet.yml", []byte(y.String()))
		if err != nil {
			refused++
			continue
		}
		accepted++
		owner := map[[2]string]string{}
		claim := func(slug, kind, name string) {
			if other, ok := owner[[2]string{kind, name}]; ok && other != slug {
				t.Fatalf("shops %s and %s both have the %s %q:\n%s", other, slug, kind, name, y.String())
			}
			owner[[2]string{kind, name}] = slug
		}
		for _, slug := range slugs {
			s, err := p.Shop(slug)
			if err != nil {
				continue // it can have nothing
			}
			for _, shared := range p.Shared {
				for _, typ := range sameThings(shared.Type) {
					if s.Owns(typ, shared.Name) {
						t.Fatalf("shop %s owns what is shared, the %s %q:\n%s", slug, typ, shared.Name, y.String())
					}
				}
			}
			for kind, name := range map[string]string{"branch": s.Branch, "service": s.Worker, "d1": s.D1, "r2_bucket": s.R2, "kv_namespace": s.KV, "hostname": s.Hostname} {
				claim(slug, kind, name)
			}
			for typ, names := range s.Others {
				if typ == "durable_object_namespace" || typ == "tail_consumer" {
					typ = "service" // a Worker, by another way
				}
				for _, name := range names {
					claim(slug, typ, name)
				}
			}
		}
	}
	t.Logf("%d policies were accepted, %d refused", accepted, refused)
	if accepted < 500 {
		t.Errorf("only %d policies were accepted", accepted)
	}
}
