package cost

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/fleet"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func policy(t testing.TB, budget string) *fleet.Policy {
	t.Helper()
	p, err := fleet.Parse("fleet.yml", []byte(`product: helm
naming:
  branch: shops/{slug}
  worker: helm-{slug}
  d1: helm-{slug}-db
  r2: helm-{slug}-assets
  kv: helm-{slug}-kv
  hostname: helm-{slug}.kvick.bike
accounts:
  kvick-1:
    id: 7f3a0c5e9b1d4826a0e4c2d8f6b19357
    zone: kvick.bike
build_info:
  path: public/build_info.json
`+budget))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func shops(t testing.TB, p *fleet.Policy, slugs ...string) []Shop {
	t.Helper()
	var out []Shop
	for _, slug := range slugs {
		s, err := p.Shop(slug)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, Shop{Shop: s, Crons: 3})
	}
	return out
}

// month is a reading of 30 days in which each thing used the same every day.
func month(p *fleet.Policy, daily map[Meter]map[string]float64) *Reading {
	kinds := map[Meter]Kind{WorkerRequests: Worker, WorkerCPU: Worker, D1RowsRead: Database, D1RowsWritten: Database, D1Storage: Database,
		R2Storage: Bucket, R2ClassA: Bucket, R2ClassB: Bucket, KVReads: Namespace, KVWrites: Namespace, KVStorage: Namespace, AIGateway: Gateway}
	r := &Reading{Account: p.Accounts[0], Calls: 7}
	for m, names := range daily {
		for name, amount := range names {
			for d := range 30 {
				r.Uses = append(r.Uses, Use{kinds[m], name, now.AddDate(0, 0, -d).Format(time.DateOnly), m, amount})
			}
		}
	}
	return r
}

func input(p *fleet.Policy, list []Shop, readings ...*Reading) Input {
	return Input{Policy: p, Prices: Prices(), Shops: list, Readings: readings, At: now, From: now.Add(-30 * 24 * time.Hour), Tool: "shopfleet test"}
}

// TestCloudflaresExamples prices what Cloudflare's own pages price (developers.cloudflare.com/workers/platform/pricing,
// examples 1, 3 and 4 without the subscription; …/r2/pricing, the examples of standard storage and asset hosting).
func TestCloudflaresExamples(t *testing.T) {
	prices := map[Meter]Price{}
	for _, p := range Prices() {
		prices[p.Meter] = p
	}
	for _, x := range []struct {
		meter Meter
		month float64
		want  string
	}{
		{WorkerRequests, 15e6, "$1.50"}, {WorkerCPU, 7 * 15e6, "$1.50"}, {WorkerRequests, 720, "$0.00"}, {WorkerCPU, 180_000 * 720, "$1.99"},
		{WorkerRequests, 100e6, "$27.00"}, {WorkerCPU, 7 * 100e6, "$13.40"},
		{R2Storage, 1000e9, "$14.85"}, {R2ClassA, 1000, "$0.00"}, {R2ClassB, 1e6, "$0.00"}, {R2ClassA, 100_000, "$0.00"}, {R2ClassB, 300e6, "$104.40"},
		{R2ClassA, 2_000_001, "$9.00"}, {R2Storage, 11.1e9, "$0.03"}, // a begun unit is paid
		{D1RowsRead, 26_000e6, "$1.00"}, {D1RowsWritten, 51e6, "$1.00"}, {D1Storage, 7e9, "$1.50"}, {KVWrites, 2e6, "$5.00"}, {KVReads, 12e6, "$1.00"}, {KVStorage, 2e9, "$0.50"},
	} {
		if got := prices[x.meter].Bill(x.month).String(); got != x.want {
			t.Errorf("%s %g: %s, want %s", x.meter, x.month, got, x.want)
		}
	}
}

