package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// Diff says what must change so that a shop is what it should be. It is pure:
// equal inputs give an equal plan, with the same digest. Findings of level
// error in the plan mean that Apply will refuse it.
func Diff(want *Desired, have *State) *Plan {
	p := &Plan{
		Shop:   want.Shop.Slug,
		Worker: want.Config.Name,
		Commit: want.Commit,
		Mark:   want.Mark,
		Basis:  have.Basis(),
		Live:   have.Live.Version,
	}
	findings := append(Findings(nil), want.Findings...)
	findings = append(findings, admitLive(want, have)...)
	findings = append(findings, admitOwnership(want, have)...)
	findings = append(findings, outside(want, have)...)
	findings = append(findings, elsewhere(want, have)...)
	findings = append(findings, removedFindings(want, have)...)

	findings = append(findings, migrationFindings(want, have)...)

	p.Steps = append(p.Steps, migrationSteps(want, have, p)...)
	p.Steps = append(p.Steps, versionSteps(want, have)...)
	p.Steps = append(p.Steps, triggerSteps(want, have)...)
	if len(p.Steps) > 0 {
		p.Steps = append(p.Steps, Step{Action: ActionGate, Target: want.Shop.Hostname})
	}
	sortSteps(p.Steps, p.Has(ActionPut))
	p.Findings = findings.sorted()
	return p
}

// sortSteps puts the steps in the order of Apply (see the package doc).
func sortSteps(steps []Step, put bool) {
	order := []Action{ActionBookmark, ActionAssets, ActionSubdomain, ActionSecrets, ActionUpload, ActionMigrate, ActionProve, ActionRelease,
		ActionSettings, ActionCrons, ActionAttach, ActionDetach, ActionRoutes, ActionGate, ActionContract}
	if put {
		order = []Action{ActionBookmark, ActionAssets, ActionMigrate, ActionSecrets, ActionPut, ActionSubdomain,
			ActionSettings, ActionCrons, ActionAttach, ActionDetach, ActionRoutes, ActionGate, ActionContract}
	}
	sort.SliceStable(steps, func(i, j int) bool {
		return slices.Index(order, steps[i].Action) < slices.Index(order, steps[j].Action)
	})
}

// migrationSteps put the pending files before the release or behind the gate, and describe them in the plan.
func migrationSteps(want *Desired, have *State, p *Plan) []Step {
	r := have.Rehearsal
	if r == nil {
		return nil
	}
	p.Schema, p.SchemaAfter = r.Before, r.After
	var expand, contract []string
	for _, f := range r.Files {
		p.Migrations = append(p.Migrations, MigrationPlan{File: f.Name, Phase: string(f.Phase), Changes: f.Changes, Reason: f.Reason})
		if f.Phase == d1.Contract {
			contract = append(contract, f.Name)
		} else {
			expand = append(expand, f.Name)
		}
	}
	db := Step{Target: want.Database.DatabaseName, ID: want.Database.DatabaseID}
	steps := []Step{db}
	steps[0].Action = ActionBookmark
	if len(expand) > 0 {
		db.Action, db.After = ActionMigrate, expand
		steps = append(steps, db)
	}
	if len(contract) > 0 {
		db.Action, db.After = ActionContract, contract
		steps = append(steps, db)
	}
	return steps
}

