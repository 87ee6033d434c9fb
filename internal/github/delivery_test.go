package github_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/github"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

// ear is a server of webhooks.
type ear struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	heard  []github.Delivery
	errs   []error
}

func newEar(t *testing.T) *ear {
	e := &ear{status: 200}
	h := newHook(t, 0, "another", hookSecret)
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, err := h.Read(r)
		e.mu.Lock()
		defer e.mu.Unlock()
		if err != nil {
			e.errs = append(e.errs, err)
		}
		e.heard = append(e.heard, d)
		w.WriteHeader(e.status)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *ear) answers(status int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status = status
}

func (e *ear) take() ([]github.Delivery, []error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	heard, errs := e.heard, e.errs
	e.heard, e.errs = nil, nil
	return heard, errs
}

// Whatever the world delivers is read, remembered, and delivered again.
func TestDeliveriesOfTheWorld(t *testing.T) {
	w := newWorld(t)
	key, secret := newKey(t)
	e := newEar(t)
	app, err := w.AddApp(sim.NewApp{
		Slug: "shopfleet", Key: &key.PublicKey, HookURL: e.URL, HookSecret: hookSecret,
		Events:      []string{"push", "pull_request", "issues", "issue_comment", "deployment", "deployment_status", "check_run", "create", "delete"},
		Permissions: map[string]string{"contents": "write", "deployments": "write", "pull_requests": "write", "issues": "write", "checks": "write"},
	})
	if err != nil {
		t.Fatal(err)
	}
	installed, err := app.Install("acme")
	if err != nil {
		t.Fatal(err)
	}
	c := &github.Client{
		BaseURL: w.API, Owner: "acme", Repo: "helm", App: &github.App{ID: fmt.Sprint(app.ID), Key: secret}, Transport: cloudflare.LoopbackOnly(nil),
		Permissions: map[string]string{"contents": "write", "deployments": "write", "pull_requests": "write", "issues": "write", "checks": "write"}, Now: w.Now, Sleep: w.Sleep,
	}
	start := w.Now()
	w.Sleep(t.Context(), time.Minute)
	wanda := w.person(t, "wanda")
	number := w.pull(t, wanda)
	var comment struct{ ID int64 }
	w.send(t, "POST", wanda, fmt.Sprintf("/issues/%d/comments", number), map[string]string{"body": "/rollback\r\nöl"}, &comment)
	if made, err := c.CreateRef(t.Context(), github.Ref{Name: "refs/heads/shops/acme", SHA: w.tip}); err != nil || !made {
		t.Fatal(err)
	}
	d, err := c.CreateDeployment(t.Context(), github.NewDeployment{Ref: w.tip, Environment: "shop-swicked", Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeploymentStatus(t.Context(), d.ID, github.DeploymentStatus{State: "success"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutCheckRun(t.Context(), github.CheckRun{Name: "shopfleet", HeadSHA: w.tip, ExternalID: "land:7", Summary: "x", Actions: []github.CheckAction{{Label: "Land", Description: "Lands it", Identifier: "land"}}}); err != nil {
		t.Fatal(err)
	}
	w.Settle()
	heard, errs := e.take()
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	kinds := map[string]github.Event{}
	for _, d := range heard {
		if d.GUID == "" || d.Installation != installed.ID || d.Event.RepositoryName != "acme/helm" {
			t.Errorf("%s: %+v", d.Kind, d)
		}
		kinds[d.Kind] = d.Event
	}
	if k := kinds["issue_comment"].Comment; k == nil || k.ID != comment.ID || k.Issue != number || k.Body != "/rollback\r\nöl" || k.Bot || k.AuthorID != kinds["issue_comment"].SenderID || kinds["issue_comment"].SenderBot {
		t.Errorf("got %+v", k)
	}
	if k := kinds["check_run"].CheckRun; k == nil || k.Name != "shopfleet" || k.HeadSHA != w.tip || k.ExternalID != "land:7" || k.AppSlug != "shopfleet" || k.AppID != app.ID || !kinds["check_run"].SenderBot {
		t.Errorf("got %+v", k)
	}
	if k := kinds["deployment_status"].Deployment; k == nil || k.ID != d.ID || k.State != "success" || k.Environment != "shop-swicked" || k.Task != "deploy" || k.SHA != w.tip {
		t.Errorf("got %+v", k)
	}
	if k := kinds["pull_request"].PullRequest; k == nil || k.Number != number {
		t.Errorf("got %+v", k)
	}
	if k := kinds["push"]; k.Ref != "refs/heads/shops/acme" || k.After != w.tip {
		t.Errorf("got %+v", k)
	}

	w.ops()
	sent, err := c.Deliveries(t.Context(), start)
	if err != nil || len(sent) != len(heard) {
		t.Fatalf("got %d of %d, %v", len(sent), len(heard), err)
	}
	if got := w.ops(); len(got) != 1 {
		t.Errorf("called %v", got)
	}
	for i, s := range sent {
		if s.ID == 0 || s.GUID == "" || !s.OK || s.Redelivery || s.Installation != installed.ID || i > 0 && s.DeliveredAt.After(sent[i-1].DeliveredAt) {
			t.Errorf("got %+v", s)
		}
	}

	// What failed is delivered again, with its GUID.
	w.Sleep(t.Context(), time.Hour)
	since := w.Now()
	e.answers(503)
	for range 120 {
		w.send(t, "POST", wanda, fmt.Sprintf("/issues/%d/comments", number), map[string]string{"body": "/plan"}, &comment)
		w.Sleep(t.Context(), time.Minute)
	}
	w.Settle()
	lost, _ := e.take()
	w.ops()
	sent, err = c.Deliveries(t.Context(), since)
	if got := w.ops(); err != nil || len(sent) != 120 || len(got) != 2 || sent[0].OK || sent[0].Event != "issue_comment" || sent[0].Action != "created" {
		t.Fatalf("got %d, %v, by %v", len(sent), err, got)
	}
	e.answers(200)
	if err := c.Redeliver(t.Context(), sent[119].ID); err != nil {
		t.Fatal(err)
	}
	w.Settle()
	if again, errs := e.take(); len(errs) > 0 || len(again) != 1 || again[0].GUID != lost[0].GUID || again[0].Event.Comment.ID != lost[0].Event.Comment.ID {
		t.Errorf("got %+v, %v", again, errs)
	}
	if sent, err = c.Deliveries(t.Context(), since); err != nil || len(sent) != 121 || !sent[0].Redelivery || !sent[0].OK || sent[0].GUID != lost[0].GUID {
		t.Errorf("got %+v, %v", sent[:1], err)
	}
	w.fault(t, sim.Rule{Method: "POST", Path: "/attempts$", Cut: true})
	if err := c.Redeliver(t.Context(), sent[1].ID); err != nil {
		t.Error(err)
	}
	var absent *github.NotFoundError
	if err := c.Redeliver(t.Context(), 99999); !errors.As(err, &absent) {
		t.Errorf("got %v", err)
	}
	if _, err := w.client(t, nil).Deliveries(t.Context(), since); !errors.Is(err, github.ErrConfig) {
		t.Errorf("got %v", err)
	}
	if err := w.client(t, nil).Redeliver(t.Context(), 1); !errors.Is(err, github.ErrConfig) {
		t.Errorf("got %v", err)
	}
}

func TestDeliveriesMalformed(t *testing.T) {
	_, secret := newKey(t)
	next := func(cursor string) answer {
		return func(w http.ResponseWriter, r request, n int) {
			w.Header().Set("Link", `<http://`+r.path+`?cursor=`+cursor+`>; rel="next"`)
			says(200, `[{"id":1,"guid":"a","delivered_at":"2026-11-23T09:00:00Z"}]`)(w, r, n)
		}
	}
	for name, say := range map[string]answer{
		"no id":    says(200, `[{"guid":"a","delivered_at":"2026-11-23T09:00:00Z"}]`),
		"no guid":  says(200, `[{"id":1,"guid":"a\nb","delivered_at":"2026-11-23T09:00:00Z"}]`),
		"no time":  says(200, `[{"id":1,"guid":"a"}]`),
		"no list":  says(200, `{}`),
		"a circle": next("v1_1"),
		"refused":  says(401, `{"message":"A JSON web token could not be decoded"}`),
	} {
		s := serve(t, map[string]answer{"GET /app/hook/deliveries": say})
		c := s.client(newClock())
		c.Token, c.App, c.Permissions = "", &github.App{ID: "1", Key: secret}, map[string]string{"issues": "write"}
		if list, err := c.Deliveries(t.Context(), time.Time{}); err == nil {
			t.Errorf("%s: %+v", name, list)
		}
		if n := len(s.sent()); n > 2 {
			t.Errorf("%s: sent %d", name, n)
		}
	}
}

func TestConvertManifest(t *testing.T) {
	const code = "a180b1a3d263c81bc6441d7b990bae27d4c10679"
	const path = "POST /app-manifests/" + code + "/conversions"
	const app = `{"id":7,"slug":"shopfleet-acme","client_id":"Iv1.8a","client_secret":"cs","webhook_secret":"ws","pem":"-----BEGIN","html_url":"https://github.com/apps/shopfleet-acme","owner":{"login":"acme"}}`
	ask := func(s *server) (github.NewApp, error) {
		return github.ConvertManifest(t.Context(), s.URL, cloudflare.LoopbackOnly(nil), code)
	}
	s := serve(t, map[string]answer{path: says(201, app)})
	got, err := ask(s)
	if err != nil || got.ID != 7 || got.Slug != "shopfleet-acme" || got.ClientID != "Iv1.8a" || string(got.ClientSecret) != "cs" || string(got.WebhookSecret) != "ws" || string(got.PrivKey) != "-----BEGIN" || got.HTMLURL == "" {
		t.Errorf("got %+v, %v", got, err)
	}
	if text := fmt.Sprintf("%v %+v %#v", got, got, got); strings.Contains(text, "BEGIN") || strings.Contains(text, `"ws"`) {
		t.Errorf("it tells %s", text)
	}
	if r := s.last(); r.auth != "" {
		t.Errorf("sent the authorisation %q", r.auth)
	}
	for name, say := range map[string]answer{
		"used":     says(404, `{"message":"Not Found"}`),
		"refused":  says(422, `{"message":"`+code+` is no code"}`),
		"a fault":  says(502, `x`),
		"lost":     cutOff,
		"no key":   says(201, `{"id":7}`),
		"nonsense": says(201, `{"pem":"-----BEGIN`),
		"moved":    says(301, ``, "Location", "https://elsewhere.example/"),
	} {
		s := serve(t, map[string]answer{path: say})
		got, err := ask(s)
		if err == nil || strings.Contains(err.Error(), code) || strings.Contains(err.Error(), "BEGIN") || got.ID != 0 {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		if n := len(s.sent()); n != 1 {
			t.Errorf("%s: sent %d", name, n)
		}
	}
	for _, code := range []string{"", "a/b", "../x", "a b", "a?b"} {
		if _, err := github.ConvertManifest(t.Context(), s.URL, nil, code); !errors.Is(err, github.ErrArgument) || code != "" && strings.Contains(err.Error(), code) {
			t.Errorf("%q: %v", code, err)
		}
	}
	if _, err := github.ConvertManifest(t.Context(), "http://example.com", nil, code); !errors.Is(err, github.ErrConfig) {
		t.Errorf("got %v", err)
	}
}
