package d1

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ncruces/go-sqlite3"
)

// Migration is one file of migrations.
type Migration struct {
	Name string // as the ledger knows it
	Path string // as findings name it
	SQL  string
}

// Case is what is rehearsed: pending files on a live database.
type Case struct {
	Schema  []Object    // the live catalogue, in the order of its rowids
	Pending []Migration // in the order of their numbers
	// Running says that a release runs on the database while it is migrated. Files that take something away from it
	// then wait until another release has taken its place.
	Running bool
	// DenyColumns are columns that no table may have, compared without regard to case.
	DenyColumns []string
	// LeaveOut are tables that are no part of what the files make: the ledger.
	LeaveOut []string
}

// Phase is when a file is applied.
type Phase string

const (
	// Expand is before the release: the release that runs today does not notice, the one to come may need it.
	Expand Phase = "expand"
	// Contract is after the new release passed its gate: it takes away what the release before used.
	Contract Phase = "contract"
)

// Rehearsal is what the pending files did to a copy of the live schema. It is a plain value: the same case gives the
// same rehearsal, so that shops with equal schemas share one. It is not changed once it was made.
type Rehearsal struct {
	// Before and After are fingerprints of the schema without and with the pending files.
	Before, After string
	// Files are the pending files in the order in which they are to be applied, expanding ones first.
	Files []File
	// Dropped are the tables and columns of the live database that the files take away.
	Dropped []Dropped

	commute   bool      // contracting files and expanding ones behind them do not touch the same rows
	findings  []Finding // that no row of the live database can change
	risks     []risk
	questions []string
}

// File is what one file does.
type File struct {
	Name  string
	Phase Phase
	// Changes are what it does, one line each, in its order.
	Changes []string
	// Reason is why its author says that data may be lost ("-- shopfleet: destructive because …"); "" without one.
	Reason string
}

// Dropped is a table, or with Column one column of it, under the name that the live database has for it.
type Dropped struct {
	Table, Column string
	// Gone says that nothing in the schema has the name any more, so that code which names it must mean this.
	Gone bool
}

// riskKind says what an answer about the live rows means.
type riskKind int

const (
	destroys  riskKind = iota // the counted rows would go
	depends                   // the counted rows stand in the way
	rewrites                  // the counted rows are written again
	overrules                 // values of the counted rows are overwritten
)

// risk is something that the live rows decide about.
type risk struct {
	kind     riskKind
	rule     string
	at       site
	message  string
	excused  bool // the file says why
	nulls    bool // it is about missing values, which made-up rows have too
	mended   bool // statements before it write to the table, so that today's rows are not those that it meets
	question int  // -1: nobody can be asked
}

// site is where something was done.
type site struct {
	file         *Migration
	line, column int
	sql          string
}

func (s site) finding(rule, level, message string) Finding {
	f := Finding{Rule: rule, Level: level, Message: message}
	if s.file != nil {
		f.File, f.Line, f.Column, f.Source = s.file.Path, s.line, s.column, lineOf(s.file.SQL, s.line)
	}
	return f
}

// lineOf is line number n (1-based) of a text, without its end.
func lineOf(text string, n int) string {
	lines := strings.SplitN(text, "\n", n+1)
	if n < 1 || n > len(lines) {
		return ""
	}
	return strings.TrimSuffix(lines[n-1], "\r")
}

// Rehearse applies the pending files to a copy of the live schema on a real SQLite with D1's limits and says what they
// do. Mistakes in the files are in Rehearsal.Findings; an error means that the rehearsal itself could not take place.
// What depends on live rows is told apart with Questions. Safe for concurrent use.
func Rehearse(ctx context.Context, c Case) (*Rehearsal, error) {
	r, err := rehearse(ctx, c)
	if err != nil || !c.Running {
		return r, err
	}
	// Expanding files go first. That is only right when the others do not mind.
	order, moved := expandFirst(c.Pending, r.Files)
	if !moved {
		return r, nil
	}
	c.Pending = order
	again, err := rehearse(ctx, c)
	if err != nil {
		return nil, err
	}
	if again.After == r.After && len(again.findings) == len(r.findings) && r.commute {
		return again, nil
	}
	for i, f := range r.Files {
		if f.Phase == Contract {
			at := site{file: &c.Pending[slices.IndexFunc(c.Pending, func(m Migration) bool { return m.Name == f.Name })], line: 1, column: 1}
			finding := at.finding("migration-order", levelError,
				fmt.Sprintf("%s takes away what the running release uses and has to wait for the release, but files after it need it first", f.Name))
			finding.Expected = "expanding files before it, or files that do not build on it: " + nameList(r.Files[i+1:])
			finding.Hint = "release up to this file first, or give it a number behind the others"
			r.findings = append(r.findings, finding)
			break
		}
	}
	return r, nil
}

