package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/sim"
)

// Whoever may write deployments on GitHub may write entries. What Cloudflare does not agree with is passed over.
func TestRollbackForgedEntries(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	k.ship("two")
	bad := k.upload(func(f *forged) { f.Message, f.Tag = "not ours", "" })
	entry := func(edit func(*deploy.Release)) {
		r := k.b.entries[0]
		r.PlanDigest, r.PreviousVersionID = fmt.Sprint(len(k.b.entries)), ""
		edit(&r)
		_, err := k.b.Begin(context.Background(), k.want.Shop, r, deploy.Status{State: deploy.StateSuccess})
		k.must(err)
	}
	entry(func(r *deploy.Release) { r.VersionID = bad })                                               // a version that is none of ours
	entry(func(r *deploy.Release) { r.Commit = strings.Repeat("e", 40) })                              // another commit for ours
	entry(func(r *deploy.Release) { r.Content = "sf-" + strings.Repeat("0", 32) })                     // another content
	entry(func(r *deploy.Release) { r.Worker = "helm-mike" })                                          // another shop's
	entry(func(r *deploy.Release) { r.VersionID = "00000000-0000-4000-8000-000000000000" })            // there is none
	entry(func(r *deploy.Release) { r.VersionID, r.Outside, r.Commit, r.Content = bad, true, "", "" }) // somebody's
	p := k.planned()
	if p.Target == nil || p.Target.VersionID != first || p.Target.Commit != k.b.entries[0].Commit {
		t.Fatalf("the target is %+v, findings %v", p.Target, p.Findings)
	}
	n := 0
	for _, f := range p.Findings {
		if f.Rule == "rollback-entry-forged" && f.Level == deploy.LevelNotice {
			n++
		}
	}
	if n != 5 {
		t.Errorf("%d entries are called forged, want 5: %v", n, p.Findings)
	}
	k.want.To = bad
	k.refused("rollback-entry-forged")
	k.want.To = "00000000-0000-4000-8000-000000000000"
	k.refused("rollback-version-gone")
	k.want.To = strings.Repeat("e", 40)
	if p := k.planned(); p.Target != nil && p.Target.Commit == strings.Repeat("e", 40) {
		t.Errorf("the forged commit is the target")
	}
	for _, to := range []string{"nothing-like-it", first[:4]} {
		k.want.To = to
		k.refused("rollback-target-unknown")
	}
	k.want.To = k.live()
	k.refused("rollback-target-live")
	k.want.To = first[:8]
	k.mustBack(first)
}

func TestRollbackByCommit(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	second := k.ship("two")
	k.ship("three")
	k.want.Not = func(commit string) bool { return commit == fmt.Sprintf("%040x", 2) }
	k.want.To = second
	k.refused("rollback-unwanted")
	k.want.To = ""
	k.mustBack(first)                              // the one between is bad too
	k.want.Not = func(string) bool { return true } // as where git knows none of their commits
	k.ship("bad")
	if p := k.refused("rollback-nothing"); !strings.Contains(p.Findings[0].Message, "without the commit that is taken back") {
		t.Errorf("it says %q", p.Findings[0].Message)
	}
	k.want.Not = nil
	k.ship("four")
	k.want.To = fmt.Sprintf("%040x", 1)
	k.mustBack(first)
}

// What the old release is bound to must be there and its own.
func TestRollbackBlocked(t *testing.T) {
	ctx := context.Background()
	tests := []struct {
		name, says string
		arrange    func(*counter)
	}{
		{"the bucket is gone", `R2 bucket "helm-swicked-assets" that it is bound to as ASSETS_BUCKET is gone`, func(k *counter) {
			k.must(k.cf().DeleteR2Bucket(ctx, "helm-swicked-assets", ""))
		}},
		{"the database is gone", "D1 database", func(k *counter) { k.must(k.cf().DeleteD1(ctx, swickedDB)) }},
		{"the namespace is gone", "KV namespace", func(k *counter) { k.must(k.cf().DeleteKVNamespace(ctx, swickedKV)) }},
		{"the bucket is another shop's", "owner tag", func(k *counter) { k.tag("r2_bucket", "helm-swicked-assets", "mike-s-bikes") }},
		{"the fleet gives the shop another database", "not provably", func(k *counter) {
			k.want.Shop.D1, k.want.Shop.D1ID = "helm-swicked-db", ""
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newCounter(t)
			k.ship("one")
			k.ship("two")
			tt.arrange(k)
			p := k.refused("rollback-blocked")
			if why := strings.Join(p.Candidates[0].Why, "; "); p.Target != nil || p.Candidates[0].Label != deploy.ReadyBlocked || !strings.Contains(why, tt.says) {
				t.Errorf("label %s, why %s", p.Candidates[0].Label, why)
			}
		})
	}
}

