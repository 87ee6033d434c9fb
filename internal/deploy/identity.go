package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/fleet"
)

// Whose a store is stands in two places that nobody's config can change: the owner tag, which the account keeps, and the
// identity record, which lies inside of the store. Names and ids are what a config says; these are what the store says.

// ownerTag is the key of the owner tag. Its value is the slug of a shop.
const ownerTag = "shop"

// ruleOwnerMismatch is the finding that a Worker or store says that it is another shop's.
const ruleOwnerMismatch = "owner-mismatch"

// The kinds of resource that belong to a shop, in Cloudflare's words for what can have tags.
const (
	kindWorker = "worker"
	kindD1     = "d1_database"
	kindKV     = "kv_namespace"
	kindR2     = "r2_bucket"
)

// Store is a place for a shop's data that its Worker is bound to.
type Store struct {
	Kind         string // d1_database, kv_namespace or r2_bucket
	ID           string // a database's or namespace's id, a bucket's name
	Jurisdiction string // of a bucket; "" is the default one
	path         []any  // where the config binds it first
}

// key is how State knows it.
func (s Store) key() string { return s.Kind + "/" + s.ID }

// word is the kind for people.
func word(kind string) string {
	return map[string]string{kindWorker: "Worker", kindD1: "D1 database", kindKV: "KV namespace", kindR2: "R2 bucket"}[kind]
}

// bindingType is the type of binding that reaches a store of a kind.
func bindingType(kind string) string {
	return map[string]string{kindD1: "d1", kindKV: "kv_namespace", kindR2: "r2_bucket"}[kind]
}

// stores are the databases, namespaces and buckets that the config binds, each once.
func (want *Desired) stores() []Store {
	var out []Store
	add := func(s Store) {
		if s.ID != "" && !slices.ContainsFunc(out, func(o Store) bool { return o.key() == s.key() }) {
			out = append(out, s)
		}
	}
	for i, db := range want.Config.D1 {
		add(Store{Kind: kindD1, ID: db.DatabaseID, path: []any{"env", want.Config.Env, "d1_databases", i, "database_id"}})
	}
	for _, b := range want.Config.Bindings {
		switch b.Type {
		case "kv_namespace":
			add(Store{Kind: kindKV, ID: b.Field("namespace_id"), path: b.Path()})
		case "r2_bucket":
			add(Store{Kind: kindR2, ID: b.Field("bucket_name"), Jurisdiction: b.Field("jurisdiction"), path: b.Path()})
		}
	}
	return out
}

// nameOf is what the account calls a store; "" when it has none with that id.
func (s *State) nameOf(store Store) string {
	switch store.Kind {
	case kindD1:
		return s.Databases[store.ID]
	case kindKV:
		return s.Namespaces[store.ID]
	}
	return store.ID
}

// owned are the stores whose names are the shop's: the others are refused, or shared and nobody's.
func (want *Desired) owned(have *State) []Store {
	return slices.DeleteFunc(want.stores(), func(s Store) bool {
		return !want.Shop.Owns(bindingType(s.Kind), have.nameOf(s))
	})
}

// storesID identifies the stores that the config binds; "" without any.
func (want *Desired) storesID() string {
	var words []string
	for _, s := range want.stores() {
		words = append(words, s.key())
	}
	if words == nil {
		return ""
	}
	return listDigest(words)
}

// What a release remembers of its stores is their digest, and behind it how well they were known to be the shop's.
const (
	storesTagged = "+" // the owner tags said so, not every identity record did
	storesBare   = "?" // neither did, of at least one
)

// sameStores says that the live release is bound to the same stores.
func (want *Desired) sameStores(have *State) bool {
	return strings.TrimRight(have.Live.Stores, storesTagged+storesBare) == want.storesID()
}

// rememberStores is what a release made from this state remembers.
func rememberStores(want *Desired, have *State) string {
	id := want.storesID()
	switch {
	case id == "":
		return ""
	case have.Records == nil && want.sameStores(have):
		return have.Live.Stores // what the live release knew is what let this one not look
	case recorded(want, have):
		return id
	case tagged(want, have):
		return id + storesTagged
	}
	return id + storesBare
}

// tagged says that every store has the shop's owner tag, recorded that every store has its identity record.
func tagged(want *Desired, have *State) bool {
	return have.Owners != nil && !slices.ContainsFunc(want.owned(have), func(s Store) bool { return have.Owners[s.key()] != want.Shop.Slug })
}

