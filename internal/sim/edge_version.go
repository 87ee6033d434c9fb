package sim

import (
	"hash/fnv"
	"net/http"
	"strings"
)

// A deployment may split traffic between two versions. Which one a request meets follows
// developers.cloudflare.com/workers/configuration/versions-and-deployments/gradual-deployments.
const (
	overridesHeader = "Cloudflare-Workers-Version-Overrides"
	affinityHeader  = "Cloudflare-Workers-Version-Key"
)

// pick chooses the version that answers. random is a number in [0, 1).
func (s *servedScript) pick(h http.Header, random float64) *servedVersion {
	if id := overrideFor(h.Get(overridesHeader), s.Name); id != "" {
		for _, v := range s.Versions {
			if v.ID == id {
				return v
			}
		}
		// An override to a version outside the current deployment is ignored.
	}
	if key := h.Get(affinityHeader); key != "" {
		sum := fnv.New64a()
		sum.Write([]byte(s.ID + "\x00" + key))
		random = float64(sum.Sum64()>>11) / (1 << 53)
	}
	at := random * 100
	for i, v := range s.Versions {
		if at < s.Shares[i] {
			return v
		}
		at -= s.Shares[i]
	}
	return s.Versions[len(s.Versions)-1]
}

// overrideFor reads the header's dictionary (RFC 8941): script="version id", other="version id".
func overrideFor(header, script string) string {
	for entry := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(entry), "=")
		value, _, _ = strings.Cut(value, ";")
		if name == script {
			return strings.Trim(value, `" `)
		}
	}
	return ""
}
