package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

const storeAccount = "0123456789abcdef0123456789abcdef"

// storeServer serves one storage over HTTP, without the rest of a world, on a clock that only moves when told to.
type storeServer struct {
	t      *testing.T
	s      *storage
	dir    string
	server *httptest.Server
	mu     sync.Mutex
	time   time.Time
}

// startStores serves what dir holds; "" is in memory.
func startStores(t *testing.T, dir string) *storeServer {
	t.Helper()
	w := &storeServer{t: t, dir: dir, time: time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)}
	w.open()
	t.Cleanup(w.close)
	return w
}

func (w *storeServer) open() {
	w.t.Helper()
	s, err := newStorage(w.dir, w.now, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.s = s
	v4, root := http.NewServeMux(), http.NewServeMux()
	s.handle(v4)
	s.handleSigned(root)
	root.Handle(apiPrefix+"/", http.StripPrefix(apiPrefix, v4))
	w.server = httptest.NewServer(root)
}

func (w *storeServer) close() {
	w.server.Close()
	if err := w.s.Close(); err != nil {
		w.t.Error(err)
	}
}

// restart closes everything and opens it again.
func (w *storeServer) restart() {
	w.t.Helper()
	w.close()
	w.open()
}

func (w *storeServer) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.time
}

func (w *storeServer) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.time = w.time.Add(d)
}

// storeReply is an answer of the API, or any other answer in Body.
type storeReply struct {
	t      *testing.T
	Status int
	Header http.Header
	Body   []byte

	Success bool
	Result  any
	Errors  []struct {
		Code    int
		Message string
	}
	Info map[string]any `json:"result_info"`
}

// send makes a call. path is below the account, or a whole URL; body is nil, text, bytes, or something for JSON; header
// is name and value in turn.
func (w *storeServer) send(method, path string, body any, header ...string) *storeReply {
	w.t.Helper()
	url := path
	if !strings.HasPrefix(path, "http") {
		url = w.server.URL + apiPrefix + "/accounts/" + storeAccount + path
	}
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	case []byte:
		reader = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			w.t.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, url, reader)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := w.server.Client().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	r := &storeReply{t: w.t, Status: resp.StatusCode, Header: resp.Header}
	if r.Body, err = io.ReadAll(resp.Body); err != nil {
		w.t.Fatal(err)
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(r.Body, r); err != nil {
			w.t.Fatalf("%s %s: %s: %v", method, path, r.Body, err)
		}
	}
	return r
}

// ok makes a call that must succeed.
func (w *storeServer) ok(method, path string, body any, header ...string) *storeReply {
	w.t.Helper()
	r := w.send(method, path, body, header...)
	if r.Status != http.StatusOK || !r.Success {
		w.t.Fatalf("%s %s: %d %s", method, path, r.Status, r.Body)
	}
	return r
}

// refused makes a call that must be refused with that status and code, and returns the message.
func (w *storeServer) refused(status, code int, method, path string, body any, header ...string) string {
	w.t.Helper()
	r := w.send(method, path, body, header...)
	if r.Status != status || r.Success || len(r.Errors) == 0 || r.Errors[0].Code != code {
		w.t.Errorf("%s %s: got %d %s, want %d with code %d", method, path, r.Status, r.Body, status, code)
		return ""
	}
	return r.Errors[0].Message
}

