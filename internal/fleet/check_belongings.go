package fleet

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	// An age X25519 recipient is "age1" and 58 characters of Bech32 (age-encryption.org/v1); whether its checksum holds is
	// said where a bundle is written.
	recipientShape = regexp.MustCompile(`^age1[02-9ac-hj-np-z]{58}$`)
	storeName      = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	storePrefix    = regexp.MustCompile(`^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*/?$`)
	bucketShape    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`)
)

// maxBudget is the largest amount of a budget, in US cents.
const maxBudget = 1_000_000

// secrets checks secrets:.
func (c *checker) secrets() {
	p := c.policy.Secrets
	bad := problem{ruleSecretName, "%s is no name of a secret", "letters, digits and _, not beginning with a digit", ""}
	c.names([]string{"secrets", "required"}, p.Required, secretName, bad)
	c.names([]string{"secrets", "optional"}, p.Optional, secretName, bad)
	for i, name := range p.Optional {
		if at, ok := c.entry("secrets", "optional", fmt.Sprint(i)); ok && slices.Contains(p.Required, name) {
			c.report(at.value, problem{ruleDuplicate, quote(name) + " is required and optional", "one of the two", "remove it from optional"})
		}
	}
	for _, a := range p.About {
		path := []string{"secrets", "about", a.Name}
		if at, ok := c.entry(path...); ok && !slices.Contains(p.Required, a.Name) && !slices.Contains(p.Optional, a.Name) {
			c.report(at.key, problem{ruleUnknownSecret, quote(a.Name) + " is no secret of the fleet", "a name from required or optional", "add it to optional"})
		}
		if at, ok := c.entry(under(path, "format")...); ok {
			if _, err := regexp.Compile("^(?:" + a.Format + ")$"); err != nil || len(a.Format) > 500 {
				c.report(at.value, problem{ruleSecretFormat, "the format of " + quote(a.Name) + " is no regular expression",
					"RE2, as in github.com/google/re2/wiki/Syntax, at most 500 bytes", "put it in single quotes: YAML reads backslashes in double ones"})
			}
		}
	}
	if at, ok := c.entry("secrets", "bundle"); ok {
		if expected, hint := pathFault(p.Bundle); expected != "" || strings.ContainsAny(p.Bundle, "*?[{") {
			c.report(at.value, problem{rulePath, quote(p.Bundle) + " is no file in the repository", "one file of the overlay", hint})
		}
	}
	c.names([]string{"secrets", "recipients"}, p.Recipients, recipientShape, problem{ruleRecipient,
		"%s is no age public key", "age1 and 58 characters, as age-keygen prints", "age-keygen -y KEYFILE prints it again"})
	if at, ok := c.entry("secrets", "key"); ok && !regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`).MatchString(p.Key) {
		c.hide(at.value)
		c.report(at.value, problem{ruleToken, "this is no name of an environment variable", "capital letters, digits and _, such as SHOPFLEET_AGE_KEY",
			"if it is the identity itself: make a new one, and encrypt the bundles for it"})
	}
	c.choice([]string{"secrets", "removed"}, p.Removed, RemovedKeep, RemovedDelete)
}

// backups checks backups:.
func (c *checker) backups() {
	for _, b := range c.policy.Backups {
		path := []string{"backups", b.Name}
		if at, ok := c.entry(path...); ok && !storeName.MatchString(b.Name) {
			c.report(at.key, problem{ruleBadName, quote(b.Name) + " is no name for a place of backups", "lower-case letters, digits and hyphens", ""})
		}
		c.match(under(path, "account"), b.Account, accountID, problem{ruleAccountID, "%s is no account id", "32 hexadecimal digits, a to f in lower case", ""})
		c.match(under(path, "bucket"), b.Bucket, bucketShape, problem{ruleBadName, "%s is no R2 bucket name", "3 to 63 lower-case letters, digits and hyphens", ""})
		c.match(under(path, "prefix"), b.Prefix, storePrefix, problem{ruleBadName, "%s is no prefix", "letters, digits, . _ - and /, not beginning with /", ""})
		if at, ok := c.entry(under(path, "token")...); ok {
			c.token(at.value, b.Token)
		}
	}
}

// budget checks budget:.
func (c *checker) budget() {
	b := c.policy.Budget
	for key, cents := range map[string]int{
		"worker": b.Worker, "d1_reads": b.D1Reads, "d1_writes": b.D1Writes, "d1_storage": b.D1Storage, "r2_storage": b.R2Storage,
		"r2_operations": b.R2Operations, "kv": b.KV, "ai": b.AI, "total": b.Total,
	} {
		c.between([]string{"budget", key}, cents, 1, maxBudget, "budget in US cents")
	}
}

// marks are what a var of a new shop may hold in braces.
var marks = []string{"{slug}", "{name}", "{hostname}", "{worker}", "{zone}"}

// onboard checks onboard:.
func (c *checker) onboard() {
	o := c.policy.Onboard
	for key, name := range map[string]string{"d1": o.D1, "r2": o.R2, "kv": o.KV} {
		c.match([]string{"onboard", key}, name, secretName, problem{ruleBadName, "%s is no name of a binding", "letters, digits and _, not beginning with a digit", ""})
	}
	for _, name := range slices.Sorted(maps.Keys(o.Vars)) {
		at, ok := c.entry("onboard", "vars", name)
		if !ok {
			continue
		}
		if !secretName.MatchString(name) {
			c.report(at.key, problem{ruleBadName, quote(name) + " is no name of a var", "letters, digits and _, not beginning with a digit", ""})
		}
		left := o.Vars[name]
		for _, m := range marks {
			left = strings.ReplaceAll(left, m, "")
		}
		if strings.ContainsAny(left, "{}") {
			c.report(at.value, problem{ruleBadName, quote(o.Vars[name]) + " has braces that stand for nothing", "text with " + strings.Join(marks, ", "), ""})
		}
	}
	c.choice([]string{"onboard", "hostname"}, o.Hostname, HostnameRoute, HostnameCustomDomain)
}

// offboard checks offboard:, and fills in what it leaves out: no time at all can be said too.
func (c *checker) offboard() {
	at, ok := c.entry("offboard", "grace")
	if !ok {
		c.policy.Offboard.Grace = 30 * 24 * time.Hour
		return
	}
	if g := c.policy.Offboard.Grace; g < 0 || g > 90*24*time.Hour {
		c.report(at.value, problem{ruleDuration, "a grace of " + short(g), "0s to 2160h", ""})
	}
}
