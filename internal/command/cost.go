package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/audit"
	"github.com/kvick/shopfleet/internal/cost"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
)

// maxCostDays is how far analytics reach back.
const maxCostDays = 31

// costFlags are the flags of cost.
type costFlags struct {
	policy         policyFlags
	json, markdown bool
	html, history  string
	days           int
	billing        bool
}

func (d *Door) cost() *cobra.Command {
	var f costFlags
	cmd := &cobra.Command{
		Use:   "cost [shop...]",
		Short: "What each shop costs in a month, beside its budget",
		Long: `What each shop costs in a month: what its Worker, database, bucket, namespace and
AI gateway used by Cloudflare's analytics, priced by a list that shopfleet has
with its dates and sources, and held against budget: in fleet.yml. What a plan
includes is shared by all that an account runs, in proportion to use. Nothing is
written.

It finds shops that are over their budget, and shops whose database reads far
more rows for each request since their last release: a query that lacks an index
shows there first. That is compared where the journal tells of a release of the
last 8 days, and needs a token for GitHub (GITHUB_TOKEN or GH_TOKEN, contents:
read, deployments: read).

Each account costs seven calls and a few more around releases, however many
shops there are. Analytics reach back 31 days; --history keeps what they said in
a file, one line for each day on which it was asked. The exit code is 1 when
something was found, and 3 when an account could not be read as a whole; the
others are priced all the same.

The API token is read from the environment variable that fleet.yml names for
each account (by default CLOUDFLARE_API_TOKEN). It needs Account Analytics: Read,
D1: Read and Workers KV Storage: Read, and with --billing Billing: Read.`,
		Example:           "  shopfleet cost\n  shopfleet cost swicked --days 7\n  shopfleet cost --html cost.html --history cost.jsonl",
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.runCost(cmd.Context(), args, f))
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.days, "days", 30, fmt.Sprintf("how many days of usage are read, today among them, at most %d", maxCostDays))
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	flags.BoolVar(&f.markdown, "markdown", false, "print Markdown")
	flags.StringVar(&f.html, "html", "", "write a page with charts to this `file`")
	flags.StringVar(&f.history, "history", "", "keep the numbers in this `file`, and show earlier ones on the page")
	flags.BoolVar(&f.billing, "billing", false, "also ask what Cloudflare charged in the current billing period")
	f.policy.add(cmd)
	return cmd
}

// check refuses what cannot be done before anything is read.
func (f costFlags) check(d *Door, args []string) error {
	switch {
	case f.json && f.markdown:
		return Usage(errors.New("--json goes without --markdown"), "leave out one or the other")
	case f.days < 1 || f.days > maxCostDays:
		return Usage(fmt.Errorf("--days is %d", f.days), fmt.Sprintf("give a number from 1 to %d: Cloudflare keeps no more", maxCostDays))
	case f.history != "" && len(args) > 0:
		return Usage(errors.New("--history goes without shop names"), "a history is of the whole fleet")
	}
	for _, name := range []string{f.html, f.history} {
		if info, err := os.Stat(filepath.Dir(d.at(name))); name != "" && (err != nil || !info.IsDir()) {
			return Usage(fmt.Errorf("there is no folder for %s", name), "name a file in a folder that exists")
		}
	}
	return nil
}

func (d *Door) runCost(ctx context.Context, args []string, f costFlags) (err error) {
	if err := f.check(d, args); err != nil {
		return err
	}
	history, err := d.readHistory(f.history)
	if err != nil {
		return err
	}
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	c.unbuilt = true
	now := d.Now().UTC()
	in := cost.Input{
		Policy: c.policy, Prices: cost.Prices(), At: now, From: now.AddDate(0, 0, 1-f.days).Truncate(24 * time.Hour), Tool: "shopfleet " + d.Version,
	}
	if len(args) > 0 {
		if in.Only, err = c.choose(ctx, args, false); err != nil {
			return err
		}
	}
	shops, err := c.shops(ctx)
	if err != nil {
		return err
	}
	for _, slug := range in.Only {
		if shop, err := c.policy.Shop(slug); err != nil {
			return err
		} else if !slices.ContainsFunc(shops, func(s audit.Shop) bool { return s.Slug == slug }) {
			return Usage(fmt.Errorf("shop %s has no branch %s", slug, shop.Branch), "see git branch --all; git fetch origin gets what others pushed")
		}
	}
	for _, s := range shops {
		if s.Worker == "" { // a branch with a bad name: nothing can be its
			continue
		}
		x := cost.Shop{Shop: s.Shop}
		if s.Config != nil {
			x.Crons = len(s.Config.Crons)
		}
		in.Shops = append(in.Shops, x)
	}
	if why := d.newest(ctx, c, in); why != "" {
		in.Unknown = append(in.Unknown, "rows for each request around releases: "+why)
	}
	if in.Readings, err = d.costReadings(ctx, in, f.billing); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err // what was not read because of that would be taken for a fault of the account
	}
	rep := cost.Judge(in)
	if f.history != "" {
		if history, err = d.remember(f.history, history, rep); err != nil {
			return err
		}
	}
	return d.printCost(rep, history, c.policy, f)
}

