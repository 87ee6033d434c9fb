package git

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"strings"
)

const (
	localRefs  = "refs/heads/"
	originRefs = "refs/remotes/origin/"
)

// Branch is a branch as this clone knows it. At least one of Local and Origin is set.
type Branch struct {
	Name   string // without refs/heads/
	Local  string // commit of refs/heads/<Name>; "" when there is none
	Origin string // commit of refs/remotes/origin/<Name>; "" when there is none
}

// Commit is the branch's tip: the local branch wins.
func (b Branch) Commit() string {
	if b.Local != "" {
		return b.Local
	}
	return b.Origin
}

// Differs says that the local branch and the one at origin are not the same commit.
func (b Branch) Differs() bool { return b.Local != "" && b.Origin != "" && b.Local != b.Origin }

// NotFoundError says that a repository has no such branch, commit or file. It is fs.ErrNotExist to errors.Is.
type NotFoundError struct {
	What string // "branch", "commit" or "file"
	Name string
}

func (e *NotFoundError) Error() string { return fmt.Sprintf("there is no %s %q", e.What, e.Name) }

// Is makes errors.Is(err, fs.ErrNotExist) true.
func (e *NotFoundError) Is(target error) bool { return target == fs.ErrNotExist }

// Hint says what to do about it.
func (e *NotFoundError) Hint() string {
	switch e.What {
	case "branch":
		return "see git branch --all; git fetch origin gets what others pushed"
	case "commit":
		return "git fetch origin gets what others pushed; in a shallow clone, git fetch --unshallow"
	}
	return ""
}

// Branch looks a branch up here and at origin. The error is a *NotFoundError when neither has it, whatever the name.
func (r *Repository) Branch(ctx context.Context, name string) (Branch, error) {
	all, err := r.Branches(ctx, "")
	if err != nil {
		return Branch{}, err
	}
	i, ok := slices.BinarySearchFunc(all, name, func(b Branch, name string) int { return strings.Compare(b.Name, name) })
	if !ok {
		return Branch{}, &NotFoundError{"branch", name}
	}
	return all[i], nil
}

// Branches lists the branches, here and at origin, whose names begin with prefix, sorted by name.
func (r *Repository) Branches(ctx context.Context, prefix string) ([]Branch, error) {
	// All refs are asked for and chosen here: git would take the prefix for a pattern.
	out, err := r.run(ctx, nil, "for-each-ref", "--format=%(objecttype) %(objectname) %(symref) %(refname)", localRefs, originRefs)
	if err != nil {
		return nil, fmt.Errorf("listing branches: %w", err)
	}
	found := map[string]*Branch{}
	for line := range strings.Lines(string(out)) {
		// The third field is empty unless the ref only points to another one, as origin/HEAD does.
		f := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(f) != 4 || f[0] != "commit" || f[2] != "" {
			continue
		}
		name, local := strings.CutPrefix(f[3], localRefs)
		if !local {
			name = strings.TrimPrefix(f[3], originRefs)
		}
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		b := found[name]
		if b == nil {
			b = &Branch{Name: name}
			found[name] = b
		}
		if local {
			b.Local = f[1]
		} else {
			b.Origin = f[1]
		}
	}
	all := make([]Branch, 0, len(found))
	for _, b := range found {
		all = append(all, *b)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, nil
}

// Head is the name of the branch that is checked out, whether or not it has a commit; "" when a commit is checked out
// and no branch.
func (r *Repository) Head(ctx context.Context) (string, error) {
	out, err := r.run(ctx, nil, "symbolic-ref", "--quiet", "HEAD")
	if exitCode(err) == 1 {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("finding the current branch: %w", err)
	}
	name, ok := strings.CutPrefix(strings.TrimSuffix(string(out), "\n"), localRefs)
	if !ok {
		return "", nil
	}
	return name, nil
}
