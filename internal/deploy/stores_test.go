package deploy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
)

// Only stores that config, account, tags and records agree on are handed to who reads or fills all of them.
func TestAdmitStores(t *testing.T) {
	const otherKV = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
	fresh := func(t *testing.T) (*stage, deploy.Source) {
		s := newStage(t)
		shop, err := s.policy.Shop("swicked")
		s.must(err)
		return s, deploy.Source{Policy: s.policy, Shop: shop, Dir: s.dir, ConfigName: "wrangler.jsonc", Config: s.config}
	}
	s, src := fresh(t)
	stores, err := deploy.StoresOf(src)
	s.must(err)
	if err := s.engine().AdmitStores(t.Context(), src.Shop, s.policy.Identity, &stores); err != nil {
		t.Fatal(err)
	}
	if stores.Database.DatabaseID != swickedDB || stores.Namespace != swickedKV || stores.Bucket != "helm-swicked-assets" {
		t.Errorf("the shop's stores are %+v", stores)
	}
	for _, tc := range []struct {
		name, rule, says string
		harm             func(s *stage, src *deploy.Source)
	}{
		{"a record in KV", "owner-mismatch", "KV namespace", func(s *stage, _ *deploy.Source) {
			s.must(s.cf().PutKVValue(t.Context(), swickedKV, "shop_identity", "bolt"))
		}},
		{"a record in R2", "owner-mismatch", "R2 bucket", func(s *stage, _ *deploy.Source) {
			s.must(s.cf().PutR2Object(t.Context(), "helm-swicked-assets", "", "shop_identity", []byte("bolt")))
		}},
		{"a record in D1", "owner-mismatch", "D1 database", func(s *stage, _ *deploy.Source) {
			_, err := s.cf().D1Exec(t.Context(), swickedDB, `CREATE TABLE "`+s.policy.Identity.Table+`" (key TEXT PRIMARY KEY, value TEXT); INSERT INTO "`+s.policy.Identity.Table+`" VALUES ('shop_identity', 'bolt')`)
			s.must(err)
		}},
		{"a tag", "owner-mismatch", "D1 database", func(s *stage, _ *deploy.Source) {
			s.must(s.cf().PutTags(t.Context(), cloudflare.ResourceTags{Type: "d1_database", ID: swickedDB, Tags: map[string]string{"shop": "bolt"}}))
		}},
		{"a namespace of another title", "restore-not-owned", "none of the KV namespaces", func(s *stage, src *deploy.Source) {
			src.Config = []byte(strings.ReplaceAll(string(src.Config), swickedKV, otherKV))
		}},
		{"another shop's namespace", "restore-not-owned", "none of the KV namespaces", func(s *stage, src *deploy.Source) {
			made, err := s.cf().CreateKVNamespace(t.Context(), "helm-bolt-kv")
			s.must(err)
			src.Config = []byte(strings.ReplaceAll(string(src.Config), swickedKV, made.ID))
		}},
		{"no bucket", "r2-unknown", "helm-swicked-assets", func(s *stage, _ *deploy.Source) {
			s.must(s.cf().DeleteR2Bucket(t.Context(), "helm-swicked-assets", ""))
		}},
		{"no database", "d1-unknown", swickedDB, func(s *stage, _ *deploy.Source) {
			s.must(s.cf().DeleteD1(t.Context(), swickedDB))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, src := fresh(t)
			tc.harm(s, &src)
			stores, err := deploy.StoresOf(src)
			if err == nil {
				err = s.engine().AdmitStores(t.Context(), src.Shop, s.policy.Identity, &stores)
			}
			var findings deploy.Findings
			if !errors.As(err, &findings) || findings[0].Rule != tc.rule || !strings.Contains(findings[0].Message, tc.says) {
				t.Errorf("%v; want %s about %s", err, tc.rule, tc.says)
			}
		})
	}
}
