package cloudflare

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
)

var readable = []string{
	"SELECT 1", " select * from t; ", "SELECT 1;;  -- end", "-- first\nSELECT 1", "/* a; b */ SELECT /* c */ 1 -- ; d",
	"SELECT ';'", `SELECT "a;b" FROM t`, "SELECT [a;b] FROM t", "SELECT `a;b` FROM t", "SELECT 'it''s; fine'", "SELECT x'ab'", "SELECT a -> '$.b' FROM t",
	"SELECT * FROM t WHERE a = ? AND b = ?2", "PRAGMA table_list", "pragma TABLE_INFO(t);", "PRAGMA index_list('t')", "PRAGMA foreign_key_check", "SELECT 1 /* never closed",
	"SELECT replace(a, 'x', 'y') FROM t", "SELECT é FROM t",
}

var unreadable = []string{
	"", "  ", ";", "-- only a comment", "/* never closed SELECT 1", "DELETE FROM t", "INSERT INTO t VALUES (1)", "UPDATE t SET a = 1", "DROP TABLE t",
	"SELECT 1; DELETE FROM t", "SELECT 1; SELECT 2", "; DELETE FROM t", "WITH x AS (SELECT 1) DELETE FROM t", "EXPLAIN SELECT 1", "VALUES (1)", "REPLACE INTO t VALUES (1)",
	"PRAGMA foreign_keys=OFF", "PRAGMA foreign_keys", "PRAGMA user_version = 3", "PRAGMA table_info(t); DELETE FROM t", "PRAGMA optimize", "PRAGMA table_info", "PRAGMA",
	"PRAGMA table_list = 1", "PRAGMA main.table_info(t)", "ATTACH 'x' AS y", "VACUUM", "BEGIN", "SELECT 'open", "SELECT \"open", "SELECT [open",
	"SELECT 1 -- a\n; DELETE FROM t", "SELECT /* */ 1; /* */ DROP TABLE t", "\ufeffSELECT 1", "\u00a0SELECT 1", "SELECT 1\x00; DELETE FROM t", "/*0\x00*/SELECT", "SELECT '\x00'",
	"SELECT $a('); DELETE FROM t --')", "SELECT @a('); DELETE FROM t --')", "SELECT :a('); DELETE FROM t --')", "SELECT a$b FROM t", "selects", "SELECT1", "SELECT 0;/*",
}

func TestD1ReadOnlyReads(t *testing.T) {
	w := newWorld(t, script(ok(`[{"success":true,"results":[]}]`)))
	for _, sql := range readable {
		if _, err := w.D1Read(context.Background(), "db", sql); err != nil {
			t.Errorf("%q: %v", sql, err)
		}
	}
	sent := len(w.requests())
	for _, sql := range unreadable {
		if sql == "PRAGMA table_info" {
			continue // harmless: it lists nothing
		}
		_, err := w.D1Read(context.Background(), "db", sql)
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%q: %v", sql, err)
		}
	}
	if n := len(w.requests()) - sent; n != 0 {
		t.Errorf("%d were sent", n)
	}
}

// FuzzOnlyReads asks the real SQLite: what we let pass must be one statement that cannot write.
func FuzzOnlyReads(f *testing.F) {
	for _, sql := range append(readable, unreadable...) {
		f.Add(sql)
	}
	db, err := sqlite3.Open(":memory:")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { db.Close() })
	if err := db.Exec(`CREATE TABLE t (a, b, "a;b", é)`); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		if onlyReads(sql) != nil {
			return
		}
		stmt, tail, err := db.Prepare(sql)
		if err != nil {
			return // nothing will run
		}
		defer stmt.Close()
		if stmt == nil {
			t.Fatalf("%q holds no statement", sql)
		}
		if !stmt.ReadOnly() {
			t.Errorf("%q writes", sql)
		}
		for tail != "" {
			var next *sqlite3.Stmt
			next, tail, err = db.Prepare(tail)
			if err != nil || next != nil {
				t.Fatalf("%q has more than one statement (%v)", sql, err)
			}
		}
	})
}

