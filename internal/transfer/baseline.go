package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
)

// Snapshot is what files of migrations make of an empty database, as few calls of SQL: the schema, the rows, and the
// ledger that says that all of them were applied. Baseline makes one.
type Snapshot struct {
	// Calls are the SQL of one call each, run in this order. One call is the rule; a schema that does not fit has several,
	// each of which notes itself, so that a run that was cut off can be finished.
	Calls []string

	ledger Ledger
	parts  []d1.Part // the last one of each call
}

// maxCall is how much SQL one call has: what D1 takes for one statement, with room to spare, whatever it counts.
const maxCall = 90_000

// Baseline makes a snapshot of files, in the order in which they are applied; ledger notes all of them. It is given only
// when it is proved to be as good as the files: they are replayed on an SQLite with D1's limits, twice, the snapshot is
// loaded into another one, and schema, rows, rowids and ledger must come out equal. Otherwise the snapshot is nil and why
// says what is in the way, such as a file that puts random numbers or the time into rows; then the files are to be applied
// one by one, as always.
func Baseline(ctx context.Context, files []d1.Migration, ledger Ledger) (s *Snapshot, why string, err error) {
	if len(files) == 0 {
		return nil, "there are no migrations", nil
	}
	if len(ledger.Tables) == 0 || ledger.SQL == "" || len(ledger.Applied) != len(files) {
		return nil, "", errors.New("making a baseline: the ledger does not note the files")
	}
	for i, f := range files {
		if ledger.Applied[i] != f.Name {
			return nil, "", fmt.Errorf("making a baseline: the ledger notes %s in the place of %s", ledger.Applied[i], f.Name)
		}
	}
	chances, err := d1.Chances(ctx, files)
	if errors.Is(err, d1.ErrRefused) {
		return nil, fmt.Sprintf("the files do not go through on an empty database: %v", err), nil
	}
	if err != nil {
		return nil, "", err
	}
	if len(chances) > 0 {
		return nil, fmt.Sprintf("the files write what differs each time: %s", strings.Join(chances, ", ")), nil
	}
	replayed, err := d1.ReplayAll(ctx, files)
	if err != nil {
		return nil, "", err
	}
	defer replayed.Close()
	again, err := d1.ReplayAll(ctx, files)
	if err != nil {
		return nil, "", err
	}
	defer again.Close()
	objects, err := replayed.Objects(ctx)
	if err != nil {
		return nil, "", err
	}
	for _, o := range objects {
		if o.Type == "table" && (containsFold(ledger.aside(), o.Name) || strings.EqualFold(o.Name, d1.ProgressTable)) {
			return nil, fmt.Sprintf("the files make the table %s, which shopfleet makes", o.Name), nil
		}
	}
	if why, err := differ(ctx, replayed, again); err != nil || why != "" {
		return nil, orEmpty(why, "the files make something else each time: "), err
	}
	s = &Snapshot{ledger: ledger}
	if why, err := s.write(ctx, replayed); err != nil || why != "" {
		return nil, why, err
	}
	loaded, err := d1.Open("")
	if err != nil {
		return nil, "", err
	}
	defer loaded.Close()
	for _, call := range s.Calls {
		if _, err := loaded.Query(ctx, call); err != nil {
			return nil, fmt.Sprintf("a snapshot of what they make cannot be loaded: %v", err), ctx.Err()
		}
	}
	if why, err := differ(ctx, replayed, loaded, ledger.Tables...); err != nil || why != "" {
		return nil, orEmpty(why, "a snapshot of what they make comes out different: "), err
	}
	rows, err := loaded.Query(ctx, "SELECT name FROM "+quoteName(ledger.Tables[0])+" ORDER BY id")
	if err != nil {
		return nil, "", fmt.Errorf("reading the ledger of the snapshot: %w", err)
	}
	for i, r := range rows[0].Rows {
		if i >= len(files) || r[0] != files[i].Name {
			return nil, fmt.Sprintf("the ledger of a snapshot has %v in place %d", r[0], i+1), nil
		}
	}
	if n := len(rows[0].Rows); n != len(files) {
		return nil, fmt.Sprintf("the ledger of a snapshot has %d rows for %d files", n, len(files)), nil
	}
	return s, "", nil
}

func orEmpty(why, before string) string {
	if why == "" {
		return ""
	}
	return before + why
}

func containsFold(list []string, name string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, name) })
}

// differ compares two databases in schema and rows.
func differ(ctx context.Context, a, b *d1.DB, leaveOut ...string) (string, error) {
	before, err := a.Schema(ctx, leaveOut...)
	if err != nil {
		return "", err
	}
	after, err := b.Schema(ctx, leaveOut...)
	if err != nil {
		return "", err
	}
	if list := d1.Compare(before, after); len(list) > 0 {
		return someOf(list), nil
	}
	same, err := d1.SameRows(ctx, a, b, leaveOut...)
	if err == nil && !same {
		return "the rows differ", nil
	}
	return "", err
}

