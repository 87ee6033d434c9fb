package transfer

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
)

// Bootstrap fills a D1 from a dump. Set the fields before use.
type Bootstrap struct {
	CF       *cloudflare.Client
	Database Database
	// IntoExisting lets the tables of the dump join others that the database has.
	IntoExisting bool
	Progress     Progress
	// Now is the clock that the parts of the work are timed with; nil leaves them untimed.
	Now func() time.Time
	// Sleep waits before a part is tried again; nil sleeps for real and stops early with ctx.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Bootstrapped is what a bootstrap did.
type Bootstrapped struct {
	Database string `json:"database"`
	// Bookmark is the database's point in time before anything was written; "" when nothing was.
	Bookmark string `json:"bookmark,omitempty"`
	// Parts were imported by this run, Known by an earlier one.
	Parts int `json:"parts"`
	Known int `json:"parts_known"`
	// Already says that the database held all of it before.
	Already bool         `json:"already,omitempty"`
	Tables  []Comparison `json:"tables"`
	// ImportTime is how long the parts took, CompareTime the comparison after them.
	ImportTime  time.Duration `json:"import_ns,omitempty"`
	CompareTime time.Duration `json:"compare_ns,omitempty"`
}

// target is what the database holds before a bootstrap.
type target struct {
	tables   []string // without empty tables of the ledger
	views    []string
	applied  int64             // rows of the ledger
	progress map[string]string // part → sum; nil when no bootstrap was begun
}

// Run imports the parts that the database does not have yet, in order, and compares all tables afterwards. It may be
// stopped anywhere and run again with the same file: a part is imported whole or not at all, and the database says which
// ones it has.
//
// A database that holds other tables is refused with Findings unless IntoExisting is set, and one that has a table of the
// dump always; of the ledger's tables only when they have rows. One that equals the dump already, its schema and its ledger
// too, is fine. After an import that came out different the error is a *MismatchError.
func (b *Bootstrap) Run(ctx context.Context, dump *Dumped) (out *Bootstrapped, err error) {
	out = &Bootstrapped{Database: b.Database.Name}
	have, err := b.look(ctx, dump.ledger.Own)
	if err != nil {
		return out, err
	}
	if err := b.setLedgerAside(ctx, dump, &have); err != nil {
		return out, err
	}
	already, err := b.admit(ctx, dump, have, out)
	if err != nil || already {
		return out, err
	}
	if out.Bookmark, err = b.CF.D1Bookmark(ctx, b.Database.ID, time.Time{}); err != nil {
		return out, fmt.Errorf("taking a bookmark of %s: %w", b.Database.Name, err)
	}
	// While D1 works, the file's own sums are made.
	var file []d1.TableSum
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		file, err = dump.sums(gctx)
		return err
	})
	began := b.now()
	group.Go(func() error {
		err := b.importParts(gctx, dump, have, out)
		out.ImportTime = b.now().Sub(began)
		return err
	})
	if err := group.Wait(); err != nil {
		return out, err
	}
	began = b.now()
	defer func() { out.CompareTime = b.now().Sub(began) }()
	live, err := liveSums(ctx, b.CF, b.Database, dump.queries, b.Progress)
	if err != nil {
		return out, err
	}
	if out.Tables, err = compare(file, live); err != nil {
		return out, err
	}
	differences, err := b.differences(ctx, dump)
	if err != nil {
		return out, err
	}
	// Beside what was there before only what is missing can be told.
	differences = slices.DeleteFunc(differences, func(d string) bool { return b.IntoExisting && strings.HasPrefix(d, "unexpected ") })
	if len(differences) > 0 {
		return out, &MismatchError{Tables: out.Tables, Schema: differences}
	}
	return out, nil
}

// differences says what the live schema and ledger lack, or have too much.
func (b *Bootstrap) differences(ctx context.Context, dump *Dumped) ([]string, error) {
	list, err := objects(ctx, b.CF, b.Database)
	if err != nil {
		return nil, err
	}
	live, err := d1.SchemaOf(ctx, list, dump.ledger.aside()...)
	if err != nil {
		return nil, fmt.Errorf("reading the schema of %s: %w", b.Database.Name, err)
	}
	out := d1.Compare(dump.schema, live)
	if len(dump.ledger.Applied) == 0 {
		return out, nil // its table, if there is one, was compared with the others
	}
	table := dump.ledger.Tables[0]
	var noted []struct{ Name string }
	if slices.ContainsFunc(list, func(o d1.Object) bool { return strings.EqualFold(o.Name, table) }) {
		rows, err := b.CF.D1Read(ctx, b.Database.ID, "SELECT name FROM "+quoteName(table))
		if err == nil {
			err = rows.Decode(&noted)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the ledger of %s: %w", b.Database.Name, err)
		}
	}
	for _, name := range dump.ledger.Applied {
		if !slices.ContainsFunc(noted, func(n struct{ Name string }) bool { return n.Name == name }) {
			out = append(out, "missing ledger entry "+name)
		}
	}
	return out, nil
}

