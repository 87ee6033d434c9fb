package github

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	sdk "github.com/google/go-github/v62/github"
)

const (
	maxComment      = 65536 // wire.md §1.4; an issue's body has the same
	maxCommentPages = 50
)

var markerRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._:/=-]{0,199}$`)

// PutComment keeps one comment on an issue or pull request up to date. It is found by its first line, which is a hidden
// marker, and by being our own: anyone can write the marker. Without one it is made if create is true; the url is "" when
// there is none and none was made. A body that is there already is not written again.
//
// One request for each hundred comments, one more to learn who we are when a comment bears the marker and Login is not
// set, and one to write. When that one's answer is lost the comments are read again.
func (c *Client) PutComment(ctx context.Context, issue int, marker, body string, create bool) (url string, err error) {
	listing := call{method: http.MethodGet, path: c.repoPath("/issues/%d/comments", issue)}
	first, err := markerLine(marker)
	if err != nil {
		return "", &Error{Method: listing.method, Path: listing.path, Err: err}
	}
	body = marked(first, c.hidden(validText(body)))

	there, err := c.ownComment(ctx, listing, issue, first)
	if err != nil {
		return "", err
	}
	if there == nil && !create {
		return "", nil
	}
	if there == nil {
		cl := call{method: http.MethodPost, path: listing.path}
		err = c.lookFirst(ctx, func() error {
			return c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
				made, _, err := api.Issues.CreateComment(ctx, c.Owner, c.Repo, issue, &sdk.IssueComment{Body: &body})
				if err == nil && made.GetID() == 0 {
					err = fmt.Errorf("the comment has no id")
				}
				there = made
				return err
			})
		}, func() (bool, error) {
			there, err = c.ownComment(ctx, listing, issue, first)
			return there != nil, err
		})
		if err != nil {
			return "", missing(err, "issue or pull request %d", issue)
		}
		return there.GetHTMLURL(), nil
	}
	if sameText(there.GetBody(), body) {
		return there.GetHTMLURL(), nil
	}
	cl := call{method: http.MethodPatch, path: c.repoPath("/issues/comments/%d", there.GetID()), repeat: true}
	err = c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
		_, _, err := api.Issues.EditComment(ctx, c.Owner, c.Repo, there.GetID(), &sdk.IssueComment{Body: &body})
		return err
	})
	return there.GetHTMLURL(), err
}

// markerLine is the line that a text of ours is found by.
func markerLine(marker string) (string, error) {
	marker = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(marker), "<!--"), "-->"))
	if !markerRule.MatchString(marker) || strings.Contains(marker, "--") {
		return "", fmt.Errorf("%w: the marker is not one word of letters, digits and signs", ErrArgument)
	}
	return "<!-- " + marker + " -->", nil
}

// marked is a text below its marker, as long as GitHub takes it.
func marked(first, body string) string {
	return first + "\n" + cutLines(strings.TrimPrefix(body, first+"\n"), maxComment-len(first)-1, "; the rest is in the run's summary")
}

// ownComment is the oldest comment of ours that begins with a line; nil when there is none.
func (c *Client) ownComment(ctx context.Context, cl call, issue int, first string) (*sdk.IssueComment, error) {
	for page := 1; page != 0; {
		if page > maxCommentPages {
			return nil, &Error{Method: cl.method, Path: cl.path, Err: ErrPaging}
		}
		var found []*sdk.IssueComment
		err := c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
			list, resp, err := api.Issues.ListComments(ctx, c.Owner, c.Repo, issue, &sdk.IssueListCommentsOptions{
				ListOptions: sdk.ListOptions{Page: page, PerPage: pageSize},
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
			return nil, missing(err, "issue or pull request %d", issue)
		}
		for _, one := range found {
			line, _, _ := strings.Cut(one.GetBody(), "\n")
			if strings.TrimRight(line, "\r") != first || one.GetID() == 0 {
				continue
			}
			login, err := c.whoami(ctx)
			if err != nil {
				return nil, err
			}
			if strings.EqualFold(one.GetUser().GetLogin(), login) {
				return one, nil
			}
		}
	}
	return nil, nil
}

// sameText ignores what GitHub may change about a text: line endings and white space at its end.
func sameText(a, b string) bool {
	plain := func(s string) string { return strings.TrimRight(strings.ReplaceAll(s, "\r\n", "\n"), " \t\n") }
	return plain(a) == plain(b)
}
