package sim

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The protocol between workerd's R2 binding and R2 (r2-api.capnp in workerd, as JSON): the request is a header of a GET, or
// stands before the body of a PUT; the answer is metadata followed by the object's bytes, or an error in a header.

const (
	r2RequestHeader = "Cf-R2-Request"
	r2SizeHeader    = "Cf-R2-Metadata-Size" // how much of a body is JSON
	r2ErrorHeader   = "Cf-R2-Error"
)

// Limits of developers.cloudflare.com/r2/platform/limits.
const (
	longestR2Key      = 1024
	largestR2Metadata = 8192
	r2PageLimit       = 1000
	r2PageLimitExtra  = 100 // when metadata is included
)

// r2Request is what the binding asks for.
type r2Request struct {
	Method       string          `json:"method"`
	Object       string          `json:"object"`
	Objects      []string        `json:"objects"`
	Range        *r2Range        `json:"range"`
	RangeHeader  string          `json:"rangeHeader"`
	OnlyIf       *r2Conditions   `json:"onlyIf"`
	CustomFields []r2Pair        `json:"customFields"`
	HTTPFields   r2HTTPFields    `json:"httpFields"`
	StorageClass string          `json:"storageClass"`
	MD5          string          `json:"md5"` // base64; the others are hex
	SHA1         string          `json:"sha1"`
	SHA256       string          `json:"sha256"`
	SHA384       string          `json:"sha384"`
	SHA512       string          `json:"sha512"`
	Limit        int             `json:"limit"`
	Prefix       string          `json:"prefix"`
	Cursor       string          `json:"cursor"`
	Delimiter    string          `json:"delimiter"`
	StartAfter   string          `json:"startAfter"`
	Include      []int           `json:"include"` // 0 HTTP metadata, 1 custom metadata
	UploadID     string          `json:"uploadId"`
	PartNumber   int             `json:"partNumber"`
	Parts        []r2Part        `json:"parts"`
	SSEC         json.RawMessage `json:"ssec"`
}

type r2Pair struct {
	K string `json:"k"`
	V string `json:"v"`
}

type r2HTTPFields struct {
	ContentType        string  `json:"contentType,omitempty"`
	ContentLanguage    string  `json:"contentLanguage,omitempty"`
	ContentDisposition string  `json:"contentDisposition,omitempty"`
	ContentEncoding    string  `json:"contentEncoding,omitempty"`
	CacheControl       string  `json:"cacheControl,omitempty"`
	CacheExpiry        *r2Long `json:"cacheExpiry,omitempty"` // milliseconds since 1970
}

type r2Range struct {
	Offset *r2Long `json:"offset,omitempty"`
	Length *r2Long `json:"length,omitempty"`
	Suffix *r2Long `json:"suffix,omitempty"`
}

// r2Long is a 64-bit number, which Cap'n Proto's JSON writes as a string.
type r2Long int64

func (l r2Long) MarshalJSON() ([]byte, error) {
	return []byte(`"` + strconv.FormatInt(int64(l), 10) + `"`), nil
}

func (l *r2Long) UnmarshalJSON(data []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(data), `"`), 10, 64)
	*l = r2Long(n)
	return err
}

// r2Object is the metadata of an object as the binding reads it.
type r2Object struct {
	Name         string            `json:"name"`
	Version      string            `json:"version"`
	Size         r2Long            `json:"size"`
	ETag         string            `json:"etag"`
	Uploaded     r2Long            `json:"uploaded"` // milliseconds since 1970
	HTTPFields   r2HTTPFields      `json:"httpFields"`
	CustomFields []r2Pair          `json:"customFields"`
	Range        *r2Range          `json:"range,omitempty"`
	Checksums    map[string]string `json:"checksums"` // 0 is md5
	StorageClass string            `json:"storageClass"`
}

