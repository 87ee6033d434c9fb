package github

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"

	sdk "github.com/google/go-github/v62/github"
)

// Self is the login under which the client's comments and reactions appear, as "shopfleet[bot]". One request, once, where
// Login is not set.
func (c *Client) Self(ctx context.Context) (login string, err error) { return c.whoami(ctx) }

// CommentsSince lists the comments on all issues and pull requests of the repository that were written or edited since a
// time, the oldest first. One request for each hundred.
func (c *Client) CommentsSince(ctx context.Context, since time.Time) ([]Comment, error) {
	// By when they were made: an edit while they are read moves none to another page.
	query := url.Values{"sort": {"created"}, "direction": {"asc"}}
	list, err := c.comments(ctx, c.repoPath("/issues/comments"), query, since)
	if err != nil {
		return nil, missing(err, "the repository, or its issues,")
	}
	return list, nil
}

// comments reads a list of comments that were written or edited since a time.
func (c *Client) comments(ctx context.Context, path string, query url.Values, since time.Time) ([]Comment, error) {
	if !since.IsZero() {
		query.Set("since", since.UTC().Format(time.RFC3339))
	}
	var all []Comment
	seen := map[int64]bool{}
	err := pages(ctx, c, path, query, maxCommentPages, func(page []wireComment) (bool, error) {
		for _, w := range page {
			k, err := w.comment()
			if err != nil {
				return false, fmt.Errorf("%w: %w", ErrMalformed, err)
			}
			if !seen[k.ID] && !k.Updated.Before(since.Truncate(time.Second)) {
				seen[k.ID] = true
				all = append(all, k)
			}
		}
		return true, nil
	})
	return all, err
}

// NewComment writes a comment and returns it. One request, and when its answer is lost, a look for the marker in the issue's
// comments of ours: marker is the body's first line, and nobody else's.
func (c *Client) NewComment(ctx context.Context, issue int, marker, body string) (Comment, error) {
	cl := call{method: http.MethodPost, path: c.repoPath("/issues/%d/comments", issue)}
	first, err := markerLine(marker)
	if err != nil {
		return Comment{}, &Error{Method: cl.method, Path: cl.path, Err: err}
	}
	body = marked(first, c.hidden(validText(body)))
	c.once.Do(c.setUp)
	var made Comment
	err = c.lookFirst(ctx, func() error {
		var w wireComment
		if _, err := c.request(ctx, cl, nil, map[string]string{"body": body}, &w); err != nil {
			return err
		}
		k, err := w.comment()
		if err != nil {
			return &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: %w", ErrMalformed, err), Unclear: true}
		}
		made = k
		return nil
	}, func() (bool, error) {
		there, err := c.ownComment(ctx, call{method: http.MethodGet, path: cl.path}, issue, first)
		if err != nil || there == nil {
			return false, err
		}
		made = Comment{
			ID: there.GetID(), Issue: issue, Body: there.GetBody(), Author: there.GetUser().GetLogin(), AuthorID: there.GetUser().GetID(), Bot: there.GetUser().GetType() != "User",
			Created: there.GetCreatedAt().Time, Updated: there.GetUpdatedAt().Time, HTMLURL: there.GetHTMLURL(),
		}
		return true, nil
	})
	if err != nil {
		return Comment{}, missing(err, "issue or pull request %d", issue)
	}
	made.Issue = issue
	return made, nil
}

// EditComment changes one of our comments; a body of ours keeps its marker as the first line. One request.
func (c *Client) EditComment(ctx context.Context, id int64, body string) error {
	cl := call{method: http.MethodPatch, path: c.repoPath("/issues/comments/%d", id), repeat: true}
	body = cutLines(c.hidden(validText(body)), maxComment, "; the rest is in the run's summary")
	if id <= 0 || strings.TrimSpace(body) == "" {
		return &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: no comment is named, or it has no text", ErrArgument)}
	}
	_, err := c.request(ctx, cl, nil, map[string]string{"body": body}, nil)
	return missing(err, "the comment %d", id)
}

// Comment reads one. One request.
func (c *Client) Comment(ctx context.Context, id int64) (Comment, error) {
	cl := call{method: http.MethodGet, path: c.repoPath("/issues/comments/%d", id)}
	var w wireComment
	if _, err := c.request(ctx, cl, nil, nil, &w); err != nil {
		return Comment{}, missing(err, "the comment %d", id)
	}
	k, err := w.comment()
	if err == nil && k.ID != id {
		err = errors.New("it is another comment")
	}
	if err != nil {
		return Comment{}, &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: %w", ErrMalformed, err)}
	}
	return k, nil
}

// Reaction is somebody's reaction to a comment.
type Reaction struct {
	ID      int64
	Content string // +1, -1, laugh, confused, heart, hooray, rocket, eyes
	Author  string // "" when the account is gone
	UserID  int64
	Created time.Time
}

