package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/rebase"
	"github.com/kvick/shopfleet/internal/report"
)

func (d *Door) landing() *cobra.Command {
	var f rebaseFlags
	var unchecked bool
	cmd := &cobra.Command{
		Use:   "land [shop...]",
		Short: "Move shops' branches to what rebase made of them",
		Long: `Move shops' branches to what rebase made of them, which deploys the shops.

Without shops this is a tick: what fleet.yml lets land now lands, wave by wave.
What was released before is read from the journal, so that a tick can be run at
any time, from a schedule, and any number of times. Named shops land now, without
waiting for their wave; what is on hold, or has conflicts, does not land at all.

A branch moves only from the commit that was looked at, and where it was is
written to backup/<slug>/… in the same push. A branch that moved meanwhile is
looked at again.`,
		Example:           "  shopfleet land\n  shopfleet land swicked\n  shopfleet land --dry-run --json",
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.runLand(cmd.Context(), args, f, unchecked))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	flags.BoolVar(&f.dry, "dry-run", false, "say what would land and move nothing")
	flags.BoolVar(&unchecked, "unchecked", false, "land named shops although checks are missing or not done; failed ones still count")
	f.policy.add(cmd)
	return cmd
}

func (d *Door) runLand(ctx context.Context, args []string, f rebaseFlags, unchecked bool) error {
	if unchecked && len(args) == 0 {
		return Usage(errors.New("--unchecked goes with named shops"), "name the shops")
	}
	f.noPlans = true
	var before *rebasing
	for n := 1; ; n++ {
		r, err := d.rebasing(ctx, f, "")
		if err != nil {
			return err
		}
		r.goOn(before)
		before = r
		r.last = n == surveys
		err = errors.Join(r.land(ctx, args, unchecked), r.close())
		var stale *staleError
		if errors.As(err, &stale) && n < surveys {
			fmt.Fprintf(d.Stderr, "%s; looking again\n", report.Clean(oneLine(stale.Error())))
			continue
		}
		return err
	}
}

// land is one run of the verb over what was fetched.
func (r *rebasing) land(ctx context.Context, args []string, unchecked bool) error {
	if r.hub == nil {
		return Usage(errors.New("nothing is known of pull requests without GitHub"), "set GITHUB_TOKEN")
	}
	if err := r.only(args); err != nil { // before anything is asked
		return err
	}
	r.branches = r.all
	var err error
	if r.pulls, err = r.openPulls(ctx); err != nil {
		return err
	}
	about := args
	if len(args) == 0 && !r.flags.dry {
		about = r.askedFor()
	}
	if r.c.main, err = r.target(ctx, about); err != nil {
		return fmt.Errorf("finding what the rebase branches are based on: %w", err)
	}
	if err := r.survey(ctx); err != nil {
		return err
	}
	for slug, pull := range r.pulls {
		if m := r.move(slug); m.Settled() && !r.flags.dry { // a run that landed it was cut off before it could say so
			if err := r.closePull(ctx, slug, pull, settledText(r.branch(slug).Shop.Branch, m)); err != nil {
				return err
			}
		}
	}
	if heard, err := r.hear(ctx); err != nil {
		return err
	} else if heard {
		return r.print()
	}
	if len(args) == 0 {
		if err = r.refresh(ctx); err == nil {
			err = r.tick(ctx)
		}
	} else {
		err = r.landNow(ctx, args, unchecked)
	}
	if err != nil {
		return err
	}
	return r.print()
}

// target is the commit of main that the rebase branches were made on: a tick goes on with what was surveyed, and leaves a
// newer main to the next survey. It is main's tip where there is no such branch. Where some shops are meant, theirs count;
// otherwise those that people have not committed to, where there are any: a person's branch may begin wherever they like.
func (r *rebasing) target(ctx context.Context, slugs []string) (string, error) {
	var with []rebase.Branch
	var heads []string
	for _, b := range r.all {
		if b.Head != "" {
			with, heads = append(with, b), append(heads, b.Head)
		}
	}
	if len(with) == 0 {
		return r.c.base, nil
	}
	based, err := r.c.repo.Bases(ctx, r.c.base, heads...)
	if err != nil {
		return "", err
	}
	store, err := r.c.repo.Store(ctx)
	if err != nil {
		return "", err
	}
	defer store.Close()
	var bases, touched []string
	for i, b := range with {
		r.headMain[b.Shop.Slug] = based[i].Commit
		if len(slugs) > 0 && !slices.Contains(slugs, b.Shop.Slug) {
			continue
		}
		// One that cannot be read is no reason to stop; the survey says what is wrong with it.
		if c, err := store.RawCommit(b.Head); err == nil && rebase.Ours(c) {
			bases = append(bases, based[i].Commit)
		} else {
			touched = append(touched, based[i].Commit)
		}
	}
	if len(bases) == 0 {
		bases = touched
	}
	history, err := r.c.repo.NotIn(ctx, []string{r.c.base}, nil)
	if err != nil {
		return "", err
	}
	return cmp.Or(rebase.Target(history, bases), r.c.base), nil
}

