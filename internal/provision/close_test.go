package provision_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/provision"
	"github.com/kvick/shopfleet/internal/sim"
)

// open makes a shop that serves: with a Worker, a route, a custom domain, crons, workers.dev and data.
func (w *town) open(slug string, objects int) (fleet.Shop, *provision.Resources) {
	w.Helper()
	ctx := w.Context()
	shop := w.shop(slug)
	r, err := w.make(ctx, want(shop))
	w.must(err)
	w.deploy(shop.Worker)
	w.tag("worker", shop.Worker, slug)
	w.must(w.cf.PutRoutes(ctx, shop.Worker, []cloudflare.RoutePattern{{Pattern: shop.Hostname + "/*", ZoneID: zoneID}}))
	w.must(w.cf.PutDomains(ctx, shop.Worker, []cloudflare.Origin{{Hostname: "www-" + slug + ".kvick.bike"}}))
	w.must(w.cf.PutSchedules(ctx, shop.Worker, []string{"0 13 * * *", "0 14 * * mon", "0 15 1 * *"}))
	previews := true
	w.must(w.cf.SetSubdomain(ctx, shop.Worker, true, &previews))
	_, err = w.cf.D1Exec(ctx, r.DatabaseID, "CREATE TABLE bikes (id INTEGER PRIMARY KEY)")
	w.must(err)
	w.must(w.cf.PutKVValue(ctx, r.NamespaceID, "cart:1", "x"))
	for i := range objects {
		w.must(w.cf.PutR2Object(ctx, r.Bucket, "", fmt.Sprintf("menus/%d.pdf", i), []byte("x")))
	}
	return shop, r
}

// picture is everything of the account but one shop's.
func (w *town) picture(without fleet.Shop, others ...fleet.Shop) string {
	w.Helper()
	a := w.look(append(others, without)...)
	a.Calls = 0
	a.Workers = slices.DeleteFunc(a.Workers, func(x cloudflare.Worker) bool { return x.Name == without.Worker })
	a.Databases = slices.DeleteFunc(a.Databases, func(x cloudflare.D1Database) bool { return x.Name == without.D1 })
	a.Namespaces = slices.DeleteFunc(a.Namespaces, func(x cloudflare.KVNamespace) bool { return x.Title == without.KV })
	a.Buckets = slices.DeleteFunc(a.Buckets, func(x cloudflare.R2Bucket) bool { return x.Name == without.R2 })
	a.Domains = slices.DeleteFunc(a.Domains, func(x cloudflare.Domain) bool { return x.Service == without.Worker })
	for zone := range a.Routes {
		a.Routes[zone] = slices.DeleteFunc(a.Routes[zone], func(x cloudflare.Route) bool { return x.Script == without.Worker })
		a.Records[zone] = slices.DeleteFunc(a.Records[zone], func(x cloudflare.DNSRecord) bool { return x.Name == without.Hostname })
	}
	for thing, owner := range a.Owners {
		if owner == without.Slug {
			delete(a.Owners, thing)
		}
	}
	delete(a.Crons, without.Worker)
	delete(a.Subdomains, without.Worker)
	for _, shop := range others {
		n, err := w.cf.FirstR2Objects(w.Context(), shop.R2, "", 1000)
		w.must(err)
		a.Crons[shop.R2] = len(n)
	}
	b, err := json.Marshal(a)
	w.must(err)
	return string(b)
}

func stepsOf(p *provision.Plan) string {
	var out []string
	for _, s := range p.Steps {
		out = append(out, s.String())
	}
	return strings.Join(out, "\n")
}

