package github

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// issue is an issue, or a pull request when pull is set: they share their numbers.
type issue struct {
	id               int64
	number           int
	title, body      string
	state            string // open or closed
	reason           string // state_reason of a closed issue
	user             *User
	app              *App
	labels           []*label
	assignees        []*User
	created, updated time.Time
	closed           time.Time
	closedBy         *User
	pull             *pull
}

type label struct {
	id                       int64
	name, color, description string
}

type comment struct {
	id               int64
	issue            *issue
	body             string
	user             *User
	app              *App
	created, updated time.Time
	reactions        []*reaction
}

type reaction struct {
	id      int64
	user    *User
	content string
	created time.Time
}

const maxBodyText = 65536 // characters of a comment [K]

var reactionContents = []string{"+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"}

func (r *Repository) labelObject(l *label) object {
	return object{
		"id": l.id, "node_id": node("LA", l.id), "url": r.api() + "/labels/" + escapePath(l.name), "name": l.name, "description": l.description, "color": l.color, "default": false,
	}
}

func (r *Repository) labelObjects(list []*label) []any {
	out := []any{}
	for _, l := range list {
		out = append(out, r.labelObject(l))
	}
	return out
}

func (r *Repository) userObjects(list []*User) []any {
	out := []any{}
	for _, u := range list {
		out = append(out, r.w.user(u))
	}
	return out
}

func (r *Repository) issueHTML(i *issue) string {
	if i.pull != nil {
		return fmt.Sprintf("%s/pull/%d", r.html(), i.number)
	}
	return fmt.Sprintf("%s/issues/%d", r.html(), i.number)
}

func (r *Repository) commentsOf(i *issue) []*comment {
	var list []*comment
	for _, k := range r.comments {
		if k.issue == i {
			list = append(list, k)
		}
	}
	return list
}

func (r *Repository) issueObject(i *issue) object {
	url := fmt.Sprintf("%s/issues/%d", r.api(), i.number)
	assignees := r.userObjects(i.assignees)
	var assignee any
	if len(assignees) > 0 {
		assignee = assignees[0]
	}
	o := object{
		"id": i.id, "node_id": node("I", i.id), "url": url, "repository_url": r.api(), "labels_url": url + "/labels{/name}", "comments_url": url + "/comments",
		"events_url": url + "/events", "html_url": r.issueHTML(i), "number": i.number, "state": i.state, "state_reason": maybe(i.reason), "title": i.title, "body": maybe(i.body),
		"user": r.w.user(i.user), "labels": r.labelObjects(i.labels), "assignee": assignee, "assignees": assignees, "milestone": nil, "locked": false,
		"active_lock_reason": nil, "comments": len(r.commentsOf(i)), "closed_at": maybeStamp(i.closed), "created_at": stamp(i.created), "updated_at": stamp(i.updated),
		"closed_by": r.w.user(i.closedBy), "author_association": r.association(i.user), "performed_via_github_app": r.w.app(i.app),
		"reactions": rollup(url+"/reactions", nil),
	}
	if p := i.pull; p != nil {
		html := r.issueHTML(i)
		o["draft"] = p.draft
		o["pull_request"] = object{
			"url": fmt.Sprintf("%s/pulls/%d", r.api(), i.number), "html_url": html, "diff_url": html + ".diff", "patch_url": html + ".patch", "merged_at": maybeStamp(p.merged),
		}
	}
	return o
}

func rollup(url string, list []*reaction) object {
	o := object{"url": url, "total_count": len(list)}
	for _, content := range reactionContents {
		n := 0
		for _, x := range list {
			if x.content == content {
				n++
			}
		}
		o[content] = n
	}
	return o
}

func (r *Repository) commentObject(k *comment) object {
	url := fmt.Sprintf("%s/issues/comments/%d", r.api(), k.id)
	return object{
		"id": k.id, "node_id": node("IC", k.id), "url": url, "body": k.body, "html_url": fmt.Sprintf("%s#issuecomment-%d", r.issueHTML(k.issue), k.id),
		"user": r.w.user(k.user), "created_at": stamp(k.created), "updated_at": stamp(k.updated), "issue_url": fmt.Sprintf("%s/issues/%d", r.api(), k.issue.number),
		"author_association": r.association(k.user), "performed_via_github_app": r.w.app(k.app), "reactions": rollup(url+"/reactions", k.reactions),
	}
}