func newR2Object(o object) r2Object {
	out := r2Object{
		Name: o.Key, Version: o.Version, Size: r2Long(o.Size), ETag: o.ETag, Uploaded: r2Long(o.Uploaded.UnixMilli()),
		CustomFields: []r2Pair{}, Checksums: map[string]string{}, StorageClass: o.StorageClass,
		HTTPFields: r2HTTPFields{
			ContentType: o.HTTP.ContentType, ContentLanguage: o.HTTP.ContentLanguage, ContentDisposition: o.HTTP.ContentDisposition,
			ContentEncoding: o.HTTP.ContentEncoding, CacheControl: o.HTTP.CacheControl,
		},
	}
	if !o.HTTP.CacheExpiry.IsZero() {
		ms := r2Long(o.HTTP.CacheExpiry.UnixMilli())
		out.HTTPFields.CacheExpiry = &ms
	}
	for _, k := range sortedKeys(o.Custom) {
		out.CustomFields = append(out.CustomFields, r2Pair{k, o.Custom[k]})
	}
	if len(o.ETag) == 2*md5.Size { // an object that was uploaded in parts has none
		out.Checksums["0"] = o.ETag
	}
	return out
}

// r2Refusal is an error as the binding is told; object is what a failed condition was about.
type r2Refusal struct {
	status, code int
	message      string
	object       *r2Object
}

func (r r2Refusal) Error() string { return r.message }

// Errors of developers.cloudflare.com/r2/api/error-codes.
var (
	errNoSuchKey       = r2Refusal{status: 404, code: 10007, message: "The specified key does not exist."}
	errR2MetadataSize  = r2Refusal{status: 400, code: 10012, message: "Your metadata headers exceed the maximum allowed metadata size."}
	errObjectName      = r2Refusal{status: 400, code: 10020, message: "The specified object name is not valid."}
	errMaxKeys         = r2Refusal{status: 400, code: 10022, message: "MaxKeys params must be positive integer <= 1000."}
	errNoSuchUpload    = r2Refusal{status: 400, code: 10024, message: "The specified multipart upload does not exist."}
	errInvalidPart     = r2Refusal{status: 400, code: 10025, message: "One or more of the specified parts could not be found."}
	errPartTooSmall    = r2Refusal{status: 400, code: 10011, message: "Your proposed upload is smaller than the minimum allowed object size."}
	errUnevenParts     = r2Refusal{status: 400, code: 10048, message: "There was a problem with the multipart upload."}
	errPrecondition    = r2Refusal{status: 412, code: 10031, message: "At least one of the pre-conditions you specified did not hold."}
	errRange           = r2Refusal{status: 416, code: 10039, message: "The requested range is not satisfiable"}
	errInvalidArgument = r2Refusal{status: 400, code: 10029, message: "Metadata missing or invalid"}
)

func (g *gateway) serveR2(rw http.ResponseWriter, r *http.Request, b bindingEnd) {
	metadata, body, err := g.r2(r, b)
	if err != nil {
		var refused r2Refusal
		if !errors.As(err, &refused) {
			refused = r2Refusal{status: 500, code: 10001, message: err.Error()}
		}
		text, _ := json.Marshal(map[string]any{"version": 1, "v4code": refused.code, "message": refused.message}) // strings and numbers
		rw.Header().Set(r2ErrorHeader, string(text))
		if refused.object == nil {
			rw.WriteHeader(refused.status)
			return
		}
		object, _ := json.Marshal(refused.object) // strings and numbers
		rw.Header().Set(r2SizeHeader, strconv.Itoa(len(object)))
		rw.WriteHeader(refused.status)
		rw.Write(object)
		return
	}
	if metadata == nil {
		return
	}
	text, err := json.Marshal(metadata)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set(r2SizeHeader, strconv.Itoa(len(text)))
	rw.Header().Set("Content-Length", strconv.Itoa(len(text)+len(body)))
	rw.Write(text) // the reader is workerd; when it is gone there is nobody to tell
	rw.Write(body)
}

