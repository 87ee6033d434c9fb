package d1

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Object is one row of a database's catalogue, sqlite_schema.
type Object struct {
	Type  string // table, index, view or trigger
	Name  string
	Table string // the table that an index or trigger belongs to; Name for tables and views
	SQL   string // the statement that made it; "" for an index that a constraint made
}

// Build makes a database in memory that has a schema and no rows. The objects come in the order of their rowids in
// sqlite_schema; what SQLite and D1 keep for themselves is skipped. The caller closes the database.
func Build(ctx context.Context, objects []Object) (*DB, error) {
	db, err := Open("")
	if err != nil {
		return nil, err
	}
	if err := db.exclusive(ctx, func() error { return db.build(objects, func(Object) bool { return true }) }); err != nil {
		db.Close()
		return nil, fmt.Errorf("building a copy of the schema: %w", err)
	}
	return db, nil
}

// BuildTables makes the tables of a catalogue, virtual ones too, in a database that is empty. What belongs to them comes
// with BuildRest, when the rows are there: triggers must not see them, and indexes are faster made at the end.
func (db *DB) BuildTables(ctx context.Context, objects []Object) error {
	return db.exclusive(ctx, func() error {
		if err := db.own("PRAGMA foreign_keys=OFF"); err != nil {
			return err
		}
		return db.build(objects, func(o Object) bool { return o.Type == "table" })
	})
}

// BuildRest makes indexes, views and triggers.
func (db *DB) BuildRest(ctx context.Context, objects []Object) error {
	return db.exclusive(ctx, func() error {
		for _, kind := range []string{"index", "view", "trigger"} {
			if err := db.build(objects, func(o Object) bool { return o.Type == kind }); err != nil {
				return err
			}
		}
		return nil
	})
}

// build makes the objects for which want is true.
func (db *DB) build(objects []Object, want func(Object) bool) error {
	for _, o := range objects {
		if o.SQL == "" || internalName(o.Name) || !want(o) {
			continue
		}
		if err := db.own(o.SQL); err != nil && !isShadow(err) {
			return fmt.Errorf("%s %s: %w", o.Type, o.Name, err)
		}
	}
	return nil
}

// isShadow says whether a table was refused because a virtual table has made it already, for its own use: the catalogue
// lists both.
func isShadow(err error) bool {
	return strings.Contains(err.Error(), "already exists") || strings.Contains(err.Error(), "reserved for internal use")
}

// internalName says whether a name is SQLite's or D1's own.
func internalName(name string) bool {
	return len(name) >= 7 && strings.EqualFold(name[:7], "sqlite_") || reserved(name)
}

// Schema is what a catalogue says, in a form that can be compared: two databases whose tables, columns, constraints,
// indexes, views and triggers mean the same have equal schemas, however the statements that made them were written and
// in whatever order they ran. It is not changed once it was read.
type Schema struct {
	tables []*tableInfo
	items  map[string]item
}

// item is one thing that a schema has: a column, a constraint, an index.
type item struct {
	label string // for people: "column customers.email"
	text  string // its definition, normalised
}

// tableInfo is one table, as the rehearsal needs to know it.
type tableInfo struct {
	name    string
	module  string // of a virtual table
	sql     string
	columns []column
	keys    []foreignKey
	uniques []unique // UNIQUE and PRIMARY KEY constraints, unique indexes; not a rowid's own
	checks  []string // normalised expressions
	rowid   bool     // it has one
	view    bool
	broken  string // why a view cannot be read; "" when it can
}

type column struct {
	name, kind, def string // def is the default expression
	hasDefault      bool
	notNull         bool
	pk              int  // place in the primary key, from 1
	generated       bool // it has no value of its own
}

type foreignKey struct {
	columns, parents   []string // parents is empty when the parent's primary key is meant
	table              string
	onUpdate, onDelete string // such as CASCADE
}

type unique struct {
	index      string // name
	columns    []string
	collations []string // one for each column
	where      string   // of a partial index, normalised; columns that are expressions are ""
}

func (u unique) key() string {
	return lower(strings.Join(u.columns, ",") + "|" + strings.Join(u.collations, ",") + "|" + u.where)
}

func (t *tableInfo) column(name string) *column {
	for i := range t.columns {
		if strings.EqualFold(t.columns[i].name, name) {
			return &t.columns[i]
		}
	}
	return nil
}

