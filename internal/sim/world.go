package sim

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// World is everything on the far side of the network: accounts, tokens, zones, Workers, stores and the edge.
// Its methods are safe for concurrent use.
//
// A call travels through api.go: it is logged and given a Ray id, waits for the latency, meets the fault rules, is
// authenticated, counted against the budget of its token, and is answered by the handler of its route. Handlers run
// under mu; what they change is on disk before their answer leaves (persist.go).
type World struct {
	now       func() time.Time
	log       *slog.Logger
	dir       string
	rateLimit int
	keepBody  bool
	singles   bool // upload sessions ask for one request per file
	storage   *storage
	edge      *edge
	disk      disk
	api       http.Handler
	changes   atomic.Uint64 // how often what the edge serves has changed
	latency   atomic.Int64  // nanoseconds
	picture   atomic.Pointer[served]
	requests  requestLog
	faults    faultBook
	limits    limiter
	tails     tailBook
	usage     invocationBook
	checked   moduleCache

	randMu sync.Mutex
	random func([]byte)

	mu       sync.RWMutex // guards everything below
	accounts map[string]*account
	tokens   map[string]*credential // by secret
	secret   []byte                 // signs upload sessions
	dirty    map[string]any         // file name (below dir) → state to write
	gone     map[string]bool        // files to remove
	servers  []*http.Server
}

// New opens a world: what Options.Dir holds, or an empty one.
func New(o Options) (*World, error) {
	w := &World{
		now: o.Now, log: o.Log, dir: o.Dir, random: o.Random, keepBody: o.KeepBodies, singles: o.SingleAssetUploads, rateLimit: o.RateLimit,
		disk:     disk{dir: o.Dir},
		accounts: map[string]*account{},
		tokens:   map[string]*credential{},
		dirty:    map[string]any{},
		gone:     map[string]bool{},
	}
	if w.now == nil {
		w.now = time.Now
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	if w.random == nil {
		w.random = func(b []byte) { rand.Read(b) }
	}
	if w.rateLimit == 0 {
		w.rateLimit = defaultRateLimit
	}
	if err := w.load(); err != nil {
		return nil, fmt.Errorf("opening the world in %s: %w", o.Dir, err)
	}
	storage, err := newStorage(w.dataDir("storage"), w.now, w.fill)
	if err != nil {
		return nil, fmt.Errorf("opening the stores of the world: %w", err)
	}
	w.storage = storage
	if w.edge, err = newEdge(w, o); err != nil {
		storage.Close()
		return nil, fmt.Errorf("preparing the edge: %w", err)
	}
	w.api = w.routes()
	return w, nil
}

// dataDir is where a part of the simulator keeps its own files; "" when the world lives in memory.
func (w *World) dataDir(name string) string {
	if w.dir == "" {
		return ""
	}
	return filepath.Join(w.dir, name)
}

// SetLatency makes every call wait d, in real time, before it is looked at. Presigned URLs are not delayed.
func (w *World) SetLatency(d time.Duration) { w.latency.Store(int64(d)) }

// change counts how often something that the edge serves has changed; compare it with served.Change.
func (w *World) change() uint64 { return w.changes.Load() }

// id makes a 32 digit hexadecimal id, as accounts, zones, routes and domains have.
func (w *World) id() string {
	var b [16]byte
	w.fill(b[:])
	return hex.EncodeToString(b[:])
}

// uuid makes a version 4 UUID, as versions and deployments have.
func (w *World) uuid() string {
	var b [16]byte
	w.fill(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (w *World) fill(b []byte) {
	w.randMu.Lock()
	defer w.randMu.Unlock()
	w.random(b)
}
