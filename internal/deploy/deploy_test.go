package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/wrangler"
)

func TestFirstDeploy(t *testing.T) {
	s := newStage(t)
	s.SetLatency(60 * time.Millisecond)
	out := s.mustDeploy()
	if !out.Changed || out.VersionID == "" || out.PreviousVersionID != "" {
		t.Errorf("outcome: changed %t, version %q, previous %q", out.Changed, out.VersionID, out.PreviousVersionID)
	}
	if len(out.Migrations) != 16 || out.Bookmark == "" {
		t.Errorf("applied %d migrations with bookmark %q, want 16 and one", len(out.Migrations), out.Bookmark)
	}
	if !out.Gate.Passed {
		t.Errorf("gate: %+v", out.Gate)
	}
	status, body := s.get("/build_info.json")
	var info deploy.BuildInfo
	if err := json.Unmarshal([]byte(body), &info); err != nil || status != 200 {
		t.Fatalf("build_info.json: status %d, %v\n%s", status, err, body)
	}
	if info.Shop != "swicked" || info.Branch != "shops/swicked" || info.Commit != strings.Repeat("0", 39)+"1" || info.Tool != "test" {
		t.Errorf("build_info.json is not about this deploy: %+v", info)
	}
	if r := sim.Rounds(s.Requests()); r > 7 {
		t.Errorf("%d sequential rounds, want at most 7", r)
	}
	crons, err := s.cf().Schedules(context.Background(), "helm-swicked")
	if err != nil || len(crons) != 3 {
		t.Errorf("crons %q, %v", crons, err)
	}
	for _, name := range s.policy.Secrets.Required {
		if strings.Contains(body, "value-of-"+name) {
			t.Errorf("the value of secret %s is in build_info.json", name)
		}
	}
}

func TestUnchangedWritesNothing(t *testing.T) {
	s := newStage(t)
	first := s.mustDeploy()
	s.secrets = nil
	s.SetLatency(60 * time.Millisecond)
	s.ForgetRequests()
	out := s.mustDeploy() // another commit, the same content
	if out.Changed || out.VersionID != first.VersionID || out.Writes != 0 || !out.Gate.Passed {
		t.Errorf("outcome %+v, want unchanged with version %s", out, first.VersionID)
	}
	requests := s.Requests()
	if w := writes(requests); len(w) > 0 {
		t.Errorf("writes: %q", w)
	}
	if r := sim.Rounds(requests); r > 2 {
		t.Errorf("%d sequential rounds, want at most 2", r)
	}
}

// The order of a redeploy is its safety: the version is uploaded, then the
// schema follows, then the version is released.
func TestRedeployOrder(t *testing.T) {
	s := newStage(t)
	first := s.mustDeploy()
	s.secrets = nil
	s.write("migrations/017_gift_cards.sql", "CREATE TABLE gift_cards (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL)")
	s.write("migrations/018_gift_card_code.sql", "ALTER TABLE gift_cards ADD COLUMN code TEXT;\n-- the end")
	s.write("src/time.ts", string(s.read("src/time.ts"))+"\nexport const changed = 1;\nconsole.log(changed);\n")
	s.replaceConfig(`"crons": ["0 13 * * *", "0 14 * * mon", "0 15 1 * *"]`, `"crons": ["0 13 * * *", "0 14 * * mon"]`)
	s.SetLatency(60 * time.Millisecond)
	s.ForgetRequests()
	out := s.mustDeploy()
	if out.PreviousVersionID != first.VersionID || out.VersionID == first.VersionID {
		t.Errorf("version %s after %s, want a new one after %s", out.VersionID, out.PreviousVersionID, first.VersionID)
	}
	if want := []string{"017_gift_cards.sql", "018_gift_card_code.sql"}; !slices.Equal(out.Migrations, want) {
		t.Errorf("applied %q, want %q", out.Migrations, want)
	}
	requests := s.Requests()
	var order []string
	for _, r := range requests {
		for _, name := range []string{"/versions", "/query", "/deployments", "/schedules", "/bookmark"} {
			if strings.HasSuffix(r.Path, name) && (r.Write || name == "/bookmark") && !isLedgerRead(r) {
				order = append(order, strings.TrimPrefix(name, "/"))
			}
		}
	}
	if want := []string{"bookmark", "versions", "query", "deployments", "schedules"}; !slices.Equal(order, want) {
		t.Errorf("order of the calls: %q, want %q", order, want)
	}
	if r := sim.Rounds(requests); r > 7 {
		t.Errorf("%d sequential rounds, want at most 7", r)
	}
}

