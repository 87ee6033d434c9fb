package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/rebase"
)

// The labels of a rebase pull request.
const (
	labelManual = "rebase/manual" // the branch and the page stay as people left them
	labelHold   = "hold"          // it does not land
	labelLand   = "land"          // it lands when it may; see approval
)

// staleError says that something moved since it was looked at; nothing was written.
type staleError struct{ what string }

func (e *staleError) Error() string { return e.what + " moved since it was looked at" }
func (e *staleError) Hint() string  { return "run the same command again" }

// refusedError is a push that the remote did not take, in the user's terms. Nothing was moved.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

// refusals is how many refused refs may be some shops' own matter. With more of them nothing is tried any more.
const refusals = 5

// alone says whether a push may be tried again without what was refused. What only moved meanwhile is looked at again first.
func (r *rebasing) alone(err error) (refused *refusedError, ok bool) {
	var stale *staleError
	return refused, errors.As(err, &refused) && (r.last || !errors.As(err, &stale))
}

// gitRemote is the repository on GitHub for git. A push brings workflows along when main changed them, and the token for
// that is asked for first; an App that has no such permission pushes without, and is refused only where it matters.
func (d *Door) gitRemote(ctx context.Context, c *checkout, hub *github.Client) (remote git.Remote, workflows bool, err error) {
	server := strings.TrimRight(d.Getenv("GITHUB_SERVER_URL"), "/")
	if server == "" {
		server = "https://github.com"
	}
	may := permissions{"contents": "write", "workflows": "write"}
	pusher, err := d.githubAs(ctx, c, may, hub.App != nil)
	if err != nil {
		return git.Remote{}, false, err
	}
	workflows = true
	if hub.App != nil {
		_, err := pusher.GitPassword(ctx)
		var refused *github.Error
		if errors.As(err, &refused) && (refused.Status == http.StatusUnprocessableEntity || refused.Status == http.StatusForbidden) {
			workflows = false
			if pusher, err = d.githubAs(ctx, c, permissions{"contents": "write"}, true); err == nil {
				_, err = pusher.GitPassword(ctx)
			}
		}
		if err != nil {
			return git.Remote{}, false, fmt.Errorf("getting the App's token for git: %w", err)
		}
	}
	return git.Remote{URL: server + "/" + hub.Owner + "/" + hub.Repo + ".git", Password: func(ctx context.Context) (string, error) {
		token, err := pusher.GitPassword(ctx)
		if d.workflow != nil && err == nil {
			d.mask(d.workflow, string(token))
		}
		return string(token), err
	}}, workflows, nil
}

// wouldBringWorkflows says, of an App that may push no workflow, which one main changed since the shops left it: before half
// of a week's work is pushed that could not land.
func (r *rebasing) wouldBringWorkflows(ctx context.Context) error {
	if r.workflows {
		return nil
	}
	seen := map[string]bool{}
	for i := range r.moves {
		m := &r.moves[i]
		if m.Settled() || m.Base == "" || seen[m.Base] {
			continue
		}
		seen[m.Base] = true
		changed, err := r.c.repo.Changed(ctx, m.Base, m.Main)
		if err != nil {
			return err
		}
		for _, path := range changed {
			if strings.HasPrefix(path, workflowDir) {
				return workflowsRefused(path)
			}
		}
	}
	return nil
}

func workflowsRefused(path string) error {
	return deploy.Findings{{
		Rule: "app-workflows", Level: deploy.LevelError, File: path,
		Message:  "main changed this workflow, and the App may not push workflows",
		Expected: "an App with the permission workflows: write",
		Hint:     "grant it in the App's settings and accept it for the installation; nothing was pushed",
	}}
}

// pushHeads moves rebase branches, together. A branch that the remote does not take is left out, so that one shop does not keep
// the others back.
func (r *rebasing) pushHeads(ctx context.Context, updates []git.RefUpdate) error {
	if len(updates) == 0 {
		return nil
	}
	if err := r.onlyOurs(ctx, updates); err != nil {
		return err
	}
	if err := r.pushSome(ctx, updates); err != nil {
		return err
	}
	for _, u := range updates {
		slug := headSlug(u)
		if r.refused[slug] {
			continue
		}
		if u.After != "" {
			r.pushed = append(r.pushed, slug)
		}
		r.heads[slug] = u.After
	}
	return nil
}

func headSlug(u git.RefUpdate) string {
	return strings.TrimPrefix(u.Name, "refs/heads/"+rebase.HeadBranch(""))
}

