package cloudflare

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	sdk "github.com/cloudflare/cloudflare-go"
)

// Worker is one entry of the account's list of Workers.
type Worker struct {
	Name             string          `json:"id"`
	Tag              string          `json:"tag"`  // the immutable id
	Tags             []string        `json:"tags"` // such as cf:service=helm
	Etag             string          `json:"etag"` // changes with the deployed content
	MigrationTag     string          `json:"migration_tag"`
	LastDeployedFrom string          `json:"last_deployed_from"` // wrangler, dash, api, …
	CreatedOn        time.Time       `json:"created_on"`
	ModifiedOn       time.Time       `json:"modified_on"`
	HasAssets        bool            `json:"has_assets"`
	Logpush          bool            `json:"logpush"`
	Routes           []Route         `json:"routes"`
	Observability    json.RawMessage `json:"observability"`  // nil: not sent
	TailConsumers    json.RawMessage `json:"tail_consumers"` // nil: not sent
}

// Workers lists all Workers of the account, in one call.
func (c *Client) Workers(ctx context.Context) ([]Worker, error) {
	return list[Worker](ctx, c, request{op: "Workers"}, page{})
}

// Binding is a name in the Worker bound to a resource, as the API reports it.
type Binding struct {
	Name, Type string
	JSON       json.RawMessage // the whole object
}

func (b *Binding) UnmarshalJSON(text []byte) error {
	var head struct{ Name, Type string }
	err := json.Unmarshal(text, &head)
	*b = Binding{head.Name, head.Type, append(json.RawMessage(nil), text...)}
	return err
}

// MarshalJSON gives the object back as it came.
func (b Binding) MarshalJSON() ([]byte, error) { return orNull(b.JSON), nil }

// Settings are the live settings of a Worker: bindings as resolved by the API, and what is not part of a version.
type Settings struct {
	Bindings           []Binding       `json:"bindings"` // values of secrets are not in them
	CompatibilityDate  string          `json:"compatibility_date"`
	CompatibilityFlags []string        `json:"compatibility_flags"`
	Tags               []string        `json:"tags"`
	Logpush            bool            `json:"logpush"`
	Observability      json.RawMessage `json:"observability"`
	TailConsumers      json.RawMessage `json:"tail_consumers"`
	Placement          json.RawMessage `json:"placement"`
	Limits             json.RawMessage `json:"limits"`
	UsageModel         string          `json:"usage_model"`
}

// Settings returns the settings of a Worker; ErrNotFound when there is none of this name.
func (c *Client) Settings(ctx context.Context, script string) (Settings, error) {
	var s Settings
	err := c.raw(ctx, request{op: "Settings", args: []string{script}}, need(&s, "bindings"))
	return s, err
}

// Deployment is a release: which versions take which share of the traffic.
type Deployment struct {
	ID          string            `json:"id"`
	Source      string            `json:"source"` // api, dash, wrangler, terraform
	AuthorEmail string            `json:"author_email"`
	CreatedOn   time.Time         `json:"created_on"`
	Annotations map[string]string `json:"annotations"` // workers/message, workers/triggered_by
	Versions    []Share           `json:"versions"`
}

// Share is a version's part of the traffic, in percent.
type Share struct {
	VersionID  string  `json:"version_id"`
	Percentage float64 `json:"percentage"`
}

// Deployments lists the Worker's deployments that the API still shows, newest first; the first one is live.
// The list is empty for a Worker that was never deployed, and ErrNotFound when there is no Worker of this name.
func (c *Client) Deployments(ctx context.Context, script string) ([]Deployment, error) {
	var result struct{ Deployments []Deployment }
	err := c.raw(ctx, request{op: "Deployments", args: []string{script}}, need(&result, "deployments"))
	return result.Deployments, err
}

// Version is an uploaded version of a Worker.
type Version struct {
	ID                 string
	Number             int
	CreatedOn          time.Time
	AuthorEmail        string
	Source             string
	Annotations        map[string]string // workers/tag, workers/message, workers/alias, workers/triggered_by
	HasPreview         bool
	Etag               string    // the next three and Bindings are not in lists
	Handlers           []string  // fetch, scheduled, …
	CompatibilityDate  string    //
	CompatibilityFlags []string  //
	Bindings           []Binding //
	MigrationTag       string    // of the Durable Object migrations that it was uploaded with; "" also where the API does not say
	StartupTime        time.Duration
}

