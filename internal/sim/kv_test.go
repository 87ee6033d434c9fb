package sim

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"
)

func (w *storeServer) namespace(title string) string {
	w.t.Helper()
	return w.ok("POST", "/storage/kv/namespaces", map[string]any{"title": title}).text("id")
}

func TestNamespaces(t *testing.T) {
	w := startStores(t, "")
	const all = "/storage/kv/namespaces"
	id := w.namespace("b-cache")
	w.namespace("c-cache")
	first := w.namespace("a-cache")
	if len(id) != 32 {
		t.Errorf("id %s", id)
	}
	w.refused(400, 10014, "POST", all, map[string]any{"title": "b-cache"})
	w.refused(400, 10019, "POST", all, map[string]any{"title": ""})
	w.refused(400, 10012, "POST", all, "{")
	w.refused(404, 10013, "GET", all+"/"+strings.Repeat("0", 32), nil)
	w.refused(404, 10013, "GET", all+"/"+strings.Repeat("0", 32)+"/values/a", nil)
	sameJSON(t, "one", w.ok("GET", all+"/"+id, nil).Result, map[string]any{"id": id, "title": "b-cache", "supports_url_encoding": true})
	list := w.ok("GET", all+"?per_page=1000&order=title&direction=asc", nil)
	if len(list.Result.([]any)) != 3 || list.text("0.id") != first || list.Info["total_count"] != 3.0 {
		t.Errorf("by title: %s", list.Body)
	}
	// wrangler asks for pages until one is empty (wire.md §1, P4).
	if next := w.ok("GET", all+"?per_page=1000&order=title&direction=asc&page=2", nil); len(next.Result.([]any)) != 0 {
		t.Errorf("second page: %s", next.Body)
	}
	if down := w.ok("GET", all+"?order=title&direction=desc&per_page=2&page=2", nil); len(down.Result.([]any)) != 1 || down.text("0.id") != first {
		t.Errorf("downwards: %s", down.Body)
	}
	w.refused(400, 10014, "PUT", all+"/"+id, map[string]any{"title": "a-cache"})
	w.refused(400, 10019, "PUT", all+"/"+id, map[string]any{"title": ""})
	if got := w.ok("PUT", all+"/"+id, map[string]any{"title": "renamed"}).text("title"); got != "renamed" {
		t.Errorf("renaming answers with title %s", got)
	}
	if got := w.ok("GET", all+"/"+id, nil).text("title"); got != "renamed" {
		t.Errorf("title %s", got)
	}
	w.ok("PUT", all+"/"+id+"/values/k", "v")
	w.ok("DELETE", all+"/"+id, nil)
	w.refused(404, 10013, "DELETE", all+"/"+id, nil)
	if rows, err := w.s.rows(t.Context(), "SELECT (SELECT count(*) FROM chunks) + (SELECT count(*) FROM entries)"); err != nil || rows[0][0] != int64(0) {
		t.Errorf("the deleted namespace left %v, %v", rows, err)
	}
}

func TestValues(t *testing.T) {
	w := startStores(t, "")
	base := "/storage/kv/namespaces/" + w.namespace("cache")
	values := base + "/values/"
	read := func(key string) *storeReply { return w.send("GET", values+key, nil) }

	w.ok("PUT", values+"some%2Fkey%20with%20space", "value one", "Content-Type", "text/plain;charset=UTF-8")
	if r := read("some%2Fkey%20with%20space"); string(r.Body) != "value one" || r.Header.Get("Content-Type") != "application/octet-stream" || r.Header.Get("Expiration") != "" {
		t.Errorf("value: %s %v", r.Body, r.Header)
	}
	big := bytes.Repeat([]byte{0, 1, 2, 255}, 1_000_000)
	w.ok("PUT", values+"big", big)
	if !bytes.Equal(read("big").Body, big) {
		t.Error("a value of several chunks came back changed")
	}
	w.ok("PUT", values+"big", "")
	if r := read("big"); r.Status != http.StatusOK || len(r.Body) != 0 {
		t.Errorf("empty value: %d, %d bytes", r.Status, len(r.Body))
	}
	w.refused(404, 10009, "GET", values+"missing", nil)
	w.refused(404, 10009, "GET", base+"/metadata/missing", nil)
	w.refused(http.StatusRequestURITooLong, 10033, "PUT", values+strings.Repeat("k", 513), "x")
	w.refused(http.StatusRequestEntityTooLarge, 10012, "PUT", values+"k", make([]byte, maxKVValue+1))

	var form bytes.Buffer
	writer := multipart.NewWriter(&form)
	writer.WriteField("value", "v2")
	writer.WriteField("metadata", `{"a":1}`)
	writer.Close()
	w.ok("PUT", values+"k2?expiration_ttl=3600", form.Bytes(), "Content-Type", writer.FormDataContentType())
	if r := read("k2"); string(r.Body) != "v2" || r.Header.Get("Expiration") != fmt.Sprint(w.now().Unix()+3600) {
		t.Errorf("form: %s %v", r.Body, r.Header)
	}
	sameJSON(t, "metadata", w.ok("GET", base+"/metadata/k2", nil).Result, map[string]any{"a": 1})
	sameJSON(t, "no metadata", w.ok("GET", base+"/metadata/big", nil).Result, nil)
	w.refused(400, 10012, "PUT", values+"k3", "not a form", "Content-Type", writer.FormDataContentType())
	for _, query := range []string{"expiration_ttl=59", "expiration_ttl=x", fmt.Sprintf("expiration=%d", w.now().Unix()+59), "expiration=x"} {
		w.refused(400, 10034, "PUT", values+"k3?"+query, "x")
	}
	w.ok("PUT", values+fmt.Sprintf("k3?expiration=%d", w.now().Unix()+60), "x")
	w.pass(59 * time.Second)
	if r := read("k3"); r.Status != http.StatusOK {
		t.Errorf("before it expires: %d", r.Status)
	}
	w.pass(time.Second)
	w.refused(404, 10009, "GET", values+"k3", nil)
	w.ok("PUT", values+"k4", "x") // sweeps
	if rows, err := w.s.rows(t.Context(), "SELECT count(*) FROM chunks WHERE owner GLOB '*/k3'"); err != nil || rows[0][0] != int64(0) {
		t.Errorf("an expired value is still stored: %v, %v", rows, err)
	}
	w.ok("PUT", values+"k2", "plain") // forgets metadata and expiration
	if list := w.ok("GET", base+"/keys?prefix=k2", nil); len(list.get("0").(map[string]any)) != 1 {
		t.Errorf("overwritten: %s", list.Body)
	}
	w.ok("DELETE", values+"k2", nil)
	w.ok("DELETE", values+"k2", nil)
	w.refused(404, 10009, "GET", values+"k2", nil)
}

