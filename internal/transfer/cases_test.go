package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/transfer"
)

// export writes the stage's database to a file.
func (s *stage) export() (file string, err error) {
	s.t.Helper()
	file = filepath.Join(s.t.TempDir(), "export.sql")
	_, err = (&transfer.Export{CF: s.cf.ReadOnly(), Database: s.db, TempDir: s.t.TempDir()}).Run(context.Background(), file)
	return file, err
}

// load makes a database of an exported file.
func load(t *testing.T, file string) *d1.DB {
	t.Helper()
	db, err := d1.Open("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	text, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	if _, err := db.Import(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	return db
}

func query(t *testing.T, db *d1.DB, sql string, params ...any) [][]any {
	t.Helper()
	results, err := db.Query(t.Context(), sql, params...)
	if err != nil {
		t.Fatalf("%.2000s: %v", sql, err)
	}
	return results[len(results)-1].Rows
}

// What is unusual about a database survives the way into D1 and back.
func TestThereAndBack(t *testing.T) {
	columns := make([]string, 100)
	for i := range columns {
		columns[i] = fmt.Sprintf("c%d", i)
	}
	for _, test := range []struct{ name, sql, ask string }{
		{"a reference to what an index makes unique",
			"CREATE TABLE p(code TEXT, n); CREATE UNIQUE INDEX pc ON p(code); CREATE TABLE c(code REFERENCES p(code)); INSERT INTO p VALUES ('a', 1); INSERT INTO c VALUES ('a')",
			"SELECT count(*), (SELECT count(*) FROM sqlite_schema WHERE name = 'pc') FROM c"},
		{"comments at the end of definitions",
			"CREATE TABLE a(x); INSERT INTO a VALUES (1); CREATE VIEW v AS SELECT x FROM a -- all\n; CREATE VIEW w AS SELECT x FROM v; CREATE INDEX i ON a(x) WHERE x > 0 -- some\n; CREATE INDEX j ON a(x, x + 1)",
			"SELECT group_concat(name) || (SELECT x FROM w) FROM (SELECT name FROM sqlite_schema ORDER BY name)"},
		{"a full-text table about a view",
			"CREATE TABLE a(id INTEGER PRIMARY KEY, x); INSERT INTO a VALUES (1, 'w'); CREATE VIEW v AS SELECT id, x || ' of the view' AS x FROM a; CREATE VIRTUAL TABLE f USING fts5(x, content='v', content_rowid='id'); INSERT INTO f(f) VALUES ('rebuild')",
			"SELECT rowid FROM f WHERE f MATCH 'view'"},
		{"the ranking of a full-text table",
			"CREATE VIRTUAL TABLE f USING fts5(x, y); INSERT INTO f(f, rank) VALUES ('rank', 'bm25(10.0, 5.0)'), ('automerge', 4); INSERT INTO f VALUES ('w', 'v')",
			"SELECT group_concat(k || '=' || v) FROM f_config WHERE k <> 'version'"},
		{"as many columns as there may be, and a rowid beside them",
			"CREATE TABLE a(" + strings.Join(columns, ",") + "); INSERT INTO a(rowid, c0, c99) VALUES (5, 'x', 1), (9, 'y', 2)",
			"SELECT rowid, c0, c99 FROM a"},
		{"the first and the last rowid there can be",
			"CREATE TABLE a(id INTEGER PRIMARY KEY, x); INSERT INTO a VALUES (-9223372036854775807 - 1, 'first'), (0, 0), (9223372036854775807, 'last')",
			"SELECT * FROM a"},
		{"a primary key that is no rowid",
			"CREATE TABLE a(id INTEGER PRIMARY KEY DESC, x); INSERT INTO a(rowid, id, x) VALUES (50, NULL, 'w'), (60, NULL, 'z'), (70, 1, 'y')",
			"SELECT rowid, id, x FROM a ORDER BY rowid"},
		{"a number that an emptied table goes on from",
			"CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO a VALUES (41); DELETE FROM a",
			"SELECT name, seq FROM sqlite_sequence"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := file(t, test.sql)
			source, err := d1.OpenReadOnly(path)
			if err != nil {
				t.Fatal(err)
			}
			defer source.Close()
			want := fmt.Sprintf("%#v", query(t, source, test.ask))
			s := newStage(t)
			if _, err := s.bootstrap(dump(t, path)); err != nil {
				t.Fatal(err)
			}
			exported, err := s.export()
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%#v", query(t, load(t, exported), test.ask)); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

// Every real number comes back with all its bits, the sign of a zero included.
func TestRealNumbersThereAndBack(t *testing.T) {
	path := file(t, "CREATE TABLE a(id INTEGER PRIMARY KEY, x)")
	source, err := d1.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[int64]float64{}
	add := func(f float64) {
		if math.IsNaN(f) {
			return // SQLite makes NULL of it
		}
		id := int64(len(want) + 1)
		query(t, source, "INSERT INTO a VALUES (?, ?)", id, f)
		want[id] = f
	}
	for _, f := range []float64{math.Copysign(0, -1), 0, 5e-324, 2.2250738585072011e-308, math.MaxFloat64, 1e22, 1e23, 1 << 53, math.Inf(1), math.Inf(-1), 0.1} {
		add(f)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		add(math.Float64frombits(r.Uint64()))
	}
	source.Close()
	s := newStage(t)
	if _, err := s.bootstrap(dump(t, path)); err != nil {
		t.Fatal(err)
	}
	exported, err := s.export()
	if err != nil {
		t.Fatal(err)
	}
	rows := query(t, load(t, exported), "SELECT id, x FROM a")
	if len(rows) != len(want) {
		t.Fatalf("%d rows, want %d", len(rows), len(want))
	}
	for _, r := range rows {
		if got, ok := r[1].(float64); !ok || math.Float64bits(got) != math.Float64bits(want[r[0].(int64)]) {
			t.Errorf("row %d is %v, want %v", r[0], r[1], want[r[0].(int64)])
		}
	}
}

// D1 answers for a file that it knows without looking whether the database still has it.
func TestBootstrapOfAnEmptiedDatabase(t *testing.T) {
	s := newStage(t)
	path := file(t, "CREATE TABLE a(x); INSERT INTO a VALUES (1); CREATE TABLE b(x); INSERT INTO b VALUES (2); CREATE INDEX i ON b(x)")
	if _, err := s.bootstrap(dump(t, path)); err != nil {
		t.Fatal(err)
	}
	s.exec("DROP TABLE a; DROP TABLE b")
	s.ForgetRequests()
	out, err := s.bootstrap(dump(t, path))
	if err != nil || out.Already {
		t.Fatalf("%+v, %v", out, err)
	}
	if got := s.json("SELECT (SELECT count(*) FROM a) AS a, (SELECT count(*) FROM b) AS b"); got != `[{"a":1,"b":1}]` {
		t.Error(got)
	}
}

// A bootstrap beside other tables leaves them as they are, the numbers of their next rows too.
func TestBootstrapIntoExisting(t *testing.T) {
	s := newStage(t)
	s.exec("CREATE TABLE other(id INTEGER PRIMARY KEY AUTOINCREMENT, v); INSERT INTO other(v) VALUES (1), (2), (3); DELETE FROM other")
	b := &transfer.Bootstrap{CF: s.cf, Database: s.db, IntoExisting: true}
	if _, err := b.Run(context.Background(), dump(t, file(t, "CREATE TABLE mine(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO mine VALUES (5)"))); err != nil {
		t.Fatal(err)
	}
	if got := s.json("SELECT name, seq FROM sqlite_sequence ORDER BY name"); got != `[{"name":"mine","seq":5},{"name":"other","seq":3}]` {
		t.Error(got)
	}
}

const wranglersLedger = "CREATE TABLE IF NOT EXISTS \"d1_migrations\"(\n\t\tid         INTEGER PRIMARY KEY AUTOINCREMENT,\n\t\tname       TEXT UNIQUE,\n\t\tapplied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL\n);"

// wrangler makes its ledger when it lists migrations: a database that has nothing else is fresh.
func TestBootstrapOfAListedDatabase(t *testing.T) {
	plain := "CREATE TABLE a(x); INSERT INTO a VALUES (1)"
	seeded := ledger
	seeded.Applied, seeded.SQL = []string{"001.sql"}, wranglersLedger+"INSERT INTO d1_migrations(name) VALUES ('001.sql');"
	for name, make := range map[string]func() *transfer.Dumped{
		"the file has a ledger": func() *transfer.Dumped { return dump(t, file(t, shop)) },
		"the file has none":     func() *transfer.Dumped { return dumpWith(t, file(t, plain), seeded) },
	} {
		s := newStage(t)
		s.exec(wranglersLedger)
		if _, err := s.bootstrap(make()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := s.json("SELECT id, name FROM d1_migrations"); got != `[{"id":1,"name":"001_all.sql"}]` && got != `[{"id":1,"name":"001.sql"}]` {
			t.Errorf("%s: the ledger is %s", name, got)
		}
	}
	// One that notes something is not.
	for _, into := range []bool{false, true} {
		s := newStage(t)
		s.exec(wranglersLedger + "INSERT INTO d1_migrations(name) VALUES ('000.sql')")
		s.ForgetRequests()
		b := &transfer.Bootstrap{CF: s.cf, Database: s.db, IntoExisting: into}
		_, err := b.Run(context.Background(), dumpWith(t, file(t, plain), seeded))
		var findings transfer.Findings
		if !errors.As(err, &findings) {
			t.Errorf("into existing %t: %v", into, err)
		}
		for _, r := range s.Requests() {
			if strings.HasSuffix(r.Path, "/import") {
				t.Errorf("into existing %t: imported in spite of %v", into, err)
			}
		}
	}
}

// The same rows are not all: a database without the file's index or ledger is not "already there".
func TestAlreadyThere(t *testing.T) {
	const table = "CREATE TABLE a(x); INSERT INTO a VALUES (1);"
	seeded := transfer.Ledger{Tables: []string{"l"}, Applied: []string{"1"}, SQL: "CREATE TABLE IF NOT EXISTS l(name); INSERT INTO l VALUES ('1');"}
	for _, test := range []struct {
		live, file string
		ledger     transfer.Ledger
		want       string // "" is already there
	}{
		{table, table, transfer.Ledger{}, ""},
		{table, table + "CREATE INDEX i ON a(x)", transfer.Ledger{}, "missing index i"},
		{table + "CREATE VIEW v AS SELECT 1", table, transfer.Ledger{}, "unexpected view v"},
		{table, table, seeded, "missing ledger entry 1"},
		{table + "CREATE TABLE l(name)", table, seeded, "missing ledger entry 1"},
		{table + "CREATE TABLE l(name); INSERT INTO l VALUES ('1')", table, seeded, ""},
	} {
		s := newStage(t)
		s.exec(test.live)
		out, err := s.bootstrap(dumpWith(t, file(t, test.file), test.ledger))
		var findings transfer.Findings
		switch {
		case test.want == "" && (err != nil || !out.Already):
			t.Errorf("%+v: %+v, %v", test, out, err)
		case test.want != "" && (!errors.As(err, &findings) || findings[0].Rule != "target-not-empty" || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%+v: %+v, %v", test, out, err)
		}
	}
}

// What cannot be read is no part of an export that says it is whole.
func TestExportRefuses(t *testing.T) {
	half := func(s *stage) string {
		d := dump(t, file(t, shop))
		part, err := os.ReadFile(filepath.Join(d.Dir, d.Parts[0].Name))
		if err != nil {
			t.Fatal(err)
		}
		return string(part)
	}
	for _, test := range []struct {
		arrange func(*stage) string
		want    string
	}{
		{func(*stage) string {
			return "CREATE TABLE a(x); CREATE VIRTUAL TABLE f USING fts5(x, content=''); INSERT INTO f(rowid, x) VALUES (1, 'w')"
		}, "contentless full-text table f cannot be read"},
		{half, "when it was cut off"},
	} {
		s := newStage(t)
		s.exec(test.arrange(s))
		exported, err := s.export()
		var findings transfer.Findings
		if !errors.As(err, &findings) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("want %q, got %v", test.want, err)
		}
		if left, err := os.ReadDir(filepath.Dir(exported)); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

// slowD1 answers no checksum over more rows than it has the time for.
type slowD1 struct {
	next http.RoundTripper
	most int
	sums int // that were answered
}

var sumRange = regexp.MustCompile(`coalesce\(sum\(.* rowid \\u003e= (-?\d+) AND rowid \\u003c= (-?\d+)`)

func (s *slowD1) RoundTrip(req *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(req.URL.Path, "/query") {
		return s.next.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	if m := sumRange.FindSubmatch(body); m != nil {
		from, _ := strconv.Atoi(string(m[1]))
		to, _ := strconv.Atoi(string(m[2]))
		if to-from >= s.most {
			return &http.Response{StatusCode: 500, Header: http.Header{"Content-Type": {"application/json"}}, Request: req,
				Body: io.NopCloser(strings.NewReader(`{"success":false,"errors":[{"code":7500,"message":"D1 DB exceeded its CPU time limit and was reset."}],"messages":[],"result":null}`))}, nil
		}
		s.sums++
	}
	return s.next.RoundTrip(req)
}

// A table that D1 cannot sum up at once is summed up in smaller pages, and one that it cannot sum up at all is an error.
func TestSumsThatTakeTooLong(t *testing.T) {
	path := file(t, "CREATE TABLE a(x); WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000) INSERT INTO a SELECT n FROM c")
	for most, wantSums := range map[int]bool{300: true, 10: false} {
		s := newStage(t)
		slow := &slowD1{next: s.cf.Transport, most: most}
		s.cf.Transport = slow
		out, err := s.bootstrap(dump(t, path))
		switch {
		case wantSums && (err != nil || out.Tables[0].LiveRows != 2000 || slow.sums < 7):
			t.Errorf("%d rows at a time: %+v, %v, %d sums", most, out, err, slow.sums)
		case !wantSums && (err == nil || !strings.Contains(err.Error(), "CPU time limit")):
			t.Errorf("%d rows at a time: %+v, %v", most, out, err)
		}
	}
}

// What says whose a database is belongs to the database: a bootstrap neither brings another's nor touches its own.
func TestBootstrapLeavesOwnTables(t *testing.T) {
	l := ledger
	l.Own = []string{"_shop_identity"}
	identity := func(shop string) string {
		return "CREATE TABLE _shop_identity(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID; CREATE INDEX _shop_value ON _shop_identity(value);" +
			"CREATE TRIGGER _shop_once AFTER UPDATE ON _shop_identity BEGIN SELECT 1; END; INSERT INTO _shop_identity VALUES ('shop_identity', '" + shop + "');"
	}
	plain := "CREATE TABLE a(x); INSERT INTO a VALUES (1);"
	for name, test := range map[string]struct{ file, target, after string }{
		"the file has one":   {plain + identity("other"), "", "[]"},
		"the target has one": {plain, identity("mine"), `[{"name":"_shop_identity"},{"name":"_shop_once"},{"name":"_shop_value"}]`},
		"both have one":      {plain + identity("other"), identity("mine"), `[{"name":"_shop_identity"},{"name":"_shop_once"},{"name":"_shop_value"}]`},
	} {
		s := newStage(t)
		if test.target != "" {
			s.exec(test.target)
		}
		d := dumpWith(t, file(t, test.file), l)
		out, err := s.bootstrap(d)
		if err != nil || len(out.Tables) != 1 {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
		if got := s.json("SELECT name FROM sqlite_master WHERE name GLOB '_shop*' ORDER BY name"); got != test.after {
			t.Errorf("%s: %s, want %s", name, got, test.after)
		}
		if test.target != "" {
			if got := s.json("SELECT value FROM _shop_identity"); got != `[{"value":"mine"}]` {
				t.Errorf("%s: the record says %s", name, got)
			}
		}
		if out, err := s.bootstrap(d); err != nil || !out.Already {
			t.Errorf("%s: once more: %+v, %v", name, out, err)
		}
	}
}
