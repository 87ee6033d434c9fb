package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
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

// rebaseFlags are the flags of rebase and land.
type rebaseFlags struct {
	policy  policyFlags
	json    bool
	dry     bool
	land    bool // land what the policy lets land, after everything is published
	noPlans bool
}

func (d *Door) rebase() *cobra.Command {
	var f rebaseFlags
	cmd := &cobra.Command{
		Use:   "rebase [shop...]",
		Short: "Carry the shops' branches onto main, as pull requests",
		Long: `Carry the shops' branches onto main. Every branch is looked at over one fetch;
what each becomes is pushed to rebase/<slug>, all in one atomic push, and where
fleet.yml says so, or a person has to decide, one pull request for the shop says
what is new from main, what the shop's plan is and what must be decided. One
issue lists the open decisions. Nothing is pushed twice, and the shops' branches
themselves move only by landing: see shopfleet land.

With --dry-run nothing is written and no token is needed: without one the
branches are looked at as this clone knows them.

It needs a token for GitHub (GITHUB_TOKEN or GH_TOKEN), or in a workflow an App:
what a workflow's own token pushes starts no deploy. The App needs contents, pull
requests, issues and checks: write, statuses and deployments: read, and workflows:
write when main changes workflows. With the accounts' API tokens in the
environment pull requests show real plans.`,
		Example:           "  shopfleet rebase --dry-run\n  shopfleet rebase\n  shopfleet rebase swicked --land",
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.runRebase(cmd.Context(), args, f))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	flags.BoolVar(&f.dry, "dry-run", false, "look and write nothing")
	flags.BoolVar(&f.land, "land", false, "land what the policy lets land, when everything is published")
	flags.BoolVar(&f.noPlans, "no-plans", false, "make pull requests without the shops' plans")
	f.policy.add(cmd)
	return cmd
}

// toRebase is what an App's token needs for the API; see gitClient for pushes.
func toRebase() permissions {
	return permissions{"contents": "write", "pull_requests": "write", "issues": "write", "checks": "write", "statuses": "read", "deployments": "read"}
}

// surveys bounds how often a run looks again because a branch moved under it.
const surveys = 3

func (d *Door) runRebase(ctx context.Context, args []string, f rebaseFlags) (err error) {
	var before *rebasing
	for n := 1; ; n++ {
		r, err := d.rebasing(ctx, f, "")
		if err != nil {
			return err
		}
		r.goOn(before)
		before = r
		r.last = n == surveys
		err = errors.Join(r.rebase(ctx, args), r.close())
		var stale *staleError
		if errors.As(err, &stale) && n < surveys {
			fmt.Fprintf(d.Stderr, "%s; looking again\n", report.Clean(oneLine(stale.Error())))
			continue
		}
		return err
	}
}

// goOn takes over what has been done before something moved: it is a part of the result.
func (r *rebasing) goOn(before *rebasing) {
	if before != nil {
		r.pushed, r.landed = before.pushed, before.landed
	}
}

// rebase is one run of the verb over what was fetched.
func (r *rebasing) rebase(ctx context.Context, args []string) error {
	if err := r.only(args); err != nil {
		return err
	}
	if err := r.survey(ctx); err != nil {
		return err
	}
	if r.flags.dry {
		return r.print()
	}
	if err := r.wouldBringWorkflows(ctx); err != nil {
		return err
	}
	var err error
	if r.pulls, err = r.openPulls(ctx); err != nil {
		return err
	}
	if err := r.pushHeads(ctx, r.headUpdates()); err != nil {
		return err
	}
	if err := r.publish(ctx, nil); err != nil {
		return err
	}
	if r.flags.land && len(args) > 0 {
		if err := r.landNow(ctx, args, false); err != nil {
			return err
		}
	} else if r.flags.land {
		if err := r.tick(ctx); err != nil {
			return err
		}
	} else if err := r.putIssue(ctx); err != nil {
		return err
	}
	return r.print()
}

// rebasing is a run of rebase or land: what GitHub had when it began, and what has been done since.
type rebasing struct {
	door  *Door
	flags rebaseFlags
	local *checkout // the clone around the working directory
	c     *checkout // over the repository that everything was fetched into
	hub   *github.Client
	from  git.Remote
	// workflows says that pushes may bring changes of workflows.
	workflows bool

	branches []rebase.Branch // one for each shop, sorted; see only
	all      []rebase.Branch
	bad      []deploy.Finding // branches that are no shop's
	heads    map[string]string
	headMain map[string]string // the commit of main that each is based on, where that was asked
	lessons  map[string]string // refs of resolutions
	known    map[string]rebase.Resolution
	moves    []rebase.Move
	pulls    map[string]github.PullRequest // open ones of rebase branches, by slug
	listed   []github.PullRequest          // all open ones
	others   []github.PullRequest          // open ones that go to shops' branches from elsewhere

	pushed   []string // rebase branches that moved
	round    *rebase.Round
	landed   []landing
	would    []string     // named shops that would land, in a dry run
	problems []shopResult // what could not be done, each for a shop
	issue    int
	refused  map[string]bool      // shops of which a push was not taken
	last     bool                 // nobody looks again after this run
	may      map[string]bool      // who may push
	backups  map[string]time.Time // when shops landed in this round
}

