package sim

import (
	"encoding/json"
	"testing"
)

// A plan that only looks must not be counted as having written, though D1 is read with POST.
func TestReadsOnly(t *testing.T) {
	tests := map[string]bool{
		"SELECT 1": true,
		"-- what is there\n  select * from d1_migrations;":   true,
		"/* a */ SELECT 1; EXPLAIN SELECT 2;":                true,
		"PRAGMA table_info(products)":                        true,
		"PRAGMA foreign_keys":                                true,
		"PRAGMA foreign_keys = OFF":                          false,
		"SELECT 1; DELETE FROM t":                            false,
		"CREATE TABLE IF NOT EXISTS d1_migrations(id)":       false,
		"WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x": false,
		"SELECT 'unfinished":                                 false,
		"INSERT INTO t VALUES ('select 1')":                  false,
	}
	for sql, want := range tests {
		body, _ := json.Marshal(map[string]any{"sql": sql})
		if got := readsOnly(body); got != want {
			t.Errorf("%q reads only: %v, want %v", sql, got, want)
		}
		batch, _ := json.Marshal(map[string]any{"batch": []any{map[string]any{"sql": "SELECT 1"}, map[string]any{"sql": sql}}})
		if got := readsOnly(batch); got != want {
			t.Errorf("batch with %q reads only: %v, want %v", sql, got, want)
		}
	}
	if readsOnly([]byte("nonsense")) {
		t.Error("a body that is no JSON reads only")
	}
}
