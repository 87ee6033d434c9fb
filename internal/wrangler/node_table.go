package wrangler

import (
	"slices"
	"sort"
)

// What follows is data: what unenv 2.0.0-rc.24 and @cloudflare/unenv-preset 2.16.2, which wrangler 4.164.0
// comes with, decide for a compatibility date and flags. A test asks the preset itself for every day and
// compares.

// unenvPresetVersion is the version of the preset that the table is taken from.
const unenvPresetVersion = "2.16.2"

// The first compatibility dates with another behaviour.
const (
	nodeDefaultSince   = "2026-08-04" // nodejs_compat is on without a flag
	nodeV2Since        = "2024-09-23" // nodejs_compat means unenv
	nodeAllNativeSince = "2026-03-17" // without flags to the contrary every module of Node.js is the runtime's own
	navigatorSince     = "2022-03-21" // navigator.userAgent exists
)

// nodeToggle is something of the runtime that a date switches on and flags can switch either way.
type nodeToggle struct{ since, on, off string }

func (t nodeToggle) enabled(date string, flags []string) bool {
	return (date >= t.since || slices.Contains(flags, t.on)) && !slices.Contains(flags, t.off)
}

// nodeModuleToggle is the usual one of a module.
func nodeModuleToggle(since, name string) nodeToggle {
	return nodeToggle{since, "enable_nodejs_" + name, "disable_nodejs_" + name}
}

// nodeFeature is a group of modules that are the runtime's own when all its toggles are on. What happens else
// is unenv's business, unless the preset has something to say about it too.
type nodeFeature struct {
	modules  []string
	toggles  []nodeToggle
	hybrid   bool   // else the only module is the preset's, and so is the global of its name
	polyfill string // else this file of the preset is loaded first
}

var nodeFeatures = []nodeFeature{
	{
		modules: []string{"_http_agent", "_http_client", "_http_common", "_http_incoming", "_http_outgoing", "http", "https"},
		toggles: []nodeToggle{nodeModuleToggle("2025-08-15", "http_modules")},
	},
	{
		modules: []string{"_http_server"},
		toggles: []nodeToggle{nodeModuleToggle("2025-08-15", "http_modules"), nodeModuleToggle("2025-09-01", "http_server_modules")},
	},
	{modules: []string{"http2"}, toggles: []nodeToggle{nodeModuleToggle("2025-09-01", "http2_module")}},
	{modules: []string{"os"}, toggles: []nodeToggle{nodeModuleToggle("2025-09-15", "os_module")}},
	{modules: []string{"fs", "fs/promises"}, toggles: []nodeToggle{nodeModuleToggle("2025-09-15", "fs_module")}},
	{modules: []string{"punycode"}, toggles: []nodeToggle{nodeModuleToggle("2025-12-04", "punycode_module")}},
	{modules: []string{"cluster"}, toggles: []nodeToggle{nodeModuleToggle("2025-12-04", "cluster_module")}},
	{modules: []string{"trace_events"}, toggles: []nodeToggle{nodeModuleToggle("2025-12-04", "trace_events_module")}},
	{modules: []string{"domain"}, toggles: []nodeToggle{nodeModuleToggle("2025-12-04", "domain_module")}},
	{modules: []string{"wasi"}, toggles: []nodeToggle{nodeModuleToggle("2025-12-04", "wasi_module")}},
	{modules: []string{"console"}, toggles: []nodeToggle{nodeModuleToggle("2025-09-21", "console_module")}, hybrid: true},
	{modules: []string{"vm"}, toggles: []nodeToggle{nodeModuleToggle("2025-10-01", "vm_module")}},
	{modules: []string{"inspector", "inspector/promises"}, toggles: []nodeToggle{nodeModuleToggle("2026-01-29", "inspector_module")}},
	{modules: []string{"sqlite"}, toggles: []nodeToggle{nodeModuleToggle("2026-01-29", "sqlite_module")}},
	{modules: []string{"dgram"}, toggles: []nodeToggle{nodeModuleToggle("2026-01-29", "dgram_module")}},
	{modules: []string{"_stream_wrap"}, toggles: []nodeToggle{nodeModuleToggle("2026-01-29", "stream_wrap_module")}},
	{modules: []string{"repl"}, toggles: []nodeToggle{nodeModuleToggle("2026-03-17", "repl_module")}},
	{
		modules: []string{"process"},
		toggles: []nodeToggle{
			{"2026-02-19", "fetch_iterable_type_support", "no_fetch_iterable_type_support"},
			{"2026-01-15", "fetch_iterable_type_support_override_adjustment", "no_fetch_iterable_type_support_override_adjustment"},
			{"2025-09-15", "enable_nodejs_process_v2", "disable_nodejs_process_v2"},
		},
		hybrid: true,
	},
	{modules: []string{"v8"}, toggles: []nodeToggle{nodeModuleToggle("2026-03-17", "v8_module")}},
	{modules: []string{"tty"}, toggles: []nodeToggle{nodeModuleToggle("2026-03-17", "tty_module")}},
	{modules: []string{"child_process"}, toggles: []nodeToggle{nodeModuleToggle("2026-03-17", "child_process_module")}},
	{modules: []string{"worker_threads"}, toggles: []nodeToggle{nodeModuleToggle("2026-03-17", "worker_threads_module")}},
	{modules: []string{"readline", "readline/promises"}, toggles: []nodeToggle{nodeModuleToggle("2026-03-17", "readline_module")}},
	{
		modules:  []string{"perf_hooks"},
		toggles:  []nodeToggle{nodeModuleToggle("2026-03-17", "perf_hooks_module")},
		polyfill: presetPackage + "/polyfill/performance",
	},
}

