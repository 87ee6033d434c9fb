package cost

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// monthDays is how long a month is.
const monthDays = 30

// nobody is the owner of what is no shop's.
const nobody = ""

// owners tells whose a thing is, by its name.
type owners map[[2]string]string

func ownersOf(shops []Shop) owners {
	o := owners{}
	for _, s := range shops {
		for kind, name := range map[Kind]string{Worker: s.Worker, Database: s.D1, Namespace: s.KV, Bucket: s.R2, Gateway: s.Worker} {
			o[[2]string{string(kind), name}] = s.Slug
		}
		for typ, kind := range map[string]Kind{"d1": Database, "kv_namespace": Namespace, "r2_bucket": Bucket, "service": Worker} {
			for _, name := range s.Others[typ] {
				o[[2]string{string(kind), name}] = s.Slug
			}
		}
	}
	return o
}

func (o owners) of(u Use) string { return o[[2]string{string(u.Kind), u.Name}] }

// Judge makes the report. It is pure.
func Judge(in Input) *Report {
	elapsed := max(in.At.Sub(in.From), time.Hour)
	r := &Report{
		At: in.At, From: in.From, Days: math.Round(elapsed.Hours()/24*100) / 100, Tool: in.Tool, Only: in.Only,
		Prices: in.Prices, NotRead: slices.Clone(in.Unknown), Findings: []Finding{}, Shops: []ShopCost{}, Accounts: []AccountCost{}, Daily: []Day{},
	}
	b := book{in: in, report: r, factor: monthDays * 24 / elapsed.Hours(), owners: ownersOf(in.Shops), shops: map[string]*ShopCost{}}
	for _, s := range in.Shops {
		b.shops[s.Slug] = &ShopCost{Slug: s.Slug, Account: s.Account.Name, Crons: s.Crons, Budget: LineTotal.of(in.Policy.Budget), Lines: []LineCost{}, Meters: []Metered{}}
	}
	for _, x := range in.Readings {
		b.account(x)
	}
	for _, s := range in.Shops {
		if len(in.Only) > 0 && !slices.Contains(in.Only, s.Slug) {
			continue
		}
		shop := b.shops[s.Slug]
		b.lines(shop)
		b.jump(s, shop)
		b.overBudget(shop)
		r.Shops = append(r.Shops, *shop)
	}
	b.daily()
	sort.Slice(r.Shops, func(i, j int) bool { return r.Shops[i].Slug < r.Shops[j].Slug })
	sort.Slice(r.Accounts, func(i, j int) bool { return r.Accounts[i].Name < r.Accounts[j].Name })
	slices.Sort(r.NotRead)
	r.NotRead = slices.Compact(r.NotRead)
	sort.SliceStable(r.Findings, func(i, j int) bool {
		return r.Findings[i].Shop+"\x00"+r.Findings[i].Rule < r.Findings[j].Shop+"\x00"+r.Findings[j].Rule
	})
	return r
}

// book is a report under work.
type book struct {
	in     Input
	report *Report
	factor float64 // from the days read to a month
	owners owners
	shops  map[string]*ShopCost
}

// account prices one account, and gives each shop its part.
func (b *book) account(x *Reading) {
	a := AccountCost{Name: x.Account.Name, Calls: x.Calls, Error: x.Error, Billed: charges(x.Charges), Meters: []Allowance{}}
	for _, g := range x.Gaps {
		b.report.NotRead = append(b.report.NotRead, g.What+" of account "+x.Account.Name)
	}
	var here []string // shops that are on it
	for _, s := range b.in.Shops {
		if s.Account.Name == x.Account.Name {
			here = append(here, s.Slug)
		}
	}
	slices.Sort(here)
	a.Shops = len(here)
	if x.Error == "" || len(x.Uses) > 0 {
		a.Plan = PlanUSD
		even := make([]float64, len(here))
		for i := range even {
			even[i] = 1
		}
		for i, part := range Share(PlanUSD, even) {
			b.shops[here[i]].Plan += part
		}
	}
	used := b.used(x)
	who := slices.Sorted(maps.Keys(used))
	for _, p := range b.in.Prices {
		amounts := make([]float64, len(who))
		total := 0.0
		for i, slug := range who {
			amounts[i] = b.month(p.Meter, used[slug][p.Meter])
			total += amounts[i]
		}
		if total == 0 {
			continue
		}
		bill := p.Bill(total)
		all := Allowance{Meter: p.Meter, Month: total, Included: min(total, p.Included), Cost: bill}
		for i, part := range Share(bill, amounts) {
			m := Metered{
				Meter: p.Meter, Used: used[who[i]][p.Meter], Month: amounts[i], Included: all.Included * amounts[i] / total,
				Cost: part, List: p.List(amounts[i]),
			}
			switch shop := b.shops[who[i]]; {
			case shop == nil:
				all.Others += amounts[i]
				if p.Line != LineAI {
					a.Others += part
				}
			case amounts[i] > 0:
				shop.add(m)
			}
		}
		if p.Line == LineAI {
			a.AI += bill
		} else {
			a.Usage += bill
		}
		a.Meters = append(a.Meters, all)
	}
	b.report.Accounts = append(b.report.Accounts, a)
}