// readHistory reads the entries of a file; one that is not there yet has none.
func (d *Door) readHistory(name string) ([]cost.Entry, error) {
	if name == "" {
		return nil, nil
	}
	file, err := os.Open(d.at(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, Usage(fmt.Errorf("reading the history: %w", err), "name a file that shopfleet cost --history wrote, or one that is not there yet")
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, cost.MaxHistory+1))
	if err != nil {
		return nil, fmt.Errorf("reading the history: %w", err)
	}
	list, err := cost.ReadHistory(text)
	if err != nil {
		return nil, Usage(fmt.Errorf("reading %s: %w", name, err), "name a file that shopfleet cost --history wrote; nothing was changed in this one")
	}
	return list, nil
}

// remember writes the entries back with the report's behind them. A report that lacks an account is kept too: it says so.
func (d *Door) remember(name string, history []cost.Entry, rep *cost.Report) ([]cost.Entry, error) {
	list, err := cost.Remember(history, rep)
	if err != nil {
		return nil, Usage(fmt.Errorf("keeping the numbers in %s: %w", name, err), "look at the clock, and at the file")
	}
	text, err := cost.WriteHistory(list)
	if err == nil {
		err = d.writeWhole(name, text)
	}
	if err != nil {
		return nil, Usage(fmt.Errorf("keeping the numbers: %w", err), "name a file in a folder that exists")
	}
	return list, nil
}

// newest finds each shop's newest release that has not failed, in the journal. It says why when it cannot.
func (d *Door) newest(ctx context.Context, c *checkout, in cost.Input) (why string) {
	client, err := d.github(ctx, c, toStatus())
	switch {
	case err != nil:
		return "GitHub could not be asked"
	case client == nil:
		return "there is no token for GitHub"
	}
	var asked []int
	for i, s := range in.Shops {
		if len(in.Only) == 0 || slices.Contains(in.Only, s.Slug) {
			asked = append(asked, i)
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(4) // GitHub wants few requests at a time (contracts/github/wire.md §2e)
	for batch := range slices.Chunk(asked, github.HistoryBatch) {
		group.Go(func() error {
			var environments []string
			for _, i := range batch {
				environments = append(environments, in.Shops[i].Environment())
			}
			found, err := client.Histories(gctx, environments, statusEntries)
			if err != nil {
				return err
			}
			for _, i := range batch {
				in.Shops[i].Release = newestOf(in.Shops[i].Shop, found[in.Shops[i].Environment()])
			}
			return nil
		})
	}
	if group.Wait() != nil {
		return "the releases could not be read from GitHub"
	}
	return ""
}

// newestOf is the newest release of a shop's deployments that has not failed; nil when there is none.
func newestOf(shop fleet.Shop, list []github.History) *cost.Release {
	var x seat
	x.journal(shop, list)
	for _, e := range x.entries {
		if s := x.standing(e); s.State == deploy.StateFailure || s.State == deploy.StateError {
			continue
		}
		return &cost.Release{At: e.Created.UTC(), Commit: e.Commit, Version: e.VersionID}
	}
	return nil
}

// costReadings reads the accounts, side by side: those that a shop that was asked for is on.
func (d *Door) costReadings(ctx context.Context, in cost.Input, billing bool) ([]*cost.Reading, error) {
	accounts, blind, engines, err := d.readable(in.Policy, func(a fleet.Account) bool {
		return len(in.Only) == 0 || slices.ContainsFunc(in.Shops, func(s cost.Shop) bool {
			return s.Account.Name == a.Name && slices.Contains(in.Only, s.Slug)
		})
	})
	if err != nil || len(accounts) == 0 {
		return nil, err
	}
	p := d.newProgress(len(accounts))
	out := make([]*cost.Reading, len(accounts), len(accounts)+len(blind))
	var group sync.WaitGroup
	for i, a := range accounts {
		group.Add(1)
		go func() {
			defer group.Done()
			p.stage(a.Name, "reading the usage")
			o := cost.Options{From: in.From, Until: in.At, Watch: cost.Watch(in.Shops, a, in.At), Billing: billing}
			out[i] = cost.Read(ctx, engines[a.ID].CF, a, o)
			r := shopResult{Shop: a.Name, Status: counted(out[i].Calls, "call")}
			if out[i].Error != "" {
				r.Status = statusFailed
			}
			p.done(r)
		}()
	}
	group.Wait()
	p.finish()
	for _, a := range blind {
		out = append(out, &cost.Reading{Account: a, Error: noToken(a)})
	}
	return out, nil
}

// printCost writes the pages and chooses the exit code.
func (d *Door) printCost(rep *cost.Report, history []cost.Entry, policy *fleet.Policy, f costFlags) error {
	code := ExitDone
	switch {
	case len(rep.Unread()) > 0:
		code = ExitFailed
	case !rep.Clean():
		code = ExitFindings
	}
	if d.order != nil {
		d.order.page = report.CostMarkdown(rep, maxStatus)
	} else if d.workflow != nil {
		d.workflow.page = report.CostMarkdown(rep, maxStatus)
		d.workflow.loose = append(d.workflow.loose, report.CostFindings(rep, policy, cmp.Or(f.policy.config, policyFile))...)
	}
	p := pages{
		text: func(w io.Writer, style report.Style) error { return report.Cost(w, style, rep) },
		html: func(w io.Writer) error { return report.CostHTML(w, rep, history) }, file: f.html,
	}
	switch {
	case f.json:
		p.json = struct {
			Exit int `json:"exit_code"`
			*cost.Report
		}{code, rep}
	case f.markdown:
		p.markdown = func() string { return report.CostMarkdown(rep, 0) }
	}
	return d.print(p, code)
}
