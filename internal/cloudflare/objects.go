package cloudflare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	sdk "github.com/cloudflare/cloudflare-go"
)

// MaxR2Upload is the largest object that the REST API takes, in bytes; R2's S3 API takes more.
// https://developers.cloudflare.com/r2/objects/upload-objects names it for wrangler, which uses the same calls.
const MaxR2Upload = 300 << 20

// Object is an R2 object as it is listed.
type Object struct {
	Key  string `json:"key"`
	Size int64  `json:"size"`
	// ETag is in hexadecimal: the MD5 of the content, but of an object that came in parts.
	ETag         string            `json:"etag"`
	Modified     time.Time         `json:"last_modified"`
	StorageClass string            `json:"storage_class"`
	HTTP         ObjectHTTP        `json:"http_metadata"`
	Custom       map[string]string `json:"custom_metadata"`
	Encrypted    bool              `json:"ssec"` // with a key of its owner's, without which nobody reads it
}

// ObjectHTTP are the headers that R2 keeps with an object and answers with.
type ObjectHTTP struct {
	ContentType        string    `json:"contentType,omitempty"`
	ContentLanguage    string    `json:"contentLanguage,omitempty"`
	ContentDisposition string    `json:"contentDisposition,omitempty"`
	ContentEncoding    string    `json:"contentEncoding,omitempty"`
	CacheControl       string    `json:"cacheControl,omitempty"`
	CacheExpiry        time.Time `json:"cacheExpiry,omitzero"`
}

// R2Objects lists the objects of a bucket whose keys begin with prefix, in the order of their keys' bytes. It gives up
// with ErrPaging beyond a million.
func (c *Client) R2Objects(ctx context.Context, bucket, inJurisdiction, prefix string) ([]Object, error) {
	r := request{op: "R2Objects", args: []string{bucket}, header: jurisdiction(inJurisdiction)}
	if prefix != "" {
		r.query = url.Values{"prefix": {prefix}}
	}
	return list[Object](ctx, c, r, page{size: 1000})
}

// OpenObject is an object that is being read. Close it.
type OpenObject struct {
	io.ReadCloser
	Size int64  // bytes; -1 when the answer does not say
	ETag string // without quotes; "" when the answer does not say
}

// openBody is the body of a stream; closing it ends the time that reading may take.
type openBody struct {
	ctx context.Context
	io.ReadCloser
	release func()
}

func (b openBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b openBody) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}

// OpenR2Object reads an object of any size; ErrNotFound when there is no such object, or no such bucket. It is tried
// again until an answer begins; an answer that breaks off is an error of Read, for the caller to begin anew.
func (c *Client) OpenR2Object(ctx context.Context, bucket, inJurisdiction, key string) (*OpenObject, error) {
	var object *OpenObject
	r := request{op: "OpenR2Object", args: []string{bucket, key}, header: jurisdiction(inJurisdiction)}
	err := c.direct(ctx, r, nil, 0, func(_ *http.Response, cl *call) error {
		if cl.opened == nil {
			return lacks("body")
		}
		h := cl.opened.Header
		object = &OpenObject{cl.opened.Body, cl.opened.ContentLength, strings.Trim(strings.TrimPrefix(h.Get("ETag"), "W/"), `"`)}
		return nil
	})
	return object, err
}

// ObjectUpload is an object to be written. The REST API has no place for custom metadata: only a Worker's binding and the
// S3 API write it.
type ObjectUpload struct {
	Key          string
	Size         int64 // bytes, at most MaxR2Upload
	StorageClass string
	HTTP         ObjectHTTP
	Open         func() (io.ReadCloser, error) // for each try
}

// UploadR2Object writes an object, whole or not at all, in place of one that has the key already, and returns its ETag.
func (c *Client) UploadR2Object(ctx context.Context, bucket, inJurisdiction string, up ObjectUpload) (etag string, err error) {
	r := request{op: "UploadR2Object", args: []string{bucket, up.Key}, header: jurisdiction(inJurisdiction)}
	if up.Open == nil || up.Size < 0 || up.Size > MaxR2Upload {
		return "", c.refuse(r, fmt.Errorf("%w: %d bytes are not something that can be uploaded here", ErrArgument, up.Size))
	}
	for name, value := range map[string]string{
		"Content-Type": orDefault(up.HTTP.ContentType, "application/octet-stream"), "Content-Language": up.HTTP.ContentLanguage,
		"Content-Disposition": up.HTTP.ContentDisposition, "Content-Encoding": up.HTTP.ContentEncoding,
		"Cache-Control": up.HTTP.CacheControl, "Cf-R2-Storage-Class": up.StorageClass,
	} {
		if value != "" {
			r.header.Set(name, value)
		}
	}
	if !up.HTTP.CacheExpiry.IsZero() {
		r.header.Set("Expires", up.HTTP.CacheExpiry.UTC().Format(http.TimeFormat))
	}
	err = c.direct(ctx, r, up.Open, up.Size, func(resp *http.Response, _ *call) error {
		var answer struct{ Result struct{ ETag string } }
		err := json.NewDecoder(resp.Body).Decode(&answer)
		etag = strings.Trim(answer.Result.ETag, `"`)
		return err
	})
	return etag, err
}

// DeleteR2Object deletes an object; that there is none is fine.
func (c *Client) DeleteR2Object(ctx context.Context, bucket, inJurisdiction, key string) error {
	return c.raw(ctx, request{op: "DeleteR2Object", args: []string{bucket, key}, header: jurisdiction(inJurisdiction)}, nil)
}

// direct performs r past the SDK, which holds bodies and answers in memory. open gives the body, size bytes of it, for
// each try; nil is none.
func (c *Client) direct(ctx context.Context, r request, open func() (io.ReadCloser, error), size int64, take func(*http.Response, *call) error) error {
	return c.do(ctx, r, func(ctx context.Context, _ *sdk.API, path string) error {
		if len(r.query) > 0 {
			path += "?" + r.query.Encode()
		}
		req, err := http.NewRequestWithContext(ctx, r.method(), c.wire.base.String()+path, nil)
		if err != nil {
			return err
		}
		for name, values := range r.header {
			req.Header[name] = values
		}
		req.Header.Set("Authorization", "Bearer "+string(c.Token))
		req.Header.Set("User-Agent", orDefault(c.UserAgent, "shopfleet/dev"))
		if open != nil {
			// exchange opens it; net/http takes a length of 0 with a body for one that is not known.
			req.Body, req.GetBody, req.ContentLength = http.NoBody, open, size
			if size == 0 {
				req.GetBody = nil
			}
		}
		resp, err := c.wire.RoundTrip(req)
		if err != nil {
			return err
		}
		return take(resp, ctx.Value(callKey{}).(*call))
	})
}
