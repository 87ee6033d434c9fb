package d1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/fts5"
	"github.com/ncruces/go-sqlite3/ext/rtree"
	"github.com/ncruces/go-sqlite3/ext/serdes"
)

// DB is one database. Its methods are safe for concurrent use and run one after the other, as in D1.
type DB struct {
	// BeforeWrite, if set, is called inside a transaction before its first statement that may write, with the size of the
	// database in bytes and a function that copies it as it was before. An error makes the transaction fail. It may not use the DB otherwise.
	// Set it before the first call.
	BeforeWrite func(ctx context.Context, size int64, snapshot func() ([]byte, error)) error

	turn chan struct{} // holds one token while nobody works on the fields below

	conn     *sqlite3.Conn
	size     *sqlite3.Stmt // PRAGMA page_count
	version  *sqlite3.Stmt // PRAGMA schema_version
	pageSize int64
	readOnly bool // somebody's file
	trusted  bool // the engine's own statements pass the authorizer
	// watch, when set, is told what a statement that compiles is going to touch, as SQLite tells its authorizer. via is the
	// trigger or view that makes it do so, "" for the statement itself.
	watch   func(action sqlite3.AuthorizerActionCode, name, detail, via string)
	meter   meter
	writing bool  // BeforeWrite has been called in this transaction
	broken  error // set when SQLite was left in an unknown state; answers everything after that
}

// ErrClosed is what methods of a closed database return.
var ErrClosed = errors.New("database is closed")

// ErrNotDatabase says that a file is no SQLite database.
var ErrNotDatabase = errors.New("it is no SQLite database")

// Open opens the database in the file path, which is made when it does not exist; "" is a database in memory. The file
// is an ordinary SQLite database that nobody else may have open. What a finished call has changed survives the death of
// the process, though not that of the machine.
func Open(path string) (*DB, error) {
	name := path
	if name == "" {
		name = ":memory:"
	}
	return openWith(name, sqlite3.OPEN_READWRITE|sqlite3.OPEN_CREATE)
}

// OpenReadOnly opens somebody's SQLite file to be read: nothing of it is changed, it may be in use and in WAL mode, and
// D1's limits on sizes do not hold for what is in it. Only the methods that read can be used. SQLite needs the files -wal
// and -shm beside one in WAL mode; it makes them when they are missing, and a reader does not take them away.
func OpenReadOnly(path string) (*DB, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("opening database: %w", err) // SQLite's words for it are "unable to open database file"
	} else if info.IsDir() {
		return nil, fmt.Errorf("opening database %s: %w", path, ErrNotDatabase)
	}
	db, err := openWith(path, sqlite3.OPEN_READONLY)
	if errors.Is(err, sqlite3.NOTADB) {
		return nil, fmt.Errorf("opening database %s: %w", path, ErrNotDatabase)
	}
	return db, err
}

func openWith(name string, flags sqlite3.OpenFlag) (*DB, error) {
	conn, err := sqlite3.OpenFlags(name, flags)
	if err != nil {
		return nil, fmt.Errorf("opening database %s: %w", name, err)
	}
	db := &DB{conn: conn, turn: make(chan struct{}, 1), readOnly: flags&sqlite3.OPEN_READONLY != 0}
	if err := db.configure(); err != nil {
		db.finalize()
		conn.Close()
		return nil, fmt.Errorf("opening database %s: %w", name, err)
	}
	db.turn <- struct{}{}
	return db, nil
}

// noModule stands for a module that does not exist.
type noModule struct{ sqlite3.VTab }

