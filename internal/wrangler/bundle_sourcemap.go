package wrangler

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
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
