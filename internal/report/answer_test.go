package report_test

// Answers to orders as pages, with people's words in them.

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/report"
)

func TestAnswerPages(t *testing.T) {
	help := []report.HelpLine{{Usage: "/rollback [shop] [to <release|version|sha>]", What: "back to the known good release"}, {Usage: "/hold [reason]", What: "keep the shop as it is"}}
	plan := "- back to `1f2e`\n- 12 rows of `orders` are lost\n"
	for name, page := range map[string]string{
		"answer-under-way": report.Answer{Verb: "rollback", Shop: "swicked", By: "bob", Page: "Looking.\n"}.Markdown(),
		"answer-done":      report.Answer{Verb: "rollback", Shop: "swicked", By: "bob", Outcome: "done", Page: plan, Log: "https://github.com/acme/helm/actions/runs/7"}.Markdown(),
		"answer-hostile":   report.Answer{Verb: "hold", Shop: "a`b\n<!-- x -->", By: "@octocat`", Outcome: "failed", Page: "x", Log: "https://evil) [x](https://evil.example"}.Markdown(),
		"answer-help":      report.MarkdownHelp(help, "", ""),
		"answer-wrong":     report.MarkdownHelp(help, "--force`@octocat`\u202e<b>"+strings.Repeat("x", 200), "is no option"),
		"answer-confirm":   report.MarkdownConfirm(plan, "0f1e2d3c", "bob", time.Date(2026, 11, 28, 9, 10, 0, 0, time.UTC)),
	} {
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
		if !bytes.Equal(want, []byte(page)) {
			t.Errorf("%s is\n%s\nwant\n%s", name, page, want)
		}
	}
}
