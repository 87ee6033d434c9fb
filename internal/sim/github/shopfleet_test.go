package github_test

import (
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/sim/github"
)

// Refs outside heads and tags take what the others take: made once, listed by prefix, moved by compare-and-swap. They are
// neither pushes nor branches: no webhook tells of them and no workflow starts.
func TestRefsOfOurOwn(t *testing.T) {
	hooks := newReceiver(t)
	s := newScene(t, github.Options{})
	s.commit(t, "main", "ci", map[string]string{".github/workflows/w.yml": "on: [push, create, delete]\n"})
	app := newApp(t, s, map[string]string{"contents": "write"}, hooks.URL, "push", "create", "delete")
	c := s.as(t, app.token(nil))
	hooks.take(s)
	started := len(s.helm.Runs())

	tree := c.do(200, "GET", repoPath+"/commits/main", nil).text("commit", "tree", "sha")
	write := func(message string) string {
		t.Helper()
		g := c.do(201, "POST", repoPath+"/git/commits", body{"message": message, "tree": tree})
		if g.len("parents") != 0 || g.text("message") != message {
			t.Errorf("a commit without parents: %v", g.body)
		}
		return g.text("sha")
	}
	one, two := write(`{"shop":"acme","n":1}`), write(`{"shop":"acme","n":2}`)
	const name = "refs/shopfleet/holds/acme"
	if g := c.do(201, "POST", repoPath+"/git/refs", body{"ref": name, "sha": one}); g.text("ref") != name || g.text("object", "sha") != one {
		t.Errorf("made: %v", g.body)
	}
	c.says(422, "Reference already exists", "POST", repoPath+"/git/refs", body{"ref": name, "sha": two})
	c.says(422, "Reference update failed", "POST", repoPath+"/git/refs", body{"ref": name + "/below", "sha": two})
	c.says(422, "Reference update failed", "POST", repoPath+"/git/refs", body{"ref": "refs/shopfleet/holds", "sha": two})
	c.do(201, "POST", repoPath+"/git/refs", body{"ref": "refs/shopfleet/holds/_fleet", "sha": two})
	c.do(201, "POST", repoPath+"/git/refs", body{"ref": "refs/shopfleet/holds/acme-2", "sha": two})
	if g := c.do(200, "GET", repoPath+"/git/ref/shopfleet/holds/acme", nil); g.text("object", "sha") != one || g.text("object", "type") != "commit" {
		t.Errorf("read: %v", g.body)
	}
	if g := c.do(200, "GET", repoPath+"/git/matching-refs/shopfleet/holds/", nil); g.len() != 3 || g.text(0, "ref") != "refs/shopfleet/holds/_fleet" {
		t.Errorf("all: %v", g.body)
	}
	if g := c.do(200, "GET", repoPath+"/git/matching-refs/shopfleet/holds/acme", nil); g.len() != 2 {
		t.Errorf("by prefix: %v", g.body)
	}
	if g := c.do(200, "GET", repoPath+"/git/matching-refs/shopfleet/none/", nil); g.len() != 0 {
		t.Errorf("none: %v", g.body)
	}
	if g := c.do(200, "GET", repoPath+"/git/commits/"+one, nil); g.text("message") != `{"shop":"acme","n":1}` {
		t.Errorf("what a hold says: %v", g.body)
	}

	id := c.do(200, "GET", repoPath, nil).text("node_id")
	swap := func(c client, updates ...body) got {
		t.Helper()
		return c.do(200, "POST", "/graphql", body{"query": updateRefs, "variables": body{"repositoryId": id, "refUpdates": updates}})
	}
	tip := func(name string) string {
		t.Helper()
		g, err := c.try("GET", repoPath+"/git/"+strings.Replace(name, "refs/", "ref/", 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		return g.text("object", "sha")
	}
	zeros := strings.Repeat("0", 40)
	if g := swap(c, body{"name": name, "beforeOid": two, "afterOid": zeros}); !strings.HasPrefix(g.text("errors", 0, "message"), "Something went wrong") || tip(name) != one {
		t.Errorf("a stale swap: %v, now %s", g.body, tip(name))
	}
	if g := swap(c, body{"name": name, "beforeOid": one, "afterOid": two}); g.at("errors") == nil || tip(name) != one {
		t.Errorf("two commits without a common history, not forced: %v", g.body)
	}
	if g := swap(c, body{"name": name, "beforeOid": one, "afterOid": two, "force": true}, body{"name": "refs/shopfleet/holds/new", "beforeOid": zeros, "afterOid": one}); g.at("errors") != nil || tip(name) != two || tip("refs/shopfleet/holds/new") != one {
		t.Errorf("a swap: %v, now %s", g.body, tip(name))
	}
	if g := swap(c, body{"name": name, "beforeOid": two, "afterOid": zeros}); g.at("errors") != nil || tip(name) != "" {
		t.Errorf("lifting: %v", g.body)
	}
	reader := s.as(t, app.token(map[string]string{"contents": "read"}))
	if g := swap(reader, body{"name": "refs/shopfleet/holds/new", "beforeOid": one, "afterOid": zeros}); g.text("errors", 0, "type") != "FORBIDDEN" {
		t.Errorf("a reader: %v", g.body)
	}
	reader.do(403, "POST", repoPath+"/git/refs", body{"ref": "refs/shopfleet/holds/x", "sha": one})

	// What a hostile writer may do with them: point them at no commit, and name them oddly.
	blob := c.do(201, "POST", repoPath+"/git/blobs", body{"content": "x"}).text("sha")
	c.do(201, "POST", repoPath+"/git/refs", body{"ref": "refs/shopfleet/holds/blob", "sha": blob})
	if g := c.do(200, "GET", repoPath+"/git/ref/shopfleet/holds/blob", nil); g.text("object", "type") != "blob" {
		t.Errorf("a blob: %v", g.body)
	}
	if g := swap(c, body{"name": "refs/shopfleet/holds/blob", "beforeOid": blob, "afterOid": one}); g.at("errors") == nil || tip("refs/shopfleet/holds/blob") != blob {
		t.Errorf("from a blob to a commit, not forced: %v", g.body)
	}
	c.says(422, "not a fast forward", "PATCH", repoPath+"/git/refs/shopfleet/holds/blob", body{"sha": one})
	if g := swap(c, body{"name": "refs/shopfleet/holds/blob", "beforeOid": blob, "afterOid": one, "force": true}); g.at("errors") != nil || tip("refs/shopfleet/holds/blob") != one {
		t.Errorf("from a blob to a commit, forced: %v", g.body)
	}
	for _, bad := range []string{"refs/shopfleet/../heads/x", "refs/shopfleet//x", "refs/shopfleet/x.lock", "refs/shopfleet/.x", "refs/shopfleet/a b", "refs/shopfleet/x\n", "refs/shopfleet"} {
		c.do(422, "POST", repoPath+"/git/refs", body{"ref": bad, "sha": one})
		if g := swap(c, body{"name": bad, "afterOid": one}); g.at("errors") == nil {
			t.Errorf("%q was made", bad)
		}
	}
	c.do(204, "DELETE", repoPath+"/git/refs/shopfleet/holds/blob", nil)
	c.do(422, "DELETE", repoPath+"/git/refs/shopfleet/holds/blob", nil)
	if got := hooks.take(s); len(got) != 0 || len(s.helm.Runs()) != started {
		t.Errorf("%d webhooks and %d runs", len(got), len(s.helm.Runs())-started)
	}
}
