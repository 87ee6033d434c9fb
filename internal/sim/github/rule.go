package github

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// Ruleset is a set of rules on branches (wire.md §1.8), which is always active. Rules are of the types creation, update,
// deletion, non_fast_forward, required_linear_history, pull_request and required_status_checks.
type Ruleset struct {
	Name    string
	Include []string // patterns of full names, as refs/heads/shops/**; ~ALL and ~DEFAULT_BRANCH too
	Exclude []string
	Rules   []string
	Checks  []string // of required_status_checks: names of check runs and contexts of statuses
	Bypass  []Bypass
}

// Bypass lets an App by. Mode is always, or pull_request for merging pull requests only; "" means always.
type Bypass struct {
	App  *App
	Mode string
}

type ruleset struct {
	Ruleset
	id                int64
	included, exclude []*regexp.Regexp
}

var ruleTypes = []string{"creation", "update", "deletion", "non_fast_forward", "required_linear_history", "pull_request", "required_status_checks"}

// Protect adds a ruleset to a repository. It builds a world: no call of the API, and who builds it is not bound by it.
func (r *Repository) Protect(s Ruleset) error {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	rs := &ruleset{Ruleset: s, id: r.w.nextID()}
	for _, rule := range s.Rules {
		if !slices.Contains(ruleTypes, rule) {
			return fmt.Errorf("protecting %s/%s: a rule of type %q is not played here", r.Owner, r.Name, rule)
		}
	}
	for _, b := range s.Bypass {
		if b.App == nil || !slices.Contains([]string{"", "always", "pull_request"}, b.Mode) {
			return fmt.Errorf("protecting %s/%s: a bypass needs an App, and is always or pull_request", r.Owner, r.Name)
		}
	}
	if s.Name == "" || len(s.Include) == 0 || len(s.Rules) == 0 {
		return fmt.Errorf("protecting %s/%s: a ruleset needs a name, patterns and rules", r.Owner, r.Name)
	}
	for _, pattern := range s.Include {
		rs.included = append(rs.included, fnmatch(pattern))
	}
	for _, pattern := range s.Exclude {
		rs.exclude = append(rs.exclude, fnmatch(pattern))
	}
	r.rulesets = append(r.rulesets, rs)
	return nil
}

// fnmatch is a pattern in which * stays within a segment and ** does not (wire.md §2a).
func fnmatch(pattern string) *regexp.Regexp {
	switch pattern {
	case "~ALL":
		pattern = "refs/heads/**"
	case "~DEFAULT_BRANCH":
		pattern = "refs/heads/" + defaultBranch
	}
	var b strings.Builder
	b.WriteString("^")
	for rest := pattern; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "**/"):
			b.WriteString("(?:.*/)?")
			rest = rest[3:]
		case strings.HasPrefix(rest, "**"):
			b.WriteString(".*")
			rest = rest[2:]
		case rest[0] == '*':
			b.WriteString("[^/]*")
			rest = rest[1:]
		case rest[0] == '?':
			b.WriteString("[^/]")
			rest = rest[1:]
		default:
			b.WriteString(regexp.QuoteMeta(rest[:1]))
			rest = rest[1:]
		}
	}
	return regexp.MustCompile(b.String() + "$")
}

func (s *ruleset) binds(name string) bool {
	match := func(re *regexp.Regexp) bool { return re.MatchString(name) }
	return slices.ContainsFunc(s.included, match) && !slices.ContainsFunc(s.exclude, match)
}

// lets says whether the ruleset lets somebody by.
func (s *ruleset) lets(by *credential, merging bool) bool {
	if by.kind != installation {
		return false
	}
	return slices.ContainsFunc(s.Bypass, func(b Bypass) bool { return b.App == by.app && (b.Mode != "pull_request" || merging) })
}

// errRules is a move that rules forbid; its lines are GitHub's [K].
type errRules struct {
	name  string
	lines []string
}

func (e *errRules) Error() string {
	return "Repository rule violations found\n\n" + strings.Join(e.lines, "\n")
}

func isRuled(err error) bool { return errors.As(err, new(*errRules)) }

