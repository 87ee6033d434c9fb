package d1

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// PageQuery says how the rows of a table are read from a live D1 without loss: D1's answers are JavaScript values, in which
// large integers, blobs and NUL characters suffer, so SQLite itself writes every value as a literal of SQL.
type PageQuery struct {
	Table string
	// Columns are what is read, quoted where they need it: the stored columns, behind the rowid where no column shows it.
	Columns []string
	// Counts says that the table numbers its rows by AUTOINCREMENT.
	Counts bool

	keys []string // what pages are ordered and cut by
}

// groupColumns is how many values one column of an answer carries: D1 promises 32 arguments of a function.
const groupColumns = 25

// PageQueries are the queries for all tables whose rows have to be carried over; what other tables show is left out.
func (db *DB) PageQueries(ctx context.Context) (list []PageQuery, err error) {
	err = db.exclusive(ctx, func() error {
		tables, err := db.tables("")
		for _, t := range tables {
			if t.view || t.module == "fts5vocab" || t.module == "fts5" && ftsContent(t.sql) != "own" {
				continue
			}
			q := PageQuery{Table: t.name, Counts: counts(t)}
			columns, rowid := rowSource(t)
			for i, c := range columns {
				if i > 0 || !rowid {
					c = quoteName(c)
				}
				q.Columns = append(q.Columns, c)
			}
			// An INTEGER PRIMARY KEY is the rowid under another name, but one that is declared DESC is not, and may be NULL.
			if name := rowidName(t); t.rowid && name != "" {
				q.keys = []string{name}
			} else {
				for place := 1; ; place++ {
					i := slices.IndexFunc(t.columns, func(c column) bool { return c.pk == place })
					if i < 0 {
						break
					}
					q.keys = append(q.keys, quoteName(t.columns[i].name))
				}
			}
			if len(q.keys) == 0 {
				return fmt.Errorf("table %s has no key that its rows could be read by", t.name)
			}
			list = append(list, q)
		}
		return err
	})
	return list, err
}

// Longest is the query for how long the longest row is, as n: null in an empty table.
func (q PageQuery) Longest() string {
	lengths := make([]string, len(q.Columns))
	for i, c := range q.Columns {
		lengths[i] = "ifnull(octet_length(" + c + "),0)"
	}
	return fmt.Sprintf("SELECT max(%s) AS n FROM %s", balanced(lengths), quoteName(q.Table))
}

// SQL is the query for the next limit rows behind the key that the last page ended with, "" for the first page. Its answer
// has the columns k, the key of the row, and g0, g1, … with literals that Tuple puts together. With hex all text comes as
// hexadecimal digits, which no encoding can hurt.
func (q PageQuery) SQL(after string, limit int, hex bool) string {
	literal := func(c string) string {
		plain := fmt.Sprintf("WHEN 'text' THEN CASE WHEN instr(%s,char(0)) THEN %s ELSE quote(%[1]s) END", c, "'CAST(X'''||hex("+c+")||''' AS TEXT)'")
		if hex {
			plain = fmt.Sprintf("WHEN 'text' THEN 'CAST(X'''||hex(%s)||''' AS TEXT)'", c)
		}
		// quote takes the sign from a negative zero.
		return fmt.Sprintf("CASE typeof(%s) %s WHEN 'real' THEN iif(%[1]s=0 AND atan2(%[1]s,-1)<0,'-0.0',quote(%[1]s)) ELSE quote(%[1]s) END", c, plain)
	}
	var columns []string
	key := make([]string, len(q.keys))
	for i, k := range q.keys {
		key[i] = literal(k)
	}
	columns = append(columns, "concat_ws(',',"+strings.Join(key, ",")+") AS k")
	for group := range slices.Chunk(q.Columns, groupColumns) {
		values := make([]string, len(group))
		for i, c := range group {
			values[i] = literal(c)
		}
		columns = append(columns, "concat_ws(',',"+strings.Join(values, ",")+") AS g"+strconv.Itoa(len(columns)-1))
	}
	order := strings.Join(q.keys, ", ")
	where := ""
	if after != "" {
		where = fmt.Sprintf(" WHERE (%s) > (%s)", order, after)
	}
	return fmt.Sprintf("SELECT %s FROM %s%s ORDER BY %s LIMIT %d", strings.Join(columns, ", "), quoteName(q.Table), where, order, limit)
}

// Groups is how many columns g0, g1, … an answer has.
func (q PageQuery) Groups() int { return (len(q.Columns) + groupColumns - 1) / groupColumns }

// Insert puts rows that a page brought into a database whose tables BuildTables made. Each row is the literals of its
// columns, joined by commas.
func (db *DB) Insert(ctx context.Context, q PageQuery, rows []string) error {
	return db.exclusive(ctx, func() error {
		// The longest value that D1 holds is longer than the longest statement that it takes.
		defer db.conn.Limit(sqlite3.LIMIT_SQL_LENGTH, db.conn.Limit(sqlite3.LIMIT_SQL_LENGTH, 8*MaxValueBytes))
		if err := db.own("BEGIN"); err != nil {
			return err
		}
		head := fmt.Sprintf("INSERT INTO %s (%s) VALUES (", quoteName(q.Table), strings.Join(q.Columns, ", "))
		var b strings.Builder
		flush := func() error {
			if b.Len() == 0 {
				return nil
			}
			err := db.own(b.String() + ")")
			b.Reset()
			return err
		}
		for _, row := range rows {
			if b.Len() > 0 && (b.Len()+len(row) > maxInsert || len(q.Columns) > MaxColumns) {
				if err := flush(); err != nil {
					return fmt.Errorf("copying rows of %s: %w", q.Table, errors.Join(err, db.rollback()))
				}
			}
			if b.Len() == 0 {
				b.WriteString(head)
			} else {
				b.WriteString("),(")
			}
			b.WriteString(row)
		}
		if err := flush(); err != nil {
			return fmt.Errorf("copying rows of %s: %w", q.Table, errors.Join(err, db.rollback()))
		}
		return db.own("COMMIT")
	})
}

// SearchTables are the full-text tables of the database.
func (db *DB) SearchTables(ctx context.Context) (names []string, err error) {
	err = db.exclusive(ctx, func() error {
		tables, err := db.tables("")
		for _, t := range tables {
			if t.module == "fts5" {
				names = append(names, t.name)
			}
		}
		return err
	})
	return names, err
}

// Count sets the number that AUTOINCREMENT goes on from.
func (db *DB) Count(ctx context.Context, table string, seq int64) error {
	return db.exclusive(ctx, func() error {
		return db.own(fmt.Sprintf("DELETE FROM sqlite_sequence WHERE name = %s; INSERT INTO sqlite_sequence (name, seq) VALUES (%[1]s, %d)", quoteText(table), seq))
	})
}
