package github

import (
	"encoding/base64"
	"net/http"
	"strings"
)

func unsigned() object {
	return object{"verified": false, "reason": "unsigned", "signature": nil, "payload": nil, "verified_at": nil}
}

func (s signature) object() object {
	return object{"name": s.name, "email": s.email, "date": stamp(s.date)}
}

// simple is the short form that runs and suites show.
func (k commit) simple() object {
	return object{
		"id": k.sha, "tree_id": k.tree, "message": k.message, "timestamp": stamp(k.committer.date), "author": object{"name": k.author.name, "email": k.author.email},
		"committer": object{"name": k.committer.name, "email": k.committer.email},
	}
}

// account finds whose commit it is by the no-reply address; null for others.
func (w *World) account(s signature) any {
	name, domain, _ := strings.Cut(s.email, "@")
	if domain != "users.noreply.github.com" {
		return nil
	}
	_, login, _ := strings.Cut(name, "+")
	return w.user(w.userByLogin[strings.ToLower(login)])
}

func (r *Repository) commitObject(k commit) object {
	api := r.api()
	parents := []any{}
	for _, p := range k.parents {
		parents = append(parents, object{"sha": p, "url": api + "/commits/" + p, "html_url": r.html() + "/commit/" + p})
	}
	return object{
		"url": api + "/commits/" + k.sha, "sha": k.sha, "node_id": node("C", k.sha), "html_url": r.html() + "/commit/" + k.sha, "comments_url": api + "/commits/" + k.sha + "/comments",
		"commit": object{
			"url": api + "/git/commits/" + k.sha, "author": k.author.object(), "committer": k.committer.object(), "message": k.message, "comment_count": 0,
			"tree": object{"sha": k.tree, "url": api + "/git/trees/" + k.tree}, "verification": unsigned(),
		},
		"author": r.w.account(k.author), "committer": r.w.account(k.committer), "parents": parents,
	}
}

func (r *Repository) gitCommitObject(k commit) object {
	api := r.api()
	parents := []any{}
	for _, p := range k.parents {
		parents = append(parents, object{"sha": p, "url": api + "/git/commits/" + p, "html_url": r.html() + "/commit/" + p})
	}
	return object{
		"sha": k.sha, "node_id": node("C", k.sha), "url": api + "/git/commits/" + k.sha, "html_url": r.html() + "/commit/" + k.sha, "author": k.author.object(),
		"committer": k.committer.object(), "message": k.message, "tree": object{"sha": k.tree, "url": api + "/git/trees/" + k.tree}, "parents": parents, "verification": unsigned(),
	}
}

func (r *Repository) changeObject(ch change, at string) object {
	path := escapePath(ch.path)
	o := object{
		"sha": ch.sha, "filename": ch.path, "status": ch.status, "additions": ch.added, "deletions": ch.deleted, "changes": ch.added + ch.deleted,
		"blob_url": r.html() + "/blob/" + at + "/" + path, "raw_url": r.html() + "/raw/" + at + "/" + path, "contents_url": r.api() + "/contents/" + path + "?ref=" + at,
	}
	if ch.previous != "" {
		o["previous_filename"] = ch.previous
	}
	return o
}

// commitOf is the commit that a name in the path stands for, or the refusal that GitHub has for unknown ones.
func (c *call) commitOf(name string) (string, error) {
	sha, _, err := c.repo.resolve(name)
	if err == nil && sha == "" {
		err = refuse(http.StatusUnprocessableEntity, "No commit found for SHA: %s", name)
	}
	return sha, err
}

func getCommit(c *call) (answer, error) {
	if err := c.repo.notEmpty(); err != nil {
		return answer{}, err
	}
	sha, err := c.commitOf(c.vars["ref"])
	if err != nil {
		return answer{}, err
	}
	k, err := c.repo.commit(sha)
	if err != nil {
		return answer{}, err
	}
	from := emptyTree
	if len(k.parents) > 0 {
		from = k.parents[0]
	}
	changes, err := c.repo.diff(from, sha)
	if err != nil {
		return answer{}, err
	}
	o := c.repo.commitObject(k)
	added, deleted := 0, 0
	for _, ch := range changes {
		added, deleted = added+ch.added, deleted+ch.deleted
	}
	o["stats"] = object{"additions": added, "deletions": deleted, "total": added + deleted}
	first, last, page, perPage := c.window(len(changes))
	if c.query("per_page") == "" {
		first, last, page, perPage = 0, min(len(changes), 300), 1, 300
	}
	files := []any{}
	for _, ch := range changes[first:last] {
		files = append(files, c.repo.changeObject(ch, sha))
	}
	o["files"] = files
	a := answer{status: http.StatusOK, body: o}
	if link := c.links(len(changes), page, perPage); link != "" {
		a.header = map[string]string{"Link": link}
	}
	return a, nil
}

