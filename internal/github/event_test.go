package github_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/github"
)

const pushEvent = `{"ref":"refs/heads/shops/swicked","before":"0000000000000000000000000000000000000000","after":"` + sha + `","forced":true,"deleted":false,
	"repository":{"full_name":"acme/helm","default_branch":"main"},"sender":{"login":"octocat"},"commits":[{"message":"::set-output name=x::y"}]}`

func pullEvent(head string) string {
	return `{"action":"opened","number":5,"pull_request":{"number":5,"title":"::error::x","state":"open","user":{"login":"eve"},
		"head":{"ref":"topic","sha":"` + sha + `","repo":` + head + `},"base":{"ref":"main","sha":"` + sha + `","repo":{"id":1,"full_name":"acme/helm","fork":false}}}}`
}

func inStep(t *testing.T, event string) *step {
	return newStep("GITHUB_EVENT_NAME", "push", "GITHUB_REPOSITORY", "acme/helm", "GITHUB_SHA", sha, "GITHUB_REF", "refs/heads/shops/swicked",
		"GITHUB_REF_NAME", "shops/swicked", "GITHUB_RUN_ID", "4711", "GITHUB_RUN_ATTEMPT", "2", "GITHUB_ACTOR", "octocat", "GITHUB_WORKSPACE", "/github/workspace",
		"GITHUB_EVENT_PATH", file(t, event))
}

func TestContext(t *testing.T) {
	c, err := inStep(t, pushEvent).Context()
	if err != nil {
		t.Fatal(err)
	}
	if c.Owner != "acme" || c.Repo != "helm" || c.SHA != sha || c.RefName != "shops/swicked" || c.APIURL != "https://api.github.com" ||
		c.RunURL != "https://github.com/acme/helm/actions/runs/4711/attempts/2" || c.RunID != 4711 || c.Actor != "octocat" {
		t.Errorf("got %+v", c)
	}
	if e := c.Event; e.Ref != c.Ref || e.After != sha || !e.Forced || e.Deleted || e.Sender != "octocat" || e.DefaultBranch != "main" || e.PullRequest != nil {
		t.Errorf("got %+v", e)
	}
}

func TestContextOfAPullRequest(t *testing.T) {
	s := inStep(t, pullEvent("null"))
	for name, value := range map[string]string{
		"GITHUB_EVENT_NAME": "pull_request", "GITHUB_REF": "refs/pull/5/merge", "GITHUB_REF_NAME": "5/merge", "GITHUB_RUN_ATTEMPT": "",
		"GITHUB_SHA": strings.Repeat("ab", 32), "GITHUB_SERVER_URL": "https://ghe.example/", "GITHUB_API_URL": "https://ghe.example/api/v3",
	} {
		s.env[name] = value
	}
	c, err := s.Context()
	if err != nil || c.RunURL != "https://ghe.example/acme/helm/actions/runs/4711" || c.RunAttempt != 1 || c.APIURL != "https://ghe.example/api/v3" ||
		c.Event.PullRequest.Number != 5 || c.Event.PullRequest.Author != "eve" || !c.Event.PullRequest.Fork || c.Event.Action != "opened" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestContextRefused(t *testing.T) {
	for name, value := range map[string][]string{
		"GITHUB_SHA":         {"", "main", sha[:39], strings.ToUpper(sha), sha + "\n", sha + "0"},
		"GITHUB_REPOSITORY":  {"", "acme", "acme/", "/helm", "acme/helm/x", "acme/..", "ac me/helm", "-acme/helm", "acme/helm?x"},
		"GITHUB_SERVER_URL":  {"http://github.example", "github.com", "https://user@github.com", "javascript:alert(1)", "https://github.com?x"},
		"GITHUB_API_URL":     {"http://api.github.example", "ftp://x"},
		"GITHUB_REF":         {"", "main", "refs/heads/../x", "refs/heads/a b", "refs/heads/x\n::error::"},
		"GITHUB_REF_NAME":    {"", "main", "swicke"},
		"GITHUB_EVENT_NAME":  {"", "push\x1b"},
		"GITHUB_RUN_ID":      {"", "x", "-1", "0", "99999999999999999999"},
		"GITHUB_RUN_ATTEMPT": {"x"},
		"GITHUB_ACTOR":       {"octo\ncat"},
		"GITHUB_ACTIONS":     {"", "false"},
		"GITHUB_EVENT_PATH":  {"", filepath.Join(t.TempDir(), "none"), t.TempDir()},
	} {
		for _, v := range value {
			s := inStep(t, pushEvent)
			s.env[name] = v
			if c, err := s.Context(); err == nil {
				t.Errorf("%s=%q: got %+v", name, v, c)
			} else if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("%s=%q: not clean: %q", name, v, err)
			}
		}
	}
	for _, event := range []string{
		"", "null x", "[]", "5", `{"ref":5}`, `{"ref":"a b"}`, `{"after":"x"}`, `{"deleted":"yes"}`, `{"sender":[]}`, `{"sender":{"login":"a\nb"}}`,
		`{"pull_request":5}`, `{"pull_request":{}}`, `{"pull_request":{"number":1}}`, `{"inputs":{"x":{}}}`, `{"inputs":[]}`,
		`{"repository":{"full_name":"acme/other"}}`, `{"repository":{"default_branch":"../x"}}`, strings.Repeat("[", 100000),
	} {
		if c, err := inStep(t, event).Context(); err == nil {
			t.Errorf("%.60s: got %+v", event, c)
		}
	}
	large := file(t, "")
	if err := os.Truncate(large, 26<<20); err != nil {
		t.Fatal(err)
	}
	s := inStep(t, "")
	s.env["GITHUB_EVENT_PATH"] = large
	if _, err := s.Context(); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a large event: %v", err)
	}
}

