package wrangler

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/tailscale/hujson"
)

// bundledSourceMap is esbuild's map as wrangler uploads it: it names its module, and its sources are relative
// to the project instead of to the directory that the bundle was written to.
func (b *bundler) bundledSourceMap(module string, content []byte) ([]byte, error) {
	dir := filepath.Join(b.root, filepath.FromSlash(outdir))
	noRoot := func(string) string { return "" }
	return rewriteSourceMap(content, module, noRoot, func(source string) string {
		return relative(b.root, filepath.Join(dir, filepath.FromSlash(source)))
	})
}

// mapComment is wider than what esbuild takes for the comment that names a source map.
var mapComment = regexp.MustCompile(`[#@] sourceMappingURL=(\S+)`)

// sourceMapOutside is the source map outside the project that esbuild would read for a file; "" when there is none. It
// asks no plugin for it.
func (b *bundler) sourceMapOutside(file string) string {
	if maps := b.config.UploadSourceMaps; b.config.NoBundle || maps != nil && !*maps {
		return ""
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "" // esbuild says so
	}
	base := &url.URL{Scheme: "file", Path: filepath.ToSlash(file)}
	for _, match := range mapComment.FindAllSubmatch(content, -1) {
		target, err := url.Parse(strings.TrimSuffix(string(match[1]), "*/"))
		if err != nil || target.Scheme != "" && target.Scheme != "file" {
			continue
		}
		if at := filepath.FromSlash(base.ResolveReference(target).Path); b.isOutside(at) {
			return at
		}
	}
	return ""
}

// checkSources refuses a map with a source that is a file outside: where a source map has no content for its
// sources, esbuild reads them from wherever they are.
func (b *bundler) checkSources(content []byte) {
	var m struct{ Sources []string }
	if json.Unmarshal(content, &m) != nil {
		return // rewriteSourceMap says so
	}
	dir := filepath.Join(b.root, filepath.FromSlash(outdir))
	for _, source := range m.Sources {
		names := []string{source}
		if u, err := url.Parse(source); err == nil {
			names = append(names, u.Path) // unescaped, without file://
		}
		for _, name := range names {
			file := filepath.FromSlash(name)
			if !filepath.IsAbs(file) {
				file = filepath.Join(dir, file)
			}
			if !b.isReplaced(file) && b.isOutside(file) && !isDir(file) {
				b.add(Finding{
					Rule: "outside-project", Level: LevelError,
					Message: fmt.Sprintf("a source map in the code names %s as a source, which is outside the project", b.show(file)),
					Hint:    outsideHint + ", or set upload_source_maps to false",
				})
				break
			}
		}
	}
}

// scanSourceMaps finds the maps that the modules of an unbundled Worker point to. A map that cannot be used is
// reported when upload_source_maps asks for maps, and left out when it merely allows them.
func (b *bundler) scanSourceMaps(modules []collected, asked bool) []SourceMap {
	var out []SourceMap
	for _, c := range modules {
		content, err := b.moduleSourceMap(c)
		if err != nil {
			if asked {
				b.add(Finding{
					Rule: "source-map", Level: LevelError, File: b.show(c.file), Message: err.Error(),
					Hint: "set upload_source_maps to false to deploy without source maps",
				})
			}
			continue
		}
		if content != nil {
			out = append(out, SourceMap{c.module.Name + ".map", content})
		}
	}
	return out
}

// moduleSourceMap is nil when the module names no source map.
func (b *bundler) moduleSourceMap(c collected) ([]byte, error) {
	target, ok := sourceMappingURL(string(c.module.Content))
	if !ok {
		return nil, nil
	}
	if strings.HasPrefix(target, "data:") {
		return nil, errors.New("the source map is a data URL, not a file")
	}
	file := filepath.Join(filepath.Dir(c.file), filepath.FromSlash(target))
	content, err := b.readFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no source map %s", b.show(file))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the source map %s: %w", b.show(file), pathCause(err))
	}
	out, err := rewriteSourceMap(content, c.module.Name, cleanSource, cleanSource)
	if err != nil {
		return nil, fmt.Errorf("reading the source map %s: %w", b.show(file), err)
	}
	return out, nil
}

// sourceMappingURL is what the comment says that ends a module, after which only other such comments may come.
func sourceMappingURL(text string) (string, bool) {
	lines := strings.Split(text, "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		line := strings.TrimSpace(lines[i])
		if line == "" {
			continue
		}
		if url, ok := strings.CutPrefix(line, "//# sourceMappingURL="); ok {
			return strings.TrimSpace(url), true
		}
		if !strings.HasPrefix(line, "//#") && !strings.HasPrefix(line, "//@") {
			return "", false
		}
	}
	return "", false
}

// cleanSource drops what leads out of the directory.
func cleanSource(source string) string {
	for _, prefix := range []string{"./", `.\`, "../", `..\`} {
		for strings.HasPrefix(source, prefix) {
			source = source[len(prefix):]
		}
	}
	return source
}

// rewriteSourceMap changes file, sources and a sourceRoot that is not empty, and prints the map as JavaScript
// does: member order kept, no white space.
func rewriteSourceMap(content []byte, file string, root, source func(string) string) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(content))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("it is not a JSON object")
	}
	var (
		out    = append(make([]byte, 0, len(content)), '{')
		named  bool
		member = func(name string, value []byte) {
			if len(out) > 1 {
				out = append(out, ',')
			}
			out = append(append(append(out, jsonString(name)...), ':'), value...)
		}
	)
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, err
		}
		switch name := token.(string); name {
		case "file":
			named = true
			member(name, jsonString(file))
		case "sourceRoot":
			var s string
			if err := json.Unmarshal(raw, &s); err != nil || s == "" {
				member(name, raw)
			} else {
				member(name, jsonString(root(s)))
			}
		case "sources":
			var sources []string
			if err := json.Unmarshal(raw, &sources); err != nil {
				return nil, fmt.Errorf("its sources: %w", err)
			}
			list := []byte{'['}
			for i, s := range sources {
				if i > 0 {
					list = append(list, ',')
				}
				list = append(list, jsonString(source(s))...)
			}
			member(name, append(list, ']'))
		default:
			value, err := stringify(raw, name == "mappings" || name == "sourcesContent" || name == "names")
			if err != nil {
				return nil, err
			}
			member(name, value)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if !named {
		member("file", jsonString(file))
	}
	return append(out, '}'), nil
}

// stringify prints JSON as JSON.stringify(JSON.parse(raw)) does. texts says that there are only strings in it:
// those are large, and most of them are printed as they are.
func stringify(raw []byte, texts bool) ([]byte, error) {
	if texts && !bytes.Contains(raw, []byte(`\u`)) && !bytes.Contains(raw, []byte(`\/`)) {
		var out bytes.Buffer
		if err := json.Compact(&out, raw); err != nil {
			return nil, err
		}
		return out.Bytes(), nil
	}
	parsed, err := hujson.Parse(raw)
	if err != nil {
		return nil, err
	}
	src, findings := newSource("", raw)
	if findings != nil {
		return nil, findings
	}
	c := converter{src: src}
	return c.convert(&parsed).json(), nil
}
