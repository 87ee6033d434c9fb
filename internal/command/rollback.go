package command

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
)

// rollbackFlags are those of rollback.
type rollbackFlags struct {
	to, commit, reason, yes string
	restoreData, oldSecrets bool
	dry, json, noJournal    bool
	parallel                int
	policy                  policyFlags
}

func (d *Door) rollback() *cobra.Command {
	var f rollbackFlags
	cmd := &cobra.Command{
		Use:   "rollback [shop] [to <release|version|commit>]",
		Short: "Bring a shop back to its known good release",
		Long: `Bring a shop back to its known good release: the newest that passed its gate,
other than the live one and those that were taken down. It is released by its
version id, its crons and hostnames go back with it, and it is checked. Then the
shop is held: it is not deployed again until somebody says "shopfleet
release-hold".

Before anything is written it is decided whether the old code gets on with
today's database. Where it does not, --restore-data lets the database go back
too, which loses what was written since; that has to be confirmed by --yes. The
values that secrets have now stay: a version that was made with others is not
released, unless --old-secrets says so.

With --commit it is every shop whose live release has that commit in it, of the
shop's branch or of main.

It works while GitHub is down: --no-journal asks Cloudflare alone, and says what
could not be written down.

` + sourceHelp,
		Example: `  shopfleet rollback swicked
  shopfleet rollback swicked to 134ea8a4     # a version, a commit or an entry of the journal
  shopfleet rollback swicked --dry-run       # what it could go back to, and how well
  shopfleet rollback --commit 9f2c1d0        # all shops that got it`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 && args[0] != "to" {
				return []string{"to"}, cobra.ShellCompDirectiveNoFileComp
			}
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return d.completeShops(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.runRollback(cmd.Context(), args, f))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.commit, "commit", "", "every shop whose live release has this `commit` in it")
	flags.StringVar(&f.reason, "reason", "", "why, for the journal and for who meets the hold")
	flags.BoolVar(&f.restoreData, "restore-data", false, "let the database go back too, where the old code needs that")
	flags.BoolVar(&f.oldSecrets, "old-secrets", false, "let secrets have the values again that they had then")
	flags.StringVar(&f.yes, "yes", "", "with --restore-data: do it; repeat the shop's `name`")
	flags.BoolVar(&f.dry, "dry-run", false, "say what would be done and write nothing")
	flags.BoolVar(&f.noJournal, "no-journal", false, "leave GitHub alone: no journal, no hold")
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	flags.IntVar(&f.parallel, "parallel", 16, "how many shops to work on at once")
	f.policy.add(cmd)
	return cmd
}

// rollbackArgs reads "[shop] [to <release>]", the words of the command line and of comments.
func rollbackArgs(args []string) (slug, to string, err error) {
	wrong := Usage(fmt.Errorf("rollback does not understand %q", strings.Join(args, " ")), "say: rollback [shop] [to <release|version|commit>]")
	if n := len(args); n >= 2 && args[n-2] == "to" {
		to, args = args[n-1], args[:n-2]
	}
	switch {
	case len(args) > 1, len(args) == 1 && args[0] == "to":
		return "", "", wrong
	case len(args) == 1:
		slug = args[0]
	}
	return slug, to, nil
}

func toRollback() permissions {
	return permissions{"contents": "write", "deployments": "write"}
}

// returning is one run of the verb.
type returning struct {
	door     *Door
	flags    rollbackFlags
	c        *checkout
	engines  map[string]*deploy.Engine
	hub      *github.Client // nil where there is none
	holds    *holds         // nil where there is no GitHub
	bad      string         // --commit, as its full id
	progress *progress

	mu sync.Mutex // of c, which extracts trees
}

