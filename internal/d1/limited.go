package d1

import (
	"fmt"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// D1's SQLite is built with SQLITE_ENABLE_UPDATE_DELETE_LIMIT, ours is not: DELETE and UPDATE with ORDER BY or LIMIT are
// rewritten into what SQLite itself makes of them,
//
//	DELETE FROM t WHERE rowid IN (SELECT rowid FROM t WHERE … ORDER BY … LIMIT …)

// piece is a token with its place in the statement.
type piece struct {
	kind     tokenKind
	from, to int
}

// pieces are the tokens of a statement without blanks and comments.
func pieces(sql string) []piece {
	var list []piece
	for n := 0; n < len(sql); {
		kind, length := nextToken(sql[n:])
		if kind != blankToken && kind != commentToken {
			list = append(list, piece{kind, n, n + length})
		}
		n += length
	}
	return list
}

// is says whether a piece is the keyword.
func (p piece) is(sql, keyword string) bool {
	return p.kind == wordToken && strings.EqualFold(sql[p.from:p.to], keyword)
}

// compileLimited compiles a statement that SQLite refused with cause, if ORDER BY or LIMIT is why.
func (db *DB) compileLimited(sql string, cause error) (*sqlite3.Stmt, error) {
	l, ok := readLimited(sql, errorOffset(cause, sql))
	switch {
	case !ok:
		return nil, sqlFailure(cause, sql)
	case !l.limits:
		message := "ORDER BY without LIMIT on " + strings.ToUpper(l.verb)
		return nil, &failure{message: message + ": SQLITE_ERROR", code: "SQLITE_ERROR", offset: -1, cause: cause}
	}
	db.meter.begin()
	stmt, _, err := db.conn.Prepare(l.rewrite(db.rowKey(l.table)))
	if err != nil {
		return nil, sqlFailure(err, "")
	}
	return stmt, nil
}

// limited is a DELETE or UPDATE with ORDER BY or LIMIT, in parts that are put together again in another order. Every
// bare ? in them is numbered.
type limited struct {
	verb, table, alias string
	head               string // up to the WHERE clause
	target             string // the table with its alias and hints
	from               string // what stands behind FROM in an UPDATE
	where              string // the condition
	returning          string
	tail               string // ORDER BY …, LIMIT …
	limits             bool   // there is a LIMIT
}

func (l limited) rewrite(key []string) string {
	qualified := make([]string, len(key))
	for i, column := range key {
		qualified[i] = l.alias + "." + column
	}
	keys := strings.Join(qualified, ", ")
	in := keys
	if len(key) > 1 {
		in = "(" + keys + ")"
	}
	sources, condition, grouped := l.target, "", ""
	if l.from != "" {
		sources += ", " + l.from
		grouped = " GROUP BY " + keys
		if l.where != "" {
			condition = "(" + l.where + ") AND "
		}
	}
	where := ""
	if l.where != "" {
		where = " WHERE " + l.where
	}
	return fmt.Sprintf("%s WHERE %s%s IN (SELECT %s FROM %s%s%s %s) %s",
		l.head, condition, in, keys, sources, where, grouped, l.tail, l.returning)
}

// readLimited takes a statement apart at the clauses that stand outside parentheses; at is where SQLite stopped.
func readLimited(sql string, at int) (l limited, ok bool) {
	list := pieces(sql)
	if n := len(list); n > 0 && list[n-1].kind == semicolonToken {
		list = list[:n-1]
	}
	verb, set, from, where, returning, tail := -1, -1, -1, -1, -1, -1
	first := func(clause *int, i int) {
		if *clause < 0 {
			*clause = i
		}
	}
	depth := 0
	for i, p := range list {
		switch {
		case p.kind == openToken:
			depth++
		case p.kind == closeToken:
			depth--
		case depth > 0:
		case verb < 0:
			if p.is(sql, "delete") || p.is(sql, "update") {
				verb = i
			}
		case p.from == at && (p.is(sql, "order") || p.is(sql, "limit")):
			tail = i
			fallthrough
		case tail >= 0:
			l.limits = l.limits || p.is(sql, "limit")
		case p.is(sql, "set"):
			first(&set, i)
		case p.is(sql, "from"):
			first(&from, i)
		case p.is(sql, "where"):
			first(&where, i)
		case p.is(sql, "returning"):
			first(&returning, i)
		}
	}
	if verb < 0 || tail < 0 {
		return l, false
	}
	update := list[verb].is(sql, "update")
	target, source := verb+1, -1
	switch {
	case update && set > verb && target < len(list):
		source = from
		if list[target].is(sql, "or") { // UPDATE OR IGNORE t
			target += 2
		}
	case !update && from == verb+1:
		target++
	default:
		return l, false
	}
	// A clause ends where the next one begins.
	ends := func(clause int) int {
		end := tail
		for _, other := range []int{set, source, where, returning} {
			if other > clause && other < end {
				end = other
			}
		}
		return end
	}
	text := func(a, b int) string { // of the pieces [a, b)
		if a >= b {
			return ""
		}
		return numbered(sql, list, list[a].from, list[b-1].to)
	}
	clause := func(i int) string {
		if i < 0 {
			return ""
		}
		return text(i+1, ends(i))
	}
	end := ends(target)
	if target >= end {
		return l, false
	}
	l.verb = sql[list[verb].from:list[verb].to]
	l.target = text(target, end)
	l.head = text(0, end)
	if update {
		l.head = text(0, ends(max(set, source)))
	}
	l.from, l.where, l.tail = clause(source), clause(where), text(tail, len(list))
	if returning >= 0 {
		l.returning = text(returning, tail)
	}
	name := target
	if name+2 < end && sql[list[name+1].from:list[name+1].to] == "." {
		name += 2
	}
	l.table = unquote(sql[list[name].from:list[name].to])
	alias := name
	if name+1 < end && list[name+1].is(sql, "as") {
		alias = name + 2
	} else if name+1 < end && !list[name+1].is(sql, "indexed") && !list[name+1].is(sql, "not") {
		alias = name + 1
	}
	if alias >= end {
		return l, false
	}
	l.alias = sql[list[alias].from:list[alias].to]
	return l, true
}

// numbered is sql[from:to] with every bare ? numbered as it is in the whole statement, so that parts can be moved.
func numbered(sql string, list []piece, from, to int) string {
	var b strings.Builder
	count := 0
	for _, p := range list {
		token := sql[p.from:p.to]
		if p.kind == variableToken && token == "?" {
			count++
			if p.from >= from && p.from < to {
				b.WriteString(sql[from:p.from])
				fmt.Fprintf(&b, "?%d", count)
				from = p.to
			}
		}
	}
	b.WriteString(sql[from:to])
	return b.String()
}

// rowKey is what names a row of a table: rowid, or the columns of the primary key where there is none.
func (db *DB) rowKey(table string) []string {
	db.trusted = true
	defer func() { db.trusted = false }()
	var columns []string
	s, _, err := db.conn.Prepare(`SELECT i.name FROM pragma_table_list(?1) t, pragma_table_info(?1) i
		WHERE t.schema = 'main' AND t.wr AND i.pk ORDER BY i.pk`)
	if err == nil && s.BindText(1, table) == nil {
		for s.Step() {
			columns = append(columns, `"`+strings.ReplaceAll(s.ColumnText(0), `"`, `""`)+`"`)
		}
	}
	s.Close()
	if len(columns) == 0 {
		return []string{"rowid"}
	}
	return columns
}

// unquote is the name that an identifier token stands for.
func unquote(token string) string {
	if len(token) < 2 {
		return token
	}
	switch q := token[:1]; q {
	case `"`, "`", "'":
		return strings.ReplaceAll(token[1:len(token)-1], q+q, q)
	case "[":
		return token[1 : len(token)-1]
	}
	return token
}

// renamesToReserved says whether sql is ALTER TABLE … RENAME TO a reserved name: the authorizer is not told the new one.
func renamesToReserved(sql string) bool {
	if len(sql) < 5 || !strings.Contains(strings.ToLower(sql), "_cf_") {
		return false
	}
	list := pieces(sql)
	if len(list) < 3 || !list[0].is(sql, "alter") || !list[1].is(sql, "table") {
		return false
	}
	for i := 3; i+2 < len(list); i++ {
		if list[i].is(sql, "rename") && list[i+1].is(sql, "to") {
			return reserved(unquote(sql[list[i+2].from:list[i+2].to]))
		}
	}
	return false
}
