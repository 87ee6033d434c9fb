package sim

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvick/shopfleet/internal/d1"
)

// storage is everything that the accounts of a world keep in D1, KV and R2. It needs nothing of the world: an account is
// a string, and exists as soon as something is made in it. Its methods are safe for concurrent use.
//
// A D1 database is an SQLite database of its own (d1.go). Everything else is in one more SQLite database, the catalogue:
// which databases, namespaces and buckets there are, keys, objects, bookmarks, and contents in chunks
// (storage_chunks.go). With a directory these are files, d1/<id>.sqlite and catalogue.sqlite, and what a finished call
// changed is in them.
type storage struct {
	dir       string
	now       func() time.Time
	random    func([]byte)
	randomMu  sync.Mutex
	catalogue *d1.DB
	uses      usageCount
	// itemFailures makes …/query and …/raw report a failing statement inside a result that succeeds, as D1 may.
	itemFailures atomic.Bool
	swapping     sync.Mutex // held from the look at an object to its replacement

	mu        sync.Mutex
	databases map[string]*database // by id; all that exist
	closed    chan struct{}
	jobs      sync.WaitGroup // imports and exports under way
}

// schema is the catalogue. Times are milliseconds since 1970.
const schema = `
CREATE TABLE IF NOT EXISTS databases(
	id TEXT PRIMARY KEY, account TEXT NOT NULL, name TEXT NOT NULL, created INTEGER NOT NULL,
	region TEXT NOT NULL, jurisdiction TEXT NOT NULL, replication TEXT NOT NULL, UNIQUE(account, name));
CREATE TABLE IF NOT EXISTS points(
	database TEXT NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, suffix TEXT NOT NULL,
	pinned INTEGER NOT NULL DEFAULT 0, kept INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(database, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads(
	database TEXT NOT NULL, filename TEXT NOT NULL, etag TEXT NOT NULL, signature TEXT NOT NULL, export INTEGER NOT NULL,
	complete INTEGER NOT NULL DEFAULT 0, imported TEXT NOT NULL DEFAULT '', expires INTEGER NOT NULL,
	PRIMARY KEY(database, filename)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS namespaces(
	id TEXT PRIMARY KEY, account TEXT NOT NULL, title TEXT NOT NULL, UNIQUE(account, title));
CREATE TABLE IF NOT EXISTS entries(
	namespace TEXT NOT NULL, key TEXT NOT NULL, metadata TEXT, expires INTEGER,
	PRIMARY KEY(namespace, key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS expiring ON entries(namespace, expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS buckets(
	id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, jurisdiction TEXT NOT NULL, name TEXT NOT NULL,
	created INTEGER NOT NULL, location TEXT NOT NULL, class TEXT NOT NULL, UNIQUE(account, jurisdiction, name));
CREATE TABLE IF NOT EXISTS objects(
	bucket INTEGER NOT NULL, key TEXT NOT NULL, version TEXT NOT NULL, etag TEXT NOT NULL, size INTEGER NOT NULL,
	uploaded INTEGER NOT NULL, class TEXT NOT NULL, http TEXT NOT NULL, custom TEXT NOT NULL,
	PRIMARY KEY(bucket, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chunks(owner TEXT NOT NULL, n INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY(owner, n));
CREATE TABLE IF NOT EXISTS usage(
	account TEXT NOT NULL, kind TEXT NOT NULL, resource TEXT NOT NULL, action TEXT NOT NULL, minute INTEGER NOT NULL,
	counts TEXT NOT NULL, PRIMARY KEY(account, kind, resource, action, minute)) WITHOUT ROWID;
`

// newStorage opens what dir holds; "" keeps everything in memory. now is the clock of the world, random fills a slice
// (nil is crypto/rand).
func newStorage(dir string, now func() time.Time, random func([]byte)) (*storage, error) {
	if random == nil {
		random = func(b []byte) { rand.Read(b) } // it never fails
	}
	s := &storage{dir: dir, now: now, random: random, databases: map[string]*database{}, closed: make(chan struct{})}
	path := ""
	if dir != "" {
		if err := os.MkdirAll(filepath.Join(dir, "d1"), 0o755); err != nil {
			return nil, err
		}
		path = filepath.Join(dir, "catalogue.sqlite")
	}
	catalogue, err := d1.Open(path)
	if err != nil {
		return nil, err
	}
	s.catalogue = catalogue
	if _, err := s.catalogue.Query(context.Background(), schema); err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the catalogue: %w", err), catalogue.Close())
	}
	if err := errors.Join(s.loadDatabases(), s.loadUsage()); err != nil {
		return nil, errors.Join(err, catalogue.Close())
	}
	return s, nil
}

