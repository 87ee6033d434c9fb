// Package fleet reads fleet.yml: what is true of every shop of a product, and where single shops are different.
//
// Parse turns the file into a Policy or into Findings, every problem of the file at once and each where it stands.
// From then on Policy.Shop answers what everything that belongs to a shop is called, from its slug alone: names follow
// the rules of naming:, unless shops: says otherwise. Policy.Slug goes the way back, from a branch to the shop.
//
//	policy, err := fleet.Parse("fleet.yml", src)
//	slug, ok := policy.Slug("shops/swicked")
//	shop, err := policy.Shop(slug) // shop.Worker, shop.D1, shop.Hostname, …
//
// What a shop may own is exactly what its Shop says, and two shops never share a name: this is the ground on which the
// isolation of shops is decided elsewhere. Parse therefore refuses every file in which one shop's exception could be
// another shop's name, also when that other shop does not exist yet.
//
// A Policy is not changed after Parse and may be used by many goroutines.
package fleet

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Policy is a fleet.yml that has no problems. Its fields are as the file has them, defaults filled in. The comments on
// its fields are also the descriptions in the JSON Schema.
type Policy struct {
	// Short name of the product that all shops run: lower-case letters, digits and hyphens.
	Product string `yaml:"product"`
	// How everything that belongs to a shop is called. Each rule holds {slug} exactly once.
	Naming Naming `yaml:"naming"`
	// The files in which a shop's branch may differ from main, as globs (*, **, ?, [a-z]) from the top of the repository. Default: wrangler.jsonc and shop-overrides/**.
	Overlay []string `yaml:"overlay,omitempty"`
	// The keys of env.<slug> in wrangler.jsonc that a shop's branch may set. Code and how it is built are main's, so keys such as main, build or compatibility_date cannot be in it. Default: account_id, d1_databases, kv_namespaces, limits, name, observability, placement, r2_buckets, route, routes, secrets, triggers and vars.
	OverlayKeys []string `yaml:"overlay_keys,omitempty"`
	// Name of the account that shops are on unless they are pinned to another. Default: the first one.
	DefaultAccount string `yaml:"default_account,omitempty"`
	// The Cloudflare accounts, by a name of your choice.
	Accounts []Account `yaml:"accounts"`
	// Shops that differ from the rules, by slug. A shop that follows the rules need not be listed.
	Shops map[string]Exception `yaml:"shops,omitempty"`
	// What is not one shop's and yet may be bound to any shop's Worker, by its name or id at Cloudflare. A shop's data is never behind it.
	Shared []Shared `yaml:"shared,omitempty"`
	// How a store tells whose it is, and a release whose stores it sees.
	Identity Identity `yaml:"identity,omitempty"`
	// Secrets of the shops' Workers. Only names: values never stand in this file.
	Secrets Secrets `yaml:"secrets,omitempty"`
	// What migrations may do to a shop's database.
	Migrations MigrationPolicy `yaml:"migrations,omitempty"`
	// The file that tells which commit a shop runs; it is written anew at every deploy and never committed.
	BuildInfo BuildInfo `yaml:"build_info"`
	// The check a release must pass to stay.
	Gate Gate `yaml:"gate,omitempty"`
	// How shops' branches are carried onto main, and how they land.
	Rebase Rebase `yaml:"rebase,omitempty"`
	// Times in which shops are not deployed, by a name of your choice. A rollback goes through.
	Freezes []Freeze `yaml:"freezes,omitempty"`
	// Who may give orders in comments on GitHub.
	Commands Commands `yaml:"commands,omitempty"`
	// Buckets that backups are written to, by a name of your choice. They are apart from the shops' accounts, so that what happens to those does not happen to them.
	Backups []BackupStore `yaml:"backups,omitempty"`
	// What a shop may cost.
	Budget Budget `yaml:"budget,omitempty"`
	// What a new shop begins with.
	Onboard Onboard `yaml:"onboard,omitempty"`
	// How shops leave.
	Offboard Offboard `yaml:"offboard,omitempty"`

	file     string
	places   map[string]place
	overlays map[string]string // account of a shop by its own branch; see WithAccounts
}

