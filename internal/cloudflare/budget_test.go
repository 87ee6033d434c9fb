package cloudflare

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// start is one call that the budget let through.
type started struct {
	at     time.Time
	urgent bool
}

// densest returns the largest number of calls in any span of this length.
func densest(calls []started, span time.Duration) int {
	most, first := 0, 0
	for i := range calls {
		for calls[i].at.Sub(calls[first].at) >= span {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// TestBudgetNeverExceedsTheLimit lets random crowds of calls loose, on synthetic time, and looks at every window.
func TestBudgetNeverExceedsTheLimit(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 1))
				b := &Budget{Limit: 5 + rng.IntN(60), Window: time.Minute, PerSecond: 1 + rng.IntN(20), GraphQL: 1 + rng.IntN(10), Reserve: []float64{0, 0.3, -1}[rng.IntN(3)]}
				var mu sync.Mutex
				var calls, queries []started
				var wg sync.WaitGroup
				for range 150 {
					u := use{urgent: rng.IntN(5) == 0, graphql: rng.IntN(8) == 0}
					late, took := time.Duration(rng.IntN(90))*time.Second, time.Duration(rng.IntN(3000))*time.Millisecond
					wg.Go(func() {
						time.Sleep(late)
						if _, err := b.acquire(t.Context(), u); err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						calls = append(calls, started{time.Now(), u.urgent})
						if u.graphql {
							queries = append(queries, started{time.Now(), u.urgent})
						}
						mu.Unlock()
						time.Sleep(took)
						b.done(u, nil, 0)
					})
				}
				wg.Wait()
				if len(calls) != 150 {
					t.Errorf("%d calls got through", len(calls))
				}
				if n := densest(calls, time.Minute); n > b.Limit {
					t.Errorf("%d calls in a minute, limit %d", n, b.Limit)
				}
				if n := densest(calls, time.Second); n > b.PerSecond {
					t.Errorf("%d calls in a second, limit %d", n, b.PerSecond)
				}
				if n := densest(queries, time.Minute); n > b.GraphQL {
					t.Errorf("%d queries in a minute, limit %d", n, b.GraphQL)
				}
				if b.Waiting() != 0 || b.flying != 0 {
					t.Errorf("%d wait, %d fly", b.Waiting(), b.flying)
				}
			})
		})
	}
}

// A wave of 500 goroutines asks for far more than there is. Urgent calls, a few at a time, never wait behind it.
func TestBudgetUrgentNeverStarves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Budget{} // the API's own limits
		ctx, stop := context.WithCancel(t.Context())
		var mu sync.Mutex
		var calls []started
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				for {
					if _, err := b.acquire(ctx, use{}); err != nil {
						return
					}
					mu.Lock()
					calls = append(calls, started{time.Now(), false})
					mu.Unlock()
					time.Sleep(50 * time.Millisecond)
					b.done(use{}, nil, 0)
				}
			})
		}
		for range 60 {
			time.Sleep(31 * time.Second)
			for range 6 {
				waited, err := b.acquire(ctx, use{urgent: true})
				if err != nil || waited > 0 {
					t.Errorf("an urgent call waited %v (%v)", waited, err)
				}
				mu.Lock()
				calls = append(calls, started{time.Now(), true})
				mu.Unlock()
				b.done(use{urgent: true}, nil, 0)
			}
		}
		stop()
		wg.Wait()
		if n := densest(calls, 5*time.Minute); n > 1200 {
			t.Errorf("%d calls in five minutes", n)
		}
		bulk := slices.DeleteFunc(slices.Clone(calls), func(s started) bool { return s.urgent })
		if n := densest(bulk, 5*time.Minute); n > 1080 {
			t.Errorf("%d bulk calls in five minutes touch the reserve of 120", n)
		}
		if n := len(bulk); n < 5000 { // 1,860 s are more than six windows
			t.Errorf("only %d bulk calls in %v", n, 60*31*time.Second)
		}
	})
}

func TestBudgetIsFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Budget{Limit: 1, Window: time.Second, Reserve: -1}
		if _, err := b.acquire(t.Context(), use{}); err != nil {
			t.Fatal(err)
		}
		var order []int
		var wg sync.WaitGroup
		leavers := map[int]context.CancelFunc{}
		for i := range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%3 == 0 {
				leavers[i] = cancel
			}
			wg.Go(func() {
				if _, err := b.acquire(ctx, use{}); err == nil {
					order = append(order, i) // one at a time: the limit is one
					b.done(use{}, nil, 0)
				} else if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
			synctest.Wait()
			if n := b.Waiting(); n != i+1 {
				t.Fatalf("%d wait, want %d", n, i+1)
			}
		}
		for _, leave := range leavers { // the first of the queue among them
			leave()
		}
		wg.Wait()
		if want := []int{1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
	})
}

