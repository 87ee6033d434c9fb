package sim

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"

	"github.com/kvick/shopfleet/internal/d1"
)

// namespace is a KV namespace. Its methods are safe for concurrent use; after it was deleted they find nothing.
type namespace struct {
	s           *storage
	account, id string
	title       string
}

// kvEntry is a key with its value.
type kvEntry struct {
	Key        string
	Value      []byte // nil in a listing
	Metadata   json.RawMessage
	Expiration int64 // seconds since 1970; 0 is never
}

// kvPage is a part of a listing, in the order of the keys' bytes.
type kvPage struct {
	Keys   []kvEntry
	Cursor string // "" when there is no more
}

// maxKVPage is how many keys a listing gives at most.
const maxKVPage = 1000

// createNamespace makes a namespace; id "" makes an id up. The title must be new to the account.
func (s *storage) createNamespace(account, title, id string) (*namespace, error) {
	if title == "" {
		return nil, refuse(http.StatusBadRequest, 10019, "create namespace: 'title is required'")
	}
	if id == "" {
		id = s.hexID()
	}
	err := s.exec(context.Background(), d1.Query{SQL: "INSERT INTO namespaces VALUES(?, ?, ?)", Params: []any{id, account, title}})
	if taken(err) {
		return nil, errTitleTaken()
	}
	if err != nil {
		return nil, err
	}
	return &namespace{s: s, account: account, id: id, title: title}, nil
}

func errTitleTaken() error {
	return refuse(http.StatusBadRequest, 10014, "a namespace with this account ID and title already exists")
}

// findNamespace finds a namespace of the account by its id.
func (s *storage) findNamespace(account, id string) (*namespace, error) {
	rows, err := s.rows(context.Background(), "SELECT title FROM namespaces WHERE account = ? AND id = ?", account, id)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, refuse(http.StatusNotFound, 10013, "get namespace: 'namespace not found'")
	}
	return &namespace{s: s, account: account, id: id, title: rows[0][0].(string)}, nil
}

// namespaces lists the namespaces of an account by title or by id.
func (s *storage) namespaces(account string, byTitle, descending bool) ([]*namespace, error) {
	order := "id"
	if byTitle {
		order = "title"
	}
	if descending {
		order += " DESC"
	}
	rows, err := s.rows(context.Background(), "SELECT id, title FROM namespaces WHERE account = ? ORDER BY "+order, account)
	if err != nil {
		return nil, err
	}
	list := make([]*namespace, len(rows))
	for i, r := range rows {
		list[i] = &namespace{s: s, account: account, id: r[0].(string), title: r[1].(string)}
	}
	return list, nil
}

// rename gives the namespace another title.
func (n *namespace) rename(ctx context.Context, title string) error {
	if title == "" {
		return refuse(http.StatusBadRequest, 10019, "update namespace: 'title is required'")
	}
	err := n.s.exec(ctx, d1.Query{SQL: "UPDATE namespaces SET title = ? WHERE id = ?", Params: []any{title, n.id}})
	if taken(err) {
		return errTitleTaken()
	}
	if err == nil {
		n.title = title
	}
	return err
}

// drop deletes the namespace and all its keys.
func (n *namespace) drop(ctx context.Context) error {
	return n.s.exec(ctx,
		d1.Query{SQL: "DELETE FROM namespaces WHERE id = ?", Params: []any{n.id}},
		d1.Query{SQL: "DELETE FROM entries WHERE namespace = ?", Params: []any{n.id}},
		dropChunksBelow("kv/"+n.id+"/"))
}

func (n *namespace) owner(key string) string { return "kv/" + n.id + "/" + key }

func (n *namespace) count(action string, requests, bytes int64) {
	n.s.uses.operated(n.account, "kv", n.id, action, n.s.now(), requests, bytes)
}

// alive is the condition for entries that have not expired; its parameter is the time in seconds.
const alive = "(expires IS NULL OR expires > ?)"

