package command

// Buttons: check runs of ours with an action that GitHub shows to people who may push (contracts/github/wire.md §1.6). What a
// button is about is in the check run's external id, which only our App can write; what the run is called and what stands in it
// is not read. A press reaches the App's server alone, since no workflow hears it, and the same rules hold for it as for a
// comment: who pressed is asked for, and it is about the version or the commit that was there when the button was made.
//
// The runs end neutral. Landing does not wait for them, and they say nothing of a release.

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/rebase"
	"github.com/kvick/shopfleet/internal/report"
)

// button is a check run with one action.
type button struct {
	verb        string // of the order that pressing gives; the action's identifier too
	name        string // of the check run, with the slug behind it
	label, what string // of the action
}

func allButtons() []button {
	return []button{
		{"rollback", "shopfleet release: ", "Roll back", "to the known good release before"},
		{"land", "shopfleet land: ", "Land", "move the shop's branch to this commit"},
		{"deploy", "shopfleet deploy: ", "Deploy", "release what the branch is at"},
	}
}

func buttonOf(verb string) (button, bool) {
	list := allButtons()
	i := slices.IndexFunc(list, func(b button) bool { return b.verb == verb })
	if i < 0 {
		return button{}, false
	}
	return list[i], true
}

// isButton says that a check run is one of these, by its name.
func isButton(name string) bool {
	return slices.ContainsFunc(allButtons(), func(b button) bool { return strings.HasPrefix(name, b.name) })
}

// buttonRule reads an external id: the verb, the shop, and the version or commit that it is about.
var buttonRule = regexp.MustCompile(`^shopfleet (rollback|land|deploy) ([a-z0-9-]{1,63}) ([0-9a-f-]{36}|[0-9a-f]{40,64})$`)

// check is the button's run on a commit. about is a version or a commit.
func (b button) check(slug, sha, about, title, summary string, pressable bool) github.CheckRun {
	run := github.CheckRun{
		Name: b.name + slug, HeadSHA: sha, ExternalID: fmt.Sprintf("shopfleet %s %s %s", b.verb, slug, about),
		Conclusion: "neutral", Title: title, Summary: summary, Actions: []github.CheckAction{},
	}
	if pressable {
		run.Actions = append(run.Actions, github.CheckAction{Label: b.label, Description: b.what, Identifier: b.verb})
	}
	return run
}

func toPresent() permissions {
	return permissions{"checks": "write", "deployments": "read", "contents": "read"}
}

// Present puts the check runs with buttons where an event calls for one: Roll back on what was released and passed, Deploy on
// the tip of a shop's branch that is not live because the shop is held or the release failed, Land on what a rebase made. To do
// it twice changes nothing.
func (k *Desk) Present(ctx context.Context, e github.Event, kind string) error {
	switch {
	case kind == "deployment_status" && e.Deployment != nil && e.Deployment.Task == journalTask:
		return k.presentRelease(ctx, *e.Deployment)
	case kind == "pull_request" && e.PullRequest != nil && slices.Contains([]string{"opened", "reopened", "synchronize"}, e.Action):
		return k.presentLanding(ctx, *e.PullRequest)
	}
	return nil
}

// presentLanding puts Land on the head of a rebase's pull request.
func (k *Desk) presentLanding(ctx context.Context, pull github.PullRequest) error {
	slug, ok := k.rules().Slug(pull.Base.Ref)
	if !ok || pull.Fork || pull.State != "open" || pull.Head.Ref != rebase.HeadBranch(slug) {
		return nil
	}
	hub, err := k.as(ctx, toPresent())
	if err != nil {
		return err
	}
	b, _ := buttonOf("land")
	return k.put(ctx, hub, b.check(slug, pull.Head.SHA, pull.Head.SHA, "Pull request "+strconv.Itoa(pull.Number)+" can land",
		fmt.Sprintf("**Land** moves %s to this commit when its checks are green, as %s on pull request %d does, and that deploys the shop.\n",
			report.Code(pull.Base.Ref), report.Code("/land "+shortID(pull.Head.SHA)), pull.Number), true))
}

