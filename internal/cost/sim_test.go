package cost_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/cost"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

const accountID = "7f3a0c5e9b1d4826a0e4c2d8f6b19357"

// fleetOf is an account with shops s0, s1, … that have their stores.
func fleetOf(t *testing.T, o sim.Options, n int) (*simtest.World, *cloudflare.Client, fleet.Account) {
	t.Helper()
	w := simtest.New(t, o)
	a := w.Account(t, accountID, "kvick-1")
	for i := range n {
		if err := errors.Join(a.AddD1(fmt.Sprintf("helm-s%d-db", i), database(i), "wnam"), a.AddKV(fmt.Sprintf("helm-s%d-kv", i), namespace(i)), a.AddR2(fmt.Sprintf("helm-s%d-assets", i))); err != nil {
			t.Fatal(err)
		}
	}
	cf := &cloudflare.Client{BaseURL: w.URL, AccountID: accountID, Token: simtest.Token, Transport: cloudflare.LoopbackOnly(nil)}
	return w, cf.ReadOnly(), fleet.Account{Name: "kvick-1", ID: accountID}
}

func database(i int) string  { return fmt.Sprintf("134ea8a4-8582-4fdc-84ec-%012x", i) }
func namespace(i int) string { return fmt.Sprintf("%032x", i+1) }

var noon = time.Date(2026, 11, 28, 12, 30, 0, 0, time.UTC)

func TestRead(t *testing.T) {
	w, cf, account := fleetOf(t, sim.Options{Now: func() time.Time { return noon }}, 2)
	day := func(d int) time.Time { return noon.AddDate(0, 0, -d) }
	err := w.Plant(accountID,
		sim.Usage{At: day(0), Worker: "helm-s0", Requests: 1000, CPU: sim.Duration(7 * time.Second), Exceptions: 10},
		sim.Usage{At: day(1), Worker: "helm-s0", Requests: 500, CPU: sim.Duration(time.Second)},
		sim.Usage{At: day(40), Worker: "helm-s0", Requests: 77},
		sim.Usage{At: day(3), Database: database(0), RowsRead: 90_000, RowsWritten: 40, DatabaseBytes: 100e6},
		sim.Usage{At: day(3), Database: "00000000-0000-4000-8000-000000000000", RowsRead: 5},
		sim.Usage{At: day(2), Namespace: namespace(1), Actions: map[string]int64{"read": 30, "write": 4, "delete": 3, "list": 2}, Keys: 10, Bytes: 2000},
		sim.Usage{At: day(2), Bucket: "helm-s1-assets", Actions: map[string]int64{"GetObject": 50, "HeadObject": 5, "PutObject": 6, "ListObjects": 1, "DeleteObject": 9}, Keys: 3, Bytes: 5e9},
		sim.Usage{At: day(2), Bucket: "eu_helm-s1-docs", Actions: map[string]int64{"GetObject": 1}},
		sim.Usage{At: day(1), Gateway: "helm-s0", Requests: 12, Cost: 1.25},
	)
	if err != nil {
		t.Fatal(err)
	}
	w.Bill(accountID, sim.Charge{Service: "D1 rows read", Unit: "rows", Day: day(2), Quantity: 10, Cost: 0.5}, sim.Charge{Service: "D1 rows read", Unit: "rows", Day: day(1), Quantity: 5, Cost: 0.25})
	w.ForgetRequests()
	got := cost.Read(context.Background(), cf, account, cost.Options{From: noon.AddDate(0, 0, -29).Truncate(24 * time.Hour), Until: noon, Billing: true})
	if got.Error != "" || len(got.Gaps) > 0 {
		t.Fatalf("%s %v", got.Error, got.Gaps)
	}
	if n := len(w.Requests()); n != 8 || got.Calls != n {
		t.Errorf("%d calls, said to be %d; want 8", n, got.Calls)
	}
	have := map[string]float64{}
	for _, u := range got.Uses {
		have[fmt.Sprintf("%s %s %s", u.Name, u.Date, u.Meter)] += u.Amount
	}
	for key, want := range map[string]float64{
		"helm-s0 2026-11-28 worker_requests": 1000, "helm-s0 2026-11-28 worker_cpu_ms": 7000, "helm-s0 2026-11-27 worker_requests": 500,
		"helm-s0-db 2026-11-25 d1_rows_read": 90_000, "helm-s0-db 2026-11-25 d1_rows_written": 40, "helm-s0-db 2026-11-25 d1_storage_bytes": 100e6,
		"00000000-0000-4000-8000-000000000000 2026-11-25 d1_rows_read": 5,
		"helm-s1-kv 2026-11-26 kv_reads":                               30, "helm-s1-kv 2026-11-26 kv_writes": 4, "helm-s1-kv 2026-11-26 kv_deletes": 3, "helm-s1-kv 2026-11-26 kv_lists": 2, "helm-s1-kv 2026-11-26 kv_storage_bytes": 2000,
		"helm-s1-assets 2026-11-26 r2_class_b": 55, "helm-s1-assets 2026-11-26 r2_class_a": 7, "helm-s1-assets 2026-11-26 r2_storage_bytes": 5e9, "helm-s1-docs 2026-11-26 r2_class_b": 1,
		"helm-s0 2026-11-27 ai_gateway_usd": 1.25e6,
	} {
		if have[key] != want {
			t.Errorf("%s: %g, want %g", key, have[key], want)
		}
	}
	for key := range have {
		if strings.Contains(key, "2026-10-1") {
			t.Errorf("%s is older than what was asked for", key)
		}
	}
	if len(got.Charges) != 2 || got.Charges[1].Cost != 0.25 || got.Charges[0].Service != "D1 rows read" {
		t.Errorf("charges %+v", got.Charges)
	}
}

