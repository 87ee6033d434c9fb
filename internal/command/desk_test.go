package command

// The desk against a GitHub on localhost: the real client, the events as GitHub sends them, and people who mean no good.

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/github"
	sim "github.com/kvick/shopfleet/internal/sim/github"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

const officePolicy = `product: helm
naming:
  branch: "shops/{slug}"
  worker: "helm-{slug}"
  d1: "helm-{slug}-db"
  r2: "helm-{slug}-assets"
  kv: "helm-{slug}-kv"
  hostname: "helm-{slug}.{zone}"
overlay:
  - wrangler.jsonc
  - "shop-overrides/**"
accounts:
  helm-1:
    id: "00000000000000000000000000000000"
    zone: example.com
build_info:
  path: public/build_info.json
`

// office is a repository on GitHub with an App, people, and desks.
type office struct {
	*simtest.GitHub
	repo  *sim.Repository
	app   *sim.App
	dir   string
	env   map[string]string
	pull  int // from fix to shops/swicked
	issue int
	log   *bytes.Buffer

	mu     sync.Mutex
	now    time.Time
	events []github.Event
	kinds  []string
	ran    []string // what verbs ran: their words and who asked
	// verb is what each verb does.
	verb func(ctx context.Context, d *Door, args []string) error
}

var officeKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newOffice(t *testing.T) *office {
	t.Helper()
	w := &office{now: time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC), log: &bytes.Buffer{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w.GitHub = simtest.NewGitHub(t, sim.Options{Now: w.clock, KeepBodies: true, Unlimited: true})
	w.repo = w.GitHub.Repository(t, "acme", "helm")
	for login, role := range map[string]string{"alice": "admin", "bob": "write", "mia": "maintain", "tri": "triage", "rea": "read", "mallory": ""} {
		_, err := w.AddUser(login, "")
		must(err)
		must(w.repo.SetPermission(login, role))
	}
	w.repo.MakePublic()
	_, err := w.repo.Commit("shops/swicked", "a shop", map[string]string{"wrangler.jsonc": "{}\n"})
	must(err)
	_, err = w.repo.Commit("fix", "a fix", map[string]string{"fix.txt": "x\n"})
	must(err)
	hook := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e, err := github.ParseEvent(r.Header.Get("X-GitHub-Event"), body)
		if err != nil {
			t.Errorf("%s: %v", r.Header.Get("X-GitHub-Event"), err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events, w.kinds = append(w.events, e), append(w.kinds, r.Header.Get("X-GitHub-Event"))
	}))
	t.Cleanup(hook.Close)
	key, err := officeKey()
	must(err)
	w.app, err = w.AddApp(sim.NewApp{
		Slug: "shopfleet", Key: &key.PublicKey, Events: []string{"issue_comment", "check_run", "deployment_status", "pull_request"}, HookURL: hook.URL, HookSecret: "secret",
		Permissions: map[string]string{"issues": "write", "pull_requests": "write", "contents": "write", "members": "read", "checks": "write", "actions": "write", "deployments": "write"},
	})
	must(err)
	_, err = w.app.Install("acme")
	must(err)
	w.pull, err = w.repo.OpenPull("alice", "fix", "shops/swicked", "a fix", "")
	must(err)
	w.issue, err = w.repo.OpenIssue("alice", "the fleet", "")
	must(err)

	w.dir = t.TempDir()
	local, err := git.Init(t.Context(), w.dir)
	must(err)
	_, err = local.Write(t.Context(),
		git.Draft{Branch: "main", Message: "main", Files: map[string][]byte{"fleet.yml": []byte(officePolicy)}},
		git.Draft{Branch: "shops/swicked", From: "main", Message: "a shop", Files: map[string][]byte{"wrangler.jsonc": []byte("{}\n")}},
		git.Draft{Branch: "shops/anna", From: "main", Message: "a shop", Files: map[string][]byte{"wrangler.jsonc": []byte("{}\n")}})
	must(err)
	w.env = map[string]string{
		envAPI: w.API, envRepository: "acme/helm", envAppID: strconv.FormatInt(w.app.ID, 10),
		envAppKey: string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	}
	return w
}

