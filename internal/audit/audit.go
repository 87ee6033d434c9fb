// Package audit says what is true of a whole fleet, and changes nothing: who reaches whose storage, what belongs to
// nobody, where the accounts differ from what git says, and which limits are near.
//
// It works in two movements:
//
//	Read   one account           → Snapshot: what the account says, as data; a handful of lists and one call per Worker
//	Audit  Snapshots and git     → Report: the graph of Workers and what they reach, and findings; pure
//
// Audit has no clock and asks nobody. What a Snapshot does not hold because nobody read it (Options.Deep) is not judged,
// and the Report says so in NotRead: silence would pass for proof.
//
// # What is proved
//
// The account's own lists say which Workers there are and what each is bound to. Every Worker is looked at, also one
// that belongs to no shop: Cloudflare does not check who owns a resource that is bound, so a forgotten Worker may read a
// shop's database. Whose a resource is follows from fleet.yml's names, with the owner tags and identity records as
// witnesses against it.
//
// The bindings of a Worker are those of its newest version; with Deep those of the version that takes the traffic are
// read too, of every Worker, and both are judged.
package audit

import (
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// Shop is a shop that has a branch, and what git says of it.
type Shop struct {
	fleet.Shop
	Commit string
	// Config is the branch's config; nil when it cannot be resolved, for which Problems has the reason.
	Config *wrangler.Config
	// RequiredSecrets are what fleet.yml and the config want.
	RequiredSecrets []string
	// Problems are what a plan would refuse of the commit, whatever the account says.
	Problems []deploy.Finding
	// Denied are columns that no table may have and that the branch's migrations make.
	Denied []deploy.Finding
	// Base is the commit of main that the branch stands on; Behind is how many commits main has since, and Since when the
	// oldest of them was made.
	Base   string
	Behind int
	Since  time.Time
	// Leaving is why the shop cannot be reached on purpose, since it is offboarded or moved; "" for others. Its hostnames and
	// crons are not judged then, and the report says so: a hold is the word of whoever may write to the repository.
	Leaving string
}

// Input is everything that an audit judges by.
type Input struct {
	Policy *fleet.Policy
	// Shops are all shops that have a branch, also where Only names a few.
	Shops []Shop
	// Only limits the findings to these shops; empty is all of them, and the accounts.
	Only      []string
	Snapshots []*Snapshot
	At        time.Time // when the audit began
	Main      string    // commit of main
	Tool      string    // the version of shopfleet
}

// Finding is something wrong in the fleet. File, Line and Column are of the shop's wrangler.jsonc, where it stands there.
type Finding struct {
	deploy.Finding
	Account  string `json:"account,omitempty"`
	Shop     string `json:"shop,omitempty"`
	Worker   string `json:"worker,omitempty"`
	Resource string `json:"resource,omitempty"` // type, name and id
	// Others are further shops that it concerns.
	Others []string `json:"others,omitempty"`
}

// concerns says whether a finding is about one of these shops.
func (f Finding) concerns(slugs []string) bool {
	return slices.Contains(slugs, f.Shop) || slices.ContainsFunc(f.Others, func(s string) bool { return slices.Contains(slugs, s) })
}

// Account is what the report says of one account.
type Account struct {
	Name    string    `json:"name"`
	ID      string    `json:"id"`
	Shops   int       `json:"shops"` // with a branch
	Workers int       `json:"workers"`
	Stores  int       `json:"stores"`
	Calls   int       `json:"calls"`
	At      time.Time `json:"read_at"`
	// Error is why it could not be read; nothing is known of it then. It is for the operator: no finding repeats it, since
	// findings are published.
	Error string `json:"error,omitempty"`
}

// Report is the result. Its lists are in an order that does not depend on who answered first.
type Report struct {
	At       time.Time `json:"at"`
	Tool     string    `json:"tool"`
	Main     string    `json:"main"`
	Only     []string  `json:"only,omitempty"`
	Deep     bool      `json:"deep"`
	Shops    int       `json:"shops"`
	Accounts []Account `json:"accounts"`
	// NotRead says what was not looked at, a sentence each.
	NotRead  []string  `json:"not_read,omitempty"`
	Graph    Graph     `json:"graph"`
	Findings []Finding `json:"findings"`
}

// Count is how many findings have a level.
func (r *Report) Count(level string) int {
	n := 0
	for _, f := range r.Findings {
		if f.Level == level {
			n++
		}
	}
	return n
}

// Clean says that nobody has to do anything: there is no error and no warning.
func (r *Report) Clean() bool {
	return r.Count(deploy.LevelError)+r.Count(deploy.LevelWarning) == 0
}

// Unread are the accounts that could not be read.
func (r *Report) Unread() []string {
	var out []string
	for _, a := range r.Accounts {
		if a.Error != "" {
			out = append(out, a.Name)
		}
	}
	return out
}

// audit is one run of Audit.
type audit struct {
	Input
	graph    *graph
	bySlug   map[string]*Shop
	findings []Finding
}

// Audit judges a fleet. It is pure: equal inputs give an equal report.
func Audit(in Input) *Report {
	a := &audit{Input: in, bySlug: map[string]*Shop{}}
	for i := range in.Shops {
		a.bySlug[in.Shops[i].Slug] = &in.Shops[i]
	}
	a.graph = a.build()
	for _, s := range in.Snapshots {
		if s.Error != "" {
			a.add(Finding{Account: s.Account.Name, Finding: deploy.Finding{Rule: "account-unread", Level: deploy.LevelError,
				Message: "account " + s.Account.Name + " could not be read", Expected: "an account that the token may read",
				Hint: "run the audit again; check the token in " + s.Account.Token + " when it stays so"}})
		}
	}
	a.isolation()
	a.ownership()
	a.orphans()
	for i := range in.Shops {
		shop := &in.Shops[i]
		a.branch(shop)
		if s := a.snapshot(shop.Account.Name); s != nil && s.Error == "" {
			a.present(shop, s)
			a.reached(shop, s)
			a.drift(shop, s)
			a.live(shop, s)
		}
	}
	a.capacity()
	return a.report()
}

func (a *audit) add(f Finding) { a.findings = append(a.findings, f) }

// snapshot finds an account's; nil when it was not asked for.
func (a *audit) snapshot(name string) *Snapshot {
	for _, s := range a.Snapshots {
		if s.Account.Name == name {
			return s
		}
	}
	return nil
}

// report puts the result together.
func (a *audit) report() *Report {
	r := &Report{At: a.At, Tool: a.Tool, Main: a.Main, Only: a.Only, Shops: len(a.Shops), Graph: a.graph.Graph, Accounts: []Account{}, Findings: []Finding{}}
	shops := map[string]int{}
	for _, s := range a.Shops {
		shops[s.Account.Name]++
	}
	notRead := map[string][]string{} // what → accounts
	for _, s := range a.Snapshots {
		r.Accounts = append(r.Accounts, Account{
			Name: s.Account.Name, ID: s.Account.ID, Shops: shops[s.Account.Name], Workers: len(s.Workers),
			Stores: len(s.Databases) + len(s.Namespaces) + len(s.Buckets), Calls: s.Calls, At: s.At, Error: s.Error,
		})
		r.Deep = r.Deep || s.Deep
		for _, what := range s.NotRead {
			notRead[what] = append(notRead[what], s.Account.Name)
		}
	}
	for _, what := range sorted(notRead) {
		if at := notRead[what]; len(at) < len(a.Snapshots) {
			what += " (account " + strings.Join(at, ", ") + ")"
		}
		r.NotRead = append(r.NotRead, what)
	}
	for _, s := range a.Shops {
		if s.Leaving != "" {
			r.NotRead = append(r.NotRead, "hostnames and crons of "+s.Slug+" were not judged: "+s.Leaving)
		}
	}
	for _, f := range a.findings {
		if len(a.Only) == 0 || f.concerns(a.Only) || f.Rule == "account-unread" {
			r.Findings = append(r.Findings, f)
		}
	}
	levels := []string{deploy.LevelError, deploy.LevelWarning, deploy.LevelNotice}
	sort.SliceStable(r.Findings, func(i, j int) bool {
		x, y := r.Findings[i], r.Findings[j]
		if l, m := slices.Index(levels, x.Level), slices.Index(levels, y.Level); l != m {
			return l < m
		}
		if x.Rule != y.Rule {
			return rank(x.Rule) < rank(y.Rule) || rank(x.Rule) == rank(y.Rule) && x.Rule < y.Rule
		}
		if x.Account != y.Account {
			return x.Account < y.Account
		}
		if x.Shop != y.Shop {
			return x.Shop < y.Shop
		}
		return x.Message < y.Message
	})
	return r
}

// ranked are the rules that are told of first among those of their level: who reaches whose data, then who takes whose hostname.
var ranked = []string{"store-shared", "store-exposed", "owner-mismatch", "binding-foreign", "hostname-taken", "hostname-shadowed"}

func rank(rule string) int {
	if i := slices.Index(ranked, rule); i >= 0 {
		return i
	}
	return len(ranked)
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
