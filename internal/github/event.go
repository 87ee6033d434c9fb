package github

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Context is what started the step, read from the environment and the event's file. Names in it have been checked to be
// names; titles and the like are other people's text.
type Context struct {
	EventName     string // push, pull_request, workflow_dispatch, …
	Owner, Repo   string
	SHA           string
	Ref           string // refs/heads/shops/swicked
	RefName       string // shops/swicked
	RunID         int64
	RunAttempt    int64
	RunURL        string
	Actor         string
	APIURL        string
	ServerURL     string
	Workspace     string
	Workflow, Job string
	Event         Event
}

// Event is the part of the webhook's payload that is used.
type Event struct {
	Action         string
	PullRequest    *PullRequest // of pull_request events
	Label          string       // of pull_request labeled and unlabeled, and the same of issues
	Issue          *Issue       // of issues and issue_comment events; a pull request is one, see Issue.Pull
	Comment        *Comment     // of issue_comment events
	Edited         bool         // the body of the issue, pull request or comment was edited, and was BodyBefore
	BodyBefore     string       // when Edited
	Schedule       string       // of schedule: which of the workflow's cron lines
	Ref            string       // of a push: refs/heads/shops/swicked
	Before, After  string       // of a push; all zeros when the branch was not there, or is gone
	Deleted        bool
	Forced         bool
	CheckRun       *CheckRunEvent   // of check_run events
	Deployment     *DeploymentEvent // of deployment and deployment_status
	Sender         string
	SenderID       int64 // which outlives a change of the login; 0 when there is none
	SenderBot      bool  // the sender is no person, or there is none
	Installation   int64 // the App's on the repository; 0 when the event does not come to an App
	DefaultBranch  string
	Inputs         map[string]string // of workflow_dispatch
	RepositoryName string            // owner/name, as the payload says
}

const maxEvent = 25 << 20 // bytes, GitHub's own limit for payloads

// Context reads where the step runs and what started it.
func (r *Runner) Context() (Context, error) {
	c, err := r.context()
	if err != nil {
		return Context{}, fmt.Errorf("reading what started the run: %w", err)
	}
	return c, nil
}

