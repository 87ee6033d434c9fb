package command

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/github"
)

// shopCommit is a commit that was made on a shop's branch.
type shopCommit struct {
	ID string `json:"commit"`
	// Pushed says that the remote has it at the branch.
	Pushed bool `json:"pushed"`
	// Todo is what is left for a person; "" is nothing.
	Todo string `json:"todo,omitempty"`
}

// shopWriter makes commits on shops' branches, by git's plumbing: no work tree is touched. A branch moves only from the
// commit that was looked at.
type shopWriter struct {
	c    *checkout
	hub  *github.Client // nil: what is at origin stays as it is, unless origin is on this machine
	push bool
}

// writer is ready to write to shops' branches, and to push where push is set and it is known how.
func (d *Door) writer(ctx context.Context, c *checkout, push bool) (*shopWriter, error) {
	w := &shopWriter{c: c, push: push}
	if !push {
		return w, nil
	}
	var err error
	w.hub, err = d.github(ctx, c, permissions{"contents": "write"})
	return w, err
}

// branch is a shop's branch, whose tip is the same here and at origin.
func (c *checkout) branch(shop fleet.Shop) (git.Branch, error) {
	i := slices.IndexFunc(c.tips, func(b git.Branch) bool { return b.Name == shop.Branch })
	if i < 0 {
		return git.Branch{}, Usage(fmt.Errorf("shop %s has no branch %s", shop.Slug, shop.Branch), "see git branch --all; git fetch origin gets what others pushed")
	}
	b := c.tips[i]
	if b.Differs() && c.door.workflow == nil {
		return b, Usage(fmt.Errorf("%s is another commit here than at origin", shop.Branch), "git fetch origin, then push or pull the branch, and run the same command again")
	}
	return b, nil
}

// write puts files at paths of the shop's branch, in one commit. A file that is nil is taken away.
func (w *shopWriter) write(ctx context.Context, shop fleet.Shop, files map[string][]byte, message string) (done shopCommit, err error) {
	b, err := w.c.branch(shop)
	if err != nil {
		return done, err
	}
	tip := w.c.tipsByName()[b.Name]
	if done.ID, err = w.commit(ctx, tip, files, message); err != nil {
		return done, fmt.Errorf("committing to %s: %w", shop.Branch, err)
	}
	name := "refs/heads/" + b.Name
	remote, ok, err := w.remote(ctx)
	if err != nil {
		return done, err
	}
	if ok {
		err := w.c.repo.Push(ctx, remote, []git.RefUpdate{{Name: name, Before: tip, After: done.ID}})
		var refused *git.PushError
		if errors.As(err, &refused) && refused.Has(git.Stale) {
			return done, &staleError{shop.Branch}
		}
		if err != nil {
			return done, fmt.Errorf("pushing %s: %w", shop.Branch, err)
		}
		done.Pushed = true
	}
	var here []git.RefUpdate
	if ok && b.Origin != "" {
		here = append(here, git.RefUpdate{Name: "refs/remotes/origin/" + b.Name, Before: b.Origin, After: done.ID})
	}
	if err := w.move(ctx, here); err != nil {
		done.Todo = "git fetch origin"
	}
	if b.Local != "" || !ok {
		// A branch that is checked out does not move under its files: git refuses that.
		switch err := w.move(ctx, []git.RefUpdate{{Name: name, Before: b.Local, After: done.ID}}); {
		case err != nil && ok:
			done.Todo = "git pull, in the work tree of " + b.Name
		case err != nil:
			return done, Usage(fmt.Errorf("%s could not be moved to the commit %s: it is checked out, or it moved", b.Name, done.ID), "check out another branch and run the same command again; or git merge "+done.ID)
		}
	}
	if !ok && b.Origin != "" {
		done.Todo = "git push origin " + b.Name
	}
	w.moved(b.Name, done)
	return done, nil
}

// moved keeps in mind where a branch is now.
func (w *shopWriter) moved(name string, done shopCommit) {
	for i := range w.c.tips {
		if b := &w.c.tips[i]; b.Name == name {
			if b.Local != "" || !done.Pushed {
				b.Local = done.ID
			}
			if b.Origin != "" && done.Pushed {
				b.Origin = done.ID
			}
		}
	}
	if f := w.c.door.workflow; f != nil && f.branch == name {
		f.commit = done.ID
	}
}

// commit makes the commit and moves nothing.
func (w *shopWriter) commit(ctx context.Context, tip string, files map[string][]byte, message string) (string, error) {
	store, err := w.c.repo.Store(ctx)
	if err != nil {
		return "", err
	}
	defer store.Close()
	parent, err := store.RawCommit(tip)
	if err != nil {
		return "", err
	}
	var entries []git.Entry
	for _, path := range sortedKeys(files) {
		e := git.Entry{Path: path}
		if files[path] != nil {
			e.Mode, e.ID = git.ModeFile, store.PutBlob(files[path])
		}
		entries = append(entries, e)
	}
	tree, err := store.Edit(parent.Tree, entries)
	if err != nil {
		return "", err
	}
	when := fmt.Sprintf("%s %d +0000", git.Signature(), w.c.door.Now().Unix())
	id := store.PutCommit(git.RawCommit{Tree: tree, Parents: []string{tip}, Author: when, Committer: when, Message: []byte(message)})
	return id, store.Flush()
}

// remote is where to push; ok is false where nobody knows how.
func (w *shopWriter) remote(ctx context.Context) (remote git.Remote, ok bool, err error) {
	if !w.push {
		return remote, false, nil
	}
	if w.hub != nil {
		remote, _, err = w.c.door.gitRemote(ctx, w.c, w.hub)
		return remote, err == nil, err
	}
	url, err := w.c.repo.RemoteURL(ctx, "origin")
	if err != nil || !filepath.IsAbs(url) {
		return remote, false, err
	}
	return git.Remote{URL: url}, true, nil
}

// move moves refs of this repository.
func (w *shopWriter) move(ctx context.Context, updates []git.RefUpdate) error {
	if len(updates) == 0 {
		return nil
	}
	dir, err := filepath.Abs(w.c.repo.Dir)
	if err != nil {
		return err
	}
	return w.c.repo.Push(ctx, git.Remote{URL: dir}, updates)
}

// track notes in this clone what origin's branch is now, as git push does; "" is that it is gone. Without it the next command
// that somebody types here, such as status, would speak of a shop as it was. ok is false where it could not be noted.
func (c *checkout) track(ctx context.Context, branch, commit string) (ok bool) {
	url, err := c.repo.RemoteURL(ctx, "origin")
	if err != nil || url == "" {
		return err == nil
	}
	u := git.RefUpdate{Name: "refs/remotes/origin/" + branch, After: commit}
	refs, err := c.repo.Refs(ctx, u.Name)
	if err != nil {
		return false
	}
	if u.Before = refs[u.Name]; u.Before == u.After {
		return true
	}
	return (&shopWriter{c: c}).move(ctx, []git.RefUpdate{u}) == nil
}