func TestKeysAndBulk(t *testing.T) {
	w := startStores(t, "")
	base := "/storage/kv/namespaces/" + w.namespace("cache")
	var entries []map[string]any
	for i := range 2500 {
		entries = append(entries, map[string]any{"key": fmt.Sprintf("a/%04d", i), "value": fmt.Sprint(i)})
	}
	entries = append(entries,
		map[string]any{"key": "b/binary", "value": "AAH/", "base64": true},
		map[string]any{"key": "b/é", "value": `{"j":1}`, "metadata": map[string]any{"m": 1}, "expiration_ttl": 600})
	sameJSON(t, "bulk put", w.ok("PUT", base+"/bulk", entries).Result, map[string]any{"successful_key_count": 2502, "unsuccessful_keys": []any{}})

	var keys []string
	for cursor, pages := "", 0; ; pages++ {
		r := w.ok("GET", base+"/keys?prefix=a/&cursor="+cursor, nil)
		for i := range r.Result.([]any) {
			keys = append(keys, r.text(fmt.Sprintf("%d.name", i)))
		}
		if cursor, _ = r.Info["cursor"].(string); cursor == "" {
			if pages != 2 {
				t.Errorf("%d pages", pages+1)
			}
			break
		}
	}
	if len(keys) != 2500 || keys[0] != "a/0000" || keys[2499] != "a/2499" {
		t.Errorf("%d keys", len(keys))
	}
	sameJSON(t, "listed", w.ok("GET", base+"/keys?prefix=b%2F&limit=10", nil).Result, []any{
		map[string]any{"name": "b/binary"},
		map[string]any{"name": "b/é", "metadata": map[string]any{"m": 1}, "expiration": w.now().Unix() + 600}})
	w.refused(400, 10032, "GET", base+"/keys?limit=9", nil)
	w.refused(400, 10022, "GET", base+"/keys?cursor=%25", nil)
	if r := w.send("GET", base+"/values/b%2Fbinary", nil); !bytes.Equal(r.Body, []byte{0, 1, 255}) {
		t.Errorf("binary: %v", r.Body)
	}
	sameJSON(t, "bulk get", w.ok("POST", base+"/bulk/get", map[string]any{"keys": []string{"a/0007", "nope"}}).Result,
		map[string]any{"values": map[string]any{"a/0007": "7"}})
	sameJSON(t, "bulk get of JSON", w.ok("POST", base+"/bulk/get", map[string]any{"keys": []string{"b/é"}, "type": "json", "withMetadata": true}).Result,
		map[string]any{"values": map[string]any{"b/é": map[string]any{"value": map[string]any{"j": 1}, "metadata": map[string]any{"m": 1}, "expiration": w.now().Unix() + 600}}})
	w.refused(400, 10012, "POST", base+"/bulk/get", map[string]any{"keys": []string{"b/binary"}, "type": "json"})
	w.refused(400, 10029, "PUT", base+"/bulk", "[]")
	w.refused(400, 10012, "PUT", base+"/bulk", `[{"key":"x","value":"%%%","base64":true}]`)
	w.refused(400, 10034, "PUT", base+"/bulk", `[{"key":"good","value":"x"},{"key":"x","value":"x","expiration_ttl":5}]`)
	w.refused(404, 10009, "GET", base+"/values/good", nil) // all of a bulk or nothing
	w.refused(400, 10012, "POST", base+"/bulk/get", map[string]any{"keys": keys[:101]})
	w.refused(400, 10012, "POST", base+"/bulk/delete", `"x"`)

	w.ok("POST", base+"/bulk/delete", keys[:1000])
	w.ok("DELETE", base+"/bulk", keys[1000:2000])
	w.ok("DELETE", base+"/bulk", []map[string]any{{"name": "b/binary"}})
	if r := w.ok("GET", base+"/keys", nil); len(r.Result.([]any)) != 501 || r.text("0.name") != "a/2000" {
		t.Errorf("after deleting: %v", r.Info)
	}
}
