package github

import (
	"fmt"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Run is a workflow run that an event started. Nothing is executed: a run says what would have been.
type Run struct {
	ID     int64
	Number int
	Event  string
	Action string // of the event, such as opened; "" where it has none
	// Ref and SHA are GITHUB_REF and GITHUB_SHA.
	Ref string
	SHA string
	// File is the workflow file, and FileSHA the commit that it was read from: which copy of the logic runs (wire.md §2a).
	File    string
	FileSHA string
	// WorkflowRef is GITHUB_WORKFLOW_REF: owner/name/path@ref.
	WorkflowRef string
	Actor       string
	Inputs      map[string]string // of workflow_dispatch, defaults filled in
	Pull        int               // the number of a pull_request event's pull request
	// Fork tells that the head of the pull request is in another repository: the run has no secrets and a read-only token.
	Fork bool
	// Waits tells that somebody with write access has to approve the run first.
	Waits      bool
	Status     string // queued, in_progress, completed
	Conclusion string

	name             string
	created, updated time.Time
	by               *credential // who started it
}

// Runs lists the runs that were started, oldest first. Those that wait for approval are in WaitingRuns.
func (r *Repository) Runs() []Run { return r.listRuns(false) }

// WaitingRuns lists the runs that wait for somebody's approval: those of pull requests by GITHUB_TOKEN.
func (r *Repository) WaitingRuns() []Run { return r.listRuns(true) }

func (r *Repository) listRuns(waiting bool) []Run {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	var out []Run
	for _, run := range r.runs {
		if run.Waits == waiting {
			c := *run
			c.Inputs = maps.Clone(run.Inputs)
			out = append(out, c)
		}
	}
	return out
}

// SetRun changes how far a run is: a status queued, in_progress or completed, and the conclusion of a completed one. It is
// GitHub at work: a workflow_run event tells of it.
func (r *Repository) SetRun(id int64, status, conclusion string) error {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	for _, run := range r.runs {
		if run.ID == id {
			return r.runGets(run, run.by, status, conclusion)
		}
	}
	return fmt.Errorf("changing run %d: there is none", id)
}

// runGets changes how far a run is.
func (r *Repository) runGets(run *Run, by *credential, status, conclusion string) error {
	before := run.Status
	run.Status, run.Conclusion, run.updated = status, conclusion, r.w.clock()
	if before == status || status != "in_progress" && status != "completed" {
		return nil
	}
	return r.runEvent(by, run, status)
}

// runEvent tells of a workflow run: requested, in_progress or completed. Workflows that wait for other workflows are not
// played.
func (r *Repository) runEvent(by *credential, run *Run, action string) error {
	return r.notify("workflow_run", action, "actions", func() (object, error) {
		o := r.base(by)
		shown, err := r.runObject(run)
		if err != nil {
			return nil, err
		}
		shown["check_suite_id"], shown["check_suite_node_id"] = run.ID, node("CS", run.ID)
		maps.Copy(o, object{"action": action, "workflow": r.workflowObject(workflow{path: run.File, name: run.name}), "workflow_run": shown})
		return o, nil
	})
}

// trigger is an event that may start workflows.
type trigger struct {
	event, action string
	ref, sha      string // GITHUB_REF and GITHUB_SHA
	file          string // the commit whose workflow files count
	before        string // of a push
	base          string // the base branch of a pull request, for branch filters
	paths         []string
	inputs        map[string]string
	only          string // the file of a dispatch
	pull          int
	fork, waits   bool
	kind          string // event_type of a repository_dispatch
}

// mayStart is the rule which tokens trigger workflows: what a GITHUB_TOKEN does starts none, but for dispatches (wire.md §2a).
func mayStart(by *credential, event string) bool {
	return by != nil && (by.kind != actions || event == "workflow_dispatch" || event == "repository_dispatch")
}

// startOnDefault starts the workflows of an event that only looks at the default branch.
func (r *Repository) startOnDefault(by *credential, t trigger) error {
	main, there, err := r.ref("refs/heads/" + defaultBranch)
	if err != nil || !there {
		return err
	}
	t.ref, t.sha, t.file = main.name, main.sha, main.sha
	return r.start(by, t)
}

// startForPull starts the workflows of a pull request from its merge ref; there are none while it conflicts.
func (r *Repository) startForPull(by *credential, i *issue, action string) error {
	if by == nil {
		return nil
	}
	p := i.pull
	t := trigger{event: "pull_request", action: action, base: p.base, pull: i.number, fork: p.headRepo != r, waits: by.kind == actions && slices.Contains([]string{"opened", "synchronize", "reopened"}, action)}
	if !mayStart(by, t.event) && !t.waits && strings.HasSuffix(action, "labeled") {
		return nil
	}
	if !p.merged.IsZero() {
		t.ref, t.sha = "refs/heads/"+p.base, p.mergeCommit
	} else {
		if err := r.test(i); err != nil {
			return err
		}
		clean := p.mergeable != nil && *p.mergeable
		p.mergeable, p.asked = nil, false // nobody has asked the API yet
		if !clean {
			return nil
		}
		t.ref, t.sha = i.refName("merge"), p.testMerge
	}
	t.file = t.sha
	changes, _, err := r.pullChanges(i)
	if err != nil {
		return err
	}
	t.paths = changedPaths(changes)
	return r.start(by, t)
}

func changedPaths(changes []change) []string {
	out := []string{}
	for _, ch := range changes {
		out = append(out, ch.path)
		if ch.previous != "" {
			out = append(out, ch.previous)
		}
	}
	return out
}

// skipPattern are the words in a commit message that keep push and pull_request workflows from running [K].
var skipPattern = regexp.MustCompile(`\[(?:skip ci|ci skip|no ci|skip actions|actions skip)\]`)

// start starts the workflows that an event matches.
func (r *Repository) start(by *credential, t trigger) error {
	_, err := r.startRuns(by, t)
	return err
}

func (r *Repository) startRuns(by *credential, t trigger) ([]*Run, error) {
	if !mayStart(by, t.event) && !(t.waits && by != nil) {
		return nil, nil
	}
	if t.event == "push" && t.sha != zeros {
		k, err := r.commit(t.sha)
		if err != nil {
			return nil, err
		}
		if skipPattern.MatchString(k.message) {
			return nil, nil
		}
		if t.paths == nil && t.before != "" {
			from := t.before
			if from == zeros {
				if from = emptyTree; len(k.parents) > 0 {
					from = k.parents[0]
				}
			}
			changes, err := r.diff(from, t.sha)
			if err != nil {
				return nil, err
			}
			t.paths = changedPaths(changes)
		}
	}
	files, err := r.workflows(t.file)
	if err != nil {
		return nil, err
	}
	var started []*Run
	for _, f := range files {
		if t.only != "" && f.path != t.only || !f.matches(t) {
			continue
		}
		number := 1
		for _, other := range r.runs {
			if other.File == f.path {
				number++
			}
		}
		ref := deflt(t.ref, t.sha)
		run := &Run{
			ID: r.w.nextID(), Number: number, Event: t.event, Action: t.action, Ref: t.ref, SHA: t.sha, File: f.path, FileSHA: t.file,
			WorkflowRef: r.Owner + "/" + r.Name + "/" + f.path + "@" + ref, Actor: by.user.Login, Inputs: t.inputs, Pull: t.pull, Fork: t.fork, Waits: t.waits,
			Status: "queued", name: f.name, created: r.w.clock(), updated: r.w.clock(), by: by,
		}
		r.runs = append(r.runs, run)
		started = append(started, run)
		if err := r.runEvent(by, run, "requested"); err != nil {
			return nil, err
		}
	}
	return started, nil
}

// workflow is a workflow file.
type workflow struct {
	path, name string
	on         map[string]*yaml.Node // events with their filters; a nil one has none
}

// workflows reads the workflow files of a commit. One that is no YAML starts nothing.
func (r *Repository) workflows(sha string) ([]workflow, error) {
	if sha == "" || sha == zeros {
		return nil, nil
	}
	if known, read := r.workflowCache[sha]; read {
		return known, nil
	}
	out, err := r.w.run(r.Dir, nil, "ls-tree", "-z", sha, "--", workflowDir+"/")
	if err != nil {
		return nil, err
	}
	var list []workflow
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		meta, name, found := strings.Cut(line, "\t")
		f := strings.Fields(meta)
		if ext := path.Ext(name); !found || f[1] != "blob" || ext != ".yml" && ext != ".yaml" {
			continue
		}
		content, err := r.w.run(r.Dir, nil, "cat-file", "blob", f[2])
		if err != nil {
			return nil, err
		}
		if w, ok := parseWorkflow(name, content); ok {
			list = append(list, w)
		}
	}
	r.workflowCache[sha] = list
	return list, nil
}

