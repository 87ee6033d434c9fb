package d1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

// memoryParts collects parts.
type memoryParts struct {
	names []string
	files map[string]*bytes.Buffer
}

func (m *memoryParts) create(name string) (io.WriteCloser, error) {
	if m.files == nil {
		m.files = map[string]*bytes.Buffer{}
	}
	m.names = append(m.names, name)
	m.files[name] = &bytes.Buffer{}
	return closing{m.files[name]}, nil
}

type closing struct{ io.Writer }

func (closing) Close() error { return nil }

// writeParts writes a database and runs the parts on an empty one.
func writeParts(t testing.TB, source *DB, p Parts) (list []Part, copied *DB) {
	t.Helper()
	var m memoryParts
	p.Create = m.create
	list, err := p.Write(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	copied = open(t)
	for i, part := range list {
		if part.Name != m.names[i] || part.Bytes != int64(m.files[part.Name].Len()) {
			t.Errorf("part %+v, written %s with %d bytes", part, m.names[i], m.files[part.Name].Len())
		}
		statements, err := Split(m.files[part.Name].String())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range statements {
			if len(s.SQL) > MaxStatementBytes {
				t.Errorf("%s has a statement of %d bytes", part.Name, len(s.SQL))
			}
		}
		if _, err := copied.Import(t.Context(), bytes.NewReader(m.files[part.Name].Bytes())); err != nil {
			t.Fatalf("%s: %v\n%.2000s", part.Name, err, m.files[part.Name].String())
		}
	}
	return list, copied
}

// contents are all rows of all tables with their rowids, as typed values, and the catalogue.
func contents(t testing.TB, db *DB) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	objects, err := db.Objects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if internalName(o.Name) && o.Name != "sqlite_sequence" || strings.Contains(o.Name, "docs_") {
			continue
		}
		out["catalogue"] = append(out["catalogue"], normalise(o.SQL))
		if o.Type != "table" || strings.HasPrefix(o.Name, "docs_") {
			continue
		}
		rowid := "rowid, "
		if strings.Contains(o.SQL, "WITHOUT ROWID") {
			rowid = ""
		}
		for _, r := range rows(t, db, "SELECT "+rowid+"* FROM "+quoteName(o.Name)) {
			out[o.Name] = append(out[o.Name], fmt.Sprintf("%#v", r))
		}
		slices.Sort(out[o.Name])
	}
	slices.Sort(out["catalogue"])
	return out
}

const everything = `
	CREATE TABLE later(id INTEGER PRIMARY KEY AUTOINCREMENT, parent REFERENCES first(id), self REFERENCES later(id));
	CREATE TABLE first(id INTEGER PRIMARY KEY, t TEXT, r REAL, n NUMERIC, b BLOB, any, g AS (id + 1), s TEXT AS (upper(t)) STORED);
	CREATE TABLE "odd ""name"("select" INTEGER, "a b" TEXT DEFAULT 'x;y', rowid TEXT);
	CREATE TABLE w(a TEXT, b INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID;
	CREATE TABLE st(a INTEGER PRIMARY KEY, b ANY, c TEXT NOT NULL CHECK (c <> '')) STRICT;
	CREATE TABLE heap(x);
	CREATE TABLE c1(id INTEGER PRIMARY KEY, o REFERENCES c2(id));
	CREATE TABLE c2(id INTEGER PRIMARY KEY, o REFERENCES c1(id));
	CREATE TABLE child(id INTEGER PRIMARY KEY, f NOT NULL REFERENCES first(id) ON DELETE CASCADE);
	INSERT INTO first(id, t, r, n, b, any) VALUES
		(1, 'it''s', 1.0, 2, x'00ff', 'text'), (2, NULL, 0.1, 9007199254740993, x'', 1.5), (-3, char(13) || 'a' || char(10) || '\n', 1e300, 1e18, 'text', x'41'),
		(9223372036854775807, 'é' || char(0) || 'x', 9e999, -9223372036854775807 - 1, NULL, -9e999), (5, CAST(x'ff41' AS TEXT), -0.5, 3.25, x'27', '');
	INSERT INTO later VALUES (7, 1, 8), (8, 2, 7), (100, NULL, 100);
	DELETE FROM later WHERE id = 100;
	INSERT INTO "odd ""name" VALUES (1, 'a', 'b'), (1, 'a', 'b');
	INSERT INTO w VALUES ('a', 1), ('a', 2), ('b', 1);
	INSERT INTO st VALUES (1, 'x', 'y'), (2, 1.5, 'z'), (3, x'01', 'z');
	INSERT INTO heap(rowid, x) VALUES (5, 'five'), (9, 'nine');
	PRAGMA defer_foreign_keys = on;
	INSERT INTO c1 VALUES (1, 2), (2, NULL);
	INSERT INTO c2 VALUES (1, 1), (2, 2);
	INSERT INTO child VALUES (1, 5);
	CREATE INDEX i1 ON first(t) WHERE t > 'a';
	CREATE UNIQUE INDEX i2 ON heap(x COLLATE NOCASE DESC, length(x));
	CREATE VIEW v2 AS SELECT * FROM v1;
	CREATE VIEW v1 AS SELECT id FROM first;
	CREATE TRIGGER tr AFTER INSERT ON first BEGIN UPDATE heap SET x = CASE WHEN x = 'a' THEN 'b' END; END;
	CREATE VIRTUAL TABLE docs USING fts5(title, body);
	INSERT INTO docs(rowid, title, body) VALUES (3, 'a; title', 'some words'), (9, 'another', 'more words');
	CREATE VIRTUAL TABLE docs_of USING fts5(t, content='first', content_rowid='id');
	CREATE VIRTUAL TABLE docs_words USING fts5vocab(docs, row);
	CREATE VIRTUAL TABLE docs_box USING rtree(id, x0, x1);
	INSERT INTO docs_box VALUES (1, 0.5, 2.5);`

