package simtest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/sim/github"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

func TestEveryRequestToGitHubIsValidated(t *testing.T) {
	seen := &witness{TB: t}
	g := simtest.NewGitHub(seen, github.Options{})
	helm := g.Repository(t, "kvick", "helm")
	if _, err := g.AddUser("wanda", ""); err != nil {
		t.Fatal(err)
	}
	if err := helm.SetPermission("wanda", "write"); err != nil {
		t.Fatal(err)
	}
	if err := g.AddToken("pat", "wanda"); err != nil {
		t.Fatal(err)
	}
	do := func(method, path, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, g.API+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "token pat")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return // cut on purpose
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	const repo = "/repos/kvick/helm"
	tests := []struct {
		name, method, path, body string
		want                     string // part of the complaint; "" when there is nothing to complain about
	}{
		{"a ref of several segments", "GET", repo + "/git/ref/heads/shops/acme", "", ""},
		{"deployment", "POST", repo + "/deployments", `{"ref":"main","auto_merge":false}`, ""},
		{"a field that is not described", "POST", repo + "/deployments", `{"ref":"main","automerge":false}`, `"automerge" is not described`},
		{"a query that is not described", "GET", repo + "/deployments?env=a", "", `"env" is not described`},
		{"a query of the wrong type", "GET", repo + "/deployments?per_page=all", "", "per_page"},
		{"a body where there is none", "GET", repo + "/deployments", `{}`, "a body is not described"},
		{"refused on purpose", "POST", repo + "/deployments", `{"ref":1}`, ""},
		{"no such operation", "POST", repo + "/deployments/1", `{}`, ""}, // answered 404
		{"GraphQL", "POST", "/graphql", `{"query":"{__typename}"}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			do(tt.method, tt.path, tt.body)
			got := strings.Join(seen.caught(), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("complaint %q, want one about %q", got, tt.want)
			}
		})
	}

	// What a fault makes up is let through; the request is still checked, also when its answer is lost.
	if _, err := g.Fault(github.Rule{Path: "/deployments$", Status: 200, Body: `{"none":true}`}); err != nil {
		t.Fatal(err)
	}
	do("GET", repo+"/deployments", "")
	if got := seen.caught(); len(got) != 0 {
		t.Errorf("a fault on purpose was reported: %v", got)
	}
	if _, err := g.Fault(github.Rule{Path: "/deployments$", Cut: true}); err != nil {
		t.Fatal(err)
	}
	do("POST", repo+"/deployments", `{"ref":"main","automerge":false}`)
	if got := strings.Join(seen.caught(), "\n"); !strings.Contains(got, "automerge") {
		t.Errorf("a request whose answer was lost was not checked: %q", got)
	}
}
