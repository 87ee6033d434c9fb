package sim

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/kvick/shopfleet/internal/d1"
)

// Time Travel. A point is a state of a database: every transaction that changes something makes one, and a bookmark names
// one. D1 keeps every change for 30 days; here a copy of a point is kept only when somebody may come back to it, and it is
// made at the last moment, just before the next change:
//
//   - always, when a bookmark of the point was handed out, be it as previous_bookmark of a restore;
//   - otherwise when the database is at most 1 MiB large and the change falls into a later second than the point, so that
//     one can go back to the end of every second.
//
// 64 copies of either kind are kept for each database, for 30 days. Restoring a point without a copy is refused.

const (
	smallDatabase = 1 << 20 // bytes
	keepCopies    = 64
	keepHistory   = 30 * 24 * time.Hour
)

// point is a state of a database.
type point struct {
	seq    int64
	at     time.Time // when it came about, to the millisecond
	suffix string    // 32 hexadecimal digits that tell apart databases
	pinned bool      // its bookmark was handed out
	kept   bool      // there is a copy
}

func (s *storage) newPoint(seq int64) point {
	var b [16]byte
	s.fill(b[:])
	return point{seq: seq, at: s.now().Truncate(time.Millisecond), suffix: hex.EncodeToString(b[:])}
}

func (p point) insert(database string) d1.Query {
	return d1.Query{
		SQL:    "INSERT INTO points VALUES(?, ?, ?, ?, ?, ?)",
		Params: []any{database, p.seq, millis(p.at), p.suffix, p.pinned, p.kept},
	}
}

// readPoint reads the columns seq, at, suffix, pinned, kept.
func readPoint(r []any) point {
	return point{seq: r[0].(int64), at: time.UnixMilli(r[1].(int64)), suffix: r[2].(string), pinned: r[3].(int64) != 0, kept: r[4].(int64) != 0}
}

const pointColumns = "SELECT seq, at, suffix, pinned, kept FROM points WHERE database = ? "

var bookmarkForm = regexp.MustCompile(`^([0-9a-f]{8})-([0-9a-f]{8})-([0-9a-f]{8})-([0-9a-f]{32})$`)

// bookmark names the point. As in D1 the bookmarks of a database sort as text in the order of its history; the third
// group is the day.
func (p point) bookmark() string {
	return fmt.Sprintf("%08x-%08x-%08x-%s", p.seq, 0, p.at.Unix()/86400, p.suffix)
}

// write runs a transaction and moves the database to its next point if it changed something.
func (db *database) write(ctx context.Context, work func() (changed bool, err error)) error {
	db.next = nil
	changed, err := work()
	next := db.next
	db.next = nil
	switch {
	case next == nil:
		return err
	case err == nil && changed:
		db.now = *next
		return nil
	}
	// The point was noted before the transaction, so that a kill in between leaves a bookmark too many, never data that
	// an earlier bookmark does not stand for.
	forget := db.s.exec(context.WithoutCancel(ctx), d1.Query{SQL: "DELETE FROM points WHERE database = ? AND seq = ?", Params: []any{db.id, next.seq}})
	if err == nil {
		err = forget
	}
	return err
}

// leave is called before the present point is overwritten: it makes the copy, if there has to be one, and notes the next
// point.
func (db *database) leave(ctx context.Context, size int64, snapshot func() ([]byte, error)) error {
	next := db.s.newPoint(db.now.seq + 1)
	if !next.at.After(db.now.at) {
		next.at = db.now.at // a clock that stands still or was put back
	}
	if !db.now.kept && (db.now.pinned || db.now.at.Unix() < next.at.Unix()) {
		if db.now.pinned || size <= smallDatabase {
			image, err := snapshot()
			if err == nil {
				err = db.keep(ctx, image)
			}
			if err != nil {
				return err
			}
		}
	}
	if err := db.s.exec(ctx, next.insert(db.id)); err != nil {
		return err
	}
	db.next = &next
	return nil
}

func (db *database) copyOwner(seq int64) string {
	return "copy/" + db.id + "/" + strconv.FormatInt(seq, 10)
}

// keep stores a copy of the present point and drops copies that are too many or too old.
func (db *database) keep(ctx context.Context, image []byte) error {
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err != nil {
		return err
	}
	if _, err = w.Write(image); err == nil {
		err = w.Close()
	}
	if err != nil {
		return err
	}
	queries := append(putChunks(db.copyOwner(db.now.seq), packed.Bytes()),
		d1.Query{SQL: "UPDATE points SET kept = 1 WHERE database = ? AND seq = ?", Params: []any{db.id, db.now.seq}})
	stale, err := db.s.rows(ctx, `
		SELECT seq FROM points WHERE database = ?1 AND seq < ?2 AND at < ?3
		UNION SELECT * FROM (SELECT seq FROM points WHERE database = ?1 AND kept AND pinned ORDER BY seq DESC LIMIT -1 OFFSET ?4)
		UNION SELECT * FROM (SELECT seq FROM points WHERE database = ?1 AND kept AND NOT pinned ORDER BY seq DESC LIMIT -1 OFFSET ?4)`,
		db.id, db.now.seq, millis(db.s.now().Add(-keepHistory)), keepCopies-1)
	if err != nil {
		return err
	}
	for _, r := range stale {
		queries = append(queries, dropChunks(db.copyOwner(r[0].(int64))),
			d1.Query{SQL: "UPDATE points SET kept = 0 WHERE database = ? AND seq = ?", Params: []any{db.id, r[0]}})
	}
	queries = append(queries, d1.Query{
		SQL:    "DELETE FROM points WHERE database = ? AND seq < ? AND at < ?",
		Params: []any{db.id, db.now.seq, millis(db.s.now().Add(-keepHistory))},
	})
	if err := db.s.exec(ctx, queries...); err != nil {
		return err
	}
	db.now.kept = true
	return nil
}

