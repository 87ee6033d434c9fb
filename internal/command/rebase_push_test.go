package command

import (
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/rebase"
)

// Only commits of main and of the shops' branches are pushed, and those that the survey made of them: a commit that came in
// by another way, such as a fork's head, is not, neither as a tip nor below one.
func TestOnlyOurs(t *testing.T) {
	ctx := t.Context()
	repo, err := git.Init(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	draft := func(branch, from string) git.Draft {
		return git.Draft{Branch: branch, From: from, Message: branch, Files: map[string][]byte{branch: []byte("x")}}
	}
	ids, err := repo.Write(ctx, draft("main", ""), draft("shop", "main"), draft("head", "main"), draft("made", "main"), draft("fork", "main"), draft("over", "fork"))
	if err != nil {
		t.Fatal(err)
	}
	main, shop, head, made, fork, over := ids[0], ids[1], ids[2], ids[3], ids[4], ids[5]
	r := &rebasing{
		c:     &checkout{repo: repo, base: main, main: main},
		all:   []rebase.Branch{{Tip: shop, Head: head}},
		moves: []rebase.Move{{Commits: []rebase.Carried{{From: shop, To: made}, {From: shop, To: over}}}},
	}
	for id, ours := range map[string]bool{main: true, shop: true, head: true, made: true, "": true, fork: false, over: false} {
		err := r.onlyOurs(ctx, []git.RefUpdate{{Name: "refs/heads/rebase/anna", After: shop}, {Name: "refs/heads/rebase/bert", After: id}})
		if (err == nil) != ours || !ours && !strings.Contains(err.Error(), fork) {
			t.Errorf("%s: %v", id, err)
		}
	}
}
