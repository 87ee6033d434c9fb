package cloudflare

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	sdk "github.com/cloudflare/cloudflare-go"
)

// What KV takes and gives in one call, by the OpenAPI descriptions of bulk and bulk/get.
const (
	MaxKVBulk  = 10_000   // keys written or deleted
	MaxKVTexts = 100      // values read
	MaxKVBytes = 96 << 20 // of a bulk write; the limit is 100 MB for the whole request
)

// KVKey is a key as it is listed.
type KVKey struct {
	Name       string          `json:"name"`
	Expiration int64           `json:"expiration"` // seconds since 1970; 0 is never
	Metadata   json.RawMessage `json:"metadata"`   // nil is none
}

// KVPair is a key to be written, with everything about it.
type KVPair struct {
	Key        string
	Value      []byte
	Expiration int64           // seconds since 1970, a minute ahead at least; 0 is never
	Metadata   json.RawMessage // nil is none
}

// KVKeys lists the keys of a namespace that begin with prefix, without those that have expired. It gives up with ErrPaging
// beyond a million.
func (c *Client) KVKeys(ctx context.Context, namespaceID, prefix string) ([]KVKey, error) {
	query := url.Values{"limit": {"1000"}}
	if prefix != "" {
		query.Set("prefix", prefix)
	}
	r := request{op: "KVKeys", args: []string{namespaceID}, query: query}
	return collect(ctx, r.op, page{}, func(ctx context.Context, p page) ([]KVKey, sdk.ResultInfo, error) {
		// Expiration is documented as a number, which need not be written as an integer.
		var items []struct {
			Name       string
			Expiration float64
			Metadata   json.RawMessage
		}
		paged := r
		paged.query = p.query(r.query)
		info, err := c.rawPage(ctx, paged, &items)
		keys := make([]KVKey, len(items))
		for i, k := range items {
			if string(k.Metadata) == "null" {
				k.Metadata = nil
			}
			keys[i] = KVKey{k.Name, int64(k.Expiration), k.Metadata}
		}
		return keys, info, err
	})
}

// KVTexts reads up to MaxKVTexts values in one call. It leaves out the keys that are not there, and those whose value is
// not certainly text, which this endpoint is for: KVValue reads these.
func (c *Client) KVTexts(ctx context.Context, namespaceID string, keys []string) (map[string]string, error) {
	body := struct {
		Keys []string `json:"keys"`
		Type string   `json:"type"`
	}{keys, "text"}
	var result struct{ Values map[string]json.RawMessage }
	if err := c.raw(ctx, request{op: "KVTexts", args: []string{namespaceID}, body: body}, &result); err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for key, raw := range result.Values {
		var text *string
		// Bytes that are not UTF-8 come as U+FFFD, which also stands where it was written: neither can be told apart.
		if json.Unmarshal(raw, &text) == nil && text != nil && !strings.ContainsRune(*text, '\ufffd') {
			texts[key] = *text
		}
	}
	return texts, nil
}

// PutKVBulk writes up to MaxKVBulk keys, MaxKVBytes in all, in place of what they had. An error may leave some written:
// writing all of them again is fine.
func (c *Client) PutKVBulk(ctx context.Context, namespaceID string, pairs []KVPair) error {
	type wire struct {
		Key        string          `json:"key"`
		Value      []byte          `json:"value"` // which encoding/json writes as base64
		Base64     bool            `json:"base64"`
		Expiration int64           `json:"expiration,omitempty"`
		Metadata   json.RawMessage `json:"metadata,omitempty"`
	}
	body := make([]wire, len(pairs))
	for i, p := range pairs {
		if p.Value == nil {
			p.Value = []byte{}
		}
		body[i] = wire{p.Key, p.Value, true, p.Expiration, p.Metadata}
	}
	return c.bulk(ctx, request{op: "PutKVBulk", args: []string{namespaceID}, body: body})
}

// DeleteKVBulk deletes up to MaxKVBulk keys; those that are not there are fine.
func (c *Client) DeleteKVBulk(ctx context.Context, namespaceID string, keys []string) error {
	return c.bulk(ctx, request{op: "DeleteKVBulk", args: []string{namespaceID}, body: keys})
}

// bulk fails when any key did.
func (c *Client) bulk(ctx context.Context, r request) error {
	return c.raw(ctx, r, func(text []byte) error {
		var result struct {
			Failed []string `json:"unsuccessful_keys"`
		}
		if err := json.Unmarshal(text, &result); err != nil {
			return err
		}
		if n := len(result.Failed); n > 0 {
			return &Error{Message: fmt.Sprintf("%d keys were not written, the first is %q", n, result.Failed[0]), Outcome: Unknown, envelope: true}
		}
		return nil
	})
}
