package command

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
)

// TestNewestRelease wants the newest entry of the journal that has not failed: deployments of others, of another shop and of a
// release that did not pass its gate say nothing of when the live code began.
func TestNewestRelease(t *testing.T) {
	shop := fleet.Shop{Slug: "swicked", Worker: "helm-swicked"}
	at := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	entry := func(slug, version string, ago time.Duration, states ...string) github.History {
		r := deploy.Release{Shop: slug, Worker: "helm-" + slug, Commit: "0123456789abcdef0123456789abcdef0123456" + version, VersionID: version, PlanDigest: version}
		text, err := json.Marshal(struct {
			payload
			Key string `json:"key"`
		}{payload{payloadFormat, r}, r.Key()})
		if err != nil {
			t.Fatal(err)
		}
		h := github.History{Deployment: github.Deployment{SHA: r.Commit, Task: journalTask, Payload: text, Created: at.Add(-ago)}}
		for _, s := range states {
			h.Statuses = append(h.Statuses, github.DeploymentStatus{State: s})
		}
		return h
	}
	others := github.History{Deployment: github.Deployment{SHA: "0", Task: "deploy", Created: at}, Statuses: []github.DeploymentStatus{{State: "success"}}}
	good, older := entry("swicked", "b", time.Hour, "success", "in_progress"), entry("swicked", "a", 2*time.Hour, "success")
	for name, x := range map[string]struct {
		list []github.History
		want string
	}{
		"the newest":          {[]github.History{good, older}, "b"},
		"one that failed":     {[]github.History{entry("swicked", "c", time.Minute, "failure", "in_progress"), good}, "b"},
		"others' deployments": {[]github.History{others, entry("mike", "d", 0, "success"), older}, "a"},
		"one under way":       {[]github.History{entry("swicked", "c", time.Minute, "in_progress"), good}, "c"},
		"none":                {[]github.History{others}, ""},
	} {
		got := newestOf(shop, x.list)
		if got == nil && x.want != "" || got != nil && got.Version != x.want {
			t.Errorf("%s: %+v, want %q", name, got, x.want)
		}
		if got != nil && (got.At.IsZero() || got.Commit == "") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
