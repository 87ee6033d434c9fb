package github_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/sim/github"
)

func TestRefs(t *testing.T) {
	s := newScene(t, github.Options{})
	first := s.commit(t, "shops/acme", "acme", map[string]string{"wrangler.jsonc": "{}"})
	s.commit(t, "shops-old", "old", map[string]string{"a": "1"})
	c := s.actions(t, "contents:write")

	if g := c.do(200, "GET", repoPath+"/git/ref/heads/shops/acme", nil); g.text("ref") != "refs/heads/shops/acme" || g.text("object", "sha") != first {
		t.Errorf("ref: %v", g.body)
	}
	c.do(404, "GET", repoPath+"/git/ref/heads/shops", nil)
	c.do(404, "GET", repoPath+"/git/ref/heads/shops/acm", nil)
	if g := c.do(200, "GET", repoPath+"/git/matching-refs/heads/shops/", nil); g.len() != 1 {
		t.Errorf("heads/shops/ matches %v", g.body)
	}
	if g := c.do(200, "GET", repoPath+"/git/matching-refs/heads/shops", nil); g.len() != 2 {
		t.Errorf("heads/shops matches %v: it is a prefix, not a path", g.body)
	}
	if g := c.do(200, "GET", repoPath+"/git/matching-refs/heads/none", nil); g.len() != 0 {
		t.Errorf("no match is %v, want an empty array", g.body)
	}

	c.do(201, "POST", repoPath+"/git/refs", body{"ref": "refs/heads/backup/acme/1", "sha": first})
	c.says(422, "Reference already exists", "POST", repoPath+"/git/refs", body{"ref": "refs/heads/backup/acme/1", "sha": first})
	c.says(422, "Object does not exist", "POST", repoPath+"/git/refs", body{"ref": "refs/heads/x", "sha": strings.Repeat("a", 40)})
	c.says(422, "Reference update failed", "POST", repoPath+"/git/refs", body{"ref": "refs/heads/backup/acme", "sha": first})
	c.says(422, "weren't supplied", "POST", repoPath+"/git/refs", body{"ref": "refs/heads/x"})

	second := s.commit(t, "shops/acme", "more", map[string]string{"wrangler.jsonc": "{\"a\":1}"})
	c.do(200, "PATCH", repoPath+"/git/refs/heads/backup/acme/1", body{"sha": second})
	c.says(422, "not a fast forward", "PATCH", repoPath+"/git/refs/heads/backup/acme/1", body{"sha": first})
	c.do(200, "PATCH", repoPath+"/git/refs/heads/backup/acme/1", body{"sha": first, "force": true})
	c.says(422, "Reference does not exist", "PATCH", repoPath+"/git/refs/heads/none", body{"sha": first})
	c.do(204, "DELETE", repoPath+"/git/refs/heads/backup/acme/1", nil)
	c.says(422, "Reference does not exist", "DELETE", repoPath+"/git/refs/heads/backup/acme/1", nil)
	c.says(422, "default branch", "DELETE", repoPath+"/git/refs/heads/main", nil)

	empty, err := s.World.Repository("kvick", "empty")
	if err != nil {
		t.Fatal(err)
	}
	if err := empty.SetPermission("wanda", "write"); err != nil {
		t.Fatal(err)
	}
	w := s.as(t, "pat-wanda")
	w.do(409, "GET", "/repos/kvick/empty/git/ref/heads/main", nil)
	w.do(409, "POST", "/repos/kvick/empty/git/refs", body{"ref": "refs/heads/main", "sha": first})
}

