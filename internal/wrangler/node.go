package wrangler

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/evanw/esbuild/pkg/api"
)

// nodeMode is how a Worker gets at the modules of Node.js (wire.md §10).
type nodeMode int

const (
	nodeNone nodeMode = iota // imports of node:… are left to the runtime, with a warning
	nodeALS                  // the same, but node:async_hooks is there
	nodeV1                   // imports of node:… are left to the runtime
	nodeV2                   // unenv
)

// nodeModeOf decides by date and flags, of which date is "" when it is not set.
func nodeModeOf(date string, flags []string) nodeMode {
	has := func(flag string) bool { return slices.Contains(flags, flag) }
	byDate := date >= nodeDefaultSince
	enabled := has("nodejs_compat") || byDate && !has("no_nodejs_compat")
	switch {
	case has("nodejs_compat_v2"), !has("no_nodejs_compat_v2") && (byDate || enabled && date >= nodeV2Since):
		return nodeV2
	case enabled:
		return nodeV1
	case has("nodejs_als"):
		return nodeALS
	default:
		return nodeNone
	}
}

// hasNavigator says whether the runtime has navigator.userAgent, which esbuild then replaces.
func hasNavigator(date string, flags []string) bool {
	return nodeToggle{navigatorSince, "global_navigator", "no_global_navigator"}.enabled(date, flags)
}

// checkCompatibilityFlags reports flags that wrangler refuses to build with.
func (c *Config) checkCompatibilityFlags() Findings {
	var out Findings
	refuse := func(message, hint string) {
		out = append(out, c.At(Finding{
			Rule: "compatibility-flags", Level: LevelError, Message: message, Hint: hint,
		}, "compatibility_flags"))
	}
	both := func(x, y string) bool {
		return slices.Contains(c.CompatibilityFlags, x) && slices.Contains(c.CompatibilityFlags, y)
	}
	if slices.Contains(c.CompatibilityFlags, "experimental:nodejs_compat_v2") {
		refuse("the compatibility flag experimental:nodejs_compat_v2 does not exist any more", "write nodejs_compat_v2")
	}
	if both("nodejs_compat", "nodejs_compat_v2") {
		refuse("the compatibility flags nodejs_compat and nodejs_compat_v2 cannot be used together", "keep one of them")
	}
	if both("global_navigator", "no_global_navigator") {
		refuse("the compatibility flags global_navigator and no_global_navigator contradict each other", "keep one of them")
	}
	return out
}

// isNodeBuiltin says whether Node.js has the module.
func isNodeBuiltin(specifier string) bool {
	return strings.HasPrefix(specifier, "node:") || slices.Contains(nodeBuiltins, specifier)
}

// builtinHint is what to do about an import of a module of Node.js that nothing resolves.
func (m nodeMode) builtinHint(specifier string) string {
	switch {
	case m == nodeV2:
		return "it is built into Node.js, but Workers do not have it"
	case m == nodeV1 && !strings.HasPrefix(specifier, "node:"):
		return fmt.Sprintf("import %q, or set compatibility_date to %s or later", "node:"+specifier, nodeV2Since)
	default:
		return `it is built into Node.js: add "nodejs_compat" to compatibility_flags`
	}
}

// importSet collects imports and who imports them. esbuild resolves in several goroutines.
type importSet struct {
	mu        sync.Mutex
	importers map[string][]string
}

func (s *importSet) add(args api.OnResolveArgs) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.importers == nil {
		s.importers = map[string][]string{}
	}
	s.importers[args.Path] = append(s.importers[args.Path], args.Importer)
}

// refuseInServiceWorker reports imports that only a module can have.
func (b *bundler) refuseInServiceWorker(imports *importSet) {
	if b.format != ServiceWorker || len(imports.importers) == 0 {
		return
	}
	b.add(Finding{
		Rule: "service-worker-format", Level: LevelError, File: b.show(b.entry),
		Message: fmt.Sprintf("a Worker without a default export is built in service-worker format, which cannot import %s",
			quoteList(slices.Sorted(maps.Keys(imports.importers)))),
		Expected: "code in module format",
		Hint:     "export the handlers from the entry point: export default { async fetch(request, env, ctx) { … } }",
	})
}

// nodePlugins are the plugins for the mode, and the files to inject.
func (b *bundler) nodePlugins() (plugins []api.Plugin, inject []string) {
	switch b.node {
	case nodeV2:
		plugin, inject := b.unenvPlugin()
		return []api.Plugin{plugin}, inject
	case nodeALS:
		return []api.Plugin{{Name: "async-local-storage-imports", Setup: func(pb api.PluginBuild) {
			pb.OnResolve(api.OnResolveOptions{Filter: `^node:async_hooks(\/|$)`}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
				return api.OnResolveResult{Path: args.Path, External: true}, nil
			})
		}}, b.nodeImportsPlugin()}, nil
	default:
		return []api.Plugin{b.nodeImportsPlugin()}, nil
	}
}

