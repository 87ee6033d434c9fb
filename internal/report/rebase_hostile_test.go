package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/rebase"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// TestRebaseHostile puts hostile text wherever something comes from outside.
func TestRebaseHostile(t *testing.T) {
	id := strings.Repeat("ab", 20)
	for _, evil := range []string{
		`<script>alert(1)</script></details><img src=x onerror=alert(1)>"'&`, "a\x1b[2Jb", "a\u202eb", "@everyone fixes #1 ``` ~~~ [x](http://evil.example)",
		"a\r\n- [x] land `adler` at `" + id[:12] + "` <!-- land adler " + id + " -->", "<!-- shopfleet:rebase -->", `\|@everyone|\\|@everyone`, "`|`` | @everyone",
	} {
		choice := wrangler.Choice{Key: evil, Base: evil, Main: evil, Shop: evil, Taken: "main"}
		open := choice
		open.Taken = ""
		conflict := rebase.Conflict{Path: evil, Key: evil, Commit: evil, Shop: rebase.Side{Blob: "b"}, Why: evil, Values: []wrangler.Choice{open}}
		m := rebase.Move{Slug: evil, State: rebase.Conflicted, Main: evil, From: evil, To: id, Sorted: evil, Drift: []string{evil}, Kept: evil,
			Commits: []rebase.Carried{{From: evil, To: evil, Subject: evil}}, Dropped: []rebase.Dropped{{Commit: evil, Subject: evil, Why: evil}},
			Choices: []wrangler.Choice{choice}, Conflicts: []rebase.Conflict{conflict}, Replayed: []rebase.Replayed{{Conflict: conflict, Shop: evil}}}
		broken := rebase.Move{Slug: evil, State: rebase.Unusable, Problem: evil}
		clean := rebase.Move{Slug: evil, State: rebase.Clean, To: evil}
		round := rebase.Round{Main: evil, Waiting: evil, Skipped: []string{evil}, Waves: []rebase.Wave{{Name: "the rest", Shops: []rebase.WaveShop{
			{Slug: evil, State: rebase.ShopPerson, Why: evil}, {Slug: evil, State: rebase.ShopFailed, Why: evil}, {Slug: evil, State: rebase.ShopHeld, Why: evil}}}}}
		paused, stopped := round, round
		paused.Paused, stopped.Stopped = &rebase.Command{By: evil}, evil
		clusters := []rebase.Cluster{{Conflict: conflict, Shops: []string{evil, evil}}}
		pages := map[string]string{}
		for name, m := range map[string]rebase.Move{"conflicted": m, "broken": broken, "clean": clean} {
			pages[name] = RebasePull(PullPage{Move: m, Branch: evil, Style: evil, Incoming: []Commit{{evil, evil}}, Overlay: []string{evil}, PlanWhy: evil,
				Findings: []deploy.Finding{{Rule: "odd", Level: deploy.LevelError, Message: evil}}, Same: []string{evil}, Land: evil, Replay: evil})
			if title := RebaseTitle(&m); strings.ContainsAny(title, "\r\n\x1b\u202e") {
				t.Errorf("the title of %q is %q", evil, title)
			}
			for state, r := range map[string]rebase.Round{"": round, " none": {}, " paused": paused, " stopped": stopped} {
				f := FleetPage{Main: evil, Round: r, Moves: []rebase.Move{m}, Clusters: clusters, Pulls: map[string]int{evil: 5}}
				_, pages["fleet "+name+state] = FleetIssue(f)
				pages["run "+name+state] = RebaseMarkdown(f)
			}
		}
		var text bytes.Buffer
		if err := Rebase(&text, Style{}, RebasePage{Landed: []string{evil},
			FleetPage: FleetPage{Main: evil, Moves: []rebase.Move{m, broken, clean}, Clusters: clusters, Round: paused}}); err != nil {
			t.Fatal(err)
		}
		for name, page := range pages {
			if got := ParseChecked(page); got != nil {
				t.Errorf("%s of %q has ticked boxes: %v", name, evil, got)
			}
			outside := withoutCode(page)
			for _, bad := range []string{"@everyone", "#1", "](http", "<script", "<img", "<!--", "[x]"} {
				if strings.Contains(outside, bad) {
					t.Errorf("%s of %q has %q outside of code:\n%s", name, evil, bad, page)
				}
			}
			if strings.Count(outside, "<details>") != strings.Count(outside, "</details>") {
				t.Errorf("%s of %q has details that do not end:\n%s", name, evil, page)
			}
			// GitHub takes a table's row apart at its bars before it looks at code.
			columns := 0
			for line := range strings.Lines(page) {
				if !strings.HasPrefix(line, "|") {
					columns = 0
					continue
				}
				bars := strings.Count(strings.ReplaceAll(strings.ReplaceAll(line, `\\`, ""), `\|`, ""), "|")
				if columns == 0 {
					columns = bars
				}
				if bars != columns {
					t.Errorf("%s of %q has a row of %d columns in a table of %d: %s", name, evil, bars-1, columns-1, line)
				}
			}
		}
		pages["terminal"] = text.String()
		for name, page := range pages {
			for _, bad := range []string{"\x1b", "\u202e", "\x00", "\r"} {
				if strings.Contains(page, bad) {
					t.Errorf("%s of %q holds %q", name, evil, bad)
				}
			}
		}
	}
}