func (v *Version) UnmarshalJSON(text []byte) error {
	var w struct {
		ID          string            `json:"id"`
		Number      float64           `json:"number"`
		Annotations map[string]string `json:"annotations"`
		Metadata    struct {
			CreatedOn   time.Time `json:"created_on"`
			AuthorEmail string    `json:"author_email"`
			Source      string    `json:"source"`
			HasPreview  bool      `json:"has_preview"` // wire.md §6
			Preview     bool      `json:"hasPreview"`  // the OpenAPI's spelling
		} `json:"metadata"`
		Resources struct {
			Bindings []Binding `json:"bindings"`
			Script   struct {
				Etag     string   `json:"etag"`
				Handlers []string `json:"handlers"`
			} `json:"script"`
			Runtime struct {
				Date  string   `json:"compatibility_date"`
				Flags []string `json:"compatibility_flags"`
				Tag   string   `json:"migration_tag"`
			} `json:"script_runtime"`
		} `json:"resources"`
		StartupMS float64 `json:"startup_time_ms"`
	}
	err := json.Unmarshal(text, &w)
	*v = Version{
		ID: w.ID, Number: int(w.Number), Annotations: w.Annotations,
		CreatedOn: w.Metadata.CreatedOn, AuthorEmail: w.Metadata.AuthorEmail, Source: w.Metadata.Source, HasPreview: w.Metadata.HasPreview || w.Metadata.Preview,
		Etag: w.Resources.Script.Etag, Handlers: w.Resources.Script.Handlers, Bindings: w.Resources.Bindings,
		CompatibilityDate: w.Resources.Runtime.Date, CompatibilityFlags: w.Resources.Runtime.Flags,
		MigrationTag: w.Resources.Runtime.Tag,
		StartupTime:  time.Duration(w.StartupMS * float64(time.Millisecond)),
	}
	return err
}

// Versions lists the versions that can be deployed, in the API's order, as wrangler asks for them: one page (wire.md §6).
func (c *Client) Versions(ctx context.Context, script string) ([]Version, error) {
	var result struct{ Items []Version }
	err := c.raw(ctx, request{op: "Versions", args: []string{script}, query: url.Values{"deployable": {"true"}}}, need(&result, "items"))
	return result.Items, err
}

// Version returns one version with its bindings and runtime settings.
func (c *Client) Version(ctx context.Context, script, id string) (Version, error) {
	var v Version
	err := c.raw(ctx, request{op: "Version", args: []string{script, id}}, need(&v, "id"))
	return v, err
}

// SecretName is a secret that a Worker has; its value cannot be read.
type SecretName struct {
	Name string `json:"name"`
	Type string `json:"type"` // secret_text or secret_key
}

// Secrets lists the names of the Worker's secrets.
func (c *Client) Secrets(ctx context.Context, script string) ([]SecretName, error) {
	return list[SecretName](ctx, c, request{op: "Secrets", args: []string{script}}, page{})
}

// Uploaded is what a PUT of a Worker answers. The API may leave any of it out.
type Uploaded struct {
	DeploymentID string // printed as the version id by wrangler (wire.md §3.1)
	Tag, Etag    string
	StartupTime  time.Duration
}

// PutWorker uploads a Worker and deploys it at once: for the first deploy, and where Durable Object migrations demand it.
// contentType and body are those of the upload form. Bindings that cannot be inherited are an error (code 10057).
func (c *Client) PutWorker(ctx context.Context, script, contentType string, body []byte) (Uploaded, error) {
	var w struct {
		DeploymentID string  `json:"deployment_id"`
		Tag          string  `json:"tag"`
		Etag         string  `json:"etag"`
		StartupMS    float64 `json:"startup_time_ms"`
	}
	err := c.raw(ctx, request{
		op: "PutWorker", args: []string{script}, body: body, header: http.Header{"Content-Type": {contentType}},
		query: url.Values{"excludeScript": {"true"}, "bindings_inherit": {"strict"}},
	}, &w)
	return Uploaded{w.DeploymentID, w.Tag, w.Etag, time.Duration(w.StartupMS * float64(time.Millisecond))}, err
}

