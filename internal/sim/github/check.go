package github

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// checkRun is a check run; runs of one App on one commit share a suite.
type checkRun struct {
	id                     int64
	suite                  *checkSuite
	name, headSHA          string
	externalID, detailsURL string
	status, conclusion     string
	started, completed     time.Time
	title, summary, text   *string
	annotations            []annotation
	actions                []CheckAction
}

type checkSuite struct {
	id      int64
	headSHA string
	app     *App
	created time.Time
}

type annotation struct {
	Path        *string `json:"path"`
	StartLine   *int    `json:"start_line"`
	EndLine     *int    `json:"end_line"`
	StartColumn *int    `json:"start_column"`
	EndColumn   *int    `json:"end_column"`
	Level       *string `json:"annotation_level"`
	Message     *string `json:"message"`
	Title       string  `json:"title"`
	RawDetails  string  `json:"raw_details"`
}

// CheckAction is a button of a check run.
type CheckAction struct {
	Label       string `json:"label"`
	Description string `json:"description"`
	Identifier  string `json:"identifier"`
}

const (
	maxCheckText     = 65535
	maxAnnotations   = 50
	maxRunsOfOneName = 1000
	maxAnnotation    = 64 << 10
)

// checkInput is the body of creating and of updating a check run.
type checkInput struct {
	Name        *string    `json:"name"`
	HeadSHA     *string    `json:"head_sha"`
	DetailsURL  *string    `json:"details_url"`
	ExternalID  *string    `json:"external_id"`
	Status      *string    `json:"status"`
	StartedAt   *time.Time `json:"started_at"`
	Conclusion  *string    `json:"conclusion"`
	CompletedAt *time.Time `json:"completed_at"`
	Output      *struct {
		Title       *string      `json:"title"`
		Summary     *string      `json:"summary"`
		Text        *string      `json:"text"`
		Annotations []annotation `json:"annotations"`
	} `json:"output"`
	Actions []CheckAction `json:"actions"`
}

func badCheck(format string, args ...any) *refusal {
	return refuse(http.StatusUnprocessableEntity, "Invalid request.\n\n"+format, args...)
}

// validate checks what wire.md §1.6 and the schema say about the body.
func (in *checkInput) validate(create bool) error {
	statuses := []string{"queued", "in_progress", "completed"}
	if !create {
		statuses = append(statuses, "waiting", "requested", "pending")
	}
	switch {
	case create && (in.Name == nil || in.HeadSHA == nil):
		return missing("name", "head_sha")
	case in.Name != nil && *in.Name == "":
		return badCheck("name is empty.")
	case in.Status != nil && !slices.Contains(statuses, *in.Status):
		return badCheck("%s is not a possible status.", *in.Status)
	case in.Status != nil && (*in.Status == "waiting" || *in.Status == "requested" || *in.Status == "pending"):
		return badCheck("Only GitHub Actions can set the status %s.", *in.Status)
	case in.Conclusion != nil && !slices.Contains([]string{"action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out"}, *in.Conclusion):
		return badCheck("%s is not a possible conclusion.", *in.Conclusion) // stale is GitHub's own
	case in.Status != nil && *in.Status == "completed" && in.Conclusion == nil:
		return badCheck("\"conclusion\" wasn't supplied.")
	case in.Status != nil && *in.Status != "completed" && in.Conclusion != nil:
		return badCheck("A check run with a conclusion is completed.")
	case in.DetailsURL != nil && !webURL(*in.DetailsURL):
		return badCheck("details_url must use http(s).")
	case len(in.Actions) > 3:
		return badCheck("No more than 3 items are allowed; %d were supplied.", len(in.Actions))
	}
	for _, a := range in.Actions {
		if a.Label == "" || a.Description == "" || a.Identifier == "" || utf8.RuneCountInString(a.Label) > 20 || utf8.RuneCountInString(a.Description) > 40 || utf8.RuneCountInString(a.Identifier) > 20 {
			return badCheck("An action has a label (20), a description (40) and an identifier (20).")
		}
	}
	if in.Output == nil {
		return nil
	}
	o := in.Output
	switch {
	case o.Summary == nil || create && o.Title == nil:
		return badCheck("\"title\", \"summary\" weren't supplied.")
	case len(*o.Summary) > maxCheckText:
		return badCheck("Only %d characters are allowed in summary; %d were supplied.", maxCheckText, len(*o.Summary))
	case len(deref(o.Text, "")) > maxCheckText:
		return badCheck("Only %d characters are allowed in text; %d were supplied.", maxCheckText, len(*o.Text))
	case len(o.Annotations) > maxAnnotations:
		return badCheck("No more than %d items are allowed; %d were supplied.", maxAnnotations, len(o.Annotations))
	}
	for n, a := range o.Annotations {
		if problem := a.problem(); problem != "" {
			return badCheck("For 'properties/annotations/items/%d', %s", n, problem)
		}
	}
	return nil
}

