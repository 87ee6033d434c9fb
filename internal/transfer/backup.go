package transfer

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
)

// packedObject is a line of r2.jsonl.gz.
type packedObject struct {
	Key    string `json:"key"`
	Size   int64  `json:"size"`
	ETag   string `json:"etag"`
	SHA256 string `json:"sha256"`
	// Pieces is how many pieces the content is kept in; 0 is one.
	Pieces       int                   `json:"pieces,omitempty"`
	StorageClass string                `json:"storage_class,omitempty"`
	Modified     time.Time             `json:"last_modified,omitzero"`
	HTTP         cloudflare.ObjectHTTP `json:"http_metadata"`
	Custom       map[string]string     `json:"custom_metadata,omitempty"`
}

// content are the keys that the content lies under.
func (o packedObject) content(slug string) []string {
	n := max(o.Pieces, 1)
	keys := make([]string, n)
	for i := range keys {
		keys[i] = pieceKey(objectKey(slug, o.SHA256), i, n)
	}
	return keys
}

// Backup packs everything that a shop keeps into a store. m says what it is a backup of: its Shop, At, Commit, Account and
// Tool are kept; the rest is filled in. The shop is only read, the database first: what its rows name is there, unless
// somebody deletes it meanwhile. The three are not of one instant; hold the shop when that matters.
//
// Objects whose key, size and ETag the shop's newest backup in this store has are not read again. The manifest comes last:
// a backup that was cut off is none, and what it left is used by the next one.
func Backup(ctx context.Context, from Shop, store Store, m Manifest, p Progress) (_ *Manifest, err error) {
	m.Format, m.Shop, m.At = manifestFormat, from.Slug, m.At.UTC().Truncate(time.Second)
	m.D1, m.KV, m.R2 = nil, nil, nil
	taken, err := Backups(ctx, store, from.Slug)
	if err != nil {
		return nil, err
	}
	var before *Manifest
	if len(taken) > 0 {
		newest := taken[len(taken)-1]
		if newest.key == m.folder()+manifestName {
			return nil, fmt.Errorf("backing up %s: there is a backup of %s already", from.Slug, m.Stamp())
		}
		var findings Findings
		if before, err = readManifest(ctx, store, newest.key); errors.As(err, &findings) {
			before = nil // then everything is read again
		} else if err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp(from.TempDir, "shopfleet-backup-")
	if err != nil {
		return nil, fmt.Errorf("making room for the backup: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if from.Database.ID != "" {
		if m.D1, err = from.packDatabase(ctx, store, m.folder(), dir, p); err != nil {
			return nil, fmt.Errorf("backing up the database of %s: %w", from.Slug, err)
		}
	}
	if from.Namespace != "" {
		if m.KV, err = from.packKeys(ctx, store, m.folder(), dir, p); err != nil {
			return nil, fmt.Errorf("backing up the keys of %s: %w", from.Slug, err)
		}
	}
	if from.Bucket != "" {
		if m.R2, err = from.packObjects(ctx, store, m.folder(), dir, before, p); err != nil {
			return nil, fmt.Errorf("backing up the objects of %s: %w", from.Slug, err)
		}
	}
	if err := m.write(ctx, store); err != nil {
		return nil, err
	}
	return &m, nil
}

func (s Shop) packDatabase(ctx context.Context, store Store, folder, dir string, p Progress) (_ *PackedDatabase, err error) {
	sql := filepath.Join(dir, "d1.sql")
	done, err := (&Export{CF: s.CF, Database: s.Database, Progress: p, TempDir: dir}).Run(ctx, sql)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(sql)) }()
	out := &PackedDatabase{Name: s.Database.Name}
	for _, c := range done.Tables {
		out.Tables = append(out.Tables, d1.TableSum{Table: c.Table, Rows: c.Rows, Sum: c.Sum})
	}
	p.tell("storing the database", 0, 0)
	text, err := os.Open(sql)
	if err != nil {
		return nil, err
	}
	defer text.Close()
	packed, err := os.CreateTemp(dir, "d1-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, packed.Close(), os.Remove(packed.Name())) }()
	gz := gzip.NewWriter(packed)
	if _, err := io.Copy(gz, text); err != nil {
		return nil, err
	}
	size, err := finished(packed, gz)
	if err != nil {
		return nil, err
	}
	out.File, err = putPieces(ctx, store, folder+"d1.sql.gz", packed, size)
	return out, err
}

func (s Shop) packKeys(ctx context.Context, store Store, folder, dir string, p Progress) (_ *PackedKeys, err error) {
	keys, err := s.keys(ctx)
	if err != nil {
		return nil, err
	}
	list, err := newLines(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, list.drop()) }()
	err = s.values(ctx, keys, func(k packedKey) error {
		if list.n%1000 == 0 {
			p.tell("reading keys", int64(list.n), int64(len(keys)))
		}
		return list.add(k)
	})
	if err != nil {
		return nil, err
	}
	out := &PackedKeys{Namespace: s.Namespace, Keys: list.n}
	out.File, err = list.put(ctx, store, folder+"kv.jsonl.gz")
	return out, err
}

