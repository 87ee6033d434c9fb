package sim

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

// metricsKept is how long analytics reach back (field.md §5: D1 metrics).
const metricsKept = 31 * 24 * time.Hour

// invocationBook counts invocations, one row per Worker, version, outcome and minute.
type invocationBook struct {
	mu       sync.Mutex
	rows     map[invocationKey]*invocationRow
	planted  []planted
	charges  map[string][]Charge // by account
	withheld map[[2]string]bool  // account and dataset
}

type invocationKey struct {
	Account, Script, Version, Outcome string
	Minute                            int64 // seconds since 1970
}

// invocationFile is how the book is kept over a restart.
type invocationFile struct {
	Key invocationKey
	Row *invocationRow
}

// saveUsage writes the counters; it happens when a world is closed.
func (w *World) saveUsage() error {
	if w.dir == "" {
		return nil
	}
	w.usage.mu.Lock()
	defer w.usage.mu.Unlock()
	list := []invocationFile{}
	for k, row := range w.usage.rows {
		list = append(list, invocationFile{k, row})
	}
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return w.disk.writeFile("usage.json", b)
}

func (w *World) loadUsage() error {
	var list []invocationFile
	if err := readJSON(filepath.Join(w.dir, "usage.json"), &list); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	w.usage.rows = map[invocationKey]*invocationRow{}
	for _, f := range list {
		w.usage.rows[f.Key] = f.Row
	}
	return nil
}

type invocationRow struct {
	Requests, Errors, Subrequests int64
	Wall                          time.Duration
	Spent                         time.Duration   // CPU time of all of them
	CPU                           []time.Duration // samples, at most maxSamples
}

const maxSamples = 512

// traffic counts an invocation and shows it to tails. Static files are free: they are no invocation.
func (w *World) traffic(e trafficEvent) {
	if e.AssetOnly {
		return
	}
	b := &w.usage
	b.mu.Lock()
	if b.rows == nil {
		b.rows = map[invocationKey]*invocationRow{}
	}
	k := invocationKey{e.Account, e.Script, e.Version, e.Outcome, e.At.Truncate(time.Minute).Unix()}
	row := b.rows[k]
	if row == nil {
		row = &invocationRow{}
		b.rows[k] = row
		for old := range b.rows {
			if e.At.Sub(time.Unix(old.Minute, 0)) > metricsKept {
				delete(b.rows, old)
			}
		}
	}
	row.Requests++
	row.Subrequests += int64(e.Subrequests)
	row.Wall += e.Wall
	row.Spent += e.CPU
	if e.Outcome != "ok" {
		row.Errors++
	}
	if len(row.CPU) < maxSamples {
		row.CPU = append(row.CPU, e.CPU)
	}
	b.mu.Unlock()
	w.publish(e)
}

// invocationStatus maps the outcome of a trace to the status dimension of the Workers dataset, where they differ.
var invocationStatus = map[string]string{
	"ok": "success", "exception": "scriptThrewException", "canceled": "clientDisconnected", "exceededCpu": "exceededResources",
	"exceededMemory": "exceededResources", "unknown": "internalError",
}

// metric is one row of a dataset before grouping.
type metric struct {
	at      time.Time
	dims    map[string]string
	count   int64
	sum     map[string]float64
	max     map[string]float64
	samples map[string][]float64 // for quantiles
}

// metrics are the rows of a dataset; names and fields are those documented for the GraphQL API (analytics_store.go).
func (w *World) metrics(account, dataset string) ([]metric, bool) {
	since, until := w.now().Add(-metricsKept), w.now().Add(time.Minute)
	out := w.plantedRows(account, dataset, since)
	switch dataset {
	case "workersInvocationsAdaptive":
		w.usage.mu.Lock()
		defer w.usage.mu.Unlock()
		for k, row := range w.usage.rows {
			if k.Account != account {
				continue
			}
			status := k.Outcome
			if s, ok := invocationStatus[status]; ok {
				status = s
			}
			m := metric{
				at: time.Unix(k.Minute, 0), count: row.Requests,
				dims: map[string]string{"scriptName": k.Script, "scriptVersion": k.Version, "status": status},
				sum: map[string]float64{
					"requests": float64(row.Requests), "errors": float64(row.Errors), "subrequests": float64(row.Subrequests),
					"wallTime": float64(row.Wall.Microseconds()), "cpuTimeUs": float64(row.Spent.Microseconds()),
				},
				samples: map[string][]float64{},
			}
			for _, d := range row.CPU {
				m.samples["cpuTime"] = append(m.samples["cpuTime"], float64(d.Microseconds()))
			}
			out = append(out, m)
		}
	case "d1AnalyticsAdaptiveGroups":
		for _, u := range w.storage.usage(account, since, until).Databases {
			out = append(out, metric{
				at: u.Minute, count: u.ReadQueries + u.WriteQueries, dims: map[string]string{"databaseId": u.Database},
				sum: map[string]float64{
					"readQueries": float64(u.ReadQueries), "writeQueries": float64(u.WriteQueries), "rowsRead": float64(u.RowsRead),
					"rowsWritten": float64(u.RowsWritten), "queryBatchResponseBytes": float64(u.Bytes),
				},
				samples: map[string][]float64{"queryBatchTimeMs": {float64(u.Duration.Microseconds()) / 1000}},
			})
		}
	case "kvOperationsAdaptiveGroups":
		for _, u := range w.storage.usage(account, since, until).KV {
			out = append(out, operationMetric(u, "namespaceId"))
		}
	case "r2OperationsAdaptiveGroups":
		for _, u := range w.storage.usage(account, since, until).R2 {
			out = append(out, operationMetric(u, "bucketName"))
		}
	case "r2StorageAdaptiveGroups":
		out = append(out, w.bucketMetrics(account)...)
	case "d1StorageAdaptiveGroups":
		out = append(out, w.databaseMetrics(account)...)
	case "kvStorageAdaptiveGroups":
		out = append(out, w.namespaceMetrics(account)...)
	case "aiGatewayRequestsAdaptiveGroups": // nothing in this world speaks to a model
	default:
		return nil, false
	}
	return out, true
}

