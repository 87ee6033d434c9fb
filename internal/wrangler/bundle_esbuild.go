package wrangler

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// esbuildVersion is the version in go.mod, which is the one inside wrangler 4.164.0.
const esbuildVersion = "v0.28.2"

// outdir is where esbuild believes to write, below the project. wrangler makes a directory with a random name
// there; it shows in the source map, for modules that are no files.
const outdir = ".wrangler/tmp/deploy"

// baseOptions are common to both passes of wrangler (wire.md §10).
func (b *bundler) baseOptions() api.BuildOptions {
	return api.BuildOptions{
		EntryPoints:   []string{b.entry},
		AbsWorkingDir: b.root,
		Outdir:        filepath.Join(b.root, filepath.FromSlash(outdir)),
		Metafile:      true,
		LogLevel:      api.LogLevelSilent,
		Target:        api.ES2024,
		Supported:     map[string]bool{"import-source": true, "using": true},
		Loader:        map[string]api.Loader{".js": api.LoaderJSX, ".mjs": api.LoaderJSX, ".cjs": api.LoaderJSX},
		Tsconfig:      b.config.TSConfig,
		Plugins:       []api.Plugin{b.inputsPlugin()},
	}
}

// guessFormat looks at what the entry point exports and sets b.format. It reports false when the entry point
// alone cannot be read.
func (b *bundler) guessFormat() (bool, error) {
	const marker = "__WRANGLER_SERVICE_WORKER_EVENT_LISTENER__"
	options := b.baseOptions()
	options.Plugins = append(options.Plugins, b.replacePlugin())
	options.Define = map[string]string{
		"addEventListener": marker, "globalThis.addEventListener": marker, "self.addEventListener": marker,
	}
	result, err := runESBuild(b.ctx, options)
	if err != nil {
		return false, err
	}
	if len(result.Errors) > 0 {
		b.addMessages(result.Errors, LevelError)
		return false, nil
	}
	meta, err := parseMetafile(result.Metafile)
	if err != nil {
		return false, err
	}
	exports := meta.entry().Exports
	listens := slices.ContainsFunc(result.OutputFiles, func(f api.OutputFile) bool {
		return bytes.Contains(f.Contents, []byte(marker))
	})
	switch {
	case len(exports) == 0:
		b.format = ServiceWorker
	case slices.Contains(exports, "default") || !listens:
		b.format = Modules
	default:
		b.format = ServiceWorker
		b.add(Finding{
			Rule: "entry-format", Level: LevelWarning, File: b.show(b.entry),
			Message: "the entry point exports something, but has no default export and calls addEventListener; it is built in service-worker format",
			Hint:    "export default { … } for module format, or export nothing",
		})
	}
	return true, nil
}

// bundle is Bundle for a Worker that is bundled.
func (b *bundler) bundle() (*Bundle, error) {
	out, exports, err := b.build()
	if out == nil || err != nil {
		return nil, err
	}
	b.checkClasses(exports)
	digested := out
	if b.usesReplaced() {
		if digested, err = b.buildWithoutReplaced(); err != nil {
			return nil, err
		}
	}
	b.finish(out, outputOf(digested))
	return out, nil
}

