package deploy

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

const wallShops = 500

// wall is a fleet in which every shop has one of everything that a Worker can be bound to, and shares some.
type wall struct {
	policy *fleet.Policy
	shops  []wallShop
	// What the account has: id → name.
	databases, namespaces map[string]string
}

type wallShop struct {
	fleet.Shop
	config *wrangler.Config
	base   []byte
	own    []reached // by the place in the config, the same for all shops; as nobody was asked
}

// namedTypes are the types of binding whose things have names; the others have ids, which only fleet.yml says whose they are.
var namedTypes = []string{"queue", "workflow", "dispatch_namespace", "vectorize", "ai_search", "ai_search_namespace", "agent_memory", "artifacts",
	"analytics_engine", "pipelines", "k2", "logfwdr"}

var idTypes = []string{"hyperdrive", "flagship", "vpc_service", "vpc_network", "mtls_certificate", "secrets_store_secret"}

func newWall(t testing.TB, n int) *wall {
	t.Helper()
	var y strings.Builder
	y.WriteString("product: helm\nnaming:\n  branch: shops/{slug}\n  worker: helm-{slug}\n  d1: helm-{slug}-db\n  r2: helm-{slug}-assets\n  kv: helm-{slug}-kv\n  hostname: helm-{slug}.kvick.bike\n  others:\n")
	for _, typ := range namedTypes {
		fmt.Fprintf(&y, "    %s: [\"helm-{slug}-%s\"]\n", typ, strings.ReplaceAll(typ, "_", "-"))
	}
	y.WriteString("accounts:\n  main:\n    id: 7f3a0c5e9b1d4826a0e4c2d8f6b19357\n    zone: kvick.bike\n    max_shops: 500\nbuild_info:\n  path: public/build_info.json\nshops:\n")
	slug := func(i int) string { return fmt.Sprintf("shop-%03d", i) }
	id := func(typ string, i int) string { return fmt.Sprintf("%s.%03d", strings.ReplaceAll(typ, "_", "-"), i) }
	store := func(i int) string { return fmt.Sprintf("store-%03d/key", i) }
	uuid := func(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }
	for i := range n {
		fmt.Fprintf(&y, "  %s:\n", slug(i))
		if i%3 == 0 { // the others are left to their configs
			fmt.Fprintf(&y, "    d1:\n      id: %s\n", uuid(i))
		}
		y.WriteString("    others:\n")
		for _, typ := range idTypes {
			of := id(typ, i)
			if typ == "secrets_store_secret" {
				of = store(i)
			}
			fmt.Fprintf(&y, "      %s: [%s]\n", typ, of)
		}
	}
	y.WriteString("shared:\n")
	for _, s := range append([]string{"mailer:service", "broadcast:queue", "catalog:d1", "opening-hours:kv_namespace", "public-images:r2_bucket", "logs:tail_consumer"},
		"stream:stream", "media:media", "worker_loader:worker_loader", "ai:ai", "browser:browser", "images:images") {
		name, typ, _ := strings.Cut(s, ":")
		fmt.Fprintf(&y, "  %s:\n    type: %s\n    reason: it holds nothing of any shop\n", name, typ)
	}
	policy, err := fleet.Parse("fleet.yml", []byte(y.String()))
	if err != nil {
		t.Fatal(err)
	}
	policy.OverlayKeys = append(policy.OverlayKeys, "queues", "workflows", "dispatch_namespaces", "vectorize", "ai_search", "ai_search_namespaces", "agent_memory",
		"artifacts", "analytics_engine_datasets", "pipelines", "k2", "logfwdr", "hyperdrive", "flagship", "vpc_services", "vpc_networks", "mtls_certificates",
		"secrets_store_secrets", "services", "durable_objects", "tail_consumers", "streaming_tail_consumers", "stream", "media", "worker_loaders",
		"ai", "browser", "images", "send_email", "ratelimits", "version_metadata")
	w := &wall{policy: policy, databases: map[string]string{uuid(999999): "catalog"}, namespaces: map[string]string{"ns-shared": "opening-hours"}}
	for i := range n {
		shop, err := policy.Shop(slug(i))
		if err != nil {
			t.Fatal(err)
		}
		named := func(typ string) string { return shop.Others[typ][0] }
		w.databases[uuid(i)], w.namespaces[fmt.Sprintf("ns-%03d", i)] = shop.D1, shop.KV
		env := map[string]any{
			"name": shop.Worker, "vars": map[string]any{"A": "text", "B": []int{1}},
			"routes":                    []any{map[string]any{"pattern": shop.Hostname, "custom_domain": true}},
			"d1_databases":              []any{map[string]any{"binding": "DB", "database_name": shop.D1, "database_id": uuid(i)}, map[string]any{"binding": "CATALOG", "database_name": "catalog", "database_id": uuid(999999)}},
			"kv_namespaces":             []any{map[string]any{"binding": "KV", "id": fmt.Sprintf("ns-%03d", i)}, map[string]any{"binding": "HOURS", "id": "ns-shared"}},
			"r2_buckets":                []any{map[string]any{"binding": "R2", "bucket_name": shop.R2}, map[string]any{"binding": "IMAGES2", "bucket_name": "public-images"}},
			"queues":                    map[string]any{"producers": []any{map[string]any{"binding": "Q", "queue": named("queue")}, map[string]any{"binding": "Q2", "queue": "broadcast"}}},
			"services":                  []any{map[string]any{"binding": "SELF", "service": shop.Worker}, map[string]any{"binding": "MAIL", "service": "mailer", "entrypoint": "Outbox"}},
			"durable_objects":           map[string]any{"bindings": []any{map[string]any{"name": "DO", "class_name": "Till"}, map[string]any{"name": "DO2", "class_name": "Till", "script_name": shop.Worker}}},
			"workflows":                 []any{map[string]any{"binding": "WF", "name": named("workflow"), "class_name": "Bill"}},
			"dispatch_namespaces":       []any{map[string]any{"binding": "DN", "namespace": named("dispatch_namespace"), "outbound": map[string]any{"service": shop.Worker}}},
			"vectorize":                 []any{map[string]any{"binding": "VEC", "index_name": named("vectorize")}},
			"ai_search":                 []any{map[string]any{"binding": "AIS", "instance_name": named("ai_search")}},
			"ai_search_namespaces":      []any{map[string]any{"binding": "AISN", "namespace": named("ai_search_namespace")}},
			"agent_memory":              []any{map[string]any{"binding": "MEM", "namespace": named("agent_memory")}},
			"artifacts":                 []any{map[string]any{"binding": "ART", "namespace": named("artifacts")}},
			"analytics_engine_datasets": []any{map[string]any{"binding": "AE", "dataset": named("analytics_engine")}},
			"pipelines":                 []any{map[string]any{"binding": "PIPE", "pipeline": named("pipelines")}},
			"k2":                        []any{map[string]any{"binding": "K2", "stream": named("k2")}},
			"logfwdr":                   map[string]any{"bindings": []any{map[string]any{"name": "LOG", "destination": named("logfwdr")}}},
			"hyperdrive":                []any{map[string]any{"binding": "HD", "id": id("hyperdrive", i)}},
			"flagship":                  []any{map[string]any{"binding": "FLAG", "app_id": id("flagship", i)}},
			"vpc_services":              []any{map[string]any{"binding": "VPC", "service_id": id("vpc_service", i)}},
			"vpc_networks":              []any{map[string]any{"binding": "NET", "network_id": id("vpc_network", i)}},
			"mtls_certificates":         []any{map[string]any{"binding": "CERT", "certificate_id": id("mtls_certificate", i)}},
			"secrets_store_secrets":     []any{map[string]any{"binding": "SEC", "store_id": fmt.Sprintf("store-%03d", i), "secret_name": "key"}},
			"ratelimits":                []any{map[string]any{"name": "RL", "namespace_id": fmt.Sprint(1000 + i), "simple": map[string]any{"limit": 10, "period": 60}}},
			"send_email":                []any{map[string]any{"name": "MAILOUT"}},
			"worker_loaders":            []any{map[string]any{"binding": "LOADER"}},
			"ai":                        map[string]any{"binding": "AI"}, "browser": map[string]any{"binding": "BROWSER"}, "images": map[string]any{"binding": "IMG"},
			"stream": map[string]any{"binding": "STREAM"}, "media": map[string]any{"binding": "MEDIA"}, "version_metadata": map[string]any{"binding": "VERSION"},
			"tail_consumers":           []any{map[string]any{"service": "logs"}, map[string]any{"service": shop.Worker}},
			"streaming_tail_consumers": []any{map[string]any{"service": "logs"}},
		}
		base := map[string]any{"name": "helm", "main": "src/index.ts", "compatibility_date": "2026-06-01", "assets": map[string]any{"directory": "public", "binding": "ASSETS"}}
		baseText, err := json.Marshal(base)
		if err != nil {
			t.Fatal(err)
		}
		base["env"] = map[string]any{shop.Slug: env}
		text, err := json.Marshal(base)
		if err != nil {
			t.Fatal(err)
		}
		project, err := wrangler.Parse("/", "wrangler.jsonc", text)
		if err != nil {
			t.Fatal(err)
		}
		config, err := project.Resolve(shop.Slug)
		if err != nil {
			t.Fatal(err)
		}
		s := wallShop{Shop: shop, config: config, base: baseText}
		want := &Desired{Config: config}
		for _, b := range config.Bindings {
			s.own = append(s.own, want.reached(b, nil)...)
		}
		for _, raw := range []json.RawMessage{config.TailConsumers, config.StreamingTailConsumers} {
			for _, r := range ReachOfConsumers(raw) {
				s.own = append(s.own, reached{Reach: r})
			}
		}
		w.shops = append(w.shops, s)
	}
	return w
}

