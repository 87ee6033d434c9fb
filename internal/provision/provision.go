// Package provision makes, closes and deletes what a shop owns in a Cloudflare account.
//
// It works in three movements, and each hands the next a plain value:
//
//	Look   an account               → Account: what is there, read in two parallel rounds
//	Plan…  a shop and an Account    → Plan: pure; steps, findings and a digest
//	Apply  a Plan                   → Resources: the writes, in an order that survives a crash
//
// Rooms and Choose say how many shops an account has room for, and which account a new one goes to.
//
// Nothing here deploys: a Worker, its route and its crons are made by deploys (package deploy). What is made here is named
// by the fleet policy and tagged with its owner at once, so that a run that was killed leaves things that the next one
// knows as its own: a thing of the right name that is tagged with the shop, or that has no tag and nothing in it. Whatever
// else has the name is somebody's, and a finding.
package provision

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// Account is what one account has, as data.
type Account struct {
	fleet.Account
	Error      string // why it could not be read, where a caller notes it; everything below is empty then
	Workers    []cloudflare.Worker
	Databases  []cloudflare.D1Database
	Namespaces []cloudflare.KVNamespace
	Buckets    []cloudflare.R2Bucket
	Domains    []cloudflare.Domain
	Zones      []cloudflare.Zone
	Routes     map[string][]cloudflare.Route     // by zone name: of the fleet's zones, and where the shops' Workers have some
	Records    map[string][]cloudflare.DNSRecord // by zone name: those of the shops' hostnames
	Owners     map[string]string                 // owner tags by kind/id; nil where tags cannot be read
	// Filled are the stores, by kind/id, that have a name of the shops that were asked about, no tag, and something in them.
	Filled map[string]bool
	// Says is what the identity records of those say, by kind/id; a store without a record is not in it.
	Says map[string]string
	// Crons is the number of cron triggers by Worker. Look reads it of the shops that it is asked about; a caller adds what
	// it knows of the others, from their branches: Cloudflare has no list of them.
	Crons      map[string]int
	Subdomains map[string]cloudflare.Subdomain // workers.dev by Worker, of the shops that were asked about
	Calls      int                             // questions that were asked; a retry is not counted
}

// Want is what a shop is to own.
type Want struct {
	Shop         fleet.Shop
	CustomDomain bool // the hostname by a custom domain instead of a proxied record and a route
	Crons        int  // cron triggers that the shop will have
	AdoptData    bool // take what has the right name and no tag although there is something in it
	// IDs are those of databases and namespaces, and names of buckets, that the shop's own branch binds already: what an
	// earlier try noted there is the shop's, tagged or not.
	IDs []string
	// Others are the slugs of the shops that are on the account by their branches; owner tags tell of further ones.
	Others []string
}

// The values of Plan.Verb.
const (
	VerbMake   = "make"
	VerbClose  = "close"
	VerbDelete = "delete"
)

// Plan is what would change in an account, as data.
type Plan struct {
	Verb     string           `json:"verb"`
	Shop     string           `json:"shop"`
	Account  string           `json:"account"`
	Worker   string           `json:"worker"`
	Zone     string           `json:"zone,omitempty"` // id of the zone of the hostname
	Identity Identity         `json:"identity"`
	Steps    []Step           `json:"steps"`
	Limits   []Limit          `json:"limits,omitempty"` // what the steps, and the first deploy, take of the account's limits
	Notes    []string         `json:"notes,omitempty"`
	Findings []deploy.Finding `json:"findings,omitempty"`
}

// Identity is where a store says whose it is, as in fleet.Identity.
type Identity struct {
	Key   string `json:"key"`
	Table string `json:"table"`
}

// Step is one change, or in case of adopt a thing that is there already.
type Step struct {
	Action string `json:"action"` // create, adopt, tag, attach, detach, clear or delete
	Kind   string `json:"kind"`   // d1_database, r2_bucket, kv_namespace, worker, dns_record, route, domain, crons or workers_dev
	Name   string `json:"name"`
	ID     string `json:"id,omitempty"`
	Zone   string `json:"zone,omitempty"` // id
	Hint   string `json:"hint,omitempty"` // region, or what stands there now
}

// The values of Step.Action.
const (
	actionCreate = "create"
	actionAdopt  = "adopt"
	actionTag    = "tag"
	actionDetach = "detach"
	actionClear  = "clear"
	actionDelete = "delete"
)

// The values of Step.Kind. The first four are Cloudflare's words for what can have tags.
const (
	kindWorker  = "worker"
	kindD1      = "d1_database"
	kindKV      = "kv_namespace"
	kindR2      = "r2_bucket"
	kindDNS     = "dns_record"
	kindRoute   = "route"
	kindDomain  = "domain"
	kindCrons   = "crons"
	kindDevHost = "workers_dev"
)

