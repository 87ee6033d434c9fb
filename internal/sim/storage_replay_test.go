package sim

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// storeRecording is what real wrangler sent in one command, and what the server that recorded it answered.
type storeRecording struct {
	Command string
	Calls   []struct {
		Method, Path string
		Query        map[string]string
		Headers      map[string]string
		Body         *struct {
			JSON      json.RawMessage
			Text      *string
			Multipart []struct {
				Name string
				Text *string
				JSON json.RawMessage
			}
		}
		Response struct {
			Status int
			Body   json.RawMessage
		}
	}
}

// wranglerReads are the fields that wrangler cannot do without in the result of a call (wire.md §7, §8, §11).
var wranglerReads = []struct {
	method, path string
	fields       []string
}{
	{"GET", `/d1/database$`, []string{"0.uuid", "0.name", "0.created_at", "0.version"}},
	{"POST", `/d1/database$`, []string{"uuid", "name", "created_in_region"}},
	{"GET", `/d1/database/[^/]+$`, []string{"uuid", "name"}},
	{"POST", `/query$`, []string{"0.results", "0.success", "0.meta.duration"}},
	{"GET", `/time_travel/bookmark$`, []string{"bookmark"}},
	{"POST", `/time_travel/restore$`, []string{"bookmark", "previous_bookmark"}},
	{"GET", `/r2/buckets$`, []string{"buckets.0.name", "buckets.0.creation_date"}},
	{"GET", `/r2/buckets/[^/]+$`, []string{"name", "creation_date", "location", "storage_class"}},
	{"POST", `/r2/buckets$`, []string{"name", "location"}},
	{"POST", `/kv/namespaces$`, []string{"id", "title"}},
}

// replaySeeds say what has to exist before a recording: databases as d1 name=id, namespaces as kv title=id, buckets as
// r2 name. Every recording also has the database, namespace and bucket of the shop.
var replaySeeds = map[string][]string{
	"d1-migrations-apply-no-database-id": {"d1 helm-auto-db"},
	"d1-create-duplicate":                {"d1 helm-new-db=52271980-6696-48f6-8c46-e625e81c8f74"},
	"d1-delete":                          {"d1 helm-new-db=52271980-6696-48f6-8c46-e625e81c8f74"},
	"d1-info-by-name-no-config":          {"d1 helm-new-db=52271980-6696-48f6-8c46-e625e81c8f74"},
	"kv-key-put":                         {"kv MYKV=4af2ac3a0137c7e3a38d9a8d5c092487"},
	"kv-namespace-delete":                {"kv MYKV=4af2ac3a0137c7e3a38d9a8d5c092487"},
	"kv-namespace-delete-by-name":        {"kv swicked-MYKV=695bffcf4a1dc30193ca83880256c37b"},
	"kv-namespace-create-duplicate":      {"kv MYKV=4af2ac3a0137c7e3a38d9a8d5c092487"},
	"r2-bucket-create-duplicate":         {"r2 new-bucket"},
	"r2-bucket-delete":                   {"r2 new-bucket"},
	"r2-bucket-info":                     {"r2 new-bucket"},
}

// otherAnswer are calls that a healthy database answers otherwise than the server that recorded them, which was told to
// answer badly or knew nothing of SQL, by recording and number of the call: the status that is right.
var otherAnswer = map[string]int{
	"d1-list-migrations-500 1": 200, // was told to fail
	"d1-time-travel-restore 2": 400, // a bookmark that nobody handed out
}

// TestReplayStorageRecordings sends what wrangler sent, with the ids, bookmarks and URLs of our answers in place of those
// of the recorded ones, and looks at what wrangler would look at.
func TestReplayStorageRecordings(t *testing.T) {
	dir := filepath.Join("..", "..", "testdata", "contracts", "cloudflare", "recordings")
	var files []string
	for _, pattern := range []string{"d1-*.json", "r2-*.json", "kv-*.json"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 50 {
		t.Fatalf("%d recordings in %s", len(files), dir)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var recorded storeRecording
			if err := json.Unmarshal(data, &recorded); err != nil {
				t.Fatal(err)
			}
			replay(t, name, recorded)
		})
	}
}

