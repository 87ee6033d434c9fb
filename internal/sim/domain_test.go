package sim_test

import (
	"fmt"
	"testing"

	"github.com/kvick/shopfleet/internal/sim"
)

const workers = "/accounts/" + accountID + "/workers"

func (c *client) putWorker(name string) {
	c.t.Helper()
	c.ok("PUT", workers+"/scripts/"+name, c.worker(nil, nil))
}

func (c *client) records(name string, override bool, hostnames ...string) map[string]any {
	var list []any
	for _, h := range hostnames {
		list = append(list, map[string]any{"hostname": h})
	}
	return map[string]any{"override_scope": true, "override_existing_origin": override, "override_existing_dns_record": override, "origins": emptyList(list)}
}

// hostnames are the account's custom domains with their Workers.
func (c *client) hostnames() map[string]string {
	c.t.Helper()
	out := map[string]string{}
	a := c.ok("GET", workers+"/domains", nil)
	for i := range a.len("") {
		out[a.text(fmt.Sprintf("%d.hostname", i))] = a.text(fmt.Sprintf("%d.service", i))
	}
	return out
}

// recordTypes are the zone's DNS records by name.
func (c *client) recordTypes() map[string]string {
	c.t.Helper()
	out := map[string]string{}
	a := c.ok("GET", "/zones/"+zoneID+"/dns_records", nil)
	for i := range a.len("") {
		out[a.text(fmt.Sprintf("%d.name", i))] = a.text(fmt.Sprintf("%d.type", i))
	}
	return out
}

func TestCustomDomains(t *testing.T) {
	c := shop(t, sim.Options{})
	c.putWorker("helm-swicked")
	c.putWorker("helm-mike")
	const ours, theirs, taken, free = "swicked.kvick.bike", "mike.kvick.bike", "dns.kvick.bike", "free.kvick.bike"
	c.ok("PUT", workers+"/domains", map[string]any{"hostname": theirs, "service": "helm-mike", "environment": "production", "zone_id": zoneID})
	c.ok("PUT", script+"/domains/records", c.records("helm-swicked", false, ours))
	c.ok("POST", "/zones/"+zoneID+"/dns_records", map[string]any{"type": "A", "name": taken, "content": "192.0.2.1", "ttl": 1})
	if types := c.recordTypes(); types[ours] != "AAAA" || types[theirs] != "AAAA" {
		t.Errorf("custom domains made the records %v", types)
	}

	ask := []any{map[string]any{"hostname": theirs}, map[string]any{"hostname": taken}, map[string]any{"hostname": free}}
	t.Run("changeset tells and changes nothing", func(t *testing.T) {
		a := c.ok("POST", script+"/domains/changeset?replace_state=true", ask)
		for list, hostname := range map[string]string{"added": free, "updated": theirs, "conflicting": taken, "removed": ours} {
			if a.len(list) != 1 || a.text(list+".0.hostname") != hostname {
				t.Errorf("%s is %v, want %s", list, a.get(list), hostname)
			}
		}
		if a.get("updated.0.modified") != true || a.text("updated.0.service") != "helm-mike" {
			t.Errorf("updated is %v", a.get("updated"))
		}
		record := c.ok("GET", workers+"/domains/records/"+a.text("updated.0.id"), nil)
		if record.text("service") != "helm-mike" {
			t.Errorf("record of the holder: %s", record.Body)
		}
		if n := c.ok("POST", script+"/domains/changeset", ask).len("removed"); n != 0 {
			t.Errorf("without replace_state %d domains are removed", n)
		}
		own := c.ok("POST", script+"/domains/changeset?replace_state=true", []any{map[string]any{"hostname": ours}})
		if own.get("updated.0.modified") != false || own.len("added")+own.len("removed")+own.len("conflicting") != 0 {
			t.Errorf("asking for what is there: %s", own.Body)
		}
		if got := c.hostnames(); len(got) != 2 {
			t.Errorf("domains are now %v", got)
		}
	})
	t.Run("nothing is taken without override", func(t *testing.T) {
		c.refused(409, 100116, "PUT", script+"/domains/records", c.records("helm-swicked", false, free, theirs))
		c.refused(409, 100117, "PUT", script+"/domains/records", c.records("helm-swicked", false, free, taken))
		c.refused(409, 100116, "PUT", workers+"/domains", map[string]any{"hostname": theirs, "service": "helm-swicked"})
		c.refused(409, 100117, "PUT", workers+"/domains", map[string]any{"hostname": taken, "service": "helm-swicked"})
		if got := c.hostnames(); got[theirs] != "helm-mike" || got[ours] != "helm-swicked" || len(got) != 2 {
			t.Errorf("a refused request changed the domains: %v", got)
		}
	})
	t.Run("override takes, and the list is complete", func(t *testing.T) {
		c.ok("PUT", script+"/domains/records", c.records("helm-swicked", true, theirs, taken, free))
		got := c.hostnames()
		if got[theirs] != "helm-swicked" || got[taken] != "helm-swicked" || got[free] != "helm-swicked" || got[ours] != "" {
			t.Errorf("domains are %v", got)
		}
		if types := c.recordTypes(); types[taken] != "AAAA" || types[ours] != "" {
			t.Errorf("records are %v", types)
		}
	})
	t.Run("detaching removes the record", func(t *testing.T) {
		id := c.ok("GET", workers+"/domains?hostname="+free, nil).text("0.id")
		if a, err := c.send(c.w.URL, "DELETE", workers+"/domains/"+id, nil); err != nil || a.Status != 200 {
			t.Fatalf("HTTP %d %v", a.Status, err)
		}
		if types := c.recordTypes(); types[free] != "" {
			t.Errorf("records are %v", types)
		}
		c.refused(404, 100114, "GET", workers+"/domains/"+id, nil)
	})
	t.Run("hostnames outside the account", func(t *testing.T) {
		c.refused(400, 7003, "PUT", script+"/domains/records", c.records("helm-swicked", false, "shop.example.com"))
		c.refused(400, 7003, "POST", script+"/domains/changeset", []any{map[string]any{"hostname": "xkvick.bike"}})
		c.refused(400, 10026, "PUT", script+"/domains/records", c.records("helm-swicked", false, "*.kvick.bike"))
		c.refused(400, 10026, "PUT", script+"/domains/records", c.records("helm-swicked", false, "a.kvick.bike/path"))
		c.refused(400, 10026, "PUT", script+"/domains/records", c.records("helm-swicked", false, free, free))
	})
	t.Run("without override_scope others stay", func(t *testing.T) {
		body := c.records("helm-swicked", false, ours)
		body["override_scope"] = false
		before := len(c.hostnames())
		c.ok("PUT", script+"/domains/records", body)
		if after := len(c.hostnames()); after != before+1 {
			t.Errorf("%d domains before, %d after", before, after)
		}
	})
}

