package github

import "strings"

// asks is what kind of credential a route is for.
type asks int

const (
	byAnyone       asks = iota
	byApp               // an App's JWT
	byInstallation      // the token of an installation, or GITHUB_TOKEN
)

// route is one endpoint.
type route struct {
	method, pattern string
	needs           []string // permissions of an App, alternatives; each may join several with commas (X-Accepted-GitHub-Permissions)
	role            string   // what a person needs on the repository; "" where there is none and anybody may call
	asks            asks
	appOnly         bool // only Apps, GITHUB_TOKEN included
	free            bool // does not count against the rate limit
	handle          func(*call) (answer, error)

	segments []string
}

// routes is the API. The permissions are wire.md §1's, the operations those of openapi.trimmed.json.
func routes() []route {
	const repo = "/repos/{owner}/{repo}"
	either := func(level string) []string { return []string{"issues=" + level, "pull_requests=" + level} }
	one := func(need string) []string { return []string{need} }
	list := []route{
		{method: "GET", pattern: "/rate_limit", free: true, handle: getRateLimit},
		{method: "POST", pattern: "/graphql", role: "read", handle: graphQL},

		{method: "GET", pattern: "/app", asks: byApp, handle: getApp},
		{method: "GET", pattern: "/app/installations", asks: byApp, handle: listInstallations},
		{method: "GET", pattern: "/app/installations/{installation_id}", asks: byApp, handle: getInstallation},
		{method: "POST", pattern: "/app/installations/{installation_id}/access_tokens", asks: byApp, handle: createToken},
		{method: "GET", pattern: "/app/hook/deliveries", asks: byApp, handle: listDeliveries},
		{method: "GET", pattern: "/app/hook/deliveries/{delivery_id}", asks: byApp, handle: getDelivery},
		{method: "POST", pattern: "/app/hook/deliveries/{delivery_id}/attempts", asks: byApp, handle: redeliver},
		{method: "POST", pattern: "/app-manifests/{code}/conversions", handle: convertManifest},
		{method: "GET", pattern: "/orgs/{org}/teams/{team_slug}/memberships/{username}", needs: one("members=read"), role: "read", handle: teamMembership},
		{method: "GET", pattern: repo + "/rules/branches/{branch...}", needs: one("metadata=read"), role: "read", handle: branchRules},
		{method: "GET", pattern: repo + "/installation", asks: byApp, handle: repositoryInstallation},
		{method: "GET", pattern: "/installation/repositories", asks: byInstallation, needs: one("metadata=read"), handle: installationRepositories},
		{method: "DELETE", pattern: "/installation/token", asks: byInstallation, handle: revokeToken},

		{method: "GET", pattern: repo, needs: one("metadata=read"), role: "read", handle: getRepository},
		{method: "GET", pattern: repo + "/collaborators/{username}/permission", needs: one("metadata=read"), role: "read", handle: getPermission},

		{method: "GET", pattern: repo + "/git/ref/{ref...}", needs: one("contents=read"), role: "read", handle: getRef},
		{method: "GET", pattern: repo + "/git/matching-refs/{ref...}", needs: one("contents=read"), role: "read", handle: matchingRefs},
		{method: "POST", pattern: repo + "/git/refs", needs: contentsWrite, role: "write", handle: createRef},
		{method: "PATCH", pattern: repo + "/git/refs/{ref...}", needs: contentsWrite, role: "write", handle: updateRef},
		{method: "DELETE", pattern: repo + "/git/refs/{ref...}", needs: one("contents=write"), role: "write", handle: deleteRef},
		{method: "GET", pattern: repo + "/compare/{basehead...}", needs: one("contents=read"), role: "read", handle: compare},
		{method: "GET", pattern: repo + "/git/commits/{commit_sha}", needs: one("contents=read"), role: "read", handle: getGitCommit},
		{method: "POST", pattern: repo + "/git/commits", needs: one("contents=write"), role: "write", handle: createCommit},
		{method: "GET", pattern: repo + "/git/trees/{tree_sha...}", needs: one("contents=read"), role: "read", handle: getTree},
		{method: "POST", pattern: repo + "/git/trees", needs: one("contents=write"), role: "write", handle: createTree},
		{method: "POST", pattern: repo + "/git/blobs", needs: one("contents=write"), role: "write", handle: createBlob},
		{method: "POST", pattern: repo + "/merges", needs: contentsWrite, role: "write", handle: mergeBranches},
		{method: "GET", pattern: repo + "/git/blobs/{file_sha}", needs: one("contents=read"), role: "read", handle: getBlob},
		{method: "GET", pattern: repo + "/branches", needs: one("contents=read"), role: "read", handle: listBranches},
		{method: "GET", pattern: repo + "/branches/{branch...}", needs: one("contents=read"), role: "read", handle: getBranch},
		{method: "GET", pattern: repo + "/contents/{path...}", needs: one("contents=read"), role: "read", handle: getContents},

		{method: "GET", pattern: repo + "/commits", needs: one("contents=read"), role: "read", handle: listCommits},
		{method: "GET", pattern: repo + "/commits/{ref...}/check-runs", needs: one("checks=read"), role: "read", handle: listCheckRuns},
		{method: "GET", pattern: repo + "/commits/{ref...}/status", needs: one("statuses=read"), role: "read", handle: combinedStatus},
		{method: "GET", pattern: repo + "/commits/{ref...}/statuses", needs: one("statuses=read"), role: "read", handle: listStatuses},
		{method: "GET", pattern: repo + "/commits/{commit_sha}/pulls", needs: one("pull_requests=read"), role: "read", handle: commitPulls},
		{method: "GET", pattern: repo + "/commits/{ref...}", needs: one("contents=read"), role: "read", handle: getCommit},

		{method: "GET", pattern: repo + "/pulls", needs: one("pull_requests=read"), role: "read", handle: listPulls},
		{method: "POST", pattern: repo + "/pulls", needs: one("pull_requests=write"), role: "read", handle: createPull},
		{method: "GET", pattern: repo + "/pulls/{pull_number}", needs: []string{"pull_requests=read", "contents=read"}, role: "read", handle: getPull},
		{method: "PATCH", pattern: repo + "/pulls/{pull_number}", needs: one("pull_requests=write"), role: "write", handle: updatePull},
		{method: "GET", pattern: repo + "/pulls/{pull_number}/files", needs: one("pull_requests=read"), role: "read", handle: pullFiles},
		{method: "GET", pattern: repo + "/pulls/{pull_number}/commits", needs: one("pull_requests=read"), role: "read", handle: pullCommits},
		{method: "GET", pattern: repo + "/pulls/{pull_number}/reviews", needs: one("pull_requests=read"), role: "read", handle: listReviews},
		{method: "GET", pattern: repo + "/pulls/{pull_number}/merge", needs: one("contents=read"), role: "read", handle: isMerged},
		{method: "PUT", pattern: repo + "/pulls/{pull_number}/merge", needs: contentsWrite, role: "write", handle: mergePull},

		{method: "GET", pattern: repo + "/issues", needs: either("read"), role: "read", handle: listIssues},
		{method: "POST", pattern: repo + "/issues", needs: one("issues=write"), role: "read", handle: createIssue},
		{method: "GET", pattern: repo + "/issues/comments", needs: either("read"), role: "read", handle: listRepositoryComments},
		{method: "GET", pattern: repo + "/issues/comments/{comment_id}", needs: either("read"), role: "read", handle: getComment},
		{method: "PATCH", pattern: repo + "/issues/comments/{comment_id}", needs: either("write"), role: "read", handle: updateComment},
		{method: "DELETE", pattern: repo + "/issues/comments/{comment_id}", needs: either("write"), role: "read", handle: deleteComment},
		{method: "GET", pattern: repo + "/issues/comments/{comment_id}/reactions", needs: one("issues=read"), role: "read", handle: listReactions},
		{method: "POST", pattern: repo + "/issues/comments/{comment_id}/reactions", needs: one("issues=write"), role: "read", handle: createReaction},
		{method: "DELETE", pattern: repo + "/issues/comments/{comment_id}/reactions/{reaction_id}", needs: one("issues=write"), role: "read", handle: deleteReaction},
		{method: "GET", pattern: repo + "/issues/{issue_number}", needs: either("read"), role: "read", handle: getIssue},
		{method: "PATCH", pattern: repo + "/issues/{issue_number}", needs: either("write"), role: "triage", handle: updateIssue},
		{method: "GET", pattern: repo + "/issues/{issue_number}/comments", needs: either("read"), role: "read", handle: listComments},
		{method: "POST", pattern: repo + "/issues/{issue_number}/comments", needs: either("write"), role: "read", handle: createComment},
		{method: "GET", pattern: repo + "/issues/{issue_number}/labels", needs: either("read"), role: "read", handle: issueLabels},
		{method: "POST", pattern: repo + "/issues/{issue_number}/labels", needs: either("write"), role: "triage", handle: putLabels},
		{method: "PUT", pattern: repo + "/issues/{issue_number}/labels", needs: either("write"), role: "triage", handle: putLabels},
		{method: "DELETE", pattern: repo + "/issues/{issue_number}/labels/{name}", needs: either("write"), role: "triage", handle: removeLabel},
		{method: "GET", pattern: repo + "/labels", needs: either("read"), role: "read", handle: listLabels},
		{method: "POST", pattern: repo + "/labels", needs: either("write"), role: "write", handle: createLabel},
		{method: "GET", pattern: repo + "/labels/{name}", needs: either("read"), role: "read", handle: getLabel},

		{method: "GET", pattern: repo + "/deployments", needs: one("deployments=read"), role: "read", handle: listDeployments},
		{method: "POST", pattern: repo + "/deployments", needs: one("deployments=write"), role: "write", handle: createDeployment},
		{method: "GET", pattern: repo + "/deployments/{deployment_id}", needs: one("deployments=read"), role: "read", handle: getDeployment},
		{method: "DELETE", pattern: repo + "/deployments/{deployment_id}", needs: one("deployments=write"), role: "write", handle: deleteDeployment},
		{method: "GET", pattern: repo + "/deployments/{deployment_id}/statuses", needs: one("deployments=read"), role: "read", handle: listDeploymentStatuses},
		{method: "POST", pattern: repo + "/deployments/{deployment_id}/statuses", needs: one("deployments=write"), role: "write", handle: createDeploymentStatus},
		{method: "GET", pattern: repo + "/environments", needs: one("actions=read"), role: "read", handle: listEnvironments},
		{method: "GET", pattern: repo + "/environments/{environment_name}", needs: one("actions=read"), role: "read", handle: getEnvironment},
		{method: "PUT", pattern: repo + "/environments/{environment_name}", needs: one("administration=write"), role: "admin", handle: putEnvironment},
		{method: "DELETE", pattern: repo + "/environments/{environment_name}", needs: one("administration=write"), role: "admin", handle: deleteEnvironment},
		{method: "GET", pattern: repo + "/environments/{environment_name}/deployment-branch-policies", needs: one("actions=read"), role: "read", handle: listBranchPolicies},
		{method: "POST", pattern: repo + "/environments/{environment_name}/deployment-branch-policies", needs: one("administration=write"), role: "admin", handle: createBranchPolicy},

		{method: "GET", pattern: repo + "/actions/workflows", needs: one("actions=read"), role: "read", handle: listWorkflows},
		{method: "GET", pattern: repo + "/actions/workflows/{workflow_id}", needs: one("actions=read"), role: "read", handle: getWorkflow},
		{method: "GET", pattern: repo + "/actions/workflows/{workflow_id}/runs", needs: one("actions=read"), role: "read", handle: listRuns},
		{method: "POST", pattern: repo + "/actions/workflows/{workflow_id}/dispatches", needs: one("actions=write"), role: "write", handle: dispatchWorkflow},
		{method: "POST", pattern: repo + "/dispatches", needs: one("contents=write"), role: "write", handle: dispatchRepository},
		{method: "GET", pattern: repo + "/actions/runs", needs: one("actions=read"), role: "read", handle: listRuns},
		{method: "GET", pattern: repo + "/actions/runs/{run_id}", needs: one("actions=read"), role: "read", handle: getRun},
		{method: "POST", pattern: repo + "/actions/runs/{run_id}/cancel", needs: one("actions=write"), role: "write", handle: cancelRun},

		{method: "POST", pattern: repo + "/check-runs", needs: one("checks=write"), role: "write", appOnly: true, handle: createCheckRun},
		{method: "GET", pattern: repo + "/check-runs/{check_run_id}", needs: one("checks=read"), role: "read", handle: getCheckRun},
		{method: "PATCH", pattern: repo + "/check-runs/{check_run_id}", needs: one("checks=write"), role: "write", appOnly: true, handle: updateCheckRun},
		{method: "GET", pattern: repo + "/check-runs/{check_run_id}/annotations", needs: one("checks=read"), role: "read", handle: listAnnotations},
		{method: "POST", pattern: repo + "/check-runs/{check_run_id}/rerequest", needs: one("checks=write"), role: "write", handle: rerequestCheckRun},
		{method: "GET", pattern: repo + "/check-suites/{check_suite_id}", needs: one("checks=read"), role: "read", handle: getCheckSuite},
		{method: "POST", pattern: repo + "/statuses/{sha}", needs: one("statuses=write"), role: "write", handle: createStatus},
	}
	for i := range list {
		list[i].segments = strings.Split(strings.TrimPrefix(list[i].pattern, "/"), "/")
	}
	return list
}

// contentsWrite is listed twice in GitHub's table, with and without workflows (wire.md §1.2).
var contentsWrite = []string{"contents=write", "contents=write,workflows=write"}
