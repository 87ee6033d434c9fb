package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/rebase"
	"github.com/kvick/shopfleet/internal/report"
)

// What people say to a rebase, and how it is heard. A word counts when somebody says it who may push: a comment on a shop's
// pull request (/land), on the fleet's issue (/pause, /resume, /skip), a review with the label land, or a box that is ticked in the issue.
// Each is about one commit, which the page showed: what was pushed since was not agreed to.

var (
	landWord  = regexp.MustCompile(`^/land(?:[ \t]+([0-9a-f]{7,64}))?$`)
	fleetWord = regexp.MustCompile(`^/(pause|resume|skip)(?:[ \t]+([a-z0-9-]{1,63}))?$`)
)

// firstLine of a comment is all that is read of it.
func firstLine(body string) string {
	line, _, _ := strings.Cut(strings.ReplaceAll(body, "\r\n", "\n"), "\n")
	return strings.TrimSpace(line)
}

// mayPush says whether somebody may push to the repository. What a comment's author is called to be is not asked
// (contracts/github/wire.md §2h).
func (r *rebasing) mayPush(ctx context.Context, login string) (bool, error) {
	if may, known := r.may[login]; known {
		return may, nil
	}
	level, err := r.hub.Permission(ctx, login)
	if err != nil {
		return false, fmt.Errorf("asking what %s may do: %w", report.Clean(login), err)
	}
	if r.may == nil {
		r.may = map[string]bool{}
	}
	r.may[login] = level == "write" || level == "admin" || level == "maintain"
	return r.may[login], nil
}

// maySay says whether somebody may give an order by the fleet's rules, which is write access where they ask for no more.
func (r *rebasing) maySay(ctx context.Context, verb, login string) (bool, error) {
	rule := r.c.policy.Commands.Rule(verb)
	if plainRule(rule) {
		return r.mayPush(ctx, login)
	}
	key := verb + " " + login // no login has a blank
	if may, known := r.may[key]; known {
		return may, nil
	}
	may, _, err := r.door.may(ctx, r.hub, rule, verb, login)
	if err != nil {
		return false, err
	}
	if r.may == nil {
		r.may = map[string]bool{}
	}
	r.may[key] = may
	return may, nil
}

// commands are what people said to the round on the fleet's issue.
func (r *rebasing) commands(ctx context.Context) ([]rebase.Command, error) {
	issue, err := r.hub.FindIssue(ctx, fleetMarker)
	if err != nil {
		return nil, fmt.Errorf("looking for the fleet's issue: %w", err)
	}
	if issue.Number == 0 {
		return nil, nil
	}
	r.issue = issue.Number
	began, err := r.began(ctx)
	if err != nil {
		return nil, err
	}
	comments, err := r.hub.Comments(ctx, issue.Number, began)
	if err != nil {
		return nil, fmt.Errorf("reading the fleet's issue: %w", err)
	}
	var out []rebase.Command
	for _, k := range comments {
		word := fleetWord.FindStringSubmatch(firstLine(k.Body))
		if word == nil || k.Bot || k.Updated.After(k.Created) || (word[1] == "skip") != (word[2] != "") {
			continue
		}
		if k.Created.Before(began) {
			continue // it was about a round before this one
		}
		may, err := r.maySay(ctx, word[1], k.Author)
		if err != nil {
			return nil, err
		}
		if may {
			out = append(out, rebase.Command{Verb: word[1], Shop: word[2], By: k.Author, At: k.Created, URL: k.HTMLURL})
		}
	}
	return out, nil
}

// shownLine is the line of a pull request's page that says which commit it is about.
func shownLine(sha string) string { return "<!-- shopfleet:shown " + sha + " -->" }

var shownRule = regexp.MustCompile(`(?m)^<!-- shopfleet:shown ([0-9a-f]{40,64}) -->\r?$`)

// shown is the commit that a page is about; "" when it does not say.
func shown(body string) string {
	if m := shownRule.FindStringSubmatch(body); m != nil {
		return m[1]
	}
	return ""
}

