package sim_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim"
)

// What real workerd makes of the edge: every test here uploads a Worker through the REST API and visits it.

// workerURL is where a Worker called name answers.
func workerURL(name string) string { return "https://" + name + ".kvick.workers.dev/" }

// workerPath is a Worker's path in the REST API.
func workerPath(name string) string { return "/accounts/" + accountID + "/workers/scripts/" + name }

// withRuntime is a world that runs code.
func withRuntime(t *testing.T) *client { return shop(t, sim.Options{Workerd: sim.WorkerdBinary(t)}) }

// uploadWorker puts a Worker, whose fetch handler is the body of an async function of (request, env, ctx), on workers.dev.
func uploadWorker(c *client, name, body string, bindings ...any) {
	c.t.Helper()
	code := "export default { async fetch(request, env, ctx) {\n" + body + "\n} };\n"
	uploadForm(c, name, newForm(c.t, edgeMeta(bindings...), part{"index.js", module, code}))
}

func edgeMeta(bindings ...any) map[string]any {
	return map[string]any{"main_module": "index.js", "bindings": emptyList(bindings), "compatibility_date": "2026-06-01"}
}

func uploadForm(c *client, name string, f *form) {
	c.t.Helper()
	c.ok("PUT", workerPath(name), f)
	c.ok("POST", workerPath(name)+"/subdomain", map[string]any{"enabled": true})
}

// visit sends a request to the edge as a browser would to https.
func visit(t testing.TB, edge http.Handler, method, url, body string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, url, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	edge.ServeHTTP(rec, r)
	return rec.Result()
}

