package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
)

// Copy brings everything that a shop keeps into the stores of another account, which must be empty, and compares both
// sides afterwards: tables by counts and checksums, keys by expiration and metadata, objects by size and MD5. Nobody may
// write to the shop meanwhile: hold it, and take its hostnames away.
//
// It may be stopped anywhere and run again: what is there already, and equal, is not sent again. workDir is where things
// lie on their way; "" is the system's. What cannot be copied (objects that are encrypted, or larger than the API takes and
// not in the target yet) is Findings before anything is written.
func Copy(ctx context.Context, from, into Shop, workDir string, p Progress) (_ *Copied, err error) {
	if workDir != "" {
		if err := os.MkdirAll(workDir, 0o700); err != nil {
			return nil, fmt.Errorf("making room for the copy: %w", err)
		}
	}
	dir, err := os.MkdirTemp(workDir, "shopfleet-copy-")
	if err != nil {
		return nil, fmt.Errorf("making room for the copy: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, s := range []struct{ from, into, what string }{{from.Database.ID, into.Database.ID, "D1 database"}, {from.Namespace, into.Namespace, "KV namespace"}, {from.Bucket, into.Bucket, "R2 bucket"}} {
		if s.from != "" && s.into == "" {
			return nil, refuse("restore-no-store", fmt.Sprintf("shop %s has a %s, and the target has none", from.Slug, s.what), "make it with shopfleet onboard "+into.Slug)
		}
	}
	u := &unpacking{Shop: into, dir: dir, p: p}
	out := &Copied{}
	p.tell("looking at both sides", 0, 0)
	var keys []cloudflare.KVKey
	group, gctx := errgroup.WithContext(ctx)
	if from.Namespace != "" {
		group.Go(func() (err error) {
			keys, err = from.keys(gctx)
			return err
		})
	}
	if from.Bucket != "" {
		group.Go(func() error { return u.from(gctx, from) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if from.Database.ID != "" {
		if u.dump, err = from.exported(ctx, into, dir, p); err != nil {
			return nil, fmt.Errorf("reading the database of %s: %w", from.Slug, err)
		}
	}
	wanted := map[string]packedKey{}
	for _, k := range keys {
		wanted[k.Name] = packedKey{Key: k.Name, Metadata: k.Metadata, Expiration: k.Expiration}
	}
	delete(wanted, into.Identity.Key)
	values := func(each func(packedKey) error) error { return from.values(ctx, keys, each) }
	if from.Namespace != "" {
		if err := u.admitKeys(ctx, wanted, values); err != nil {
			return nil, err
		}
	}
	if err := u.admit(ctx); err != nil {
		return nil, err
	}
	if err := u.left(); err != nil {
		return nil, err
	}
	if out.Tables, err = u.database(ctx); err != nil {
		return nil, err
	}
	if from.Namespace != "" {
		p.tell("copying keys", 0, int64(len(keys)))
		if out.Keys, _, err = into.unpackKeys(ctx, values); err != nil {
			return nil, err
		}
		if err := into.compareKeys(ctx, wanted, p); err != nil {
			return nil, err
		}
	}
	if from.Bucket != "" {
		if out.Known, err = u.putObjects(ctx); err != nil {
			return nil, err
		}
		out.Objects, out.Bytes = u.count()
	}
	out.Notes = u.notes()
	return out, nil
}

// from takes the objects of another shop's bucket.
func (u *unpacking) from(ctx context.Context, from Shop) error {
	list, err := from.objects(ctx)
	if err != nil {
		return err
	}
	if err := unreadable(list, from.Bucket); err != nil {
		return err
	}
	for _, o := range list {
		if o.Key == u.Identity.Key && o.Key != "" {
			continue
		}
		packed := packedObject{Key: o.Key, Size: o.Size, ETag: o.ETag, StorageClass: o.StorageClass, Modified: o.Modified, HTTP: o.HTTP, Custom: custom(o)}
		u.objects = append(u.objects, source{packed, func(ctx context.Context) (*spooled, error) {
			got, etag, err := from.download(ctx, u.dir, o.Key)
			if err == nil && (isMD5(etag) && etag != got.md5 || got.size != o.Size) {
				err = errors.Join(fmt.Errorf("%d bytes of MD5 %s came, and R2 says %d and %s: it was changed meanwhile", got.size, got.md5, o.Size, etag), got.drop())
			}
			return got, err
		}})
	}
	return nil
}

// exported is the shop's database as parts for another one.
func (s Shop) exported(ctx context.Context, into Shop, dir string, p Progress) (_ *Dumped, err error) {
	sql, file := filepath.Join(dir, "d1.sql"), filepath.Join(dir, "d1.sqlite")
	if _, err := (&Export{CF: s.CF, Database: s.Database, Progress: p, TempDir: dir}).Run(ctx, sql); err != nil {
		return nil, err
	}
	text, err := os.Open(sql)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, text.Close()) }()
	db, err := d1.Open(file)
	if err != nil {
		return nil, err
	}
	_, err = db.Import(ctx, text)
	if err := errors.Join(err, db.Close()); err != nil {
		return nil, fmt.Errorf("loading what was read: %w", err)
	}
	return into.dump(ctx, file, filepath.Join(dir, "parts"), p)
}
