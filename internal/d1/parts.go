package d1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ncruces/go-sqlite3"
)

// Parts writes a whole database as SQL files that D1 takes, in the order in which they have to be run. Unlike a Dump, which
// is D1's own export, it keeps every value exactly, writes many rows with one statement and none over D1's limits, and
// knows virtual tables.
//
//	000_schema.sql        all ordinary tables, and the unique indexes that references need
//	001_customers.sql …   the rows of those that have some: a table after those that it refers to
//	099_finish.sql        sequences, indexes, views, virtual tables, triggers, the ledger
//
// Each part is one transaction wherever it is run, and its references hold at its end. It ends by noting itself in the
// table ProgressTable, which the last part drops: so a database knows how far it came, whatever died meanwhile, and a part
// that was run cannot run again.
type Parts struct {
	// Ledger are statements that seed the ledger of migrations; "" leaves it to what the database has.
	Ledger string
	// Shared are tables that the target may have already: they are made only where they are missing. wrangler makes its
	// ledger when it only lists migrations.
	Shared []string
	// Without are tables that are left out, with their indexes and triggers.
	Without []string
	// Plain leaves the notes out: for files that are put together to one.
	Plain bool
	// MaxBytes is where a table's rows go on in another part; 0 means 64 MiB.
	MaxBytes int64
	// MaxInsert is how long a statement with rows may be, in bytes; 0 means 90,000, a little less than D1 takes.
	MaxInsert int
	// Create opens a part to be written; it is closed before the next one is opened.
	Create func(name string) (io.WriteCloser, error)
	// Progress, if set, is called every few thousand rows with the number of rows written so far.
	Progress func(rows int64)
}

// Part is one file.
type Part struct {
	Name string `json:"name"`
	// Sum identifies what the part does; ProgressTable has it beside the name. MD5 is that of the whole file.
	Sum   string `json:"-"`
	MD5   string `json:"md5"`
	Bytes int64  `json:"bytes"`
	Rows  int64  `json:"rows"`
}

// ProgressTable has a row (part, sum) for each part that was run. stagingTable builds values that are too long for one
// statement.
const (
	ProgressTable = "shopfleet_bootstrap"
	stagingTable  = "shopfleet_chunks"
)

const (
	maxInsert    = 90_000    // bytes of a statement; D1 takes MaxStatementBytes
	shortValue   = 500       // bytes of a literal up to which it is never built in pieces
	chunkBytes   = 40_000    // of a piece
	maxDocValue  = 2_000_000 // what Cloudflare promises for a value and a row (D1 limits)
	manyRowsSeen = 4096      // between two calls of Progress
)

// Write writes the parts and describes them. The database is read in one transaction. When it fails, what has been
// written is of no use.
func (p Parts) Write(ctx context.Context, db *DB) ([]Part, error) {
	w := &partWriter{Parts: p, db: db, ctx: ctx}
	if w.MaxBytes == 0 {
		w.MaxBytes = 64 << 20
	}
	if w.MaxInsert == 0 {
		w.MaxInsert = maxInsert
	}
	err := db.exclusive(ctx, func() error {
		// A table of as many columns as D1 takes is read together with its rowid.
		if limit := db.conn.Limit(sqlite3.LIMIT_COLUMN, -1); limit <= MaxColumns {
			defer db.conn.Limit(sqlite3.LIMIT_COLUMN, db.conn.Limit(sqlite3.LIMIT_COLUMN, 2*MaxColumns))
		}
		if err := db.own("BEGIN"); err != nil {
			return err
		}
		return errors.Join(w.all(), db.rollback())
	})
	if err != nil {
		if w.out != nil {
			w.out.Close() // the error that came first is the one to tell
		}
		return nil, fmt.Errorf("writing the database as SQL: %w", interrupted(ctx, err))
	}
	return w.list, nil
}

// partWriter is Write under way.
type partWriter struct {
	Parts
	ctx  context.Context
	db   *DB
	list []Part
	rows int64
	made map[string]bool // unique indexes that the first part has

	out     io.WriteCloser
	buf     *bufio.Writer
	md5     interface{ Sum([]byte) []byte }
	written int64
	part    Part
}

func (w *partWriter) all() error {
	tables, err := w.db.tables("")
	if err != nil {
		return err
	}
	tables = slices.DeleteFunc(tables, func(t *tableInfo) bool { return named(t.name, w.Without) })
	var ordinary []*tableInfo
	for _, t := range tables {
		if !t.view && t.module == "" {
			ordinary = append(ordinary, t)
		}
	}
	groups := dependencyOrder(ordinary)
	if err := w.schema(groups); err != nil {
		return err
	}
	for _, group := range groups {
		if err := w.group(group); err != nil {
			return err
		}
	}
	return w.finish(tables)
}

