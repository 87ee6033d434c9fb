package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sort"
	"time"

	"github.com/kvick/shopfleet/internal/d1"
)

// State is what a Cloudflare account says about one shop, read in one go. It
// is a plain value: Diff is a function of it.
type State struct {
	// Worker is nil when the account has no Worker of that name.
	Worker *Worker
	Live   Live
	// Crons are the Worker's cron triggers as Cloudflare returns them.
	Crons []string
	// Domains are the custom domains that concern this shop: those of its
	// Worker, and those on a hostname that it wants, whoever holds them.
	Domains []Domain
	// DNS lists records that stand in the way of a hostname that is to be attached.
	DNS []DNSRecord
	// Zones maps the names of the zones that the shop's hostnames lie in to their
	// ids; a zone that the account does not have is missing.
	Zones map[string]string
	// Routes are the zone routes in those zones that run this Worker or whose
	// pattern this shop wants.
	Routes []Route
	// Shadows are the routes of other Workers whose pattern covers a hostname that this shop wants.
	Shadows []Route
	// Conflicts are hostnames to be attached that Cloudflare would take from somebody, in its own words.
	Conflicts []Conflict
	// Databases, Namespaces: id → name of those that the shop's config, or a live version
	// made outside, binds and the account has. Buckets: names of those, with " in " and the jurisdiction where there is one.
	Databases  map[string]string
	Namespaces map[string]string
	Buckets    map[string]bool
	// Counters are the rate limits that the live version counts by, as claims have them; read only when another branch
	// claims one of the shop's.
	Counters []string
	// Database is the shop's D1; zero when it has no migrations.
	Database Database
	// Drift says how the schema differs from what the applied migrations make; nil when it does not.
	Drift []string
	// DriftUnknown says why that cannot be told; "" when it can.
	DriftUnknown string
	// Rehearsal is what the pending migrations did to a copy of the schema, Answers what the live rows say to its
	// questions. Nil when nothing is pending. They follow from the rest, so they are no part of a Basis.
	Rehearsal *d1.Rehearsal `json:"-"`
	Answers   []int64       `json:"-"`
	// Owners are the owner tags of the Worker and of the stores that the config binds, by kind and id ("worker/helm-x",
	// "kv_namespace/…"): the slug that each names. Nil where the account or the token has no tags.
	Owners map[string]string
	// Records are the identity records inside of the shop's stores, by the same keys: a slug, or "" where there is none.
	// Nil when the stores were not asked because the live release knows the very same ones (Live.Stores).
	Records map[string]string
	// Secrets are the names of the Worker's secrets. Nil when they were not read
	// because the live release already proves the required ones.
	Secrets []string
	// Subdomain is where the Worker answers on workers.dev. Nil when it was not read
	// because the live release promises it (Live.Reach).
	Subdomain *Subdomain
	// Journal is the shop's newest entries, newest first; nil when there is no journal. JournalError says why it could not
	// be read. A plan does not depend on them, so they are no part of a Basis.
	Journal      []Release `json:"-"`
	JournalError error     `json:"-"`
	// At is when the reads began.
	At time.Time
}

// Worker is what is set on a Worker outside its versions.
type Worker struct {
	Tags          []string
	MigrationTag  string
	Observability json.RawMessage
	TailConsumers json.RawMessage
	Logpush       bool
}

// Live is the release that takes the traffic.
type Live struct {
	// Deployment and Version are ids; "" when nothing is released. With a split
	// Version is the one with the largest share.
	Deployment, Version string
	// Mark is the content digest that the version carries; "" when shopfleet did
	// not upload it.
	Mark string
	// Message is the live deployment's own text, or that of the release below secret changes; to be repeated when it is
	// restored.
	Message string
	// Required is the digest of the required secrets that were proven when the
	// version was released; "" when secrets changed since.
	Required string
	// Values is the digest of the fingerprints of the secrets that the version brought; "" when it does not say, or secrets
	// changed since.
	Values string `json:",omitempty"`
	// Reach is the digest of the workers.dev state that the release promises; ""
	// when it promises none, and State.Subdomain was read instead.
	Reach string
	// Stores is the digest of the stores that the release is bound to, and how well they were known to be the shop's; ""
	// when the release does not say.
	Stores string
	// Shares holds percentages by version id when more than one version takes traffic.
	Shares map[string]float64
	// Source and Author say who made the live deployment, as Cloudflare has it.
	Source, Author string
	Created        time.Time
	// Trigger is Cloudflare's "workers/triggered_by" of the live deployment.
	Trigger string
	// SecretsSince counts the deployments that secret changes made on top of Version's upload.
	SecretsSince int
	// Bindings are the live version's, as Cloudflare returns them; read only when
	// shopfleet did not make the release.
	Bindings json.RawMessage
	// CompatibilityDate is the live version's; read with Bindings.
	CompatibilityDate string
}

// Subdomain is a Worker's workers.dev state.
type Subdomain struct{ Enabled, Previews bool }

// Domain is one custom domain: a hostname held by a Worker.
type Domain struct{ ID, Hostname, Worker, ZoneID string }

// DNSRecord is a record that exists already at a hostname.
type DNSRecord struct{ Hostname, Type, Content string }

// Route is one zone route.
type Route struct{ ID, ZoneID, Pattern, Worker string }

// Conflict is a hostname that cannot be attached without taking it from somebody.
type Conflict struct{ Hostname, Why string }

// Basis is a digest of what a plan depends on: when it differs, the world
// moved and the plan is void. The time of the reads is no part of it.
func (s *State) Basis() string {
	c := *s
	c.At = time.Time{}
	c.Secrets = append([]string(nil), s.Secrets...)
	sort.Strings(c.Secrets)
	b, err := json.Marshal(c)
	if err != nil {
		// The raw messages come from a JSON decoder, the rest is plain; there is no way to fail.
		panic("deploy: encoding a state: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
