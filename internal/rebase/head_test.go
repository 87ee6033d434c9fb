package rebase

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
)

// dispute is a main and a shop's branch that both changed a file of the overlay.
type dispute struct {
	*place
	m0, m1, s1 string
}

func newDispute(t *testing.T) *dispute {
	p := newPlace(t)
	d := &dispute{place: p}
	d.m0 = p.commit("", "m0", tree{"a": "1\n", "shop-overrides/x": lines(9, nil), "wrangler.jsonc": config("2026-01-01", "light", "")})
	d.s1 = p.commit(d.m0, "s1", tree{"shop-overrides/x": lines(9, map[int]string{5: "shop"})})
	d.m1 = p.commit(d.m0, "m1", tree{"shop-overrides/x": lines(9, map[int]string{5: "main"})})
	return d
}

func withHead(b Branch, head string) Branch {
	b.Head = head
	return b
}

func (d *dispute) at(main, tip, head string) Move {
	d.t.Helper()
	return d.one(Input{Main: main, Branches: []Branch{withHead(branch("acme", tip), head)}})
}

func TestHeadIsReplaced(t *testing.T) {
	d := newDispute(t)
	first := d.at(d.m1, d.s1, "")
	m2 := d.commit(d.m1, "m2", tree{"a": "2\n"})
	for _, head := range []string{first.To, d.m1, d.s1, d.m0} {
		if m := d.at(m2, d.s1, head); m.Kept != "" || m.Touched || m.To == head || len(m.Conflicts) != 1 {
			t.Errorf("over %s: %+v", head, m)
		}
	}
	if m := d.at(d.m1, d.s1, first.To); m.To != first.To || m.Touched {
		t.Errorf("over itself: %+v", m)
	}
}

func TestPeopleResolve(t *testing.T) {
	for _, style := range []string{fleet.StyleRebase, fleet.StyleMerging} {
		d := newDispute(t)
		at := func(main, tip, head string) Move {
			return d.one(Input{Main: main, Policy: styled(style), Branches: []Branch{withHead(branch("acme", tip), head)}})
		}
		first := at(d.m1, d.s1, "")
		if first.State != Conflicted || len(first.Conflicts) != 1 {
			t.Fatalf("got %+v", first)
		}
		half := d.commit(first.To, "look", tree{"shop-overrides/y": "1\n"})
		if m := at(d.m1, d.s1, half); m.State != Conflicted || !m.Touched || m.To != half || len(m.Lessons) > 0 {
			t.Errorf("not resolved yet: %+v", m)
		}
		done := d.commit(half, "decide", tree{"shop-overrides/x": lines(9, map[int]string{5: "both"})})
		m := at(d.m1, d.s1, done)
		if m.State != Resolved || !m.Touched || m.To != done || len(m.Conflicts) > 0 || len(m.Lessons) != 1 || !m.NeedsPerson() {
			t.Fatalf("resolved: %+v", m)
		}
		if ok, why := m.Landable(); !ok {
			t.Errorf("it does not land: %s", why)
		}
		if l := m.Lessons[0]; l.Key != first.Conflicts[0].Key || l.Ref != ResolutionRefs+l.Key || l.Commit != done || l.Shop != "acme" {
			t.Errorf("learnt %+v", l)
		}
		// Main goes on: what people did goes along, and stays theirs in every survey that follows.
		main, head := d.m1, done
		for week := range 2 {
			main = d.commit(main, "more", tree{"a": fmt.Sprint(week), "shop-overrides/x": lines(9, map[int]string{5: "main", 1 + week*8: fmt.Sprint("week ", week)})})
			m = at(main, d.s1, head)
			if m.State != Resolved || !m.Touched || m.Kept != "" || len(m.Conflicts) > 0 || m.To == head {
				t.Fatalf("week %d: %+v", week, m)
			}
			if got := carriedSubjects(m); !slices.Equal(got, []string{"s1", "look", "decide"}) {
				t.Errorf("week %d: %q", week, got)
			}
			if got := d.read(m.To, "shop-overrides/x"); !strings.Contains(got, "both") || !strings.Contains(got, fmt.Sprint("week ", week)) || strings.Contains(got, "<<<<") {
				t.Errorf("week %d: %s", week, got)
			}
			head = m.To
			if again := at(main, d.s1, head); again.To != head || again.State != Resolved || !again.Touched {
				t.Errorf("week %d, again: %+v", week, again)
			}
		}
		if now := at(main, head, head); now.State != Current {
			t.Errorf("landed: %+v", now)
		}
	}
}

