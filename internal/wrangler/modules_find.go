package wrangler

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// findsModules says whether a bundled Worker takes along the files beside it that match the rules. (Without
// bundling it does so unless find_additional_modules is false.)
func (b *bundler) findsModules() bool {
	return b.config.FindAdditionalModules != nil && *b.config.FindAdditionalModules
}

// findModules collects every file below the module root that matches a rule, named by its path there. Like
// wrangler it looks everywhere, node_modules included, but for .wrangler and the configuration itself. Replaced
// files are among them even when they are not on disk.
func (b *bundler) findModules() ([]collected, error) {
	if b.config.BaseDir != "" && !isDir(b.moduleRoot) {
		b.add(b.config.At(Finding{
			Rule: "base-dir", Level: LevelError, Message: fmt.Sprintf("base_dir is not a directory: %s", b.show(b.moduleRoot)),
			Expected: "the directory whose files become modules",
		}, "base_dir"))
		return nil, nil
	}
	names, err := b.moduleFiles()
	if err != nil {
		return nil, err
	}
	var out []collected
	for _, name := range names {
		file := filepath.Join(b.moduleRoot, filepath.FromSlash(name))
		matches := 0
		for _, match := range b.rules.kept {
			if !match.file.MatchString(name) {
				continue
			}
			if matches++; matches > 1 {
				b.add(Finding{
					Rule: "duplicate-module", Level: LevelWarning, File: b.show(file),
					Message: fmt.Sprintf("the module matches more than one glob; its second type, %s, is ignored", ruleTypes[match.rule.Type]),
				})
				continue
			}
			content, err := b.readFile(file)
			if errors.Is(err, errOutside) {
				b.add(Finding{
					Rule: "outside-project", Level: LevelError, File: b.show(file),
					Message: "the module is a link that leads out of the project", Hint: outsideHint,
				})
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("reading additional modules: %w", err)
			}
			// The entry point matches too where there is a rule for JavaScript; it is not its own module.
			if file != b.entry {
				out = append(out, collected{module: Module{name, ruleTypes[match.rule.Type], content}, file: file})
			}
		}
	}
	return out, nil
}

// moduleFiles lists the files below the module root in the order of a walk, slash separated.
func (b *bundler) moduleFiles() ([]string, error) {
	var names []string
	hidden, config := filepath.Join(b.root, ".wrangler"), filepath.Join(b.root, filepath.FromSlash(b.config.File))
	var walk func(dir string) error
	walk = func(dir string) error {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("looking for additional modules: %w", err)
		}
		for _, entry := range entries {
			file := filepath.Join(dir, entry.Name())
			switch {
			case entry.IsDir() && file != hidden:
				if err := walk(file); err != nil {
					return err
				}
			case !entry.IsDir() && file != config:
				names = append(names, relative(b.moduleRoot, file))
			}
		}
		return nil
	}
	if err := walk(b.moduleRoot); err != nil {
		return nil, err
	}
	var added []string
	for file := range b.replace {
		if _, err := os.Lstat(file); err == nil {
			continue
		}
		if name := relative(b.moduleRoot, file); filepath.IsLocal(name) {
			added = append(added, name)
		}
	}
	if len(added) == 0 {
		return names, nil
	}
	names = append(names, added...)
	// Compared element by element, as a walk orders them: "a/b" comes before "a.b".
	sort.Slice(names, func(i, j int) bool {
		return slices.Compare(strings.Split(names[i], "/"), strings.Split(names[j], "/")) < 0
	})
	return names, nil
}
