package wrangler

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/evanw/esbuild/pkg/api"
)

// BundleOptions is what a bundle depends on beside the project's directory and its configuration. The zero
// value is a production build of what is on disk.
//
// Nothing else is read: the environment variables with which wrangler lets one bend a build
// (WRANGLER_BUILD_CONDITIONS, WRANGLER_BUILD_PLATFORM, NODE_ENV) have no effect here, because what a commit is
// built into must not depend on the machine that builds it.
type BundleOptions struct {
	// Replace maps absolute paths to the content to take for them, whether or not there is such a file.
	// Replaced files leave no trace in Bundle.Digest.
	Replace map[string][]byte
	// Root is the directory that everything bundled has to be in; "" means the project's. Set it to the root of
	// a repository whose packages share a node_modules.
	Root string
	// NodeEnv is what process.env.NODE_ENV becomes; "" means production.
	NodeEnv string
	// Environ is where build.command's environment is picked from ("NAME=value", as os.Environ gives it).
	// Only variables that say where programs are and how text is written pass: PATH, LANG, LC_…, TZ, TMPDIR.
	// Credentials never do.
	Environ []string
}

// Format is how a Worker's code is written.
type Format int

const (
	Modules       Format = iota // an ES module with exports
	ServiceWorker               // a script that calls addEventListener
)

// String is wrangler's name of the format.
func (f Format) String() string {
	if f == ServiceWorker {
		return "service-worker"
	}
	return "modules"
}

// Bundle is a Worker's code, ready to be uploaded. Read it, do not change it; it is then safe for concurrent
// use.
type Bundle struct {
	Format Format
	// Main is the entry point: of type ESModule, or CommonJS when it exports nothing. Its Name is "" for a
	// Worker that has no code but only assets.
	Main Module
	// Modules are the others: first those found beside the entry point, then those that imports asked for,
	// in the order in which a reader who follows the imports breadth first meets them. In service-worker
	// format they are uploaded under Module.Identifier.
	Modules []Module
	// SourceMaps are named after the module they belong to, with ".map" behind it.
	SourceMaps []SourceMap
	// Inputs are the files that code came from, sorted by path. Files that only steer the build, such as
	// package.json and tsconfig.json, are not among them.
	Inputs []Input
	// Warnings is what wrangler would print and go on, sorted.
	Warnings []Finding

	digest string
}

// SourceMap is the source map of one module.
type SourceMap struct {
	Name    string
	Content []byte
}

// Input is a file that was read for its content.
type Input struct {
	Path     string // relative to the project, slash separated
	SHA256   string // hex, of the content that was used
	Replaced bool   // the content came from BundleOptions.Replace
}

// Digest is the hex SHA-256 over what was built from and what came out of it, save for replaced files: the
// same tree has the same digest wherever it stands, and a tree whose code differs has another one. Where code
// imports a replaced file the digest covers the code around it.
func (b *Bundle) Digest() string { return b.digest }

// Bundle runs build.command, if there is one, and bundles the Worker with esbuild, as "wrangler deploy" does:
// the bytes of every module and source map are wrangler's.
//
// Bundle itself writes nothing. A build.command writes where it wants, so hand in a project whose directory is
// nobody else's when Config.Build has one. It also has to run before ReadAssets, whose files it may make.
//
// What is bundled comes from below BundleOptions.Root: a file that is reached by ../, by an absolute path or
// through a link and lies elsewhere is refused. wrangler would take it, and with it whatever the machine that
// deploys has to hide. So is a tsconfig.json that lies elsewhere, above the project too, or extends a file that
// does. esbuild also looks for node_modules and package.json above the project; they steer the build and are
// not quoted, but give a project that is checked out for a build no such company.
//
// Mistakes in the user's files come back as Findings: syntax errors, imports that nothing resolves, a missing
// entry point, Durable Object and Workflow classes that are not exported, a build.command that fails. Their
// hints carry esbuild's notes and the end of what build.command printed, so that a Hint can have several
// lines. Types are not checked; neither does wrangler. A cancelled ctx stops esbuild and kills build.command
// with everything it started; the error is then ctx's.
//
// Node.js compatibility is wrangler's for every compatibility date and flag. What the runtime lacks at a date
// comes from unenv and from Cloudflare's preset for it, which are installed with wrangler: they are looked for
// beside the project's wrangler, or in the project when it has none. Nothing of them is in shopfleet, so that
// a project that needs a file of theirs and has none gets a finding. From compatibility date 2026-03-17 on only
// a few npm packages that unenv replaces (node-fetch, cross-fetch, inherits, …) are left to need one.
//
// Bundle differs from wrangler where wrangler's result depends on chance or on the machine: modules have a
// fixed order, temporary directories do not show in source maps, and environment variables are not read (see
// BundleOptions). Python Workers are refused.
//
// Bundle may be called concurrently.
func (c *Config) Bundle(ctx context.Context, o BundleOptions) (*Bundle, error) {
	if err := c.runBuildCommand(ctx, o); err != nil {
		return nil, err
	}
	if c.Main == "" && c.Assets != nil {
		return &Bundle{digest: digestOf("assets only")}, nil
	}
	b, err := newBundler(ctx, c, o)
	if err != nil {
		return nil, err
	}
	out, err := b.run()
	if ctxErr := ctx.Err(); ctxErr != nil {
		return nil, fmt.Errorf("bundling %s: %w", c.File, ctxErr)
	}
	if err != nil {
		return nil, err
	}
	findings := b.findings.sorted()
	if len(findings.errors()) > 0 {
		return nil, findings
	}
	out.Warnings = findings
	return out, nil
}

