package fleet

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The shapes of single values. The JSON Schema repeats them.
var (
	productShape = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	accountName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	accountID    = regexp.MustCompile(`^[0-9a-f]{32}$`)
	databaseID   = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	tokenName    = regexp.MustCompile(`^[A-Z_][A-Z0-9_]{0,99}$`)
	secretName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	identityKey  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$`)
	columnName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// What time.ParseDuration takes, less signs and the units below a millisecond.
	durationShape = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)
	// Printable ASCII from the first slash on; a second slash right after it would begin a hostname.
	urlPath  = regexp.MustCompile(`^/([!"$-.0->@-~][!"$->@-~]*)?$`)
	gatePath = regexp.MustCompile(`^/([!"$-.0-~][!"$-~]*)?$`)
)

// regions are D1's and R2's location hints.
var regions = []string{"wnam", "enam", "weur", "eeur", "apac", "oc"}

// Bounds of numbers and durations. 500 Workers is what a paid account has.
const (
	minShops, maxShops       = 1, 500
	minStatus, maxStatus     = 100, 599
	minTimeout, maxTimeout   = time.Second, 15 * time.Minute
	defaultTimeout           = 60 * time.Second
	minInterval, maxInterval = 10 * time.Millisecond, maxTimeout
	maxBake                  = 72 * time.Hour
)

// checker holds a Policy against the rules that its types do not carry.
type checker struct {
	*reader
	policy *Policy
	rules  map[string]bool // kinds whose naming rule can be applied
}

func (c *checker) all() {
	p := c.policy
	c.match([]string{"product"}, p.Product, productShape, problem{ruleProduct,
		"%s is no product name", "lower-case letters, digits and hyphens, beginning with a letter", ""})
	c.accounts()
	c.overlay()
	c.overlayKeys()
	c.secrets()
	c.backups()
	c.budget()
	c.onboard()
	c.offboard()
	c.names([]string{"migrations", "deny_columns"}, p.Migrations.DenyColumns, columnName, problem{ruleColumnName,
		"%s is no column name", "letters, digits and _, not beginning with a digit", ""})
	c.requests()
	c.rebase()
	c.freezes()
	c.commands()
	p.setDefaults()
	c.naming()
	c.shops()
	c.taken()
	c.others()
	c.shared()
}

// match holds the value at path against a shape. %s in the message becomes the value.
func (c *checker) match(path []string, value string, shape *regexp.Regexp, bad problem) bool {
	at, ok := c.entry(path...)
	if !ok || shape.MatchString(value) {
		return ok
	}
	bad.message = fmt.Sprintf(bad.message, quote(value))
	c.report(at.value, bad)
	return false
}

// items calls each for the well-typed items of a list and reports those that stand there twice.
func (c *checker) items(path []string, list []string, each func(at mark, item string)) {
	seen := map[string]int{}
	for i, item := range list {
		at, ok := c.entry(under(path, fmt.Sprint(i))...)
		if !ok {
			continue
		}
		// Columns and hostnames do not differ by case; of the other lists nobody wants such pairs either.
		if line := seen[strings.ToLower(item)]; line > 0 {
			c.report(at.value, problem{ruleDuplicate, quote(item) + " stands here a second time",
				fmt.Sprintf("each once; the first is on line %d", line), "remove one of the two"})
			continue
		}
		seen[strings.ToLower(item)] = at.value.line
		each(at.value, item)
	}
}

func (c *checker) names(path []string, list []string, shape *regexp.Regexp, bad problem) {
	c.items(path, list, func(at mark, item string) {
		if !shape.MatchString(item) {
			here := bad
			here.message = fmt.Sprintf(bad.message, quote(item))
			c.report(at, here)
		}
	})
}

func (c *checker) between(path []string, value, low, high int, what string) {
	if at, ok := c.entry(path...); ok && (value < low || value > high) {
		c.report(at.value, problem{ruleOutOfRange, fmt.Sprintf("%d is no %s", value, what),
			fmt.Sprintf("%d to %d", low, high), ""})
	}
}

func (c *checker) region(path []string, region string) {
	if at, ok := c.entry(path...); ok && !slices.Contains(regions, region) {
		hint := "leave the key out to let Cloudflare choose"
		if near := nearest(region, regions); near != "" {
			hint = "did you mean " + near + "?"
		}
		c.report(at.value, problem{ruleRegion, quote(region) + " is no region", "one of " + strings.Join(regions, ", "), hint})
	}
}

func (c *checker) accounts() {
	p := c.policy
	if at, ok := c.entry("accounts"); ok && len(p.Accounts) == 0 {
		c.report(at.key, problem{ruleEmpty, "accounts: lists nothing", "at least one Cloudflare account", ""})
	}
	ids, zones := map[string]string{}, map[string]string{}
	once := func(at mark, seen map[string]string, value, name, what string) {
		if other, ok := seen[value]; ok {
			c.report(at, problem{ruleDuplicate, fmt.Sprintf("%s is the %s of %s already", value, what, other),
				"each " + what + " once", ""})
			return
		}
		seen[value] = name
	}
	for _, a := range p.Accounts {
		path := []string{"accounts", a.Name}
		if at, ok := c.entry(path...); ok && !accountName.MatchString(a.Name) {
			c.report(at.key, problem{ruleAccountName, quote(a.Name) + " is no name for an account",
				"lower-case letters, digits and hyphens", ""})
		}
		id := under(path, "id")
		if c.match(id, a.ID, accountID, problem{ruleAccountID, "%s is no account id", "32 hexadecimal digits, a to f in lower case",
			"the dashboard shows it on the account's overview"}) {
			at, _ := c.entry(id...)
			once(at.value, ids, a.ID, a.Name, "id")
		}
		zone := func(at mark, name string) {
			if bad, ok := zoneFault(name); ok {
				c.report(at, bad)
				return
			}
			once(at, zones, name, a.Name, "zone")
		}
		if at, ok := c.entry(under(path, "zone")...); ok {
			zone(at.value, a.Zone)
		}
		c.items(under(path, "other_zones"), a.OtherZones, zone)
		c.region(under(path, "region"), a.Region)
		c.between(under(path, "max_shops"), a.MaxShops, minShops, maxShops, "number of shops")
		if at, ok := c.entry(under(path, "token")...); ok {
			c.token(at.value, a.Token)
		}
	}
	if at, ok := c.entry("default_account"); ok {
		c.knownAccount(at.value, p.DefaultAccount)
	}
}

func (c *checker) knownAccount(at mark, name string) {
	if _, ok := c.policy.account(name); ok {
		return
	}
	var names []string
	for _, a := range c.policy.Accounts {
		names = append(names, a.Name)
	}
	hint := ""
	if near := nearest(name, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	c.report(at, problem{ruleUnknownAccount, "there is no account " + quote(name),
		"one of " + strings.Join(names, ", "), hint})
}

// token checks the name of an environment variable. What is no such name may well be the token itself, so it is never
// shown.
func (c *checker) token(at mark, name string) {
	const expected = "the name of an environment variable, such as CLOUDFLARE_API_TOKEN"
	if !tokenName.MatchString(name) {
		c.hide(at)
		c.report(at, problem{ruleToken, "this is no name of an environment variable", expected,
			"if it is the token itself: revoke it, and put the new one into the variable"})
		return
	}
	for _, prefix := range []string{"GITHUB_", "GH_", "ACTIONS_", "RUNNER_", "INPUT_", "SHOPFLEET_"} {
		if strings.HasPrefix(name, prefix) {
			c.report(at, problem{ruleToken, name + " is no variable for a token of Cloudflare's", expected,
				"its value would be sent to Cloudflare"})
		}
	}
}

// requests checks build_info: and gate:.
func (c *checker) requests() {
	p := c.policy
	if at, ok := c.entry("build_info", "path"); ok {
		expected, hint := pathFault(p.BuildInfo.Path)
		if expected == "" && strings.ContainsAny(p.BuildInfo.Path, "*?[{") {
			expected = "one file"
		}
		if expected != "" {
			c.report(at.value, problem{rulePath, quote(p.BuildInfo.Path) + " is no file in the repository", expected, hint})
		}
	}
	c.request([]string{"build_info", "url"}, p.BuildInfo.URL, urlPath, "without ? and #")
	c.request([]string{"gate", "path"}, p.Gate.Path, gatePath, "without #")
	c.between([]string{"gate", "status"}, p.Gate.Status, minStatus, maxStatus, "HTTP status")

	c.request([]string{"identity", "path"}, p.Identity.Path, gatePath, "without #")
	c.match([]string{"identity", "key"}, p.Identity.Key, identityKey, problem{ruleBadName,
		"%s is no key for the identity record", "letters, digits, _ - and ., at most 100", ""})
	c.match([]string{"identity", "table"}, p.Identity.Table, columnName, problem{ruleBadName,
		"%s is no table name", "letters, digits and _, not beginning with a digit", ""})
	c.choice([]string{"identity", "missing"}, p.Identity.Missing, "warning", "error")
	c.choice([]string{"gate", "before_release"}, p.Gate.BeforeRelease, BeforeBindings, BeforeAlways, BeforeNever)
	c.items([]string{"gate", "protected"}, p.Gate.Protected, func(at mark, path string) {
		if !gatePath.MatchString(path) || slices.Contains(strings.Split(path, "/"), "..") {
			c.report(at, problem{ruleURLPath, quote(path) + " is no path on a hostname", "a path that begins with one slash, without #", ""})
		}
	})

	timeout := p.Gate.Timeout
	at, ok := c.entry("gate", "timeout")
	if d := timeout; ok && (d < minTimeout || d > maxTimeout) {
		c.report(at.value, problem{ruleDuration, "a timeout of " + short(d) + " is out of range",
			fmt.Sprintf("%s to %s", short(minTimeout), short(maxTimeout)), ""})
	}
	setDefault(&timeout, defaultTimeout)
	at, ok = c.entry("gate", "interval")
	switch d := p.Gate.Interval; {
	case !ok:
	case d < minInterval || d > maxInterval:
		c.report(at.value, problem{ruleDuration, "an interval of " + short(d) + " is out of range",
			fmt.Sprintf("%s to the timeout", short(minInterval)), ""})
	case d > timeout:
		c.report(at.value, problem{ruleDuration,
			fmt.Sprintf("an interval of %s is longer than the timeout of %s", short(d), short(timeout)), "several tries before the timeout", ""})
	}
}

// choice holds a word against those that are possible.
func (c *checker) choice(path []string, value string, possible ...string) {
	if at, ok := c.entry(path...); ok && !slices.Contains(possible, value) {
		hint := ""
		if near := nearest(value, possible); near != "" {
			hint = "did you mean " + near + "?"
		}
		c.report(at.value, problem{ruleChoice, quote(value) + " is not possible here", "one of " + strings.Join(possible, ", "), hint})
	}
}

func (c *checker) request(path []string, value string, shape *regexp.Regexp, without string) {
	at, ok := c.entry(path...)
	if ok && (!shape.MatchString(value) || slices.Contains(strings.Split(value, "/"), "..")) {
		c.report(at.value, problem{ruleURLPath, quote(value) + " is no path on a hostname",
			"a path that begins with one slash, " + without, ""})
	}
}

// short prints a duration as people write it: 1h, not 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	for _, nothing := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, nothing) {
			s = s[:len(s)-2]
		}
	}
	return s
}
