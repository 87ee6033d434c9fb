package cost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/fleet"
)

// Kind is what sort of thing used something.
type Kind string

// The kinds.
const (
	Worker    Kind = "worker"
	Database  Kind = "database"
	Namespace Kind = "namespace"
	Bucket    Kind = "bucket"
	Gateway   Kind = "gateway"
)

// Use is what one thing used of one meter on one day, UTC. Of what is kept it is the day's peak.
type Use struct {
	Kind   Kind
	Name   string // as the account calls it; the id of a database or namespace that is there no more
	Date   string
	Meter  Meter
	Amount float64
}

// Hour is what a Worker and its database did in an hour.
type Hour struct {
	Requests, RowsRead float64
}

// Gap is something that could not be read.
type Gap struct {
	What string // such as R2
	Why  string // for the operator
	// Priced says that there is a price on it, so that the sums are too small.
	Priced bool
}

// Reading is what an account's analytics say.
type Reading struct {
	Account fleet.Account
	Calls   int
	// Error is why nothing could be read.
	Error string
	Gaps  []Gap
	Uses  []Use
	// Hours are those of the Workers that were watched, by Worker.
	Hours map[string]map[time.Time]Hour
	// Charges are nil when they were not asked for, or are not told.
	Charges []cloudflare.Charge
}

// Watched is a Worker whose hours are asked for, around a release.
type Watched struct {
	Worker, Database string // names
	Release          time.Time
}

// Options says what Read asks for.
type Options struct {
	From, Until time.Time // From is the beginning of a day, UTC; Until is about now
	Watch       []Watched
	Billing     bool
}

// Read asks an account what it used. It takes five queries of the analytics API and two lists, two more for each few days of
// hours where releases are watched, and one for what was billed: however many shops there are. The error of a part is a Gap.
func Read(ctx context.Context, cf *cloudflare.Client, account fleet.Account, o Options) *Reading {
	r := &reader{cf: cf, out: &Reading{Account: account}}
	databases, namespaces := map[string]string{}, map[string]string{} // name by id
	var group errgroup.Group
	for _, p := range products() {
		group.Go(func() error {
			r.product(ctx, p, o)
			return nil
		})
	}
	group.Go(func() error {
		r.calls.Add(1)
		list, err := cf.D1Databases(ctx, "")
		r.gap("names of databases", true, err)
		for _, db := range list {
			databases[db.ID] = db.Name
		}
		return nil
	})
	group.Go(func() error {
		r.calls.Add(1)
		list, err := cf.KVNamespaces(ctx)
		r.gap("names of namespaces", true, err)
		for _, n := range list {
			namespaces[n.ID] = n.Title
		}
		return nil
	})
	if o.Billing {
		group.Go(func() error {
			r.calls.Add(1)
			list, err := cf.BillableUsage(ctx)
			r.gap("what Cloudflare billed", false, err)
			r.out.Charges = list
			return nil
		})
	}
	_ = group.Wait() // every error is a gap
	for i, u := range r.out.Uses {
		switch name := ""; u.Kind {
		case Database:
			if name = databases[u.Name]; name != "" {
				r.out.Uses[i].Name = name
			}
		case Namespace:
			if name = namespaces[u.Name]; name != "" {
				r.out.Uses[i].Name = name
			}
		case Bucket: // one of a jurisdiction has it before its name; names of buckets have no underscore
			if _, rest, ok := strings.Cut(u.Name, "_"); ok {
				r.out.Uses[i].Name = rest
			}
		}
	}
	r.hours(ctx, o, databases)
	r.out.Calls = int(r.calls.Load())
	sort.Slice(r.out.Gaps, func(i, j int) bool { return r.out.Gaps[i].What < r.out.Gaps[j].What })
	sort.Slice(r.out.Uses, func(i, j int) bool {
		return strings.Join([]string{string(r.out.Uses[i].Kind), r.out.Uses[i].Name, r.out.Uses[i].Date, string(r.out.Uses[i].Meter)}, "\x00") < strings.Join([]string{string(r.out.Uses[j].Kind), r.out.Uses[j].Name, r.out.Uses[j].Date, string(r.out.Uses[j].Meter)}, "\x00")
	})
	priced := 0
	for _, g := range r.out.Gaps {
		if g.Priced {
			priced++
			r.out.Error = g.Why
		}
	}
	if priced > 0 && len(r.out.Uses) > 0 {
		r.out.Error = "read in part: " + r.out.Error
	}
	return r.out
}

