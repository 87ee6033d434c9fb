package app

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// CallCounts are requests by what came back: 2xx, 4xx, …, error.
type CallCounts map[string]int64

// bounds are the histogram's, in seconds.
var bounds = []float64{0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60, 300}

// counters are what /metrics tells, beside what is asked for at the time. All names of labels are ours: what other people
// write makes no new series. Safe for concurrent use.
type counters struct {
	mu         sync.Mutex
	deliveries map[string]int64    // by result
	heard      map[string]int64    // by result
	orders     map[[2]string]int64 // by verb and outcome
	buckets    []int64             // claims, one for each bound, not added up
	claims     int64
	claimTime  float64
	again      map[string]int64 // redeliveries by result
	rounds     map[string]int64
}

func newCounters() *counters {
	return &counters{
		deliveries: map[string]int64{}, heard: map[string]int64{}, orders: map[[2]string]int64{}, buckets: make([]int64, len(bounds)+1),
		again: map[string]int64{}, rounds: map[string]int64{},
	}
}

func (c *counters) add(m *map[string]int64, label string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	(*m)[label]++
}

func (c *counters) delivery(result string)   { c.add(&c.deliveries, result) }
func (c *counters) hear(result string)       { c.add(&c.heard, result) }
func (c *counters) redelivery(result string) { c.add(&c.again, result) }
func (c *counters) round(result string)      { c.add(&c.rounds, result) }

func (c *counters) order(verb, outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.orders[[2]string{verb, outcome}]++
}

// claimed notes how long it took from a delivery to its claim.
func (c *counters) claimed(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, _ := slices.BinarySearch(bounds, took.Seconds())
	c.buckets[i]++
	c.claims++
	c.claimTime += took.Seconds()
}

// metrics writes the Prometheus text format.
func (r *running) metrics(w http.ResponseWriter, _ *http.Request) {
	var b strings.Builder
	family := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	series := func(name, label string, m map[string]int64) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(&b, "%s{%s=%s} %d\n", name, label, quote(k), m[k])
		}
	}
	waiting, at := r.lanes.counts()
	c := r.count
	c.mu.Lock()
	family("shopfleet_deliveries_total", "counter", "Webhooks by what became of them on arrival.")
	series("shopfleet_deliveries_total", "result", c.deliveries)
	family("shopfleet_heard_total", "counter", "Deliveries from the queue by what they held.")
	series("shopfleet_heard_total", "result", c.heard)
	family("shopfleet_claim_seconds", "histogram", "From a delivery to the claim of the order in it.")
	sum := int64(0)
	for i, bound := range bounds {
		sum += c.buckets[i]
		fmt.Fprintf(&b, "shopfleet_claim_seconds_bucket{le=\"%g\"} %d\n", bound, sum)
	}
	fmt.Fprintf(&b, "shopfleet_claim_seconds_bucket{le=\"+Inf\"} %d\nshopfleet_claim_seconds_sum %g\nshopfleet_claim_seconds_count %d\n", c.claims, c.claimTime, c.claims)
	family("shopfleet_orders_total", "counter", "Orders by verb and outcome.")
	for _, k := range slices.SortedFunc(maps.Keys(c.orders), func(a, b [2]string) int { return strings.Compare(a[0]+" "+a[1], b[0]+" "+b[1]) }) {
		fmt.Fprintf(&b, "shopfleet_orders_total{verb=%s,outcome=%s} %d\n", quote(k[0]), quote(k[1]), c.orders[k])
	}
	family("shopfleet_redeliveries_total", "counter", "Deliveries that GitHub was asked for again.")
	series("shopfleet_redeliveries_total", "result", c.again)
	family("shopfleet_recoveries_total", "counter", "Looks for what was missed.")
	series("shopfleet_recoveries_total", "result", c.rounds)
	c.mu.Unlock()

	family("shopfleet_queue", "gauge", "What waits or is at work.")
	series("shopfleet_queue", "stage", map[string]int64{
		"urgent": int64(len(r.urgent)), "calm": int64(len(r.calm)), "waiting": int64(waiting), "running": int64(at),
	})
	family("shopfleet_deliveries_lost", "gauge", "Deliveries of the last three days that went wrong every time.")
	fmt.Fprintf(&b, "shopfleet_deliveries_lost %d\n", r.lost.Load())
	if r.Calls != nil {
		family("shopfleet_github_requests_total", "counter", "Requests to GitHub by what came back.")
		series("shopfleet_github_requests_total", "status", r.Calls())
	}
	family("shopfleet_recovered_timestamp_seconds", "gauge", "When a look for what was missed last worked.")
	fmt.Fprintf(&b, "shopfleet_recovered_timestamp_seconds %d\n", time.Unix(0, r.recovered.Load()).Unix())
	family("shopfleet_up_since_timestamp_seconds", "gauge", "When the server started.")
	fmt.Fprintf(&b, "shopfleet_up_since_timestamp_seconds %d\n", r.began.Unix())
	family("shopfleet_build_info", "gauge", "What is running.")
	fmt.Fprintf(&b, "shopfleet_build_info{version=%s,commit=%s} 1\n", quote(r.Version), quote(r.Commit))

	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprint(w, b.String())
}

// quote writes a label's value.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(s, "\ufffd")) + `"`
}
