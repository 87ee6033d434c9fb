package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	sdk "github.com/google/go-github/v62/github"
)

// Tip is the commit that a branch points to. One request; a *NotFoundError when there is no such branch.
func (c *Client) Tip(ctx context.Context, branch string) (sha string, err error) {
	cl := call{method: http.MethodGet, path: c.repoPath("/git/ref/heads/%s", clean(branch))}
	if !validRef(branch) {
		return "", &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: %q is not the name of a branch", ErrArgument, clean(branch))}
	}
	err = c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
		ref, _, err := api.Git.GetRef(ctx, c.Owner, c.Repo, "heads/"+branch)
		if err != nil {
			return err
		}
		if sha = ref.GetObject().GetSHA(); !shaRule.MatchString(sha) || ref.GetRef() != "refs/heads/"+branch {
			return fmt.Errorf("it is about another branch, or holds no commit")
		}
		return nil
	})
	if e, ok := err.(*Error); ok && e.Status == http.StatusConflict { // wire.md §1.2: an empty repository
		err = &NotFoundError{Err: e}
	}
	if err != nil {
		return "", missing(err, "the branch %s of %s/%s", clean(branch), c.Owner, c.Repo)
	}
	return sha, nil
}

// Has says whether the repository has a commit, by its full id. One request.
func (c *Client) Has(ctx context.Context, sha string) (bool, error) {
	cl := call{method: http.MethodGet, path: c.repoPath("/git/commits/%s", sha)}
	if !shaRule.MatchString(sha) {
		return false, &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: %q is not a commit's full id", ErrArgument, sha)}
	}
	err := c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
		_, _, err := api.Git.GetCommit(ctx, c.Owner, c.Repo, sha)
		return err
	})
	var none *NotFoundError
	if err = missing(err, "the commit %s", sha); errors.As(err, &none) {
		return false, nil
	}
	return err == nil, err
}

// validRef follows git check-ref-format as far as it matters in a URL, and refuses what could forge a line.
func validRef(name string) bool {
	if name == "" || clean(name) != name || len(name) > 1000 || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") || strings.HasSuffix(name, ".") ||
		strings.Contains(name, "..") || strings.Contains(name, "//") || strings.Contains(name, "@{") || name == "@" {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r) })
}

// Branch is one side of a pull request.
type Branch struct {
	Ref  string // without refs/heads/
	SHA  string
	Repo string // owner/name; "" when that repository is gone
}

// PullRequest is a pull request as far as shopfleet needs it. Its texts and the names in it are other people's.
type PullRequest struct {
	Number     int
	Title      string
	Body       string
	State      string // open or closed
	Author     string
	Draft      bool
	Merged     bool
	Head, Base Branch
	Fork       bool // the head is in another repository than the base, or in one that is gone
	Labels     []string
	HTMLURL    string
	Created    time.Time
}

// Has says whether the pull request has a label; GitHub tells labels apart without regard to case.
func (p PullRequest) Has(label string) bool { return hasLabel(p.Labels, label) }

func hasLabel(labels []string, label string) bool {
	return slices.ContainsFunc(labels, func(l string) bool { return strings.EqualFold(l, label) })
}

// wirePull is a pull request in the API and in an event.
type wirePull struct {
	Number int         `json:"number"`
	Title  string      `json:"title"`
	Body   string      `json:"body"`
	State  string      `json:"state"`
	Draft  bool        `json:"draft"`
	Merged bool        `json:"merged"`    // not in lists
	At     *time.Time  `json:"merged_at"` // in lists too
	User   *wireUser   `json:"user"`
	Head   wireBranch  `json:"head"`
	Base   wireBranch  `json:"base"`
	Labels []wireLabel `json:"labels"`
	HTML   string      `json:"html_url"`
	Made   *time.Time  `json:"created_at"`
}

type wireUser struct {
	ID    int64  `json:"id"`
	Login string `json:"login"`
	Type  string `json:"type"`
}

func (w *wireUser) login() string {
	if w == nil {
		return ""
	}
	return w.Login
}

func (w *wireUser) id() int64 {
	if w == nil {
		return 0
	}
	return w.ID
}