// Schema reads the schema of the database. Tables named in leaveOut, with everything that belongs to them, and what
// SQLite and D1 keep for themselves are no part of it.
func (db *DB) Schema(ctx context.Context, leaveOut ...string) (s *Schema, err error) {
	err = db.exclusive(ctx, func() error {
		s, err = db.schema(leaveOut)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	return s, nil
}

// SchemaOf is the schema that a catalogue describes; see DB.Schema.
func SchemaOf(ctx context.Context, objects []Object, leaveOut ...string) (*Schema, error) {
	db, err := Build(ctx, objects)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	return db.Schema(ctx, leaveOut...)
}

// Objects reads the catalogue of the database.
func (db *DB) Objects(ctx context.Context) (list []Object, err error) {
	err = db.exclusive(ctx, func() error {
		return db.each("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY rowid", func(r []any) error {
			list = append(list, Object{r[0].(string), r[1].(string), r[2].(string), r[3].(string)})
			return nil
		})
	})
	return list, err
}

func (db *DB) schema(leaveOut []string) (*Schema, error) {
	s := &Schema{items: map[string]item{}}
	skip := map[string]bool{}
	for _, name := range leaveOut {
		skip[lower(name)] = true
	}
	tables, err := db.tables("")
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		if !skip[lower(t.name)] {
			s.tables = append(s.tables, t)
			s.addTable(t)
		}
	}
	err = db.each("SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE type <> 'table' AND sql NOT NULL", func(r []any) error {
		kind, name, on, sql := r[0].(string), r[1].(string), r[2].(string), r[3].(string)
		if !internalName(name) && !skip[lower(on)] {
			s.add(kind, name, normalise(sql))
		}
		return nil
	})
	return s, err
}

func (s *Schema) add(kind, name, text string) {
	label := kind + " " + name
	s.items[lower(label)] = item{label, text}
}

// addTable takes a table apart: what an ALTER TABLE has added stands elsewhere in the statement than what was there from
// the beginning, and means the same.
func (s *Schema) addTable(t *tableInfo) {
	if t.view {
		return // its statement says it all
	}
	if t.module != "" {
		s.add("table", t.name, normalise(t.sql))
		return
	}
	parts, suffix := definitions(t.sql)
	s.add("table", t.name, suffix)
	for i, p := range parts {
		text := normalise(p)
		if isConstraint(p) || i >= len(t.columns) {
			s.add("constraint", t.name+" "+text, text)
			continue
		}
		s.add("column", t.name+"."+t.columns[i].name, text)
	}
	if len(parts) == 0 { // CREATE TABLE … AS SELECT
		for _, c := range t.columns {
			s.add("column", t.name+"."+c.name, lower(c.name+" "+c.kind))
		}
	}
}

// Fingerprint identifies the schema: equal fingerprints are equal schemas, on every machine.
func (s *Schema) Fingerprint() string {
	h := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(s.items)) {
		fmt.Fprintf(h, "%q %q\n", key, s.items[key].text)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// names says whether a table, view or column has that name.
func (s *Schema) names(name string) bool {
	return slices.ContainsFunc(s.tables, func(t *tableInfo) bool {
		return strings.EqualFold(t.name, name) || t.column(name) != nil
	})
}

// Empty says whether there is nothing in the schema.
func (s *Schema) Empty() bool { return len(s.items) == 0 }

// Compare says how a schema differs from the one that was expected, one line each, sorted; nil when they are equal.
func Compare(expected, found *Schema) []string {
	var out []string
	gone := map[string]bool{} // tables of which only the table itself is told
	for _, side := range []struct {
		of, in *Schema
		word   string
	}{{expected, found, "missing"}, {found, expected, "unexpected"}} {
		for key, it := range side.of.items {
			if _, ok := side.in.items[key]; !ok && strings.HasPrefix(key, "table ") {
				gone[strings.TrimPrefix(key, "table ")] = true
				out = append(out, side.word+" "+it.label)
			}
		}
		for key, it := range side.of.items {
			if _, ok := side.in.items[key]; ok || strings.HasPrefix(key, "table ") || gone[owner(key)] {
				continue
			}
			out = append(out, side.word+" "+it.label)
		}
	}
	for key, it := range expected.items {
		if other, ok := found.items[key]; ok && other.text != it.text {
			out = append(out, fmt.Sprintf("%s is (%s), expected (%s)", it.label, other.text, it.text))
		}
	}
	slices.Sort(out)
	return out
}

// owner is the table that the key of a column or constraint belongs to.
func owner(key string) string {
	if rest, ok := strings.CutPrefix(key, "column "); ok {
		name, _, _ := strings.Cut(rest, ".")
		return name
	}
	if rest, ok := strings.CutPrefix(key, "constraint "); ok {
		name, _, _ := strings.Cut(rest, " ")
		return name
	}
	return ""
}

// tables reads all tables and views, or the one of a name, "" being all. Shadow tables are parts of others.
func (db *DB) tables(only string) ([]*tableInfo, error) {
	filter := ""
	if only != "" {
		filter = " AND m.name = " + quoteText(only) + " COLLATE NOCASE"
	}
	byName := map[string]*tableInfo{}
	var list []*tableInfo
	err := db.each(`SELECT m.name, m.sql, m.type, l.wr FROM sqlite_schema m JOIN pragma_table_list(m.name) l
		WHERE m.type IN ('table', 'view') AND l.schema = 'main' AND l.type <> 'shadow'`+filter+` ORDER BY m.rowid`, func(r []any) error {
		t := &tableInfo{name: r[0].(string), sql: r[1].(string), view: r[2] == "view", rowid: r[3] == int64(0)}
		if internalName(t.name) {
			return nil
		}
		if p := pieces(t.sql); len(p) > 4 && p[1].is(t.sql, "virtual") {
			t.module = moduleOf(t.sql, p)
		}
		byName[t.name] = t
		list = append(list, t)
		return nil
	})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	columns := func(filter string) error {
		return db.each(`SELECT m.name, x.name, x.type, x."notnull", x.dflt_value, x.pk, x.hidden FROM sqlite_schema m, pragma_table_xinfo(m.name) x
			WHERE m.type IN ('table', 'view')`+filter+` ORDER BY x.cid`, func(r []any) error {
			t := byName[r[0].(string)]
			if t == nil || r[6] == int64(1) { // hidden columns of virtual tables
				return nil
			}
			c := column{name: r[1].(string), kind: r[2].(string), notNull: r[3] != int64(0), pk: int(r[5].(int64)), generated: r[6].(int64) > 1}
			if def, ok := r[4].(string); ok {
				c.def, c.hasDefault = def, true
			}
			t.columns = append(t.columns, c)
			return nil
		})
	}
	if err := columns(filter + " AND m.type = 'table'"); err != nil {
		return nil, err
	}
	for _, t := range list {
		if !t.view {
			continue
		}
		// A view of what is not there any more cannot be read, and the others can.
		if err := columns(" AND m.name = " + quoteText(t.name)); err != nil {
			t.columns, t.broken = nil, viewError(err)
		}
	}
	err = db.each(`SELECT m.name, k.id, k."table", k."from", k."to", k.on_update, k.on_delete FROM sqlite_schema m, pragma_foreign_key_list(m.name) k
		WHERE m.type = 'table'`+filter+` ORDER BY m.name, k.id, k.seq`, func(r []any) error {
		t := byName[r[0].(string)]
		if t == nil {
			return nil
		}
		if n := len(t.keys); n == 0 || r[1] != int64(n-1) {
			t.keys = append(t.keys, foreignKey{table: r[2].(string), onUpdate: r[5].(string), onDelete: r[6].(string)})
		}
		k := &t.keys[len(t.keys)-1]
		k.columns = append(k.columns, r[3].(string))
		if to, ok := r[4].(string); ok {
			k.parents = append(k.parents, to)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = db.each(`SELECT m.name, i.name, coalesce(x.name, ''), coalesce(s.sql, ''), coalesce(x.coll, 'BINARY') FROM sqlite_schema m, pragma_index_list(m.name) i,
		pragma_index_xinfo(i.name) x LEFT JOIN sqlite_schema s ON s.name = i.name AND s.type = 'index'
		WHERE m.type = 'table' AND i."unique" AND x.key`+filter+` ORDER BY m.name, i.seq DESC, x.seqno`, func(r []any) error {
		t, index := byName[r[0].(string)], r[1].(string)
		if t == nil {
			return nil
		}
		if n := len(t.uniques); n == 0 || t.uniques[n-1].index != index {
			t.uniques = append(t.uniques, unique{index: index, where: indexCondition(r[3].(string))})
		}
		u := &t.uniques[len(t.uniques)-1]
		u.columns = append(u.columns, r[2].(string))
		u.collations = append(u.collations, r[4].(string))
		return nil
	})
	for _, t := range list {
		t.checks = checksOf(t.sql)
	}
	return list, err
}

// viewError is what SQLite says about a view, without the library's words before it.
func viewError(err error) string {
	message, _ := describe(err, -1)
	return strings.TrimSuffix(message, ": SQLITE_ERROR")
}

// moduleOf is the module of CREATE VIRTUAL TABLE … USING module(…).
func moduleOf(sql string, list []piece) string {
	for i := range list[:len(list)-1] {
		if list[i].is(sql, "using") {
			return lower(unquote(sql[list[i+1].from:list[i+1].to]))
		}
	}
	return ""
}

// indexCondition is the normalised WHERE clause of CREATE INDEX; "" without one.
func indexCondition(sql string) string {
	depth := 0
	for _, p := range pieces(sql) {
		switch {
		case p.kind == openToken:
			depth++
		case p.kind == closeToken:
			depth--
		case depth == 0 && p.is(sql, "where"):
			return normalise(sql[p.to:])
		}
	}
	return ""
}

// checksOf are the normalised expressions of the CHECK constraints of CREATE TABLE.
func checksOf(sql string) []string {
	var out []string
	list := pieces(sql)
	for i := 0; i+1 < len(list); i++ {
		if !list[i].is(sql, "check") || list[i+1].kind != openToken {
			continue
		}
		depth, j := 0, i+1
		for ; j < len(list); j++ {
			if list[j].kind == openToken {
				depth++
			} else if list[j].kind == closeToken {
				if depth--; depth == 0 {
					break
				}
			}
		}
		if j < len(list) {
			out = append(out, normalise(sql[list[i+1].to:list[j].from]))
			i = j
		}
	}
	return out
}

// definitions cuts the parentheses of CREATE TABLE at their commas. suffix is what stands behind them, normalised.
func definitions(sql string) (parts []string, suffix string) {
	depth, from := 0, 0
	for _, p := range pieces(sql) {
		switch {
		case p.kind == openToken:
			if depth++; depth == 1 {
				from = p.to
			}
		case p.kind == closeToken:
			if depth--; depth == 0 {
				return append(parts, sql[from:p.from]), normalise(sql[p.to:])
			}
		case depth == 0 && p.is(sql, "as"):
			return nil, ""
		case depth == 1 && sql[p.from:p.to] == ",":
			parts = append(parts, sql[from:p.from])
			from = p.to
		}
	}
	return nil, ""
}

// isConstraint says whether a part of CREATE TABLE constrains the table rather than defining a column. A column of
// such a name is quoted.
func isConstraint(part string) bool {
	list := pieces(part)
	if len(list) == 0 {
		return false
	}
	for _, word := range []string{"constraint", "primary", "unique", "check", "foreign"} {
		if list[0].is(part, word) {
			return true
		}
	}
	return false
}

// normalise writes SQL so that equal meaning mostly gives equal text, which is still SQL: one blank between tokens where
// one helps, no comments, words and plain quoted names in lower case without their quotes, no IF NOT EXISTS, no final
// semicolon.
func normalise(sql string) string {
	list := pieces(sql)
	var b strings.Builder
	last := "("
	for i := 0; i < len(list); i++ {
		p := list[i]
		text := sql[p.from:p.to]
		switch {
		case p.is(sql, "if") && i+2 < len(list) && list[i+1].is(sql, "not") && list[i+2].is(sql, "exists"):
			i += 2
			continue
		case p.kind == wordToken:
			text = lower(text)
		case p.kind == quoteToken && text[0] != '\'':
			if name := unquote(text); plainName(name) {
				text = lower(name)
			} else {
				text = quoteName(name)
			}
		case p.kind == semicolonToken && i == len(list)-1:
			continue
		}
		adjacent := i > 0 && list[i-1].to == p.from
		switch {
		case last == "(" || text == ")" || text == "," || text == "." || last == ".":
		case adjacent && p.kind == otherToken && list[i-1].kind == otherToken && operators[last+text]:
		default:
			b.WriteByte(' ')
		}
		b.WriteString(text)
		last = text
	}
	return strings.TrimSpace(b.String())
}

// operators are those of more than one character, and the beginnings of longer ones.
var operators = map[string]bool{"<>": true, "<=": true, ">=": true, "!=": true, "==": true, "||": true, "<<": true, ">>": true, "->": true}

// plainName says whether a name can stand without quotes, as far as its characters go.
func plainName(name string) bool {
	for i := range len(name) {
		if !identifierByte(name[i]) || i == 0 && name[0] >= '0' && name[0] <= '9' {
			return false
		}
	}
	return name != ""
}

// lower folds the case of ASCII letters, as SQLite does with names.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