func (w *partWriter) schema(groups [][]*tableInfo) error {
	if err := w.begin("schema"); err != nil {
		return err
	}
	if !w.Plain {
		w.line("CREATE TABLE IF NOT EXISTS " + ProgressTable + " (part TEXT PRIMARY KEY, sum TEXT NOT NULL) WITHOUT ROWID")
	}
	w.line("CREATE TABLE IF NOT EXISTS " + stagingTable + " (id INTEGER PRIMARY KEY, data BLOB)")
	byName := map[string]*tableInfo{}
	for _, group := range groups {
		for _, t := range group {
			byName[lower(t.name)] = t
			sql := t.sql
			if named(t.name, w.Shared) {
				sql = onlyIfMissing(sql)
			}
			w.object(sql)
		}
	}
	// A reference to columns that only an index makes unique is an error until the index is there.
	w.made = map[string]bool{}
	for _, group := range groups {
		for _, t := range group {
			for _, k := range t.keys {
				if parent := byName[lower(k.table)]; parent != nil {
					w.needed(parent, k)
				}
			}
		}
	}
	err := w.db.each("SELECT name, sql FROM sqlite_schema WHERE sql NOT NULL AND type = 'index' ORDER BY rowid", func(r []any) error {
		if w.made[r[0].(string)] {
			w.object(r[1].(string))
		}
		return nil
	})
	return errors.Join(err, w.end())
}

// needed notes the unique indexes that are on just the columns that a reference names.
func (w *partWriter) needed(parent *tableInfo, k foreignKey) {
	for _, u := range parent.uniques {
		if u.where == "" && len(u.columns) == len(k.parents) && !slices.ContainsFunc(k.parents, func(c string) bool { return !named(c, u.columns) }) {
			w.made[u.index] = true // one that a constraint made has no statement, and is not written
		}
	}
}

// onlyIfMissing makes CREATE TABLE … IF NOT EXISTS of a statement as SQLite keeps it.
func onlyIfMissing(sql string) string {
	if rest, ok := strings.CutPrefix(sql, "CREATE TABLE "); ok {
		return "CREATE TABLE IF NOT EXISTS " + rest
	}
	return sql
}

// begin opens the next part.
func (w *partWriter) begin(what string) (err error) {
	w.part = Part{Name: fmt.Sprintf("%03d_%s.sql", len(w.list), fileWord(what))}
	if w.out, err = w.Create(w.part.Name); err != nil {
		return err
	}
	sum := md5.New()
	w.md5, w.written = sum, 0
	w.buf = bufio.NewWriterSize(io.MultiWriter(w.out, sum), 1<<16)
	w.line("PRAGMA defer_foreign_keys=TRUE")
	return nil
}

// line writes one statement. Errors of the writer stay in it until the end of the part.
func (w *partWriter) line(sql string) {
	w.buf.WriteString(sql)
	w.buf.WriteString(";\n")
	w.written += int64(len(sql)) + 2
}

// object writes a statement of the catalogue, which may end in a comment: that must not swallow the semicolon.
func (w *partWriter) object(sql string) {
	var last string
	for rest := sql; rest != ""; {
		_, n := nextToken(rest)
		last, rest = rest[:n], rest[n:]
	}
	if strings.HasPrefix(last, "--") && !strings.HasSuffix(last, "\n") {
		sql += "\n"
	}
	w.line(sql)
}

// end notes the part in the progress table and closes it.
func (w *partWriter) end() error {
	if w.Plain {
		return w.close()
	}
	if err := w.buf.Flush(); err != nil {
		return err
	}
	w.part.Sum = hex.EncodeToString(w.md5.Sum(nil))
	w.line(fmt.Sprintf("INSERT INTO %s (part, sum) VALUES (%s, %s)", ProgressTable, quoteText(w.part.Name), quoteText(w.part.Sum)))
	return w.close()
}

func (w *partWriter) close() error {
	err := w.buf.Flush()
	out := w.out
	w.out = nil
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	w.part.MD5, w.part.Bytes = hex.EncodeToString(w.md5.Sum(nil)), w.written
	w.list = append(w.list, w.part)
	return nil
}

// fileWord makes a word for a file's name of a table's.
func fileWord(name string) string {
	word := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, name)
	return word[:min(len(word), 60)]
}