// configure turns SQLite into D1's engine.
func (db *DB) configure() error {
	c := db.conn
	setUp := "PRAGMA journal_mode=TRUNCATE; PRAGMA synchronous=OFF; PRAGMA foreign_keys=ON; PRAGMA recursive_triggers=OFF;"
	if db.readOnly {
		setUp = "PRAGMA query_only=ON"
	}
	if err := c.Exec(setUp); err != nil {
		return err
	}
	if err := fts5.Register(c); err != nil {
		return err
	}
	if err := rtree.Register(c); err != nil {
		return err
	}
	// The library brings generate_series, D1 does not have it; a module without a constructor removes it.
	//lint:ignore SA1019 the generic method that replaces it needs a newer Go than go.mod asks for
	if err := sqlite3.CreateModule[noModule](c, "generate_series", nil, nil); err != nil {
		return err
	}
	// The engine's own load_extension is there and says no.
	refuse := func(ctx sqlite3.Context, _ ...sqlite3.Value) { ctx.ResultError(errors.New("not authorized")) }
	for args := 1; args <= 2; args++ {
		if err := c.CreateFunction("load_extension", args, sqlite3.DIRECTONLY, refuse); err != nil {
			return err
		}
	}
	for option, on := range map[sqlite3.DBConfig]bool{
		sqlite3.DBCONFIG_DEFENSIVE: true, sqlite3.DBCONFIG_DQS_DML: true, sqlite3.DBCONFIG_DQS_DDL: true,
	} {
		if _, err := c.Config(option, on); err != nil {
			return err
		}
	}
	var err error
	if db.size, _, err = c.Prepare("PRAGMA page_count"); err != nil {
		return err
	}
	if db.version, _, err = c.Prepare("PRAGMA schema_version"); err != nil {
		return err
	}
	if db.pageSize, err = db.number("PRAGMA page_size"); err != nil {
		return err
	}
	if !db.readOnly {
		for limit, value := range engineLimits {
			c.Limit(limit, value)
		}
	}
	c.PreUpdateHook(db.meter.row)
	return c.SetAuthorizer(func(action sqlite3.AuthorizerActionCode, arg1, arg2, schema, via string) sqlite3.AuthorizerReturnCode {
		if db.trusted {
			return sqlite3.AUTH_OK
		}
		if !allowed(action, arg1, arg2, schema) {
			db.meter.refused(action, arg2)
			return sqlite3.AUTH_DENY
		}
		db.meter.compiles(action, arg1, arg2)
		if db.watch != nil {
			db.watch(action, arg1, arg2, via)
		}
		return sqlite3.AUTH_OK
	})
}

func (db *DB) finalize() {
	db.size.Close()
	db.version.Close()
}

// Close releases the database. Calls that come after it fail with ErrClosed.
func (db *DB) Close() error {
	<-db.turn
	defer func() { db.turn <- struct{}{} }()
	if errors.Is(db.broken, ErrClosed) {
		return nil
	}
	broken := db.broken
	db.broken = ErrClosed
	if broken != nil {
		return nil // nothing of it can be used, not even to close it
	}
	db.finalize()
	return db.conn.Close()
}

// Query runs the statements of sql as one transaction; see Batch.
func (db *DB) Query(ctx context.Context, sql string, params ...any) ([]Result, error) {
	return db.Batch(ctx, []Query{{SQL: sql, Params: params}})
}

