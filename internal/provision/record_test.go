package provision_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/provision"
	"github.com/kvick/shopfleet/internal/sim"
)

// record writes an identity record, as deploys do.
func (w *town) record(kind, id, owner string) {
	w.Helper()
	ctx := w.Context()
	switch kind {
	case "d1_database":
		_, err := w.cf.D1Exec(ctx, id, "CREATE TABLE "+fleet.IdentityTable+" (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
		w.must(err)
		_, err = w.cf.D1Exec(ctx, id, "INSERT INTO "+fleet.IdentityTable+" VALUES ('shop_identity', ?)", owner)
		w.must(err)
	case "kv_namespace":
		w.must(w.cf.PutKVValue(ctx, id, "shop_identity", owner))
	case "r2_bucket":
		w.must(w.cf.PutR2Object(ctx, id, "", "shop_identity", []byte(owner+"\n")))
	}
}

// Where a run was cut off before it tagged a store, or the account has no tags, the record inside says whose it is. One that
// names another shop counts as much as a tag.
func TestIdentityRecords(t *testing.T) {
	for _, kind := range []string{"d1_database", "kv_namespace", "r2_bucket"} {
		for name, tc := range map[string]struct {
			owner string
			adopt bool
			rule  string
		}{
			"ours":                    {owner: "swicked"},
			"another's":               {owner: "mike", rule: "name-taken"},
			"another's, data adopted": {owner: "mike", adopt: true, rule: "name-taken"},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				w := newTown(t)
				shop := w.shop("swicked")
				early := provision.PlanMake(want(shop), w.look(shop))
				id := w.put(kind, shop, true)
				w.record(kind, id, tc.owner)
				a := w.look(shop)
				x := want(shop)
				x.AdoptData = tc.adopt
				if p := provision.PlanMake(x, a); rules(p.Findings) != tc.rule {
					t.Errorf("findings %v, want %q", p.Findings, tc.rule)
				}
				if p := provision.PlanDelete(shop, a); (rules(p.Findings) == "owner-mismatch") != (tc.rule != "") {
					t.Errorf("to delete it: %v", p.Findings)
				}
				// It came after the plan was made.
				r, err := provision.Apply(t.Context(), w.cf, early, provision.Options{})
				if rules(findingsOf(err)) != tc.rule {
					t.Fatalf("applied: %v, want %q", err, tc.rule)
				}
				if tc.rule == "" {
					w.must(err)
					w.owned(shop, r)
				}
			})
		}
	}
	t.Run("a table of the product's", func(t *testing.T) {
		w := newTown(t)
		w.policy = policyOf(t, policyText+"identity: {table: settings, key: who}\n")
		shop := w.shop("swicked")
		db, err := w.cf.CreateD1(t.Context(), cloudflare.D1Database{Name: shop.D1})
		w.must(err)
		for _, sql := range []string{`CREATE TABLE settings (key TEXT, value TEXT)`, `INSERT INTO settings VALUES ('who', 'swicked')`} {
			_, err = w.cf.D1Exec(t.Context(), db.ID, sql)
			w.must(err)
		}
		if p := provision.PlanMake(want(shop), w.look(shop)); len(p.Findings) > 0 {
			t.Errorf("findings %v", p.Findings)
		}
	})
}

// What a run made is tagged without being asked for its tags. What was there keeps its other tags: they are read, and
// written only if nobody changed them meanwhile.
func TestTagsOfOthersStay(t *testing.T) {
	w := newTown(t)
	shop := w.shop("swicked")
	id := w.put("kv_namespace", shop, false)
	w.must(w.cf.PutTags(t.Context(), cloudflare.ResourceTags{Type: "kv_namespace", ID: id, Tags: map[string]string{"team": "ops"}}))
	if _, err := w.Fault(sim.Rule{Method: "PUT", Path: "/tags$", Skip: 0, Count: 3, Status: 412, Code: 1012, Message: "modified since"}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var gets, conditional, plain int
	w.wire.seen = func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case !strings.HasSuffix(r.URL.Path, "/tags"):
		case r.Method == http.MethodGet:
			gets++
		case r.Header.Get("If-Match") != "":
			conditional++
		default:
			plain++
		}
	}
	r, err := w.make(t.Context(), want(shop))
	w.must(err)
	w.owned(shop, r)
	// Two stores were made, and one was there; each was refused once.
	if plain != 2 || conditional != 4 || gets != 4 {
		t.Errorf("%d tags were read, %d written on condition and %d without", gets, conditional, plain)
	}
	tags, err := w.cf.Tags(t.Context(), "kv_namespace", id)
	w.must(err)
	if tags.Tags["team"] != "ops" || tags.Tags["shop"] != "swicked" {
		t.Errorf("tags %v", tags.Tags)
	}
}

// A record that Cloudflare made for a custom domain is nobody else's to take, also when the list of domains lacks it.
func TestManagedRecords(t *testing.T) {
	w := newTown(t)
	shop := w.shop("swicked")
	a := w.look(shop)
	a.Records["kvick.bike"] = []cloudflare.DNSRecord{{ID: "r", Type: "AAAA", Name: shop.Hostname, Content: "100::", Proxied: true, Managed: true}}
	if p := provision.PlanMake(want(shop), a); rules(p.Findings) != "hostname-taken" {
		t.Errorf("findings %v", p.Findings)
	}
	if p := provision.PlanDelete(shop, a); p.Changes() {
		t.Errorf("planned %s", stepsOf(p))
	}
}

// A tag may outlive what it was on, and makes no shop of it.
func TestTagsThatOutliveTheirThings(t *testing.T) {
	w := newTown(t)
	for _, kind := range kinds {
		w.tag(kind, "gone", "ghost")
	}
	a := w.look()
	if len(a.Owners) != 0 {
		t.Errorf("owners %v", a.Owners)
	}
	if room := provision.Rooms(w.policy, []*provision.Account{a}, nil)[0]; room.Shops != 0 || room.Left != 50 {
		t.Errorf("%+v", room)
	}
	// Nor when the shops are counted again.
	w.policy = policyOf(t, strings.Replace(policyText, "max_shops: 50", "max_shops: 1", 1))
	w.account, _ = w.policy.AccountNamed("kvick-1")
	shop := w.shop("swicked")
	r, err := w.make(t.Context(), want(shop))
	w.must(err)
	w.owned(shop, r)
}