// presentRelease puts Roll back or Deploy where a release that is the newest of the journal came to its end.
func (k *Desk) presentRelease(ctx context.Context, d github.DeploymentEvent) error {
	state := deploy.ReleaseState(d.State)
	failed := state == deploy.StateFailure || state == deploy.StateError
	slug, ok := strings.CutPrefix(d.Environment, "shop-")
	if !ok || fleet.CheckSlug(slug) != nil || !failed && state != deploy.StateSuccess {
		return nil
	}
	shop, err := k.rules().Shop(slug)
	if err != nil || shop.Environment() != d.Environment {
		return nil // it is of another fleet's, or was taken out of this one
	}
	hub, err := k.as(ctx, toPresent())
	if err != nil {
		return err
	}
	// The event says neither the version, nor whether this is an entry at all.
	list, err := (&journal{client: hub}).Releases(ctx, shop)
	if err != nil {
		return fmt.Errorf("reading the journal of %s: %w", slug, err)
	}
	i := slices.IndexFunc(list, func(r deploy.Release) bool { return r.ID == strconv.FormatInt(d.ID, 10) })
	if i < 0 || i > 0 && !failed {
		return nil // an older one, of which the word comes late
	}
	entry := list[i]
	if state == deploy.StateSuccess && entry.Commit == d.SHA && buttonRule.MatchString("shopfleet rollback "+slug+" "+entry.VersionID) {
		b, _ := buttonOf("rollback")
		err = k.put(ctx, hub, b.check(slug, d.SHA, entry.VersionID, "Version "+shortVersion(entry.VersionID)+" was released and passed",
			fmt.Sprintf("Version %s of %s passed its gate. **Roll back** brings the shop to the known good release before it and holds it there, as %s in a comment does. It is about this version: when another one is live by then, nothing is done.\n",
				report.Code(entry.VersionID), report.Code(slug), report.Code("/rollback "+slug)), true))
		if err != nil {
			return err
		}
	}
	tip, err := hub.Tip(ctx, shop.Branch)
	if errors.As(err, new(*github.NotFoundError)) {
		return nil
	} else if err != nil {
		return fmt.Errorf("asking where %s is: %w", shop.Branch, err)
	}
	why := ""
	switch {
	case failed && slices.ContainsFunc(list[:i], func(r deploy.Release) bool { return r.Commit == tip }): // it was tried again
	case failed && entry.Commit == tip:
		why = "The release of this commit failed, or was taken back."
	case !failed && entry.Commit != tip:
		// It may be on its way. Only what does not come by itself gets a button.
		hold, err := (&holds{client: hub, now: k.door.Now}).of(ctx, slug)
		if err != nil {
			return fmt.Errorf("reading the hold of %s: %w", slug, err)
		}
		if hold != nil {
			why = fmt.Sprintf("The shop is held by %s. %s lets it be deployed again.", report.Code(hold.Owner), report.Code("/release-hold "+slug))
		}
	}
	if why == "" {
		return nil
	}
	b, _ := buttonOf("deploy")
	return k.put(ctx, hub, b.check(slug, tip, tip, "This commit is not live",
		fmt.Sprintf("%s %s deploys this commit, as %s in a comment does, as long as the branch is at it.\n", why, "**Deploy**", report.Code("/deploy "+slug)), true))
}

func (k *Desk) put(ctx context.Context, hub *github.Client, run github.CheckRun) error {
	if _, err := hub.PutCheckRun(ctx, run); err != nil {
		return fmt.Errorf("writing the check run %s: %w", run.Name, err)
	}
	return nil
}

