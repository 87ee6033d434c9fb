package sim

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"regexp"
	"strings"
)

func settingEndpoints() []endpoint {
	const script = "/accounts/{account}/workers/scripts/{script}"
	return []endpoint{
		{"GET " + script + "/settings", reads, (*call).getSettings},
		{"PATCH " + script + "/settings", writes, (*call).patchSettings},
		{"GET " + script + "/script-settings", reads, (*call).getScriptSettings},
		{"PATCH " + script + "/script-settings", writes, (*call).patchScriptSettings},
		{"GET " + script + "/subdomain", reads, (*call).getSubdomain},
		{"POST " + script + "/subdomain", writes, (*call).setSubdomain},
		{"DELETE " + script + "/subdomain", writes, (*call).clearSubdomain},
		{"GET " + script + "/schedules", reads, (*call).getSchedules},
		{"PUT " + script + "/schedules", writes, (*call).putSchedules},
		{"GET /accounts/{account}/workers/subdomain", reads, (*call).getAccountSubdomain},
		{"PUT /accounts/{account}/workers/subdomain", writes, (*call).putAccountSubdomain},
		{"GET /accounts/{account}/workers/subdomains/{name}", reads, (*call).subdomainFree},
	}
}

// settingsView shows the newest version's configuration with everything resolved, and the Worker's own settings.
func settingsView(s *script) map[string]any {
	out := map[string]any{
		"bindings": []any{}, "compatibility_flags": []string{}, "usage_model": "standard", "tags": s.Tags, "logpush": s.Logpush,
		"tail_consumers": rawOr(s.TailConsumers, []any{}),
	}
	if len(s.Observability) > 0 {
		out["observability"] = s.Observability
	}
	v := s.latest()
	if v == nil {
		return out
	}
	out["bindings"] = showBindings(v.Bindings)
	out["compatibility_flags"] = emptyNotNil(v.CompatibilityFlags)
	if v.CompatibilityDate != "" {
		out["compatibility_date"] = v.CompatibilityDate
	}
	if len(v.Limits) > 0 {
		out["limits"] = v.Limits
	}
	if len(v.Placement) > 0 {
		out["placement"] = v.Placement
	}
	if len(v.CacheOptions) > 0 {
		out["cache_options"] = v.CacheOptions
	}
	return out
}

func (c *call) getSettings() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	return settingsView(s), nil
}

// settled tells whether the newest version takes all traffic, which editing it in place requires.
func (s *script) settled() bool {
	d, v := s.live(), s.latest()
	return d != nil && len(d.Versions) == 1 && d.Versions[0].Version == v.ID
}

// patchSettings edits the newest version: the edit is a version and a deployment of its own.
func (c *call) patchSettings() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	raw, err := c.settingsPart()
	if err != nil {
		return nil, err
	}
	var m metadata
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, refuse(http.StatusBadRequest, 10026, "settings: %v", err)
	}
	var present map[string]json.RawMessage
	json.Unmarshal(raw, &present)
	if !s.settled() {
		return nil, refuse(http.StatusBadRequest, 10214, "Script edit failed. You attempted to deploy the latest version with modified settings, but the latest version isn't currently deployed.")
	}
	before := s.latest()
	v := before.successor()
	if _, ok := present["bindings"]; ok {
		var list []binding
		for _, raw := range m.Bindings {
			b, err := readBinding(raw)
			if err != nil {
				return nil, err
			}
			list = append(list, b)
		}
		// Secrets cannot be read back, so an edit of the list cannot have meant to drop them.
		r := resolution{strict: true, keep: []string{"secret_text", "secret_key"}}
		if v.Bindings, err = r.resolve(list, before); err != nil {
			return nil, err
		}
		if err := c.check(v.Bindings, s.Name); err != nil {
			return nil, err
		}
	}
	if _, ok := present["compatibility_date"]; ok {
		v.CompatibilityDate = m.CompatibilityDate
	}
	if _, ok := present["compatibility_flags"]; ok {
		v.CompatibilityFlags = m.CompatibilityFlags
	}
	if _, ok := present["limits"]; ok {
		v.Limits = m.Limits
	}
	if _, ok := present["placement"]; ok {
		v.Placement = m.Placement
	}
	s.applyUnversioned(m)
	c.amend(s, v, "settings", nil)
	return settingsView(s), nil
}

// settingsPart is the `settings` part of a form, or the body itself when it is JSON.
func (c *call) settingsPart() ([]byte, error) {
	kind, params, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if kind != "multipart/form-data" {
		return c.body, nil
	}
	form := multipart.NewReader(bytes.NewReader(c.body), params["boundary"])
	for {
		part, err := form.NextRawPart()
		if err != nil {
			return nil, refuse(http.StatusBadRequest, 10026, "the form has no settings part")
		}
		if part.FormName() == "settings" {
			b, err := io.ReadAll(part)
			if err != nil {
				return nil, refuse(http.StatusBadRequest, 10026, "multipart form: %v", err)
			}
			return b, nil
		}
	}
}

