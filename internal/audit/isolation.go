package audit

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/kvick/shopfleet/internal/deploy"
)

// isolation judges every edge of the graph: a store is reached by the Workers of the shop that owns it, and by no other.
// What is wrong with one binding is said once, by the gravest rule.
func (a *audit) isolation() {
	for _, k := range a.keys() {
		n, reached := a.graph.nodes[k], a.graph.to[k]
		if n.Shared != "" || len(reached) == 0 {
			continue
		}
		var shops []string
		var strangers, ours []Edge
		for _, e := range reached {
			switch {
			case e.Shop == "":
				strangers = append(strangers, e)
			default:
				ours = append(ours, e)
				if !slices.Contains(shops, e.Shop) {
					shops = append(shops, e.Shop)
				}
			}
		}
		slices.Sort(shops)
		switch {
		case len(shops) > 1:
			a.shared(n, shops, ours)
		case len(shops) == 1 && shops[0] != n.Shop:
			a.foreign(n, ours)
		}
		if len(strangers) > 0 && (n.Shop != "" || len(shops) > 0) {
			a.exposed(n, shops, strangers)
		}
	}
}

// keys are what is reached, in a fixed order.
func (a *audit) keys() []key {
	out := make([]key, 0, len(a.graph.to))
	for k := range a.graph.to {
		out = append(out, k)
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].account+"\x00"+out[i].typ+"\x00"+out[i].id+"\x00"+out[i].jurisdiction < out[j].account+"\x00"+out[j].typ+"\x00"+out[j].id+"\x00"+out[j].jurisdiction
	})
	return out
}

// judge notes that a finding is about these bindings, so that no other is.
func (a *audit) judge(list []Edge) {
	for _, e := range list {
		a.graph.judged[[3]string{e.Account, e.Worker, e.Binding}] = true
	}
}

func (a *audit) shared(n *Node, shops []string, reached []Edge) {
	a.judge(reached)
	f := Finding{Account: n.Account, Shop: n.Shop, Worker: reached[0].Worker, Resource: n.Words(), Others: shops}
	if n.Shop == "" {
		f.Shop = shops[0]
	}
	for _, e := range reached {
		if e.Shop != n.Shop {
			f.Worker = e.Worker
			break
		}
	}
	f.Others = slices.DeleteFunc(slices.Clone(shops), func(s string) bool { return s == f.Shop })
	wrong := f.otherOf(n, shops)
	f.Finding = deploy.Finding{
		Rule: "store-shared", Level: deploy.LevelError,
		Message:  fmt.Sprintf("%s is reached by Workers of %d shops: %s", n.Words(), len(shops), bindings(reached)),
		Expected: whose(n),
		Hint:     a.putRight(wrong, n.Account) + "; then look for what it wrote there",
	}
	a.add(f)
}

// otherOf is the first shop that reaches a node and does not own it.
func (f Finding) otherOf(n *Node, shops []string) string {
	for _, s := range shops {
		if s != n.Shop {
			return s
		}
	}
	return f.Shop
}

func (a *audit) foreign(n *Node, reached []Edge) {
	shop := reached[0].Shop
	f := Finding{Account: n.Account, Shop: shop, Worker: reached[0].Worker, Resource: n.Words()}
	if n.Shop != "" {
		f.Others = []string{n.Shop}
	}
	f.Finding = deploy.Finding{Rule: "binding-foreign", Level: deploy.LevelError, Expected: "what fleet.yml gives to shop " + shop,
		Hint: a.putRight(shop, n.Account) + "; or declare it in fleet.yml under shops: or shared:"}
	switch {
	case !n.exists && a.gone(n, shop):
		return // what the shop lacks is said once, by shop-incomplete
	case !n.exists:
		f.Message = fmt.Sprintf("%s reaches a %s that account %s does not have", bindings(reached), n.Words(), n.Account)
	case n.ID == "":
		f.Message = fmt.Sprintf("%s reaches something of type %s that cannot be proved to be shop %s's own", bindings(reached), n.Type, shop)
	case n.Shop != "":
		f.Message = fmt.Sprintf("%s reaches %s, which is shop %s's", bindings(reached), n.Words(), n.Shop)
	default:
		f.Message = fmt.Sprintf("%s reaches %s, which fleet.yml gives to nobody", bindings(reached), n.Words())
	}
	a.judge(reached)
	a.add(f)
}

