package sim

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

func uploadEndpoints() []endpoint {
	return []endpoint{
		{"PUT /accounts/{account}/workers/scripts/{script}", ownLock, (*call).putScript},
		{"POST /accounts/{account}/workers/scripts/{script}/versions", ownLock, (*call).postVersion},
	}
}

const maxCompressed = 10 << 20 // field.md §5

// metadata is the JSON part of an upload (wire.md §3.2). What is not listed here is accepted and has no effect.
type metadata struct {
	MainModule         string            `json:"main_module"`
	BodyPart           string            `json:"body_part"`
	Bindings           []json.RawMessage `json:"bindings"`
	CompatibilityDate  string            `json:"compatibility_date"`
	CompatibilityFlags []string          `json:"compatibility_flags"`
	Migrations         json.RawMessage   `json:"migrations"`
	Exports            json.RawMessage   `json:"exports"`
	KeepBindings       []string          `json:"keep_bindings"`
	Logpush            *bool             `json:"logpush"`
	Placement          json.RawMessage   `json:"placement"`
	TailConsumers      json.RawMessage   `json:"tail_consumers"`
	Streaming          json.RawMessage   `json:"streaming_tail_consumers"`
	Limits             json.RawMessage   `json:"limits"`
	Observability      json.RawMessage   `json:"observability"`
	CacheOptions       json.RawMessage   `json:"cache_options"`
	Annotations        map[string]string `json:"annotations"`
	Tags               []string          `json:"tags"`
	KeepAssets         bool              `json:"keep_assets"`
	Assets             *struct {
		JWT    string          `json:"jwt"`
		Config json.RawMessage `json:"config"`
	} `json:"assets"`
}

// upload is a parsed and checked form, before it meets the account.
type upload struct {
	meta     metadata
	version  *version // code only
	exported []string
	bindings []binding
}

// moduleTypes are the content types of modules (wire.md §3.2).
var moduleTypes = []string{
	"application/javascript+module", "text/javascript+module", "application/javascript", "text/javascript", "application/wasm",
	"application/octet-stream", "text/plain", "text/x-python", "text/x-python-requirement", "application/source-map", "application/json",
}

// readUpload takes the form apart: the metadata part, and every other part as a module kept by content.
func (c *call) readUpload() (*upload, error) {
	kind, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return nil, refuse(http.StatusUnsupportedMediaType, 10001, "Content-Type must be one of: multipart/form-data.")
	}
	u := &upload{version: &version{UsageModel: "standard", Handlers: []string{}}}
	var seenMeta bool
	var total int
	code := map[string][]byte{}
	form := multipart.NewReader(bytes.NewReader(c.body), params["boundary"])
	for {
		part, err := form.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, refuse(http.StatusBadRequest, 10021, "multipart form: %v", err)
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, 10021, "multipart form: %v", err)
		}
		name := part.FormName()
		if name == "metadata" && !seenMeta {
			seenMeta = true
			if err := json.Unmarshal(content, &u.meta); err != nil {
				return nil, refuse(http.StatusBadRequest, 10021, "metadata: %v", err)
			}
			continue
		}
		m := servedModule{Name: name, Size: int64(len(content))}
		m.ContentType, _, _ = mime.ParseMediaType(part.Header.Get("Content-Type"))
		if name == "" || !slices.Contains(moduleTypes, m.ContentType) {
			return nil, refuse(http.StatusBadRequest, 10021, "part %q has an unsupported Content-Type %q", name, part.Header.Get("Content-Type"))
		}
		if _, twice := code[name]; twice {
			return nil, refuse(http.StatusBadRequest, 10021, "part %q appears more than once", name)
		}
		if m.Hash, err = c.w.disk.put(content); err != nil {
			return nil, err
		}
		code[name] = content
		total += len(content)
		u.version.Modules = append(u.version.Modules, m)
	}
	if !seenMeta {
		return nil, refuse(http.StatusBadRequest, 10021, "the form has no metadata part")
	}
	if total > maxCompressed && compressedSize(code) > maxCompressed {
		return nil, refuse(http.StatusRequestEntityTooLarge, 10027, "Your Worker exceeded the size limit of 10 MiB.")
	}
	for _, raw := range u.meta.Bindings {
		b, err := readBinding(raw)
		if err != nil {
			return nil, err
		}
		u.bindings = append(u.bindings, b)
	}
	u.version.Etag = etag(u.version.Modules)
	return u, u.checkCode(c, code)
}

func compressedSize(parts map[string][]byte) int {
	var n counter
	z := gzip.NewWriter(&n)
	for _, name := range sortedKeys(parts) {
		z.Write(parts[name])
	}
	z.Close()
	return int(n)
}

type counter int

func (n *counter) Write(b []byte) (int, error) {
	*n += counter(len(b))
	return len(b), nil
}

// etag identifies the code of a version.
func etag(modules []servedModule) string {
	h := sha256.New()
	for _, m := range modules {
		io.WriteString(h, m.Name+"\x00"+m.ContentType+"\x00"+m.Hash+"\x00")
	}
	return hex.EncodeToString(h.Sum(nil))
}