// nodeImportsPlugin leaves imports of node:… that nothing resolves to the runtime.
func (b *bundler) nodeImportsPlugin() api.Plugin {
	type resolving struct{}
	return api.Plugin{Name: "nodejs_compat-imports", Setup: func(pb api.PluginBuild) {
		var left importSet
		pb.OnResolve(api.OnResolveOptions{Filter: "node:.*"}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
			if _, ok := args.PluginData.(resolving); ok {
				return api.OnResolveResult{}, nil
			}
			found := pb.Resolve(args.Path, api.ResolveOptions{
				Kind: args.Kind, Importer: args.Importer, ResolveDir: args.ResolveDir, PluginData: resolving{},
			})
			if len(found.Errors) > 0 {
				left.add(args)
				return api.OnResolveResult{Path: args.Path, External: true}, nil
			}
			out := api.OnResolveResult{
				Path: found.Path, External: found.External, Namespace: found.Namespace, Suffix: found.Suffix,
			}
			if !found.SideEffects {
				out.SideEffects = api.SideEffectsFalse
			}
			return out, nil
		})
		pb.OnEnd(func(*api.BuildResult) (api.OnEndResult, error) {
			b.refuseInServiceWorker(&left)
			if b.node == nodeV1 {
				return api.OnEndResult{}, nil
			}
			for _, path := range slices.Sorted(maps.Keys(left.importers)) {
				importers := left.importers[path]
				slices.Sort(importers)
				for _, importer := range slices.Compact(importers) {
					b.add(Finding{
						Rule: "node-import", Level: LevelWarning, File: b.show(importer),
						Message: fmt.Sprintf("%q is built into Node.js; without the nodejs_compat flag the Worker may fail where it is used", path),
						Hint:    `add "nodejs_compat" to compatibility_flags`,
					})
				}
			}
			return api.OnEndResult{}, nil
		})
	}}
}

// Namespaces and the file name that unenv's parts of a bundle have. They show in its comments.
const (
	nodeRequireNamespace  = "node-built-in-modules"
	unenvRequireNamespace = "required-unenv-alias"
	nodeGlobalPrefix      = "_virtual_unenv_global_polyfill-"
)

// unenvPlugin is nodeV2, and the files to inject for it.
func (b *bundler) unenvPlugin() (api.Plugin, []string) {
	env := newNodeEnvironment(b.config.CompatibilityDate, b.config.CompatibilityFlags)
	unenv := findUnenv(b.root)
	targets := map[string]string{} // of env.alias, found; "" for what would be there with unenv
	for name, alias := range env.alias {
		switch target, ok := unenv.resolve(alias); {
		case ok:
			targets[name] = target
		case !unenv.installed && (strings.HasPrefix(alias, unenvPackage+"/") || strings.HasPrefix(alias, presetPackage+"/")):
			targets[name] = ""
		}
	}
	builtin := "^(" + strings.Join(nodeBuiltins, "|") + "|node:.+)$"
	aliased := "^(" + strings.Join(slices.Sorted(maps.Keys(targets)), "|") + ")$"

	modules := map[string]string{} // injected file to the module that it sets a global from
	var inject []string
	if needed := slices.Concat(env.globals, env.polyfills); len(needed) > 0 && !unenv.installed {
		b.add(b.config.At(Finding{
			Rule: "node-runtime-missing", Level: LevelError,
			Message: "Node.js compatibility at this compatibility date needs unenv, which is not installed in the project",
			Hint:    unenvHint(b.config),
		}, "compatibility_date"))
	} else {
		if len(needed) > 0 && unenv.version != unenvPresetVersion {
			b.add(b.config.At(Finding{
				Rule: "node-runtime-version", Level: LevelWarning,
				Message: fmt.Sprintf("the project has %s %s; what is native at a compatibility date is decided as in %s",
					presetPackage, unenv.version, unenvPresetVersion),
				Hint: "install wrangler 4.164.0 in the project",
			}, "compatibility_date"))
		}
		for _, name := range env.globals {
			module := presetPackage + "/node/" + name
			file := filepath.Join(unenv.wrangler, nodeGlobalPrefix+strings.ReplaceAll(module, "/", "-"))
			modules[file] = fmt.Sprintf("import { default as defaultExport } from \"%s\";\nglobalThis.%s = defaultExport;", module, name)
			inject = append(inject, file)
		}
		for _, polyfill := range env.polyfills {
			if file, ok := unenv.resolve(polyfill); ok {
				inject = append(inject, file)
			}
		}
	}
	return api.Plugin{Name: "hybrid-nodejs_compat", Setup: func(pb api.PluginBuild) {
		var imports importSet
		pb.OnResolve(api.OnResolveOptions{Filter: builtin}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
			imports.add(args)
			if args.Kind == api.ResolveJSRequireCall {
				return api.OnResolveResult{Path: args.Path, Namespace: nodeRequireNamespace}, nil
			}
			return api.OnResolveResult{}, nil
		})
		onLoad(pb, ".*", nodeRequireNamespace, func(path string) string {
			return "import libDefault from '" + path + "';\nmodule.exports = libDefault;"
		})
		pb.OnResolve(api.OnResolveOptions{Filter: aliased}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
			alias := env.alias[args.Path]
			target := targets[args.Path]
			if target == "" {
				return resolveError("node-runtime-missing",
					fmt.Sprintf("%q is replaced by unenv, which is not installed in the project", args.Path), unenvHint(b.config)), nil
			}
			if args.Kind == api.ResolveJSRequireCall &&
				(strings.HasPrefix(alias, unenvPackage+"/npm/") || strings.HasPrefix(alias, unenvPackage+"/mock/")) {
				return api.OnResolveResult{Path: args.Path, Namespace: unenvRequireNamespace}, nil
			}
			return api.OnResolveResult{Path: target, External: env.external[alias]}, nil
		})
		onLoad(pb, ".*", unenvRequireNamespace, requiredUnenv)
		pb.OnResolve(api.OnResolveOptions{Filter: nodeGlobalPrefix + "(.+)$"}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
			return api.OnResolveResult{Path: args.Path}, nil
		})
		pb.OnLoad(api.OnLoadOptions{Filter: regexp.QuoteMeta(nodeGlobalPrefix) + "(.+)$"}, func(args api.OnLoadArgs) (api.OnLoadResult, error) {
			code := modules[args.Path]
			return api.OnLoadResult{Contents: &code, Loader: api.LoaderJS, ResolveDir: unenv.dir}, nil
		})
		pb.OnEnd(func(*api.BuildResult) (api.OnEndResult, error) {
			b.refuseInServiceWorker(&imports)
			return api.OnEndResult{}, nil
		})
	}}, inject
}

