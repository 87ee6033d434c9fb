package report_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/report"
)

var update = flag.Bool("update", false, "rewrite the pages in testdata")

func TestPages(t *testing.T) {
	findings := []deploy.Finding{
		{Rule: "binding-not-owned", Level: "error", File: "wrangler.jsonc", Line: 12, Column: 7, Message: "R2 binding ASSETS names \x1b[31mbucket\u202e",
			Expected: "helm-swicked-assets", Hint: "bind the shop's own\r\nor declare it", Source: "\t\t\"bucket_name\": \"helm-other\","},
		{Rule: "code", Level: "warning", File: "src/long.ts", Line: 1, Column: 300, Message: "far to the right", Source: strings.Repeat("x", 299) + "!" + strings.Repeat("y", 300)},
		{Rule: "secret-missing", Level: "error", Message: "no secret A"},
		{Rule: "odd", Level: "notice", File: "a", Line: 3, Column: 99, Message: "a column beyond the line", Source: "short"},
	}
	hostile := []deploy.Finding{{Rule: "migration-failed", Level: "error", File: "migrations/a,b::error::c\n%.sql", Line: 2, Column: 4, Source: "éé bad",
		Message: "first\r\n::set-output name=x::y 100 %", Hint: "mend it"}}
	plan := &deploy.Plan{Shop: "swicked", Worker: "helm-swicked", Commit: strings.Repeat("ab", 20), Mark: "sf-1", Basis: "b", Live: "v1",
		Steps: []deploy.Step{
			{Action: deploy.ActionBookmark, Target: "db"}, {Action: deploy.ActionAssets, Target: "helm-swicked"},
			{Action: deploy.ActionSubdomain, Target: "helm-swicked", After: []string{"off"}},
			{Action: deploy.ActionUpload, Target: "helm-swicked"}, {Action: deploy.ActionMigrate, Target: "db", After: []string{"001.sql", "002.sql"}},
			{Action: deploy.ActionRelease, Target: "helm-swicked", Before: []string{"v1"}}, {Action: deploy.ActionPut, Target: "helm-swicked"},
			{Action: deploy.ActionSettings, Target: "helm-swicked", After: []string{"tags"}},
			{Action: deploy.ActionCrons, Target: "helm-swicked", Before: []string{"* * * * *"}}, {Action: deploy.ActionAttach, Target: "helm-swicked", After: []string{"h"}},
			{Action: deploy.ActionDetach, Target: "old.kvick.bike"}, {Action: deploy.ActionRoutes, Target: "helm-swicked", After: []string{"h/*"}},
			{Action: deploy.ActionGate, Target: "h"}, {Action: deploy.ActionContract, Target: "db", After: []string{"003.sql"}},
		},
		Migrations: []deploy.MigrationPlan{
			{File: "001.sql", Phase: "expand", Changes: []string{"creates table gifts", "adds column customers.points"}}, {File: "002.sql", Phase: "expand"},
			{File: "003.sql", Phase: "contract", Changes: []string{"drops table \x1b[1mnotes"}, Reason: "nobody reads it\u202e"},
		}}
	outcome := &deploy.Outcome{Shop: "swicked", Changed: true, VersionID: "v2", PreviousVersionID: "v1", Bookmark: "b1", Migrations: []string{"001.sql"}, MigrationsElsewhere: []string{"002.sql"}, SchemaBefore: "aa", SchemaAfter: "bb",
		URL: "https://h", Gate: deploy.GateResult{Passed: true, Tries: 1}, Duration: 1234567 * time.Microsecond, Calls: 9, Writes: 7}
	restored := *outcome
	restored.Restored, restored.VersionID, restored.NotUndone = "v1", "v1", []string{"migrations (bookmark b1)"}
	restored.Gate = deploy.GateResult{URL: "https://h/x", Tries: 3, Reason: "it answered 500"}
	at := time.Date(2026, 11, 23, 9, 2, 0, 999_000_000, time.UTC)
	restore := &deploy.RestorePlan{Shop: "swicked", Worker: "helm-swicked", Database: "db", DatabaseID: "id", Bookmark: "b1", At: at, Release: "v1", Live: "v2", Present: "b2", Made: at.Add(time.Hour),
		Losses: []deploy.Loss{
			{Table: "bikes\x1b[31m", Rows: 40, Known: deploy.Exact, By: "created_at"}, {Table: "colors", Rows: 12, Known: deploy.Unknown},
			{Table: "items", Rows: 12345, Made: 7, Known: deploy.AtLeast, By: "sale_id"}, {Table: "größen", Rows: 3, Made: 3, Known: deploy.AtMost, By: "updated_at"},
			{Table: "orders", Rows: 9, Known: deploy.Exact, By: "created_at", Changed: 2}, {Table: "sales", Rows: 900, Made: 3, Known: deploy.Exact, By: "sold_at"},
		},
		Migrations: []deploy.UndoneMigration{{Name: "002.sql", AppliedAt: "2026-11-23 09:02:00"}, {Name: "003.sql", AppliedAt: "2026-11-23 09:30:00", Sure: true}},
		NotUndone:  []string{"code: version v2 stays live", "files in R2 bucket b"},
		Findings:   []deploy.Finding{{Rule: "restore-undoes-migrations", Level: "warning", Message: "undoes 003.sql", Hint: "release first"}},
	}
	nothing := &deploy.RestorePlan{Shop: "swicked", Database: "db", Bookmark: "b2", Present: "b2", At: at}
	undo := &deploy.Restored{Shop: "swicked", Database: "db", Changed: true, Target: "b1", Undo: "b2", Adopted: true, Duration: time.Second}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"findings": func(b *bytes.Buffer) error { return report.Findings(b, report.Style{}, findings) },
		"color":    func(b *bytes.Buffer) error { return report.Findings(b, report.Style{Color: true}, findings[:1]) },
		"plan":     func(b *bytes.Buffer) error { return report.Plan(b, report.Style{}, plan) },
		"unchanged": func(b *bytes.Buffer) error {
			return report.Plan(b, report.Style{}, &deploy.Plan{Shop: "s", Worker: "w"})
		},
		"released": func(b *bytes.Buffer) error { return report.Outcome(b, report.Style{}, outcome) },
		"restored": func(b *bytes.Buffer) error { return report.Outcome(b, report.Style{}, &restored) },
		"restore": func(b *bytes.Buffer) error {
			return errors.Join(report.RestorePlan(b, report.Style{}, restore), report.RestorePlan(b, report.Style{}, nothing),
				report.Restored(b, report.Style{}, undo), report.Restored(b, report.Style{}, &deploy.Restored{Shop: "swicked", Database: "db"}))
		},
		"json":        func(b *bytes.Buffer) error { return report.JSON(b, outcome) },
		"sarif":       func(b *bytes.Buffer) error { return report.SARIF(b, "1.2.3", append(hostile, findings...)) },
		"sarif-empty": func(b *bytes.Buffer) error { return report.SARIF(b, "1.2.3", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("page is\n%s\nwant\n%s", b.String(), want)
			}
		})
	}
}

