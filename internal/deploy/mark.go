package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"sort"
	"strings"
)

// A release is recognised by the message of its deployment, which shopfleet
// writes and reads back:
//
//	shopfleet content=sf-<32 hex> secrets=<12 hex> commit=<sha>
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

// message is the text of the annotation "workers/message" of a release.
func message(mark, required, commit string) string {
	return "shopfleet content=" + mark + " secrets=" + required + " commit=" + commit
}

// parseMessage is the inverse of message; ok is false for any other text, also
// for one that merely begins like ours.
func parseMessage(s string) (mark, required, commit string, ok bool) {
	fields := strings.Fields(s)
	if len(fields) != 4 || fields[0] != "shopfleet" {
		return "", "", "", false
	}
	var found [3]bool
	for _, f := range fields[1:] {
		k, v, _ := strings.Cut(f, "=")
		switch k {
		case "content":
			mark, found[0] = v, true
		case "secrets":
			required, found[1] = v, true
		case "commit":
			commit, found[2] = v, true
		}
	}
	if found != [3]bool{true, true, true} || !isMark(mark) {
		return "", "", "", false
	}
	return mark, required, commit, true
}

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

// requiredDigest identifies a list of required secret names, in any order.
func requiredDigest(names []string) string {
	sorted := append([]string(nil), names...)
	sort.Strings(sorted)
	sum := sha256.Sum256([]byte(strings.Join(sorted, "\n")))
	return hex.EncodeToString(sum[:6])
}