func bodyOf(t testing.TB, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// say visits a Worker and gives its answer.
func say(c *client, name string) string {
	c.t.Helper()
	return bodyOf(c.t, visit(c.t, c.w.World.Edge(), "GET", workerURL(name), ""))
}

// equalJSON compares a Worker's answer with what was wanted, as JSON.
func equalJSON(t testing.TB, what, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%s: the answer is not JSON: %s", what, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(g) != fmt.Sprint(w) {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func TestWorkerSeesTheRequest(t *testing.T) {
	c := withRuntime(t)
	uploadWorker(c, "echo", `
		return Response.json({
			url: request.url, method: request.method, body: await request.text(), agent: request.headers.get("x-agent"),
			ip: request.headers.get("cf-connecting-ip"), ray: request.headers.get("cf-ray")?.length,
			forged: request.headers.get("cf-worker"), control: [...request.headers.keys()].filter((k) => k.startsWith("sim-")),
			country: request.cf.country,
		}, { status: 201, headers: { "x-answer": "yes" } });`)
	resp := visit(t, c.w.World.Edge(), "POST", workerURL("echo")+"a/../b%20c?x=1&y=%zz;", "hello", "X-Agent", "007", "Cf-Worker", "forged", "Sim-Cron", "* * * * *")
	if resp.StatusCode != 201 || resp.Header.Get("X-Answer") != "yes" || resp.Header.Get("Server") != "cloudflare" || resp.Header.Get("Cf-Ray") == "" {
		t.Errorf("status %d, headers %v", resp.StatusCode, resp.Header)
	}
	equalJSON(t, "echo", bodyOf(t, resp), `{"url":"https://echo.kvick.workers.dev/b%20c?x=1&y=%zz;","method":"POST","body":"hello","agent":"007",
		"ip":"192.0.2.1","ray":16,"forged":null,"control":[],"country":"US"}`)
}

func TestWorkerModules(t *testing.T) {
	c := withRuntime(t)
	wasm := "\x00asm\x01\x00\x00\x00\x01\x05\x01\x60\x00\x01\x7f\x03\x02\x01\x00\x07\x05\x01\x01f\x00\x00\x0a\x06\x01\x04\x00\x41\x2a\x0b"
	uploadForm(c, "modules", newForm(t, edgeMeta(binding("CONFIG", "json", "json", map[string]any{"n": 1.5, "list": []any{nil, "x"}}),
		binding("NAME", "plain_text", "text", "quote \" back \\ line\nü"), binding("VERSION", "version_metadata")),
		part{"index.js", module, `
			import text from "./0a1b-note.txt";
			import data from "./0a1b-blob.bin";
			import wasm from "./0a1b-add.wasm";
			import value from "./lib/value.js";
			import common from "./common.cjs";
			export default { async fetch(request, env) {
				const instance = await WebAssembly.instantiate(wasm);
				return Response.json({ text, data: [...new Uint8Array(data)], wasm: instance.exports.f(), value, common: common.x,
					config: env.CONFIG, name: env.NAME, version: env.VERSION.id.length });
			} };`},
		part{"./0a1b-note.txt", "text/plain", "héllo\n"},
		part{"./0a1b-blob.bin", "application/octet-stream", "\x00\xff\x10"},
		part{"./0a1b-add.wasm", "application/wasm", wasm},
		part{"lib/value.js", module, `export default "from lib";`},
		part{"common.cjs", "application/javascript", `module.exports = { x: "cjs" };`},
		part{"index.js.map", "application/source-map", `{}`},
	))
	equalJSON(t, "modules", say(c, "modules"), `{"text":"héllo\n","data":[0,255,16],"wasm":42,"value":"from lib","common":"cjs",
		"config":{"n":1.5,"list":[null,"x"]},"name":"quote \" back \\ line\nü","version":36}`)
}

func TestServiceWorkerSyntax(t *testing.T) {
	c := withRuntime(t)
	meta := map[string]any{"body_part": "index.js", "compatibility_date": "2026-06-01", "bindings": []any{
		binding("NOTE", "text_blob", "part", "NOTE"), binding("WORD", "plain_text", "text", "hi")}}
	uploadForm(c, "classic", newForm(t, meta,
		part{"index.js", "application/javascript", `addEventListener("fetch", (e) => e.respondWith(new Response(WORD + " " + NOTE)));`},
		part{"NOTE", "text/plain", "there"}))
	if got := say(c, "classic"); got != "hi there" {
		t.Errorf("the service worker says %q", got)
	}
}

func TestD1RoundTrip(t *testing.T) {
	c := withRuntime(t)
	query := "/accounts/" + accountID + "/d1/database/" + d1ID + "/query"
	c.ok("POST", query, map[string]any{"sql": "CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT, n REAL, raw BLOB); INSERT INTO notes (body, n) VALUES ('by rest', 1.5);"})
	uploadWorker(c, "d1", `
		const db = env.DB;
		const run = await db.prepare("INSERT INTO notes (body, n, raw) VALUES (?, ?, ?)").bind("by worker", 7, new Uint8Array([0, 255])).run();
		const batch = await db.batch([
			db.prepare("UPDATE notes SET n = n + ?1 WHERE id = ?2").bind(0.25, 1),
			db.prepare("SELECT typeof(n) AS t FROM notes WHERE id = 2"),
		]);
		let failure, atomic;
		try { await db.batch([db.prepare("DELETE FROM notes"), db.prepare("SELECT * FROM nowhere")]); } catch (e) { failure = e.message; }
		atomic = await db.prepare("SELECT count(*) AS c FROM notes").first("c");
		let named;
		try { await db.prepare("SELECT 1 AS one").first("two"); } catch (e) { named = e.message; }
		const exec = (await db.exec("INSERT INTO notes (body) VALUES ('a')\nINSERT INTO notes (body) VALUES ('b')")).count;
		const session = db.withSession("first-primary");
		const order = Object.keys((await session.prepare("SELECT 1 AS z, 2 AS a").run()).results[0]).join();
		return Response.json({
			changes: run.meta.changes, id: run.meta.last_row_id, run: run.success, batch: [batch[0].meta.changes, batch[1].results],
			failure, atomic, named, missing: await db.prepare("SELECT * FROM notes WHERE id = 99").first(),
			raw: await db.prepare("SELECT id, raw FROM notes ORDER BY id").raw({ columnNames: true }),
			exec, order, bookmark: session.getBookmark(),
		});`, binding("DB", "d1", "id", d1ID))
	said := say(c, "d1")
	bookmark := c.ok("GET", "/accounts/"+accountID+"/d1/database/"+d1ID+"/time_travel/bookmark", nil).text("bookmark")
	equalJSON(t, "the Worker", said, `{"changes":1,"id":2,"run":true,"batch":[1,[{"t":"real"}]],
		"failure":"D1_ERROR: no such table: nowhere: SQLITE_ERROR","atomic":2,"named":"D1_COLUMN_NOTFOUND: Column not found (two)","missing":null,
		"raw":[["id","raw"],[1,null],[2,[0,255]],[3,null],[4,null]],"exec":2,"order":"z,a","bookmark":"`+bookmark+`"}`)

	rows := c.ok("POST", query, map[string]any{"sql": "SELECT id, body, n FROM notes ORDER BY id"})
	got, err := json.Marshal(rows.get("0.results"))
	if err != nil {
		t.Fatal(err)
	}
	equalJSON(t, "the REST API", string(got), `[{"id":1,"body":"by rest","n":1.75},{"id":2,"body":"by worker","n":7},
		{"id":3,"body":"a","n":null},{"id":4,"body":"b","n":null}]`)
}

func TestKVRoundTrip(t *testing.T) {
	c := withRuntime(t)
	values := "/accounts/" + accountID + "/storage/kv/namespaces/" + kvID + "/values/"
	if a, err := c.send(c.raw, "PUT", values+"by-rest", "from rest", "Content-Type", "text/plain"); err != nil || !a.Success {
		t.Fatalf("writing over REST: %v %s", err, a.Body)
	}
	uploadWorker(c, "kv", `
		const kv = env.KV;
		await kv.put("by worker/ü", "from worker", { metadata: { a: [1] }, expirationTtl: 60 });
		await kv.put("json", JSON.stringify({ x: 1 }));
		await kv.put("gone", "x");
		await kv.delete("gone");
		const bad = async (f) => { try { await f(); return "accepted"; } catch (e) { return e.message; } };
		const list = await kv.list({ prefix: "by" });
		const page = await kv.list({ limit: 1 });
		return Response.json({
			rest: await kv.get("by-rest"), gone: await kv.get("gone"), json: await kv.get("json", "json"),
			meta: await kv.getWithMetadata("by worker/ü"), bulk: [...(await kv.get(["json", "nope"]))],
			bytes: (await kv.get("by-rest", "arrayBuffer")).byteLength,
			names: list.keys.map((k) => [k.name, k.metadata ?? null, typeof k.expiration]), complete: list.list_complete,
			next: (await kv.list({ limit: 1, cursor: page.cursor })).keys[0].name, first: page.keys[0].name,
			ttl: await bad(() => kv.put("k", "v", { expirationTtl: 5 })),
			long: await bad(() => kv.put("k".repeat(513), "v")),
		});`, binding("KV", "kv_namespace", "namespace_id", kvID))
	equalJSON(t, "the Worker", say(c, "kv"), `{"rest":"from rest","gone":null,"json":{"x":1},
		"meta":{"value":"from worker","metadata":{"a":[1]},"cacheStatus":"MISS"},"bulk":[["json","{\"x\":1}"],["nope",null]],"bytes":9,
		"names":[["by worker/ü",{"a":[1]},"number"],["by-rest",null,"undefined"]],"complete":true,"first":"by worker/ü","next":"by-rest",
		"ttl":"KV PUT failed: 400 Invalid expiration_ttl of 5. Expiration TTL must be at least 60.",
		"long":"KV PUT failed: 414 UTF-8 encoded length of 513 exceeds key length limit of 512."}`)
	a, err := c.send(c.w.URL, "GET", values+"by%20worker%2F%C3%BC", nil)
	if err != nil || string(a.Body) != "from worker" {
		t.Errorf("the REST API reads %q, %v", a.Body, err)
	}
}

func TestR2RoundTrip(t *testing.T) {
	c := withRuntime(t)
	objects := "/accounts/" + accountID + "/r2/buckets/helm-swicked-assets/objects/"
	if a, err := c.send(c.raw, "PUT", objects+"by-rest.txt", "0123456789", "Content-Type", "text/plain"); err != nil || !a.Success {
		t.Fatalf("writing over REST: %v %s", err, a.Body)
	}
	uploadWorker(c, "r2", `
		const r2 = env.ASSETS_BUCKET;
		const put = await r2.put("dir/by worker.bin", new Uint8Array([1, 2, 3]), {
			httpMetadata: { contentType: "application/x-thing", cacheExpiry: new Date(1e12) }, customMetadata: { who: "wörker" } });
		const bad = async (f) => { try { return (await f()) === null ? "null" : "accepted"; } catch (e) { return e.message; } };
		const rest = await r2.get("by-rest.txt");
		const head = await r2.head("dir/by worker.bin");
		const range = async (range) => (await r2.get("by-rest.txt", { range })).text();
		const list = await r2.list({ delimiter: "/", include: ["httpMetadata", "customMetadata"] });
		const upload = await r2.createMultipartUpload("parts", { customMetadata: { m: "1" } });
		const big = "x".repeat(5 * 1024 * 1024);
		const parts = [await upload.uploadPart(1, big), await upload.uploadPart(2, "tail")];
		const whole = await upload.complete(parts);
		await r2.put("doomed", "x");
		await r2.delete(["doomed", "never was"]);
		return Response.json({
			put: [put.key, put.size, put.etag, put.httpEtag], rest: [await rest.text(), rest.httpMetadata.contentType, rest.size],
			head: [head.httpMetadata.contentType, head.httpMetadata.cacheExpiry, head.customMetadata], none: await r2.head("none"), miss: await r2.get("none"),
			ranges: [await range({ offset: 2, length: 3 }), await range({ suffix: 2 }), await range({ offset: 8 })],
			header: await (await r2.get("by-rest.txt", { range: new Headers({ Range: "bytes=1-2" }) })).text(),
			beyond: await bad(() => r2.get("by-rest.txt", { range: { offset: 11 } })),
			unchanged: "body" in (await r2.get("by-rest.txt", { onlyIf: { etagDoesNotMatch: rest.etag } })),
			changed: "body" in (await r2.get("by-rest.txt", { onlyIf: { etagMatches: rest.etag } })),
			taken: await bad(() => r2.put("by-rest.txt", "other", { onlyIf: { etagDoesNotMatch: "*" } })),
			sum: await bad(() => r2.put("sum", "other", { md5: "00000000000000000000000000000000" })),
			names: list.objects.map((o) => [o.key, o.httpMetadata.contentType]), prefixes: list.delimitedPrefixes, truncated: list.truncated,
			parts: [whole.size, (await r2.head("parts")).customMetadata.m], doomed: await r2.head("doomed"),
			page: (await r2.list({ limit: 1 })).truncated,
		});`, binding("ASSETS_BUCKET", "r2_bucket", "bucket_name", "helm-swicked-assets"))
	equalJSON(t, "the Worker", say(c, "r2"), `{"put":["dir/by worker.bin",3,"5289df737df57326fcdd22597afb1fac","\"5289df737df57326fcdd22597afb1fac\""],
		"rest":["0123456789","text/plain",10],"head":["application/x-thing","2001-09-09T01:46:40.000Z",{"who":"wörker"}],"none":null,"miss":null,
		"ranges":["234","89","89"],"header":"12","beyond":"get: The requested range is not satisfiable (10039)","unchanged":false,"changed":true,"taken":"null",
		"sum":"put: The MD5 checksum you specified did not match what we received.\nYou provided a MD5 checksum with value: 00000000000000000000000000000000\nActual MD5 was: 795f3202b17cb6bc3d4b771d8c6c9eaf (10037)",
		"names":[["by-rest.txt","text/plain"]],"prefixes":["dir/"],"truncated":false,"parts":[5242884,"1"],"doomed":null,"page":true}`)
	a, err := c.send(c.w.URL, "GET", objects+"dir/by%20worker.bin", nil)
	if err != nil || string(a.Body) != "\x01\x02\x03" || a.Header.Get("Content-Type") != "application/x-thing" {
		t.Errorf("the REST API reads %q of type %s, %v", a.Body, a.Header.Get("Content-Type"), err)
	}
}

func TestWorkerExceptions(t *testing.T) {
	c := withRuntime(t)
	uploadWorker(c, "throws", `throw new TypeError("no such <thing>");`)
	resp := visit(t, c.w.World.Edge(), "GET", workerURL("throws"), "")
	if body := bodyOf(t, resp); resp.StatusCode != 500 || body != "error code: 1101\nThe Worker threw an exception: TypeError: no such <thing>\n" {
		t.Errorf("an exception gives %d %q", resp.StatusCode, body)
	}
	if resp.Header.Get("Sim-Exception") != "" {
		t.Error("the note between workerd and the edge reaches the client")
	}
	uploadForm(c, "broken", newForm(t, edgeMeta(), part{"index.js", module, "const x = globalThis.nothing.there;\nexport default { fetch() { return new Response(x) } };"}))
	resp = visit(t, c.w.World.Edge(), "GET", workerURL("broken"), "")
	if body := bodyOf(t, resp); resp.StatusCode != 500 || !strings.Contains(body, "Cannot read properties of undefined (reading 'there')") {
		t.Errorf("code that throws at startup gives %d %q", resp.StatusCode, body)
	}
}

func TestWorkerBindings(t *testing.T) {
	c := withRuntime(t)
	uploadWorker(c, "backend", `return new Response("backend got " + new URL(request.url).origin + " " + await request.text());`)
	meta := edgeMeta(
		binding("BACKEND", "service", "service", "backend"), binding("NOBODY", "service", "service", "nobody"),
		binding("NAMED", "service", "service", "backend", "entrypoint", "Admin"),
		binding("SELF", "service", "service", "front", "entrypoint", "Own", "props", map[string]any{"k": 1}),
		binding("COUNTER", "durable_object_namespace", "class_name", "Counter"), binding("QUEUE", "queue", "queue_name", "jobs"))
	meta["migrations"] = map[string]any{"new_tag": "v1", "steps": []any{map[string]any{"new_sqlite_classes": []string{"Counter"}}}}
	seedQueue(c)
	c.ok("PUT", workerPath("nobody"), newForm(t, edgeMeta(), part{"index.js", module, hello}))
	uploadForm(c, "front", newForm(t, meta, part{"index.js", module, `
		import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
		export class Counter extends DurableObject {
			async add(n) {
				this.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS t (n)");
				this.ctx.storage.sql.exec("INSERT INTO t VALUES (?)", n);
				return this.ctx.storage.sql.exec("SELECT sum(n) AS s FROM t").one().s;
			}
		}
		export class Own extends WorkerEntrypoint { greet(name) { return "hello " + name + this.ctx.props.k; } }
		export default { async fetch(request, env) {
			const bad = (f) => { try { return f() } catch (e) { return e.message } };
			const counter = env.COUNTER.get(env.COUNTER.idFromName("a"));
			return Response.json({
				backend: await (await env.BACKEND.fetch("https://any.example/x", { method: "POST", body: "b", headers: { "sim-cron": "* * * * *" } })).text(),
				own: await env.SELF.greet("you"), counter: [await counter.add(2), await counter.add(3)],
				queue: bad(() => env.QUEUE.send("x")), named: bad(() => env.NAMED.anything()), exists: "QUEUE" in env && (await env.QUEUE) === env.QUEUE,
			});
		} };`}))
	equalJSON(t, "front", say(c, "front"), `{"backend":"backend got https://any.example b","own":"hello you1","counter":[2,5],
		"queue":"binding QUEUE is a binding of type queue, which this simulator does not have",
		"named":"binding NAMED is a named entrypoint of another Worker, which this simulator does not have","exists":true}`)
}

func TestWorkerFetchStaysHere(t *testing.T) {
	c := withRuntime(t)
	local := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(rw, "%s %s as %s", r.Method, r.URL, r.Header.Get("X-As"))
	}))
	defer local.Close()
	uploadWorker(c, "other", `return new Response("other at " + request.url);`)
	uploadWorker(c, "caller", `
		const get = async (url, init) => { const r = await fetch(url, init); return [r.status, await r.text()]; };
		return Response.json({
			loopback: await get("`+local.URL+`/p?q=1", { method: "PUT", body: "x", headers: { "x-as": "me" } }),
			world: await get("https://other.kvick.workers.dev/y"),
			away: await get("https://api.stripe.com/v1/charges"),
			metadata: (await get("http://169.254.169.254/latest"))[0],
			own: (await get("https://caller.kvick.workers.dev/"))[0],
		});`)
	equalJSON(t, "caller", say(c, "caller"), `{"loopback":[200,"PUT /p?q=1 as me"],"world":[200,"other at https://other.kvick.workers.dev/y"],
		"away":[530,"error code: 1016\nA Worker in this simulator reaches its own world and loopback addresses, not api.stripe.com.\n"],"metadata":530,"own":522}`)
}

