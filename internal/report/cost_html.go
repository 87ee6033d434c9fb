package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/cost"
)

// charted is how many shops a chart shows; the table has all.
const charted = 30

// CostHTML writes what the fleet costs as one page that loads nothing: charts, and tables with every number in them. history are
// the entries of earlier reports, oldest first; with fewer than two nothing is drawn of them.
func CostHTML(w io.Writer, r *cost.Report, history []cost.Entry, links ...Link) error {
	p := newPage("What the fleet costs", true, links...)
	p.raw("<h1>What the fleet costs</h1>\n<p class=\"soft\">").text(costPeriod(r) + "; " + r.Tool).raw("</p>\n")
	class := "good"
	switch {
	case len(r.Unread()) > 0:
		class = "bad"
	case !r.Clean():
		class = "warn"
	}
	p.raw(`<p class="verdict ` + class + `">`).text(costVerdict(r)).raw("</p>\n")
	for _, a := range r.Accounts {
		if a.Error != "" {
			p.raw(`<p class="bad">Account `).text(a.Name).text(" could not be read, or only in part: " + a.Error).raw("</p>\n")
		}
	}
	for _, what := range r.NotRead {
		p.raw(`<p class="warn">Not read: `).text(what).raw("</p>\n")
	}
	p.costTiles(r)
	p.costFindings(r)
	p.costShops(r)
	p.costUse(r)
	p.costDays(r)
	p.costHistory(history)
	p.costAccounts(r)
	p.costPrices(r)
	_, err := io.WriteString(w, p.finish())
	return err
}

func (p *page) costTiles(r *cost.Report) {
	total, list, ai := costSums(r)
	plans, others := cost.USD(0), cost.USD(0)
	for _, a := range r.Accounts {
		plans, others = plans+a.Plan, others+a.Others
	}
	p.raw(`<ul class="tiles">`)
	for _, x := range [][2]string{
		{total.String(), "shops, a month"}, {list.String(), "by list, nothing included"}, {plans.String(), "plans"}, {others.String(), "of no shop"}, {ai.String(), "AI gateways"},
	} {
		p.raw("<li><b>").text(x[0]).raw("</b>").text(x[1]).raw("</li>")
	}
	p.raw("</ul>\n")
}

func (p *page) costFindings(r *cost.Report) {
	p.raw("<h2>Findings</h2>\n")
	if len(r.Findings) == 0 {
		p.raw("<p>None.</p>\n")
		return
	}
	p.live("findings", "Findings", nil, "Shop", "Account", "Rule", "What was found", "What to do")
	for _, f := range r.Findings {
		p.begin()
		p.plain("", "", f.Shop)
		p.plain("", "", f.Account)
		p.td(f.Level, "", func() { p.raw("<code>").text(f.Rule).raw("</code>") })
		p.plain("", "", f.Message)
		p.plain("", "", f.Hint)
		p.done()
	}
	p.end()
}

// productsOf are the four series of the chart: lines of the budget that are one product.
func productsOf(x *cost.ShopCost) []float64 {
	sum := func(lines ...cost.Line) (out float64) {
		for _, l := range lines {
			out += float64(x.Line(l).Cost)
		}
		return out
	}
	return []float64{
		sum(cost.LineWorker), sum(cost.LineD1Reads, cost.LineD1Writes, cost.LineD1Storage), sum(cost.LineR2Storage, cost.LineR2Operations), sum(cost.LineKV),
	}
}

