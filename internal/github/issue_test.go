package github_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/github"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

const (
	opIssues    = "GET /repos/{owner}/{repo}/issues"
	opNewIssue  = "POST /repos/{owner}/{repo}/issues"
	opEditIssue = "PATCH /repos/{owner}/{repo}/issues/{issue_number}"
)

// issueText is an issue as the API shows it.
type issueText struct {
	Number      int
	Title, Body string
	State       string
	StateReason string `json:"state_reason"`
	User        struct{ Login string }
}

func (w *world) issue(t *testing.T, c *github.Client, number int) (i issueText) {
	t.Helper()
	w.send(t, "GET", c, fmt.Sprintf("/issues/%d", number), nil, &i)
	return i
}

// An issue's whole life, and what each step of it costs.
func TestPutIssue(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, map[string]string{"issues": "write"})
	const marker = "<!-- shopfleet audit -->"
	for _, step := range []struct {
		name, title, body string
		open              bool
		number            int
		ops               []string
		state, reason     string
		says              string // what the issue's body holds below the marker
	}{
		{"clean, and never was otherwise", "Audit", "clean", false, 0, []string{opIssues}, "", "", ""},
		{"made", "Audit: 1 finding", "one", true, 1, []string{opIssues, opNewIssue}, "open", "", "one"},
		{"the same", "Audit: 1 finding", "one", true, 1, []string{opIssues}, "open", "", "one"},
		{"white space at the end", "Audit: 1 finding", "one\n\n", true, 1, []string{opIssues}, "open", "", "one"},
		{"another text", "Audit: 1 finding", "another", true, 1, []string{opIssues, opEditIssue}, "open", "", "another"},
		{"another title", "Audit: 2 findings", "another", true, 1, []string{opIssues, opEditIssue}, "open", "", "another"},
		{"clean", "Audit", "clean", false, 1, []string{opIssues, opEditIssue}, "closed", "completed", "clean"},
		{"still clean", "Audit", "clean, on another day", false, 1, []string{opIssues}, "closed", "completed", "clean"},
		{"again", "Audit: 1 finding", "again", true, 1, []string{opIssues, opEditIssue}, "open", "reopened", "again"},
	} {
		w.ops()
		number, err := c.PutIssue(t.Context(), marker, step.title, step.body, step.open)
		if err != nil || number != step.number {
			t.Fatalf("%s: got %d, %v; want %d", step.name, number, err, step.number)
		}
		if got := w.ops(); fmt.Sprint(got) != fmt.Sprint(step.ops) {
			t.Errorf("%s: called %v; want %v", step.name, got, step.ops)
		}
		if number == 0 {
			continue
		}
		i := w.issue(t, c, number)
		if i.State != step.state || i.StateReason != step.reason || strings.TrimSpace(i.Body) != marker+"\n"+step.says {
			t.Errorf("%s: the issue is %+v", step.name, i)
		}
	}
	var list []issueText
	w.get(t, c, "/issues", &list)
	if len(list) != 1 {
		t.Errorf("there are %d issues", len(list))
	}
}

// What others wrote is not ours, whatever it holds; nor is a pull request.
func TestPutIssueAmongOthers(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, map[string]string{"contents": "read", "issues": "write", "pull_requests": "write"})
	if _, err := w.AddUser("mallory", ""); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.repo.SetPermission("mallory", "write"), w.AddToken("ghp_mallory", "mallory")); err != nil {
		t.Fatal(err)
	}
	mallory := w.client(t, nil)
	mallory.Token, mallory.Login = "ghp_mallory", "mallory"
	const marker = "<!-- shopfleet audit -->"
	var made issueText
	w.send(t, "POST", mallory, "/issues", map[string]string{"title": "Audit", "body": marker + "\nall is fine"}, &made)
	theirs := made.Number
	// Ours quotes the marker: only the first line counts.
	w.send(t, "POST", c, "/issues", map[string]string{"title": "Another", "body": "look:\n" + marker}, &made)
	w.send(t, "POST", c, "/pulls", map[string]string{"title": "a pull", "head": "shops/swicked", "base": "main", "body": marker + "\nx"}, &made)
	if number, err := c.PutIssue(t.Context(), marker, "Audit", "clean", false); number != 0 || err != nil {
		t.Errorf("got %d, %v", number, err)
	}
	ours, err := c.PutIssue(t.Context(), marker, "Audit: 1 finding", "one", true)
	if err != nil || ours != made.Number+1 {
		t.Fatalf("got %d, %v", ours, err)
	}
	// A later one of mallory's does not come before ours.
	w.send(t, "POST", mallory, "/issues", map[string]string{"title": "Audit", "body": marker + "\nall is fine"}, &made)
	if again, err := c.PutIssue(t.Context(), marker, "Audit", "clean", false); err != nil || again != ours {
		t.Errorf("got %d, %v", again, err)
	}
	for _, number := range []int{theirs, made.Number} {
		if i := w.issue(t, c, number); i.State != "open" || i.User.Login != "mallory" || !strings.HasSuffix(i.Body, "all is fine") {
			t.Errorf("mallory's issue is %+v", i)
		}
	}
	if i := w.issue(t, c, ours); i.State != "closed" {
		t.Errorf("ours is %+v", i)
	}
}