// approvalMarker finds the comment that says who agreed to what. It is ours: labels and boxes can be set by people who may
// not push, and by nobody who can be asked later.
const approvalMarker = "<!-- shopfleet:approval -->"

// approved says whether somebody who may push agreed to exactly what the move is now: in a word that was noted, or in a review
// of that commit. The label alone is nobody's word, since GitHub lets people set it who may not push and does not say who did.
func (r *rebasing) approved(ctx context.Context, m *rebase.Move, pull github.PullRequest) (bool, error) {
	if !hasLabel(pull, labelLand) || m.To == "" {
		return false, nil
	}
	body, err := r.hub.OwnComment(ctx, pull.Number, approvalMarker)
	if err != nil {
		return false, fmt.Errorf("reading pull request %d: %w", pull.Number, err)
	}
	if shown(body) == m.To {
		return true, nil
	}
	reviews, err := r.hub.Reviews(ctx, pull.Number)
	if err != nil {
		return false, fmt.Errorf("reading pull request %d: %w", pull.Number, err)
	}
	last := map[string]github.Review{} // of each reviewer; a later word takes an earlier one back
	for _, v := range reviews {
		if v.State == "APPROVED" || v.State == "CHANGES_REQUESTED" || v.State == "DISMISSED" {
			last[v.Author] = v
		}
	}
	for _, who := range sortedKeys(last) {
		if v := last[who]; v.State != "APPROVED" || v.Commit != m.To {
			continue
		}
		if may, err := r.maySay(ctx, "land", who); err != nil || may {
			return may, err
		}
	}
	return false, nil
}

// heard is somebody's wish that a shop lands, as far as it is known what about.
type heard struct {
	slug string
	sha  string // or the beginning of one; "" means what the page shows
	by   string
}

// askedFor are the shops that the event which started the run is about; none means the whole fleet.
func (r *rebasing) askedFor() []string {
	kind, event := r.door.event()
	var slugs []string
	switch {
	case kind == "issue_comment" && event.Issue != nil && event.Issue.Pull:
		if slug := r.shopOf(event.Issue.Number); slug != "" {
			slugs = append(slugs, slug)
		}
	case kind == "check_run":
		slugs = append(slugs, r.door.order.Shop)
	case kind == "issues" && event.Issue != nil:
		before := report.ParseChecked(event.BodyBefore)
		for _, box := range report.ParseChecked(event.Issue.Body) {
			if !slices.Contains(before, box) {
				slugs = append(slugs, box.Slug)
			}
		}
	}
	return slugs
}

// event is what happened on GitHub that the door carries something out for; none on a laptop.
func (d *Door) event() (kind string, e github.Event) {
	switch {
	case d.order != nil && d.order.Event.CheckRun != nil:
		return "check_run", d.order.Event
	case d.order != nil:
		return "issue_comment", d.order.Event
	case d.workflow != nil:
		return d.workflow.context.EventName, d.workflow.context.Event
	}
	return "", e
}

// claim says whether the comment is this run's to answer: of several that ask, the App's server among them, one is. An order
// was claimed by the desk.
func (r *rebasing) claim(ctx context.Context, comment int64) (bool, error) {
	if r.door.order != nil {
		return true, nil
	}
	fresh, err := r.hub.React(ctx, comment, "eyes")
	if err != nil {
		return false, fmt.Errorf("answering comment %d: %w", comment, err)
	}
	return fresh, nil
}

// hear answers the event that started the run, if it is one of these. done says that nothing more is to be done.
func (r *rebasing) hear(ctx context.Context) (done bool, err error) {
	kind, event := r.door.event()
	if r.flags.dry {
		return false, nil
	}
	switch kind {
	case "issue_comment":
		return r.hearComment(ctx, event)
	case "check_run":
		return true, r.hearButton(ctx)
	case "issues":
		return true, r.hearBoxes(ctx, event)
	}
	return false, nil
}

// shopOf is the shop whose rebase pull request has a number; "" for all others.
func (r *rebasing) shopOf(number int) string {
	for slug, p := range r.pulls {
		if p.Number == number {
			return slug
		}
	}
	return ""
}

