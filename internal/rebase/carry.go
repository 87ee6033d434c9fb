package rebase

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
)

// Why a commit of a branch is not carried.
const (
	droppedOnMain = "main has it"
	droppedCopy   = "a newer copy is carried"
	droppedTwice  = "it is there twice, and empty here"
	droppedEmpty  = "nothing of it is left"
	droppedFolded = "it resolves what is carried resolved"
	droppedMerge  = "merge"
)

// move carries the branch onto a commit of main.
func (w *work) move(t *trunk) (*carried, error) {
	m := &carried{Move: Move{Slug: w.branch.Shop.Slug, Main: t.id, From: w.branch.Tip}}
	w.folded = nil
	o, err := w.own(t)
	if err != nil {
		return nil, err
	}
	if m.Base = o.stand.base; m.Base == "" {
		return nil, &unusableError{"the branch has no commit in common with main"}
	}
	onto, err := w.onMain(o)
	if err != nil {
		return nil, err
	}
	left, dropped, twice, err := w.withoutCopies(t, o, onto)
	if err != nil {
		return nil, err
	}
	hasMain := len(o.stand.has) == len(t.has)
	if hasMain && (w.merging() || o.linear && len(dropped) == 0) {
		m.current, m.To = true, m.From
		for _, id := range left {
			c, err := w.commit(id)
			if err != nil {
				return nil, err
			}
			m.Commits = append(m.Commits, Carried{From: id, To: id, Subject: c.Subject()})
		}
		return m, nil
	}
	for _, id := range o.merges {
		dropped[id] = droppedMerge
	}
	if len(o.merges) == 0 {
		if err := w.fold(left); err != nil {
			return nil, err
		}
		// As git rebase does it: that is what people expect, and it is right unless it gets stuck.
		plain := m.again()
		if err := w.carryAll(t, plain, o, left, maps.Clone(dropped), ""); err != nil {
			return nil, err
		}
		plain.diverged = twice > 0
		plain.Sorted = sorted(o, twice, "")
		if len(plain.Conflicts) == 0 {
			return plain, nil
		}
		x, err := w.taken(t, o)
		if err != nil {
			return nil, err
		}
		if twice == 0 && x == "" {
			return plain, nil
		}
		return w.sortOut(t, m, o, left, dropped, twice, x)
	}
	x, err := w.taken(t, o)
	if err != nil {
		return nil, err
	}
	return w.sortOut(t, m, o, left, dropped, twice, x)
}

// fold finds the marks that a survey left in a commit of the branch, and that a person resolved in a later one. Once that
// has landed, the resolution belongs into the commit itself: or else, when main next changes the same, a person would see
// marks within marks.
func (w *work) fold(commits []string) error {
	w.folded = map[string]string{}
	since := map[string]int{} // the commit from which on a path has marks
	edits := make([][]git.Entry, len(commits))
	for i, id := range commits {
		c, err := w.commit(id)
		if err != nil {
			return err
		}
		if i > 0 && c.Parents[0] != commits[i-1] {
			clear(since)
		}
		changes, err := w.changes(id)
		if err != nil {
			return err
		}
		for _, change := range changes {
			from, before := since[change.Path]
			if !before && !ours(c) {
				continue
			}
			marked, err := w.isMarked(change.New)
			switch {
			case err != nil:
				return err
			case marked && !before:
				since[change.Path] = i
			case before && !marked:
				for k := from; k < i; k++ {
					edits[k] = append(edits[k], git.Entry{Mode: change.New.Mode, ID: change.New.ID, Path: change.Path})
				}
				delete(since, change.Path)
			}
		}
	}
	for i, list := range edits {
		if len(list) == 0 {
			continue
		}
		c, err := w.commit(commits[i])
		if err != nil {
			return err
		}
		tree, err := w.store.Edit(c.Tree, list)
		if harmless(err) {
			// It does not fit in there, and so stays where it is: all of it, as trees that follow build on each other.
			w.folded = map[string]string{}
			return nil
		}
		if err != nil {
			return err
		}
		w.folded[commits[i]] = tree
	}
	return nil
}

