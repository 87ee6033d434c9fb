package github

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// errConflict is a replay that does not fit.
var errConflict = errors.New("merge conflict")

// mergePull is the merge button in its three forms, over real git (wire.md §1.3, §2b).
func mergePull(c *call) (answer, error) {
	var in struct {
		Title   *string `json:"commit_title"`
		Message *string `json:"commit_message"`
		SHA     *string `json:"sha"`
		Method  string  `json:"merge_method"`
	}
	i, err := c.findPull()
	if err != nil {
		return answer{}, err
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	p := i.pull
	unmergeable := refuse(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	switch {
	case in.Method != "" && in.Method != "merge" && in.Method != "squash" && in.Method != "rebase":
		return answer{}, refuse(http.StatusUnprocessableEntity, "Invalid request.\n\n%s is not a merge method.", in.Method)
	case i.state != "open":
		return answer{}, unmergeable
	case p.draft:
		return answer{}, refuse(http.StatusMethodNotAllowed, "Pull Request is still a draft")
	case in.SHA != nil && *in.SHA != p.headSHA:
		return answer{}, refuse(http.StatusConflict, "Head branch was modified. Review and try the merge again.")
	}
	base, there, err := c.repo.ref("refs/heads/" + p.base)
	if err != nil || !there {
		if err == nil {
			err = unmergeable
		}
		return answer{}, err
	}
	sha, err := c.mergeBy(i, base.sha, deflt(in.Method, "merge"), in.Title, in.Message)
	if errors.Is(err, errConflict) {
		return answer{}, unmergeable
	}
	if err != nil {
		return answer{}, err
	}
	u := refUpdate{base.name, base.sha, sha}
	if err := c.repo.mayBringWorkflows(c.cred, u.name, u.from, u.to); err != nil {
		return answer{}, inaccessible()
	}
	if err := c.repo.mayMove(c.cred, u, i); err != nil {
		return answer{}, ruled(err, http.StatusMethodNotAllowed)
	}
	if err := c.repo.writeRefs([]refUpdate{u}); err != nil {
		return answer{}, err
	}
	c.repo.pushed = c.w.clock()
	p.baseSHA = base.sha
	if err := c.repo.closePull(c.cred, i, &merged{sha: sha}); err != nil {
		return answer{}, err
	}
	if err := c.repo.moved(c.cred, u); err != nil {
		return answer{}, err
	}
	return ok(object{"sha": sha, "merged": true, "message": "Pull Request successfully merged"})
}

// mergeBy makes the commits of one merge method and returns the new tip of the base.
func (c *call) mergeBy(i *issue, base, method string, title, message *string) (string, error) {
	p, me := i.pull, c.w.signs(c.cred.user)
	if method == "rebase" {
		return c.replay(base, p.headSHA, me)
	}
	tree, clean, err := c.repo.mergeTree(base, p.headSHA)
	if err != nil {
		return "", err
	}
	if !clean {
		return "", errConflict
	}
	if method == "squash" {
		text := deref(title, fmt.Sprintf("%s (#%d)", i.title, i.number)) + "\n\n" + deref(message, i.body)
		return c.repo.commitTree(tree, strings.TrimRight(text, "\n")+"\n", c.w.signs(i.user), me, base)
	}
	text := deref(title, fmt.Sprintf("Merge pull request #%d from %s/%s", i.number, p.headRepo.Owner, p.head)) + "\n\n" + deref(message, i.title)
	return c.repo.commitTree(tree, strings.TrimRight(text, "\n")+"\n", me, me, base, p.headSHA)
}

// replay puts the commits of head that base lacks on top of base, each with a new committer: new objects always.
func (c *call) replay(base, head string, me signature) (string, error) {
	commits, err := c.repo.log("--reverse", "--topo-order", "--no-merges", head, "^"+base)
	if err != nil {
		return "", err
	}
	tip := base
	for _, k := range commits {
		if len(k.parents) != 1 {
			return "", errConflict
		}
		// A three-way merge whose base is the commit's parent: the tip is shown as a child of that parent.
		tipCommit, err := c.repo.commit(tip)
		if err != nil {
			return "", err
		}
		stand, err := c.repo.commitTree(tipCommit.tree, "tip", me, me, k.parents[0])
		if err != nil {
			return "", err
		}
		tree, clean, err := c.repo.mergeTree(stand, k.sha)
		if err != nil {
			return "", err
		}
		if !clean {
			return "", errConflict
		}
		if tip, err = c.repo.commitTree(tree, k.message+"\n", k.author, me, tip); err != nil {
			return "", err
		}
	}
	return tip, nil
}

// mergeBranches is POST merges: 201, 204 when there is nothing to do, 409 on a conflict (wire.md §1.2).
func mergeBranches(c *call) (answer, error) {
	var in struct {
		Base    *string `json:"base"`
		Head    *string `json:"head"`
		Message string  `json:"commit_message"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if in.Base == nil || in.Head == nil {
		return answer{}, missing("base", "head")
	}
	base, there, err := c.repo.ref("refs/heads/" + *in.Base)
	if err != nil {
		return answer{}, err
	}
	if !there {
		return answer{}, refuse(http.StatusNotFound, "Base does not exist")
	}
	head, _, err := c.repo.resolve(*in.Head)
	if err != nil {
		return answer{}, err
	}
	if head == "" {
		return answer{}, refuse(http.StatusNotFound, "Head does not exist")
	}
	has, err := c.repo.isAncestor(head, base.sha)
	if err != nil {
		return answer{}, err
	}
	if has {
		return noContent()
	}
	tree, clean, err := c.repo.mergeTree(base.sha, head)
	if err != nil {
		return answer{}, err
	}
	if !clean {
		return answer{}, refuse(http.StatusConflict, "Merge conflict")
	}
	me := c.w.signs(c.cred.user)
	sha, err := c.repo.commitTree(tree, deflt(in.Message, fmt.Sprintf("Merge %s into %s", *in.Head, *in.Base)), me, me, base.sha, head)
	if err != nil {
		return answer{}, err
	}
	if err := c.repo.mayBringWorkflows(c.cred, base.name, base.sha, sha); err != nil {
		return answer{}, inaccessible()
	}
	if err := c.mayMove(refUpdate{base.name, base.sha, sha}); err != nil {
		return answer{}, err
	}
	if err := c.repo.move(c.cred, []refUpdate{{base.name, base.sha, sha}}); err != nil {
		return answer{}, err
	}
	k, err := c.repo.commit(sha)
	if err != nil {
		return answer{}, err
	}
	return created(c.repo.commitObject(k))
}
