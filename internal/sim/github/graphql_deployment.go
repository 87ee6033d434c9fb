package github

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// graphQLDeployments is the part of the schema about deployments. Ids are the nodes' own: those of the REST API are too large
// for databaseId, which is an Int of 32 bits.
const graphQLDeployments = `
scalar DateTime
scalar URI
interface Actor { login: String! }
enum OrderDirection { ASC DESC }
enum DeploymentOrderField { CREATED_AT }
input DeploymentOrder { direction: OrderDirection! field: DeploymentOrderField! }
type DeploymentConnection { nodes: [Deployment] totalCount: Int! }
type Deployment { id: ID! commitOid: String! createdAt: DateTime! creator: Actor! description: String environment: String
  latestStatus: DeploymentStatus originalEnvironment: String payload: String
  statuses(after: String before: String first: Int last: Int): DeploymentStatusConnection task: String updatedAt: DateTime! }
type DeploymentStatusConnection { nodes: [DeploymentStatus] totalCount: Int! }
enum DeploymentStatusState { ERROR FAILURE INACTIVE IN_PROGRESS PENDING QUEUED SUCCESS WAITING }
type DeploymentStatus { id: ID! createdAt: DateTime! creator: Actor! description: String environment: String environmentUrl: URI logUrl: URI
  state: DeploymentStatusState! updatedAt: DateTime! }
`

// graphQLDeployments answers Repository.deployments: by default the oldest first, which orderBy turns around. As for every
// connection one of first and last is needed, up to 100.
func (c *call) graphQLDeployments(r *Repository, field *ast.Field, vars map[string]any) (any, object) {
	if !c.cred.may(r, "deployments=read", "read") {
		return nil, failed("FORBIDDEN", field, "Resource not accessible by integration")
	}
	args := field.ArgumentMap(vars)
	environments, filtered := args["environments"].([]any)
	var list []*deployment
	for _, d := range r.deployments {
		if !filtered || slices.Contains(environments, any(d.environment)) {
			list = append(list, d)
		}
	}
	if order, _ := args["orderBy"].(map[string]any); order["direction"] == "DESC" {
		slices.Reverse(list)
	}
	total := len(list)
	list, failure := paginated(list, field, args)
	if failure != nil {
		return nil, failure
	}
	nodes := []any{}
	return connection(field, total, func(f *ast.Field) ([]any, object) {
		for _, d := range list {
			o, failure := c.graphQLDeployment(d, f, vars)
			if failure != nil {
				return nil, failure
			}
			nodes = append(nodes, o)
		}
		return nodes, nil
	})
}

// connection renders what was asked of a list.
func connection(field *ast.Field, total int, nodes func(*ast.Field) ([]any, object)) (any, object) {
	out := selected(field, object{"totalCount": total})
	for _, f := range fields(field.SelectionSet) {
		if f.Name != "nodes" {
			continue
		}
		list, failure := nodes(f)
		if failure != nil {
			return nil, failure
		}
		out[f.Alias] = list
	}
	return out, nil
}

// paginated is the part of a list that first or last asks for.
func paginated[T any](list []T, field *ast.Field, args map[string]any) ([]T, object) {
	number := func(name string) (int, bool) {
		n, there := args[name].(int64)
		if f, is := args[name].(float64); is {
			n, there = int64(f), true
		}
		return int(n), there
	}
	first, forward := number("first")
	last, backward := number("last")
	switch {
	case !forward && !backward:
		return nil, failed("MISSING_PAGINATION_BOUNDARIES", field, "You must provide a `first` or `last` value to properly paginate the `%s` connection.", field.Name)
	case forward && (first < 0 || first > 100) || backward && (last < 0 || last > 100):
		return nil, failed("EXCESSIVE_PAGINATION", field, "Requesting %d records on the `%s` connection exceeds the `first` limit of 100 records.", max(first, last), field.Name)
	case forward:
		return list[:min(first, len(list))], nil
	}
	return list[max(0, len(list)-last):], nil
}

func (c *call) graphQLDeployment(d *deployment, field *ast.Field, vars map[string]any) (any, object) {
	out := selected(field, object{
		"id": node("DE", d.id), "commitOid": d.sha, "createdAt": stamp(d.created), "updatedAt": stamp(d.updated), "description": maybe(d.description),
		"environment": d.environment, "originalEnvironment": d.originally, "payload": string(d.payload), "task": d.task,
	})
	for _, f := range fields(field.SelectionSet) {
		switch f.Name {
		case "creator":
			out[f.Alias] = selected(f, object{"login": d.creator.Login})
		case "latestStatus":
			out[f.Alias] = nil
			if n := len(d.statuses); n > 0 {
				out[f.Alias] = graphQLStatus(d.statuses[n-1], f)
			}
		case "statuses":
			newest := slices.Clone(d.statuses)
			slices.Reverse(newest)
			list, failure := paginated(newest, f, f.ArgumentMap(vars))
			if failure != nil {
				return nil, failure
			}
			statuses, failure := connection(f, len(d.statuses), func(f *ast.Field) (nodes []any, _ object) {
				for _, s := range list {
					nodes = append(nodes, graphQLStatus(s, f))
				}
				return nodes, nil
			})
			if failure != nil {
				return nil, failure
			}
			out[f.Alias] = statuses
		}
	}
	return out, nil
}

func graphQLStatus(s *deploymentStatus, field *ast.Field) any {
	out := selected(field, object{
		"id": node("DES", s.id), "createdAt": stamp(s.created), "updatedAt": stamp(s.created), "description": maybe(s.description),
		"environment": s.environment, "environmentUrl": maybe(s.environmentURL), "logUrl": maybe(s.logURL), "state": statusName(s.state),
	})
	for _, f := range fields(field.SelectionSet) {
		if f.Name == "creator" {
			out[f.Alias] = selected(f, object{"login": s.creator.Login})
		}
	}
	return out
}

// statusName is a state of the REST API as GraphQL calls it.
func statusName(state string) string {
	name, ok := map[string]string{
		"error": "ERROR", "failure": "FAILURE", "inactive": "INACTIVE", "in_progress": "IN_PROGRESS", "pending": "PENDING", "queued": "QUEUED", "success": "SUCCESS",
	}[state]
	if !ok {
		panic("a deployment status is " + state)
	}
	return name
}
