package simtest

import (
	"fmt"
	"regexp"
	"strings"
)

// Known differences between the OpenAPI description and the service as real wrangler uses it (feasibility.md §2, wire.md).
// Each has its reason; nothing else is let through.

// rule is a difference that concerns some operations.
type rule struct {
	method string // "" = any
	path   *regexp.Regexp
	reason string
	query  []string // query parameters that the description lacks
}

func (r rule) applies(method, path string) bool {
	return (r.method == "" || r.method == method) && r.path.MatchString(path)
}

const account = `^/accounts/[^/]+`

// undocumentedOps are operations that the trimmed description does not contain.
var undocumentedOps = []rule{
	{"GET", regexp.MustCompile(`^/user$`), "read by wrangler whoami; left out of the trimmed description", nil},
	{"", regexp.MustCompile(account + `/queues`), "looked up by deploys with queue bindings (wire.md §3.5); left out", nil},
	{"", regexp.MustCompile(account + `/workflows/`), "looked up by deploys with workflows (wire.md §3.1); left out", nil},
	{"", regexp.MustCompile(account + `/workers/dispatch/namespaces`), "looked up by deploys with dispatch bindings (wire.md §3.5); left out", nil},
	{"GET", regexp.MustCompile(account + `/workers/durable_objects/namespaces`), "read by wrangler delete (wire.md §8); left out", nil},
	{"", regexp.MustCompile(account + `/workers/scripts/[^/]+/(references|tails)`), "used by wrangler delete and tail (wire.md §8); left out", nil},
	{"GET", regexp.MustCompile(account + `/containers/applications$`), "read by wrangler delete when there are Durable Objects; left out", nil},
	{"GET", regexp.MustCompile(account + `/workers/tails/by-consumer/`), "read by wrangler delete (wire.md §8); left out", nil},
	{"GET", regexp.MustCompile(account + `/workers/workers/`), "the newer Workers API, read by every deploy (wire.md §3.1); left out", nil},
	{"GET", regexp.MustCompile(account + `/workers/services/[^/]+/environments/`), "read after dashboard edits (wire.md §3.1); left out", nil},
	{"DELETE", regexp.MustCompile(account + `/workers/services/[^/]+$`), "sent by wrangler delete (wire.md §8); left out", nil},
	{"GET", regexp.MustCompile(account + `/workers/domains/records$`), "read after dashboard edits (wire.md §3.1); left out", nil},
	{"GET", regexp.MustCompile(account + `/workers/subdomains/`), "asks whether a workers.dev name is free (wire.md §2); left out", nil},
	{"POST", regexp.MustCompile(account + `/workers/assets/upload/[0-9a-f]+$`), "single asset uploads (wire.md §5.5); left out", nil},
	{"", regexp.MustCompile(account + `/tags(/|$)`), "resource tagging, documented separately as a public beta", nil},
	{"", regexp.MustCompile(account + `/r2/buckets/[^/]+/objects/`), "object reads and writes over REST; only listing and deleting are described", nil},
}

func undocumented(method, path string) bool {
	for _, r := range undocumentedOps {
		if r.applies(method, path) {
			return true
		}
	}
	return false
}

// textBodies are operations whose JSON body wrangler sends as text/plain (wire.md §1); the service parses by route.
var textBodies = []rule{
	{"POST", regexp.MustCompile(account + `/r2/buckets$`), "wrangler r2 bucket create", nil},
	{"PUT", regexp.MustCompile(account + `/workers/subdomain$`), "wrangler's registration of a workers.dev name", nil},
}

func jsonAsText(method, path string) bool {
	for _, r := range textBodies {
		if r.applies(method, path) {
			return true
		}
	}
	return false
}

// extraQuery are query parameters that the description does not know, or types otherwise.
var extraQuery = []rule{
	{"GET", regexp.MustCompile(`^/zones$`), "account.id is how the filter is written; the description has an object", []string{"account.id", "account.name", "account"}},
	{"GET", regexp.MustCompile(account + `/d1/database/[^/]+$`), "wrangler writes fields=uuid,name as one parameter; the description repeats it", []string{"fields"}},
	{"GET", regexp.MustCompile(`^/zones/[^/]+/dns_records$`), "name and content are written as name=x or name.exact=x; the description has objects", []string{"name", "content", "comment", "tag"}},
}

