package sim

import (
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"
)

// Cloudflare's documented limits: so many calls in five minutes per token, and then none at all for five minutes
// (field.md §0.6, §5). GraphQL has a budget of its own.
const (
	defaultRateLimit = 1200
	graphqlLimit     = 320
	rateWindow       = 5 * time.Minute
)

// limiter counts the calls of each token.
type limiter struct {
	mu      sync.Mutex
	buckets map[string]*rateBucket
}

type rateBucket struct {
	since   time.Time // when the running window began
	used    int
	blocked time.Time // until when nothing is answered
}

// take counts a call and writes the rate limit headers; the error is the refusal when the budget is gone.
func (l *limiter) take(rw http.ResponseWriter, key string, limit int, now time.Time) error {
	if limit < 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[key]
	if b == nil {
		if l.buckets == nil {
			l.buckets = map[string]*rateBucket{}
		}
		b = &rateBucket{since: now}
		l.buckets[key] = b
	}
	if !now.Before(b.blocked) && (now.Sub(b.since) >= rateWindow || !b.blocked.IsZero()) {
		*b = rateBucket{since: now}
	}
	if b.used++; b.used > limit && b.blocked.IsZero() {
		b.blocked = now.Add(rateWindow)
	}
	left, reset := max(limit-b.used, 0), b.since.Add(rateWindow)
	if !b.blocked.IsZero() {
		reset = b.blocked
	}
	seconds := int(math.Ceil(reset.Sub(now).Seconds()))
	rw.Header().Set("Ratelimit", fmt.Sprintf(`"default";r=%d;t=%d`, left, seconds))
	rw.Header().Set("Ratelimit-Policy", fmt.Sprintf(`"default";q=%d;w=%d`, limit, int(rateWindow.Seconds())))
	if b.blocked.IsZero() {
		return nil
	}
	rw.Header().Set("Retry-After", fmt.Sprint(seconds))
	return refuse(http.StatusTooManyRequests, 971, "Please wait and consider throttling your request speed")
}