func TestSplitDeployment(t *testing.T) {
	c := withRuntime(t)
	id := func(word string) string {
		f := newForm(t, edgeMeta(), part{"index.js", module, "export default { fetch() { return new Response('" + word + "') } };"})
		return c.ok("POST", workerPath("split")+"/versions", f).text("id")
	}
	uploadWorker(c, "split", `return new Response("first");`)
	a, b, outside := id("a"), id("b"), id("outside")
	c.ok("POST", workerPath("split")+"/deployments", map[string]any{"strategy": "percentage", "versions": []any{
		map[string]any{"version_id": a, "percentage": 90}, map[string]any{"version_id": b, "percentage": 10}}})

	for range 20 {
		if got := say(c, "split"); got != "a" && got != "b" {
			t.Errorf("a deployment of a and b answers %q", got)
		}
	}
	with := func(header, value string) string {
		return bodyOf(t, visit(t, c.w.World.Edge(), "GET", workerURL("split"), "", header, value))
	}
	if got := with("Cloudflare-Workers-Version-Overrides", `other="x", split="`+b+`"`); got != "b" {
		t.Errorf("an override to b answers %q", got)
	}
	if got := with("Cloudflare-Workers-Version-Overrides", `split="`+outside+`"`); got == "outside" {
		t.Error("an override reaches a version outside of the deployment")
	}
	for _, key := range []string{"alice", "bob", "carol"} {
		first := with("Cloudflare-Workers-Version-Key", key)
		for range 5 {
			if again := with("Cloudflare-Workers-Version-Key", key); again != first {
				t.Errorf("key %s meets %s and %s", key, first, again)
			}
		}
	}
}

