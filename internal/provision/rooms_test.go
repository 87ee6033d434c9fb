package provision_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/provision"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

// limits are those of an account, each with a way to use n of it up.
var limits = []struct {
	what    string
	max     int
	fill    func(a *provision.Account, n int)
	fromUse float64 // what a new shop takes
	custom  bool    // only with a custom domain
}{
	{"shops", 50, func(a *provision.Account, n int) {
		for i := range n {
			a.Owners[fmt.Sprintf("d1_database/%d", i)] = fmt.Sprintf("shop-%d", i)
		}
	}, 1, false},
	{"crons", 250, func(a *provision.Account, n int) { a.Crons["other"] = n }, 3, false},
	{"Workers", 500, func(a *provision.Account, n int) { a.Workers = make([]cloudflare.Worker, n) }, 1, false},
	{"KV namespaces", 1000, func(a *provision.Account, n int) { a.Namespaces = make([]cloudflare.KVNamespace, n) }, 1, false},
	{"D1 databases", 50_000, func(a *provision.Account, n int) { a.Databases = make([]cloudflare.D1Database, n) }, 1, false},
	{"R2 buckets", 100_000, func(a *provision.Account, n int) { a.Buckets = make([]cloudflare.R2Bucket, n) }, 1, false},
	{"routes of kvick.bike", 1000, func(a *provision.Account, n int) { a.Routes["kvick.bike"] = make([]cloudflare.Route, n) }, 1, false},
	{"custom domains of kvick.bike", 100, func(a *provision.Account, n int) {
		a.Domains = slices.Repeat([]cloudflare.Domain{{ZoneName: "kvick.bike", Service: "other", Hostname: "other"}}, n)
	}, 1, true},
}

func emptyAccount(a fleet.Account) *provision.Account {
	return &provision.Account{
		Account: a, Zones: []cloudflare.Zone{{ID: zoneID, Name: a.Zone}}, Owners: map[string]string{}, Crons: map[string]int{},
		Routes: map[string][]cloudflare.Route{}, Records: map[string][]cloudflare.DNSRecord{}, Filled: map[string]bool{}, Subdomains: map[string]cloudflare.Subdomain{},
	}
}

// Every limit stops the shop that does not fit any more, and none that does; a shop that is there already takes nothing.
func TestEveryLimit(t *testing.T) {
	policy := policyOf(t, policyText)
	first, _ := policy.AccountNamed("kvick-1")
	shop, err := policy.Shop("swicked")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range limits {
		for over := range 3 { // one more fits, just fits, does not fit
			a := emptyAccount(first)
			used := l.max - int(l.fromUse) - 1 + over
			l.fill(a, used)
			x := provision.Want{Shop: shop, Crons: 3, CustomDomain: l.custom}
			p := provision.PlanMake(x, a)
			if full := over == 2; full != (rules(p.Findings) == "account-full") || !full && len(p.Findings) > 0 {
				t.Errorf("%d of %d %s: %v", used, l.max, l.what, p.Findings)
			} else if full && !strings.Contains(p.Findings[0].Message, fmt.Sprintf("%d of %d %s", used, l.max, l.what)) {
				t.Errorf("%s: %s", l.what, p.Findings[0].Message)
			}
		}
	}
	// All that the shop takes is there already, and everything is full.
	a := emptyAccount(first)
	for _, l := range limits {
		l.fill(a, l.max)
	}
	a.Workers[0].Name, a.Namespaces[0].Title, a.Databases[0].Name, a.Buckets[0].Name = shop.Worker, shop.KV, shop.D1, shop.R2
	a.Namespaces[0].ID, a.Databases[0].ID = "k", "d"
	a.Owners = map[string]string{"kv_namespace/k": "swicked", "d1_database/d": "swicked", "r2_bucket/" + shop.R2: "swicked", "worker/" + shop.Worker: "swicked"}
	for i := range 49 {
		a.Owners[fmt.Sprintf("d1_database/%d", i)] = fmt.Sprintf("shop-%d", i)
	}
	a.Crons = map[string]int{"other": 247, shop.Worker: 3}
	a.Routes["kvick.bike"][0] = cloudflare.Route{Pattern: shop.Hostname + "/*", Script: shop.Worker}
	a.Domains[0] = cloudflare.Domain{Hostname: shop.Hostname, Service: shop.Worker, ZoneName: "kvick.bike"}
	for _, custom := range []bool{false, true} {
		if p := provision.PlanMake(provision.Want{Shop: shop, Crons: 3, CustomDomain: custom}, a); len(p.Findings) > 0 {
			t.Errorf("a shop that is there, custom domain %v: %v", custom, p.Findings)
		}
	}
	// Shops that only their branches tell of count, each once.
	a = emptyAccount(first)
	for i := range 30 {
		a.Owners[fmt.Sprintf("d1_database/%d", i)] = fmt.Sprintf("shop-%d", i)
	}
	var others []string
	for i := 20; i < 49; i++ {
		others = append(others, fmt.Sprintf("shop-%d", i))
	}
	if p := provision.PlanMake(provision.Want{Shop: shop, Others: others}, a); len(p.Findings) > 0 {
		t.Errorf("49 shops: %v", p.Findings)
	}
	if p := provision.PlanMake(provision.Want{Shop: shop, Others: append(others, "shop-49", "swicked")}, a); rules(p.Findings) != "account-full" {
		t.Errorf("50 shops: %v", p.Findings)
	}
	if p := provision.PlanMake(provision.Want{Shop: shop}, &provision.Account{Account: first, Error: "no"}); rules(p.Findings) != "account-unread" {
		t.Errorf("unread: %v", p.Findings)
	}
}

