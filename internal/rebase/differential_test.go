package rebase

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// history makes random commits, of the kinds that people make.
type history struct {
	*rand.Rand
	*place
	files  tree // what the tip has
	tip    string
	serial int
}

func (h *history) fork() *history {
	c := *h
	c.files = maps.Clone(h.files)
	return &c
}

func (h *history) path() string {
	dirs := []string{"", "src/", "src/deep/", "lib/", "shop-overrides/"}
	return dirs[h.IntN(len(dirs))] + fmt.Sprintf("f%d", h.IntN(8))
}

func (h *history) some() string {
	return slices.Sorted(maps.Keys(h.files))[h.IntN(len(h.files))]
}

func (h *history) edited(text string) string {
	if strings.HasPrefix(text, "l:") || !strings.Contains(text, "\n") {
		return fmt.Sprintf("l:to-%d", h.IntN(5))
	}
	all := strings.SplitAfter(text, "\n")
	i := h.IntN(len(all))
	switch h.IntN(4) {
	case 0:
		all = slices.Insert(all, i, fmt.Sprintf("new %d\n", h.IntN(4)))
	case 1:
		if len(all) > 3 {
			all = slices.Delete(all, i, min(i+1, len(all)))
		}
	default:
		if i == 0 && strings.HasPrefix(text, "x:") {
			i = 1
		}
		all[min(i, len(all)-1)] = fmt.Sprintf("changed %d\n", h.IntN(4))
	}
	return strings.Join(all, "")
}

// free says whether a file can be at a path.
func (h *history) free(path string) bool {
	for other := range h.files {
		if other == path || strings.HasPrefix(other, path+"/") || strings.HasPrefix(path, other+"/") {
			return false
		}
	}
	return true
}

// step makes one commit and returns what it changes.
func (h *history) step() tree {
	changes := tree{}
	for range 1 + h.IntN(2) {
		from := h.some()
		if _, ok := changes[from]; ok {
			continue
		}
		switch kind := h.IntN(20); {
		case kind < 9:
			changes[from] = h.edited(h.files[from])
		case kind < 12:
			if to := h.path(); h.free(to) {
				changes[to] = lines(8+h.IntN(3), map[int]string{h.IntN(8): fmt.Sprintf("only %d", h.IntN(3))})
			}
		case kind < 13 && len(h.files) > 4:
			changes[from] = gone
		case kind < 15 && len(h.files) > 4:
			if to := h.path(); h.free(to) {
				changes[to] = h.files[from]
				if h.IntN(2) == 0 {
					changes[to] = h.edited(h.files[from])
				}
				changes[from] = gone
			}
		case kind < 16:
			if text := h.files[from]; strings.HasPrefix(text, "x:") {
				changes[from] = text[2:]
			} else if !strings.HasPrefix(text, "l:") {
				changes[from] = "x:" + text
			}
		case kind < 17:
			changes[from] = fmt.Sprintf("\x00binary %d\n", h.IntN(3))
		case kind < 18:
			dir, to := "lib/", fmt.Sprintf("moved%d/", h.IntN(2))
			for path, text := range h.files {
				if rest, ok := strings.CutPrefix(path, dir); ok && h.free(to+rest) {
					changes[to+rest], changes[path] = text, gone
				}
			}
		case kind < 19:
			changes[from] = strings.ReplaceAll(h.files[from], "line 7\n", "line seven\n")
		}
	}
	h.make(changes)
	return changes
}

func (h *history) make(changes tree) {
	h.serial++
	h.tip = h.commit(h.tip, fmt.Sprintf("commit %d", h.serial), changes)
	for path, text := range changes {
		if text == gone {
			delete(h.files, path)
		} else {
			h.files[path] = text
		}
	}
}

// fits says whether changes that were made elsewhere can be made here.
func (h *history) fits(changes tree) bool {
	for path, text := range changes {
		if _, ok := h.files[path]; !ok && (text == gone || !h.free(path)) {
			return false
		}
	}
	return true
}