func (r *Runner) context() (Context, error) {
	c := Context{
		EventName: r.getenv("GITHUB_EVENT_NAME"), SHA: r.getenv("GITHUB_SHA"), Ref: r.getenv("GITHUB_REF"), RefName: r.getenv("GITHUB_REF_NAME"),
		Actor: r.getenv("GITHUB_ACTOR"), Workspace: r.getenv("GITHUB_WORKSPACE"), Workflow: clean(r.getenv("GITHUB_WORKFLOW")), Job: clean(r.getenv("GITHUB_JOB")),
		APIURL: orDefault(r.getenv("GITHUB_API_URL"), defaultBaseURL), ServerURL: orDefault(r.getenv("GITHUB_SERVER_URL"), "https://github.com"),
	}
	if !r.Active() {
		return c, errors.New("this is not a step of GitHub Actions")
	}
	var ok bool
	if c.Owner, c.Repo, ok = strings.Cut(r.getenv("GITHUB_REPOSITORY"), "/"); !ok || checkRepository(c.Owner, c.Repo) != nil {
		return c, fmt.Errorf("GITHUB_REPOSITORY is not the owner and name of a repository: %q", clean(r.getenv("GITHUB_REPOSITORY")))
	}
	for _, address := range []*string{&c.APIURL, &c.ServerURL} {
		*address = strings.TrimRight(*address, "/")
		if _, err := checkURL(clean(*address), *address); err != nil {
			return c, err
		}
	}
	switch {
	case !shaRule.MatchString(c.SHA):
		return c, fmt.Errorf("GITHUB_SHA is not a commit's id: %q", clean(c.SHA))
	case c.EventName == "" || clean(c.EventName) != c.EventName:
		return c, fmt.Errorf("GITHUB_EVENT_NAME is not the name of an event: %q", clean(c.EventName))
	case !validRef(c.Ref) || !strings.HasPrefix(c.Ref, "refs/"):
		return c, fmt.Errorf("GITHUB_REF is not a ref: %q", clean(c.Ref))
	case !strings.HasSuffix(c.Ref, "/"+c.RefName) || c.RefName == "":
		return c, fmt.Errorf("GITHUB_REF_NAME %q is not that of GITHUB_REF %q", clean(c.RefName), clean(c.Ref))
	case clean(c.Actor) != c.Actor:
		return c, errors.New("GITHUB_ACTOR is not a login")
	}
	for name, n := range map[string]*int64{"GITHUB_RUN_ID": &c.RunID, "GITHUB_RUN_ATTEMPT": &c.RunAttempt} {
		value := r.getenv(name)
		if name == "GITHUB_RUN_ATTEMPT" {
			value = orDefault(value, "1")
		}
		var err error
		if *n, err = strconv.ParseInt(value, 10, 64); err != nil || *n <= 0 {
			return c, fmt.Errorf("%s is not a number: %q", name, clean(value))
		}
	}
	c.RunURL = fmt.Sprintf("%s/%s/%s/actions/runs/%d", c.ServerURL, c.Owner, c.Repo, c.RunID)
	if c.RunAttempt > 1 {
		c.RunURL += fmt.Sprintf("/attempts/%d", c.RunAttempt)
	}
	text, err := readEvent(r.getenv("GITHUB_EVENT_PATH"))
	if err != nil {
		return c, err
	}
	if c.Event, err = parseEvent(c.EventName, text); err != nil {
		return c, fmt.Errorf("the event: %w", err)
	}
	if name := c.Event.RepositoryName; name != "" && !strings.EqualFold(name, c.Owner+"/"+c.Repo) {
		return c, fmt.Errorf("the event is about %s, the run about %s/%s", clean(name), c.Owner, c.Repo)
	}
	return c, nil
}

func readEvent(name string) ([]byte, error) {
	if name == "" {
		return nil, errors.New("GITHUB_EVENT_PATH is not set")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("the event: %w", err)
	}
	defer f.Close()
	text, err := readAll(f, maxEvent)
	if err != nil {
		return nil, fmt.Errorf("the event's file: %w", err)
	}
	return text, nil
}

// wireFrame is what all events have: who did it and where.
type wireFrame struct {
	Action     string    `json:"action"`
	Sender     *wireUser `json:"sender"`
	Repository *struct {
		FullName      string `json:"full_name"`
		DefaultBranch string `json:"default_branch"`
	} `json:"repository"`
	Installation *struct {
		ID int64 `json:"id"`
	} `json:"installation"`
}

func (w wireFrame) frame() (Event, error) {
	e := Event{Action: w.Action, Sender: w.Sender.login(), SenderID: w.Sender.id(), SenderBot: !w.Sender.person()}
	if w.Repository != nil {
		e.RepositoryName, e.DefaultBranch = w.Repository.FullName, w.Repository.DefaultBranch
	}
	if w.Installation != nil {
		e.Installation = w.Installation.ID
	}
	switch {
	case e.DefaultBranch != "" && !validRef(e.DefaultBranch):
		return Event{}, fmt.Errorf("its default branch is not the name of one: %q", clean(e.DefaultBranch))
	case clean(e.Sender) != e.Sender || clean(e.Action) != e.Action:
		return Event{}, errors.New("its sender or its action is not a name")
	case clean(e.RepositoryName) != e.RepositoryName:
		return Event{}, errors.New("its repository is not the name of one")
	}
	return e, nil
}

// parseFrame reads an event of which no more is used.
func parseFrame(_ string, text []byte) (Event, error) {
	var w wireFrame
	if err := json.Unmarshal(text, &w); err != nil {
		return Event{}, err
	}
	return w.frame()
}

