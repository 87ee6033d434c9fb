package provision

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/fleet"
)

// recordContent is an address that nothing has (RFC 6666): a proxied record with it is there for the Worker's route alone.
// developers.cloudflare.com/workers/configuration/routing/routes names it for hostnames without an origin.
const recordContent = "100::"

// recordComment marks a record as a shop's. Records have no tags that a shop could be in on all plans.
func recordComment(slug string) string { return "shopfleet: shop " + slug }

// PlanMake plans what a shop lacks. It is pure. Whatever has one of the shop's names is adopted when it is the shop's, or
// nobody's and empty; else there is a finding and the plan is not applied. Nothing is planned that an account has no room for.
func PlanMake(want Want, have *Account) *Plan {
	p := &Plan{Verb: VerbMake, Shop: want.Shop.Slug, Account: have.Name, Worker: want.Shop.Worker, Steps: []Step{}, Identity: Identity{want.Shop.Identity.Key, want.Shop.Identity.Table}}
	if have.Error != "" {
		p.refuse("account-unread", "account "+have.Name+" could not be read: "+have.Error, "", "look at its token, and run this again")
		return p
	}
	m := &making{want: want, have: have, p: p}
	shop := want.Shop
	if have.Owners == nil {
		p.note("the account or the token has no resource tags: until the shop is adopted only names say whose these are")
	}
	m.database()
	m.store(kindKV, shop.KV, have.store(kindKV, shop.KV), "")
	m.store(kindR2, shop.R2, have.store(kindR2, shop.R2), region(shop))
	m.worker()
	m.hostname()
	p.Limits = m.takes()
	for _, l := range p.Limits {
		if l.full() {
			p.Findings = append(p.Findings, l.finding(have.Name))
		}
	}
	// Tags come after everything that is made.
	sort.SliceStable(p.Steps, func(i, j int) bool {
		return boolInt(p.Steps[i].Action == actionTag) < boolInt(p.Steps[j].Action == actionTag)
	})
	return p
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// making is one PlanMake.
type making struct {
	want   Want
	have   *Account
	p      *Plan
	proven bool // something of the shop's is there, so that an untagged Worker is an earlier try's
	// blocked says that somebody has the hostname.
	blocked bool
}

// database plans the database, which fleet.yml may hold to one id.
func (m *making) database() {
	shop := m.want.Shop
	id := m.have.store(kindD1, shop.D1)
	if shop.D1ID == "" {
		m.store(kindD1, shop.D1, id, region(shop))
		return
	}
	switch {
	case id == shop.D1ID && slices.Contains([]string{"", shop.Slug}, m.have.owner(kindD1, id)):
		m.adopt(kindD1, shop.D1, id)
	case id == "":
		m.p.refuse("d1-unknown", fmt.Sprintf("fleet.yml holds shop %s to database %s, which account %s does not have under the name %s", shop.Slug, shop.D1ID, m.have.Name, shop.D1),
			"", "correct shops."+shop.Slug+".d1 in fleet.yml, or delete the id there to have one made")
	default:
		m.taken(kindD1, shop.D1, "is another one than fleet.yml holds the shop to ("+shop.D1ID+")", "correct shops."+shop.Slug+".d1 in fleet.yml")
	}
}

// store plans one store. id is that of the one that has the name; "" when there is none.
func (m *making) store(kind, name, id, hint string) {
	slug := m.want.Shop.Slug
	owner := m.have.owner(kind, id)
	switch {
	case id == "":
		m.p.step(Step{Action: actionCreate, Kind: kind, Name: name, Hint: hint})
		m.tag(kind, name, "")
	case owner == slug || owner == "" && slices.Contains(m.want.IDs, id):
		m.proven = true
		m.adopt(kind, name, id)
	case owner != "":
		m.taken(kind, name, "belongs to shop "+excerpt(owner), "choose another slug, or find out whose it is; what is another shop's is never taken")
	case !m.have.Filled[kind+"/"+id]:
		m.adopt(kind, name, id)
	case m.want.AdoptData:
		m.p.note(words[kind] + " " + name + " has no owner and something in it, and is taken with what is in it")
		m.adopt(kind, name, id)
	default:
		m.taken(kind, name, "is there already, with something in it, and nothing says whose it is", "choose another slug; if it is this shop's, --adopt-data takes it with what is in it")
	}
}

// adopt plans nothing but the tag of what is there.
func (m *making) adopt(kind, name, id string) {
	m.p.step(Step{Action: actionAdopt, Kind: kind, Name: name, ID: id})
	if m.have.Owners[kind+"/"+id] == "" {
		m.tag(kind, name, id)
	}
}

func (m *making) tag(kind, name, id string) {
	if m.have.Owners != nil {
		m.p.step(Step{Action: actionTag, Kind: kind, Name: name, ID: id})
	}
}

func (m *making) taken(kind, name, why, hint string) {
	m.p.Findings = append(m.p.Findings, nameTaken(kind, name, why, hint))
}

// worker judges a Worker that has the shop's name; the deploy that follows would replace it.
func (m *making) worker() {
	name, slug := m.want.Shop.Worker, m.want.Shop.Slug
	owner := m.have.Owners[kindWorker+"/"+name]
	switch {
	case m.have.worker(name) == nil:
	case owner != "" && owner != slug:
		m.taken(kindWorker, name, "belongs to shop "+excerpt(owner), "choose another slug, or find out whose it is; what is another shop's is never taken")
	case owner == "" && !m.proven && len(m.want.IDs) == 0 && !m.want.AdoptData:
		m.taken(kindWorker, name, "is there already, and nothing says whose it is", "choose another slug; if it is this shop's, --adopt-data takes it")
	default:
		m.p.step(Step{Action: actionAdopt, Kind: kindWorker, Name: name})
		if owner == "" {
			m.tag(kindWorker, name, name)
		}
	}
}

// hostname plans the DNS record, or sees to it that nothing is in the way of a custom domain. The route or the custom
// domain itself comes with the deploy, which needs the Worker for it.
func (m *making) hostname() {
	shop, p := m.want.Shop, m.p
	host := shop.Hostname
	zone := zoneOf(m.have.Account, host)
	if zone == "" {
		p.refuse("hostname-outside-zone", fmt.Sprintf("hostname %s is in no zone of account %s", host, m.have.Name),
			"a hostname under "+strings.Join(m.have.Account.Zones(), " or "), "{zone} in naming.hostname stands for the zone of a shop's account")
		return
	}
	if p.Zone = m.have.zoneID(zone); p.Zone == "" {
		p.refuse("zone-unknown", fmt.Sprintf("account %s has no zone %s", m.have.Name, zone), "a zone of the account",
			"add the zone to the account, correct the zone in fleet.yml, or give the token Zone · Zone · Read for it")
		return
	}
	held := false
	for _, d := range m.have.Domains {
		switch {
		case !strings.EqualFold(d.Hostname, host):
		case d.Service != shop.Worker:
			m.hostnameTaken("Worker "+d.Service+" has it as a custom domain", "detach it from "+d.Service+" first if it is this shop's; shopfleet never takes a hostname")
			return
		default:
			held = true
		}
	}
	for _, r := range m.have.Routes[zone] {
		if r.Script != shop.Worker && covers(r.Pattern, host, m.want.CustomDomain) {
			runs := "Worker " + r.Script
			if r.Script == "" {
				runs = "no Worker"
			}
			m.hostnameTaken(fmt.Sprintf("route %s runs %s on it", r.Pattern, runs), "delete that route, or narrow it, if the hostname is this shop's")
		}
	}
	there := false
	for _, r := range m.have.Records[zone] {
		switch {
		case !strings.EqualFold(r.Name, host) || r.Managed && held:
		case ownRecord(r, shop) && !m.want.CustomDomain:
			there = true
			p.step(Step{Action: actionAdopt, Kind: kindDNS, Name: host, ID: r.ID, Zone: p.Zone})
		default:
			m.hostnameTaken(fmt.Sprintf("it has a DNS record already (%s %s)", r.Type, excerpt(r.Content)), "delete the record first if nothing needs it; shopfleet never replaces one")
		}
	}
	if !m.want.CustomDomain && !there && !held && !m.blocked {
		p.step(Step{Action: actionCreate, Kind: kindDNS, Name: host, Zone: p.Zone, Hint: "AAAA " + recordContent + ", proxied"})
	}
}

func (m *making) hostnameTaken(why, hint string) {
	m.blocked = true
	m.p.Findings = append(m.p.Findings, hostnameTaken(m.want.Shop.Hostname, why, hint))
}

// ownRecord says whether a record is the shop's: it is marked as that, or just what would be made and marked as nobody's.
func ownRecord(r cloudflare.DNSRecord, shop fleet.Shop) bool {
	return !r.Managed && r.Type == "AAAA" && r.Content == recordContent && r.Proxied && (r.Comment == "" || r.Comment == recordComment(shop.Slug))
}

// covers says whether another Worker's route takes what comes to a hostname. Among routes the more specific one wins, so a
// wildcard for the whole zone takes nothing from a route with the hostname in it; routes go before custom domains.
func covers(pattern, host string, customDomain bool) bool {
	other := patternHost(pattern)
	if other == host {
		return true
	}
	rest, wild := strings.CutPrefix(other, "*")
	return customDomain && wild && strings.HasSuffix(host, rest)
}

// excerpt is a text from an account as a finding may show it: anybody may have written it.
func excerpt(text string) string {
	const longest = 80
	if r := []rune(text); len(r) > longest {
		text = string(r[:longest]) + "…"
	}
	return fmt.Sprintf("%q", text)
}