// landing is a branch that was moved.
type landing struct {
	Shop   string `json:"shop"`
	From   string `json:"from"`
	To     string `json:"to"`
	Backup string `json:"backup"` // the branch that keeps From
}

func landedText(list []landing) []string {
	out := make([]string, len(list))
	for i, l := range list {
		out[i] = fmt.Sprintf("%s: %s → %s, before in %s", l.Shop, shortID(l.From), shortID(l.To), l.Backup)
	}
	return out
}

// refresh brings rebase branches up to date that are not what the survey makes any more, with their pull requests: the shop's
// branch moved, people resolved something, or a conflict is resolved by now on another shop. Who agreed to what was there
// before has not agreed to this.
func (r *rebasing) refresh(ctx context.Context) error {
	if r.flags.dry {
		return nil
	}
	// A shop without a rebase branch waits for the next survey of all, and so does one whose branch is on an older main than
	// the newest: that another shop was carried further is no word on this one. A branch that is done with tells until then
	// what landed in this round.
	updates := slices.DeleteFunc(r.headUpdates(), func(u git.RefUpdate) bool {
		return u.Before == "" || u.After == "" || r.headMain[headSlug(u)] != r.c.main
	})
	if err := r.pushHeads(ctx, updates); err != nil || len(r.pushed) == 0 {
		return err
	}
	return r.publish(ctx, r.pushed)
}

// tick lands what the policy lets land now, and says how far the round is.
func (r *rebasing) tick(ctx context.Context) error {
	if err := r.landedAt(ctx); err != nil {
		return fmt.Errorf("looking for what has landed: %w", err)
	}
	commands, err := r.commands(ctx)
	if err != nil {
		return err
	}
	list, err := r.candidates(ctx, nil)
	if err != nil {
		return err
	}
	plan := func() {
		round := rebase.Plan(r.c.policy.Rebase, r.door.Now().UTC(), r.c.main, list, commands)
		r.round = &round
	}
	plan()
	if r.flags.dry {
		return nil
	}
	for len(r.round.Land) > 0 {
		before := len(r.refused)
		if err := r.landAll(ctx, r.round.Land); err != nil {
			return err
		}
		if len(r.refused) == before {
			break
		}
		// One that cannot be pushed does not hold up the waves after it.
		for i := range list {
			if k := &list[i]; r.refused[k.Slug] {
				k.Hold = "the push was refused"
			}
			list[i] = r.underWay(list[i])
		}
		plan()
	}
	if len(r.landed) > 0 { // what landed is under way
		for i := range list {
			list[i] = r.underWay(list[i])
		}
		plan()
		r.round.Land = nil
	}
	return r.putIssue(ctx)
}

// underWay is a candidate that may have landed in this run.
func (r *rebasing) underWay(k rebase.Candidate) rebase.Candidate {
	if slices.ContainsFunc(r.landed, func(l landing) bool { return l.Shop == k.Slug }) {
		k.Landed, k.Release = true, rebase.Release{State: rebase.ReleasePending, At: r.door.Now().UTC()}
	}
	return k
}

// landNow lands the shops that a person named, whatever wave they are in.
func (r *rebasing) landNow(ctx context.Context, slugs []string, unchecked bool) error {
	list, err := r.candidates(ctx, slugs)
	if err != nil {
		return err
	}
	var ready []string
	for _, k := range list {
		if !slices.Contains(slugs, k.Slug) {
			continue
		}
		if k.Landed {
			fmt.Fprintf(r.door.Stderr, "%s: is on main already\n", report.Clean(k.Slug))
			continue
		}
		why := ""
		if ok, not := k.Move.Landable(); !ok {
			why = not
		}
		switch {
		case why != "":
		case k.Hold != "":
			why = k.Hold
		case k.Checks == rebase.ChecksFailed:
			why = "a check failed"
		case k.Checks != rebase.ChecksPassed && !unchecked && r.c.policy.Rebase.Land != fleet.LandSilent:
			why = "its checks are not all there and green; --unchecked lands it all the same"
		}
		if why != "" {
			r.problems = append(r.problems, because(k.Slug, statusSkipped, []deploy.Finding{{
				Rule: "not-landable", Level: deploy.LevelError, Message: fmt.Sprintf("%s does not land: %s", r.branch(k.Slug).Shop.Branch, why),
			}}))
			continue
		}
		ready = append(ready, k.Slug)
	}
	if r.flags.dry {
		r.would = ready
		return nil
	}
	return r.landAll(ctx, ready)
}

