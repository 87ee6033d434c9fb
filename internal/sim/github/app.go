package github

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func getApp(c *call) (answer, error) {
	o := c.w.app(c.cred.app).(object)
	o["installations_count"] = len(c.cred.app.installations)
	return ok(o)
}

func (w *World) installationObject(i *Installation) object {
	selection := "all"
	if len(i.repos) > 0 {
		selection = "selected"
	}
	url := fmt.Sprintf("%s/app/installations/%d", w.apiURL, i.ID)
	var by any
	if !i.suspended.IsZero() {
		by = w.user(i.account)
	}
	return object{
		"id": i.ID, "account": w.user(i.account), "repository_selection": selection, "access_tokens_url": url + "/access_tokens",
		"repositories_url": w.apiURL + "/installation/repositories", "html_url": fmt.Sprintf("%s/organizations/%s/settings/installations/%d", w.gitURL, i.account.Login, i.ID),
		"app_id": i.app.ID, "client_id": i.app.ClientID, "app_slug": i.app.Slug, "target_id": i.account.ID, "target_type": i.account.Type,
		"permissions": maps.Clone(i.app.permissions), "events": append([]string{}, i.app.events...), "created_at": stamp(i.created), "updated_at": stamp(i.created),
		"single_file_name": nil, "has_multiple_single_files": false, "single_file_paths": []any{}, "suspended_by": by, "suspended_at": maybeStamp(i.suspended),
	}
}

func listInstallations(c *call) (answer, error) {
	return paged(c, c.cred.app.installations, func(i *Installation) any { return c.w.installationObject(i) }, nil)
}

// findInstallation is the installation of the path, if it is the App's own.
func (c *call) findInstallation() (*Installation, error) {
	for _, i := range c.cred.app.installations {
		if strconv.FormatInt(i.ID, 10) == c.vars["installation_id"] {
			return i, nil
		}
	}
	return nil, notFound()
}

func getInstallation(c *call) (answer, error) {
	i, err := c.findInstallation()
	if err != nil {
		return answer{}, err
	}
	return ok(c.w.installationObject(i))
}

func repositoryInstallation(c *call) (answer, error) {
	for _, i := range c.cred.app.installations {
		if i.covers(c.repo) {
			return ok(c.w.installationObject(i))
		}
	}
	return answer{}, notFound()
}

const maxTokenRepositories = 500