// isMarked says whether a file has the marks of a conflict that a survey of this branch left.
func (w *work) isMarked(e git.Entry) (bool, error) {
	if !e.IsFile() {
		return false, nil
	}
	text, err := w.text(e.ID)
	return text != nil && hasMarks(text, w.branch.Shop.Branch), err
}

// again is the move before anything was carried.
func (m *carried) again() *carried {
	return &carried{Move: Move{Slug: m.Slug, Main: m.Main, From: m.From, Base: m.Base}}
}

// sortOut carries a branch whose commits alone do not say what it means: what it has to come to is known first, and the
// commits are the way there.
func (w *work) sortOut(t *trunk, m *carried, o own, left []string, dropped map[string]string, twice int, x string) (*carried, error) {
	m = m.again()
	m.diverged, m.Sorted = true, sorted(o, twice, x)
	want, err := w.meant(t, m, o, x)
	if err != nil {
		return nil, err
	}
	return m, w.carryAll(t, m, o, left, dropped, want)
}

// carryAll carries commits. want is the tree that has to come of it; "" leaves that to the commits.
func (w *work) carryAll(t *trunk, m *carried, o own, left []string, dropped map[string]string, want string) error {
	ch := &chain{onto: t, tip: t.id, tree: t.commit.Tree}
	if w.merging() && !t.has[m.From] {
		w.open(ch, m.From)
		m.Start = ch.tip
	}
	ch.settle = func(c contest) (git.Entry, error) {
		if want == "" {
			return w.settle(m, c)
		}
		e, err := w.store.Lookup(want, c.path)
		if e.IsDir() {
			e = git.Entry{}
		}
		return e, err
	}
	for _, id := range left {
		if err := w.carry(ch, m, id, dropped); err != nil {
			return err
		}
	}
	if want != "" && ch.tree != want {
		if err := w.keepRest(ch, m, o, want); err != nil {
			return err
		}
	}
	for _, id := range append(slices.Clone(o.commits), o.merges...) {
		if why := dropped[id]; why != "" {
			c, err := w.commit(id)
			if err != nil {
				return err
			}
			m.Dropped = append(m.Dropped, Dropped{Commit: id, Subject: c.Subject(), Why: why})
		}
	}
	m.To, m.tree = ch.tip, ch.tree
	return nil
}

// carry puts one commit on the chain.
func (w *work) carry(ch *chain, m *carried, id string, dropped map[string]string) error {
	c, err := w.commit(id)
	if err != nil {
		return err
	}
	if err := c.Check(); err != nil {
		return &unusableError{fmt.Sprintf("commit %.12s cannot be carried: %v", id, err)}
	}
	tree, began, err := w.apply(ch, id)
	if err != nil {
		return err
	}
	if tree == ch.tree && !began {
		dropped[id] = droppedEmpty
		if w.folded[c.Parents[0]] != "" {
			dropped[id] = droppedFolded
		}
		return nil
	}
	if tree == c.Tree && slices.Equal(c.Parents, []string{ch.tip}) {
		ch.tip, ch.tree = id, tree // it is where it belongs
	} else {
		w.put(ch, c, tree, "")
	}
	m.Commits = append(m.Commits, Carried{From: id, To: ch.tip, Subject: c.Subject()})
	return nil
}

// open begins a move in merging style: a merge of the branch and main, with main's tree.
func (w *work) open(ch *chain, from string) {
	who := committer(ch.onto.made)
	ch.tip = w.store.PutCommit(git.RawCommit{
		Tree: ch.tree, Parents: []string{from, ch.onto.id}, Author: who, Committer: who,
		Message: fmt.Appendf(nil, "Carry %s onto main\n\nThe commits that follow are the shop's own. What the branch was before is below,\nso that landing is a fast-forward.\n", w.branch.Shop.Branch),
	})
}

// identity is the same for copies of a commit: who made it, when, and with what words.
func identity(c git.RawCommit) string { return c.Author + "\n" + c.Encoding + "\n" + string(c.Message) }

