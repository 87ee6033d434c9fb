package sim

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
)

// KV over REST (wire.md §8). Codes are those of error-codes.json.

const (
	maxKVKey      = 512      // bytes
	maxKVValue    = 25 << 20 // bytes
	maxKVMetadata = 1024     // bytes of JSON
	maxKVBulk     = 10_000   // keys
	maxKVBulkGet  = 100      // keys
	minKVTTL      = 60       // seconds
)

func kvRoutes() []storageRoute {
	const all, one = "/accounts/{account}/storage/kv/namespaces", "/accounts/{account}/storage/kv/namespaces/{namespace}"
	return []storageRoute{
		{"GET " + all, (*storage).listNamespaces},
		{"POST " + all, (*storage).postNamespace},
		{"GET " + one, onNamespace(getNamespace)},
		{"PUT " + one, onNamespace(renameNamespace)},
		{"DELETE " + one, onNamespace(deleteNamespace)},
		{"GET " + one + "/keys", onNamespace(listKeys)},
		{"GET " + one + "/values/{key}", onNamespace(getValue)},
		{"PUT " + one + "/values/{key}", onNamespace(putValue)},
		{"DELETE " + one + "/values/{key}", onNamespace(deleteValue)},
		{"GET " + one + "/metadata/{key}", onNamespace(getMetadata)},
		{"PUT " + one + "/bulk", onNamespace(putBulk)},
		{"DELETE " + one + "/bulk", onNamespace(deleteBulk)}, // wrangler's way
		{"POST " + one + "/bulk/delete", onNamespace(deleteBulk)},
		{"POST " + one + "/bulk/get", onNamespace(getBulk)},
	}
}

// onNamespace finds the namespace of the path first.
func onNamespace(f func(*storageCall, *namespace) (any, error)) func(*storage, *storageCall) (any, error) {
	return func(s *storage, c *storageCall) (any, error) {
		n, err := s.findNamespace(c.account, c.path("namespace"))
		if err != nil {
			return nil, err
		}
		if len(c.path("key")) > maxKVKey {
			return nil, refuse(http.StatusRequestURITooLong, 10033, "key: 'key length of %d exceeds limit of %d'", len(c.path("key")), maxKVKey)
		}
		return f(c, n)
	}
}

func (n *namespace) view() map[string]any {
	return map[string]any{"id": n.id, "title": n.title, "supports_url_encoding": true}
}

func (s *storage) listNamespaces(c *storageCall) (any, error) {
	list, err := s.namespaces(c.account, c.query("order") == "title", c.query("direction") == "desc")
	if err != nil {
		return nil, err
	}
	views := make([]map[string]any, len(list))
	for i, n := range list {
		views[i] = n.view()
	}
	return paged(c.call, views, 20, 1000), nil
}

// decodeKV reads the body as JSON, whatever its type says it is.
func decodeKV(c *storageCall, v any) error {
	if err := json.Unmarshal(c.body, v); err != nil {
		return refuse(http.StatusBadRequest, 10012, "could not parse the request body: %v", err)
	}
	return nil
}

func (s *storage) postNamespace(c *storageCall) (any, error) {
	var in struct {
		Title string `json:"title"`
	}
	if err := decodeKV(c, &in); err != nil {
		return nil, err
	}
	n, err := s.createNamespace(c.account, in.Title, "")
	if err != nil {
		return nil, err
	}
	return n.view(), nil
}

func getNamespace(_ *storageCall, n *namespace) (any, error) { return n.view(), nil }

func renameNamespace(c *storageCall, n *namespace) (any, error) {
	var in struct {
		Title string `json:"title"`
	}
	if err := decodeKV(c, &in); err != nil {
		return nil, err
	}
	if err := n.rename(c.ctx, in.Title); err != nil {
		return nil, err
	}
	return n.view(), nil // wrangler reads the title
}

func deleteNamespace(c *storageCall, n *namespace) (any, error) { return nil, n.drop(c.ctx) }

