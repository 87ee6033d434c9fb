package transfer_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/simtest"
	"github.com/kvick/shopfleet/internal/transfer"
)

const (
	account2  = "2b8e1c4f7a9d4c3d8e5f6a7b8c9d0e1f"
	database2 = "5a4e7c1d-9b3f-4f6a-8e2d-7c6b5a493827"
	kv1       = "a1f0c3d2e4b5968778695a4b3c2d1e0f"
	kv2       = "b2e1d4c3f5a6879869786b5c4d3e2f10"
)

var later = time.Now().Add(24 * time.Hour).Unix()

// towns are two accounts: one with a shop, one with its stores empty and a bucket for backups.
type towns struct {
	*simtest.World
	t        *testing.T
	one, two transfer.Shop
	objects  map[string]string
	pairs    []cloudflare.KVPair
	backup   transfer.Bucket
}

func newTowns(t *testing.T) *towns {
	t.Helper()
	w := simtest.New(t, sim.Options{RateLimit: -1})
	a, b := w.Account(t, account, "kvick-1"), w.Account(t, account2, "kvick-2")
	if err := errors.Join(
		a.AddD1("helm-swicked-db", database, "wnam"), a.AddKV("helm-swicked-kv", kv1), a.AddR2("helm-swicked-assets"),
		b.AddD1("helm-swicked-db", database2, "wnam"), b.AddKV("helm-swicked-kv", kv2), b.AddR2("helm-swicked-assets"), b.AddR2("kvick-backups"),
	); err != nil {
		t.Fatal(err)
	}
	shop := func(account, db, kv string) transfer.Shop {
		return transfer.Shop{
			CF: &cloudflare.Client{
				BaseURL: w.URL, AccountID: account, Token: simtest.Token, Transport: cloudflare.LoopbackOnly(nil), Budget: &cloudflare.Budget{Limit: 1e6, PerSecond: 1e6},
				Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
			},
			Slug: "swicked", Database: transfer.Database{ID: db, Name: "helm-swicked-db"}, Bucket: "helm-swicked-assets", Namespace: kv,
			Ledger:   transfer.Ledger{Tables: ledger.Tables, Own: []string{"_shop_identity"}},
			Identity: transfer.Identity{Key: "shop_identity"},
			Now:      time.Now, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }, TempDir: t.TempDir(),
		}
	}
	s := &towns{World: w, t: t, one: shop(account, database, kv1), two: shop(account2, database2, kv2)}
	s.backup = transfer.Bucket{CF: s.two.CF, Name: "kvick-backups", Prefix: "kvick/"}
	return s
}

const identity = "CREATE TABLE _shop_identity(key TEXT PRIMARY KEY, value TEXT NOT NULL); INSERT INTO _shop_identity VALUES ('shop_identity', '%s');"

// open fills the first shop.
func (s *towns) open() *towns {
	s.t.Helper()
	ctx, cf := s.t.Context(), s.one.CF
	s.must(second(cf.D1Exec(ctx, database, "PRAGMA defer_foreign_keys=on;"+shop+fmt.Sprintf(identity, "swicked"))))
	s.pairs = []cloudflare.KVPair{
		{Key: "cart/é?#%", Value: []byte("text"), Metadata: []byte(`{"a": [1, null]}`), Expiration: later},
		{Key: "binary", Value: []byte{0xff, 0, '\n'}}, {Key: "empty"}, {Key: "sign", Value: []byte("a\ufffdb")},
	}
	for i := range 250 {
		s.pairs = append(s.pairs, cloudflare.KVPair{Key: fmt.Sprintf("n%03d", i), Value: []byte(strings.Repeat("v", i))})
	}
	s.must(cf.PutKVBulk(ctx, kv1, append(slices.Clone(s.pairs), cloudflare.KVPair{Key: "shop_identity", Value: []byte("swicked")})))
	s.objects = map[string]string{"photos/a b/é.webp": strings.Repeat("\x00\xff", 3000), "empty": "", "same": "twice", "same/again": "twice", "a//b": "x"}
	for key, content := range s.objects {
		s.put(s.one, key, content)
	}
	s.put(s.one, "shop_identity", "swicked")
	return s
}