// An account that was filled between the plan and its application is found full before anything is written.
func TestFilledMeanwhile(t *testing.T) {
	for name, tc := range map[string]struct {
		policy string
		before func(*town) // some are there when it is planned
		fill   func(*town)
	}{
		"shops": {
			policy: strings.Replace(policyText, "max_shops: 50", "max_shops: 2", 1),
			before: func(w *town) { w.tag("d1_database", w.put("d1_database", w.shop("a"), false), "a") },
			fill:   func(w *town) { w.tag("kv_namespace", w.put("kv_namespace", w.shop("b"), false), "b") },
		},
		"KV namespaces": {
			policy: policyText,
			before: func(w *town) {
				for i := range 901 {
					w.must(w.sim.AddKV(fmt.Sprintf("kv-%d", i), ""))
				}
			},
			fill: func(w *town) {
				for i := range 99 {
					w.must(w.sim.AddKV(fmt.Sprintf("kw-%d", i), ""))
				}
			},
		},
		"crons": {
			policy: policyText,
			before: func(w *town) { w.crons("one", 225) },
			fill:   func(w *town) { w.crons("two", 24) },
		},
		"custom domains": {
			policy: policyText,
			before: func(w *town) { w.domains("one", 10) },
			fill:   func(w *town) { w.domains("one", 100) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			w.policy = policyOf(t, tc.policy)
			w.account, _ = w.policy.AccountNamed("kvick-1")
			tc.before(w)
			shop := w.shop("swicked")
			a := w.look(shop)
			if name == "crons" {
				a.Crons["one"] = 225 // as their branches say
			}
			x := want(shop)
			x.CustomDomain = name == "custom domains"
			p := provision.PlanMake(x, a)
			if len(p.Findings) > 0 {
				t.Fatal(p.Findings)
			}
			tc.fill(w)
			w.ForgetRequests()
			_, err := provision.Apply(t.Context(), w.cf, p, provision.Options{})
			if f := findingsOf(err); rules(f) != "account-full" || !strings.Contains(f[0].Message, name) {
				t.Errorf("applied: %v", err)
			}
			for _, q := range w.Requests() {
				if q.Write {
					t.Errorf("wrote %s %s", q.Method, q.Path)
				}
			}
		})
	}
	t.Run("databases", func(t *testing.T) { // by Cloudflare's own count
		w := newTown(t)
		if _, err := w.Fault(sim.Rule{Method: "POST", Path: "/d1/database$", Status: 400, Code: 7406, Message: "you have reached the limit"}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.make(t.Context(), want(w.shop("swicked"))); rules(findingsOf(err)) != "account-full" {
			t.Errorf("made: %v", err)
		}
	})
}

func (w *town) crons(worker string, n int) {
	w.Helper()
	w.deploy(worker)
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("%d %d * * *", i%60, i/60))
	}
	w.must(w.cf.PutSchedules(w.Context(), worker, list))
}

