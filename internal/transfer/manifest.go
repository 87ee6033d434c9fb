package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/d1"
)

// Where things lie in a Store:
//
//	shops/<slug>/<time>/d1.sql.gz      the database as SQL that SQLite and D1 take
//	shops/<slug>/<time>/kv.jsonl.gz    a line for each key (packedKey)
//	shops/<slug>/<time>/r2.jsonl.gz    a line for each object (packedObject)
//	shops/<slug>/<time>/manifest.json  last: a backup without it is none
//	objects/<slug>/<sha256>            the contents of objects, once each, for all backups of the shop
//
// What is longer than a Bucket takes at once is cut: its pieces have .000, .001 and so on behind the name, and put
// together again they are the file.

// manifestFormat is the number of this layout.
const manifestFormat = 1

// Manifest is one backup of one shop: what it holds, with sizes and SHA-256 checksums, and where the contents are.
type Manifest struct {
	Format  int       `json:"shopfleet_backup"`
	Shop    string    `json:"shop"`
	At      time.Time `json:"at"`
	Commit  string    `json:"commit,omitempty"` // of the shop's branch
	Account string    `json:"account"`
	Tool    string    `json:"tool"`

	D1 *PackedDatabase `json:"d1,omitempty"`
	KV *PackedKeys     `json:"kv,omitempty"`
	R2 *PackedObjects  `json:"r2,omitempty"`
}

// PackedDatabase is a D1 as SQL.
type PackedDatabase struct {
	Name   string        `json:"name"`
	File   File          `json:"file"`
	Tables []d1.TableSum `json:"tables"`
}

// PackedKeys are the keys of a KV namespace.
type PackedKeys struct {
	Namespace string `json:"namespace"`
	File      File   `json:"file"`
	Keys      int    `json:"keys"`
}

// PackedObjects are the objects of an R2 bucket.
type PackedObjects struct {
	Bucket  string `json:"bucket"`
	File    File   `json:"file"` // the list
	Objects int    `json:"objects"`
	Bytes   int64  `json:"bytes"` // of all objects
	// Reused are objects that the backup before had, and that were not read again.
	Reused int `json:"reused"`
}

// File is something in a Store, in one piece or several.
type File struct {
	Pieces []Piece `json:"pieces"`
}

// Piece is one key of a Store.
type Piece struct {
	Key    string `json:"key"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// stampForm is how the folder of a backup is named: it sorts by time, and is a name on every disk.
const stampForm = "20060102T150405Z"

// Stamp is the name of the backup's folder.
func (m *Manifest) Stamp() string { return m.At.UTC().Format(stampForm) }

func (m *Manifest) folder() string      { return "shops/" + m.Shop + "/" + m.Stamp() + "/" }
func objectKey(slug, sha string) string { return "objects/" + slug + "/" + sha }

const manifestName = "manifest.json"

// maxManifest bounds what is read as a manifest.
const maxManifest = 16 << 20

// readManifest reads and checks one manifest.
func readManifest(ctx context.Context, store Store, key string) (*Manifest, error) {
	r, err := store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(r, maxManifest))
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	m, err := parseManifest(text)
	if err != nil {
		return nil, damaged(key, err.Error())
	}
	if m.folder()+manifestName != key {
		return nil, damaged(key, fmt.Sprintf("it is of shop %q at %s", m.Shop, m.Stamp()))
	}
	return m, nil
}

// parseManifest takes nothing on trust: a manifest lies where others may write.
func parseManifest(text []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("it is no manifest: %w", err)
	}
	if m.Format != manifestFormat {
		return nil, fmt.Errorf("it is of format %d, and this shopfleet knows %d", m.Format, manifestFormat)
	}
	var files []File
	if m.D1 != nil {
		files = append(files, m.D1.File)
	}
	if m.KV != nil {
		files = append(files, m.KV.File)
	}
	if m.R2 != nil {
		files = append(files, m.R2.File)
	}
	for _, f := range files {
		for _, p := range f.Pieces {
			if !strings.HasPrefix(p.Key, m.folder()) || path.Clean(p.Key) != p.Key || p.Bytes < 0 || !isSHA256(p.SHA256) {
				return nil, fmt.Errorf("it names %q, which is not its own", p.Key)
			}
		}
	}
	return &m, nil
}

func isSHA256(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }

func damaged(key, why string) error {
	return refuse("backup-damaged", fmt.Sprintf("the backup is damaged: %s: %s", key, why),
		"take another one of the shop (shopfleet backup list), and find out who wrote there")
}

func (m *Manifest) write(ctx context.Context, store Store) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	text = append(text, '\n')
	return store.Put(ctx, m.folder()+manifestName, bytes.NewReader(text), int64(len(text)))
}

// Taken is a backup as its place tells, without reading it.
type Taken struct {
	Shop string    `json:"shop"`
	At   time.Time `json:"at"`
	key  string
}

// Backups are the complete backups of a shop, or of all shops ("") in the order of slugs, the oldest first.
func Backups(ctx context.Context, store Store, slug string) ([]Taken, error) {
	prefix := "shops/"
	if slug != "" {
		prefix += slug + "/"
	}
	keys, err := store.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	var out []Taken
	for _, key := range keys {
		parts := strings.Split(key, "/")
		if len(parts) != 4 || parts[3] != manifestName {
			continue
		}
		at, err := time.Parse(stampForm, parts[2])
		if err != nil {
			continue
		}
		out = append(out, Taken{parts[1], at, key})
	}
	return out, nil
}

// FindBackup reads the manifest of a shop's newest backup, or of the newest one at or before a time: as folders are named,
// as RFC 3339, as "2026-11-23 09:30" or "2026-11-23" in UTC. The error is Findings when there is none.
func FindBackup(ctx context.Context, store Store, slug, at string) (*Manifest, error) {
	until, err := parseTime(at)
	if err != nil {
		return nil, err
	}
	list, err := Backups(ctx, store, slug)
	if err != nil {
		return nil, err
	}
	for _, t := range slices.Backward(list) {
		if at == "" || !t.At.After(until) {
			return readManifest(ctx, store, t.key)
		}
	}
	message := "there is no backup of shop " + slug
	hint := "name another place with --from, or another shop with --of"
	if len(list) > 0 {
		message += " as old as " + at + ": the oldest is of " + list[0].At.Format(time.RFC3339)
		hint = "shopfleet backup list " + slug + " shows them all"
	}
	return nil, refuse("backup-missing", message, hint)
}

// TimeError says that a text is no time.
type TimeError struct{ Text string }

func (e *TimeError) Error() string { return fmt.Sprintf("%q is no time", e.Text) }

// Hint says how times are written.
func (e *TimeError) Hint() string {
	return `write 20261123T093000Z, 2026-11-23T09:30:00Z, "2026-11-23 09:30" or 2026-11-23, in UTC`
}

func parseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for form, span := range map[string]time.Duration{
		stampForm: 0, time.RFC3339: time.Second - 1, "2006-01-02 15:04:05": time.Second - 1, "2006-01-02 15:04": time.Minute - 1, time.DateOnly: 24*time.Hour - 1,
	} {
		if t, err := time.Parse(form, text); err == nil {
			return t.Add(span), nil
		}
	}
	return time.Time{}, &TimeError{text}
}