func (a *annotation) problem() string {
	switch {
	case a.Path == nil || a.StartLine == nil || a.EndLine == nil || a.Level == nil || a.Message == nil:
		return "path, start_line, end_line, annotation_level and message are needed."
	case *a.Path == "" || strings.HasPrefix(*a.Path, "/"):
		return "path must be relative."
	case *a.StartLine < 0 || *a.EndLine < *a.StartLine:
		return "end_line must not be before start_line."
	case !slices.Contains([]string{"notice", "warning", "failure"}, *a.Level):
		return "annotation_level must be notice, warning or failure."
	case (a.StartColumn != nil || a.EndColumn != nil) && *a.StartLine != *a.EndLine:
		return "columns are only allowed on a single line."
	case a.StartColumn != nil && a.EndColumn != nil && *a.EndColumn < *a.StartColumn:
		return "end_column must not be before start_column."
	case len(*a.Message) > maxAnnotation || len(a.RawDetails) > maxAnnotation:
		return "message and raw_details are at most 64 KB."
	case utf8.RuneCountInString(a.Title) > 255:
		return "title is at most 255 characters."
	}
	return ""
}

// apply takes the body over; annotations are appended (wire.md §1.6).
func (run *checkRun) apply(in *checkInput, now time.Time) {
	set := func(to *string, from *string) {
		if from != nil {
			*to = *from
		}
	}
	set(&run.name, in.Name)
	set(&run.detailsURL, in.DetailsURL)
	set(&run.externalID, in.ExternalID)
	set(&run.status, in.Status)
	if in.StartedAt != nil {
		run.started = *in.StartedAt
	}
	if in.Status != nil && *in.Status != "completed" { // a run that starts again
		run.conclusion, run.completed = "", time.Time{}
	}
	if in.Conclusion != nil {
		run.status, run.conclusion = "completed", *in.Conclusion
		run.completed = deref(in.CompletedAt, now)
	}
	if o := in.Output; o != nil {
		run.summary = o.Summary
		if o.Title != nil {
			run.title = o.Title
		}
		if o.Text != nil {
			run.text = o.Text
		}
		run.annotations = append(run.annotations, o.Annotations...)
	}
	if in.Actions != nil {
		run.actions = in.Actions
	}
}

func (r *Repository) checkObject(run *checkRun) object {
	url := fmt.Sprintf("%s/check-runs/%d", r.api(), run.id)
	html := fmt.Sprintf("%s/runs/%d", r.html(), run.id)
	pulls := []any{}
	for _, i := range r.issues {
		if p := i.pull; p != nil && i.state == "open" && p.headSHA == run.headSHA && p.headRepo == r {
			pulls = append(pulls, r.pullMinimal(i))
		}
	}
	text := func(s *string) any {
		if s == nil {
			return nil
		}
		return *s
	}
	return object{
		"id": run.id, "head_sha": run.headSHA, "node_id": node("CR", run.id), "external_id": run.externalID, "url": url, "html_url": html,
		"details_url": deflt(run.detailsURL, html), "status": run.status, "conclusion": maybe(run.conclusion), "started_at": maybeStamp(run.started),
		"completed_at": maybeStamp(run.completed), "name": run.name, "check_suite": object{"id": run.suite.id}, "app": r.w.app(run.suite.app), "pull_requests": pulls,
		"output": object{
			"title": text(run.title), "summary": text(run.summary), "text": text(run.text), "annotations_count": len(run.annotations), "annotations_url": url + "/annotations",
		},
	}
}

func createCheckRun(c *call) (answer, error) {
	var in checkInput
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if err := in.validate(true); err != nil {
		return answer{}, err
	}
	kind, err := c.repo.objectType(*in.HeadSHA)
	if err != nil {
		return answer{}, err
	}
	if kind != "commit" {
		return answer{}, refuse(http.StatusUnprocessableEntity, "No commit found for SHA: %s", *in.HeadSHA)
	}
	now := c.w.clock()
	run := &checkRun{id: c.w.nextID(), suite: c.repo.suiteFor(c.cred.app, *in.HeadSHA), headSHA: *in.HeadSHA, status: "queued", started: now}
	run.apply(&in, now)
	c.repo.checks = append(c.repo.checks, run)
	c.repo.dropOldRuns(run)
	if err := c.repo.checkEvent(c.cred, run, "created", nil); err != nil {
		return answer{}, err
	}
	if run.status == "completed" {
		if err := c.repo.checkEvent(c.cred, run, "completed", nil); err != nil {
			return answer{}, err
		}
	}
	return created(c.repo.checkObject(run))
}

