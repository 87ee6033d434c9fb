package deploy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
)

// verify compares what is live with the tree as it is, as the commit that the live version names.
func (s *stage) verify() (*deploy.Verified, error) {
	s.t.Helper()
	ctx := context.Background()
	e := s.engine()
	live, commit, err := e.Released(ctx, "helm-swicked")
	s.must(err)
	if commit == "" {
		s.t.Fatal("the live version names no commit")
	}
	shop, err := s.policy.Shop("swicked")
	s.must(err)
	src := deploy.Source{Policy: s.policy, Shop: shop, Commit: commit, Main: fmt.Sprintf("%040x", 0xa1), Dir: s.dir, ConfigName: "wrangler.jsonc", Config: s.config, Tool: "test"}
	return e.Verify(ctx, &deploy.Builder{}, src, live)
}

// differs requires that a verification finds these errors, as "rule: part of the message".
func (s *stage) differs(want ...string) *deploy.Verified {
	s.t.Helper()
	out, err := s.verify()
	if err != nil {
		s.t.Fatal(err)
	}
	var errs deploy.Findings
	for _, f := range out.Findings {
		if f.Level == deploy.LevelError {
			errs = append(errs, f)
		}
	}
	if len(errs) != len(want) {
		s.t.Fatalf("found\n%v\nwant %q", out.Findings, want)
	}
	for i, f := range errs {
		rule, message, _ := strings.Cut(want[i], ": ")
		if f.Rule != rule || !strings.Contains(f.Message, message) {
			s.t.Errorf("found %s; want %s", f, want[i])
		}
	}
	return out
}

// noted requires a notice among the findings.
func noted(t *testing.T, out *deploy.Verified, rule, part string) {
	t.Helper()
	for _, f := range out.Findings {
		if f.Rule == rule && f.Level == deploy.LevelNotice && strings.Contains(f.Message, part) {
			return
		}
	}
	t.Errorf("found %v; want %s: …%s", out.Findings, rule, part)
}

// forged is an upload as somebody outside would make it, from what is live.
type forged struct {
	Main, Body string
	Bindings   []any
	Date       string
	Flags      []string
	Modules    []cloudflare.ContentModule
	Message    string
	Tag        string
	Assets     bool
}

// forge uploads what is live with changes, and releases it under the live message.
func (s *stage) forge(edit func(*forged)) string {
	s.t.Helper()
	id := s.upload(edit)
	list, err := s.cf().Deployments(context.Background(), "helm-swicked")
	s.must(err)
	_, err = s.cf().CreateDeployment(context.Background(), "helm-swicked", cloudflare.Release{
		Versions: []cloudflare.Share{{VersionID: id, Percentage: 100}}, Message: list[0].Annotations["workers/message"],
	})
	s.must(err)
	return id
}

func (s *stage) upload(edit func(*forged)) string {
	s.t.Helper()
	ctx := context.Background()
	v, err := s.cf().Version(ctx, "helm-swicked", s.live())
	s.must(err)
	code, err := s.cf().WorkerContent(ctx, "helm-swicked")
	s.must(err)
	f := &forged{Main: code.Main, Date: v.CompatibilityDate, Flags: v.CompatibilityFlags, Modules: code.Modules, Assets: true,
		Message: v.Annotations["workers/message"], Tag: v.Annotations["workers/tag"]}
	for _, b := range v.Bindings {
		var members map[string]any
		s.must(json.Unmarshal(b.JSON, &members))
		switch b.Type {
		case "secret_text":
			members = map[string]any{"type": "inherit", "name": b.Name}
		case "assets":
			members = map[string]any{"type": "assets", "name": b.Name}
		}
		f.Bindings = append(f.Bindings, members)
	}
	edit(f)
	meta := map[string]any{
		"bindings": f.Bindings, "compatibility_date": f.Date, "compatibility_flags": f.Flags, "main_module": f.Main, "keep_assets": f.Assets,
		"annotations": map[string]any{"workers/message": f.Message, "workers/tag": f.Tag},
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	text, err := json.Marshal(meta)
	s.must(err)
	s.must(form.WriteField("metadata", string(text)))
	for _, m := range f.Modules {
		part, err := form.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {fmt.Sprintf("form-data; name=%q; filename=%[1]q", m.Name)}, "Content-Type": {m.ContentType},
		})
		s.must(err)
		_, err = part.Write(m.Body)
		s.must(err)
	}
	s.must(form.Close())
	made, err := s.cf().CreateVersion(ctx, "helm-swicked", form.FormDataContentType(), body.Bytes())
	s.must(err)
	return made.ID
}

