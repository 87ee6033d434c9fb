package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// Source is a commit of a shop's branch, on disk and ready to be built.
type Source struct {
	Policy *fleet.Policy
	Shop   fleet.Shop
	// Commit is the shop's commit, Main the newest commit of main that it sits on.
	Commit, Main string
	// Dir holds the commit's tree, without ConfigName where Tree is shared. It is
	// not written to; a build.command gets a copy beside it, which stays there.
	Dir string
	// Tree identifies the contents of Dir. Shops with equal Tree and equal build
	// settings get one bundle. "" builds for this shop alone.
	Tree string
	// ConfigName is the config's path in the tree, Config its bytes.
	ConfigName string
	Config     []byte
	// Base is what main has, and where the commit is different.
	Base Base
	// Rivals are all shops' branches, to see what two of them claim; nil is none.
	Rivals *Rivals
	// Environ is where build.command's environment is picked from; credentials never pass.
	Environ []string
	// NoBuildCommand is why no build.command may run; "" lets it run.
	NoBuildCommand string

	// Secrets are values to upload with the version, by name.
	Secrets map[string]wrangler.Secret
	// Fingerprints tell, by name, whether a value is another one than that of the live release; keyed, since they are
	// written where more people read than may know the values. nil is none: then a secret that the Worker has counts as equal.
	Fingerprints map[string]string
	// RemoveSecrets takes secrets away from the Worker that are not in Secrets and not required.
	RemoveSecrets bool
	// Found is what was found about the commit before, for the plan.
	Found Findings
	// Redeploy uploads and releases although nothing changed.
	Redeploy bool
	// OverwriteOutside replaces a live version that shopfleet did not make.
	OverwriteOutside bool
	// Moved says that it is meant to be live in another account than before, or for the first time again.
	Moved bool
	// AllowDestructive lets migrations lose data that do not say why they may.
	AllowDestructive bool

	// What build_info.json says of the deploy itself.
	BuiltAt time.Time
	Run     *Run
	Actor   string
	Tool    string

	// buildInfo is taken for build_info.json where a release is compared with what it was made of.
	buildInfo []byte
}

// Desired is what a shop should be: everything that a plan and its application
// need to know of the commit. It is not changed after Prepare.
type Desired struct {
	Shop         fleet.Shop
	Commit, Main string
	Config       *wrangler.Config
	Bundle       *wrangler.Bundle   // nil for a Worker of assets only
	Assets       *wrangler.AssetSet // nil without assets; holds build_info.json when it is one
	BuildInfo    []byte             // the bytes that the gate wants to read; nil when the policy names no file
	BuildInfoURL string
	Gate         fleet.Gate
	Identity     fleet.Identity
	Mark         string
	// Database is the config's entry for the shop's own D1; zero without one.
	Database         wrangler.D1Database
	Migrations       []wrangler.Migration
	DenyColumns      []string // that no table may have
	RequiredSecrets  []string
	Secrets          map[string]wrangler.Secret
	Fingerprints     map[string]string
	RemoveSecrets    bool
	Actor            string // who asks for the deploy, for the journal
	Run              *Run   // which run of a workflow it is, for the journal
	Findings         Findings
	Redeploy         bool
	OverwriteOutside bool
	AllowDestructive bool
	Moved            bool
	Tool             string // the version of shopfleet, for the journal

	policy    *fleet.Policy
	contested []contest // what other branches claim too, and nothing offline says whose it is
	// bundle and assets are digests of what is released, without build_info.json.
	bundle, assets string
}

// Builder prepares shops. It builds a bundle once for all shops that share
// it; its zero value is ready, and it is safe for concurrent use.
type Builder struct {
	bundles shared[*wrangler.Bundle]
}

