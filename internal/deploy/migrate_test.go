package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/sim"
)

// query runs SQL on the shop's database, as somebody with the dashboard would.
func (s *stage) query(sql string) {
	s.t.Helper()
	_, err := s.cf().D1Exec(context.Background(), swickedDB, sql)
	s.must(err)
}

// ledger is what the database says is applied.
func (s *stage) ledger() []string {
	s.t.Helper()
	rows, err := s.cf().D1Read(context.Background(), swickedDB, "SELECT name FROM d1_migrations ORDER BY id")
	s.must(err)
	var list []struct{ Name string }
	s.must(rows.Decode(&list))
	var out []string
	for _, r := range list {
		out = append(out, r.Name)
	}
	return out
}

// migrated is a stage whose first deploy is done; what follows is a redeploy.
func migrated(t testing.TB) *stage {
	t.Helper()
	s := newStage(t)
	s.policy.Identity.Table = fleet.IdentityTable // which no migration knows of
	s.own()
	s.records("swicked", "swicked", "swicked")
	s.mustDeploy()
	s.secrets = nil
	s.ForgetRequests()
	return s
}

// step is what a plan has for an action.
func step(p *deploy.Plan, action deploy.Action) []string {
	for _, s := range p.Steps {
		if s.Action == action {
			return s.After
		}
	}
	return nil
}

