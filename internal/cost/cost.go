// Package cost says what each shop costs: usage as the accounts' analytics have it, priced by a dated list, what the plan
// includes shared in proportion to use, beside the budget.
//
//	Read   one account      → Reading: what analytics says was used, by thing and day; a handful of calls
//	Judge  Readings, prices → Report: per shop and account what it comes to in a month, and findings; pure
//
// Read is the only part that asks anybody. Judge has no clock. What could not be read is in the Report, because a missing
// number would pass for a small one.
//
// # What a month is
//
// Prices and what is included are by the month, so everything is brought to a month of 30 days: what was used in the days
// that were read, times 30, divided by how many days those are. Storage is the mean of the days' peaks, as Cloudflare bills
// it, over the days that analytics has.
//
// # Whose usage it is
//
// A thing is a shop's when it has the name that fleet.yml gives the shop: its Worker, database, namespace and bucket, and an
// AI gateway that is called like the Worker. All else in an account (other Workers, stores that are gone) is nobody's; it
// takes its part of what is included and is shown with the account.
package cost

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// Meter is something that is counted and has a price.
type Meter string

// The meters. Storage is in bytes, kept for a month.
const (
	WorkerRequests Meter = "worker_requests"
	WorkerCPU      Meter = "worker_cpu_ms"
	D1RowsRead     Meter = "d1_rows_read"
	D1RowsWritten  Meter = "d1_rows_written"
	D1Storage      Meter = "d1_storage_bytes"
	R2Storage      Meter = "r2_storage_bytes"
	R2ClassA       Meter = "r2_class_a"
	R2ClassB       Meter = "r2_class_b"
	KVReads        Meter = "kv_reads"
	KVWrites       Meter = "kv_writes"
	KVDeletes      Meter = "kv_deletes"
	KVLists        Meter = "kv_lists"
	KVStorage      Meter = "kv_storage_bytes"
	AIGateway      Meter = "ai_gateway_usd" // what a gateway reckons its providers charge, in millionths of a US dollar
)

// kept says that a meter is a state that lasts, not something that happens.
func (m Meter) kept() bool { return m == D1Storage || m == R2Storage || m == KVStorage }

// Line is a line of the budget.
type Line string

// The lines, as budget: in fleet.yml has them.
const (
	LineWorker       Line = "worker"
	LineD1Reads      Line = "d1_reads"
	LineD1Writes     Line = "d1_writes"
	LineD1Storage    Line = "d1_storage"
	LineR2Storage    Line = "r2_storage"
	LineR2Operations Line = "r2_operations"
	LineKV           Line = "kv"
	LineAI           Line = "ai"
	LineTotal        Line = "total" // of all but the AI gateway
)

// Lines are all lines but the total, in the order of the budget.
func Lines() []Line {
	return []Line{LineWorker, LineD1Reads, LineD1Writes, LineD1Storage, LineR2Storage, LineR2Operations, LineKV, LineAI}
}

// Words is what a line is called.
func (l Line) Words() string {
	switch l {
	case LineWorker:
		return "Worker"
	case LineD1Reads:
		return "D1 reads"
	case LineD1Writes:
		return "D1 writes"
	case LineD1Storage:
		return "D1 storage"
	case LineR2Storage:
		return "R2 storage"
	case LineR2Operations:
		return "R2 operations"
	case LineKV:
		return "KV"
	case LineAI:
		return "AI gateway"
	}
	return "total"
}

// of is what the budget allows for a line in a month.
func (l Line) of(b fleet.Budget) USD {
	cents := map[Line]int{
		LineWorker: b.Worker, LineD1Reads: b.D1Reads, LineD1Writes: b.D1Writes, LineD1Storage: b.D1Storage, LineR2Storage: b.R2Storage,
		LineR2Operations: b.R2Operations, LineKV: b.KV, LineAI: b.AI, LineTotal: b.Total,
	}[l]
	return USD(cents) * Cent
}

