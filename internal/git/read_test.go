package git

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var hostileNames = []string{
	"-x", "--upload-pack=touch sprung", "--help", "..", "../..", "shops/..", "shops/../main", "a b", " ", "", "\n", "main\n",
	"main^", "main~1", "main@{0}", "@", "HEAD", "@{-1}", ":/base", "main:a", "shops/*", "*", "shops/[a-z]*", "refs/heads/main",
	"ünï/cödé", "\u202e", "main\x00", "$(touch sprung)", "; touch sprung", "shops", "shops/", "Main", "origin/main",
}

func TestBranches(t *testing.T) {
	r := newRepo(t)
	ids := write(t, r,
		Draft{Branch: "main", Message: "base"},
		Draft{Branch: "shops/swicked", From: "main", Message: "here"},
		Draft{Branch: "shops/mike-s-bikes", From: "main", Message: "mike"},
		Draft{Branch: "shopping", From: "main", Message: "not a shop"},
	)
	main, swicked, mike := ids[0], ids[1], ids[2]
	git(t, r, "", "update-ref", "refs/remotes/origin/main", main)
	git(t, r, "", "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
	git(t, r, "", "update-ref", "refs/remotes/origin/shops/swicked", main)
	git(t, r, "", "update-ref", "refs/remotes/origin/shops/mike-s-bikes", mike)
	git(t, r, "", "update-ref", "refs/remotes/origin/shops/far", mike)
	git(t, r, "", "update-ref", "refs/remotes/elsewhere/shops/other", mike)
	git(t, r, "", "update-ref", "refs/tags/shops/tag", mike)

	got, err := r.Branches(t.Context(), "shops/")
	if err != nil {
		t.Fatal(err)
	}
	want := []Branch{
		{Name: "shops/far", Origin: mike},
		{Name: "shops/mike-s-bikes", Local: mike, Origin: mike},
		{Name: "shops/swicked", Local: swicked, Origin: main},
	}
	if !slices.Equal(got, want) {
		t.Errorf("Branches = %v\nwant %v", got, want)
	}
	for _, b := range want {
		one, err := r.Branch(t.Context(), b.Name)
		if err != nil || one != b {
			t.Errorf("Branch(%s) = %v, %v; want %v", b.Name, one, err, b)
		}
	}
	if far, both, differs := want[0], want[1], want[2]; far.Commit() != mike || both.Commit() != mike || differs.Commit() != swicked ||
		far.Differs() || both.Differs() || !differs.Differs() {
		t.Errorf("the local branch is to win, and a difference to be told: %v", want)
	}
	all, err := r.Branches(t.Context(), "")
	if err != nil || len(all) != 5 {
		t.Errorf("Branches of any name = %v, %v; want 5", all, err)
	}
	for _, name := range hostileNames {
		b, err := r.Branch(t.Context(), name)
		var none *NotFoundError
		if !errors.As(err, &none) || !errors.Is(err, fs.ErrNotExist) || none.Name != name || none.Hint() == "" {
			t.Errorf("Branch(%q) = %v, %v; want a *NotFoundError", name, b, err)
		}
		if name == "" || name == "shops" || name == "shops/" {
			continue // these are beginnings of names
		}
		if list, err := r.Branches(t.Context(), name); err != nil || len(list) != 0 {
			t.Errorf("Branches(%q) = %v, %v; want none", name, list, err)
		}
	}
}

// TestHostileBranchesThatExist gives branches the worst names that git takes.
func TestHostileBranchesThatExist(t *testing.T) {
	r := newRepo(t)
	for _, name := range []string{"-x", "--help", "--upload-pack=touch", "$(touch)", "ünï/cödé", "\u202e", "a;b", "shops/-rf", "'\""} {
		id := write(t, r, Draft{Branch: name, Message: name, Files: files(map[string]string{"a": name})})[0]
		b, err := r.Branch(t.Context(), name)
		if err != nil || b.Commit() != id {
			t.Errorf("Branch(%q) = %v, %v; want %s", name, b, err, id)
		}
		if err := r.Checkout(t.Context(), name); err != nil {
			t.Errorf("Checkout(%q): %v", name, err)
		}
		if got := git(t, r, "", "rev-parse", "HEAD"); got != id {
			t.Errorf("after Checkout(%q), HEAD = %s; want %s", name, got, id)
		}
	}
}

// TestNothingButIDsIsARevision hands every method that takes commits what is none.
func TestNothingButIDsIsARevision(t *testing.T) {
	r := newRepo(t)
	good := write(t, r, Draft{Branch: "main", Message: "base"})[0]
	ctx := t.Context()
	absent := strings.Repeat("1", 40)
	for _, bad := range append(hostileNames, "main", good[:12], good+"^{tree}", strings.ToUpper(good), absent) {
		_, err1 := r.Commit(ctx, bad)
		_, err2 := r.Trees(ctx, good, bad)
		_, err3 := r.Files(ctx, "a", good, bad)
		for i, err := range []error{err1, err2, err3} {
			if !errors.As(err, new(*NotFoundError)) {
				t.Errorf("method %d, commit %q: %v; want a *NotFoundError", i+1, bad, err)
			}
		}
		_, err4 := r.MergeBase(ctx, good, bad)
		_, err5 := r.IsAncestor(ctx, bad, good)
		_, err6 := r.Changed(ctx, good, bad)
		for i, err := range []error{err4, err5, err6} {
			if err == nil || bad != absent && !errors.As(err, new(*NotFoundError)) {
				t.Errorf("method %d, commit %q: %v; want an error", i+4, bad, err)
			}
		}
	}
	// A tree's id is an id, but not a commit's.
	tree := git(t, r, "", "rev-parse", good+"^{tree}")
	if _, err := r.Commit(ctx, tree); !errors.As(err, new(*NotFoundError)) {
		t.Errorf("Commit of a tree: %v", err)
	}
}

func TestFiles(t *testing.T) {
	r := newRepo(t)
	var drafts []Draft
	drafts = append(drafts, Draft{Branch: "main", Files: files(map[string]string{"conf/wrangler.jsonc": "base", "other": "x"})})
	for i := range 40 {
		name := fmt.Sprintf("shops/shop-%02d", i)
		drafts = append(drafts, Draft{Branch: name, From: "main", Files: files(map[string]string{"conf/wrangler.jsonc": name})})
	}
	drafts = append(drafts,
		Draft{Branch: "gone", From: "main", Remove: []string{"conf"}},
		Draft{Branch: "dir", From: "gone", Files: files(map[string]string{"conf/wrangler.jsonc/x": "x"})},
		Draft{Branch: "file", From: "gone", Files: files(map[string]string{"conf": "x"})},
		Draft{Branch: "empty", From: "main", Files: files(map[string]string{"conf/wrangler.jsonc": ""})},
		Draft{Branch: "huge", From: "main", Files: files(map[string]string{"conf/wrangler.jsonc": strings.Repeat("x", maxFile+1)})},
	)
	commits := write(t, r, drafts...)
	commits = append(commits, fastImport(t, r, "link", "120000", "conf/wrangler.jsonc", "../other"))
	commits = append(commits, commits[0])

	var echo strings.Builder
	r.Echo = &echo
	got, err := r.Files(t.Context(), "conf/wrangler.jsonc", commits...)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(echo.String(), "\n"); n != 1 {
		t.Errorf("%d processes", n)
	}
	want := []string{"base"}
	for i := range 40 {
		want = append(want, fmt.Sprintf("shops/shop-%02d", i))
	}
	want = append(want, "not exist", "conf/wrangler.jsonc is a directory, not a file", "not exist", "",
		"conf/wrangler.jsonc has 8388609 bytes; at most 8388608 are read", "conf/wrangler.jsonc is a symbolic link, not a file", "base")
	for i, f := range got {
		says := string(f.Data)
		if errors.Is(f.Err, fs.ErrNotExist) {
			says = "not exist"
		} else if f.Err != nil {
			says = f.Err.Error()
		}
		if says != want[i] {
			t.Errorf("commit %d: %.80q; want %q", i, says, want[i])
		}
	}
	for _, path := range []string{"", ".", "/etc/passwd", "../x", "a//b", "conf/"} {
		if _, err := r.Files(t.Context(), path, commits[0]); err == nil {
			t.Errorf("Files(%q) takes what is no path", path)
		}
	}
	// Paths are not patterns, nor do they end a question.
	for _, path := range []string{"conf/*", ":(top)other", "other\nmain", "-x"} {
		f, err := r.Files(t.Context(), path, commits[0])
		if err != nil || !errors.Is(f[0].Err, fs.ErrNotExist) {
			t.Errorf("Files(%q) = %v, %v", path, f, err)
		}
	}
}

// fastImport makes a commit with one entry of any mode on a branch that starts from main.
func fastImport(t *testing.T, r *Repository, branch, mode, path, data string) string {
	t.Helper()
	stream := fmt.Sprintf("commit refs/heads/%s\ncommitter x <x@example.invalid> 0 +0000\ndata 0\n", branch)
	if _, err := r.Branch(t.Context(), "main"); err == nil {
		stream += "from refs/heads/main^0\n"
	}
	if mode == "160000" {
		stream += fmt.Sprintf("M %s %s %s\n", mode, data, path)
	} else {
		stream += fmt.Sprintf("M %s inline %s\ndata %d\n%s\n", mode, path, len(data), data)
	}
	git(t, r, stream+"done\n", "fast-import", "--quiet", "--done")
	return git(t, r, "", "rev-parse", "refs/heads/"+branch)
}

func TestTreeDigest(t *testing.T) {
	r := newRepo(t)
	ids := write(t, r,
		Draft{Branch: "main", Files: files(map[string]string{"wrangler.jsonc": "base", "src/a.ts": "a", "src/b/c.ts": "c"})},
		Draft{Branch: "one", From: "main", Files: files(map[string]string{"wrangler.jsonc": "one"})},
		Draft{Branch: "two", From: "main", Files: files(map[string]string{"wrangler.jsonc": "two"})},
		Draft{Branch: "none", From: "main", Remove: []string{"wrangler.jsonc"}},
		Draft{Branch: "more", From: "main", Files: files(map[string]string{"shop-overrides/theme.json": "{}"})},
		Draft{Branch: "moved", From: "main", Files: files(map[string]string{"src/a2.ts": "a"}), Remove: []string{"src/a.ts"}},
		Draft{Branch: "changed", From: "main", Files: files(map[string]string{"src/a.ts": "b"})},
	)
	ids = append(ids, fastImport(t, r, "executable", "100755", "src/a.ts", "a"), fastImport(t, r, "link", "120000", "src/a.ts", "a"))
	trees, err := r.Trees(t.Context(), ids...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range trees { // what git lists itself is the judge
		var b strings.Builder
		for _, e := range trees[i] {
			fmt.Fprintf(&b, "%06o blob %s\t%s\n", e.Mode, e.ID, e.Path)
		}
		if want := git(t, r, "", "ls-tree", "-r", ids[i]); strings.TrimSpace(b.String()) != want {
			t.Errorf("Trees = %s\nls-tree = %s", b.String(), want)
		}
	}
	whole, part := map[string]bool{}, map[string]bool{}
	for i, tree := range trees {
		whole[tree.Digest()] = true
		if i <= 3 {
			part[tree.Without("wrangler.jsonc").Digest()] = true
		} else if part[tree.Without("wrangler.jsonc").Digest()] {
			t.Errorf("commit %d differs in more than wrangler.jsonc and has the same digest", i)
		}
	}
	if len(whole) != len(trees) || len(part) != 1 {
		t.Errorf("%d trees have %d digests; four that differ only in wrangler.jsonc have %d without it", len(trees), len(whole), len(part))
	}
	if got, want := trees[4].Without("shop-overrides").Digest(), trees[0].Digest(); got != want {
		t.Errorf("without the directory: %s; want %s", got, want)
	}
	if got := trees[0].Without("src/b/", "src/a", "SRC"); len(got) != len(trees[0]) {
		t.Errorf("Without took what it was not told to: %v", got)
	}
}

// TestTreesAsksOnce counts the processes, and the questions they are asked.
func TestTreesAsksOnce(t *testing.T) {
	r := newRepo(t)
	drafts := []Draft{{Branch: "main", Files: files(map[string]string{"a/b/c/d": "x", "e": "y"})}}
	for i := range 100 {
		drafts = append(drafts, Draft{Branch: fmt.Sprintf("shops/%d", i), From: "main", Files: files(map[string]string{"wrangler.jsonc": fmt.Sprint(i)})})
	}
	ids := write(t, r, drafts...)
	asked := filepath.Join(t.TempDir(), "asked")
	program, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	r.Program = filepath.Join(t.TempDir(), "git")
	script := fmt.Sprintf("#!/bin/sh\ntee -a '%s' | '%s' \"$@\"\n", asked, program)
	if err := os.WriteFile(r.Program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	var echo strings.Builder
	r.Echo = &echo
	trees, err := r.Trees(t.Context(), ids...)
	if err != nil || len(trees) != 101 || len(trees[100]) != 3 {
		t.Fatalf("%d trees, %v", len(trees), err)
	}
	if n := strings.Count(echo.String(), "\n"); n != 1 {
		t.Errorf("%d processes", n)
	}
	questions, err := os.ReadFile(asked)
	if n := strings.Count(string(questions), "\n"); err != nil || n != 101+3 {
		t.Errorf("%d questions, %v; want one for each commit and one for each directory", n, err)
	}
}

func TestMissingObject(t *testing.T) {
	r := newRepo(t)
	id := write(t, r, Draft{Branch: "main", Files: files(map[string]string{"a": "x", "dir/b": "y"})})[0]
	trees, err := r.Trees(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	// fast-import packs; unpacked, single objects can be lost.
	packs, _ := filepath.Glob(filepath.Join(r.Dir, ".git/objects/pack/*.pack"))
	for _, pack := range packs {
		b, err := os.ReadFile(pack)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(r.Dir, ".git/objects/pack")); err != nil {
			t.Fatal(err)
		}
		git(t, r, string(b), "unpack-objects", "-q")
	}
	lose := func(object string) {
		if err := os.Remove(filepath.Join(r.Dir, ".git/objects", object[:2], object[2:])); err != nil {
			t.Fatal(err)
		}
	}
	lose(trees[0][0].ID)
	_, err = r.Files(t.Context(), "a", id)
	var missing *MissingError
	if !errors.As(err, &missing) || missing.Object != trees[0][0].ID || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Files with a lost object: %v; want a *MissingError", err)
	}
	err = r.Extract(t.Context(), trees[0], filepath.Join(t.TempDir(), "out"))
	if !errors.As(err, &missing) {
		t.Errorf("Extract with a lost object: %v; want a *MissingError", err)
	}
	lose(git(t, r, "", "rev-parse", id+":dir"))
	if _, err = r.Trees(t.Context(), id); !errors.As(err, &missing) {
		t.Errorf("Trees with a lost object: %v; want a *MissingError", err)
	}
	if f, err := r.Files(t.Context(), "dir/b", id); !errors.As(err, &missing) {
		t.Errorf("Files with a lost directory: %v, %v; want a *MissingError", f, err)
	}
}

func TestHistory(t *testing.T) {
	r := newRepo(t)
	day := func(d int) time.Time { return time.Date(2026, 2, d, 8, 0, 0, 0, time.UTC) }
	ids := write(t, r,
		Draft{Branch: "main", Message: "one", When: day(1), Files: files(map[string]string{"src/a": "1", "src/b": "same content\n"})},
		Draft{Branch: "main", Message: "two\nand more\n\nThe body.\n", When: day(2), Files: files(map[string]string{"src/a": "2"})},
		Draft{Branch: "shops/swicked", From: "main", Message: "overlay", When: day(3),
			Files: files(map[string]string{"wrangler.jsonc": "x", "naïve \"name\"\tx": "", "src/moved": "same content\n"}), Remove: []string{"src/b"}},
		Draft{Branch: "main", Message: "three", When: day(4), Files: files(map[string]string{"src/a": "3"})},
		Draft{Branch: "island", Message: "alone", When: day(5)},
	)
	one, two, shop, three, island := ids[0], ids[1], ids[2], ids[3], ids[4]
	ctx := t.Context()

	if base, err := r.MergeBase(ctx, three, shop); err != nil || base != two {
		t.Errorf("MergeBase = %s, %v; want %s", base, err, two)
	}
	_, err := r.MergeBase(ctx, three, island)
	var unrelated *UnrelatedError
	if !errors.As(err, &unrelated) || unrelated.Shallow || strings.Contains(unrelated.Hint(), "shallow") {
		t.Errorf("MergeBase of strangers: %#v", err)
	}
	for _, test := range []struct {
		a, b string
		want bool
	}{{one, three, true}, {two, shop, true}, {shop, shop, true}, {three, one, false}, {three, shop, false}, {island, shop, false}} {
		if got, err := r.IsAncestor(ctx, test.a, test.b); err != nil || got != test.want {
			t.Errorf("IsAncestor(%s, %s) = %v, %v", test.a, test.b, got, err)
		}
	}
	changed, err := r.Changed(ctx, two, shop)
	if want := []string{"naïve \"name\"\tx", "src/b", "src/moved", "wrangler.jsonc"}; err != nil || !slices.Equal(changed, want) {
		t.Errorf("Changed = %q, %v; want %q", changed, err, want)
	}
	if changed, err := r.Changed(ctx, two, two); err != nil || len(changed) != 0 {
		t.Errorf("Changed between equals = %q, %v", changed, err)
	}
	c, err := r.Commit(ctx, two)
	tree := git(t, r, "", "rev-parse", two+"^{tree}")
	if err != nil || c.Subject != "two and more" || c.Tree != tree || !slices.Equal(c.Parents, []string{one}) || !c.CommitDate.Equal(day(2)) || !c.AuthorDate.Equal(day(2)) {
		t.Errorf("Commit = %+v, %v", c, err)
	}
	if shallow, err := r.Shallow(ctx); err != nil || shallow {
		t.Errorf("Shallow = %v, %v", shallow, err)
	}
}

func TestShallowClone(t *testing.T) {
	r := newRepo(t)
	ids := write(t, r,
		Draft{Branch: "main", Message: "one"},
		Draft{Branch: "shop", From: "main", Message: "overlay", Files: files(map[string]string{"a": "x"})},
		Draft{Branch: "main", Message: "two"},
	)
	// What git fetch --depth=1 leaves behind: a file that names where the history ends.
	if err := os.WriteFile(filepath.Join(r.Dir, ".git", "shallow"), []byte(ids[1]+"\n"+ids[2]+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if shallow, err := r.Shallow(t.Context()); err != nil || !shallow {
		t.Errorf("Shallow = %v, %v", shallow, err)
	}
	_, err := r.MergeBase(t.Context(), ids[1], ids[2])
	var unrelated *UnrelatedError
	if !errors.As(err, &unrelated) || !unrelated.Shallow || !strings.Contains(unrelated.Hint(), "--unshallow") {
		t.Errorf("MergeBase in a shallow clone: %v", err)
	}
}

func TestParseCommit(t *testing.T) {
	const id = "0123456789012345678901234567890123456789"
	tests := []struct {
		name, raw, subject string
		date               string
	}{
		{"plain", "tree t\nauthor A <a@x> 1767225600 +0100\ncommitter A <a@x> 1767225600 +0100\n\nsubject\n", "subject", "2026-01-01T00:00:00Z"},
		{"no message", "tree t\nauthor A <a@x> 0 +0000\n\n", "", "1970-01-01T00:00:00Z"},
		{"no empty line", "tree t\nauthor A <a@x> 0 +0000", "", "1970-01-01T00:00:00Z"},
		{"angle brackets in the name", "author A > 5 <a> <a@x> 60 +0000\n\ns", "s", "1970-01-01T00:01:00Z"},
		{"date of another age", "author A <a@x> 99999999999999999999 +0000\n\ns", "s", "0001-01-01T00:00:00Z"},
		{"date after the year 9999", "author A <a@x> 253402300800 +0000\n\ns", "s", "0001-01-01T00:00:00Z"},
		{"no date", "author A <a@x>\n\ns", "s", "0001-01-01T00:00:00Z"},
		{"no author", "tree t\n\ns", "s", "0001-01-01T00:00:00Z"},
		{"header lines in the message", "tree t\nauthor A <a@x> 60 +0000\n\nauthor B <b@x> 120 +0000\nx", "author B <b@x> 120 +0000 x", "1970-01-01T00:01:00Z"},
		{"signed", "tree t\nauthor A <a@x> 60 +0000\ngpgsig -----BEGIN\n author E <e@x> 120 +0000\n -----END\n\ns", "s", "1970-01-01T00:01:00Z"},
		{"not UTF-8", "tree t\nauthor A <a@x> 60 +0000\nencoding ISO-8859-1\n\ncaf\xe9", "caf\ufffd", "1970-01-01T00:01:00Z"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := parseCommit(id, []byte(test.raw))
			if c.ID != id || c.Subject != test.subject || c.AuthorDate.Format(time.RFC3339) != test.date {
				t.Errorf("got %+v", c)
			}
		})
	}
}

// TestBases holds what one process says of many branches against what git says of each.
func TestBases(t *testing.T) {
	r := newRepo(t)
	day := func(n int) time.Time { return time.Date(2026, 11, n, 9, 0, 0, 0, time.UTC) }
	main := write(t, r,
		Draft{Branch: "main", Message: "1", When: day(1), Files: files(map[string]string{"a": "1"})},
		Draft{Branch: "shops/old", From: "main", Message: "overlay", When: day(2), Files: files(map[string]string{"o": "1"})},
		Draft{Branch: "main", Message: "2", When: day(3), Files: files(map[string]string{"a": "2"})},
		Draft{Branch: "main", Message: "3", When: day(4), Files: files(map[string]string{"a": "3"})},
		Draft{Branch: "shops/new", From: "main", Message: "overlay", When: day(5), Files: files(map[string]string{"o": "2"})},
		Draft{Branch: "shops/new", Message: "more", When: day(6), Files: files(map[string]string{"o": "3"})},
		Draft{Branch: "shops/alone", Message: "nothing in common", When: day(6), Files: files(map[string]string{"o": "3"})},
	)
	tip := main[3]
	// A branch that merged main has two ways down.
	merged := git(t, r, "", "-c", "user.name=a", "-c", "user.email=a@example.invalid", "commit-tree", "-m", "merge", "-p", main[1], "-p", main[2], main[1]+"^{tree}")
	commits := []string{main[1], main[5], main[6], tip, merged}
	got, err := r.Bases(t.Context(), tip, commits...)
	if err != nil {
		t.Fatal(err)
	}
	for i, commit := range commits {
		base, _ := r.MainBase(t.Context(), tip, commit)
		behind := git(t, r, "", "rev-list", "--count", commit+".."+tip)
		if got[i].Commit != base || fmt.Sprint(got[i].Behind) != behind {
			t.Errorf("%d: %+v, git says base %q and %s behind", i, got[i], base, behind)
		}
	}
	if !got[0].Since.Equal(day(3)) || !got[1].Since.IsZero() {
		t.Errorf("since %v and %v", got[0].Since, got[1].Since)
	}
	if _, err := r.Bases(t.Context(), "main"); err == nil {
		t.Error("a branch's name passed for a commit")
	}
}

// TestMainBase takes no commit for main that only came there by a merge: a pull request may add something and take it away
// again, and a branch that stands in between is not what main ever was.
func TestMainBase(t *testing.T) {
	r := newRepo(t)
	day := func(n int) time.Time { return time.Date(2026, 11, n, 9, 0, 0, 0, time.UTC) }
	ids := write(t, r,
		Draft{Branch: "main", Message: "1", When: day(1), Files: files(map[string]string{"gate.ts": "locked"})},
		Draft{Branch: "feature", From: "main", Message: "open", When: day(2), Files: files(map[string]string{"gate.ts": "open"})},
		Draft{Branch: "feature", Message: "lock again", When: day(3), Files: files(map[string]string{"gate.ts": "locked"})},
		Draft{Branch: "main", Message: "2", When: day(4), Files: files(map[string]string{"b": "2"})},
		Draft{Branch: "alone", Message: "nothing in common", When: day(5), Files: files(map[string]string{"o": "3"})},
	)
	one, open, locked, two, alone := ids[0], ids[1], ids[2], ids[3], ids[4]
	commit := func(tree string, parents ...string) string {
		args := []string{"-c", "user.name=a", "-c", "user.email=a@example.invalid", "commit-tree", "-m", "merge"}
		for _, p := range parents {
			args = append(args, "-p", p)
		}
		return git(t, r, "", append(args, tree+"^{tree}")...)
	}
	tip := commit(two, two, locked)
	shop := commit(open, open)
	late := commit(tip, shop, tip)
	all := map[string]string{one: one, open: one, locked: one, two: two, tip: tip, shop: one, late: tip, commit(two, open, two): two, alone: ""}
	var commits []string
	for c := range all {
		commits = append(commits, c)
	}
	bases, err := r.Bases(t.Context(), tip, commits...)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range commits {
		got, err := r.MainBase(t.Context(), tip, c)
		if got != all[c] || (err != nil) != (all[c] == "") || bases[i].Commit != all[c] {
			t.Errorf("base of %s: %q, %v, and %q among many; want %q", c, got, err, bases[i].Commit, all[c])
		}
	}
	if base, err := r.MergeBase(t.Context(), tip, shop); err != nil || base != open {
		t.Errorf("git would take %s, %v", base, err)
	}
}

// TestEachTree reads what it can beside a tree that is larger than any memory, made of a few objects.
func TestEachTree(t *testing.T) {
	r := newRepo(t)
	good := write(t, r, Draft{Branch: "main", Message: "1", Files: files(map[string]string{"a": "1"})})[0]
	blob := git(t, r, "x", "hash-object", "-w", "--stdin")
	level, kind := blob, "100644 blob"
	for range 10 {
		var list strings.Builder
		for i := range 10 {
			fmt.Fprintf(&list, "%s %s\tf%d\n", kind, level, i)
		}
		level, kind = git(t, r, list.String(), "mktree"), "040000 tree"
	}
	bomb := git(t, r, "", "-c", "user.name=a", "-c", "user.email=a@example.invalid", "commit-tree", "-m", "bomb", level)
	trees, wrong, err := r.EachTree(t.Context(), bomb, good)
	if err != nil || wrong[1] != nil || len(trees[1]) != 1 {
		t.Fatalf("%v, %v", err, wrong)
	}
	if !errors.As(wrong[0], new(*EntryError)) || trees[0] != nil {
		t.Errorf("the bomb: %v", wrong[0])
	}
}