// bundler is one run of Bundle.
type bundler struct {
	ctx     context.Context
	config  *Config
	nodeEnv string

	// Absolute, without symbolic links in the project's part. root is the project's directory, limit the one
	// that inputs have to be in.
	root, limit, entry, moduleRoot string
	replace                        map[string][]byte

	rules  moduleRules
	node   nodeMode
	format Format
	found  map[string]bool // files that findModules made modules of
	// leaveOut makes imports of replaced files external: see buildWithoutReplaced.
	leaveOut bool

	mu        sync.Mutex // protects the fields below, which esbuild's goroutines fill
	findings  Findings
	collected []collected
	loaded    map[string]bool // absolute paths of files whose content was asked for
}

func newBundler(ctx context.Context, c *Config, o BundleOptions) (*bundler, error) {
	root, err := filepath.EvalSymlinks(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("finding the project: %w", err)
	}
	limit := root
	if o.Root != "" {
		if limit, err = filepath.EvalSymlinks(o.Root); err != nil {
			return nil, fmt.Errorf("finding the root of the build: %w", err)
		}
	}
	b := &bundler{
		ctx:     ctx,
		config:  c,
		nodeEnv: o.NodeEnv,
		root:    root,
		limit:   limit,
		replace: make(map[string][]byte, len(o.Replace)),
		loaded:  map[string]bool{},
	}
	if b.nodeEnv == "" {
		b.nodeEnv = "production"
	}
	for file, content := range o.Replace {
		b.replace[b.inRoot(file)] = content
	}
	if c.Main != "" {
		b.entry = b.inRoot(c.Main)
		b.moduleRoot = filepath.Dir(b.entry)
	}
	if c.BaseDir != "" {
		b.moduleRoot = b.inRoot(c.BaseDir)
	}
	return b, nil
}

// inRoot makes a path of the configuration one below root.
func (b *bundler) inRoot(file string) string {
	if !filepath.IsAbs(file) {
		return filepath.Join(b.root, file)
	}
	if rel, err := filepath.Rel(b.config.Dir, file); err == nil && filepath.IsLocal(rel) {
		return filepath.Join(b.root, rel)
	}
	return filepath.Clean(file)
}

// run bundles. The user's mistakes are in b.findings; without errors among them the Bundle is complete.
func (b *bundler) run() (*Bundle, error) {
	var findings Findings
	b.rules, findings = newModuleRules(b.config)
	b.add(findings...)
	b.add(b.config.checkCompatibilityFlags()...)
	if !b.checkEntry() || len(b.findings.errors()) > 0 {
		return nil, nil
	}
	if !b.checkTSConfigs() {
		return nil, nil
	}
	b.node = nodeModeOf(b.config.CompatibilityDate, b.config.CompatibilityFlags)

	guessed, err := b.guessFormat()
	if err != nil {
		return nil, err
	}
	if b.config.NoBundle {
		if !guessed || !b.checkServiceWorker() {
			return nil, nil
		}
		return b.copyEntry()
	}
	if guessed && !b.checkServiceWorker() {
		return nil, nil
	}
	// When the entry point alone is wrong already, bundling it as a module tells what is wrong elsewhere too.
	return b.bundle()
}

