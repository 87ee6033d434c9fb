package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/audit"
	"github.com/kvick/shopfleet/internal/report"
)

// statusFlags are the flags of status.
type statusFlags struct {
	policy         policyFlags
	json, markdown bool
	html           string
	noHealth       bool
	// served says that a door serves the page: nobody watches how it goes, and an account without a token is told of in it.
	served bool
}

func (d *Door) status() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status [shop...]",
		Short: "Where the fleet stands, and which shops need a person",
		Long: `Where the fleet stands: of every shop its account, what is live and since when,
how many commits that is behind main, its last migration and those that are
pending, who holds it, whether it answers, how its last deploy went, and how old
its secrets are. The shops that need a person come first, with what to type.
Nothing is written.

Each shop costs at most two calls to its account, and one GET on its hostname
(--no-health leaves that out). GitHub is asked for lists: the holds, and the
newest releases of 25 shops at a time. Without a token for GitHub (GITHUB_TOKEN
or GH_TOKEN, contents: read, deployments: read) that part is left out, and said.

The exit code is 0 whatever was found, and 3 when an account or GitHub could not
be read; the others are shown all the same.

The API token is read from the environment variable that fleet.yml names for
each account (by default CLOUDFLARE_API_TOKEN); it needs no permission to write.`,
		Example:           "  shopfleet status\n  shopfleet status swicked --json\n  shopfleet status --html status.html",
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.runStatus(cmd.Context(), args, f))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	flags.BoolVar(&f.markdown, "markdown", false, "print Markdown")
	flags.StringVar(&f.html, "html", "", "write a page for a browser to this `file`")
	flags.BoolVar(&f.noHealth, "no-health", false, "do not ask the shops' hostnames")
	f.policy.add(cmd)
	return cmd
}

func (d *Door) runStatus(ctx context.Context, args []string, f statusFlags) error {
	if f.json && f.markdown {
		return Usage(errors.New("--json goes without --markdown"), "leave out one or the other")
	}
	if info, err := os.Stat(filepath.Dir(d.at(f.html))); f.html != "" && (err != nil || !info.IsDir()) { // before anything is read
		return Usage(fmt.Errorf("there is no folder for %s", f.html), "name a file in a folder that exists")
	}
	s, err := d.readStatus(ctx, args, f)
	if err != nil {
		return err
	}
	return d.printStatus(s, f)
}

// StatusPage is where the fleet stands, as a page for a browser: for doors that serve it. report.PagePolicy is the policy to
// send with it; links lead from it to other pages of the same door.
func (d *Door) StatusPage(ctx context.Context, links ...report.Link) ([]byte, error) {
	return d.statusPage(ctx, statusFlags{policy: policyFlags{main: "main", config: policyFile}, served: true}, links)
}

// StatusPage is Door.StatusPage of the repository as it is on GitHub now, with the desk's own branch and policy.
func (k *Desk) StatusPage(ctx context.Context, links ...report.Link) ([]byte, error) {
	if k.options.Fetch != nil {
		if err := k.options.Fetch(ctx); err != nil {
			return nil, fmt.Errorf("fetching: %w", err)
		}
	}
	return k.door.statusPage(ctx, statusFlags{policy: k.policyFlags(), served: true}, links)
}

func (d *Door) statusPage(ctx context.Context, f statusFlags, links []report.Link) ([]byte, error) {
	s, err := d.readStatus(ctx, nil, f)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := report.StatusHTML(&b, s, links...); err != nil {
		return nil, fmt.Errorf("writing the page: %w", err)
	}
	return b.Bytes(), nil
}

// maxStatus is how long an answer about the fleet may be, in bytes: GitHub takes 65,536 characters.
const maxStatus = 60_000

// printStatus writes the pages and chooses the exit code.
func (d *Door) printStatus(s *audit.Status, f statusFlags) error {
	code := ExitDone
	if s.Failed() {
		code = ExitFailed
	}
	if d.order != nil {
		d.order.page = report.StatusMarkdown(s, maxStatus)
	} else if d.workflow != nil {
		d.workflow.page = report.StatusMarkdown(s, maxStatus)
	}
	p := pages{
		text: func(w io.Writer, style report.Style) error { return report.Status(w, style, s) },
		html: func(w io.Writer) error { return report.StatusHTML(w, s) }, file: f.html,
	}
	switch {
	case f.json:
		p.json = struct {
			Exit int `json:"exit_code"`
			*audit.Status
		}{code, s}
	case f.markdown:
		p.markdown = func() string { return report.StatusMarkdown(s, 0) }
	}
	return d.print(p, code)
}