func listCommits(c *call) (answer, error) {
	if err := c.repo.notEmpty(); err != nil {
		return answer{}, err
	}
	for _, filter := range []string{"path", "author", "committer", "since", "until"} {
		if c.query(filter) != "" {
			return answer{}, refuse(http.StatusBadRequest, "%s is not played here", filter)
		}
	}
	sha, _, err := c.repo.resolve(deflt(c.query("sha"), defaultBranch))
	if err != nil {
		return answer{}, err
	}
	if sha == "" {
		return answer{}, notFound()
	}
	list, err := c.repo.log(sha)
	if err != nil {
		return answer{}, err
	}
	return paged(c, list, func(k commit) any { return c.repo.commitObject(k) }, nil)
}

// compare compares base...head. Without paging at most 250 commits are shown; files, at most 300, are on page 1 only
// (wire.md §1.2).
func compare(c *call) (answer, error) {
	base, head, found := strings.Cut(c.vars["basehead"], "...")
	if !found {
		return answer{}, notFound()
	}
	if strings.Contains(base, ":") || strings.Contains(head, ":") { // owner:branch over the network of forks is not played
		return answer{}, notFound()
	}
	baseSHA, _, err := c.repo.resolve(base)
	if err != nil {
		return answer{}, err
	}
	headSHA, _, err := c.repo.resolve(head)
	if err != nil {
		return answer{}, err
	}
	if baseSHA == "" || headSHA == "" {
		return answer{}, notFound()
	}
	fork, err := c.repo.mergeBase(baseSHA, headSHA)
	if err != nil {
		return answer{}, err
	}
	if fork == "" {
		return answer{}, refuse(http.StatusNotFound, "No common ancestor between %s and %s.", base, head)
	}
	commits, err := c.repo.log("--reverse", "--topo-order", headSHA, "^"+baseSHA)
	if err != nil {
		return answer{}, err
	}
	behind, err := c.repo.count(baseSHA, "^"+headSHA)
	if err != nil {
		return answer{}, err
	}
	changes, err := c.repo.diff(fork, headSHA)
	if err != nil {
		return answer{}, err
	}
	baseCommit, err := c.repo.commit(baseSHA)
	if err != nil {
		return answer{}, err
	}
	forkCommit, err := c.repo.commit(fork)
	if err != nil {
		return answer{}, err
	}
	status := "diverged"
	switch ahead := len(commits); {
	case ahead == 0 && behind == 0:
		status = "identical"
	case behind == 0:
		status = "ahead"
	case ahead == 0:
		status = "behind"
	}
	shown, files := commits, []any{}
	header := map[string]string{}
	page := 1
	if c.query("page") != "" || c.query("per_page") != "" {
		var from, to, perPage int
		from, to, page, perPage = c.window(len(commits))
		shown = commits[from:to]
		if link := c.links(len(commits), page, perPage); link != "" {
			header["Link"] = link
		}
	} else if len(shown) > 250 {
		shown = shown[len(shown)-250:]
	}
	if page == 1 {
		for _, ch := range changes[:min(len(changes), 300)] {
			files = append(files, c.repo.changeObject(ch, headSHA))
		}
	}
	list := []any{}
	for _, k := range shown {
		list = append(list, c.repo.commitObject(k))
	}
	spec := escapePath(base) + "..." + escapePath(head)
	html := c.repo.html() + "/compare/" + spec
	return answer{status: http.StatusOK, header: header, body: object{
		"url": c.repo.api() + "/compare/" + spec, "html_url": html, "permalink_url": c.repo.html() + "/compare/" + baseSHA + "..." + headSHA,
		"diff_url": html + ".diff", "patch_url": html + ".patch", "base_commit": c.repo.commitObject(baseCommit), "merge_base_commit": c.repo.commitObject(forkCommit),
		"status": status, "ahead_by": len(commits), "behind_by": behind, "total_commits": len(commits), "commits": list, "files": files,
	}}, nil
}