// together is how many shops land in one push: enough to be quick, and few enough that one branch that moved does not make
// many be looked at again.
const together = 25

// landAll moves the shops' branches. Those that moved since they were looked at are left out, and the error says so when
// everything else is done. One that the remote does not take is noted, and the others land.
func (r *rebasing) landAll(ctx context.Context, slugs []string) error {
	var late error
	tried := 0
	for group := range slices.Chunk(slugs, together) {
		err := r.landGroup(ctx, group)
		if errors.As(err, new(*refusedError)) && len(group) > 1 {
			err = nil
			for _, slug := range group { // all or none: so that one keeps only itself back
				one := r.landGroup(ctx, []string{slug})
				if err := r.landedAlone(slug, one, &late, &tried); err != nil {
					return err
				}
			}
		} else if err = r.landedAlone(group[0], err, &late, &tried); err != nil {
			return err
		}
	}
	return late
}

// landedAlone sorts out how one shop's landing went. tried counts those that were not taken.
func (r *rebasing) landedAlone(slug string, err error, late *error, tried *int) error {
	refused, ok := r.alone(err)
	switch {
	case ok && *tried < refusals:
		*tried++
		r.refuse(slug, err)
		return nil
	case refused != nil && !ok:
		*late = err
		return nil
	}
	return err
}

// landGroup moves some branches in one push, together with the branches that keep where they were, and then tells their
// pull requests.
func (r *rebasing) landGroup(ctx context.Context, slugs []string) error {
	stamp := r.door.Now().UTC().Format(backupTime)
	var updates []git.RefUpdate
	var done []landing
	for _, slug := range slugs {
		m, branch := r.move(slug), r.branch(slug)
		l := landing{Shop: slug, From: m.From, To: m.To, Backup: fmt.Sprintf("backup/%s/%s-%s", slug, stamp, m.From[:12])}
		updates = append(updates,
			git.RefUpdate{Name: "refs/heads/" + branch.Shop.Branch, Before: m.From, After: m.To},
			git.RefUpdate{Name: "refs/heads/" + l.Backup, After: m.From})
		for _, lesson := range m.Lessons {
			there := slices.ContainsFunc(updates, func(u git.RefUpdate) bool { return u.Name == lesson.Ref })
			if _, counts := r.known[lesson.Key]; !counts && !there && r.lessons[lesson.Ref] != lesson.Object {
				updates = append(updates, git.RefUpdate{Name: lesson.Ref, Before: r.lessons[lesson.Ref], After: lesson.Object})
			}
		}
		done = append(done, l)
	}
	branches := slices.DeleteFunc(slices.Clone(updates), func(u git.RefUpdate) bool { return strings.HasPrefix(u.Name, lessonRefs) })
	if err := r.onlyOurs(ctx, branches); err != nil {
		return err
	}
	err := r.push(ctx, updates)
	if errors.As(err, new(*refusedError)) && len(branches) < len(updates) {
		err = r.push(ctx, branches) // what was learnt is worth less than a landing, and those refs are anybody's who may push
	}
	if err != nil {
		return err
	}
	r.landed = append(r.landed, done...)
	for _, l := range done {
		fmt.Fprintf(r.door.Stderr, "%s: landed\n", report.Clean(l.Shop))
		if err := r.tell(ctx, l); err != nil {
			r.failed(l.Shop, err) // it has landed; the next run finds the pull request and closes it
		}
	}
	return nil
}

// tells is how many other pull requests are told of a landing. Whoever has a fork can open them, and GitHub takes 500 comments
// an hour: the landings of the other shops must not wait for strangers'.
const tells = 10

