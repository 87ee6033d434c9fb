package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/report"
)

func (d *Door) releases() *cobra.Command {
	var policy policyFlags
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "releases <shop>",
		Short: "List a shop's releases, and which of them are known good",
		Long: `List a shop's releases as the journal has them, newest first: GitHub Deployments
of environment shop-<slug>. A release that passed its gate is known good. The
live version is marked; when the journal does not know it, that is said first.

It needs a token for GitHub (GITHUB_TOKEN or GH_TOKEN, deployments: read) and one
for the account.`,
		Example:           "  shopfleet releases swicked\n  shopfleet releases swicked --limit 3 --json",
		Args:              oneShop,
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > journalDepth {
				return d.asJSON(asJSON, Usage(fmt.Errorf("--limit is %d", limit), fmt.Sprintf("give a number from 1 to %d; GitHub's page of the environment has all", journalDepth)))
			}
			return d.asJSON(asJSON, d.listReleases(cmd.Context(), args[0], policy, limit, asJSON))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.Flags().IntVar(&limit, "limit", 10, "how many to list")
	policy.add(cmd)
	return cmd
}

// release is an entry as it is listed.
type release struct {
	deploy.Release
	ID      string          `json:"id"`
	Created time.Time       `json:"created"`
	Creator string          `json:"creator,omitempty"`
	Live    bool            `json:"live"`
	Stands  deploy.Standing `json:"standing"`
}

// recorded is what is needed to read a shop's releases: the journal, and the account that they happened in.
func (d *Door) recorded(ctx context.Context, slug string, policy policyFlags) (shop fleet.Shop, j *journal, e *deploy.Engine, err error) {
	c, err := d.open(ctx, policy)
	if err != nil {
		return shop, nil, nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if shop, err = c.policy.Shop(slug); err != nil {
		return shop, nil, nil, err
	}
	client, err := d.github(ctx, c, toList())
	if err != nil {
		return shop, nil, nil, err
	}
	if client == nil {
		return shop, nil, nil, Usage(errors.New("there is no journal without GitHub"), "set GITHUB_TOKEN; GITHUB_REPOSITORY names the repository where origin does not")
	}
	engines, err := d.engines([]fleet.Account{shop.Account}, true, nil)
	if err != nil {
		return shop, nil, nil, err
	}
	return shop, &journal{client: client}, engines[shop.Account.ID], nil
}

func (d *Door) listReleases(ctx context.Context, slug string, policy policyFlags, limit int, asJSON bool) (err error) {
	shop, j, engine, err := d.recorded(ctx, slug, policy)
	if err != nil {
		return err
	}
	var entries []deploy.Release
	var live deploy.Live
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		entries, err = j.Releases(gctx, shop)
		return err
	})
	group.Go(func() (err error) {
		live, err = engine.Live(gctx, shop.Worker)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	entry, known := live.Entry(entries)
	unknown := ""
	if !known {
		unknown = live.Version
	}
	entries = entries[:min(limit, len(entries))]
	list := make([]release, len(entries))
	group, gctx = errgroup.WithContext(ctx)
	group.SetLimit(4) // GitHub wants few requests at a time (contracts/github/wire.md §2e)
	for i, e := range entries {
		list[i] = release{Release: e, ID: e.ID, Created: e.Created, Creator: e.Creator, Live: known && e.ID == entry.ID}
		group.Go(func() (err error) {
			list[i].Stands, err = j.Standing(gctx, e.ID)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if asJSON {
		return report.JSON(d.Stdout, struct {
			Exit     int       `json:"exit_code"`
			Shop     string    `json:"shop"`
			Live     string    `json:"live,omitempty"`
			Outside  bool      `json:"released_outside"`
			Releases []release `json:"releases"`
		}{ExitDone, slug, live.Version, unknown != "", list})
	}
	return d.printReleases(slug, live.Version, unknown, list)
}

func (d *Door) printReleases(slug, live, unknown string, list []release) error {
	style := report.Style{}
	if d.Terminal {
		style = d.style()
	}
	var b bytes.Buffer
	switch {
	case live == "":
		fmt.Fprintf(&b, "%s  nothing is live\n", style.Bold(report.Clean(slug)))
	case unknown != "":
		fmt.Fprintf(&b, "%s  %s version %s is live and not in the journal\n", style.Bold(report.Clean(slug)), style.Yellow("released outside:"), report.Clean(live))
	default:
		fmt.Fprintf(&b, "%s  version %s is live\n", style.Bold(report.Clean(slug)), report.Clean(live))
	}
	for _, r := range list {
		state := string(r.Stands.State)
		switch {
		case r.Live && (state == "" || state == string(deploy.StateInProgress)):
			state = "not known to be good"
		case state == "" || state == string(deploy.StateInProgress):
			state = style.Yellow("never finished")
		}
		switch {
		case r.Stands.Passed:
			state = style.Green("known good")
		case r.Stands.State == deploy.StateFailure, r.Stands.State == deploy.StateError:
			state = style.Red(state)
		case r.Outside:
			state = style.Yellow("released outside")
		}
		words := []string{r.Created.UTC().Format("2006-01-02 15:04"), r.VersionID, "entry " + r.ID, state}
		if r.Live {
			words = append(words, style.Bold("live"))
		}
		if r.Commit != "" {
			words = append(words, "commit "+shortID(r.Commit))
		} else {
			words = append(words, "commit unknown")
		}
		if n := len(r.Migrations); n > 0 {
			words = append(words, counted(n, "migration"))
		}
		if r.Creator != "" {
			words = append(words, "by "+r.Creator)
		}
		for i := range words {
			if !strings.HasPrefix(words[i], "\x1b") {
				words[i] = report.Clean(words[i])
			}
		}
		fmt.Fprintf(&b, "  %s\n", strings.Join(words, "  "))
		if (r.Stands.State == deploy.StateFailure || r.Stands.State == deploy.StateError) && r.Stands.Text != "" {
			fmt.Fprintf(&b, "      %s\n", report.Clean(r.Stands.Text))
		}
	}
	if len(list) == 0 {
		fmt.Fprintf(&b, "  the journal has no release of this shop\n")
	}
	_, err := d.Stdout.Write(b.Bytes())
	return err
}

func shortID(id string) string { return id[:min(10, len(id))] }
