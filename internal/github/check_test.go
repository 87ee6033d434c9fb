package github_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/github"
)

const (
	runs     = "/repos/acme/helm/check-runs"
	runsOf   = "/repos/acme/helm/commits/" + sha + "/check-runs"
	oneRun   = runs + "/9"
	remarks  = oneRun + "/annotations"
	runLink  = "https://github.com/acme/helm/runs/9"
	runThere = `{"id":9,"name":"shopfleet","head_sha":"` + sha + `","external_id":"1/1","html_url":"` + runLink + `","app":{"slug":"shopfleet"` + `}}`
)

func checkRun(annotations int) github.CheckRun {
	run := github.CheckRun{
		Name: "shopfleet", HeadSHA: sha, ExternalID: "1/1", DetailsURL: "https://github.com/acme/helm/actions/runs/1",
		Conclusion: "failure", Title: "3 findings", Summary: "What is wrong", Started: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC),
	}
	for i := range annotations {
		run.Annotations = append(run.Annotations, github.Annotation{Path: "wrangler.jsonc", StartLine: i + 1, Level: github.LevelFailure, Title: "binding", Message: fmt.Sprint("no ", i)})
	}
	return run
}

// keeper is a check run on a server, which adds what every request brings.
type keeper struct {
	mu   sync.Mutex
	made int
	has  []any
}

func (k *keeper) take(r request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	output, _ := r.body["output"].(map[string]any)
	list, _ := output["annotations"].([]any)
	k.has = append(k.has, list...)
	if r.method == "POST" {
		k.made++
	}
}

func (k *keeper) routes(faults func(r request, n int) bool) map[string]answer {
	put := func(status int) answer {
		return func(w http.ResponseWriter, r request, n int) {
			k.take(r)
			if faults(r, n) {
				panic(http.ErrAbortHandler)
			}
			says(status, runThere)(w, r, n)
		}
	}
	return map[string]answer{
		"GET " + runsOf: func(w http.ResponseWriter, r request, n int) {
			k.mu.Lock()
			list := ""
			if k.made > 0 {
				list = strings.Replace(runThere, "{", fmt.Sprintf(`{"output":{"annotations_count":%d},`, len(k.has)), 1)
			}
			k.mu.Unlock()
			says(200, `{"total_count":0,"check_runs":[`+list+`]}`)(w, r, n)
		},
		"POST " + runs:    put(201),
		"PATCH " + oneRun: put(200),
		"GET " + remarks: func(w http.ResponseWriter, r request, n int) {
			k.mu.Lock()
			var items []string
			for _, a := range k.has {
				m := a.(map[string]any)
				items = append(items, fmt.Sprintf(`{"path":%q,"start_line":%v,"end_line":%v,"annotation_level":%q,"title":%q,"message":%q}`, m["path"], m["start_line"], m["end_line"], m["annotation_level"], m["title"], m["message"]))
			}
			k.mu.Unlock()
			says(200, "["+strings.Join(items, ",")+"]")(w, r, n)
		},
	}
}

func (k *keeper) check(t *testing.T, want int) {
	t.Helper()
	seen := map[string]bool{}
	for _, a := range k.has {
		seen[fmt.Sprint(a)] = true
	}
	if k.made != 1 || len(k.has) != want || len(seen) != want {
		t.Errorf("%d runs with %d annotations, %d different; want 1 with %d", k.made, len(k.has), len(seen), want)
	}
}

// ours is a client that knows who it is.
func ours(s *server) *github.Client {
	c := s.client(newClock())
	c.Login = "shopfleet[bot]"
	return c
}

