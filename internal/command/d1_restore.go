package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/report"
)

// restoreFlags are those of d1 restore.
type restoreFlags struct {
	to, yes string
	policy  policyFlags
	json    bool
}

func (d *Door) d1Restore() *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use:   "restore <shop> --to <bookmark|time|age|version>",
		Short: "Put a shop's database back to an earlier state",
		Long: `Put a shop's database back to an earlier state, in place. What would be lost is
shown first, table by table; without --yes it ends there, with exit code 2.

--to takes a bookmark, a time (2026-11-23T09:30:00Z, or "2026-11-23 09:30" in
UTC), an age (90m, 2h, 3d), or a version id of the shop's Worker: the last state
of the database before the next release took that version's place.

Only the database goes back. Code, crons, files in R2, entries in KV and what was
sent to others stay. A bookmark of the present is printed before anything is
written; restoring that undoes the restore.

` + sourceHelp,
		Example: "  shopfleet d1 restore swicked --to 2h\n  shopfleet d1 restore swicked --to 134ea8a4 --yes swicked",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return Usage(fmt.Errorf("d1 restore takes one shop, got %d", len(args)), "run "+cmd.CommandPath()+" --help")
			}
			return nil
		},
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.restore(cmd.Context(), args[0], f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "the `state` to go back to")
	flags.StringVar(&f.yes, "yes", "", "do it; repeat the shop's `name`")
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	f.policy.add(cmd)
	return cmd
}

// restoreResult is what became of a restore, as --json prints it.
type restoreResult struct {
	Exit     int                 `json:"exit_code"`
	Shop     string              `json:"shop"`
	Status   string              `json:"status"` // "planned", "unchanged", "restored", "findings" or "failed"
	Plan     *deploy.RestorePlan `json:"plan,omitempty"`
	Digest   string              `json:"plan_digest,omitempty"`
	Outcome  *deploy.Restored    `json:"outcome,omitempty"`
	Findings []deploy.Finding    `json:"findings,omitempty"`
	Error    string              `json:"error,omitempty"`
	Hint     string              `json:"hint,omitempty"`
}

// restore plans, and carries the plan out when the shop's name is repeated.
func (d *Door) restore(ctx context.Context, slug string, f restoreFlags) error {
	r := &restoreResult{Shop: slug, Status: statusFailed}
	err := d.tryRestore(ctx, f, r)
	if !f.json {
		return err
	}
	r.Exit, r.Findings = exitCode(err), findings(err)
	switch {
	case r.Findings != nil:
		r.Status = statusFindings
	case err != nil:
		r.Error, r.Hint = report.Clean(oneLine(err.Error())), hintOf(err)
	}
	if err := report.JSON(d.Stdout, r); err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	if r.Exit != ExitDone {
		return &resultError{code: r.Exit}
	}
	return nil
}

// tryRestore fills r as far as it comes, and prints the pages for people as they are ready: the plan before anything is
// written, the outcome after.
func (d *Door) tryRestore(ctx context.Context, f restoreFlags, r *restoreResult) (err error) {
	if f.yes != "" && f.yes != r.Shop {
		return Usage(fmt.Errorf("--yes names %q, the shop is %q; nothing was done", f.yes, r.Shop), "look twice which shop is meant")
	}
	target, err := deploy.ParseRestoreTarget(f.to, d.Now())
	if err != nil {
		return Usage(fmt.Errorf("--to: %w", err), "give "+deploy.RestoreTargetForms)
	}
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	src, err := c.configOf(ctx, r.Shop)
	if err != nil {
		return err
	}
	db, err := deploy.OwnDatabase(src)
	if err != nil {
		return err
	}
	planner, err := d.engines([]fleet.Account{src.Shop.Account}, true, nil)
	if err != nil {
		return err
	}
	want := deploy.RestoreWant{Shop: src.Shop, Database: db, Target: target}
	if r.Plan, err = planner[src.Shop.Account.ID].PlanRestore(ctx, want); err != nil {
		return err
	}
	r.Digest, r.Status = r.Plan.Digest(), statusPlanned
	style := report.Style{}
	if d.Terminal {
		style = d.style()
	}
	show := func(write func(*bytes.Buffer) error) error {
		if f.json {
			return nil
		}
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return err
		}
		if _, err := d.Stdout.Write(b.Bytes()); err != nil {
			return fmt.Errorf("printing the result: %w", err)
		}
		return nil
	}
	if err := show(func(b *bytes.Buffer) error { return report.RestorePlan(b, style, r.Plan) }); err != nil {
		return err
	}
	switch {
	case !r.Plan.Changes():
		r.Status = statusUnchanged
		return nil
	case f.yes == "":
		hint := "add --yes " + r.Shop
		if target.Bookmark == "" {
			hint += "; --to " + r.Plan.Bookmark + " stays the state that is shown here"
		}
		return Usage(errors.New("nothing was restored: a restore needs --yes with the shop's name"), hint)
	}
	engines, err := d.engines([]fleet.Account{src.Shop.Account}, false, nil)
	if err != nil {
		return err
	}
	// Straight to standard error, line by line: the way back must stay on the screen whatever happens next.
	tell := func(e deploy.Event) { fmt.Fprintf(d.Stderr, "%s: %s\n", report.Clean(r.Shop), report.Clean(e.Text)) }
	r.Status = statusFailed
	r.Outcome, err = engines[src.Shop.Account.ID].Restore(ctx, src.Shop, r.Plan, tell)
	if err != nil {
		return err
	}
	if r.Status = statusRestored; !r.Outcome.Changed {
		r.Status = statusUnchanged
	}
	return show(func(b *bytes.Buffer) error { return report.Restored(b, style, r.Outcome) })
}

// configOf reads the config at a shop's branch. Nothing is extracted or built: a shop whose code does not build can still
// be restored.
func (c *checkout) configOf(ctx context.Context, slug string) (deploy.Source, error) {
	shop, err := c.policy.Shop(slug)
	if err != nil {
		return deploy.Source{}, err
	}
	i := slices.IndexFunc(c.tips, func(b git.Branch) bool { return b.Name == shop.Branch })
	if i < 0 {
		return deploy.Source{}, Usage(fmt.Errorf("shop %s has no branch %s", slug, shop.Branch), "see git branch --all; git fetch origin gets what others pushed")
	}
	files, err := c.repo.Files(ctx, configFile, c.tips[i].Commit())
	if err != nil {
		return deploy.Source{}, err
	}
	src := deploy.Source{Policy: c.policy, Shop: shop, Commit: c.tips[i].Commit(), Dir: c.repo.Dir, ConfigName: configFile, Config: files[0].Data}
	switch {
	case errors.Is(files[0].Err, fs.ErrNotExist):
		return src, deploy.Findings{{
			Rule: "overlay-missing", Level: deploy.LevelError, File: configFile, Message: fmt.Sprintf("branch %s has no %s", shop.Branch, configFile),
			Expected: configFile + " with env." + shop.Slug, Hint: "commit a " + configFile + " to the branch",
		}}
	case files[0].Err != nil:
		return src, fmt.Errorf("reading %s of %s: %w", configFile, shop.Branch, files[0].Err)
	}
	return src, nil
}