// tell closes a landed shop's pull request, unless GitHub has, and tells others that go to the same branch, those from this
// repository first.
func (r *rebasing) tell(ctx context.Context, l landing) error {
	branch := r.branch(l.Shop).Shop.Branch
	if pull, open := r.pulls[l.Shop]; open {
		word := fmt.Sprintf("Landed: %s is %s now. Where it was is kept in %s.", report.Code(branch), report.Code(l.To), report.Code(l.Backup))
		if err := r.closePull(ctx, l.Shop, pull, word); err != nil {
			return err
		}
	}
	others := slices.DeleteFunc(slices.Clone(r.others), func(p github.PullRequest) bool { return p.Base.Ref != branch })
	sort.SliceStable(others, func(i, j int) bool {
		a, b := others[i], others[j]
		switch {
		case a.Fork == b.Fork:
			return false
		case b.Fork:
			return true
		}
		return false
	})
	for _, p := range others[:min(len(others), tells)] {
		body := fmt.Sprintf("**shopfleet**: %s was carried onto a new main. This pull request shows the shop's old commits until its branch is rebased:\n\n%s",
			report.Code(branch), report.Block(fmt.Sprintf("git fetch origin\ngit rebase --onto origin/%s %s", branch, l.From)))
		if _, err := r.hub.PutComment(ctx, p.Number, "<!-- shopfleet:moved -->", body, true); err != nil {
			return fmt.Errorf("telling pull request %d: %w", p.Number, err)
		}
	}
	return nil
}

// held are the reasons why shops are held, by slug; "" is the whole fleet.
func (r *rebasing) held(ctx context.Context) (map[string]string, error) {
	list, err := (&holds{client: r.hub, now: r.door.Now}).list(ctx)
	if err != nil {
		return nil, err // nothing lands when nobody knows
	}
	out := map[string]string{}
	for _, x := range list {
		out[x.Shop] = "it is held by " + x.Owner + ": " + x.Reason
	}
	return out, nil
}

// candidates are what a round decides on. Only shops that are asked for have their checks read, where some are.
func (r *rebasing) candidates(ctx context.Context, asked []string) ([]rebase.Candidate, error) {
	began, err := r.began(ctx)
	if err != nil {
		return nil, err
	}
	held, err := r.held(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]rebase.Candidate, len(r.moves))
	for i := range r.moves {
		m := &r.moves[i]
		k := rebase.Candidate{Slug: m.Slug, Move: m, Landed: m.Settled()}
		pull, open := r.pulls[m.Slug]
		k.Pull, k.Asked = pull.Number, pull.Created
		if began.After(k.Asked) {
			k.Asked = began // the head is younger than main
		}
		switch {
		case r.labelled(m.Slug, labelManual):
			k.Hold = "it has the label " + labelManual
		case r.labelled(m.Slug, labelHold):
			k.Hold = "it has the label " + labelHold
		case !k.Landed && m.To != "" && r.heads[m.Slug] != m.To:
			k.Hold = rebase.HeadBranch(m.Slug) + " is not what the branch becomes: run shopfleet rebase first"
		case !k.Landed:
			k.Hold = cmp.Or(held[m.Slug], held[""]) // its deploy would be refused
			if f, ok := r.c.policy.Frozen(m.Slug, r.door.Now()); ok && k.Hold == "" {
				k.Hold = "freeze " + f.Name + " until " + f.Ends(r.door.Now()).UTC().Format("2006-01-02 15:04 UTC") + ": " + f.Reason
			}
		}
		if len(asked) > 0 && !slices.Contains(asked, m.Slug) {
			list[i] = k
			continue
		}
		var err error
		switch {
		case k.Hold != "": // what lands is not there, or will not
		case k.Landed:
			k.Release, err = r.release(ctx, m)
		case m.To != "":
			if open {
				k.Approved, err = r.approved(ctx, m, pull)
			}
			if err == nil {
				k.Checks, err = r.checks(ctx, m)
			}
		}
		if err != nil {
			return nil, err
		}
		list[i] = k
	}
	return list, nil
}

