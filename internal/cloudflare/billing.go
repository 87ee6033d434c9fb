package cloudflare

import (
	"context"
	"time"
)

// Charge is what one metered service of the account cost in one period, usually a day: a record of GetAccountUsageV1
// (contracts/cloudflare/openapi.trimmed.json, in the columns of FOCUS 1.3), with what we read of it. Rows that only name a
// zone, an invoice or a discount have nothing else to say.
type Charge struct {
	Service  string    `json:"ServiceName"`
	Family   string    `json:"ServiceFamilyName"`
	Start    time.Time `json:"ChargePeriodStart"`
	End      time.Time `json:"ChargePeriodEnd"`
	Quantity float64   `json:"ConsumedQuantity"`
	Unit     string    `json:"ConsumedUnit"` // "" where the service's name says it
	Cost     float64   `json:"BilledCost"`
	Currency string    `json:"BillingCurrency"` // ISO 4217
}

// BillableUsage lists what the account is charged in the current billing period; it needs the permission Billing · Read.
// An account that the endpoint, which is in alpha, does not cover has an empty list.
func (c *Client) BillableUsage(ctx context.Context) ([]Charge, error) {
	var list []Charge
	err := c.raw(ctx, request{op: "BillableUsage"}, &list)
	return list, err
}
