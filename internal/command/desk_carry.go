package command

// Carrying out an order: what was true when it was heard is asked again, the tree of commands does it, and the answer says
// what became of it.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
)

// Carry carries out a claimed order and answers it. Whatever becomes of it is in the answer; the error is for the log. When ctx
// ends before it is done, the answer has no outcome, and Recover finds it.
func (k *Desk) Carry(ctx context.Context, o *Order) error {
	if gone, err := k.takenOver(ctx, o); gone || err != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.mine, o.Comment)
		return err
	}
	if o.answer == nil {
		o.answer = k.newAnswer(o, 0)
	}
	a := o.answer
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.mine, o.Comment)
	}()
	stop := a.keep(ctx)
	outcome, page, err := k.carry(ctx, o)
	stop()
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if ctx.Err() != nil && outcome == outcomeFailed && o.verdict == "" {
		if o.Event.CheckRun != nil { // which nobody takes up
			a.set("The worker that did this was stopped, perhaps in the middle of it. Look at what is live, and press again.\n")
			return errors.Join(err, a.write(late, outcomeFailed))
		}
		a.set("The worker that did this was stopped. Another one takes it up.\n")
		return errors.Join(err, a.write(late, ""))
	}
	a.set(page)
	return errors.Join(err, a.write(late, outcome))
}

// takenOver says whether an order that waited for its turn long enough for somebody's patience to end is another desk's by now,
// whose answer it gets. One request and, the first time, one for who we are; none for an order that did not wait.
func (k *Desk) takenOver(ctx context.Context, o *Order) (bool, error) {
	if o.Comment == 0 || o.resumed || k.door.Now().Sub(o.At) <= k.options.Patience/2 {
		return false, nil
	}
	me, err := k.hub.Self(ctx)
	if err != nil {
		return false, fmt.Errorf("asking who we are: %w", err)
	}
	list, err := k.hub.Reactions(ctx, o.Comment)
	if errors.As(err, new(*github.NotFoundError)) {
		return false, nil // which the answer says
	}
	if err != nil {
		return false, fmt.Errorf("asking whose order %s is: %w", o.Mark, err)
	}
	return slices.ContainsFunc(list, func(r github.Reaction) bool {
		return strings.EqualFold(r.Author, me) && (r.Content == reactAgain || r.Content == reactGiveUp)
	}), nil
}

// carry is Carry without the answer around it.
func (k *Desk) carry(ctx context.Context, o *Order) (outcome, page string, err error) {
	if o.verdict != "" {
		return o.verdict, o.page, nil
	}
	now := k.door.Now()
	if !o.resumed && now.Sub(o.At) > k.options.Fresh {
		return outcomeExpired, fmt.Sprintf("This was said %s ago and heard only now. Nothing was done; say it again if it is still meant.\n", now.Sub(o.At).Round(time.Minute)), nil
	}
	internal := func(what string, err error) (string, string, error) {
		k.options.Log.Error("an order failed", "order", o.Mark, "verb", o.Verb, "shop", o.Shop, "what", what, "error", err)
		return outcomeFailed, what + " Nothing was done; say it again in a while.\n", err
	}
	if k.options.Fetch != nil {
		if err := k.options.Fetch(ctx); err != nil {
			return internal("The repository could not be brought up to date.", fmt.Errorf("fetching: %w", err))
		}
	}
	c, err := k.open(ctx)
	if err != nil {
		return internal("The repository could not be read.", err)
	}
	if why, err := k.changed(ctx, o); err != nil {
		return internal("GitHub could not be asked.", err)
	} else if why != "" {
		return outcomeRefused, why + "\n", nil
	}
	if o.problem == nil && o.Verb != "help" && o.Shop != "" {
		if why := hasBranch(c, o.Shop); why != "" {
			return outcomeRefused, why + "\n", nil
		}
	}
	switch {
	case o.problem != nil:
		return outcomeRefused, report.MarkdownHelp(helpLines(o.problem.Verb), o.problem.Word, o.problem.Why), nil
	case o.Verb == "help":
		only := ""
		if len(o.said.rest) > 0 {
			only = o.said.rest[0]
		}
		return outcomeDone, report.MarkdownHelp(helpLines(only), "", ""), nil
	case slices.Contains([]string{"deploy", "plan", "audit", "rebase"}, o.Verb):
		page, err := k.dispatch(ctx, o)
		return k.ended(o, exitCode(err), page, err)
	}
	return k.run(ctx, o)
}

// hasBranch says why a shop is none of this repository; "" where it is.
func hasBranch(c *checkout, slug string) string {
	shop, err := c.policy.Shop(slug)
	if err != nil {
		return report.Code(slug) + " is no shop of this fleet."
	}
	if !slices.ContainsFunc(c.tips, func(b git.Branch) bool { return b.Name == shop.Branch }) {
		return fmt.Sprintf("There is no shop %s: it has no branch %s.", report.Code(slug), report.Code(shop.Branch))
	}
	return ""
}

