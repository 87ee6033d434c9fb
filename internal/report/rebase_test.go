package report_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/rebase"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/wrangler"
)

func sha(digits string) string { return strings.Repeat(digits, 40/len(digits)) }

var (
	theme    = wrangler.Choice{Key: "env.swicked.vars.THEME", Base: `"dark"`, Main: `"light|er"`, Shop: `"blue"`}
	bindings = rebase.Conflict{Path: "wrangler.jsonc", Key: "k1", Commit: sha("c1"),
		Base: rebase.Side{Mode: 0o100644, Blob: sha("b0")}, Main: rebase.Side{Mode: 0o100644, Blob: sha("b1")}, Shop: rebase.Side{Mode: 0o100644, Blob: sha("b2")},
		Values: []wrangler.Choice{{Key: "d1_databases[DB]", Base: `{"binding":"DB"}`, Shop: `{"binding":"DB","x":1}`}, theme}}
	logo = rebase.Conflict{Path: "shop-overrides/logo.svg", Key: "k2", Commit: sha("c2"), Shop: rebase.Side{Mode: 0o100644, Blob: sha("b3")}, Main: rebase.Side{Mode: 0o100644, Blob: sha("b4")}}
)

func moves() []rebase.Move {
	main, from, to := sha("ab"), sha("f0"), sha("70")
	taken := theme
	taken.Taken = "shop"
	return []rebase.Move{
		{Slug: "adler", State: rebase.Clean, Main: main, From: from, To: to, Commits: []rebase.Carried{{From: from, To: to, Subject: "shop: adler"}}},
		{Slug: "bolt", State: rebase.Conflicted, Main: main, From: from, To: to, Conflicts: []rebase.Conflict{bindings, logo}},
		{Slug: "chain", State: rebase.Conflicted, Main: main, From: from, To: to, Conflicts: []rebase.Conflict{bindings}},
		{Slug: "dyno", State: rebase.Resolved, Main: main, From: from, To: sha("d1"), Choices: []wrangler.Choice{taken},
			Replayed: []rebase.Replayed{{Conflict: logo, Shop: "adler"}}, Commits: []rebase.Carried{{From: from, To: sha("d1"), Subject: "a theme"}},
			Dropped: []rebase.Dropped{{Commit: sha("e1"), Subject: "same fix", Why: "main has it"}}},
		{Slug: "etape", State: rebase.Diverged, Main: main, From: from, To: sha("e2"), Sorted: "main was merged by hand twice", Touched: true, Commits: []rebase.Carried{{To: sha("e2"), Subject: "keep what was merged by hand"}}},
		{Slug: "fixie", State: rebase.Drifted, Main: main, From: from, To: sha("f2"), Drift: []string{"src/index.ts", "a\nb"}},
		{Slug: "gravel", State: rebase.Unusable, Main: main, From: from, Problem: "the branch has no commit in common with main"},
		{Slug: "hub", State: rebase.Current, Main: main, From: from, To: from},
	}
}

func clusters() []rebase.Cluster {
	return []rebase.Cluster{{Conflict: bindings, Shops: []string{"bolt", "chain"}}, {Conflict: logo, Shops: []string{"bolt"}}}
}

func round() rebase.Round {
	at := time.Date(2026, 11, 30, 9, 17, 0, 0, time.UTC)
	return rebase.Round{Main: sha("ab"), Waiting: "people, for 5 shops", Skipped: []string{"idler"}, Waves: []rebase.Wave{
		{Name: "canaries", Open: true, BakedAt: at, Shops: []rebase.WaveShop{{Slug: "hub", State: rebase.ShopPassed}, {Slug: "idler", State: rebase.ShopSkipped}}},
		{Name: "10 %", Open: true, Shops: []rebase.WaveShop{{Slug: "adler", State: rebase.ShopReady},
			{Slug: "bolt", State: rebase.ShopPerson, Why: "conflicts are not resolved"}, {Slug: "chain", State: rebase.ShopPerson, Why: "conflicts are not resolved"},
			{Slug: "dyno", State: rebase.ShopPerson, Why: "main and the shop gave the same keys different values"}}},
		{Name: "the rest", Shops: []rebase.WaveShop{{Slug: "etape", State: rebase.ShopWaiting, Why: "checks have no result yet"},
			{Slug: "fixie", State: rebase.ShopPerson, Why: "it changes files that are main's"}, {Slug: "gravel", State: rebase.ShopPerson, Why: "the branch has no commit in common with main"},
			{Slug: "joey", State: rebase.ShopFailed, Why: "the gate did not pass"}, {Slug: "knob", State: rebase.ShopHeld, Why: "label hold"}, {Slug: "lug", State: rebase.ShopLanded}}},
	}}
}