func (g *gateway) r2(r *http.Request, b bindingEnd) (metadata any, body []byte, err error) {
	bucket, err := g.e.w.storage.findBucket(b.account, b.jurisdiction, b.resource)
	if err != nil {
		return nil, nil, err
	}
	q, content, err := readR2Request(r)
	if err != nil {
		return nil, nil, err
	}
	if len(q.SSEC) > 0 && string(q.SSEC) != "null" {
		return nil, nil, errors.New("this simulator does not encrypt objects with customers' keys")
	}
	for _, key := range append(slices.Clone(q.Objects), q.Object) {
		if len(key) > longestR2Key {
			return nil, nil, errObjectName
		}
	}
	ctx := r.Context()
	switch q.Method {
	case "head":
		o, ok, err := bucket.Head(ctx, q.Object)
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			return nil, nil, errNoSuchKey
		}
		return newR2Object(o), nil, nil
	case "get":
		return r2Get(ctx, bucket, q)
	case "put":
		// Conditional puts look and write; nobody else writes in between.
		g.uploads.writing.Lock()
		defer g.uploads.writing.Unlock()
		metadata, err := r2Put(ctx, bucket, q, content)
		return metadata, nil, err
	case "delete":
		keys := q.Objects
		if q.Object != "" {
			keys = append(keys, q.Object)
		}
		return nil, nil, bucket.Delete(ctx, keys...)
	case "list":
		metadata, err := r2List(ctx, bucket, q)
		return metadata, nil, err
	case "createMultipartUpload", "uploadPart", "completeMultipartUpload", "abortMultipartUpload":
		metadata, err := g.multipart(ctx, bucket, b, q, content)
		return metadata, nil, err
	}
	return nil, nil, fmt.Errorf("this simulator's R2 has no method %q", q.Method)
}

func readR2Request(r *http.Request) (q r2Request, content []byte, err error) {
	text := []byte(r.Header.Get(r2RequestHeader))
	if r.Method == http.MethodPut {
		size, err := strconv.Atoi(r.Header.Get(r2SizeHeader))
		if err != nil {
			return q, nil, errInvalidArgument
		}
		all, err := io.ReadAll(r.Body)
		if err != nil {
			return q, nil, err
		}
		if size < 0 || size > len(all) {
			return q, nil, errInvalidArgument
		}
		text, content = all[:size], all[size:]
	}
	if err := json.Unmarshal(text, &q); err != nil {
		return q, nil, fmt.Errorf("reading the request: %w", err)
	}
	return q, content, nil
}

func r2Get(ctx context.Context, bucket *bucket, q r2Request) (any, []byte, error) {
	o, ok, err := bucket.Head(ctx, q.Object)
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return nil, nil, errNoSuchKey
	}
	out := newR2Object(o)
	if !q.OnlyIf.hold(&o) {
		refused := errPrecondition
		refused.object = &out
		return nil, nil, refused
	}
	offset, length, err := q.span(o.Size)
	if err != nil {
		return nil, nil, err
	}
	o, body, ok, err := bucket.Get(ctx, q.Object, offset, length)
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return nil, nil, errNoSuchKey // deleted in between
	}
	out = newR2Object(o)
	from, n := r2Long(offset), r2Long(len(body))
	out.Range = &r2Range{Offset: &from, Length: &n}
	return out, body, nil
}

// span is the part of an object of size bytes that was asked for.
func (q r2Request) span(size int64) (offset, length int64, err error) {
	r := q.Range
	if q.RangeHeader != "" {
		if r = parseRange(q.RangeHeader); r == nil {
			return 0, size, nil // several ranges, or none that can be read: the whole object
		}
	}
	switch {
	case r == nil:
		return 0, size, nil
	case r.Suffix != nil:
		n := int64(*r.Suffix)
		if n <= 0 {
			return 0, 0, errRange
		}
		n = min(n, size)
		return size - n, n, nil
	}
	if r.Offset != nil {
		offset = int64(*r.Offset)
	}
	length = size - offset
	if r.Length != nil {
		length = int64(*r.Length)
	}
	if offset < 0 || offset > size || length <= 0 {
		return 0, 0, errRange
	}
	return offset, min(length, size-offset), nil
}

// parseRange reads a Range header with a single range (RFC 9110 §14.1.2); nil when it is anything else.
func parseRange(header string) *r2Range {
	spec, ok := strings.CutPrefix(strings.TrimSpace(header), "bytes=")
	first, last, dash := strings.Cut(spec, "-")
	if !ok || !dash || strings.Contains(spec, ",") {
		return nil
	}
	from, err1 := strconv.ParseInt(strings.TrimSpace(first), 10, 64)
	to, err2 := strconv.ParseInt(strings.TrimSpace(last), 10, 64)
	a, n, suffix := r2Long(from), r2Long(to-from+1), r2Long(to)
	switch {
	case first == "" && err2 == nil:
		return &r2Range{Suffix: &suffix}
	case err1 == nil && last == "":
		return &r2Range{Offset: &a}
	case err1 == nil && err2 == nil:
		return &r2Range{Offset: &a, Length: &n}
	}
	return nil
}

