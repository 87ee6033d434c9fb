package sim

import (
	"net/http"
	"slices"
)

func serviceEndpoints() []endpoint {
	const service = "/accounts/{account}/workers/services/{script}"
	const env = service + "/environments/{environment}"
	return []endpoint{
		{"GET " + service, reads, (*call).getService},
		{"DELETE " + service, writes, (*call).deleteService},
		{"GET " + env, reads, (*call).getEnvironment},
		{"GET " + env + "/bindings", reads, (*call).environmentBindings},
		{"GET " + env + "/routes", reads, (*call).environmentRoutes},
		{"GET " + env + "/subdomain", reads, (*call).environmentSubdomain},
		{"GET /accounts/{account}/workers/workers/{script}", reads, (*call).getWorker},
	}
}

// production is the only environment that a service has.
const production = "production"

func (c *call) service() (*script, error) {
	if s := c.account.Scripts[c.path("script")]; s != nil {
		return s, nil
	}
	return nil, refuse(http.StatusNotFound, 10090, "workers.api.error.service_not_found")
}

func environmentView(s *script) map[string]any {
	code := map[string]any{
		"id": s.Name, "tag": s.Tag, "tags": s.Tags, "last_deployed_from": s.LastFrom, "usage_model": "standard",
		"created_on": stamp(s.Created), "modified_on": stamp(s.Modified), "tail_consumers": rawOr(s.TailConsumers, nil),
		"logpush": s.Logpush, "handlers": []string{},
	}
	if len(s.Observability) > 0 {
		code["observability"] = s.Observability
	}
	if s.MigrationTag != "" {
		code["migration_tag"] = s.MigrationTag
	}
	if v := s.face(); v != nil {
		code["etag"], code["handlers"] = v.Etag, v.Handlers
		code["compatibility_flags"] = emptyNotNil(v.CompatibilityFlags)
		if v.CompatibilityDate != "" {
			code["compatibility_date"] = v.CompatibilityDate
		}
		if len(v.Limits) > 0 {
			code["limits"] = v.Limits
		}
		if len(v.Placement) > 0 {
			code["placement"] = v.Placement
		}
	}
	return map[string]any{
		"environment": production, "created_on": stamp(s.Created), "modified_on": stamp(s.Modified), "script": code,
	}
}

func (c *call) getService() (any, error) {
	s, err := c.service()
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"id": s.Name, "created_on": stamp(s.Created), "modified_on": stamp(s.Modified),
		"default_environment": environmentView(s),
	}, nil
}

func (c *call) deleteService() (any, error) {
	s, err := c.service()
	if err != nil {
		return nil, err
	}
	return nil, c.remove(s, c.query("force") == "true")
}

func (c *call) environment() (*script, error) {
	s, err := c.service()
	if err == nil && c.path("environment") != production {
		err = refuse(http.StatusNotFound, 10092, "workers.api.error.environment_not_found")
	}
	return s, err
}

func (c *call) getEnvironment() (any, error) {
	s, err := c.environment()
	if err != nil {
		return nil, err
	}
	return environmentView(s), nil
}

func (c *call) environmentBindings() (any, error) {
	s, err := c.environment()
	if err != nil {
		return nil, err
	}
	return settingsView(s)["bindings"], nil
}

func (c *call) environmentRoutes() (any, error) {
	s, err := c.environment()
	if err != nil {
		return nil, err
	}
	list := []map[string]any{}
	for _, z := range c.account.Zones {
		for _, r := range z.Routes {
			if r.Script == s.Name {
				m := map[string]any{"id": r.ID, "pattern": r.Pattern, "script": r.Script}
				if c.query("show_zonename") == "true" {
					m["zone_name"] = z.Name
				}
				list = append(list, m)
			}
		}
	}
	return list, nil
}

func (c *call) environmentSubdomain() (any, error) {
	s, err := c.environment()
	if err != nil {
		return nil, err
	}
	return s.subdomainView(), nil
}

// getWorker is the newer Workers API: by name or by id.
func (c *call) getWorker() (any, error) {
	s := c.account.Scripts[c.path("script")]
	if s == nil {
		for _, other := range c.account.Scripts {
			if other.Tag == c.path("script") {
				s = other
			}
		}
	}
	if s == nil {
		return nil, noSuchWorker()
	}
	sub := s.subdomainView()
	if c.account.Subdomain != "" {
		host := s.Name + "." + c.account.Subdomain + ".workers.dev"
		sub["url"], sub["preview_url_suffix"] = "https://"+host, "-"+host
	}
	in, objects, _ := c.account.dependents(s)
	references := map[string]any{}
	if len(in) > 0 {
		references["workers"] = slices.Collect(func(yield func(map[string]any) bool) {
			for _, d := range in {
				if !yield(map[string]any{"name": d.Script}) {
					return
				}
			}
		})
	}
	if len(objects) > 0 {
		references["durable_objects"] = len(objects)
	}
	return map[string]any{
		"id": s.Tag, "name": s.Name, "created_on": stamp(s.Created), "updated_on": stamp(s.Modified), "tags": emptyNotNil(s.Tags),
		"logpush": s.Logpush, "observability": rawOr(s.Observability, map[string]any{}), "references": references,
		"tail_consumers": rawOr(s.TailConsumers, []any{}), "subdomain": sub,
	}, nil
}
