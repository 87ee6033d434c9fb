package provision_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/provision"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

const (
	accountID = "7f3a0c5e9b1d4826a0e4c2d8f6b19357"
	zoneID    = "c0ffee5a1bb24e8f9d3c7a6b5e4f3d21"
)

const policyText = `
product: helm
naming:
  branch: shops/{slug}
  worker: helm-{slug}
  d1: helm-{slug}-db
  r2: helm-{slug}-assets
  kv: helm-{slug}-kv
  hostname: helm-{slug}.{zone}
accounts:
  kvick-1:
    id: 7f3a0c5e9b1d4826a0e4c2d8f6b19357
    zone: kvick.bike
    max_shops: 50
  kvick-2:
    id: 8f3a0c5e9b1d4826a0e4c2d8f6b19358
    zone: kvick.shop
    max_shops: 50
build_info:
  path: public/build_info.json
`

func policyOf(t testing.TB, text string) *fleet.Policy {
	t.Helper()
	p, err := fleet.Parse("fleet.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// town is an account with a client for it.
type town struct {
	*simtest.World
	*testing.T
	policy  *fleet.Policy
	account fleet.Account
	sim     *sim.Account
	cf      *cloudflare.Client
	wire    *wire
}

func newTown(t *testing.T) *town {
	t.Helper()
	w := &town{World: simtest.New(t, sim.Options{RateLimit: -1}), T: t, policy: policyOf(t, policyText)}
	w.account, _ = w.policy.AccountNamed("kvick-1")
	w.sim = w.World.Account(t, accountID, "kvick-1")
	w.must(errors.Join(w.sim.AddZone("kvick.bike", zoneID), w.sim.SetSubdomain("kvick")))
	w.client(simtest.Token)
	return w
}

// client makes the town's client for a token.
func (w *town) client(token string) {
	w.wire = &wire{next: http.DefaultTransport.(*http.Transport).Clone()}
	w.cf = &cloudflare.Client{
		BaseURL: w.URL, AccountID: accountID, Token: cloudflare.Secret(token), Transport: cloudflare.LoopbackOnly(w.wire),
		Budget: &cloudflare.Budget{Limit: 1e6, PerSecond: 1e6}, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

func (w *town) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *town) shop(slug string) fleet.Shop {
	w.Helper()
	s, err := w.policy.Shop(slug)
	w.must(err)
	return s
}

func (w *town) look(shops ...fleet.Shop) *provision.Account {
	w.Helper()
	a, err := provision.Look(w.Context(), w.cf, w.account, shops...)
	w.must(err)
	return a
}

// make looks, plans and applies.
func (w *town) make(ctx context.Context, want provision.Want) (*provision.Resources, error) {
	a, err := provision.Look(ctx, w.cf, w.account, want.Shop)
	if err != nil {
		return nil, err
	}
	return provision.Apply(ctx, w.cf, provision.PlanMake(want, a), provision.Options{})
}

func want(s fleet.Shop) provision.Want { return provision.Want{Shop: s, Crons: 3} }

// wire carries requests, and cuts the run off at one of them: before it is sent, or before its answer is read.
type wire struct {
	next   http.RoundTripper
	n      atomic.Int64
	at     int64 // 0 is never
	after  bool
	cancel context.CancelFunc
	seen   func(*http.Request) // may be nil
}

var errKilled = errors.New("killed")

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	n := w.n.Add(1)
	if w.seen != nil {
		w.seen(r)
	}
	if w.at == 0 || n < w.at {
		return w.next.RoundTrip(r)
	}
	if w.after && n == w.at {
		// The call has its effect whatever becomes of the caller.
		if resp, err := w.next.RoundTrip(r.WithContext(context.WithoutCancel(r.Context()))); err == nil {
			resp.Body.Close()
		}
	}
	w.cancel()
	return nil, errKilled
}

// killed runs f with the client cut off at its nth call, and says whether it got that far.
func (w *town) killed(n int, after bool, f func(ctx context.Context) error) (reached bool) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	defer cancel()
	w.client(simtest.Token)
	w.wire.at, w.wire.after, w.wire.cancel = int64(n), after, cancel
	err := f(ctx)
	reached = w.wire.n.Load() >= int64(n)
	if reached && err == nil {
		w.Errorf("cut off at call %d, and told that all is well", n)
	}
	w.client(simtest.Token)
	return reached
}

// owned checks that the account has exactly one shop's things, each with its tag, and returns their names.
func (w *town) owned(shop fleet.Shop, r *provision.Resources) {
	w.Helper()
	a := w.look(shop)
	if len(a.Databases) != 1 || a.Databases[0].Name != shop.D1 || a.Databases[0].ID != r.DatabaseID ||
		len(a.Namespaces) != 1 || a.Namespaces[0].Title != shop.KV || a.Namespaces[0].ID != r.NamespaceID ||
		len(a.Buckets) != 1 || a.Buckets[0].Name != shop.R2 || r.Bucket != shop.R2 || r.ZoneID != zoneID {
		w.Errorf("the account has %v %v %v, told was %+v", a.Databases, a.Namespaces, a.Buckets, r)
	}
	for _, thing := range []string{"d1_database/" + r.DatabaseID, "kv_namespace/" + r.NamespaceID, "r2_bucket/" + shop.R2} {
		if a.Owners[thing] != shop.Slug {
			w.Errorf("%s is tagged %q", thing, a.Owners[thing])
		}
	}
	records := a.Records["kvick.bike"]
	if len(records) != 1 || records[0].Name != shop.Hostname || records[0].Type != "AAAA" || records[0].Content != "100::" || !records[0].Proxied || records[0].Comment != "shopfleet: shop "+shop.Slug {
		w.Errorf("records %+v", records)
	}
	if p := provision.PlanMake(want(shop), a); p.Changes() || len(p.Findings) > 0 {
		w.Errorf("there is more to do: %+v", p)
	}
}

func findingsOf(err error) deploy.Findings {
	var f deploy.Findings
	errors.As(err, &f)
	return f
}

func rules(f []deploy.Finding) string {
	var out []string
	for _, x := range f {
		out = append(out, x.Rule)
	}
	return strings.Join(out, " ")
}

// A new shop takes four rounds, one more when an account's limits are near, and every call is needed.
func TestANewShop(t *testing.T) {
	w := newTown(t)
	shop := w.shop("swicked")
	w.ForgetRequests()
	w.SetLatency(20 * time.Millisecond)
	a := w.look(shop)
	if n := sim.Rounds(w.Requests()); n != 2 || a.Calls != len(w.Requests()) || a.Calls != 9 {
		t.Errorf("looked with %d calls, told %d, in %d rounds", len(w.Requests()), a.Calls, n)
	}
	p := provision.PlanMake(want(shop), a)
	var steps []string
	for _, s := range p.Steps {
		steps = append(steps, s.String())
	}
	if got := strings.Join(steps, "\n"); got != `create D1 database helm-swicked-db (wnam)
create KV namespace helm-swicked-kv
create R2 bucket helm-swicked-assets (wnam)
create DNS record helm-swicked.kvick.bike (AAAA 100::, proxied)
tag D1 database helm-swicked-db with its owner
tag KV namespace helm-swicked-kv with its owner
tag R2 bucket helm-swicked-assets with its owner` || !p.Changes() || len(p.Findings) > 0 || len(p.Notes) > 0 {
		t.Fatalf("planned %+v:\n%s", p, got)
	}
	w.ForgetRequests()
	var told sync.Map
	r, err := provision.Apply(t.Context(), w.cf, p, provision.Options{Tell: func(text string) { told.Store(text, true) }})
	w.must(err)
	w.SetLatency(0)
	if n := sim.Rounds(w.Requests()); n > 3 || len(w.Requests()) != 8 {
		t.Errorf("made with %d calls in %d rounds", len(w.Requests()), n)
	}
	if _, ok := told.Load("create KV namespace helm-swicked-kv"); !ok {
		t.Error("nothing was told of the namespace")
	}
	w.owned(shop, r)
	db, err := w.cf.D1Database(t.Context(), r.DatabaseID)
	w.must(err)
	bucket, err := w.cf.R2Bucket(t.Context(), r.Bucket, "")
	w.must(err)
	if !strings.EqualFold(db.Region, "wnam") || !strings.EqualFold(bucket.Location, "wnam") {
		t.Errorf("database in %s, bucket in %s", db.Region, bucket.Location)
	}
	w.ForgetRequests()
	again, err := w.make(t.Context(), want(shop))
	w.must(err)
	if !sameResources(again, r) {
		t.Errorf("again: %+v, before %+v", again, r)
	}
	for _, q := range w.Requests() {
		if q.Write {
			t.Errorf("wrote %s %s again", q.Method, q.Path)
		}
	}
}

// Cut off at any call, before it or after its effect, the same command again makes the same one shop.
func TestMakingIsKilledAtEveryCall(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			reached := true
			t.Run(fmt.Sprintf("%d after=%v", n, after), func(t *testing.T) {
				w := newTown(t)
				shop := w.shop("swicked")
				reached = w.killed(n, after, func(ctx context.Context) error {
					_, err := w.make(ctx, want(shop))
					return err
				})
				r, err := w.make(t.Context(), want(shop))
				w.must(err)
				w.owned(shop, r)
			})
			if !reached {
				if n < 15 {
					t.Fatalf("only %d calls", n)
				}
				break
			}
		}
	}
}

