package git

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func newStore(t *testing.T, r *Repository) *Store {
	t.Helper()
	s, err := r.Store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Trees that are edited here are those git writes, and a comparison says what git says.
func TestStoreEditsLikeGit(t *testing.T) {
	r := newRepo(t)
	s := newStore(t, r)
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "a.b", "a-b", "b", "b/c", "a/x", "a/y/z", "a.b/c", "a0", "é\xff", "b/c.d/e", "shop overrides/\"q\""}
	held := map[string]Entry{}
	tree, err := s.Edit("", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 60 {
		var edits []Entry
		for range 1 + random.IntN(4) {
			path := names[random.IntN(len(names))]
			for other := range held {
				if other != path && (strings.HasPrefix(other, path+"/") || strings.HasPrefix(path, other+"/")) {
					edits = append(edits, Entry{Path: other})
					delete(held, other)
				}
			}
			edits = slices.DeleteFunc(edits, func(e Entry) bool {
				return e.Mode != 0 && (e.Path == path || strings.HasPrefix(e.Path, path+"/") || strings.HasPrefix(path, e.Path+"/"))
			})
			e := Entry{Mode: []Mode{0, ModeFile, ModeExecutable, ModeLink}[random.IntN(4)], Path: path}
			if e.Mode != 0 {
				e.ID = s.PutBlob(fmt.Append(nil, random.IntN(3)))
				held[path] = e
			} else {
				delete(held, path)
			}
			edits = append(edits, e)
		}
		before := tree
		if tree, err = s.Edit(tree, edits); err != nil {
			t.Fatal(err)
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		var index strings.Builder
		for path, e := range held {
			fmt.Fprintf(&index, "%06o %s\t%s\x00", uint32(e.Mode), e.ID, path)
		}
		git(t, r, "", "read-tree", "--empty")
		git(t, r, index.String(), "update-index", "-z", "--index-info")
		if want := git(t, r, "", "write-tree"); tree != want {
			t.Fatalf("got %s, git has %s: %s", tree, want, git(t, r, "", "diff-tree", "-r", want, tree))
		}
		changes, err := s.Diff(before, tree)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range changes {
			got = append(got, c.Path)
		}
		slices.Sort(got)
		want := strings.Split(strings.TrimSuffix(git(t, r, "", "diff-tree", "-r", "-z", "--no-renames", "--name-only", before, tree), "\x00"), "\x00")
		slices.Sort(want)
		if want = slices.Compact(want); want[0] == "" {
			want = nil
		}
		// git lists a file that became a directory once for each side; so is it here.
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Fatalf("changed %q, git says %q", got, want)
		}
	}
}

// What a commit says is kept byte for byte, whatever it is written in.
func TestStoreKeepsCommits(t *testing.T) {
	r := newRepo(t)
	tree := git(t, r, "", "mktree")
	text := "tree " + tree + "\nauthor J\xf6rg <j@x> 1700000000 +0130\ncommitter C <c@x> 1700000001 -0800\nencoding ISO-8859-1\n" +
		"gpgsig -----BEGIN PGP SIGNATURE-----\n \n tree of nothing\n -----END PGP SIGNATURE-----\n\n  gr\xfc\xdfe\n\n\nno newline at the end"
	id := git(t, r, text, "hash-object", "-t", "commit", "-w", "--stdin")
	s := newStore(t, r)
	c, err := s.RawCommit(id)
	if err != nil {
		t.Fatal(err)
	}
	again := s.PutCommit(c)
	read, err := s.RawCommit(again)
	if err != nil || read.Author != "J\xf6rg <j@x> 1700000000 +0130" || read.Encoding != "ISO-8859-1" || !bytes.Equal(read.Message, c.Message) {
		t.Errorf("read %+v, %v", read, err)
	}
	if err := errors.Join(read.Check(), s.Flush()); err != nil {
		t.Fatal(err)
	}
	signed, _, _ := strings.Cut(text, "gpgsig")
	_, message, _ := strings.Cut(text, "-----END PGP SIGNATURE-----\n")
	if got := git(t, r, "", "cat-file", "commit", again); got != signed+message {
		t.Errorf("git has %q", got)
	}
	for _, bad := range []string{"author nobody\n", "author A <a@x> 01 +0000\n", "author A <a@x>\n"} {
		id := git(t, r, "tree "+tree+"\n"+bad+"committer C <c@x> 1 +0000\n\nx\n", "hash-object", "-t", "commit", "-w", "--stdin", "--literally")
		if c, err := s.RawCommit(id); err != nil || c.Check() == nil || c.Tree != tree {
			t.Errorf("%q: read %+v, %v", bad, c, err)
		}
	}
}

// A question about an object that is missing or damaged is answered with an error, and the next one as if nothing were.
func TestStoreOutlivesDamage(t *testing.T) {
	r := newRepo(t)
	good := write(t, r, Draft{Branch: "main", Files: files(map[string]string{"a": "x"})})[0]
	bad := git(t, r, "damaged", "hash-object", "-w", "--stdin")
	name := filepath.Join(r.Dir, ".git", "objects", bad[:2], bad[2:])
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("nothing that zlib knows"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStore(t, r)
	for _, id := range []string{bad, strings.Repeat("1", 40), "HEAD"} {
		if _, err := s.Blob(id, 100); !errors.As(err, new(*MissingError)) {
			t.Errorf("%s: %v", id, err)
		}
		if _, err := s.RawCommit(good); err != nil {
			t.Errorf("after %s: %v", id, err)
		}
	}
	if _, err := s.Blob(good, 100); !errors.As(err, new(*EntryError)) {
		t.Errorf("a commit as a blob: %v", err)
	}
	unsorted := git(t, r, "100644 b\x00"+strings.Repeat("x", 20)+"100644 a\x00"+strings.Repeat("x", 20), "hash-object", "-t", "tree", "-w", "--stdin", "--literally")
	if _, err := s.Lookup(unsorted, "a"); !errors.As(err, new(*EntryError)) {
		t.Errorf("an unsorted tree: %v", err)
	}
	for _, path := range []string{".git/config", "a/.GIT/x", "..", "a//b", ""} {
		if _, err := s.Edit("", []Entry{{Mode: ModeFile, ID: bad, Path: path}}); !errors.As(err, new(*EntryError)) {
			t.Errorf("%q was put into a tree: %v", path, err)
		}
	}
}

func TestMergeTrees(t *testing.T) {
	r := newRepo(t)
	s := newStore(t, r)
	tree := func(text string) string {
		id, err := s.Edit("", []Entry{{Mode: ModeFile, ID: s.PutBlob([]byte(text)), Path: "dir/a\tb"}})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	base, one, two, both := tree("1\n2\n3\n4\n5\n"), tree("one\n2\n3\n4\n5\n"), tree("1\n2\n3\n4\nfive\n"), tree("one\n2\n3\n4\nfive\n")
	broken := TreeMerge{Base: base, Ours: strings.Repeat("1", 40), Theirs: two}
	got, err := s.MergeTrees(nil, TreeMerge{base, one, two}, broken, TreeMerge{base, one, tree("other\n2\n3\n4\n5\n")}, TreeMerge{base, two, two})
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Tree != both || got[0].Conflicts != nil || got[0].Err != nil {
		t.Errorf("a clean merge: %+v", got[0])
	}
	if got[1].Err == nil {
		t.Errorf("a merge of what is missing: %+v", got[1])
	}
	if c := got[2].Conflicts; len(c) != 1 || c[0].Path != "dir/a\tb" || c[0].Base.ID == "" || c[0].Ours.ID == c[0].Theirs.ID {
		t.Errorf("a conflict: %+v", got[2])
	}
	if got[3].Tree != two {
		t.Errorf("a merge of equal sides: %+v", got[3])
	}
	missing, err := s.Edit("", []Entry{{Mode: ModeFile, ID: strings.Repeat("1", 40), Path: "dir/a\tb"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err = s.MergeTrees(nil, TreeMerge{base, missing, one}, TreeMerge{base, one, two}, TreeMerge{base, missing, two}, TreeMerge{base, two, one})
	if err != nil || got[0].Err == nil || got[1].Tree != both || got[2].Err == nil || got[3].Tree != both {
		t.Errorf("with a file that is missing: %+v, %v", got, err)
	}
	// Attributes decide how files are merged.
	for attributes, clean := range map[string]bool{"": true, "dir/** -merge": false, "dir/** binary": false} {
		got, err := s.MergeTrees([]byte(attributes+"\n"), TreeMerge{base, one, two})
		if err != nil || (got[0].Conflicts == nil) != clean {
			t.Errorf("with %q: %+v, %v", attributes, got, err)
		}
	}
}

func FuzzParseMerges(f *testing.F) {
	id := strings.Repeat("a", 40)
	f.Add([]byte("1\x00" + id + "\x00\x00"))
	f.Add([]byte("0\x00" + id + "\x00100644 " + id + " 1\ta\x00100644 " + id + " 3\ta\x00\x00"))
	f.Fuzz(func(t *testing.T, out []byte) {
		answers, _ := parseMerges(out)
		for _, a := range answers {
			if checkID(a.Tree) != nil {
				t.Errorf("%q: a tree %q", out, a.Tree)
			}
		}
	})
}

func FuzzParseRawCommit(f *testing.F) {
	id := strings.Repeat("a", 40)
	f.Add([]byte("tree " + id + "\nparent " + id + "\nauthor A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n\nx\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parseRawCommit(id, raw)
		if err == nil && (checkID(c.Tree) != nil || checkID(c.Parents...) != nil || c.Check() == nil && strings.ContainsAny(c.Author, "\x00\n")) {
			t.Errorf("%q was read as %+v", raw, c)
		}
	})
}

func TestGraph(t *testing.T) {
	r := newRepo(t)
	ids := write(t, r,
		Draft{Branch: "main", Message: "0"}, Draft{Branch: "shop", From: "main", Message: "1"},
		Draft{Branch: "main", Message: "2"}, Draft{Branch: "shop", Message: "3"})
	missing := strings.Repeat("1", 40)
	g, wrong, err := r.Graph(t.Context(), ids[2], missing, ids[3], "--all")
	if err != nil || wrong[0] != nil || wrong[1] == nil || wrong[2] != nil || wrong[3] == nil {
		t.Fatalf("got %v, %v", wrong, err)
	}
	if got := g.Above(ids[3], g.Ancestors(ids[2])); !slices.Equal(got, []string{ids[1], ids[3]}) {
		t.Errorf("above main are %q", got)
	}
	if got := g.Line(ids[2]); !slices.Equal(got, []string{ids[2], ids[0]}) || g.Has(missing) {
		t.Errorf("main was %q", got)
	}
}

func TestPatchIDs(t *testing.T) {
	r := newRepo(t)
	ids := write(t, r,
		Draft{Branch: "main", Files: files(map[string]string{"a": "1\n", "z": "1\n"})},
		Draft{Branch: "shop", From: "main", Files: files(map[string]string{"z": "2\n"})},
		Draft{Branch: "main", Files: files(map[string]string{"a": "2\n"})},
		Draft{Branch: "main", Files: files(map[string]string{"z": "2\n"})},
		Draft{Branch: "main", Message: "empty"})
	got, err := r.PatchIDs(t.Context(), ids...)
	if err != nil || got[ids[1]] == "" || got[ids[1]] != got[ids[3]] || got[ids[1]] == got[ids[2]] || got[ids[4]] != "" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestStoreOfSHA256(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("git", "init", "--quiet", "--bare", "--object-format=sha256", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(t, r)
	tree, err := s.Edit("", []Entry{{Mode: ModeFile, ID: s.PutBlob([]byte("x")), Path: "a/b"}})
	if err != nil {
		t.Fatal(err)
	}
	commit := s.PutCommit(RawCommit{Tree: tree, Author: signature + " 1 +0000", Committer: signature + " 1 +0000"})
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := git(t, r, "", "cat-file", "blob", commit+":a/b"); len(commit) != 64 || got != "x" {
		t.Errorf("%s has %q", commit, got)
	}
}
