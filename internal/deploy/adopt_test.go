package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/sim"
)

// adopt does what `shopfleet adopt` does.
func (s *stage) adopt() (*deploy.AdoptPlan, int, error) {
	s.t.Helper()
	shop, err := s.policy.Shop("swicked")
	s.must(err)
	e := s.engine()
	p, err := e.PlanAdoption(context.Background(), deploy.Source{Policy: s.policy, Shop: shop, Dir: s.dir, ConfigName: "wrangler.jsonc", Config: s.config, Base: deploy.Base{Config: s.base}})
	if err != nil {
		return p, 0, err
	}
	n, err := e.ApplyAdoption(context.Background(), p, nil)
	return p, n, err
}

// says is everything that tells whose the shop's things are.
func (s *stage) says() string {
	s.t.Helper()
	ctx, cf := context.Background(), s.cf()
	var b strings.Builder
	for _, r := range [][2]string{{"worker", "helm-swicked"}, {"d1_database", swickedDB}, {"kv_namespace", swickedKV}, {"r2_bucket", "helm-swicked-assets"}} {
		t, err := cf.Tags(ctx, r[0], r[1])
		s.must(err)
		fmt.Fprintf(&b, "%s %v\n", r[0], t.Tags)
	}
	kv, err := cf.KVValue(ctx, swickedKV, "shop_identity")
	fmt.Fprintf(&b, "kv %q %t\n", kv, errors.Is(err, cloudflare.ErrNotFound))
	r2, err := cf.R2Object(ctx, "helm-swicked-assets", "", "shop_identity")
	fmt.Fprintf(&b, "r2 %q %t\n", r2, errors.Is(err, cloudflare.ErrNotFound))
	rows, err := cf.D1Read(ctx, swickedDB, fmt.Sprintf("SELECT key, value FROM %q WHERE key = 'shop_identity'", s.policy.Identity.Table))
	fmt.Fprintf(&b, "d1 %s %t\n", rows.Rows, err != nil)
	return b.String()
}

func TestAdopt(t *testing.T) {
	for _, table := range []string{"settings", fleet.IdentityTable} {
		s := newStage(t)
		s.policy.Identity.Table = table
		s.mustDeploy()
		s.must(s.cf().PutTags(t.Context(), cloudflare.ResourceTags{Type: "r2_bucket", ID: "helm-swicked-assets", Tags: map[string]string{"team": "bikes"}}))
		p, n, err := s.adopt()
		if err != nil || len(p.Writes) != 7 || n != 7 || len(p.Notes) != 0 {
			t.Fatalf("%s: %d of %v, notes %q, %v", table, n, p.Writes, p.Notes, err)
		}
		want := "worker map[shop:swicked]\nd1_database map[shop:swicked]\nkv_namespace map[shop:swicked]\nr2_bucket map[shop:swicked team:bikes]\n" +
			"kv \"swicked\" false\nr2 \"swicked\" false\nd1 [{\"key\":\"shop_identity\",\"value\":\"swicked\"}] false\n"
		if got := s.says(); got != want {
			t.Errorf("%s: after it\n%s\nwant\n%s", table, got, want)
		}
		s.ForgetRequests()
		if p, n, err := s.adopt(); err != nil || n != 0 || len(p.Writes) != 0 || len(writes(s.Requests())) != 0 {
			t.Errorf("%s: a second run: %d of %v, %v", table, n, p.Writes, err)
		}
		if f := s.findings(); len(f) != 0 {
			t.Errorf("%s: findings after it: %v", table, f)
		}
	}
}

// Before the first deploy there is no Worker, and the product's table is not there.
func TestAdoptBeforeTheFirstDeploy(t *testing.T) {
	s := newStage(t)
	p, n, err := s.adopt()
	if err != nil || n != 5 || len(p.Notes) != 2 {
		t.Fatalf("%d of %v, notes %q, %v", n, p.Writes, p.Notes, err)
	}
	s.mustDeploy()
	if p, n, err = s.adopt(); err != nil || n != 2 || len(p.Notes) != 0 {
		t.Errorf("after it: %d of %v, notes %q, %v", n, p.Writes, p.Notes, err)
	}
}

