package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// Event is one line of progress.
type Event struct {
	Action Action
	Text   string
}

// Outcome is what Apply did. It is filled as far as Apply came, also when it
// returns an error.
type Outcome struct {
	Shop   string `json:"shop"`
	Commit string `json:"commit"`
	// Changed reports whether anything was written.
	Changed bool `json:"changed"`
	// VersionID takes the traffic now; PreviousVersionID did before.
	VersionID         string `json:"version_id,omitempty"`
	PreviousVersionID string `json:"previous_version_id,omitempty"`
	// Bookmark is the database's point in time before Migrations were applied.
	Bookmark   string   `json:"bookmark,omitempty"`
	Migrations []string `json:"migrations,omitempty"`
	// URL is the shop's address.
	URL  string     `json:"url"`
	Gate GateResult `json:"gate"`
	// Restored is the version that was released again because the gate was not
	// passed; "" when that was not necessary or not possible.
	Restored string `json:"restored,omitempty"`
	// NotUndone says what a restore left as the failed release made it.
	NotUndone []string `json:"not_undone,omitempty"`
	// Adopted counts calls whose answer was lost and whose effect was then found.
	Adopted  int           `json:"adopted,omitempty"`
	Digest   string        `json:"plan_digest"`
	Duration time.Duration `json:"duration_ns"`
	// Calls and Writes count what was sent to Cloudflare for this shop after its plan.
	Calls  int `json:"calls"`
	Writes int `json:"writes"`
}

// staleAfter is how old the reads behind a plan may be when Apply begins.
// Older plans are made again first and must come out the same.
const staleAfter = 30 * time.Second

// farewell bounds the writes that are made after the context is cancelled or a
// gate failed: they restore, they never go forward.
const farewell = 30 * time.Second

// GateError says that a release did not pass its gate. When Restored is empty
// there was no known good version, and the release stays.
type GateError struct {
	Result   GateResult
	Restored string
}

func (e *GateError) Error() string {
	what := "the release did not pass its gate: " + e.Result.URL + ": " + e.Result.Reason
	if e.Restored == "" {
		return what + "; there is no earlier version to restore"
	}
	return what + "; version " + e.Restored + " takes all traffic again"
}

// Hint says where to look.
func (e *GateError) Hint() string {
	return "open " + e.Result.URL + " and the Worker's logs; the version stays uploaded and can be looked at"
}

// StaleError says that the world moved between the plan and its application.
type StaleError struct{ Shop string }

func (e *StaleError) Error() string {
	return "the account changed since the plan for " + e.Shop + " was made; nothing was written"
}

// Hint says what to do.
func (e *StaleError) Hint() string { return "run the same command again" }

// Apply carries out a plan that Diff made from want. Findings of level error in
// the plan come back as Findings and nothing is written. When the reads behind
// the plan are older than half a minute they are made again, and a plan that
// would come out different is refused with a StaleError.
//
// Once ctx is cancelled no further write is begun. A gate that is not passed
// restores the version which was live before, once, and returns a *GateError.
func (e *Engine) Apply(ctx context.Context, want *Desired, have *State, plan *Plan, tell func(Event)) (*Outcome, error) {
	if tell == nil {
		tell = func(Event) {}
	}
	started := e.now()
	out := &Outcome{
		Shop: plan.Shop, Commit: plan.Commit, VersionID: plan.Live, PreviousVersionID: plan.Live,
		URL: "https://" + want.Shop.Hostname, Digest: plan.Digest(),
	}
	if f := Findings(plan.Findings); f.Blocking() {
		return out, f
	}
	if started.Sub(have.At) > staleAfter {
		now, err := e.Observe(ctx, want)
		if err != nil {
			return out, err
		}
		if Diff(want, now).Digest() != out.Digest {
			return out, &StaleError{Shop: plan.Shop}
		}
	}
	a := &applying{e: e, cf: e.CF, want: want, have: have, plan: plan, out: out, tell: tell}
	err := a.run(ctx)
	out.Duration = e.now().Sub(started)
	out.Calls, out.Writes = a.counts()
	out.Changed = out.Writes > 0
	return out, err
}

