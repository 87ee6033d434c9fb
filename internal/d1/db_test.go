package d1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// query runs SQL that must succeed and returns the results.
func query(t testing.TB, db *DB, sql string, params ...any) []Result {
	t.Helper()
	results, err := db.Query(t.Context(), sql, params...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return results
}

// rows are the rows of the last statement of sql.
func rows(t testing.TB, db *DB, sql string, params ...any) [][]any {
	t.Helper()
	results := query(t, db, sql, params...)
	return results[len(results)-1].Rows
}

func TestQueryResults(t *testing.T) {
	db := open(t)
	results := query(t, db, `CREATE TABLE t(a, b);
		INSERT INTO t VALUES(1, 'x'), (2.5, x'00ff'), (NULL, '');
		SELECT a, b, a AS b FROM t;
		-- nothing here
		;`)
	if len(results) != 3 {
		t.Fatalf("got %d results, want one for each of 3 statements", len(results))
	}
	if got, want := results[2].Columns, []string{"a", "b", "b"}; !reflect.DeepEqual(got, want) {
		t.Errorf("columns: got %q, want %q", got, want)
	}
	want := [][]any{{int64(1), "x", int64(1)}, {2.5, []byte{0, 255}, 2.5}, {nil, "", nil}}
	if got := results[2].Rows; !reflect.DeepEqual(got, want) {
		t.Errorf("rows: got %#v, want %#v", got, want)
	}
	for i, want := range []Meta{
		{ChangedDB: true},
		{Changes: 3, LastRowID: 3, RowsWritten: 3, ChangedDB: true},
		{LastRowID: 3, RowsRead: 3},
	} {
		got := results[i].Meta
		if got.SizeAfter != 8192 {
			t.Errorf("statement %d: size after = %d, want two pages", i, got.SizeAfter)
		}
		got.Duration, got.SizeAfter, want.SizeAfter = 0, 0, 0
		if got != want {
			t.Errorf("statement %d: got %+v, want %+v", i, got, want)
		}
	}
}

func TestParameters(t *testing.T) {
	db := open(t)
	got := rows(t, db, "SELECT ?, ?, ?, ?, ?, ?, ?, ?", nil, true, 1, int64(math.MaxInt64), 0.5, "a\x00b", []byte{1}, []byte(nil))
	want := [][]any{{nil, int64(1), int64(1), int64(math.MaxInt64), 0.5, "a\x00b", []byte{1}, []byte{}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, want %#v", got, want)
	}
	if got := rows(t, db, "SELECT 1; SELECT ?2 || ?1", "a", "b"); !reflect.DeepEqual(got, [][]any{{"ba"}}) {
		t.Errorf("parameters of the last statement: got %v", got)
	}
	for _, test := range []struct {
		sql    string
		params []any
		want   string
	}{
		{"SELECT ?, ?", []any{1}, messageParameters},
		{"SELECT ?", []any{1, 2}, messageParameters},
		{"SELECT 1", []any{1}, messageParameters},
		{"SELECT ?; SELECT ?", []any{1}, messageEarly},
		{"SELECT ?", []any{make(chan int)}, "parameter 1 has type chan int, which D1 does not know"},
	} {
		if _, err := db.Query(t.Context(), test.sql, test.params...); err == nil || err.Error() != test.want {
			t.Errorf("%s with %d parameters: got %v, want %s", test.sql, len(test.params), err, test.want)
		}
	}
}

// TestErrorPosition checks where an error is said to stand: at SQLite's token, otherwise at the statement.
func TestErrorPosition(t *testing.T) {
	db := open(t)
	query(t, db, "CREATE TABLE t(a UNIQUE)")
	const constraint = "UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)"
	for _, test := range []struct {
		name    string
		queries []Query
		want    Error
	}{
		{"token", []Query{{SQL: "SELECT 1;\r\n-- why\r\n  SELECT a\n  FORM t;\nSELECT 2;"}},
			Error{Message: `near "t": syntax error at offset 26: SQLITE_ERROR`, Code: "SQLITE_ERROR",
				Index: 1, SQL: "-- why\r\n  SELECT a\n  FORM t;", Offset: 37, Line: 4, Column: 8}},
		{"statement", []Query{{SQL: "SELECT 1"}, {SQL: "INSERT INTO t VALUES(1);\n\n /* again */ INSERT INTO t VALUES(1)"}},
			Error{Message: constraint, Code: "SQLITE_CONSTRAINT_UNIQUE", Query: 1, Index: 2,
				SQL: "/* again */ INSERT INTO t VALUES(1)", Offset: 39, Line: 3, Column: 14}},
		{"unfinished", []Query{{SQL: "SELECT 1;\nSELECT 'a;"}},
			Error{Message: `unrecognized token: "'a;" at offset 7: SQLITE_ERROR`, Code: "SQLITE_ERROR", Index: 1,
				SQL: "SELECT 'a;", Offset: 17, Line: 2, Column: 8}},
		{"NUL", []Query{{SQL: "SELECT 1;\n\x00SELECT 2;"}}, Error{Message: messageNUL, Index: 1, Offset: 10, Line: 2, Column: 1}},
		{"nothing", []Query{{SQL: "-- a"}, {SQL: ""}}, Error{Message: messageEmpty, Index: -1}},
		{"no query", nil, Error{Message: messageEmpty, Index: -1}},
		{"at the end", []Query{{SQL: "CREATE TABLE f(a REFERENCES g(b)); CREATE TABLE g(b PRIMARY KEY); PRAGMA defer_foreign_keys=1; INSERT INTO f VALUES(1)"}},
			Error{Message: messageViolated + "FOREIGN KEY constraint failed: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_FOREIGNKEY)",
				Code: "SQLITE_CONSTRAINT_FOREIGNKEY", Index: -1}},
		{"too long", []Query{{SQL: "\n\nSELECT '" + strings.Repeat("x", MaxStatementBytes) + "'"}},
			Error{Message: messageTooLong, Code: "SQLITE_TOOBIG", SQL: "SELECT '" + strings.Repeat("x", MaxStatementBytes) + "'", Offset: 2, Line: 3, Column: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := db.Batch(t.Context(), test.queries)
			var got *Error
			if !errors.As(err, &got) {
				t.Fatalf("got %v, want an *Error", err)
			}
			bare := *got
			bare.cause = nil
			if bare != test.want {
				t.Errorf("got  %+v\nwant %+v", bare, test.want)
			}
		})
	}
}

func TestBatchIsAtomic(t *testing.T) {
	db := open(t)
	query(t, db, "CREATE TABLE t(a PRIMARY KEY)")
	for _, test := range [][]Query{
		{{SQL: "INSERT INTO t VALUES(1)"}, {SQL: "INSERT INTO t VALUES(1)"}},
		{{SQL: "INSERT INTO t VALUES(1); CREATE TABLE u(a); DROP TABLE t; SELECT nosuch"}},
		{{SQL: "INSERT INTO t VALUES(1); INSERT OR ROLLBACK INTO t VALUES(1); INSERT INTO t VALUES(2)"}},
		{{SQL: "INSERT INTO t VALUES(1)"}, {SQL: "SELECT ?"}},
		{{SQL: "INSERT INTO t VALUES(1); BEGIN"}},
	} {
		if _, err := db.Batch(t.Context(), test); err == nil {
			t.Errorf("%v: no error", test)
		}
		if got := rows(t, db, "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM sqlite_schema WHERE name = 'u')"); !reflect.DeepEqual(got, [][]any{{int64(0), int64(0)}}) {
			t.Errorf("%v left something behind: %v", test, got)
		}
	}
}

func TestCancel(t *testing.T) {
	db := open(t)
	query(t, db, "CREATE TABLE t(a)")
	const endless = "INSERT INTO t VALUES(1); WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM r) SELECT count(*) FROM r"
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := db.Query(ctx, endless); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("running out of time: got %v", err)
	}
	cause := errors.New("operator left")
	cancelled, leave := context.WithCancelCause(t.Context())
	leave(cause)
	if _, err := db.Query(cancelled, "INSERT INTO t VALUES(1)"); !errors.Is(err, cause) {
		t.Errorf("cancelled before: got %v", err)
	}
	if got := rows(t, db, "SELECT count(*) FROM t"); !reflect.DeepEqual(got, [][]any{{int64(0)}}) {
		t.Errorf("cancelled calls wrote %v rows", got)
	}
}

// TestOutOfMemory: the library panics when SQLite has no memory. That must neither end the process nor lose data.
func TestOutOfMemory(t *testing.T) {
	db := open(t)
	query(t, db, "CREATE TABLE t(a); INSERT INTO t VALUES(1)")
	old := db.conn.HardHeapLimit(2 << 20)
	_, err := db.Query(t.Context(), "INSERT INTO t VALUES(2); SELECT group_concat(hex(randomblob(400000))) FROM json_each('[1,2,3]')")
	db.conn.HardHeapLimit(max(old, 0))
	if err == nil || !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("got %v, want out of memory", err)
	}
	if got := rows(t, db, "SELECT * FROM t"); !reflect.DeepEqual(got, [][]any{{int64(1)}}) {
		t.Errorf("afterwards: %v", got)
	}
}