// versionSteps are the steps that put code, bindings and assets in place.
func versionSteps(want *Desired, have *State) []Step {
	worker := want.Config.Name
	var live []string
	if have.Live.Version != "" {
		live = []string{have.Live.Version}
	}
	var steps []Step
	switch {
	case have.Worker == nil:
		steps = append(steps, Step{Action: ActionPut, Target: worker, After: []string{want.Mark}})
		steps = append(steps, secretSteps(want, have)...)
		if len(want.Config.Tags) > 0 {
			// Tags travel apart from the upload; everything else of a first upload is in its metadata.
			steps = append(steps, Step{Action: ActionSettings, Target: worker, After: []string{"tags"}})
		}
		steps = append(steps, subdomainStep(want))
		return append(steps, assetSteps(want)...)
	case have.Live.Mark == want.Mark && !split(have) && !want.Redeploy && !secretsChange(want, have):
	case needsPut(want, have):
		steps = append(steps, Step{Action: ActionPut, Target: worker, Before: live, After: []string{want.Mark}})
		steps = append(steps, secretSteps(want, have)...)
		steps = append(steps, assetSteps(want)...)
	default:
		steps = append(steps,
			Step{Action: ActionUpload, Target: worker, After: []string{want.Mark}},
			Step{Action: ActionRelease, Target: worker, Before: live, After: []string{want.Mark}})
		steps = append(steps, secretSteps(want, have)...)
		if proves(want, have) {
			steps = append(steps, Step{Action: ActionProve, Target: want.Shop.Hostname})
		}
		steps = append(steps, assetSteps(want)...)
	}
	if !reaches(want, have) {
		steps = append(steps, subdomainStep(want))
	}
	if changed := settingsChanges(want, have); len(changed) > 0 {
		steps = append(steps, Step{Action: ActionSettings, Target: worker, After: changed})
	}
	return steps
}

func assetSteps(want *Desired) []Step {
	if want.Assets == nil {
		return nil
	}
	return []Step{{Action: ActionAssets, Target: want.Config.Name}}
}

// subdomainStep says where the Worker answers besides its hostnames. wrangler
// sends it with every deploy (wire.md §3.6); here it goes out when it differs
// from what the live release set.
func subdomainStep(want *Desired) Step {
	return Step{Action: ActionSubdomain, Target: want.Config.Name, After: want.workersDev()}
}

// reaches reports whether the Worker's workers.dev state is what it should be.
func reaches(want *Desired, have *State) bool {
	if s := have.Subdomain; s != nil {
		return s.Enabled == want.Config.WorkersDev && (want.Config.PreviewURLs == nil || s.Previews == *want.Config.PreviewURLs)
	}
	return have.Live.Reach == want.reach()
}

// workersDev is the workers.dev state in words.
func (want *Desired) workersDev() []string {
	words := []string{"off"}
	if want.Config.WorkersDev {
		words[0] = "on"
	}
	if p := want.Config.PreviewURLs; p != nil {
		words = append(words, fmt.Sprintf("previews %t", *p))
	}
	return words
}

// reach identifies the workers.dev state.
func (want *Desired) reach() string { return listDigest(want.workersDev()) }

// needsPut reports whether the Worker must go out by PUT although it exists
// (wire.md §3.1): a pending Durable Object migration, declarative exports,
// containers, or code in the service-worker format.
func needsPut(want *Desired, have *State) bool {
	c := want.Config
	return pendingObjectMigrations(c, have.Worker.MigrationTag) ||
		len(c.Exports) > 0 || len(c.Containers) > 0 ||
		(want.Bundle != nil && want.Bundle.Format == wrangler.ServiceWorker)
}

func pendingObjectMigrations(c *wrangler.Config, liveTag string) bool {
	return len(c.DOMigrations) > 0 && c.DOMigrations[len(c.DOMigrations)-1].Tag != liveTag
}

func split(have *State) bool { return len(have.Live.Shares) > 1 }

// settingsChanges names the script settings that differ. A setting that the
// config does not mention is left as it is; wrangler would switch observability
// off (wire.md §13.4), which has surprised too many people.
func settingsChanges(want *Desired, have *State) []string {
	c, w := want.Config, have.Worker
	var out []string
	if c.Logpush != nil && *c.Logpush != w.Logpush {
		out = append(out, "logpush")
	}
	if c.Observability != nil && !covers(w.Observability, c.Observability) {
		out = append(out, "observability")
	}
	if !slices.Equal(wantTags(c.Tags, w.Tags), w.Tags) {
		out = append(out, "tags")
	}
	if c.TailConsumers != nil && !covers(w.TailConsumers, c.TailConsumers) {
		out = append(out, "tail_consumers")
	}
	return out
}

