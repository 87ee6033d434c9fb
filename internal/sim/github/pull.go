package github

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pull is the part of an issue that makes it a pull request.
type pull struct {
	head     string // branch of headRepo
	headRepo *Repository
	headSHA  string
	base     string
	baseSHA  string // tip of the base when last looked at
	draft    bool
	maintain bool

	reviews []*review

	mergeable   *bool // nil: the test merge has not been asked for since the last change
	asked       bool  // somebody asked; the next look has the answer
	testMerge   string
	merged      time.Time
	mergedBy    *User
	mergeCommit string
}

// refName is the ref under which the base repository keeps the head, of forks too.
func (i *issue) refName(what string) string { return fmt.Sprintf("refs/pull/%d/%s", i.number, what) }

// fetchHead makes a head known in the base repository, as refs/pull/N/head.
func (r *Repository) fetchHead(i *issue, sha string) error {
	p := i.pull
	if p.headRepo != r {
		if _, err := r.w.run(r.Dir, nil, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", p.headRepo.Dir, sha); err != nil {
			return err
		}
	}
	old, _, err := r.ref(i.refName("head"))
	if err != nil {
		return err
	}
	p.headSHA, p.mergeable, p.asked, p.testMerge = sha, nil, false, ""
	return r.writeRefs([]refUpdate{{i.refName("head"), deflt(old.sha, zeros), sha}})
}

// test makes the test merge, refs/pull/N/merge.
func (r *Repository) test(i *issue) error {
	p := i.pull
	base, there, err := r.ref("refs/heads/" + p.base)
	if err != nil || !there {
		return err
	}
	tree, clean, err := r.mergeTree(base.sha, p.headSHA)
	if err != nil {
		return err
	}
	p.mergeable, p.testMerge = &clean, ""
	old, _, err := r.ref(i.refName("merge"))
	if err != nil || !clean {
		return err
	}
	who := r.w.signs(i.user)
	who.date = r.w.clock()
	if p.testMerge, err = r.commitTree(tree, fmt.Sprintf("Merge %s into %s", p.headSHA, base.sha), who, who, base.sha, p.headSHA); err != nil {
		return err
	}
	return r.writeRefs([]refUpdate{{i.refName("merge"), deflt(old.sha, zeros), p.testMerge}})
}

// signs is how an account appears in commits.
func (w *World) signs(u *User) signature {
	return signature{u.Login, fmt.Sprintf("%d+%s@users.noreply.github.com", u.ID, u.Login), w.clock()}
}

func (r *Repository) pullURL(i *issue) string { return fmt.Sprintf("%s/pulls/%d", r.api(), i.number) }

func (r *Repository) side(owner *User, repo *Repository, branch, sha string) object {
	return object{"label": owner.Login + ":" + branch, "ref": branch, "sha": sha, "user": r.w.user(owner), "repo": r.w.repository(repo)}
}

func (r *Repository) pullMinimal(i *issue) object {
	side := func(repo *Repository, branch, sha string) object {
		return object{"ref": branch, "sha": sha, "repo": object{"id": repo.ID, "url": repo.api(), "name": repo.Name}}
	}
	p := i.pull
	return object{"id": i.id, "number": i.number, "url": r.pullURL(i), "head": side(p.headRepo, p.head, p.headSHA), "base": side(r, p.base, p.baseSHA)}
}

// pullSimple is a pull request as lists show it.
func (r *Repository) pullSimple(i *issue) object {
	p, url, html := i.pull, r.pullURL(i), r.issueHTML(i)
	issueURL := fmt.Sprintf("%s/issues/%d", r.api(), i.number)
	assignees := r.userObjects(i.assignees)
	var assignee any
	if len(assignees) > 0 {
		assignee = assignees[0]
	}
	mergeCommit := maybe(deflt(p.mergeCommit, p.testMerge))
	link := func(u string) object { return object{"href": u} }
	return object{
		"url": url, "id": i.id, "node_id": node("PR", i.id), "html_url": html, "diff_url": html + ".diff", "patch_url": html + ".patch", "issue_url": issueURL,
		"commits_url": url + "/commits", "review_comments_url": url + "/comments", "review_comment_url": r.api() + "/pulls/comments{/number}",
		"comments_url": issueURL + "/comments", "statuses_url": r.api() + "/statuses/" + p.headSHA, "number": i.number, "state": i.state, "locked": false,
		"title": i.title, "user": r.w.user(i.user), "body": maybe(i.body), "labels": r.labelObjects(i.labels), "milestone": nil, "active_lock_reason": nil,
		"created_at": stamp(i.created), "updated_at": stamp(i.updated), "closed_at": maybeStamp(i.closed), "merged_at": maybeStamp(p.merged),
		"merge_commit_sha": mergeCommit, "assignee": assignee, "assignees": assignees, "requested_reviewers": []any{}, "requested_teams": []any{},
		"head": r.side(p.headRepo.owner, p.headRepo, p.head, p.headSHA), "base": r.side(r.owner, r, p.base, p.baseSHA),
		"_links": object{
			"comments": link(issueURL + "/comments"), "commits": link(url + "/commits"), "statuses": link(r.api() + "/statuses/" + p.headSHA), "html": link(html),
			"issue": link(issueURL), "review_comments": link(url + "/comments"), "review_comment": link(r.api() + "/pulls/comments{/number}"), "self": link(url),
		},
		"author_association": r.association(i.user), "auto_merge": nil, "draft": p.draft,
	}
}

