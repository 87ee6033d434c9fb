package sim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

// The recordings are what real wrangler sent to a server that answered plausibly. Here the same requests go to the
// simulator, in the same order; ids that the recording's server made up are replaced by those that the simulator made up
// for the same place.

const (
	recordings   = "../../testdata/contracts/cloudflare/recordings"
	recAccount   = "0123456789abcdef0123456789abcdef"
	recZone      = "zone0000000000000000000000000001"
	replayZone   = "c0ffee5a1bb24e8f9d3c7a6b5e4f3d21"
	recD1        = "11111111-2222-4333-8444-555555555555"
	recKV        = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
	recWorker    = "helm-swicked"
	recHostname  = "helm-swicked.kvick.bike"
	recSubdomain = "acme"
)

type recording struct {
	Operation string         `json:"operation"`
	Calls     []recordedCall `json:"calls"`
	Exit      *int           `json:"exit_code"`
}

type recordedCall struct {
	Method   string            `json:"method"`
	Path     string            `json:"path"`
	Query    map[string]string `json:"query"`
	Headers  map[string]string `json:"headers"`
	Body     *recordedBody     `json:"body"`
	Response struct {
		Status int             `json:"status"`
		Body   json.RawMessage `json:"body"`
	} `json:"response"`
}

type recordedBody struct {
	JSON      json.RawMessage `json:"json"`
	Text      *string         `json:"text"`
	Multipart []recordedPart  `json:"multipart"`
}

type recordedPart struct {
	Name        string          `json:"name"`
	Filename    *string         `json:"filename"`
	ContentType *string         `json:"contentType"`
	JSON        json.RawMessage `json:"json"`
	Text        *string         `json:"text"`
}

// sabotaged are recordings whose server answered wrongly on purpose, to see how wrangler takes it. A healthy account
// answers otherwise, so only what wrangler reads is compared, not whether a call was refused.
var sabotaged = regexp.MustCompile(`^(err|minimal|missing|malformed|success|no-content|deploy-r2-403|deployments-empty|d1-query|worker-endpoint|deploy-after-dash|d1-list-migrations)`)

// storageCall are routes that storage_test.go answers for.
var storageCall = regexp.MustCompile(`^/accounts/[^/]+/(d1|r2|storage)/|^/r2-|^/graphql|^/tailws`)

// reads are the fields that wrangler reads of the result of each call (wire.md §3.1, §6, §8, §11). A trailing ? marks what it
// tolerates to be absent.
var reads = []struct {
	method, path string
	fields       []string
}{
	{"GET", `/workers/services/[^/]+$`, []string{"id", "default_environment.environment", "default_environment.script.tag", "default_environment.script.tags", "default_environment.script.last_deployed_from"}},
	{"GET", `/environments/production$`, []string{"script.compatibility_date", "script.compatibility_flags"}},
	{"GET", `/scripts/[^/]+/deployments$`, []string{"deployments", "deployments.0.id", "deployments.0.source", "deployments.0.created_on", "deployments.0.author_email", "deployments.0.annotations", "deployments.0.versions.0.version_id", "deployments.0.versions.0.percentage"}},
	{"GET", `/scripts/[^/]+/settings$`, []string{"bindings"}},
	{"PUT", `/scripts/[^/]+$`, []string{"deployment_id", "startup_time_ms", "id", "etag"}},
	{"POST", `/scripts/[^/]+/versions$`, []string{"id", "resources.script.etag", "startup_time_ms", "metadata.has_preview"}},
	{"GET", `/scripts/[^/]+/versions$`, []string{"items.0.id", "items.0.metadata.created_on", "items.0.metadata.author_email", "items.0.metadata.source", "items.0.annotations"}},
	{"GET", `/scripts/[^/]+/versions/[^/]+$`, []string{"id", "metadata.created_on", "metadata.author_email", "metadata.source", "annotations", "resources.script.handlers", "resources.script_runtime.compatibility_date", "resources.script_runtime.compatibility_flags", "resources.bindings"}},
	{"POST", `/scripts/[^/]+/deployments$`, []string{"id", "versions.0.version_id"}},
	{"PATCH", `/script-settings$`, []string{"tags"}},
	{"GET", `/workers/workers/[^/]+$`, []string{"subdomain.enabled", "subdomain.previews_enabled", "subdomain.url", "subdomain.preview_url_suffix"}},
	{"POST", `/scripts/[^/]+/subdomain$`, []string{"enabled", "previews_enabled"}},
	{"GET", `/workers/subdomain$`, []string{"subdomain"}},
	{"POST", `/domains/changeset`, []string{"added", "removed", "updated", "conflicting"}},
	{"GET", `/domains/records$`, []string{"0.hostname"}},
	{"POST", `/assets-upload-session$`, []string{"jwt", "buckets"}},
	{"POST", `/assets/upload`, []string{"jwt"}},
	{"GET", `/user$`, []string{"email"}},
	{"GET", `/tokens/verify$`, []string{"id", "status"}},
	{"GET", `^/accounts$`, []string{"0.id", "0.name"}},
	{"GET", `^/memberships$`, []string{"0.account.id", "0.account.name", "0.roles"}},
	{"GET", `^/zones$`, []string{"0.id", "0.name"}},
	{"GET", `/references$`, []string{"services.incoming", "durable_objects", "dispatch_outbounds"}},
	{"GET", `/queues$`, []string{"0.queue_name", "0.queue_id"}},
	{"GET", `/dispatch/namespaces$`, []string{"0.namespace_name"}},
	{"PUT", `/workflows/[^/]+$`, []string{"name", "script_name", "class_name"}},
	{"POST", `/tails$`, []string{"id", "url", "expires_at"}},
}