func TestHostileRefNames(t *testing.T) {
	s := newScene(t, github.Options{})
	sha := s.commit(t, "main", "second", map[string]string{"a": "1"})
	c := s.actions(t, "contents:write", "deployments:write")
	for _, name := range []string{
		"refs/heads/--upload-pack=touch x", "refs/heads/-x", "refs/heads/a..b", "refs/heads/../../config", "refs/heads/.hidden", "refs/heads/a.lock", "refs/heads/a b",
		"refs/heads/a\nb", "refs/heads/a\x00b", "refs/heads/a~1", "refs/heads/a^{}", "refs/heads/a:b", "refs/heads/a?b", "refs/heads/a*b", "refs/heads/a[b", "refs/heads/a\\b",
		"refs/heads/a@{0}", "refs/heads/", "refs/heads//a", "refs/heads/a/", "refs/heads/a.", "refs/heads/HEAD", "refs/heads/" + sha, "refs/heads", "heads/x", "HEAD", "",
		"refs/pull/1/head", "refs/heads/" + strings.Repeat("a", 300),
	} {
		c.do(422, "POST", repoPath+"/git/refs", body{"ref": name, "sha": sha})
	}
	for _, name := range []string{"refs/heads/a&b", "refs/heads/$(id)", "refs/heads/`id`", "refs/heads/ünïcode", "refs/heads/a'b\"c", "refs/heads/a;b", "refs/heads/a%2Fb", "refs/tags/v1"} {
		c.do(201, "POST", repoPath+"/git/refs", body{"ref": name, "sha": sha})
	}
	if g := c.do(200, "GET", repoPath+"/git/matching-refs/heads/a", nil); g.len() != 4 {
		t.Errorf("refs that begin with a: %v", g.body)
	}
	c.do(200, "GET", repoPath+"/git/ref/heads/a%252Fb", nil)
	for _, path := range []string{"/git/ref/heads/--all", "/git/ref/..%2F..%2Fconfig", "/git/ref/heads%2F..", "/contents/..%2F..%2Fetc%2Fpasswd", "/contents/.git/config"} {
		if g, err := c.try("GET", repoPath+path, nil); err != nil || g.status != 404 {
			t.Errorf("%s: %d %v %v, want 404", path, g.status, g.body, err)
		}
	}
	for _, ref := range []string{"--help", "-x", "main^", "main~1", "HEAD", "@", "main:a", ":/first", "main@{0}", "main..main", ""} {
		c.says(422, "No ref found", "POST", repoPath+"/deployments", body{"ref": ref, "auto_merge": false, "required_contexts": []string{}})
		if ref != "" && ref != "main..main" {
			c.do(422, "GET", repoPath+"/commits/"+strings.NewReplacer("/", "%2F", "^", "%5E", "{", "%7B", "}", "%7D").Replace(ref), nil)
		}
	}
}

func TestCommitsAndCompare(t *testing.T) {
	s := newScene(t, github.Options{})
	base := s.commit(t, "main", "base", map[string]string{"a": "1\n", "b": "1\n"})
	shop := s.commit(t, "shops/acme", "shop", map[string]string{"a": "1\n2\n", "b": "", "ü/c d": "x\n"})
	c := s.as(t, "pat-rita")
	g := c.do(200, "GET", repoPath+"/compare/main...shops/acme", nil)
	if g.text("status") != "ahead" || g.number("ahead_by") != 1 || g.len("files") != 3 || g.text("merge_base_commit", "sha") != base {
		t.Errorf("compare: %v", g.body)
	}
	s.commit(t, "main", "on", map[string]string{"z": "1\n"})
	for basehead, want := range map[string]string{"main...shops/acme": "diverged", "shops/acme...main": "diverged", base + "..." + shop: "ahead", shop + "..." + base: "behind", "main...main": "identical"} {
		if g := c.do(200, "GET", repoPath+"/compare/"+basehead, nil); g.text("status") != want {
			t.Errorf("%s is %s, want %s", basehead, g.text("status"), want)
		}
	}
	c.do(404, "GET", repoPath+"/compare/main...none", nil)
	g = c.do(200, "GET", repoPath+"/commits/shops/acme", nil)
	if g.text("sha") != shop || g.number("stats", "additions") != 2 || g.number("stats", "deletions") != 1 || g.text("files", 1, "status") != "removed" {
		t.Errorf("commit: %v", g.body)
	}
	c.do(200, "GET", repoPath+"/git/commits/"+shop, nil)
	if g := c.do(200, "GET", repoPath+"/commits?sha=shops/acme&per_page=1", nil); g.len() != 1 || !strings.Contains(g.header.Get("Link"), `rel="next"`) {
		t.Errorf("commits: %v %v", g.body, g.header)
	}
	c.do(200, "GET", repoPath+"/branches", nil)
	c.do(200, "GET", repoPath+"/branches/shops/acme", nil)
	c.do(404, "GET", repoPath+"/branches/none", nil)
	if g := c.do(200, "GET", repoPath+"/contents/%C3%BC/c%20d?ref=shops/acme", nil); g.text("content") != "eAo=" {
		t.Errorf("contents: %v", g.body)
	}
	c.do(200, "GET", repoPath, nil)
}

