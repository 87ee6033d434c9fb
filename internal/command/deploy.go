package command

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
)

// deployFlags are what plan and deploy have in common.
type deployFlags struct {
	all              bool
	json             bool
	secretsFile      string
	redeploy         bool
	overwriteOutside bool
	allowDestructive bool
	planDigest       string
	noJournal        bool
	throughFreeze    bool
	parallel         int
	policy           policyFlags

	apply   bool // carry the plan out
	offline bool // go no further than can be told without an account
	unread  bool // leave the journal unread, though there is a GitHub
}

func (f *deployFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "every shop that has a branch")
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	flags.StringVar(&f.secretsFile, "secrets-file", "", "`file` of secrets to upload with the version, over those of its bundle: JSON or dotenv, - for standard input (one shop)")
	flags.BoolVar(&f.redeploy, "redeploy", false, "upload and release although nothing changed")
	flags.BoolVar(&f.overwriteOutside, "overwrite-outside", false, "replace a live version that shopfleet did not make")
	flags.BoolVar(&f.allowDestructive, "allow-destructive", false, "let migrations lose data although their files do not say why")
	flags.BoolVar(&f.noJournal, "no-journal", false, "leave GitHub alone: neither read nor write the journal, and read no holds")
	flags.IntVar(&f.parallel, "parallel", 16, "how many shops to work on at once")
	f.policy.add(cmd)
}

const sourceHelp = `A shop is deployed from the commit at its branch (by default shops/<slug>),
never from the working tree. fleet.yml is read from the main branch.

Releases are written in the journal, GitHub Deployments of environment
shop-<slug>, when GITHUB_TOKEN or GH_TOKEN holds a token and origin is on GitHub.

Secrets come from the shop's bundle (shop-overrides/secrets.env.age, opened with
the age identity in SHOPFLEET_AGE_KEY; see shopfleet secrets) and --secrets-file,
and are uploaded with the version when one of them changed.

The API token is read from the environment variable that fleet.yml names for
the shop's account (by default CLOUDFLARE_API_TOKEN). CLOUDFLARE_API_BASE_URL
and SHOPFLEET_EDGE_URL point shopfleet at "shopfleet sim".`

func (d *Door) deploy() *cobra.Command {
	var f deployFlags
	cmd := &cobra.Command{
		Use:   "deploy [shop...]",
		Short: "Bring shops to what their branches say",
		Long: `Bring shops to what their branches say: migrations applied, a version uploaded
and released, crons and hostnames converged, the release checked. Where nothing
changed nothing is written. Without a shop it is the one whose branch is
checked out.

` + sourceHelp,
		Example:           "  shopfleet deploy swicked\n  shopfleet deploy --all\n  shopfleet deploy swicked --plan 3f2a…   # only if the plan is still this one",
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.apply = true
			return d.run(cmd.Context(), args, f)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.throughFreeze, "through-freeze", false, "deploy although fleet.yml has a freeze now")
	cmd.Flags().StringVar(&f.planDigest, "plan", "", "deploy only if the plan's `digest` is still this one (one shop)")
	return cmd
}

func (d *Door) plan() *cobra.Command {
	var f deployFlags
	cmd := &cobra.Command{
		Use:   "plan [shop...]",
		Short: "Show what deploy would change, and change nothing",
		Long: `Show what deploy would change. Nothing is written: the client that plans refuses
to send a write. The exit code is 1 when there are findings that would stop the
deploy.

` + sourceHelp,
		Example:           "  shopfleet plan swicked\n  shopfleet plan --all --json",
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			if d.workflow != nil && d.workflow.pull != nil {
				return d.planPull(cmd.Context(), f)
			}
			return d.run(cmd.Context(), args, f)
		},
	}
	f.add(cmd)
	return cmd
}

