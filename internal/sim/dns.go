package sim

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

func dnsEndpoints() []endpoint {
	const records = "/zones/{zone}/dns_records"
	return []endpoint{
		{"GET " + records, reads, (*call).listRecords},
		{"POST " + records, writes, (*call).createRecord},
		{"GET " + records + "/{record}", reads, (*call).getRecord},
		{"PUT " + records + "/{record}", writes, (*call).replaceRecord},
		{"PATCH " + records + "/{record}", writes, (*call).patchRecord},
		{"DELETE " + records + "/{record}", writes, (*call).deleteRecord},
	}
}

// dnsRecord is one record of a zone. Name is fully qualified, TTL 1 means automatic.
type dnsRecord struct {
	ID       string    `json:"id"`
	Type     string    `json:"type"`
	Name     string    `json:"name"`
	Content  string    `json:"content"`
	Proxied  bool      `json:"proxied"`
	TTL      int       `json:"ttl"`
	Priority *int      `json:"priority,omitempty"`
	Comment  string    `json:"comment,omitempty"`
	Tags     []string  `json:"tags,omitempty"`
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
	Domain   string    `json:"domain,omitempty"` // id of the custom domain that it was made for
}

func (r *dnsRecord) proxiable() bool { return r.Type == "A" || r.Type == "AAAA" || r.Type == "CNAME" }

func recordView(z *zone, r *dnsRecord) map[string]any {
	meta := map[string]any{}
	if r.Domain != "" {
		meta["origin_worker_id"], meta["read_only"] = r.Domain, true
	}
	out := map[string]any{
		"id": r.ID, "zone_id": z.ID, "zone_name": z.Name, "type": r.Type, "name": r.Name, "content": r.Content, "proxied": r.Proxied,
		"proxiable": r.proxiable(), "ttl": r.TTL, "comment": nil, "tags": emptyNotNil(r.Tags), "settings": map[string]any{}, "meta": meta,
		"created_on": stamp(r.Created), "modified_on": stamp(r.Modified),
	}
	if r.Comment != "" {
		out["comment"] = r.Comment
	}
	if r.Priority != nil {
		out["priority"] = *r.Priority
	}
	return out
}

func (c *call) listRecords() (any, error) {
	list := []map[string]any{}
	for _, r := range c.zone.Records {
		match := func(key, value string) bool {
			want := c.query(key)
			if want == "" {
				want = c.query(key + ".exact")
			}
			return want == "" || strings.EqualFold(want, value)
		}
		proxied := c.query("proxied")
		if match("name", r.Name) && match("type", r.Type) && match("content", r.Content) && (proxied == "" || (proxied == "true") == r.Proxied) {
			list = append(list, recordView(c.zone, r))
		}
	}
	return paged(c, list, 100, 5_000_000), nil
}

func (c *call) record() (*dnsRecord, error) {
	for _, r := range c.zone.Records {
		if r.ID == c.path("record") {
			return r, nil
		}
	}
	return nil, refuse(http.StatusNotFound, 81044, "Record does not exist.")
}

func (c *call) getRecord() (any, error) {
	r, err := c.record()
	if err != nil {
		return nil, err
	}
	return recordView(c.zone, r), nil
}

// recordInput is a record as sent; nil is absent.
type recordInput struct {
	Type     *string  `json:"type"`
	Name     *string  `json:"name"`
	Content  *string  `json:"content"`
	Proxied  *bool    `json:"proxied"`
	TTL      *float64 `json:"ttl"`
	Priority *int     `json:"priority"`
	Comment  *string  `json:"comment"`
	Tags     []string `json:"tags"`
}

// apply puts what is present into r.
func (in recordInput) apply(r *dnsRecord, z *zone) {
	if in.Type != nil {
		r.Type = strings.ToUpper(*in.Type)
	}
	if in.Name != nil {
		r.Name = qualify(*in.Name, z.Name)
	}
	if in.Content != nil {
		r.Content = *in.Content
	}
	if in.Proxied != nil {
		r.Proxied = *in.Proxied
	}
	if in.TTL != nil {
		r.TTL = int(*in.TTL)
	}
	if in.Priority != nil {
		r.Priority = in.Priority
	}
	if in.Comment != nil {
		r.Comment = *in.Comment
	}
	if in.Tags != nil {
		r.Tags = in.Tags
	}
}

