package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/simtest"
	"github.com/kvick/shopfleet/internal/transfer"
)

const (
	account  = "7f3a0c5e9b1d4826a0e4c2d8f6b19357"
	database = "134ea8a4-8582-4fdc-84ec-f0eb8f4e4b60"
)

// stage is a database of SQL and a D1 to move it to.
type stage struct {
	*simtest.World
	t  *testing.T
	cf *cloudflare.Client
	db transfer.Database
}

func newStage(t *testing.T) *stage {
	t.Helper()
	w := simtest.New(t, sim.Options{RateLimit: -1})
	if err := w.Account(t, account, "kvick-1").AddD1("helm-swicked-db", database, "wnam"); err != nil {
		t.Fatal(err)
	}
	return &stage{World: w, t: t, db: transfer.Database{ID: database, Name: "helm-swicked-db"}, cf: &cloudflare.Client{
		BaseURL: w.URL, AccountID: account, Token: simtest.Token, Transport: cloudflare.LoopbackOnly(nil), Budget: &cloudflare.Budget{Limit: 1e6, PerSecond: 1e6},
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}}
}

// ledger is what a shop's dump is made with.
var ledger = transfer.Ledger{Tables: []string{"d1_migrations", "shopfleet_migrations"}}

const shop = `
	CREATE TABLE sales(id INTEGER PRIMARY KEY AUTOINCREMENT, customer_id INTEGER NOT NULL REFERENCES customers(id), cents INTEGER, note TEXT);
	CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT, big INTEGER, r REAL, b BLOB, up TEXT AS (upper(name)));
	CREATE TABLE settings(a TEXT, b INTEGER, v, PRIMARY KEY (a, b)) WITHOUT ROWID;
	CREATE TABLE heap(x);
	CREATE TABLE node(id INTEGER PRIMARY KEY, parent REFERENCES node(id));
	INSERT INTO customers(id, name, big, r, b) VALUES (1, 'it''s', 9007199254740993, 1.0, x'00ff'), (2, 'a' || char(0) || 'é', -9223372036854775807, 0.1, NULL),
		(-5, CAST(x'ff41fe' AS TEXT), NULL, 9e999, x''), (9007199254740995, char(13) || char(10) || '\n', 3, -2.5, zeroblob(3000));
	INSERT INTO sales(customer_id, cents, note) VALUES (1, 100, NULL), (2, 250, ':$@#--;'), (1, 1, '/*');
	DELETE FROM sales WHERE id = 3;
	INSERT INTO settings VALUES ('k', 1, 'x'), ('k', 2, x'27'), ('j''', 1, 1.5);
	INSERT INTO heap(rowid, x) VALUES (7, 'seven'), (70, 'seventy');
	INSERT INTO node VALUES (1, 2), (2, 1);
	CREATE INDEX sales_customer ON sales(customer_id);
	CREATE VIEW totals AS SELECT customer_id, sum(cents) FROM sales GROUP BY 1;
	CREATE TRIGGER once AFTER INSERT ON sales BEGIN UPDATE customers SET name = name || '!' WHERE id = NEW.customer_id; END;
	CREATE VIRTUAL TABLE notes USING fts5(body);
	INSERT INTO notes(rowid, body) VALUES (4, 'a tune up'), (8, 'a flat');
	CREATE VIRTUAL TABLE names USING fts5(name, content='customers', content_rowid='id');
	CREATE TABLE d1_migrations(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL);
	INSERT INTO d1_migrations(name) VALUES ('001_all.sql');`

// file makes an SQLite file.
func file(t *testing.T, sql string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "helm.sqlite")
	db, err := d1.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	// References are checked at the end: the file is one transaction.
	if _, err := db.Query(t.Context(), "PRAGMA defer_foreign_keys=on;"+sql); err != nil {
		t.Fatalf("%v\n%.5000s", err, sql)
	}
	return path
}

func dump(t *testing.T, path string) *transfer.Dumped {
	t.Helper()
	return dumpWith(t, path, ledger)
}