// group writes the rows of tables that refer to one another, or of one table. What refers in a circle, or to itself, has
// to be in one part: its references only hold when all of it is there.
func (w *partWriter) group(tables []*tableInfo) error {
	tables = slices.Clone(tables)
	for i := len(tables) - 1; i >= 0; i-- {
		n, err := w.db.number("SELECT EXISTS (SELECT 1 FROM " + quoteName(tables[i].name) + ")")
		if err != nil {
			return err
		}
		if n == 0 {
			tables = slices.Delete(tables, i, i+1)
		}
	}
	if len(tables) == 0 {
		return nil // a part costs D1 four calls
	}
	whole := len(tables) > 1 || slices.ContainsFunc(tables[0].keys, func(k foreignKey) bool { return strings.EqualFold(k.table, tables[0].name) })
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = t.name
	}
	if err := w.begin(strings.Join(names, "-")); err != nil {
		return err
	}
	for _, t := range tables {
		if err := w.table(t, whole); err != nil {
			return err
		}
	}
	return w.end()
}

// rowSource is how the rows of a table are read and written: the columns that are stored, with the rowid where the table
// has one that no column shows.
func rowSource(t *tableInfo) (columns []string, rowid bool) {
	for _, c := range t.columns {
		if !c.generated {
			columns = append(columns, c.name)
		}
	}
	if t.rowid && !showsRowid(t) || t.module == "fts5" {
		if name := rowidName(t); name != "" {
			return append([]string{name}, columns...), true
		}
	}
	return columns, false
}

// rowidName is a name of the rowid that no column has taken; "" when all are taken.
func rowidName(t *tableInfo) string {
	for _, name := range []string{"rowid", "_rowid_", "oid"} {
		if t.column(name) == nil {
			return name
		}
	}
	return ""
}

// showsRowid says whether a column is the rowid under another name. INTEGER PRIMARY KEY DESC is not, by an old mistake that
// SQLite keeps (lang_createtable.html): it has an index of its own.
func showsRowid(t *tableInfo) bool {
	key, pks := "", 0
	for _, c := range t.columns {
		if c.pk > 0 {
			pks++
			if strings.EqualFold(c.kind, "INTEGER") {
				key = c.name
			}
		}
	}
	return pks == 1 && key != "" && !slices.ContainsFunc(t.uniques, func(u unique) bool {
		return strings.HasPrefix(u.index, "sqlite_autoindex_") && len(u.columns) == 1 && strings.EqualFold(u.columns[0], key)
	})
}

// table writes the rows of a table, many in a statement.
func (w *partWriter) table(t *tableInfo, whole bool) error {
	columns, rowid := rowSource(t)
	if len(columns) == 0 {
		return nil
	}
	quoted := make([]string, len(columns))
	for i, c := range columns {
		if quoted[i] = quoteName(c); i == 0 && rowid {
			quoted[i] = c // quoted it could be a string
		}
	}
	list := strings.Join(quoted, ", ")
	order := ""
	if name := rowidName(t); t.rowid && name != "" {
		order = " ORDER BY " + name
	}
	head := fmt.Sprintf("INSERT INTO %s (%s) VALUES\n", quoteName(t.name), list)
	var statement, row bytes.Buffer
	flush := func() {
		if statement.Len() > 0 {
			w.line(statement.String())
			statement.Reset()
		}
	}
	err := w.db.each(fmt.Sprintf("SELECT %s FROM %s%s", list, quoteName(t.name), order), func(values []any) error {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		row.Reset()
		writeRow(&row, values)
		if len(head)+row.Len() > w.MaxInsert {
			flush()
			if err := w.longRow(head, values); err != nil {
				return fmt.Errorf("table %s: %w", t.name, err)
			}
		} else {
			// D1 counts the values of a row only where a statement has several rows.
			if statement.Len() > 0 && (statement.Len()+2+row.Len() > w.MaxInsert || len(values) > MaxColumns) {
				flush()
			}
			if statement.Len() == 0 {
				statement.WriteString(head)
			} else {
				statement.WriteString(",\n")
			}
			statement.Write(row.Bytes())
		}
		w.part.Rows++
		w.rows++
		if w.Progress != nil && w.rows%manyRowsSeen == 0 {
			w.Progress(w.rows)
		}
		if !whole && w.written >= w.MaxBytes {
			flush()
			name := t.name
			if err := w.end(); err != nil {
				return err
			}
			return w.begin(name)
		}
		return nil
	})
	flush()
	return err
}

