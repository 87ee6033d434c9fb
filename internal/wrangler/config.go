package wrangler

import (
	"encoding/json"
)

// Project is one wrangler configuration file, read and syntactically sound, not yet resolved for an
// environment. It is immutable and safe for concurrent use.
type Project struct {
	Dir  string // absolute path of the directory that paths in the file are relative to
	File string // name of the file relative to Dir, slash separated

	src  *source
	root *value
	// notices were found while looking for the file; every Config of the project carries them.
	notices []Finding
}

// Config is a configuration resolved for one environment, as wrangler 4.164.0 resolves it (wire.md §9).
// Read it, do not change it; it is then safe for concurrent use.
//
// Paths are absolute and cleaned unless a field says otherwise. A json.RawMessage holds the value as
// JavaScript's JSON.stringify would print it; nil means that the key is absent.
type Config struct {
	File         string // Project.File
	Dir          string // Project.Dir
	Env          string // the environment that was asked for; "" is the top level
	TopLevelName string // the top level's name, "" when it has none
	Name         string // the Worker's name: env.E.name, or "<top-level name>-<E>"; "" when there is none

	AccountID          string
	Main               string // the entry point; "" for a Worker of assets only
	BaseDir            string // "" when not set: additional modules are then looked for beside Main
	TSConfig           string // "" when not set
	CompatibilityDate  string
	CompatibilityFlags []string

	// Bindings are in the order wrangler emits them (wire.md §3.2), each as it travels (§3.3). The binding of
	// the assets and those of WASMModules, TextBlobs and DataBlobs are among them; secrets are not.
	Bindings []Binding
	D1       []D1Database

	Crons    []string
	CronsSet bool // false: triggers.crons is undefined, the schedules of the Worker are left alone
	Routes   []Route

	WorkersDev    bool // the value configured or, when it is not, whether there are no routes (wire.md §3.6)
	WorkersDevSet bool // workers_dev is in the file
	PreviewURLs   *bool

	Assets                *Assets // nil when there are none
	Rules                 []Rule  // the user's; wrangler's own defaults are not among them
	FindAdditionalModules *bool
	PreserveFileNames     bool
	NoBundle              bool
	Minify                *bool
	KeepNames             *bool
	UploadSourceMaps      *bool
	Define                map[string]string
	Alias                 map[string]string
	JSXFactory            string // default React.createElement
	JSXFragment           string // default React.Fragment
	Build                 Build

	// WASMModules, TextBlobs and DataBlobs are the files that a Worker in service-worker format is
	// uploaded with, by binding name, in the order of the file.
	WASMModules, TextBlobs, DataBlobs []FileBinding

	Observability          json.RawMessage
	Limits                 json.RawMessage
	Placement              json.RawMessage // as it travels: nil when the mode is "off"
	Cache                  json.RawMessage // metadata calls it cache_options
	TailConsumers          json.RawMessage
	StreamingTailConsumers json.RawMessage
	Exports                json.RawMessage // in wrangler's order: Workers, Durable Objects, workflows; nil when there are none
	Containers             json.RawMessage
	Logpush                *bool

	DOMigrations []DOMigration
	// DOExports says that Exports declares Durable Objects: they are reconciled by an upload that is a PUT.
	DOExports bool
	// CodeUpdateStrategy is durable_objects.code_update_strategy with its defaults, as it travels: how running
	// Durable Objects get new code.
	CodeUpdateStrategy json.RawMessage

	RequiredSecrets []string // secrets.required
	KeepVars        bool
	UnsafeMetadata  json.RawMessage // unsafe.metadata, merged over the upload's metadata

	PackageDependencies        *bool    // dependencies_instrumentation.enabled
	PackageDependenciesExclude []string // dependencies_instrumentation.exclude_packages

	// Tags mark the Worker as one of a service's environments: "cf:service=…" and "cf:environment=…".
	// Empty when the file defines no environment.
	Tags []string

	// Warnings is everything that wrangler would print and go on, sorted; no finding in it has LevelError.
	Warnings []Finding

	project *Project
}

// Path is where the database stands in the file: arguments for Config.Position and Config.At.
func (d D1Database) Path() []any { return d.path }

// Path is where the route stands in the file: arguments for Config.Position and Config.At.
func (r Route) Path() []any { return r.path }

// D1Database is one entry of d1_databases.
type D1Database struct {
	Binding           string
	DatabaseName      string
	DatabaseID        string // "" when it is left to the account: found or made by name
	PreviewDatabaseID string
	InternalEnv       string
	MigrationsDir     string // as configured, relative to the project; "migrations" when it is not
	MigrationsTable   string // "d1_migrations" when it is not configured
	MigrationsPattern string // "" when it is not configured

	path   []any // where it stands in the file
	hasDir bool  // migrations_dir is in the file
}

// Route is one route or custom domain. A route given as a string has only a Pattern.
type Route struct {
	Pattern         string
	ZoneID          string
	ZoneName        string
	CustomDomain    bool
	Enabled         *bool           // custom domains only
	PreviewsEnabled *bool           // custom domains only
	Raw             json.RawMessage // as PUT …/routes sends it: the object configured, {"pattern": …} for a string (wire.md §4.2)

	path []any // where it stands in the file
}

// Rule says which imports become modules of their own, and of which type.
type Rule struct {
	Type        string // ESModule, CommonJS, CompiledWasm, Text, Data, PythonModule or PythonRequirement
	Globs       []string
	Fallthrough *bool
}

// Build is the command that runs before bundling.
type Build struct {
	Command string // "" when there is none
	Cwd     string // as configured, relative to the project; "" when it is not
}

// Assets is the static assets section.
type Assets struct {
	Directory        string // absolute; "" when not set
	Binding          string
	HTMLHandling     string
	NotFoundHandling string
	BasePath         string
	RunWorkerFirst   json.RawMessage // nil, true, false or a list of patterns
}

// FileBinding names a file that is uploaded as a part of its own.
type FileBinding struct {
	Name string
	Path string
}

// DOMigration is one entry of migrations: a change to the Worker's Durable Object classes.
type DOMigration struct {
	Tag  string
	Step json.RawMessage // the entry without its tag, as it travels in migrations.steps (wire.md §3.4)
}

// Position is where a key stands in the file: line and column are 1-based, the column in bytes. path is made
// of strings (keys) and ints (indexes): Position("env", "swicked", "d1_databases", 0, "database_id"). A path
// that does not begin with "env" is looked up in the environment first and at the top level when the
// environment does not have its first key. For a path that does not exist it is the position of the nearest
// part of it that does.
func (c *Config) Position(path ...any) (line, column int) {
	return c.project.src.position(c.offset(path))
}

// At returns f with the file, position and source line of a key, for findings made elsewhere. path is as for
// Position.
func (c *Config) At(f Finding, path ...any) Finding {
	return c.project.src.at(c.offset(path), f)
}

func (c *Config) offset(path []any) int {
	root := c.project.root
	if c.Env != "" && len(path) > 0 && path[0] != "env" {
		if first, ok := path[0].(string); ok && root.at("env", c.Env).get(first) != nil {
			path = append([]any{"env", c.Env}, path...)
		}
	}
	return root.locate(path...)
}