func TestProcessesAreBounded(t *testing.T) {
	c := withRuntime(t)
	for i := range sim.MaxProcesses + 2 {
		name := fmt.Sprintf("worker-%d", i)
		uploadWorker(c, name, fmt.Sprintf("return new Response('%d');", i))
		if got := say(c, name); got != fmt.Sprint(i) {
			t.Fatalf("%s says %q", name, got)
		}
	}
	if n := c.w.Processes(); n != sim.MaxProcesses {
		t.Errorf("%d processes are kept, want %d", n, sim.MaxProcesses)
	}
	if got := say(c, "worker-0"); got != "0" {
		t.Errorf("a Worker whose process was stopped says %q", got)
	}
	// A new version ends the process of the old one with the next request, and its answers are its own.
	before := c.w.Processes()
	uploadWorker(c, "worker-0", `return new Response("new");`)
	if got := say(c, "worker-0"); got != "new" {
		t.Errorf("after a release the Worker says %q", got)
	}
	if n := c.w.Processes(); n != before {
		t.Errorf("%d processes after a release, want %d: the superseded one is still there", n, before)
	}
}

func TestConcurrentFirstRequestsShareAProcess(t *testing.T) {
	c := withRuntime(t)
	uploadWorker(c, "one", `return new Response("one");`)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if got := say(c, "one"); got != "one" {
				t.Errorf("the Worker says %q", got)
			}
		})
	}
	group.Wait()
	if n := c.w.Processes(); n != 1 {
		t.Errorf("%d processes, want 1", n)
	}
}