// USD is an amount of money in millionths of a US dollar. In JSON it is a number of dollars.
type USD int64

// Amounts to count in.
const (
	Cent   USD = 10_000
	Dollar USD = 1_000_000
)

// String is the amount in dollars and cents, such as $2.10. What is less than half a cent, and not nothing, is <$0.01.
func (u USD) String() string {
	sign := ""
	if u < 0 {
		sign, u = "-", -u
	}
	if u > 0 && u < Cent/2 {
		return sign + "<$0.01"
	}
	cents := u.cents()
	return fmt.Sprintf("%s$%d.%02d", sign, cents/100, cents%100)
}

// cents is an amount that is not negative in whole cents.
func (u USD) cents() int64 { return int64((u + Cent/2) / Cent) }

// MarshalJSON writes dollars, exactly.
func (u USD) MarshalJSON() ([]byte, error) {
	sign, n := "", int64(u)
	if n < 0 {
		sign, n = "-", -n
	}
	text := fmt.Sprintf("%d.%06d", n/int64(Dollar), n%int64(Dollar))
	return []byte(sign + strings.TrimSuffix(strings.TrimRight(text, "0"), ".")), nil
}

// UnmarshalJSON reads dollars, rounded to millionths.
func (u *USD) UnmarshalJSON(text []byte) error {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return fmt.Errorf("an amount of money is %q", text)
	}
	*u = dollars(f)
	return nil
}

// Shop is a shop whose cost is asked for, and what git and the journal say of it.
type Shop struct {
	fleet.Shop
	// Crons are how many its branch configures.
	Crons int
	// Release is the newest one; nil when nobody knows.
	Release *Release
}

// Release is what usage is compared around.
type Release struct {
	At      time.Time `json:"at"`
	Commit  string    `json:"commit,omitempty"`
	Version string    `json:"version,omitempty"`
}

// Input is everything that a Report is made of.
type Input struct {
	Policy *fleet.Policy
	Prices []Price
	// Shops are all shops of the fleet, also where Only names a few: their parts of what is included depend on all.
	Shops    []Shop
	Only     []string
	Readings []*Reading
	At       time.Time
	From     time.Time // the first moment of usage
	// Unknown says what was not asked, a sentence each, such as that there was no journal.
	Unknown []string
	Tool    string
}

// Report is what the fleet costs.
type Report struct {
	At   time.Time `json:"at"`
	From time.Time `json:"from"`
	Days float64   `json:"days"` // from From to At
	Tool string    `json:"tool"`
	Only []string  `json:"only,omitempty"`

	Shops    []ShopCost    `json:"shops"`
	Accounts []AccountCost `json:"accounts"`
	Daily    []Day         `json:"daily"` // of the shops told about, oldest first
	Prices   []Price       `json:"prices"`
	// NotRead says what is not in the numbers, a sentence each.
	NotRead  []string  `json:"not_read,omitempty"`
	Findings []Finding `json:"findings"`
}

// Finding is something that a person should look at.
type Finding struct {
	deploy.Finding
	Account string `json:"account,omitempty"`
	Shop    string `json:"shop,omitempty"`
}

// ShopCost is what a shop comes to in a month.
type ShopCost struct {
	Slug    string `json:"slug"`
	Account string `json:"account"`
	Crons   int    `json:"crons"` // configured; their runs are among the Worker's requests
	// Total is all lines but the AI gateway; Budget is the one for it.
	Total  USD `json:"total"`
	Budget USD `json:"budget"`
	// List is what Total would be if the plan included nothing: it does not depend on other shops.
	List USD `json:"list"`
	// Plan is its part of the account's subscription, in equal parts. It is in no line, since it costs the same however much
	// is used.
	Plan   USD        `json:"plan"`
	Lines  []LineCost `json:"lines"`
	Meters []Metered  `json:"meters"`
	Jump   *Jump      `json:"rows_per_request,omitempty"` // nil when there was nothing to compare
}

