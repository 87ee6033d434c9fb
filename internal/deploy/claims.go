package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// Claim is a name, id or hostname that a shop's config binds or answers to. No two shops may claim one.
type Claim struct {
	// Type is a type of binding, "worker" for a Worker by whatever type it is reached, or "hostname".
	Type string
	// Key says what Value is: "id", "name" or "hostname".
	Key   string
	Value string
}

// numbered are the types that are known by an id.
var numbered = map[string]bool{
	"d1": true, "kv_namespace": true, "hyperdrive": true, "flagship": true, "vpc_service": true, "vpc_network": true,
	"mtls_certificate": true, "secrets_store_secret": true, "ratelimit": true,
}

// Claims are what a resolved config claims for the shop. What fleet.yml shares is among them.
func Claims(c *wrangler.Config, shop fleet.Shop) []Claim {
	out := []Claim{{"worker", "name", c.Name}}
	add := func(r Reach) {
		typ, key, value := r.Type, "name", r.Resource
		switch {
		case r.Free || value == "":
			return
		case typ == "service" || typ == "durable_object_namespace" || typ == "tail_consumer":
			typ = "worker"
			if value == shop.Worker {
				return // its own, which it claims already
			}
		case numbered[typ]:
			key = "id"
		}
		if r.Jurisdiction != "" {
			value += " in " + r.Jurisdiction
		}
		out = append(out, Claim{typ, key, value})
	}
	for _, b := range c.Bindings {
		for _, r := range ReachOf(b) {
			add(r)
		}
		if b.Type == "ratelimit" {
			// It keeps counts and no data, but two shops that count together can shut each other out.
			add(Reach{Type: b.Type, Resource: b.Field("namespace_id")})
		}
	}
	for _, db := range c.D1 {
		if db.DatabaseName != "" {
			out = append(out, Claim{"d1", "name", db.DatabaseName})
		}
	}
	for _, raw := range []json.RawMessage{c.TailConsumers, c.StreamingTailConsumers} {
		for _, r := range ReachOfConsumers(raw) {
			add(r)
		}
	}
	for _, r := range c.Routes {
		out = append(out, Claim{"hostname", "hostname", routeHost(r)})
	}
	return out
}

// Branch is a shop's branch as far as its claims go.
type Branch struct {
	Shop   fleet.Shop
	Config []byte
}

// Rivals are the branches of all shops. It is safe for concurrent use.
type Rivals struct {
	policy   *fleet.Policy
	name     string
	branches []Branch
	lower    [][]byte // their configs in lower case; nil where an escape may hide a word

	asked atomic.Int32
	once  sync.Once
	by    map[Claim][]int // who claims it: indexes of branches, ascending
}

// NewRivals takes the branches. name is what their config is called.
func NewRivals(policy *fleet.Policy, name string, branches []Branch) *Rivals {
	r := &Rivals{policy: policy, name: name, branches: branches, lower: make([][]byte, len(branches))}
	for i, b := range branches {
		if !bytes.ContainsRune(b.Config, '\\') {
			r.lower[i] = bytes.ToLower(b.Config)
		}
	}
	return r
}

// few is how many shops look for their own words in all branches before it is cheaper to understand every branch.
const few = 8

// against returns who claims what is in mine, by indexes of branches.
func (r *Rivals) against(mine []Claim) map[Claim][]int {
	if r.asked.Add(1) > few {
		r.once.Do(func() { r.by = r.read(func(int) bool { return true }) })
		return r.by
	}
	return r.read(func(i int) bool { return r.mayClaim(i, mine) })
}

// mayClaim says whether one of the claims can be a branch's at all: whoever claims something writes its name.
func (r *Rivals) mayClaim(i int, mine []Claim) bool {
	if r.lower[i] == nil {
		return true
	}
	return slices.ContainsFunc(mine, func(c Claim) bool {
		if c.Type == "worker" && strings.HasSuffix(c.Value, "-"+r.branches[i].Shop.Slug) {
			return true // a Worker's name may be put together from the top level's and the environment's
		}
		word := c.Value
		if end := strings.IndexAny(word, " /"); end > 0 {
			word = word[:end] // what follows is ours, or stands elsewhere
		}
		return bytes.Contains(r.lower[i], []byte(strings.ToLower(word)))
	})
}

