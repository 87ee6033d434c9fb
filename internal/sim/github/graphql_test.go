package github_test

import (
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/sim/github"
)

const updateRefs = `mutation($repositoryId: ID!, $refUpdates: [RefUpdate!]!) {
  updateRefs(input: {repositoryId: $repositoryId, refUpdates: $refUpdates}) { clientMutationId }
}`

func TestUpdateRefs(t *testing.T) {
	s := newScene(t, github.Options{})
	zeros := strings.Repeat("0", 40)
	one := s.commit(t, "shops/acme", "one", map[string]string{"a": "1\n"})
	two := s.commit(t, "shops/acme", "two", map[string]string{"a": "2\n"})
	side := s.commit(t, "side", "side", map[string]string{"b": "1\n"})
	app := newApp(t, s, map[string]string{"contents": "write"}, "")
	c := s.as(t, app.token(nil))
	id := c.do(200, "POST", "/graphql", body{"query": `query { repository(owner: "kvick", name: "helm") { id } }`}).text("data", "repository", "id")
	if id != c.do(200, "GET", repoPath, nil).text("node_id") {
		t.Errorf("GraphQL calls the repository %s", id)
	}
	send := func(c client, updates ...body) got {
		t.Helper()
		return c.do(200, "POST", "/graphql", body{"query": updateRefs, "variables": body{"repositoryId": id, "refUpdates": updates}})
	}
	tip := func(branch string) string {
		t.Helper()
		g, err := c.try("GET", repoPath+"/git/ref/heads/"+branch, nil)
		if err != nil {
			t.Fatal(err)
		}
		return g.text("object", "sha")
	}
	update := func(name, before, after string) body {
		return body{"name": "refs/heads/" + name, "beforeOid": before, "afterOid": after, "force": true}
	}
	good := send(c, update("shops/acme", two, side), update("backup/acme/1", zeros, two))
	if good.at("errors") != nil || tip("shops/acme") != side || tip("backup/acme/1") != two {
		t.Fatalf("two refs at once: %v", good.body)
	}
	for what, updates := range map[string][]body{
		"stale":               {update("shops/acme", two, one), update("new", zeros, one)},
		"there already":       {update("backup/acme/1", zeros, one), update("new", zeros, one)},
		"not there":           {update("none", one, two), update("new", zeros, one)},
		"missing object":      {update("shops/acme", side, strings.Repeat("a", 40)), update("new", zeros, one)},
		"default branch gone": {update("main", one, zeros)},
		"hostile":             {update("../x", zeros, one), update("new", zeros, one)},
		"one name twice":      {update("new", zeros, one), update("new", zeros, two)},
		"not a fast forward":  {{"name": "refs/heads/shops/acme", "beforeOid": side, "afterOid": one}, update("new", zeros, one)},
	} {
		g := send(c, updates...)
		message := g.text("errors", 0, "message")
		if !strings.HasPrefix(message, "Something went wrong") || g.at("errors", 0, "type") != nil || g.at("errors", 0, "extensions") != nil {
			t.Errorf("%s: %v", what, g.body)
		}
		if tip("new") != "" || tip("shops/acme") != side {
			t.Errorf("%s: something moved", what)
		}
	}
	if g := send(c, body{"name": "refs/heads/free", "afterOid": one}); g.at("errors") != nil || tip("free") != one {
		t.Errorf("without beforeOid: %v", g.body)
	}
	if g := send(c, update("free", one, zeros)); g.at("errors") != nil || tip("free") != "" {
		t.Errorf("delete: %v", g.body)
	}
	if g := send(s.as(t, app.token(map[string]string{"contents": "read"})), update("new", zeros, one)); g.text("errors", 0, "type") != "FORBIDDEN" {
		t.Errorf("without permission: %v", g.body)
	}
	if g := send(s.as(t, "pat-nobody"), update("new", zeros, one)); g.text("errors", 0, "type") != "NOT_FOUND" {
		t.Errorf("a stranger: %v", g.body)
	}
	s.as(t, "").do(401, "POST", "/graphql", body{"query": "{ __typename }"})
	if g := c.do(200, "POST", "/graphql", body{"query": "mutation { updateRefs { clientMutationId } }"}); g.at("errors") == nil || g.at("data") != nil {
		t.Errorf("a query that does not fit the schema: %v", g.body)
	}
}

// GET /user does not answer the tokens of Actions and Apps; viewer does.
func TestViewer(t *testing.T) {
	s := newScene(t, github.Options{})
	token, err := s.helm.ActionsToken(map[string]string{"contents": "read"})
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, s, map[string]string{"contents": "read"}, "")
	for want, token := range map[string]string{"github-actions[bot]": token, app.Bot: app.token(nil)} {
		if got := s.as(t, token).do(200, "POST", "/graphql", body{"query": "query { viewer { login } }"}).text("data", "viewer", "login"); got != want {
			t.Errorf("the viewer is %q, want %q", got, want)
		}
	}
}

// TestGraphQLDeployments wants connections to ask for their bounds as GitHub's do, and nothing to be told to those who may not
// read deployments.
func TestGraphQLDeployments(t *testing.T) {
	s := newScene(t, github.Options{})
	s.commit(t, "shops/acme", "one", map[string]string{"a": "1\n"})
	app := newApp(t, s, map[string]string{"contents": "write", "deployments": "write"}, "")
	c := s.as(t, app.token(nil))
	for _, task := range []string{"first", "second", "third"} {
		c.do(201, "POST", repoPath+"/deployments", body{"ref": "shops/acme", "task": task, "environment": "shop-acme", "auto_merge": false, "required_contexts": []string{}})
	}
	ask := func(c client, arguments string) got {
		t.Helper()
		return c.do(200, "POST", "/graphql", body{"query": `{ repository(owner: "kvick", name: "helm") { deployments(` + arguments + `) { totalCount nodes { task payload latestStatus { state } statuses(first: 1) { totalCount } } } } }`})
	}
	for arguments, want := range map[string]string{
		`first: 2`: "first second", `last: 1`: "third", `first: 1, orderBy: {field: CREATED_AT, direction: DESC}`: "third",
		`first: 9, environments: ["shop-acme", "other"]`: "first second third", `first: 9, environments: ["other"]`: "", `first: 9, environments: []`: "",
	} {
		g := ask(c, arguments)
		tasks := []string{}
		nodes, _ := g.at("data", "repository", "deployments", "nodes").([]any)
		for _, n := range nodes {
			tasks = append(tasks, n.(map[string]any)["task"].(string))
		}
		if strings.Join(tasks, " ") != want {
			t.Errorf("%s gives %q; want %q", arguments, tasks, want)
		}
	}
	for _, arguments := range []string{`environments: ["shop-acme"]`, `first: 101`, `last: -1`} {
		if g := ask(c, arguments); g.at("errors") == nil {
			t.Errorf("%s is answered", arguments)
		}
	}
	if g := ask(s.as(t, app.token(map[string]string{"contents": "read"})), `first: 1`); g.at("errors") == nil || g.at("data", "repository") != nil {
		t.Error("deployments are told to an App that may not read them")
	}
}
