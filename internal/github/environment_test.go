package github_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/github"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

const (
	opEnvironment    = "GET /repos/{owner}/{repo}/environments/{environment_name}"
	opPutEnvironment = "PUT /repos/{owner}/{repo}/environments/{environment_name}"
	opPolicies       = "GET /repos/{owner}/{repo}/environments/{environment_name}/deployment-branch-policies"
	opPutPolicy      = "POST /repos/{owner}/{repo}/environments/{environment_name}/deployment-branch-policies"
)

// admin is a client of adam, who has admin on the repository.
func (w *world) admin(t *testing.T) (c *github.Client, adam int64) {
	t.Helper()
	u, err := w.AddUser("adam", "")
	if err == nil {
		err = w.AddToken("pat-adam", "adam")
	}
	if err == nil {
		err = w.repo.SetPermission("adam", "admin")
	}
	if err != nil {
		t.Fatal(err)
	}
	return &github.Client{
		BaseURL: w.API, Owner: "acme", Repo: "helm", Token: "pat-adam", Transport: cloudflare.LoopbackOnly(nil), Now: w.Now, Sleep: w.Sleep,
	}, u.ID
}

// by has adam write to the API without our client.
func (w *world) by(t *testing.T, method, path, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.API+"/repos/acme/helm"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer pat-adam")
	req.Header.Set("Content-Type", "application/json")
	resp, err := cloudflare.LoopbackOnly(nil).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}