// A lost answer, or a fault in front of the API, at any write ends with the same shop within the one run, or with an error
// after which the next run finishes it.
func TestLostAnswers(t *testing.T) {
	for _, path := range []string{"/d1/database$", "/storage/kv/namespaces$", "/r2/buckets$", "/dns_records$", "/tags$"} {
		for name, rule := range map[string]sim.Rule{
			"cut after":  {Drop: sim.DropAfter},
			"cut before": {Drop: sim.DropBefore},
			"truncated":  {Truncate: true},
			"502 after":  {Status: 502, HTML: true, After: true},
			"502 before": {Status: 502, HTML: true},
			"limited":    {Status: 429, Code: 971, Message: "slow"},
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				w := newTown(t)
				shop := w.shop("swicked")
				rule.Path, rule.Method = path, "POST"
				if path == "/tags$" {
					rule.Method = "PUT"
				}
				if _, err := w.Fault(rule); err != nil {
					t.Fatal(err)
				}
				r, err := w.make(t.Context(), want(shop))
				w.must(err)
				w.owned(shop, r)
			})
		}
	}
}

// Two runs for one shop at once end with one shop.
func TestTwoAtOnce(t *testing.T) {
	for range 5 {
		w := newTown(t)
		shop := w.shop("swicked")
		w.SetLatency(2 * time.Millisecond)
		plans := []*provision.Plan{provision.PlanMake(want(shop), w.look(shop)), provision.PlanMake(want(shop), w.look(shop))}
		results, errs := make([]*provision.Resources, 2), make([]error, 2)
		var group sync.WaitGroup
		for i := range plans {
			group.Go(func() { results[i], errs[i] = provision.Apply(t.Context(), w.cf, plans[i], provision.Options{}) })
		}
		group.Wait()
		w.must(errors.Join(errs...))
		if !sameResources(results[0], results[1]) {
			t.Errorf("two shops: %+v and %+v", results[0], results[1])
		}
		w.owned(shop, results[0])
	}
}