func TestSnapshotAndRestore(t *testing.T) {
	for _, path := range []string{"", filepath.Join(t.TempDir(), "a.sqlite")} {
		db, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		query(t, db, "CREATE TABLE t(a); INSERT INTO t VALUES('before'); CREATE VIRTUAL TABLE f USING fts5(b); INSERT INTO f VALUES('word')")
		snapshot, err := db.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		query(t, db, "CREATE INDEX i ON t(a); DELETE FROM t; DROP TABLE f; CREATE TABLE u(a)")
		if err := db.Restore(t.Context(), snapshot); err != nil {
			t.Fatal(err)
		}
		if got := rows(t, db, "SELECT a FROM t"); !reflect.DeepEqual(got, [][]any{{"before"}}) {
			t.Errorf("rows: %v", got)
		}
		if got := rows(t, db, "SELECT b FROM f('word')"); !reflect.DeepEqual(got, [][]any{{"word"}}) {
			t.Errorf("full text: %v", got)
		}
		if got := query(t, db, "INSERT INTO t VALUES(1)")[0].Meta.RowsWritten; got != 1 {
			t.Errorf("rows written = %d: the index that is gone was counted", got)
		}
		if _, err := db.Query(t.Context(), "BEGIN"); err == nil {
			t.Error("a restored database takes BEGIN")
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Query(t.Context(), "SELECT 1"); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: got %v", err)
		}
	}
	broken := open(t)
	query(t, broken, "CREATE TABLE t(a)")
	if err := broken.Restore(t.Context(), []byte("not a database, though long enough to be looked at"+strings.Repeat(".", 4096))); err == nil {
		t.Error("restoring rubbish: no error")
	}
	if got := rows(t, broken, "SELECT count(*) FROM t"); len(got) != 1 {
		t.Errorf("after restoring rubbish: %v", got)
	}
}

