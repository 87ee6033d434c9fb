package fleet

import (
	"fmt"
	"regexp"
	"strings"
)

// maxLabel is how long a DNS label may be (RFC 1035 §2.3.4).
const maxLabel = 63

var slugShape = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// reserved are slugs that already mean something else where slugs are used, and what.
var reserved = map[string]string{
	"main":       "is the name of the trunk",
	"master":     "is the name of the trunk",
	"head":       "is what git calls the current commit",
	"all":        "means every shop on the command line",
	"production": "is the name of a kind of environment, not of a shop",
	"staging":    "is the name of a kind of environment, not of a shop",
	"preview":    "is the name of a kind of environment, not of a shop",
	"www":        "is a hostname that belongs to the zone",
	"mail":       "is a hostname that belongs to the zone",
	"api":        "is a hostname that belongs to the zone",
	"admin":      "is a hostname that belongs to the zone",
	"null":       "is no name in YAML and JSON",
	"true":       "is no name in YAML and JSON",
	"false":      "is no name in YAML and JSON",
}

// CheckSlug says what is wrong with a slug that a person typed or a branch carries: it must be a DNS label of lower-case
// letters, digits and hyphens, not internationalised and not a word that already means something else. The error, if
// any, is Findings without a place. Whether the names made from the slug are good is for Policy.Shop to say.
func CheckSlug(slug string) error { return unplaced(slugProblems(slug)) }

func slugProblems(slug string) []problem {
	const expected = "1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends"
	bad := func(message, hint string) []problem {
		return []problem{{ruleSlug, message, expected, hint}}
	}
	switch {
	case slug == "":
		return bad("the slug is empty", "name the shop")
	case len(slug) > maxLabel:
		return bad(fmt.Sprintf("the slug %s has %d characters, %d more than the %d of a DNS label",
			quote(slug), len(slug), len(slug)-maxLabel, maxLabel), "shorten it")
	case !slugShape.MatchString(slug):
		hint := ""
		if better := suggestSlug(slug); better != "" {
			hint = "for example " + better
		}
		return bad(fmt.Sprintf("%s is not a slug", quote(slug)), hint)
	case len(slug) > 3 && slug[2:4] == "--":
		// Labels with hyphens in third and fourth place are set aside for encodings such as xn-- (RFC 5891 §4.2.3.1).
		return bad(fmt.Sprintf("%s looks like an internationalised name", quote(slug)),
			"two hyphens must not follow the second character")
	case reserved[slug] != "":
		return []problem{{ruleReservedSlug, fmt.Sprintf("the slug %s %s", slug, reserved[slug]), "another word", ""}}
	}
	return nil
}

var noSlug = regexp.MustCompile(`[^a-z0-9]+`)

// suggestSlug makes the nearest good slug of a text, "" when nothing of it is usable.
func suggestSlug(text string) string {
	s := strings.Trim(noSlug.ReplaceAllString(strings.ToLower(text), "-"), "-")
	if slugShape.MatchString(s) && reserved[s] == "" {
		return s
	}
	return ""
}