// Naming holds the naming rules.
type Naming struct {
	// Git branch of a shop, such as shops/{slug}.
	Branch string `yaml:"branch"`
	// Worker, such as helm-{slug}.
	Worker string `yaml:"worker"`
	// D1 database, such as helm-{slug}-db.
	D1 string `yaml:"d1"`
	// R2 bucket, such as helm-{slug}-assets.
	R2 string `yaml:"r2"`
	// KV namespace (its title), such as helm-{slug}-kv.
	KV string `yaml:"kv"`
	// Hostname, such as helm-{slug}.example.com: one label under the zone of the account. {zone} stands for the zone of the account that the shop is on.
	Hostname string `yaml:"hostname"`
	// Domain of a shop's public web site, such as {slug}.example. Another Worker serves it, from another code base; shops' hostnames are kept off this domain because cookies cross between them.
	PublicSite string `yaml:"public_site,omitempty"`
	// Further things that each shop has, by type of binding, such as queue: ["helm-{slug}-events"]. They are named, never numbered.
	Others map[string][]string `yaml:"others,omitempty"`
}

// Account is a Cloudflare account.
type Account struct {
	Name string `yaml:"-"` // the key it stands under
	// Account id: 32 hexadecimal digits, as the dashboard shows it.
	ID string `yaml:"id"`
	// The zone that shops' hostnames are made in. It must be a zone of this account.
	Zone string `yaml:"zone"`
	// Further zones of this account, for the extra hostnames of single shops.
	OtherZones []string `yaml:"other_zones,omitempty"`
	// Where new databases and buckets are made. Default: Cloudflare chooses.
	Region string `yaml:"region,omitempty"`
	// How many shops this account may carry. Default: 50.
	MaxShops int `yaml:"max_shops,omitempty"`
	// Name of the environment variable that holds the API token; never the token itself. Default: CLOUDFLARE_API_TOKEN.
	Token string `yaml:"token,omitempty"`
}

// Zones are all zones in which a hostname of this account's shops may lie, the main one first.
func (a Account) Zones() []string { return append([]string{a.Zone}, a.OtherZones...) }

// Exception is what is different about one shop. Empty fields follow the rules.
type Exception struct {
	// Account this shop is pinned to.
	Account string `yaml:"account,omitempty"`
	// Git branch, instead of the one by rule.
	Branch string `yaml:"branch,omitempty"`
	// Worker, instead of the one by rule.
	Worker string `yaml:"worker,omitempty"`
	// D1 database, where it differs from the rules.
	D1 Database `yaml:"d1,omitempty"`
	// R2 bucket, instead of the one by rule.
	R2 string `yaml:"r2,omitempty"`
	// KV namespace (its title), instead of the one by rule.
	KV string `yaml:"kv,omitempty"`
	// Hostname, instead of the one by rule.
	Hostname string `yaml:"hostname,omitempty"`
	// Hostnames that this shop answers to besides its own.
	Hostnames []string `yaml:"hostnames,omitempty"`
	// Domain of this shop's public web site, instead of the one by rule.
	PublicSite string `yaml:"public_site,omitempty"`
	// Further things that are this shop's alone, by type of binding: names, or ids where Cloudflare has no names.
	Others map[string][]string `yaml:"others,omitempty"`
}

// Shared is something that shops have in common.
type Shared struct {
	Name string `yaml:"-"` // the key it stands under: its name or id
	// Type of binding that reaches it, such as service or queue.
	Type string `yaml:"type"`
	// Why no shop's data can be reached through it.
	Reason string `yaml:"reason"`
}

// Identity says where the identity records are: the slug of the shop that a store belongs to, inside of each store.
type Identity struct {
	// What is asked of a release, on the shop's hostname: {"shop": …, "d1": …, "r2": …, "kv": …}, the slugs that it finds. Default: nothing is asked.
	Path string `yaml:"path,omitempty"`
	// Key of the record: the KV key, the R2 object and the row's key in D1. Default: shop_identity.
	Key string `yaml:"key,omitempty"`
	// D1 table that holds the record, with text columns key and value. Default: _shop_identity, which shopfleet makes.
	Table string `yaml:"table,omitempty"`
	// Whether a store without a record or tag is a warning or an error. Default: warning.
	Missing string `yaml:"missing,omitempty"`
}