func recorded(want *Desired, have *State) bool {
	return !slices.ContainsFunc(want.owned(have), func(s Store) bool { return have.Records[s.key()] != want.Shop.Slug })
}

// wantsRecords says whether the stores must be asked for their identity records: where the live release, which was let out
// with the very same stores, does not know them to be the shop's. A shop that nobody has adopted yet is not asked with
// every deploy: the owner tags, which are read anyway, tell when that changes.
func wantsRecords(want *Desired, have *State) bool {
	id := want.storesID()
	switch have.Live.Stores {
	case id:
		return false
	case id + storesBare:
		return have.Owners == nil || tagged(want, have)
	}
	return true
}

// readOwners lists the owner tags of an account, by kind and id; nil where there are none to be had: the account or the
// token has no tags.
func readOwners(ctx context.Context, cf *cloudflare.Client) (map[string]string, error) {
	list, err := cf.TaggedResources(ctx, ownerTag)
	if errors.Is(err, cloudflare.ErrUnauthorized) || errors.Is(err, cloudflare.ErrNotFound) {
		return nil, nil
	}
	owners := make(map[string]string, len(list))
	for _, t := range list {
		owners[Store{Kind: t.Type, ID: t.ID}.key()] = t.Tags[ownerTag]
	}
	return owners, doing(err, "listing owner tags")
}

// fillOwners takes from the account's owner tags those of the shop's Worker and stores.
func (l *lists) fillOwners(want *Desired, have *State) {
	if l.owners == nil {
		return
	}
	have.Owners = map[string]string{}
	for _, s := range append(want.stores(), Store{Kind: kindWorker, ID: want.Config.Name}) {
		if owner := l.owners[s.key()]; owner != "" {
			have.Owners[s.key()] = owner
		}
	}
}

// records collects identity records that are read side by side.
type records struct {
	cf    *cloudflare.Client
	shop  string
	where fleet.Identity
	mu    sync.Mutex
	found map[string]string
}

func (r *records) set(s Store, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found[s.key()] = strings.TrimSpace(text)
}

// read asks one store for its record and notes it; "" where there is none. Nothing is noted for a database that lacks the
// product's own table: the migration that makes it has yet to come.
func (r *records) read(ctx context.Context, s Store) error {
	var text string
	var err error
	switch s.Kind {
	case kindKV:
		text, err = r.cf.KVValue(ctx, s.ID, r.where.Key)
	case kindR2:
		var object []byte
		object, err = r.cf.R2Object(ctx, s.ID, s.Jurisdiction, r.where.Key)
		text = string(object)
	case kindD1:
		var there bool
		if text, there, err = r.row(ctx, s.ID); err == nil && !there && r.where.Table != fleet.IdentityTable {
			return nil
		}
	}
	if errors.Is(err, cloudflare.ErrNotFound) {
		text, err = "", nil // of a store that does not exist admission tells
	}
	if err != nil {
		return fmt.Errorf("reading the identity record of %s %s: %w", word(s.Kind), s.ID, err)
	}
	r.set(s, text)
	return nil
}

// row reads the record of a database. there is false when it has no such table.
func (r *records) row(ctx context.Context, id string) (text string, there bool, err error) {
	result, err := r.cf.D1Read(ctx, id, identityQuery(r.where))
	if err != nil {
		if why := refusalText(err); strings.Contains(why, "no such table") || strings.Contains(why, "no such column") {
			return "", false, nil
		}
		return "", false, err
	}
	var rows []struct{ Value string }
	if err := result.Decode(&rows); err != nil {
		return "", false, err
	}
	for _, row := range rows {
		// A table that takes a key twice may hold two; the one that is not the shop's counts.
		if text = row.Value; strings.TrimSpace(text) != r.shop {
			break
		}
	}
	return text, true, nil
}

// identityQuery qualifies its columns: SQLite would take a quoted name that the table lacks for a text.
func identityQuery(where fleet.Identity) string {
	return "SELECT CAST(i.value AS TEXT) AS value FROM " + quoteName(where.Table) + " AS i WHERE i.key = " + quoteText(where.Key) + " LIMIT 2"
}