// NextFree is what later happens.
func TestBudgetTellsTheWait(t *testing.T) {
	for _, tc := range []struct{ used, n int }{{0, 1}, {0, 9}, {0, 10}, {4, 5}, {4, 6}, {9, 1}, {9, 9}, {9, 10}, {3, 40}} {
		t.Run(fmt.Sprint(tc), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &Budget{Limit: 10, Window: time.Minute, PerSecond: 1000}
				get := func() {
					if _, err := b.acquire(t.Context(), use{}); err != nil {
						t.Fatal(err)
					}
					b.done(use{}, nil, 0)
				}
				for range tc.used {
					get()
					time.Sleep(3 * time.Second)
				}
				if got, want := b.Remaining(false), 9-tc.used; got != want {
					t.Errorf("%d remain, want %d", got, want)
				}
				if got, want := b.Remaining(true), 10-tc.used; got != want {
					t.Errorf("%d remain for urgent calls, want %d", got, want)
				}
				told, from := b.NextFree(tc.n, false), time.Now()
				for range tc.n {
					get()
				}
				if took := time.Since(from); took != told {
					t.Errorf("NextFree(%d) said %v, it took %v", tc.n, told, took)
				}
			})
		})
	}
}

// Whoever waits long is told once, and again when half a minute has passed.
func TestBudgetTellsPeople(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []time.Duration
		b := &Budget{Limit: 2, Window: time.Minute, Reserve: -1, Tell: func(wait time.Duration) { told = append(told, wait) }}
		for range 7 {
			if _, err := b.acquire(t.Context(), use{}); err != nil {
				t.Fatal(err)
			}
			b.done(use{}, nil, 0)
			time.Sleep(time.Second)
		}
		if len(told) != 3 || told[0] < longWait || told[0] > time.Minute+5*time.Second {
			t.Errorf("told of %v", told)
		}
	})
}

func TestBudgetLearns(t *testing.T) {
	header := func(kv ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(kv); i += 2 {
			h.Add(kv[i], kv[i+1])
		}
		return h
	}
	for name, tc := range map[string]struct {
		header        http.Header
		hold          time.Duration
		bulk, urgent  int           // remaining afterwards
		wait, nothing time.Duration // of the next bulk call; and until the lesson is forgotten
	}{
		"nothing":                 {nil, 0, 1079, 1199, 0, 0},
		"others used it":          {header("Ratelimit", `"default";r=130;t=30`), 0, 10, 130, 0, 30 * time.Second},
		"the reserve is left":     {header("Ratelimit", `"default";r=120;t=30`), 0, 0, 120, 30 * time.Second, 30 * time.Second},
		"all is used":             {header("Ratelimit", `"default";r=0;t=30`), 0, 0, 0, 30 * time.Second, 30 * time.Second},
		"more than we think":      {header("Ratelimit", `"default";r=4000;t=30`), 0, 1079, 1199, 0, 0},
		"the tightest of several": {header("Ratelimit", `"default";r=900;t=30, "burst";r=140;t=20`), 0, 20, 140, 0, 30 * time.Second},
		"two headers":             {header("Ratelimit", `"default";r=900;t=30`, "Ratelimit", `"burst";r=140;t=20`), 0, 20, 140, 0, 30 * time.Second},
		"absurd time":             {header("Ratelimit", `"default";r=0;t=999999999`), 0, 0, 0, 305 * time.Second, 305 * time.Second},
		"malformed":               {header("Ratelimit", `r=;;t=x,"a";r=-4;t=3,;=,r=99999999999999;t=1`), 0, 1079, 1199, 0, 0},
		"a tighter policy":        {header("Ratelimit-Policy", `"default";q=100;w=300`), 0, 89, 99, 0, 0},
		"a looser policy":         {header("Ratelimit-Policy", `"default";q=90000;w=300`), 0, 1079, 1199, 0, 0},
		"a policy of nothing":     {header("Ratelimit-Policy", `"default";q=0;w=300`), 0, 1079, 1199, 0, 0},
		"a 429":                   {nil, 5 * time.Minute, 0, 0, 5 * time.Minute, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &Budget{}
				if _, err := b.acquire(t.Context(), use{}); err != nil {
					t.Fatal(err)
				}
				b.done(use{}, tc.header, tc.hold)
				if got := b.Remaining(false); got != tc.bulk {
					t.Errorf("%d remain, want %d", got, tc.bulk)
				}
				if got := b.Remaining(true); got != tc.urgent {
					t.Errorf("%d remain for urgent calls, want %d", got, tc.urgent)
				}
				if got := b.NextFree(1, false); got != tc.wait {
					t.Errorf("the next call waits %v, want %v", got, tc.wait)
				}
				time.Sleep(tc.nothing)
				if got := b.Remaining(true); tc.nothing > 0 && got < 1199 {
					t.Errorf("%d remain after %v", got, tc.nothing)
				}
			})
		})
	}
}

