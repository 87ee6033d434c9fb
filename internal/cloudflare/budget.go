package cloudflare

import (
	"context"
	"crypto/sha256"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The API's limits for one token (field.md §5): 1,200 calls in any 5 minutes, and whoever goes over is blocked for the
// next 5; 200 calls a second from one address; for GraphQL 300 queries in 5 minutes, which we count in the 1,200 too.
const (
	defaultLimit     = 1200
	defaultWindow    = 5 * time.Minute
	defaultPerSecond = 200
	defaultGraphQL   = 300
	defaultReserve   = 0.1
)

// Budget hands out the calls that one token may make. Give every client of a token the same Budget (see [Budgets]);
// the zero value has the API's documented limits. Set the fields before the first call; all methods are safe for
// concurrent use.
//
// Calls are let through in the order they came, those of Urgent clients in a queue of their own: a share of every limit
// is kept for them, which other calls cannot use up, so that a rollback gets through while a wave waits.
// Answers teach it: Ratelimit headers count what other programs did with the token, a stricter Ratelimit-Policy replaces
// Limit, and a 429 holds everybody for as long as the API asks.
type Budget struct {
	Limit     int           // calls in a Window; 0 means 1,200
	Window    time.Duration // 0 means 5 minutes
	PerSecond int           // 0 means 200
	GraphQL   int           // GraphQL queries in a Window; 0 means 300
	Reserve   float64       // the share of each limit that only Urgent clients may use; 0 means 0.1, below 0 none

	// Tell is told how long the next call waits, where that is long enough for people to wonder; again after half a minute.
	// Calls of it may meet those of other budgets.
	Tell func(wait time.Duration)

	Now   func() time.Time                           // nil means time.Now
	Sleep func(context.Context, time.Duration) error // nil means a timer; must return the context's error when it is done

	mu      sync.Mutex
	ready   bool
	calls   window
	second  window
	graphql window
	pause   time.Time
	told    time.Time
	flying  int
	queues  [4]queue
}

// longWait is the shortest wait that people are told of.
const longWait = 3 * time.Second

// use is what a call wants from the budget.
type use struct{ urgent, graphql bool }

// queue holds the waiting calls, first come first; only the first one is awake, the others wait for its channel to close.
type queue []chan struct{}

// Remaining tells how many calls could start now.
func (b *Budget) Remaining(urgent bool) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.start()
	if now.Before(b.pause) {
		return 0
	}
	return b.calls.free(now, urgent)
}

// NextFree tells how long from now the n-th further call would wait behind those already waiting, as far as known now:
// 0 means not at all. It is an estimate for progress lines, and for saying before a wave how long it will take.
func (b *Budget) NextFree(n int, urgent bool) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.start()
	n += len(b.queues[use{urgent: urgent}.queue()])
	return max(b.pause.Sub(now), b.calls.wait(now, n, urgent), b.second.wait(now, n, urgent), 0)
}

// Waiting tells how many calls wait for their turn.
func (b *Budget) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, q := range b.queues {
		n += len(q)
	}
	return n
}

