package github

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	sdk "github.com/google/go-github/v62/github"
)

const maxTitle = 256 // characters of an issue's title

// PutIssue keeps one issue up to date: open with this title and body, or closed. Like PutComment's it is found by its body's
// first line, which is a hidden marker, and by being our own: anyone can write the marker. Without one it is made if open is
// true; the number is 0 when there is none and none was made. What is there already is not written again, and a closed issue
// that is to be closed is left as it is: what it said last is why it was open.
//
// One request to learn who we are where Login is not set, one for each hundred issues of ours down to the one, and one to
// write. When that one's answer is lost the issues are read again.
func (c *Client) PutIssue(ctx context.Context, marker, title, body string, open bool) (number int, err error) {
	listing := call{method: http.MethodGet, path: c.repoPath("/issues")}
	first, err := markerLine(marker)
	title = cutRunes(strings.TrimSpace(clean(c.hidden(validText(strings.ReplaceAll(title, "\n", " "))))), maxTitle)
	if err == nil && title == "" {
		err = fmt.Errorf("%w: the issue has no title", ErrArgument)
	}
	if err != nil {
		return 0, &Error{Method: listing.method, Path: listing.path, Err: err}
	}
	body = marked(first, c.hidden(validText(body)))

	there, err := c.ownIssue(ctx, listing, first)
	if err != nil {
		return 0, err
	}
	switch {
	case there == nil && !open:
		return 0, nil
	case there == nil:
		cl := call{method: http.MethodPost, path: listing.path}
		err = c.lookFirst(ctx, func() error {
			return c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
				made, _, err := api.Issues.Create(ctx, c.Owner, c.Repo, &sdk.IssueRequest{Title: &title, Body: &body})
				if err == nil && made.GetNumber() == 0 {
					err = fmt.Errorf("the issue has no number")
				}
				there = made
				return err
			})
		}, func() (bool, error) {
			there, err = c.ownIssue(ctx, listing, first)
			return there != nil, err
		})
		if err != nil {
			return 0, missing(err, "the repository, or its issues,")
		}
		return there.GetNumber(), nil
	}
	isOpen := there.GetState() != "closed"
	if !open && !isOpen || open == isOpen && there.GetTitle() == title && sameText(there.GetBody(), body) {
		return there.GetNumber(), nil
	}
	request := &sdk.IssueRequest{Title: &title, Body: &body}
	if open != isOpen {
		request.State, request.StateReason = sdk.String("open"), sdk.String("reopened")
		if !open {
			request.State, request.StateReason = sdk.String("closed"), sdk.String("completed")
		}
	}
	cl := call{method: http.MethodPatch, path: c.repoPath("/issues/%d", there.GetNumber()), repeat: true}
	err = c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
		_, _, err := api.Issues.Edit(ctx, c.Owner, c.Repo, there.GetNumber(), request)
		return err
	})
	return there.GetNumber(), missing(err, "issue %d", there.GetNumber())
}

// ownIssue is the newest issue of ours that begins with a line; nil when there is none. GitHub is asked for ours alone, and
// the answer is not believed.
func (c *Client) ownIssue(ctx context.Context, cl call, first string) (*sdk.Issue, error) {
	login, err := c.whoami(ctx)
	if err != nil {
		return nil, err
	}
	for page, pages := 1, 1; page != 0; pages++ {
		if pages > maxCommentPages {
			return nil, &Error{Method: cl.method, Path: cl.path, Err: ErrPaging}
		}
		var found []*sdk.Issue
		err := c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
			list, resp, err := api.Issues.ListByRepo(ctx, c.Owner, c.Repo, &sdk.IssueListByRepoOptions{
				State: "all", Creator: login, ListOptions: sdk.ListOptions{Page: page, PerPage: pageSize},
			})
			if err != nil {
				return err
			}
			found = list
			if resp.NextPage != 0 && resp.NextPage <= page {
				return ErrPaging
			}
			page = resp.NextPage
			return nil
		})
		if err != nil {
			return nil, missing(err, "the repository, or its issues,")
		}
		for _, one := range found {
			line, _, _ := strings.Cut(one.GetBody(), "\n")
			if strings.TrimRight(line, "\r") == first && one.GetNumber() != 0 && !one.IsPullRequest() && strings.EqualFold(one.GetUser().GetLogin(), login) {
				return one, nil
			}
		}
	}
	return nil, nil
}
