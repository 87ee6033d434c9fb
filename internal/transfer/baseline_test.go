package transfer_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/transfer"
)

// migrations are files and the ledger that notes them, as a deploy writes it.
func migrations(sql ...string) ([]d1.Migration, transfer.Ledger) {
	var files []d1.Migration
	l := transfer.Ledger{Tables: []string{"d1_migrations", "shopfleet_migrations"}, Own: []string{"shop_identity"}}
	noted := []string{ledgerTables}
	for i, text := range sql {
		name := fmt.Sprintf("%04d_file.sql", i+1)
		files = append(files, d1.Migration{Name: name, Path: name, SQL: text})
		l.Applied = append(l.Applied, name)
		noted = append(noted, ledgerRow(files[i]))
	}
	l.SQL = strings.Join(noted, "\n")
	return files, l
}

const ledgerTables = `CREATE TABLE IF NOT EXISTS "d1_migrations"(
		id         INTEGER PRIMARY KEY AUTOINCREMENT,
		name       TEXT UNIQUE,
		applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
);
CREATE TABLE IF NOT EXISTS "shopfleet_migrations" (name TEXT PRIMARY KEY, checksum TEXT NOT NULL) WITHOUT ROWID;`

func ledgerRow(f d1.Migration) string {
	return fmt.Sprintf("INSERT INTO \"d1_migrations\" (name)\nvalues ('%s');\nINSERT OR REPLACE INTO shopfleet_migrations (name, checksum) VALUES ('%[1]s', '%s');", f.Name, d1.Checksum(f.SQL))
}

func baseline(t *testing.T, sql ...string) *transfer.Snapshot {
	t.Helper()
	files, ledger := migrations(sql...)
	s, why, err := transfer.Baseline(t.Context(), files, ledger)
	if err != nil || why != "" {
		t.Fatalf("no baseline: %s, %v", why, err)
	}
	return s
}

var product = []string{
	`CREATE TABLE customers(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, made TEXT DEFAULT CURRENT_TIMESTAMP, seen TEXT DEFAULT (datetime('now')));
	CREATE TABLE kinds(id INTEGER PRIMARY KEY, name TEXT UNIQUE, day TEXT CHECK (day IS NULL OR length(day) = 10));`,
	"-- nothing but words",
	`INSERT INTO kinds(name) VALUES ('road'), ('it''s; gravel'), ('x' || char(10) || 'y');
	CREATE INDEX customers_name ON customers(name) WHERE name <> '';`,
	`ALTER TABLE kinds ADD COLUMN rank REAL DEFAULT 1.0;
	UPDATE kinds SET rank = id / 3.0;
	DELETE FROM kinds WHERE name = 'road';
	CREATE TRIGGER stamp AFTER INSERT ON customers BEGIN UPDATE customers SET seen = datetime('now') WHERE id = NEW.id; END;
	CREATE VIEW recent AS SELECT * FROM customers WHERE made > datetime('now', '-1 day');
	CREATE VIRTUAL TABLE names USING fts5(name, content='customers', content_rowid='id');`,
}

// everything is what a database holds, but for the times in its ledger.
func (s *stage) everything() string {
	var b strings.Builder
	b.WriteString(s.json("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT GLOB '_cf_*' ORDER BY type, name"))
	for _, q := range []string{"SELECT rowid, *, typeof(rank) FROM kinds", "SELECT * FROM customers", "SELECT id, name FROM d1_migrations",
		"SELECT * FROM shopfleet_migrations", "SELECT * FROM sqlite_sequence ORDER BY name"} {
		b.WriteString("\n" + s.json(q))
	}
	return b.String()
}

// A snapshot gives what the files give one by one, in one call.
func TestBaselineIsWhatTheFilesMake(t *testing.T) {
	one, many := newStage(t), newStage(t)
	snapshot := baseline(t, product...)
	if len(snapshot.Calls) != 1 {
		t.Errorf("it takes %d calls", len(snapshot.Calls))
	}
	if done, calls, err := snapshot.Run(t.Context(), one.cf, one.db); !done || calls != 1 || err != nil {
		t.Fatalf("ran with %v, %d calls, %v", done, calls, err)
	}
	files, _ := migrations(product...)
	for _, f := range files {
		many.exec(f.SQL + "\n" + ledgerTables + ledgerRow(f))
	}
	if a, b := one.everything(), many.everything(); a != b {
		t.Errorf("the snapshot made\n%s\nthe files made\n%s", a, b)
	}
	// Once more it is done already, and changes nothing.
	before := one.everything()
	if done, _, err := snapshot.Run(t.Context(), one.cf, one.db); !done || err != nil || one.everything() != before {
		t.Errorf("again: %v, %v", done, err)
	}
	// The identity and an empty ledger are no obstacle.
	other := newStage(t)
	other.exec("CREATE TABLE shop_identity(slug TEXT); INSERT INTO shop_identity VALUES ('swicked'); CREATE TABLE \"d1_migrations\"(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)")
	if done, calls, err := snapshot.Run(t.Context(), other.cf, other.db); !done || calls != 1 || err != nil {
		t.Errorf("beside an identity: %v, %d calls, %v", done, calls, err)
	}
}