func TestClosing(t *testing.T) {
	w := newTown(t)
	shop, r := w.open("swicked", 2)
	other, _ := w.open("mike", 2)
	before := w.picture(shop, other)
	p := provision.PlanClose(shop, w.look(shop))
	if got := stepsOf(p); got != `detach custom domain www-swicked.kvick.bike
detach route helm-swicked.kvick.bike/*
clear cron triggers of helm-swicked
detach workers.dev of helm-swicked` || len(p.Findings) > 0 {
		t.Fatalf("planned\n%s\n%v", got, p.Findings)
	}
	_, err := provision.Apply(t.Context(), w.cf, p, provision.Options{})
	w.must(err)
	a := w.look(shop)
	if a.Crons[shop.Worker] != 0 || a.Subdomains[shop.Worker].Enabled || a.Subdomains[shop.Worker].PreviewsEnabled || len(a.Domains) != 1 || len(a.Routes["kvick.bike"]) != 1 {
		t.Errorf("still there: %+v", a)
	}
	if len(a.Workers) != 2 || len(a.Databases) != 2 || a.Owners["d1_database/"+r.DatabaseID] != "swicked" || len(a.Records["kvick.bike"]) != 1 {
		t.Errorf("gone: %+v", a)
	}
	if keys, err := w.cf.FirstR2Objects(t.Context(), shop.R2, "", 10); err != nil || len(keys) != 2 {
		t.Errorf("objects %v %v", keys, err)
	}
	if after := w.picture(shop, other); after != before {
		t.Errorf("another shop was touched:\n%s\n%s", before, after)
	}
	if p := provision.PlanClose(shop, a); p.Changes() {
		t.Errorf("again: %s", stepsOf(p))
	}
	nobody := w.shop("nobody")
	if p := provision.PlanClose(nobody, w.look(nobody)); p.Changes() || len(p.Notes) != 1 {
		t.Errorf("a shop that is not there: %+v", p)
	}
}

func TestDeleting(t *testing.T) {
	w := newTown(t)
	shop, _ := w.open("swicked", 1003)
	other, _ := w.open("mike", 2)
	_, err := w.cf.CreateDNSRecord(t.Context(), zoneID, cloudflare.DNSRecord{Type: "TXT", Name: shop.Hostname, Content: "verification"})
	w.must(err)
	before := w.picture(shop, other)
	p := provision.PlanDelete(shop, w.look(shop))
	if got := stepsOf(p); got != `detach custom domain www-swicked.kvick.bike
detach route helm-swicked.kvick.bike/*
clear cron triggers of helm-swicked
detach workers.dev of helm-swicked
delete Worker helm-swicked
delete DNS record helm-swicked.kvick.bike
delete KV namespace helm-swicked-kv
clear R2 bucket helm-swicked-assets
delete R2 bucket helm-swicked-assets
delete D1 database helm-swicked-db` || len(p.Findings) > 0 || len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "TXT") {
		t.Fatalf("planned\n%s\n%v %v", got, p.Findings, p.Notes)
	}
	w.ForgetRequests()
	_, err = provision.Apply(t.Context(), w.cf, p, provision.Options{})
	w.must(err)
	w.inOrder()
	a := w.look(shop)
	if len(a.Workers) != 1 || len(a.Databases) != 1 || len(a.Namespaces) != 1 || len(a.Buckets) != 1 || len(a.Domains) != 1 || len(a.Routes["kvick.bike"]) != 1 ||
		len(a.Records["kvick.bike"]) != 1 || a.Records["kvick.bike"][0].Type != "TXT" {
		t.Errorf("left: %+v", a)
	}
	tags, err := w.cf.TaggedResources(t.Context(), "shop")
	w.must(err)
	for _, x := range tags {
		if x.Tags["shop"] != "mike" {
			t.Errorf("tag %+v is left", x)
		}
	}
	if after := w.picture(shop, other); after != before {
		t.Errorf("another shop was touched:\n%s\n%s", before, after)
	}
	if p := provision.PlanDelete(shop, a); p.Changes() || len(p.Findings) > 0 {
		t.Errorf("again: %s %v", stepsOf(p), p.Findings)
	}
	// The name is free again.
	r, err := w.make(t.Context(), want(w.shop("other")))
	w.must(err)
	if r.DatabaseID == "" {
		t.Error("nothing was made")
	}
}