// pullObject is a pull request as it is shown alone.
func (r *Repository) pullObject(i *issue) (object, error) {
	p, o := i.pull, r.pullSimple(i)
	state := "unknown"
	switch {
	case i.state == "closed" || p.mergeable == nil:
	case p.draft:
		state = "draft"
	case *p.mergeable:
		state = "clean"
	default:
		state = "dirty"
	}
	changes, commits, err := r.pullChanges(i)
	if err != nil {
		return nil, err
	}
	added, deleted := 0, 0
	for _, ch := range changes {
		added, deleted = added+ch.added, deleted+ch.deleted
	}
	var mergeable any
	if p.mergeable != nil && i.state == "open" {
		mergeable = *p.mergeable
	}
	for key, value := range (object{
		"merged": !p.merged.IsZero(), "mergeable": mergeable, "rebaseable": mergeable, "mergeable_state": state, "merged_by": r.w.user(p.mergedBy),
		"comments": len(r.commentsOf(i)), "review_comments": 0, "maintainer_can_modify": p.maintain, "commits": len(commits), "additions": added,
		"deletions": deleted, "changed_files": len(changes),
	}) {
		o[key] = value
	}
	return o, nil
}

// pullChanges are the files and commits of a pull request, against the base it was last compared with.
func (r *Repository) pullChanges(i *issue) ([]change, []commit, error) {
	p := i.pull
	base := p.baseSHA
	if !p.merged.IsZero() { // the base has the head now: what it brought is what the base's older side lacks
		base = p.mergedFrom(r)
	}
	from, err := r.mergeBase(base, p.headSHA)
	if err != nil {
		return nil, nil, err
	}
	tree := from
	if tree == "" {
		tree = emptyTree
	}
	changes, err := r.diff(tree, p.headSHA)
	if err != nil {
		return nil, nil, err
	}
	commits, err := r.log("--reverse", "--topo-order", p.headSHA, "^"+base)
	return changes, commits, err
}

// mergedFrom is the base before the merge, as far as it can be told: the first parent of the merge commit.
func (p *pull) mergedFrom(r *Repository) string {
	if c, err := r.commit(p.mergeCommit); err == nil && len(c.parents) > 0 {
		return c.parents[0]
	}
	return p.baseSHA
}

// findPull is the pull request of the path.
func (c *call) findPull() (*issue, error) {
	n, _ := strconv.Atoi(c.vars["pull_number"])
	for _, i := range c.repo.issues {
		if i.number == n && i.pull != nil {
			return i, nil
		}
	}
	return nil, notFound()
}

// listPulls filters by head only in the form owner:branch (wire.md §1.3); anything else finds nothing by head, as GitHub
// then ignores the filter.
func listPulls(c *call) (answer, error) {
	state := deflt(c.query("state"), "open")
	if !slices.Contains([]string{"open", "closed", "all"}, state) {
		return answer{}, invalid("PullRequest", "state", "invalid", "")
	}
	owner, branch, byHead := strings.Cut(c.query("head"), ":")
	var list []*issue
	for _, i := range slices.Backward(c.repo.issues) {
		p := i.pull
		if p == nil || state != "all" && i.state != state || c.query("base") != "" && p.base != c.query("base") ||
			byHead && !(strings.EqualFold(p.headRepo.Owner, owner) && p.head == branch) {
			continue
		}
		list = append(list, i)
	}
	switch sort := deflt(c.query("sort"), "created"); sort {
	case "created":
	case "updated":
		slices.SortStableFunc(list, func(a, b *issue) int { return b.updated.Compare(a.updated) })
	default:
		return answer{}, refuse(http.StatusUnprocessableEntity, "sort %s is not played here", sort)
	}
	if c.query("direction") == "asc" {
		slices.Reverse(list)
	}
	return paged(c, list, func(i *issue) any { return c.repo.pullSimple(i) }, nil)
}

