package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/github"
)

func TestDelivered(t *testing.T) {
	desk := &clerk{}
	r := start(t, &Server{}, desk)
	ours := func(m map[string]any) { m["repository"].(map[string]any)["full_name"] = "codertocat/hello-world" }
	for i, test := range []struct {
		kind string
		body []byte
		want string
	}{
		{"ping", payload(t, "ping", nil), "200 pong"},
		{"issue_comment", comment(t, 1, "/plan a"), "202 queued"},
		{"issue_comment", comment(t, 2, "hello"), "202 queued"},
		{"issue_comment", payload(t, "issue_comment.edited", nil), "200 ignored"},
		{"push", payload(t, "push", nil), "200 ignored"},
		{"check_run", payload(t, "check_run.requested_action", ours), "202 queued"},
		{"pull_request", payload(t, "pull_request.opened", ours), "202 queued"},
		{"pull_request", payload(t, "pull_request.closed", nil), "200 ignored"},
		{"installation", payload(t, "installation.created", nil), "200 ignored"},
		{"a_kind_of_tomorrow", []byte(`{"action":"created"}`), "200 ignored"},
		{"issue_comment", payload(t, "issue_comment.created", func(m map[string]any) { m["repository"].(map[string]any)["full_name"] = "evil/helm" }), "200 another repository"},
	} {
		if got := r.deliver(t, test.kind, guid(i), test.body); got != test.want {
			t.Errorf("%s: %s, want %s", test.kind, got, test.want)
		}
	}
	eventually(t, "the order is not carried out", func() bool { return len(desk.done()) == 1 })
	r.stop()
	if err := r.ended(t); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(desk.carried, desk.presented); got != "[[plan a 1]] [pull_request.opened]" {
		t.Error(got)
	}
}

// TestNoDeliveries sends what is not from GitHub, or not whole. None of it is heard, and the server goes on.
func TestNoDeliveries(t *testing.T) {
	desk := &clerk{}
	r := start(t, &Server{}, desk)
	good := comment(t, 1, "/rollback a")
	type change = func(req *http.Request)
	header := func(name, value string) change {
		return func(req *http.Request) { req.Header.Set(name, value) }
	}
	body := func(b []byte) change {
		return func(req *http.Request) { req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b)) }
	}
	large := bytes.Repeat([]byte(" "), 25<<20+1)
	form := []byte("payload=" + strings.ReplaceAll(string(good), "&", "%26"))
	for _, test := range []struct {
		name   string
		change change
		want   []int
	}{
		{"forged", header("X-Hub-Signature-256", sign("guessed", good)), []int{401, 403}},
		{"signed with nothing", header("X-Hub-Signature-256", sign("", good)), []int{401, 403}},
		{"not signed", func(req *http.Request) { req.Header.Del("X-Hub-Signature-256") }, []int{400, 401, 403}},
		{"signed the old way", func(req *http.Request) {
			req.Header.Del("X-Hub-Signature-256")
			req.Header.Set("X-Hub-Signature", "sha1=0123456789012345678901234567890123456789")
		}, []int{400, 401, 403}},
		{"half a signature", header("X-Hub-Signature-256", sign(secret, good)[:40]), []int{400, 401, 403}},
		{"another's body", body(comment(t, 2, "/rollback b")), []int{401, 403}},
		{"truncated", body(good[:len(good)/2]), []int{401, 403}},
		{"truncated and signed", func(req *http.Request) {
			body(good[:len(good)/2])(req)
			header("X-Hub-Signature-256", sign(secret, good[:len(good)/2]))(req)
		}, []int{400, 422}},
		{"a form", func(req *http.Request) {
			body(form)(req)
			header("X-Hub-Signature-256", sign(secret, form))(req)
			header("Content-Type", "application/x-www-form-urlencoded")(req)
		}, []int{415}},
		{"a form that says it is JSON", func(req *http.Request) {
			body(form)(req)
			header("X-Hub-Signature-256", sign(secret, form))(req)
		}, []int{400, 422}},
		{"more than 25 MB", func(req *http.Request) {
			body(large)(req)
			header("X-Hub-Signature-256", sign(secret, large))(req)
		}, []int{413}},
		{"empty", body(nil), []int{400, 401, 403}},
		{"GET", func(req *http.Request) { req.Method = "GET"; body(nil)(req) }, []int{405}},
		{"elsewhere", func(req *http.Request) { req.URL.Path = "/" }, []int{404}},
	} {
		req := r.request(t, "issue_comment", guid(1), good)
		test.change(req)
		status, said := r.send(t, req)
		if !slices.Contains(test.want, status) || strings.Contains(said, "rollback") {
			t.Errorf("%s: %d %s, want %v", test.name, status, said, test.want)
		}
	}
	// None of that made the delivery a known one.
	if got := r.deliver(t, "issue_comment", guid(1), good); got != "202 queued" {
		t.Error(got)
	}
	eventually(t, "the order is not carried out", func() bool { return len(desk.done()) == 1 })
	if len(desk.heard) != 1 {
		t.Errorf("heard were %v", desk.heard)
	}
	for _, text := range []string{secret, oldSecret, "guessed", "rollback b"} {
		if strings.Contains(r.log.String(), text) {
			t.Errorf("%q is in the log", text)
		}
	}
}

