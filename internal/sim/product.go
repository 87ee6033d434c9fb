package sim

import (
	"encoding/json"
	"net/http"
	"slices"
	"sort"
	"time"
)

// The parts of Queues, Workflows, Workers for Platforms and Durable Objects that a deploy looks up (wire.md §3.1, §3.5, §4.4).

func productEndpoints() []endpoint {
	return []endpoint{
		{"GET /accounts/{account}/queues", reads, (*call).listQueues},
		{"POST /accounts/{account}/queues", writes, (*call).createQueue},
		{"GET /accounts/{account}/workflows/{workflow}", reads, (*call).getWorkflow},
		{"PUT /accounts/{account}/workflows/{workflow}", writes, (*call).putWorkflow},
		{"GET /accounts/{account}/workers/dispatch/namespaces", reads, (*call).listDispatch},
		{"POST /accounts/{account}/workers/dispatch/namespaces", writes, (*call).createDispatch},
		{"GET /accounts/{account}/workers/dispatch/namespaces/{namespace}", reads, (*call).getDispatch},
		{"GET /accounts/{account}/workers/durable_objects/namespaces", reads, (*call).listObjectNamespaces},
		{"GET /accounts/{account}/containers/applications", reads, (*call).listContainers},
	}
}

type queue struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

func queueView(a *account, q *queue) map[string]any {
	producers := []map[string]any{}
	for _, name := range sortedKeys(a.Scripts) {
		if v := a.Scripts[name].face(); v != nil && slices.ContainsFunc(v.Bindings, func(b binding) bool {
			return b.Type == "queue" && b.text("queue_name") == q.Name
		}) {
			producers = append(producers, map[string]any{"type": "worker", "script": name})
		}
	}
	return map[string]any{
		"queue_id": q.ID, "queue_name": q.Name, "created_on": stamp(q.Created), "modified_on": stamp(q.Created),
		"producers": producers, "producers_total_count": len(producers), "consumers": []any{}, "consumers_total_count": 0,
	}
}

func (c *call) listQueues() (any, error) {
	names := c.r.URL.Query()["name"]
	list := []map[string]any{}
	for _, q := range c.account.Queues {
		if len(names) == 0 || slices.Contains(names, q.Name) {
			list = append(list, queueView(c.account, q))
		}
	}
	return paged(c, list, 100, 100), nil
}