// findIssue is the issue or pull request of the path.
func (c *call) findIssue() (*issue, error) {
	n, _ := strconv.Atoi(c.vars["issue_number"])
	for _, i := range c.repo.issues {
		if i.number == n {
			return i, nil
		}
	}
	return nil, notFound()
}

func listIssues(c *call) (answer, error) {
	state := deflt(c.query("state"), "open")
	var wanted []string
	if c.query("labels") != "" {
		wanted = strings.Split(c.query("labels"), ",")
	}
	var list []*issue
	for _, i := range slices.Backward(c.repo.issues) {
		has := func(name string) bool {
			return slices.ContainsFunc(i.labels, func(l *label) bool { return strings.EqualFold(l.name, strings.TrimSpace(name)) })
		}
		if (state == "all" || i.state == state) && !slices.ContainsFunc(wanted, func(name string) bool { return !has(name) }) &&
			(c.query("creator") == "" || i.user != nil && strings.EqualFold(i.user.Login, c.query("creator"))) {
			list = append(list, i)
		}
	}
	for _, unsupported := range []string{"sort", "direction", "since", "milestone", "assignee", "mentioned", "type"} {
		if v := c.query(unsupported); v != "" && !(unsupported == "sort" && v == "created") && !(unsupported == "direction" && v == "desc") {
			return answer{}, refuse(http.StatusUnprocessableEntity, "%s is not played here", unsupported)
		}
	}
	return paged(c, list, func(i *issue) any { return c.repo.issueObject(i) }, nil)
}

func getIssue(c *call) (answer, error) {
	i, err := c.findIssue()
	if err != nil {
		return answer{}, err
	}
	return ok(c.repo.issueObject(i))
}

func (r *Repository) newIssue(by *credential, title, body string) *issue {
	r.lastNumber++
	i := &issue{
		id: r.w.nextID(), number: r.lastNumber, title: title, body: body, state: "open", user: by.user, app: by.byApp(), created: r.w.clock(), updated: r.w.clock(),
	}
	r.issues = append(r.issues, i)
	return i
}