// Batch runs all statements of all queries, in order, as one transaction: all of them or none. It returns one result
// per statement. Text without a statement is skipped; a batch of nothing else is an error.
//
// A statement that D1 would refuse, and one that fails, is an *Error. When ctx ends first the error wraps ctx.Err(), and
// nothing has been applied.
func (db *DB) Batch(ctx context.Context, queries []Query) ([]Result, error) {
	var results []Result
	err := db.transaction(ctx, func() error {
		index := 0
		for i, q := range queries {
			statements, unfinished := Split(q.SQL)
			for j, s := range statements {
				params, last := q.Params, j == len(statements)-1
				if !last {
					params = nil
				}
				r, err := db.execute(ctx, s, params, last)
				if err != nil {
					return locate(err, s, i, index)
				}
				results = append(results, r)
				index++
			}
			if unfinished != nil {
				return endless(unfinished, i, index)
			}
		}
		if index == 0 {
			return &Error{Message: messageEmpty, Index: -1}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// Imported is what an import did.
type Imported struct {
	Statements int
	Meta       Meta // summed up
}

// Import runs the statements of a stream as one transaction without keeping their results, so that the size of the
// stream does not matter. Errors are those of Batch, with Query 0 and an Offset into the stream.
func (db *DB) Import(ctx context.Context, r io.Reader) (Imported, error) {
	var done Imported
	err := db.transaction(ctx, func() error {
		for s, err := range ReadStatements(r) {
			if err != nil {
				return endless(err, 0, done.Statements)
			}
			result, err := db.execute(ctx, s, nil, true)
			if err != nil {
				return locate(err, s, 0, done.Statements)
			}
			done.Statements++
			done.Meta.add(result.Meta)
		}
		if done.Statements == 0 {
			return &Error{Message: messageEmpty, Index: -1}
		}
		return nil
	})
	if err != nil {
		return Imported{}, err
	}
	return done, nil
}

func (m *Meta) add(n Meta) {
	m.Duration += n.Duration
	m.Changes += n.Changes
	m.RowsRead += n.RowsRead
	m.RowsWritten += n.RowsWritten
	m.LastRowID, m.SizeAfter = n.LastRowID, n.SizeAfter
	m.ChangedDB = m.ChangedDB || n.ChangedDB
}

// Snapshot is a copy of the database, as the bytes of an SQLite file.
func (db *DB) Snapshot(ctx context.Context) (image []byte, err error) {
	err = db.exclusive(ctx, func() (err error) {
		image, err = db.copy()
		return err
	})
	return image, err
}

func (db *DB) copy() ([]byte, error) {
	image, err := serdes.Serialize(db.conn, "main")
	if err != nil {
		return nil, fmt.Errorf("copying the database: %w", err)
	}
	return image, nil
}

// Restore replaces everything in the database by what a snapshot holds. When it fails the database is as it was.
func (db *DB) Restore(ctx context.Context, snapshot []byte) error {
	err := db.exclusive(ctx, func() error {
		db.meter.forget()
		return serdes.Deserialize(db.conn, "main", snapshot)
	})
	if err != nil {
		return fmt.Errorf("restoring the database: %w", err)
	}
	return nil
}

// Size is the size of the database in bytes.
func (db *DB) Size(ctx context.Context) (size int64, err error) {
	err = db.exclusive(ctx, func() error {
		size, err = db.bytes()
		return err
	})
	return size, err
}

// exclusive runs work when it is its turn. A panic of the library, which it makes of running out of memory, comes back
// as an error.
func (db *DB) exclusive(ctx context.Context, work func() error) (err error) {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-db.turn:
	}
	defer func() { db.turn <- struct{}{} }()
	if db.broken != nil {
		return db.broken
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("SQLite gave up: %v", p)
			db.recoverFrom(err)
		}
	}()
	db.conn.SetInterrupt(ctx)
	defer db.conn.SetInterrupt(context.Background())
	return work()
}

// recoverFrom brings the connection back after a panic, or gives the database up.
func (db *DB) recoverFrom(cause error) {
	defer func() {
		if p := recover(); p != nil {
			db.broken = fmt.Errorf("database is unusable since %w", cause)
		}
	}()
	db.conn.SetInterrupt(context.Background())
	if err := db.rollback(); err != nil {
		db.broken = fmt.Errorf("database is unusable since %w", errors.Join(cause, err))
	}
}

// transaction runs work in a transaction that ends with it.
func (db *DB) transaction(ctx context.Context, work func() error) error {
	return db.exclusive(ctx, func() error {
		db.writing = false
		if err := db.own("BEGIN"); err != nil {
			return interrupted(ctx, err)
		}
		if err := work(); err != nil {
			if rollback := db.rollback(); rollback != nil {
				return errors.Join(err, rollback)
			}
			return interrupted(ctx, err)
		}
		if err := db.own("COMMIT"); err != nil {
			if rollback := db.rollback(); rollback != nil {
				return errors.Join(err, rollback)
			}
			message, code := describe(err, -1)
			if errors.Is(err, sqlite3.CONSTRAINT) {
				message = messageViolated + message
			}
			return interrupted(ctx, &Error{Message: message, Code: code, Index: -1, cause: err})
		}
		return nil
	})
}

// rollback ends a transaction, interrupted or not. INSERT OR ROLLBACK has done so already.
func (db *DB) rollback() error {
	db.meter.forget()
	if db.conn.GetAutocommit() {
		return nil
	}
	ctx := db.conn.SetInterrupt(context.Background())
	defer db.conn.SetInterrupt(ctx)
	return db.own("ROLLBACK")
}

// interrupted prefers the reason of the context to SQLite's "interrupted".
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, sqlite3.INTERRUPT) {
		return fmt.Errorf("running SQL: %w", context.Cause(ctx))
	}
	return err
}

