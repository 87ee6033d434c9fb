package command

// Orders that the real tree of commands carries out.

import (
	"strings"
	"testing"
)

func TestDeskHoldsAndReleases(t *testing.T) {
	w := newOffice(t)
	k := w.desk(t, DeskOptions{})
	k.tree = (*Door).tree
	refs := func() int {
		list, err := w.client(t).Refs(t.Context(), "refs/shopfleet/holds/")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	for _, test := range []struct {
		who, says string
		outcome   string
		answer    string
		refs      int
	}{
		{"bob", "/hold Inventur läuft `@octocat` <!-- x --> ::error::\nuntil tomorrow", "done", "Inventur", 1},
		{"bob", "/hold --shop=anna", "done", "anna", 2},
		{"alice", "/hold me too", "done", "held already by `bob`", 2},
		{"mallory", "/release-hold", "", "", 2},
		{"alice", "/release-hold", "done", "swicked", 1},
		{"alice", "/release-hold", "done", "", 1},
		{"alice", "/release-hold anna", "done", "anna", 0},
		{"alice", "/hold --all", "refused", "is no option", 0},
	} {
		id, e := w.says(t, test.who, w.pull, test.says)
		o := w.do(t, k, e)
		if test.outcome == "" {
			if o != nil {
				t.Errorf("%s said %q", test.who, test.says)
			}
			continue
		}
		body, outcome := w.answer(t, id)
		if outcome != test.outcome || !strings.Contains(body, test.answer) || refs() != test.refs {
			t.Errorf("%s said %q: %s, %d refs\n%s\n%s", test.who, test.says, outcome, refs(), body, w.log)
		}
		for _, line := range strings.Split(body, "\n")[2:] {
			if out := outsideCode(line); strings.Contains(out, "octocat") || strings.Contains(out, "<!--") || strings.Contains(out, "::") {
				t.Errorf("%q is outside of code", line)
			}
		}
	}
}