// add puts a meter to those of the shop: one that has moved used it in two accounts.
func (s *ShopCost) add(m Metered) {
	for i, x := range s.Meters {
		if x.Meter == m.Meter {
			s.Meters[i] = Metered{x.Meter, x.Used + m.Used, x.Month + m.Month, x.Included + m.Included, x.Cost + m.Cost, x.List + m.List}
			return
		}
	}
	s.Meters = append(s.Meters, m)
}

// month brings what was used in the days that were read to a month. What is kept is by the month already.
func (b *book) month(m Meter, used float64) float64 {
	if m.kept() {
		return used
	}
	return used * b.factor
}

// used adds up who used how much of what. Of what is kept it is, thing by thing, the mean of the days' peaks.
func (b *book) used(x *Reading) map[string]map[Meter]float64 {
	type thing struct {
		kind  Kind
		name  string
		meter Meter
	}
	out := map[string]map[Meter]float64{}
	add := func(slug string, m Meter, amount float64) {
		if out[slug] == nil {
			out[slug] = map[Meter]float64{}
		}
		out[slug][m] += amount
	}
	var kept []thing // in the order of the reading, so that sums come out the same every time
	peaks, days, owner := map[thing]float64{}, map[thing]int{}, map[thing]string{}
	for _, u := range x.Uses {
		if !u.Meter.kept() {
			add(b.owners.of(u), u.Meter, u.Amount)
			continue
		}
		at := thing{u.Kind, u.Name, u.Meter}
		if days[at] == 0 {
			kept = append(kept, at)
		}
		peaks[at] += u.Amount
		days[at]++
		owner[at] = b.owners.of(u)
	}
	for _, at := range kept {
		add(owner[at], at.meter, peaks[at]/float64(days[at]))
	}
	return out
}

// lines adds the meters up to the lines of the budget.
func (b *book) lines(s *ShopCost) {
	line := map[Meter]Line{}
	order := map[Meter]int{}
	for i, p := range b.in.Prices {
		line[p.Meter], order[p.Meter] = p.Line, i
	}
	sort.Slice(s.Meters, func(i, j int) bool { return order[s.Meters[i].Meter] < order[s.Meters[j].Meter] })
	for _, l := range Lines() {
		x := LineCost{Line: l, Budget: l.of(b.in.Policy.Budget)}
		for _, m := range s.Meters {
			if line[m.Meter] == l {
				x.Cost, x.List = x.Cost+m.Cost, x.List+m.List
			}
		}
		if l != LineAI {
			s.Total, s.List = s.Total+x.Cost, s.List+x.List
		}
		s.Lines = append(s.Lines, x)
	}
}

const ruleOverBudget = "over-budget"

// overBudget finds a shop that costs more than it may: one finding, however many lines it is.
func (b *book) overBudget(s *ShopCost) {
	var lines []string
	for _, l := range s.Lines {
		if l.Over() {
			lines = append(lines, fmt.Sprintf("%s %s of %s", l.Line.Words(), l.Cost, l.Budget))
		}
	}
	if s.Over() {
		lines = append(lines, fmt.Sprintf("all but the AI gateway %s of %s", s.Total, s.Budget))
	}
	if len(lines) == 0 {
		return
	}
	f := Finding{Shop: s.Slug, Account: s.Account}
	f.Finding = deploy.Finding{
		Rule: ruleOverBudget, Level: deploy.LevelWarning,
		Message:  "shop " + s.Slug + " costs more in a month than its budget: " + strings.Join(lines, ", "),
		Expected: "no line above budget: in fleet.yml",
		Hint:     "see what it uses: shopfleet cost " + s.Slug + "; raise budget: when it is meant to",
	}
	b.report.Findings = append(b.report.Findings, f)
}

const ruleJump = "rows-per-request-jump"

