package sim

import (
	"net/http"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// Custom domains. A domain belongs to one Worker, and owning one means owning the DNS record that Cloudflare makes for it:
// attaching makes the record, detaching removes it.

func domainEndpoints() []endpoint {
	const domains = "/accounts/{account}/workers/domains"
	const script = "/accounts/{account}/workers/scripts/{script}/domains"
	return []endpoint{
		{"GET " + domains, reads, (*call).listDomains},
		{"PUT " + domains, writes, (*call).putDomain},
		{"GET " + domains + "/{domain}", reads, (*call).getDomain},
		{"DELETE " + domains + "/{domain}", writes, (*call).deleteDomain},
		{"GET " + domains + "/records", reads, (*call).listDomains},
		{"GET " + domains + "/records/{domain}", reads, (*call).getDomain},
		{"POST " + script + "/changeset", reads, (*call).domainChangeset},
		{"PUT " + script + "/records", writes, (*call).putDomainRecords},
	}
}

const maxDomainsPerZone = 100 // field.md §5

func (c *call) listDomains() (any, error) {
	list := []*domain{}
	for _, d := range c.account.Domains {
		match := func(query, value string) bool { return c.query(query) == "" || c.query(query) == value }
		if match("hostname", d.Hostname) && match("service", d.Service) && match("environment", d.Environment) &&
			match("zone_id", d.ZoneID) && match("zone_name", d.ZoneName) {
			list = append(list, d)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Hostname < list[j].Hostname })
	return list, nil
}

func (c *call) domain() (*domain, error) {
	for _, d := range c.account.Domains {
		if d.ID == c.path("domain") {
			return d, nil
		}
	}
	return nil, refuse(http.StatusNotFound, 100114, "Custom domain could not be found.")
}

func (c *call) getDomain() (any, error) {
	d, err := c.domain()
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (c *call) deleteDomain() (any, error) {
	d, err := c.domain()
	if err != nil {
		return nil, err
	}
	c.account.detach(d)
	c.w.touch(c.account)
	c.w.released()
	return nil, nil
}

// origin is a hostname that a Worker asks for.
type origin struct {
	Hostname    string `json:"hostname"`
	ZoneID      string `json:"zone_id"`
	ZoneName    string `json:"zone_name"`
	Service     string `json:"service"`
	Environment string `json:"environment"`
	Enabled     *bool  `json:"enabled"`
	Previews    *bool  `json:"previews_enabled"`
}

var hostnameText = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]{2,63}$`)

// wanted is an origin matched with what the account has.
type wanted struct {
	origin
	zone   *zone
	held   *domain    // the custom domain that has the hostname, of whatever Worker
	record *dnsRecord // a record in the way that no custom domain made
}

// want checks an origin and finds what stands on its hostname.
func (a *account) want(o origin) (wanted, error) {
	o.Hostname = strings.ToLower(o.Hostname)
	if len(o.Hostname) > 253 || !hostnameText.MatchString(o.Hostname) {
		return wanted{}, refuse(http.StatusBadRequest, 10026, "%q is not a hostname; custom domains have neither wildcards nor paths", o.Hostname)
	}
	z, err := a.zoneFor(o.Hostname, o.ZoneID, o.ZoneName)
	if err != nil {
		return wanted{}, err
	}
	w := wanted{origin: o, zone: z}
	for _, d := range a.Domains {
		if d.Hostname == o.Hostname {
			w.held = d
		}
	}
	for _, r := range z.Records {
		if r.Name == o.Hostname && r.Domain == "" && (r.Type == "A" || r.Type == "AAAA" || r.Type == "CNAME") {
			w.record = r
		}
	}
	return w, nil
}

func (a *account) wantAll(list []origin) ([]wanted, error) {
	var out []wanted
	for _, o := range list {
		w, err := a.want(o)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(x wanted) bool { return x.Hostname == w.Hostname }) {
			return nil, refuse(http.StatusBadRequest, 10026, "hostname %s appears more than once", w.Hostname)
		}
		out = append(out, w)
	}
	return out, nil
}

// settled tells whether the Worker has the hostname already, just as asked.
func (w wanted) settled(service string) bool {
	return w.held != nil && w.held.Service == service &&
		(w.Enabled == nil || *w.Enabled == w.held.Enabled) && (w.Previews == nil || *w.Previews == w.held.Previews)
}

// domainChangeset says what putting the hostnames would change (wire.md §4.3): added are free, updated stand on some
// custom domain (modified when it is not exactly this one), conflicting have a DNS record in the way, and removed,
// with replace_state, are the Worker's domains that are not in the list.
func (c *call) domainChangeset() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	var in []origin
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	list, err := c.account.wantAll(in)
	if err != nil {
		return nil, err
	}
	added, removed, updated, conflicting := []any{}, []any{}, []any{}, []any{}
	for _, w := range list {
		switch {
		case w.held != nil:
			updated = append(updated, struct {
				*domain
				Modified bool `json:"modified"`
			}{w.held, !w.settled(s.Name)})
		case w.record != nil:
			conflicting = append(conflicting, map[string]any{
				"hostname": w.Hostname, "zone_id": w.zone.ID, "zone_name": w.zone.Name, "service": s.Name, "environment": production,
				"external_dns_record_id": w.record.ID,
			})
		default:
			added = append(added, map[string]any{
				"hostname": w.Hostname, "zone_id": w.zone.ID, "zone_name": w.zone.Name, "service": s.Name, "environment": production,
				"enabled": w.Enabled == nil || *w.Enabled, "previews_enabled": w.Previews != nil && *w.Previews,
			})
		}
	}
	if c.query("replace_state") == "true" {
		for _, d := range c.account.Domains {
			if d.Service == s.Name && !slices.ContainsFunc(list, func(w wanted) bool { return w.Hostname == d.Hostname }) {
				removed = append(removed, d)
			}
		}
	}
	return map[string]any{"added": added, "removed": removed, "updated": updated, "conflicting": conflicting}, nil
}

// putDomainRecords makes origins the Worker's custom domains. With override_scope the list is complete: what is not in
// it is detached, DNS record included. Nothing changes when one of the hostnames is refused.
func (c *call) putDomainRecords() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	var in struct {
		Scope   bool     `json:"override_scope"`
		Origin  bool     `json:"override_existing_origin"`
		Record  bool     `json:"override_existing_dns_record"`
		Origins []origin `json:"origins"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	list, err := c.account.wantAll(in.Origins)
	if err != nil {
		return nil, err
	}
	for _, w := range list {
		if err := w.allowed(s.Name, in.Origin, in.Record); err != nil {
			return nil, err
		}
	}
	var lost []*domain
	if in.Scope {
		for _, d := range c.account.Domains {
			if d.Service == s.Name && !slices.ContainsFunc(list, func(w wanted) bool { return w.Hostname == d.Hostname }) {
				lost = append(lost, d)
			}
		}
	}
	if err := c.account.roomFor(list, lost); err != nil {
		return nil, err
	}
	for _, d := range lost {
		c.account.detach(d)
	}
	out := []*domain{}
	for _, w := range list {
		out = append(out, c.attach(w, s.Name))
	}
	return out, nil
}

