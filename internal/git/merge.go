package git

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Scratch makes a bare repository in a new directory that sees every object of r and has none of its refs and none of
// its configuration. What is written there stays there. A merge runs the merge drivers that a configuration names, so
// it is made where there is no configuration but git's own.
func (r *Repository) Scratch(ctx context.Context, dir string) (*Repository, error) {
	out, err := r.run(ctx, nil, "rev-parse", "--git-path", "objects")
	if err != nil {
		return nil, fmt.Errorf("finding the objects: %w", err)
	}
	objects := strings.TrimSuffix(string(out), "\n")
	if !filepath.IsAbs(objects) {
		objects = filepath.Join(r.Dir, objects)
	}
	if strings.ContainsAny(objects, "\n\"") {
		return nil, fmt.Errorf("making a scratch repository: the path %q cannot be written in a list of alternates", objects)
	}
	format, err := r.run(ctx, nil, "rev-parse", "--show-object-format")
	if err != nil {
		return nil, fmt.Errorf("finding the object format: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making a scratch repository: %w", err)
	}
	s := &Repository{Dir: dir, Program: r.Program, Echo: r.Echo}
	if _, err := s.run(ctx, nil, "init", "--quiet", "--bare", "--template=", "--object-format="+strings.TrimSpace(string(format))); err != nil {
		return nil, fmt.Errorf("making a scratch repository: %w", err)
	}
	info := filepath.Join(dir, "objects", "info")
	if err := os.MkdirAll(info, 0o700); err != nil {
		return nil, fmt.Errorf("making a scratch repository: %w", err)
	}
	if err := os.WriteFile(filepath.Join(info, "alternates"), []byte(objects+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("making a scratch repository: %w", err)
	}
	return s, nil
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