// TestTruncatedOnTheWay ends the connection in the middle of a body.
func TestTruncatedOnTheWay(t *testing.T) {
	desk := &clerk{}
	r := start(t, &Server{}, desk)
	good := comment(t, 1, "/plan a")
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nX-GitHub-Event: issue_comment\r\nX-GitHub-Delivery: %s\r\nX-Hub-Signature-256: %s\r\nContent-Length: %d\r\n\r\n%s",
		WebhookPath, r.addr, guid(1), sign(secret, good), len(good), good[:len(good)-1])
	c.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(c)
	c.Close()
	if text := string(answer); text != "" && !strings.HasPrefix(text, "HTTP/1.1 4") {
		t.Error(text)
	}
	if got := r.deliver(t, "issue_comment", guid(1), good); got != "202 queued" {
		t.Error(got)
	}
}

// TestLargestPayload takes what GitHub just sends.
func TestLargestPayload(t *testing.T) {
	desk := &clerk{}
	r := start(t, &Server{}, desk)
	body := comment(t, 1, "/plan a")
	body = append(body, bytes.Repeat([]byte(" "), 25<<20-len(body))...)
	if got := r.deliver(t, "issue_comment", guid(1), body); got != "202 queued" {
		t.Error(got)
	}
	eventually(t, "the order is not carried out", func() bool { return len(desk.done()) == 1 })
}

