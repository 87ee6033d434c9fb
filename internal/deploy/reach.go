package deploy

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// Reach is one thing that a binding reaches. It holds no words: it is made for every binding of a fleet, and judged
// against every shop's names.
type Reach struct {
	// Type is the type of binding on the wire (contracts/cloudflare/wire.md §3.3). A Worker reached from inside another
	// type is a "service".
	Type string
	// Resource is what the thing is called on the wire: an id for d1 and kv_namespace, a name for most others, the type
	// itself where the whole account is reached. Names are compared byte for byte. "" is nothing that can be named.
	Resource string
	// Jurisdiction is an R2 bucket's; a bucket of another jurisdiction is another bucket.
	Jurisdiction string
	// Free says that no stored data and no code of anybody is reached.
	Free bool
}

// ReachOf says what a binding of a config reaches. It is never empty, and a type that nobody knows reaches something
// without a name, so that it is owned by nobody.
func ReachOf(b wrangler.Binding) []Reach {
	if strings.HasPrefix(b.Key, "unsafe") {
		// It may be of any type, with any members, and Cloudflare may understand more of them than this table.
		return []Reach{{Type: "unsafe " + b.Type}}
	}
	return reachOf(b.Type, b.Name, b.Field, b.Raw)
}

// ReachOfLive is ReachOf for a binding as Cloudflare returns it.
func ReachOfLive(raw json.RawMessage) ([]Reach, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, fmt.Errorf("reading a binding: %w", err)
	}
	field := func(name string) string {
		if name == "id" && members[name] == nil {
			name = "database_id" // answers may call a database's id so
		}
		var s string
		if json.Unmarshal(members[name], &s) != nil {
			return ""
		}
		// Cloudflare writes defaults out.
		if name == "environment" && s == "production" || name == "jurisdiction" && s == "default" {
			return ""
		}
		return s
	}
	return reachOf(field("type"), field("name"), field, func(name string) json.RawMessage { return members[name] }), nil
}

// reachOf is the table of all types of binding: free of data and code, or the member that says what is reached. A type
// that is not in it is reached under no name.
func reachOf(typ, name string, field func(string) string, raw func(string) json.RawMessage) []Reach {
	to := func(resource string) []Reach { return []Reach{{Type: typ, Resource: resource}} }
	switch typ {
	case "plain_text", "json", "secret_text", "secret_key", "version_metadata", "assets", "wasm_module", "text_blob", "data_blob",
		"send_email", "ratelimit":
		return []Reach{{Type: typ, Free: true}}
	case "d1":
		if env := field("internalEnv"); env != "" {
			return to(odd("database_internal_env", env))
		}
		return to(field("id"))
	case "kv_namespace":
		return to(field("namespace_id"))
	case "r2_bucket":
		return []Reach{{Type: typ, Resource: field("bucket_name"), Jurisdiction: field("jurisdiction")}}
	case "queue":
		return to(field("queue_name"))
	case "vectorize":
		return to(field("index_name"))
	case "ai_search":
		return to(field("instance_name"))
	case "ai_search_namespace", "agent_memory", "artifacts":
		return to(field("namespace"))
	case "hyperdrive":
		return to(field("id"))
	case "flagship":
		return to(field("app_id"))
	case "vpc_service":
		return to(field("service_id"))
	case "vpc_network":
		return to(either(field("tunnel_id"), field("network_id")))
	case "mtls_certificate":
		return to(field("certificate_id"))
	case "pipelines":
		return to(either(field("stream"), field("pipeline")))
	case "k2":
		return to(field("stream"))
	case "logfwdr":
		return to(field("destination"))
	case "stream", "media", "worker_loader", "ai", "browser", "images":
		// These name nothing: the account's are reached. Workers AI opens every AI Search instance (env.AI.autorag), a browser
		// binding lists and joins every Worker's sessions, an images binding reads and deletes every hosted image
		// (developers.cloudflare.com: ai-search/api/migration, browser-run/reference/browser-binding-api, images/storage/binding).
		return to(typ)
	case "analytics_engine":
		if set := field("dataset"); set != "" {
			return to(set)
		}
		return to(name)
	case "secrets_store_secret":
		if field("store_id") == "" || field("secret_name") == "" {
			return to("")
		}
		return to(field("store_id") + "/" + field("secret_name"))
	case "service":
		if len(raw("cross_account_grant")) > 0 && string(raw("cross_account_grant")) != "null" {
			return to(odd("cross_account_grant", field("service")))
		}
		return to(worker(field("service"), field("environment")))
	case "durable_object_namespace":
		if field("script_name") == "" && field("environment") == "" {
			return []Reach{{Type: typ, Free: true}} // a class of this Worker: what it keeps is the Worker's
		}
		return to(worker(field("script_name"), field("environment")))
	case "workflow":
		out := to(field("workflow_name"))
		if script := field("script_name"); script != "" {
			out = append(out, Reach{Type: "service", Resource: script})
		}
		return out
	case "dispatch_namespace":
		out := to(field("namespace"))
		if text := raw("outbound"); len(text) > 0 && string(text) != "null" {
			out = append(out, outboundOf(text))
		}
		return out
	}
	return to("")
}

// outboundOf is the Worker that gets what a dispatch namespace's Workers send out.
func outboundOf(text json.RawMessage) Reach {
	var out struct {
		Worker struct{ Service, Environment string }
	}
	if json.Unmarshal(text, &out) != nil {
		return Reach{Type: "service"}
	}
	return Reach{Type: "service", Resource: worker(out.Worker.Service, out.Worker.Environment)}
}

// worker names a Worker, or the environment of one.
func worker(service, environment string) string {
	if environment == "" || service == "" {
		return service
	}
	return service + "/" + environment
}

// members are those of a JSON object, by exactly their names. A struct would take them in any case, and the last of those
// that differ in it: it would read another one than Cloudflare does.
type members map[string]json.RawMessage

// text is a member that is a text; "" when it is missing. Any other is a text that no name is.
func (m members) text(name string) string {
	var s *string
	if raw := m[name]; raw != nil && json.Unmarshal(raw, &s) != nil {
		return odd(name, string(raw))
	}
	if s == nil {
		return ""
	}
	return *s
}

// odd is a resource that no fleet.yml can name: blanks are in no name.
func odd(member, value string) string { return member + " " + value }

func either(a, b string) string {
	if a != "" && b != "" {
		return odd(a, b) // which of the two counts is not ours to guess
	}
	return a + b
}

// ReachOfConsumers says which Workers get another one's requests and logs: the value of tail_consumers, or of
// streaming_tail_consumers, in a config or from Cloudflare. What cannot be read reaches something without a name.
func ReachOfConsumers(raw json.RawMessage) []Reach {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var list []members
	if json.Unmarshal(raw, &list) != nil {
		return []Reach{{Type: "tail_consumer"}}
	}
	var out []Reach
	for _, c := range list {
		r := Reach{Type: "tail_consumer", Resource: worker(c.text("service"), c.text("environment"))}
		if namespace := c.text("namespace"); namespace != "" {
			r.Resource = odd("namespace", namespace)
		}
		out = append(out, r)
	}
	return out
}