// Prepare resolves, admits and bundles a shop's commit. Mistakes in the commit
// come back as Findings, all that can be known without asking anybody at once;
// any other error is the machine's.
func (b *Builder) Prepare(ctx context.Context, src Source) (*Desired, error) {
	config, err := resolve(src)
	if err != nil {
		return nil, err
	}
	if config, err = src.private(config); err != nil {
		return nil, err
	}
	want := &Desired{
		Shop: src.Shop, Commit: src.Commit, Main: src.Main, Config: config,
		BuildInfoURL: src.Policy.BuildInfo.URL, Gate: src.Policy.Gate, Identity: src.Policy.Identity,
		Actor: src.Actor, Run: src.Run,
		Tool: src.Tool, Secrets: src.Secrets, Fingerprints: src.Fingerprints, RemoveSecrets: src.RemoveSecrets, Redeploy: src.Redeploy, OverwriteOutside: src.OverwriteOutside,
		AllowDestructive: src.AllowDestructive, Moved: src.Moved, DenyColumns: src.Policy.Migrations.DenyColumns,
		policy: src.Policy,
	}
	want.Findings = append(want.Findings, src.Found...)
	want.warn(config.Warnings)
	want.RequiredSecrets = union(src.Policy.Secrets.Required, config.RequiredSecrets)
	want.Findings = append(want.Findings, admitOffline(want, src)...)
	want.Findings = append(want.Findings, admitBuildCommand(config, src.NoBuildCommand)...)
	if err := want.collect(want.readMigrations()); err != nil {
		return nil, err
	}
	if want.Findings.Blocking() {
		return nil, want.Findings.sorted() // what would be built is not what should be
	}
	if err := b.build(ctx, src, want); err != nil {
		return nil, err
	}
	// Last: what is wrong with the commit itself is said before other branches are read.
	if want.admitClaims(src.Rivals); want.Findings.Blocking() {
		return nil, want.Findings.sorted()
	}
	return want, nil
}

// private gives a build.command a copy of the tree: it writes where it wants, and the directory may be other shops' too.
func (src *Source) private(config *wrangler.Config) (*wrangler.Config, error) {
	if config.Build.Command == "" || src.NoBuildCommand != "" {
		return config, nil
	}
	private, err := os.MkdirTemp(filepath.Dir(src.Dir), "build-")
	if err != nil {
		return nil, fmt.Errorf("making room for build.command: %w", err)
	}
	if err := os.CopyFS(private, os.DirFS(src.Dir)); err != nil {
		return nil, fmt.Errorf("copying the tree for build.command: %w", err)
	}
	src.Dir = private
	return resolve(*src)
}

// collect keeps the findings among errors and returns the others.
func (want *Desired) collect(err error) error {
	var findings Findings
	if err = asFindings(err); errors.As(err, &findings) {
		want.Findings = append(want.Findings, findings...)
		return nil
	}
	return err
}

// build bundles what was admitted, reads its assets, and makes its mark and its build_info.json.
func (b *Builder) build(ctx context.Context, src Source, want *Desired) (err error) {
	config := want.Config
	// The mark covers content without build_info.json, so it is known before the
	// file is, and the file can carry it.
	replace := map[string][]byte{}
	var infoPath string
	if src.Policy.BuildInfo.Path != "" {
		infoPath = filepath.Join(src.Dir, filepath.FromSlash(src.Policy.BuildInfo.Path))
		replace[infoPath] = []byte("{}\n")
	} else {
		want.BuildInfoURL = ""
	}
	check := func() error {
		warnings, err := config.Check()
		want.warn(warnings)
		return err
	}
	bundle := func() error {
		if config.Main == "" && config.Build.Command == "" {
			return nil
		}
		bundle, err := b.bundle(ctx, src, config, replace)
		if bundle != nil && config.Main != "" {
			want.Bundle = bundle
			want.warn(bundle.Warnings)
		}
		return err
	}
	assets := func() (err error) {
		if want.Assets, err = config.ReadAssets(replace); want.Assets != nil {
			want.warn(want.Assets.Warnings)
		}
		return err
	}
	stages := []func() error{check, bundle, assets}
	if config.Build.Command != "" {
		stages = []func() error{bundle, check, assets} // it may make what Check looks for
	}
	for _, stage := range stages {
		if err := want.collect(stage()); err != nil {
			return err
		}
		if want.Findings.Blocking() {
			return want.Findings.sorted()
		}
	}
	if want.Mark, err = want.mark(infoPath); err != nil {
		return err
	}
	if infoPath != "" {
		if err := want.setBuildInfo(ctx, src, config, infoPath); err != nil {
			return err
		}
	}
	return nil
}