// TestTooMuchAtATime holds the bodies of many together to a limit.
func TestTooMuchAtATime(t *testing.T) {
	r := &running{Server: (&Server{Repository: "a/b"}).withDefaults(), count: newCounters(), seen: newSeen(10), lanes: newLanes(1), urgent: make(chan delivered, 1)}
	r.Hook, _ = github.NewHook(0, secret)
	r.state.Store(accepting)
	r.weight.Store(maxWeight - 10)
	body := comment(t, 1, "/plan a")
	req, _ := http.NewRequest("POST", "/webhook", bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Event", "issue_comment")
	req.Header.Set("X-GitHub-Delivery", guid(1))
	req.Header.Set("X-Hub-Signature-256", sign(secret, body))
	if status, said := r.take(req); status != 503 {
		t.Errorf("%d %s", status, said)
	}
	if r.weight.Load() != maxWeight-10 {
		t.Error("a body is still counted that nobody reads any more")
	}
}

func TestReplayed(t *testing.T) {
	desk := &clerk{}
	var broken atomic.Bool
	broken.Store(true)
	desk.hearing = func(o *command.Order) error {
		if o.Comment == 3 && broken.Load() {
			return errBroken
		}
		if o.Comment == 4 && broken.Load() {
			panic("out of order")
		}
		return nil
	}
	r := start(t, &Server{}, desk)
	same := comment(t, 1, "/plan a")
	for i, want := range []string{"202 queued", "200 seen", "200 seen"} {
		if got := r.deliver(t, "issue_comment", guid(1), same); got != want {
			t.Errorf("time %d: %s, want %s", i+1, got, want)
		}
	}
	// The GUID is not signed: under another one the claim has to hold.
	if got := r.deliver(t, "issue_comment", guid(2), same); got != "202 queued" {
		t.Error(got)
	}
	for id := 3; id <= 4; id++ {
		fails := comment(t, id, "/plan b")
		if got := r.deliver(t, "issue_comment", guid(id), fails); got != "202 queued" {
			t.Error(got)
		}
		eventually(t, "it does not come through again", func() bool {
			return r.deliver(t, "issue_comment", guid(id), fails) == "202 queued"
		})
	}
	broken.Store(false)
	for id := 3; id <= 4; id++ {
		eventually(t, "it is not heard in the end", func() bool {
			r.deliver(t, "issue_comment", guid(id), comment(t, id, "/plan b"))
			return slices.Contains(desk.done(), fmt.Sprintf("[plan b %d]", id))
		})
	}
	got := desk.done()
	slices.Sort(got)
	if fmt.Sprint(got) != "[[plan a 1] [plan b 3] [plan b 4]]" {
		t.Errorf("carried out were %v", got)
	}
	if !strings.Contains(r.log.String(), "out of order") {
		t.Error("the panic is not in the log")
	}
}

// TestReordered sends what was written last first: each shop's orders are carried out as they come, rollbacks first, and a
// shop that takes its time keeps no other waiting.
func TestReordered(t *testing.T) {
	slow := make(chan struct{})
	desk := &clerk{carrying: func(ctx context.Context, o *command.Order) error {
		if o.Verb == "slow" {
			<-slow
		}
		return nil
	}}
	r := start(t, &Server{Lanes: 1}, desk)
	heard := func(n int) {
		eventually(t, "not heard", func() bool { desk.mu.Lock(); defer desk.mu.Unlock(); return len(desk.heard) == n })
	}
	for i, text := range []string{"/slow a", "/plan a", "/plan b", "/rollback a", "/rollback c"} {
		r.deliver(t, "issue_comment", guid(9-i), comment(t, 9-i, text))
		heard(i + 1)
	}
	eventually(t, "a rollback waits for another shop's order", func() bool { return fmt.Sprint(desk.done()) == "[[rollback c 5]]" })
	eventually(t, "not all wait", func() bool {
		_, text := r.get(t, "/metrics")
		return strings.Contains(text, "shopfleet_queue{stage=\"waiting\"} 3\n")
	})
	close(slow)
	eventually(t, "not all is carried out", func() bool { return len(desk.done()) == 5 })
	got := desk.done()
	if slices.Index(got, "[rollback a 6]") > slices.Index(got, "[plan a 8]") {
		t.Errorf("%v: the rollback is to be first", got)
	}
}

func TestTwoSecrets(t *testing.T) {
	r := start(t, &Server{}, &clerk{})
	body := comment(t, 1, "/plan a")
	req := r.request(t, "issue_comment", guid(1), body)
	req.Header.Set("X-Hub-Signature-256", sign(oldSecret, body))
	if status, said := r.send(t, req); status != 202 {
		t.Errorf("the old secret: %d %s", status, said)
	}
	if got := r.deliver(t, "issue_comment", guid(2), comment(t, 2, "/plan a")); got != "202 queued" {
		t.Errorf("the new secret: %s", got)
	}
}

func TestQueueFull(t *testing.T) {
	hold := make(chan struct{})
	desk := &clerk{hearing: func(*command.Order) error { <-hold; return nil }}
	r := start(t, &Server{Queue: 2, Hears: 1}, desk)
	var full []int
	for i := 1; i <= 8; i++ {
		switch got := r.deliver(t, "issue_comment", guid(i), comment(t, i, "/plan a")); got {
		case "503 the queue is full":
			full = append(full, i)
		case "202 queued":
		default:
			t.Fatal(got)
		}
	}
	if len(full) < 5 {
		t.Errorf("refused were only %v", full)
	}
	if status, _ := r.get(t, "/healthz"); status != 200 {
		t.Error("a full queue is no illness: nothing but deliveries is refused")
	}
	close(hold)
	for _, i := range full {
		eventually(t, "what was refused is not taken later", func() bool { return r.deliver(t, "issue_comment", guid(i), comment(t, i, "/plan a")) == "202 queued" })
	}
	eventually(t, "not all is carried out", func() bool { return len(desk.done()) == 8 })
}

func TestDrain(t *testing.T) {
	hold, begun := make(chan struct{}), make(chan struct{}, 10)
	desk := &clerk{carrying: func(context.Context, *command.Order) error { begun <- struct{}{}; <-hold; return nil }}
	r := start(t, &Server{}, desk)
	r.deliver(t, "issue_comment", guid(1), comment(t, 1, "/plan a"))
	r.deliver(t, "issue_comment", guid(2), comment(t, 2, "/plan a"))
	<-begun
	r.stop()
	eventually(t, "it goes on taking deliveries", func() bool { return r.deliver(t, "issue_comment", guid(3), comment(t, 3, "/plan a")) == "503 draining" })
	if status, said := r.get(t, "/healthz"); status != 503 || !strings.Contains(said, "draining") {
		t.Error(status, said)
	}
	close(hold)
	if err := r.ended(t); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(desk.done()); got != "[[plan a 1] [plan a 2]]" && got != "[[plan a 2] [plan a 1]]" {
		t.Error(got)
	}
	if !strings.Contains(r.log.String(), "nothing is left") {
		t.Error(r.log)
	}
}

func TestDrainCutOff(t *testing.T) {
	begun := make(chan struct{}, 10)
	desk := &clerk{carrying: func(ctx context.Context, _ *command.Order) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}
	r := start(t, &Server{Drain: 100 * time.Millisecond}, desk)
	r.deliver(t, "issue_comment", guid(1), comment(t, 1, "/plan a"))
	<-begun
	r.deliver(t, "issue_comment", guid(2), comment(t, 2, "/land a"))
	eventually(t, "not heard", func() bool { desk.mu.Lock(); defer desk.mu.Unlock(); return len(desk.heard) == 2 })
	r.stop()
	var left *LeftError
	if err := r.ended(t); !errors.As(err, &left) || left.Orders != 2 {
		t.Errorf("%v, want two orders left", err)
	}
	for _, text := range []string{`"verb":"plan"`, `"verb":"land"`, "an order is left"} {
		if !strings.Contains(r.log.String(), text) {
			t.Errorf("%s is not in the log", text)
		}
	}
}

// TestSlowSender lets go of who sends a header without an end.
func TestSlowSender(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes five seconds")
	}
	r := start(t, &Server{}, &clerk{})
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: a\r\nX-Slow: ", WebhookPath)
	gone := make(chan struct{})
	go func() { io.Copy(io.Discard, c); close(gone) }()
	for range 150 {
		select {
		case <-gone:
			return
		case <-time.After(100 * time.Millisecond):
			c.Write([]byte("a"))
		}
	}
	t.Error("the connection is still there")
}

