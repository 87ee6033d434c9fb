package wrangler_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// keySamples are values that a key of an environment may have. good ones pass wrangler's validation, perhaps
// with warnings; bad ones are refused. Binding names differ from key to key, so that keys combine freely.
type keySamples struct {
	key       string
	good, bad []string
}

var envSamples = []keySamples{
	{"account_id", []string{`"0a1b2c"`, `""`}, []string{`5`, `null`}},
	{"compatibility_date", []string{`"2026-06-01"`, `"2024-02-29"`}, []string{`"yesterday"`, `20260601`, `"2026–06–01x"`}},
	{"compatibility_flags", []string{`["nodejs_compat"]`, `[]`, `["a", "b",]`}, []string{`"nodejs_compat"`, `[1]`, `null`}},
	{"jsx_factory", []string{`"h"`}, []string{`1`}},
	{"jsx_fragment", []string{`"Fragment"`}, []string{`false`}},
	{"tsconfig", []string{`"tsconfig.json"`, `"./conf/../tsconfig.build.json"`}, []string{`{}`}},
	{"rules", []string{`[]`, `null`, `[{"type":"Text","globs":["**/*.md"]}]`, `[{"type":"Data","globs":[],"fallthrough":true},{"type":"ESModule","globs":["*.mjs"],"fallthrough":false}]`},
		[]string{`{}`, `[{"type":"Image","globs":[]}]`, `[{"type":"Text"}]`, `[{"type":"Text","globs":["a",1]}]`, `[{"type":"Text","globs":[],"fallthrough":"yes"}]`, `[5]`}},
	{"name", []string{`"helm"`, `"helm_2-x"`, `""`, `"0"`}, []string{`"Helm"`, `"-helm"`, `"he.lm"`, `5`, `null`}},
	{"main", []string{`"src/index.ts"`, `"./src/../index.js"`, `"../other/index.ts"`, `"/abs/index.js"`, `"index"`}, []string{`5`, `null`}},
	{"find_additional_modules", []string{`true`, `false`}, []string{`"yes"`}},
	{"preserve_file_names", []string{`true`, `false`}, []string{`1`}},
	{"base_dir", []string{`"."`, `"src"`, `"/abs/"`}, []string{`[]`}},
	{"route", []string{`"a.example.com/*"`, `""`, `{"pattern":"b.example.com","custom_domain":true}`}, []string{`5`, `{"pattern":"x"}`}},
	{"routes", []string{`[]`, `["a.example.com/*"]`, `[{"pattern":"c.example.com","custom_domain":true},"d.example.com/x"]`,
		`[{"pattern":"e.example.com/*","zone_id":"z"}]`, `[{"pattern":"f.example.com/*","zone_name":"example.com"}]`,
		`[{"pattern":"g.example.com","custom_domain":true,"enabled":false,"previews_enabled":true,"zone_name":"example.com"}]`,
		`[{"custom_domain":false,"pattern":"h.example.com"}]`},
		[]string{`"a/*"`, `[""]`, `[5]`, `[{"pattern":"x"}]`, `[{"pattern":"x","zone_id":"a","zone_name":"b"}]`, `[{"zone_id":"a"}]`,
			`[{"pattern":"x","custom_domain":"yes"}]`, `[{"pattern":"x","enabled":true,"zone_id":"a"}]`, `[{"pattern":"x","zone_id":"a","extra":1}]`, `null`}},
	{"triggers", []string{`{}`, `null`, `{"crons":[]}`, `{"crons":["0 0 * * *","*/5 * * * *"]}`, `{"crons":["0 0 * * *"],"cron":1}`,
		`{"events":[{"type":"cf.artifacts.repo.pushed","filter":{"namespace":"n"},"targets":[{"type":"workflow","workflow_name":"w"}]}]}`},
		[]string{`[]`, `{"crons":"0 0 * * *"}`, `{"crons":null}`, `{"events":[{"type":"x","targets":[{"type":"workflow","workflow_name":"w"}]}]}`, `{"events":[{"type":"cf.artifacts.repo.pushed","targets":[]}]}`}},
	{"assets", []string{`{"directory":"public"}`, `{"directory":"public","binding":"ASSETS","html_handling":"none","not_found_handling":"404-page"}`,
		`{"directory":"./public/","run_worker_first":["/api/*"],"base_path":"/x"}`, `{"run_worker_first":true,"directry":"x"}`},
		[]string{`"public"`, `null`, `{"directory":5}`, `{"html_handling":"maybe"}`, `{"run_worker_first":"yes"}`, `{"run_worker_first":[1]}`}},
	{"limits", []string{`{"cpu_ms":100}`, `null`, `{"cpu_ms":50,"subrequests":10}`, `{}`}, []string{`{"cpu_ms":"100"}`, `{"subrequests":null}`}},
	{"placement", []string{`{"mode":"smart"}`, `{"mode":"off"}`, `{"mode":"smart","hint":"enam"}`, `{"region":"aws:us-east-1"}`, `{"mode":"targeted","host":"db:5432"}`,
		`{"mode":"smart","hint":""}`, `{"mode":"off","hint":""}`},
		[]string{`"smart"`, `{}`, `{"mode":"fast"}`, `{"mode":"off","hint":"enam"}`, `{"mode":"targeted"}`, `{"region":"a","host":"b"}`, `{"hint":"x","region":"y","mode":"smart"}`, `{"region":""}`, `[]`, `null`}},
	{"build", []string{`{}`, `{"command":"make"}`, `{"command":"make","cwd":"build","watch_dir":["a","b"]}`, `{"comand":"make"}`, `null`}, []string{`{"command":5}`, `{"watch_dir":[1]}`, `{"cwd":null}`}},
	{"workers_dev", []string{`true`, `false`}, []string{`"true"`, `null`}},
	{"preview_urls", []string{`true`, `false`}, []string{`0`}},
	{"vars", []string{`{}`, `{"A":"x"}`, `{"A":"x","B":1.50,"C":{"z":[true,null,1e3],"10":1,"9":2}}`, `{"B":"</script> & 'é' \u2028","7":"seven","6":null,"a":-0.0}`, `{"N":1e21,"M":1e-7,"O":123456789012345678901234567890,"P":0.000001}`},
		[]string{`"x"`, `null`, `5`}},
	{"secrets", []string{`{}`, `{"required":["API_KEY"]}`, `{"required":["API_KEY","OTHER"],"optional":[]}`}, []string{`[]`, `{"required":"A"}`, `{"required":[1]}`, `{"required":["A1","A1"]}`, `null`}},
	{"define", []string{`{}`, `{"X":"1"}`, `{"X":"\"a\"","Y":"true"}`}, []string{`{"X":1}`, `null`, `"x"`}},
	{"durable_objects", []string{`{"bindings":[]}`, `{}`, `{"bindings":[{"name":"ROOM","class_name":"Room"}]}`, `{"bindings":[{"name":"ROOM","class_name":"Room","script_name":"other"},{"class_name":"Lobby","name":"LOBBY","script_name":"x","environment":"y"}]}`,
		`{"bindings":[{"name":"ROOM","class_name":"Room","remote":true,"extra":1}],"code_update_strategy":{"mode":"immediate"},"other":1}`, `{"code_update_strategy":{"mode":"deferred","max_delay":0.25}}`},
		[]string{`[]`, `null`, `{"bindings":{}}`, `{"bindings":[{"name":"R"}]}`, `{"bindings":[{"name":"R","class_name":"R","environment":"e"}]}`, `{"code_update_strategy":{"mode":"later"}}`, `{"code_update_strategy":{"mode":"deferred","max_delay":86401}}`, `{"code_update_strategy":{"mode":"deferred","max_delay":0.00001}}`}},
	{"workflows", []string{`[]`, `[{"binding":"WF","name":"my-wf","class_name":"Wf"}]`, `[{"binding":"WF","name":"my_wf","class_name":"Wf","script_name":"other","limits":{"steps":30000,"x":1},"schedules":["0 0 * * *"],"default_retention":{"success_retention":"3 days"},"concurrency":{"limit":5}}]`},
		[]string{`{}`, `[{"binding":"WF","name":"my wf","class_name":"Wf"}]`, `[{"binding":"WF","name":"wf"}]`, `[{"binding":"A1","name":"wf","class_name":"A"},{"binding":"A2","name":"wf","class_name":"B"}]`,
			`[{"binding":"WF","name":"wf","class_name":"Wf","limits":{"steps":0}}]`, `[{"binding":"WF","name":"wf","class_name":"Wf","schedules":[]}]`, `[{"binding":"WF","name":"wf","class_name":"Wf","jurisdiction":"mars"}]`, `[{"binding":"WF","name":"wf","class_name":"Wf","default_retention":{"error_retention":0}}]`, `null`}},
	{"migrations", []string{`[]`, `null`, `[{"tag":"v1","new_sqlite_classes":["Room"]}]`, `[{"tag":"v1","new_classes":["A"]},{"renamed_classes":[{"from":"A","to":"B"}],"tag":"v2","deleted_classes":["C"],"extra":1}]`,
		`[{"tag":"v3","transferred_classes":[{"from":"A","from_script":"s","to":"B"}]}]`},
		[]string{`{}`, `[{}]`, `[{"tag":1}]`, `[{"tag":"v","new_classes":"A"}]`, `[{"tag":"v","renamed_classes":[{"from":"A"}]}]`, `[{"tag":"v","transferred_classes":{}}]`}},
	{"exports", []string{`{}`, `null`, `{"w":{"type":"worker","cache":{"enabled":true}}}`, `{"2":{"type":"worker"},"1":{"type":"worker","extra":1}}`},
		[]string{`[]`, `{"R":{}}`, `{"R":{"type":"thing"}}`, `{"R":{"type":"durable-object"}}`, `{"R":{"type":"durable-object","storage":"paper"}}`, `{"R":{"type":"durable-object","storage":"sqlite","extra":1}}`,
			`{"R":{"type":"durable-object","state":"renamed","renamed_to":"R"}}`, `{"R":{"type":"durable-object","state":"gone"}}`, `{"w":{"type":"worker","cache":{}}}`, `{"w":{"type":"workflow"}}`}},
	{"kv_namespaces", []string{`[]`, `[{"binding":"KV","id":"k1"}]`, `[{"binding":"KV2"},{"binding":"10","id":"ten"},{"id":"nine","binding":"9","preview_id":"p","remote":true}]`, `[{"binding":"KV","id":"k","raw":true,"ttl":5}]`},
		[]string{`{}`, `null`, `[{}]`, `[{"binding":5}]`, `[{"binding":"KV","id":""}]`, `[{"binding":"KV","id":5}]`, `[{"binding":"KV","remote":"yes"}]`, `["KV"]`, `[{"binding":"KV","id":"a"},{"binding":"KV","id":"b"}]`, `[{"binding":"DB"}, {"binding":"DB"}]`}},
	{"send_email", []string{`[]`, `[{"name":"MAIL"}]`, `[{"name":"MAIL","destination_address":"a@b.c","allowed_sender_addresses":["x@y.z"]}]`, `[{"allowed_destination_addresses":["a@b.c"],"name":"MAIL","extra":1}]`},
		[]string{`{}`, `[{"binding":"MAIL"}]`, `[{"name":"M","destination_address":5}]`, `[{"name":"M","destination_address":"a","allowed_destination_addresses":[]}]`}},
	{"queues", []string{`{}`, `{"producers":[],"consumers":[]}`, `{"producers":[{"binding":"Q","queue":"q"}]}`, `{"producers":[{"binding":"Q","queue":"q","delivery_delay":5}],"consumers":[{"queue":"q","max_retries":1}],"extra":1}`, `{"producers":[{"binding":"Q"}]}`},
		[]string{`[]`, `null`, `{"producers":{}}`, `{"producers":[{"queue":"q"}]}`, `{"producers":[{"binding":"Q","queue":""}]}`, `{"consumers":[{}]}`, `{"consumers":[{"queue":"q","type":"http_pull"}]}`, `{"consumers":[{"queue":"q","max_retries":"1"}]}`}},
	{"connect", []string{`[]`, `[{"protocol":"tcp","port":25}]`, `[{"protocol":"udp","port":53,"idle_timeout_ms":5},{"protocol":"tcp","port":53,"extra":1}]`},
		[]string{`{}`, `[{}]`, `[{"protocol":"sctp","port":1}]`, `[{"protocol":"tcp","port":0}]`, `[{"protocol":"tcp","port":1.5}]`, `[{"protocol":"tcp","port":1},{"protocol":"tcp","port":1}]`, `[{"protocol":"udp","port":1,"max_pending_bytes":-1}]`}},
	{"r2_buckets", []string{`[]`, `[{"binding":"R2","bucket_name":"helm-assets"}]`, `[{"binding":"R2"}]`, `[{"binding":"R2","bucket_name":"abc","jurisdiction":"eu","preview_bucket_name":"abd","local_dev":{"experimental_s3_credentials":{"accessKeyId":"a","secretAccessKey":"b"}}}]`},
		[]string{`null`, `[{"bucket_name":"abc"}]`, `[{"binding":"R2","bucket_name":"AB"}]`, `[{"binding":"R2","bucket_name":""}]`, `[{"binding":"R2","preview_bucket_name":"-a-"}]`, `[{"binding":"R2","local_dev":{"experimental_s3_credentials":{}}}]`}},
	{"d1_databases", []string{`[]`, `[{"binding":"DB","database_name":"helm-db","database_id":"d1"}]`, `[{"binding":"DB","database_name":"helm-db"}]`,
		`[{"binding":"DB","database_id":"d1","preview_database_id":"p","database_internal_env":"staging","migrations_dir":"m","migrations_table":"t","migrations_pattern":"m/**/*.sql","jurisdiction":"eu"},{"binding":"DB2","database_id":"d2","remote":false,"databse_name":"x"}]`},
		[]string{`{}`, `null`, `[{"database_id":"x"}]`, `[{"binding":"DB","database_id":5}]`, `[{"binding":"DB","migrations_dir":null}]`, `[{"binding":"DB","migrations_pattern":[]}]`}},
	{"vectorize", []string{`[]`, `[{"binding":"VEC","index_name":"i"}]`}, []string{`[{"binding":"VEC"}]`, `null`}},
	{"ai_search_namespaces", []string{`[{"binding":"ASN","namespace":"n"}]`}, []string{`[{"binding":"ASN"}]`}},
	{"ai_search", []string{`[{"binding":"AIS","instance_name":"n","x":1}]`}, []string{`[{"binding":"AIS"}]`}},
	{"agent_memory", []string{`[{"binding":"MEM","namespace":"n"}]`}, []string{`[{"namespace":"n"}]`}},
	{"hyperdrive", []string{`[{"binding":"HD","id":"h","localConnectionString":"postgres://"}]`}, []string{`[{"binding":"HD"}]`}},
	{"services", []string{`[]`, `[{"binding":"SVC","service":"other"}]`, `[{"service":"o","binding":"SVC","environment":"","entrypoint":"E","props":{"k":1},"cross_account_grant":"g","unknown":1}]`, `[{"binding":"SVC","service":"o","dev":{"plugin":{"package":"p","name":"n"}},"remote":true}]`},
		[]string{`[{"binding":"SVC"}]`, `[{"binding":"SVC","service":"o","entrypoint":5}]`, `[{"binding":"SVC","service":"o","dev":{}}]`}},
	{"analytics_engine_datasets", []string{`[{"binding":"AE"}]`, `[{"binding":"AE","dataset":"d"}]`}, []string{`[{"binding":"AE","dataset":""}]`}},
	{"dispatch_namespaces", []string{`[{"binding":"DISP","namespace":"n"}]`, `[{"binding":"DISP","namespace":"n","outbound":{"service":"s","parameters":["p"],"environment":"e"},"x":1}]`, `[{"binding":"DISP"}]`},
		[]string{`[{"binding":"DISP","namespace":5}]`, `[{"binding":"DISP","namespace":"n","outbound":{}}]`, `[{"binding":"DISP","outbound":{"service":"s","parameters":"p"}}]`}},
	{"mtls_certificates", []string{`[{"binding":"MTLS","certificate_id":"c"}]`}, []string{`[{"binding":"MTLS","certificate_id":""}]`}},
	{"tail_consumers", []string{`[]`, `[{"service":"t"}]`, `[{"service":"t","environment":"e"}]`, `null`}, []string{`{}`, `[{}]`, `[{"service":"t","environment":1}]`}},
	{"streaming_tail_consumers", []string{`[{"service":"t"}]`}, []string{`[5]`, `[{}]`}},
	// Without bindings wrangler takes the other keys for names of bindings, and warns of those.
	{"unsafe", []string{`{}`, `{"bindings":[{"name":"UNS","type":"thing","foo":1,"10":2}]}`, `{"bindings":[{"type":"kv_namespace","name":"UNS","namespace_id":"x"}],"metadata":{"a":1}}`, `{"bindings":[],"metadata":{"b":[1]},"extra":1}`,
		`{"bindings":[{"name":"HELLO","type":"hello_world","enable_timer":true}]}`, `{"bindings":[],"capnp":{"compiled_schema":"x.capnp"}}`},
		[]string{`[]`, `null`, `{"bindings":[{"name":"U"}]}`, `{"metadata":[]}`, `{"capnp":{}}`, `{"capnp":{"compiled_schema":"a","base_path":"b"}}`}},
	{"browser", []string{`{"binding":"BROWSER"}`, `{"binding":"BROWSER","remote":true,"raw":true}`}, []string{`{}`, `[]`, `null`, `{"binding":5}`}},
	{"analytics", []string{`{"binding":"ANALYTICS"}`}, []string{`"x"`}},
	{"ai", []string{`{"binding":"AI"}`, `{"binding":"AI","staging":true,"raw":false,"x":1}`}, []string{`{"remote":true}`}},
	{"images", []string{`{"binding":"IMAGES"}`}, []string{`{"binding":"IMAGES","remote":5}`}},
	{"stream", []string{`{"binding":"STREAM"}`}, []string{`{}`}},
	{"media", []string{`{"binding":"MEDIA"}`}, []string{`[]`}},
	{"pipelines", []string{`[{"binding":"PIPE","stream":"s"}]`, `[{"binding":"PIPE","pipeline":"p"}]`}, []string{`[{"binding":"PIPE"}]`, `[{"stream":"s"}]`}},
	{"k2", []string{`[{"binding":"K2","stream":"s"}]`}, []string{`[{"binding":"K2"}]`, `[{"binding":"K2","stream":"s","remote":false}]`}},
	{"secrets_store_secrets", []string{`[{"binding":"SSS","store_id":"s","secret_name":"n"}]`}, []string{`[{"binding":"SSS","store_id":"s"}]`}},
	{"artifacts", []string{`[{"binding":"ART","namespace":"n"}]`}, []string{`[{"binding":"ART"}]`}},
	{"unsafe_hello_world", []string{`[{"binding":"UHW","enable_timer":true}]`, `[{"binding":"UHW"}]`}, []string{`[{"binding":"UHW","enable_timer":1}]`}},
	{"flagship", []string{`[{"binding":"FLAG","app_id":"a"}]`, `[{"binding":"FLAG"}]`}, []string{`[{"binding":"FLAG","app_id":1}]`}},
	{"worker_loaders", []string{`[{"binding":"LOADER"}]`, `[{"binding":"LOADER","x":1}]`}, []string{`[{}]`}},
	{"ratelimits", []string{`[{"name":"RL","namespace_id":"1","simple":{"limit":10,"period":60}}]`, `[{"name":"RL","namespace_id":"1","simple":{"period":10,"limit":1.5,"x":1}}]`},
		[]string{`[{"name":"RL","namespace_id":"1"}]`, `[{"name":"RL","namespace_id":"1","simple":{"limit":1,"period":30}}]`, `[{"name":"RL","namespace_id":1,"simple":{"limit":1,"period":10}}]`}},
	{"vpc_services", []string{`[{"binding":"VPC","service_id":"s"}]`}, []string{`[{"binding":"VPC"}]`}},
	{"vpc_networks", []string{`[{"binding":"VPN","tunnel_id":"t"}]`, `[{"binding":"VPN","network_id":"n"}]`}, []string{`[{"binding":"VPN"}]`, `[{"binding":"VPN","tunnel_id":"t","network_id":"n"}]`}},
	{"version_metadata", []string{`{"binding":"VM","x":1}`}, []string{`{}`}},
	{"logfwdr", []string{`{"bindings":[]}`, `{"bindings":[{"name":"LOG","destination":"d","x":1}]}`}, []string{`{}`, `null`, `{"bindings":[{"name":"LOG"}]}`, `{"bindings":[],"schema":"s"}`}},
	{"no_bundle", []string{`true`, `false`}, []string{`"no"`}},
	{"minify", []string{`true`, `false`}, []string{`1`}},
	{"keep_names", []string{`true`, `false`}, []string{`null`}},
	{"first_party_worker", []string{`false`}, []string{`"x"`}},
	{"logpush", []string{`true`, `false`}, []string{`{}`}},
	{"upload_source_maps", []string{`true`, `false`}, []string{`[]`}},
	{"observability", []string{`{"enabled":true}`, `{"enabled":false,"head_sampling_rate":0.5}`, `{"logs":{"enabled":true,"head_sampling_rate":1,"invocation_logs":true,"persist":false,"destinations":["d"]},"traces":{"enabled":true,"x":1}}`, `{"enabled":true,"hed_sampling_rate":1}`},
		[]string{`{}`, `true`, `null`, `{"enabled":"yes"}`, `{"enabled":true,"head_sampling_rate":2}`, `{"enabled":true,"logs":{"destinations":"d"}}`, `{"logs":{}}`, `{"enabled":true,"traces":5}`}},
	{"access", []string{`{}`, `{"dev":{"aud":"a","identity":{}}}`}, []string{`5`, `{"dev":{}}`}},
	{"cache", []string{`{"enabled":true}`, `{"enabled":false,"cross_version_cache":true,"x":1}`}, []string{`{}`, `{"enabled":1}`}},
	{"compliance_region", []string{`"public"`, `"fedramp_high"`}, []string{`"mars"`}},
	{"python_modules", []string{`{}`, `{"exclude":["a"]}`}, []string{`[]`, `{"exclude":[1]}`}},
	{"previews", []string{`{}`, `{"vars":{"P":"1"},"kv_namespaces":[{"binding":"PKV","id":"x"}],"limits":{"cpu_ms":1}}`, `{"mian":"x"}`}, []string{`[]`, `{"kv_namespaces":[{}]}`, `{"durable_objects":{}}`, `{"observability":{}}`}},
	{"node_compat", nil, []string{`true`}},
	{"kv_namespace", []string{`[]`}, nil},
}