// What is not admitted, or says that it is another shop's, gets nothing.
func TestAdoptRefuses(t *testing.T) {
	for name, arrange := range map[string]func(*stage){
		"a tag":                   func(s *stage) { s.tag("kv_namespace", swickedKV, "mike-s-bikes") },
		"a record":                func(s *stage) { s.records("mike-s-bikes", "", "") },
		"another shop's bucket":   func(s *stage) { s.replaceConfig("helm-swicked-assets", "helm-mike-s-bikes-assets") },
		"another shop's Worker":   func(s *stage) { s.replaceConfig(`"name": "helm-swicked"`, `"name": "helm-mike-s-bikes"`) },
		"a namespace of no title": func(s *stage) { s.replaceConfig(swickedKV, "00000000000000000000000000000000") },
	} {
		s := newStage(t)
		s.mustDeploy()
		arrange(s)
		s.ForgetRequests()
		_, n, err := s.adopt()
		var findings deploy.Findings
		if !errors.As(err, &findings) || n != 0 || len(writes(s.Requests())) != 0 {
			t.Errorf("%s: %v; written %q", name, err, writes(s.Requests()))
		}
	}
}

// Between plan and write somebody else may have been there.
func TestAdoptLooksBeforeItWrites(t *testing.T) {
	s := newStage(t)
	s.mustDeploy()
	shop, err := s.policy.Shop("swicked")
	s.must(err)
	e := s.engine()
	p, err := e.PlanAdoption(t.Context(), deploy.Source{Policy: s.policy, Shop: shop, Dir: s.dir, ConfigName: "wrangler.jsonc", Config: s.config, Base: deploy.Base{Config: s.base}})
	s.must(err)
	s.tag("kv_namespace", swickedKV, "mike-s-bikes")
	s.records("mike-s-bikes", "", "")
	_, err = e.ApplyAdoption(t.Context(), p, nil)
	requireRule(t, err, "owner-mismatch")
	got := s.says()
	if !strings.Contains(got, "kv_namespace map[shop:mike-s-bikes team:bikes]") || !strings.Contains(got, `"value":"mike-s-bikes"`) {
		t.Errorf("overwritten:\n%s", got)
	}
}

// Whatever call a process dies at, the same command run again leaves the same, and other tags stay.
func TestAdoptKilledAtEveryCall(t *testing.T) {
	arrange := func() *stage {
		s := newStage(t)
		s.mustDeploy()
		s.ForgetRequests()
		return s
	}
	reference := arrange()
	_, _, err := reference.adopt()
	reference.must(err)
	calls, want := len(reference.Requests()), reference.says()
	for _, drop := range []sim.Drop{sim.DropBefore, sim.DropAfter} {
		for at := range calls {
			s := arrange()
			_, err := s.Fault(sim.Rule{Skip: at, Count: 1, Drop: drop})
			s.must(err)
			_, err = s.Fault(sim.Rule{Skip: at, Count: -1, Drop: sim.DropBefore})
			s.must(err)
			_, _, err = s.adopt()
			s.ClearFaults()
			if _, _, again := s.adopt(); again != nil || s.says() != want {
				t.Fatalf("cut %s call %d (%v): the rerun left (%v)\n%s\nwant\n%s", drop, at, err, again, s.says(), want)
			}
		}
	}
}

// An answer that is lost is looked up; a tag that changes meanwhile is kept.
func TestAdoptWithLostAnswers(t *testing.T) {
	for _, path := range []string{`/tags$`, `/values/`, `/objects/`, `/query$`} {
		s := newStage(t)
		s.mustDeploy()
		_, err := s.Fault(sim.Rule{Method: "P(UT|OST)", Path: path, After: true, Drop: sim.DropAfter, Skip: map[bool]int{true: 2}[path == `/query$`]})
		s.must(err)
		if _, n, err := s.adopt(); err != nil || n != 7 {
			t.Errorf("%s: %d writes, %v", path, n, err)
		}
	}
}