// run plans shops, and applies the plans when apply is set. One shop that
// fails does not stop the others; the exit code is the worst of all.
func (d *Door) run(ctx context.Context, args []string, f deployFlags) (err error) {
	if f.parallel < 1 {
		return Usage(fmt.Errorf("--parallel is %d", f.parallel), "give a number of at least 1")
	}
	if f.throughFreeze && (d.workflow != nil || d.order != nil) {
		return d.asJSON(f.json, Usage(errors.New("--through-freeze is for a person at a terminal"), "wait for the end of the freeze, or change it on main"))
	}
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return d.asJSON(f.json, err)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	slugs, err := c.choose(ctx, args, f.all)
	if err != nil {
		return d.asJSON(f.json, err)
	}
	if len(slugs) != 1 && (f.secretsFile != "" || f.planDigest != "") {
		return d.asJSON(f.json, Usage(errors.New("--secrets-file and --plan go with exactly one shop"), "name the shop"))
	}
	given, err := d.readSecrets(f.secretsFile)
	if err != nil {
		return d.asJSON(f.json, err)
	}
	at, err := d.site(ctx, c, slugs, f)
	if err != nil {
		return d.asJSON(f.json, err)
	}
	sources, problems := c.sources(ctx, slugs)
	for slug, src := range sources {
		src.Redeploy, src.OverwriteOutside, src.AllowDestructive = f.redeploy, f.overwriteOutside, f.allowDestructive
		sources[slug] = src
	}
	if err := c.withSecrets(ctx, sources, secretUse{given: given, apply: f.apply, offline: f.offline}); err != nil {
		return d.asJSON(f.json, err)
	}
	results := at.work(ctx, slugs, sources, problems)
	return d.results(results, at.rehearsals.Distinct(), f.json)
}

// site is what the shops that are worked on share.
type site struct {
	door       *Door
	flags      deployFlags
	engines    map[string]*deploy.Engine // by account; none when offline
	rehearsals deploy.Rehearsals
	builder    deploy.Builder
	progress   *progress
	github     *github.Client  // nil where there is none
	known      map[string]bool // the paths on main, when offline
	// Preparing is work for the processor (bundling, hashing), applying is
	// waiting for Cloudflare: each has its own limit.
	preparing chan struct{}
}

// site makes ready what shops are worked on with, and begins to read their accounts.
func (d *Door) site(ctx context.Context, c *checkout, slugs []string, f deployFlags) (*site, error) {
	at := &site{door: d, flags: f, preparing: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)))}
	if f.offline {
		trees, err := c.repo.Trees(ctx, c.base)
		if err != nil {
			return nil, err
		}
		at.known = map[string]bool{}
		for _, e := range trees[0] {
			at.known[e.Path] = true
		}
		return at, nil
	}
	var accounts []fleet.Account
	for _, slug := range slugs {
		if shop, err := c.policy.Shop(slug); err == nil { // sources tells of the others
			accounts = append(accounts, shop.Account)
		}
	}
	var err error
	if at.engines, err = d.engines(accounts, !f.apply, &at.rehearsals); err != nil {
		return nil, err
	}
	if !f.noJournal {
		task := toPlan()
		if f.apply {
			task = toDeploy()
		}
		if at.github, err = d.github(ctx, c, task); err != nil {
			return nil, err
		}
		if at.github == nil && f.apply && d.workflow != nil {
			return nil, Usage(errors.New("a workflow deploys with a token for GitHub"), "give the action github-token: without it nobody could tell whether the commit is still the branch's")
		}
	}
	if f.noJournal && f.apply {
		fmt.Fprintln(d.Stderr, "shopfleet: holds are not read: --no-journal leaves GitHub alone")
	}
	for _, e := range at.engines {
		if at.github != nil && !f.unread {
			e.Journal = &journal{client: at.github, log: d.runURL()}
			e.Holds = &holds{client: at.github, now: d.Now}
		}
		e.Prefetch(ctx)
	}
	return at, nil
}

// work takes shops as far as the flags say, side by side.
func (at *site) work(ctx context.Context, slugs []string, sources map[string]deploy.Source, problems map[string]error) []shopResult {
	at.progress = at.door.newProgress(len(slugs))
	if w := at.door.workflow; w != nil {
		// Folded in the log; what came of it stands below.
		at.door.tell(w.runner.Group("progress"))
		defer func() { at.door.tell(w.runner.EndGroup()) }()
	}
	results := make([]shopResult, len(slugs))
	var group errgroup.Group
	group.SetLimit(at.flags.parallel)
	for i, slug := range slugs {
		if err := problems[slug]; err != nil {
			results[i] = result(slug, nil, nil, err)
			at.progress.done(results[i])
			continue
		}
		src := sources[slug]
		group.Go(func() error {
			results[i] = at.one(ctx, src)
			at.progress.done(results[i])
			return nil
		})
	}
	_ = group.Wait() // every shop carries its own error
	at.progress.finish()
	return results
}