// read finds out what branches claim. One that cannot be read or resolved claims nothing: it cannot be deployed, and
// what is wrong with it is its own shop's to hear.
func (r *Rivals) read(which func(i int) bool) map[Claim][]int {
	all := make([][]Claim, len(r.branches))
	var group errgroup.Group
	group.SetLimit(max(1, runtime.GOMAXPROCS(0)))
	for i, b := range r.branches {
		if !which(i) {
			continue
		}
		group.Go(func() error {
			project, err := wrangler.Parse(string(filepath.Separator), r.name, b.Config)
			if err != nil || !slices.Contains(project.Envs(), b.Shop.Slug) {
				return nil
			}
			if config, err := project.Resolve(b.Shop.Slug); err == nil {
				all[i] = claimsToCompare(r.policy, config, b.Shop)
			}
			return nil
		})
	}
	_ = group.Wait() // nothing in it fails
	by := map[Claim][]int{}
	for i, claims := range all {
		for _, c := range claims {
			if at := by[c]; len(at) == 0 || at[len(at)-1] != i {
				by[c] = append(at, i)
			}
		}
	}
	return by
}

// claimsToCompare are a shop's claims without what fleet.yml shares, and numbers that mean something else in each account
// together with the account.
func claimsToCompare(policy *fleet.Policy, c *wrangler.Config, shop fleet.Shop) []Claim {
	shared := map[Claim]bool{}
	for _, db := range c.D1 {
		if policy.IsShared("d1", db.DatabaseName) {
			shared[Claim{"d1", "id", db.DatabaseID}] = true
		}
	}
	var out []Claim
	for _, claim := range Claims(c, shop) {
		if shared[claim] || isShared(policy, claim) {
			continue
		}
		if claim.Type == "ratelimit" {
			claim.Value = counter(claim.Value, shop)
		}
		out = append(out, claim)
	}
	return out
}

// counter is what counts requests: its number means something else in each account.
func counter(id string, shop fleet.Shop) string { return id + " in account " + shop.Account.ID }

func isShared(policy *fleet.Policy, c Claim) bool {
	if c.Type != "worker" {
		return policy.IsShared(c.Type, c.Value)
	}
	return policy.IsShared("service", c.Value) || policy.IsShared("durable_object_namespace", c.Value) || policy.IsShared("tail_consumer", c.Value)
}

// provenBy says whether fleet.yml alone makes a claim the shop's: by the naming rule, an exception or a pinned id.
func provenBy(shop fleet.Shop, c Claim) bool {
	switch {
	case c.Type == "hostname":
		return c.Value == shop.Hostname || slices.Contains(shop.Hostnames, c.Value)
	case c.Type == "d1" && c.Key == "id":
		return shop.D1ID != "" && c.Value == shop.D1ID
	case c.Type == "kv_namespace" || c.Type == "ratelimit":
		return false // a title is what is owned, and an id tells nothing of it
	case c.Type == "worker":
		return c.Value == shop.Worker || shop.Owns("service", c.Value) || shop.Owns("durable_object_namespace", c.Value) || shop.Owns("tail_consumer", c.Value)
	}
	name, _, _ := strings.Cut(c.Value, " in ")
	return shop.Owns(c.Type, name)
}

// contest is a claim that other branches make too.
type contest struct {
	claim  Claim
	rivals []string // branches, sorted
}

