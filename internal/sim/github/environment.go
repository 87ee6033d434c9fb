package github

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// environment is a deployment environment with its protection.
type environment struct {
	id                  int64
	name                string
	waitTimer           int
	preventSelfReview   bool
	reviewers           []reviewer
	protected, policies bool // deployment_branch_policy; both false: null
	branches            []branchPolicy
	created, updated    time.Time
}

// branchPolicy is a pattern of names that may deploy to an environment.
type branchPolicy struct {
	id         int64
	name, kind string
}

func (p branchPolicy) object() any {
	return object{"id": p.id, "node_id": node("GADP", p.id), "name": p.name, "type": p.kind}
}

type reviewer struct {
	Type string `json:"type"`
	ID   int64  `json:"id"`
}

// environmentFor finds an environment or makes it without protection, as a deployment to it does.
func (r *Repository) environmentFor(name string) *environment {
	for _, e := range r.environments {
		if strings.EqualFold(e.name, name) {
			return e
		}
	}
	e := &environment{id: r.w.nextID(), name: name, created: r.w.clock(), updated: r.w.clock()}
	r.environments = append(r.environments, e)
	return e
}

func (r *Repository) environmentObject(e *environment) object {
	rules := []any{}
	if e.waitTimer > 0 {
		rules = append(rules, object{"id": e.id*10 + 1, "node_id": node("GA", e.id), "type": "wait_timer", "wait_timer": e.waitTimer})
	}
	if len(e.reviewers) > 0 {
		list := []any{}
		for _, v := range e.reviewers {
			if who := r.reviewer(v); who != nil {
				list = append(list, object{"type": v.Type, "reviewer": who})
			}
		}
		rules = append(rules, object{"id": e.id*10 + 2, "node_id": node("GA", e.id), "type": "required_reviewers", "prevent_self_review": e.preventSelfReview, "reviewers": list})
	}
	var policy any
	if e.protected || e.policies {
		policy = object{"protected_branches": e.protected, "custom_branch_policies": e.policies}
		rules = append(rules, object{"id": e.id*10 + 3, "node_id": node("GA", e.id), "type": "branch_policy"})
	}
	return object{
		"id": e.id, "node_id": node("EN", e.id), "name": e.name, "url": r.api() + "/environments/" + url.PathEscape(e.name),
		"html_url":   r.html() + "/deployments/activity_log?environments_filter=" + url.QueryEscape(e.name),
		"created_at": stamp(e.created), "updated_at": stamp(e.updated), "protection_rules": rules, "deployment_branch_policy": policy,
	}
}

// reviewer is the user, or the team of the repository's owner, that a reviewer names; nil for nobody.
func (r *Repository) reviewer(v reviewer) any {
	switch v.Type {
	case "User":
		for _, u := range r.w.users {
			if u.ID == v.ID {
				return r.w.user(u)
			}
		}
	case "Team":
		for _, t := range r.w.teams {
			if t.id == v.ID && t.org == r.owner {
				api := fmt.Sprintf("%s/organizations/%d/team/%d", r.w.apiURL, t.org.ID, t.id)
				return object{
					"id": t.id, "node_id": node("T", t.id), "name": t.slug, "slug": t.slug, "description": nil, "privacy": "closed", "permission": "pull",
					"url": api, "html_url": r.w.gitURL + "/orgs/" + t.org.Login + "/teams/" + t.slug, "members_url": api + "/members{/member}",
					"repositories_url": api + "/repos", "type": "organization", "organization_id": t.org.ID, "parent": nil,
				}
			}
		}
	}
	return nil
}

func listEnvironments(c *call) (answer, error) {
	return paged(c, c.repo.environments, func(e *environment) any { return c.repo.environmentObject(e) }, total(len(c.repo.environments), "environments"))
}

func getEnvironment(c *call) (answer, error) {
	e := c.environment()
	if e == nil {
		return answer{}, notFound()
	}
	return ok(c.repo.environmentObject(e))
}

