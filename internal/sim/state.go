package sim

import (
	"encoding/json"
	"time"
)

// The types of this file are the state of an account as it is kept on disk. They belong to World.mu.

// account is one Cloudflare account.
type account struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Created   time.Time `json:"created"`
	Subdomain string    `json:"subdomain,omitempty"` // workers.dev name; "" when none was registered
	Zones     []*zone   `json:"zones,omitempty"`
	Domains   []*domain `json:"domains,omitempty"`
	// Assets are the static files uploaded for each Worker name (which need not exist yet), by hash of the manifest.
	Assets    map[string]map[string]servedFile `json:"assets,omitempty"`
	Sessions  map[string]*assetSession         `json:"sessions,omitempty"` // open uploads, by id
	Queues    []*queue                         `json:"queues,omitempty"`
	Workflows []*workflow                      `json:"workflows,omitempty"`
	Dispatch  []*dispatchNamespace             `json:"dispatch,omitempty"`
	Tags      map[string]*taggedItem           `json:"tags,omitempty"` // resource tags, by type and id

	Scripts map[string]*script `json:"-"` // each in a file of its own
}

// script is a Worker. Everything outside Versions and Deployments is unversioned: it changes at once and no
// rollback brings it back.
type script struct {
	Name     string    `json:"name"`
	Tag      string    `json:"tag"` // the Worker's id, 32 hex; a new one when the Worker is made again
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`

	Tags          []string          `json:"tags,omitempty"`
	Logpush       bool              `json:"logpush,omitempty"`
	Observability json.RawMessage   `json:"observability,omitempty"`
	TailConsumers json.RawMessage   `json:"tail_consumers,omitempty"`
	Streaming     json.RawMessage   `json:"streaming_tail_consumers,omitempty"`
	LastFrom      string            `json:"last_deployed_from,omitempty"`
	MigrationTag  string            `json:"migration_tag,omitempty"`
	Classes       map[string]*class `json:"classes,omitempty"` // Durable Object namespaces, by class name
	Schedules     []schedule        `json:"schedules,omitempty"`
	WorkersDev    bool              `json:"workers_dev"`
	Previews      bool              `json:"previews"`

	Numbered    int           `json:"numbered"`    // number of the newest version ever made
	Versions    []*version    `json:"versions"`    // oldest first
	Deployments []*deployment `json:"deployments"` // oldest first
}

// version is an immutable upload: code, bindings and everything that goes with it.
type version struct {
	ID          string            `json:"id"`
	Number      int               `json:"number"`
	Created     time.Time         `json:"created"`
	Author      author            `json:"author"`
	Source      string            `json:"source"`
	Annotations map[string]string `json:"annotations,omitempty"`

	Main          string         `json:"main,omitempty"`
	ServiceWorker bool           `json:"service_worker,omitempty"`
	Modules       []servedModule `json:"modules,omitempty"`
	Etag          string         `json:"etag"`
	Handlers      []string       `json:"handlers"`
	Named         []namedHandler `json:"named,omitempty"`

	Bindings           []binding       `json:"bindings"`
	CompatibilityDate  string          `json:"compatibility_date,omitempty"`
	CompatibilityFlags []string        `json:"compatibility_flags,omitempty"`
	Placement          json.RawMessage `json:"placement,omitempty"`
	Limits             json.RawMessage `json:"limits,omitempty"`
	CacheOptions       json.RawMessage `json:"cache_options,omitempty"`
	Exports            json.RawMessage `json:"exports,omitempty"`
	UsageModel         string          `json:"usage_model"`
	MigrationTag       string          `json:"migration_tag,omitempty"`
	Assets             *servedAssets   `json:"assets,omitempty"`
	Alias              string          `json:"alias,omitempty"`
	Startup            int             `json:"startup_time_ms"`

	served *servedVersion // made once, so that its address identifies the version
}

// namedHandler are the handlers of one exported entrypoint.
type namedHandler struct {
	Name     string   `json:"name"`
	Handlers []string `json:"handlers"`
}

// author is who a token belongs to.
type author struct {
	Email string `json:"email"`
	ID    string `json:"id"`
}

// deployment says which versions take traffic.
type deployment struct {
	ID          string            `json:"id"`
	Created     time.Time         `json:"created"`
	Author      author            `json:"author"`
	Source      string            `json:"source"`
	Annotations map[string]string `json:"annotations"`
	Versions    []share           `json:"versions"`
}

// share is the part of the traffic that a version takes.
type share struct {
	Version    string  `json:"version_id"`
	Percentage float64 `json:"percentage"`
}

// class is a Durable Object namespace.
type class struct {
	Namespace string `json:"namespace"` // 32 hex
	Name      string `json:"name"`
	SQLite    bool   `json:"sqlite"`
}

// schedule is a cron trigger.
type schedule struct {
	Cron     string    `json:"cron"`
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
}

// zone is a DNS zone with what hangs on it.
type zone struct {
	ID      string       `json:"id"`
	Name    string       `json:"name"`
	Created time.Time    `json:"created"`
	Records []*dnsRecord `json:"records,omitempty"`
	Routes  []*route     `json:"routes,omitempty"`
}

// route sends a URL pattern of a zone to a Worker; Script "" switches Workers off for the pattern.
type route struct {
	ID      string `json:"id"`
	Pattern string `json:"pattern"`
	Script  string `json:"script,omitempty"`
}

// domain is a custom domain: a hostname that belongs to one Worker.
type domain struct {
	ID          string `json:"id"`
	ZoneID      string `json:"zone_id"`
	ZoneName    string `json:"zone_name"`
	Hostname    string `json:"hostname"`
	Service     string `json:"service"`
	Environment string `json:"environment"`
	CertID      string `json:"cert_id"`
	Enabled     bool   `json:"enabled"`
	Previews    bool   `json:"previews_enabled"`
}