// accepts asks the wall as a deploy does: offline, and then with what the account says.
func (w *wall) accepts(shop *fleet.Shop, r reached) bool {
	if judge(shop, w.policy, r) != admitted {
		return false
	}
	r.Asked = true
	switch r.Type {
	case "d1":
		r.Actual, r.Exists = w.databases[r.Resource]
	case "kv_namespace":
		r.Actual, r.Exists = w.namespaces[r.Resource]
	case "r2_bucket":
		r.Exists = true
	}
	return judge(shop, w.policy, r) == admitted
}

// TestNobodyReachesAnother swaps ids, names and both between every two shops of a fleet, for every type of binding: none
// is accepted, and no honest shop is refused.
func TestNobodyReachesAnother(t *testing.T) {
	start := time.Now()
	w := newWall(t, wallShops)
	first := w.shops[0]
	covered := map[string]bool{}
	for _, r := range first.own {
		covered[r.Type] = true
	}
	for _, typ := range append(fleet.BindingTypes(), "plain_text", "json", "send_email", "ratelimit", "version_metadata", "assets") {
		if !covered[typ] {
			t.Errorf("no shop of the test has a binding of type %s", typ)
		}
	}
	var tried, alarms atomic.Int64
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range w.shops {
		group.Go(func() error {
			a := &w.shops[i]
			var n int64
			for at, mine := range a.own {
				if !w.accepts(&a.Shop, mine) {
					alarms.Add(1)
					t.Errorf("shop %s is refused its own %s %q", a.Slug, mine.Type, mine.Resource)
				}
				for j := range w.shops {
					theirs := w.shops[j].own[at]
					if i == j || theirs.Free || theirs == mine { // nobody's, or shared
						continue
					}
					id, name := mine, mine
					id.Resource = theirs.Resource
					name.Declared = theirs.Declared
					if name.Declared == mine.Declared {
						name.Resource = theirs.Resource // known by one word only
					}
					for _, swapped := range []reached{id, name, theirs} {
						n++
						if w.accepts(&a.Shop, swapped) {
							t.Errorf("shop %s reaches %s %q (%s) of shop %s", a.Slug, swapped.Type, swapped.Resource, swapped.Declared, w.shops[j].Slug)
						}
					}
					if mine.Type == "d1" {
						n++
						if lied := (reached{Reach: theirs.Reach, Declared: "catalog"}); w.accepts(&a.Shop, lied) {
							t.Errorf("shop %s reaches database %s of shop %s as the shared one", a.Slug, lied.Resource, w.shops[j].Slug)
						}
					}
				}
			}
			tried.Add(n)
			return nil
		})
	}
	_ = group.Wait()
	t.Logf("%d swaps among %d shops and %d bindings each, none accepted; %d false alarms; %v", tried.Load(), len(w.shops), len(first.own), alarms.Load(), time.Since(start).Round(time.Millisecond))
	if tried.Load() < wallShops*(wallShops-1)*20 {
		t.Errorf("only %d swaps were tried", tried.Load())
	}
}