func operationMetric(u operationUsage, resource string) metric {
	return metric{
		at: u.Minute, count: u.Requests, dims: map[string]string{resource: u.Resource, "actionType": u.Action},
		sum: map[string]float64{"requests": float64(u.Requests), "objectBytes": float64(u.Bytes)},
	}
}

// timeDims are the dimensions that every dataset derives from the time of a row.
var timeDims = map[string]func(time.Time) string{
	"datetime":               func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"datetimeMinute":         func(t time.Time) string { return t.UTC().Truncate(time.Minute).Format(time.RFC3339) },
	"datetimeFiveMinutes":    func(t time.Time) string { return t.UTC().Truncate(5 * time.Minute).Format(time.RFC3339) },
	"datetimeFifteenMinutes": func(t time.Time) string { return t.UTC().Truncate(15 * time.Minute).Format(time.RFC3339) },
	"datetimeHour":           func(t time.Time) string { return t.UTC().Truncate(time.Hour).Format(time.RFC3339) },
	"date":                   func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
}

func (m metric) dim(name string) (string, bool) {
	if f := timeDims[name]; f != nil {
		return f(m.at), true
	}
	v, ok := m.dims[name]
	return v, ok
}

// dataset answers one dataset of a query: filter, group by the dimensions asked for, order, limit.
func (w *World) dataset(account string, q *selection) (any, error) {
	filter, _ := q.args["filter"].(map[string]any)
	if w.withholds(account, q.name) {
		return nil, fmt.Errorf("account '%s' does not have access to the path", account)
	}
	rows, ok := w.metrics(account, q.name)
	if !ok {
		return nil, fmt.Errorf("unknown field")
	}
	if limit, ok := q.args["limit"].(float64); !ok {
		return nil, fmt.Errorf("limit is required")
	} else if limit < 1 || limit > maxRows {
		return nil, fmt.Errorf("limit must be positive number and not greater than %d", maxRows)
	}
	if tooOld(q.name, filter, w.now()) {
		return nil, fmt.Errorf("cannot request data older than %ds", int(metricsKept.Seconds()))
	}
	var dims []string
	for _, f := range q.fields {
		if f.name == "dimensions" {
			for _, d := range f.fields {
				dims = append(dims, d.name)
			}
		}
	}
	groups := map[string]*metric{}
	for _, m := range rows {
		match, err := m.matches(filter)
		if err != nil {
			return nil, err
		}
		if !match {
			continue
		}
		var key strings.Builder
		for _, d := range dims {
			v, ok := m.dim(d)
			if !ok {
				return nil, fmt.Errorf("unknown field %q in dimensions", d)
			}
			key.WriteString(v + "\x00")
		}
		if g := groups[key.String()]; g != nil {
			g.join(m)
		} else {
			groups[key.String()] = m.clone()
		}
	}
	list := slices.Collect(maps.Values(groups))
	if err := order(list, q.args["orderBy"]); err != nil {
		return nil, err
	}
	list = list[:min(len(list), int(q.args["limit"].(float64)))]
	out := []any{}
	for _, m := range list {
		row, err := m.show(q.fields)
		if err != nil {
			return nil, err
		}
		out = append(out, row)
	}
	return out, nil
}

func (m metric) clone() *metric {
	m.sum, m.max, m.samples = maps.Clone(m.sum), maps.Clone(m.max), maps.Clone(m.samples)
	return &m
}

func (m *metric) join(o metric) {
	m.count += o.count
	for k, v := range o.sum {
		m.sum[k] += v
	}
	for k, v := range o.max {
		m.max[k] = max(m.max[k], v)
	}
	for k, v := range o.samples {
		m.samples[k] = slices.Concat(m.samples[k], v)
	}
}

