package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Scratch makes a bare repository in a new directory that sees every object of r and has none of its refs and none of
// its configuration. What is written there stays there. A merge runs the merge drivers that a configuration names, so
// it is made where there is no configuration but git's own. Where r lacks a part of the history, so does the scratch.
func (r *Repository) Scratch(ctx context.Context, dir string) (*Repository, error) {
	format, err := r.run(ctx, nil, "rev-parse", "--show-object-format")
	if err != nil {
		return nil, fmt.Errorf("finding the object format: %w", err)
	}
	objects, err := r.path(ctx, "objects")
	if err != nil {
		return nil, fmt.Errorf("finding the objects: %w", err)
	}
	shallow, err := r.path(ctx, "shallow")
	if err != nil {
		return nil, fmt.Errorf("finding where the history ends: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making a scratch repository: %w", err)
	}
	s := &Repository{Dir: dir, Program: r.Program, Echo: r.Echo}
	if _, err := s.run(ctx, nil, "init", "--quiet", "--bare", "--template=", "--object-format="+strings.TrimSpace(string(format))); err != nil {
		return nil, fmt.Errorf("making a scratch repository: %w", err)
	}
	if err := s.lend(objects); err != nil {
		return nil, fmt.Errorf("making a scratch repository: %w", err)
	}
	switch end, err := os.ReadFile(shallow); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("making a scratch repository: %w", err)
	default:
		if err := os.WriteFile(filepath.Join(dir, "shallow"), end, 0o600); err != nil {
			return nil, fmt.Errorf("making a scratch repository: %w", err)
		}
	}
	return s, nil
}

// path is where git keeps one of its own files or directories.
func (r *Repository) path(ctx context.Context, name string) (string, error) {
	out, err := r.run(ctx, nil, "rev-parse", "--git-path", name)
	if err != nil {
		return "", err
	}
	path := strings.TrimSuffix(string(out), "\n")
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.Dir, path)
	}
	return path, nil
}

// lend makes a bare repository see objects of others.
func (r *Repository) lend(objects ...string) error {
	var list strings.Builder
	for _, path := range objects {
		if strings.ContainsAny(path, "\n\"") || strings.HasPrefix(path, "#") {
			return fmt.Errorf("the path %q cannot be written in a list of alternates", path)
		}
		list.WriteString(path + "\n")
	}
	info := filepath.Join(r.Dir, "objects", "info")
	if err := os.MkdirAll(info, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(info, "alternates"), []byte(list.String()), 0o600)
}

// ConflictError says that two commits cannot be merged without a person.
type ConflictError struct{ Paths []string }

func (e *ConflictError) Error() string {
	return "both sides changed " + strings.Join(e.Paths, ", ")
}

// Hint says what to do about it.
func (e *ConflictError) Hint() string { return "merge or rebase by hand" }

// Merge makes the commit that git would make of two others, and returns its id. It moves no ref. The error is a
// *ConflictError where git asks a person. It needs git 2.38, the first that merges without a work tree. Use it in a
// Scratch repository: see there.
func (r *Repository) Merge(ctx context.Context, ours, theirs string) (string, error) {
	if err := checkID(ours, theirs); err != nil {
		return "", err
	}
	out, err := r.run(ctx, nil, "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", ours, theirs)
	if paths := strings.Split(strings.TrimRight(string(out), "\x00"), "\x00"); exitCode(err) == 1 && len(paths) > 1 {
		return "", &ConflictError{Paths: slices.Compact(paths[1:])} // the first is the tree with the conflicts in it
	}
	if err != nil {
		return "", fmt.Errorf("merging %s and %s: %w", ours, theirs, err)
	}
	tree := strings.Trim(string(out), "\x00\n")
	if err := checkID(tree); err != nil {
		return "", fmt.Errorf("merging %s and %s: unexpected answer %q", ours, theirs, tree)
	}
	// The fixed signature makes equal merges equal commits.
	text := fmt.Sprintf("tree %s\nparent %s\nparent %s\nauthor %s 0 +0000\ncommitter %s 0 +0000\n\nmerged to be looked at\n", tree, ours, theirs, signature, signature)
	id, err := r.run(ctx, strings.NewReader(text), "hash-object", "-t", "commit", "-w", "--stdin")
	if err != nil {
		return "", fmt.Errorf("writing the merge of %s and %s: %w", ours, theirs, err)
	}
	return strings.TrimSpace(string(id)), nil
}
