package cloudflare

import (
	"context"
	"net/http"
	"net/url"

	sdk "github.com/cloudflare/cloudflare-go"
)

// Schedules lists the Worker's cron expressions.
func (c *Client) Schedules(ctx context.Context, script string) ([]string, error) {
	crons := []string{}
	err := c.do(ctx, request{op: "Schedules", args: []string{script}}, func(ctx context.Context, api *sdk.API, _ string) error {
		triggers, err := api.ListWorkerCronTriggers(ctx, c.account(), sdk.ListWorkerCronTriggersParams{ScriptName: script})
		if err == nil && triggers == nil {
			return lacks("schedules")
		}
		for _, t := range triggers {
			crons = append(crons, t.Cron)
		}
		return err
	})
	return crons, err
}

// PutSchedules replaces all cron triggers of the Worker; none removes them all.
func (c *Client) PutSchedules(ctx context.Context, script string, crons []string) error {
	triggers := make([]sdk.WorkerCronTrigger, len(crons)) // never nil, which would travel as null
	for i, cron := range crons {
		triggers[i].Cron = cron
	}
	return c.do(ctx, request{op: "PutSchedules", args: []string{script}}, func(ctx context.Context, api *sdk.API, _ string) error {
		_, err := api.UpdateWorkerCronTriggers(ctx, c.account(), sdk.UpdateWorkerCronTriggersParams{ScriptName: script, Crons: triggers})
		return err
	})
}

// Domain is a custom domain: a hostname that a Worker holds.
type Domain struct {
	ID              string `json:"id"`
	Hostname        string `json:"hostname"`
	Service         string `json:"service"` // the Worker
	Environment     string `json:"environment"`
	ZoneID          string `json:"zone_id"`
	ZoneName        string `json:"zone_name"`
	Enabled         *bool  `json:"enabled"`          // nil: not sent
	PreviewsEnabled *bool  `json:"previews_enabled"` // nil: not sent
	Modified        bool   `json:"modified"`         // in changesets: it exists, and would be changed
}

// DomainFilter narrows Domains; empty members do not.
type DomainFilter struct{ Hostname, Service, ZoneID string }

// Domains lists the account's custom domains.
func (c *Client) Domains(ctx context.Context, f DomainFilter) ([]Domain, error) {
	query := url.Values{}
	for key, value := range map[string]string{"hostname": f.Hostname, "service": f.Service, "zone_id": f.ZoneID} {
		if value != "" {
			query.Set(key, value)
		}
	}
	return list[Domain](ctx, c, request{op: "Domains", query: query}, page{})
}

// Origin is a hostname that a Worker shall hold; empty members are left to the API.
type Origin struct {
	Hostname        string `json:"hostname"`
	ZoneID          string `json:"zone_id,omitempty"`
	ZoneName        string `json:"zone_name,omitempty"`
	Enabled         *bool  `json:"enabled,omitempty"`
	PreviewsEnabled *bool  `json:"previews_enabled,omitempty"`
}

// Changeset is what PutDomains would do. A hostname that another Worker holds is in Updated with Modified set, and Domains
// tells which Worker that is; one whose DNS records are managed elsewhere is in Conflicting (wire.md §4.3).
type Changeset struct{ Added, Removed, Updated, Conflicting []Domain }

// DomainChangeset asks what PutDomains would do with these origins, and changes nothing.
func (c *Client) DomainChangeset(ctx context.Context, script string, origins []Origin) (Changeset, error) {
	r := request{op: "DomainChangeset", args: []string{script}, query: url.Values{"replace_state": {"true"}}, body: orEmpty(origins)}
	var cs Changeset
	err := c.raw(ctx, r, need(&cs, "added", "removed", "updated", "conflicting"))
	return cs, err
}

// PutDomains makes these the custom domains of the Worker. It never overrides: a hostname that another Worker or foreign
// DNS records hold is refused by the API (ErrConflict), where wrangler without a terminal takes it (wire.md §4.3).
func (c *Client) PutDomains(ctx context.Context, script string, origins []Origin) error {
	body := map[string]any{
		"override_scope": true, "override_existing_origin": false, "override_existing_dns_record": false,
		"origins": orEmpty(origins),
	}
	return c.raw(ctx, request{op: "PutDomains", args: []string{script}, body: body}, nil)
}