// What a person resolved has landed. When main changes the same again, the marks are about that and nothing older.
func TestResolutionIsFoldedIn(t *testing.T) {
	for _, style := range []string{fleet.StyleRebase, fleet.StyleMerging} {
		d := newDispute(t)
		at := func(main, tip string) Move {
			return d.one(Input{Main: main, Policy: styled(style), Branches: []Branch{branch("acme", tip)}})
		}
		s2 := d.commit(d.s1, "s2", tree{"shop-overrides/y": "1\n"})
		done := d.commit(at(d.m1, s2).To, "decide", tree{"shop-overrides/x": lines(9, map[int]string{5: "both"})})
		if m := at(d.m1, done); m.State != Current {
			t.Fatalf("landed: %+v", m)
		}
		m := at(d.commit(d.m1, "elsewhere", tree{"a": "2\n"}), done)
		if m.State != Clean || !slices.Equal(carriedSubjects(m), []string{"s1", "s2"}) || len(m.Dropped) != 1 || m.Dropped[0].Commit != done || m.Dropped[0].Why != droppedFolded {
			t.Errorf("got %+v", m)
		}
		for _, c := range m.Commits {
			if got := d.git("cat-file", "blob", c.To+":shop-overrides/x"); got+"\n" != lines(9, map[int]string{5: "both"}) {
				t.Errorf("%s has %s", c.Subject, got)
			}
		}
		m = at(d.commit(d.m1, "again", tree{"shop-overrides/x": lines(9, map[int]string{5: "main again"})}), done)
		want := lines(9, map[int]string{5: "<<<<<<< main\nmain again\n=======\nboth\n>>>>>>> shops/acme"})
		if got := d.git("cat-file", "blob", m.To+":shop-overrides/x") + "\n"; m.State != Conflicted || len(m.Conflicts) != 1 || got != want {
			t.Errorf("in conflict again: %+v\n%s", m.Conflicts, got)
		}
	}
}

func TestPeopleUpdateTheBranch(t *testing.T) {
	d := newDispute(t)
	first := d.at(d.m1, d.s1, "")
	done := d.commit(first.To, "decide", tree{"shop-overrides/x": lines(9, map[int]string{5: "both"})})
	updated := d.git("commit-tree", d.treeOf(done), "-p", done, "-p", d.s1, "-m", "Merge branch 'shops/acme' into rebase/acme")
	m := d.at(d.m1, d.s1, updated)
	if m.Kept != "" || m.State != Resolved || d.treeOf(m.To) != d.treeOf(done) || !slices.Equal(d.subjects(d.m1, m.To), []string{"s1", "decide"}) {
		t.Errorf("got %+v", m)
	}
	// A merge with words of its own is not taken apart.
	more := d.commit(done, "-", tree{"a": "evil\n"})
	evil := d.git("commit-tree", d.treeOf(more), "-p", done, "-p", d.s1, "-m", "merge")
	if m := d.at(d.m1, d.s1, evil); m.Kept == "" || m.Touched {
		t.Errorf("got %+v", m)
	}
}

func TestHeadIsKept(t *testing.T) {
	d := newDispute(t)
	first := d.at(d.m1, d.s1, "")
	done := d.commit(first.To, "decide", tree{"shop-overrides/x": lines(9, map[int]string{5: "both"})})
	s2 := d.commit(d.s1, "s2", tree{"shop-overrides/z": "1\n"})
	m := d.at(d.m1, s2, done)
	if ok, why := m.Landable(); m.Kept == "" || m.Touched || ok || why == "" {
		t.Errorf("the shop went on: %+v", m)
	}
	m2 := d.commit(d.m1, "m2", tree{"shop-overrides/x": lines(9, map[int]string{5: "main again"})})
	if m := d.at(m2, d.s1, done); m.Kept == "" || m.To == done {
		t.Errorf("main changed the same: %+v", m)
	}
}