// put makes a store of the shop's, as somebody else would, and fills it.
func (w *town) put(kind string, shop fleet.Shop, fill bool) (id string) {
	w.Helper()
	ctx := w.Context()
	switch kind {
	case "d1_database":
		db, err := w.cf.CreateD1(ctx, cloudflare.D1Database{Name: shop.D1})
		w.must(err)
		if id = db.ID; fill {
			_, err = w.cf.D1Exec(ctx, id, "CREATE TABLE bikes (id INTEGER PRIMARY KEY)")
			w.must(err)
		}
	case "kv_namespace":
		n, err := w.cf.CreateKVNamespace(ctx, shop.KV)
		w.must(err)
		if id = n.ID; fill {
			w.must(w.cf.PutKVValue(ctx, id, "cart:1", "x"))
		}
	case "r2_bucket":
		w.must(w.cf.CreateR2Bucket(ctx, cloudflare.R2Bucket{Name: shop.R2}))
		if id = shop.R2; fill {
			w.must(w.cf.PutR2Object(ctx, id, "", "menus/1.pdf", []byte("x")))
		}
	case "worker":
		w.deploy(shop.Worker)
		id = shop.Worker
	}
	return id
}

func (w *town) tag(kind, id, owner string) {
	w.Helper()
	w.must(w.cf.PutTags(w.Context(), cloudflare.ResourceTags{Type: kind, ID: id, Tags: map[string]string{"shop": owner, "team": "ops"}}))
}