func TestPutEnvironment(t *testing.T) {
	w := newWorld(t)
	c, _ := w.admin(t)
	put := func(want bool, calls ...string) github.Environment {
		t.Helper()
		w.ops()
		changed, err := c.PutEnvironment(t.Context(), "shop-swicked", "shops/swicked")
		if err != nil || changed != want {
			t.Fatalf("changed: %v, %v; want %v", changed, err, want)
		}
		if got := w.ops(); !slices.Equal(got, calls) {
			t.Errorf("called %q; want %q", got, calls)
		}
		e, err := c.Environment(t.Context(), "shop-swicked")
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if _, err := c.Environment(t.Context(), "shop-swicked"); !isAbsent(err) || !strings.Contains(err.Error(), "the environment shop-swicked is not there") {
		t.Errorf("before: %v", err)
	}
	e := put(true, opEnvironment, opPutEnvironment, opPutPolicy)
	if !e.Custom || e.Protected || !slices.Equal(e.Branches, []string{"shops/swicked"}) || e.WaitMinutes != 0 || e.Reviewers != nil {
		t.Errorf("made: %+v", e)
	}
	put(false, opEnvironment, opPolicies)

	// What others added stays.
	w.by(t, "POST", "/environments/shop-swicked/deployment-branch-policies", `{"name":"main"}`)
	w.by(t, "POST", "/environments/shop-swicked/deployment-branch-policies", `{"name":"v*","type":"tag"}`)
	if e := put(false, opEnvironment, opPolicies); !slices.Equal(e.Branches, []string{"shops/swicked", "main"}) {
		t.Errorf("with another: %+v", e)
	}
	for deleted := range slices.Values([]bool{true, false}) {
		if was, err := c.DeleteEnvironment(t.Context(), "shop-swicked"); err != nil || was != deleted {
			t.Errorf("deleted: %v, %v; want %v", was, err, deleted)
		}
	}
}

func isAbsent(err error) bool {
	var absent *github.NotFoundError
	return errors.As(err, &absent)
}

// Whatever protection is there stays, to the minute and the reviewer.
func TestPutEnvironmentKeepsProtection(t *testing.T) {
	w := newWorld(t)
	c, adam := w.admin(t)
	if err := w.AddTeam("acme", "bike-fitters", "adam"); err != nil {
		t.Fatal(err)
	}
	team := w.TeamID("acme", "bike-fitters")
	reviewers := fmt.Sprintf(`[{"type":"User","id":%d},{"type":"Team","id":%d}]`, adam, team)
	w.by(t, "PUT", "/environments/shop-swicked", `{"wait_timer":30,"prevent_self_review":true,"reviewers":`+reviewers+`}`)
	if changed, err := c.PutEnvironment(t.Context(), "shop-swicked", "shops/swicked"); err != nil || !changed {
		t.Fatalf("completed: %v, %v", changed, err)
	}
	e, err := c.Environment(t.Context(), "shop-swicked")
	want := []github.Reviewer{{Type: "User", ID: adam}, {Type: "Team", ID: team}}
	if err != nil || e.WaitMinutes != 30 || !e.PreventSelfReview || !slices.Equal(e.Reviewers, want) || !e.Custom || !slices.Equal(e.Branches, []string{"shops/swicked"}) {
		t.Errorf("completed: %+v, %v", e, err)
	}

	w.by(t, "PUT", "/environments/shop-acme", `{"wait_timer":5,"deployment_branch_policy":{"protected_branches":true,"custom_branch_policies":false}}`)
	if changed, err := c.PutEnvironment(t.Context(), "shop-acme", "shops/acme"); err != nil || changed {
		t.Errorf("with protected branches: %v, %v", changed, err)
	}
	if e, err := c.Environment(t.Context(), "shop-acme"); err != nil || !e.Protected || e.Custom || e.WaitMinutes != 5 || e.Branches != nil {
		t.Errorf("with protected branches: %+v, %v", e, err)
	}
}

// Cut at any call, with or without effect, a second run ends with the same environment, and nothing is there twice.
func TestPutEnvironmentAfterFaults(t *testing.T) {
	for _, op := range []string{"GET", "PUT", "POST"} {
		for _, kind := range []sim.Rule{{Cut: true}, {Drop: true}, {Status: 502, After: true}, {Status: 403}} {
			w := newWorld(t)
			c, _ := w.admin(t)
			kind.Method, kind.Path = op, "/environments/"
			w.fault(t, kind)
			_, first := c.PutEnvironment(t.Context(), "shop-swicked", "shops/swicked")
			if (first == nil) != (kind.Status != 403) {
				t.Errorf("%s %+v: %v", op, kind, first)
			}
			if _, err := c.PutEnvironment(t.Context(), "shop-swicked", "shops/swicked"); err != nil {
				t.Errorf("%s %+v again: %v", op, kind, err)
			}
			if e, err := c.Environment(t.Context(), "shop-swicked"); err != nil || !slices.Equal(e.Branches, []string{"shops/swicked"}) {
				t.Errorf("%s %+v: %+v, %v", op, kind, e, err)
			}
		}
	}
}

// A token that may not look writes nothing: what it cannot see it would wipe.
func TestPutEnvironmentLooksFirst(t *testing.T) {
	w := newWorld(t)
	w.admin(t)
	w.by(t, "PUT", "/environments/shop-swicked", `{"wait_timer":30}`)
	c := w.client(t, map[string]string{"deployments": "write"})
	w.ops()
	_, err := c.PutEnvironment(t.Context(), "shop-swicked", "shops/swicked")
	var refused *github.Error
	if !errors.As(err, &refused) || refused.Status != http.StatusForbidden || !strings.Contains(refused.Hint(), "actions: read") {
		t.Errorf("without actions: read: %v", err)
	}
	if got := w.ops(); !slices.Equal(got, []string{opEnvironment}) {
		t.Errorf("called %q", got)
	}
	for _, branch := range []string{"", "shops/*", "shops/[a]", "shops/a?", `shops/\a`, "{a,b}", "!a"} {
		if _, err := c.PutEnvironment(t.Context(), "shop-a", branch); !errors.Is(err, github.ErrArgument) {
			t.Errorf("branch %q: %v", branch, err)
		}
	}
	for _, call := range []error{errOf(c.Environment(t.Context(), "")), errOf(c.DeleteEnvironment(t.Context(), ""))} {
		if !errors.Is(call, github.ErrArgument) {
			t.Errorf("without a name: %v", call)
		}
	}
	if got := w.ops(); len(got) != 0 {
		t.Errorf("called %q", got)
	}
}

func errOf[T any](_ T, err error) error { return err }

// Answers that do not say what they must say are not written back.
func TestEnvironmentMalformed(t *testing.T) {
	for _, text := range []string{
		`{"name":"shop-other"}`, `{}`, `[]`,
		`{"name":"shop-a","protection_rules":[{"type":"required_reviewers","reviewers":[{"type":"Robot","reviewer":{"id":1}}]}]}`,
		`{"name":"shop-a","protection_rules":[{"type":"required_reviewers","reviewers":[{"type":"User","reviewer":{}}]}]}`,
	} {
		s := serve(t, map[string]answer{"GET /repos/acme/helm/environments/shop-a": func(w http.ResponseWriter, _ request, _ int) { fmt.Fprint(w, text) }})
		if _, err := s.client(newClock()).PutEnvironment(t.Context(), "shop-a", "shops/a"); !errors.Is(err, github.ErrMalformed) {
			t.Errorf("%s: %v", text, err)
		}
	}
	// A slash is part of the name.
	s := serve(t, map[string]answer{"GET /repos/acme/helm/environments/shops%2Fa": func(w http.ResponseWriter, _ request, _ int) { fmt.Fprint(w, `{"name":"shops/a"}`) }})
	if e, err := s.client(newClock()).Environment(t.Context(), "shops/a"); err != nil || e.Name != "shops/a" {
		t.Errorf("a name with a slash: %+v, %v", e, err)
	}
}

// Two who complete an environment at the same time are both told that it is complete.
func TestPutEnvironmentTwiceAtOnce(t *testing.T) {
	const path = "/repos/acme/helm/environments/shop-a"
	s := serve(t, map[string]answer{
		"GET " + path: func(w http.ResponseWriter, _ request, _ int) {
			fmt.Fprint(w, `{"name":"shop-a","deployment_branch_policy":{"protected_branches":false,"custom_branch_policies":true}}`)
		},
		"GET " + path + "/deployment-branch-policies":  func(w http.ResponseWriter, _ request, _ int) { fmt.Fprint(w, `{"branch_policies":[]}`) },
		"POST " + path + "/deployment-branch-policies": func(w http.ResponseWriter, _ request, _ int) { w.WriteHeader(http.StatusSeeOther) },
	})
	if _, err := s.client(newClock()).PutEnvironment(t.Context(), "shop-a", "shops/a"); err != nil {
		t.Error(err)
	}
	if got := s.last().body; got["name"] != "shops/a" || got["type"] != "branch" {
		t.Errorf("sent %v", got)
	}
}
