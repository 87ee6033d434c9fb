package command

// The desk: what hears the orders that people give on GitHub, behind the App's server and a workflow alike. Who speaks is
// asked of GitHub each time, and 👀 on the comment says whose an order is.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/rebase"
	"github.com/kvick/shopfleet/internal/report"
)

// DeskOptions are what a desk needs beside its door.
type DeskOptions struct {
	// Fetch brings the door's repository up to date before an order is carried out; nil where it is.
	Fetch func(ctx context.Context) error
	// Main and Config are the branch and the file of the fleet policy; "" means those that they are without flags.
	Main, Config string
	Log          *slog.Logger  // nil discards
	Patience     time.Duration // after which somebody else takes over a claim without outcome; 0 means 10 minutes
	Fresh        time.Duration // how old an order may be and still be carried out; 0 means 15 minutes
}

// Desk hears what people order on GitHub. It is safe for concurrent use.
//
// An order goes through these hands (contracts/github/wire.md §1.4, §2h):
//
//	Hear     who speaks, may they, and is it ours: 👀 is made once only, whoever asks. Three requests.
//	Carry    asks again, carries it out by the tree of commands, and answers in one comment.
//	Recover  finds what was claimed and has no outcome: 🚀 claims it a second time, 😕 a third time, for a report alone.
type Desk struct {
	door    *Door
	options DeskOptions
	hub     *github.Client
	// Tests have others of these.
	sleep func(context.Context, time.Duration) error
	tree  func(*Door) *cobra.Command
	rule  func(p *fleet.Policy, verb string) fleet.CommandRule

	mu       sync.Mutex
	policy   *fleet.Policy
	mine     map[int64]bool      // comments whose orders this desk has and did not finish
	pressing map[int64]bool      // check runs whose buttons were pressed for orders that are under way
	settled  map[int64]time.Time // comments that nothing is to be done about, and when they were made
}

// How a desk waits and looks, where the options do not say.
const (
	deskPatience = 10 * time.Minute
	deskFresh    = 15 * time.Minute
	deskWindow   = 72 * time.Hour // how far back Recover looks; GitHub keeps deliveries as long (wire.md §2d)
	deskAgain    = time.Hour      // how old an order may be and still be done a second time
)

// The reactions that say how far an order is.
const (
	reactClaim  = "eyes"
	reactAgain  = "rocket"   // taken over from one that did not finish
	reactGiveUp = "confused" // taken over again, to be reported
	reactNo     = "-1"
)

func toDesk() permissions {
	return permissions{"issues": "write", "pull_requests": "write", "contents": "read"}
}

func toAskTeams() permissions { return permissions{"members": "read"} }

// Desk opens a desk for the repository of the door. Where the door has an App, the desk speaks as the App: what it shares
// with other desks is its name.
func (d *Door) Desk(ctx context.Context, o DeskOptions) (*Desk, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Patience, o.Fresh = cmp.Or(o.Patience, deskPatience), cmp.Or(o.Fresh, deskFresh)
	k := &Desk{door: d, options: o, sleep: pause, tree: (*Door).tree, rule: ruleFor, mine: map[int64]bool{}, settled: map[int64]time.Time{}}
	c, err := k.open(ctx)
	if err != nil {
		return nil, err
	}
	if k.hub, err = d.githubAs(ctx, c, toDesk(), d.Getenv(envAppID) != ""); err != nil {
		return nil, err
	}
	if k.hub == nil {
		return nil, Usage(errors.New("there is no way to GitHub"), "set GITHUB_TOKEN, or the App's id and key")
	}
	return k, nil
}

// pause waits, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// open reads the repository as it is now, and keeps its policy.
func (k *Desk) open(ctx context.Context) (*checkout, error) {
	c, err := k.door.open(ctx, k.policyFlags())
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.policy = c.policy
	return c, nil
}

// policyFlags are where the fleet policy is.
func (k *Desk) policyFlags() policyFlags {
	return policyFlags{main: cmp.Or(k.options.Main, "main"), config: cmp.Or(k.options.Config, policyFile)}
}

// rules is the policy as it was read last.
func (k *Desk) rules() *fleet.Policy {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.policy
}

// Hear takes an order out of an event and claims it; nil when the event holds none, or somebody else has it. What it returns
// is this desk's, to be given to Carry. Strangers get one 👎.
func (k *Desk) Hear(ctx context.Context, e github.Event, kind string) (*Order, error) {
	switch kind {
	case "issue_comment":
		return k.hear(ctx, e)
	case "check_run":
		return k.pressed(ctx, e)
	}
	return nil, nil
}