func isLedgerRead(r sim.Request) bool {
	return strings.HasSuffix(r.Path, "/query") && strings.HasPrefix(string(r.Body), `{"sql":"SELECT `)
}

func TestMarkLeavesBuildInfoOut(t *testing.T) {
	s := newStage(t)
	ctx := context.Background()
	mark := func() string {
		t.Helper()
		d, err := s.prepare(ctx)
		s.must(err)
		return d.Mark
	}
	first := mark()
	if again := mark(); again != first {
		t.Errorf("another commit with equal content has mark %s, want %s", again, first)
	}
	s.write("public/build_info.json", `{"a":"file that somebody committed"}`)
	if again := mark(); again != first {
		t.Errorf("build_info.json changes the mark")
	}
	s.secrets = nil
	if again := mark(); again != first {
		t.Errorf("secret values change the mark")
	}
	s.write("public/new.txt", "x")
	withAsset := mark()
	if withAsset == first {
		t.Error("a new asset does not change the mark")
	}
	s.replaceConfig(`"SHOP_NAME": "Swicked Cycles"`, `"SHOP_NAME": "Swicked"`)
	withVar := mark()
	if withVar == withAsset {
		t.Error("a changed variable does not change the mark")
	}
	s.write("src/money.ts", string(s.read("src/money.ts"))+"\nconsole.log(1);\n")
	if mark() == withVar {
		t.Error("changed code does not change the mark")
	}
}

