package sim_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim"
)

// graphql asks the analytics API, which has no envelope.
func (c *client) graphql(query string, vars map[string]any) (accounts []any, problem string) {
	c.t.Helper()
	a, err := c.send(c.w.URL, "POST", "/graphql", map[string]any{"query": query, "variables": vars})
	if err != nil {
		c.t.Fatal(err)
	}
	var out struct {
		Data struct {
			Viewer struct {
				Accounts []any
			}
		}
		Errors []struct{ Message string }
	}
	if err := json.Unmarshal(a.Body, &out); err != nil {
		c.t.Fatalf("%s: %v", a.Body, err)
	}
	if len(out.Errors) > 0 {
		problem = out.Errors[0].Message
	}
	return out.Data.Viewer.Accounts, problem
}

func TestGraphQLRefusals(t *testing.T) {
	c := shop(t, sim.Options{})
	account := fmt.Sprintf("accounts(filter: {accountTag: %q})", accountID)
	for query, want := range map[string]string{
		`{ viewer { ` + account + ` { nonsense(limit: 1) { count } } } }`:                                                      "nonsense: unknown field",
		`{ viewer { ` + account + ` { workersInvocationsAdaptive { count } } } }`:                                              "workersInvocationsAdaptive: limit is required",
		`{ viewer { accounts(filter: {accountTag: "` + secondID + `"}) { workersInvocationsAdaptive(limit: 1) { count } } } }`: "not authorized for that account",
		`{ other }`: `unknown field "other"`,
		`{ viewer`:  "unexpected end of query",
	} {
		if _, problem := c.graphql(query, map[string]any{}); problem != want {
			t.Errorf("%s: %q, want %q", query, problem, want)
		}
	}
}

func TestInvocationAnalytics(t *testing.T) {
	clock := newClock()
	dir := t.TempDir()
	const query = `query q($tag: string!, $since: Time!) { viewer { accounts(filter: {accountTag: $tag}) {
		workersInvocationsAdaptive(limit: 100, filter: {datetime_geq: $since, scriptName: "helm-swicked"}, orderBy: [sum_requests_DESC]) {
			sum { requests errors subrequests } quantiles { cpuTimeP50 cpuTimeP99 } dimensions { scriptName status datetimeHour }
		} } } }`
	ask := func(c *client) []any {
		t.Helper()
		accounts, problem := c.graphql(query, map[string]any{"tag": accountID, "since": clock.now().Add(-24 * time.Hour).Format(time.RFC3339)})
		if problem != "" || len(accounts) != 1 {
			t.Fatalf("%d accounts, %s", len(accounts), problem)
		}
		return accounts[0].(map[string]any)["workersInvocationsAdaptive"].([]any)
	}
	t.Run("counts", func(t *testing.T) {
		c := shop(t, sim.Options{Now: clock.now, Dir: dir})
		for i := range 10 {
			c.w.Invoke(accountID, "helm-swicked", "v", "ok", clock.now().Add(-time.Duration(i)*time.Minute), time.Duration(i+1)*time.Millisecond)
		}
		c.w.Invoke(accountID, "helm-swicked", "v", "exception", clock.now(), time.Millisecond)
		c.w.Invoke(accountID, "helm-swicked", "v", "ok", clock.now().Add(-48*time.Hour), time.Millisecond) // before the window
		c.w.Invoke(accountID, "helm-mike", "v", "ok", clock.now(), time.Millisecond)
		c.w.Invoke(secondID, "helm-swicked", "v", "ok", clock.now(), time.Millisecond)
		rows := ask(c)
		got, _ := json.Marshal(rows)
		want := `[{"dimensions":{"datetimeHour":"2026-11-23T11:00:00Z","scriptName":"helm-swicked","status":"success"},"quantiles":{"cpuTimeP50":6000,"cpuTimeP99":10000},"sum":{"errors":0,"requests":9,"subrequests":18}},` +
			`{"dimensions":{"datetimeHour":"2026-11-23T12:00:00Z","scriptName":"helm-swicked","status":"scriptThrewException"},"quantiles":{"cpuTimeP50":1000,"cpuTimeP99":1000},"sum":{"errors":1,"requests":1,"subrequests":2}},` +
			`{"dimensions":{"datetimeHour":"2026-11-23T12:00:00Z","scriptName":"helm-swicked","status":"success"},"quantiles":{"cpuTimeP50":1000,"cpuTimeP99":1000},"sum":{"errors":0,"requests":1,"subrequests":2}}]`
		if string(got) != want {
			t.Errorf("rows\n%s, want\n%s", got, want)
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		if rows := ask(shop(t, sim.Options{Now: clock.now, Dir: dir})); len(rows) != 3 {
			t.Errorf("%d rows, want 3", len(rows))
		}
	})
}

func TestStoreAnalytics(t *testing.T) {
	c := shop(t, sim.Options{})
	database := "/accounts/" + accountID + "/d1/database/" + d1ID
	c.ok("POST", database+"/query", map[string]any{"sql": "CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3); SELECT * FROM t"})
	c.ok("PUT", "/accounts/"+accountID+"/storage/kv/namespaces/"+kvID+"/values/k", "value", "Content-Type", "text/plain")
	set := func(dataset, fields string) map[string]any {
		t.Helper()
		accounts, problem := c.graphql(fmt.Sprintf(`{ viewer { accounts(filter: {accountTag: %q}) { %s { %s } } } }`, accountID, dataset, fields), map[string]any{})
		if problem != "" {
			t.Fatal(problem)
		}
		rows := accounts[0].(map[string]any)
		for _, list := range rows {
			if list := list.([]any); len(list) > 0 {
				return list[0].(map[string]any)
			}
		}
		return nil
	}
	d1 := set(fmt.Sprintf(`d1AnalyticsAdaptiveGroups(limit: 10, filter: {databaseId: %q})`, d1ID), "sum { readQueries writeQueries rowsRead rowsWritten } dimensions { databaseId }")
	if sum := d1["sum"].(map[string]any); sum["readQueries"] != float64(1) || sum["writeQueries"] == float64(0) || sum["rowsRead"] == float64(0) || sum["rowsWritten"] == float64(0) {
		t.Errorf("D1 metrics %v", d1)
	}
	kv := set(`kvOperationsAdaptiveGroups(limit: 10)`, "sum { requests } dimensions { actionType namespaceId }")
	if fmt.Sprint(kv["dimensions"]) != fmt.Sprint(map[string]any{"actionType": "write", "namespaceId": kvID}) {
		t.Errorf("KV metrics %v", kv)
	}
	r2 := set(`r2StorageAdaptiveGroups(limit: 1, filter: {AND: [{bucketName: "helm-swicked-assets"}]}, orderBy: [datetime_DESC])`, "max { objectCount payloadSize metadataSize } dimensions { datetime }")
	if max := r2["max"].(map[string]any); max["objectCount"] != float64(0) {
		t.Errorf("R2 metrics %v", r2)
	}
	if none := set(`r2StorageAdaptiveGroups(limit: 1, filter: {bucketName: "nope"})`, "max { objectCount }"); none != nil {
		t.Errorf("metrics of a bucket that is not there: %v", none)
	}
}
