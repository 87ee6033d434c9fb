package rebase

import (
	"fmt"
	"slices"

	"github.com/kvick/shopfleet/internal/git"
)

// head looks at the rebase branch that is there already. What was made here may be replaced by what was made now. What
// people committed on top is kept: it becomes a part of the move, on the new main if main moved, and the conflicts that it
// resolves are resolved. Where that is not possible the branch stays as it is.
func (w *work) head(t *trunk, m *carried) error {
	head := w.branch.Head
	if head == "" || head == m.To {
		return nil
	}
	if !w.graph.Has(head) {
		m.Kept = "the history of its rebase branch is not here as a whole"
		return nil
	}
	branch := setOf(w.graph.Above(w.branch.Tip, t.has))
	old, others, err := w.madeOn(t, w.graph.Above(head, t.has, branch))
	if err != nil && !harmless(err) {
		return err
	}
	if err != nil {
		m.Kept = "its rebase branch cannot be read: " + err.Error()
		return nil
	}
	if others == 0 {
		return nil
	}
	below, err := w.below(t, m, old, head)
	if err != nil {
		return err
	}
	if below == nil {
		m.Kept = fmt.Sprintf("people committed to its rebase branch (%s), and the shop's branch or the way it is carried has changed since", several(others))
		return nil
	}
	return w.onTop(t, m, old, below, w.graph.Above(head, w.graph.Ancestors(below.To), t.has, branch))
}

func several(commits int) string { return count(commits, "commit") }

// madeOn finds the commit of main that a rebase branch was made on, and counts the commits in it that people made.
func (w *work) madeOn(t *trunk, commits []string) (old string, others int, err error) {
	for _, id := range commits {
		c, err := w.commit(id)
		if err != nil {
			return "", 0, err
		}
		if !ours(c) {
			others++
			continue
		}
		for _, p := range c.Parents {
			if _, ok := t.place[p]; ok && old == "" {
				old = p
			}
		}
	}
	if old != "" || others == 0 {
		return old, others, nil
	}
	// Nothing of ours is between main and what people made.
	below := w.graph.Ancestors(w.branch.Head)
	for _, id := range t.line {
		if below[id] {
			return id, others, nil
		}
	}
	return "", others, nil
}

// below makes the move again that people committed on top of; nil when it is not below their commits. What has been
// learnt since may have changed how conflicts are resolved, so that it is looked for with and without that.
func (w *work) below(t *trunk, m *carried, old, head string) (*carried, error) {
	if old == "" {
		return nil, nil
	}
	has := w.graph.Ancestors(head)
	if old == t.id && has[m.To] {
		return m, nil
	}
	onto, err := w.trunk(old)
	if err != nil {
		return nil, err
	}
	known := w.resolutions
	defer func() { w.resolutions = known }()
	for _, resolutions := range []map[string]Resolution{known, nil} {
		w.resolutions = resolutions
		before, err := w.move(onto)
		if err != nil && !harmless(err) {
			return nil, err
		}
		if err == nil && has[before.To] {
			return before, nil
		}
	}
	return nil, nil
}

// onTop takes people's commits into the move: they were made on top of another one, below.
func (w *work) onTop(t *trunk, m *carried, old string, below *carried, people []string) error {
	head, err := w.commit(w.branch.Head)
	if err != nil {
		return err
	}
	var commits []string
	for _, id := range people {
		if len(w.graph.Parents(id)) == 1 {
			commits = append(commits, id)
		}
	}
	merges := len(commits) < len(people)
	if old == t.id && !merges {
		before := below.tree
		*m = *below
		m.To, m.tree = w.branch.Head, head.Tree
		for _, id := range commits {
			c, err := w.commit(id)
			if err != nil {
				return err
			}
			m.Commits = append(m.Commits, Carried{From: id, To: id, Subject: c.Subject()})
		}
		return w.learn(t, m, before)
	}
	if merges {
		// Without the merges the same has to come out, or they were more than a press on the button that updates.
		onto, err := w.trunk(old)
		if err != nil {
			return err
		}
		alone, ok, err := w.stack(onto, below, commits)
		if err != nil {
			return err
		}
		if !ok || alone.tree != head.Tree {
			m.Kept = "people merged something into its rebase branch"
			return nil
		}
		if old == t.id {
			before := below.tree
			*m = *alone
			return w.learn(t, m, before)
		}
	}
	carried, ok, err := w.stack(t, m, commits)
	if err != nil {
		return err
	}
	if !ok {
		m.Kept = fmt.Sprintf("people committed to its rebase branch (%s), and main has changed the same since", several(len(commits)))
		return nil
	}
	before := m.tree
	*m = *carried
	return w.learn(t, m, before)
}

