package wrangler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The files at the root of an assets directory that configure assets and are never published themselves.
const (
	assetsIgnoreFile = ".assetsignore"
	redirectsFile    = "_redirects"
	headersFile      = "_headers"
)

var metaFiles = []string{assetsIgnoreFile, redirectsFile, headersFile}

// readMeta reads them. exists tells whether there is a directory at all.
func (w *assetWalk) readMeta(exists bool) error {
	patterns := make([]string, 0, len(metaFiles))
	for _, name := range metaFiles {
		patterns = append(patterns, "/"+name)
	}
	text, err := w.metaFile(assetsIgnoreFile, exists)
	if err != nil {
		return err
	}
	if text != nil {
		w.hasIgnore = true
		patterns = append(patterns, strings.Split(strings.TrimPrefix(*text, "\ufeff"), "\n")...)
	}
	var bad []badPattern
	w.rules, bad = parseIgnore(patterns)
	for _, b := range bad {
		w.findings = append(w.findings, Finding{
			Rule: "assetsignore-pattern", Level: LevelError,
			File: w.show(assetsIgnoreFile), Line: b.line - len(metaFiles) + 1, Column: 1,
			Message: fmt.Sprintf("the pattern cannot be read: %v", b.err), Expected: "a pattern as in .gitignore",
			Hint: "put a backslash before a character that should stand for itself", Source: strings.TrimSuffix(b.pattern, "\r"),
		})
	}
	if w.redirects, err = w.metaFile(redirectsFile, exists); err != nil {
		return err
	}
	w.headers, err = w.metaFile(headersFile, exists)
	return err
}

// metaFile returns the text of one of them, or nil when there is none.
func (w *assetWalk) metaFile(name string, exists bool) (*string, error) {
	content, replaced := w.replace[name]
	if !replaced {
		if !exists {
			return nil, nil
		}
		file := filepath.Join(w.dir, name)
		info, err := os.Stat(file)
		switch {
		case os.IsNotExist(err):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("reading assets: %w", err)
		case !info.Mode().IsRegular():
			w.fileFinding("asset-kind", name, name+" is not a file", "remove it: the name is reserved at the top of an assets directory")
			return nil, nil
		}
		inside, err := w.inside(file)
		if err != nil {
			return nil, err
		}
		if !inside {
			w.fileFinding("asset-link", name, "the symbolic link leads out of the project, so the file is not part of what is deployed",
				"replace the link by the file")
			return nil, nil
		}
		if content, err = os.ReadFile(file); err != nil {
			return nil, fmt.Errorf("reading assets: %w", err)
		}
	}
	if !utf8.Valid(content) || name == assetsIgnoreFile && bytes.IndexByte(content, 0) >= 0 {
		w.fileFinding("asset-encoding", name, name+" is not UTF-8 text", "save the file as UTF-8")
		return nil, nil
	}
	text := string(content)
	return &text, nil
}

// assetConfig is metadata.assets.config, its members in wrangler's order.
func (w *assetWalk) assetConfig() json.RawMessage {
	assets := w.config.Assets
	var o jsonObject
	o.setString("html_handling", assets.HTMLHandling)
	o.setString("not_found_handling", assets.NotFoundHandling)
	o.setString("base_path", assets.BasePath)
	o.set("run_worker_first", assets.RunWorkerFirst)
	if w.redirects != nil {
		o.set(redirectsFile, jsonString(*w.redirects))
	}
	if w.headers != nil {
		o.set(headersFile, jsonString(*w.headers))
	}
	return o.json()
}

// Limits of run_worker_first, which wrangler enforces before any call.
const (
	maxWorkerFirstRules  = 100
	maxWorkerFirstLength = 100 // UTF-16 code units, as JavaScript counts
)

// checkWorkerFirst applies wrangler's rules for the list form of run_worker_first. The rest of the section is
// Config.Check's.
func (w *assetWalk) checkWorkerFirst() {
	var rules []string
	if json.Unmarshal(w.config.Assets.RunWorkerFirst, &rules) != nil || rules == nil {
		return // absent or a boolean
	}
	const expected = `patterns such as "/api/*", and "!/api/docs/*" for exceptions`
	bad := func(i int, format string, args ...any) {
		key := []any{"assets", "run_worker_first"}
		if i >= 0 {
			key = append(key, i)
		}
		w.report("run-worker-first", fmt.Sprintf(format, args...), expected, "", key...)
	}
	switch {
	case len(rules) == 0:
		bad(-1, "run_worker_first is an empty list")
	case len(rules) > maxWorkerFirstRules:
		bad(-1, "run_worker_first has %d patterns; it may have %d", len(rules), maxWorkerFirstRules)
	case !slices.ContainsFunc(rules, func(rule string) bool { return !strings.HasPrefix(rule, "!/") }):
		bad(-1, "run_worker_first has exceptions only")
	}
	for i, rule := range rules {
		switch {
		case strings.HasPrefix(rule, "!") && !strings.HasPrefix(rule, "!/"):
			bad(i, "%q: an exception begins with !/", rule)
		case !strings.HasPrefix(rule, "/") && !strings.HasPrefix(rule, "!"):
			bad(i, "%q: a pattern begins with / or !/", rule)
		case len(utf16.Encode([]rune(rule))) > maxWorkerFirstLength:
			bad(i, "%q is longer than %d characters", rule, maxWorkerFirstLength)
		case slices.Contains(rules[:i], rule):
			bad(i, "%q is there twice", rule)
		}
		for j, other := range rules {
			prefix, star := strings.CutSuffix(other, "*")
			if star && i != j && other != rule && strings.HasPrefix(rule, prefix) {
				bad(i, "%q is part of %q already", rule, other)
				break
			}
		}
	}
}
