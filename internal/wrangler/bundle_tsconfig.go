package wrangler

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
	"github.com/tailscale/hujson"
)

// esbuild reads a tsconfig without asking a plugin, and quotes it in what it says. So every one that it may
// read is followed first (its internal/resolver, dirInfoUncached and parseTSConfigFromSource): tsconfig.json and
// jsconfig.json of each directory and of those above, but not below node_modules, or else the configured one
// alone; and what these extend, below node_modules too. Where it is not certain which of several files esbuild
// takes, all of them are followed.

// tsconfigs is one check.
type tsconfigs struct {
	b    *bundler
	dirs map[string]bool // that were walked
	seen map[string]bool // files that were read
}

// checkTSConfigs reports what esbuild would read outside the project.
func (b *bundler) checkTSConfigs() bool {
	before := len(b.findings)
	t := &tsconfigs{b, map[string]bool{}, map[string]bool{}}
	if file := b.config.TSConfig; file != "" {
		file = b.inRoot(file)
		if b.isOutside(file) {
			b.add(b.config.At(t.finding(b.show(file)+" is outside the project"), "tsconfig"))
		} else if isInArchive(file) {
			b.add(b.config.At(t.finding(b.show(file)+" is in an archive, where nothing says what it extends"), "tsconfig"))
		} else {
			t.follow(file)
		}
		return len(b.findings) == before
	}
	t.walk(b.limit)
	for dir := filepath.Dir(b.limit); ; dir = filepath.Dir(dir) {
		t.refuseIn(dir)
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return len(b.findings) == before
}

func (t *tsconfigs) finding(message string) Finding {
	return Finding{Rule: "outside-project", Level: LevelError, Message: message, Hint: outsideHint}
}

// names are those that esbuild looks for. It ignores case.
var tsconfigNames = []string{"tsconfig.json", "jsconfig.json"}

func isTSConfigName(name string) bool {
	return slices.ContainsFunc(tsconfigNames, func(n string) bool { return strings.EqualFold(n, name) })
}

// walk follows the tsconfig of each directory.
func (t *tsconfigs) walk(dir string) {
	if t.dirs[dir] || t.b.ctx.Err() != nil {
		return
	}
	t.dirs[dir] = true
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // to esbuild it is empty then
	}
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			if e.Name() != "node_modules" && e.Name() != ".git" {
				t.walk(file)
			}
		case isTSConfigName(e.Name()):
			if isDir(file) {
				break
			}
			if t.b.isOutside(file) {
				f := t.finding(t.b.show(file) + " leads outside the project")
				f.File = t.b.show(file)
				t.b.add(f)
				break
			}
			t.follow(file)
		case e.Type()&os.ModeSymlink != 0 && e.Name() != "node_modules" && isDir(file):
			real, err := filepath.EvalSymlinks(file)
			if err != nil {
				break
			}
			// Nothing can be imported from a directory outside, so that only its own tsconfig is looked for.
			if t.b.isOutside(real) {
				t.refuseIn(file)
			} else {
				t.walk(real)
			}
		}
	}
}

// refuseIn reports the tsconfig of a directory outside the project.
func (t *tsconfigs) refuseIn(dir string) {
	for _, name := range tsconfigNames {
		file := filepath.Join(dir, name)
		if _, err := os.Stat(file); err != nil || isDir(file) {
			continue
		}
		f := t.finding(fmt.Sprintf("esbuild would heed %s, which is outside the project", t.b.show(file)))
		f.Hint = "what a commit is built into must not depend on what lies around it: remove the file, or build elsewhere, with TMPDIR"
		t.b.add(f)
	}
}

// follow reads a tsconfig that is inside, and what it extends.
func (t *tsconfigs) follow(file string) {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	if t.seen[file] {
		return
	}
	t.seen[file] = true
	content, err := os.ReadFile(withoutVirtual(file))
	if err != nil {
		return // esbuild cannot read it either, and says so
	}
	doc, ok := parseLenient(content)
	if !ok {
		// Without a file system esbuild parses the file and extends nothing.
		parsed := api.Transform("", api.TransformOptions{TsconfigRaw: string(content), LogLevel: api.LogLevelSilent})
		if len(parsed.Errors) == 0 {
			t.refuse(file, content, 0, "what this file extends cannot be told: it is not JSON with comments")
		}
		return
	}
	for _, value := range membersOf(&doc, "extends") {
		list := []*hujson.Value{value}
		if array, ok := value.Value.(*hujson.Array); ok {
			list = list[:0]
			for i := range array.Elements {
				list = append(list, &array.Elements[i])
			}
		}
		for _, item := range list {
			if target, ok := stringOf(item); ok {
				t.extends(file, content, item.StartOffset, target)
			}
		}
	}
}

