package transfer_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/d1"
)

// randomShop makes up the schema and the rows of a database. What it makes, D1 takes.
type randomShop struct {
	r      *rand.Rand
	sql    []string
	tables []randomTable
}

type randomTable struct {
	name, key string // quoted; key is a column that others may refer to, "" none
	keys      []string
}

func (g *randomShop) pick(list ...string) string { return list[g.r.IntN(len(list))] }
func (g *randomShop) chance(n int) bool          { return g.r.IntN(n) == 0 }
func (g *randomShop) add(format string, a ...any) {
	g.sql = append(g.sql, fmt.Sprintf(format, a...))
}

func quoteID(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// value is a literal of any type and shape.
func (g *randomShop) value() string {
	switch g.r.IntN(10) {
	case 0:
		return "NULL"
	case 1:
		return fmt.Sprint(int64(g.r.Uint64()))
	case 2:
		f := math.Float64frombits(g.r.Uint64())
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return "9e999"
		}
		return fmt.Sprintf("%.17e", f)
	case 3:
		return fmt.Sprintf("%d.0", g.r.IntN(1000))
	case 4:
		return "-0.0"
	case 5:
		b := make([]byte, g.r.IntN(60))
		for i := range b {
			b[i] = byte(g.r.Uint32())
		}
		return g.pick(fmt.Sprintf("X'%x'", b), fmt.Sprintf("CAST(X'%x' AS TEXT)", b))
	case 6:
		return "'" + g.pick("it''s", "a\nb\r\\n", "é\u200b😀", "\ufffd", "--", "/* ", ";", "'', (", "", "%s", ":x $y @z ?1") + "'"
	case 7:
		return fmt.Sprintf("CAST(zeroblob(%d) AS TEXT)", g.r.IntN(3))
	case 8:
		return fmt.Sprintf("replace(hex(zeroblob(%d)), '0', 'ab''')", g.r.IntN(40_000))
	}
	return fmt.Sprint(g.r.IntN(100))
}

func (g *randomShop) table(i int) {
	t := randomTable{name: quoteID(g.pick("order", "select", "a b", `q"uote`, "it's", "T", "ünï", "rowid", "semi;colon", "x--y") + fmt.Sprint(i))}
	var columns, names []string
	column := func(name, definition string) {
		columns = append(columns, quoteID(name)+" "+definition)
		names = append(names, quoteID(name))
	}
	suffix, constraint := "", ""
	kind := g.r.IntN(6)
	switch kind {
	case 0:
		column("id", "INTEGER PRIMARY KEY"+g.pick("", " AUTOINCREMENT"))
	case 1:
		column("code", "TEXT NOT NULL PRIMARY KEY"+g.pick("", " COLLATE NOCASE"))
		suffix = g.pick("", " WITHOUT ROWID")
	case 2:
		column("code", "INT NOT NULL")
		column("part", "TEXT NOT NULL")
		constraint, suffix = ", PRIMARY KEY (part"+g.pick("", " DESC")+", code)", g.pick("", " WITHOUT ROWID")
	case 3:
		column("code", "TEXT") // an index makes it unique
	case 4:
		column("id", "INTEGER PRIMARY KEY DESC")
	}
	for c := range g.r.IntN(5) {
		column(g.pick("c", "rowid", "oid", "group", "Ä", "c,")+fmt.Sprint(c), g.pick("", "TEXT", "INTEGER", "REAL", "NUMERIC", "BLOB", "VARCHAR(10) COLLATE NOCASE", "DATE DEFAULT CURRENT_TIMESTAMP", "DEFAULT 'x''y;'", "CHECK (1) -- ,"+"\n"))
	}
	if len(names) == 0 || g.chance(3) {
		column(g.pick("rowid", "_rowid_", "plain"), "")
	}
	parent := -1
	if len(g.tables) > 0 && g.chance(2) {
		parent = g.r.IntN(len(g.tables))
		if p := g.tables[parent]; p.key == "" {
			parent = -1
		} else {
			column("parent", fmt.Sprintf("REFERENCES %s(%s)", p.name, p.key)+g.pick("", " ON DELETE CASCADE", " DEFERRABLE INITIALLY DEFERRED"))
		}
	}
	self := kind == 0 && g.chance(2)
	if self {
		column("above", "REFERENCES "+t.name+"(id)")
	}
	stored := slices.Clone(names)
	if g.chance(3) {
		columns = append(columns, "made AS ("+names[0]+" || 'x') "+g.pick("", "STORED", "VIRTUAL"))
	}
	g.add("CREATE TABLE %s (%s%s)%s", t.name, strings.Join(columns, ", "), constraint, suffix)
	if kind == 3 {
		g.add("CREATE UNIQUE INDEX %s ON %s (code)", quoteID(fmt.Sprintf("codes %d", i)), t.name)
	}
	for n := range g.r.IntN(25) {
		values := make([]string, len(stored))
		for j, name := range stored {
			switch values[j] = g.value(); {
			case name == `"id"` && kind == 0:
				values[j] = fmt.Sprint(n*7 - 20)
				t.keys = append(t.keys, values[j])
			case name == `"id"`:
				values[j] = g.pick("NULL", fmt.Sprint(n+1))
			case name == `"code"` && kind == 2:
				values[j] = fmt.Sprint(n)
			case name == `"code"`:
				values[j] = fmt.Sprintf("'k%d'", n)
				t.keys = append(t.keys, values[j])
			case name == `"part"`:
				values[j] = "'p" + g.pick("", "q", "''") + "'"
			case name == `"parent"` && parent >= 0:
				values[j] = g.pick(append(slices.Clone(g.tables[parent].keys), "NULL")...)
			case name == `"above"` && self:
				values[j] = g.pick("NULL", fmt.Sprint(n*7-20))
			}
		}
		g.add("INSERT INTO %s (%s) VALUES (%s)", t.name, strings.Join(stored, ", "), strings.Join(values, ", "))
	}
	switch kind {
	case 0:
		t.key = "id"
	case 1, 3:
		t.key = "code"
	}
	if g.chance(2) && parent < 0 && !self && t.key == "" {
		g.add("DELETE FROM %s WHERE %s IS NULL", t.name, stored[len(stored)-1]) // gaps between the rowids
	}
	for j := range g.r.IntN(3) {
		c := stored[g.r.IntN(len(stored))]
		g.add("CREATE INDEX %s ON %s (%s) %s", quoteID(fmt.Sprintf("i%d %d", i, j)), t.name,
			g.pick(c, c+" DESC", "lower("+c+")", c+" COLLATE NOCASE"), g.pick("", "WHERE "+c+" IS NOT NULL"))
	}
	if g.chance(3) {
		g.add("CREATE VIEW %s AS SELECT * FROM %s", quoteID(fmt.Sprintf("v%d", i)), t.name)
	}
	if g.chance(3) {
		g.add("CREATE TRIGGER %s AFTER INSERT ON %s BEGIN DELETE FROM %s WHERE 1; END", quoteID(fmt.Sprintf("tr%d", i)), t.name, t.name)
	}
	if kind == 0 && g.chance(3) && stored[len(stored)-1] != `"rowid"` { // a name that fts5 keeps for itself
		g.add("CREATE VIRTUAL TABLE f%d USING fts5(%s, content=%s, content_rowid='id')", i, stored[len(stored)-1], t.name)
		g.add("INSERT INTO f%d(f%d) VALUES ('rebuild')", i, i)
	}
	if g.chance(5) {
		g.add("CREATE VIRTUAL TABLE own%d USING fts5(a, b UNINDEXED, prefix='2')", i)
		g.add("INSERT INTO own%d(rowid, a, b) VALUES (%d, 'word', %s)", i, g.r.IntN(1000), g.value())
	}
	g.tables = append(g.tables, t)
}