// pin makes sure that the present point can be restored later, and returns it. The caller has the turn.
func (db *database) pin(ctx context.Context) (point, error) {
	if !db.now.pinned {
		err := db.s.exec(ctx, d1.Query{SQL: "UPDATE points SET pinned = 1 WHERE database = ? AND seq = ?", Params: []any{db.id, db.now.seq}})
		if err != nil {
			return point{}, err
		}
		db.now.pinned = true
	}
	return db.now, nil
}

// bookmark gives the bookmark of the present, or of the end of a second in the past.
func (db *database) bookmark(ctx context.Context, at *time.Time) (bookmark string, err error) {
	err = db.exclusive(ctx, func() error {
		p, err := db.pointAt(ctx, at)
		if err != nil {
			return err
		}
		if p.seq == db.now.seq {
			if p, err = db.pin(ctx); err != nil {
				return err
			}
		}
		bookmark = p.bookmark()
		return nil
	})
	return bookmark, err
}

// pointAt finds the point that the database was at: to the millisecond when that one can be restored, otherwise to the
// second.
func (db *database) pointAt(ctx context.Context, at *time.Time) (point, error) {
	if at == nil {
		return db.now, nil
	}
	if db.s.now().Sub(*at) > keepHistory {
		return point{}, refuse(http.StatusBadRequest, 7400, "The timestamp %s is more than 30 days ago", at.Format(time.RFC3339))
	}
	var p point
	for _, moment := range []time.Time{*at, at.Truncate(time.Second)} {
		rows, err := db.s.rows(ctx, pointColumns+"AND at <= ? ORDER BY seq DESC LIMIT 1", db.id, millis(moment))
		if err != nil {
			return point{}, err
		}
		if len(rows) == 0 {
			break
		}
		if p = readPoint(rows[0]); p.kept || p.seq == db.now.seq {
			return p, nil
		}
	}
	if p.seq == 0 {
		return point{}, refuse(http.StatusBadRequest, 7500, "No history available for this database at %s", at.Format(time.RFC3339))
	}
	return p, nil
}

// pointOf finds the point that a bookmark names.
func (db *database) pointOf(ctx context.Context, bookmark string) (point, error) {
	m := bookmarkForm.FindStringSubmatch(bookmark)
	if m == nil {
		return point{}, refuse(http.StatusBadRequest, 7400, "Invalid property: bookmark => %q is not a bookmark", bookmark)
	}
	seq, err := strconv.ParseInt(m[1], 16, 64)
	if err != nil {
		return point{}, err
	}
	rows, err := db.s.rows(ctx, pointColumns+"AND seq = ?", db.id, seq)
	if err != nil {
		return point{}, err
	}
	if len(rows) == 0 || readPoint(rows[0]).bookmark() != bookmark {
		return point{}, errNoHistory(bookmark)
	}
	return readPoint(rows[0]), nil
}

func errNoHistory(bookmark string) error {
	return refuse(http.StatusBadRequest, 7500, "No history available for this database at bookmark %s", bookmark)
}

// restored is what a restore did.
type restored struct {
	bookmark, previous string
}

// restore takes the database back to a point. The point before it can be restored in turn.
func (db *database) restore(ctx context.Context, find func() (point, error)) (done restored, err error) {
	err = db.exclusive(ctx, func() error {
		target, err := find()
		if err != nil {
			return err
		}
		previous, err := db.pin(ctx)
		if err != nil {
			return err
		}
		done.previous = previous.bookmark()
		if target.seq == db.now.seq {
			done.bookmark = done.previous
			return nil
		}
		if !target.kept {
			return errNoHistory(target.bookmark())
		}
		image, err := io.ReadAll(flate.NewReader(db.s.openChunks(ctx, db.copyOwner(target.seq))))
		if err != nil {
			return err
		}
		return db.write(ctx, func() (bool, error) {
			size, err := db.engine.Size(ctx)
			if err != nil {
				return false, err
			}
			if err := db.leave(ctx, size, func() ([]byte, error) { return db.engine.Snapshot(ctx) }); err != nil {
				return false, err
			}
			done.bookmark = db.next.bookmark()
			// What was imported since is not there any more.
			err = db.s.exec(ctx, d1.Query{SQL: "UPDATE uploads SET imported = '' WHERE database = ?", Params: []any{db.id}})
			if err != nil {
				return false, err
			}
			return true, db.engine.Restore(ctx, image)
		})
	})
	return done, err
}