// build runs esbuild. It returns no Bundle when that found errors, which are then in b.findings.
func (b *bundler) build() (out *Bundle, exports []string, err error) {
	var found []collected
	if b.findsModules() {
		if b.format != Modules {
			b.add(b.config.At(Finding{
				Rule: "service-worker-format", Level: LevelError,
				Message: "find_additional_modules needs an entry point in module format",
				Hint:    "export default { … } from the entry point, or remove find_additional_modules",
			}, "find_additional_modules"))
			return nil, nil, nil
		}
		if found, err = b.findModules(); err != nil {
			return nil, nil, err
		}
		b.found = map[string]bool{}
		for _, c := range found {
			b.found[c.file] = true
		}
	}
	options, err := b.options()
	if err != nil {
		return nil, nil, err
	}
	result, err := runESBuild(b.ctx, options)
	if err != nil {
		return nil, nil, err
	}
	b.addMessages(result.Errors, LevelError)
	b.addMessages(result.Warnings, LevelWarning)
	if len(result.Errors) > 0 {
		return nil, nil, nil
	}
	meta, err := parseMetafile(result.Metafile)
	if err != nil {
		return nil, nil, err
	}
	entry := meta.entry()
	out = &Bundle{Format: b.format, Main: Module{Name: path.Base(entry.path), Type: ESModule}}
	if len(entry.Exports) == 0 {
		out.Main.Type = CommonJS
	}
	files := make(map[string][]byte, len(result.OutputFiles))
	for _, f := range result.OutputFiles {
		files[relative(b.root, f.Path)] = f.Contents
	}
	out.Main.Content = files[entry.path]
	// wrangler takes the first map there is, also when a style sheet has one.
	if i := slices.IndexFunc(meta.Outputs, func(o metaOutput) bool { return strings.Contains(o.path, ".map") }); i >= 0 {
		b.checkSources(files[meta.Outputs[i].path])
		content, err := b.bundledSourceMap(out.Main.Name, files[meta.Outputs[i].path])
		if err != nil {
			return nil, nil, err
		}
		out.SourceMaps = []SourceMap{{out.Main.Name + ".map", content}}
	}
	out.Modules = b.orderModules(found, meta)
	return out, entry.Exports, nil
}

// options are those of the build proper. All plugins are wrangler's but inputsPlugin and replacePlugin, which
// change nothing for files that are on disk.
func (b *bundler) options() (api.BuildOptions, error) {
	c := b.config
	o := b.baseOptions()
	o.Bundle = true
	o.KeepNames = c.KeepNames == nil || *c.KeepNames
	o.EntryNames = strings.TrimSuffix(filepath.Base(b.entry), filepath.Ext(b.entry))
	o.External = []string{"__STATIC_CONTENT_MANIFEST"}
	o.Format = api.FormatESModule
	if b.format == ServiceWorker {
		o.Format = api.FormatIIFE
	}
	if c.UploadSourceMaps == nil || *c.UploadSourceMaps {
		o.Sourcemap = api.SourceMapLinked
		o.SourceRoot = outdir // any: it is taken out again, but has to be there to be taken out
	}
	if c.Minify != nil && *c.Minify {
		o.MinifyIdentifiers, o.MinifySyntax, o.MinifyWhitespace = true, true, true
	}
	o.Conditions = []string{"workerd", "worker", "browser"}
	o.JSXFactory, o.JSXFragment = c.JSXFactory, c.JSXFragment
	nodeEnv := string(jsonString(b.nodeEnv))
	o.Define = map[string]string{
		"process.env.NODE_ENV":            nodeEnv,
		"global.process.env.NODE_ENV":     nodeEnv,
		"globalThis.process.env.NODE_ENV": nodeEnv,
	}
	if hasNavigator(c.CompatibilityDate, c.CompatibilityFlags) {
		o.Define["navigator.userAgent"] = `"Cloudflare-Workers"`
	}
	maps.Copy(o.Define, c.Define)

	if b.leaveOut {
		o.Plugins = append(o.Plugins, b.leaveOutPlugin())
	}
	node, inject := b.nodePlugins()
	o.Inject = inject
	o.Plugins = slices.Concat(o.Plugins, []api.Plugin{b.aliasPlugin(), b.rulesPlugin()}, node,
		[]api.Plugin{b.cloudflarePlugin(), b.replacePlugin()})
	return o, nil
}

// runESBuild builds in memory and can be cancelled.
func runESBuild(ctx context.Context, options api.BuildOptions) (api.BuildResult, error) {
	build, invalid := api.Context(options)
	if invalid != nil {
		return api.BuildResult{Errors: invalid.Errors}, nil
	}
	defer build.Dispose()
	// A cancellation that comes before Rebuild has begun misses it; inputsPlugin then fails every file.
	stop := context.AfterFunc(ctx, build.Cancel)
	defer stop()
	result := build.Rebuild()
	if err := ctx.Err(); err != nil {
		return api.BuildResult{}, err
	}
	return result, nil
}

