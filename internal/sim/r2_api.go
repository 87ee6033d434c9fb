package sim

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/d1"
)

// R2 over REST (wire.md §8). The jurisdiction of a bucket travels in a header.

const (
	jurisdictionHeader = "Cf-R2-Jurisdiction"
	storageClassHeader = "Cf-R2-Storage-Class"
	maxR2ObjectKey     = 1024      // bytes
	maxR2Upload        = 300 << 20 // bytes that the REST API takes at once
)

func r2Routes() []storageRoute {
	const all, one = "/accounts/{account}/r2/buckets", "/accounts/{account}/r2/buckets/{bucket}"
	return []storageRoute{
		{"GET " + all, (*storage).listBuckets},
		{"POST " + all, (*storage).postBucket},
		{"GET /accounts/{account}/r2/metrics", (*storage).bucketMetrics},
		{"GET " + one, onBucket(getBucket)},
		{"PATCH " + one, onBucket(patchBucket)},
		{"DELETE " + one, onBucket(deleteBucket)},
		{"GET " + one + "/objects", onBucket(listObjectsOf)},
		{"GET " + one + "/objects/{key...}", onBucket(getObject)},
		{"PUT " + one + "/objects/{key...}", onBucket(putObject)},
		{"DELETE " + one + "/objects/{key...}", onBucket(deleteObject)},
	}
}

// onBucket finds the bucket of the path first.
func onBucket(f func(*storageCall, *bucket) (any, error)) func(*storage, *storageCall) (any, error) {
	return func(s *storage, c *storageCall) (any, error) {
		b, err := s.findBucket(c.account, c.r.Header.Get(jurisdictionHeader), c.path("bucket"))
		if err != nil {
			return nil, err
		}
		return f(c, b)
	}
}

func (b *bucket) view() map[string]any {
	return map[string]any{
		"name": b.name, "creation_date": shortStamp(b.created), "location": b.location,
		"storage_class": b.class, "jurisdiction": b.jurisdiction,
	}
}

// listBuckets pages by name; wrangler looks at the first page only (wire.md §1, P5).
func (s *storage) listBuckets(c *storageCall) (any, error) {
	after, err := decodeCursor(c.query("cursor"))
	if err != nil {
		return nil, err
	}
	after = max(after, c.query("start_after"))
	list, err := s.findBuckets(c.account, c.r.Header.Get(jurisdictionHeader), "AND instr(name, ?) ORDER BY name", c.query("name_contains"))
	if err != nil {
		return nil, err
	}
	descending := c.query("direction") == "desc"
	if descending {
		slices.Reverse(list)
	}
	perPage := positive(c.query("per_page"), 20, 1000)
	buckets, cursor := []map[string]any{}, ""
	for _, b := range list {
		if after != "" && (b.name == after || (b.name < after) != descending) {
			continue
		}
		if len(buckets) == perPage {
			cursor = encodeCursor(buckets[perPage-1]["name"].(string))
			break
		}
		buckets = append(buckets, b.view())
	}
	return page{map[string]any{"buckets": buckets}, map[string]any{"cursor": cursor, "per_page": perPage}}, nil
}

var (
	r2Locations      = []string{"apac", "eeur", "enam", "weur", "wnam", "oc"}
	r2StorageClasses = []string{"Standard", "InfrequentAccess"}
	r2Jurisdictions  = []string{"", "default", "eu", "fedramp"}
)

