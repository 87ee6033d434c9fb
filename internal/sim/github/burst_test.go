package github_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim/github"
)

// TestBurst plays ten thousand comments, many at once, of which the App's host refuses every tenth for the first time.
func TestBurst(t *testing.T) {
	const many = 10_000
	var mu sync.Mutex
	seen := map[string]int{}
	var now, most atomic.Int64
	host := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		mu.Lock()
		defer mu.Unlock()
		guid := r.Header.Get("X-GitHub-Delivery")
		seen[guid]++
		if seen[guid] == 1 && len(seen)%10 == 0 {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(host.Close)
	s := newScene(t, github.Options{Unlimited: true})
	app := newApp(t, s, map[string]string{"issues": "read"}, host.URL, "issue_comment")
	issue, err := s.helm.OpenIssue("wanda", "Fleet", "")
	if err != nil {
		t.Fatal(err)
	}
	s.DeliverAtOnce(32)
	s.HoldDeliveries()
	start := time.Now()
	for range many {
		mustID(s.helm.Comment("wanda", issue, "/rollback"))
	}
	said := time.Since(start)
	s.Settle()
	if len(seen) != 0 {
		t.Fatalf("%d came while they were held back", len(seen))
	}
	s.ReleaseDeliveries()
	s.Settle()
	t.Logf("said in %v, delivered in %v, up to %d at once", said, time.Since(start)-said, most.Load())
	if len(seen) != many || most.Load() < 2 {
		t.Fatalf("%d deliveries, up to %d at once", len(seen), most.Load())
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %v", took)
	}

	// GitHub's own recipe: page through what failed, and ask for it again.
	jwt := app.client()
	failed := map[string]int64{}
	last := int64(1 << 62)
	for path, pages := "/app/hook/deliveries?status=failure&per_page=100", 0; path != ""; pages++ {
		g := jwt.do(200, "GET", path, nil)
		for n := range g.len() {
			if id := g.number(n, "id"); id >= last {
				t.Fatalf("delivery %d comes after %d", id, last)
			} else {
				last = id
			}
			if g.number(n, "status_code") != 503 || g.text(n, "status") == "OK" {
				t.Fatalf("failed: %v", g.at(n))
			}
			failed[g.text(n, "guid")] = g.number(n, "id")
		}
		if link := g.header.Get("Link"); link != "" {
			path = strings.TrimPrefix(link[1:strings.IndexByte(link, '>')], s.API)
		} else {
			path = ""
		}
		if pages > many/100 {
			t.Fatal("the pages do not end")
		}
	}
	if len(failed) != many/10 {
		t.Fatalf("%d failed, want %d", len(failed), many/10)
	}
	for _, id := range failed {
		jwt.do(202, "POST", fmt.Sprintf("/app/hook/deliveries/%d/attempts", id), nil)
	}
	s.Settle()
	for guid := range failed {
		if seen[guid] != 2 {
			t.Fatalf("%s came %d times", guid, seen[guid])
		}
	}
	if g := jwt.do(200, "GET", "/app/hook/deliveries?status=success&per_page=1", nil); g.at(0, "redelivery") != true || g.number(0, "status_code") != 200 {
		t.Errorf("the newest: %v", g.body)
	}
	if list := app.Deliveries(); len(list) != many+many/10 || !slices.IsSortedFunc(list, func(a, b github.Delivery) int { return int(a.ID - b.ID) }) {
		t.Errorf("%d attempts", len(list))
	}
}

// What is sent by hand goes as it is; a host that cannot be reached or answers nothing useful is a failure.
func TestSend(t *testing.T) {
	hooks := newReceiver(t)
	s := newScene(t, github.Options{})
	app := newApp(t, s, nil, hooks.URL, "push")
	recorded, err := os.ReadFile(filepath.Join("..", "..", "..", "testdata", "contracts", "github", "webhooks", "issue_comment.created.json"))
	if err != nil {
		t.Fatal(err)
	}
	guid, err := app.Send("issue_comment", recorded)
	if err != nil {
		t.Fatal(err)
	}
	hostile, err := app.Send("no_event", []byte("{\x00"))
	if err != nil {
		t.Fatal(err)
	}
	got := hooks.take(s)
	if len(got) != 2 || string(got[0].raw) != string(recorded) || got[0].header.Get("X-GitHub-Delivery") != guid || got[0].header.Get("X-GitHub-Event") != "issue_comment" ||
		!strings.HasPrefix(got[1].header.Get("X-Hub-Signature-256"), "sha256=") || string(got[1].raw) != "{\x00" {
		t.Fatalf("sent: %v", told(got))
	}
	list := app.Deliveries()
	if len(list) != 2 || list[0].Action != "created" || list[0].Code != 200 || list[1].GUID != hostile {
		t.Errorf("deliveries: %+v", list)
	}
	app.client().do(200, "GET", fmt.Sprint("/app/hook/deliveries/", list[1].ID), nil)
	if err := app.Redeliver(guid); err != nil {
		t.Fatal(err)
	}
	if again := hooks.take(s); len(again) != 1 || again[0].header.Get("X-GitHub-Delivery") != guid || string(again[0].raw) != string(recorded) {
		t.Errorf("again: %v", again)
	}
	if app.Redeliver("none") == nil {
		t.Error("a delivery that was not there was sent again")
	}
	for code, ok := range map[int]bool{503: false, 404: false, 302: false, 202: true} {
		hooks.answers(code)
		if _, err := app.Send("push", []byte("{}")); err != nil {
			t.Fatal(err)
		}
		hooks.take(s)
		list := app.Deliveries()
		if last := list[len(list)-1]; last.Code != code {
			t.Errorf("%+v, want %d", last, code)
		}
		g := app.client().do(200, "GET", "/app/hook/deliveries?per_page=1", nil)
		if (g.text(0, "status") == "OK") != ok || g.number(0, "status_code") != int64(code) {
			t.Errorf("%d is %v", code, g.body)
		}
	}
	hooks.CloseClientConnections()
	hooks.Listener.Close()
	if _, err := app.Send("push", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	s.Settle()
	if g := app.client().do(200, "GET", "/app/hook/deliveries?status=failure&per_page=1", nil); g.number(0, "status_code") != 0 || g.text(0, "status") == "OK" {
		b, _ := json.Marshal(g.body)
		t.Errorf("nobody there: %s", b)
	}
}
