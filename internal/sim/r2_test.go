package sim

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/http"
	"reflect"
	"testing"
	"time"
)

func TestBuckets(t *testing.T) {
	w := startStores(t, "")
	// wrangler sends this JSON as text (wire.md §1).
	made := w.ok("POST", "/r2/buckets", `{"name":"new-bucket","locationHint":"weur"}`, "Content-Type", "text/plain;charset=UTF-8")
	want := map[string]any{"name": "new-bucket", "creation_date": "2026-11-23T14:00:00.000Z", "location": "WEUR", "storage_class": "Standard", "jurisdiction": "default"}
	sameJSON(t, "created", made.Result, want)
	sameJSON(t, "found", w.ok("GET", "/r2/buckets/new-bucket", nil).Result, want)
	w.refused(409, 10004, "POST", "/r2/buckets", `{"name":"new-bucket"}`)
	for _, name := range []string{"ab", "-abc", "abc-", "Abc", "a_b", "a.b"} {
		w.refused(400, 10005, "POST", "/r2/buckets", map[string]any{"name": name})
	}
	w.refused(400, 10001, "POST", "/r2/buckets", `{"name":"abc","storageClass":"Cheap"}`)
	w.refused(400, 10001, "POST", "/r2/buckets", `{"name":"abc","locationHint":"moon"}`)
	w.refused(400, 10001, "POST", "/r2/buckets", `{"name":"abc"}`, "cf-r2-jurisdiction", "moon")
	w.refused(404, 10006, "GET", "/r2/buckets/nope", nil)

	// A jurisdiction is a world of its own.
	sameJSON(t, "jurisdiction", w.ok("POST", "/r2/buckets", `{"name":"new-bucket","storageClass":"InfrequentAccess"}`, "cf-r2-jurisdiction", "eu").get("jurisdiction"), "eu")
	w.refused(404, 10006, "GET", "/r2/buckets/new-bucket", nil, "cf-r2-jurisdiction", "fedramp")
	if r := w.ok("GET", "/r2/buckets", nil, "cf-r2-jurisdiction", "eu"); len(r.get("buckets").([]any)) != 1 || r.text("buckets.0.storage_class") != "InfrequentAccess" {
		t.Errorf("eu: %s", r.Body)
	}
	// Another account may have a bucket of that name.
	other := w.send("POST", w.server.URL+apiPrefix+"/accounts/ffffffffffffffffffffffffffffffff/r2/buckets", `{"name":"new-bucket"}`)
	if other.Status != http.StatusOK {
		t.Errorf("another account: %d %s", other.Status, other.Body)
	}

	w.ok("PATCH", "/r2/buckets/new-bucket", nil, "cf-r2-storage-class", "InfrequentAccess")
	w.refused(400, 10001, "PATCH", "/r2/buckets/new-bucket", nil)
	w.ok("PUT", "/r2/buckets/new-bucket/objects/o", "x")
	if r := w.ok("GET", "/r2/buckets/new-bucket/objects", nil); r.text("0.storage_class") != "InfrequentAccess" {
		t.Errorf("class of a new object: %s", r.Body)
	}
	w.refused(409, 10008, "DELETE", "/r2/buckets/new-bucket", nil)
	w.ok("DELETE", "/r2/buckets/new-bucket/objects/o", nil)
	w.ok("DELETE", "/r2/buckets/new-bucket", nil)
	w.refused(404, 10006, "DELETE", "/r2/buckets/new-bucket", nil)

	for i := range 25 {
		w.ok("POST", "/r2/buckets", map[string]any{"name": fmt.Sprintf("shop-%02d", i)})
	}
	names := func(query string) (list []string, cursor string) {
		r := w.ok("GET", "/r2/buckets?"+query, nil)
		for i := range r.get("buckets").([]any) {
			list = append(list, r.text(fmt.Sprintf("buckets.%d.name", i)))
		}
		cursor, _ = r.Info["cursor"].(string)
		return list, cursor
	}
	first, cursor := names("")
	rest, end := names("cursor=" + cursor)
	if len(first) != 20 || len(rest) != 5 || rest[0] != "shop-20" || end != "" {
		t.Errorf("pages: %v %v %q", first, rest, end)
	}
	if down, _ := names("direction=desc&per_page=2&start_after=shop-10"); !reflect.DeepEqual(down, []string{"shop-09", "shop-08"}) {
		t.Errorf("downwards: %v", down)
	}
	if some, _ := names("name_contains=p-2"); len(some) != 5 {
		t.Errorf("searched: %v", some)
	}
}

