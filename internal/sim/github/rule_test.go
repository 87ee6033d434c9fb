package github_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/sim/github"
)

// A ruleset as wire.md §1.8 draws it: nobody but the App rewrites or removes a shop's branch.
func TestRulesets(t *testing.T) {
	s := newScene(t, github.Options{})
	old := s.commit(t, "shops/acme", "shop", map[string]string{"a": "1\n"})
	s.commit(t, "shops-old", "shop", map[string]string{"a": "1\n"})
	side := s.commit(t, "side", "side", map[string]string{"b": "1\n"})
	app := newApp(t, s, map[string]string{"contents": "write", "pull_requests": "write"}, "")
	if err := s.helm.Protect(github.Ruleset{
		Name: "shops", Include: []string{"refs/heads/shops/**"}, Rules: []string{"non_fast_forward", "deletion"}, Bypass: []github.Bypass{{App: app.App}},
	}); err != nil {
		t.Fatal(err)
	}
	wanda, us := s.as(t, "pat-wanda"), s.as(t, app.token(nil))

	const force = "Cannot force-push to this branch"
	wanda.says(422, force, "PATCH", repoPath+"/git/refs/heads/shops/acme", body{"sha": side, "force": true})
	wanda.says(422, "Cannot delete this branch", "DELETE", repoPath+"/git/refs/heads/shops/acme", nil)
	wanda.do(200, "PATCH", repoPath+"/git/refs/heads/shops-old", body{"sha": side, "force": true}) // another branch
	update := func(sha string) body {
		repo := wanda.do(200, "GET", repoPath, nil).text("node_id")
		return body{"query": `mutation($i: UpdateRefsInput!) { updateRefs(input: $i) { clientMutationId } }`, "variables": body{"i": body{
			"repositoryId": repo, "refUpdates": []body{{"name": "refs/heads/shops/acme", "afterOid": sha, "force": true}},
		}}}
	}
	if g := wanda.do(200, "POST", "/graphql", update(side)); g.at("errors") == nil {
		t.Errorf("GraphQL let wanda by: %v", g.body)
	}
	c := clone(t, s.helm, "pat-wanda")
	c.git("switch", "-q", "shops/acme")
	c.fails("push declined due to repository rule violations", "push", "-q", "--force", "origin", side+":refs/heads/shops/acme", "HEAD:refs/heads/other")
	c.fails("remote: - "+force, "push", "-q", "--force", "origin", side+":refs/heads/shops/acme")
	c.fails("atomic transaction failed", "push", "-q", "--force", "--atomic", "origin", side+":refs/heads/shops/acme", "HEAD:refs/heads/second")
	wanda.do(200, "GET", repoPath+"/git/ref/heads/other", nil)
	wanda.do(404, "GET", repoPath+"/git/ref/heads/second", nil)
	c.write("c", "1\n") // ordinary pushes go through
	c.git("push", "-q", "origin", "HEAD")
	if tip := c.git("rev-parse", "HEAD"); wanda.do(200, "GET", repoPath+"/git/ref/heads/shops/acme", nil).text("object", "sha") != tip {
		t.Error("the ordinary push did not arrive")
	}

	for _, to := range []string{side, old} {
		us.do(200, "PATCH", repoPath+"/git/refs/heads/shops/acme", body{"sha": to, "force": true})
	}
	if g := us.do(200, "POST", "/graphql", update(side)); g.at("errors") != nil {
		t.Errorf("GraphQL keeps the App out: %v", g.body)
	}
	clone(t, s.helm, app.token(nil)).git("push", "-q", "--force", "origin", old+":refs/heads/shops/acme")

	rules := wanda.do(200, "GET", repoPath+"/rules/branches/shops/acme", nil)
	if rules.len() != 2 || !strings.Contains(fmt.Sprint(rules.body), "non_fast_forward") {
		t.Errorf("rules: %v", rules.body)
	}
	if g := wanda.do(200, "GET", repoPath+"/rules/branches/main", nil); g.len() != 0 {
		t.Errorf("rules of main: %v", g.body)
	}
}

func TestRulesOfEachType(t *testing.T) {
	s := newScene(t, github.Options{})
	base := s.commit(t, "shops/acme", "shop", map[string]string{"a": "1\n"})
	head := s.commit(t, "topic", "topic", map[string]string{"b": "1\n"})
	c := s.as(t, "pat-wanda")
	protect := func(branch, rule string, checks ...string) {
		t.Helper()
		if err := s.helm.Protect(github.Ruleset{Name: rule, Include: []string{"refs/heads/" + branch}, Rules: []string{rule}, Checks: checks}); err != nil {
			t.Fatal(err)
		}
	}
	ref := func(name string) string { return repoPath + "/git/refs/heads/" + name }
	protect("new/*", "creation")
	c.says(422, "creations being restricted", "POST", repoPath+"/git/refs", body{"ref": "refs/heads/new/a", "sha": base})
	c.do(201, "POST", repoPath+"/git/refs", body{"ref": "refs/heads/new/a/b", "sha": base}) // * does not cross a slash
	protect("shops/acme", "pull_request")
	next := s.commit(t, "ahead", "ahead", map[string]string{"a": "2\n"})
	c.says(422, "through a pull request", "PATCH", ref("shops/acme"), body{"sha": next, "force": true})
	c.says(422, "through a pull request", "POST", repoPath+"/merges", body{"base": "shops/acme", "head": "topic"})
	protect("shops/acme", "required_status_checks", "plan")
	c.do(201, "POST", repoPath+"/pulls", body{"title": "t", "head": "topic", "base": "shops/acme"})
	c.says(405, `plan\" is expected`, "PUT", repoPath+"/pulls/1/merge", nil)
	c.do(201, "POST", repoPath+"/statuses/"+head, body{"state": "success", "context": "plan"})
	bot := s.actions(t, "checks:write")
	bot.do(201, "POST", repoPath+"/check-runs", body{"name": "other", "head_sha": head})
	protect("shops/acme", "required_status_checks", "other")
	c.says(405, `other\" is expected`, "PUT", repoPath+"/pulls/1/merge", nil)
	bot.do(201, "POST", repoPath+"/check-runs", body{"name": "other", "head_sha": head, "conclusion": "success"})
	c.do(200, "PUT", repoPath+"/pulls/1/merge", nil)
	protect("shops/acme", "required_linear_history")
	s.commit(t, "topic", "more", map[string]string{"b": "2\n"})
	c.do(201, "POST", repoPath+"/pulls", body{"title": "t", "head": "topic", "base": "shops/acme"})
	c.says(405, "must not contain merge commits", "PUT", repoPath+"/pulls/2/merge", body{"merge_method": "merge"})
	protect("shops/acme", "update")
	c.says(405, "Cannot update this protected ref", "PUT", repoPath+"/pulls/2/merge", body{"merge_method": "squash"})
	if g := c.do(200, "GET", repoPath+"/rules/branches/shops/acme", nil); g.len() != 5 {
		t.Errorf("rules: %v", g.body)
	}

	for _, bad := range []github.Ruleset{
		{}, {Name: "x", Include: []string{"~ALL"}}, {Name: "x", Include: []string{"~ALL"}, Rules: []string{"workflows"}},
		{Name: "x", Include: []string{"~ALL"}, Rules: []string{"deletion"}, Bypass: []github.Bypass{{}}},
	} {
		if err := s.helm.Protect(bad); err == nil {
			t.Errorf("%+v is a ruleset", bad)
		}
	}
}
