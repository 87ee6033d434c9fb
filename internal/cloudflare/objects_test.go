package cloudflare_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/sim"
)

func upload(key string, content []byte, about cloudflare.ObjectHTTP) cloudflare.ObjectUpload {
	return cloudflare.ObjectUpload{Key: key, Size: int64(len(content)), HTTP: about, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}}
}

// Objects come back as they were written, whatever is in their keys and however many there are.
func TestObjectsOnTheSimulator(t *testing.T) {
	w, c := simulated(t)
	if err := w.Account(t, account, "kvick-1").AddR2("helm-swicked-assets"); err != nil {
		t.Fatal(err)
	}
	ctx, bucket := t.Context(), "helm-swicked-assets"
	about := cloudflare.ObjectHTTP{
		ContentType: "image/webp", ContentLanguage: "fr", ContentDisposition: `inline; filename="a b.webp"`, ContentEncoding: "identity",
		CacheControl: "max-age=60", CacheExpiry: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	want := map[string][]byte{
		"photos/frame 1/é%2F?#.webp": bytes.Repeat([]byte{0, 0xff, '\n'}, 700_000),
		"empty":                      {},
		"a//b":                       []byte("two slashes"),
	}
	for key, content := range want {
		sum := md5.Sum(content)
		if etag := try(c.UploadR2Object(ctx, bucket, "", upload(key, content, about)))(t); etag != hex.EncodeToString(sum[:]) {
			t.Errorf("%s was written with the ETag %s", key, etag)
		}
		o := try(c.OpenR2Object(ctx, bucket, "", key))(t)
		got, err := io.ReadAll(o)
		if err := errors.Join(err, o.Close()); err != nil || !bytes.Equal(got, content) || o.Size >= 0 && o.Size != int64(len(content)) || o.ETag != hex.EncodeToString(sum[:]) {
			t.Errorf("%s came back as %d bytes of %d, ETag %s, %v", key, len(got), o.Size, o.ETag, err)
		}
	}
	all := try(c.R2Objects(ctx, bucket, "", ""))(t)
	if len(all) != len(want) || all[0].Key != "a//b" || all[1].Key != "empty" {
		t.Fatalf("listed %+v", all)
	}
	for _, o := range all {
		if !reflect.DeepEqual(o.HTTP, about) || o.Size != int64(len(want[o.Key])) || o.StorageClass != "Standard" || o.Modified.IsZero() {
			t.Errorf("listed %+v", o)
		}
	}
	if some := try(c.R2Objects(ctx, bucket, "", "photos/"))(t); len(some) != 1 {
		t.Errorf("below photos/ are %+v", some)
	}
	for range 2 {
		must(t, c.DeleteR2Object(ctx, bucket, "", "a//b"))
	}
	if _, err := c.OpenR2Object(ctx, bucket, "", "a//b"); !errors.Is(err, cloudflare.ErrNotFound) {
		t.Errorf("opening what was deleted: %v", err)
	}
	if _, err := c.ReadOnly().UploadR2Object(ctx, bucket, "", upload("x", nil, about)); !errors.Is(err, cloudflare.ErrReadOnly) {
		t.Errorf("a client that only reads: %v", err)
	}
	big := cloudflare.ObjectUpload{Key: "big", Size: cloudflare.MaxR2Upload + 1, Open: func() (io.ReadCloser, error) { return nil, errors.New("opened") }}
	if _, err := c.UploadR2Object(ctx, bucket, "", big); !errors.Is(err, cloudflare.ErrArgument) {
		t.Errorf("an object that is too large: %v", err)
	}
}

// Both directions are tried again when the wire fails, with the whole content each time.
func TestObjectsAreTriedAgain(t *testing.T) {
	w, c := simulated(t)
	if err := w.Account(t, account, "kvick-1").AddR2("helm-swicked-assets"); err != nil {
		t.Fatal(err)
	}
	content := []byte(strings.Repeat("kvick ", 50_000))
	for _, rule := range []sim.Rule{{Status: 503}, {Status: 429}, {Drop: sim.DropBefore}, {Drop: sim.DropAfter}} {
		for _, method := range []string{http.MethodPut, http.MethodGet} {
			rule.Method, rule.Path = method, "/objects/"
			try(w.Fault(rule))(t)
		}
		try(c.UploadR2Object(t.Context(), "helm-swicked-assets", "", upload("k", content, cloudflare.ObjectHTTP{})))(t)
		o := try(c.OpenR2Object(t.Context(), "helm-swicked-assets", "", "k"))(t)
		got, err := io.ReadAll(o)
		if err := errors.Join(err, o.Close()); err != nil || !bytes.Equal(got, content) {
			t.Errorf("after %+v: %d bytes, %v", rule, len(got), err)
		}
	}
}

func TestKVBulkOnTheSimulator(t *testing.T) {
	w, c := simulated(t)
	const kv = "a1f0c3d2e4b5968778695a4b3c2d1e0f"
	if err := w.Account(t, account, "kvick-1").AddKV("helm-swicked-kv", kv); err != nil {
		t.Fatal(err)
	}
	ctx, later := t.Context(), time.Now().Add(time.Hour).Unix()
	pairs := []cloudflare.KVPair{
		{Key: "a sign", Value: []byte("\ufffd")},
		{Key: "a/b?#", Value: []byte("text"), Metadata: []byte(`{"n":1}`), Expiration: later},
		{Key: "binary", Value: []byte{0xff, 0, 0xfe}},
		{Key: "empty"},
	}
	for i := range 2500 {
		pairs = append(pairs, cloudflare.KVPair{Key: fmt.Sprintf("n%04d", i), Value: []byte("v")})
	}
	must(t, c.PutKVBulk(ctx, kv, pairs))
	keys := try(c.KVKeys(ctx, kv, ""))(t)
	if len(keys) != len(pairs) {
		t.Fatalf("%d keys are listed of %d", len(keys), len(pairs))
	}
	for i, k := range keys {
		if want := (cloudflare.KVKey{Name: pairs[i].Key, Expiration: pairs[i].Expiration, Metadata: pairs[i].Metadata}); !reflect.DeepEqual(k, want) {
			t.Fatalf("listed %+v, want %+v", k, want)
		}
	}
	if some := try(c.KVKeys(ctx, kv, "n00"))(t); len(some) != 100 {
		t.Errorf("%d keys begin with n00", len(some))
	}
	texts := try(c.KVTexts(ctx, kv, []string{"a/b?#", "binary", "empty", "a sign", "nobody"}))(t)
	if want := map[string]string{"a/b?#": "text", "empty": ""}; !reflect.DeepEqual(texts, want) {
		t.Errorf("texts %q", texts)
	}
	if value := try(c.KVValue(ctx, kv, "binary"))(t); value != "\xff\x00\xfe" {
		t.Errorf("the binary value came back as %q", value)
	}
	must(t, c.DeleteKVBulk(ctx, kv, []string{"a/b?#", "binary", "nobody"}))
	if left := try(c.KVKeys(ctx, kv, ""))(t); len(left) != len(pairs)-2 {
		t.Errorf("%d keys are left", len(left))
	}
}