// one takes one shop through prepare, observe, plan and, if asked, apply.
func (at *site) one(ctx context.Context, src deploy.Source) shopResult {
	slug, engine := src.Shop.Slug, at.engines[src.Shop.Account.ID]
	select {
	case at.preparing <- struct{}{}:
	case <-ctx.Done():
		return result(slug, nil, nil, ctx.Err())
	}
	at.progress.stage(slug, "building")
	want, err := at.builder.Prepare(ctx, src)
	<-at.preparing
	if err != nil {
		return result(slug, nil, nil, err)
	}
	if at.flags.offline {
		return at.checked(ctx, want)
	}
	at.progress.stage(slug, "reading the account")
	have, err := engine.Observe(ctx, want)
	if err != nil {
		return result(slug, nil, nil, err)
	}
	plan := deploy.Diff(want, have)
	if !at.flags.apply {
		r := result(slug, plan, nil, nil)
		var unread *deploy.JournalError
		if errors.As(have.JournalError, &unread) {
			at.progress.stage(slug, "the journal could not be read: "+oneLine(unread.Err.Error()))
			r.Journal = "it could not be read"
		} else if have.Unrecorded() {
			r.Journal = "version " + have.Live.Version + " is live and not in the journal: released outside, or where no journal was"
			if have.Live.SecretsSince > 0 {
				r.Journal = "version " + have.Live.Version + " is live and not in the journal: a secret was changed since the release"
			}
		}
		r.Hold = at.heldNow(ctx, src, engine)
		return r
	}
	if at.flags.planDigest != "" && plan.Digest() != at.flags.planDigest {
		return result(slug, plan, nil, &stalePlan{want: at.flags.planDigest, have: plan.Digest()})
	}
	if plan.Changes() && !deploy.Findings(plan.Findings).Blocking() {
		if f := at.frozen(src); f != nil && !at.flags.throughFreeze {
			return result(slug, plan, nil, deploy.Findings{*f})
		}
		if by, err := at.onGitHub(ctx, src); err != nil {
			return result(slug, plan, nil, err)
		} else if by != "" {
			r := result(slug, plan, nil, nil)
			r.Status, r.Reason, r.By = statusSuperseded, statusSuperseded, by
			return r
		}
	}
	outcome, err := engine.Apply(ctx, want, have, plan, func(e deploy.Event) { at.progress.stage(slug, e.Text) })
	return result(slug, plan, outcome, err)
}

// onGitHub makes sure, before anything is written, that GitHub has the commit, since the release is to be found there. In a
// workflow it has to be the tip of the shop's branch; the first result says what that is when it is another: a run may wait
// for hours behind others, and must not bring back what they replaced.
func (at *site) onGitHub(ctx context.Context, src deploy.Source) (tip string, err error) {
	if at.github == nil {
		return "", nil
	}
	if at.door.workflow == nil {
		at.progress.stage(src.Shop.Slug, "asking whether GitHub has the commit")
		has, err := at.github.Has(ctx, src.Commit)
		if err != nil {
			return "", fmt.Errorf("asking GitHub for commit %s: %w", src.Commit, err)
		}
		if !has {
			return "", Usage(fmt.Errorf("GitHub does not have commit %s; nothing was written", src.Commit),
				"push "+src.Shop.Branch+" first: what is released is to be found again; or deploy with --no-journal")
		}
		return "", nil
	}
	at.progress.stage(src.Shop.Slug, "asking whether the commit is still the branch's")
	tip, err = at.github.Tip(ctx, src.Shop.Branch)
	if err != nil {
		return "", fmt.Errorf("asking for the tip of %s: %w", src.Shop.Branch, err)
	}
	if tip == src.Commit {
		return "", nil
	}
	return tip, nil
}

