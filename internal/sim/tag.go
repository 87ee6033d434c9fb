package sim

import (
	"encoding/hex"
	"encoding/json"
	"hash/fnv"
	"net/http"
	"slices"
	"strings"
)

// Resource tagging, as documented for its public beta: tags are a map per resource that PUT replaces whole, an untagged
// or unknown resource has an empty map, and If-Match with the etag makes a write conditional.

func tagEndpoints() []endpoint {
	const tags = "/accounts/{account}/tags"
	return []endpoint{
		{"GET " + tags, reads, (*call).getTags},
		{"PUT " + tags, writes, (*call).putTags},
		{"DELETE " + tags, writes, (*call).deleteTags},
		{"GET " + tags + "/keys", reads, (*call).tagKeys},
		{"GET " + tags + "/values/{key}", reads, (*call).tagValues},
		{"GET " + tags + "/resources", reads, (*call).taggedResources},
	}
}

// taggedItem are the tags of one resource.
type taggedItem struct {
	Type   string            `json:"type"`
	ID     string            `json:"id"`
	Worker string            `json:"worker_id,omitempty"` // of a worker_version
	Tags   map[string]string `json:"tags"`
}

// tagTypes are the account-level resource types of products that a world has.
var tagTypes = []string{"account", "d1_database", "durable_object_namespace", "kv_namespace", "queue", "r2_bucket", "worker", "worker_version"}

func (t *taggedItem) key() string { return t.Type + "/" + t.Worker + "/" + t.ID }

// etag changes with the tags.
func (t *taggedItem) etag() string {
	b, _ := json.Marshal(t.Tags) // map[string]string
	h := fnv.New128a()
	h.Write(b)
	return hex.EncodeToString(h.Sum(nil))
}

func (t *taggedItem) view() map[string]any {
	out := map[string]any{"id": t.ID, "type": t.Type, "name": t.ID, "etag": t.etag(), "tags": t.Tags}
	if t.Worker != "" {
		out["worker_id"] = t.Worker
	}
	return out
}

type tagRequest struct {
	Type   string            `json:"resource_type"`
	ID     string            `json:"resource_id"`
	Worker string            `json:"worker_id"`
	Tags   map[string]string `json:"tags"`
}

// item finds the tags of a resource, empty ones when it has none.
func (c *call) item(in tagRequest) (*taggedItem, error) {
	switch {
	case !slices.Contains(tagTypes, in.Type):
		return nil, refuse(http.StatusBadRequest, 1001, "resource_type %q is not supported", in.Type)
	case in.ID == "":
		return nil, refuse(http.StatusBadRequest, 1001, "resource_id is required")
	case in.Type == "worker_version" && in.Worker == "":
		return nil, refuse(http.StatusBadRequest, 1001, "worker_id is required for a worker_version")
	}
	t := &taggedItem{Type: in.Type, ID: in.ID, Worker: in.Worker, Tags: map[string]string{}}
	if have := c.account.Tags[t.key()]; have != nil {
		return have, nil
	}
	return t, nil
}

func (c *call) getTags() (any, error) {
	t, err := c.item(tagRequest{Type: c.query("resource_type"), ID: c.query("resource_id"), Worker: c.query("worker_id")})
	if err != nil {
		return nil, err
	}
	return t.view(), nil
}

func (c *call) ifMatch(t *taggedItem) error {
	if want := strings.Trim(c.r.Header.Get("If-Match"), `"`); want != "" && want != t.etag() {
		return refuse(http.StatusPreconditionFailed, 1012, "the resource's tags have been modified since the etag was obtained")
	}
	return nil
}

func (c *call) putTags() (any, error) {
	var in tagRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	t, err := c.item(in)
	if err != nil {
		return nil, err
	}
	if in.Tags == nil {
		return nil, refuse(http.StatusBadRequest, 1001, "tags is required")
	}
	if err := c.ifMatch(t); err != nil {
		return nil, err
	}
	made := &taggedItem{Type: t.Type, ID: t.ID, Worker: t.Worker, Tags: in.Tags}
	if c.account.Tags == nil {
		c.account.Tags = map[string]*taggedItem{}
	}
	c.account.Tags[made.key()] = made
	c.w.touch(c.account)
	return made.view(), nil
}

// deleteTags takes the resource from the body or from the query.
func (c *call) deleteTags() (any, error) {
	in := tagRequest{Type: c.query("resource_type"), ID: c.query("resource_id"), Worker: c.query("worker_id")}
	if len(c.body) > 0 {
		if err := c.decode(&in); err != nil {
			return nil, err
		}
	}
	t, err := c.item(in)
	if err != nil {
		return nil, err
	}
	if err := c.ifMatch(t); err != nil {
		return nil, err
	}
	delete(c.account.Tags, t.key())
	c.w.touch(c.account)
	return nil, nil
}

func (c *call) tagKeys() (any, error) {
	keys := map[string]bool{}
	for _, t := range c.account.Tags {
		for k := range t.Tags {
			keys[k] = true
		}
	}
	return sortedKeys(keys), nil
}

func (c *call) tagValues() (any, error) {
	values := map[string]bool{}
	for _, t := range c.account.Tags {
		if v, ok := t.Tags[c.path("key")]; ok {
			values[v] = true
		}
	}
	return sortedKeys(values), nil
}

// taggedResources filters by any number of `tag` parameters, all of which must hold: key, !key, key=value[,value…], key!=value.
func (c *call) taggedResources() (any, error) {
	filters := c.r.URL.Query()["tag"]
	for _, f := range filters {
		if strings.Count(f, ",") >= 10 {
			return nil, refuse(http.StatusBadRequest, 1013, "a tag filter has at most 10 values")
		}
	}
	list := []map[string]any{}
	for _, key := range sortedKeys(c.account.Tags) {
		t := c.account.Tags[key]
		if want := c.r.URL.Query()["type"]; len(want) > 0 && !slices.Contains(want, t.Type) {
			continue
		}
		if !slices.ContainsFunc(filters, func(f string) bool { return !t.matches(f) }) && len(t.Tags) > 0 {
			list = append(list, t.view())
		}
	}
	return cursored(c, list, 100, 1000), nil
}

func (t *taggedItem) matches(filter string) bool {
	if key, ok := strings.CutPrefix(filter, "!"); ok {
		_, has := t.Tags[key]
		return !has
	}
	if key, value, ok := strings.Cut(filter, "!="); ok {
		return t.Tags[key] != value
	}
	key, values, valued := strings.Cut(filter, "=")
	have, has := t.Tags[key]
	return has && (!valued || slices.Contains(strings.Split(values, ","), have))
}
