package command

import (
	"fmt"

	"github.com/spf13/cobra"
)

// d1 is the verbs that concern a shop's database alone.
func (d *Door) d1() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "d1",
		Short: "Look after the database of a shop",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return Usage(fmt.Errorf("unknown command %q", cmd.Name()+" "+args[0]), suggestion(cmd, args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(d.d1Bootstrap(), d.d1Dump(), d.d1Export(), d.d1Restore())
	return cmd
}