func parseWorkflow(name string, content []byte) (workflow, bool) {
	var doc struct {
		Name string    `yaml:"name"`
		On   yaml.Node `yaml:"on"`
	}
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return workflow{}, false
	}
	w := workflow{path: name, name: deflt(doc.Name, name), on: map[string]*yaml.Node{}}
	switch doc.On.Kind {
	case yaml.ScalarNode:
		w.on[doc.On.Value] = nil
	case yaml.SequenceNode:
		for _, n := range doc.On.Content {
			w.on[n.Value] = nil
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(doc.On.Content); i += 2 {
			w.on[doc.On.Content[i].Value] = doc.On.Content[i+1]
		}
	default:
		return workflow{}, false
	}
	return w, true
}

// filters are what an event of a workflow asks for.
type filters struct {
	Types          list `yaml:"types"`
	Branches       list `yaml:"branches"`
	BranchesIgnore list `yaml:"branches-ignore"`
	Tags           list `yaml:"tags"`
	TagsIgnore     list `yaml:"tags-ignore"`
	Paths          list `yaml:"paths"`
	PathsIgnore    list `yaml:"paths-ignore"`
	Inputs         map[string]struct {
		Required bool      `yaml:"required"`
		Default  yaml.Node `yaml:"default"`
		Type     string    `yaml:"type"`
		Options  list      `yaml:"options"`
	} `yaml:"inputs"`
}

