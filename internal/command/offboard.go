package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/provision"
	"github.com/kvick/shopfleet/internal/report"
)

// offboardFlags are those of offboard.
type offboardFlags struct {
	departFlags
	to                  string
	delete, cancel, now bool
}

func (d *Door) offboard() *cobra.Command {
	var f offboardFlags
	cmd := &cobra.Command{
		Use:   "offboard <shop>",
		Short: "Take a shop out of the fleet: exported, closed, and after a time deleted",
		Long: `Take a shop out of the fleet. At first nothing is lost: the shop is held, exported
to a folder or to a place of backups in fleet.yml, and closed. Closed means that
everything is still there and nobody can reach it: no hostname, no cron, no
workers.dev. What was written until then is in the export.

After the time that fleet.yml gives under offboard.grace (30 days by default) the
same verb with --delete deletes the Worker, then the DNS record, KV, the bucket and
last the database, and takes the environment and the branch from GitHub. The branch
stays as refs/shopfleet/left/<slug>. Before that the export is read again, and the
shop's name has to be typed. The proof says what was deleted, and that the other
shops of the account have after it what they had before.

Until then --cancel opens the shop again. All of it can be run again after a
failure, and goes on where it was.

` + holdHelp,
		Example:           "  shopfleet offboard swicked --to vault\n  shopfleet offboard swicked --cancel\n  shopfleet offboard swicked --delete --html proof.html",
		Args:              oneShop,
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.runOffboard(cmd.Context(), args[0], f))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "where the export goes, and is: a `folder`, or the name of a place in fleet.yml")
	flags.BoolVar(&f.delete, "delete", false, "delete a shop that is closed, when its time is over")
	flags.BoolVar(&f.cancel, "cancel", false, "open a shop that is closed again")
	flags.BoolVar(&f.now, "now", false, "with --delete at a terminal: do not wait for the end of its time")
	f.departFlags.add(cmd)
	return cmd
}

func (d *Door) runOffboard(ctx context.Context, slug string, f offboardFlags) (err error) {
	a := asked{verb: verbOffboard, what: askGo, slug: slug, at: d.Now(), now: f.now}
	switch {
	case f.delete && f.cancel:
		return Usage(errors.New("--delete and --cancel do not go together"), "leave out one or the other")
	case f.now && !f.delete:
		return Usage(errors.New("--now goes with --delete"), "a shop is closed at once in any case")
	case f.now && (!d.Asks || d.workflow != nil || d.order != nil):
		return Usage(errors.New("--now is for a person at a terminal"), "wait until the time is over")
	case f.delete:
		a.what = askDelete
	case f.cancel:
		a.what = askCancel
	}
	return d.goOffboard(ctx, a, f)
}

func (d *Door) goOffboard(ctx context.Context, a asked, f offboardFlags) (err error) {
	x, err := d.depart(ctx, a, f.departFlags)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.c.close()) }()
	x.to = f.to
	return x.end(x.offboard(ctx))
}

// offboard goes on with it, as far as was asked for.
func (x *departure) offboard(ctx context.Context) error {
	if x.hold == nil && x.asked.what == askDelete {
		proof, err := x.kept(ctx)
		if err != nil {
			return err
		}
		if proof != nil && x.tip == "" {
			x.page.Proof, x.page.Status = proof, report.DepartureDeleted
			return nil
		}
	}
	if x.hold == nil && x.tip == "" {
		return Usage(fmt.Errorf("shop %s has no branch %s", x.slug, x.branch), "see git branch --all; what left before is under "+leftRefs+" on GitHub")
	}
	if x.flags.plan && x.asked.what == askGo {
		return x.planOffboard(ctx)
	}
	if err := x.walk(ctx, x.takeOffboard); err != nil {
		return err
	}
	if l := x.leaving(); l != nil && l.Stage == stageClosed {
		x.page.Status = report.DepartureClosed
	}
	return nil
}

// planOffboard shows what will be closed and, later, deleted.
func (x *departure) planOffboard(ctx context.Context) error {
	if x.hold != nil && x.hold.Leaving == nil {
		return x.held(x.hold)
	}
	if _, _, err := x.place(x.to); err != nil {
		return err
	}
	shop, err := x.c.policy.Shop(x.slug)
	if err != nil {
		return err
	}
	have, err := x.look(ctx, shop)
	if err != nil {
		return err
	}
	x.page.Closes, x.page.Deletes = provision.PlanClose(shop, have), provision.PlanDelete(shop, have)
	x.page.Digest = x.page.Deletes.Digest()
	if list := deploy.Findings(x.page.Deletes.Findings); list.Blocking() {
		return list
	}
	x.page.Notes = append(x.page.Notes, "what is done later is done "+x.grace()+" after it was closed at the earliest, when its name is typed")
	return nil
}

// grace is in whole days where it can be.
func (x *departure) grace() string {
	if g := x.c.policy.Offboard.Grace; g == 0 || g%(24*time.Hour) != 0 {
		return g.String()
	}
	return fmt.Sprintf("%d days", x.c.policy.Offboard.Grace/(24*time.Hour))
}

// takeOffboard does one step.
func (x *departure) takeOffboard(ctx context.Context, s stride) error {
	var l leaving
	if now := x.leaving(); now != nil {
		l = *now
	}
	switch s {
	case stepHold:
		if _, _, err := x.place(x.to); err != nil { // before anything is written
			return err
		}
		shop, err := x.c.policy.Shop(x.slug)
		if err != nil {
			return err
		}
		return x.step(ctx, "holding it", func(ctx context.Context) error {
			return x.save(ctx, leaving{Verb: verbOffboard, Stage: stageHeld, Account: shop.Account.Name, Commit: x.tip})
		})
	case stepBackup:
		return x.step(ctx, "exporting it", func(ctx context.Context) (err error) {
			if l.Backup, err = x.export(ctx, l); err != nil {
				return err
			}
			l.Stage = stageBackedUp
			return x.save(ctx, l)
		})
	case stepClose:
		err := x.step(ctx, "closing it", func(ctx context.Context) error { return x.close(ctx, l.Account) })
		if err != nil {
			return err
		}
		l.Closed = x.door.Now().UTC().Truncate(time.Second)
		l.Due = l.Closed.Add(x.c.policy.Offboard.Grace)
		// What was written while the first export was made is in this one, which is what is kept.
		return x.step(ctx, "exporting what came since", func(ctx context.Context) (err error) {
			if l.Backup, err = x.export(ctx, l); err != nil {
				return err
			}
			l.Stage = stageClosed
			return x.save(ctx, l)
		})
	case stepReopen:
		if x.flags.plan {
			x.page.Notes = append(x.page.Notes, "the tip of "+x.branch+" is deployed, which gives it its hostnames and crons back, and the hold is lifted")
			return nil
		}
		if err := x.save(ctx, l.before(s)); err != nil {
			return err
		}
		if err := x.step(ctx, "opening it again", func(ctx context.Context) error { return x.deploy(ctx, l.Account, x.tip, false) }); err != nil {
			return err
		}
		x.page.Status = report.DepartureOpen
		return x.lift(ctx)
	case stepDelete:
		return x.delete(ctx)
	}
	return fmt.Errorf("offboard has no step %q", s)
}
