// Package d1 is Cloudflare D1 without Cloudflare. It cuts SQL text into statements as SQLite does, refuses what D1
// refuses, runs batches on a real SQLite as D1 runs them, and says what migrations will do before they do it.
//
//	db, err := d1.Open("")                                   // in memory
//	results, err := db.Query(ctx, "SELECT 1; SELECT ?", 2)    // one result per statement, one transaction
//	var failed *d1.Error                                      // says which statement, where, and what D1 would say
//
//	r, err := d1.Rehearse(ctx, d1.Case{Schema: live, Pending: files, Running: true})
//	answers := …                                              // the live database's, to r.Questions()
//	for _, f := range r.Findings(answers, false) { … }        // what is lost, what depends on rows, what breaks
//
// The engine begins at db.go; split.go stands on its own. What D1 refuses was read from the engine inside workerd
// (policy.go) and is compared with it, statement by statement, when the binary is installed (corpus_test.go).
//
// A rehearsal (rehearse.go) runs pending files on a copy of a shop's schema: trace.go follows each statement by what
// SQLite tells its authorizer, differ.go compares tables with what they were, populate.go runs the files again on made-up
// rows, verdict.go makes findings of it. schema.go reads and compares catalogues, lint.go needs no live one.
//
// Whole databases: parts.go writes one as SQL that D1 takes, pages.go reads a live one without loss, checksum.go compares
// both sides.
package d1

import "time"

// Query is SQL text, one or more statements, and the values of its parameters.
type Query struct {
	SQL string
	// Params are nil, bool (as 1 or 0), int, int64, float64, string or []byte. Only the last statement may have
	// parameters; their number must match.
	Params []any
}

// Result is what one statement gave.
type Result struct {
	Columns []string // as SQLite names them; names may repeat
	// Rows hold nil, int64, float64, string or []byte. D1 itself sends numbers through JavaScript, where integers beyond
	// 2^53 lose digits; here they do not.
	Rows [][]any
	Meta Meta
}

// Meta is what D1 tells about a statement.
type Meta struct {
	Duration time.Duration // in SQLite, wall clock
	// Changes counts rows inserted, updated and deleted, by triggers and foreign key actions too, as sqlite3_total_changes does.
	Changes int64
	// LastRowID is sqlite3_last_insert_rowid of the connection: it stays until the next insert.
	LastRowID int64
	// RowsRead is an estimate that is rarely above what D1 would bill: SQLite counts the steps of full scans and the rows
	// of a result, but neither rows that only an index search passes nor those of count(*) and sorting.
	RowsRead int64
	// RowsWritten is what D1 would bill for INSERT, UPDATE and DELETE on ordinary tables: rows and index entries.
	// Partial indexes count as if every row were in them. A statement that changes the schema counts nothing.
	RowsWritten int64
	// SizeAfter is the size of the database in bytes after the statement.
	SizeAfter int64
	ChangedDB bool // data or schema changed
}
