package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The protocol between workerd's KV binding and KV: GET, PUT and DELETE on /<key>, GET / for a page of keys,
// POST /bulk/get for several. The status text of a failure is what the Worker gets to see.

// Limits of developers.cloudflare.com/kv/platform/limits.
const (
	longestKVKey       = 512
	largestKVValue     = 25 << 20
	largestKVMetadata  = 1024
	kvPageLimit        = 1000
	kvBulkLimit        = 100
	shortestKVLifetime = 60 // seconds
)

const kvMetadataHeader = "Cf-Kv-Metadata"

// kvRefusal is an error with the status that the binding is told.
type kvRefusal struct {
	status int
	text   string
}

func (k kvRefusal) Error() string { return k.text }

func refuseKV(status int, format string, args ...any) error {
	return kvRefusal{status, fmt.Sprintf(format, args...)}
}

func (g *gateway) serveKV(rw http.ResponseWriter, r *http.Request, b bindingEnd) {
	err := g.kv(rw, r, b)
	if err == nil {
		return
	}
	status := http.StatusInternalServerError
	if k, ok := err.(kvRefusal); ok {
		status = k.status
	}
	statusLine(rw, r, status, err.Error())
}

// statusLine answers with a reason phrase of our own, which net/http does not offer and the binding shows to the Worker.
func statusLine(rw http.ResponseWriter, r *http.Request, status int, reason string) {
	io.CopyN(io.Discard, r.Body, 1<<20) // closing on an unread body would cut off the answer
	conn, buf, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		http.Error(rw, reason, status)
		return
	}
	defer conn.Close()
	reason = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, reason)
	fmt.Fprintf(buf, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status, reason)
	buf.Flush() // the reader is workerd; when it is gone there is nobody to tell
}

func (g *gateway) kv(rw http.ResponseWriter, r *http.Request, b bindingEnd) error {
	n, err := g.e.w.storage.findNamespace(b.account, b.resource)
	if err != nil {
		return err
	}
	path := r.URL.EscapedPath()
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && path == "/bulk/get":
		return kvBulkGet(rw, r, n)
	case r.Method == http.MethodGet && path == "/":
		return kvList(rw, r, n, query)
	}
	key, err := url.PathUnescape(strings.TrimPrefix(path, "/"))
	if err != nil || !utf8.ValidString(key) {
		return refuseKV(http.StatusBadRequest, "Could not URL-decode key name")
	}
	if err := checkKVKey(key); err != nil {
		return err
	}
	switch r.Method {
	case http.MethodGet:
		e, ok, err := n.Get(r.Context(), key)
		if err != nil {
			return err
		}
		if !ok {
			rw.WriteHeader(http.StatusNotFound)
			return nil
		}
		if len(e.Metadata) > 0 {
			rw.Header().Set(kvMetadataHeader, string(e.Metadata))
		}
		rw.Header().Set("Cf-Cache-Status", "MISS")
		rw.Header().Set("Content-Type", "application/octet-stream")
		rw.Write(e.Value)
		return nil
	case http.MethodPut:
		return g.kvPut(r, n, key, query)
	case http.MethodDelete:
		return n.Delete(r.Context(), key)
	}
	return refuseKV(http.StatusMethodNotAllowed, "Method Not Allowed")
}

func checkKVKey(key string) error {
	switch {
	case key == "":
		return refuseKV(http.StatusBadRequest, "Key names must not be empty")
	case key == "." || key == "..":
		return refuseKV(http.StatusBadRequest, `Illegal key name "%s". Please use a different name.`, key)
	case len(key) > longestKVKey:
		return refuseKV(http.StatusRequestURITooLong, "UTF-8 encoded length of %d exceeds key length limit of %d.", len(key), longestKVKey)
	}
	return nil
}

func (g *gateway) kvPut(r *http.Request, n *namespace, key string, query url.Values) error {
	e := kvEntry{Key: key}
	var err error
	if e.Expiration, err = kvExpiration(query, g.e.w.now().Unix()); err != nil {
		return err
	}
	if metadata := r.Header.Get(kvMetadataHeader); metadata != "" {
		if len(metadata) > largestKVMetadata {
			return refuseKV(http.StatusRequestEntityTooLarge, "Metadata length of %d exceeds limit of %d.", len(metadata), largestKVMetadata)
		}
		e.Metadata = json.RawMessage(metadata)
	}
	if e.Value, err = io.ReadAll(io.LimitReader(r.Body, largestKVValue+1)); err != nil {
		return err
	}
	if len(e.Value) > largestKVValue {
		return refuseKV(http.StatusRequestEntityTooLarge, "Value length exceeds limit of %d.", largestKVValue)
	}
	return n.Put(r.Context(), e)
}