// inOrder checks that no store was touched before the Worker was gone, and the database last.
func (w *town) inOrder() {
	w.Helper()
	var order []string
	for _, q := range w.Requests() {
		if !q.Write || q.Status >= 300 {
			continue
		}
		for _, part := range []string{"/workers/scripts/helm-swicked", "/dns_records/", "/storage/kv/namespaces/", "/objects/", "/r2/buckets/helm-swicked-assets", "/d1/database/"} {
			if q.Method == "DELETE" && strings.Contains(q.Path, part) && (part != "/r2/buckets/helm-swicked-assets" || !strings.Contains(q.Path, "/objects/")) && !slices.Contains(order, part) {
				order = append(order, part)
			}
		}
	}
	at := func(part string) int { return slices.Index(order, part) }
	if at("/workers/scripts/helm-swicked") != 0 || at("/dns_records/") != 1 || at("/d1/database/") != len(order)-1 || len(order) != 6 ||
		at("/objects/") > at("/r2/buckets/helm-swicked-assets") {
		w.Errorf("deleted in the order %v", order)
	}
}

// Cut off at any call and run again, everything of the shop's is gone and nothing of another's; and at no time is there a
// Worker without its stores.
func TestDeletingIsKilledAtEveryCall(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			reached := true
			t.Run(fmt.Sprintf("%d after=%v", n, after), func(t *testing.T) {
				w := newTown(t)
				shop, _ := w.open("swicked", 3)
				other, _ := w.open("mike", 1)
				before := w.picture(shop, other)
				remove := func(ctx context.Context) error {
					a, err := provision.Look(ctx, w.cf, w.account, shop)
					if err != nil {
						return err
					}
					_, err = provision.Apply(ctx, w.cf, provision.PlanDelete(shop, a), provision.Options{})
					return err
				}
				reached = w.killed(n, after, remove)
				if a := w.look(shop); slices.ContainsFunc(a.Workers, func(x cloudflare.Worker) bool { return x.Name == shop.Worker }) &&
					(len(a.Databases) != 2 || len(a.Namespaces) != 2 || len(a.Buckets) != 2) {
					t.Errorf("the Worker lacks its stores: %+v", a)
				}
				w.must(remove(t.Context()))
				a := w.look(shop)
				if len(a.Workers) != 1 || len(a.Databases) != 1 || len(a.Namespaces) != 1 || len(a.Buckets) != 1 || len(a.Records["kvick.bike"]) != 0 {
					t.Errorf("left: %+v", a)
				}
				if after := w.picture(shop, other); after != before {
					t.Errorf("another shop was touched:\n%s\n%s", before, after)
				}
			})
			if !reached {
				if n < 25 {
					t.Fatalf("only %d calls", n)
				}
				break
			}
			if n > 25 && testing.Short() {
				break
			}
		}
	}
}

// What has the shop's name and another owner's tag is not touched, whether that was so when it was planned or came after.
func TestAnothersIsNotDeleted(t *testing.T) {
	for _, kind := range kinds {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s late=%v", kind, late), func(t *testing.T) {
				w := newTown(t)
				shop, r := w.open("swicked", 1)
				id := map[string]string{"d1_database": r.DatabaseID, "kv_namespace": r.NamespaceID, "r2_bucket": r.Bucket, "worker": shop.Worker}[kind]
				var p *provision.Plan
				if late {
					p = provision.PlanDelete(shop, w.look(shop))
				}
				w.tag(kind, id, "mike")
				if !late {
					p = provision.PlanDelete(shop, w.look(shop))
					if rules(p.Findings) != "owner-mismatch" || len(p.Steps) > 0 {
						t.Errorf("planned %+v", p)
					}
				}
				w.ForgetRequests()
				_, err := provision.Apply(t.Context(), w.cf, p, provision.Options{})
				if f := findingsOf(err); len(f) == 0 || f[0].Rule != "owner-mismatch" {
					t.Errorf("applied: %v", err)
				}
				for _, q := range w.Requests() {
					if q.Write {
						t.Errorf("wrote %s %s", q.Method, q.Path)
					}
				}
			})
		}
	}
	t.Run("a database that fleet.yml does not hold it to", func(t *testing.T) {
		w := newTown(t)
		shop, _ := w.open("swicked", 1)
		shop.D1ID = "134ea8a4-8582-4fdc-84ec-f0eb8f4e4b60"
		if p := provision.PlanDelete(shop, w.look(shop)); rules(p.Findings) != "owner-mismatch" || len(p.Steps) > 0 {
			t.Errorf("planned %+v", p)
		}
	})
}

