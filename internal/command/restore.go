package command

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/transfer"
	"github.com/kvick/shopfleet/internal/wrangler"
)

func (d *Door) restoreShop() *cobra.Command {
	var f backupFlags
	var of string
	var only []string
	cmd := &cobra.Command{
		Use:   "restore <shop> --from DIR|NAME",
		Short: "Fill an empty shop from a backup",
		Long: `Fill an empty shop from a backup: D1, KV and R2. The shop exists already, such as
after shopfleet onboard, and has nothing in it: nothing is ever overwritten. A
database that has exactly what the shop's migrations make counts as empty.

The backup is held against its checksums before anything is written, and tables,
keys and objects are compared afterwards. It may be stopped anywhere and run again.

--of takes the backup of another shop; whose the stores are stays as it is. Keys
whose time has come are left out. --only restores one or two of the three, where
the others live on.

To put the database of a living shop back to an earlier state, see
shopfleet d1 restore.

` + sourceHelp,
		Example: `  shopfleet restore swicked --from nightly
  shopfleet restore swicked-copy --from ./backups --of swicked --at "2026-11-23 09:30"`,
		Args:              oneShop,
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.runRestore(cmd.Context(), args[0], of, only, f))
		},
	}
	cmd.Flags().StringVar(&f.at, "at", "", "a `time`: the newest backup at or before it")
	cmd.Flags().StringVar(&of, "of", "", "the `shop` whose backup it is, when it is another one")
	cmd.Flags().StringSliceVar(&only, "only", nil, "restore only these `stores`: d1, kv, r2")
	f.addFrom(cmd)
	return cmd
}

func (d *Door) runRestore(ctx context.Context, slug, of string, only []string, f backupFlags) (err error) {
	if f.place == "" {
		return Usage(errors.New("--from is needed"), "name a folder (./backups), or one of the backups of fleet.yml")
	}
	if of == "" {
		of = slug
	}
	if err := fleet.CheckSlug(of); err != nil {
		return err
	}
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	src, err := c.configOf(ctx, slug)
	if err != nil {
		return err
	}
	store, err := d.place(c.policy, f.place, true)
	if err != nil {
		return err
	}
	m, err := findBackup(ctx, store, of, f.at)
	if err != nil {
		return err
	}
	if err := keepOnly(m, only); err != nil {
		return err
	}
	engines, err := d.engines([]fleet.Account{src.Shop.Account}, false, nil)
	if err != nil {
		return err
	}
	shop, err := d.suitcase(ctx, c.policy, src, engines[src.Shop.Account.ID], d.freshOf(ctx, c, slug))
	if err != nil {
		return err
	}
	began := d.Now()
	meter := d.newMeter(slug)
	out, err := transfer.RestoreInto(ctx, store, m, shop, meter.tell)
	meter.finish()
	if err != nil && (out == nil || findings(err) == nil) {
		return err
	}
	return d.sayRestored(slug, out, err, d.Now().Sub(began).Seconds(), f.json)
}

// keepOnly takes out of a manifest what is not to be restored.
func keepOnly(m *transfer.Manifest, only []string) error {
	for _, name := range only {
		if !slices.Contains([]string{"d1", "kv", "r2"}, name) {
			return Usage(fmt.Errorf("--only %s is no store", name), "write --only r2, or --only kv,r2")
		}
	}
	if len(only) == 0 {
		return nil
	}
	if !slices.Contains(only, "d1") {
		m.D1 = nil
	}
	if !slices.Contains(only, "kv") {
		m.KV = nil
	}
	if !slices.Contains(only, "r2") {
		m.R2 = nil
	}
	return nil
}

// freshOf are the migrations of a shop's branch. A branch that cannot be made ready can still be restored, into a database
// without tables.
func (d *Door) freshOf(ctx context.Context, c *checkout, slug string) []wrangler.Migration {
	c.unbuilt = true
	sources, problems := c.sources(ctx, []string{slug})
	err := problems[slug]
	var files []wrangler.Migration
	if err == nil {
		_, files, err = deploy.OwnMigrations(sources[slug])
	}
	if err != nil {
		fmt.Fprintf(d.Stderr, "%s: its migrations cannot be read, so only a database without tables counts as empty\n", report.Clean(slug))
		return nil
	}
	return files
}

// sayRestored prints what came back, and what could not.
func (d *Door) sayRestored(slug string, out *transfer.Restored, err error, seconds float64, asJSON bool) error {
	page := report.Unpacked{Exit: exitCode(err), Shop: slug, Restored: out, Findings: findings(err), Seconds: seconds}
	if d.workflow != nil {
		d.workflow.loose = append(d.workflow.loose, page.Findings...)
	}
	var printed error
	if asJSON {
		printed = report.JSON(d.Stdout, page)
	} else {
		printed = report.Restoration(d.Stdout, d.resultStyle(), page)
	}
	if printed != nil {
		return fmt.Errorf("printing the result: %w", printed)
	}
	if page.Exit != ExitDone {
		return &resultError{code: page.Exit}
	}
	return nil
}
