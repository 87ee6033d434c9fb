package github

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// CheckRunEvent is the check run that an event is about.
type CheckRunEvent struct {
	ID         int64
	Name       string
	HeadSHA    string
	HeadBranch string // that its suite was made for; "" for a commit on a fork
	ExternalID string
	Conclusion string // "" while it is under way
	AppID      int64  // the App that made it
	AppSlug    string
	Requested  string // the identifier of the button that was pressed, with the action requested_action
	Pulls      []int  // those of the repository with this head
}

// DeploymentEvent is the deployment that an event is about.
type DeploymentEvent struct {
	ID          int64
	Environment string
	Task        string
	SHA, Ref    string
	State       string // of a deployment_status: success, failure, …
}

type wireEventCheck struct {
	ID         int64  `json:"id"`
	Name       string `json:"name"`
	SHA        string `json:"head_sha"`
	External   string `json:"external_id"`
	Conclusion string `json:"conclusion"`
	App        *struct {
		ID   int64  `json:"id"`
		Slug string `json:"slug"`
	} `json:"app"`
	Suite *struct {
		Branch string `json:"head_branch"`
	} `json:"check_suite"`
	Pulls []struct {
		Number int `json:"number"`
	} `json:"pull_requests"`
}

func (w wireEventCheck) run() (CheckRunEvent, error) {
	e := CheckRunEvent{ID: w.ID, Name: w.Name, HeadSHA: w.SHA, ExternalID: w.External, Conclusion: clean(w.Conclusion)}
	if w.App != nil {
		e.AppID, e.AppSlug = w.App.ID, w.App.Slug
	}
	if w.Suite != nil {
		e.HeadBranch = w.Suite.Branch
	}
	for _, p := range w.Pulls {
		e.Pulls = append(e.Pulls, p.Number)
	}
	switch {
	case e.ID <= 0 || !shaRule.MatchString(e.HeadSHA):
		return CheckRunEvent{}, errors.New("the check run has no id or no commit")
	case e.HeadBranch != "" && !validRef(e.HeadBranch):
		return CheckRunEvent{}, errors.New("the check run's branch is not the name of one")
	}
	return e, nil
}

type wireEventDeployment struct {
	ID          int64  `json:"id"`
	Environment string `json:"environment"`
	Task        string `json:"task"`
	SHA         string `json:"sha"`
	Ref         string `json:"ref"`
}

func (w wireEventDeployment) deployment() (DeploymentEvent, error) {
	if w.ID <= 0 || !shaRule.MatchString(w.SHA) {
		return DeploymentEvent{}, errors.New("the deployment has no id or no commit")
	}
	return DeploymentEvent{ID: w.ID, Environment: w.Environment, Task: w.Task, SHA: w.SHA, Ref: w.Ref}, nil
}

// ParseEvent reads the payload of an event that is known to be GitHub's, with other people's text in it. Of events that are
// not used it reads who and where; of those that are, it is an error when what they are about is missing.
func ParseEvent(kind string, body []byte) (Event, error) {
	e, err := parsePayload(kind, body)
	if err != nil {
		return Event{}, fmt.Errorf("the payload of %s: %w", cut(clean(kind), 64), err)
	}
	return e, nil
}

func parsePayload(kind string, body []byte) (Event, error) {
	if !eventRule.MatchString(kind) {
		return Event{}, errors.New("that is no event's name")
	}
	if err := checkShape(body); err != nil {
		return Event{}, err
	}
	parse, used := parseEvent, true
	switch kind {
	case "push", "pull_request", "pull_request_review", "issues", "issue_comment", "check_run", "deployment", "deployment_status", "create", "delete",
		"workflow_dispatch", "installation", "installation_repositories", "ping":
	default:
		parse, used = parseFrame, false
	}
	e, err := parse(kind, body)
	if err != nil {
		return Event{}, err
	}
	lacks := ""
	switch kind {
	case "issue_comment":
		if e.Issue == nil || e.Comment == nil {
			lacks = "a comment on an issue"
		}
	case "issues":
		if e.Issue == nil {
			lacks = "an issue"
		}
	case "pull_request", "pull_request_review":
		if e.PullRequest == nil {
			lacks = "a pull request"
		}
	case "check_run":
		if e.CheckRun == nil {
			lacks = "a check run"
		} else if e.Action == "requested_action" && e.CheckRun.Requested == "" {
			lacks = "the button that was pressed"
		}
	case "deployment", "deployment_status":
		if e.Deployment == nil || kind == "deployment_status" && e.Deployment.State == "" {
			lacks = "a deployment, or its state"
		}
	case "push":
		if !strings.HasPrefix(e.Ref, "refs/") || e.Before == "" || e.After == "" {
			lacks = "what was pushed"
		}
	}
	if lacks == "" && used && e.RepositoryName == "" && kind != "installation" && kind != "installation_repositories" && kind != "ping" {
		lacks = "a repository"
	}
	if lacks != "" {
		return Event{}, errors.New("it lacks " + lacks)
	}
	return e, nil
}

const (
	maxNesting = 64 // of GitHub's payloads the deepest has nine, without what people put into them
	maxKeyed   = 8  // down to here keys are looked at: what is read is not deeper than five
)

// checkShape refuses what two readers could read in two ways: text that is not UTF-8, an object with a key twice (by the rule
// of encoding/json, to which case is the same), and what is nested beyond reason. The body is of GitHub's making, yet the
// signature may be in somebody else's hands.
func checkShape(body []byte) error {
	switch {
	case !utf8.Valid(body):
		return errors.New("it is not UTF-8")
	case !json.Valid(body):
		return errors.New("it is not JSON, or is cut")
	case bytes.TrimLeft(body, " \t\r\n")[0] != '{':
		return errors.New("it is not an object")
	}
	type level struct {
		object bool
		free   bool // its keys are people's
		key    bool // a key comes next
		last   string
		keys   map[string]bool
	}
	var open []level
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{', '[':
			if len(open) == maxNesting {
				return errors.New("it is nested too deep")
			}
			next := level{object: body[i] == '{', key: body[i] == '{'}
			if len(open) > 0 {
				above := open[len(open)-1]
				next.free = above.free || above.object && peoples(above.last)
			}
			open = append(open, next)
		case '}', ']':
			open = open[:len(open)-1]
		case ',':
			top := &open[len(open)-1]
			top.key = top.object
		case ':':
			open[len(open)-1].key = false
		case '"':
			start := i
			escaped := false
			for i++; body[i] != '"'; i++ {
				if body[i] == '\\' {
					escaped = true
					i++
				}
			}
			top := &open[len(open)-1]
			if !top.key || len(open) > maxKeyed {
				continue
			}
			key := string(body[start+1 : i])
			if escaped {
				if err := json.Unmarshal(body[start:i+1], &key); err != nil {
					return errors.New("it holds a key that is none")
				}
			}
			top.last = key
			if !top.free {
				key = strings.ToLower(strings.ToUpper(key)) // of ſ and K as well
			}
			if top.keys == nil {
				top.keys = map[string]bool{}
			}
			if top.keys[key] {
				return errors.New("it holds a key twice")
			}
			top.keys[key] = true
		}
	}
	return nil
}

// peoples says that the object under a key has keys that people chose, among which two may differ by case only.
func peoples(key string) bool {
	switch key {
	case "inputs", "payload", "client_payload", "custom_properties":
		return true
	}
	return false
}