// own runs a statement of the engine itself, which no policy binds.
func (db *DB) own(sql string) error {
	db.trusted = true
	defer func() { db.trusted = false }()
	return db.conn.Exec(sql)
}

// number runs a statement of the engine that gives one number.
func (db *DB) number(sql string) (int64, error) {
	db.trusted = true
	defer func() { db.trusted = false }()
	s, _, err := db.conn.Prepare(sql)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	return db.value(s)
}

// value steps one of the engine's own statements and takes its first column.
func (db *DB) value(s *sqlite3.Stmt) (int64, error) {
	db.trusted = true // it may be compiled again
	defer func() { db.trusted = false }()
	var n int64
	if s.Step() {
		n = s.ColumnInt64(0)
	}
	return n, s.Reset()
}

func (db *DB) bytes() (int64, error) {
	pages, err := db.value(db.size)
	return pages * db.pageSize, err
}

// failure is why a statement was refused, before it is known where it stands.
type failure struct {
	message, code string
	offset        int // in the statement, -1 unknown
	cause         error
}

func (f *failure) Error() string { return f.message }
func (f *failure) Unwrap() error { return f.cause }

// locate turns a failure into an Error.
func locate(err error, s Statement, query, index int) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	e := &Error{Message: f.message, Code: f.code, Query: query, Index: index, SQL: s.SQL, cause: f.cause,
		Line: s.Line, Column: s.Column}
	first := firstToken(s.SQL)
	at := f.offset
	if at < 0 {
		at = first
	}
	e.Offset = s.Offset + at
	c := cursor{line: s.Line, column: s.Column}
	if at >= first {
		c.advance(s.SQL[first:at])
		e.Line, e.Column = c.line, c.column
	}
	return e
}

// endless turns what Split complains about into an Error. SQLite itself has refused a quote that never closes, so that
// only a NUL is left.
func endless(err error, query, index int) error {
	var u *UnfinishedError
	if !errors.As(err, &u) {
		return err
	}
	return &Error{Message: messageNUL, Query: query, Index: index, Offset: u.Offset, Line: u.Line, Column: u.Column, cause: err}
}

// firstToken is the offset of the first token of a statement that is not a comment.
func firstToken(sql string) int {
	s, _ := scan(sql)
	return s.token
}