// onLoad makes code of a path.
func onLoad(pb api.PluginBuild, filter, namespace string, code func(path string) string) {
	pb.OnLoad(api.OnLoadOptions{Filter: filter, Namespace: namespace}, func(args api.OnLoadArgs) (api.OnLoadResult, error) {
		text := code(args.Path)
		return api.OnLoadResult{Contents: &text, Loader: api.LoaderJS}, nil
	})
}

// requiredUnenv is the CommonJS view of a module of unenv's. Its indentation shows in source maps.
func requiredUnenv(path string) string {
	return "import * as esm from '" + path + `';
module.exports = Object.entries(esm)
			.filter(([k,]) => k !== 'default')
			.reduce((cjs, [k, value]) =>
				Object.defineProperty(cjs, k, { value, enumerable: true }),
				"default" in esm ? esm.default : {}
			);`
}

// unenvHint names the ways out of a missing unenv.
func unenvHint(c *Config) string {
	const install = "install wrangler in the project: npm install --save-dev wrangler@4.164.0"
	env := newNodeEnvironment(c.CompatibilityDate, c.CompatibilityFlags)
	if len(env.globals)+len(env.polyfills) == 0 {
		return install + ", or import something else"
	}
	if c.CompatibilityDate < nodeAllNativeSince {
		return install + ", or set compatibility_date to " + nodeAllNativeSince + " or later"
	}
	var off []string
	for _, feature := range nodeFeatures {
		for _, toggle := range feature.toggles {
			if slices.Contains(c.CompatibilityFlags, toggle.off) && !slices.Contains(off, toggle.off) {
				off = append(off, toggle.off)
			}
		}
	}
	return install + ", or remove " + quoteList(off) + " from compatibility_flags"
}

// unenvInstallation is where unenv's modules are.
type unenvInstallation struct {
	installed bool
	wrangler  string // wrangler's own directory, or where it would be; injected files are named as if they were there
	dir       string // where imports of unenv and the preset are resolved from
	version   string // of the preset
}

// findUnenv looks where the project's wrangler would: beside wrangler, wherever a link to it leads.
func findUnenv(root string) unenvInstallation {
	u := unenvInstallation{wrangler: filepath.Join(root, "node_modules", "wrangler"), dir: root}
	if file, ok := nodeResolution.resolve("wrangler/package.json", root); ok {
		u.wrangler = filepath.Dir(file)
		u.dir = u.wrangler
	}
	preset, ok := nodeResolution.resolve(presetPackage+"/package.json", u.dir)
	if !ok {
		return u
	}
	if _, ok := nodeResolution.resolve(unenvPackage+"/package.json", u.dir); ok {
		u.installed = true
		u.version = readPackage(preset).get("version").text()
	}
	return u
}

// resolve finds what an alias stands for: a module that Node.js has stands for itself.
func (u unenvInstallation) resolve(alias string) (string, bool) {
	if isNodeBuiltin(alias) {
		return alias, true
	}
	return nodeResolution.resolve(alias, u.dir)
}