func (p *page) costShops(r *cost.Report) {
	p.raw("<h2>Shops</h2>\n")
	list := dearest(r)
	if len(list) == 0 {
		p.raw("<p>No shop has a branch.</p>\n")
		return
	}
	var rows []bar
	over := 0
	for i := range list[:min(len(list), charted)] {
		x := &list[i]
		b := bar{label: x.Slug, parts: productsOf(x), note: x.Total.String(), over: x.Over()}
		if b.over {
			b.note += " of " + x.Budget.String()
			over++
		}
		rows = append(rows, b)
	}
	caption := "The dashed line is the budget of one shop. The table below has every shop and number."
	if len(list) > charted {
		caption = fmt.Sprintf("The %d dearest of %d shops. ", charted, len(list)) + caption
	}
	p.barChart("chart-shops", "What each shop costs in a month",
		fmt.Sprintf("Bars by product. The dearest is %s with %s; %s over the budget of %s.", list[0].Slug, list[0].Total, isAre(over), list[0].Budget), caption,
		[]string{"Worker", "D1", "R2", "KV"}, rows, float64(list[0].Budget), func(f float64) string { return cost.USD(f).String() })
	heads := []string{"Shop", "Account", "Total", "By list"}
	for _, l := range cost.Lines() {
		heads = append(heads, l.Words())
	}
	heads = append(heads, "Rows for each request")
	p.live("costs", "What each shop costs in a month, those first that cost most", []tag{{"over", "Over budget"}, {"jump", "Reads more since its release"}}, heads...)
	for i := range list {
		x := &list[i]
		var tags []string
		if slices.ContainsFunc(x.Lines, cost.LineCost.Over) || x.Over() {
			tags = append(tags, "over")
		}
		if x.Jump != nil && x.Jump.Jumped {
			tags = append(tags, "jump")
		}
		p.begin(tags...)
		p.plain("", "", x.Slug)
		p.plain("", "", x.Account)
		p.money(cost.LineCost{Cost: x.Total, Budget: x.Budget})
		p.plain("number", plainNumber(float64(x.List)), x.List.String())
		for _, l := range x.Lines {
			p.money(l)
		}
		switch j := x.Jump; {
		case j == nil:
			p.td("number", "", nil)
		case j.Jumped:
			p.plain("number bad", plainNumber(j.After), fmt.Sprintf("%.1f, before %.1f", j.After, j.Before))
		default:
			p.plain("number", plainNumber(j.After), fmt.Sprintf("%.1f", j.After))
		}
		p.done()
	}
	p.end()
	p.raw(`<p class="soft">Budgets: `)
	var budgets []string
	for _, l := range list[0].Lines {
		budgets = append(budgets, l.Line.Words()+" "+l.Budget.String())
	}
	p.text(strings.Join(budgets, ", ") + "; all but the AI gateway " + list[0].Budget.String()).raw("</p>\n")
}

func isAre(n int) string {
	if n == 1 {
		return "1 is"
	}
	return fmt.Sprintf("%d are", n)
}

// money is a cell with a line's cost; one that is above its budget says so in words too.
func (p *page) money(l cost.LineCost) {
	if l.Over() {
		p.plain("number bad", plainNumber(float64(l.Cost)), l.Cost.String()+" of "+l.Budget.String())
		return
	}
	p.plain("number", plainNumber(float64(l.Cost)), l.Cost.String())
}

// costUse is what shops used, however little that costs.
func (p *page) costUse(r *cost.Report) {
	p.raw("<h2>What they use in a month</h2>\n")
	heads := []string{"Shop"}
	var meters []cost.Price
	for _, price := range r.Prices {
		if slices.ContainsFunc(r.Shops, func(x cost.ShopCost) bool { return x.Meter(price.Meter).Month > 0 }) {
			meters = append(meters, price)
			heads = append(heads, price.Name)
		}
	}
	heads = append(heads, "Crons", "Part of the plan")
	p.live("use", "What each shop uses in a month", nil, heads...)
	for i := range r.Shops {
		x := &r.Shops[i]
		p.begin()
		p.plain("", "", x.Slug)
		for _, price := range meters {
			m := x.Meter(price.Meter)
			if m.Month == 0 {
				p.td("number", "", nil)
				continue
			}
			p.plain("number", plainNumber(m.Month), price.Meter.Words(m.Month))
		}
		p.plain("number", "", fmt.Sprint(x.Crons))
		p.plain("number", plainNumber(float64(x.Plan)), x.Plan.String())
		p.done()
	}
	p.end()
}

