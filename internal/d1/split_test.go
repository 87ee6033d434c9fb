package d1

import (
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ncruces/go-sqlite3"
)

func TestSplit(t *testing.T) {
	for _, test := range []struct {
		name, sql string
		want      []string
	}{
		{"nothing", "", nil},
		{"blanks, BOM, comments and semicolons", "\ufeff \r\n-- a;b\n;/* c; */ ; --", nil},
		{"two", "SELECT 1;SELECT 2", []string{"SELECT 1;", "SELECT 2"}},
		{"CRLF", "SELECT 1;\r\nSELECT 2;\r\n", []string{"SELECT 1;", "SELECT 2;"}},
		{"comment belongs to what follows", "SELECT 1; -- one\nSELECT 2;", []string{"SELECT 1;", "-- one\nSELECT 2;"}},
		{"trailing comment", "SELECT 1; -- one\n/* and; more */", []string{"SELECT 1;"}},
		{"comment that never closes", "SELECT 1; /* and; more", []string{"SELECT 1;"}},
		{"single quotes", "SELECT ';', 'it''s;'; SELECT 2", []string{"SELECT ';', 'it''s;';", "SELECT 2"}},
		{"identifier quotes", "SELECT \";\", `;`, [;]; SELECT 2", []string{"SELECT \";\", `;`, [;];", "SELECT 2"}},
		{"variable with parentheses", "SELECT $a::b(;), @c; SELECT 2", []string{"SELECT $a::b(;), @c;", "SELECT 2"}},
		{
			"trigger, any case, CASE and END inside",
			"create Trigger t AFTER INSERT ON p BEGIN\r\n UPDATE p SET n = CASE WHEN 1 THEN 'x;' END; -- end;\r\n select 1;\r\neNd\r\n;SELECT 2",
			[]string{"create Trigger t AFTER INSERT ON p BEGIN\r\n UPDATE p SET n = CASE WHEN 1 THEN 'x;' END; -- end;\r\n select 1;\r\neNd\r\n;", "SELECT 2"},
		},
		{"temporary trigger explained", "EXPLAIN QUERY PLAN CREATE TEMPORARY TRIGGER t AFTER INSERT ON p BEGIN SELECT 1; END; SELECT 2",
			[]string{"EXPLAIN QUERY PLAN CREATE TEMPORARY TRIGGER t AFTER INSERT ON p BEGIN SELECT 1; END;", "SELECT 2"}},
		{"table named like a keyword", `CREATE TABLE "trigger"(a); SELECT 2`, []string{`CREATE TABLE "trigger"(a);`, "SELECT 2"}},
		{"comment between semicolon and END", "CREATE TRIGGER t AFTER INSERT ON p BEGIN SELECT 1; /* ; */ END; SELECT 2",
			[]string{"CREATE TRIGGER t AFTER INSERT ON p BEGIN SELECT 1; /* ; */ END;", "SELECT 2"}},
		{"virtual table arguments", "CREATE VIRTUAL TABLE v USING fts5(a, (b;c)); SELECT 2", []string{"CREATE VIRTUAL TABLE v USING fts5(a, (b;c));", "SELECT 2"}},
		{"division at the end", "SELECT 1; /*", []string{"SELECT 1;", "/*"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			statements, err := Split(test.sql)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range statements {
				got = append(got, s.SQL)
				if !strings.HasPrefix(test.sql[s.Offset:], s.SQL) {
					t.Errorf("%q does not stand at offset %d", s.SQL, s.Offset)
				}
				if s.Complete != strings.HasSuffix(s.SQL, ";") {
					t.Errorf("%q: complete = %v", s.SQL, s.Complete)
				}
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestSplitPositions(t *testing.T) {
	statements, err := Split("\ufeff-- first\n\n  SELECT 1;\r\n/* two\nlines */ SELECT\n2; ;\n\tSELECT 3")
	if err != nil {
		t.Fatal(err)
	}
	var got [][3]int
	for _, s := range statements {
		got = append(got, [3]int{s.Offset, s.Line, s.Column})
	}
	want := [][3]int{{3, 3, 3}, {26, 5, 10}, {55, 7, 2}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("offset, line, column: got %v, want %v", got, want)
	}
}

func TestSplitUnfinished(t *testing.T) {
	for _, test := range []struct {
		sql, token           string
		statements           int
		offset, line, column int
	}{
		{"SELECT 1;\nSELECT 'it''s; 2", "'", 2, 17, 2, 8},
		{"SELECT \"a\n;", "\"", 1, 7, 1, 8},
		{"SELECT `a``;", "`", 1, 7, 1, 8},
		{"SELECT [a;", "[", 1, 7, 1, 8},
		{"SELECT 1\x00; SELECT 2", "\x00", 1, 8, 1, 9},
		{"SELECT 'a\x00'; SELECT 2", "'", 1, 7, 1, 8},
	} {
		statements, err := Split(test.sql)
		var unfinished *UnfinishedError
		if !errors.As(err, &unfinished) {
			t.Errorf("%q: no error but %v", test.sql, statements)
			continue
		}
		if want := (UnfinishedError{test.token, test.offset, test.line, test.column}); *unfinished != want {
			t.Errorf("%q: got %+v, want %+v", test.sql, *unfinished, want)
		}
		if len(statements) != test.statements {
			t.Errorf("%q: got %d statements, want %d", test.sql, len(statements), test.statements)
		}
	}
}

// TestReadStatements checks that a stream is cut like a text, however the bytes arrive.
func TestReadStatements(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		text := randomText(random)
		want, wantErr := Split(text)
		for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text))} {
			var got []Statement
			var gotErr error
			for s, err := range ReadStatements(r) {
				if err != nil {
					gotErr = err
					break
				}
				got = append(got, s)
			}
			if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(gotErr, wantErr) {
				t.Fatalf("%q:\ngot  %+v %v\nwant %+v %v", text, got, gotErr, want, wantErr)
			}
		}
	}
}

func TestReadStatementsLong(t *testing.T) {
	long := "INSERT INTO t VALUES('" + strings.Repeat("x;", 300_000) + "');"
	var got []string
	for s, err := range ReadStatements(strings.NewReader(strings.Repeat(long+"\n", 3) + "SELECT 1")) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s.SQL)
	}
	if want := []string{long, long, long, "SELECT 1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %d statements, want %d equal ones", len(got), len(want))
	}
	broken := errors.New("cable cut")
	var got2 error
	for _, err := range ReadStatements(io.MultiReader(strings.NewReader("SELECT 1; SEL"), iotest.ErrReader(broken))) {
		got2 = err
	}
	if !errors.Is(got2, broken) {
		t.Errorf("error of the reader: got %v", got2)
	}
}