// TestWallHasDoors takes some of the same fleet through the whole of admission, with its findings: what judge says is what
// a deploy says.
func TestWallHasDoors(t *testing.T) {
	w := newWall(t, 4)
	account := func() *State {
		have := &State{Databases: w.databases, Namespaces: w.namespaces, Buckets: map[string]bool{"public-images": true}, Zones: map[string]string{"kvick.bike": "z"}}
		for _, s := range w.shops {
			have.Buckets[s.R2] = true
		}
		return have
	}
	all := func(s wallShop, config *wrangler.Config) Findings {
		src := Source{Policy: w.policy, Shop: s.Shop, ConfigName: "wrangler.jsonc", Base: Base{Config: s.base}}
		want := &Desired{Shop: s.Shop, Config: config, policy: w.policy}
		found := admitOffline(want, src)
		return append(found, admitLive(want, account())...)
	}
	own, other := w.shops[1], w.shops[2]
	if found := all(own, own.config); len(found) > 0 {
		t.Errorf("an honest shop: %v", found)
	}
	strange := all(own, other.config)
	for _, rule := range []string{"env-not-the-shop", "worker-not-owned"} {
		if !slices.ContainsFunc(strange, func(f Finding) bool { return f.Rule == rule && f.Level == LevelError }) {
			t.Errorf("another shop's config, without %s: %v", rule, strange)
		}
	}
	moved := own
	moved.Account.Zone = "kvick.shop"
	if found := all(moved, own.config); !slices.ContainsFunc(found, func(f Finding) bool { return f.Rule == "hostname-outside-zone" }) {
		t.Errorf("a hostname in no zone of the account: %v", found)
	}
	have := account()
	have.Conflicts = []Conflict{{own.Hostname, "another Worker holds it"}}
	if found := admitLive(&Desired{Shop: own.Shop, Config: own.config, policy: w.policy}, have); len(found) != 1 || found[0].Rule != "hostname-taken" {
		t.Errorf("a conflict that only Cloudflare knows of: %v", found)
	}
	text := string(own.config.Project().Value())
	for _, b := range own.config.Bindings {
		reach := ReachOf(b)
		if reach[0].Free {
			if slices.Contains(fleet.BindingTypes(), b.Type) && (b.Type != "durable_object_namespace" || b.Field("script_name") != "") {
				t.Errorf("%s, of type %s, is said to reach nothing", b.Name, b.Type)
			}
			continue
		}
		i := slices.IndexFunc(other.config.Bindings, func(o wrangler.Binding) bool { return o.Name == b.Name })
		for k, r := range ReachOf(other.config.Bindings[i]) {
			mine := reach[k].Resource
			if r.Resource == mine {
				continue // shared
			}
			if r.Type == "secrets_store_secret" {
				mine, r.Resource = "store-001", "store-002"
			}
			changed := strings.ReplaceAll(text, `"`+mine+`"`, `"`+r.Resource+`"`)
			project, err := wrangler.Parse("/", "wrangler.jsonc", []byte(changed))
			if err != nil {
				t.Fatal(err)
			}
			config, err := project.Resolve(own.Slug)
			if err != nil {
				t.Fatal(err)
			}
			found := all(own, config)
			if !slices.ContainsFunc(found, func(f Finding) bool { return f.Rule == "binding-not-owned" && f.Level == LevelError && f.Line > 0 }) {
				t.Errorf("%s of another shop: %v", b.Type, found)
			}
		}
	}
}