func (w *office) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// later moves the clock.
func (w *office) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// desk opens one of several, each with its own door and client.
func (w *office) desk(t *testing.T, o DeskOptions) *Desk {
	t.Helper()
	d := &Door{
		Getenv: func(name string) string { return w.env[name] }, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard,
		Dir: w.dir, Now: w.clock, Version: "v1.2.3", Transport: cloudflare.LoopbackOnly(nil),
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(w.log, nil))
	}
	k, err := d.Desk(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	k.tree = w.tree
	k.sleep = func(ctx context.Context, d time.Duration) error { w.later(d); return ctx.Err() }
	return k
}

// tree has every verb do what the test says.
func (w *office) tree(d *Door) *cobra.Command {
	root := &cobra.Command{Use: "shopfleet", SilenceErrors: true, SilenceUsage: true}
	root.PersistentFlags().String("main", "", "")
	root.PersistentFlags().String("config", "", "")
	for _, v := range orderVerbs() {
		cmd := &cobra.Command{Use: v.name, RunE: func(cmd *cobra.Command, args []string) error {
			words := strings.Join(append([]string{cmd.Name()}, args...), " ")
			w.mu.Lock()
			w.ran = append(w.ran, words+" for "+d.asker())
			w.mu.Unlock()
			if w.verb != nil {
				return w.verb(cmd.Context(), d, args)
			}
			d.order.page = "It went back.\n"
			return nil
		}}
		if v.name == "rollback" {
			cmd.Flags().Bool("restore-data", false, "")
			cmd.Flags().Bool("old-secrets", false, "")
		}
		root.AddCommand(cmd)
	}
	return root
}

func (w *office) runs() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.ran...)
}

// says lets somebody comment, and returns the comment and its event.
func (w *office) says(t *testing.T, login string, issue int, body string) (int64, github.Event) {
	t.Helper()
	id, err := w.repo.Comment(login, issue, body)
	if err != nil {
		t.Fatal(err)
	}
	w.Settle()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, e := range w.events {
		if w.kinds[i] == "issue_comment" && e.Action == "created" && e.Comment != nil && e.Comment.ID == id {
			return id, e
		}
	}
	t.Fatalf("no webhook told of comment %d", id)
	return 0, github.Event{}
}