// parseEvent reads a payload, which is GitHub's with other people's text in it.
func parseEvent(kind string, text []byte) (Event, error) {
	var w struct {
		PullRequest *wirePull `json:"pull_request"`
		Ref         string    `json:"ref"`
		Before      string    `json:"before"`
		After       string    `json:"after"`
		Deleted     bool      `json:"deleted"`
		Forced      bool      `json:"forced"`
		wireFrame
		Inputs   map[string]any  `json:"inputs"`
		Label    *wireLabel      `json:"label"`
		Issue    *wireIssue      `json:"issue"`
		Comment  *wireComment    `json:"comment"`
		Schedule string          `json:"schedule"`
		Check    *wireEventCheck `json:"check_run"`
		Pressed  *struct {
			Identifier string `json:"identifier"`
		} `json:"requested_action"`
		Deployment *wireEventDeployment `json:"deployment"`
		State      *struct {
			State string `json:"state"`
		} `json:"deployment_status"`
		Changes struct {
			Body *struct {
				From string `json:"from"`
			} `json:"body"`
		} `json:"changes"`
	}
	if err := json.Unmarshal(text, &w); err != nil {
		return Event{}, err
	}
	e, err := w.frame()
	if err != nil {
		return Event{}, err
	}
	e.Ref, e.Before, e.After, e.Deleted, e.Forced = w.Ref, w.Before, w.After, w.Deleted, w.Forced
	for name, value := range w.Inputs {
		if e.Inputs == nil {
			e.Inputs = map[string]string{}
		}
		switch value := value.(type) {
		case string:
			e.Inputs[name] = value
		case bool:
			e.Inputs[name] = strconv.FormatBool(value)
		case float64:
			e.Inputs[name] = strconv.FormatFloat(value, 'f', -1, 64)
		case nil:
			e.Inputs[name] = ""
		default:
			return Event{}, fmt.Errorf("the input %q is not a text", clean(name))
		}
	}
	if w.PullRequest != nil {
		p, err := w.PullRequest.pull()
		if err != nil {
			return Event{}, err
		}
		e.PullRequest = &p
	}
	if w.Issue != nil {
		i, err := w.Issue.issue()
		if err != nil {
			return Event{}, err
		}
		e.Issue = &i
	}
	if w.Comment != nil && w.Issue != nil { // comments on commits and on lines are others
		k, err := w.Comment.comment()
		if err != nil {
			return Event{}, err
		}
		if k.Issue == 0 {
			k.Issue = e.Issue.Number
		}
		if k.Issue != e.Issue.Number {
			return Event{}, errors.New("the comment is on another issue than the event's")
		}
		e.Comment = &k
	}
	if w.Check != nil && kind == "check_run" { // those of deployments say less
		k, err := w.Check.run()
		if err != nil {
			return Event{}, err
		}
		if w.Pressed != nil {
			k.Requested = w.Pressed.Identifier
		}
		e.CheckRun = &k
	}
	if w.Deployment != nil && strings.HasPrefix(kind, "deployment") {
		d, err := w.Deployment.deployment()
		if err != nil {
			return Event{}, err
		}
		if w.State != nil {
			d.State = clean(w.State.State)
		}
		e.Deployment = &d
	}
	if w.Label != nil {
		e.Label = w.Label.Name
	}
	if w.Changes.Body != nil {
		e.Edited, e.BodyBefore = true, w.Changes.Body.From
	}
	e.Schedule = clean(w.Schedule)
	switch {
	case e.Ref != "" && !validRef(e.Ref):
		return Event{}, fmt.Errorf("its ref is not one: %q", clean(e.Ref))
	}
	for _, sha := range []string{e.Before, e.After} {
		if sha != "" && !shaRule.MatchString(sha) {
			return Event{}, fmt.Errorf("it holds something that is not a commit's id: %q", clean(sha))
		}
	}
	return e, nil
}