// Whichever answer is lost, and whether the call had an effect or not, there is one issue in the end.
func TestPutIssueOnce(t *testing.T) {
	for name, rule := range map[string]sim.Rule{
		"cut after the effect":  {Cut: true},
		"cut before the effect": {Drop: true},
		"502 after the effect":  {Status: 502, After: true},
		"503 before the effect": {Status: 503},
		"twice":                 {Cut: true, Count: 2},
		"drop twice":            {Drop: true, Count: 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.client(t, map[string]string{"issues": "write"})
			for method, path := range map[string]string{"POST": "/issues$", "PATCH": "/issues/"} {
				rule.Method, rule.Path = method, path
				w.fault(t, rule)
			}
			for _, open := range []bool{true, false} {
				if number, err := c.PutIssue(t.Context(), "audit", "Audit", fmt.Sprint(open), open); err != nil || number != 1 {
					t.Fatalf("got %d, %v", number, err)
				}
			}
			w.ClearFaults()
			if i := w.issue(t, c, 1); i.State != "closed" || !strings.HasSuffix(i.Body, "false") {
				t.Errorf("the issue is %+v", i)
			}
			var list []issueText
			w.get(t, c, "/issues", &list) // of open ones
			if len(list) != 0 {
				t.Errorf("open: %+v", list)
			}
		})
	}
}

func TestPutIssueHostileText(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, map[string]string{"issues": "write"})
	c.Hide = func(s string) string { return strings.ReplaceAll(s, "hunter2", "***") }
	for _, marker := range []string{"", "a --> b", "a\nb", "-", "<script>", "a--b"} {
		if _, err := c.PutIssue(t.Context(), marker, "t", "x", true); !errors.Is(err, github.ErrArgument) {
			t.Errorf("the marker %q: %v", marker, err)
		}
	}
	if _, err := c.PutIssue(t.Context(), "m2", " \n\t", "x", true); !errors.Is(err, github.ErrArgument) {
		t.Errorf("an empty title: %v", err)
	}
	long := "# Findings\n```\n" + strings.Repeat("äöü a line of findings: hunter2\n", 9000) + "```\n"
	for range 2 {
		w.ops()
		number, err := c.PutIssue(t.Context(), "m3", "a\nb hunter2 "+strings.Repeat("ä", 300), "<!-- m3 -->\n"+long+"<!-- m3 -->\n<!-- other -->\n", true)
		if err != nil {
			t.Fatal(err)
		}
		i := w.issue(t, c, number)
		if !strings.HasPrefix(i.Body, "<!-- m3 -->\n# Findings\n") || len(i.Body) > 65536 || len(i.Body) < 60000 || strings.Contains(i.Body+i.Title, "hunter2") || !strings.HasPrefix(i.Title, "a b ***") {
			t.Errorf("the issue is %q, %d bytes: %.60q", i.Title, len(i.Body), i.Body)
		}
	}
	if got := w.ops(); len(got) != 2 || got[0] != opIssues { // the second time nothing was written
		t.Errorf("called %v", got)
	}
}

// Without knowing who we are nothing is read and nothing written: an issue of someone else could be overwritten.
func TestPutIssueUnknownSelf(t *testing.T) {
	s := serve(t, map[string]answer{"POST /graphql": says(401, `{"message":"Bad credentials"}`)})
	if number, err := s.client(newClock()).PutIssue(t.Context(), "m", "t", "x", true); err == nil {
		t.Errorf("got %d", number)
	}
	// A GitHub that does not heed the filter is not believed.
	s = serve(t, map[string]answer{
		"POST /graphql":                says(200, `{"data":{"viewer":{"login":"shopfleet[bot]"}}}`),
		"GET /repos/acme/helm/issues":  says(200, `[{"number":7,"state":"open","user":{"login":"mallory"},"body":"<!-- m -->"},{"number":8,"state":"open","user":null,"body":"<!-- m -->"}]`),
		"POST /repos/acme/helm/issues": says(201, `{"number":9,"state":"open"}`),
	})
	if number, err := s.client(newClock()).PutIssue(t.Context(), "m", "t", "x", true); err != nil || number != 9 {
		t.Errorf("got %d, %v", number, err)
	}
	if !strings.Contains(s.got[1].query, "state=all") || !strings.Contains(s.got[1].query, "creator=shopfleet%5Bbot%5D") {
		t.Errorf("asked for %s", s.got[1].query)
	}
	// Issues can be switched off.
	s = serve(t, map[string]answer{
		"POST /graphql":                says(200, `{"data":{"viewer":{"login":"me"}}}`),
		"GET /repos/acme/helm/issues":  says(200, `[]`),
		"POST /repos/acme/helm/issues": says(410, `{"message":"Issues has been disabled in this repository."}`),
	})
	_, err := s.client(newClock()).PutIssue(t.Context(), "m", "t", "x", true)
	var e *github.Error
	if !errors.As(err, &e) || e.Status != 410 || !strings.Contains(e.Hint(), "switch issues on") {
		t.Errorf("got %v", err)
	}
}