var compatibilityDate = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)

// checkCode refuses what the platform refuses at upload without running it: a form that does not fit its metadata,
// JavaScript that does not parse, imports of modules that are not there.
func (u *upload) checkCode(c *call, code map[string][]byte) error {
	v, meta := u.version, u.meta
	if d := meta.CompatibilityDate; d != "" {
		if _, err := time.Parse(time.DateOnly, d); err != nil || !compatibilityDate.MatchString(d) {
			return refuse(http.StatusBadRequest, 10021, "compatibility_date %q is not a date of the form YYYY-MM-DD", d)
		}
	}
	v.CompatibilityDate, v.CompatibilityFlags = meta.CompatibilityDate, emptyNotNil(meta.CompatibilityFlags)
	v.Placement, v.Limits, v.CacheOptions, v.Exports = meta.Placement, meta.Limits, meta.CacheOptions, meta.Exports
	switch {
	case meta.MainModule != "" && meta.BodyPart != "":
		return refuse(http.StatusBadRequest, 10021, "metadata must have one of main_module and body_part, not both")
	case meta.MainModule == "" && meta.BodyPart == "":
		if meta.Assets == nil && !meta.KeepAssets {
			return refuse(http.StatusBadRequest, 10021, "metadata must have main_module or body_part")
		}
		if len(code) > 0 {
			return refuse(http.StatusBadRequest, 10021, "the form has parts but metadata has neither main_module nor body_part")
		}
		return nil
	}
	v.Main, v.ServiceWorker = meta.MainModule+meta.BodyPart, meta.BodyPart != ""
	i := slices.IndexFunc(v.Modules, func(m servedModule) bool { return m.Name == v.Main })
	if i < 0 {
		return refuse(http.StatusBadRequest, 10021, "No such module %q: the form has no part of that name", v.Main)
	}
	isModule := strings.HasSuffix(v.Modules[i].ContentType, "+module") || strings.HasPrefix(v.Modules[i].ContentType, "text/x-python")
	if isModule == v.ServiceWorker {
		return refuse(http.StatusBadRequest, 10021, "part %q has Content-Type %s, which does not fit %s", v.Main, v.Modules[i].ContentType,
			map[bool]string{true: "body_part", false: "main_module"}[v.ServiceWorker])
	}
	found := map[string]inspection{}
	for _, m := range v.Modules {
		if !strings.Contains(m.ContentType, "javascript") {
			continue
		}
		found[m.Name] = c.w.checked.inspect(m.Hash, m.Name, code[m.Name])
		if e := found[m.Name].err; e != "" {
			return refuse(http.StatusBadRequest, 10021, "%s", e)
		}
	}
	if err := checkImports(v.Modules, found); err != nil {
		return err
	}
	u.exported = found[v.Main].exports
	v.Handlers = emptyNotNil(found[v.Main].handlers)
	if v.ServiceWorker {
		v.Handlers = emptyNotNil(found[v.Main].listeners)
	}
	for _, name := range u.exported {
		if name != "default" {
			v.Named = append(v.Named, namedHandler{Name: name, Handlers: []string{"class"}})
		}
	}
	listens := len(u.exported) > 0
	if v.ServiceWorker {
		listens = bytes.Contains(code[v.Main], []byte("addEventListener"))
	}
	if strings.Contains(v.Modules[i].ContentType, "javascript") && !listens {
		return refuse(http.StatusBadRequest, 10068, "The uploaded script has no registered event handlers.")
	}
	return nil
}

// source tells from the User-Agent which client deploys, as the platform records it.
func (c *call) source() string {
	if ua := c.r.UserAgent(); strings.HasPrefix(ua, "wrangler/") {
		return "wrangler"
	}
	return "api"
}

// assemble turns a form into a version of s: bindings resolved and checked, assets attached. It needs mu.
func (c *call) assemble(u *upload, s *script, keep []string) error {
	v := u.version
	var err error
	r := resolution{strict: c.query("bindings_inherit") == "strict", keep: keep}
	if v.Bindings, err = r.resolve(u.bindings, s.latest()); err != nil {
		return err
	}
	if len(v.Bindings) > 5000 {
		return refuse(http.StatusBadRequest, 10021, "a Worker has at most 5000 bindings")
	}
	if err = c.check(v.Bindings, s.Name); err != nil {
		return err
	}
	if v.Assets, err = c.attachAssets(u, s); err != nil {
		return err
	}
	v.ID, v.Created, v.Author, v.Source = c.w.uuid(), c.w.now(), c.cred.author(), c.source()
	v.Annotations = map[string]string{}
	for k, a := range u.meta.Annotations {
		v.Annotations[k] = a
	}
	v.Startup = 5 + len(v.Modules)
	return nil
}

// add appends a version and numbers it.
func (s *script) add(v *version) {
	s.Numbered++
	v.Number = s.Numbered
	v.MigrationTag = s.MigrationTag
	s.Versions = append(s.Versions, v)
}