func createPull(c *call) (answer, error) {
	var in struct {
		Title    string  `json:"title"`
		Head     *string `json:"head"`
		HeadRepo *string `json:"head_repo"`
		Base     *string `json:"base"`
		Body     string  `json:"body"`
		Maintain bool    `json:"maintainer_can_modify"`
		Draft    bool    `json:"draft"`
		Issue    *int    `json:"issue"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	switch {
	case in.Head == nil || in.Base == nil:
		return answer{}, missing("head", "base")
	case in.Issue != nil || in.HeadRepo != nil:
		return answer{}, refuse(http.StatusUnprocessableEntity, "issue and head_repo are not played here")
	}
	if err := checkTitle("PullRequest", in.Title); err != nil {
		return answer{}, err
	}
	if err := checkBody("PullRequest", in.Body, false); err != nil {
		return answer{}, err
	}
	headRepo, branch := c.repo, *in.Head
	if owner, b, other := strings.Cut(*in.Head, ":"); other {
		headRepo, branch = nil, b
		for _, r := range c.w.repos {
			if strings.EqualFold(r.Owner, owner) && (r == c.repo || r.parent == c.repo) {
				headRepo = r
			}
		}
	}
	if headRepo == nil {
		return answer{}, invalid("PullRequest", "head", "invalid", "")
	}
	if c.cred.kind == personal && headRepo == c.repo && roleRank(c.repo.role(c.cred.user)) < roleRank("write") {
		return answer{}, refuse(http.StatusForbidden, "Must have push access to repository")
	}
	head, there, err := headRepo.ref("refs/heads/" + branch)
	if err != nil || !there {
		if err == nil {
			err = invalid("PullRequest", "head", "invalid", "")
		}
		return answer{}, err
	}
	base, there, err := c.repo.ref("refs/heads/" + *in.Base)
	if err != nil || !there {
		if err == nil {
			err = invalid("PullRequest", "base", "invalid", "")
		}
		return answer{}, err
	}
	for _, i := range c.repo.issues {
		if p := i.pull; p != nil && i.state == "open" && p.headRepo == headRepo && p.head == branch && p.base == *in.Base {
			return answer{}, invalid("PullRequest", "", "custom", fmt.Sprintf("A pull request already exists for %s:%s.", headRepo.Owner, branch))
		}
	}
	p := &pull{head: branch, headRepo: headRepo, base: *in.Base, baseSHA: base.sha, draft: in.Draft, maintain: in.Maintain && headRepo != c.repo}
	probe := &issue{pull: p, number: c.repo.lastNumber + 1, user: c.cred.user}
	if headRepo != c.repo { // the objects have to be here before they can be compared
		if _, err := c.w.run(c.repo.Dir, nil, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", headRepo.Dir, head.sha); err != nil {
			return answer{}, err
		}
	}
	ahead, err := c.repo.count(head.sha, "^"+base.sha)
	if err != nil {
		return answer{}, err
	}
	if ahead == 0 {
		return answer{}, invalid("PullRequest", "", "custom", fmt.Sprintf("No commits between %s and %s", *in.Base, branch))
	}
	if err := c.w.limits.create(c.cred); err != nil {
		return answer{}, err
	}
	if err := c.repo.fetchHead(probe, head.sha); err != nil {
		return answer{}, err
	}
	i := c.repo.newIssue(c.cred, in.Title, in.Body)
	i.pull = p
	if err := c.repo.pullEvent(c.cred, i, "opened", nil); err != nil {
		return answer{}, err
	}
	o, err := c.repo.pullObject(i)
	if err != nil {
		return answer{}, err
	}
	return created(o)
}

// getPull asks for the test merge: mergeable is null until the next look (wire.md §1.3).
func getPull(c *call) (answer, error) {
	i, err := c.findPull()
	if err != nil {
		return answer{}, err
	}
	p := i.pull
	if i.state == "open" && p.mergeable == nil {
		if p.asked {
			if err := c.repo.test(i); err != nil {
				return answer{}, err
			}
		}
		p.asked = true
	}
	o, err := c.repo.pullObject(i)
	if err != nil {
		return answer{}, err
	}
	return ok(o)
}

func updatePull(c *call) (answer, error) {
	var in struct {
		Title *string `json:"title"`
		Body  *string `json:"body"`
		State *string `json:"state"`
		Base  *string `json:"base"`
	}
	i, err := c.findPull()
	if err != nil {
		return answer{}, err
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if in.Title != nil {
		if err := checkTitle("PullRequest", *in.Title); err != nil {
			return answer{}, err
		}
	}
	if err := checkBody("PullRequest", deref(in.Body, ""), false); err != nil {
		return answer{}, err
	}
	if in.State != nil && *in.State != "open" && *in.State != "closed" {
		return answer{}, invalid("PullRequest", "state", "invalid", "")
	}
	if in.Base != nil && *in.Base != i.pull.base {
		base, there, err := c.repo.ref("refs/heads/" + *in.Base)
		switch {
		case err != nil:
			return answer{}, err
		case !there || i.state == "closed":
			return answer{}, invalid("PullRequest", "base", "invalid", "")
		}
		i.pull.base, i.pull.baseSHA, i.pull.mergeable, i.pull.asked = *in.Base, base.sha, nil, false
	}
	i.title, i.body, i.updated = deref(in.Title, i.title), deref(in.Body, i.body), c.w.clock()
	if in.State != nil && *in.State != i.state {
		if err := c.setPullState(i, *in.State); err != nil {
			return answer{}, err
		}
	}
	o, err := c.repo.pullObject(i)
	if err != nil {
		return answer{}, err
	}
	return ok(o)
}

// setPullState closes or reopens a pull request.
func (c *call) setPullState(i *issue, state string) error {
	if state == "closed" {
		return c.repo.closePull(c.cred, i, nil)
	}
	head, there, err := i.pull.headRepo.ref("refs/heads/" + i.pull.head)
	switch {
	case err != nil:
		return err
	case !i.pull.merged.IsZero() || !there:
		return invalid("PullRequest", "state", "custom", "state cannot be changed. The pull request cannot be reopened.")
	}
	i.state, i.closed, i.closedBy = "open", time.Time{}, nil
	if err := c.repo.fetchHead(i, head.sha); err != nil {
		return err
	}
	return c.repo.pullEvent(c.cred, i, "reopened", nil)
}

func pullFiles(c *call) (answer, error) {
	i, err := c.findPull()
	if err != nil {
		return answer{}, err
	}
	changes, _, err := c.repo.pullChanges(i)
	if err != nil {
		return answer{}, err
	}
	const most = 3000 // wire.md §1.3
	changes = changes[:min(len(changes), most)]
	return paged(c, changes, func(ch change) any { return c.repo.changeObject(ch, i.pull.headSHA) }, nil)
}

func pullCommits(c *call) (answer, error) {
	i, err := c.findPull()
	if err != nil {
		return answer{}, err
	}
	_, commits, err := c.repo.pullChanges(i)
	if err != nil {
		return answer{}, err
	}
	const most = 250 // [K]
	commits = commits[:min(len(commits), most)]
	return paged(c, commits, func(k commit) any { return c.repo.commitObject(k) }, nil)
}

func commitPulls(c *call) (answer, error) {
	sha, err := c.commitOf(c.vars["commit_sha"])
	if err != nil {
		return answer{}, err
	}
	var list []*issue
	for _, i := range c.repo.issues {
		if i.pull == nil || i.state == "closed" && i.pull.merged.IsZero() {
			continue
		}
		_, commits, err := c.repo.pullChanges(i)
		if err != nil {
			return answer{}, err
		}
		if i.pull.mergeCommit == sha || slices.ContainsFunc(commits, func(k commit) bool { return k.sha == sha }) {
			list = append(list, i)
		}
	}
	return paged(c, list, func(i *issue) any { return c.repo.pullSimple(i) }, nil)
}

func isMerged(c *call) (answer, error) {
	i, err := c.findPull()
	if err != nil {
		return answer{}, err
	}
	if i.pull.merged.IsZero() {
		return answer{}, notFound()
	}
	return noContent()
}

// review is what somebody said of a pull request; sha binds an approval to what was seen.
type review struct {
	id          int64
	user        *User
	state, body string
	sha         string
	at          time.Time
}

// Review lets somebody review a pull request at its present head. state is APPROVED, CHANGES_REQUESTED or COMMENTED. It
// builds a world: it is no event.
func (r *Repository) Review(number int, login, state, body string) error {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	u := r.w.userByLogin[strings.ToLower(login)]
	if u == nil || !slices.Contains([]string{"APPROVED", "CHANGES_REQUESTED", "COMMENTED"}, state) {
		return fmt.Errorf("reviewing pull request %d as %s: no such user, or %q is no state", number, login, state)
	}
	for _, i := range r.issues {
		if i.number == number && i.pull != nil {
			i.pull.reviews = append(i.pull.reviews, &review{r.w.nextID(), u, state, body, i.pull.headSHA, r.w.clock()})
			return nil
		}
	}
	return fmt.Errorf("reviewing pull request %d: there is none", number)
}

func listReviews(c *call) (answer, error) {
	i, err := c.findPull()
	if err != nil {
		return answer{}, err
	}
	return paged(c, i.pull.reviews, func(v *review) any {
		html := fmt.Sprintf("%s#pullrequestreview-%d", c.repo.issueHTML(i), v.id)
		return object{
			"id": v.id, "node_id": node("PRR", v.id), "user": c.w.user(v.user), "body": v.body, "state": v.state, "html_url": html, "pull_request_url": c.repo.pullURL(i),
			"_links": object{"html": object{"href": html}, "pull_request": object{"href": c.repo.pullURL(i)}}, "submitted_at": stamp(v.at), "commit_id": v.sha,
			"author_association": c.repo.association(v.user),
		}
	}, nil)
}
