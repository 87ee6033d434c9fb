package sim

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// Permissions of API tokens, by the names that the dashboard gives them, in lower case; those of zones begin with "zone "
// (developers.cloudflare.com/fundamentals/api/reference/permissions, where Edit is called Write). Whoever may edit may read.
//
// Resource tagging is a beta; its page names roles and the scope com.cloudflare.api.account.tag instead of a permission.
var permissions = []struct {
	name string
	path *regexp.Regexp
}{
	{"d1", regexp.MustCompile(`^/accounts/[^/]+/d1/`)},
	{"workers r2 storage", regexp.MustCompile(`^/accounts/[^/]+/r2/`)},
	{"workers kv storage", regexp.MustCompile(`^/accounts/[^/]+/storage/kv/`)},
	{"resource tagging", regexp.MustCompile(`^/accounts/[^/]+/tags(/|$)`)},
	{"zone workers routes", regexp.MustCompile(`^/zones/[^/]+/workers/routes|^/accounts/[^/]+/workers/scripts/[^/]+/routes$`)},
	{"workers scripts", regexp.MustCompile(`^/accounts/[^/]+/workers/`)},
	{"zone dns", regexp.MustCompile(`^/zones/[^/]+/dns_records`)},
	{"zone", regexp.MustCompile(`^/zones(/[^/]+)?$`)},
}

// checkPermissions refuses permissions that no token can have.
func checkPermissions(list []string) error {
	for _, p := range list {
		name, level, _ := strings.Cut(p, "=")
		known := false
		for _, have := range permissions {
			known = known || have.name == name
		}
		if !known || level != "read" && level != "edit" {
			return fmt.Errorf("permission %q: expected one such as d1=edit or zone dns=read", p)
		}
	}
	return nil
}

// permitted checks that the token has the permission for a call; write says whether the call changes anything. What no
// permission is listed for anybody may call. A list of zones that may not be read is empty rather than refused.
func (t *credential) permitted(r *http.Request, write bool) error {
	if t.Permissions == nil || r.URL.Path == "/zones" {
		return nil
	}
	for _, p := range permissions {
		if !p.path.MatchString(r.URL.Path) {
			continue
		}
		switch {
		case t.may(p.name, write):
			return nil
		case strings.HasPrefix(r.URL.Path, "/zones/"):
			return refuse(http.StatusForbidden, 9109, "Unauthorized to access requested resource")
		}
		return refuse(http.StatusForbidden, 10000, "Authentication error")
	}
	return nil
}

func (t *credential) may(name string, write bool) bool {
	return t.Permissions == nil || slices.Contains(t.Permissions, name+"=edit") || !write && slices.Contains(t.Permissions, name+"=read")
}
