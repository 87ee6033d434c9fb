package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/provision"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// moveFlags are those of move.
type moveFlags struct {
	departFlags
	to            string
	confirm, back bool
	leaveSecrets  bool
	largeCopied   bool
}

func (d *Door) move() *cobra.Command {
	var f moveFlags
	cmd := &cobra.Command{
		Use:   "move <shop> --to <account>",
		Short: "Move a shop to another account, with its data",
		Long: `Move a shop to another account of fleet.yml. What it needs is made there while it
still answers, and its new overlay is planned against that account. Then it is
closed in the old account, and cannot be reached until the end: its database, keys
and files are copied, counted and compared; its branch gets a commit with the new
account's id, ids and zone; and it is deployed there, with its secrets from their
source, and checked. How long it was down is measured and said.

Two accounts cannot serve one zone of DNS. Where naming.hostname has {zone} the shop
gets the hostname of its new account, which is said beforehand; where it has not,
the shop cannot move.

The old one is kept, unreachable, and the shop is held, until --confirm deletes it
there, or --back returns to it. What was written in the new account until then does
not come back along. All of it can be run again after a failure, and goes on where
it was.

` + holdHelp,
		Example:           "  shopfleet move swicked --to kvick-2 --plan\n  shopfleet move swicked --to kvick-2\n  shopfleet move swicked --confirm\n  shopfleet move swicked --back",
		Args:              oneShop,
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.runMove(cmd.Context(), args[0], f))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "the `account` of fleet.yml that it moves to")
	flags.StringVar(&f.secretsFile, "secrets-file", "", "`file` of the shop's secrets: JSON or dotenv, - for standard input")
	flags.BoolVar(&f.leaveSecrets, "leave-secrets", false, "let secrets that no source has stay behind; required ones never do")
	flags.BoolVar(&f.largeCopied, "large-copied", false, "objects that the API is too small for were copied into the new bucket by hand")
	flags.BoolVar(&f.confirm, "confirm", false, "delete what it left behind")
	flags.BoolVar(&f.back, "back", false, "return to the old account")
	f.departFlags.add(cmd)
	d.completesAccounts(cmd, "to")
	return cmd
}

func (d *Door) runMove(ctx context.Context, slug string, f moveFlags) (err error) {
	a := asked{verb: verbMove, what: askGo, slug: slug, to: f.to, at: d.Now()}
	switch n := len(slices.DeleteFunc([]bool{f.to != "", f.confirm, f.back}, func(set bool) bool { return !set })); {
	case n != 1:
		return Usage(errors.New("move takes one of --to, --confirm and --back"), "shopfleet move "+slug+" --to ACCOUNT begins it")
	case f.confirm:
		a.what = askConfirm
	case f.back:
		a.what = askBack
	}
	x, err := d.depart(ctx, a, f.departFlags)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.c.close()) }()
	x.leave, x.largeCopied = f.leaveSecrets, f.largeCopied
	return x.end(x.move(ctx))
}

