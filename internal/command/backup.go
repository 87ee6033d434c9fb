package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/transfer"
)

// backupFlags are those of backup and what is below it.
type backupFlags struct {
	all, json      bool
	place          string // --to, or --from
	at             string
	keep, parallel int
	policy         policyFlags
}

func (d *Door) backup() *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use:   "backup [shop...] --to DIR|NAME",
		Short: "Back up what shops keep: D1, KV and R2",
		Long: `Back up everything that shops keep: the rows of D1, the keys of KV with their
metadata and expiry, the objects of R2 with their headers. Shops are only read.

--to is a folder, or a name from backups of fleet.yml: an R2 bucket, best of
another account, with a token of its own. A manifest with the SHA-256 of every
file is written last; a backup without one is none, and what was cut off is used
by the next one. Objects that the backup before has are not read again.

Of the database the file is loaded and compared with the live one, table by table.
The three stores are not of one instant: hold the shop first where that matters.

Secrets are no part of it. Config and code are in git.`,
		Example: `  shopfleet backup swicked --to ./backups
  shopfleet backup --all --to nightly --keep 14
  shopfleet backup list --from nightly`,
		ValidArgsFunction: d.completeShops,
		// Words after it are shops, not misspelt verbs.
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.runBackup(cmd.Context(), args, f))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "every shop that has a branch")
	flags.StringVar(&f.place, "to", "", "the `place`: a folder, or a name from backups of fleet.yml")
	flags.IntVar(&f.keep, "keep", 0, "afterwards delete all but the newest `n` of each shop that was backed up; 0 deletes none")
	flags.IntVar(&f.parallel, "parallel", 4, "how many shops to work on at once")
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	f.policy.add(cmd)
	cmd.AddCommand(d.backupList(), d.backupVerify())
	return cmd
}

func (d *Door) runBackup(ctx context.Context, args []string, f backupFlags) (err error) {
	switch {
	case f.place == "":
		return Usage(errors.New("--to is needed"), "name a folder (./backups), or one of the backups of fleet.yml")
	case f.parallel < 1 || f.keep < 0:
		return Usage(errors.New("--parallel is at least 1, --keep at least 0"), "shopfleet backup --help")
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
	results := make([]report.BackedUp, len(slugs))
	errs := make([]error, len(slugs))
	sources := make([]deploy.Source, len(slugs))
	var accounts []fleet.Account
	for i, slug := range slugs {
		if sources[i], errs[i] = c.configOf(ctx, slug); errs[i] == nil {
			accounts = append(accounts, sources[i].Shop.Account)
		}
	}
	engines, err := d.engines(accounts, true, nil)
	if err != nil {
		return err
	}
	store, err := d.place(c.policy, f.place, false)
	if err != nil {
		return err
	}
	progress := d.newProgress(len(slugs))
	var group errgroup.Group
	group.SetLimit(f.parallel)
	for i, slug := range slugs {
		group.Go(func() error {
			began := d.Now()
			r := report.BackedUp{Shop: slug, Status: statusBackedUp}
			if errs[i] == nil {
				tell := newPacer(d, func(text string) { progress.stage(slug, text) })
				r.Manifest, r.Pruned, errs[i] = d.backUp(ctx, c.policy, sources[i], engines[sources[i].Shop.Account.ID], store, f.keep, tell)
			}
			if errs[i] != nil {
				r.Status, r.Findings = statusFailed, findings(errs[i])
				if r.Findings != nil {
					r.Status = statusFindings
				} else {
					r.Error, r.Hint = report.Clean(oneLine(errs[i].Error())), hintOf(errs[i])
				}
			}
			r.Seconds = d.Now().Sub(began).Seconds()
			results[i] = r
			progress.done(shopResult{Shop: slug, Status: r.Status})
			return nil
		})
	}
	_ = group.Wait() // every shop carries its own error
	progress.finish()
	return d.sayBackups(results, errs, f)
}

const statusBackedUp = "backed-up"

// newPacer is a transfer.Progress that says what is new, and how far it came now and then.
func newPacer(d *Door, say func(string)) transfer.Progress {
	var last string
	var shown time.Time
	return func(doing string, done, total int64) {
		now := d.Now()
		if doing == last && now.Sub(shown) < 5*time.Second {
			return
		}
		last, shown = doing, now
		if total > 0 && done > 0 {
			doing += fmt.Sprintf(" (%.0f %%)", 100*float64(done)/float64(total))
		}
		say(doing)
	}
}

// backUp backs up one shop, and prunes what it has too many.
func (d *Door) backUp(ctx context.Context, policy *fleet.Policy, src deploy.Source, e *deploy.Engine, store transfer.Store, keep int, tell transfer.Progress) (*transfer.Manifest, []string, error) {
	shop, err := d.suitcase(ctx, policy, src, e, nil)
	if err != nil {
		return nil, nil, err
	}
	m, err := transfer.Backup(ctx, shop, store, transfer.Manifest{At: d.Now(), Commit: src.Commit, Account: src.Shop.Account.ID, Tool: "shopfleet " + d.Version}, tell)
	if err != nil || keep == 0 {
		return m, nil, err
	}
	gone, err := transfer.Prune(ctx, store, src.Shop.Slug, keep, m.At, "")
	if err != nil {
		err = fmt.Errorf("the backup %s is complete; deleting older ones: %w", m.Stamp(), err)
	}
	return m, gone, err
}

// sayBackups prints what became of the shops.
func (d *Door) sayBackups(results []report.BackedUp, errs []error, f backupFlags) error {
	exit := ExitDone
	var loose []deploy.Finding
	for i, err := range errs {
		exit = max(exit, exitCode(err))
		loose = append(loose, results[i].Findings...)
	}
	if d.workflow != nil {
		d.workflow.loose = append(d.workflow.loose, loose...)
		d.workflow.page = report.BackupsMarkdown(results, f.place)
	}
	var err error
	if f.json {
		err = report.JSON(d.Stdout, struct {
			Exit    int               `json:"exit_code"`
			To      string            `json:"to"`
			Backups []report.BackedUp `json:"backups"`
		}{exit, f.place, results})
	} else {
		err = report.Backups(d.Stdout, d.resultStyle(), results, f.place)
	}
	if err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	if exit != ExitDone {
		return &resultError{code: exit}
	}
	return nil
}

func (d *Door) backupList() *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use:   "list [shop] --from DIR|NAME",
		Short: "List the backups of a shop, or of all",
		Long: `List the complete backups of a shop, or of all shops, the oldest first.

--from is a folder, or a name from backups of fleet.yml.`,
		Example:           "  shopfleet backup list swicked --from nightly",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.listBackups(cmd.Context(), args, f))
		},
	}
	f.addFrom(cmd)
	return cmd
}

