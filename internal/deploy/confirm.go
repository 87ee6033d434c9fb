package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// confirm is the deploy of a shop whose release is already what the commit
// says: nothing is written, but the release is asked whether it is well, so
// that a run which was cut off before its gate is not taken for a good one.
func (a *applying) confirm(ctx context.Context) error {
	a.tell(Event{Action: ActionGate, Text: "unchanged; asking the live release how it is"})
	if err := a.healthy(ctx, 0); err != nil {
		return err
	}
	if !a.out.Gate.Passed {
		return &UnhealthyError{Result: a.out.Gate}
	}
	return a.confirmEntry(ctx)
}

// healthy asks the live release whether it is the plan's and well; the answer is in the outcome.
func (a *applying) healthy(ctx context.Context, timeout time.Duration) (err error) {
	q := a.question()
	q.Policy.Timeout = timeout
	a.out.Gate, err = a.e.gateOrDefault().Healthy(ctx, q, a.plan.Mark)
	if err != nil {
		return fmt.Errorf("asking the live release of %s: %w", a.plan.Shop, err)
	}
	return nil
}

// contract applies the files that waited for the release to be good, and asks it once more: what it does not need any
// more is gone now.
func (a *applying) contract(ctx context.Context) error {
	if !a.plan.Has(ActionContract) {
		return nil
	}
	if err := a.migrate(ctx, ActionContract); err != nil {
		return err
	}
	a.tell(Event{Action: ActionGate, Text: "asking the release how it is without what was dropped"})
	if err := a.healthy(ctx, a.want.Gate.Timeout); err != nil {
		return err
	}
	if !a.out.Gate.Passed {
		return &ContractError{Result: a.out.Gate, Bookmark: a.out.Bookmark, Shop: a.plan.Shop}
	}
	return nil
}

// ContractError says that a release passed its gate, and no longer does since migrations took something away. Nothing is
// put back by itself: data may have been written since.
type ContractError struct {
	Result         GateResult
	Shop, Bookmark string
}

func (e *ContractError) Error() string {
	return "the release does not pass its gate any more since migrations took something away: " + e.Result.URL + ": " + e.Result.Reason
}

// Hint says what can be done.
func (e *ContractError) Hint() string {
	return "shopfleet d1 restore " + e.Shop + " --to " + e.Bookmark + " shows what going back would lose"
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
		if a.gateBytes() == nil {
			// The release is the plan's already: what waited for it may follow if it is well.
			if err := a.healthy(ctx, a.want.Gate.Timeout); err != nil {
				return err
			}
			switch {
			case a.out.Gate.Passed:
				return nil
			case a.plan.Has(ActionContract):
				return &UnhealthyError{Result: a.out.Gate}
			}
			return a.restore(ctx)
		}
		res, err := a.e.gateOrDefault().Check(ctx, a.question(), a.gateBytes())
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

// question is what the shop's releases are asked, also about records that the account has shown.
func (a *applying) question() Question {
	return a.want.question(len(a.want.owned(a.have)) > 0 && (recorded(a.want, a.have) || a.have.Live.Stores == a.want.storesID()))
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
// back, unless another run has released meanwhile. It goes on when the caller's context is cancelled: leaving a shop on a
// release that failed its gate is worse than finishing late.
func (a *applying) restore(ctx context.Context) error {
	failed := &GateError{Result: a.out.Gate}
	if a.plan.Live == "" || !(a.plan.Has(ActionRelease) || a.plan.Has(ActionPut)) {
		return failed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	// What was asked may have been another run's release. One that cannot be seen is no reason to stay on a bad one.
	a.read()
	if list, err := a.cf.Deployments(ctx, a.plan.Worker); err == nil {
		var now Live
		live(list, &now)
		if ours := now.Version == a.out.VersionID || now.SecretsSince > 0 && now.Mark == a.plan.Mark; now.Version != "" && !ours {
			a.out.VersionID = now.Version
			return &StaleError{Shop: a.plan.Shop, Live: now.Version}
		}
		a.force = a.force || a.bringsSecrets() && now.Version == a.out.VersionID
	}
	a.tell(Event{Action: ActionRelease, Text: "restoring " + a.plan.Live})
	text := a.have.Live.Message
	if m, ok := parseMemo(text); ok {
		m.from, m.order = a.out.VersionID, "" // the account alone knows then that this one was taken down
		text = m.String()
	}
	if err := a.deployVersion(ctx, a.plan.Worker, a.plan.Live, text); err != nil {
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