// wantTags is what the tags should be: ours and wrangler's service and
// environment tags replaced, all other tags kept in their order.
func wantTags(ours, live []string) []string {
	if len(ours) == 0 {
		return live
	}
	var out []string
	for _, t := range live {
		if !strings.HasPrefix(t, "cf:service=") && !strings.HasPrefix(t, "cf:environment=") || slices.Contains(ours, t) {
			out = append(out, t)
		}
	}
	for _, t := range ours {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// covers reports whether every member that want sets has that value in have.
// Cloudflare fills settings with defaults, so equality would differ for ever.
func covers(have, want json.RawMessage) bool {
	if bytes.Equal(have, want) {
		return true
	}
	var h, w any
	if json.Unmarshal(want, &w) != nil {
		return false
	}
	if len(have) > 0 && json.Unmarshal(have, &h) != nil {
		return false
	}
	return coversValue(h, w)
}

func coversValue(have, want any) bool {
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			return false
		}
		for k, v := range w {
			if !coversValue(h[k], v) {
				return false
			}
		}
		return true
	case []any:
		h, ok := have.([]any)
		if !ok || len(h) != len(w) {
			return false
		}
		for i := range w {
			if !coversValue(h[i], w[i]) {
				return false
			}
		}
		return true
	}
	return have == want
}

// triggerSteps converge crons, custom domains and zone routes, removals included.
func triggerSteps(want *Desired, have *State) []Step {
	worker := want.Config.Name
	var steps []Step
	if want.Config.CronsSet && !sameSet(want.Config.Crons, have.Crons) {
		steps = append(steps, Step{Action: ActionCrons, Target: worker,
			Before: sortedCopy(have.Crons), After: sortedCopy(want.Config.Crons)})
	}
	steps = append(steps, domainSteps(want, have)...)
	return append(steps, routeSteps(want, have)...)
}

func domainSteps(want *Desired, have *State) []Step {
	wanted := want.customDomains()
	var attached []string
	var steps []Step
	for _, d := range have.Domains {
		if d.Worker != want.Config.Name {
			continue
		}
		attached = append(attached, d.Hostname)
		if !slices.Contains(wanted, d.Hostname) {
			steps = append(steps, Step{Action: ActionDetach, Target: d.Hostname, ID: d.ID})
		}
	}
	for _, h := range wanted {
		if !slices.Contains(attached, h) {
			steps = append(steps, Step{Action: ActionAttach, Target: want.Config.Name,
				Before: sortedCopy(attached), After: sortedCopy(wanted)})
			break
		}
	}
	return steps
}

