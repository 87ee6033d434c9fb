package cloudflare

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// Asset is one file of a manifest: its hash (wire.md §5) and its size in bytes.
type Asset struct {
	Hash string `json:"hash"`
	Size int64  `json:"size"`
}

// AssetsSession is what the API still wants uploaded.
type AssetsSession struct {
	JWT     Secret     // bearer for the uploads; when Buckets is empty it is the completion token already
	Buckets [][]string // hashes, each bucket for one UploadAssets call; at most three of those at a time, as wrangler does
}

// AssetsSession opens an upload session for a manifest of slash-separated paths with a leading slash.
// The Worker need not exist yet, and nothing changes for it.
func (c *Client) AssetsSession(ctx context.Context, script string, manifest map[string]Asset) (AssetsSession, error) {
	var result struct {
		JWT     string
		Buckets [][]string
	}
	body := map[string]any{"manifest": manifest}
	err := c.raw(ctx, request{op: "AssetsSession", args: []string{script}, body: body}, need(&result, "jwt", "buckets"))
	return AssetsSession{JWT: Secret(result.JWT), Buckets: result.Buckets}, err
}

// UploadAssets sends one bucket as a multipart form of base64 parts (wire.md §5.4). The answer to the last bucket is the
// completion token, for the others it is "".
func (c *Client) UploadAssets(ctx context.Context, session Secret, contentType string, body []byte) (Secret, error) {
	return c.upload(ctx, request{op: "UploadAssets", query: url.Values{"base64": {"true"}}, bearer: session}, contentType, body)
}

// UploadAsset sends one file as it is, for sessions that ask for single uploads (wire.md §5.5); the answer is that of UploadAssets.
func (c *Client) UploadAsset(ctx context.Context, session Secret, hash, contentType string, body []byte) (Secret, error) {
	return c.upload(ctx, request{op: "UploadAsset", args: []string{hash}, bearer: session}, contentType, body)
}

func (c *Client) upload(ctx context.Context, r request, contentType string, body []byte) (Secret, error) {
	if r.bearer == "" {
		return "", c.refuse(r, fmt.Errorf("%w: no upload session is given", ErrArgument))
	}
	r.header = http.Header{"Content-Type": {contentType}}
	r.body = body
	var result struct{ JWT string }
	err := c.raw(ctx, r, &result)
	return Secret(result.JWT), err
}
