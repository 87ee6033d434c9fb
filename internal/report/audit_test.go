package report

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/audit"
	"github.com/kvick/shopfleet/internal/deploy"
)

// audited is a report in which every text that comes from outside is s.
func audited(s string) *audit.Report {
	return &audit.Report{
		At: time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC), Tool: "shopfleet " + s, Main: s, Shops: 2, NotRead: []string{"not " + s},
		Accounts: []audit.Account{{Name: s, ID: s, Error: s}},
		Graph: audit.Graph{
			Workers:   []audit.Node{{Account: s, Type: "worker", ID: s, Name: s, Shop: s}},
			Stores:    []audit.Node{{Account: s, Type: s, ID: "id-" + s, Name: s, Shop: s, Shared: s, Proofs: []string{"name"}, Tag: s, Record: s}},
			Edges:     []audit.Edge{{Account: s, Worker: s, Binding: s, Type: s, ID: "id-" + s}},
			Hostnames: []audit.Hostname{{Account: s, Kind: "route", Pattern: s, Worker: s, Shop: s, Of: []string{s}}},
		},
		Findings: []audit.Finding{{
			Finding: deploy.Finding{Rule: "store-shared", Level: deploy.LevelError, File: s, Line: 3, Message: s, Expected: s, Hint: s},
			Account: s, Shop: s, Worker: s, Resource: s, Others: []string{s},
		}},
	}
}

// TestAuditHostile puts hostile text wherever something comes from outside.
func TestAuditHostile(t *testing.T) {
	for _, evil := range []string{
		`<script>alert(1)</script><img src=x onerror=alert(1)>"'&`, "a\x1b[2Jb", "a\u202eb", "@everyone fixes #1 ``` ~~~ [x](http://evil.example)",
		"a\r\nb\x00c", "</style></td></table><h1>", "<!-- shopfleet:audit -->",
	} {
		r := audited(evil)
		var text, page bytes.Buffer
		if err := Audit(&text, Style{}, r); err != nil {
			t.Fatal(err)
		}
		if err := AuditHTML(&page, r); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"\x1b", "\u202e", "\x00", "\r"} {
			for name, out := range map[string]string{"text": text.String(), "HTML": page.String(), "Markdown": AuditMarkdown(r, 65000)} {
				if strings.Contains(out, bad) {
					t.Errorf("%s of %q holds %q", name, evil, bad)
				}
			}
		}
		elements := regexp.MustCompile(`<(/?[a-z0-9]+)`).FindAllStringSubmatch(page.String(), -1)
		for _, e := range elements {
			switch strings.TrimPrefix(e[1], "/") {
			case "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "table", "thead", "tbody", "tr", "th", "td", "code", "span":
			default:
				t.Errorf("the page of %q has an element %s", evil, e[1])
			}
		}
		if n := strings.Count(page.String(), "<h1>"); n != 1 {
			t.Errorf("the page of %q has %d headings", evil, n)
		}
		if n := strings.Count(page.String(), "</style>"); n != 1 {
			t.Errorf("the page of %q ends its style %d times", evil, n)
		}
		outside := withoutCode(AuditMarkdown(r, 65000))
		for _, bad := range []string{"@everyone", "#1", "](http", "<script", "<img", "<h1", "<!--"} {
			if strings.Contains(outside, bad) {
				t.Errorf("the Markdown of %q has %q outside of code:\n%s", evil, bad, AuditMarkdown(r, 65000))
			}
		}
	}
}

// withoutCode takes code spans and blocks out of Markdown: what stands between two runs of as many backticks.
func withoutCode(s string) string {
	run := regexp.MustCompile("`+")
	out := ""
	for {
		at := run.FindStringIndex(s)
		if at == nil {
			return out + s
		}
		out += s[:at[0]]
		fence, rest := s[at[0]:at[1]], s[at[1]:]
		for {
			end := run.FindStringIndex(rest)
			if end == nil {
				return out + fence
			}
			found := rest[end[0]:end[1]]
			if rest = rest[end[1]:]; found == fence {
				break
			}
		}
		s = rest
	}
}

// TestAuditProof wants nothing to be called isolated that is not, and an audit of one shop to say nothing of the others.
func TestAuditProof(t *testing.T) {
	pages := func(r *audit.Report) string {
		var text, page bytes.Buffer
		if err := Audit(&text, Style{}, r); err != nil {
			t.Fatal(err)
		}
		if err := AuditHTML(&page, r); err != nil {
			t.Fatal(err)
		}
		return text.String() + page.String() + AuditMarkdown(r, 65_000)
	}
	for _, rule := range []string{"store-shared", "store-exposed", "binding-foreign", "owner-mismatch", "hostname-taken", "hostname-shadowed"} {
		r := &audit.Report{Findings: []audit.Finding{{Finding: deploy.Finding{Rule: rule, Level: deploy.LevelError}}}}
		if all := pages(r); strings.Contains(all, "no store is reached") || !strings.Contains(all, "Not isolated: ") {
			t.Errorf("with %s the pages are\n%s", rule, all)
		}
	}
	if all := pages(&audit.Report{}); strings.Count(all, "no store is reached by two shops, no hostname is another") != 3 {
		t.Errorf("without findings the pages are\n%s", all)
	}
	if all := pages(&audit.Report{Only: []string{"swicked"}}); strings.Contains(all, "no store is reached by two shops") ||
		strings.Count(all, "of swicked is another") != 3 || strings.Count(all, "of other shops nothing is said") != 3 {
		t.Errorf("the pages about one shop are\n%s", all)
	}
}