func TestParts(t *testing.T) {
	source := open(t)
	query(t, source, everything)
	query(t, source, "INSERT INTO heap(rowid, x) VALUES (20, ?)", bytes.Repeat([]byte{0, 39, 255}, 100_000))
	query(t, source, "INSERT INTO heap(rowid, x) VALUES (21, ?)", strings.Repeat("'é\x00", 60_000))
	list, copied := writeParts(t, source, Parts{})
	if got, want := contents(t, copied), contents(t, source); !reflect.DeepEqual(got, want) {
		for k := range want {
			if !reflect.DeepEqual(got[k], want[k]) {
				t.Errorf("%s:\n%.3000s\nwant\n%.3000s", k, strings.Join(got[k], "\n"), strings.Join(want[k], "\n"))
			}
		}
	}
	for _, q := range []string{"SELECT rowid FROM docs WHERE docs MATCH 'words' ORDER BY rowid", "SELECT id FROM docs_box WHERE x0 < 1", "SELECT seq FROM sqlite_sequence WHERE name = 'later'"} {
		if got, want := rows(t, copied, q), rows(t, source, q); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", q, got, want)
		}
	}
	if len(list) != 10 || list[0].Name != "000_schema.sql" || list[len(list)-1].Name != "009_finish.sql" {
		t.Errorf("parts %+v", list)
	}
	// What was written once is written again to the byte: a rerun recognises its parts.
	again, _ := writeParts(t, source, Parts{})
	if !reflect.DeepEqual(again, list) {
		t.Errorf("a second time the parts are %+v, want %+v", again, list)
	}
	queries, err := source.SumQueries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a, errA := source.Sums(t.Context(), queries)
	b, errB := copied.Sums(t.Context(), queries)
	if errA != nil || errB != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("sums %+v, %v; of the copy %+v, %v", a, errA, b, errB)
	}
}

