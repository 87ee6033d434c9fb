package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"

	"github.com/kvick/shopfleet/internal/cost"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// dearest are the shops of a report, those first that cost most.
func dearest(r *cost.Report) []cost.ShopCost {
	list := slices.Clone(r.Shops)
	sort.SliceStable(list, func(i, j int) bool {
		return cmp.Or(cmp.Compare(list[j].Total, list[i].Total), cmp.Compare(list[j].List, list[i].List), cmp.Compare(list[i].Slug, list[j].Slug)) < 0
	})
	return list
}

// costSums are what the shops of a report come to together.
func costSums(r *cost.Report) (total, list, ai cost.USD) {
	for i := range r.Shops {
		total, list, ai = total+r.Shops[i].Total, list+r.Shops[i].List, ai+r.Shops[i].Line(cost.LineAI).Cost
	}
	return total, list, ai
}

// costVerdict is a report in one line.
func costVerdict(r *cost.Report) string {
	total, _, ai := costSums(r)
	text := fmt.Sprintf("%s: %s a month", counted(len(r.Shops), "shop"), total)
	if ai > 0 {
		text += fmt.Sprintf(", and %s through AI gateways", ai)
	}
	over := 0
	for _, f := range r.Findings {
		if f.Rule == "over-budget" {
			over++
		}
	}
	switch {
	case over == 1:
		text += "; 1 is over its budget"
	case over > 0:
		text += fmt.Sprintf("; %d are over their budgets", over)
	case len(r.Unread()) == 0:
		text += "; none is over its budget"
	}
	return text
}

// costPeriod says what the numbers are made of.
func costPeriod(r *cost.Report) string {
	return fmt.Sprintf("by the usage of %.1f days until %s, brought to 30 days; prices of %s", r.Days, moment(r.At), pricesOf(r))
}

// pricesOf is the date of the oldest price: the list is as good as that.
func pricesOf(r *cost.Report) string {
	date := ""
	for _, p := range r.Prices {
		if date == "" || p.Date < date {
			date = p.Date
		}
	}
	return date
}

// against is an amount and what it may be, where it is more than that.
func against(l cost.LineCost) string {
	if l.Over() {
		return l.Cost.String() + "!"
	}
	return l.Cost.String()
}

