package sim

import (
	"net/http"
	"slices"
	"strings"
)

func routeEndpoints() []endpoint {
	const routes = "/zones/{zone}/workers/routes"
	return []endpoint{
		{"GET " + routes, reads, (*call).listRoutes},
		{"POST " + routes, writes, (*call).createRoute},
		{"GET " + routes + "/{route}", reads, (*call).getRoute},
		{"PUT " + routes + "/{route}", writes, (*call).updateRoute},
		{"DELETE " + routes + "/{route}", writes, (*call).deleteRoute},
		{"PUT /accounts/{account}/workers/scripts/{script}/routes", writes, (*call).putScriptRoutes},
	}
}

const maxRoutes = 1000 // per zone, field.md §5

func (c *call) listRoutes() (any, error) { return emptyNotNil(c.zone.Routes), nil }

func (c *call) route() (*route, error) {
	for _, r := range c.zone.Routes {
		if r.ID == c.path("route") {
			return r, nil
		}
	}
	return nil, refuse(http.StatusNotFound, 10009, "Route could not be found.")
}

func (c *call) getRoute() (any, error) {
	r, err := c.route()
	if err != nil {
		return nil, err
	}
	return r, nil
}

// checkRoute refuses patterns that do not belong to the zone, exist already (except as self), or name no Worker.
func (c *call) checkRoute(z *zone, pattern, script string, self *route) error {
	if err := checkPattern(pattern, z.Name); err != nil {
		return err
	}
	for _, r := range z.Routes {
		if r != self && r.Pattern == pattern {
			return refuse(http.StatusConflict, 10020, "A route with the same pattern already exists.")
		}
	}
	if script != "" && c.account.Scripts[script] == nil {
		return refuse(http.StatusBadRequest, 10019, "Worker '%s' could not be found.", script)
	}
	return nil
}

func checkPattern(pattern, zone string) error {
	host, _ := splitPattern(pattern)
	bad := func(why string) error {
		return refuse(http.StatusBadRequest, 10022, "Invalid route pattern %q: %s", pattern, why)
	}
	bare := strings.TrimPrefix(strings.TrimPrefix(host, "*"), ".")
	switch {
	case pattern == "" || host == "":
		return bad("it has no host")
	case strings.Contains(bare, "*"):
		return bad("a wildcard in the host must be at its beginning")
	case strings.ContainsAny(pattern, "?# "):
		return bad("it may not contain a query, a fragment or spaces")
	case strings.Contains(host, ":"):
		return bad("it may not contain a port")
	case !inZone(bare, zone):
		return bad("the host is not in zone " + zone)
	}
	return nil
}

// splitPattern cuts a route pattern into host and path; a scheme is left out.
func splitPattern(pattern string) (host, path string) {
	for _, scheme := range []string{"https://", "http://", "*://"} {
		pattern = strings.TrimPrefix(pattern, scheme)
	}
	host, path, found := strings.Cut(pattern, "/")
	if !found {
		return strings.ToLower(host), "/"
	}
	return strings.ToLower(host), "/" + path
}

func (c *call) createRoute() (any, error) {
	var in struct{ Pattern, Script string }
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := c.checkRoute(c.zone, in.Pattern, in.Script, nil); err != nil {
		return nil, err
	}
	if len(c.zone.Routes) >= maxRoutes {
		return nil, refuse(http.StatusBadRequest, 10022, "You have exceeded the limit of %d routes on this zone.", maxRoutes)
	}
	r := &route{ID: c.w.id(), Pattern: in.Pattern, Script: in.Script}
	c.zone.Routes = append(c.zone.Routes, r)
	c.rerouted()
	return r, nil
}

func (c *call) updateRoute() (any, error) {
	var in struct{ Pattern, Script string }
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	r, err := c.route()
	if err != nil {
		return nil, err
	}
	if err := c.checkRoute(c.zone, in.Pattern, in.Script, r); err != nil {
		return nil, err
	}
	r.Pattern, r.Script = in.Pattern, in.Script
	c.rerouted()
	return r, nil
}

func (c *call) deleteRoute() (any, error) {
	r, err := c.route()
	if err != nil {
		return nil, err
	}
	c.zone.Routes = slices.DeleteFunc(c.zone.Routes, func(o *route) bool { return o == r })
	c.rerouted()
	return map[string]any{"id": r.ID}, nil
}

func (c *call) rerouted() {
	c.w.touch(c.account)
	c.w.released()
}

// putScriptRoutes makes the list the Worker's routes in all zones (wire.md §4.2). A pattern of another Worker is refused.
func (c *call) putScriptRoutes() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	var in []struct {
		Pattern  string `json:"pattern"`
		ZoneID   string `json:"zone_id"`
		ZoneName string `json:"zone_name"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	type target struct {
		zone    *zone
		pattern string
	}
	var targets []target
	for _, x := range in {
		host, _ := splitPattern(x.Pattern)
		z, err := c.account.zoneFor(strings.TrimPrefix(strings.TrimPrefix(host, "*"), "."), x.ZoneID, x.ZoneName)
		if err != nil {
			return nil, err
		}
		if err := checkPattern(x.Pattern, z.Name); err != nil {
			return nil, err
		}
		for _, r := range z.Routes {
			if r.Pattern == x.Pattern && r.Script != s.Name {
				return nil, refuse(http.StatusConflict, 10020, "A route with the same pattern already exists.")
			}
		}
		t := target{z, x.Pattern}
		if slices.Contains(targets, t) {
			return nil, refuse(http.StatusBadRequest, 10020, "A route with the same pattern already exists.")
		}
		targets = append(targets, t)
	}
	for _, z := range c.account.Zones {
		z.Routes = slices.DeleteFunc(z.Routes, func(r *route) bool {
			return r.Script == s.Name && !slices.Contains(targets, target{z, r.Pattern})
		})
	}
	out := []map[string]any{}
	for _, t := range targets {
		i := slices.IndexFunc(t.zone.Routes, func(r *route) bool { return r.Pattern == t.pattern })
		if i < 0 {
			t.zone.Routes = append(t.zone.Routes, &route{ID: c.w.id(), Pattern: t.pattern, Script: s.Name})
			i = len(t.zone.Routes) - 1
		}
		out = append(out, map[string]any{
			"id": t.zone.Routes[i].ID, "pattern": t.pattern, "script": s.Name, "zone_id": t.zone.ID, "zone_name": t.zone.Name,
		})
	}
	c.rerouted()
	return out, nil
}
