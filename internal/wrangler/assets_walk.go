package wrangler

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// assetWalk collects the files of an assets directory.
type assetWalk struct {
	config  *Config
	root    string            // the project's directory without symbolic links: nothing outside it is read
	dir     string            // the assets directory, absolute
	replace map[string][]byte // by path relative to dir, slash separated

	rules     ignoreRules
	hasIgnore bool // there is a .assetsignore, which permits a _worker.js
	workerJS  bool // the finding about _worker.js is made

	links int // to directories, as often as they were met

	redirects, headers *string // text of _redirects and _headers, nil when there is none

	assets   []Asset
	findings Findings
}

func (w *assetWalk) read(replace map[string][]byte) error {
	w.checkWorkerFirst()
	dir := w.config.Assets.Directory
	if dir == "" {
		w.report("config-required", "assets has no directory", "a directory relative to the configuration file",
			`set "directory" in "assets", or remove "assets"`, "assets")
		return nil
	}
	w.dir = filepath.Clean(dir)
	for file, content := range replace {
		if rel, err := filepath.Rel(w.dir, file); err == nil && filepath.IsLocal(rel) && rel != "." {
			w.replace[filepath.ToSlash(rel)] = content
		}
	}
	var err error
	if w.root, err = filepath.EvalSymlinks(w.config.Dir); err != nil {
		return fmt.Errorf("reading assets: %w", err)
	}
	exists, err := w.checkDirectory()
	if err != nil || len(w.findings.errors()) > 0 {
		return err
	}
	if err := w.readMeta(exists); err != nil {
		return err
	}
	if exists {
		if err := w.walk(w.dir, "", nil); err != nil {
			return err
		}
		if w.links > maxLinks {
			w.report("asset-link", fmt.Sprintf("more than %d symbolic links to directories lie in the assets directory, or in what they lead to", maxLinks),
				"", "replace links by the files", "assets", "directory")
		}
	}
	w.addReplaced()
	if len(w.assets) > MaxAssets {
		w.report("assets-count", fmt.Sprintf("the assets directory has %d files to publish; a Worker may have %d", len(w.assets), MaxAssets),
			fmt.Sprintf("at most %d files", MaxAssets), "hide what need not be published with a .assetsignore in that directory",
			"assets", "directory")
	}
	if len(w.findings.errors()) > 0 {
		return nil // hashing is the expensive part
	}
	return w.hash()
}

// checkDirectory reports whether the assets directory exists. It need not when replaced files are all there is.
func (w *assetWalk) checkDirectory() (exists bool, err error) {
	if rel, err := filepath.Rel(w.config.Dir, w.dir); err != nil || !filepath.IsLocal(rel) {
		w.report("assets-outside-project", "the assets directory is outside the project", "a directory within the project",
			"move what should be published into the project", "assets", "directory")
		return false, nil
	}
	info, err := os.Stat(w.dir)
	switch {
	case os.IsNotExist(err) && len(w.replace) > 0:
		return false, nil
	case os.IsNotExist(err):
		w.report("assets-missing", fmt.Sprintf("the assets directory %s does not exist", w.show("")), "an existing directory",
			"create it or mend \"directory\"; if a build makes it, is build.command set?", "assets", "directory")
		return false, nil
	case err != nil:
		return false, fmt.Errorf("reading assets: %w", err)
	case !info.IsDir():
		w.report("assets-missing", fmt.Sprintf("%s is a file, not a directory", w.show("")), "a directory",
			"name the directory that holds the files to publish", "assets", "directory")
		return false, nil
	}
	inside, err := w.inside(w.dir)
	if err == nil && !inside {
		w.report("assets-outside-project", "the assets directory is a symbolic link out of the project", "a directory within the project",
			"replace the link by the files", "assets", "directory")
	}
	return true, err
}

// maxLinks bounds how many links to directories are followed: a few of them, to directories that hold more of them,
// unfold to any number of files.
const maxLinks = 1000

// inside reports whether file, once symbolic links are followed, lies in the project.
func (w *assetWalk) inside(file string) (bool, error) {
	target, err := filepath.EvalSymlinks(file)
	if err != nil {
		return false, fmt.Errorf("reading assets: %w", err)
	}
	rel, err := filepath.Rel(w.root, target)
	return err == nil && filepath.IsLocal(rel), nil
}

// walk adds the files of dir, which is rel to the assets directory ("" or ending in a slash). above are the directories
// it lies in, to notice links that lead back to one of them.
func (w *assetWalk) walk(dir, rel string, above []os.FileInfo) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("reading assets: %w", err)
	}
	if slices.ContainsFunc(above, func(a os.FileInfo) bool { return os.SameFile(a, info) }) {
		w.fileFinding("asset-link", rel, "the symbolic link leads back to a directory that contains it", "remove the link")
		return nil
	}
	above = append(slices.Clip(above), info)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading assets: %w", err)
	}
	for _, entry := range entries {
		if err := w.visit(filepath.Join(dir, entry.Name()), rel+entry.Name(), entry.Type(), above); err != nil {
			return err
		}
	}
	return nil
}

