package sim_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

const (
	accountID = "7f3a0c5e9b1d4826a0e4c2d8f6b19357"
	zoneID    = "c0ffee5a1bb24e8f9d3c7a6b5e4f3d21"
	d1ID      = "134ea8a4-8582-4fdc-84ec-f0eb8f4e4b60"
	kvID      = "a1f0c3d2e4b5968778695a4b3c2d1e0f"
	script    = "/accounts/" + accountID + "/workers/scripts/helm-swicked"
)

// clock is a clock that a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// client talks to a world. Requests that are meant to be accepted go through the OpenAPI validation; requests that are
// meant to be refused go around it, since many of them break the description on purpose.
type client struct {
	t     *testing.T
	w     *simtest.World
	raw   string // base URL without validation
	token string
}

// shop starts a world with one account, zone, database, namespace and bucket.
func shop(t *testing.T, o sim.Options) *client {
	t.Helper()
	w := simtest.New(t, o)
	a := w.Account(t, accountID, "kvick-1")
	for _, err := range []error{
		a.AddZone("kvick.bike", zoneID), a.AddD1("kvick-helm-swicked", d1ID, "wnam"), a.AddKV("helm-swicked-kv", kvID),
		a.AddR2("helm-swicked-assets"), a.SetSubdomain("kvick"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return connect(t, w)
}

func connect(t *testing.T, w *simtest.World) *client {
	raw := httptest.NewServer(w.API())
	t.Cleanup(raw.Close)
	return &client{t: t, w: w, raw: raw.URL + "/client/v4", token: simtest.Token}
}

// answer is what came back.
type answer struct {
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

// get looks into the result: "versions.0.percentage".
func (a *answer) get(path string) any {
	v := a.Result
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (a *answer) text(path string) string { s, _ := a.get(path).(string); return s }

func (a *answer) len(path string) int {
	v := a.Result
	if path != "" {
		v = a.get(path)
	}
	list, _ := v.([]any)
	return len(list)
}

func (c *client) send(base, method, path string, body any, header ...string) (*answer, error) {
	c.t.Helper()
	var in io.Reader
	kind := ""
	switch b := body.(type) {
	case nil:
	case *form:
		in, kind = bytes.NewReader(b.buf.Bytes()), b.kind
	case string:
		in, kind = strings.NewReader(b), "application/json"
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		in, kind = bytes.NewReader(raw), "application/json"
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, base+path, in)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == "" {
			req.Header.Del(header[i])
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	a := &answer{Status: resp.StatusCode, Header: resp.Header}
	if a.Body, err = io.ReadAll(resp.Body); err != nil {
		return a, err
	}
	json.Unmarshal(a.Body, a)
	return a, nil
}

// ok makes a request that must succeed.
func (c *client) ok(method, path string, body any, header ...string) *answer {
	c.t.Helper()
	a, err := c.send(c.w.URL, method, path, body, header...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	if !a.Success {
		c.t.Fatalf("%s %s: HTTP %d %s", method, path, a.Status, a.Body)
	}
	return a
}

// refused makes a request that must fail with an HTTP status and an error code.
func (c *client) refused(status, code int, method, path string, body any, header ...string) *answer {
	c.t.Helper()
	a, err := c.send(c.raw, method, path, body, header...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.Success || len(a.Errors) == 0 || a.Status != status || a.Errors[0].Code != code {
		c.t.Fatalf("%s %s: HTTP %d %s; want HTTP %d with code %d", method, path, a.Status, a.Body, status, code)
	}
	return a
}

// form is an upload.
type form struct {
	buf  bytes.Buffer
	kind string
}

type part struct{ name, kind, text string }

const module = "application/javascript+module"

// hello is a Worker that does nothing much.
const hello = "export default { async fetch() { return new Response('hello') } };\n"

func newForm(t *testing.T, metadata map[string]any, parts ...part) *form {
	t.Helper()
	f := &form{}
	w := multipart.NewWriter(&f.buf)
	raw, err := json.Marshal(metadata)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, disposition, kind string, content []byte) {
		h := textproto.MIMEHeader{"Content-Disposition": {disposition}}
		if kind != "" {
			h.Set("Content-Type", kind)
		}
		p, err := w.CreatePart(h)
		if err != nil {
			t.Fatal(err)
		}
		p.Write(content)
	}
	if metadata != nil {
		write("metadata", `form-data; name="metadata"`, "", raw)
	}
	for _, p := range parts {
		write(p.name, fmt.Sprintf("form-data; name=%q; filename=%[1]q", p.name), p.kind, []byte(p.text))
	}
	w.Close()
	f.kind = w.FormDataContentType()
	return f
}

// worker is the form of a one-module Worker with bindings; more is merged over the metadata.
func (c *client) worker(bindings []any, more map[string]any) *form {
	meta := map[string]any{"main_module": "index.js", "bindings": emptyList(bindings), "compatibility_date": "2026-06-01"}
	for k, v := range more {
		meta[k] = v
	}
	return newForm(c.t, meta, part{"index.js", module, hello})
}

func emptyList(list []any) []any {
	if list == nil {
		return []any{}
	}
	return list
}

func binding(name, kind string, pairs ...any) map[string]any {
	m := map[string]any{"name": name, "type": kind}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	return m
}

// deploy uploads a version and releases it, as wrangler does with an existing Worker; it returns the version's id.
func (c *client) deploy(bindings []any, more map[string]any) string {
	c.t.Helper()
	if more == nil {
		more = map[string]any{}
	}
	if more["keep_bindings"] == nil {
		more["keep_bindings"] = []string{"secret_text", "secret_key"}
	}
	id := c.ok("POST", script+"/versions?bindings_inherit=strict", c.worker(bindings, more)).text("id")
	c.release(id)
	return id
}

func (c *client) release(id string) {
	c.t.Helper()
	c.ok("POST", script+"/deployments", map[string]any{"strategy": "percentage", "versions": []any{map[string]any{"version_id": id, "percentage": 100}}})
}

// live are the version ids that take traffic.
func (c *client) live() []string {
	c.t.Helper()
	a := c.ok("GET", script+"/deployments", nil)
	var ids []string
	for i := range a.len("deployments.0.versions") {
		ids = append(ids, a.text(fmt.Sprintf("deployments.0.versions.%d.version_id", i)))
	}
	return ids
}

// bindings are the names in the settings, with their types.
func (c *client) bindings() map[string]map[string]any {
	c.t.Helper()
	out := map[string]map[string]any{}
	list, _ := c.ok("GET", script+"/settings", nil).get("bindings").([]any)
	for _, b := range list {
		m := b.(map[string]any)
		out[m["name"].(string)] = m
	}
	return out
}
