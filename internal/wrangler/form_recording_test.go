package wrangler_test

import (
	"bytes"
	"encoding/json"
	"mime"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// recording is what wrangler sent to a server of ours, from testdata/contracts/cloudflare/recordings.
type recording struct {
	Command string
	Calls   []recordedCall
}

type recordedCall struct {
	Method, Path string
	Query        map[string]string
	Headers      map[string]string
	Body         struct {
		JSON      json.RawMessage
		Text      string
		Multipart []recordedPart
	}
	Response struct {
		Status int
		Body   json.RawMessage
	}
}

type recordedPart struct {
	Name, Filename, ContentType string
	Text                        string
	JSON                        json.RawMessage
}

func (p recordedPart) content() []byte {
	if p.JSON != nil {
		return p.JSON
	}
	return []byte(p.Text)
}

// recordings reads the recordings whose names match one of the patterns.
func recordings(t *testing.T, patterns ...string) map[string]recording {
	t.Helper()
	all := map[string]recording{}
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(repoRoot(t), "testdata", "contracts", "cloudflare", "recordings", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var r recording
			// Bodies of responses have any shape; the ones that do not fit are not looked at.
			if err := json.Unmarshal(src, &r); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all[strings.TrimSuffix(filepath.Base(file), ".json")] = r
		}
	}
	return all
}

// flags takes the command apart: the values of its flags, true for those without one.
func (r recording) flags() map[string]string {
	flags := map[string]string{}
	_, command, _ := strings.Cut(r.Command, "wrangler ")
	words := strings.Fields(command)
	for i := 0; i < len(words); i++ {
		name, dashed := strings.CutPrefix(words[i], "-")
		if !dashed {
			continue
		}
		name, value, _ := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		for i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
			i++
			value = strings.TrimPrefix(value+" "+words[i], " ")
		}
		flags[name] = value
	}
	return flags
}

// upload returns the call that uploads the Worker.
func (r recording) upload() (recordedCall, bool) {
	for _, call := range r.Calls {
		if strings.Contains(call.Path, "/workers/scripts/") && len(call.Body.Multipart) > 0 {
			return call, true
		}
	}
	return recordedCall{}, false
}

func sampleDir(t testing.TB) string { return filepath.Join(repoRoot(t), "testdata", "wrangler-sample") }