func TestPrices(t *testing.T) {
	seen := map[Meter]bool{}
	for _, p := range Prices() {
		if seen[p.Meter] {
			t.Errorf("%s has two prices", p.Meter)
		}
		seen[p.Meter] = true
		if !strings.HasPrefix(p.Source, "https://developers.cloudflare.com/") || p.Per <= 0 || p.USD <= 0 || p.Name == "" || !slices.Contains(Lines(), p.Line) {
			t.Errorf("%+v is not whole", p)
		}
		if _, err := time.Parse(time.DateOnly, p.Date); err != nil {
			t.Errorf("%s: %v", p.Meter, err)
		}
	}
	if len(seen) != 14 {
		t.Errorf("%d meters have a price", len(seen))
	}
}

func TestUSD(t *testing.T) {
	for u, want := range map[USD][2]string{
		0: {"$0.00", "0"}, 1: {"<$0.01", "0.000001"}, 5_000: {"$0.01", "0.005"}, 2_100_000: {"$2.10", "2.1"}, -450_000: {"-$0.45", "-0.45"},
		1_234_567_890: {"$1234.57", "1234.56789"}, 15 * Dollar: {"$15.00", "15"},
	} {
		text, err := json.Marshal(u)
		if err != nil || u.String() != want[0] || string(text) != want[1] {
			t.Errorf("%d: %s and %s, %v; want %v", int64(u), u, text, err, want)
		}
		var back USD
		if err := json.Unmarshal(text, &back); err != nil || back != u {
			t.Errorf("%s becomes %d, %v", text, int64(back), err)
		}
	}
}

// TestShareIsFair holds Share to what its words promise, with bills and uses of all sizes.
func TestShareIsFair(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for range 20_000 {
		used := make([]float64, 1+rng.IntN(60))
		total := 0.0
		for i := range used {
			switch rng.IntN(4) {
			case 0:
			case 1:
				used[i] = float64(rng.IntN(5))
			default:
				used[i] = math.Floor(math.Exp(rng.Float64() * 30))
			}
			total += used[i]
		}
		bill := USD(rng.Int64N(1 + int64(math.Exp(rng.Float64()*20))))
		parts := Share(bill, used)
		sum := USD(0)
		for i, p := range parts {
			sum += p
			if used[i] == 0 && p != 0 {
				t.Fatalf("who used nothing pays %d of %d: %v", p, bill, used)
			}
			if exact := float64(bill) * used[i] / total; total > 0 && math.Abs(float64(p)-exact) > 1.001 {
				t.Fatalf("%g of %g pays %d of %d", used[i], total, p, bill)
			}
			for j, q := range parts {
				if used[i] > used[j] && p < q {
					t.Fatalf("%g pays %d and %g pays %d of %d", used[i], p, used[j], q, bill)
				}
			}
		}
		if total > 0 && sum != bill || total == 0 && sum != 0 {
			t.Fatalf("the parts of %d come to %d: %v", bill, sum, used)
		}
	}
}

