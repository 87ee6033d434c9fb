package rebase

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kvick/shopfleet/internal/git"
)

// chain is a row of commits as it grows.
type chain struct {
	onto *trunk
	tip  string // commit
	tree string // of tip
	// settle says what becomes of a path that both sides changed.
	settle func(contest) (git.Entry, error)
}

// contest is a path that both sides changed, each in its way, and what git makes of it.
type contest struct {
	path             string
	base, main, shop git.Entry // the zero Entry is nothing
	merged           git.Entry // with git's marks in it when it is not clean
	clean            bool
	commit           string // of the branch
}

// The dates and zones of what is made here.
func committer(seconds int64) string {
	return git.Signature() + " " + strconv.FormatInt(seconds, 10) + " +0000"
}

// seconds is the date in "name <address> seconds zone"; 0 when it cannot be read.
func seconds(signature string) int64 {
	f := strings.Fields(signature[strings.LastIndex(signature, ">")+1:])
	if len(f) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// apply puts what a commit changes on the tip of the chain and returns the tree that comes of it. began says that the
// commit changes nothing in the first place.
func (w *work) apply(ch *chain, id string) (tree string, began bool, err error) {
	c, err := w.commit(id)
	if err != nil {
		return "", false, err
	}
	base, err := w.parentTree(c)
	if err != nil {
		return "", false, err
	}
	began = base == c.Tree
	if tree := w.folded[id]; tree != "" {
		c.Tree = tree
	}
	if len(c.Parents) > 0 && w.folded[c.Parents[0]] != "" {
		base = w.folded[c.Parents[0]]
	}
	changes, err := w.sound(base, c.Tree)
	if err != nil || len(changes) == 0 {
		return ch.tree, began, err
	}
	if base == ch.tree {
		return c.Tree, false, nil
	}
	edits, contested, whole, err := w.fit(ch.tree, base, changes)
	if err != nil {
		return "", false, err
	}
	if whole {
		trees := git.TreeMerge{Base: base, Ours: ch.tree, Theirs: c.Tree}
		tree, err = w.merge(ch, trees, trees, id)
		return tree, false, err
	}
	settled, err := w.mergeFiles(ch, contested, id)
	if err != nil {
		return "", false, err
	}
	tree, err = w.store.Edit(ch.tree, append(edits, settled...))
	return tree, false, err
}

// sound lists how one tree becomes another, and makes sure that all of it can be checked out.
func (w *work) sound(before, after string) ([]git.Change, error) {
	changes, err := w.store.Diff(before, after)
	if err != nil {
		return nil, err
	}
	for _, c := range changes {
		if c.New.Mode != 0 {
			if err := c.New.Check(); err != nil {
				return nil, err
			}
		}
	}
	return changes, nil
}

// same says whether two entries are the same file, link or submodule; paths are not looked at.
func same(a, b git.Entry) bool { return a.Mode == b.Mode && a.ID == b.ID }

// fit finds what of a commit's changes can be taken over as it is, and which files have to be merged. whole says that
// git has to look at the trees as a whole: where files went away and others came, on one side or the other, git looks for
// files and directories that were renamed, and what it finds there changes where things belong.
func (w *work) fit(tip, base string, changes []git.Change) (edits []git.Entry, contested []contest, whole bool, err error) {
	adds, removes := false, false
	for _, c := range changes {
		adds = adds || c.Old.Mode == 0
		removes = removes || c.New.Mode == 0
	}
	if adds && removes {
		return nil, nil, true, nil
	}
	for _, c := range changes {
		there, err := w.store.Lookup(tip, c.Path)
		if err != nil {
			return nil, nil, false, err
		}
		switch {
		case there.Mode == 0 && c.New.Mode == 0:
			return nil, nil, true, nil // deleted here, and there perhaps renamed
		case same(there, c.New):
		case same(there, c.Old):
			if c.Old.Mode == 0 {
				ok, err := w.hasPlace(tip, base, c.Path)
				if !ok || err != nil {
					return nil, nil, true, err
				}
			}
			e := c.New
			e.Path = c.Path
			edits = append(edits, e)
		case c.Old.IsFile() && c.New.IsFile() && there.IsFile():
			contested = append(contested, contest{path: c.Path, base: c.Old, main: there, shop: c.New})
		default:
			return nil, nil, true, nil
		}
	}
	return edits, contested, false, nil
}

// hasPlace says whether a new file can be put at a path: no file is in its way, and no directory that it was added to has
// gone from the tip.
func (w *work) hasPlace(tip, base, path string) (bool, error) {
	for i := range path {
		if path[i] != '/' {
			continue
		}
		there, err := w.store.Lookup(tip, path[:i])
		if err != nil {
			return false, err
		}
		if there.IsDir() {
			continue
		}
		if there.Mode != 0 {
			return false, nil
		}
		before, err := w.store.Lookup(base, path[:i])
		return !before.IsDir(), err
	}
	return true, nil
}

// mergeFiles merges files one by one: what git makes of a file does not depend on the others, and the same three sides
// are merged once however many branches have them.
func (w *work) mergeFiles(ch *chain, list []contest, commit string) ([]git.Entry, error) {
	var questions []*question
	for _, c := range list {
		var m git.TreeMerge
		for _, side := range []struct {
			into  *string
			entry git.Entry
		}{{&m.Base, c.base}, {&m.Ours, c.main}, {&m.Theirs, c.shop}} {
			e := side.entry
			e.Path = c.path
			tree, err := w.store.Edit("", []git.Entry{e})
			if err != nil {
				return nil, err
			}
			*side.into = tree
		}
		questions = append(questions, &question{merge: m, onto: ch.onto})
	}
	if err := w.ask(questions...); err != nil {
		return nil, err
	}
	var out []git.Entry
	for i, q := range questions {
		if q.merged.Err != nil {
			return nil, &unusableError{fmt.Sprintf("commit %.12s cannot be merged: %v", commit, q.merged.Err)}
		}
		c := list[i]
		merged, err := w.store.Lookup(q.merged.Tree, c.path)
		if err != nil {
			return nil, err
		}
		c.merged, c.clean, c.commit = merged, len(q.merged.Conflicts) == 0, commit
		if !c.clean {
			if c.merged, err = w.relabel(c.merged, q.merged); err != nil {
				return nil, err
			}
		}
		e, err := ch.settle(c)
		if err != nil {
			return nil, err
		}
		e.Path = c.path
		out = append(out, e)
	}
	return out, nil
}

// merge lets git merge whole trees, or commits, and settles what is left. trees are the three sides as trees.
func (w *work) merge(ch *chain, m, trees git.TreeMerge, commit string) (string, error) {
	q := &question{merge: m, onto: ch.onto}
	if err := w.ask(q); err != nil {
		return "", err
	}
	if q.merged.Err != nil {
		return "", &unusableError{fmt.Sprintf("commit %.12s cannot be merged: %v", commit, q.merged.Err)}
	}
	tree := q.merged.Tree
	var edits []git.Entry
	for _, u := range q.merged.Conflicts {
		there, err := w.store.Lookup(tree, u.Path)
		if err != nil {
			return "", err
		}
		if there.IsDir() {
			there = git.Entry{} // git put a file elsewhere, since a directory is where it was
		}
		c := contest{path: u.Path, base: u.Base, main: u.Ours, shop: u.Theirs, merged: there, commit: commit}
		moved := strings.ReplaceAll(strings.ReplaceAll(u.Path, "~"+q.merged.OursLabel, "~main"), "~"+q.merged.TheirsLabel, "~"+w.branch.Shop.Slug)
		if moved != u.Path {
			// The name that git gave to a file that it moved out of a directory's way holds an id that says nothing.
			taken, err := w.store.Lookup(tree, moved)
			if err != nil {
				return "", err
			}
			if taken.Mode == 0 {
				edits = append(edits, git.Entry{Path: u.Path})
				c.path = moved
			}
		}
		if c.merged, err = w.relabel(c.merged, q.merged); err != nil {
			return "", err
		}
		e, err := ch.settle(c)
		if err != nil {
			return "", err
		}
		if e.Mode == 0 && there.Mode == 0 {
			continue
		}
		e.Path = c.path
		edits = append(edits, e)
	}
	// A clean merge of the configuration's text may mean what nobody wrote.
	c, err := w.configContest(trees, tree)
	if err != nil {
		return "", err
	}
	if c != nil && !slices.ContainsFunc(q.merged.Conflicts, func(u git.Unmerged) bool { return u.Path == configFile }) {
		c.commit = commit
		e, err := ch.settle(*c)
		if err != nil {
			return "", err
		}
		e.Path = configFile
		edits = append(edits, e)
	}
	if len(edits) == 0 {
		return tree, nil
	}
	return w.store.Edit(tree, edits)
}

// relabel makes git's marks say whose the sides are. git calls them by the ids of commits that nobody knows.
func (w *work) relabel(e git.Entry, m git.TreeMerged) (git.Entry, error) {
	if !e.IsFile() {
		return e, nil
	}
	text, err := w.text(e.ID)
	if text == nil || err != nil {
		return e, err
	}
	named := strings.NewReplacer("< "+m.OursLabel, "< main", "> "+m.TheirsLabel, "> "+w.branch.Shop.Branch).Replace(string(text))
	if named != string(text) {
		e.ID = w.store.PutBlob([]byte(named))
	}
	return e, nil
}

// put makes the commit that carries another one, with a tree, on the tip of the chain. Who made it, when and with what
// words stays, byte for byte. by is its committer; "" is this program.
func (w *work) put(ch *chain, c git.RawCommit, tree, by string) {
	if by == "" {
		by = committer(max(seconds(c.Committer), ch.onto.made))
	}
	ch.tip = w.store.PutCommit(git.RawCommit{Tree: tree, Parents: []string{ch.tip}, Author: c.Author, Committer: by, Encoding: c.Encoding, Message: c.Message})
	ch.tree = tree
}

// commit reads a commit of the branch, once.
func (w *work) commit(id string) (git.RawCommit, error) {
	if c, ok := w.read[id]; ok {
		return c, nil
	}
	c, err := w.store.RawCommit(id)
	if err == nil {
		w.read[id] = c
	}
	return c, err
}
