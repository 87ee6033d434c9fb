package command

// The answer to an order: one comment of ours, edited as the order goes on. Its first two lines are hidden and say which order
// it is about and how far that is; they count in comments of ours alone, since anybody can write them.

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
)

// The outcomes that an answer ends with.
const (
	outcomeDone    = "done"
	outcomeFailed  = "failed"
	outcomeRefused = "refused"
	outcomeWaiting = "waiting" // something else goes on with it, which the answer names
	outcomeExpired = "expired"
)

func orderMarker(mark string) string { return "<!-- shopfleet:order " + mark + " -->" }

var (
	orderRule   = regexp.MustCompile(`^<!-- shopfleet:order ([A-Za-z0-9-]{1,80}) -->$`)
	outcomeRule = regexp.MustCompile(`^<!-- shopfleet:outcome (done|failed|refused|waiting|expired) -->$`)
)

// readAnswer is the order that a comment of ours is about, and the outcome that it has; "" for none.
func readAnswer(body string) (mark, outcome string) {
	lines := strings.SplitN(body, "\n", 3)
	m := orderRule.FindStringSubmatch(strings.TrimRight(lines[0], "\r"))
	if m == nil {
		return "", ""
	}
	if len(lines) > 1 {
		if o := outcomeRule.FindStringSubmatch(strings.TrimRight(lines[1], "\r")); o != nil {
			outcome = o[1]
		}
	}
	return m[1], outcome
}

// How often an answer is written: GitHub takes 80 comments and edits a minute of all that an App does.
const (
	answerThrottle = 2 * time.Second
	answerFirst    = 3 * time.Second // after which an answer is there, even if nothing was said yet
)

// answer is the comment about one order. Safe for concurrent use.
type answer struct {
	desk  *Desk
	order *Order
	poke  chan struct{}

	mu      sync.Mutex
	text    string // what it is to say
	turn    int    // counts the changes of text
	written int    // the turn that is on GitHub

	writing sync.Mutex // of one write after the other
	id      int64
	doubt   bool // whether there is one already that is not known
	last    time.Time
}

func (k *Desk) newAnswer(o *Order, id int64) *answer {
	a := &answer{desk: k, order: o, poke: make(chan struct{}, 1), id: id, doubt: o.resumed, last: k.door.Now()}
	if o.Event.CheckRun != nil {
		a.last = time.Time{} // the button goes away at once
	}
	return a
}

// say shows how far the order is. It may be called often, and does not wait for GitHub.
func (o *Order) say(_ context.Context, markdown string) {
	if o == nil || o.answer == nil {
		return
	}
	o.answer.set(markdown)
	select {
	case o.answer.poke <- struct{}{}:
	default:
	}
}

func (a *answer) set(markdown string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.text, a.turn = markdown, a.turn+1
}

// keep writes what is said, not too often, and now and then that the worker lives: others take over from one that does not. It
// returns what ends it.
func (a *answer) keep(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		began := a.desk.door.Now()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-a.poke:
			case <-tick.C:
			}
			now := a.desk.door.Now()
			a.mu.Lock()
			news := a.turn != a.written
			a.mu.Unlock()
			a.writing.Lock()
			first, age := a.id == 0 && a.order.Event.CheckRun == nil, now.Sub(a.last) // a button has its check run from the beginning
			a.writing.Unlock()
			switch {
			case first && (news || now.Sub(began) >= answerFirst), !first && news && age >= answerThrottle, !first && age >= a.desk.options.Patience/4:
				// To the end, also when the verb is done meanwhile: a comment that was made unseen would be made again.
				late, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
				err := a.write(late, "")
				cancel()
				if err != nil {
					a.desk.options.Log.Warn("an answer could not be written", "order", a.order.Mark, "error", err)
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}

// write puts the answer on GitHub as it is now. outcome "" is under way.
func (a *answer) write(ctx context.Context, outcome string) error {
	a.mu.Lock()
	text, turn := a.text, a.turn
	a.mu.Unlock()
	a.writing.Lock()
	defer a.writing.Unlock()
	o := a.order
	if text == "" {
		text = "Under way."
	}
	now := a.desk.door.Now().UTC()
	second := "<!-- shopfleet:alive " + now.Format(time.RFC3339) + " -->"
	if outcome != "" {
		second = "<!-- shopfleet:outcome " + outcome + " -->"
	}
	verb := o.Verb
	if o.problem != nil {
		verb = o.problem.Verb
	}
	page := report.Answer{Verb: verb, Shop: o.Shop, By: o.By, Outcome: outcome, Page: text, Log: a.desk.door.runURL()}
	body := second + "\n" + page.Markdown()
	a.last = now
	if o.Event.CheckRun != nil {
		err := a.desk.answerButton(ctx, o, outcome, page.Markdown())
		if err == nil {
			a.wrote(turn)
		}
		return err
	}
	if a.id != 0 {
		err := a.desk.hub.EditComment(ctx, a.id, orderMarker(o.Mark)+"\n"+body)
		if !errors.As(err, new(*github.NotFoundError)) {
			if err != nil {
				return fmt.Errorf("answering order %s: %w", o.Mark, err)
			}
			a.wrote(turn)
			return nil
		}
		a.id = 0 // somebody deleted it
	}
	if a.doubt {
		id, err := a.find(ctx)
		if err != nil {
			return fmt.Errorf("answering order %s: %w", o.Mark, err)
		}
		if a.doubt = false; id != 0 {
			a.id = id
			if err := a.desk.hub.EditComment(ctx, id, orderMarker(o.Mark)+"\n"+body); err != nil {
				return fmt.Errorf("answering order %s: %w", o.Mark, err)
			}
			a.wrote(turn)
			return nil
		}
	}
	made, err := a.desk.hub.NewComment(ctx, o.Issue, orderMarker(o.Mark), body)
	if err != nil {
		a.doubt = true
		return fmt.Errorf("answering order %s: %w", o.Mark, err)
	}
	a.id = made.ID
	a.wrote(turn)
	return nil
}

// find looks for a comment of ours about the order; 0 where there is none.
func (a *answer) find(ctx context.Context) (int64, error) {
	me, err := a.desk.hub.Self(ctx)
	if err != nil {
		return 0, err
	}
	list, err := a.desk.hub.Comments(ctx, a.order.Issue, a.order.At)
	if err != nil {
		return 0, err
	}
	for _, c := range list {
		if mark, _ := readAnswer(c.Body); mark == a.order.Mark && strings.EqualFold(c.Author, me) {
			return c.ID, nil
		}
	}
	return 0, nil
}

func (a *answer) wrote(turn int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.written = max(a.written, turn)
}

// at is the answer's comment; 0 when it is not written yet.
func (a *answer) at() int64 {
	a.writing.Lock()
	defer a.writing.Unlock()
	return a.id
}