// frozen is a freeze of fleet.yml that the shop is in now; nil when there is none.
func (at *site) frozen(src deploy.Source) *deploy.Finding {
	now := at.door.Now()
	f, ok := src.Policy.Frozen(src.Shop.Slug, now)
	if !ok {
		return nil
	}
	return &deploy.Finding{
		Rule: "shop-frozen", Level: deploy.LevelError, File: policyFile,
		Message: fmt.Sprintf("%s is not deployed until %s, freeze %s: %s", src.Shop.Slug, f.Ends(now).UTC().Format("2006-01-02 15:04 UTC"), f.Name, f.Reason),
		Hint:    "deploy again when it is over; on a terminal, --through-freeze deploys all the same",
	}
}

// heldNow says of a plan why it would not be carried out now; "" when it would.
func (at *site) heldNow(ctx context.Context, src deploy.Source, engine *deploy.Engine) string {
	if f := at.frozen(src); f != nil {
		return f.Message
	}
	if engine.Holds == nil {
		return ""
	}
	held, err := engine.Holds.Held(ctx, src.Shop)
	switch {
	case err != nil:
		return "nobody can tell whether the shop is held: GitHub does not say"
	case held != nil:
		return held.Finding(src.Shop).Message
	}
	return ""
}

type stalePlan struct{ want, have string }

func (e *stalePlan) Error() string {
	return fmt.Sprintf("the plan is %s now, not %s: the branch or the account changed since it was shown", e.have, e.want)
}
func (e *stalePlan) Hint() string {
	return "look at the new plan with shopfleet plan, then deploy that"
}

// asJSON prints an error that came before any shop as a JSON document too, so
// that a program never has to read prose.
func (d *Door) asJSON(asJSON bool, err error) error {
	var printed *resultError
	if !asJSON || err == nil || errors.As(err, &printed) {
		return err
	}
	page := struct {
		Exit     int              `json:"exit_code"`
		Error    string           `json:"error,omitempty"`
		Findings []deploy.Finding `json:"findings,omitempty"`
		Hint     string           `json:"hint,omitempty"`
	}{Exit: exitCode(err), Findings: findings(err)}
	if page.Findings == nil {
		page.Error = report.Clean(oneLine(err.Error()))
	}
	page.Hint = hintOf(err)
	if printErr := report.JSON(d.Stdout, page); printErr != nil {
		return fmt.Errorf("printing the result: %w", printErr)
	}
	return &resultError{code: page.Exit}
}

// engines makes one engine for each Cloudflare account. Accounts whose token
// is the same share its budget.
func (d *Door) engines(accounts []fleet.Account, readOnly bool, rehearsals *deploy.Rehearsals) (map[string]*deploy.Engine, error) {
	engines := map[string]*deploy.Engine{}
	budgets := d.budgets
	if budgets == nil {
		budgets = new(cloudflare.Budgets)
	}
	gate := &deploy.Gate{EdgeURL: d.Getenv("SHOPFLEET_EDGE_URL"), Transport: d.Transport, Now: d.Now}
	for _, account := range accounts {
		if engines[account.ID] != nil {
			continue
		}
		token := d.Getenv(account.Token)
		if token == "" {
			return nil, Usage(fmt.Errorf("no API token for account %s", account.Name),
				"set "+account.Token+" to a Cloudflare API token; shopfleet sim prints one for its world")
		}
		if d.workflow != nil {
			d.mask(d.workflow, token) // fleet.yml may name any variable
		}
		client := &cloudflare.Client{
			BaseURL:   d.Getenv("CLOUDFLARE_API_BASE_URL"),
			AccountID: account.ID,
			Token:     cloudflare.Secret(token),
			Budget:    budgets.For(cloudflare.Secret(token)),
			Transport: d.Transport,
			UserAgent: "shopfleet/" + d.Version,
		}
		if readOnly {
			client = client.ReadOnly()
		}
		engines[account.ID] = &deploy.Engine{CF: client, Gate: gate, Rehearsals: rehearsals, Now: d.Now}
	}
	return engines, nil
}

// completeShops completes slugs from the branches of the repository.
func (d *Door) completeShops(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var f policyFlags
	var err error
	for name, value := range map[string]*string{"main": &f.main, "config": &f.config} {
		if *value, err = cmd.Flags().GetString(name); err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
	}
	fl, err := d.open(cmd.Context(), f)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer fl.close()
	slugs, err := fl.choose(cmd.Context(), nil, true)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.DeleteFunc(slugs, func(s string) bool { return slices.Contains(args, s) }), cobra.ShellCompDirectiveNoFileComp
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