// snippets are texts that random texts are made of: mostly valid on the schema of splitOracle, so that SQLite's parser
// gets to see what stands behind them.
var snippets = []string{
	"SELECT 1", "SELECT n FROM p WHERE id = ?1", "INSERT INTO p(n) VALUES('a;b'), ('it''s')", "UPDATE p SET n = \"a;b\"", "DELETE FROM p",
	"SELECT $x::y(;), :b, @c", "SELECT [n] FROM `p`", "SELECT x'3b', 1.5e3, 0x3b", "SELECT CASE WHEN 1 THEN 2 END",
	"CREATE TABLE a1(b, c TEXT DEFAULT ';')", "CREATE INDEX i1 ON p(n)", "CREATE VIEW v1 AS SELECT 'end;'", "EXPLAIN SELECT 1", "explain query plan select 1",
	"CREATE TRIGGER t1 AFTER INSERT ON p BEGIN SELECT 1; END", "create temp trigger t2 after delete on p begin update p set n = case when 1 then 2 end; delete from p; end",
	"CREATE TEMPORARY TRIGGER IF NOT EXISTS t3 INSTEAD OF INSERT ON pv BEGIN INSERT INTO p(n) VALUES(';END;'); /* END; */ SELECT 1; -- END;\nEND",
	"EXPLAIN CREATE TRIGGER t4 BEFORE UPDATE OF n ON p WHEN new.id > 1 BEGIN SELECT raise(abort, 'x;'); END",
	"CREATE VIRTUAL TABLE w1 USING fts5(a, b)", "CREATE VIRTUAL TABLE IF NOT EXISTS main.w2 USING fts5(a;b, (c;d))", "CREATE VIRTUAL TABLE w3 USING fts5",
	"WITH end_ AS (SELECT 1) SELECT * FROM end_", "PRAGMA table_info(p)", "VALUES(1),(2)", "ALTER TABLE p ADD COLUMN z", "SELECT \"end\", `trigger`",
	"CREATE", "TRIGGER", "END", "BEGIN", "TEMP", "VIRTUAL", "USING", "EXPLAIN", "(", ")", "'", "\"", "`", "[", "]", "$a(", "/*", "*/", "--", "x'3", "\x00", "\ufeff", "\xef", "\v", "/", "-", "'a'", "é",
}