// deploy makes a Worker.
func (w *town) deploy(name string) {
	w.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part := func(disposition, contentType, text string) {
		header := textproto.MIMEHeader{"Content-Disposition": {disposition}}
		if contentType != "" {
			header.Set("Content-Type", contentType)
		}
		p, err := form.CreatePart(header)
		w.must(err)
		_, err = p.Write([]byte(text))
		w.must(err)
	}
	part(`form-data; name="metadata"`, "", `{"main_module":"index.js","bindings":[],"compatibility_date":"2026-06-01","compatibility_flags":[]}`)
	part(`form-data; name="index.js"; filename="index.js"`, "application/javascript+module", "export default { fetch() { return new Response('x') } }")
	w.must(form.Close())
	_, err := w.cf.PutWorker(w.Context(), name, form.FormDataContentType(), body.Bytes())
	w.must(err)
}

var kinds = []string{"d1_database", "kv_namespace", "r2_bucket", "worker"}

// What has a name of the shop's is adopted when it is the shop's, or nobody's and empty.
func TestWhatHasTheName(t *testing.T) {
	for name, tc := range map[string]struct {
		fill  bool
		owner string
		want  func(*provision.Want, string)
		rule  string // for stores
		works string // for a Worker, which is never empty
	}{
		"ours, empty":              {owner: "swicked"},
		"ours, with data":          {owner: "swicked", fill: true},
		"nobody's, empty":          {works: "name-taken"},
		"nobody's, with data":      {fill: true, rule: "name-taken", works: "name-taken"},
		"another's, empty":         {owner: "mike", rule: "name-taken", works: "name-taken"},
		"another's, data adopted":  {owner: "mike", fill: true, want: func(x *provision.Want, _ string) { x.AdoptData = true }, rule: "name-taken", works: "name-taken"},
		"another's, on the branch": {owner: "mike", want: func(x *provision.Want, id string) { x.IDs = []string{id} }, rule: "name-taken", works: "name-taken"},
		"nobody's, data adopted":   {fill: true, want: func(x *provision.Want, _ string) { x.AdoptData = true }},
		"nobody's, on the branch":  {fill: true, want: func(x *provision.Want, id string) { x.IDs = []string{id} }},
		"nobody's, another id":     {fill: true, want: func(x *provision.Want, _ string) { x.IDs = []string{"another"} }, rule: "name-taken"},
	} {
		for _, kind := range kinds {
			t.Run(name+" "+kind, func(t *testing.T) {
				w := newTown(t)
				shop := w.shop("swicked")
				id := w.put(kind, shop, tc.fill)
				if tc.owner != "" {
					w.tag(kind, id, tc.owner)
				}
				x := want(shop)
				if tc.want != nil {
					tc.want(&x, id)
				}
				rule := tc.rule
				if kind == "worker" {
					rule = tc.works
				}
				p := provision.PlanMake(x, w.look(shop))
				if rules(p.Findings) != rule {
					t.Fatalf("findings %v, want %q", p.Findings, rule)
				}
				w.ForgetRequests()
				r, err := provision.Apply(t.Context(), w.cf, p, provision.Options{})
				if rule != "" {
					if rules(findingsOf(err)) != rule || len(w.Requests()) > 0 {
						t.Errorf("applied: %v, %d calls", err, len(w.Requests()))
					}
					return
				}
				w.must(err)
				if got := map[string]string{"d1_database": r.DatabaseID, "kv_namespace": r.NamespaceID, "r2_bucket": r.Bucket, "worker": id}[kind]; got != id {
					t.Errorf("it is %s, adopted was %s", id, got)
				}
				tags, err := w.cf.Tags(t.Context(), kind, id)
				w.must(err)
				if tags.Tags["shop"] != "swicked" || tc.owner != "" && tags.Tags["team"] != "ops" {
					t.Errorf("tags %v", tags.Tags)
				}
			})
		}
	}
}