func TestResolveOnceReplay(t *testing.T) {
	d := newDispute(t)
	other := d.commit(d.commit(d.m0, "own", tree{"shop-overrides/own": "1\n"}), "t1", tree{"shop-overrides/x": lines(9, map[int]string{5: "shop"})})
	both := []Branch{branch("acme", d.s1), branch("zeta", other)}
	moves := d.survey(Input{Main: d.m1, Branches: both})
	clusters := Clusters(moves)
	if len(clusters) != 1 || !slices.Equal(clusters[0].Shops, []string{"acme", "zeta"}) || clusters[0].Path != "shop-overrides/x" {
		t.Fatalf("clusters: %+v", clusters)
	}
	done := d.commit(moves[0].To, "decide", tree{"shop-overrides/x": lines(9, map[int]string{5: "both"})})
	lesson := d.at(d.m1, d.s1, done).Lessons[0]
	refs := map[string]string{lesson.Ref: lesson.Object}
	read := func(refs map[string]string, branches ...Branch) map[string]Resolution {
		t.Helper()
		got, err := Resolutions(context.Background(), d.repo, refs, branches)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := read(refs, both...); len(got) != 0 {
		t.Errorf("it counts before it landed: %+v", got)
	}
	landed := []Branch{branch("acme", done), both[1]}
	got := read(refs, landed...)
	if len(got) != 1 || got[lesson.Key] != lesson.Resolution {
		t.Fatalf("read %+v", got)
	}
	m := d.survey(Input{Main: d.m1, Branches: landed, Resolutions: got})[1]
	if m.State != Resolved || len(m.Replayed) != 1 || m.Replayed[0].Shop != "acme" || !m.NeedsPerson() || !strings.Contains(d.read(m.To, "shop-overrides/x"), "both") {
		t.Errorf("replayed: %+v", m)
	}
	// People who had begun on the other one before that was known lose nothing.
	begun := d.commit(moves[1].To, "look", tree{"shop-overrides/y": "1\n"})
	m = d.survey(Input{Main: d.m1, Branches: []Branch{withHead(both[1], begun)}, Resolutions: got})[0]
	if m.Kept != "" || !m.Touched || m.To != begun || len(m.Conflicts) != 1 {
		t.Errorf("begun: %+v", m)
	}
	// What is not what it says is left out.
	forged := d.commit("", "{}", tree{"shop-overrides/x": "forged\n"})
	child := d.commit(lesson.Object, "-", nil)
	for _, refs := range []map[string]string{
		{lesson.Ref: forged}, {lesson.Ref: child}, {lesson.Ref: d.s1}, {lesson.Ref: strings.Repeat("1", 40)}, {lesson.Ref: "--all"},
		{ResolutionRefs + strings.Repeat("0", 64): lesson.Object}, {"refs/heads/x": lesson.Object},
	} {
		if got := read(refs, landed...); len(got) != 0 {
			t.Errorf("%v counts: %+v", refs, got)
		}
	}
	// A resolution with marks in it, or a configuration that is none, is not applied.
	marked := got[lesson.Key]
	marked.Result.Blob = d.git("rev-parse", moves[0].To+":shop-overrides/x")
	if m := d.one(Input{Main: d.m1, Branches: both[1:], Resolutions: map[string]Resolution{lesson.Key: marked}}); m.State != Conflicted {
		t.Errorf("with marks: %+v", m)
	}
}

func FuzzParseResolution(f *testing.F) {
	c := Conflict{Path: "a\xff", Main: Side{git.ModeFile, strings.Repeat("a", 40)}}
	f.Add(conflictKey(c), []byte(`{"path":"\"a\\xff\"","main":{"mode":33188,"blob":"`+c.Main.Blob+`"},"result":{}}`))
	f.Fuzz(func(t *testing.T, key string, message []byte) {
		if r, err := parseResolution(key, message); err == nil && r.Key != key {
			t.Errorf("%q is %+v", message, r)
		}
	})
}

// A resolution's ref can be written by people who may not push to shops' branches. It cannot bring a file here that another
// shop, or main, had for some other reason.
func TestForgedResolution(t *testing.T) {
	d := newDispute(t)
	theirs := d.commit(d.commit(d.m1, "own", tree{"shop-overrides/own": "1\n"}), "t1", tree{"shop-overrides/x": "zeta's own\n"})
	acme, zeta := branch("acme", d.s1), branch("zeta", theirs)
	conflict := d.at(d.m1, d.s1, "").Conflicts[0]
	for _, c := range []string{theirs, d.m0} {
		at := Side{git.ModeFile, d.git("rev-parse", c+":shop-overrides/x")}
		text, err := json.Marshal(resolved{strconv.QuoteToASCII(conflict.Path), conflict.Base, conflict.Main, conflict.Shop, at, "zeta", c})
		if err != nil {
			t.Fatal(err)
		}
		forged := d.commit("", string(text)+"\n", tree{})
		if err := d.store.Flush(); err != nil {
			t.Fatal(err)
		}
		known, err := Resolutions(t.Context(), d.repo, map[string]string{ResolutionRefs + conflict.Key: forged}, []Branch{acme, zeta})
		if err != nil || len(known) != 1 {
			t.Fatalf("it is not even read: %v, %v", known, err)
		}
		m := d.one(Input{Main: d.m1, Branches: []Branch{acme}, Resolutions: known})
		if m.State != Conflicted || len(m.Replayed) > 0 {
			t.Errorf("from %s: %+v", c, m)
		}
	}
}

// A conflict is resolved when somebody decided it, and no mark of it is left.
func TestMarksThatAreLeft(t *testing.T) {
	d := newDispute(t)
	first := d.at(d.m1, d.s1, "")
	marked := d.read(first.To, "shop-overrides/x") + "\n"
	without := func(sign string) string {
		var kept []string
		for line := range strings.Lines(marked) {
			if !strings.HasPrefix(line, strings.Repeat(sign, 7)) {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	}
	for name, change := range map[string]tree{
		"without the end":     {"shop-overrides/x": without(">")},
		"without the start":   {"shop-overrides/x": without("<")},
		"without the middle":  {"shop-overrides/x": without("=")},
		"with CRLF":           {"shop-overrides/x": strings.ReplaceAll(without("="), "\n", "\r\n")},
		"more of the same":    {"shop-overrides/x": strings.ReplaceAll(marked, "main", "us")},
		"of another length":   {"shop-overrides/x": strings.ReplaceAll(marked, "<<<<<<<", "<<<<<<<<<")},
		"in another place":    {"shop-overrides/x": gone, "shop-overrides/moved": marked},
		"in a copy, and gone": {"shop-overrides/x": gone, "shop-overrides/y/z": without("<")},
	} {
		if m := d.at(d.m1, d.s1, d.commit(first.To, "half", change)); len(m.Conflicts) != 1 {
			t.Errorf("%s: %+v", name, m)
		}
	}
	for name, change := range map[string]tree{
		"removed": {"shop-overrides/x": gone},
		"quoted":  {"shop-overrides/x": "<<<<<<< of something\n>>>>>>> else\n=======\n"},
	} {
		if m := d.at(d.m1, d.s1, d.commit(first.To, "done", change)); len(m.Conflicts) != 0 {
			t.Errorf("%s: %+v", name, m)
		}
	}
	// A later commit of the shop's own changed the file: then nobody has decided, whatever else people commit.
	s2 := d.commit(d.s1, "s2", tree{"shop-overrides/x": lines(9, map[int]string{5: "shop", 9: "last"})})
	m := d.at(d.m1, s2, "")
	if m = d.at(d.m1, s2, d.commit(m.To, "look", tree{"shop-overrides/y": "1\n"})); len(m.Conflicts) == 0 {
		t.Errorf("nobody decided: %+v", m)
	}
}
