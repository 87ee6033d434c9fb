package rebase

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
)

// press lands a pull request with one of GitHub's buttons, as real git does it, and returns the branch's new tip.
func (p *place) press(button, base, head string) string {
	p.t.Helper()
	dir := p.worktree(base)
	do := func(args ...string) {
		p.t.Helper()
		if out, ok := p.try(dir, args...); !ok {
			p.t.Fatalf("git %q: %s", args, out)
		}
	}
	switch button {
	case "merge":
		do("merge", "--quiet", "--no-ff", "-m", "Merge pull request #1", head)
	case "squash":
		do("merge", "--quiet", "--squash", head)
		do("commit", "--quiet", "-m", "Rebase onto main (#1)")
	case "rebase":
		do("checkout", "--quiet", "--detach", head)
		do("rebase", "--quiet", "--force-rebase", "--empty=keep", "--onto", base, p.git("merge-base", base, head))
	}
	tip, _ := p.try(dir, "rev-parse", "HEAD")
	p.clock += 3600
	return tip
}

// Whichever button is pressed on a pull request, the next survey makes it the shop's own commits on main again.
func TestButtonsAreHealed(t *testing.T) {
	for _, style := range []string{fleet.StyleRebase, fleet.StyleMerging} {
		for _, moved := range []bool{false, true} {
			for _, button := range []string{"merge", "squash", "rebase"} {
				t.Run(fmt.Sprintf("%s %s %v", style, button, moved), func(t *testing.T) {
					p := newPlace(t)
					m0 := p.commit("", "m0", tree{"a": lines(20, nil), "b": "1\n", "shop-overrides/all": "1\n", "wrangler.jsonc": testConfig("1", "a")})
					s1 := p.commit(m0, "s1", tree{"wrangler.jsonc": testConfig("1", "b")})
					s2 := p.commit(s1, "s2", tree{"shop-overrides/theme": "dark\n"})
					m1 := p.commit(m0, "m1", tree{"a": lines(20, map[int]string{4: "four", 6: "six"}), "wrangler.jsonc": testConfig("2", "a")})
					m2 := p.commit(m1, "m2", tree{"b": gone, "c": "1\n"})
					first := p.one(Input{Main: m2, Policy: styled(style), Branches: []Branch{branch("acme", s2)}})
					if len(first.Conflicts) > 0 {
						t.Fatalf("before the button: %+v", first)
					}
					tip := p.press(button, s2, first.To)
					if p.treeOf(tip) != p.treeOf(first.To) {
						t.Fatal("the button made another tree")
					}
					main, want := m2, p.treeOf(first.To)
					if moved {
						main = p.commit(m2, "m3", tree{"a": lines(20, map[int]string{4: "4", 6: "six", 7: "seven"}), "c": "2\n"})
						again := p.one(Input{Main: main, Policy: styled(style), Branches: []Branch{branch("acme", s2)}})
						want = p.treeOf(again.To)
					}
					m := p.one(Input{Main: main, Policy: styled(style), Branches: []Branch{branch("acme", tip)}})
					if len(m.Conflicts) > 0 || m.Problem != "" || m.Drift != nil {
						t.Fatalf("not healed: %+v", m)
					}
					if got := p.treeOf(m.To); got != want {
						t.Errorf("another tree:\n%s", p.git("diff-tree", "-r", "-p", want, got))
					}
					if style == fleet.StyleRebase {
						if got := p.subjects(main, m.To); !slices.Equal(got, []string{"s1", "s2"}) {
							t.Errorf("ahead of main are %q (%s)", got, m.Sorted)
						}
					} else if got := carriedSubjects(m); !slices.Equal(got, []string{"s1", "s2"}) {
						t.Errorf("carried are %q (%s)", got, m.Sorted)
					}
					again := p.one(Input{Main: main, Policy: styled(style), Branches: []Branch{branch("acme", m.To)}})
					if again.State != Current {
						t.Errorf("after landing: %+v", again)
					}
				})
			}
		}
	}
}

func carriedSubjects(m Move) []string {
	var out []string
	for _, c := range m.Commits {
		out = append(out, c.Subject)
	}
	return out
}

