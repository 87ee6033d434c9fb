package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strings"
)

// Ref is a ref and the object that it names.
type Ref struct{ Name, SHA string } // Name is full: refs/shopfleet/holds/swicked

type wireRef struct {
	Ref    string `json:"ref"`
	Object struct {
		SHA string `json:"sha"`
	} `json:"object"`
}

// refPath is a full ref's name, or the beginning of one, as it is in an address: without refs/.
func refPath(name string) string {
	parts := strings.Split(strings.TrimPrefix(name, "refs/"), "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

func checkRef(name string) error {
	if !strings.HasPrefix(name, "refs/") || !validRef(name) {
		return fmt.Errorf("%w: %q is not the full name of a ref", ErrArgument, clean(name))
	}
	return nil
}

func checkSHA(sha string) error {
	if !shaRule.MatchString(sha) || strings.Trim(sha, "0") == "" {
		return fmt.Errorf("%w: %q is not an object's full id", ErrArgument, clean(sha))
	}
	return nil
}

// Refs lists the refs that begin with a prefix such as refs/shopfleet/holds/, sorted by name. One request. Whoever may write
// contents may make a ref: its name is other people's text.
func (c *Client) Refs(ctx context.Context, prefix string) ([]Ref, error) {
	if err := checkRef(strings.TrimSuffix(prefix, "/")); err != nil {
		return nil, &Error{Method: http.MethodGet, Path: c.repoPath("/git/matching-refs"), Err: err}
	}
	var all []Ref
	seen := map[string]bool{}
	cl := call{method: http.MethodGet, path: c.repoPath("/git/matching-refs/%s", refPath(prefix))}
	var list []wireRef
	resp, err := c.request(ctx, cl, nil, nil, &list)
	if err != nil {
		return nil, missing(err, "the repository %s/%s", c.Owner, c.Repo)
	}
	if resp.NextPage != 0 { // GitHub's description of it has no pages
		return nil, &Error{Method: cl.method, Path: cl.path, Err: ErrPaging}
	}
	for _, w := range list {
		if !strings.HasPrefix(w.Ref, prefix) || !shaRule.MatchString(w.Object.SHA) {
			return nil, &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: it holds another ref than was asked for, or one without an object", ErrMalformed)}
		}
		if !seen[w.Ref] {
			seen[w.Ref] = true
			all = append(all, Ref{w.Ref, w.Object.SHA})
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, nil
}

// refNow is what a ref names; "" when it is not there.
func (c *Client) refNow(ctx context.Context, name string) (sha string, err error) {
	cl := call{method: http.MethodGet, path: c.repoPath("/git/ref/%s", refPath(name))}
	var w wireRef
	_, err = c.request(ctx, cl, nil, nil, &w)
	var absent *NotFoundError
	switch {
	case errors.As(err, &absent):
		return "", nil
	case err != nil:
		return "", err
	case w.Ref != name || !shaRule.MatchString(w.Object.SHA):
		return "", &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: it is about another ref, or names no object", ErrMalformed)}
	}
	return w.Object.SHA, nil
}

type wireCommit struct {
	SHA     string `json:"sha"`
	Message string `json:"message"`
	Tree    struct {
		SHA string `json:"sha"`
	} `json:"tree"`
}

func (c *Client) commit(ctx context.Context, sha string) (wireCommit, error) {
	cl := call{method: http.MethodGet, path: c.repoPath("/git/commits/%s", sha)}
	if err := checkSHA(sha); err != nil {
		return wireCommit{}, &Error{Method: cl.method, Path: c.repoPath("/git/commits"), Err: err}
	}
	var w wireCommit
	if _, err := c.request(ctx, cl, nil, nil, &w); err != nil {
		return wireCommit{}, missing(err, "the commit %s", sha)
	}
	if w.SHA != sha || !shaRule.MatchString(w.Tree.SHA) {
		return wireCommit{}, &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: it is about another commit, or has no tree", ErrMalformed)}
	}
	return w, nil
}

// CommitMessage reads a commit's message by its full id; it is other people's text. One request; a *NotFoundError when there
// is no such commit, as when the id is that of a tag or a file.
func (c *Client) CommitMessage(ctx context.Context, sha string) (string, error) {
	w, err := c.commit(ctx, sha)
	return w.Message, err
}

// NewNote makes a commit without a parent whose message is text and whose tree is that of the commit like. It is on no branch
// until CreateRef names it. Two requests; one whose answer is lost is sent again, and what the first made is then nobody's.
func (c *Client) NewNote(ctx context.Context, like, text string) (sha string, err error) {
	cl := call{method: http.MethodPost, path: c.repoPath("/git/commits"), repeat: true}
	text = c.hidden(validText(text))
	if strings.TrimSpace(text) == "" {
		return "", &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: the note is empty", ErrArgument)}
	}
	w, err := c.commit(ctx, like)
	if err != nil {
		return "", err
	}
	in := struct {
		Message string   `json:"message"`
		Tree    string   `json:"tree"`
		Parents []string `json:"parents"`
	}{text, w.Tree.SHA, []string{}}
	var made wireCommit
	if _, err := c.request(ctx, cl, nil, in, &made); err != nil {
		return "", missing(err, "the repository %s/%s", c.Owner, c.Repo)
	}
	if !shaRule.MatchString(made.SHA) || made.Tree.SHA != w.Tree.SHA {
		return "", &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: the commit has no id, or another tree", ErrMalformed)}
	}
	return made.SHA, nil
}

// CreateRef makes a ref that is not there yet; made is false when somebody else was first. One request, and one to look when
// its answer is lost: the ref is then ours if it names what we sent, which no two callers may send.
func (c *Client) CreateRef(ctx context.Context, ref Ref) (made bool, err error) {
	cl := call{method: http.MethodPost, path: c.repoPath("/git/refs")}
	if err = checkRef(ref.Name); err == nil {
		err = checkSHA(ref.SHA)
	}
	if err != nil {
		return false, &Error{Method: cl.method, Path: cl.path, Err: err}
	}
	c.once.Do(c.setUp)
	lost := false
	look := func() (bool, error) {
		lost = true
		now, err := c.refNow(ctx, ref.Name)
		made = now == ref.SHA
		return now != "", err
	}
	err = c.lookFirst(ctx, func() error {
		in := map[string]string{"ref": ref.Name, "sha": ref.SHA}
		_, err := c.request(ctx, cl, nil, in, nil)
		var e *Error
		if err == nil {
			made = true
		} else if errors.As(err, &e) && e.Status == http.StatusUnprocessableEntity && strings.Contains(strings.ToLower(e.Message), "already exists") {
			if !lost {
				return nil
			}
			// What was not to be seen a moment ago may be ours after all.
			if there, lookErr := look(); lookErr != nil || !there {
				e.Unclear = false
				return err
			}
			return nil
		}
		return err
	}, look)
	if err != nil {
		return false, missing(err, "the object %s", ref.SHA)
	}
	return made, nil
}

// SwapRef moves a ref from before to after if it still is at before; after "" removes it. swapped is false when it was not at
// before. By GraphQL's updateRefs, the only compare-and-swap that there is (wire.md §1.2): its errors say nothing, so that
// after one the ref is read again. One request, one more the first time, and after an error one to look; it is sent again
// while the ref is still at before. After an error of GitHub's own a ref that is gone counts as removed by somebody else, for
// that is what such an error says; after a lost answer, as removed by us.
func (c *Client) SwapRef(ctx context.Context, name, before, after string) (swapped bool, err error) {
	cl := call{method: http.MethodPost, path: "/graphql"}
	if err = checkRef(name); err == nil {
		err = checkSHA(before)
	}
	if err == nil && after != "" {
		err = checkSHA(after)
	}
	if err == nil && before == after {
		err = fmt.Errorf("%w: the ref would stay where it is", ErrArgument)
	}
	if err != nil {
		return false, &Error{Method: cl.method, Path: cl.path, Err: err}
	}
	id, err := c.nodeID(ctx)
	if err != nil {
		return false, err
	}
	update := map[string]any{"name": name, "beforeOid": before, "afterOid": orDefault(after, strings.Repeat("0", len(before))), "force": true}
	lost := false
	for n := 1; ; n++ {
		var answer graphAnswer[struct{}]
		err = c.graph(ctx, cl, `mutation($id: ID!, $updates: [RefUpdate!]!) { updateRefs(input: {repositoryId: $id, refUpdates: $updates}) { clientMutationId } }`,
			map[string]any{"id": id, "updates": []any{update}}, &answer)
		var e *Error
		if err == nil {
			return true, nil
		}
		if !errors.As(err, &e) || !e.Unclear && !e.said {
			return false, err // it was not sent, or refused before it was looked at
		}
		lost = lost || e.Unclear
		if e.Unclear && c.wire.sleep(ctx, backoff(n+1, c.wire.jitter())) != nil {
			return false, err
		}
		now, lookErr := c.refNow(ctx, name)
		switch {
		case lookErr != nil:
			e.Message = strings.TrimPrefix(e.Message+"; looking whether it happened failed too: "+lookErr.Error(), "; ")
			e.Unclear = true
			return false, err
		case now == after && (after != "" || lost):
			return true, nil
		case now != before:
			return false, nil
		}
		e.Unclear = false // it was looked for and did not happen
		if n == writeAttempts || e.said && e.Code != "" {
			return false, err
		}
		if e.said && c.wire.sleep(ctx, backoff(n, c.wire.jitter())) != nil {
			return false, err
		}
	}
}

// nodeID is GraphQL's name for the repository, which is asked for once.
func (c *Client) nodeID(ctx context.Context) (string, error) {
	c.loginLock.Lock()
	defer c.loginLock.Unlock()
	if c.node != "" {
		return c.node, nil
	}
	var answer graphAnswer[struct {
		Repository struct {
			ID string `json:"id"`
		} `json:"repository"`
	}]
	cl := call{method: http.MethodPost, path: "/graphql", repeat: true}
	err := c.graph(ctx, cl, `query($owner: String!, $name: String!) { repository(owner: $owner, name: $name) { id } }`, map[string]any{"owner": c.Owner, "name": c.Repo}, &answer)
	if err == nil && answer.Data.Repository.ID == "" {
		err = &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: it does not name the repository", ErrMalformed)}
	}
	if err != nil {
		return "", err
	}
	c.node = answer.Data.Repository.ID
	return c.node, nil
}

// graphAnswer is an answer of GraphQL, whose errors come with status 200.
type graphAnswer[T any] struct {
	Data   T `json:"data"`
	Errors []struct {
		Type    string `json:"type"` // NOT_FOUND, FORBIDDEN, RATE_LIMITED; often none
		Message string `json:"message"`
	} `json:"errors"`
}

func (a *graphAnswer[T]) problem() (kind, message string, any bool) {
	if len(a.Errors) == 0 {
		return "", "", false
	}
	return a.Errors[0].Type, a.Errors[0].Message, true
}

// graph asks GraphQL. An error that is part of the answer is an *Error with its type as Code.
func (c *Client) graph(ctx context.Context, cl call, query string, variables map[string]any, answer interface {
	problem() (kind, message string, any bool)
}) error {
	c.once.Do(c.setUp)
	if c.fault == nil && strings.HasSuffix(c.wire.base.Path, "/api/v3") {
		cl.path = "../graphql" // GitHub Enterprise Server: /api/v3 and /api/graphql
	}
	if _, err := c.request(ctx, cl, nil, map[string]any{"query": query, "variables": variables}, answer); err != nil {
		return err
	}
	kind, message, any := answer.problem()
	if !any {
		return nil
	}
	e := &Error{Method: cl.method, Path: "/graphql", Status: http.StatusOK, Code: cut(clean(kind), 100), Message: cut(clean(c.wire.redact(orDefault(message, "failed"))), maxMessage), said: true}
	switch {
	case strings.EqualFold(kind, "RATE_LIMITED"):
		e.limited, e.until = true, c.wire.now().Add(secondaryWait)
	case strings.EqualFold(kind, "NOT_FOUND"):
		return &NotFoundError{What: fmt.Sprintf("the repository %s/%s", c.Owner, c.Repo), Err: e}
	}
	return typed(e)
}
