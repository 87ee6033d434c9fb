package provision

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// Room is how much room an account has for further shops.
type Room struct {
	Account string  `json:"account"`
	Shops   int     `json:"shops"`
	Left    int     `json:"left"`    // shops that still fit
	Wall    string  `json:"wall"`    // the limit that is met first
	FullAt  int     `json:"full_at"` // how many shops the account will have when it is full
	Limits  []Limit `json:"limits"`
	Error   string  `json:"error,omitempty"` // why the account could not be read; it has no room then
}

// cronsOfAShop is what a shop is expected to take where no shop tells: daily, weekly and monthly.
const cronsOfAShop = 3

// Rooms says how many shops fit into each account still, by all of its limits, when a further shop takes what the ones that
// are there take on average. shops are all that the branches name, of every account; owner tags tell of others. It is pure.
func Rooms(policy *fleet.Policy, accounts []*Account, shops []fleet.Shop) []Room {
	rooms := make([]Room, len(accounts))
	for i, a := range accounts {
		rooms[i] = roomOf(policy, a, shops)
	}
	return rooms
}

func roomOf(policy *fleet.Policy, a *Account, shops []fleet.Shop) Room {
	r := Room{Account: a.Name, Error: a.Error, Limits: []Limit{}}
	var slugs []string
	var here []fleet.Shop
	for _, s := range shops {
		if s.Account.Name == a.Name {
			slugs, here = append(slugs, s.Slug), append(here, s)
		}
	}
	r.Shops = len(a.shops(slugs...))
	if a.Error != "" {
		r.FullAt = r.Shops
		return r
	}
	crons, told := 0, 0
	for _, s := range here {
		if n, ok := a.Crons[s.Worker]; ok {
			crons, told = crons+n, told+1
		}
	}
	each := float64(cronsOfAShop)
	if told > 0 {
		each = float64(crons) / float64(told)
	}
	used := a.crons() + int(math.Ceil(each*float64(r.Shops-told))) // shops that nobody knows the crons of have some all the same
	r.Limits = []Limit{
		{limitShops, r.Shops, a.MaxShops, 1},
		{limitCrons, used, maxCrons, each},
		{limitWorkers, len(a.Workers), maxWorkers, 1},
		{limitNamespaces, len(a.Namespaces), maxNamespaces, 1},
		{limitDatabases, len(a.Databases), maxDatabases, 1},
		{limitBuckets, len(a.Buckets), maxBuckets, 1},
	}
	routes, domains := 1.0, 0.0
	if policy.Onboard.Hostname == fleet.HostnameCustomDomain {
		routes, domains = 0, 1
	}
	for _, zone := range a.Account.Zones() {
		main := float64(boolInt(zone == a.Zone)) // new hostnames are made in the main zone
		r.Limits = append(r.Limits,
			Limit{limitRoutes + zone, len(a.Routes[zone]), maxRoutes, main * routes},
			Limit{limitDomains + zone, a.domainsIn(zone), maxDomains, main * domains})
	}
	r.Left = math.MaxInt
	for _, l := range r.Limits {
		if n, ok := l.left(); ok && n < r.Left {
			r.Left, r.Wall = n, l.What
		}
	}
	r.FullAt = r.Shops + r.Left
	return r
}

// left is how many shops fit under a limit still; ok is false when a shop takes nothing of it.
func (l Limit) left() (n int, ok bool) {
	if l.Each <= 0 {
		return 0, false
	}
	return max(0, int(math.Floor(float64(l.Max-l.Used)/l.Each+1e-9))), true
}

// Choose picks the account for a new shop: the named one, or the one with the most room by its tightest limit, the first in
// fleet.yml of several. It never picks one that is full or could not be read; then there are findings.
func Choose(policy *fleet.Policy, rooms []Room, named string) (account fleet.Account, findings []deploy.Finding) {
	find := func(name string) (Room, bool) {
		i := slices.IndexFunc(rooms, func(r Room) bool { return r.Account == name })
		if i < 0 {
			return Room{Account: name, Error: "it was not read"}, false
		}
		return rooms[i], true
	}
	if named != "" {
		a, ok := policy.AccountNamed(named)
		if !ok {
			return fleet.Account{}, []deploy.Finding{blocking("account-unknown", fmt.Sprintf("fleet.yml has no account %s", excerpt(named)), "one of "+strings.Join(accountNames(policy), ", "), "")}
		}
		r, _ := find(named)
		if f := refuseRoom(policy, a, r); f != nil {
			return fleet.Account{}, f
		}
		return a, nil
	}
	best := -1
	var why []deploy.Finding
	for _, a := range policy.Accounts {
		r, _ := find(a.Name)
		if f := refuseRoom(policy, a, r); f != nil {
			why = append(why, f...)
			continue
		}
		if r.Left > best {
			account, best = a, r.Left
		}
	}
	if best < 0 {
		return fleet.Account{}, why
	}
	return account, nil
}

// refuseRoom says why a new shop cannot go to an account; nil when it can.
func refuseRoom(policy *fleet.Policy, a fleet.Account, r Room) []deploy.Finding {
	switch {
	case r.Error != "":
		return []deploy.Finding{blocking("account-unread", "account "+a.Name+" could not be read: "+r.Error, "", "look at its token ("+a.Token+"), and run this again")}
	case !reaches(policy, a):
		return []deploy.Finding{blocking("hostname-outside-zone",
			fmt.Sprintf("hostnames of new shops (%s) are in no zone of account %s", policy.Naming.Hostname, a.Name),
			"a hostname under "+strings.Join(a.Zones(), " or "), "write naming.hostname with {zone}, which stands for the zone of the account")}
	case r.Left <= 0:
		return []deploy.Finding{Full(r)}
	}
	return nil
}

// Full is the finding that an account has no room for another shop.
func Full(r Room) deploy.Finding {
	for _, l := range r.Limits {
		if l.What == r.Wall {
			return blocking(ruleAccountFull, fmt.Sprintf("account %s is full at %d shops: it has %d of %d %s", r.Account, r.FullAt, l.Used, l.Max, l.What),
				"room for one more shop", "give new shops another account in fleet.yml (accounts:)"+cmp.Or(map[string]string{
					limitShops: ", or raise its max_shops", limitCrons: ", or let shops have fewer crons",
				}[l.What], ""))
		}
	}
	return blocking(ruleAccountFull, fmt.Sprintf("account %s is full at %d shops", r.Account, r.FullAt), "room for one more shop", "give new shops another account in fleet.yml (accounts:)")
}

// reaches says whether hostnames by rule lie in a zone of an account.
func reaches(policy *fleet.Policy, a fleet.Account) bool {
	host := strings.NewReplacer("{slug}", "x", "{zone}", a.Zone).Replace(policy.Naming.Hostname)
	return zoneOf(a, host) != ""
}

func accountNames(policy *fleet.Policy) []string {
	var out []string
	for _, a := range policy.Accounts {
		out = append(out, a.Name)
	}
	return out
}
