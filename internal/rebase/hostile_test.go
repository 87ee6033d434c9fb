package rebase

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// raw writes an object as it is, whatever git thinks of it.
func (p *place) raw(kind, text string) string {
	p.t.Helper()
	name := filepath.Join(p.t.TempDir(), "object")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return p.git("hash-object", "-t", kind, "-w", "--literally", name)
}

func (p *place) rawCommit(tree string, parents ...string) string {
	text := "tree " + tree + "\n"
	for _, parent := range parents {
		text += "parent " + parent + "\n"
	}
	return p.raw("commit", text+"author A <a@x> 1760000000 +0000\ncommitter A <a@x> 1760000000 +0000\n\nhostile\n")
}

func binary(id string) string {
	var out []byte
	for i := 0; i < len(id); i += 2 {
		var b byte
		fmt.Sscanf(id[i:i+2], "%02x", &b)
		out = append(out, b)
	}
	return string(out)
}

// A branch that cannot be used is said to be so, and the others are carried as if it were not there.
func TestBrokenBranchStopsNoOther(t *testing.T) {
	p := newPlace(t)
	m0 := p.commit("", "m0", tree{"a": "1\n", "shop-overrides/x": "1\n"})
	// On main such a commit is as good as others: nobody carries it.
	old := p.raw("commit", "tree "+p.treeOf(p.commit(m0, "-", tree{"b": "1\n"}))+"\nparent "+m0+"\nauthor <<nobody>>\ncommitter A <a@x> 1 +0000\n\nx\n")
	m1 := p.commit(old, "m1", tree{"a": "2\n"})
	good := p.commit(m0, "good", tree{"shop-overrides/x": "2\n"})
	blob := p.git("rev-parse", m0+":a")

	// A directory that holds the same one ten times, nine levels deep.
	bomb := p.raw("tree", "100644 f\x00"+binary(blob))
	for range 9 {
		level := ""
		for i := range 10 {
			level += fmt.Sprintf("40000 d%d\x00%s", i, binary(bomb))
		}
		bomb = p.raw("tree", level)
	}
	none := strings.Repeat("1", 40)
	shops := map[string]string{
		"bomb":      p.rawCommit(bomb, m0),
		"dotgit":    p.rawCommit(p.raw("tree", "40000 .git\x00"+binary(p.raw("tree", "100644 config\x00"+binary(blob)))), m0),
		"slash":     p.rawCommit(p.raw("tree", "100644 a/b\x00"+binary(blob)), m0),
		"unsorted":  p.rawCommit(p.raw("tree", "100644 b\x00"+binary(blob)+"100644 a\x00"+binary(blob)), m0),
		"notree":    p.rawCommit(none, m0),
		"nosubtree": p.rawCommit(p.raw("tree", "100644 a\x00"+binary(blob)+"40000 shop-overrides\x00"+binary(none)), m0),
		"noparent":  p.rawCommit(p.treeOf(m0), none),
		"nocommit":  none,
		"noid":      "--upload-pack=touch",
		"author":    p.raw("commit", "tree "+p.treeOf(good)+"\nparent "+m0+"\nauthor nobody\ncommitter A <a@x> 1 +0000\n\nx\n"),
		"unrelated": p.commit("", "other root", tree{"x": "1\n"}),
	}
	branches := []Branch{branch("good", good)}
	for _, slug := range []string{"bomb", "dotgit", "slash", "unsorted", "notree", "nosubtree", "noparent", "nocommit", "noid", "author", "unrelated"} {
		branches = append(branches, branch(slug, shops[slug]))
	}
	if err := p.store.Flush(); err != nil {
		t.Fatal(err)
	}
	scratch, err := p.repo.Scratch(t.Context(), filepath.Join(t.TempDir(), "scratch"))
	if err != nil {
		t.Fatal(err)
	}
	moves, err := Survey(t.Context(), Input{Repo: scratch, Policy: testPolicy(), Main: m1, Branches: branches})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range moves {
		if m.Slug == "good" {
			if m.State != Clean || len(m.Commits) != 1 {
				t.Errorf("the good one: %+v", m)
			}
		} else if m.State != Unusable || m.Problem == "" || m.To != "" || m.From == "" {
			t.Errorf("%s: %+v", m.Slug, m)
		}
	}
	// A head that cannot be read is left alone.
	for _, head := range []string{p.rawCommit(none, m1), none} {
		moves, err := Survey(t.Context(), Input{Repo: scratch, Policy: testPolicy(), Main: m1, Branches: []Branch{withHead(branch("good", good), head)}})
		if err != nil || moves[0].Kept == "" || moves[0].To == "" {
			t.Errorf("with a broken head: %+v, %v", moves, err)
		}
	}
	if _, err := Survey(t.Context(), Input{Repo: scratch, Policy: testPolicy(), Main: none, Branches: branches}); err == nil {
		t.Error("a main that is not there was surveyed")
	}
}