func listKeys(c *storageCall, n *namespace) (any, error) {
	limit := maxKVPage
	if text := c.query("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 10 || limit > maxKVPage {
			return nil, refuse(http.StatusBadRequest, 10032, "list keys: 'limit must be between 10 and %d'", maxKVPage)
		}
	}
	found, err := n.List(c.ctx, c.query("prefix"), c.query("cursor"), limit)
	if err != nil {
		return nil, err
	}
	keys := make([]map[string]any, len(found.Keys))
	for i, k := range found.Keys {
		keys[i] = map[string]any{"name": k.Key}
		if k.Expiration > 0 {
			keys[i]["expiration"] = k.Expiration
		}
		if len(k.Metadata) > 0 {
			keys[i]["metadata"] = k.Metadata
		}
	}
	return page{keys, map[string]any{"count": len(keys), "cursor": found.Cursor}}, nil
}

func errNoKey() error { return refuse(http.StatusNotFound, 10009, "get: 'key not found'") }

func getValue(c *storageCall, n *namespace) (any, error) {
	e, ok, err := n.Get(c.ctx, c.path("key"))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errNoKey()
	}
	v := verbatim{ContentType: "application/octet-stream", Header: map[string]string{}, Body: e.Value}
	if e.Expiration > 0 {
		v.Header["Expiration"] = strconv.FormatInt(e.Expiration, 10)
	}
	return v, nil
}

func getMetadata(c *storageCall, n *namespace) (any, error) {
	e, ok, err := n.Get(c.ctx, c.path("key"))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errNoKey()
	}
	return rawOr(e.Metadata, nil), nil
}

// putValue takes the value as the body, or value and metadata as a form.
func putValue(c *storageCall, n *namespace) (any, error) {
	e := kvEntry{Key: c.path("key"), Value: c.body}
	kind, parameters, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err == nil && kind == "multipart/form-data" {
		if e.Value, e.Metadata, err = readForm(c.body, parameters["boundary"]); err != nil {
			return nil, refuse(http.StatusBadRequest, 10012, "could not parse the form: %v", err)
		}
	}
	query := c.r.URL.Query()
	if e.Expiration, err = c.expiration(n, query.Get("expiration"), query.Get("expiration_ttl")); err != nil {
		return nil, err
	}
	if err := checkEntry(e); err != nil {
		return nil, err
	}
	return nil, n.Put(c.ctx, e)
}

// readForm takes value and metadata out of a form.
func readForm(body []byte, boundary string) (value []byte, metadata json.RawMessage, err error) {
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	found := false
	for {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return nil, nil, err
		}
		switch part.FormName() {
		case "value":
			value, found = content, true
		case "metadata":
			if !json.Valid(content) {
				return nil, nil, errors.New("metadata is not JSON")
			}
			metadata = content
		}
	}
	if !found {
		return nil, nil, errors.New("there is no value")
	}
	return value, metadata, nil
}

// expiration is the second at which a key expires, 0 for never; a TTL takes precedence.
func (c *storageCall) expiration(n *namespace, at, ttl string) (int64, error) {
	now := n.s.now().Unix()
	if ttl != "" && ttl != "0" {
		seconds, err := strconv.ParseInt(ttl, 10, 64)
		if err != nil || seconds < minKVTTL {
			return 0, refuse(http.StatusBadRequest, 10034, "Invalid expiration_ttl of %s. Expiration TTL must be at least %d.", ttl, minKVTTL)
		}
		return now + seconds, nil
	}
	if at == "" || at == "0" {
		return 0, nil
	}
	second, err := strconv.ParseInt(at, 10, 64)
	if err != nil || second < now+minKVTTL {
		return 0, refuse(http.StatusBadRequest, 10034, "Invalid expiration of %s. Please specify integer greater than the current number of seconds since the UNIX epoch.", at)
	}
	return second, nil
}

func checkEntry(e kvEntry) error {
	switch {
	case e.Key == "" || e.Key == "." || e.Key == "..":
		return refuse(http.StatusBadRequest, 10012, "key: 'a key may not be empty, . or ..'")
	case len(e.Key) > maxKVKey:
		return refuse(http.StatusRequestURITooLong, 10033, "key: 'key length of %d exceeds limit of %d'", len(e.Key), maxKVKey)
	case len(e.Value) > maxKVValue:
		return refuse(http.StatusRequestEntityTooLarge, 10012, "value: 'value length of %d exceeds limit of %d'", len(e.Value), maxKVValue)
	case len(e.Metadata) > maxKVMetadata:
		return refuse(http.StatusRequestEntityTooLarge, 10012, "metadata: 'metadata length of %d exceeds limit of %d'", len(e.Metadata), maxKVMetadata)
	}
	return nil
}

