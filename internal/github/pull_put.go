package github

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// NewPull is a pull request as PutPull leaves it.
type NewPull struct {
	Head, Base string   // branches of the repository, without refs/heads/
	Marker     string   // names what it is about; see PutIssue
	Title      string   // ours; a title that people gave it is left
	Body       string   // Markdown, below the marker
	Labels     []string // that it has in any case; others stay
	// Open are the open pull requests as Pulls listed them a moment ago, which saves a request for each of many; nil means
	// that they are asked for.
	Open []PullRequest
}

// TakenError says that a pull request of the same branches is open that is not ours to write.
type TakenError struct {
	Number       int
	Author       string
	Head, Base   string
	WithoutMark  bool // it is by us, but the line that we find it by is gone
	existsUnseen bool // GitHub says so and does not list it
}

func (e *TakenError) Error() string {
	switch {
	case e.existsUnseen:
		return fmt.Sprintf("GitHub says that there is a pull request of %s into %s, and does not list it", e.Head, e.Base)
	case e.WithoutMark:
		return fmt.Sprintf("pull request %d of %s into %s has lost the first line of its text, which it is found by", e.Number, e.Head, e.Base)
	}
	return fmt.Sprintf("pull request %d of %s into %s is by %s", e.Number, e.Head, e.Base, clean(e.Author))
}

// Hint says what to do next, in one line.
func (e *TakenError) Hint() string {
	if e.existsUnseen {
		return "run it again"
	}
	return fmt.Sprintf("close pull request %d, and run it again", e.Number)
}

// ErrNoCommits says that there is nothing to make a pull request of: the base has all commits of the head.
var ErrNoCommits = errors.New("the base has all commits of the head")

// PutPull keeps one pull request up to date: the open one of Head into Base, both in this repository, that is by us and
// has the marker in its first line. Without one it is made. That line also says which title was ours last, so that one
// which people gave it stays. What is there already is not written again. The error is a *TakenError when an open pull
// request of the same branches is not ours.
//
// One request to look unless Open is set, one more to learn who we are where Login is not set and there is one, and one to write; and one
// for labels that it lacks. When the answer to the making is lost, or is that there is one, it is looked for again.
func (c *Client) PutPull(ctx context.Context, n NewPull) (PullRequest, error) {
	listing := call{method: http.MethodGet, path: c.repoPath("/pulls")}
	first, err := markerLine(n.Marker)
	title := titleOf(c.hidden(n.Title))
	switch {
	case err != nil:
	case title == "":
		err = fmt.Errorf("%w: the pull request has no title", ErrArgument)
	case !validRef(n.Head) || !validRef(n.Base):
		err = fmt.Errorf("%w: %q or %q is not the name of a branch", ErrArgument, clean(n.Head), clean(n.Base))
	default:
		err = checkLabels(n.Labels)
	}
	if err != nil {
		return PullRequest{}, &Error{Method: listing.method, Path: listing.path, Err: err}
	}
	mark := strings.TrimSuffix(strings.TrimPrefix(first, "<!-- "), " -->")
	body := c.hidden(validText(n.Body))

	var there *PullRequest
	if n.Open != nil {
		there, err = c.ours(ctx, n, mark, n.Open)
	} else {
		there, err = c.ownPull(ctx, n, mark)
	}
	if err != nil {
		return PullRequest{}, err
	}
	if there == nil {
		if there, err = c.makePull(ctx, n, mark, title, marked(titled(mark, title), body)); err != nil {
			return PullRequest{}, err
		}
	}
	p := *there
	// A title that is not the one we wrote last is a person's, and so stays every later time.
	last := titleMark(p.Body, mark)
	keep := last != "" && last != hashOf(p.Title)
	if keep {
		title = p.Title
	} else {
		last = hashOf(title)
	}
	body = marked("<!-- "+mark+" title="+last+" -->", body)
	if p.Title != title || !sameText(p.Body, body) {
		cl := call{method: http.MethodPatch, path: c.repoPath("/pulls/%d", p.Number), repeat: true}
		change := map[string]string{"body": body}
		if p.Title != title {
			change["title"] = title
		}
		if _, err := c.request(ctx, cl, nil, change, nil); err != nil {
			return PullRequest{}, missing(err, "pull request %d", p.Number)
		}
		p.Title, p.Body = title, body
	}
	var lacking []string
	for _, l := range n.Labels {
		if !p.Has(l) {
			lacking = append(lacking, l)
		}
	}
	if len(lacking) > 0 {
		if err := c.AddLabels(ctx, p.Number, lacking...); err != nil {
			return PullRequest{}, err
		}
		p.Labels = append(p.Labels, lacking...)
	}
	return p, nil
}