// pressed makes an order of a pressed button; nil where the event is about something else, or somebody pressed who may not
// push. Of several presses one is an order until that is over. What the button was about is compared when the order is
// carried out, just before anything is written.
func (k *Desk) pressed(ctx context.Context, e github.Event) (*Order, error) {
	c := e.CheckRun
	if c == nil || e.Action != "requested_action" || e.SenderBot || e.Sender == "" || e.SenderID <= 0 {
		return nil, nil
	}
	ours, err := k.ours(ctx, c)
	if err != nil || !ours {
		return nil, err
	}
	m := buttonRule.FindStringSubmatch(c.ExternalID)
	if m == nil || c.Requested != m[1] {
		return nil, nil
	}
	b, _ := buttonOf(m[1])
	slug, about := m[2], m[3]
	shop, err := k.rules().Shop(slug)
	if err != nil || b.verb != "rollback" && about != c.HeadSHA || b.verb == "rollback" && len(about) != 36 {
		return nil, nil
	}
	level, err := k.hub.Permission(ctx, e.Sender)
	if err != nil {
		return nil, fmt.Errorf("asking what %s may do: %w", report.Clean(e.Sender), err)
	}
	if permissionRank(level) < permissionRank("write") {
		return nil, nil
	}
	if !k.press(c.ID, true) {
		return nil, nil
	}
	now := k.door.Now()
	o := &Order{
		Verb: b.verb, Shop: slug, By: e.Sender, ByID: e.SenderID, At: now, Event: e, about: about,
		Mark: fmt.Sprintf("check-%d-%d", c.ID, now.Unix()),
	}
	o.Args = o.argv()
	if b.verb != "land" {
		return o, nil
	}
	pulls, err := k.hub.Pulls(ctx, "open")
	if err != nil {
		k.press(c.ID, false)
		return nil, fmt.Errorf("looking for the pull request of %s: %w", slug, err)
	}
	i := slices.IndexFunc(pulls, func(p github.PullRequest) bool {
		return !p.Fork && p.Head.Ref == rebase.HeadBranch(slug) && p.Base.Ref == shop.Branch
	})
	switch {
	case i < 0:
		o.verdict, o.page = outcomeRefused, "There is no open pull request of this any more. Nothing was done.\n"
	case pulls[i].Head.SHA != about:
		o.verdict, o.page = outcomeRefused, fmt.Sprintf("Pull request %d is at %s by now. Nothing was done; look at that commit, and press its button.\n", pulls[i].Number, report.Code(shortID(pulls[i].Head.SHA)))
	default:
		o.Issue, o.Head = pulls[i].Number, about
	}
	return o, nil
}

// ours says whether our own App made a check run.
func (k *Desk) ours(ctx context.Context, c *github.CheckRunEvent) (bool, error) {
	id := k.door.Getenv(envAppID)
	if n, err := strconv.ParseInt(id, 10, 64); err == nil {
		return n > 0 && c.AppID == n, nil
	}
	if id == "" || c.AppSlug == "" {
		return false, nil
	}
	me, err := k.hub.Self(ctx) // the App is known by its client id
	if err != nil {
		return false, fmt.Errorf("asking who we are: %w", err)
	}
	return strings.EqualFold(me, c.AppSlug+"[bot]"), nil
}

// press takes a check run for an order, or gives it back. taken is false when an order of it is under way.
func (k *Desk) press(check int64, take bool) (taken bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !take {
		delete(k.pressing, check)
		return false
	}
	if k.pressing[check] {
		return false
	}
	if k.pressing == nil {
		k.pressing = map[int64]bool{}
	}
	k.pressing[check] = true
	return true
}

// answerButton says in the check run what became of a press. While it is under way there is no button; it comes back when
// nothing was done. A press is in no list that Recover could read, so that one whose worker died is to be made again.
func (k *Desk) answerButton(ctx context.Context, o *Order, outcome, page string) error {
	c := o.Event.CheckRun
	if outcome != "" {
		defer k.press(c.ID, false)
	}
	hub, err := k.as(ctx, toPresent())
	if err != nil {
		return err
	}
	b, _ := buttonOf(o.Verb)
	title := map[string]string{
		"": "under way", outcomeDone: "done", outcomeFailed: "failed", outcomeRefused: "nothing was done", outcomeWaiting: "a run was started", outcomeExpired: "nothing was done",
	}[outcome]
	if outcome == outcomeWaiting && o.Verb == "land" {
		title = "it lands when it can"
	}
	again := outcome != "" && outcome != outcomeDone && outcome != outcomeWaiting // also where who pressed may not: others may
	return k.put(ctx, hub, b.check(o.Shop, c.HeadSHA, o.about, fmt.Sprintf("%s, pressed by %s: %s", b.label, report.Clean(o.By), title), page, again))
}

// moved says why a rollback's plan is not about what its button was about; nil where it is, and for all other orders.
func (o *Order) moved(live string) []deploy.Finding {
	if o == nil || o.Event.CheckRun == nil || o.Verb != "rollback" || o.about == live {
		return nil
	}
	return []deploy.Finding{{
		Rule: "not-live-any-more", Level: deploy.LevelError,
		Message: fmt.Sprintf("the button was about version %s, and version %s is live", o.about, report.Clean(live)),
		Hint:    "look at what is live now, and say /rollback " + o.Shop,
	}}
}
