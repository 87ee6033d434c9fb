package sim_test

import (
	"fmt"

	"github.com/kvick/shopfleet/internal/sim"
)

// oddSessions repeat the recordings whose server answered oddly on purpose, to see what wrangler needs of an answer. Fault
// rules give the odd answer in the midst of a world that otherwise behaves, and has the effect where the recording's server
// had it. One recording cannot be repeated so: see untried.
func oddSessions() []session {
	scripts := "/workers/scripts/" + recWorker
	ok := func(result string) string {
		return `{"success":true,"errors":[],"messages":[],"result":` + result + `}`
	}
	odd := func(recording string, rules ...sim.Rule) trial {
		return trial{recording: recording, before: func(c *court) {
			for _, r := range rules {
				c.fault(r)
			}
		}, check: func(c *court, _ string) { c.released() }}
	}
	after := func(method, path, result string) sim.Rule {
		return sim.Rule{Method: method, Path: path, Body: ok(result), After: true}
	}
	return []session{
		{name: "odd answers", open: (*court).live, trials: []trial{
			odd("minimal-deployments-post-null", after("POST", scripts+"/deployments$", "null")),
			odd("minimal-records-schedules-null", after("PUT", scripts+"/domains/records$", "null"), after("PUT", scripts+"/schedules$", "null")),
			odd("minimal-script-settings-null", after("PATCH", scripts+"/script-settings$", "null")),
			odd("minimal-subdomain-post-empty", after("POST", scripts+"/subdomain$", "{}")),
			odd("minimal-worker-subdomain", after("GET", "/workers/workers/"+recWorker+"$", `{"subdomain":{}}`)),
			{recording: "minimal-versions-post", before: func(c *court) {
				// The answer names a version that was uploaded before, so that there is one to release.
				id := c.upload("POST", recWorker, sampleBindings(), nil).text("id")
				c.fault(sim.Rule{Method: "POST", Path: scripts + `/versions\?`, Body: ok(fmt.Sprintf(`{"id":%q,"resources":{"script":{}}}`, id))})
			}, check: func(c *court, _ string) { c.released() }},
			odd("missing-services-tag-tags", after("GET", "/workers/services/"+recWorker+"$", `{"default_environment":{"script":{}}}`)),
			odd("malformed-json", sim.Rule{Method: "GET", Path: scripts + "/settings$", Body: "<html>oops"}),
			odd("no-content-204", sim.Rule{Method: "PATCH", Path: scripts + "/script-settings$", Status: 204, After: true}),
			odd("success-true-http-500", sim.Rule{Method: "GET", Path: scripts + "/secrets$", Status: 500, Body: ok("[]")}),
			odd("deployments-empty-array", after("GET", scripts+"/deployments$", `{"deployments":[]}`)),
			odd("err-changeset-400-100116", sim.Rule{Method: "POST", Path: scripts + "/domains/changeset", Status: 400, Code: 100116, Message: "hostname conflict"}),
			odd("err-script-settings-500", sim.Rule{Method: "PATCH", Path: scripts + "/script-settings$", Status: 500, Code: 10001, Message: "internal"}),
			odd("err-upload-429-retry-after", sim.Rule{Method: "POST", Path: scripts + `/versions\?`, Status: 429, Code: 10429, Message: "rate limited", Header: map[string]string{"Retry-After": "1"}}),
			odd("err-upload-500-retried", sim.Rule{Method: "POST", Path: scripts + `/versions\?`, Count: 2, Status: 500, Code: 10001, Message: "internal"}),
			{recording: "deploy-r2-403", before: func(c *court) {
				c.remove()
				c.fault(sim.Rule{Method: "GET", Path: "/r2/buckets/helm-swicked-assets$", Status: 403, Code: 10000, Message: "Authentication error"})
			}, check: func(c *court, _ string) { c.released() }},
		}},
	}
}

// everyQuery answers all D1 queries alike, without running them.
func everyQuery(result string) sim.Rule {
	return sim.Rule{Method: "POST", Path: "/d1/database/[^/]+/query$", Count: -1, Body: `{"success":true,"errors":[],"messages":[],"result":` + result + `}`}
}