func deleteValue(c *storageCall, n *namespace) (any, error) {
	return nil, n.Delete(c.ctx, c.path("key"))
}

func bulkResult(n int) map[string]any {
	return map[string]any{"successful_key_count": n, "unsuccessful_keys": []string{}}
}

func putBulk(c *storageCall, n *namespace) (any, error) {
	var in []struct {
		Key        string          `json:"key"`
		Value      string          `json:"value"`
		Base64     bool            `json:"base64"`
		Metadata   json.RawMessage `json:"metadata"`
		Expiration json.Number     `json:"expiration"`
		TTL        json.Number     `json:"expiration_ttl"`
	}
	if err := decodeKV(c, &in); err != nil {
		return nil, err
	}
	if err := checkBulk(len(in), maxKVBulk); err != nil {
		return nil, err
	}
	entries := make([]kvEntry, len(in))
	for i, k := range in {
		e := kvEntry{Key: k.Key, Value: []byte(k.Value)}
		if string(k.Metadata) != "null" {
			e.Metadata = k.Metadata
		}
		var err error
		if k.Base64 {
			if e.Value, err = base64.StdEncoding.DecodeString(k.Value); err != nil {
				return nil, refuse(http.StatusBadRequest, 10012, "value of %s: 'not base64: %v'", k.Key, err)
			}
		}
		if e.Expiration, err = c.expiration(n, k.Expiration.String(), k.TTL.String()); err == nil {
			err = checkEntry(e)
		}
		if err != nil {
			return nil, err
		}
		entries[i] = e
	}
	return bulkResult(len(entries)), n.Put(c.ctx, entries...)
}

func checkBulk(n, most int) error {
	if n == 0 {
		return refuse(http.StatusBadRequest, 10029, "bulk: 'at least one key is required'")
	}
	if n > most {
		return refuse(http.StatusBadRequest, 10012, "bulk: '%d keys exceed the limit of %d'", n, most)
	}
	return nil
}

// deleteBulk takes an array of keys, or of objects with a name as older clients send them.
func deleteBulk(c *storageCall, n *namespace) (any, error) {
	var keys []string
	if err := decodeKV(c, &keys); err != nil {
		var named []struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(c.body, &named) != nil {
			return nil, err
		}
		for _, k := range named {
			keys = append(keys, k.Name)
		}
	}
	if err := checkBulk(len(keys), maxKVBulk); err != nil {
		return nil, err
	}
	return bulkResult(len(keys)), n.Delete(c.ctx, keys...)
}

func getBulk(c *storageCall, n *namespace) (any, error) {
	var in struct {
		Keys         []string `json:"keys"`
		Type         string   `json:"type"`
		WithMetadata bool     `json:"withMetadata"`
	}
	if err := decodeKV(c, &in); err != nil {
		return nil, err
	}
	if err := checkBulk(len(in.Keys), maxKVBulkGet); err != nil {
		return nil, err
	}
	values := map[string]any{}
	for _, key := range in.Keys {
		e, ok, err := n.Get(c.ctx, key)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue // the description has no place for a value that is missing
		}
		var value any = strings.ToValidUTF8(string(e.Value), "\ufffd")
		if in.Type == "json" {
			if !json.Valid(e.Value) {
				return nil, refuse(http.StatusBadRequest, 10012, "value of %s: 'not JSON'", key)
			}
			value = json.RawMessage(e.Value)
		}
		if in.WithMetadata {
			full := map[string]any{"value": value, "metadata": rawOr(e.Metadata, nil)}
			if e.Expiration > 0 {
				full["expiration"] = e.Expiration
			}
			value = full
		}
		values[key] = value
	}
	return map[string]any{"values": values}, nil
}