func second[T any](_ T, err error) error { return err }

func (s *towns) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *towns) put(into transfer.Shop, key, content string) {
	s.t.Helper()
	s.must(second(into.CF.UploadR2Object(context.Background(), into.Bucket, "", cloudflare.ObjectUpload{
		Key: key, Size: int64(len(content)), HTTP: cloudflare.ObjectHTTP{ContentType: "image/webp", CacheControl: "max-age=" + fmt.Sprint(len(content))},
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	})))
}

// kept is everything in a shop's stores, but for whose they are.
func (s *towns) kept(from transfer.Shop) string {
	s.t.Helper()
	ctx := context.Background()
	var b strings.Builder
	for _, q := range []string{
		"SELECT type, name, sql FROM sqlite_master WHERE name NOT GLOB '_cf_*' AND tbl_name <> '_shop_identity' ORDER BY type, name",
		"SELECT id, hex(name) AS name, CAST(big AS TEXT) AS big, r, hex(b) AS b FROM customers ORDER BY id", "SELECT * FROM sales", "SELECT a, b, hex(v) AS v FROM settings",
		"SELECT rowid, x FROM heap", "SELECT * FROM node", "SELECT rowid, body FROM notes", "SELECT id, name FROM d1_migrations", "SELECT * FROM sqlite_sequence ORDER BY name",
	} {
		rows, err := from.CF.D1Read(ctx, from.Database.ID, q)
		if err != nil {
			fmt.Fprintf(&b, "%v\n", strings.Contains(err.Error(), "no such table"))
			continue
		}
		fmt.Fprintf(&b, "%s\n", rows.Rows)
	}
	keys, err := from.CF.KVKeys(ctx, from.Namespace, "")
	s.must(err)
	for _, k := range keys {
		value, err := from.CF.KVValue(ctx, from.Namespace, k.Name)
		s.must(err)
		if k.Name != "shop_identity" {
			fmt.Fprintf(&b, "%q %q %s %d\n", k.Name, value, k.Metadata, k.Expiration)
		}
	}
	objects, err := from.CF.R2Objects(ctx, from.Bucket, "", "")
	s.must(err)
	for _, o := range objects {
		content, err := from.CF.R2Object(ctx, from.Bucket, "", o.Key)
		s.must(err)
		if o.Key != "shop_identity" {
			fmt.Fprintf(&b, "%q %x %+v\n", o.Key, content, o.HTTP)
		}
	}
	return b.String()
}

func (s *towns) identities(of transfer.Shop) string {
	s.t.Helper()
	value, err := of.CF.KVValue(context.Background(), of.Namespace, "shop_identity")
	if err != nil && !errors.Is(err, cloudflare.ErrNotFound) {
		s.t.Fatal(err)
	}
	object, err := of.CF.R2Object(context.Background(), of.Bucket, "", "shop_identity")
	if err != nil && !errors.Is(err, cloudflare.ErrNotFound) {
		s.t.Fatal(err)
	}
	rows, err := of.CF.D1Read(context.Background(), of.Database.ID, "SELECT value FROM _shop_identity")
	if err != nil {
		return value + "," + string(object) + ",none"
	}
	return value + "," + string(object) + "," + string(rows.Rows)
}

func at(n int) transfer.Manifest {
	return transfer.Manifest{At: time.Date(2026, 11, 28, 3, 0, n, 0, time.UTC), Commit: "c0ffee", Account: account, Tool: "shopfleet test"}
}

// stores are both kinds of Store.
func (s *towns) stores() map[string]transfer.Store {
	small := s.backup
	small.Prefix, small.MaxPut = "small", 1000
	return map[string]transfer.Store{"folder": transfer.Folder{Dir: filepath.Join(s.t.TempDir(), "backups")}, "bucket": s.backup, "bucket of small pieces": small}
}

