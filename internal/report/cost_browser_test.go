package report_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/cost"
	"github.com/kvick/shopfleet/internal/report"
)

// TestCostInBrowser wants the page to work in a real browser: it asks for nothing but itself, its charts are drawn and can be
// read by those who do not see them, sorts by money, and fits on a phone in both colour schemes.
func TestCostInBrowser(t *testing.T) {
	b := openBrowser(t)
	r := report.Priced(t, 120)
	var history []cost.Entry
	for week := range 6 {
		then := *r
		then.At = r.At.AddDate(0, 0, -7*(5-week))
		var err error
		if history, err = cost.Remember(history, &then); err != nil {
			t.Fatal(err)
		}
	}
	var page bytes.Buffer
	if err := report.CostHTML(&page, r, history); err != nil {
		t.Fatal(err)
	}
	equal := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q; want %q", what, got, want)
		}
	}
	costs := func(expression string) string { return strings.ReplaceAll(expression, "#shops", "#costs") }
	b.screen(1280, 900, false, false)
	b.show(page.Bytes(), "")
	b.shoot("cost-light")
	equal("all shops", b.text(costs(`document.querySelector("#shops-tools [role=status]").textContent`)), "120 of 120")
	equal("those that are over", b.text(costs(chip("over"))), "1 of 120")
	equal("whose", b.text(costs(visible)), "shop-000")
	equal("those that read more", b.text(costs(chip("jump"))), "1 of 120")
	equal("whose", b.text(costs(visible)), "shop-001")
	b.text(costs(chip("jump")))
	equal("by total", b.text(costs(press("Total"))), "ascending")
	equal("twice", b.text(costs(press("Total"))), "descending")
	equal("the dearest first", strings.Fields(b.text(costs(visible)))[0], "shop-000")

	// Every chart has a name and a description, says its numbers to a pointer, and draws something inside of itself.
	var charts []struct {
		Name, Text, Role string
		Bars, Silent     int
		Outside          int
	}
	b.eval(&charts, `[...document.querySelectorAll("svg")].map(s => {
  const [name, text] = s.getAttribute("aria-labelledby").split(" ").map(id => document.getElementById(id).textContent);
  const bars = [...s.querySelectorAll("rect")], box = s.getBoundingClientRect();
  return {
    Name: name, Text: text, Role: s.getAttribute("role"), Bars: bars.length,
    Silent: bars.filter(r => r.getAttribute("width") !== "11" && !r.querySelector("title")).length,
    Outside: [...s.querySelectorAll("rect, text")].filter(r => { const x = r.getBoundingClientRect(); return x.right > box.right + 1 || x.left < box.left - 1 || x.bottom > box.bottom + 1; }).length,
  };
})`)
	if len(charts) != 4 {
		t.Fatalf("%d charts: %+v", len(charts), charts)
	}
	for i, least := range []int{30, 30, 30, 6} {
		c := charts[i]
		if c.Name == "" || c.Text == "" || c.Role != "img" || c.Bars < least || c.Silent > 0 || c.Outside > 0 {
			t.Errorf("chart %d: %+v", i, c)
		}
	}
	if len(b.requests) != 1 || !strings.HasPrefix(b.requests[0], "file://") {
		t.Errorf("the page asked for %q", b.requests)
	}
	if len(b.said) != 0 {
		t.Errorf("the console has %q", b.said)
	}
	for _, dark := range []bool{false, true} {
		for _, phone := range []bool{false, true} {
			name := map[bool]string{false: "light", true: "dark"}[dark] + "-" + map[bool]string{false: "desk", true: "phone"}[phone]
			width := 1280
			if phone {
				width = 360
			}
			b.screen(width, 900, phone, dark)
			b.show(page.Bytes(), "")
			b.shoot("cost-" + name)
			var worst []any
			b.eval(&worst, contrast)
			if ratio, ok := worst[0].(float64); !ok || ratio < 4.5 {
				t.Errorf("%s: the contrast of %v is %v; 4.5 is the least", name, worst[1], worst[0])
			}
			var wide int
			b.eval(&wide, `document.documentElement.scrollWidth`)
			if wide > width {
				t.Errorf("%s: the page is %d wide", name, wide)
			}
		}
	}
}
