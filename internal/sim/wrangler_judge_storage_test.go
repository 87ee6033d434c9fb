package sim_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// storageSessions are about D1, KV and R2.
func storageSessions() []session {
	all := []string{"0001_init.sql", "0002_multi.sql", "0003_trigger.sql", "0010_ten.sql"}
	tables := func(c *court) []string {
		return c.query(recD1, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '_cf_%' ORDER BY name")
	}
	value := func(c *court, ns, key string) string {
		c.t.Helper()
		a, err := c.send(c.raw, "GET", judgedKV+"/"+ns+"/values/"+key, nil)
		if err != nil || a.Status != 200 {
			c.t.Errorf("reading %s: %v, HTTP %d", key, err, a.Status)
		}
		return string(a.Body)
	}
	return []session{
		{name: "migrations", trials: []trial{
			{recording: "d1-migrations-list-fresh", check: func(c *court, out string) {
				c.prints(out, all...)
				c.ledger(recD1) // listing makes the table
			}},
			{recording: "d1-migrations-apply-fresh", before: (*court).later, check: func(c *court, _ string) {
				c.ledger(recD1, all...)
				if got := c.query(recD1, "SELECT name FROM tags ORDER BY id"); !slices.Equal(got, []string{"a;b", "it's", "touched-1"}) {
					c.t.Errorf("the migrations left tags %q", got)
				}
			}},
			{recording: "d1-migrations-apply-noop", check: func(c *court, out string) {
				c.ledger(recD1, all...)
				c.prints(out, "No migrations to apply")
			}},
			{recording: "d1-migrations-list-none", check: func(c *court, out string) { c.prints(out, "No migrations to apply") }},
			{recording: "d1-migrations-list-order", check: func(c *court, out string) {
				c.prints(out, "0001_z.sql", "aa_nonum.sql")
				if got := c.query(recD1, `SELECT count(*) FROM "my ""odd"" table"`); !slices.Equal(got, []string{"0"}) {
					c.t.Errorf("the ledger by another name has %v rows", got)
				}
			}},
			{recording: "d1-migrations-list-pattern", check: func(c *court, out string) {
				c.prints(out, "sub/0000_nested.sql")
				c.ledger(recD1, all...)
			}},
			{recording: "d1-migrations-apply-crlf-bom", check: func(c *court, _ string) {
				c.ledger(recD1, append(slices.Clone(all), "0001_crlf.sql")...)
			}},
			{recording: "d1-query-minimal", before: func(c *court) {
				c.fault(everyQuery(`[{"results":[],"success":true}]`))
			}, check: func(c *court, _ string) {
				c.ledger(recD1, append(slices.Clone(all), "0001_crlf.sql")...)
			}},
			{recording: "d1-query-success-false-inside", before: func(c *court) {
				c.fault(everyQuery(`[{"results":[],"success":false,"error":"boom"}]`))
			}, check: func(c *court, out string) {
				c.ledger(recD1, append(slices.Clone(all), "0001_crlf.sql")...)
				c.prints(out, "❌")
			}},
		}},
		{name: "databases", trials: []trial{
			{recording: "d1-execute-command", args: []string{"d1", "execute", "helm-swicked-db", "--remote", "--env", "swicked", "--command",
				"CREATE TABLE IF NOT EXISTS q(a); INSERT INTO q VALUES (1),(2); SELECT * FROM q;"}, before: (*court).later,
				check: func(c *court, _ string) {
					if got := c.query(recD1, "SELECT a FROM q ORDER BY a"); !slices.Equal(got, []string{"1", "2"}) {
						c.t.Errorf("q has %v", got)
					}
				}},
			{recording: "d1-time-travel-info", before: (*court).later, check: func(c *court, out string) {
				c.notes["bookmark"] = c.ok("GET", judgedD1+"/"+recD1+"/time_travel/bookmark", nil).text("bookmark")
				c.prints(out, c.notes["bookmark"])
				c.notes["now"] = fmt.Sprint(c.clock.now().Unix())
				c.notes["then"] = c.clock.now().Format(time.RFC3339)
			}},
			{recording: "d1-execute-file", before: (*court).later, check: func(c *court, out string) {
				if got := c.query(recD1, "SELECT s FROM imp"); !slices.Equal(got, []string{"x;y"}) {
					c.t.Errorf("imp has %v", got)
				}
			}},
			{recording: "d1-execute-file-again-cached", check: func(c *court, _ string) { // the server knows the file and does nothing
				if got := c.query(recD1, "SELECT s FROM imp"); !slices.Equal(got, []string{"x;y"}) {
					c.t.Errorf("imp has %v", got)
				}
			}},
			{recording: "d1-export", check: func(c *court, _ string) {
				c.prints(c.read("out-export.sql"), "CREATE TABLE q", "INSERT INTO", "x;y")
			}},
			{recording: "d1-export-options", check: func(c *court, _ string) {
				text := c.read("out-export2.sql")
				c.prints(text, "CREATE TABLE q")
				c.omits(text, "INSERT INTO", "imp")
			}},
			{recording: "d1-time-travel-info-timestamp", args: []string{"d1", "time-travel", "info", "helm-swicked-db", "--env", "swicked", "--timestamp", "$now"},
				check: func(c *court, out string) { c.prints(out, c.notes["bookmark"]) }},
			{recording: "d1-time-travel-restore", args: []string{"d1", "time-travel", "restore", "helm-swicked-db", "--env", "swicked", "--bookmark", "$bookmark"},
				before: (*court).later, check: func(c *court, _ string) {
					if got := tables(c); !slices.Equal(got, []string{"q"}) {
						c.t.Errorf("tables %q after going back to before the import", got)
					}
				}},
			{recording: "d1-time-travel-restore-timestamp", args: []string{"d1", "time-travel", "restore", "helm-swicked-db", "--env", "swicked", "--timestamp", "$then"},
				before: func(c *court) {
					c.later()
					c.query(recD1, "DROP TABLE q")
					c.later()
				}, check: func(c *court, _ string) {
					if got := tables(c); !slices.Equal(got, []string{"q"}) {
						c.t.Errorf("tables %q after going back to before the drop", got)
					}
				}},
			{recording: "d1-info", check: func(c *court, out string) { c.prints(out, recD1, "helm-swicked-db") }},
			{recording: "d1-create", check: func(c *court, out string) {
				c.has(judgedD1, "", "name", "helm-new-db")
				c.notes["new"] = c.ok("GET", judgedD1+"?name=helm-new-db", nil).text("0.uuid")
				c.prints(out, c.notes["new"])
			}},
			{recording: "d1-info-by-name-no-config", check: func(c *court, out string) { c.prints(out, c.notes["new"]) }},
			{recording: "d1-list", check: func(c *court, out string) { c.prints(out, recD1, c.notes["new"]) }},
			{recording: "d1-list-json", check: func(c *court, out string) {
				var list []struct{ UUID, Name string }
				if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 2 {
					c.t.Errorf("%v (%v)", list, err)
				}
			}},
			{recording: "d1-delete", check: func(c *court, _ string) { c.lacks(judgedD1, "", "name", "helm-new-db") }},
			{recording: "d1-list-paginated", before: func(c *court) {
				for i := range 14 {
					c.ok("POST", judgedD1, map[string]any{"name": fmt.Sprintf("many-%d", i)})
				}
			}, check: func(c *court, out string) {
				var list []struct{ UUID, Name string }
				if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 15 {
					c.t.Errorf("%d databases (%v), want those of both pages", len(list), err)
				}
			}},
		}},
		{name: "keys and buckets", trials: []trial{
			{recording: "kv-namespace-create", check: func(c *court, out string) {
				for _, x := range c.ok("GET", judgedKV+"?per_page=100", nil).Result.([]any) {
					if ns := x.(map[string]any); ns["title"] == "MYKV" {
						c.notes["kv"] = ns["id"].(string)
					}
				}
				c.prints(out, c.notes["kv"])
			}},
			{recording: "kv-namespace-create-env", check: func(c *court, _ string) { c.has(judgedKV, "", "title", "swicked-MYKV") }},
			{recording: "kv-namespace-list", check: func(c *court, out string) { c.prints(out, c.notes["kv"], recKV, `"swicked-MYKV"`) }},
			{recording: "kv-key-put", args: []string{"kv", "key", "put", "--namespace-id", "$kv", "--remote", "some/key with space", "value one"},
				check: func(c *court, _ string) {
					if got := value(c, c.notes["kv"], "some%2Fkey%20with%20space"); got != "value one" {
						c.t.Errorf("the value is %q", got)
					}
				}},
			{recording: "kv-key-put-ttl-metadata", check: func(c *court, _ string) {
				if got := value(c, recKV, "k2"); got != "v2" {
					c.t.Errorf("the value is %q", got)
				}
				key := c.ok("GET", judgedKV+"/"+recKV+"/keys", nil)
				if key.text("0.name") != "k2" || key.get("0.metadata.a") != 1.0 || key.get("0.expiration") != float64(c.clock.now().Unix()+3600) {
					c.t.Errorf("keys %v at %d", key.Result, c.clock.now().Unix())
				}
			}},
			{recording: "kv-namespace-delete-by-name", check: func(c *court, _ string) { c.lacks(judgedKV, "", "title", "swicked-MYKV") }},
			{recording: "kv-namespace-delete", args: []string{"kv", "namespace", "delete", "--namespace-id", "$kv", "-y"},
				check: func(c *court, _ string) { c.lacks(judgedKV, "", "title", "MYKV") }},
			{recording: "r2-bucket-create", check: func(c *court, _ string) {
				if got := c.ok("GET", judgedR2+"/new-bucket", nil).text("location"); got != "WNAM" {
					c.t.Errorf("the bucket is in %q", got)
				}
			}},
			{recording: "r2-bucket-create-jurisdiction", check: func(c *court, _ string) {
				if got := c.ok("GET", judgedR2+"/eu-bucket", nil, "cf-r2-jurisdiction", "eu").text("storage_class"); got != "InfrequentAccess" {
					c.t.Errorf("the bucket's class is %q", got)
				}
			}},
			{recording: "r2-bucket-list", check: func(c *court, out string) { c.prints(out, "new-bucket", "helm-swicked-assets") }},
			{recording: "r2-bucket-info", check: func(c *court, out string) { c.prints(out, "new-bucket", "WNAM") }},
			{recording: "r2-bucket-delete", check: func(c *court, _ string) { c.lacks(judgedR2, "buckets", "name", "new-bucket") }},
		}},
	}
}