func TestStores(t *testing.T) {
	s := newTowns(t)
	for name, store := range s.stores() {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if list, err := store.List(ctx, "shops/"); err != nil || len(list) != 0 {
				t.Errorf("an empty store has %v, %v", list, err)
			}
			for _, key := range []string{"shops/b/1", "shops/a/2", "shops/a/1", "objects/a"} {
				if err := store.Put(ctx, key, strings.NewReader(key), int64(len(key))); err != nil {
					t.Fatal(err)
				}
			}
			if err := store.Put(ctx, "short", strings.NewReader("abc"), 4); err == nil {
				t.Error("three bytes were kept as four")
			}
			if err := store.Put(ctx, "cut", io.LimitReader(strings.NewReader("abc"), 2), 3); err == nil {
				t.Error("two bytes were kept as three")
			}
			if list, err := store.List(ctx, ""); err != nil || !slices.Equal(list, []string{"objects/a", "shops/a/1", "shops/a/2", "shops/b/1"}) {
				t.Errorf("it has %v, %v", list, err)
			}
			if list, err := store.List(ctx, "shops/a/"); err != nil || !slices.Equal(list, []string{"shops/a/1", "shops/a/2"}) {
				t.Errorf("below shops/a/ it has %v, %v", list, err)
			}
			r, err := store.Get(ctx, "shops/a/1")
			if err != nil {
				t.Fatal(err)
			}
			if text, err := io.ReadAll(r); err != nil || string(text) != "shops/a/1" || r.Close() != nil {
				t.Errorf("read %q, %v", text, err)
			}
			if _, err := store.Get(ctx, "nobody"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("reading what is not there: %v", err)
			}
			for range 2 {
				if err := store.Delete(ctx, "shops/b/1"); err != nil {
					t.Error(err)
				}
			}
			if list, err := store.List(ctx, "shops/b"); err != nil || len(list) != 0 {
				t.Errorf("after deleting it has %v, %v", list, err)
			}
		})
	}
	folder := transfer.Folder{Dir: t.TempDir()}
	for _, key := range []string{"../x", "/x", "a/../../x", "", "."} {
		if err := folder.Put(t.Context(), key, strings.NewReader(""), 0); err == nil {
			t.Errorf("%q was written", key)
		}
		if _, err := folder.Get(t.Context(), key); err == nil {
			t.Errorf("%q was read", key)
		}
	}
}