// putRight is what to type so that a shop's Worker is bound to its own again.
func (a *audit) putRight(slug, account string) string {
	if shop := a.bySlug[slug]; shop != nil && shop.Account.Name == account {
		return "shopfleet deploy " + slug + " --overwrite-outside binds shop " + slug + "'s own again"
	}
	return "nothing deploys shop " + slug + " on account " + account + " any more: delete its Worker there"
}

// gone says that a binding leads nowhere because the shop's own store is not there any more.
func (a *audit) gone(n *Node, slug string) bool {
	shop := a.bySlug[slug]
	if shop == nil || shop.Account.Name != n.Account {
		return false
	}
	own := map[string]string{"d1": shop.D1, "kv_namespace": shop.KV, "r2_bucket": shop.R2}[n.Type]
	return own != "" && !a.graph.named[[3]string{n.Account, n.Type, own}]
}

func (a *audit) exposed(n *Node, shops []string, strangers []Edge) {
	f := Finding{Account: n.Account, Shop: n.Shop, Worker: strangers[0].Worker, Resource: n.Words()}
	if f.Shop == "" {
		f.Shop = shops[0]
	}
	f.Finding = deploy.Finding{
		Rule: "store-exposed", Level: deploy.LevelError,
		Message:  fmt.Sprintf("%s is reached by a Worker of no shop: %s", n.Words(), bindings(strangers)),
		Expected: whose(n),
		Hint:     "find out who made " + strangers[0].Worker + " and what it read, then remove the binding, or the Worker: wrangler delete --name " + strangers[0].Worker,
	}
	a.add(f)
}

func whose(n *Node) string {
	if n.Shop == "" {
		return "what is bound to several Workers is declared in fleet.yml under shared:"
	}
	return "only Workers of shop " + n.Shop
}