// TestAllowanceIsShared is an account whose shops together use more than is included.
func TestAllowanceIsShared(t *testing.T) {
	p := policy(t, "")
	list := shops(t, p, "swicked", "mike-s-bikes")
	r := Judge(input(p, list, month(p, map[Meter]map[string]float64{
		WorkerRequests: {"helm-swicked": 600_000, "helm-mike-s-bikes": 200_000, "reports": 200_000}, // 30 million a month, 10 included
		R2Storage:      {"helm-swicked-assets": 5e9},
		AIGateway:      {"helm-swicked": 20 * float64(Cent), "everybody": float64(Cent)},
	})))
	if len(r.Shops) != 2 || len(r.Accounts) != 1 {
		t.Fatalf("%d shops, %d accounts", len(r.Shops), len(r.Accounts))
	}
	mike, swicked, a := r.Shops[0], r.Shops[1], r.Accounts[0]
	for what, got := range map[string][2]any{
		"swicked's requests":       {swicked.Meter(WorkerRequests).Month, 18e6},
		"swicked's included":       {swicked.Meter(WorkerRequests).Included, 6e6},
		"swicked pays":             {swicked.Meter(WorkerRequests).Cost.String(), "$3.60"},
		"swicked by list":          {swicked.Meter(WorkerRequests).List.String(), "$5.40"},
		"mike pays":                {mike.Total.String(), "$1.20"},
		"nobody's Worker pays":     {a.Others.String(), "$1.20"},
		"the account":              {a.Usage.String(), "$6.00"},
		"the plan":                 {a.Plan.String(), "$5.00"},
		"swicked's half":           {swicked.Plan.String(), "$2.50"},
		"5 GB of 10 included":      {swicked.Line(LineR2Storage).Cost.String(), "$0.00"},
		"by list":                  {swicked.Line(LineR2Storage).List.String(), "$0.08"},
		"kept, not added up":       {swicked.Meter(R2Storage).Month, 5e9},
		"the gateway of the shop":  {swicked.Line(LineAI).Cost.String(), "$6.00"},
		"gateways of the account":  {a.AI.String(), "$6.30"},
		"the gateway is no part":   {swicked.Total.String(), "$3.60"},
		"crons":                    {swicked.Crons, 3},
		"requests of the last day": {r.Daily[len(r.Daily)-1].Requests, int64(800_000)},
		"days":                     {r.Days, 30.0},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %v, want %v", what, got[0], got[1])
		}
	}
	var rules []string
	for _, f := range r.Findings {
		rules = append(rules, f.Rule+" "+f.Shop+" "+f.Message)
	}
	want := []string{
		"over-budget mike-s-bikes shop mike-s-bikes costs more in a month than its budget: Worker $1.20 of $0.50",
		"over-budget swicked shop swicked costs more in a month than its budget: Worker $3.60 of $0.50, all but the AI gateway $3.60 of $2.10",
	}
	if !slices.Equal(rules, want) {
		t.Errorf("findings\n%s\nwant\n%s", strings.Join(rules, "\n"), strings.Join(want, "\n"))
	}
}

// TestBillsComeOut checks, for random accounts, that what shops and nobody pay is what the account pays, and that parts of
// the included amounts come to what is included.
func TestBillsComeOut(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	p := policy(t, "")
	list := shops(t, p, "a", "b", "c", "d")
	for range 300 {
		daily := map[Meter]map[string]float64{}
		for m, names := range map[Meter][]string{
			WorkerRequests: {"helm-a", "helm-b", "helm-c", "gone"}, WorkerCPU: {"helm-a", "helm-d", "gone"}, D1RowsRead: {"helm-a-db", "helm-c-db"}, D1RowsWritten: {"helm-b-db", "old"},
			R2Storage: {"helm-a-assets", "helm-b-assets", "left"}, R2ClassA: {"helm-d-assets"}, R2ClassB: {"helm-d-assets", "helm-a-assets"}, KVReads: {"helm-a-kv", "helm-b-kv"},
		} {
			daily[m] = map[string]float64{}
			for _, name := range names {
				daily[m][name] = math.Floor(math.Exp(rng.Float64() * 24))
			}
		}
		r := Judge(input(p, list, month(p, daily)))
		paid, included := USD(0), map[Meter]float64{}
		for _, s := range r.Shops {
			sum := USD(0)
			for _, l := range s.Lines {
				if l.Line != LineAI {
					sum += l.Cost
				}
			}
			if sum != s.Total {
				t.Fatalf("the lines of %s come to %s, its total is %s", s.Slug, sum, s.Total)
			}
			for _, m := range s.Meters {
				included[m.Meter] += m.Included
				if m.Included > m.Month*(1+1e-9) {
					t.Fatalf("%s of %s includes more than was used", m.Meter, s.Slug)
				}
			}
			paid += s.Total
		}
		a := r.Accounts[0]
		if paid+a.Others != a.Usage {
			t.Fatalf("shops pay %s and others %s of %s", paid, a.Others, a.Usage)
		}
		for _, m := range a.Meters {
			if got, want := included[m.Meter], m.Included*(1-m.Others/m.Month); math.Abs(got-want) > 1e-6*m.Included+1e-6 {
				t.Fatalf("%s: shops have %g of %g included", m.Meter, got, want)
			}
		}
	}
}