// visit adds the file at rel or what the directory at rel holds, unless it is hidden.
func (w *assetWalk) visit(file, rel string, mode os.FileMode, above []os.FileInfo) error {
	link, broken := mode&os.ModeSymlink != 0, false
	if link {
		info, err := os.Stat(file)
		if broken = err != nil; !broken {
			mode = info.Mode().Type()
		}
	}
	if w.rules.matches(rel) && !mode.IsDir() || mode.IsDir() && w.rules.matches(rel+"/") {
		return nil
	}
	if broken {
		w.fileFinding("asset-link", rel, "the symbolic link leads nowhere", "remove the link, or hide it in .assetsignore")
		return nil
	}
	if link {
		inside, err := w.inside(file)
		if err != nil {
			return err
		}
		if !inside {
			w.fileFinding("asset-link", rel, "the symbolic link leads out of the project, so the file is not part of what is deployed",
				"replace the link by the file, or hide it in .assetsignore")
			return nil
		}
	}
	switch {
	case mode.IsDir():
		if link {
			w.links++
		}
		if w.links > maxLinks {
			return nil
		}
		return w.walk(file, rel+"/", above)
	case !mode.IsRegular():
		w.fileFinding("asset-kind", rel, "only files can be published, and this is a device, a pipe or a socket", "remove it, or hide it in .assetsignore")
		return nil
	}
	if _, ok := w.replace[rel]; !ok {
		w.add(rel, Asset{file: file})
	}
	return nil
}

// addReplaced adds the replaced files that no rule hides.
func (w *assetWalk) addReplaced() {
	for rel, content := range w.replace {
		if slices.Contains(metaFiles, rel) {
			continue
		}
		hidden := w.rules.matches(rel)
		for i := range rel {
			hidden = hidden || rel[i] == '/' && w.rules.matches(rel[:i+1])
		}
		if hidden {
			w.findings = append(w.findings, Finding{
				Rule: "asset-hidden", Level: LevelWarning, File: w.show(rel),
				Message: "the file is made for this deploy, but .assetsignore hides it: it is not published",
				Hint:    "let .assetsignore except it with a line that begins with !",
			})
			continue
		}
		w.add(rel, Asset{file: filepath.Join(w.dir, filepath.FromSlash(rel)), content: content, replace: true})
	}
	sort.Slice(w.assets, func(i, j int) bool { return w.assets[i].Path < w.assets[j].Path })
}

// add puts the file at rel on the list, or reports why it cannot be published.
func (w *assetWalk) add(rel string, asset Asset) {
	if strings.ToValidUTF8(rel, "") != rel {
		w.fileFinding("asset-name", strings.ToValidUTF8(rel, "\ufffd"), "the name is not UTF-8, so no request can ask for it", "rename the file")
		return
	}
	if first, _, _ := strings.Cut(rel, "/"); strings.HasPrefix(first, "_worker.js") && !w.hasIgnore {
		if !w.workerJS {
			w.workerJS = true
			w.fileFinding("asset-worker-js", first, "a Pages _worker.js would be published as an asset, and with it the code of your server",
				"remove it, or add a .assetsignore to the assets directory: with the line _worker.js to hide it, empty to publish it")
		}
		return
	}
	asset.Path = "/" + rel
	asset.ContentType = contentType(asset.Path)
	w.assets = append(w.assets, asset)
}

// hash fills in Hash and Size.
func (w *assetWalk) hash() error {
	var group errgroup.Group
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), len(w.assets)) {
		group.Go(func() error {
			sum, buffer := newAssetHash(), make([]byte, 32<<10)
			for i := next.Add(1) - 1; i < int64(len(w.assets)); i = next.Add(1) - 1 {
				asset := &w.assets[i]
				if err := asset.read(sum, buffer); err != nil {
					return fmt.Errorf("reading assets: %w", err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, asset := range w.assets {
		if asset.Size > MaxAssetSize {
			w.fileFinding("asset-size", asset.Path[1:], "the file is larger than the 25 MiB that an asset may have",
				"serve it from R2 instead, or hide it in .assetsignore")
		}
	}
	return nil
}

// read hashes the asset's content with sum. Of a file that is too large it reads one byte beyond the limit.
func (a *Asset) read(sum *assetHash, buffer []byte) error {
	content, err := a.open()
	if err != nil {
		return err
	}
	defer content.Close()
	sum.reset()
	if a.Size, err = io.CopyBuffer(sum, io.LimitReader(content, MaxAssetSize+1), buffer); err != nil {
		return err
	}
	a.Hash = sum.hash(a.Path)
	return nil
}

// show is the path of a file in the assets directory as the user knows it.
func (w *assetWalk) show(rel string) string {
	file := filepath.Join(w.dir, filepath.FromSlash(rel))
	if inProject, err := filepath.Rel(w.config.Dir, file); err == nil {
		file = inProject
	}
	return filepath.ToSlash(file)
}

// report adds an error at a key of the configuration.
func (w *assetWalk) report(rule, message, expected, hint string, key ...any) {
	f := Finding{Rule: rule, Level: LevelError, Message: message, Expected: expected, Hint: hint}
	w.findings = append(w.findings, w.config.At(f, key...))
}

// fileFinding adds an error about a file in the assets directory.
func (w *assetWalk) fileFinding(rule, rel, message, hint string) {
	w.findings = append(w.findings, Finding{Rule: rule, Level: LevelError, File: w.show(rel), Message: message, Hint: hint})
}