// write makes the calls, of as few parts as they fit in.
func (s *Snapshot) write(ctx context.Context, db *d1.DB) (why string, err error) {
	texts, parts, err := s.written(ctx, db, true)
	if err != nil {
		return "", err
	}
	whole := s.guard() + strings.Join(texts, "")
	if len(whole) <= maxCall {
		s.Calls, s.parts = []string{whole}, []d1.Part{{}}
		return "", nil
	}
	if texts, parts, err = s.written(ctx, db, false); err != nil {
		return "", err
	}
	texts[0] = s.guard() + texts[0]
	for i, text := range texts {
		last := len(s.Calls) - 1
		switch {
		case len(text) > maxCall:
			return fmt.Sprintf("a snapshot of what they make does not fit in a call: %s has %d bytes, and %d may be sent at once", parts[i].Name, len(text), maxCall), nil
		case last >= 0 && len(s.Calls[last])+len(text) <= maxCall:
			s.Calls[last] += text
			s.parts[last] = parts[i]
		default:
			s.Calls, s.parts = append(s.Calls, text), append(s.parts, parts[i])
		}
	}
	return "", nil
}

func (s *Snapshot) written(ctx context.Context, db *d1.DB, plain bool) ([]string, []d1.Part, error) {
	var files []*bytes.Buffer
	parts, err := d1.Parts{
		Ledger: s.ledger.SQL, Shared: s.ledger.Tables, Without: s.ledger.Own, Plain: plain, MaxBytes: maxCall / 2, MaxInsert: maxCall / 4,
		Create: func(string) (io.WriteCloser, error) {
			files = append(files, &bytes.Buffer{})
			return bufferCloser{files[len(files)-1]}, nil
		},
	}.Write(ctx, db)
	if err != nil {
		return nil, nil, err
	}
	texts := make([]string, len(files))
	for i, f := range files {
		texts[i] = f.String()
	}
	return texts, parts, nil
}

type bufferCloser struct{ *bytes.Buffer }

func (bufferCloser) Close() error { return nil }

// guard is a statement that fails, and its call with it, unless the database is empty: looking first would be another call,
// and between the two somebody could write.
func (s *Snapshot) guard() string {
	aside := make([]string, 0, len(s.ledger.aside()))
	for _, t := range s.ledger.aside() {
		aside = append(aside, "'"+strings.ReplaceAll(strings.ToLower(t), "'", "''")+"'")
	}
	return "SELECT json(iif(n = 0, '1', 'the database is not empty')) FROM (SELECT count(*) AS n FROM sqlite_master" +
		" WHERE name NOT GLOB 'sqlite_*' AND lower(name) NOT GLOB '_cf_*' AND lower(tbl_name) NOT IN (" + strings.Join(aside, ", ") + "));\n"
}

// Run brings a database that is empty, but for its ledger and what says whose it is, to what the files make of it. done is
// false when it holds something else: then nothing was changed, and the files are to be applied as always. One that has
// all of it already is done, and so is one where an earlier run was cut off. calls says how many calls it took.
func (s *Snapshot) Run(ctx context.Context, cf *cloudflare.Client, db Database) (done bool, calls int, err error) {
	next := 0
	for doubts := 0; next < len(s.Calls); {
		calls++
		_, err := cf.D1Exec(ctx, db.ID, s.Calls[next])
		if err == nil {
			next++
			continue
		}
		if ctx.Err() != nil {
			return false, calls, fmt.Errorf("making the schema of %s: %w", db.Name, err)
		}
		// Only the database knows how far it came: by this run, or by another one.
		at, asked, lookErr := s.look(ctx, cf, db)
		calls += asked
		switch {
		case lookErr != nil:
			return false, calls, fmt.Errorf("making the schema of %s: %w", db.Name, errors.Join(err, lookErr))
		case at < 0:
			return false, calls, nil
		case at > next:
			next = at
		case doubts < 2 && errors.Is(err, cloudflare.ErrUnknownOutcome):
			doubts++
		default:
			return false, calls, fmt.Errorf("making the schema of %s: %w", db.Name, err)
		}
	}
	return true, calls, nil
}

// look finds out which call is next: 0 for an empty database, -1 for one that holds something else.
func (s *Snapshot) look(ctx context.Context, cf *cloudflare.Client, db Database) (next, calls int, err error) {
	b := &Bootstrap{CF: cf, Database: db}
	have, err := b.look(ctx, s.ledger.Own)
	calls = 1
	if err != nil {
		return 0, calls, err
	}
	if have.progress != nil {
		calls++
		for i, part := range slices.Backward(s.parts) {
			if part.Sum != "" && have.progress[part.Name] == part.Sum {
				return i + 1, calls, nil
			}
		}
		return -1, calls, nil
	}
	table := s.ledger.Tables[0]
	if containsFold(have.tables, table) {
		rows, err := cf.D1Read(ctx, db.ID, "SELECT name FROM "+quoteName(table)+" ORDER BY id")
		calls++
		var noted []struct{ Name string }
		if err == nil {
			err = rows.Decode(&noted)
		}
		if err != nil {
			return 0, calls, fmt.Errorf("reading the ledger of %s: %w", db.Name, err)
		}
		names := make([]string, len(noted))
		for i, n := range noted {
			names[i] = n.Name
		}
		switch {
		case slices.Equal(names, s.ledger.Applied):
			return len(s.Calls), calls, nil
		case len(names) > 0:
			return -1, calls, nil
		}
	}
	have.tables = slices.DeleteFunc(have.tables, func(name string) bool { return containsFold(s.ledger.Tables, name) })
	if len(have.tables)+len(have.views) > 0 {
		return -1, calls, nil
	}
	return 0, calls, nil
}