var topSamples = []keySamples{
	{"$schema", []string{`"node_modules/wrangler/config-schema.json"`}, []string{`5`}},
	{"send_metrics", []string{`false`}, []string{`"no"`}},
	{"dependencies_instrumentation", []string{`{"enabled":false}`, `{"enabled":true,"exclude_packages":["a"],"x":1}`}, []string{`{"enabled":1}`, `{"exclude_packages":"a"}`}},
	{"keep_vars", []string{`true`, `false`}, []string{`1`}},
	{"addresses", []string{`["a@b.c"]`}, []string{`"a@b.c"`}},
	// A Pages project's unknown environments are resolved differently; Config.Check refuses Pages projects.
	{"pages_build_output_dir", nil, []string{`5`}},
	{"dev", []string{`{}`, `{"port":8787,"ip":"127.0.0.1","local_protocol":"https"}`, `{"prot":1}`}, []string{`{"port":"8787"}`, `{"local_protocol":"gopher"}`}},
	{"alias", []string{`{}`, `{"a":"./b"}`}, []string{`{"a":1}`, `"x"`}},
	{"wasm_modules", []string{`{"WASM":"a.wasm"}`}, []string{`{"WASM":5}`}},
	{"text_blobs", []string{`{"TEXT":"a.txt","12":"b.txt"}`}, []string{`{"TEXT":null}`}},
	{"data_blobs", []string{`{"BLOB":"a.bin"}`}, []string{`{"BLOB":[]}`}},
	{"site", []string{`{"bucket":"public"}`, `{"bucket":"public","include":["a"],"x":1}`}, []string{`{}`, `{"bucket":5}`}},
	{"legacy_env", nil, []string{`true`, `false`}},
	{"nmae", []string{`"x"`}, nil},
}