func TestOver(t *testing.T) {
	for _, x := range []struct {
		cost, budget USD
		over         bool
	}{{7 * Cent, 7 * Cent, false}, {7*Cent + 4_999, 7 * Cent, false}, {7*Cent + 5_000, 7 * Cent, true}, {0, 0, false}, {Dollar, 99 * Cent, true}} {
		if got := (LineCost{Cost: x.cost, Budget: x.budget}).Over(); got != x.over {
			t.Errorf("%s of %s: %v", x.cost, x.budget, got)
		}
	}
}

func TestOfTheSeedsTable(t *testing.T) {
	p := policy(t, "")
	// A shop of the table, alone on an account: 50 thousand requests a day, and so on. The plan includes all of it, and the
	// list price of what has one is near the table's.
	list := shops(t, p, "swicked")
	r := Judge(input(p, list, month(p, map[Meter]map[string]float64{
		WorkerRequests: {"helm-swicked": 50_000}, D1RowsRead: {"helm-swicked-db": 500_000}, D1RowsWritten: {"helm-swicked-db": 10_000},
		D1Storage: {"helm-swicked-db": 100e6}, R2Storage: {"helm-swicked-assets": 5e9}, R2ClassB: {"helm-swicked-assets": 5_000},
	})))
	s := r.Shops[0]
	if s.Total != 0 || len(r.Findings) != 0 {
		t.Errorf("total %s, findings %v", s.Total, r.Findings)
	}
	got := ""
	for _, l := range s.Lines {
		got += fmt.Sprintf("%s %s of %s; ", l.Line, l.List, l.Budget)
	}
	want := "worker $0.45 of $0.50; d1_reads $0.02 of $1.00; d1_writes $0.30 of $0.40; d1_storage $0.08 of $0.05; r2_storage $0.08 of $0.07; r2_operations $0.05 of $0.05; kv $0.00 of $0.10; ai $0.00 of $15.00; "
	if got != want {
		t.Errorf("lines\n%s, want\n%s", got, want)
	}
	if s.List.String() != "$0.97" || s.Budget.String() != "$2.10" {
		t.Errorf("by list %s, budget %s", s.List, s.Budget)
	}
}

// around makes the hours of eight days: requests and rows for each request by day (0 is that of the release) and hour.
func around(release time.Time, f func(day, hour int) (requests, rows float64)) map[time.Time]Hour {
	out := map[time.Time]Hour{}
	start := release.Truncate(time.Hour).Add(time.Hour)
	for d := -7; d <= 0; d++ {
		for h := range 23 {
			requests, rows := f(d, h)
			out[start.Add(time.Duration(d*24+h)*time.Hour)] = Hour{requests, requests * rows}
		}
	}
	return out
}

func TestJump(t *testing.T) {
	release := Release{At: now.Add(-26*time.Hour - 20*time.Minute), Commit: "0123456789abcdef"}
	reading := Prices()[2]
	for name, x := range map[string]struct {
		f      func(d, h int) (float64, float64)
		jumped bool
		why    string
	}{
		"nothing changed": {f: func(d, h int) (float64, float64) { return 100, 20 }},
		"a full scan": {jumped: true, f: func(d, h int) (float64, float64) {
			if d == 0 {
				return 100, 420
			}
			return 100, 20
		}},
		"more traffic, the same queries": {f: func(d, h int) (float64, float64) {
			if d == 0 {
				return 5000, 20
			}
			return 100, 20
		}},
		"twice of little": {f: func(d, h int) (float64, float64) {
			if d == 0 {
				return 100, 9
			}
			return 100, 2
		}},
		"a weekly report on the day of the release": {f: func(d, h int) (float64, float64) {
			if d == 0 || d == -7 {
				return 100, 900
			}
			return 100, 20
		}},
		"rows per request grow a little": {f: func(d, h int) (float64, float64) {
			if d == 0 {
				return 100, 35
			}
			return 100, 20
		}},
		"from nothing": {jumped: true, f: func(d, h int) (float64, float64) {
			if d == 0 {
				return 100, 30
			}
			return 100, 0
		}},
		"a new shop": {why: "no day of the 7", f: func(d, h int) (float64, float64) {
			if d == 0 {
				return 100, 30
			}
			return 0, 0
		}},
		"nobody comes": {why: "had 69 requests", f: func(d, h int) (float64, float64) { return 3, 30 }},
	} {
		j, why := compare(around(release.At, x.f), release, now, reading)
		if x.why != "" {
			if j != nil || !strings.Contains(why, x.why) {
				t.Errorf("%s: %+v, %s", name, j, why)
			}
			continue
		}
		if j == nil || j.Jumped != x.jumped || j.Hours != 23 || j.Days != 7 {
			t.Errorf("%s: %+v, %s", name, j, why)
		}
	}
	if _, why := compare(nil, Release{At: now.Add(-30 * time.Minute)}, now, reading); !strings.Contains(why, "no whole hour") {
		t.Error(why)
	}
	// 400 rows more for each of 100 requests an hour: 28.8 million rows a month, at $0.001 a million.
	j, _ := compare(around(release.At, func(d, h int) (float64, float64) {
		if d == 0 {
			return 100, 420
		}
		return 100, 20
	}), release, now, reading)
	if j.Before != 20 || j.After != 420 || j.Rows != 28.8e6 || j.Monthly != 28_800 {
		t.Errorf("%+v", j)
	}
}

