package github

import (
	"context"
	"net/http"
)

// OwnComment reads the comment that PutComment keeps on an issue or pull request; "" when there is none. One request for
// each hundred comments, and one more to learn who we are when a comment bears the marker and Login is not set.
func (c *Client) OwnComment(ctx context.Context, issue int, marker string) (body string, err error) {
	cl := call{method: http.MethodGet, path: c.repoPath("/issues/%d/comments", issue)}
	first, err := markerLine(marker)
	if err != nil {
		return "", &Error{Method: cl.method, Path: cl.path, Err: err}
	}
	there, err := c.ownComment(ctx, cl, issue, first)
	if err != nil || there == nil {
		return "", err
	}
	return there.GetBody(), nil
}

// Review is somebody's word on a pull request, about the commit that its head was then. Who says it may not be allowed to
// push: see Permission.
type Review struct {
	Author string
	State  string // APPROVED, CHANGES_REQUESTED, COMMENTED, DISMISSED or PENDING
	Commit string
}

// Reviews lists those of a pull request, the oldest first. One request for each hundred.
func (c *Client) Reviews(ctx context.Context, pull int) ([]Review, error) {
	type wireReview struct {
		State  string    `json:"state"`
		Commit string    `json:"commit_id"`
		User   *wireUser `json:"user"`
	}
	var all []Review
	err := pages(ctx, c, c.repoPath("/pulls/%d/reviews", pull), nil, maxCommentPages, func(page []wireReview) (bool, error) {
		for _, w := range page {
			all = append(all, Review{w.User.login(), w.State, w.Commit})
		}
		return true, nil
	})
	if err != nil {
		return nil, missing(err, "pull request %d", pull)
	}
	return all, nil
}
