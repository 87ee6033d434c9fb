package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Extract writes a tree into a directory, which is made if it is missing and must be empty if it is not. Files come with
// the very bytes that were committed and keep their executable bit; links stay links.
//
// The whole tree is looked at before anything is written. The error is an *EntryError when an entry would leave the
// directory, lies in .git, or is a submodule. When it fails later, what has been written stays: the directory is the
// caller's to remove.
func (r *Repository) Extract(ctx context.Context, t Tree, dir string) error {
	if err := t.check(); err != nil {
		return fmt.Errorf("extracting: %w", err)
	}
	o, err := r.objects(ctx)
	if err != nil {
		return err
	}
	defer o.close()
	links, err := o.links(t)
	if err != nil {
		return fmt.Errorf("extracting: %w", err)
	}
	root, err := emptyRoot(dir)
	if err != nil {
		return fmt.Errorf("extracting: %w", err)
	}
	defer root.Close()
	made := map[string]bool{".": true}
	for _, e := range t {
		// Links are made last: until then every directory that is written to is a real one.
		if e.Mode == ModeLink {
			continue
		}
		err := makeDir(root, made, path.Dir(e.Path))
		if err == nil {
			err = o.write(root, e)
		}
		if err != nil {
			return fmt.Errorf("extracting %s: %w", quotePath(e.Path), err)
		}
	}
	for _, e := range t {
		if e.Mode != ModeLink {
			continue
		}
		err := makeDir(root, made, path.Dir(e.Path))
		if err == nil {
			err = root.Symlink(filepath.FromSlash(links[e.Path]), filepath.FromSlash(e.Path))
		}
		if err != nil {
			return fmt.Errorf("extracting %s: %w", quotePath(e.Path), err)
		}
	}
	return nil
}

// check looks for entries that must not be written. git itself makes none of them, but objects can be made by hand.
func (t Tree) check() error {
	paths := map[string]bool{}
	for _, e := range t {
		if problem := entryProblem(e); problem != "" {
			return &EntryError{e.Path, problem}
		}
		if paths[e.Path] {
			return &EntryError{e.Path, "is in the tree twice"}
		}
		paths[e.Path] = true
	}
	for _, e := range t {
		for dir := path.Dir(e.Path); dir != "."; dir = path.Dir(dir) {
			if paths[dir] {
				return &EntryError{dir, "is in the tree twice, once as a directory"}
			}
		}
	}
	return nil
}

func emptyRoot(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(there) > 0 {
		return nil, fmt.Errorf("%s is not empty", dir)
	}
	return os.OpenRoot(dir)
}

func makeDir(root *os.Root, made map[string]bool, dir string) error {
	if made[dir] {
		return nil
	}
	made[dir] = true
	return root.MkdirAll(filepath.FromSlash(dir), 0o755)
}

func (o *objects) write(root *os.Root, e Entry) error {
	perm := fs.FileMode(0o644)
	if e.Mode == ModeExecutable {
		perm = 0o755
	}
	f, err := root.OpenFile(filepath.FromSlash(e.Path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	err = o.blob(e.ID, func(_ int64, body io.Reader) error {
		_, err := io.Copy(f, body)
		return err
	})
	return errors.Join(err, f.Close())
}

// links reads where the tree's links lead, by path.
func (o *objects) links(t Tree) (map[string]string, error) {
	links := map[string]string{}
	for _, e := range t {
		if e.Mode != ModeLink {
			continue
		}
		err := o.blob(e.ID, func(size int64, body io.Reader) error {
			if size > maxPath {
				return &EntryError{e.Path, "is a link of more than 4096 bytes"}
			}
			target, err := io.ReadAll(body)
			if err != nil {
				return err
			}
			links[e.Path] = string(target)
			if !staysInside(e.Path, string(target)) {
				return &EntryError{e.Path, fmt.Sprintf("is a link that leads out of the repository, to %q", target)}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return links, nil
}

// staysInside says whether a link leads to a place in the tree. Going up is only allowed at its beginning: there it
// passes directories of the tree, which are real. After a name it would start from wherever that name leads, if the
// name is a link itself.
func staysInside(link, target string) bool {
	if target == "" || strings.HasPrefix(target, "/") || strings.ContainsAny(target, "\x00\\") {
		return false
	}
	depth, named := strings.Count(link, "/"), false
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 || named {
				return false
			}
		default:
			named = true
		}
	}
	return true
}

// entryProblem says why an entry must not be written; "" when it may.
func entryProblem(e Entry) string {
	switch {
	case e.Mode == ModeSubmodule:
		return "is a submodule; shops are deployed from one repository"
	case !e.Mode.isFile() && e.Mode != ModeLink:
		return "is an " + e.Mode.String()
	case !fs.ValidPath(e.Path) || e.Path == "." || !filepath.IsLocal(filepath.FromSlash(e.Path)):
		return "is not a path inside the repository"
	case !objectID.MatchString(e.ID):
		return "has no object"
	case strings.ContainsAny(e.Path, "\x00\\"):
		return "holds a character that is a separator elsewhere"
	}
	for part := range strings.SplitSeq(e.Path, "/") {
		if isDotGit(part) {
			return "lies in .git"
		}
	}
	return ""
}

// isDotGit says whether a file system might take a name for .git. Case, NTFS's short names and trailing dots, and the
// characters HFS+ does not see are all known ways to smuggle one in.
func isDotGit(name string) bool {
	name = strings.Map(func(c rune) rune {
		switch {
		case c >= 0x200c && c <= 0x200f, c >= 0x202a && c <= 0x202e, c >= 0x206a && c <= 0x206f, c == 0xfeff:
			return -1
		}
		return c
	}, name)
	name, _, _ = strings.Cut(name, ":") // an NTFS stream
	name = strings.ToLower(strings.TrimRight(name, " ."))
	return name == ".git" || name == "git~1"
}
