package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
)

// The variables that the door to GitHub is read from. GITHUB_REPOSITORY and GITHUB_API_URL are set by the Actions runner.
const (
	envToken        = "GITHUB_TOKEN"
	envTokenOfGH    = "GH_TOKEN" // what GitHub's own command line reads
	envAppID        = "SHOPFLEET_APP_ID"
	envAppKey       = "SHOPFLEET_APP_PRIVATE_KEY"
	envInstallation = "SHOPFLEET_APP_INSTALLATION_ID"
	envRepository   = "GITHUB_REPOSITORY"
	envAPI          = "GITHUB_API_URL"
)

// permissions are what an App's token may do (contracts/github/wire.md §1): what the task needs, and no more.
type permissions map[string]string

func toDeploy() permissions {
	return permissions{"contents": "read", "deployments": "write", "checks": "write"}
}

func toPlan() permissions {
	return permissions{"contents": "read", "deployments": "read", "checks": "write", "pull_requests": "write"}
}

func toAudit() permissions { return permissions{"issues": "write"} }

func toList() permissions { return permissions{"deployments": "read"} }

// github is the client of the product's repository; nil where there is no token, or no repository on GitHub. A plain
// token is used where both are there: an App's costs calls of its own.
func (d *Door) github(ctx context.Context, c *checkout, task permissions) (*github.Client, error) {
	return d.githubAs(ctx, c, task, false)
}

// githubAs is github, as the App where asApp is set: what a workflow's own token does starts no workflow
// (contracts/github/wire.md §2a).
func (d *Door) githubAs(ctx context.Context, c *checkout, task permissions, asApp bool) (*github.Client, error) {
	token, app := cmp.Or(d.Getenv(envToken), d.Getenv(envTokenOfGH)), d.Getenv(envAppID)
	if asApp {
		token = ""
	}
	if token == "" && app == "" {
		return nil, nil
	}
	repository := d.Getenv(envRepository)
	if repository == "" {
		remote, err := c.repo.RemoteURL(ctx, "origin")
		if err != nil {
			return nil, err
		}
		if repository = repositoryOf(remote); repository == "" {
			return nil, nil
		}
	}
	owner, name, ok := strings.Cut(repository, "/")
	if !ok || !repositoryName.MatchString(repository) {
		return nil, Usage(fmt.Errorf("%s is %q", envRepository, repository), "set it to owner/name")
	}
	client := &github.Client{
		BaseURL: d.Getenv(envAPI), Owner: owner, Repo: name, Token: github.Secret(token),
		Transport: d.Transport, UserAgent: "shopfleet/" + d.Version, Now: d.Now,
		Timeout: 10 * time.Second, // a few tries have to fit into what is left when a run ends
	}
	if d.workflow != nil {
		client.Hide = d.workflow.runner.Hide
	}
	if token == "" {
		client.App = &github.App{ID: app, Key: github.Secret(d.Getenv(envAppKey))}
		client.Permissions = task
		if id := d.Getenv(envInstallation); id != "" {
			n, err := strconv.ParseInt(id, 10, 64)
			if err != nil || n <= 0 {
				return nil, Usage(fmt.Errorf("%s is no installation's id", envInstallation), "it is the number at the end of the installation's address")
			}
			client.App.Installation = n
		}
	}
	return client, nil
}

