package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/sim"
)

// tag gives a resource of the account an owner tag, beside the tags that it has.
func (s *stage) tag(kind, id, owner string) {
	s.t.Helper()
	s.must(s.cf().PutTags(context.Background(), cloudflare.ResourceTags{Type: kind, ID: id, Tags: map[string]string{"team": "bikes", "shop": owner}}))
}

// own tags everything that is the shop's.
func (s *stage) own() {
	s.t.Helper()
	for _, r := range [][2]string{{"worker", "helm-swicked"}, {"d1_database", swickedDB}, {"kv_namespace", swickedKV}, {"r2_bucket", "helm-swicked-assets"}} {
		s.tag(r[0], r[1], "swicked")
	}
}

// records are what lies in the stores, as a person with the dashboard would put it there.
func (s *stage) records(d1, kv, r2 string) {
	s.t.Helper()
	ctx := context.Background()
	if d1 != "" {
		_, err := s.cf().D1Exec(ctx, swickedDB, fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %q (key TEXT PRIMARY KEY, value TEXT NOT NULL); INSERT OR REPLACE INTO %[1]q (key, value) VALUES ('shop_identity', '%s')`, s.policy.Identity.Table, d1))
		s.must(err)
	}
	if kv != "" {
		s.must(s.cf().PutKVValue(ctx, swickedKV, "shop_identity", kv))
	}
	if r2 != "" {
		s.must(s.cf().PutR2Object(ctx, "helm-swicked-assets", "", "shop_identity", []byte(r2)))
	}
}

func (s *stage) findings() deploy.Findings {
	s.t.Helper()
	_, _, _, plan, err := s.plan(context.Background())
	s.must(err)
	return plan.Findings
}

// noTags is an account without the tagging beta, or a token that may not read tags.
func noTags(status int) sim.Rule {
	return sim.Rule{Path: `/tags`, Count: -1, Status: status}
}

func TestOwnerMismatch(t *testing.T) {
	for _, test := range []struct {
		name    string
		arrange func(*stage)
		text    string
	}{
		{"tag of the database", func(s *stage) { s.tag("d1_database", swickedDB, "mike-s-bikes") }, `the owner tag of D1 database kvick-helm-swicked says that it is shop "mike-s-bikes"'s`},
		{"tag of the namespace", func(s *stage) { s.tag("kv_namespace", swickedKV, "mike-s-bikes") }, "the owner tag of KV namespace helm-swicked-kv"},
		{"tag of the bucket", func(s *stage) { s.tag("r2_bucket", "helm-swicked-assets", "mike-s-bikes") }, "the owner tag of R2 bucket helm-swicked-assets"},
		{"tag of the Worker", func(s *stage) { s.tag("worker", "helm-swicked", "mike-s-bikes") }, "the owner tag of Worker helm-swicked"},
		{"record in the database", func(s *stage) { s.records("mike-s-bikes", "", "") }, "the identity record in D1 database kvick-helm-swicked"},
		{"record in the namespace", func(s *stage) { s.records("", "mike-s-bikes", "") }, "the identity record in KV namespace helm-swicked-kv"},
		{"record in the bucket", func(s *stage) { s.records("", "", "mike-s-bikes\n") }, "the identity record in R2 bucket helm-swicked-assets"},
		{"the second of two rows", func(s *stage) {
			_, err := s.cf().D1Exec(context.Background(), swickedDB, `CREATE TABLE _shop_identity (key, value); INSERT INTO _shop_identity VALUES ('shop_identity', 'swicked'), ('shop_identity', 'mike-s-bikes')`)
			s.must(err)
		}, "the identity record in D1 database"},
		{"record where there are no tags", func(s *stage) {
			s.records("", "mike-s-bikes", "")
			_, err := s.Fault(noTags(404))
			s.must(err)
		}, "the identity record in KV namespace"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStage(t)
			s.policy.Identity.Table = fleet.IdentityTable
			s.own()
			test.arrange(s)
			s.edit = func(src *deploy.Source) { src.OverwriteOutside, src.AllowDestructive, src.Redeploy = true, true, true }
			s.ForgetRequests()
			_, err := s.deploy()
			requireRule(t, err, "owner-mismatch")
			if !strings.Contains(err.Error(), test.text) {
				t.Errorf("the finding is %v", err)
			}
			if w := writes(s.Requests()); len(w) > 0 {
				t.Errorf("written: %q", w)
			}
		})
	}
}