func routeSteps(want *Desired, have *State) []Step {
	type zone struct{ before, after []string }
	zones := map[string]*zone{}
	at := func(id string) *zone {
		if zones[id] == nil {
			zones[id] = &zone{}
		}
		return zones[id]
	}
	for _, r := range have.Routes {
		if r.Worker == want.Config.Name {
			z := at(r.ZoneID)
			z.before = append(z.before, r.Pattern)
		}
	}
	for _, r := range want.zoneRoutes() {
		if id := have.Zones[want.zoneOf(r)]; id != "" {
			z := at(id)
			z.after = append(z.after, r.Pattern)
		}
	}
	ids := make([]string, 0, len(zones))
	for id := range zones {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	var steps []Step
	for _, id := range ids {
		if z := zones[id]; !sameSet(z.before, z.after) {
			steps = append(steps, Step{Action: ActionRoutes, Target: want.Config.Name, Zone: id,
				Before: sortedCopy(z.before), After: sortedCopy(z.after)})
		}
	}
	return steps
}

// outside tells what somebody else released since shopfleet last did. It is an
// error unless the person who deploys said to overwrite: a hotfix made in the
// dashboard must not vanish with the next push.
func outside(want *Desired, have *State) []Finding {
	live := have.Live
	if live.Version == "" {
		return nil
	}
	level, hint := LevelError, "bring the change into the branch, or deploy with --overwrite-outside to replace it"
	if want.OverwriteOutside {
		level, hint = LevelWarning, "replaced by this deploy, as asked"
	}
	switch {
	case split(have):
		return []Finding{{
			Rule: "released-in-part", Level: level,
			Message:  fmt.Sprintf("%s is split over %d versions (%s)", want.Config.Name, len(live.Shares), shares(live.Shares)),
			Expected: "one version with 100 % of the traffic",
			Hint:     hint,
		}}
	case live.Mark != "":
		return nil
	}
	message := fmt.Sprintf("the live version %s of %s was released outside shopfleet by %s", live.Version, want.Config.Name, who(live))
	if d := bindingChanges(want.Config, live); len(d) > 0 {
		message += "; it differs in " + strings.Join(d, ", ")
	}
	return []Finding{{
		Rule: "changed-outside", Level: level, Message: message,
		Expected: "a version uploaded by shopfleet", Hint: hint,
	}}
}

// elsewhere says that the shop is live in another account than its branch names: a deploy would begin a second one, without
// its data. The newest release that says where it is tells.
func elsewhere(want *Desired, have *State) []Finding {
	if want.Moved || have.Live.Version != "" {
		return nil
	}
	for _, r := range have.Journal {
		if r.Account == "" {
			continue
		}
		if r.Account == want.Shop.Account.ID {
			return nil
		}
		was, to := r.Account, want.Shop.Account.Name
		if want.policy != nil {
			if a, ok := want.policy.AccountOf(r.Account); ok {
				was = a.Name
			}
		}
		f := Finding{Rule: "account-changed", Level: LevelError,
			Message:  fmt.Sprintf("shop %s is live in account %s, and its branch puts it into account %s, where it has no Worker", want.Shop.Slug, was, to),
			Expected: "the account that its data is in",
			Hint:     fmt.Sprintf("undo the change of account_id, then shopfleet move %s --to %s takes its data along", want.Shop.Slug, to)}
		want.locate(&f, "env", want.Config.Env, "account_id")
		return []Finding{f}
	}
	return nil
}

func who(l Live) string {
	switch {
	case l.Author != "" && l.Source != "":
		return l.Author + " (" + l.Source + ")"
	case l.Author != "":
		return l.Author
	case l.Source != "":
		return l.Source
	}
	return "somebody"
}

func shares(m map[string]float64) string {
	ids := make([]string, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return m[ids[i]] > m[ids[j]] || m[ids[i]] == m[ids[j]] && ids[i] < ids[j] })
	for i, id := range ids {
		ids[i] = fmt.Sprintf("%s at %g %%", id, m[id])
	}
	return strings.Join(ids, ", ")
}

// bindingChanges names what the live version has otherwise than the config:
// bindings by name, and the compatibility date. Secrets carry no value to compare.
func bindingChanges(c *wrangler.Config, live Live) []string {
	if len(live.Bindings) == 0 {
		return nil
	}
	var out []string
	for _, change := range BindingChanges(c, live.Bindings) {
		out = append(out, change.String())
	}
	if live.CompatibilityDate != "" && live.CompatibilityDate != c.CompatibilityDate {
		out = append(out, "compatibility_date "+live.CompatibilityDate)
	}
	sort.Strings(out)
	return out
}

// renamed gives a D1 binding's id one name: uploads say id, answers may say
// database_id (feasibility.md §2).
func renamed(b map[string]any) map[string]any {
	if b["type"] != "d1" {
		return b
	}
	out := map[string]any{}
	for k, v := range b {
		if k == "database_id" {
			k = "id"
		}
		out[k] = v
	}
	return out
}

func sortedCopy(l []string) []string {
	out := append([]string(nil), l...)
	sort.Strings(out)
	return out
}

func sameSet(a, b []string) bool { return slices.Equal(sortedCopy(a), sortedCopy(b)) }