func FuzzClean(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b]0;title\x07\u202e\u2066\r\n")
	f.Add("\xff\xfe")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range report.Clean(s) {
			if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
				t.Errorf("%q keeps %U", s, r)
			}
		}
	})
}

// The summary of a deploy that stopped names nothing as done that was not.
func TestMarkdownOutcomeOfStoppedDeploys(t *testing.T) {
	crons := deploy.Step{Action: deploy.ActionCrons, Target: "helm-swicked", Before: []string{"1 1 * * *"}, After: []string{"2 2 * * *"}}
	release := &deploy.Plan{Steps: []deploy.Step{{Action: deploy.ActionUpload}, {Action: deploy.ActionRelease}, crons}}
	around := &deploy.Plan{Steps: []deploy.Step{crons}}
	asked, failed := deploy.GateResult{Passed: true, Tries: 1}, deploy.GateResult{Tries: 2, Reason: "it answered 500"}
	for name, tt := range map[string]struct {
		plan    *deploy.Plan
		outcome deploy.Outcome
		want    string
		crons   bool
	}{
		"released":         {release, deploy.Outcome{PreviousVersionID: "v1", VersionID: "v2", Uploaded: "v2", Gate: asked}, "is version `v2`, in place of `v1`", true},
		"assets only":      {release, deploy.Outcome{PreviousVersionID: "v1", VersionID: "v1"}, "version `v1` takes the traffic as before; commit `c` is not released", false},
		"uploaded only":    {release, deploy.Outcome{PreviousVersionID: "v1", VersionID: "v1", Uploaded: "v2"}, "is uploaded as `v2` and takes none", false},
		"restored":         {release, deploy.Outcome{PreviousVersionID: "v1", VersionID: "v1", Uploaded: "v2", Restored: "v1", Gate: failed}, "version `v1` is live again", false},
		"crons":            {around, deploy.Outcome{PreviousVersionID: "v1", VersionID: "v1", Gate: asked}, "version `v1` stays; commit `c` changed", true},
		"crons, cancelled": {around, deploy.Outcome{PreviousVersionID: "v1", VersionID: "v1"}, "is not finished", false},
	} {
		tt.outcome.Changed, tt.outcome.Commit = true, "c"
		page := report.MarkdownOutcome(tt.plan, &tt.outcome)
		if !strings.Contains(page, tt.want) || strings.Contains(page, "2 2 * * *") != tt.crons {
			t.Errorf("%s: %s", name, page)
		}
	}
}
