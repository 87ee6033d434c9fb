package d1

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
)

// Lint says what can be said of files of migrations without any database: each is rehearsed on what the files before it
// make, as if a release ran there. files are in the order of application; files up to the one named after are taken as
// they are, "" being none; after a file that D1 would refuse the rest is not looked at. The findings are in the order of
// the files and their lines.
func Lint(ctx context.Context, files []Migration, after string, denyColumns []string) ([]Finding, error) {
	first := 1 + slices.IndexFunc(files, func(m Migration) bool { return m.Name == after })
	var applied []string
	for _, f := range files[:first] {
		applied = append(applied, f.Name)
	}
	out := Numbers(files, applied)
	sofar, err := Open("")
	if err != nil {
		return nil, err
	}
	defer sofar.Close()
	for i := range files {
		if i >= first {
			objects, err := sofar.Objects(ctx)
			if err != nil {
				return nil, err
			}
			r, err := Rehearse(ctx, Case{Schema: objects, Pending: files[i : i+1], Running: true, DenyColumns: denyColumns})
			if err != nil {
				return nil, err
			}
			for _, f := range r.Findings(nil, false) {
				// What an earlier file made was told of that file; only what --after skips has nobody else to tell it.
				if f.File != "" || i == first {
					out = append(out, f)
				}
			}
			if len(r.Files) == 0 {
				if rest := len(files) - i - 1; rest > 0 {
					out = append(out, Finding{Rule: "migration-unread", Level: levelNotice, File: files[i+1].Path,
						Message: fmt.Sprintf("this file and all behind it were not looked at (%d in all)", rest), Hint: "mend " + files[i].Name + " first"})
				}
				break
			}
		}
		if err := sofar.shape(ctx, files[i]); err != nil {
			return nil, err
		}
	}
	place := func(f Finding) int {
		return slices.IndexFunc(files, func(m Migration) bool { return m.Path == f.File })
	}
	sort.SliceStable(out, func(i, j int) bool { return cmp.Or(place(out[i])-place(out[j]), out[i].Line-out[j].Line) < 0 })
	return slices.Compact(out), nil
}

// shape runs one file for what it makes of the schema. A statement that writes rows and fails because others are missing
// is passed over: those rows came into the shops by another way. What else D1 refuses is an error.
func (db *DB) shape(ctx context.Context, m Migration) error {
	return db.exclusive(ctx, func() error {
		if err := db.own("PRAGMA foreign_keys=OFF; BEGIN"); err != nil {
			return err
		}
		statements, err := Split(m.SQL)
		for _, s := range statements {
			if err = ctx.Err(); err != nil {
				break
			}
			if err = db.step(s.SQL, nil); err != nil && !missesRows(s.SQL, err) {
				break
			}
			err = nil
		}
		if err != nil {
			return errors.Join(fmt.Errorf("applying %s: %w", m.Name, err), db.rollback())
		}
		return db.own("COMMIT")
	})
}

// Replay is the schema that files make of an empty database; see DB.Schema. A file that D1 would refuse there is an
// ErrRefused.
func Replay(ctx context.Context, files []Migration, leaveOut ...string) (*Schema, error) {
	db, err := Open("")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	for _, f := range files {
		if err := db.shape(ctx, f); err != nil {
			var refused *failure
			if errors.As(err, &refused) {
				return nil, fmt.Errorf("%w: %w", ErrRefused, err)
			}
			return nil, err
		}
	}
	return db.Schema(ctx, leaveOut...)
}

// SchemaAfter is the schema that files make of a live one; see DB.Schema.
func SchemaAfter(ctx context.Context, objects []Object, files []Migration, leaveOut ...string) (*Schema, error) {
	db, err := Build(ctx, objects)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	for _, f := range files {
		if err := db.shape(ctx, f); err != nil {
			return nil, err
		}
	}
	return db.Schema(ctx, leaveOut...)
}

// ErrRefused says that a file does not go through where it was tried.
var ErrRefused = errors.New("D1 would refuse it")
