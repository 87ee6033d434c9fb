package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// heldSince is a hold that is there from some moment on.
type heldSince struct{ on atomic.Bool }

func (h *heldSince) Held(context.Context, fleet.Shop) (*deploy.Held, error) {
	if !h.on.Load() {
		return nil, nil
	}
	return &deploy.Held{Owner: "alice", Reason: "rolled back"}, nil
}

// A rollback comes in after each call of a deploy, and holds the shop. What it went back to stays live, whatever the deploy
// does then: its release, its gate, and giving the traffic back to the version before.
func TestRollbackInTheMiddleOfADeploy(t *testing.T) {
	for _, passes := range []bool{true, false} {
		for at := 1; ; at++ {
			k := newCounter(t)
			k.ship("one")
			k.ship("two")
			h := &heldSince{}
			var jump atomic.Int64
			var calls atomic.Int32
			done, target := false, ""
			e := k.machine()
			e.Holds, e.Now = h, func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }
			e.CF.Observe = func(cloudflare.Call) {
				if int(calls.Add(1)) != at {
					return
				}
				h.on.Store(true)
				p, out, err := k.back()
				if err != nil && !errors.As(err, new(*deploy.GateError)) {
					t.Errorf("call %d: rolling back: %v", at, err)
				}
				if p != nil && p.Target != nil {
					done, target = true, out.VersionID
				}
				jump.Store(int64(5 * time.Second)) // more than what is taken for fresh
			}
			k.stage.write("public/page.txt", fmt.Sprint("three", at))
			run := func() {
				ctx := context.Background()
				want, err := k.prepare(ctx)
				k.must(err)
				have, err := e.Observe(ctx, want)
				k.must(err)
				_, _ = e.Apply(ctx, want, have, deploy.Diff(want, have), nil)
			}
			if passes {
				run()
			} else {
				k.fail(run)
			}
			if !done {
				t.Logf("passes %v: %d calls", passes, at-1)
				break // the deploy makes no more calls than that
			}
			if live := k.live(); live != target {
				t.Errorf("passes %v, call %d: live is %s, and the rollback went to %s", passes, at, live, target)
			}
		}
	}
}

// A deploy that found the shop free a moment ago releases over a rollback, and the rollback says so.
func TestRollbackIsReleasedOver(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	k.ship("two")
	e := k.machine()
	over := ""
	gate := *e.Gate
	gate.Sleep = func(context.Context, time.Duration) error {
		if over == "" && k.live() == first {
			over = "under way"
			over = k.ship("three")
		}
		return nil
	}
	e.Gate = &gate
	p, err := e.PlanRollback(context.Background(), k.want)
	k.must(err)
	_, err = e.Rollback(context.Background(), k.want, p, nil)
	var stale *deploy.StaleError
	if !errors.As(err, &stale) || stale.Live != over || over == "" {
		t.Errorf("got %v; %s was released over it", err, over)
	}
}