// lookAtRecords asks the shop's stores for their identity records, all but its own database, which lookAtOwnRow asks once
// its catalogue is known.
func (e *Engine) lookAtRecords(ctx context.Context, group *errgroup.Group, want *Desired, have *State) *records {
	if !wantsRecords(want, have) {
		return nil
	}
	r := &records{cf: e.CF, shop: want.Shop.Slug, where: want.Identity, found: map[string]string{}}
	have.Records = r.found
	for _, s := range want.owned(have) {
		if s.Kind == kindD1 && s.ID == want.Database.DatabaseID && len(want.Migrations) > 0 {
			continue
		}
		group.Go(func() error { return r.read(ctx, s) })
	}
	return r
}

// lookAtOwnRow reads the record of the shop's own database, unless its catalogue shows that it can have none.
func (r *records) lookAtOwnRow(ctx context.Context, want *Desired, have *State) error {
	s := Store{Kind: kindD1, ID: want.Database.DatabaseID}
	if r == nil || s.ID == "" || len(want.Migrations) == 0 || have.Databases[s.ID] == "" {
		return nil
	}
	for _, o := range have.Database.Objects {
		if strings.EqualFold(o.Name, want.Identity.Table) {
			return r.read(ctx, s)
		}
	}
	if want.Identity.Table == fleet.IdentityTable {
		r.set(s, "")
	}
	return nil
}

// admitOwnership holds owner tags and identity records against the shop. One that names another shop is the worst there
// is, whatever names and ids say, and no flag lets it pass; one that is missing is what the policy makes of it.
func admitOwnership(want *Desired, have *State) Findings {
	a := &admission{want: want}
	mismatch := func(what, says string, path ...any) {
		a.refuse("owner-mismatch", path, fmt.Sprintf("%s says that it is shop %s's, and would be shop %s's", what, excerpt(says), want.Shop.Slug),
			"what is "+want.Shop.Slug+"'s own", "stop and find out whose it is: one shop could read another's data; no flag lets this pass")
	}
	worker := Store{Kind: kindWorker, ID: want.Config.Name, path: []any{"env", want.Config.Env, "name"}}
	for _, s := range append(want.stores(), worker) {
		if owner := have.Owners[s.key()]; owner != "" && owner != want.Shop.Slug {
			mismatch("the owner tag of "+want.describe(s, have), owner, s.path...)
		}
	}
	for _, s := range want.stores() {
		if record := have.Records[s.key()]; record != "" && record != want.Shop.Slug {
			mismatch("the identity record in "+want.describe(s, have), record, s.path...)
		}
	}
	if lacking := want.lacking(have); len(lacking) > 0 {
		what := "owner tag"
		if have.Owners == nil {
			what = "identity record"
		}
		a.report("owner-missing", a.at([]any{"env", want.Config.Env}, Finding{
			Level:    cmp.Or(want.Identity.Missing, LevelWarning),
			Message:  fmt.Sprintf("no %s says whose these are: %s", what, strings.Join(lacking, ", ")),
			Expected: "an " + what + " with " + want.Shop.Slug,
			Hint:     "shopfleet adopt " + want.Shop.Slug,
		}))
	}
	return a.found
}

// lacking are the Worker and the stores that nothing says the owner of. Where there are owner tags those count; where
// there are none the identity records do, as far as they were read.
func (want *Desired) lacking(have *State) []string {
	var out []string
	for _, s := range want.owned(have) {
		record, read := have.Records[s.key()]
		if have.Owners != nil && have.Owners[s.key()] == "" || have.Owners == nil && read && record == "" {
			out = append(out, want.describe(s, have))
		}
	}
	worker := Store{Kind: kindWorker, ID: want.Config.Name}
	if have.Owners != nil && have.Worker != nil && have.Owners[worker.key()] == "" {
		out = append(out, want.describe(worker, have))
	}
	return out
}

// describe names a store for people.
func (want *Desired) describe(s Store, have *State) string {
	if name := have.nameOf(s); name != "" && name != s.ID {
		return word(s.Kind) + " " + name
	}
	return word(s.Kind) + " " + s.ID
}

// excerpt is a text from a store as a finding may show it: anybody may have written it.
func excerpt(text string) string {
	const longest = 80
	if r := []rune(text); len(r) > longest {
		text = string(r[:longest]) + "…"
	}
	return fmt.Sprintf("%q", text)
}
