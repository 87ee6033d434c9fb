package github

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// deployment is a deployment with its statuses, oldest first.
type deployment struct {
	id                      int64
	sha, ref, task          string
	environment, originally string
	description             string
	payload                 json.RawMessage
	transient, production   bool
	creator                 *User
	app                     *App
	created, updated        time.Time
	statuses                []*deploymentStatus
}

type deploymentStatus struct {
	id                                                      int64
	state, description, environment, logURL, environmentURL string
	creator                                                 *User
	app                                                     *App
	created                                                 time.Time
}

// state is what the deployment's newest status says; pending before the first.
func (d *deployment) state() string {
	if len(d.statuses) == 0 {
		return "pending"
	}
	return d.statuses[len(d.statuses)-1].state
}

func (r *Repository) deploymentURL(d *deployment) string {
	return fmt.Sprintf("%s/deployments/%d", r.api(), d.id)
}

func (r *Repository) deploymentObject(d *deployment) object {
	url := r.deploymentURL(d)
	return object{
		"url": url, "id": d.id, "node_id": node("DE", d.id), "sha": d.sha, "ref": d.ref, "task": d.task, "payload": d.payload,
		"original_environment": d.originally, "environment": d.environment, "description": maybe(d.description), "creator": r.w.user(d.creator),
		"created_at": stamp(d.created), "updated_at": stamp(d.updated), "statuses_url": url + "/statuses", "repository_url": r.api(),
		"transient_environment": d.transient, "production_environment": d.production, "performed_via_github_app": r.w.app(d.app),
	}
}

func (r *Repository) deploymentStatusObject(d *deployment, s *deploymentStatus) object {
	url := r.deploymentURL(d)
	return object{
		"url": fmt.Sprintf("%s/statuses/%d", url, s.id), "id": s.id, "node_id": node("DES", s.id), "state": s.state, "creator": r.w.user(s.creator),
		"description": s.description, "environment": s.environment, "target_url": s.logURL, "created_at": stamp(s.created), "updated_at": stamp(s.created),
		"deployment_url": url, "repository_url": r.api(), "environment_url": s.environmentURL, "log_url": s.logURL, "performed_via_github_app": r.w.app(s.app),
	}
}

// byApp is the App to show for what a token did: GitHub shows its own Actions as an App too.
func (c *credential) byApp() *App {
	if c.isApp() {
		return c.app
	}
	return nil
}

func listDeployments(c *call) (answer, error) {
	var list []*deployment
	for _, d := range slices.Backward(c.repo.deployments) {
		if wants(c.query("sha"), d.sha) && wants(c.query("ref"), d.ref) && wants(c.query("task"), d.task) && wants(c.query("environment"), d.environment) {
			list = append(list, d)
		}
	}
	return paged(c, list, func(d *deployment) any { return c.repo.deploymentObject(d) }, nil)
}

// wants tells whether a filter lets a value pass. GitHub spells "no filter" as "none".
func wants(filter, value string) bool { return filter == "" || filter == "none" || filter == value }

