package d1

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Check says why D1 would not take the database, before anything is written: what D1's engine refuses of its schema,
// virtual tables that cannot be read, rows over D1's limit of 2,000,000 bytes, references that do not hold (SQLite checks
// them only when it is asked to, D1 always does), and names that a Parts uses itself.
func (db *DB) Check(ctx context.Context) ([]Finding, error) {
	var out []Finding
	unsupported := func(message, hint string) {
		out = append(out, Finding{Rule: "database-unsupported", Level: levelError, Message: message, Hint: hint})
	}
	objects, err := db.Objects(ctx)
	if err != nil {
		return nil, err
	}
	copied, err := Open("")
	if err != nil {
		return nil, err
	}
	defer copied.Close()
	for _, o := range objects {
		if o.SQL == "" || internalName(o.Name) && !reserved(o.Name) {
			continue
		}
		if strings.EqualFold(o.Name, ProgressTable) || strings.EqualFold(o.Name, stagingTable) {
			unsupported("the database has a table "+o.Name+", as one has that a bootstrap was filling when it was cut off", "finish that bootstrap first, or drop the table")
			continue
		}
		_, err := copied.Query(ctx, o.SQL)
		var refused *Error
		switch {
		case err == nil, isShadow(err):
		case errors.As(err, &refused):
			unsupported(fmt.Sprintf("D1 would refuse %s %s: %v", o.Type, o.Name, err), "change it in the file, or leave it out")
		default:
			return nil, err
		}
	}
	err = db.exclusive(ctx, func() error {
		var encoding string
		if err := db.each("PRAGMA encoding", func(r []any) error { encoding = r[0].(string); return nil }); err != nil {
			return err
		}
		if encoding != "UTF-8" {
			// octet_length and hex show a text in the encoding of its database, and D1's are in UTF-8.
			unsupported("the file holds its text in "+encoding, "convert it: sqlite3 old.sqlite .dump | sqlite3 new.sqlite")
			return nil
		}
		tables, err := db.tables("")
		if err != nil && len(out) > 0 {
			return nil // a module that SQLite does not have: nothing can be asked about its table
		} else if err != nil {
			return err
		}
		for _, t := range tables {
			if t.module == "fts5" && ftsContent(t.sql) == "none" {
				unsupported("the contentless full-text table "+t.name+" cannot be read: SQLite does not keep what went in",
					"leave it out, and let the product fill it again")
			}
			if err := db.longRows(t, &out); err != nil {
				return err
			}
			if err := db.brokenReferences(t, tables, &out); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// longRows looks for rows that D1 does not take.
func (db *DB) longRows(t *tableInfo, out *[]Finding) error {
	if t.view || t.module != "" {
		return nil
	}
	var lengths []string
	for _, c := range t.columns {
		if !c.generated {
			lengths = append(lengths, "ifnull(octet_length("+quoteName(c.name)+"),0)")
		}
	}
	if len(lengths) == 0 {
		return nil
	}
	n, err := db.number("SELECT count(*) FROM " + quoteName(t.name) + " WHERE " + balanced(lengths) + " > " + strconv.Itoa(maxDocValue))
	if err == nil && n > 0 {
		*out = append(*out, Finding{Rule: "value-too-large", Level: levelError,
			Message: fmt.Sprintf("%s of %s over %d bytes, which D1 does not take", amount(n), t.name, maxDocValue),
			Hint:    "put such values into the shop's R2 bucket"})
	}
	return err
}

// brokenReferences looks for rows that refer to what is not there. A table whose parent is missing altogether takes no row
// in D1, not even one that refers to nothing.
func (db *DB) brokenReferences(t *tableInfo, tables []*tableInfo, out *[]Finding) error {
	if len(t.keys) == 0 {
		return nil
	}
	broken := func(message string) {
		*out = append(*out, Finding{Rule: "reference-broken", Level: levelError, Message: message,
			Hint: "mend the rows, or leave them out; PRAGMA foreign_key_check(" + quoteText(t.name) + ") lists them"})
	}
	if filled, err := db.number("SELECT EXISTS (SELECT 1 FROM " + quoteName(t.name) + ")"); err != nil || filled == 0 {
		return err
	}
	for _, k := range t.keys {
		if !slices.ContainsFunc(tables, func(p *tableInfo) bool { return strings.EqualFold(p.name, k.table) }) {
			broken(fmt.Sprintf("%s refers to a table %s, which is not there", t.name, k.table))
			return nil
		}
	}
	missing := map[string]int64{}
	err := db.each("SELECT parent, count(*) FROM pragma_foreign_key_check("+quoteText(t.name)+") GROUP BY parent", func(r []any) error {
		missing[r[0].(string)] = r[1].(int64)
		return nil
	})
	if err != nil && strings.Contains(err.Error(), "foreign key mismatch") {
		broken(fmt.Sprintf("%s refers to columns that nothing makes unique: %v", t.name, err))
		return nil
	}
	for _, parent := range slices.Sorted(maps.Keys(missing)) {
		broken(fmt.Sprintf("%s of %s refer to rows of %s that are not there", amount(missing[parent]), t.name, parent))
	}
	return err
}

// balanced adds terms up in pairs of pairs: D1 limits how deep an expression may be.
func balanced(terms []string) string {
	for len(terms) > 1 {
		var next []string
		for pair := range slices.Chunk(terms, 2) {
			next = append(next, "("+strings.Join(pair, "+")+")")
		}
		terms = next
	}
	return terms[0]
}