// Findings of a commit and of an account, each with its rule and the place
// that a person must go to. Nothing may be written in any of these cases.
func TestFindings(t *testing.T) {
	for _, test := range []struct {
		name    string
		arrange func(s *stage)
		rule    string
		file    string
		text    string // part of the message
		source  string // part of the source line; "" when the finding has none
	}{
		{"broken JSONC", func(s *stage) { s.config = []byte("{\n  \"name\": \"helm\"\n  \"main\": 1\n}\n") }, "", "wrangler.jsonc", "", "main"},
		{"no overlay", func(s *stage) { s.replaceConfig(`"swicked": {`, `"swucked": {`) }, "overlay-missing", "wrangler.jsonc", "shops/swicked has no overlay", ""},
		{"missing main", func(s *stage) { s.replaceConfig(`"main": "src/index.ts"`, `"main": "src/indx.ts"`) }, "", "wrangler.jsonc", "src/indx.ts", "src/indx.ts"},
		{"TypeScript error", func(s *stage) { s.write("src/index.ts", "export default {\n  fetch(: Request) {}\n}\n") }, "", "src/index.ts", "", "fetch(: Request)"},
		{"bad cron", func(s *stage) { s.replaceConfig(`"0 13 * * *"`, `"0 25 * * *"`) }, "", "wrangler.jsonc", "25", "0 25 * * *"},
		{"another Worker's name", func(s *stage) { s.replaceConfig(`"name": "helm-swicked"`, `"name": "helm-mike-s-bikes"`) }, "worker-not-owned", "wrangler.jsonc", "helm-mike-s-bikes", "helm-mike-s-bikes"},
		{"another account", func(s *stage) {
			s.replaceConfig("7f3a0c5e9b1d4826a0e4c2d8f6b19357", "00000000000000000000000000000001")
		}, "account-not-the-shops", "wrangler.jsonc", "kvick-1", "00000000000000000000000000000001"},
		{"hostname outside the zone", func(s *stage) { s.replaceConfig(swickedHost, "helm-swicked.kvick.shop") }, "hostname-not-owned", "wrangler.jsonc", "helm-swicked.kvick.shop", "helm-swicked.kvick.shop"},
		{"no hostname", func(s *stage) {
			s.replaceConfig(`"routes": [{ "pattern": "helm-swicked.kvick.bike", "custom_domain": true }],`, ``)
		}, "hostname-missing", "wrangler.jsonc", swickedHost, ""},
		{"another shop's bucket", func(s *stage) { s.replaceConfig("helm-swicked-assets", "helm-mike-s-bikes-assets") }, "binding-not-owned", "wrangler.jsonc", "helm-mike-s-bikes-assets", "helm-mike-s-bikes-assets"},
		{"another shop's database by name", func(s *stage) {
			s.replaceConfig(`"kvick-helm-swicked"`, `"helm-mike-s-bikes-db"`)
		}, "binding-not-owned", "wrangler.jsonc", "helm-mike-s-bikes-db", "helm-mike-s-bikes-db"},
		{"a D1 id that does not exist", func(s *stage) {
			s.edit = func(src *deploy.Source) { src.Shop.D1ID = "" }
			s.replaceConfig(swickedDB, "00000000-0000-4000-8000-000000000000")
		}, "d1-unknown", "wrangler.jsonc", "00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000"},
		{"another shop's database by id", func(s *stage) {
			s.must(s.account.AddD1("helm-mike-s-bikes-db", "5d0f1c3e-7a2b-4c8d-9e6f-1a2b3c4d5e6f", "wnam"))
			s.edit = func(src *deploy.Source) { src.Shop.D1ID = "" }
			s.replaceConfig(swickedDB, "5d0f1c3e-7a2b-4c8d-9e6f-1a2b3c4d5e6f")
		}, "binding-not-owned", "wrangler.jsonc", "helm-mike-s-bikes-db", "5d0f1c3e-7a2b-4c8d-9e6f-1a2b3c4d5e6f"},
		{"another shop's namespace", func(s *stage) {
			s.must(s.account.AddKV("helm-mike-s-bikes-kv", "b2e1d4c3f5a6079889706b5c4d3e2f1a"))
			s.replaceConfig(swickedKV, "b2e1d4c3f5a6079889706b5c4d3e2f1a")
		}, "binding-not-owned", "wrangler.jsonc", "helm-mike-s-bikes-kv", "b2e1d4c3f5a6079889706b5c4d3e2f1a"},
		{"a service binding", func(s *stage) {
			s.replaceConfig(`"kv_namespaces"`, `"services": [{ "binding": "PEER", "service": "helm-mike-s-bikes" }], "kv_namespaces"`)
		}, "binding-not-owned", "wrangler.jsonc", "PEER", "PEER"},
		{"an unsafe binding to another shop's database", func(s *stage) {
			s.replaceConfig(`"kv_namespaces"`, `"unsafe": { "bindings": [{ "name": "X", "type": "d1", "id": "5d0f1c3e-7a2b-4c8d-9e6f-1a2b3c4d5e6f" }] }, "kv_namespaces"`)
		}, "binding-not-owned", "wrangler.jsonc", "unsafe binding X", "5d0f1c3e"},
		{"a missing secret", func(s *stage) { delete(s.secrets, "STRIPE_SECRET_KEY") }, "secret-missing", "", "STRIPE_SECRET_KEY", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStage(t)
			test.arrange(s)
			_, err := s.deploy()
			var findings deploy.Findings
			if !errors.As(err, &findings) {
				t.Fatalf("error %v, want findings", err)
			}
			i := slices.IndexFunc(findings, func(f deploy.Finding) bool {
				return f.Level == deploy.LevelError && (test.rule == "" || f.Rule == test.rule)
			})
			if i < 0 {
				t.Fatalf("no finding %q in\n%v", test.rule, findings)
			}
			f := findings[i]
			if f.File != test.file || !strings.Contains(f.Message, test.text) {
				t.Errorf("finding %+v, want file %q and a message with %q", f, test.file, test.text)
			}
			if test.source != "" && (f.Line == 0 || f.Column == 0 || !strings.Contains(f.Source, test.source)) {
				t.Errorf("finding stands at %d:%d %q, want the line with %q", f.Line, f.Column, f.Source, test.source)
			}
			if w := writes(s.Requests()); len(w) > 0 {
				t.Errorf("written in spite of the finding: %q", w)
			}
		})
	}
}