// Cost writes what the fleet costs as a table, those first that cost most. Of one shop or two it tells what they use.
func Cost(w io.Writer, s Style, r *cost.Report) error {
	var b strings.Builder
	if len(r.Only) > 0 && len(r.Shops) <= 2 {
		for i := range r.Shops {
			costOne(&b, s, r, &r.Shops[i])
		}
	} else {
		costTable(&b, s, r)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s %s: %s\n", s.Yellow(f.Level), s.Bold(f.Rule), cleanLines(f.Message))
		if f.Hint != "" {
			fmt.Fprintf(&b, "    hint: %s\n", cleanLines(f.Hint))
		}
	}
	fmt.Fprintf(&b, "%s\n%s\n", costVerdict(r), s.Dim(costPeriod(r)))
	for _, a := range r.Accounts {
		if a.Error != "" {
			fmt.Fprintf(&b, "%s account %s: %s\n", s.Red("not read:"), Clean(a.Name), Clean(strings.ReplaceAll(a.Error, "\n", "; ")))
		}
	}
	for _, what := range r.NotRead {
		fmt.Fprintf(&b, "%s %s\n", s.Yellow("not read:"), Clean(what))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func costTable(b *strings.Builder, s Style, r *cost.Report) {
	heads := []string{"SHOP", "ACCOUNT", "TOTAL", "BY LIST"}
	for _, l := range cost.Lines() {
		heads = append(heads, strings.ToUpper(l.Words()))
	}
	var rows [][]string
	budget := []string{"budget", "", "", ""}
	for _, x := range dearest(r) {
		row := []string{x.Slug, x.Account, against(cost.LineCost{Cost: x.Total, Budget: x.Budget}), x.List.String()}
		for _, l := range x.Lines {
			row = append(row, against(l))
		}
		if len(rows) == 0 {
			budget[2] = x.Budget.String()
			for _, l := range x.Lines {
				budget = append(budget, l.Budget.String())
			}
		}
		rows = append(rows, row)
	}
	if len(rows) > 0 {
		textTable(b, heads, append(rows, budget), func(row, column int, text string) string {
			switch {
			case row < 0 || row == len(rows):
				return s.Dim(text)
			case strings.Contains(text, "!"):
				return s.Yellow(text)
			case column == 0:
				return s.Bold(text)
			}
			return text
		})
	}
	for _, a := range r.Accounts {
		if a.Error != "" && a.Plan == 0 {
			continue
		}
		fmt.Fprintf(b, "%s  %s: plan %s, usage %s", s.Bold(Clean(a.Name)), counted(a.Shops, "shop"), a.Plan, a.Usage)
		if a.Others > 0 {
			fmt.Fprintf(b, ", of which %s is of no shop", a.Others)
		}
		if a.AI > 0 {
			fmt.Fprintf(b, "; AI gateways %s", a.AI)
		}
		for _, x := range a.Billed {
			fmt.Fprintf(b, "\n    billed: %s %s, %.2f %s", Clean(x.Service), cost.Amount(x.Quantity), x.Cost, Clean(x.Currency))
		}
		b.WriteString("\n")
	}
}

// textTable writes columns: the first two of text, the others of numbers. paint gets the row, -1 for the heads.
func textTable(b *strings.Builder, heads []string, rows [][]string, paint func(row, column int, text string) string) {
	width := make([]int, len(heads))
	for _, row := range append([][]string{heads}, rows...) {
		for j := range row {
			row[j] = clip(Clean(row[j]), 40)
			width[j] = max(width[j], len([]rune(row[j])))
		}
	}
	for i, row := range append([][]string{heads}, rows...) {
		var line strings.Builder
		for j, c := range row {
			if j > 0 {
				line.WriteString("  ")
			}
			pad := strings.Repeat(" ", width[j]-len([]rune(c)))
			if j < 2 {
				line.WriteString(paint(i-1, j, c) + pad)
			} else {
				line.WriteString(pad + paint(i-1, j, c))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// costOne is everything about one shop.
func costOne(b *strings.Builder, s Style, r *cost.Report, x *cost.ShopCost) {
	fmt.Fprintf(b, "%s  %s of %s a month on %s; %s by list\n", s.Bold(Clean(x.Slug)), x.Total, x.Budget, Clean(x.Account), x.List)
	rows := [][]string{}
	for _, m := range x.Meters {
		rows = append(rows, []string{priceOf(r, m.Meter).Name, "", m.Meter.Words(m.Used), m.Meter.Words(m.Month), m.Meter.Words(m.Included), m.Cost.String(), m.List.String()})
	}
	if len(rows) > 0 {
		textTable(b, []string{"USED", "", "READ", "A MONTH", "INCLUDED", "COST", "BY LIST"}, rows, func(row, _ int, text string) string {
			if row < 0 {
				return s.Dim(text)
			}
			return text
		})
	}
	for _, l := range x.Lines {
		if l.Cost > 0 || l.Over() {
			text := fmt.Sprintf("%s %s of %s", l.Line.Words(), l.Cost, l.Budget)
			if l.Over() {
				text = s.Yellow(text)
			}
			fmt.Fprintf(b, "  %s\n", text)
		}
	}
	for _, text := range costFacts(x) {
		fmt.Fprintf(b, "  %s\n", Clean(text))
	}
}

// costFacts are what else is known of a shop.
func costFacts(x *cost.ShopCost) (out []string) {
	out = append(out, fmt.Sprintf("%s, whose runs are among the requests; its part of the plan is %s", counted(x.Crons, "cron"), x.Plan))
	if j := x.Jump; j != nil {
		out = append(out, fmt.Sprintf("rows read for each request: %.1f in the %d hours after the release of %s, %.1f at most on %s before",
			j.After, j.Hours, j.Release.At.UTC().Format("2006-01-02 15:04 UTC"), j.Before, counted(j.Days, "day")))
	}
	return out
}

func priceOf(r *cost.Report, m cost.Meter) cost.Price {
	for _, p := range r.Prices {
		if p.Meter == m {
			return p
		}
	}
	return cost.Price{Meter: m, Name: string(m)}
}

// CostMarkdown is what the fleet costs for a comment or a summary, at most most bytes; 0 is any length. The cheapest shops are
// the first to be left out. Causes of accounts that could not be read are not in it: it is published.
func CostMarkdown(r *cost.Report, most int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "**%s**\n", costVerdict(r))
	if names := r.Unread(); len(names) > 0 {
		fmt.Fprintf(&b, "\nNot read: %s\n", cell("account "+few(names, 10), 300))
	}
	for _, what := range r.NotRead {
		fmt.Fprintf(&b, "\nNot read: %s\n", cell(what, 300))
	}
	foot := "\n<sub>" + costPeriod(r) + "</sub>\n"
	room := func(text string) bool { return most == 0 || b.Len()+len(text)+len(foot)+200 <= most }
	for i, f := range r.Findings {
		line := fmt.Sprintf("- ⚠️ %s: %s\n", Code(f.Rule), cell(f.Message, 400))
		if i == 0 {
			line = "\n" + line
		}
		if i >= 50 || !room(line) {
			fmt.Fprintf(&b, "- and %d more\n", len(r.Findings)-i)
			break
		}
		b.WriteString(line)
	}
	if len(r.Only) > 0 && len(r.Shops) <= 2 {
		for i := range r.Shops {
			x := &r.Shops[i]
			fmt.Fprintf(&b, "\n%s on %s: %s of %s a month, %s by list\n", Code(x.Slug), Code(x.Account), x.Total, x.Budget, x.List)
			b.WriteString("\n| | read | a month | included | cost | by list |\n| --- | ---: | ---: | ---: | ---: | ---: |\n")
			for _, m := range x.Meters {
				fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", priceOf(r, m.Meter).Name, m.Meter.Words(m.Used), m.Meter.Words(m.Month), m.Meter.Words(m.Included), m.Cost, m.List)
			}
			b.WriteString("\n")
			for _, text := range costFacts(x) {
				b.WriteString("- " + text + "\n")
			}
		}
	} else if len(r.Shops) > 0 {
		b.WriteString("\n| shop | account | total | budget | by list |")
		for _, l := range cost.Lines() {
			b.WriteString(" " + l.Words() + " |")
		}
		b.WriteString("\n| --- | --- |" + strings.Repeat(" ---: |", 3+len(cost.Lines())) + "\n")
		list := dearest(r)
		for i, x := range list {
			line := fmt.Sprintf("| %s | %s | %s | %s | %s |", cell(x.Slug, 100), cell(x.Account, 100), markOver(cost.LineCost{Cost: x.Total, Budget: x.Budget}), x.Budget, x.List)
			for _, l := range x.Lines {
				line += " " + markOver(l) + " |"
			}
			if !room(line) {
				fmt.Fprintf(&b, "\n%d more are not shown here; %s has all.\n", len(list)-i, Code("shopfleet cost"))
				break
			}
			b.WriteString(line + "\n")
		}
	}
	return b.String() + foot
}

func markOver(l cost.LineCost) string {
	if l.Over() {
		return "**" + l.Cost.String() + "** ⚠️"
	}
	return l.Cost.String()
}

// CostFindings are a report's findings for logs that know nothing of shops: they are put into the fleet policy, where the
// budget is.
func CostFindings(r *cost.Report, policy *fleet.Policy, policyFile string) []deploy.Finding {
	out := make([]deploy.Finding, len(r.Findings))
	for i, f := range r.Findings {
		out[i] = f.Finding
		line, column := policy.Position("budget", "total")
		if line == 0 {
			line, column = policy.Position("shops", f.Shop)
		}
		out[i].File, out[i].Line, out[i].Column = policyFile, max(line, 1), max(column, 1)
	}
	return out
}
