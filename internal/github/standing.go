package github

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// History is a deployment and what happened to it, newest first. Its ID is 0: GraphQL's Int has 32 bits, and ids of
// deployments have more.
type History struct {
	Deployment
	Statuses []DeploymentStatus
}

// HistoryBatch is for how many environments one request asks.
const HistoryBatch = 25

// historyStatuses is how many statuses of each deployment are read: one of ours has three or four.
const historyStatuses = 20

// Histories are the newest deployments of environments, newest first, each with its statuses: up to each of every environment,
// of all tasks. One request for 25 environments (https://docs.github.com/en/graphql/reference/deployments; by REST it would be
// one for every environment and one for every deployment). Payloads and descriptions are other people's text.
func (c *Client) Histories(ctx context.Context, environments []string, each int) (map[string][]History, error) {
	out := map[string][]History{}
	for batch := range slices.Chunk(environments, HistoryBatch) {
		if err := c.histories(ctx, batch, each, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// wireStatus is a DeploymentStatus of GraphQL.
type wireStatus struct {
	ID          string    `json:"id"`
	State       string    `json:"state"`
	Description string    `json:"description"`
	CreatedAt   time.Time `json:"createdAt"`
}

type wireHistory struct {
	ID          string    `json:"id"`
	Environment string    `json:"environment"`
	CommitOid   string    `json:"commitOid"`
	CreatedAt   time.Time `json:"createdAt"`
	Description string    `json:"description"`
	Task        string    `json:"task"`
	Payload     string    `json:"payload"`
	Creator     struct {
		Login string `json:"login"`
	} `json:"creator"`
	LatestStatus *wireStatus `json:"latestStatus"`
	Statuses     struct {
		Nodes []wireStatus `json:"nodes"`
	} `json:"statuses"`
}

func (c *Client) histories(ctx context.Context, environments []string, each int, out map[string][]History) error {
	cl := call{method: http.MethodPost, path: "/graphql", repeat: true}
	bad := func(why string) error {
		return &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: %s", ErrMalformed, why)}
	}
	// Names of environments go as variables: they are not ours, and text in a query could ask for something else.
	var query strings.Builder
	variables := map[string]any{"owner": c.Owner, "name": c.Repo, "each": min(max(each, 1), pageSize)}
	query.WriteString("query($owner: String!, $name: String!, $each: Int!")
	for i := range environments {
		fmt.Fprintf(&query, ", $e%d: String!", i)
	}
	query.WriteString(") { repository(owner: $owner, name: $name) {")
	for i, e := range environments {
		variables[fmt.Sprintf("e%d", i)] = e
		fmt.Fprintf(&query, " d%d: deployments(environments: [$e%d], first: $each, orderBy: {field: CREATED_AT, direction: DESC}) { nodes { ...entry } }", i, i)
	}
	fmt.Fprintf(&query, " } } fragment entry on Deployment { id environment commitOid createdAt description task payload creator { login } "+
		"latestStatus { id state description createdAt } statuses(first: %d) { nodes { id state description createdAt } } }", historyStatuses)
	var answer graphAnswer[struct {
		Repository map[string]struct {
			Nodes []wireHistory `json:"nodes"`
		} `json:"repository"`
	}]
	if err := c.graph(ctx, cl, query.String(), variables, &answer); err != nil {
		return err
	}
	for i, e := range environments {
		connection, ok := answer.Data.Repository[fmt.Sprintf("d%d", i)]
		if !ok {
			return bad("it lacks an environment that was asked for")
		}
		list := make([]History, 0, len(connection.Nodes))
		for _, w := range connection.Nodes {
			if w.ID == "" || w.Environment != e {
				return bad("a deployment is of another environment than was asked for")
			}
			list = append(list, w.history())
		}
		out[e] = list
	}
	return nil
}

func (w wireHistory) history() History {
	h := History{Deployment: Deployment{
		Environment: w.Environment, SHA: w.CommitOid, Task: w.Task, Created: w.CreatedAt, Creator: w.Creator.Login, Description: w.Description,
	}}
	payload := []byte(w.Payload)
	for range 2 { // GraphQL has it as text, and so may whoever made it
		var inside string
		if json.Unmarshal(payload, &inside) == nil {
			payload = []byte(inside)
		}
	}
	if len(object(payload)) > 0 {
		h.Payload = bytes.Clone(payload)
	}
	statuses := w.Statuses.Nodes
	// The contract does not say which end of the list is the new one: the latest status does.
	if n := len(statuses); n > 1 && w.LatestStatus != nil && statuses[n-1].ID == w.LatestStatus.ID {
		slices.Reverse(statuses)
	} else if w.LatestStatus != nil && (n == 0 || statuses[0].ID != w.LatestStatus.ID) {
		statuses = append([]wireStatus{*w.LatestStatus}, statuses...)
	}
	for _, s := range statuses {
		h.Statuses = append(h.Statuses, DeploymentStatus{State: strings.ToLower(s.State), Description: s.Description, Created: s.CreatedAt})
	}
	return h
}