func TestFailingMigration(t *testing.T) {
	s := newStage(t)
	s.own()
	s.write("migrations/003_products.sql", string(s.read("migrations/003_products.sql"))+"\n-- a comment; with a semicolon\nCREATE TABLE products (again TEXT);\n")
	_, err := s.deploy()
	var findings deploy.Findings
	if !errors.As(err, &findings) || len(findings) != 1 {
		t.Fatalf("error %v, want one finding", err)
	}
	f := findings[0]
	if f.Rule != "migration-failed" || !strings.HasSuffix(f.File, "003_products.sql") || f.Source != "CREATE TABLE products (again TEXT);" {
		t.Errorf("finding %+v", f)
	}
	if lines := strings.Split(string(s.read("migrations/003_products.sql")), "\n"); f.Line < 1 || lines[f.Line-1] != f.Source {
		t.Errorf("line %d of the file is not %q", f.Line, f.Source)
	}
	if _, err := s.cf().D1Read(context.Background(), swickedDB, "SELECT name FROM d1_migrations"); err == nil {
		t.Error("part of a refused batch was applied")
	}
	if d, err := s.cf().Deployments(context.Background(), "helm-swicked"); !errors.Is(err, cloudflare.ErrNotFound) {
		t.Errorf("released although a migration failed: %v, %v", d, err)
	}
}

func TestGateRestoresWhatWasLive(t *testing.T) {
	s := newStage(t)
	first := s.mustDeploy()
	before := s.snapshot()
	s.write("public/helm.css", "body { color: red }")
	s.replaceConfig(`"crons": ["0 13 * * *", "0 14 * * mon", "0 15 1 * *"]`, `"crons": ["0 13 * * *"]`)
	s.policy.Gate.Path, s.policy.Gate.Status, s.policy.Gate.Timeout = "/nowhere", 204, 20*time.Millisecond
	out, err := s.deploy()
	var gate *deploy.GateError
	if !errors.As(err, &gate) || gate.Restored != first.VersionID || out.Restored != first.VersionID {
		t.Fatalf("error %v, outcome %+v; want version %s restored", err, out, first.VersionID)
	}
	if after := s.snapshot(); after != before {
		t.Errorf("after the restore the shop is\n%s\nbefore it was\n%s", after, before)
	}
	// What was restored is known as ours: the next deploy goes on from it.
	s.policy.Gate.Path, s.policy.Gate.Status = "/build_info.json", 200
	if out := s.mustDeploy(); out.PreviousVersionID != first.VersionID {
		t.Errorf("the deploy after a restore began from %s, want %s", out.PreviousVersionID, first.VersionID)
	}
}

func TestGateWithoutKnownGood(t *testing.T) {
	s := newStage(t)
	s.policy.Gate.Path, s.policy.Gate.Status, s.policy.Gate.Timeout = "/nowhere", 204, 5*time.Millisecond
	out, err := s.deploy()
	var gate *deploy.GateError
	if !errors.As(err, &gate) || gate.Restored != "" || out.Restored != "" {
		t.Fatalf("error %v, want a gate error that restored nothing", err)
	}
}

func TestHostnameIsNeverTaken(t *testing.T) {
	t.Run("held by another Worker", func(t *testing.T) {
		s := newStage(t)
		hold(t, s, "helm-thief", swickedHost)
		s.ForgetRequests()
		_, err := s.deploy()
		requireRule(t, err, "hostname-taken")
		if w := writes(s.Requests()); len(w) > 0 {
			t.Errorf("written: %q", w)
		}
		domains, err := s.cf().Domains(context.Background(), cloudflare.DomainFilter{})
		if err != nil || len(domains) != 1 || domains[0].Service != "helm-thief" {
			t.Errorf("domains %+v, %v; want the hostname where it was", domains, err)
		}
	})
}

func requireRule(t *testing.T, err error, rule string) {
	t.Helper()
	var findings deploy.Findings
	if !errors.As(err, &findings) {
		t.Fatalf("error %v, want a finding %s", err, rule)
	}
	if !slices.ContainsFunc(findings, func(f deploy.Finding) bool { return f.Rule == rule }) {
		t.Fatalf("findings %v, want rule %s", findings, rule)
	}
}

