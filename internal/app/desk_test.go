package app

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/github"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

// TestServed runs shopfleet serve with the real desk, against a GitHub on localhost, in a process that is killed in the
// middle. Every order of who may give some is answered once, with an outcome; a stranger's is not, nor is talk.
func TestServed(t *testing.T) {
	var ahead atomic.Int64
	addr := reserve(t)
	h := newHub(t, "http://"+addr+WebhookPath, sim.Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	h.repo.MakePublic()
	if _, err := h.AddUser("stranger", "User"); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "served")
	p := newProcess(t, h, "serve", addr, "serve", "--listen", addr, "--dir", dir, "--every", "10s")
	p.start(t)
	var orders []int64
	say := func(n int) {
		for i := range n {
			h.comment(t, "it looks fine to me")
			orders = append(orders, h.comment(t, []string{"/help", "/help rollback", "/rollback ../../etc", "/rollback nosuchshop\nthanks"}[i%4]))
		}
	}
	say(8)
	stranger, err := h.repo.Comment("stranger", 1, "/help")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is answered", func() bool { return len(h.answers(t)) > 2 })
	say(2)
	time.Sleep(20 * time.Millisecond)
	p.kill(t)
	say(2)                               // nobody is there
	h.Settle()                           // GitHub gave up on them
	ahead.Store(int64(11 * time.Minute)) // longer than the patience with a claim, shorter than an order is fresh
	p.env = append(p.env, "SHOPFLEET_TEST_AHEAD=11m")
	p.start(t)
	var answers map[string]int
	for range 600 {
		if answers = h.answers(t); len(answers) == len(orders) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	h.Settle()
	if code := p.end(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, id := range orders {
		if n := answers[answerTo(id)]; n != 1 {
			t.Errorf("order %d was answered %d times", id, n)
		}
	}
	if answers[answerTo(stranger)] != 0 || len(answers) != len(orders) {
		t.Errorf("%d answers to %d orders", len(answers), len(orders))
	}
	for _, x := range h.remarks(t) {
		switch {
		case x.ID == stranger && fmt.Sprint(x.Reactions["-1"], x.Reactions["eyes"]) != "1 0":
			t.Errorf("the stranger got %v", x.Reactions)
		case strings.HasPrefix(x.Body, "<!-- ") && !strings.Contains(x.Body, "\n<!-- shopfleet:outcome "):
			t.Errorf("an answer without an outcome:\n%s", x.Body)
		case strings.HasPrefix(x.Body, "it looks") && fmt.Sprint(x.Reactions["total_count"]) != "0":
			t.Errorf("talk got %v", x.Reactions)
		}
	}
}

// TestRefusedAndAskedForAgain lets the queue run full under GitHub's own deliveries: what was refused is on GitHub's list, and is
// asked for when there is room, and so is what the desk could not hear, of which GitHub thinks that all is well.
func TestRefusedAndAskedForAgain(t *testing.T) {
	addr := reserve(t)
	h := newHub(t, "http://"+addr+WebhookPath, sim.Options{})
	hold := make(chan struct{})
	var broken atomic.Int64
	desk := &clerk{hearing: func(o *command.Order) error {
		<-hold
		if o.Shop == "broken" && broken.Add(1) == 1 {
			return errBroken
		}
		return nil
	}}
	client := h.client()
	r := startAt(t, addr, &Server{Repository: "acme/helm", Queue: 3, Hears: 1, Sender: client, Every: 200 * time.Millisecond, Pause: -1}, desk)
	want := map[string]bool{}
	for i := range 20 {
		shop := fmt.Sprintf("shop%d", i)
		if i == 0 {
			shop = "broken"
		}
		want[fmt.Sprintf("[plan %s %d]", shop, h.comment(t, "/plan "+shop))] = true
	}
	h.Settle()
	list, err := client.Deliveries(t.Context(), time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, s := range list {
		if !s.OK {
			refused++
		}
	}
	if len(list) < 20 || refused < 10 {
		t.Errorf("%d of %d were refused", refused, len(list))
	}
	close(hold)
	eventually(t, "not all is carried out", func() bool { return len(desk.done()) >= len(want) })
	h.Settle()
	r.stop()
	if err := r.ended(t); err != nil {
		t.Error(err)
	}
	for _, got := range desk.done() {
		if !want[got] {
			t.Errorf("%s was carried out twice, or never ordered", got)
		}
		delete(want, got)
	}
	if len(want) > 0 {
		t.Errorf("nobody carried out %v", want)
	}
}

// TestSetupOnGitHub registers the App by the real page on a GitHub on localhost, and starts a server with what was printed.
func TestSetupOnGitHub(t *testing.T) {
	h := newHub(t, "", sim.Options{})
	var out, errs lines
	env := map[string]string{"GITHUB_API_URL": h.api, "GITHUB_SERVER_URL": h.git, "GITHUB_REPOSITORY": "acme/helm"}
	d := &command.Door{
		Args:   []string{"app", "setup", "--url", "https://shops.example.com", "--org", "acme", "--name", "acme shops", "--teams"},
		Getenv: func(name string) string { return env[name] }, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Dir: t.TempDir(), Version: "test",
	}
	done := make(chan int, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() { done <- command.Run(ctx, d, Commands(d)...) }()
	var at string
	eventually(t, "no page is shown", func() bool {
		at = regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(errs.String())
		return at != ""
	})
	get := func(url string) string {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	page := get(at)
	field := func(expression string) string {
		m := regexp.MustCompile(expression).FindStringSubmatch(page)
		if m == nil {
			t.Fatalf("%s is not on the page:\n%s", expression, page)
		}
		return html.UnescapeString(m[1])
	}
	back, err := h.RegisterApp("operator", "acme", field(`name="manifest" value="([^"]*)"`), field(`action="[^"]*\?state=([^"]*)"`), "")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(back, at+"/callback?") {
		t.Fatalf("GitHub sends people to %s", back)
	}
	if text := get(back); !strings.Contains(text, "The App is registered") || strings.Contains(text, "PRIVATE KEY") {
		t.Error(text)
	}
	if code := <-done; code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	for _, name := range []string{"SHOPFLEET_APP_ID", "SHOPFLEET_APP_PRIVATE_KEY", "SHOPFLEET_WEBHOOK_SECRET"} {
		m := regexp.MustCompile(`(?m)^` + name + `=(.+)$`).FindStringSubmatch(out.String())
		if m == nil {
			t.Fatalf("%s is not printed:\n%s", name, &out)
		}
		env[name] = m[1]
	}
	if x, err := readSettings(func(name string) string { return env[name] }); err != nil || x.repository != "acme/helm" {
		t.Error(err)
	}
	client := &github.Client{BaseURL: h.api, Owner: "acme", Repo: "helm", App: &github.App{ID: env["SHOPFLEET_APP_ID"], Key: github.Secret(env["SHOPFLEET_APP_PRIVATE_KEY"])}, Permissions: map[string]string{"metadata": "read"}}
	if _, err := client.Deliveries(t.Context(), time.Now()); err != nil {
		t.Errorf("what was printed opens nothing: %v", err)
	}
	for _, text := range []string{env["SHOPFLEET_WEBHOOK_SECRET"], "PRIVATE KEY"} {
		if strings.Contains(errs.String(), text) {
			t.Error("a secret is among what is not to be saved")
		}
	}
}

// TestPressed presses a button of a check run: it comes as a delivery, and the answer is in the check run.
func TestPressed(t *testing.T) {
	addr := reserve(t)
	h := newHub(t, "http://"+addr+WebhookPath, sim.Options{})
	r := startAt(t, addr, &Server{Repository: "acme/helm"}, h.desk(t))
	client := h.client()
	client.Permissions = map[string]string{"checks": "write"}
	_, err := client.PutCheckRun(t.Context(), github.CheckRun{
		Name: "shopfleet land: anna", HeadSHA: h.main, ExternalID: "shopfleet land anna " + h.main, Conclusion: "neutral", Title: "it can land", Summary: "x",
		Actions: []github.CheckAction{{Label: "Land", Description: "move the branch", Identifier: "land"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	type run struct {
		ID     int64
		Output struct{ Title, Summary string }
	}
	look := func() run {
		var list struct {
			Runs []run `json:"check_runs"`
		}
		h.say(t, personToken, "GET", "/repos/acme/helm/commits/"+h.main+"/check-runs", nil, &list)
		if len(list.Runs) != 1 {
			t.Fatalf("%d check runs", len(list.Runs))
		}
		return list.Runs[0]
	}
	if err := h.repo.Press("operator", look().ID, "land"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nobody answers", func() bool { return strings.Contains(look().Output.Summary, "no open pull request") })
	r.stop()
	if err := r.ended(t); err != nil {
		t.Error(err)
	}
	if log := r.log.String(); !strings.Contains(log, `"verb":"land","shop":"anna","by":"operator"`) {
		t.Error(log)
	}
}

// TestTakenOver leaves an order alone that waited so long for its shop that another desk took it over.
func TestTakenOver(t *testing.T) {
	h := newHub(t, "", sim.Options{})
	desk, client := h.desk(t), h.client()
	for _, test := range []struct {
		waited time.Duration
		taken  bool
		want   int
	}{{0, false, 1}, {6 * time.Minute, false, 1}, {6 * time.Minute, true, 0}} {
		id := h.comment(t, "/help")
		c, err := client.Comment(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		issue, err := client.Issue(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		o, err := desk.Hear(t.Context(), github.Event{Action: "created", Issue: &issue, Comment: &c, Sender: c.Author, SenderID: c.AuthorID}, "issue_comment")
		if err != nil || o == nil {
			t.Fatal(o, err)
		}
		o.At = o.At.Add(-test.waited)
		if test.taken {
			if _, err := client.React(t.Context(), id, "rocket"); err != nil {
				t.Fatal(err)
			}
		}
		if err := desk.Carry(t.Context(), o); err != nil {
			t.Error(err)
		}
		if n := h.answers(t)[answerTo(id)]; n != test.want {
			t.Errorf("waited %s, taken over %t: %d answers, want %d", test.waited, test.taken, n, test.want)
		}
	}
}
