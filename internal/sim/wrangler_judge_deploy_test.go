package sim_test

import (
	"strings"

	"github.com/kvick/shopfleet/internal/sim"
)

// deploySessions are a Worker's life: made, deployed again, edited by others, deleted.
func deploySessions() []session {
	return []session{
		{name: "deploy", trials: []trial{
			{recording: "deploy-dry-run-outdir", check: func(c *court, _ string) {
				if code := c.read("out-dry/index.js"); !strings.Contains(code, "export {") {
					c.t.Errorf("the bundle exports nothing:\n%s", code)
				}
				c.absent(recWorker)
			}},
			{recording: "deploy-dry-run-outfile", check: func(c *court, _ string) {
				c.prints(c.read("out-dry.bin"), `name="metadata"`, `name="index.js"; filename="index.js"`)
				c.absent(recWorker)
			}},
			{recording: "deploy-first", check: func(c *court, out string) {
				c.released()
				c.prints(out, "helm-swicked.kvick.bike (custom domain)", c.serving(recWorker))
				c.has("/accounts/"+recAccount+"/workers/scripts", "", "tags", "[cf:service=helm cf:environment=swicked]")
			}},
			{recording: "deploy-redeploy", check: func(c *court, out string) {
				c.released()
				c.prints(out, c.serving(recWorker))
			}},
			{recording: "deploy-tag-message", args: []string{"deploy", "--env", "swicked", "--tag", "v1.2.3", "--message", "ship it"}, check: func(c *court, _ string) {
				c.released()
				v := c.ok("GET", judgedWorker+"/versions/"+c.serving(recWorker), nil)
				if v.text("annotations.workers/tag") != "v1.2.3" || v.text("annotations.workers/message") != "ship it" {
					c.t.Errorf("annotations %v", v.get("annotations"))
				}
				if got := c.ok("GET", judgedWorker+"/deployments", nil).text("deployments.0.annotations.workers/message"); got != "ship it" {
					c.t.Errorf("the deployment says %q", got)
				}
			}},
			{recording: "deploy-keep-vars", before: func(c *court) {
				c.put(recWorker, append(sampleBindings(), binding("FROM_DASHBOARD", "plain_text", "text", "kept")), nil)
			}, check: func(c *court, _ string) {
				c.binds(recWorker, "ASSETS_BUCKET=r2_bucket helm-swicked-assets", "DB=d1 "+recD1, "ENVIRONMENT=plain_text swicked", "FLAGS=json",
					"KV=kv_namespace "+recKV, "FROM_DASHBOARD=plain_text kept")
			}},
			{recording: "deploy-after-api-edit", before: func(c *court) {
				c.upload("PUT", recWorker, sampleBindings(), nil)
			}, check: func(c *court, out string) {
				c.released()
				c.prints(out, "last updated via the script API")
			}},
			{recording: "deploy-after-dash-edit", before: func(c *court) {
				// A dashboard cannot be played, so the answer says that one was here; all else is as it is.
				path := "/accounts/" + recAccount + "/workers/services/" + recWorker
				body := strings.Replace(string(c.ok("GET", path, nil).Body), `"last_deployed_from":"wrangler"`, `"last_deployed_from":"dash"`, 1)
				c.fault(sim.Rule{Method: "GET", Path: "/workers/services/" + recWorker + "$", Body: body})
			}, check: func(c *court, out string) {
				c.released()
				c.prints(out, "differs from the remote configuration of your Worker set via the Cloudflare Dashboard")
			}},
			{recording: "deploy-over-split", before: func(c *court) {
				a, b := c.upload("POST", recWorker, sampleBindings(), nil).text("id"), c.serving(recWorker)
				c.ok("POST", judgedWorker+"/deployments", map[string]any{"strategy": "percentage", "versions": []any{
					map[string]any{"version_id": a, "percentage": 40}, map[string]any{"version_id": b, "percentage": 60},
				}})
			}, check: func(c *court, _ string) {
				c.released()
				c.serves(c.serving(recWorker))
			}},
			{recording: "triggers-deploy", before: func(c *court) {
				c.ok("PUT", judgedWorker+"/schedules", []any{})
				c.notes["version"] = c.serving(recWorker)
			}, check: func(c *court, _ string) {
				c.triggers(recWorker, []string{"*/5 * * * *", "0 3 * * *", "0 0 1 * *"}, []string{recHostname})
				c.serves(c.notes["version"])
			}},
			{recording: "deploy-name-and-env", check: func(c *court, _ string) {
				if c.serving("custom-x") == "" {
					c.t.Error("custom-x does not serve")
				}
				// Without a terminal wrangler takes the hostname away from its holder (wire.md §4.3).
				c.triggers("custom-x", []string{"*/5 * * * *", "0 3 * * *", "0 0 1 * *"}, []string{recHostname})
				c.triggers(recWorker, []string{"*/5 * * * *", "0 3 * * *", "0 0 1 * *"}, nil)
			}},
			{recording: "deploy-env-suffix-name", check: func(c *court, _ string) {
				if c.serving("helm-suffix") == "" {
					c.t.Error("helm-suffix does not serve")
				}
				c.binds("helm-suffix")
			}},
			{recording: "deploy-no-env-flag", check: func(c *court, _ string) {
				if c.notes["helm"] = c.serving("helm"); c.notes["helm"] == "" {
					c.t.Error("helm does not serve")
				}
				c.has("/accounts/"+recAccount+"/workers/scripts", "", "tags", "[cf:service=helm]")
			}},
			{recording: "deploy-env-empty", check: func(c *court, _ string) {
				if now := c.serving("helm"); now == c.notes["helm"] {
					c.t.Error("helm was not deployed again")
				}
			}},
			{recording: "delete-worker-dry-run", check: func(c *court, _ string) {
				if c.serving(recWorker) == "" {
					c.t.Error("it was deleted")
				}
			}},
			{recording: "delete-worker", check: func(c *court, _ string) {
				c.lacks("/accounts/"+recAccount+"/workers/scripts", "", "id", recWorker)
				c.has(judgedD1, "", "uuid", recD1) // stores stay
			}},
		}},
		{name: "secrets", trials: []trial{
			{recording: "secret-put-missing-worker", stdin: "s3cret\n", check: func(c *court, _ string) {
				c.binds(recWorker, "API_KEY=secret_text")
			}},
			{recording: "secret-put", stdin: "other\n", check: func(c *court, _ string) {
				c.binds(recWorker, "API_KEY=secret_text")
				if c.serving(recWorker) == c.last {
					c.t.Error("the new value serves nobody: no version was released")
				}
			}},
			{recording: "secret-list", check: func(c *court, out string) {
				c.prints(out, `"name": "API_KEY"`, `"type": "secret_text"`)
			}},
			{recording: "secret-bulk", check: func(c *court, _ string) { // secrets.json takes API_KEY away
				c.binds(recWorker, "A=secret_text", "B=secret_text")
			}},
			{recording: "secret-delete", check: func(c *court, _ string) { c.binds(recWorker, "B=secret_text") }},
			{recording: "deploy-secret-conflict", before: func(c *court) {
				c.remove()
				list := sampleBindings()
				list[0] = binding("ENVIRONMENT", "secret_text", "text", "hidden")
				c.put(recWorker, list, nil)
			}, check: func(c *court, out string) {
				c.released() // the variable replaced the secret
				c.prints(out, "`ENVIRONMENT` conflicts with an existing remote secret")
			}},
		}},
	}
}

