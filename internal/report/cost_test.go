package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cost"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

var costAt = time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)

// priced is a report about a fleet of n shops, of which the first is over its budget and the second reads more since its
// release.
func priced(t testing.TB, n int) *cost.Report {
	t.Helper()
	policy, err := fleet.Parse("fleet.yml", []byte("product: helm\nnaming:\n  branch: shops/{slug}\n  worker: helm-{slug}\n  d1: helm-{slug}-db\n  r2: helm-{slug}-assets\n  kv: helm-{slug}-kv\n"+
		"  hostname: helm-{slug}.kvick.bike\naccounts:\n  kvick-1:\n    id: 7f3a0c5e9b1d4826a0e4c2d8f6b19357\n    zone: kvick.bike\nbuild_info:\n  path: public/build_info.json\n"))
	if err != nil {
		t.Fatal(err)
	}
	in := cost.Input{Policy: policy, Prices: cost.Prices(), At: costAt, From: costAt.AddDate(0, 0, -29).Truncate(24 * time.Hour), Tool: "shopfleet test"}
	reading := &cost.Reading{Account: policy.Accounts[0], Calls: 8, Hours: map[string]map[time.Time]cost.Hour{}}
	release := costAt.Add(-26 * time.Hour)
	for i := range n {
		shop, err := policy.Shop(fmt.Sprintf("shop-%03d", i))
		if err != nil {
			t.Fatal(err)
		}
		x := cost.Shop{Shop: shop, Crons: 3}
		if i == 1 {
			x.Release = &cost.Release{At: release, Commit: "0123456789abcdef0123456789abcdef01234567"}
			hours := map[time.Time]cost.Hour{}
			for h := range 9 * 24 {
				at := costAt.Add(-time.Duration(h) * time.Hour)
				rows := 20.0
				if at.After(release) {
					rows = 420
				}
				hours[at] = cost.Hour{Requests: 100, RowsRead: 100 * rows}
			}
			reading.Hours[shop.Worker] = hours
		}
		in.Shops = append(in.Shops, x)
		for d := range 30 {
			requests := float64(40_000 + 1000*d)
			if i == 0 {
				requests *= 10
			}
			date := costAt.AddDate(0, 0, -d).Format(time.DateOnly)
			reading.Uses = append(reading.Uses, cost.Use{Kind: cost.Worker, Name: shop.Worker, Date: date, Meter: cost.WorkerRequests, Amount: requests},
				cost.Use{Kind: cost.Database, Name: shop.D1, Date: date, Meter: cost.D1RowsRead, Amount: requests * 20},
				cost.Use{Kind: cost.Bucket, Name: shop.R2, Date: date, Meter: cost.R2Storage, Amount: 5e9},
				cost.Use{Kind: cost.Gateway, Name: shop.Worker, Date: date, Meter: cost.AIGateway, Amount: 100_000})
		}
	}
	reading.Charges = nil
	in.Readings = []*cost.Reading{reading}
	return cost.Judge(in)
}

// Priced is priced, for tests of the browser.
func Priced(t testing.TB, n int) *cost.Report { return priced(t, n) }

func TestCostPages(t *testing.T) {
	r := priced(t, 40)
	var text, page bytes.Buffer
	var history []cost.Entry
	for week := range 3 {
		then := *r
		then.At = r.At.Add(-time.Duration(2-week) * 7 * 24 * time.Hour)
		var err error
		if history, err = cost.Remember(history, &then); err != nil {
			t.Fatal(err)
		}
	}
	if err := Cost(&text, Style{}, r); err != nil {
		t.Fatal(err)
	}
	if err := CostHTML(&page, r, history); err != nil {
		t.Fatal(err)
	}
	markdown := CostMarkdown(r, 0)
	total := fmt.Sprintf("40 shops: %s a month, and %s through AI gateways; 1 is over its budget", r.Shops[0].Total+sumFrom(r, 1), sumAI(r))
	for what, x := range map[string][2]string{
		"text":                  {text.String(), total},
		"the dearest first":     {text.String(), "\nshop-000"},
		"Markdown":              {markdown, "**" + total + "**"},
		"a row of Markdown":     {markdown, "| `shop-000` | `kvick-1` | **"},
		"the jump in Markdown":  {markdown, "- ⚠️ `rows-per-request-jump`: `shop shop-001 reads 420 rows for each request"},
		"page":                  {page.String(), total},
		"chart of shops":        {page.String(), `<desc id="chart-shops-text">Bars by product. The dearest is shop-000 with `},
		"only the dearest":      {page.String(), "The 30 dearest of 40 shops."},
		"chart of requests":     {page.String(), `<title id="chart-requests-title">Requests to Workers, by day</title>`},
		"its words":             {page.String(), "30 columns from 2026-10-30 to 2026-11-28; the highest is"},
		"chart of history":      {page.String(), `<title id="chart-history-title">`},
		"numbers of history":    {page.String(), "<td>2026-11-14</td><td>40</td>"},
		"over":                  {page.String(), `<tr data-tags="over"><th scope="row" data-label=`},
		"jump":                  {page.String(), `<tr data-tags="jump">`},
		"rows for each request": {page.String(), "420.0, before 20.0"},
		"a price":               {page.String(), "<td>R2 class A operations</td><td>$4.5 for each million, begun ones in full</td><td>1 million</td>"},
		"its source":            {page.String(), `<a href="https://developers.cloudflare.com/r2/pricing/">`},
	} {
		if what == "over" { // the first cell has no label
			x[1] = `<tr data-tags="over"><th scope="row"`
		}
		if !strings.Contains(x[0], x[1]) {
			t.Errorf("%s: no %q", what, x[1])
		}
	}
	if n := strings.Count(page.String(), `<tr data-tags=`) + strings.Count(page.String(), `<tr><th scope="row"`); n != 2*40+len(r.Findings) {
		t.Errorf("the live tables have %d rows; want %d", n, 2*40+len(r.Findings))
	}
	body, _, _ := strings.Cut(page.String(), "<script>")
	for _, bad := range []string{" style=", "http://", "unsafe-inline", "NaN", "Inf"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, svg := range regexp.MustCompile(`(?s)<svg .*?</svg>`).FindAllString(page.String(), -1) {
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("a chart is no XML: %v\n%.300s", err, svg)
			}
		}
	}
	small := CostMarkdown(priced(t, 500), 20_000)
	if len(small) > 20_000 || !strings.Contains(small, "are not shown here") || !strings.Contains(small, "`shop-000`") {
		t.Errorf("%d bytes of Markdown: …%s", len(small), small[max(0, len(small)-300):])
	}
}

