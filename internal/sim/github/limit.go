package github

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// limits counts calls against GitHub's limits (wire.md §2e), on the world's clock. Not played: 100 concurrent requests and
// CPU time.
type limits struct {
	world   *World
	primary map[string]*window
	points  map[string][]charge // of the last minute
	content map[string][]time.Time
}

type window struct {
	used, limit int
	reset       time.Time
}

type charge struct {
	at     time.Time
	points int
}

const (
	pointsPerMinute  = 900
	contentPerMinute = 80
	contentPerHour   = 500
)

// account is who a limit belongs to, and how many calls an hour it has.
func (c *credential) account() (string, int) {
	switch c.kind {
	case personal, onBehalf:
		return fmt.Sprintf("user ID %d", c.user.ID), 5000
	case actions:
		return fmt.Sprintf("repository ID %d", c.repo.ID), 1000
	case installation:
		return fmt.Sprintf("installation ID %d", c.inst.ID), 5000
	case appJWT:
		return fmt.Sprintf("app ID %d", c.app.ID), 5000
	}
	return "127.0.0.1", 60
}

// budget is the hour that is running for an account.
func (l *limits) budget(account string, limit int) *window {
	if l.primary == nil {
		l.primary = map[string]*window{}
	}
	now := l.world.now()
	b := l.primary[account]
	if b == nil || !now.Before(b.reset) {
		b = &window{limit: limit, reset: now.Add(time.Hour)}
		l.primary[account] = b
	}
	return b
}

// take counts a call and refuses one that is over a limit. GitHub may say 403 or 429 to both kinds; the primary limit
// says 403 here and the secondary ones 429 for points and 403 for content, so that a client meets both.
func (l *limits) take(c *credential, write bool) error {
	if l.world.unlimited {
		return nil
	}
	account, limit := c.account()
	b := l.budget(account, limit)
	if b.used >= b.limit {
		return &refusal{
			status: http.StatusForbidden, message: "API rate limit exceeded for " + account + ".",
			docs: "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api",
		}
	}
	b.used++
	points := 1
	if write {
		points = 5
	}
	if l.points == nil {
		l.points = map[string][]charge{}
	}
	now, sum := l.world.now(), points
	var recent []charge
	for _, ch := range l.points[account] {
		if now.Sub(ch.at) < time.Minute {
			recent = append(recent, ch)
			sum += ch.points
		}
	}
	if sum > pointsPerMinute {
		l.points[account] = recent
		return secondary(http.StatusTooManyRequests, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.", time.Minute)
	}
	l.points[account] = append(recent, charge{now, points})
	return nil
}

// create counts the creation of content: comments, pull requests and issues.
func (l *limits) create(c *credential) error {
	if l.world.unlimited || c.played {
		return nil
	}
	if l.content == nil {
		l.content = map[string][]time.Time{}
	}
	account, _ := c.account()
	now := l.world.now()
	var hour []time.Time
	minute := 0
	for _, t := range l.content[account] {
		if now.Sub(t) < time.Hour {
			hour = append(hour, t)
			if now.Sub(t) < time.Minute {
				minute++
			}
		}
	}
	l.content[account] = hour
	const message = "You have exceeded a secondary rate limit and have been temporarily blocked from content creation. Please retry your request again later."
	switch {
	case minute >= contentPerMinute:
		return secondary(http.StatusForbidden, message, time.Minute-now.Sub(hour[len(hour)-minute]))
	case len(hour) >= contentPerHour:
		return secondary(http.StatusForbidden, message, time.Hour-now.Sub(hour[0]))
	}
	l.content[account] = append(hour, now)
	return nil
}

func secondary(status int, message string, wait time.Duration) *refusal {
	seconds := int((wait + time.Second - 1) / time.Second)
	return &refusal{
		status: status, message: message, header: map[string]string{"Retry-After": strconv.Itoa(max(seconds, 1))},
		docs: "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits",
	}
}

// headers tells the primary limit of a credential.
func (l *limits) headers(h http.Header, c *credential) {
	if l.world.unlimited {
		return
	}
	account, limit := c.account()
	b := l.budget(account, limit)
	h.Set("X-RateLimit-Limit", strconv.Itoa(b.limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(b.limit-b.used))
	h.Set("X-RateLimit-Used", strconv.Itoa(b.used))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(b.reset.Unix(), 10))
	h.Set("X-RateLimit-Resource", "core")
}

// ExhaustRateLimit uses up what a token has left of its hour.
func (w *World) ExhaustRateLimit(token string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.tokens[token]
	if c == nil {
		return fmt.Errorf("using up the rate limit: no such token")
	}
	account, limit := c.account()
	b := w.limits.budget(account, limit)
	b.used = b.limit
	return nil
}

func getRateLimit(c *call) (answer, error) {
	account, limit := c.cred.account()
	b := c.w.limits.budget(account, limit)
	core := object{"limit": b.limit, "remaining": b.limit - b.used, "reset": b.reset.Unix(), "used": b.used}
	idle := object{"limit": 30, "remaining": 30, "reset": b.reset.Unix(), "used": 0}
	return ok(object{"resources": object{"core": core, "search": idle, "graphql": core}, "rate": core})
}
