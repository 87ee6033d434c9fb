package rebase

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sort"

	"github.com/kvick/shopfleet/internal/git"
)

// Survey says for each branch what carrying it onto main takes; the moves are sorted by slug. A branch that cannot be
// used is a Move of its own and stops no other; the error is about the repository, or about main.
//
// All branches are looked at together: what has to be asked of git is asked for all of them at once, so that the number
// of processes grows with the commits of a branch that need a merge, and not with the branches.
func Survey(ctx context.Context, in Input) ([]Move, error) {
	store, err := in.Repo.Store(ctx)
	if err != nil {
		return nil, fmt.Errorf("surveying the branches: %w", err)
	}
	defer store.Close()
	commits := []string{in.Main}
	for _, b := range in.Branches {
		commits = append(commits, b.Tip)
		if b.Head != "" {
			commits = append(commits, b.Head)
		}
	}
	graph, wrong, err := in.Repo.Graph(ctx, commits...)
	if err == nil {
		err = wrong[0]
	}
	if err != nil {
		return nil, fmt.Errorf("reading the history of %d branches: %w", len(in.Branches), err)
	}
	s := &survey{
		ctx: ctx, Input: in, store: store, graph: graph,
		trunks: map[string]*trunk{}, diffs: map[[2]string][]git.Change{}, merged: map[mergeKey]git.TreeMerged{}, patches: map[string]string{},
	}
	main, err := s.trunk(in.Main)
	if err != nil {
		return nil, fmt.Errorf("reading main: %w", err)
	}
	moves := make([]Move, len(in.Branches))
	var asking []*asked
	for i, b := range in.Branches {
		asking = append(asking, s.start(&moves[i], b, main))
	}
	defer func() {
		for _, a := range asking {
			a.stop()
		}
	}()
	if err := s.converse(asking); err != nil {
		return nil, fmt.Errorf("surveying the branches: %w", err)
	}
	if err := store.Flush(); err != nil {
		return nil, fmt.Errorf("surveying the branches: %w", err)
	}
	sort.SliceStable(moves, func(i, j int) bool { return moves[i].Slug < moves[j].Slug })
	return moves, nil
}

// survey is what the branches have in common.
type survey struct {
	ctx context.Context
	Input
	store   *git.Store
	graph   *git.Graph
	trunks  map[string]*trunk
	diffs   map[[2]string][]git.Change // of main's commits
	merged  map[mergeKey]git.TreeMerged
	patches map[string]string // patch ids; "" for a commit that has none
}

// trunk is a commit of main that branches are carried onto.
type trunk struct {
	id         string
	commit     git.RawCommit
	made       int64           // by its committer's clock
	has        map[string]bool // itself and everything below it
	line       []string        // what main was, the newest first
	place      map[string]int  // in line
	attributes []byte          // its .gitattributes
	stands     map[string]*stand
}

// maxAttributes is more than any .gitattributes that a person wrote.
const maxAttributes = 1 << 20

func (s *survey) trunk(id string) (*trunk, error) {
	if t := s.trunks[id]; t != nil {
		return t, nil
	}
	c, err := s.store.RawCommit(id)
	if err != nil {
		return nil, err
	}
	t := &trunk{id: id, commit: c, made: s.graph.Made(id).Unix(), has: s.graph.Ancestors(id), line: s.graph.Line(id), place: map[string]int{}, stands: map[string]*stand{}}
	for i, id := range t.line {
		t.place[id] = i
	}
	e, err := s.store.Lookup(c.Tree, ".gitattributes")
	if err != nil {
		return nil, err
	}
	if e.IsFile() {
		// One that cannot be read is no reason to stop: git, too, would go on without it.
		if t.attributes, err = s.store.Blob(e.ID, maxAttributes); err != nil && !harmless(err) {
			return nil, err
		}
	}
	s.trunks[id] = t
	return t, nil
}

// harmless tells what is wrong with an object from what is wrong with the repository.
func harmless(err error) bool {
	return errors.As(err, new(*git.MissingError)) || errors.As(err, new(*git.EntryError)) || errors.As(err, new(*git.NotFoundError)) ||
		errors.As(err, new(*unusableError))
}

// unusableError says why a branch cannot be carried.
type unusableError struct{ why string }

func (e *unusableError) Error() string { return e.why }

// question is something that git is asked: a merge, or the patch ids of commits.
type question struct {
	merge   git.TreeMerge
	onto    *trunk // whose attributes count in the merge
	merged  git.TreeMerged
	commits []string
}

type mergeKey struct {
	git.TreeMerge
	onto string
}

// asked is a branch that is being carried: its work goes on when its questions are answered.
type asked struct {
	next func() ([]*question, bool)
	stop func()
	open []*question
	err  *error
}

var errStopped = errors.New("stopped")