// Reactions lists those to a comment, the oldest first. One request for each hundred.
func (c *Client) Reactions(ctx context.Context, comment int64) ([]Reaction, error) {
	type wireReaction struct {
		ID      int64      `json:"id"`
		Content string     `json:"content"`
		User    *wireUser  `json:"user"`
		Created *time.Time `json:"created_at"`
	}
	var all []Reaction
	seen := map[int64]bool{}
	err := pages(ctx, c, c.repoPath("/issues/comments/%d/reactions", comment), nil, maxCommentPages, func(page []wireReaction) (bool, error) {
		for _, w := range page {
			if w.ID <= 0 || !slices.Contains(reactions, w.Content) {
				return false, fmt.Errorf("%w: a reaction has no id, or is none", ErrMalformed)
			}
			if !seen[w.ID] {
				seen[w.ID] = true
				all = append(all, Reaction{ID: w.ID, Content: w.Content, Author: w.User.login(), UserID: w.User.id(), Created: timeOf(w.Created)})
			}
		}
		return true, nil
	})
	if err != nil {
		return nil, missing(err, "the comment %d", comment)
	}
	sort.SliceStable(all, func(i, j int) bool {
		a, b := all[i], all[j]
		if d := a.Created.Compare(b.Created); d != 0 {
			return d < 0
		}
		return int(min(max(a.ID-b.ID, -1), 1)) < 0
	})
	return all, nil
}

var teamRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)

// InTeam says whether an account is an active member of a team of the repository's owner. It needs members: read of the
// organisation; GitHub answers the same about a team that the token may not see as about one that the account is not in, and
// so does this. One request.
func (c *Client) InTeam(ctx context.Context, team, login string) (bool, error) {
	if !teamRule.MatchString(team) {
		return false, &Error{Method: http.MethodGet, Path: "/orgs/" + c.Owner + "/teams", Err: fmt.Errorf("%w: %q is not a team's name in an address", ErrArgument, clean(team))}
	}
	if !loginRule.MatchString(login) {
		return false, nil
	}
	cl := call{method: http.MethodGet, path: fmt.Sprintf("/orgs/%s/teams/%s/memberships/%s", c.Owner, team, url.PathEscape(login))}
	var w struct {
		State string `json:"state"` // active, or pending until an invitation is accepted
	}
	_, err := c.request(ctx, cl, nil, nil, &w)
	var absent *NotFoundError
	if errors.As(err, &absent) {
		return false, nil
	}
	return err == nil && w.State == "active", err
}

const maxInputs = 25 // of a dispatch, wire.md §1.7

var workflowRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.ya?ml$`)

// Dispatch starts a workflow by its file's name at a branch, and returns the address of the run ("" where GitHub does not
// tell). One request; it is never sent twice: when its answer is lost, the error has Unclear set.
func (c *Client) Dispatch(ctx context.Context, file, branch string, inputs map[string]string) (runURL string, err error) {
	cl := call{method: http.MethodPost, path: c.repoPath("/actions/workflows/%s/dispatches", file)}
	switch {
	case !workflowRule.MatchString(file):
		err = fmt.Errorf("%w: %q is not the name of a workflow's file", ErrArgument, clean(file))
		cl.path = c.repoPath("/actions/workflows")
	case !validRef(branch):
		err = fmt.Errorf("%w: %q is not the name of a branch", ErrArgument, clean(branch))
	case len(inputs) > maxInputs:
		err = fmt.Errorf("%w: %d inputs are more than the %d that GitHub takes", ErrArgument, len(inputs), maxInputs)
	}
	if err != nil {
		return "", &Error{Method: cl.method, Path: cl.path, Err: err}
	}
	in := struct {
		Ref    string            `json:"ref"`
		Inputs map[string]string `json:"inputs,omitempty"`
		Tell   bool              `json:"return_run_details"`
	}{branch, inputs, true}
	// Whatever a 2xx holds, the run is on its way: what cannot be read of it is not an error.
	var said bytes.Buffer
	if _, err := c.request(ctx, cl, nil, in, &said); err != nil {
		return "", missing(err, "the workflow %s, or the branch %s,", file, branch)
	}
	var w struct {
		HTML string `json:"html_url"`
	}
	if json.Unmarshal(said.Bytes(), &w) != nil {
		return "", nil
	}
	if u, err := url.Parse(w.HTML); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.ContainsFunc(w.HTML, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("<>()\"`", r) }) {
		return "", nil
	}
	return w.HTML, nil
}

// isAccepted says that an error is go-github's word for a 202 (wire.md §5).
func isAccepted(err error) bool {
	var accepted *sdk.AcceptedError
	return errors.As(err, &accepted)
}
