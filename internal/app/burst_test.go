package app

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sim "github.com/kvick/shopfleet/internal/sim/github"
)

// recorder takes deliveries and keeps them, to be sent at another time.
type recorder struct {
	*httptest.Server
	mu  sync.Mutex
	got []recorded
}

type recorded struct {
	header http.Header
	body   []byte
}

func newRecorder(t testing.TB) *recorder {
	r := &recorder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, recorded{req.Header.Clone(), b})
	}))
	t.Cleanup(r.Close)
	return r
}

var claimPath = regexp.MustCompile(`/issues/comments/(\d+)/reactions$`)

// claims notes when each comment got its reaction, as GitHub sees it.
type claims struct {
	delay time.Duration // of each call, as the network has
	mu    sync.Mutex
	at    map[int64]time.Time
	armed atomic.Bool
}

func (c *claims) wrap(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.armed.Load() {
			time.Sleep(c.delay)
		}
		api.ServeHTTP(w, r)
		if m := claimPath.FindStringSubmatch(r.URL.Path); m != nil && r.Method == "POST" {
			id, _ := strconv.ParseInt(m[1], 10, 64)
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.at[id].IsZero() {
				c.at[id] = time.Now()
			}
		}
	})
}

var commentID = regexp.MustCompile(`"comment":\{[^{}]*?"id":(\d+)`)

// TestBurst sends 2,000 deliveries at once, with as many connections as GitHub might have. Each order gets one claim and one
// answer. How long the claims took is in the log of the test (SHOPFLEET_FIGURES= go test -v -run Burst): it is a figure and no assertion.
func TestBurst(t *testing.T) {
	for i, test := range []struct {
		name        string
		orders      int // one of so many deliveries is an order
		connections int
		pace        time.Duration // between two of a connection
		delay       time.Duration // of each call of GitHub's
		real        bool          // desk
	}{
		{"at once, one order in forty", 40, 64, 0, 0, false},
		{"at once, one order in forty, 50 ms for each call", 40, 64, 0, 50 * time.Millisecond, false},
		{"at once, one order in a hundred, the real desk", 100, 64, 0, 0, true},
		{"at once, one order in a hundred, the real desk, 50 ms for each call", 100, 64, 0, 50 * time.Millisecond, true},
		{"at once, nothing but orders", 1, 64, 0, 0, false},
		{"in ten seconds, nothing but orders", 1, 20, 100 * time.Millisecond, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, all := os.LookupEnv("SHOPFLEET_FIGURES"); i > 0 && !all {
				t.Skip("a figure: set SHOPFLEET_FIGURES")
			}
			burst(t, 2000, test.orders, test.connections, test.pace, test.delay, test.real)
		})
	}
}

func burst(t *testing.T, deliveries, every, connections int, pace, delay time.Duration, real bool) {
	record, seen := newRecorder(t), &claims{delay: delay, at: map[int64]time.Time{}}
	h := newHub(t, record.URL, sim.Options{Wrap: seen.wrap})
	var desk Desk
	if real {
		desk = h.desk(t)
	} else {
		hand := &deskhand{client: h.client(), api: h.api, wire: h.wire, blind: true}
		if _, err := hand.client.Permission(t.Context(), "operator"); err != nil { // which has the token minted
			t.Fatal(err)
		}
		desk = hand
	}
	orders := map[int64]bool{}
	for i := range deliveries {
		text := "it looks fine to me"
		if i%every == 0 {
			text = fmt.Sprintf("/plan shop%d", i%50)
			if real {
				text = "/help"
			}
		}
		id := h.comment(t, text)
		if text[0] == '/' {
			orders[id] = true
		}
	}
	h.Settle()
	if len(record.got) != deliveries {
		t.Fatalf("%d deliveries", len(record.got))
	}
	seen.armed.Store(true)
	r := start(t, &Server{Repository: "acme/helm", Queue: deliveries}, desk)
	wire := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	var mu sync.Mutex
	sent := map[int64]time.Time{}
	var answers []time.Duration
	next := make(chan recorded)
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			for d := range next {
				req, _ := http.NewRequest("POST", r.url+WebhookPath, bytes.NewReader(d.body))
				req.Header = d.header
				id, _ := strconv.ParseInt(string(commentID.FindSubmatch(d.body)[1]), 10, 64)
				began := time.Now()
				mu.Lock()
				sent[id] = began
				mu.Unlock()
				resp, err := wire.Do(req)
				if err != nil {
					t.Error(err)
					continue
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 202 {
					t.Errorf("answered %d", resp.StatusCode)
				}
				mu.Lock()
				answers = append(answers, time.Since(began))
				mu.Unlock()
				time.Sleep(pace)
			}
		})
	}
	began := time.Now()
	for _, d := range record.got {
		next <- d
	}
	close(next)
	all.Wait()
	took := time.Since(began)
	eventually(t, "not all is carried out", func() bool {
		_, text := r.get(t, "/metrics")
		return strings.Contains(text, fmt.Sprintf("outcome=\"answered\"} %d\n", len(orders)))
	})
	var claimed []time.Duration
	for id := range orders {
		if seen.at[id].IsZero() {
			t.Errorf("nobody claimed %d", id)
			continue
		}
		claimed = append(claimed, seen.at[id].Sub(sent[id]))
	}
	answered := h.answers(t)
	for id := range orders {
		if n := answered[answerTo(id)]; n != 1 {
			t.Errorf("%d was answered %d times", id, n)
		}
	}
	at := func(list []time.Duration, q float64) time.Duration {
		slices.Sort(list)
		return list[min(int(q*float64(len(list))), len(list)-1)].Round(100 * time.Microsecond)
	}
	t.Logf("%d deliveries in %s, %d orders: to the claim p50 %s, p99 %s, at most %s; to the answer of the webhook p50 %s, p99 %s", deliveries, took.Round(time.Millisecond),
		len(claimed), at(claimed, 0.5), at(claimed, 0.99), at(claimed, 1), at(answers, 0.5), at(answers, 0.99))
}