// rebasing fetches everything that a run looks at. main is the commit to carry onto; "" means main's tip.
func (d *Door) rebasing(ctx context.Context, f rebaseFlags, main string) (_ *rebasing, err error) {
	local, err := d.open(ctx, f.policy)
	if err != nil {
		return nil, err
	}
	r := &rebasing{door: d, flags: f, local: local, heads: map[string]string{}, headMain: map[string]string{}, lessons: map[string]string{}, pulls: map[string]github.PullRequest{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	room, err := local.room()
	if err != nil {
		return nil, err
	}
	bare, err := r.bare(ctx, filepath.Join(room, "rebase.git"))
	if err != nil {
		return nil, err
	}
	var refs map[string]string
	if r.from.URL == "" {
		refs = local.asRefs(f.policy.main)
	} else {
		fmt.Fprintf(d.Stderr, "fetching %s and the shops' branches\n", report.Clean(f.policy.main))
		if err := bare.Fetch(ctx, r.from, fetched(local.policy, f.policy.main)...); err != nil {
			return nil, fmt.Errorf("fetching the branches: %w", r.noFetch(ctx, err))
		}
		if refs, err = bare.Refs(ctx, "refs/"); err != nil {
			return nil, err
		}
	}
	return r, r.open(ctx, bare, refs, main)
}

// connect finds GitHub. Without a token there is only a dry run, of what the clone knows.
func (r *rebasing) connect(ctx context.Context) error {
	d := r.door
	if d.workflow != nil && d.Getenv(envAppID) == "" {
		return Usage(errors.New("there is no App to push as: what the workflow's own token pushes starts no deploy"),
			"give the action app-id and app-private-key; docs/rebase.md of shopfleet says how to make the App")
	}
	var err error
	if r.hub, err = d.githubAs(ctx, r.local, toRebase(), d.Getenv(envAppID) != ""); err != nil {
		return err
	}
	switch {
	case r.hub != nil:
		r.from, r.workflows, err = d.gitRemote(ctx, r.local, r.hub)
		return err
	case !r.flags.dry:
		return Usage(errors.New("nothing can be pushed without GitHub"), "set GITHUB_TOKEN, or look with --dry-run; GITHUB_REPOSITORY names the repository where origin does not")
	}
	return nil
}

// noFetch is why a fetch failed. Git only says that it was asked for a password; the API says what is wrong with the token.
func (r *rebasing) noFetch(ctx context.Context, err error) error {
	var why *github.Error
	if _, said := r.hub.Tip(ctx, r.flags.policy.main); errors.As(said, &why) && why.Status != 0 {
		return said
	}
	return err
}

// bare is the repository to fetch into. It borrows the clone's objects, unless those end somewhere.
func (r *rebasing) bare(ctx context.Context, dir string) (*git.Repository, error) {
	shallow, err := r.local.repo.Shallow(ctx)
	if err != nil {
		return nil, err
	}
	if !shallow {
		return r.local.repo.Scratch(ctx, dir)
	}
	if r.from.URL == "" {
		return nil, Usage(errors.New("the clone is shallow: what main and the shops have in common is not in it"), "git fetch --unshallow")
	}
	bare, err := git.Bare(ctx, dir)
	if err == nil {
		bare.Program, bare.Echo = r.local.repo.Program, r.local.repo.Echo
	}
	return bare, err
}

const lessonRefs = "refs/shopfleet/resolutions/"

// fetched are the refspecs of a run's one fetch: main, the shops, their rebase branches and what was learnt of conflicts.
func fetched(p *fleet.Policy, main string) []string {
	var specs []string
	same := func(ref string) { specs = append(specs, "+"+ref+":"+ref) }
	same("refs/heads/" + main)
	same("refs/heads/" + p.BranchPrefix() + "*")
	for _, slug := range sortedKeys(p.Shops) {
		if b := p.Shops[slug].Branch; b != "" && !strings.HasPrefix(b, p.BranchPrefix()) {
			same("refs/heads/" + b)
		}
	}
	same("refs/heads/" + rebase.HeadBranch("*"))
	same(lessonRefs + "*")
	return specs
}

// asRefs are the clone's branches as a remote would have them: what origin was seen to have counts.
func (c *checkout) asRefs(main string) map[string]string {
	refs := map[string]string{}
	for _, b := range c.tips {
		refs["refs/heads/"+b.Name] = cmp.Or(b.Origin, b.Local)
	}
	refs["refs/heads/"+main] = c.base
	return refs
}

// open sorts out what was fetched.
func (r *rebasing) open(ctx context.Context, bare *git.Repository, refs map[string]string, main string) (err error) {
	tip := refs["refs/heads/"+r.flags.policy.main]
	if tip == "" {
		return Usage(fmt.Errorf("finding the main branch: %w", &git.NotFoundError{What: "branch", Name: r.flags.policy.main}), "name it with --main")
	}
	r.c = &checkout{door: r.door, repo: bare, objects: bare, main: cmp.Or(main, tip), base: tip, trees: map[string]string{}, installed: r.local.repo.Dir}
	if r.c.policy, err = r.c.readPolicy(ctx, r.flags.policy, tip); err != nil {
		return err
	}
	tips := map[string]string{}
	for ref, commit := range refs {
		if name, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
			tips[name] = commit
		}
	}
	if r.c.policy, err = placed(ctx, bare, r.c.policy, tips); err != nil {
		return err
	}
	for _, ref := range sortedKeys(refs) {
		name, isBranch := strings.CutPrefix(ref, "refs/heads/")
		if strings.HasPrefix(ref, lessonRefs) {
			r.lessons[ref] = refs[ref]
		}
		if !isBranch {
			continue
		}
		r.c.tips = append(r.c.tips, git.Branch{Name: name, Local: refs[ref]})
		if slug, ok := strings.CutPrefix(name, rebase.HeadBranch("")); ok {
			r.heads[slug] = refs[ref]
			continue
		}
		slug, ok := r.c.policy.Slug(name)
		if !ok {
			continue
		}
		shop, err := r.c.policy.Shop(slug)
		if err != nil {
			for _, f := range findings(err) {
				f.Message = "branch " + name + ": " + f.Message
				r.bad = append(r.bad, f)
			}
			continue
		}
		r.all = append(r.all, rebase.Branch{Shop: shop, Tip: refs[ref]})
	}
	sort.Slice(r.all, func(i, j int) bool { return r.all[i].Shop.Slug < r.all[j].Shop.Slug })
	for i := range r.all {
		r.all[i].Head = r.heads[r.all[i].Shop.Slug]
	}
	if len(r.all) == 0 {
		return Usage(fmt.Errorf("no branch begins with %s", r.c.policy.BranchPrefix()), "onboard a shop first")
	}
	r.branches = r.all
	return nil
}

func (r *rebasing) close() error {
	if r.c != nil {
		return errors.Join(r.c.close(), r.local.close())
	}
	return r.local.close()
}

// only narrows the run down to the shops that are named; none means all.
func (r *rebasing) only(args []string) error {
	if len(args) == 0 {
		return nil
	}
	var some []rebase.Branch
	for _, slug := range slices.Compact(slices.Sorted(slices.Values(args))) {
		shop, err := r.c.policy.Shop(slug)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(r.all, func(b rebase.Branch) bool { return b.Shop.Slug == slug })
		if i < 0 {
			return Usage(fmt.Errorf("shop %s has no branch %s", slug, shop.Branch), "git ls-remote origin lists the branches")
		}
		some = append(some, r.all[i])
	}
	r.branches = some
	return nil
}

// survey looks at the branches.
func (r *rebasing) survey(ctx context.Context) error {
	var err error
	if r.known, err = rebase.Resolutions(ctx, r.c.repo, r.lessons, r.all); err != nil {
		return fmt.Errorf("reading how conflicts were resolved: %w", err)
	}
	r.moves, err = rebase.Survey(ctx, rebase.Input{Repo: r.c.repo, Policy: r.c.policy, Main: r.c.main, Branches: r.branches, Resolutions: r.known})
	if err != nil {
		return fmt.Errorf("carrying the branches onto %s: %w", shortID(r.c.main), err)
	}
	return nil
}

// move is a shop's.
func (r *rebasing) move(slug string) *rebase.Move {
	for i := range r.moves {
		if r.moves[i].Slug == slug {
			return &r.moves[i]
		}
	}
	return nil
}

// branch is a shop's.
func (r *rebasing) branch(slug string) rebase.Branch {
	i := slices.IndexFunc(r.all, func(b rebase.Branch) bool { return b.Shop.Slug == slug })
	return r.all[i]
}

// failed notes what could not be done for a shop.
func (r *rebasing) failed(slug string, err error) {
	r.problems = append(r.problems, result(slug, nil, nil, err))
}