func nameList(files []File) string {
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}

// expandFirst puts the expanding files before the contracting ones and says whether that moved any.
func expandFirst(pending []Migration, files []File) (order []Migration, moved bool) {
	if len(files) != len(pending) {
		return pending, false // the rehearsal stopped at a file that fails
	}
	var late []Migration
	for i, f := range files {
		if f.Phase == Contract {
			late = append(late, pending[i])
			continue
		}
		moved = moved || len(late) > 0
		order = append(order, pending[i])
	}
	return append(order, late...), moved
}

// maxFile is how long a file may be so that it goes into one call together with its rows in the ledger.
const maxFile = MaxStatementBytes - 4_000

// rehearser is one rehearsal under way.
type rehearser struct {
	Case
	db  *DB
	out *Rehearsal

	live           map[string]*liveTable // tables that have rows of the shop, by their present name in lower case
	tracked        []*liveTable          // all that live held in the beginning
	views          map[string]*tableInfo // the live database's views, by name in lower case
	made           map[string]site       // tables → the statement that last made or altered them
	last           site                  // the statement that last changed or dropped a table
	triggersBefore map[string]string     // tables that nothing could be written to before, and why

	file    *fileRun
	touched touched
	runs    []*fileRun
}

// liveTable follows a table of the live database through the files.
type liveTable struct {
	origin  *tableInfo        // as it is live
	now     *tableInfo        // as it is by now
	columns map[string]string // present names of its live columns, in lower case → their live names
	written bool              // a statement has changed or deleted rows of it
}

// fileRun is what became of one file.
type fileRun struct {
	*Migration
	statements  []Statement
	directives  directives
	changes     []change
	dropped     map[string]dropped // live tables, by the name they had
	emptied     map[string]site    // live tables whose rows were deleted without a condition
	views       map[string]site    // live views that were dropped
	created     map[string]site    // tables and views, by name in lower case
	touchesLive bool
	after       []liveState // live tables at the end of the file, for the run with rows
	rebuilt     map[*liveTable]site
	starts      map[*liveTable]string    // names of live tables when the file began
	selected    map[*liveTable]selection // live tables of which only a selection was copied
	deleted     map[*liveTable]bool      // live tables of which a statement deletes rows itself
	rows        map[string]bool          // tables, in lower case, whose rows are written
	reads       map[string]bool          // tables that are read
	ddl         map[string]bool          // tables that are altered or dropped
	passed      bool                     // D1 would accept it
	counted     bool                     // made-up rows came through it
}

// selection is a statement that copies some rows of a table.
type selection struct {
	at    site
	where string // what they meet; "" when it cannot be told alone
}

type dropped struct {
	table *liveTable
	at    site
}

// liveState is where the rows of a live table are after a file.
type liveState struct {
	table   *liveTable
	name    string
	columns []columnState
}

// columnState is a column of a live table: its name by now, and in the live database.
type columnState struct{ name, live string }

// change is one thing that a file does. A file that both expands and retires cannot go out in one piece.
type change struct {
	at               site
	text             string
	expands, retires bool
	unclear          bool // whether the running release minds cannot be known
	renames          *liveTable
}

