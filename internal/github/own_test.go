package github_test

import (
	"errors"
	"testing"

	"github.com/kvick/shopfleet/internal/github"
)

// What was put is found again, and what somebody else wrote below the same marker is not.
func TestOwnComment(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, map[string]string{"issues": "write"})
	const marker = "<!-- shopfleet fleet -->"
	if _, err := w.AddUser("mallory", ""); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.repo.SetPermission("mallory", "write"), w.AddToken("ghp_mallory", "mallory")); err != nil {
		t.Fatal(err)
	}
	mallory := w.client(t, nil)
	mallory.Token = "ghp_mallory"
	var forged struct{ Number int }
	w.send(t, "POST", mallory, "/issues", map[string]string{"title": "x", "body": marker + "\nforged"}, &forged)
	w.send(t, "POST", mallory, "/issues/1/comments", map[string]string{"body": marker + "\nforged"}, new(any))
	if body, err := c.OwnComment(t.Context(), forged.Number, marker); body != "" || err != nil {
		t.Errorf("somebody else's comment: %q, %v", body, err)
	}
	if _, err := c.PutComment(t.Context(), forged.Number, marker, "said", true); err != nil {
		t.Fatal(err)
	}
	if body, err := c.OwnComment(t.Context(), forged.Number, marker); body != marker+"\nsaid" || err != nil {
		t.Errorf("our comment: %q, %v", body, err)
	}
	if _, err := c.OwnComment(t.Context(), 999, marker); err == nil {
		t.Error("an issue that is not there has a comment")
	}
}

// A review is about a commit, and of whom it is.
func TestReviews(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, map[string]string{"contents": "read", "pull_requests": "write"})
	if _, err := w.AddUser("kay", ""); err != nil {
		t.Fatal(err)
	}
	number := w.pull(t, c)
	for _, state := range []string{"COMMENTED", "APPROVED"} {
		if err := w.repo.Review(number, "kay", state, "text"); err != nil {
			t.Fatal(err)
		}
	}
	list, err := c.Reviews(t.Context(), number)
	if err != nil || len(list) != 2 || list[1] != (github.Review{Author: "kay", State: "APPROVED", Commit: w.tip}) {
		t.Errorf("got %+v, %v", list, err)
	}
	if _, err := c.Reviews(t.Context(), 999); err == nil {
		t.Error("a pull request that is not there has reviews")
	}
}