func writeRow(b *bytes.Buffer, values []any) {
	b.WriteByte('(')
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		writeExact(b, v)
	}
	b.WriteByte(')')
}

// writeExact writes a value so that SQLite reads the same one, of the same type.
func writeExact(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("NULL")
	case int64:
		b.Write(strconv.AppendInt(b.AvailableBuffer(), v, 10))
	case float64:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		switch {
		case strings.HasSuffix(text, "Inf"):
			text = strings.NewReplacer("+Inf", "9e999", "-Inf", "-9e999").Replace(text)
		case !strings.ContainsAny(text, ".e"):
			text += ".0"
		}
		b.WriteString(text)
	case []byte:
		b.WriteString("X'")
		b.Write(hex.AppendEncode(b.AvailableBuffer(), v))
		b.WriteByte('\'')
	case string:
		// SQLite's shell takes the carriage return of a line break away, inside of quotes too.
		if strings.IndexByte(v, 0) >= 0 || strings.Contains(v, "\r\n") || !utf8.ValidString(v) {
			b.WriteString("CAST(X'")
			b.Write(hex.AppendEncode(b.AvailableBuffer(), []byte(v)))
			b.WriteString("' AS TEXT)")
			return
		}
		b.WriteByte('\'')
		for {
			i := strings.IndexByte(v, '\'')
			if i < 0 {
				break
			}
			b.WriteString(v[:i+1])
			b.WriteByte('\'')
			v = v[i+1:]
		}
		b.WriteString(v)
		b.WriteByte('\'')
	}
}

// longRow writes a row that is too long for one statement: its longest values are built in pieces beside the table, whose
// constraints never see half of one.
func (w *partWriter) longRow(head string, values []any) error {
	texts := make([]string, len(values))
	total := len(head) + 2
	for i, v := range values {
		var b bytes.Buffer
		writeExact(&b, v)
		texts[i] = b.String()
		total += len(texts[i]) + 1
	}
	w.line("DELETE FROM " + stagingTable)
	for id := 1; total > w.MaxInsert; id++ {
		longest := 0
		for i := range texts {
			if len(texts[i]) > len(texts[longest]) {
				longest = i
			}
		}
		if len(texts[longest]) < shortValue {
			return fmt.Errorf("a row of %d values is longer than a statement may be", len(values))
		}
		var data []byte
		reference := fmt.Sprintf("(SELECT data FROM %s WHERE id = %d)", stagingTable, id)
		switch v := values[longest].(type) {
		case []byte:
			data = v
		case string:
			data, reference = []byte(v), "CAST("+reference+" AS TEXT)"
		}
		for at := 0; at < len(data); at += chunkBytes {
			chunk := "X'" + hex.EncodeToString(data[at:min(at+chunkBytes, len(data))]) + "'"
			if at == 0 {
				w.line(fmt.Sprintf("INSERT INTO %s (id, data) VALUES (%d, %s)", stagingTable, id, chunk))
			} else {
				w.line(fmt.Sprintf("UPDATE %s SET data = CAST(data || %s AS BLOB) WHERE id = %d", stagingTable, chunk, id))
			}
		}
		total += len(reference) - len(texts[longest])
		texts[longest] = reference
	}
	w.line(head + "(" + strings.Join(texts, ",") + ")")
	w.line("DELETE FROM " + stagingTable)
	return nil
}

// finish writes everything that comes after the rows.
func (w *partWriter) finish(tables []*tableInfo) error {
	if err := w.begin("finish"); err != nil {
		return err
	}
	if err := w.sequences(tables); err != nil {
		return err
	}
	// A full-text table can be about a view, and is filled from it; triggers would fire on all that comes before them.
	if err := errors.Join(w.objects("index"), w.objects("view")); err != nil {
		return err
	}
	for _, t := range tables {
		if t.module == "" {
			continue
		}
		w.object(t.sql)
		if err := w.virtual(t); err != nil {
			return err
		}
	}
	if err := w.objects("trigger"); err != nil {
		return err
	}
	if w.Ledger != "" {
		w.buf.WriteString(w.Ledger + "\n")
		w.written += int64(len(w.Ledger)) + 1
	}
	w.line("DROP TABLE " + stagingTable)
	if !w.Plain {
		w.line("DROP TABLE " + ProgressTable)
	}
	return w.close()
}