// objects lists a shop's objects without the one that says whose the bucket is.
func (s Shop) objects(ctx context.Context) ([]cloudflare.Object, error) {
	list, err := s.CF.R2Objects(ctx, s.Bucket, s.Jurisdiction, "")
	if err != nil {
		return nil, fmt.Errorf("listing the objects of bucket %s: %w", s.Bucket, err)
	}
	return slices.DeleteFunc(list, func(o cloudflare.Object) bool { return o.Key == s.Identity.Key }), nil
}

// unreadable are the objects that nobody can read without a key of their owner's.
func unreadable(list []cloudflare.Object, bucket string) error {
	var names []string
	for _, o := range list {
		if o.Encrypted {
			names = append(names, o.Key)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return refuse("object-encrypted", fmt.Sprintf("bucket %s holds objects that are encrypted with a key of their own, and cannot be read: %s", bucket, firstOf(names)),
		"have the program that knows the key write them without it, or copy them itself")
}

func (s Shop) packObjects(ctx context.Context, store Store, folder, dir string, before *Manifest, p Progress) (_ *PackedObjects, err error) {
	live, err := s.objects(ctx)
	if err != nil {
		return nil, err
	}
	if err := unreadable(live, s.Bucket); err != nil {
		return nil, err
	}
	known, err := s.known(ctx, store, before, dir)
	if err != nil {
		return nil, err
	}
	keys, err := store.List(ctx, objectKey(s.Slug, ""))
	if err != nil {
		return nil, err
	}
	there := &presence{keys: map[string]bool{}}
	for _, k := range keys {
		there.keys[k] = true
	}
	out := &PackedObjects{Bucket: s.Bucket}
	packed := make([]*packedObject, len(live))
	tell := &counter{p: p, doing: "reading objects"}
	for i, o := range live {
		if k, ok := known[o.Key]; ok && k.Size == o.Size && k.ETag == o.ETag && there.all(k.content(s.Slug)) {
			k.StorageClass, k.Modified, k.HTTP, k.Custom = o.StorageClass, o.Modified, o.HTTP, custom(o)
			packed[i] = &k
			out.Reused++
			continue
		}
		tell.total += o.Size
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(manyAtOnce)
	for i, o := range live {
		if packed[i] != nil {
			continue
		}
		group.Go(func() (err error) {
			if packed[i], err = s.packObject(gctx, store, dir, o, there); err == nil {
				tell.add(o.Size)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	list, err := newLines(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, list.drop()) }()
	for _, o := range packed {
		if o == nil {
			continue
		}
		out.Objects++
		out.Bytes += o.Size
		if err := list.add(o); err != nil {
			return nil, fmt.Errorf("writing the list of objects: %w", err)
		}
	}
	out.File, err = list.put(ctx, store, folder+"r2.jsonl.gz")
	return out, err
}

func custom(o cloudflare.Object) map[string]string {
	if len(o.Custom) == 0 {
		return nil
	}
	return o.Custom
}

// known are the objects of a backup by their keys. One that cannot be read is as good as none.
func (s Shop) known(ctx context.Context, store Store, m *Manifest, dir string) (map[string]packedObject, error) {
	out := map[string]packedObject{}
	if m == nil || m.R2 == nil {
		return out, nil
	}
	list, err := objectList(ctx, store, m, dir)
	var findings Findings
	if errors.As(err, &findings) {
		return out, nil
	}
	for _, o := range list {
		out[o.Key] = o
	}
	return out, err
}

// objectList reads the list of objects of a backup.
func objectList(ctx context.Context, store Store, m *Manifest, dir string) (list []packedObject, err error) {
	file, err := fetched(ctx, store, m.R2.File, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	seen := map[string]bool{}
	err = readLines(file, func(o packedObject) error {
		switch {
		case !isSHA256(o.SHA256), o.Size < 0, o.Pieces < 0, o.Pieces > 100_000:
			return fmt.Errorf("the object %q has no checksum, or no size", o.Key)
		case seen[o.Key]:
			return fmt.Errorf("the object %q is there twice", o.Key)
		}
		seen[o.Key] = true
		list = append(list, o)
		return nil
	})
	if err == nil && len(list) != m.R2.Objects {
		err = fmt.Errorf("%d objects, and the manifest says %d", len(list), m.R2.Objects)
	}
	if err != nil {
		return nil, damaged(m.folder()+"r2.jsonl.gz", err.Error())
	}
	return list, nil
}

// presence is which keys a store has.
type presence struct {
	mu   sync.Mutex
	keys map[string]bool
}

func (p *presence) all(keys []string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !slices.ContainsFunc(keys, func(k string) bool { return !p.keys[k] })
}

func (p *presence) note(keys []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range keys {
		p.keys[k] = true
	}
}

// packObject reads one object and stores its content, unless the store has the same. It is nil when the object is gone.
func (s Shop) packObject(ctx context.Context, store Store, dir string, o cloudflare.Object, there *presence) (_ *packedObject, err error) {
	got, etag, err := s.download(ctx, dir, o.Key)
	if errors.Is(err, cloudflare.ErrNotFound) {
		return nil, nil // deleted since it was listed
	}
	if err != nil {
		return nil, fmt.Errorf("reading the object %q: %w", o.Key, err)
	}
	defer func() { err = errors.Join(err, got.drop()) }()
	if etag == "" {
		etag = o.ETag
	}
	if isMD5(etag) && etag != got.md5 || etag == o.ETag && got.size != o.Size {
		return nil, fmt.Errorf("reading the object %q: %d bytes of MD5 %s came, and R2 says %d and %s", o.Key, got.size, got.md5, o.Size, etag)
	}
	out := &packedObject{Key: o.Key, Size: got.size, ETag: etag, SHA256: got.sha256, StorageClass: o.StorageClass, Modified: o.Modified, HTTP: o.HTTP, Custom: custom(o)}
	if n := len(cuts(store, got.size)); n > 1 {
		out.Pieces = n
	}
	keys := out.content(s.Slug)
	if there.all(keys) {
		return out, nil
	}
	if _, err := putPieces(ctx, store, objectKey(s.Slug, out.SHA256), got.file, got.size); err != nil {
		return nil, err
	}
	there.note(keys)
	return out, nil
}

// download reads an object of the shop into a file, and says which ETag it had then.
func (s Shop) download(ctx context.Context, dir, key string) (got *spooled, etag string, err error) {
	got, err = spool(ctx, s, dir, func() (io.ReadCloser, error) {
		object, err := s.CF.OpenR2Object(ctx, s.Bucket, s.Jurisdiction, key)
		if err != nil {
			return nil, err
		}
		etag = object.ETag
		return object, nil
	})
	return got, etag, err
}