// What is packed comes out of every kind of store as it was, and a second backup reads only what is new.
func TestBackupAndRestore(t *testing.T) {
	for _, kind := range []string{"folder", "bucket", "bucket of small pieces"} {
		t.Run(kind, func(t *testing.T) {
			s := newTowns(t).open()
			store, ctx := s.stores()[kind], t.Context()
			before := s.kept(s.one)
			readOnly := s.one
			readOnly.CF = s.one.CF.ReadOnly()
			m, err := transfer.Backup(ctx, readOnly, store, at(1), nil)
			if err != nil {
				t.Fatal(err)
			}
			if m.Shop != "swicked" || m.Commit != "c0ffee" || m.KV.Keys != 254 || m.R2.Objects != 5 || m.R2.Reused != 0 || len(m.D1.Tables) != 8 {
				t.Errorf("manifest %+v", m)
			}
			checked, err := transfer.Verify(ctx, store, m, t.TempDir(), nil)
			if err != nil || checked.Objects != 5 || checked.Keys != 254 || checked.Rows == 0 {
				t.Errorf("verified %+v, %v", checked, err)
			}
			s.put(s.one, "new", "content")
			s.put(s.one, "same", "other")
			s.must(s.one.CF.DeleteR2Object(ctx, s.one.Bucket, "", "empty"))
			s.ForgetRequests()
			m2, err := transfer.Backup(ctx, readOnly, store, at(2), nil)
			if err != nil {
				t.Fatal(err)
			}
			if m2.R2.Objects != 5 || m2.R2.Reused != 3 {
				t.Errorf("the second backup %+v", m2.R2)
			}
			reads := 0
			for _, r := range s.Requests() {
				if r.Method == http.MethodGet && strings.Contains(r.Path, "/helm-swicked-assets/objects/") {
					reads++
				}
			}
			if reads != 2 {
				t.Errorf("the second backup read %d objects", reads)
			}
			if _, err := transfer.Backup(ctx, readOnly, store, at(2), nil); err == nil {
				t.Error("two backups of one second")
			}

			found, err := transfer.FindBackup(ctx, store, "swicked", "2026-11-28 03:00:01")
			if err != nil || !reflect.DeepEqual(found, m) {
				t.Fatalf("found %+v, %v; want %+v", found, err, m)
			}
			// The target is another's already by its records, which stay.
			s.must(s.two.CF.PutKVValue(ctx, kv2, "shop_identity", "bolt"))
			s.put(s.two, "shop_identity", "bolt")
			s.must(second(s.two.CF.D1Exec(ctx, database2, fmt.Sprintf(identity, "bolt"))))
			bolt := s.two
			bolt.Slug = "bolt"
			out, err := transfer.RestoreInto(ctx, store, found, bolt, nil)
			if err != nil {
				t.Fatal(err)
			}
			if out.Keys != 254 || out.Objects != 5 || out.Known != 0 || out.Of != "swicked" || len(out.Tables) != 7 || len(out.Notes) != 0 {
				t.Errorf("restored %+v", out)
			}
			if got := s.kept(s.two); got != before {
				t.Errorf("restored is\n%s\nwant\n%s", got, before)
			}
			if got := s.identities(s.two); got != `bolt,bolt,[{"value":"bolt"}]` {
				t.Errorf("it is %s's now", got)
			}
			// Once more there is nothing left to do.
			again, err := transfer.RestoreInto(ctx, store, found, bolt, nil)
			if err != nil || again.Known != 5 {
				t.Errorf("again: %+v, %v", again, err)
			}
			// Another backup does not go over it.
			var findings transfer.Findings
			if _, err := transfer.RestoreInto(ctx, store, m2, bolt, nil); !errors.As(err, &findings) || findings[0].Rule != "restore-not-empty" {
				t.Errorf("another backup: %v", err)
			}
			if got := s.kept(s.two); got != before {
				t.Error("it changed something")
			}
		})
	}
}