func TestChangedOutside(t *testing.T) {
	ctx := context.Background()
	t.Run("refused, then overwritten when asked", func(t *testing.T) {
		s := newStage(t)
		s.mustDeploy()
		hold(t, s, "helm-swicked", "")
		s.ForgetRequests()
		_, err := s.deploy()
		requireRule(t, err, "changed-outside")
		if !strings.Contains(err.Error(), "binding DB (missing there)") {
			t.Errorf("the finding does not say what differs: %v", err)
		}
		if w := writes(s.Requests()); len(w) > 0 {
			t.Errorf("written: %q", w)
		}
		s.edit = func(src *deploy.Source) { src.OverwriteOutside = true }
		out := s.mustDeploy()
		if !out.Changed {
			t.Error("nothing was written although overwriting was asked for")
		}
	})
	t.Run("a changed secret is no edit of the release", func(t *testing.T) {
		s := newStage(t)
		s.mustDeploy()
		s.must(s.cf().SecretsBulk(ctx, "helm-swicked", map[string]cloudflare.Secret{"SESSION_KEY": "rotated"}))
		s.secrets = nil
		s.ForgetRequests()
		if out := s.mustDeploy(); out.Changed {
			t.Errorf("a rotated secret was answered with %q", writes(s.Requests()))
		}
	})
	t.Run("a removed required secret is missed", func(t *testing.T) {
		s := newStage(t)
		s.mustDeploy()
		s.must(s.cf().SecretsBulk(ctx, "helm-swicked", nil, "SESSION_KEY"))
		s.secrets = nil
		_, err := s.deploy()
		requireRule(t, err, "secret-missing")
		// Brought along, it travels with a version of the same content.
		s.secrets = map[string]wrangler.Secret{"SESSION_KEY": "again"}
		if out := s.mustDeploy(); !out.Changed {
			t.Error("a secret that the Worker lacks was not uploaded")
		}
		s.secrets = nil
		if out := s.mustDeploy(); out.Changed {
			t.Error("the deploy after it writes again")
		}
	})
	t.Run("a split release", func(t *testing.T) {
		s := newStage(t)
		first := s.mustDeploy()
		s.write("public/helm.css", "body { color: red }")
		second := s.mustDeploy()
		_, err := s.cf().CreateDeployment(ctx, "helm-swicked", cloudflare.Release{Versions: []cloudflare.Share{
			{VersionID: first.VersionID, Percentage: 90}, {VersionID: second.VersionID, Percentage: 10}}})
		s.must(err)
		_, err = s.deploy()
		requireRule(t, err, "released-in-part")
	})
	t.Run("crons and hostnames come back", func(t *testing.T) {
		s := newStage(t)
		s.mustDeploy()
		want := s.snapshot()
		s.must(s.cf().PutSchedules(ctx, "helm-swicked", []string{"* * * * *"}))
		s.must(s.cf().PutDomains(ctx, "helm-swicked", []cloudflare.Origin{{Hostname: swickedHost}, {Hostname: "extra.kvick.bike"}}))
		s.secrets = nil
		s.ForgetRequests()
		out := s.mustDeploy()
		if got := s.snapshot(); got != want {
			t.Errorf("after converging:\n%s\nwant:\n%s", got, want)
		}
		if w := writes(s.Requests()); len(w) != 2 || !out.Changed {
			t.Errorf("writes %q, want the crons and the hostname that is too many", w)
		}
	})
}