func (d *Door) runRollback(ctx context.Context, args []string, f rollbackFlags) (err error) {
	slug, to, err := rollbackArgs(args)
	if err != nil {
		return err
	}
	f.to = to
	switch {
	case f.commit != "" && (slug != "" || f.to != "" || f.restoreData):
		return Usage(errors.New("--commit goes without a shop, a target and --restore-data"), "leave out one or the other")
	case f.yes != "" && (!f.restoreData || f.yes != slug):
		return Usage(fmt.Errorf("--yes names %q, and goes with --restore-data and the shop that is named; nothing was done", f.yes), "look twice which shop is meant")
	case f.parallel < 1:
		return Usage(fmt.Errorf("--parallel is %d", f.parallel), "give a number of at least 1")
	}
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := d.mayStart(ctx, c, "rollback"); err != nil {
		return err
	}
	c.unbuilt = true
	r := &returning{door: d, flags: f, c: c}
	var named []string
	if slug != "" {
		named = []string{slug}
	}
	slugs, err := c.choose(ctx, named, f.commit != "")
	if err != nil {
		return err
	}
	if err := r.site(ctx, slugs); err != nil {
		return err
	}
	var untold []shopResult
	if f.commit != "" {
		if slugs, untold, err = r.affected(ctx, slugs); err != nil {
			return err
		}
		if len(slugs)+len(untold) == 0 {
			fmt.Fprintf(d.Stderr, "no shop's live release has commit %s in it\n", report.Clean(shortID(r.bad)))
		}
	}
	return d.results(append(r.all(ctx, slugs), untold...), 0, f.json)
}

// site makes ready what shops go back with.
func (r *returning) site(ctx context.Context, slugs []string) (err error) {
	d := r.door
	var accounts []fleet.Account
	for _, slug := range slugs {
		if shop, err := r.c.policy.Shop(slug); err == nil { // one says what is wrong with the others
			accounts = append(accounts, shop.Account)
		}
	}
	if r.engines, err = d.engines(accounts, r.flags.dry, nil); err != nil {
		return err
	}
	if !r.flags.noJournal {
		task := toRollback()
		if r.flags.dry {
			task = toList()
		}
		if r.hub, err = d.github(ctx, r.c, task); err != nil {
			return err
		}
		if r.hub == nil && (d.workflow != nil || d.order != nil) {
			return Usage(errors.New("a rollback is written down on GitHub"), "give the action github-token, or an App")
		}
	}
	for _, e := range r.engines {
		e.CF.Urgent = true // a wave of deploys must not lock this out
		if r.hub != nil {
			e.Journal = &journal{client: r.hub, log: d.runURL()}
		}
	}
	if r.hub != nil {
		r.holds = &holds{client: r.hub, now: d.Now}
		if !r.flags.dry {
			if err := r.c.lend(ctx, r.holds, r.flags.policy.main); err != nil {
				return &holdError{err}
			}
		}
	}
	return nil
}

// affected are the shops whose live release has the commit in it, and those of which nobody could tell, which stop no other.
func (r *returning) affected(ctx context.Context, slugs []string) (has []string, untold []shopResult, err error) {
	if r.bad, err = r.c.repo.Whole(ctx, r.flags.commit); err != nil {
		return nil, nil, Usage(fmt.Errorf("finding commit %s: %w", report.Clean(r.flags.commit), err), "git fetch origin; give seven digits of the commit's id, or more")
	}
	asked := make([]struct {
		has bool
		err error
	}, len(slugs))
	var group errgroup.Group
	group.SetLimit(r.flags.parallel)
	for i, slug := range slugs {
		group.Go(func() error {
			asked[i].has, asked[i].err = r.gotIt(ctx, slug)
			return nil
		})
	}
	_ = group.Wait() // every shop has its own error
	for i, slug := range slugs {
		switch {
		case asked[i].err != nil:
			untold = append(untold, shopResult{Shop: slug}.failed(asked[i].err))
		case asked[i].has:
			has = append(has, slug)
		}
	}
	return has, untold, ctx.Err()
}

// gotIt says whether the live release of a shop has the bad commit in it.
func (r *returning) gotIt(ctx context.Context, slug string) (bool, error) {
	shop, err := r.c.policy.Shop(slug)
	if err != nil {
		return false, err
	}
	_, live, err := r.engines[shop.Account.ID].Released(ctx, shop.Worker)
	if err != nil {
		return false, fmt.Errorf("asking what is live for %s: %w", slug, err)
	}
	has, err := r.contains(ctx, live)
	if err != nil {
		return false, fmt.Errorf("looking at the live commit of %s: %w", slug, err)
	}
	return has, nil
}

// contains says whether a commit has the bad one in it. Of one that git does not have nobody knows.
func (r *returning) contains(ctx context.Context, commit string) (bool, error) {
	if r.bad == "" || !fullID.MatchString(commit) {
		return false, nil
	}
	var none *git.NotFoundError
	if _, err := r.c.repo.Commit(ctx, commit); errors.As(err, &none) {
		return false, Usage(fmt.Errorf("commit %s is live and not in this clone", commit), "git fetch origin")
	} else if err != nil {
		return false, err
	}
	return r.c.repo.IsAncestor(ctx, r.bad, commit)
}