var pulls = map[string]int{"bolt": 12, "dyno": 14, "etape": 15, "fixie": 17, "joey": 16}

func pull(m rebase.Move) report.PullPage {
	return report.PullPage{Move: m, Branch: "shops/" + m.Slug, Style: fleet.StyleRebase, Land: fleet.LandGreen, Replay: fleet.ReplayOffer,
		Incoming: []report.Commit{{ID: sha("ab"), Subject: "checkout: rounds up"}, {ID: sha("ac"), Subject: "fix `#12` for @all"}},
		Overlay:  []string{"shop-overrides/logo.svg", "wrangler.jsonc: env." + m.Slug + " is new"}, Same: []string{"chain"},
		Plan: &deploy.Plan{Shop: m.Slug, Worker: "helm-" + m.Slug, Steps: []deploy.Step{{Action: deploy.ActionMigrate, Target: "db", After: []string{"002.sql"}}},
			Migrations: []deploy.MigrationPlan{{File: "002.sql", Phase: "expand", Changes: []string{"creates table gifts"}}}},
		Findings: []deploy.Finding{{Rule: "odd", Level: "warning", Message: "odd"}}}
}

func TestRebasePages(t *testing.T) {
	r, m := round(), moves()
	paused, stopped := round(), round()
	paused.Paused = &rebase.Command{Verb: "pause", By: "ann`e", At: time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)}
	stopped.Stopped = "1 release failed: joey"
	issue := func(p report.FleetPage) string {
		title, body := report.FleetIssue(p)
		return title + "\n\n" + body
	}
	whole := report.FleetPage{Main: sha("ab"), Moves: m, Clusters: clusters(), Round: r, Pulls: pulls, At: time.Date(2026, 11, 30, 9, 18, 0, 0, time.UTC)}
	unplanned := whole
	unplanned.Round = rebase.Round{}
	quiet := report.FleetPage{Main: sha("ab"), Moves: m[:1], Round: paused}
	done := report.FleetPage{Main: sha("ab"), Moves: m[7:], Round: rebase.Round{Done: true}}
	merging := pull(m[0])
	merging.Style, merging.Plan, merging.PlanWhy = fleet.StyleMerging, nil, "the account could not be read"
	terminal := func(p report.RebasePage) string {
		var b bytes.Buffer
		if err := report.Rebase(&b, report.Style{}, p); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for name, page := range map[string]string{
		"rebase-terminal": terminal(report.RebasePage{FleetPage: whole, Pushed: []string{"adler", "bolt"}, Landed: []string{"hub: aa → bb"}}) + "---\n" +
			terminal(report.RebasePage{FleetPage: quiet, Dry: true}) + "---\n" + terminal(report.RebasePage{FleetPage: done}),
		"rebase-run":        report.RebaseMarkdown(whole) + "\n---\n" + report.RebaseMarkdown(unplanned) + "\n---\n" + report.RebaseMarkdown(done),
		"rebase-conflicted": report.RebaseTitle(&m[1]) + "\n\n" + report.RebasePull(pull(m[1])),
		"rebase-resolved":   report.RebaseTitle(&m[3]) + "\n\n" + report.RebasePull(pull(m[3])),
		"rebase-diverged":   report.RebaseTitle(&m[4]) + "\n\n" + report.RebasePull(pull(m[4])),
		"rebase-drifted":    report.RebaseTitle(&m[5]) + "\n\n" + report.RebasePull(pull(m[5])),
		"rebase-clean":      report.RebaseTitle(&m[0]) + "\n\n" + report.RebasePull(merging),
		"rebase-fleet": issue(whole) + "\n---\n" + issue(unplanned) + "\n---\n" + issue(quiet) + "\n---\n" +
			issue(report.FleetPage{Main: sha("ab"), Round: stopped}) + "\n---\n" + issue(done),
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if page != string(want) {
				t.Errorf("page is\n%s\nwant\n%s", page, want)
			}
		})
	}
}

