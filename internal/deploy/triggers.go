package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kvick/shopfleet/internal/cloudflare"
)

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
		var taken Findings
		for _, c := range conflicts(changes, s.After, func(host string) bool { return slices.Contains(s.Before, host) }) {
			taken = append(taken, a.taken(c.Hostname, c.Why))
		}
		if len(taken) > 0 {
			return taken.sorted()
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
