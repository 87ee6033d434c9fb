package deploy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// A version can be asked before anybody is served by it: as part of the live deployment with 0 % of the traffic, with a
// header that chooses it (developers.cloudflare.com/workers/configuration/versions-and-deployments/version-overrides).
const overridesHeader = "Cloudflare-Workers-Version-Overrides"

// proveTimeout bounds how long a version is asked before its release. The gate comes after it anyway.
const proveTimeout = 15 * time.Second

// proves says whether the new version is to be asked before its release. It can be where something says which version
// answered, and where the hostname leads to the Worker already.
func proves(want *Desired, have *State) bool {
	if want.Identity.Path == "" && len(want.Gate.Protected) == 0 || len(want.BuildInfo) == 0 ||
		have.Live.Version == "" || split(have) || !answers(want, have) {
		return false
	}
	switch want.Gate.BeforeRelease {
	case fleet.BeforeAlways:
		return true
	case fleet.BeforeBindings:
		return !want.sameStores(have)
	}
	return false
}

// answers says whether the shop's hostname leads to its Worker.
func answers(want *Desired, have *State) bool {
	host, worker := want.Shop.Hostname, want.Config.Name
	return slices.ContainsFunc(have.Domains, func(d Domain) bool { return d.Hostname == host && d.Worker == worker }) ||
		slices.ContainsFunc(want.zoneRoutes(), func(r wrangler.Route) bool {
			return routeHost(r) == host && slices.ContainsFunc(have.Routes, func(live Route) bool { return live.Pattern == r.Pattern && live.Worker == worker })
		})
}

// Before asks a version that takes no traffic, through the live deployment that it is part of, what it sees in its stores
// and what it does with strangers. asked is false when the version never answered: the platform need not let it.
func (g *Gate) Before(ctx context.Context, q Question, worker, version string, want []byte) (res GateResult, asked bool, err error) {
	aside := *g
	aside.header = http.Header{overridesHeader: {fmt.Sprintf("%s=%q", worker, version)}}
	q.Policy.Timeout = min(q.Policy.Timeout, proveTimeout)
	res, err = aside.poll(ctx, q, true, func(ctx context.Context) (string, error) {
		at, err := aside.sameBytes(ctx, q, want)
		asked = asked || err == nil
		return at, err
	}, aside.proof)
	return res, asked, err
}

// prove asks the uploaded version before it takes traffic. One that is not as it should be never does: the live version is
// deployed alone again, and the error says so.
func (a *applying) prove(ctx context.Context) error {
	return a.step(ctx, ActionProve, "asking the version before it takes traffic", func(s Step) error {
		if err := a.unmoved(ctx); err != nil {
			return err
		}
		// The message stays that of the live release: it is what is live.
		shares := []cloudflare.Share{{VersionID: a.plan.Live, Percentage: 100}, {VersionID: a.out.Uploaded, Percentage: 0}}
		if err := a.deployShares(ctx, a.plan.Worker, shares, a.have.Live.Message); err != nil {
			return err
		}
		res, asked, err := a.e.gateOrDefault().Before(ctx, a.question(), a.plan.Worker, a.out.Uploaded, a.want.BuildInfo)
		if err != nil {
			return fmt.Errorf("asking version %s before its release: %w", a.out.Uploaded, err)
		}
		a.out.Before = &res
		switch {
		case res.Passed:
			return nil
		case !asked:
			res.note("the version did not answer before its release (" + res.Reason + "); the gate asks it after")
			res.Reason = ""
			return nil
		}
		return a.withdraw(ctx, &GateError{Result: res, Restored: a.plan.Live, Before: true})
	})
}

// withdraw deploys the live version alone again, unless another run has released meanwhile.
func (a *applying) withdraw(ctx context.Context, failed *GateError) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	a.read()
	list, err := a.cf.Deployments(ctx, a.plan.Worker)
	if err == nil {
		var now Live
		if live(list, &now); now.Version != a.plan.Live {
			a.out.VersionID = now.Version
			return errors.Join(failed, &StaleError{Shop: a.plan.Shop, Live: now.Version})
		}
		a.force = a.force || a.bringsSecrets()
	}
	a.tell(Event{Action: ActionProve, Text: "taking the version back; it took no traffic"})
	if err := a.deployVersion(ctx, a.plan.Worker, a.plan.Live, a.have.Live.Message); err != nil {
		return errors.Join(failed, fmt.Errorf("deploying version %s alone again: %w", a.plan.Live, err))
	}
	return failed
}