func createDeployment(c *call) (answer, error) {
	var in struct {
		Ref              *string         `json:"ref"`
		Task             *string         `json:"task"`
		AutoMerge        *bool           `json:"auto_merge"`
		RequiredContexts *[]string       `json:"required_contexts"`
		Payload          json.RawMessage `json:"payload"`
		Environment      *string         `json:"environment"`
		Description      *string         `json:"description"`
		Transient        bool            `json:"transient_environment"`
		Production       *bool           `json:"production_environment"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if in.Ref == nil {
		return answer{}, missing("ref")
	}
	d := &deployment{
		ref: *in.Ref, task: deref(in.Task, "deploy"), environment: deref(in.Environment, "production"), description: deref(in.Description, ""),
		payload: in.Payload, transient: in.Transient, creator: c.cred.user, app: c.cred.byApp(), created: c.w.clock(), updated: c.w.clock(),
	}
	d.originally, d.production = d.environment, deref(in.Production, d.environment == "production")
	switch {
	case len(d.payload) == 0 || string(d.payload) == "null":
		d.payload = json.RawMessage("{}")
	case d.payload[0] != '{' && d.payload[0] != '"':
		return answer{}, refuse(http.StatusUnprocessableEntity, "Invalid request.\n\nFor 'properties/payload', the value is neither an object nor a string.")
	}
	if d.environment == "" || utf8.RuneCountInString(d.environment) > 255 {
		return answer{}, invalid("Deployment", "environment", "invalid", "")
	}
	sha, full, err := c.repo.resolve(d.ref)
	if err != nil {
		return answer{}, err
	}
	if sha == "" {
		return answer{}, refuse(http.StatusUnprocessableEntity, "No ref found for: %s", d.ref)
	}
	d.sha = sha
	if deref(in.AutoMerge, true) && strings.HasPrefix(full, "refs/heads/") && full != "refs/heads/"+defaultBranch {
		if done, err := c.autoMerge(full, sha); done.status != 0 || err != nil {
			return done, err
		}
	}
	if err := c.contextsGreen(d, in.RequiredContexts); err != nil {
		return answer{}, err
	}
	d.id = c.w.nextID()
	c.repo.deployments = append(c.repo.deployments, d)
	c.repo.environmentFor(d.environment)
	if err := c.repo.deploymentEvent(c.cred, d); err != nil {
		return answer{}, err
	}
	return created(c.repo.deploymentObject(d))
}

// autoMerge merges the default branch into the branch to deploy when that lacks some of it. GitHub then answers 202 and
// makes no deployment, or 409 on a conflict (wire.md §1.5). The zero answer means there was nothing to merge.
func (c *call) autoMerge(full, sha string) (answer, error) {
	branch := strings.TrimPrefix(full, "refs/heads/")
	main, there, err := c.repo.ref("refs/heads/" + defaultBranch)
	if err != nil || !there {
		return answer{}, err
	}
	has, err := c.repo.isAncestor(main.sha, sha)
	if err != nil || has {
		return answer{}, err
	}
	tree, clean, err := c.repo.mergeTree(sha, main.sha)
	if err != nil {
		return answer{}, err
	}
	if !clean {
		return answer{}, refuse(http.StatusConflict, "Conflict merging %s into %s.", defaultBranch, branch)
	}
	who := c.w.signs(c.cred.user)
	merge, err := c.repo.commitTree(tree, fmt.Sprintf("Merge branch '%s' into %s", defaultBranch, branch), who, who, sha, main.sha)
	if err != nil {
		return answer{}, err
	}
	if err := c.repo.move(c.cred, []refUpdate{{full, sha, merge}}); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusAccepted, body: object{"message": fmt.Sprintf("Auto-merged %s into %s on deployment.", defaultBranch, branch)}}, nil
}

// contextsGreen checks the statuses and check runs of a commit: all of them when required is nil, and none when it is empty.
func (c *call) contextsGreen(d *deployment, required *[]string) error {
	state := map[string]bool{}
	for _, s := range c.repo.statuses {
		if s.sha == d.sha {
			state[s.context] = s.state == "success"
		}
	}
	for _, run := range c.repo.checks {
		if run.headSHA == d.sha {
			state[run.name] = run.status == "completed" && slices.Contains([]string{"success", "neutral", "skipped"}, run.conclusion)
		}
	}
	names := sortedKeys(state)
	if required != nil {
		names = *required
	}
	var bad []any
	for _, name := range names {
		if !state[name] {
			bad = append(bad, object{"resource": "Deployment", "field": "required_contexts", "code": "invalid"})
		}
	}
	if bad == nil {
		return nil
	}
	r := refuse(http.StatusConflict, "Conflict: Commit status checks failed for %s.", d.ref)
	r.problems = bad
	return r
}

// findDeployment is the deployment of the path.
func (c *call) findDeployment() (*deployment, error) {
	id, _ := strconv.ParseInt(c.vars["deployment_id"], 10, 64)
	for _, d := range c.repo.deployments {
		if d.id == id {
			return d, nil
		}
	}
	return nil, notFound()
}

func getDeployment(c *call) (answer, error) {
	d, err := c.findDeployment()
	if err != nil {
		return answer{}, err
	}
	return ok(c.repo.deploymentObject(d))
}

// deleteDeployment takes inactive ones, and the only one there is (wire.md §1.5).
func deleteDeployment(c *call) (answer, error) {
	d, err := c.findDeployment()
	if err != nil {
		return answer{}, err
	}
	if d.state() != "inactive" && len(c.repo.deployments) > 1 {
		return answer{}, invalidSimply("We cannot delete an active deployment unless it is the only deployment in a given environment.")
	}
	c.repo.deployments = slices.DeleteFunc(c.repo.deployments, func(x *deployment) bool { return x == d })
	return noContent()
}

func listDeploymentStatuses(c *call) (answer, error) {
	d, err := c.findDeployment()
	if err != nil {
		return answer{}, err
	}
	list := slices.Clone(d.statuses)
	slices.Reverse(list)
	return paged(c, list, func(s *deploymentStatus) any { return c.repo.deploymentStatusObject(d, s) }, nil)
}

func createDeploymentStatus(c *call) (answer, error) {
	var in struct {
		State          *string `json:"state"`
		TargetURL      string  `json:"target_url"`
		LogURL         string  `json:"log_url"`
		Description    string  `json:"description"`
		Environment    *string `json:"environment"`
		EnvironmentURL string  `json:"environment_url"`
		AutoInactive   *bool   `json:"auto_inactive"`
	}
	d, err := c.findDeployment()
	if err != nil {
		return answer{}, err
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	switch {
	case in.State == nil:
		return answer{}, missing("state")
	case !slices.Contains([]string{"error", "failure", "inactive", "in_progress", "queued", "pending", "success"}, *in.State):
		return answer{}, invalid("DeploymentStatus", "state", "invalid", "")
	case utf8.RuneCountInString(in.Description) > 140:
		return answer{}, invalid("DeploymentStatus", "description", "custom", "description is too long (maximum is 140 characters)")
	case !webURL(in.LogURL) || !webURL(in.TargetURL):
		return answer{}, invalid("DeploymentStatus", "log_url", "custom", "log_url must use http(s) scheme")
	case !webURL(in.EnvironmentURL):
		return answer{}, invalid("DeploymentStatus", "environment_url", "custom", "environment_url must use http(s) scheme")
	}
	if in.Environment != nil && *in.Environment != "" {
		d.environment = *in.Environment
	}
	s := &deploymentStatus{
		id: c.w.nextID(), state: *in.State, description: in.Description, environment: d.environment, logURL: deflt(in.LogURL, in.TargetURL),
		environmentURL: in.EnvironmentURL, creator: c.cred.user, app: c.cred.byApp(), created: c.w.clock(),
	}
	d.statuses = append(d.statuses, s)
	d.updated = s.created
	if err := c.repo.deploymentStatusEvent(c.cred, d, s); err != nil {
		return answer{}, err
	}
	if s.state == "success" && deref(in.AutoInactive, true) {
		if err := c.inactivate(d); err != nil {
			return answer{}, err
		}
	}
	return created(c.repo.deploymentStatusObject(d, s))
}

// inactivate is auto_inactive: earlier deployments of the same environment that were a success, but neither transient nor
// production ones (wire.md §1.5).
func (c *call) inactivate(current *deployment) error {
	for _, d := range c.repo.deployments {
		if d == current {
			break
		}
		if d.environment != current.environment || d.transient || d.production || d.state() != "success" {
			continue
		}
		last := d.statuses[len(d.statuses)-1]
		s := &deploymentStatus{
			id: c.w.nextID(), state: "inactive", environment: d.environment, logURL: last.logURL, environmentURL: last.environmentURL,
			creator: c.cred.user, app: c.cred.byApp(), created: c.w.clock(),
		}
		d.statuses = append(d.statuses, s)
		d.updated = s.created
		if err := c.repo.deploymentStatusEvent(c.cred, d, s); err != nil {
			return err
		}
	}
	return nil
}

func webURL(s string) bool {
	return s == "" || strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://")
}
