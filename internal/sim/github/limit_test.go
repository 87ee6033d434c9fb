package github_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim/github"
)

func TestContentCreationLimits(t *testing.T) {
	s := newScene(t, github.Options{})
	c := s.as(t, "pat-wanda")
	c.do(201, "POST", repoPath+"/issues", body{"title": "x"})
	post := func() got {
		t.Helper()
		g, err := c.try("POST", repoPath+"/issues/1/comments", body{"body": "x"})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	for n := 1; n < 80; n++ {
		if g := post(); g.status != 201 {
			t.Fatalf("creation %d: %v", n+1, g.body)
		}
	}
	s.clock.wind(20 * time.Second)
	g := post()
	if g.status != 403 || g.header.Get("Retry-After") != "40" {
		t.Fatalf("the 81st in a minute: %d, Retry-After %q", g.status, g.header.Get("Retry-After"))
	}
	s.as(t, "pat-adam").do(201, "POST", repoPath+"/issues/1/comments", body{"body": "another's"})
	total := 80
	for total < 500 {
		s.clock.wind(time.Minute)
		for range min(80, 500-total) {
			if g := post(); g.status != 201 {
				t.Fatalf("creation %d: %v", total, g.body)
			}
			total++
		}
	}
	s.clock.wind(time.Minute)
	if g := post(); g.status != 403 {
		t.Errorf("the 501st in an hour: %d", g.status)
	}
	s.clock.wind(time.Hour)
	if g := post(); g.status != 201 {
		t.Errorf("after an hour: %d", g.status)
	}
}

func TestPrimaryLimit(t *testing.T) {
	s := newScene(t, github.Options{})
	c := s.actions(t, "contents:read")
	g := c.do(200, "GET", repoPath, nil)
	if g.header.Get("X-RateLimit-Limit") != "1000" || g.header.Get("X-RateLimit-Remaining") != "999" || g.header.Get("X-GitHub-Request-Id") == "" {
		t.Errorf("headers: %v", g.header)
	}
	if err := s.ExhaustRateLimit(c.token); err != nil {
		t.Fatal(err)
	}
	g = c.says(403, "API rate limit exceeded", "GET", repoPath, nil)
	reset, _ := strconv.ParseInt(g.header.Get("X-RateLimit-Reset"), 10, 64)
	if g.header.Get("X-RateLimit-Remaining") != "0" || reset != s.clock.now().Add(time.Hour).Unix() {
		t.Errorf("headers: %v", g.header)
	}
	if g := c.do(200, "GET", "/rate_limit", nil); g.number("rate", "remaining") != 0 {
		t.Errorf("rate limit: %v", g.body)
	}
	s.clock.wind(time.Hour)
	c.do(200, "GET", repoPath, nil)
}

func TestPointsLimit(t *testing.T) {
	s := newScene(t, github.Options{})
	c := s.as(t, "pat-adam")
	for n := range 180 { // 5 points each
		c.do(404, "DELETE", repoPath+"/environments/none"+fmt.Sprint(n), nil)
	}
	g := c.says(429, "secondary rate limit", "GET", repoPath, nil)
	if g.header.Get("Retry-After") != "60" {
		t.Errorf("headers: %v", g.header)
	}
	s.clock.wind(time.Minute)
	c.do(200, "GET", repoPath, nil)
}

func TestFaults(t *testing.T) {
	s := newScene(t, github.Options{KeepBodies: true})
	c := s.actions(t, "deployments:write")
	in := body{"ref": "main", "required_contexts": []string{}}
	fault := func(r github.Rule) {
		t.Helper()
		s.ClearFaults()
		if _, err := s.Fault(r); err != nil {
			t.Fatal(err)
		}
	}
	count := func() int {
		t.Helper()
		return c.do(200, "GET", repoPath+"/deployments", nil).len()
	}
	fault(github.Rule{Method: "POST", Path: "/deployments$", Cut: true})
	if _, err := c.try("POST", repoPath+"/deployments", in); err == nil || count() != 1 {
		t.Errorf("a lost answer: error %v, %d deployments", err, count())
	}
	fault(github.Rule{Method: "POST", Path: "/deployments$", Drop: true})
	if _, err := c.try("POST", repoPath+"/deployments", in); err == nil || count() != 1 {
		t.Errorf("a lost call: error %v, %d deployments", err, count())
	}
	fault(github.Rule{Method: "POST", Path: "/deployments$", Status: 502, Body: "<html>", After: true, Header: map[string]string{"Content-Type": "text/html"}})
	req := c
	if g, err := req.try("POST", repoPath+"/deployments", `{"ref":"main","required_contexts":[]}`); err == nil && g.status != 502 {
		t.Errorf("a 502 after the effect: %v", g)
	}
	fault(github.Rule{Status: 429, Header: map[string]string{"Retry-After": "1"}, Skip: 1, Count: 2})
	for n, want := range []int{200, 429, 429, 200} {
		if g := c.do(want, "GET", repoPath+"/deployments", nil); want == 429 && g.header.Get("Retry-After") != "1" {
			t.Errorf("call %d: %v", n, g.header)
		}
	}
	s.ForgetRequests()
	c.do(201, "POST", repoPath+"/deployments", in)
	log := s.Requests()
	if len(log) != 1 || log[0].Op != "POST /repos/{owner}/{repo}/deployments" || log[0].Status != 201 || log[0].Token != "GITHUB_TOKEN of kvick/helm" || len(log[0].Body) == 0 {
		t.Errorf("log: %+v", log)
	}
}
