package github

import (
	"errors"
	"net/http"
	"strings"
)

func (r *Repository) refURL(name string) string {
	return r.api() + "/git/" + escapePath(name)
}

func (r *Repository) refObject(x ref) object {
	return object{
		"ref": x.name, "node_id": node("REF", x.name), "url": r.refURL(x.name),
		"object": object{"sha": x.sha, "type": x.kind, "url": r.api() + "/git/" + x.kind + "s/" + x.sha},
	}
}

// notEmpty is the 409 of git endpoints on a repository without a commit (wire.md §1.2).
func (r *Repository) notEmpty() error {
	list, err := r.refs("refs/")
	if err == nil && len(list) == 0 {
		return refuse(http.StatusConflict, "Git Repository is empty.")
	}
	return err
}

func getRef(c *call) (answer, error) {
	if err := c.repo.notEmpty(); err != nil {
		return answer{}, err
	}
	x, there, err := c.repo.ref("refs/" + c.vars["ref"])
	if err != nil {
		return answer{}, err
	}
	if !there {
		return answer{}, notFound()
	}
	return ok(c.repo.refObject(x))
}

// matchingRefs matches by prefix, not by path: heads/shops finds shops-old too (wire.md §1.2).
func matchingRefs(c *call) (answer, error) {
	if err := c.repo.notEmpty(); err != nil {
		return answer{}, err
	}
	// The trailing slash of heads/shops/ is a part of the prefix.
	prefix := "refs/" + c.vars["ref"]
	list, err := c.repo.refs(prefix)
	if err != nil {
		return answer{}, err
	}
	out := []any{}
	for _, x := range list {
		out = append(out, c.repo.refObject(x))
	}
	return ok(out)
}

func createRef(c *call) (answer, error) {
	var in struct {
		Ref *string `json:"ref"`
		SHA *string `json:"sha"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if in.Ref == nil || in.SHA == nil {
		return answer{}, missing("ref", "sha")
	}
	if err := c.repo.notEmpty(); err != nil {
		return answer{}, err
	}
	name := *in.Ref
	if !strings.HasPrefix(name, "refs/") || strings.Count(name, "/") < 2 {
		return answer{}, refuse(http.StatusUnprocessableEntity, "Reference name must start with 'refs/' and contain at least two slashes")
	}
	if !validRef(name) || reserved(name) {
		return answer{}, refuse(http.StatusUnprocessableEntity, "%s is not a valid ref name.", name)
	}
	if err := c.target(name, *in.SHA); err != nil {
		return answer{}, err
	}
	if _, there, err := c.repo.ref(name); err != nil || there {
		if there {
			err = refuse(http.StatusUnprocessableEntity, "Reference already exists")
		}
		return answer{}, err
	}
	if err := c.repo.mayBringWorkflows(c.cred, name, zeros, *in.SHA); err != nil {
		return answer{}, inaccessible()
	}
	if err := c.mayMove(refUpdate{name, zeros, *in.SHA}); err != nil {
		return answer{}, err
	}
	if err := c.repo.move(c.cred, []refUpdate{{name, zeros, *in.SHA}}); err != nil {
		return answer{}, updateFailed(err)
	}
	x, _, err := c.repo.ref(name)
	if err != nil {
		return answer{}, err
	}
	return created(c.repo.refObject(x))
}

// target checks that an object can be what a ref points to.
func (c *call) target(name, sha string) error {
	kind, err := c.repo.objectType(sha)
	switch {
	case err != nil:
		return err
	case kind == "":
		return refuse(http.StatusUnprocessableEntity, "Object does not exist")
	case strings.HasPrefix(name, "refs/heads/") && kind != "commit":
		return refuse(http.StatusUnprocessableEntity, "Reference update failed")
	}
	return nil
}

// isFastForward tells whether a ref that moves to an object keeps all that it has.
func (r *Repository) isFastForward(x ref, to string) (bool, error) {
	if x.kind != "commit" {
		return x.sha == to, nil
	}
	if kind, err := r.objectType(to); err != nil || kind != "commit" {
		return false, err
	}
	return r.isAncestor(x.sha, to)
}

// reserved tells whether only GitHub itself writes a ref.
func reserved(name string) bool { return strings.HasPrefix(name, "refs/pull/") }

func updateFailed(err error) error {
	if errors.Is(err, errMoved) { // refs/heads/a when there is refs/heads/a/b
		return refuse(http.StatusUnprocessableEntity, "Reference update failed")
	}
	return err
}

func updateRef(c *call) (answer, error) {
	var in struct {
		SHA   *string `json:"sha"`
		Force bool    `json:"force"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if in.SHA == nil {
		return answer{}, missing("sha")
	}
	if err := c.repo.notEmpty(); err != nil {
		return answer{}, err
	}
	name := "refs/" + c.vars["ref"]
	x, there, err := c.repo.ref(name)
	switch {
	case err != nil:
		return answer{}, err
	case !there || reserved(name):
		return answer{}, refuse(http.StatusUnprocessableEntity, "Reference does not exist")
	}
	if err := c.target(name, *in.SHA); err != nil {
		return answer{}, err
	}
	if !in.Force && !strings.HasPrefix(name, "refs/tags/") {
		ff, err := c.repo.isFastForward(x, *in.SHA)
		if err != nil {
			return answer{}, err
		}
		if !ff {
			return answer{}, refuse(http.StatusUnprocessableEntity, "Update is not a fast forward")
		}
	}
	if err := c.repo.mayBringWorkflows(c.cred, name, x.sha, *in.SHA); err != nil {
		return answer{}, inaccessible()
	}
	if err := c.mayMove(refUpdate{name, x.sha, *in.SHA}); err != nil {
		return answer{}, err
	}
	if err := c.repo.move(c.cred, []refUpdate{{name, x.sha, *in.SHA}}); err != nil {
		return answer{}, updateFailed(err)
	}
	if x, _, err = c.repo.ref(name); err != nil {
		return answer{}, err
	}
	return ok(c.repo.refObject(x))
}

func deleteRef(c *call) (answer, error) {
	if err := c.repo.notEmpty(); err != nil {
		return answer{}, err
	}
	name := "refs/" + c.vars["ref"]
	x, there, err := c.repo.ref(name)
	switch {
	case err != nil:
		return answer{}, err
	case !there || reserved(name):
		return answer{}, refuse(http.StatusUnprocessableEntity, "Reference does not exist")
	case name == "refs/heads/"+defaultBranch:
		return answer{}, refuse(http.StatusUnprocessableEntity, "Cannot delete the default branch")
	}
	if err := c.mayMove(refUpdate{name, x.sha, zeros}); err != nil {
		return answer{}, err
	}
	if err := c.repo.move(c.cred, []refUpdate{{name, x.sha, zeros}}); err != nil {
		return answer{}, updateFailed(err)
	}
	return noContent()
}
