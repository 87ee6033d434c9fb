//go:build noworld

package main

import (
	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/command"
)

// worldCommands are none in the image of the action.
func worldCommands(*command.Door) []*cobra.Command { return nil }
