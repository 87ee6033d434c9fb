package sim

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// The configuration of a workerd process for one version: text Cap'n Proto, as workerd.capnp in the npm package workerd
// describes it, beside the files that it embeds.

var (
	//go:embed edge/entry.js
	entryScript []byte
	//go:embed edge/trace.js
	traceScript []byte
	//go:embed edge/unserved.js
	unservedScript []byte
)

// The headers between the edge and entry.js. Clients cannot send them.
const (
	controlPrefix   = "Sim-"
	cronHeader      = controlPrefix + "Cron"
	scheduledHeader = controlPrefix + "Scheduled-Time" // milliseconds since 1970
	cfHeader        = controlPrefix + "Cf"             // becomes request.cf
	exceptionHeader = controlPrefix + "Exception"
	bindingHeader   = controlPrefix + "Binding" // which binding a request of workerd is for
	schemeHeader    = controlPrefix + "Scheme"  // of the URL that a Worker's request was for
)

// oldestDate is the compatibility date of a Worker that was uploaded without one.
const oldestDate = "2021-11-02"

// workerdConfig collects a configuration.
type workerdConfig struct {
	dir      string // where embedded files go
	gateway  string // address of the gateway
	newest   string // newest compatibility date that this workerd accepts
	services []string
	files    int
}

// write puts the configuration for a version into dir and returns the path of the file. connect gives the token under which
// the gateway knows a binding.
func (c *workerdConfig) write(v *servedVersion, s *servedScript, read func(hash string) ([]byte, error), connect func(bindingEnd) string) (string, error) {
	worker, err := c.worker(v, s, read, connect)
	if err != nil {
		return "", err
	}
	entry, err := c.embed(entryScript)
	if err != nil {
		return "", err
	}
	trace, err := c.embed(traceScript)
	if err != nil {
		return "", err
	}
	unserved, err := c.embed(unservedScript)
	if err != nil {
		return "", err
	}
	// entry needs Fetcher.scheduled(), which service_binding_extra_handlers gives.
	c.service("worker", "worker = "+worker)
	c.service("entry", `worker = (compatibilityDate = "2026-01-01", compatibilityFlags = ["service_binding_extra_handlers"],`+
		` modules = [(name = "entry.js", esModule = `+entry+`)], bindings = [(name = "WORKER", service = "worker")])`)
	c.service("trace", `worker = (compatibilityDate = "2026-01-01", modules = [(name = "trace.js", esModule = `+trace+`)],`+
		` bindings = [(name = "SINK", service = "sink")])`)
	c.external("sink", connect(bindingEnd{kind: "trace"}))
	// The Worker's own fetch: the gateway decides what is within reach.
	c.external("internet", connect(bindingEnd{kind: "outbound"}))

	config := "using Workerd = import \"/workerd/workerd.capnp\";\nconst config :Workerd.Config = (\n  services = [\n    " +
		strings.Join(c.services, ",\n    ") + ",\n  ],\n" +
		"  sockets = [(name = \"http\", address = \"127.0.0.1:0\", service = \"entry\",\n" +
		"    http = (cfBlobHeader = " + capnpText(cfHeader) + ", forwardedProtoHeader = \"X-Forwarded-Proto\"))],\n" +
		"  extensions = [(modules = [(name = \"sim:unserved\", internal = true, esModule = " + unserved + ")])],\n);\n"
	name := filepath.Join(c.dir, "config.capnp")
	return name, os.WriteFile(name, []byte(config), 0o600) // it holds the Worker's secrets
}

