package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// A release is recognised by the message of its deployment, which shopfleet
// writes and reads back:
//
//	shopfleet content=sf-<32 hex> secrets=<12 hex> reach=<12 hex> stores=<12 hex>[+?] values=<12 hex> commit=<sha> bookmark=<bookmark> from=<version> order=<order>
//
// The stores are there when it is bound to some; releases of older shopfleets do not say. The values are a digest of
// keyed fingerprints of its secrets, there when those were known. The bookmark is there when the deploy migrated the database: the state before it.
// A release that took a bad one's place, by a rollback or because that did not pass its gate, says from which version it took
// the traffic, so that the account alone knows which versions were taken down; a rollback says by which order.
//
// Cloudflare keeps the first 1,000 bytes of "workers/message" and 100 of
// "workers/tag" (contracts/cloudflare/openapi.trimmed.json,
// WorkersVersionAnnotations); both fit with room to spare.
const markPrefix = "sf-"

// The annotations that Cloudflare keeps with versions and deployments (wire.md §6).
const (
	annotationTag     = "workers/tag"
	annotationMessage = "workers/message"
	annotationTrigger = "workers/triggered_by"
)

// memo is what a deployment's message remembers.
type memo struct {
	mark     string // the release's content
	required string // digest of the required secrets that were proven
	reach    string // digest of the workers.dev state that was set before the release; "-" when it came after
	stores   string // digest of the stores that it is bound to, and how well they were known; "" when it does not say
	values   string // digest of the fingerprints of the secrets that it brought; "" when there were none
	commit   string
	bookmark string // of the database before the deploy migrated it; "" when it did not
	from     string // the version that was taken down by it; "" for a release that goes forward
	order    string // the order that asked for the rollback; "" when none did
}

// String is the text of the annotation "workers/message" of a release.
func (m memo) String() string {
	s := "shopfleet content=" + m.mark + " secrets=" + m.required + " reach=" + m.reach
	if m.stores != "" {
		s += " stores=" + m.stores
	}
	if m.values != "" {
		s += " values=" + m.values
	}
	s += " commit=" + m.commit
	if m.bookmark != "" {
		s += " bookmark=" + m.bookmark
	}
	if m.from != "" {
		s += " from=" + m.from
	}
	if m.order != "" {
		s += " order=" + m.order
	}
	return s
}

// parseMemo is the inverse of String; ok is false for any other text, also for
// one that merely begins like ours.
func parseMemo(s string) (m memo, ok bool) {
	rest, ok := strings.CutPrefix(s, "shopfleet ")
	if !ok {
		return memo{}, false
	}
	values := map[string]string{}
	for _, f := range strings.Fields(rest) {
		k, v, _ := strings.Cut(f, "=")
		values[k] = v
	}
	m = memo{values["content"], values["secrets"], values["reach"], values["stores"], values["values"], values["commit"], values["bookmark"], values["from"], values["order"]}
	return m, m.String() == s && isMark(m.mark)
}

// maxOrder bounds an order's name in a memo: Cloudflare keeps 1,000 bytes of it.
const maxOrder = 64

// notRecorded stands for a reach that the release could not promise: a PUT
// releases before workers.dev can be set, and may be the last thing a process does.
const notRecorded = "-"

// isMark reports whether a version's tag is one of ours.
func isMark(tag string) bool {
	hexPart, ok := strings.CutPrefix(tag, markPrefix)
	if !ok || len(hexPart) != 32 {
		return false
	}
	_, err := hex.DecodeString(hexPart)
	return err == nil
}

// markOf makes a mark from the parts that a release consists of. Each part is
// length-prefixed by hashing it first, so that no two lists of parts collide.
func markOf(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		sum := sha256.Sum256(p)
		h.Write(sum[:])
	}
	return markPrefix + hex.EncodeToString(h.Sum(nil)[:16])
}

// listDigest identifies a list of words, in any order.
func listDigest(words []string) string {
	sum := sha256.Sum256([]byte(strings.Join(sortedCopy(words), "\n")))
	return hex.EncodeToString(sum[:6])
}