// configOf reads a configuration of dir for env.
func configOf(t testing.TB, dir, name, env string) *wrangler.Config {
	t.Helper()
	src, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	project, err := wrangler.Parse(dir, name, src)
	if err != nil {
		t.Fatal(err)
	}
	c, err := project.Resolve(env)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The metadata of every upload in the recordings is what we make of the same configuration, member for member and in
// the same order. The code is the recorded one, so this does not depend on the bundler.
func TestFormRecordings(t *testing.T) {
	tested := 0
	for name, r := range recordings(t, "deploy-*.json", "versions-upload*.json") {
		call, ok := r.upload()
		if !ok {
			continue
		}
		tested++
		t.Run(name, func(t *testing.T) {
			flags := r.flags()
			file := flags["c"]
			if file == "" {
				file = "wrangler.jsonc"
			}
			c := configOf(t, sampleDir(t), file, flags["env"])
			if _, ok := flags["keep-vars"]; ok {
				c.KeepVars = true
			}
			u := wrangler.Upload{
				Put: call.Method == "PUT", VersionOnly: strings.Contains(r.Command, "versions upload"),
				New: true, MigrationTag: r.migrationTag(),
				Tag: flags["tag"], Message: flags["message"], Alias: flags["preview-alias"],
				Resources: map[string]string{},
			}
			for _, other := range r.Calls {
				if strings.Contains(other.Path, "/workers/services/") && other.Response.Status == 200 {
					u.New = false
				}
			}
			if _, ok := flags["secrets-file"]; ok {
				u.Secrets = map[string]wrangler.Secret{"API_KEY": "[REDACTED secret value]"}
			}
			if c.Assets != nil {
				var err error
				if u.Assets, err = c.ReadAssets(nil); err != nil {
					t.Fatal(err)
				}
				u.AssetsJWT = "[REDACTED assets completion jwt]"
			}
			if name == "deploy-provision-noids" { // wrangler made the resources just before
				u.Resources = map[string]string{"KV": recordedBinding(t, call, "KV", "namespace_id"), "DB": recordedBinding(t, call, "DB", "id")}
			}
			form, err := wrangler.NewForm(c, recordedBundle(call), u)
			if err != nil {
				t.Fatal(err)
			}
			parts := uploadParts(t, form.Body)
			if got, want := string(parts[0].Content), withoutPackages(t, call.Body.Multipart[0].JSON); got != want {
				t.Errorf("metadata\n got %s\nwant %s", got, want)
			}
			if len(parts) != len(call.Body.Multipart) {
				t.Fatalf("%d parts, want %d", len(parts), len(call.Body.Multipart))
			}
			for i, want := range call.Body.Multipart {
				got := parts[i]
				if got.Name != want.Name || got.FileName != want.Filename || got.ContentType != want.ContentType {
					t.Errorf("part %d is %q %q %q, want %q %q %q", i, got.Name, got.FileName, got.ContentType, want.Name, want.Filename, want.ContentType)
				}
				if i > 0 && !bytes.Equal(got.Content, want.content()) {
					t.Errorf("part %d differs: %q", i, got.Content)
				}
			}
		})
	}
	if tested < 30 {
		t.Errorf("only %d recordings have an upload: were they moved?", tested)
	}
}

// migrationTag is the tag that the account answered with.
func (r recording) migrationTag() string {
	for _, call := range r.Calls {
		var body struct {
			Result struct {
				DefaultEnvironment struct {
					Script struct {
						MigrationTag string `json:"migration_tag"`
					}
				} `json:"default_environment"`
			}
		}
		if strings.Contains(call.Path, "/workers/services/") && json.Unmarshal(call.Response.Body, &body) == nil {
			if tag := body.Result.DefaultEnvironment.Script.MigrationTag; tag != "" {
				return tag
			}
		}
	}
	return ""
}

func recordedBinding(t *testing.T, call recordedCall, binding, member string) string {
	var metadata struct{ Bindings []map[string]any }
	if err := json.Unmarshal(call.Body.Multipart[0].JSON, &metadata); err != nil {
		t.Fatal(err)
	}
	for _, b := range metadata.Bindings {
		if b["name"] == binding {
			return b[member].(string)
		}
	}
	t.Fatalf("no binding %s was recorded", binding)
	return ""
}

// uploadParts is parseForm with file names as they travel: mime/multipart cuts off directories.
func uploadParts(t testing.TB, body []byte) []formPart {
	t.Helper()
	parts := parseForm(t, body)
	boundary, _, _ := bytes.Cut(body, []byte("\r\n"))
	for i, section := range bytes.Split(body, append(boundary, "\r\n"...))[1:] {
		disposition, _, _ := bytes.Cut(section, []byte("\r\n"))
		if _, params, err := mime.ParseMediaType(strings.TrimPrefix(string(disposition), "Content-Disposition: ")); err == nil {
			parts[i].FileName = params["filename"]
		}
	}
	return parts
}

// recordedBundle is the code as it was recorded; nil for a Worker of assets only.
func recordedBundle(call recordedCall) *wrangler.Bundle {
	var parts []formPart
	for _, p := range call.Body.Multipart {
		parts = append(parts, formPart{p.Name, p.Filename, p.ContentType, p.content()})
	}
	return bundleOf(parts)
}

// bundleOf is the code in the parts of a form with ES modules; nil when there is none.
func bundleOf(parts []formPart) *wrangler.Bundle {
	types := map[string]wrangler.ModuleType{}
	for _, m := range []wrangler.ModuleType{wrangler.ESModule, wrangler.CommonJS, wrangler.CompiledWasm, wrangler.DataModule, wrangler.TextModule} {
		types[m.ContentType()] = m
	}
	var b *wrangler.Bundle
	code := slices.IndexFunc(parts, func(p formPart) bool { return p.Name == "metadata" }) + 1
	for _, p := range parts[code:] {
		module := wrangler.Module{Name: p.Name, Type: types[p.ContentType], Content: p.Content}
		switch {
		case b == nil:
			b = &wrangler.Bundle{Main: module}
		case p.ContentType == "application/source-map":
			b.SourceMaps = append(b.SourceMaps, wrangler.SourceMap{Name: p.Name, Content: p.Content})
		default:
			b.Modules = append(b.Modules, module)
		}
	}
	if b != nil && b.Main.Type == wrangler.CommonJS {
		b.Format = wrangler.ServiceWorker
	}
	return b
}

// withoutPackages is metadata without package_dependencies, which we do not send unless asked to.
func withoutPackages(t *testing.T, metadata json.RawMessage) string {
	t.Helper()
	var compact bytes.Buffer
	if err := json.Compact(&compact, metadata); err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(compact.String(), `,"package_dependencies":`)
	if !found {
		return before
	}
	_, after, _ := strings.Cut(rest, "]")
	return before + after
}

// What the recorded deploys say about assets is what we make of the same directory.
func TestAssetRecordings(t *testing.T) {
	for name, r := range recordings(t, "deploy-assets-*.json") {
		t.Run(name, func(t *testing.T) {
			flags := r.flags()
			set, err := configOf(t, sampleDir(t), flags["c"], flags["env"]).ReadAssets(nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, call := range r.Calls {
				switch {
				case path.Base(call.Path) == "assets-upload-session":
					var want struct{ Manifest map[string]any }
					var got map[string]any
					if err := json.Unmarshal(call.Body.JSON, &want); err != nil {
						t.Fatal(err)
					}
					if err := json.Unmarshal(set.Manifest(), &got); err != nil {
						t.Fatal(err)
					}
					if g, w := mustJSON(t, got), mustJSON(t, want.Manifest); g != w {
						t.Errorf("manifest\n got %s\nwant %s", g, w)
					}
				case path.Base(call.Path) == "upload":
					var hashes []string
					for _, p := range call.Body.Multipart {
						hashes = append(hashes, p.Name)
					}
					bucket, err := set.Bucket(hashes)
					if err != nil {
						t.Fatal(err)
					}
					for i, got := range uploadParts(t, readUpload(t, bucket)) {
						want := call.Body.Multipart[i]
						if got.Name != want.Name || got.FileName != want.Filename || got.ContentType != want.ContentType || string(got.Content) != want.Text {
							t.Errorf("part %d is %+v, want %+v", i, got, want)
						}
					}
				case path.Base(path.Dir(call.Path)) == "upload":
					single, err := set.Single(path.Base(call.Path))
					if err != nil {
						t.Fatal(err)
					}
					if single.ContentType != call.Headers["content-type"] {
						t.Errorf("content type %q, want %q", single.ContentType, call.Headers["content-type"])
					}
					got := string(readUpload(t, single))
					if call.Body.JSON != nil {
						got, call.Body.Text = strings.TrimSpace(got), mustJSON(t, call.Body.JSON)
					}
					if got != call.Body.Text {
						t.Errorf("body %q, want %q", got, call.Body.Text)
					}
				}
			}
		})
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
