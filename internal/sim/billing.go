package sim

import "time"

// What an account is charged: GET /accounts/{account_id}/billable-usage, in the columns of FOCUS 1.3 that the description
// has. Nothing is computed: the charges are those that a test says there are.

func billingEndpoints() []endpoint {
	return []endpoint{{"GET /accounts/{account}/billable-usage", reads, (*call).billableUsage}}
}

// Charge is what one metered service of an account cost on one day, in US dollars.
type Charge struct {
	Service, Family, Unit string
	Day                   time.Time
	Quantity, Cost        float64
}

// Bill adds charges to an account. They are lost when the world is closed.
func (w *World) Bill(account string, list ...Charge) {
	w.usage.mu.Lock()
	defer w.usage.mu.Unlock()
	if w.usage.charges == nil {
		w.usage.charges = map[string][]Charge{}
	}
	w.usage.charges[account] = append(w.usage.charges[account], list...)
}

func (c *call) billableUsage() (any, error) {
	from, until := c.w.now().AddDate(0, -1, 0), c.w.now().AddDate(0, 0, 1)
	for name, at := range map[string]*time.Time{"from": &from, "to": &until} {
		if text := c.r.URL.Query().Get(name); text != "" {
			t, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return nil, refuse(400, 1004, "invalid %s", name)
			}
			*at = t
		}
	}
	c.w.usage.mu.Lock()
	defer c.w.usage.mu.Unlock()
	list, sum := []map[string]any{}, map[string]Charge{}
	for _, x := range c.w.usage.charges[c.account.ID] {
		if x.Day.Before(from) || x.Day.After(until) {
			continue
		}
		total := sum[x.Service]
		total.Quantity, total.Cost = total.Quantity+x.Quantity, total.Cost+x.Cost
		sum[x.Service] = total
		list = append(list, map[string]any{
			"BilledCost": x.Cost, "BillingAccountId": c.account.ID, "BillingAccountName": c.account.Name, "BillingCurrency": "USD",
			"BillingPeriodStart": from.UTC().Format(time.RFC3339), "ChargeCategory": "Usage", "ChargeClass": nil, "ChargeDescription": nil,
			"ChargePeriodStart": x.Day.UTC().Format(time.RFC3339), "ChargePeriodEnd": x.Day.Add(24 * time.Hour).UTC().Format(time.RFC3339),
			"ConsumedQuantity": x.Quantity, "ConsumedUnit": x.Unit, "ContractedCost": x.Cost, "CumulatedContractedCost": total.Cost,
			"CumulatedPricingQuantity": int64(total.Quantity), "EffectiveCost": x.Cost, "HostProviderName": "Cloudflare", "InvoiceIssuerName": "Cloudflare",
			"ListCost": x.Cost, "PricingQuantity": int64(x.Quantity), "PricingUnit": orElse(x.Unit, "Count"), "ServiceName": x.Service,
			"ServiceFamilyName": x.Family, "ServiceProviderName": "Cloudflare", "SubscriptionId": nil, "ZoneId": nil, "ZoneName": nil,
		})
	}
	return list, nil
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
