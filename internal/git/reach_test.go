package git

import (
	"context"
	"slices"
	"testing"
)

func TestReach(t *testing.T) {
	ctx := context.Background()
	r, err := Init(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ids, err := r.Write(ctx,
		Draft{Branch: "main", Message: "one\ttab", Files: map[string][]byte{"a": []byte("1")}},
		Draft{Branch: "main", Message: "two", Files: map[string][]byte{"a": []byte("2")}},
		Draft{Branch: "shop", From: "main", Message: "shop", Files: map[string][]byte{"b\nc": []byte("3")}},
	)
	if err != nil {
		t.Fatal(err)
	}
	// A file that is called as the commit which is asked for next.
	more, err := r.Write(ctx, Draft{Branch: "odd", From: "main", Message: "odd", Files: map[string][]byte{ids[2]: []byte("4"), ":x": []byte("5")}})
	if err != nil {
		t.Fatal(err)
	}

	if got, err := r.NotIn(ctx, []string{ids[2], more[0]}, []string{ids[0]}); err != nil || !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values([]string{ids[1], ids[2], more[0]}))) {
		t.Errorf("NotIn: %v, %v", got, err)
	}
	if got, err := r.NotIn(ctx, nil, ids); err != nil || got != nil {
		t.Errorf("NotIn of nothing: %v, %v", got, err)
	}
	list, err := r.FirstParents(ctx, ids[1], ids[0])
	if err != nil || len(list) != 1 || list[0].ID != ids[1] || list[0].Subject != "two" || list[0].CommitDate.Year() != 2026 {
		t.Errorf("FirstParents: %+v, %v", list, err)
	}
	changed, err := r.ChangedFrom(ctx, ids[1], more[0], ids[2], ids[1], ids[0])
	want := [][]string{{ids[2], ":x"}, {"b\nc"}, nil, {"a"}}
	if err != nil || !slices.EqualFunc(changed, want, func(a, b []string) bool {
		return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
	}) {
		t.Errorf("ChangedFrom: %q, %v; want %q", changed, err, want)
	}
	for _, bad := range []string{"main", "--all", ids[0][:12], ""} {
		if _, err := r.NotIn(ctx, []string{bad}, nil); err == nil {
			t.Errorf("NotIn took %q", bad)
		}
		if _, err := r.FirstParents(ctx, bad, ids[0]); err == nil {
			t.Errorf("FirstParents took %q", bad)
		}
		if _, err := r.ChangedFrom(ctx, ids[0], bad); err == nil {
			t.Errorf("ChangedFrom took %q", bad)
		}
	}
}