// all takes the shops back, side by side. One that fails does not stop the others.
func (r *returning) all(ctx context.Context, slugs []string) []shopResult {
	r.progress = r.door.newProgress(len(slugs))
	results := make([]shopResult, len(slugs))
	var group errgroup.Group
	group.SetLimit(r.flags.parallel)
	for i, slug := range slugs {
		group.Go(func() error {
			results[i] = r.one(ctx, slug)
			r.progress.done(results[i])
			return nil
		})
	}
	_ = group.Wait() // every shop carries its own error
	r.progress.finish()
	return results
}

// asker is who wants what the door does, as GitHub or the system names them.
func (d *Door) asker() string {
	if d.order != nil {
		return d.order.By
	}
	return cmp.Or(d.actor(), "somebody")
}

// orderID names what the door carries out, so that who takes it over knows what was done already; "" on a laptop.
func (d *Door) orderID() string {
	switch {
	case d.order != nil:
		return d.order.id()
	case d.workflow != nil && d.workflow.context.RunID != 0:
		return fmt.Sprint("run-", d.workflow.context.RunID)
	}
	return ""
}

// one takes a shop back.
func (r *returning) one(ctx context.Context, slug string) (x shopResult) {
	x.Shop = slug
	shop, err := r.c.policy.Shop(slug)
	if err != nil {
		return x.failed(err)
	}
	if !slices.ContainsFunc(r.c.tips, func(b git.Branch) bool { return b.Name == shop.Branch }) {
		return x.failed(Usage(fmt.Errorf("shop %s has no branch %s", slug, shop.Branch), "see git branch --all; git fetch origin gets what others pushed"))
	}
	engine := r.engines[shop.Account.ID]
	want := deploy.RollbackWant{
		Shop: shop, Policy: r.c.policy, To: r.flags.to, RestoreData: r.flags.restoreData, OldSecrets: r.flags.oldSecrets,
		By: r.door.asker(), Order: r.door.orderID(), Reason: r.flags.reason, Run: r.door.workflowRun(), Tool: "shopfleet " + r.door.Version,
		Source: func(ctx context.Context, commit string) (deploy.Source, error) { return r.source(ctx, slug, commit) },
	}
	if o := r.door.order; o != nil {
		want.Asked = o.At
	}
	if r.bad != "" {
		want.Not = func(commit string) bool {
			bad, err := r.contains(ctx, commit)
			return bad || err != nil // what nobody knows is no way out of it
		}
	}
	// The account is read while the hold is placed: until both are done nothing is written to it.
	var guard *guard
	group, gctx := errgroup.WithContext(ctx)
	if r.holds != nil && !r.flags.dry {
		group.Go(func() (err error) {
			guard, err = r.guard(ctx, shop) // to its end: a ref of which nobody heard would hold the shop for good
			return err
		})
	}
	group.Go(func() (err error) {
		r.progress.stage(slug, "looking for the known good release")
		x.Rollback, err = engine.PlanRollback(gctx, want)
		return err
	})
	err = group.Wait()
	came := cameNowhere
	defer func() {
		if guard == nil {
			return
		}
		text, err := guard.end(ctx, came, x)
		if x.Hold = text; err != nil {
			x.NotRecorded = append(x.NotRecorded, "the hold: "+oneLine(err.Error()))
		}
	}()
	if err != nil {
		return x.failed(err)
	}
	x.Digest = x.Rollback.Digest()
	if list := r.door.order.moved(x.Rollback.Live); list != nil {
		return because(slug, statusFindings, list)
	}
	switch plan := x.Rollback; {
	case deploy.Findings(plan.Findings).Blocking():
		x.Status, x.Reason = statusFindings, statusFindings
		return x
	case r.flags.dry:
		x.Status, x.Reason = statusPlanned, statusPlanned
		return x
	case plan.Restore != nil:
		if yes, err := r.agreed(ctx, x); err != nil {
			return x.failed(err)
		} else if !yes {
			x.Status, x.Reason = statusSkipped, "not-confirmed"
			return x
		}
	}
	if o := r.door.order; o != nil {
		o.say(ctx, report.MarkdownRollback(x.Rollback, nil))
	}
	if guard != nil {
		if err := guard.renew(ctx); err != nil {
			return x.failed(err)
		}
	}
	out, err := engine.Rollback(ctx, want, x.Rollback, func(e deploy.Event) { r.progress.stage(slug, e.Text) })
	if out != nil {
		x.Outcome, x.NotRecorded = &out.Outcome, append(x.NotRecorded, out.NotRecorded...)
		came = howFar(x.Rollback, out, err)
	}
	if r.holds == nil {
		x.NotRecorded = append(x.NotRecorded, "the hold: GitHub was left alone, so that the next push deploys the shop again")
	}
	if err != nil {
		return x.failed(err)
	}
	x.Status, x.Reason = statusRolledBack, statusRolledBack
	if !out.Changed {
		x.Status, x.Reason = statusUnchanged, statusUnchanged
	}
	return x
}