// release is what the journal says of what a shop has released with the round's main in it. A deploy that changed nothing is
// not in it; then the commit's checks tell, those that came after the landing: the commit was on the rebase branch before, and
// what was green there says nothing of a release.
func (r *rebasing) release(ctx context.Context, m *rebase.Move) (rebase.Release, error) {
	shop := r.branch(m.Slug).Shop
	j := &journal{client: r.hub}
	entries, err := j.Releases(ctx, shop)
	if err != nil {
		return rebase.Release{}, fmt.Errorf("reading the journal of %s: %w", shop.Slug, err)
	}
	out := rebase.Release{State: rebase.NoRelease, At: r.backups[m.Slug]}
	for _, e := range entries { // the newest first
		if e.Commit != m.From && e.Main != r.c.main {
			continue
		}
		s, err := j.Standing(ctx, e.ID)
		if err != nil {
			return rebase.Release{}, fmt.Errorf("reading the journal of %s: %w", shop.Slug, err)
		}
		switch {
		case s.Passed && (out.State == rebase.NoRelease || out.State == rebase.ReleasePending || out.State == rebase.ReleasePassed):
			out = rebase.Release{State: rebase.ReleasePassed, At: e.Created} // the first pass of an unbroken line counts
		case s.Passed:
		case out.State == rebase.ReleasePassed || out.State == rebase.ReleaseFailed:
			return out, nil
		case s.State == deploy.StateFailure, s.State == deploy.StateError:
			return rebase.Release{State: rebase.ReleaseFailed, At: e.Created, What: s.Text}, nil
		default:
			out = rebase.Release{State: rebase.ReleasePending, At: e.Created}
		}
	}
	if out.State != rebase.NoRelease {
		return out, nil
	}
	checks, err := r.hub.Checks(ctx, m.From)
	if err != nil {
		return rebase.Release{}, fmt.Errorf("reading the checks of %s: %w", shop.Slug, err)
	}
	// Those from before the landing are why it could land, and the plan's are no deploy's at any time: neither says that one ran.
	landed := r.backups[m.Slug]
	// Nor do our buttons.
	before := append(r.c.policy.Rebase.ChecksOf(m.Slug), planCheck(m.Slug))
	var last time.Time
	for _, k := range checks {
		if slices.Contains(before, k.Name) || isButton(k.Name) || !k.Pending() && k.Ended.Before(landed) {
			continue
		}
		switch {
		case !k.Green() && !k.Pending():
			return rebase.Release{State: rebase.ReleaseFailed, At: k.Ended, What: "the check " + k.Name + " failed"}, nil
		case k.Pending():
			out.State = rebase.ReleasePending
		case out.State == rebase.NoRelease:
			out.State = rebase.ReleasePassed
		}
		if k.Ended.After(last) {
			last = k.Ended
		}
	}
	if out.State == rebase.ReleasePassed {
		out.At = last
	}
	return out, nil
}

// checks says whether what has to be green on a move is.
func (r *rebasing) checks(ctx context.Context, m *rebase.Move) (rebase.ChecksState, error) {
	list, err := r.hub.Checks(ctx, m.To)
	if err != nil {
		return rebase.ChecksPending, fmt.Errorf("reading the checks of %s: %w", rebase.HeadBranch(m.Slug), err)
	}
	green := map[string]bool{}
	for _, k := range list {
		switch {
		case isButton(k.Name): // it waits for people, and nothing waits for it
		case k.Green():
			green[k.Name] = true
		case !k.Pending():
			return rebase.ChecksFailed, nil
		}
	}
	for _, name := range r.c.policy.Rebase.ChecksOf(m.Slug) {
		if !green[name] {
			return rebase.ChecksPending, nil
		}
	}
	return rebase.ChecksPassed, nil
}

// began is a time that the round did not begin before: when its commit of main was made, by the clock of whom that made it.
// One that is ahead of ours says nothing; then words and landings from before count too, rather than none of this round.
func (r *rebasing) began(ctx context.Context) (time.Time, error) {
	main, err := r.c.repo.Commit(ctx, r.c.main)
	if err != nil || main.CommitDate.After(r.door.Now()) {
		return time.Time{}, err
	}
	return main.CommitDate, nil
}

// landedAt reads when shops landed in this round: from the branches that keep where they were, and of those that landed by
// GitHub's merge button from the branch, whose last commit is not older than that.
func (r *rebasing) landedAt(ctx context.Context) error {
	refs, err := r.c.repo.RemoteRefs(ctx, r.from, "refs/heads/backup/")
	if err != nil {
		return err
	}
	began, err := r.began(ctx)
	if err != nil {
		return err
	}
	r.backups = map[string]time.Time{}
	for name := range refs {
		slug, rest, _ := strings.Cut(strings.TrimPrefix(name, "refs/heads/backup/"), "/")
		stamp, _, _ := strings.Cut(rest, "-")
		at, err := time.Parse(backupTime, stamp)
		if err == nil && !at.Before(began) && !at.After(r.door.Now()) && at.After(r.backups[slug]) {
			r.backups[slug] = at
		}
	}
	for i := range r.moves {
		m := &r.moves[i]
		head := r.heads[m.Slug]
		if !m.Settled() || head == "" || head == m.From || !r.backups[m.Slug].IsZero() {
			continue
		}
		if left, err := r.c.repo.NotIn(ctx, []string{head}, []string{m.From}); err != nil {
			return err
		} else if len(left) > 0 {
			continue
		}
		tip, err := r.c.repo.Commit(ctx, m.From)
		if err != nil {
			return err
		}
		if !tip.CommitDate.Before(began) {
			r.backups[m.Slug] = tip.CommitDate
		}
	}
	return nil
}

// backupTime is how a backup's name begins, so that names sort by time.
const backupTime = "20060102T150405Z"
