// Package cloudflare holds the Cloudflare calls that shopfleet makes, and nothing else: no policy, no plan.
//
// Start with [Client]. Set its fields, then call one method for each endpoint; every method is safe for concurrent use:
//
//	cf := &cloudflare.Client{AccountID: id, Token: cloudflare.Secret(token), Budget: budgets.For(token)}
//	workers, err := cf.Workers(ctx)
//
// What a caller can rely on:
//
//   - An answer counts as success when its body says "success": true, whatever the HTTP status (wire.md §1). All else is
//     an [*Error]: with the codes, the Ray id, a hint, and an [Outcome] that says whether the call may have taken effect.
//   - Every endpoint is declared in one table (endpoints.go) as a read, a write that can be repeated, or a write that adds.
//     [Client.ReadOnly] refuses both kinds of write before anything is sent, and the table decides what may be retried.
//   - No call leaves without a place in the [Budget] of its token, because going over the API's limit blocks every
//     caller of that token for five minutes, rollbacks included.
//   - Tokens, upload sessions and secret values are of type [Secret] and appear in no error, log line or observation.
//   - No hostname is ever taken from another Worker: [Client.PutDomains] cannot be asked to override anything.
//
// The transport is github.com/cloudflare/cloudflare-go v0.119.0 with its own retries and limiter off; no other package
// imports it. Its typed call is used where it keeps every field we need. Raw is used where it does not exist, and where
// the typed call loses something: Workers (tags, migration_tag, observability), Domains (enabled), Secrets (the type is
// decoded from a key that is never sent), AccountSubdomain (decodes "name", the API sends "subdomain"), D1 (region,
// served_by; sends params: null), R2 (jurisdiction, paging cursor), Zones (pages fetched concurrently inside the SDK).
package cloudflare