// source is a commit of the shop, with its files; fs.ErrNotExist where git does not have it.
func (r *returning) source(ctx context.Context, slug, commit string) (deploy.Source, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var none *git.NotFoundError
	if _, err := r.c.repo.Commit(ctx, commit); errors.As(err, &none) {
		return deploy.Source{}, fmt.Errorf("commit %s: %w", commit, fs.ErrNotExist)
	} else if err != nil {
		return deploy.Source{}, err
	}
	sources, problems := r.c.sourcesAt(ctx, []string{slug}, map[string]string{slug: commit})
	if err := problems[slug]; err != nil {
		return deploy.Source{}, err
	}
	return sources[slug], nil
}

// agreed asks whether the database may lose what the plan says.
func (r *returning) agreed(ctx context.Context, x shopResult) (bool, error) {
	d := r.door
	if d.order != nil {
		return d.confirm(ctx, report.MarkdownRollback(x.Rollback, nil), x.Digest)
	}
	if r.flags.yes == x.Shop {
		return true, nil
	}
	if !r.flags.json {
		var b bytes.Buffer
		if err := report.Rollback(&b, report.Style{}, x.Rollback, nil); err != nil {
			return false, err
		}
		if _, err := d.Stdout.Write(b.Bytes()); err != nil {
			return false, fmt.Errorf("printing the plan: %w", err)
		}
	}
	return false, Usage(errors.New("nothing was done: a rollback that restores the database needs --yes with the shop's name"), "add --yes "+x.Shop)
}

// guard is the hold that a rollback has on its shop while it is under way.
type guard struct {
	r            *returning
	mine, before *Hold // before is whose place it took, nil where there was none
}

// guardTime is how long a rollback may be under way before another may take its place: longer than the longest gate.
const guardTime = 15 * time.Minute

// guard holds the shop, so that no deploy comes in between. A hold that people put there stays theirs.
func (r *returning) guard(ctx context.Context, shop fleet.Shop) (*guard, error) {
	d := r.door
	for range 3 {
		now := d.Now().UTC()
		x := Hold{
			Shop: shop.Slug, Owner: d.asker(), Reason: cmp.Or(r.flags.reason, "a rollback is under way"), Created: now, Expires: now.Add(guardTime),
			By: "rollback", State: holdWorking, Order: d.orderID(),
		}
		there, placed, err := r.holds.place(ctx, x)
		if err != nil {
			return nil, &holdError{fmt.Errorf("holding %s: %w", shop.Slug, err)}
		}
		if placed {
			return &guard{r: r, mine: there}, nil
		}
		if there.State == holdWorking && (there.Order == "" || there.Order != x.Order) {
			return nil, deploy.Findings{{
				Rule: "rollback-under-way", Level: deploy.LevelError,
				Message: fmt.Sprintf("a rollback of %s by %s is under way since %s", shop.Slug, report.Clean(there.Owner), there.Created.UTC().Format("15:04 MST")),
				Hint:    "wait for it; if its process died, it can be said again after " + there.Expires.UTC().Format("15:04 MST"),
			}}
		}
		if there.Leaving != nil {
			return nil, deploy.Findings{there.Leaving.finding(shop.Slug, "a rollback")}
		}
		before := there
		if there.Order != "" && there.Order == x.Order && (there.State == holdWorking || there.cut) {
			before = there.Before // that of the run whose place this one takes
		}
		if x.Before = nil; before != nil {
			kept := *before
			kept.Before = nil
			x.Before = &kept
		}
		mine, swapped, err := r.holds.replace(ctx, there, x)
		if err != nil {
			return nil, &holdError{fmt.Errorf("holding %s: %w", shop.Slug, err)}
		}
		if swapped {
			return &guard{r: r, mine: mine, before: before}, nil
		}
	}
	return nil, &holdError{fmt.Errorf("holding %s: its hold changes all the time", shop.Slug)}
}