func (f *backupFlags) addFrom(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.place, "from", "", "the `place`: a folder, or a name from backups of fleet.yml")
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON document")
	f.policy.add(cmd)
}

func (d *Door) listBackups(ctx context.Context, args []string, f backupFlags) (err error) {
	store, c, err := d.placeAlone(ctx, f.place, f.policy, true)
	if err != nil {
		return err
	}
	if c != nil {
		defer func() { err = errors.Join(err, c.close()) }()
	}
	slug := ""
	if len(args) == 1 {
		if slug = args[0]; fleet.CheckSlug(slug) != nil {
			return fleet.CheckSlug(slug)
		}
	}
	list, err := transfer.Backups(ctx, store, slug)
	if err != nil {
		return err
	}
	if f.json {
		return report.JSON(d.Stdout, struct {
			Exit    int              `json:"exit_code"`
			Backups []transfer.Taken `json:"backups"`
		}{ExitDone, append([]transfer.Taken{}, list...)})
	}
	return report.BackupList(d.Stdout, list)
}

func (d *Door) backupVerify() *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use:   "verify <shop> --from DIR|NAME",
		Short: "Read a whole backup and compare it with its manifest",
		Long: `Read a whole backup: every file is held against its SHA-256, the database is
loaded and its tables are held against their counts and checksums. Nothing of a
live shop is asked.

--at takes the newest backup that is as old, such as 2026-11-23; without it the
newest one is read.`,
		Example:           "  shopfleet backup verify swicked --from nightly\n  shopfleet backup verify swicked --from ./backups --at 2026-11-23",
		Args:              oneShop,
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.verifyBackup(cmd.Context(), args[0], f))
		},
	}
	cmd.Flags().StringVar(&f.at, "at", "", "a `time`: the newest backup at or before it")
	f.addFrom(cmd)
	return cmd
}

func (d *Door) verifyBackup(ctx context.Context, slug string, f backupFlags) (err error) {
	if err := fleet.CheckSlug(slug); err != nil {
		return err
	}
	store, c, err := d.placeAlone(ctx, f.place, f.policy, true)
	if err != nil {
		return err
	}
	if c != nil {
		defer func() { err = errors.Join(err, c.close()) }()
	}
	m, err := findBackup(ctx, store, slug, f.at)
	if err != nil {
		return err
	}
	meter := d.newMeter(slug)
	checked, err := transfer.Verify(ctx, store, m, "", meter.tell)
	meter.finish()
	if err != nil {
		return err
	}
	if f.json {
		return report.JSON(d.Stdout, struct {
			Exit     int                `json:"exit_code"`
			Verified *transfer.Checked  `json:"verified"`
			Manifest *transfer.Manifest `json:"manifest"`
		}{ExitDone, checked, m})
	}
	return report.BackupVerified(d.Stdout, d.resultStyle(), checked)
}

// findBackup is transfer.FindBackup; a time that is none is the caller's mistake.
func findBackup(ctx context.Context, store transfer.Store, slug, at string) (*transfer.Manifest, error) {
	m, err := transfer.FindBackup(ctx, store, slug, at)
	var noTime *transfer.TimeError
	if errors.As(err, &noTime) {
		return nil, Usage(fmt.Errorf("--at: %w", err), noTime.Hint())
	}
	return m, err
}
