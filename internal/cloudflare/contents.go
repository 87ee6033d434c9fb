package cloudflare

import (
	"context"
	"net/url"
	"strconv"
)

// FirstR2Objects are the keys of the first objects of a bucket, at most n (1,000 is the API's limit): enough to see whether
// there is anything in it, and to empty it page by page, where each page is the first one again.
func (c *Client) FirstR2Objects(ctx context.Context, bucket, inJurisdiction string, n int) ([]string, error) {
	var objects []struct {
		Key string `json:"key"`
	}
	query := url.Values{"per_page": {strconv.Itoa(n)}}
	err := c.raw(ctx, request{op: "FirstR2Objects", args: []string{bucket}, query: query, header: jurisdiction(inJurisdiction)}, &objects)
	keys := make([]string, len(objects))
	for i, o := range objects {
		keys[i] = o.Key
	}
	return keys, err
}

// FirstKVKeys are the first keys of a namespace, at most n (the API wants from 10 to 1,000).
func (c *Client) FirstKVKeys(ctx context.Context, namespaceID string, n int) ([]string, error) {
	var list []struct {
		Name string `json:"name"`
	}
	query := url.Values{"limit": {strconv.Itoa(n)}}
	err := c.raw(ctx, request{op: "FirstKVKeys", args: []string{namespaceID}, query: query}, &list)
	keys := make([]string, len(list))
	for i, k := range list {
		keys[i] = k.Name
	}
	return keys, err
}
