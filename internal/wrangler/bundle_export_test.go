package wrangler

import "maps"

// NodeEnvironment is what nodejs_compat means at a date, in unenv's terms.
func NodeEnvironment(date string, flags []string) (alias map[string]string, inject [][2]string, external map[string]bool, polyfill []string) {
	env := newNodeEnvironment(date, flags)
	for _, name := range env.globals {
		inject = append(inject, [2]string{name, presetPackage + "/node/" + name})
	}
	return env.alias, inject, maps.Clone(env.external), env.polyfills
}

// ResolveUnenv is the file that an alias means to the wrangler installed in the project, or to the project.
func ResolveUnenv(project, alias string) (string, bool) { return findUnenv(project).resolve(alias) }

// Node.js's and the npm package resolve's ways to find a module.
var (
	NodeResolve = nodeResolution.resolve
	NPMResolve  = npmResolution.resolve
)

// What the tests hold to the text of the dependencies.
const (
	ESBuildVersion     = esbuildVersion
	UnenvPresetVersion = unenvPresetVersion
)

var GlobExpression = globExpression

var RewriteSourceMap = rewriteSourceMap
