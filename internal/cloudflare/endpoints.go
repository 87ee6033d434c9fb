package cloudflare

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// effect says what a call does to the account, and with it who may make the call and when it may be sent twice.
type effect int

const (
	reads effect = iota // changes nothing, whatever its HTTP method: allowed to ReadOnly clients, repeated freely
	sets                // a write that leaves the same state when it is sent twice: repeated on trouble
	adds                // a write that does more when it is sent twice: repeated only when the first one certainly did nothing
)

// endpoint is one row of the table.
type endpoint struct {
	method string
	path   string // {account} is the client's account; every other {name} is the next argument of the call
	effect effect
	shape  shape
}

// shape marks the few endpoints whose answers differ from the rest.
type shape int

const (
	plain   shape = iota
	unused        // the result is not looked at: null is fine for every caller, wire.md §11
	rows          // carries table rows: eight times the usual body limit
	graphql       // {data, errors} instead of the envelope, and a limit of its own
	content       // success is the thing itself, not an envelope; a failure has one
	stream        // as content, of any size: read by the caller, not by the transport
)

// endpoints lists every call this package can make, under the name of the method that makes it.
var endpoints = map[string]endpoint{
	"Accounts":           {"GET", "/accounts", reads, plain},
	"VerifyToken":        {"GET", "/user/tokens/verify", reads, plain},
	"VerifyAccountToken": {"GET", "/accounts/{account}/tokens/verify", reads, plain},
	"Zones":              {"GET", "/zones", reads, plain},
	"DNSRecords":         {"GET", "/zones/{zone}/dns_records", reads, plain},
	"CreateDNSRecord":    {"POST", "/zones/{zone}/dns_records", adds, plain},
	"DeleteDNSRecord":    {"DELETE", "/zones/{zone}/dns_records/{record}", sets, unused},
	"GraphQL":            {"POST", "/graphql", reads, graphql},
	"BillableUsage":      {"GET", "/accounts/{account}/billable-usage", reads, plain},

	"Workers":             {"GET", "/accounts/{account}/workers/scripts", reads, plain},
	"Settings":            {"GET", "/accounts/{account}/workers/scripts/{script}/settings", reads, plain},
	"Deployments":         {"GET", "/accounts/{account}/workers/scripts/{script}/deployments", reads, plain},
	"Versions":            {"GET", "/accounts/{account}/workers/scripts/{script}/versions", reads, plain},
	"Version":             {"GET", "/accounts/{account}/workers/scripts/{script}/versions/{version}", reads, plain},
	"Secrets":             {"GET", "/accounts/{account}/workers/scripts/{script}/secrets", reads, plain},
	"PutWorker":           {"PUT", "/accounts/{account}/workers/scripts/{script}", adds, plain}, // each one is a version and a deployment
	"CreateVersion":       {"POST", "/accounts/{account}/workers/scripts/{script}/versions", adds, plain},
	"CreateDeployment":    {"POST", "/accounts/{account}/workers/scripts/{script}/deployments", adds, plain},
	"PatchScriptSettings": {"PATCH", "/accounts/{account}/workers/scripts/{script}/script-settings", sets, unused},
	"SecretsBulk":         {"PATCH", "/accounts/{account}/workers/scripts/{script}/secrets-bulk", sets, unused},
	"WorkerContent":       {"GET", "/accounts/{account}/workers/scripts/{script}/content/v2", reads, content},
	"DeleteWorker":        {"DELETE", "/accounts/{account}/workers/scripts/{script}", sets, unused},

	"AssetsSession": {"POST", "/accounts/{account}/workers/scripts/{script}/assets-upload-session", sets, plain}, // touches no Worker
	"UploadAssets":  {"POST", "/accounts/{account}/workers/assets/upload", sets, plain},                          // stored by hash
	"UploadAsset":   {"POST", "/accounts/{account}/workers/assets/upload/{hash}", sets, plain},

	"Schedules":        {"GET", "/accounts/{account}/workers/scripts/{script}/schedules", reads, plain},
	"PutSchedules":     {"PUT", "/accounts/{account}/workers/scripts/{script}/schedules", sets, unused},
	"Domains":          {"GET", "/accounts/{account}/workers/domains", reads, plain},
	"DomainChangeset":  {"POST", "/accounts/{account}/workers/scripts/{script}/domains/changeset", reads, plain},
	"PutDomains":       {"PUT", "/accounts/{account}/workers/scripts/{script}/domains/records", sets, unused},
	"DetachDomain":     {"DELETE", "/accounts/{account}/workers/domains/{domain}", sets, unused},
	"ZoneRoutes":       {"GET", "/zones/{zone}/workers/routes", reads, plain},
	"PutRoutes":        {"PUT", "/accounts/{account}/workers/scripts/{script}/routes", sets, unused},
	"CreateRoute":      {"POST", "/zones/{zone}/workers/routes", adds, plain},
	"DeleteRoute":      {"DELETE", "/zones/{zone}/workers/routes/{route}", sets, unused},
	"Subdomain":        {"GET", "/accounts/{account}/workers/scripts/{script}/subdomain", reads, plain},
	"SetSubdomain":     {"POST", "/accounts/{account}/workers/scripts/{script}/subdomain", sets, unused},
	"AccountSubdomain": {"GET", "/accounts/{account}/workers/subdomain", reads, plain},

	"D1Databases": {"GET", "/accounts/{account}/d1/database", reads, plain},
	"D1Database":  {"GET", "/accounts/{account}/d1/database/{database}", reads, plain},
	"D1Read":      {"POST", "/accounts/{account}/d1/database/{database}/query", reads, rows},
	"D1Bookmark":  {"GET", "/accounts/{account}/d1/database/{database}/time_travel/bookmark", reads, plain},
	"D1Exec":      {"POST", "/accounts/{account}/d1/database/{database}/query", adds, rows},
	"D1Import":    {"POST", "/accounts/{account}/d1/database/{database}/import", adds, plain},
	"D1Restore":   {"POST", "/accounts/{account}/d1/database/{database}/time_travel/restore", adds, plain}, // a second one drops what was written since
	"CreateD1":    {"POST", "/accounts/{account}/d1/database", adds, plain},
	"DeleteD1":    {"DELETE", "/accounts/{account}/d1/database/{database}", sets, unused},

	"R2Buckets":         {"GET", "/accounts/{account}/r2/buckets", reads, plain},
	"R2Bucket":          {"GET", "/accounts/{account}/r2/buckets/{bucket}", reads, plain},
	"CreateR2Bucket":    {"POST", "/accounts/{account}/r2/buckets", adds, unused},
	"DeleteR2Bucket":    {"DELETE", "/accounts/{account}/r2/buckets/{bucket}", sets, unused},
	"KVNamespaces":      {"GET", "/accounts/{account}/storage/kv/namespaces", reads, plain},
	"CreateKVNamespace": {"POST", "/accounts/{account}/storage/kv/namespaces", adds, plain},
	"DeleteKVNamespace": {"DELETE", "/accounts/{account}/storage/kv/namespaces/{namespace}", sets, unused},
	"R2Object":          {"GET", "/accounts/{account}/r2/buckets/{bucket}/objects/{object}", reads, content},
	"PutR2Object":       {"PUT", "/accounts/{account}/r2/buckets/{bucket}/objects/{object}", sets, unused},
	"R2Objects":         {"GET", "/accounts/{account}/r2/buckets/{bucket}/objects", reads, plain},
	"OpenR2Object":      {"GET", "/accounts/{account}/r2/buckets/{bucket}/objects/{object}", reads, stream},
	"UploadR2Object":    {"PUT", "/accounts/{account}/r2/buckets/{bucket}/objects/{object}", sets, plain},
	"DeleteR2Object":    {"DELETE", "/accounts/{account}/r2/buckets/{bucket}/objects/{object}", sets, unused},
	"KVKeys":            {"GET", "/accounts/{account}/storage/kv/namespaces/{namespace}/keys", reads, plain},
	"KVTexts":           {"POST", "/accounts/{account}/storage/kv/namespaces/{namespace}/bulk/get", reads, rows},
	"PutKVBulk":         {"PUT", "/accounts/{account}/storage/kv/namespaces/{namespace}/bulk", sets, plain},
	"DeleteKVBulk":      {"POST", "/accounts/{account}/storage/kv/namespaces/{namespace}/bulk/delete", sets, plain},
	"KVValue":           {"GET", "/accounts/{account}/storage/kv/namespaces/{namespace}/values/{key}", reads, content},
	"PutKVValue":        {"PUT", "/accounts/{account}/storage/kv/namespaces/{namespace}/values/{key}", sets, unused},
	"FirstR2Objects":    {"GET", "/accounts/{account}/r2/buckets/{bucket}/objects", reads, plain},
	"FirstKVKeys":       {"GET", "/accounts/{account}/storage/kv/namespaces/{namespace}/keys", reads, plain},

	"TaggedResources": {"GET", "/accounts/{account}/tags/resources", reads, plain},
	"Tags":            {"GET", "/accounts/{account}/tags", reads, plain},
	"PutTags":         {"PUT", "/accounts/{account}/tags", sets, unused}, // conditional on the etag
}