// changed asks again what was true when the order was heard. why is for the answer; "" means that it stands.
func (k *Desk) changed(ctx context.Context, o *Order) (why string, err error) {
	if o.Comment != 0 {
		c, err := k.hub.Comment(ctx, o.Comment)
		switch {
		case errors.As(err, new(*github.NotFoundError)):
			return "The comment is gone. Nothing was done.", nil
		case err != nil:
			return "", fmt.Errorf("reading comment %d: %w", o.Comment, err)
		case o.Event.Comment == nil || c.Body != o.Event.Comment.Body: // the time of the last change says less
			return "The comment was edited since. Nothing was done; say it in a new one.", nil
		case c.AuthorID != o.ByID:
			return "The comment is somebody else's by now. Nothing was done.", nil
		}
		o.By = c.Author // who has the old login by now may be another
	}
	yes, why, err := k.may(ctx, o)
	if err != nil {
		return "", err
	}
	if !yes {
		return why + " Nothing was done.", nil
	}
	if v, _ := orderVerbOf(o.Verb); v.code && o.Head != "" && o.problem == nil {
		pull, err := k.hub.PullRequest(ctx, o.Issue)
		if err != nil {
			return "", fmt.Errorf("reading pull request %d: %w", o.Issue, err)
		}
		if pull.Head.SHA != o.Head {
			return fmt.Sprintf("The pull request moved since from %s to %s. Nothing was done; look at it, and say it again.", report.Code(shortID(o.Head)), report.Code(shortID(pull.Head.SHA))), nil
		}
	}
	return "", nil
}

// helpLines are the verbs for help, or one of them.
func helpLines(only string) []report.HelpLine {
	var list []report.HelpLine
	for _, v := range orderVerbs() {
		if only == "" || v.name == only {
			list = append(list, report.HelpLine{Usage: v.usage, What: v.what})
		}
	}
	return list
}

// maxKept is how much of what a verb prints is kept for the log.
const maxKept = 16 << 10

// kept keeps the beginning of what is written.
type kept struct{ bytes.Buffer }

func (b *kept) Write(p []byte) (int, error) {
	if room := maxKept - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// run has the tree of commands do it, behind a door of its own.
func (k *Desk) run(ctx context.Context, o *Order) (outcome, page string, err error) {
	var out, problems kept
	inner := *k.door
	inner.Args, inner.order = o.Args[:1:1], o
	for flag, value := range map[string]string{"--main=": k.options.Main, "--config=": k.options.Config} {
		if value != "" {
			inner.Args = append(inner.Args, flag+value)
		}
	}
	inner.Args = append(inner.Args, o.Args[1:]...)
	inner.Stdin, inner.Asks, inner.Terminal = strings.NewReader(""), false, false
	inner.Stdout, inner.Stderr = &out, &problems
	if k.door.workflow != nil {
		inner.Stdout, inner.Stderr = k.door.Stdout, k.door.Stderr // where each line is made harmless
	}
	tree := k.tree(&inner)
	tree.SetArgs(inner.Args)
	tree.SetIn(inner.Stdin)
	tree.SetOut(inner.Stdout)
	tree.SetErr(inner.Stderr)
	err = tree.ExecuteContext(ctx)
	if err != nil {
		inner.explain(err)
	}
	if k.door.workflow == nil {
		k.options.Log.Info("an order ran", "order", o.Mark, "verb", o.Verb, "shop", o.Shop, "exit", exitCode(err), "output", report.Clean(oneLine(problems.String())))
	}
	return k.ended(o, exitCode(err), "", err)
}

// ended is what the answer says of what a verb did. Causes are for the log.
func (k *Desk) ended(o *Order, code int, said string, err error) (outcome, page string, _ error) {
	outcome = map[int]string{ExitDone: outcomeDone, ExitFindings: outcomeRefused, ExitUsage: outcomeRefused}[code]
	if outcome == "" {
		outcome = outcomeFailed
	}
	if o.outcome != "" {
		outcome = o.outcome
	}
	var b strings.Builder
	for _, part := range []string{said, o.page} {
		if part != "" {
			b.WriteString(strings.TrimRight(part, "\n") + "\n")
		}
	}
	if o.page == "" {
		for _, r := range o.results {
			if len(o.results) > 1 {
				fmt.Fprintf(&b, "\n#### %s %s: %s\n\n", icon(r), report.Code(r.Shop), r.Status)
			}
			b.WriteString(resultPage(r))
		}
	}
	var printed *resultError
	switch {
	case err == nil || errors.As(err, &printed):
	case findings(err) != nil:
		b.WriteString(report.MarkdownFindings(findings(err)))
	default:
		r := shopResult{Status: statusFailed, Reason: reason(statusFailed, err), Error: report.Clean(oneLine(err.Error())), Hint: hintOf(err), err: err}
		b.WriteString(resultPage(r))
	}
	if b.Len() == 0 {
		b.WriteString(map[bool]string{true: "It is done.\n", false: "It was not done; the log says why.\n"}[code == ExitDone])
	}
	if errors.As(err, &printed) || outcome == outcomeRefused || outcome == outcomeExpired {
		err = nil // it is told, and nothing of ours
	}
	return outcome, b.String(), err
}
