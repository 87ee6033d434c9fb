// Package command is the verbs of shopfleet, behind all its doors: one tree of
// commands, one runner, one set of exit codes.
//
// A door (the command line today; the action and the App use the same tree)
// fills a Door with its streams, environment and clock, and calls Run. Below
// Run nothing reads the process's environment, so that a test is a door like
// any other.
//
// Text for people goes to standard error while work is under way, and results
// to standard output; with --json standard output carries exactly one JSON
// document. Output is ordered by shop, never by who finished first.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/transfer"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// The exit codes, for scripts. They do not change between releases.
const (
	ExitDone     = 0 // everything asked for is done, or there was nothing to do
	ExitFindings = 1 // mistakes in the user's world; they were printed, nothing was released because of them
	ExitUsage    = 2 // the command line or the environment is wrong
	ExitFailed   = 3 // something failed that is nobody's mistake; run the same command again
	ExitGate     = 4 // the release did not pass its gate and the known good version was restored
)

// Door is where a command comes from and where its output goes. Set all fields
// before Run; they are not changed.
type Door struct {
	Args   []string                 // without the program's name
	Getenv func(name string) string // the environment
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Dir    string // working directory
	Now    func() time.Time
	// Terminal reports whether Stderr is a terminal: progress is drawn in place then.
	Terminal bool
	// Asks reports whether a person is at Stdin and sees Stderr: questions may be asked.
	Asks    bool
	Version string
	Commit  string // what Version was built from, 40 hexadecimal digits; "" when that is not known
	// Transport carries all HTTP when it is not nil; tests forbid the real network with it.
	Transport http.RoundTripper

	drilling bool      // whether a drill runs this verb
	workflow *workflow // the run of a workflow that this door is in; nil outside of one
	order    *Order    // what the door carries out for somebody on GitHub; nil for all else
	// budgets are those of the accounts' tokens: whatever a command does, and however many clients it makes for that, it
	// stays inside one limit for each. Run sets it where it is nil.
	budgets *cloudflare.Budgets
}

// style is how text may look for this door: NO_COLOR (no-color.org) and
// TERM=dumb switch colour off.
func (d *Door) style() report.Style {
	return report.Style{Color: d.Terminal && d.Getenv("NO_COLOR") == "" && d.Getenv("TERM") != "dumb"}
}

// Run carries out the door's arguments and returns the exit code. The extra
// commands join the tree: those that need a simulated world, which this
// package may not import.
func Run(ctx context.Context, d *Door, extra ...*cobra.Command) int {
	if d.budgets == nil {
		d.budgets = &cloudflare.Budgets{New: func() *cloudflare.Budget {
			return &cloudflare.Budget{Tell: func(wait time.Duration) {
				fmt.Fprintf(d.Stderr, "waiting %s: what Cloudflare allows the token in five minutes is used up\n", wait.Round(time.Second))
			}}
		}}
	}
	root := d.tree()
	root.AddCommand(extra...)
	root.SetArgs(d.Args)
	root.SetIn(d.Stdin)
	root.SetOut(d.Stdout)
	root.SetErr(d.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitDone
	}
	d.explain(err)
	return exitCode(err)
}

// Usage marks an error as the caller's: a wrong flag, a missing variable.
func Usage(err error, hint string) error { return &usageError{err: err, hint: hint} }

type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }
func (e *usageError) Hint() string  { return e.hint }

// resultError says that a command's page was printed already and only the exit
// code is left to tell.
type resultError struct{ code int }

func (e *resultError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// exitCode is the one place where an error becomes a number.
func exitCode(err error) int {
	var result *resultError
	var usage *usageError
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &result):
		return result.code
	case errors.As(err, &usage):
		return ExitUsage
	case findings(err) != nil:
		return ExitFindings
	}
	return ExitFailed
}

// findings returns the findings that an error carries, whichever package made them.
func findings(err error) []deploy.Finding {
	var d deploy.Findings
	var f fleet.Findings
	var w wrangler.Findings
	var t transfer.Findings
	switch {
	case errors.As(err, &d):
		return d
	case errors.As(err, &f):
		return convert(f)
	case errors.As(err, &w):
		return convert(w)
	case errors.As(err, &t):
		return convert(t)
	}
	return nil
}

func convert[F fleet.Finding | wrangler.Finding | d1.Finding](list []F) []deploy.Finding {
	out := make([]deploy.Finding, len(list))
	for i, f := range list {
		out[i] = deploy.Finding(f)
	}
	return out
}

// explain prints an error for a person: findings as findings, everything else
// as what was done, why it went wrong, and what to type next.
func (d *Door) explain(err error) {
	var result *resultError
	if err == nil || errors.As(err, &result) {
		return
	}
	if list := findings(err); list != nil {
		_ = report.Findings(d.Stderr, d.style(), list)
		return
	}
	fmt.Fprintf(d.Stderr, "%s %s\n", d.style().Red("shopfleet:"), report.Clean(oneLine(err.Error())))
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(d.Stderr, "  hint: %s\n", report.Clean(hint))
	}
}

// hintOf is what an error advises to do next; "" when it does not.
func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

// oneLine puts a text of several lines on one.
func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ") }

// tree is the command line. Each verb lives in a file of its name.
func (d *Door) tree() *cobra.Command {
	root := &cobra.Command{
		Use:   "shopfleet",
		Short: "Deploy and look after a fleet of single-tenant shops on Cloudflare",
		Long: `shopfleet deploys and looks after a fleet of single-tenant shops on Cloudflare.

Each shop is one Worker, one D1 database, one R2 bucket, one KV namespace, a
hostname and a branch shops/<slug>. The rules of the fleet are in fleet.yml on
the main branch; what a shop adds to it is in its branch's wrangler.jsonc.

Exit codes: 0 done, 1 findings, 2 usage, 3 failed, 4 gate failed and the known
good version restored.`,
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2, // cobra's own default, which it fills in only where we do not look
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return Usage(fmt.Errorf("unknown command %q", args[0]), suggestion(cmd, args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return Usage(err, "run "+cmd.CommandPath()+" --help")
	})
	root.AddCommand(d.deploy(), d.plan(), d.rollback(), d.hold(), d.releaseHold(), d.listHolds(), d.check(), d.releases(), d.receipts(), d.verify(), d.audit(), d.adopt(), d.rebase(), d.landing(),
		d.onboard(), d.offboard(), d.move(), d.secrets(), d.accounts(), d.backup(), d.restoreShop(), d.drill(), d.status(), d.cost(),
		d.action(), d.comment(), d.init(), d.d1(), d.lint(), d.schema(), d.version())
	return root
}

func suggestion(cmd *cobra.Command, word string) string {
	if list := cmd.SuggestionsFor(word); len(list) > 0 {
		return "did you mean " + strings.Join(list, " or ") + "?"
	}
	return "run shopfleet --help for the list"
}

func (d *Door) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(d.Stdout, "shopfleet "+d.Version)
			return err
		},
	}
}

func (d *Door) schema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of fleet.yml, for editors",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := d.Stdout.Write(fleet.Schema())
			return err
		},
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usage(fmt.Errorf("%s takes no arguments, got %q", cmd.CommandPath(), args[0]), "run "+cmd.CommandPath()+" --help")
	}
	return nil
}
