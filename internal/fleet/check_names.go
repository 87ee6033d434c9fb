package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// This file checks names: the rules of naming:, the exceptions of shops:, and that no two shops meet.

var braced = regexp.MustCompile(`\{[^{}]*\}`)

// naming checks each rule by itself and on a sample.
func (c *checker) naming() {
	home, _ := c.policy.account(c.policy.DefaultAccount)
	for _, k := range kinds {
		rule := c.policy.Naming.rule(k.key)
		at, ok := c.entry("naming", k.key)
		if !ok || !c.pattern(at.value, rule, k.key == "hostname") {
			continue
		}
		c.rules[k.key] = true
		for _, bad := range k.problems(expand(rule, "shop", cmp.Or(home.Zone, "example.com"))) {
			bad.message += ", for a shop called shop"
			c.report(at.value, bad)
		}
		switch k.key {
		case "branch":
			c.branchRule(at.value, rule)
		case "hostname":
			c.hostnameRule(at.value, rule, home)
		}
	}
	rule := c.policy.Naming.PublicSite
	if at, ok := c.entry("naming", "public_site"); ok && c.pattern(at.value, rule, false) {
		c.publicSite(at.value, expand(rule, "shop", ""))
	}
}

// pattern checks the braces of a naming rule.
func (c *checker) pattern(at mark, rule string, zone bool) bool {
	known := []string{slugMark}
	if zone {
		known = append(known, zoneMark)
	}
	expected := strings.Join(known, " and ") + " in braces, nothing else"
	for _, found := range braced.FindAllString(rule, -1) {
		if slices.Contains(known, found) {
			continue
		}
		hint := "write " + slugMark + " where the shop's slug goes"
		if near := nearest(found, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		c.report(at, problem{rulePattern, quote(found) + " means nothing here", expected, hint})
		return false
	}
	switch n := strings.Count(rule, slugMark); {
	case strings.ContainsAny(braced.ReplaceAllString(rule, ""), "{}"):
		c.report(at, problem{rulePattern, quote(rule) + " holds a single brace", expected, ""})
	case n == 0:
		c.report(at, problem{rulePattern, quote(rule) + " does not hold {slug}: all shops would have one name",
			"{slug} once", ""})
	case n > 1:
		c.report(at, problem{rulePattern, fmt.Sprintf("%s holds {slug} %d times", quote(rule), n), "{slug} once", ""})
	case strings.Contains(rule, zoneMark) && (strings.Count(rule, zoneMark) > 1 || !strings.HasSuffix(rule, "."+zoneMark)):
		c.report(at, problem{rulePattern, quote(rule) + " has {zone} in an odd place", "{zone} once, at the end, after a dot",
			"for example helm-{slug}.{zone}"})
	default:
		return true
	}
	return false
}

func (c *checker) branchRule(at mark, rule string) {
	if slug, ok := reduce(rule, "main", ""); ok {
		c.report(at, problem{rulePattern, fmt.Sprintf("%s makes main the branch of a shop called %s", quote(rule), slug),
			"a rule that only shops' branches follow", `for example "shops/{slug}"`})
	}
}

// hostnameRule looks whether the hostnames of shops on the account that shops are on by default lie in its zone.
func (c *checker) hostnameRule(at mark, rule string, home Account) {
	sample := expand(rule, "shop", home.Zone)
	if !hostname.MatchString(sample) || !hostname.MatchString(home.Zone) {
		return
	}
	bad, ok := zoneDepth(sample, home)
	if !ok {
		return
	}
	bad.message = fmt.Sprintf("%s: %s", quote(rule), bad.message)
	c.report(at, bad)
}

// zoneFault says what is wrong with the name of a zone.
func zoneFault(name string) (problem, bool) {
	if hostname.MatchString(name) && len(name) <= 253 {
		return problem{}, false
	}
	hint := ""
	bare := strings.ToLower(strings.Trim(strings.TrimPrefix(strings.TrimPrefix(name, "https://"), "*."), "./"))
	if bare != name && hostname.MatchString(bare) {
		hint = "write " + bare
	}
	return problem{ruleZone, quote(name) + " is no domain", "a domain such as example.com, in lower case", hint}, true
}

// zoneDepth says what is wrong with where a hostname lies. The universal certificate of a zone covers the zone itself
// and one label under it.
func zoneDepth(host string, a Account) (problem, bool) {
	zone := ""
	for _, z := range a.Zones() {
		if within(host, z) && len(z) > len(zone) {
			zone = z
		}
	}
	if zone == "" {
		return problem{ruleOutsideZone, fmt.Sprintf("the hostname %s is in no zone of account %s", host, a.Name),
			"one label under " + strings.Join(a.Zones(), " or "), ""}, true
	}
	label := strings.TrimSuffix(host, "."+zone)
	if host != zone && strings.Contains(label, ".") {
		return problem{ruleTooDeep,
			fmt.Sprintf("the hostname %s is %d labels under the zone %s", host, strings.Count(label, ".")+1, zone),
			"one label: the zone's universal certificate covers no more",
			"for example " + strings.ReplaceAll(label, ".", "-") + "." + zone}, true
	}
	return problem{}, false
}

// within says whether a hostname is a domain or lies under it.
func within(host, domain string) bool { return host == domain || strings.HasSuffix(host, "."+domain) }

// shareDomain says whether a cookie can be set for both names: one lies under the other, or both lie in one zone.
func shareDomain(a, b string, zones []string) bool {
	return within(a, b) || within(b, a) || slices.ContainsFunc(zones, func(zone string) bool {
		return within(a, zone) && within(b, zone)
	})
}

// publicSite checks the domain of a public site: it must be outside of every zone in which shops have hostnames, or
// cookies set for the whole zone would reach both.
func (c *checker) publicSite(at mark, site string) {
	if bad, ok := zoneFault(site); ok {
		c.report(at, bad)
		return
	}
	for _, a := range c.policy.Accounts {
		if hostname.MatchString(a.Zone) && within(site, a.Zone) {
			c.report(at, problem{rulePublicSite,
				fmt.Sprintf("the public site %s lies in %s, the zone of the shops: cookies cross between the two", site, a.Zone),
				"a domain of its own", ""})
		}
	}
}

// listed are the slugs of shops:, in the order of the file.
func (c *checker) listed() []string {
	slugs := slices.Collect(maps.Keys(c.policy.Shops))
	sort.Slice(slugs, func(i, j int) bool {
		a, b := slugs[i], slugs[j]
		x, _ := c.entry("shops", a)
		y, _ := c.entry("shops", b)
		return cmp.Or(cmp.Compare(x.key.line, y.key.line), cmp.Compare(x.key.column, y.key.column)) < 0
	})
	return slugs
}

// shops checks each shop of shops: by itself.
func (c *checker) shops() {
	p := c.policy
	pinned := map[string]int{}
	for _, slug := range c.listed() {
		path := []string{"shops", slug}
		at, _ := c.entry(path...)
		bad := slugProblems(slug)
		for _, b := range bad {
			c.report(at.key, b)
		}
		e := p.Shops[slug]
		if at, ok := c.entry(under(path, "account")...); ok {
			c.knownAccount(at.value, e.Account)
			pinned[e.Account]++
		}
		c.match(under(under(path, "d1"), "id"), e.D1.ID, databaseID, problem{ruleDatabaseID,
			"%s is no database id", "a UUID in lower case, such as 134ea8a4-8582-4fdc-84ec-f0eb8f4e4b60", ""})
		c.region(under(under(path, "d1"), "region"), e.D1.Region)
		c.shopNames(slug, len(bad) == 0)
		c.shopHostnames(slug)
	}
	for _, a := range p.Accounts {
		if n := pinned[a.Name]; n > a.MaxShops {
			at, ok := c.entry("accounts", a.Name, "max_shops")
			if !ok {
				at, _ = c.entry("accounts", a.Name)
			}
			c.report(at.key, problem{ruleFullAccount,
				fmt.Sprintf("%d shops are pinned to account %s", n, a.Name), fmt.Sprintf("at most %d", a.MaxShops),
				"pin some to another account"})
		}
	}
}

// exception is the path of the exception for one kind of name.
func exception(slug, key string) []string {
	if key == "d1" {
		return []string{"shops", slug, "d1", "name"}
	}
	return []string{"shops", slug, key}
}

// shopNames checks a shop's names: those given as exceptions, and those by rule if the slug is good.
func (c *checker) shopNames(slug string, good bool) {
	s := c.policy.shop(slug)
	shop, _ := c.entry("shops", slug)
	for _, k := range kinds {
		at, given := c.entry(exception(slug, k.key)...)
		for _, bad := range k.problems(c.given(slug, s, k.key)) {
			switch {
			case given:
				c.report(at.value, bad)
			case c.rules[k.key] && good && bad.rule == ruleLongName:
				bad.hint = fmt.Sprintf("slugs of this fleet may have up to %d characters", c.policy.longestSlug(s.Account))
				c.report(shop.key, bad)
			}
		}
	}
}

// given is a shop's name of one kind, as written if it is written, also if that is "".
func (c *checker) given(slug string, s Shop, key string) string {
	if _, ok := c.entry(exception(slug, key)...); ok {
		e := c.policy.Shops[slug]
		return map[string]string{
			"branch": e.Branch, "worker": e.Worker, "d1": e.D1.Name, "r2": e.R2, "kv": e.KV, "hostname": e.Hostname,
		}[key]
	}
	return s.name(key)
}

// shopHostnames checks where a shop's hostnames lie, and that its public site is somewhere else.
func (c *checker) shopHostnames(slug string) {
	s := c.policy.shop(slug)
	shop, _ := c.entry("shops", slug)
	main, own := c.entry("shops", slug, "hostname")
	if !own {
		main.value = shop.key
		if at, ok := c.entry("shops", slug, "account"); ok {
			main.value = at.value
		}
	}
	site, siteOwn := c.entry("shops", slug, "public_site")
	if siteOwn {
		c.publicSite(site.value, c.policy.Shops[slug].PublicSite)
	}
	host := func(at mark, name string) {
		if hostname.MatchString(s.Account.Zone) {
			if bad, ok := zoneDepth(name, s.Account); ok {
				c.report(at, bad)
				return
			}
		}
		if s.PublicSite != "" && shareDomain(name, s.PublicSite, s.Account.Zones()) {
			if siteOwn {
				at = site.value
			}
			c.report(at, problem{rulePublicSite,
				fmt.Sprintf("the hostname %s and the public site %s share a domain: cookies cross between the two", name, s.PublicSite),
				"domains that have nothing in common", ""})
		}
	}
	// What naming: gives to shops of the default account has been judged there.
	byRule := s.Account.Name == c.policy.DefaultAccount
	if hostname.MatchString(s.Hostname) && (own || c.rules["hostname"] && !byRule) {
		host(main.value, s.Hostname)
	}
	c.items([]string{"shops", slug, "hostnames"}, s.Hostnames, func(at mark, name string) {
		if bad, ok := zoneFault(name); ok {
			bad.rule, bad.message = ruleBadName, quote(name)+" is no hostname"
			c.report(at, bad)
			return
		}
		host(at, name)
	})
}

// taken reports names that two shops would share. Shops that follow the rules cannot meet: each rule gives every slug
// another name. So it is enough to look at exceptions: at one another, and at the shop to which a rule gives that name,
// be it listed or not.
func (c *checker) taken() {
	p := c.policy
	home, _ := p.account(p.DefaultAccount)
	type owner struct {
		slug string
		at   mark
		own  bool // by exception
	}
	seen := map[[2]string]owner{}
	claim := func(key, what, name string, me owner) {
		if other, ok := seen[[2]string{key, name}]; ok {
			if other.slug == me.slug {
				return
			}
			if !me.own {
				me, other = other, me // the exception is the mistake
			}
			c.report(me.at, problem{ruleTakenName, fmt.Sprintf("the %s %s is also that of shop %s", what, quote(name), other.slug),
				"a name that no other shop has", ""})
			return
		}
		seen[[2]string{key, name}] = me
		if !me.own || !c.rules[key] {
			return
		}
		slug, ok := reduce(p.Naming.rule(key), name, home.Zone)
		if _, listed := p.Shops[slug]; ok && !listed && slug != me.slug && len(slugProblems(slug)) == 0 {
			c.report(me.at, problem{ruleTakenName,
				fmt.Sprintf("the %s %s is what the naming rule gives to shop %s", what, quote(name), slug),
				"a name that no other shop can get",
				fmt.Sprintf("if a shop %s shall never come, list it under shops: with another %s", slug, what)})
		}
	}
	for _, slug := range c.listed() {
		s := p.shop(slug)
		shop, _ := c.entry("shops", slug)
		for _, k := range kinds {
			me := owner{slug: slug, at: shop.key}
			if at, ok := c.entry(exception(slug, k.key)...); ok {
				me.at, me.own = at.value, true
			}
			if name := s.name(k.key); me.own && name != "" || !me.own && c.rules[k.key] {
				claim(k.key, k.what, name, me)
			}
		}
		for i, name := range s.Hostnames {
			if at, ok := c.entry("shops", slug, "hostnames", fmt.Sprint(i)); ok {
				claim("hostname", "hostname", name, owner{slug, at.value, true})
			}
		}
		if at, ok := c.entry("shops", slug, "d1", "id"); ok {
			claim("d1 id", "database id", s.D1ID, owner{slug, at.value, true})
		}
	}
}