// A Durable Object migration cannot be gone back over.
func TestRollbackOverObjects(t *testing.T) {
	k := newCounter(t)
	k.ship("one")
	k.stage.write("src/index.ts", string(k.read("src/index.ts"))+"\nexport class Till { constructor(private readonly state: unknown) {} }\n")
	k.replaceConfig(`"workers_dev": false,`, `"migrations": [{ "tag": "v1", "new_sqlite_classes": ["Till"] }], "workers_dev": false,`)
	k.ship("two")
	if p := k.refused("rollback-blocked"); !strings.Contains(strings.Join(p.Candidates[0].Why, ""), "Durable Objects were migrated since") {
		t.Errorf("why: %q", p.Candidates[0].Why)
	}
	second := k.live()
	k.ship("three")
	k.mustBack(second) // on this side of it
}

// Rotated secrets stay as they are, unless somebody says so.
func TestRollbackRotatedSecret(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	k.ship("two")
	k.must(k.cf().SecretsBulk(context.Background(), "helm-swicked", map[string]cloudflare.Secret{"SESSION_KEY": "rotated"}))
	k.ForgetRequests()
	k.refused("secrets-changed")
	for _, r := range k.Requests() {
		if strings.Contains(r.Query, "force") {
			t.Errorf("it was forced: %s %s?%s", r.Method, r.Path, r.Query)
		}
	}
	k.want.OldSecrets = true
	out := k.mustBack(first)
	if !slices.Equal(out.OldSecrets, []string{"SESSION_KEY"}) {
		t.Errorf("old secrets %q", out.OldSecrets)
	}
}

// A changed secret makes a version and a deployment of its own: they are not what is gone back over.
func TestRollbackIsNotToTheSameContent(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	second := k.ship("two")
	k.must(k.cf().SecretsBulk(context.Background(), "helm-swicked", map[string]cloudflare.Secret{"NEW_KEY": "x"}))
	k.want.OldSecrets = true
	if k.live() == second {
		t.Fatal("a secret made no version")
	}
	k.mustBack(first)
}

func TestRollbackCronsAndHostnames(t *testing.T) {
	ctx := context.Background()
	k := newCounter(t)
	k.want.Shop.Hostnames = []string{"old.kvick.bike", "new.kvick.bike"}
	base := k.edit
	k.edit = func(src *deploy.Source) { src.Shop = k.want.Shop; base(src) }
	route := func(host string) string {
		return `"routes": [{ "pattern": "helm-swicked.kvick.bike", "custom_domain": true }, { "pattern": "` + host + `", "custom_domain": true }],`
	}
	k.replaceConfig(`"routes": [{ "pattern": "helm-swicked.kvick.bike", "custom_domain": true }],`, route("old.kvick.bike"))
	first := k.ship("one")
	k.replaceConfig(route("old.kvick.bike"), route("new.kvick.bike"))
	k.replaceConfig(`"0 15 1 * *"`, `"0 16 1 * *"`)
	k.ship("two")
	hosts := func() (out []string) {
		list, err := k.cf().Domains(ctx, cloudflare.DomainFilter{})
		k.must(err)
		for _, d := range list {
			out = append(out, d.Hostname+" "+d.Service)
		}
		slices.Sort(out)
		return out
	}
	k.mustBack(first)
	crons, err := k.cf().Schedules(ctx, "helm-swicked")
	k.must(err)
	if want := []string{"helm-swicked.kvick.bike helm-swicked", "old.kvick.bike helm-swicked"}; !slices.Contains(crons, "0 15 1 * *") || !slices.Equal(hosts(), want) {
		t.Errorf("crons %q, hostnames %q", crons, hosts())
	}

	// One that somebody else took meanwhile stays theirs, and the code goes back all the same.
	second := k.ship("three") // detaches old
	k.replaceConfig(`"0 16 1 * *"`, `"0 17 1 * *"`)
	k.ship("four")
	k.want.To = second
	k.must(k.cf().PutDomains(ctx, "helm-swicked", []cloudflare.Origin{{Hostname: "helm-swicked.kvick.bike"}}))
	list, err := k.cf().Domains(ctx, cloudflare.DomainFilter{Hostname: "new.kvick.bike"})
	k.must(err)
	for _, d := range list {
		k.must(k.cf().DetachDomain(ctx, d.ID))
	}
	hold(t, k.stage, "another", "new.kvick.bike")
	p, _, err := k.back()
	k.must(err)
	if !hasRule(p.Findings, "rollback-hostname-left") || k.live() != second || !slices.Contains(hosts(), "new.kvick.bike another") || !slices.Contains(hosts(), "helm-swicked.kvick.bike helm-swicked") {
		t.Errorf("live %s, hostnames %q, findings %v", k.live(), hosts(), p.Findings)
	}
}