// admitBuildCommand refuses a build.command where the caller has a reason against it. What it runs is anybody's who may
// push, and a child of the process that holds the credentials.
func admitBuildCommand(config *wrangler.Config, reason string) Findings {
	if config.Build.Command == "" || reason == "" {
		return nil
	}
	return Findings{Finding(config.At(wrangler.Finding{
		Rule: "build-command-refused", Level: LevelError, Message: "build.command is not run here: " + reason,
		Expected: "no build.command",
		Hint:     "what the action deploys are the bytes of the commit: commit what the build makes and remove build.command, or deploy from a machine that builds",
	}, "build", "command"))}
}

// resolve reads the config of a shop's commit, as far as it is the shop's. The error is Findings.
func resolve(src Source) (*wrangler.Config, error) {
	project, err := wrangler.Parse(src.Dir, src.ConfigName, src.Config)
	if err != nil {
		return nil, asFindings(err)
	}
	if !slices.Contains(project.Envs(), src.Shop.Slug) {
		return nil, Findings{{
			Rule: "overlay-missing", Level: LevelError, File: src.ConfigName,
			Message:  fmt.Sprintf("branch %s has no overlay: %s defines no env.%s", src.Shop.Branch, src.ConfigName, src.Shop.Slug),
			Expected: "env." + src.Shop.Slug + known(project.Envs()),
			Hint:     "add env." + src.Shop.Slug + " with the shop's name, bindings and routes",
		}}
	}
	config, err := project.Resolve(src.Shop.Slug)
	if err != nil {
		return nil, asFindings(err)
	}
	return config, nil
}

// warn keeps what the packages below found and went on after.
func (want *Desired) warn(list []wrangler.Finding) {
	for _, f := range list {
		want.Findings = append(want.Findings, Finding(f))
	}
}

// setBuildInfo makes build_info.json and puts it where the release carries it:
// among the assets, or in the bundle that imports it.
func (want *Desired) setBuildInfo(ctx context.Context, src Source, config *wrangler.Config, path string) error {
	info := BuildInfo{
		Shop: src.Shop.Slug, Branch: src.Shop.Branch, Commit: src.Commit, MainCommit: src.Main,
		Content: want.Mark, BuiltAt: src.BuiltAt, Run: src.Run, Actor: src.Actor, Tool: src.Tool,
	}
	content := info.Bytes()
	if src.buildInfo != nil {
		content = src.buildInfo
	}
	replace := map[string][]byte{path: content}
	carried := false
	var err error
	if want.Bundle != nil && slices.ContainsFunc(want.Bundle.Inputs, func(i wrangler.Input) bool { return i.Replaced }) {
		if want.Bundle, err = config.Bundle(ctx, wrangler.BundleOptions{Replace: replace, Environ: src.Environ}); err != nil {
			return asFindings(err)
		}
		carried = true
	}
	if want.Assets != nil && want.Assets.Has(path) {
		if want.Assets, err = config.ReadAssets(replace); err != nil {
			return asFindings(err)
		}
		carried = true
	}
	if !carried {
		want.Findings = append(want.Findings, Finding{
			Rule: "build-info-unreachable", Level: LevelWarning, File: src.Policy.BuildInfo.Path,
			Message:  "build_info.json is neither a static asset nor imported by the code, so no release can show it",
			Expected: "a path in the assets directory, or one that the code imports",
			Hint:     "correct build_info.path in fleet.yml",
		})
		want.BuildInfoURL = ""
		return nil
	}
	want.BuildInfo = content
	return nil
}

// bundle builds once per tree and build settings.
func (b *Builder) bundle(ctx context.Context, src Source, config *wrangler.Config, replace map[string][]byte) (*wrangler.Bundle, error) {
	options := wrangler.BundleOptions{Replace: replace, Environ: src.Environ}
	if src.Tree == "" || config.Build.Command != "" {
		return config.Bundle(ctx, options)
	}
	return b.bundles.do(ctx, src.Tree+"\x00"+config.BuildKey(), func() (*wrangler.Bundle, error) { return config.Bundle(ctx, options) })
}