func TestVerify(t *testing.T) {
	s := newStage(t)
	s.mustDeploy()
	s.ForgetRequests()
	out := s.differs()
	if out.Modules < 1 || out.Bytes < 10000 || out.Version != s.live() || !out.Same() {
		t.Errorf("verified %+v", out)
	}
	if w := writes(s.Requests()); len(w) > 0 {
		t.Errorf("wrote %v", w)
	}

	// The tree is another one than the release's: code, then assets alone.
	was := string(s.read("src/index.ts"))
	s.write("src/index.ts", "console.log('x');\n"+was)
	out = s.differs("module-differs: from byte", "content-differs: the release says content sf-")
	if out.Modules != 1 || out.Same() {
		t.Errorf("verified %+v", out)
	}
	s.write("src/index.ts", was)
	s.write("public/new.txt", "new")
	s.differs("content-differs: the release says content sf-")
	s.mustDeploy()
	s.differs()

	// A secret makes a version of its own, of the same code.
	req, err := s.Request(t.Context(), http.MethodPut, "/accounts/"+s.account.ID()+"/workers/scripts/helm-swicked/secrets", []byte(`{"name":"EXTRA","text":"hidden-value","type":"secret_text"}`))
	s.must(err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	s.must(err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("changing a secret: %d", resp.StatusCode)
	}
	s.differs()

	// What today's policy says against the commit is a note: the bytes are what they are.
	s.policy.Naming.R2 = "another-{slug}"
	out = s.differs()
	noted(t, out, "binding-not-owned", "a deploy would be refused today: R2 binding")
}

// A version under the live one's tag and message, with other bytes, types, modules or settings.
func TestVerifyForged(t *testing.T) {
	s := newStage(t)
	s.mustDeploy()
	s.write("public/new.txt", "new")
	s.mustDeploy() // a version, since the first upload is a PUT
	honest := s.live()
	for _, test := range []struct {
		name string
		edit func(*forged)
		want []string
	}{
		{"nothing", func(*forged) {}, nil},
		{"one byte", func(f *forged) {
			b := bytes.Clone(f.Modules[0].Body)
			i := bytes.Index(b, []byte("swicked"))
			if i < 0 {
				i = bytes.LastIndexByte(b, '\n')
			}
			f.Modules[0].Body = append(append(bytes.Clone(b[:i]), ' '), b[i:]...)
		}, []string{"module-differs: module "}},
		{"at the end", func(f *forged) { f.Modules[0].Body = append(bytes.Clone(f.Modules[0].Body), "\n// more"...) },
			[]string{"module-differs: the commit's is the end"}},
		{"a module more", func(f *forged) {
			f.Modules = append(f.Modules, cloudflare.ContentModule{Name: "evil.txt", ContentType: "text/plain", Body: []byte("evil")})
		}, []string{`module-extra: the live script has module "evil.txt" of 4 bytes`}},
		{"another entry point", func(f *forged) {
			f.Modules = append(f.Modules, cloudflare.ContentModule{Name: "evil.js", ContentType: "application/javascript+module", Body: []byte("export default {fetch(){return new Response('evil')}}")})
			f.Main = "evil.js"
		}, []string{`module-differs: the live script begins in "evil.js"`, `module-extra: the live script has module "evil.js"`}},
		{"another compatibility date", func(f *forged) { f.Date = "2025-01-01" }, []string{`compatibility-differs: date "2025-01-01"`}},
		{"a binding more", func(f *forged) {
			f.Bindings = append(f.Bindings, map[string]any{"type": "plain_text", "name": "ADMIN", "text": "yes"})
		}, []string{`binding-differs: a binding ADMIN that the config does not have: plain_text of sha256 8a798890fe93`}},
		{"a binding less", func(f *forged) {
			for i, b := range f.Bindings {
				if b.(map[string]any)["type"] == "r2_bucket" {
					f.Bindings = append(f.Bindings[:i:i], f.Bindings[i+1:]...)
					return
				}
			}
		}, []string{"binding-differs: the live version has no binding "}},
		{"another shop's namespace", func(f *forged) {
			for _, b := range f.Bindings {
				if m := b.(map[string]any); m["type"] == "kv_namespace" {
					m["namespace_id"] = "ffffffffffffffffffffffffffffffff"
				}
			}
		}, []string{"binding-differs: of the live version is kv_namespace ffffffffffffffffffffffffffffffff"}},
		{"another tag", func(f *forged) { f.Tag = "sf-" + strings.Repeat("a", 32) }, []string{"content-differs: itself is tagged \"sf-aaaa"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.t = t
			if test.name == "another shop's namespace" {
				s.must(s.account.AddKV("helm-other-kv", "ffffffffffffffffffffffffffffffff"))
			}
			s.forge(test.edit)
			s.differs(test.want...)
			list, err := s.cf().Deployments(t.Context(), "helm-swicked")
			s.must(err)
			_, err = s.cf().CreateDeployment(t.Context(), "helm-swicked", cloudflare.Release{
				Versions: []cloudflare.Share{{VersionID: honest, Percentage: 100}}, Message: list[0].Annotations["workers/message"],
			})
			s.must(err)
		})
	}

	// The newest version is not live: its code is what Cloudflare hands out, and nothing is proved by it.
	s.t = t
	s.upload(func(f *forged) { f.Modules[0].Body = append(bytes.Clone(f.Modules[0].Body), '\n') })
	_, err := s.verify()
	var other *deploy.NotLiveCodeError
	if !errors.As(err, &other) || other.Live != honest || other.Hint() == "" {
		t.Fatalf("got %v", err)
	}
	// Where it is the same code it is as good.
	s.upload(func(*forged) {})
	s.differs()
	// A rollback in the dashboard leaves the version's own message.
	_, err = s.cf().CreateDeployment(t.Context(), "helm-swicked", cloudflare.Release{Versions: []cloudflare.Share{{VersionID: honest, Percentage: 100}}, Message: "rolled back"})
	s.must(err)
	s.differs()
}

// Modules of all kinds, and what has none.
func TestVerifyModules(t *testing.T) {
	s := newStage(t)
	s.replaceConfig(`"rules": [`, `"rules": [{"type": "Data", "globs": ["**/*.bin"]}, `)
	s.write("src/note.txt", "a note\n")
	s.write("src/blob.bin", "\x00\xff\x01")
	s.write("src/add.wasm", "\x00asm\x01\x00\x00\x00")
	s.write("src/index.ts", "import note from './note.txt'\nimport blob from './blob.bin'\nimport add from './add.wasm'\nimport info from '../public/build_info.json'\n"+
		"console.log(note, blob, add, info.commit)\n"+string(s.read("src/index.ts")))
	s.mustDeploy()
	// The code holds build_info.json, which says when and by whom it was built: another one than a build of now.
	out := s.differs()
	if out.Modules < 4 {
		t.Errorf("verified %+v", out)
	}
	s.write("public/new.txt", "new")
	s.mustDeploy()
	s.forge(func(f *forged) {
		for i, m := range f.Modules {
			switch {
			case strings.HasSuffix(m.Name, ".bin"):
				f.Modules[i].Body = []byte("\x00\xff\x02")
			case strings.HasSuffix(m.Name, ".txt"):
				f.Modules[i].ContentType = "application/octet-stream"
			}
		}
	})
	s.differs("module-differs: is of type application/octet-stream", `module-differs: from byte 2 on live is "\x02", the commit's is "\x01" (3 and 3 bytes)`)
}

func TestVerifyServiceWorker(t *testing.T) {
	s := newStage(t)
	s.replaceConfig(`"compatibility_flags": ["nodejs_compat"],`, "")
	s.write("src/note.txt", "a note\n")
	s.write("src/index.ts", "import note from './note.txt'\naddEventListener('fetch', (e: any) => e.respondWith(new Response(note)))\n")
	s.mustDeploy()
	out := s.differs()
	if noted(t, out, "module-unseen", "note_txt could not be compared"); out.Modules != 1 {
		t.Errorf("verified %+v", out)
	}
	s.write("src/index.ts", "import note from './note.txt'\naddEventListener('fetch', (e: any) => e.respondWith(new Response(note + 1)))\n")
	s.differs("module-differs: from byte", "content-differs: ")
}

// What answers at the hostname says that it is another release.
func TestVerifyBuildInfo(t *testing.T) {
	s := newStage(t)
	s.mustDeploy()
	s.policy.BuildInfo.URL = "/helm.css"
	s.differs("build-info-differs: is not a build_info.json as shopfleet makes it")
	s.policy.BuildInfo.URL = "/none"
	out := s.differs()
	noted(t, out, "build-info-unread", "it answered 503, not 200")
}
