package secrets

import (
	"fmt"
	"regexp"
	"slices"
	"unicode/utf8"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// Limits of Cloudflare, workers/platform/limits.
const (
	maxValue = 5 << 10 // bytes of one value
	maxCount = 128     // variables and secrets of a Worker together
)

// The rules of Check's findings.
const (
	RuleUnknown = "secret-not-declared" // a name that fleet.yml does not have
	RuleAbsent  = "secret-absent"       // a required name that the bundle does not have
	RuleFormat  = "secret-mismatch"     // a value without the form that fleet.yml asks for
	RuleSize    = "secret-size"         // a value that Cloudflare would refuse
	RuleCount   = "secret-count"        // more secrets than Cloudflare takes
)

// Check holds a bundle against what fleet.yml says of each secret, and against Cloudflare's limits. Names are shown, values
// never, nor what is wrong with one beyond the rule that it breaks. All findings are errors; that a required secret is not
// in the bundle the caller may take lightly where the Worker has it.
func Check(policy fleet.Secrets, b Bundle) []wrangler.Finding {
	var out []wrangler.Finding
	add := func(rule, message, expected, hint string) {
		out = append(out, wrangler.Finding{Rule: rule, Level: wrangler.LevelError, Message: message, Expected: expected, Hint: hint})
	}
	for _, n := range policy.Required {
		if b[n] == "" {
			add(RuleAbsent, fmt.Sprintf("the required secret %s is not in it", n), "every secret that fleet.yml or wrangler.jsonc requires", about(policy, n, "give it a value"))
		}
	}
	for _, n := range b.Names() {
		if !slices.Contains(policy.Required, n) && !slices.Contains(policy.Optional, n) {
			add(RuleUnknown, fmt.Sprintf("%s is no secret of the fleet", n), "a name from secrets.required or secrets.optional of fleet.yml", "correct the name, or add it to secrets.optional")
			continue
		}
		out = append(out, CheckValue(policy, n, b[n])...)
	}
	if len(b) > maxCount {
		add(RuleCount, fmt.Sprintf("there are %d secrets; Cloudflare takes %d with the variables", len(b), maxCount), fmt.Sprintf("at most %d", maxCount), "put several values into one JSON secret")
	}
	return out
}

// CheckValue is Check for one value whose name is known.
func CheckValue(policy fleet.Secrets, name string, v wrangler.Secret) []wrangler.Finding {
	var out []wrangler.Finding
	add := func(rule, message, expected, hint string) {
		out = append(out, wrangler.Finding{Rule: rule, Level: wrangler.LevelError, Message: message, Expected: expected, Hint: hint})
	}
	if len(v) > maxValue {
		add(RuleSize, fmt.Sprintf("the secret %s has %d bytes; Cloudflare takes %d", name, len(v), maxValue), fmt.Sprintf("at most %d bytes", maxValue), "keep large values in KV or R2")
	}
	if v == "" || !utf8.ValidString(string(v)) {
		add(RuleFormat, fmt.Sprintf("the value of the secret %s is empty or not UTF-8", name), "text", "encode binary values, in base64 for example")
		return out
	}
	a := policy.Describe(name)
	if a.Format == "" {
		return out
	}
	// fleet.yml was checked; an expression that does not compile came by some other way and is not passed over.
	form, err := regexp.Compile("^(?:" + a.Format + ")$")
	if err != nil || !form.MatchString(string(v)) {
		add(RuleFormat, fmt.Sprintf("the value of the secret %s does not have the form that fleet.yml asks for", name), a.Format, about(policy, name, "look whether it is the right value, without spaces or quotes around it"))
	}
	return out
}

// about is advice with what fleet.yml says the secret is.
func about(policy fleet.Secrets, name, advice string) string {
	if text := policy.Describe(name).Description; text != "" {
		return advice + ": " + text
	}
	return advice
}
