package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

const (
	slugMark = "{slug}"
	zoneMark = "{zone}"
)

// A kind is one of the things of a shop that have a name by rule. Limits are Cloudflare's and git's.
type kind struct {
	key      string         // in naming: and shops:
	what     string         // in messages
	max      int            // characters; 0 when no limit is published
	unit     string         // what the limit is a limit of
	shape    *regexp.Regexp // of the whole name; the length is checked apart
	expected string         // the shape in words
}

// kinds is every kind of name, in the order in which problems with them are reported.
var kinds = []kind{
	// 255 bytes are what GitHub takes for refs/heads/<branch>. branchFault says the rest.
	{"branch", "branch", 244, "a git branch", regexp.MustCompile(`^`), ""},
	// Pattern: Cloudflare's OpenAPI, workers_script_name. Length: the name is a label of <name>.<subdomain>.workers.dev.
	{"worker", "Worker name", maxLabel, "a Worker's DNS label", regexp.MustCompile(`^[a-z0-9_][a-z0-9-_]*$`),
		"lower-case letters, digits, _ and -, not beginning with -"},
	// Cloudflare's OpenAPI, d1_database-name.
	{"d1", "D1 database name", 0, "", regexp.MustCompile(`^[a-z0-9][a-z0-9-_]*$`),
		"lower-case letters, digits, _ and -, beginning with a letter or digit"},
	// developers.cloudflare.com/r2/buckets/create-buckets: 3 to 63, no hyphen at either end.
	{"r2", "R2 bucket name", 63, "an R2 bucket", regexp.MustCompile(`^[a-z0-9][a-z0-9-]+[a-z0-9]$`),
		"at least 3 lower-case letters, digits and hyphens, with a letter or digit at both ends"},
	{"kv", "KV namespace title", 512, "a KV namespace title", regexp.MustCompile(`^[^\s\p{C}]([^\p{C}]*[^\s\p{C}])?$`),
		"printable text without blanks at its ends"},
	{"hostname", "hostname", 253, "a hostname", hostname,
		"lower-case labels of letters, digits and hyphens, joined by dots"},
}

