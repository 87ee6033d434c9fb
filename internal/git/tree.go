package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Mode is what kind of entry a tree has, in git's own numbers.
type Mode uint32

// The modes git writes. Old repositories also hold files as 0100664.
const (
	ModeFile       Mode = 0o100644
	ModeExecutable Mode = 0o100755
	ModeLink       Mode = 0o120000
	ModeSubmodule  Mode = 0o160000

	modeTree     Mode = 0o040000
	modeOldFile  Mode = 0o100664
	modeTypeMask Mode = 0o170000
)

func (m Mode) isFile() bool { return m == ModeFile || m == ModeExecutable || m == modeOldFile }

// String is the mode in words.
func (m Mode) String() string {
	switch m & modeTypeMask {
	case ModeFile & modeTypeMask:
		return "file"
	case ModeLink:
		return "symbolic link"
	case ModeSubmodule:
		return "submodule"
	case modeTree:
		return "directory"
	}
	return fmt.Sprintf("entry of mode %06o", uint32(m))
}

// Entry is a file, link or submodule in a commit.
type Entry struct {
	Mode Mode
	ID   string // of the blob; for a submodule, of its commit
	Path string // from the top, slash-separated
}

// EntryError says that an entry of a tree cannot be used, and why.
type EntryError struct{ Path, Problem string }

func (e *EntryError) Error() string { return fmt.Sprintf("%s %s", quotePath(e.Path), e.Problem) }

func quotePath(path string) string {
	if shellSafe.MatchString(path) {
		return path
	}
	return fmt.Sprintf("%q", path)
}

// Tree is everything a commit holds, in git's order.
type Tree []Entry

// Without is the tree less these paths. A directory takes along what is in it.
func (t Tree) Without(paths ...string) Tree {
	var rest Tree
	for _, e := range t {
		if !covered(e.Path, paths) {
			rest = append(rest, e)
		}
	}
	return rest
}

func covered(path string, by []string) bool {
	for _, p := range by {
		if path == p || strings.HasPrefix(path, p+"/") {
			return true
		}
	}
	return false
}

// Digest is the same for trees that hold the same: paths, modes and contents. It is hexadecimal SHA-256.
func (t Tree) Digest() string {
	h := sha256.New()
	for _, e := range t {
		fmt.Fprintf(h, "%06o %s %s\x00", uint32(e.Mode), e.ID, e.Path)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Trees reads the trees of commits, in the order of the commits. It is one process, and what commits share is read once.
func (r *Repository) Trees(ctx context.Context, commits ...string) ([]Tree, error) {
	trees, wrong, err := r.EachTree(ctx, commits...)
	if err = errors.Join(append(wrong, err)...); err != nil {
		return nil, err
	}
	return trees, nil
}

// EachTree is Trees where one commit does not keep others from being read: wrong tells, in the order of the commits, of
// trees that cannot be used (*EntryError). The error is about the repository.
func (r *Repository) EachTree(ctx context.Context, commits ...string) (trees []Tree, wrong []error, err error) {
	o, err := r.objects(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer o.close()
	trees, wrong = make([]Tree, len(commits)), make([]error, len(commits))
	for i, commit := range commits {
		top, err := o.root(commit)
		if err == nil {
			err = o.flatten(&trees[i], "", top)
		}
		if err != nil {
			err = fmt.Errorf("reading the tree of %s: %w", commit, err)
		}
		if errors.As(err, new(*EntryError)) {
			trees[i], wrong[i] = nil, err
		} else if err != nil {
			return nil, nil, err
		}
	}
	return trees, wrong, nil
}

// maxPath is where Linux stops, too.
const maxPath = 4096

// maxEntries bounds a tree. Directories that hold the same one many times over, some levels deep, are a few small objects
// and more paths than any memory has room for.
const maxEntries = 200_000

func (o *objects) flatten(into *Tree, dir string, level []Entry) error {
	for _, e := range level {
		e.Path = dir + e.Path
		if len(e.Path) > maxPath {
			return &EntryError{e.Path[:64] + "…", fmt.Sprintf("is longer than %d bytes", maxPath)}
		}
		if len(*into) >= maxEntries {
			return &EntryError{e.Path, fmt.Sprintf("is one of more than %d paths", maxEntries)}
		}
		if e.Mode != modeTree {
			*into = append(*into, e)
			continue
		}
		below, err := o.tree(e.ID)
		if err != nil {
			return fmt.Errorf("%s: %w", quotePath(e.Path), err)
		}
		if err := o.flatten(into, e.Path+"/", below); err != nil {
			return err
		}
	}
	return nil
}