// titleOf is a title as GitHub takes it.
func titleOf(s string) string {
	return cutRunes(strings.TrimSpace(clean(validText(strings.ReplaceAll(s, "\n", " ")))), maxTitle)
}

// hashOf is what a title is recognised by.
func hashOf(title string) string {
	sum := sha256.Sum256([]byte(strings.TrimSpace(title)))
	return hex.EncodeToString(sum[:6])
}

func titled(mark, title string) string { return "<!-- " + mark + " title=" + hashOf(title) + " -->" }

// isMarked says whether a text's first line is our marker, with or without a title's hash.
func isMarked(text, mark string) bool {
	line, _, _ := strings.Cut(text, "\n")
	line = strings.TrimRight(line, "\r ")
	return line == "<!-- "+mark+" -->" || titleMark(text, mark) != ""
}

// titleMark is the hash in a text's first line; "" when there is none.
func titleMark(text, mark string) string {
	line, _, _ := strings.Cut(text, "\n")
	hash, begins := strings.CutPrefix(strings.TrimRight(line, "\r "), "<!-- "+mark+" title=")
	hash, ends := strings.CutSuffix(hash, " -->")
	if !begins || !ends || len(hash) != 12 || strings.Trim(hash, "0123456789abcdef") != "" {
		return ""
	}
	return hash
}