// applying is one plan on its way.
type applying struct {
	e    *Engine
	cf   *cloudflare.Client
	want *Desired
	have *State
	plan *Plan
	out  *Outcome
	tell func(Event)

	mu            sync.Mutex
	calls, writes int
	assetsToken   cloudflare.Secret
}

func (a *applying) counts() (calls, writes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls, a.writes
}

// read and write count a call before it is made.
func (a *applying) read()  { a.mu.Lock(); a.calls++; a.mu.Unlock() }
func (a *applying) write() { a.mu.Lock(); a.calls++; a.writes++; a.mu.Unlock() }

func (a *applying) run(ctx context.Context) error {
	if !a.plan.Changes() {
		return a.confirm(ctx)
	}
	put := a.plan.Has(ActionPut)
	// First what nobody sees. On a first upload no code runs on the database
	// yet, so the migrations can go beside the assets.
	err := together(
		func() error { return a.assets(ctx) },
		func() error {
			// The message of a release promises it, so it comes before.
			if put {
				return nil
			}
			return a.subdomain(ctx)
		},
		func() error {
			if err := a.bookmark(ctx); err != nil || a.plan.Live != "" {
				return err
			}
			return a.migrate(ctx)
		})
	if err != nil {
		return err
	}
	if err := a.upload(ctx); err != nil {
		return err
	}
	if a.plan.Live != "" {
		if err := a.migrate(ctx); err != nil {
			return err
		}
	}
	if put {
		if err := a.put(ctx); err != nil {
			return err
		}
	} else if err := a.release(ctx); err != nil {
		return err
	}
	if err := a.triggers(ctx); err != nil {
		return err
	}
	return a.gate(ctx)
}

// together runs every function to its end, side by side, and returns all their
// errors. One that fails does not cut the others off in the middle of a write.
func together(fs ...func() error) error {
	errs := make([]error, len(fs))
	var group sync.WaitGroup
	for i, f := range fs {
		group.Go(func() { errs[i] = f() })
	}
	group.Wait()
	return errors.Join(errs...)
}

// liveTags are the tags that the Worker has now.
func (a *applying) liveTags() []string {
	if a.have.Worker == nil {
		return nil
	}
	return a.have.Worker.Tags
}

