package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
)

// packedKey is a line of kv.jsonl.gz.
type packedKey struct {
	Key        string          `json:"key"`
	Value      []byte          `json:"value"` // in base64, as encoding/json writes it
	Metadata   json.RawMessage `json:"metadata,omitempty"`
	Expiration int64           `json:"expiration,omitempty"` // seconds since 1970
}

// keys lists a shop's keys without the one that says whose the namespace is.
func (s Shop) keys(ctx context.Context) ([]cloudflare.KVKey, error) {
	list, err := s.CF.KVKeys(ctx, s.Namespace, "")
	if err != nil {
		return nil, fmt.Errorf("listing the keys of KV namespace %s: %w", s.Namespace, err)
	}
	return slices.DeleteFunc(list, func(k cloudflare.KVKey) bool { return k.Name == s.Identity.Key }), nil
}

// values reads keys and hands them over in their order, some hundreds at a time. A key that is gone by then is left out.
func (s Shop) values(ctx context.Context, keys []cloudflare.KVKey, each func(packedKey) error) error {
	for round := range slices.Chunk(keys, cloudflare.MaxKVTexts*manyAtOnce) {
		parts := slices.Collect(slices.Chunk(round, cloudflare.MaxKVTexts))
		read := make([][]packedKey, len(parts))
		group, gctx := errgroup.WithContext(ctx)
		for i, part := range parts {
			group.Go(func() (err error) {
				read[i], err = s.hundred(gctx, part)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return fmt.Errorf("reading KV namespace %s: %w", s.Namespace, err)
		}
		for _, part := range read {
			for _, k := range part {
				if err := each(k); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// hundred reads up to a hundred keys: text in one call, and what is not text, or too much for one, by itself.
func (s Shop) hundred(ctx context.Context, keys []cloudflare.KVKey) ([]packedKey, error) {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.Name
	}
	texts, err := s.CF.KVTexts(ctx, s.Namespace, names)
	if ctx.Err() != nil || errors.Is(err, cloudflare.ErrUnauthorized) || errors.Is(err, cloudflare.ErrRateLimited) {
		return nil, errors.Join(err, ctx.Err())
	}
	var out []packedKey
	for _, k := range keys {
		value, ok := texts[k.Name]
		if !ok {
			value, err = s.CF.KVValue(ctx, s.Namespace, k.Name)
			if errors.Is(err, cloudflare.ErrNotFound) {
				continue // expired or deleted since it was listed
			}
			if err != nil {
				return nil, err
			}
		}
		out = append(out, packedKey{k.Name, []byte(value), k.Metadata, k.Expiration})
	}
	return out, nil
}

// unpackKeys writes keys, as many in a call as it takes, and says how many, and how many were left out because their time
// has come or comes within the minute that KV asks for.
func (s Shop) unpackKeys(ctx context.Context, source func(each func(packedKey) error) error) (written, expired int, err error) {
	var batch []cloudflare.KVPair
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if err := s.CF.PutKVBulk(ctx, s.Namespace, batch); err != nil {
			return fmt.Errorf("writing to KV namespace %s: %w", s.Namespace, err)
		}
		written += len(batch)
		batch, size = nil, 0
		return nil
	}
	err = source(func(k packedKey) error {
		if k.Key == s.Identity.Key && k.Key != "" {
			return nil // never another's identity
		}
		if s.passed(k.Expiration) {
			expired++
			return nil
		}
		bytes := len(k.Value)*4/3 + len(k.Key)*6 + len(k.Metadata) + 100
		if len(batch) == cloudflare.MaxKVBulk || len(batch) > 0 && size+bytes > cloudflare.MaxKVBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		batch = append(batch, cloudflare.KVPair{Key: k.Key, Value: k.Value, Expiration: k.Expiration, Metadata: k.Metadata})
		size += bytes
		return nil
	})
	return written, expired, errors.Join(err, flushUnless(err, flush))
}

func flushUnless(err error, flush func() error) error {
	if err != nil {
		return nil
	}
	return flush()
}

// passed says whether a key may not be written any more.
func (s Shop) passed(expiration int64) bool {
	return expiration > 0 && s.Now != nil && expiration < s.Now().Unix()+minKVLife
}

// minKVLife is how many seconds ahead an expiration must be; KV asks for 60.
const minKVLife = 65