var separators = []string{";", ";", ";", "; ", ";\r\n", ";\n", " ;", "-- c;\n;", "/*;*/;", ";;", ";\ufeff", " ", "\n", "\t", ";\f", ";--\r\n", "\v"}

// randomText joins snippets: usually with something that ends a statement, now and then with something that does not.
func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(8) {
		// The latter part of the list is fragments, and rarer, since nothing behind an error can be compared.
		s := snippets[r.IntN(26)]
		if r.IntN(8) == 0 {
			s = snippets[r.IntN(len(snippets))]
		}
		if r.IntN(10) == 0 {
			s = strings.ToUpper(s)
		}
		b.WriteString(s)
		b.WriteString(separators[r.IntN(len(separators))])
	}
	return b.String()
}

// splitOracle compares Split with the tails that sqlite3_prepare leaves, on a schema where much compiles.
type splitOracle struct {
	conn *sqlite3.Conn
}

func newSplitOracle(t testing.TB) *splitOracle {
	conn, err := sqlite3.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.Exec("CREATE TABLE p(id INTEGER PRIMARY KEY, n); CREATE VIEW pv AS SELECT * FROM p;"); err != nil {
		t.Fatal(err)
	}
	return &splitOracle{conn}
}

// check walks through text with SQLite's parser until it finds an error. It returns how many statements were compared.
func (o *splitOracle) check(t testing.TB, text string) (compared int) {
	statements, splitErr := Split(text)
	rest := text
	for i := 0; ; {
		stmt, tail, err := o.conn.Prepare(rest)
		consumed := len(text) - len(tail)
		switch {
		case err != nil:
			// What SQLite refuses in the whole text, it must refuse in our cut of it, with the same words.
			if i == len(statements) {
				t.Fatalf("%q: SQLite finds another statement at %d: %v", text, len(text)-len(rest), err)
			}
			alone, _, errAlone := o.conn.Prepare(statements[i].SQL)
			alone.Close()
			if errAlone == nil || errAlone.Error() != err.Error() {
				t.Fatalf("%q: SQLite says %v, but of statement %d, %q, %v", text, err, i, statements[i].SQL, errAlone)
			}
			return compared
		case stmt != nil:
			stmt.Close()
			if i == len(statements) {
				t.Fatalf("%q: SQLite finds another statement in %q", text, rest)
			}
			s := statements[i]
			end := s.Offset + len(s.SQL)
			if end > consumed || s.Complete && end != consumed || !s.Complete && strings.Trim(text[end:consumed], " \t\n\f\r\v") != "" {
				t.Fatalf("%q: statement %d ends at %d, says SQLite at %d", text, i, end, consumed)
			}
			i++
			compared++
		case tail == "" || tail == rest: // nothing more, or a NUL, where SQLite stops
			if i != len(statements) && splitErr == nil {
				t.Fatalf("%q: SQLite finds %d statements, Split %d", text, i, len(statements))
			}
			return compared
		}
		rest = tail
	}
}

// TestSplitLikeSQLite is the property that matters: same statements as the real parser, on random texts.
func TestSplitLikeSQLite(t *testing.T) {
	oracle := newSplitOracle(t)
	random := rand.New(rand.NewPCG(7, 11))
	compared := 0
	for range 20_000 {
		compared += oracle.check(t, randomText(random))
	}
	if compared < 30_000 {
		t.Errorf("only %d statements were compared: the random texts break too early", compared)
	}
}

// FuzzSplit looks for texts that Split and SQLite's parser cut differently.
func FuzzSplit(f *testing.F) {
	for i, s := range snippets {
		f.Add(s + separators[i%len(separators)] + snippets[(i*7)%len(snippets)] + ";")
	}
	oracle := newSplitOracle(f)
	f.Fuzz(func(t *testing.T, text string) {
		oracle.check(t, text)
	})
}