// Get reads a key; ok is false when there is none, or it has expired.
func (n *namespace) Get(ctx context.Context, key string) (e kvEntry, ok bool, err error) {
	results, err := n.s.catalogue.Batch(ctx, []d1.Query{
		{SQL: "SELECT metadata, expires FROM entries WHERE namespace = ? AND key = ? AND " + alive, Params: []any{n.id, key, n.s.now().Unix()}},
		{SQL: "SELECT data FROM chunks WHERE owner = ? ORDER BY n", Params: []any{n.owner(key)}},
	})
	if err != nil {
		return kvEntry{}, false, err
	}
	if len(results[0].Rows) == 0 {
		n.count("read", 1, 0)
		return kvEntry{}, false, nil
	}
	e = readEntry(key, results[0].Rows[0][0], results[0].Rows[0][1])
	e.Value = []byte{}
	for _, r := range results[1].Rows {
		e.Value = append(e.Value, r[0].([]byte)...)
	}
	n.count("read", 1, int64(len(e.Value)))
	return e, true, nil
}

func readEntry(key string, metadata, expires any) kvEntry {
	e := kvEntry{Key: key}
	if text, ok := metadata.(string); ok {
		e.Metadata = json.RawMessage(text)
	}
	e.Expiration, _ = expires.(int64)
	return e
}

// Put writes keys, all of them or none, with everything about them.
func (n *namespace) Put(ctx context.Context, entries ...kvEntry) error {
	var bytes int64
	queries := []d1.Query{{SQL: "DELETE FROM chunks WHERE owner IN (SELECT 'kv/' || namespace || '/' || key FROM entries WHERE namespace = ? AND expires <= ?)",
		Params: []any{n.id, n.s.now().Unix()}},
		{SQL: "DELETE FROM entries WHERE namespace = ? AND expires <= ?", Params: []any{n.id, n.s.now().Unix()}}}
	for _, e := range entries {
		var metadata, expires any
		if len(e.Metadata) > 0 {
			metadata = string(e.Metadata)
		}
		if e.Expiration > 0 {
			expires = e.Expiration
		}
		queries = append(queries, d1.Query{
			SQL:    "INSERT OR REPLACE INTO entries SELECT ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM namespaces WHERE id = ?1)",
			Params: []any{n.id, e.Key, metadata, expires},
		})
		queries = append(queries, putChunks(n.owner(e.Key), e.Value)...)
		bytes += int64(len(e.Value))
	}
	if err := n.s.exec(ctx, queries...); err != nil {
		return err
	}
	n.count("write", int64(len(entries)), bytes)
	return nil
}

// Delete removes keys, all of them or none; keys that do not exist do not matter.
func (n *namespace) Delete(ctx context.Context, keys ...string) error {
	var queries []d1.Query
	for _, key := range keys {
		queries = append(queries,
			d1.Query{SQL: "DELETE FROM entries WHERE namespace = ? AND key = ?", Params: []any{n.id, key}}, dropChunks(n.owner(key)))
	}
	if len(queries) == 0 {
		return nil
	}
	if err := n.s.exec(ctx, queries...); err != nil {
		return err
	}
	n.count("delete", int64(len(keys)), 0)
	return nil
}

// List gives up to limit keys (0 or too many is 1000) that begin with prefix, after cursor, which an earlier call gave.
func (n *namespace) List(ctx context.Context, prefix, cursor string, limit int) (kvPage, error) {
	if limit <= 0 || limit > maxKVPage {
		limit = maxKVPage
	}
	after, err := decodeCursor(cursor)
	if err != nil {
		return kvPage{}, err
	}
	rows, err := n.s.rows(ctx, `SELECT key, metadata, expires FROM entries
		WHERE namespace = ? AND key > ? AND key >= ? AND substr(key, 1, length(?3)) = ?3 AND `+alive+` ORDER BY key LIMIT ?`,
		n.id, after, prefix, n.s.now().Unix(), limit+1)
	if err != nil {
		return kvPage{}, err
	}
	n.count("list", 1, 0)
	var page kvPage
	for i, r := range rows {
		if i == limit {
			page.Cursor = encodeCursor(page.Keys[i-1].Key)
			break
		}
		page.Keys = append(page.Keys, readEntry(r[0].(string), r[1], r[2]))
	}
	return page, nil
}

// A cursor is the last name that was given.
func encodeCursor(name string) string { return base64.RawURLEncoding.EncodeToString([]byte(name)) }

func decodeCursor(cursor string) (string, error) {
	name, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return "", refuse(http.StatusBadRequest, 10022, "invalid cursor")
	}
	return string(name), nil
}
