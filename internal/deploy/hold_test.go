package deploy_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// lock says what it is told to say, in order; the last answer stays.
type lock struct {
	asked   int
	answers []func() (*deploy.Held, error)
}

func (l *lock) Held(context.Context, fleet.Shop) (*deploy.Held, error) {
	l.asked++
	return l.answers[min(l.asked, len(l.answers))-1]()
}

func heldBy(owner string, working bool) func() (*deploy.Held, error) {
	return func() (*deploy.Held, error) {
		return &deploy.Held{Owner: owner, Reason: "the stock is counted", Working: working}, nil
	}
}

func nobody() (*deploy.Held, error) { return nil, nil }

// deployHeld deploys a change while a lock says what it says. Between its two questions time passes.
func (s *stage) deployHeld(l *lock) (*deploy.Outcome, error) {
	s.t.Helper()
	want, err := s.prepare(context.Background())
	s.must(err)
	e := s.engine()
	e.Holds = l
	e.Gate.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	have, err := e.Observe(context.Background(), want)
	s.must(err)
	plan := deploy.Diff(want, have)
	passed := s.passed
	defer func() { s.passed = passed }()
	return e.Apply(context.Background(), want, have, plan, func(ev deploy.Event) {
		if ev.Action == deploy.ActionUpload {
			s.passed += 3 * time.Second
		}
	})
}

func TestHeldShopIsNotDeployed(t *testing.T) {
	s := newStage(t)
	_, err := s.deployWith(&diary{})
	s.must(err)
	before := s.live()
	s.write("public/new.txt", "new")

	for name, c := range map[string]struct {
		lock          *lock
		rule          string
		asked, writes int // writes -1: some
	}{
		"held":                  {&lock{answers: []func() (*deploy.Held, error){heldBy("alice", false)}}, "shop-held", 1, 0},
		"unreadable":            {&lock{answers: []func() (*deploy.Held, error){func() (*deploy.Held, error) { return nil, errors.New("down") }}}, "", 1, 0},
		"held on the way":       {&lock{answers: []func() (*deploy.Held, error){nobody, heldBy("alice", false)}}, "shop-held", 2, -1},
		"a rollback that stays": {&lock{answers: []func() (*deploy.Held, error){heldBy("alice", true)}}, "shop-held", 41, 0},
		"a rollback, then held": {&lock{answers: []func() (*deploy.Held, error){heldBy("alice", true), heldBy("bob", false)}}, "shop-held", 2, 0},
	} {
		out, err := s.deployHeld(c.lock)
		var list deploy.Findings
		var unknown *deploy.HoldError
		switch {
		case c.rule == "" && !errors.As(err, &unknown):
			t.Errorf("%s: %v", name, err)
		case c.rule != "" && (!errors.As(err, &list) || list[0].Rule != c.rule || !strings.Contains(list[0].Message, "the stock is counted") || list[0].Hint == ""):
			t.Errorf("%s: %v", name, err)
		}
		if c.lock.asked != c.asked || c.writes == 0 && out.Writes != 0 || s.live() != before {
			t.Errorf("%s: asked %d times, %d writes, %s is live, was %s", name, c.lock.asked, out.Writes, s.live(), before)
		}
	}

	// A rollback that ends lets it go on; and where nothing changed nobody is asked.
	l := &lock{answers: []func() (*deploy.Held, error){heldBy("alice", true), heldBy("alice", true), nobody}}
	if out, err := s.deployHeld(l); err != nil || out.VersionID == before || l.asked < 4 {
		t.Errorf("after a rollback: %v, asked %d times", err, l.asked)
	}
	l = &lock{answers: []func() (*deploy.Held, error){heldBy("alice", false)}}
	if out, err := s.deployHeld(l); err != nil || out.Changed || l.asked != 0 {
		t.Errorf("unchanged: %v, asked %d times", err, l.asked)
	}
}