func TestDomainsPerZoneAreLimited(t *testing.T) {
	c := shop(t, sim.Options{})
	c.putWorker("helm-swicked")
	c.ok("PUT", script+"/domains/records", c.records("helm-swicked", false, "first.kvick.bike"))
	var many []string
	for i := range 101 {
		many = append(many, fmt.Sprintf("s%d.kvick.bike", i))
	}
	c.refused(400, 100115, "PUT", script+"/domains/records", c.records("helm-swicked", false, many...))
	if got := c.hostnames(); len(got) != 1 || got["first.kvick.bike"] == "" {
		t.Errorf("a refused list changed the domains: %v", got)
	}
	c.ok("PUT", script+"/domains/records", c.records("helm-swicked", false, many[:100]...)) // the first one goes
}

func TestDeletingAWorker(t *testing.T) {
	c := shop(t, sim.Options{})
	c.putWorker("helm-swicked")
	c.ok("PUT", workers+"/scripts/gateway", c.worker([]any{binding("SHOP", "service", "service", "helm-swicked")}, nil))
	c.ok("PUT", script+"/domains/records", c.records("helm-swicked", false, "swicked.kvick.bike"))
	c.ok("PUT", script+"/routes", []any{map[string]any{"pattern": "old.kvick.bike/*"}})
	c.ok("PUT", script+"/schedules", []any{map[string]any{"cron": "0 13 * * *"}})
	id := c.ok("GET", workers+"/workers/helm-swicked", nil).text("id")

	refs := c.ok("GET", script+"/references", nil)
	if refs.text("services.incoming.0.service") != "gateway" {
		t.Errorf("references %s", refs.Body)
	}
	c.refused(400, 10142, "DELETE", workers+"/services/helm-swicked?force=false", nil)
	c.ok("DELETE", workers+"/services/helm-swicked?force=true", nil)
	c.refused(404, 10090, "GET", workers+"/services/helm-swicked", nil)
	if got := c.hostnames(); len(got) != 0 {
		t.Errorf("domains left: %v", got)
	}
	if a := c.ok("GET", "/zones/"+zoneID+"/workers/routes", nil); a.len("") != 0 {
		t.Errorf("routes left: %s", a.Body)
	}
	c.putWorker("helm-swicked")
	if again := c.ok("GET", workers+"/workers/helm-swicked", nil).text("id"); again == id {
		t.Error("the new Worker has the id of the deleted one")
	}
	if a := c.ok("GET", script+"/schedules", nil); a.len("schedules") != 0 {
		t.Errorf("the new Worker has the schedules of the deleted one")
	}
}

