package git

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// twoSides is a repository whose branches shop and main have both gone on from a common commit.
func twoSides(t *testing.T, shop, main map[string]string) (r *Repository, shopTip, mainTip string) {
	t.Helper()
	r = newRepo(t)
	ids := write(t, r,
		Draft{Branch: "main", Files: files(map[string]string{"a": "1\n", "b": "1\n", "gone": "x\n"})},
		Draft{Branch: "shop", From: "main", Files: files(shop)},
		Draft{Branch: "main", Files: files(main), Remove: []string{"gone"}})
	return r, ids[1], ids[2]
}

func TestMerge(t *testing.T) {
	r, shop, main := twoSides(t, map[string]string{"a": "2\n"}, map[string]string{"b": "2\n"})
	s, err := r.Scratch(t.Context(), filepath.Join(t.TempDir(), "scratch"))
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.Merge(t.Context(), shop, main)
	if err != nil {
		t.Fatal(err)
	}
	trees, err := s.Trees(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, e := range trees[0] {
		paths = append(paths, e.Path)
	}
	a, err := s.Files(t.Context(), "a", id)
	if err != nil || string(a[0].Data) != "2\n" || !slices.Equal(paths, []string{"a", "b"}) {
		t.Errorf("the merge has %q, a is %q, %v", paths, a[0].Data, err)
	}
	if base, err := s.MergeBase(t.Context(), id, main); err != nil || base != main {
		t.Errorf("the merge stands on %s, %v; want %s", base, err, main)
	}
	if again, err := s.Merge(t.Context(), shop, main); err != nil || again != id {
		t.Errorf("merged again it is %s, %v; want %s", again, err, id)
	}
	if _, err := r.Commit(t.Context(), id); err == nil {
		t.Error("the merge was written into the repository itself")
	}
}

func TestMergeConflict(t *testing.T) {
	r, shop, main := twoSides(t, map[string]string{"a": "2\n", "new\n`x`": "1\n"}, map[string]string{"a": "3\n", "new\n`x`": "2\n"})
	s, err := r.Scratch(t.Context(), filepath.Join(t.TempDir(), "scratch"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Merge(t.Context(), shop, main)
	var conflict *ConflictError
	if !errors.As(err, &conflict) || !slices.Equal(conflict.Paths, []string{"a", "new\n`x`"}) {
		t.Errorf("got %v", err)
	}
}

// A clone's configuration and the tree's attributes together may name a program that merges.
func TestMergeRunsNoDriver(t *testing.T) {
	r, shop, main := twoSides(t,
		map[string]string{"a": "2\n", ".gitattributes": "* merge=evil filter=evil\n"},
		map[string]string{"a": "3\n"})
	marker := filepath.Join(t.TempDir(), "ran")
	git(t, r, "", "config", "merge.evil.driver", "touch "+marker)
	git(t, r, "", "config", "filter.evil.smudge", "touch "+marker)
	if err := os.WriteFile(filepath.Join(r.Dir, ".git", "info", "attributes"), []byte("* merge=evil\n"), 0o600); err != nil {
		if err := os.MkdirAll(filepath.Join(r.Dir, ".git", "info"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.Dir, ".git", "info", "attributes"), []byte("* merge=evil\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := r.Scratch(t.Context(), filepath.Join(t.TempDir(), "scratch"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Merge(t.Context(), shop, main); !errors.As(err, new(*ConflictError)) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a program that the clone's configuration names was run")
	}
}
