package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/textproto"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/audit"
	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

var now = time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)

const policyText = `product: helm
naming:
  branch: "shops/{slug}"
  worker: "helm-{slug}"
  d1: "helm-{slug}-db"
  r2: "helm-{slug}-assets"
  kv: "helm-{slug}-kv"
  hostname: "helm-{slug}.{zone}"
accounts:
  one:
    id: "11111111111111111111111111111111"
    zone: one.example
    max_shops: 5
  two:
    id: "22222222222222222222222222222222"
    zone: two.example
shops:
  cargo:
    account: two
shared:
  mail-out:
    type: queue
    reason: letters wait here and no shop's data is in them
secrets:
  required: [SESSION_KEY]
migrations:
  deny_columns: [tenant_id]
build_info:
  path: public/build_info.json
`

// base is what main has in wrangler.jsonc, without its end.
const base = `{
  "name": "helm", "main": "src/index.ts", "compatibility_date": "2026-06-01", "workers_dev": false,
`

// config is the branch's wrangler.jsonc of a shop.
func config(shop fleet.Shop, n int) string {
	return base + fmt.Sprintf(`  "env": { %[1]q: {
    "name": %[2]q,
    "vars": { "SHOP": %[1]q },
    "d1_databases": [{ "binding": "DB", "database_name": %[3]q, "database_id": %[4]q }],
    "kv_namespaces": [{ "binding": "KV", "id": %[5]q }],
    "r2_buckets": [{ "binding": "FILES", "bucket_name": %[6]q }],
    "routes": [{ "pattern": %[7]q, "custom_domain": true }],
    "triggers": { "crons": ["0 13 * * *", "0 14 * * mon"] },
  } },
}`, shop.Slug, shop.Worker, shop.D1, dbID(n), kvID(n), shop.R2, shop.Hostname)
}

func dbID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }
func kvID(n int) string { return fmt.Sprintf("%032d", n) }

// town is a fleet of three honest shops on two accounts: adler and bolt on one, cargo on two.
type town struct {
	*simtest.World
	t      *testing.T
	ctx    context.Context
	policy *fleet.Policy
	shops  []audit.Shop
	cf     map[string]*cloudflare.Client // by account
	sims   map[string]*sim.Account
	deep   bool
	only   []string
	// told is what an account that cannot be read is expected to say.
	calls map[string]int
}

func newTown(t *testing.T) *town {
	t.Helper()
	w := &town{World: simtest.New(t, sim.Options{RateLimit: -1}), t: t, ctx: t.Context(), cf: map[string]*cloudflare.Client{}, sims: map[string]*sim.Account{}}
	var err error
	w.policy, err = fleet.Parse("fleet.yml", []byte(policyText))
	w.must(err)
	for _, a := range w.policy.Accounts {
		w.sims[a.Name] = w.Account(t, a.ID, a.Name)
		w.must(w.sims[a.Name].AddZone(a.Zone, ""))
		w.must(w.sims[a.Name].SetSubdomain(a.Name))
		w.cf[a.Name] = &cloudflare.Client{BaseURL: w.URL, AccountID: a.ID, Token: simtest.Token, Budget: &cloudflare.Budget{Limit: 1e6, PerSecond: 1e6}}
	}
	for i, slug := range []string{"adler", "bolt", "cargo"} {
		shop, err := w.policy.Shop(slug)
		w.must(err)
		w.shops = append(w.shops, audit.Shop{Shop: shop, Commit: fmt.Sprintf("%040d", i+1), Base: fmt.Sprintf("%040d", 9)})
		w.config(i, config(shop, i+1))
		w.must(w.sims[shop.Account.Name].AddD1(shop.D1, dbID(i+1), "wnam"))
		w.must(w.sims[shop.Account.Name].AddKV(shop.KV, kvID(i+1)))
		w.must(w.sims[shop.Account.Name].AddR2(shop.R2))
		cf := w.cf[shop.Account.Name]
		_, err = cf.D1Exec(w.ctx, dbID(i+1), "CREATE TABLE bikes (id INTEGER PRIMARY KEY); CREATE TABLE _shop_identity (key TEXT PRIMARY KEY, value TEXT); INSERT INTO _shop_identity VALUES ('shop_identity', '"+slug+"');")
		w.must(err)
		w.must(cf.PutKVValue(w.ctx, kvID(i+1), "shop_identity", slug))
		w.must(cf.PutR2Object(w.ctx, shop.R2, "", "shop_identity", []byte(slug)))
		w.deploy(i, nil)
		w.must(cf.PutDomains(w.ctx, shop.Worker, []cloudflare.Origin{{Hostname: shop.Hostname}}))
		w.must(cf.PutSchedules(w.ctx, shop.Worker, []string{"0 13 * * *", "0 14 * * mon"}))
		w.must(cf.SetSubdomain(w.ctx, shop.Worker, false, nil))
		for typ, id := range map[string]string{"d1_database": dbID(i + 1), "kv_namespace": kvID(i + 1), "r2_bucket": shop.R2, "worker": shop.Worker} {
			w.tag(shop.Account.Name, typ, id, slug)
		}
	}
	return w
}