func TestObjects(t *testing.T) {
	w := startStores(t, "")
	w.ok("POST", "/r2/buckets", `{"name":"assets"}`)
	const objects = "/r2/buckets/assets/objects"
	expires := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	put := w.ok("PUT", objects+"/a/b%20c.png", "pixels", "Content-Type", "image/png", "Cache-Control", "max-age=60", "Content-Language", "de",
		"Content-Disposition", "inline", "Content-Encoding", "br", "Expires", expires.Format(http.TimeFormat))
	if sum := md5.Sum([]byte("pixels")); put.text("etag") != hex.EncodeToString(sum[:]) {
		t.Errorf("put: %s", put.Body)
	}
	got := w.send("GET", objects+"/a/b%20c.png", nil, "Accept-Encoding", "br")
	for name, want := range map[string]string{"Content-Type": "image/png", "Cache-Control": "max-age=60", "Content-Language": "de",
		"Content-Disposition": "inline", "Content-Encoding": "br", "Expires": expires.Format(http.TimeFormat), "ETag": `"` + put.text("etag") + `"`} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
		}
	}
	if string(got.Body) != "pixels" {
		t.Errorf("content: %s", got.Body)
	}
	w.refused(404, 10007, "GET", objects+"/missing", nil)
	w.refused(400, 10001, "PUT", objects+"/x", "x", "cf-r2-storage-class", "Cheap")
	w.refused(400, 10001, "PUT", objects+"/x", "x", "Expires", "tomorrow")
	list := w.ok("GET", objects, nil)
	sameJSON(t, "listed", list.Result, []any{map[string]any{
		"key": "a/b c.png", "etag": put.text("etag"), "size": 6, "last_modified": "2026-11-23T14:00:00.000Z", "storage_class": "Standard", "ssec": false, "custom_metadata": map[string]any{},
		"http_metadata": map[string]any{"contentType": "image/png", "cacheControl": "max-age=60", "contentLanguage": "de", "contentDisposition": "inline", "contentEncoding": "br", "cacheExpiry": "2027-01-02T03:04:05Z"},
	}})
	metrics := w.ok("GET", "/r2/metrics", nil)
	if metrics.get("standard.published.objects") != 1.0 || metrics.get("standard.published.payloadSize") != 6.0 || metrics.get("infrequentAccess.published.objects") != 0.0 {
		t.Errorf("metrics: %s", metrics.Body)
	}
	sameJSON(t, "deleted", w.ok("DELETE", objects+"/a/b%20c.png", nil).Result, map[string]any{"key": "a/b c.png"})
	w.refused(404, 10007, "GET", objects+"/a/b%20c.png", nil)
}

