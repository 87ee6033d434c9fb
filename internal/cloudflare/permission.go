package cloudflare

import "strings"

// permission is what a token needs for an endpoint, as the dashboard calls it: scope, group and level
// (developers.cloudflare.com/fundamentals/api/reference/permissions, where Edit is called Write). "" where any token will do.
// Resource tagging is a beta whose page names roles and the scope com.cloudflare.api.account.tag, and no group; it stands
// under the name that the dashboard gives the product.
func (e endpoint) permission() string {
	level := "Edit"
	if e.effect == reads {
		level = "Read"
	}
	group := ""
	switch path := e.path; {
	case strings.Contains(path, "/d1/"):
		group = "Account · D1"
	case strings.Contains(path, "/r2/"):
		group = "Account · Workers R2 Storage"
	case strings.Contains(path, "/storage/kv/"):
		group = "Account · Workers KV Storage"
	case strings.Contains(path, "/workers/") && strings.HasSuffix(path, "/routes"), strings.HasSuffix(path, "/routes/{route}"):
		group = "Zone · Workers Routes"
	case strings.Contains(path, "/workers/"):
		group = "Account · Workers Scripts"
	case strings.Contains(path, "/dns_records"):
		group = "Zone · DNS"
	case path == "/zones":
		group = "Zone · Zone"
	case strings.Contains(path, "/tags"):
		group = "Account · Resource Tagging"
	case path == "/graphql":
		group = "Account · Account Analytics"
	default:
		return ""
	}
	return group + " · " + level
}

// Permission is the permission that a call asks of its token, such as "Account · D1 · Edit", when the API refused the call
// for want of it; "" otherwise. The API does not say which permission it missed: one that looks refused for a permission may
// also be the wrong token, or be limited to other accounts or zones.
func (e *Error) Permission() string {
	if !e.unauthorized() || e.has([]int{9106}) {
		return ""
	}
	return endpoints[e.Op].permission()
}