// dropOldRuns keeps a suite to 1000 runs of one name; the older ones go (wire.md §1.6).
func (r *Repository) dropOldRuns(newest *checkRun) {
	n := 0
	for _, run := range r.checks {
		if run.suite == newest.suite && run.name == newest.name {
			n++
		}
	}
	r.checks = slices.DeleteFunc(r.checks, func(run *checkRun) bool {
		if n <= maxRunsOfOneName || run.suite != newest.suite || run.name != newest.name {
			return false
		}
		n--
		return true
	})
}

func (r *Repository) suiteFor(app *App, sha string) *checkSuite {
	for _, s := range r.suites {
		if s.app == app && s.headSHA == sha {
			return s
		}
	}
	s := &checkSuite{id: r.w.nextID(), headSHA: sha, app: app, created: r.w.clock()}
	r.suites = append(r.suites, s)
	return s
}

// findCheckRun is the check run of the path.
func (c *call) findCheckRun() (*checkRun, error) {
	id, _ := strconv.ParseInt(c.vars["check_run_id"], 10, 64)
	for _, run := range c.repo.checks {
		if run.id == id {
			return run, nil
		}
	}
	return nil, notFound()
}

func getCheckRun(c *call) (answer, error) {
	run, err := c.findCheckRun()
	if err != nil {
		return answer{}, err
	}
	return ok(c.repo.checkObject(run))
}

func updateCheckRun(c *call) (answer, error) {
	run, err := c.findCheckRun()
	if err != nil {
		return answer{}, err
	}
	var in checkInput
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if err := in.validate(false); err != nil {
		return answer{}, err
	}
	if run.suite.app != c.cred.app {
		return answer{}, refuse(http.StatusForbidden, "Invalid app_id `%d` - check run can only be modified by the GitHub App that created it.", c.cred.app.ID)
	}
	before := run.status
	run.apply(&in, c.w.clock())
	if run.status == "completed" && before != "completed" {
		if err := c.repo.checkEvent(c.cred, run, "completed", nil); err != nil {
			return answer{}, err
		}
	}
	return ok(c.repo.checkObject(run))
}

func listAnnotations(c *call) (answer, error) {
	run, err := c.findCheckRun()
	if err != nil {
		return answer{}, err
	}
	return paged(c, run.annotations, func(a annotation) any {
		return object{
			"path": *a.Path, "start_line": *a.StartLine, "end_line": *a.EndLine, "start_column": a.StartColumn, "end_column": a.EndColumn,
			"annotation_level": *a.Level, "title": maybe(a.Title), "message": *a.Message, "raw_details": maybe(a.RawDetails),
			"blob_href": c.repo.html() + "/blob/" + run.headSHA + "/" + escapePath(*a.Path),
		}
	}, nil)
}

// listCheckRuns lists the runs of a commit, by default the newest of each name in each suite.
func listCheckRuns(c *call) (answer, error) {
	sha, err := c.commitOf(c.vars["ref"])
	if err != nil {
		return answer{}, err
	}
	filter := deflt(c.query("filter"), "latest")
	if filter != "latest" && filter != "all" {
		return answer{}, refuse(http.StatusUnprocessableEntity, "Invalid request.\n\n%s is not a possible filter.", filter)
	}
	var list []*checkRun
	type key struct {
		suite int64
		name  string
	}
	seen := map[key]bool{}
	for _, run := range slices.Backward(c.repo.checks) {
		if run.headSHA != sha {
			continue
		}
		k := key{run.suite.id, run.name}
		if filter == "latest" && seen[k] {
			continue
		}
		seen[k] = true
		if (c.query("check_name") == "" || c.query("check_name") == run.name) && (c.query("status") == "" || c.query("status") == run.status) &&
			(c.query("app_id") == "" || c.query("app_id") == strconv.FormatInt(run.suite.app.ID, 10)) {
			list = append(list, run)
		}
	}
	return paged(c, list, func(run *checkRun) any { return c.repo.checkObject(run) }, total(len(list), "check_runs"))
}

// rerequestCheckRun asks the App to run the check again.
func rerequestCheckRun(c *call) (answer, error) {
	run, err := c.findCheckRun()
	if err != nil {
		return answer{}, err
	}
	if err := c.repo.checkEvent(c.cred, run, "rerequested", nil); err != nil {
		return answer{}, err
	}
	return created(object{})
}