// A text in a store is anybody's: a finding shows it quoted, and not all of it.
func TestOwnerMismatchShowsNoMoreThanALine(t *testing.T) {
	s := newStage(t)
	s.own()
	s.records("", "\x1b[31mred\nlines "+strings.Repeat("x", 5000), "")
	for _, f := range s.findings() {
		if f.Rule == "owner-mismatch" && (len(f.Message) > 400 || strings.ContainsAny(f.Message, "\n\x1b")) {
			t.Errorf("the message is %q", f.Message)
		}
	}
}

func TestOwnerMissing(t *testing.T) {
	missing := func(s *stage) (deploy.Finding, bool) {
		list := s.findings()
		i := slices.IndexFunc(list, func(f deploy.Finding) bool { return f.Rule == "owner-missing" })
		if i < 0 {
			return deploy.Finding{}, false
		}
		return list[i], true
	}
	s := newStage(t)
	s.mustDeploy()
	f, ok := missing(s)
	if want := "no owner tag says whose these are: D1 database kvick-helm-swicked, KV namespace helm-swicked-kv, R2 bucket helm-swicked-assets, Worker helm-swicked"; !ok || f.Message != want || f.Level != deploy.LevelWarning || f.Hint != "shopfleet adopt swicked" {
		t.Errorf("finding %+v, want %q", f, want)
	}
	s.policy.Identity.Missing = deploy.LevelError
	if f, _ := missing(s); f.Level != deploy.LevelError {
		t.Errorf("the policy wants an error, the finding is %+v", f)
	}
	s.own()
	if f, ok := missing(s); ok {
		t.Errorf("all is tagged, and still: %+v", f)
	}
	// Without the beta, or the permission, only the records count.
	for _, status := range []int{403, 404} {
		_, err := s.Fault(noTags(status))
		s.must(err)
		if f, ok := missing(s); !ok || !strings.HasPrefix(f.Message, "no identity record says whose these are: ") || strings.Contains(f.Message, "Worker") {
			t.Errorf("without tags (%d): %+v", status, f)
		}
		s.ClearFaults()
	}
	_, err := s.Fault(noTags(403))
	s.must(err)
	s.records("swicked", "swicked", "swicked")
	if f, ok := missing(s); ok {
		t.Errorf("all records are there, and still: %+v", f)
	}
	s.ClearFaults()
	// Any other refusal is no answer to the question.
	_, err = s.Fault(sim.Rule{Path: `/tags`, Count: -1, Status: 400})
	s.must(err)
	if _, _, _, _, err := s.plan(context.Background()); err == nil {
		t.Error("owner tags that cannot be read are taken for none")
	}
}

