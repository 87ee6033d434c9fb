package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// ShallowError says that a clone lacks a part of the history where all of it is needed.
type ShallowError struct{ Dir string }

func (e *ShallowError) Error() string { return e.Dir + " is a shallow clone" }

// Hint says what to do about it.
func (e *ShallowError) Hint() string {
	return "git fetch --unshallow, or fetch-depth: 0 in actions/checkout"
}

// Bare makes a bare repository without any refs in a directory that is missing or empty. It sees the objects of the
// lenders, so that they need not be fetched again, and nothing else of them. The error is a *ShallowError when one of
// them lacks history: what is fetched must be whole.
func Bare(ctx context.Context, dir string, lenders ...*Repository) (*Repository, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("making a bare repository: %w", err)
	}
	var objects []string
	for _, l := range lenders {
		shallow, err := l.Shallow(ctx)
		if err != nil {
			return nil, fmt.Errorf("making a bare repository: %w", err)
		}
		if shallow {
			return nil, fmt.Errorf("making a bare repository: %w", &ShallowError{l.Dir})
		}
		path, err := l.path(ctx, "objects")
		if err != nil {
			return nil, fmt.Errorf("making a bare repository: %w", err)
		}
		objects = append(objects, path)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fmt.Errorf("making a bare repository: %w", err)
	}
	if inside, err := os.ReadDir(abs); err != nil || len(inside) > 0 {
		return nil, fmt.Errorf("making a bare repository: %s is not empty", abs)
	}
	r := &Repository{Dir: abs}
	if len(lenders) > 0 {
		r.Program, r.Echo = lenders[0].Program, lenders[0].Echo
	}
	if _, err := r.run(ctx, nil, "init", "--quiet", "--bare", "--template=", "--initial-branch=main", "--object-format=sha1"); err != nil {
		return nil, fmt.Errorf("making a bare repository: %w", err)
	}
	if len(objects) > 0 {
		if err := r.lend(objects...); err != nil {
			return nil, fmt.Errorf("making a bare repository: %w", err)
		}
	}
	return r, nil
}

// refPattern is what a full name of a ref looks like. git has more rules and says so itself; these keep a name from being
// anything else.
var refPattern = regexp.MustCompile(`^refs/[^\x00-\x20\x7f:?*\[\\^~]+$`)

func checkRef(name string) error {
	if !refPattern.MatchString(name) || strings.Contains(name, "..") || strings.HasSuffix(name, "/") {
		return fmt.Errorf("%q is not the full name of a ref", name)
	}
	return nil
}

// specPattern is a refspec of full names, with or without a star at the end of both.
var specPattern = regexp.MustCompile(`^\+?(refs/[^\x00-\x20\x7f:?*\[\\^~]+)(\*?):(refs/[^\x00-\x20\x7f:?*\[\\^~]+)(\*?)$`)

// Fetch gets objects and moves refs here, with one git. specs are refspecs such as +refs/heads/shops/*:refs/heads/shops/*,
// or full ids of objects that are only brought here. Tags are not followed. A ref that the remote lacks is an error only
// if a spec without a star names it.
//
// A fault on the way is tried again after a moment, as it is by RemoteRefs and Push.
//
// r has no settings but those that git writes by itself: the repository is one that Bare, Scratch or Init made. The
// error is a *SettingsError otherwise. Over HTTP it is an error when r has no ref at all in the end.
func (r *Repository) Fetch(ctx context.Context, remote Remote, specs ...string) error {
	return r.fetch(ctx, remote, false, specs)
}

// Mirror is Fetch, and refs here that a spec could have made and the remote does not have are removed.
func (r *Repository) Mirror(ctx context.Context, remote Remote, specs ...string) error {
	return r.fetch(ctx, remote, true, specs)
}

func (r *Repository) fetch(ctx context.Context, remote Remote, prune bool, specs []string) error {
	if len(specs) == 0 {
		return nil
	}
	for _, spec := range specs {
		m := specPattern.FindStringSubmatch(spec)
		if !objectID.MatchString(spec) && (m == nil || m[2] != m[4]) {
			return fmt.Errorf("fetching: %q is not a refspec of full names", spec)
		}
	}
	c, err := r.connect(ctx, remote)
	if err != nil {
		return fmt.Errorf("fetching: %w", err)
	}
	args := []string{"fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance"}
	if prune {
		args = append(args, "--prune")
	}
	if remote.Filter != "" {
		args = append(args, "--filter="+remote.Filter)
	}
	args = append(args, "--stdin", remote.address())
	for n := 1; ; n++ {
		_, _, err := c.run(ctx, strings.NewReader(strings.Join(specs, "\n")+"\n"), args, args...)
		if err == nil {
			break
		}
		if !remote.again(ctx, n, err) {
			return fmt.Errorf("fetching: %w", err)
		}
	}
	if filepath.IsAbs(remote.URL) {
		return nil
	}
	out, err := r.run(ctx, nil, "for-each-ref", "--count=1", "--format=%(refname)")
	if err != nil {
		return fmt.Errorf("fetching: %w", err)
	}
	if len(out) == 0 {
		return fmt.Errorf("fetching: %w", errNoRefs)
	}
	return nil
}

// errNoRefs is about a web server that answers with a page. git takes it for a repository in which nothing is.
var errNoRefs = errors.New("the remote lists no refs at all; is there a repository?")

// RemoteRefs lists the refs of a remote whose full names begin with one of the prefixes, each with what it points to. A
// remote over HTTP that lists nothing is an error.
func (r *Repository) RemoteRefs(ctx context.Context, remote Remote, prefixes ...string) (map[string]string, error) {
	c, err := r.connect(ctx, remote)
	if err != nil {
		return nil, fmt.Errorf("listing the remote's refs: %w", err)
	}
	args := []string{"ls-remote", "--quiet", "--refs"}
	if !slices.ContainsFunc(prefixes, func(p string) bool { return !strings.HasPrefix(p, localRefs) }) {
		args = append(args, "--heads") // pull requests have refs too, and there may be many
	}
	args = append(args, remote.URL)
	var out string
	for n := 1; ; n++ {
		if out, _, err = c.run(ctx, nil, args, args...); err == nil {
			break
		}
		if !remote.again(ctx, n, err) {
			return nil, fmt.Errorf("listing the remote's refs: %w", err)
		}
	}
	if out == "" && !filepath.IsAbs(remote.URL) {
		return nil, fmt.Errorf("listing the remote's refs: %w", errNoRefs)
	}
	refs := map[string]string{}
	for line := range strings.Lines(out) {
		id, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok || checkID(id) != nil {
			return nil, fmt.Errorf("listing the remote's refs: unexpected answer %q", line)
		}
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			refs[name] = id
		}
	}
	return refs, nil
}

// Refs are the refs here whose full names begin with a prefix, each with what it points to.
func (r *Repository) Refs(ctx context.Context, prefix string) (map[string]string, error) {
	out, err := r.run(ctx, nil, "for-each-ref", "--format=%(objectname) %(refname)")
	if err != nil {
		return nil, fmt.Errorf("listing the refs: %w", err)
	}
	refs := map[string]string{}
	for line := range strings.Lines(string(out)) {
		id, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok || checkID(id) != nil {
			return nil, fmt.Errorf("listing the refs: unexpected line %q", line)
		}
		if strings.HasPrefix(name, prefix) {
			refs[name] = id
		}
	}
	return refs, nil
}
