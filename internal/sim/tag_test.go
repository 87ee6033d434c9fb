package sim_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/sim"
)

const tagsPath = "/accounts/" + accountID + "/tags"

func tagged(kind, id string, tags map[string]string) map[string]any {
	return map[string]any{"resource_type": kind, "resource_id": id, "tags": tags}
}

func TestResourceTags(t *testing.T) {
	c := shop(t, sim.Options{})
	of := func(kind, id string) *answer {
		t.Helper()
		return c.ok("GET", tagsPath+"?resource_type="+kind+"&resource_id="+id, nil)
	}
	if a := of("d1_database", d1ID); len(a.get("tags").(map[string]any)) != 0 {
		t.Errorf("an untagged resource has %s", a.Body)
	}
	c.ok("PUT", tagsPath, tagged("d1_database", d1ID, map[string]string{"shop": "swicked", "env": "production"}))
	c.ok("PUT", tagsPath, tagged("d1_database", d1ID, map[string]string{"shop": "swicked"}))
	if tags := of("d1_database", d1ID).get("tags").(map[string]any); len(tags) != 1 || tags["shop"] != "swicked" {
		t.Errorf("PUT does not replace all tags: %v", tags)
	}

	etag := of("d1_database", d1ID).text("etag")
	c.refused(412, 1012, "PUT", tagsPath, tagged("d1_database", d1ID, map[string]string{"shop": "mike"}), "If-Match", `"stale"`)
	c.ok("PUT", tagsPath, tagged("d1_database", d1ID, map[string]string{"shop": "swicked", "tier": "a"}), "If-Match", `"`+etag+`"`)
	c.refused(412, 1012, "DELETE", tagsPath+"?resource_type=d1_database&resource_id="+d1ID, nil, "If-Match", `"`+etag+`"`)

	c.ok("PUT", tagsPath, tagged("worker", "helm-swicked", map[string]string{"shop": "swicked", "tier": "b"}))
	c.ok("PUT", tagsPath, tagged("kv_namespace", kvID, map[string]string{"shop": "mike"}))
	found := func(filters ...string) string {
		t.Helper()
		a := c.ok("GET", tagsPath+"/resources?tag="+strings.Join(filters, "&tag="), nil)
		var types []string
		for i := range a.len("") {
			types = append(types, a.text(fmt.Sprintf("%d.type", i)))
		}
		return strings.Join(types, " ")
	}
	for filter, want := range map[string]string{
		"tier": "d1_database worker", "shop=swicked": "d1_database worker", "shop=swicked,mike": "d1_database kv_namespace worker",
		"!tier": "kv_namespace", "shop!=swicked": "kv_namespace", "shop=swicked&tag=tier=b": "worker", "nothing": "",
	} {
		if got := found(filter); got != want {
			t.Errorf("%s finds %q, want %q", filter, got, want)
		}
	}
	c.refused(400, 1013, "GET", tagsPath+"/resources?tag=a=1,2,3,4,5,6,7,8,9,10,11", nil)
	if a := c.ok("GET", tagsPath+"/keys", nil); fmt.Sprint(a.Result) != "[shop tier]" {
		t.Errorf("keys %v", a.Result)
	}
	if a := c.ok("GET", tagsPath+"/values/shop", nil); fmt.Sprint(a.Result) != "[mike swicked]" {
		t.Errorf("values %v", a.Result)
	}
	c.ok("DELETE", tagsPath, map[string]any{"resource_type": "worker", "resource_id": "helm-swicked"})
	if got := found("tier"); got != "d1_database" {
		t.Errorf("after deleting: %q", got)
	}
	c.refused(400, 1001, "PUT", tagsPath, tagged("spaceship", "x", nil))
	c.refused(400, 1001, "PUT", tagsPath, tagged("worker_version", "x", map[string]string{}))
}

func TestProducts(t *testing.T) {
	c := shop(t, sim.Options{})
	queues := "/accounts/" + accountID + "/queues"
	c.ok("POST", queues, map[string]any{"queue_name": "orders"})
	c.refused(409, 11009, "POST", queues, map[string]any{"queue_name": "orders"})
	c.refused(400, 11003, "POST", queues, map[string]any{})
	if a := c.ok("GET", queues+"?name=orders&page=1", nil); a.len("") != 1 || a.Info["total_count"] != float64(1) {
		t.Errorf("queues %s", a.Body)
	}
	if a := c.ok("GET", queues+"?name=nope", nil); a.len("") != 0 {
		t.Errorf("queues %s", a.Body)
	}

	flow := "/accounts/" + accountID + "/workflows/refunds"
	c.refused(404, 10200, "GET", flow, nil)
	c.refused(400, 10002, "PUT", flow, map[string]any{"script_name": "nobody", "class_name": "Refunds"})
	c.putWorker("helm-swicked")
	c.ok("PUT", flow, map[string]any{"script_name": "helm-swicked", "class_name": "Refunds", "jurisdiction": "eu"})
	c.refused(400, 10209, "PUT", flow, map[string]any{"script_name": "helm-swicked", "class_name": "Refunds", "jurisdiction": "us"})
	c.ok("DELETE", script, nil)
	c.refused(404, 10200, "GET", flow, nil) // its Worker took it along

	dispatch := workers + "/dispatch/namespaces"
	c.refused(404, 100119, "GET", dispatch+"/ns", nil)
	c.ok("POST", dispatch, map[string]any{"name": "ns"})
	c.refused(409, 100120, "POST", dispatch, map[string]any{"name": "ns"})
	c.ok("GET", dispatch+"/ns", nil)
}