// TestBeforeWrite: the copy that the hook takes is the database as it was, and readers do not pay for it.
func TestBeforeWrite(t *testing.T) {
	db := open(t)
	var copies [][]byte
	var refuse error
	db.BeforeWrite = func(_ context.Context, _ int64, snapshot func() ([]byte, error)) error {
		image, err := snapshot()
		copies = append(copies, image)
		return errors.Join(err, refuse)
	}
	query(t, db, "CREATE TABLE t(a)")
	query(t, db, "SELECT * FROM t; PRAGMA table_info(t); EXPLAIN SELECT 1")
	query(t, db, "SELECT * FROM t; INSERT INTO t VALUES(1); INSERT INTO t VALUES(2)")
	if len(copies) != 2 {
		t.Fatalf("called %d times for two transactions that write", len(copies))
	}
	refuse = errors.New("history is full")
	if _, err := db.Query(t.Context(), "DELETE FROM t"); !errors.Is(err, refuse) {
		t.Errorf("got %v, want what the hook said", err)
	}
	db.BeforeWrite = nil
	if got := rows(t, db, "SELECT count(*) FROM t"); !reflect.DeepEqual(got, [][]any{{int64(2)}}) {
		t.Errorf("refused write: %v rows left", got)
	}
	if err := db.Restore(t.Context(), copies[1]); err != nil {
		t.Fatal(err)
	}
	if got := rows(t, db, "SELECT count(*) FROM t"); !reflect.DeepEqual(got, [][]any{{int64(0)}}) {
		t.Errorf("before the second write: %v rows", got)
	}
}

func TestFileSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.sqlite")
	for i := range 3 {
		db, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		query(t, db, "CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES(1)")
		if got := rows(t, db, "SELECT count(*) FROM t"); !reflect.DeepEqual(got, [][]any{{int64(i + 1)}}) {
			t.Errorf("opened %d times: %v rows", i+1, got)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// It is an ordinary database file.
	conn, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Exec("SELECT a FROM t"); err != nil {
		t.Error(err)
	}
	if _, err := Open(filepath.Join(path, "below", "a.file")); err == nil {
		t.Error("opening an impossible path: no error")
	}
}

func TestImport(t *testing.T) {
	db := open(t)
	var text strings.Builder
	text.WriteString("PRAGMA defer_foreign_keys=TRUE;\nCREATE TABLE c(p REFERENCES p(id));\nCREATE TABLE p(id PRIMARY KEY);\n")
	for i := range 5000 {
		fmt.Fprintf(&text, "INSERT INTO c VALUES(%d);\nINSERT INTO p VALUES(%[1]d);\n", i)
	}
	done, err := db.Import(t.Context(), strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	if done.Statements != 10003 || done.Meta.Changes != 10000 || done.Meta.RowsWritten != 15000 {
		t.Errorf("got %+v", done)
	}
	_, err = db.Import(t.Context(), strings.NewReader("INSERT INTO p VALUES('a');\n\nINSERT INTO p VALUES(1);"))
	var failed *Error
	if !errors.As(err, &failed) || failed.Index != 1 || failed.Line != 3 {
		t.Errorf("second statement on line 3 fails: got %+v", err)
	}
	if _, err = db.Import(t.Context(), strings.NewReader("INSERT INTO p VALUES('a');\x00")); err == nil || err.Error() != messageNUL {
		t.Errorf("NUL: got %v", err)
	}
	if _, err = db.Import(t.Context(), strings.NewReader("-- nothing")); err == nil || err.Error() != messageEmpty {
		t.Errorf("nothing: got %v", err)
	}
	if got := rows(t, db, "SELECT count(*) FROM p"); !reflect.DeepEqual(got, [][]any{{int64(5000)}}) {
		t.Errorf("failed imports left %v rows", got)
	}
}

// TestConcurrent lets many callers loose on one database: each batch is whole.
func TestConcurrent(t *testing.T) {
	db := open(t)
	query(t, db, "CREATE TABLE t(caller, step, UNIQUE(caller, step))")
	var group sync.WaitGroup
	for caller := range 8 {
		group.Go(func() {
			for step := range 20 {
				sql := fmt.Sprintf("INSERT INTO t VALUES(%d, %d); INSERT INTO t VALUES(%[1]d, %[2]d + 0.5); SELECT count(*) FROM t", caller, step)
				results, err := db.Query(t.Context(), sql)
				if err != nil {
					t.Error(err)
					return
				}
				if n := results[2].Rows[0][0].(int64); n%2 != 0 {
					t.Errorf("saw half a batch: %d rows", n)
				}
				if _, err := db.Snapshot(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got := rows(t, db, "SELECT count(*) FROM t"); !reflect.DeepEqual(got, [][]any{{int64(320)}}) {
		t.Errorf("rows: %v", got)
	}
}

// TestLimited checks what the rewritten DELETE and UPDATE do; the corpus checks that they are accepted.
func TestLimited(t *testing.T) {
	for _, test := range []struct {
		sql    string
		params []any
		left   string // of the table, as a:b
	}{
		{"DELETE FROM t ORDER BY a DESC LIMIT 2", nil, "1:10 2:20 3:30"},
		{"DELETE FROM t WHERE a > ? ORDER BY b LIMIT ? OFFSET 1", []any{1, 1}, "1:10 2:20 4:40 5:50"},
		{"delete from main.t as x where x.a in (select 3 limit 1) limit 9;", nil, "1:10 2:20 4:40 5:50"},
		{"DELETE FROM t WHERE a < ? RETURNING a + ? LIMIT ?", []any{4, 100, 1}, "2:20 3:30 4:40 5:50"},
		{"UPDATE t SET b = ? WHERE a > ? ORDER BY a LIMIT ?", []any{0, 2, 2}, "1:10 2:20 3:0 4:0 5:50"},
		{"UPDATE OR IGNORE \"t\" SET (b) = (SELECT a FROM t LIMIT 1) LIMIT 1", nil, "1:1 2:20 3:30 4:40 5:50"},
		{"WITH w(x) AS (SELECT 5) UPDATE t SET b = 1 WHERE a IN w ORDER BY 1 LIMIT 3 -- done", nil, "1:10 2:20 3:30 4:40 5:1"},
		{"UPDATE t SET b = s.v FROM (SELECT 2 AS k, 7 AS v UNION SELECT 3, 8) AS s WHERE t.a = s.k ORDER BY t.a DESC LIMIT 1", nil, "1:10 2:20 3:8 4:40 5:50"},
	} {
		for _, schema := range []string{"CREATE TABLE t(a, b)", "CREATE TABLE t(a, b, PRIMARY KEY(b, a)) WITHOUT ROWID"} {
			db := open(t)
			query(t, db, schema+"; INSERT INTO t VALUES(1,10),(2,20),(3,30),(4,40),(5,50)")
			query(t, db, test.sql, test.params...)
			got := rows(t, db, "SELECT group_concat(a || ':' || b, ' ' ORDER BY a) FROM t")[0][0]
			if got != test.left {
				t.Errorf("%s\non %s\nleft %v, want %s", test.sql, schema, got, test.left)
			}
		}
	}
}

// TestLiteral pins the number format of dumps to JavaScript's.
func TestLiteral(t *testing.T) {
	for v, want := range map[any]string{
		nil: "NULL", int64(-7): "-7", int64(math.MaxInt64): "9223372036854775807", 2.0: "2", 0.1: "0.1", 1e21: "1e+21",
		123456789012345680000.0: "123456789012345680000", 1.5e-7: "1.5e-7", 0.000001: "0.000001",
		math.Inf(1): "9e999", math.Inf(-1): "-9e999", "it's": "'it''s'", "a\nb": `replace('a\nb','\n',char(10))`,
		"\r\n": `replace(replace('\r\n','\r',char(13)),'\n',char(10))`,
	} {
		if got := literal(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
	if got := literal([]byte{0, 171}); got != "X'00ab'" {
		t.Errorf("blob: got %s", got)
	}
}

func TestDumpOptions(t *testing.T) {
	db := open(t)
	query(t, db, "CREATE TABLE a(x); INSERT INTO a VALUES(1); CREATE TABLE b(y); INSERT INTO b VALUES(2); CREATE INDEX i ON a(x)")
	for _, test := range []struct {
		options DumpOptions
		want    string
	}{
		{DumpOptions{}, "PRAGMA defer_foreign_keys=TRUE;\nCREATE TABLE a(x);\nINSERT INTO \"a\" (\"x\") VALUES(1);\nCREATE TABLE b(y);\nINSERT INTO \"b\" (\"y\") VALUES(2);\nCREATE INDEX i ON a(x);\n"},
		{DumpOptions{NoData: true, Tables: []string{"a"}}, "PRAGMA defer_foreign_keys=TRUE;\nCREATE TABLE a(x);\n"},
		{DumpOptions{NoSchema: true}, "PRAGMA defer_foreign_keys=TRUE;\nINSERT INTO \"a\" (\"x\") VALUES(1);\nINSERT INTO \"b\" (\"y\") VALUES(2);\n"},
	} {
		var got bytes.Buffer
		if err := db.Dump(t.Context(), &got, test.options); err != nil {
			t.Fatal(err)
		}
		if got.String() != test.want {
			t.Errorf("%+v:\n%s\nwant\n%s", test.options, got.String(), test.want)
		}
	}
	query(t, db, "CREATE VIRTUAL TABLE f USING fts5(z)")
	if err := db.Dump(t.Context(), new(bytes.Buffer), DumpOptions{}); !errors.Is(err, ErrVirtualTable) {
		t.Errorf("virtual table: got %v", err)
	}
}