func TestPermissionLevels(t *testing.T) {
	s := newScene(t, github.Options{})
	c := s.actions(t)
	for login, want := range map[string][2]string{
		"rita": {"read", "read"}, "tom": {"read", "triage"}, "wanda": {"write", "write"}, "mara": {"write", "maintain"}, "adam": {"admin", "admin"}, "nobody": {"none", "none"},
	} {
		g := c.do(200, "GET", repoPath+"/collaborators/"+login+"/permission", nil)
		if g.text("permission") != want[0] || g.text("role_name") != want[1] {
			t.Errorf("%s: %v, want %v", login, g.body, want)
		}
	}
	c.do(404, "GET", repoPath+"/collaborators/stranger/permission", nil)
}

func TestDeployments(t *testing.T) {
	s := newScene(t, github.Options{})
	sha := s.commit(t, "shops/acme", "shop", map[string]string{"a": "1"})
	c := s.actions(t, "deployments:write", "contents:read")
	create := func(environment string, extra body) int64 {
		t.Helper()
		in := body{"ref": "shops/acme", "environment": environment, "auto_merge": false, "required_contexts": []string{}, "payload": body{"shop": "acme"}}
		for k, v := range extra {
			in[k] = v
		}
		g := c.do(201, "POST", repoPath+"/deployments", in)
		if g.text("sha") != sha || g.text("creator", "login") != "github-actions[bot]" || g.text("payload", "shop") != "acme" {
			t.Errorf("deployment: %v", g.body)
		}
		return g.number("id")
	}
	state := func(id int64) string {
		t.Helper()
		return c.do(200, "GET", fmt.Sprintf("%s/deployments/%d/statuses", repoPath, id), nil).text(0, "state")
	}
	status := func(id int64, in body) got {
		t.Helper()
		return c.do(201, "POST", fmt.Sprintf("%s/deployments/%d/statuses", repoPath, id), in)
	}
	one, two := create("shop-acme", nil), create("shop-acme", nil)
	transient, production, other := create("shop-acme", body{"transient_environment": true}), create("shop-acme", body{"production_environment": true}), create("shop-other", nil)
	for _, id := range []int64{one, two, transient, production, other} {
		status(id, body{"state": "in_progress", "auto_inactive": false, "log_url": "https://example.com/log"})
	}
	status(one, body{"state": "success", "auto_inactive": false})
	status(transient, body{"state": "success", "auto_inactive": false})
	status(production, body{"state": "success", "auto_inactive": false})
	status(other, body{"state": "success", "auto_inactive": false})
	newest := create("shop-acme", nil)
	status(newest, body{"state": "failure"})
	if got := state(one); got != "success" {
		t.Errorf("after a failure the predecessor is %s", got)
	}
	status(newest, body{"state": "success"})
	for id, want := range map[int64]string{one: "inactive", two: "in_progress", transient: "success", production: "success", other: "success", newest: "success"} {
		if got := state(id); got != want {
			t.Errorf("deployment %d is %s, want %s", id, got, want)
		}
	}
	if g := c.do(200, "GET", repoPath+"/deployments?environment=shop-acme&per_page=2", nil); g.len() != 2 || g.number(0, "id") != newest || g.header.Get("Link") == "" {
		t.Errorf("list: %v", g.body)
	}
	c.says(422, "too long", "POST", fmt.Sprintf("%s/deployments/%d/statuses", repoPath, one), body{"state": "error", "description": strings.Repeat("ä", 141)})
	status(one, body{"state": "error", "description": strings.Repeat("ä", 140)})
	c.do(422, "POST", fmt.Sprintf("%s/deployments/%d/statuses", repoPath, one), body{"state": "done"})
	c.do(422, "DELETE", fmt.Sprintf("%s/deployments/%d", repoPath, newest), nil)
	status(one, body{"state": "inactive"})
	c.do(204, "DELETE", fmt.Sprintf("%s/deployments/%d", repoPath, one), nil)
	c.do(404, "GET", fmt.Sprintf("%s/deployments/%d", repoPath, one), nil)
	c.says(422, "No ref found", "POST", repoPath+"/deployments", body{"ref": "none"})

	admin := s.as(t, "pat-adam")
	if g := admin.do(200, "GET", repoPath+"/environments", nil); g.number("total_count") != 2 {
		t.Errorf("environments: %v", g.body)
	}
}

