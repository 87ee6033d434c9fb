package sim

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/d1"
)

// database is a D1 database. Its methods are safe for concurrent use and run one after the other, as D1 runs them.
type database struct {
	s                                       *storage
	id, name, account, region, jurisdiction string
	created                                 time.Time

	turn        chan struct{} // holds one token while nobody works on the fields below
	engine      *d1.DB        // nil until it is first needed
	gone        bool          // deleted or closed
	replication string
	now         point  // what the database holds
	next        *point // what it will hold when the transaction under way commits

	transfers transferBook
}

// databaseOptions describe a database to create. ID "" makes one up; Region is a location hint, "" is wnam.
type databaseOptions struct {
	ID, Name, Region, Jurisdiction, Replication string
}

var (
	databaseName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)
	databaseID   = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

// maxDatabaseName is how long a name may be, in bytes.
const maxDatabaseName = 64

// createDatabase makes a database. The name must be new to the account, the id to the world.
func (s *storage) createDatabase(account string, o databaseOptions) (*database, error) {
	if !databaseName.MatchString(o.Name) || len(o.Name) > maxDatabaseName {
		return nil, refuse(http.StatusBadRequest, 7400, "Invalid property: name => Database names must match %s and be at most %d characters", databaseName, maxDatabaseName)
	}
	if o.ID == "" {
		o.ID = s.uuid()
	}
	if !databaseID.MatchString(o.ID) {
		return nil, refuse(http.StatusBadRequest, 7400, "Invalid property: id => %s is not a UUID", o.ID)
	}
	if o.Region == "" {
		o.Region = "wnam"
	}
	if o.Replication == "" {
		o.Replication = "disabled"
	}
	db := s.newDatabase(account, o, s.now())
	db.now = s.newPoint(1)
	err := s.exec(context.Background(),
		d1.Query{
			SQL:    "INSERT INTO databases VALUES(?, ?, ?, ?, ?, ?, ?)",
			Params: []any{db.id, account, db.name, millis(db.created), db.region, db.jurisdiction, db.replication},
		}, db.now.insert(db.id))
	if taken(err) {
		return nil, refuse(http.StatusBadRequest, 7502, "A database with that name already exists")
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.databases[db.id] = db
	return db, nil
}

func (s *storage) newDatabase(account string, o databaseOptions, created time.Time) *database {
	db := &database{
		s: s, account: account, id: o.ID, name: o.Name, region: strings.ToUpper(o.Region), jurisdiction: o.Jurisdiction,
		replication: o.Replication, created: created, turn: make(chan struct{}, 1),
	}
	db.turn <- struct{}{}
	return db
}

// loadDatabases finds out which databases there are.
func (s *storage) loadDatabases() error {
	rows, err := s.rows(context.Background(), `
		SELECT d.id, d.account, d.name, d.created, d.region, d.jurisdiction, d.replication, p.seq, p.at, p.suffix, p.pinned, p.kept
		FROM databases d JOIN points p ON p.database = d.id
		WHERE p.seq = (SELECT max(seq) FROM points WHERE database = d.id)`)
	if err != nil {
		return err
	}
	for _, r := range rows {
		db := s.newDatabase(r[1].(string), databaseOptions{
			ID: r[0].(string), Name: r[2].(string), Region: r[4].(string), Jurisdiction: r[5].(string), Replication: r[6].(string),
		}, time.UnixMilli(r[3].(int64)))
		db.now = readPoint(r[7:])
		s.databases[db.id] = db
	}
	return nil
}

// findDatabase finds a database of the account by id or by name.
func (s *storage) findDatabase(account, idOrName string) (*database, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if db := s.databases[idOrName]; db != nil && db.account == account {
		return db, nil
	}
	for _, db := range s.databases {
		if db.account == account && db.name == idOrName {
			return db, nil
		}
	}
	return nil, errNoDatabase(idOrName)
}

func errNoDatabase(idOrName string) error {
	return refuse(http.StatusNotFound, 7404, "The database %s could not be found", idOrName)
}

// ID is the database's UUID.
func (db *database) ID() string { return db.id }

// Name is the database's name.
func (db *database) Name() string { return db.name }

// Query runs all statements of sql as one transaction: one result per statement.
func (db *database) Query(ctx context.Context, sql string, params []any) ([]d1.Result, error) {
	return db.Batch(ctx, []d1.Query{{SQL: sql, Params: params}})
}

// Batch runs all statements of all queries as one transaction: one result per statement. What D1 refuses, and what
// fails, is a *d1.Error.
func (db *database) Batch(ctx context.Context, queries []d1.Query) (results []d1.Result, err error) {
	err = db.exclusive(ctx, func() error {
		return db.write(ctx, func() (changed bool, err error) {
			results, err = db.engine.Batch(ctx, queries)
			for _, r := range results {
				changed = changed || r.Meta.ChangedDB
			}
			return changed, err
		})
	})
	if err != nil {
		return nil, err
	}
	db.s.uses.queried(db.account, db.id, db.s.now(), results)
	return results, nil
}

// exclusive runs work when it is its turn, with the engine open.
func (db *database) exclusive(ctx context.Context, work func() error) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-db.turn:
	}
	defer func() { db.turn <- struct{}{} }()
	if db.gone {
		return errNoDatabase(db.id)
	}
	if db.engine == nil {
		engine, err := d1.Open(db.path())
		if err != nil {
			return err
		}
		engine.BeforeWrite = db.leave
		db.engine = engine
	}
	return work()
}

// path is the file of the database; "" in memory.
func (db *database) path() string {
	if db.s.dir == "" {
		return ""
	}
	return filepath.Join(db.s.dir, "d1", db.id+".sqlite")
}

// release closes the engine for good.
func (db *database) release() error {
	<-db.turn
	defer func() { db.turn <- struct{}{} }()
	db.gone = true
	if db.engine == nil {
		return nil
	}
	return db.engine.Close()
}

// drop deletes the database and its history.
func (db *database) drop(ctx context.Context) error {
	db.s.mu.Lock()
	delete(db.s.databases, db.id)
	db.s.mu.Unlock()
	if err := db.release(); err != nil {
		return err
	}
	err := db.s.exec(ctx,
		d1.Query{SQL: "DELETE FROM databases WHERE id = ?", Params: []any{db.id}},
		d1.Query{SQL: "DELETE FROM points WHERE database = ?", Params: []any{db.id}},
		d1.Query{SQL: "DELETE FROM uploads WHERE database = ?", Params: []any{db.id}},
		dropChunksBelow("copy/"+db.id+"/"), dropChunksBelow("file/"+db.id+"/"))
	if err != nil || db.path() == "" {
		return err
	}
	for _, path := range []string{db.path(), db.path() + "-journal"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// measure is the size of the database in bytes, the number of its tables and the mode of its replication.
func (db *database) measure(ctx context.Context) (size, tables int64, mode string, err error) {
	err = db.exclusive(ctx, func() error {
		mode = db.replication
		if size, err = db.engine.Size(ctx); err != nil {
			return err
		}
		r, err := db.engine.Query(ctx, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'")
		if err == nil {
			tables = r[0].Rows[0][0].(int64)
		}
		return err
	})
	return size, tables, mode, err
}

// replicate sets the mode of read replication, which has no effect here.
func (db *database) replicate(ctx context.Context, mode string) error {
	return db.exclusive(ctx, func() error {
		err := db.s.exec(ctx, d1.Query{SQL: "UPDATE databases SET replication = ? WHERE id = ?", Params: []any{mode, db.id}})
		if err == nil {
			db.replication = mode
		}
		return err
	})
}