func testConfig(main, shop string) string {
	return fmt.Sprintf(`{
  "name": "helm",
  "main": "src/index.ts",
  "compatibility_date": "2026-01-0%s",
  // the shops
  "env": {
    "acme": {
      "name": "helm-acme",
      "vars": { "THEME": %q }
    }
  }
}
`, main, shop)
}

// A person has resolved a conflict on the pull request, and then a button was pressed.
func TestButtonsAfterResolution(t *testing.T) {
	for _, button := range []string{"squash", "merge"} {
		p := newPlace(t)
		m0 := p.commit("", "m0", tree{"a": "1\n", "shop-overrides/x": "1\n"})
		s1 := p.commit(m0, "s1", tree{"shop-overrides/x": "shop\n"})
		m1 := p.commit(m0, "m1", tree{"a": "2\n", "shop-overrides/x": "main\n"})
		head := p.commit(p.commit(m1, "s1", tree{"shop-overrides/x": "both\n"}), "more", tree{"shop-overrides/y": "1\n"})
		tip := p.commit(s1, "squashed", tree{"a": "2\n", "shop-overrides/x": "both\n", "shop-overrides/y": "1\n"})
		if button == "merge" {
			tip = p.git("commit-tree", p.treeOf(head), "-p", s1, "-p", head, "-m", "merged")
		}
		m2 := p.commit(m1, "m2", tree{"a": "3\n"})
		m := p.one(Input{Main: m2, Branches: []Branch{branch("acme", tip)}})
		if m.State != Diverged || m.Sorted == "" || p.read(m.To, "shop-overrides/x") != "both" || p.read(m.To, "a") != "3" || p.read(m.To, "shop-overrides/y") != "1" {
			t.Errorf("%s: %+v\n%s", button, m, p.git("diff-tree", "-p", m2, m.To))
		}
	}
}

func TestMergedByHand(t *testing.T) {
	p := newPlace(t)
	m0 := p.commit("", "m0", tree{"a": lines(9, nil), "shop-overrides/x": "1\n"})
	s1 := p.commit(m0, "s1", tree{"shop-overrides/x": "shop\n"})
	m1 := p.commit(m0, "m1", tree{"a": lines(9, map[int]string{2: "two"}), "shop-overrides/x": "main\n"})
	// The person decided for a third thing, and added a word that no commit had.
	resolved := p.commit(m1, "not kept", tree{"shop-overrides/x": "shop and main\n", "shop-overrides/note": "by hand\n"})
	merge := p.git("commit-tree", p.treeOf(resolved), "-p", s1, "-p", m1, "-m", "merge main")
	s2 := p.commit(merge, "s2", tree{"shop-overrides/later": "1\n"})
	m2 := p.commit(m1, "m2", tree{"a": lines(9, map[int]string{2: "two", 8: "eight"})})
	m := p.one(Input{Main: m2, Branches: []Branch{branch("acme", s2)}})
	if m.State != Diverged || len(m.Conflicts) > 0 || m.Base != m1 || m.Sorted == "" {
		t.Errorf("got %+v", m)
	}
	if out, ok := p.try(p.repo.Dir, "merge-base", "--is-ancestor", m2, m.To); !ok {
		t.Errorf("main is not below it: %s", out)
	}
	want := tree{"a": strings.TrimSpace(lines(9, map[int]string{2: "two", 8: "eight"})), "shop-overrides/x": "shop and main", "shop-overrides/note": "by hand", "shop-overrides/later": "1"}
	for path, text := range want {
		if got := p.read(m.To, path); got != text {
			t.Errorf("%s is %q, want %q", path, got, text)
		}
	}
	if got := carriedSubjects(m); !slices.Equal(got, []string{"s1", "s2", "keep what was merged by hand"}) {
		t.Errorf("carried %q", got)
	}
	if len(m.Dropped) != 1 || m.Dropped[0].Commit != merge || m.Dropped[0].Why != droppedMerge {
		t.Errorf("dropped %+v", m.Dropped)
	}
	if out := p.git("rev-list", "--merges", m2+".."+m.To); out != "" {
		t.Errorf("merges are left: %s", out)
	}
}