func replay(t *testing.T, name string, recorded storeRecording) {
	w := startStores(t, "")
	for _, seed := range append(replaySeeds[name], "d1 helm-swicked-db=11111111-2222-4333-8444-555555555555",
		"kv helm-swicked-cache=0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "r2 helm-swicked-assets") {
		kind, what, _ := strings.Cut(seed, " ")
		title, id, _ := strings.Cut(what, "=")
		var err error
		switch kind {
		case "d1":
			_, err = w.s.createDatabase(storeAccount, databaseOptions{ID: id, Name: title})
		case "kv":
			_, err = w.s.createNamespace(storeAccount, title, id)
		case "r2":
			_, err = w.s.createBucket(storeAccount, bucketOptions{Name: title})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if strings.HasPrefix(name, "d1-list-paginated") {
		for i := range 11 {
			if _, err := w.s.createDatabase(storeAccount, databaseOptions{Name: fmt.Sprintf("many-%d", i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	ours := []string{} // text of the recording and what stands for it here, in turn
	status := ""
	for i, call := range recorded.Calls {
		if strings.HasPrefix(call.Path, "/graphql") {
			continue
		}
		if status != "" && status != "active" {
			continue // wrangler would not have polled any more
		}
		here := strings.NewReplacer(ours...)
		body, header := replayBody(t, call.Body, call.Headers)
		target := w.server.URL + apiPrefix + here.Replace(call.Path)
		if !strings.HasPrefix(call.Path, "/accounts/") {
			target = here.Replace("http://127.0.0.1:8799" + call.Path + "?X-Amz-Signature=fake") // a presigned URL
		} else if len(call.Query) > 0 {
			query := url.Values{}
			for k, v := range call.Query {
				if k == "timestamp" {
					v = w.now().Format("2006-01-02T15:04:05.000Z")
				}
				query.Set(k, here.Replace(v))
			}
			target += "?" + query.Encode()
		}
		r := w.send(call.Method, target, here.Replace(body), header...)
		want, other := otherAnswer[fmt.Sprintf("%s %d", name, i+1)]
		if !other {
			want = call.Response.Status
		}
		if r.Status != want {
			t.Errorf("call %d, %s %s: %d %s, want %d", i+1, call.Method, call.Path, r.Status, r.Body, want)
			return
		}
		if !strings.HasPrefix(call.Path, "/accounts/") {
			continue
		}
		var theirs struct {
			Success bool
			Errors  []struct{ Code int }
			Result  any
		}
		if err := json.Unmarshal(call.Response.Body, &theirs); err != nil {
			t.Fatal(err)
		}
		if !other && len(theirs.Errors) > 0 && (r.Success || r.Errors[0].Code != theirs.Errors[0].Code) {
			t.Errorf("call %d: %s, want code %d", i+1, r.Body, theirs.Errors[0].Code)
		}
		if r.Success {
			for _, reads := range wranglerReads {
				if call.Method != reads.method || !regexp.MustCompile(reads.path).MatchString(call.Path) {
					continue
				}
				for _, field := range reads.fields {
					if r.get(field) == nil {
						t.Errorf("call %d, %s %s: no %s in %s", i+1, call.Method, call.Path, field, r.Body)
					}
				}
			}
			if strings.HasSuffix(call.Path, "/import") || strings.HasSuffix(call.Path, "/export") {
				status, _ = r.get("status").(string)
				checkTransfer(t, r)
			}
		}
		ours = append(pairTexts(theirs.Result, r.Result), ours...)
	}
	if (strings.Contains(name, "execute-file") || strings.Contains(name, "export")) && status == "active" {
		t.Error("the transfer did not end within the calls that wrangler made")
	}
}

// checkTransfer looks at a status of an import or export as wrangler does.
func checkTransfer(t *testing.T, r *storeReply) {
	t.Helper()
	if r.get("upload_url") != nil {
		if r.get("filename") == nil {
			t.Errorf("no filename: %s", r.Body)
		}
		return
	}
	if _, ok := r.get("messages").([]any); !ok {
		t.Errorf("no messages: %s", r.Body)
	}
	switch status := r.get("status"); {
	case status == "complete" && r.get("type") == "import" && (r.get("result.meta.duration") == nil || r.get("result.meta.rows_read") == nil ||
		r.get("result.meta.size_after") == nil || r.get("result.num_queries") == nil || r.get("result.final_bookmark") == nil):
		t.Errorf("import: %s", r.Body)
	case status == "complete" && r.get("type") == "export" && r.get("result.signed_url") == nil:
		t.Errorf("export: %s", r.Body)
	case r.get("success") != (status != "error"), status == "error" && r.get("error") == nil, r.get("at_bookmark") == nil:
		t.Errorf("status: %s", r.Body)
	}
}

// pairTexts lists the texts that two results have in the same place: ids, names of files, URLs, bookmarks.
func pairTexts(theirs, ours any) (pairs []string) {
	switch a := theirs.(type) {
	case string:
		if b, ok := ours.(string); ok && len(a) > 8 && a != b {
			return []string{a, b}
		}
	case map[string]any:
		if b, ok := ours.(map[string]any); ok {
			for k := range a {
				pairs = append(pairs, pairTexts(a[k], b[k])...)
			}
		}
	case []any:
		if b, ok := ours.([]any); ok {
			for i := range min(len(a), len(b)) {
				pairs = append(pairs, pairTexts(a[i], b[i])...)
			}
		}
	}
	return pairs
}

func replayBody(t *testing.T, body *struct {
	JSON      json.RawMessage
	Text      *string
	Multipart []struct {
		Name string
		Text *string
		JSON json.RawMessage
	}
}, headers map[string]string) (text string, header []string) {
	t.Helper()
	for name, value := range headers {
		if name == "content-type" && !strings.HasPrefix(value, "multipart") || strings.HasPrefix(name, "cf-") {
			header = append(header, name, value)
		}
	}
	switch {
	case body == nil:
	case body.Text != nil:
		text = *body.Text
	case body.Multipart != nil:
		const boundary = "----formdata-undici-0123456789"
		for _, part := range body.Multipart {
			content := string(part.JSON)
			if part.Text != nil {
				content = *part.Text
			}
			text += "--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + part.Name + "\"\r\n\r\n" + content + "\r\n"
		}
		text += "--" + boundary + "--\r\n"
		header = append(header, "content-type", "multipart/form-data; boundary="+boundary)
	default:
		text = string(body.JSON)
	}
	return text, header
}