// start begins with a branch. It is written as if it were alone: what it asks is answered between two steps of it.
func (s *survey) start(m *Move, b Branch, main *trunk) *asked {
	var failed error
	a := &asked{err: &failed}
	a.next, a.stop = iter.Pull(iter.Seq[[]*question](func(yield func([]*question) bool) {
		w := &work{survey: s, branch: b, read: map[string]git.RawCommit{}, resolutions: s.Resolutions}
		w.ask = func(list ...*question) error {
			if len(list) > 0 && !yield(list) {
				return errStopped
			}
			return nil
		}
		*m, failed = w.survey1(main)
	}))
	return a
}

// converse lets all branches go on, round by round, until none has a question left.
func (s *survey) converse(all []*asked) error {
	for open := slices.Clone(all); len(open) > 0; {
		var next []*asked
		for _, a := range open {
			list, more := a.next()
			if !more {
				if *a.err != nil {
					return *a.err
				}
				continue
			}
			a.open = list
			next = append(next, a)
			if s.store.Full() {
				if err := s.store.Flush(); err != nil {
					return err
				}
			}
		}
		open = next
		var list []*question
		for _, a := range open {
			list = append(list, a.open...)
		}
		if err := s.answer(list); err != nil {
			return err
		}
	}
	return nil
}

// answer asks git what is not known yet.
func (s *survey) answer(list []*question) error {
	byTrunk := map[*trunk][]git.TreeMerge{}
	var commits []string
	for _, q := range list {
		for _, id := range q.commits {
			if _, ok := s.patches[id]; !ok {
				s.patches[id] = ""
				commits = append(commits, id)
			}
		}
		if q.onto == nil {
			continue
		}
		key := mergeKey{q.merge, q.onto.id}
		if _, ok := s.merged[key]; !ok {
			s.merged[key] = git.TreeMerged{}
			byTrunk[q.onto] = append(byTrunk[q.onto], q.merge)
		}
	}
	if err := s.readPatches(commits); err != nil {
		return err
	}
	for onto, merges := range byTrunk {
		answers, err := s.store.MergeTrees(onto.attributes, merges...)
		if err != nil {
			return err
		}
		for i, m := range merges {
			s.merged[mergeKey{m, onto.id}] = answers[i]
		}
	}
	for _, q := range list {
		if q.onto != nil {
			q.merged = s.merged[mergeKey{q.merge, q.onto.id}]
		}
	}
	return nil
}

// readPatches reads patch ids. A commit that git cannot read has none; halving the list finds it.
func (s *survey) readPatches(commits []string) error {
	ids, err := s.Repo.PatchIDs(s.ctx, commits...)
	if s.ctx.Err() != nil {
		return err
	}
	if err == nil {
		maps.Copy(s.patches, ids)
		return nil
	}
	if len(commits) == 1 {
		return nil
	}
	half := len(commits) / 2
	if err := s.readPatches(commits[:half]); err != nil {
		return err
	}
	return s.readPatches(commits[half:])
}

// work is one branch while it is carried.
type work struct {
	*survey
	branch      Branch
	read        map[string]git.RawCommit // of the branch
	resolutions map[string]Resolution    // that count
	folded      map[string]string        // trees of commits without the marks that later commits resolve; see fold
	// ask returns when the questions have been answered.
	ask func(...*question) error
}

// survey1 makes the move of one branch. The error is about the repository.
func (w *work) survey1(main *trunk) (Move, error) {
	m, err := w.move(main)
	if err == nil {
		err = w.head(main, m)
	}
	if err == nil && m.To != "" {
		err = w.drift(main, m)
	}
	if err == nil {
		m.State = m.state()
		return m.Move, nil
	}
	if !harmless(err) {
		return Move{}, err
	}
	return Move{Slug: w.branch.Shop.Slug, State: Unusable, Main: main.id, From: w.branch.Tip, Problem: err.Error()}, nil
}

// drift lists where the move leaves main outside of the overlay.
func (w *work) drift(main *trunk, m *carried) error {
	to, err := w.store.RawCommit(m.To)
	if err != nil {
		return err
	}
	m.Drift, err = w.outside(main.commit.Tree, to.Tree)
	return err
}

// carried is a move and what is only known while it is made.
type carried struct {
	Move
	current  bool
	diverged bool
	resolved bool
	tree     string // of To
}

// clone is a move that can be added to without the other one changing.
func (m *carried) clone() *carried {
	c := *m
	c.Commits, c.Dropped, c.Conflicts = slices.Clone(m.Commits), slices.Clone(m.Dropped), slices.Clone(m.Conflicts)
	c.Choices, c.Replayed = slices.Clone(m.Choices), slices.Clone(m.Replayed)
	return &c
}

func (m *carried) state() State {
	switch {
	case m.Problem != "":
		return Unusable
	case len(m.Conflicts) > 0:
		return Conflicted
	case m.current && !m.Touched:
		return Current
	case len(m.Drift) > 0:
		return Drifted
	case m.diverged:
		return Diverged
	case m.resolved || len(m.Replayed) > 0:
		return Resolved
	}
	return Clean
}