// show picks the fields that were asked for.
func (m *metric) show(fields []*selection) (map[string]any, error) {
	out := map[string]any{}
	for _, f := range fields {
		if f.name == "count" {
			out[f.alias] = m.count
			continue
		}
		group := map[string]any{}
		for _, x := range f.fields {
			var v any
			ok := false
			switch f.name {
			case "dimensions":
				v, ok = m.dim(x.name)
			case "sum":
				v, ok = m.sum[x.name]
			case "max":
				v, ok = m.max[x.name]
			case "avg":
				v, ok = mean(m.samples[x.name])
			case "quantiles":
				v, ok = m.quantile(x.name)
			}
			if !ok {
				return nil, fmt.Errorf("unknown field %q in %s", x.name, f.name)
			}
			group[x.alias] = v
		}
		if len(f.fields) == 0 {
			return nil, fmt.Errorf("unknown field %q", f.name)
		}
		out[f.alias] = group
	}
	return out, nil
}

func mean(samples []float64) (float64, bool) {
	if len(samples) == 0 {
		return 0, false
	}
	total := 0.0
	for _, x := range samples {
		total += x
	}
	return total / float64(len(samples)), true
}

// quantile understands names such as cpuTimeP50 and cpuTimeP999.
func (m *metric) quantile(name string) (float64, bool) {
	i := strings.LastIndexByte(name, 'P')
	if i < 1 || len(m.samples[name[:i]]) == 0 {
		return 0, false
	}
	rank := 0.0
	if _, err := fmt.Sscanf("0."+name[i+1:], "%g", &rank); err != nil {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(m.samples[name[:i]]))
	return sorted[min(int(rank*float64(len(sorted))), len(sorted)-1)], true
}

// order sorts by orderBy words such as datetime_DESC and sum_requests_ASC, or by time.
func order(list []*metric, by any) error {
	words, _ := by.([]any)
	if word, ok := by.(string); ok {
		words = []any{word}
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := list[i], list[j]
		if c := a.at.Compare(b.at); c != 0 {
			return c < 0
		}
		return fmt.Sprint(a.dims) < fmt.Sprint(b.dims)
	})
	for _, w := range slices.Backward(words) {
		word, _ := w.(string)
		i := strings.LastIndexByte(word, '_')
		if i < 1 || word[i:] != "_ASC" && word[i:] != "_DESC" {
			return fmt.Errorf("orderBy %q is not of the form field_ASC or field_DESC", word)
		}
		sign := 1
		if word[i:] == "_DESC" {
			sign = -1
		}
		kind, field, _ := strings.Cut(word[:i], "_")
		slices.SortStableFunc(list, func(a, b *metric) int {
			switch kind {
			case "count":
				return sign * cmp.Compare(a.count, b.count)
			case "sum":
				return sign * cmp.Compare(a.sum[field], b.sum[field])
			case "max":
				return sign * cmp.Compare(a.max[field], b.max[field])
			}
			x, _ := a.dim(word[:i])
			y, _ := b.dim(word[:i])
			return sign * cmp.Compare(x, y)
		})
	}
	return nil
}

// filterOps are the suffixes of filter fields.
var filterOps = []string{"_geq", "_leq", "_gt", "_lt", "_neq", "_in", "_notin", "_like"}

// matches evaluates a filter: fields are ANDed; AND and OR take lists.
func (m metric) matches(filter map[string]any) (bool, error) {
	for key, want := range filter {
		ok, err := m.matchesOne(key, want)
		if err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func (m metric) matchesOne(key string, want any) (bool, error) {
	if key == "AND" || key == "OR" {
		list, _ := want.([]any)
		for _, x := range list {
			sub, _ := x.(map[string]any)
			ok, err := m.matches(sub)
			if err != nil {
				return false, err
			}
			if ok == (key == "OR") {
				return ok, nil
			}
		}
		return key == "AND", nil
	}
	name, op := key, ""
	for _, o := range filterOps {
		if strings.HasSuffix(key, o) {
			name, op = strings.TrimSuffix(key, o), o
			break
		}
	}
	have, ok := m.dim(name)
	if !ok {
		return false, fmt.Errorf("unknown field %q in filter", key)
	}
	if op == "_in" || op == "_notin" {
		list, _ := want.([]any)
		in := slices.ContainsFunc(list, func(x any) bool { return compareDim(have, fmt.Sprint(x)) == 0 })
		return in == (op == "_in"), nil
	}
	c := compareDim(have, fmt.Sprint(want))
	switch op {
	case "_geq":
		return c >= 0, nil
	case "_leq":
		return c <= 0, nil
	case "_gt":
		return c > 0, nil
	case "_lt":
		return c < 0, nil
	case "_neq":
		return c != 0, nil
	case "_like":
		return strings.Contains(have, strings.Trim(fmt.Sprint(want), "%")), nil
	}
	return c == 0, nil
}

// compareDim compares moments as moments, whatever their precision, and everything else as text.
func compareDim(a, b string) int {
	x, xerr := time.Parse(time.RFC3339Nano, a)
	y, yerr := time.Parse(time.RFC3339Nano, b)
	if xerr == nil && yerr == nil {
		return x.Compare(y)
	}
	return cmp.Compare(a, b)
}