// Where main goes against what was merged by hand, a person decides again, and sees both.
func TestMergedByHandConflict(t *testing.T) {
	p := newPlace(t)
	m0 := p.commit("", "m0", tree{"a": "1\n", "shop-overrides/x": "1\n"})
	s1 := p.commit(m0, "s1", tree{"shop-overrides/x": "shop\n"})
	m1 := p.commit(m0, "m1", tree{"a": "2\n"})
	merge := p.git("commit-tree", p.treeOf(p.commit(m1, "-", tree{"shop-overrides/x": "shop\n"})), "-p", s1, "-p", m1, "-m", "merge main")
	m2 := p.commit(m1, "m2", tree{"shop-overrides/x": "main\n"})
	m := p.one(Input{Main: m2, Branches: []Branch{branch("acme", merge)}})
	if m.State != Conflicted || len(m.Conflicts) != 1 || m.Conflicts[0].Path != "shop-overrides/x" || m.Conflicts[0].Key == "" {
		t.Errorf("got %+v", m)
	}
	if got, want := p.read(m.To, "shop-overrides/x"), "<<<<<<< main\nmain\n=======\nshop\n>>>>>>> shops/acme"; got != want {
		t.Errorf("left is %q", got)
	}
}

// Weeks of moves that land by fast-forward: each survey finds only the shop's own commits, and a switch of style is one
// more move.
func TestMergingStyleForWeeks(t *testing.T) {
	p := newPlace(t)
	main := p.commit("", "m0", tree{"a": lines(30, nil), "shop-overrides/x": "1\n"})
	tip := p.commit(main, "s1", tree{"shop-overrides/theme": "dark\n"})
	own := []string{"s1"}
	for week := range 4 {
		main = p.commit(main, fmt.Sprintf("m%d", week+1), tree{"a": lines(30, map[int]string{week*5 + 1: "changed"})})
		m := p.one(Input{Main: main, Policy: styled(fleet.StyleMerging), Branches: []Branch{branch("acme", tip)}})
		if m.State != Clean || !slices.Equal(carriedSubjects(m), own) || len(m.Dropped) > 0 {
			t.Fatalf("week %d: %+v", week, m)
		}
		if out, ok := p.try(p.repo.Dir, "merge-base", "--is-ancestor", tip, m.To); !ok {
			t.Fatalf("week %d: no fast-forward: %s", week, out)
		}
		tip = m.To
		if week == 1 {
			tip = p.press("merge", m.From, m.To) // the button does the same
		}
		if now := p.one(Input{Main: main, Policy: styled(fleet.StyleMerging), Branches: []Branch{branch("acme", tip)}}); now.State != Current {
			t.Fatalf("week %d, landed: %+v", week, now)
		}
		tip = p.commit(tip, fmt.Sprintf("s%d", week+2), tree{fmt.Sprintf("shop-overrides/w%d", week): "1\n"})
		own = append(own, fmt.Sprintf("s%d", week+2))
	}
	m := p.one(Input{Main: main, Branches: []Branch{branch("acme", tip)}})
	if got := p.subjects(main, m.To); m.State != Clean || !slices.Equal(got, own) {
		t.Errorf("in the other style: %q, %+v", got, m)
	}
	if p.treeOf(m.To) != p.treeOf(tip) {
		t.Error("the other style has another tree")
	}
}

// A commit that was reverted and made again is not a copy.
func TestRevertedAndMadeAgain(t *testing.T) {
	p := newPlace(t)
	m0 := p.commit("", "m0", tree{"a": "1\n", "shop-overrides/x": "1\n"})
	s1 := p.commit(m0, "s1", tree{"shop-overrides/x": "2\n"})
	s2 := p.commit(s1, "revert", tree{"shop-overrides/x": "1\n"})
	raw, err := p.store.RawCommit(s1)
	if err != nil {
		t.Fatal(err)
	}
	raw.Parents = []string{s2}
	s3 := p.store.PutCommit(raw)
	m1 := p.commit(m0, "m1", tree{"a": "2\n"})
	m := p.one(Input{Main: m1, Branches: []Branch{branch("acme", s3)}})
	if m.State != Clean || !slices.Equal(carriedSubjects(m), []string{"s1", "revert", "s1"}) || p.read(m.To, "shop-overrides/x") != "2" {
		t.Errorf("got %+v", m)
	}
}