// objects writes the indexes, views or triggers that the first part does not have.
func (w *partWriter) objects(kind string) error {
	return w.db.each("SELECT name, sql, tbl_name FROM sqlite_schema WHERE sql NOT NULL AND type = "+quoteText(kind)+" ORDER BY rowid", func(r []any) error {
		if name := r[0].(string); !internalName(name) && !w.made[name] && !named(r[2].(string), w.Without) {
			w.object(r[1].(string))
		}
		return nil
	})
}

// virtual writes what a virtual table holds.
func (w *partWriter) virtual(t *tableInfo) error {
	switch t.module {
	case "rtree", "rtree_i32":
		return w.table(t, true)
	case "fts5":
		options, err := w.db.searchOptions(t.name)
		if err != nil {
			return err
		}
		for _, o := range options {
			w.line(o)
		}
		switch ftsContent(t.sql) {
		case "own":
			return w.table(t, true)
		case "external":
			w.line(fmt.Sprintf("INSERT INTO %s (%s) VALUES ('rebuild')", quoteName(t.name), quoteName(t.name)))
		}
	}
	return nil
}

// SearchOptions is the query for what a full-text table was told beside its definition, such as another ranking: each row
// has a statement, as option, that says it again.
func SearchOptions(table string) string {
	name := quoteText(quoteName(table))
	return fmt.Sprintf("SELECT 'INSERT INTO '||%s||'('||%[1]s||', rank) VALUES ('||quote(k)||', '||quote(v)||')' AS option FROM %s WHERE k <> 'version' ORDER BY k",
		name, quoteName(table+"_config"))
}

func (db *DB) searchOptions(table string) (options []string, err error) {
	err = db.each(SearchOptions(table), func(r []any) error {
		options = append(options, r[0].(string))
		return nil
	})
	return options, err
}

// sequences carries AUTOINCREMENT over: the next row gets the number that it would have got. Other tables of the target
// keep theirs.
func (w *partWriter) sequences(tables []*tableInfo) error {
	for _, t := range tables {
		if !counts(t) {
			continue
		}
		w.line("DELETE FROM sqlite_sequence WHERE name = " + quoteText(t.name))
		err := w.db.each("SELECT name, seq FROM sqlite_sequence WHERE name = "+quoteText(t.name), func(r []any) error {
			var b bytes.Buffer
			writeRow(&b, r)
			w.line("INSERT INTO sqlite_sequence (name, seq) VALUES " + b.String())
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// counts says whether a table numbers its rows by AUTOINCREMENT.
func counts(t *tableInfo) bool {
	return !t.view && t.module == "" && slices.ContainsFunc(pieces(t.sql), func(p piece) bool { return p.is(t.sql, "autoincrement") })
}

// ftsContent is where a full-text table keeps its rows: "own", "external" or "none".
func ftsContent(sql string) string {
	list := pieces(sql)
	for i := 0; i+2 < len(list); i++ {
		if list[i].is(sql, "content") && sql[list[i+1].from:list[i+1].to] == "=" {
			if unquote(sql[list[i+2].from:list[i+2].to]) == "" {
				return "none"
			}
			return "external"
		}
	}
	return "own"
}

// dependencyOrder puts tables after those that they refer to. Tables that refer to one another in a circle are one group
// (strongly connected components, by Tarjan's algorithm).
func dependencyOrder(tables []*tableInfo) [][]*tableInfo {
	byName := map[string]*tableInfo{}
	for _, t := range tables {
		byName[lower(t.name)] = t
	}
	var groups [][]*tableInfo
	var stack []*tableInfo
	index, low, onStack := map[*tableInfo]int{}, map[*tableInfo]int{}, map[*tableInfo]bool{}
	var visit func(t *tableInfo)
	visit = func(t *tableInfo) {
		index[t] = len(index) + 1
		low[t] = index[t]
		stack, onStack[t] = append(stack, t), true
		for _, k := range t.keys {
			parent := byName[lower(k.table)]
			switch {
			case parent == nil:
			case index[parent] == 0:
				visit(parent)
				low[t] = min(low[t], low[parent])
			case onStack[parent]:
				low[t] = min(low[t], index[parent])
			}
		}
		if low[t] != index[t] {
			return
		}
		var group []*tableInfo
		for {
			last := stack[len(stack)-1]
			stack, onStack[last] = stack[:len(stack)-1], false
			group = append(group, last)
			if last == t {
				break
			}
		}
		slices.Reverse(group)
		groups = append(groups, group)
	}
	for _, t := range tables {
		if index[t] == 0 {
			visit(t)
		}
	}
	return groups
}

func quoteText(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
