package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// maxBatch is how much SQL shopfleet puts into one call when several files
// share it. D1 refuses a statement over 100,000 bytes (feasibility.md §5); a
// batch well below that is accepted whatever the limit is counted over.
const maxBatch = 90_000

// migrations applies files to one database. The ledger is wrangler's own
// table, written the way wrangler writes it, so that both can be used in turn
// (wire.md §7.2).
type migrations struct {
	cf       *cloudflare.Client
	db       wrangler.D1Database
	files    []wrangler.Migration // those the plan named, in order
	count    func()               // called before each call that writes
	progress func(applied int)
}

// ledgerTable creates wrangler's ledger with wrangler's own columns.
func ledgerTable(table string) string {
	return "CREATE TABLE IF NOT EXISTS " + quoteName(table) + "(\n" +
		"\t\tid         INTEGER PRIMARY KEY AUTOINCREMENT,\n" +
		"\t\tname       TEXT UNIQUE,\n" +
		"\t\tapplied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL\n);"
}

func ledgerRow(table, file string) string {
	return "INSERT INTO " + quoteName(table) + " (name)\nvalues ('" + strings.ReplaceAll(file, "'", "''") + "');"
}

func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// batch is one atomic call: the SQL of some files, each followed by its row in
// the ledger. D1 carries out a call whole or not at all.
type batch struct {
	files []wrangler.Migration
	sql   string
}

// batches groups files into calls in their order. The first batch also makes
// the ledger. A file whose last statement lacks its semicolon gets one: with
// wrangler it would swallow the ledger's INSERT (wire.md §7.2).
func batches(table string, files []wrangler.Migration) ([]batch, error) {
	var out []batch
	for i, f := range files {
		sql, err := terminated(f)
		if err != nil {
			return nil, err
		}
		sql += "\n" + ledgerRow(table, f.Name)
		if i == 0 {
			sql = ledgerTable(table) + "\n" + sql
		}
		if last := len(out) - 1; last >= 0 && len(out[last].sql)+1+len(sql) <= maxBatch {
			out[last].files = append(out[last].files, f)
			out[last].sql += "\n" + sql
			continue
		}
		out = append(out, batch{files: []wrangler.Migration{f}, sql: sql})
	}
	return out, nil
}

// terminated is a file's SQL ending in a complete statement.
func terminated(f wrangler.Migration) (string, error) {
	statements, err := d1.Split(f.SQL)
	var unfinished *d1.UnfinishedError
	if errors.As(err, &unfinished) {
		return "", Findings{{Rule: "migration-unreadable", Level: LevelError, File: f.Path, Line: unfinished.Line, Column: unfinished.Column,
			Message: "the SQL is not complete: " + err.Error(), Source: lineOf(f.SQL, unfinished.Line), Hint: "close the quote"}}
	}
	sql := strings.TrimPrefix(f.SQL, "\ufeff")
	if n := len(statements); n > 0 && !statements[n-1].Complete {
		// On a line of its own, so that a comment at the end does not hide it.
		sql += "\n;"
	}
	return sql, nil
}

// apply brings the ledger to hold every file. It returns the names that this
// call applied; with an error those are the files that did get applied.
func (m *migrations) apply(ctx context.Context) ([]string, error) {
	var applied []string
	remaining := m.files
	// Each round applies at least one file or fails, except after an unknown
	// outcome, which is looked up in the ledger and repeated at most twice.
	for doubts := 0; len(remaining) > 0; {
		groups, err := batches(m.db.MigrationsTable, remaining)
		if err != nil {
			return applied, err
		}
		next := groups[0]
		m.count()
		_, err = m.cf.D1Exec(ctx, m.db.DatabaseID, next.sql)
		switch {
		case err == nil:
			applied = append(applied, names(next.files)...)
			remaining = remaining[len(next.files):]
			m.progress(len(applied))
			continue
		case ctx.Err() != nil:
			return applied, fmt.Errorf("applying %s: %w", strings.Join(names(next.files), ", "), err)
		}
		// Something went wrong; only the ledger knows how far it got. It also
		// knows what another run did in the meantime: a duplicate name is refused
		// by the table itself.
		ledger, lookErr := ledger(ctx, m.cf, m.db)
		if lookErr != nil {
			return applied, fmt.Errorf("applying %s: %w", strings.Join(names(next.files), ", "), errors.Join(err, lookErr))
		}
		before := len(remaining)
		unknown := errors.Is(err, cloudflare.ErrUnknownOutcome)
		remaining = slices.DeleteFunc(slices.Clone(remaining), func(f wrangler.Migration) bool {
			done := slices.Contains(ledger, f.Name)
			if done && unknown {
				applied = append(applied, f.Name)
			}
			return done
		})
		switch {
		case len(remaining) < before:
			m.progress(len(applied))
		case unknown && doubts < 2:
			doubts++
		case unknown:
			return applied, fmt.Errorf("applying %s: %w", strings.Join(names(next.files), ", "), err)
		default:
			return applied, m.blame(ctx, next.files, err)
		}
	}
	return applied, nil
}