func rehearse(ctx context.Context, c Case) (*Rehearsal, error) {
	db, err := Build(ctx, c.Schema)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	r := &rehearser{Case: c, db: db, out: &Rehearsal{}, made: map[string]site{}}
	err = db.exclusive(ctx, func() error { return r.run(ctx) })
	if err == nil {
		err = r.checkQuestions(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("rehearsing migrations: %w", err)
	}
	return r.out, nil
}

// checkQuestions lets only those questions pass that the live database will understand: they are made of parts of the
// files, which may name what the live schema does not have yet.
func (r *rehearser) checkQuestions(ctx context.Context) error {
	if len(r.out.questions) == 0 {
		return nil
	}
	db, err := Build(ctx, r.Schema)
	if err != nil {
		return err
	}
	defer db.Close()
	// A quoted name that no column has must not pass for a string.
	for _, option := range []sqlite3.DBConfig{sqlite3.DBCONFIG_DQS_DML, sqlite3.DBCONFIG_DQS_DDL} {
		if _, err := db.conn.Config(option, false); err != nil {
			return err
		}
	}
	for i, q := range r.out.questions {
		if _, err := db.Query(ctx, q); err != nil {
			if ctx.Err() != nil {
				return err
			}
			r.out.questions[i] = "SELECT -1" // Unknown
		}
	}
	return nil
}

func (r *rehearser) run(ctx context.Context) error {
	// The copy has none of the shop's rows for others to refer to; whether references hold, the run with rows tells.
	if err := r.db.own("PRAGMA foreign_keys=OFF"); err != nil {
		return err
	}
	before, err := r.begin()
	if err != nil {
		return err
	}
	r.triggersBefore = r.brokenTriggers()
	r.out.Before = before.Fingerprint()
	for i := range r.Pending {
		ok, err := r.apply(ctx, &r.Pending[i])
		if err != nil {
			return err
		}
		if !ok {
			break // the files behind it build on it
		}
	}
	after, err := r.db.schema(r.LeaveOut)
	if err != nil {
		return err
	}
	r.out.After = after.Fingerprint()
	r.foreignKeys(before, after)
	r.brokenCode(before, after)
	r.deniedColumns(before, after)
	if err := r.withRows(ctx); err != nil {
		return err
	}
	for i, d := range r.out.Dropped {
		name := d.Column
		if name == "" {
			name = d.Table
		}
		r.out.Dropped[i].Gone = !after.names(name)
	}
	r.conclude()
	return nil
}

// begin takes the present schema for the live one.
func (r *rehearser) begin() (*Schema, error) {
	s, err := r.db.schema(r.LeaveOut)
	if err != nil {
		return nil, err
	}
	r.live, r.views, r.tracked = map[string]*liveTable{}, map[string]*tableInfo{}, nil
	for _, t := range s.tables {
		if t.view {
			r.views[lower(t.name)] = t
			continue
		}
		l := &liveTable{origin: t, now: t, columns: map[string]string{}}
		for _, c := range t.columns {
			l.columns[lower(c.name)] = c.name
		}
		r.live[lower(t.name)] = l
		if t.module == "" {
			r.tracked = append(r.tracked, l)
		}
	}
	return s, nil
}

// apply runs one file as D1 would: as one transaction. ok is false when D1 would refuse it.
func (r *rehearser) apply(ctx context.Context, m *Migration) (ok bool, err error) {
	f := &fileRun{
		Migration: m, dropped: map[string]dropped{}, emptied: map[string]site{}, views: map[string]site{}, created: map[string]site{},
		rebuilt: map[*liveTable]site{}, starts: map[*liveTable]string{}, selected: map[*liveTable]selection{}, deleted: map[*liveTable]bool{},
		rows: map[string]bool{}, reads: map[string]bool{}, ddl: map[string]bool{},
	}
	for _, l := range r.live {
		f.starts[l] = l.now.name
	}
	r.file = f
	r.runs = append(r.runs, f)
	f.directives = r.readDirectives(m)
	var unfinished error
	if f.statements, unfinished = Split(m.SQL); unfinished == nil {
		unfinished = openComment(m.SQL)
	}
	if unfinished != nil {
		r.unreadable(m, unfinished)
		return false, nil
	}
	if n := len(f.statements); n > 0 && !f.statements[n-1].Complete {
		s := f.statements[n-1]
		finding := site{file: m, line: s.Line, column: s.Column}.finding("migration-no-semicolon", levelWarning, "the last statement of "+m.Name+" has no semicolon")
		finding.Hint = "add it: wrangler would run its own bookkeeping into the statement; shopfleet adds one when it applies the file"
		r.out.findings = append(r.out.findings, finding)
	}
	if len(m.SQL) > maxFile {
		finding := site{file: m, line: 1, column: 1}.finding("migration-over-limit", levelWarning,
			fmt.Sprintf("%s has %d bytes, and D1's engine counts its limit of %d over the whole text of a call", m.Name, len(m.SQL), MaxStatementBytes))
		finding.Hint = "split the file: a file is one call, so that it is applied as a whole or not at all"
		r.out.findings = append(r.out.findings, finding)
	}
	refused, err := r.transaction(ctx, r.db, f, r.statement)
	if err != nil {
		return false, err
	}
	if refused != nil {
		r.out.findings = append(r.out.findings, refused.finding())
		return false, nil
	}
	f.passed = true
	return true, r.endOfFile()
}

// refusal is a statement that D1 refuses, or a whole file when statement is nil.
type refusal struct {
	at  site
	err error
}

func (x *refusal) finding() Finding {
	var message string
	var offset, fail = 0, (*failure)(nil)
	if errors.As(x.err, &fail) {
		message, offset = fail.message, fail.offset
	} else {
		message, _ = describe(x.err, -1)
	}
	rule, hint := "migration-failed", "mend the file; nothing was applied"
	for _, words := range []string{"SQLITE_TOOBIG", "too many", "too large", "too complex", "sqlite_limit"} {
		if strings.Contains(message, words) {
			rule, hint = "migration-over-limit", "split the statement: D1 takes 100,000 bytes, 100 columns, 100 parameters and 5 terms of a UNION"
		}
	}
	switch {
	case strings.Contains(message, messageTransaction[:40]):
		hint = "remove BEGIN, COMMIT and SAVEPOINT: D1 applies a file as one transaction anyway"
	case strings.Contains(message, "not authorized"):
		hint = "D1 does not allow this statement; docs/migrations.md lists what it refuses"
	}
	f := x.at.finding(rule, levelError, fmt.Sprintf("D1 would refuse %s: %s", x.at.file.Name, message))
	if offset > 0 && x.at.sql != "" && offset < len(x.at.sql) {
		c := cursor{line: x.at.line, column: x.at.column}
		if first := firstToken(x.at.sql); offset >= first {
			c.advance(x.at.sql[first:offset])
			f.Line, f.Column, f.Source = c.line, c.column, lineOf(x.at.file.SQL, c.line)
		}
	}
	f.Hint = hint
	return f
}

// transaction runs the statements of a file as one transaction. A refusal rolls it back.
func (r *rehearser) transaction(ctx context.Context, db *DB, f *fileRun, run func(*fileRun, Statement) error) (*refusal, error) {
	if err := db.own("BEGIN"); err != nil {
		return nil, err
	}
	var refused *refusal
	for _, s := range f.statements {
		if err := ctx.Err(); err != nil {
			return nil, errors.Join(err, db.rollback())
		}
		at := site{file: f.Migration, line: s.Line, column: s.Column, sql: s.SQL}
		if err := run(f, s); err != nil {
			var fail *failure
			if !errors.As(err, &fail) {
				return nil, errors.Join(err, db.rollback())
			}
			refused = &refusal{at, err}
			break
		}
	}
	if refused == nil {
		if err := db.own("COMMIT"); err != nil {
			message, code := describe(err, -1)
			if errors.Is(err, sqlite3.CONSTRAINT) {
				message = "the file leaves foreign keys violated: " + message
			}
			refused = &refusal{site{file: f.Migration, line: 1, column: 1}, &failure{message: message, code: code, offset: -1, cause: err}}
		}
	}
	if refused != nil {
		return refused, db.rollback()
	}
	return nil, nil
}

// step compiles and runs a statement without keeping what it returns.
func (db *DB) step(sql string, compiled func() error) error {
	stmt, err := db.compile(sql)
	if err != nil || stmt == nil {
		return err
	}
	defer stmt.Close()
	if stmt.BindCount() > 0 {
		return &failure{message: messageParameters, offset: -1}
	}
	if compiled != nil {
		if err := compiled(); err != nil {
			return err
		}
	}
	for stmt.Step() {
	}
	if err := stmt.Err(); err != nil {
		return sqlFailure(err, "")
	}
	return nil
}

// ask notes a risk and the question that decides about it.
func (r *rehearser) ask(x risk, question string) {
	x.question = -1
	if question != "" {
		if x.question = slices.Index(r.out.questions, question); x.question < 0 {
			x.question = len(r.out.questions)
			r.out.questions = append(r.out.questions, question)
		}
	}
	r.out.risks = append(r.out.risks, x)
}

func (r *rehearser) unreadable(m *Migration, err error) {
	var u *UnfinishedError
	at := site{file: m, line: 1, column: 1}
	if errors.As(err, &u) {
		at.line, at.column = u.Line, u.Column
	}
	f := at.finding("migration-unreadable", levelError, "the SQL is not complete: "+err.Error())
	f.Hint = "close it"
	if u != nil && u.Token == notUTF8 {
		f.Message, f.Hint = m.Name+" is not UTF-8, and travels as JSON", "save the file as UTF-8"
	}
	r.out.findings = append(r.out.findings, f)
}

// notUTF8 stands for what cannot be sent.
const notUTF8 = "encoding"

// openComment looks for what Split has no reason to mind: a comment that never closes would swallow what is put behind
// the file, its row in the ledger, and text that is no UTF-8 cannot be sent.
func openComment(sql string) error {
	c := cursor{line: 1, column: 1}
	for rest := sql; rest != ""; {
		kind, n := nextToken(rest)
		if kind == commentToken && strings.HasPrefix(rest, "/*") && (n < 4 || !strings.HasSuffix(rest[:n], "*/")) {
			return &UnfinishedError{Token: "/*", Offset: c.offset, Line: c.line, Column: c.column}
		}
		c.advance(rest[:n])
		rest = rest[n:]
	}
	for i, line := range strings.Split(sql, "\n") {
		if !utf8.ValidString(line) {
			return &UnfinishedError{Token: notUTF8, Line: i + 1, Column: 1}
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
