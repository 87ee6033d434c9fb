package github_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/github"
)

const deployments = "/repos/acme/helm/deployments"

func newDeployment() github.NewDeployment {
	return github.NewDeployment{
		Ref: sha, Environment: "shop-swicked", Description: "release v2", Key: "swicked/v2", Production: true,
		Payload: map[string]any{"version_id": "v2"},
	}
}

func deploymentText(id int, key string) string {
	return fmt.Sprintf(`{"id":%d,"sha":%q,"ref":%q,"task":"deploy","environment":"shop-swicked","payload":{"key":%q,"version_id":"v2"},`+
		`"created_at":"2026-11-23T09:00:00Z","creator":{"login":"shopfleet[bot]"},"description":"release v2"}`, id, sha, sha, key)
}

func TestCreateDeployment(t *testing.T) {
	s := serve(t, map[string]answer{"POST " + deployments: says(201, deploymentText(7, "swicked/v2"))})
	c := s.client(newClock())
	d, err := c.CreateDeployment(t.Context(), newDeployment())
	if err != nil || d.ID != 7 || d.Creator != "shopfleet[bot]" || !strings.Contains(string(d.Payload), `"version_id":"v2"`) {
		t.Fatalf("got %+v, %v", d, err)
	}
	if c.Calls() != 1 {
		t.Errorf("it took %d calls; want 1", c.Calls())
	}
	body := s.last().body
	payload, _ := body["payload"].(map[string]any)
	contexts, ok := body["required_contexts"].([]any)
	if body["auto_merge"] != false || !ok || len(contexts) != 0 || body["production_environment"] != true || payload["key"] != "swicked/v2" || payload["version_id"] != "v2" {
		t.Errorf("sent %v", body)
	}
}

// A create whose answer is lost is looked for. It is sent again only when it is not there.
func TestCreateDeploymentLost(t *testing.T) {
	list := func(items ...string) answer { return says(200, "["+strings.Join(items, ",")+"]") }
	made := says(201, deploymentText(8, "swicked/v2"))
	for _, test := range []struct {
		name        string
		post, get   answer
		id          int64
		posts, gets int
	}{
		{"cut after the effect", cutOff, list(deploymentText(6, "swicked/v1"), deploymentText(7, "swicked/v2")), 7, 1, 1},
		{"cut in the answer", halfway, list(deploymentText(7, "swicked/v2")), 7, 1, 1},
		{"502 after the effect", says(502, "<html>"), list(deploymentText(7, "swicked/v2")), 7, 1, 1},
		{"an answer without an id", says(201, "{}"), list(deploymentText(7, "swicked/v2")), 7, 1, 1},
		{"an empty answer", says(201, ""), list(deploymentText(7, "swicked/v2")), 7, 1, 1},
		{"cut before the effect", inTurn(cutOff, made), list(deploymentText(6, "swicked/v1")), 8, 2, 1},
		{"500 before the effect", inTurn(says(500, "{}"), says(500, "{}"), made), list(), 8, 3, 2},
		{"seen late", cutOff, inTurn(list(), list(deploymentText(7, "swicked/v2"))), 7, 2, 2},
		{"a payload that is text", cutOff, list(`{"id":7,"environment":"shop-swicked","payload":"{\"key\":\"swicked/v2\"}"}`), 7, 1, 1},
		{"a read that fails once", cutOff, inTurn(says(502, ""), list(deploymentText(7, "swicked/v2"))), 7, 1, 2},
		{"202", says(202, `{"message":"Auto-merged main into shops/swicked on deployment."}`), list(deploymentText(7, "swicked/v2")), 7, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, map[string]answer{"POST " + deployments: test.post, "GET " + deployments: test.get})
			d, err := s.client(newClock()).CreateDeployment(t.Context(), newDeployment())
			if err != nil || d.ID != test.id {
				t.Errorf("got %+v, %v; want deployment %d", d, err, test.id)
			}
			posts := strings.Count(strings.Join(s.sent(), "\n"), "POST")
			if gets := len(s.sent()) - posts; posts != test.posts || gets != test.gets {
				t.Errorf("sent %v; want %d POST and %d GET", s.sent(), test.posts, test.gets)
			}
		})
	}
}

func TestCreateDeploymentFails(t *testing.T) {
	none := says(200, "[]")
	for _, test := range []struct {
		name      string
		post, get answer
		unclear   bool
		want      string
		posts     int
	}{
		{"never", says(500, `{"message":"oops"}`), none, false, "500 oops", 3},
		{"202 and nothing there", says(202, "{}"), none, false, "202", 1},
		{"conflict", says(409, `{"message":"Conflict merging main into shops/swicked"}`), none, false, "409 Conflict", 1},
		{"refused", says(422, `{"message":"Validation Failed","errors":[{"resource":"Deployment","code":"custom","field":"ref","message":"No ref found"}]}`), none, false, "422 Validation Failed; No ref found", 1},
		{"cannot be looked for", cutOff, says(403, `{"message":"Resource not accessible by integration"}`), true, "it may have happened", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, map[string]answer{"POST " + deployments: test.post, "GET " + deployments: test.get})
			_, err := s.client(newClock()).CreateDeployment(t.Context(), newDeployment())
			var e *github.Error
			if !errors.As(err, &e) || e.Unclear != test.unclear || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v; want …%s…, unclear %v", err, test.want, test.unclear)
			}
			if posts := strings.Count(strings.Join(s.sent(), "\n"), "POST"); posts != test.posts {
				t.Errorf("sent %v; want %d POST", s.sent(), test.posts)
			}
		})
	}
}

