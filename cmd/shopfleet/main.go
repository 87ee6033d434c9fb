// Command shopfleet deploys and looks after a fleet of single-tenant shops on
// Cloudflare. See README.md for the first hour.
package main

import (
	"context"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/kvick/shopfleet/internal/app"
	"github.com/kvick/shopfleet/internal/command"
)

// version and commit are set by the linker (see Makefile); a plain `go install`
// reports the module's version instead, and knows no commit.
var version, commit string

func main() { os.Exit(run(nil)) }

// run is the program; transport carries its HTTP when it is not nil.
func run(transport http.RoundTripper) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	door := &command.Door{
		Args:     os.Args[1:],
		Getenv:   os.Getenv,
		Stdin:    os.Stdin,
		Stdout:   os.Stdout,
		Stderr:   os.Stderr,
		Dir:      dir,
		Now:      time.Now,
		Terminal: term.IsTerminal(int(os.Stderr.Fd())),
		Asks:     term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd())),
		Version:  buildVersion(),
		Commit:   buildCommit(),

		Transport: transport,
	}
	return command.Run(ctx, door, append(worldCommands(door), app.Commands(door)...)...)
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// buildCommit is the commit that this program is of; "" when it was built from
// files that no commit has.
func buildCommit() string {
	if commit != "" {
		return commit
	}
	settings := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
	}
	if settings["vcs.modified"] == "false" {
		return settings["vcs.revision"]
	}
	return ""
}