// deploy appends a deployment and makes it live.
func (c *call) deploy(s *script, shares []share, annotations map[string]string) *deployment {
	d := &deployment{ID: c.w.uuid(), Created: c.w.now(), Author: c.cred.author(), Source: c.source(), Annotations: annotations, Versions: shares}
	s.Deployments = append(s.Deployments, d)
	s.Modified = d.Created
	s.LastFrom = d.Source
	s.prune()
	c.w.touchScript(c.account, s)
	c.w.released()
	return d
}

var scriptName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_-]{0,254}$`)

const maxScripts = 500 // field.md §5

// putScript makes a version and deploys it at once; unversioned settings in the metadata take effect too.
func (c *call) putScript() (any, error) {
	name := c.path("script")
	if !scriptName.MatchString(name) {
		return nil, refuse(http.StatusBadRequest, 10016, "%q is not a valid Worker name", name)
	}
	u, err := c.readUpload()
	if err != nil {
		return nil, err
	}
	return c.change(func() (any, error) {
		s := c.account.Scripts[name]
		if s == nil {
			if len(c.account.Scripts) >= maxScripts {
				return nil, refuse(http.StatusBadRequest, 10037, "You have exceeded the limit of %d Workers on your account.", maxScripts)
			}
			s = &script{Name: name, Tag: c.w.id(), Created: c.w.now(), Modified: c.w.now()}
		}
		// Secrets survive a PUT whether or not it asks for them (wire.md §11).
		keep := append([]string{"secret_text", "secret_key"}, u.meta.KeepBindings...)
		if err := c.assemble(u, s, keep); err != nil {
			return nil, err
		}
		objects := &migrated{classes: s.Classes, tag: s.MigrationTag}
		switch {
		case len(u.meta.Migrations) > 0 && len(u.meta.Exports) > 0:
			return nil, refuse(http.StatusBadRequest, 10021, "migrations and exports are mutually exclusive")
		case len(u.meta.Migrations) > 0:
			objects, err = c.migrate(s, u.meta.Migrations)
		case len(u.meta.Exports) > 0:
			objects, err = c.declared(s, u.meta.Exports)
		}
		if err == nil {
			err = checkClasses(u.version.Bindings, name, objects.classes, u.exported)
		}
		if err != nil {
			return nil, err
		}
		c.account.Scripts[name] = s
		s.Classes, s.MigrationTag = objects.classes, objects.tag
		for _, give := range objects.given {
			give()
		}
		s.applyUnversioned(u.meta)
		v := u.version
		v.Annotations["workers/triggered_by"] = "upload"
		s.add(v)
		annotations := map[string]string{"workers/triggered_by": "upload"}
		if m, ok := v.Annotations["workers/message"]; ok {
			annotations["workers/message"] = m
		}
		c.deploy(s, []share{{v.ID, 100}}, annotations)
		out := c.account.view(s)
		out["startup_time_ms"] = v.Startup
		out["deployment_id"] = strings.ReplaceAll(v.ID, "-", "") // wrangler prints it as the version's id
		out["pipeline_hash"] = v.Etag
		out["entry_point"] = v.Main
		if objects.reconciled != nil {
			out["exports_reconciliation"] = objects.reconciled
		}
		return out, nil
	})
}

// applyUnversioned takes the settings of a PUT that belong to the Worker and not to the version. What is absent stays.
func (s *script) applyUnversioned(m metadata) {
	if m.Logpush != nil {
		s.Logpush = *m.Logpush
	}
	if len(m.Observability) > 0 {
		s.Observability = m.Observability
	}
	if len(m.TailConsumers) > 0 {
		s.TailConsumers = m.TailConsumers
	}
	if len(m.Streaming) > 0 {
		s.Streaming = m.Streaming
	}
	if m.Tags != nil {
		s.Tags = m.Tags
	}
}

// postVersion makes a version without touching what is live.
func (c *call) postVersion() (any, error) {
	u, err := c.readUpload()
	if err != nil {
		return nil, err
	}
	return c.change(func() (any, error) {
		s, err := c.script()
		if err != nil {
			return nil, err
		}
		v := u.version
		switch {
		case v.ServiceWorker:
			return nil, refuse(http.StatusBadRequest, 10021, "Versions can only be created for Workers in ES module syntax.")
		case len(u.meta.Migrations) > 0:
			return nil, refuse(http.StatusBadRequest, 10021, "Versions cannot carry Durable Object migrations; upload the Worker instead.")
		case len(u.meta.Exports) > 0:
			return nil, refuse(http.StatusBadRequest, 10021, "Versions cannot carry exports; upload the Worker instead.")
		}
		// A version keeps only what it asks for: the strict reading of keep_bindings.
		if err := c.assemble(u, s, u.meta.KeepBindings); err != nil {
			return nil, err
		}
		if err := checkClasses(v.Bindings, s.Name, s.Classes, u.exported); err != nil {
			return nil, err
		}
		v.Annotations["workers/triggered_by"] = "version_upload"
		v.Alias = v.Annotations["workers/alias"]
		s.add(v)
		s.prune()
		c.w.touchScript(c.account, s)
		if s.Previews {
			c.w.released()
		}
		out := versionView(s, v)
		out["startup_time_ms"] = v.Startup
		return out, nil
	})
}