func TestMetrics(t *testing.T) {
	desk := &clerk{carrying: func(_ context.Context, o *command.Order) error {
		if o.Shop == "b" {
			return errBroken
		}
		return nil
	}}
	r := start(t, &Server{Version: "1.2", Commit: `a"b`, Calls: func() CallCounts { return CallCounts{"2xx": 3} }}, desk)
	r.deliver(t, "issue_comment", guid(1), comment(t, 1, "/plan a"))
	r.deliver(t, "issue_comment", guid(1), comment(t, 1, "/plan a"))
	r.deliver(t, "issue_comment", guid(2), comment(t, 2, "/plan b"))
	eventually(t, "not all is carried out", func() bool { return len(desk.done()) == 2 })
	var text string
	eventually(t, "the orders are not counted", func() bool {
		_, text = r.get(t, "/metrics")
		return strings.Contains(text, `shopfleet_orders_total{verb="plan",outcome="failed"} 1`)
	})
	for _, line := range []string{
		`shopfleet_deliveries_total{result="queued"} 2`, `shopfleet_deliveries_total{result="seen"} 1`, `shopfleet_heard_total{result="order"} 2`,
		`shopfleet_orders_total{verb="plan",outcome="answered"} 1`, `shopfleet_claim_seconds_count 2`, `shopfleet_claim_seconds_bucket{le="+Inf"} 2`,
		`shopfleet_build_info{version="1.2",commit="a\"b"} 1`, `shopfleet_github_requests_total{status="2xx"} 3`, `shopfleet_queue{stage="urgent"} 0`,
		`# TYPE shopfleet_claim_seconds histogram`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("%s is not in\n%s", line, text)
		}
	}
	names := map[string]bool{}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ = strings.Cut(name, " ")
			if names[name] {
				t.Errorf("%s is there twice", name)
			}
			names[name] = true
		}
	}
}