func undocumentedQuery(method, path string) []string {
	for _, r := range extraQuery {
		if r.applies(method, path) {
			return r.query
		}
	}
	return nil
}

var (
	rawValue  = regexp.MustCompile(account + `/storage/kv/namespaces/[^/]+/values/`)
	queryPath = regexp.MustCompile(account + `/d1/database/[^/]+/(query|raw)$`)
	noBodyOK  = regexp.MustCompile(account + `/workers/domains/[^/]+$|/deployments/[^/]+$`)
)

// anyBody are requests whose body is the value itself, of whatever type (wire.md §8: kv key put); the description has a form.
func anyBody(method, path string) bool { return method == "PUT" && rawValue.MatchString(path) }

// mendRequest takes known differences out of a JSON request.
func mendRequest(method, path string, value any) any {
	if method == "POST" && queryPath.MatchString(path) {
		mendParams(value)
	}
	return value
}

// mendParams writes the parameters of a D1 query as text: the description wants strings, the service takes numbers,
// booleans and null too.
func mendParams(value any) {
	m, _ := value.(map[string]any)
	if params, ok := m["params"].([]any); ok {
		for i, p := range params {
			if _, text := p.(string); !text {
				params[i] = fmt.Sprint(p)
			}
		}
	}
	if batch, ok := m["batch"].([]any); ok {
		for _, q := range batch {
			mendParams(q)
		}
	}
}

// undescribedBindings are binding types that wrangler 4.164 sends (wire.md §3.3) and the description lacks.
var undescribedBindings = map[string]bool{
	"agent_memory": true, "analytics": true, "artifacts": true, "k2": true, "logfwdr": true, "stream": true, "unsafe_hello_world": true,
	"worker_loader": true,
	"custom_thing":  true, // the unsafe binding of the recordings: such a type is whatever the user wrote
}

// mendBindings takes known differences out of a list of bindings.
func mendBindings(list []any) []any {
	kept := []any{}
	for _, x := range list {
		b, ok := x.(map[string]any)
		if !ok {
			kept = append(kept, x)
			continue
		}
		kind, _ := b["type"].(string)
		switch {
		case undescribedBindings[kind]:
			continue
		case kind == "d1" && b["database_id"] == nil && b["id"] != nil:
			b["database_id"] = b["id"] // wrangler sends `id`; the description requires `database_id`
		case kind == "pipelines" && b["pipeline"] == nil && b["stream"] != nil:
			b["pipeline"] = b["stream"] // wrangler sends `stream`; the description knows `pipeline` only
		}
		kept = append(kept, b)
	}
	return kept
}

// mendMetadata takes known differences out of upload metadata.
func mendMetadata(value any) any {
	m, _ := value.(map[string]any)
	if list, ok := m["bindings"].([]any); ok {
		m["bindings"] = mendBindings(list)
	}
	return value
}

// unanswered are answers that the description does not describe.
func unanswered(method, path string, status int) bool {
	// Deleting a domain or a deployment: the description has no body for success.
	return method == "DELETE" && status < 300 && noBodyOK.MatchString(path)
}

// mendAnswer takes known differences out of an answer: bindings come back as they were sent, the location of an R2
// bucket is in upper case where the description has lower case, and an import or export that goes on is "active"
// (wire.md §7.3), a status that the description lacks.
func mendAnswer(value any) any {
	m, _ := value.(map[string]any)
	result, _ := m["result"].(map[string]any)
	if kind := result["type"]; result["status"] == "active" && (kind == "import" || kind == "export") {
		delete(result, "status")
	}
	buckets, _ := result["buckets"].([]any)
	for _, x := range append(buckets, result) {
		if b, ok := x.(map[string]any); ok && b["storage_class"] != nil {
			if location, ok := b["location"].(string); ok {
				b["location"] = strings.ToLower(location)
			}
		}
	}
	if list, ok := result["bindings"].([]any); ok {
		result["bindings"] = mendBindings(list)
	}
	if resources, ok := result["resources"].(map[string]any); ok {
		if list, ok := resources["bindings"].([]any); ok {
			resources["bindings"] = mendBindings(list)
		}
	}
	return value
}
