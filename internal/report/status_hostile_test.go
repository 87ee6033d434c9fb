package report

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/audit"
	"github.com/kvick/shopfleet/internal/deploy"
)

// TestStatusHostile puts hostile text wherever something comes from outside.
func TestStatusHostile(t *testing.T) {
	at := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	for _, evil := range []string{
		`<script>alert(1)</script><img src=x onerror=alert(1)>"'&`, "a\x1b[2Jb", "a\u202eb", "@everyone fixes #1 ``` ~~~ [x](http://evil.example) | | \\|",
		"a\r\nb\x00c", "</style></script></td></table><h1>", "javascript:alert(1)", `" onmouseover="alert(1)`,
	} {
		row := audit.Row{
			Shop: evil, Account: evil, Hostname: evil, Worker: evil, Branch: evil, Commit: evil, SchemaRead: true, Schema: evil, Pending: []string{evil}, JournalRead: true,
			Live:   &audit.LiveRelease{Version: evil, Commit: evil, Released: at, By: evil},
			Holds:  []audit.StatusHold{{Owner: evil, Reason: evil, By: evil}},
			Health: audit.Health{Asked: true, URL: evil, Reason: evil}, Last: &audit.LastDeploy{At: at, By: evil, Version: evil, Commit: evil, State: deploy.ReleaseState(evil), Text: evil, Run: evil},
			Secrets: []audit.SecretAge{{Name: evil, Since: at.Add(-1000 * time.Hour), Rotate: time.Hour}}, Unread: []string{evil},
			Problems: []deploy.Finding{{Rule: evil, Level: deploy.LevelError, Message: evil, Hint: evil}},
		}
		s := &audit.Status{At: at, Tool: evil, Main: evil, NotRead: []string{evil}, Hold: &audit.StatusHold{Owner: evil, Reason: evil}, Accounts: []audit.StatusAccount{{Name: evil, ID: evil, Error: evil}}, Rows: []audit.Row{row, row, row}}
		s.Judge()
		one := *s
		one.Only, one.Rows = []string{evil}, s.Rows[:1]
		var text, page bytes.Buffer
		for _, err := range []error{Status(&text, Style{}, s), Status(&text, Style{}, &one), StatusHTML(&page, s, Link{evil, evil})} {
			if err != nil {
				t.Fatal(err)
			}
		}
		markdown := StatusMarkdown(s, 0) + StatusMarkdown(&one, 0)
		for name, out := range map[string]string{"text": text.String(), "HTML": page.String(), "Markdown": markdown} {
			for _, bad := range []string{"\x1b", "\u202e", "\x00", "\r"} {
				if strings.Contains(out, bad) {
					t.Errorf("%s of %q holds %q", name, evil, bad)
				}
			}
		}
		body, _, _ := strings.Cut(page.String(), "<script>")
		for _, e := range regexp.MustCompile(`<(/?[a-z0-9]+)`).FindAllStringSubmatch(body, -1) {
			switch strings.TrimPrefix(e[1], "/") {
			case "html", "head", "meta", "title", "style", "body", "nav", "h1", "p", "div", "ul", "li", "b", "br", "a", "label", "input", "button", "caption", "table", "thead", "tbody", "tr", "th", "td", "code", "span", "time":
			default:
				t.Errorf("the page of %q has an element %s", evil, e[1])
			}
		}
		for _, a := range regexp.MustCompile(`<[a-z0-9]+((?: [a-z-]+(?:="[^"]*")?)*)\s*>`).FindAllStringSubmatch(body, -1) {
			for _, name := range regexp.MustCompile(` ([a-z-]+)(?:="([^"]*)")?`).FindAllStringSubmatch(a[1], -1) {
				if strings.HasPrefix(name[1], "on") || name[1] == "style" || name[1] == "href" && !strings.HasPrefix(name[2], "https://") {
					t.Errorf("the page of %q has an attribute %s", evil, name[0])
				}
			}
		}
		if n, m := strings.Count(page.String(), "<script>"), strings.Count(page.String(), "</script>"); n != 1 || m != 1 {
			t.Errorf("the page of %q has %d scripts and ends %d", evil, n, m)
		}
		if strings.Contains(page.String(), "unsafe") || strings.Count(page.String(), PagePolicy()) != 1 {
			t.Errorf("the page of %q has another policy", evil)
		}
		outside := withoutCode(markdown)
		for _, bad := range []string{"@everyone", "#1", "](http", "<script", "<img", "<h1", "<!--"} {
			if strings.Contains(outside, bad) {
				t.Errorf("the Markdown of %q has %q outside of code:\n%s", evil, bad, markdown)
			}
		}
		for line := range strings.Lines(StatusMarkdown(s, 0)) {
			if strings.HasPrefix(line, "| `") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") != 9 {
				t.Errorf("a row of the Markdown of %q has other cells:\n%s", evil, line)
			}
		}
	}
}