func TestDeploymentAutoMerge(t *testing.T) {
	s := newScene(t, github.Options{})
	s.commit(t, "shops/acme", "shop", map[string]string{"a": "1\n"})
	s.commit(t, "main", "on", map[string]string{"b": "1\n"})
	c := s.actions(t, "deployments:write", "contents:write", "statuses:write", "checks:write")
	g := c.do(202, "POST", repoPath+"/deployments", body{"ref": "shops/acme"})
	if !strings.HasPrefix(g.text("message"), "Auto-merged main into shops/acme") {
		t.Errorf("message: %v", g.body)
	}
	if g := c.do(200, "GET", repoPath+"/deployments", nil); g.len() != 0 {
		t.Errorf("202 made a deployment: %v", g.body)
	}
	if g := c.do(200, "GET", repoPath+"/compare/main...shops/acme", nil); g.text("status") != "ahead" {
		t.Errorf("main was not merged: %v", g.text("status"))
	}
	c.do(201, "POST", repoPath+"/deployments", body{"ref": "shops/acme"})
	s.commit(t, "main", "conflict", map[string]string{"a": "2\n"})
	c.says(409, "Conflict merging", "POST", repoPath+"/deployments", body{"ref": "shops/acme"})

	sha := s.commit(t, "shops/b", "b", map[string]string{"c": "1\n"})
	c.do(201, "POST", repoPath+"/statuses/"+sha, body{"state": "pending", "context": "ci"})
	c.says(409, "status checks failed", "POST", repoPath+"/deployments", body{"ref": "shops/b", "auto_merge": false})
	c.says(409, "status checks failed", "POST", repoPath+"/deployments", body{"ref": "shops/b", "auto_merge": false, "required_contexts": []string{"other"}})
	c.do(201, "POST", repoPath+"/deployments", body{"ref": "shops/b", "auto_merge": false, "required_contexts": []string{}})
	c.do(201, "POST", repoPath+"/statuses/"+sha, body{"state": "success", "context": "ci"})
	c.do(201, "POST", repoPath+"/deployments", body{"ref": "shops/b", "auto_merge": false})
}