func (w *town) domains(worker string, n int) {
	w.Helper()
	w.deploy(worker)
	var list []cloudflare.Origin
	for i := range n {
		list = append(list, cloudflare.Origin{Hostname: fmt.Sprintf("x%d.kvick.bike", i)})
	}
	w.must(w.cf.PutDomains(w.Context(), worker, list))
}

// A token that lacks one permission gives a finding that names it, for reading and for writing.
func TestATokenThatLacksOnePermission(t *testing.T) {
	all := map[string]string{
		"d1": "Account · D1", "workers scripts": "Account · Workers Scripts", "workers kv storage": "Account · Workers KV Storage",
		"workers r2 storage": "Account · Workers R2 Storage", "zone dns": "Zone · DNS", "zone workers routes": "Zone · Workers Routes",
		"resource tagging": "Account · Resource Tagging", "zone": "Zone · Zone",
	}
	for lacking, name := range all {
		for _, level := range []string{"read", "edit"} {
			t.Run(lacking+" "+level, func(t *testing.T) {
				w := newTown(t)
				var have []string
				for p := range all {
					switch {
					case p != lacking:
						have = append(have, p+"=edit")
					case level == "edit":
						have = append(have, p+"=read")
					}
				}
				w.must(w.AddToken(sim.Token{Value: "a-token-that-lacks-something", Name: "poor", Permissions: have}))
				w.client("a-token-that-lacks-something")
				shop := w.shop("swicked")
				_, err := w.make(t.Context(), want(shop))
				f := findingsOf(err)
				level := map[string]string{"read": "Read", "edit": "Edit"}[level]
				switch {
				case level == "Read" && lacking == "resource tagging": // works without
					w.must(err)
					return
				case level == "Read" && lacking == "zone": // an empty list, as if there were none
					if rules(f) != "zone-unknown" || !strings.Contains(f[0].Hint, "Zone · Zone · Read") {
						t.Errorf("made: %v", err)
					}
					return
				case level == "Edit" && strings.Contains("zone workers scripts zone workers routes", lacking): // nothing of theirs is written
					w.must(err)
					return
				}
				if rules(f) != "permission-missing" || !strings.Contains(f[0].Message, name+" · "+level) || !strings.Contains(f[0].Message, "kvick-1") {
					t.Errorf("made: %v", err)
				}
				// With the permission the next run makes one shop of what is there.
				w.client(simtest.Token)
				r, err := w.make(t.Context(), want(shop))
				w.must(err)
				w.owned(shop, r)
			})
		}
	}
	t.Run("several", func(t *testing.T) {
		w := newTown(t)
		w.must(w.AddToken(sim.Token{Value: "a-token-that-lacks-more", Name: "poorer", Permissions: []string{
			"d1=read", "workers scripts=edit", "workers kv storage=edit", "workers r2 storage=read", "zone dns=edit", "zone workers routes=edit", "resource tagging=edit", "zone=read"}}))
		w.client("a-token-that-lacks-more")
		_, err := w.make(t.Context(), want(w.shop("swicked")))
		text := fmt.Sprint(err)
		if rules(findingsOf(err)) != "permission-missing permission-missing" || !strings.Contains(text, "D1 · Edit") || !strings.Contains(text, "Workers R2 Storage · Edit") {
			t.Errorf("made: %v", err)
		}
	})
}