const sinceThen = "INSERT INTO customers (name) VALUES ('Since'), ('Since too'); INSERT INTO sales (customer_id) SELECT max(id) FROM customers;"

func TestRollbackSchema(t *testing.T) {
	ctx := context.Background()
	k := newCounter(t)
	k.ship("zero")
	first := k.ship("one")
	time.Sleep(1100 * time.Millisecond) // SQLite's clock counts in seconds here
	k.stage.write("migrations/017_more.sql", "ALTER TABLE customers ADD COLUMN nick TEXT;\nCREATE TABLE gifts (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id));\n")
	second := k.ship("two")
	if p := k.planned(); p.Target.VersionID != first || p.Target.Label != deploy.ReadySafe || !strings.Contains(p.NotUndone[0], "017_more.sql") {
		t.Errorf("with a column more: %+v", p.Target)
	}
	// A row of the new table stands in the way of what the old code may delete.
	k.query("INSERT INTO customers (name) VALUES ('Eve'); INSERT INTO gifts (customer_id) SELECT max(id) FROM customers")
	p := k.refused("rollback-needs-restore")
	if !strings.Contains(strings.Join(p.Target.Why, ""), "rows of gifts refer to customers") {
		t.Errorf("why: %q", p.Target.Why)
	}
	k.query("DELETE FROM gifts; DELETE FROM customers")
	time.Sleep(1100 * time.Millisecond)

	// A column that is gone: the old code needs it, and a restore brings it back.
	k.stage.write("migrations/018_less.sql", "-- shopfleet: destructive because nobody reads it\nALTER TABLE customers DROP COLUMN nick;\n")
	third := k.ship("three")
	k.query(sinceThen)
	k.ForgetRequests()
	p = k.refused("rollback-needs-restore")
	if w := writes(k.Requests()); len(w) > 0 {
		t.Errorf("it wrote %q", w)
	}
	if p.Target.VersionID != second || p.Target.Label != deploy.ReadyRestore || !strings.Contains(strings.Join(p.Target.Why, ""), "column customers.nick is gone") ||
		p.Candidates[1].VersionID != first || p.Candidates[1].Label != deploy.ReadySafe || p.Restore != nil {
		t.Errorf("the plan is %+v", p)
	}
	made := map[string]int64{}
	for _, l := range p.Target.Losses {
		made[l.Table] = l.Made
	}
	if made["customers"] != 2 || made["sales"] != 1 {
		t.Errorf("losses %+v", p.Target.Losses)
	}
	hint := ""
	for _, f := range p.Findings {
		hint += f.Hint
	}
	if !strings.Contains(hint, "to "+first) || !strings.Contains(hint, "--restore-data") {
		t.Errorf("hint %q", hint)
	}
	k.want.RestoreData = true
	out := k.mustBack(second)
	if out.Data == nil || !out.Data.Changed || out.Data.Undo == "" {
		t.Errorf("the restore is %+v", out.Data)
	}
	rows, err := k.cf().D1Read(ctx, swickedDB, "SELECT count(*) AS n, count(nick) AS nicks FROM customers")
	k.must(err)
	if string(rows.Rows) != `[{"n":0,"nicks":0}]` {
		t.Errorf("customers: %s", rows.Rows)
	}
	if s := k.stands(third); !strings.HasSuffix(s, "failure") {
		t.Errorf("the bad entry went through %q", s)
	}
	// What is not needed is not done.
	p = k.planned()
	if p.Target.VersionID != first || p.Restore != nil || !hasRule(p.Findings, "rollback-restore-unneeded") {
		t.Errorf("the plan is %+v", p)
	}
}