// repositoryName is owner/name in the characters that GitHub allows.
var repositoryName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$`)

// repositoryOf takes owner/name out of a remote on github.com, in any of the forms that git knows; "" for others.
func repositoryOf(remote string) string {
	path := ""
	if rest, ok := strings.CutPrefix(remote, "git@github.com:"); ok {
		path = rest
	} else if u, err := url.Parse(remote); err == nil && strings.EqualFold(u.Hostname(), "github.com") {
		path = u.Path
	}
	path = strings.TrimSuffix(strings.Trim(path, "/"), ".git")
	if !repositoryName.MatchString(path) {
		return ""
	}
	return path
}

// journal keeps releases as GitHub Deployments, one each: the release is the deployment's payload, what became of it its
// statuses (contracts/github/wire.md §1.5). Safe for concurrent use.
type journal struct {
	client *github.Client
	log    string // where what happens can be read: the run of the workflow
}

// journalDepth is how many entries are looked at. A shop's live version is among the newest, or it is unknown.
const journalDepth = 30

// payload is what a deployment carries.
type payload struct {
	Format  int            `json:"shopfleet"`
	Release deploy.Release `json:"release"`
}

const (
	payloadFormat = 1
	// journalTask tells our deployments from those that workflows make in the same environment, which may be many.
	journalTask = "shopfleet"
)

// Releases lists the newest entries.
func (j *journal) Releases(ctx context.Context, shop fleet.Shop) ([]deploy.Release, error) {
	list, err := j.client.Deployments(ctx, shop.Environment(), journalTask, journalDepth)
	if err != nil {
		return nil, err
	}
	entries, _ := entriesOf(shop, list)
	return entries, nil
}

// stray is a deployment of our task that is no entry, and why.
type stray struct {
	github.Deployment
	why string
}

// entriesOf tells entries, newest first like the list, from what looks like one: whoever may write deployments may write
// that. An entry has to be about the commit that its deployment is about, and of several for one release the first counts.
func entriesOf(shop fleet.Shop, list []github.Deployment) (entries []deploy.Release, strays []stray) {
	seen := map[string]bool{}
	for _, x := range slices.Backward(list) {
		r, key, why := entryOf(shop, x)
		if why == "" && seen[key] {
			why = "another entry was written for the same release before"
		}
		if why != "" {
			strays = append(strays, stray{x, why})
			continue
		}
		seen[key] = true
		entries = append(entries, r)
	}
	slices.Reverse(entries)
	slices.Reverse(strays)
	return entries, strays
}

// entryOf reads an entry, or says why the deployment is none.
func entryOf(shop fleet.Shop, x github.Deployment) (r deploy.Release, key, why string) {
	var p struct {
		payload
		Key string `json:"key"`
	}
	if json.Unmarshal(x.Payload, &p) != nil || p.Format != payloadFormat {
		return r, "", "its payload is not one of shopfleet's"
	}
	r = p.Release
	switch {
	case r.Shop != shop.Slug || r.VersionID == "":
		return r, "", "its payload is about another shop, or about no version"
	case r.Commit != "" && r.Commit != x.SHA:
		return r, "", "its payload is about another commit than the deployment"
	case p.Key != r.Key():
		return r, "", "its payload has another release's key"
	}
	r.ID, r.Created, r.Creator, r.Digest = strconv.FormatInt(x.ID, 10), x.Created, x.Creator, deploy.EntryDigest(x.Payload)
	return r, p.Key, ""
}

// Standing reads the statuses of an entry.
func (j *journal) Standing(ctx context.Context, id string) (deploy.Standing, error) {
	n, err := entryID(id)
	if err != nil {
		return deploy.Standing{}, err
	}
	list, err := j.client.DeploymentStatuses(ctx, n)
	if err != nil {
		return deploy.Standing{}, err
	}
	return standingOf(list), nil
}

// standingOf is how an entry stands by its statuses, which are newest first.
func standingOf(list []github.DeploymentStatus) (s deploy.Standing) {
	for i, x := range list {
		state := deploy.ReleaseState(x.State)
		if i == 0 {
			s.State, s.Text = state, x.Description
		}
		if s.Verdict == "" && (state == deploy.StateSuccess || state == deploy.StateFailure || state == deploy.StateError) {
			s.Verdict = x.Description
		}
		if state == deploy.StateFailure || state == deploy.StateError {
			break
		}
		s.Passed = s.Passed || state == deploy.StateSuccess
	}
	return s
}

// Begin makes a deployment and its first status.
func (j *journal) Begin(ctx context.Context, shop fleet.Shop, r deploy.Release, s deploy.Status) (deploy.Release, error) {
	x, err := j.client.CreateDeployment(ctx, github.NewDeployment{
		// A deployment has to name something that GitHub has, also where nobody knows which commit is live.
		Ref:         cmp.Or(r.Commit, shop.Branch),
		Environment: shop.Environment(),
		Task:        journalTask,
		Description: "version " + r.VersionID,
		Key:         r.Key(),
		Payload:     payload{payloadFormat, r},
		Production:  true,
	})
	var refused *github.Error
	if errors.As(err, &refused) && refused.Status == http.StatusUnprocessableEntity && r.Commit != "" && r.Late {
		// It was released from a laptop, and its commit never pushed or since amended away.
		r.Commit = ""
		return j.Begin(ctx, shop, r, s)
	}
	if err != nil {
		return deploy.Release{}, err
	}
	made, _, why := entryOf(shop, x)
	if why != "" {
		return deploy.Release{}, fmt.Errorf("GitHub did not keep deployment %d as it was sent: %s", x.ID, why)
	}
	if s.State == "" {
		return made, nil
	}
	return made, j.Finish(ctx, shop, made.ID, s)
}

// Finish writes a status.
func (j *journal) Finish(ctx context.Context, shop fleet.Shop, id string, s deploy.Status) error {
	n, err := entryID(id)
	if err != nil {
		return err
	}
	return j.client.SetDeploymentStatus(ctx, n, github.DeploymentStatus{
		State: string(s.State), Description: s.Text, LogURL: j.log, EnvironmentURL: s.URL,
	})
}

func entryID(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading an entry's id: %w", err)
	}
	return n, nil
}