type reader struct {
	cf    *cloudflare.Client
	calls atomic.Int64
	mu    sync.Mutex
	out   *Reading
}

func (r *reader) gap(what string, priced bool, err error) {
	if err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	why := err.Error()
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		why += " (" + hinted.Hint() + ")"
	}
	r.out.Gaps = append(r.out.Gaps, Gap{what, why, priced})
}

// dataset is a part of a query: sums or maxima, by the thing and the day. Names are the documented ones; see package sim,
// analytics_store.go, for where.
type dataset struct {
	name string
	// field is what the period is chosen by: date, or a moment.
	field  string
	moment bool
	things string // the dimension that names the thing
	more   string // further dimensions
	sums   []string
	maxima []string
	kind   Kind
	// use says what a row means; a meter of "" is not counted.
	use func(row row, add func(Meter, float64))
}

// product is what is asked in one query.
type product struct {
	name   string
	priced bool
	sets   []dataset
}

// row is a group of a dataset.
type row struct {
	Sum        map[string]float64 `json:"sum"`
	Max        map[string]float64 `json:"max"`
	Dimensions map[string]string  `json:"dimensions"`
}

func products() []product {
	return []product{
		{"Workers", true, []dataset{{
			name: "workersInvocationsAdaptive", field: "datetime", moment: true, things: "scriptName", sums: []string{"requests", "cpuTimeUs"}, kind: Worker,
			use: func(r row, add func(Meter, float64)) {
				add(WorkerRequests, r.Sum["requests"])
				add(WorkerCPU, r.Sum["cpuTimeUs"]/1000)
			},
		}}},
		{"D1", true, []dataset{{
			name: "d1AnalyticsAdaptiveGroups", field: "date", things: "databaseId", sums: []string{"rowsRead", "rowsWritten"}, kind: Database,
			use: func(r row, add func(Meter, float64)) {
				add(D1RowsRead, r.Sum["rowsRead"])
				add(D1RowsWritten, r.Sum["rowsWritten"])
			},
		}, {
			name: "d1StorageAdaptiveGroups", field: "date", things: "databaseId", maxima: []string{"databaseSizeBytes"}, kind: Database,
			use: func(r row, add func(Meter, float64)) { add(D1Storage, r.Max["databaseSizeBytes"]) },
		}}},
		{"R2", true, []dataset{{
			name: "r2OperationsAdaptiveGroups", field: "datetime", moment: true, things: "bucketName", more: "actionType", sums: []string{"requests"}, kind: Bucket,
			use: func(r row, add func(Meter, float64)) {
				if m, paid := r2Meter(r.Dimensions["actionType"]); paid {
					add(m, r.Sum["requests"])
				}
			},
		}, {
			name: "r2StorageAdaptiveGroups", field: "datetime", moment: true, things: "bucketName", maxima: []string{"payloadSize", "metadataSize"}, kind: Bucket,
			use: func(r row, add func(Meter, float64)) { add(R2Storage, r.Max["payloadSize"]+r.Max["metadataSize"]) },
		}}},
		{"KV", true, []dataset{{
			name: "kvOperationsAdaptiveGroups", field: "date", things: "namespaceId", more: "actionType", sums: []string{"requests"}, kind: Namespace,
			use: func(r row, add func(Meter, float64)) {
				if m := map[string]Meter{"read": KVReads, "write": KVWrites, "delete": KVDeletes, "list": KVLists}[r.Dimensions["actionType"]]; m != "" {
					add(m, r.Sum["requests"])
				}
			},
		}, {
			name: "kvStorageAdaptiveGroups", field: "date", things: "namespaceId", maxima: []string{"byteCount"}, kind: Namespace,
			use: func(r row, add func(Meter, float64)) { add(KVStorage, r.Max["byteCount"]) },
		}}},
		{"AI gateway", false, []dataset{{
			name: "aiGatewayRequestsAdaptiveGroups", field: "datetimeHour", moment: true, things: "gateway", sums: []string{"cost"}, kind: Gateway,
			use: func(r row, add func(Meter, float64)) { add(AIGateway, r.Sum["cost"]*float64(Dollar)) },
		}}},
	}
}