// acquire waits until one more call may start, and counts it. It returns how long that took, or the context's error.
// After a success the caller must call done once.
func (b *Budget) acquire(ctx context.Context, u use) (time.Duration, error) {
	turn := make(chan struct{})
	b.mu.Lock()
	began := b.start()
	q := &b.queues[u.queue()]
	*q = append(*q, turn)
	first := len(*q) == 1
	b.mu.Unlock()
	defer b.leave(q, turn)

	if !first {
		select {
		case <-turn:
		case <-ctx.Done():
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		b.mu.Lock()
		now := b.start()
		wait := max(b.pause.Sub(now), b.calls.wait(now, 1, u.urgent), b.second.wait(now, 1, u.urgent))
		if u.graphql {
			wait = max(wait, b.graphql.wait(now, 1, u.urgent))
		}
		if wait <= 0 {
			b.calls.take(now)
			b.second.take(now)
			if u.graphql {
				b.graphql.take(now)
			}
			b.flying++
			b.mu.Unlock()
			return now.Sub(began), nil
		}
		tell := b.Tell != nil && wait >= longWait && now.Sub(b.told) >= 30*time.Second
		if tell {
			b.told = now
		}
		b.mu.Unlock()
		if tell {
			b.Tell(wait)
		}
		sleep := b.Sleep
		if sleep == nil {
			sleep = sleepContext
		}
		if err := sleep(ctx, wait); err != nil {
			return 0, err
		}
	}
}

// leave takes a call out of its queue and wakes the next one when it was the first.
func (b *Budget) leave(q *queue, turn chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, t := range *q {
		if t != turn {
			continue
		}
		*q = append((*q)[:i], (*q)[i+1:]...)
		if i == 0 && len(*q) > 0 {
			close((*q)[0])
		}
		return
	}
}

// done takes back a finished call, with the headers of its answer (nil when there was none) and, when the API refused it
// for its rate, how long to hold everybody.
func (b *Budget) done(u use, h http.Header, hold time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.start()
	b.flying--
	if until := now.Add(hold); hold > 0 && until.After(b.pause) {
		b.pause = until
	}
	w := &b.calls
	if u.graphql {
		w = &b.graphql
	}
	w.learn(now, h, b.flying)
}

// start fills in the defaults on first use and tells the time. The caller holds mu.
func (b *Budget) start() time.Time {
	if !b.ready {
		b.ready = true
		span := orDefault(b.Window, defaultWindow)
		share := orDefault(b.Reserve, defaultReserve)
		b.calls = newWindow(orDefault(b.Limit, defaultLimit), span, share)
		b.second = newWindow(orDefault(b.PerSecond, defaultPerSecond), time.Second, share)
		b.graphql = newWindow(orDefault(b.GraphQL, defaultGraphQL), span, share)
	}
	if b.Now != nil {
		return b.Now()
	}
	return time.Now()
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

func (u use) queue() int {
	i := 0
	if u.urgent {
		i = 1
	}
	if u.graphql {
		i += 2
	}
	return i
}

// window counts calls over a sliding span: at most limit of them in any span, of which bulk calls may use all but the
// reserve. Counting over a sliding span is safe whether the API's own windows slide or start at fixed times.
type window struct {
	limit   int
	share   float64
	span    time.Duration
	started []time.Time // of the calls inside the span, oldest first

	left  int       // what the API said is left, less what is on its way; holds until the time below
	until time.Time // zero: nothing heard
}

// newWindow adds a sixtieth to the span: calls need time to travel, and two that left five minutes apart may arrive closer.
func newWindow(limit int, span time.Duration, share float64) window {
	return window{limit: limit, share: max(share, 0), span: span + span/60}
}

func (w *window) reserved() int { return min(int(float64(w.limit)*w.share), w.limit-1) }

func (w *window) allowed(urgent bool) int {
	if urgent {
		return w.limit
	}
	return w.limit - w.reserved()
}

// prune forgets what left the span.
func (w *window) prune(now time.Time) {
	i := 0
	for i < len(w.started) && now.Sub(w.started[i]) >= w.span {
		i++
	}
	w.started = w.started[i:]
	if !now.Before(w.until) {
		w.until = time.Time{}
	}
}

// known is how many calls the API's last word lets through until it lapses.
func (w *window) known(urgent bool) int {
	switch {
	case w.until.IsZero():
		return math.MaxInt
	case urgent:
		return max(w.left, 0)
	}
	return max(w.left-w.reserved(), 0)
}

// free is how many calls may start now.
func (w *window) free(now time.Time, urgent bool) int {
	w.prune(now)
	return max(min(w.allowed(urgent)-len(w.started), w.known(urgent)), 0)
}

// wait is how long from now until the n-th further call may start.
func (w *window) wait(now time.Time, n int, urgent bool) time.Duration {
	w.prune(now)
	var server, own time.Duration
	if n > w.known(urgent) {
		server = w.until.Sub(now)
	}
	// Number the calls from the oldest inside the span: each may start a span after the one that is a limit before it.
	i := len(w.started) + n - 1
	for i >= len(w.started) {
		if i < w.allowed(urgent) {
			return max(own, server)
		}
		i -= w.allowed(urgent)
		own += w.span
	}
	return max(own+w.started[i].Sub(now), server)
}

func (w *window) take(now time.Time) {
	w.started = append(w.started, now)
	w.left--
}

// learn reads `Ratelimit: "default";r=50;t=30` (50 left, for 30 s) and `Ratelimit-Policy: "default";q=1200;w=300`.
// Calls on their way may not be counted in r yet, so they are taken off. A policy looser than ours changes nothing:
// a proxy's word is not worth a block of five minutes.
func (w *window) learn(now time.Time, h http.Header, flying int) {
	heard := false
	for _, item := range rateItems(h.Values("Ratelimit")) {
		left, ok := item["r"]
		if seconds := item["t"]; !ok || left < 0 || seconds <= 0 || heard && left-flying >= w.left {
			continue
		}
		heard = true
		w.left = left - flying
		w.until = now.Add(min(time.Duration(item["t"])*time.Second, w.span))
	}
	for _, item := range rateItems(h.Values("Ratelimit-Policy")) {
		quota, span := item["q"], time.Duration(item["w"])*time.Second
		if quota > 0 && quota < w.limit && span > 0 && span <= w.span {
			w.limit = quota
		}
	}
}

// rateItems parses the parameters of the comma-separated items of a rate limit header; malformed ones are left out.
func rateItems(values []string) []map[string]int {
	var items []map[string]int
	for _, text := range strings.Split(strings.Join(values, ","), ",") {
		item := map[string]int{}
		for _, param := range strings.Split(text, ";") {
			key, value, _ := strings.Cut(strings.TrimSpace(param), "=")
			if n, err := strconv.ParseInt(value, 10, 32); err == nil {
				item[key] = int(n)
			}
		}
		items = append(items, item)
	}
	return items
}

// Budgets keeps one Budget for each token, since accounts may share a token and a token has one limit.
// The zero value is ready; it is safe for concurrent use and holds no token, only its hash.
type Budgets struct {
	New func() *Budget // makes a Budget; nil means the zero value

	mu      sync.Mutex
	byToken map[[sha256.Size]byte]*Budget
}

// For returns the token's Budget, the same one for the same token.
func (b *Budgets) For(token Secret) *Budget {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := sha256.Sum256([]byte(token))
	if b.byToken == nil {
		b.byToken = map[[sha256.Size]byte]*Budget{}
	}
	if b.byToken[key] == nil {
		b.byToken[key] = new(Budget)
		if b.New != nil {
			b.byToken[key] = b.New()
		}
	}
	return b.byToken[key]
}
