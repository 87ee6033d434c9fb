package sim

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"slices"
	"sort"
	"strings"
)

const (
	keptVersions    = 100 // versions that stay deployable (field.md §5)
	keptDeployments = 100
)

func scriptEndpoints() []endpoint {
	const script = "/accounts/{account}/workers/scripts/{script}"
	return []endpoint{
		{"GET /accounts/{account}/workers/scripts", reads, (*call).listScripts},
		{"GET " + script, reads, (*call).downloadScript},
		{"GET " + script + "/content/v2", reads, (*call).downloadScript},
		{"DELETE " + script, writes, (*call).deleteScript},
		{"GET " + script + "/references", reads, (*call).references},
		{"GET " + script + "/deployments", reads, (*call).listDeployments},
		{"POST " + script + "/deployments", writes, (*call).createDeployment},
		{"GET " + script + "/deployments/{deployment}", reads, (*call).getDeployment},
		{"DELETE " + script + "/deployments/{deployment}", writes, (*call).deleteDeployment},
	}
}

func noSuchWorker() *refusal {
	return refuse(http.StatusNotFound, 10007, "This Worker does not exist on your account.")
}

// script finds the {script} of the path.
func (c *call) script() (*script, error) {
	if s := c.account.Scripts[c.path("script")]; s != nil {
		return s, nil
	}
	return nil, noSuchWorker()
}

// latest is the newest version, deployed or not; uploads inherit from it and secrets are edited in it.
func (s *script) latest() *version {
	if len(s.Versions) == 0 {
		return nil
	}
	return s.Versions[len(s.Versions)-1]
}

func (s *script) version(id string) *version {
	for _, v := range s.Versions {
		if v.ID == id {
			return v
		}
	}
	return nil
}

// live is the deployment that takes traffic.
func (s *script) live() *deployment {
	if len(s.Deployments) == 0 {
		return nil
	}
	return s.Deployments[len(s.Deployments)-1]
}

// face is the version that listings describe: the one with most of the traffic, or the newest when none is deployed.
func (s *script) face() *version {
	d := s.live()
	if d == nil {
		return s.latest()
	}
	most := slices.MaxFunc(d.Versions, func(a, b share) int {
		if a.Percentage < b.Percentage {
			return -1
		}
		return 1
	})
	if v := s.version(most.Version); v != nil {
		return v
	}
	return s.latest()
}

// prune forgets what is beyond the history that Cloudflare keeps, never what is live or newest.
func (s *script) prune() {
	if n := len(s.Deployments) - keptDeployments; n > 0 {
		s.Deployments = slices.Delete(s.Deployments, 0, n)
	}
	live := map[string]bool{}
	if d := s.live(); d != nil {
		for _, v := range d.Versions {
			live[v.Version] = true
		}
	}
	for i := 0; len(s.Versions) > keptVersions && i < len(s.Versions)-1; {
		if live[s.Versions[i].ID] {
			i++
			continue
		}
		s.Versions = slices.Delete(s.Versions, i, i+1)
	}
}

func (c *call) listScripts() (any, error) {
	want, err := tagFilter(c.query("tags"))
	if err != nil {
		return nil, err
	}
	list := []map[string]any{}
	for _, name := range sortedKeys(c.account.Scripts) {
		if s := c.account.Scripts[name]; want(s.Tags) {
			list = append(list, c.account.view(s))
		}
	}
	return list, nil
}

// tagFilter reads `?tags=a:yes,b:no`.
func tagFilter(text string) (func(tags []string) bool, error) {
	if text == "" {
		return func([]string) bool { return true }, nil
	}
	want := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		i := strings.LastIndex(part, ":")
		if i < 1 || part[i+1:] != "yes" && part[i+1:] != "no" {
			return nil, refuse(http.StatusBadRequest, 10026, "tags: %q is not of the form tag:yes or tag:no", part)
		}
		want[part[:i]] = part[i+1:] == "yes"
	}
	return func(tags []string) bool {
		for tag, yes := range want {
			if slices.Contains(tags, tag) != yes {
				return false
			}
		}
		return true
	}, nil
}

// view is a script as lists and uploads show it.
func (a *account) view(s *script) map[string]any {
	v := s.face()
	m := map[string]any{
		"id": s.Name, "tag": s.Tag, "tags": s.Tags, "created_on": stamp(s.Created), "modified_on": stamp(s.Modified),
		"last_deployed_from": s.LastFrom, "logpush": s.Logpush, "usage_model": "standard",
		"tail_consumers": rawOr(s.TailConsumers, nil), "routes": a.routesOf(s.Name),
		"has_assets": false, "has_modules": false,
	}
	if len(s.Observability) > 0 {
		m["observability"] = s.Observability
	}
	if s.MigrationTag != "" {
		m["migration_tag"] = s.MigrationTag
	}
	if v == nil {
		return m
	}
	m["etag"], m["handlers"] = v.Etag, v.Handlers
	m["has_assets"], m["has_modules"] = v.Assets != nil, !v.ServiceWorker && len(v.Modules) > 0
	m["compatibility_flags"] = emptyNotNil(v.CompatibilityFlags)
	if v.CompatibilityDate != "" {
		m["compatibility_date"] = v.CompatibilityDate
	}
	if len(v.Named) > 0 {
		m["named_handlers"] = v.Named
	}
	if len(v.Placement) > 0 {
		m["placement"] = v.Placement
	}
	if len(v.CacheOptions) > 0 {
		m["cache_options"] = v.CacheOptions
	}
	return m
}

