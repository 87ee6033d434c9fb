package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/evanw/esbuild/pkg/api"
)

// inspection is what can be known about a module without running it.
type inspection struct {
	exports   []string
	imports   []string
	handlers  []string // defined as methods or properties
	listeners []string // registered with addEventListener
	err       string   // first syntax error, as an engine would report it
}

// moduleCache keeps inspections by content: a fleet uploads the same code many times.
type moduleCache struct {
	mu sync.Mutex
	m  map[string]inspection
}

// inspect parses JavaScript and lists what it imports and exports.
func (c *moduleCache) inspect(hash, name string, code []byte) inspection {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, ok := c.m[hash]; ok {
		return i
	}
	i := inspect(name, code)
	if c.m == nil {
		c.m = map[string]inspection{}
	}
	c.m[hash] = i
	return i
}

func inspect(name string, code []byte) inspection {
	var out inspection
	result := api.Build(api.BuildOptions{
		Stdin:         &api.StdinOptions{Contents: string(code), Sourcefile: name, Loader: api.LoaderJS},
		Bundle:        true,
		Format:        api.FormatESModule,
		Target:        api.ESNext,
		Metafile:      true,
		LogLevel:      api.LogLevelSilent,
		LegalComments: api.LegalCommentsNone,
		Outfile:       "out.js",
		Plugins: []api.Plugin{{Name: "all-external", Setup: func(b api.PluginBuild) {
			b.OnResolve(api.OnResolveOptions{Filter: ".*"}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
				if a.Kind == api.ResolveJSImportStatement {
					out.imports = append(out.imports, a.Path)
				}
				return api.OnResolveResult{Path: a.Path, External: true}, nil
			})
		}}},
	})
	if len(result.Errors) > 0 {
		e := result.Errors[0]
		out.err = "Uncaught SyntaxError: " + e.Text
		if e.Location != nil {
			out.err += fmt.Sprintf("\n  at %s:%d:%d", name, e.Location.Line, e.Location.Column)
		}
		return out
	}
	out.exports = exportsOf(result.Metafile)
	out.handlers, out.listeners = handlersIn(string(code))
	slices.Sort(out.imports)
	out.imports = slices.Compact(out.imports)
	return out
}

// ambient are import specifiers that the runtime provides; Node's modules also without their prefix.
var ambient = regexp.MustCompile(`^(cloudflare|node|workerd):|^(assert|async_hooks|buffer|child_process|cluster|console|constants|crypto|dgram|` +
	`diagnostics_channel|dns|domain|events|fs|http|http2|https|inspector|module|net|os|path|perf_hooks|process|punycode|querystring|` +
	`readline|repl|stream|string_decoder|sys|timers|tls|trace_events|tty|url|util|v8|vm|wasi|worker_threads|zlib)(/|$)`)

// exportsOf reads the exports of the only output from esbuild's metafile.
func exportsOf(metafile string) []string {
	var meta struct {
		Outputs map[string]struct {
			Exports []string `json:"exports"`
		} `json:"outputs"`
	}
	if err := json.Unmarshal([]byte(metafile), &meta); err != nil {
		return nil
	}
	var names []string
	for _, o := range meta.Outputs {
		names = append(names, o.Exports...)
	}
	slices.Sort(names)
	return names
}

// checkImports refuses a module graph with a hole, as the runtime does at startup.
func checkImports(modules []servedModule, found map[string]inspection) error {
	names := map[string]bool{}
	for _, m := range modules {
		names[strings.TrimPrefix(path.Clean(m.Name), "./")] = true
	}
	for _, m := range modules {
		for _, spec := range found[m.Name].imports {
			if ambient.MatchString(spec) || spec == "__STATIC_CONTENT_MANIFEST" {
				continue
			}
			target := spec
			if strings.HasPrefix(spec, "./") || strings.HasPrefix(spec, "../") {
				target = path.Join(path.Dir(m.Name), spec)
			}
			if !names[strings.TrimPrefix(path.Clean(target), "./")] && !names[strings.TrimPrefix(path.Clean(spec), "./")] {
				return refuse(http.StatusBadRequest, 10021, "Uncaught Error: No such module %q.\n  imported from %q", strings.TrimPrefix(target, "./"), m.Name)
			}
		}
	}
	return nil
}

// handlerNames are the event handlers that the platform calls.
var handlerNames = []string{"fetch", "scheduled", "queue", "email", "tail", "trace", "alarm", "test"}

// What stands around the name of a handler where it defines one.
var (
	afterHandler = regexp.MustCompile(`^\s*(\([^)]*\)\s*\{|:|,|\}|=[^=])`)
	inListener   = regexp.MustCompile(`addEventListener\(\s*$`)
)

// handlersIn guesses the handlers of a Worker from its text: which of the known names are defined as a method or a
// property, and which are listened to (service worker syntax). The real platform asks the running Worker.
func handlersIn(code string) (methods, listeners []string) {
	methods, listeners = []string{}, []string{}
	for _, name := range handlerNames {
		defined, listened := false, false
		for at := 0; !defined || !listened; {
			i := strings.Index(code[at:], name)
			if i < 0 {
				break
			}
			start := at + i
			at = start + len(name)
			before, after := code[max(0, start-40):start], code[at:min(len(code), at+200)]
			switch last := before[max(0, len(before)-1):]; {
			case last == "" || strings.Contains(" \t\r\n,{;", last):
				defined = defined || afterHandler.MatchString(after)
			case strings.Contains("\"'`", last):
				listened = listened || inListener.MatchString(before[:len(before)-1])
			}
		}
		if defined {
			methods = append(methods, name)
		}
		if listened {
			listeners = append(listeners, name)
		}
	}
	return methods, listeners
}