// A part that ran cannot run again, and says of itself that it did.
func TestPartsNoteThemselves(t *testing.T) {
	source := open(t)
	query(t, source, "CREATE TABLE a(x); INSERT INTO a VALUES (1)")
	var m memoryParts
	list, err := Parts{Create: m.create}.Write(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	db := open(t)
	for _, part := range list[:2] {
		if _, err := db.Import(t.Context(), bytes.NewReader(m.files[part.Name].Bytes())); err != nil {
			t.Fatal(err)
		}
	}
	if got := rows(t, db, "SELECT part, sum FROM "+ProgressTable+" ORDER BY part"); len(got) != 2 || got[1][0] != list[1].Name || got[1][1] != list[1].Sum {
		t.Errorf("progress %v, parts %+v", got, list)
	}
	if _, err := db.Import(t.Context(), bytes.NewReader(m.files[list[1].Name].Bytes())); err == nil {
		t.Error("a part ran twice")
	}
	if got := rows(t, db, "SELECT count(*) FROM a"); got[0][0] != int64(1) {
		t.Errorf("rows %v", got)
	}
}

// Random tables with random values come back as they were, in parts of any size.
func TestPartsRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	kinds := []string{"INTEGER", "TEXT", "REAL", "BLOB", "NUMERIC", ""}
	for range 60 {
		source := open(t)
		tables := 1 + r.IntN(4)
		for i := range tables {
			var columns []string
			for c := range 1 + r.IntN(6) {
				columns = append(columns, fmt.Sprintf("c%d %s", c, kinds[r.IntN(len(kinds))]))
			}
			if r.IntN(2) == 0 {
				columns = append(columns, "id INTEGER PRIMARY KEY")
			}
			if i > 0 && r.IntN(2) == 0 {
				columns = append(columns, fmt.Sprintf("f REFERENCES t%d (rowid)", r.IntN(i+1)))
				columns = columns[:len(columns)-1] // a rowid is no parent key; the column stays out
			}
			query(t, source, fmt.Sprintf("CREATE TABLE t%d (%s)", i, strings.Join(columns, ", ")))
			for range r.IntN(30) {
				var values []any
				var marks []string
				for _, c := range columns {
					if strings.HasPrefix(c, "id ") {
						values, marks = append(values, nil), append(marks, "?")
						continue
					}
					values, marks = append(values, randomValue(r)), append(marks, "?")
				}
				query(t, source, fmt.Sprintf("INSERT INTO t%d VALUES (%s)", i, strings.Join(marks, ", ")), values...)
			}
		}
		_, copied := writeParts(t, source, Parts{MaxBytes: int64(1 + r.IntN(5000))})
		if got, want := contents(t, copied), contents(t, source); !reflect.DeepEqual(got, want) {
			t.Fatalf("got\n%v\nwant\n%v", got, want)
		}
	}
}

func randomValue(r *rand.Rand) any {
	switch r.IntN(8) {
	case 0:
		return nil
	case 1:
		return int64(r.Uint64())
	case 2:
		return r.NormFloat64()
	case 3:
		return math.Float64frombits(r.Uint64() &^ (1 << 62)) // never infinite, never NaN
	case 4:
		return float64(r.IntN(100))
	case 5:
		b := make([]byte, r.IntN(200))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	case 6:
		return string([]rune{rune(r.IntN(0xd000)), '\'', rune(r.IntN(128)), 0x1F6B2}[r.IntN(4):])
	}
	return strings.Repeat("x'\n", r.IntN(20))
}

// Every kind of difference that a copy can have shows in the sums.
func TestSums(t *testing.T) {
	const base = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); INSERT INTO t VALUES (1, 'abc', 7), (2, NULL, x'0102'), (3, 2.5, 'é');"
	sums := func(sql string) TableSum {
		db := open(t)
		query(t, db, base+sql)
		q, err := db.SumQueries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s, err := db.Sums(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return s[0]
	}
	want := sums("")
	for _, change := range []string{
		"DELETE FROM t WHERE id = 2", "INSERT INTO t VALUES (4, 1, 1)", "UPDATE t SET a = 'abd' WHERE id = 1", "UPDATE t SET a = 'ab' WHERE id = 1",
		"UPDATE t SET b = -7 WHERE id = 1", "UPDATE t SET b = '7' WHERE id = 1", "UPDATE t SET b = 7.0 WHERE id = 1", "UPDATE t SET a = '' WHERE id = 2",
		"UPDATE t SET b = x'0103' WHERE id = 2", "UPDATE t SET b = x'0201' WHERE id = 2", "UPDATE t SET b = 'e' WHERE id = 3", "UPDATE t SET b = 'Ã©' WHERE id = 3",
		"UPDATE t SET a = b, b = a WHERE id = 1", "UPDATE t SET a = 2.75 WHERE id = 3", "UPDATE t SET a = 'ABC' WHERE id = 1", "UPDATE t SET b = 7 + 4294967296 WHERE id = 1",
	} {
		if got := sums(change); got == want {
			t.Errorf("%s does not show: %+v", change, got)
		}
	}
	if got := sums("DELETE FROM t; INSERT INTO t VALUES (3, 2.5, 'é'), (1, 'abc', 7), (2, NULL, x'0102')"); got != want {
		t.Errorf("the order of rows shows: %+v, want %+v", got, want)
	}
}