// randomConfig makes a wrangler.jsonc and the environment to resolve.
func randomConfig(r *rand.Rand) (text, env string) {
	// Most configurations should pass, so most have no bad value at all.
	badness := 0.0
	if r.IntN(4) == 0 {
		badness = 0.05
	}
	members := randomMembers(r, envSamples, badness)
	members = append(members, randomMembers(r, topSamples, badness)...)
	if r.IntN(5) > 0 && !slices.ContainsFunc(members, func(m string) bool { return strings.HasPrefix(m, `"name"`) }) {
		members = append(members, `"name": "helm"`)
	}
	r.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	if r.IntN(6) > 0 {
		var envs []string
		for _, name := range []string{"swicked", "mike-s-bikes", "12"}[:1+r.IntN(3)] {
			own := randomMembers(r, envSamples, badness)
			if r.IntN(10) == 0 {
				own = append(own, randomMembers(r, topSamples, 0)...)
			}
			r.Shuffle(len(own), func(i, j int) { own[i], own[j] = own[j], own[i] })
			envs = append(envs, fmt.Sprintf("%q: %s", name, object(r, own)))
		}
		members = append(members, `"env": `+object(r, envs))
	}
	env = []string{"", "swicked", "swicked", "swicked", "swicked", "12", "swiked"}[r.IntN(7)]
	text = object(r, members)
	if r.IntN(10) == 0 {
		text = "// a comment\n" + text + " // the end"
	}
	if r.IntN(10) == 0 {
		text = "\ufeff" + text
	}
	return text, env
}

// randomMembers picks some of the samples' keys, each at most once.
func randomMembers(r *rand.Rand, samples []keySamples, badness float64) []string {
	density := r.Float64() * r.Float64()
	if r.IntN(3) == 0 {
		density /= 20 // a few keys only
	}
	var out []string
	for _, s := range samples {
		if r.Float64() > density {
			continue
		}
		pool := s.good
		if len(s.bad) > 0 && r.Float64() < badness {
			pool = s.bad
		}
		if len(pool) > 0 {
			out = append(out, fmt.Sprintf("%q: %s", s.key, pool[r.IntN(len(pool))]))
		}
	}
	return out
}

// object writes members in one of the styles that people write JSON in.
func object(r *rand.Rand, members []string) string {
	var b strings.Builder
	b.WriteString("{")
	for i, m := range members {
		switch r.IntN(6) {
		case 0:
			b.WriteString(" /* note */ ")
		case 1:
			b.WriteString(" // note: \"quoted\" {\n")
		case 2:
			b.WriteString("\r\n\t")
		default:
			b.WriteString("\n  ")
		}
		b.WriteString(m)
		if i < len(members)-1 || r.IntN(3) == 0 {
			b.WriteString(",")
		}
	}
	b.WriteString("}")
	return b.String()
}
