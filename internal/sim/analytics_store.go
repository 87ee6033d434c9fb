package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The datasets about what stores keep, and about what Workers spend through an AI gateway, with the names and fields that
// Cloudflare documents:
//
//   - workersInvocationsAdaptive: developers.cloudflare.com/analytics/graphql-api/tutorials/querying-workers-metrics
//   - d1AnalyticsAdaptiveGroups, d1StorageAdaptiveGroups (max databaseSizeBytes): …/d1/observability/metrics-analytics
//   - kvOperationsAdaptiveGroups, kvStorageAdaptiveGroups (max keyCount, byteCount): …/kv/observability/metrics-analytics
//   - r2OperationsAdaptiveGroups, r2StorageAdaptiveGroups (max objectCount, uploadCount, payloadSize, metadataSize):
//     …/r2/platform/metrics-analytics
//   - aiGatewayRequestsAdaptiveGroups (dimensions model, provider, gateway): …/ai-gateway/observability/analytics; its sums
//     (cost in US dollars, tokens) are in no document but in the schema.
//
// All of them are kept for 31 days, and give at most 10,000 rows for a query (…/analytics/graphql-api/limits and errors).

// maxRows is how many rows a dataset gives at most.
const maxRows = 10000

// tooOld says that a filter of a dataset begins before what is kept; the API refuses that rather than answering in part
// (…/analytics/graphql-api/errors). Invocations of Workers are kept for longer, and a query of them answers in part here.
func tooOld(dataset string, filter map[string]any, now time.Time) bool {
	if !slices.ContainsFunc([]string{"d1", "kv", "r2"}, func(s string) bool { return strings.HasPrefix(dataset, s) }) {
		return false
	}
	for key, want := range filter {
		if list, ok := want.([]any); ok && (key == "AND" || key == "OR") {
			for _, x := range list {
				if sub, ok := x.(map[string]any); ok && tooOld(dataset, sub, now) {
					return true
				}
			}
			continue
		}
		if !strings.HasPrefix(key, "date") || !strings.HasSuffix(key, "_geq") && !strings.HasSuffix(key, "_gt") {
			continue
		}
		text := fmt.Sprint(want)
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			at, err = time.Parse(time.DateOnly, text)
		}
		if err == nil && now.Sub(at) > metricsKept {
			return true
		}
	}
	return false
}

// Usage is something used at a moment, as analytics will have it besides what really happened in the world. Fields of what
// was not used stay empty.
type Usage struct {
	At time.Time `json:"at"`

	Worker     string   `json:"worker,omitempty"`
	Version    string   `json:"version,omitempty"`
	Requests   int64    `json:"requests,omitempty"` // of the Worker, or of the gateway
	CPU        Duration `json:"cpu,omitempty"`      // of all of them together
	Exceptions int64    `json:"exceptions,omitempty"`

	Database      string `json:"database,omitempty"` // id
	RowsRead      int64  `json:"rows_read,omitempty"`
	RowsWritten   int64  `json:"rows_written,omitempty"`
	DatabaseBytes int64  `json:"database_bytes,omitempty"` // its size then

	Namespace string           `json:"namespace,omitempty"` // id
	Bucket    string           `json:"bucket,omitempty"`
	Actions   map[string]int64 `json:"actions,omitempty"` // operations of the namespace or the bucket, by type of action
	Keys      int64            `json:"keys,omitempty"`    // in the namespace, or objects in the bucket
	Bytes     int64            `json:"bytes,omitempty"`   // kept in the namespace or the bucket then

	Gateway string  `json:"gateway,omitempty"`
	Cost    float64 `json:"cost,omitempty"` // US dollars
}

// planted is a row of a dataset that nobody caused.
type planted struct {
	account, dataset string
	metric
}