// D1's engine accepts the sums, of wide tables too.
func TestSumsAreSQLForD1(t *testing.T) {
	db := open(t)
	var columns []string
	for i := range 100 {
		columns = append(columns, fmt.Sprintf(`"a rather long name of a column, number %d"`, i))
	}
	query(t, db, "CREATE TABLE wide ("+strings.Join(columns, ", ")+"); INSERT INTO wide DEFAULT VALUES;"+strings.ReplaceAll(everything, "(9223372036854775807,", "(77,"))
	queries, err := db.SumQueries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	engine := startRealEngine(t)
	if _, refused := engine.run(t, "sums", Query{SQL: "CREATE TABLE wide (" + strings.Join(columns, ", ") + "); INSERT INTO wide DEFAULT VALUES;" + strings.ReplaceAll(everything, "(9223372036854775807,", "(77,")}); refused != "" {
		t.Fatal(refused)
	}
	for _, q := range queries {
		got := rows(t, db, q.SQL(-1<<62, 1<<62))
		real, refused := engine.run(t, "sums", Query{SQL: q.SQL(-1<<62, 1<<62)})
		if refused != "" {
			t.Errorf("%s: %s", q.Table, refused)
			continue
		}
		if want := real[len(real)-1].Rows[0]; fmt.Sprint(float64(got[0][1].(int64))) != fmt.Sprint(want[1]) {
			t.Errorf("%s: %v, the engine %v", q.Table, got[0], want)
		}
	}
}

// The real engine takes the parts.
func TestPartsAgainstEngine(t *testing.T) {
	source := open(t)
	query(t, source, strings.ReplaceAll(everything, "(9223372036854775807,", "(77,")) // last_row_id would not fit a JavaScript number
	query(t, source, "INSERT INTO heap(rowid, x) VALUES (20, ?)", bytes.Repeat([]byte{0, 39, 255}, 60_000))
	// The engine counts the values of a row, its rowid too, once a statement has several.
	var columns []string
	for i := range MaxColumns {
		columns = append(columns, fmt.Sprintf("c%d", i))
	}
	query(t, source, "CREATE TABLE widest("+strings.Join(columns, ",")+"); INSERT INTO widest(c0) VALUES (1), (2);"+
		"CREATE TABLE parent(code TEXT); CREATE UNIQUE INDEX codes ON parent(code); CREATE TABLE refers(code REFERENCES parent(code)); INSERT INTO parent VALUES ('a'); INSERT INTO refers VALUES ('a');"+
		"INSERT INTO docs(docs, rank) VALUES ('rank', 'bm25(10.0)'); CREATE VIRTUAL TABLE docs_view USING fts5(id, content='v1', content_rowid='id')")
	var m memoryParts
	list, err := Parts{Create: m.create}.Write(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	engine := startRealEngine(t)
	for _, part := range list {
		// The engine counts its limit over the text that it is given, so each statement is a text of its own.
		statements, err := Split(m.files[part.Name].String())
		if err != nil {
			t.Fatal(err)
		}
		var queries []Query
		for _, s := range statements {
			queries = append(queries, Query{SQL: s.SQL})
		}
		if _, refused := engine.run(t, "parts", queries...); refused != "" {
			t.Fatalf("%s: %s", part.Name, refused)
		}
	}
	queries, err := source.SumQueries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, err := source.Sums(t.Context(), queries)
	if err != nil {
		t.Fatal(err)
	}
	for i := -1; len(queries) > 0; queries = queries[1:] {
		q := queries[0]
		if !q.First() {
			continue // of the widest table the first half will do
		}
		if i++; q.Table == "widest" {
			continue
		}
		q.Key = ""
		real, refused := engine.run(t, "parts", Query{SQL: q.SQL(0, 0)})
		if refused != "" {
			t.Fatal(refused)
		}
		if got := real[len(real)-1].Rows[0]; fmt.Sprint(got[0]) != fmt.Sprint(want[i].Rows) || fmt.Sprint(got[1]) != fmt.Sprint(float64(want[i].Sum)) {
			t.Errorf("%s: %v, want %+v", q.Table, got, want[i])
		}
	}
}

func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.sqlite")
	file, err := openWith(path, 6) // read, write, create
	if err != nil {
		t.Fatal(err)
	}
	if err := file.exclusive(t.Context(), func() error {
		return file.own("PRAGMA journal_mode=WAL; CREATE TABLE fine(a); CREATE VIRTUAL TABLE none USING fts5(a, content='');" +
			"CREATE TABLE big(b BLOB); INSERT INTO big VALUES (zeroblob(2000001)), (zeroblob(2000000));")
	}); err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	db, err := OpenReadOnly(path) // while somebody else has it open
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	list, err := db.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range list {
		got = append(got, f.Rule+" "+f.Message)
	}
	want := []string{
		"value-too-large 1 row of big over 2000000 bytes, which D1 does not take",
		"database-unsupported the contentless full-text table none cannot be read: SQLite does not keep what went in",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("findings %q, want %q", got, want)
	}
	if _, err := OpenReadOnly(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) && err == nil {
		t.Errorf("opening what is not there: %v", err)
	}
}