// Database is what is different about one shop's database.
type Database struct {
	// Name, instead of the one by rule.
	Name string `yaml:"name,omitempty"`
	// The database's id, when it should be held to one. Default: the id in the shop's wrangler.jsonc.
	ID string `yaml:"id,omitempty"`
	// Where the database is, instead of the account's region.
	Region string `yaml:"region,omitempty"`
}

// Secrets says which secrets shops have.
type Secrets struct {
	// Secrets that every shop must have before it is deployed.
	Required []string `yaml:"required,omitempty"`
	// Secrets that a shop may have. A bundle holds no others.
	Optional []string `yaml:"optional,omitempty"`
	// What is known of single secrets, by their name.
	About []SecretAbout `yaml:"about,omitempty"`
	// The file on a shop's branch that holds its secrets, encrypted by age: dotenv lines inside. Default: shop-overrides/secrets.env.age.
	Bundle string `yaml:"bundle,omitempty"`
	// Who can open bundles: age public keys (age1…). Without one no bundle can be written.
	Recipients []string `yaml:"recipients,omitempty"`
	// Name of the environment variable that holds the age identity which opens bundles; never the identity itself. Default: SHOPFLEET_AGE_KEY.
	Key string `yaml:"key,omitempty"`
	// What becomes of a secret of the Worker that no source has any more: keep it or delete it. Required ones are never deleted. Default: keep.
	Removed string `yaml:"removed,omitempty"`
}

// SecretAbout is what is known of one secret.
type SecretAbout struct {
	Name string `yaml:"-"` // the key it stands under
	// What it is for, and where it comes from.
	Description string `yaml:"description,omitempty"`
	// Regular expression (RE2) that the whole value has to match, such as sk_(live|test)_[A-Za-z0-9]+.
	Format string `yaml:"format,omitempty"`
	// How old the value may become before status asks for a new one. Default: it may stay.
	Rotate time.Duration `yaml:"rotate,omitempty"`
}

// Describe is what the file says of a secret; only its Name is set when it says nothing.
func (s Secrets) Describe(name string) SecretAbout {
	for _, a := range s.About {
		if a.Name == name {
			return a
		}
	}
	return SecretAbout{Name: name}
}

// The values of Secrets.Removed.
const (
	RemovedKeep   = "keep"
	RemovedDelete = "delete"
)

// BackupStore is an R2 bucket that backups are written to.
type BackupStore struct {
	Name string `yaml:"-"` // the key it stands under
	// Account id: 32 hexadecimal digits.
	Account string `yaml:"account"`
	// The bucket.
	Bucket string `yaml:"bucket"`
	// What the keys of objects begin with. Default: nothing.
	Prefix string `yaml:"prefix,omitempty"`
	// Name of the environment variable that holds the API token. Default: CLOUDFLARE_BACKUP_TOKEN.
	Token string `yaml:"token,omitempty"`
}

// Budget is what a shop may cost in a month, in US cents. Defaults are those of the product's cost table.
type Budget struct {
	// Worker requests and CPU time. Default: 50.
	Worker int `yaml:"worker,omitempty"`
	// Rows that D1 reads. Default: 100.
	D1Reads int `yaml:"d1_reads,omitempty"`
	// Rows that D1 writes. Default: 40.
	D1Writes int `yaml:"d1_writes,omitempty"`
	// D1 storage. Default: 5.
	D1Storage int `yaml:"d1_storage,omitempty"`
	// R2 storage. Default: 7.
	R2Storage int `yaml:"r2_storage,omitempty"`
	// R2 operations. Default: 5.
	R2Operations int `yaml:"r2_operations,omitempty"`
	// KV. Default: 10.
	KV int `yaml:"kv,omitempty"`
	// AI gateway. Default: 1500.
	AI int `yaml:"ai,omitempty"`
	// All of it but the AI gateway. Default: 210.
	Total int `yaml:"total,omitempty"`
}

