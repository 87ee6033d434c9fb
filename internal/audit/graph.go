package audit

import (
	"encoding/json"
	"slices"
	"sort"
	"strings"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// Graph is who reaches what, over all accounts: Workers on one side, what they are bound to on the other.
type Graph struct {
	Workers []Node `json:"workers"`
	Stores  []Node `json:"stores"`
	Edges   []Edge `json:"edges"`
	// Hostnames are who answers where.
	Hostnames []Hostname `json:"hostnames"`
}

// Hostname is a custom domain, or a route of one of the fleet's zones.
type Hostname struct {
	Account string `json:"account"`
	// Kind is "custom domain" or "route", Pattern is the hostname or the route's pattern.
	Kind    string `json:"kind"`
	Pattern string `json:"pattern"`
	// Worker answers there; "" for a route that leads past every Worker. Shop is whose Worker it is, "" for nobody's.
	Worker string `json:"worker,omitempty"`
	Shop   string `json:"shop,omitempty"`
	// Of are the shops whose hostname it is, or covers, by fleet.yml.
	Of []string `json:"of,omitempty"`
}

// Node is a Worker, or something that Workers reach.
type Node struct {
	Account string `json:"account"`
	// Type is a type of binding on the wire, or "worker".
	Type         string `json:"type"`
	ID           string `json:"id"` // a bucket's and a Worker's is its name
	Name         string `json:"name"`
	Jurisdiction string `json:"jurisdiction,omitempty"`
	// Shop is whose it is by fleet.yml; "" for nobody's. It need not have a branch.
	Shop string `json:"shop,omitempty"`
	// Shared is why it is nobody's and yet may be bound, from fleet.yml.
	Shared string `json:"shared,omitempty"`
	// Proofs are what says so: "name" by fleet.yml, "tag" the owner tag, "record" the identity record inside.
	Proofs []string `json:"proofs,omitempty"`
	// Tag is the owner tag, Record the identity record, "" for none or not read.
	Tag    string `json:"tag,omitempty"`
	Record string `json:"record,omitempty"`

	exists bool // the account lists it; what has no list is taken to exist
}

// Words names a node for people: "D1 helm-swicked-db (134ea8a4-…)".
func (n Node) Words() string {
	kind := map[string]string{"d1": "D1", "kv_namespace": "KV", "r2_bucket": "R2", "worker": "Worker"}[n.Type]
	if kind == "" {
		kind = n.Type
	}
	switch {
	case n.Name == "" && n.ID == "":
		return kind
	case n.Name == "" || n.Name == n.ID:
		return kind + " " + n.ID
	}
	return kind + " " + n.Name + " (" + n.ID + ")"
}

// Edge is one binding.
type Edge struct {
	Account string `json:"account"`
	Worker  string `json:"worker"`
	// Shop is the Worker's; "" for a Worker of nobody.
	Shop    string `json:"shop,omitempty"`
	Binding string `json:"binding"`
	Type    string `json:"type"`
	ID      string `json:"id"`
	// Version is "live" where only a version that takes traffic has the binding, and the newest has not.
	Version string `json:"version,omitempty"`
	// Jurisdiction is a bucket's: two buckets may have one name.
	Jurisdiction string `json:"jurisdiction,omitempty"`
}

// key finds a node.
type key struct{ account, typ, id, jurisdiction string }

func (n Node) key() key { return key{n.Account, n.Type, n.ID, n.Jurisdiction} }
func (e Edge) key() key { return key{e.Account, e.Type, e.ID, e.Jurisdiction} }

// graph is a Graph under work.
type graph struct {
	Graph
	nodes map[key]*Node  // of both sides
	to    map[key][]Edge // edges by what they reach
	// named are what the accounts have: account, type, name.
	named map[[3]string]bool
	// judged are the bindings that a finding is about: account, Worker, binding.
	judged map[[3]string]bool
}

// build makes the graph of all snapshots.
func (a *audit) build() *graph {
	g := &graph{Graph: Graph{Workers: []Node{}, Stores: []Node{}, Edges: []Edge{}, Hostnames: []Hostname{}}, nodes: map[key]*Node{}, to: map[key][]Edge{}, named: map[[3]string]bool{}, judged: map[[3]string]bool{}}
	names := a.names()
	for _, s := range a.Snapshots {
		at := s.Account.Name
		node := func(typ, id, name, jurisdiction string) {
			n := &Node{Account: at, Type: typ, ID: id, Name: name, Jurisdiction: jurisdiction, exists: true}
			if n.Shop = names.owner(typ, name); n.Shop != "" {
				n.Proofs = []string{"name"}
			}
			g.nodes[n.key()], g.named[[3]string{at, typ, name}] = n, true
		}
		for _, w := range s.Workers {
			node("worker", w.Name, w.Name, "")
		}
		for _, db := range s.Databases {
			node("d1", db.ID, db.Name, "")
		}
		for _, ns := range s.Namespaces {
			node("kv_namespace", ns.ID, ns.Title, "")
		}
		for _, b := range s.Buckets {
			node("r2_bucket", b.Name, b.Name, plainJurisdiction(b.Jurisdiction))
		}
		a.witnesses(g, s)
		for _, w := range s.Workers {
			for _, e := range edges(s, w) {
				e.Shop = names.owner("worker", w.Name)
				if g.nodes[e.key()] == nil {
					n := &Node{Account: at, Type: e.Type, ID: e.ID, Name: e.ID, Jurisdiction: e.Jurisdiction,
						exists: !slices.Contains([]string{"d1", "kv_namespace", "r2_bucket", "worker"}, e.Type)}
					if n.exists || e.Type == "worker" {
						n.Shop = names.owner(e.Type, e.ID)
					} else {
						n.Name = "" // an id without a thing
					}
					g.nodes[e.key()] = n
				}
				g.Edges = append(g.Edges, e)
				g.to[e.key()] = append(g.to[e.key()], e)
			}
		}
	}
	for _, s := range a.Snapshots {
		g.Hostnames = append(g.Hostnames, a.answers(s, names)...)
	}
	for k, n := range g.nodes {
		for _, shared := range a.Policy.Shared {
			if (shared.Name == n.Name || shared.Name == n.ID) && a.isShared(k.typ, shared.Name) {
				n.Shared = shared.Reason
			}
		}
		if n.Type == "worker" {
			if n.exists {
				g.Workers = append(g.Workers, *n)
			}
			continue
		}
		g.Stores = append(g.Stores, *n)
	}
	order := func(x, y Node) int {
		return strings.Compare(strings.Join([]string{x.Account, x.Type, x.Name, x.ID, x.Jurisdiction}, "\x00"),
			strings.Join([]string{y.Account, y.Type, y.Name, y.ID, y.Jurisdiction}, "\x00"))
	}
	sort.Slice(g.Workers, func(i, j int) bool { return order(g.Workers[i], g.Workers[j]) < 0 })
	sort.Slice(g.Stores, func(i, j int) bool { return order(g.Stores[i], g.Stores[j]) < 0 })
	sort.SliceStable(g.Edges, func(i, j int) bool {
		return g.Edges[i].Account+"\x00"+g.Edges[i].Worker+"\x00"+g.Edges[i].Binding < g.Edges[j].Account+"\x00"+g.Edges[j].Worker+"\x00"+g.Edges[j].Binding
	})
	return g
}

// answers are an account's custom domains and routes, in the snapshot's order: who answers there, and whose hostname it is.
func (a *audit) answers(s *Snapshot, names *names) []Hostname {
	var out []Hostname
	add := func(kind, pattern, worker string, covered func(host string) bool) {
		h := Hostname{Account: s.Account.Name, Kind: kind, Pattern: pattern, Worker: worker, Shop: names.owner("worker", worker)}
		for i := range a.Shops {
			if shop := &a.Shops[i]; slices.ContainsFunc(shop.hostnames(), covered) {
				h.Of = append(h.Of, shop.Slug)
			}
		}
		slices.Sort(h.Of)
		out = append(out, h)
	}
	for _, d := range s.Domains {
		add("custom domain", d.Hostname, d.Service, func(host string) bool { return host == d.Hostname })
	}
	for _, r := range s.Routes {
		add("route", r.Pattern, r.Worker, func(host string) bool { return covers(r.Pattern, host) != 0 })
	}
	return out
}

// workerTypes are the types of binding that reach a Worker.
var workerTypes = []string{"service", "durable_object_namespace", "tail_consumer"}

// isShared asks the policy for a node, which knows a Worker by the type of the binding that reaches it.
func (a *audit) isShared(typ, name string) bool {
	if typ == "worker" {
		return slices.ContainsFunc(workerTypes, func(t string) bool { return a.Policy.IsShared(t, name) })
	}
	return a.Policy.IsShared(typ, name)
}

// jurisdictions are those that a bucket may be in.
var jurisdictions = []string{"", "eu", "fedramp"}

// witnesses puts owner tags and identity records on the nodes of a snapshot.
func (a *audit) witnesses(g *graph, s *Snapshot) {
	types := map[string]string{"d1_database": "d1", "kv_namespace": "kv_namespace", "r2_bucket": "r2_bucket", "worker": "worker"}
	for _, t := range s.Tags {
		for _, jurisdiction := range jurisdictions { // a tag does not say of which a bucket is
			n := g.nodes[key{s.Account.Name, types[t.Type], t.ID, jurisdiction}]
			if n == nil {
				continue
			}
			if n.Tag = t.Tags[ownerTag]; n.Tag == n.Shop && n.Shop != "" {
				n.Proofs = append(n.Proofs, "tag")
			}
		}
	}
	for _, n := range g.nodes {
		shop, d, store := a.bySlug[n.Shop], s.Details[n.Shop], recordOf[n.Type]
		if n.Account != s.Account.Name || shop == nil || d == nil || store == "" || !shop.first(n) {
			continue
		}
		if n.Record = d.Records[store]; n.Record == n.Shop {
			n.Proofs = append(n.Proofs, "record")
		}
	}
}

// recordOf is what a store's identity record is called in Detail.Records, by the store's type.
var recordOf = map[string]string{"d1": "d1", "kv_namespace": "kv", "r2_bucket": "r2"}

// first says that a node is the shop's own store of its type, and not one of its others.
func (s *Shop) first(n *Node) bool {
	return map[string]string{"d1": s.D1, "kv_namespace": s.KV, "r2_bucket": s.R2, "worker": s.Worker}[n.Type] == n.Name
}

// edges are what a Worker reaches: by its newest version, by the live one, and by its tail consumers.
func edges(s *Snapshot, w Worker) []Edge {
	var out []Edge
	seen := map[Edge]bool{}
	add := func(binding, version string, reached []deploy.Reach) {
		for _, r := range reached {
			if r.Free {
				continue
			}
			e := Edge{Account: s.Account.Name, Worker: w.Name, Binding: binding, Type: r.Type, ID: r.Resource, Jurisdiction: r.Jurisdiction}
			if slices.Contains(workerTypes, r.Type) && r.Resource != "" {
				e.Type = "worker"
				e.ID, _, _ = strings.Cut(r.Resource, "/") // the environment of a Worker is the Worker
			}
			if e.Type == "worker" && e.ID == w.Name || seen[e] {
				continue
			}
			seen[e] = true
			e.Version = version
			out = append(out, e)
		}
	}
	for _, b := range w.Settings.Bindings {
		reached, err := deploy.ReachOfLive(b.JSON)
		if err != nil {
			reached = []deploy.Reach{{Type: b.Type}} // whatever it is, nobody owns it
		}
		add(b.Name, "", reached)
	}
	var list []json.RawMessage
	if json.Unmarshal(w.Live.Bindings, &list) == nil { // nil when it was not read
		for _, raw := range list {
			var head struct{ Name string }
			if reached, err := deploy.ReachOfLive(raw); err == nil && json.Unmarshal(raw, &head) == nil {
				add(head.Name, "live", reached)
			}
		}
	}
	for _, v := range w.Beside {
		for _, b := range v.Bindings {
			if reached, err := deploy.ReachOfLive(b.JSON); err == nil {
				add(b.Name, "live", reached)
			}
		}
	}
	add("tail_consumers", "", deploy.ReachOfConsumers(w.TailConsumers))
	return out
}

func plainJurisdiction(j string) string {
	if j == "default" {
		return ""
	}
	return j
}

// names finds whose a name is by fleet.yml: exactly for shops that have a branch or stand in the file, by the naming rules
// for those that do not.
type names struct {
	policy *fleet.Policy
	exact  map[[2]string]string
}

func (a *audit) names() *names {
	n := &names{a.Policy, map[[2]string]string{}}
	know := func(s fleet.Shop) {
		n.exact[[2]string{"d1", s.D1}], n.exact[[2]string{"kv_namespace", s.KV}] = s.Slug, s.Slug
		n.exact[[2]string{"r2_bucket", s.R2}], n.exact[[2]string{"worker", s.Worker}] = s.Slug, s.Slug
		for typ, list := range s.Others {
			for _, name := range list {
				n.exact[[2]string{plainType(typ), name}] = s.Slug
			}
		}
	}
	for slug := range a.Policy.Shops {
		if s, err := a.Policy.Shop(slug); err == nil {
			know(s)
		}
	}
	for _, s := range a.Shops {
		know(s.Shop)
	}
	return n
}

func plainType(typ string) string {
	if slices.Contains(workerTypes, typ) {
		return "worker"
	}
	return typ
}

// owner is the slug of the shop that a name belongs to; "" for nobody's.
func (n *names) owner(typ, name string) string {
	if name == "" {
		return ""
	}
	if slug, ok := n.exact[[2]string{typ, name}]; ok {
		return slug
	}
	naming := n.policy.Naming
	rules := map[string][]string{"d1": {naming.D1}, "kv_namespace": {naming.KV}, "r2_bucket": {naming.R2}, "worker": {naming.Worker}}[typ]
	for _, as := range append([]string{typ}, workerTypes...) {
		if plainType(as) == typ {
			rules = append(slices.Clone(rules), naming.Others[as]...)
		}
	}
	for _, rule := range rules {
		before, after, ok := strings.Cut(rule, "{slug}")
		if !ok || len(name) <= len(before)+len(after) || !strings.HasPrefix(name, before) || !strings.HasSuffix(name, after) {
			continue
		}
		slug := name[len(before) : len(name)-len(after)]
		if s, err := n.policy.Shop(slug); err == nil && owns(s, typ, name) {
			return slug
		}
	}
	return ""
}

// owns is Shop.Owns for the types of nodes.
func owns(s fleet.Shop, typ, name string) bool {
	if typ == "worker" {
		return slices.ContainsFunc(workerTypes, func(t string) bool { return s.Owns(t, name) })
	}
	return s.Owns(typ, name)
}