// What the shop deletes may have another name on main.
func TestDeletedHereRenamedThere(t *testing.T) {
	p := newPlace(t)
	m0 := p.commit("", "m0", tree{"shop-overrides/a": lines(20, nil), "b": "1\n"})
	m1 := p.commit(m0, "m1", tree{"shop-overrides/a": gone, "shop-overrides/c": lines(20, map[int]string{3: "three"})})
	s := p.commit(m0, "s", tree{"shop-overrides/a": gone})
	if m := p.one(Input{Main: m1, Branches: []Branch{branch("acme", s)}}); m.State != Conflicted {
		t.Errorf("got %+v", m)
	}
	m2 := p.commit(m0, "m2", tree{"shop-overrides/a": gone, "b": "2\n"})
	if m := p.one(Input{Main: m2, Branches: []Branch{branch("acme", s)}}); m.State != Clean || len(m.Dropped) != 1 || m.To != m2 {
		t.Errorf("got %+v", m)
	}
}

// Wherever git rebase does without a person, the survey comes to the same tree; where it does not, the survey says so.
func TestLikeGitRebase(t *testing.T) {
	worlds, shops := 5, 20
	if testing.Short() {
		worlds = 2
	}
	failed, clean, missed := 0, 0, 0
	for seed := range worlds {
		p := newPlace(t)
		main := &history{Rand: rand.New(rand.NewPCG(uint64(seed), 6)), place: p, files: tree{}}
		start := tree{".gitattributes": "src/f1 -merge\nlib/f2 merge=union\n", "shop-overrides/link": "l:f1"}
		for range 14 {
			start[main.path()] = lines(10+main.IntN(4), nil)
		}
		main.make(start)
		base := []*history{main.fork()}
		var theirs []tree
		for range 3 + main.IntN(6) {
			theirs = append(theirs, main.step())
			base = append(base, main.fork())
		}
		var branches []Branch
		for i := range shops {
			shop := base[main.IntN(min(3, len(base)))].fork()
			shop.serial = 1000 * (i + 1)
			for range 1 + shop.IntN(4) {
				switch picked := theirs[shop.IntN(len(theirs))]; {
				case shop.IntN(6) == 0 && shop.fits(picked):
					shop.make(picked)
				case shop.IntN(15) == 0:
					shop.make(nil)
				default:
					shop.step()
				}
			}
			branches = append(branches, branch(fmt.Sprintf("s%03d", i), shop.tip))
		}
		moves := p.survey(Input{Main: main.tip, Branches: branches})
		dir := p.worktree(main.tip)
		for i, m := range moves {
			said, ok := p.try(dir, "rebase", "--quiet", main.tip, branches[i].Tip)
			if !ok {
				if !strings.Contains(said, "CONFLICT") && !strings.Contains(said, "could not apply") {
					t.Fatalf("seed %d, %s: git rebase: %s", seed, m.Slug, said)
				}
				if out, ok := p.try(dir, "rebase", "--abort"); !ok {
					t.Fatal(out)
				}
				if failed++; m.State != Conflicted && m.State != Resolved && m.State != Diverged && m.State != Drifted {
					t.Errorf("seed %d, %s is %s, git rebase says\n%s", seed, m.Slug, m.State, said)
				}
				if len(m.Conflicts) == 0 {
					missed++
				}
				continue
			}
			clean++
			head, _ := p.try(dir, "rev-parse", "HEAD")
			if m.To == "" || len(m.Conflicts) > 0 && m.State == Conflicted {
				t.Errorf("seed %d, %s is %s (%s, %v), and git rebase does it", seed, m.Slug, m.State, m.Problem, m.Conflicts)
				continue
			}
			if got, want := p.treeOf(m.To), p.treeOf(head); got != want {
				t.Errorf("seed %d, %s (%s, %s): not git's tree:\n%s", seed, m.Slug, m.State, m.Sorted, p.git("diff-tree", "-r", want, got))
			}
			if got, want := p.subjects(main.tip, m.To), p.subjects(main.tip, head); !slices.Equal(got, want) {
				t.Errorf("seed %d, %s: commits %q, git has %q", seed, m.Slug, got, want)
			}
		}
	}
	t.Logf("git did %d and asked for %d, of which %d needed no person", clean, failed, missed)
	if clean < worlds*3 || failed < worlds*2 || missed > failed/4 {
		t.Errorf("git did %d and asked for %d, of which %d needed no person: this compares nothing", clean, failed, missed)
	}
}