// The records are read where the live release does not know the same stores, and only there.
func TestRecordsAreReadOnce(t *testing.T) {
	s := newStage(t)
	s.own()
	reads := func() (n int) {
		queries := 0
		for _, r := range s.Requests() {
			switch {
			case strings.Contains(r.Path, "/values/"), strings.Contains(r.Path, "/objects/"):
				n++
			case strings.HasSuffix(r.Path, "/query") && !r.Write:
				queries++
			}
		}
		s.ForgetRequests()
		return n + max(0, queries-1) // the first is for schema and ledger
	}
	s.mustDeploy()
	if n := reads(); n < 2 {
		t.Errorf("the first deploy read %d records", n)
	}
	s.secrets = nil
	s.records("swicked", "swicked", "swicked")
	reads()
	for i, want := range []int{3, 0, 0} { // the first one finds them, and its release remembers
		s.write("public/helm.css", fmt.Sprintf("body { margin: %d }", i))
		s.mustDeploy()
		if n := reads(); n != want {
			t.Errorf("deploy %d with the same stores read %d records, want %d", i, n, want)
		}
	}
	s.must(s.account.AddKV("helm-swicked-kv-new", "c3d2e1f0a1b2968778695a4b3c2d1e0f"))
	s.edit = func(src *deploy.Source) { src.Shop.KV = "helm-swicked-kv-new" }
	s.replaceConfig(swickedKV, "c3d2e1f0a1b2968778695a4b3c2d1e0f")
	s.mustDeploy()
	if n := reads(); n < 2 {
		t.Errorf("another namespace was bound, and %d records were read", n)
	}
	// A release that does not say, as older shopfleets made them, is not taken at its word.
	list, err := s.cf().Deployments(t.Context(), "helm-swicked")
	s.must(err)
	text := list[0].Annotations["workers/message"]
	from := strings.Index(text, " stores=")
	old := text[:from] + text[strings.Index(text, " commit="):]
	_, err = s.cf().CreateDeployment(t.Context(), "helm-swicked", cloudflare.Release{Versions: []cloudflare.Share{{VersionID: list[0].Versions[0].VersionID, Percentage: 100}}, Message: old})
	s.must(err)
	s.ForgetRequests()
	s.findings()
	if n := reads(); n < 2 {
		t.Errorf("the live release does not say which stores it has, and %d records were read", n)
	}
}

// What says whose a database is belongs to no schema: no drift, no fingerprint, nothing that a migration could be blamed for.
func TestIdentityTableIsNoPartOfTheSchema(t *testing.T) {
	s := newStage(t)
	s.own()
	s.policy.Identity.Table = fleet.IdentityTable
	s.mustDeploy()
	s.write("migrations/017_gift_cards.sql", "CREATE TABLE gift_cards (id INTEGER PRIMARY KEY);")
	s.policy.Migrations.DenyColumns = []string{"tenant_id", "value"}
	_, _, _, before, err := s.plan(t.Context())
	s.must(err)
	s.records("swicked", "", "")
	_, _, _, after, err := s.plan(t.Context())
	s.must(err)
	if before.Schema == "" || before.Schema != after.Schema || before.SchemaAfter != after.SchemaAfter {
		t.Errorf("schema %s → %s, with the identity table %s → %s", before.Schema, before.SchemaAfter, after.Schema, after.SchemaAfter)
	}
	if b, a := rules(before.Findings), rules(after.Findings); !slices.Equal(a, b) {
		t.Errorf("findings %q, with the identity table %q", b, a)
	}
}

// pages gives the shop static answers to the gate's questions: what a release says it sees, and a door that sends away.
func (s *stage) pages(identity, door string) {
	s.t.Helper()
	s.policy.Identity.Path, s.policy.Gate.Protected = "/seen.json", []string{"/door"}
	s.write("public/seen.json", identity)
	s.write("public/_redirects", door)
}

const (
	seesItself = `{"shop": "swicked", "d1": "swicked", "kv": null, "r2": "swicked"}`
	seesOther  = `{"shop": "swicked", "d1": "swicked", "kv": "mike-s-bikes"}`
	sendsAway  = "/door /login 302\n"
)