// checkEntry reports an entry point that is not there or not code.
func (b *bundler) checkEntry() bool {
	before := len(b.findings)
	switch {
	case filepath.Ext(b.entry) == ".py":
		b.add(b.config.At(Finding{
			Rule: "main-python", Level: LevelError,
			Message:  "Python Workers cannot be deployed with shopfleet",
			Expected: "an entry point in JavaScript or TypeScript",
		}, "main"))
	case b.isReplaced(b.entry):
	case b.config.Build.Command != "":
		// Without extension esbuild looks for one.
		if !slices.ContainsFunc([]string{"", ".ts", ".tsx", ".js", ".jsx"}, func(ext string) bool {
			return isFile(b.entry+ext) && (ext == "" || filepath.Ext(b.entry) == "")
		}) {
			b.add(b.config.At(Finding{
				Rule: "main-missing", Level: LevelError,
				Message: fmt.Sprintf("there is no file %s after build.command ran", b.show(b.entry)),
				Hint:    "let main name the file that build.command writes",
			}, "main"))
		}
	default:
		k := &checker{src: b.config.project.src}
		k.entryPoint(b.config)
		b.add(k.findings...)
	}
	return len(b.findings) == before
}

// checkServiceWorker reports what needs a module but is configured for a script.
func (b *bundler) checkServiceWorker() bool {
	if b.format != ServiceWorker {
		return true
	}
	before := len(b.findings)
	finding := Finding{
		Rule:     "service-worker-format",
		Level:    LevelError,
		Expected: "code in module format",
		Hint:     "export the handlers from the entry point: export default { async fetch(request, env, ctx) { … } }",
	}
	for _, binding := range b.config.Bindings {
		script := binding.Field("script_name")
		if binding.Type == "durable_object_namespace" && (script == "" || script == b.config.Name) {
			finding.Message = fmt.Sprintf("the Durable Object %s cannot be in a Worker in service-worker format: %s has no default export",
				binding.Name, b.show(b.entry))
			b.add(b.config.At(finding, binding.Path()...))
		}
	}
	if len(b.config.DOMigrations) > 0 {
		finding.Message = fmt.Sprintf("migrations of Durable Objects need a Worker in module format: %s has no default export", b.show(b.entry))
		b.add(b.config.At(finding, "migrations"))
	}
	return len(b.findings) == before
}

// copyEntry is Bundle for no_bundle: the entry point as it is, with the files beside it.
func (b *bundler) copyEntry() (*Bundle, error) {
	if minify := b.config.Minify; minify != nil && *minify {
		b.add(b.config.At(Finding{
			Rule: "no-bundle", Level: LevelWarning, Message: "minify has no effect together with no_bundle",
		}, "minify"))
	}
	if slices.Contains(b.config.CompatibilityFlags, "nodejs_compat_v2") {
		b.add(b.config.At(Finding{
			Rule: "no-bundle", Level: LevelWarning, Message: "nodejs_compat_v2 adds no polyfills together with no_bundle",
		}, "compatibility_flags"))
	}
	content, err := b.readFile(b.entry)
	if errors.Is(err, fs.ErrNotExist) {
		// An entry point without extension is there for esbuild, which finds the extension, and not here.
		b.add(b.config.At(Finding{
			Rule: "main-missing", Level: LevelError, Message: fmt.Sprintf("there is no file %s", b.show(b.entry)),
			Hint: "give main its file extension: with no_bundle it is uploaded as it is",
		}, "main"))
		return nil, nil
	}
	if errors.Is(err, errOutside) {
		b.add(b.config.At(Finding{
			Rule: "outside-project", Level: LevelError, Message: fmt.Sprintf("%s is outside the project", b.show(b.entry)), Hint: outsideHint,
		}, "main"))
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the entry point: %w", err)
	}
	if !utf8.Valid(content) {
		b.add(Finding{
			Rule: "main-encoding", Level: LevelError, File: b.show(b.entry),
			Message: "the entry point is not encoded as UTF-8", Expected: "UTF-8",
			Hint: "save the file as UTF-8; wrangler would upload it with the odd bytes replaced",
		})
		return nil, nil
	}
	out := &Bundle{Format: b.format, Main: Module{Name: filepath.Base(b.entry), Type: ESModule, Content: content}}
	if b.format == ServiceWorker {
		out.Main.Type = CommonJS
	}
	all := []collected{{module: out.Main, file: b.entry}}
	if b.config.FindAdditionalModules == nil || *b.config.FindAdditionalModules {
		found, err := b.findModules()
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	lasting := *out // without what is replaced
	for _, c := range all[1:] {
		out.Modules = append(out.Modules, c.module)
		if !b.isReplaced(c.file) {
			lasting.Modules = append(lasting.Modules, c.module)
		}
	}
	if maps := b.config.UploadSourceMaps; maps == nil || *maps {
		out.SourceMaps = b.scanSourceMaps(all, maps != nil)
	}
	if b.isReplaced(b.entry) {
		lasting.Main.Content = nil
	}
	b.finish(out, outputOf(&lasting))
	return out, nil
}

// add reports findings.
func (b *bundler) add(findings ...Finding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range findings {
		b.findings = append(b.findings, cleanFinding(f))
	}
}

func (b *bundler) collect(c collected) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.collected = append(b.collected, c)
}