// Whatever call a process dies at, the same command run again brings the shop
// to the same state, with every migration applied once.
func TestKilledAtEveryCall(t *testing.T) {
	reference := newStage(t)
	reference.mustDeploy()
	want := reference.snapshot()
	calls := len(reference.Requests())
	if calls < 15 {
		t.Fatalf("a first deploy made %d calls; this test expects to cut more", calls)
	}
	for _, drop := range []sim.Drop{sim.DropBefore, sim.DropAfter} {
		for at := range calls {
			s := newStage(t)
			// From call number at on nothing gets through, as if the process had died.
			if _, err := s.Fault(sim.Rule{Skip: at, Count: 1, Drop: drop}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Fault(sim.Rule{Skip: at, Count: -1, Drop: sim.DropBefore}); err != nil {
				t.Fatal(err)
			}
			_, err := s.deploy()
			s.ClearFaults()
			if _, again := s.deploy(); again != nil {
				t.Fatalf("cut %s call %d (%v): the rerun failed: %v", drop, at, err, again)
			}
			if got := s.snapshot(); got != want {
				t.Fatalf("cut %s call %d: after the rerun\n%s\nwant\n%s", drop, at, got, want)
			}
		}
	}
}

// The same for a redeploy in which everything changes.
func TestKilledRedeploy(t *testing.T) {
	arrange := func(t *testing.T) *stage {
		s := newStage(t)
		s.mustDeploy()
		s.secrets = nil
		s.write("migrations/017_gift_cards.sql", "CREATE TABLE gift_cards (id INTEGER PRIMARY KEY);")
		s.write("public/helm.css", "body { color: red }")
		s.replaceConfig(`"crons": ["0 13 * * *", "0 14 * * mon", "0 15 1 * *"]`, `"crons": ["0 13 * * *"]`)
		s.replaceConfig(`"workers_dev": false`, `"workers_dev": true`)
		s.must(s.account.SetSubdomain("kvick"))
		s.must(s.cf().DetachDomain(context.Background(), domainID(t, s)))
		s.ForgetRequests()
		return s
	}
	reference := arrange(t)
	reference.mustDeploy()
	calls := len(reference.Requests())
	want := reference.snapshot()
	for at := range calls {
		s := arrange(t)
		if _, err := s.Fault(sim.Rule{Skip: at, Count: 1, Drop: sim.DropAfter}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Fault(sim.Rule{Skip: at, Count: -1, Drop: sim.DropBefore}); err != nil {
			t.Fatal(err)
		}
		_, err := s.deploy()
		s.ClearFaults()
		if _, again := s.deploy(); again != nil {
			t.Fatalf("cut after call %d (%v): the rerun failed: %v", at, err, again)
		}
		if got := s.snapshot(); got != want {
			t.Fatalf("cut after call %d (%v): after the rerun\n%s\nwant\n%s", at, err, got, want)
		}
	}
}

// An answer that is lost is looked up, not repeated: no version, deployment or
// migration is made twice.
func TestLostAnswers(t *testing.T) {
	for _, path := range []string{`/versions\?`, `/deployments$`, `/query$`, `/assets-upload-session$`, `/assets/upload`, `/schedules$`, `/domains/records$`, `/script-settings$`, `/subdomain$`} {
		for _, html := range []bool{false, true} {
			s := newStage(t)
			s.mustDeploy()
			s.secrets = nil
			s.write("migrations/017_gift_cards.sql", "CREATE TABLE gift_cards (id INTEGER PRIMARY KEY);")
			s.write("public/helm.css", "body { color: red }")
			s.replaceConfig(`"crons": ["0 13 * * *", "0 14 * * mon", "0 15 1 * *"]`, `"crons": ["0 13 * * *"]`)
			s.must(s.cf().DetachDomain(context.Background(), domainID(t, s)))
			versions := len(s.versions())
			rule := sim.Rule{Method: "(POST)?(PUT)?(PATCH)?", Path: path, After: true, Drop: sim.DropAfter}
			if html {
				rule = sim.Rule{Path: path, After: true, Status: 504, HTML: true}
			}
			rule.Method = ""
			if path == `/deployments$` || path == `/schedules$` {
				rule.Skip = 1 // the first one is the read
			}
			if path == `/query$` {
				rule.Skip = 1
			}
			if _, err := s.Fault(rule); err != nil {
				t.Fatal(err)
			}
			out, err := s.deploy()
			if err != nil {
				t.Errorf("%s html %t: %v", path, html, err)
				continue
			}
			if n := len(s.versions()); n != versions+1 {
				t.Errorf("%s html %t: %d versions were made, want 1", path, html, n-versions)
			}
			if !out.Gate.Passed || len(out.Migrations) != 1 {
				t.Errorf("%s html %t: outcome %+v", path, html, out)
			}
		}
	}
}

func domainID(t *testing.T, s *stage) string {
	t.Helper()
	list, err := s.cf().Domains(context.Background(), cloudflare.DomainFilter{})
	if err != nil || len(list) != 1 {
		t.Fatalf("domains %+v, %v", list, err)
	}
	return list[0].ID
}

func (s *stage) versions() []cloudflare.Version {
	s.t.Helper()
	list, err := s.cf().Versions(context.Background(), "helm-swicked")
	s.must(err)
	return list
}

func TestCancelledBeginsNoWrite(t *testing.T) {
	s := newStage(t)
	ctx, cancel := context.WithCancel(context.Background())
	e, want, have, plan, err := s.plan(ctx)
	s.must(err)
	s.ForgetRequests()
	cancel()
	_, err = e.Apply(ctx, want, have, plan, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the cancellation", err)
	}
	if w := writes(s.Requests()); len(w) > 0 {
		t.Errorf("writes after the cancellation: %q", w)
	}
}

func TestStalePlan(t *testing.T) {
	s := newStage(t)
	ctx := context.Background()
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	want, err := s.prepare(ctx)
	s.must(err)
	e := s.engine()
	e.Now = func() time.Time { return now }
	have, err := e.Observe(ctx, want)
	s.must(err)
	plan := deploy.Diff(want, have)
	s.mustDeploy() // somebody else was faster
	s.ForgetRequests()
	now = now.Add(time.Minute)
	_, err = e.Apply(ctx, want, have, plan, nil)
	var stale *deploy.StaleError
	if !errors.As(err, &stale) {
		t.Errorf("error %v, want a StaleError", err)
	}
	if w := writes(s.Requests()); len(w) > 0 {
		t.Errorf("writes with a stale plan: %q", w)
	}
}

// Two runs at once: the shop ends in the state of one, each migration applied once.
func TestTwoRunsAtOnce(t *testing.T) {
	reference := newStage(t)
	reference.mustDeploy()
	s := newStage(t)
	ctx := context.Background()
	a, wantA, haveA, planA, err := s.plan(ctx)
	s.must(err)
	b, wantB, haveB, planB, err := s.plan(ctx)
	s.must(err)
	done := make(chan error, 2)
	go func() { _, err := a.Apply(ctx, wantA, haveA, planA, nil); done <- err }()
	go func() { _, err := b.Apply(ctx, wantB, haveB, planB, nil); done <- err }()
	errA, errB := <-done, <-done
	if _, err := s.deploy(); err != nil {
		t.Fatalf("after two runs (%v; %v) a third failed: %v", errA, errB, err)
	}
	if got, want := s.snapshot(), reference.snapshot(); got != want {
		t.Errorf("after two runs\n%s\nwant\n%s", got, want)
	}
}

func TestPlanOnlyReads(t *testing.T) {
	s := newStage(t)
	ctx := context.Background()
	want, err := s.prepare(ctx)
	s.must(err)
	e := s.engine()
	e.CF = e.CF.ReadOnly()
	have, err := e.Observe(ctx, want)
	s.must(err)
	plan := deploy.Diff(want, have)
	if w := writes(s.Requests()); len(w) > 0 {
		t.Errorf("planning wrote: %q", w)
	}
	if _, err := e.Apply(ctx, want, have, plan, nil); !errors.Is(err, cloudflare.ErrReadOnly) {
		t.Errorf("a read-only engine applied a plan: %v", err)
	}
}

func TestDigest(t *testing.T) {
	s := newStage(t)
	_, _, _, first, err := s.plan(context.Background())
	s.must(err)
	s.commit--
	_, _, _, again, err := s.plan(context.Background())
	s.must(err)
	if first.Digest() != again.Digest() {
		t.Error("equal plans have different digests")
	}
	var decoded deploy.Plan
	text, err := json.Marshal(first)
	s.must(err)
	s.must(json.Unmarshal(text, &decoded))
	if decoded.Digest() != first.Digest() {
		t.Error("a plan that went through JSON has another digest")
	}
	decoded.Steps[0].Target += "x"
	if decoded.Digest() == first.Digest() {
		t.Error("a changed step leaves the digest as it is")
	}
}

// Where there is a reason against it build.command does not run, and the finding is on its line.
func TestBuildCommandRefused(t *testing.T) {
	s := newStage(t)
	ran := filepath.Join(t.TempDir(), "ran")
	s.replaceConfig(`"main": "src/index.ts"`, fmt.Sprintf(`"main": "src/index.ts", "build": { "command": "touch %s" }`, ran))
	s.edit = func(src *deploy.Source) { src.NoBuildCommand = "this is a test" }
	_, err := s.prepare(t.Context())
	var findings deploy.Findings
	if !errors.As(err, &findings) || findings[0].Rule != "build-command-refused" || findings[0].Line == 0 || !strings.Contains(findings[0].Message, "this is a test") {
		t.Errorf("Prepare returned %v", err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("build.command ran")
	}
}

// build.command runs in a copy of its own, before anything looks for what it makes.
func TestBuildCommand(t *testing.T) {
	s := newStage(t)
	s.replaceConfig(`"main": "src/index.ts"`, `"main": "made/index.ts", "build": { "command": "mkdir made && cp -r src/. made/ && test -z \"$CLOUDFLARE_API_TOKEN\"" }`)
	t.Setenv("CLOUDFLARE_API_TOKEN", "not for builds")
	out := s.mustDeploy()
	if !out.Gate.Passed {
		t.Errorf("outcome %+v", out)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "made")); err == nil {
		t.Error("build.command wrote into the shared tree")
	}
}