// Plant adds usage to an account's analytics. It is lost when the world is closed.
func (w *World) Plant(account string, list ...Usage) error {
	w.mu.RLock()
	known := w.accounts[account] != nil
	w.mu.RUnlock()
	if !known {
		return fmt.Errorf("there is no account %s", account)
	}
	w.usage.mu.Lock()
	defer w.usage.mu.Unlock()
	for _, u := range list {
		if u.At.IsZero() {
			u.At = w.now()
		}
		add := func(dataset string, count int64, dims map[string]string, sum, max map[string]float64) {
			w.usage.planted = append(w.usage.planted, planted{account, dataset, metric{at: u.At, dims: dims, count: count, sum: sum, max: max, samples: map[string][]float64{}}})
		}
		if u.Worker != "" {
			for status, n := range map[string]int64{"success": u.Requests - u.Exceptions, "scriptThrewException": u.Exceptions} {
				if n <= 0 {
					continue
				}
				share := float64(n) / float64(u.Requests)
				errors := 0.0
				if status != "success" {
					errors = float64(n)
				}
				add("workersInvocationsAdaptive", n, map[string]string{"scriptName": u.Worker, "scriptVersion": u.Version, "status": status}, map[string]float64{
					"requests": float64(n), "errors": errors, "subrequests": 0,
					"cpuTimeUs": share * float64(time.Duration(u.CPU).Microseconds()), "wallTime": share * float64(time.Duration(u.CPU).Microseconds()),
				}, nil)
			}
		}
		if u.Database != "" {
			dims := map[string]string{"databaseId": u.Database}
			if u.RowsRead+u.RowsWritten > 0 {
				add("d1AnalyticsAdaptiveGroups", 1, dims, map[string]float64{
					"readQueries": 1, "writeQueries": 0, "rowsRead": float64(u.RowsRead), "rowsWritten": float64(u.RowsWritten), "queryBatchResponseBytes": 0,
				}, nil)
			}
			if u.DatabaseBytes > 0 {
				add("d1StorageAdaptiveGroups", 1, dims, nil, map[string]float64{"databaseSizeBytes": float64(u.DatabaseBytes)})
			}
		}
		for action, n := range u.Actions {
			dataset, dim, name := "kvOperationsAdaptiveGroups", "namespaceId", u.Namespace
			if u.Bucket != "" {
				dataset, dim, name = "r2OperationsAdaptiveGroups", "bucketName", u.Bucket
			}
			dims := map[string]string{dim: name, "actionType": action}
			if u.Bucket != "" {
				dims["actionStatus"] = "success"
			}
			add(dataset, n, dims, map[string]float64{"requests": float64(n), "objectBytes": 0}, nil)
		}
		if u.Namespace != "" && u.Bytes+u.Keys > 0 {
			add("kvStorageAdaptiveGroups", 1, map[string]string{"namespaceId": u.Namespace}, nil, map[string]float64{"keyCount": float64(u.Keys), "byteCount": float64(u.Bytes)})
		}
		if u.Bucket != "" && u.Bytes+u.Keys > 0 {
			add("r2StorageAdaptiveGroups", 1, map[string]string{"bucketName": u.Bucket}, nil,
				map[string]float64{"objectCount": float64(u.Keys), "payloadSize": float64(u.Bytes), "metadataSize": 0, "uploadCount": 0})
		}
		if u.Gateway != "" {
			add("aiGatewayRequestsAdaptiveGroups", u.Requests, map[string]string{"gateway": u.Gateway, "model": "", "provider": ""},
				map[string]float64{"cost": u.Cost, "cachedRequests": 0, "erroredRequests": 0, "cachedTokensIn": 0, "cachedTokensOut": 0, "uncachedTokensIn": 0, "uncachedTokensOut": 0}, nil)
		}
	}
	return nil
}

// Withhold takes a dataset from an account, as from one whose plan lacks it or whose token may not read it.
func (w *World) Withhold(account, dataset string) {
	w.usage.mu.Lock()
	defer w.usage.mu.Unlock()
	if w.usage.withheld == nil {
		w.usage.withheld = map[[2]string]bool{}
	}
	w.usage.withheld[[2]string{account, dataset}] = true
}

func (w *World) withholds(account, dataset string) bool {
	w.usage.mu.Lock()
	defer w.usage.mu.Unlock()
	return w.usage.withheld[[2]string{account, dataset}]
}

// plantedRows are the planted rows of a dataset that are not too old. The caller does not hold the book's lock.
func (w *World) plantedRows(account, dataset string, since time.Time) (out []metric) {
	w.usage.mu.Lock()
	defer w.usage.mu.Unlock()
	for _, p := range w.usage.planted {
		if p.account == account && p.dataset == dataset && !p.at.Before(since) {
			out = append(out, p.metric)
		}
	}
	return out
}

// databaseMetrics measures the databases of an account as they are now.
func (w *World) databaseMetrics(account string) (out []metric) {
	w.storage.mu.Lock()
	var list []*database
	for _, db := range w.storage.databases {
		if db.account == account {
			list = append(list, db)
		}
	}
	w.storage.mu.Unlock()
	for _, db := range list {
		size, _, _, err := db.measure(context.Background())
		if err != nil {
			continue
		}
		out = append(out, metric{
			at: w.now().Truncate(time.Minute), count: 1, dims: map[string]string{"databaseId": db.id},
			max: map[string]float64{"databaseSizeBytes": float64(size)},
		})
	}
	return out
}

// namespaceMetrics measures the namespaces of an account that hold something.
func (w *World) namespaceMetrics(account string) (out []metric) {
	rows, err := w.storage.rows(context.Background(), `SELECT e.namespace, count(*), coalesce(sum((SELECT sum(length(c.data)) FROM chunks c
		WHERE c.owner = 'kv/' || e.namespace || '/' || e.key)), 0) FROM entries e JOIN namespaces n ON n.id = e.namespace
		WHERE n.account = ? GROUP BY e.namespace`, account)
	if err != nil {
		return nil
	}
	for _, r := range rows {
		out = append(out, metric{
			at: w.now().Truncate(time.Minute), count: 1, dims: map[string]string{"namespaceId": r[0].(string)},
			max: map[string]float64{"keyCount": float64(r[1].(int64)), "byteCount": float64(r[2].(int64))},
		})
	}
	return out
}

// bucketMetrics measures the buckets of an account. A bucket of a jurisdiction has it before its name, with an underscore;
// bucket names have none.
func (w *World) bucketMetrics(account string) (out []metric) {
	rows, err := w.storage.rows(context.Background(), `SELECT b.jurisdiction, b.name, count(o.key), coalesce(sum(o.size), 0)
		FROM buckets b LEFT JOIN objects o ON o.bucket = b.id WHERE b.account = ? GROUP BY b.id`, account)
	if err != nil {
		return nil
	}
	for _, r := range rows {
		name := r[1].(string)
		if j := r[0].(string); j != "" && j != "default" {
			name = strings.ToLower(j) + "_" + name
		}
		out = append(out, metric{
			at: w.now().Truncate(time.Minute), count: 1, dims: map[string]string{"bucketName": name},
			max: map[string]float64{"objectCount": float64(r[2].(int64)), "payloadSize": float64(r[3].(int64)), "metadataSize": 0, "uploadCount": 0},
		})
	}
	return out
}
