package d1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// chances are the functions that may answer differently each time. The functions of dates do so only for some of their
// arguments; that cannot be told from outside, so all of their calls count.
var chances = []struct {
	name string
	args int
	flag sqlite3.FunctionFlag
}{
	{"random", 0, 0}, {"randomblob", 1, 0},
	{"current_timestamp", 0, sqlite3.DETERMINISTIC}, {"current_date", 0, sqlite3.DETERMINISTIC}, {"current_time", 0, sqlite3.DETERMINISTIC},
	{"date", -1, sqlite3.DETERMINISTIC}, {"time", -1, sqlite3.DETERMINISTIC}, {"datetime", -1, sqlite3.DETERMINISTIC},
	{"julianday", -1, sqlite3.DETERMINISTIC}, {"unixepoch", -1, sqlite3.DETERMINISTIC}, {"strftime", -1, sqlite3.DETERMINISTIC},
	{"timediff", -1, sqlite3.DETERMINISTIC},
}

// ReplayAll runs files on an empty database in memory as a deploy does, each of them one transaction, rows included. The
// caller closes the database. A file that D1 would refuse there is an ErrRefused.
func ReplayAll(ctx context.Context, files []Migration) (*DB, error) {
	db, err := Open("")
	if err != nil {
		return nil, err
	}
	if err := db.replay(ctx, files); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Chances replays files as ReplayAll does and says which functions ran in them that may give other rows the next time:
// random numbers, and the time. A default that no row took does not count.
func Chances(ctx context.Context, files []Migration) (names []string, err error) {
	db, err := Open("")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	err = db.exclusive(ctx, func() error {
		for _, f := range chances {
			note := func(ctx sqlite3.Context, _ ...sqlite3.Value) {
				if !slices.Contains(names, f.name) {
					names = append(names, f.name)
				}
				ctx.ResultText("2000-01-01 00:00:00")
			}
			// What is innocuous may stand in indexes, checks and generated columns, as the function that it takes the place of.
			if err := db.conn.CreateFunction(f.name, f.args, f.flag|sqlite3.INNOCUOUS, note); err != nil {
				return fmt.Errorf("watching %s: %w", f.name, err)
			}
		}
		return nil
	})
	if err == nil {
		err = db.replay(ctx, files)
	}
	slices.Sort(names)
	return names, err
}

func (db *DB) replay(ctx context.Context, files []Migration) error {
	for _, f := range files {
		statements, err := Split(f.SQL)
		if err == nil && len(statements) == 0 {
			continue // the ledger notes it all the same
		}
		if err == nil {
			_, err = db.Import(ctx, strings.NewReader(f.SQL))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("applying %s: %w: %w", f.Name, ErrRefused, err)
		}
	}
	return nil
}

// SameRows says whether two databases hold the same tables with the same rows, of the same types, under the same rowids,
// and number the next ones alike. Tables in leaveOut do not count.
func SameRows(ctx context.Context, a, b *DB, leaveOut ...string) (bool, error) {
	var texts [2]strings.Builder
	for i, db := range []*DB{a, b} {
		_, err := Parts{Plain: true, Without: leaveOut, Create: func(string) (io.WriteCloser, error) { return textCloser{&texts[i]}, nil }}.Write(ctx, db)
		if err != nil {
			return false, err
		}
	}
	return texts[0].String() == texts[1].String(), nil
}

type textCloser struct{ *strings.Builder }

func (textCloser) Close() error { return nil }
