package d1

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// Error is a statement that D1 refuses or that failed. Nothing of its batch has been applied.
type Error struct {
	// Message is what D1 says, for instance "no such table: notes: SQLITE_ERROR".
	Message string
	// Code is SQLite's name of the error, for instance SQLITE_CONSTRAINT_UNIQUE; "" when the engine refused before SQLite did.
	Code string
	// Query and Index say which statement it was: the index of its query in the batch, and its own over the whole batch,
	// both from 0. Index is -1 when no statement is to blame but the batch: it is empty, or its constraints were left
	// violated.
	Query, Index int
	// SQL is the text of the statement.
	SQL string
	// Offset is where the error stands in the text of the query, in bytes: at the token that SQLite points at, otherwise
	// at the first token of the statement. Line and Column are the same place, 1-based, Column in bytes; 0 for Index -1.
	Offset, Line, Column int

	cause error
}

// Error is D1's message.
func (e *Error) Error() string { return e.Message }

// Unwrap is SQLite's error.
func (e *Error) Unwrap() error { return e.cause }

// The engine's own words, read from what workerd's D1 answers.
const (
	messageEmpty       = "No SQL statements detected."
	messageNUL         = "SQL code did not contain a statement."
	messageParameters  = "Wrong number of parameter bindings for SQL query."
	messageEarly       = "When executing multiple SQL statements in a single call, only the last statement can have parameters."
	messageTooLong     = "statement too long: SQLITE_TOOBIG"
	messageTransaction = "To execute a transaction, please use the state.storage.transaction() or state.storage.transactionSync() APIs instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements. The JavaScript API is safer because it will automatically roll back on exceptions, and because it interacts correctly with Durable Objects' automatic atomic write coalescing."
	messageViolated    = "Durable Object was reset and rolled back to its last known good state because the application left the database in a state where constraints were violated: "
)

// extendedCodes name the extended codes that a statement can meet; the engine spells them out.
var extendedCodes = map[sqlite3.ExtendedErrorCode]string{
	sqlite3.CONSTRAINT_CHECK: "CHECK", sqlite3.CONSTRAINT_COMMITHOOK: "COMMITHOOK", sqlite3.CONSTRAINT_FOREIGNKEY: "FOREIGNKEY",
	sqlite3.CONSTRAINT_FUNCTION: "FUNCTION", sqlite3.CONSTRAINT_NOTNULL: "NOTNULL", sqlite3.CONSTRAINT_PRIMARYKEY: "PRIMARYKEY",
	sqlite3.CONSTRAINT_TRIGGER: "TRIGGER", sqlite3.CONSTRAINT_UNIQUE: "UNIQUE", sqlite3.CONSTRAINT_VTAB: "VTAB",
	sqlite3.CONSTRAINT_ROWID: "ROWID", sqlite3.CONSTRAINT_PINNED: "PINNED", sqlite3.CONSTRAINT_DATATYPE: "DATATYPE",
	sqlite3.ERROR_MISSING_COLLSEQ: "MISSING_COLLSEQ", sqlite3.CORRUPT_VTAB: "VTAB",
}

// primaryCodes name SQLite's primary result codes.
var primaryCodes = map[sqlite3.ErrorCode]string{
	sqlite3.ERROR: "SQLITE_ERROR", sqlite3.INTERNAL: "SQLITE_INTERNAL", sqlite3.PERM: "SQLITE_PERM", sqlite3.ABORT: "SQLITE_ABORT",
	sqlite3.BUSY: "SQLITE_BUSY", sqlite3.LOCKED: "SQLITE_LOCKED", sqlite3.NOMEM: "SQLITE_NOMEM", sqlite3.READONLY: "SQLITE_READONLY",
	sqlite3.INTERRUPT: "SQLITE_INTERRUPT", sqlite3.IOERR: "SQLITE_IOERR", sqlite3.CORRUPT: "SQLITE_CORRUPT",
	sqlite3.NOTFOUND: "SQLITE_NOTFOUND", sqlite3.FULL: "SQLITE_FULL", sqlite3.CANTOPEN: "SQLITE_CANTOPEN",
	sqlite3.SCHEMA: "SQLITE_SCHEMA", sqlite3.TOOBIG: "SQLITE_TOOBIG", sqlite3.CONSTRAINT: "SQLITE_CONSTRAINT",
	sqlite3.MISMATCH: "SQLITE_MISMATCH", sqlite3.MISUSE: "SQLITE_MISUSE", sqlite3.AUTH: "SQLITE_AUTH",
	sqlite3.RANGE: "SQLITE_RANGE", sqlite3.NOTADB: "SQLITE_NOTADB",
}

// describe words an error of SQLite as D1 does: text, "at offset N" when offset is not negative, code.
func describe(err error, offset int) (message, code string) {
	var primary sqlite3.ErrorCode
	var extended sqlite3.ExtendedErrorCode
	if !errors.As(err, &primary) || !errors.As(err, &extended) {
		return err.Error(), ""
	}
	code = primaryCodes[primary]
	if code == "" {
		code = fmt.Sprintf("SQLITE_UNKNOWN_%d", primary)
	}
	// The library puts "sqlite3: " and its name of the code before SQLite's own words.
	message = strings.TrimPrefix(err.Error(), extended.Error())
	message = strings.TrimPrefix(message, ": ")
	if message == "" {
		message = strings.TrimPrefix(extended.Error(), "sqlite3: ")
	}
	if offset >= 0 {
		message += fmt.Sprintf(" at offset %d", offset)
	}
	message += ": " + code
	if name := extendedCodes[extended]; name != "" {
		code += "_" + name
		message += " (extended: " + code + ")"
	}
	return message, code
}

// errorOffset is where in sql SQLite points at, -1 when it does not.
func errorOffset(err error, sql string) int {
	var e *sqlite3.Error
	if !errors.As(err, &e) || e.SQL() == "" || len(e.SQL()) > len(sql) {
		return -1
	}
	return len(sql) - len(e.SQL())
}
