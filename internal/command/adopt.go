package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// adoptFlags are those of adopt.
type adoptFlags struct {
	all, dryRun, json bool
	parallel          int
	policy            policyFlags
}

func (d *Door) adopt() *cobra.Command {
	var f adoptFlags
	cmd := &cobra.Command{
		Use:   "adopt [shop...]",
		Short: "Write into shops' Workers and stores whose they are",
		Long: `Write into shops' Workers and stores whose they are, once, so that every later
deploy can hold them against the shop: the resource tag shop=<slug> on Worker,
D1 database, KV namespace and R2 bucket, and an identity record inside of each
store. fleet.yml says under which key, and in which table, the records are.

A shop is adopted when its branch is admitted: every binding is its own by name
and id. What says already that it is another shop's is never overwritten: that
is a finding, and nothing is written for the shop. Other tags are kept. Where
everything is there nothing is written.

The token needs to read and edit resource tags, KV, R2 and D1. Without tags in
the account or the token the records are written alone.

A shop's branch is by default shops/<slug>; fleet.yml is read from the main branch.`,
		Example:           "  shopfleet adopt swicked --dry-run\n  shopfleet adopt --all",
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.adoptShops(cmd.Context(), args, f))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "every shop that has a branch")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show what would be written, and write nothing")
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	flags.IntVar(&f.parallel, "parallel", 16, "how many shops to work on at once")
	f.policy.add(cmd)
	return cmd
}

// adoptShops adopts shops side by side. One that cannot be adopted does not stop the others.
func (d *Door) adoptShops(ctx context.Context, args []string, f adoptFlags) (err error) {
	if f.parallel < 1 {
		return Usage(fmt.Errorf("--parallel is %d", f.parallel), "give a number of at least 1")
	}
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	slugs, err := c.choose(ctx, args, f.all)
	if err != nil {
		return err
	}
	c.unbuilt = true
	sources, problems := c.sources(ctx, slugs)
	var accounts []fleet.Account
	for _, src := range sources {
		accounts = append(accounts, src.Shop.Account)
	}
	engines, err := d.engines(accounts, f.dryRun, nil)
	if err != nil {
		return err
	}
	progress := d.newProgress(len(slugs))
	results := make([]shopResult, len(slugs))
	var group errgroup.Group
	group.SetLimit(f.parallel)
	for i, slug := range slugs {
		group.Go(func() error {
			if src, ok := sources[slug]; ok {
				results[i] = adoptShop(ctx, engines[src.Shop.Account.ID], src, f.dryRun, func(e deploy.Event) { progress.stage(slug, e.Text) })
			} else {
				results[i] = result(slug, nil, nil, problems[slug])
			}
			progress.done(results[i])
			return nil
		})
	}
	_ = group.Wait() // every shop carries its own error
	progress.finish()
	return d.results(results, 0, f.json)
}

func adoptShop(ctx context.Context, e *deploy.Engine, src deploy.Source, dryRun bool, tell func(deploy.Event)) shopResult {
	slug := src.Shop.Slug
	tell(deploy.Event{Text: "reading whose everything is"})
	plan, err := e.PlanAdoption(ctx, src)
	if err == nil && !dryRun {
		_, err = e.ApplyAdoption(ctx, plan, tell)
	}
	if err != nil {
		r := result(slug, nil, nil, err)
		r.Adoption = plan
		return r
	}
	r := shopResult{Shop: slug, Status: statusAdopted, Adoption: plan, Findings: plan.Findings}
	switch {
	case deploy.Findings(plan.Findings).Blocking():
		r.Status = statusFindings
	case len(plan.Writes) == 0:
		r.Status = statusUnchanged
	case dryRun:
		r.Status = statusPlanned
	}
	r.Reason = r.Status
	return r
}