func dumpWith(t *testing.T, path string, l transfer.Ledger) *transfer.Dumped {
	t.Helper()
	out, findings, err := transfer.Dump(t.Context(), path, filepath.Join(t.TempDir(), "dump"), l, nil)
	if err != nil || len(findings) > 0 {
		t.Fatalf("dump: %v, %+v", err, findings)
	}
	return out
}

func (s *stage) bootstrap(d *transfer.Dumped) (*transfer.Bootstrapped, error) {
	b := &transfer.Bootstrap{CF: s.cf, Database: s.db, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
	return b.Run(context.Background(), d)
}

func (s *stage) exec(sql string) {
	s.t.Helper()
	if _, err := s.cf.D1Exec(context.Background(), database, sql); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) json(sql string) string {
	s.t.Helper()
	rows, err := s.cf.D1Read(context.Background(), database, sql)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(rows.Rows)
}

func TestBootstrapAndExport(t *testing.T) {
	s := newStage(t)
	d := dump(t, file(t, shop))
	out, err := s.bootstrap(d)
	if err != nil {
		t.Fatal(err)
	}
	if out.Parts != len(d.Parts) || out.Bookmark == "" || len(out.Tables) != 7 {
		t.Errorf("outcome %+v of %d parts", out, len(d.Parts))
	}
	for _, c := range out.Tables {
		if !c.Equal() || c.Rows == 0 {
			t.Errorf("table %+v", c)
		}
	}
	for sql, want := range map[string]string{
		"SELECT rowid FROM notes WHERE notes MATCH 'flat'":                      `[{"rowid":8}]`,
		"SELECT name FROM sqlite_master WHERE name = 'shopfleet_bootstrap'":     `[]`,
		"SELECT seq FROM sqlite_sequence WHERE name = 'sales'":                  `[{"seq":3}]`,
		"SELECT CAST(big AS TEXT) AS big, up FROM customers WHERE id = 1":       `[{"big":"9007199254740993","up":"IT'S"}]`,
		"SELECT hex(name) AS name, typeof(r) AS r FROM customers WHERE id = -5": `[{"name":"FF41FE","r":"real"}]`,
		"SELECT name FROM d1_migrations":                                        `[{"name":"001_all.sql"}]`,
	} {
		if got := s.json(sql); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
	// The same once more finds that nothing is left to do.
	s.ForgetRequests()
	if again, err := s.bootstrap(d); err != nil || !again.Already {
		t.Errorf("again: %+v, %v", again, err)
	}
	for _, r := range s.Requests() {
		if strings.HasSuffix(r.Path, "/import") {
			t.Error("imported again")
		}
	}
	// And back: the export equals the file that it began with.
	to := filepath.Join(t.TempDir(), "export.sql")
	x, err := (&transfer.Export{CF: s.cf.ReadOnly(), Database: s.db, TempDir: t.TempDir()}).Run(context.Background(), to)
	if err != nil || x.Tries != 1 || len(x.Tables) != 7 {
		t.Fatalf("export: %+v, %v", x, err)
	}
	text, err := os.ReadFile(to)
	if err != nil || int64(len(text)) != x.Bytes {
		t.Fatalf("%d bytes, %v; want %d", len(text), err, x.Bytes)
	}
	path := filepath.Join(t.TempDir(), "again.sqlite")
	db, err := d1.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Import(t.Context(), bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if second := dump(t, path); fmt.Sprint(sums(second)) != fmt.Sprint(sums(d)) {
		t.Errorf("the export of the bootstrap dumps as %v, the file as %v", sums(second), sums(d))
	}
	if strings.Contains(string(text), "shopfleet_bootstrap") {
		t.Error("the export takes notes of parts")
	}
}

func sums(d *transfer.Dumped) []string {
	var out []string
	for _, p := range d.Parts {
		out = append(out, fmt.Sprint(p.Name, p.MD5))
	}
	return out
}

// Whatever call a bootstrap dies at, before or after its effect, the same command finishes it.
func TestKilledBootstrap(t *testing.T) {
	path := file(t, shop)
	reference := newStage(t)
	if _, err := reference.bootstrap(dump(t, path)); err != nil {
		t.Fatal(err)
	}
	calls := len(reference.Requests())
	want := reference.json("SELECT name, sql FROM sqlite_master ORDER BY name")
	for _, drop := range []sim.Drop{sim.DropBefore, sim.DropAfter} {
		for at := range calls {
			s := newStage(t)
			for _, rule := range []sim.Rule{{Skip: at, Count: 1, Drop: drop}, {Skip: at, Count: -1, Drop: sim.DropBefore}} {
				if _, err := s.Fault(rule); err != nil {
					t.Fatal(err)
				}
			}
			_, err := s.bootstrap(dump(t, path))
			s.ClearFaults()
			if _, again := s.bootstrap(dump(t, path)); again != nil {
				t.Fatalf("cut %s call %d (%v): the rerun failed: %v", drop, at, err, again)
			}
			if got := s.json("SELECT name, sql FROM sqlite_master ORDER BY name"); got != want {
				t.Fatalf("cut %s call %d: after the rerun\n%s\nwant\n%s", drop, at, got, want)
			}
		}
	}
}

// An answer that is lost in any form is looked up; nothing is imported twice.
func TestLostAnswersOfBootstrap(t *testing.T) {
	path := file(t, shop)
	for _, rule := range []sim.Rule{
		{Path: `/import$`, Drop: sim.DropAfter}, {Path: `/import$`, Drop: sim.DropBefore}, {Path: `/import$`, After: true, Status: 504, HTML: true}, {Path: `/import$`, Truncate: true},
	} {
		for skip := range 6 {
			s := newStage(t)
			rule.Skip = skip
			if _, err := s.Fault(rule); err != nil {
				t.Fatal(err)
			}
			out, err := s.bootstrap(dump(t, path))
			if err != nil {
				t.Errorf("%+v: %v", rule, err)
				continue
			}
			for _, c := range out.Tables {
				if !c.Equal() {
					t.Errorf("%+v: %+v", rule, c)
				}
			}
		}
	}
}

func TestBootstrapRefuses(t *testing.T) {
	path := file(t, shop)
	run := func(into bool, arrange string) error {
		s := newStage(t)
		s.exec(arrange)
		s.ForgetRequests()
		b := &transfer.Bootstrap{CF: s.cf, Database: s.db, IntoExisting: into}
		_, err := b.Run(context.Background(), dump(t, path))
		var target transfer.Findings
		if errors.As(err, &target) {
			for _, r := range s.Requests() {
				if r.Write && strings.HasSuffix(r.Path, "/import") {
					t.Errorf("written in spite of %v", err)
				}
			}
			return err
		}
		if err != nil {
			t.Fatalf("%q: %v", arrange, err)
		}
		return nil
	}
	if err := run(false, "CREATE TABLE other(a)"); err == nil || !strings.Contains(err.Error(), "is not empty: it holds other") {
		t.Errorf("a table more: %v", err)
	}
	if err := run(false, "CREATE VIEW sales AS SELECT 1 AS a"); err == nil || !strings.Contains(err.Error(), "is not empty: it holds sales") {
		t.Errorf("a view: %v", err)
	}
	if err := run(true, "CREATE TABLE other(a)"); err != nil {
		t.Errorf("a table more, with leave: %v", err)
	}
	if err := run(true, "CREATE TABLE SALES(a)"); err == nil || !strings.Contains(err.Error(), "has sales already") {
		t.Errorf("a table of the file: %v", err)
	}
	if err := run(false, "CREATE TABLE shopfleet_bootstrap (part TEXT PRIMARY KEY, sum TEXT NOT NULL) WITHOUT ROWID; INSERT INTO shopfleet_bootstrap VALUES ('000_schema.sql', 'other')"); err == nil || !strings.Contains(err.Error(), "half filled from another file") {
		t.Errorf("half a bootstrap of another file: %v", err)
	}
}

func TestDumpFindings(t *testing.T) {
	path := file(t, "CREATE VIRTUAL TABLE n USING fts5(a, content='')")
	dir := filepath.Join(t.TempDir(), "dump")
	_, findings, err := transfer.Dump(t.Context(), path, dir, transfer.Ledger{}, nil)
	if err != nil || len(findings) != 1 || findings[0].Rule != "database-unsupported" {
		t.Errorf("findings %+v, %v", findings, err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("something was written")
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var notEmpty *transfer.NotEmptyError
	if _, _, err := transfer.Dump(t.Context(), file(t, "CREATE TABLE a(x)"), full, transfer.Ledger{}, nil); !errors.As(err, &notEmpty) {
		t.Errorf("into a folder that holds something: %v", err)
	}
}

// The shop writes while it is exported: the export begins anew, and says so when it never comes to an end.
func TestExportOfABusyShop(t *testing.T) {
	s := newStage(t)
	s.exec("PRAGMA defer_foreign_keys=on;" + shop)
	busy := true
	x := &transfer.Export{CF: s.cf, Database: s.db, TempDir: t.TempDir(), Progress: func(doing string, _, _ int64) {
		if busy && strings.HasPrefix(doing, "writing") {
			s.exec("INSERT INTO heap VALUES (1)")
		}
	}}
	dir := t.TempDir()
	out, err := x.Run(context.Background(), filepath.Join(dir, "busy.sql"))
	var mismatch *transfer.MismatchError
	if !errors.As(err, &mismatch) || !strings.Contains(err.Error(), "heap") || out.Tries != 3 {
		t.Errorf("a busy shop: %+v, %v", out, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	once := x.Progress
	x.Progress = func(doing string, a, b int64) { once(doing, a, b); busy = busy && !strings.HasPrefix(doing, "loading") }
	out, err = x.Run(context.Background(), filepath.Join(dir, "quiet.sql"))
	if err != nil || out.Tries != 2 {
		t.Errorf("a shop that is quiet the second time: %+v, %v", out, err)
	}
}

// Many rows go in pages, forwards and back, whatever names them.
func TestPages(t *testing.T) {
	s := newStage(t)
	var sql strings.Builder
	sql.WriteString("CREATE TABLE long(a TEXT, b INTEGER, PRIMARY KEY (a DESC, b)) WITHOUT ROWID; CREATE TABLE plain(x, rowid TEXT); CREATE TABLE blobs(id INTEGER PRIMARY KEY, b BLOB);" +
		"CREATE TABLE backwards(id INTEGER PRIMARY KEY DESC, a COLLATE NOCASE); INSERT INTO backwards VALUES (NULL, 'x'), (NULL, 'X'), (3, NULL);" +
		"CREATE TABLE folded(a TEXT COLLATE NOCASE, b REAL, c BLOB, PRIMARY KEY (a, b, c)) WITHOUT ROWID; INSERT INTO folded VALUES ('A', 1.5, x'00'), ('b', 1.5, x'00'), ('B', 1.5, x'01'), ('c', -1e300, x'');" +
		"CREATE TABLE \"new\nline \"\"q\"\"\"(\"a\nb\" TEXT, rowid, oid); INSERT INTO \"new\nline \"\"q\"\"\" VALUES ('x', 1, 2), ('y', 1, 2);")
	for i := range 12_000 {
		fmt.Fprintf(&sql, "INSERT INTO long VALUES ('%d', %d); INSERT INTO plain VALUES (%d, 'r');", i%100, i, i)
	}
	for i := range 5 {
		fmt.Fprintf(&sql, "INSERT INTO blobs VALUES (%d, zeroblob(1500000));", i*1000-2000)
	}
	path := file(t, sql.String())
	if _, err := s.bootstrap(dump(t, path)); err != nil {
		t.Fatal(err)
	}
	x, err := (&transfer.Export{CF: s.cf, Database: s.db, TempDir: t.TempDir()}).Run(context.Background(), filepath.Join(t.TempDir(), "x.sql"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range x.Tables {
		if !c.Equal() || c.Rows == 0 {
			t.Errorf("%+v", c)
		}
	}
}