// Close waits for imports and exports, which are cut short, and releases every database.
func (s *storage) Close() error {
	s.mu.Lock()
	select {
	case <-s.closed:
		s.mu.Unlock()
		return nil
	default:
		close(s.closed)
	}
	databases := s.databases
	s.databases = map[string]*database{}
	s.mu.Unlock()
	s.jobs.Wait()
	var errs []error
	for _, db := range databases {
		errs = append(errs, db.release())
	}
	return errors.Join(append(errs, s.saveUsage(), s.catalogue.Close())...)
}

// handle mounts the REST routes without the /client/v4 prefix: /accounts/{account}/d1/…, /accounts/{account}/r2/… and
// /accounts/{account}/storage/kv/…. Who may call them is for the caller to check.
func (s *storage) handle(mux *http.ServeMux) {
	for _, area := range [][]storageRoute{d1Routes(), kvRoutes(), r2Routes()} {
		for _, route := range area {
			mux.HandleFunc(route.pattern, s.answer(route.answer))
		}
	}
}

// handleSigned mounts the presigned URLs that import and export hand out, below /signed/d1/. They stand at the root of
// the API's host and are called without authorization (wire.md §1): the signature in them is what admits.
func (s *storage) handleSigned(mux *http.ServeMux) {
	mux.HandleFunc("PUT /signed/d1/{database}/{filename}", s.putSigned)
	mux.HandleFunc("GET /signed/d1/{database}/{filename}", s.getSigned)
}

// storageRoute is an endpoint of the stores.
type storageRoute struct {
	pattern string
	answer  func(*storage, *storageCall) (any, error)
}

// storageCall is a call to one of the stores.
type storageCall struct {
	*call
	ctx     context.Context
	account string
}

func (s *storage) answer(f func(*storage, *storageCall) (any, error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxStored))
		if err != nil {
			writeRefusal(rw, refuse(http.StatusRequestEntityTooLarge, 10027, "request body: %v", err))
			return
		}
		c := &storageCall{call: &call{r: r, body: body}, ctx: r.Context(), account: r.PathValue("account")}
		result, err := f(s, c)
		writeAnswer(rw, result, err)
	}
}

// maxStored bounds the body of a call: the largest object that the REST API takes, and a little for what is around it.
const maxStored = 300<<20 + 1<<20

// hexID makes a 32 digit hexadecimal id, as KV namespaces have.
func (s *storage) hexID() string {
	var b [16]byte
	s.fill(b[:])
	return hex.EncodeToString(b[:])
}

// uuid makes a version 4 UUID, as databases have.
func (s *storage) uuid() string {
	var b [16]byte
	s.fill(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (s *storage) fill(b []byte) {
	s.randomMu.Lock()
	defer s.randomMu.Unlock()
	s.random(b)
}

// exec changes the catalogue: all of the queries or none.
func (s *storage) exec(ctx context.Context, queries ...d1.Query) error {
	_, err := s.catalogue.Batch(ctx, queries)
	return err
}

// rows reads the catalogue.
func (s *storage) rows(ctx context.Context, sql string, params ...any) ([][]any, error) {
	results, err := s.catalogue.Query(ctx, sql, params...)
	if err != nil {
		return nil, err
	}
	return results[len(results)-1].Rows, nil
}

// taken says whether err is that of a row that exists already.
func taken(err error) bool {
	var e *d1.Error
	return errors.As(err, &e) && (e.Code == "SQLITE_CONSTRAINT_UNIQUE" || e.Code == "SQLITE_CONSTRAINT_PRIMARYKEY")
}

func millis(t time.Time) int64 { return t.UnixMilli() }

// shortStamp formats a time as D1 and R2 do.
func shortStamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