func r2Put(ctx context.Context, bucket *bucket, q r2Request, content []byte) (any, error) {
	if err := q.checkSums(content); err != nil {
		return nil, err
	}
	o, err := q.newObject()
	if err != nil {
		return nil, err
	}
	if q.OnlyIf != nil {
		old, ok, err := bucket.Head(ctx, q.Object)
		if err != nil {
			return nil, err
		}
		existing := &old
		if !ok {
			existing = nil
		}
		if !q.OnlyIf.hold(existing) {
			return nil, errPrecondition
		}
	}
	stored, err := bucket.Put(ctx, o, content)
	if err != nil {
		return nil, err
	}
	return newR2Object(stored), nil
}

// newObject is the object that a put or an upload describes, without content.
func (q r2Request) newObject() (object, error) {
	o := object{
		Key: q.Object, StorageClass: q.StorageClass, Custom: map[string]string{},
		HTTP: httpMetadata{
			ContentType: q.HTTPFields.ContentType, ContentLanguage: q.HTTPFields.ContentLanguage,
			ContentDisposition: q.HTTPFields.ContentDisposition, ContentEncoding: q.HTTPFields.ContentEncoding,
			CacheControl: q.HTTPFields.CacheControl,
		},
	}
	if q.HTTPFields.CacheExpiry != nil {
		o.HTTP.CacheExpiry = time.UnixMilli(int64(*q.HTTPFields.CacheExpiry)).UTC()
	}
	size := 0
	for _, p := range q.CustomFields {
		o.Custom[p.K] = p.V
		size += len(p.K) + len(p.V)
	}
	if size > largestR2Metadata {
		return object{}, errR2MetadataSize
	}
	return o, nil
}

// checkSums compares the content with the checksum that came along.
func (q r2Request) checkSums(content []byte) error {
	for _, c := range []struct {
		name, given string
		decode      func(string) ([]byte, error)
		hash        func() hash.Hash
	}{
		{"MD5", q.MD5, base64.StdEncoding.DecodeString, md5.New},
		{"SHA-1", q.SHA1, hex.DecodeString, sha1.New},
		{"SHA-256", q.SHA256, hex.DecodeString, sha256.New},
		{"SHA-384", q.SHA384, hex.DecodeString, sha512.New384},
		{"SHA-512", q.SHA512, hex.DecodeString, sha512.New},
	} {
		if c.given == "" {
			continue
		}
		given, err := c.decode(c.given)
		if err != nil {
			return errInvalidArgument
		}
		h := c.hash()
		h.Write(content)
		if actual := h.Sum(nil); !bytes.Equal(given, actual) {
			return r2Refusal{status: 400, code: 10037, message: fmt.Sprintf("The %s checksum you specified did not match what we received.\n"+
				"You provided a %s checksum with value: %x\nActual %s was: %x", c.name, c.name, given, c.name, actual)}
		}
	}
	return nil
}

func r2List(ctx context.Context, bucket *bucket, q r2Request) (any, error) {
	limit := q.Limit
	switch {
	case limit < 0 || limit > r2PageLimit:
		return nil, errMaxKeys
	case limit == 0:
		limit = r2PageLimit
	}
	if len(q.Include) > 0 {
		limit = min(limit, r2PageLimitExtra)
	}
	page, err := bucket.List(ctx, listObjects{Prefix: q.Prefix, Delimiter: q.Delimiter, Cursor: q.Cursor, StartAfter: q.StartAfter, Limit: limit})
	if err != nil {
		return nil, err
	}
	out := struct {
		Objects   []r2Object `json:"objects"`
		Truncated bool       `json:"truncated"`
		Cursor    string     `json:"cursor,omitempty"`
		Prefixes  []string   `json:"delimitedPrefixes"`
	}{Objects: []r2Object{}, Truncated: page.Cursor != "", Cursor: page.Cursor, Prefixes: append([]string{}, page.Prefixes...)}
	for _, o := range page.Objects {
		object := newR2Object(o)
		if !slices.Contains(q.Include, 0) {
			object.HTTPFields = r2HTTPFields{}
		}
		if !slices.Contains(q.Include, 1) {
			object.CustomFields = []r2Pair{}
		}
		out.Objects = append(out.Objects, object)
	}
	return out, nil
}