// triggerSessions are about where a Worker can be reached.
func triggerSessions() []session {
	subdomain := func(c *court, enabled bool) {
		c.t.Helper()
		if got := c.ok("GET", judgedWorker+"/subdomain", nil).get("enabled"); got != enabled {
			c.t.Errorf("workers.dev is %v", got)
		}
	}
	previews := func(c *court, enabled bool) {
		c.t.Helper()
		if got := c.ok("GET", judgedWorker+"/subdomain", nil).get("previews_enabled"); got != enabled {
			c.t.Errorf("preview URLs are %v", got)
		}
	}
	zoneRoutes := "/zones/" + replayZone + "/workers/routes"
	return []session{
		{name: "addresses", trials: []trial{
			{recording: "deploy-workers-dev-first-no-url-field", before: func(c *court) {
				c.fault(sim.Rule{Method: "GET", Path: "/workers/workers/" + recWorker + "$",
					Body: `{"success":true,"errors":[],"messages":[],"result":{"subdomain":{"enabled":false,"previews_enabled":false}}}`})
			}, check: func(c *court, out string) {
				subdomain(c, true)
				c.prints(out, "https://helm-swicked.acme.workers.dev")
			}},
			{recording: "deploy-workers-dev-true", check: func(c *court, out string) {
				subdomain(c, true)
				c.prints(out, "https://helm-swicked.acme.workers.dev")
			}},
			{recording: "deploy-workers-dev-true-previews-nocrons", before: func(c *court) {
				c.ok("PUT", judgedWorker+"/schedules", []any{map[string]any{"cron": "0 3 * * *"}})
			}, check: func(c *court, _ string) {
				subdomain(c, true)
				previews(c, true)
				c.triggers(recWorker, nil, nil) // crons: [] clears
			}},
			{recording: "deploy-workers-dev-false", check: func(c *court, _ string) {
				subdomain(c, false)
				previews(c, false)
			}},
			{recording: "deploy-zone-route", check: func(c *court, _ string) {
				c.has(zoneRoutes, "", "pattern", "helm-swicked.kvick.bike/*")
				c.triggers(recWorker, []string{"*/5 * * * *"}, nil)
			}},
			{recording: "deploy-mixed-routes", check: func(c *court, _ string) {
				c.has(zoneRoutes, "", "pattern", "helm-swicked.kvick.bike/api/*", "helm-swicked.kvick.bike/x/*")
				c.lacks(zoneRoutes, "", "pattern", "helm-swicked.kvick.bike/*") // all routes of the Worker are replaced
				c.triggers(recWorker, []string{"*/5 * * * *"}, []string{recHostname})
			}},
			{recording: "err-routes-auth-fallback", before: func(c *court) {
				c.ok("POST", judgedWorker+"/subdomain", map[string]any{"enabled": true}) // so that the state changes and nothing is asked first
				c.fault(sim.Rule{Method: "PUT", Path: "/scripts/[^/]+/routes$", Status: 403, Code: 10000, Message: "Authentication error"})
			}, check: func(c *court, _ string) {
				// The way around adds what is missing and removes nothing.
				c.has(zoneRoutes, "", "pattern", "helm-swicked.kvick.bike/*", "helm-swicked.kvick.bike/api/*", "helm-swicked.kvick.bike/x/*")
			}},
			{recording: "deploy-workers-dev-true-previews-first", before: (*court).remove, check: func(c *court, _ string) {
				subdomain(c, true)
				previews(c, true)
			}},
		}},
		{name: "conflicts", open: func(c *court) {
			c.put("someone-else", nil, nil)
			c.live()
		}, trials: []trial{
			{recording: "deploy-domain-conflicts-non-tty", before: occupy, check: func(c *court, _ string) {
				c.triggers("someone-else", nil, nil) // taken without a question
				c.triggers(recWorker, []string{"*/5 * * * *", "0 3 * * *", "0 0 1 * *"}, []string{"dns.kvick.bike", "new.kvick.bike", "other.kvick.bike"})
			}},
			{recording: "deploy-domain-conflicts-tty", args: []string{"deploy", "--env", "swicked", "-c", "wrangler.conflicts.jsonc"}, terminal: true,
				before: occupy, check: func(c *court, _ string) {
					c.triggers("someone-else", nil, nil)
					c.triggers(recWorker, []string{"*/5 * * * *", "0 3 * * *", "0 0 1 * *"}, []string{"dns.kvick.bike", "new.kvick.bike", "other.kvick.bike"})
				}},
		}},
	}
}

