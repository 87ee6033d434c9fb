package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/sim"
)

// sim is the verb that plays the account for wrangler, for shopfleet and for
// people who want to look around.
func (w *world) sim() *cobra.Command {
	var dir, api, edge, checkout string
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Play a Cloudflare account on localhost",
		Long: `Play a Cloudflare account on localhost, with the shops of the product Helm
waiting to be deployed. The first lines are export commands for a shell, for
wrangler and shopfleet alike; then the simulator stays in the foreground until
it is interrupted.

Worker code runs in a real workerd when one is found: the path in
SHOPFLEET_WORKERD, a workerd on PATH, or the one that "make judges" installs.
Without it static assets are served and code answers 503.`,
		Example: `  shopfleet sim --checkout helm > env.sh &
  . ./env.sh && cd helm && shopfleet deploy swicked`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if checkout != "" {
				if _, err := os.Stat(filepath.Join(w.door.Dir, checkout)); err == nil {
					return command.Usage(fmt.Errorf("%s exists already", checkout), "name a directory that does not")
				}
				if err := repository(cmd.Context(), filepath.Join(w.door.Dir, checkout)); err != nil {
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
			for _, line := range [][2]string{
				{"CLOUDFLARE_API_BASE_URL", at.API},
				{"CLOUDFLARE_API_TOKEN", demoToken},
				{"CLOUDFLARE_ACCOUNT_ID", home.ID},
				{"SHOPFLEET_EDGE_URL", at.Edge},
			} {
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
	flags.StringVar(&checkout, "checkout", "", "also write Helm's git repository into this new `directory`")
	return cmd
}
