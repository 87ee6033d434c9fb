package report_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/audit"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/report"
)

var statusAt = time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return statusAt.Add(-d) }

// standing is a fleet with one shop of each kind of trouble, and more that are fine.
func standing(fine int) *audit.Status {
	const day = 24 * time.Hour
	sha := func(n int) string { return fmt.Sprintf("%010x%030x", 0xabc0000000+n, n) }
	row := func(n int, slug string) audit.Row {
		return audit.Row{
			Shop: slug, Account: "kvick-" + fmt.Sprint(n%3+1), Hostname: "helm-" + slug + ".kvick.bike", Worker: "helm-" + slug, Branch: "shops/" + slug, Commit: sha(n), Behind: n % 7,
			Since: ago(time.Duration(n%7) * day), SchemaRead: true, Schema: "0064_notes.sql", JournalRead: true,
			Live:    &audit.LiveRelease{Version: fmt.Sprintf("00000000-0000-4000-8000-%012x", n), Commit: sha(n), Released: ago(time.Duration(n%40+1) * time.Hour), By: "alice", Recorded: true, Good: true},
			Health:  audit.Health{Asked: true, OK: true, Status: 200, Millis: int64(20 + n%50), URL: "https://helm-" + slug + ".kvick.bike/healthz"},
			Last:    &audit.LastDeploy{At: ago(time.Duration(n%40+1) * time.Hour), By: "alice", Version: fmt.Sprintf("00000000-0000-4000-8000-%012x", n), State: deploy.StateSuccess, Good: true, Run: "https://github.com/kvick/helm/actions/runs/" + fmt.Sprint(n+1)},
			Secrets: []audit.SecretAge{{Name: "SESSION_KEY", Since: ago(time.Duration(10+n%30) * day), Rotate: 90 * day}},
		}
	}
	s := &audit.Status{
		At: statusAt, Tool: "shopfleet 1.0.0", Main: sha(9999),
		Accounts: []audit.StatusAccount{{Name: "kvick-1", ID: strings.Repeat("1", 32), Calls: 4}, {Name: "kvick-2", ID: strings.Repeat("2", 32), Calls: 4}, {Name: "kvick-3", ID: strings.Repeat("3", 32), Calls: 4}},
	}
	add := func(slug string, change func(*audit.Row)) {
		r := row(len(s.Rows), slug)
		if change != nil {
			change(&r)
		}
		s.Rows = append(s.Rows, r)
	}
	add("adler", func(r *audit.Row) {
		r.Health = audit.Health{Asked: true, Status: 503, Reason: "it answered 503, the policy wants 200"}
	})
	add("bolt", func(r *audit.Row) {
		r.Holds = []audit.StatusHold{{Owner: "bob", Reason: "stock count until Monday", Since: ago(5 * time.Hour), By: "hold"}}
	})
	add("cargo", func(r *audit.Row) { r.Pending, r.Schema = []string{"0065_tags.sql", "0066_more.sql"}, "0064_notes.sql" })
	add("drift", func(r *audit.Row) {
		r.Live.Outside, r.Live.Recorded, r.Live.Good, r.Live.Commit, r.Live.By = true, false, false, "", "carol@kvick.bike"
	})
	add("ember", func(r *audit.Row) {
		r.Live, r.Last = nil, &audit.LastDeploy{At: ago(time.Hour), By: "alice", Version: "v1", State: deploy.StateFailure, Text: "did not pass its gate: it answered 500"}
	})
	add("fixie", func(r *audit.Row) { r.Behind, r.Since = 64, ago(30*day) })
	add("gravel", func(r *audit.Row) { r.Secrets[0].Since = ago(200 * day) })
	add("hub", func(r *audit.Row) {
		r.Live, r.SchemaRead, r.Schema, r.Unread = nil, false, "", []string{"what is live could not be read"}
	})
	add("idler", func(r *audit.Row) {
		r.Problems = []deploy.Finding{{Rule: "binding-not-owned", Level: deploy.LevelError, Message: "R2 binding ASSETS_BUCKET names another shop's bucket", Hint: "bind helm-idler-assets"}}
	})
	for i := range fine {
		add(fmt.Sprintf("shop-%03d", i), nil)
	}
	for i := range s.Accounts {
		for _, r := range s.Rows {
			if r.Account == s.Accounts[i].Name {
				s.Accounts[i].Shops++
			}
		}
	}
	s.Judge()
	return s
}

func TestStatusPages(t *testing.T) {
	s := standing(3)
	one := *s
	one.Only, one.Rows = []string{"bolt"}, nil
	for _, r := range s.Rows {
		if r.Shop == "bolt" {
			one.Rows = append(one.Rows, r)
		}
	}
	var table, single, page bytes.Buffer
	for _, err := range []error{report.Status(&table, report.Style{}, s), report.Status(&single, report.Style{}, &one), report.StatusHTML(&page, s, report.Link{"Costs", "/cost"}, report.Link{"Bad", "javascript:alert(1)"})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// What comes before and after is the shell's, which tests of its own hold to what it promises.
	_, body, _ := strings.Cut(page.String(), "<body>")
	body, _, _ = strings.Cut(body, "<script>")
	for name, got := range map[string]string{
		"status": table.String(), "status-one": single.String(), "status-markdown": report.StatusMarkdown(s, 0), "status-one-markdown": report.StatusMarkdown(&one, 0), "status-html": body,
	} {
		file := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
		}
	}
}

// TestStatusMarkdownFits wants a comment about any fleet to be as short as it must be, to begin with what needs a person, and
// to end what it begins.
func TestStatusMarkdownFits(t *testing.T) {
	s := standing(490)
	for _, most := range []int{1500, 3000, 9000, 30_000, 60_000} {
		got := report.StatusMarkdown(s, most)
		if len(got) > most {
			t.Errorf("%d bytes; at most %d were asked for", len(got), most)
		}
		if strings.Count(got, "<details>") != strings.Count(got, "</details>") {
			t.Errorf("at %d a fold stays open:\n%s", most, got)
		}
		if i, j := strings.Index(got, "adler"), strings.Index(got, "shop-000"); i < 0 || j >= 0 && j < i {
			t.Errorf("at %d what needs a person is not first", most)
		}
		if whole := strings.Contains(got, "shop-489"); whole == strings.Contains(got, "more are not shown here") {
			t.Errorf("at %d the page leaves out something and does not say so, or says so and does not", most)
		}
	}
}
