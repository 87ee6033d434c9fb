package github

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// move updates refs for somebody, all or none, and lets everything follow that follows on GitHub: pull requests, webhooks
// and workflow runs. The caller has checked that the move is allowed.
func (r *Repository) move(by *credential, updates []refUpdate) error {
	if err := r.writeRefs(updates); err != nil {
		return err
	}
	r.pushed = r.w.clock()
	for _, u := range updates {
		if u.from == u.to {
			continue
		}
		if err := r.moved(by, u); err != nil {
			return err
		}
	}
	return nil
}

// moved tells the world of one ref that moved.
func (r *Repository) moved(by *credential, u refUpdate) error {
	if err := r.pushEvents(by, u); err != nil {
		return err
	}
	if !strings.HasPrefix(u.name, "refs/heads/") {
		return nil
	}
	return r.followPullsFor(by, u.name, u.to)
}

// followPulls lets pull requests follow a branch that was moved while the world was being built.
func (r *Repository) followPulls(name, to string) error { return r.followPullsFor(nil, name, to) }

// followPullsFor lets pull requests follow a branch of this repository, which may be the head of pull requests of its
// parent. A nil by makes no events.
func (r *Repository) followPullsFor(by *credential, name, to string) error {
	branch := strings.TrimPrefix(name, "refs/heads/")
	bases := []*Repository{r}
	if r.parent != nil {
		bases = append(bases, r.parent)
	}
	for _, base := range bases {
		for _, i := range base.issues {
			p := i.pull
			if p == nil || i.state != "open" {
				continue
			}
			isHead := p.headRepo == r && p.head == branch
			isBase := base == r && p.base == branch
			var err error
			switch {
			case (isHead || isBase) && to == zeros:
				err = base.closePull(by, i, nil)
			case isHead:
				err = base.headMoved(by, i, to)
			case isBase:
				err = base.baseMoved(by, i, to)
			}
			if err != nil {
				return fmt.Errorf("pull request %d: %w", i.number, err)
			}
		}
	}
	return nil
}

// headMoved gives a pull request new commits.
func (r *Repository) headMoved(by *credential, i *issue, to string) error {
	if i.pull.headSHA == to {
		return nil
	}
	before := i.pull.headSHA
	if err := r.fetchHead(i, to); err != nil {
		return err
	}
	i.updated = r.w.clock()
	if err := r.pullEvent(by, i, "synchronize", object{"before": before, "after": to}); err != nil {
		return err
	}
	base, there, err := r.ref("refs/heads/" + i.pull.base)
	if err != nil || !there {
		return err
	}
	return r.baseMoved(by, i, base.sha)
}

// baseMoved closes a pull request as merged when its head has become reachable from its base, whoever moved the base and
// whatever branch it is (wire.md §2b).
func (r *Repository) baseMoved(by *credential, i *issue, to string) error {
	p := i.pull
	p.mergeable = nil
	landed, err := r.isAncestor(p.headSHA, to)
	if err != nil {
		return err
	}
	if landed && p.headSHA != p.baseSHA {
		p.baseSHA = to
		return r.closePull(by, i, &merged{sha: to})
	}
	p.baseSHA = to
	return nil
}

// merged tells how a pull request was merged.
type merged struct{ sha string }

// closePull closes a pull request, as merged when m is not nil.
func (r *Repository) closePull(by *credential, i *issue, m *merged) error {
	now := r.w.clock()
	i.state, i.closed, i.updated = "closed", now, now
	if by != nil {
		i.closedBy = by.user
	}
	if m != nil {
		i.pull.merged, i.pull.mergeCommit = now, m.sha
		if by != nil {
			i.pull.mergedBy = by.user
		}
	}
	return r.pullEvent(by, i, "closed", nil)
}

// errWorkflows is a change of workflow files by an App that may not make one; its text is GitHub's (wire.md §2a).
type errWorkflows struct{ path string }

func (e *errWorkflows) Error() string {
	return fmt.Sprintf("refusing to allow a GitHub App to create or update workflow `%s` without `workflows` permission", e.path)
}

const workflowDir = ".github/workflows"

// mayBringWorkflows checks that an App without the workflows permission moves a ref only so that its workflow files stay
// what they were; a new ref may have those of any branch. People's tokens are taken to have the workflow scope.
func (r *Repository) mayBringWorkflows(by *credential, name, from, to string, env ...string) error {
	if !by.isApp() || by.permissions["workflows"] == "write" || to == zeros || !strings.HasPrefix(name, "refs/heads/") {
		return nil
	}
	known := []string{from}
	if from == zeros {
		branches, err := r.refs("refs/heads/")
		if err != nil {
			return err
		}
		known = nil
		for _, b := range branches {
			known = append(known, b.sha)
		}
		slices.Sort(known)
		known = append(slices.Compact(known), emptyTree)
	}
	var refused *errWorkflows
	for _, k := range known {
		out, err := r.w.runWith(r.Dir, nil, env, "diff-tree", "-r", "-z", "--name-only", "--no-commit-id", k, to, "--", workflowDir+"/")
		if err != nil {
			if k == emptyTree || from != zeros {
				return fmt.Errorf("looking for workflow files: %w", err)
			}
			continue
		}
		path, _, changed := strings.Cut(string(out), "\x00")
		if !changed {
			return nil
		}
		if refused == nil {
			refused = &errWorkflows{path}
		}
	}
	return refused
}

func isMoved(err error) bool { return errors.Is(err, errMoved) }

// isRefusedWorkflow tells errWorkflows from git failing.
func isRefusedWorkflow(err error) bool {
	var e *errWorkflows
	return errors.As(err, &e)
}
