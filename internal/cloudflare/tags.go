package cloudflare

import (
	"context"
	"net/http"
	"net/url"

	sdk "github.com/cloudflare/cloudflare-go"
)

// ResourceTags are the tags of a resource (developers.cloudflare.com/resource-tagging, a public beta in 2026).
type ResourceTags struct {
	Type string            `json:"type"` // d1_database, kv_namespace, r2_bucket, worker, …
	ID   string            `json:"id"`   // a database's or namespace's id, a bucket's or Worker's name
	Tags map[string]string `json:"tags"`
	ETag string            `json:"etag"` // of the tags
}

// TaggedResources lists the resources of the account that have a tag with this key. A token without the permission, or an
// account without the beta, gives ErrUnauthorized or ErrNotFound.
func (c *Client) TaggedResources(ctx context.Context, key string) ([]ResourceTags, error) {
	return collect(ctx, "TaggedResources", page{size: 1000}, func(ctx context.Context, p page) ([]ResourceTags, sdk.ResultInfo, error) {
		var items []ResourceTags
		info, err := c.rawPage(ctx, request{op: "TaggedResources", query: p.query(url.Values{"tag": {key}})}, &items)
		return items, info, err
	})
}

// Tags reads the tags of one resource; one without tags, or that does not exist, has none.
func (c *Client) Tags(ctx context.Context, resourceType, id string) (ResourceTags, error) {
	var tags ResourceTags
	err := c.raw(ctx, request{op: "Tags", query: url.Values{"resource_type": {resourceType}, "resource_id": {id}}}, &tags)
	return tags, err
}

// PutTags replaces all tags of a resource: there is no call that adds one. With an ETag it does so only if nobody changed
// them since they were read (ErrConflict).
func (c *Client) PutTags(ctx context.Context, t ResourceTags) error {
	body := map[string]any{"resource_type": t.Type, "resource_id": t.ID, "tags": t.Tags}
	header := http.Header{}
	if t.ETag != "" {
		header.Set("If-Match", `"`+t.ETag+`"`)
	}
	return c.raw(ctx, request{op: "PutTags", header: header, body: body}, nil)
}