// reload makes the files those of the tip.
func (h *history) reload() {
	h.t.Helper()
	c, err := h.store.RawCommit(h.tip)
	if err != nil {
		h.t.Fatal(err)
	}
	entries, err := h.store.Diff("", c.Tree)
	if err != nil {
		h.t.Fatal(err)
	}
	h.files = tree{}
	for _, e := range entries {
		text, err := h.store.Blob(e.New.ID, 1<<20)
		if err != nil {
			h.t.Fatal(err)
		}
		h.files[e.Path] = map[git.Mode]string{git.ModeExecutable: "x:", git.ModeLink: "l:"}[e.New.Mode] + string(text)
	}
}

// Branches into which main was merged by hand, again and again, come to what git makes of them and the new main; all
// their commits are accounted for, and no merge is left.
func TestRandomMergesByHand(t *testing.T) {
	clean := 0
	for seed := range 4 {
		p := newPlace(t)
		main := &history{Rand: rand.New(rand.NewPCG(uint64(seed), 9)), place: p, files: tree{}}
		start := tree{"shop-overrides/theme": lines(12, nil)}
		for range 14 {
			start[main.path()] = lines(10+main.IntN(4), nil)
		}
		main.make(start)
		was := []*history{main.fork()}
		for range 8 {
			main.step()
			was = append(was, main.fork())
		}
		var branches []Branch
		for i := range 8 {
			shop := was[0].fork()
			shop.serial = 1000 * (i + 1)
			for at := 0; at < 5; at += 1 + shop.IntN(3) {
				shop.step()
				if at > 0 {
					// Where git cannot merge, the person is careless and commits what git left.
					out, _ := p.try(p.repo.Dir, "merge-tree", "--write-tree", "--no-messages", shop.tip, was[at].tip)
					made, _, _ := strings.Cut(out, "\n")
					shop.tip = p.git("commit-tree", made, "-p", shop.tip, "-p", was[at].tip, "-m", fmt.Sprintf("merge main %d", at))
					shop.reload()
				}
			}
			shop.step()
			branches = append(branches, branch(fmt.Sprintf("s%d", i), shop.tip))
		}
		for i, m := range p.survey(Input{Main: main.tip, Branches: branches}) {
			tip := branches[i].Tip
			if m.To == "" {
				t.Errorf("seed %d, %s: %+v", seed, m.Slug, m)
				continue
			}
			want, ok := p.try(p.repo.Dir, "merge-tree", "--write-tree", "--no-messages", main.tip, tip)
			if ok {
				clean++
				if got := p.treeOf(m.To); got != want || len(m.Conflicts) > 0 {
					t.Errorf("seed %d, %s (%s): not what git merges: %v\n%s", seed, m.Slug, m.Sorted, m.Conflicts, p.git("diff-tree", "-r", want, got))
				}
			} else if len(m.Conflicts) == 0 && !strings.Contains(m.Sorted, "as of") {
				t.Errorf("seed %d, %s: git asks a person: %+v", seed, m.Slug, m)
			}
			if out := p.git("rev-list", "--merges", main.tip+".."+m.To); out != "" {
				t.Errorf("seed %d, %s: merges are left: %s", seed, m.Slug, out)
			}
			told := map[string]bool{}
			for _, c := range m.Commits {
				told[c.From] = true
			}
			for _, d := range m.Dropped {
				told[d.Commit] = true
			}
			for id := range strings.FieldsSeq(p.git("rev-list", main.tip+".."+tip)) {
				if !told[id] {
					t.Errorf("seed %d, %s: nothing is said of %s", seed, m.Slug, id)
				}
			}
		}
	}
	if clean < 5 {
		t.Errorf("git merged %d: this compares nothing", clean)
	}
}
