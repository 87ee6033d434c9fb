package rebase

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/git"
)

// stand is where a branch stands on main.
type stand struct {
	base string          // the newest commit that main was and the branch has in it; "" when there is none
	has  map[string]bool // what of main it has
	// missing are the commits of main that it lacks, less the merges; byPaths are the same by what they change.
	missing []string
	byPaths map[string][]string
	copied  map[string]bool // identities of the missing
}

// own is what a branch has of its own.
type own struct {
	commits []string // no merges; parents before children
	merges  []string // those that people made
	linear  bool     // one after the other, on main, with nothing left out
	stand   *stand
}

// maxOwn bounds the commits of one branch: each of them may have to be merged.
const maxOwn = 5000

// own finds a branch's own commits. A merge whose tree is that of main's commit that it takes in says that everything
// before it starts anew: so begins a move in merging style, and what is below it is not own. A merge that only says that
// its first parent was moved to its second is not looked at: so a person lands such a move with a button.
func (w *work) own(t *trunk) (own, error) {
	var o own
	tip := w.branch.Tip
	if !w.graph.Has(tip) {
		return o, &unusableError{"the branch's history is not here as a whole"}
	}
	cut, through := "", map[string]bool{}
	var below map[string]bool
	for at := tip; !t.has[at]; {
		parents := w.graph.Parents(at)
		if len(parents) == 0 {
			break
		}
		next := parents[0]
		if len(parents) == 2 {
			same, err := w.sameTree(at, parents[1])
			if err != nil {
				return o, err
			}
			if same && t.has[parents[1]] {
				cut, below = at, setOf(w.graph.Above(parents[0], t.has))
				break
			}
			if same && w.isAncestor(t, parents[0], parents[1]) {
				through[at], next = true, parents[1]
			}
		}
		at = next
	}
	all := w.graph.Above(tip, t.has)
	var leaves []string
	for _, id := range all {
		if len(w.graph.Parents(id)) == 0 {
			return o, &unusableError{fmt.Sprintf("commit %.12s of the branch has no parent: the branch did not start from main", id)}
		}
		for _, p := range w.graph.Parents(id) {
			if t.has[p] {
				leaves = append(leaves, p)
			}
		}
	}
	if len(all) == 0 {
		leaves = []string{tip}
	}
	o.stand = w.stand(t, leaves)
	o.linear = true
	for i, id := range all {
		parents := w.graph.Parents(id)
		if len(parents) != 1 || i > 0 && parents[0] != all[i-1] {
			o.linear = false
		}
		switch {
		case below[id], id == cut, through[id]:
		case len(parents) > 1:
			o.merges = append(o.merges, id)
		default:
			o.commits = append(o.commits, id)
		}
	}
	if len(o.commits) > maxOwn {
		return o, &unusableError{fmt.Sprintf("the branch has %d commits of its own; at most %d are carried", len(o.commits), maxOwn)}
	}
	return o, nil
}

