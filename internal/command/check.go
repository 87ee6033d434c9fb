package command

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/deploy"
)

func (d *Door) check() *cobra.Command {
	f := deployFlags{offline: true, parallel: 16}
	cmd := &cobra.Command{
		Use:   "check [shop...]",
		Short: "Say what can be told of shops' branches without an account",
		Long: `Say what can be told of shops' branches without any account and without any
secret: the config is resolved, admitted and bundled as a deploy would, and the
migrations that main does not have are rehearsed. It is what a pull request from
a fork gets.`,
		Example:           "  shopfleet check swicked\n  shopfleet check --all --json",
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			if d.workflow != nil && d.workflow.pull != nil {
				return d.planPull(cmd.Context(), f)
			}
			return d.run(cmd.Context(), args, f)
		},
	}
	cmd.Flags().BoolVar(&f.all, "all", false, "every shop that has a branch")
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON document")
	f.policy.add(cmd)
	return cmd
}

// checked ends a shop's way where an account would be needed. What is on main was judged when it came there.
func (at *site) checked(ctx context.Context, want *deploy.Desired) shopResult {
	found, err := want.Lint(ctx, func(path string) bool { return at.known[path] })
	if err != nil {
		return result(want.Shop.Slug, nil, nil, err)
	}
	return because(want.Shop.Slug, statusChecked, append(slices.Clone(want.Findings), found...))
}