// What Cloudflare says a live Worker is bound to is read like what is uploaded, its defaults aside.
func TestReachOfLive(t *testing.T) {
	w := newWall(t, 1)
	for _, b := range w.shops[0].config.Bindings {
		raw, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		live, err := ReachOfLive(raw)
		if err != nil || !slices.Equal(live, ReachOf(b)) {
			t.Errorf("%s: %+v, %v; want %+v", raw, live, err, ReachOf(b))
		}
	}
	for raw, want := range map[string]Reach{
		`{"type": "d1", "name": "DB", "database_id": "x"}`:                                            {Type: "d1", Resource: "x"},
		`{"type": "service", "name": "S", "service": "a", "environment": "production"}`:               {Type: "service", Resource: "a"},
		`{"type": "service", "name": "S", "service": "a", "environment": "b"}`:                        {Type: "service", Resource: "a/b"},
		`{"type": "service", "name": "S", "service": "a", "cross_account_grant": "g"}`:                {Type: "service", Resource: "cross_account_grant a"},
		`{"type": "r2_bucket", "name": "B", "bucket_name": "b", "jurisdiction": "eu"}`:                {Type: "r2_bucket", Resource: "b", Jurisdiction: "eu"},
		`{"type": "r2_bucket", "name": "B", "bucket_name": "b", "jurisdiction": "default"}`:           {Type: "r2_bucket", Resource: "b"},
		`{"type": "durable_object_namespace", "name": "D", "class_name": "T", "namespace_id": "n"}`:   {Type: "durable_object_namespace", Free: true},
		`{"type": "durable_object_namespace", "name": "D", "class_name": "T", "script_name": "mine"}`: {Type: "durable_object_namespace", Resource: "mine"},
		`{"type": "pipelines", "name": "P", "stream": "s", "pipeline": "p"}`:                          {Type: "pipelines", Resource: "s p"},
		`{"type": "secret_key", "name": "K"}`:                                                         {Type: "secret_key", Free: true},
		`{"type": "of tomorrow", "name": "T", "id": "x"}`:                                             {Type: "of tomorrow"},
	} {
		if live, err := ReachOfLive(json.RawMessage(raw)); err != nil || len(live) != 1 || live[0] != want {
			t.Errorf("%s: %+v, %v; want %+v", raw, live, err, want)
		}
	}
}