// costDays are the days that were read.
func (p *page) costDays(r *cost.Report) {
	p.raw("<h2>Day by day</h2>\n")
	labels := make([]string, len(r.Daily))
	requests, read := make([]float64, len(r.Daily)), make([]float64, len(r.Daily))
	for i, d := range r.Daily {
		labels[i], requests[i], read[i] = d.Date, float64(d.Requests), float64(d.RowsRead)
	}
	p.columnChart("chart-requests", "Requests to Workers, by day", "Requests to Workers of these shops, by day (UTC); the last day is not over.", labels, requests, cost.Amount)
	p.columnChart("chart-rows", "Rows that D1 read, by day", "Rows that D1 read for these shops, by day.", labels, read, cost.Amount)
	p.table("Day", "Requests", "Rows read", "Rows written", "AI gateway")
	for _, d := range r.Daily {
		p.row("", d.Date, fmt.Sprint(d.Requests), fmt.Sprint(d.RowsRead), fmt.Sprint(d.RowsWritten), d.AI.String())
	}
	p.end()
}

func (p *page) costHistory(history []cost.Entry) {
	if len(history) < 2 {
		return
	}
	p.raw("<h2>Before</h2>\n")
	var labels []string
	var totals []float64
	for _, e := range history {
		labels, totals = append(labels, e.At.UTC().Format(time.DateOnly)), append(totals, float64(e.Totals[cost.LineTotal]))
	}
	p.columnChart("chart-history", "What all shops cost in a month, at each report", "What all shops cost in a month, at each report that was kept.", labels, totals, func(f float64) string { return cost.USD(f).String() })
	p.table("Report", "Shops", "Total", "AI gateway", "Of no shop", "Prices of", "Not read")
	for _, e := range slices.Backward(history) {
		p.row("", e.At.UTC().Format(time.DateOnly), fmt.Sprint(len(e.Shops)), e.Totals[cost.LineTotal].String(), e.Totals[cost.LineAI].String(), e.Others.String(), e.Prices, strings.Join(e.Unread, ", "))
	}
	p.end()
}

func (p *page) costAccounts(r *cost.Report) {
	p.raw("<h2>Accounts</h2>\n<p class=\"soft\">What the plan includes is shared by who uses it, in proportion to use. What other Workers and stores of an account use is of no shop.</p>\n")
	p.table("Account", "Shops", "Plan", "Usage", "Of no shop", "AI gateways", "Calls")
	for _, a := range r.Accounts {
		p.row("", a.Name, fmt.Sprint(a.Shops), a.Plan.String(), a.Usage.String(), a.Others.String(), a.AI.String(), fmt.Sprint(a.Calls))
	}
	p.end()
	p.table("Account", "What", "A month", "Included", "Of no shop", "Cost")
	for _, a := range r.Accounts {
		for _, m := range a.Meters {
			p.row("", a.Name, priceOf(r, m.Meter).Name, m.Meter.Words(m.Month), m.Meter.Words(m.Included), m.Meter.Words(m.Others), m.Cost.String())
		}
	}
	p.end()
	if slices.ContainsFunc(r.Accounts, func(a cost.AccountCost) bool { return len(a.Billed) > 0 }) {
		p.raw("<h3>What Cloudflare says it charged in the current billing period</h3>\n")
		p.table("Account", "Service", "Quantity", "Charged")
		for _, a := range r.Accounts {
			for _, x := range a.Billed {
				p.row("", a.Name, x.Service, cost.Amount(x.Quantity)+" "+x.Unit, fmt.Sprintf("%.2f %s", x.Cost, x.Currency))
			}
		}
		p.end()
	}
}

func (p *page) costPrices(r *cost.Report) {
	p.raw("<h2>Prices</h2>\n")
	p.table("What", "Price", "Included in a month", "Read on", "Source")
	for _, x := range r.Prices {
		price := strings.TrimSuffix(fmt.Sprintf("$%s for each %s", plainNumber(float64(x.USD)/float64(cost.Dollar)), x.PerName), " for each ")
		if x.Meter == cost.AIGateway {
			price = "as the gateway reckons it"
		}
		if x.RoundsUp {
			price += ", begun ones in full"
		}
		included := "nothing"
		if x.Included > 0 {
			included = x.Meter.Words(x.Included)
		}
		p.raw("<tr><td>").text(x.Name).raw("</td><td>").text(price).raw("</td><td>").text(included).raw("</td><td>").text(x.Date).raw("</td><td>").link(x.Source, x.Source).raw("</td></tr>\n")
	}
	p.end()
}