// routesOf are the zone routes of a Worker, null when there are none.
func (a *account) routesOf(name string) any {
	var list []*route
	for _, z := range a.Zones {
		for _, r := range z.Routes {
			if r.Script == name {
				list = append(list, r)
			}
		}
	}
	if list == nil {
		return nil
	}
	return list
}

// downloadScript answers with the code: as a form when it is made of modules, as plain JavaScript otherwise.
func (c *call) downloadScript() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	v := s.face()
	if v == nil || len(v.Modules) == 0 {
		return nil, refuse(http.StatusNotFound, 10007, "This Worker has no content on your account.")
	}
	if v.ServiceWorker {
		for _, m := range v.Modules {
			if m.Name == v.Main {
				b, err := c.w.blob(m.Hash)
				return verbatim{ContentType: m.ContentType, Header: map[string]string{"ETag": v.Etag}, Body: b}, err
			}
		}
	}
	var buf bytes.Buffer
	form := multipart.NewWriter(&buf)
	for _, m := range v.Modules {
		b, err := c.w.blob(m.Hash)
		if err != nil {
			return nil, err
		}
		h := textproto.MIMEHeader{}
		h.Set("Content-Disposition", fmt.Sprintf("form-data; name=%q; filename=%[1]q", m.Name))
		h.Set("Content-Type", m.ContentType)
		part, err := form.CreatePart(h)
		if err != nil {
			return nil, err
		}
		part.Write(b)
	}
	form.Close()
	return verbatim{
		ContentType: form.FormDataContentType(),
		Header:      map[string]string{"ETag": v.Etag, "Cf-Entrypoint": v.Main},
		Body:        buf.Bytes(),
	}, nil
}

func (c *call) deleteScript() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	return nil, c.remove(s, c.query("force") == "true")
}

// remove deletes a Worker with its versions, schedules, secrets, hostnames and routes. Without force it is stopped by
// whatever depends on the Worker.
func (c *call) remove(s *script, force bool) error {
	in, objects, outbound := c.account.dependents(s)
	if !force && len(in)+len(objects)+len(outbound) > 0 {
		return refuse(http.StatusBadRequest, 10142,
			"Cannot delete this Worker: %d service bindings, %d Durable Object bindings and %d dispatch namespaces depend on it.",
			len(in), len(objects), len(outbound))
	}
	delete(c.account.Scripts, s.Name)
	delete(c.account.Assets, s.Name)
	for _, d := range slices.Clone(c.account.Domains) {
		if d.Service == s.Name {
			c.account.detach(d)
		}
	}
	for _, z := range c.account.Zones {
		z.Routes = slices.DeleteFunc(z.Routes, func(r *route) bool { return r.Script == s.Name })
	}
	c.account.Workflows = slices.DeleteFunc(c.account.Workflows, func(f *workflow) bool { return f.Script == s.Name })
	c.w.closeTailsOf(c.account.ID, s.Name)
	c.w.dropScript(c.account, s.Name)
	c.w.touch(c.account)
	c.w.released()
	return nil
}

// dependents are the other Workers whose live or newest version binds to s: as a service, to its Durable Objects, or as
// the outbound Worker of a dispatch namespace.
func (a *account) dependents(s *script) (services, objects, outbound []dependent) {
	for _, name := range sortedKeys(a.Scripts) {
		other := a.Scripts[name]
		if other == s {
			continue
		}
		v := other.face()
		if v == nil {
			continue
		}
		for _, b := range v.Bindings {
			switch {
			case b.Type == "service" && b.text("service") == s.Name:
				services = append(services, dependent{name, b.Name})
			case b.Type == "durable_object_namespace" && b.text("script_name") == s.Name:
				objects = append(objects, dependent{name, b.Name})
			case b.Type == "dispatch_namespace":
				if o, _ := b.Fields["outbound"].(map[string]any); o != nil {
					if w, _ := o["worker"].(map[string]any); w != nil && w["service"] == s.Name {
						outbound = append(outbound, dependent{name, b.Name})
					}
				}
			}
		}
	}
	return services, objects, outbound
}

type dependent struct {
	Script  string
	Binding string
}

func (c *call) references() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	in, objects, outbound := c.account.dependents(s)
	incoming, namespaces, dispatch := []map[string]any{}, []map[string]any{}, []map[string]any{}
	for _, d := range in {
		incoming = append(incoming, map[string]any{"name": d.Binding, "service": d.Script, "environment": "production"})
	}
	for _, d := range objects {
		namespaces = append(namespaces, map[string]any{"name": d.Binding, "service": d.Script})
	}
	for _, d := range outbound {
		dispatch = append(dispatch, map[string]any{"namespace": d.Binding, "service": d.Script})
	}
	outgoing := []map[string]any{}
	if v := s.face(); v != nil {
		for _, b := range v.Bindings {
			if b.Type == "service" {
				outgoing = append(outgoing, map[string]any{"name": b.Name, "service": b.text("service"), "environment": "production"})
			}
		}
	}
	return map[string]any{
		"services":           map[string]any{"incoming": incoming, "outgoing": outgoing, "pages_function": false},
		"durable_objects":    namespaces,
		"dispatch_outbounds": dispatch,
	}, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func emptyNotNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