// inputsPlugin notes what is read, refuses what must not be, and serves replaced files.
func (b *bundler) inputsPlugin() api.Plugin {
	return api.Plugin{Name: "inputs", Setup: func(pb api.PluginBuild) {
		pb.OnLoad(api.OnLoadOptions{Filter: ".*", Namespace: "file"}, func(args api.OnLoadArgs) (api.OnLoadResult, error) {
			if err := b.ctx.Err(); err != nil {
				return api.OnLoadResult{}, err
			}
			if strings.Contains(args.Path, nodeGlobalPrefix) {
				return api.OnLoadResult{}, nil
			}
			content, ok := b.replace[args.Path]
			if !ok && b.isOutside(args.Path) {
				return api.OnLoadResult{Errors: []api.Message{{
					Text: b.show(args.Path) + " is outside the project", Detail: pluginDetail{"outside-project", outsideHint},
				}}}, nil
			}
			b.note(args.Path)
			if !ok {
				if at := b.sourceMapOutside(args.Path); at != "" {
					return api.OnLoadResult{Errors: []api.Message{{
						Text: fmt.Sprintf("the source map of %s, %s, is outside the project", b.show(args.Path), b.show(at)), Detail: pluginDetail{"outside-project", outsideHint},
					}}}, nil
				}
				return api.OnLoadResult{}, nil
			}
			text := string(content)
			return api.OnLoadResult{Contents: &text, Loader: api.LoaderDefault}, nil
		})
	}}
}

// replacePlugin resolves paths of replaced files that are not on disk, which esbuild cannot see.
func (b *bundler) replacePlugin() api.Plugin {
	return api.Plugin{Name: "replaced-files", Setup: func(pb api.PluginBuild) {
		pb.OnResolve(api.OnResolveOptions{Filter: `^(\.\.?/|/|[A-Za-z]:)`}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
			file := filepath.Clean(args.Path)
			if !filepath.IsAbs(file) {
				file = filepath.Join(args.ResolveDir, file)
			}
			if !b.isReplaced(file) || isFile(file) {
				return api.OnResolveResult{}, nil
			}
			return api.OnResolveResult{Path: file}, nil
		})
	}}
}

// aliasPlugin replaces whole specifiers. The target is found as Node.js finds it from the project's directory,
// not as esbuild finds imports.
func (b *bundler) aliasPlugin() api.Plugin {
	return api.Plugin{Name: "alias", Setup: func(pb api.PluginBuild) {
		aliases := b.config.Alias
		if len(aliases) == 0 {
			return
		}
		names := slices.Sorted(maps.Keys(aliases))
		for i, name := range names {
			names[i] = regexp.QuoteMeta(name)
		}
		pb.OnResolve(api.OnResolveOptions{Filter: strings.Join(names, "|")}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
			target := aliases[args.Path]
			if target == "" {
				return api.OnResolveResult{}, nil
			}
			file, ok := nodeResolution.resolve(target, b.root)
			if !ok {
				return resolveError("alias-target",
					fmt.Sprintf("could not resolve %q, which alias puts in the place of %q", target, args.Path),
					"an alias is found from the project's directory: start it with ./ for a file, and give its extension"), nil
			}
			return api.OnResolveResult{Path: file}, nil
		})
	}}
}

// cloudflarePlugin leaves the runtime's own modules alone.
func (b *bundler) cloudflarePlugin() api.Plugin {
	return api.Plugin{Name: "cloudflare-internal-imports", Setup: func(pb api.PluginBuild) {
		var seen importSet
		pb.OnResolve(api.OnResolveOptions{Filter: "^cloudflare:.*"}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
			seen.add(args)
			return api.OnResolveResult{Path: args.Path, External: true}, nil
		})
		pb.OnEnd(func(*api.BuildResult) (api.OnEndResult, error) {
			b.refuseInServiceWorker(&seen)
			return api.OnEndResult{}, nil
		})
	}}
}

// checkClasses reports Durable Objects and Workflows whose class is not there.
func (b *bundler) checkClasses(exports []string) {
	for _, binding := range b.config.Bindings {
		var what string
		switch binding.Type {
		case "durable_object_namespace":
			what = "Durable Object"
		case "workflow":
			what = "Workflow"
		default:
			continue
		}
		class := binding.Field("class_name")
		if binding.Field("script_name") != "" || class == "" || slices.Contains(exports, class) {
			continue
		}
		main := b.show(b.entry)
		b.add(b.config.At(Finding{
			Rule:    "class-not-exported",
			Level:   LevelError,
			Message: fmt.Sprintf("%s does not export the class %s of the %s %s", main, class, what, binding.Name),
			Hint:    fmt.Sprintf("export { %s } from %s, or name the Worker that has it in script_name", class, main),
		}, append(slices.Clone(binding.Path()), "class_name")...))
	}
}