var hostname = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$`)

// Shop is what a shop is called and where it lives.
type Shop struct {
	Slug     string
	Branch   string // git branch, without refs/heads/
	Worker   string
	D1       string // database name
	R2       string // bucket
	KV       string // namespace title
	Hostname string

	D1ID       string   // id the database is held to; "" leaves it to the shop's wrangler.jsonc
	Region     string   // of the database; "" leaves it to Cloudflare
	Account    Account  // the account it is on
	Hostnames  []string // further hostnames it may answer to
	PublicSite string   // domain of its public web site, which no hostname of the shop may share; "" when not known

	// Others are the further things it may be bound to: names, or ids, by type of binding.
	Others map[string][]string
	// Identity is where its stores say whose they are.
	Identity Identity `json:"-"`
}

// Owns says whether a thing is this shop's by the fleet policy: typ is a type of binding on the wire, name what the thing
// is called there. Databases, namespaces and buckets are known by their names, never by an id alone.
func (s Shop) Owns(typ, name string) bool {
	if name == "" {
		return false
	}
	switch typ {
	case "d1":
		if name == s.D1 {
			return true
		}
	case "kv_namespace":
		if name == s.KV {
			return true
		}
	case "r2_bucket":
		if name == s.R2 {
			return true
		}
	case "service", "durable_object_namespace", "tail_consumer":
		if name == s.Worker {
			return true
		}
	}
	return slices.Contains(s.Others[typ], name)
}

// Environment is the shop's environment on GitHub: where its deployments are listed and its secrets are kept. It has no
// slash, since a name with one would have to be escaped in every path (contracts/github/wire.md §1.5).
func (s Shop) Environment() string { return "shop-" + s.Slug }

// Shop names everything that belongs to a shop. The shop need not be listed in the file, nor exist. The error, if any,
// is Findings: a bad slug, or one that is too long for this fleet's naming rules; they carry no place, or that of the
// rule that makes the name too long.
func (p *Policy) Shop(slug string) (Shop, error) {
	if err := CheckSlug(slug); err != nil {
		return Shop{}, err
	}
	s := p.shop(slug)
	var fs Findings
	for _, k := range kinds {
		for _, bad := range k.problems(s.name(k.key)) {
			if bad.rule == ruleLongName {
				bad.hint = fmt.Sprintf("slugs of this fleet may have up to %d characters", p.longestSlug(s.Account))
			}
			at := p.places[join([]string{"naming", k.key})].key
			fs = append(fs, Finding{Rule: bad.rule, Level: "error", File: p.file, Line: at.line, Column: at.column,
				Message: bad.message, Expected: bad.expected, Hint: bad.hint})
		}
	}
	if err := fs.sorted(); err != nil {
		return Shop{}, err
	}
	return s, nil
}

// WithAccounts is the policy for shops whose own branches say which account they are on: names of accounts by slug, besides
// those that are known already. What shops: says counts more, so that a branch cannot take a shop off the account that it is
// pinned to.
func (p *Policy) WithAccounts(accounts map[string]string) *Policy {
	own := *p
	own.overlays = maps.Clone(p.overlays)
	if own.overlays == nil {
		own.overlays = map[string]string{}
	}
	maps.Copy(own.overlays, accounts)
	return &own
}

// AccountOf is the account with this id; ok is false when the fleet has none.
func (p *Policy) AccountOf(id string) (account Account, ok bool) {
	for _, a := range p.Accounts {
		if a.ID == id {
			return a, true
		}
	}
	return Account{}, false
}

// AccountNamed is the account with this name; ok is false when the fleet has none.
func (p *Policy) AccountNamed(name string) (account Account, ok bool) { return p.account(name) }

// shop applies the rules and the exception, without judging the result.
func (p *Policy) shop(slug string) Shop {
	e := p.Shops[slug]
	account, ok := p.account(cmp.Or(e.Account, p.overlays[slug]))
	if !ok {
		account, _ = p.account(p.DefaultAccount)
	}
	name := func(rule, exception string) string {
		if exception != "" {
			return exception
		}
		return expand(rule, slug, account.Zone)
	}
	return Shop{
		Slug:       slug,
		Branch:     name(p.Naming.Branch, e.Branch),
		Worker:     name(p.Naming.Worker, e.Worker),
		D1:         name(p.Naming.D1, e.D1.Name),
		R2:         name(p.Naming.R2, e.R2),
		KV:         name(p.Naming.KV, e.KV),
		Hostname:   name(p.Naming.Hostname, e.Hostname),
		D1ID:       e.D1.ID,
		Region:     cmp.Or(e.D1.Region, account.Region),
		Account:    account,
		Hostnames:  slices.Clone(e.Hostnames),
		PublicSite: name(p.Naming.PublicSite, e.PublicSite),
		Others:     p.others(slug, e),
		Identity:   p.Identity,
	}
}

// name is the shop's name of one kind.
func (s Shop) name(key string) string {
	return map[string]string{
		"branch": s.Branch, "worker": s.Worker, "d1": s.D1, "r2": s.R2, "kv": s.KV, "hostname": s.Hostname,
	}[key]
}

// rule is the naming rule of one kind.
func (n Naming) rule(key string) string {
	return map[string]string{
		"branch": n.Branch, "worker": n.Worker, "d1": n.D1, "r2": n.R2, "kv": n.KV, "hostname": n.Hostname,
		"public_site": n.PublicSite,
	}[key]
}

// Slug says whose branch this is: it undoes naming.branch and knows the branches that shops: gives. ok means that the
// branch is a shop's; whether what stands in the slug's place is a good slug is for Shop to say, so that a branch with
// a bad name is reported and not passed over.
func (p *Policy) Slug(branch string) (slug string, ok bool) {
	for slug, e := range p.Shops {
		if branch != "" && e.Branch == branch {
			return slug, true
		}
	}
	if ownBranch(branch) {
		return "", false
	}
	slug, ok = reduce(p.Naming.Branch, branch, "")
	if ok && p.Shops[slug].Branch != "" {
		return "", false // that shop's branch is another one
	}
	return slug, ok
}

// BranchPrefix is what the names of shops' branches begin with, unless shops: gives them another one. It is for messages:
// to find all shops, ask Slug about every branch.
func (p *Policy) BranchPrefix() string {
	before, _, _ := strings.Cut(p.Naming.Branch, slugMark)
	return before
}

// expand makes a name by rule.
func expand(rule, slug, zone string) string {
	return strings.NewReplacer(slugMark, slug, zoneMark, zone).Replace(rule)
}

// reduce is the inverse of expand: the slug for which the rule makes this name. It need not be a good one.
func reduce(rule, name, zone string) (slug string, ok bool) {
	before, after, ok := strings.Cut(rule, slugMark)
	if !ok {
		return "", false
	}
	after = strings.ReplaceAll(after, zoneMark, zone)
	if len(name) <= len(before)+len(after) || !strings.HasPrefix(name, before) || !strings.HasSuffix(name, after) {
		return "", false
	}
	return name[len(before) : len(name)-len(after)], true
}

// problems says what is wrong with a name of this kind.
func (k kind) problems(name string) []problem {
	var all []problem
	fit := func(what, name string, limit int, unit string) {
		if over := len(name) - limit; limit > 0 && over > 0 {
			all = append(all, problem{ruleLongName,
				fmt.Sprintf("the %s %s has %d characters, %d too many", what, quote(name), len(name), over),
				fmt.Sprintf("at most %d, the limit of %s", limit, unit), "shorten it"})
		}
	}
	fit(k.what, name, k.max, k.unit)
	if k.key == "hostname" {
		for label := range strings.SplitSeq(name, ".") {
			fit("hostname's label", label, maxLabel, "a DNS label")
		}
	}
	expected, fault := k.expected, !k.shape.MatchString(name)
	if k.key == "branch" {
		expected = branchFault(name)
		fault = expected != ""
	}
	if k.key == "hostname" && len(all) > 0 {
		fault = false // a label that is too long is no label: said already
	}
	if k.key == "branch" && ownBranch(name) {
		all = append(all, problem{ruleBadName, fmt.Sprintf("the branch %s is shopfleet's own", quote(name)),
			"another beginning than rebase/ and backup/", `for example "shops/{slug}"`})
	}
	if fault {
		all = append(all, problem{ruleBadName, fmt.Sprintf("%s is no %s", quote(name), k.what), expected, ""})
	}
	return all
}

// longestSlug is how long a slug may be for all names by rule to fit.
func (p *Policy) longestSlug(a Account) int {
	longest := maxLabel
	for _, k := range kinds {
		fixed := expand(p.Naming.rule(k.key), "", a.Zone)
		if k.max > 0 {
			longest = min(longest, k.max-len(fixed))
		}
		if k.key == "hostname" {
			label, _, _ := strings.Cut(fixed, ".")
			longest = min(longest, maxLabel-len(label))
		}
	}
	return longest
}

// ownBranch says whether a branch is of those that the weekly rebase makes: a shop's move until it lands, and what the
// shop's branch was before.
func ownBranch(name string) bool {
	return strings.HasPrefix(name, "rebase/") || strings.HasPrefix(name, "backup/")
}

var branchBad = regexp.MustCompile(`[\x00-\x20\x7f~^:?*\[\\]`)

// branchFault says what git asks of a branch name that this one does not do; "" when it is good. The rules are those of
// git-check-ref-format(1), and no leading hyphen (git-branch(1)).
func branchFault(name string) string {
	switch {
	case name == "" || name == "@" || name == "HEAD":
		return "a name"
	case strings.HasPrefix(name, "-"):
		return "no hyphen at the beginning"
	case branchBad.MatchString(name):
		return `none of: blank, control character, ~ ^ : ? * [ \`
	case strings.Contains(name, "..") || strings.Contains(name, "@{"):
		return "neither .. nor @{"
	case strings.HasSuffix(name, "."):
		return "no dot at the end"
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return "parts between slashes that are not empty, do not begin with a dot and do not end in .lock"
		}
	}
	return ""
}
