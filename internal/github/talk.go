package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Comment is a comment on an issue or pull request. Its body is other people's text; its author says nothing about what
// the author may do, see Permission.
type Comment struct {
	ID       int64
	Body     string
	Issue    int    // the issue or pull request that it is on; 0 where GitHub does not say
	Author   string // "" when the account is gone
	AuthorID int64  // which outlives a change of the login; 0 when the account is gone
	Bot      bool   // the author is no person, or an App wrote for one
	Created  time.Time
	Updated  time.Time // later than Created when it was edited
	HTMLURL  string
}

type wireComment struct {
	ID      int64      `json:"id"`
	Body    string     `json:"body"`
	User    *wireUser  `json:"user"`
	Created *time.Time `json:"created_at"`
	Updated *time.Time `json:"updated_at"`
	HTML    string     `json:"html_url"`
	On      string     `json:"issue_url"`
	App     *struct{}  `json:"performed_via_github_app"`
}

func (w wireComment) comment() (Comment, error) {
	k := Comment{ID: w.ID, Body: w.Body, Author: w.User.login(), AuthorID: w.User.id(), Created: timeOf(w.Created), Updated: timeOf(w.Updated), HTMLURL: w.HTML}
	// …/issues/7, on pull requests too
	if n, err := strconv.Atoi(w.On[strings.LastIndexByte(w.On, '/')+1:]); err == nil && n > 0 {
		k.Issue = n
	}
	k.Bot = w.User == nil || w.User.Type != "User" || w.App != nil
	switch {
	case k.ID <= 0 || k.Created.IsZero():
		return Comment{}, errors.New("a comment has no id or no time")
	case clean(k.Author) != k.Author:
		return Comment{}, errors.New("a comment's author is not a login")
	}
	return k, nil
}

// Comments lists the comments on an issue or pull request that were written or edited since a time, the oldest first; the
// zero time is all of them. One request for each hundred.
func (c *Client) Comments(ctx context.Context, issue int, since time.Time) ([]Comment, error) {
	all, err := c.comments(ctx, c.repoPath("/issues/%d/comments", issue), url.Values{}, since)
	if err != nil {
		return nil, missing(err, "issue or pull request %d", issue)
	}
	return all, nil
}

// Issue is an issue, or what a pull request has in common with one. Its texts are other people's.
type Issue struct {
	Number      int
	Title, Body string
	State       string // open or closed
	Author      string
	Pull        bool // it is a pull request
	Labels      []string
	HTMLURL     string
	Updated     time.Time
}

type wireIssue struct {
	Number  int         `json:"number"`
	Title   string      `json:"title"`
	Body    string      `json:"body"`
	State   string      `json:"state"`
	User    *wireUser   `json:"user"`
	Pull    *struct{}   `json:"pull_request"`
	Labels  []wireLabel `json:"labels"`
	HTML    string      `json:"html_url"`
	Updated *time.Time  `json:"updated_at"`
}

func (w wireIssue) issue() (Issue, error) {
	if w.Number <= 0 {
		return Issue{}, errors.New("the issue has no number")
	}
	return Issue{
		Number: w.Number, Title: w.Title, Body: w.Body, State: w.State, Author: w.User.login(), Pull: w.Pull != nil,
		Labels: labelNames(w.Labels), HTMLURL: w.HTML, Updated: timeOf(w.Updated),
	}, nil
}

// Issue reads one. One request.
func (c *Client) Issue(ctx context.Context, number int) (Issue, error) {
	cl := call{method: http.MethodGet, path: c.repoPath("/issues/%d", number)}
	var w wireIssue
	if _, err := c.request(ctx, cl, nil, nil, &w); err != nil {
		return Issue{}, missing(err, "issue %d of %s/%s", number, c.Owner, c.Repo)
	}
	i, err := w.issue()
	if err == nil && i.Number != number {
		err = fmt.Errorf("it is about issue %d", i.Number)
	}
	if err != nil {
		return Issue{}, &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: %w", ErrMalformed, err)}
	}
	return i, nil
}

// FindIssue is the issue that PutIssue keeps under a marker, open or closed; one without a number when there is none.
// Requests as for PutIssue.
func (c *Client) FindIssue(ctx context.Context, marker string) (Issue, error) {
	listing := call{method: http.MethodGet, path: c.repoPath("/issues")}
	first, err := markerLine(marker)
	if err != nil {
		return Issue{}, &Error{Method: listing.method, Path: listing.path, Err: err}
	}
	there, err := c.ownIssue(ctx, listing, first)
	if err != nil || there == nil {
		return Issue{}, err
	}
	i := Issue{
		Number: there.GetNumber(), Title: there.GetTitle(), Body: there.GetBody(), State: there.GetState(), Author: there.GetUser().GetLogin(),
		HTMLURL: there.GetHTMLURL(), Updated: there.GetUpdatedAt().Time,
	}
	for _, l := range there.Labels {
		i.Labels = append(i.Labels, l.GetName())
	}
	return i, nil
}

var loginRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}(\[bot\])?$`)

// Permission is what an account may do in the repository: admin, write, read or none; maintain counts as write and triage
// as read. Who is not known, or has no name that an account can have, may do nothing. One request.
func (c *Client) Permission(ctx context.Context, login string) (string, error) {
	if !loginRule.MatchString(login) {
		return "none", nil
	}
	cl := call{method: http.MethodGet, path: c.repoPath("/collaborators/%s/permission", url.PathEscape(login))}
	var w struct {
		Permission string    `json:"permission"`
		User       *wireUser `json:"user"`
	}
	_, err := c.request(ctx, cl, nil, nil, &w)
	var absent *NotFoundError
	if errors.As(err, &absent) {
		return "none", nil
	}
	if err != nil {
		return "", err
	}
	if w.User != nil && !strings.EqualFold(w.User.Login, login) {
		err = fmt.Errorf("%w: it is about another account", ErrMalformed)
	} else if !slices.Contains([]string{"admin", "write", "read", "none"}, w.Permission) {
		err = fmt.Errorf("%w: %q is not a permission", ErrMalformed, cut(clean(w.Permission), 100))
	}
	if err != nil {
		return "", &Error{Method: cl.method, Path: cl.path, Err: err}
	}
	return w.Permission, nil
}

// reactions are those that GitHub has, wire.md §1.4.
var reactions = []string{"+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"}

// React puts a reaction of ours on a comment. fresh says that it was not there, which only one of several that ask is
// told. When the answer is lost and the reaction is there afterwards, nobody knows whose it was: that is an error with
// Unclear set. One request.
func (c *Client) React(ctx context.Context, comment int64, content string) (fresh bool, err error) {
	cl := call{method: http.MethodPost, path: c.repoPath("/issues/comments/%d/reactions", comment)}
	if !slices.Contains(reactions, content) {
		return false, &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: %q is not a reaction", ErrArgument, clean(content))}
	}
	c.once.Do(c.setUp)
	var lost *Error
	for n := 1; ; n++ {
		resp, err := c.request(ctx, cl, nil, map[string]string{"content": content}, nil)
		var e *Error
		switch {
		case err == nil && resp.StatusCode == http.StatusCreated:
			return true, nil
		case err == nil && lost != nil:
			return false, lost
		case err == nil:
			return false, nil
		case !errors.As(err, &e) || !e.Unclear || n == writeAttempts:
			return false, missing(err, "the comment")
		}
		lost = e
		if c.wire.sleep(ctx, backoff(n+1, c.wire.jitter())) != nil {
			return false, err
		}
	}
}

// Check is a check run or a commit status on a commit.
type Check struct {
	Name string
	// State is pending, or how it ended: success, neutral, skipped, failure, error, cancelled, timed_out, action_required,
	// stale.
	State  string
	App    string // slug of the App that made the check run; "" for a commit status, which anyone with write access can make
	Status bool   // it is a commit status
	URL    string
	Ended  time.Time // when it came to its state; zero while it is pending
}

// Green says that the check does not stand in the way.
func (k Check) Green() bool {
	return k.State == "success" || k.State == "neutral" || k.State == "skipped"
}

// Pending says that the check has not ended.
func (k Check) Pending() bool { return k.State == "pending" }

// Checks lists the newest check runs and commit statuses of a commit, sorted by name. It needs checks: read and statuses:
// read. Two requests, one more for each further hundred of either.
func (c *Client) Checks(ctx context.Context, sha string) ([]Check, error) {
	path := c.repoPath("/commits/%s/check-runs", sha)
	if !shaRule.MatchString(sha) {
		return nil, &Error{Method: http.MethodGet, Path: c.repoPath("/commits"), Err: fmt.Errorf("%w: %q is not a commit's full id", ErrArgument, clean(sha))}
	}
	type run struct {
		ID         int64      `json:"id"`
		Name       string     `json:"name"`
		SHA        string     `json:"head_sha"`
		Status     string     `json:"status"`
		Conclusion string     `json:"conclusion"`
		Completed  *time.Time `json:"completed_at"`
		HTML       string     `json:"html_url"`
		App        *struct {
			Slug string `json:"slug"`
		} `json:"app"`
	}
	var all []Check
	seen := map[int64]bool{}
	err := pages(ctx, c, path, url.Values{"filter": {"latest"}}, maxRunPages, func(page struct {
		Runs []run `json:"check_runs"`
	}) (bool, error) {
		for _, r := range page.Runs {
			if r.ID <= 0 || r.SHA != sha {
				return false, fmt.Errorf("%w: a check run is about another commit", ErrMalformed)
			}
			if seen[r.ID] {
				continue
			}
			seen[r.ID] = true
			k := Check{Name: r.Name, State: "pending", URL: r.HTML}
			if r.Status == "completed" && r.Conclusion != "" {
				k.State, k.Ended = r.Conclusion, timeOf(r.Completed)
			}
			if r.App != nil {
				k.App = r.App.Slug
			}
			all = append(all, k)
		}
		return true, nil
	})
	if err != nil {
		return nil, missing(err, "the commit %s", sha)
	}
	type status struct {
		Context string     `json:"context"`
		State   string     `json:"state"`
		URL     string     `json:"target_url"`
		Updated *time.Time `json:"updated_at"`
	}
	names := map[string]bool{}
	err = pages(ctx, c, c.repoPath("/commits/%s/status", sha), nil, maxRunPages, func(page struct {
		SHA      string   `json:"sha"`
		Statuses []status `json:"statuses"`
	}) (bool, error) {
		if page.SHA != sha {
			return false, fmt.Errorf("%w: the statuses are about another commit", ErrMalformed)
		}
		for _, s := range page.Statuses {
			if !names[s.Context] {
				names[s.Context] = true
				k := Check{Name: s.Context, State: s.State, Status: true, URL: s.URL}
				if !k.Pending() {
					k.Ended = timeOf(s.Updated)
				}
				all = append(all, k)
			}
		}
		return true, nil
	})
	if err != nil {
		return nil, missing(err, "the commit %s", sha)
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Name+"\x00"+all[i].App < all[j].Name+"\x00"+all[j].App })
	return all, nil
}
