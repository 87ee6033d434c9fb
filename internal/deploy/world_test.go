package deploy_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/simtest"
	"github.com/kvick/shopfleet/internal/wrangler"
)

const (
	helm        = "../../testdata/helm"
	overlays    = "../../testdata/helm.overlays"
	swickedDB   = "134ea8a4-8582-4fdc-84ec-f0eb8f4e4b60"
	swickedKV   = "a1f0c3d2e4b5968778695a4b3c2d1e0f"
	swickedHost = "helm-swicked.kvick.bike"
)

// stage is a shop of testdata/helm and the simulated account it is deployed to.
type stage struct {
	*simtest.World
	t       testing.TB
	account *sim.Account
	policy  *fleet.Policy
	dir     string // the tree; tests edit it
	config  []byte // wrangler.jsonc of the branch; tests edit it
	base    []byte // wrangler.jsonc of main below it
	commit  int
	secrets map[string]wrangler.Secret
	// passed is how much more time than the system's clock says has gone by for the engine.
	passed time.Duration
	// edit changes the source before it is prepared.
	edit func(*deploy.Source)
}

func newStage(t testing.TB) *stage {
	t.Helper()
	return newStageIn(t, sim.Options{KeepBodies: true})
}

func newStageIn(t testing.TB, o sim.Options) *stage {
	t.Helper()
	s := &stage{t: t, World: simtest.New(t, o), dir: t.TempDir()}
	if err := os.CopyFS(s.dir, os.DirFS(helm)); err != nil {
		t.Fatal(err)
	}
	overlay := os.DirFS(filepath.Join(overlays, "swicked"))
	err := fs.WalkDir(overlay, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(overlay, name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(s.dir, name), content, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	s.config = s.read("wrangler.jsonc")
	if s.base, err = os.ReadFile(filepath.Join(helm, "wrangler.jsonc")); err != nil {
		t.Fatal(err)
	}
	s.policy, err = fleet.Parse("fleet.yml", s.read("fleet.yml"))
	if err != nil {
		t.Fatal(err)
	}
	s.policy.Gate.Timeout, s.policy.Gate.Interval = time.Second, time.Millisecond
	s.policy.Identity.Path, s.policy.Gate.Protected = "", nil // no code runs here that could answer
	s.account = s.Account(t, s.policy.Accounts[0].ID, "kvick-1")
	s.must(s.account.AddZone("kvick.bike", ""))
	s.must(s.account.AddD1("kvick-helm-swicked", swickedDB, "wnam"))
	s.must(s.account.AddKV("helm-swicked-kv", swickedKV))
	s.must(s.account.AddR2("helm-swicked-assets"))
	s.secrets = map[string]wrangler.Secret{}
	for _, name := range s.policy.Secrets.Required {
		s.secrets[name] = wrangler.Secret("value-of-" + name)
	}
	return s
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) read(name string) []byte {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	s.must(err)
	return b
}

func (s *stage) write(name, content string) {
	s.t.Helper()
	s.must(os.MkdirAll(filepath.Dir(filepath.Join(s.dir, name)), 0o755))
	s.must(os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o644))
}

// replaceConfig edits the branch's wrangler.jsonc, and main's where it has the same text: what is main's is changed there.
func (s *stage) replaceConfig(old, new string) {
	s.t.Helper()
	if !strings.Contains(string(s.config), old) {
		s.t.Fatalf("wrangler.jsonc has no %q", old)
	}
	s.config = []byte(strings.ReplaceAll(string(s.config), old, new))
	s.base = []byte(strings.ReplaceAll(string(s.base), old, new))
}

// prepare makes a new commit of what the tree holds and prepares it.
func (s *stage) prepare(ctx context.Context) (*deploy.Desired, error) {
	s.t.Helper()
	s.commit++
	shop, err := s.policy.Shop("swicked")
	s.must(err)
	src := deploy.Source{
		Policy: s.policy, Shop: shop,
		Commit: fmt.Sprintf("%040x", s.commit), Main: fmt.Sprintf("%040x", 0xa1),
		Dir: s.dir, ConfigName: "wrangler.jsonc", Config: s.config, Secrets: s.secrets,
		Base:    deploy.Base{Config: s.base},
		BuiltAt: time.Date(2026, 11, 23, 9, 0, s.commit, 0, time.UTC), Tool: "test",
	}
	if s.edit != nil {
		s.edit(&src)
	}
	var b deploy.Builder
	return b.Prepare(ctx, src)
}

func (s *stage) engine() *deploy.Engine {
	return &deploy.Engine{
		CF: &cloudflare.Client{
			BaseURL: s.URL, AccountID: s.account.ID(), Token: simtest.Token,
			Transport: cloudflare.LoopbackOnly(http.DefaultTransport),
			Sleep:     func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		},
		Gate: &deploy.Gate{EdgeURL: s.Edge, Transport: cloudflare.LoopbackOnly(http.DefaultTransport)},
		Now:  func() time.Time { return time.Now().Add(s.passed) },
	}
}

// plan prepares, observes and plans.
func (s *stage) plan(ctx context.Context) (*deploy.Engine, *deploy.Desired, *deploy.State, *deploy.Plan, error) {
	want, err := s.prepare(ctx)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	e := s.engine()
	have, err := e.Observe(ctx, want)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	return e, want, have, deploy.Diff(want, have), nil
}

// deploy does everything that `shopfleet deploy` does.
func (s *stage) deploy() (*deploy.Outcome, error) {
	s.t.Helper()
	ctx := context.Background()
	e, want, have, plan, err := s.plan(ctx)
	if err != nil {
		return nil, err
	}
	return e.Apply(ctx, want, have, plan, nil)
}

func (s *stage) mustDeploy() *deploy.Outcome {
	s.t.Helper()
	out, err := s.deploy()
	if err != nil {
		s.t.Fatalf("deploy: %v", err)
	}
	return out
}

// cf is a client for looking at the account.
func (s *stage) cf() *cloudflare.Client {
	return &cloudflare.Client{BaseURL: s.URL, AccountID: s.account.ID(), Token: simtest.Token}
}

// get asks the shop's hostname.
func (s *stage) get(path string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.Edge+path, nil)
	s.must(err)
	req.Host = swickedHost
	resp, err := http.DefaultTransport.RoundTrip(req)
	s.must(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	s.must(err)
	return resp.StatusCode, string(body)
}

// writes are the requests that may have changed something, as "METHOD path".
func writes(list []sim.Request) []string {
	var out []string
	for _, r := range list {
		if r.Write {
			out = append(out, r.Op)
		}
	}
	return out
}

// snapshot is everything about the shop that a deploy decides, without ids
// and times: two deploys of one commit must leave equal snapshots.
func (s *stage) snapshot() string {
	s.t.Helper()
	ctx := context.Background()
	cf := s.cf()
	var b strings.Builder
	deployments, err := cf.Deployments(ctx, "helm-swicked")
	s.must(err)
	v, err := cf.Version(ctx, "helm-swicked", deployments[0].Versions[0].VersionID)
	s.must(err)
	fmt.Fprintf(&b, "live %s, shares %d\n", v.Annotations["workers/tag"], len(deployments[0].Versions))
	for _, x := range v.Bindings {
		fmt.Fprintf(&b, "binding %s %s\n", x.Type, x.Name)
	}
	crons, err := cf.Schedules(ctx, "helm-swicked")
	s.must(err)
	fmt.Fprintf(&b, "crons %q\n", crons)
	sub, err := cf.Subdomain(ctx, "helm-swicked")
	s.must(err)
	fmt.Fprintf(&b, "workers.dev %+v\n", sub)
	domains, err := cf.Domains(ctx, cloudflare.DomainFilter{})
	s.must(err)
	for _, d := range domains {
		fmt.Fprintf(&b, "domain %s %s\n", d.Hostname, d.Service)
	}
	rows, err := cf.D1Read(ctx, swickedDB, "SELECT name FROM d1_migrations ORDER BY id")
	s.must(err)
	fmt.Fprintf(&b, "ledger %s\n", rows.Rows)
	rows, err = cf.D1Read(ctx, swickedDB, "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
	s.must(err)
	fmt.Fprintf(&b, "schema %s\n", rows.Rows)
	workers, err := cf.Workers(ctx)
	s.must(err)
	for _, w := range workers {
		fmt.Fprintf(&b, "worker %s tags %q observability %s\n", w.Name, w.Tags, w.Observability)
	}
	return b.String()
}

// hold makes a Worker with minimal code and gives it a hostname, the way
// somebody outside shopfleet would: through the API.
func hold(t testing.TB, s *stage, worker, hostname string) {
	t.Helper()
	ctx := context.Background()
	body := "--x\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n" +
		`{"main_module":"index.js","bindings":[],"compatibility_date":"2026-06-01","compatibility_flags":[]}` +
		"\r\n--x\r\nContent-Disposition: form-data; name=\"index.js\"; filename=\"index.js\"\r\nContent-Type: application/javascript+module\r\n\r\n" +
		"export default { fetch() { return new Response('other') } }\r\n--x--\r\n"
	if _, err := s.cf().PutWorker(ctx, worker, "multipart/form-data; boundary=x", []byte(body)); err != nil {
		t.Fatal(err)
	}
	if hostname == "" {
		return
	}
	if err := s.cf().PutDomains(ctx, worker, []cloudflare.Origin{{Hostname: hostname}}); err != nil {
		t.Fatal(err)
	}
}