// TestJumpRaisesNoFalseAlarm is a thousand pairs without a change: shops with a day's rhythm, noise, and a nightly job.
func TestJumpRaisesNoFalseAlarm(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	alarms, missed := 0, 0
	for range 1000 {
		release := Release{At: now.Add(-25*time.Hour - time.Duration(rng.IntN(1440))*time.Minute)}
		rows, job := 5+rng.Float64()*200, rng.Float64()*20_000
		make := func(factor float64) map[time.Time]Hour {
			out := map[time.Time]Hour{}
			for d := -9 * 24; d < 0; d++ {
				at := now.Truncate(time.Hour).Add(time.Duration(d) * time.Hour)
				rhythm := 1 + math.Sin(float64(at.Hour())/24*2*math.Pi)
				requests := math.Floor(rng.Float64() * 400 * rhythm)
				f := 1.0
				if at.After(release.At) {
					f = factor
				}
				h := Hour{requests, requests * rows * f * (0.7 + rng.Float64()*0.6)}
				if at.Hour() == 3 {
					h.RowsRead += job
				}
				out[at] = h
			}
			return out
		}
		if j, _ := compare(make(1), release, now, Prices()[2]); j != nil && j.Jumped {
			alarms++
		}
		if j, _ := compare(make(10), release, now, Prices()[2]); j != nil && !j.Jumped {
			missed++
		}
	}
	if alarms > 0 || missed > 0 {
		t.Errorf("of 1000 pairs without a change %d raise an alarm; of 1000 with ten times the rows %d raise none", alarms, missed)
	}
}

func TestJumpIsFound(t *testing.T) {
	p := policy(t, "")
	list := shops(t, p, "swicked", "mike-s-bikes")
	list[0].Release = &Release{At: now.Add(-25 * time.Hour), Commit: "0123456789abcdef"}
	list[1].Release = &Release{At: now.Add(-9 * 24 * time.Hour)}
	scan := func(d, h int) (float64, float64) {
		if d == 0 {
			return 100, 420
		}
		return 100, 20
	}
	r := month(p, nil)
	r.Hours = map[string]map[time.Time]Hour{"helm-swicked": around(list[0].Release.At, scan), "helm-mike-s-bikes": around(list[1].Release.At, scan)}
	got := Judge(input(p, list, r))
	if len(got.Findings) != 1 || got.Findings[0].Rule != ruleJump || got.Findings[0].Shop != "swicked" {
		t.Fatalf("findings %+v", got.Findings)
	}
	want := "shop swicked reads 420 rows for each request since the release of 2026-11-27 11:00 UTC (commit 012345678); before it was 20 at most: 28.8 million rows more in a month, +$0.03 where no included ones are left"
	if got.Findings[0].Message != want {
		t.Errorf("%s\nwant\n%s", got.Findings[0].Message, want)
	}
	if w := Watch(list, p.Accounts[0], now); len(w) != 1 || w[0].Worker != "helm-swicked" {
		t.Errorf("watched %+v", w)
	}
}