func TestEnvironments(t *testing.T) {
	s := newScene(t, github.Options{})
	c := s.as(t, "pat-adam")
	rita, err := s.AddUser("rita2", "")
	if err != nil {
		t.Fatal(err)
	}
	g := c.do(200, "PUT", repoPath+"/environments/shops%2Facme", body{"wait_timer": 5, "reviewers": []body{{"type": "User", "id": rita.ID}}, "deployment_branch_policy": body{"protected_branches": false, "custom_branch_policies": true}})
	if g.text("name") != "shops/acme" || g.len("protection_rules") != 3 {
		t.Errorf("environment: %v", g.body)
	}
	c.do(404, "PUT", repoPath+"/environments/shops/acme", body{})
	if g := c.do(200, "PUT", repoPath+"/environments/shops%2Facme", body{}); g.len("protection_rules") != 0 {
		t.Errorf("a full overwrite left %v", g.body)
	}
	c.do(422, "PUT", repoPath+"/environments/a", body{"wait_timer": 43201})
	c.do(422, "PUT", repoPath+"/environments/a", body{"deployment_branch_policy": body{"protected_branches": true, "custom_branch_policies": true}})
	c.do(404, "GET", repoPath+"/environments/a", nil)
	s.actions(t, "actions:read").do(200, "GET", repoPath+"/environments/shops%2Facme", nil)
	s.actions(t, "deployments:write").do(403, "GET", repoPath+"/environments/shops%2Facme", nil)
	c.do(204, "DELETE", repoPath+"/environments/shops%2Facme", nil)

	// Patterns of branches are for environments that have them, and each is there once.
	const policies = repoPath + "/environments/shop-acme/deployment-branch-policies"
	c.do(404, "GET", policies, nil)
	c.do(200, "PUT", repoPath+"/environments/shop-acme", body{})
	c.do(404, "POST", policies, body{"name": "shops/acme"})
	custom := body{"deployment_branch_policy": body{"protected_branches": false, "custom_branch_policies": true}}
	c.do(200, "PUT", repoPath+"/environments/shop-acme", custom)
	if g := c.do(200, "POST", policies, body{"name": "shops/acme"}); g.text("name") != "shops/acme" || g.text("type") != "branch" || g.number("id") == 0 {
		t.Errorf("pattern: %v", g.body)
	}
	c.do(303, "POST", policies, body{"name": "shops/acme", "type": "branch"})
	c.do(200, "POST", policies, body{"name": "shops/acme", "type": "tag"})
	c.do(422, "POST", policies, body{"name": ""})
	c.do(200, "PUT", repoPath+"/environments/shop-acme", custom)
	if g := c.do(200, "GET", policies+"?per_page=1", nil); g.number("total_count") != 2 || g.text("branch_policies", 0, "name") != "shops/acme" || g.header.Get("Link") == "" {
		t.Errorf("patterns: %v", g.body)
	}
	c.do(200, "PUT", repoPath+"/environments/shop-acme", body{})
	if g := c.do(200, "GET", policies, nil); g.number("total_count") != 0 {
		t.Errorf("without patterns: %v", g.body)
	}
	s.actions(t, "actions:read").do(403, "POST", policies, body{"name": "x"})

	// A team may be asked, one of the owner's.
	if err := s.AddTeam("kvick", "fitters", "rita2"); err != nil {
		t.Fatal(err)
	}
	g = c.do(200, "PUT", repoPath+"/environments/shop-acme", body{"reviewers": []body{{"type": "Team", "id": s.TeamID("kvick", "fitters")}}})
	if g.text("protection_rules", 0, "reviewers", 0, "type") != "Team" || g.text("protection_rules", 0, "reviewers", 0, "reviewer", "slug") != "fitters" {
		t.Errorf("a team as reviewer: %v", g.body)
	}
	c.do(422, "PUT", repoPath+"/environments/shop-acme", body{"reviewers": []body{{"type": "Team", "id": rita.ID}}})
}