// readFile reads an input, replaced or not. The error is errOutside for a file that is not below
// BundleOptions.Root.
func (b *bundler) readFile(file string) ([]byte, error) {
	if content, ok := b.replace[file]; ok {
		b.note(file)
		return content, nil
	}
	if b.isOutside(file) {
		return nil, errOutside
	}
	b.note(file)
	return os.ReadFile(file)
}

func (b *bundler) isReplaced(file string) bool {
	_, ok := b.replace[file]
	return ok
}

// note makes file an input.
func (b *bundler) note(file string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loaded[file] = true
}

// outsideHint is what to do about errOutside.
const outsideHint = "everything that is deployed comes from the commit: move the file into the project"

// isOutside says whether file really lies elsewhere than where inputs may come from. A file that does not
// exist lies nowhere.
func (b *bundler) isOutside(file string) bool { return b.placeOf(file) == elsewhere }

type place int

const (
	nowhere place = iota
	inside
	elsewhere
)

// placeOf is where esbuild finds a file: behind symbolic links, Yarn's virtual directories, and in zip archives.
func (b *bundler) placeOf(file string) place {
	file = withoutVirtual(file)
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		if _, err := os.Stat(file); err == nil {
			return elsewhere // a link of /proc, which has a target without a path
		}
		archive := archiveOf(file)
		if archive == "" {
			return nowhere
		}
		return b.placeOf(archive)
	}
	if rel, err := filepath.Rel(b.limit, real); err != nil || !filepath.IsLocal(rel) {
		return elsewhere
	}
	return inside
}

// archiveOf is the file above a path that is not there: for esbuild a zip archive is a directory.
func archiveOf(file string) string {
	for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil {
			if info.IsDir() {
				return ""
			}
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

// virtualDir is what esbuild, after Yarn, takes for as many ".." as the number says, whether or not it exists.
var virtualDir = regexp.MustCompile(`[/\\](?:__virtual__|\$\$virtual)[/\\][^/\\]*[/\\]([+-]?[0-9]+)(?:[/\\]|$)`)

// withoutVirtual is the path that esbuild reads instead of file. It looks at the first such directory only.
func withoutVirtual(file string) string {
	m := virtualDir.FindStringSubmatchIndex(file)
	if m == nil {
		return file
	}
	n, err := strconv.ParseInt(file[m[2]:m[3]], 10, 64)
	if err != nil {
		return file
	}
	dir := file[:m[0]+1]
	for ; n > 0 && dir != filepath.Dir(dir); n-- {
		dir = filepath.Dir(filepath.Clean(dir))
	}
	return filepath.Join(dir, file[m[3]:])
}

// show is a file's path as the user knows it.
func (b *bundler) show(file string) string { return relative(b.root, file) }

// relative is file's path from dir, slash separated.
func relative(dir, file string) string {
	rel, err := filepath.Rel(dir, file)
	if err != nil {
		rel = file
	}
	return filepath.ToSlash(rel)
}

// pathCause is err without the path that it is about, which the caller has named as the user knows it.
func pathCause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// resolveError is the answer of a resolver that refuses an import. esbuild adds the position.
func resolveError(rule, text, hint string) api.OnResolveResult {
	return api.OnResolveResult{Errors: []api.Message{{Text: text, Detail: pluginDetail{rule, hint}}}}
}

// pluginDetail is what a message of our own plugins carries through esbuild.
type pluginDetail struct{ rule, hint string }

// quoteList is `"a", "b" and "c"`.
func quoteList(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = fmt.Sprintf("%q", item)
	}
	if n := len(quoted) - 1; n > 0 {
		return strings.Join(quoted[:n], ", ") + " and " + quoted[n]
	}
	return strings.Join(quoted, "")
}