// TestBucketMethods is for what only the edge uses: ranges, conditions, delimiters, metadata.
func TestBucketMethods(t *testing.T) {
	w := startStores(t, "")
	b, err := w.s.createBucket(storeAccount, bucketOptions{Name: "assets"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	content := make([]byte, 2*chunkSize+10)
	for i := range content {
		content[i] = byte(i / 1000)
	}
	stored, err := b.Put(ctx, object{Key: "big", Custom: map[string]string{"k": "v"}, ETag: "parts-2"}, content)
	if err != nil || stored.ETag != "parts-2" || stored.Size != int64(len(content)) || len(stored.Version) != 32 {
		t.Fatalf("put: %+v %v", stored, err)
	}
	size := int64(len(content))
	for _, r := range [][2]int64{{0, -1}, {0, 5}, {chunkSize - 1, 2}, {chunkSize, chunkSize}, {size - 3, -1}, {size - 3, 100}, {size, -1}, {size + 5, 3}, {7, 0}} {
		o, body, ok, err := b.Get(ctx, "big", r[0], r[1])
		end := size
		if r[1] >= 0 {
			end = min(size, r[0]+r[1])
		}
		want := content[min(r[0], end):end]
		if err != nil || !ok || !bytes.Equal(body, want) || !reflect.DeepEqual(o, stored) {
			t.Errorf("from %d, %d bytes: got %d bytes, want %d (%v)", r[0], r[1], len(body), len(want), err)
		}
	}
	head, ok, err := b.Head(ctx, "big")
	if err != nil || !ok || !reflect.DeepEqual(head, stored) {
		t.Errorf("head: %+v, want %+v", head, stored)
	}
	if _, ok, err := b.Head(ctx, "nope"); ok || err != nil {
		t.Errorf("head of nothing: %v %v", ok, err)
	}
	before, done, err := b.PutIf(ctx, object{Key: "big"}, nil, func(before *object) bool { return before.ETag != "parts-2" })
	if err != nil || done || before.ETag != "parts-2" {
		t.Errorf("conditional put: %+v %v %v", before, done, err)
	}
	replaced, err := b.Put(ctx, object{Key: "big"}, []byte("small"))
	if err != nil || replaced.Version == stored.Version || replaced.Custom != nil {
		t.Errorf("replaced: %+v %v", replaced, err)
	}
	if _, body, _, err := b.Get(ctx, "big", 0, -1); err != nil || string(body) != "small" {
		t.Errorf("replaced: %d bytes %v", len(body), err)
	}

	for _, key := range []string{"a/1", "a/2", "a/b/3", "a/b/4", "b", "c/5", "c/ü", "d"} {
		if _, err := b.Put(ctx, object{Key: key}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		list listObjects
		want []string // keys, then prefixes, of each page
	}{
		{listObjects{Limit: 100}, []string{"a/1 a/2 a/b/3 a/b/4 b big c/5 c/ü d |"}},
		{listObjects{Delimiter: "/"}, []string{"b big d | a/ c/"}},
		{listObjects{Delimiter: "/", Limit: 2}, []string{"b | a/", "big | c/", "d |"}},
		{listObjects{Delimiter: "/", Prefix: "a/"}, []string{"a/1 a/2 | a/b/"}},
		{listObjects{Prefix: "c/", Limit: 1}, []string{"c/5 |", "c/ü |"}},
		{listObjects{StartAfter: "b", Limit: 2}, []string{"big c/5 |", "c/ü d |"}},
		{listObjects{StartAfter: "a/2", Delimiter: "/"}, []string{"b big d | a/ c/"}},
		{listObjects{Prefix: "nope"}, []string{"|"}},
	} {
		var got []string
		for l := test.list; ; {
			page, err := b.List(ctx, l)
			if err != nil {
				t.Fatal(err)
			}
			text := ""
			for _, o := range page.Objects {
				text += o.Key + " "
			}
			text += "|"
			for _, p := range page.Prefixes {
				text += " " + p
			}
			got = append(got, text)
			if l.Cursor = page.Cursor; l.Cursor == "" {
				break
			}
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%+v: got %q, want %q", test.list, got, test.want)
		}
	}
	if err := b.Delete(ctx, "a/1", "a/2", "nope"); err != nil {
		t.Fatal(err)
	}
	if page, err := b.List(ctx, listObjects{Prefix: "a/"}); err != nil || len(page.Objects) != 2 {
		t.Errorf("after deleting: %+v %v", page, err)
	}
	if err := b.Delete(ctx); err != nil {
		t.Errorf("deleting nothing: %v", err)
	}
}