func TestCheckRuns(t *testing.T) {
	s := newScene(t, github.Options{})
	sha := s.commit(t, "shops/acme", "shop", map[string]string{"a": "1"})
	c := s.actions(t, "checks:write")
	annotations := func(n int) []body {
		var list []body
		for i := range n {
			list = append(list, body{"path": "a", "start_line": i + 1, "end_line": i + 1, "annotation_level": "failure", "message": "bad"})
		}
		return list
	}
	in := body{"name": "plan", "head_sha": sha, "status": "in_progress", "external_id": "x", "output": body{"title": "T", "summary": "S", "annotations": annotations(50)}}
	g := c.do(201, "POST", repoPath+"/check-runs", in)
	run := fmt.Sprintf("%s/check-runs/%d", repoPath, g.number("id"))
	if g.text("status") != "in_progress" || g.number("output", "annotations_count") != 50 || g.text("app", "slug") != "github-actions" {
		t.Errorf("check run: %v", g.body)
	}
	in["output"].(body)["annotations"] = annotations(51)
	c.says(422, "No more than 50", "POST", repoPath+"/check-runs", in)
	g = c.do(200, "PATCH", run, body{"conclusion": "failure", "output": body{"title": "T2", "summary": "S2", "annotations": annotations(7)}})
	if g.text("status") != "completed" || g.number("output", "annotations_count") != 57 || g.text("completed_at") == "" {
		t.Errorf("after PATCH: %v", g.body)
	}
	if g := c.do(200, "GET", run+"/annotations?per_page=50&page=2", nil); g.len() != 7 {
		t.Errorf("annotations: %v", g.body)
	}
	for what, in := range map[string]body{
		"long summary":       {"name": "n", "head_sha": sha, "output": body{"title": "T", "summary": strings.Repeat("x", 65536)}},
		"no conclusion":      {"name": "n", "head_sha": sha, "status": "completed"},
		"stale":              {"name": "n", "head_sha": sha, "conclusion": "stale"},
		"unknown commit":     {"name": "n", "head_sha": strings.Repeat("b", 40)},
		"columns over lines": {"name": "n", "head_sha": sha, "output": body{"title": "T", "summary": "S", "annotations": []body{{"path": "a", "start_line": 1, "end_line": 2, "start_column": 1, "annotation_level": "notice", "message": "m"}}}},
		"bad level":          {"name": "n", "head_sha": sha, "output": body{"title": "T", "summary": "S", "annotations": []body{{"path": "a", "start_line": 1, "end_line": 1, "annotation_level": "error", "message": "m"}}}},
		"no name":            {"head_sha": sha},
		"long action":        {"name": "n", "head_sha": sha, "actions": []body{{"label": strings.Repeat("x", 21), "description": "d", "identifier": "i"}}},
	} {
		t.Run(what, func(t *testing.T) { s.as(t, c.token).do(422, "POST", repoPath+"/check-runs", in) })
	}
	again := c.do(201, "POST", repoPath+"/check-runs", body{"name": "plan", "head_sha": sha, "conclusion": "success"})
	if g := c.do(200, "GET", repoPath+"/commits/shops/acme/check-runs", nil); g.number("total_count") != 1 || g.number("check_runs", 0, "id") != again.number("id") {
		t.Errorf("latest: %v", g.body)
	}
	if g := c.do(200, "GET", repoPath+"/commits/"+sha+"/check-runs?filter=all&check_name=plan", nil); g.number("total_count") != 2 {
		t.Errorf("all: %v", g.body)
	}
	s.as(t, "pat-adam").says(403, "authenticate via a GitHub App", "POST", repoPath+"/check-runs", body{"name": "n", "head_sha": sha})
	s.as(t, "pat-rita").do(200, "GET", run, nil)
	suite := c.do(200, "GET", run, nil).number("check_suite", "id")
	if g := c.do(200, "GET", fmt.Sprintf("%s/check-suites/%d", repoPath, suite), nil); g.text("head_sha") != sha || g.text("head_branch") != "shops/acme" {
		t.Errorf("suite: %v", g.body)
	}

	w := s.as(t, "pat-wanda")
	for _, state := range []string{"pending", "success"} {
		w.do(201, "POST", repoPath+"/statuses/"+sha, body{"state": state, "context": "ci"})
		if g := w.do(200, "GET", repoPath+"/commits/shops/acme/status", nil); g.text("state") != state || g.number("total_count") != 1 {
			t.Errorf("combined status: %v", g.body)
		}
	}
	if g := w.do(200, "GET", repoPath+"/commits/"+sha+"/statuses", nil); g.len() != 2 || g.text(0, "state") != "success" {
		t.Errorf("statuses: %v", g.body)
	}
}