// TestReadWhatHappened is usage that nobody planted: what the API's own calls do to stores is usage too.
func TestReadWhatHappened(t *testing.T) {
	w, cf, account := fleetOf(t, sim.Options{}, 1)
	ctx := context.Background()
	client := &cloudflare.Client{BaseURL: w.URL, AccountID: accountID, Token: simtest.Token, Transport: cloudflare.LoopbackOnly(nil)}
	if _, err := client.D1Exec(ctx, database(0), "CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3); SELECT * FROM t"); err != nil {
		t.Fatal(err)
	}
	if err := client.PutKVValue(ctx, namespace(0), "k", "value"); err != nil {
		t.Fatal(err)
	}
	if err := client.PutR2Object(ctx, "helm-s0-assets", "", "o", []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	got := cost.Read(ctx, cf, account, cost.Options{From: now.Truncate(24 * time.Hour), Until: now.Add(time.Minute)})
	have := map[cost.Meter]float64{}
	for _, u := range got.Uses {
		have[u.Meter] += u.Amount
	}
	if got.Error != "" || have[cost.D1RowsRead] < 3 || have[cost.D1RowsWritten] < 3 || have[cost.D1Storage] < 4096 || have[cost.KVWrites] != 1 || have[cost.KVStorage] != 5 || have[cost.R2ClassA] != 1 || have[cost.R2Storage] != 10 {
		t.Errorf("%s %v %v", got.Error, got.Gaps, have)
	}
}

// TestReadALargeAccount has more rows than a query gives; none of them may be lost.
func TestReadALargeAccount(t *testing.T) {
	const workers = 400
	w, cf, account := fleetOf(t, sim.Options{Now: func() time.Time { return noon }}, 0)
	var list []sim.Usage
	for i := range workers {
		for d := range 31 {
			list = append(list, sim.Usage{At: noon.AddDate(0, 0, -d), Worker: fmt.Sprintf("w%d", i), Requests: 1})
		}
	}
	if err := w.Plant(accountID, list...); err != nil {
		t.Fatal(err)
	}
	got := cost.Read(context.Background(), cf, account, cost.Options{From: noon.AddDate(0, 0, -30).Truncate(24 * time.Hour), Until: noon})
	sum := 0.0
	for _, u := range got.Uses {
		if u.Meter == cost.WorkerRequests {
			sum += u.Amount
		}
	}
	if got.Error != "" || sum != workers*31 || got.Calls != 9 {
		t.Errorf("%.0f of %d requests in %d calls: %s", sum, workers*31, got.Calls, got.Error)
	}
}

func TestReadGaps(t *testing.T) {
	w, cf, account := fleetOf(t, sim.Options{Now: func() time.Time { return noon }}, 1)
	if err := w.Plant(accountID, sim.Usage{At: noon, Worker: "helm-s0", Requests: 5}); err != nil {
		t.Fatal(err)
	}
	o := cost.Options{From: noon.Truncate(24 * time.Hour), Until: noon, Billing: true}
	w.Withhold(accountID, "aiGatewayRequestsAdaptiveGroups")
	got := cost.Read(context.Background(), cf, account, o)
	if got.Error != "" || len(got.Gaps) != 1 || got.Gaps[0].What != "AI gateway" || got.Gaps[0].Priced {
		t.Errorf("without AI gateways: %q %+v", got.Error, got.Gaps)
	}
	if _, err := w.Fault(sim.Rule{Path: "billable-usage", Status: 403, Code: 10000, Message: "Authentication error", Count: -1}); err != nil {
		t.Fatal(err)
	}
	w.Withhold(accountID, "r2StorageAdaptiveGroups")
	got = cost.Read(context.Background(), cf, account, o)
	if !strings.HasPrefix(got.Error, "read in part: ") || len(got.Gaps) != 3 || got.Gaps[1].What != "R2" || !got.Gaps[1].Priced || got.Gaps[2].What != "what Cloudflare billed" {
		t.Errorf("without R2: %q %+v", got.Error, got.Gaps)
	}
	if _, err := w.Fault(sim.Rule{Path: "graphql", Status: 403, Code: 10000, Message: "Authentication error", Count: -1}); err != nil {
		t.Fatal(err)
	}
	got = cost.Read(context.Background(), cf, account, o)
	if got.Error == "" || strings.HasPrefix(got.Error, "read in part") || len(got.Uses) > 0 {
		t.Errorf("without analytics: %q %+v", got.Error, got.Gaps)
	}
}

// TestReadAroundReleases plants a full scan after a release and finds it, with two calls more.
func TestReadAroundReleases(t *testing.T) {
	w, cf, account := fleetOf(t, sim.Options{Now: func() time.Time { return noon }}, 2)
	release := noon.Add(-26 * time.Hour)
	var list []sim.Usage
	for h := range 9 * 24 {
		at := noon.Add(-time.Duration(h) * time.Hour)
		each := int64(20)
		if at.After(release) {
			each = 400
		}
		list = append(list, sim.Usage{At: at, Worker: "helm-s0", Requests: 50}, sim.Usage{At: at, Database: database(0), RowsRead: 50 * each},
			sim.Usage{At: at, Worker: "helm-s1", Requests: 50}, sim.Usage{At: at, Database: database(1), RowsRead: 50 * 20})
	}
	if err := w.Plant(accountID, list...); err != nil {
		t.Fatal(err)
	}
	policy, err := fleet.Parse("fleet.yml", []byte("product: helm\nnaming:\n  branch: shops/{slug}\n  worker: helm-{slug}\n  d1: helm-{slug}-db\n  r2: helm-{slug}-assets\n  kv: helm-{slug}-kv\n"+
		"  hostname: helm-{slug}.kvick.bike\naccounts:\n  kvick-1:\n    id: "+accountID+"\n    zone: kvick.bike\nbuild_info:\n  path: public/build_info.json\n"))
	if err != nil {
		t.Fatal(err)
	}
	var shops []cost.Shop
	for i := range 2 {
		s, err := policy.Shop(fmt.Sprintf("s%d", i))
		if err != nil {
			t.Fatal(err)
		}
		shops = append(shops, cost.Shop{Shop: s, Release: &cost.Release{At: release}})
	}
	o := cost.Options{From: noon.AddDate(0, 0, -29).Truncate(24 * time.Hour), Until: noon, Watch: cost.Watch(shops, policy.Accounts[0], noon)}
	got := cost.Read(context.Background(), cf, account, o)
	if got.Error != "" || len(got.Gaps) > 0 || got.Calls != 8 {
		t.Fatalf("%d calls, %s %v", got.Calls, got.Error, got.Gaps)
	}
	r := cost.Judge(cost.Input{Policy: policy, Prices: cost.Prices(), Shops: shops, Readings: []*cost.Reading{got}, At: noon, From: o.From})
	if len(r.Findings) != 1 || r.Findings[0].Rule != "rows-per-request-jump" || r.Findings[0].Shop != "s0" {
		t.Errorf("findings %+v", r.Findings)
	}
	if j := r.Shops[0].Jump; j == nil || j.Before != 20 || j.After != 400 || j.Requests != 50*23 {
		t.Errorf("%+v", r.Shops[0].Jump)
	}
	if j := r.Shops[1].Jump; j == nil || j.Jumped || j.After != 20 {
		t.Errorf("%+v", r.Shops[1].Jump)
	}
}
