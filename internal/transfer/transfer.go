// Package transfer moves whole databases between a shop's D1 and files: a fresh D1 is filled from an SQLite file, and a
// live one is written to a file of SQL. It is apart from package deploy because it has another reason to change, the
// formats and limits of bulk data, and no part in a release.
//
//	plan, err := transfer.Dump(ctx, "helm.sqlite", dir, options)    // no network: the parts, as files
//	done, err := (&transfer.Bootstrap{CF: cf, …}).Run(ctx, plan)      // the parts into a D1, compared afterwards
//	done, err := (&transfer.Export{CF: cf, …}).Run(ctx, out)          // a D1 into a file, compared afterwards
//
// Both directions end with the same question to both sides: how many rows does each table have, and what do their values
// add up to (d1.SumQuery).
package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
)

// Database names the D1 that is worked on.
type Database struct{ ID, Name string }

// Progress is told how far a transfer has come; it may be nil, and is called by one goroutine at a time. total is 0 when
// it is not known.
type Progress func(doing string, done, total int64)

func (p Progress) tell(doing string, done, total int64) {
	if p != nil {
		p(doing, done, total)
	}
}

// Findings are mistakes in a file or an account, as an error: nothing was written because of them.
type Findings []d1.Finding

func (f Findings) Error() string {
	lines := make([]string, len(f))
	for i, x := range f {
		lines[i] = fmt.Sprintf("%s [%s]", x.Message, x.Rule)
	}
	return strings.Join(lines, "\n")
}

func refuse(rule, message, hint string) error {
	return Findings{{Rule: rule, Level: "error", Message: message, Hint: hint}}
}

// Ledger is how a database notes which migrations it has.
type Ledger struct {
	// Tables are wrangler's table and what goes with it. A target may have them already, as long as they are empty: wrangler
	// makes its table when it only lists migrations.
	Tables []string
	// Own are tables that belong to a database and not to what is in it, such as the one that says whose it is: they are
	// neither taken from the file nor seen in the target.
	Own []string
	// Applied are the names that are noted at the end because the file notes none, and SQL is the statements that do so.
	Applied []string
	SQL     string
}

// aside are the tables that no comparison of schemas is about.
func (l Ledger) aside() []string { return slices.Concat(l.Tables, l.Own) }

// Comparison is one table on both sides.
type Comparison struct {
	Table string `json:"table"`
	// Rows and Sum are of the file, LiveRows and LiveSum of the shop's database.
	Rows     int64 `json:"rows"`
	Sum      int64 `json:"checksum"`
	LiveRows int64 `json:"live_rows"`
	LiveSum  int64 `json:"live_checksum"`
}

// Equal says whether both sides have the same rows.
func (c Comparison) Equal() bool { return c.Rows == c.LiveRows && c.Sum == c.LiveSum }

// MismatchError says that after a transfer the two sides differ: in tables, or in their schemas.
type MismatchError struct {
	Tables []Comparison
	Schema []string // what the live one differs in
}

func (e *MismatchError) Error() string {
	differ := e.Schema
	for _, c := range e.Tables {
		if !c.Equal() {
			differ = append(differ, fmt.Sprintf("%s (%d rows, %d live)", c.Table, c.Rows, c.LiveRows))
		}
	}
	return "the two sides differ: " + strings.Join(differ, ", ")
}

// Hint says why that can be.
func (e *MismatchError) Hint() string {
	return "something wrote to the shop's database, or to the file, meanwhile; run the same command again at a quiet time"
}

// Dumped is a database as files.
type Dumped struct {
	Dir    string    `json:"dir"`
	Parts  []d1.Part `json:"parts"`
	Rows   int64     `json:"rows"`
	Bytes  int64     `json:"bytes"`
	Tables []string  `json:"-"`

	file    string
	queries []d1.SumQuery
	schema  *d1.Schema
	ledger  Ledger
	written []string // files, complete or not
}

// sums reads the file once more for its counts and checksums.
func (d *Dumped) sums(ctx context.Context) ([]d1.TableSum, error) {
	db, err := d1.OpenReadOnly(d.file)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	return db.Sums(ctx, d.queries)
}