func TestPutCheckRun(t *testing.T) {
	k := &keeper{}
	s := serve(t, k.routes(func(request, int) bool { return false }))
	c := ours(s)
	url, err := c.PutCheckRun(t.Context(), checkRun(50))
	if err != nil || url != runLink {
		t.Fatalf("got %q, %v", url, err)
	}
	wantSent(t, s, "GET "+runsOf, "POST "+runs)
	k.check(t, 50)
	body := s.last().body
	if body["status"] != "completed" || body["conclusion"] != "failure" || body["head_sha"] != sha || body["completed_at"] != "2026-11-23T09:00:00Z" {
		t.Errorf("sent %v", body)
	}

	// The same again updates the run and adds nothing.
	if url, err := c.PutCheckRun(t.Context(), checkRun(50)); err != nil || url != runLink {
		t.Fatalf("got %q, %v", url, err)
	}
	wantSent(t, s, "GET "+runsOf, "POST "+runs, "GET "+runsOf, "GET "+remarks, "PATCH "+oneRun)
	k.check(t, 50)

	// Without an id nothing is looked for.
	run := checkRun(0)
	run.ExternalID, run.Conclusion = "", ""
	s = serve(t, map[string]answer{"POST " + runs: says(201, runThere)})
	if _, err := ours(s).PutCheckRun(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if body := s.last().body; body["status"] != "in_progress" || body["conclusion"] != nil || body["completed_at"] != nil {
		t.Errorf("sent %v", body)
	}
}

// However answers are lost, there is one run with every annotation once.
func TestPutCheckRunLost(t *testing.T) {
	for _, lost := range [][]string{{"POST 1"}, {"PATCH 1"}, {"PATCH 2"}, {"POST 1", "PATCH 1", "PATCH 2"}, {"PATCH 1", "PATCH 3"}} {
		k := &keeper{}
		s := serve(t, k.routes(func(r request, n int) bool {
			for _, l := range lost {
				if l == fmt.Sprint(r.method, " ", n) {
					return true
				}
			}
			return false
		}))
		url, err := ours(s).PutCheckRun(t.Context(), checkRun(170))
		if err != nil || url != runLink {
			t.Errorf("%v: got %q, %v", lost, url, err)
		}
		k.check(t, 170)
	}
}

// A request that was lost before it had an effect is sent again.
func TestPutCheckRunNeverArrived(t *testing.T) {
	k := &keeper{}
	routes := k.routes(func(request, int) bool { return false })
	routes["POST "+runs] = inTurn(cutOff, routes["POST "+runs])
	routes["PATCH "+oneRun] = inTurn(cutOff, says(502, ""), routes["PATCH "+oneRun])
	s := serve(t, routes)
	if _, err := ours(s).PutCheckRun(t.Context(), checkRun(60)); err != nil {
		t.Error(err)
	}
	k.check(t, 60)
}

func TestPutCheckRunLostWithoutID(t *testing.T) {
	s := serve(t, map[string]answer{"POST " + runs: cutOff})
	run := checkRun(1)
	run.ExternalID = ""
	_, err := ours(s).PutCheckRun(t.Context(), run)
	var e *github.Error
	if !errors.As(err, &e) || !e.Unclear {
		t.Errorf("got %v", err)
	}
	wantSent(t, s, "POST "+runs)
}

func TestPutCheckRunLimits(t *testing.T) {
	s := serve(t, map[string]answer{"POST " + runs: says(201, runThere)})
	run := checkRun(0)
	run.ExternalID, run.Title = "", ""
	run.Summary = strings.Repeat("a line\n", 20000)
	run.Text = strings.Repeat("é", 60000)
	run.Annotations = []github.Annotation{
		{Message: "about no file", Level: "odd"},
		{Path: "a\x1b.sql", StartLine: 5, EndLine: 3, StartColumn: 2, Level: github.LevelWarning, Message: "x\u202ey\nz"},
		{Path: "a.sql", StartLine: 5, EndLine: 9, StartColumn: 2, EndColumn: 7, Level: github.LevelFailure, Message: "", Title: strings.Repeat("t", 999), Raw: "raw"},
		{Path: "a.sql", StartLine: -5, StartColumn: -2, Message: strings.Repeat("m", 1<<17)},
	}
	if _, err := ours(s).PutCheckRun(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	output := s.last().body["output"].(map[string]any)
	for _, part := range []string{"summary", "text"} {
		text := output[part].(string)
		if len(text) > 65535 || len(text) < 65000 || !strings.Contains(text, "[here](https://github.com/acme/helm/actions/runs/1)") {
			t.Errorf("the %s has %d bytes and ends %q", part, len(text), text[len(text)-150:])
		}
	}
	if output["title"] != "shopfleet" {
		t.Errorf("the title is %v", output["title"])
	}
	list := output["annotations"].([]any)
	for i, want := range []string{
		"map[annotation_level:notice end_line:1 message:about no file path:.github start_line:1]",
		"map[annotation_level:warning end_column:2 end_line:5 message:xy\nz path:a.sql start_column:2 start_line:5]",
	} {
		if got := fmt.Sprint(list[i]); got != want {
			t.Errorf("annotation %d is %s; want %s", i, got, want)
		}
	}
	if third := list[2].(map[string]any); third["start_column"] != nil || third["end_line"] != 9.0 || len(third["title"].(string)) > 255 || third["message"] == "" {
		t.Errorf("the third annotation is %v", third)
	}
	if fourth := list[3].(map[string]any); fourth["start_line"] != 1.0 || len(fourth["message"].(string)) > 64<<10 {
		t.Errorf("the fourth annotation is at %v", fourth["start_line"])
	}
	for _, bad := range []github.CheckRun{{HeadSHA: sha}, {Name: "x", HeadSHA: "main"}, {Name: "x", HeadSHA: sha[:39] + "\n"}} {
		if _, err := ours(s).PutCheckRun(t.Context(), bad); !errors.Is(err, github.ErrArgument) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestPutCheckRunPages(t *testing.T) {
	var s *server
	next := func(n int) string { return fmt.Sprintf(`<%s/x?page=%d>; rel="next"`, s.URL, n+1) }
	other := strings.Replace(runThere, "1/1", "0/1", 1)
	s = serve(t, map[string]answer{
		"GET " + runsOf: func(w http.ResponseWriter, r request, n int) {
			if n == 1 {
				says(200, `{"check_runs":[`+other+`]}`, "Link", next(n))(w, r, n)
				return
			}
			says(200, `{"check_runs":[`+strings.Replace(runThere, "{", `{"output":{"annotations_count":120},`, 1)+`]}`)(w, r, n)
		},
		"GET " + remarks: func(w http.ResponseWriter, r request, n int) {
			says(200, "[]", "Link", next(n))(w, r, n)
		},
	})
	_, err := ours(s).PutCheckRun(t.Context(), checkRun(1))
	if !errors.Is(err, github.ErrPaging) {
		t.Errorf("got %v", err)
	}
	s = serve(t, map[string]answer{"GET " + runsOf: func(w http.ResponseWriter, r request, n int) {
		says(200, "null", "Link", next(n))(w, r, n)
	}})
	if _, err := ours(s).PutCheckRun(t.Context(), checkRun(1)); !errors.Is(err, github.ErrPaging) {
		t.Errorf("got %v", err)
	}
}

// Secrets are in nothing that others read; the runner masks its log alone.
func TestHide(t *testing.T) {
	s := serve(t, map[string]answer{
		"GET " + runsOf: says(200, `{"check_runs":[]}`), "POST " + runs: says(201, runThere),
		"GET /repos/acme/helm/issues/7/comments": says(200, `[]`), "POST /repos/acme/helm/issues/7/comments": says(201, `{"id":1}`),
		"POST " + deployments: says(201, `{"id":7}`), "POST " + deployments + "/7/statuses": says(201, `{"id":1}`),
	})
	c := ours(s)
	c.Hide = func(text string) string { return strings.ReplaceAll(text, "hunter2", "***") }
	run := checkRun(0)
	run.Title, run.Summary, run.Text = "a hunter2", "b hunter2", "c hunter2"
	run.Annotations = []github.Annotation{{Path: "hunter2", StartLine: 1, Level: github.LevelNotice, Title: "hunter2", Message: "hunter2", Raw: "hunter2"}}
	if _, err := c.PutCheckRun(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutComment(t.Context(), 7, "plan", "hunter2", true); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateDeployment(t.Context(), github.NewDeployment{Ref: sha, Environment: "shop-a", Key: "k", Description: "hunter2"}); err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeploymentStatus(t.Context(), 7, github.DeploymentStatus{State: "error", Description: "hunter2"}); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, r := range s.got {
		if r.method == http.MethodPost {
			sent++
			if body := fmt.Sprint(r.body); strings.Contains(body, "hunter2") || !strings.Contains(body, "***") {
				t.Errorf("%s was sent %s", r.path, body)
			}
		}
	}
	if sent != 4 {
		t.Errorf("%d writes, want 4", sent)
	}
}