// do hears and carries.
func (w *office) do(t *testing.T, k *Desk, e github.Event) *Order {
	t.Helper()
	o, err := k.Hear(t.Context(), e, "issue_comment")
	if err != nil {
		t.Fatal(err)
	}
	if o != nil {
		if err := k.Carry(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// client looks at things as a person who owns the repository would.
func (w *office) client(t *testing.T) *github.Client {
	t.Helper()
	token, err := w.repo.ActionsToken(map[string]string{"issues": "write", "pull-requests": "write", "contents": "write"})
	if err != nil {
		t.Fatal(err)
	}
	return &github.Client{BaseURL: w.API, Owner: "acme", Repo: "helm", Token: github.Secret(token), Transport: cloudflare.LoopbackOnly(nil), Now: w.clock}
}

// answers are the App's comments about an order; all of the App's for 0.
func (w *office) answers(t *testing.T, comment int64) []github.Comment {
	t.Helper()
	list, err := w.client(t).CommentsSince(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var out []github.Comment
	for _, c := range list {
		if mark, _ := readAnswer(c.Body); c.Author == "shopfleet[bot]" && (comment == 0 || mark == fmt.Sprint(comment)) {
			out = append(out, c)
		}
	}
	return out
}

// answer is the one answer to an order with its outcome.
func (w *office) answer(t *testing.T, comment int64) (body, outcome string) {
	t.Helper()
	list := w.answers(t, comment)
	if len(list) != 1 {
		t.Fatalf("%d answers to %d: %+v", len(list), comment, list)
	}
	_, outcome = readAnswer(list[0].Body)
	return list[0].Body, outcome
}

// reactions are the App's to a comment.
func (w *office) reactions(t *testing.T, comment int64) string {
	t.Helper()
	list, err := w.client(t).Reactions(t.Context(), comment)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range list {
		if r.Author == "shopfleet[bot]" {
			out = append(out, r.Content)
		}
	}
	return strings.Join(out, " ")
}

func TestDeskCarriesOut(t *testing.T) {
	w := newOffice(t)
	k := w.desk(t, DeskOptions{})
	id, e := w.says(t, "bob", w.pull, "/rollback\r\nit is broken")
	w.ForgetRequests()
	o, err := k.Hear(t.Context(), e, "issue_comment")
	if err != nil || o == nil || o.Shop != "swicked" || o.By != "bob" || o.Head == "" || o.Mark != fmt.Sprint(id) {
		t.Fatalf("heard %+v, %v", o, err)
	}
	var ops []string
	for _, r := range w.Requests() {
		if strings.Contains(r.Path, "/repos/acme/helm/") && !strings.HasSuffix(r.Path, "/installation") {
			ops = append(ops, r.Op)
		}
	}
	if len(ops) != 3 || !strings.Contains(fmt.Sprint(ops), "/collaborators/{username}/permission") || !strings.HasSuffix(ops[2], "/reactions") {
		t.Errorf("hearing takes %q", ops)
	}
	if err := k.Carry(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(w.runs()); got != "[rollback swicked for bob]" {
		t.Errorf("ran %s", got)
	}
	body, outcome := w.answer(t, id)
	if outcome != "done" || !strings.Contains(body, "It went back.") || !strings.Contains(body, "`bob`") || strings.Contains(body, "@bob") || w.reactions(t, id) != "eyes" {
		t.Errorf("answered %s\n%s", w.reactions(t, id), body)
	}
	// The same delivery again, and another desk.
	for _, k := range []*Desk{k, w.desk(t, DeskOptions{})} {
		if o, err := k.Hear(t.Context(), e, "issue_comment"); o != nil || err != nil {
			t.Errorf("heard again: %+v, %v", o, err)
		}
	}
	if list, err := k.Recover(t.Context()); len(list) != 0 || err != nil {
		t.Errorf("recovered %v, %v", list, err)
	}
}

// Whom the shop comes from: base before head, and of a fork the base alone.
func TestDeskShopOfPull(t *testing.T) {
	w := newOffice(t)
	k := w.desk(t, DeskOptions{})
	branch := func(owner github.Branch, head string, fork bool) string {
		return k.shopOf(github.PullRequest{Base: owner, Head: github.Branch{Ref: head}, Fork: fork})
	}
	shop, main := github.Branch{Ref: "shops/swicked"}, github.Branch{Ref: "main"}
	for got, want := range map[string]string{
		branch(shop, "fix", false): "swicked", branch(shop, "shops/anna", true) + "1": "swicked1", branch(main, "shops/anna", false): "anna",
		branch(main, "rebase/anna", false) + "2": "anna2", branch(main, "shops/anna", true) + "3": "3", branch(main, "rebase/anna", true) + "4": "4",
		branch(main, "rebase/../x", false) + "5": "5", branch(main, "fix", false) + "6": "6",
	} {
		if got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
}

func TestDeskStrangers(t *testing.T) {
	w := newOffice(t)
	k := w.desk(t, DeskOptions{})
	for _, login := range []string{"mallory", "rea", "tri"} {
		id, e := w.says(t, login, w.pull, "/rollback")
		for range 3 {
			if o := w.do(t, k, e); o != nil {
				t.Fatalf("%s may", login)
			}
		}
		if got := w.reactions(t, id); got != "-1" {
			t.Errorf("%s got %q", login, got)
		}
		id, e = w.says(t, login, w.pull, "/rolback")
		if o := w.do(t, k, e); o != nil || w.reactions(t, id) != "" {
			t.Errorf("%s got help", login)
		}
	}
	for _, body := range []string{"thanks", "/shrug", "> /rollback", "／rollback", "/roll\u200bback"} {
		id, e := w.says(t, "alice", w.pull, body)
		w.ForgetRequests()
		if o := w.do(t, k, e); o != nil || w.reactions(t, id) != "" {
			t.Errorf("%q is an order", body)
		}
	}
	if list, err := w.desk(t, DeskOptions{}).Recover(t.Context()); len(list) != 0 || err != nil {
		t.Errorf("recovered %v, %v", list, err)
	}
	if len(w.answers(t, 0)) != 0 || len(w.runs()) != 0 {
		t.Errorf("answered strangers: %v, ran %v", w.answers(t, 0), w.runs())
	}
	for _, login := range []string{"bob", "mia", "alice"} {
		_, e := w.says(t, login, w.pull, "/rollback")
		if w.do(t, k, e) == nil {
			t.Errorf("%s may not", login)
		}
	}
}

// What an event may not be: edited, a bot's, sent by another than the author, of another kind.
func TestDeskForgedEvents(t *testing.T) {
	w := newOffice(t)
	k := w.desk(t, DeskOptions{})
	id, e := w.says(t, "alice", w.pull, "/rollback")
	for name, forge := range map[string]func(e *github.Event, c *github.Comment){
		"edited":           func(e *github.Event, c *github.Comment) { e.Action = "edited" },
		"deleted":          func(e *github.Event, c *github.Comment) { e.Action = "deleted" },
		"has changes":      func(e *github.Event, c *github.Comment) { e.Edited = true },
		"edited before":    func(e *github.Event, c *github.Comment) { c.Updated = c.Created.Add(time.Second) },
		"by a bot":         func(e *github.Event, c *github.Comment) { c.Bot = true },
		"without author":   func(e *github.Event, c *github.Comment) { c.Author, e.Sender = "", "" },
		"without id":       func(e *github.Event, c *github.Comment) { c.AuthorID, e.SenderID = 0, 0 },
		"sent by another":  func(e *github.Event, c *github.Comment) { e.SenderID++ },
		"another's login":  func(e *github.Event, c *github.Comment) { e.Sender = "bob" },
		"without an issue": func(e *github.Event, c *github.Comment) { e.Issue = nil },
	} {
		forged, c := e, *e.Comment
		forged.Comment = &c
		forge(&forged, &c)
		if o, err := k.Hear(t.Context(), forged, "issue_comment"); o != nil || err != nil {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
	for _, kind := range []string{"issues", "pull_request", "push", "", "commit_comment"} {
		if o, err := k.Hear(t.Context(), e, kind); o != nil || err != nil {
			t.Errorf("%s: %+v, %v", kind, o, err)
		}
	}
	if w.reactions(t, id) != "" {
		t.Error("claimed")
	}
	// The App's own words are no order.
	_, e = w.says(t, "shopfleet[bot]", w.pull, "/rollback")
	if o := w.do(t, k, e); o != nil {
		t.Error("a bot may")
	}
}

// What changes between the comment and the deed.
func TestDeskAsksAgain(t *testing.T) {
	for name, test := range map[string]struct {
		body    string
		between func(t *testing.T, w *office, id int64)
		outcome string
		says    string
	}{
		"access removed": {"/rollback", func(t *testing.T, w *office, _ int64) { _ = w.repo.SetPermission("bob", "read") }, "refused", "no write access"},
		"comment edited": {"/rollback", func(t *testing.T, w *office, id int64) {
			w.later(time.Second)
			_ = w.repo.EditComment("bob", id, "/rollback anna")
		}, "refused", "edited"},
		"comment deleted": {"/rollback", func(t *testing.T, w *office, id int64) { _ = w.repo.DeleteComment("bob", id) }, "refused", "gone"},
		"head moved": {"/land", func(t *testing.T, w *office, _ int64) {
			if _, err := w.repo.Commit("fix", "more", map[string]string{"more.txt": "x"}); err != nil {
				t.Error(err)
			}
		}, "refused", "moved"},
		"head moved, which is nothing to a rollback": {"/rollback", func(t *testing.T, w *office, _ int64) {
			if _, err := w.repo.Commit("fix", "more", map[string]string{"more.txt": "x"}); err != nil {
				t.Error(err)
			}
		}, "done", "It went back"},
		"too old":        {"/rollback", func(_ *testing.T, w *office, _ int64) { w.later(16 * time.Minute) }, "expired", "say it again"},
		"nothing":        {"/rollback", func(*testing.T, *office, int64) {}, "done", "It went back"},
		"no such shop":   {"/rollback nobody", func(*testing.T, *office, int64) {}, "refused", "no shop `nobody`"},
		"cannot be read": {"/rollback anna bert", func(*testing.T, *office, int64) {}, "refused", "`bert` is one word too many"},
		"help":           {"/help", func(*testing.T, *office, int64) {}, "done", "/release-hold"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newOffice(t)
			k := w.desk(t, DeskOptions{})
			id, e := w.says(t, "bob", w.pull, test.body)
			o, err := k.Hear(t.Context(), e, "issue_comment")
			if err != nil || o == nil {
				t.Fatalf("not heard: %v", err)
			}
			test.between(t, w, id)
			if err := k.Carry(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			body, outcome := w.answer(t, id)
			if outcome != test.outcome || !strings.Contains(body, test.says) {
				t.Errorf("%s\n%s", outcome, body)
			}
			if done := len(w.runs()) > 0; done != (outcome == "done" && name != "help") {
				t.Errorf("ran %v", w.runs())
			}
		})
	}
}

// On an issue there is no shop but the one that is named; a pull request of a fork is about its base.
func TestDeskPlaces(t *testing.T) {
	w := newOffice(t)
	k := w.desk(t, DeskOptions{})
	id, e := w.says(t, "bob", w.issue, "/rollback")
	w.do(t, k, e)
	if body, outcome := w.answer(t, id); outcome != "refused" || !strings.Contains(body, "needs the name of a shop") {
		t.Errorf("%s", body)
	}
	id, e = w.says(t, "bob", w.issue, "/rollback anna to 1f2e")
	w.do(t, k, e)
	if _, outcome := w.answer(t, id); outcome != "done" {
		t.Error(outcome)
	}
	fork, err := w.repo.Fork("mallory")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fork.Commit("shops/anna", "evil", map[string]string{"evil.txt": "x"}); err != nil {
		t.Fatal(err)
	}
	if _, err := fork.Commit("rebase/anna", "evil", map[string]string{"evil.txt": "x"}); err != nil {
		t.Fatal(err)
	}
	for base, want := range map[string]string{"shops/swicked": "swicked", "main": ""} {
		n, err := w.repo.OpenPull("mallory", "mallory:shops/anna", base, "evil", "")
		if err != nil {
			t.Fatal(err)
		}
		_, e := w.says(t, "bob", n, "/rollback")
		o, err := k.Hear(t.Context(), e, "issue_comment")
		if err != nil || o == nil || o.Shop != want || o.Head != "" {
			t.Errorf("into %s: %+v, %v", base, o, err)
		}
	}
	if got := fmt.Sprint(w.runs()); got != "[rollback anna to 1f2e for bob]" {
		t.Errorf("ran %s", got)
	}
}

// What people write comes back in code or not at all, and what went wrong inside does not come back.
func TestDeskAnswersAreHarmless(t *testing.T) {
	w := newOffice(t)
	k := w.desk(t, DeskOptions{})
	w.verb = func(_ context.Context, d *Door, args []string) error {
		fmt.Fprintln(d.Stderr, "secret-cause-1")
		return fmt.Errorf("dialing 10.0.0.1: secret-cause-2")
	}
	id, e := w.says(t, "bob", w.pull, "/rollback")
	o, err := k.Hear(t.Context(), e, "issue_comment")
	if err != nil || o == nil {
		t.Fatal(err)
	}
	if err := k.Carry(t.Context(), o); err == nil {
		t.Error("the log gets no error")
	}
	body, outcome := w.answer(t, id)
	if outcome != "failed" || strings.Contains(body, "secret-cause") || strings.Contains(body, "10.0.0.1") {
		t.Errorf("%s", body)
	}
	if !strings.Contains(w.log.String(), "secret-cause-1") {
		t.Error("the log does not say why")
	}
	for _, evil := range []string{
		"/rollback @octocat", "/rollback <script>alert(1)</script>", "/rollback [x](https://evil.example)", "/rollback ```x", "/rollback ::error::x", "/rollback $(id)`id`",
		"/rollback --><!--", "/rollback <!--", "/rollback #1", "/rollback ![x](//evil.example/x.png)", "/rollback " + strings.Repeat("`@x", 300), "/rollback \\`@octocat",
	} {
		w.later(time.Minute)
		id, e := w.says(t, "bob", w.pull, evil)
		w.do(t, k, e)
		body, _ := w.answer(t, id)
		for _, line := range strings.Split(body, "\n")[2:] {
			if outside := outsideCode(line); strings.ContainsAny(outside, "@[]!#$\\") && !strings.HasPrefix(line, "### ") || strings.Contains(outside, "::") || strings.Contains(outside, "<!--") || strings.Contains(outside, "script") {
				t.Errorf("%q gives %q", evil, line)
			}
		}
	}
}

// outsideCode is a line without its code spans, as CommonMark finds them.
func outsideCode(line string) string {
	var out strings.Builder
	for line != "" {
		i := strings.IndexByte(line, '`')
		if i < 0 {
			break
		}
		out.WriteString(line[:i])
		n := len(line[i:]) - len(strings.TrimLeft(line[i:], "`"))
		rest, fence, end := line[i+n:], strings.Repeat("`", n), -1
		for at := 0; at < len(rest); {
			j := strings.Index(rest[at:], fence)
			if j < 0 {
				break
			}
			m := len(rest[at+j:]) - len(strings.TrimLeft(rest[at+j:], "`"))
			if m == n {
				end = at + j + n
				break
			}
			at += j + m
		}
		if end < 0 {
			out.WriteString(fence)
			line = rest
			continue
		}
		line = rest[end:]
	}
	return out.String() + line
}

// Several desks, the App's server and a workflow's, hear the same events at once, in any order and more than once.
func TestDeskTogether(t *testing.T) {
	w := newOffice(t)
	var desks []*Desk
	for i := range 4 {
		k := w.desk(t, DeskOptions{})
		if i%2 == 1 { // a step of a workflow, which is another process with the same App
			k.door.workflow = &workflow{runner: github.NewRunner(k.door.Getenv, io.Discard), context: github.Context{RunURL: "https://github.com/acme/helm/actions/runs/7"}}
		}
		desks = append(desks, k)
	}
	var ids []int64
	var events []github.Event
	for i := range 8 {
		id, e := w.says(t, []string{"alice", "bob"}[i%2], w.pull, fmt.Sprintf("/rollback anna to v%d", i))
		ids, events = append(ids, id), append(events, e)
	}
	var group sync.WaitGroup
	for n, k := range desks {
		group.Go(func() {
			for i := range 2 * len(events) {
				e := events[(i*(2*n+1)+n)%len(events)]
				o, err := k.Hear(context.Background(), e, "issue_comment")
				if err != nil {
					t.Error(err)
				}
				if o != nil {
					if err := k.Carry(context.Background(), o); err != nil {
						t.Error(err)
					}
				}
			}
			if list, err := k.Recover(context.Background()); len(list) != 0 || err != nil {
				t.Errorf("recovered %v, %v", list, err)
			}
		})
	}
	group.Wait()
	if got := w.runs(); len(got) != len(ids) {
		t.Errorf("%d orders ran %d times: %q", len(ids), len(got), got)
	}
	for _, id := range ids {
		if _, outcome := w.answer(t, id); outcome != "done" {
			t.Errorf("%d: %s", id, outcome)
		}
	}
}

var errStopped = errors.New("stopped")
