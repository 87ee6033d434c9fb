package cloudflare

import (
	"bytes"
	"context"
	"errors"
	"mime/multipart"
	"net/http"
	"time"

	sdk "github.com/cloudflare/cloudflare-go"
)

// R2Bucket is a bucket, as listed, or as it is to be created.
type R2Bucket struct {
	Name         string    `json:"name"`
	Location     string    `json:"location"`      // such as WNAM; a hint when creating
	StorageClass string    `json:"storage_class"` // Standard or InfrequentAccess; "" lets the API choose
	Jurisdiction string    `json:"jurisdiction"`  // eu, fedramp or default; "" means default
	CreatedOn    time.Time `json:"creation_date"` // ignored when creating
}

// jurisdiction is a header rather than a parameter: buckets of another jurisdiction are invisible without it.
func jurisdiction(j string) http.Header {
	h := http.Header{}
	if j != "" && j != "default" {
		h.Set("Cf-R2-Jurisdiction", j)
	}
	return h
}

// R2Buckets lists the buckets of one jurisdiction ("" the default one).
func (c *Client) R2Buckets(ctx context.Context, inJurisdiction string) ([]R2Bucket, error) {
	return collect(ctx, "R2Buckets", page{size: 1000}, func(ctx context.Context, p page) ([]R2Bucket, sdk.ResultInfo, error) {
		var result struct{ Buckets []R2Bucket }
		info, err := c.rawPage(ctx, request{op: "R2Buckets", query: p.query(nil), header: jurisdiction(inJurisdiction)}, need(&result, "buckets"))
		return result.Buckets, info, err
	})
}

// R2Bucket finds a bucket by name; ErrNotFound when there is none.
func (c *Client) R2Bucket(ctx context.Context, name, inJurisdiction string) (R2Bucket, error) {
	var bucket R2Bucket
	err := c.raw(ctx, request{op: "R2Bucket", args: []string{name}, header: jurisdiction(inJurisdiction)}, &bucket)
	return bucket, err
}

// CreateR2Bucket makes a bucket; ErrConflict when the name is taken in this account.
func (c *Client) CreateR2Bucket(ctx context.Context, b R2Bucket) error {
	body := struct {
		Name         string `json:"name"`
		LocationHint string `json:"locationHint,omitempty"`
		StorageClass string `json:"storageClass,omitempty"`
	}{b.Name, b.Location, b.StorageClass}
	return c.raw(ctx, request{op: "CreateR2Bucket", body: body, header: jurisdiction(b.Jurisdiction)}, nil)
}

// DeleteR2Bucket deletes an empty bucket; the API refuses one that holds objects.
func (c *Client) DeleteR2Bucket(ctx context.Context, name, inJurisdiction string) error {
	return c.raw(ctx, request{op: "DeleteR2Bucket", args: []string{name}, header: jurisdiction(inJurisdiction)}, nil)
}

// KVNamespace is a Workers KV namespace.
type KVNamespace struct{ ID, Title string }

// KVNamespaces lists the account's namespaces.
func (c *Client) KVNamespaces(ctx context.Context) ([]KVNamespace, error) {
	return collect(ctx, "KVNamespaces", page{number: 1, size: 100}, func(ctx context.Context, p page) (items []KVNamespace, info sdk.ResultInfo, err error) {
		err = c.do(ctx, request{op: "KVNamespaces"}, func(ctx context.Context, api *sdk.API, _ string) error {
			namespaces, paging, err := api.ListWorkersKVNamespaces(ctx, c.account(), sdk.ListWorkersKVNamespacesParams{
				ResultInfo: sdk.ResultInfo{Page: p.number, PerPage: p.size},
			})
			if paging != nil {
				info = *paging
			}
			for _, n := range namespaces {
				items = append(items, KVNamespace(n))
			}
			return err
		})
		return items, info, err
	})
}

// CreateKVNamespace makes a namespace; ErrConflict when the title is taken, which the API does not adopt.
func (c *Client) CreateKVNamespace(ctx context.Context, title string) (KVNamespace, error) {
	var made KVNamespace
	err := c.do(ctx, request{op: "CreateKVNamespace"}, func(ctx context.Context, api *sdk.API, _ string) error {
		answer, err := api.CreateWorkersKVNamespace(ctx, c.account(), sdk.CreateWorkersKVNamespaceParams{Title: title})
		if made = KVNamespace(answer.Result); err == nil && made.ID == "" {
			err = lacks("id")
		}
		return err
	})
	return made, err
}

// DeleteKVNamespace deletes a namespace with everything in it.
func (c *Client) DeleteKVNamespace(ctx context.Context, id string) error {
	return c.do(ctx, request{op: "DeleteKVNamespace", args: []string{id}}, func(ctx context.Context, api *sdk.API, _ string) error {
		_, err := api.DeleteWorkersKVNamespace(ctx, c.account(), id)
		return err
	})
}

// KVValue reads a value; ErrNotFound when there is no such key, or no such namespace.
func (c *Client) KVValue(ctx context.Context, namespaceID, key string) (string, error) {
	var value verbatim
	err := c.raw(ctx, request{op: "KVValue", args: []string{namespaceID, key}}, &value)
	return string(value.Body), err
}

// PutKVValue writes a value that does not expire, as the form that the OpenAPI description asks for.
func (c *Client) PutKVValue(ctx context.Context, namespaceID, key, value string) error {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	if err := errors.Join(form.WriteField("value", value), form.Close()); err != nil {
		return err
	}
	r := request{op: "PutKVValue", args: []string{namespaceID, key}, body: body.Bytes(), header: http.Header{"Content-Type": {form.FormDataContentType()}}}
	return c.raw(ctx, r, nil)
}

// R2Object reads an object; ErrNotFound when there is no such object, or no such bucket. It is for small objects: what is
// longer than a body may be (Client.MaxBody) is an error.
func (c *Client) R2Object(ctx context.Context, bucket, inJurisdiction, key string) ([]byte, error) {
	var object verbatim
	err := c.raw(ctx, request{op: "R2Object", args: []string{bucket, key}, header: jurisdiction(inJurisdiction)}, &object)
	return object.Body, err
}

// PutR2Object writes an object of plain text.
func (c *Client) PutR2Object(ctx context.Context, bucket, inJurisdiction, key string, text []byte) error {
	header := jurisdiction(inJurisdiction)
	header.Set("Content-Type", "text/plain;charset=UTF-8")
	return c.raw(ctx, request{op: "PutR2Object", args: []string{bucket, key}, body: text, header: header}, nil)
}