// step runs f for the plan's step of that kind, if it has one.
func (a *applying) step(ctx context.Context, action Action, text string, f func(Step) error) error {
	s, ok := a.plan.step(action)
	if !ok {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	a.tell(Event{Action: action, Text: text})
	return f(s)
}

func (a *applying) bookmark(ctx context.Context) error {
	return a.step(ctx, ActionBookmark, "taking a bookmark of the database", func(s Step) error {
		a.read()
		b, err := a.cf.D1Bookmark(ctx, s.ID, time.Time{})
		if err != nil {
			return fmt.Errorf("taking a bookmark of %s: %w", s.Target, err)
		}
		a.out.Bookmark = b
		return nil
	})
}

// migrate applies the files that the plan names, in its order.
func (a *applying) migrate(ctx context.Context) error {
	return a.step(ctx, ActionMigrate, "applying migrations", func(s Step) error {
		m := &migrations{cf: a.cf, db: a.want.Database, count: a.write, progress: func(n int) {
			a.tell(Event{Action: ActionMigrate, Text: fmt.Sprintf("applied %d of %d migrations", n, len(s.After))})
		}}
		for _, f := range a.want.Migrations {
			if slices.Contains(s.After, f.Name) {
				m.files = append(m.files, f)
			}
		}
		applied, err := m.apply(ctx)
		a.out.Migrations = applied
		return err
	})
}

// form is the upload of this release.
func (a *applying) form(put bool) (*wrangler.Form, error) {
	upload := wrangler.Upload{
		Put:       put,
		New:       a.have.Worker == nil,
		Assets:    a.want.Assets,
		AssetsJWT: wrangler.Secret(a.assetsToken),
		Secrets:   a.want.Secrets,
		Tag:       a.plan.Mark,
		Message:   a.message(),
	}
	if a.have.Worker != nil {
		upload.MigrationTag = a.have.Worker.MigrationTag
	}
	form, err := wrangler.NewForm(a.want.Config, a.want.Bundle, upload)
	if err != nil {
		return nil, asFindings(err)
	}
	return form, nil
}

func (a *applying) message() string {
	reach := a.want.reach()
	if a.plan.Has(ActionPut) {
		reach = notRecorded
	}
	return memo{a.plan.Mark, listDigest(a.want.RequiredSecrets), reach, a.plan.Commit}.String()
}

// upload makes a version that takes no traffic. When the answer is lost, the
// version is looked for by its mark before another one is made.
func (a *applying) upload(ctx context.Context) error {
	return a.step(ctx, ActionUpload, "uploading the version", func(s Step) error {
		form, err := a.form(false)
		if err != nil {
			return err
		}
		began := a.e.now()
		for try := 0; ; try++ {
			a.write()
			v, err := a.cf.CreateVersion(ctx, s.Target, form.ContentType, form.Body)
			if err == nil {
				a.out.VersionID = v.ID
				return nil
			}
			if !errors.Is(err, cloudflare.ErrUnknownOutcome) || ctx.Err() != nil {
				return a.refused("uploading a version of "+s.Target, err)
			}
			id, lookErr := a.findVersion(ctx, s.Target, began)
			switch {
			case lookErr != nil:
				return fmt.Errorf("uploading a version of %s: %w", s.Target, errors.Join(err, lookErr))
			case id != "":
				a.out.VersionID = id
				a.out.Adopted++
				return nil
			case try == 2:
				return fmt.Errorf("uploading a version of %s: %w", s.Target, err)
			}
		}
	})
}

// findVersion looks for a version that this deploy uploaded without hearing of it.
func (a *applying) findVersion(ctx context.Context, worker string, since time.Time) (string, error) {
	a.read()
	list, err := a.cf.Versions(ctx, worker)
	if err != nil {
		return "", fmt.Errorf("looking for the version: %w", err)
	}
	for _, v := range list {
		// Clocks differ; a version of this mark from the last minutes is as good as ours, being of equal content.
		if v.Annotations[annotationTag] == a.plan.Mark && v.Annotations[annotationMessage] == a.message() && v.CreatedOn.After(since.Add(-5*time.Minute)) && v.ID != a.plan.Live {
			return v.ID, nil
		}
	}
	return "", nil
}

// release gives the uploaded version all traffic.
func (a *applying) release(ctx context.Context) error {
	return a.step(ctx, ActionRelease, "releasing", func(s Step) error {
		return a.deployVersion(ctx, s.Target, a.out.VersionID, a.message())
	})
}

// deployVersion releases a version by its id. When the answer is lost, the
// live deployment tells whether it happened.
func (a *applying) deployVersion(ctx context.Context, worker, version, text string) error {
	for try := 0; ; try++ {
		a.write()
		_, err := a.cf.CreateDeployment(ctx, worker, cloudflare.Release{
			Versions: []cloudflare.Share{{VersionID: version, Percentage: 100}}, Message: text,
		})
		if err == nil {
			return nil
		}
		if !errors.Is(err, cloudflare.ErrUnknownOutcome) || ctx.Err() != nil {
			return a.refused(fmt.Sprintf("releasing version %s of %s", version, worker), err)
		}
		a.read()
		list, lookErr := a.cf.Deployments(ctx, worker)
		switch {
		case lookErr != nil:
			return fmt.Errorf("releasing version %s of %s: %w", version, worker, errors.Join(err, lookErr))
		case len(list) > 0 && len(list[0].Versions) == 1 && list[0].Versions[0].VersionID == version:
			a.out.Adopted++
			return nil
		case try == 2:
			return fmt.Errorf("releasing version %s of %s: %w", version, worker, err)
		}
	}
}

// put uploads and releases in one call.
func (a *applying) put(ctx context.Context) error {
	return a.step(ctx, ActionPut, "uploading and releasing", func(s Step) error {
		form, err := a.form(true)
		if err != nil {
			return err
		}
		for try := 0; ; try++ {
			a.write()
			w, err := a.cf.PutWorker(ctx, s.Target, form.ContentType, form.Body)
			if err == nil && w.DeploymentID != "" {
				a.out.VersionID = dashed(w.DeploymentID)
				return nil
			}
			if err == nil {
				// Cloudflare need not say what it made (wire.md §3.1); the live deployment does.
				a.out.VersionID, err = a.liveOfMark(ctx, s.Target)
				return err
			}
			if !errors.Is(err, cloudflare.ErrUnknownOutcome) || ctx.Err() != nil {
				return a.refused("uploading "+s.Target, err)
			}
			id, lookErr := a.liveOfMark(ctx, s.Target)
			switch {
			case lookErr != nil:
				return fmt.Errorf("uploading %s: %w", s.Target, errors.Join(err, lookErr))
			case id != "" && id != a.plan.Live:
				a.out.VersionID = id
				a.out.Adopted++
				return nil
			case try == 2:
				return fmt.Errorf("uploading %s: %w", s.Target, err)
			}
		}
	})
}

// dashed gives a version id the form in which all other calls know it: a PUT
// answers with the bare 32 digits (wire.md §3.1).
func dashed(id string) string {
	if len(id) != 32 || strings.Contains(id, "-") {
		return id
	}
	return id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}

// liveOfMark is the live version if it carries the plan's mark, else "".
func (a *applying) liveOfMark(ctx context.Context, worker string) (string, error) {
	a.read()
	list, err := a.cf.Deployments(ctx, worker)
	if errors.Is(err, cloudflare.ErrNotFound) || err == nil && len(list) == 0 {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("looking for the release: %w", err)
	}
	if len(list[0].Versions) != 1 {
		return "", nil
	}
	a.read()
	v, err := a.cf.Version(ctx, worker, list[0].Versions[0].VersionID)
	if err != nil {
		return "", fmt.Errorf("looking for the release: %w", err)
	}
	if v.Annotations[annotationTag] != a.plan.Mark {
		return "", nil
	}
	return v.ID, nil
}

// refused turns what Cloudflare says about an upload into a finding where it
// is about the user's code or config, and leaves it an error otherwise.
func (a *applying) refused(doing string, err error) error {
	var api *cloudflare.Error
	if errors.As(err, &api) && api.Outcome == cloudflare.Refused {
		f := Finding{Level: LevelError, Message: doing + ": " + api.Message, Hint: api.Hint(), File: a.want.Config.File}
		switch api.Code {
		case 10021: // validation: a start-up error, a syntax that the runtime does not know (wire.md §2)
			f.Rule = "upload-invalid"
			return Findings{f}
		case 10027:
			f.Rule = "upload-too-large"
			return Findings{f}
		case 10057:
			f.Rule = "secret-missing"
			return Findings{f}
		}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// triggers converges what is not part of a version, side by side.
func (a *applying) triggers(ctx context.Context) error {
	err := together(
		func() error { return a.settings(ctx) },
		func() error {
			if a.plan.Has(ActionPut) {
				return a.subdomain(ctx)
			}
			return nil
		},
		func() error { return a.crons(ctx) },
		func() error { return a.attach(ctx) },
		func() error { return a.routes(ctx) })
	if err != nil {
		return err
	}
	// Last, so that a shop is reachable under its new hostname before the old one goes.
	return a.detach(ctx)
}

func (a *applying) settings(ctx context.Context) error {
	return a.step(ctx, ActionSettings, "writing script settings", func(s Step) error {
		var patch cloudflare.ScriptSettings
		for _, name := range s.After {
			switch name {
			case "tags":
				patch.Tags = wantTags(a.want.Config.Tags, a.liveTags())
			case "logpush":
				patch.Logpush = a.want.Config.Logpush
			case "observability":
				patch.Observability = a.want.Config.Observability
			case "tail_consumers":
				patch.TailConsumers = a.want.Config.TailConsumers
			}
		}
		a.write()
		return doing(a.cf.PatchScriptSettings(ctx, s.Target, patch), "writing the script settings of "+s.Target)
	})
}

func (a *applying) subdomain(ctx context.Context) error {
	return a.step(ctx, ActionSubdomain, "setting workers.dev", func(s Step) error {
		a.write()
		return doing(a.cf.SetSubdomain(ctx, s.Target, a.want.Config.WorkersDev, a.want.Config.PreviewURLs), "setting workers.dev of "+s.Target)
	})
}

func (a *applying) crons(ctx context.Context) error {
	return a.step(ctx, ActionCrons, "replacing crons", func(s Step) error {
		a.write()
		return doing(a.cf.PutSchedules(ctx, s.Target, s.After), "replacing the crons of "+s.Target)
	})
}

// attach adds custom domains. Cloudflare is asked for the consequences first,
// and any conflict ends it: no hostname is ever taken, no DNS record replaced.
// The PUT that follows cannot override either, should one appear in between.
func (a *applying) attach(ctx context.Context) error {
	return a.step(ctx, ActionAttach, "attaching hostnames", func(s Step) error {
		origins := a.want.origins()
		a.read()
		changes, err := a.cf.DomainChangeset(ctx, s.Target, origins)
		if err != nil {
			return fmt.Errorf("asking what attaching %s would change: %w", s.Target, err)
		}
		var conflicts Findings
		for _, c := range changes.Conflicting {
			conflicts = append(conflicts, a.taken(c.Hostname, "it already has a DNS record"))
		}
		for _, c := range changes.Updated {
			if c.Modified && slices.Contains(s.After, c.Hostname) && !slices.Contains(s.Before, c.Hostname) {
				conflicts = append(conflicts, a.taken(c.Hostname, "another Worker holds it"))
			}
		}
		if len(conflicts) > 0 {
			return conflicts.sorted()
		}
		a.write()
		err = a.cf.PutDomains(ctx, s.Target, origins)
		if errors.Is(err, cloudflare.ErrConflict) {
			return Findings{a.taken(s.Target, refusalText(err))}
		}
		return doing(err, "attaching hostnames to "+s.Target)
	})
}

func (a *applying) taken(hostname, why string) Finding {
	f := Finding{
		Rule: "hostname-taken", Level: LevelError,
		Message:  fmt.Sprintf("hostname %s was not attached: %s", hostname, why),
		Expected: "a hostname that nobody holds",
		Hint:     "free it first if it is this shop's; shopfleet never takes a hostname",
	}
	a.want.locate(&f, "env", a.want.Config.Env, "routes")
	return f
}

func (a *applying) detach(ctx context.Context) error {
	for _, s := range a.plan.all(ActionDetach) {
		if err := ctx.Err(); err != nil {
			return err
		}
		a.tell(Event{Action: ActionDetach, Text: "detaching " + s.Target})
		a.write()
		if err := a.cf.DetachDomain(ctx, s.ID); err != nil && !errors.Is(err, cloudflare.ErrNotFound) {
			return fmt.Errorf("detaching %s: %w", s.Target, err)
		}
	}
	return nil
}

// routes creates the zone routes that are missing and removes the Worker's own
// that the config no longer has. Routes of other Workers are never touched.
func (a *applying) routes(ctx context.Context) error {
	for _, s := range a.plan.all(ActionRoutes) {
		if err := ctx.Err(); err != nil {
			return err
		}
		a.tell(Event{Action: ActionRoutes, Text: "converging zone routes"})
		a.read()
		live, err := a.cf.ZoneRoutes(ctx, s.Zone)
		if err != nil {
			return fmt.Errorf("listing the routes of a zone: %w", err)
		}
		for _, pattern := range s.After {
			i := slices.IndexFunc(live, func(r cloudflare.Route) bool { return r.Pattern == pattern })
			switch {
			case i >= 0 && live[i].Script == s.Target:
				continue
			case i >= 0:
				return Findings{a.taken(pattern, "route "+pattern+" runs Worker "+live[i].Script)}
			}
			a.write()
			if _, err := a.cf.CreateRoute(ctx, s.Zone, pattern, s.Target); err != nil {
				return fmt.Errorf("creating route %s: %w", pattern, err)
			}
		}
		for _, r := range live {
			if r.Script == s.Target && !slices.Contains(s.After, r.Pattern) {
				a.write()
				if err := a.cf.DeleteRoute(ctx, s.Zone, r.ID); err != nil && !errors.Is(err, cloudflare.ErrNotFound) {
					return fmt.Errorf("deleting route %s: %w", r.Pattern, err)
				}
			}
		}
	}
	return nil
}

// confirm is the deploy of a shop whose release is already what the commit
// says: nothing is written, but the release is asked whether it is well, so
// that a run which was cut off before its gate is not taken for a good one.
func (a *applying) confirm(ctx context.Context) error {
	var err error
	a.tell(Event{Action: ActionGate, Text: "unchanged; asking the live release how it is"})
	a.out.Gate, err = a.e.gateOrDefault().Healthy(ctx, a.want.Shop.Hostname, a.want.Gate, a.want.BuildInfoURL, a.plan.Mark)
	if err != nil {
		return fmt.Errorf("asking the live release of %s: %w", a.plan.Shop, err)
	}
	if !a.out.Gate.Passed {
		return &UnhealthyError{Result: a.out.Gate}
	}
	return nil
}

// UnhealthyError says that what is live is what the commit says, and does not
// pass its gate. Nothing was written.
type UnhealthyError struct{ Result GateResult }

func (e *UnhealthyError) Error() string {
	return "nothing changed, and the live release does not pass its gate: " + e.Result.URL + ": " + e.Result.Reason
}

// Hint says what can be done.
func (e *UnhealthyError) Hint() string {
	return "look at the Worker's logs; --redeploy releases the same commit anew"
}

// gate checks the release and restores the known good version when it fails.
func (a *applying) gate(ctx context.Context) error {
	return a.step(ctx, ActionGate, "checking the release", func(s Step) error {
		res, err := a.e.gateOrDefault().Check(ctx, s.Target, a.want.Gate, a.want.BuildInfoURL, a.gateBytes())
		a.out.Gate = res
		if err != nil {
			return fmt.Errorf("checking %s: %w", s.Target, err)
		}
		if res.Passed {
			return nil
		}
		return a.restore(ctx)
	})
}

// gateBytes are what the gate wants to read; nil when no version went out, and
// the live build_info.json is that of an earlier run.
func (a *applying) gateBytes() []byte {
	if a.plan.Has(ActionRelease) || a.plan.Has(ActionPut) {
		return a.want.BuildInfo
	}
	return nil
}

// restore releases the version that was live before, once, and puts the crons
// back. It goes on when the caller's context is cancelled: leaving a shop on a
// release that failed its gate is worse than finishing late.
func (a *applying) restore(ctx context.Context) error {
	failed := &GateError{Result: a.out.Gate}
	if a.plan.Live == "" || !(a.plan.Has(ActionRelease) || a.plan.Has(ActionPut)) {
		return failed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	a.tell(Event{Action: ActionRelease, Text: "restoring " + a.plan.Live})
	if err := a.deployVersion(ctx, a.plan.Worker, a.plan.Live, a.have.Live.Message); err != nil {
		return errors.Join(failed, fmt.Errorf("restoring version %s: %w", a.plan.Live, err))
	}
	failed.Restored, a.out.Restored, a.out.VersionID = a.plan.Live, a.plan.Live, a.plan.Live
	if s, ok := a.plan.step(ActionCrons); ok {
		a.write()
		if err := a.cf.PutSchedules(ctx, s.Target, s.Before); err != nil {
			return errors.Join(failed, fmt.Errorf("putting the crons back: %w", err))
		}
	}
	if len(a.out.Migrations) > 0 {
		a.out.NotUndone = append(a.out.NotUndone, "migrations (bookmark "+a.out.Bookmark+")")
	}
	for _, action := range []Action{ActionAttach, ActionDetach, ActionRoutes} {
		if a.plan.Has(action) {
			a.out.NotUndone = append(a.out.NotUndone, "hostnames")
			break
		}
	}
	return failed
}

func (e *Engine) gateOrDefault() *Gate {
	if e.Gate != nil {
		return e.Gate
	}
	return &Gate{Now: e.Now}
}