// successor is a copy of v for an edit of something else than code.
func (v *version) successor() *version {
	n := *v
	n.served = nil
	n.Bindings = append([]binding{}, v.Bindings...)
	return &n
}

// amend makes an edited copy of the newest version the newest, and deploys it.
func (c *call) amend(s *script, v *version, why string, annotations map[string]string) {
	v.ID, v.Created, v.Author, v.Source = c.w.uuid(), c.w.now(), c.cred.author(), c.source()
	v.Annotations = map[string]string{}
	for k, a := range annotations {
		v.Annotations[k] = a
	}
	v.Annotations["workers/triggered_by"] = why
	s.add(v)
	c.deploy(s, []share{{v.ID, 100}}, map[string]string{"workers/triggered_by": why})
}

func scriptSettingsView(s *script) map[string]any {
	return map[string]any{
		"tags": emptyNotNil(s.Tags), "logpush": s.Logpush, "observability": rawOr(s.Observability, nil),
		"tail_consumers": rawOr(s.TailConsumers, []any{}),
	}
}

func (c *call) getScriptSettings() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	return scriptSettingsView(s), nil
}

// patchScriptSettings changes what is not versioned; it takes effect at once and makes no version.
func (c *call) patchScriptSettings() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	var m metadata
	if err := c.decode(&m); err != nil {
		return nil, err
	}
	if len(m.Tags) > 0 {
		for _, t := range m.Tags {
			if strings.ContainsAny(t, ",&") || len(t) > 1024 {
				return nil, refuse(http.StatusBadRequest, 10026, "tag %q is not valid", t)
			}
		}
	}
	s.applyUnversioned(m)
	c.w.touchScript(c.account, s)
	return scriptSettingsView(s), nil
}

func (s *script) subdomainView() map[string]any {
	return map[string]any{"enabled": s.WorkersDev, "previews_enabled": s.Previews}
}

func (c *call) getSubdomain() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	return s.subdomainView(), nil
}

// setSubdomain switches workers.dev; previews follow it when they are not mentioned (recordings deploy-workers-dev-*).
func (c *call) setSubdomain() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	var in struct {
		Enabled  *bool `json:"enabled"`
		Previews *bool `json:"previews_enabled"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Enabled == nil {
		return nil, refuse(http.StatusBadRequest, 10026, "enabled is required")
	}
	s.WorkersDev, s.Previews = *in.Enabled, *in.Enabled
	if in.Previews != nil {
		s.Previews = *in.Previews
	}
	c.w.touchScript(c.account, s)
	c.w.released()
	return s.subdomainView(), nil
}

func (c *call) clearSubdomain() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	s.WorkersDev, s.Previews = false, false
	c.w.touchScript(c.account, s)
	c.w.released()
	return s.subdomainView(), nil
}

func (c *call) getAccountSubdomain() (any, error) {
	if c.account.Subdomain == "" {
		return nil, refuse(http.StatusNotFound, 10007, "workers.api.error.not_found")
	}
	return map[string]any{"subdomain": c.account.Subdomain}, nil
}

var subdomainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func (c *call) putAccountSubdomain() (any, error) {
	var in struct {
		Subdomain string `json:"subdomain"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if !subdomainName.MatchString(in.Subdomain) {
		return nil, refuse(http.StatusBadRequest, 10026, "%q is not a valid subdomain", in.Subdomain)
	}
	for _, other := range c.w.accounts {
		if other != c.account && other.Subdomain == in.Subdomain {
			return nil, refuse(http.StatusConflict, 10031, "Subdomain is unavailable, please try a different subdomain.")
		}
	}
	if c.account.Subdomain != "" && c.account.Subdomain != in.Subdomain {
		return nil, refuse(http.StatusConflict, 10036, "Account already has an associated subdomain.")
	}
	c.account.Subdomain = in.Subdomain
	c.w.touch(c.account)
	c.w.released()
	return map[string]any{"subdomain": in.Subdomain}, nil
}

// subdomainFree answers through error codes whether a workers.dev name can be had (wire.md §2).
func (c *call) subdomainFree() (any, error) {
	for _, other := range c.w.accounts {
		if other.Subdomain == c.path("name") {
			return nil, refuse(http.StatusConflict, 10031, "Subdomain is unavailable.")
		}
	}
	return nil, refuse(http.StatusNotFound, 10032, "Subdomain is available.")
}
