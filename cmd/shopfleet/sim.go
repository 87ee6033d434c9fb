//go:build !noworld

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/github"
)

// sim is the verb that plays the account for wrangler, for shopfleet and for
// people who want to look around.
func (w *world) sim() *cobra.Command {
	var dir, api, edge, checkout string
	var withGitHub bool
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Play a Cloudflare account, and GitHub, on localhost",
		Long: `Play a Cloudflare account on localhost, with the shops of the product Helm
waiting to be deployed. The first lines are export commands for a shell, for
wrangler and shopfleet alike; then the simulator stays in the foreground until
it is interrupted.

Worker code runs in a real workerd when one is found: the path in
SHOPFLEET_WORKERD, a workerd on PATH, or the one that "make judges" installs.
Without it static assets are served and code answers 503.

With --github a GitHub is played too, with Helm's repository on it: releases are
then written in the journal there, so a commit has to be pushed before it is
deployed. --checkout makes a clone of it that may push.`,
		Example: `  shopfleet sim --checkout helm > env.sh &
  . ./env.sh && cd helm && shopfleet deploy swicked`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if checkout != "" {
				if !filepath.IsAbs(checkout) {
					checkout = filepath.Join(w.door.Dir, checkout)
				}
				if _, err := os.Stat(checkout); err == nil {
					return command.Usage(fmt.Errorf("%s exists already", checkout), "name a directory that does not")
				}
				if err := repository(cmd.Context(), checkout, w.workerd() != ""); err != nil {
					return err
				}
			}
			log := slog.New(slog.NewTextHandler(w.door.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
			world, err := sim.New(sim.Options{Dir: dir, Workerd: w.workerd(), Log: log})
			if err != nil {
				return err
			}
			defer world.Close()
			home, err := seed(world)
			if err != nil {
				return fmt.Errorf("seeding the world: %w", err)
			}
			at, err := world.Start(api, edge)
			if err != nil {
				return err
			}
			lines := [][2]string{
				{"CLOUDFLARE_API_BASE_URL", at.API},
				{"CLOUDFLARE_API_TOKEN", demoToken},
				{"CLOUDFLARE_ACCOUNT_ID", home.ID},
				{"SHOPFLEET_EDGE_URL", at.Edge},
			}
			if withGitHub {
				hub, err := github.New(github.Options{Log: log, Unlimited: true})
				if err != nil {
					return err
				}
				defer hub.Close()
				more, err := w.startGitHub(cmd.Context(), hub, checkout)
				if err != nil {
					return fmt.Errorf("starting GitHub: %w", err)
				}
				lines = append(lines, more...)
			}
			for _, line := range lines {
				if _, err := fmt.Fprintf(w.door.Stdout, "export %s=%s\n", line[0], line[1]); err != nil {
					return err
				}
			}
			fmt.Fprintf(w.door.Stderr, "simulating account %s (%s); interrupt to stop\n", home.Name, home.ID)
			<-cmd.Context().Done()
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&dir, "dir", "", "keep the world in this `directory` over restarts (default: in memory)")
	flags.StringVar(&api, "api", "", "loopback `address` of the API (default: a free port)")
	flags.StringVar(&edge, "edge", "", "loopback `address` of the shops' hostnames (default: a free port)")
	flags.BoolVar(&withGitHub, "github", false, "play a GitHub too, with Helm's repository on it")
	flags.StringVar(&checkout, "checkout", "", "also write Helm's git repository into this new `directory`")
	return cmd
}

// startGitHub serves a GitHub that has the product's repository, makes it the
// origin of a checkout, and returns the variables that name it.
func (w *world) startGitHub(ctx context.Context, hub *github.World, checkout string) ([][2]string, error) {
	repo, err := publish(ctx, hub, w.workerd() != "")
	if err != nil {
		return nil, err
	}
	at, err := hub.Start("")
	if err != nil {
		return nil, err
	}
	if checkout != "" {
		local, err := git.Open(ctx, checkout)
		if err != nil {
			return nil, err
		}
		if err := local.AddRemote(ctx, "origin", withToken(repo.CloneURL())); err != nil {
			return nil, err
		}
	}
	return [][2]string{
		{"GITHUB_API_URL", at.API},
		{"GITHUB_SERVER_URL", at.Git},
		{"GITHUB_REPOSITORY", repo.Owner + "/" + repo.Name},
		{"GITHUB_TOKEN", demoGitHubToken},
	}, nil
}

// withToken lets git in without asking. The token is that of a world on this machine.
func withToken(clone string) string {
	return strings.Replace(clone, "://", "://x-access-token:"+demoGitHubToken+"@", 1)
}
