package github

import (
	"fmt"
	"maps"
	"net/url"
	"strings"
)

// Payloads of webhooks, modelled on testdata/contracts/github/webhooks. A nil credential is the world being built: no event.

func (w *World) organization(u *User) object {
	api := w.apiURL + "/orgs/" + url.PathEscape(u.Login)
	return object{
		"login": u.Login, "id": u.ID, "node_id": node("O", u.ID), "url": api, "repos_url": api + "/repos", "events_url": api + "/events", "hooks_url": api + "/hooks",
		"issues_url": api + "/issues", "members_url": api + "/members{/member}", "public_members_url": api + "/public_members{/member}",
		"avatar_url": w.gitURL + fmt.Sprintf("/avatars/u/%d", u.ID), "description": "",
	}
}

// base is what every payload has.
func (r *Repository) base(by *credential) object {
	return object{"repository": r.w.repository(r), "sender": r.w.user(by.user)}
}

// pushRepository is the older shape of a repository that only push has.
func (r *Repository) pushRepository() object {
	o := r.w.repository(r).(object)
	owner := r.w.user(r.owner).(object)
	owner["name"], owner["email"] = r.owner.Login, nil
	o["owner"], o["url"], o["stargazers"], o["master_branch"] = owner, r.html(), 0, defaultBranch
	o["created_at"], o["pushed_at"] = r.created.Unix(), r.pushed.Unix()
	if r.owner.Type == "Organization" {
		o["organization"] = r.owner.Login
	}
	return o
}

func short(sha string) string { return sha[:12] }

// pushEvents tells of a ref that was made, moved or removed.
func (r *Repository) pushEvents(by *credential, u refUpdate) error {
	name, isBranch := strings.CutPrefix(u.name, "refs/heads/")
	if tag, isTag := strings.CutPrefix(u.name, "refs/tags/"); isTag {
		name = tag
	} else if !isBranch {
		return nil
	}
	kind := "tag"
	if isBranch {
		kind = "branch"
	}
	made, gone := u.from == zeros, u.to == zeros
	switch {
	case made:
		err := r.notify("create", "", "contents", func() (object, error) {
			o := r.base(by)
			maps.Copy(o, object{"ref": name, "ref_type": kind, "master_branch": defaultBranch, "description": nil, "pusher_type": "user"})
			return o, nil
		})
		if err != nil {
			return err
		}
	case gone:
		err := r.notify("delete", "", "contents", func() (object, error) {
			o := r.base(by)
			maps.Copy(o, object{"ref": name, "ref_type": kind, "pusher_type": "user"})
			return o, nil
		})
		if err != nil {
			return err
		}
	}
	if err := r.notify("push", "", "contents", func() (object, error) { return r.pushPayload(by, u) }); err != nil {
		return err
	}
	switch {
	case made:
		if err := r.start(by, trigger{event: "create", ref: u.name, sha: u.to, file: u.to}); err != nil {
			return err
		}
	case gone:
		return r.startOnDefault(by, trigger{event: "delete"})
	}
	return r.start(by, trigger{event: "push", ref: u.name, sha: u.to, file: u.to, before: u.from})
}

const maxPushCommits = 2048 // [K]

