package command

// Being sure: what cannot be undone is shown with its digest, and done when whoever asked for it says yes to that digest.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/report"
)

const (
	confirmPoll = 3 * time.Second
	confirmTime = 10 * time.Minute
)

// confirm asks whether a plan is to be carried out. page is the plan as Markdown and digest what it is known by.
//
// An order is confirmed by a 👍 of the same account on the answer, made after the answer showed this digest; a person at a
// terminal by the first twelve digits of it or all; neither there nor here it is a usage error, which says what to give
// instead. False means that nobody said yes, and nothing may be done.
func (d *Door) confirm(ctx context.Context, page, digest string) (bool, error) {
	if d.order != nil && d.order.answer != nil {
		return d.order.answer.confirm(ctx, page, digest)
	}
	if !d.Asks {
		return false, Usage(errors.New("nothing was done: this needs a yes, and nobody can be asked"), "run it at a terminal, or see --yes of the command")
	}
	short := digest[:min(12, len(digest))]
	fmt.Fprintf(d.Stderr, "To do exactly this, type its digest %s: ", short)
	line, err := bufio.NewReader(d.Stdin).ReadString('\n')
	if err != nil && line == "" {
		return false, nil
	}
	word := strings.TrimSpace(line)
	return word != "" && (word == short || word == digest), nil
}

// confirm shows the plan and waits for a 👍.
func (a *answer) confirm(ctx context.Context, page, digest string) (bool, error) {
	k, o := a.desk, a.order
	until := k.door.Now().Add(confirmTime)
	a.set(report.MarkdownConfirm(page, digest, o.By, until))
	if err := a.write(ctx, ""); err != nil {
		return false, err
	}
	if a.at() == 0 {
		return false, Usage(errors.New("nothing was done: there is no place to ask"), "say it in a comment on the pull request")
	}
	// By GitHub's clock, like the time of the reaction. Who reacts in the same second has not read it.
	there, err := k.hub.Comment(ctx, a.at())
	if err != nil {
		return false, fmt.Errorf("looking at the answer: %w", err)
	}
	shown, text := there.Updated.Truncate(time.Second), belowHidden(there.Body)
	if !strings.Contains(text, digest) {
		return a.touched()
	}
	for {
		list, err := k.hub.Reactions(ctx, a.at())
		if err != nil {
			return false, fmt.Errorf("waiting for a yes: %w", err)
		}
		for _, x := range list {
			if x.Content != "+1" || x.UserID == 0 || x.UserID != o.ByID || !x.Created.Truncate(time.Second).After(shown) {
				continue
			}
			return a.agreed(ctx, digest, text)
		}
		if !k.door.Now().Before(until) {
			o.outcome = outcomeExpired
			a.set(fmt.Sprintf("Nobody said yes to plan %s in time. Nothing was done.\n", report.Code(digest)))
			return false, nil
		}
		if err := k.sleep(ctx, confirmPoll); err != nil {
			return false, err
		}
	}
}

// agreed looks once more, just before it is done: that the answer still says what it said, since people with write access can
// edit it, and that who said yes still may.
func (a *answer) agreed(ctx context.Context, digest, text string) (bool, error) {
	k, o := a.desk, a.order
	there, err := k.hub.Comment(ctx, a.at())
	if err != nil {
		return false, fmt.Errorf("looking at the answer: %w", err)
	}
	if belowHidden(there.Body) != text {
		return a.touched()
	}
	yes, _, err := k.may(ctx, o)
	if err != nil {
		return false, err
	}
	if !yes {
		o.outcome = outcomeRefused
		return false, Usage(errors.New("who asked for it may not any more; nothing was done"), "")
	}
	a.set(fmt.Sprintf("%s said yes to plan %s.\n", report.Code(o.By), report.Code(digest)))
	return true, nil
}

// touched ends it where somebody else wrote into the answer.
func (a *answer) touched() (bool, error) {
	a.order.outcome = outcomeRefused
	return false, Usage(errors.New("the answer was edited while it waited for a yes; nothing was done"), "say it again")
}

// belowHidden is a body without its hidden lines, of which one says when it was written, and without what GitHub may change.
func belowHidden(body string) string {
	lines := strings.SplitN(strings.ReplaceAll(body, "\r\n", "\n"), "\n", 3)
	return strings.TrimRight(lines[len(lines)-1], " \t\n")
}