// worker is the Worker struct of a version.
func (c *workerdConfig) worker(v *servedVersion, s *servedScript, read func(string) ([]byte, error), connect func(bindingEnd) string) (string, error) {
	code, parts, err := c.code(v, read)
	if err != nil {
		return "", err
	}
	date := cmp.Or(min(v.CompatibilityDate, c.newest), oldestDate)
	fields := []string{code, "compatibilityDate = " + capnpText(date), "tails = [\"trace\"]"}
	if len(v.CompatibilityFlags) > 0 {
		flags := make([]string, len(v.CompatibilityFlags))
		for i, f := range v.CompatibilityFlags {
			flags[i] = capnpText(f)
		}
		fields = append(fields, "compatibilityFlags = ["+strings.Join(flags, ", ")+"]")
	}
	var bindings, classes []string
	for i, b := range v.Bindings {
		value, err := c.binding(v, s, b, i, parts, connect)
		if err != nil {
			return "", fmt.Errorf("binding %s: %w", b.Name, err)
		}
		bindings = append(bindings, "(name = "+capnpText(b.Name)+", "+value+")")
		if b.Type == "durable_object_namespace" && ownScript(b, s) {
			class := b.Text("class_name")
			classes = append(classes, "(className = "+capnpText(class)+", uniqueKey = "+capnpText(s.ID+"-"+class)+", enableSql = true)")
		}
	}
	fields = append(fields, "bindings = ["+strings.Join(bindings, ", ")+"]")
	if len(classes) > 0 {
		// On a disk that goes with the process: objects in memory would have no SQL.
		disk := filepath.Join(c.dir, "objects")
		if err := os.Mkdir(disk, 0o700); err != nil {
			return "", err
		}
		c.service("objects", "disk = (path = "+capnpText(disk)+", writable = true)")
		fields = append(fields, "durableObjectNamespaces = ["+strings.Join(classes, ", ")+"]", "durableObjectStorage = (localDisk = \"objects\")")
	}
	return "(" + strings.Join(fields, ",\n      ") + ")", nil
}

// code is the modules or the service worker script; parts are the embedded files by part name, for bindings to parts.
func (c *workerdConfig) code(v *servedVersion, read func(string) ([]byte, error)) (field string, parts map[string]string, err error) {
	parts = map[string]string{}
	var main string
	var modules []string
	for _, m := range v.Modules {
		if m.ContentType == "application/source-map" {
			continue
		}
		content, err := read(m.Hash)
		if err != nil {
			return "", nil, fmt.Errorf("reading module %s: %w", m.Name, err)
		}
		file, err := c.embed(content)
		if err != nil {
			return "", nil, err
		}
		parts[m.Name] = file
		if v.ServiceWorker {
			continue
		}
		kind, err := moduleKind(m.ContentType)
		if err != nil {
			return "", nil, fmt.Errorf("module %s: %w", m.Name, err)
		}
		// wrangler names modules "./hash-name"; inside, they are found by the path that an import resolves to.
		module := "(name = " + capnpText(path.Clean(m.Name)) + ", " + kind + " = " + file + ")"
		if m.Name == v.Main {
			main = module
		} else {
			modules = append(modules, module)
		}
	}
	if v.ServiceWorker {
		return "serviceWorkerScript = " + parts[v.Main], parts, nil
	}
	return "modules = [" + strings.Join(append([]string{main}, modules...), ", ") + "]", parts, nil
}

// moduleKind is the field of Worker.Module for a content type (wire.md §3.2).
func moduleKind(contentType string) (string, error) {
	mediaType, _, _ := strings.Cut(contentType, ";")
	switch mediaType {
	case "application/javascript+module", "text/javascript+module":
		return "esModule", nil
	case "application/javascript", "text/javascript":
		return "commonJsModule", nil
	case "application/wasm":
		return "wasm", nil
	case "application/octet-stream":
		return "data", nil
	case "application/json":
		return "json", nil
	case "text/plain":
		return "text", nil
	}
	return "", fmt.Errorf("modules of type %s are not run here", contentType)
}