func (w *town) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// config gives a shop's branch another wrangler.jsonc.
func (w *town) config(i int, text string) {
	w.t.Helper()
	want, err := deploy.Examine(deploy.Source{Policy: w.policy, Shop: w.shops[i].Shop, Dir: w.t.TempDir(), ConfigName: "wrangler.jsonc", Config: []byte(text),
		Base: deploy.Base{Config: []byte(base + "}")}})
	w.must(err)
	w.shops[i].Config, w.shops[i].RequiredSecrets, w.shops[i].Problems = want.Config, want.RequiredSecrets, want.Findings
}

func (w *town) tag(account, typ, id, slug string) {
	w.t.Helper()
	w.must(w.cf[account].PutTags(w.ctx, cloudflare.ResourceTags{Type: typ, ID: id, Tags: map[string]string{"shop": slug}}))
}

// bindings are what a shop's config binds, and its secret.
func (w *town) bindings(i int) []map[string]any {
	var out []map[string]any
	text, err := json.Marshal(w.shops[i].Config.Bindings)
	w.must(err)
	w.must(json.Unmarshal(text, &out))
	return append(out, map[string]any{"type": "secret_text", "name": "SESSION_KEY", "text": "s3cr3t"})
}

// deploy uploads a shop's Worker as shopfleet would, or with something else in it.
func (w *town) deploy(i int, change func(metadata map[string]any)) {
	w.t.Helper()
	m := map[string]any{
		"main_module": "index.js", "bindings": w.bindings(i), "compatibility_date": "2026-06-01", "compatibility_flags": []string{},
		"annotations": map[string]string{"workers/tag": "sf-" + strings.Repeat("a", 32)},
	}
	if change != nil {
		change(m)
	}
	w.upload(w.shops[i].Account.Name, w.shops[i].Worker, m)
}

// bind is a change that binds something else under a name.
func bind(name string, members map[string]any) func(map[string]any) {
	return func(m map[string]any) {
		list := slices.DeleteFunc(m["bindings"].([]map[string]any), func(b map[string]any) bool { return b["name"] == name })
		members["name"] = name
		m["bindings"] = append(list, members)
	}
}

// upload puts a Worker into an account.
func (w *town) upload(account, name string, metadata map[string]any) {
	w.t.Helper()
	contentType, body := w.form(metadata)
	_, err := w.cf[account].PutWorker(w.ctx, name, contentType, body)
	w.must(err)
}