func (r *rebasing) hearComment(ctx context.Context, event github.Event) (done bool, err error) {
	k := event.Comment
	if k == nil || event.Action != "created" || event.Issue == nil || k.Bot || k.Author != event.Sender {
		return true, nil
	}
	line := firstLine(k.Body)
	if event.Issue.Pull {
		word := landWord.FindStringSubmatch(line)
		slug := r.shopOf(event.Issue.Number)
		if word == nil || slug == "" {
			r.decline("This is said on the pull request of a rebase, as /land or /land and a commit, and what is about the round on the fleet's issue. Nothing was done.\n")
			return true, nil
		}
		if mine, err := r.claim(ctx, k.ID); err != nil || !mine {
			return true, err
		}
		return true, r.wish(ctx, heard{slug: slug, sha: word[1], by: k.Author}, event.Issue.Number, fmt.Sprint("comment ", k.ID))
	}
	issue, err := r.hub.FindIssue(ctx, fleetMarker)
	if err != nil {
		return true, fmt.Errorf("looking for the fleet's issue: %w", err)
	}
	said := fleetWord.FindStringSubmatch(line)
	if issue.Number != event.Issue.Number || said == nil {
		r.decline("This is said on the fleet's issue, or /land on a rebase's pull request. Nothing was done.\n")
		return true, nil
	}
	may, err := r.maySay(ctx, said[1], k.Author)
	if err != nil {
		return true, err
	}
	word := "+1"
	if !may {
		word = "-1"
	}
	if _, err := r.hub.React(ctx, k.ID, word); err != nil {
		return true, fmt.Errorf("answering comment %d: %w", k.ID, err)
	}
	if o := r.door.order; o != nil && may {
		o.page = map[string]string{
			"pause": "Nothing lands until somebody says " + report.Code("/resume") + " here.\n", "resume": "What may land lands again.\n",
			"skip": report.Code(said[2]) + " is left out of this round.\n",
		}[said[1]]
	}
	return !may, nil // a tick reads it with all others
}

// decline says in the answer to an order why nothing came of it; without an order nobody is answered.
func (r *rebasing) decline(text string) {
	if o := r.door.order; o != nil {
		o.page, o.outcome = text, outcomeRefused
	}
}

// hearButton hears the button of a commit that a rebase made.
func (r *rebasing) hearButton(ctx context.Context) error {
	o := r.door.order
	pull, open := r.pulls[o.Shop]
	if !open {
		r.decline("Its pull request is not open any more. Nothing was done.\n")
		return nil
	}
	return r.wish(ctx, heard{slug: o.Shop, sha: o.about, by: o.By}, pull.Number, "button")
}

// hearBoxes hears the boxes that this edit of the fleet's issue ticked, and no others: who ticked those is not known. What the
// edit did is in the event alone. Until a run begins, others may have edited the issue too, and the boxes that are ticked
// by then are not all of them the sender's.
func (r *rebasing) hearBoxes(ctx context.Context, event github.Event) error {
	issue, err := r.hub.FindIssue(ctx, fleetMarker)
	if err != nil {
		return fmt.Errorf("looking for the fleet's issue: %w", err)
	}
	if issue.Number == 0 || event.Issue == nil || issue.Number != event.Issue.Number || event.Action != "edited" || !event.Edited || event.Sender == "" {
		return nil
	}
	before, now := report.ParseChecked(event.BodyBefore), report.ParseChecked(issue.Body)
	var failed error
	for _, box := range report.ParseChecked(event.Issue.Body) {
		if box.Verb != "land" || slices.Contains(before, box) || !slices.Contains(now, box) {
			continue
		}
		pull, open := r.pulls[box.Slug]
		if !open {
			continue
		}
		failed = errors.Join(failed, r.wish(ctx, heard{slug: box.Slug, sha: box.SHA, by: event.Sender}, pull.Number, "box"))
	}
	return failed
}