// The rules of the findings that this package shares between files.
const (
	ruleNameTaken         = "name-taken"
	ruleHostnameTaken     = "hostname-taken"
	ruleAccountFull       = "account-full"
	rulePermissionMissing = "permission-missing"
	ruleOwnerMismatch     = "owner-mismatch"
)

// ownerTag is the key of the owner tag, whose value is a slug. Package deploy reads and writes the same one.
const ownerTag = "shop"

// words are the kinds for people.
var words = map[string]string{
	kindWorker: "Worker", kindD1: "D1 database", kindKV: "KV namespace", kindR2: "R2 bucket", kindDNS: "DNS record",
	kindRoute: "route", kindDomain: "custom domain", kindCrons: "cron triggers of", kindDevHost: "workers.dev of",
}

// String is the step in one line for people.
func (s Step) String() string {
	text := s.Action + " " + words[s.Kind] + " " + s.Name
	if s.Action == actionTag {
		text = "tag " + words[s.Kind] + " " + s.Name + " with its owner"
	}
	if s.Hint != "" {
		text += " (" + s.Hint + ")"
	}
	return text
}

// Resources is what a shop owns after Apply.
type Resources struct {
	DatabaseID  string `json:"d1_database"`
	NamespaceID string `json:"kv_namespace"`
	Bucket      string `json:"r2_bucket"`
	ZoneID      string `json:"zone"`
	// Fresh are the stores that this run made, by kind/id: nothing is in them yet.
	Fresh map[string]bool `json:"-"`
}

// Changes says whether the plan writes anything.
func (p *Plan) Changes() bool {
	for _, s := range p.Steps {
		if s.Action != actionAdopt {
			return true
		}
	}
	return false
}

// Digest identifies the plan: equal plans have equal digests, on every machine.
func (p *Plan) Digest() string {
	b, err := json.Marshal(p)
	if err != nil {
		// A Plan is strings and numbers all the way down; Marshal has no way to fail on it.
		panic("provision: encoding a plan: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// refuse adds a finding that stops the plan.
func (p *Plan) refuse(rule, message, expected, hint string) {
	p.Findings = append(p.Findings, blocking(rule, message, expected, hint))
}

func (p *Plan) step(s Step) { p.Steps = append(p.Steps, s) }

// note says something that is no finding, once.
func (p *Plan) note(text string) {
	for _, n := range p.Notes {
		if n == text {
			return
		}
	}
	p.Notes = append(p.Notes, text)
}

func blocking(rule, message, expected, hint string) deploy.Finding {
	return deploy.Finding{Rule: rule, Level: deploy.LevelError, Message: message, Expected: expected, Hint: hint}
}

// zoneOf is the zone of an account that a hostname lies in: the longest that fits, "" when none does.
func zoneOf(a fleet.Account, host string) string {
	longest := ""
	for _, zone := range a.Zones() {
		if under(host, zone) && len(zone) > len(longest) {
			longest = zone
		}
	}
	return longest
}

func under(host, zone string) bool { return host == zone || strings.HasSuffix(host, "."+zone) }

// zoneID is Cloudflare's id of a zone; "" when the account has none of that name.
func (a *Account) zoneID(name string) string {
	for _, z := range a.Zones {
		if z.Name == name {
			return z.ID
		}
	}
	return ""
}

// worker is the Worker of that name; nil when there is none.
func (a *Account) worker(name string) *cloudflare.Worker {
	for i := range a.Workers {
		if a.Workers[i].Name == name {
			return &a.Workers[i]
		}
	}
	return nil
}

// owner is whose a store or Worker says that it is: by its tag, or by the record inside; "" when nothing says so.
func (a *Account) owner(kind, id string) string {
	return cmp.Or(a.Owners[kind+"/"+id], a.Says[kind+"/"+id])
}

// store is the id of the database, namespace or bucket that has a name; "" when there is none.
func (a *Account) store(kind, name string) string {
	switch kind {
	case kindD1:
		for _, d := range a.Databases {
			if d.Name == name {
				return d.ID
			}
		}
	case kindKV:
		for _, n := range a.Namespaces {
			if n.Title == name {
				return n.ID
			}
		}
	case kindR2:
		for _, b := range a.Buckets {
			if b.Name == name {
				return name
			}
		}
	}
	return ""
}

// region is where a shop's stores are made.
func region(shop fleet.Shop) string { return strings.ToLower(cmp.Or(shop.Region, "wnam")) }
