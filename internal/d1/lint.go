package d1

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Lint says what can be said of files of migrations without any database: each is rehearsed on what the files before it
// make, as if a release ran there. files are in the order of application; after a file that D1 would refuse the rest is
// not looked at. The findings are sorted by file and line.
func Lint(ctx context.Context, files []Migration, denyColumns []string) ([]Finding, error) {
	out := Numbers(files, nil)
	sofar, err := Open("")
	if err != nil {
		return nil, err
	}
	defer sofar.Close()
	for i := range files {
		objects, err := sofar.Objects(ctx)
		if err != nil {
			return nil, err
		}
		r, err := Rehearse(ctx, Case{Schema: objects, Pending: files[i : i+1], Running: true, DenyColumns: denyColumns})
		if err != nil {
			return nil, err
		}
		out = append(out, r.Findings(nil, false)...)
		if len(r.Files) == 0 {
			if rest := len(files) - i - 1; rest > 0 {
				out = append(out, Finding{Rule: "migration-unread", Level: levelNotice, File: files[i+1].Path,
					Message: fmt.Sprintf("%d files behind %s were not looked at", rest, files[i].Name), Hint: "mend that one first"})
			}
			break
		}
		if err := sofar.Apply(ctx, files[i]); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(out, func(a, b Finding) int {
		if a.File != b.File {
			return slices.IndexFunc(files, func(m Migration) bool { return m.Path == a.File }) - slices.IndexFunc(files, func(m Migration) bool { return m.Path == b.File })
		}
		return a.Line - b.Line
	})
	return slices.CompactFunc(out, func(a, b Finding) bool { return a == b }), nil
}

// Apply runs one file as D1 runs it: as one transaction. What D1 refuses is an *Error.
func (db *DB) Apply(ctx context.Context, m Migration) error {
	if _, err := db.Query(ctx, m.SQL); err != nil && !isEmpty(err) {
		return fmt.Errorf("applying %s: %w", m.Name, err)
	}
	return nil
}

// isEmpty says whether a file was refused for having no statement: nothing is to be done then.
func isEmpty(err error) bool { return strings.Contains(err.Error(), messageEmpty) }

// Replay is the schema that files make of an empty database.
func Replay(ctx context.Context, files []Migration, leaveOut ...string) (*Schema, error) {
	db, err := Open("")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	for _, f := range files {
		if err := db.Apply(ctx, f); err != nil {
			return nil, err
		}
	}
	return db.Schema(ctx, leaveOut...)
}
