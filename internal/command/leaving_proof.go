package command

// The proof that who leaves takes nothing of the others along: what every other shop of the account has, before and after.

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/audit"
	"github.com/kvick/shopfleet/internal/fleet"
)

// others is what an account has that is not the shop's which leaves.
type others struct {
	// Digest is of all of it.
	Digest string `json:"digest"`
	// Count is how many things were compared, Deep whether crons, live versions and identity records were.
	Count int  `json:"things"`
	Deep  bool `json:"deep"`
	// Shops are digests of what each shop has; what is no shop's is under "".
	Shops map[string]string `json:"shops"`
}

// othersOf takes from a snapshot what is not the shop's. What changes by itself while other shops are at work, such as the
// size of a database, is not in it. It is pure: equal snapshots give an equal digest, in whatever order they list things.
func othersOf(s *audit.Snapshot, gone fleet.Shop, shops []fleet.Shop) (*others, error) {
	lines := map[string][]string{}
	count := 0
	ids := map[string]bool{gone.Worker: true, gone.R2: true} // of what is the leaving shop's, as tags name them
	add := func(name, kind string, what ...any) error {
		text, err := json.Marshal(what)
		if err != nil {
			return fmt.Errorf("comparing %s %s: %w", kind, name, err)
		}
		owner := ownerOf(name, shops)
		lines[owner] = append(lines[owner], kind+" "+name+" "+string(text))
		count++
		return nil
	}
	var err error
	keep := func(failed error) {
		if err == nil {
			err = failed
		}
	}
	for _, w := range s.Workers {
		if w.Name == gone.Worker {
			continue
		}
		routes := slices.Clone(w.Routes)
		keep(add(w.Name, "worker", w.Tag, w.Etag, w.ModifiedOn, routes, w.Settings, w.Live.Version, w.Live.Shares))
	}
	for _, d := range s.Databases {
		if d.Name == gone.D1 {
			ids[d.ID] = true
			continue
		}
		keep(add(d.Name, "d1_database", d.ID))
	}
	for _, n := range s.Namespaces {
		if n.Title == gone.KV {
			ids[n.ID] = true
			continue
		}
		keep(add(n.Title, "kv_namespace", n.ID))
	}
	for _, b := range s.Buckets {
		if b.Name != gone.R2 {
			keep(add(b.Name, "r2_bucket", b.Jurisdiction))
		}
	}
	for _, d := range s.Domains {
		if d.Service != gone.Worker {
			keep(add(d.Service, "domain", d.Hostname, d.ZoneID))
		}
	}
	for _, r := range s.Routes {
		if r.Worker != gone.Worker {
			keep(add(r.Worker, "route", r.Zone, r.Pattern))
		}
	}
	for _, t := range s.Tags {
		if !ids[t.ID] {
			keep(add(t.Tags[ownerTag], "tag", t.Type, t.ID, t.Tags))
		}
	}
	for slug, d := range s.Details {
		if slug != gone.Slug {
			keep(add(slug, "triggers", d.Crons, d.Subdomain, d.Records))
		}
	}
	if err != nil {
		return nil, err
	}
	o := &others{Count: count, Deep: s.Deep, Shops: map[string]string{}}
	all := sha256.New()
	for _, owner := range sortedKeys(lines) {
		slices.Sort(lines[owner])
		sum := sha256.Sum256([]byte(strings.Join(lines[owner], "\n")))
		o.Shops[owner] = hex.EncodeToString(sum[:8])
		fmt.Fprintf(all, "%s %x\n", owner, sum)
	}
	o.Digest = hex.EncodeToString(all.Sum(nil))
	return o, nil
}

// ownerTag is the key of owner tags.
const ownerTag = "shop"

// ownerOf is the shop that a name is of by the fleet policy, or that is called so; "" for what is no shop's.
func ownerOf(name string, shops []fleet.Shop) string {
	for _, s := range shops {
		if name != "" && slices.Contains([]string{s.Slug, s.Worker, s.D1, s.KV, s.R2}, name) {
			return s.Slug
		}
	}
	return ""
}

// changed are the shops that do not have now what they had before; "" stands for what is no shop's.
func (o *others) changed(now *others) []string {
	var out []string
	for slug, digest := range o.Shops {
		if now.Shops[slug] != digest {
			out = append(out, slug)
		}
	}
	for slug := range now.Shops {
		if _, ok := o.Shops[slug]; !ok {
			out = append(out, slug)
		}
	}
	slices.Sort(out)
	return out
}

// mayGo says why what is in an account is not to be deleted, whatever the hold says: whoever may write contents may write one.
// What the branch says counts as well: a shop that is offboarded is deleted where its branch has it, and one that moved where
// it has it no more.
func (x *departure) mayGo(l leaving, shop fleet.Shop) error {
	if x.tip == "" {
		return nil // a run of offboard before took it away; move asks for it
	}
	home, err := x.c.policy.Shop(x.slug)
	if err != nil {
		return err
	}
	switch here := home.Account.ID == shop.Account.ID; {
	case here && l.Verb == verbMove:
		return refuse("account-still-named", fmt.Sprintf("branch %s names account %s, from which the shop is to be deleted", x.branch, shop.Account.Name),
			"shopfleet move "+x.slug+" --back goes back there; then --confirm deletes the other copy")
	case !here && l.Verb == verbOffboard:
		return refuse("account-elsewhere", fmt.Sprintf("branch %s names account %s, and the shop is to be deleted from %s", x.branch, home.Account.Name, shop.Account.Name),
			"find out who changed the branch, or the hold, since the shop was closed")
	}
	return nil
}