// A box that is ticked on the page is read as what it says, and nothing else is read.
func TestRebaseBoxes(t *testing.T) {
	page := report.FleetPage{Main: sha("ab"), Round: round(), Moves: moves(), Pulls: pulls, Clusters: clusters()}
	_, body := report.FleetIssue(page)
	if got := report.ParseChecked(body); got != nil {
		t.Errorf("nothing is ticked, and %v is read", got)
	}
	ticked := strings.ReplaceAll(strings.ReplaceAll(body, "- [ ] ", "- [x] "), "\n", "\r\n")
	want := []report.Checked{{Verb: "land", Slug: "dyno", SHA: sha("d1")}, {Verb: "land", Slug: "fixie", SHA: sha("f2")}}
	if got := report.ParseChecked(ticked); !slices.Equal(got, want) {
		t.Errorf("read %v, want %v, of\n%s", got, want, ticked)
	}
	good := "- [x] land `dyno` at `" + sha("d1")[:12] + "` (#1) <!-- land dyno " + sha("d1") + " -->"
	if got := report.ParseChecked("text\n" + good + "\n" + good); !slices.Equal(got, want[:1]) {
		t.Errorf("read %v", got)
	}
	for _, bad := range []string{
		strings.Replace(good, "[x]", "[ ]", 1), strings.Replace(good, "- ", "  - ", 1), strings.Replace(good, "- ", "> - ", 1), good + " ", good + "x",
		strings.Replace(good, "`dyno`", "`fixie`", 1), strings.Replace(good, "<!-- land dyno", "<!-- land fixie", 1), strings.Replace(good, "<!-- land", "<!-- skip", 1),
		strings.Replace(good, "land `", "skip `", 1), strings.Replace(good, sha("d1"), sha("d2"), 1), strings.Replace(good, sha("d1"), sha("d1")[:39], 1),
		strings.Replace(good, "(#1)", "<!-- land adler "+sha("00")+" --> ", 1), strings.ReplaceAll(good, "dyno", "Dyno"), strings.ReplaceAll(good, "dyno", "-dyno"),
		"```\n" + good + "\n```", "~~~~text\n" + good, "````\n```\n" + good, strings.ToUpper(good),
	} {
		if got := report.ParseChecked(bad); got != nil {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
}

// A page is never longer than GitHub takes, and says what it leaves out; the decision and the commands stay.
func TestRebasePagesAreShort(t *testing.T) {
	many := moves()[3]
	long := strings.Repeat("ä|`\\", 3000)
	for i := range 3000 {
		c := bindings
		c.Path, c.Values = fmt.Sprint(i, long), []wrangler.Choice{{Key: long, Base: long, Main: long, Shop: long}}
		many.Conflicts = append(many.Conflicts, c)
		many.Choices = append(many.Choices, wrangler.Choice{Key: long, Main: long, Shop: long, Taken: "main"})
		many.Replayed = append(many.Replayed, rebase.Replayed{Conflict: c, Shop: "adler"})
		many.Drift = append(many.Drift, c.Path)
		many.Commits = append(many.Commits, rebase.Carried{From: sha("a1"), To: sha("a2"), Subject: long})
		many.Dropped = append(many.Dropped, rebase.Dropped{Commit: sha("a1"), Subject: long, Why: "merge"})
	}
	p := pull(many)
	for range 3000 {
		p.Incoming = append(p.Incoming, report.Commit{ID: sha("a1"), Subject: long})
		p.Overlay = append(p.Overlay, long)
		p.Findings = append(p.Findings, deploy.Finding{Rule: "odd", Level: "error", Message: "odd"})
	}
	p.PlanWhy, p.Same = long, strings.Split(long, "|")
	text := report.RebasePull(p)
	if len(text) > 64_000 || !strings.Contains(text, "### To decide") || !strings.Contains(text, "`rebase/manual`") || !strings.Contains(text, "more; `shopfleet rebase --json` has all.") ||
		!strings.Contains(text, "### The plan\n\nLeft out") || !strings.Contains(text, "and 2972 more") {
		t.Errorf("%d bytes:\n%s", len(text), text[:min(len(text), 3000)])
	}

	page := report.FleetPage{Main: sha("ab"), Round: rebase.Round{Waves: []rebase.Wave{{Name: "the rest", Open: true}}}}
	for i := range 2000 {
		m := moves()[3]
		m.Slug = fmt.Sprintf("shop-%d", i)
		page.Moves = append(page.Moves, m)
		page.Round.Waves[0].Shops = append(page.Round.Waves[0].Shops, rebase.WaveShop{Slug: m.Slug, State: rebase.ShopPerson, Why: long})
	}
	page.Pulls = map[string]int{"shop-7": 8}
	title, body := report.FleetIssue(page)
	if len(body) > 64_000 || title != "Rebase: 2000 open decisions" || !strings.Contains(body, "more; `shopfleet rebase` lists all.") || !strings.Contains(body, "`/pause`") || !strings.Contains(body, "- [ ] land `shop-7`") {
		t.Errorf("%s: %d bytes:\n%s", title, len(body), body[:3000])
	}
	if text := report.RebaseMarkdown(page); len(text) > 64_000 || strings.Contains(text, "<!--") {
		t.Errorf("%d bytes:\n%s", len(text), text[:3000])
	}
}

// The issue is open for as long as somebody has to decide or a round is under way.
func TestFleetPageOpen(t *testing.T) {
	m := moves()
	for _, c := range []struct {
		page report.FleetPage
		want bool
	}{
		{report.FleetPage{}, false},
		{report.FleetPage{Moves: m[:1]}, false},
		{report.FleetPage{Moves: m[:1], Policy: fleet.Rebase{Land: fleet.LandManual}}, true},
		{report.FleetPage{Moves: m[7:], Policy: fleet.Rebase{Land: fleet.LandManual}}, false},
		{report.FleetPage{Moves: []rebase.Move{{Slug: "a", State: rebase.Drifted, From: sha("ab"), To: sha("ab"), Drift: []string{"x"}}}}, false},
		{report.FleetPage{Moves: m[1:2]}, true},
		{report.FleetPage{Moves: m[7:], Round: rebase.Round{Done: true, Waves: round().Waves[:1]}}, false},
		{report.FleetPage{Moves: m[7:], Round: rebase.Round{Waves: round().Waves[:1]}}, true},
		{report.FleetPage{Moves: m, Round: rebase.Round{Done: true, Waves: round().Waves}}, true},
	} {
		if got := c.page.Open(); got != c.want {
			t.Errorf("%v is open: %v", c.page, got)
		}
	}
}

func FuzzParseChecked(f *testing.F) {
	_, body := report.FleetIssue(report.FleetPage{Main: sha("ab"), Round: round(), Moves: moves(), Clusters: clusters()})
	f.Add(strings.ReplaceAll(body, "[ ]", "[x]"))
	f.Add("- [x] land `a` at `000000000000`<!-- --> <!-- land a " + sha("0") + " -->\r\n```")
	f.Fuzz(func(t *testing.T, s string) {
		seen := map[report.Checked]bool{}
		for _, c := range report.ParseChecked(s) {
			if c.Verb != "land" || fleet.CheckSlug(c.Slug) != nil || len(c.SHA) != 40 || strings.Trim(c.SHA, "0123456789abcdef") != "" || seen[c] {
				t.Errorf("%q is read as %v", s, c)
			}
			seen[c] = true
			if !strings.Contains(s, fmt.Sprintf("] land `%s` at `%s`", c.Slug, c.SHA[:12])) || !strings.Contains(s, fmt.Sprintf("<!-- land %s %s -->", c.Slug, c.SHA)) {
				t.Errorf("%q does not say %v", s, c)
			}
		}
	})
}