// hear is Hear for a comment.
func (k *Desk) hear(ctx context.Context, e github.Event) (*Order, error) {
	c := e.Comment
	if e.Action != "created" || e.Edited || e.Issue == nil || !spoken(c) || e.SenderID != c.AuthorID || !strings.EqualFold(e.Sender, c.Author) {
		return nil, nil
	}
	if _, err := ParseOrder(c.Body); errors.Is(err, ErrNoOrder) {
		return nil, nil
	}
	var o *Order
	var level string
	group, within := errgroup.WithContext(ctx)
	group.Go(func() (err error) { o, err = k.orderOf(within, e); return err })
	group.Go(func() (err error) {
		if level, err = k.hub.Permission(within, c.Author); err != nil {
			return fmt.Errorf("asking what %s may do: %w", report.Clean(c.Author), err)
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if permissionRank(level) < permissionRank("write") {
		if o.problem != nil {
			k.settle(c) // or each Recover would ask about it again, of which whoever may comment can make thousands
			return nil, nil
		}
		if _, err := k.hub.React(ctx, c.ID, reactNo); err != nil {
			return nil, fmt.Errorf("answering comment %d: %w", c.ID, err)
		}
		k.settle(c)
		return nil, nil
	}
	return k.claim(ctx, o, reactClaim)
}

// spoken says that a comment is a person's own words as they were written first.
func spoken(c *github.Comment) bool {
	return c != nil && c.ID > 0 && !c.Bot && c.Author != "" && c.AuthorID > 0 && !c.Updated.After(c.Created)
}

// claim makes an order this desk's by a reaction, or returns nil where it is another's.
func (k *Desk) claim(ctx context.Context, o *Order, with string) (*Order, error) {
	fresh, err := k.hub.React(ctx, o.Comment, with)
	if err != nil {
		return nil, fmt.Errorf("claiming comment %d: %w", o.Comment, err)
	}
	if !fresh {
		return nil, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mine[o.Comment] = true
	return o, nil
}

// orderOf reads an order out of a comment and out of the pull request that it is on. It asks about the pull request alone.
func (k *Desk) orderOf(ctx context.Context, e github.Event) (*Order, error) {
	c := e.Comment
	parsed, err := ParseOrder(c.Body)
	o := &parsed
	var wrong *OrderError
	if errors.As(err, &wrong) {
		o = &Order{Verb: "help", Args: []string{"help"}, problem: wrong}
	} else if err != nil {
		return nil, err
	}
	o.Issue, o.Comment, o.URL, o.By, o.ByID, o.At, o.Event = e.Issue.Number, c.ID, c.HTMLURL, c.Author, c.AuthorID, c.Created, e
	o.Mark = strconv.FormatInt(c.ID, 10)
	if o.problem != nil || o.Verb == "help" {
		return o, nil
	}
	if e.Issue.Pull {
		pull, err := k.hub.PullRequest(ctx, e.Issue.Number)
		if err != nil {
			return nil, fmt.Errorf("reading pull request %d: %w", e.Issue.Number, err)
		}
		slug := k.shopOf(pull)
		if !pull.Fork {
			o.Head = pull.Head.SHA
		}
		if v, _ := orderVerbOf(o.Verb); o.Shop == "" && (v.shop || o.Verb == "land") {
			o.Shop = slug
		}
		if o.Verb == "rebase" && len(o.said.rest) == 0 && slug != "" {
			o.Shop, o.said.rest = slug, []string{slug}
		}
	}
	if v, _ := orderVerbOf(o.Verb); v.shop && o.Shop == "" {
		o.problem = &OrderError{Verb: o.Verb, Word: "/" + o.Verb, Why: "needs the name of a shop here"}
		return o, nil
	}
	o.Args = o.argv()
	return o, nil
}

// shopOf is the shop that a pull request is about: its base's, or else its head's, "" for none. Of a fork only the base counts:
// the head's name is whatever its owner likes.
func (k *Desk) shopOf(pull github.PullRequest) string {
	policy := k.rules()
	if slug, ok := policy.Slug(pull.Base.Ref); ok {
		return slug
	}
	if pull.Fork {
		return ""
	}
	if slug, ok := policy.Slug(pull.Head.Ref); ok {
		return slug
	}
	if slug, ok := strings.CutPrefix(pull.Head.Ref, rebase.HeadBranch("")); ok && fleet.CheckSlug(slug) == nil {
		return slug
	}
	return ""
}

// ruleFor is who may give an order by the fleet's policy.
func ruleFor(p *fleet.Policy, verb string) fleet.CommandRule { return p.Commands.Rule(verb) }

// permissionRank orders what accounts may do.
func permissionRank(level string) int {
	return slices.Index([]string{"none", "read", "write", "admin"}, level)
}

// may asks whether the order's giver may give it, by the rules of the fleet. why is for the answer.
func (k *Desk) may(ctx context.Context, o *Order) (yes bool, why string, err error) {
	return k.door.may(ctx, k.hub, k.rule(k.rules(), o.Verb), o.Verb, o.By)
}

// may asks whether somebody may give an order by a rule of the fleet. why is Markdown.
func (d *Door) may(ctx context.Context, hub *github.Client, rule fleet.CommandRule, verb, by string) (yes bool, why string, err error) {
	level, err := hub.Permission(ctx, by)
	if err != nil {
		return false, "", fmt.Errorf("asking what %s may do: %w", report.Clean(by), err)
	}
	need := "write"
	if permissionRank(rule.Permission) > permissionRank(need) || permissionRank(rule.Permission) < 0 && rule.Permission != "" {
		need = "admin" // also what is not known: GitHub tells admin, write and read apart, and no more
	}
	if permissionRank(level) < permissionRank(need) {
		return false, fmt.Sprintf("%s has no %s access to this repository.", report.Code(by), need), nil
	}
	if rule.Team == "" && len(rule.Users) == 0 {
		return true, "", nil
	}
	if slices.ContainsFunc(rule.Users, func(u string) bool { return strings.EqualFold(u, by) }) {
		return true, "", nil
	}
	if rule.Team == "" {
		return false, fmt.Sprintf("%s is not among those who may say %s: see %s.", report.Code(by), report.Code("/"+verb), report.Code("commands: in "+policyFile)), nil
	}
	c, err := d.justRepository(ctx)
	if err != nil {
		return false, "", err
	}
	asking, err := d.githubAs(ctx, c, toAskTeams(), d.Getenv(envAppID) != "")
	if err != nil {
		return false, "", err
	}
	in, err := asking.InTeam(ctx, rule.Team, by)
	if err != nil {
		return false, "", fmt.Errorf("asking whether %s is in the team %s: %w", report.Clean(by), rule.Team, err)
	}
	if !in {
		return false, fmt.Sprintf("%s is not in the team %s, who may say %s.", report.Code(by), report.Code(rule.Team), report.Code("/"+verb)), nil
	}
	return true, "", nil
}

// plainRule says that a rule asks for write access and no more.
func plainRule(rule fleet.CommandRule) bool {
	return slices.Contains([]string{"", "read", "write"}, rule.Permission) && rule.Team == "" && len(rule.Users) == 0
}

// mayStart asks the same about whoever started a workflow with an order by hand, where the rules ask for more than the write
// access without which GitHub starts none. On a laptop nobody is asked: there it is the tokens that say who may.
func (d *Door) mayStart(ctx context.Context, c *checkout, verb string) error {
	rule := c.policy.Commands.Rule(verb)
	if d.workflow == nil || d.order != nil || plainRule(rule) {
		return nil
	}
	hub, err := d.githubAs(ctx, c, permissions{"metadata": "read"}, d.Getenv(envAppID) != "")
	if err != nil {
		return err
	}
	if hub == nil {
		return Usage(fmt.Errorf("%s has rules for who may %s, and nobody can be asked", policyFile, verb), "give the action github-token, or an App")
	}
	by := cmp.Or(d.Getenv("GITHUB_TRIGGERING_ACTOR"), d.actor()) // who runs it again is not who ran it first
	yes, why, err := d.may(ctx, hub, rule, verb, by)
	if err == nil && !yes {
		err = Usage(errors.New(why+" Nothing was done"), "who may is written under commands in "+policyFile)
	}
	return err
}

// settle remembers that nothing is to be done about a comment.
func (k *Desk) settle(c *github.Comment) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, at := range k.settled {
		if c.Created.Sub(at) > deskWindow {
			delete(k.settled, id)
		}
	}
	k.settled[c.ID] = c.Created
}