func (r *Repository) pushPayload(by *credential, u refUpdate) (object, error) {
	made, gone := u.from == zeros, u.to == zeros
	forced, compare := false, ""
	var list []commit
	var err error
	switch {
	case gone:
		compare = r.html() + "/compare/" + short(u.from) + "..." + short(u.to)
	case made:
		compare = r.html() + "/commit/" + short(u.to)
		main, there, ferr := r.ref("refs/heads/" + defaultBranch)
		if ferr != nil {
			return nil, ferr
		}
		if there && main.name != u.name {
			list, err = r.log("--reverse", "--topo-order", u.to, "^"+main.commit)
		} else {
			list, err = r.log("--reverse", "--topo-order", u.to)
		}
	default:
		compare = r.html() + "/compare/" + short(u.from) + "..." + short(u.to)
		ff, ferr := r.isAncestor(u.from, u.to)
		if ferr != nil {
			return nil, ferr
		}
		forced = !ff
		list, err = r.log("--reverse", "--topo-order", u.to, "^"+u.from)
	}
	if err != nil {
		return nil, err
	}
	if len(list) > maxPushCommits {
		list = list[len(list)-maxPushCommits:]
	}
	commits := []any{}
	for _, k := range list {
		o, err := r.pushCommit(k)
		if err != nil {
			return nil, err
		}
		commits = append(commits, o)
	}
	var head any
	if !gone {
		k, err := r.commit(u.to)
		if err != nil {
			return nil, err
		}
		if head, err = r.pushCommit(k); err != nil {
			return nil, err
		}
	}
	o := object{
		"ref": u.name, "before": u.from, "after": u.to, "created": made, "deleted": gone, "forced": forced, "base_ref": nil, "compare": compare, "commits": commits,
		"head_commit": head, "repository": r.pushRepository(), "sender": r.w.user(by.user),
	}
	who := r.w.signs(by.user)
	o["pusher"] = object{"name": who.name, "email": who.email}
	return o, nil
}

func (r *Repository) pushCommit(k commit) (object, error) {
	from := emptyTree
	if len(k.parents) > 0 {
		from = k.parents[0]
	}
	changes, err := r.diff(from, k.sha)
	if err != nil {
		return nil, err
	}
	added, removed, modified := []any{}, []any{}, []any{}
	for _, ch := range changes {
		switch ch.status {
		case "added":
			added = append(added, ch.path)
		case "removed":
			removed = append(removed, ch.path)
		case "renamed":
			added, removed = append(added, ch.path), append(removed, ch.previous)
		default:
			modified = append(modified, ch.path)
		}
	}
	person := func(s signature) object {
		o := object{"name": s.name, "email": s.email}
		if u, known := r.w.account(s).(object); known {
			o["username"] = u["login"]
		}
		return o
	}
	return object{
		"id": k.sha, "tree_id": k.tree, "distinct": true, "message": k.message, "timestamp": stamp(k.committer.date), "url": r.html() + "/commit/" + k.sha,
		"author": person(k.author), "committer": person(k.committer), "added": added, "removed": removed, "modified": modified,
	}, nil
}

// pullEvent tells of a pull request.
func (r *Repository) pullEvent(by *credential, i *issue, action string, extra object) error {
	if by == nil {
		return nil
	}
	err := r.notify("pull_request", action, "pull_requests", func() (object, error) {
		p, err := r.pullObject(i)
		if err != nil {
			return nil, err
		}
		o := r.base(by)
		maps.Copy(o, object{"action": action, "number": i.number, "pull_request": p})
		maps.Copy(o, extra)
		return o, nil
	})
	if err != nil {
		return err
	}
	return r.startForPull(by, i, action)
}

// issueEvent tells of an issue that is no pull request. The contract has no recording of one: it is put together from the
// issue of an issue_comment and the changes of the other edits [K].
func (r *Repository) issueEvent(by *credential, i *issue, action string, extra object) error {
	err := r.notify("issues", action, "issues", func() (object, error) {
		o := r.base(by)
		maps.Copy(o, object{"action": action, "issue": r.issueObject(i)})
		maps.Copy(o, extra)
		return o, nil
	})
	if err != nil {
		return err
	}
	return r.startOnDefault(by, trigger{event: "issues", action: action})
}

// labelEvent tells of a label that was put on an issue or pull request, or taken off.
func (r *Repository) labelEvent(by *credential, i *issue, l *label, action string) error {
	extra := object{"label": r.labelObject(l)}
	if i.pull != nil {
		return r.pullEvent(by, i, action, extra)
	}
	return r.issueEvent(by, i, action, extra)
}

