package wrangler

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// finish fills in what is known only after the build: inputs and digest. output is outputOf the bundle, or of
// one like it in which no replaced file is.
func (b *bundler) finish(out *Bundle, output string) {
	h := sha256.New()
	fmt.Fprintf(h, "esbuild %s\n%q %q\n%s\n", esbuildVersion, out.Format, b.show(b.entry), output)
	b.digestOptions(h)
	for _, file := range slices.Sorted(maps.Keys(b.loaded)) {
		content, err := b.readFile(file)
		if err != nil {
			// What esbuild could not read either has been reported.
			continue
		}
		sum := sha256.Sum256(content)
		out.Inputs = append(out.Inputs, Input{Path: b.show(file), SHA256: hex.EncodeToString(sum[:]), Replaced: b.isReplaced(file)})
	}
	sort.Slice(out.Inputs, func(i, j int) bool { return out.Inputs[i].Path < out.Inputs[j].Path })
	for _, input := range out.Inputs {
		if !input.Replaced {
			fmt.Fprintf(h, "%q %s\n", input.Path, input.SHA256)
		}
	}
	out.digest = hex.EncodeToString(h.Sum(nil))
}

// digestOptions writes what the configuration contributes. The output shows most of it, but not that two
// shops which agree today are built in different ways.
func (b *bundler) digestOptions(w io.Writer) {
	c := b.config
	option := func(name string, value any) { fmt.Fprintf(w, "%s %q\n", name, fmt.Sprint(value)) }
	flag := func(name string, value *bool) {
		if value != nil {
			option(name, *value)
		}
	}
	option("node_env", b.nodeEnv)
	option("compatibility_date", c.CompatibilityDate)
	option("compatibility_flags", strings.Join(c.CompatibilityFlags, " "))
	for _, rule := range c.Rules {
		option("rule", rule.Type)
		option("globs", strings.Join(rule.Globs, "\x00"))
		flag("fallthrough", rule.Fallthrough)
	}
	flag("find_additional_modules", c.FindAdditionalModules)
	option("preserve_file_names", c.PreserveFileNames)
	option("no_bundle", c.NoBundle)
	flag("minify", c.Minify)
	flag("keep_names", c.KeepNames)
	flag("upload_source_maps", c.UploadSourceMaps)
	for _, name := range slices.Sorted(maps.Keys(c.Define)) {
		option("define", name+"\x00"+c.Define[name])
	}
	for _, name := range slices.Sorted(maps.Keys(c.Alias)) {
		option("alias", name+"\x00"+c.Alias[name])
	}
	option("jsx", c.JSXFactory+"\x00"+c.JSXFragment)
	option("module_root", b.show(b.moduleRoot))
}

// outputOf is the hex SHA-256 over a bundle's modules and source maps. It is "" for nil.
func outputOf(out *Bundle) string {
	if out == nil {
		return ""
	}
	h := sha256.New()
	for _, m := range slices.Concat([]Module{out.Main}, out.Modules) {
		fmt.Fprintf(h, "%q %s %d\n%s\n", m.Name, m.Type, len(m.Content), m.Content)
	}
	for _, m := range out.SourceMaps {
		fmt.Fprintf(h, "%q %d\n%s\n", m.Name, len(m.Content), m.Content)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// digestOf is the digest of a bundle without code.
func digestOf(what string) string {
	sum := sha256.Sum256([]byte(what))
	return hex.EncodeToString(sum[:])
}

// usesReplaced says whether the content of a replaced file went into the bundle.
func (b *bundler) usesReplaced() bool {
	for file := range b.loaded {
		if b.isReplaced(file) {
			return true
		}
	}
	return false
}

// buildWithoutReplaced builds again with imports of replaced files left in the code, to see what the bundle is
// without them. It is nil where that cannot be built: the entry point itself is replaced, for example.
func (b *bundler) buildWithoutReplaced() (*Bundle, error) {
	if b.isReplaced(b.entry) {
		return nil, nil
	}
	again := &bundler{
		ctx: b.ctx, config: b.config, nodeEnv: b.nodeEnv, root: b.root, limit: b.limit, entry: b.entry, moduleRoot: b.moduleRoot,
		replace: b.replace, rules: b.rules, node: b.node, format: b.format, loaded: map[string]bool{}, leaveOut: true,
	}
	out, _, err := again.build()
	if out != nil {
		out.Modules = slices.DeleteFunc(out.Modules, func(m Module) bool {
			return b.isReplaced(filepath.Join(b.moduleRoot, filepath.FromSlash(m.Name)))
		})
	}
	return out, err
}

// leaveOutPlugin makes imports of replaced files external, so that the output does not depend on their
// content.
func (b *bundler) leaveOutPlugin() api.Plugin {
	type resolving struct{}
	names := make([]string, 0, len(b.replace))
	for file := range b.replace {
		base := filepath.Base(file)
		names = append(names, regexp.QuoteMeta(strings.TrimSuffix(base, filepath.Ext(base))))
	}
	slices.Sort(names)
	return api.Plugin{Name: "leave-out-replaced-files", Setup: func(pb api.PluginBuild) {
		pb.OnResolve(api.OnResolveOptions{Filter: strings.Join(names, "|")}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
			if args.PluginData != nil || args.Kind == api.ResolveEntryPoint || strings.HasPrefix(args.Path, "node:") {
				return api.OnResolveResult{}, nil
			}
			specifier, _, _ := strings.Cut(args.Path, "?")
			file := filepath.Join(args.ResolveDir, specifier)
			if !b.isReplaced(file) {
				file = pb.Resolve(args.Path, api.ResolveOptions{
					Kind: args.Kind, Importer: args.Importer, ResolveDir: args.ResolveDir, PluginData: resolving{},
				}).Path
			}
			if !b.isReplaced(file) {
				return api.OnResolveResult{}, nil
			}
			return api.OnResolveResult{Path: "replaced:" + b.show(file), External: true}, nil
		})
	}}
}