// A file that is missing in one branch, of the paths that main changed too, costs no other branch what git says of it.
func TestMissingFileStopsNoOther(t *testing.T) {
	p := newPlace(t)
	m0 := p.commit("", "m0", tree{"shop-overrides/x": lines(9, nil)})
	m1 := p.commit(m0, "m1", tree{"shop-overrides/x": lines(9, map[int]string{1: "picked"})})
	m2 := p.commit(m1, "m2", tree{"shop-overrides/x": lines(9, map[int]string{1: "main"})})
	moved := p.commit(m0, "moved", tree{"shop-overrides/x": "above\n" + lines(9, nil)})
	picked := p.commit(moved, "picked", tree{"shop-overrides/x": "above\n" + lines(9, map[int]string{1: "picked"})})
	none := strings.Repeat("1", 40)
	lacking := p.rawCommit(p.raw("tree", "40000 shop-overrides\x00"+binary(p.raw("tree", "100644 x\x00"+binary(none)))), m0)
	if err := p.store.Flush(); err != nil {
		t.Fatal(err)
	}
	scratch, err := p.repo.Scratch(t.Context(), filepath.Join(t.TempDir(), "scratch"))
	if err != nil {
		t.Fatal(err)
	}
	same := p.commit(m0, "same", tree{"shop-overrides/x": strings.Replace(lines(9, map[int]string{1: "picked"}), "line 9\n", "line  9\n", 1)})
	if err := p.store.Flush(); err != nil {
		t.Fatal(err)
	}
	moves, err := Survey(t.Context(), Input{Repo: scratch, Policy: testPolicy(), Main: m2,
		Branches: []Branch{branch("a", picked), branch("b", lacking), branch("c", same)}})
	if err != nil {
		t.Fatal(err)
	}
	if m := moves[0]; m.State == Unusable || m.To == "" {
		t.Errorf("the one that picked: %+v", m)
	}
	if m := moves[1]; m.State != Unusable || !strings.Contains(m.Problem, "cannot be merged") {
		t.Errorf("the one that lacks a file: %+v", m)
	}
	if m := moves[2]; m.State != Conflicted {
		t.Errorf("the one that changed the same: %+v", m)
	}
}