func TestCommentsAndReactions(t *testing.T) {
	s := newScene(t, github.Options{})
	c := s.as(t, "pat-wanda")
	c.do(201, "POST", repoPath+"/issues", body{"title": "first", "labels": []string{"bug"}})
	bot := s.actions(t, "pull-requests:write")
	var id int64
	for n := range 35 {
		g := bot.do(201, "POST", repoPath+"/issues/1/comments", body{"body": fmt.Sprint("comment ", n)})
		id = g.number("id")
		if g.text("user", "login") != "github-actions[bot]" || g.text("performed_via_github_app", "slug") != "github-actions" {
			t.Errorf("comment: %v", g.body)
		}
	}
	g := bot.do(200, "GET", repoPath+"/issues/1/comments", nil)
	if g.len() != 30 || !strings.Contains(g.header.Get("Link"), "page=2") || g.text(0, "body") != "comment 0" {
		t.Errorf("list of %d with Link %q", g.len(), g.header.Get("Link"))
	}
	if g := bot.do(200, "GET", repoPath+"/issues/1/comments?per_page=100", nil); g.len() != 35 || g.header.Get("Link") != "" {
		t.Errorf("list of %d with Link %q", g.len(), g.header.Get("Link"))
	}
	path := fmt.Sprintf("%s/issues/comments/%d", repoPath, id)
	if g := bot.do(200, "PATCH", path, body{"body": "new"}); g.text("body") != "new" {
		t.Errorf("edited: %v", g.body)
	}
	bot.says(422, "blank", "POST", repoPath+"/issues/1/comments", body{"body": " "})
	bot.says(422, "65536", "POST", repoPath+"/issues/1/comments", body{"body": strings.Repeat("x", 65537)})
	bot.do(404, "POST", repoPath+"/issues/9/comments", body{"body": "x"})

	bot.do(403, "POST", path+"/reactions", body{"content": "eyes"}) // pull_requests does not cover reactions
	claim := s.actions(t, "issues:write")
	first := claim.do(201, "POST", path+"/reactions", body{"content": "eyes"})
	if again := claim.do(200, "POST", path+"/reactions", body{"content": "eyes"}); again.number("id") != first.number("id") {
		t.Errorf("again: %v", again.body)
	}
	c.do(201, "POST", path+"/reactions", body{"content": "eyes"})
	c.do(422, "POST", path+"/reactions", body{"content": "thumb"})
	if g := c.do(200, "GET", path+"/reactions", nil); g.len() != 2 {
		t.Errorf("reactions: %v", g.body)
	}
	claim.do(204, "DELETE", fmt.Sprintf("%s/reactions/%d", path, first.number("id")), nil)
	c.do(201, "POST", repoPath+"/labels", body{"name": "rebase/manual", "color": "ff0000"})
	c.says(422, "already_exists", "POST", repoPath+"/labels", body{"name": "REBASE/manual"})
	c.do(200, "POST", repoPath+"/issues/1/labels", body{"labels": []string{"rebase/manual"}})
	c.do(200, "PATCH", repoPath+"/issues/1", body{"state": "closed"})
	if g := c.do(200, "GET", repoPath+"/issues?state=all", nil); g.len() != 1 || g.len(0, "labels") != 2 {
		t.Errorf("issues: %v", g.body)
	}
	s.helm.DisableIssues()
	c.do(410, "POST", repoPath+"/issues", body{"title": "x"})
}