func TestReplayRecordings(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(recordings, "*.json"))
	if err != nil || len(files) < 100 {
		t.Fatalf("found %d recordings (%v)", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if strings.HasPrefix(name, "d1-") || strings.HasPrefix(name, "kv-") || strings.HasPrefix(name, "r2-") {
			continue // storage_test.go
		}
		if name == "missing-versions-post-id" {
			continue // its server forgot the id, so wrangler sent a deployment without one
		}
		rec := load(t, file)
		if len(rec.Calls) == 0 || rec.Exit != nil && *rec.Exit != 0 {
			continue
		}
		t.Run(name, func(t *testing.T) { replay(t, name, rec) })
	}
}

func load(t *testing.T, file string) *recording {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rec := &recording{}
	if err := json.Unmarshal(b, rec); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return rec
}

// replayer sends a recording's requests.
type replayer struct {
	t       *testing.T
	w       *simtest.World
	renamed map[string]string // recorded id → the simulator's
	sizes   map[string]int    // sizes of static files by hash, from the manifest
}

func replay(t *testing.T, name string, rec *recording) {
	r := &replayer{
		t: t, w: simtest.New(t, sim.Options{SingleAssetUploads: name == "deploy-assets-single-upload"}),
		renamed: map[string]string{recZone: replayZone}, sizes: map[string]int{},
	}
	r.seed(name, rec)
	for i, call := range rec.Calls {
		if strings.HasPrefix(call.Method, "GET (") || strings.HasPrefix(call.Path, "/r2-") {
			continue
		}
		status, answer := r.send(call)
		if storageCall.MatchString(call.Path) {
			r.learn(call.Response.Body, answer)
			continue
		}
		var env struct {
			Success bool
			Result  any
			Errors  []struct {
				Code    int
				Message string
			}
		}
		if err := json.Unmarshal(answer, &env); err != nil {
			t.Fatalf("call %d %s %s: HTTP %d, not an envelope: %s", i+1, call.Method, call.Path, status, answer)
		}
		var want struct {
			Success bool
			Errors  []struct{ Code int }
		}
		json.Unmarshal(call.Response.Body, &want)
		if !sabotaged.MatchString(name) && !strings.Contains(call.Path, "/workflows/") { // the recording's server forgot workflows
			if env.Success != want.Success {
				t.Errorf("call %d %s %s: success %v %v, recorded %v", i+1, call.Method, call.Path, env.Success, env.Errors, want.Success)
			}
			if !want.Success && len(env.Errors) > 0 && len(want.Errors) > 0 && env.Errors[0].Code != want.Errors[0].Code {
				t.Errorf("call %d %s %s: code %d, recorded %d", i+1, call.Method, call.Path, env.Errors[0].Code, want.Errors[0].Code)
			}
		}
		if env.Success {
			r.checkFields(i, call, env.Result)
		}
		r.learn(call.Response.Body, answer)
	}
}

func (r *replayer) checkFields(i int, call recordedCall, result any) {
	for _, x := range reads {
		if x.method != call.Method || !regexp.MustCompile(x.path).MatchString(call.Path) {
			continue
		}
		for _, field := range x.fields {
			if !has(result, strings.Split(field, ".")) {
				b, _ := json.Marshal(result)
				r.t.Errorf("call %d %s %s: result has no %s: %.400s", i+1, call.Method, call.Path, field, b)
			}
		}
	}
}