// environment is the one of the path, nil when there is none.
func (c *call) environment() *environment {
	for _, e := range c.repo.environments {
		if strings.EqualFold(e.name, c.vars["environment_name"]) {
			return e
		}
	}
	return nil
}

// putEnvironment overwrites everything: what is left out is taken away (wire.md §1.5).
func putEnvironment(c *call) (answer, error) {
	var in struct {
		WaitTimer         int              `json:"wait_timer"`
		PreventSelfReview bool             `json:"prevent_self_review"`
		Reviewers         []reviewer       `json:"reviewers"`
		Policy            *json.RawMessage `json:"deployment_branch_policy"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	name := c.vars["environment_name"]
	var policy struct {
		Protected *bool `json:"protected_branches"`
		Custom    *bool `json:"custom_branch_policies"`
	}
	if in.Policy != nil && string(*in.Policy) != "null" {
		if json.Unmarshal(*in.Policy, &policy) != nil || policy.Protected == nil || policy.Custom == nil || *policy.Protected == *policy.Custom {
			return answer{}, invalid("Environment", "deployment_branch_policy", "custom", "protected_branches and custom_branch_policies cannot have the same value")
		}
	}
	switch {
	case name == "" || utf8.RuneCountInString(name) > 255:
		return answer{}, invalid("Environment", "name", "invalid", "")
	case in.WaitTimer < 0 || in.WaitTimer > 43200:
		return answer{}, invalid("Environment", "wait_timer", "invalid", "")
	case len(in.Reviewers) > 6:
		return answer{}, invalid("Environment", "reviewers", "custom", "at most 6 reviewers are allowed")
	}
	for _, v := range in.Reviewers {
		if c.repo.reviewer(v) == nil {
			return answer{}, refuse(http.StatusUnprocessableEntity, "Failed to create the environment protection rule. Please ensure the reviewers are valid.")
		}
	}
	e := c.repo.environmentFor(name)
	e.waitTimer, e.preventSelfReview, e.reviewers, e.updated = in.WaitTimer, in.PreventSelfReview, in.Reviewers, c.w.clock()
	e.protected, e.policies = deref(policy.Protected, false), deref(policy.Custom, false)
	if !e.policies {
		e.branches = nil // [K]
	}
	return ok(c.repo.environmentObject(e))
}

func deleteEnvironment(c *call) (answer, error) {
	n := len(c.repo.environments)
	c.repo.environments = slices.DeleteFunc(c.repo.environments, func(e *environment) bool { return strings.EqualFold(e.name, c.vars["environment_name"]) })
	if len(c.repo.environments) == n {
		return answer{}, notFound()
	}
	return noContent()
}

func listBranchPolicies(c *call) (answer, error) {
	e := c.environment()
	if e == nil {
		return answer{}, notFound()
	}
	return paged(c, e.branches, branchPolicy.object, total(len(e.branches), "branch_policies"))
}

// createBranchPolicy answers 303 to a pattern that is there, and 404 where the environment has no patterns of its own.
func createBranchPolicy(c *call) (answer, error) {
	var in struct {
		Name *string `json:"name"`
		Type *string `json:"type"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	e, kind := c.environment(), deref(in.Type, "branch")
	switch {
	case e == nil || !e.policies:
		return answer{}, notFound()
	case deref(in.Name, "") == "":
		return answer{}, missing("name")
	case kind != "branch" && kind != "tag":
		return answer{}, invalid("DeploymentBranchPolicy", "type", "invalid", "")
	case slices.ContainsFunc(e.branches, func(p branchPolicy) bool { return p.name == *in.Name && p.kind == kind }):
		return answer{status: http.StatusSeeOther}, nil
	}
	p := branchPolicy{c.w.nextID(), *in.Name, kind}
	e.branches, e.updated = append(e.branches, p), c.w.clock()
	return ok(p.object())
}
