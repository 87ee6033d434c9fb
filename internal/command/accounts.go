package command

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/provision"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// accountsFlags are those of accounts.
type accountsFlags struct {
	json   bool
	policy policyFlags
}

func (d *Door) accounts() *cobra.Command {
	var f accountsFlags
	cmd := &cobra.Command{
		Use:   "accounts [account...]",
		Short: "Show how much room the accounts have, and which limit is met first",
		Long: `Show how many shops fit into each account of fleet.yml, by each of its limits:
max_shops, and what Cloudflare allows of crons, Workers, KV namespaces, D1
databases, R2 buckets, and of routes and custom domains in a zone. A further
shop is expected to take what the ones that are there take on average; the
limit that is met first says at how many shops the account is full. Nothing is
written.

"shopfleet onboard" puts a new shop on the account with the most room.

Each account costs ten calls or so, however many shops it has: crons are counted
on the shops' branches.

The exit code is 1 when an account is full, and 3 when one could not be read;
the others are shown all the same. The API token is read from the environment
variable that fleet.yml names for each account; it needs no permission to write.`,
		Example:           "  shopfleet accounts\n  shopfleet accounts kvick-2 --json",
		ValidArgsFunction: d.completeAccounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.runAccounts(cmd.Context(), args, f))
		},
	}
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON document")
	f.policy.add(cmd)
	return cmd
}

func (d *Door) runAccounts(ctx context.Context, args []string, f accountsFlags) (err error) {
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	chosen, err := c.accountsNamed(args)
	if err != nil {
		return err
	}
	shops, crons, err := c.allShops(ctx)
	if err != nil {
		return err
	}
	accounts, err := d.readAccounts(ctx, chosen)
	if err != nil {
		return err
	}
	addCrons(accounts, shops, crons)
	rooms := provision.Rooms(c.policy, accounts, shops)
	list, code := []deploy.Finding{}, ExitDone
	for i, r := range rooms {
		switch {
		case r.Error != "":
			code = ExitFailed
			list = append(list, deploy.Finding{Rule: "account-unread", Level: deploy.LevelError, Message: "account " + r.Account + " could not be read: " + r.Error,
				Hint: "look at its token (" + chosen[i].Token + ")"})
		case r.Left == 0:
			full := provision.Full(r)
			full.Rule = "capacity"
			list, code = append(list, full), max(code, ExitFindings)
		}
	}
	page := report.AccountsPage{Exit: code, Accounts: rooms, Findings: list}
	if d.workflow != nil {
		d.workflow.page = report.AccountsMarkdown(page)
	}
	if f.json {
		err = report.JSON(d.Stdout, page)
	} else {
		err = report.Accounts(d.Stdout, d.resultStyle(), page)
	}
	if err == nil && code != ExitDone {
		err = &resultError{code: code}
	}
	return err
}

// accountsNamed are the accounts of the fleet with these names, all of them without any, in the order of fleet.yml.
func (c *checkout) accountsNamed(names []string) ([]fleet.Account, error) {
	for _, name := range names {
		if _, ok := c.policy.AccountNamed(name); !ok {
			return nil, Usage(errors.New(policyFile+" has no account "+report.Clean(name)), "shopfleet accounts lists them all")
		}
	}
	return slices.DeleteFunc(slices.Clone(c.policy.Accounts), func(a fleet.Account) bool { return len(names) > 0 && !slices.Contains(names, a.Name) }), nil
}