// list is a YAML list, or one value alone.
type list []string

func (l *list) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*l = list{n.Value}
		return nil
	}
	return n.Decode((*[]string)(l))
}

func (w workflow) filters(event string) (filters, bool) {
	n, there := w.on[event]
	var f filters
	if !there || n == nil {
		return f, there
	}
	return f, n.Decode(&f) == nil
}

// matches tells whether the workflow wants the event.
func (w workflow) matches(t trigger) bool {
	f, there := w.filters(t.event)
	if !there {
		return false
	}
	types := f.Types
	if t.event == "pull_request" && types == nil {
		types = list{"opened", "synchronize", "reopened"}
	}
	happened := t.action
	if t.event == "repository_dispatch" {
		happened = t.kind
	}
	if types != nil && happened != "" && !slices.Contains(types, happened) {
		return false
	}
	switch t.event {
	case "push":
		branch, isBranch := strings.CutPrefix(t.ref, "refs/heads/")
		tag := strings.TrimPrefix(t.ref, "refs/tags/")
		byBranch, byTag := f.Branches != nil || f.BranchesIgnore != nil, f.Tags != nil || f.TagsIgnore != nil
		switch {
		case isBranch && !byBranch && byTag, !isBranch && byBranch && !byTag:
			return false
		case isBranch && !passes(branch, f.Branches, f.BranchesIgnore), !isBranch && !passes(tag, f.Tags, f.TagsIgnore):
			return false
		case !isBranch: // path filters are not for tags
			return true
		}
		return touches(t.paths, f.Paths, f.PathsIgnore)
	case "pull_request":
		return passes(t.base, f.Branches, f.BranchesIgnore) && touches(t.paths, f.Paths, f.PathsIgnore)
	}
	return true
}

func passes(name string, only, ignore list) bool {
	return (only == nil || selects(only, name)) && (ignore == nil || !selects(ignore, name))
}

