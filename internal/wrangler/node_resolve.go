package wrangler

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// resolution is a way to find modules in the CommonJS tradition.
type resolution struct {
	extensions []string // tried in this order behind a path that is no file
	conditions []string // of "exports"; nil means that "exports" is not looked at
}

var (
	// nodeResolution is require.resolve of Node.js.
	nodeResolution = resolution{
		extensions: []string{".js", ".json", ".node"},
		conditions: []string{"node", "require", "module-sync", "node-addons", "default"},
	}
	// npmResolution is the npm package "resolve" 1.22.
	npmResolution = resolution{extensions: []string{".js"}}
)

// packageName takes a specifier apart into the package and the path in it.
var packageName = regexp.MustCompile(`^((?:@[^/\\%]+/)?[^./\\%][^/\\%]*)(/.*)?$`)

// resolve finds the file that a specifier means in dir; Node.js also follows symbolic links. A module of
// Node.js stands for itself.
func (r resolution) resolve(specifier, dir string) (string, bool) {
	relative := specifier == "." || specifier == ".." || strings.HasPrefix(specifier, "./") || strings.HasPrefix(specifier, "../")
	switch {
	case filepath.IsAbs(specifier):
		return r.found(r.path(specifier, strings.HasSuffix(specifier, "/")))
	case relative:
		directory := strings.HasSuffix(specifier, "/") || strings.HasSuffix(specifier, "..") || specifier == "."
		return r.found(r.path(filepath.Join(dir, specifier), directory))
	case isNodeBuiltin(specifier):
		return specifier, true
	}
	for ; ; dir = filepath.Dir(dir) {
		if modules := filepath.Join(dir, "node_modules"); filepath.Base(dir) != "node_modules" && isDir(modules) {
			if file, ok, final := r.inPackages(modules, specifier); final {
				return r.found(file, ok)
			}
		}
		if dir == filepath.Dir(dir) {
			return "", false
		}
	}
}

func (r resolution) found(file string, ok bool) (string, bool) {
	if !ok || r.conditions == nil {
		return file, ok
	}
	file, err := filepath.EvalSymlinks(file)
	return file, err == nil
}

// inPackages looks in one node_modules. It is final when the package is there, found or not, and has exports.
func (r resolution) inPackages(modules, specifier string) (file string, ok, final bool) {
	if name := packageName.FindStringSubmatch(specifier); name != nil && r.conditions != nil {
		dir := filepath.Join(modules, filepath.FromSlash(name[1]))
		if exports := readPackage(filepath.Join(dir, "package.json")).get("exports"); exports != nil && exports.kind != kindNull {
			target, ok := r.exported(exports, "."+name[2])
			if !ok || !strings.HasPrefix(target, "./") {
				return "", false, true
			}
			file := filepath.Join(dir, filepath.FromSlash(target))
			return file, isFile(file), true
		}
	}
	file, ok = r.path(filepath.Join(modules, filepath.FromSlash(specifier)), strings.HasSuffix(specifier, "/"))
	return file, ok, ok
}

// path finds the file that a path without a certain extension means.
func (r resolution) path(path string, directory bool) (string, bool) {
	if !directory {
		if isFile(path) {
			return path, true
		}
		for _, ext := range r.extensions {
			if isFile(path + ext) {
				return path + ext, true
			}
		}
	}
	if !isDir(path) {
		return "", false
	}
	main := readPackage(filepath.Join(path, "package.json")).get("main")
	switch name := main.text(); {
	case name != "" && filepath.Join(path, name) != path:
		if file, ok := r.path(filepath.Join(path, name), false); ok {
			return file, true
		}
	case r.conditions == nil && main.truthy() && !main.is(kindString):
		return "", false // npm's resolve gives up where Node.js looks for index
	}
	for _, ext := range r.extensions {
		if file := filepath.Join(path, "index"+ext); isFile(file) {
			return file, true
		}
	}
	return "", false
}

// exported looks a subpath (".", "./x") up in a package's exports.
func (r resolution) exported(exports *value, subpath string) (string, bool) {
	isMap := exports.kind == kindObject && slices.ContainsFunc(exports.keys(), func(k string) bool { return strings.HasPrefix(k, ".") })
	if !isMap {
		if subpath != "." {
			return "", false
		}
		return r.target(exports, "")
	}
	if target := exports.get(subpath); target != nil && !strings.Contains(subpath, "*") && !strings.HasSuffix(subpath, "/") {
		return r.target(target, "")
	}
	// Of the patterns that match the one with the longest part before the star decides.
	var best, star string
	for _, pattern := range exports.keys() {
		before, after, ok := strings.Cut(pattern, "*")
		if !ok || !strings.HasPrefix(subpath, before) || subpath == before || !strings.HasSuffix(subpath, after) || len(subpath) < len(pattern) {
			continue
		}
		bestBefore, _, _ := strings.Cut(best, "*")
		if best == "" || len(before) > len(bestBefore) || len(before) == len(bestBefore) && len(pattern) > len(best) {
			best, star = pattern, subpath[len(before):len(subpath)-len(after)]
		}
	}
	if best == "" {
		return "", false
	}
	return r.target(exports.get(best), star)
}

// target follows conditions to a path, with star put in.
func (r resolution) target(target *value, star string) (string, bool) {
	switch {
	case target.is(kindString):
		return strings.ReplaceAll(target.text(), "*", star), true
	case target.is(kindArray):
		for _, t := range target.elems {
			if path, ok := r.target(t, star); ok {
				return path, true
			}
		}
	case target.is(kindObject):
		for _, condition := range target.keys() {
			if !slices.Contains(r.conditions, condition) {
				continue
			}
			member := target.get(condition)
			if member.is(kindNull) {
				return "", false
			}
			if path, ok := r.target(member, star); ok {
				return path, true
			}
		}
	}
	return "", false
}

// readPackage reads a package.json, nil when there is none or it is no JSON object.
func readPackage(file string) *value {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	src, findings := newSource(file, text)
	if findings != nil {
		return nil
	}
	v, findings := src.parse()
	if findings != nil {
		return nil
	}
	return v
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