// TestAuditPosition wants the place in the branch on every page, and none where shops have it in different ones.
func TestAuditPosition(t *testing.T) {
	at := func(slug string, line int) audit.Finding {
		return audit.Finding{Shop: slug, Finding: deploy.Finding{Rule: "drift", Level: deploy.LevelError, Message: slug + " differs", File: "wrangler.jsonc", Line: line}}
	}
	for want, list := range map[int][]audit.Finding{1: {at("adler", 7), at("bolt", 7)}, 0: {at("adler", 7), at("bolt", 8)}} {
		r := &audit.Report{Findings: list}
		var text, page bytes.Buffer
		if err := Audit(&text, Style{}, r); err != nil {
			t.Fatal(err)
		}
		if err := AuditHTML(&page, r); err != nil {
			t.Fatal(err)
		}
		if strings.Count(text.String(), "\n      at: wrangler.jsonc:7\n") != want || strings.Count(AuditMarkdown(r, 65_000), "\n  at: wrangler.jsonc:7\n") != want {
			t.Errorf("want the place %d times:\n%s%s", want, text.String(), AuditMarkdown(r, 65_000))
		}
		if !strings.Contains(page.String(), "wrangler.jsonc:7</span>") {
			t.Errorf("the page has no place:\n%s", page.String())
		}
	}
}

// TestAuditGraph holds the tables of the page against the graph: two buckets of one name are two, and a hostname that
// somebody else answers stands out.
func TestAuditGraph(t *testing.T) {
	r := &audit.Report{Graph: audit.Graph{
		Stores: []audit.Node{{Account: "a", Type: "r2_bucket", ID: "files", Name: "files"}, {Account: "a", Type: "r2_bucket", ID: "files", Name: "files", Jurisdiction: "eu"}},
		Edges:  []audit.Edge{{Account: "a", Worker: "helm-bolt", Binding: "FILES", Type: "r2_bucket", ID: "files", Jurisdiction: "eu"}},
		Hostnames: []audit.Hostname{
			{Account: "a", Kind: "custom domain", Pattern: "bolt.example", Worker: "helm-bolt", Shop: "bolt", Of: []string{"bolt"}},
			{Account: "a", Kind: "route", Pattern: "bolt.example/x", Worker: "reports", Of: []string{"bolt"}},
		},
	}}
	var page bytes.Buffer
	if err := AuditHTML(&page, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"<td>files</td><td></td><td></td><td>–</td>", "<td>files (eu)</td><td></td><td></td><td>helm-bolt as FILES</td>",
		"<tr><td>a</td><td>bolt.example</td><td>bolt</td><td>helm-bolt</td><td>bolt</td></tr>",
		`<tr class="hit"><td>a</td><td>route bolt.example/x</td><td>bolt</td><td>reports</td><td>–</td></tr>`,
	} {
		if strings.Count(page.String(), want) != 1 {
			t.Errorf("the page has no %s:\n%s", want, page.String())
		}
	}
}

// TestAuditCauses wants one line for what is the same in many shops, and an issue that GitHub takes.
func TestAuditCauses(t *testing.T) {
	r := &audit.Report{Shops: 500, Accounts: make([]audit.Account, 10)}
	for i := range 500 {
		slug := fmt.Sprintf("shop-%03d", i)
		r.Findings = append(r.Findings, audit.Finding{Account: fmt.Sprintf("account-%d", i/50), Shop: slug, Finding: deploy.Finding{
			Rule: "drift", Level: deploy.LevelWarning, Message: "helm-" + slug + " is not what its branch says: compatibility_date 2025-01-01", Hint: "shopfleet deploy " + slug,
		}})
	}
	var text bytes.Buffer
	if err := Audit(&text, Style{}, r); err != nil {
		t.Fatal(err)
	}
	want := `warning drift (500)
  500 shops (shop-000, shop-001, shop-002, shop-003, shop-004 and 495 more): helm-<shop> is not what its branch says: compatibility_date 2025-01-01
      hint: shopfleet deploy <shop>
500 shops on 10 accounts: 0 errors, 500 warnings, 0 notices
isolated: 0 Workers, 0 stores on 10 accounts: no store is reached by two shops, no hostname is another's
`
	if text.String() != want {
		t.Errorf("the page is\n%swant\n%s", text.String(), want)
	}
	for i := range r.Findings {
		r.Findings[i].Message += fmt.Sprint(" and ", i, strings.Repeat(" x", 200))
	}
	text.Reset()
	if err := Audit(&text, Style{}, r); err != nil || strings.Count(text.String(), "\n") != 1+2*manyCauses+1+2 || !strings.Contains(text.String(), "… and 480 more; --json and --html have all") {
		t.Errorf("many different findings are\n%s%v", text.String(), err)
	}
	issue := AuditMarkdown(r, 65_000)
	if len(issue) > 65_000 || len(issue) < 60_000 || !strings.Contains(issue, "more; `shopfleet audit` lists all.") {
		t.Errorf("the issue has %d bytes", len(issue))
	}
	if title := AuditTitle(r); title != "Audit: 0 errors and 500 warnings" {
		t.Errorf("the title is %q", title)
	}
}
