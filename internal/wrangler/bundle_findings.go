package wrangler

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// The rules that code can break.
//
//	alias-target           an alias for something that is not there
//	base-dir               base_dir is not a directory
//	build-command          build.command cannot be run or fails
//	class-not-exported     a Durable Object or Workflow without its class
//	code                   what else esbuild finds wrong, or warns of
//	compatibility-flags    flags that wrangler refuses to build with
//	duplicate-module       two modules of one name, or two types for one module
//	entry-format           exports and addEventListener together
//	legacy-module-import   a file beside the entry point imported without "./"
//	main-encoding          an entry point that is not UTF-8, with no_bundle
//	main-missing           the entry point is not there
//	main-python            an entry point in Python
//	module-rule            a glob that cannot be used
//	module-rule-ends-type  a rule after which others of its type are ignored
//	module-rule-ignored    an import that matches an ignored rule
//	no-bundle              an option that has no effect with no_bundle
//	node-import            a module of Node.js, without nodejs_compat
//	node-runtime-missing   unenv is needed and not installed
//	node-runtime-version   unenv is installed in another version
//	outside-project        code, a module or a tsconfig from elsewhere on the machine
//	service-worker-format  something that only a module can have
//	source-map             a source map that was asked for and cannot be read
//	unresolved-import      an import of nothing

// addMessages turns what esbuild says into findings. Messages of our own plugins bring their rule; esbuild's
// are "unresolved-import" or "code".
func (b *bundler) addMessages(messages []api.Message, level string) {
	for _, m := range messages {
		b.add(b.messageFinding(m, level))
	}
}

var (
	unresolved = regexp.MustCompile(`^Could not resolve "(.+?)"$`)
	// externalNote is esbuild's advice to mark a path as external, which a configuration cannot do.
	externalNote = "You can mark the path"
)

func (b *bundler) messageFinding(m api.Message, level string) Finding {
	if m.Detail == nil && (b.quotesElsewhere(m.Location) || slices.ContainsFunc(m.Notes, func(n api.Note) bool { return b.quotesElsewhere(n.Location) })) {
		return b.unquoted(m, level)
	}
	f := Finding{Rule: "code", Level: level, Message: m.Text}
	var hints []string
	if detail, ok := m.Detail.(pluginDetail); ok {
		f.Rule = detail.rule
		hints = append(hints, detail.hint)
	}
	for _, note := range m.Notes {
		if strings.HasPrefix(note.Text, externalNote) {
			hints = append(hints, `or map the import to a file that exists, with "alias" in `+b.config.File)
			continue
		}
		hints = append(hints, noteHint(note))
	}
	if match := unresolved.FindStringSubmatch(m.Text); match != nil {
		f.Rule = "unresolved-import"
		if isNodeBuiltin(match[1]) {
			hints = []string{b.node.builtinHint(match[1])}
		}
	}
	if loc := m.Location; loc != nil {
		f.File, f.Line, f.Column, f.Source = loc.File, loc.Line, loc.Column+1, loc.LineText
		if loc.Namespace != "" && loc.Namespace != "file" {
			f.File = loc.Namespace + ":" + loc.File
		}
		if loc.Suggestion != "" {
			hints = append(hints, "write "+loc.Suggestion)
		}
	} else {
		f = b.placeOption(f)
	}
	f.Hint = strings.Join(slices.DeleteFunc(hints, func(h string) bool { return h == "" }), "\n")
	return f
}

// quotesElsewhere says whether a message that is about loc may quote a file that is not known to be inside: esbuild
// reads more than it asks inputsPlugin for. Modules that are no files came through a plugin, or from an import's text.
func (b *bundler) quotesElsewhere(loc *api.Location) bool {
	if loc == nil || loc.Namespace != "" && loc.Namespace != "file" {
		return false
	}
	file := filepath.FromSlash(loc.File)
	// What esbuild appends to the path of a file that is imported in some way.
	withoutSuffix, _, _ := strings.Cut(file, " with {")
	withoutQuery := withoutSuffix
	if i := strings.IndexAny(withoutSuffix, "?#"); i >= 0 {
		withoutQuery = withoutSuffix[:i]
	}
	for _, name := range []string{file, withoutSuffix, withoutQuery} {
		if !filepath.IsAbs(name) {
			name = filepath.Join(b.root, name)
		}
		switch {
		case b.isReplaced(name):
			return false
		case b.placeOf(name) == inside:
			return false
		case b.placeOf(name) == elsewhere:
			return true
		}
	}
	return true
}

// unquoted is a message in words of our own. Where it is about a file inside, that place stays.
func (b *bundler) unquoted(m api.Message, level string) Finding {
	f := Finding{
		Rule: "outside-project", Level: level, Hint: outsideHint,
		Message: "esbuild has something to say about a file outside the project, which is not repeated here",
	}
	if loc := m.Location; loc != nil {
		f.File, f.Line, f.Column = loc.File, loc.Line, loc.Column+1
		if !b.quotesElsewhere(loc) {
			f.Source = loc.LineText
		}
	}
	return f
}

// maxSourceLine is the length in bytes of a source line that is worth showing: minified code has one line.
const maxSourceLine = 1000

// cleanFinding keeps control characters out of findings, which show code and what commands print, but for
// the ends of a hint's lines.
func cleanFinding(f Finding) Finding {
	line := func(s string) string { return printable(strings.ReplaceAll(s, "\n", " ")) }
	f.File, f.Message, f.Expected, f.Source = line(f.File), line(f.Message), line(f.Expected), line(f.Source)
	if len(f.Source) > maxSourceLine {
		f.Source = ""
	}
	hints := strings.Split(f.Hint, "\n")
	for i := range hints {
		hints[i] = printable(hints[i])
	}
	f.Hint = strings.Join(hints, "\n")
	return f
}

// noteHint is a note in one line, with the place that it is about.
func noteHint(note api.Note) string {
	text := strings.TrimSpace(note.Text)
	if loc := note.Location; loc != nil {
		text = fmt.Sprintf("%s:%d:%d: %s", loc.File, loc.Line, loc.Column+1, text)
		if loc.Suggestion != "" {
			text += ": " + loc.Suggestion
		}
	}
	return text
}

// placeOption finds the key of the configuration that a message without a position is about: a define that is
// no JavaScript, a tsconfig that is not there.
func (b *bundler) placeOption(f Finding) Finding {
	for _, key := range slices.Sorted(maps.Keys(b.config.Define)) {
		if strings.Contains(f.Message, fmt.Sprintf("%q", key)) || strings.Contains(f.Message, b.config.Define[key]) && b.config.Define[key] != "" {
			return b.config.At(f, "define", key)
		}
	}
	if b.config.TSConfig != "" && strings.Contains(f.Message, "tsconfig") {
		return b.config.At(f, "tsconfig")
	}
	return b.config.At(f, "main")
}