// What files can be besides text goes along as it is.
func TestUnusualFiles(t *testing.T) {
	p := newPlace(t)
	submodule := "s:" + strings.Repeat("ab", 20)
	m0 := p.commit("", "m0", tree{
		"a": "1\n", "shop-overrides/mode": "x:#!\n1\n", "shop-overrides/binary": "\x00\x01", "shop-overrides/crlf": "1\r\n2\r\n3\r\n4\r\n5\r\n",
		"shop-overrides/link": "l:mode", "shop-overrides/sub": submodule, "shop-overrides/old-name": lines(20, nil), "shop-overrides/type": "1\n",
	})
	s := p.commit(m0, "s", tree{
		"shop-overrides/mode": "#!\n1\n", "shop-overrides/binary": "\x00\x02", "shop-overrides/crlf": "one\r\n2\r\n3\r\n4\r\n5\r\n",
		"shop-overrides/link": "l:other", "shop-overrides/sub": "s:" + strings.Repeat("cd", 20), "shop-overrides/caf\xe9": "latin\n",
		"shop-overrides/lfs":      "version https://git-lfs.github.com/spec/v1\noid sha256:" + strings.Repeat("0", 64) + "\nsize 1\n",
		"shop-overrides/old-name": gone, "shop-overrides/new-name": lines(20, map[int]string{1: "shop"}), "shop-overrides/type": "l:mode",
		"shop-overrides/q\"uote\nd": "1\n",
	})
	m1 := p.commit(m0, "m1", tree{"a": "2\n", "shop-overrides/crlf": "1\r\n2\r\n3\r\n4\r\nfive\r\n", "shop-overrides/mode": "x:#!\n2\n", "shop-overrides/old-name": lines(20, map[int]string{20: "main"})})
	m := p.one(Input{Main: m1, Branches: []Branch{branch("acme", s)}})
	if m.State != Clean {
		t.Fatalf("got %+v", m)
	}
	dir := p.worktree(m1)
	if out, ok := p.try(dir, "rebase", "--quiet", m1, s); !ok {
		t.Fatal(out)
	}
	want, _ := p.try(dir, "rev-parse", "HEAD^{tree}")
	if got := p.treeOf(m.To); got != want {
		t.Errorf("not git's tree:\n%s", p.git("diff-tree", "-r", want, got))
	}
	if got := p.git("cat-file", "blob", m.To+":shop-overrides/crlf"); got != "one\r\n2\r\n3\r\n4\r\nfive" {
		t.Errorf("line ends: %q", got)
	}
}

// Where both sides changed what is no text, a person is asked, and sees which.
func TestUnusualConflicts(t *testing.T) {
	p := newPlace(t)
	m0 := p.commit("", "m0", tree{"b": "\x00\x01", "l": "l:1", "s": "s:" + strings.Repeat("11", 20), "d": "1\n", "f/x": "1\n", "t": "1\n"})
	both := map[string][2]tree{
		"binary":    {tree{"b": "\x00\x02"}, tree{"b": "\x00\x03"}},
		"link":      {tree{"l": "l:2"}, tree{"l": "l:3"}},
		"submodule": {tree{"s": "s:" + strings.Repeat("22", 20)}, tree{"s": "s:" + strings.Repeat("33", 20)}},
		"deleted":   {tree{"d": gone}, tree{"d": "2\n"}},
		"kept":      {tree{"d": "2\n"}, tree{"d": gone}},
		"directory": {tree{"n": "file\n"}, tree{"n/x": "in a directory\n"}},
		"type":      {tree{"t": "l:b"}, tree{"t": "3\n"}},
		"mode":      {tree{"new": "1\n"}, tree{"new": "x:2\n"}},
	}
	for name, sides := range both {
		m1, s := p.commit(m0, "main", sides[0]), p.commit(m0, "shop", sides[1])
		m := p.one(Input{Main: m1, Branches: []Branch{branch("acme", s)}})
		if m.State != Conflicted || len(m.Conflicts) < 1 || m.Conflicts[0].Path == "" || len(m.Conflicts[0].Key) != 64 || m.To == "" {
			t.Errorf("%s: %+v", name, m)
			continue
		}
		for _, path := range strings.Split(p.git("ls-tree", "-r", "--name-only", m.To), "\n") {
			if len(path) > 40 {
				t.Errorf("%s: left is %q", name, path)
			}
		}
	}
}