// A database that holds something is left as it is.
func TestBaselineNeedsAnEmptyDatabase(t *testing.T) {
	snapshot := baseline(t, product...)
	for _, sql := range []string{"CREATE TABLE other(a)", "CREATE VIEW v AS SELECT 1", "CREATE TABLE kinds(a)",
		"CREATE TABLE d1_migrations(id INTEGER PRIMARY KEY, name TEXT UNIQUE); INSERT INTO d1_migrations(name) VALUES ('0001_file.sql')"} {
		s := newStage(t)
		s.exec(sql)
		const all = "SELECT group_concat(name) AS names FROM sqlite_master"
		before := s.json(all)
		if done, _, err := snapshot.Run(t.Context(), s.cf, s.db); done || err != nil || s.json(all) != before {
			t.Errorf("with %s: %v, %v, now %s", sql, done, err, s.json(all))
		}
	}
}

func TestBaselineIsRefused(t *testing.T) {
	for _, tc := range []struct{ why, sql string }{
		{"random", "CREATE TABLE t(a); INSERT INTO t VALUES (random())"},
		{"randomblob", "CREATE TABLE t(a); INSERT INTO t VALUES (hex(randomblob(16)))"},
		{"current_timestamp", "CREATE TABLE t(a, at TEXT DEFAULT CURRENT_TIMESTAMP); INSERT INTO t(a) VALUES (1)"},
		{"current_date", "CREATE TABLE t(a); INSERT INTO t VALUES (CURRENT_DATE)"},
		{"datetime", "CREATE TABLE t(a, at TEXT DEFAULT (datetime('now'))); INSERT INTO t(a) VALUES (1)"},
		{"unixepoch", "CREATE TABLE t(a); INSERT INTO t SELECT unixepoch()"},
		{"strftime", "CREATE TABLE t(a); CREATE TABLE u(a); CREATE TRIGGER x AFTER INSERT ON t BEGIN INSERT INTO u VALUES (strftime('%s')); END; INSERT INTO t VALUES (1)"},
		{"julianday", "CREATE TABLE t AS SELECT julianday('now') AS at"},
		{"do not go through", "INSERT INTO nobody VALUES (1)"},
		{"which shopfleet makes", "CREATE TABLE d1_migrations(id INTEGER PRIMARY KEY, name TEXT)"},
		{"does not fit", "CREATE TABLE t(a); INSERT INTO t VALUES (zeroblob(100000))"},
	} {
		files, ledger := migrations(tc.sql)
		s, why, err := transfer.Baseline(t.Context(), files, ledger)
		if err != nil || s != nil || !strings.Contains(why, tc.why) {
			t.Errorf("%s: %q, %v; want %q", tc.sql, why, err, tc.why)
		}
	}
}

// large is more than one call takes.
func large() []string {
	var files []string
	for i := range 60 {
		files = append(files, fmt.Sprintf("CREATE TABLE t%02d(id INTEGER PRIMARY KEY, a TEXT /* %s */); INSERT INTO t%02[1]d(a) SELECT printf('%%0300d', value) FROM json_each('[1,2,3,4,5,6,7,8,9]')", i, strings.Repeat("-", 500)))
	}
	return files
}

// A snapshot of several calls is finished after it died at any of them, before or after its effect.
func TestKilledBaseline(t *testing.T) {
	snapshot := baseline(t, large()...)
	n := len(snapshot.Calls)
	if n < 2 || n > 10 {
		t.Fatalf("it has %d calls", n)
	}
	for _, call := range snapshot.Calls {
		if len(call) > 90_000 {
			t.Errorf("a call of %d bytes", len(call))
		}
	}
	const sums = "SELECT (SELECT count(*) FROM sqlite_master WHERE name NOT GLOB '_cf_*') AS o, (SELECT sum(length(a)) FROM t59) AS s, (SELECT count(*) FROM d1_migrations) AS n"
	for kill := range n {
		for _, drop := range []sim.Drop{sim.DropBefore, sim.DropAfter} {
			s := newStage(t)
			if _, err := s.Fault(sim.Rule{Method: http.MethodPost, Path: "/query$", Skip: kill, Drop: drop}); err != nil {
				t.Fatal(err)
			}
			done, _, err := snapshot.Run(t.Context(), s.cf, s.db)
			if !done || err != nil {
				t.Errorf("killed at call %d: %v, %v", kill, done, err)
			}
			if got := s.json(sums); got != `[{"o":64,"s":2700,"n":60}]` {
				t.Errorf("killed at call %d: %s", kill, got)
			}
		}
	}
}