// CreateVersion uploads a version that takes no traffic yet.
// contentType and body are those of the upload form. Bindings that cannot be inherited are an error (code 10057).
func (c *Client) CreateVersion(ctx context.Context, script, contentType string, body []byte) (Version, error) {
	var v Version
	err := c.raw(ctx, request{
		op: "CreateVersion", args: []string{script}, body: body, header: http.Header{"Content-Type": {contentType}},
		query: url.Values{"bindings_inherit": {"strict"}},
	}, need(&v, "id"))
	return v, err
}

// Release is a deployment to be made.
type Release struct {
	Versions []Share // one, or two whose percentages add up to 100
	Message  string  // becomes the annotation workers/message; the API keeps 1,000 bytes
	Force    bool    // release although secrets have changed since the version was made (code 10220)
}

// CreateDeployment gives traffic to versions, named by id. It asks for the same update strategy as wrangler: running
// Durable Objects take the new code within 300 seconds.
func (c *Client) CreateDeployment(ctx context.Context, script string, release Release) (Deployment, error) {
	annotations := map[string]string{}
	if release.Message != "" {
		annotations["workers/message"] = release.Message
	}
	query := url.Values{}
	if release.Force {
		query.Set("force", "true")
	}
	body := map[string]any{
		"strategy": "percentage", "versions": release.Versions, "annotations": annotations,
		"code_update_strategy": map[string]any{"mode": "deferred", "max_delay": 300},
	}
	var d Deployment
	err := c.raw(ctx, request{op: "CreateDeployment", args: []string{script}, body: body, query: query}, need(&d, "id"))
	return d, err
}

// ScriptSettings are settings outside of versions; nil members stay as they are.
type ScriptSettings struct {
	Tags          []string        `json:"tags,omitzero"` // an empty list removes all
	Logpush       *bool           `json:"logpush,omitempty"`
	Observability json.RawMessage `json:"observability,omitempty"`
	TailConsumers json.RawMessage `json:"tail_consumers,omitempty"`
}

// PatchScriptSettings changes the given settings of a Worker, effective at once.
func (c *Client) PatchScriptSettings(ctx context.Context, script string, s ScriptSettings) error {
	return c.raw(ctx, request{op: "PatchScriptSettings", args: []string{script}, body: s}, nil)
}

// SecretsBulk sets and removes secrets of a Worker in one call; the API takes 100 at a time. Others stay.
// Each call makes a version and a deployment of its own.
func (c *Client) SecretsBulk(ctx context.Context, script string, set map[string]Secret, remove ...string) error {
	type secret struct {
		Name string `json:"name"`
		Text string `json:"text"`
		Type string `json:"type"`
	}
	r := request{op: "SecretsBulk", args: []string{script}, header: http.Header{"Content-Type": {"application/merge-patch+json"}}}
	secrets := map[string]*secret{}
	for _, name := range remove {
		secrets[name] = nil
	}
	for name, value := range set {
		if _, both := secrets[name]; both {
			return c.refuse(r, fmt.Errorf("%w: the secret %s is both set and removed", ErrArgument, name))
		}
		secrets[name] = &secret{name, string(value), "secret_text"}
		r.hide = append(r.hide, value)
	}
	r.body = map[string]any{"secrets": secrets}
	return c.raw(ctx, r, nil)
}

// DeleteWorker deletes a Worker with its versions, secrets and triggers; the API refuses while other Workers refer to it.
// Its D1 databases, buckets and namespaces stay.
func (c *Client) DeleteWorker(ctx context.Context, script string) error {
	return c.do(ctx, request{op: "DeleteWorker", args: []string{script}}, func(ctx context.Context, api *sdk.API, _ string) error {
		return api.DeleteWorker(ctx, c.account(), sdk.DeleteWorkerParams{ScriptName: script})
	})
}