// While calls are under way the API's count lags behind, so they are taken off it.
func TestBudgetCountsCallsOnTheirWay(t *testing.T) {
	b := &Budget{}
	for range 10 {
		if _, err := b.acquire(context.Background(), use{}); err != nil {
			t.Fatal(err)
		}
	}
	b.done(use{}, http.Header{"Ratelimit": {`"default";r=200;t=30`}}, 0)
	if got := b.Remaining(true); got != 200-9 {
		t.Errorf("%d remain, want 191", got)
	}
}

func TestBudgetIsSharedByTheToken(t *testing.T) {
	made := 0
	budgets := &Budgets{New: func() *Budget { made++; return &Budget{Limit: 7} }}
	a, b, c := budgets.For("one"), budgets.For("two"), budgets.For("one")
	if a != c || a == b || made != 2 || a.Limit != 7 {
		t.Errorf("got %p %p %p, %d made", a, b, c, made)
	}
	if new(Budgets).For("x") == nil {
		t.Error("the zero value gives no Budget")
	}

	w := newWorld(t, script(ok(`[]`)))
	w.Budget = &Budget{Limit: 10, Reserve: -1, Now: w.clock.Now, Sleep: w.clock.Sleep}
	other := &Client{BaseURL: w.BaseURL, AccountID: "another", Token: testToken, Transport: w.Transport, Budget: w.Budget}
	for _, c := range []*Client{w.Client, other, w.ReadOnly(), other.ReadOnly()} {
		if err := read(c); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.Budget.Remaining(true); got != 6 {
		t.Errorf("%d calls remain, want 6", got)
	}
	// A client without a Budget shares its own with its read-only twin.
	alone := &Client{BaseURL: w.BaseURL, AccountID: "another", Token: testToken, Transport: w.Transport}
	if err := read(alone.ReadOnly()); err != nil || alone.wire.budget.Remaining(true) != 1199 {
		t.Errorf("%v, %d remain", err, alone.wire.budget.Remaining(true))
	}
}

// A 429 for one client holds the others of the token, and each attempt counts.
func TestBudgetHoldsEverybodyAfterA429(t *testing.T) {
	w := newWorld(t, script(answer{429, "", map[string]string{"Retry-After": "120"}}, ok(`[]`)))
	w.Budget = &Budget{Now: w.clock.Now, Sleep: w.clock.Sleep}
	w.Attempts = 1
	urgent := &Client{BaseURL: w.BaseURL, AccountID: "a", Token: testToken, Transport: w.Transport, Budget: w.Budget, Urgent: true, Observe: w.Observe}
	if err := read(w.Client); !errors.Is(err, ErrRateLimited) {
		t.Fatal(err)
	}
	if err := read(urgent); err != nil {
		t.Fatal(err)
	}
	if got := w.observed()[1].Waited; got != 2*time.Minute {
		t.Errorf("the other client waited %v, want 2m", got)
	}
	if got := w.Budget.Remaining(true); got != 1198 {
		t.Errorf("%d remain, want 1198", got)
	}
}

func TestGraphQLHasItsOwnLimit(t *testing.T) {
	w := newWorld(t, script(answer{status: 200, body: `{"data":{"viewer":{"n":1}},"errors":null}`}))
	w.Budget = &Budget{GraphQL: 2, Reserve: -1, Now: w.clock.Now, Sleep: w.clock.Sleep}
	var out struct{ Viewer struct{ N int } }
	for range 3 {
		if err := w.GraphQL(context.Background(), "{viewer{n}}", nil, &out); err != nil || out.Viewer.N != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	if len(w.clock.slept) != 1 || w.clock.slept[0] < 5*time.Minute {
		t.Errorf("waited %v, want five minutes once", w.clock.slept)
	}
	if got := w.Budget.Remaining(true); got != 1199 { // the first two are forgotten by now
		t.Errorf("%d remain", got)
	}
}

func TestGraphQLFailures(t *testing.T) {
	for name, a := range map[string]answer{
		"errors beside data": {status: 200, body: `{"data":{"viewer":{}},"errors":[{"message":"unknown field"}]}`},
		"no data":            {status: 200, body: `{"errors":null}`},
		"data null":          {status: 200, body: `{"data":null,"errors":null}`},
		"the envelope":       no(403, 10000, "Authentication error"),
	} {
		w := newWorld(t, script(a))
		var out map[string]any
		if err := w.GraphQL(context.Background(), "{viewer{n}}", nil, &out); err == nil {
			t.Errorf("%s: got %v", name, out)
		}
	}
}
