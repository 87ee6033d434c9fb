package github

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func createBlob(c *call) (answer, error) {
	var in struct {
		Content  *string `json:"content"`
		Encoding string  `json:"encoding"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if in.Content == nil {
		return answer{}, missing("content")
	}
	if err := c.repo.notEmpty(); err != nil {
		return answer{}, err
	}
	content := []byte(*in.Content)
	switch deflt(in.Encoding, "utf-8") {
	case "utf-8":
	case "base64":
		var err error
		if content, err = base64.StdEncoding.DecodeString(strings.NewReplacer("\n", "", "\r", "").Replace(*in.Content)); err != nil {
			return answer{}, refuse(http.StatusUnprocessableEntity, "content is not valid Base64")
		}
	default:
		return answer{}, refuse(http.StatusUnprocessableEntity, "encoding must be utf-8 or base64")
	}
	out, err := c.w.run(c.repo.Dir, content, "hash-object", "-w", "--stdin")
	if err != nil {
		return answer{}, err
	}
	sha := strings.TrimSpace(string(out))
	return created(object{"url": c.repo.api() + "/git/blobs/" + sha, "sha": sha})
}

type treeEntry struct {
	path, mode, kind, sha string
	size                  int64
}

// tree lists a tree.
func (r *Repository) tree(sha string, recursive bool) ([]treeEntry, error) {
	args := []string{"ls-tree", "-z", "-l"}
	if recursive {
		args = append(args, "-r", "-t")
	}
	out, err := r.w.run(r.Dir, nil, append(args, sha)...)
	if err != nil {
		return nil, err
	}
	var list []treeEntry
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		meta, path, found := strings.Cut(line, "\t")
		f := strings.Fields(meta)
		if !found || len(f) != 4 {
			continue
		}
		e := treeEntry{path: path, mode: f[0], kind: f[1], sha: f[2], size: -1}
		if n, err := strconv.ParseInt(f[3], 10, 64); err == nil {
			e.size = n
		}
		list = append(list, e)
	}
	return list, nil
}

func (r *Repository) treeObject(sha string, recursive bool) (object, error) {
	list, err := r.tree(sha, recursive)
	if err != nil {
		return nil, err
	}
	entries := []any{}
	for _, e := range list {
		o := object{"path": e.path, "mode": e.mode, "type": e.kind, "sha": e.sha}
		if e.kind != "commit" {
			o["url"] = r.api() + "/git/" + e.kind + "s/" + e.sha
		}
		if e.size >= 0 {
			o["size"] = e.size
		}
		entries = append(entries, o)
	}
	return object{"sha": sha, "url": r.api() + "/git/trees/" + sha, "truncated": false, "tree": entries}, nil
}

func getTree(c *call) (answer, error) {
	name := c.vars["tree_sha"]
	kind, err := c.repo.objectType(name)
	if err != nil {
		return answer{}, err
	}
	if kind != "tree" {
		sha, _, err := c.repo.resolve(name)
		if err != nil || sha == "" {
			if err == nil {
				err = notFound()
			}
			return answer{}, err
		}
		k, err := c.repo.commit(sha)
		if err != nil {
			return answer{}, err
		}
		name = k.tree
	}
	o, err := c.repo.treeObject(name, c.query("recursive") != "")
	if err != nil {
		return answer{}, err
	}
	return ok(o)
}

func createTree(c *call) (answer, error) {
	var in struct {
		BaseTree *string `json:"base_tree"`
		Tree     []struct {
			Path    *string         `json:"path"`
			Mode    string          `json:"mode"`
			Type    string          `json:"type"`
			SHA     json.RawMessage `json:"sha"`
			Content *string         `json:"content"`
		} `json:"tree"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if in.Tree == nil {
		return answer{}, missing("tree")
	}
	if err := c.repo.notEmpty(); err != nil {
		return answer{}, err
	}
	base, present := "", map[string]bool{}
	if in.BaseTree != nil && *in.BaseTree != "" {
		kind, err := c.repo.objectType(*in.BaseTree)
		if err != nil {
			return answer{}, err
		}
		if kind != "tree" && kind != "commit" {
			return answer{}, refuse(http.StatusUnprocessableEntity, "base_tree is not a valid tree oid")
		}
		base = *in.BaseTree
		list, err := c.repo.tree(base, true)
		if err != nil {
			return answer{}, err
		}
		for _, e := range list {
			present[e.path] = true
		}
	}
	var edits []edit
	for _, t := range in.Tree {
		if t.Path == nil || !validPath(*t.Path) {
			return answer{}, refuse(http.StatusUnprocessableEntity, "tree.path contains a malformed path component")
		}
		e := edit{path: *t.Path, mode: t.Mode, content: t.Content}
		gone := string(t.SHA) == "null"
		switch {
		case gone && !present[e.path]: // wire.md §1.2
			return answer{}, refuse(http.StatusUnprocessableEntity, "GitRPC::BadObjectState")
		case gone:
			edits = append(edits, e)
			continue
		case !slices.Contains([]string{"100644", "100755", "120000"}, e.mode):
			return answer{}, refuse(http.StatusUnprocessableEntity, "Must supply a valid tree.mode") // 040000 and 160000 are not played
		case (t.SHA == nil) == (t.Content == nil):
			return answer{}, refuse(http.StatusUnprocessableEntity, "Must supply either tree.sha or tree.content")
		}
		if t.SHA != nil {
			if json.Unmarshal(t.SHA, &e.sha) != nil {
				return answer{}, refuse(http.StatusUnprocessableEntity, "tree.sha %s is not a valid blob", t.SHA)
			}
			if kind, err := c.repo.objectType(e.sha); err != nil || kind != "blob" {
				if err == nil {
					err = refuse(http.StatusUnprocessableEntity, "tree.sha %s is not a valid blob", e.sha)
				}
				return answer{}, err
			}
		}
		edits = append(edits, e)
	}
	sha, err := c.repo.writeTree(base, edits)
	if exitCode(err) > 0 {
		return answer{}, refuse(http.StatusUnprocessableEntity, "Invalid tree info")
	}
	if err != nil {
		return answer{}, err
	}
	o, err := c.repo.treeObject(sha, false)
	if err != nil {
		return answer{}, err
	}
	return created(o)
}

func createCommit(c *call) (answer, error) {
	type person struct {
		Name  *string    `json:"name"`
		Email *string    `json:"email"`
		Date  *time.Time `json:"date"`
	}
	var in struct {
		Message   *string  `json:"message"`
		Tree      *string  `json:"tree"`
		Parents   []string `json:"parents"`
		Author    *person  `json:"author"`
		Committer *person  `json:"committer"`
		Signature *string  `json:"signature"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	switch {
	case in.Message == nil || in.Tree == nil:
		return answer{}, missing("message", "tree")
	case in.Signature != nil:
		return answer{}, refuse(http.StatusUnprocessableEntity, "signature is not played here")
	}
	if kind, err := c.repo.objectType(*in.Tree); err != nil || kind != "tree" {
		if err == nil {
			err = refuse(http.StatusUnprocessableEntity, "Tree SHA does not exist")
		}
		return answer{}, err
	}
	for _, p := range in.Parents {
		if kind, err := c.repo.objectType(p); err != nil || kind != "commit" {
			if err == nil {
				err = refuse(http.StatusUnprocessableEntity, "Parent SHA does not exist or is not a commit object")
			}
			return answer{}, err
		}
	}
	me := c.w.signs(c.cred.user)
	sign := func(p *person, otherwise signature) (signature, error) {
		if p == nil {
			return otherwise, nil
		}
		if p.Name == nil || p.Email == nil || strings.ContainsAny(*p.Name+*p.Email, "<>\n\x00") || strings.TrimSpace(*p.Name) == "" {
			return signature{}, invalid("Commit", "author", "invalid", "")
		}
		return signature{*p.Name, *p.Email, deref(p.Date, me.date)}, nil
	}
	author, err := sign(in.Author, me)
	if err != nil {
		return answer{}, err
	}
	committer, err := sign(in.Committer, author)
	if err != nil {
		return answer{}, err
	}
	sha, err := c.repo.commitTree(*in.Tree, strings.ReplaceAll(*in.Message, "\x00", ""), author, committer, in.Parents...)
	if err != nil {
		return answer{}, err
	}
	k, err := c.repo.commit(sha)
	if err != nil {
		return answer{}, err
	}
	return created(c.repo.gitCommitObject(k))
}
