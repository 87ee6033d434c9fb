package simtest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

const accountID = "7f3a0c5e9b1d4826a0e4c2d8f6b19357"

// witness is a test that notes its failures.
type witness struct {
	testing.TB
	mu       sync.Mutex
	failures []string
}

func (w *witness) Errorf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = append(w.failures, fmt.Sprintf(format, args...))
}

func (w *witness) caught() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.failures
	w.failures = nil
	return list
}

const form = "--b\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n%s\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"index.js\"; filename=\"index.js\"\r\nContent-Type: application/javascript+module\r\n\r\n" +
	"export default { fetch() {} }\r\n--b--\r\n"

func TestEveryRequestIsValidated(t *testing.T) {
	seen := &witness{TB: t}
	w := simtest.New(seen, sim.Options{})
	a := w.Account(t, accountID, "kvick-1")
	if err := a.AddZone("kvick.bike", "c0ffee5a1bb24e8f9d3c7a6b5e4f3d21"); err != nil {
		t.Fatal(err)
	}
	do := func(method, path, kind, body string) {
		t.Helper()
		req, err := w.Request(t.Context(), method, path, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	const script = "/accounts/" + accountID + "/workers/scripts/helm"
	const json, multipart = "application/json", "multipart/form-data; boundary=b"
	tests := []struct {
		name, method, path, kind, body string
		want                           string // part of the complaint; "" when there is nothing to complain about
	}{
		{"upload", "PUT", script, multipart, fmt.Sprintf(form, `{"main_module":"index.js","bindings":[{"name":"A","type":"plain_text","text":"x"}]}`), ""},
		{"upload without metadata", "PUT", script, multipart, "--b--\r\n", "no metadata part"},
		{"metadata of the wrong type", "PUT", script, multipart, fmt.Sprintf(form, `{"main_module":1}`), "main_module"},
		{"binding of an unknown type", "PUT", script, multipart, fmt.Sprintf(form, `{"main_module":"index.js","bindings":[{"name":"A","type":"d2","id":"x"}]}`), "/bindings/0"},
		{"binding without its field", "PUT", script, multipart, fmt.Sprintf(form, `{"main_module":"index.js","bindings":[{"name":"A","type":"plain_text"}]}`), "/bindings/0"},
		{"schedules", "PUT", script + "/schedules", json, `[{"cron":"0 13 * * *"}]`, ""},
		{"schedule without cron", "PUT", script + "/schedules", json, `[{"corn":"0 13 * * *"}]`, "cron"},
		{"body that is no JSON", "PUT", script + "/schedules", json, `[`, "request body"},
		{"JSON sent as text", "PUT", script + "/schedules", "text/plain", `[{"cron":"0 13 * * *"}]`, "text/plain"},
		{"missing field", "POST", script + "/subdomain", json, `{}`, "enabled"},
		{"query of the wrong type", "GET", script + "/versions?deployable=maybe", json, ``, "deployable"},
		{"unknown operation", "GET", "/accounts/" + accountID + "/workers/script", json, ``, "no such operation"},
		{"unknown method", "PATCH", script + "/schedules", json, `[]`, "no such operation"},
		{"allowed by name", "GET", "/user", json, ``, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			do(tt.method, tt.path, tt.kind, tt.body)
			got := strings.Join(seen.caught(), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("complaint %q, want one about %q", got, tt.want)
			}
		})
	}

	// An answer that does not fit is caught too, unless a fault made it so.
	if _, err := w.Fault(sim.Rule{Path: "/schedules$", Body: `{"success":true,"result":{"schedules":"none"},"errors":[],"messages":[]}`}); err != nil {
		t.Fatal(err)
	}
	do("GET", script+"/schedules", json, "")
	if got := seen.caught(); len(got) != 0 {
		t.Errorf("a fault on purpose was reported: %v", got)
	}
}