// pushSome pushes rebase branches together. Where the remote takes them not, which one it is about is not always in its
// answer, and so either half is pushed alone.
func (r *rebasing) pushSome(ctx context.Context, updates []git.RefUpdate) error {
	err := r.push(ctx, updates)
	if _, ok := r.alone(err); !ok || len(r.refused) >= refusals {
		return err
	}
	if half := len(updates) / 2; half > 0 {
		if err := r.pushSome(ctx, updates[:half]); err != nil {
			return err
		}
		return r.pushSome(ctx, updates[half:])
	}
	r.refuse(headSlug(updates[0]), err)
	return nil
}

// refuse notes that a shop's branch, or its rebase branch, was not taken: its page says nothing new, and it does not land.
func (r *rebasing) refuse(slug string, err error) {
	if r.refused == nil {
		r.refused = map[string]bool{}
	}
	r.refused[slug] = true
	r.failed(slug, err)
}

// headUpdates are how rebase branches have to move to be what the survey makes. Those of people are left alone.
func (r *rebasing) headUpdates() []git.RefUpdate {
	var out []git.RefUpdate
	for i := range r.moves {
		m := &r.moves[i]
		head := r.heads[m.Slug]
		name := "refs/heads/" + rebase.HeadBranch(m.Slug)
		switch {
		case r.labelled(m.Slug, labelManual), m.Kept != "":
		case m.Settled() && head != "":
			out = append(out, git.RefUpdate{Name: name, Before: head}) // it has landed, or nothing is left to land
		case m.Settled(), m.To == "", m.To == head:
		default:
			out = append(out, git.RefUpdate{Name: name, Before: head, After: m.To})
		}
	}
	return out
}

// onlyOurs makes sure that nothing is pushed but commits of main and of the shops' branches, and those made of them here:
// what came in by some other way, such as a fork's head, has no business in a branch that deploys.
func (r *rebasing) onlyOurs(ctx context.Context, updates []git.RefUpdate) error {
	known := []string{r.c.base, r.c.main}
	for _, b := range r.all {
		known = append(known, b.Tip)
		if b.Head != "" {
			known = append(known, b.Head)
		}
	}
	var tips []string
	for _, u := range updates {
		if u.After != "" {
			tips = append(tips, u.After)
		}
	}
	made := map[string]bool{}
	for i := range r.moves {
		for _, id := range r.moves[i].Made() {
			made[id] = true
		}
	}
	extra, err := r.c.repo.NotIn(ctx, tips, known)
	if err != nil {
		return fmt.Errorf("looking at what would be pushed: %w", err)
	}
	for _, id := range extra {
		if !made[id] {
			return fmt.Errorf("commit %s is neither of main nor of a shop's branch, and would be pushed; nothing was", id)
		}
	}
	return nil
}

// push moves refs, all or none, and says in the user's terms why not.
func (r *rebasing) push(ctx context.Context, updates []git.RefUpdate) error {
	err := r.c.repo.Push(ctx, r.from, updates)
	var refused *git.PushError
	if !errors.As(err, &refused) {
		if err != nil {
			return fmt.Errorf("pushing: %w", err)
		}
		return nil
	}
	var stale, rules []string
	out := &refusedError{}
	for _, ref := range refused.Refs {
		short := strings.TrimPrefix(ref.Name, "refs/heads/")
		switch ref.Why {
		case git.Workflows:
			out.error = workflowsRefused(ref.File)
			return out
		case git.Stale:
			stale = append(stale, short)
		case git.Protected:
			rules = append(rules, short)
		}
	}
	switch {
	case len(rules) > 0:
		out.error = deploy.Findings{{
			Rule: "branch-protected", Level: deploy.LevelError,
			Message:  fmt.Sprintf("rules of the repository do not let %s be pushed", namesOf(rules)),
			Expected: "the App in the rule's bypass list, or rebase.style: merging in fleet.yml, which pushes no rewritten branch",
			Hint:     "Settings → Rules → Rulesets; they were not pushed",
		}}
	case len(stale) > 0:
		out.error = &staleError{namesOf(stale)}
	default:
		out.error = fmt.Errorf("pushing: %w", err)
	}
	return out
}

// namesOf lists a few names.
func namesOf(list []string) string {
	slices.Sort(list)
	const few = 5
	if len(list) > few {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:few], ", "), len(list)-few)
	}
	return strings.Join(list, ", ")
}
