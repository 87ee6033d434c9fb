package github

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// What people do in the browser. It goes the way of the API, with its permissions and what follows: webhooks and workflow
// runs. Only the limits on calls and on content leave people alone here, so that a test can play a crowd. The login may be
// the bot of an App that is installed on the repository, or github-actions[bot].

// player is the credential of somebody at a browser.
func (r *Repository) player(login string) (*credential, error) {
	u := r.w.userByLogin[strings.ToLower(login)]
	switch {
	case u == nil:
		return nil, fmt.Errorf("no such user: %s", login)
	case u.Type == "User":
		return &credential{kind: personal, user: u, played: true}, nil
	case u == r.w.actionsBot():
		everything := map[string]string{"metadata": "read"}
		for _, scope := range actionsScopes {
			everything[scope] = "write"
		}
		return &credential{kind: actions, user: u, app: r.w.actionsApp(), repo: r, permissions: everything, played: true}, nil
	}
	for _, a := range r.w.apps {
		for _, i := range a.installations {
			if a.bot == u && i.covers(r) && i.suspended.IsZero() {
				return &credential{kind: installation, user: u, app: a, inst: i, permissions: a.permissions, played: true}, nil
			}
		}
	}
	return nil, fmt.Errorf("%s does not act here", login)
}

// play makes a call of the API as somebody; path is within the repository.
func (r *Repository) play(login, method, path string, in any) (object, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	w := r.w
	w.mu.Lock()
	defer w.mu.Unlock()
	cred, err := r.player(login)
	if err != nil {
		return nil, err
	}
	path = "/repos/" + r.Owner + "/" + r.Name + path
	req, err := http.NewRequest(method, path, nil)
	if err != nil {
		return nil, err
	}
	rt, vars := w.find(method, path)
	if rt == nil {
		return nil, notFound()
	}
	c := &call{w: w, r: req, route: rt, vars: vars, cred: cred, body: body}
	if err := c.authorise(); err != nil {
		return nil, err
	}
	a, err := rt.handle(c)
	o, _ := a.body.(object)
	return o, err
}

// Comment lets somebody comment on an issue or a pull request, and returns the comment's id.
func (r *Repository) Comment(login string, issue int, body string) (int64, error) {
	o, err := r.play(login, http.MethodPost, fmt.Sprintf("/issues/%d/comments", issue), object{"body": body})
	if err != nil {
		return 0, fmt.Errorf("commenting on %d as %s: %w", issue, login, err)
	}
	return o["id"].(int64), nil
}

// EditComment lets somebody change a comment: its author, or who has write access.
func (r *Repository) EditComment(login string, comment int64, body string) error {
	if _, err := r.play(login, http.MethodPatch, fmt.Sprintf("/issues/comments/%d", comment), object{"body": body}); err != nil {
		return fmt.Errorf("editing comment %d as %s: %w", comment, login, err)
	}
	return nil
}

// DeleteComment lets somebody take a comment away.
func (r *Repository) DeleteComment(login string, comment int64) error {
	if _, err := r.play(login, http.MethodDelete, fmt.Sprintf("/issues/comments/%d", comment), nil); err != nil {
		return fmt.Errorf("deleting comment %d as %s: %w", comment, login, err)
	}
	return nil
}

// ReactAs lets somebody react to a comment with one of GitHub's eight: +1, -1, laugh, confused, heart, hooray, rocket or
// eyes. No webhook tells of it. Reacting so again changes nothing.
func (r *Repository) ReactAs(login string, comment int64, content string) error {
	if _, err := r.play(login, http.MethodPost, fmt.Sprintf("/issues/comments/%d/reactions", comment), object{"content": content}); err != nil {
		return fmt.Errorf("reacting to comment %d as %s: %w", comment, login, err)
	}
	return nil
}

// OpenIssue lets somebody open an issue, and returns its number.
func (r *Repository) OpenIssue(login, title, body string) (int, error) {
	o, err := r.play(login, http.MethodPost, "/issues", object{"title": title, "body": body})
	if err != nil {
		return 0, fmt.Errorf("opening issue %q as %s: %w", title, login, err)
	}
	return o["number"].(int), nil
}