// Data never goes back for a release that does not happen.
func TestRollbackRestoreAndSecrets(t *testing.T) {
	k := newCounter(t)
	k.stage.write("migrations/017_more.sql", "ALTER TABLE customers ADD COLUMN nick TEXT;\n")
	k.ship("one")
	k.stage.write("migrations/018_less.sql", "-- shopfleet: destructive because nobody reads it\nALTER TABLE customers DROP COLUMN nick;\n")
	k.ship("two")
	k.query(sinceThen)
	k.must(k.cf().SecretsBulk(context.Background(), "helm-swicked", map[string]cloudflare.Secret{"SESSION_KEY": "rotated"}))
	k.want.RestoreData = true
	k.refused("secrets-changed")
	rows, err := k.cf().D1Read(context.Background(), swickedDB, "SELECT count(*) AS n FROM customers")
	k.must(err)
	if string(rows.Rows) != `[{"n":2}]` {
		t.Errorf("customers: %s", rows.Rows)
	}
}

// One rollback does not undo another: a target that is bad too stays, and the next one goes further back.
func TestRollbackFailsItsGate(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	second := k.ship("two")
	third := k.ship("three")
	k.fail(func() {
		_, out, err := k.back()
		var gate *deploy.GateError
		if !errors.As(err, &gate) || !gate.Back || gate.Restored != "" || k.live() != second || out.VersionID != second {
			t.Errorf("got %v; live %s", err, k.live())
		}
	})
	if k.stands(second) != "in_progress failure" || !strings.HasSuffix(k.stands(third), "failure") {
		t.Errorf("entries %q, %q", k.stands(second), k.stands(third))
	}
	k.mustBack(first)
}

// What a failed gate took down is no target, whoever asks: the journal, or the account alone.
func TestRollbackSkipsWhatFailed(t *testing.T) {
	for _, journal := range []bool{true, false} {
		k := newCounter(t)
		if !journal {
			k.b = nil
		}
		first := k.ship("one")
		second := k.ship("two")
		k.fail(func() {
			if _, err := k.shipping("three"); !errors.As(err, new(*deploy.GateError)) || k.live() != second {
				t.Fatalf("got %v", err)
			}
		})
		p, out, err := k.back()
		k.must(err)
		if k.live() != first {
			t.Errorf("journal %v: live %s, want %s", journal, k.live(), first)
		}
		if unrecorded := len(out.NotRecorded) > 0; unrecorded == journal || hasRule(p.Findings, "rollback-not-known-good") == journal {
			t.Errorf("journal %v: not recorded %q, findings %v", journal, out.NotRecorded, p.Findings)
		}
		k.refused("rollback-nothing") // neither two nor three
	}
}

// GitHub goes away: before it, and in the middle.
func TestRollbackWithoutGitHub(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	k.ship("two")
	k.b.read = errors.New("no answer")
	if p := k.planned(); !hasRule(p.Findings, "rollback-journal-unread") || p.Target.VersionID != first || p.Target.Good {
		t.Errorf("the plan is %+v", p)
	}
	k.b.read = nil
	k.b.begin = func(deploy.Release, deploy.Status) error { return errors.New("no answer") }
	if out := k.mustBack(first); len(out.NotRecorded) != 1 {
		t.Errorf("not recorded: %q", out.NotRecorded)
	}
	k.b.begin = nil
	// The account remembers: the bad one is not what comes next.
	k.refused("rollback-nothing")
}