func TestZoneRoutes(t *testing.T) {
	c := shop(t, sim.Options{})
	c.putWorker("helm-swicked")
	c.putWorker("helm-mike")
	routes := "/zones/" + zoneID + "/workers/routes"
	post := func(pattern, script string) map[string]any {
		return map[string]any{"pattern": pattern, "script": script}
	}
	mike := c.ok("POST", routes, post("mike.kvick.bike/*", "helm-mike")).text("id")
	c.refused(409, 10020, "POST", routes, post("mike.kvick.bike/*", "helm-swicked"))
	c.refused(400, 10019, "POST", routes, post("x.kvick.bike/*", "nobody"))
	for _, bad := range []string{"", "/*", "x.example.com/*", "a.*.kvick.bike/*", "x.kvick.bike/?a=1", "x.kvick.bike:80/*", "kvick.bike.evil.com/*"} {
		c.refused(400, 10022, "POST", routes, post(bad, "helm-swicked"))
	}
	c.refused(404, 10009, "DELETE", routes+"/nope", nil)

	// A PUT of the Worker's routes replaces those of this Worker and touches nobody else's.
	c.ok("PUT", script+"/routes", []any{map[string]any{"pattern": "a.kvick.bike/*", "zone_name": "kvick.bike"}, map[string]any{"pattern": "*.b.kvick.bike/*"}})
	c.ok("PUT", script+"/routes", []any{map[string]any{"pattern": "a.kvick.bike/*", "zone_name": "kvick.bike"}})
	c.refused(409, 10020, "PUT", script+"/routes", []any{map[string]any{"pattern": "mike.kvick.bike/*"}})
	c.refused(400, 7003, "PUT", script+"/routes", []any{map[string]any{"pattern": "a.example.com/*"}})
	list := c.ok("GET", routes, nil)
	got := map[string]string{}
	for i := range list.len("") {
		got[list.text(fmt.Sprintf("%d.pattern", i))] = list.text(fmt.Sprintf("%d.script", i))
	}
	if len(got) != 2 || got["a.kvick.bike/*"] != "helm-swicked" || got["mike.kvick.bike/*"] != "helm-mike" {
		t.Errorf("routes %v", got)
	}
	c.ok("PUT", routes+"/"+mike, post("mikes.kvick.bike/*", "helm-mike"))
	c.ok("DELETE", routes+"/"+mike, nil)
	found := c.ok("GET", workers+"/scripts", nil)
	if found.text("0.id") != "helm-mike" || found.get("0.routes") != nil || found.text("1.routes.0.pattern") != "a.kvick.bike/*" {
		t.Errorf("listing shows %s", found.Body)
	}
}

func TestDNSRecords(t *testing.T) {
	c := shop(t, sim.Options{})
	records := "/zones/" + zoneID + "/dns_records"
	record := func(kind, name, content string) map[string]any {
		return map[string]any{"type": kind, "name": name, "content": content, "ttl": 1, "proxied": false}
	}
	made := c.ok("POST", records, record("A", "www", "192.0.2.1"))
	if made.text("name") != "www.kvick.bike" {
		t.Errorf("name %q is not qualified", made.text("name"))
	}
	c.refused(400, 81058, "POST", records, record("A", "www.kvick.bike", "192.0.2.1"))
	c.ok("POST", records, record("A", "www", "192.0.2.2"))
	c.refused(400, 81053, "POST", records, record("CNAME", "www", "example.com"))
	c.refused(400, 9005, "POST", records, record("A", "bad", "not-an-address"))
	c.refused(400, 9005, "POST", records, record("A", "bad", "2001:db8::1"))
	if n := c.ok("GET", records+"?type=A&name=www.kvick.bike", nil).len(""); n != 2 {
		t.Errorf("found %d records, want 2", n)
	}
	id := made.text("id")
	c.ok("PATCH", records+"/"+id, map[string]any{"type": "A", "name": "www.kvick.bike", "content": "192.0.2.9", "ttl": 1})
	if got := c.ok("GET", records+"/"+id, nil).text("content"); got != "192.0.2.9" {
		t.Errorf("content %q", got)
	}
	c.ok("DELETE", records+"/"+id, nil)
	c.refused(404, 81044, "GET", records+"/"+id, nil)

	c.putWorker("helm-swicked")
	c.ok("PUT", script+"/domains/records", c.records("helm-swicked", false, "shop.kvick.bike"))
	c.refused(400, 81057, "POST", records, record("A", "shop", "192.0.2.1"))
	managed := c.ok("GET", records+"?name=shop.kvick.bike", nil).text("0.id")
	c.refused(400, 1043, "DELETE", records+"/"+managed, nil)
}