func getGitCommit(c *call) (answer, error) {
	if kind, err := c.repo.objectType(c.vars["commit_sha"]); err != nil || kind != "commit" {
		if err == nil {
			err = notFound()
		}
		return answer{}, err
	}
	k, err := c.repo.commit(c.vars["commit_sha"])
	if err != nil {
		return answer{}, err
	}
	return ok(c.repo.gitCommitObject(k))
}

func getBlob(c *call) (answer, error) {
	sha := c.vars["file_sha"]
	if kind, err := c.repo.objectType(sha); err != nil || kind != "blob" {
		if err == nil {
			err = notFound()
		}
		return answer{}, err
	}
	content, err := c.w.run(c.repo.Dir, nil, "cat-file", "blob", sha)
	if err != nil {
		return answer{}, err
	}
	return ok(object{
		"sha": sha, "node_id": node("B", sha), "size": len(content), "url": c.repo.api() + "/git/blobs/" + sha, "encoding": "base64",
		"content": base64.StdEncoding.EncodeToString(content),
	})
}

// listBranches and getBranch read branches; protection is not played, so none is protected.
func listBranches(c *call) (answer, error) {
	list, err := c.repo.refs("refs/heads/")
	if err != nil {
		return answer{}, err
	}
	if c.query("protected") == "true" {
		list = nil
	}
	return paged(c, list, func(x ref) any {
		return object{"name": strings.TrimPrefix(x.name, "refs/heads/"), "commit": object{"sha": x.sha, "url": c.repo.api() + "/commits/" + x.sha}, "protected": false}
	}, nil)
}

func getBranch(c *call) (answer, error) {
	name := c.vars["branch"]
	x, there, err := c.repo.ref("refs/heads/" + name)
	if err != nil {
		return answer{}, err
	}
	if !there {
		return answer{}, refuse(http.StatusNotFound, "Branch not found")
	}
	k, err := c.repo.commit(x.sha)
	if err != nil {
		return answer{}, err
	}
	self := c.repo.api() + "/branches/" + escapePath(name)
	return ok(object{
		"name": name, "commit": c.repo.commitObject(k), "_links": object{"self": self, "html": c.repo.html() + "/tree/" + escapePath(name)}, "protected": false,
		"protection": object{"enabled": false, "required_status_checks": object{"enforcement_level": "off", "contexts": []any{}, "checks": []any{}}}, "protection_url": self + "/protection",
	})
}

// getContents reads a file. Directories, links and submodules are not played.
func getContents(c *call) (answer, error) {
	at, _, err := c.repo.resolve(deflt(c.query("ref"), defaultBranch))
	if err != nil {
		return answer{}, err
	}
	path := c.vars["path"]
	if at == "" || !validPath(path) {
		return answer{}, notFound()
	}
	content, sha, err := c.repo.file(at, path)
	if err != nil {
		return answer{}, err
	}
	if sha == "" {
		return answer{}, notFound()
	}
	url := c.repo.api() + "/contents/" + escapePath(path) + "?ref=" + at
	git, html := c.repo.api()+"/git/blobs/"+sha, c.repo.html()+"/blob/"+at+"/"+escapePath(path)
	return ok(object{
		"type": "file", "encoding": "base64", "size": len(content), "name": path[strings.LastIndexByte(path, '/')+1:], "path": path,
		"content": base64.StdEncoding.EncodeToString(content), "sha": sha, "url": url, "git_url": git, "html_url": html,
		"download_url": c.repo.html() + "/raw/" + at + "/" + escapePath(path), "_links": object{"git": git, "self": url, "html": html},
	})
}

// file reads a regular file of a commit; sha is "" when there is none. The path is looked up by standard input.
func (r *Repository) file(at, path string) (content []byte, sha string, err error) {
	if strings.ContainsAny(path, "\n") {
		return nil, "", nil
	}
	out, err := r.w.run(r.Dir, []byte(at+":"+path+"\n"), "cat-file", "--batch-check=%(objecttype) %(objectname)")
	if err != nil {
		return nil, "", err
	}
	f := strings.Fields(string(out))
	if len(f) != 2 || f[0] != "blob" {
		return nil, "", nil
	}
	content, err = r.w.run(r.Dir, nil, "cat-file", "blob", f[1])
	return content, f[1], err
}