func TestNewDeploymentRefused(t *testing.T) {
	s := serve(t, nil)
	c := s.client(newClock())
	for name, change := range map[string]func(*github.NewDeployment){
		"no key":         func(n *github.NewDeployment) { n.Key = "" },
		"no ref":         func(n *github.NewDeployment) { n.Ref = "" },
		"no environment": func(n *github.NewDeployment) { n.Environment = "" },
		"a list":         func(n *github.NewDeployment) { n.Payload = []int{1} },
		"another key":    func(n *github.NewDeployment) { n.Payload = map[string]string{"key": "x"} },
		"not JSON":       func(n *github.NewDeployment) { n.Payload = func() {} },
	} {
		n := newDeployment()
		change(&n)
		if _, err := c.CreateDeployment(t.Context(), n); !errors.Is(err, github.ErrArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Deployments(t.Context(), "", "", 5); !errors.Is(err, github.ErrArgument) {
		t.Errorf("no environment: %v", err)
	}
}

func TestDeployments(t *testing.T) {
	page := func(from, to int) string {
		var items []string
		for i := from; i >= to; i-- {
			items = append(items, deploymentText(i, fmt.Sprint("k", i)))
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	var s *server
	s = serve(t, map[string]answer{"GET " + deployments: func(w http.ResponseWriter, r request, n int) {
		if n == 1 {
			w.Header().Set("Link", fmt.Sprintf(`<%s%s?page=2>; rel="next"`, s.URL, deployments))
			says(200, page(300, 201))(w, r, n)
			return
		}
		says(200, page(200, 101))(w, r, n)
	}})
	list, err := s.client(newClock()).Deployments(t.Context(), "shop-swicked", "", 150)
	if err != nil || len(list) != 150 || list[0].ID != 300 || list[149].ID != 151 {
		t.Fatalf("got %d, %v", len(list), err)
	}
	wantSent(t, s, "GET "+deployments, "GET "+deployments)
	if q := s.last().query; !strings.Contains(q, "environment=shop-swicked") || !strings.Contains(q, "page=2") {
		t.Errorf("asked %s", q)
	}
}

// Another program's deployments are read too, and a filter that the server ignores is not believed.
func TestDeploymentsOfOthers(t *testing.T) {
	s := serve(t, map[string]answer{"GET " + deployments: says(200, `[
		{"id":1,"environment":"shop-other"},
		{"id":2,"environment":"shop-swicked","payload":"","creator":null},
		{"id":3,"environment":"shop-swicked","payload":"plain"},
		{"id":4,"environment":"shop-swicked","payload":{}},
		{"id":5,"environment":"shop-swicked","payload":null}]`)})
	list, err := s.client(newClock()).Deployments(t.Context(), "shop-swicked", "", 0)
	if err != nil || len(list) != 4 || list[0].ID != 2 {
		t.Fatalf("got %+v, %v", list, err)
	}
	for _, d := range list {
		if d.Payload != nil {
			t.Errorf("deployment %d has the payload %s", d.ID, d.Payload)
		}
	}
}

func TestDeploymentsEndless(t *testing.T) {
	var s *server
	s = serve(t, map[string]answer{"GET " + deployments: func(w http.ResponseWriter, r request, n int) {
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?page=1>; rel="next"`, s.URL, deployments))
		says(200, "[]")(w, r, n)
	}})
	if _, err := s.client(newClock()).Deployments(t.Context(), "shop-swicked", "", 50); !errors.Is(err, github.ErrPaging) {
		t.Errorf("got %v", err)
	}
}

func TestSetDeploymentStatus(t *testing.T) {
	statuses := deployments + "/7/statuses"
	status := github.DeploymentStatus{State: "success", LogURL: "https://github.com/acme/helm/actions/runs/1", EnvironmentURL: "https://swicked.kvick.bike", Description: strings.Repeat("é", 200)}
	kept := strings.Repeat("é", 139) + "…"
	there := fmt.Sprintf(`{"id":1,"state":"success","log_url":%q,"environment_url":%q,"description":%q}`, status.LogURL, status.EnvironmentURL, kept)

	s := serve(t, map[string]answer{"POST " + statuses: says(201, there)})
	if err := s.client(newClock()).SetDeploymentStatus(t.Context(), 7, status); err != nil {
		t.Fatal(err)
	}
	wantSent(t, s, "POST "+statuses)
	if body := s.last().body; body["auto_inactive"] != false || body["state"] != "success" || body["description"] != kept {
		t.Errorf("sent %v", body)
	}

	s = serve(t, map[string]answer{"POST " + statuses: cutOff, "GET " + statuses: says(200, "["+there+`,{"id":0,"state":"in_progress"}]`)})
	if err := s.client(newClock()).SetDeploymentStatus(t.Context(), 7, status); err != nil {
		t.Fatal(err)
	}
	wantSent(t, s, "POST "+statuses, "GET "+statuses)

	s = serve(t, map[string]answer{"POST " + statuses: inTurn(cutOff, says(201, there)), "GET " + statuses: says(200, `[{"id":0,"state":"in_progress"}]`)})
	if err := s.client(newClock()).SetDeploymentStatus(t.Context(), 7, status); err != nil {
		t.Fatal(err)
	}
	wantSent(t, s, "POST "+statuses, "GET "+statuses, "POST "+statuses)

	s = serve(t, map[string]answer{"POST " + statuses: says(404, `{"message":"Not Found"}`)})
	var absent *github.NotFoundError
	if err := s.client(newClock()).SetDeploymentStatus(t.Context(), 7, status); !errors.As(err, &absent) {
		t.Errorf("got %v", err)
	}
}
