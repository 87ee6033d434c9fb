package github

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	sdk "github.com/google/go-github/v62/github"
)

// Deployment is one that GitHub keeps.
type Deployment struct {
	ID          int64
	Environment string
	Ref, SHA    string
	Task        string
	Payload     json.RawMessage // the object; nil when there is none, as for deployments that others made
	Created     time.Time
	Creator     string
	Description string
}

// DeploymentStatus is what happened to a deployment at a time.
type DeploymentStatus struct {
	State          string // queued, pending, in_progress, success, failure, error, inactive
	LogURL         string
	EnvironmentURL string
	Description    string // up to 140 characters are kept
	Created        time.Time
}

// NewDeployment is a deployment to record.
type NewDeployment struct {
	Ref         string // a branch, tag or sha
	Environment string
	Description string
	Key         string // unique for what is recorded; kept as "key" of the payload, which is how a lost one is found
	Payload     any    // becomes a JSON object; may be nil
	Production  bool
	Task        string // "" means deploy, as everybody's; one of our own is listed apart from them
}

const (
	pageSize       = 100 // wire.md §1: the most
	maxDescription = 140 // wire.md §1.5, for statuses; deployments get the same
)

// Deployments are those of an environment and a task, newest first; with limit 0 at most 100, with task "" of all tasks. One
// request for each hundred.
func (c *Client) Deployments(ctx context.Context, environment, task string, limit int) ([]Deployment, error) {
	cl := call{method: http.MethodGet, path: c.repoPath("/deployments")}
	if limit <= 0 {
		limit = pageSize
	}
	// The environment is a filter: "" would be all of them, and some other shop's release could pass for this one's.
	if environment == "" {
		return nil, &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: no environment is named", ErrArgument)}
	}
	var list []Deployment
	for page := 1; page != 0 && len(list) < limit; {
		err := c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
			found, resp, err := api.Repositories.ListDeployments(ctx, c.Owner, c.Repo, &sdk.DeploymentsListOptions{
				Environment: environment, Task: task, ListOptions: sdk.ListOptions{Page: page, PerPage: min(limit, pageSize)},
			})
			if err != nil {
				return err
			}
			for _, d := range found {
				if d.GetID() == 0 {
					return fmt.Errorf("a deployment has no id")
				}
				if d.GetEnvironment() == environment && (task == "" || d.GetTask() == task) {
					list = append(list, deployment(d))
				}
			}
			if resp.NextPage != 0 && resp.NextPage <= page {
				return ErrPaging
			}
			page = resp.NextPage
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return list[:min(len(list), limit)], nil
}

func deployment(d *sdk.Deployment) Deployment {
	out := Deployment{
		ID: d.GetID(), Environment: d.GetEnvironment(), Ref: d.GetRef(), SHA: d.GetSHA(), Task: d.GetTask(),
		Created: d.GetCreatedAt().Time, Creator: d.GetCreator().GetLogin(), Description: d.GetDescription(),
	}
	payload := d.Payload
	var inside string
	if json.Unmarshal(payload, &inside) == nil { // an object that was sent as text
		payload = json.RawMessage(inside)
	}
	if len(object(payload)) > 0 {
		out.Payload = bytes.Clone(payload)
	}
	return out
}

// key is what NewDeployment's Key was.
func (d Deployment) key() string {
	var key string
	json.Unmarshal(object(d.Payload)["key"], &key)
	return key
}

// DeploymentStatuses are those of a deployment, newest first, at most a hundred. One request.
func (c *Client) DeploymentStatuses(ctx context.Context, id int64) ([]DeploymentStatus, error) {
	var list []DeploymentStatus
	cl := call{method: http.MethodGet, path: c.repoPath("/deployments/%d/statuses", id)}
	err := c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
		found, _, err := api.Repositories.ListDeploymentStatuses(ctx, c.Owner, c.Repo, id, &sdk.ListOptions{PerPage: pageSize})
		for _, s := range found {
			list = append(list, DeploymentStatus{
				State: s.GetState(), LogURL: orDefault(s.GetLogURL(), s.GetTargetURL()), EnvironmentURL: s.GetEnvironmentURL(),
				Description: s.GetDescription(), Created: s.GetCreatedAt().Time,
			})
		}
		return err
	})
	return list, missing(err, "the deployment %d", id)
}

