package sim_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim"
)

const assetSessions = script + "/assets-upload-session"

// hashes need not be BLAKE3 for the service; any 32 hexadecimal digits name a file.
func hash(n int) string { return fmt.Sprintf("%032x", n) }

func manifest(files map[string]string) (body map[string]any, content map[string]string) {
	m, content := map[string]any{}, map[string]string{}
	n := 1
	for _, path := range sortedNames(files) {
		m[path] = map[string]any{"hash": hash(n), "size": len(files[path])}
		content[hash(n)] = files[path]
		n++
	}
	return map[string]any{"manifest": m}, content
}

// bucket is the form of one bucket.
func bucket(t *testing.T, content map[string]string, hashes ...string) *form {
	var parts []part
	for _, h := range hashes {
		parts = append(parts, part{h, "text/plain; charset=utf-8", base64.StdEncoding.EncodeToString([]byte(content[h]))})
	}
	return newForm(t, nil, parts...)
}

func TestAssetSession(t *testing.T) {
	clock := newClock()
	c := shop(t, sim.Options{Now: clock.now})
	files := map[string]string{"/index.html": "<h1>hi</h1>", "/a.txt": "a", "/b.txt": "bb"}
	body, content := manifest(files)

	session := c.ok("POST", assetSessions, body)
	if session.len("buckets") != 1 || session.len("buckets.0") != 3 {
		t.Fatalf("buckets %v", session.get("buckets"))
	}
	token := session.text("jwt")
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	var claims map[string]any
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims["exp"] != float64(clock.now().Add(time.Hour).Unix()) {
		t.Fatalf("the token's payload is %s (%v)", payload, err)
	}

	upload := workers + "/assets/upload?base64=true"
	auth := []string{"Authorization", "Bearer " + token}
	c.refused(401, 10000, "POST", upload, bucket(t, content, hash(1))) // the API token is not the session's
	c.refused(401, 10000, "POST", upload, bucket(t, content, hash(1)), "Authorization", "Bearer "+token[:len(token)-2])
	c.refused(400, 10026, "POST", upload, bucket(t, map[string]string{hash(9): "x"}, hash(9)), auth...)
	c.refused(400, 10026, "POST", upload, bucket(t, map[string]string{hash(1): "too long"}, hash(1)), auth...)
	c.refused(400, 10026, "POST", workers+"/assets/upload/"+hash(1), "x", auth...)

	part := c.ok("POST", upload, bucket(t, content, hash(1), hash(2)), auth...)
	if part.text("jwt") != "" || part.Status != 202 {
		t.Fatalf("after some of the files: HTTP %d %s", part.Status, part.Body)
	}
	last := c.ok("POST", upload, bucket(t, content, hash(3)), auth...)
	done := last.text("jwt")
	if done == "" || last.Status != 201 {
		t.Fatalf("after all files: HTTP %d %s", last.Status, last.Body)
	}
	withAssets := func(jwt string) *form {
		return c.worker([]any{binding("ASSETS", "assets")}, map[string]any{"assets": map[string]any{"jwt": jwt, "config": map[string]any{"html_handling": "auto-trailing-slash"}}})
	}
	c.refused(401, 10000, "PUT", script, withAssets(token)) // an upload token completes nothing
	c.refused(400, 10021, "PUT", script, c.worker([]any{binding("ASSETS", "assets")}, nil))
	c.refused(400, 10021, "PUT", workers+"/scripts/other", withAssets(done))
	c.ok("PUT", script, withAssets(done))
	if got := c.ok("GET", workers+"/scripts", nil); got.get("0.has_assets") != true {
		t.Error("has_assets is not set")
	}

	t.Run("known files need no upload", func(t *testing.T) {
		again := c.ok("POST", assetSessions, body)
		if again.len("buckets") != 0 {
			t.Fatalf("buckets %v", again.get("buckets"))
		}
		c.ok("POST", script+"/versions", withAssets(again.text("jwt")))
		files["/new.txt"] = "new"
		m := body["manifest"].(map[string]any)
		m["/new.txt"] = map[string]any{"hash": hash(7), "size": 3}
		if more := c.ok("POST", assetSessions, body); more.len("buckets") != 1 || more.len("buckets.0") != 1 {
			t.Errorf("buckets %v", more.get("buckets"))
		}
		if other := c.ok("POST", workers+"/scripts/other/assets-upload-session", body); other.len("buckets.0") != 4 {
			t.Errorf("another Worker is asked for %v", other.get("buckets"))
		}
	})
	t.Run("keep_assets", func(t *testing.T) {
		c.ok("POST", script+"/versions", c.worker([]any{binding("ASSETS", "assets")}, map[string]any{"keep_bindings": []string{}, "keep_assets": true}))
	})
	t.Run("tokens end", func(t *testing.T) {
		clock.advance(61 * time.Minute)
		c.refused(401, 10000, "POST", upload, bucket(t, content, hash(1)), auth...)
		c.refused(401, 10000, "PUT", script, withAssets(done))
	})
	t.Run("bad manifests", func(t *testing.T) {
		for name, m := range map[string]any{
			"no slash":  map[string]any{"a": map[string]any{"hash": hash(1), "size": 1}},
			"bad hash":  map[string]any{"/a": map[string]any{"hash": "xyz", "size": 1}},
			"too large": map[string]any{"/a": map[string]any{"hash": hash(1), "size": 26 << 20}},
		} {
			t.Run(name, func(t *testing.T) { c.refused(400, 10026, "POST", assetSessions, map[string]any{"manifest": m}) })
		}
		c.refused(400, 10026, "POST", assetSessions, map[string]any{})
	})
}

func TestManyAssetsAreBucketed(t *testing.T) {
	c := shop(t, sim.Options{})
	files := map[string]string{}
	for i := range 60 {
		files[fmt.Sprintf("/f%02d.txt", i)] = fmt.Sprint(i)
	}
	body, _ := manifest(files)
	a := c.ok("POST", assetSessions, body)
	total := 0
	for i := range a.len("buckets") {
		total += a.len(fmt.Sprintf("buckets.%d", i))
	}
	if a.len("buckets") < 2 || total != 60 {
		t.Errorf("%d files in %d buckets", total, a.len("buckets"))
	}
}

func TestSingleAssetUploads(t *testing.T) {
	c := shop(t, sim.Options{SingleAssetUploads: true})
	body, content := manifest(map[string]string{"/a.txt": "a", "/copy.txt": "a2", "/b.txt": "bb"})
	token := c.ok("POST", assetSessions, body).text("jwt")
	payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if !strings.Contains(string(payload), `"wrangler_single_asset_uploads":true`) {
		t.Fatalf("payload %s", payload)
	}
	done := ""
	for _, h := range sortedNames(content) {
		done = c.ok("POST", workers+"/assets/upload/"+h, content[h], "Authorization", "Bearer "+token, "Content-Type", "text/plain").text("jwt")
	}
	if done == "" {
		t.Error("no completion token after the last file")
	}
}