// compare asks both sides, at the same time.
func (b *Bootstrap) compare(ctx context.Context, dump *Dumped) ([]Comparison, error) {
	var file, live []d1.TableSum
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		file, err = dump.sums(gctx)
		return err
	})
	group.Go(func() (err error) {
		live, err = liveSums(gctx, b.CF, b.Database, dump.queries, b.Progress)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return compare(file, live)
}

// importParts imports what the database does not have, in order.
func (b *Bootstrap) importParts(ctx context.Context, dump *Dumped, have target, out *Bootstrapped) error {
	var sent int64
	for i, part := range dump.Parts {
		doing := fmt.Sprintf("importing %s (%d of %d)", part.Name, i+1, len(dump.Parts))
		b.Progress.tell(doing, sent, dump.Bytes)
		if have.progress[part.Name] == part.Sum && part.Sum != "" {
			out.Known++
		} else if err := b.importPart(ctx, dump, part, out.Bookmark, func(n int64) { b.Progress.tell(doing, sent+n, dump.Bytes) }); err != nil {
			return err
		} else {
			out.Parts++
		}
		sent += part.Bytes
	}
	b.Progress.tell("imported", sent, dump.Bytes)
	return nil
}

// look reads what the database holds besides its own tables.
func (b *Bootstrap) look(ctx context.Context, own []string) (target, error) {
	var t target
	rows, err := b.CF.D1Read(ctx, b.Database.ID, "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT GLOB 'sqlite_*' AND lower(name) NOT GLOB '_cf_*' ORDER BY name")
	var list []struct{ Name, Type string }
	if err == nil {
		err = rows.Decode(&list)
	}
	if err != nil {
		return t, fmt.Errorf("reading the schema of %s: %w", b.Database.Name, err)
	}
	for _, r := range list {
		if slices.Contains(own, r.Name) {
			continue
		}
		if r.Name == d1.ProgressTable {
			t.progress = map[string]string{}
			continue
		}
		if r.Type == "view" {
			t.views = append(t.views, r.Name)
			continue
		}
		t.tables = append(t.tables, r.Name)
	}
	if t.progress == nil {
		return t, nil
	}
	rows, err = b.CF.D1Read(ctx, b.Database.ID, "SELECT part, sum FROM "+d1.ProgressTable)
	var parts []struct{ Part, Sum string }
	if err == nil {
		err = rows.Decode(&parts)
	}
	if err != nil {
		return t, fmt.Errorf("reading how far the bootstrap of %s came: %w", b.Database.Name, err)
	}
	for _, p := range parts {
		t.progress[p.Part] = p.Sum
	}
	return t, nil
}

// setLedgerAside takes the ledger's tables out of what the database holds while nothing is noted in them.
func (b *Bootstrap) setLedgerAside(ctx context.Context, dump *Dumped, have *target) error {
	if have.progress != nil {
		return nil
	}
	for _, table := range dump.ledger.Tables {
		i := slices.IndexFunc(have.tables, func(name string) bool { return strings.EqualFold(name, table) })
		if i < 0 {
			continue
		}
		var count []struct{ N float64 }
		if err := read(ctx, b.CF, b.Database, "SELECT count(*) AS n FROM "+quoteName(table), &count); err != nil {
			return err
		}
		if count[0].N == 0 {
			have.tables = slices.Delete(have.tables, i, i+1)
		}
		have.applied += int64(count[0].N)
	}
	return nil
}

// admit decides whether the database may be filled; already says that nothing is left to do.
func (b *Bootstrap) admit(ctx context.Context, dump *Dumped, have target, out *Bootstrapped) (already bool, err error) {
	name := b.Database.Name
	if have.progress != nil {
		for _, part := range slices.Sorted(maps.Keys(have.progress)) {
			if !slices.ContainsFunc(dump.Parts, func(p d1.Part) bool { return p.Name == part && p.Sum == have.progress[part] }) {
				return false, refuse("target-half-filled",
					fmt.Sprintf("%s is half filled from another file, or from this one before it changed: its part %s is not one of this dump", name, part),
					"run the bootstrap with the file that it was begun with, or empty the database first")
			}
		}
		return false, nil // our own work, cut off
	}
	if len(have.tables)+len(have.views) == 0 {
		return false, nil
	}
	var both []string
	for _, t := range dump.Tables {
		if slices.ContainsFunc(have.tables, func(name string) bool { return strings.EqualFold(name, t) }) {
			both = append(both, t)
		}
	}
	var differences []string
	if len(both) == len(dump.Tables) {
		tables, err := b.compare(ctx, dump)
		var mismatch *MismatchError
		if err != nil && !errors.As(err, &mismatch) {
			return false, err
		}
		if err == nil {
			if differences, err = b.differences(ctx, dump); err != nil {
				return false, err
			}
			if len(differences) == 0 {
				out.Already, out.Tables = true, tables
				return true, nil
			}
		}
	}
	switch {
	case len(differences) > 0:
		return false, refuse("target-not-empty", fmt.Sprintf("%s holds the rows of the file already, but not the same schema and ledger: %s", name, someOf(differences)),
			"apply what is missing, or empty the database and run the bootstrap again")
	case !b.IntoExisting:
		return false, refuse("target-not-empty", fmt.Sprintf("%s is not empty: it holds %s", name, someOf(slices.Concat(have.tables, have.views))),
			"a bootstrap is for a fresh database; --into-existing adds the file's tables beside those that are there")
	case len(both) > 0:
		return false, refuse("target-has-table", fmt.Sprintf("%s has %s already", name, someOf(both)),
			"a bootstrap makes its tables and adds to none: rename them in the file, or drop them in the database")
	case have.applied > 0 && len(dump.ledger.Applied) > 0:
		return false, refuse("target-has-table", fmt.Sprintf("%s notes %d migrations as applied already", name, have.applied),
			"its tables were made by migrations: deploy the shop, and copy rows instead of a whole database")
	}
	return false, nil
}

func someOf(names []string) string {
	if len(names) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:5], ", "), len(names)-5)
	}
	return strings.Join(names, ", ")
}