// DetachDomain takes a custom domain, by its id, from the Worker that holds it.
func (c *Client) DetachDomain(ctx context.Context, id string) error {
	return c.do(ctx, request{op: "DetachDomain", args: []string{id}}, func(ctx context.Context, api *sdk.API, _ string) error {
		return api.DetachWorkersDomain(ctx, c.account(), id)
	})
}

// Route sends the requests of a zone that match a pattern to a Worker ("" for none).
type Route struct {
	ID      string `json:"id"`
	Pattern string `json:"pattern"`
	Script  string `json:"script"`
}

// ZoneRoutes lists all routes of a zone, those of other Workers included.
func (c *Client) ZoneRoutes(ctx context.Context, zoneID string) ([]Route, error) {
	return list[Route](ctx, c, request{op: "ZoneRoutes", args: []string{zoneID}}, page{})
}

// RoutePattern is a route that a Worker shall have; without a zone the API finds it from the pattern.
type RoutePattern struct {
	Pattern  string `json:"pattern"`
	ZoneID   string `json:"zone_id,omitempty"`
	ZoneName string `json:"zone_name,omitempty"`
}

// PutRoutes replaces all routes of the Worker, in every zone (wire.md §4.2).
func (c *Client) PutRoutes(ctx context.Context, script string, routes []RoutePattern) error {
	return c.raw(ctx, request{op: "PutRoutes", args: []string{script}, body: orEmpty(routes)}, nil)
}

// CreateRoute adds one route to a zone and returns its id.
func (c *Client) CreateRoute(ctx context.Context, zoneID, pattern, script string) (id string, err error) {
	err = c.do(ctx, request{op: "CreateRoute", args: []string{zoneID}}, func(ctx context.Context, api *sdk.API, _ string) error {
		made, err := api.CreateWorkerRoute(ctx, sdk.ZoneIdentifier(zoneID), sdk.CreateWorkerRouteParams{Pattern: pattern, Script: script})
		if id = made.ID; err == nil && id == "" {
			err = lacks("id")
		}
		return err
	})
	return id, err
}

// DeleteRoute removes one route from a zone.
func (c *Client) DeleteRoute(ctx context.Context, zoneID, id string) error {
	return c.do(ctx, request{op: "DeleteRoute", args: []string{zoneID, id}}, func(ctx context.Context, api *sdk.API, _ string) error {
		_, err := api.DeleteWorkerRoute(ctx, sdk.ZoneIdentifier(zoneID), id)
		return err
	})
}

// Subdomain says whether a Worker answers on workers.dev.
type Subdomain struct {
	Enabled         bool `json:"enabled"`
	PreviewsEnabled bool `json:"previews_enabled"`
}

// Subdomain reads a Worker's workers.dev switches.
func (c *Client) Subdomain(ctx context.Context, script string) (Subdomain, error) {
	var s Subdomain
	err := c.raw(ctx, request{op: "Subdomain", args: []string{script}}, need(&s, "enabled"))
	return s, err
}

// SetSubdomain sets them; previews nil leaves preview URLs to the API.
func (c *Client) SetSubdomain(ctx context.Context, script string, enabled bool, previews *bool) error {
	body := map[string]bool{"enabled": enabled}
	if previews != nil {
		body["previews_enabled"] = *previews
	}
	// The date selects the behaviour that wrangler relies on (wire.md §3.1, step 9).
	header := http.Header{"Cloudflare-Workers-Script-Api-Date": {"2025-08-01"}}
	return c.raw(ctx, request{op: "SetSubdomain", args: []string{script}, body: body, header: header}, nil)
}

// AccountSubdomain returns the account's name under workers.dev, "acme" in helm.acme.workers.dev.
// When it has none, the error carries code 10007.
func (c *Client) AccountSubdomain(ctx context.Context) (string, error) {
	var result struct{ Subdomain string }
	err := c.raw(ctx, request{op: "AccountSubdomain"}, need(&result, "subdomain"))
	return result.Subdomain, err
}

// orEmpty makes a nil slice travel as [] rather than null.
func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
