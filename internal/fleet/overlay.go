package fleet

import (
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// InOverlay says whether a shop's branch may differ from main in this file, a slash-separated path from the top of the
// repository.
func (p *Policy) InOverlay(path string) bool {
	return slices.ContainsFunc(p.Overlay, func(glob string) bool {
		return doublestar.MatchUnvalidated(glob, path)
	})
}

// overlay checks the globs of overlay:.
func (c *checker) overlay() {
	at, ok := c.entry("overlay")
	if ok && len(c.policy.Overlay) == 0 {
		c.report(at.key, problem{ruleEmpty, "overlay: lists nothing", "at least one path",
			"leave the key out for the default, wrangler.jsonc and shop-overrides/**"})
	}
	c.items([]string{"overlay"}, c.policy.Overlay, func(at mark, glob string) {
		if bad, ok := overlayFault(glob, c.file); ok {
			c.report(at, bad)
		}
	})
}

// anywhere are paths that nobody has: a glob that matches one matches every file on that level.
var anywhere = []string{"qzj", "qzj.qzj", "qzj/qzj", "qzj/qzj.qzj", "qzj/qzj/qzj.qzj"}

func overlayFault(glob, policyFile string) (problem, bool) {
	if expected, hint := pathFault(glob); expected != "" {
		return problem{ruleOverlayPath, quote(glob) + " is no path in the repository", expected, hint}, true
	}
	matches := func(path string) bool { return doublestar.MatchUnvalidated(glob, path) }
	switch {
	case strings.ContainsAny(glob, "{}"):
		return problem{ruleOverlayPath, quote(glob) + " holds braces", "*, **, ? and [a-z] only, the same for every shop",
			"list paths one by one; a branch is one shop's already, so {slug} is not needed"}, true
	case strings.HasPrefix(glob, "!"):
		return problem{ruleOverlayPath, quote(glob) + " begins with !", "a path that may differ", "list only what may differ"}, true
	case !doublestar.ValidatePattern(glob):
		return problem{ruleOverlayPath, quote(glob) + " is no glob", "*, **, ? and [a-z], brackets closed", ""}, true
	case slices.ContainsFunc(anywhere, matches):
		return problem{ruleOverlayWide, quote(glob) + " covers everything",
			"the few files that make a shop different: code is the same in all shops", "name a directory: shop-overrides/**"}, true
	case matches(policyFile), matches("fleet.yml"):
		return problem{ruleOverlayWide, quote(glob) + " covers the fleet policy", "files of a single shop",
			"the policy is main's"}, true
	case matches(".github/workflows/deploy.yml"):
		return problem{ruleOverlayWide, quote(glob) + " covers workflows", "files of a single shop",
			"whoever may change a workflow may read its secrets"}, true
	}
	return problem{}, false
}

// pathFault says what a path inside the repository has to be and this one is not.
func pathFault(path string) (expected, hint string) {
	parts := strings.Split(path, "/")
	git := func(part string) bool { return strings.EqualFold(part, ".git") }
	switch {
	case path == "":
		return "a path", ""
	case strings.Contains(path, `\`):
		return "slashes between the parts of a path", "write " + strings.ReplaceAll(path, `\`, "/")
	case strings.HasPrefix(path, "/") || len(path) > 1 && path[1] == ':':
		return "a path from the top of the repository", "leave the beginning out"
	case strings.HasSuffix(path, "/"):
		return "files, not a directory", "write " + quote(path+"**")
	case slices.Contains(parts, ".."):
		return "a path that stays in the repository, without ..", ""
	case slices.Contains(parts, "."), slices.Contains(parts, ""):
		return "a path without . and empty parts", "write it as git prints it"
	case slices.ContainsFunc(parts, git):
		return "a file that git keeps", ""
	case strings.TrimSpace(path) != path:
		return "a path without blanks at its ends", ""
	}
	return "", ""
}