func createIssue(c *call) (answer, error) {
	var in struct {
		Title     any      `json:"title"`
		Body      string   `json:"body"`
		Labels    []any    `json:"labels"`
		Assignees []string `json:"assignees"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if c.repo.noIssues {
		return answer{}, refuse(http.StatusGone, "Issues are disabled for this repo") // wire.md §1.4
	}
	title := ""
	switch t := in.Title.(type) {
	case string:
		title = t
	case float64:
		title = strconv.FormatFloat(t, 'f', -1, 64)
	}
	if err := checkTitle("Issue", title); err != nil {
		return answer{}, err
	}
	if err := checkBody("Issue", in.Body, false); err != nil {
		return answer{}, err
	}
	if err := c.w.limits.create(c.cred); err != nil {
		return answer{}, err
	}
	i := c.repo.newIssue(c.cred, title, in.Body)
	if c.cred.isApp() || roleRank(c.repo.role(c.cred.user)) >= roleRank("triage") { // dropped silently otherwise (wire.md §1.4)
		names, err := labelNames(in.Labels)
		if err != nil {
			return answer{}, err
		}
		i.labels = c.repo.labelsFor(names)
		for _, login := range in.Assignees {
			if u := c.w.userByLogin[strings.ToLower(login)]; u != nil && c.repo.role(u) != "" {
				i.assignees = append(i.assignees, u)
			}
		}
	}
	if err := c.repo.issueEvent(c.cred, i, "opened", nil); err != nil {
		return answer{}, err
	}
	for _, l := range i.labels {
		if err := c.repo.labelEvent(c.cred, i, l, "labeled"); err != nil {
			return answer{}, err
		}
	}
	return created(c.repo.issueObject(i))
}

func checkTitle(resource, title string) error {
	switch {
	case strings.TrimSpace(title) == "":
		return invalid(resource, "title", "missing_field", "")
	case utf8.RuneCountInString(title) > 256:
		return invalid(resource, "title", "custom", "title is too long (maximum is 256 characters)")
	}
	return nil
}

func checkBody(resource, body string, needed bool) error {
	switch {
	case needed && strings.TrimSpace(body) == "":
		return invalid(resource, "body", "custom", "Body cannot be blank")
	case utf8.RuneCountInString(body) > maxBodyText:
		return invalid(resource, "body", "custom", "body is too long (maximum is 65536 characters)")
	}
	return nil
}

func updateIssue(c *call) (answer, error) {
	var in struct {
		Title       *string   `json:"title"`
		Body        *string   `json:"body"`
		State       *string   `json:"state"`
		StateReason *string   `json:"state_reason"`
		Labels      *[]any    `json:"labels"`
		Assignees   *[]string `json:"assignees"`
	}
	i, err := c.findIssue()
	if err != nil {
		return answer{}, err
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if in.Title != nil {
		if err := checkTitle("Issue", *in.Title); err != nil {
			return answer{}, err
		}
	}
	if err := checkBody("Issue", deref(in.Body, ""), false); err != nil {
		return answer{}, err
	}
	if in.State != nil && *in.State != "open" && *in.State != "closed" {
		return answer{}, invalid("Issue", "state", "invalid", "")
	}
	if in.Labels != nil {
		names, err := labelNames(*in.Labels)
		if err != nil {
			return answer{}, err
		}
		i.labels = c.repo.labelsFor(names)
	}
	if in.Assignees != nil {
		i.assignees = nil
		for _, login := range *in.Assignees {
			if u := c.w.userByLogin[strings.ToLower(login)]; u != nil {
				i.assignees = append(i.assignees, u)
			}
		}
	}
	changes := object{}
	if in.Title != nil && *in.Title != i.title {
		changes["title"] = object{"from": i.title}
	}
	if in.Body != nil && *in.Body != i.body {
		changes["body"] = object{"from": i.body}
	}
	i.title, i.body = deref(in.Title, i.title), deref(in.Body, i.body)
	i.updated = c.w.clock()
	if i.pull == nil && len(changes) > 0 {
		if err := c.repo.issueEvent(c.cred, i, "edited", object{"changes": changes}); err != nil {
			return answer{}, err
		}
	}
	if in.State != nil && *in.State != i.state {
		if i.pull != nil {
			if err := c.setPullState(i, *in.State); err != nil {
				return answer{}, err
			}
		} else if i.state = *in.State; i.state == "closed" {
			i.closed, i.closedBy, i.reason = c.w.clock(), c.cred.user, deref(in.StateReason, "completed")
		} else {
			i.closed, i.closedBy, i.reason = time.Time{}, nil, "reopened"
		}
		if i.pull == nil {
			if err := c.repo.issueEvent(c.cred, i, map[string]string{"open": "reopened", "closed": "closed"}[i.state], nil); err != nil {
				return answer{}, err
			}
		}
	}
	return ok(c.repo.issueObject(i))
}

func listComments(c *call) (answer, error) {
	i, err := c.findIssue()
	if err != nil {
		return answer{}, err
	}
	list, err := c.commentsSince(c.repo.commentsOf(i))
	if err != nil {
		return answer{}, err
	}
	return paged(c, list, func(k *comment) any { return c.repo.commentObject(k) }, nil)
}

// commentsSince leaves what was last changed at or after the since of the query. It may write into list.
func (c *call) commentsSince(list []*comment) ([]*comment, error) {
	since := c.query("since")
	if since == "" {
		return list, nil
	}
	t, err := time.Parse(time.RFC3339, since)
	if err != nil {
		return nil, refuse(http.StatusUnprocessableEntity, "since is not a timestamp")
	}
	return slices.DeleteFunc(list, func(k *comment) bool { return k.updated.Before(t) }), nil
}

// listRepositoryComments lists the comments on all issues and pull requests by ascending id. The direction only counts
// together with sort; a sort alone goes down [K].
func listRepositoryComments(c *call) (answer, error) {
	list, err := c.commentsSince(slices.Clone(c.repo.comments))
	if err != nil {
		return answer{}, err
	}
	sort, direction := c.query("sort"), c.query("direction")
	if sort != "" && sort != "created" && sort != "updated" {
		return answer{}, invalid("IssueComment", "sort", "invalid", "")
	}
	if direction != "" && direction != "asc" && direction != "desc" {
		return answer{}, invalid("IssueComment", "direction", "invalid", "")
	}
	if sort == "updated" {
		slices.SortStableFunc(list, func(a, b *comment) int { return a.updated.Compare(b.updated) })
	}
	if sort != "" && direction != "asc" {
		slices.Reverse(list)
	}
	return paged(c, list, func(k *comment) any { return c.repo.commentObject(k) }, nil)
}

func createComment(c *call) (answer, error) {
	i, err := c.findIssue()
	if err != nil {
		return answer{}, err
	}
	body, err := c.commentBody()
	if err != nil {
		return answer{}, err
	}
	if err := c.w.limits.create(c.cred); err != nil {
		return answer{}, err
	}
	k := &comment{id: c.w.nextID(), issue: i, body: body, user: c.cred.user, app: c.cred.byApp(), created: c.w.clock(), updated: c.w.clock()}
	c.repo.comments = append(c.repo.comments, k)
	i.updated = k.created
	if err := c.repo.commentEvent(c.cred, k, "created", nil); err != nil {
		return answer{}, err
	}
	return created(c.repo.commentObject(k))
}

func (c *call) commentBody() (string, error) {
	var in struct {
		Body *string `json:"body"`
	}
	if err := c.decode(&in); err != nil {
		return "", err
	}
	if in.Body == nil {
		return "", missing("body")
	}
	return *in.Body, checkBody("IssueComment", *in.Body, true)
}

// findComment is the comment of the path.
func (c *call) findComment() (*comment, error) {
	id, _ := strconv.ParseInt(c.vars["comment_id"], 10, 64)
	for _, k := range c.repo.comments {
		if k.id == id {
			return k, nil
		}
	}
	return nil, notFound()
}

func getComment(c *call) (answer, error) {
	k, err := c.findComment()
	if err != nil {
		return answer{}, err
	}
	return ok(c.repo.commentObject(k))
}

// mayEdit tells whether the caller may change what somebody wrote: people with write access may, and its author.
func (c *call) mayEdit(author *User) bool {
	return c.cred.isApp() || c.cred.user == author || roleRank(c.repo.role(c.cred.user)) >= roleRank("write")
}

func updateComment(c *call) (answer, error) {
	k, err := c.findComment()
	if err != nil {
		return answer{}, err
	}
	body, err := c.commentBody()
	if err != nil {
		return answer{}, err
	}
	if !c.mayEdit(k.user) {
		return answer{}, refuse(http.StatusForbidden, "Must have admin rights to Repository.")
	}
	before := k.body
	k.body, k.updated = body, c.w.clock()
	if before != body {
		if err := c.repo.commentEvent(c.cred, k, "edited", object{"body": object{"from": before}}); err != nil {
			return answer{}, err
		}
	}
	return ok(c.repo.commentObject(k))
}

func deleteComment(c *call) (answer, error) {
	k, err := c.findComment()
	if err != nil {
		return answer{}, err
	}
	if !c.mayEdit(k.user) {
		return answer{}, refuse(http.StatusForbidden, "Must have admin rights to Repository.")
	}
	c.repo.comments = slices.DeleteFunc(c.repo.comments, func(x *comment) bool { return x == k })
	if err := c.repo.commentEvent(c.cred, k, "deleted", nil); err != nil {
		return answer{}, err
	}
	return noContent()
}

func (r *Repository) reactionObject(x *reaction) object {
	return object{"id": x.id, "node_id": node("REA", x.id), "user": r.w.user(x.user), "content": x.content, "created_at": stamp(x.created)}
}

func listReactions(c *call) (answer, error) {
	k, err := c.findComment()
	if err != nil {
		return answer{}, err
	}
	list := slices.DeleteFunc(slices.Clone(k.reactions), func(x *reaction) bool { return !wants(c.query("content"), x.content) })
	return paged(c, list, func(x *reaction) any { return c.repo.reactionObject(x) }, nil)
}

// createReaction answers 200 when this actor has reacted so before: a claim that somebody else of the same name holds (wire.md §1.4).
func createReaction(c *call) (answer, error) {
	k, err := c.findComment()
	if err != nil {
		return answer{}, err
	}
	var in struct {
		Content *string `json:"content"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if in.Content == nil || !slices.Contains(reactionContents, *in.Content) {
		return answer{}, invalid("Reaction", "content", "invalid", "")
	}
	for _, x := range k.reactions {
		if x.user == c.cred.user && x.content == *in.Content {
			return ok(c.repo.reactionObject(x))
		}
	}
	x := &reaction{id: c.w.nextID(), user: c.cred.user, content: *in.Content, created: c.w.clock()}
	k.reactions = append(k.reactions, x)
	return created(c.repo.reactionObject(x))
}

func deleteReaction(c *call) (answer, error) {
	k, err := c.findComment()
	if err != nil {
		return answer{}, err
	}
	for n, x := range k.reactions {
		if strconv.FormatInt(x.id, 10) == c.vars["reaction_id"] {
			if x.user != c.cred.user {
				return answer{}, refuse(http.StatusForbidden, "You can only delete your own reactions.")
			}
			k.reactions = slices.Delete(k.reactions, n, n+1)
			return noContent()
		}
	}
	return answer{}, notFound()
}

var colorPattern = regexp.MustCompile(`^[0-9a-fA-F]{6}$`)

func (r *Repository) findLabel(name string) *label {
	for _, l := range r.labels {
		if strings.EqualFold(l.name, name) {
			return l
		}
	}
	return nil
}

func listLabels(c *call) (answer, error) {
	return paged(c, c.repo.labels, func(l *label) any { return c.repo.labelObject(l) }, nil)
}

func getLabel(c *call) (answer, error) {
	l := c.repo.findLabel(c.vars["name"])
	if l == nil {
		return answer{}, notFound()
	}
	return ok(c.repo.labelObject(l))
}

func createLabel(c *call) (answer, error) {
	var in struct {
		Name        *string `json:"name"`
		Color       *string `json:"color"`
		Description string  `json:"description"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	color := deref(in.Color, "ededed")
	switch {
	case in.Name == nil || strings.TrimSpace(*in.Name) == "":
		return answer{}, invalid("Label", "name", "missing_field", "")
	case c.repo.findLabel(*in.Name) != nil:
		return answer{}, invalid("Label", "name", "already_exists", "")
	case !colorPattern.MatchString(color):
		return answer{}, invalid("Label", "color", "invalid", "")
	case utf8.RuneCountInString(in.Description) > 100:
		return answer{}, invalid("Label", "description", "custom", "description is too long (maximum is 100 characters)")
	}
	l := &label{id: c.w.nextID(), name: *in.Name, color: strings.ToLower(color), description: in.Description}
	c.repo.labels = append(c.repo.labels, l)
	return created(c.repo.labelObject(l))
}

// labelsFor finds labels by name and makes those that are not there, as naming them on an issue does.
func (r *Repository) labelsFor(names []string) []*label {
	var list []*label
	for _, name := range names {
		l := r.findLabel(name)
		if l == nil {
			l = &label{id: r.w.nextID(), name: name, color: "ededed"}
			r.labels = append(r.labels, l)
		}
		if !slices.Contains(list, l) {
			list = append(list, l)
		}
	}
	return list
}

// labelNames reads labels that are given by name or as objects with a name.
func labelNames(list []any) ([]string, error) {
	var names []string
	for _, item := range list {
		switch v := item.(type) {
		case string:
			names = append(names, v)
		case map[string]any:
			name, _ := v["name"].(string)
			names = append(names, name)
		}
	}
	if len(names) != len(list) || slices.Contains(names, "") {
		return nil, invalid("Label", "name", "invalid", "")
	}
	return names, nil
}

func issueLabels(c *call) (answer, error) {
	i, err := c.findIssue()
	if err != nil {
		return answer{}, err
	}
	return paged(c, i.labels, func(l *label) any { return c.repo.labelObject(l) }, nil)
}

// putLabels adds labels to an issue (POST) or replaces them (PUT).
func putLabels(c *call) (answer, error) {
	i, err := c.findIssue()
	if err != nil {
		return answer{}, err
	}
	var in struct {
		Labels []any `json:"labels"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	names, err := labelNames(in.Labels)
	if err != nil {
		return answer{}, err
	}
	before := i.labels
	if c.r.Method == http.MethodPut {
		i.labels = nil
	}
	for _, l := range c.repo.labelsFor(names) {
		if !slices.Contains(i.labels, l) {
			i.labels = append(i.labels, l)
		}
	}
	i.updated = c.w.clock()
	for _, l := range before {
		if !slices.Contains(i.labels, l) {
			if err := c.repo.labelEvent(c.cred, i, l, "unlabeled"); err != nil {
				return answer{}, err
			}
		}
	}
	for _, l := range i.labels {
		if !slices.Contains(before, l) {
			if err := c.repo.labelEvent(c.cred, i, l, "labeled"); err != nil {
				return answer{}, err
			}
		}
	}
	return ok(c.repo.labelObjects(i.labels))
}

func removeLabel(c *call) (answer, error) {
	i, err := c.findIssue()
	if err != nil {
		return answer{}, err
	}
	l := c.repo.findLabel(c.vars["name"])
	if l == nil || !slices.Contains(i.labels, l) {
		return answer{}, refuse(http.StatusNotFound, "Label does not exist")
	}
	i.labels = slices.DeleteFunc(i.labels, func(x *label) bool { return x == l })
	i.updated = c.w.clock()
	if err := c.repo.labelEvent(c.cred, i, l, "unlabeled"); err != nil {
		return answer{}, err
	}
	return ok(c.repo.labelObjects(i.labels))
}