// admitClaims compares what the shop claims with what all other branches do. Where fleet.yml says whose it is, the owner
// gets a warning and the other one is refused, so that no branch can keep another shop from being deployed. The rest waits
// for the account.
func (want *Desired) admitClaims(rivals *Rivals) {
	if rivals == nil {
		return
	}
	a := &admission{want: want}
	mine := claimsToCompare(want.policy, want.Config, want.Shop)
	by := rivals.against(mine)
	seen := map[Claim]bool{}
	for _, claim := range mine {
		if seen[claim] {
			continue
		}
		seen[claim] = true
		x := contest{claim: claim}
		theirs := false
		for _, i := range by[claim] {
			if other := rivals.branches[i].Shop; other.Slug != want.Shop.Slug {
				x.rivals = append(x.rivals, other.Branch)
				theirs = theirs || provenBy(other, claim)
			}
		}
		switch {
		case len(x.rivals) == 0:
		case theirs:
			a.claimed(x, LevelError)
		case provenBy(want.Shop, claim):
			a.claimed(x, LevelWarning)
		default:
			want.contested = append(want.contested, x)
		}
	}
	want.Findings = append(want.Findings, a.found...)
}

// contested decides what fleet.yml does not: the account's name behind an id does. Without an account nothing is proven,
// which is an error for all who claim it.
func (a *admission) contested(have *State) {
	for _, x := range a.want.contested {
		level := LevelError
		if have != nil {
			if x.claim.Type == "ratelimit" && slices.Contains(have.Counters, x.claim.Value) {
				level = LevelWarning // who counted by it first keeps it, or any branch could stop this shop
			}
			names := map[string]map[string]string{"d1": have.Databases, "kv_namespace": have.Namespaces}[x.claim.Type]
			name, known := names[x.claim.Value]
			switch {
			case known && a.want.policy.IsShared(x.claim.Type, name):
				continue
			case known && a.want.Shop.Owns(x.claim.Type, name):
				level = LevelWarning
			}
		} else if x.claim.Type == "kv_namespace" && slices.ContainsFunc(a.want.policy.Shared, func(s fleet.Shared) bool { return s.Type == "kv_namespace" }) {
			level = LevelWarning // it may be the shared one, whose title only the account knows
		}
		a.claimed(x, level)
	}
}

// claimed words a contest.
func (a *admission) claimed(x contest, level string) {
	what := fmt.Sprintf("the %s %s %q", x.claim.Type, x.claim.Key, x.claim.Value)
	if x.claim.Type == "hostname" {
		what = fmt.Sprintf("hostname %q", x.claim.Value)
	}
	others := strings.Join(x.rivals[:min(len(x.rivals), 3)], ", ")
	if more := len(x.rivals) - 3; more > 0 {
		others += fmt.Sprintf(" and %d more", more)
	}
	f := Finding{Level: level, Message: fmt.Sprintf("%s is claimed by branch %s too", what, others), Expected: "a thing that one shop claims",
		Hint: "correct the branch whose it is not; what is no single shop's is declared in fleet.yml under shared"}
	if x.claim.Type == "hostname" {
		f.Hint = "correct the branch whose it is not"
	}
	if level == LevelWarning {
		f.Hint = "it is this shop's; correct " + others + ", which cannot be deployed as it is"
	}
	a.report("claimed-twice", a.at(a.claimedAt(x.claim), f))
}

// claimedAt is the place in wrangler.jsonc where the shop claims something; its environment where that is put together.
func (a *admission) claimedAt(claim Claim) []any {
	c := a.want.Config
	for _, b := range c.Bindings {
		for _, r := range ReachOf(b) {
			value := r.Resource
			if r.Jurisdiction != "" {
				value += " in " + r.Jurisdiction
			}
			if value != "" && value == claim.Value && (r.Type == claim.Type || claim.Type == "worker") {
				return b.Path()
			}
		}
		if id := b.Field("namespace_id"); b.Type == "ratelimit" && claim.Type == b.Type && strings.HasPrefix(claim.Value, id+" in ") {
			return b.Path()
		}
	}
	for _, db := range c.D1 {
		if claim.Type == "d1" && db.DatabaseName == claim.Value {
			return db.Path()
		}
	}
	for _, r := range c.Routes {
		if claim.Type == "hostname" && routeHost(r) == claim.Value {
			return r.Path()
		}
	}
	if claim.Type == "worker" && claim.Value == c.Name {
		return []any{"env", c.Env, "name"}
	}
	return []any{"env", c.Env}
}