func (c *call) createQueue() (any, error) {
	var in struct {
		Name string `json:"queue_name"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Name == "" || len(in.Name) > 63 {
		return nil, refuse(http.StatusBadRequest, 11003, "Queue name is invalid.")
	}
	if slices.ContainsFunc(c.account.Queues, func(q *queue) bool { return q.Name == in.Name }) {
		return nil, refuse(http.StatusConflict, 11009, "Queue name '%s' is already taken.", in.Name)
	}
	q := &queue{ID: c.w.id(), Name: in.Name, Created: c.w.now()}
	c.account.Queues = append(c.account.Queues, q)
	c.w.touch(c.account)
	return queueView(c.account, q), nil
}

type workflow struct {
	ID           string          `json:"id"`
	Name         string          `json:"name"`
	Script       string          `json:"script"`
	Class        string          `json:"class"`
	Jurisdiction string          `json:"jurisdiction,omitempty"`
	Schedules    json.RawMessage `json:"schedules,omitempty"`
	Limits       json.RawMessage `json:"limits,omitempty"`
	Created      time.Time       `json:"created"`
	Modified     time.Time       `json:"modified"`
}

func workflowView(f *workflow) map[string]any {
	out := map[string]any{
		"id": f.ID, "name": f.Name, "script_name": f.Script, "class_name": f.Class, "created_on": stamp(f.Created),
		"modified_on": stamp(f.Modified), "version_id": f.ID, "triggered_on": nil,
	}
	if f.Jurisdiction != "" {
		out["jurisdiction"] = f.Jurisdiction
	}
	return out
}

func (c *call) workflow() *workflow {
	for _, f := range c.account.Workflows {
		if f.Name == c.path("workflow") {
			return f
		}
	}
	return nil
}

func (c *call) getWorkflow() (any, error) {
	f := c.workflow()
	if f == nil {
		return nil, refuse(http.StatusNotFound, 10200, "workflow.not_found")
	}
	return workflowView(f), nil
}

func (c *call) putWorkflow() (any, error) {
	var in struct {
		Script       string          `json:"script_name"`
		Class        string          `json:"class_name"`
		Jurisdiction string          `json:"jurisdiction"`
		Schedules    json.RawMessage `json:"schedules"`
		Limits       json.RawMessage `json:"limits"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	s := c.account.Scripts[in.Script]
	if s == nil || in.Class == "" {
		return nil, refuse(http.StatusBadRequest, 10002, "script_name must be a Worker of the account and class_name one of its exports")
	}
	f := c.workflow()
	switch {
	case f == nil:
		f = &workflow{ID: c.w.uuid(), Name: c.path("workflow"), Created: c.w.now(), Jurisdiction: in.Jurisdiction}
		c.account.Workflows = append(c.account.Workflows, f)
	case in.Jurisdiction != "" && in.Jurisdiction != f.Jurisdiction:
		return nil, refuse(http.StatusBadRequest, 10209, "The jurisdiction of a workflow cannot be changed.")
	}
	f.Script, f.Class, f.Schedules, f.Limits, f.Modified = in.Script, in.Class, in.Schedules, in.Limits, c.w.now()
	c.w.touch(c.account)
	return workflowView(f), nil
}

type dispatchNamespace struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

func dispatchView(n *dispatchNamespace) map[string]any {
	return map[string]any{
		"namespace_id": n.ID, "namespace_name": n.Name, "script_count": 0, "created_on": stamp(n.Created), "modified_on": stamp(n.Created),
		"trusted_workers": false,
	}
}

func (c *call) listDispatch() (any, error) {
	list := []map[string]any{}
	for _, n := range c.account.Dispatch {
		list = append(list, dispatchView(n))
	}
	return paged(c, list, 100, 100), nil
}

func (c *call) createDispatch() (any, error) {
	var in struct {
		Name string `json:"name"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Name == "" {
		return nil, refuse(http.StatusBadRequest, 100026, "name is required")
	}
	for _, n := range c.account.Dispatch {
		if n.Name == in.Name {
			return nil, refuse(http.StatusConflict, 100120, "A dispatch namespace named '%s' already exists.", in.Name)
		}
	}
	n := &dispatchNamespace{ID: c.w.uuid(), Name: in.Name, Created: c.w.now()}
	c.account.Dispatch = append(c.account.Dispatch, n)
	c.w.touch(c.account)
	return dispatchView(n), nil
}

func (c *call) getDispatch() (any, error) {
	for _, n := range c.account.Dispatch {
		if n.Name == c.path("namespace") {
			return dispatchView(n), nil
		}
	}
	return nil, refuse(http.StatusNotFound, 100119, "Dispatch namespace '%s' could not be found.", c.path("namespace"))
}

// listContainers is what wrangler delete asks before it deletes a Worker with Durable Objects. No world has containers.
func (c *call) listContainers() (any, error) { return []any{}, nil }

// listObjectNamespaces lists the Durable Object namespaces that migrations have made.
func (c *call) listObjectNamespaces() (any, error) {
	list := []map[string]any{}
	for _, name := range sortedKeys(c.account.Scripts) {
		s := c.account.Scripts[name]
		for _, class := range sortedKeys(s.Classes) {
			list = append(list, map[string]any{
				"id": s.Classes[class].Namespace, "name": name + "_" + class, "script": name, "class": class, "use_sqlite": s.Classes[class].SQLite,
			})
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i]["name"].(string) < list[j]["name"].(string) })
	return paged(c, list, 20, 1000), nil
}