func TestPulls(t *testing.T) {
	s := newScene(t, github.Options{})
	s.commit(t, "shops/acme", "shop", map[string]string{"a": "1\n"})
	head := s.commit(t, "rebase/acme", "rebased", map[string]string{"a": "2\n", "b": "2\n"})
	c := s.as(t, "pat-wanda")
	in := body{"title": "Move acme", "head": "rebase/acme", "base": "shops/acme", "body": "text"}
	g := c.do(201, "POST", repoPath+"/pulls", in)
	if g.text("head", "sha") != head || g.at("mergeable") != nil || g.number("number") != 1 {
		t.Errorf("pull: %v", g.body)
	}
	c.says(422, "A pull request already exists for kvick:rebase/acme.", "POST", repoPath+"/pulls", in)
	c.says(422, "No commits between", "POST", repoPath+"/pulls", body{"title": "x", "head": "main", "base": "shops/acme"})
	c.do(422, "POST", repoPath+"/pulls", body{"title": "x", "head": "none", "base": "main"})
	if g := c.do(200, "GET", repoPath+"/pulls/1", nil); g.at("mergeable") != nil || g.text("mergeable_state") != "unknown" {
		t.Errorf("the first look already knows: %v", g.at("mergeable"))
	}
	if g := c.do(200, "GET", repoPath+"/pulls/1", nil); g.at("mergeable") != false || g.text("mergeable_state") != "dirty" {
		t.Errorf("the second look: %v", g.at("mergeable")) // both added a
	}
	if g := c.do(200, "GET", repoPath+"/pulls?head=kvick:rebase/acme&base=shops/acme", nil); g.len() != 1 {
		t.Errorf("by head: %v", g.body)
	}
	if g := c.do(200, "GET", repoPath+"/pulls?head=other:rebase/acme", nil); g.len() != 0 {
		t.Errorf("by another's head: %v", g.body)
	}
	if g := c.do(200, "GET", repoPath+"/pulls/1/files", nil); g.len() != 2 {
		t.Errorf("files: %v", g.body)
	}
	c.do(200, "GET", repoPath+"/pulls/1/commits", nil)
	if g := c.do(200, "GET", repoPath+"/commits/"+head+"/pulls", nil); g.len() != 1 {
		t.Errorf("pulls of a commit: %v", g.body)
	}
	c.do(404, "GET", repoPath+"/pulls/1/merge", nil)
	if err := s.helm.Review(1, "mara", "APPROVED", "good"); err != nil {
		t.Fatal(err)
	}
	if g := c.do(200, "GET", repoPath+"/pulls/1/reviews", nil); g.text(0, "commit_id") != head || g.text(0, "state") != "APPROVED" {
		t.Errorf("reviews: %v", g.body)
	}
	if g := c.do(200, "PATCH", repoPath+"/pulls/1", body{"title": "New", "state": "closed"}); g.text("state") != "closed" || g.at("merged") != false {
		t.Errorf("closed: %v", g.body)
	}
	c.do(200, "PATCH", repoPath+"/pulls/1", body{"state": "open"})
	// A base that is moved over the head shows the pull request as merged, whatever branch it is.
	c.do(200, "PATCH", repoPath+"/git/refs/heads/shops/acme", body{"sha": head, "force": true})
	if g := c.do(200, "GET", repoPath+"/pulls/1", nil); g.at("merged") != true || g.text("merged_by", "login") != "wanda" {
		t.Errorf("landed by a forced move: merged %v by %v", g.at("merged"), g.at("merged_by"))
	}
	c.do(204, "GET", repoPath+"/pulls/1/merge", nil)

	fork, err := s.helm.Fork("nobody")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fork.Commit("evil", "evil", map[string]string{"x": "1"}); err != nil {
		t.Fatal(err)
	}
	g = s.as(t, "pat-rita").do(201, "POST", repoPath+"/pulls", body{"title": "from a fork", "head": "nobody:evil", "base": "main"})
	if g.text("head", "repo", "full_name") != "nobody/helm" || g.at("head", "repo", "fork") != true {
		t.Errorf("fork: %v", g.body)
	}
	s.as(t, "pat-rita").do(403, "PATCH", repoPath+"/pulls/2", body{"state": "closed"})
}
