package sim

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/d1"
)

// bucket is an R2 bucket. Its methods are safe for concurrent use; after it was deleted they find nothing.
type bucket struct {
	s                                            *storage
	id                                           int64
	account, jurisdiction, name, location, class string
	created                                      time.Time
}

// bucketOptions describe a bucket to create. Jurisdiction "" is default, Location "" is wnam, StorageClass "" is
// Standard.
type bucketOptions struct {
	Name, Location, Jurisdiction, StorageClass string
}

// object is what R2 knows about a stored object.
type object struct {
	Key     string
	Version string // new with each Put
	// ETag is the md5 of the content in hex, unless Put was told another one, as for an object uploaded in parts.
	ETag         string
	Size         int64
	Uploaded     time.Time
	HTTP         httpMetadata
	Custom       map[string]string
	StorageClass string // "" is that of the bucket
}

// httpMetadata are the headers that R2 gives back with an object; "" is absent.
type httpMetadata struct {
	ContentType        string    `json:"contentType,omitempty"`
	ContentLanguage    string    `json:"contentLanguage,omitempty"`
	ContentDisposition string    `json:"contentDisposition,omitempty"`
	ContentEncoding    string    `json:"contentEncoding,omitempty"`
	CacheControl       string    `json:"cacheControl,omitempty"`
	CacheExpiry        time.Time `json:"cacheExpiry,omitzero"`
}

// listObjects says what to list. Limit 0, or more than 1000, is 1000.
type listObjects struct {
	Prefix, Delimiter, Cursor, StartAfter string
	Limit                                 int
}

// objectPage is a part of a listing, in the order of the keys' bytes.
type objectPage struct {
	Objects  []object
	Prefixes []string // beginnings of keys, up to the delimiter, that stand for all objects with them
	Cursor   string   // "" when there is no more
}