func setOf(ids []string) map[string]bool {
	set := make(map[string]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return set
}

func (w *work) sameTree(a, b string) (bool, error) {
	x, err := w.commit(a)
	if err != nil {
		return false, err
	}
	y, err := w.commit(b)
	return x.Tree == y.Tree, err
}

// isAncestor says whether a is below b. Above main, only what is above main is walked.
func (w *work) isAncestor(t *trunk, a, b string) bool {
	if t.has[a] {
		return w.graph.Ancestors(b)[a]
	}
	return slices.Contains(w.graph.Above(b, t.has), a)
}

// stand tells where a branch with these last commits of main stands. Most branches stand in the same few places.
func (w *work) stand(t *trunk, leaves []string) *stand {
	slices.Sort(leaves)
	leaves = slices.Compact(leaves)
	key := strings.Join(leaves, " ")
	if st := t.stands[key]; st != nil {
		return st
	}
	st := &stand{has: w.graph.Ancestors(leaves...)}
	for _, id := range t.line {
		if st.has[id] {
			st.base = id
			break
		}
	}
	for _, id := range w.graph.Above(t.id, st.has) {
		if len(w.graph.Parents(id)) == 1 {
			st.missing = append(st.missing, id)
		}
	}
	t.stands[key] = st
	return st
}

// changes are what a commit does to its first parent.
func (w *work) changes(id string) ([]git.Change, error) {
	c, err := w.commit(id)
	if err != nil {
		return nil, err
	}
	before, err := w.parentTree(c)
	if err != nil {
		return nil, err
	}
	return w.store.Diff(before, c.Tree)
}

func (w *work) parentTree(c git.RawCommit) (string, error) {
	if len(c.Parents) == 0 {
		return "", nil
	}
	p, err := w.commit(c.Parents[0])
	return p.Tree, err
}

// mainChanges is changes for a commit of main, which many branches ask for.
func (w *work) mainChanges(id string) ([]git.Change, error) {
	key := [2]string{id}
	if known, ok := w.diffs[key]; ok {
		return known, nil
	}
	changes, err := w.changes(id)
	if err != nil {
		return nil, fmt.Errorf("reading main's commit %.12s: %w", id, err)
	}
	w.diffs[key] = changes
	return changes, nil
}

// pathsKey is the same for commits that change the same paths in the same way. Only they can be the same patch.
func pathsKey(changes []git.Change) string {
	lines := make([]string, len(changes))
	for i, c := range changes {
		lines[i] = fmt.Sprintf("%o %o %s\x00", c.Old.Mode, c.New.Mode, c.Path)
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// onMain finds the commits that main has too, as the same patch; git rebase leaves them out as well. The map has main's
// commit for each.
func (w *work) onMain(o own) (map[string]string, error) {
	found := map[string]string{}
	if len(o.stand.missing) == 0 || len(o.commits) == 0 {
		return found, nil
	}
	if o.stand.byPaths == nil {
		byPaths, copied := map[string][]string{}, map[string]bool{}
		for _, id := range o.stand.missing {
			c, err := w.store.RawCommit(id)
			if err != nil {
				return nil, fmt.Errorf("reading main's commit %.12s: %w", id, err)
			}
			copied[identity(c)] = true
			changes, err := w.mainChanges(id)
			if err != nil {
				return nil, err
			}
			if len(changes) > 0 {
				key := pathsKey(changes)
				byPaths[key] = append(byPaths[key], id)
			}
		}
		o.stand.byPaths, o.stand.copied = byPaths, copied
	}
	q := &question{}
	candidates := map[string][]string{}
	for _, id := range o.commits {
		changes, err := w.changes(id)
		if err != nil {
			return nil, err
		}
		if len(changes) == 0 {
			continue
		}
		for _, other := range o.stand.byPaths[pathsKey(changes)] {
			theirs, err := w.mainChanges(other)
			if err != nil {
				return nil, err
			}
			if sameChanges(changes, theirs) {
				found[id] = other
				break
			}
			candidates[id] = append(candidates[id], other)
		}
		if found[id] == "" && len(candidates[id]) > 0 {
			q.commits = append(append(q.commits, id), candidates[id]...)
		}
	}
	if len(q.commits) == 0 {
		return found, nil
	}
	if err := w.ask(q); err != nil {
		return nil, err
	}
	for id, others := range candidates {
		for _, other := range others {
			if found[id] != "" || w.patches[id] == "" || w.patches[id] != w.patches[other] {
				continue
			}
			same, err := w.sameBinaries(id, other)
			if err != nil {
				return nil, err
			}
			if same {
				found[id] = other
			}
		}
	}
	return found, nil
}

func sameChanges(a, b []git.Change) bool {
	return slices.EqualFunc(a, b, func(x, y git.Change) bool { return x == y })
}

// sameBinaries looks at what a patch id does not see: files that are no text have to be the same ones.
func (w *work) sameBinaries(a, b string) (bool, error) {
	x, err := w.changes(a)
	if err != nil {
		return false, err
	}
	y, err := w.changes(b)
	if err != nil || len(x) != len(y) {
		return false, err
	}
	for i := range x {
		if x[i] == y[i] {
			continue
		}
		for _, e := range []git.Entry{x[i].Old, x[i].New, y[i].Old, y[i].New} {
			if e.Mode == 0 {
				continue
			}
			if !e.IsFile() {
				return false, nil
			}
			text, err := w.text(e.ID)
			if text == nil || err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// maxText bounds the files that are looked into.
const maxText = 8 << 20

// text reads a file; nil is one that is no text, or too long.
func (w *work) text(blob string) ([]byte, error) {
	b, err := w.store.Blob(blob, maxText)
	if harmless(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if bytes.IndexByte(b[:min(len(b), 8000)], 0) >= 0 {
		return nil, nil
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}