// execute compiles and runs one statement.
func (db *DB) execute(ctx context.Context, s Statement, params []any, last bool) (Result, error) {
	var r Result
	start := time.Now()
	stmt, err := db.compile(s.SQL)
	if err != nil || stmt == nil {
		return r, err
	}
	defer stmt.Close()
	switch wanted := stmt.BindCount(); {
	case wanted != 0 && !last:
		return r, &failure{message: messageEarly, offset: -1}
	case wanted != len(params):
		return r, &failure{message: messageParameters, offset: -1}
	}
	for i, p := range params {
		if err := bind(stmt, i+1, p); err != nil {
			return r, sqlFailure(err, "")
		}
	}
	if db.BeforeWrite != nil && !db.writing && !stmt.ReadOnly() {
		db.writing = true
		size, err := db.bytes()
		if err != nil {
			return r, sqlFailure(err, "")
		}
		if err := db.BeforeWrite(ctx, size, db.copy); err != nil {
			return r, err
		}
	}
	schemaBefore, err := db.value(db.version)
	if err != nil {
		return r, sqlFailure(err, "")
	}
	if err := db.meter.prepare(db); err != nil {
		return r, sqlFailure(err, "")
	}
	before, rowID := db.conn.TotalChanges(), db.conn.LastInsertRowID()
	r.Columns = make([]string, stmt.ColumnCount())
	for i := range r.Columns {
		r.Columns[i] = stmt.ColumnName(i)
	}
	for stmt.Step() {
		r.Rows = append(r.Rows, row(stmt, len(r.Columns)))
	}
	if err := stmt.Err(); err != nil {
		return r, sqlFailure(err, "")
	}
	r.Meta.Changes = db.conn.TotalChanges() - before
	r.Meta.LastRowID = db.conn.LastInsertRowID()
	r.Meta.RowsRead, r.Meta.RowsWritten = db.meter.count(stmt, len(r.Rows))
	schemaAfter, err := db.value(db.version)
	if err == nil {
		r.Meta.SizeAfter, err = db.bytes()
	}
	if err != nil {
		return r, sqlFailure(err, "")
	}
	if schemaAfter != schemaBefore {
		db.meter.forget()
	}
	r.Meta.ChangedDB = r.Meta.Changes != 0 || r.Meta.LastRowID != rowID || schemaAfter != schemaBefore
	r.Meta.Duration = time.Since(start)
	return r, nil
}

// compile prepares a statement; nil without an error means that there was nothing in it.
func (db *DB) compile(sql string) (*sqlite3.Stmt, error) {
	if len(sql) > MaxStatementBytes {
		return nil, &failure{message: messageTooLong, code: "SQLITE_TOOBIG", offset: -1, cause: sqlite3.TOOBIG}
	}
	if renamesToReserved(sql) {
		return nil, &failure{message: "not authorized: SQLITE_AUTH", code: "SQLITE_AUTH", offset: -1, cause: sqlite3.AUTH}
	}
	db.meter.begin()
	stmt, tail, err := db.conn.Prepare(sql)
	if err == nil {
		if rest, _ := scan(tail); rest.kind != emptyStatement {
			stmt.Close()
			return nil, fmt.Errorf("statement %q goes on behind where SQLite stopped reading: %q", sql, tail)
		}
		return stmt, nil
	}
	if db.meter.transaction {
		return nil, &failure{message: messageTransaction, offset: -1, cause: err}
	}
	if !db.meter.absent {
		return db.compileLimited(sql, err)
	}
	f := sqlFailure(err, sql)
	f.message = strings.Replace(f.message, "not authorized to use function: ", "no such function: ", 1)
	return nil, f
}

// sqlFailure is a failure that SQLite told of; sql is "" when it does not point into the statement.
func sqlFailure(err error, sql string) *failure {
	offset := errorOffset(err, sql)
	message, code := describe(err, offset)
	return &failure{message: message, code: code, offset: offset, cause: err}
}

func bind(s *sqlite3.Stmt, i int, v any) error {
	switch v := v.(type) {
	case nil:
		return s.BindNull(i)
	case bool:
		return s.BindBool(i, v)
	case int:
		return s.BindInt64(i, int64(v))
	case int64:
		return s.BindInt64(i, v)
	case float64:
		return s.BindFloat(i, v)
	case string:
		return s.BindText(i, v)
	case []byte:
		if v == nil {
			v = []byte{} // an empty blob, not NULL
		}
		return s.BindBlob(i, v)
	}
	return fmt.Errorf("parameter %d has type %T, which D1 does not know", i, v)
}

func row(s *sqlite3.Stmt, columns int) []any {
	values := make([]any, columns)
	for i := range values {
		switch s.ColumnType(i) {
		case sqlite3.INTEGER:
			values[i] = s.ColumnInt64(i)
		case sqlite3.FLOAT:
			values[i] = s.ColumnFloat(i)
		case sqlite3.TEXT:
			values[i] = s.ColumnText(i)
		case sqlite3.BLOB:
			values[i] = s.ColumnBlob(i, []byte{})
		}
	}
	return values
}