// What appears under a name after the plan was made is judged by the same rules.
func TestTakenMeanwhile(t *testing.T) {
	for _, kind := range []string{"d1_database", "kv_namespace", "r2_bucket"} {
		for name, tc := range map[string]struct {
			fill        bool
			owner, rule string
		}{
			"empty":     {},
			"ours":      {fill: true, owner: "swicked"},
			"filled":    {fill: true, rule: "name-taken"},
			"another's": {owner: "mike", rule: "name-taken"},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				w := newTown(t)
				shop := w.shop("swicked")
				p := provision.PlanMake(want(shop), w.look(shop))
				id := w.put(kind, shop, tc.fill)
				if tc.owner != "" {
					w.tag(kind, id, tc.owner)
				}
				r, err := provision.Apply(t.Context(), w.cf, p, provision.Options{})
				if rules(findingsOf(err)) != tc.rule || tc.rule == "" && err != nil {
					t.Fatalf("applied: %v, want %q", err, tc.rule)
				}
				if tags, err := w.cf.Tags(t.Context(), kind, id); err != nil || tc.rule == "" && tags.Tags["shop"] != "swicked" || tc.rule != "" && tags.Tags["shop"] != tc.owner {
					t.Errorf("tags %v %v", tags, err)
				}
				if tc.rule == "" {
					w.owned(shop, r)
				}
			})
		}
		// Taken, and nothing to see: a bucket of that name in another account.
		t.Run(kind+" unseen", func(t *testing.T) {
			w := newTown(t)
			shop := w.shop("swicked")
			rule := map[string]sim.Rule{
				"d1_database":  {Path: "/d1/database$", Code: 7502, Message: "A database with that name already exists"},
				"kv_namespace": {Path: "/storage/kv/namespaces$", Code: 10014, Message: "a namespace with this account ID and title already exists"},
				"r2_bucket":    {Path: "/r2/buckets$", Code: 10004, Message: "The bucket you tried to create already exists"},
			}[kind]
			rule.Method, rule.Status = "POST", 400
			if _, err := w.Fault(rule); err != nil {
				t.Fatal(err)
			}
			if _, err := w.make(t.Context(), want(shop)); rules(findingsOf(err)) != "name-taken" {
				t.Errorf("made: %v", err)
			}
			// What was made beside it is the shop's, and the next run goes on with it.
			r, err := w.make(t.Context(), want(shop))
			w.must(err)
			w.owned(shop, r)
		})
	}
	t.Run("hostname", func(t *testing.T) {
		w := newTown(t)
		shop := w.shop("swicked")
		p := provision.PlanMake(want(shop), w.look(shop))
		_, err := w.cf.CreateDNSRecord(t.Context(), zoneID, cloudflare.DNSRecord{Type: "CNAME", Name: shop.Hostname, Content: "old.example.com", Proxied: true})
		w.must(err)
		if _, err := provision.Apply(t.Context(), w.cf, p, provision.Options{}); rules(findingsOf(err)) != "hostname-taken" {
			t.Errorf("applied: %v", err)
		}
	})
}

// fleet.yml may hold a shop to one database.
func TestHeldToADatabase(t *testing.T) {
	for name, tc := range map[string]struct{ held, tagged, rule string }{
		"that one":            {held: "that"},
		"that one, another's": {held: "that", tagged: "mike", rule: "name-taken"},
		"another one":         {held: "134ea8a4-8582-4fdc-84ec-f0eb8f4e4b60", rule: "name-taken"},
		"none":                {held: "none", rule: "d1-unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			shop := w.shop("swicked")
			shop.D1ID = tc.held
			if tc.held != "none" {
				id := w.put("d1_database", shop, true)
				if tc.held == "that" {
					shop.D1ID = id
				}
				if tc.tagged != "" {
					w.tag("d1_database", id, tc.tagged)
				}
			}
			p := provision.PlanMake(want(shop), w.look(shop))
			if rules(p.Findings) != tc.rule {
				t.Errorf("findings %v, want %q", p.Findings, tc.rule)
			}
			if tc.rule == "" {
				r, err := provision.Apply(t.Context(), w.cf, p, provision.Options{})
				w.must(err)
				w.owned(shop, r)
			}
		})
	}
}