// stack carries people's commits onto a move. They stay theirs, their committers too, so that the next survey knows them
// as such. ok is false when they do not fit.
func (w *work) stack(t *trunk, m *carried, commits []string) (on *carried, ok bool, err error) {
	on = m.clone()
	tip, err := w.store.RawCommit(m.To)
	if err != nil {
		return nil, false, err
	}
	before := len(on.Conflicts)
	ch := &chain{onto: t, tip: m.To, tree: tip.Tree, settle: func(c contest) (git.Entry, error) { return w.settle(on, c) }}
	for _, id := range commits {
		c, err := w.commit(id)
		if err != nil {
			return nil, false, err
		}
		if c.Check() != nil {
			return nil, false, nil
		}
		tree, began, err := w.apply(ch, id)
		if harmless(err) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		if tree == ch.tree && !began {
			on.Dropped = append(on.Dropped, Dropped{Commit: id, Subject: c.Subject(), Why: droppedEmpty})
			continue
		}
		w.put(ch, c, tree, c.Committer)
		on.Commits = append(on.Commits, Carried{From: id, To: ch.tip, Subject: c.Subject()})
	}
	on.To, on.tree = ch.tip, ch.tree
	return on, len(on.Conflicts) == before, nil
}

// learn looks which conflicts people's commits have resolved. before is the tree that they were made on: what was in it
// already, nobody decided.
func (w *work) learn(t *trunk, m *carried, before string) error {
	m.Touched, m.current = true, false
	elsewhere := false
	if len(m.Conflicts) > 0 {
		var err error
		if elsewhere, err = w.marksElsewhere(t, m); err != nil {
			return err
		}
	}
	times := map[string]int{}
	for _, c := range m.Conflicts {
		times[c.Path]++
	}
	var left []Conflict
	var lessons []Lesson
	for _, c := range m.Conflicts {
		there, err := w.store.Lookup(m.tree, c.Path)
		if err != nil {
			return err
		}
		was, err := w.store.Lookup(before, c.Path)
		if err != nil {
			return err
		}
		fits := !same(there, was) && !elsewhere
		if fits {
			if fits, err = w.fits(c.Path, side(there)); err != nil {
				return err
			}
		}
		if !fits {
			left = append(left, c)
			continue
		}
		m.resolved = true
		if times[c.Path] > 1 {
			continue // what was made of all of them is not what any single one is resolved to
		}
		lessons = append(lessons, w.lesson(c, Resolution{Key: c.Key, Path: c.Path, Result: side(there), Shop: m.Slug, Branch: w.branch.Shop.Branch, Commit: m.To}))
	}
	m.Conflicts, m.Lessons = left, lessons
	return nil
}

// marksElsewhere says whether a file outside of the conflicts' paths has marks in it, such as one that was moved.
func (w *work) marksElsewhere(t *trunk, m *carried) (bool, error) {
	changes, err := w.store.Diff(t.commit.Tree, m.tree)
	if err != nil {
		return false, err
	}
	for _, c := range changes {
		if slices.ContainsFunc(m.Conflicts, func(k Conflict) bool { return k.Path == c.Path }) {
			continue
		}
		if had, err := w.marked(c.Old); had || err != nil {
			if err != nil {
				return false, err
			}
			continue // main itself has them
		}
		if has, err := w.marked(c.New); has || err != nil {
			return has, err
		}
	}
	return false, nil
}