// has follows a path; an empty list has no elements to look into.
func has(v any, path []string) bool {
	if len(path) == 0 {
		return v != nil
	}
	switch v := v.(type) {
	case map[string]any:
		next, ok := v[path[0]]
		return ok && (len(path) == 1 || has(next, path[1:]))
	case []any:
		var i int
		if _, err := fmt.Sscan(path[0], &i); err != nil {
			return false
		}
		return len(v) == 0 || i < len(v) && has(v[i], path[1:])
	}
	return false
}

var madeUp = regexp.MustCompile(`^[0-9a-f]{32}$|^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$|^\[REDACTED assets|^dom1$`)

// learn walks the recorded and the real answer side by side and notes ids that stand in the same place.
func (r *replayer) learn(recorded, real json.RawMessage) {
	var a, b any
	if json.Unmarshal(recorded, &a) != nil || json.Unmarshal(real, &b) != nil {
		return
	}
	r.pair(a, b)
}

func (r *replayer) pair(a, b any) {
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			for k := range x {
				if k != "buckets" { // hashes of content, not made up
					r.pair(x[k], y[k])
				}
			}
		}
	case []any:
		if y, ok := b.([]any); ok {
			for i := range min(len(x), len(y)) {
				r.pair(x[i], y[i])
			}
		}
	case string:
		if y, ok := b.(string); ok && x != y && y != "" && madeUp.MatchString(x) && x != recAccount && x != recD1 && x != recKV {
			r.renamed[x] = y
		}
	}
}

func (r *replayer) rename(text string) string {
	var pairs []string
	for _, k := range sortedNames(r.renamed) {
		pairs = append(pairs, k, r.renamed[k])
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func sortedNames(m map[string]string) []string {
	var names []string
	for k := range m {
		names = append(names, k)
	}
	sort.Strings(names)
	return names
}

func (r *replayer) send(call recordedCall) (int, []byte) {
	r.t.Helper()
	q := url.Values{}
	for k, v := range call.Query {
		q.Set(k, r.rename(v))
	}
	path := r.rename(call.Path)
	target := r.w.URL + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	var body io.Reader
	contentType := call.Headers["content-type"]
	if b := call.Body; b != nil {
		switch {
		case b.Multipart != nil:
			var buf bytes.Buffer
			contentType = r.form(&buf, b.Multipart)
			body = &buf
		case b.JSON != nil:
			text := r.rename(string(b.JSON))
			if i := strings.LastIndex(path, "/assets/upload/"); i >= 0 {
				// The recording keeps JSON files as values; the spaces are lost but the size is known.
				var compact bytes.Buffer
				json.Compact(&compact, b.JSON)
				text = compact.String()
				text += strings.Repeat("\n", max(0, r.sizes[path[i+len("/assets/upload/"):]]-len(text)))
			}
			r.noteSizes(b.JSON)
			body = strings.NewReader(text)
		case b.Text != nil:
			body = strings.NewReader(r.rename(*b.Text))
		}
	}
	req, err := http.NewRequestWithContext(context.Background(), call.Method, target, body)
	if err != nil {
		r.t.Fatal(err)
	}
	for k, v := range call.Headers {
		switch k {
		case "user-agent", "accept", "cloudflare-workers-script-api-date", "cf-r2-jurisdiction":
			req.Header.Set(k, v)
		case "authorization":
			req.Header.Set(k, "Bearer "+simtest.Token)
			if strings.Contains(v, "jwt") {
				req.Header.Set(k, r.rename(strings.TrimSpace(v)))
			}
		}
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, b
}

func (r *replayer) noteSizes(raw json.RawMessage) {
	var in struct {
		Manifest map[string]struct {
			Hash string
			Size int
		}
	}
	if json.Unmarshal(raw, &in) == nil {
		for _, f := range in.Manifest {
			r.sizes[f.Hash] = f.Size
		}
	}
}

// form writes parts as wrangler does: metadata without filename and Content-Type, first.
func (r *replayer) form(buf *bytes.Buffer, parts []recordedPart) string {
	form := multipart.NewWriter(buf)
	for _, p := range parts {
		h := textproto.MIMEHeader{}
		disposition := fmt.Sprintf("form-data; name=%q", p.Name)
		if p.Filename != nil {
			disposition += fmt.Sprintf("; filename=%q", *p.Filename)
		}
		h.Set("Content-Disposition", disposition)
		if p.ContentType != nil {
			h.Set("Content-Type", *p.ContentType)
		}
		w, err := form.CreatePart(h)
		if err != nil {
			r.t.Fatal(err)
		}
		content := r.rename(string(p.JSON))
		if p.Text != nil {
			content = *p.Text
		}
		io.WriteString(w, content)
	}
	form.Close()
	return form.FormDataContentType()
}