// withoutCopies leaves out what main has, and of commits that are there more than once all but the newest copy. Copies on
// one line both stay unless one is empty: a commit may well have been reverted and made again. twice is how many were left
// out as copies, and how many are left that are main's under other ids and no longer the same patch.
func (w *work) withoutCopies(t *trunk, o own, onMain map[string]string) (left []string, dropped map[string]string, twice int, err error) {
	dropped = map[string]string{}
	groups := map[string][]string{}
	empty := map[string]bool{}
	var order []string
	for _, id := range o.commits {
		c, err := w.commit(id)
		if err != nil {
			return nil, nil, 0, err
		}
		if onMain[id] != "" {
			dropped[id] = droppedOnMain
			continue
		}
		key := identity(c)
		if o.stand.copied[key] {
			twice++
		}
		if len(groups[key]) == 0 {
			order = append(order, key)
		}
		groups[key] = append(groups[key], id)
		before, err := w.parentTree(c)
		if err != nil {
			return nil, nil, 0, err
		}
		empty[id] = before == c.Tree
	}
	for _, key := range order {
		group := groups[key]
		if len(group) == 1 {
			continue
		}
		for i, id := range group {
			for j, other := range group {
				if i == j || dropped[id] != "" || dropped[other] != "" {
					continue
				}
				switch {
				case empty[id] && (!empty[other] || i > j):
					dropped[id] = droppedTwice
				case empty[other] || empty[id]:
					continue
				case w.isAncestor(t, id, other) || w.isAncestor(t, other, id):
					continue
				case w.newer(group[j], group[i], j > i):
					dropped[id] = droppedCopy
				default:
					continue
				}
				twice++
			}
		}
	}
	for _, id := range o.commits {
		if dropped[id] == "" {
			left = append(left, id)
		}
	}
	return left, dropped, twice, nil
}

// newer says whether a was made after b.
func (w *work) newer(a, b string, otherwise bool) bool {
	x, y := w.graph.Made(a), w.graph.Made(b)
	if x.Equal(y) {
		return otherwise
	}
	return x.After(y)
}

// taken finds the commit of main whose files the branch has outside of the overlay, though main's commit is not below it:
// somebody has squashed or copied main into it. "" when there is none.
func (w *work) taken(t *trunk, o own) (string, error) {
	outside := false
	for _, id := range o.commits {
		changes, err := w.changes(id)
		if err != nil {
			return "", err
		}
		outside = outside || slices.ContainsFunc(changes, func(c git.Change) bool { return !w.Policy.InOverlay(c.Path) })
	}
	from := t.place[o.stand.base]
	if !outside && len(o.merges) == 0 || from == 0 {
		return "", nil
	}
	c, err := w.commit(w.branch.Tip)
	if err != nil {
		return "", err
	}
	base, err := w.commit(o.stand.base)
	if err != nil {
		return "", err
	}
	if changes, err := w.outside(base.Tree, c.Tree); len(changes) == 0 || err != nil {
		return "", err // as main's commit that it stands on: nothing was taken
	}
	changes, err := w.outside(t.commit.Tree, c.Tree)
	if err != nil {
		return "", err
	}
	differ := map[string]bool{}
	for _, path := range changes {
		differ[path] = true
	}
	found := ""
	for _, id := range t.line[:from] {
		if len(differ) == 0 {
			// Commits of main that only change the overlay look all the same from here. The oldest takes nothing of
			// main's away.
			found = id
		} else if found != "" {
			break
		}
		changes, err := w.mainChanges(id)
		if err != nil {
			return "", err
		}
		for _, d := range changes {
			if w.Policy.InOverlay(d.Path) {
				continue
			}
			there, err := w.store.Lookup(c.Tree, d.Path)
			if err != nil {
				return "", err
			}
			if same(there, d.Old) {
				delete(differ, d.Path)
			} else {
				differ[d.Path] = true
			}
		}
	}
	return found, nil
}

// outside lists the paths outside of the overlay in which two trees differ.
func (w *work) outside(a, b string) ([]string, error) {
	changes, err := w.store.Diff(a, b)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range changes {
		if !w.Policy.InOverlay(c.Path) {
			out = append(out, c.Path)
		}
	}
	slices.Sort(out)
	return out, nil
}