// blame finds out which file of a refused batch is the wrong one, by running
// them on a copy of the database's schema. Nothing of the batch was applied.
func (m *migrations) blame(ctx context.Context, files []wrangler.Migration, refusal error) error {
	f := Finding{
		Rule: "migration-failed", Level: LevelError,
		Message: "D1 refused " + strings.Join(names(files), ", ") + ": " + refusalText(refusal),
		Hint:    "mend the file and run the same command again; nothing of this batch was applied",
	}
	at := files[0]
	if len(files) > 1 {
		if wrong, place, ok := m.rehearse(ctx, files); ok {
			at = wrong
			f.Line, f.Column, f.Source = place.line, place.column, place.source
			f.Message = "D1 refused " + at.Name + ": " + refusalText(refusal)
		}
	} else if _, place, ok := m.rehearse(ctx, files); ok {
		f.Line, f.Column, f.Source = place.line, place.column, place.source
	}
	f.File = at.Path
	return Findings{f}
}

type place struct {
	line, column int
	source       string
}

// rehearse runs the files on an empty copy of the schema and says where the
// first of them fails; ok is false when the copy accepts them all (a failure
// that depends on the rows, for example).
func (m *migrations) rehearse(ctx context.Context, files []wrangler.Migration) (wrangler.Migration, place, bool) {
	schema, err := liveSchema(ctx, m.cf, m.db.DatabaseID)
	if err != nil {
		return wrangler.Migration{}, place{}, false
	}
	db, err := d1.Open("")
	if err != nil {
		return wrangler.Migration{}, place{}, false
	}
	defer db.Close()
	for _, sql := range schema {
		// A virtual table makes its own shadow tables, which the catalogue lists too.
		if _, err := db.Query(ctx, sql); err != nil && !strings.Contains(err.Error(), "already exists") {
			return wrangler.Migration{}, place{}, false
		}
	}
	for _, f := range files {
		statements, err := d1.Split(f.SQL)
		for _, s := range statements {
			if _, err := db.Query(ctx, s.SQL); err != nil {
				return f, place{line: s.Line, column: s.Column, source: lineOf(f.SQL, s.Line)}, true
			}
		}
		if err != nil {
			return f, place{line: 1, column: 1}, true
		}
	}
	return wrangler.Migration{}, place{}, false
}

// lineOf is line number n (1-based) of a text, without its end.
func lineOf(text string, n int) string {
	lines := strings.SplitN(text, "\n", n+1)
	if n < 1 || n > len(lines) {
		return ""
	}
	return strings.TrimSuffix(lines[n-1], "\r")
}

// refusalText is what Cloudflare said, without our own words around it.
func refusalText(err error) string {
	var api *cloudflare.Error
	if errors.As(err, &api) && api.Message != "" {
		return api.Message
	}
	return err.Error()
}

func names(files []wrangler.Migration) []string {
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f.Name
	}
	return out
}

// ledger reads which migrations a database says are applied, in order. A
// database without the table has applied none.
func ledger(ctx context.Context, cf *cloudflare.Client, db wrangler.D1Database) ([]string, error) {
	rows, err := cf.D1Read(ctx, db.DatabaseID, "SELECT name FROM "+quoteName(db.MigrationsTable)+" ORDER BY id")
	if err != nil {
		if strings.Contains(refusalText(err), "no such table: "+db.MigrationsTable) {
			return nil, nil
		}
		return nil, fmt.Errorf("reading the migration ledger of %s: %w", db.DatabaseName, err)
	}
	var list []struct{ Name string }
	if err := rows.Decode(&list); err != nil {
		return nil, fmt.Errorf("reading the migration ledger of %s: %w", db.DatabaseName, err)
	}
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = r.Name
	}
	return out, nil
}

// liveSchema reads the statements that made a database's tables, indexes,
// views and triggers, in an order in which they can be run again.
func liveSchema(ctx context.Context, cf *cloudflare.Client, database string) ([]string, error) {
	rows, err := cf.D1Read(ctx, database, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '_cf_%'"+
		" ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 WHEN 'view' THEN 2 ELSE 3 END, rowid")
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	var list []struct{ SQL string }
	if err := rows.Decode(&list); err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = r.SQL
	}
	return out, nil
}