// qualify completes a name: "@" is the zone, and what is not below the zone is relative to it.
func qualify(name, zone string) string {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	switch {
	case name == "@":
		return zone
	case inZone(name, zone):
		return name
	}
	return name + "." + zone
}

// checkRecord refuses records that are malformed or that stand in each other's way.
func (c *call) checkRecord(r *dnsRecord) error {
	switch {
	case r.Type == "" || r.Name == "" || r.Content == "":
		return refuse(http.StatusBadRequest, 9000, "DNS record has an invalid type, name or content.")
	case r.Proxied && !r.proxiable():
		return refuse(http.StatusBadRequest, 9004, "This record type cannot be proxied.")
	case r.TTL != 1 && (r.TTL < 30 || r.TTL > 86400):
		return refuse(http.StatusBadRequest, 9021, "Invalid TTL. Must be between 30 and 86400 seconds, or 1 for Automatic.")
	}
	if r.Type == "A" || r.Type == "AAAA" {
		ip, err := netip.ParseAddr(r.Content)
		if err != nil || ip.Is4() != (r.Type == "A") {
			return refuse(http.StatusBadRequest, 9005, "Content for %s record is invalid. Must be a valid IP address.", r.Type)
		}
	}
	for _, o := range c.zone.Records {
		switch {
		case o == r || o.ID == r.ID || o.Name != r.Name:
		case o.Type == r.Type && o.Content == r.Content:
			return refuse(http.StatusBadRequest, 81058, "An identical record already exists.")
		case o.proxiable() && r.proxiable() && (o.Type == "CNAME" || r.Type == "CNAME"):
			return refuse(http.StatusBadRequest, 81053, "An A, AAAA, or CNAME record with that host already exists.")
		case o.Domain != "" && r.proxiable():
			return refuse(http.StatusBadRequest, 81057, "The record already exists.")
		}
	}
	return nil
}

func (c *call) createRecord() (any, error) {
	var in recordInput
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	now := c.w.now()
	r := &dnsRecord{ID: c.w.id(), TTL: 1, Created: now, Modified: now}
	in.apply(r, c.zone)
	if err := c.checkRecord(r); err != nil {
		return nil, err
	}
	c.zone.Records = append(c.zone.Records, r)
	c.w.touch(c.account)
	return recordView(c.zone, r), nil
}

// editRecord replaces a record by what edit makes of a copy of it.
func (c *call) editRecord(edit func(r *dnsRecord)) (any, error) {
	old, err := c.writableRecord()
	if err != nil {
		return nil, err
	}
	r := *old
	edit(&r)
	if err := c.checkRecord(&r); err != nil {
		return nil, err
	}
	r.Modified = c.w.now()
	*old = r
	c.w.touch(c.account)
	return recordView(c.zone, old), nil
}

// writableRecord is the record of the path unless it belongs to a custom domain.
func (c *call) writableRecord() (*dnsRecord, error) {
	r, err := c.record()
	if err == nil && r.Domain != "" {
		err = refuse(http.StatusBadRequest, 1043, "This record is managed by Workers and is read only.")
	}
	return r, err
}

func (c *call) replaceRecord() (any, error) {
	var in recordInput
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return c.editRecord(func(r *dnsRecord) {
		*r = dnsRecord{ID: r.ID, TTL: 1, Created: r.Created}
		in.apply(r, c.zone)
	})
}

func (c *call) patchRecord() (any, error) {
	var in recordInput
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return c.editRecord(func(r *dnsRecord) { in.apply(r, c.zone) })
}

func (c *call) deleteRecord() (any, error) {
	r, err := c.writableRecord()
	if err != nil {
		return nil, err
	}
	c.zone.Records = slices.DeleteFunc(c.zone.Records, func(o *dnsRecord) bool { return o == r })
	c.w.touch(c.account)
	return map[string]any{"id": r.ID}, nil
}
