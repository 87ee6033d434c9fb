package wrangler

import (
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// ModuleType is what the runtime makes of a module.
type ModuleType string

// The types of modules, by wrangler's names.
const (
	ESModule     ModuleType = "esm"
	CommonJS     ModuleType = "commonjs"
	CompiledWasm ModuleType = "compiled-wasm"
	DataModule   ModuleType = "buffer"
	TextModule   ModuleType = "text"

	PythonModule      ModuleType = "python"
	PythonRequirement ModuleType = "python-requirement"
)

// ContentType is the Content-Type of the module's part in an upload (wire.md §3.2).
func (t ModuleType) ContentType() string {
	switch t {
	case ESModule:
		return "application/javascript+module"
	case CommonJS:
		return "application/javascript"
	case CompiledWasm:
		return "application/wasm"
	case TextModule:
		return "text/plain"
	case PythonModule:
		return "text/x-python"
	case PythonRequirement:
		return "text/x-python-requirement"
	default:
		return "application/octet-stream"
	}
}

// Module is one file of a Worker.
type Module struct {
	Name    string // as code imports it and as its part is named; "./" in front of a collected one
	Type    ModuleType
	Content []byte
}

var notIdentifier = regexp.MustCompile(`[^a-zA-Z0-9_$]`)

// Identifier is Name as a JavaScript identifier: what code in service-worker format calls the module, and
// the name of the wasm_module, text_blob or data_blob binding and of the part that it is uploaded with.
func (m Module) Identifier() string { return notIdentifier.ReplaceAllString(m.Name, "_") }

// ruleTypes maps the type of a rule to the type of the modules it makes.
var ruleTypes = map[string]ModuleType{
	"ESModule":          ESModule,
	"CommonJS":          CommonJS,
	"CompiledWasm":      CompiledWasm,
	"Data":              DataModule,
	"Text":              TextModule,
	"PythonModule":      PythonModule,
	"PythonRequirement": PythonRequirement,
}

// defaultRules come after the user's (wire.md §10).
var defaultRules = []Rule{
	{Type: "Text", Globs: []string{"**/*.txt", "**/*.html", "**/*.sql"}},
	{Type: "Data", Globs: []string{"**/*.bin"}},
	{Type: "CompiledWasm", Globs: []string{"**/*.wasm", "**/*.wasm?module"}},
}

// ruleMatch is one glob of a rule, compiled both ways.
type ruleMatch struct {
	rule Rule
	// specifier matches what an import says. Under wrangler too it is Go that compiles it, inside esbuild.
	specifier *regexp.Regexp
	file      *regexp.Regexp // matches the path of a file below the module root
}

// isScript says that the rule is about JavaScript: bundling ignores those, only files that are found beside
// the entry point become modules by them.
func (m ruleMatch) isScript() bool { return m.rule.Type == "ESModule" || m.rule.Type == "CommonJS" }

// moduleRules is what a configuration's rules amount to.
type moduleRules struct {
	kept    []ruleMatch
	dropped []ruleMatch // an earlier rule of the type has the last word
}

// newModuleRules joins the user's rules and the defaults. A rule ends its type unless it falls through: later
// rules of the same type, the defaults included, are dropped.
func newModuleRules(c *Config) (moduleRules, Findings) {
	var (
		out      moduleRules
		findings Findings
		ended    = map[string]int{}   // type to the index of the rule that ended it
		unsaid   = map[int][]string{} // rules that ended their type without saying so, and what that drops
	)
	all := slices.Concat(c.Rules, defaultRules)
	for i, rule := range all {
		end, dropped := ended[rule.Type]
		if dropped && all[end].Fallthrough == nil {
			what := strings.Join(rule.Globs, ", ")
			if i >= len(c.Rules) {
				what += " (a default)"
			}
			unsaid[end] = append(unsaid[end], what)
		}
		if !dropped && (rule.Fallthrough == nil || !*rule.Fallthrough) {
			ended[rule.Type] = i
		}
		for _, glob := range rule.Globs {
			file, err := regexp.Compile(globExpression(glob, true))
			specifier, err2 := regexp.Compile(globExpression(glob, false))
			if err := cmp.Or(err, err2); err != nil {
				findings = append(findings, c.At(Finding{
					Rule:     "module-rule",
					Level:    LevelError,
					Message:  fmt.Sprintf("the glob %q cannot be used: %s", glob, strings.TrimPrefix(err.Error(), "error parsing regexp: ")),
					Expected: "a pattern of *, ** and literal characters, without backslashes",
				}, "rules", i, "globs"))
				continue
			}
			match := ruleMatch{rule, specifier, file}
			if dropped {
				out.dropped = append(out.dropped, match)
			} else {
				out.kept = append(out.kept, match)
			}
		}
	}
	for end, dropped := range unsaid {
		findings = append(findings, c.At(Finding{
			Rule:  "module-rule-ends-type",
			Level: LevelWarning,
			Message: fmt.Sprintf("this rule is the last one of type %s, so these are ignored: %s",
				all[end].Type, strings.Join(dropped, "; ")),
			Hint: `add "fallthrough": true to let later rules of the type work too, or "fallthrough": false to say that this is meant`,
		}, "rules", end))
	}
	return out, findings
}

// globExpression is the regular expression that npm's glob-to-regexp 0.4.1 makes of a glob, which knows
// neither ? nor [] nor {} without its "extended" option. Imports are matched without globstar, where any run
// of stars also matches slashes; files with it, where only ** between slashes does. A backslash is copied as
// it is, so that it escapes what follows.
func globExpression(glob string, globstar bool) string {
	var b strings.Builder
	b.WriteByte('^')
	for i := 0; i < len(glob); i++ {
		c := glob[i]
		switch {
		case c == '*':
			start := i
			for i+1 < len(glob) && glob[i+1] == '*' {
				i++
			}
			whole := i > start && (start == 0 || glob[start-1] == '/') && (i+1 == len(glob) || glob[i+1] == '/')
			switch {
			case !globstar:
				b.WriteString(".*")
			case whole:
				b.WriteString("((?:[^/]*(?:/|$))*)")
				i++ // the slash is part of the group
			default:
				b.WriteString("([^/]*)")
			}
		case strings.IndexByte("/$^+.()=!|?[]{},", c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('$')
	return b.String()
}

// collected is a module that an import asked for.
type collected struct {
	module   Module
	importer string // absolute path of the file that imports it
	file     string // absolute path of its content
}

// skipRules marks the resolution that the module rules themselves ask for.
type skipRules struct{}

// rulesPlugin makes modules of the imports that match the rules. In module format such an import is left in
// the code, under the module's name; in service-worker format it becomes an identifier.
func (b *bundler) rulesPlugin() api.Plugin {
	return api.Plugin{Name: "module-rules", Setup: func(pb api.PluginBuild) {
		if pattern := b.legacyPattern(); pattern != "" {
			pb.OnResolve(api.OnResolveOptions{Filter: pattern}, b.resolveLegacy)
		}
		for _, match := range b.rules.kept {
			if match.isScript() && !b.findsModules() {
				continue
			}
			pb.OnResolve(api.OnResolveOptions{Filter: match.specifier.String()}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
				return b.resolveModule(pb, match, args)
			})
			if b.format == ServiceWorker {
				pb.OnLoad(api.OnLoadOptions{Filter: match.specifier.String()}, func(args api.OnLoadArgs) (api.OnLoadResult, error) {
					code := "export default " + notIdentifier.ReplaceAllString(args.Path, "_") + ";"
					return api.OnLoadResult{Contents: &code, Loader: api.LoaderJS}, nil
				})
			}
		}
		for _, match := range b.rules.dropped {
			pb.OnResolve(api.OnResolveOptions{Filter: match.specifier.String()}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
				return resolveError("module-rule-ignored",
					fmt.Sprintf("%q matches a module rule of type %s that is ignored: an earlier rule of that type does not fall through", args.Path, match.rule.Type),
					`add "fallthrough": true to the earlier rule`), nil
			})
		}
	}}
}

func (b *bundler) resolveModule(pb api.PluginBuild, match ruleMatch, args api.OnResolveArgs) (api.OnResolveResult, error) {
	if _, skip := args.PluginData.(skipRules); skip {
		return api.OnResolveResult{}, nil
	}
	specifier, _, _ := strings.Cut(args.Path, "?")
	file := filepath.Join(args.ResolveDir, specifier)
	if b.found[file] {
		return api.OnResolveResult{Path: specifier, External: true}, nil
	}
	if match.isScript() {
		return api.OnResolveResult{}, nil
	}
	resolved := pb.Resolve(specifier, api.ResolveOptions{
		Kind: args.Kind, Importer: args.Importer, ResolveDir: args.ResolveDir, PluginData: skipRules{},
	})
	if resolved.Path != "" {
		file = resolved.Path
	}
	// wrangler's last word is the npm package "resolve", which knows neither "exports" nor tsconfig's paths.
	if target, ok := npmResolution.resolve(specifier, args.ResolveDir); ok {
		file = target
	}
	module, err := b.readModule(match.rule, specifier, file)
	if err != nil {
		return b.unreadableModule(args.Path, file, err), nil
	}
	b.collect(collected{module, args.Importer, file})
	return api.OnResolveResult{Path: module.Name, External: b.format == Modules, Namespace: moduleNamespace(match.rule)}, nil
}

// moduleNamespace shows in the comments of service-worker bundles.
func moduleNamespace(rule Rule) string { return "wrangler-module-" + rule.Type }

func (b *bundler) readModule(rule Rule, specifier, file string) (Module, error) {
	content, err := b.readFile(file)
	if err != nil {
		return Module{}, err
	}
	return Module{Name: b.moduleName(specifier, content), Type: ruleTypes[rule.Type], Content: content}, nil
}

// moduleName names a module by its content, so that it is the same wherever it is imported from.
func (b *bundler) moduleName(specifier string, content []byte) string {
	sum := sha1.Sum(content)
	hash := hex.EncodeToString(sum[:])
	switch {
	case !b.config.PreserveFileNames:
		return "./" + hash + "-" + path.Base(specifier)
	case path.IsAbs(specifier):
		return "./" + hash + "/" + path.Base(specifier)
	default:
		return specifier
	}
}

func (b *bundler) unreadableModule(specifier, file string, err error) api.OnResolveResult {
	if errors.Is(err, errOutside) {
		return resolveError("outside-project", b.show(file)+" is outside the project", outsideHint)
	}
	if errors.Is(err, os.ErrNotExist) {
		return resolveError("unresolved-import", fmt.Sprintf("could not resolve %q: there is no file %s", specifier, b.show(file)), "")
	}
	return resolveError("unresolved-import", fmt.Sprintf("could not read %q: %v", specifier, pathCause(err)), "")
}

// legacyPattern matches the names of the files beside the entry point, which may be imported without "./"
// since wrangler 1 allowed it. It is "" when there are none.
func (b *bundler) legacyPattern() string {
	entries, err := os.ReadDir(filepath.Dir(b.entry))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && e.Name() != filepath.Base(b.entry) {
			names = append(names, regexp.QuoteMeta(e.Name()))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "^(" + strings.Join(names, "|") + ")$"
}

func (b *bundler) resolveLegacy(args api.OnResolveArgs) (api.OnResolveResult, error) {
	if args.Kind != api.ResolveJSImportStatement && args.Kind != api.ResolveJSRequireCall {
		return api.OnResolveResult{}, nil
	}
	b.add(Finding{
		Rule:    "legacy-module-import",
		Level:   LevelWarning,
		File:    b.show(args.Importer),
		Message: fmt.Sprintf("%q is taken for the file beside the entry point; this will stop working", args.Path),
		Hint:    fmt.Sprintf("import %q", "./"+args.Path),
	})
	file := filepath.Join(filepath.Dir(b.entry), args.Path)
	content, err := b.readFile(file)
	if err != nil {
		return b.unreadableModule(args.Path, file, err), nil
	}
	name := b.moduleName(args.Path, content)
	for _, match := range b.rules.kept {
		if !match.specifier.MatchString(name) {
			continue
		}
		b.collect(collected{Module{name, ruleTypes[match.rule.Type], content}, args.Importer, file})
		return api.OnResolveResult{Path: name, External: b.format == Modules, Namespace: moduleNamespace(match.rule)}, nil
	}
	return api.OnResolveResult{}, nil
}
