package fleet

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	invopop "github.com/invopop/jsonschema"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// TestSchemaIsCurrent regenerates schema.json from the Go types; -update writes it.
func TestSchemaIsCurrent(t *testing.T) {
	golden(t, "schema.json", string(generate(t)))
}

// generate makes the schema: structure from the types, descriptions from the comments on them, and the shapes of single
// values from the very expressions that Parse uses.
func generate(t *testing.T) []byte {
	t.Helper()
	r := &invopop.Reflector{FieldNameTag: "yaml", Anonymous: true, ExpandedStruct: true}
	if err := r.AddGoComments("github.com/kvick/shopfleet/internal/fleet", "./", invopop.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	r.Mapper = func(rt reflect.Type) *invopop.Schema {
		switch rt {
		case reflect.TypeFor[time.Duration]():
			return &invopop.Schema{Type: "string", Pattern: durationShape.String()}
		case reflect.TypeFor[time.Time]():
			return &invopop.Schema{Type: "string", Pattern: momentShape.String()}
		case reflect.TypeFor[[]Freeze]():
			return &invopop.Schema{Type: "object", AdditionalProperties: &invopop.Schema{Ref: "#/$defs/Freeze"}}
		case reflect.TypeFor[[]SecretAbout]():
			return &invopop.Schema{Type: "object", AdditionalProperties: &invopop.Schema{Ref: "#/$defs/SecretAbout"}}
		case reflect.TypeFor[[]BackupStore]():
			return &invopop.Schema{Type: "object", AdditionalProperties: &invopop.Schema{Ref: "#/$defs/BackupStore"}}
		case reflect.TypeFor[[]Account]():
			return &invopop.Schema{Type: "object", AdditionalProperties: &invopop.Schema{Ref: "#/$defs/Account"}}
		case reflect.TypeFor[[]Shared]():
			return &invopop.Schema{Type: "object", AdditionalProperties: &invopop.Schema{Ref: "#/$defs/Shared"}}
		}
		return nil
	}
	root := r.Reflect(&Policy{})
	root.Title = "fleet.yml"
	root.Description = "The fleet policy: what is true of every shop, and where single shops are different."
	account := r.Reflect(&Account{})
	account.Version = ""
	root.Definitions["Account"] = account
	shared := r.Reflect(&Shared{})
	shared.Version = ""
	root.Definitions["Shared"] = shared
	about := r.Reflect(&SecretAbout{})
	about.Version = ""
	root.Definitions["SecretAbout"] = about
	store := r.Reflect(&BackupStore{})
	store.Version = ""
	root.Definitions["BackupStore"] = store
	freeze := r.Reflect(&Freeze{})
	freeze.Version = ""
	root.Definitions["Freeze"] = freeze

	at := func(def, property string) *invopop.Schema {
		s := root
		if def != "" {
			s = root.Definitions[def]
		}
		p, ok := s.Properties.Get(property)
		if !ok {
			t.Fatalf("no property %s.%s", def, property)
		}
		return p
	}
	pattern := func(def string, shape *regexp.Regexp, properties ...string) {
		for _, p := range properties {
			s := at(def, p)
			if s.Type == "array" {
				s = s.Items
			}
			s.Pattern = shape.String()
		}
	}
	enum := func(def, property string) {
		for _, region := range regions {
			s := at(def, property)
			s.Enum = append(s.Enum, region)
		}
	}
	between := func(def, property string, low, high int) {
		s := at(def, property)
		s.Minimum, s.Maximum = number(low), number(high)
	}
	one := uint64(1)
	pattern("", productShape, "product")
	at("", "overlay").MinItems = &one
	at("", "overlay").Items.MinLength = &one
	at("", "accounts").PropertyNames = &invopop.Schema{Pattern: accountName.String()}
	at("", "accounts").MinProperties = &one
	at("", "shops").PropertyNames = &invopop.Schema{Pattern: slugShape.String()}
	for _, k := range kinds {
		pattern("Naming", regexp.MustCompile(`^[^{}]*\{slug\}[^{}]*$`), k.key)
		if k.key != "branch" && k.key != "d1" {
			pattern("Exception", k.shape, k.key)
		}
	}
	pattern("Naming", regexp.MustCompile(`^[^{}]*\{slug\}[^{}]*(\.\{zone\})?$`), "hostname")
	pattern("Naming", regexp.MustCompile(`^[^{}]*\{slug\}[^{}]*$`), "public_site")
	pattern("Account", accountID, "id")
	pattern("Account", hostname, "zone", "other_zones")
	enum("Account", "region")
	between("Account", "max_shops", minShops, maxShops)
	pattern("Account", tokenName, "token")
	pattern("Exception", hostname, "hostnames", "public_site")
	pattern("Database", databaseID, "id")
	enum("Database", "region")
	pattern("Secrets", secretName, "required", "optional")
	pattern("Secrets", recipientShape, "recipients")
	pattern("BackupStore", accountID, "account")
	pattern("BackupStore", bucketShape, "bucket")
	pattern("BackupStore", storePrefix, "prefix")
	pattern("BackupStore", tokenName, "token")
	pattern("MigrationPolicy", columnName, "deny_columns")
	at("BuildInfo", "path").MinLength = &one
	pattern("BuildInfo", urlPath, "url")
	pattern("Gate", gatePath, "path")
	between("Gate", "status", minStatus, maxStatus)
	pattern("Gate", gatePath, "protected")
	choice := func(def, property string, words ...string) {
		for _, word := range words {
			at(def, property).Enum = append(at(def, property).Enum, word)
		}
	}
	choice("Gate", "before_release", BeforeBindings, BeforeAlways, BeforeNever)
	pattern("Onboard", secretName, "d1", "r2", "kv")
	choice("Onboard", "hostname", HostnameRoute, HostnameCustomDomain)
	choice("Secrets", "removed", RemovedKeep, RemovedDelete)
	choice("Identity", "missing", "warning", "error")
	choice("Shared", "type", bindingTypes...)
	choice("Rebase", "style", StyleRebase, StyleMerging)
	choice("Rebase", "land", LandManual, LandGreen, LandSilent)
	choice("Rebase", "replay", ReplayOffer, ReplayApply)
	pattern("Rebase", checkName, "checks")
	pattern("Waves", slugShape, "canaries")
	share := at("Waves", "percent").Items
	share.Minimum, share.Maximum = number(1), number(99)
	between("Waves", "stop_at", 1, maxShops)
	at("", "freezes").PropertyNames = &invopop.Schema{Pattern: freezeName.String()}
	pattern("Freeze", weeklyShape, "weekly")
	at("Freeze", "reason").MinLength = &one
	pattern("Freeze", slugShape, "shops", "except")
	pattern("Commands", teamSlug, "team")
	verbs := &invopop.Schema{}
	for _, verb := range orders {
		verbs.Enum = append(verbs.Enum, verb)
	}
	at("Commands", "verbs").PropertyNames = verbs
	choice("CommandRule", "permission", PermissionWrite, PermissionAdmin)
	pattern("CommandRule", teamSlug, "team")
	pattern("CommandRule", login, "users")
	pattern("Identity", gatePath, "path")
	pattern("Identity", identityKey, "key")
	pattern("Identity", columnName, "table")
	pattern("", overlayKey, "overlay_keys")
	at("", "overlay_keys").MinItems = &one
	at("", "shared").PropertyNames = &invopop.Schema{Pattern: resourceName.String()}
	for _, def := range []string{"Naming", "Exception"} {
		names := &invopop.Schema{}
		for _, typ := range bindingTypes {
			names.Enum = append(names.Enum, typ)
		}
		at(def, "others").PropertyNames = names
	}

	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func number(i int) json.Number {
	b, _ := json.Marshal(i)
	return json.Number(b)
}

// TestSchemaDescribesEverything holds every object to be closed and every property to have a description.
func TestSchemaDescribesEverything(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	var walk func(where string, v any)
	walk = func(where string, v any) {
		m, ok := v.(map[string]any)
		if !ok {
			return
		}
		if properties, ok := m["properties"].(map[string]any); ok {
			if m["additionalProperties"] != false {
				t.Errorf("%s lets unknown keys pass", where)
			}
			for name, p := range properties {
				text, _ := p.(map[string]any)["description"].(string)
				if len(text) < 10 || !strings.HasSuffix(text, ".") || strings.Contains(text, "\n") {
					t.Errorf("%s.%s has the description %q", where, name, text)
				}
			}
		}
		for k, below := range m {
			walk(where+"/"+k, below)
		}
	}
	walk("", root)
}

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("fleet.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("fleet.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// accepts validates a YAML text, as an editor would.
func accepts(t *testing.T, s *jsonschema.Schema, src []byte) error {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(src, &v); err != nil {
		return err
	}
	b, err := json.Marshal(jsonValue(v))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

// jsonValue makes every key text, as JSON has it.
func jsonValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = jsonValue(v[k])
		}
	case map[any]any:
		m := map[string]any{}
		for k := range v {
			b, _ := yaml.Marshal(k)
			m[strings.TrimSpace(string(b))] = jsonValue(v[k])
		}
		return m
	case []any:
		for i := range v {
			v[i] = jsonValue(v[i])
		}
	}
	return v
}

func TestSchemaAcceptsGoodFiles(t *testing.T) {
	s := compile(t)
	for _, file := range samples(t, "ok") {
		if err := accepts(t, s, read(t, file)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestSchemaAndParseAgree changes one thing in a good file at a time. What editors show and what deploys refuse must be
// the same, as far as a schema can tell.
func TestSchemaAndParseAgree(t *testing.T) {
	good := string(read(t, "testdata/ok/full.yml"))
	s := compile(t)
	edits := []struct{ name, from, to string }{
		{"unchanged", "", ""},
		{"unknown key at the top", "product: helm", "product: helm\ncolour: red"},
		{"unknown key in naming", `naming: {`, `naming: {colour: red, `},
		{"unknown key in an account", "kvick-1: {", "kvick-1: {colour: red, "},
		{"unknown key in a shop", "wheel-house:\n", "wheel-house:\n    colour: red\n"},
		{"unknown key in a database", "d1: {name", "d1: {colour: red, name"},
		{"unknown key in secrets", "secrets: {", "secrets: {colour: red, "},
		{"unknown key in migrations", "migrations: {", "migrations: {colour: red, "},
		{"unknown key in build_info", "build_info: {", "build_info: {colour: red, "},
		{"unknown key in gate", "gate: {", "gate: {colour: red, "},
		{"missing product", "product: helm\n", ""},
		{"missing branch", `branch: "shops/{slug}", `, ""},
		{"missing kv", `kv: "helm-{slug}-kv", `, ""},
		{"missing id", "id: 7f3a0c5e9b1d4826a0e4c2d8f6b19357, ", ""},
		{"missing zone", "zone: kvick.bike, ", ""},
		{"missing build_info", "build_info: {path: public/build_info.json, url: /build_info.json}", ""},
		{"missing path", "path: public/build_info.json, ", ""},
		{"default overlay", "overlay: [wrangler.jsonc, \"shop-overrides/**\"]\n", ""},
		{"default account", "default_account: kvick-1\n", ""},
		{"default region", "region: wnam, max_shops", "max_shops"},
		{"default max_shops", "max_shops: 50, ", ""},
		{"default token", ", token: CLOUDFLARE_API_TOKEN}", "}"},
		{"default url", ", url: /build_info.json}", "}"},
		{"default gate", "gate: {path: /build_info.json, status: 200, timeout: 60s, interval: 500ms}", ""},
		{"empty gate", "gate: {path: /build_info.json, status: 200, timeout: 60s, interval: 500ms}", "gate: {}"},
		{"product is a list", "product: helm", "product: [helm]"},
		{"product is a number", "product: helm", "product: 5"},
		{"product is null", "product: helm", "product:"},
		{"product is empty", "product: helm", `product: ""`},
		{"product in capitals", "product: helm", "product: Helm"},
		{"naming is text", `naming: {branch: "shops/{slug}", `, `naming: "x" #`},
		{"worker without slug", `worker: "helm-{slug}"`, `worker: "helm"`},
		{"worker with two slugs", `worker: "helm-{slug}"`, `worker: "helm-{slug}-{slug}"`},
		{"worker with other braces", `worker: "helm-{slug}"`, `worker: "helm-{shop}"`},
		{"worker with zone", `worker: "helm-{slug}"`, `worker: "helm-{slug}.{zone}"`},
		{"hostname with zone first", `hostname: "helm-{slug}.{zone}"`, `hostname: "{zone}.helm-{slug}"`},
		{"public site without slug", `public_site: "{slug}.shop"`, `public_site: "kvick.shop"`},
		{"overlay is text", "overlay: [wrangler.jsonc, \"shop-overrides/**\"]", "overlay: wrangler.jsonc"},
		{"overlay is empty", "overlay: [wrangler.jsonc, \"shop-overrides/**\"]", "overlay: []"},
		{"overlay holds a number", "overlay: [wrangler.jsonc", "overlay: [5"},
		{"overlay holds nothing", "overlay: [wrangler.jsonc", `overlay: [""`},
		{"no accounts", "accounts:\n", "accounts: {}\nother:\n"},
		{"account with a bad name", "  kvick-2:", "  Kvick 2:"},
		{"account id in capitals", "id: 7f3a0c5e9b1d4826a0e4c2d8f6b19357", "id: 7F3A0C5E9B1D4826A0E4C2D8F6B19357"},
		{"account id too short", "id: 7f3a0c5e9b1d4826a0e4c2d8f6b19357", "id: 7f3a0c5e9b1d4826a0e4c2d8f6b1935"},
		{"zone with a scheme", "zone: kvick.bike", `zone: "https://kvick.bike"`},
		{"other zone is bad", "other_zones: [swickedcycles.net]", "other_zones: [swickedcycles]"},
		{"region unknown", "region: weur", "region: west"},
		{"max_shops zero", "max_shops: 50", "max_shops: 0"},
		{"max_shops highest", "max_shops: 50", "max_shops: 500"},
		{"max_shops too high", "max_shops: 50", "max_shops: 501"},
		{"max_shops as text", "max_shops: 50", `max_shops: "50"`},
		{"max_shops a fraction", "max_shops: 50", "max_shops: 50.5"},
		{"token is no name", "token: CLOUDFLARE_API_TOKEN}", "token: abc-def}"},
		{"shops is a list", "shops:\n", "shops: []\nother:\n"},
		{"shop is null", "  swicked:\n    d1: {name: kvick-helm-swicked, id: 134ea8a4-8582-4fdc-84ec-f0eb8f4e4b60, region: wnam}\n    public_site: swickedcycles.com\n", "  swicked:\n"},
		{"shop with a bad slug", "  wheel-house:", "  Wheel_House:"},
		{"shop with an empty exception", "  wheel-house:", "  trek: {}\n  wheel-house:"},
		{"database is text", "d1: {name: kvick-helm-swicked, id: 134ea8a4-8582-4fdc-84ec-f0eb8f4e4b60, region: wnam}", "d1: kvick-helm-swicked"},
		{"database id is no uuid", "id: 134ea8a4-8582-4fdc-84ec-f0eb8f4e4b60", "id: 134ea8a4"},
		{"database region unknown", "region: wnam}", "region: us}"},
		{"worker name bad", "worker: wheelhouse", "worker: Wheel House"},
		{"bucket too short", "r2: wheelhouse-files", "r2: wh"},
		{"kv with a blank before", "kv: Wheel House settings", `kv: " Wheel"`},
		{"hostname bad", "hostname: pos.kvick.store", `hostname: "*.kvick.store"`},
		{"hostnames is text", "hostnames: [wheelhouse.kvick.store, pos.swickedcycles.net]", "hostnames: wheelhouse.kvick.store"},
		{"hostnames bad", "hostnames: [wheelhouse.kvick.store", "hostnames: [wheelhouse"},
		{"secret name bad", "[SESSION_KEY", "[SESSION-KEY"},
		{"secrets a mapping", "required: [SESSION_KEY, STRIPE_SECRET_KEY]", "required: {SESSION_KEY: x}"},
		{"no secrets", "required: [SESSION_KEY, STRIPE_SECRET_KEY]", "required: []"},
		{"column bad", "[tenant_id]", "[tenant id]"},
		{"path empty", "path: public/build_info.json", `path: ""`},
		{"url without slash", "url: /build_info.json", "url: build_info.json"},
		{"url with a host", "url: /build_info.json", "url: //x/build_info.json"},
		{"gate with a query", "gate: {path: /build_info.json", `gate: {path: "/health?deep=1"`},
		{"gate with a fragment", "gate: {path: /build_info.json", `gate: {path: "/health#x"`},
		{"status too low", "status: 200", "status: 99"},
		{"status as text", "status: 200", `status: "200"`},
		{"timeout is a number", "timeout: 60s", "timeout: 60"},
		{"timeout in minutes", "timeout: 60s", "timeout: 1m30s"},
		{"timeout in words", "timeout: 60s", "timeout: a minute"},
		{"timeout without a unit", "timeout: 60s", `timeout: "60"`},
		{"timeout with a sign", "timeout: 60s", "timeout: +60s"},
		{"timeout in microseconds", "timeout: 60s", "timeout: 60000000us"},
		{"timeout with a fraction", "timeout: 60s", "timeout: 1.5m"},
		{"unknown key in rebase", "rebase: {", "rebase: {colour: red, "},
		{"unknown key in waves", "waves: {", "waves: {colour: red, "},
		{"default rebase", "rebase: {style: merging, land: silent, replay: apply, checks: [\"shopfleet plan: {slug}\", test], waves: {canaries: [swicked], percent: [5, 25], bake: 90m, stop_at: 3}}", ""},
		{"empty rebase", "{style: merging, land: silent, replay: apply, checks: [\"shopfleet plan: {slug}\", test], waves: {canaries: [swicked], percent: [5, 25], bake: 90m, stop_at: 3}}", "{}"},
		{"rebase style unknown", "style: merging", "style: merge"},
		{"rebase land unknown", "land: silent", "land: auto"},
		{"rebase replay unknown", "replay: apply", "replay: true"},
		{"no checks to wait for", "checks: [\"shopfleet plan: {slug}\", test]", "checks: []"},
		{"a check without a name", "{slug}\", test]", "{slug}\", \"\"]"},
		{"a check with a blank at its end", "{slug}\", test]", "{slug}\", \"test \"]"},
		{"no canaries", "canaries: [swicked]", "canaries: []"},
		{"a canary with a bad slug", "canaries: [swicked]", "canaries: [Swicked]"},
		{"no percent", "percent: [5, 25]", "percent: []"},
		{"percent highest", "percent: [5, 25]", "percent: [1, 99]"},
		{"percent too high", "percent: [5, 25]", "percent: [100]"},
		{"percent zero", "percent: [5, 25]", "percent: [0]"},
		{"percent as text", "percent: [5, 25]", "percent: [\"5%\"]"},
		{"percent a number", "percent: [5, 25]", "percent: 5"},
		{"no bake time", "bake: 90m", "bake: 0s"},
		{"bake time without a unit", "bake: 90m", "bake: 90"},
		{"stop_at zero", "stop_at: 3", "stop_at: 0"},
		{"stop_at too high", "stop_at: 3", "stop_at: 501"},
	}
	accepted := 0
	for _, e := range edits {
		t.Run(e.name, func(t *testing.T) {
			if n := strings.Count(good, e.from); e.from != "" && n == 0 {
				t.Fatalf("the good file does not hold %q", e.from)
			}
			src := []byte(strings.Replace(good, e.from, e.to, 1))
			_, parseErr := Parse("fleet.yml", src)
			schemaErr := accepts(t, s, src)
			if (parseErr == nil) != (schemaErr == nil) {
				t.Errorf("Parse: %v\nSchema: %v", parseErr, schemaErr)
			}
			if parseErr == nil {
				accepted++
			}
		})
	}
	if accepted < 10 || accepted > len(edits)/2 {
		t.Errorf("%d of %d edits are good: the table no longer tells anything", accepted, len(edits))
	}
}