// get finds a value in the result: names of fields and indexes, separated by dots.
func (r *storeReply) get(path string) any {
	v := r.Result
	for name := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[name]
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (r *storeReply) text(path string) string {
	r.t.Helper()
	s, ok := r.get(path).(string)
	if !ok {
		r.t.Fatalf("%s is no text in %s", path, r.Body)
	}
	return s
}

// sameJSON compares two values as JSON.
func sameJSON(t *testing.T, what string, got, want any) {
	t.Helper()
	normal := func(v any) (out any) {
		text, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(text, &out)
		}
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if g, w := normal(got), normal(want); !reflect.DeepEqual(g, w) {
		t.Errorf("%s: got %v, want %v", what, g, w)
	}
}

// TestStorageSurvives restarts a world with a directory: everything is where it was.
func TestStorageSurvives(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "stores")
	w := startStores(t, dir)
	db := w.ok("POST", "/d1/database", map[string]any{"name": "shop", "primary_location_hint": "weur"}).text("uuid")
	kv := w.ok("POST", "/storage/kv/namespaces", map[string]any{"title": "cache"}).text("id")
	w.ok("POST", "/r2/buckets", map[string]any{"name": "shop-assets"}, "cf-r2-jurisdiction", "eu")
	w.ok("POST", "/d1/database/"+db+"/query", map[string]any{"sql": "CREATE TABLE t(a); INSERT INTO t VALUES(1)"})
	before := w.ok("GET", "/d1/database/"+db+"/time_travel/bookmark", nil).text("bookmark")
	w.pass(time.Minute)
	w.ok("POST", "/d1/database/"+db+"/query", map[string]any{"sql": "INSERT INTO t VALUES(2)"})
	after := w.ok("GET", "/d1/database/"+db+"/time_travel/bookmark", nil).text("bookmark")
	big := bytes.Repeat([]byte("0123456789"), 250_000)
	w.ok("PUT", "/storage/kv/namespaces/"+kv+"/values/big?expiration_ttl=3600", big)
	w.ok("PUT", "/r2/buckets/shop-assets/objects/img/logo.png", big, "cf-r2-jurisdiction", "eu", "Content-Type", "image/png")
	uploaded := w.ok("POST", "/d1/database/"+db+"/import", map[string]any{"action": "init", "etag": strings.Repeat("a", 32)}).text("upload_url")

	w.restart()

	if got := w.ok("GET", "/d1/database/shop", nil); got.text("uuid") != db || got.text("running_in_region") != "WEUR" || got.get("num_tables") != 1.0 {
		t.Errorf("database: %s", got.Body)
	}
	sameJSON(t, "rows", w.ok("POST", "/d1/database/"+db+"/query", map[string]any{"sql": "SELECT a FROM t"}).get("0.results"), []any{map[string]any{"a": 1}, map[string]any{"a": 2}})
	if got := w.ok("GET", "/d1/database/"+db+"/time_travel/bookmark", nil).text("bookmark"); got != after {
		t.Errorf("bookmark %s became %s", after, got)
	}
	w.ok("POST", "/d1/database/"+db+"/time_travel/restore?bookmark="+before, nil)
	sameJSON(t, "restored rows", w.ok("POST", "/d1/database/"+db+"/query", map[string]any{"sql": "SELECT a FROM t"}).get("0.results"), []any{map[string]any{"a": 1}})
	value := w.send("GET", "/storage/kv/namespaces/"+kv+"/values/big", nil)
	if !bytes.Equal(value.Body, big) || value.Header.Get("Expiration") != fmt.Sprint(w.now().Unix()+3600) {
		t.Errorf("value: %d bytes, expiration %s", len(value.Body), value.Header.Get("Expiration"))
	}
	object := w.send("GET", "/r2/buckets/shop-assets/objects/img/logo.png", nil, "cf-r2-jurisdiction", "eu")
	if !bytes.Equal(object.Body, big) || object.Header.Get("Content-Type") != "image/png" {
		t.Errorf("object: %d bytes of %s", len(object.Body), object.Header.Get("Content-Type"))
	}
	if got := w.send("PUT", w.server.URL+uploaded[strings.Index(uploaded, "/signed"):], "SELECT 1"); got.Status != http.StatusOK {
		t.Errorf("presigned URL from before: %d %s", got.Status, got.Body)
	}
	u := w.s.usage(storeAccount, w.now().Add(-time.Hour), w.now().Add(time.Hour))
	if len(u.Databases) != 2 || len(u.KV) != 2 || len(u.R2) != 2 {
		t.Errorf("usage: %+v", u)
	}
	// A second restart finds the restored state, and nothing of a deleted database.
	w.ok("DELETE", "/d1/database/"+db, nil)
	w.restart()
	w.refused(404, 7404, "GET", "/d1/database/shop", nil)
	left, err := filepath.Glob(filepath.Join(dir, "d1", "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("the deleted database left %v, %v", left, err)
	}
}

func TestStorageUsage(t *testing.T) {
	w := startStores(t, "")
	db := w.ok("POST", "/d1/database", map[string]any{"name": "shop"}).text("uuid")
	kv := w.ok("POST", "/storage/kv/namespaces", map[string]any{"title": "cache"}).text("id")
	w.ok("POST", "/r2/buckets", map[string]any{"name": "assets"})
	start := w.now()
	w.ok("POST", "/d1/database/"+db+"/query", map[string]any{"sql": "CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES(1),(2); SELECT * FROM t"})
	w.pass(90 * time.Second)
	w.ok("POST", "/d1/database/"+db+"/raw", map[string]any{"sql": "SELECT a FROM t WHERE a = 2"})
	w.refused(400, 7500, "POST", "/d1/database/"+db+"/query", map[string]any{"sql": "SELECT nosuch"})
	for range 3 {
		w.ok("PUT", "/storage/kv/namespaces/"+kv+"/values/k", "four")
	}
	w.send("GET", "/storage/kv/namespaces/"+kv+"/values/k", nil)
	w.ok("GET", "/storage/kv/namespaces/"+kv+"/keys", nil)
	w.ok("PUT", "/r2/buckets/assets/objects/o", "123")
	w.send("GET", "/r2/buckets/assets/objects/o", nil)

	later := start.Add(time.Minute)
	got := w.s.usage(storeAccount, start, later.Add(time.Minute))
	for i := range got.Databases {
		got.Databases[i].Duration = 0
	}
	want := usage{
		Databases: []databaseUsage{
			{Database: db, Minute: start, ReadQueries: 1, WriteQueries: 2, RowsRead: 2, RowsWritten: 4, Bytes: 16},
			{Database: db, Minute: later, ReadQueries: 1, RowsRead: 1, Bytes: 8},
		},
		KV: []operationUsage{
			{Resource: kv, Action: "list", Minute: later, Requests: 1},
			{Resource: kv, Action: "read", Minute: later, Requests: 1, Bytes: 4},
			{Resource: kv, Action: "write", Minute: later, Requests: 3, Bytes: 12},
		},
		R2: []operationUsage{
			{Resource: "assets", Action: "GetObject", Minute: later, Requests: 1, Bytes: 3},
			{Resource: "assets", Action: "PutObject", Minute: later, Requests: 1, Bytes: 3},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if first := w.s.usage(storeAccount, start, later); len(first.Databases) != 1 || len(first.KV) != 0 {
		t.Errorf("the first minute: %+v", first)
	}
	if other := w.s.usage("someone else", start, later.Add(time.Hour)); len(other.Databases) != 0 {
		t.Errorf("another account: %+v", other)
	}
	// Counts are dropped when they are older than anybody may ask for.
	w.pass(keepUsage + 2*time.Hour)
	w.ok("POST", "/d1/database/"+db+"/query", map[string]any{"sql": "SELECT 1"})
	if all := w.s.usage(storeAccount, start, w.now().Add(time.Hour)); len(all.Databases) != 1 || len(all.KV) != 0 {
		t.Errorf("after 31 days: %+v", all)
	}
}

// TestStorageConcurrent uses everything at once; the race detector and the invariants judge.
func TestStorageConcurrent(t *testing.T) {
	w := startStores(t, t.TempDir())
	db := w.ok("POST", "/d1/database", map[string]any{"name": "shop"}).text("uuid")
	kv := w.ok("POST", "/storage/kv/namespaces", map[string]any{"title": "cache"}).text("id")
	w.ok("POST", "/r2/buckets", map[string]any{"name": "assets"})
	w.ok("POST", "/d1/database/"+db+"/query", map[string]any{"sql": "CREATE TABLE t(a)"})
	ctx := t.Context()
	bucket, err := w.s.findBucket(storeAccount, "", "assets")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	created := make([]bool, 6)
	for i := range 6 {
		group.Go(func() {
			base, err := w.s.findDatabase(storeAccount, db)
			if err != nil {
				t.Error(err)
				return
			}
			namespace, err := w.s.findNamespace(storeAccount, kv)
			if err != nil {
				t.Error(err)
				return
			}
			for n := range 10 {
				w.pass(400 * time.Millisecond)
				if _, err := base.Query(ctx, fmt.Sprintf("INSERT INTO t VALUES(%d); INSERT INTO t VALUES(%[1]d)", i), nil); err != nil {
					t.Error(err)
				}
				if _, err := base.bookmark(ctx, nil); err != nil {
					t.Error(err)
				}
				key := fmt.Sprintf("%d/%d", i, n)
				if err := namespace.Put(ctx, kvEntry{Key: key, Value: []byte(key)}); err != nil {
					t.Error(err)
				}
				if e, ok, err := namespace.Get(ctx, key); err != nil || !ok || string(e.Value) != key {
					t.Errorf("%s: %q %v %v", key, e.Value, ok, err)
				}
				if _, err := bucket.Put(ctx, object{Key: "shared"}, bytes.Repeat([]byte{byte(i)}, 2*chunkSize)); err != nil {
					t.Error(err)
				}
				if _, body, _, err := bucket.Get(ctx, "shared", 0, -1); err != nil || len(bytes.Trim(body, string(body[:1]))) != 0 {
					t.Errorf("an object is a mixture of two: %v", err)
				}
				w.s.usage(storeAccount, time.Time{}, w.now())
			}
			// Only one of several conditional puts finds that there is nothing.
			_, created[i], err = bucket.PutIf(ctx, object{Key: "once"}, nil, func(before *object) bool { return before == nil })
			if err != nil {
				t.Error(err)
			}
			if _, err := w.s.createDatabase(storeAccount, databaseOptions{Name: "same"}); err != nil && !strings.Contains(err.Error(), "already exists") {
				t.Error(err)
			}
		})
	}
	group.Wait()
	winners := 0
	for _, c := range created {
		if c {
			winners++
		}
	}
	if winners != 1 {
		t.Errorf("%d conditional puts succeeded, want 1", winners)
	}
	if got := w.ok("POST", "/d1/database/"+db+"/query", map[string]any{"sql": "SELECT count(*) AS n FROM t"}).get("0.results.0.n"); got != 120.0 {
		t.Errorf("rows: %v", got)
	}
	page := w.ok("GET", "/storage/kv/namespaces/"+kv+"/keys", nil)
	if page.Info["count"] != 60.0 {
		t.Errorf("keys: %v", page.Info)
	}
}