// Dump writes the SQLite database in file as parts (d1.Parts) into dir, which must be empty or not exist. What D1 would not
// take comes back as findings, and nothing is written then.
func Dump(ctx context.Context, file, dir string, ledger Ledger, progress Progress) (*Dumped, Findings, error) {
	db, err := d1.OpenReadOnly(file)
	if err != nil {
		return nil, nil, err
	}
	defer db.Close()
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return nil, nil, &NotEmptyError{Dir: dir}
	}
	_, statErr := os.Stat(dir)
	fresh := errors.Is(statErr, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, fmt.Errorf("making room for the dump: %w", err)
	}
	// Both read the whole file, so they do it at the same time. What was written of a file that D1 would not take goes away.
	out := &Dumped{Dir: dir, file: file, ledger: ledger}
	wctx, stop := context.WithCancel(ctx)
	defer stop()
	written := make(chan error, 1)
	go func() { written <- out.write(wctx, db, progress) }()
	findings, err := check(ctx, file) // to its end, since it says why writing fails
	if err != nil || len(findings) > 0 {
		stop()
	}
	if writeErr := <-written; err == nil {
		err = writeErr
	}
	if err == nil && len(findings) == 0 {
		return out, nil, nil
	}
	var left error
	for _, p := range out.written {
		left = errors.Join(left, os.Remove(filepath.Join(dir, p)))
	}
	if fresh {
		left = errors.Join(left, os.Remove(dir))
	}
	switch {
	case left != nil:
		return nil, nil, fmt.Errorf("removing what was written of the dump: %w", errors.Join(left, err))
	case len(findings) > 0:
		return nil, findings, nil
	}
	return nil, nil, err
}

// check reads the file through a connection of its own.
func check(ctx context.Context, file string) (Findings, error) {
	db, err := d1.OpenReadOnly(file)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	return db.Check(ctx)
}

func (d *Dumped) write(ctx context.Context, db *d1.DB, progress Progress) (err error) {
	if d.queries, err = db.SumQueries(ctx, d.ledger.Own...); err != nil {
		return err
	}
	if d.schema, err = db.Schema(ctx, d.ledger.aside()...); err != nil {
		return err
	}
	d.Parts, err = d1.Parts{
		Ledger:  d.ledger.SQL,
		Shared:  d.ledger.Tables,
		Without: d.ledger.Own,
		Create: func(name string) (io.WriteCloser, error) {
			d.written = append(d.written, name)
			return os.Create(filepath.Join(d.Dir, name))
		},
		Progress: func(rows int64) { progress.tell("writing rows", rows, 0) },
	}.Write(ctx, db)
	if err != nil {
		return err
	}
	for _, p := range d.Parts {
		d.Rows += p.Rows
		d.Bytes += p.Bytes
	}
	for _, q := range d.queries {
		if q.First() {
			d.Tables = append(d.Tables, q.Table)
		}
	}
	return nil
}

// NotEmptyError says that a folder for a dump holds something already.
type NotEmptyError struct{ Dir string }

func (e *NotEmptyError) Error() string { return e.Dir + " is not empty" }

// Hint says what to do.
func (e *NotEmptyError) Hint() string { return "name a new folder: parts of two dumps must not mix" }

// How many rows one call sums up. D1 gives a call 30 seconds; how long a row takes depends on what is in it.
const (
	firstPage = 50_000
	mostRows  = 200_000
	fewRows   = 50
)

// nextPage is how many rows the next page may have when one of rows took so long.
func nextPage(rows int64, took time.Duration) int64 {
	switch {
	case took < time.Second:
		return min(2*rows, mostRows)
	case took > 5*time.Second:
		return max(rows/4, fewRows)
	}
	return rows
}

// sideBySide is how many calls ask a database for sums at once. D1 runs one query after the other; what is saved is the way
// there and back, which for the many small tables of a shop is nearly all of the time.
const sideBySide = 4