// kvExpiration reads when an entry ends, in seconds since 1970; 0 is never.
func kvExpiration(query url.Values, now int64) (int64, error) {
	if text := query.Get("expiration_ttl"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil || seconds <= 0:
			return 0, refuseKV(http.StatusBadRequest, "Invalid expiration_ttl of %s. Please specify integer greater than 0.", text)
		case seconds < shortestKVLifetime:
			return 0, refuseKV(http.StatusBadRequest, "Invalid expiration_ttl of %s. Expiration TTL must be at least %d.", text, shortestKVLifetime)
		}
		return now + seconds, nil
	}
	text := query.Get("expiration")
	if text == "" {
		return 0, nil
	}
	at, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil || at <= now:
		return 0, refuseKV(http.StatusBadRequest, "Invalid expiration of %s. Please specify integer greater than the current number of seconds since the UNIX epoch.", text)
	case at < now+shortestKVLifetime:
		return 0, refuseKV(http.StatusBadRequest, "Invalid expiration of %s. Expiration times must be at least %d seconds in the future.", text, shortestKVLifetime)
	}
	return at, nil
}

func kvList(rw http.ResponseWriter, r *http.Request, n *namespace, query url.Values) error {
	limit := kvPageLimit
	if text := query.Get("key_count_limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 {
			return refuseKV(http.StatusBadRequest, "Invalid key_count_limit of %s. Please specify an integer greater than 0.", text)
		}
		if limit > kvPageLimit {
			return refuseKV(http.StatusBadRequest, "Invalid key_count_limit of %s. Please specify an integer less than %d.", text, kvPageLimit)
		}
	}
	page, err := n.List(r.Context(), query.Get("prefix"), query.Get("cursor"), limit)
	if err != nil {
		return err
	}
	type key struct {
		Name       string `json:"name"`
		Expiration int64  `json:"expiration,omitempty"`
		Metadata   string `json:"metadata,omitempty"` // JSON in a string: the binding parses it
	}
	out := struct {
		Keys         []key   `json:"keys"`
		ListComplete bool    `json:"list_complete"`
		Cursor       string  `json:"cursor,omitempty"`
		CacheStatus  *string `json:"cacheStatus"`
	}{Keys: []key{}, ListComplete: page.Cursor == "", Cursor: page.Cursor}
	for _, e := range page.Keys {
		out.Keys = append(out.Keys, key{e.Key, e.Expiration, string(e.Metadata)})
	}
	answerJSON(rw, out)
	return nil
}

func kvBulkGet(rw http.ResponseWriter, r *http.Request, n *namespace) error {
	var in struct {
		Keys         []string `json:"keys"`
		Type         string   `json:"type"`
		WithMetadata bool     `json:"withMetadata"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return refuseKV(http.StatusBadRequest, "Invalid JSON")
	}
	switch {
	case in.Type != "" && in.Type != "text" && in.Type != "json":
		return refuseKV(http.StatusBadRequest, `"%s" is not a valid type. Use "json" or "text"`, in.Type)
	case len(in.Keys) > kvBulkLimit:
		return refuseKV(http.StatusBadRequest, "You can request a maximum of %d keys", kvBulkLimit)
	case len(in.Keys) == 0:
		return refuseKV(http.StatusBadRequest, "You must request a minimum of 1 key")
	}
	out := map[string]any{}
	for _, key := range in.Keys {
		if err := checkKVKey(key); err != nil {
			return err
		}
		e, ok, err := n.Get(r.Context(), key)
		if err != nil {
			return err
		}
		if !ok {
			out[key] = nil
			continue
		}
		var value any = string(e.Value)
		if in.Type == "json" {
			if !json.Valid(e.Value) {
				return refuseKV(http.StatusBadRequest, "At least one of the requested keys corresponds to a non-json value")
			}
			value = json.RawMessage(e.Value)
		}
		if in.WithMetadata {
			value = map[string]any{"value": value, "metadata": e.Metadata}
		}
		out[key] = value
	}
	answerJSON(rw, out)
	return nil
}