func TestHostnames(t *testing.T) {
	record := func(r cloudflare.DNSRecord) func(*town) {
		return func(w *town) {
			r.Name = "helm-swicked.kvick.bike"
			_, err := w.cf.CreateDNSRecord(w.Context(), zoneID, r)
			w.must(err)
		}
	}
	own := cloudflare.DNSRecord{Type: "AAAA", Content: "100::", Proxied: true, Comment: "shopfleet: shop swicked"}
	bare, foreign, grey, moved := own, own, own, own
	bare.Comment, foreign.Comment, grey.Proxied, moved.Content = "", "shopfleet: shop mike", false, "2001:db8::1"
	route := func(pattern, worker string) func(*town) {
		return func(w *town) {
			if worker != "" {
				w.deploy(worker)
				w.tag("worker", worker, "swicked")
			}
			_, err := w.cf.CreateRoute(w.Context(), zoneID, pattern, worker)
			w.must(err)
		}
	}
	domain := func(worker string) func(*town) {
		return func(w *town) {
			w.deploy(worker)
			w.tag("worker", worker, "swicked")
			w.must(w.cf.PutDomains(w.Context(), worker, []cloudflare.Origin{{Hostname: "helm-swicked.kvick.bike"}}))
		}
	}
	for name, tc := range map[string]struct {
		world        func(*town)
		rule, custom string // rules by route, and by custom domain
		creates      bool   // a record, by route
	}{
		"free":                    {world: func(*town) {}, creates: true},
		"our record":              {world: record(own), custom: "hostname-taken"},
		"a record just like ours": {world: record(bare), custom: "hostname-taken"},
		"another shop's record":   {world: record(foreign), rule: "hostname-taken", custom: "hostname-taken"},
		"not proxied":             {world: record(grey), rule: "hostname-taken", custom: "hostname-taken"},
		"somewhere else":          {world: record(moved), rule: "hostname-taken", custom: "hostname-taken"},
		"a text":                  {world: record(cloudflare.DNSRecord{Type: "TXT", Content: "x"}), rule: "hostname-taken", custom: "hostname-taken"},
		"a wildcard for the zone": {world: route("*.kvick.bike/*", "site"), custom: "hostname-taken", creates: true},
		"a route of another":      {world: route("helm-swicked.kvick.bike/*", "site"), rule: "hostname-taken", custom: "hostname-taken"},
		"a route with a path":     {world: route("helm-swicked.kvick.bike/pay*", "site"), rule: "hostname-taken", custom: "hostname-taken"},
		"a route of nobody":       {world: route("helm-swicked.kvick.bike/*", ""), rule: "hostname-taken", custom: "hostname-taken"},
		"our route":               {world: route("helm-swicked.kvick.bike/*", "helm-swicked"), creates: true},
		"a route beside":          {world: route("helm-swicked-2.kvick.bike/*", "site"), creates: true},
		"another's custom domain": {world: domain("site"), rule: "hostname-taken", custom: "hostname-taken"},
		"our own custom domain":   {world: domain("helm-swicked")},
		"a record of another host": {world: func(w *town) {
			_, err := w.cf.CreateDNSRecord(w.Context(), zoneID, cloudflare.DNSRecord{Type: "A", Name: "www.kvick.bike", Content: "192.0.2.1"})
			w.must(err)
		}, creates: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			tc.world(w)
			shop := w.shop("swicked")
			a := w.look(shop)
			p := provision.PlanMake(want(shop), a)
			creates := slices.ContainsFunc(p.Steps, func(s provision.Step) bool { return s.Action == "create" && s.Kind == "dns_record" })
			if rules(p.Findings) != tc.rule || creates != tc.creates {
				t.Errorf("by route: %v, creates a record: %v", p.Findings, creates)
			}
			x := want(shop)
			x.CustomDomain = true
			p = provision.PlanMake(x, a)
			if rules(p.Findings) != tc.custom || slices.ContainsFunc(p.Steps, func(s provision.Step) bool { return s.Kind == "dns_record" }) {
				t.Errorf("by custom domain: %+v", p)
			}
		})
	}
	t.Run("a zone that is missing", func(t *testing.T) {
		w := newTown(t)
		shop := w.shop("swicked")
		a := w.look(shop)
		a.Zones = nil
		if p := provision.PlanMake(want(shop), a); rules(p.Findings) != "zone-unknown" {
			t.Errorf("%v", p.Findings)
		}
		shop.Hostname = "helm-swicked.example.com"
		if p := provision.PlanMake(want(shop), a); rules(p.Findings) != "hostname-outside-zone" {
			t.Errorf("%v", p.Findings)
		}
	})
}

// sameResources compares what a shop owns; what this run made of it is not a part of that.
func sameResources(a, b *provision.Resources) bool {
	x, y := *a, *b
	x.Fresh, y.Fresh = nil, nil
	return reflect.DeepEqual(x, y)
}