// wish carries out that somebody wants a shop to land: now, or when its checks are green. What it comes to is said on the
// pull request.
func (r *rebasing) wish(ctx context.Context, h heard, number int, how string) error {
	outcome := outcomeRefused // what is said here is why it did not land
	say := func(text string) error {
		if o := r.door.order; o != nil {
			o.page, o.outcome = text, outcome
			return nil
		}
		marker := "<!-- shopfleet:answer " + how + " -->"
		if _, err := r.hub.PutComment(ctx, number, marker, "**shopfleet**: "+text, true); err != nil {
			return fmt.Errorf("answering on pull request %d: %w", number, err)
		}
		return nil
	}
	may, err := r.maySay(ctx, "land", h.by)
	if err != nil {
		return err
	}
	if !may {
		how = "stranger" // one answer for all of them: GitHub takes 500 new comments an hour, and anybody can ask for more
		if plainRule(r.c.policy.Commands.Rule("land")) {
			return say(fmt.Sprintf("%s may not push to this repository, so that nothing lands.", report.Code(h.by)))
		}
		return say(fmt.Sprintf("%s may not land by %s, so that nothing does.", report.Code(h.by), report.Code("commands: in "+policyFile)))
	}
	m := r.move(h.slug)
	if m.Settled() {
		outcome = outcomeDone
		return say("the branch is on main already.")
	}
	page := shown(r.pulls[h.slug].Body)
	sha := h.sha
	if sha == "" {
		sha = page
	}
	switch {
	case m.To == "" || r.heads[h.slug] != m.To || sha == "" || !strings.HasPrefix(m.To, sha),
		page != m.To && strings.HasPrefix(page, sha): // a beginning that fits the page's commit as well: commits can be made so that it does
		return say(fmt.Sprintf("what would land is %s by now, and not what was agreed to. Look at the page when it is up to date, and say %s.",
			report.Code(shortID(cmp.Or(m.To, m.From))), report.Code("/land "+shortID(cmp.Or(m.To, m.From)))))
	case h.sha == "" && page != m.To:
		return say(fmt.Sprintf("the page shows another commit than %s. Look at it when it is up to date.", report.Code(shortID(m.To))))
	}
	if ok, why := m.Landable(); !ok {
		return say("it cannot land: " + report.Code(why) + ".")
	}
	body := shownLine(m.To) + "\n**shopfleet**: " + report.Code(h.by) + " agreed that " + report.Code(shortID(m.To)) + " lands. To take it back, delete this comment. " +
		"Without the label " + report.Code(labelLand) + " it does not land either, but people who may not push can put that back.\n"
	if _, err := r.hub.PutComment(ctx, number, approvalMarker, body, true); err != nil {
		return fmt.Errorf("noting who agreed on pull request %d: %w", number, err)
	}
	if err := r.hub.AddLabels(ctx, number, labelLand); err != nil {
		return fmt.Errorf("noting the agreement on pull request %d: %w", number, err)
	}
	list, err := r.candidates(ctx, []string{h.slug})
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(k rebase.Candidate) bool { return k.Slug == h.slug })
	switch k := list[i]; {
	case k.Hold != "":
		return say("it does not land: " + report.Code(k.Hold) + ".")
	case k.Checks == rebase.ChecksFailed:
		return say("it does not land: a check failed.")
	case k.Checks != rebase.ChecksPassed:
		outcome = outcomeWaiting
		return say("it lands when its checks are green.")
	}
	commands, err := r.commands(ctx)
	if err != nil {
		return err
	}
	if paused := rebase.Paused(commands); paused != nil { // by somebody else, of whom this one may not know
		outcome = outcomeWaiting
		return say(report.Code(paused.By) + " said " + report.Code("/pause") + ". It lands after a " + report.Code("/resume") + ", when its wave has come.")
	}
	err = r.landAll(ctx, []string{h.slug})
	var stale *staleError
	if errors.As(err, &stale) {
		return say("the shop's branch moved while this was under way; nothing landed. The next run of " + report.Code("shopfleet rebase") + " looks again.")
	}
	if err == nil && r.refused[h.slug] || err != nil && findings(err) != nil {
		return errors.Join(err, say("it could not be pushed; the run's log says why."))
	}
	return err
}