// Onboard says what a new shop begins with. What it leaves out is taken from the shops that are there.
type Onboard struct {
	// Name of the binding of the D1 database, such as DB. Default: what the other shops have, or DB.
	D1 string `yaml:"d1,omitempty"`
	// Name of the binding of the R2 bucket. Default: what the other shops have, or BUCKET.
	R2 string `yaml:"r2,omitempty"`
	// Name of the binding of the KV namespace. Default: what the other shops have, or KV.
	KV string `yaml:"kv,omitempty"`
	// Vars of the Worker, by name. {slug}, {name}, {hostname}, {worker} and {zone} stand for the shop's. Default: SHOP_SLUG, SHOP_NAME, and what all other shops have in common.
	Vars map[string]string `yaml:"vars,omitempty"`
	// How the hostname reaches the Worker: route (a proxied DNS record and a route, which is there at once) or custom_domain (with a certificate of its own, of which a zone has a hundred). Default: route.
	Hostname string `yaml:"hostname,omitempty"`
}

// The values of Onboard.Hostname.
const (
	HostnameRoute        = "route"
	HostnameCustomDomain = "custom_domain"
)

// Offboard says how shops leave.
type Offboard struct {
	// How long everything stays, unreachable, before it may be deleted, from 0s to 2160h. Default: 720h.
	Grace time.Duration `yaml:"grace,omitempty"`
}

// MigrationPolicy restricts migrations.
type MigrationPolicy struct {
	// Columns that no table of a shop may have, compared without regard to case, such as tenant_id.
	DenyColumns []string `yaml:"deny_columns,omitempty"`
}

// BuildInfo places build_info.json.
type BuildInfo struct {
	// The file, from the top of the repository, such as public/build_info.json.
	Path string `yaml:"path"`
	// Where a shop serves it, on its own hostname. Default: /build_info.json.
	URL string `yaml:"url,omitempty"`
}

// Gate is the check after a release: a GET on the shop's hostname, repeated until it answers as expected.
type Gate struct {
	// What is requested on the shop's hostname. Default: build_info.url.
	Path string `yaml:"path,omitempty"`
	// HTTP status that is expected. Default: 200.
	Status int `yaml:"status,omitempty"`
	// How long the check may go on before the release counts as failed, from 1s to 15m. Default: 60s.
	Timeout time.Duration `yaml:"timeout,omitempty"`
	// Pause between two tries, from 10ms to the timeout. Default: 500ms.
	Interval time.Duration `yaml:"interval,omitempty"`
	// Paths that must not answer strangers: each has to send them away (a redirect elsewhere, 401 or 403). Default: none is asked.
	Protected []string `yaml:"protected,omitempty"`
	// When a new version is asked before it takes traffic: bindings (when it is bound to stores that the live release did not prove), always or never. Default: bindings.
	BeforeRelease string `yaml:"before_release,omitempty"`
}

// The values of Gate.BeforeRelease.
const (
	BeforeBindings = "bindings"
	BeforeAlways   = "always"
	BeforeNever    = "never"
)

// Rebase says how shops' branches come onto main.
type Rebase struct {
	// What a landed branch is: rebase (main, then the shop's own commits; the branch is replaced) or merging (a merge of main in front of them; the branch only goes forward, for repositories that forbid force pushes). Default: rebase.
	Style string `yaml:"style,omitempty"`
	// What lands without a person: manual (nothing), green (what needs no decision, once its checks are green) or silent (what needs no decision, without a pull request). Default: green.
	Land string `yaml:"land,omitempty"`
	// What becomes of a conflict that was resolved on another shop: offer (a person agrees once more) or apply (it counts as decided). Default: offer.
	Replay string `yaml:"replay,omitempty"`
	// Names of the check runs that must be there and green before a branch lands, with {slug} for the shop's slug; [] asks for none. Default: the plan's, "shopfleet plan: {slug}".
	Checks []string `yaml:"checks,omitempty"`
	// In which order shops land, and what stops them.
	Waves Waves `yaml:"waves,omitempty"`
}

// Waves says in which groups shops land.
type Waves struct {
	// Slugs of the shops that land first. Default: none.
	Canaries []string `yaml:"canaries,omitempty"`
	// How much of the fleet has landed after each wave that follows, in percent, canaries counted in; the rest is the last wave. Default: 10 and 50.
	Percent []int `yaml:"percent,omitempty"`
	// How long the last release of a wave must have been good before the next wave begins, from 0s to 72h. Default: 1h.
	Bake time.Duration `yaml:"bake,omitempty"`
	// How many failed releases stop the landings. Default: 1.
	StopAt int `yaml:"stop_at,omitempty"`
}