// OpenPull lets somebody open a pull request, and returns its number. head is a branch, or owner:branch of a fork.
func (r *Repository) OpenPull(login, head, base, title, body string) (int, error) {
	o, err := r.play(login, http.MethodPost, "/pulls", object{"title": title, "head": head, "base": base, "body": body})
	if err != nil {
		return 0, fmt.Errorf("opening a pull request of %s as %s: %w", head, login, err)
	}
	return o["number"].(int), nil
}

// PushAs lets somebody push one commit to a branch, as Commit makes it, with everything that follows on a push.
func (r *Repository) PushAs(login, branch, message string, files map[string]string) (string, error) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	cred, err := r.player(login)
	if err == nil && !cred.may(r, "contents=write", "write") {
		err = refuse(http.StatusForbidden, "Permission to %s/%s.git denied to %s.", r.Owner, r.Name, login)
	}
	var u refUpdate
	if err == nil {
		u, err = r.build(branch, message, files, r.w.signs(cred.user))
	}
	if err == nil {
		err = r.mayBringWorkflows(cred, u.name, u.from, u.to)
	}
	if err == nil {
		err = r.mayMove(cred, u, nil)
	}
	if err == nil {
		err = r.move(cred, []refUpdate{u})
	}
	if err != nil {
		return "", fmt.Errorf("pushing to %s as %s: %w", branch, login, err)
	}
	return u.to, nil
}

// Close lets somebody close an issue or a pull request.
func (r *Repository) Close(login string, number int) error { return r.turn(login, number, "closed") }

// Reopen lets somebody open an issue or a pull request again.
func (r *Repository) Reopen(login string, number int) error { return r.turn(login, number, "open") }

func (r *Repository) turn(login string, number int, state string) error {
	if _, err := r.play(login, http.MethodPatch, "/issues/"+strconv.Itoa(number), object{"state": state}); err != nil {
		return fmt.Errorf("turning %d %s as %s: %w", number, state, login, err)
	}
	return nil
}

// LabelAs lets somebody put labels on an issue or a pull request.
func (r *Repository) LabelAs(login string, number int, labels ...string) error {
	if _, err := r.play(login, http.MethodPost, fmt.Sprintf("/issues/%d/labels", number), object{"labels": labels}); err != nil {
		return fmt.Errorf("labelling %d as %s: %w", number, login, err)
	}
	return nil
}

// Rerequest lets somebody press "Re-run" of a check run. Only the App that made it is told.
func (r *Repository) Rerequest(login string, checkRun int64) error {
	if _, err := r.play(login, http.MethodPost, fmt.Sprintf("/check-runs/%d/rerequest", checkRun), nil); err != nil {
		return fmt.Errorf("asking for check run %d again as %s: %w", checkRun, login, err)
	}
	return nil
}

// Actions are the buttons that a check run has now.
func (r *Repository) Actions(checkRun int64) ([]CheckAction, error) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	for _, run := range r.checks {
		if run.id == checkRun {
			return slices.Clone(run.actions), nil
		}
	}
	return nil, fmt.Errorf("reading the buttons of check run %d: there is none", checkRun)
}

// Press lets somebody press a button of a check run. Only the App that made the run is told; who presses needs write access
// [K]. identifier is that of one of the run's actions.
func (r *Repository) Press(login string, checkRun int64, identifier string) error {
	fail := func(err error) error {
		return fmt.Errorf("pressing %q of check run %d as %s: %w", identifier, checkRun, login, err)
	}
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	cred, err := r.player(login)
	if err != nil {
		return fail(err)
	}
	if !cred.sees(r) {
		return fail(notFound())
	}
	if cred.kind != personal || roleRank(r.role(cred.user)) < roleRank("write") {
		return fail(refuse(http.StatusForbidden, "Must have push access to repository"))
	}
	for _, run := range r.checks {
		if run.id != checkRun {
			continue
		}
		if !slices.ContainsFunc(run.actions, func(a CheckAction) bool { return a.Identifier == identifier }) {
			return fail(fmt.Errorf("it has no such button"))
		}
		if err := r.checkEvent(cred, run, "requested_action", object{"requested_action": object{"identifier": identifier}}); err != nil {
			return fail(err)
		}
		return nil
	}
	return fail(notFound())
}
