package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Environment is a deployment environment as far as we have to do with it: what must be fulfilled before a job gets its
// secrets.
type Environment struct {
	Name              string
	WaitMinutes       int
	Reviewers         []Reviewer // of whom one has to approve
	PreventSelfReview bool
	// Protected says that branches with protection rules may deploy, Custom that those may which match Branches. Neither:
	// every branch may.
	Protected, Custom bool
	Branches          []string // patterns of branches; tags are left out
}

// Reviewer is a user or a team that may approve a job.
type Reviewer struct {
	Type string `json:"type"` // User or Team
	ID   int64  `json:"id"`
}

type wireEnvironment struct {
	Name  string `json:"name"`
	Rules []struct {
		Type              string `json:"type"`
		WaitTimer         int    `json:"wait_timer"`
		PreventSelfReview bool   `json:"prevent_self_review"`
		Reviewers         []struct {
			Type     string `json:"type"`
			Reviewer struct {
				ID int64 `json:"id"`
			} `json:"reviewer"`
		} `json:"reviewers"`
	} `json:"protection_rules"`
	Policy *branchPolicy `json:"deployment_branch_policy"`
}

// branchPolicy is either the one or the other: GitHub refuses both and neither.
type branchPolicy struct {
	Protected bool `json:"protected_branches"`
	Custom    bool `json:"custom_branch_policies"`
}

const maxPolicyPages = 10 // a hundred patterns each; GitHub's own limit is not documented

// environmentPath is a path below an environment. wire.md §1.5: a slash in the name is sent as %2F, which go-github does not.
func (c *Client) environmentPath(name, below string) string {
	return c.repoPath("/environments/%s%s", url.PathEscape(name), below)
}

// Environment reads an environment with its patterns of branches; a *NotFoundError when there is none. One request, and where
// patterns decide one more for each hundred. It needs actions: read.
func (c *Client) Environment(ctx context.Context, name string) (Environment, error) {
	cl := call{method: http.MethodGet, path: c.environmentPath(name, "")}
	if name == "" {
		return Environment{}, &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: no environment is named", ErrArgument)}
	}
	var w wireEnvironment
	if _, err := c.request(ctx, cl, nil, nil, &w); err != nil {
		return Environment{}, missing(err, "the environment %s", name)
	}
	e := Environment{Name: w.Name}
	malformed := func(what string) (Environment, error) {
		return Environment{}, &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: %s", ErrMalformed, what)}
	}
	if !strings.EqualFold(w.Name, name) {
		return malformed("it is about another environment")
	}
	for _, rule := range w.Rules {
		switch rule.Type {
		case "wait_timer":
			e.WaitMinutes = rule.WaitTimer
		case "required_reviewers":
			e.PreventSelfReview = rule.PreventSelfReview
			for _, r := range rule.Reviewers {
				// Whoever is not understood here would be written away.
				if r.Type != "User" && r.Type != "Team" || r.Reviewer.ID <= 0 {
					return malformed("a required reviewer is neither a user nor a team")
				}
				e.Reviewers = append(e.Reviewers, Reviewer{r.Type, r.Reviewer.ID})
			}
		}
	}
	if w.Policy != nil {
		e.Protected, e.Custom = w.Policy.Protected, w.Policy.Custom
	}
	if !e.Custom {
		return e, nil
	}
	var err error
	e.Branches, err = c.branchPolicies(ctx, name)
	return e, err
}

// branchPolicies are an environment's patterns of branches.
func (c *Client) branchPolicies(ctx context.Context, name string) ([]string, error) {
	var all []string
	err := pages(ctx, c, c.environmentPath(name, "/deployment-branch-policies"), nil, maxPolicyPages, func(page struct {
		Policies []struct{ Name, Type string } `json:"branch_policies"`
	}) (bool, error) {
		for _, p := range page.Policies {
			if p.Type == "branch" || p.Type == "" {
				all = append(all, p.Name)
			}
		}
		return true, nil
	})
	return all, missing(err, "the environment %s", name)
}

// PutEnvironment makes an environment to which only a branch may deploy, or completes one that is there: nothing that
// somebody set up is taken away. Reviewers and waiting times stay, further patterns of branches too, and where only protected
// branches may deploy that is left as it is, since GitHub has either the one or the other. changed says that something was
// written; a repetition writes nothing. It needs actions: read and administration: write.
//
// One request when all is there but the patterns, two with them; three to make it.
func (c *Client) PutEnvironment(ctx context.Context, name, branch string) (changed bool, err error) {
	put := call{method: http.MethodPut, path: c.environmentPath(name, ""), repeat: true}
	// Patterns are Ruby's File.fnmatch: a branch must mean itself alone.
	if name == "" || branch == "" || strings.ContainsAny(branch, `*?[]{}\!`) {
		return false, &Error{Method: put.method, Path: put.path, Err: fmt.Errorf("%w: %q for the branch %q is no environment of one branch", ErrArgument, clean(name), clean(branch))}
	}
	there, err := c.Environment(ctx, name)
	var absent *NotFoundError
	if err != nil && !errors.As(err, &absent) {
		return false, err
	}
	if there.Protected {
		return false, nil
	}
	if !there.Custom {
		// wire.md §1.5: what is left out is taken away.
		in := struct {
			Wait    int          `json:"wait_timer"`
			Self    bool         `json:"prevent_self_review"`
			Reviews []Reviewer   `json:"reviewers"`
			Policy  branchPolicy `json:"deployment_branch_policy"`
		}{there.WaitMinutes, there.PreventSelfReview, there.Reviewers, branchPolicy{Custom: true}}
		if _, err := c.request(ctx, put, nil, in, nil); err != nil {
			return false, missing(err, "the repository %s/%s", c.Owner, c.Repo)
		}
		changed = true
	}
	if slices.Contains(there.Branches, branch) {
		return changed, nil
	}
	post := call{method: http.MethodPost, path: c.environmentPath(name, "/deployment-branch-policies")}
	err = c.lookFirst(ctx, func() error {
		_, err := c.request(ctx, post, nil, map[string]string{"name": branch, "type": "branch"}, nil)
		var e *Error
		if errors.As(err, &e) && e.Status == http.StatusSeeOther { // the pattern is there already
			return nil
		}
		return err
	}, func() (bool, error) {
		list, err := c.branchPolicies(ctx, name)
		return slices.Contains(list, branch), err
	})
	return true, missing(err, "the environment %s", name)
}

// DeleteEnvironment takes an environment away, with its secrets and protection; deleted is false when there was none. One
// request. It needs administration: write.
func (c *Client) DeleteEnvironment(ctx context.Context, name string) (deleted bool, err error) {
	cl := call{method: http.MethodDelete, path: c.environmentPath(name, ""), repeat: true}
	if name == "" {
		return false, &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: no environment is named", ErrArgument)}
	}
	_, err = c.request(ctx, cl, nil, nil, nil)
	var absent *NotFoundError
	if errors.As(err, &absent) {
		return false, nil
	}
	return err == nil, err
}