// partTries is how often a part is tried whose fate the database could tell, after 1, 2, 4, 8 and 16 seconds: D1 may be
// at it still.
const partTries = 6

// upload is a file that tells how far it was read.
type upload struct {
	*os.File
	tell func(n int64) // bytes in all
	n    int64
}

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.File.Read(p)
	u.n += int64(n)
	u.tell(u.n)
	return n, err
}

// importPart imports one part, and tells how many bytes of it were sent. When it is not clear what became of it, the
// database is asked before it is tried again.
func (b *Bootstrap) importPart(ctx context.Context, dump *Dumped, part d1.Part, bookmark string, tell func(int64)) error {
	file := cloudflare.SQLFile{MD5: part.MD5, Size: part.Bytes, Open: func() (io.ReadCloser, error) {
		f, err := os.Open(filepath.Join(dump.Dir, part.Name))
		return &upload{File: f, tell: tell}, err
	}}
	for try := 1; ; try++ {
		done, err := b.CF.D1Import(ctx, b.Database.ID, file)
		if err == nil && !done.Known {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("importing %s: %w", part.Name, errors.Join(ctx.Err(), err))
		}
		there, lookErr := b.imported(ctx, part)
		switch {
		case lookErr == nil && there:
			return nil
		case try == partTries && lookErr == nil && err == nil:
			return fmt.Errorf("importing %s: D1 says that it has imported the file, and the database does not have it", part.Name)
		case try == partTries, errors.Is(err, cloudflare.ErrImportFailed) && lookErr == nil, errors.Is(err, cloudflare.ErrUnauthorized):
			return fmt.Errorf("importing %s: %w", part.Name, errors.Join(err, lookErr))
		case lookErr == nil && err == nil:
			// D1 knows the file by its MD5 and did not run it, though the database was emptied since.
			if file, err = marked(file, bookmark); err != nil {
				return fmt.Errorf("importing %s: %w", part.Name, err)
			}
			continue
		}
		// It may still be running: D1 answers nothing else until it is through.
		if err := b.sleep(ctx, time.Second<<(try-1)); err != nil {
			return fmt.Errorf("importing %s: %w", part.Name, err)
		}
	}
}

// marked is the file with a comment before it, so that D1 does not take it for one that it knows. The comment is the
// bookmark of what the database holds now, which no earlier run can have had.
func marked(file cloudflare.SQLFile, bookmark string) (cloudflare.SQLFile, error) {
	comment := "-- again, on " + bookmark + "\n"
	plain := file.Open
	out := cloudflare.SQLFile{Size: file.Size + int64(len(comment)), Open: func() (io.ReadCloser, error) {
		f, err := plain()
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(strings.NewReader(comment), f), f}, nil
	}}
	text, err := out.Open()
	if err != nil {
		return out, err
	}
	sum := md5.New()
	_, err = io.Copy(sum, text)
	out.MD5 = hex.EncodeToString(sum.Sum(nil))
	return out, errors.Join(err, text.Close())
}

func (b *Bootstrap) now() time.Time {
	if b.Now == nil {
		return time.Time{}
	}
	return b.Now()
}

func (b *Bootstrap) sleep(ctx context.Context, d time.Duration) error {
	if b.Sleep != nil {
		return b.Sleep(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// imported asks the database whether it has a part. The last one leaves no note: it takes the table of notes away.
func (b *Bootstrap) imported(ctx context.Context, part d1.Part) (bool, error) {
	have, err := b.look(ctx, nil)
	if err != nil {
		return false, err
	}
	if part.Sum == "" {
		return have.progress == nil, nil
	}
	return have.progress[part.Name] == part.Sum, nil
}