// mark is the digest of everything that a release consists of, without
// build_info.json and without secret values.
func (want *Desired) mark(infoPath string) (string, error) {
	form, err := wrangler.NewForm(want.Config, want.Bundle, wrangler.Upload{DryRun: true})
	if err != nil {
		return "", asFindings(err)
	}
	want.warn(form.Warnings)
	if form.APIDate != "" {
		return "", Findings{{Rule: "unsupported", Level: LevelError, File: want.Config.File,
			Message: "workflows declared in exports need an upload that shopfleet does not make", Hint: "declare them under workflows"}}
	}
	// What a deploy sets beside the form, and the form of a dry run leaves out.
	beside, err := json.Marshal(struct {
		WorkersDev bool
		Previews   *bool
		Objects    []wrangler.DOMigration
	}{want.Config.WorkersDev, want.Config.PreviewURLs, want.Config.DOMigrations})
	if err != nil {
		return "", fmt.Errorf("encoding what is set beside the upload: %w", err)
	}
	if want.Bundle != nil {
		want.bundle = want.Bundle.Digest()
	}
	if want.Assets != nil {
		want.assets = want.Assets.Digest(infoPath)
	}
	return markOf(form.Metadata, beside, []byte(want.bundle), []byte(want.assets)), nil
}

// readMigrations finds the shop's own database and the files that belong to it.
func (want *Desired) readMigrations() error {
	for _, db := range want.Config.D1 {
		if db.DatabaseName != want.Shop.D1 {
			continue // admission has refused it already
		}
		files, err := want.Config.Migrations(db)
		if err != nil {
			return err
		}
		want.Database, want.Migrations = db, files
		return nil
	}
	return nil
}

// customDomains are the hostnames that the config attaches to the Worker.
func (want *Desired) customDomains() []string {
	var out []string
	for _, r := range want.Config.Routes {
		if r.CustomDomain {
			out = append(out, routeHost(r))
		}
	}
	return out
}

// zoneRoutes are the config's routes that are no custom domains.
func (want *Desired) zoneRoutes() []wrangler.Route {
	var out []wrangler.Route
	for _, r := range want.Config.Routes {
		if !r.CustomDomain {
			out = append(out, r)
		}
	}
	return out
}

// zoneOf is the zone of the account that a route lies in; "" when there is none.
func (want *Desired) zoneOf(r wrangler.Route) string {
	var longest string
	for _, zone := range want.Shop.Account.Zones() {
		if underZone(routeHost(r), zone) && len(zone) > len(longest) {
			longest = zone
		}
	}
	return longest
}

// origins are the custom domains as Cloudflare wants to hear them: the ones
// that stay and the ones that are new, since the call names all of them.
func (want *Desired) origins() []cloudflare.Origin {
	var out []cloudflare.Origin
	for _, r := range want.Config.Routes {
		if r.CustomDomain {
			out = append(out, cloudflare.Origin{Hostname: routeHost(r), ZoneID: r.ZoneID, ZoneName: r.ZoneName, Enabled: r.Enabled, PreviewsEnabled: r.PreviewsEnabled})
		}
	}
	return out
}

// locate gives a finding its place in wrangler.jsonc: that of path, or of the
// nearest key above it that the file has.
func (want *Desired) locate(f *Finding, path ...any) {
	*f = Finding(want.Config.At(wrangler.Finding(*f), path...))
}

// asFindings turns the findings of the packages below into ours and leaves
// every other error as it is.
func asFindings(err error) error {
	var w wrangler.Findings
	if errors.As(err, &w) {
		out := make(Findings, len(w))
		for i, f := range w {
			out[i] = Finding(f)
		}
		return out
	}
	var p fleet.Findings
	if errors.As(err, &p) {
		out := make(Findings, len(p))
		for i, f := range p {
			out[i] = Finding(f)
		}
		return out
	}
	return err
}

func known(envs []string) string {
	if len(envs) == 0 {
		return ""
	}
	sorted := append([]string(nil), envs...)
	sort.Strings(sorted)
	return " (the file has " + strings.Join(sorted, ", ") + ")"
}

func union(a, b []string) []string {
	var out []string
	for _, s := range append(append([]string(nil), a...), b...) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