func TestHistory(t *testing.T) {
	p := policy(t, "")
	r := Judge(input(p, shops(t, p, "swicked"), month(p, map[Meter]map[string]float64{WorkerRequests: {"helm-swicked": 600_000}})))
	list, err := Remember(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Remember(list, r)
	if err != nil || len(again) != 1 {
		t.Fatalf("the same day again: %d entries, %v", len(again), err)
	}
	next := *r
	next.At = r.At.Add(7 * 24 * time.Hour)
	if list, err = Remember(again, &next); err != nil || len(list) != 2 {
		t.Fatalf("a week later: %d entries, %v", len(list), err)
	}
	if _, err := Remember(list, r); err == nil {
		t.Error("a report older than the newest entry is remembered")
	}
	text, err := WriteHistory(list)
	if err != nil {
		t.Fatal(err)
	}
	back, err := ReadHistory(text)
	if err != nil || len(back) != 2 || back[0].Totals[LineTotal] != list[0].Totals[LineTotal] || back[0].Totals[LineTotal].String() != "$2.40" {
		t.Errorf("read back %+v, %v", back, err)
	}
	for name, text := range map[string]string{"no JSON": "{", "another file": `{"a":1}`, "out of order": string(text) + string(text)} {
		if _, err := ReadHistory([]byte(text)); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReadHistory(f *testing.F) {
	f.Add([]byte(`{"shopfleet_cost":1,"at":"2026-11-28T12:00:00Z","days":30,"prices":"2026-11-28","shops":[{"slug":"a","total":1.5,"lines":{"worker":1.5},"month":{"kv_reads":3}}],"plans":5,"others":0,"totals":{"total":1.5}}` + "\n"))
	f.Add([]byte("\n\n{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := ReadHistory(text)
		if err != nil {
			return
		}
		once, err := WriteHistory(list)
		if err != nil {
			t.Skip() // numbers that JSON cannot have do not come out of JSON
		}
		again, err := ReadHistory(once)
		if err != nil || len(again) != len(list) {
			t.Fatalf("%q cannot be read back: %v", once, err)
		}
	})
}

func TestR2Meter(t *testing.T) {
	for action, want := range map[string]Meter{"GetObject": R2ClassB, "HeadObject": R2ClassB, "PutObject": R2ClassA, "ListObjects": R2ClassA, "DeleteObject": "", "AbortMultipartUpload": "", "SomethingNew": R2ClassA} {
		if m, _ := r2Meter(action); m != want {
			t.Errorf("%s: %q, want %q", action, m, want)
		}
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		Amount(0): "0", Amount(730): "730", Amount(9999): "9999", Amount(25_400): "25.4 thousand", Amount(1.5e6): "1.5 million", Amount(999.9e3): "1 million", Amount(25e9): "25 billion",
		Bytes(0): "0 B", Bytes(5e9): "5 GB", Bytes(123_456_789): "123.5 MB", WorkerCPU.Words(1e6): "1 million ms", AIGateway.Words(1_230_000): "$1.23", D1Storage.Words(1e6): "1 MB",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestWhose is about things that are a shop's without being called after it, shops that moved, and reports about a few.
func TestWhose(t *testing.T) {
	p := policy(t, "shops:\n  swicked:\n    others:\n      r2_bucket: [swicked-photos]\n      d1: [swicked-archive]\n")
	p.Accounts = append(p.Accounts, fleet.Account{Name: "kvick-2", ID: "0123456789abcdef0123456789abcdef"})
	list := shops(t, p, "swicked", "mike-s-bikes")
	one := month(p, map[Meter]map[string]float64{
		WorkerRequests: {"helm-swicked": 100_000, "helm-mike-s-bikes": 50_000}, R2Storage: {"helm-swicked-assets": 4e9, "swicked-photos": 3e9},
		D1RowsRead: {"swicked-archive": 10, "kvick-old": 5},
	})
	two := month(p, map[Meter]map[string]float64{WorkerRequests: {"helm-swicked": 1000}})
	two.Account = p.Accounts[1]
	in := input(p, list, two, one)
	r := Judge(in)
	swicked := r.Shops[1]
	for what, got := range map[string][2]any{
		"both buckets":          {swicked.Meter(R2Storage).Month, 7e9},
		"the archive":           {swicked.Meter(D1RowsRead).Month, 300.0},
		"both accounts":         {swicked.Meter(WorkerRequests).Used, 101_000.0 * 30},
		"accounts by name":      {r.Accounts[0].Name + " " + r.Accounts[1].Name, "kvick-1 kvick-2"},
		"shops of the second":   {r.Accounts[1].Shops, 0},
		"nobody's":              {r.Accounts[0].Meters[1].Others, 150.0},
		"the plan of the first": {swicked.Plan.String(), "$2.50"},
		"days":                  {r.Daily[len(r.Daily)-1].Requests, int64(151_000)},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %v, want %v", what, got[0], got[1])
		}
	}
	in.Only = []string{"mike-s-bikes"}
	few := Judge(in)
	if len(few.Shops) != 1 || few.Shops[0].Total != r.Shops[0].Total || few.Daily[len(few.Daily)-1].Requests != 50_000 {
		t.Errorf("of one shop: %+v", few.Shops)
	}
	if _, err := Remember(nil, few); err == nil {
		t.Error("a report about one shop is remembered")
	}
}

// TestUnread wants an account that could not be read to be no cheap one.
func TestUnread(t *testing.T) {
	p := policy(t, "")
	list := shops(t, p, "swicked")
	r := Judge(input(p, list, &Reading{Account: p.Accounts[0], Error: "HTTP 500", Gaps: []Gap{{What: "D1", Why: "HTTP 500", Priced: true}}}))
	if !slices.Equal(r.Unread(), []string{"kvick-1"}) || !slices.Equal(r.NotRead, []string{"D1 of account kvick-1"}) || r.Accounts[0].Plan != 0 || r.Shops[0].Plan != 0 {
		t.Errorf("unread %v, not read %v, plan %s", r.Unread(), r.NotRead, r.Accounts[0].Plan)
	}
	history, err := Remember(nil, r)
	if err != nil || !slices.Equal(history[0].Unread, []string{"kvick-1"}) {
		t.Errorf("%+v, %v", history, err)
	}
}

// TestStorageIsTheMeanOfPeaks is R2's own example: 1 GB for 5 days, then 3 GB for 25 (developers.cloudflare.com/r2/pricing).
func TestStorageIsTheMeanOfPeaks(t *testing.T) {
	p := policy(t, "")
	r := &Reading{Account: p.Accounts[0]}
	for d := range 30 {
		size := 3e9
		if d >= 25 {
			size = 1e9
		}
		r.Uses = append(r.Uses, Use{Bucket, "helm-swicked-assets", now.AddDate(0, 0, -d).Format(time.DateOnly), R2Storage, size})
	}
	got := Judge(input(p, shops(t, p, "swicked"), r)).Shops[0].Meter(R2Storage).Month
	if want := 1e9*5/30 + 3e9*25/30; math.Abs(got-want) > 1 {
		t.Errorf("%g bytes, want %g", got, want)
	}
}

// What a Worker made up is a bill too large to believe, and shared all the same.
func TestHugeUseIsShared(t *testing.T) {
	for _, amount := range []float64{1e17, 9e18, 1e19, 1e30, 1e300} {
		bill := Price{Per: 1, USD: 1}.Bill(amount)
		if bill <= 0 || bill > mostUSD || dollars(amount) != mostUSD || (Price{Per: 1, USD: 1}).List(amount) != mostUSD {
			t.Fatalf("%g comes to %d, %d", amount, bill, dollars(amount))
		}
		sum := USD(0)
		for _, part := range Share(bill, []float64{amount, 1, amount / 3}) {
			if part < 0 {
				t.Errorf("%g: a part of %d", amount, part)
			}
			sum += part
		}
		if sum != bill {
			t.Errorf("%g: the parts come to %d of %d", amount, sum, bill)
		}
	}
}