// What was made anew under the same name, or given to another Worker, after the plan was made is another thing, and stays.
func TestWhatChangedSinceThePlanStays(t *testing.T) {
	w := newTown(t)
	shop, r := w.open("swicked", 1)
	p := provision.PlanDelete(shop, w.look(shop))
	ctx := t.Context()
	w.must(w.cf.DeleteD1(ctx, r.DatabaseID))
	db, err := w.cf.CreateD1(ctx, cloudflare.D1Database{Name: shop.D1})
	w.must(err)
	w.tag("d1_database", db.ID, "mike")
	w.must(w.cf.DeleteKVNamespace(ctx, r.NamespaceID))
	// Its route runs another Worker by now, under the same id.
	w.deploy("site")
	routes, err := w.cf.ZoneRoutes(ctx, zoneID)
	w.must(err)
	body := fmt.Sprintf(`{"pattern": %q, "script": "site"}`, routes[0].Pattern)
	req, err := w.Request(ctx, "PUT", "/zones/"+zoneID+"/workers/routes/"+routes[0].ID, []byte(body))
	w.must(err)
	resp, err := http.DefaultClient.Do(req)
	w.must(err)
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	records, err := w.cf.DNSRecords(ctx, zoneID, shop.Hostname)
	w.must(err)
	w.must(w.cf.DeleteDNSRecord(ctx, zoneID, records[0].ID))
	_, err = w.cf.CreateDNSRecord(ctx, zoneID, cloudflare.DNSRecord{Type: "A", Name: shop.Hostname, Content: "192.0.2.1"})
	w.must(err)
	_, err = provision.Apply(ctx, w.cf, p, provision.Options{})
	w.must(err)
	a := w.look(shop)
	if len(a.Workers) != 1 || len(a.Databases) != 1 || a.Databases[0].ID != db.ID || len(a.Records["kvick.bike"]) != 1 || len(a.Routes["kvick.bike"]) != 1 {
		t.Errorf("left: %+v", a)
	}
}

// A bucket with many objects is emptied over several runs, when one fails in the middle.
func TestEmptyingGoesOn(t *testing.T) {
	w := newTown(t)
	shop, _ := w.open("swicked", 40)
	p := provision.PlanDelete(shop, w.look(shop))
	if _, err := w.Fault(sim.Rule{Method: "DELETE", Path: "/objects/", Skip: 20, Count: 1, Status: 403, Code: 10000, Message: "Authentication error"}); err != nil {
		t.Fatal(err)
	}
	_, err := provision.Apply(t.Context(), w.cf, p, provision.Options{})
	if f := findingsOf(err); rules(f) != "permission-missing" || !strings.Contains(f[0].Message, "Account · Workers R2 Storage · Edit") {
		t.Errorf("applied: %v", err)
	}
	keys, err := w.cf.FirstR2Objects(t.Context(), shop.R2, "", 1000)
	w.must(err)
	if len(keys) == 0 || len(keys) == 40 {
		t.Errorf("%d objects are left", len(keys))
	}
	a := w.look(shop)
	if len(a.Workers) != 0 || len(a.Databases) != 1 {
		t.Errorf("left: %+v", a)
	}
	_, err = provision.Apply(t.Context(), w.cf, provision.PlanDelete(shop, a), provision.Options{})
	w.must(err)
	if a := w.look(shop); len(a.Buckets)+len(a.Databases) != 0 {
		t.Errorf("left: %+v", a)
	}
}