// occupy gives other.kvick.bike to another Worker and dns.kvick.bike to a server elsewhere.
func occupy(c *court) {
	for _, host := range []string{"other.kvick.bike", "dns.kvick.bike", "new.kvick.bike"} {
		for _, id := range c.column("/accounts/"+recAccount+"/workers/domains?hostname="+host, "", "id") {
			c.ok("DELETE", "/accounts/"+recAccount+"/workers/domains/"+id, nil)
		}
	}
	c.ok("PUT", "/accounts/"+recAccount+"/workers/domains", map[string]any{"hostname": "other.kvick.bike", "service": "someone-else", "zone_id": replayZone, "environment": "production"})
	c.ok("POST", "/zones/"+replayZone+"/dns_records", map[string]any{"type": "A", "name": "dns.kvick.bike", "content": "192.0.2.1", "ttl": 1})
}

// bindingSessions are about what an upload can carry.
func bindingSessions() []session {
	static := func(c *court, worker string) {
		c.t.Helper()
		c.ok("POST", "/accounts/"+recAccount+"/workers/scripts/"+worker+"/subdomain", map[string]any{"enabled": true})
		body, err := c.visit(worker+"."+recSubdomain+".workers.dev", "/data.json")
		if want := c.read("public/data.json"); err != nil || body != want {
			c.t.Errorf("the edge serves %q (%v), want %q", body, err, want)
		}
	}
	everything := []string{
		"STR=plain_text x", "NUM=json", "OBJ=json", "API_KEY=secret_text", "KV=kv_namespace " + recKV, "MAIL=send_email",
		"ROOM=durable_object_namespace Room", "REMOTE_DO=durable_object_namespace Other", "WF=workflow Wf", "Q=queue my-queue",
		"ASSETS_BUCKET=r2_bucket helm-swicked-assets", "DB=d1 " + recD1, "VEC=vectorize", "HD=hyperdrive fedcba98fedcba98fedcba98fedcba98",
		"SSS=secrets_store_secret", "RL=ratelimit 1001", "VPC=vpc_service", "SVC=service other-worker", "AE=analytics_engine",
		"DISP=dispatch_namespace", "MTLS=mtls_certificate", "PIPE=pipelines", "LOADER=worker_loader", "BROWSER=browser", "AI=ai", "IMAGES=images",
		"VM=version_metadata", "UNS=custom_thing",
	}
	return []session{
		{name: "assets", open: (*court).live, trials: []trial{
			{recording: "deploy-assets-first", check: func(c *court, _ string) { static(c, recWorker) }},
			{recording: "deploy-assets-unchanged", check: func(c *court, out string) {
				static(c, recWorker)
				c.prints(out, "No updated asset files to upload")
			}},
			{recording: "deploy-assets-only", check: func(c *court, _ string) { static(c, "helm-static") }},
		}},
		{name: "single assets", options: sim.Options{SingleAssetUploads: true}, open: (*court).live, trials: []trial{
			{recording: "deploy-assets-single-upload", check: func(c *court, _ string) { static(c, recWorker) }},
		}},
		{name: "bindings", open: func(c *court) {
			c.put("other-worker", nil, map[string]any{"migrations": map[string]any{"new_tag": "v1", "new_sqlite_classes": []string{"Other"}}})
			c.put("outw", nil, nil)
			c.put("tailer", nil, nil)
		}, trials: []trial{
			{recording: "deploy-do-first", check: func(c *court, _ string) { c.hasMigrationTag("v1") }},
			{recording: "deploy-do-nochange", check: func(c *court, _ string) {
				c.hasMigrationTag("v1")
				if c.serving(recWorker) == c.last {
					c.t.Error("it was not deployed")
				}
			}},
			{recording: "deploy-do-new-migration", check: func(c *court, _ string) { c.hasMigrationTag("v2") }},
			{recording: "deploy-do-declarative-exports", before: (*court).remove, check: func(c *court, _ string) {
				c.has("/accounts/"+recAccount+"/workers/durable_objects/namespaces", "", "class", "Room")
			}},
			{recording: "deploy-text-wasm-modules", before: (*court).remove, check: func(c *court, _ string) {
				if c.serving(recWorker) == "" {
					c.t.Error("it does not serve")
				}
				a, err := c.send(c.raw, "GET", judgedWorker, nil)
				if err != nil {
					c.t.Fatal(err)
				}
				c.prints(string(a.Body), "-a.txt", "-b.html", "-c.sql", "-d.bin", "-e.wasm", c.read("src/c.sql"))
			}},
			{recording: "deploy-all-bindings", args: []string{"deploy", "--env", "swicked", "-c", "wrangler.everything.jsonc", "--secrets-file", "/dev/stdin"},
				stdin: `{"API_KEY":"s3cret"}`, before: (*court).remove, check: func(c *court, _ string) { c.binds(recWorker, everything...) }},
			{recording: "deploy-all-bindings-again", check: func(c *court, _ string) {
				c.binds(recWorker, everything...) // the secret among them, which this deploy did not send
				if c.serving(recWorker) == c.last {
					c.t.Error("it was not deployed")
				}
			}},
			{recording: "deploy-provision-noids", before: (*court).remove, check: func(c *court, _ string) {
				c.has(judgedD1, "", "name", "helm-auto-db")
				c.has(judgedKV, "", "title", "helm-swicked-kv")
				c.has(judgedR2, "buckets", "name", "helm-auto-assets")
				id := c.ok("GET", judgedD1+"?name=helm-auto-db", nil).text("0.uuid")
				kv := ""
				for _, x := range c.ok("GET", judgedKV+"?per_page=100", nil).Result.([]any) {
					if ns := x.(map[string]any); ns["title"] == "helm-swicked-kv" {
						kv = ns["id"].(string)
					}
				}
				c.notes["provisioned d1"], c.notes["provisioned kv"] = "DB=d1 "+id, "KV=kv_namespace "+kv
				c.binds(recWorker, "ASSETS_BUCKET=r2_bucket helm-auto-assets", c.notes["provisioned d1"], "ENVIRONMENT=plain_text swicked", c.notes["provisioned kv"])
			}},
			{recording: "deploy-provision-noids-again", check: func(c *court, _ string) { // what was made is inherited
				c.binds(recWorker, "ASSETS_BUCKET=r2_bucket helm-auto-assets", c.notes["provisioned d1"], "ENVIRONMENT=plain_text swicked", c.notes["provisioned kv"])
			}},
			{recording: "d1-migrations-apply-no-database-id", check: func(c *court, _ string) {
				db := strings.TrimPrefix(c.notes["provisioned d1"], "DB=d1 ")
				c.ledger(db, "0001_init.sql", "0002_multi.sql", "0003_trigger.sql", "0010_ten.sql")
			}},
		}},
	}
}

// hasMigrationTag requires the tag of the last Durable Object migration.
func (c *court) hasMigrationTag(want string) {
	c.t.Helper()
	got := c.ok("GET", "/accounts/"+recAccount+"/workers/services/"+recWorker, nil).text("default_environment.script.migration_tag")
	if got != want {
		c.t.Errorf("migration tag %q, want %q", got, want)
	}
}
