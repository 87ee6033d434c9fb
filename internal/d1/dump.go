package d1

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// DumpOptions choose what a dump holds. The zero value is everything.
type DumpOptions struct {
	NoSchema, NoData bool
	Tables           []string // only these tables, indexes, triggers and views; nil is all
}

// ErrVirtualTable is D1's refusal to export a database with a virtual table, in its own words.
var ErrVirtualTable = errors.New("D1 Export error: cannot export databases with Virtual Tables (fts5)")

// Dump writes the database as SQL as D1's own export does (a relative of .dump in SQLite's shell): tables with their
// rows, then indexes, triggers and views. Three things to know about that format: a virtual table makes it fail with
// ErrVirtualTable; a real number that is whole is written as an integer; and text that has both a line break and the two
// characters \n comes back with two line breaks. Unlike D1's, this one keeps all digits of integers beyond 2^53.
// What has been written when it fails is of no use.
func (db *DB) Dump(ctx context.Context, w io.Writer, o DumpOptions) error {
	err := db.transaction(ctx, func() error {
		out := bufio.NewWriter(w)
		if err := db.dump(out, o); err != nil {
			return err
		}
		return out.Flush()
	})
	if err != nil && !errors.Is(err, ErrVirtualTable) {
		return fmt.Errorf("dumping the database: %w", err)
	}
	return err
}

func (db *DB) dump(out *bufio.Writer, o DumpOptions) error {
	wanted := map[string]bool{}
	for _, t := range o.Tables {
		wanted[t] = true
	}
	skip := func(name string) bool { return len(wanted) > 0 && !wanted[name] }
	out.WriteString("PRAGMA defer_foreign_keys=TRUE;\n")
	tables, err := db.rows(`SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql NOT NULL
		ORDER BY tbl_name = 'sqlite_sequence', rowid`)
	if err != nil {
		return err
	}
	for _, r := range tables {
		name, sql := r[0].(string), r[1].(string)
		switch {
		case skip(name), name == "sqlite_stat4": // D1's SQLite has no such table
			continue
		case name == "sqlite_sequence":
			if !o.NoSchema {
				out.WriteString("DELETE FROM sqlite_sequence;\n")
			}
		case strings.HasPrefix(name, "sqlite_stat"):
			if !o.NoSchema {
				out.WriteString("ANALYZE sqlite_schema;\n")
			}
		case strings.HasPrefix(sql, "CREATE VIRTUAL TABLE"):
			return ErrVirtualTable
		case strings.HasPrefix(name, "_cf_") || strings.HasPrefix(name, "sqlite_"):
			continue
		case !o.NoSchema:
			if rest, ok := strings.CutPrefix(sql, "CREATE TABLE "); ok && (strings.HasPrefix(rest, "'") || strings.HasPrefix(rest, `"`)) {
				sql = "CREATE TABLE IF NOT EXISTS " + rest
			}
			fmt.Fprintf(out, "%s;\n", sql)
		}
		if o.NoData {
			continue
		}
		if err := db.dumpRows(out, name); err != nil {
			return err
		}
	}
	if o.NoSchema {
		return nil
	}
	others, err := db.rows(`SELECT name, sql FROM sqlite_schema WHERE sql NOT NULL AND type IN ('index', 'trigger', 'view')
		ORDER BY type COLLATE NOCASE`)
	if err != nil {
		return err
	}
	for _, r := range others {
		if !skip(r[0].(string)) {
			fmt.Fprintf(out, "%s;\n", r[1])
		}
	}
	return nil
}

func (db *DB) dumpRows(out *bufio.Writer, table string) error {
	columns, err := db.rows("PRAGMA table_info=" + quoteName(table))
	if err != nil {
		return err
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = quoteName(c[1].(string))
	}
	list := strings.Join(names, ",")
	head := fmt.Sprintf("INSERT INTO %s (%s) VALUES(", quoteName(table), list)
	return db.each(fmt.Sprintf("SELECT %s FROM %s", list, quoteName(table)), func(values []any) error {
		out.WriteString(head)
		for i, v := range values {
			if i > 0 {
				out.WriteByte(',')
			}
			out.WriteString(literal(v))
		}
		_, err := out.WriteString(");\n")
		return err
	})
}

// rows runs a statement of the engine and keeps its rows.
func (db *DB) rows(sql string) (list [][]any, err error) {
	err = db.each(sql, func(r []any) error {
		list = append(list, r)
		return nil
	})
	return list, err
}

// each runs a statement of the engine and hands its rows to f.
func (db *DB) each(sql string, f func([]any) error) error {
	db.trusted = true
	defer func() { db.trusted = false }()
	s, _, err := db.conn.Prepare(sql)
	if err != nil {
		return err
	}
	defer s.Close()
	for columns := s.ColumnCount(); s.Step(); {
		if err := f(row(s, columns)); err != nil {
			return err
		}
	}
	return s.Err()
}

// literal writes a value as D1's export does.
func literal(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		switch {
		case math.IsInf(v, 1):
			return "9e999"
		case math.IsInf(v, -1):
			return "-9e999"
		}
		return number(v)
	case []byte:
		return "X'" + hex.EncodeToString(v) + "'"
	}
	text := v.(string)
	quoted := "'" + strings.NewReplacer("'", "''", "\n", `\n`, "\r", `\r`).Replace(text) + "'"
	if strings.Contains(text, "\r") {
		quoted = `replace(` + quoted + `,'\r',char(13))`
	}
	if strings.Contains(text, "\n") {
		quoted = `replace(` + quoted + `,'\n',char(10))`
	}
	return quoted
}

// number writes a number as JavaScript does, for whole numbers without a fraction.
func number(v float64) string {
	if math.Abs(v) >= 1e21 || v != 0 && math.Abs(v) < 1e-6 {
		mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', -1, 64), "e")
		sign := exponent[:1]
		return mantissa + "e" + sign + strings.TrimLeft(exponent[1:], "0")
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
