package github_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/github"
)

// Forty environments cost two requests, whatever happened in them, and tell what GitHub's lists of each would.
func TestHistories(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, map[string]string{"contents": "read", "deployments": "write"})
	var environments []string
	for i := range 40 {
		environments = append(environments, fmt.Sprintf("shop-%d", i))
	}
	for i, states := range [][]string{{"in_progress", "success", "inactive"}, {"in_progress", "success"}, {"in_progress", "failure"}, nil} {
		n := newDeployment()
		n.Ref, n.Environment, n.Key, n.Payload = "shops/swicked", "shop-7", fmt.Sprint("swicked/v", i), map[string]any{"version_id": fmt.Sprint("v", i)}
		d, err := c.CreateDeployment(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		for _, state := range states {
			if err := c.SetDeploymentStatus(t.Context(), d.ID, github.DeploymentStatus{State: state, Description: "it is " + state}); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.ForgetRequests()
	got, err := c.Histories(t.Context(), environments, 3)
	if err != nil {
		t.Fatal(err)
	}
	if ops := w.ops(); len(ops) != 2 {
		t.Errorf("it took %d requests: %q", len(ops), ops)
	}
	if len(got) != 40 || len(got["shop-6"]) != 0 {
		t.Errorf("%d environments; shop-6 has %v", len(got), got["shop-6"])
	}
	list, err := c.Deployments(t.Context(), "shop-7", "", 3)
	if err != nil || len(list) != 3 || len(got["shop-7"]) != 3 {
		t.Fatalf("the list has %d, the histories %d, %v", len(list), len(got["shop-7"]), err)
	}
	for i, h := range got["shop-7"] {
		want := list[i]
		if h.ID != 0 || h.SHA != want.SHA || h.Task != want.Task || !h.Created.Equal(want.Created) || h.Creator != want.Creator || string(h.Payload) != string(want.Payload) || h.Description != want.Description {
			t.Errorf("history %d is %+v, the list has %+v", i, h.Deployment, want)
		}
		statuses, err := c.DeploymentStatuses(t.Context(), want.ID)
		if err != nil || len(statuses) != len(h.Statuses) {
			t.Fatalf("history %d has %d statuses, the list %d, %v", i, len(h.Statuses), len(statuses), err)
		}
		for j, s := range h.Statuses {
			if s.State != statuses[j].State || s.Description != statuses[j].Description || !s.Created.Equal(statuses[j].Created) {
				t.Errorf("status %d of %d is %+v, the list has %+v", j, i, s, statuses[j])
			}
		}
	}
	if _, err := w.client(t, map[string]string{"contents": "read"}).Histories(t.Context(), environments[:1], 1); err == nil || !strings.Contains(err.Error(), "not accessible") {
		t.Errorf("without the permission it says %v", err)
	}
}

// The contract does not say in which order statuses come.
func TestHistoriesInAnyOrder(t *testing.T) {
	node := func(statuses string) string {
		return `{"id":"DE_1","environment":"shop-a","commitOid":"` + sha + `","createdAt":"2026-11-23T09:00:00Z","payload":"\"{\\\"shopfleet\\\":1}\"","creator":null,` +
			`"latestStatus":{"id":"S3","state":"SUCCESS"},"statuses":{"nodes":[` + statuses + `]}}`
	}
	for name, statuses := range map[string]string{
		"newest first": `{"id":"S3","state":"SUCCESS"},{"id":"S2","state":"IN_PROGRESS"}`,
		"oldest first": `{"id":"S2","state":"IN_PROGRESS"},{"id":"S3","state":"SUCCESS"}`,
		"cut":          `{"id":"S2","state":"IN_PROGRESS"}`,
	} {
		s := serve(t, map[string]answer{"POST /graphql": says(200, `{"data":{"repository":{"d0":{"nodes":[`+node(statuses)+`]}}}}`)})
		got, err := s.client(newClock()).Histories(t.Context(), []string{"shop-a"}, 1)
		if err != nil || len(got["shop-a"]) != 1 {
			t.Fatalf("%s: %v, %v", name, got, err)
		}
		h := got["shop-a"][0]
		if len(h.Statuses) != 2 || h.Statuses[0].State != "success" || h.Statuses[1].State != "in_progress" || string(h.Payload) != `{"shopfleet":1}` {
			t.Errorf("%s: %+v", name, h)
		}
	}
	for name, text := range map[string]string{
		"another environment": `{"data":{"repository":{"d0":{"nodes":[` + strings.Replace(node(""), "shop-a", "shop-b", 1) + `]}}}}`,
		"nothing":             `{"data":{"repository":{}}}`,
	} {
		s := serve(t, map[string]answer{"POST /graphql": says(200, text)})
		if _, err := s.client(newClock()).Histories(t.Context(), []string{"shop-a"}, 1); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