func TestFork(t *testing.T) {
	for head, fork := range map[string]bool{
		`{"id":1,"full_name":"acme/helm"}`:             false,
		`{"id":1,"full_name":"Acme/Helm","fork":true}`: false, // a repository that is itself a fork
		`{"id":2,"full_name":"eve/helm","fork":true}`:  true,
		`{"id":2,"full_name":"acme/helm"}`:             true,
		`{"id":1,"full_name":"eve/helm"}`:              true,
		`{"full_name":"acme/helm"}`:                    true,
		`null`:                                         true, // gone
	} {
		c, err := inStep(t, pullEvent(head)).Context()
		if err != nil || c.Event.PullRequest == nil || c.Event.PullRequest.Fork != fork {
			t.Errorf("%s: got %+v, %v; want fork %v", head, c.Event.PullRequest, err, fork)
		}
		s := serve(t, map[string]answer{"GET /repos/acme/helm/pulls/5": says(200, string(pull(t, pullEvent(head))))})
		p, err := s.client(newClock()).PullRequest(t.Context(), 5)
		if err != nil || !reflect.DeepEqual(p, *c.Event.PullRequest) {
			t.Errorf("the API says %+v, %v", p, err)
		}
	}
}

func pull(t *testing.T, event string) json.RawMessage {
	t.Helper()
	var e map[string]json.RawMessage
	if err := json.Unmarshal([]byte(event), &e); err != nil {
		t.Fatal(err)
	}
	return e["pull_request"]
}

func TestPullRequestMalformed(t *testing.T) {
	for _, text := range []string{"{}", "[]", `{"number":6,"head":{"ref":"a","sha":"` + sha + `"},"base":{"ref":"b","sha":"` + sha + `"}}`, `{"number":5}`, `{"number":"5"}`} {
		s := serve(t, map[string]answer{"GET /repos/acme/helm/pulls/5": says(200, text)})
		if p, err := s.client(newClock()).PullRequest(t.Context(), 5); err == nil || !reflect.DeepEqual(p, github.PullRequest{}) {
			t.Errorf("%s: got %+v, %v", text, p, err)
		}
	}
}

func FuzzEvent(f *testing.F) {
	f.Add(`{"action":"edited","changes":{"body":{"from":"x"}},"label":{"name":"a"},"issue":{"number":7,"pull_request":{}},"comment":{"id":1,"created_at":"2026-11-23T09:00:00Z","user":{"login":"a"}}}`)
	f.Add(pushEvent)
	f.Add(pullEvent("null"))
	f.Add(`{"inputs":{"shop":"swicked","dry-run":true,"n":1,"x":null}}`)
	f.Fuzz(func(t *testing.T, event string) {
		c, err := inStep(t, event).Context()
		if err != nil {
			return
		}
		for _, sha := range []string{c.Event.Before, c.Event.After} {
			if sha != "" && strings.Trim(sha, "0123456789abcdef") != "" {
				t.Errorf("%q passes for a commit", sha)
			}
		}
		if p := c.Event.PullRequest; p != nil && (p.Number <= 0 || p.Head.SHA == "" || strings.ContainsAny(p.Head.Ref+p.Base.Ref+c.Event.Ref, " \n\x1b")) {
			t.Errorf("got %+v", p)
		}
	})
}

