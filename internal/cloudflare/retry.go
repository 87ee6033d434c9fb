package cloudflare

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Retrying, in short: a read and a write that can be repeated are tried again after a network fault, HTTP 408, 429 and
// 5xx; a write that adds is tried again only when it certainly did nothing, which is a connection that never came about
// and a 429. A firewall challenge and any other answer are final. Another attempt waits for the Retry-After header when
// there is one, plus up to a second, or else 0.5 s, 1 s, 2 s, 4 s and then 8 s, each shortened by up to a half at random.
const (
	defaultAttempts = 4
	firstBackoff    = 500 * time.Millisecond
	lastBackoff     = 8 * time.Second

	// maxRetryAfter is the longest Retry-After that is waited for. The API's own block lasts five minutes; when more is
	// asked the error is returned at once, with RetryAfter set, and the decision is the caller's.
	maxRetryAfter = 6 * time.Minute
)

// mayRepeat says whether a call with this effect can be sent again after e.
func (e *Error) mayRepeat(effect effect) bool {
	if e.RetryAfter > maxRetryAfter {
		return false
	}
	return e.rateLimited() || e.transient && (effect != adds || e.Outcome == NotSent)
}

// patience is how long to wait before attempt n+1.
func (t *transport) patience(n int, e *Error) time.Duration {
	if e.RetryAfter > 0 {
		return min(e.RetryAfter, maxRetryAfter) + time.Duration(t.jitter()*float64(time.Second))
	}
	wait := lastBackoff
	if n < 5 {
		wait = min(firstBackoff<<(n-1), lastBackoff)
	}
	if e.rateLimited() {
		return max(wait, time.Second) + time.Duration(t.jitter()*float64(time.Second))
	}
	return wait - time.Duration(t.jitter()*float64(wait)/2)
}

// retryAfter reads the header in both its forms, seconds and date; 0 is none, or past.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		return time.Duration(min(max(seconds, 0), 86400) * float64(time.Second))
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// beforeSending says that a network error came before the first byte of the request: the name did not resolve, nobody
// accepted the connection, or the certificate was not to be trusted.
func beforeSending(err error) bool {
	var op *net.OpError
	var name *net.DNSError
	var cert *tls.CertificateVerificationError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") || errors.As(err, &name) || errors.As(err, &cert)
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
