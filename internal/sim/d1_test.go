package sim

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// sql runs SQL and returns the rows of the last statement.
func (w *storeServer) sql(db, text string) any {
	w.t.Helper()
	r := w.ok("POST", "/d1/database/"+db+"/query", map[string]any{"sql": text})
	list := r.Result.([]any)
	return list[len(list)-1].(map[string]any)["results"]
}

func (w *storeServer) database(name string) string {
	w.t.Helper()
	return w.ok("POST", "/d1/database", map[string]any{"name": name}).text("uuid")
}

func TestDatabases(t *testing.T) {
	w := startStores(t, "")
	created := w.ok("POST", "/d1/database", map[string]any{"name": "helm-a", "primary_location_hint": "weur", "jurisdiction": "eu"}, "Content-Type", "text/plain")
	id := created.text("uuid")
	sameJSON(t, "created", created.Result, map[string]any{
		"uuid": id, "name": "helm-a", "created_at": "2026-11-23T14:00:00.000Z", "version": "production", "num_tables": 0, "file_size": 0,
		"running_in_region": "WEUR", "created_in_region": "WEUR", "jurisdiction": "eu", "read_replication": map[string]any{"mode": "disabled"},
	})
	if !databaseID.MatchString(id) {
		t.Errorf("id %s", id)
	}
	for _, body := range []string{`{"name":""}`, `{"name":"Upper"}`, `{"name":"-dash"}`, `{"name":"a b"}`, `{"name":"` + strings.Repeat("a", 65) + `"}`, `{`,
		`{"name":"b","primary_location_hint":"moon"}`, `{"name":"b","jurisdiction":"moon"}`, `{"name":"b","read_replication":{"mode":"x"}}`} {
		w.refused(400, 7400, "POST", "/d1/database", body)
	}
	w.refused(400, 7502, "POST", "/d1/database", map[string]any{"name": "helm-a"})
	w.refused(404, 7404, "GET", "/d1/database/nope", nil)
	w.refused(404, 7404, "DELETE", "/d1/database/nope", nil)
	w.refused(404, 7404, "POST", "/d1/database/helm-a/query", map[string]any{"sql": "SELECT 1"})
	if msg := w.refused(404, 7404, "GET", "/d1/database/11111111-2222-4333-8444-555555555555", nil); msg != "The database 11111111-2222-4333-8444-555555555555 could not be found" {
		t.Errorf("message: %s", msg)
	}
	sameJSON(t, "fields", w.ok("GET", "/d1/database/helm-a?fields=uuid,name", nil).Result, map[string]any{"uuid": id, "name": "helm-a"})
	sameJSON(t, "other fields", w.ok("GET", "/d1/database/helm-a?fields=name,file_size", nil).Result, map[string]any{"name": "helm-a", "file_size": 0})
	w.sql(id, "CREATE TABLE a(x); CREATE TABLE b(y INTEGER PRIMARY KEY AUTOINCREMENT)")
	if got := w.ok("GET", "/d1/database/"+id, nil); got.get("num_tables") != 2.0 || got.get("file_size").(float64) < 4096 {
		t.Errorf("measured: %s", got.Body)
	}
	w.refused(400, 7400, "PUT", "/d1/database/"+id, `{}`)
	w.ok("PATCH", "/d1/database/helm-a", `{}`)
	if got := w.ok("PUT", "/d1/database/"+id, map[string]any{"read_replication": map[string]any{"mode": "auto"}}).get("read_replication.mode"); got != "auto" {
		t.Errorf("replication: %v", got)
	}
	for i := range 12 {
		w.pass(time.Second)
		w.database(fmt.Sprintf("many-%d", i))
	}
	first := w.ok("GET", "/d1/database?per_page=10&page=1", nil)
	second := w.ok("GET", "/d1/database?per_page=10&page=2", nil)
	if len(first.Result.([]any)) != 10 || len(second.Result.([]any)) != 3 || second.text("2.name") != "many-11" || first.Info["total_count"] != 13.0 {
		t.Errorf("pages: %s %s", first.Body, second.Body)
	}
	sameJSON(t, "listed", first.get("0"), map[string]any{"uuid": id, "name": "helm-a", "version": "production",
		"created_at": "2026-11-23T14:00:00.000Z", "num_tables": nil, "file_size": nil, "jurisdiction": "eu"})
	if got := w.ok("GET", "/d1/database?name=many-1", nil); len(got.Result.([]any)) != 3 { // many-1, many-10, many-11
		t.Errorf("searched: %s", got.Body)
	}
	w.ok("DELETE", "/d1/database/helm-a", nil)
	w.refused(404, 7404, "GET", "/d1/database/"+id, nil)
	w.database("helm-a")
	// Another account sees nothing of it.
	other := w.send("GET", w.server.URL+apiPrefix+"/accounts/ffffffffffffffffffffffffffffffff/d1/database/helm-a", nil)
	if other.Status != 404 {
		t.Errorf("another account: %d", other.Status)
	}
}