// meant is the tree that a diverged branch means: what its people made of it, and what is new on main.
func (w *work) meant(t *trunk, m *carried, o own, x string) (string, error) {
	ch := &chain{onto: t, tree: t.commit.Tree, settle: func(c contest) (git.Entry, error) { return w.settle(m, c) }}
	tip, err := w.commit(m.From)
	if err != nil {
		return "", err
	}
	base, err := w.commit(cmp.Or(x, o.stand.base))
	if err != nil {
		return "", err
	}
	if _, err := w.sound(base.Tree, tip.Tree); err != nil {
		return "", err // git would take what is missing for deleted
	}
	trees := git.TreeMerge{Base: base.Tree, Ours: t.commit.Tree, Theirs: tip.Tree}
	if x != "" {
		if trees.Base, err = w.baseTree(t, o, trees.Base, tip.Tree); err != nil {
			return "", err
		}
		return w.merge(ch, trees, trees, m.From)
	}
	return w.merge(ch, git.TreeMerge{Ours: t.id, Theirs: m.From}, trees, m.From)
}

// baseTree is the tree of main's commit that a branch has taken in, as far as it has: of the overlay, only the files that
// hold what main's commit changed in them, or that were decided in a commit that took main's files. In the others main's
// commit would look undone by the shop.
func (w *work) baseTree(t *trunk, o own, taken, tip string) (string, error) {
	base, err := w.commit(o.stand.base)
	if err != nil {
		return "", err
	}
	changes, err := w.store.Diff(base.Tree, taken)
	if err != nil {
		return "", err
	}
	decided := map[string]bool{}
	for _, id := range o.commits {
		list, err := w.changes(id)
		if err != nil {
			return "", err
		}
		takes := slices.ContainsFunc(list, func(c git.Change) bool { return !w.Policy.InOverlay(c.Path) })
		for _, c := range list {
			decided[c.Path] = takes || decided[c.Path]
		}
	}
	var edits []git.Entry
	for _, c := range changes {
		if !w.Policy.InOverlay(c.Path) {
			continue
		}
		there, err := w.store.Lookup(tip, c.Path)
		if err != nil {
			return "", err
		}
		has := decided[c.Path] || same(there, c.New)
		if !has && !same(there, c.Old) && c.Old.IsFile() && c.New.IsFile() && there.IsFile() {
			look := &chain{onto: t, settle: func(c contest) (git.Entry, error) {
				has = c.clean && same(c.merged, there)
				return c.merged, nil
			}}
			list := []contest{{path: c.Path, base: c.Old, main: c.New, shop: there}}
			if _, err := w.mergeFiles(look, list, w.branch.Tip); err != nil {
				return "", err
			}
		}
		if !has {
			edits = append(edits, git.Entry{Mode: c.Old.Mode, ID: c.Old.ID, Path: c.Path})
		}
	}
	return w.store.Edit(taken, edits)
}

// keepRest makes the commit that takes what no single commit of the branch had: what was decided in merges.
func (w *work) keepRest(ch *chain, m *carried, o own, tree string) error {
	by := w.branch.Tip
	if len(o.merges) > 0 {
		by = slices.MaxFunc(o.merges, func(a, b string) int { return w.graph.Made(a).Compare(w.graph.Made(b)) })
	}
	c, err := w.commit(by)
	if err != nil {
		return err
	}
	c.Encoding, c.Message = "", fmt.Appendf(nil, "keep what was merged by hand\n\nIt was on %s at %s.\n", w.branch.Shop.Branch, w.branch.Tip)
	w.put(ch, c, tree, "")
	m.Commits = append(m.Commits, Carried{To: ch.tip, Subject: c.Subject()})
	return nil
}

// sorted says in words why a branch is diverged.
func sorted(o own, twice int, x string) string {
	var said []string
	if n := len(o.merges); n > 0 {
		said = append(said, fmt.Sprintf("%s by hand", count(n, "merge")))
	}
	if twice > 0 {
		said = append(said, fmt.Sprintf("%s there twice", count(twice, "commit")))
	}
	if x != "" {
		said = append(said, fmt.Sprintf("main's files as of %.12s, without its commits", x))
	}
	return strings.Join(said, "; ")
}

// merging says whether moves are made so that landing them is a fast-forward.
func (w *work) merging() bool { return w.Policy.Rebase.Style == fleet.StyleMerging }

// ours says whether a commit was made here, and not by a person.
func ours(c git.RawCommit) bool {
	return strings.HasPrefix(c.Committer, git.Signature()+" ")
}