func TestD1Exec(t *testing.T) {
	body := `[{"success":true,"results":[],"meta":{"served_by":"v3-prod","served_by_region":"WNAM","served_by_primary":true,"duration":0.25,` +
		`"changes":2,"last_row_id":7,"changed_db":true,"size_after":20480,"rows_read":3,"rows_written":4.0}},{"success":true,"results":[{"a":1},{"a":null}]},{"success":true}]`
	w := newWorld(t, script(ok(body)))
	results, err := w.D1Exec(context.Background(), "db", "INSERT INTO t VALUES (?); SELECT a FROM t; x", 1, nil, "é<")
	if err != nil || len(results) != 3 {
		t.Fatalf("%v, %v", results, err)
	}
	want := D1Meta{Changes: 2, LastRowID: 7, RowsRead: 3, RowsWritten: 4, Duration: 250 * time.Microsecond, ChangedDB: true, SizeAfter: 20480, ServedBy: "v3-prod", ServedRegion: "WNAM", Primary: true}
	if results[0].Meta != want {
		t.Errorf("meta %+v", results[0].Meta)
	}
	var rows []struct{ A *int }
	if err := results[1].Decode(&rows); err != nil || len(rows) != 2 || *rows[0].A != 1 || rows[1].A != nil {
		t.Errorf("rows %+v, %v", rows, err)
	}
	if err := results[2].Decode(&rows); err != nil || len(rows) != 0 {
		t.Errorf("rows of a statement without any: %+v, %v", rows, err)
	}
	var sent struct {
		SQL    string
		Params []any
	}
	if err := json.Unmarshal([]byte(w.requests()[0].Body), &sent); err != nil || len(sent.Params) != 3 || sent.Params[1] != nil || sent.Params[2] != "é<" {
		t.Errorf("sent %s", w.requests()[0].Body)
	}
	if _, err := w.D1Exec(context.Background(), "db", "x"); err != nil || strings.Contains(w.requests()[1].Body, "params") {
		t.Errorf("without parameters %s was sent (%v)", w.requests()[1].Body, err)
	}
	if _, err := w.D1Exec(context.Background(), "db", "SELECT '\xff'"); !errors.Is(err, ErrArgument) || len(w.requests()) != 2 {
		t.Errorf("SQL that JSON cannot carry: %v", err)
	}
}

func TestD1ItemFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		result    string
		statement int
		text      string
	}{
		"false":            {`[{"success":true},{"success":true},{"success":false,"error":"no such table: nope"}]`, 3, "statement 3: no such table: nope"},
		"without a reason": {`[{"success":false}]`, 1, "not why"},
		"missing":          {`[{"results":[]}]`, 1, "not why"},
		"not a bool":       {`[{"success":"yes"}]`, 0, "success"},
		"no statement":     {`[]`, 0, "no statement"},
		"null":             {`null`, 0, ""},
		"an object":        {`{}`, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, script(ok(tc.result)))
			results, err := w.D1Exec(context.Background(), "db", "DELETE FROM t")
			e := asError(t, err)
			if results != nil || e.Statement != tc.statement || e.Outcome != Unknown || !strings.Contains(e.Error(), tc.text) || e.Op != "D1Exec" || len(w.requests()) != 1 {
				t.Errorf("D1Exec: %v, %+v", results, e)
			}
			_, err = w.D1Read(context.Background(), "db", "SELECT 1")
			if e := asError(t, err); e.Statement != tc.statement || errors.Is(err, ErrUnknownOutcome) {
				t.Errorf("D1Read: %+v", e)
			}
		})
	}
}

func TestD1TimeTravel(t *testing.T) {
	w := newWorld(t, script(ok(`{"bookmark":"b1","previous_bookmark":"b0"}`)))
	ctx := context.Background()
	at := time.Date(2026, 11, 23, 13, 43, 55, 7e6, time.FixedZone("", 3600))
	if b, err := w.D1Bookmark(ctx, "db", at); err != nil || b != "b1" || w.requests()[0].Query != "timestamp=2026-11-23T12%3A43%3A55.007Z" {
		t.Errorf("%q, %v, asked %s", b, err, w.requests()[0].Query)
	}
	if _, err := w.D1Bookmark(ctx, "db", time.Time{}); err != nil || w.requests()[1].Query != "" {
		t.Errorf("%v, asked %s", err, w.requests()[1].Query)
	}
	if r, err := w.D1Restore(ctx, "db", "b1"); err != nil || r != (D1Restored{"b1", "b0"}) || w.requests()[2].Query != "bookmark=b1" || w.requests()[2].Body != "" {
		t.Errorf("%+v, %v, sent %+v", r, err, w.requests()[2])
	}
	if _, err := w.D1Restore(ctx, "db", ""); !errors.Is(err, ErrArgument) || len(w.requests()) != 3 {
		t.Errorf("a restore to nowhere: %v", err)
	}
}
