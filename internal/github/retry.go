package github

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	attempts      = 4 // of one request
	writeAttempts = 3 // of a write that is looked for in between
	firstBackoff  = 500 * time.Millisecond
	lastBackoff   = 8 * time.Second

	// maxPatience is the longest wait for a limit or a Retry-After. A secondary limit asks for about a minute; the primary
	// one may ask for an hour, and then the caller decides.
	maxPatience = 2 * time.Minute
	// secondaryWait is what GitHub's documentation asks for when a secondary limit's answer names no time.
	secondaryWait = time.Minute
)

// backoff is the wait before attempt n+1, shortened by up to a half at random.
func backoff(n int, jitter float64) time.Duration {
	wait := lastBackoff
	if n < 5 {
		wait = min(firstBackoff<<(n-1), lastBackoff)
	}
	return wait - time.Duration(jitter*float64(wait)/2)
}

// limit says whether an answer is a rate limit, and how long to wait in any case; 0 when the answer names no time. GitHub
// sends 403 and 429 for both of its limits (wire.md §5), and 403 for missing permissions too.
func limit(resp *http.Response, said string, now time.Time) (wait time.Duration, limited bool) {
	after := strings.TrimSpace(resp.Header.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(after, 10, 64); err == nil {
		wait = time.Duration(min(max(seconds, 1), 86400)) * time.Second
	} else if at, err := http.ParseTime(after); err == nil {
		wait = max(at.Sub(now), time.Second)
	}
	if resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusTooManyRequests {
		return wait, false
	}
	said = strings.ToLower(said)
	secondary := strings.Contains(said, "secondary rate limit") || strings.Contains(said, "secondary-rate-limits") || strings.Contains(said, "abuse detection") || strings.Contains(said, "abuse-rate-limits")
	switch {
	case wait > 0:
		return wait, true
	case resp.Header.Get("X-Ratelimit-Remaining") == "0":
		if at, err := strconv.ParseInt(resp.Header.Get("X-Ratelimit-Reset"), 10, 64); err == nil {
			return max(time.Unix(at, 0).Sub(now), 0) + time.Second, true
		}
		return secondaryWait, true
	case secondary || resp.StatusCode == http.StatusTooManyRequests:
		return secondaryWait, true
	}
	return 0, false
}

// beforeSending says that a network error came before the first byte of the request: the name did not resolve, nobody
// accepted the connection, or the certificate was not to be trusted.
func beforeSending(err error) bool {
	var op *net.OpError
	var name *net.DNSError
	var cert *tls.CertificateVerificationError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") || errors.As(err, &name) || errors.As(err, &cert)
}

// Pace holds writes below GitHub's secondary limits (wire.md §2e): comments, issues and pull requests 80 in a minute and 500
// in an hour, all other writes 180 in a minute, which is 900 points at five each. The zero value is ready; clients of one
// process share one. Reactions are never held back, for they claim what people ask for while those wait: they use up what is
// left of the points, and beyond that GitHub's own answer holds them.
type Pace struct {
	mu           sync.Mutex
	minute, hour *rate.Limiter // of content
	points       *rate.Limiter
}

// setUp fills the buckets. Bursts and rates add up to the limits: 20 at once and one a second make 80 in a minute, 100 and
// 400 an hour make 500, 60 and two a second make 180.
func (p *Pace) setUp() {
	if p.minute == nil {
		p.minute = rate.NewLimiter(1, 20)
		p.hour = rate.NewLimiter(400.0/3600, 100)
		p.points = rate.NewLimiter(2, 60)
	}
}

// use takes points for a write that does not wait, as far as there are any.
func (p *Pace) use(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setUp()
	p.points.AllowN(now, 1)
}

func (p *Pace) reserve(now time.Time, content bool) (time.Duration, func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setUp()
	held := []*rate.Reservation{p.points.ReserveN(now, 1)}
	if content {
		held = append(held, p.minute.ReserveN(now, 1), p.hour.ReserveN(now, 1))
	}
	var delay time.Duration
	for _, r := range held {
		delay = max(delay, r.DelayFrom(now))
	}
	return delay, func() {
		for _, r := range held {
			r.CancelAt(now)
		}
	}
}

// content is what people are told of.
var content = regexp.MustCompile(`/(issues|pulls|comments)(/|$)`)

// wait returns when the request may be sent.
func (p *Pace) wait(ctx context.Context, path string, now func() time.Time, sleep func(context.Context, time.Duration) error) error {
	if strings.HasSuffix(path, "/reactions") {
		p.use(now())
		return nil
	}
	delay, cancel := p.reserve(now(), content.MatchString(path))
	if delay <= 0 {
		return nil
	}
	err := sleep(ctx, delay)
	if err != nil {
		cancel()
	}
	return err
}

// sleepContext waits for d, or returns the context's error as soon as it is done.
func sleepContext(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