// holdError says that a shop could not be held, so that nothing was done.
type holdError struct{ err error }

func (e *holdError) Error() string { return e.err.Error() + "; nothing was released" }
func (e *holdError) Unwrap() error { return e.err }
func (e *holdError) Hint() string {
	return "while GitHub is down, shopfleet rollback --no-journal goes back without it: nothing else may deploy the shop meanwhile"
}

// renew makes the hold as long again when it took a while to come to the release, as a plan that waits for a yes does.
func (g *guard) renew(ctx context.Context) error {
	now := g.r.door.Now().UTC()
	if now.Sub(g.mine.Created) < guardTime/5 {
		return nil
	}
	x := *g.mine
	x.Created, x.Expires = now, now.Add(guardTime)
	mine, swapped, err := g.r.holds.replace(ctx, g.mine, x)
	if err == nil && !swapped {
		err = errors.New("somebody changed it meanwhile")
	}
	if err != nil {
		return &holdError{fmt.Errorf("holding %s for longer: %w", g.mine.Shop, err)}
	}
	g.mine = mine
	return nil
}

// reached is how far a rollback came.
type reached int

const (
	cameNowhere reached = iota // nothing that the shop consists of was changed
	cameHalfway                // something was, or may have been
	cameRound                  // the target is live
)

// howFar says how far a rollback came. What nobody knows is half way.
func howFar(p *deploy.RollbackPlan, out *deploy.RollbackOutcome, err error) reached {
	var stale *deploy.StaleError
	switch {
	case p.Done, p.Target != nil && out.Changed && out.VersionID == p.Target.VersionID:
		return cameRound
	case errors.Is(err, cloudflare.ErrUnknownOutcome), out.Data != nil && out.Data.Changed, errors.As(err, &stale) && out.Writes > 0:
		return cameHalfway
	}
	return cameNowhere
}

// end leaves the shop held where another version is live now, or may be, and otherwise as it was found. It says which hold
// there is.
func (g *guard) end(ctx context.Context, came reached, x shopResult) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	d := g.r.door
	switch b := g.before; {
	case came == cameNowhere:
		return "", g.leave(ctx, b)
	case came == cameHalfway: // its time is over, so that it can be said again at once
		over := *g.mine
		over.Expires = d.Now().UTC()
		return "a rollback began and did not end, so look at what is live", g.leave(ctx, &over)
	case b != nil && !b.cut && (x.Rollback.Done || b.Bad != "" && b.Order != "" && b.Order == g.mine.Order):
		// It had happened before: what stands there was put there since, by people or by this order's run before.
		return b.Reason, g.leave(ctx, b)
	}
	plan, bad := x.Rollback, x.Outcome.PreviousVersionID
	reason := fmt.Sprintf("rolled back from version %s to %s", shortVersion(bad), shortVersion(plan.Target.VersionID))
	if g.r.flags.reason != "" {
		reason += ": " + g.r.flags.reason
	}
	b := g.before
	if b != nil && b.cut {
		b = b.Before
	}
	if b != nil {
		reason += fmt.Sprintf(" (held before by %s: %s)", b.Owner, b.Reason)
	}
	held := Hold{Shop: x.Shop, Owner: d.asker(), Reason: reason, Created: d.Now().UTC(), By: "rollback", State: holdHeld, Order: d.orderID(), Bad: bad}
	return reason, g.leave(ctx, &held)
}

// leave puts a hold in the place of the rollback's own; nil is none.
func (g *guard) leave(ctx context.Context, x *Hold) (err error) {
	swapped := false
	if x == nil {
		swapped, err = g.r.holds.lift(ctx, g.mine)
	} else {
		_, swapped, err = g.r.holds.replace(ctx, g.mine, *x)
	}
	if err == nil && !swapped {
		err = errors.New("somebody changed it meanwhile")
	}
	return err
}

func shortVersion(id string) string { return id[:min(8, len(id))] }

// failed is a result with an error in it.
func (r shopResult) failed(err error) shopResult {
	plan, digest, outcome, missing := r.Rollback, r.Digest, r.Outcome, r.NotRecorded
	r = result(r.Shop, nil, nil, err)
	r.Rollback, r.Digest, r.Outcome, r.NotRecorded = plan, digest, outcome, missing
	return r
}
