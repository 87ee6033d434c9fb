package github

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// graphQLSchema is the part of GitHub's schema that is played: updateRefs (wire.md §1.2) and what leads to its input, whose
// token it is, and deployments with their statuses (https://docs.github.com/en/graphql/reference/deployments).
const graphQLSchema = graphQLDeployments + `
scalar GitRefname
scalar GitObjectID
type Query { viewer: User! repository(owner: String!, name: String!, followRenames: Boolean = true): Repository }
type Repository { id: ID! databaseId: Int name: String! nameWithOwner: String!
  deployments(after: String before: String environments: [String!] first: Int last: Int orderBy: DeploymentOrder = {field: CREATED_AT, direction: ASC}): DeploymentConnection! }
type User implements Actor { id: ID! databaseId: Int login: String! }
type Mutation { updateRefs(input: UpdateRefsInput!): UpdateRefsPayload }
type UpdateRefsPayload { clientMutationId: String }
input UpdateRefsInput { clientMutationId: String refUpdates: [RefUpdate!]! repositoryId: ID! }
input RefUpdate { afterOid: GitObjectID! beforeOid: GitObjectID force: Boolean = false name: GitRefname! }
`

// graphQL answers POST /graphql: almost every failure is an answer with status 200.
func graphQL(c *call) (answer, error) {
	var in struct {
		Query         string         `json:"query"`
		Variables     map[string]any `json:"variables"`
		OperationName string         `json:"operationName"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if strings.TrimSpace(in.Query) == "" {
		return answer{}, refuse(http.StatusBadRequest, "A query attribute must be specified and must be a string.")
	}
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema", Input: graphQLSchema})
	if err != nil {
		return answer{}, err
	}
	doc, problems := gqlparser.LoadQueryWithRules(schema, in.Query, rules.NewDefaultRules())
	if len(problems) > 0 {
		return graphQLErrors(problems)
	}
	op := doc.Operations.ForName(in.OperationName)
	if op == nil {
		return ok(object{"errors": []any{object{"message": "An operation name is required"}}})
	}
	vars, err := validator.VariableValues(schema, op, in.Variables)
	if err != nil {
		if list, is := err.(*gqlerror.Error); is {
			return graphQLErrors(gqlerror.List{list})
		}
		return ok(object{"errors": []any{object{"message": err.Error()}}})
	}
	data := object{}
	var failures []any
	for _, field := range fields(op.SelectionSet) {
		var value any
		var failure object
		var err error
		switch field.Name {
		case "updateRefs":
			value, failure, err = c.updateRefs(field, vars)
		case "viewer": // of an App's token it is the App's bot (github.com/fullsend-ai/fullsend/pull/1953)
			u := c.cred.user
			value = selected(field, object{"id": node("U", u.ID), "databaseId": u.ID, "login": u.Login})
		case "repository":
			value, failure = c.graphQLRepository(field, vars)
		case "__typename":
			value = field.ObjectDefinition.Name
		default:
			failure = object{"message": field.Name + " is not played here"}
		}
		if err != nil {
			return answer{}, err
		}
		if data[field.Alias] = value; failure != nil {
			failures = append(failures, failure)
		}
	}
	body := object{"data": data}
	if failures != nil {
		body["errors"] = failures
	}
	return ok(body)
}

func graphQLErrors(list gqlerror.List) (answer, error) {
	var out []any
	for _, e := range list {
		o := object{"message": e.Message}
		var at []any
		for _, l := range e.Locations {
			at = append(at, object{"line": l.Line, "column": l.Column})
		}
		if at != nil {
			o["locations"] = at
		}
		out = append(out, o)
	}
	return ok(object{"errors": out})
}

// fields flattens fragments.
func fields(set ast.SelectionSet) []*ast.Field {
	var out []*ast.Field
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			out = append(out, s)
		case *ast.InlineFragment:
			out = append(out, fields(s.SelectionSet)...)
		case *ast.FragmentSpread:
			out = append(out, fields(s.Definition.SelectionSet)...)
		}
	}
	return out
}

// selected renders the fields that were asked for.
func selected(field *ast.Field, values object) object {
	out := object{}
	for _, f := range fields(field.SelectionSet) {
		if f.Name == "__typename" {
			out[f.Alias] = f.ObjectDefinition.Name
			continue
		}
		out[f.Alias] = values[f.Name]
	}
	return out
}

func failed(kind string, field *ast.Field, format string, args ...any) object {
	return object{"type": kind, "path": []string{field.Alias}, "locations": []any{object{"line": field.Position.Line, "column": field.Position.Column}}, "message": fmt.Sprintf(format, args...)}
}

func (c *call) graphQLRepository(field *ast.Field, vars map[string]any) (any, object) {
	args := field.ArgumentMap(vars)
	owner, _ := args["owner"].(string)
	name, _ := args["name"].(string)
	r := c.w.repoByName[strings.ToLower(owner+"/"+name)]
	if r == nil || !c.cred.sees(r) {
		return nil, failed("NOT_FOUND", field, "Could not resolve to a Repository with the name '%s/%s'.", owner, name)
	}
	values := object{"id": node("R", r.ID), "databaseId": r.ID, "name": r.Name, "nameWithOwner": r.Owner + "/" + r.Name}
	out := selected(field, values)
	for _, f := range fields(field.SelectionSet) {
		if f.Name != "deployments" {
			continue
		}
		list, failure := c.graphQLDeployments(r, f, vars)
		if failure != nil {
			return nil, failure
		}
		out[f.Alias] = list
	}
	return out, nil
}

// updateRefs is compare-and-swap over many refs, all or none. A beforeOid that is stale answers with an error that says
// nothing (wire.md §1.2); so do the other reasons here, for the contract has no better text for them. That it takes names
// outside refs/heads and refs/tags is [K]: the schema asks for a GitRefname, any name that git takes.
func (c *call) updateRefs(field *ast.Field, vars map[string]any) (any, object, error) {
	input, _ := field.ArgumentMap(vars)["input"].(map[string]any)
	id, _ := input["repositoryId"].(string)
	var repo *Repository
	for _, r := range c.w.repos {
		if node("R", r.ID) == id && c.cred.sees(r) {
			repo = r
		}
	}
	if repo == nil {
		return nil, failed("NOT_FOUND", field, "Could not resolve to a node with the global id of '%s'", id), nil
	}
	if !c.cred.may(repo, "contents=write", "write") {
		if c.cred.isApp() {
			return nil, failed("FORBIDDEN", field, "Resource not accessible by integration"), nil
		}
		return nil, failed("FORBIDDEN", field, "%s does not have the correct permissions to execute `UpdateRefs`", c.cred.user.Login), nil
	}
	list, _ := input["refUpdates"].([]any)
	updates, err := c.refUpdates(repo, list)
	if err != nil {
		return nil, nil, err
	}
	if updates != nil {
		err := repo.move(c.cred, updates)
		if err == nil {
			return selected(field, object{"clientMutationId": input["clientMutationId"]}), nil, nil
		}
		if !isMoved(err) {
			return nil, nil, err
		}
	}
	return nil, object{"message": fmt.Sprintf("Something went wrong while executing your query on %s. Please include `%s` when reporting this issue.", stamp(c.w.clock()), c.w.requestID())}, nil
}

// refUpdates checks the updates one by one; nil when one cannot be done.
func (c *call) refUpdates(repo *Repository, list []any) ([]refUpdate, error) {
	var updates []refUpdate
	names := map[string]bool{}
	for _, item := range list {
		in, _ := item.(map[string]any)
		name, _ := in["name"].(string)
		after, _ := in["afterOid"].(string)
		before, expects := in["beforeOid"].(string)
		force, _ := in["force"].(bool)
		if !validRef(name) || reserved(name) || names[name] || !shaPattern.MatchString(after) || expects && !shaPattern.MatchString(before) {
			return nil, nil
		}
		names[name] = true
		now, there, err := repo.ref(name)
		if err != nil {
			return nil, err
		}
		current := deflt(now.sha, zeros)
		if expects && before != current || after == zeros && (!there || name == "refs/heads/"+defaultBranch) {
			return nil, nil
		}
		if after != zeros {
			kind, err := repo.objectType(after)
			if err != nil || kind == "" || strings.HasPrefix(name, "refs/heads/") && kind != "commit" {
				return nil, err
			}
			if there && !force && kind == "commit" {
				ff, err := repo.isFastForward(now, after)
				if err != nil || !ff {
					return nil, err
				}
			}
			if err := repo.mayBringWorkflows(c.cred, name, current, after); err != nil {
				if isRefusedWorkflow(err) {
					err = nil
				}
				return nil, err
			}
		}
		u := refUpdate{name, current, after}
		if err := repo.mayMove(c.cred, u, nil); err != nil {
			if isRuled(err) {
				err = nil
			}
			return nil, err
		}
		updates = append(updates, u)
	}
	return updates, nil
}