// The answer of a call is lost, or the process dies behind it. The same order again finishes the job.
func TestRollbackInterrupted(t *testing.T) {
	const calls = 4 // writes and looks behind the plan: release, crons, gate's look
	for at := range calls {
		for _, drop := range []sim.Drop{sim.DropBefore, sim.DropAfter} {
			t.Run(fmt.Sprint(at, drop), func(t *testing.T) {
				k := newCounter(t)
				first := k.ship("one")
				k.replaceConfig(`"0 15 1 * *"`, `"0 16 1 * *"`)
				second := k.ship("two")
				k.want.Order = "4711"
				e := k.machine()
				ctx, die := context.WithCancel(context.Background())
				defer die()
				armed, n := atomic.Bool{}, atomic.Int32{}
				e.CF.Observe = func(cloudflare.Call) {
					if armed.Load() && int(n.Add(1)) > at {
						die()
					}
				}
				p, err := e.PlanRollback(context.Background(), k.want)
				k.must(err)
				armed.Store(true)
				_, err = k.Fault(sim.Rule{Skip: at, Drop: drop})
				k.must(err)
				_, _ = e.Rollback(ctx, k.want, p, nil)
				k.ClearFaults()
				for range 2 {
					if _, out, err := k.back(); err != nil || out.VersionID != first || k.live() != first {
						t.Fatalf("again: %v; live %s, want %s", err, k.live(), first)
					}
				}
				crons, err := k.cf().Schedules(context.Background(), "helm-swicked")
				k.must(err)
				if !slices.Contains(crons, "0 15 1 * *") {
					t.Errorf("crons %q", crons)
				}
				if !strings.HasSuffix(k.stands(first), "success") || !strings.HasSuffix(k.stands(second), "failure") || len(k.b.entries) != 3 {
					t.Errorf("entries %q, %q of %d", k.stands(first), k.stands(second), len(k.b.entries))
				}
				// Whoever releases behind it ends the order.
				k.ship("three")
				k.refused("rollback-overtaken")
			})
		}
	}
}

// An answer that is lost is looked for, and the release not made twice.
func TestRollbackLostAnswer(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	k.ship("two")
	for _, drop := range []sim.Drop{sim.DropBefore, sim.DropAfter} {
		_, err := k.Fault(sim.Rule{Method: "POST", Path: `/deployments$`, Drop: drop})
		k.must(err)
		k.ForgetRequests()
		out := k.mustBack(first)
		if drop == sim.DropAfter && out.Adopted != 1 {
			t.Errorf("adopted %d", out.Adopted)
		}
		k.ship("next " + string(drop))
	}
}

// Somebody releases between the plan and its release.
func TestRollbackMeanwhile(t *testing.T) {
	k := newCounter(t)
	k.ship("one")
	second := k.ship("two")
	e := k.machine()
	p, err := e.PlanRollback(context.Background(), k.want)
	k.must(err)
	third := k.ship("three")
	k.passed = time.Minute
	e.Now = func() time.Time { return time.Now().Add(k.passed) }
	_, err = e.Rollback(context.Background(), k.want, p, nil)
	if !errors.As(err, new(*deploy.StaleError)) || k.live() != third {
		t.Errorf("got %v; live %s", err, k.live())
	}
	// And a few seconds after it was looked.
	e = k.machine()
	p, err = e.PlanRollback(context.Background(), k.want)
	k.must(err)
	fourth := k.ship("four")
	e.Now = func() time.Time { return time.Now().Add(k.passed + 3*time.Second) }
	_, err = e.Rollback(context.Background(), k.want, p, nil)
	var stale *deploy.StaleError
	if !errors.As(err, &stale) || stale.Live != fourth || k.live() != fourth {
		t.Errorf("got %v; live %s", err, k.live())
	}
	if p.Target.VersionID != second {
		t.Errorf("the target was %s", p.Target.VersionID)
	}
}