// maxRows is how many rows a dataset gives at most for a query. One that gave as many may have more, so the period is
// halved then.
const maxRows = 10000

// product asks one product, and adds what it used.
func (r *reader) product(ctx context.Context, p product, o Options) {
	first, last := day(o.From), day(o.Until)
	uses, err := r.days(ctx, p, first, last, o.Until)
	r.gap(p.name, p.priced, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out.Uses = append(r.out.Uses, uses...)
}

func day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// errFull says that one day alone has more rows than the API gives.
var errFull = fmt.Errorf("a day has more than %d rows", maxRows)

// days asks about the days from first to last.
func (r *reader) days(ctx context.Context, p product, first, last, until time.Time) ([]Use, error) {
	var query strings.Builder
	query.WriteString("query Usage($account: string!, $first: Date!, $last: Date!, $from: Time!, $until: Time!) { viewer { accounts(filter: {accountTag: $account}) {")
	dates := false
	moments := false
	for _, s := range p.sets {
		period := s.field + "_geq: $first, " + s.field + "_leq: $last"
		if s.moment {
			period = s.field + "_geq: $from, " + s.field + "_leq: $until"
		}
		dates, moments = dates || !s.moment, moments || s.moment
		fmt.Fprintf(&query, " %s(limit: %d, filter: {%s}) { dimensions { date %s %s }", s.name, maxRows, period, s.things, s.more)
		if len(s.sums) > 0 {
			fmt.Fprintf(&query, " sum { %s }", strings.Join(s.sums, " "))
		}
		if len(s.maxima) > 0 {
			fmt.Fprintf(&query, " max { %s }", strings.Join(s.maxima, " "))
		}
		query.WriteString(" }")
	}
	query.WriteString(" } } }")
	text, variables := query.String(), map[string]any{}
	if dates {
		variables["first"], variables["last"] = first.Format(time.DateOnly), last.Format(time.DateOnly)
	} else {
		text = strings.Replace(text, ", $first: Date!, $last: Date!", "", 1) // GraphQL takes no variable that nothing uses
	}
	if moments {
		end := last.Add(24*time.Hour - time.Second)
		if until.Before(end) {
			end = until
		}
		variables["from"], variables["until"] = first.Format(time.RFC3339), end.UTC().Format(time.RFC3339)
	} else {
		text = strings.Replace(text, ", $from: Time!, $until: Time!", "", 1)
	}
	found, err := r.ask(ctx, text, variables)
	if err != nil {
		return nil, err
	}
	full := slices.ContainsFunc(p.sets, func(s dataset) bool { return len(found[s.name]) >= maxRows })
	if full && !first.Before(last) {
		return nil, errFull
	}
	if full {
		middle := first.Add(last.Sub(first) / 2).Truncate(24 * time.Hour)
		early, err := r.days(ctx, p, first, middle, until)
		if err != nil {
			return nil, err
		}
		late, err := r.days(ctx, p, middle.Add(24*time.Hour), last, until)
		return append(early, late...), err
	}
	type key struct {
		name, date string
		meter      Meter
	}
	var out []Use
	for _, s := range p.sets {
		sums := map[key]float64{} // several actions are one meter
		for _, x := range found[s.name] {
			s.use(x, func(m Meter, amount float64) {
				sums[key{x.Dimensions[s.things], x.Dimensions["date"], m}] += amount
			})
		}
		for k, amount := range sums {
			out = append(out, Use{s.kind, k.name, k.date, k.meter, amount})
		}
	}
	return out, nil
}

// ask runs a query about the account and gives the rows of its datasets.
func (r *reader) ask(ctx context.Context, query string, variables map[string]any) (map[string][]row, error) {
	r.calls.Add(1)
	variables["account"] = r.cf.AccountID
	var data struct {
		Viewer struct {
			Accounts []map[string]json.RawMessage
		}
	}
	if err := r.cf.GraphQL(ctx, query, variables, &data); err != nil {
		return nil, err
	}
	if len(data.Viewer.Accounts) != 1 {
		return nil, errors.New("analytics knows no such account, or does not tell")
	}
	out := map[string][]row{}
	for name, text := range data.Viewer.Accounts[0] {
		var rows []row
		if err := json.Unmarshal(text, &rows); err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		out[name] = rows
	}
	return out, nil
}

// hoursRows is how many rows a query about hours may have: well below maxRows, since none of them may be missing.
const hoursRows = 9000

// hours asks what watched Workers and their databases did in the hours around their releases.
func (r *reader) hours(ctx context.Context, o Options, databases map[string]string) {
	var workers, ids []string
	from, until := o.Until, time.Time{}
	owner := map[string]string{} // Worker by the id of its database
	for _, w := range o.Watch {
		for id, name := range databases {
			if name == w.Database {
				ids, workers = append(ids, id), append(workers, w.Worker)
				owner[id] = w.Worker
			}
		}
		if begin := w.Release.Add(-jumpDays * 24 * time.Hour); begin.Before(from) {
			from = begin
		}
		if end := w.Release.Add((jumpHours + 2) * time.Hour); end.After(until) {
			until = end
		}
	}
	if len(ids) == 0 {
		return
	}
	slices.Sort(workers)
	slices.Sort(ids)
	from = from.UTC().Truncate(time.Hour)
	if until.After(o.Until) {
		until = o.Until
	}
	step := time.Duration(max(1, hoursRows/len(ids))) * time.Hour
	out := map[string]map[time.Time]Hour{}
	add := func(worker, at string, h Hour) error {
		hour, err := time.Parse(time.RFC3339, at)
		if err != nil {
			return fmt.Errorf("reading an hour: %w", err)
		}
		if out[worker] == nil {
			out[worker] = map[time.Time]Hour{}
		}
		x := out[worker][hour.UTC()]
		out[worker][hour.UTC()] = Hour{x.Requests + h.Requests, x.RowsRead + h.RowsRead}
		return nil
	}
	const query = `query Hours($account: string!, $from: Time!, $until: Time!, $workers: [string!]!, $databases: [string!]!) { viewer { accounts(filter: {accountTag: $account}) {
		workersInvocationsAdaptive(limit: 10000, filter: {datetime_geq: $from, datetime_lt: $until, scriptName_in: $workers}) { dimensions { datetimeHour scriptName } sum { requests } }
		d1AnalyticsAdaptiveGroups(limit: 10000, filter: {datetimeHour_geq: $from, datetimeHour_lt: $until, databaseId_in: $databases}) { dimensions { datetimeHour databaseId } sum { rowsRead } } } } }`
	for ; from.Before(until); from = from.Add(step) {
		end := from.Add(step)
		if until.Before(end) {
			end = until
		}
		found, err := r.ask(ctx, query, map[string]any{"from": from.Format(time.RFC3339), "until": end.Format(time.RFC3339), "workers": workers, "databases": ids})
		for _, x := range found["workersInvocationsAdaptive"] {
			err = errors.Join(err, add(x.Dimensions["scriptName"], x.Dimensions["datetimeHour"], Hour{Requests: x.Sum["requests"]}))
		}
		for _, x := range found["d1AnalyticsAdaptiveGroups"] {
			err = errors.Join(err, add(owner[x.Dimensions["databaseId"]], x.Dimensions["datetimeHour"], Hour{RowsRead: x.Sum["rowsRead"]}))
		}
		if err != nil {
			r.gap("rows read for each request", false, err)
			return
		}
	}
	r.out.Hours = out
}
