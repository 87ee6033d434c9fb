package d1

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

// TestMetaAgainstEngine compares what is counted with what the real engine counts: changes and rows written exactly,
// rows read never above.
func TestMetaAgainstEngine(t *testing.T) {
	engine := startRealEngine(t)
	db := open(t)
	for _, test := range []struct {
		sql    string
		params []any
		schema bool // changes the schema: rows written are not counted
		exact  bool // rows read are exact
	}{
		{sql: "CREATE TABLE p(id INTEGER PRIMARY KEY, n TEXT UNIQUE, z DEFAULT 1)", schema: true},
		{sql: "CREATE TABLE plain(a, b)", schema: true},
		{sql: "CREATE TABLE k(a TEXT PRIMARY KEY, b)", schema: true},
		{sql: "CREATE TABLE w(a PRIMARY KEY, b) WITHOUT ROWID", schema: true},
		{sql: "CREATE TABLE ai(id INTEGER PRIMARY KEY AUTOINCREMENT, v)", schema: true},
		{sql: "CREATE TABLE child(id INTEGER PRIMARY KEY, pid REFERENCES p(id) ON DELETE CASCADE ON UPDATE CASCADE)", schema: true},
		{sql: "INSERT INTO p(n) VALUES('a'),('b'),('c')"},
		{sql: "INSERT INTO plain VALUES(1,1),(2,2),(3,3),(4,4)", exact: true},
		{sql: "INSERT INTO k VALUES(1,1),(2,2)"},
		{sql: "INSERT INTO w VALUES(1,1),(2,2)"},
		{sql: "INSERT INTO ai(v) VALUES(1),(2)"},
		{sql: "INSERT INTO ai(id, v) VALUES(1, 1) ON CONFLICT DO NOTHING"},
		{sql: "INSERT INTO ai(v) SELECT v FROM ai"},
		{sql: "INSERT INTO child(pid) VALUES(1),(1),(2)"},
		{sql: "CREATE INDEX pz ON p(z)", schema: true},
		{sql: "CREATE INDEX we ON w(b, a)", schema: true},
		{sql: "CREATE INDEX expression ON plain(a + b)", schema: true},
		{sql: "SELECT * FROM plain", exact: true},
		{sql: "SELECT * FROM plain WHERE a = 3", exact: true},
		{sql: "SELECT * FROM p WHERE id = 2", exact: true},
		{sql: "SELECT * FROM p WHERE n = ?", params: []any{"b"}, exact: true},
		{sql: "SELECT 1", exact: true},
		{sql: "SELECT * FROM plain ORDER BY b"},
		{sql: "SELECT count(*) FROM plain"},
		{sql: "SELECT * FROM plain x, plain y"},
		{sql: "UPDATE plain SET b = b + 1"},
		{sql: "UPDATE p SET z = 2", exact: false},
		{sql: "UPDATE p SET n = n || 'x' WHERE id = 1"},
		{sql: "UPDATE p SET n = n"},
		{sql: "UPDATE p SET id = 10 WHERE id = 3"},
		{sql: "UPDATE p SET id = 11 WHERE id = 2"},
		{sql: "UPDATE k SET b = 3"},
		{sql: "UPDATE w SET b = 3"},
		{sql: "INSERT INTO p(id, n) VALUES(1, 'up') ON CONFLICT(id) DO UPDATE SET n = excluded.n"},
		{sql: "INSERT OR IGNORE INTO p(id, n) VALUES(1, 'up')"},
		{sql: "DELETE FROM p WHERE id = 1"},
		{sql: "DELETE FROM plain WHERE a < 3"},
		{sql: "DELETE FROM w WHERE a = 1"},
		{sql: "DELETE FROM plain"},
		{sql: "UPDATE p SET z = 1 WHERE id = 999"},
		{sql: "CREATE TRIGGER tr AFTER INSERT ON plain BEGIN INSERT INTO k VALUES(new.a, new.b); UPDATE w SET b = new.b; END", schema: true},
		{sql: "INSERT INTO plain VALUES(100, 1)"},
		{sql: "INSERT INTO plain SELECT a + 200, b FROM plain"},
	} {
		real, refused := engine.run(t, "meta", Query{SQL: test.sql, Params: test.params})
		if refused != "" {
			t.Fatalf("%s: %s", test.sql, refused)
		}
		want, got := real[0].Meta, query(t, db, test.sql, test.params...)[0].Meta
		if got.Changes != want.Changes || got.LastRowID != want.LastRowID {
			t.Errorf("%s: got %d changes, last row %d, the engine %d and %d", test.sql, got.Changes, got.LastRowID, want.Changes, want.LastRowID)
		}
		if !test.schema && got.RowsWritten != want.RowsWritten {
			t.Errorf("%s: %d rows written, the engine %d", test.sql, got.RowsWritten, want.RowsWritten)
		}
		if !test.schema && got.ChangedDB != want.ChangedDB {
			t.Errorf("%s: changed = %v, the engine %v", test.sql, got.ChangedDB, want.ChangedDB)
		}
		if got.RowsRead > want.RowsRead || test.exact && got.RowsRead != want.RowsRead {
			t.Errorf("%s: %d rows read, the engine %d", test.sql, got.RowsRead, want.RowsRead)
		}
	}
}