func TestStreamsAndWebSockets(t *testing.T) {
	c := withRuntime(t)
	uploadWorker(c, "live", `
		if (request.headers.get("Upgrade") === "websocket") {
			const [client, server] = Object.values(new WebSocketPair());
			server.accept();
			server.addEventListener("message", (e) => { server.send("echo " + e.data); });
			return new Response(null, { status: 101, webSocket: client });
		}
		return new Response("plain");`)
	server := httptest.NewServer(c.w.World.Edge())
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: live.kvick.workers.dev\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the upgrade is answered with %s %s", resp.Status, bodyOf(t, resp))
	}
	conn.Write([]byte{0x81, 0x82, 0, 0, 0, 0, 'h', 'i'}) // a text frame "hi", masked with zeros
	frame := make([]byte, 2+len("echo hi"))
	if _, err := io.ReadFull(reader, frame); err != nil || string(frame[2:]) != "echo hi" {
		t.Errorf("the Worker answers %q, %v", frame, err)
	}
}

// logBuffer collects a world's log.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestScheduled(t *testing.T) {
	log := &logBuffer{}
	c := shop(t, sim.Options{Workerd: sim.WorkerdBinary(t), Log: slog.New(slog.NewTextHandler(log, nil))})
	f := newForm(t, edgeMeta(binding("KV", "kv_namespace", "namespace_id", kvID)), part{"index.js", module, `
		export default {
			async scheduled(controller, env, ctx) {
				console.warn("asked for", { cron: controller.cron });
				if (controller.cron === "1 * * * *") throw new RangeError("not today");
				ctx.waitUntil(env.KV.put("ran", controller.cron + " " + controller.scheduledTime));
			},
			async fetch() { return new Response("x"); },
		};`})
	c.ok("PUT", script, f)
	c.ok("PUT", script+"/schedules", []any{map[string]any{"cron": "0 13 * * *"}, map[string]any{"cron": "1 * * * *"}})
	if err := c.w.FireCron(t.Context(), accountID, "helm-swicked", "0 13 * * *"); err != nil {
		t.Fatal(err)
	}
	a, err := c.send(c.w.URL, "GET", "/accounts/"+accountID+"/storage/kv/namespaces/"+kvID+"/values/ran", nil)
	if err != nil || !strings.HasPrefix(string(a.Body), "0 13 * * * 1") {
		t.Errorf("the handler left %q, %v", a.Body, err)
	}
	err = c.w.FireCron(t.Context(), accountID, "helm-swicked", "1 * * * *")
	if err == nil || !strings.Contains(err.Error(), "the scheduled handler threw RangeError: not today") {
		t.Errorf("a handler that throws gives %v", err)
	}
	// What it said and threw is in the log by then.
	for _, want := range []string{`level=WARN msg=console script=helm-swicked`, `asked for {\"cron\":\"1 * * * *\"}`, `exception="RangeError: not today"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
	c.ok("PUT", script, newForm(t, edgeMeta(), part{"index.js", module, hello}))
	if err := c.w.FireCron(t.Context(), accountID, "helm-swicked", "0 13 * * *"); err == nil {
		t.Error("a Worker without a scheduled handler takes the event")
	}
}

func TestNewerCompatibilityDate(t *testing.T) {
	later := time.Date(2040, 6, 1, 0, 0, 0, 0, time.UTC)
	c := shop(t, sim.Options{Workerd: sim.WorkerdBinary(t), Now: func() time.Time { return later }})
	meta := edgeMeta()
	meta["compatibility_date"] = "2040-05-01" // fine in this world, and unknown to the binary
	uploadForm(c, "young", newForm(t, meta, part{"index.js", module, hello}))
	if got := say(c, "young"); got != "hello" {
		t.Errorf("the Worker says %q", got)
	}
}

func TestWithoutRuntime(t *testing.T) {
	c := shop(t, sim.Options{})
	c.ok("PUT", script, newForm(t, edgeMeta(), part{"index.js", module, hello}))
	c.ok("POST", script+"/subdomain", map[string]any{"enabled": true})
	resp := visit(t, c.w.World.Edge(), "GET", workerURL("helm-swicked"), "")
	body := bodyOf(t, resp)
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "SHOPFLEET_WORKERD") || !strings.Contains(body, "npm ci") {
		t.Errorf("without workerd: %d %q", resp.StatusCode, body)
	}
	c.ok("PUT", script+"/schedules", []any{map[string]any{"cron": "0 13 * * *"}})
	if err := c.w.FireCron(t.Context(), accountID, "helm-swicked", "0 13 * * *"); err == nil || !strings.Contains(err.Error(), "SHOPFLEET_WORKERD") {
		t.Errorf("firing a cron without workerd: %v", err)
	}
	resp = visit(t, c.w.World.Edge(), "GET", "https://nobody.example/", "")
	if resp.StatusCode != 530 {
		t.Errorf("a hostname that is nobody's gives %d, want 530", resp.StatusCode)
	}
}

// seedQueue adds the queue that a binding names.
func seedQueue(c *client) {
	c.t.Helper()
	a := c.w.Account(c.t, accountID, "kvick-1")
	if err := a.AddQueue("jobs"); err != nil {
		c.t.Fatal(err)
	}
}