// The values of Rebase.Style, Rebase.Land and Rebase.Replay.
const (
	StyleRebase  = "rebase"
	StyleMerging = "merging"

	LandManual = "manual"
	LandGreen  = "green"
	LandSilent = "silent"

	ReplayOffer = "offer"
	ReplayApply = "apply"
)

// IdentityTable is the table that shopfleet makes for the identity record where the policy names none.
const IdentityTable = "_shop_identity"

// Parse reads the bytes of a fleet.yml. name is the file as the user knows it and only appears in findings. The error,
// if any, is Findings and the Policy is then nil.
func Parse(name string, src []byte) (*Policy, error) {
	p := &Policy{file: name}
	r := newReader(name, src)
	if root := r.document(src); root != nil {
		r.policy(p, root)
		c := &checker{reader: r, policy: p, rules: map[string]bool{}}
		c.all()
	}
	if err := r.result(); err != nil {
		return nil, err
	}
	p.places = r.places
	return p, nil
}

// Position says where a key of the file stands, 1-based and in bytes: Position("accounts", "kvick-1", "max_shops").
// List items are counted from "0". It is 0, 0 when the file has no such key.
func (p *Policy) Position(path ...string) (line, column int) {
	at := p.places[join(path)].key
	return at.line, at.column
}

// setDefaults fills in what the file leaves out.
func (p *Policy) setDefaults() {
	if len(p.Overlay) == 0 {
		p.Overlay = []string{"wrangler.jsonc", "shop-overrides/**"}
	}
	if len(p.OverlayKeys) == 0 {
		p.OverlayKeys = slices.Clone(overlayKeys)
	}
	for i := range p.Accounts {
		a := &p.Accounts[i]
		setDefault(&a.MaxShops, 50)
		setDefault(&a.Token, "CLOUDFLARE_API_TOKEN")
	}
	if len(p.Accounts) > 0 {
		setDefault(&p.DefaultAccount, p.Accounts[0].Name)
	}
	setDefault(&p.BuildInfo.URL, "/build_info.json")
	setDefault(&p.Gate.Path, p.BuildInfo.URL)
	setDefault(&p.Gate.Status, 200)
	setDefault(&p.Gate.Timeout, defaultTimeout)
	setDefault(&p.Gate.Interval, 500*time.Millisecond)
	setDefault(&p.Gate.BeforeRelease, BeforeBindings)
	setDefault(&p.Identity.Key, "shop_identity")
	setDefault(&p.Identity.Table, IdentityTable)
	setDefault(&p.Identity.Missing, "warning")
	setDefault(&p.Rebase.Style, StyleRebase)
	setDefault(&p.Rebase.Land, LandGreen)
	setDefault(&p.Rebase.Replay, ReplayOffer)
	setDefault(&p.Rebase.Waves.StopAt, 1)
	setDefault(&p.Onboard.Hostname, HostnameRoute)
	setDefault(&p.Secrets.Bundle, "shop-overrides/secrets.env.age")
	setDefault(&p.Secrets.Key, "SHOPFLEET_AGE_KEY")
	setDefault(&p.Secrets.Removed, RemovedKeep)
	for i := range p.Backups {
		setDefault(&p.Backups[i].Token, "CLOUDFLARE_BACKUP_TOKEN")
	}
	b := &p.Budget
	setDefault(&b.Worker, 50)
	setDefault(&b.D1Reads, 100)
	setDefault(&b.D1Writes, 40)
	setDefault(&b.D1Storage, 5)
	setDefault(&b.R2Storage, 7)
	setDefault(&b.R2Operations, 5)
	setDefault(&b.KV, 10)
	setDefault(&b.AI, 1500)
	setDefault(&b.Total, 210)
}

func setDefault[T comparable](field *T, value T) { *field = cmp.Or(*field, value) }

// account looks an account up by name.
func (p *Policy) account(name string) (Account, bool) {
	for _, a := range p.Accounts {
		if a.Name == name {
			return a, true
		}
	}
	return Account{}, false
}

// join makes a map key of a path. Keys of the file may hold any character but NUL, which is refused before.
func join(path []string) string { return strings.Join(path, "\x00") }