// person says that it is an account of a human being, as far as GitHub knows.
func (w *wireUser) person() bool { return w != nil && w.Type == "User" && w.ID > 0 }

type wireLabel struct {
	Name string `json:"name"`
}

func labelNames(list []wireLabel) []string {
	var names []string
	for _, l := range list {
		names = append(names, l.Name)
	}
	return names
}

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

type wireBranch struct {
	Ref  string `json:"ref"`
	SHA  string `json:"sha"`
	Repo *struct {
		ID       int64  `json:"id"`
		FullName string `json:"full_name"`
	} `json:"repo"`
}

func (w wireBranch) branch() Branch {
	b := Branch{Ref: w.Ref, SHA: w.SHA}
	if w.Repo != nil {
		b.Repo = w.Repo.FullName
	}
	return b
}

func (w wirePull) pull() (PullRequest, error) {
	p := PullRequest{
		Number: w.Number, Title: w.Title, Body: w.Body, State: w.State, Author: w.User.login(), Draft: w.Draft, Merged: w.Merged || w.At != nil,
		Head: w.Head.branch(), Base: w.Base.branch(), Labels: labelNames(w.Labels), HTMLURL: w.HTML, Created: timeOf(w.Made),
		// Whatever is not certainly the same repository is a fork: a fork's pull request sees no secret.
		Fork: w.Head.Repo == nil || w.Base.Repo == nil || w.Head.Repo.ID == 0 || w.Head.Repo.ID != w.Base.Repo.ID ||
			!strings.EqualFold(w.Head.Repo.FullName, w.Base.Repo.FullName),
	}
	switch {
	case p.Number <= 0:
		return PullRequest{}, fmt.Errorf("the pull request has no number")
	case !shaRule.MatchString(p.Head.SHA) || !shaRule.MatchString(p.Base.SHA):
		return PullRequest{}, fmt.Errorf("the pull request holds something that is not a commit's id")
	case !validRef(p.Head.Ref) || !validRef(p.Base.Ref):
		return PullRequest{}, fmt.Errorf("the pull request holds something that is not a branch's name")
	}
	return p, nil
}

// PullRequest reads one. One request.
func (c *Client) PullRequest(ctx context.Context, number int) (PullRequest, error) {
	var w wirePull
	var p PullRequest
	cl := call{method: http.MethodGet, path: c.repoPath("/pulls/%d", number)}
	_, err := c.request(ctx, cl, nil, nil, &w)
	if err == nil {
		if p, err = w.pull(); err == nil && p.Number != number {
			err = fmt.Errorf("it is about pull request %d", p.Number)
		}
		if err != nil {
			err = typed(&Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: %w", ErrMalformed, err)})
		}
	}
	if err != nil {
		return PullRequest{}, missing(err, "pull request %d of %s/%s", number, c.Owner, c.Repo)
	}
	return p, nil
}

const maxPullPages = 200

// Pulls lists the pull requests that are open, closed, or all of them, the oldest first. One request for each hundred.
// Those whose branches have names that could forge a line are left out: they are none of ours.
func (c *Client) Pulls(ctx context.Context, state string) ([]PullRequest, error) {
	path := c.repoPath("/pulls")
	if state != "open" && state != "closed" && state != "all" {
		return nil, &Error{Method: http.MethodGet, Path: path, Err: fmt.Errorf("%w: %q is not open, closed or all", ErrArgument, clean(state))}
	}
	var all []PullRequest
	seen := map[int]bool{}
	// The oldest first: what is opened while the list is read does not move the others to another page.
	query := url.Values{"state": {state}, "sort": {"created"}, "direction": {"asc"}}
	err := pages(ctx, c, path, query, maxPullPages, func(page []wirePull) (bool, error) {
		for _, w := range page {
			p, err := w.pull()
			if w.Number <= 0 {
				return false, fmt.Errorf("%w: %w", ErrMalformed, err)
			}
			if err == nil && !seen[p.Number] && (state == "all" || p.State == state) {
				seen[p.Number] = true
				all = append(all, p)
			}
		}
		return true, nil
	})
	if err != nil {
		return nil, missing(err, "the repository %s/%s", c.Owner, c.Repo)
	}
	return all, nil
}