// extends follows one entry of "extends".
func (t *tsconfigs) extends(file string, content []byte, offset int, target string) {
	unsure := func(why string) {
		t.refuse(file, content, offset, fmt.Sprintf("what %q extends cannot be told: %s", target, why))
	}
	// take says whether one of the files is there.
	take := func(files ...string) bool {
		found := false
		for _, candidate := range files {
			switch {
			case t.b.isOutside(candidate):
				if isDir(withoutVirtual(candidate)) {
					continue
				}
				t.refuse(file, content, offset, fmt.Sprintf("%q is outside the project: %s", target, t.b.show(candidate)))
			case isInArchive(candidate):
				unsure("it may be in an archive")
			case isFile(withoutVirtual(candidate)):
				t.follow(candidate)
			default:
				continue
			}
			found = true
		}
		return found
	}
	dir := filepath.Dir(file)
	isPackage := !strings.HasPrefix(target, "/") && !strings.HasPrefix(target, "./") && !strings.HasPrefix(target, "../") &&
		target != "." && target != ".."
	switch {
	case strings.ContainsRune(target, '\uFFFD'):
		unsure("it is not Unicode") // esbuild's bytes for it differ from ours
	case isPackage && (hasPnP(dir) || hasPnP(t.b.root)):
		unsure("with Yarn Plug'n'Play a package can be anywhere; name the file")
	case !isPackage || filepath.IsAbs(target):
		if target == "." || target == ".." {
			target += "/tsconfig.json"
		}
		path := target
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		take(path, path+".json")
	default:
		for ; ; dir = filepath.Dir(dir) {
			if filepath.Base(dir) != "node_modules" {
				files, certain, ok := packageTSConfigs(filepath.Join(dir, "node_modules"), target, t.b.isOutside)
				if !ok {
					unsure("its package.json cannot be read, or is outside the project")
				}
				plain := tsconfigFiles(filepath.Join(dir, "node_modules", target))
				take(files...)
				if take(plain...) && certain {
					return
				}
			}
			if dir == filepath.Dir(dir) {
				return
			}
		}
	}
}

// refuse reports what a tsconfig leads to.
func (t *tsconfigs) refuse(file string, content []byte, offset int, message string) {
	f := t.finding(message)
	f.File = t.b.show(file)
	before := content[:min(offset, len(content))]
	start := bytes.LastIndexByte(before, '\n') + 1
	line, _, _ := bytes.Cut(content[start:], []byte("\n"))
	f.Line, f.Column, f.Source = bytes.Count(before, []byte("\n"))+1, len(before)-start+1, string(line)
	t.b.add(f)
}

func tsconfigFiles(path string) []string {
	return []string{filepath.Join(path, "tsconfig.json"), path, path + ".json"}
}

// packageTSConfigs are the files that a package's package.json may make of a target, beside those that are named
// after it. certain says that it makes nothing of its own of the target where there is no file in "exports".
func packageTSConfigs(modules, target string, isOutside func(string) bool) (files []string, certain, ok bool) {
	name, sub, _ := strings.Cut(target, "/")
	if strings.HasPrefix(name, "@") {
		var second string
		second, sub, _ = strings.Cut(sub, "/")
		name += "/" + second
	}
	pkg := filepath.Join(modules, name)
	manifest := filepath.Join(pkg, "package.json")
	if !isFile(withoutVirtual(manifest)) && !isInArchive(manifest) {
		return nil, true, true
	}
	if isOutside(manifest) {
		return nil, false, false
	}
	content, err := os.ReadFile(withoutVirtual(manifest))
	if err != nil {
		return nil, false, false
	}
	doc, ok := parseLenient(content)
	if !ok {
		return nil, false, false
	}
	own := membersOf(&doc, "tsconfig")
	for _, value := range own {
		path, ok := stringOf(value)
		if !ok || path == "" {
			continue
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(pkg, path)
		}
		files = append(files, tsconfigFiles(path)...)
	}
	for _, value := range membersOf(&doc, "exports") {
		stars := []string{""}
		if object, ok := value.Value.(*hujson.Object); ok {
			for i := range object.Members {
				key, _ := stringOf(&object.Members[i].Name)
				before, after, _ := strings.Cut(key, "*")
				if rest, ok := strings.CutPrefix("./"+sub, before); ok {
					stars = append(stars, strings.TrimSuffix(rest, after))
				}
			}
		}
		for each := range value.All() {
			leaf, ok := stringOf(each)
			if !ok {
				continue
			}
			for _, star := range stars {
				path := strings.ReplaceAll(leaf, "*", star)
				if strings.HasSuffix(leaf, "/") {
					path += star
				}
				files = append(files, filepath.Join(pkg, path))
			}
		}
	}
	notUnicode := slices.ContainsFunc(files, func(file string) bool { return strings.ContainsRune(file, '\uFFFD') })
	return files, len(own) == 0, !notUnicode
}

// hasPnP says whether esbuild finds a manifest of Yarn Plug'n'Play from a directory.
func hasPnP(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		for _, name := range []string{".pnp.data.json", ".pnp.cjs", ".pnp.js"} {
			if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
				return true
			}
		}
		if dir == filepath.Dir(dir) {
			return false
		}
	}
}

// isInArchive says whether esbuild may find in a zip archive what is not in a directory.
func isInArchive(file string) bool {
	file = withoutVirtual(file)
	if !strings.Contains(filepath.ToSlash(file), ".zip/") {
		return false
	}
	if _, err := os.Stat(file); err == nil {
		return false
	}
	return archiveOf(file) != ""
}

// parseLenient parses JSON as esbuild does, or fails. JavaScript ends lines, and so comments, where JSON does not.
func parseLenient(content []byte) (hujson.Value, bool) {
	text := strings.NewReplacer("\r\n", " \n", "\r", "\n", "\u2028", "  \n", "\u2029", "  \n").Replace(string(content))
	if rest, ok := strings.CutPrefix(text, "\uFEFF"); ok {
		text = "   " + rest // offsets stay
	}
	doc, err := hujson.Parse([]byte(text))
	return doc, err == nil
}

// membersOf are all values of a name: which of several counts is the reader's choice.
func membersOf(v *hujson.Value, name string) (out []*hujson.Value) {
	object, ok := v.Value.(*hujson.Object)
	if !ok {
		return nil
	}
	for i := range object.Members {
		if key, ok := stringOf(&object.Members[i].Name); ok && key == name {
			out = append(out, &object.Members[i].Value)
		}
	}
	return out
}

func stringOf(v *hujson.Value) (string, bool) {
	literal, ok := v.Value.(hujson.Literal)
	if !ok || literal.Kind() != '"' {
		return "", false
	}
	return literal.String(), true
}
