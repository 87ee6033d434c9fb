package transfer

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/cloudflare"
)

// Store is where backups are kept: a Folder, or a Bucket of another account. Keys are paths with slashes. All methods may
// be called by many goroutines.
type Store interface {
	// Put writes what r has under a key, size bytes of it, whole or not at all. An r that is an io.ReaderAt is read again
	// when that is needed; any other is held in memory by a Bucket.
	Put(ctx context.Context, key string, r io.Reader, size int64) error
	// Get reads a key; fs.ErrNotExist when it is not there.
	Get(ctx context.Context, key string) (io.ReadCloser, error)
	// List are the keys that begin with prefix, sorted.
	List(ctx context.Context, prefix string) ([]string, error)
	// Delete deletes a key; that it is not there is fine.
	Delete(ctx context.Context, key string) error
}

// Folder is a Store on a disk. Only its owner may read what it writes: it is the data of shops.
type Folder struct{ Dir string }

func (f Folder) path(key string) (string, error) {
	if !fs.ValidPath(key) || key == "." || !filepath.IsLocal(filepath.FromSlash(key)) {
		return "", fmt.Errorf("%q is no place in a folder", key)
	}
	return filepath.Join(f.Dir, filepath.FromSlash(key)), nil
}

// partial is what names of files that are being written begin with.
const partial = ".shopfleet-partial-"

// Put writes a file beside its place and moves it there.
func (f Folder) Put(ctx context.Context, key string, r io.Reader, size int64) (err error) {
	name, err := f.path(key)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing %s: %w", key, err)
		}
	}()
	if err := errors.Join(ctx.Err(), os.MkdirAll(filepath.Dir(name), 0o700)); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(name), partial) // 0600
	if err != nil {
		return err
	}
	n, err := io.Copy(file, r)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes came of %d", n, size)
	}
	if err == nil {
		err = file.Sync() // a name must not survive a power cut that its content does not
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(file.Name()))
	}
	return err
}

// Get opens a file.
func (f Folder) Get(_ context.Context, key string) (io.ReadCloser, error) {
	name, err := f.path(key)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	return file, nil
}

// List walks the folder.
func (f Folder) List(ctx context.Context, prefix string) (keys []string, err error) {
	at := f.Dir
	if i := strings.LastIndexByte(prefix, '/'); i > 0 {
		if at, err = f.path(prefix[:i]); err != nil {
			return nil, err
		}
	}
	err = filepath.WalkDir(at, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		relative, err := filepath.Rel(f.Dir, path)
		key := filepath.ToSlash(relative)
		if err == nil && entry.Type().IsRegular() && strings.HasPrefix(key, prefix) && !strings.HasPrefix(entry.Name(), partial) {
			keys = append(keys, key)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", prefix, err)
	}
	slices.Sort(keys) // a walk is in the order of folders
	return keys, nil
}

// Delete deletes a file, and its folder with the last one.
func (f Folder) Delete(_ context.Context, key string) error {
	name, err := f.path(key)
	if err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting %s: %w", key, err)
	}
	_ = os.Remove(filepath.Dir(name)) // refused while there is something in it
	return nil
}

// Bucket is a Store in an R2 bucket.
type Bucket struct {
	CF           *cloudflare.Client
	Name         string
	Jurisdiction string // "" is the default one
	Prefix       string // the folder that all keys are in, such as kvick; "" is none
	// MaxPut is how many bytes one object has at most; what is longer is cut. 0 means 256 MiB, a little less than the API takes.
	MaxPut int64
}

// at is where a key is in the bucket.
func (b Bucket) at(key string) string {
	if b.Prefix == "" {
		return key
	}
	return strings.TrimSuffix(b.Prefix, "/") + "/" + key
}

// limited is a Store that takes only so much at once.
type limited interface{ maxPut() int64 }

func (b Bucket) maxPut() int64 {
	if b.MaxPut == 0 {
		return 256 << 20
	}
	return b.MaxPut
}

// cuts are the lengths of the pieces that size bytes are kept in; one at least.
func cuts(store Store, size int64) []int64 {
	l, ok := store.(limited)
	if !ok || size <= l.maxPut() {
		return []int64{size}
	}
	var list []int64
	for ; size > 0; size -= l.maxPut() {
		list = append(list, min(size, l.maxPut()))
	}
	return list
}

// pieceKey is the key of piece i of n.
func pieceKey(key string, i, n int) string {
	if n == 1 {
		return key
	}
	return fmt.Sprintf("%s.%03d", key, i)
}

