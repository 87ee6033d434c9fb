package d1

import (
	"slices"
	"testing"
)

func TestMatchFiles(t *testing.T) {
	files := helmMigrations(t)
	for _, k := range []int{0, 1, 12, 14, 16} {
		s, err := Replay(t.Context(), files[:k])
		if err != nil {
			t.Fatal(err)
		}
		m, err := MatchFiles(t.Context(), s, files)
		if err != nil || m.Applied != k {
			t.Errorf("%d files: %+v, %v", k, m, err)
		}
	}
	db := open(t)
	for _, f := range files[:10] {
		query(t, db, f.SQL)
	}
	query(t, db, "ALTER TABLE customers ADD COLUMN odd TEXT; CREATE TABLE left_out(a)")
	s, err := db.Schema(t.Context(), "left_out")
	if err != nil {
		t.Fatal(err)
	}
	m, err := MatchFiles(t.Context(), s, files)
	if err != nil || m.Applied != -1 || m.Nearest != 10 || !slices.Equal(m.Differences, []string{"unexpected column customers.odd"}) {
		t.Errorf("%+v, %v", m, err)
	}
}

// Schemas that mean the same are equal, however they came about.
func TestSchemaIsAboutMeaning(t *testing.T) {
	same := func(a, b string) []string {
		t.Helper()
		one, err := SchemaOf(t.Context(), objectsOf(t, a))
		if err != nil {
			t.Fatal(err)
		}
		two, err := SchemaOf(t.Context(), objectsOf(t, b))
		if err != nil {
			t.Fatal(err)
		}
		if (one.Fingerprint() == two.Fingerprint()) != (len(Compare(one, two)) == 0) {
			t.Errorf("fingerprint and comparison disagree on %q and %q", a, b)
		}
		return Compare(one, two)
	}
	for _, test := range [][2]string{
		{"CREATE TABLE t (a TEXT, b INT DEFAULT 1, UNIQUE (a))", "create table if not exists \"t\"(\n a text, -- a comment\n [b] INT default 1,\nunique(`a`)\n);"},
		{"CREATE TABLE t (a TEXT, b INT NOT NULL DEFAULT 0)", "CREATE TABLE t (a TEXT); ALTER TABLE t ADD COLUMN b INT NOT NULL DEFAULT 0"},
		{"CREATE TABLE t (a, UNIQUE (a)); ALTER TABLE t ADD COLUMN b", "CREATE TABLE t (a, b, UNIQUE (a))"},
		{"CREATE TABLE t (b)", "CREATE TABLE t (a); ALTER TABLE t RENAME COLUMN a TO b"},
		{"CREATE TABLE u (a CHECK (a<>1.5e-3 AND a||'x' >= 'y'))", "CREATE TABLE t (a CHECK (a <> 1.5e-3 AND a || 'x'>='y')); ALTER TABLE t RENAME TO u"},
		{"CREATE TABLE t (a, b); CREATE INDEX i ON t (a) WHERE b > 1; CREATE VIEW v AS SELECT a FROM t", "CREATE TABLE t (a, b); CREATE VIEW v AS SELECT  a  FROM T; CREATE INDEX IF NOT EXISTS i ON t(a) where b>1"},
	} {
		if d := same(test[0], test[1]); len(d) > 0 {
			t.Errorf("%q and %q differ: %q", test[0], test[1], d)
		}
	}
	for _, test := range [][3]string{
		{"CREATE TABLE t (a)", "CREATE TABLE t (a, b)", "unexpected column t.b"},
		{"CREATE TABLE t (a, b)", "CREATE TABLE t (a)", "missing column t.b"},
		{"CREATE TABLE t (a)", "CREATE TABLE u (a)", "missing table t"},
		{"CREATE TABLE t (a TEXT)", "CREATE TABLE t (a INT)", "column t.a is (a int), expected (a text)"},
		{"CREATE TABLE t (a)", "CREATE TABLE t (a CHECK (a > 'A'))", "column t.a is (a check (a > 'A')), expected (a)"},
		{"CREATE TABLE t (a CHECK (a > 'A'))", "CREATE TABLE t (a CHECK (a > 'a'))", "column t.a is (a check (a > 'a')), expected (a check (a > 'A'))"},
		{"CREATE TABLE t (a); CREATE INDEX i ON t (a)", "CREATE TABLE t (a); CREATE UNIQUE INDEX i ON t (a)", "index i is (create unique index i on t (a)), expected (create index i on t (a))"},
		{"CREATE TABLE t (a PRIMARY KEY)", "CREATE TABLE t (a PRIMARY KEY) WITHOUT ROWID", "table t is (without rowid), expected ()"},
	} {
		if d := same(test[0], test[1]); !slices.Contains(d, test[2]) {
			t.Errorf("%q and %q: %q, want %q", test[0], test[1], d, test[2])
		}
	}
}