// A wave has used the budget up, and a rollback gets through.
func TestRollbackUsesTheReserve(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	k.ship("two")
	waited := 0
	k.budget = &cloudflare.Budget{Limit: 400, PerSecond: 1e6, Sleep: func(ctx context.Context, _ time.Duration) error { waited++; return errors.New("no time for that") }}
	wave := k.machine().CF
	for k.budget.Remaining(false) > 0 {
		if _, err := wave.Deployments(context.Background(), "helm-swicked"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.machine().PlanRollback(context.Background(), k.want); err == nil {
		t.Error("a call that is not urgent found room")
	}
	k.urgent, waited = true, 0
	k.mustBack(first)
	if waited > 0 {
		t.Errorf("it waited %d times", waited)
	}
}

// Git has lost the commit: what the journal says of it goes back with the code, and what nobody can tell stops it.
func TestRollbackCommitUnknown(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	k.replaceConfig(`"0 15 1 * *"`, `"0 16 1 * *"`)
	k.ship("two")
	delete(k.commits, fmt.Sprintf("%040x", 1))
	p, _, err := k.back()
	k.must(err)
	crons, err := k.cf().Schedules(context.Background(), "helm-swicked")
	k.must(err)
	if why := p.Target.Why; len(why) != 1 || why[0] != "the database has the schema that it ran on" {
		t.Errorf("why it is safe: %q", why)
	}
	if k.live() != first || !hasRule(p.Findings, "rollback-commit-unknown") || !slices.Contains(crons, "0 15 1 * *") {
		t.Errorf("live %s, crons %q, findings %v", k.live(), crons, p.Findings)
	}
	third := k.ship("three")
	k.stage.write("migrations/017_more.sql", "ALTER TABLE customers ADD COLUMN nick TEXT;\n")
	k.ship("four")
	delete(k.commits, fmt.Sprintf("%040x", 3))
	if p := k.refused("rollback-blocked"); p.Candidates[0].VersionID != third || !strings.Contains(p.Candidates[0].Why[0], "git does not have its commit") {
		t.Errorf("the plan is %+v", p)
	}
}

// A run that died behind its release is finished by whoever rolls back next, and nothing goes back twice.
func TestRollbackCutOff(t *testing.T) {
	k := newCounter(t)
	k.ship("zero")
	first := k.ship("one")
	second := k.ship("two")
	e := k.machine()
	ctx, die := context.WithCancel(context.Background())
	e.CF.Observe = func(c cloudflare.Call) {
		if c.Method == "POST" && strings.HasSuffix(c.Path, "/deployments") {
			die()
		}
	}
	p, err := e.PlanRollback(context.Background(), k.want)
	k.must(err)
	k.b.finish = func(deploy.Release, deploy.Status) error { return errors.New("dead") }
	_, err = e.Rollback(ctx, k.want, p, nil)
	if err == nil || k.live() != first {
		t.Fatalf("got %v; live %s", err, k.live())
	}
	k.b.finish = nil
	p, out, err := k.back()
	k.must(err)
	if !p.Done || k.live() != first || out.VersionID != first || out.PreviousVersionID != second || !hasRule(p.Findings, "rollback-done") ||
		k.stands(first) != "in_progress success" || !strings.HasSuffix(k.stands(second), "failure") {
		t.Errorf("done %v, live %s, entries %q, %q", p.Done, k.live(), k.stands(first), k.stands(second))
	}
}

// Cloudflare keeps the newest 100 versions. What is older is not gone back to, and nobody is sent after it.
func TestRollbackVersionGone(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	second := k.ship("two")
	for i := range 99 {
		k.must(k.cf().SecretsBulk(context.Background(), "helm-swicked", map[string]cloudflare.Secret{"SESSION_KEY": cloudflare.Secret(fmt.Sprint(i))}))
	}
	k.ship("three")
	p := k.refused("rollback-nothing")
	if len(p.Candidates) != 2 || p.Candidates[0].VersionID != second || p.Candidates[0].Label != deploy.ReadyBlocked || !strings.Contains(p.Candidates[0].Why[0], "100") {
		t.Errorf("candidates %+v", p.Candidates)
	}
	k.want.To = first
	k.refused("rollback-version-gone")
}