// CreateDeployment records a deployment: the commit is not merged with anything, and no check has to be green, since the
// caller has decided already. One request, and when its answer is lost, a look at the environment's deployments.
func (c *Client) CreateDeployment(ctx context.Context, n NewDeployment) (Deployment, error) {
	cl := call{method: http.MethodPost, path: c.repoPath("/deployments")}
	payload, err := n.payload()
	if err == nil && (n.Ref == "" || n.Environment == "") {
		err = fmt.Errorf("no ref or no environment")
	}
	if err != nil {
		return Deployment{}, &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: %w", ErrArgument, err)}
	}
	request := &sdk.DeploymentRequest{
		Ref: &n.Ref, Environment: &n.Environment, Payload: payload, Task: optional(n.Task),
		Description: sdk.String(cutRunes(clean(c.hidden(validText(n.Description))), maxDescription)),
		// wire.md §1.5: true would merge the default branch into the ref, and no list would mean all checks.
		AutoMerge: sdk.Bool(false), RequiredContexts: &[]string{},
		ProductionEnvironment: &n.Production, TransientEnvironment: sdk.Bool(false),
	}
	var made Deployment
	err = c.lookFirst(ctx, func() error {
		return c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
			d, _, err := api.Repositories.CreateDeployment(ctx, c.Owner, c.Repo, request)
			if err == nil && d.GetID() == 0 {
				err = fmt.Errorf("the deployment has no id")
			}
			if err == nil {
				made = deployment(d)
			}
			return err
		})
	}, func() (bool, error) {
		list, err := c.Deployments(ctx, n.Environment, n.Task, pageSize)
		for _, d := range list {
			if d.key() == n.Key {
				made = d
				return true, nil
			}
		}
		return false, err
	})
	return made, err
}

// payload is the JSON object to send, with the key in it.
func (n NewDeployment) payload() (json.RawMessage, error) {
	if n.Key == "" {
		return nil, fmt.Errorf("a deployment needs a key to be found by")
	}
	fields := map[string]json.RawMessage{}
	if n.Payload != nil {
		text, err := json.Marshal(n.Payload)
		if err != nil {
			return nil, fmt.Errorf("the payload: %w", err)
		}
		if string(text) != "null" {
			if fields = object(text); fields == nil {
				return nil, fmt.Errorf("the payload is not a JSON object")
			}
		}
	}
	key, err := json.Marshal(n.Key)
	if err != nil {
		return nil, err
	}
	if was, ok := fields["key"]; ok && !bytes.Equal(was, key) {
		return nil, fmt.Errorf("the payload has a key of its own")
	}
	fields["key"] = key
	return json.Marshal(fields)
}

// SetDeploymentStatus adds a status. Predecessors stay as they are: GitHub's auto_inactive leaves production environments
// out, so who wants them inactive says so. One request, and when its answer is lost, a look at the statuses.
func (c *Client) SetDeploymentStatus(ctx context.Context, id int64, s DeploymentStatus) error {
	s.Description = cutRunes(clean(c.hidden(validText(s.Description))), maxDescription)
	request := &sdk.DeploymentStatusRequest{State: &s.State, Description: &s.Description, AutoInactive: sdk.Bool(false)}
	if s.LogURL != "" {
		request.LogURL = &s.LogURL
	}
	if s.EnvironmentURL != "" {
		request.EnvironmentURL = &s.EnvironmentURL
	}
	cl := call{method: http.MethodPost, path: c.repoPath("/deployments/%d/statuses", id)}
	err := c.lookFirst(ctx, func() error {
		return c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
			_, _, err := api.Repositories.CreateDeploymentStatus(ctx, c.Owner, c.Repo, id, request)
			return err
		})
	}, func() (bool, error) {
		list, err := c.DeploymentStatuses(ctx, id)
		if err != nil || len(list) == 0 {
			return false, err
		}
		last := list[0]
		last.Created = s.Created
		return last == s, nil
	})
	return missing(err, "the deployment %d", id)
}