// move goes on with it, as far as was asked for.
func (x *departure) move(ctx context.Context) error {
	if x.tip == "" {
		return Usage(fmt.Errorf("shop %s has no branch %s", x.slug, x.branch), "see git branch --all; git fetch origin gets what others pushed")
	}
	if x.hold == nil && x.asked.what == askConfirm { // a run before may have come to its end and nobody heard
		if proof, err := x.kept(ctx); err != nil {
			return err
		} else if proof != nil {
			x.page.Proof, x.page.Status, x.page.Account = proof, report.DepartureDeleted, proof.Account
			return nil
		}
	}
	if x.asked.what == askGo {
		if _, ok := x.c.policy.AccountNamed(x.asked.to); !ok {
			return x.unknownAccount()
		}
		if l := x.leaving(); l == nil || l.Stage == stageHeld {
			if done, err := x.prepareMove(ctx); err != nil || done || x.flags.plan {
				return err
			}
		}
	}
	if err := x.walk(ctx, x.takeMove); err != nil {
		return err
	}
	if l := x.leaving(); l != nil {
		switch l.Stage {
		case stageMoved:
			x.page.Status, x.page.Account, x.page.Down = report.DepartureMoved, l.Account, l.Opened.Sub(l.Closed).Seconds()
			if err := x.hostnames(l.Account, l.To); err != nil {
				return err
			}
		case stageReturned:
			x.page.Status, x.page.Account = report.DepartureReturned, l.Account
			if err := x.hostnames(l.Account, l.Account); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *departure) unknownAccount() error {
	var names []string
	for _, a := range x.c.policy.Accounts {
		names = append(names, a.Name)
	}
	return Usage(fmt.Errorf("%s has no account %q", policyFile, x.asked.to), "it has "+strings.Join(names, ", "))
}

// hostnames says on the page where the shop answers, before and after.
func (x *departure) hostnames(from, to string) error {
	was, err := x.shopOn(from)
	if err != nil {
		return err
	}
	is, err := x.shopOn(to)
	if err != nil {
		return err
	}
	x.page.Hostname = was.Hostname
	if is.Hostname != was.Hostname {
		x.page.NewHostname = is.Hostname
	}
	return nil
}

// prepareMove says everything that would be in the way, before anything is written. done means that there is nothing to do.
func (x *departure) prepareMove(ctx context.Context) (done bool, err error) {
	shop, err := x.c.policy.Shop(x.slug)
	if err != nil {
		return false, err
	}
	from := shop.Account.Name
	if from == x.asked.to {
		x.page.Status = report.DepartureOpen
		x.page.Notes = append(x.page.Notes, "it is on account "+from+" already")
		return true, nil
	}
	target, err := x.shopOn(x.asked.to)
	if err != nil {
		return false, err
	}
	x.page.To = target.Account.Name
	if err := x.hostnames(from, x.asked.to); err != nil {
		return false, err
	}
	var list deploy.Findings
	if f, ok := x.c.policy.Frozen(x.slug, x.door.Now()); ok {
		list = append(list, deploy.Finding{Rule: "shop-frozen", Level: deploy.LevelError, File: policyFile,
			Message: fmt.Sprintf("%s is not moved while freeze %s is on: %s", x.slug, f.Name, f.Reason), Hint: "move it when the freeze is over"})
	}
	if target.D1ID != "" {
		line, column := x.c.policy.Position("shops", x.slug, "d1", "id")
		list = append(list, deploy.Finding{Rule: "move-pinned", Level: deploy.LevelError, File: policyFile, Line: line, Column: column,
			Message: fmt.Sprintf("%s holds shop %s to the database %s, which stays in account %s", policyFile, x.slug, target.D1ID, from),
			Hint:    fmt.Sprintf("take the id out of shops.%s.d1; the branch has it too", x.slug)})
	}
	for _, host := range append([]string{target.Hostname}, target.Hostnames...) {
		if zoneOn(target.Account, host) == "" {
			list = append(list, deploy.Finding{Rule: "move-hostname", Level: deploy.LevelError, File: policyFile,
				Message:  fmt.Sprintf("hostname %s is in no zone of account %s, and two accounts cannot serve one zone", host, target.Account.Name),
				Expected: "a hostname in " + strings.Join(target.Account.Zones(), " or "),
				Hint:     "write naming.hostname with {zone}, or give the shop a hostname of its own"})
		}
	}
	var old, there *provision.Account
	err = x.step(ctx, "looking at both accounts", func(ctx context.Context) (err error) {
		if old, err = x.look(ctx, shop); err != nil {
			return err
		}
		there, err = x.look(ctx, target)
		return err
	})
	if err != nil {
		return false, err
	}
	missing, err := x.missingSecrets(ctx, shop, old)
	if err != nil {
		return false, err
	}
	list = append(list, missing...)
	x.page.Makes, x.page.Closes = provision.PlanMake(x.wanted(target), there), provision.PlanClose(shop, old)
	list = append(append(list, x.page.Makes.Findings...), x.page.Closes.Findings...)
	if list.Blocking() {
		return false, list
	}
	x.page.Notes = append(x.page.Notes, "from closing it on until it is deployed in its new account it cannot be reached; a plan does not know for how long, the size of its data decides")
	return false, nil
}

// wanted is what the shop needs on an account, as its overlay has it.
func (x *departure) wanted(target fleet.Shop) provision.Want {
	w := provision.Want{Shop: target}
	p, err := wrangler.Parse("", configFile, x.config)
	if err != nil {
		return w // the plan of its deploy says what is wrong
	}
	var crons []string
	for _, path := range [][]any{{"env", x.slug, "triggers", "crons"}, {"triggers", "crons"}} {
		if json.Unmarshal(p.Value(path...), &crons) == nil && crons != nil {
			break
		}
	}
	w.Crons = len(crons)
	var routes []struct {
		Custom bool `json:"custom_domain"`
	}
	if json.Unmarshal(p.Value("env", x.slug, "routes"), &routes) == nil {
		w.CustomDomain = len(routes) > 0 && routes[0].Custom
	}
	for _, b := range x.c.tips {
		if slug, ok := x.c.policy.Slug(b.Name); ok && slug != x.slug {
			if s, err := x.c.policy.Shop(slug); err == nil && s.Account.Name == target.Account.Name {
				w.Others = append(w.Others, slug)
			}
		}
	}
	return w
}

// missingSecrets says which secrets would stay behind: Cloudflare gives no value back, so that they have to come from where
// they came from in the first place.
func (x *departure) missingSecrets(ctx context.Context, shop fleet.Shop, old *provision.Account) (list deploy.Findings, err error) {
	bundle, err := x.c.bundleAt(ctx, x.slug, x.tip)
	if err != nil {
		return nil, err
	}
	all := bundle.bundle.Over(x.given)
	required := secretPolicy(x.c.policy, x.slug, x.config).Required
	var behind []string
	for _, name := range required {
		if _, ok := all[name]; !ok {
			behind = append(behind, name)
		}
	}
	if behind != nil {
		list = append(list, deploy.Finding{Rule: "secret-missing", Level: deploy.LevelError, File: policyFile,
			Message:  fmt.Sprintf("shop %s has no value for %s that could go along", x.slug, strings.Join(behind, ", ")),
			Expected: "a value for every secret that fleet.yml requires",
			Hint:     "put it into the shop's bundle (shopfleet secrets set), or give --secrets-file: Cloudflare does not give values back"})
	}
	if !slices.ContainsFunc(old.Workers, func(w cloudflare.Worker) bool { return w.Name == shop.Worker }) {
		return list, nil
	}
	cf, err := x.client(shop.Account)
	if err != nil {
		return nil, err
	}
	settings, err := cf.Settings(ctx, shop.Worker)
	if err != nil {
		return nil, fmt.Errorf("reading which secrets %s has: %w", shop.Worker, err)
	}
	behind = nil
	for _, b := range settings.Bindings {
		if _, ok := all[b.Name]; !ok && b.Type == "secret_text" && !slices.Contains(required, b.Name) {
			behind = append(behind, b.Name)
		}
	}
	if behind != nil && !x.leave {
		slices.Sort(behind)
		list = append(list, deploy.Finding{Rule: "secret-left-behind", Level: deploy.LevelError,
			Message: fmt.Sprintf("Worker %s has secrets that no source has a value for: %s", shop.Worker, strings.Join(behind, ", ")),
			Hint:    "put them into the shop's bundle, or give --secrets-file; --leave-secrets moves without them"})
	}
	return list, nil
}

// takeMove does one step.
func (x *departure) takeMove(ctx context.Context, s stride) error {
	var l leaving
	if now := x.leaving(); now != nil {
		l = *now
	}
	if x.flags.plan && s != stepDelete {
		x.page.Notes = append(x.page.Notes, "next: "+string(s))
		return nil
	}
	switch s {
	case stepHold:
		shop, err := x.c.policy.Shop(x.slug)
		if err != nil {
			return err
		}
		return x.step(ctx, "holding it", func(ctx context.Context) error {
			return x.save(ctx, leaving{Verb: verbMove, Stage: stageHeld, Account: shop.Account.Name, To: x.asked.to, Commit: x.tip})
		})
	case stepMake:
		if err := x.makeThere(ctx, l); err != nil {
			return err
		}
		l.Stage = stageMade
	case stepClose:
		if err := x.step(ctx, "closing it in account "+l.Account, func(ctx context.Context) error { return x.close(ctx, l.Account) }); err != nil {
			return err
		}
		l.Stage, l.Closed = stageClosed, x.door.Now().UTC()
	case stepCopy:
		if err := x.step(ctx, "copying its data", func(ctx context.Context) error { return x.copy(ctx, l) }); err != nil {
			return err
		}
		l.Stage = stageCopied
	case stepCommit:
		err := x.step(ctx, "writing the branch", func(ctx context.Context) error { return x.rewrite(ctx, l.Account, l.To) })
		if err != nil {
			return err
		}
		l.Stage, l.Moved = stageCommitted, x.tip
	case stepOpen:
		if err := x.named(l.To); err != nil {
			return err
		}
		if err := x.step(ctx, "deploying it in account "+l.To, func(ctx context.Context) error { return x.deploy(ctx, l.To, x.tip, true) }); err != nil {
			return err
		}
		l.Stage, l.Opened = stageMoved, x.door.Now().UTC()
	case stepReopen:
		return x.returns(ctx, l)
	case stepDelete:
		return x.delete(ctx)
	default:
		return fmt.Errorf("move has no step %q", s)
	}
	return x.save(ctx, l)
}

// named makes sure that the branch names the account that is about to be deployed to.
func (x *departure) named(account string) error {
	shop, err := x.shopOn(account)
	if err == nil && overlayAccount(x.config, x.slug) != shop.Account.ID {
		err = refuse("account-still-named", fmt.Sprintf("branch %s does not name account %s any more", x.branch, account), "somebody changed it meanwhile: shopfleet move "+x.slug+" --back returns")
	}
	return err
}

// makeThere makes what the shop needs in its new account, and plans its deploy there, before it is closed here.
func (x *departure) makeThere(ctx context.Context, l leaving) error {
	target, err := x.shopOn(l.To)
	if err != nil {
		return err
	}
	err = x.step(ctx, "making its stores in account "+l.To, func(ctx context.Context) error {
		there, err := x.look(ctx, target)
		if err != nil {
			return err
		}
		x.page.Makes = provision.PlanMake(x.wanted(target), there)
		_, err = x.apply(ctx, target, x.page.Makes)
		return err
	})
	if err != nil {
		return err
	}
	if err := x.step(ctx, "looking at its files", func(ctx context.Context) error { return x.copyable(ctx, l) }); err != nil {
		return err
	}
	return x.step(ctx, "planning its deploy there", func(ctx context.Context) error {
		text, _, err := x.overlayFor(ctx, l.Account, l.To)
		if err != nil {
			return err
		}
		commit, err := x.commit(ctx, text, "a plan\n")
		if err != nil {
			return err
		}
		return x.rehearse(ctx, l.To, commit)
	})
}

// rehearse plans a deploy of a commit to an account, and changes nothing.
func (x *departure) rehearse(ctx context.Context, account, commit string) error {
	d, c := x.door, x.c
	policy := c.policy
	defer func() { c.policy = policy }()
	c.policy = policy.WithAccounts(map[string]string{x.slug: account})
	sources, problems := c.sourcesAt(ctx, []string{x.slug}, map[string]string{x.slug: commit})
	if err := problems[x.slug]; err != nil {
		return err
	}
	if err := c.withSecrets(ctx, sources, secretUse{given: x.given, apply: true}); err != nil {
		return err
	}
	src := sources[x.slug]
	src.Moved = true
	at, err := d.site(ctx, c, []string{x.slug}, deployFlags{parallel: 1, noJournal: true, policy: x.flags.policy})
	if err != nil {
		return err
	}
	r := at.work(ctx, []string{x.slug}, map[string]deploy.Source{x.slug: src}, nil)[0]
	if r.err != nil {
		return r.err
	}
	if list := deploy.Findings(r.found()); list.Blocking() {
		return list
	}
	return nil
}

// residence is the shop on an account with the ids that things have there. What is there once stays for a run, so that it is
// asked for once.
func (x *departure) residence(ctx context.Context, account string) (residence, error) {
	if r, ok := x.homes[account]; ok {
		return r, nil
	}
	shop, err := x.shopOn(account)
	if err != nil {
		return residence{}, err
	}
	have, err := x.look(ctx, shop)
	if err != nil {
		return residence{}, err
	}
	s, err := x.stores(shop, have)
	if err != nil {
		return residence{}, err
	}
	r := residence{Shop: shop, DatabaseID: s.Database.ID, NamespaceID: s.Namespace, stores: s}
	zone := zoneOn(shop.Account, shop.Hostname)
	for _, z := range have.Zones {
		if z.Name == zone {
			r.ZoneID = z.ID
		}
	}
	x.homes[account] = r
	return r, nil
}

// overlayFor is the shop's config for another account than it names.
func (x *departure) overlayFor(ctx context.Context, from, to string) ([]byte, []string, error) {
	was, err := x.residence(ctx, from)
	if err != nil {
		return nil, nil, err
	}
	is, err := x.residence(ctx, to)
	if err != nil {
		return nil, nil, err
	}
	return moveOverlay(x.config, was, is)
}

// rewrite puts a commit onto the shop's branch that names another account, unless it does so already.
func (x *departure) rewrite(ctx context.Context, from, to string) error {
	target, err := x.shopOn(to)
	if err != nil || overlayAccount(x.config, x.slug) == target.Account.ID {
		return err
	}
	text, notes, err := x.overlayFor(ctx, from, to)
	if err != nil {
		return err
	}
	if err := x.put(ctx, text, x.slug+": another account\n\nMade by shopfleet move, from account "+from+" to "+to+".\n"); err != nil {
		return err
	}
	for _, n := range notes {
		x.page.Todo = append(x.page.Todo, n+", in "+configFile+" of "+x.branch)
	}
	x.page.Commit = x.tip
	return nil
}

// put puts a commit with another config onto the shop's branch on GitHub, if that is still where it was looked at.
func (x *departure) put(ctx context.Context, text []byte, message string) error {
	commit, err := x.commit(ctx, text, message)
	if err != nil {
		return err
	}
	remote, _, err := x.door.gitRemote(ctx, x.c, x.hub)
	if err != nil {
		return err
	}
	err = x.c.repo.Push(ctx, remote, []git.RefUpdate{{Name: "refs/heads/" + x.branch, Before: x.tip, After: commit}})
	var refused *git.PushError
	if errors.As(err, &refused) && refused.Has(git.Stale) {
		return &staleError{"the branch " + x.branch}
	}
	if err != nil {
		return fmt.Errorf("pushing %s: %w", x.branch, err)
	}
	if !x.c.track(ctx, x.branch, commit) {
		x.page.Todo = append(x.page.Todo, "git fetch origin")
	}
	return x.at(ctx, commit)
}

// commit makes a commit of another config on top of the branch. It is on no branch yet.
func (x *departure) commit(ctx context.Context, config []byte, message string) (string, error) {
	store, err := x.c.repo.Store(ctx)
	if err != nil {
		return "", err
	}
	defer store.Close()
	tip, err := store.RawCommit(x.tip)
	if err != nil {
		return "", fmt.Errorf("reading the tip of %s: %w", x.branch, err)
	}
	tree, err := store.Edit(tip.Tree, []git.Entry{{Path: configFile, Mode: git.ModeFile, ID: store.PutBlob(config)}})
	if err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	when := fmt.Sprintf("%s %d +0000", git.Signature(), x.door.Now().Unix())
	commit := store.PutCommit(git.RawCommit{Tree: tree, Parents: []string{x.tip}, Author: when, Committer: when, Message: []byte(message)})
	if err := store.Flush(); err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	return commit, nil
}

// returns brings the shop back to its old account: closed in the new one, its branch as it was, and deployed.
func (x *departure) returns(ctx context.Context, l leaving) error {
	l = l.before(stepReopen)
	if err := x.save(ctx, l); err != nil {
		return err
	}
	if err := x.step(ctx, "closing it in account "+l.To, func(ctx context.Context) error { return x.close(ctx, l.To) }); err != nil {
		return err
	}
	if err := x.step(ctx, "writing the branch", func(ctx context.Context) error { return x.rewrite(ctx, l.To, l.Account) }); err != nil {
		return err
	}
	if err := x.step(ctx, "deploying it in account "+l.Account, func(ctx context.Context) error { return x.deploy(ctx, l.Account, x.tip, false) }); err != nil {
		return err
	}
	target, err := x.shopOn(l.To)
	if err != nil {
		return err
	}
	there, err := x.look(ctx, target)
	if err != nil {
		return err
	}
	l.Stage, l.Closed = stageReturned, time.Time{}
	if err := x.save(ctx, l); err != nil {
		return err
	}
	x.page.Closes, x.page.To, x.page.Commit = nil, l.To, x.tip
	if plan := provision.PlanDelete(target, there); len(plan.Steps) == 0 && len(plan.Findings) == 0 {
		x.page.Status, x.page.Account = report.DepartureReturned, l.Account
		if err := x.hostnames(l.Account, l.Account); err != nil {
			return err
		}
		return x.lift(ctx) // nothing was made there
	}
	x.page.Notes = append(x.page.Notes, fmt.Sprintf("what was written in account %s is there still, and nowhere else, until shopfleet move %s --confirm deletes it", l.To, x.slug))
	return nil
}
