package d1

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// realEngine is D1's engine as it runs inside workerd: the same SQLite build, authorizer and limits that Durable
// Objects have in production. It vouches for what this package refuses.
type realEngine struct {
	url string
}

// realResult is what the engine's own D1 Worker answers for one query.
type realResult struct {
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
	Meta    struct {
		Changes     int64 `json:"changes"`
		LastRowID   int64 `json:"last_row_id"`
		ChangedDB   bool  `json:"changed_db"`
		SizeAfter   int64 `json:"size_after"`
		RowsRead    int64 `json:"rows_read"`
		RowsWritten int64 `json:"rows_written"`
	} `json:"meta"`
}

// adminWorker opens a door to the databases: POST /<database>/run with [{sql, params}], POST /<database>/dump with
// {noSchema, noData, tables}.
const adminWorker = `export default { async fetch(request, env) {
  const [, id, verb] = new URL(request.url).pathname.split("/");
  const db = env.DATABASE.get(env.DATABASE.idFromName(id));
  const body = await request.json();
  try {
    if (verb === "dump") return Response.json({ dump: await db.dump(body.noSchema, body.noData, ...body.tables) });
    return Response.json(await db.run(body, false));
  } catch (e) { return Response.json({ error: String(e.message ?? e) }, { status: 400 }); }
} };`

const engineConfig = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "admin", worker = (compatibilityDate = "2026-06-01", modules = [(name = "admin.js", esModule = embed "admin.js")],
      bindings = [(name = "DATABASE", durableObjectNamespace = (className = "D1Database", serviceName = "d1"))])),
    (name = "d1", worker = (compatibilityDate = "2026-01-01", modules = [(name = "d1.js", bundled = "/workerd/d1.js")],
      bindings = [(name = "DATABASE", durableObjectNamespace = (className = "D1Database"))],
      durableObjectNamespaces = [(className = "D1Database", uniqueKey = "D1Database", enableSql = true)],
      durableObjectStorage = (localDisk = "disk"))),
    (name = "disk", disk = (path = %q, writable = true)),
  ],
  sockets = [(name = "admin", address = "127.0.0.1:0", http = (), service = "admin")],
);
`

// startRealEngine starts workerd, or skips the test when the binary is not installed.
func startRealEngine(t *testing.T) *realEngine {
	t.Helper()
	dir := os.Getenv("SHOPFLEET_JUDGE_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "testdata", "judge")
	}
	arch := map[string]string{"amd64": "64", "arm64": "arm64"}[runtime.GOARCH]
	binary := filepath.Join(dir, "node_modules", "@cloudflare", "workerd-"+runtime.GOOS+"-"+arch, "bin", "workerd")
	if _, err := os.Stat(binary); err != nil {
		if os.Getenv("SHOPFLEET_JUDGES") == "require" {
			t.Fatalf("workerd is required and missing: %v", err)
		}
		t.Skipf("no workerd to ask (npm ci in testdata/judge installs it): %v", err)
	}
	state := memoryDir(t)
	disk := filepath.Join(state, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(state, "config.capnp")
	for name, text := range map[string]string{"admin.js": adminWorker, "config.capnp": fmt.Sprintf(engineConfig, disk)} {
		if err := os.WriteFile(filepath.Join(state, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	events, control, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, binary, "serve", config, "--experimental", "--control-fd=3")
	cmd.ExtraFiles = []*os.File{control}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	control.Close()
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed on purpose
		events.Close()
		if t.Failed() && stderr.Len() > 0 {
			t.Logf("workerd said:\n%s", stderr.String())
		}
	})
	line, err := bufio.NewReader(events).ReadBytes('\n')
	var listen struct{ Port int }
	if err == nil {
		err = json.Unmarshal(line, &listen)
	}
	if err != nil || listen.Port == 0 {
		cancel()
		_ = cmd.Wait()
		t.Fatalf("workerd did not start: %v %s\n%s", err, line, stderr.String())
	}
	return &realEngine{url: fmt.Sprintf("http://127.0.0.1:%d", listen.Port)}
}

// memoryDir is a directory for the time of a test, on a file system in memory where there is one: the engine syncs
// after every statement.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "d1-engine-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// post asks the engine; a refusal comes back as refused, with the engine's words.
func (e *realEngine) post(t *testing.T, path string, body, into any) (refused string) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(e.url+path, "application/json", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		var failure struct{ Error string }
		if err := json.Unmarshal(text, &failure); err != nil || failure.Error == "" {
			t.Fatalf("workerd answered %d %s", resp.StatusCode, text)
		}
		return failure.Error
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("workerd answered %s: %v", text, err)
	}
	return ""
}

// run executes queries in one transaction: one result per query, whatever number of statements each has.
func (e *realEngine) run(t *testing.T, db string, queries ...Query) ([]realResult, string) {
	t.Helper()
	type query struct {
		SQL    string `json:"sql"`
		Params []any  `json:"params"`
	}
	body := make([]query, len(queries))
	for i, q := range queries {
		body[i] = query(q)
	}
	var reply struct{ Results []realResult }
	refused := e.post(t, "/"+db+"/run", body, &reply)
	return reply.Results, refused
}