// bindings names edges: "helm-swicked as DB, helm-mike as DB".
func bindings(list []Edge) string {
	var words []string
	for _, e := range list {
		word := e.Worker + " as " + e.Binding
		if e.Version != "" {
			word += " (in a version that takes traffic)"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

// ownership compares owner tags and identity records with the names.
func (a *audit) ownership() {
	missing := map[string][]string{} // slug → what lacks
	for _, n := range append(slices.Clone(a.graph.Stores), a.graph.Workers...) {
		s := a.snapshot(n.Account)
		var witnesses []string
		if n.Tag != "" && n.Tag != n.Shop && (n.Shop != "" || a.reachedByOther(n)) {
			witnesses = append(witnesses, fmt.Sprintf("its owner tag says %.80q", n.Tag))
		}
		if n.Record != "" && n.Record != n.Shop {
			witnesses = append(witnesses, fmt.Sprintf("its identity record says %.80q", n.Record))
		}
		if len(witnesses) > 0 {
			f := Finding{Account: n.Account, Shop: n.Shop, Resource: n.Words(), Finding: deploy.Finding{
				Rule: "owner-mismatch", Level: deploy.LevelError,
				Message:  fmt.Sprintf("%s is shop %s's by fleet.yml, and %s", n.Words(), n.Shop, strings.Join(witnesses, " and ")),
				Expected: "tag, record and name that say the same",
				Hint:     "nothing is deployed to this store until you know whose data it holds; then correct fleet.yml, the tag or the record",
			}}
			if n.Type == "worker" {
				f.Worker = n.Name
			}
			for _, other := range []string{n.Tag, n.Record} {
				if other != "" && other != n.Shop && a.bySlug[other] != nil && !slices.Contains(f.Others, other) {
					f.Others = append(f.Others, other)
				}
			}
			if n.Shop == "" {
				f.Message = fmt.Sprintf("%s is nobody's by fleet.yml, %s, and another shop's Worker reaches it", n.Words(), witnesses[0])
				f.Shop = n.Tag
			}
			a.add(f)
			continue
		}
		shop := a.bySlug[n.Shop]
		if shop == nil || shop.Account.Name != n.Account || !shop.first(&n) || n.Type != "worker" && !shop.binds(n.Type) {
			continue
		}
		// Where there are owner tags those count, as in a deploy; where there are none the records do, as far as they were read.
		lacks := s.TagsRead && n.Tag == ""
		if d := s.Details[shop.Slug]; !s.TagsRead && d != nil {
			_, read := d.Records[recordOf[n.Type]]
			lacks = read && n.Record == ""
		}
		if lacks {
			missing[shop.Slug] = append(missing[shop.Slug], n.Words())
		}
	}
	for _, slug := range sorted(missing) {
		shop := a.bySlug[slug]
		what := "owner tag"
		if !a.snapshot(shop.Account.Name).TagsRead {
			what = "identity record"
		}
		a.add(Finding{Account: shop.Account.Name, Shop: slug, Finding: deploy.Finding{
			Rule: "owner-missing", Level: a.Policy.Identity.Missing,
			Message:  fmt.Sprintf("no %s says whose these are: %s", what, strings.Join(missing[slug], ", ")),
			Expected: "an " + what + " with " + slug,
			Hint:     "shopfleet adopt " + slug,
		}})
	}
}

// reachedByOther says whether a Worker of another shop than the tag's reaches a node, where no finding is about that yet.
func (a *audit) reachedByOther(n Node) bool {
	return slices.ContainsFunc(a.graph.to[n.key()], func(e Edge) bool {
		return e.Shop != "" && e.Shop != n.Tag && !a.graph.judged[[3]string{e.Account, e.Worker, e.Binding}]
	})
}

// binds says whether the shop's config binds its own store of a type.
func (s *Shop) binds(typ string) bool {
	if s.Config == nil {
		return true
	}
	for _, b := range s.Config.Bindings {
		if b.Type == typ {
			return true
		}
	}
	return false
}

// orphans are things that belong to a shop without a branch, or that are on another account than their shop.
func (a *audit) orphans() {
	type group struct{ account, slug string }
	found := map[group][]string{}
	for _, n := range append(slices.Clone(a.graph.Workers), a.graph.Stores...) {
		slug := n.Shop
		if slug == "" && n.exists {
			slug = n.Tag // a tag is as good as a name to find what was left behind
			if a.bySlug[slug] != nil {
				continue
			}
		}
		if slug == "" || !n.exists || n.Shared != "" {
			continue
		}
		if shop := a.bySlug[slug]; shop != nil && shop.Account.Name == n.Account {
			continue
		}
		g := group{n.Account, slug}
		found[g] = append(found[g], n.Words())
	}
	for g, things := range found {
		f := Finding{Account: g.account, Shop: g.slug, Resource: things[0], Finding: deploy.Finding{
			Rule: "orphan", Level: deploy.LevelWarning,
			Message:  fmt.Sprintf("shop %s has no branch, and account %s has its %s", g.slug, g.account, strings.Join(things, ", ")),
			Expected: "a branch, or nothing in the account",
			Hint:     "push the shop's branch again, or delete what is left when nobody needs the data",
		}}
		if shop := a.bySlug[g.slug]; shop != nil {
			f.Message = fmt.Sprintf("shop %s is on account %s, and account %s has its %s", g.slug, shop.Account.Name, g.account, strings.Join(things, ", "))
			f.Expected = "everything of a shop on one account"
			f.Hint = "delete what is left when nobody needs the data, or correct the account in fleet.yml"
		}
		a.add(f)
	}
}