// commitStatus is a commit status.
type commitStatus struct {
	id                                       int64
	sha, state, context, target, description string
	creator                                  *User
	created                                  time.Time
}

func (r *Repository) statusObject(s *commitStatus) object {
	return object{
		"url": r.api() + "/statuses/" + s.sha, "avatar_url": nil, "id": s.id, "node_id": node("SC", s.id), "state": s.state, "description": maybe(s.description),
		"target_url": maybe(s.target), "context": s.context, "created_at": stamp(s.created), "updated_at": stamp(s.created), "creator": r.w.user(s.creator),
	}
}

func createStatus(c *call) (answer, error) {
	var in struct {
		State       *string `json:"state"`
		TargetURL   string  `json:"target_url"`
		Description string  `json:"description"`
		Context     *string `json:"context"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	kind, err := c.repo.objectType(c.vars["sha"])
	switch {
	case err != nil:
		return answer{}, err
	case in.State == nil:
		return answer{}, missing("state")
	case !slices.Contains([]string{"error", "failure", "pending", "success"}, *in.State):
		return answer{}, invalid("Status", "state", "invalid", "")
	case kind != "commit":
		return answer{}, refuse(http.StatusUnprocessableEntity, "No commit found for SHA: %s", c.vars["sha"])
	case utf8.RuneCountInString(in.Description) > 140:
		return answer{}, invalid("Status", "description", "custom", "description is too long (maximum is 140 characters)")
	}
	s := &commitStatus{
		id: c.w.nextID(), sha: c.vars["sha"], state: *in.State, context: deref(in.Context, "default"), target: in.TargetURL, description: in.Description,
		creator: c.cred.user, created: c.w.clock(),
	}
	n := 0
	for _, other := range c.repo.statuses {
		if other.sha == s.sha && other.context == s.context {
			n++
		}
	}
	if n >= 1000 { // wire.md §1.6
		return answer{}, invalid("Status", "", "custom", "This SHA and context has reached the maximum number of statuses.")
	}
	c.repo.statuses = append(c.repo.statuses, s)
	return created(c.repo.statusObject(s))
}

// statusesOf are the statuses of a commit, newest first; latest keeps one of each context.
func (r *Repository) statusesOf(sha string, latest bool) []*commitStatus {
	var list []*commitStatus
	seen := map[string]bool{}
	for _, s := range slices.Backward(r.statuses) {
		if s.sha == sha && !(latest && seen[s.context]) {
			seen[s.context] = true
			list = append(list, s)
		}
	}
	return list
}

func listStatuses(c *call) (answer, error) {
	sha, err := c.commitOf(c.vars["ref"])
	if err != nil {
		return answer{}, err
	}
	return paged(c, c.repo.statusesOf(sha, false), func(s *commitStatus) any { return c.repo.statusObject(s) }, nil)
}

// combinedStatus is failure when one is a failure or an error, pending when one is or there is none, success otherwise.
func combinedStatus(c *call) (answer, error) {
	sha, err := c.commitOf(c.vars["ref"])
	if err != nil {
		return answer{}, err
	}
	list := c.repo.statusesOf(sha, true)
	state := "success"
	if len(list) == 0 {
		state = "pending"
	}
	for _, s := range list {
		switch {
		case s.state == "failure" || s.state == "error":
			state = "failure"
		case s.state == "pending" && state == "success":
			state = "pending"
		}
	}
	url := c.repo.api() + "/commits/" + sha
	render := func(s *commitStatus) any {
		o := c.repo.statusObject(s)
		delete(o, "creator")
		return o
	}
	return paged(c, list, render, func(page []any) any {
		return object{"state": state, "statuses": page, "sha": sha, "total_count": len(list), "repository": c.w.repository(c.repo), "commit_url": url, "url": url + "/status"}
	})
}

func getCheckSuite(c *call) (answer, error) {
	for _, s := range c.repo.suites {
		if strconv.FormatInt(s.id, 10) != c.vars["check_suite_id"] {
			continue
		}
		o, err := c.repo.suiteObject(s)
		if err != nil {
			return answer{}, err
		}
		k, err := c.repo.commit(s.headSHA)
		if err != nil {
			return answer{}, err
		}
		n := 0
		for _, run := range c.repo.checks {
			if run.suite == s {
				n++
			}
		}
		o["repository"], o["head_commit"] = c.w.repository(c.repo), k.simple()
		o["latest_check_runs_count"], o["check_runs_url"] = n, fmt.Sprintf("%s/check-suites/%d/check-runs", c.repo.api(), s.id)
		return ok(o)
	}
	return answer{}, notFound()
}
