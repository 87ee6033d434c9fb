// Command shopfleet deploys and looks after a fleet of single-tenant shops on
// Cloudflare. See README.md for the first hour.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/kvick/shopfleet/internal/command"
)

// version is set by the linker (see Makefile); a plain `go install` reports
// the module's version instead.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
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
		Version:  buildVersion(),
	}
	world := &world{door: door}
	code := command.Run(ctx, door, world.demo(), world.sim())
	stop()
	os.Exit(code)
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