// liveSums asks a database for its sums.
func liveSums(ctx context.Context, cf *cloudflare.Client, db Database, queries []d1.SumQuery, progress Progress) ([]d1.TableSum, error) {
	sums := make([]d1.TableSum, len(queries))
	var mu sync.Mutex
	done := int64(0)
	tell := func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		done += n
		progress.tell("comparing tables", done, int64(len(queries)))
	}
	tell(0)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(sideBySide)
	for i, q := range queries {
		group.Go(func() (err error) {
			if sums[i], err = liveSum(gctx, cf, db, q); err == nil {
				tell(1)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var out []d1.TableSum
	for i, q := range queries {
		if q.First() {
			out = append(out, d1.TableSum{Table: q.Table})
		}
		out[len(out)-1].Add(sums[i].Rows, sums[i].Sum, q.First())
	}
	return out, nil
}

// liveSum is the answer to one query, put together from pages.
func liveSum(ctx context.Context, cf *cloudflare.Client, db Database, q d1.SumQuery) (sum d1.TableSum, err error) {
	lo, hi := int64(0), int64(0)
	if q.Key != "" {
		var ends []struct{ Lo, Hi *float64 }
		if err := read(ctx, cf, db, q.Range(), &ends); err != nil {
			return sum, err
		}
		if ends[0].Lo == nil || ends[0].Hi == nil {
			return sum, nil
		}
		// Numbers beyond 2^53 come rounded: the range is widened by as much.
		lo, hi = widened(*ends[0].Lo, -1), widened(*ends[0].Hi, 1)
	}
	for from, rows := lo, int64(firstPage); ; {
		to := hi
		if q.Key != "" {
			if to, err = pageEnd(ctx, cf, db, q, from, hi, rows); err != nil {
				return sum, err
			}
		}
		var page []struct{ N, S float64 }
		took, err := readTimed(ctx, cf, db, q.SQL(from, to), &page)
		if err != nil && ctx.Err() == nil && q.Key != "" && rows > fewRows {
			rows = max(rows/8, fewRows) // most likely it took too long
			continue
		}
		if err != nil {
			return sum, err
		}
		sum.Add(int64(page[0].N), int64(page[0].S), true)
		if to >= hi {
			return sum, nil
		}
		from, rows = to+1, nextPage(rows, took)
	}
}

const exact = 1 << 53

func widened(n float64, by int64) int64 {
	switch {
	case n >= 9.2e18:
		return 1<<63 - 1
	case n <= -9.2e18:
		return -1 << 63
	case n > exact || n < -exact:
		return int64(n) + by*2048
	}
	return int64(n)
}

// pageEnd finds the key that ends a page of about that many rows; most tables are smaller than one.
func pageEnd(ctx context.Context, cf *cloudflare.Client, db Database, q d1.SumQuery, from, hi, rows int64) (int64, error) {
	if uint64(hi)-uint64(from) < uint64(rows) {
		return hi, nil
	}
	var list []struct{ K *float64 }
	sql := fmt.Sprintf("SELECT max(k) AS k FROM (SELECT %s AS k FROM %s WHERE %s >= %d ORDER BY k LIMIT %d)", q.Key, quoteName(q.Table), q.Key, from, rows)
	if err := read(ctx, cf, db, sql, &list); err != nil {
		return 0, err
	}
	if list[0].K == nil {
		return hi, nil
	}
	return min(hi, max(from, widened(*list[0].K, 1))), nil
}

// read runs one SELECT and decodes its rows into v, of which there must be one at least.
func read[T any](ctx context.Context, cf *cloudflare.Client, db Database, sql string, v *[]T) error {
	_, err := readTimed(ctx, cf, db, sql, v)
	return err
}

// readTimed also says how long it took D1.
func readTimed[T any](ctx context.Context, cf *cloudflare.Client, db Database, sql string, v *[]T) (time.Duration, error) {
	rows, err := cf.D1Read(ctx, db.ID, sql)
	if err == nil {
		err = rows.Decode(v)
	}
	if err == nil && len(*v) == 0 {
		err = errors.New("no row came back")
	}
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", db.Name, err)
	}
	return rows.Meta.Duration, nil
}

// objects reads a live catalogue.
func objects(ctx context.Context, cf *cloudflare.Client, db Database) ([]d1.Object, error) {
	rows, err := cf.D1Read(ctx, db.ID, "SELECT type, name, tbl_name AS tbl, coalesce(sql, '') AS sql FROM sqlite_master"+
		" WHERE name NOT GLOB 'sqlite_*' AND lower(name) NOT GLOB '_cf_*' ORDER BY rowid")
	var list []struct{ Type, Name, Tbl, SQL string }
	if err == nil {
		err = rows.Decode(&list)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the schema of %s: %w", db.Name, err)
	}
	out := make([]d1.Object, len(list))
	for i, o := range list {
		out[i] = d1.Object{Type: o.Type, Name: o.Name, Table: o.Tbl, SQL: o.SQL}
	}
	return out, nil
}

// compare puts the sums of both sides beside each other.
func compare(file, live []d1.TableSum) ([]Comparison, error) {
	out := make([]Comparison, len(file))
	equal := true
	for i, f := range file {
		out[i] = Comparison{Table: f.Table, Rows: f.Rows, Sum: f.Sum, LiveRows: live[i].Rows, LiveSum: live[i].Sum}
		equal = equal && out[i].Equal()
	}
	if !equal {
		return out, &MismatchError{Tables: out}
	}
	return out, nil
}

func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