func TestZones(t *testing.T) {
	c := shop(t, sim.Options{})
	a := c.w.Account(t, accountID, "kvick-1")
	for i := range 24 {
		if err := a.AddZone(fmt.Sprintf("zone%02d.example", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.ok("GET", "/zones?name=kvick.bike&account.id="+accountID, nil); got.len("") != 1 || got.text("0.id") != zoneID {
		t.Errorf("by name: %s", got.Body)
	}
	if got := c.ok("GET", "/zones?name=nope.example", nil); got.len("") != 0 {
		t.Errorf("by an unknown name: %s", got.Body)
	}
	seen, cursor := map[string]bool{}, ""
	for pages := 1; ; pages++ {
		got := c.ok("GET", "/zones?per_page=10", nil)
		if cursor != "" {
			if got, _ = c.send(c.raw, "GET", "/zones?per_page=10&cursor="+cursor, nil); !got.Success {
				t.Fatalf("page %d: %s", pages, got.Body)
			}
		}
		for i := range got.len("") {
			seen[got.text(fmt.Sprintf("%d.name", i))] = true
		}
		if cursor, _ = got.Info["cursor"].(string); cursor == "" {
			if pages != 3 {
				t.Errorf("%d pages, want 3", pages)
			}
			break
		}
	}
	if len(seen) != 25 {
		t.Errorf("the cursor led to %d zones, want 25", len(seen))
	}
	if got := c.ok("GET", "/zones?per_page=10&page=3", nil); got.len("") != 5 || got.Info["total_count"] != float64(25) {
		t.Errorf("page 3: %d zones, %v", got.len(""), got.Info)
	}
}

func TestSchedules(t *testing.T) {
	c := shop(t, sim.Options{})
	c.refused(404, 10007, "PUT", script+"/schedules", []any{})
	c.putWorker("helm-swicked")
	cron := func(list ...string) []any {
		out := []any{}
		for _, x := range list {
			out = append(out, map[string]any{"cron": x})
		}
		return out
	}
	c.ok("PUT", script+"/schedules", cron("0 13 * * *", "0 14 * * mon", "0 15 1 * *"))
	c.refused(400, 10100, "PUT", script+"/schedules", cron("0 25 * * *"))
	c.refused(400, 10100, "PUT", script+"/schedules", cron("0 1 * * *", "0 1 * * *"))
	if a := c.ok("GET", script+"/schedules", nil); a.len("schedules") != 3 || a.text("schedules.1.cron") != "0 14 * * mon" {
		t.Errorf("schedules %s", a.Body)
	}
	c.ok("PUT", script+"/schedules", cron())
	if a := c.ok("GET", script+"/schedules", nil); a.len("schedules") != 0 {
		t.Errorf("an empty list left %s", a.Body)
	}

	c.putWorker("busy")
	var all []string
	for i := range 250 {
		all = append(all, fmt.Sprintf("%d %d * * *", i%60, i/60))
	}
	c.ok("PUT", workers+"/scripts/busy/schedules", cron(all...))
	c.refused(400, 10072, "PUT", script+"/schedules", cron("0 13 * * *"))
	c.ok("PUT", workers+"/scripts/busy/schedules", cron(all[:249]...))
	c.ok("PUT", script+"/schedules", cron("0 13 * * *"))
}

func TestSubdomains(t *testing.T) {
	c := shop(t, sim.Options{})
	c.putWorker("helm-swicked")
	c.ok("POST", script+"/subdomain", map[string]any{"enabled": true, "previews_enabled": false}, "Cloudflare-Workers-Script-Api-Date", "2025-08-01")
	w := c.ok("GET", workers+"/workers/helm-swicked", nil)
	if w.get("subdomain.enabled") != true || w.get("subdomain.previews_enabled") != false || w.text("subdomain.url") != "https://helm-swicked.kvick.workers.dev" {
		t.Errorf("worker %s", w.Body)
	}
	c.ok("DELETE", script+"/subdomain", nil)
	if a := c.ok("GET", script+"/subdomain", nil); a.get("enabled") != false {
		t.Errorf("subdomain %s", a.Body)
	}
	c.refused(400, 10026, "POST", script+"/subdomain", map[string]any{})

	other := c.w.Account(t, "0a1b2c3d4e5f60718293a4b5c6d7e8f9", "kvick-2")
	path := "/accounts/" + other.ID() + "/workers/subdomain"
	c.refused(404, 10007, "GET", path, nil)
	c.refused(409, 10031, "PUT", path, map[string]any{"subdomain": "kvick"})
	c.ok("PUT", path, map[string]any{"subdomain": "kvick-two"})
	c.refused(409, 10036, "PUT", path, map[string]any{"subdomain": "kvick-three"})
	c.refused(409, 10031, "GET", "/accounts/"+other.ID()+"/workers/subdomains/kvick", nil)
	c.refused(404, 10032, "GET", "/accounts/"+other.ID()+"/workers/subdomains/nobody", nil)
}