const (
	unenvPackage  = "unenv"
	presetPackage = "@cloudflare/unenv-preset"
)

// nodeNative are the modules that the runtime has at every date that unenv is used for.
var nodeNative = []string{
	"_stream_duplex", "_stream_passthrough", "_stream_readable", "_stream_transform", "_stream_writable",
	"_tls_common", "_tls_wrap", "assert", "assert/strict", "async_hooks", "buffer", "constants", "crypto",
	"diagnostics_channel", "dns", "dns/promises", "events", "module", "net", "path", "path/posix", "path/win32",
	"querystring", "stream", "stream/consumers", "stream/promises", "stream/web", "string_decoder", "sys", "timers",
	"timers/promises", "tls", "url", "util", "util/types", "zlib",
}

// nodeBuiltins are the modules that Node.js has without the prefix "node:" too.
var nodeBuiltins = []string{
	"_http_agent", "_http_client", "_http_common", "_http_incoming", "_http_outgoing", "_http_server",
	"_stream_duplex", "_stream_passthrough", "_stream_readable", "_stream_transform", "_stream_wrap",
	"_stream_writable", "_tls_common", "_tls_wrap", "assert", "assert/strict", "async_hooks", "buffer",
	"child_process", "cluster", "console", "constants", "crypto", "dgram", "diagnostics_channel", "dns",
	"dns/promises", "domain", "events", "fs", "fs/promises", "http", "http2", "https", "inspector",
	"inspector/promises", "module", "net", "os", "path", "path/posix", "path/win32", "perf_hooks", "process",
	"punycode", "querystring", "readline", "readline/promises", "repl", "stream", "stream/consumers",
	"stream/promises", "stream/web", "string_decoder", "sys", "timers", "timers/promises", "tls", "trace_events",
	"tty", "url", "util", "util/types", "v8", "vm", "wasi", "worker_threads", "zlib",
}

// nodeMocked are the modules that unenv only pretends to have.
var nodeMocked = []string{
	"_http_agent", "_http_client", "_http_common", "_http_incoming", "_http_outgoing", "_http_server",
	"_stream_duplex", "_stream_passthrough", "_stream_readable", "_stream_transform", "_stream_wrap",
	"_stream_writable", "_tls_common", "_tls_wrap",
}

// npmShims are packages that unenv replaces. debug is the exception that wrangler makes: it stands for itself.
var npmShims = map[string]string{
	"cross-fetch":                  unenvPackage + "/npm/cross-fetch",
	"cross-fetch/polyfill":         unenvPackage + "/mock/empty",
	"debug":                        "debug",
	"fsevents":                     unenvPackage + "/npm/fsevents",
	"inherits":                     unenvPackage + "/npm/inherits",
	"isomorphic-fetch":             unenvPackage + "/mock/empty",
	"node-fetch":                   unenvPackage + "/npm/node-fetch",
	"node-fetch-native":            unenvPackage + "/npm/node-fetch",
	"node-fetch-native/polyfill":   unenvPackage + "/mock/empty",
	"whatwg-url":                   unenvPackage + "/npm/whatwg-url/index",
	"whatwg-url/webidl2js-wrapper": unenvPackage + "/npm/whatwg-url/webidl2js-wrapper",
}

// nodeEnvironment is how the modules and globals of Node.js are provided.
type nodeEnvironment struct {
	// alias maps what code imports to what it gets: itself, when the runtime has it, or a module of unenv or
	// of the preset.
	alias    map[string]string
	external map[string]bool // targets of alias that are the runtime's own
	// globals are set from the default export of the preset's module of the same name, in this order.
	globals []string
	// polyfills are files of the preset that run before the Worker does.
	polyfills []string
}

// newNodeEnvironment is what unenv's defineEnv returns for wrangler's presets.
func newNodeEnvironment(date string, flags []string) nodeEnvironment {
	env := nodeEnvironment{alias: map[string]string{}, external: map[string]bool{}}
	set := func(module, target string) {
		env.alias[module], env.alias["node:"+module] = target, target
	}
	for _, module := range nodeBuiltins {
		set(module, unenvPackage+"/node/"+module)
	}
	for _, module := range nodeMocked {
		set(module, unenvPackage+"/mock/proxy-cjs")
	}
	set("path/posix", unenvPackage+"/node/path")
	set("path/win32", unenvPackage+"/node/path")
	set("sys", unenvPackage+"/node/util")
	env.alias["node:sqlite"] = unenvPackage + "/node/sqlite"
	for module, target := range npmShims {
		env.alias[module] = target
	}

	native := slices.Clone(nodeNative)
	var hybrid []string
	for _, feature := range nodeFeatures {
		on := true
		for _, toggle := range feature.toggles {
			on = on && toggle.enabled(date, flags)
		}
		switch {
		case on:
			native = append(native, feature.modules...)
		case feature.hybrid:
			hybrid = append(hybrid, feature.modules...)
		case feature.polyfill != "":
			env.polyfills = append(env.polyfills, feature.polyfill)
		}
	}
	for _, module := range native {
		for _, name := range []string{module, "node:" + module} {
			env.alias[name], env.external[name] = name, true
		}
	}
	for _, module := range hybrid {
		set(module, presetPackage+"/node/"+module)
	}
	// unenv's own order has process first.
	sort.SliceStable(hybrid, func(i, j int) bool {
		x, y := hybrid[i], hybrid[j]
		switch {
		case x == "process" && y != "process":
			return true
		case y == "process" && x != "process":
			return false
		}
		return false
	})
	env.globals = hybrid
	return env
}
