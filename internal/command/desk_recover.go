package command

// Recovering: GitHub's comments are the only record of what was ordered, and the reactions and answers of ours the only one of
// what became of it. From them any desk finds what another left.

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/github"
)

// Recover finds orders that were claimed and have no outcome, and commands that nobody claimed, in the repository's comments of
// the last three days. What it returns is this desk's, to be given to Carry: of several that look, one gets an order. An order
// that cannot be done twice, or is too old for that, comes back too; Carry reports it.
//
// One request for each hundred comments, and a few for each command that has no outcome.
func (k *Desk) Recover(ctx context.Context) ([]*Order, error) {
	if k.options.Fetch != nil {
		if err := k.options.Fetch(ctx); err != nil {
			return nil, fmt.Errorf("fetching: %w", err)
		}
	}
	if _, err := k.open(ctx); err != nil {
		return nil, err
	}
	me, err := k.hub.Self(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking who we are: %w", err)
	}
	now := k.door.Now()
	list, err := k.comments(ctx, now)
	if err != nil {
		return nil, err
	}
	answers := map[string]github.Comment{}
	for _, c := range list {
		if !strings.EqualFold(c.Author, me) {
			continue // anybody can write our marker
		}
		if mark, outcome := readAnswer(c.Body); mark != "" {
			if _, there := answers[mark]; !there || outcome != "" {
				answers[mark] = c
			}
		}
	}
	var orders []*Order
	var failed error
	for _, c := range list {
		if !spoken(&c) || c.Issue == 0 || now.Sub(c.Created) > deskWindow {
			continue
		}
		if _, err := ParseOrder(c.Body); errors.Is(err, ErrNoOrder) || k.knows(c.ID) {
			continue
		}
		a := answers[strconv.FormatInt(c.ID, 10)]
		if _, outcome := readAnswer(a.Body); outcome != "" {
			k.settle(&c)
			continue
		}
		o, err := k.recover(ctx, c, a, me)
		failed = errors.Join(failed, err)
		if ctx.Err() != nil {
			return orders, failed
		}
		if o != nil {
			orders = append(orders, o)
		}
	}
	return orders, failed
}

// comments are those of the last three days, or of as much of them as can be read: whoever may comment can make them many.
func (k *Desk) comments(ctx context.Context, now time.Time) ([]github.Comment, error) {
	for window := deskWindow; ; window /= 4 {
		list, err := k.hub.CommentsSince(ctx, now.Add(-window))
		switch {
		case err == nil:
			return list, nil
		case !errors.Is(err, github.ErrPaging) || window < time.Hour:
			return nil, fmt.Errorf("reading comments: %w", err)
		}
		k.options.Log.Warn("there are more comments than can be read; older ones are left out", "window", window)
	}
}

// knows says that a comment's order is here, or that nothing is to be done about it.
func (k *Desk) knows(comment int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, settled := k.settled[comment]
	return k.mine[comment] || settled
}

// recover decides about one comment that looks like an order and has no outcome; a is the answer as far as it is, or none.
func (k *Desk) recover(ctx context.Context, c, a github.Comment, me string) (*Order, error) {
	reactions, err := k.hub.Reactions(ctx, c.ID)
	if errors.As(err, new(*github.NotFoundError)) {
		return nil, nil // deleted meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("reading comment %d: %w", c.ID, err)
	}
	claims := map[string]bool{}
	alive := a.Updated // zero without an answer
	for _, r := range reactions {
		if strings.EqualFold(r.Author, me) {
			claims[r.Content] = true
			if r.Content != reactNo && r.Created.After(alive) {
				alive = r.Created
			}
		}
	}
	if claims[reactNo] {
		k.settle(&c)
		return nil, nil
	}
	claimed := claims[reactClaim] || claims[reactAgain] || claims[reactGiveUp]
	now := k.door.Now()
	if claimed && now.Sub(alive) <= k.options.Patience {
		return nil, nil // somebody has it
	}
	issue, err := k.hub.Issue(ctx, c.Issue)
	if err != nil {
		return nil, fmt.Errorf("reading issue %d: %w", c.Issue, err)
	}
	e := github.Event{Action: "created", Issue: &issue, Comment: &c, Sender: c.Author, SenderID: c.AuthorID}
	if !claimed {
		return k.hear(ctx, e)
	}
	o, err := k.orderOf(ctx, e)
	if err != nil {
		return nil, err
	}
	o.resumed = true
	next := reactAgain
	switch {
	case claims[reactGiveUp]:
		// Who was to report it did not come to that. A report may be written twice; an order is not done.
		k.giveUp(o, "Two workers began this and did not finish, nor did the one that was to report it.")
		o.answer = k.newAnswer(o, a.ID)
		return nil, k.Carry(ctx, o)
	case claims[reactAgain]:
		next = reactGiveUp
		k.giveUp(o, "Two workers began this and did not finish.")
	case !again(o):
		k.giveUp(o, "The worker that began this did not finish, and this is nothing to do twice without a look.")
	case now.Sub(o.At) > deskAgain:
		k.giveUp(o, fmt.Sprintf("The worker that began this did not finish, and that was %s ago.", now.Sub(o.At).Round(time.Minute)))
	}
	if o, err = k.claim(ctx, o, next); o != nil {
		o.answer = k.newAnswer(o, a.ID)
	}
	return o, err
}

// again says whether an order may be done a second time when nobody knows how far the first came. All verbs look first, except
// for a database that goes back.
func again(o *Order) bool { return !o.said.restore }

// giveUp makes an order one that is only reported.
func (k *Desk) giveUp(o *Order, why string) {
	o.verdict = outcomeFailed
	o.page = why + " It may have happened in part: look at the shop, and say it again if it is still meant.\n"
}
