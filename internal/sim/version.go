package sim

import (
	"math"
	"net/http"
	"slices"
	"strings"
)

func versionEndpoints() []endpoint {
	const versions = "/accounts/{account}/workers/scripts/{script}/versions"
	return []endpoint{
		{"GET " + versions, reads, (*call).listVersions},
		{"GET " + versions + "/{version}", reads, (*call).getVersion},
	}
}

// versionSummary is a version as listed.
func versionSummary(s *script, v *version) map[string]any {
	return map[string]any{
		"id": v.ID, "number": v.Number, "annotations": v.Annotations,
		"metadata": map[string]any{
			"created_on": stamp(v.Created), "modified_on": stamp(v.Created), "source": v.Source,
			"author_id": v.Author.ID, "author_email": v.Author.Email,
			// wrangler reads has_preview, the specification says hasPreview.
			"has_preview": s.Previews, "hasPreview": s.Previews,
		},
	}
}

// versionView is a version in full.
func versionView(s *script, v *version) map[string]any {
	out := versionSummary(s, v)
	runtime := map[string]any{"compatibility_flags": emptyNotNil(v.CompatibilityFlags), "usage_model": v.UsageModel}
	if v.CompatibilityDate != "" {
		runtime["compatibility_date"] = v.CompatibilityDate
	}
	if len(v.Limits) > 0 {
		runtime["limits"] = v.Limits
	}
	if v.MigrationTag != "" {
		runtime["migration_tag"] = v.MigrationTag
	}
	code := map[string]any{"etag": v.Etag, "handlers": v.Handlers, "last_deployed_from": v.Source}
	if len(v.Named) > 0 {
		code["named_handlers"] = v.Named
	}
	out["resources"] = map[string]any{"bindings": showBindings(v.Bindings), "script": code, "script_runtime": runtime}
	out["startup_time_ms"] = v.Startup
	return out
}

func (c *call) listVersions() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	items := []map[string]any{}
	for _, v := range slices.Backward(s.Versions) {
		items = append(items, versionSummary(s, v))
	}
	if c.query("deployable") == "true" { // every version that is kept can be deployed, in one answer
		return map[string]any{"items": items}, nil
	}
	p := paged(c, items, 10, 100)
	p.Result = map[string]any{"items": p.Result}
	return p, nil
}

func noSuchVersion(id string) *refusal {
	return refuse(http.StatusNotFound, 100146, "Version %s of this Worker could not be found.", id)
}

func (c *call) getVersion() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	v := s.version(c.path("version"))
	if v == nil {
		return nil, noSuchVersion(c.path("version"))
	}
	return versionView(s, v), nil
}

// deploymentView is a deployment as reported.
func deploymentView(d *deployment) map[string]any {
	return map[string]any{
		"id": d.ID, "source": d.Source, "strategy": "percentage", "author_email": d.Author.Email, "created_on": stamp(d.Created),
		"annotations": d.Annotations, "versions": d.Versions,
	}
}

func (c *call) listDeployments() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	list := []map[string]any{}
	for _, d := range slices.Backward(s.Deployments) {
		list = append(list, deploymentView(d))
	}
	return map[string]any{"deployments": list}, nil
}

func (c *call) deployment() (*script, int, error) {
	s, err := c.script()
	if err != nil {
		return nil, 0, err
	}
	i := slices.IndexFunc(s.Deployments, func(d *deployment) bool { return d.ID == c.path("deployment") })
	if i < 0 {
		return nil, 0, refuse(http.StatusNotFound, 10336, "Deployment %s could not be found.", c.path("deployment"))
	}
	return s, i, nil
}

func (c *call) getDeployment() (any, error) {
	s, i, err := c.deployment()
	if err != nil {
		return nil, err
	}
	return deploymentView(s.Deployments[i]), nil
}

// deleteDeployment forgets an old deployment; the live one cannot be deleted.
func (c *call) deleteDeployment() (any, error) {
	s, i, err := c.deployment()
	if err != nil {
		return nil, err
	}
	if i == len(s.Deployments)-1 {
		return nil, refuse(http.StatusBadRequest, 10336, "The latest deployment is actively serving traffic and cannot be deleted.")
	}
	s.Deployments = slices.Delete(s.Deployments, i, i+1)
	c.w.touchScript(c.account, s)
	return nil, nil
}

// createDeployment makes versions live. A version with other secrets than the newer one that is live now is refused
// with 10220 unless force is set (wire.md §2).
func (c *call) createDeployment() (any, error) {
	var in struct {
		Strategy    string            `json:"strategy"`
		Versions    []share           `json:"versions"`
		Annotations map[string]string `json:"annotations"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	if in.Strategy != "percentage" {
		return nil, refuse(http.StatusBadRequest, 10026, "strategy is %q, expected \"percentage\"", in.Strategy)
	}
	if len(in.Versions) < 1 || len(in.Versions) > 2 {
		return nil, refuse(http.StatusBadRequest, 10026, "a deployment consists of one or two versions, not %d", len(in.Versions))
	}
	sum, seen := 0.0, map[string]bool{}
	for _, x := range in.Versions {
		switch {
		case s.version(x.Version) == nil:
			return nil, noSuchVersion(x.Version)
		case seen[x.Version]:
			return nil, refuse(http.StatusBadRequest, 10026, "version %s appears more than once", x.Version)
		case x.Percentage < 0 || x.Percentage > 100:
			return nil, refuse(http.StatusBadRequest, 10026, "percentage %v is not between 0 and 100", x.Percentage)
		}
		seen[x.Version] = true
		sum += x.Percentage
	}
	if math.Abs(sum-100) > 0.001 {
		return nil, refuse(http.StatusBadRequest, 10026, "percentages sum to %v, expected 100", sum)
	}
	if c.query("force") != "true" {
		if names := s.secretsLost(in.Versions); len(names) > 0 {
			return nil, refuse(http.StatusBadRequest, 10220, "Cannot deploy this version. The following secrets have changed: %s", strings.Join(names, ", "))
		}
	}
	annotations := map[string]string{}
	for k, v := range in.Annotations {
		if k != "workers/triggered_by" { // ours to say
			annotations[k] = v
		}
	}
	annotations["workers/triggered_by"] = "deployment"
	return deploymentView(c.deploy(s, in.Versions, annotations)), nil
}

// secretsLost are the secrets that would go back to an earlier value when shares went live.
func (s *script) secretsLost(shares []share) []string {
	d := s.live()
	if d == nil {
		return nil
	}
	var newest *version
	for _, x := range d.Versions {
		if v := s.version(x.Version); v != nil && (newest == nil || v.Number > newest.Number) {
			newest = v
		}
	}
	var names []string
	for _, x := range shares {
		if v := s.version(x.Version); newest != nil && v.Number < newest.Number {
			names = append(names, changedSecrets(v, newest)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