// expand fills the path template. Names come from config and branches, which are hostile: one that would reach another
// endpoint (empty, dots) is refused, the rest is escaped.
func (e endpoint) expand(account string, args []string) (string, error) {
	parts := strings.Split(e.path, "/")
	for i, part := range parts {
		if !strings.HasPrefix(part, "{") {
			continue
		}
		var value string
		switch {
		case part == "{account}":
			if value = account; value == "" {
				return "", fmt.Errorf("%w: no account id is set", ErrConfig)
			}
		case len(args) == 0:
			return "", fmt.Errorf("%w: no value for %s", ErrArgument, part)
		default:
			value, args = args[0], args[1:]
		}
		if value == "" || value == "." || value == ".." || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
			return "", fmt.Errorf("%w: %q cannot stand for %s", ErrArgument, value, part)
		}
		parts[i] = url.PathEscape(value)
	}
	if len(args) > 0 {
		return "", fmt.Errorf("%w: %d values too many for %s", ErrArgument, len(args), e.path)
	}
	return strings.Join(parts, "/"), nil
}

// service names the product an endpoint belongs to, because products give one error code different meanings.
func (e endpoint) service() string {
	switch {
	case strings.Contains(e.path, "/d1/"):
		return "d1"
	case strings.Contains(e.path, "/r2/"):
		return "r2"
	case strings.Contains(e.path, "/storage/kv/"):
		return "kv"
	case strings.Contains(e.path, "/workers/"):
		return "workers"
	case strings.Contains(e.path, "/dns_records"):
		return "dns"
	case strings.Contains(e.path, "/tags"):
		return "tags"
	}
	return "account"
}
