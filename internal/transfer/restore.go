package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
)

// RestoreInto unpacks a backup into a shop's stores, which must be empty: before anything is written all three are looked
// at, and the database, the keys and the list of objects are held against their checksums; the content of an object is
// before it is sent. Afterwards all tables, keys and objects are compared.
//
// It may be stopped anywhere and run again with the same backup: what an earlier run brought counts as empty. The error is
// Findings when a store holds something else, or the backup is damaged. The identity records stay as they are, and never
// come from the backup, which may be another shop's.
//
// What the API cannot write comes back as findings after everything else was restored: objects over
// cloudflare.MaxR2Upload. That custom metadata of objects is lost is a note.
func RestoreInto(ctx context.Context, store Store, m *Manifest, into Shop, p Progress) (_ *Restored, err error) {
	dir, err := os.MkdirTemp(into.TempDir, "shopfleet-restore-")
	if err != nil {
		return nil, fmt.Errorf("making room for the restore: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	out := &Restored{Backup: m.Stamp(), Of: m.Shop}
	if err := fits(m, into); err != nil {
		return nil, err
	}
	p.tell("checking the backup", 0, 0)
	u := &unpacking{Shop: into, dir: dir, p: p}
	if m.D1 != nil {
		file := filepath.Join(dir, "d1.sqlite")
		if _, err := unpackDatabase(ctx, store, m, file, dir); err != nil {
			return nil, err
		}
		if u.dump, err = into.dump(ctx, file, filepath.Join(dir, "parts"), p); err != nil {
			return nil, err
		}
	}
	keys := map[string]packedKey{} // without their values
	if m.KV != nil {
		if _, err := keyLines(ctx, store, m, dir, func(k packedKey) error {
			k.Value = nil
			keys[k.Key] = k
			return nil
		}); err != nil {
			return nil, err
		}
		delete(keys, into.Identity.Key)
	}
	if m.R2 != nil {
		list, err := objectList(ctx, store, m, dir)
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			if o.Key != into.Identity.Key || o.Key == "" {
				u.objects = append(u.objects, source{packedObject: o, open: func(ctx context.Context) (*spooled, error) {
					return packedContent(ctx, into, store, m.Shop, o, dir)
				}})
			}
		}
		if err := contentsThere(ctx, store, m, list); err != nil {
			return nil, err
		}
	}
	p.tell("looking at the shop's stores", 0, 0)
	if m.KV != nil && into.Namespace != "" {
		if err := u.admitKeys(ctx, keys, func(each func(packedKey) error) error {
			_, err := keyLines(ctx, store, m, dir, each)
			return err
		}); err != nil {
			return nil, err
		}
	}
	if err := u.admit(ctx); err != nil {
		return nil, err
	}
	if out.Tables, err = u.database(ctx); err != nil {
		return nil, err
	}
	if m.KV != nil && into.Namespace != "" {
		written := 0
		out.Keys, out.Expired, err = into.unpackKeys(ctx, func(each func(packedKey) error) error {
			_, err := keyLines(ctx, store, m, dir, func(k packedKey) error {
				if written++; written%1000 == 1 {
					p.tell("writing keys", int64(written), int64(len(keys)))
				}
				return each(k)
			})
			return err
		})
		if err != nil {
			return nil, err
		}
		if err := into.compareKeys(ctx, keys, p); err != nil {
			return nil, err
		}
	}
	if m.R2 != nil && into.Bucket != "" {
		if out.Known, err = u.putObjects(ctx); err != nil {
			return nil, err
		}
		out.Objects, out.Bytes = u.count()
	}
	out.Notes = u.notes()
	return out, u.left()
}

// fits says whether the shop has a place for everything that was packed.
func fits(m *Manifest, into Shop) error {
	for _, s := range []struct {
		packed, there bool
		what          string
	}{{m.D1 != nil, into.Database.ID != "", "D1 database"}, {m.KV != nil && m.KV.Keys > 0, into.Namespace != "", "KV namespace"}, {m.R2 != nil && m.R2.Objects > 0, into.Bucket != "", "R2 bucket"}} {
		if s.packed && !s.there {
			return refuse("restore-no-store", fmt.Sprintf("the backup of %s has a %s, and shop %s has none", m.Shop, s.what, into.Slug),
				"bind one in the shop's wrangler.jsonc, or make it with shopfleet onboard "+into.Slug)
		}
	}
	return nil
}

func contentsThere(ctx context.Context, store Store, m *Manifest, list []packedObject) error {
	keys, err := store.List(ctx, objectKey(m.Shop, ""))
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, k := range keys {
		there[k] = true
	}
	for _, o := range list {
		for _, key := range o.content(m.Shop) {
			if !there[key] {
				return damaged(key, fmt.Sprintf("the content of %q is not there", o.Key))
			}
		}
	}
	return nil
}

// dump makes parts of a database in a file that belongs to nobody else. Its record of whose it is becomes the shop's.
func (s Shop) dump(ctx context.Context, file, dir string, p Progress) (*Dumped, error) {
	if s.Identity.Table != "" {
		if err := s.relabel(ctx, file); err != nil {
			return nil, err
		}
	}
	dump, findings, err := Dump(ctx, file, dir, s.ledger(), p)
	if err == nil {
		err = asError(findings)
	}
	return dump, err
}

// relabel changes the record in the product's own table, if there is one.
func (s Shop) relabel(ctx context.Context, file string) (err error) {
	db, err := d1.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	objects, err := db.Objects(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(objects, func(o d1.Object) bool { return o.Type == "table" && strings.EqualFold(o.Name, s.Identity.Table) }) {
		return nil
	}
	_, err = db.Query(ctx, "UPDATE "+quoteName(s.Identity.Table)+" SET value = ? WHERE key = ? AND value <> ?1", s.Slug, s.Identity.Key)
	if err != nil {
		return fmt.Errorf("changing whose the database is: %w", err)
	}
	return nil
}

// source is an object that is to be written, and where its content comes from.
type source struct {
	packedObject
	open func(ctx context.Context) (*spooled, error)
}

// unpacking is a restore, or a copy, under way.
type unpacking struct {
	Shop
	dir     string
	p       Progress
	dump    *Dumped
	objects []source
	there   map[string]cloudflare.Object
}

// tooLarge says whether the API does not take an object, and nobody has brought it another way.
func (u *unpacking) tooLarge(o source) bool {
	t, ok := u.there[o.Key]
	return o.Size > cloudflare.MaxR2Upload && !(ok && t.Size == o.Size)
}

// admit looks whether database and bucket are empty, or as an earlier run left them.
func (u *unpacking) admit(ctx context.Context) error {
	if u.Bucket != "" {
		list, err := u.Shop.objects(ctx)
		if err != nil {
			return err
		}
		wanted := map[string]source{}
		for _, o := range u.objects {
			wanted[o.Key] = o
		}
		u.there = map[string]cloudflare.Object{}
		var foreign []string
		for _, o := range list {
			if w, ok := wanted[o.Key]; !ok || w.Size != o.Size || isMD5(w.ETag) && isMD5(o.ETag) && w.ETag != o.ETag {
				foreign = append(foreign, o.Key)
			}
			u.there[o.Key] = o
		}
		if len(foreign) > 0 {
			return u.notEmpty("bucket "+u.Bucket, "objects", foreign)
		}
	}
	if u.dump == nil {
		return nil
	}
	return u.admitDatabase(ctx)
}

func (u *unpacking) notEmpty(where, what string, names []string) error {
	return refuse("restore-not-empty", fmt.Sprintf("%s of shop %s is not empty: it has %s %s", where, u.Slug, what, firstOf(names)),
		"only an empty shop is filled, so that nothing is overwritten: take a new one (shopfleet onboard), or empty this one by hand if you are sure")
}

// admitDatabase lets an empty database pass, one that an earlier run has begun to fill or filled, and one that holds
// exactly what the shop's migrations make: that is emptied.
func (u *unpacking) admitDatabase(ctx context.Context) error {
	b := u.bootstrap()
	have, err := b.look(ctx, u.Ledger.Own)
	if err != nil {
		return err
	}
	if err := b.setLedgerAside(ctx, u.dump, &have); err != nil {
		return err
	}
	already, err := b.admit(ctx, u.dump, have, &Bootstrapped{})
	var findings Findings
	if err == nil || already || !errors.As(err, &findings) {
		return err
	}
	if findings[0].Rule == "target-not-empty" && len(u.Fresh) > 0 {
		if fresh, err := u.emptied(ctx); err != nil || fresh {
			return err
		}
	}
	for i := range findings {
		if findings[i].Rule == "target-not-empty" {
			return u.notEmpty("database "+u.Database.Name, "tables", slices.Concat(have.tables, have.views))
		}
	}
	return findings
}

func (u *unpacking) bootstrap() *Bootstrap {
	return &Bootstrap{CF: u.CF, Database: u.Database, Progress: u.p, Sleep: u.Sleep}
}

// emptied drops everything in a database that has what the shop's migrations make and nothing else, in one transaction
// that fails when a row came meanwhile.
func (u *unpacking) emptied(ctx context.Context) (bool, error) {
	want, err := d1.ReplayAll(ctx, u.Fresh)
	if errors.Is(err, d1.ErrRefused) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer want.Close()
	list, err := objects(ctx, u.CF, u.Database)
	if err != nil {
		return false, err
	}
	live, err := d1.SchemaOf(ctx, list, u.ledger().aside()...)
	if err != nil {
		return false, fmt.Errorf("reading the schema of %s: %w", u.Database.Name, err)
	}
	made, err := want.Schema(ctx, u.ledger().aside()...)
	if err != nil || len(d1.Compare(made, live)) > 0 {
		return false, err
	}
	if err := u.label(ctx, want); err != nil {
		return false, err
	}
	queries, err := want.SumQueries(ctx, u.ledger().aside()...)
	if err != nil {
		return false, err
	}
	sums, err := want.Sums(ctx, queries)
	if err != nil {
		return false, err
	}
	now, err := liveSums(ctx, u.CF, u.Database, queries, u.p)
	if err != nil {
		return false, err
	}
	var mismatch *MismatchError
	if _, err := compare(sums, now); errors.As(err, &mismatch) {
		return false, nil
	}
	_, err = u.CF.D1Exec(ctx, u.Database.ID, dropAll(list, sums, u.Ledger.Own))
	if err != nil {
		return false, fmt.Errorf("emptying %s of what its migrations made: %w", u.Database.Name, err)
	}
	return true, nil
}

// label puts the shop's record into the product's own table, where the live one has it: adopting a shop writes it.
func (u *unpacking) label(ctx context.Context, db *d1.DB) error {
	if u.Identity.Table == "" {
		return nil
	}
	rows, err := u.CF.D1Read(ctx, u.Database.ID, "SELECT i.value AS value FROM "+quoteName(u.Identity.Table)+" AS i WHERE i.key = ?", u.Identity.Key)
	var list []struct{ Value string }
	if err == nil {
		err = rows.Decode(&list)
	}
	if err != nil {
		return fmt.Errorf("reading whose %s is: %w", u.Database.Name, err)
	}
	if len(list) == 1 && list[0].Value == u.Slug {
		_, err = db.Query(ctx, "INSERT OR REPLACE INTO "+quoteName(u.Identity.Table)+" (key, value) VALUES (?, ?)", u.Identity.Key, u.Slug)
	}
	return err
}

// dropAll is the SQL that empties a database, if its tables still have as many rows as they had.
func dropAll(list []d1.Object, sums []d1.TableSum, keep []string) string {
	var b strings.Builder
	for _, t := range sums {
		fmt.Fprintf(&b, "SELECT json(iif(n = %d, '1', 'rows came meanwhile')) FROM (SELECT count(*) AS n FROM %s);\n", t.Rows, quoteName(t.Table))
	}
	b.WriteString("PRAGMA defer_foreign_keys=TRUE;\n")
	drop := func(kind, word string, want func(d1.Object) bool) {
		for _, o := range slices.Backward(list) {
			if o.Type == kind && !containsFold(keep, o.Table) && want(o) {
				fmt.Fprintf(&b, "DROP %s IF EXISTS %s;\n", word, quoteName(o.Name))
			}
		}
	}
	all := func(d1.Object) bool { return true }
	virtual := func(o d1.Object) bool { return strings.HasPrefix(strings.ToUpper(o.SQL), "CREATE VIRTUAL") }
	drop("trigger", "TRIGGER", all)
	drop("view", "VIEW", all)
	drop("table", "TABLE", virtual) // its own tables go with it
	var virtuals []string
	for _, o := range list {
		if virtual(o) {
			virtuals = append(virtuals, o.Name+"_")
		}
	}
	drop("table", "TABLE", func(o d1.Object) bool {
		return !virtual(o) && !slices.ContainsFunc(virtuals, func(v string) bool { return strings.HasPrefix(o.Name, v) })
	})
	return b.String()
}

// database fills the database.
func (u *unpacking) database(ctx context.Context) ([]Comparison, error) {
	if u.dump == nil {
		return nil, nil
	}
	done, err := u.bootstrap().Run(ctx, u.dump)
	if err != nil {
		return done.Tables, fmt.Errorf("filling the database of %s: %w", u.Slug, err)
	}
	return done.Tables, nil
}

// admitKeys looks whether the namespace is empty, or holds only keys that an earlier run brought: with the same value.
func (u *unpacking) admitKeys(ctx context.Context, wanted map[string]packedKey, values func(each func(packedKey) error) error) error {
	list, err := u.Shop.keys(ctx)
	if err != nil || len(list) == 0 {
		return err
	}
	var foreign []string
	present := map[string][]byte{}
	for _, k := range list {
		if _, ok := wanted[k.Name]; !ok {
			foreign = append(foreign, k.Name)
		}
		present[k.Name] = nil
	}
	if len(foreign) == 0 {
		if err := u.Shop.values(ctx, list, func(k packedKey) error {
			present[k.Key] = k.Value
			return nil
		}); err != nil {
			return err
		}
		if err := values(func(k packedKey) error {
			if v, ok := present[k.Key]; ok && string(v) != string(k.Value) {
				foreign = append(foreign, k.Key)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if len(foreign) > 0 {
		return u.notEmpty("KV namespace "+u.Namespace, "keys", foreign)
	}
	return nil
}

// KV shows what was written a minute later at the latest (Cloudflare's docs on consistency), so it is asked again for that long.
const (
	kvLooks = 13
	kvPause = 5 * time.Second
)

// compareKeys holds the namespace against what it is to have.
func (s Shop) compareKeys(ctx context.Context, wanted map[string]packedKey, p Progress) error {
	for look := 1; ; look++ {
		p.tell("comparing keys", 0, 0)
		list, err := s.keys(ctx)
		if err != nil {
			return err
		}
		differ := s.differences(list, wanted)
		if len(differ) == 0 {
			return nil
		}
		if look == kvLooks {
			return &MismatchError{Schema: []string{"keys of KV namespace " + s.Namespace + ": " + firstOf(differ)}}
		}
		if err := s.sleep(ctx, kvPause); err != nil {
			return fmt.Errorf("comparing KV namespace %s: %w", s.Namespace, err)
		}
	}
}

// differences are the keys that are missing, too many, or have another expiration or metadata than wanted. One whose time
// has come may be there or not.
func (s Shop) differences(list []cloudflare.KVKey, wanted map[string]packedKey) (names []string) {
	there := map[string]bool{}
	for _, k := range list {
		there[k.Name] = true
		w, ok := wanted[k.Name]
		if !ok || w.Expiration != k.Expiration || compact(w.Metadata) != compact(k.Metadata) {
			names = append(names, k.Name)
		}
	}
	for name, w := range wanted {
		if !there[name] && !s.passed(w.Expiration) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// compact is JSON in one form, so that blanks make no difference.
func compact(text json.RawMessage) string {
	var b bytes.Buffer
	if len(text) == 0 || json.Compact(&b, text) != nil {
		return string(text)
	}
	return b.String()
}

// putObjects writes the objects that are not there yet, and compares all of them afterwards. known is how many were there.
func (u *unpacking) putObjects(ctx context.Context) (known int, err error) {
	tell := &counter{p: u.p, doing: "writing objects"}
	var todo []source
	for _, o := range u.objects {
		there, ok := u.there[o.Key]
		switch {
		case u.tooLarge(o):
		case o.Size > cloudflare.MaxR2Upload, ok && isMD5(o.ETag) && there.ETag == o.ETag && there.Size == o.Size && sameHTTP(there.HTTP, o.HTTP):
			known++
		default:
			todo = append(todo, o)
			tell.total += o.Size
		}
	}
	sums := make([]string, len(todo)) // MD5
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(manyAtOnce)
	for i, o := range todo {
		group.Go(func() (err error) {
			got, err := o.open(gctx)
			if err != nil {
				return fmt.Errorf("reading the object %q: %w", o.Key, err)
			}
			defer func() { err = errors.Join(err, got.drop()) }()
			sums[i] = got.md5
			up := cloudflare.ObjectUpload{Key: o.Key, Size: got.size, StorageClass: o.StorageClass, HTTP: o.HTTP}
			if err := putObject(gctx, u.CF, u.Bucket, u.Jurisdiction, up, got.file); err != nil {
				return err
			}
			tell.add(got.size)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return known, err
	}
	list, err := u.Shop.objects(ctx)
	if err != nil {
		return known, err
	}
	there := map[string]cloudflare.Object{}
	for _, o := range list {
		there[o.Key] = o
	}
	var differ []string
	for i, o := range todo {
		if t, ok := there[o.Key]; !ok || t.Size != o.Size || isMD5(t.ETag) && t.ETag != sums[i] {
			differ = append(differ, o.Key)
		}
	}
	for _, o := range u.objects {
		if t, ok := there[o.Key]; !u.tooLarge(o) && (!ok || t.Size != o.Size) && !slices.Contains(differ, o.Key) {
			differ = append(differ, o.Key)
		}
	}
	if len(differ) > 0 {
		return known, &MismatchError{Schema: []string{fmt.Sprintf("objects of bucket %s: %s", u.Bucket, firstOf(differ))}}
	}
	return known, nil
}

func sameHTTP(a, b cloudflare.ObjectHTTP) bool {
	if a.ContentType == "" {
		a.ContentType = "application/octet-stream" // what an upload without one is
	}
	if b.ContentType == "" {
		b.ContentType = a.ContentType
	}
	same := a.CacheExpiry.Equal(b.CacheExpiry)
	a.CacheExpiry, b.CacheExpiry = time.Time{}, time.Time{}
	return same && a == b
}

// count is how many objects are there now, and their bytes.
func (u *unpacking) count() (n int, size int64) {
	for _, o := range u.objects {
		if !u.tooLarge(o) {
			n++
			size += o.Size
		}
	}
	return n, size
}

// notes are what was lost of objects that are there.
func (u *unpacking) notes() []d1.Finding {
	var names []string
	for _, o := range u.objects {
		if len(o.Custom) > 0 {
			names = append(names, o.Key)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []d1.Finding{{Rule: "object-metadata", Level: "warning",
		Message: fmt.Sprintf("%d objects had custom metadata, which Cloudflare's REST API cannot write: %s", len(names), firstOf(names)),
		Hint:    "write it with the S3 API or a Worker, where the product needs it; the list of objects in the backup has it"}}
}

// left are the objects that could not be written.
func (u *unpacking) left() error {
	var names []string
	for _, o := range u.objects {
		if u.tooLarge(o) {
			names = append(names, o.Key)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return refuse("object-too-large", fmt.Sprintf("bucket %s: %d objects are larger than the %d MB that Cloudflare's REST API takes, and were not written: %s",
		u.Bucket, len(names), cloudflare.MaxR2Upload>>20, firstOf(names)),
		"everything else is there; copy these over R2's S3 API, for example with rclone (docs/backup.md), and run the command again")
}