// Whatever call a backup, a restore or a copy dies at, before or after its effect, the same command finishes it.
func TestKilledSuitcase(t *testing.T) {
	s := newTowns(t).open()
	want := s.kept(s.one)
	store := transfer.Folder{Dir: t.TempDir()}
	m, err := transfer.Backup(t.Context(), s.one, store, at(0), nil)
	s.must(err)
	for name, run := range map[string]func(*towns) error{
		"copy": func(w *towns) error {
			return second(transfer.Copy(context.Background(), w.one, w.two, t.TempDir(), nil))
		},
		"restore": func(w *towns) error {
			return second(transfer.RestoreInto(context.Background(), store, m, w.two, nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTowns(t)
			if name == "copy" {
				w.open()
			}
			w.ForgetRequests()
			w.must(run(w))
			calls := len(w.Requests())
			step := max(1, calls/9) // each is a world of its own
			for kill := 0; kill < calls; kill += step {
				for _, drop := range []sim.Drop{sim.DropBefore, sim.DropAfter} {
					w := newTowns(t)
					if name == "copy" {
						w.open()
					}
					// Cut off for good: nothing gets through any more.
					if _, err := w.Fault(sim.Rule{Method: "", Path: "", Skip: kill, Count: -1, Drop: drop}); err != nil {
						t.Fatal(err)
					}
					if err := run(w); err == nil {
						t.Fatalf("killed at %d, it says that it is done", kill)
					}
					w.ClearFaults()
					if err := run(w); err != nil {
						t.Errorf("after it was killed at %d (%s): %v", kill, drop, err)
						continue
					}
					if got := w.kept(w.two); got != want {
						t.Errorf("after it was killed at %d (%s) it has\n%s\nwant\n%s", kill, drop, got, want)
					}
				}
			}
		})
	}
}

func TestCopy(t *testing.T) {
	s := newTowns(t).open()
	before := s.kept(s.one)
	readOnly := s.one
	readOnly.CF = s.one.CF.ReadOnly()
	out, err := transfer.Copy(t.Context(), readOnly, s.two, "", nil)
	if err != nil || out.Keys != 254 || out.Objects != 5 || len(out.Tables) != 7 {
		t.Fatalf("copied %+v, %v", out, err)
	}
	if got := s.kept(s.two); got != before {
		t.Errorf("the copy is\n%s\nwant\n%s", got, before)
	}
	if got := s.identities(s.two); got != ",,none" {
		t.Errorf("identities were copied: %s", got)
	}
	again, err := transfer.Copy(t.Context(), readOnly, s.two, "", nil)
	if err != nil || again.Known != 5 {
		t.Errorf("again: %+v, %v", again, err)
	}
	// What is somebody else's is in the way, whichever store it is in.
	var findings transfer.Findings
	s.put(s.two, "foreign", "x")
	if _, err := transfer.Copy(t.Context(), readOnly, s.two, "", nil); !errors.As(err, &findings) || findings[0].Rule != "restore-not-empty" || !strings.Contains(findings[0].Message, `"foreign"`) {
		t.Errorf("over another object: %v", err)
	}
	s.must(s.two.CF.DeleteR2Object(t.Context(), s.two.Bucket, "", "foreign"))
	s.must(s.two.CF.PutKVValue(t.Context(), kv2, "n001", "other"))
	if _, err := transfer.Copy(t.Context(), readOnly, s.two, "", nil); !errors.As(err, &findings) || !strings.Contains(findings[0].Message, `"n001"`) {
		t.Errorf("over another value: %v", err)
	}
}

// A shop that was just onboarded has tables, and what its migrations put into them: that is no obstacle, a row more is.
func TestRestoreIntoFreshShop(t *testing.T) {
	s := newTowns(t).open()
	store := transfer.Folder{Dir: t.TempDir()}
	m, err := transfer.Backup(t.Context(), s.one, store, at(0), nil)
	s.must(err)
	files, l := migrations(`CREATE TABLE parents(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE children(id INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER NOT NULL REFERENCES parents(id));
		INSERT INTO parents VALUES (1, 'x'); INSERT INTO children(parent) VALUES (1); CREATE VIRTUAL TABLE search USING fts5(body); CREATE VIEW v AS SELECT * FROM parents;
		CREATE TABLE facts(key TEXT PRIMARY KEY, value TEXT); INSERT INTO facts VALUES ('version', '1');
		CREATE TRIGGER stays BEFORE DELETE ON parents BEGIN SELECT raise(ABORT, 'never'); END;`)
	fresh := func() transfer.Shop {
		w := newTowns(t)
		w.two.Fresh, w.two.Identity.Table = files, "facts"
		w.must(second(w.two.CF.D1Exec(t.Context(), database2, files[0].SQL+l.SQL+fmt.Sprintf(identity, "swicked")+"INSERT INTO facts VALUES ('shop_identity', 'swicked')")))
		return w.two
	}
	into := fresh()
	if _, err := transfer.RestoreInto(t.Context(), store, m, into, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := s.kept(into), s.kept(s.one); got != want {
		t.Errorf("restored is\n%s\nwant\n%s", got, want)
	}
	if got := s.identities(into); !strings.HasSuffix(got, `[{"value":"swicked"}]`) {
		t.Errorf("the identity is %s", got)
	}
	for _, sql := range []string{"INSERT INTO parents VALUES (2, 'y')", "UPDATE parents SET name = 'z'", "CREATE TABLE more(a)", "UPDATE facts SET value = 'bolt' WHERE key = 'shop_identity'"} {
		into := fresh()
		s.must(second(into.CF.D1Exec(t.Context(), database2, sql)))
		before := s.kept(into)
		var findings transfer.Findings
		if _, err := transfer.RestoreInto(t.Context(), store, m, into, nil); !errors.As(err, &findings) || findings[0].Rule != "restore-not-empty" {
			t.Errorf("after %s: %v", sql, err)
		}
		if s.kept(into) != before {
			t.Errorf("after %s it changed something", sql)
		}
	}
}

// The record in the product's own table becomes that of the shop that it is restored into.
func TestRestoreRelabels(t *testing.T) {
	s := newTowns(t)
	s.must(second(s.one.CF.D1Exec(t.Context(), database, "CREATE TABLE facts(key TEXT PRIMARY KEY, value TEXT); INSERT INTO facts VALUES ('shop_identity', 'swicked'), ('name', 'swicked')")))
	store := transfer.Folder{Dir: t.TempDir()}
	m, err := transfer.Backup(t.Context(), s.one, store, at(0), nil)
	s.must(err)
	s.two.Slug, s.two.Identity.Table = "bolt", "facts"
	s.must(second(transfer.RestoreInto(t.Context(), store, m, s.two, nil)))
	rows, err := s.two.CF.D1Read(t.Context(), database2, "SELECT * FROM facts ORDER BY key")
	if err != nil || string(rows.Rows) != `[{"key":"name","value":"swicked"},{"key":"shop_identity","value":"bolt"}]` {
		t.Errorf("it has %s, %v", rows.Rows, err)
	}
}

// Every file of a backup is missed when it is gone, and distrusted when a byte of it is another.
func TestDamagedBackup(t *testing.T) {
	s := newTowns(t).open()
	dir := t.TempDir()
	store := transfer.Folder{Dir: dir}
	m, err := transfer.Backup(t.Context(), s.one, store, at(0), nil)
	s.must(err)
	keys, err := store.List(t.Context(), "")
	s.must(err)
	if len(keys) != 4+4 { // two objects have one content
		t.Fatalf("it has %v", keys)
	}
	empty := s.kept(s.two)
	for _, key := range keys {
		name := filepath.Join(dir, filepath.FromSlash(key))
		text, err := os.ReadFile(name)
		s.must(err)
		for _, harm := range []string{"gone", "changed", "longer"} {
			switch harm {
			case "gone":
				s.must(os.Remove(name))
			case "changed":
				other := bytes.Clone(text)
				if len(other) == 0 {
					continue
				}
				other[len(other)/2] ^= 1
				s.must(os.WriteFile(name, other, 0o600))
			case "longer":
				s.must(os.WriteFile(name, append(bytes.Clone(text), 'x'), 0o600))
			}
			if strings.HasSuffix(key, "manifest.json") {
				_, err = transfer.FindBackup(t.Context(), store, "swicked", "")
				if harm == "changed" && err == nil {
					continue // one digit of a number may be another, and is found out by what it is of
				}
			} else {
				_, err = transfer.Verify(t.Context(), store, m, t.TempDir(), nil)
			}
			var findings transfer.Findings
			if !errors.As(err, &findings) || findings[0].Rule != "backup-damaged" && findings[0].Rule != "backup-missing" {
				t.Errorf("%s %s: %v", key, harm, err)
			}
			if !strings.HasPrefix(key, "objects/") || harm == "gone" {
				if _, err := transfer.RestoreInto(t.Context(), store, m, s.two, nil); err == nil && !strings.HasSuffix(key, "manifest.json") {
					t.Errorf("%s %s: it was restored", key, harm)
				}
				if !strings.HasSuffix(key, "manifest.json") && s.kept(s.two) != empty {
					t.Fatalf("%s %s: something was written", key, harm)
				}
			}
		}
		s.must(os.WriteFile(name, text, 0o600))
		if strings.HasSuffix(key, "manifest.json") {
			s.two = newTowns(t).two
		}
	}
}

func TestFindBackup(t *testing.T) {
	s := newTowns(t)
	store := transfer.Folder{Dir: t.TempDir()}
	for n := range 3 {
		s.must(second(transfer.Backup(t.Context(), s.one, store, at(10*n), nil)))
	}
	// One that was cut off has no manifest.
	s.must(store.Put(t.Context(), "shops/swicked/20270101T000000Z/d1.sql.gz", strings.NewReader(""), 0))
	for text, want := range map[string]int{"": 20, "20261128T030010Z": 10, "2026-11-28T03:00:19Z": 10, "2026-11-28 03:00": 20, "2026-11-28": 20, "2027-01-01": 20} {
		if m, err := transfer.FindBackup(t.Context(), store, "swicked", text); err != nil || m.At.Second() != want {
			t.Errorf("%q: %+v, %v", text, m, err)
		}
	}
	var findings transfer.Findings
	if _, err := transfer.FindBackup(t.Context(), store, "swicked", "2026-11-27"); !errors.As(err, &findings) || findings[0].Rule != "backup-missing" {
		t.Errorf("before the first: %v", err)
	}
	if _, err := transfer.FindBackup(t.Context(), store, "bolt", ""); !errors.As(err, &findings) {
		t.Errorf("of another shop: %v", err)
	}
	var noTime *transfer.TimeError
	if _, err := transfer.FindBackup(t.Context(), store, "swicked", "yesterday"); !errors.As(err, &noTime) {
		t.Errorf("no time: %v", err)
	}
	list, err := transfer.Backups(t.Context(), store, "")
	if err != nil || len(list) != 3 || list[0].Shop != "swicked" {
		t.Errorf("listed %+v, %v", list, err)
	}
}

// Pruning keeps the newest and every content that they need.
func TestPrune(t *testing.T) {
	s := newTowns(t).open()
	store := transfer.Folder{Dir: t.TempDir()}
	var newest *transfer.Manifest
	for n := range 3 {
		s.put(s.one, "changes", fmt.Sprint("content ", n))
		m, err := transfer.Backup(t.Context(), s.one, store, at(n), nil)
		s.must(err)
		newest = m
	}
	s.must(store.Put(t.Context(), "shops/swicked/20200101T000000Z/d1.sql.gz", strings.NewReader(""), 0))
	s.must(store.Put(t.Context(), "shops/bolt/20200101T000000Z/d1.sql.gz", strings.NewReader(""), 0))
	if _, err := transfer.Prune(t.Context(), store, "swicked", 0, newest.At, ""); err == nil {
		t.Error("all of them were deleted")
	}
	if gone, err := transfer.Prune(t.Context(), store, "swicked", 1, newest.At.Add(-time.Second), ""); err == nil || len(gone) != 0 {
		t.Errorf("by a clock that went back: %v, %v", gone, err)
	}
	gone, err := transfer.Prune(t.Context(), store, "swicked", 1, newest.At, t.TempDir())
	if err != nil || !slices.Equal(gone, []string{"20261128T030000Z", "20261128T030001Z"}) {
		t.Fatalf("pruned %v, %v", gone, err)
	}
	keys, err := store.List(t.Context(), "")
	s.must(err)
	if len(keys) != 5+4+1 {
		t.Errorf("left are %v", keys)
	}
	s.must(second(transfer.Verify(t.Context(), store, newest, t.TempDir(), nil)))
	if gone, err := transfer.Prune(t.Context(), store, "swicked", 1, newest.At, ""); err != nil || len(gone) != 0 {
		t.Errorf("once more: %v, %v", gone, err)
	}
}

// Keys whose time has come stay behind.
func TestExpiredKeysStayBehind(t *testing.T) {
	s := newTowns(t).open()
	store := transfer.Folder{Dir: t.TempDir()}
	m, err := transfer.Backup(t.Context(), s.one, store, at(0), nil)
	s.must(err)
	s.two.Now = func() time.Time { return time.Unix(later-30, 0) }
	out, err := transfer.RestoreInto(t.Context(), store, m, s.two, nil)
	if err != nil || out.Expired != 1 || out.Keys != 253 {
		t.Errorf("restored %+v, %v", out, err)
	}
}

// What the API cannot carry is said before anything is written, or noted.
func TestObjectsThatCannotBeCarried(t *testing.T) {
	listing := func(object string) sim.Rule {
		return sim.Rule{Method: http.MethodGet, Path: account + "/r2/buckets/helm-swicked-assets/objects[?]", Count: -1,
			Body: `{"success":true,"errors":[],"messages":[],"result":[` + object + `],"result_info":{}}`}
	}
	object := func(more string) string {
		return `{"key":"a","etag":"9dd4e461268c8034f5c8564e155c67a6","size":1,"last_modified":"2026-01-01T00:00:00Z","http_metadata":{},"custom_metadata":{},"storage_class":"Standard"` + more + `}`
	}
	s := newTowns(t)
	s.put(s.one, "a", "x")
	empty := s.kept(s.two)
	for rule, text := range map[string]string{
		"object-encrypted": object(`,"ssec":true`),
		"object-too-large": object(`,"size":400000000`),
		"":                 object(`,"custom_metadata":{"by":"pos"}`),
	} {
		try(s.Fault(listing(text)))(t)
		out, err := transfer.Copy(t.Context(), s.one, s.two, "", nil)
		s.ClearFaults()
		var findings transfer.Findings
		switch {
		case rule == "":
			if err != nil || len(out.Notes) != 1 || out.Notes[0].Rule != "object-metadata" {
				t.Errorf("with custom metadata: %+v, %v", out, err)
			}
			s.must(s.two.CF.DeleteR2Object(t.Context(), s.two.Bucket, "", "a"))
		case !errors.As(err, &findings) || findings[0].Rule != rule:
			t.Errorf("%s: %v", rule, err)
		}
		if rule != "" && s.kept(s.two) != empty {
			t.Errorf("%s: something was written", rule)
		}
	}
	try(s.Fault(listing(object(`,"ssec":true`))))(t)
	var findings transfer.Findings
	if _, err := transfer.Backup(t.Context(), s.one, transfer.Folder{Dir: t.TempDir()}, at(0), nil); !errors.As(err, &findings) || findings[0].Rule != "object-encrypted" {
		t.Errorf("backing up what is encrypted: %v", err)
	}
}

func try[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"shopfleet_backup":1,"shop":"swicked","at":"2026-11-28T03:00:00Z","kv":{"file":{"pieces":[{"key":"shops/swicked/20261128T030000Z/kv.jsonl.gz","bytes":3,"sha256":"` + strings.Repeat("a", 64) + `"}]}}}`))
	f.Add([]byte(`{"shopfleet_backup":1,"shop":"../../x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		store := transfer.Folder{Dir: t.TempDir()}
		const key = "shops/swicked/20261128T030000Z/manifest.json"
		if err := store.Put(t.Context(), key, bytes.NewReader(text), int64(len(text))); err != nil {
			t.Fatal(err)
		}
		m, err := transfer.FindBackup(t.Context(), store, "swicked", "")
		if err != nil {
			return
		}
		if m.Shop != "swicked" || m.Stamp() != "20261128T030000Z" {
			t.Errorf("a manifest of %s at %s was taken for it", m.Shop, m.Stamp())
		}
		for _, file := range []*transfer.PackedKeys{m.KV} {
			if file == nil {
				continue
			}
			for _, p := range file.File.Pieces {
				if !strings.HasPrefix(p.Key, "shops/swicked/20261128T030000Z/") || strings.Contains(p.Key, "..") {
					t.Errorf("it reaches %q", p.Key)
				}
			}
		}
	})
}

// The database of a backup is SQL that SQLite's own shell reads: there is a way back without shopfleet.
func TestBackupIsReadBySQLite(t *testing.T) {
	shell, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("there is no sqlite3 to judge")
	}
	s := newTowns(t).open()
	dir := t.TempDir()
	m, err := transfer.Backup(t.Context(), s.one, transfer.Folder{Dir: dir}, at(0), nil)
	s.must(err)
	packed, err := os.Open(filepath.Join(dir, m.D1.File.Pieces[0].Key))
	s.must(err)
	defer packed.Close()
	text, err := gzip.NewReader(packed)
	s.must(err)
	cmd := exec.Command(shell, "-bail", filepath.Join(dir, "back.sqlite"))
	cmd.Stdin = text
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	db, err := d1.OpenReadOnly(filepath.Join(dir, "back.sqlite"))
	s.must(err)
	defer db.Close()
	queries, err := db.SumQueries(t.Context())
	s.must(err)
	if sums, err := db.Sums(t.Context(), queries); err != nil || !reflect.DeepEqual(sums, m.D1.Tables) {
		t.Errorf("it reads %v, %v; the manifest says %v", sums, err, m.D1.Tables)
	}
}