func TestGateAsksWhatTheReleaseSees(t *testing.T) {
	s := newStage(t)
	s.own()
	s.pages(seesItself, sendsAway)
	out := s.mustDeploy()
	if g := out.Gate; fmt.Sprint(g.Identity) != "map[d1:swicked kv: r2:swicked]" || !slices.Equal(g.Bounced, []string{"/door"}) || g.Skipped != "no identity record is in kv: shopfleet adopt swicked" {
		t.Errorf("gate: %+v", g)
	}
	good := out.VersionID
	s.policy.Gate.Timeout = time.Minute // what is final does not wait for it
	for _, test := range []struct{ name, identity, door, reason string }{
		{"another shop's store", seesOther, sendsAway, `in kv it sees the data of shop "mike-s-bikes", not of swicked`},
		{"another shop", `{"shop": "mike-s-bikes"}`, sendsAway, `it says that it is shop "mike-s-bikes", not swicked`},
		{"an open door", seesItself, "/door /theme.json 200\n", "a stranger gets 200 at /door"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.pages(test.identity, test.door)
			s.write("public/theme.json", "{}")
			began := time.Now()
			out, err := s.deploy()
			var gate *deploy.GateError
			if !errors.As(err, &gate) || gate.Before || gate.Restored != good || !strings.Contains(gate.Result.Reason, test.reason) || gate.Result.Tries != 1 {
				t.Errorf("error %v, outcome %+v", err, out)
			}
			if s.live() != good || time.Since(began) > 20*time.Second {
				t.Errorf("live is %s after %s, want %s at once", s.live(), time.Since(began), good)
			}
		})
	}
	s.policy.Gate.Timeout = 20 * time.Millisecond
	for _, test := range []struct{ name, identity, door, missing, reason string }{
		{"no JSON", "hello", sendsAway, "", `did not answer {"shop": …}`},
		{"no shop", `{"d1": "swicked"}`, sendsAway, "", "does not say which shop it is"},
		{"a number", `{"shop": "swicked", "d1": 7}`, sendsAway, "", "what it says of d1 is neither a slug nor null"},
		{"a missing record, as an error", seesItself, sendsAway, deploy.LevelError, "no identity record is in kv"},
		{"a store that it does not tell of, as an error", `{"shop": "swicked", "d1": "swicked", "r2": "swicked"}`, sendsAway, deploy.LevelError, "bound to kv and does not say"},
		{"a door to itself", seesItself, "/door /door/ 302\n", "", "which is protected too"},
		{"a door to itself in other letters", seesItself, "/door https://helm-swicked.kvick.bike./Door 302\n", "", "which is protected too"},
		{"a door that is broken", seesItself, "", "", "a stranger gets 503 at /door"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.pages(test.identity, test.door)
			s.policy.Identity.Missing = test.missing
			_, err := s.deploy()
			var gate *deploy.GateError
			if !errors.As(err, &gate) || gate.Restored != good || !strings.Contains(gate.Result.Reason, test.reason) || gate.Result.Tries < 2 {
				t.Errorf("error %v, want %q after several tries", err, test.reason)
			}
		})
	}
}

// A release without a way to be asked is noted where there are records to be seen, and not where there are none.
func TestGateSaysWhatItDidNotAsk(t *testing.T) {
	s := newStage(t)
	s.own()
	if out := s.mustDeploy(); out.Gate.Skipped != "" {
		t.Errorf("without records: %q", out.Gate.Skipped)
	}
	s.policy.Identity.Table = fleet.IdentityTable
	s.records("swicked", "swicked", "swicked")
	s.replaceConfig(`"binding": "KV"`, `"binding": "KV"`)
	s.must(s.account.AddR2("helm-swicked-files"))
	s.edit = func(src *deploy.Source) { src.Shop.R2 = "helm-swicked-files" }
	s.replaceConfig("helm-swicked-assets", "helm-swicked-files")
	s.must(s.cf().PutR2Object(t.Context(), "helm-swicked-files", "", "shop_identity", []byte("swicked")))
	if out := s.mustDeploy(); !strings.Contains(out.Gate.Skipped, "identity.path") {
		t.Errorf("with records: %q", out.Gate.Skipped)
	}
}

// A fleet that nobody has adopted yet is not asked for records with every deploy, but is as soon as somebody has.
func TestUnadoptedIsNotAskedAgain(t *testing.T) {
	s := newStage(t)
	s.mustDeploy()
	s.secrets = nil
	s.ForgetRequests()
	s.findings()
	asked := func() bool {
		return slices.ContainsFunc(s.Requests(), func(r sim.Request) bool { return strings.Contains(r.Path, "/values/") })
	}
	if asked() {
		t.Error("records are read although the live release found none and no tag has come since")
	}
	s.own()
	s.ForgetRequests()
	s.findings()
	if !asked() {
		t.Error("all is tagged by now, and no record was read")
	}
}
