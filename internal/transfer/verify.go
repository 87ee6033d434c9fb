package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/d1"
)

// Checked is what Verify found.
type Checked struct {
	Backup  string `json:"backup"`
	Shop    string `json:"shop"`
	Files   int    `json:"files"` // pieces that were read, contents of objects included
	Bytes   int64  `json:"bytes"`
	Rows    int64  `json:"rows"`
	Keys    int    `json:"keys"`
	Objects int    `json:"objects"`
}

// Verify reads a whole backup: every piece is held against its checksum, the database is loaded and its tables against
// theirs. The error is Findings when the backup is damaged.
func Verify(ctx context.Context, store Store, m *Manifest, tempDir string, p Progress) (_ *Checked, err error) {
	dir, err := os.MkdirTemp(tempDir, "shopfleet-verify-")
	if err != nil {
		return nil, fmt.Errorf("making room: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	out := &Checked{Backup: m.Stamp(), Shop: m.Shop}
	count := func(f File) {
		for _, piece := range f.Pieces {
			out.Files++
			out.Bytes += piece.Bytes
		}
	}
	if m.D1 != nil {
		p.tell("loading the database", 0, 0)
		count(m.D1.File)
		if _, err := unpackDatabase(ctx, store, m, filepath.Join(dir, "d1.sqlite"), dir); err != nil {
			return nil, err
		}
		for _, t := range m.D1.Tables {
			out.Rows += t.Rows
		}
	}
	if m.KV != nil {
		p.tell("reading keys", 0, 0)
		count(m.KV.File)
		if out.Keys, err = keyLines(ctx, store, m, dir, func(packedKey) error { return nil }); err != nil {
			return nil, err
		}
	}
	if m.R2 == nil {
		return out, nil
	}
	count(m.R2.File)
	list, err := objectList(ctx, store, m, dir)
	if err != nil {
		return nil, err
	}
	out.Objects = len(list)
	tell := &counter{p: p, doing: "reading objects", total: m.R2.Bytes}
	once := map[string]bool{}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(manyAtOnce)
	for _, o := range list {
		if once[o.SHA256] {
			tell.add(o.Size)
			continue
		}
		once[o.SHA256] = true
		out.Files += max(o.Pieces, 1)
		out.Bytes += o.Size
		group.Go(func() error {
			got, err := packedContent(gctx, Shop{}, store, m.Shop, o, dir)
			if err != nil {
				return err
			}
			tell.add(o.Size)
			return got.drop()
		})
	}
	return out, group.Wait()
}

// keyLines hands over the keys of a backup and counts them.
func keyLines(ctx context.Context, store Store, m *Manifest, dir string, each func(packedKey) error) (n int, err error) {
	file, err := fetched(ctx, store, m.KV.File, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	var failed error
	err = readLines(file, func(k packedKey) error {
		n++
		failed = each(k)
		return failed
	})
	switch {
	case failed != nil:
		return n, failed
	case err == nil && n != m.KV.Keys:
		err = fmt.Errorf("%d keys, and the manifest says %d", n, m.KV.Keys)
	}
	if err != nil {
		return n, damaged(m.folder()+"kv.jsonl.gz", err.Error())
	}
	return n, nil
}

// packedContent reads the content of an object out of a backup, and holds it against its checksum.
func packedContent(ctx context.Context, s Shop, store Store, slug string, o packedObject, dir string) (*spooled, error) {
	keys := o.content(slug)
	got, err := spool(ctx, s, dir, func() (io.ReadCloser, error) {
		all, err := openAll(ctx, store, keys)
		if err != nil {
			return nil, err
		}
		return struct { // more is wrong already, and may be without end
			io.Reader
			io.Closer
		}{io.LimitReader(all, o.Size+1), all}, nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, damaged(keys[0], fmt.Sprintf("the content of %q is not there", o.Key))
	}
	if err != nil {
		return nil, err
	}
	if got.sha256 != o.SHA256 || got.size != o.Size {
		return nil, errors.Join(damaged(keys[0], fmt.Sprintf("it has %d bytes and SHA-256 %s, and is to be %q: %d and %s", got.size, got.sha256, o.Key, o.Size, o.SHA256)), got.drop())
	}
	return got, nil
}

// openAll reads keys one after the other, as one.
func openAll(ctx context.Context, store Store, keys []string) (io.ReadCloser, error) {
	first, err := store.Get(ctx, keys[0])
	return &chain{ctx: ctx, store: store, now: first, rest: keys[1:]}, err
}

type chain struct {
	ctx   context.Context
	store Store
	now   io.ReadCloser
	rest  []string
}

func (c *chain) Read(p []byte) (int, error) {
	for {
		if c.now == nil {
			return 0, fs.ErrClosed
		}
		n, err := c.now.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return n, err
		}
		if len(c.rest) == 0 {
			return 0, io.EOF
		}
		err = c.now.Close()
		c.now = nil
		if err == nil {
			c.now, err = c.store.Get(c.ctx, c.rest[0])
		}
		if err != nil {
			c.now = nil
			return 0, err
		}
		c.rest = c.rest[1:]
	}
}

func (c *chain) Close() error {
	if c.now == nil {
		return nil
	}
	return c.now.Close()
}

// unpackDatabase loads the database of a backup into an SQLite file and holds it against the sums of the manifest. It is
// nil when the backup has none.
func unpackDatabase(ctx context.Context, store Store, m *Manifest, at, dir string) (_ []d1.TableSum, err error) {
	text, err := fetched(ctx, store, m.D1.File, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, text.Close(), os.Remove(text.Name())) }()
	db, err := d1.Open(at)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.Import(ctx, text); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, damaged(m.folder()+"d1.sql.gz", "it cannot be loaded: "+err.Error())
	}
	queries, err := db.SumQueries(ctx)
	if err != nil {
		return nil, err
	}
	sums, err := db.Sums(ctx, queries)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(sums, m.D1.Tables) {
		return nil, damaged(m.folder()+"d1.sql.gz", "its tables have other rows than the manifest says")
	}
	return sums, nil
}

// Prune deletes all but the newest keep backups of a shop, and the contents of objects that none of those kept names. A
// shop that has no more than that is left alone. It returns the times of those that were deleted. A backup from after now
// was made by a clock that was wrong then or is wrong now: which ones are the newest nobody knows, and nothing is deleted.
func Prune(ctx context.Context, store Store, slug string, keep int, now time.Time, tempDir string) (gone []string, err error) {
	if keep < 1 {
		return nil, fmt.Errorf("%w: one backup at least is kept", errKeep)
	}
	list, err := Backups(ctx, store, slug)
	if err != nil || len(list) <= keep {
		return nil, err
	}
	if newest := list[len(list)-1].At; newest.After(now) {
		return nil, fmt.Errorf("there is a backup of %s, after now: look at the clock, or delete its folder", newest.Format(stampForm))
	}
	dir, err := os.MkdirTemp(tempDir, "shopfleet-prune-")
	if err != nil {
		return nil, fmt.Errorf("making room: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// What is kept is read first: when it cannot be read nothing may be deleted.
	needed := map[string]bool{}
	for _, t := range list[len(list)-keep:] {
		m, err := readManifest(ctx, store, t.key)
		if err != nil {
			return nil, err
		}
		if m.R2 == nil {
			continue
		}
		objects, err := objectList(ctx, store, m, dir)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			for _, key := range o.content(slug) {
				needed[key] = true
			}
		}
	}
	for _, t := range list[:len(list)-keep] {
		folder := strings.TrimSuffix(t.key, manifestName)
		keys, err := store.List(ctx, folder)
		if err != nil {
			return gone, err
		}
		// The manifest first: a backup that is half gone must not look like one.
		if err := store.Delete(ctx, t.key); err != nil {
			return gone, err
		}
		for _, key := range keys {
			if err := store.Delete(ctx, key); err != nil {
				return gone, err
			}
		}
		gone = append(gone, t.At.Format(stampForm))
	}
	keys, err := store.List(ctx, objectKey(slug, ""))
	if err != nil {
		return gone, err
	}
	left, err := leftovers(ctx, store, slug, list[len(list)-keep].At)
	if err != nil {
		return gone, err
	}
	for _, key := range append(keys, left...) {
		if !needed[key] {
			if err := store.Delete(ctx, key); err != nil {
				return gone, err
			}
		}
	}
	return gone, nil
}

// leftovers are what backups left behind that were cut off before a time.
func leftovers(ctx context.Context, store Store, slug string, before time.Time) (left []string, err error) {
	keys, err := store.List(ctx, "shops/"+slug+"/")
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if parts := strings.Split(key, "/"); len(parts) == 4 && parts[2] < before.Format(stampForm) {
			left = append(left, key)
		}
	}
	return left, nil
}

var errKeep = errors.New("nothing would be left")