// TestDumpAgainstEngine compares dumps with the engine's, which is a port of D1's own.
func TestDumpAgainstEngine(t *testing.T) {
	engine := startRealEngine(t)
	for _, test := range []struct{ name, sql string }{
		{"empty", "SELECT 1"},
		{"everything", `CREATE TABLE later(id INTEGER PRIMARY KEY, t TEXT, r REAL, b BLOB, g AS (id + 1));
			CREATE TABLE "quoted name"("a b" INTEGER PRIMARY KEY AUTOINCREMENT, c REFERENCES later(id));
			INSERT INTO later(t, r, b) VALUES('it''s', 1.5, x'00ff'), (NULL, 2.0, x''), (char(13) || 'a' || char(10), 1e300, 'text'), ('é', -1e-9, 0.1);
			INSERT INTO "quoted name"(c) VALUES(1), (NULL);
			CREATE VIEW v AS SELECT 1;
			CREATE TRIGGER tr AFTER INSERT ON later BEGIN SELECT ';'; END;
			CREATE UNIQUE INDEX i ON later(t) WHERE t > 'a';
			CREATE TABLE 'single'(x);
			CREATE TABLE infinite(x); INSERT INTO infinite VALUES(9e999), (-9e999);
			ANALYZE;`},
	} {
		t.Run(test.name, func(t *testing.T) {
			db := open(t)
			query(t, db, test.sql)
			if _, refused := engine.run(t, test.name, Query{SQL: test.sql}); refused != "" {
				t.Fatal(refused)
			}
			for _, o := range []DumpOptions{{}, {NoData: true}, {NoSchema: true}, {Tables: []string{"later", "v"}}} {
				var got bytes.Buffer
				if err := db.Dump(t.Context(), &got, o); err != nil {
					t.Fatal(err)
				}
				var reply struct{ Dump []string }
				tables := append([]string{}, o.Tables...)
				if refused := engine.post(t, "/"+test.name+"/dump", map[string]any{"noSchema": o.NoSchema, "noData": o.NoData, "tables": tables}, &reply); refused != "" {
					t.Fatal(refused)
				}
				if want := strings.Join(reply.Dump, "\n") + "\n"; got.String() != want {
					t.Errorf("%+v:\n%s\nthe engine:\n%s", o, got.String(), want)
				}
			}
			if test.name == "empty" {
				return
			}
			// What was dumped can be imported, and gives the same dump.
			var first, second bytes.Buffer
			if err := db.Dump(t.Context(), &first, DumpOptions{}); err != nil {
				t.Fatal(err)
			}
			copied := open(t)
			if _, err := copied.Import(t.Context(), bytes.NewReader(first.Bytes())); err != nil {
				t.Fatal(err)
			}
			if err := copied.Dump(t.Context(), &second, DumpOptions{}); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(strings.Split(second.String(), "\n"), strings.Split(first.String(), "\n")) {
				t.Errorf("dump of the import:\n%s\nwant\n%s", second.String(), first.String())
			}
		})
	}
}
