package deploy

import (
	"context"
	"fmt"
	"time"

	"github.com/kvick/shopfleet/internal/fleet"
)

// Locker says whether a shop is held. Refs of the repository are one (package command); a test's is another. An
// implementation is safe for concurrent use.
type Locker interface {
	// Held is the hold that a deploy of the shop has to respect; nil when there is none. When it cannot be known that is an
	// error, and nothing is deployed.
	Held(ctx context.Context, shop fleet.Shop) (*Held, error)
}

// Held is a hold as far as a deploy is concerned. Owner and Reason are other people's text.
type Held struct {
	Owner, Reason string
	Since         time.Time
	Until         time.Time // zero is until somebody lifts it
	Fleet         bool      // it holds all shops
	Working       bool      // a rollback is under way, and it will be over soon
	Lift          string    // what ends it, where that is not release-hold
}

// Finding says of a deploy that it does not happen because of the hold.
func (h *Held) Finding(shop fleet.Shop) Finding {
	what, lift := shop.Slug+" is held", "shopfleet release-hold "+shop.Slug
	if h.Fleet {
		what, lift = "all shops are held", "shopfleet release-hold --all"
	}
	f := Finding{Rule: "shop-held", Level: LevelError, Message: fmt.Sprintf("%s by %s: %s", what, h.Owner, h.Reason), Hint: lift + " lifts it, and then deploy again"}
	if !h.Since.IsZero() {
		f.Message += ", since " + h.Since.UTC().Format("2006-01-02 15:04 UTC")
	}
	if !h.Until.IsZero() {
		f.Message += ", until " + h.Until.UTC().Format("2006-01-02 15:04 UTC")
	}
	if h.Lift != "" {
		f.Hint = h.Lift
	}
	if h.Working {
		f.Hint = "wait for the rollback to end; then the shop is held until somebody lifts that"
	}
	return f
}

// How long a deploy waits for a rollback that is under way, and how often it looks.
const (
	heldWait = 2 * time.Minute
	heldLook = 3 * time.Second
)

// free makes sure that nobody holds the shop: before anything is written, and once more right before the release, unless that
// is a moment later. For a rollback that is under way it waits.
func (a *applying) free(ctx context.Context) error {
	if a.e.Holds == nil || a.e.now().Sub(a.asked) <= looksFresh {
		return nil
	}
	for waited := time.Duration(0); ; waited += heldLook {
		asked := a.e.now()
		held, err := a.e.Holds.Held(ctx, a.want.Shop)
		if err != nil {
			return &HoldError{Shop: a.plan.Shop, Err: err}
		}
		if held == nil {
			a.asked = asked
			return nil
		}
		if !held.Working || waited >= heldWait {
			return Findings{held.Finding(a.want.Shop)}
		}
		a.tell(Event{Text: "waiting for a rollback to end"})
		sleep := a.e.gateOrDefault().Sleep
		if sleep == nil {
			sleep = sleepContext
		}
		if err := sleep(ctx, heldLook); err != nil {
			return err
		}
	}
}

// HoldError says that nobody knows whether a shop is held, so that it is not deployed.
type HoldError struct {
	Shop string
	Err  error
}

func (e *HoldError) Error() string {
	return "asking whether " + e.Shop + " is held: " + e.Err.Error() + "; nothing was released"
}

func (e *HoldError) Unwrap() error { return e.Err }

// Hint says what can be done.
func (e *HoldError) Hint() string {
	return "run the same command again; --no-journal deploys without asking while GitHub is down"
}