// Every commit of a branch is carried or has a reason, and what is carried is what was there: git range-diff says so.
func TestNothingIsMissing(t *testing.T) {
	p := newPlace(t)
	main := p.commit("", "m0", tree{"a": lines(40, nil), "shop-overrides/x": lines(40, nil)})
	tip, all := main, []string{}
	for i := range 12 {
		tip = p.commit(tip, fmt.Sprintf("s%d", i), tree{"shop-overrides/x": lines(40, map[int]string{1 + i*2: "shop", 3 + i*2: "shop"}), fmt.Sprintf("shop-overrides/f%d", i): "1\n"})
		all = append(all, tip)
	}
	m1 := p.commit(main, "m1", tree{"shop-overrides/x": lines(40, map[int]string{38: "main"})})
	m2 := p.commit(m1, "m2", tree{"shop-overrides/f3": "1\n"})
	m := p.one(Input{Main: m2, Branches: []Branch{branch("acme", tip)}})
	told := map[string]bool{}
	for _, c := range m.Commits {
		told[c.From] = true
	}
	for _, d := range m.Dropped {
		told[d.Commit] = d.Why != ""
	}
	for _, id := range all {
		if !told[id] {
			t.Errorf("nothing is said of %s", id)
		}
	}
	for line := range strings.Lines(p.git("range-diff", "--no-color", "--no-patch", main+".."+tip, m2+".."+m.To)) {
		if f := strings.Fields(line); f[2] != "=" && f[2] != "!" {
			t.Errorf("range-diff: %s", line)
		}
	}
}

// Two moves do not share what they are made of, however often a branch is there; and a context that ends ends it.
func TestSurveyEnds(t *testing.T) {
	p := newPlace(t)
	m0 := p.commit("", "m0", tree{"a": "1\n", "shop-overrides/x": lines(9, nil)})
	m1 := p.commit(m0, "m1", tree{"shop-overrides/x": lines(9, map[int]string{1: "main"})})
	s := p.commit(m0, "s", tree{"shop-overrides/x": lines(9, map[int]string{9: "shop"})})
	moves := p.survey(Input{Main: m1, Branches: []Branch{branch("b", s), branch("a", s)}})
	if len(moves) != 2 || moves[0].Slug != "a" || moves[0].To != moves[1].To || moves[0].State != Clean {
		t.Errorf("got %+v", moves)
	}
	if got := p.survey(Input{Main: m1}); len(got) != 0 {
		t.Errorf("no branches: %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Survey(ctx, Input{Repo: p.repo, Policy: testPolicy(), Main: m1, Branches: []Branch{branch("a", s)}}); !errors.Is(err, ctx.Err()) {
		t.Errorf("got %v", err)
	}
}

// How many processes there are depends on the commits of a branch, and not on how many branches there are.
func TestSurveyNeedsFewProcesses(t *testing.T) {
	p := newPlace(t)
	m0 := p.commit("", "m0", tree{"a": "1\n", "shop-overrides/x": lines(9, nil), "wrangler.jsonc": config("2026-01-01", "light", "")})
	m1 := p.commit(m0, "m1", tree{"a": "2\n", "shop-overrides/x": lines(9, map[int]string{1: "main"}), "wrangler.jsonc": config("2026-06-01", "light", "")})
	var counts []int
	for _, n := range []int{3, 30} {
		var branches []Branch
		for i := range n {
			s := p.commit(m0, "s", tree{"shop-overrides/x": lines(9, map[int]string{9: fmt.Sprint(i)})})
			s = p.commit(s, "t", tree{"wrangler.jsonc": config("2026-01-01", fmt.Sprint(i), ""), "shop-overrides/y": "1\n"})
			branches = append(branches, branch(fmt.Sprint("s", i), s))
		}
		if err := p.store.Flush(); err != nil {
			t.Fatal(err)
		}
		var echo countingWriter
		scratch, err := p.repo.Scratch(t.Context(), filepath.Join(t.TempDir(), "scratch"))
		if err != nil {
			t.Fatal(err)
		}
		scratch.Echo = &echo
		if _, err := Survey(t.Context(), Input{Repo: scratch, Policy: testPolicy(), Main: m1, Branches: branches}); err != nil {
			t.Fatal(err)
		}
		counts = append(counts, len(echo.lines))
	}
	if counts[0] != counts[1] || !slices.IsSorted(counts) || counts[1] > 12 {
		t.Errorf("processes: %d", counts)
	}
}

type countingWriter struct{ lines []string }

func (c *countingWriter) Write(b []byte) (int, error) {
	c.lines = append(c.lines, string(b))
	return len(b), nil
}