// mayMove checks a move of a branch against the rules. merged is the pull request whose merging it is, nil for none.
func (r *Repository) mayMove(by *credential, u refUpdate, merged *issue, env ...string) error {
	if by == nil || !strings.HasPrefix(u.name, "refs/heads/") || u.from == u.to {
		return nil
	}
	violation := &errRules{name: u.name}
	for _, s := range r.rulesets {
		if !s.binds(u.name) || s.lets(by, merged != nil) {
			continue
		}
		for _, rule := range s.Rules {
			line, err := r.violates(s, rule, u, merged, env)
			if err != nil {
				return fmt.Errorf("applying the rule %s: %w", rule, err)
			}
			if line != "" && !slices.Contains(violation.lines, line) {
				violation.lines = append(violation.lines, line)
			}
		}
	}
	if len(violation.lines) > 0 {
		return violation
	}
	return nil
}

// violates is what a rule has against a move; "" for nothing.
func (r *Repository) violates(s *ruleset, rule string, u refUpdate, merged *issue, env []string) (string, error) {
	made, gone := u.from == zeros, u.to == zeros
	switch rule {
	case "creation":
		if made {
			return "Cannot create ref due to creations being restricted.", nil
		}
	case "update":
		if !made && !gone {
			return "Cannot update this protected ref.", nil
		}
	case "deletion":
		if gone {
			return "Cannot delete this branch", nil
		}
	case "non_fast_forward":
		if made || gone {
			return "", nil
		}
		_, err := r.w.runWith(r.Dir, nil, env, "merge-base", "--is-ancestor", u.from, u.to)
		if exitCode(err) == 1 {
			return "Cannot force-push to this branch", nil
		}
		return "", err
	case "required_linear_history":
		if gone {
			return "", nil
		}
		args := []string{"rev-list", "--min-parents=2", "--max-count=1", u.to}
		if !made {
			args = append(args, "^"+u.from)
		}
		out, err := r.w.runWith(r.Dir, nil, env, args...)
		if err == nil && len(out) > 0 {
			return "This branch must not contain merge commits.", nil
		}
		return "", err
	case "pull_request":
		if merged == nil && !gone && !made {
			return "Changes must be made through a pull request.", nil
		}
	case "required_status_checks":
		if gone || made {
			return "", nil
		}
		sha := u.to
		if merged != nil {
			sha = merged.pull.headSHA
		}
		for _, name := range s.Checks {
			if !r.isGreen(sha, name) {
				return fmt.Sprintf("Required status check %q is expected.", name), nil
			}
		}
	}
	return "", nil
}

// isGreen says whether the newest check run of a name, or status of a context, has let a commit pass.
func (r *Repository) isGreen(sha, name string) bool {
	for _, s := range r.statusesOf(sha, true) {
		if s.context == name {
			return s.state == "success"
		}
	}
	for _, run := range slices.Backward(r.checks) {
		if run.headSHA == sha && run.name == name {
			return run.status == "completed" && slices.Contains([]string{"success", "neutral", "skipped"}, run.conclusion)
		}
	}
	return false
}

// branchRules is GET rules/branches/{branch}: the rules that bind a branch, whether or not it exists and whoever asks.
func branchRules(c *call) (answer, error) {
	type bound struct {
		s    *ruleset
		rule string
	}
	var list []bound
	for _, s := range c.repo.rulesets {
		if s.binds("refs/heads/" + c.vars["branch"]) {
			for _, rule := range s.Rules {
				list = append(list, bound{s, rule})
			}
		}
	}
	return paged(c, list, func(b bound) any {
		o := object{"type": b.rule, "ruleset_source_type": "Repository", "ruleset_source": c.repo.Owner + "/" + c.repo.Name, "ruleset_id": b.s.id}
		switch b.rule {
		case "pull_request":
			o["parameters"] = object{
				"dismiss_stale_reviews_on_push": false, "require_code_owner_review": false, "require_last_push_approval": false,
				"required_approving_review_count": 0, "required_review_thread_resolution": false,
			}
		case "required_status_checks":
			checks := []any{}
			for _, name := range b.s.Checks {
				checks = append(checks, object{"context": name})
			}
			o["parameters"] = object{"strict_required_status_checks_policy": false, "required_status_checks": checks}
		}
		return o
	}, nil)
}

// ruled is the refusal of a call that rules forbid; anything else stays what it is.
func ruled(err error, status int) error {
	if isRuled(err) {
		return refuse(status, "%s", err)
	}
	return err
}

// mayMove checks rules for a call that moves a branch directly.
func (c *call) mayMove(u refUpdate) error {
	return ruled(c.repo.mayMove(c.cred, u, nil), http.StatusUnprocessableEntity)
}