func touches(paths []string, only, ignore list) bool {
	if only == nil && ignore == nil {
		return true
	}
	return slices.ContainsFunc(paths, func(p string) bool { return passes(p, only, ignore) })
}

// selects applies patterns in order; one with ! takes out again what matched before.
func selects(patterns list, name string) bool {
	selected := false
	for _, p := range patterns {
		pattern, negative := strings.CutPrefix(p, "!")
		if re, err := filterPattern(pattern); err == nil && re.MatchString(name) {
			selected = !negative
		}
	}
	return selected
}

// filterPattern translates GitHub's filter patterns: * stops at a slash and ** does not; ? and + repeat what is before them.
func filterPattern(p string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString(`\A`)
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case strings.HasPrefix(p[i:], "**/"):
			b.WriteString(`(?:.*/)?`)
			i += 2
		case strings.HasPrefix(p[i:], "**"):
			b.WriteString(`.*`)
			i++
		case c == '*':
			b.WriteString(`[^/]*`)
		case c == '?' || c == '+':
			b.WriteByte(c)
		case c == '[':
			end := strings.IndexByte(p[i:], ']')
			if end < 0 {
				return nil, fmt.Errorf("pattern %q", p)
			}
			b.WriteString(p[i : i+end+1])
			i += end
		case c == '\\' && i+1 < len(p):
			i++
			b.WriteString(regexp.QuoteMeta(p[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	return regexp.Compile(b.String() + `\z`)
}

// findWorkflow is the workflow of the path, by file name or id, on the default branch: one that is not there does not exist
// for the API (wire.md §2a).
func (c *call) findWorkflow() (workflow, error) {
	main, there, err := c.repo.ref("refs/heads/" + defaultBranch)
	if err != nil {
		return workflow{}, err
	}
	if there {
		files, err := c.repo.workflows(main.sha)
		if err != nil {
			return workflow{}, err
		}
		for _, f := range files {
			if path.Base(f.path) == c.vars["workflow_id"] || strconv.FormatInt(c.repo.workflowID(f.path), 10) == c.vars["workflow_id"] {
				return f, nil
			}
		}
	}
	return workflow{}, notFound()
}

func (r *Repository) workflowID(path string) int64 {
	if r.workflowIDs[path] == 0 {
		r.workflowIDs[path] = r.w.nextID()
	}
	return r.workflowIDs[path]
}

func dispatchWorkflow(c *call) (answer, error) {
	var in struct {
		Ref     *string        `json:"ref"`
		Inputs  map[string]any `json:"inputs"`
		Details bool           `json:"return_run_details"`
	}
	w, err := c.findWorkflow()
	if err != nil {
		return answer{}, err
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if in.Ref == nil {
		return answer{}, missing("ref")
	}
	sha, full, err := c.repo.resolve(*in.Ref)
	if err != nil {
		return answer{}, err
	}
	if full == "" {
		return answer{}, refuse(http.StatusUnprocessableEntity, "No ref found for: %s", *in.Ref)
	}
	files, err := c.repo.workflows(sha)
	if err != nil {
		return answer{}, err
	}
	at := slices.IndexFunc(files, func(f workflow) bool { return f.path == w.path })
	if at < 0 {
		return answer{}, refuse(http.StatusUnprocessableEntity, "Workflow does not have 'workflow_dispatch' trigger")
	}
	f, there := files[at].filters("workflow_dispatch")
	if !there {
		return answer{}, refuse(http.StatusUnprocessableEntity, "Workflow does not have 'workflow_dispatch' trigger")
	}
	inputs, err := f.inputs(in.Inputs)
	if err != nil {
		return answer{}, err
	}
	runs, err := c.repo.startRuns(c.cred, trigger{event: "workflow_dispatch", ref: full, sha: sha, file: sha, inputs: inputs, only: w.path})
	if err != nil {
		return answer{}, err
	}
	err = c.repo.notify("workflow_dispatch", "", "contents", func() (object, error) {
		o := c.repo.base(c.cred)
		var sent any
		if in.Inputs != nil {
			sent = in.Inputs
		}
		maps.Copy(o, object{"inputs": sent, "ref": full, "workflow": w.path})
		return o, nil
	})
	if err != nil {
		return answer{}, err
	}
	// The newer version of the API always tells of the run: in its description 204 and return_run_details are gone.
	if !in.Details && c.r.Header.Get("X-GitHub-Api-Version") != "2026-03-10" || len(runs) == 0 {
		return noContent()
	}
	return ok(object{"workflow_run_id": runs[0].ID, "run_url": c.repo.runURL(runs[0]), "html_url": c.repo.runHTML(runs[0])})
}

const maxInputs = 25

// inputs checks what was sent against what the workflow asks for, and fills in the defaults.
func (f filters) inputs(sent map[string]any) (map[string]string, error) {
	if len(sent) > maxInputs {
		return nil, refuse(http.StatusUnprocessableEntity, "you may only define up to %d `inputs` for a `workflow_dispatch` event", maxInputs)
	}
	out := map[string]string{}
	for _, name := range sortedKeys(sent) {
		declared, known := f.Inputs[name]
		if !known {
			return nil, refuse(http.StatusUnprocessableEntity, "Unexpected inputs provided: [%q]", name)
		}
		switch v := sent[name].(type) {
		case string:
			out[name] = v
		case bool, float64:
			out[name] = fmt.Sprint(v)
		default:
			return nil, refuse(http.StatusUnprocessableEntity, "For 'inputs/%s', %v is not a string.", name, v)
		}
		if declared.Type == "choice" && !slices.Contains(declared.Options, out[name]) {
			return nil, refuse(http.StatusUnprocessableEntity, "Provided value '%s' for input '%s' not in the list of allowed values", out[name], name)
		}
	}
	for _, name := range sortedKeys(f.Inputs) {
		declared := f.Inputs[name]
		if _, given := out[name]; given {
			continue
		}
		if declared.Default.Kind != 0 {
			out[name] = declared.Default.Value
		} else if declared.Required {
			return nil, refuse(http.StatusUnprocessableEntity, "Required input '%s' not provided", name)
		} else {
			out[name] = ""
		}
	}
	return out, nil
}

func dispatchRepository(c *call) (answer, error) {
	var in struct {
		EventType *string        `json:"event_type"`
		Payload   map[string]any `json:"client_payload"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	switch {
	case in.EventType == nil || *in.EventType == "":
		return answer{}, missing("event_type")
	case len(*in.EventType) > 100:
		return answer{}, refuse(http.StatusUnprocessableEntity, "event_type is too long (maximum is 100 characters)")
	case len(in.Payload) > 10:
		return answer{}, refuse(http.StatusUnprocessableEntity, "No more than 10 properties are allowed; %d were supplied.", len(in.Payload))
	case len(c.body) >= 64<<10:
		return answer{}, refuse(http.StatusUnprocessableEntity, "client_payload is too large.")
	}
	if err := c.repo.startOnDefault(c.cred, trigger{event: "repository_dispatch", kind: *in.EventType}); err != nil {
		return answer{}, err
	}
	return noContent()
}

func (r *Repository) runURL(run *Run) string {
	return fmt.Sprintf("%s/actions/runs/%d", r.api(), run.ID)
}

func (r *Repository) runHTML(run *Run) string {
	return fmt.Sprintf("%s/actions/runs/%d", r.html(), run.ID)
}

func (r *Repository) runObject(run *Run) (object, error) {
	k, err := r.commit(run.SHA)
	if err != nil {
		return nil, err
	}
	url := r.runURL(run)
	id := r.workflowID(run.File)
	status := run.Status
	if run.Waits {
		status = "waiting"
	}
	actor := r.w.user(r.w.userByLogin[strings.ToLower(run.Actor)])
	var branch any
	if b, ok := strings.CutPrefix(run.Ref, "refs/heads/"); ok {
		branch = b
	}
	return object{
		"id": run.ID, "name": run.name, "node_id": node("WFR", run.ID), "head_branch": branch, "head_sha": run.SHA, "path": run.File, "run_number": run.Number, "run_attempt": 1,
		"display_title": strings.SplitN(k.message, "\n", 2)[0], "event": run.Event, "status": status, "conclusion": maybe(run.Conclusion), "workflow_id": id, "url": url,
		"html_url": r.runHTML(run), "pull_requests": []any{}, "created_at": stamp(run.created), "updated_at": stamp(run.updated), "run_started_at": stamp(run.created),
		"actor": actor, "triggering_actor": actor, "jobs_url": url + "/jobs", "logs_url": url + "/logs", "check_suite_url": fmt.Sprintf("%s/check-suites/%d", r.api(), run.ID),
		"artifacts_url": url + "/artifacts", "cancel_url": url + "/cancel", "rerun_url": url + "/rerun", "previous_attempt_url": nil,
		"workflow_url": fmt.Sprintf("%s/actions/workflows/%d", r.api(), id), "repository": r.w.repository(r), "head_repository": r.w.repository(r), "referenced_workflows": []any{},
		"head_commit": k.simple(),
	}, nil
}

func listRuns(c *call) (answer, error) {
	file := ""
	if c.vars["workflow_id"] != "" {
		w, err := c.findWorkflow()
		if err != nil {
			return answer{}, err
		}
		file = w.path
	}
	if v := c.query("created"); v != "" {
		return answer{}, refuse(http.StatusUnprocessableEntity, "created is not played here")
	}
	var found []any
	for _, run := range slices.Backward(c.repo.runs) {
		if file != "" && run.File != file || !wants(c.query("event"), run.Event) || c.query("branch") != "" && run.Ref != "refs/heads/"+c.query("branch") ||
			!wants(c.query("head_sha"), run.SHA) || c.query("status") != "" && c.query("status") != run.Status && c.query("status") != run.Conclusion ||
			c.query("actor") != "" && !strings.EqualFold(run.Actor, c.query("actor")) {
			continue
		}
		o, err := c.repo.runObject(run)
		if err != nil {
			return answer{}, err
		}
		found = append(found, o)
	}
	return paged(c, found, func(o any) any { return o }, total(len(found), "workflow_runs"))
}

// findRun is the run of the path.
func (c *call) findRun() (*Run, error) {
	for _, run := range c.repo.runs {
		if strconv.FormatInt(run.ID, 10) == c.vars["run_id"] {
			return run, nil
		}
	}
	return nil, notFound()
}

func getRun(c *call) (answer, error) {
	run, err := c.findRun()
	if err != nil {
		return answer{}, err
	}
	o, err := c.repo.runObject(run)
	if err != nil {
		return answer{}, err
	}
	return ok(o)
}

func cancelRun(c *call) (answer, error) {
	run, err := c.findRun()
	if err != nil {
		return answer{}, err
	}
	if run.Status == "completed" {
		return answer{}, refuse(http.StatusConflict, "Cannot cancel a workflow run that is completed.")
	}
	if err := c.repo.runGets(run, c.cred, "completed", "cancelled"); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusAccepted, body: object{}}, nil
}

func (r *Repository) workflowObject(f workflow) object {
	id := r.workflowID(f.path)
	return object{
		"id": id, "node_id": node("W", id), "name": f.name, "path": f.path, "state": "active", "created_at": stamp(r.created), "updated_at": stamp(r.created),
		"url": fmt.Sprintf("%s/actions/workflows/%d", r.api(), id), "html_url": r.html() + "/blob/" + defaultBranch + "/" + escapePath(f.path),
		"badge_url": r.html() + "/workflows/" + escapePath(f.name) + "/badge.svg",
	}
}

func listWorkflows(c *call) (answer, error) {
	main, _, err := c.repo.ref("refs/heads/" + defaultBranch)
	if err != nil {
		return answer{}, err
	}
	files, err := c.repo.workflows(main.sha)
	if err != nil {
		return answer{}, err
	}
	return paged(c, files, func(f workflow) any { return c.repo.workflowObject(f) }, total(len(files), "workflows"))
}

func getWorkflow(c *call) (answer, error) {
	f, err := c.findWorkflow()
	if err != nil {
		return answer{}, err
	}
	return ok(c.repo.workflowObject(f))
}
