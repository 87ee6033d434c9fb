package git

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// contents reads a directory back: path → mode and content, links with where they lead.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, file)
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(file)
			got[filepath.ToSlash(name)] = "-> " + target
			return err
		}
		b, err := os.ReadFile(file)
		kind := "file "
		if info.Mode()&0o100 != 0 {
			kind = "exec "
		}
		got[filepath.ToSlash(name)] = kind + string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func extract(t *testing.T, r *Repository, commit string, without ...string) (string, error) {
	t.Helper()
	trees, err := r.Trees(t.Context(), commit)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(t.TempDir(), "deep", "out")
	return dir, r.Extract(t.Context(), trees[0].Without(without...), dir)
}

func TestExtract(t *testing.T) {
	r := newRepo(t)
	binary := make([]byte, 1<<16)
	for i := range binary {
		binary[i] = byte(i * 7)
	}
	want := map[string]string{
		"src/index.ts":          "file export {}\n",
		"src/empty":             "file ",
		"src/ünï \"cödé\"\n.ts": "file odd name",
		"public/logo.png":       "file " + string(binary),
		"-rf":                   "file a name that looks like an option",
		".hidden/.gitignore":    "file *\n",
		".github/workflows/x":   "file y",
		".gitattributes":        "file * text eol=crlf\nkeep.txt ident\nleft-out.txt export-ignore\nsubst.txt export-subst\nutf16.txt working-tree-encoding=UTF-16\n*.dat filter=lfs\n",
		"lf.txt":                "file one\ntwo\n",
		"crlf.txt":              "file one\r\ntwo\r\n",
		"keep.txt":              "file $Id$\n",
		"left-out.txt":          "file still here\n",
		"subst.txt":             "file $Format:%H$\n",
		"utf16.txt":             "file plain\n",
		"big.dat":               "file version https://git-lfs.github.com/spec/v1\n",
	}
	plain := map[string][]byte{"wrangler.jsonc": []byte("{}"), "node_modules/x/y": []byte("z")}
	for path, s := range want {
		plain[path] = []byte(strings.TrimPrefix(s, "file "))
	}
	write(t, r, Draft{Branch: "main", Files: plain})
	fastImport(t, r, "main", "100755", "bin/run.sh", "#!/bin/sh\n")
	fastImport(t, r, "main", "120000", "link", "src/index.ts")
	fastImport(t, r, "main", "120000", "bin/up", "../src/../src")
	commit := fastImport(t, r, "main", "120000", "a/b/c/far", "../../../link")
	want["bin/run.sh"] = "exec #!/bin/sh\n"
	want["link"] = "-> src/index.ts"
	want["a/b/c/far"] = "-> ../../../link"

	_, err := extract(t, r, commit)
	if !errors.As(err, new(*EntryError)) || !strings.Contains(err.Error(), "bin/up") {
		t.Errorf("a link that goes down and up again: %v", err)
	}
	dir, err := extract(t, r, commit, "wrangler.jsonc", "node_modules", "bin/up")
	if err != nil {
		t.Fatal(err)
	}
	got := contents(t, dir)
	for path, w := range want {
		if got[path] != w {
			t.Errorf("%s: got %.60q; want %.60q", path, got[path], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %q\nwant %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

func TestExtractWantsAnEmptyDirectory(t *testing.T) {
	r := newRepo(t)
	id := write(t, r, Draft{Branch: "main", Files: files(map[string]string{"a": "new"})})[0]
	trees, err := r.Trees(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := r.Extract(t.Context(), trees[0], dir); err != nil {
		t.Errorf("into an empty directory: %v", err)
	}
	if err := r.Extract(t.Context(), trees[0], dir); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("into a full directory: %v", err)
	}
	if err := r.Extract(t.Context(), trees[0], filepath.Join(dir, "a")); err == nil {
		t.Error("into a file: no error")
	}
}

// TestExtractRefusesHostileTrees writes trees that git would never make, and looks that nothing of them is written.
func TestExtractRefusesHostileTrees(t *testing.T) {
	r := newRepo(t)
	write(t, r, Draft{Branch: "main", Files: files(map[string]string{"ok": "x"})})
	blob := git(t, r, "x", "hash-object", "-w", "--stdin")
	raw := func(mode, name, id string) string {
		b, err := hex.DecodeString(id)
		if err != nil {
			t.Fatal(err)
		}
		return mode + " " + name + "\x00" + string(b)
	}
	tree := func(entries ...string) string {
		return git(t, r, strings.Join(entries, ""), "hash-object", "-w", "-t", "tree", "--literally", "--stdin")
	}
	link := func(target string) string { return git(t, r, target, "hash-object", "-w", "--stdin") }
	commit := strings.Repeat("1", 40)

	tests := []struct{ name, tree, says string }{
		{"parent", tree(raw("40000", "..", tree(raw("100644", "x", blob)))), "not a path inside"},
		{"parent as a file", tree(raw("100644", "..", blob)), "not a path inside"},
		{"itself", tree(raw("40000", ".", tree(raw("100644", "x", blob)))), "not a path inside"},
		{"no name", tree(raw("100644", "", blob)), "not a path inside"},
		{"slash in a name", tree(raw("100644", "../x", blob)), "not a path inside"},
		{"absolute", tree(raw("100644", "/etc/x", blob)), "not a path inside"},
		{"backslash", tree(raw("100644", `..\x`, blob)), "separator"},
		{".git", tree(raw("40000", ".git", tree(raw("100644", "config", blob)))), "lies in .git"},
		{".git below", tree(raw("40000", "a", tree(raw("40000", ".git", tree(raw("100644", "config", blob)))))), "lies in .git"},
		{".GIT", tree(raw("100644", ".GIT", blob)), "lies in .git"},
		{".git with a dot", tree(raw("100644", ".git.", blob)), "lies in .git"},
		{".git with a blank", tree(raw("100644", ".git ", blob)), "lies in .git"},
		{"short name of .git", tree(raw("100644", "GIT~1", blob)), "lies in .git"},
		{"stream of .git", tree(raw("100644", ".git::$INDEX_ALLOCATION", blob)), "lies in .git"},
		{".git that HFS+ reads", tree(raw("100644", ".g\u200cit", blob)), "lies in .git"},
		{"submodule", tree(raw("160000", "vendor", commit)), "submodule"},
		{"device", tree(raw("20000", "dev", blob)), "entry of mode"},
		{"link out", tree(raw("120000", "l", link("../x"))), "leads out"},
		{"link out from below", tree(raw("40000", "a", tree(raw("120000", "l", link("../../x"))))), "leads out"},
		{"absolute link", tree(raw("120000", "l", link("/etc/passwd"))), "leads out"},
		{"link out through a link", tree(raw("120000", "l", link("e/f/../..")), raw("40000", "e", tree(raw("120000", "f", link(".."))))), "leads out"},
		{"empty link", tree(raw("120000", "l", link(""))), "leads out"},
		{"link with NUL", tree(raw("120000", "l", link("a\x00b"))), "leads out"},
		{"long link", tree(raw("120000", "l", link(strings.Repeat("a/", 3000)))), "4096"},
		{"file twice", tree(raw("100644", "x", blob), raw("100644", "x", blob)), "twice"},
		{"link and directory", tree(raw("120000", "x", link("y")), raw("40000", "x", tree(raw("100644", "z", blob)))), "twice"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir, err := extract(t, r, commitOf(t, r, test.tree))
			var entry *EntryError
			if !errors.As(err, &entry) || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("Extract: %v; want an *EntryError that says %q", err, test.says)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something was written: %v", contents(t, dir))
			}
		})
	}
}

// commitOf makes a commit of a tree that git's own commands would not take.
func commitOf(t *testing.T, r *Repository, tree string) string {
	t.Helper()
	return git(t, r, fmt.Sprintf("tree %s\n\n", tree), "hash-object", "-w", "-t", "commit", "--literally", "--stdin")
}

func TestDamagedTree(t *testing.T) {
	r := newRepo(t)
	for _, raw := range []string{"100644 name", "x name\x00", "100644 name\x00short", "100644"} {
		tree := git(t, r, raw, "hash-object", "-w", "-t", "tree", "--literally", "--stdin")
		entries, err := parseTree([]byte(raw), 20)
		if err == nil {
			t.Errorf("parseTree(%q) = %v", raw, entries)
		}
		if trees, err := r.Trees(t.Context(), commitOf(t, r, tree)); err == nil {
			t.Errorf("Trees of %q = %v", raw, trees)
		}
	}
}

func TestStaysInside(t *testing.T) {
	tests := []struct {
		link, target string
		want         bool
	}{
		{"l", "a", true},
		{"l", "a/b/c", true},
		{"l", ".", true},
		{"l", "./a", true},
		{"a/l", "..", true},
		{"a/l", "../b", true},
		{"a/b/l", "../../c", true},
		{"a/b/l", ".././../c", true},
		{"l", "..", false},
		{"a/l", "../..", false},
		{"a/b/l", "../../..", false},
		{"a/b/l", "../c/..", false},
		{"l", "a/../b", false},
		{"l", "/a", false},
		{"l", "", false},
		{"l", `a\b`, false},
	}
	for _, test := range tests {
		if got := staysInside(test.link, test.target); got != test.want {
			t.Errorf("staysInside(%q, %q) = %v", test.link, test.target, got)
		}
	}
}

// FuzzStaysInside holds the rule for links to what the file system does with them.
func FuzzStaysInside(f *testing.F) {
	f.Add("a/b/l", "../c", "d")
	f.Add("l", "e/f/../..", "..")
	f.Fuzz(func(t *testing.T, link, target, other string) {
		// Two links, the second where the first may lead through it.
		links := map[string]string{link: target, "e/f": other}
		dir, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		top := filepath.Join(dir, "1", "2", "3")
		for name, target := range links {
			e := Entry{Mode: ModeLink, ID: strings.Repeat("0", 40), Path: name}
			if entryProblem(e) != "" || len(name) > 100 || len(target) > 100 || !staysInside(name, target) {
				return
			}
			if os.MkdirAll(filepath.Join(top, filepath.Dir(name)), 0o755) != nil || os.Symlink(target, filepath.Join(top, name)) != nil {
				return
			}
		}
		for name := range links {
			real, err := filepath.EvalSymlinks(filepath.Join(top, name))
			if err == nil && real != top && !strings.HasPrefix(real, top+string(filepath.Separator)) {
				t.Errorf("links %q lead to %s, out of %s", links, real, top)
			}
		}
	})
}