const maxR2List = 1000

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`)

// createBucket makes a bucket. Names are unique in an account and jurisdiction.
func (s *storage) createBucket(account string, o bucketOptions) (*bucket, error) {
	if !bucketName.MatchString(o.Name) {
		return nil, refuse(http.StatusBadRequest, 10005, "The specified bucket name is not valid.")
	}
	b := &bucket{
		s: s, account: account, name: o.Name, jurisdiction: jurisdictionOr(o.Jurisdiction),
		location: strings.ToUpper(o.Location), class: o.StorageClass, created: s.now(),
	}
	if b.location == "" {
		b.location = "WNAM"
	}
	if b.class == "" {
		b.class = "Standard"
	}
	err := s.exec(context.Background(), d1.Query{
		SQL:    "INSERT INTO buckets(account, jurisdiction, name, created, location, class) VALUES(?, ?, ?, ?, ?, ?)",
		Params: []any{account, b.jurisdiction, b.name, millis(b.created), b.location, b.class},
	})
	if taken(err) {
		return nil, refuse(http.StatusConflict, 10004, "The bucket you tried to create already exists, and you own it.")
	}
	if err != nil {
		return nil, err
	}
	return s.findBucket(account, b.jurisdiction, b.name)
}

func jurisdictionOr(jurisdiction string) string {
	if jurisdiction == "" {
		return "default"
	}
	return jurisdiction
}

// findBucket finds a bucket by name; jurisdiction "" is default.
func (s *storage) findBucket(account, jurisdiction, name string) (*bucket, error) {
	list, err := s.findBuckets(account, jurisdiction, "AND name = ?", name)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, refuse(http.StatusNotFound, 10006, "The specified bucket does not exist.")
	}
	return list[0], nil
}

// findBuckets lists buckets of a jurisdiction; more is what follows in the statement.
func (s *storage) findBuckets(account, jurisdiction, more string, params ...any) ([]*bucket, error) {
	rows, err := s.rows(context.Background(),
		"SELECT id, name, created, location, class FROM buckets WHERE account = ? AND jurisdiction = ? "+more,
		append([]any{account, jurisdictionOr(jurisdiction)}, params...)...)
	if err != nil {
		return nil, err
	}
	list := make([]*bucket, len(rows))
	for i, r := range rows {
		list[i] = &bucket{
			s: s, account: account, jurisdiction: jurisdictionOr(jurisdiction), id: r[0].(int64), name: r[1].(string),
			created: time.UnixMilli(r[2].(int64)), location: r[3].(string), class: r[4].(string),
		}
	}
	return list, nil
}

// drop deletes the bucket, which must be empty.
func (b *bucket) drop(ctx context.Context) error {
	results, err := b.s.catalogue.Query(ctx,
		"DELETE FROM buckets WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM objects WHERE bucket = ?1)", b.id)
	if err != nil {
		return err
	}
	if results[0].Meta.Changes == 0 {
		return refuse(http.StatusConflict, 10008, "The bucket you tried to delete is not empty.")
	}
	return nil
}

func (b *bucket) owner(key string) string { return "r2/" + strconv.FormatInt(b.id, 10) + "/" + key }

func (b *bucket) count(action string, bytes int64) {
	b.s.uses.operated(b.account, "r2", b.name, action, b.s.now(), 1, bytes)
}

// Put stores an object and replaces the one before. Version, Size and Uploaded are filled in, ETag and StorageClass
// when they are empty.
func (b *bucket) Put(ctx context.Context, o object, body []byte) (object, error) {
	o, _, err := b.PutIf(ctx, o, body, func(*object) bool { return true })
	return o, err
}

// PutIf stores an object if holds says so of the one before (nil when there is none). No other change of the bucket
// comes between. It returns the one before, and false, if not.
func (b *bucket) PutIf(ctx context.Context, o object, body []byte, holds func(before *object) bool) (object, bool, error) {
	sum := md5.Sum(body)
	if o.ETag == "" {
		o.ETag = hex.EncodeToString(sum[:])
	}
	if o.StorageClass == "" {
		o.StorageClass = b.class
	}
	o.Version, o.Size, o.Uploaded = b.s.hexID(), int64(len(body)), b.s.now().UTC().Truncate(time.Millisecond)
	http, err := json.Marshal(o.HTTP)
	if err != nil {
		return object{}, false, err
	}
	custom, err := json.Marshal(o.Custom)
	if err != nil {
		return object{}, false, err
	}
	b.s.swapping.Lock()
	defer b.s.swapping.Unlock()
	before, ok, err := b.stat(ctx, o.Key)
	if err != nil {
		return object{}, false, err
	}
	var existing *object
	if ok {
		existing = &before
	}
	if !holds(existing) {
		return before, false, nil
	}
	queries := append(putChunks(b.owner(o.Key), body), d1.Query{
		SQL:    `INSERT OR REPLACE INTO objects SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM buckets WHERE id = ?1)`,
		Params: []any{b.id, o.Key, o.Version, o.ETag, o.Size, millis(o.Uploaded), o.StorageClass, string(http), string(custom)},
	})
	if err := b.s.exec(ctx, queries...); err != nil {
		return object{}, false, err
	}
	b.count("PutObject", o.Size)
	return o, true, nil
}

const objectColumns = "SELECT key, version, etag, size, uploaded, class, http, custom FROM objects "

func readObject(r []any) (object, error) {
	o := object{
		Key: r[0].(string), Version: r[1].(string), ETag: r[2].(string), Size: r[3].(int64),
		Uploaded: time.UnixMilli(r[4].(int64)).UTC(), StorageClass: r[5].(string),
	}
	if err := json.Unmarshal([]byte(r[6].(string)), &o.HTTP); err != nil {
		return o, err
	}
	return o, json.Unmarshal([]byte(r[7].(string)), &o.Custom)
}

func (b *bucket) stat(ctx context.Context, key string) (object, bool, error) {
	rows, err := b.s.rows(ctx, objectColumns+"WHERE bucket = ? AND key = ?", b.id, key)
	if err != nil || len(rows) == 0 {
		return object{}, false, err
	}
	o, err := readObject(rows[0])
	return o, err == nil, err
}

// Head describes an object; ok is false when there is none.
func (b *bucket) Head(ctx context.Context, key string) (o object, ok bool, err error) {
	o, ok, err = b.stat(ctx, key)
	if err == nil {
		b.count("HeadObject", 0)
	}
	return o, ok, err
}

// Get reads length bytes of an object from offset on; a negative length is up to the end, and what is beyond the end is
// left out. ok is false when there is no object.
func (b *bucket) Get(ctx context.Context, key string, offset, length int64) (o object, body []byte, ok bool, err error) {
	end := offset + length
	if length < 0 {
		end = 1 << 62
	}
	results, err := b.s.catalogue.Batch(ctx, []d1.Query{
		{SQL: objectColumns + "WHERE bucket = ? AND key = ?", Params: []any{b.id, key}},
		readChunks(b.owner(key), offset, end),
	})
	if err != nil {
		return object{}, nil, false, err
	}
	if len(results[0].Rows) == 0 {
		b.count("GetObject", 0)
		return object{}, nil, false, nil
	}
	if o, err = readObject(results[0].Rows[0]); err != nil {
		return object{}, nil, false, err
	}
	body = joinChunks(results[1], offset, end)
	b.count("GetObject", int64(len(body)))
	return o, body, true, nil
}

// List gives objects, and with a delimiter also prefixes, both of which count for the limit.
func (b *bucket) List(ctx context.Context, l listObjects) (objectPage, error) {
	limit := l.Limit
	if limit <= 0 || limit > maxR2List {
		limit = maxR2List
	}
	after, err := decodeCursor(l.Cursor)
	if err != nil {
		return objectPage{}, err
	}
	b.count("ListObjects", 0)
	var out objectPage
	// A prefix stands for all keys that begin with it: they all sort before the prefix with the last of all bytes behind.
	beyond := max(after, l.StartAfter)
	for {
		rows, err := b.s.rows(ctx, objectColumns+`WHERE bucket = ? AND key > ? AND key >= ? AND substr(key, 1, length(?3)) = ?3
			ORDER BY key LIMIT ?`, b.id, beyond, l.Prefix, limit+1)
		if err != nil {
			return objectPage{}, err
		}
		folded := false
		for _, r := range rows {
			key := r[0].(string)
			if len(out.Objects)+len(out.Prefixes) == limit {
				out.Cursor = encodeCursor(beyond)
				return out, nil
			}
			if head, _, ok := strings.Cut(key[len(l.Prefix):], l.Delimiter); ok && l.Delimiter != "" {
				prefix := l.Prefix + head + l.Delimiter
				out.Prefixes = append(out.Prefixes, prefix)
				beyond = prefix + "\xff" // no key has this byte, which is not UTF-8
				folded = true
				break
			}
			o, err := readObject(r)
			if err != nil {
				return objectPage{}, err
			}
			out.Objects = append(out.Objects, o)
			beyond = key
		}
		if !folded {
			return out, nil
		}
	}
}

// Delete removes objects, all of them or none; keys that do not exist do not matter.
func (b *bucket) Delete(ctx context.Context, keys ...string) error {
	var queries []d1.Query
	for _, key := range keys {
		queries = append(queries,
			d1.Query{SQL: "DELETE FROM objects WHERE bucket = ? AND key = ?", Params: []any{b.id, key}}, dropChunks(b.owner(key)))
	}
	if len(queries) == 0 {
		return nil
	}
	if err := b.s.exec(ctx, queries...); err != nil {
		return err
	}
	for range keys {
		b.count("DeleteObject", 0)
	}
	return nil
}