// binding is the value of a Worker.Binding.
func (c *workerdConfig) binding(v *servedVersion, s *servedScript, b servedBinding, index int, parts map[string]string, connect func(bindingEnd) string) (string, error) {
	outside := func(target bindingEnd) string {
		target.account, target.script, target.version = s.Account, s, v
		name := fmt.Sprintf("binding-%d", index)
		c.external(name, connect(target))
		return capnpText(name)
	}
	switch b.Type {
	case "plain_text", "secret_text":
		return "text = " + capnpText(b.Text("text")), nil
	case "json":
		return jsonValue(b.Fields["json"])
	case "version_metadata":
		return jsonValue(map[string]string{"id": v.ID, "tag": v.Tag, "timestamp": v.Created.UTC().Format(time.RFC3339Nano)})
	case "d1":
		return `wrapped = (moduleName = "cloudflare-internal:d1-api", innerBindings = [(name = "fetcher", service = ` +
			outside(bindingEnd{kind: "d1", resource: b.Text("id")}) + ")])", nil
	case "kv_namespace":
		return "kvNamespace = " + outside(bindingEnd{kind: "kv", resource: b.Text("namespace_id")}), nil
	case "r2_bucket":
		return "r2Bucket = " + outside(bindingEnd{kind: "r2", resource: b.Text("bucket_name"), jurisdiction: b.Text("jurisdiction")}), nil
	case "assets":
		return "service = " + outside(bindingEnd{kind: "assets"}), nil
	case "service":
		if b.Text("service") == s.Name {
			return selfService(b)
		}
		if entrypoint := b.Text("entrypoint"); entrypoint != "" && entrypoint != "default" {
			return unserved(b, "a named entrypoint of another Worker")
		}
		return "service = " + outside(bindingEnd{kind: "service", resource: b.Text("service")}), nil
	case "durable_object_namespace":
		if !ownScript(b, s) {
			return unserved(b, "a Durable Object of another Worker")
		}
		return "durableObjectNamespace = " + capnpText(b.Text("class_name")), nil
	case "wasm_module", "text_blob", "data_blob":
		field := map[string]string{"wasm_module": "wasmModule", "text_blob": "text", "data_blob": "data"}[b.Type]
		file, ok := parts[b.Text("part")]
		if !ok {
			return "", fmt.Errorf("there is no part %q", b.Text("part"))
		}
		return field + " = " + file, nil
	}
	return unserved(b, "a binding of type "+b.Type)
}

func ownScript(b servedBinding, s *servedScript) bool {
	script := b.Text("script_name")
	return script == "" || script == s.Name
}

// selfService is a binding of a Worker to itself, which stays inside the process and so can do everything.
func selfService(b servedBinding) (string, error) {
	designator := `name = "worker"`
	if entrypoint := b.Text("entrypoint"); entrypoint != "" {
		designator += ", entrypoint = " + capnpText(entrypoint)
	}
	if props, ok := b.Fields["props"]; ok {
		value, err := jsonValue(props)
		if err != nil {
			return "", err
		}
		designator += ", props = (" + value + ")"
	}
	return "service = (" + designator + ")", nil
}

// unserved is a binding that throws when it is used, and says what it would have been.
func unserved(b servedBinding, what string) (string, error) {
	message := fmt.Sprintf("binding %s is %s, which this simulator does not have", b.Name, what)
	return `wrapped = (moduleName = "sim:unserved", innerBindings = [(name = "message", text = ` + capnpText(message) + ")])", nil
}

func jsonValue(v any) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return "json = " + capnpText(string(text)), nil
}

func (c *workerdConfig) service(name, what string) {
	c.services = append(c.services, "(name = "+capnpText(name)+", "+what+")")
}

// external is a service in the gateway. The token travels in a header that the Worker's code can neither see nor set.
func (c *workerdConfig) external(name, token string) {
	c.service(name, "external = (address = "+capnpText(c.gateway)+", http = (forwardedProtoHeader = "+capnpText(schemeHeader)+
		", injectRequestHeaders = [(name = "+capnpText(bindingHeader)+", value = "+capnpText(token)+")]))")
}

// embed writes a file beside the configuration and gives the expression that reads it.
func (c *workerdConfig) embed(content []byte) (string, error) {
	c.files++
	name := fmt.Sprintf("file-%d", c.files)
	if err := os.WriteFile(filepath.Join(c.dir, name), content, 0o600); err != nil {
		return "", err
	}
	return "embed " + capnpText(name), nil
}

// capnpText is a string literal of the Cap'n Proto text format.
func capnpText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"', c == '\\', c < ' ', c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