// GitHub's own payloads are read without complaint.
func TestRecordedEvents(t *testing.T) {
	names, err := filepath.Glob("../../testdata/contracts/github/webhooks/*.json")
	if err != nil || len(names) == 0 {
		t.Fatal("no payloads", err)
	}
	pulls := 0
	for _, name := range names {
		text := read(t, name)
		var about struct {
			Repository struct {
				FullName string `json:"full_name"`
			}
		}
		if err := json.Unmarshal([]byte(text), &about); err != nil {
			t.Fatal(err)
		}
		s := inStep(t, text)
		s.env["GITHUB_REPOSITORY"] = orElse(about.Repository.FullName, "acme/helm")
		c, err := s.Context()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.Event.PullRequest != nil {
			pulls++
		}
	}
	if pulls == 0 {
		t.Error("no pull request was read")
	}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func TestContextOfTalk(t *testing.T) {
	payload := func(name string) string {
		text, err := os.ReadFile(filepath.Join("..", "..", "testdata", "contracts", "github", "webhooks", name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(text), `"Codertocat/Hello-World"`, `"acme/helm"`)
	}
	event := func(text string) (github.Event, error) {
		s := inStep(t, text)
		s.env["GITHUB_EVENT_NAME"], s.env["GITHUB_REF"], s.env["GITHUB_REF_NAME"] = "issue_comment", "refs/heads/main", "main"
		c, err := s.Context()
		return c.Event, err
	}
	e, err := event(payload("issue_comment.created.json"))
	if err != nil || e.Action != "created" || e.Comment == nil || e.Comment.ID != 492700400 || e.Comment.Author != "Codertocat" || e.Comment.Bot ||
		!strings.HasPrefix(e.Comment.Body, "You are totally right!") || e.Comment.Created.IsZero() || e.Issue == nil || e.Issue.Number != 1 || e.Issue.Pull || e.Edited {
		t.Errorf("got %+v, %+v, %+v, %v", e, e.Comment, e.Issue, err)
	}
	if e, err = event(payload("issue_comment.edited.json")); err != nil || e.Action != "edited" || !e.Edited || e.BodyBefore == "" || e.Comment == nil {
		t.Errorf("got %+v, %v", e, err)
	}
	repo := `"repository":{"full_name":"acme/helm","default_branch":"main"},"sender":{"login":"wanda"}`
	e, err = event(`{"action":"edited","changes":{"body":{"from":"- [ ] x"}},"issue":{"number":7,"body":"- [x] x","state":"open","user":{"login":"shopfleet[bot]"},"labels":[{"name":"fleet"}]},` + repo + `}`)
	if err != nil || !e.Edited || e.BodyBefore != "- [ ] x" || e.Issue.Body != "- [x] x" || e.Issue.Author != "shopfleet[bot]" || e.Sender != "wanda" || e.Comment != nil || len(e.Issue.Labels) != 1 {
		t.Errorf("got %+v, %v", e, err)
	}
	if e, err = event(`{"action":"edited","changes":{"title":{"from":"x"}},"issue":{"number":7,"pull_request":{}},` + repo + `}`); err != nil || e.Edited || !e.Issue.Pull {
		t.Errorf("got %+v, %v", e, err)
	}
	labeled := strings.Replace(pullEvent("null"), `"opened"`, `"labeled","label":{"name":"land\u001b"}`, 1)
	if e, err = event(labeled); err != nil || e.Action != "labeled" || e.Label != "land\x1b" || e.PullRequest == nil {
		t.Errorf("got %+v, %v", e, err)
	}
	if e, err = event(`{"schedule":"17 4 * * 1",` + repo + `}`); err != nil || e.Schedule != "17 4 * * 1" {
		t.Errorf("got %+v, %v", e, err)
	}
	for _, text := range []string{
		`{"issue":{"number":0}}`, `{"issue":{"number":1},"comment":{"id":1}}`, `{"issue":{"number":1},"comment":{"id":0,"created_at":"2026-11-23T09:00:00Z"}}`,
		`{"issue":{"number":1},"comment":{"id":1,"created_at":"yesterday"}}`, `{"issue":{"number":1},"comment":{"id":1,"created_at":"2026-11-23T09:00:00Z","user":{"login":"a\nb"}}}`,
		`{"issue":[]}`, `{"changes":{"body":"x"}}`,
	} {
		if e, err := event(text); err == nil {
			t.Errorf("%s: got %+v", text, e)
		}
	}
}