// Over says that all but the AI gateway costs more than it may.
func (s *ShopCost) Over() bool { return LineCost{Cost: s.Total, Budget: s.Budget}.Over() }

// Line is what a line of the shop comes to.
func (s *ShopCost) Line(l Line) LineCost {
	for _, x := range s.Lines {
		if x.Line == l {
			return x
		}
	}
	return LineCost{Line: l}
}

// Meter is what the shop used of one.
func (s *ShopCost) Meter(m Meter) Metered {
	for _, x := range s.Meters {
		if x.Meter == m {
			return x
		}
	}
	return Metered{Meter: m}
}

// LineCost is a line of the budget, in a month.
type LineCost struct {
	Line   Line `json:"line"`
	Cost   USD  `json:"cost"`
	List   USD  `json:"list"`
	Budget USD  `json:"budget"`
}

// Over says that it costs more than it may, in whole cents: budgets have no smaller ones.
func (l LineCost) Over() bool { return l.Cost.cents() > l.Budget.cents() }

// Metered is what was used of a meter.
type Metered struct {
	Meter Meter `json:"meter"`
	// Used is what analytics says for the days that were read; of what is kept it is the mean of the days' peaks.
	Used float64 `json:"used"`
	// Month is Used, brought to 30 days; Included is the part of it that the plan pays.
	Month    float64 `json:"month"`
	Included float64 `json:"included"`
	Cost     USD     `json:"cost"`
	List     USD     `json:"list"` // if nothing were included
}

// AccountCost is what an account comes to in a month.
type AccountCost struct {
	Name  string `json:"name"`
	Shops int    `json:"shops"`
	Calls int    `json:"calls"`
	// Plan is the subscription, Usage what comes on top, of which Others is nobody's.
	Plan   USD         `json:"plan"`
	Usage  USD         `json:"usage"`
	Others USD         `json:"others"`
	AI     USD         `json:"ai"`
	Meters []Allowance `json:"meters"`
	// Billed is what Cloudflare says it charged in the current billing period, by service; nil when that was not asked.
	Billed []Billed `json:"billed,omitempty"`
	// Error is why it could not be read; nothing is known of it then. It is for the operator.
	Error string `json:"error,omitempty"`
}

// Allowance is how much of a meter an account uses in a month, and of what is included.
type Allowance struct {
	Meter    Meter   `json:"meter"`
	Month    float64 `json:"month"`
	Others   float64 `json:"others"` // of it, nobody's
	Included float64 `json:"included"`
	Cost     USD     `json:"cost"`
}

// Billed is what one service was charged for.
type Billed struct {
	Service  string  `json:"service"`
	Quantity float64 `json:"quantity"`
	Unit     string  `json:"unit,omitempty"`
	Cost     float64 `json:"cost"`
	Currency string  `json:"currency"`
}

// Day is what was used on a day, UTC.
type Day struct {
	Date        string `json:"date"`
	Requests    int64  `json:"requests"`
	RowsRead    int64  `json:"rows_read"`
	RowsWritten int64  `json:"rows_written"`
	AI          USD    `json:"ai"`
}

// Unread are the accounts of which something that has a price could not be read.
func (r *Report) Unread() []string {
	var out []string
	for _, a := range r.Accounts {
		if a.Error != "" {
			out = append(out, a.Name)
		}
	}
	return out
}

// Clean says that there is nothing to do.
func (r *Report) Clean() bool {
	for _, f := range r.Findings {
		if f.Level != deploy.LevelNotice {
			return false
		}
	}
	return true
}

// charges adds up what an account was charged, by service, in the order in which services first appear.
func charges(list []cloudflare.Charge) []Billed {
	var out []Billed
	at := map[[3]string]int{}
	for _, c := range list {
		key := [3]string{c.Service, c.Unit, c.Currency}
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, Billed{Service: c.Service, Unit: c.Unit, Currency: c.Currency})
		}
		out[i].Quantity += c.Quantity
		out[i].Cost += c.Cost
	}
	return out
}