// jump compares a shop's rows for each request around its release.
func (b *book) jump(s Shop, out *ShopCost) {
	if s.Release == nil || b.in.At.Sub(s.Release.At) > JumpAge {
		return
	}
	var hours map[time.Time]Hour
	for _, x := range b.in.Readings {
		if x.Account.Name == s.Account.Name {
			hours = x.Hours[s.Worker]
		}
	}
	var reading Price
	for _, p := range b.in.Prices {
		if p.Meter == D1RowsRead {
			reading = p
		}
	}
	j, why := compare(hours, *s.Release, b.in.At, reading)
	if j == nil {
		if len(b.in.Only) > 0 {
			b.report.NotRead = append(b.report.NotRead, "rows for each request of shop "+s.Slug+" around its release: "+why)
		}
		return
	}
	out.Jump = j
	if !j.Jumped {
		return
	}
	what := "the release of " + s.Release.At.UTC().Format("2006-01-02 15:04") + " UTC"
	if s.Release.Commit != "" {
		what += " (commit " + s.Release.Commit[:min(len(s.Release.Commit), 9)] + ")"
	}
	f := Finding{Shop: s.Slug, Account: s.Account.Name}
	f.Finding = deploy.Finding{
		Rule: ruleJump, Level: deploy.LevelWarning,
		Message: fmt.Sprintf("shop %s reads %s rows for each request since %s; before it was %s at most: %s rows more in a month, +%s where no included ones are left",
			s.Slug, rows(j.After), what, rows(j.Before), Amount(j.Rows), j.Monthly),
		Expected: fmt.Sprintf("less than %d times the worst of the %d days before, in the same hours", jumpFactor, jumpDays),
		Hint:     "look for a query without an index: npx wrangler d1 insights " + s.D1 + " --sort-type=sum --sort-by=reads; shopfleet rollback " + s.Slug + " takes the release back",
	}
	b.report.Findings = append(b.report.Findings, f)
}

// rows is a number of rows for each request.
func rows(f float64) string {
	if f < 10 {
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.0f", f)
}

// Amount is a number as people read it: 1.5 million, 25 thousand, 730.
func Amount(f float64) string {
	short := func(x float64, word string) string {
		digits := 0
		if x < 100 {
			digits = 1
		}
		return strings.TrimSuffix(fmt.Sprintf("%.*f", digits, x), ".0") + " " + word
	}
	switch {
	case f >= 999.5e6:
		return short(f/1e9, "billion")
	case f >= 999.5e3:
		return short(f/1e6, "million")
	case f >= 10e3:
		return short(f/1e3, "thousand")
	}
	return fmt.Sprintf("%.0f", f)
}

// Bytes is a size as people read it, in the units that storage is billed in.
func Bytes(f float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if f >= unit.size {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", f/unit.size), ".0") + " " + unit.name
		}
	}
	return fmt.Sprintf("%.0f B", f)
}

// Words is an amount of the meter.
func (m Meter) Words(f float64) string {
	switch {
	case m == AIGateway:
		return USD(math.Round(f)).String()
	case m.kept():
		return Bytes(f)
	case m == WorkerCPU:
		return Amount(f) + " ms"
	}
	return Amount(f)
}

// daily adds up the days of the shops that are told about.
func (b *book) daily() {
	days := map[string]*Day{}
	for at := day(b.in.From); !at.After(b.in.At); at = at.Add(24 * time.Hour) {
		d := &Day{Date: at.Format(time.DateOnly)}
		days[d.Date] = d
	}
	for _, x := range b.in.Readings {
		for _, u := range x.Uses {
			d, slug := days[u.Date], b.owners.of(u)
			if d == nil || slug == nobody || len(b.in.Only) > 0 && !slices.Contains(b.in.Only, slug) {
				continue
			}
			switch n := int64(math.Round(u.Amount)); u.Meter {
			case WorkerRequests:
				d.Requests += n
			case D1RowsRead:
				d.RowsRead += n
			case D1RowsWritten:
				d.RowsWritten += n
			case AIGateway:
				d.AI += USD(n)
			}
		}
	}
	for _, date := range slices.Sorted(maps.Keys(days)) {
		b.report.Daily = append(b.report.Daily, *days[date])
	}
}

// Watch are the shops of an account whose hours are worth asking for.
func Watch(shops []Shop, account fleet.Account, at time.Time) []Watched {
	var out []Watched
	for _, s := range shops {
		if s.Account.Name == account.Name && s.Release != nil && at.Sub(s.Release.At) <= JumpAge {
			out = append(out, Watched{s.Worker, s.D1, s.Release.At})
		}
	}
	return out
}