// createToken makes an installation token. The body can only scope down (wire.md §1.1).
func createToken(c *call) (answer, error) {
	i, err := c.findInstallation()
	if err != nil {
		return answer{}, err
	}
	var in struct {
		Repositories  *[]string          `json:"repositories"`
		RepositoryIDs *[]int64           `json:"repository_ids"`
		Permissions   *map[string]string `json:"permissions"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if !i.suspended.IsZero() {
		return answer{}, refuse(http.StatusForbidden, "This installation has been suspended")
	}
	granted := maps.Clone(i.app.permissions)
	if in.Permissions != nil && len(*in.Permissions) > 0 {
		asked, err := appPermissions(*in.Permissions)
		if err != nil {
			return answer{}, refuse(http.StatusUnprocessableEntity, "The permissions requested are not valid: %v.", err)
		}
		for name, level := range asked {
			if have := granted[name]; have == "" || have == "read" && level == "write" {
				return answer{}, refuse(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
			}
		}
		granted = asked
	}
	repos, err := c.scope(i, in.Repositories, in.RepositoryIDs)
	if err != nil {
		return answer{}, err
	}
	// The newer format of tokens is much longer than 40 characters and has dots in it (wire.md §1.1).
	value := fmt.Sprintf("ghs_%d_%s.%s.%s", i.app.ID, c.w.letters(36), c.w.letters(240), c.w.letters(86))
	expires := c.w.clock().Add(time.Hour)
	c.w.tokens[value] = &credential{
		kind: installation, name: "installation token of " + i.app.Slug, user: i.app.bot, app: i.app, inst: i, repos: repos, permissions: granted, expires: expires,
	}
	selection := "all"
	if repos != nil || len(i.repos) > 0 {
		selection = "selected"
	}
	body := object{"token": value, "expires_at": stamp(expires), "permissions": granted, "repository_selection": selection}
	if repos != nil {
		list := []any{}
		for _, r := range repos {
			list = append(list, c.w.repository(r))
		}
		body["repositories"] = list
	}
	return created(body)
}

// scope finds the repositories that a token is asked for; nil means all.
func (c *call) scope(i *Installation, names *[]string, ids *[]int64) ([]*Repository, error) {
	unknown := refuse(http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.")
	if len(deref(names, nil))+len(deref(ids, nil)) > maxTokenRepositories {
		return nil, refuse(http.StatusUnprocessableEntity, "At most %d repositories can be selected.", maxTokenRepositories)
	}
	var repos []*Repository
	take := func(found func(*Repository) bool) bool {
		for _, r := range c.w.repos {
			if i.covers(r) && found(r) {
				if !slices.Contains(repos, r) {
					repos = append(repos, r)
				}
				return true
			}
		}
		return false
	}
	for _, name := range deref(names, nil) {
		if !take(func(r *Repository) bool { return strings.EqualFold(r.Name, name) }) {
			return nil, unknown
		}
	}
	for _, id := range deref(ids, nil) {
		if !take(func(r *Repository) bool { return r.ID == id }) {
			return nil, unknown
		}
	}
	return repos, nil
}

func installationRepositories(c *call) (answer, error) {
	var list []*Repository
	for _, r := range c.w.repos {
		if c.cred.reaches(r) {
			list = append(list, r)
		}
	}
	selection := "all"
	if c.cred.repos != nil || c.cred.repo != nil || c.cred.inst != nil && len(c.cred.inst.repos) > 0 {
		selection = "selected"
	}
	return paged(c, list, func(r *Repository) any { return c.w.repository(r) }, func(page []any) any {
		return object{"total_count": len(list), "repository_selection": selection, "repositories": page}
	})
}

func revokeToken(c *call) (answer, error) {
	maps.DeleteFunc(c.w.tokens, func(_ string, cred *credential) bool { return cred == c.cred })
	return noContent()
}

// listDeliveries pages by cursor: the Link header names the next one (wire.md §1.1).
func listDeliveries(c *call) (answer, error) {
	perPage, cursor := 30, int64(0)
	if v, err := strconv.Atoi(c.query("per_page")); err == nil && v > 0 {
		perPage = min(v, 100)
	}
	if text := c.query("cursor"); text != "" {
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return answer{}, refuse(http.StatusUnprocessableEntity, "Invalid cursor")
		}
		cursor = v
	}
	status := c.query("status")
	if status != "" && status != "success" && status != "failure" {
		return answer{}, refuse(http.StatusUnprocessableEntity, "Invalid status")
	}
	out, next := []any{}, int64(0)
	for _, d := range slices.Backward(c.cred.app.deliveries) {
		if cursor != 0 && d.id > cursor || status != "" && (status == "success") != d.ok() || c.w.clock().Sub(d.at) > deliveryWindow {
			continue
		}
		if len(out) == perPage {
			next = d.id
			break
		}
		out = append(out, d.item())
	}
	a := answer{status: http.StatusOK, body: out}
	if next != 0 {
		q := c.r.URL.Query()
		q.Set("cursor", strconv.FormatInt(next, 10))
		a.header = map[string]string{"Link": "<" + c.w.apiURL + c.r.URL.EscapedPath() + "?" + q.Encode() + `>; rel="next"`}
	}
	return a, nil
}

// findDelivery is the delivery of the path, as long as it is kept.
func (c *call) findDelivery() (*delivery, error) {
	id, _ := strconv.ParseInt(c.vars["delivery_id"], 10, 64)
	list := c.cred.app.deliveries
	at, found := slices.BinarySearchFunc(list, id, byID)
	if !found || c.w.clock().Sub(list[at].at) > deliveryWindow {
		return nil, notFound()
	}
	return list[at], nil
}

func getDelivery(c *call) (answer, error) {
	d, err := c.findDelivery()
	if err != nil {
		return answer{}, err
	}
	o := d.item()
	o["url"] = d.url
	var payload any
	if json.Valid(d.payload) { // one that Send was given may be anything
		payload = json.RawMessage(d.payload)
	}
	o["request"] = object{"headers": d.headers, "payload": payload}
	headers := object{}
	for k := range d.response.Header {
		headers[k] = d.response.Header.Get(k)
	}
	o["response"] = object{"headers": headers, "payload": maybe(d.responseBody)}
	return ok(o)
}

// redeliver sends the same payload under the same GUID again (wire.md §2d).
func redeliver(c *call) (answer, error) {
	d, err := c.findDelivery()
	if err != nil {
		return answer{}, err
	}
	c.cred.app.again(d)
	return answer{status: http.StatusAccepted, body: object{}}, nil
}
