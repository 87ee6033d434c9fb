package sim

import (
	"slices"
	"time"
)

// r2Conditions are the onlyIf of a get or a put, HTTP's conditional headers in R2's words
// (developers.cloudflare.com/r2/api/workers/workers-api-reference, Conditional operations).
type r2Conditions struct {
	Matches      []r2ETag `json:"etagMatches"`
	DoesNotMatch []r2ETag `json:"etagDoesNotMatch"`
	Before       *r2Long  `json:"uploadedBefore"` // milliseconds since 1970
	After        *r2Long  `json:"uploadedAfter"`
	Seconds      bool     `json:"secondsGranularity"` // compare whole seconds, as HTTP dates have
}

type r2ETag struct {
	Value string `json:"value"`
	Type  string `json:"type"` // strong, weak or wildcard
}

// hold tells whether the conditions are met by an object, or by there being none (nil).
func (c *r2Conditions) hold(o *object) bool {
	if c == nil {
		return true
	}
	if o == nil {
		return c.Matches == nil && c.After == nil
	}
	uploaded := c.round(o.Uploaded)
	matches := c.Matches == nil || hasETag(c.Matches, o.ETag, false)
	different := c.DoesNotMatch == nil || !hasETag(c.DoesNotMatch, o.ETag, true)
	// As RFC 9110 §13.2.2 has it, a date does not count beside an entity tag that decides.
	after := c.After == nil || c.round(time.UnixMilli(int64(*c.After))).Before(uploaded) || c.DoesNotMatch != nil && different
	before := c.Before == nil || uploaded.Before(c.round(time.UnixMilli(int64(*c.Before)))) || c.Matches != nil && matches
	return matches && different && after && before
}

func (c *r2Conditions) round(t time.Time) time.Time {
	if c.Seconds {
		return t.Truncate(time.Second)
	}
	return t.Truncate(time.Millisecond)
}

// hasETag compares; a weak entity tag only ever equals in a weak comparison.
func hasETag(list []r2ETag, etag string, weak bool) bool {
	return slices.ContainsFunc(list, func(e r2ETag) bool {
		return e.Type == "wildcard" || e.Value == etag && (weak || e.Type == "strong")
	})
}