func TestQuery(t *testing.T) {
	w := startStores(t, "")
	id := w.database("shop")
	path := "/d1/database/" + id + "/query"
	r := w.ok("POST", path, map[string]any{"sql": "CREATE TABLE t(i INTEGER, r REAL, s TEXT, b BLOB); INSERT INTO t VALUES(9007199254740993, 1.5, 'é<', x'00ff'), (1, 9e999, NULL, x''); SELECT * FROM t"}, "Content-Type", "text/plain;charset=UTF-8")
	if n := len(r.Result.([]any)); n != 3 {
		t.Fatalf("%d results: %s", n, r.Body)
	}
	// Numbers have been JavaScript's: 53 bits, and no infinity.
	if want := `"results":[{"i":9007199254740992,"r":1.5,"s":"é\u003c","b":[0,255]},{"i":1,"r":null,"s":null,"b":[]}]`; !bytes.Contains(r.Body, []byte(want)) {
		t.Errorf("rows: %s", r.Body)
	}
	for name, want := range map[string]any{"changes": 2.0, "last_row_id": 2.0, "changed_db": true, "rows_written": 2.0, "served_by_primary": true, "served_by_region": "WNAM"} {
		if got := r.get("1.meta." + name); got != want {
			t.Errorf("meta %s: %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"duration", "size_after", "rows_read", "timings.sql_duration_ms", "served_by", "total_attempts"} {
		if _, ok := r.get("2.meta." + name).(float64); !ok && name != "served_by" {
			t.Errorf("meta %s: %v", name, r.get("2.meta."+name))
		}
	}
	// Order of columns is that of the statement; of two with a name the last one is seen, in the place of the first.
	if r := w.ok("POST", path, `{"sql":"SELECT 1 AS z, 2 AS a, 3 AS z"}`); !bytes.Contains(r.Body, []byte(`[{"z":3,"a":2}]`)) {
		t.Errorf("columns: %s", r.Body)
	}
	sameJSON(t, "raw", w.ok("POST", "/d1/database/"+id+"/raw", `{"sql":"SELECT 1 AS z, 2 AS a, 3 AS z"}`).get("0.results"),
		map[string]any{"columns": []any{"z", "a", "z"}, "rows": []any{[]any{1, 2, 3}}})
	sameJSON(t, "raw of nothing", w.ok("POST", "/d1/database/"+id+"/raw", `{"sql":"SELECT i FROM t WHERE 0"}`).get("0.results"),
		map[string]any{"columns": []any{"i"}, "rows": []any{}})
	sameJSON(t, "params", w.ok("POST", path, `{"sql":"SELECT ?1 AS a, ?2 AS b, ?3 AS c, ?4 AS d, ?5 AS e","params":[null,true,"x",2.5,[1,2]]}`).get("0.results.0"),
		map[string]any{"a": nil, "b": 1, "c": "x", "d": 2.5, "e": []any{1, 2}})
	for _, body := range []string{`{"batch":[{"sql":"SELECT 1 AS a"},{"sql":"SELECT ? AS a","params":[2]}]}`, `[{"sql":"SELECT 1 AS a"},{"sql":"SELECT ? AS a","params":[2]}]`} {
		r := w.ok("POST", path, body)
		sameJSON(t, "batch", []any{r.get("0.results.0.a"), r.get("1.results.0.a")}, []any{1, 2})
	}
	for _, body := range []string{``, `{}`, `[]`, `{"sql":5}`, `{"batch":[]}`, `{"batch":[{}]}`, `{"sql":"SELECT 1","batch":[]}`, `{"sql":"SELECT ?","params":[{}]}`} {
		w.refused(400, 7400, "POST", path, body)
	}
	for text, want := range map[string]string{
		"SELECT * FROM missing":                            "no such table: missing: SQLITE_ERROR",
		"BEGIN; SELECT 1; COMMIT":                          "To execute a transaction, please use the state.storage.transaction()",
		"-- nothing":                                       "No SQL statements detected.",
		"INSERT INTO t VALUES(1)":                          "table t has 4 columns but 1 values were supplied",
		"SELECT sqlite_version()":                          "not authorized to use function: sqlite_version",
		"CREATE TABLE _cf_x(a)":                            "not authorized: SQLITE_AUTH",
		"CREATE TABLE nosemi (a)\nINSERT INTO t VALUES(1)": `near "INSERT": syntax error`,
	} {
		if msg := w.refused(400, 7500, "POST", path, map[string]any{"sql": text}); !strings.Contains(msg, want) {
			t.Errorf("%s: %s", text, msg)
		}
	}
	w.refused(400, 7500, "POST", path, `[{"sql":"DELETE FROM t"},{"sql":"SELECT nosuch FROM t"}]`)
	sameJSON(t, "a failed batch leaves all", w.sql(id, "SELECT count(*) AS n FROM t"), []any{map[string]any{"n": 2}})

	w.s.itemFailures.Store(true)
	r = w.ok("POST", path, map[string]any{"sql": "SELECT * FROM missing"})
	sameJSON(t, "item failure", r.Result, []any{map[string]any{"results": []any{}, "success": false, "error": "no such table: missing: SQLITE_ERROR"}})
	w.s.itemFailures.Store(false)
}

func TestTimeTravel(t *testing.T) {
	for _, dir := range []string{"", "disk"} {
		if dir != "" {
			dir = t.TempDir()
		}
		w := startStores(t, dir)
		id := w.database("shop")
		other := w.database("other")
		path := "/d1/database/" + id + "/time_travel/"
		bookmark := func() string { return w.ok("GET", path+"bookmark", nil).text("bookmark") }
		count := func() any {
			return w.sql(id, "SELECT group_concat(a, '') AS t FROM t").([]any)[0].(map[string]any)["t"]
		}
		w.sql(id, "CREATE TABLE t(a)")
		empty := bookmark()
		var marks []string
		for i := range 5 {
			w.sql(id, fmt.Sprintf("INSERT INTO t VALUES(%d)", i)) // the clock stands still
			marks = append(marks, bookmark())
		}
		if !slices.IsSorted(append([]string{empty}, marks...)) || !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{8}-0000512c-[0-9a-f]{32}$`).MatchString(empty) {
			t.Errorf("bookmarks: %s %v", empty, marks)
		}
		if again := bookmark(); again != marks[4] {
			t.Errorf("without a change the bookmark went from %s to %s", marks[4], again)
		}
		w.sql(id, "SELECT * FROM t; CREATE TABLE IF NOT EXISTS t(a)")
		w.refused(400, 7500, "POST", "/d1/database/"+id+"/query", map[string]any{"sql": "INSERT INTO t VALUES(9); SELECT nosuch"})
		if again := bookmark(); again != marks[4] {
			t.Errorf("nothing was changed, but the bookmark went from %s to %s", marks[4], again)
		}

		r := w.ok("POST", path+"restore?bookmark="+marks[1], nil)
		if r.text("previous_bookmark") != marks[4] || r.text("bookmark") <= marks[4] || r.text("bookmark") != bookmark() {
			t.Errorf("restore: %s, now at %s", r.Body, bookmark())
		}
		if got := count(); got != "01" {
			t.Errorf("restored %v, want 01", got)
		}
		w.sql(id, "DELETE FROM t")
		w.ok("POST", path+"restore?bookmark="+r.text("previous_bookmark"), nil) // undo
		if got := count(); got != "01234" {
			t.Errorf("undone %v, want 01234", got)
		}
		w.ok("POST", path+"restore?bookmark="+r.text("bookmark"), nil) // what the first restore had made
		if got := count(); got != "01" {
			t.Errorf("restored %v, want 01", got)
		}
		w.ok("POST", path+"restore?bookmark="+empty, nil)
		if got := count(); got != nil {
			t.Errorf("restored %v, want nothing", got)
		}
		here := bookmark()
		if r := w.ok("POST", path+"restore?bookmark="+here, nil); r.text("bookmark") != here || r.text("previous_bookmark") != here {
			t.Errorf("restoring the present: %s", r.Body)
		}

		// By time: the state at the end of each second can be had back without anybody having asked for a bookmark.
		start := w.now()
		for i := range 4 {
			w.pass(time.Minute)
			w.sql(id, fmt.Sprintf("INSERT INTO t VALUES(%d)", i))
		}
		at := func(d time.Duration) string { return start.Add(d).Format("2006-01-02T15:04:05.000Z") }
		w.ok("POST", path+"restore?timestamp="+at(150*time.Second), nil)
		if got := count(); got != "01" {
			t.Errorf("after two and a half minutes: %v, want 01", got)
		}
		byTime := w.ok("GET", path+"bookmark?timestamp="+at(3*time.Minute), nil).text("bookmark")
		w.ok("POST", path+"restore?bookmark="+byTime, nil)
		if got := count(); got != "012" {
			t.Errorf("after three minutes: %v, want 012", got)
		}
		seconds := w.ok("GET", path+"bookmark?timestamp="+fmt.Sprint(start.Add(3*time.Minute).Unix()), nil).text("bookmark")
		offset := w.ok("GET", path+"bookmark?timestamp="+strings.ReplaceAll(start.Add(3*time.Minute).In(time.FixedZone("", 3600)).Format(time.RFC3339), "+", "%2B"), nil).text("bookmark")
		if seconds != byTime || offset != byTime {
			t.Errorf("one time in three forms: %s %s %s", byTime, seconds, offset)
		}

		foreign := w.ok("GET", "/d1/database/"+other+"/time_travel/bookmark", nil).text("bookmark")
		w.refused(400, 7500, "POST", path+"restore?bookmark="+foreign, nil)
		w.refused(400, 7500, "POST", path+"restore?bookmark=00000fff-00000000-0000512b-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", nil)
		w.refused(400, 7400, "POST", path+"restore?bookmark=yesterday", nil)
		w.refused(400, 7400, "POST", path+"restore", nil)
		w.refused(400, 7400, "POST", path+"restore?bookmark="+empty+"&timestamp="+at(0), nil)
		w.refused(400, 7400, "GET", path+"bookmark?timestamp=yesterday", nil)
		w.refused(400, 7500, "GET", path+"bookmark?timestamp="+at(-time.Hour), nil)
		w.refused(400, 7400, "GET", path+"bookmark?timestamp="+at(-31*24*time.Hour), nil)
		w.pass(31 * 24 * time.Hour)
		w.sql(id, "INSERT INTO t VALUES('late')")
		w.refused(400, 7500, "POST", path+"restore?bookmark="+empty, nil)
	}
}

// TestHistoryIsBounded: a big database is copied only for a bookmark that was handed out, a small one once a second,
// and old copies go.
func TestHistoryIsBounded(t *testing.T) {
	w := startStores(t, "")
	id := w.database("shop")
	copies := func() int64 {
		rows, err := w.s.rows(t.Context(), "SELECT count(DISTINCT owner) FROM chunks")
		if err != nil {
			t.Fatal(err)
		}
		return rows[0][0].(int64)
	}
	for range 10 {
		w.sql(id, "CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES(1)")
	}
	if n := copies(); n != 0 {
		t.Errorf("%d copies within one second", n)
	}
	for range 3 {
		w.pass(time.Second)
		w.sql(id, "INSERT INTO t VALUES(1)")
	}
	if n := copies(); n != 3 {
		t.Errorf("%d copies in three seconds", n)
	}
	w.pass(time.Second)
	w.sql(id, "INSERT INTO t VALUES(zeroblob(2000000))")
	small := copies()
	before := w.now()
	for range 5 {
		w.pass(time.Minute)
		w.sql(id, "INSERT INTO t VALUES(2)")
	}
	if n := copies(); n != small {
		t.Errorf("the big database was copied %d times", n-small)
	}
	w.refused(400, 7500, "POST", "/d1/database/"+id+"/time_travel/restore?timestamp="+before.Add(30*time.Second).Format(time.RFC3339), nil)
	mark := w.ok("GET", "/d1/database/"+id+"/time_travel/bookmark", nil).text("bookmark")
	if n := copies(); n != small {
		t.Error("a bookmark alone made a copy")
	}
	w.sql(id, "DELETE FROM t")
	if n := copies(); n != small+1 {
		t.Errorf("%d copies for a bookmark", n-small)
	}
	w.ok("POST", "/d1/database/"+id+"/time_travel/restore?bookmark="+mark, nil)
	sameJSON(t, "restored", w.sql(id, "SELECT count(*) AS n FROM t WHERE a = 2"), []any{map[string]any{"n": 5}})

	w.sql(id, "DELETE FROM t")
	for range keepCopies + 20 {
		w.pass(time.Second)
		w.sql(id, "INSERT INTO t VALUES(1)")
	}
	if n := copies(); n > 2*keepCopies {
		t.Errorf("%d copies are kept", n)
	}
}

// upload runs the import flow up to ingest and returns its answer.
func (w *storeServer) upload(id, text string) *storeReply {
	w.t.Helper()
	sum := md5.Sum([]byte(text))
	etag := hex.EncodeToString(sum[:])
	init := w.ok("POST", "/d1/database/"+id+"/import", map[string]any{"action": "init", "etag": etag})
	if put := w.send("PUT", init.text("upload_url"), text); put.Status != http.StatusOK || put.Header.Get("ETag") != `"`+etag+`"` {
		w.t.Fatalf("upload: %d %v", put.Status, put.Header)
	}
	return w.ok("POST", "/d1/database/"+id+"/import", map[string]any{"action": "ingest", "etag": etag, "filename": init.text("filename")})
}

// await polls a transfer to its end.
func (w *storeServer) await(id, kind string, r *storeReply) *storeReply {
	w.t.Helper()
	for r.get("status") == "active" {
		if r.get("success") != true || r.get("type") != kind || r.get("messages") == nil {
			w.t.Fatalf("active: %s", r.Body)
		}
		r = w.ok("POST", "/d1/database/"+id+"/"+kind, map[string]any{"action": "poll", "output_format": "polling", "current_bookmark": r.text("at_bookmark")})
	}
	return r
}

func TestImport(t *testing.T) {
	w := startStores(t, "")
	id := w.database("shop")
	path := "/d1/database/" + id + "/import"
	const text = "CREATE TABLE imp (id INTEGER PRIMARY KEY, s TEXT);\nINSERT INTO imp (s) VALUES ('x;y');\n"
	before := w.ok("GET", "/d1/database/"+id+"/time_travel/bookmark", nil).text("bookmark")
	done := w.await(id, "import", w.upload(id, text))
	if done.get("status") != "complete" || done.get("success") != true || done.get("result.num_queries") != 2.0 || done.get("error") != nil {
		t.Fatalf("import: %s", done.Body)
	}
	if now := w.ok("GET", "/d1/database/"+id+"/time_travel/bookmark", nil).text("bookmark"); done.text("result.final_bookmark") != now || done.text("at_bookmark") >= now {
		t.Errorf("bookmarks: %s, now %s", done.Body, now)
	}
	for _, name := range []string{"duration", "rows_read", "rows_written", "size_after"} {
		if _, ok := done.get("result.meta." + name).(float64); !ok {
			t.Errorf("meta %s: %s", name, done.Body)
		}
	}
	sameJSON(t, "imported", w.sql(id, "SELECT * FROM imp"), []any{map[string]any{"id": 1, "s": "x;y"}})

	// The same file again is known and does nothing, until the database is taken back to before it.
	sum := md5.Sum([]byte(text))
	init := map[string]any{"action": "init", "etag": hex.EncodeToString(sum[:])}
	again := w.ok("POST", path, init)
	if again.get("status") != "complete" || again.get("result.final_bookmark") != done.get("result.final_bookmark") || again.get("result.num_queries") != 2.0 || len(again.get("messages").([]any)) != 0 {
		t.Errorf("again: %s", again.Body)
	}
	sameJSON(t, "imported twice", w.sql(id, "SELECT count(*) AS n FROM imp"), []any{map[string]any{"n": 1}})
	w.ok("POST", "/d1/database/"+id+"/time_travel/restore?bookmark="+before, nil)
	if r := w.await(id, "import", w.ok("POST", path, init)); r.get("status") != "complete" || r.get("at_bookmark") == done.get("at_bookmark") {
		t.Errorf("after going back: %s", r.Body)
	}
	sameJSON(t, "imported anew", w.sql(id, "SELECT count(*) AS n FROM imp"), []any{map[string]any{"n": 1}})

	failed := w.await(id, "import", w.upload(id, "INSERT INTO imp(s) VALUES('lost');\nINSERT INTO nosuch VALUES(1);\n"))
	if failed.get("status") != "error" || failed.get("success") != false || failed.text("error") != "no such table: nosuch: SQLITE_ERROR" || failed.get("errors.0") == nil {
		t.Errorf("failing file: %s", failed.Body)
	}
	sameJSON(t, "a failed import leaves nothing", w.sql(id, "SELECT count(*) AS n FROM imp"), []any{map[string]any{"n": 1}})

	var big strings.Builder
	big.WriteString("CREATE TABLE big(a, b);\n")
	for i := range 30_000 {
		fmt.Fprintf(&big, "INSERT INTO big VALUES(%d, 'some text to make the row longer than it has to be');\n", i)
	}
	if r := w.await(id, "import", w.upload(id, big.String())); r.get("result.num_queries") != 30_001.0 || r.get("result.meta.rows_written") != 30_000.0 {
		t.Errorf("big file: %s", r.Body)
	}

	w.refused(400, 7400, "POST", path, `{"action":"init","etag":"short"}`)
	w.refused(400, 7400, "POST", path, `{"action":"dance"}`)
	w.refused(400, 7400, "POST", path, `{"action":"ingest","etag":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","filename":"nope.sql"}`)
	w.refused(400, 7400, "POST", path, `{"action":"poll","current_bookmark":"00000001-00000000-00004f1b-93695ef27bef303fac44de75060cda7c"}`)
	asked := w.ok("POST", path, map[string]any{"action": "init", "etag": strings.Repeat("b", 32)})
	url, name := asked.text("upload_url"), asked.text("filename")
	if r := w.send("PUT", url[:len(url)-1]+"x", "SELECT 1"); r.Status != http.StatusForbidden {
		t.Errorf("wrong signature: %d", r.Status)
	}
	if r := w.send("GET", url, nil); r.Status != http.StatusForbidden {
		t.Errorf("reading an upload: %d", r.Status)
	}
	other := md5.Sum([]byte("SELECT 1"))
	if r := w.send("PUT", url, "SELECT 1"); r.Status != http.StatusOK || r.Header.Get("ETag") != `"`+hex.EncodeToString(other[:])+`"` {
		t.Errorf("other content: %d %v", r.Status, r.Header)
	}
	w.refused(400, 7400, "POST", path, map[string]any{"action": "ingest", "etag": strings.Repeat("b", 32), "filename": name})
	sum = md5.Sum([]byte("INSERT INTO imp(s) VALUES('lost');\nINSERT INTO nosuch VALUES(1);\n"))
	w.sql(id, "CREATE TABLE nosuch(a)")
	if r := w.await(id, "import", w.ok("POST", path, map[string]any{"action": "init", "etag": hex.EncodeToString(sum[:])})); r.get("status") != "complete" {
		t.Errorf("the file that failed, once more: %s", r.Body)
	}
	w.pass(2 * keepFiles)
	if r := w.send("PUT", url, "SELECT 1"); r.Status != http.StatusForbidden {
		t.Errorf("expired URL: %d", r.Status)
	}
}

func TestExport(t *testing.T) {
	w := startStores(t, "")
	id := w.database("shop")
	path := "/d1/database/" + id + "/export"
	w.sql(id, "CREATE TABLE a(x); INSERT INTO a VALUES(1); CREATE TABLE b(y); INSERT INTO b VALUES(zeroblob(1500000))")
	export := func(options string) *storeReply {
		return w.await(id, "export", w.ok("POST", path, `{"output_format":"polling","dump_options":`+options+`}`))
	}
	done := export(`{"no_schema":false,"no_data":false,"tables":[]}`)
	if done.get("status") != "complete" || done.get("messages.0") != "Uploaded part 1" {
		t.Fatalf("export: %s", done.Body)
	}
	file := w.send("GET", done.text("result.signed_url"), nil)
	if file.Status != http.StatusOK || !bytes.HasPrefix(file.Body, []byte("PRAGMA defer_foreign_keys=TRUE;\nCREATE TABLE a(x);\nINSERT INTO \"a\" (\"x\") VALUES(1);\n")) || len(file.Body) < 3_000_000 {
		t.Errorf("file: %d, %d bytes", file.Status, len(file.Body))
	}
	part := w.send("GET", export(`{"no_schema":false,"no_data":true,"tables":["a"]}`).text("result.signed_url"), nil)
	if string(part.Body) != "PRAGMA defer_foreign_keys=TRUE;\nCREATE TABLE a(x);\n" {
		t.Errorf("one table: %s", part.Body)
	}
	w.refused(400, 7400, "POST", path, `{"output_format":"file"}`)
	w.refused(400, 7400, "POST", path, `{"output_format":"polling","dump_options":{"no_schema":true,"no_data":true}}`)
	w.refused(400, 7400, "POST", path, `{"output_format":"polling","current_bookmark":"00000001-00000000-00004f1b-93695ef27bef303fac44de75060cda7c"}`)
	if r := w.send("PUT", done.text("result.signed_url"), "x"); r.Status != http.StatusForbidden {
		t.Errorf("writing an export: %d", r.Status)
	}
	w.pass(2 * keepFiles)
	if r := w.send("GET", done.text("result.signed_url"), nil); r.Status != http.StatusForbidden {
		t.Errorf("expired export: %d", r.Status)
	}
	w.sql(id, "CREATE VIRTUAL TABLE f USING fts5(z)")
	if r := export(`{}`); r.get("status") != "error" || r.get("success") != false || r.text("error") != "D1 Export error: cannot export databases with Virtual Tables (fts5)" {
		t.Errorf("virtual table: %s", r.Body)
	}
	// What was exported can be imported.
	copied := w.database("copy")
	w.await(copied, "import", w.upload(copied, string(part.Body)))
	sameJSON(t, "copy", w.sql(copied, "SELECT name FROM sqlite_schema"), []any{map[string]any{"name": "a"}})
}