func (w *town) form(metadata map[string]any) (contentType string, body []byte) {
	w.t.Helper()
	text, err := json.Marshal(metadata)
	w.must(err)
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	w.must(form.WriteField("metadata", string(text)))
	part, err := form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="index.js"; filename="index.js"`}, "Content-Type": {"application/javascript+module"},
	})
	w.must(err)
	_, err = part.Write([]byte("export default { fetch() { return new Response('shop') } }"))
	w.must(err)
	w.must(form.Close())
	return form.FormDataContentType(), b.Bytes()
}

// stranger uploads a Worker that belongs to no shop.
func (w *town) stranger(account, name string, bindings ...map[string]any) {
	w.t.Helper()
	if bindings == nil {
		bindings = []map[string]any{}
	}
	w.upload(account, name, map[string]any{"main_module": "index.js", "bindings": bindings, "compatibility_date": "2026-06-01", "compatibility_flags": []string{}})
}

func (w *town) zone(account, name string) string {
	w.t.Helper()
	zones, err := w.cf[account].Zones(w.ctx, name)
	w.must(err)
	return zones[0].ID
}

// audit reads and judges.
func (w *town) audit() *audit.Report {
	w.t.Helper()
	in := w.read()
	rep := audit.Audit(in)
	if again := audit.Audit(in); !reflect.DeepEqual(rep, again) {
		w.t.Error("two audits of one input differ")
	}
	return rep
}

// read is everything that an audit judges by.
func (w *town) read() audit.Input {
	w.t.Helper()
	in := audit.Input{Policy: w.policy, Shops: w.shops, Only: w.only, At: now, Main: fmt.Sprintf("%040d", 9), Tool: "test"}
	o := audit.Options{Policy: w.policy, Now: func() time.Time { return now }}
	if w.deep {
		o.Deep = w.shops
	}
	w.calls = map[string]int{}
	for _, a := range w.policy.Accounts {
		w.ForgetRequests()
		s := audit.Read(w.ctx, w.cf[a.Name].ReadOnly(), a, o)
		w.calls[a.Name] = len(w.Requests())
		if s.Error == "" && s.Calls != w.calls[a.Name] {
			w.t.Errorf("account %s says %d calls, there were %d", a.Name, s.Calls, w.calls[a.Name])
		}
		in.Snapshots = append(in.Snapshots, s)
	}
	return in
}

// TestWalls fills an account up to each limit, to 80 % of it, and to a little less.
func TestWalls(t *testing.T) {
	w := newTown(t)
	in := w.read()
	domain := cloudflare.Domain{Service: "elsewhere", ZoneName: "other.example"}
	walls := map[string]struct {
		limit int
		fill  func(s *audit.Snapshot, n int)
	}{
		"500 Workers": {500, func(s *audit.Snapshot, n int) {
			for i := len(s.Workers); i < n; i++ {
				s.Workers = append(s.Workers, audit.Worker{Worker: cloudflare.Worker{Name: fmt.Sprintf("z%04d", i)}})
			}
		}},
		"1000 KV namespaces": {1000, func(s *audit.Snapshot, n int) {
			for i := len(s.Namespaces); i < n; i++ {
				s.Namespaces = append(s.Namespaces, cloudflare.KVNamespace{ID: fmt.Sprint("id", i), Title: fmt.Sprint("z", i)})
			}
		}},
		"100 custom domains": {100, func(s *audit.Snapshot, n int) {
			for i := range n {
				domain.Hostname = fmt.Sprintf("h%d.other.example", i)
				s.Domains = append(s.Domains, domain)
			}
		}},
		"1000 routes": {1000, func(s *audit.Snapshot, n int) {
			for i := range n {
				s.Routes = append(s.Routes, audit.Route{Zone: "one.example", Pattern: fmt.Sprintf("h%d.one.example/*", i), Worker: "elsewhere"})
			}
		}},
	}
	for what, wall := range walls {
		for n, level := range map[int]string{wall.limit*8/10 - 1: "", wall.limit * 8 / 10: "warning", wall.limit: "warning", wall.limit + 1: "error"} {
			s := *in.Snapshots[0]
			s.Workers, s.Namespaces, s.Domains = slices.Clone(s.Workers), slices.Clone(s.Namespaces), slices.Clone(s.Domains)
			wall.fill(&s, n)
			other := in
			other.Snapshots = []*audit.Snapshot{&s, in.Snapshots[1]}
			got := ""
			for _, f := range audit.Audit(other).Findings {
				got += f.Level
				if f.Rule != "capacity" || !strings.Contains(f.Message, fmt.Sprintf("%d of %s", n, what)) {
					t.Errorf("%d of %s: %s", n, what, f)
				}
			}
			if got != level {
				t.Errorf("%d of %s gives %q, want %q", n, what, got, level)
			}
		}
	}
}

// TestZoneUnknown takes the fleet's zone away from an account.
func TestZoneUnknown(t *testing.T) {
	in := newTown(t).read()
	in.Snapshots[1].Zones = nil
	list := audit.Audit(in).Findings
	if len(list) != 1 || list[0].Rule != "zone-unknown" || list[0].Shop != "cargo" {
		t.Errorf("%v", list)
	}
}

func TestHonestFleet(t *testing.T) {
	w := newTown(t)
	for _, deep := range []bool{false, true} {
		w.deep = deep
		rep := w.audit()
		for _, f := range rep.Findings {
			t.Errorf("deep %t: %s", deep, f)
		}
		if len(rep.Graph.Workers) != 3 || len(rep.Graph.Stores) != 9 || len(rep.Graph.Edges) != 9 {
			t.Errorf("the graph has %d Workers, %d stores and %d edges", len(rep.Graph.Workers), len(rep.Graph.Stores), len(rep.Graph.Edges))
		}
		proofs := []string{"name", "tag"}
		if deep {
			proofs = append(proofs, "record")
		}
		for _, n := range rep.Graph.Stores {
			if !slices.Equal(n.Proofs, proofs) {
				t.Errorf("deep %t: %s is proved by %q, want %q", deep, n.Words(), n.Proofs, proofs)
			}
		}
		if said := slices.Contains(rep.NotRead, audit.DeepNotRead); said == deep {
			t.Errorf("deep %t: not read: %q", deep, rep.NotRead)
		}
		if !deep && (w.calls["one"] > 12+2 || w.calls["two"] > 12+1) {
			t.Errorf("calls: %v", w.calls)
		}
	}
}

// TestFindings plants one thing at a time, and wants to hear of exactly that.
func TestFindings(t *testing.T) {
	d1 := func(n int) map[string]any { return map[string]any{"type": "d1", "id": dbID(n)} }
	cases := []struct {
		name  string
		deep  bool
		plant func(w *town)
		want  string // "rule shop level", several separated by ", "
		says  string
	}{
		{"database of another shop", false, func(w *town) { w.deploy(0, bind("DB", d1(2))) }, "store-shared bolt error", "helm-adler as DB, helm-bolt as DB"},
		{"namespace of another shop beside its own", false, func(w *town) {
			w.deploy(1, bind("CACHE", map[string]any{"type": "kv_namespace", "namespace_id": kvID(1)}))
		}, "store-shared adler error", "helm-bolt as CACHE"},
		{"bucket of a shop whose Worker does not bind it", false, func(w *town) {
			w.deploy(1, func(m map[string]any) {
				m["bindings"] = slices.DeleteFunc(m["bindings"].([]map[string]any), func(b map[string]any) bool { return b["type"] == "r2_bucket" })
			})
			w.deploy(0, bind("FILES", map[string]any{"type": "r2_bucket", "bucket_name": "helm-bolt-assets"}))
		}, "binding-foreign adler error, drift bolt warning", "which is shop bolt's"},
		{"nobody's namespace", false, func(w *town) {
			w.must(w.sims["one"].AddKV("scratch", kvID(77)))
			w.deploy(0, bind("KV", map[string]any{"type": "kv_namespace", "namespace_id": kvID(77)}))
		}, "binding-foreign adler error", "gives to nobody"},
		{"undeclared queue", false, func(w *town) {
			w.must(w.sims["one"].AddQueue("jobs"))
			w.deploy(0, bind("JOBS", map[string]any{"type": "queue", "queue_name": "jobs"}))
		}, "binding-foreign adler error", "queue jobs"},
		{"shared queue", false, func(w *town) {
			w.must(w.sims["one"].AddQueue("mail-out"))
			w.deploy(0, bind("MAIL", map[string]any{"type": "queue", "queue_name": "mail-out"}))
			w.deploy(1, bind("MAIL", map[string]any{"type": "queue", "queue_name": "mail-out"}))
		}, "drift adler warning, drift bolt warning", "MAIL"},
		{"another shop's Worker", false, func(w *town) {
			w.deploy(0, bind("PEER", map[string]any{"type": "service", "service": "helm-bolt"}))
		}, "binding-foreign adler error", "Worker helm-bolt, which is shop bolt's"},
		{"a Worker of nobody reads a shop's database", false, func(w *town) { w.stranger("one", "reports", bindName("DB", d1(1))) },
			"store-exposed adler error", "Worker of no shop: reports as DB"},
		{"a Worker of nobody calls a shop's", false, func(w *town) {
			w.stranger("one", "reports", bindName("SHOP", map[string]any{"type": "service", "service": "helm-adler"}))
		}, "store-exposed adler error", "reports as SHOP"},
		{"a Worker of nobody with nothing", false, func(w *town) { w.stranger("one", "reports") }, "", ""},
		{"owner tag of another shop", false, func(w *town) { w.tag("one", "d1_database", dbID(1), "bolt") }, "owner-mismatch adler error", `its owner tag says "bolt"`},
		{"owner tag that is gone", false, func(w *town) {
			w.must(w.cf["one"].PutTags(w.ctx, cloudflare.ResourceTags{Type: "kv_namespace", ID: kvID(1), Tags: map[string]string{}}))
		}, "owner-missing adler warning", "KV helm-adler-kv"},
		{"identity record of another shop in D1", true, func(w *town) {
			_, err := w.cf["one"].D1Exec(w.ctx, dbID(1), "UPDATE _shop_identity SET value = 'bolt'")
			w.must(err)
		}, "owner-mismatch adler error", `its identity record says "bolt"`},
		{"no identity record where there is a tag", true, func(w *town) {
			_, err := w.cf["one"].D1Exec(w.ctx, dbID(1), "DROP TABLE _shop_identity")
			w.must(err)
		}, "", ""},
		{"a shop without a branch is bound to another's", false, func(w *town) { w.stranger("one", "helm-gone", bindName("DB", d1(1))) },
			"orphan gone warning, store-shared adler error", "helm-adler as DB, helm-gone as DB"},
		{"identity record of another shop in KV", true, func(w *town) { w.must(w.cf["one"].PutKVValue(w.ctx, kvID(1), "shop_identity", "bolt")) },
			"owner-mismatch adler error", "KV helm-adler-kv"},
		{"identity record of another shop in R2", true, func(w *town) {
			w.must(w.cf["one"].PutR2Object(w.ctx, "helm-adler-assets", "", "shop_identity", []byte("bolt")))
		}, "owner-mismatch adler error", "R2 helm-adler-assets"},
		{"stores of a shop without a branch", false, func(w *town) {
			w.must(w.sims["one"].AddD1("helm-gone-db", dbID(55), "wnam"))
			w.must(w.sims["one"].AddR2("helm-gone-assets"))
		}, "orphan gone warning", "D1 helm-gone-db (" + dbID(55) + "), R2 helm-gone-assets"},
		{"a store that only a tag knows", false, func(w *town) {
			w.must(w.sims["one"].AddKV("old stuff", kvID(56)))
			w.tag("one", "kv_namespace", kvID(56), "gone")
		}, "orphan gone warning", "KV old stuff"},
		{"a shop's store on another account", false, func(w *town) { w.must(w.sims["two"].AddR2("helm-adler-assets")) },
			"orphan adler warning", "is on account one, and account two has its R2 helm-adler-assets"},
		{"a branch without anything", false, func(w *town) {
			shop, err := w.policy.Shop("delta")
			w.must(err)
			w.shops = append(w.shops, audit.Shop{Shop: shop, Commit: fmt.Sprintf("%040d", 4)})
			w.config(3, config(shop, 4))
		}, "shop-incomplete delta warning", "no Worker helm-delta, no D1 database helm-delta-db, no KV namespace helm-delta-kv, no R2 bucket helm-delta-assets"},
		{"a database that is gone", false, func(w *town) { w.must(w.cf["one"].DeleteD1(w.ctx, dbID(1))) }, "shop-incomplete adler error", "no D1 database helm-adler-db"},
		{"a hostname that nothing serves", false, func(w *town) { w.must(w.cf["one"].PutDomains(w.ctx, "helm-adler", nil)) },
			"shop-incomplete adler error", "nothing that serves helm-adler.one.example"},
		{"a hostname that another Worker took", false, func(w *town) {
			w.must(w.cf["one"].PutDomains(w.ctx, "helm-adler", nil))
			w.must(w.cf["one"].PutDomains(w.ctx, "helm-bolt", []cloudflare.Origin{{Hostname: "helm-bolt.one.example"}, {Hostname: "helm-adler.one.example"}}))
		}, "drift bolt warning, hostname-taken adler error", "is served by Worker helm-bolt"},
		{"a route that comes first", false, func(w *town) {
			w.stranger("one", "reports")
			_, err := w.cf["one"].CreateRoute(w.ctx, w.zone("one", "one.example"), "helm-adler.one.example/admin/*", "reports")
			w.must(err)
		}, "hostname-shadowed adler error", "go to Worker reports first: route helm-adler.one.example/admin/*"},
		{"a route over the whole zone", false, func(w *town) {
			w.stranger("one", "reports")
			_, err := w.cf["one"].CreateRoute(w.ctx, w.zone("one", "one.example"), "*.one.example/*", "reports")
			w.must(err)
		}, "hostname-shadowed adler error, hostname-shadowed bolt error", "*.one.example/*"},
		{"a route over the whole zone, and shops with routes of their own", false, func(w *town) {
			w.stranger("one", "reports")
			zone := w.zone("one", "one.example")
			for i, slug := range []string{"adler", "bolt"} {
				w.must(w.cf["one"].PutDomains(w.ctx, "helm-"+slug, nil))
				host := "helm-" + slug + ".one.example"
				_, err := w.cf["one"].CreateRoute(w.ctx, zone, host+"/*", "helm-"+slug)
				w.must(err)
				text := config(w.shops[i].Shop, i+1)
				w.config(i, strings.Replace(text, `{ "pattern": "`+host+`", "custom_domain": true }`, `{ "pattern": "`+host+`/*", "zone_name": "one.example" }`, 1))
			}
			_, err := w.cf["one"].CreateRoute(w.ctx, zone, "*.one.example/*", "reports")
			w.must(err)
		}, "", ""},
		{"a variable changed", false, func(w *town) { w.deploy(0, bind("SHOP", map[string]any{"type": "plain_text", "text": "other"})) },
			"drift adler warning", "binding SHOP"},
		{"another compatibility date", false, func(w *town) { w.deploy(0, func(m map[string]any) { m["compatibility_date"] = "2025-01-01" }) },
			"drift adler warning", "compatibility_date 2025-01-01, in the branch 2026-06-01"},
		{"another compatibility flag", false, func(w *town) {
			w.deploy(0, func(m map[string]any) { m["compatibility_flags"] = []string{"nodejs_compat"} })
		}, "drift adler warning", "compatibility_flags nodejs_compat, in the branch none"},
		{"a custom domain too many", false, func(w *town) {
			w.must(w.cf["one"].PutDomains(w.ctx, "helm-adler", []cloudflare.Origin{{Hostname: "helm-adler.one.example"}, {Hostname: "old.one.example"}}))
		}, "drift adler warning", "custom domain old.one.example (not in the config)"},
		{"other crons", true, func(w *town) { w.must(w.cf["one"].PutSchedules(w.ctx, "helm-adler", []string{"* * * * *"})) },
			"drift adler warning", "crons * * * * *, in the branch"},
		{"workers.dev", true, func(w *town) { w.must(w.cf["one"].SetSubdomain(w.ctx, "helm-adler", true, nil)) }, "drift adler warning", "workers.dev on"},
		{"somebody else's release", true, func(w *town) { w.deploy(0, func(m map[string]any) { delete(m, "annotations") }) },
			"changed-outside adler warning", "outside shopfleet by"},
		{"wrangler's release", false, func(w *town) {
			ours := w.cf["one"]
			w.cf["one"] = &cloudflare.Client{BaseURL: w.URL, AccountID: ours.AccountID, Token: simtest.Token, UserAgent: "wrangler/4.164.0"}
			w.deploy(0, nil)
			w.cf["one"] = ours
		}, "changed-outside adler warning", "deployed last from wrangler"},
		{"a version that was not released", true, func(w *town) {
			m := map[string]any{"main_module": "index.js", "bindings": append(w.bindings(0), map[string]any{"type": "d1", "name": "PEER", "id": dbID(2)}),
				"compatibility_date": "2026-06-01", "compatibility_flags": []string{}}
			contentType, body := w.form(m)
			_, err := w.cf["one"].CreateVersion(w.ctx, "helm-adler", contentType, body)
			w.must(err)
		}, "newest-not-live adler notice, store-shared bolt error", "helm-adler as PEER"},
		{"live is bound to another shop's, the newest is not", true, func(w *town) {
			w.deploy(0, func(m map[string]any) { bind("DB", d1(2))(m) })
			contentType, body := w.form(map[string]any{"main_module": "index.js", "bindings": w.bindings(0), "compatibility_date": "2026-06-01", "compatibility_flags": []string{}})
			_, err := w.cf["one"].CreateVersion(w.ctx, "helm-adler", contentType, body)
			w.must(err)
		}, "newest-not-live adler notice, store-shared bolt error", "helm-adler as DB (in a version that takes traffic)"},
		{"a release that was left in the middle", true, func(w *town) {
			contentType, body := w.form(map[string]any{"main_module": "index.js", "bindings": append(w.bindings(0), bindName("PEER", d1(2))), "compatibility_date": "2026-06-01", "compatibility_flags": []string{}})
			v, err := w.cf["one"].CreateVersion(w.ctx, "helm-adler", contentType, body)
			w.must(err)
			contentType, body = w.form(map[string]any{"main_module": "index.js", "bindings": w.bindings(0), "compatibility_date": "2026-06-01", "compatibility_flags": []string{}})
			_, err = w.cf["one"].CreateVersion(w.ctx, "helm-adler", contentType, body) // the newest is as it should be
			w.must(err)
			live, err := w.cf["one"].Deployments(w.ctx, "helm-adler")
			w.must(err)
			_, err = w.cf["one"].CreateDeployment(w.ctx, "helm-adler", cloudflare.Release{Versions: []cloudflare.Share{
				{VersionID: live[0].Versions[0].VersionID, Percentage: 90}, {VersionID: v.ID, Percentage: 10},
			}})
			w.must(err)
		}, "released-in-part adler warning, store-shared bolt error", "helm-adler as PEER (in a version that takes traffic)"},
		{"an overlay with a namespace that is not there", false, func(w *town) {
			w.config(0, strings.Replace(config(w.shops[0].Shop, 1), kvID(1), kvID(99), 1))
		}, "drift adler warning, kv-unknown adler error", "account one has no KV namespace with id \"" + kvID(99)},
		{"a Worker of nobody whose newest version hides what is live", true, func(w *town) {
			w.stranger("one", "reports", bindName("DB", d1(1)))
			contentType, body := w.form(map[string]any{"main_module": "index.js", "bindings": []map[string]any{}, "compatibility_date": "2026-06-01", "compatibility_flags": []string{}})
			_, err := w.cf["one"].CreateVersion(w.ctx, "reports", contentType, body)
			w.must(err)
		}, "store-exposed adler error", "reports as DB (in a version that takes traffic)"},
		{"a secret that is gone", false, func(w *town) {
			w.must(w.cf["one"].SecretsBulk(w.ctx, "helm-adler", nil, "SESSION_KEY"))
		}, "secret-missing adler error", "no secret SESSION_KEY"},
		{"an overlay that binds another shop's", false, func(w *town) {
			w.config(0, strings.Replace(config(w.shops[0].Shop, 1), `"helm-adler-assets"`, `"helm-bolt-assets"`, 1))
		}, "binding-not-owned adler error, drift adler warning", "helm-bolt-assets"},
		{"an overlay with another shop's ids", false, func(w *town) {
			w.config(0, strings.Replace(config(w.shops[0].Shop, 1), kvID(1), kvID(2), 1))
		}, "binding-not-owned adler error, drift adler warning", "which account one calls helm-bolt-kv"},
		{"an overlay with an id that nothing has", false, func(w *town) {
			w.config(0, strings.Replace(config(w.shops[0].Shop, 1), dbID(1), dbID(99), 1))
		}, "d1-unknown adler error, drift adler warning", "account one has no D1 database with id \"" + dbID(99)},
		{"a branch far behind", false, func(w *town) { w.shops[0].Behind, w.shops[0].Since = 3, now.AddDate(0, 0, -20) }, "behind-main adler warning", "3 commits behind main"},
		{"a branch many commits behind", false, func(w *town) { w.shops[0].Behind, w.shops[0].Since = 51, now.AddDate(0, 0, -1) }, "behind-main adler warning", "51 commits"},
		{"a branch a little behind", false, func(w *town) { w.shops[0].Behind, w.shops[0].Since = 3, now.AddDate(0, 0, -6) }, "", ""},
		{"a column that tells shops apart", true, func(w *town) {
			_, err := w.cf["one"].D1Exec(w.ctx, dbID(1), "CREATE TABLE orders (id INTEGER PRIMARY KEY, Tenant_ID TEXT)")
			w.must(err)
		}, "denied-column adler error", "orders.Tenant_ID"},
		{"too many crons", true, func(w *town) {
			var crons []string
			for i := range 198 {
				crons = append(crons, fmt.Sprintf("%d %d * * *", i%60, i/60))
			}
			w.must(w.cf["one"].PutSchedules(w.ctx, "helm-adler", crons))
		}, "capacity  warning, drift adler warning", "200 of 250 crons"},
		{"an account that is full", false, func(w *town) {
			w.policy.Accounts[0].MaxShops = 1
			w.shops[0].Account.MaxShops = 1
		}, "capacity  error", "account one has 2 of 1 shops"},
		{"an account that cannot be read", false, func(w *town) {
			w.must2(w.Fault(sim.Rule{Path: "/accounts/2+/d1/", Count: -1, Status: 403, Code: 10000}))
		}, "account-unread  error", "account two could not be read [account-unread]"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newTown(t)
			w.deep = c.deep
			c.plant(w)
			rep := w.audit()
			var got []string
			all := ""
			for _, f := range rep.Findings {
				got = append(got, f.Rule+" "+f.Shop+" "+f.Level)
				all += f.String() + "\n"
			}
			slices.Sort(got)
			if have := strings.Join(got, ", "); have != c.want {
				t.Errorf("found %q, want %q:\n%s", have, c.want, all)
			}
			if !strings.Contains(all, c.says) {
				t.Errorf("nothing says %q:\n%s", c.says, all)
			}
		})
	}
}

func (w *town) must2(_ int, err error) {
	w.t.Helper()
	w.must(err)
}

func bindName(name string, members map[string]any) map[string]any {
	members["name"] = name
	return members
}

// TestUnread wants to know why an account could not be read, and no finding to say so: they are published.
func TestUnread(t *testing.T) {
	w := newTown(t)
	_, err := w.Fault(sim.Rule{Path: "/accounts/2+/workers/scripts/helm-cargo/settings", Count: -1, Status: 400, Code: 10001, Message: "an inner cause"})
	w.must(err)
	rep := w.audit()
	if len(rep.Findings) != 1 || strings.Contains(rep.Findings[0].String(), "inner cause") || !slices.Equal(rep.Unread(), []string{"two"}) ||
		!strings.Contains(rep.Accounts[1].Error, "reading the bindings of helm-cargo") || !strings.Contains(rep.Accounts[1].Error, "inner cause") {
		t.Errorf("%v, %+v", rep.Findings, rep.Accounts)
	}
}

// TestOnly holds an audit of one shop to what concerns it, from either side.
func TestOnly(t *testing.T) {
	w := newTown(t)
	w.deploy(0, bind("DB", map[string]any{"type": "d1", "id": dbID(2)}))
	w.deploy(2, bind("SHOP", map[string]any{"type": "plain_text", "text": "other"}))
	for slug, want := range map[string]string{"adler": "store-shared", "bolt": "store-shared", "cargo": "drift"} {
		w.only = []string{slug}
		rep := w.audit()
		if len(rep.Findings) != 1 || rep.Findings[0].Rule != want {
			t.Errorf("%s: %v", slug, rep.Findings)
		}
	}
}

// TestHostnames wants to know who answers where, and whose hostname that is.
func TestHostnames(t *testing.T) {
	w := newTown(t)
	w.must(w.cf["one"].PutDomains(w.ctx, "helm-adler", nil))
	w.must(w.cf["one"].PutDomains(w.ctx, "helm-bolt", []cloudflare.Origin{{Hostname: "helm-adler.one.example"}, {Hostname: "helm-bolt.one.example"}}))
	w.stranger("one", "reports")
	for _, pattern := range []string{"*.one.example/old/*", "reports.one.example/*"} {
		_, err := w.cf["one"].CreateRoute(w.ctx, w.zone("one", "one.example"), pattern, "reports")
		w.must(err)
	}
	want := []audit.Hostname{
		{Account: "one", Kind: "custom domain", Pattern: "helm-adler.one.example", Worker: "helm-bolt", Shop: "bolt", Of: []string{"adler"}},
		{Account: "one", Kind: "custom domain", Pattern: "helm-bolt.one.example", Worker: "helm-bolt", Shop: "bolt", Of: []string{"bolt"}},
		{Account: "one", Kind: "route", Pattern: "*.one.example/old/*", Worker: "reports", Of: []string{"adler", "bolt"}},
		{Account: "one", Kind: "route", Pattern: "reports.one.example/*", Worker: "reports"},
		{Account: "two", Kind: "custom domain", Pattern: "helm-cargo.two.example", Worker: "helm-cargo", Shop: "cargo", Of: []string{"cargo"}},
	}
	if got := w.audit().Graph.Hostnames; !reflect.DeepEqual(got, want) {
		t.Errorf("hostnames are\n%+v\nwant\n%+v", got, want)
	}
}

// TestDriftOutside wants the hint to be a command that is not refused: a deploy does not replace what somebody else made
// unless it is told to.
func TestDriftOutside(t *testing.T) {
	for _, mark := range []string{"", "sf-" + strings.Repeat("a", 32)} {
		w := newTown(t)
		w.deep = true
		w.deploy(0, func(m map[string]any) {
			m["annotations"] = map[string]string{"workers/tag": mark}
			m["compatibility_date"] = "2025-01-01"
		})
		for _, f := range w.audit().Findings {
			if f.Rule == "drift" && strings.Contains(f.Hint, "--overwrite-outside mends it") != (mark == "") {
				t.Errorf("with mark %q the hint is %q", mark, f.Hint)
			}
		}
	}
}

// TestNoTags wants an account without tags to be audited, and that to be said.
func TestNoTags(t *testing.T) {
	w := newTown(t)
	_, err := w.Fault(sim.Rule{Path: "/accounts/1+/tags/", Count: -1, Status: 403, Code: 10000})
	w.must(err)
	w.deep = true // without tags the records count
	_, err = w.cf["one"].D1Exec(w.ctx, dbID(1), "DROP TABLE _shop_identity")
	w.must(err)
	rep := w.audit()
	if len(rep.Findings) != 1 || !strings.Contains(rep.Findings[0].String(), "no identity record says whose these are: D1 helm-adler-db") || !slices.Contains(rep.NotRead, "owner tags cannot be read with this token, or in this account (account one)") {
		t.Errorf("findings %v, not read %q", rep.Findings, rep.NotRead)
	}
}