// What SQLite lets happen by default, and D1 does not, is told before anything is sent.
func TestCheckOfRows(t *testing.T) {
	for _, test := range []struct {
		sql  string
		want []string
	}{
		{"CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p(id)); INSERT INTO c VALUES (9), (8), (NULL)",
			[]string{"reference-broken 2 rows of c refer to rows of p that are not there"}},
		{"CREATE TABLE c(p REFERENCES gone(id)); INSERT INTO c VALUES (NULL)",
			[]string{"reference-broken c refers to a table gone, which is not there"}},
		{"CREATE TABLE c(p REFERENCES gone(id))", nil},
		{"CREATE TABLE p(a); CREATE TABLE c(p REFERENCES p(a)); INSERT INTO p VALUES (1); INSERT INTO c VALUES (1)",
			[]string{"reference-broken c refers to columns that nothing makes unique"}},
		{"CREATE TABLE node(id INTEGER PRIMARY KEY, parent REFERENCES node(id)); INSERT INTO node VALUES (1, 2), (2, 1), (3, NULL)", nil},
		{"CREATE TABLE wide(a, b); INSERT INTO wide VALUES (zeroblob(1500000), zeroblob(1500000)), (zeroblob(1000), zeroblob(1900000))",
			[]string{"value-too-large 1 row of wide over 2000000 bytes, which D1 does not take"}},
		{"CREATE TABLE shopfleet_chunks(a)", []string{"database-unsupported the database has a table shopfleet_chunks, as one has that a bootstrap was filling when it was cut off"}},
		{"CREATE TABLE a(x); PRAGMA writable_schema=ON; INSERT INTO sqlite_schema VALUES ('table', 'old', 'old', 0, 'CREATE VIRTUAL TABLE old USING fts4(x)')",
			[]string{"database-unsupported D1 would refuse table old: not authorized"}},
		{"PRAGMA encoding='UTF-16le'; CREATE TABLE a(x)", []string{"database-unsupported the file holds its text in UTF-16le"}},
	} {
		path := filepath.Join(t.TempDir(), "shop.sqlite")
		file, err := sqlite3.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Exec("PRAGMA foreign_keys=OFF;" + test.sql); err != nil {
			t.Fatalf("%s: %v", test.sql, err)
		}
		file.Close()
		db, err := OpenReadOnly(path)
		if err != nil {
			t.Fatal(err)
		}
		list, err := db.Check(t.Context())
		db.Close()
		if err != nil || len(list) != len(test.want) {
			t.Errorf("%s: %+v, %v; want %q", test.sql, list, err, test.want)
			continue
		}
		for i, f := range list {
			if got := f.Rule + " " + f.Message; !strings.HasPrefix(got, test.want[i]) {
				t.Errorf("%s: %q, want %q", test.sql, got, test.want[i])
			}
		}
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, bytes.Repeat([]byte("no database\n"), 100), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{text, t.TempDir()} {
		if _, err := OpenReadOnly(path); !errors.Is(err, ErrNotDatabase) {
			t.Errorf("opening what is no database: %v", err)
		}
	}
}