// makePull opens a pull request. It may turn out to be there already.
func (c *Client) makePull(ctx context.Context, n NewPull, mark, title, body string) (*PullRequest, error) {
	cl := call{method: http.MethodPost, path: c.repoPath("/pulls")}
	var made *PullRequest
	err := c.lookFirst(ctx, func() error {
		var w wirePull
		_, err := c.request(ctx, cl, nil, map[string]any{"title": title, "head": n.Head, "base": n.Base, "body": body}, &w)
		if err != nil {
			return err
		}
		p, err := w.pull()
		if err != nil {
			return typed(&Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: %w", ErrMalformed, err), Unclear: true})
		}
		made = &p
		return nil
	}, func() (bool, error) {
		p, err := c.ownPull(ctx, n, mark)
		made = p
		return p != nil, err
	})
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusUnprocessableEntity {
		switch {
		case strings.Contains(e.Message, "already exists"):
			p, lookErr := c.ownPull(ctx, n, mark)
			if p != nil || lookErr != nil {
				return p, lookErr
			}
			e.Err = &TakenError{Head: n.Head, Base: n.Base, existsUnseen: true}
		case strings.Contains(e.Message, "No commits between"):
			e.Err = ErrNoCommits
		}
	}
	if err != nil {
		return nil, missing(err, "the repository %s/%s", c.Owner, c.Repo)
	}
	return made, nil
}

// ownPull is the open pull request of ours of two branches; nil when none is open. GitHub is asked for these branches
// alone, and the answer is not believed.
func (c *Client) ownPull(ctx context.Context, n NewPull, mark string) (*PullRequest, error) {
	query := url.Values{"state": {"open"}, "head": {c.Owner + ":" + n.Head}, "base": {n.Base}}
	var open []PullRequest
	err := pages(ctx, c, c.repoPath("/pulls"), query, maxPullPages, func(page []wirePull) (bool, error) {
		for _, w := range page {
			if p, err := w.pull(); err == nil {
				open = append(open, p)
			}
		}
		return true, nil
	})
	if err != nil {
		return nil, missing(err, "the repository %s/%s", c.Owner, c.Repo)
	}
	return c.ours(ctx, n, mark, open)
}

// ours is the one of a list that ownPull is about.
func (c *Client) ours(ctx context.Context, n NewPull, mark string, list []PullRequest) (*PullRequest, error) {
	i := slices.IndexFunc(list, func(p PullRequest) bool {
		return p.State == "open" && !p.Fork && p.Head.Ref == n.Head && p.Base.Ref == n.Base // GitHub allows one
	})
	if i < 0 {
		return nil, nil
	}
	found := list[i]
	login, err := c.whoami(ctx)
	if err != nil {
		return nil, err
	}
	ours := strings.EqualFold(found.Author, login)
	if !ours || !isMarked(found.Body, mark) {
		return nil, &TakenError{Number: found.Number, Author: found.Author, Head: n.Head, Base: n.Base, WithoutMark: ours}
	}
	return &found, nil
}

// closingMarker is in the comment that ClosePull leaves.
const closingMarker = "shopfleet closed"

// ClosePull closes a pull request with a comment that says why; "" is none. One that is closed or merged is left alone.
// One request to look, those of PutComment, and one to close.
func (c *Client) ClosePull(ctx context.Context, number int, comment string) error {
	p, err := c.PullRequest(ctx, number)
	if err != nil || p.State != "open" {
		return err
	}
	if comment != "" {
		if _, err := c.PutComment(ctx, number, closingMarker, comment, true); err != nil {
			return err
		}
	}
	cl := call{method: http.MethodPatch, path: c.repoPath("/pulls/%d", number), repeat: true}
	_, err = c.request(ctx, cl, nil, map[string]string{"state": "closed"}, nil)
	return missing(err, "pull request %d", number)
}

const maxLabel = 50 // characters of a label's name

func checkLabels(labels []string) error {
	for _, l := range labels {
		if strings.TrimSpace(l) != l || l == "" || clean(l) != l || cutRunes(l, maxLabel) != l {
			return fmt.Errorf("%w: %q is not the name of a label", ErrArgument, clean(l))
		}
	}
	return nil
}

// AddLabels puts labels on an issue or pull request; those that it has stay, and one that the repository does not know
// yet is made. One request; none when there are no labels.
func (c *Client) AddLabels(ctx context.Context, issue int, labels ...string) error {
	cl := call{method: http.MethodPost, path: c.repoPath("/issues/%d/labels", issue), repeat: true}
	if err := checkLabels(labels); err != nil {
		return &Error{Method: cl.method, Path: cl.path, Err: err}
	}
	if len(labels) == 0 {
		return nil
	}
	_, err := c.request(ctx, cl, nil, map[string][]string{"labels": labels}, nil)
	return missing(err, "issue or pull request %d", issue)
}

// RemoveLabel takes a label off an issue or pull request, if it is on it. One request.
func (c *Client) RemoveLabel(ctx context.Context, issue int, label string) error {
	cl := call{method: http.MethodDelete, path: c.repoPath("/issues/%d/labels/%s", issue, url.PathEscape(label)), repeat: true}
	if err := checkLabels([]string{label}); err != nil {
		return &Error{Method: cl.method, Path: c.repoPath("/issues/%d/labels", issue), Err: err}
	}
	_, err := c.request(ctx, cl, nil, nil, nil)
	var absent *NotFoundError
	if errors.As(err, &absent) && strings.Contains(absent.Err.Message, "Label does not exist") {
		return nil
	}
	return missing(err, "issue or pull request %d", issue)
}
