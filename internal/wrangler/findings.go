package wrangler

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Levels of a Finding.
const (
	LevelError   = "error"   // nothing can be deployed until it is mended
	LevelWarning = "warning" // wrangler would go on and print this
	LevelNotice  = "notice"  // worth knowing, nothing is wrong
)

// The rules that a configuration can break. Those of the bundle, the assets and the form stand with the code
// that finds them.
//
//	assets-binding       the Worker always runs before the assets and has no binding to fetch them with
//	assets-missing       the directory of the assets is not there
//	assets-route         a route with a path of its own, below which the assets are looked up
//	class-name           the name of a Durable Object class is no identifier, or the class keeps its name
//	compatibility-date   not a date
//	config-choice        a value that is none of those allowed
//	config-conflict      two keys that do not go together
//	config-empty         an empty string or list where there has to be something
//	config-encoding      not UTF-8
//	config-missing       no wrangler.json or wrangler.jsonc
//	config-range         a number that is too small, too large or not whole
//	config-redirect      a build tool's redirect, which is not followed
//	config-required      a key that has to be there
//	config-shadowed      a second configuration beside the one that is used
//	config-syntax        not JSON with comments
//	config-type          a value of the wrong type
//	cron                 a cron expression that Cloudflare refuses
//	custom-domain        a custom domain that is no bare hostname
//	define-only-in-env   an environment defines what the top level does not
//	deprecated-field     a key that will go away
//	duplicate-binding    two bindings of one name
//	duplicate-key        a key given twice in one object
//	duplicate-workflow   two workflows of one name
//	experimental-field   a key that may change at any time
//	inherited-domains    an environment takes over the custom domains of the top level
//	main-missing         the entry point is not there
//	migrations-dir       the folder of a database's migrations is not there, or outside the project
//	migrations-pattern   a migrations_pattern that does not fit migrations_dir or cannot be understood
//	no-lifecycle         Durable Object classes that nothing creates
//	no-service-name      environments without a name at the top level to group them
//	not-inherited        something at the top level that the environment does not inherit and does not have
//	r2-name              not the name of a bucket
//	removed-field        a key that earlier versions of wrangler knew
//	route                a route that is not made as routes are
//	toml-config          a wrangler.toml
//	unexpected-field     a key that nobody knows
//	unknown-env          an environment that the file does not have
//	unsafe-supported     an unsafe binding of a type that has a key of its own
//	unsupported          something that wrangler deploys and shopfleet does not
//	worker-name          not the name of a Worker
//	workflow-name        not the name of a workflow

// Finding is something wrong in the user's world (not an error of ours).
//
// The packages that report findings each declare this same struct, so that one converts to another.
type Finding struct {
	Rule     string // kebab-case name, documented, stable
	Level    string // LevelError, LevelWarning or LevelNotice
	File     string // as the user knows it, slash separated, relative to the project; "" when there is none
	Line     int    // 1-based; 0 unknown
	Column   int    // 1-based, in bytes; 0 unknown
	Message  string // what is wrong
	Expected string // what was expected; may be ""
	Hint     string // what to type or do next; may be ""
	Source   string // the source line, without newline; may be ""
}

// String is "file:line:column: message [rule]", without the parts that are unknown.
func (f Finding) String() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		if f.Line > 0 {
			fmt.Fprintf(&b, ":%d", f.Line)
			if f.Column > 0 {
				fmt.Fprintf(&b, ":%d", f.Column)
			}
		}
		b.WriteString(": ")
	}
	b.WriteString(f.Message)
	if f.Rule != "" {
		fmt.Fprintf(&b, " [%s]", f.Rule)
	}
	return b.String()
}

// Findings is the error returned when the user's files are wrong: every problem at once, sorted by
// file, line, column, rule and message. Use errors.As to tell it from a failure of ours.
type Findings []Finding

// Error is every finding on its own line.
func (fs Findings) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// sorted orders fs for people and drops exact repetitions.
func (fs Findings) sorted() Findings {
	out := slices.Clone(fs)
	sort.SliceStable(out, func(i, j int) bool {
		return cmp.Or(
			cmp.Compare(out[i].File, out[j].File),
			cmp.Compare(out[i].Line, out[j].Line),
			cmp.Compare(out[i].Column, out[j].Column),
			cmp.Compare(out[i].Rule, out[j].Rule),
			cmp.Compare(out[i].Message, out[j].Message),
		) < 0
	})
	return slices.Compact(out)
}

// errors returns the findings that stop a deploy.
func (fs Findings) errors() Findings {
	var out Findings
	for _, f := range fs {
		if f.Level == LevelError {
			out = append(out, f)
		}
	}
	return out
}
