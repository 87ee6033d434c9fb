package report

import (
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/deploy"
)

// Whoever says yes to a rollback on GitHub sees what goes back with the code, and what does not.
func TestMarkdownRollback(t *testing.T) {
	plan := &deploy.RollbackPlan{
		Shop: "swicked", Worker: "helm-swicked", Live: "bad", Target: &deploy.Candidate{Release: deploy.Release{VersionID: "good"}, Label: deploy.ReadySafe, Good: true},
		Steps: []deploy.Step{
			{Action: deploy.ActionRelease, Target: "helm-swicked", Before: []string{"bad"}, After: []string{"good"}},
			{Action: deploy.ActionCrons, Target: "helm-swicked", Before: []string{"0 1 * * *"}, After: []string{"0 2 * * *"}},
			{Action: deploy.ActionAttach, Target: "old.kvick.bike", After: []string{"helm-swicked"}},
			{Action: deploy.ActionGate, Target: "helm-swicked.kvick.bike"},
		},
		NotUndone: []string{"rows"},
	}
	page := MarkdownRollback(plan, nil)
	for _, want := range []string{"rollback to version `good`", "**safe: the code alone goes back**", "- with it: `" + plan.Steps[1].String() + "`", "- with it: `" + plan.Steps[2].String() + "`", "- not undone: `rows`"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in\n%s", want, page)
		}
	}
	if n := strings.Count(page, "with it"); n != 2 {
		t.Errorf("%d steps are told twice:\n%s", n-2, page)
	}
}