func rules(findings []deploy.Finding) []string {
	var out []string
	for _, f := range findings {
		out = append(out, f.Level+" "+f.Rule)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// A file that takes something away waits for the gate, whatever its number.
func TestContractingMigrationWaitsForTheGate(t *testing.T) {
	s := migrated(t)
	s.query("INSERT INTO customers (name) VALUES ('A'), ('B')")
	s.write("migrations/017_drop_notes.sql", "-- shopfleet: destructive because notes moved to work orders\nALTER TABLE customers DROP COLUMN notes;\n")
	s.write("migrations/018_points.sql", "ALTER TABLE customers ADD COLUMN points INTEGER NOT NULL DEFAULT 0;\n")
	s.write("public/helm.css", "body { color: red }")
	_, _, _, plan, err := s.plan(context.Background())
	s.must(err)
	if got := step(plan, deploy.ActionMigrate); !slices.Equal(got, []string{"018_points.sql"}) {
		t.Errorf("before the release: %q", got)
	}
	if got := step(plan, deploy.ActionContract); !slices.Equal(got, []string{"017_drop_notes.sql"}) {
		t.Errorf("after the gate: %q", got)
	}
	if last := plan.Steps[len(plan.Steps)-1]; last.Action != deploy.ActionContract {
		t.Errorf("the last step is %s", last)
	}
	i := slices.IndexFunc(plan.Findings, func(f deploy.Finding) bool { return f.Rule == "migration-destructive" })
	if i < 0 || plan.Findings[i].Level != deploy.LevelWarning || !strings.Contains(plan.Findings[i].Message, "2 rows would go") ||
		plan.Findings[i].File != "migrations/017_drop_notes.sql" || plan.Findings[i].Line != 2 {
		t.Errorf("findings %+v", plan.Findings)
	}
	s.ForgetRequests()
	out := s.mustDeploy()
	if !slices.Equal(out.Migrations, []string{"018_points.sql", "017_drop_notes.sql"}) {
		t.Errorf("applied %q", out.Migrations)
	}
	var order []string
	for _, r := range s.Requests() {
		switch {
		case strings.HasSuffix(r.Path, "/deployments") && r.Write:
			order = append(order, "release")
		case strings.HasSuffix(r.Path, "/query") && strings.Contains(string(r.Body), "ADD COLUMN points"):
			order = append(order, "expand")
		case strings.HasSuffix(r.Path, "/query") && strings.Contains(string(r.Body), "DROP COLUMN notes"):
			order = append(order, "contract")
		}
	}
	if want := []string{"expand", "release", "contract"}; !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
	if out.SchemaBefore == "" || out.SchemaAfter != plan.SchemaAfter || out.SchemaBefore != plan.Schema || out.Bookmark == "" {
		t.Errorf("outcome %+v, plan %s → %s", out, plan.Schema, plan.SchemaAfter)
	}
	if again := s.mustDeploy(); again.Changed {
		t.Errorf("the deploy after changed something: %+v", again)
	}
}

// A release that fails its gate is replaced by one that still has everything it needs.
func TestFailedGateLeavesContractingMigrations(t *testing.T) {
	s := migrated(t)
	s.write("migrations/017_drop_notes.sql", "-- shopfleet: destructive because of a test\nALTER TABLE customers DROP COLUMN notes;\n")
	s.write("public/helm.css", "body { color: red }")
	s.policy.Gate.Path, s.policy.Gate.Status, s.policy.Gate.Timeout = "/nowhere", 204, 1
	before := s.snapshot()
	_, err := s.deploy()
	var gate *deploy.GateError
	if !errors.As(err, &gate) || gate.Restored == "" {
		t.Fatalf("error %v, want a restored gate error", err)
	}
	if after := s.snapshot(); after != before {
		t.Errorf("after\n%s\nbefore\n%s", after, before)
	}
}

// What is not written in a file must be said on the command line, and nothing is written without it.
func TestDestructiveNeedsAWord(t *testing.T) {
	s := migrated(t)
	s.write("migrations/017_drop.sql", "DROP TABLE daily_closes;\n")
	_, err := s.deploy()
	requireRule(t, err, "migration-destructive")
	if w := writes(s.Requests()); len(w) > 0 {
		t.Errorf("written: %q", w)
	}
	s.edit = func(src *deploy.Source) { src.AllowDestructive = true }
	if out := s.mustDeploy(); !slices.Equal(out.Migrations, []string{"017_drop.sql"}) {
		t.Errorf("applied %q", out.Migrations)
	}
}

// The rows decide about some files, and only the live database has them.
func TestLiveRowsAreAsked(t *testing.T) {
	s := migrated(t)
	s.write("migrations/017_phone.sql", "CREATE UNIQUE INDEX customers_phone ON customers (phone);\n")
	s.query("INSERT INTO customers (name, phone) VALUES ('A', '1'), ('B', '2')")
	_, _, _, plan, err := s.plan(context.Background())
	s.must(err)
	if deploy.Findings(plan.Findings).Blocking() {
		t.Errorf("findings %+v, though all phones are different", plan.Findings)
	}
	s.query("INSERT INTO customers (name, phone) VALUES ('C', '2')")
	_, err = s.deploy()
	requireRule(t, err, "migration-data-dependent")
	if !strings.Contains(err.Error(), "2 rows in the way") {
		t.Errorf("error %v", err)
	}
	reads := 0
	s.ForgetRequests()
	_, _, _, _, err = s.plan(context.Background())
	s.must(err)
	for _, r := range s.Requests() {
		if strings.HasSuffix(r.Path, "/query") {
			reads++
		}
	}
	if reads != 2 {
		t.Errorf("a plan made %d queries, want one for the schema and one for all counts", reads)
	}
}

// One question that D1 does not understand does not keep the others from being answered.
func TestQuestionRefused(t *testing.T) {
	s := migrated(t)
	s.write("migrations/017_phone.sql", "CREATE UNIQUE INDEX customers_phone ON customers (phone);\n")
	s.write("migrations/018_notes.sql", "CREATE UNIQUE INDEX customers_notes ON customers (notes);\n")
	s.query("INSERT INTO customers (name, phone, notes) VALUES ('A', '1', 'a'), ('B', '1', 'a'), ('C', '1', 'a')")
	// The schema is read first; the question of both and the first alone are refused.
	if _, err := s.Fault(sim.Rule{Path: `/query$`, Skip: 1, Count: 2, Status: 400, Code: 7500, Message: "no such function: x"}); err != nil {
		t.Fatal(err)
	}
	_, _, _, plan, err := s.plan(context.Background())
	s.must(err)
	var got []string
	for _, f := range plan.Findings {
		if f.Rule == "migration-data-dependent" {
			got = append(got, f.Level+" "+f.Message)
		}
	}
	want := []string{"warning wants phone of customers to be unique: whether rows stand in the way is not known", "error wants notes of customers to be unique: 3 rows in the way"}
	if !slices.Equal(got, want) {
		t.Errorf("findings %q, want %q", got, want)
	}
}

func TestMixedMigrationIsRefused(t *testing.T) {
	s := migrated(t)
	s.write("migrations/017_mixed.sql", "ALTER TABLE customers ADD COLUMN remarks TEXT;\nUPDATE customers SET remarks = notes;\nALTER TABLE customers DROP COLUMN notes;\n")
	s.edit = func(src *deploy.Source) { src.AllowDestructive = true }
	_, err := s.deploy()
	requireRule(t, err, "migration-mixed")
	// Before the first release nobody minds.
	first := newStage(t)
	first.write("migrations/017_mixed.sql", string(s.read("migrations/017_mixed.sql")))
	if out := first.mustDeploy(); len(out.Migrations) != 17 {
		t.Errorf("applied %q", out.Migrations)
	}
}

// The code that is about to be released is looked at too.
func TestCodeThatStillNamesWhatGoes(t *testing.T) {
	s := migrated(t)
	s.write("migrations/017_drop.sql", "-- shopfleet: destructive because of a test\nDROP TABLE audit_log;\n")
	_, _, _, plan, err := s.plan(context.Background())
	s.must(err)
	if !slices.Contains(rules(plan.Findings), "warning migration-breaks-release") {
		t.Errorf("findings %q", rules(plan.Findings))
	}
}

// An applied file that changes is told of, and stops nobody; a comment in it is not worth a word.
func TestChangedMigration(t *testing.T) {
	s := migrated(t)
	s.write("migrations/014_cron_runs.sql", "-- a better comment\n"+string(s.read("migrations/014_cron_runs.sql")))
	_, _, _, plan, err := s.plan(context.Background())
	s.must(err)
	if len(plan.Findings) > 0 {
		t.Errorf("findings of a comment: %+v", plan.Findings)
	}
	s.write("migrations/014_cron_runs.sql", string(s.read("migrations/014_cron_runs.sql"))+"CREATE INDEX late ON cron_runs (job);\n")
	_, _, _, plan, err = s.plan(context.Background())
	s.must(err)
	if got := rules(plan.Findings); !slices.Equal(got, []string{"notice schema-drift-unknown", "warning migration-changed"}) || plan.Changes() {
		t.Errorf("findings %q, steps %v", got, plan.Steps)
	}
}

func TestNumbers(t *testing.T) {
	s := migrated(t)
	s.write("migrations/009_late.sql", "CREATE TABLE late (id INTEGER PRIMARY KEY);\n")
	_, _, _, plan, err := s.plan(context.Background())
	s.must(err)
	if got := rules(plan.Findings); !slices.Equal(got, []string{"warning migration-number-twice", "warning migration-out-of-order"}) {
		t.Errorf("findings %q", got)
	}
	if out := s.mustDeploy(); !slices.Equal(out.Migrations, []string{"009_late.sql"}) {
		t.Errorf("applied %q", out.Migrations)
	}
}

func TestDrift(t *testing.T) {
	s := migrated(t)
	s.query("CREATE TABLE by_hand (id INTEGER PRIMARY KEY); DROP INDEX customers_name; ALTER TABLE customers ADD COLUMN nickname TEXT;")
	_, _, _, plan, err := s.plan(context.Background())
	s.must(err)
	if got := rules(plan.Findings); !slices.Equal(got, []string{"warning schema-drift"}) {
		t.Fatalf("findings %q", got)
	}
	for _, what := range []string{"unexpected table by_hand", "missing index customers_name", "unexpected column customers.nickname"} {
		if !strings.Contains(plan.Findings[0].Message, what) {
			t.Errorf("%q lacks %q", plan.Findings[0].Message, what)
		}
	}
}

// Statement 3 of file 2 fails on the shop's rows: file 1 is applied and in the ledger, file 2 is not, and the rerun
// with a mended file finishes.
func TestFailingStatementOfSecondFile(t *testing.T) {
	s := migrated(t)
	s.query("INSERT INTO customers (id, name) VALUES (7, 'A')")
	s.write("migrations/017_one.sql", "CREATE TABLE one (id INTEGER PRIMARY KEY);\n")
	bad := "CREATE TABLE two (id INTEGER PRIMARY KEY);\nINSERT INTO two VALUES (1);\nINSERT INTO customers (id, name) VALUES (7, 'B');\n"
	s.write("migrations/018_two.sql", bad)
	s.write("migrations/019_three.sql", "CREATE TABLE three (id INTEGER PRIMARY KEY);\n")
	out, err := s.deploy()
	var findings deploy.Findings
	if !errors.As(err, &findings) || len(findings) != 1 || findings[0].Rule != "migration-failed" || findings[0].File != "migrations/018_two.sql" {
		t.Fatalf("error %v, want one finding about 018_two.sql", err)
	}
	if !slices.Equal(out.Migrations, []string{"017_one.sql"}) {
		t.Errorf("outcome says %q", out.Migrations)
	}
	if got := s.ledger(); len(got) != 17 || got[16] != "017_one.sql" {
		t.Errorf("ledger %q", got)
	}
	if _, err := s.cf().D1Read(context.Background(), swickedDB, "SELECT * FROM two"); err == nil {
		t.Error("half of file 2 is applied")
	}
	s.write("migrations/018_two.sql", strings.Replace(bad, "(7, 'B')", "(8, 'B')", 1))
	if out := s.mustDeploy(); !slices.Equal(out.Migrations, []string{"018_two.sql", "019_three.sql"}) {
		t.Errorf("applied %q", out.Migrations)
	}
}

// Two runs at once: each file is applied once, and the run that came second is told so.
func TestOtherRunIsTold(t *testing.T) {
	s := migrated(t)
	s.write("migrations/017_one.sql", "CREATE TABLE one (id INTEGER PRIMARY KEY);\n")
	ctx := context.Background()
	e, want, have, plan, err := s.plan(ctx)
	s.must(err)
	s.mustDeploy() // somebody was faster
	out, err := e.Apply(ctx, want, have, plan, nil)
	s.must(err)
	if len(out.Migrations) != 0 || !slices.Equal(out.MigrationsElsewhere, []string{"017_one.sql"}) {
		t.Errorf("outcome %+v", out)
	}
	if got := s.ledger(); len(got) != 17 {
		t.Errorf("ledger %q", got)
	}
}

// Somebody changes the schema between the plan and its migrations: the deploy stops before the release.
func TestSchemaIsVerified(t *testing.T) {
	s := migrated(t)
	s.write("migrations/017_one.sql", "CREATE TABLE one (id INTEGER PRIMARY KEY);\n")
	s.write("public/helm.css", "body { color: red }")
	ctx := context.Background()
	e, want, have, plan, err := s.plan(ctx)
	s.must(err)
	s.query("CREATE TABLE by_hand (id INTEGER PRIMARY KEY)")
	before := s.versionLive()
	_, err = e.Apply(ctx, want, have, plan, nil)
	var schema *deploy.SchemaError
	if !errors.As(err, &schema) || !slices.Equal(schema.Differences, []string{"unexpected table by_hand"}) {
		t.Fatalf("error %v, want a SchemaError that names by_hand", err)
	}
	if s.versionLive() != before {
		t.Error("released in spite of it")
	}
}

func (s *stage) versionLive() string {
	s.t.Helper()
	list, err := s.cf().Deployments(context.Background(), "helm-swicked")
	s.must(err)
	return list[0].Versions[0].VersionID
}

// Whatever call a process dies at, before or after its effect, the database is at "these files are applied and the
// ledger says so", and the same command again finishes.
func TestKilledMigrations(t *testing.T) {
	arrange := func(t *testing.T) *stage {
		s := migrated(t)
		s.write("migrations/017_points.sql", "ALTER TABLE customers ADD COLUMN points INTEGER NOT NULL DEFAULT 0;\n")
		s.write("migrations/018_drop.sql", "-- shopfleet: destructive because of a test\nALTER TABLE customers DROP COLUMN notes;\n")
		s.write("migrations/019_big.sql", "CREATE TABLE big (id INTEGER PRIMARY KEY, t TEXT);\n"+strings.Repeat("INSERT INTO big (t) VALUES ('"+strings.Repeat("x", 1000)+"');\n", 95))
		s.write("public/helm.css", "body { color: red }")
		s.ForgetRequests()
		return s
	}
	reference := arrange(t)
	reference.mustDeploy()
	calls := len(reference.Requests())
	want := reference.snapshot()
	for _, drop := range []sim.Drop{sim.DropBefore, sim.DropAfter} {
		for at := range calls {
			s := arrange(t)
			for _, rule := range []sim.Rule{{Skip: at, Count: 1, Drop: drop}, {Skip: at, Count: -1, Drop: sim.DropBefore}} {
				if _, err := s.Fault(rule); err != nil {
					t.Fatal(err)
				}
			}
			_, err := s.deploy()
			s.ClearFaults()
			s.consistent(fmt.Sprintf("cut %s call %d", drop, at))
			if _, again := s.deploy(); again != nil {
				t.Fatalf("cut %s call %d (%v): the rerun failed: %v", drop, at, err, again)
			}
			if got := s.snapshot(); got != want {
				t.Fatalf("cut %s call %d (%v): after the rerun\n%s\nwant\n%s", drop, at, err, got, want)
			}
		}
	}
}

// consistent requires that each file has had its effect exactly when the ledger has its name.
func (s *stage) consistent(when string) {
	s.t.Helper()
	ledger := s.ledger()
	rows, err := s.cf().D1Read(context.Background(), swickedDB, "SELECT (SELECT count(*) FROM pragma_table_info('customers') WHERE name = 'points') AS points,"+
		" (SELECT count(*) FROM pragma_table_info('customers') WHERE name = 'notes') AS notes, (SELECT count(*) FROM sqlite_master WHERE name = 'big') AS big")
	s.must(err)
	var list []struct{ Points, Notes, Big int }
	s.must(rows.Decode(&list))
	for name, effect := range map[string]bool{"017_points.sql": list[0].Points == 1, "018_drop.sql": list[0].Notes == 0, "019_big.sql": list[0].Big == 1} {
		if slices.Contains(ledger, name) != effect {
			s.t.Fatalf("%s: the ledger says %q, the schema %+v", when, ledger, list[0])
		}
	}
}

// A lost answer, in every form, is looked up: nothing is applied twice, and the outcome counts what was applied.
func TestLostAnswersOfMigrations(t *testing.T) {
	for name, rule := range map[string]sim.Rule{
		"cut before":       {Drop: sim.DropBefore},
		"cut after":        {Drop: sim.DropAfter},
		"cut answer":       {Truncate: true},
		"504 HTML, done":   {After: true, Status: 504, HTML: true},
		"504 HTML, undone": {Status: 504, HTML: true},
		"item, undone":     {Status: 200, Body: `{"success":true,"errors":[],"messages":[],"result":[{"success":false,"error":"busy","results":[]}]}`},
		"500 JSON, done":   {After: true, Status: 500, Code: 7500, Message: "internal error"},
	} {
		t.Run(name, func(t *testing.T) {
			s := migrated(t)
			s.write("migrations/017_points.sql", "ALTER TABLE customers ADD COLUMN points INTEGER NOT NULL DEFAULT 0;\n")
			s.write("migrations/018_more.sql", "UPDATE customers SET points = points + 1;\n")
			s.query("INSERT INTO customers (name) VALUES ('A')")
			rule.Path, rule.Skip = `/query$`, 1 // the first one reads, and there is no count to ask for
			if _, err := s.Fault(rule); err != nil {
				t.Fatal(err)
			}
			out, err := s.deploy()
			s.must(err)
			if !slices.Equal(out.Migrations, []string{"017_points.sql", "018_more.sql"}) {
				t.Errorf("applied %q", out.Migrations)
			}
			rows, err := s.cf().D1Read(context.Background(), swickedDB, "SELECT points FROM customers")
			s.must(err)
			if string(rows.Rows) != `[{"points":1}]` {
				t.Errorf("points %s, want 1: the file ran once", rows.Rows)
			}
		})
	}
}

// A comment that never closes would swallow the row of the ledger: the file would be applied again with every deploy.
func TestOpenComment(t *testing.T) {
	s := migrated(t)
	s.query("INSERT INTO customers (name) VALUES ('A')")
	s.write("migrations/017_x.sql", "UPDATE customers SET notes = notes || 'x'; /* that is all\n")
	_, err := s.deploy()
	requireRule(t, err, "migration-unreadable")
	if w := writes(s.Requests()); len(w) != 1 { // the row of the test itself
		t.Errorf("writes %q", w)
	}
}

// A customer who signs up while a wave waits does not make its plan stale; another release does.
func TestRowsDoNotMakeAPlanStale(t *testing.T) {
	s := migrated(t)
	s.write("migrations/017_notes.sql", "-- shopfleet: destructive because of a test\nALTER TABLE customers DROP COLUMN notes;\n")
	ctx := context.Background()
	e, want, have, plan, err := s.plan(ctx)
	s.must(err)
	s.query("INSERT INTO customers (name) VALUES ('B')")
	have.At = have.At.Add(-time.Hour)
	out, err := e.Apply(ctx, want, have, plan, nil)
	if err != nil || len(out.Migrations) != 1 {
		t.Errorf("outcome %+v, %v", out, err)
	}
}

// The run that comes second finds more applied than it knows of, and releases nothing.
func TestNewerRunWasFaster(t *testing.T) {
	s := migrated(t)
	s.write("migrations/017_a.sql", "CREATE TABLE a17 (id INTEGER PRIMARY KEY);\n")
	ctx := context.Background()
	e, want, have, plan, err := s.plan(ctx)
	s.must(err)
	s.write("migrations/018_b.sql", "CREATE TABLE b18 (id INTEGER PRIMARY KEY);\n")
	s.mustDeploy()
	out, err := e.Apply(ctx, want, have, plan, nil)
	var schema *deploy.SchemaError
	if !errors.As(err, &schema) || !strings.Contains(err.Error(), "another run applied 018_b.sql") || !slices.Equal(out.MigrationsElsewhere, []string{"017_a.sql"}) {
		t.Errorf("outcome %+v, %v", out, err)
	}
}

// Many and long questions are asked in calls that D1 takes.
func TestManyQuestions(t *testing.T) {
	s := migrated(t)
	var b strings.Builder
	b.WriteString("-- shopfleet: destructive because of a test\n")
	for i := range 24 {
		fmt.Fprintf(&b, "DELETE FROM sessions WHERE id = '%d%s';\n", i, strings.Repeat("z", 3900))
	}
	s.write("migrations/017_x.sql", b.String())
	_, _, _, plan, err := s.plan(context.Background())
	s.must(err)
	for _, r := range s.Requests() {
		if strings.HasSuffix(r.Path, "/query") && len(r.Body) > 100_000 {
			t.Errorf("a query of %d bytes", len(r.Body))
		}
	}
	if got := rules(plan.Findings); slices.Contains(got, "error migration-destructive") || len(plan.Migrations) != 1 {
		t.Errorf("findings %q", got)
	}
}

// A database that wrangler migrated so far is taken over, and back.
func TestWranglersLedger(t *testing.T) {
	s := newStage(t)
	s.query(`CREATE TABLE "d1_migrations"(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)`)
	s.query(string(s.read("migrations/001_customers.sql")) + "\nINSERT INTO d1_migrations (name) VALUES ('001_customers.sql')")
	out := s.mustDeploy()
	if len(out.Migrations) != 15 || out.Migrations[0] != "002_bikes.sql" {
		t.Errorf("applied %q", out.Migrations)
	}
	if again := s.mustDeploy(); again.Changed {
		t.Errorf("the deploy after: %+v", again)
	}
}