func sumFrom(r *cost.Report, from int) (sum cost.USD) {
	for _, s := range r.Shops[from:] {
		sum += s.Total
	}
	return sum
}

func sumAI(r *cost.Report) (sum cost.USD) {
	for i := range r.Shops {
		sum += r.Shops[i].Line(cost.LineAI).Cost
	}
	return sum
}

func TestCostOfNothing(t *testing.T) {
	r := cost.Judge(cost.Input{Policy: &fleet.Policy{}, Prices: cost.Prices(), At: costAt, From: costAt.AddDate(0, 0, -1), Unknown: []string{"everything"}})
	var text, page bytes.Buffer
	if err := Cost(&text, Style{}, r); err != nil {
		t.Fatal(err)
	}
	if err := CostHTML(&page, r, nil); err != nil {
		t.Fatal(err)
	}
	body, _, _ := strings.Cut(page.String(), "<script>")
	for _, out := range []string{text.String(), body, CostMarkdown(r, 0)} {
		if !strings.Contains(out, "0 shops: $0.00 a month") || !strings.Contains(out, "everything") || strings.Contains(out, "NaN") {
			t.Errorf("%.500s", out)
		}
	}
}

// TestCostHostile puts hostile text wherever something comes from outside.
func TestCostHostile(t *testing.T) {
	for _, evil := range []string{
		`<script>alert(1)</script><img src=x onerror=alert(1)>"'&`, "a\x1b[2Jb", "a\u202eb", "@everyone fixes #1 ``` ~~~ [x](http://evil.example) | | \\|",
		"a\r\nb\x00c", "</style></script></td></table></svg><h1>", `" onmouseover="alert(1)`,
	} {
		r := priced(t, 3)
		for i := range r.Shops {
			r.Shops[i].Slug, r.Shops[i].Account = evil, evil
		}
		r.NotRead, r.Tool = []string{evil}, evil
		r.Accounts[0].Name, r.Accounts[0].Error, r.Accounts[0].Billed = evil, evil, []cost.Billed{{Service: evil, Unit: evil, Currency: evil}}
		r.Findings = append(r.Findings, cost.Finding{Finding: deploy.Finding{Rule: "over-budget", Level: deploy.LevelWarning, Message: evil, Hint: evil}, Shop: evil, Account: evil})
		r.Daily[0].Date = evil
		one := *r
		one.Only, one.Shops = []string{evil}, r.Shops[:1]
		entry := cost.Entry{At: costAt, Prices: evil, Unread: []string{evil}}
		var text, page bytes.Buffer
		for _, err := range []error{Cost(&text, Style{}, r), Cost(&text, Style{}, &one), CostHTML(&page, r, []cost.Entry{entry, entry}, Link{evil, evil})} {
			if err != nil {
				t.Fatal(err)
			}
		}
		markdown := CostMarkdown(r, 0) + CostMarkdown(&one, 0)
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
			case "html", "head", "meta", "title", "style", "body", "nav", "h1", "h2", "h3", "p", "div", "ul", "li", "b", "a", "label", "input", "button", "caption", "table", "thead", "tbody", "tr", "th", "td", "code", "span",
				"figure", "figcaption", "svg", "desc", "rect", "line", "text":
			default:
				t.Errorf("the page of %q has an element %s", evil, e[1])
			}
		}
		for _, a := range regexp.MustCompile(`<[a-z0-9]+((?: [A-Za-z0-9-]+(?:="[^"]*")?)*)\s*/?>`).FindAllStringSubmatch(body, -1) {
			for _, name := range regexp.MustCompile(` ([A-Za-z0-9-]+)(?:="([^"]*)")?`).FindAllStringSubmatch(a[1], -1) {
				if strings.HasPrefix(name[1], "on") || name[1] == "style" || name[1] == "href" && !strings.HasPrefix(name[2], "https://developers.cloudflare.com/") {
					t.Errorf("the page of %q has an attribute %s", evil, name[0])
				}
			}
		}
		if strings.Contains(page.String(), "unsafe") || strings.Count(page.String(), PagePolicy()) != 1 || strings.Count(page.String(), "</script>") != 1 {
			t.Errorf("the page of %q has another policy, or another script", evil)
		}
		outside := withoutCode(markdown)
		for _, bad := range []string{"@everyone", "#1", "](http", "<script", "<img", "<h1", "<!--"} {
			if strings.Contains(outside, bad) {
				t.Errorf("the Markdown of %q has %q outside of code:\n%s", evil, bad, markdown)
			}
		}
		if strings.Contains(CostMarkdown(r, 0), "read in part") {
			t.Error("the cause is published")
		}
	}
}
