package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/github"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

// hub is a GitHub on localhost with a repository, an issue, a person who may order and the App.
type hub struct {
	*sim.World
	api, git string
	repo     *sim.Repository
	main     string // the first commit
	app      *sim.App
	key      github.Secret
	wire     *http.Client
}

const personToken = "ghp_operator"

var appGrant = map[string]string{
	"contents": "write", "pull_requests": "write", "issues": "write", "deployments": "write", "checks": "write", "actions": "write", "statuses": "read", "workflows": "write",
}

// newHub has deliveries sent to a URL.
func newHub(t testing.TB, url string, o sim.Options) *hub {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	o.Unlimited = true
	w, err := sim.New(o)
	check(err)
	t.Cleanup(func() { w.Close() })
	at, err := w.Start("")
	check(err)
	h := &hub{World: w, api: at.API, git: at.Git, wire: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	h.repo, err = w.Repository("acme", "helm")
	check(err)
	_, err = w.AddUser("operator", "User")
	check(err)
	check(h.repo.SetPermission("operator", "admin"))
	check(w.AddToken(personToken, "operator"))
	h.main, err = h.repo.Commit("main", "first", map[string]string{"README.md": "hello\n", "fleet.yml": policyText})
	check(err)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(err)
	h.key = github.Secret(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	h.app, err = w.AddApp(sim.NewApp{Slug: "shopfleet", Key: &key.PublicKey, Permissions: appGrant, Events: []string{"issue_comment", "check_run"}, HookURL: url, HookSecret: secret})
	check(err)
	_, err = h.app.Install("acme")
	check(err)
	h.say(t, personToken, "POST", "/repos/acme/helm/issues", map[string]any{"title": "orders"}, nil)
	return h
}

const policyText = `product: helm
naming:
  branch: "shops/{slug}"
  worker: "helm-{slug}"
  d1: "helm-{slug}-db"
  r2: "helm-{slug}-assets"
  kv: "helm-{slug}-kv"
  hostname: "helm-{slug}.shops.example"
build_info:
  path: public/build_info.json
  url: /build_info.json
accounts:
  one:
    id: 7f3a0c5e9b1d4826a0e4c2d8f6b19357
    zone: shops.example
    region: wnam
    token: CLOUDFLARE_API_TOKEN
`

// client is the App, without pacing: what is measured is the server.
func (h *hub) client() *github.Client {
	return &github.Client{
		BaseURL: h.api, Owner: "acme", Repo: "helm", App: &github.App{ID: fmt.Sprint(h.app.ID), Key: h.key}, Transport: h.wire.Transport,
		Permissions: map[string]string{"issues": "write", "pull_requests": "write", "contents": "read"},
		Sleep:       func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

// unseen is a desk that looks for nothing by itself: what comes is delivered to it.
type unseen struct{ Desk }

func (unseen) Recover(context.Context) ([]*command.Order, error) { return nil, nil }

// desk is the real one, in this process.
func (h *hub) desk(t testing.TB) Desk {
	t.Helper()
	env := map[string]string{"GITHUB_API_URL": h.api, "GITHUB_SERVER_URL": h.git, "GITHUB_REPOSITORY": "acme/helm", envAppID: fmt.Sprint(h.app.ID), envAppKey: string(h.key)}
	d := behind(&command.Door{Getenv: func(name string) string { return env[name] }, Now: time.Now, Version: "test"}, h.wire.Transport)
	desk, err := openDesk(t.Context(), d, t.TempDir(), command.DeskOptions{}, NewLog(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	// Which has its token minted.
	if _, err := desk.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	return unseen{desk}
}

// say is one request to the API.
func (h *hub) say(t testing.TB, token, method, path string, body, into any) int {
	t.Helper()
	status, err := call(h.wire, h.api, token, method, path, body, into)
	if err != nil || status/100 != 2 {
		t.Fatalf("%s %s: %d %v", method, path, status, err)
	}
	return status
}

func call(wire *http.Client, api, token, method, path string, body, into any) (int, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequest(method, api+path, bytes.NewReader(text))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("User-Agent", "test")
	resp, err := wire.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && into != nil && resp.StatusCode/100 == 2 {
		err = json.Unmarshal(answer, into)
	}
	return resp.StatusCode, err
}

// comment writes one as the person, and returns its id.
func (h *hub) comment(t testing.TB, text string) int64 {
	t.Helper()
	id, err := h.repo.Comment("operator", 1, text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// remark is a comment as the API has it.
type remark struct {
	ID        int64
	Body      string
	User      struct{ Login, Type string }
	Reactions map[string]any
	Created   time.Time `json:"created_at"`
}

// remarks are all comments of the issue.
func (h *hub) remarks(t testing.TB) []remark {
	t.Helper()
	list, err := remarks(h.wire, h.api, personToken)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func remarks(wire *http.Client, api, token string) ([]remark, error) {
	var all []remark
	for page := 1; ; page++ {
		var list []remark
		status, err := call(wire, api, token, "GET", fmt.Sprintf("/repos/acme/helm/issues/1/comments?per_page=100&page=%d", page), nil, &list)
		if err != nil || status != 200 {
			return nil, fmt.Errorf("%d %w", status, err)
		}
		if all = append(all, list...); len(list) < 100 {
			return all, nil
		}
	}
}

// answers counts the answers to each order.
func (h *hub) answers(t testing.TB) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, x := range h.remarks(t) {
		if first, _, _ := strings.Cut(x.Body, "\n"); strings.HasPrefix(first, "<!-- shopfleet:order ") {
			n[first]++
		}
	}
	return n
}

// deskhand is a desk that does over the wire what the real one does, as shortly as possible: it claims by a reaction, and
// carrying out is a comment, one for each order.
type deskhand struct {
	client *github.Client
	api    string
	wire   *http.Client
	pause  time.Duration // what carrying out takes
	blind  bool          // it does not look for what was missed
	mine   sync.Map      // comments that it claimed itself: what else is claimed, another one did not finish
}

func (k *deskhand) Hear(ctx context.Context, e github.Event, kind string) (*command.Order, error) {
	o := asOrder(e.Comment)
	if o == nil || e.Comment.Bot {
		return nil, nil
	}
	may, err := k.client.Permission(ctx, o.By)
	if err != nil || may != "admin" {
		return nil, err
	}
	_, mine := k.mine.LoadOrStore(o.Comment, true)
	fresh, err := k.client.React(ctx, o.Comment, "eyes")
	if err != nil || !fresh {
		if !mine {
			k.mine.Delete(o.Comment)
		}
		return nil, err
	}
	return o, nil
}

func asOrder(c *github.Comment) *command.Order {
	if c == nil || !strings.HasPrefix(c.Body, "/") {
		return nil
	}
	verb, shop, _ := strings.Cut(c.Body[1:], " ")
	return &command.Order{Verb: verb, Shop: shop, Issue: 1, Comment: c.ID, By: c.Author, URL: c.HTMLURL, At: c.Created}
}

func answerTo(id int64) string { return fmt.Sprintf("<!-- shopfleet:order %d -->", id) }

func (k *deskhand) call(ctx context.Context, method, path string, body, into any) (int, error) {
	token, err := k.client.GitPassword(ctx)
	if err != nil {
		return 0, err
	}
	return call(k.wire, k.api, string(token), method, path, body, into)
}

func (k *deskhand) Carry(ctx context.Context, o *command.Order) error {
	time.Sleep(k.pause)
	status, err := k.call(ctx, "POST", "/repos/acme/helm/issues/1/comments", map[string]string{"body": answerTo(o.Comment) + "\ndone"}, nil)
	if err == nil && status != 201 {
		err = fmt.Errorf("answering: %d", status)
	}
	return err
}

func (k *deskhand) Recover(ctx context.Context) ([]*command.Order, error) {
	if k.blind {
		return nil, nil
	}
	token, err := k.client.GitPassword(ctx)
	if err != nil {
		return nil, err
	}
	list, err := remarks(k.wire, k.api, string(token))
	if err != nil {
		return nil, err
	}
	answered := map[string]bool{}
	for _, x := range list {
		first, _, _ := strings.Cut(x.Body, "\n")
		answered[first] = true
	}
	var found []*command.Order
	for _, x := range list { // the list is older than what was claimed meanwhile, which is why mine is asked below
		o := asOrder(&github.Comment{ID: x.ID, Body: x.Body, Author: x.User.Login, Created: x.Created})
		if o == nil || answered[answerTo(x.ID)] {
			continue
		}
		claim := ""
		for _, next := range []string{"eyes", "rocket", "confused", "heart", "hooray", "laugh"} { // each by a process that was killed
			if n, _ := x.Reactions[next].(float64); n == 0 {
				claim = next
				break
			}
		}
		_, known := k.mine.LoadOrStore(x.ID, true)
		if known {
			continue
		}
		if fresh, err := k.client.React(ctx, x.ID, claim); err != nil {
			return found, err
		} else if fresh {
			found = append(found, o)
		}
	}
	return found, nil
}

func (k *deskhand) Present(context.Context, github.Event, string) error { return nil }