// Choose never picks an account that is full, that could not be read or that hostnames do not reach; it picks the one with
// the most room, and finds none only when there is none. The rooms it goes by are right: so many shops fit, and not one more.
func TestChoosingAmongRandomAccounts(t *testing.T) {
	policy := policyOf(t, policyText)
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 2000 {
		var accounts []*provision.Account
		var shops []fleet.Shop
		for _, fa := range policy.Accounts {
			a := emptyAccount(fa)
			a.Zones[0].Name = fa.Zone
			if r.IntN(8) == 0 {
				a.Error = "no answer"
			}
			for _, l := range limits {
				if l.custom || l.max > 1000 || r.IntN(2) == 0 {
					continue
				}
				k := r.IntN(l.max + 1)
				if r.IntN(3) == 0 {
					k = l.max - r.IntN(4)
				}
				if l.what == "routes of kvick.bike" {
					a.Routes[fa.Zone] = make([]cloudflare.Route, k)
					continue
				}
				l.fill(a, k)
			}
			for i := range r.IntN(20) {
				shop := fleet.Shop{Slug: fmt.Sprintf("shop-%d", i), Worker: fmt.Sprintf("helm-shop-%d", i), Account: fa}
				shops = append(shops, shop)
				if r.IntN(3) > 0 {
					a.Crons[shop.Worker] = r.IntN(6)
				}
			}
			accounts = append(accounts, a)
		}
		rooms := provision.Rooms(policy, accounts, shops)
		best := 0
		for i, room := range rooms {
			if room.Error == "" {
				best = max(best, room.Left)
				checkRoom(t, room)
			}
			if room.Account != policy.Accounts[i].Name || room.Error == "" && room.FullAt != room.Shops+room.Left {
				t.Errorf("room %+v", room)
			}
		}
		chosen, findings := provision.Choose(policy, rooms, "")
		if (best > 0) != (findings == nil) || (best > 0) != (chosen.Name != "") {
			t.Fatalf("%d: chose %q, %v, of %+v", n, chosen.Name, findings, rooms)
		}
		for i, room := range rooms {
			if room.Account == chosen.Name && (room.Error != "" || room.Left < 1 || room.Left != best) {
				t.Fatalf("%d: chose %+v of %+v", n, room, rooms)
			}
			// The named one wins, and must have room all the same.
			named, refused := provision.Choose(policy, rooms, room.Account)
			if ok := room.Error == "" && room.Left > 0; ok != (refused == nil) || ok != (named.Name == policy.Accounts[i].Name) {
				t.Fatalf("%d: named %+v: %q %v", n, room, named.Name, refused)
			}
		}
		b, _ := json.Marshal(rooms)
		again, _ := json.Marshal(provision.Rooms(policy, accounts, shops))
		if string(b) != string(again) {
			t.Fatal("rooms differ from one call to the next")
		}
	}
}

// checkRoom holds what a room says against its limits: Left shops fit under each, and one more does not fit under the wall.
func checkRoom(t *testing.T, room provision.Room) {
	t.Helper()
	walls := 0
	for _, l := range room.Limits {
		if l.Each == 0 {
			continue
		}
		if room.Left > 0 && float64(l.Used)+float64(room.Left)*l.Each > float64(l.Max)+1e-6 {
			t.Errorf("%d more do not fit under %+v", room.Left, l)
		}
		if float64(l.Used)+float64(room.Left+1)*l.Each > float64(l.Max)+1e-6 && l.What == room.Wall {
			walls++
		}
	}
	if walls != 1 {
		t.Errorf("the wall is not one: %+v", room)
	}
}

func TestRoomsInWords(t *testing.T) {
	policy := policyOf(t, policyText)
	first, _ := policy.AccountNamed("kvick-1")
	a := emptyAccount(first)
	var shops []fleet.Shop
	for i := range 40 {
		shop, err := policy.Shop(fmt.Sprintf("s%d", i))
		if err != nil {
			t.Fatal(err)
		}
		shops = append(shops, shop)
		a.Crons[shop.Worker] = 5
	}
	a.Crons["nightly"] = 14
	room := provision.Rooms(policy, []*provision.Account{a}, shops)[0]
	if room.FullAt != 47 || room.Wall != "crons" || room.Shops != 40 || room.Left != 7 {
		t.Errorf("%+v", room)
	}
	a.Crons["nightly"] = 50
	room = provision.Rooms(policy, []*provision.Account{a}, shops)[0]
	if f := provision.Full(room); room.Left != 0 || f.Message != "account kvick-1 is full at 40 shops: it has 250 of 250 crons" || !strings.Contains(f.Hint, "fewer crons") {
		t.Errorf("%+v %+v", room, f)
	}
	// Shops whose crons nobody knows have as many as the others, or three.
	a = emptyAccount(first)
	a.Crons[shops[0].Worker], a.Crons[shops[1].Worker] = 6, 4
	if room := provision.Rooms(policy, []*provision.Account{a}, shops[:10])[0]; room.Limits[1] != (provision.Limit{What: "crons", Used: 50, Max: 250, Each: 5}) {
		t.Errorf("%+v", room)
	}
	if room := provision.Rooms(policy, []*provision.Account{emptyAccount(first)}, shops[:10])[0]; room.Limits[1] != (provision.Limit{What: "crons", Used: 30, Max: 250, Each: 3}) {
		t.Errorf("%+v", room)
	}
	// Custom domains run out long before routes do.
	custom := policyOf(t, policyText+"onboard: {hostname: custom_domain}\n")
	a = emptyAccount(first)
	a.MaxShops = 400
	a.Domains = make([]cloudflare.Domain, 90)
	for i := range a.Domains {
		a.Domains[i].ZoneName = "kvick.bike"
	}
	if room := provision.Rooms(custom, []*provision.Account{a}, nil)[0]; room.Left != 10 || room.Wall != "custom domains of kvick.bike" {
		t.Errorf("%+v", room)
	}
	if room := provision.Rooms(policy, []*provision.Account{a}, nil)[0]; room.Left != 83 || room.Wall != "crons" { // three each
		t.Errorf("%+v", room)
	}
}