// putPieces writes size bytes of content under key, cut as the store needs it.
func putPieces(ctx context.Context, store Store, key string, content io.ReaderAt, size int64) (File, error) {
	var f File
	lengths, at := cuts(store, size), int64(0)
	for i, n := range lengths {
		p := Piece{Key: pieceKey(key, i, len(lengths)), Bytes: n}
		sum := sha256.New()
		if _, err := io.Copy(sum, io.NewSectionReader(content, at, n)); err != nil {
			return f, fmt.Errorf("reading what becomes %s: %w", p.Key, err)
		}
		p.SHA256 = hex.EncodeToString(sum.Sum(nil))
		if err := store.Put(ctx, p.Key, io.NewSectionReader(content, at, n), n); err != nil {
			return f, err
		}
		f.Pieces = append(f.Pieces, p)
		at += n
	}
	return f, nil
}

// getPieces reads a file into w and holds every piece against its checksum.
func getPieces(ctx context.Context, store Store, f File, w io.Writer) error {
	for _, p := range f.Pieces {
		sum := sha256.New()
		r, err := store.Get(ctx, p.Key)
		if errors.Is(err, fs.ErrNotExist) {
			return damaged(p.Key, "it is not there")
		}
		if err != nil {
			return err
		}
		n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(r, p.Bytes+1)) // more is wrong already, and may be without end
		if err := errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("reading %s: %w", p.Key, err)
		}
		if got := hex.EncodeToString(sum.Sum(nil)); n != p.Bytes || got != p.SHA256 {
			return damaged(p.Key, fmt.Sprintf("it has %d bytes and SHA-256 %s; the manifest says %d and %s", n, got, p.Bytes, p.SHA256))
		}
	}
	return nil
}

// Put uploads, and compares the checksum that R2 answers.
func (b Bucket) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	at, ok := r.(io.ReaderAt)
	if !ok {
		content, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("writing %s: %w", key, err)
		}
		if int64(len(content)) != size {
			return fmt.Errorf("writing %s: %d bytes came of %d", key, len(content), size)
		}
		at = bytes.NewReader(content)
	}
	return putObject(ctx, b.CF, b.Name, b.Jurisdiction, cloudflare.ObjectUpload{Key: b.at(key), Size: size}, at)
}

// putObject writes an object, whose content is read once for its checksum before.
func putObject(ctx context.Context, cf *cloudflare.Client, bucket, jurisdiction string, up cloudflare.ObjectUpload, content io.ReaderAt) error {
	sum := md5.New()
	if n, err := io.Copy(sum, io.NewSectionReader(content, 0, up.Size+1)); err != nil || n != up.Size {
		return fmt.Errorf("writing %s: %d bytes came of %d: %w", up.Key, n, up.Size, orUnexpected(err))
	}
	up.Open = func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(content, 0, up.Size)), nil }
	etag, err := cf.UploadR2Object(ctx, bucket, jurisdiction, up)
	if err != nil {
		return fmt.Errorf("writing %s to bucket %s: %w", up.Key, bucket, err)
	}
	if want := hex.EncodeToString(sum.Sum(nil)); isMD5(etag) && etag != want {
		return fmt.Errorf("writing %s to bucket %s: it has the MD5 %s there, and %s here", up.Key, bucket, etag, want)
	}
	return nil
}

func orUnexpected(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Get opens an object.
func (b Bucket) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	object, err := b.CF.OpenR2Object(ctx, b.Name, b.Jurisdiction, b.at(key))
	if errors.Is(err, cloudflare.ErrNotFound) {
		return nil, fmt.Errorf("reading %s of bucket %s: %w: %w", key, b.Name, fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s of bucket %s: %w", key, b.Name, err)
	}
	return object, nil
}

// List lists objects.
func (b Bucket) List(ctx context.Context, prefix string) ([]string, error) {
	list, err := b.CF.R2Objects(ctx, b.Name, b.Jurisdiction, b.at(prefix))
	if err != nil {
		return nil, fmt.Errorf("listing %s of bucket %s: %w", prefix, b.Name, err)
	}
	keys := make([]string, len(list))
	for i, o := range list {
		keys[i] = strings.TrimPrefix(o.Key, b.at(""))
	}
	slices.Sort(keys)
	return keys, nil
}

// Delete deletes an object.
func (b Bucket) Delete(ctx context.Context, key string) error {
	if err := b.CF.DeleteR2Object(ctx, b.Name, b.Jurisdiction, b.at(key)); err != nil {
		return fmt.Errorf("deleting %s of bucket %s: %w", key, b.Name, err)
	}
	return nil
}