// allShops are the shops that have a branch and a good name, and how many crons each has by its branch; one whose config
// cannot be read is in the list and has no count.
func (c *checkout) allShops(ctx context.Context) (shops []fleet.Shop, crons map[string]int, err error) {
	tips := c.tipsByName()
	var commits []string
	for _, branch := range sortedKeys(tips) {
		slug, ok := c.policy.Slug(branch)
		if !ok || tips[branch] == "" {
			continue
		}
		if shop, err := c.policy.Shop(slug); err == nil {
			shops, commits = append(shops, shop), append(commits, tips[branch])
		}
	}
	crons = map[string]int{}
	if len(shops) == 0 {
		return nil, crons, nil
	}
	configs, err := c.repo.Files(ctx, configFile, commits...)
	if err != nil {
		return nil, nil, err
	}
	for i, shop := range shops {
		if n, ok := overlayCrons(configs[i].Data, shop.Slug); ok {
			crons[shop.Slug] = n
		}
	}
	return shops, crons, nil
}

// overlayCrons counts the crons of a shop's config: those of env.<slug>, or the ones at the top, which it inherits.
func overlayCrons(config []byte, slug string) (n int, ok bool) {
	p, err := wrangler.Parse("", configFile, config)
	if err != nil {
		return 0, false
	}
	for _, path := range [][]any{{"env", slug, "triggers"}, {"triggers"}} {
		var triggers struct{ Crons []json.RawMessage }
		if raw := p.Value(path...); raw != nil && json.Unmarshal(raw, &triggers) == nil {
			return len(triggers.Crons), true
		}
	}
	return 0, true
}

// addCrons tells accounts how many crons the shops on them have by their branches. What was read of a Worker counts more.
func addCrons(accounts []*provision.Account, shops []fleet.Shop, crons map[string]int) {
	for _, a := range accounts {
		for _, shop := range shops {
			n, told := crons[shop.Slug]
			if _, read := a.Crons[shop.Worker]; !told || read || shop.Account.Name != a.Name {
				continue
			}
			if a.Crons == nil {
				a.Crons = map[string]int{}
			}
			a.Crons[shop.Worker] = n
		}
	}
}

// readAccounts reads accounts side by side. One that cannot be read says why.
func (d *Door) readAccounts(ctx context.Context, list []fleet.Account) ([]*provision.Account, error) {
	var named []fleet.Account
	for _, a := range list {
		if d.Getenv(a.Token) != "" {
			named = append(named, a)
		}
	}
	if len(named) == 0 {
		named = list // for the error
	}
	engines, err := d.engines(named, true, nil)
	if err != nil {
		return nil, err
	}
	progress := d.newProgress(len(named))
	out := make([]*provision.Account, len(list))
	var group errgroup.Group
	for i, a := range list {
		engine := engines[a.ID]
		if engine == nil || d.Getenv(a.Token) == "" {
			out[i] = &provision.Account{Account: a, Error: a.Token + " is not set"}
			continue
		}
		group.Go(func() error {
			progress.stage(a.Name, "reading the account")
			r := shopResult{Shop: a.Name}
			have, err := provision.Look(ctx, engine.CF, a)
			if err != nil {
				have, r.Status = &provision.Account{Account: a, Error: report.Clean(oneLine(err.Error()))}, statusFailed
			} else {
				r.Status = counted(len(have.Workers), "Worker") + ", " + counted(have.Calls, "call")
			}
			out[i] = have
			progress.done(r)
			return nil
		})
	}
	_ = group.Wait() // every account carries its own error
	progress.finish()
	return out, ctx.Err()
}

// completeAccounts completes names of accounts from the fleet's policy.
func (d *Door) completeAccounts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var f policyFlags
	for name, value := range map[string]*string{"main": &f.main, "config": &f.config} {
		*value, _ = cmd.Flags().GetString(name)
	}
	c, err := d.open(cmd.Context(), f)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.close()
	var names []string
	for _, a := range c.policy.Accounts {
		if !slices.Contains(args, a.Name) {
			names = append(names, a.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completesAccounts has a flag of a verb completed with the names of accounts.
func (d *Door) completesAccounts(cmd *cobra.Command, flag string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return d.completeAccounts(cmd, nil, word)
	})
	if err != nil {
		panic("command: " + err.Error()) // the verb has no such flag
	}
}