func (s *storage) postBucket(c *storageCall) (any, error) {
	var in struct {
		Name         string `json:"name"`
		LocationHint string `json:"locationHint"`
		StorageClass string `json:"storageClass"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	jurisdiction := c.r.Header.Get(jurisdictionHeader)
	switch {
	case !slices.Contains(r2Jurisdictions, jurisdiction):
		return nil, refuse(http.StatusBadRequest, 10001, "The jurisdiction %q is not valid.", jurisdiction)
	case in.LocationHint != "" && !slices.Contains(r2Locations, strings.ToLower(in.LocationHint)):
		return nil, refuse(http.StatusBadRequest, 10001, "The location hint %q is not valid.", in.LocationHint)
	case in.StorageClass != "" && !slices.Contains(r2StorageClasses, in.StorageClass):
		return nil, refuse(http.StatusBadRequest, 10001, "The storage class %q is not valid.", in.StorageClass)
	}
	b, err := s.createBucket(c.account, bucketOptions{
		Name: in.Name, Location: in.LocationHint, Jurisdiction: jurisdiction, StorageClass: in.StorageClass,
	})
	if err != nil {
		return nil, err
	}
	return b.view(), nil
}

func getBucket(_ *storageCall, b *bucket) (any, error) { return b.view(), nil }

// patchBucket changes the class that new objects get.
func patchBucket(c *storageCall, b *bucket) (any, error) {
	class := c.r.Header.Get(storageClassHeader)
	if !slices.Contains(r2StorageClasses, class) {
		return nil, refuse(http.StatusBadRequest, 10001, "The storage class %q is not valid.", class)
	}
	b.class = class
	err := b.s.exec(c.ctx, d1.Query{SQL: "UPDATE buckets SET class = ? WHERE id = ?", Params: []any{class, b.id}})
	return b.view(), err
}

func deleteBucket(c *storageCall, b *bucket) (any, error) { return map[string]any{}, b.drop(c.ctx) }

func (o object) view() map[string]any {
	custom := o.Custom
	if custom == nil {
		custom = map[string]string{}
	}
	return map[string]any{
		"key": o.Key, "etag": o.ETag, "size": o.Size, "last_modified": shortStamp(o.Uploaded),
		"http_metadata": o.HTTP, "custom_metadata": custom, "storage_class": o.StorageClass, "ssec": false,
	}
}

func listObjectsOf(c *storageCall, b *bucket) (any, error) {
	perPage := positive(c.query("per_page"), maxR2List, maxR2List)
	found, err := b.List(c.ctx, listObjects{
		Prefix: c.query("prefix"), Delimiter: c.query("delimiter"), Cursor: c.query("cursor"), StartAfter: c.query("start_after"), Limit: perPage,
	})
	if err != nil {
		return nil, err
	}
	views := make([]map[string]any, len(found.Objects))
	for i, o := range found.Objects {
		views[i] = o.view()
	}
	return page{views, map[string]any{
		"cursor": found.Cursor, "is_truncated": found.Cursor != "", "per_page": perPage, "count": len(views),
		"delimited": append([]string{}, found.Prefixes...),
	}}, nil
}

func errNoObject() error {
	return refuse(http.StatusNotFound, 10007, "The specified key does not exist.")
}

func getObject(c *storageCall, b *bucket) (any, error) {
	o, body, ok, err := b.Get(c.ctx, c.path("key"), 0, -1)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errNoObject()
	}
	v := verbatim{ContentType: o.HTTP.ContentType, Body: body, Header: map[string]string{
		"ETag": strconv.Quote(o.ETag), "Last-Modified": o.Uploaded.Format(http.TimeFormat),
	}}
	if v.ContentType == "" {
		v.ContentType = "application/octet-stream"
	}
	for name, value := range map[string]string{
		"Content-Language": o.HTTP.ContentLanguage, "Content-Disposition": o.HTTP.ContentDisposition,
		"Content-Encoding": o.HTTP.ContentEncoding, "Cache-Control": o.HTTP.CacheControl,
	} {
		if value != "" {
			v.Header[name] = value
		}
	}
	if !o.HTTP.CacheExpiry.IsZero() {
		v.Header["Expires"] = o.HTTP.CacheExpiry.UTC().Format(http.TimeFormat)
	}
	return v, nil
}

func putObject(c *storageCall, b *bucket) (any, error) {
	key, h := c.path("key"), c.r.Header
	switch {
	case key == "" || len(key) > maxR2ObjectKey:
		return nil, refuse(http.StatusBadRequest, 10020, "The specified object name is not valid.")
	case len(c.body) > maxR2Upload:
		return nil, refuse(http.StatusRequestEntityTooLarge, 100100, "Your proposed upload exceeds the maximum allowed object size.")
	}
	class := h.Get(storageClassHeader)
	if class != "" && !slices.Contains(r2StorageClasses, class) {
		return nil, refuse(http.StatusBadRequest, 10001, "The storage class %q is not valid.", class)
	}
	o := object{Key: key, StorageClass: class, HTTP: httpMetadata{
		ContentType: h.Get("Content-Type"), ContentLanguage: h.Get("Content-Language"), ContentDisposition: h.Get("Content-Disposition"),
		ContentEncoding: h.Get("Content-Encoding"), CacheControl: h.Get("Cache-Control"),
	}}
	if expires := h.Get("Expires"); expires != "" {
		at, err := http.ParseTime(expires)
		if err != nil {
			if at, err = time.Parse(time.RFC3339, expires); err != nil {
				return nil, refuse(http.StatusBadRequest, 10001, "The Expires header %q is not a date.", expires)
			}
		}
		o.HTTP.CacheExpiry = at
	}
	o, err := b.Put(c.ctx, o, c.body)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"key": o.Key, "etag": o.ETag, "size": strconv.FormatInt(o.Size, 10), "version": o.Version,
		"uploaded": shortStamp(o.Uploaded), "storage_class": o.StorageClass,
	}, nil
}

func deleteObject(c *storageCall, b *bucket) (any, error) {
	return map[string]any{"key": c.path("key")}, b.Delete(c.ctx, c.path("key"))
}

// bucketMetrics adds up what an account keeps in R2, by storage class.
func (s *storage) bucketMetrics(c *storageCall) (any, error) {
	rows, err := s.rows(c.ctx, `SELECT o.class, count(*), coalesce(sum(o.size), 0) FROM objects o JOIN buckets b ON b.id = o.bucket
		WHERE b.account = ? GROUP BY o.class`, c.account)
	if err != nil {
		return nil, err
	}
	metrics := func(class string) map[string]any {
		objects, size := int64(0), int64(0)
		for _, r := range rows {
			if r[0] == class {
				objects, size = r[1].(int64), r[2].(int64)
			}
		}
		return map[string]any{
			"published": map[string]any{"metadataSize": 0, "objects": objects, "payloadSize": size},
			"uploaded":  map[string]any{"metadataSize": 0, "objects": 0, "payloadSize": 0},
		}
	}
	return map[string]any{"standard": metrics("Standard"), "infrequentAccess": metrics("InfrequentAccess")}, nil
}
