package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
)

// Export writes a live D1 to a file of SQL. D1's own export is not used: it refuses databases with full-text tables, and
// is known to leave a database busy for good (field.md, pain 19). Here the shop is only read, a page at a time.
type Export struct {
	CF       *cloudflare.Client
	Database Database
	Progress Progress
	// TempDir is where the copy is put together; "" is the system's.
	TempDir string
}

// Exported is what an export did.
type Exported struct {
	Database string       `json:"database"`
	File     string       `json:"file"`
	Bytes    int64        `json:"bytes"`
	Tries    int          `json:"tries"`
	Tables   []Comparison `json:"tables"`
}

// exportTries is how often an export begins anew when the shop wrote meanwhile.
const exportTries = 3

// Run writes the file, which appears under its name only when it is complete: it has been loaded into an SQLite with D1's
// limits, and its counts and checksums are those that the live database has after the last page was read. When the shop
// writes meanwhile the export begins anew, and after three times gives up with a *MismatchError.
func (x *Export) Run(ctx context.Context, file string) (out *Exported, err error) {
	out = &Exported{Database: x.Database.Name, File: file}
	dir, err := os.MkdirTemp(x.TempDir, "shopfleet-export-")
	if err != nil {
		return out, fmt.Errorf("making room for the export: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var mismatch *MismatchError
	for out.Tries = 1; ; out.Tries++ {
		work := filepath.Join(dir, strconv.Itoa(out.Tries))
		if err := os.Mkdir(work, 0o700); err != nil {
			return out, fmt.Errorf("making room for the export: %w", err)
		}
		err = x.once(ctx, work, out)
		if !errors.As(err, &mismatch) || out.Tries == exportTries {
			return out, err
		}
	}
}

func (x *Export) once(ctx context.Context, dir string, out *Exported) error {
	objects, err := objects(ctx, x.CF, x.Database)
	if err != nil {
		return err
	}
	mirror, err := d1.Open(filepath.Join(dir, "copy.sqlite"))
	if err != nil {
		return err
	}
	defer mirror.Close()
	if err := mirror.BuildTables(ctx, objects); err != nil {
		return fmt.Errorf("copying the schema: %w", err)
	}
	// What cannot be read out again must not be missing in silence.
	if findings, err := mirror.Check(ctx); err != nil || len(findings) > 0 {
		return errors.Join(err, asError(findings))
	}
	if err := x.searchOptions(ctx, mirror); err != nil {
		return err
	}
	queries, err := mirror.PageQueries(ctx)
	if err != nil {
		return err
	}
	for i, q := range queries {
		x.Progress.tell("reading "+q.Table, int64(i), int64(len(queries)))
		if err := x.table(ctx, mirror, q); err != nil {
			return err
		}
	}
	if err := mirror.BuildRest(ctx, objects); err != nil {
		return fmt.Errorf("copying the schema: %w", err)
	}
	// In the folder of the result, so that the renaming at the end cannot cross file systems.
	text, err := os.CreateTemp(filepath.Dir(out.File), ".shopfleet-export-*")
	if err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	defer os.Remove(text.Name())
	x.Progress.tell("writing "+filepath.Base(out.File), 0, 0)
	parts, err := d1.Parts{Plain: true, Create: func(string) (io.WriteCloser, error) { return keepOpen{text}, nil }}.Write(ctx, mirror)
	if err := errors.Join(err, text.Close()); err != nil {
		return err
	}
	out.Bytes = 0
	for _, p := range parts {
		out.Bytes += p.Bytes
	}
	if out.Tables, err = x.verify(ctx, text.Name(), filepath.Join(dir, "loaded.sqlite")); err != nil {
		return err
	}
	if err := os.Rename(text.Name(), out.File); err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	return nil
}

func asError(findings []d1.Finding) error {
	if len(findings) == 0 {
		return nil
	}
	return Findings(findings)
}

// searchOptions carries over what full-text tables were told beside their definitions.
func (x *Export) searchOptions(ctx context.Context, mirror *d1.DB) error {
	tables, err := mirror.SearchTables(ctx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		rows, err := x.CF.D1Read(ctx, x.Database.ID, d1.SearchOptions(t))
		var list []struct{ Option string }
		if err == nil {
			err = rows.Decode(&list)
		}
		if err != nil {
			return fmt.Errorf("reading the options of %s from %s: %w", t, x.Database.Name, err)
		}
		for _, o := range list {
			if _, err := mirror.Query(ctx, o.Option); err != nil {
				return fmt.Errorf("copying the options of %s: %w", t, err)
			}
		}
	}
	return nil
}

// keepOpen lets several parts share a file.
type keepOpen struct{ *os.File }

func (keepOpen) Close() error { return nil }

const (
	pageBytes    = 4 << 20 // what a page may bring at most, as the longest row foretells
	maxPageCount = 5000
)

// table copies the rows of one table.
func (x *Export) table(ctx context.Context, mirror *d1.DB, q d1.PageQuery) error {
	var longest []struct{ N *float64 }
	if err := read(ctx, x.CF, x.Database, q.Longest(), &longest); err != nil {
		return err
	}
	if longest[0].N == nil {
		return x.count(ctx, mirror, q)
	}
	// A blob is two characters a byte.
	limit := max(1, min(maxPageCount, int(pageBytes/(2**longest[0].N+100))))
	for after := ""; ; {
		keys, rows, err := x.page(ctx, q, after, limit, false)
		if err != nil {
			return err
		}
		if len(rows) > 0 {
			if err := mirror.Insert(ctx, q, rows); err != nil {
				return err
			}
			after = keys[len(keys)-1]
		}
		if len(rows) < limit {
			return x.count(ctx, mirror, q)
		}
	}
}

// page reads one page. Text that is no UTF-8 arrives with replacement characters, and is asked for again in another form.
func (x *Export) page(ctx context.Context, q d1.PageQuery, after string, limit int, hex bool) (keys, rows []string, err error) {
	result, err := x.CF.D1Read(ctx, x.Database.ID, q.SQL(after, limit, hex))
	var list []map[string]string
	if err == nil {
		err = result.Decode(&list)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading rows of %s from %s: %w", q.Table, x.Database.Name, err)
	}
	for _, r := range list {
		groups := make([]string, q.Groups())
		for i := range groups {
			groups[i] = r["g"+strconv.Itoa(i)]
		}
		row := strings.Join(groups, ",")
		if !hex && strings.ContainsRune(row, '\ufffd') {
			return x.page(ctx, q, after, limit, true)
		}
		keys, rows = append(keys, r["k"]), append(rows, row)
	}
	return keys, rows, nil
}

// count carries the number of the next row over.
func (x *Export) count(ctx context.Context, mirror *d1.DB, q d1.PageQuery) error {
	if !q.Counts {
		return nil
	}
	rows, err := x.CF.D1Read(ctx, x.Database.ID, "SELECT CAST(seq AS TEXT) AS seq FROM sqlite_sequence WHERE name = ?", q.Table)
	var list []struct{ Seq string }
	if err == nil {
		err = rows.Decode(&list)
	}
	if err != nil {
		return fmt.Errorf("reading the sequences of %s: %w", x.Database.Name, err)
	}
	if len(list) == 0 {
		return nil
	}
	seq, err := strconv.ParseInt(list[0].Seq, 10, 64)
	if err != nil {
		return fmt.Errorf("reading the sequences of %s: %w", x.Database.Name, err)
	}
	return mirror.Count(ctx, q.Table, seq)
}

// verify loads the file and compares what came out with the live database.
func (x *Export) verify(ctx context.Context, file, at string) ([]Comparison, error) {
	x.Progress.tell("loading the file to verify it", 0, 0)
	text, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("verifying the export: %w", err)
	}
	defer text.Close()
	loaded, err := d1.Open(at)
	if err != nil {
		return nil, err
	}
	defer loaded.Close()
	if _, err := loaded.Import(ctx, bufio.NewReaderSize(text, 1<<20)); err != nil {
		return nil, fmt.Errorf("verifying the export: loading it: %w", err)
	}
	queries, err := loaded.SumQueries(ctx)
	if err != nil {
		return nil, err
	}
	sums, err := loaded.Sums(ctx, queries)
	if err != nil {
		return nil, err
	}
	live, err := liveSums(ctx, x.CF, x.Database, queries, x.Progress)
	if err != nil {
		return nil, err
	}
	return compare(sums, live)
}
