package d1

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// TableSum is how many rows a table has, and a checksum over them.
type TableSum struct {
	Table string `json:"table"`
	Rows  int64  `json:"rows"`
	Sum   int64  `json:"checksum"`
}

// SumQuery says how the checksum of a table is asked for, in SQL that D1 allows: the same text runs on both sides of a
// copy, and equal tables give equal numbers whatever the order of their rows.
//
// A row's sum is made of each value's type, its length in bytes and in characters, all of an integer, and of anything else
// the first, middle and last character, as SQLite writes it. So it shows rows and values that are missing, cut, doubled,
// swapped between columns, of another type or in another encoding. It does not show a change inside a text, a blob or a
// real number that keeps the length and misses those three characters, rows whose values changed places within a column,
// nor the sign of a negative zero.
type SumQuery struct {
	Table string
	// Key is the column that pages are cut by, an integer; "" when the table is summed in one query.
	Key     string
	columns []string // quoted
	first   int      // the place of the first one in its table
}

// maxSummed is how many columns one query sums up: D1 takes 100,000 bytes. A wider table has several queries.
const maxSummed = 50

// SumQueries are the queries for all tables that a Parts or an export carries over.
func (db *DB) SumQueries(ctx context.Context, leaveOut ...string) (list []SumQuery, err error) {
	err = db.exclusive(ctx, func() error {
		tables, err := db.tables("")
		for _, t := range tables {
			if t.view || t.module == "fts5vocab" || t.module == "fts5" && ftsContent(t.sql) != "own" || named(t.name, leaveOut) {
				continue // what it shows is another table's
			}
			list = append(list, sumQueries(t)...)
		}
		return err
	})
	return list, err
}

func named(name string, list []string) bool {
	for _, n := range list {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

func sumQueries(t *tableInfo) (list []SumQuery) {
	q := SumQuery{Table: t.name}
	for _, c := range t.columns {
		if !c.generated {
			q.columns = append(q.columns, quoteName(c.name))
		}
	}
	if t.rowid && t.module == "" {
		q.Key = rowidName(t)
	}
	for columns := range slices.Chunk(q.columns, maxSummed) {
		part := q
		part.columns, part.first = columns, len(list)*maxSummed
		list = append(list, part)
	}
	return list
}

// Add puts the sum of another page, or of further columns, to a table's. rows says that the page brings rows of its own.
func (s *TableSum) Add(n, sum int64, rows bool) {
	if rows {
		s.Rows += n
	}
	s.Sum = (s.Sum + sum) % sumModulus
}

// First says whether the query is the first one for its table, the one that counts rows.
func (q SumQuery) First() bool { return q.first == 0 }

// valueTerm is a number below 2^31 for one value. It is evaluated for every value of a database, so it does little: it
// counts an integer whole, and looks at three characters of everything else.
func valueTerm(c string, place int) string {
	sample := func(of string, factor int) string { return fmt.Sprintf("+ifnull(unicode(%s),3)*%d", of, factor) }
	text := fmt.Sprintf("octet_length(%s)*104729+length(%[1]s)*1299709", c) +
		sample(c, 31) + sample("substr("+c+",-1,1)", 29791) + sample("substr("+c+",1+length("+c+")/2,1)", 68921)
	blob := "octet_length(" + c + ")*104729"
	for i, position := range []string{"1", "-1", "1+octet_length(" + c + ")/2"} {
		hexed := "hex(substr(" + c + "," + position + ",1))" // bytes are no characters
		blob += sample(hexed, 31+i*6) + sample("substr("+hexed+",2)", 961+i*408)
	}
	return fmt.Sprintf("(%d*(CASE typeof(%s)WHEN'integer'THEN %[2]s%%2147483629+2147483642 WHEN'text'THEN 7919+%s WHEN'null'THEN 11 WHEN'blob'THEN %s ELSE %[3]s END"+
		"%%2147483629)%%2147483629)", 1+2*place, c, text, blob)
}

// SQL is the query; it answers with n, the rows, and s, the sum. With a Key it covers the rows whose key is at least from
// and at most to; both are left out without one.
func (q SumQuery) SQL(from, to int64) string {
	terms, names := make([]string, len(q.columns)), make([]string, len(q.columns))
	for i, c := range q.columns {
		short := "c" + strconv.Itoa(i) // the names of columns come up often, and D1 takes 100,000 bytes
		terms[i], names[i] = valueTerm(short, q.first+i+1), c+" AS "+short
	}
	sum := "0"
	if len(terms) > 0 {
		sum = balanced(terms)
	}
	where := ""
	if q.Key != "" {
		where = fmt.Sprintf(" WHERE %s >= %d AND %s <= %d", q.Key, from, q.Key, to)
	}
	return fmt.Sprintf("SELECT count(*) AS n, coalesce(sum(%s %% 2147483629), 0) %% %d AS s FROM (SELECT %s FROM %s%s)",
		sum, sumModulus, strings.Join(names, ", "), quoteName(q.Table), where)
}

// Range is the query for the smallest and the largest key, as lo and hi; both are null in an empty table.
func (q SumQuery) Range() string {
	return fmt.Sprintf("SELECT min(%s) AS lo, max(%s) AS hi FROM %s", q.Key, q.Key, quoteName(q.Table))
}

// Sums computes the checksums of this database.
func (db *DB) Sums(ctx context.Context, queries []SumQuery) (out []TableSum, err error) {
	err = db.exclusive(ctx, func() error {
		for _, q := range queries {
			if q.First() {
				out = append(out, TableSum{Table: q.Table})
			}
			whole := q
			whole.Key = ""
			err := db.each(whole.SQL(0, 0), func(r []any) error {
				out[len(out)-1].Add(r[0].(int64), r[1].(int64), q.First())
				return nil
			})
			if err != nil {
				return fmt.Errorf("summing up table %s: %w", q.Table, err)
			}
		}
		return nil
	})
	return out, err
}

// sumModulus is what sums are added up by: an answer of D1 is a JavaScript number, exact to 2^53.
const sumModulus = 1 << 52