func TestUnwell(t *testing.T) {
	var late atomic.Int64
	desk := &clerk{recover: func() ([]*command.Order, error) { return nil, errBroken }}
	began := time.Now()
	r := start(t, &Server{Now: func() time.Time { return began.Add(time.Duration(late.Load())) }}, desk)
	late.Store(int64(unwell + time.Minute))
	if status, said := r.get(t, "/healthz"); status != 503 || !strings.Contains(said, "61 minutes") {
		t.Error(status, said)
	}
	if got := r.deliver(t, "issue_comment", guid(1), comment(t, 1, "/plan a")); got != "202 queued" {
		t.Error(got)
	}
}

// TestTakenUp carries out what the desk found, and not what is under way here.
func TestTakenUp(t *testing.T) {
	desk := &clerk{recover: func() ([]*command.Order, error) {
		return []*command.Order{order("plan", "a", 7), order("plan", "a", 7), order("plan", "b", 8)}, errBroken
	}}
	start(t, &Server{}, desk)
	eventually(t, "not all is carried out", func() bool { return len(desk.done()) == 2 })
}

func TestLog(t *testing.T) {
	var b bytes.Buffer
	key := "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----\n"
	log := NewLog(&b, secret, github.Secret(key))
	log.Error("it failed", "error", fmt.Errorf("sent %s and MIIEpAIBAAKCAQEA\n{\"level\":\"forged\"}", secret), "by", "a\u202eb\x1b[2J", "long", strings.Repeat("x", 9000),
		"header", http.Header{"X": {secret}}, "secret", github.Secret("plain"))
	text := b.String()
	for _, bad := range []string{secret, "MIIEpAIBAAKCAQEA", "\u202e", "\x1b", `\u001b`, "plain", strings.Repeat("x", 3000)} {
		if strings.Contains(text, bad) {
			t.Errorf("%q is in the log: %s", bad, text)
		}
	}
	if strings.Count(text, "\n") != 1 {
		t.Error("not one line")
	}
}

// TestExitCodes: scripts and supervisors read them.
func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{{nil, command.ExitDone}, {&LeftError{Orders: 1}, command.ExitFailed}, {errors.Join(nil, &LeftError{Deliveries: 1}), command.ExitFailed}} {
		var errs bytes.Buffer
		d := &command.Door{Args: []string{"stops"}, Getenv: func(string) string { return "" }, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &errs}
		verb := &cobra.Command{Use: "stops", RunE: func(*cobra.Command, []string) error { return test.err }}
		if code := command.Run(t.Context(), d, verb); code != test.want || test.err != nil && !strings.Contains(errs.String(), "hint: start it again") {
			t.Errorf("%v: exit code %d, %s", test.err, code, &errs)
		}
	}
}