// orderModules gives the modules the order that Bundle.Modules describes. wrangler has them in the order in
// which its asynchronous reads finish.
func (b *bundler) orderModules(found []collected, meta *metafile) []Module {
	rank := meta.importRanks()
	key := func(c collected) [2]int { return rank.of(relative(b.root, c.importer), c.module.Name) }
	imported := slices.Clone(b.collected)
	sort.Slice(imported, func(i, j int) bool {
		x, y := imported[i], imported[j]
		kx, ky := key(x), key(y)
		return cmp.Or(slices.Compare(kx[:], ky[:]), cmp.Compare(x.module.Name, y.module.Name), cmp.Compare(x.file, y.file)) < 0
	})
	var out []Module
	at := map[string]int{}
	for _, c := range slices.Concat(found, imported) {
		i, seen := at[c.module.Name]
		if !seen {
			at[c.module.Name] = len(out)
			out = append(out, c.module)
			continue
		}
		// With preserve_file_names two files can have one name. The last one wins in wrangler too.
		if !bytes.Equal(out[i].Content, c.module.Content) {
			b.add(Finding{
				Rule: "duplicate-module", Level: LevelWarning, File: b.show(c.file),
				Message: fmt.Sprintf("another file is imported as %q too; only one of them is uploaded", c.module.Name),
				Hint:    "remove preserve_file_names, or rename one of the files",
			})
		}
		out[i] = c.module
	}
	return out
}

// metafile is esbuild's account of a build, as far as it is used. Paths are relative to the project, with
// slashes; modules that are no files are "namespace:path".
type metafile struct {
	Inputs  map[string]metaInput
	Outputs metaOutputs
}

type metaInput struct {
	Imports []struct {
		Path     string
		External bool
	}
}

type metaOutput struct {
	path       string
	EntryPoint *string
	Exports    []string
}

// metaOutputs keeps esbuild's order.
type metaOutputs []metaOutput

func (m *metaOutputs) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		out := metaOutput{path: fmt.Sprint(name)}
		if err := d.Decode(&out); err != nil {
			return err
		}
		*m = append(*m, out)
	}
	return nil
}

func parseMetafile(text string) (*metafile, error) {
	var m metafile
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil, fmt.Errorf("reading esbuild's metafile: %w", err)
	}
	return &m, nil
}

// entry is the output of the entry point, of which every build here has one.
func (m *metafile) entry() metaOutput {
	for _, o := range m.Outputs {
		if o.EntryPoint != nil {
			return o
		}
	}
	return metaOutput{}
}

// importRank says where a reader meets an import who follows them breadth first from the entry point.
type importRank map[[2]string][2]int

func (m *metafile) importRanks() importRank {
	ranks := importRank{}
	entry := m.entry().EntryPoint
	if entry == nil {
		return ranks
	}
	queue, seen := []string{*entry}, map[string]bool{*entry: true}
	for i := 0; i < len(queue); i++ {
		for j, imported := range m.Inputs[queue[i]].Imports {
			name := imported.Path
			// In service-worker format the modules are inputs, in a namespace of their own.
			if rest, ok := strings.CutPrefix(name, "wrangler-module-"); ok {
				_, name, _ = strings.Cut(rest, ":")
			}
			if key := [2]string{queue[i], name}; ranks[key] == [2]int{} {
				ranks[key] = [2]int{i + 1, j + 1}
			}
			if !imported.External && !seen[imported.Path] {
				seen[imported.Path] = true
				queue = append(queue, imported.Path)
			}
		}
	}
	return ranks
}

// of is the rank of a module that importer imports; what is not known comes last.
func (r importRank) of(importer, module string) [2]int {
	if rank, ok := r[[2]string{importer, module}]; ok {
		return rank
	}
	return [2]int{1 << 30, 0}
}
