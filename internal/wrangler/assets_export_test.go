package wrangler

import "strings"

// Ignored is the verdict over a path, asked for its directories first as a walk does. ok is false when a pattern is bad.
func Ignored(patterns []string, path string) (ignored, ok bool) {
	rules, bad := parseIgnore(patterns)
	if len(bad) > 0 {
		return false, false
	}
	for i, r := range path {
		if r == '/' && rules.matches(path[:i+1]) {
			return true, true
		}
	}
	return !strings.HasSuffix(path, "/") && rules.matches(path), true
}

// ContentType exposes the Content-Type of an asset's name.
var ContentType = contentType