// everything is the catalogue of a database and all its rows, typed, with their rowids.
func everything(t *testing.T, db *d1.DB) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, r := range query(t, db, "SELECT type, name, sql FROM sqlite_schema WHERE sql NOT NULL AND name NOT GLOB 'sqlite_*'") {
		out["catalogue"] = append(out["catalogue"], fmt.Sprint(r...))
	}
	for _, r := range query(t, db, "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual') AND (name NOT GLOB 'sqlite_*' OR name = 'sqlite_sequence')") {
		name, columns := r[0].(string), []string{"*"}
		hidden := map[string]bool{}
		for _, c := range query(t, db, "SELECT name FROM pragma_table_info(?)", name) {
			hidden[strings.ToLower(c[0].(string))] = true
		}
		for _, rowid := range []string{"rowid", "_rowid_", "oid"} {
			if r[2] == int64(0) && name != "sqlite_sequence" && !hidden[rowid] {
				columns = append(columns, rowid)
				break
			}
		}
		for _, row := range query(t, db, "SELECT "+strings.Join(columns, ", ")+" FROM "+quoteID(name)) {
			for i, v := range row {
				if f, ok := v.(float64); ok {
					row[i] = math.Float64bits(f) // -0 prints as 0
				}
			}
			out[name] = append(out[name], fmt.Sprintf("%#v", row))
		}
	}
	for _, list := range out {
		slices.Sort(list)
	}
	return out
}

// Databases of any shape come through a bootstrap and an export as they were.
func TestRandomThereAndBack(t *testing.T) {
	for seed := range uint64(12) {
		g := &randomShop{r: rand.New(rand.NewPCG(seed, 7))}
		for i := range 1 + g.r.IntN(5) {
			g.table(i)
		}
		script := strings.Join(g.sql, ";\n")
		path := file(t, script)
		source, err := d1.OpenReadOnly(path)
		if err != nil {
			t.Fatal(err)
		}
		want := everything(t, source)
		source.Close()
		s := newStage(t)
		if _, err := s.bootstrap(dump(t, path)); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, script)
		}
		exported, err := s.export()
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, script)
		}
		got := everything(t, load(t, exported))
		for name := range want {
			if !reflect.DeepEqual(got[name], want[name]) {
				t.Fatalf("seed %d: %s\n%s\nwant\n%s\n%s", seed, name, strings.Join(got[name], "\n"), strings.Join(want[name], "\n"), script)
			}
		}
	}
}
