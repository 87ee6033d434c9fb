package github_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/sim/github"
)

// TestMergeButtons is the table of wire.md §2b, measured on the world.
func TestMergeButtons(t *testing.T) {
	for _, tt := range []struct {
		method   string
		ancestor bool // main is in the base afterwards
		conflict bool
		status   int
	}{
		{"merge", true, false, 200}, {"squash", false, false, 200}, {"rebase", false, false, 200},
		{"merge", false, true, 405}, {"squash", false, true, 405}, {"rebase", false, true, 405},
	} {
		t.Run(fmt.Sprint(tt.method, " conflict ", tt.conflict), func(t *testing.T) {
			s := newScene(t, github.Options{})
			s.commit(t, "shops/acme", "shop", map[string]string{"shop": "1\n"})
			file, replayed := "main-only", "1\n"
			if tt.conflict { // both touched the same file, and somebody resolved it on the rebased branch
				file, replayed = "shop", "3\n"
			}
			main := s.commit(t, "main", "on", map[string]string{file: "2\n"})
			head := s.commit(t, "rebase/acme", "shop", map[string]string{"shop": replayed})
			c := s.as(t, "pat-wanda")
			c.do(201, "POST", repoPath+"/pulls", body{"title": "Move acme", "head": "rebase/acme", "base": "shops/acme"})
			c.says(409, "Head branch was modified", "PUT", repoPath+"/pulls/1/merge", body{"merge_method": tt.method, "sha": strings.Repeat("1", 40)})
			g := c.do(tt.status, "PUT", repoPath+"/pulls/1/merge", body{"merge_method": tt.method, "sha": head})
			if tt.conflict {
				return
			}
			status := c.do(200, "GET", repoPath+"/compare/"+main+"..."+g.text("sha"), nil).text("status")
			if (status == "ahead") != tt.ancestor {
				t.Errorf("main is %s of the landed branch", status)
			}
			if p := c.do(200, "GET", repoPath+"/pulls/1", nil); p.at("merged") != true || p.text("merge_commit_sha") != g.text("sha") {
				t.Errorf("pull: %v", p.body)
			}
			c.do(405, "PUT", repoPath+"/pulls/1/merge", nil)
		})
	}
}

func TestRebaseMerge(t *testing.T) {
	s := newScene(t, github.Options{})
	one := s.commit(t, "topic", "one", map[string]string{"a": "1\n"})
	two := s.commit(t, "topic", "two", map[string]string{"b": "1\n"})
	c := s.as(t, "pat-wanda")
	c.do(201, "POST", repoPath+"/pulls", body{"title": "t", "head": "topic", "base": "main"})
	g := c.do(200, "PUT", repoPath+"/pulls/1/merge", body{"merge_method": "rebase"})
	if sha := g.text("sha"); sha == two {
		t.Error("rebase kept the sha")
	}
	k := c.do(200, "GET", repoPath+"/commits/main", nil)
	if k.text("commit", "message") != "two" || k.text("commit", "committer", "name") != "wanda" || k.text("parents", 0, "sha") == one {
		t.Errorf("tip: %v", k.body)
	}
}

func TestMergesAndObjects(t *testing.T) {
	s := newScene(t, github.Options{})
	s.commit(t, "shops/acme", "shop", map[string]string{"a": "1\n"})
	main := s.commit(t, "main", "on", map[string]string{"b": "1\n"})
	c := s.actions(t, "contents:write")
	c.do(201, "POST", repoPath+"/merges", body{"base": "shops/acme", "head": "main", "commit_message": "m"})
	c.do(204, "POST", repoPath+"/merges", body{"base": "shops/acme", "head": "main"})
	c.do(404, "POST", repoPath+"/merges", body{"base": "none", "head": "main"})
	s.commit(t, "main", "conflict", map[string]string{"a": "2\n"})
	c.do(409, "POST", repoPath+"/merges", body{"base": "shops/acme", "head": "main"})

	blob := c.do(201, "POST", repoPath+"/git/blobs", body{"content": "aGk=", "encoding": "base64"}).text("sha")
	if g := c.do(200, "GET", repoPath+"/git/blobs/"+blob, nil); g.text("content") != "aGk=" {
		t.Errorf("blob: %v", g.body)
	}
	base := c.do(200, "GET", repoPath+"/git/commits/"+main, nil).text("tree", "sha")
	tree := c.do(201, "POST", repoPath+"/git/trees", body{"base_tree": base, "tree": []body{
		{"path": "dir/new", "mode": "100644", "type": "blob", "sha": blob}, {"path": "c", "mode": "100755", "type": "blob", "content": "x"}, {"path": "b", "mode": "100644", "type": "blob", "sha": nil},
	}}).text("sha")
	if g := c.do(200, "GET", repoPath+"/git/trees/"+tree+"?recursive=1", nil); g.len("tree") != 4 { // README.md c dir dir/new
		t.Errorf("tree: %v", g.body)
	}
	c.do(422, "POST", repoPath+"/git/trees", body{"base_tree": base, "tree": []body{{"path": "none", "mode": "100644", "type": "blob", "sha": nil}}})
	c.do(422, "POST", repoPath+"/git/trees", body{"base_tree": base, "tree": []body{{"path": "../x", "mode": "100644", "type": "blob", "content": "x"}}})
	g := c.do(201, "POST", repoPath+"/git/commits", body{"message": "made", "tree": tree, "parents": []string{main}})
	if g.text("author", "name") != "github-actions[bot]" {
		t.Errorf("commit: %v", g.body)
	}
	c.do(422, "POST", repoPath+"/git/commits", body{"message": "made", "tree": main, "parents": []string{main}})
	c.do(201, "POST", repoPath+"/git/refs", body{"ref": "refs/heads/made", "sha": g.text("sha")})
}