// roomFor refuses more custom domains than a zone may have, once the lost ones are gone.
func (a *account) roomFor(list []wanted, lost []*domain) error {
	count := map[string]int{}
	for _, d := range a.Domains {
		if !slices.Contains(lost, d) {
			count[d.ZoneID]++
		}
	}
	for _, w := range list {
		if w.held != nil {
			continue
		}
		if count[w.zone.ID]++; count[w.zone.ID] > maxDomainsPerZone {
			return refuse(http.StatusBadRequest, 100115, "You have exceeded the limit of %d custom domains on zone %s.", maxDomainsPerZone, w.zone.Name)
		}
	}
	return nil
}

// allowed refuses to take a hostname from another Worker, or from a DNS record, unless told to.
func (w wanted) allowed(service string, overrideOrigin, overrideRecord bool) error {
	switch {
	case w.held != nil && w.held.Service != service && !overrideOrigin:
		return refuse(http.StatusConflict, 100116, "Hostname '%s' is already in use by Worker '%s'. Set override_existing_origin to take it over.", w.Hostname, w.held.Service)
	case w.held == nil && w.record != nil && !overrideRecord:
		return refuse(http.StatusConflict, 100117, "Hostname '%s' already has externally managed DNS records (A, CNAME, etc). Either delete them, try a different hostname, or set override_existing_dns_record.", w.Hostname)
	}
	return nil
}

// putDomain attaches one hostname (upsert). It has no override flags, so it takes nothing from anybody.
func (c *call) putDomain() (any, error) {
	var in origin
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Environment != "" && in.Environment != production {
		return nil, refuse(http.StatusNotFound, 10092, "workers.api.error.environment_not_found")
	}
	if c.account.Scripts[in.Service] == nil {
		return nil, noSuchWorker()
	}
	w, err := c.account.want(in)
	if err != nil {
		return nil, err
	}
	if err := w.allowed(in.Service, false, false); err != nil {
		return nil, err
	}
	if err := c.account.roomFor([]wanted{w}, nil); err != nil {
		return nil, err
	}
	return c.attach(w, in.Service), nil
}

// attach gives a hostname to a Worker.
func (c *call) attach(w wanted, service string) *domain {
	c.w.touch(c.account)
	c.w.released()
	if d := w.held; d != nil {
		d.Service = service
		if w.Enabled != nil {
			d.Enabled = *w.Enabled
		}
		if w.Previews != nil {
			d.Previews = *w.Previews
		}
		return d
	}
	d := &domain{
		ID: c.w.id(), ZoneID: w.zone.ID, ZoneName: w.zone.Name, Hostname: w.Hostname, Service: service, Environment: production,
		CertID: c.w.uuid(), Enabled: w.Enabled == nil || *w.Enabled, Previews: w.Previews != nil && *w.Previews,
	}
	c.account.Domains = append(c.account.Domains, d)
	w.zone.Records = slices.DeleteFunc(w.zone.Records, func(r *dnsRecord) bool {
		return r.Name == w.Hostname && (r.Type == "A" || r.Type == "AAAA" || r.Type == "CNAME")
	})
	now := c.w.now()
	w.zone.Records = append(w.zone.Records, &dnsRecord{
		ID: c.w.id(), Type: "AAAA", Name: w.Hostname, Content: "100::", Proxied: true, TTL: 1, Created: now, Modified: now, Domain: d.ID,
	})
	return d
}

// detach removes a custom domain and the DNS record that was made for it.
func (a *account) detach(d *domain) {
	a.Domains = slices.DeleteFunc(a.Domains, func(o *domain) bool { return o == d })
	for _, z := range a.Zones {
		z.Records = slices.DeleteFunc(z.Records, func(r *dnsRecord) bool { return r.Domain == d.ID })
	}
}
