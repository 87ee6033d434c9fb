package github

import (
	"maps"
	"net/url"
	"strconv"
	"strings"
)

// api is the URL of the repository in the API, html the one for people.
func (r *Repository) api() string  { return r.w.apiURL + "/repos/" + r.Owner + "/" + r.Name }
func (r *Repository) html() string { return r.w.gitURL + "/" + r.Owner + "/" + r.Name }

// CloneURL is where git reaches the repository once the world has started.
func (r *Repository) CloneURL() string {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	return r.html() + ".git"
}

// user renders an account; a nil one is null.
func (w *World) user(u *User) any {
	if u == nil {
		return nil
	}
	api := w.apiURL + "/users/" + url.PathEscape(u.Login)
	html := w.gitURL + "/" + url.PathEscape(u.Login)
	if slug, bot := strings.CutSuffix(u.Login, "[bot]"); bot {
		html = w.gitURL + "/apps/" + slug
	}
	return object{
		"login": u.Login, "id": u.ID, "node_id": node("U", u.ID), "avatar_url": w.gitURL + "/avatars/u/" + strconv.FormatInt(u.ID, 10), "gravatar_id": "",
		"url": api, "html_url": html, "followers_url": api + "/followers", "following_url": api + "/following{/other_user}",
		"gists_url": api + "/gists{/gist_id}", "starred_url": api + "/starred{/owner}{/repo}", "subscriptions_url": api + "/subscriptions",
		"organizations_url": api + "/orgs", "repos_url": api + "/repos", "events_url": api + "/events{/privacy}",
		"received_events_url": api + "/received_events", "type": u.Type, "site_admin": false,
	}
}

// app renders an App as integration; a nil one is null.
func (w *World) app(a *App) any {
	if a == nil {
		return nil
	}
	return object{
		"id": a.ID, "slug": a.Slug, "node_id": node("A", a.ID), "client_id": a.ClientID, "owner": w.user(a.owner), "name": deflt(a.name, a.Slug), "description": a.description,
		"external_url": deflt(a.homepage, "https://example.invalid/"+a.Slug), "html_url": w.gitURL + "/apps/" + a.Slug, "created_at": stamp(a.created), "updated_at": stamp(a.created),
		"permissions": maps.Clone(a.permissions), "events": append([]string{}, a.events...),
	}
}

// repository renders a repository as others see it.
func (w *World) repository(r *Repository) any {
	if r == nil {
		return nil
	}
	api, html := r.api(), r.html()
	visibility := "private"
	if r.public {
		visibility = "public"
	}
	open := 0
	for _, i := range r.issues {
		if i.state == "open" {
			open++
		}
	}
	forks := 0
	for _, other := range w.repos {
		if other.parent == r {
			forks++
		}
	}
	o := object{
		"id": r.ID, "node_id": node("R", r.ID), "name": r.Name, "full_name": r.Owner + "/" + r.Name, "owner": w.user(r.owner), "private": !r.public,
		"html_url": html, "description": nil, "fork": r.parent != nil, "url": api, "homepage": nil, "language": nil, "license": nil, "mirror_url": nil,
		"git_url": strings.Replace(html, "http://", "git://", 1) + ".git", "ssh_url": "git@127.0.0.1:" + r.Owner + "/" + r.Name + ".git", "clone_url": html + ".git", "svn_url": html,
		"forks": forks, "forks_count": forks, "stargazers_count": 0, "watchers": 0, "watchers_count": 0, "size": 0, "open_issues": open, "open_issues_count": open,
		"default_branch": defaultBranch, "is_template": false, "topics": []any{}, "has_issues": !r.noIssues, "has_projects": true, "has_wiki": true,
		"has_pages": false, "has_downloads": true, "has_discussions": false, "archived": false, "disabled": false, "visibility": visibility,
		"allow_forking": true, "web_commit_signoff_required": false, "pushed_at": stamp(r.pushed), "created_at": stamp(r.created), "updated_at": stamp(r.created),
		"custom_properties": object{},
	}
	for key, path := range map[string]string{
		"archive_url": "/{archive_format}{/ref}", "assignees_url": "/assignees{/user}", "blobs_url": "/git/blobs{/sha}", "branches_url": "/branches{/branch}",
		"collaborators_url": "/collaborators{/collaborator}", "comments_url": "/comments{/number}", "commits_url": "/commits{/sha}",
		"compare_url": "/compare/{base}...{head}", "contents_url": "/contents/{+path}", "contributors_url": "/contributors", "deployments_url": "/deployments",
		"downloads_url": "/downloads", "events_url": "/events", "forks_url": "/forks", "git_commits_url": "/git/commits{/sha}", "git_refs_url": "/git/refs{/sha}",
		"git_tags_url": "/git/tags{/sha}", "hooks_url": "/hooks", "issue_comment_url": "/issues/comments{/number}", "issue_events_url": "/issues/events{/number}",
		"issues_url": "/issues{/number}", "keys_url": "/keys{/key_id}", "labels_url": "/labels{/name}", "languages_url": "/languages", "merges_url": "/merges",
		"milestones_url": "/milestones{/number}", "notifications_url": "/notifications{?since,all,participating}", "pulls_url": "/pulls{/number}",
		"releases_url": "/releases{/id}", "stargazers_url": "/stargazers", "statuses_url": "/statuses/{sha}", "subscribers_url": "/subscribers",
		"subscription_url": "/subscription", "tags_url": "/tags", "teams_url": "/teams", "trees_url": "/git/trees{/sha}",
	} {
		o[key] = api + path
	}
	return o
}

func getRepository(c *call) (answer, error) {
	o := c.w.repository(c.repo).(object)
	o["subscribers_count"], o["network_count"] = 0, o["forks_count"]
	if c.cred.kind == personal || c.cred.kind == onBehalf {
		rank := roleRank(c.repo.role(c.cred.user))
		o["permissions"] = object{"pull": rank >= 1, "triage": rank >= 2, "push": rank >= 3, "maintain": rank >= 4, "admin": rank >= 5}
	}
	if c.repo.owner.Type == "Organization" {
		o["organization"] = c.w.user(c.repo.owner)
	}
	if c.repo.parent != nil {
		o["parent"], o["source"] = c.w.repository(c.repo.parent), c.w.repository(c.repo.parent)
	}
	return ok(o)
}

// getPermission is readable with metadata:read. maintain shows as write and triage as read (wire.md §1.8).
func getPermission(c *call) (answer, error) {
	u := c.w.userByLogin[strings.ToLower(c.vars["username"])]
	if u == nil {
		return answer{}, notFound()
	}
	role := deflt(c.repo.role(u), "none")
	permission := role
	switch role {
	case "maintain":
		permission = "write"
	case "triage":
		permission = "read"
	}
	shown := c.w.user(u).(object)
	rank := roleRank(c.repo.role(u))
	shown["permissions"] = object{"pull": rank >= 1, "triage": rank >= 2, "push": rank >= 3, "maintain": rank >= 4, "admin": rank >= 5}
	shown["role_name"] = role
	return ok(object{"permission": permission, "role_name": role, "user": shown})
}

// association is how an account relates to the repository. Private members do not show (wire.md §2h), so it never says MEMBER.
func (r *Repository) association(u *User) string {
	switch {
	case u == nil:
		return "NONE"
	case u == r.owner:
		return "OWNER"
	case r.roles[strings.ToLower(u.Login)] != "":
		return "COLLABORATOR"
	}
	return "NONE"
}
