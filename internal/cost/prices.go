package cost

import "math"

// This file is the price list: nothing else knows what anything costs. Whoever changes a number changes the date beside it,
// which is when the source was read.

// Price is what a meter costs.
type Price struct {
	Meter Meter  `json:"meter"`
	Line  Line   `json:"line"`
	Name  string `json:"name"`
	// USD is paid for each Per of what is used in a month above Included.
	USD      USD     `json:"usd"`
	Per      float64 `json:"per"`
	PerName  string  `json:"per_name"`
	Included float64 `json:"included"`
	// RoundsUp says that a begun Per is paid in full.
	RoundsUp bool   `json:"rounds_up,omitempty"`
	Source   string `json:"source"`
	Date     string `json:"date"` // YYYY-MM-DD
}

const (
	million  = 1e6
	gigabyte = 1e9 // as storage is billed
)

// PlanUSD is the subscription of the Workers Paid plan, an account and month.
const PlanUSD = 5 * Dollar

// Prices is what Cloudflare asks on the Workers Paid plan (Standard usage model; R2 in Standard storage), in US dollars, tax
// apart. Accounts with a contract pay what that says.
func Prices() []Price {
	const (
		workers = "https://developers.cloudflare.com/workers/platform/pricing/"
		d1      = "https://developers.cloudflare.com/d1/platform/pricing/"
		r2      = "https://developers.cloudflare.com/r2/pricing/"
		kv      = "https://developers.cloudflare.com/kv/platform/pricing/"
		ai      = "https://developers.cloudflare.com/ai-gateway/observability/costs/"
		read    = "2026-11-28"
	)
	return []Price{
		{WorkerRequests, LineWorker, "Worker requests", 300_000, million, "million", 10 * million, false, workers, read},
		{WorkerCPU, LineWorker, "Worker CPU", 20_000, million, "million ms", 30 * million, false, workers, read},
		{D1RowsRead, LineD1Reads, "D1 rows read", 1_000, million, "million", 25_000 * million, false, d1, read},
		{D1RowsWritten, LineD1Writes, "D1 rows written", 1_000_000, million, "million", 50 * million, false, d1, read},
		{D1Storage, LineD1Storage, "D1 storage", 750_000, gigabyte, "GB", 5 * gigabyte, false, d1, read},
		{R2Storage, LineR2Storage, "R2 storage", 15_000, gigabyte, "GB", 10 * gigabyte, true, r2, read},
		{R2ClassA, LineR2Operations, "R2 class A operations", 4_500_000, million, "million", million, true, r2, read},
		{R2ClassB, LineR2Operations, "R2 class B operations", 360_000, million, "million", 10 * million, true, r2, read},
		{KVReads, LineKV, "KV reads", 500_000, million, "million", 10 * million, false, kv, read},
		{KVWrites, LineKV, "KV writes", 5_000_000, million, "million", million, false, kv, read},
		{KVDeletes, LineKV, "KV deletes", 5_000_000, million, "million", million, false, kv, read},
		{KVLists, LineKV, "KV lists", 5_000_000, million, "million", million, false, kv, read},
		{KVStorage, LineKV, "KV storage", 500_000, gigabyte, "GB", gigabyte, false, kv, read},
		// Not Cloudflare's price: what the gateway reckons that the providers charge, which they bill themselves.
		{AIGateway, LineAI, "AI gateway", 1, 1, "", 0, false, ai, read},
	}
}

// Bill is what an account pays for what it uses in a month.
func (p Price) Bill(month float64) USD {
	units := max(0, month-p.Included) / p.Per
	if p.RoundsUp {
		units = math.Ceil(units - 1e-9) // a whole unit that came out of a division is no begun one
	}
	return millionths(units * float64(p.USD))
}

// List is what a month's use would cost if nothing were included and nothing rounded.
func (p Price) List(month float64) USD { return millionths(month / p.Per * float64(p.USD)) }

// dollars brings dollars to USD.
func dollars(f float64) USD { return millionths(f * float64(Dollar)) }

// mostUSD is more than a thousand million dollars. Floats are exact to there, so that it can be shared.
const mostUSD = 1 << 50

// millionths rounds, and stops at mostUSD: a Worker may tell the AI gateway any cost, and that must not stop a fleet's report.
func millionths(f float64) USD { return USD(math.Round(min(max(f, -mostUSD), mostUSD))) }

// classA and classB are the operations of R2 that have a price (developers.cloudflare.com/r2/pricing, Class A and Class B
// operations). DeleteObject, DeleteBucket and AbortMultipartUpload are free; an operation that is in no list is taken for
// class A, which is the dearer one.
func r2Meter(action string) (m Meter, paid bool) {
	switch action {
	case "DeleteObject", "DeleteObjects", "DeleteBucket", "AbortMultipartUpload":
		return "", false
	case "HeadBucket", "HeadObject", "GetObject", "UsageSummary", "GetBucketEncryption", "GetBucketLocation", "GetBucketCors",
		"GetBucketLifecycleConfiguration":
		return R2ClassB, true
	}
	return R2ClassA, true
}
