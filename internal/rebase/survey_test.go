package rebase

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
)

// place is a repository of a test: commits are made in it as people would, and real git looks at what came of them.
type place struct {
	t     *testing.T
	repo  *git.Repository
	store *git.Store
	clock int64
}

func newPlace(t *testing.T) *place {
	t.Helper()
	repo, err := git.Init(t.Context(), filepath.Join(t.TempDir(), "repo"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := repo.Store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return &place{t: t, repo: repo, store: store, clock: 1_760_000_000}
}

// file is a file's text, or what begins a line with these: "x:" executable, "l:" link, "s:" submodule.
func (p *place) entry(path, text string) git.Entry {
	e := git.Entry{Mode: git.ModeFile, Path: path}
	switch {
	case text == gone:
		return git.Entry{Path: path}
	case strings.HasPrefix(text, "x:"):
		e.Mode, text = git.ModeExecutable, text[2:]
	case strings.HasPrefix(text, "l:"):
		e.Mode, text = git.ModeLink, text[2:]
	case strings.HasPrefix(text, "s:"):
		e.Mode, e.ID = git.ModeSubmodule, text[2:]
		return e
	}
	e.ID = p.store.PutBlob([]byte(text))
	return e
}

// gone takes a file away.
const gone = "\x00gone"

type tree map[string]string

// commit makes a commit on a parent; "" has none.
func (p *place) commit(parent, message string, changes tree) string {
	p.t.Helper()
	p.clock += 60
	who := fmt.Sprintf("Ann O'Ther <ann@shop.example> %d +0200", p.clock)
	c := git.RawCommit{Author: who, Committer: who, Message: []byte(message + "\n")}
	from := ""
	if parent != "" {
		before, err := p.store.RawCommit(parent)
		if err != nil {
			p.t.Fatal(err)
		}
		from, c.Parents = before.Tree, []string{parent}
	}
	var edits []git.Entry
	for path, text := range changes {
		edits = append(edits, p.entry(path, text))
	}
	var err error
	if c.Tree, err = p.store.Edit(from, edits); err != nil {
		p.t.Fatal(err)
	}
	return p.store.PutCommit(c)
}

// git runs the real git; failure is told by ok.
func (p *place) try(dir string, args ...string) (string, bool) {
	p.t.Helper()
	if err := p.store.Flush(); err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C", "GIT_EDITOR=true",
		"GIT_AUTHOR_NAME=Button", "GIT_AUTHOR_EMAIL=b@x", "GIT_COMMITTER_NAME=Button", "GIT_COMMITTER_EMAIL=b@x",
		fmt.Sprintf("GIT_COMMITTER_DATE=%d +0000", p.clock+600)}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err == nil
}

func (p *place) git(args ...string) string {
	p.t.Helper()
	out, ok := p.try(p.repo.Dir, args...)
	if !ok {
		p.t.Fatalf("git %q: %s", args, out)
	}
	return out
}

// worktree is a work tree for what needs one.
func (p *place) worktree(at string) string {
	p.t.Helper()
	dir := filepath.Join(p.t.TempDir(), "tree")
	p.git("worktree", "add", "--quiet", "--detach", dir, at)
	return dir
}

func testPolicy() *fleet.Policy {
	return &fleet.Policy{Overlay: []string{"wrangler.jsonc", "shop-overrides/**"}}
}

func styled(style string) *fleet.Policy {
	p := testPolicy()
	p.Rebase.Style = style
	return p
}

func branch(slug, tip string) Branch {
	return Branch{Shop: fleet.Shop{Slug: slug, Branch: "shops/" + slug}, Tip: tip}
}

// survey looks at branches from a scratch repository and takes what was made over into the place.
func (p *place) survey(in Input) []Move {
	p.t.Helper()
	if err := p.store.Flush(); err != nil {
		p.t.Fatal(err)
	}
	scratch, err := p.repo.Scratch(p.t.Context(), filepath.Join(p.t.TempDir(), "scratch"))
	if err != nil {
		p.t.Fatal(err)
	}
	in.Repo = scratch
	if in.Policy == nil {
		in.Policy = testPolicy()
	}
	moves, err := Survey(p.t.Context(), in)
	if err != nil {
		p.t.Fatal(err)
	}
	var specs []string
	for _, m := range moves {
		if m.To != "" {
			specs = append(specs, m.To+":refs/tests/"+m.Slug)
		}
		for _, l := range m.Lessons {
			specs = append(specs, l.Object+":"+l.Ref)
		}
	}
	if len(specs) > 0 {
		args := append([]string{"push", "--quiet", "--force", p.repo.Dir}, specs...)
		if out, ok := p.try(scratch.Dir, args...); !ok {
			p.t.Fatalf("pushing what was made: %s", out)
		}
	}
	if out, ok := p.try(scratch.Dir, "fsck", "--strict", "--no-dangling", "--no-progress"); !ok {
		p.t.Fatalf("what was made is not sound: %s", out)
	}
	return moves
}

func (p *place) one(in Input) Move {
	p.t.Helper()
	moves := p.survey(in)
	if len(moves) != 1 {
		p.t.Fatalf("got %d moves", len(moves))
	}
	return moves[0]
}

func (p *place) treeOf(commit string) string {
	p.t.Helper()
	return p.git("rev-parse", commit+"^{tree}")
}

func (p *place) read(commit, path string) string {
	p.t.Helper()
	out, _ := p.try(p.repo.Dir, "cat-file", "blob", commit+":"+path)
	return out
}

// subjects are the commits that a commit has over another one, the oldest first.
func (p *place) subjects(over, commit string) []string {
	p.t.Helper()
	out := p.git("log", "--reverse", "--topo-order", "--format=%s", over+".."+commit)
	if out == "" {
		return nil
	}
	return strings.Split(out, "\n")
}

func lines(n int, change map[int]string) string {
	var b bytes.Buffer
	for i := 1; i <= n; i++ {
		if s, ok := change[i]; ok {
			b.WriteString(s + "\n")
		} else {
			fmt.Fprintf(&b, "line %d\n", i)
		}
	}
	return b.String()
}

func TestSurveyClean(t *testing.T) {
	p := newPlace(t)
	m0 := p.commit("", "m0", tree{"a.txt": lines(20, nil), "src/x.ts": "x\n"})
	s1 := p.commit(m0, "s1", tree{"shop-overrides/logo": "x:logo\n"})
	s2 := p.commit(s1, "s2 ünïcode", tree{"shop-overrides/theme": "dark\n"})
	m1 := p.commit(m0, "m1", tree{"src/x.ts": "y\n"})
	m := p.one(Input{Main: m1, Branches: []Branch{branch("acme", s2)}})
	if m.State != Clean || m.Base != m0 || m.Main != m1 || m.From != s2 || len(m.Dropped) != 0 || m.Drift != nil {
		t.Errorf("got %+v", m)
	}
	if got := p.subjects(m1, m.To); !slices.Equal(got, []string{"s1", "s2 ünïcode"}) {
		t.Errorf("carried %q", got)
	}
	if ok, why := m.Landable(); !ok || m.NeedsPerson() {
		t.Errorf("not landable: %s", why)
	}
	for format, want := range map[string]string{"%an <%ae> %ad": p.git("log", "-1", "--format=%an <%ae> %ad", s2), "%B": p.git("log", "-1", "--format=%B", s2)} {
		if got := p.git("log", "-1", "--format="+format, m.To); got != want {
			t.Errorf("%s is %q, want %q", format, got, want)
		}
	}
	again := p.one(Input{Main: m1, Branches: []Branch{branch("acme", m.To)}})
	if again.State != Current || again.To != m.To || len(again.Commits) != 2 {
		t.Errorf("after landing: %+v", again)
	}
	if same := p.one(Input{Main: m1, Branches: []Branch{branch("acme", s2)}}); same.To != m.To {
		t.Errorf("surveyed again it is %s, not %s", same.To, m.To)
	}
}

func TestSurveyNothingOwn(t *testing.T) {
	p := newPlace(t)
	m0 := p.commit("", "m0", tree{"a": "1\n"})
	m1 := p.commit(m0, "m1", tree{"a": "2\n"})
	s1 := p.commit(m0, "picked", tree{"a": "2\n"})
	for _, style := range []string{fleet.StyleRebase, fleet.StyleMerging} {
		moves := p.survey(Input{Main: m1, Policy: styled(style), Branches: []Branch{branch("behind", m0), branch("at", m1), branch("picked", s1)}})
		if m := moves[0]; m.State != Current || m.To != m1 {
			t.Errorf("at main: %+v", m)
		}
		if m := moves[1]; m.State != Clean || m.To != m1 {
			t.Errorf("behind main: %+v", m)
		}
		m := moves[2]
		if len(m.Dropped) != 1 || m.Dropped[0].Why != droppedOnMain || (m.To == m1) != (style == fleet.StyleRebase) {
			t.Errorf("with what main has: %+v", m)
		}
	}
}

func TestSurveyDrift(t *testing.T) {
	p := newPlace(t)
	m0 := p.commit("", "m0", tree{"a": "1\n", "b": "1\n"})
	s1 := p.commit(m0, "s1", tree{"a": "shop\n", "shop-overrides/x": "1\n"})
	m1 := p.commit(m0, "m1", tree{"b": "2\n"})
	m := p.one(Input{Main: m1, Branches: []Branch{branch("acme", s1)}})
	if m.State != Drifted || !slices.Equal(m.Drift, []string{"a"}) {
		t.Errorf("got %+v", m)
	}
}
