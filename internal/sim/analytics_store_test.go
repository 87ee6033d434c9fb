package sim_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim"
)

// TestPlantedAnalytics asks as Cloudflare's pages do: storage by day, gateways by name, CPU time of Workers.
func TestPlantedAnalytics(t *testing.T) {
	clock := newClock()
	c := shop(t, sim.Options{Now: clock.now})
	err := c.w.Plant(accountID,
		sim.Usage{At: clock.now().Add(-24 * time.Hour), Worker: "helm-swicked", Requests: 10, Exceptions: 2, CPU: sim.Duration(time.Second)},
		sim.Usage{At: clock.now().Add(-24 * time.Hour), Database: d1ID, RowsRead: 70, DatabaseBytes: 1 << 20},
		sim.Usage{At: clock.now().Add(-25 * time.Hour), Database: d1ID, DatabaseBytes: 2 << 20},
		sim.Usage{At: clock.now().Add(-24 * time.Hour), Namespace: kvID, Keys: 3, Bytes: 99, Actions: map[string]int64{"read": 5}},
		sim.Usage{At: clock.now().Add(-24 * time.Hour), Bucket: "helm-swicked-assets", Keys: 2, Bytes: 1000, Actions: map[string]int64{"GetObject": 8}},
		sim.Usage{At: clock.now().Add(-24 * time.Hour), Gateway: "helm-swicked", Requests: 4, Cost: 0.5},
		sim.Usage{At: clock.now().Add(-32 * 24 * time.Hour), Gateway: "helm-swicked", Requests: 4, Cost: 99},
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.w.Plant("nobody", sim.Usage{}); err == nil {
		t.Error("an account that is not there has usage")
	}
	day := clock.now().Add(-24 * time.Hour).UTC().Format(time.DateOnly)
	ask := func(set string) (rows, problem string) {
		t.Helper()
		accounts, problem := c.graphql(fmt.Sprintf(`{ viewer { accounts(filter: {accountTag: %q}) { %s } } }`, accountID, set), map[string]any{})
		if problem != "" {
			return "", problem
		}
		for _, list := range accounts[0].(map[string]any) {
			b, _ := json.Marshal(list)
			rows += string(b)
		}
		return rows, ""
	}
	period := fmt.Sprintf(`filter: {date_geq: %q, date_leq: %q}`, day, day)
	for set, want := range map[string]string{
		`workersInvocationsAdaptive(limit: 10, ` + period + `, orderBy: [sum_requests_DESC]) { sum { requests errors cpuTimeUs } dimensions { date scriptName status } }`: `[{"dimensions":{"date":"` + day + `","scriptName":"helm-swicked","status":"success"},"sum":{"cpuTimeUs":800000,"errors":0,"requests":8}},` +
			`{"dimensions":{"date":"` + day + `","scriptName":"helm-swicked","status":"scriptThrewException"},"sum":{"cpuTimeUs":200000,"errors":2,"requests":2}}]`,
		`d1StorageAdaptiveGroups(limit: 10, ` + period + `) { max { databaseSizeBytes } dimensions { date databaseId } }`:                     `[{"dimensions":{"databaseId":"` + d1ID + `","date":"` + day + `"},"max":{"databaseSizeBytes":2097152}}]`,
		`kvStorageAdaptiveGroups(limit: 10, ` + period + `) { max { keyCount byteCount } dimensions { date namespaceId } }`:                   `[{"dimensions":{"date":"` + day + `","namespaceId":"` + kvID + `"},"max":{"byteCount":99,"keyCount":3}}]`,
		`kvOperationsAdaptiveGroups(limit: 10, ` + period + `) { sum { requests } dimensions { actionType } }`:                                `[{"dimensions":{"actionType":"read"},"sum":{"requests":5}}]`,
		`r2StorageAdaptiveGroups(limit: 10, ` + period + `) { max { objectCount payloadSize metadataSize uploadCount } dimensions { date } }`: `[{"dimensions":{"date":"` + day + `"},"max":{"metadataSize":0,"objectCount":2,"payloadSize":1000,"uploadCount":0}}]`,
		`aiGatewayRequestsAdaptiveGroups(limit: 10) { count sum { cost } dimensions { gateway } }`:                                            `[{"count":4,"dimensions":{"gateway":"helm-swicked"},"sum":{"cost":0.5}}]`,
	} {
		if rows, problem := ask(set); rows != want {
			t.Errorf("%s\n%s%s, want\n%s", set, rows, problem, want)
		}
	}
	for set, want := range map[string]string{
		`d1AnalyticsAdaptiveGroups(limit: 10001) { sum { rowsRead } }`:                                                      "limit must be positive number and not greater than 10000",
		`d1AnalyticsAdaptiveGroups(limit: 0) { sum { rowsRead } }`:                                                          "limit must be positive number and not greater than 10000",
		`kvOperationsAdaptiveGroups(limit: 1, filter: {date_geq: "2026-01-01"}) { sum { requests } }`:                       "cannot request data older than 2678400s",
		`r2OperationsAdaptiveGroups(limit: 1, filter: {AND: [{datetime_gt: "2026-01-01T00:00:00Z"}]}) { sum { requests } }`: "cannot request data older than 2678400s",
	} {
		if _, problem := ask(set); !strings.HasSuffix(problem, want) {
			t.Errorf("%s: %q, want %q", set, problem, want)
		}
	}
	c.w.Withhold(accountID, "kvStorageAdaptiveGroups")
	if _, problem := ask(`kvStorageAdaptiveGroups(limit: 1) { max { keyCount } }`); !strings.Contains(problem, "does not have access to the path") {
		t.Errorf("withheld: %q", problem)
	}
}

func TestBillableUsage(t *testing.T) {
	clock := newClock()
	c := shop(t, sim.Options{Now: clock.now})
	path := "/accounts/" + accountID + "/billable-usage"
	if got := c.ok("GET", path, nil).Result; fmt.Sprint(got) != "[]" {
		t.Errorf("nothing was charged: %v", got)
	}
	c.w.Bill(accountID, sim.Charge{Service: "D1 Rows Read", Family: "D1", Unit: "rows", Day: clock.now().Add(-48 * time.Hour), Quantity: 3, Cost: 1.5},
		sim.Charge{Service: "D1 Rows Read", Family: "D1", Unit: "rows", Day: clock.now().Add(-24 * time.Hour), Quantity: 1, Cost: 0.5})
	list := c.ok("GET", path, nil).Result.([]any)
	if len(list) != 2 || list[1].(map[string]any)["CumulatedContractedCost"] != 2.0 || list[1].(map[string]any)["BilledCost"] != 0.5 {
		t.Errorf("charges %v", list)
	}
	list = c.ok("GET", path+"?from="+clock.now().Add(-30*time.Hour).UTC().Format(time.RFC3339), nil).Result.([]any)
	if len(list) != 1 {
		t.Errorf("of the last day: %v", list)
	}
}