func (r *Repository) commentEvent(by *credential, k *comment, action string, changes object) error {
	err := r.notify("issue_comment", action, "issues|pull_requests", func() (object, error) {
		o := r.base(by)
		maps.Copy(o, object{"action": action, "issue": r.issueObject(k.issue), "comment": r.commentObject(k)})
		if changes != nil {
			o["changes"] = changes
		}
		return o, nil
	})
	if err != nil {
		return err
	}
	return r.startOnDefault(by, trigger{event: "issue_comment", action: action})
}

func (r *Repository) deploymentEvent(by *credential, d *deployment) error {
	err := r.notify("deployment", "created", "deployments", func() (object, error) {
		o := r.base(by)
		maps.Copy(o, object{"action": "created", "deployment": r.deploymentObject(d), "workflow": nil, "workflow_run": nil})
		return o, nil
	})
	if err != nil {
		return err
	}
	ref, err := r.deployedRef(d)
	if err != nil {
		return err
	}
	return r.start(by, trigger{event: "deployment", ref: ref, sha: d.sha, file: d.sha})
}

// deployedRef is the full name of what was deployed, "" for a bare sha.
func (r *Repository) deployedRef(d *deployment) (string, error) {
	_, full, err := r.resolve(d.ref)
	return full, err
}

// deploymentStatusEvent tells of a status. A status inactive starts no workflow (wire.md §1.5).
func (r *Repository) deploymentStatusEvent(by *credential, d *deployment, s *deploymentStatus) error {
	err := r.notify("deployment_status", "created", "deployments", func() (object, error) {
		o := r.base(by)
		maps.Copy(o, object{"action": "created", "deployment": r.deploymentObject(d), "deployment_status": r.deploymentStatusObject(d, s), "check_run": nil, "workflow": nil, "workflow_run": nil})
		return o, nil
	})
	if err != nil || s.state == "inactive" {
		return err
	}
	ref, err := r.deployedRef(d)
	if err != nil {
		return err
	}
	return r.start(by, trigger{event: "deployment_status", ref: ref, sha: d.sha, file: d.sha})
}

// checkEvent tells of a check run; only the App that made it is asked to run it again, or to do what a button of it says.
func (r *Repository) checkEvent(by *credential, run *checkRun, action string, extra object) error {
	asks := action == "rerequested" || action == "requested_action"
	err := r.notifyOnly(func(a *App) bool { return !asks || a == run.suite.app }, "check_run", action, "checks", func() (object, error) {
		o := r.base(by)
		check := r.checkObject(run)
		suite, err := r.suiteObject(run.suite)
		if err != nil {
			return nil, err
		}
		check["check_suite"] = suite
		maps.Copy(o, object{"action": action, "check_run": check})
		maps.Copy(o, extra)
		return o, nil
	})
	if err != nil {
		return err
	}
	return r.startOnDefault(by, trigger{event: "check_run", action: action})
}

// suiteObject is a check suite as check_run events show it.
func (r *Repository) suiteObject(s *checkSuite) (object, error) {
	branches, err := r.refs("refs/heads/")
	if err != nil {
		return nil, err
	}
	var branch any
	for _, b := range branches {
		if b.sha == s.headSHA {
			branch = strings.TrimPrefix(b.name, "refs/heads/")
			break
		}
	}
	status, conclusion := "completed", any("success")
	for _, run := range r.checks {
		switch {
		case run.suite != s:
		case run.status != "completed":
			status, conclusion = "in_progress", nil
		case conclusion == "success" && run.conclusion != "success" && run.conclusion != "neutral" && run.conclusion != "skipped":
			conclusion = run.conclusion
		}
	}
	if status != "completed" {
		conclusion = nil
	}
	return object{
		"id": s.id, "node_id": node("CS", s.id), "head_branch": branch, "head_sha": s.headSHA, "status": status, "conclusion": conclusion,
		"url": fmt.Sprintf("%s/check-suites/%d", r.api(), s.id), "before": nil, "after": s.headSHA, "pull_requests": []any{}, "app": r.w.app(s.app),
		"created_at": stamp(s.created), "updated_at": stamp(s.created),
	}, nil
}