func TestChoosingWords(t *testing.T) {
	policy := policyOf(t, policyText)
	rooms := func(list ...provision.Room) []provision.Room { return list }
	one, two := provision.Room{Account: "kvick-1", Left: 5}, provision.Room{Account: "kvick-2", Left: 5}
	full := provision.Room{Account: "kvick-1", Wall: "shops", FullAt: 50, Limits: []provision.Limit{{What: "shops", Used: 50, Max: 50, Each: 1}}}
	fixed := policyOf(t, strings.Replace(policyText, "helm-{slug}.{zone}", "helm-{slug}.kvick.bike", 1))
	for name, tc := range map[string]struct {
		policy *fleet.Policy
		rooms  []provision.Room
		named  string
		want   string // account, or rule
	}{
		"as good as another: the first": {policy, rooms(one, two), "", "kvick-1"},
		"in another order":              {policy, rooms(two, one), "", "kvick-1"},
		"named":                         {policy, rooms(one, two), "kvick-2", "kvick-2"},
		"named, and full":               {policy, rooms(full, two), "kvick-1", "account-full"},
		"named, and unread":             {policy, rooms(provision.Room{Account: "kvick-1", Error: "no"}, two), "kvick-1", "account-unread"},
		"named, and not looked at":      {policy, rooms(two), "kvick-1", "account-unread"},
		"no such":                       {policy, rooms(one, two), "kvick-3", "account-unknown"},
		"all full or unread":            {policy, rooms(full, provision.Room{Account: "kvick-2", Error: "no"}), "", "account-full account-unread"},
		"hostnames in one zone":         {fixed, rooms(one, provision.Room{Account: "kvick-2", Left: 40}), "", "kvick-1"},
		"hostnames elsewhere":           {fixed, rooms(one, two), "kvick-2", "hostname-outside-zone"},
		"hostnames elsewhere, one full": {fixed, rooms(full, two), "", "account-full hostname-outside-zone"},
	} {
		a, findings := provision.Choose(tc.policy, tc.rooms, tc.named)
		if got := strings.TrimSpace(a.Name + " " + rules(findings)); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// A plan is data: it survives being written down, with the digest that it was shown with.
func TestAPlanIsData(t *testing.T) {
	w := newTown(t)
	shop := w.shop("swicked")
	p := provision.PlanMake(want(shop), w.look(shop))
	b, err := json.Marshal(p)
	w.must(err)
	var read provision.Plan
	w.must(json.Unmarshal(b, &read))
	if read.Digest() != p.Digest() || len(p.Digest()) != 64 {
		t.Error("another digest")
	}
	r, err := provision.Apply(t.Context(), w.cf, &read, provision.Options{})
	w.must(err)
	w.owned(shop, r)
	read.Steps[0].Name += "x"
	if read.Digest() == p.Digest() {
		t.Error("the same digest for another plan")
	}
	w.put("worker", w.shop("other"), false)
	for _, verb := range []string{"", "make", "close", "delete"} {
		odd := &provision.Plan{Verb: verb, Shop: "other", Worker: "helm-other", Steps: []provision.Step{{Action: "paint", Kind: "worker", Name: "helm-other"}}}
		if _, err := provision.Apply(t.Context(), w.cf, odd, provision.Options{}); err == nil {
			t.Errorf("a plan to %q took a step that does not belong there", verb)
		}
	}
}
