package command

// What offboard and move have in common: the hold that says how far the shop came, the deletion in the end and its proof.

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/audit"
	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/provision"
	"github.com/kvick/shopfleet/internal/rebase"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/secrets"
)

const (
	// leftRefs is where the branches of shops that left are kept, proofRefs where the proofs of their deletion are: each is a
	// ref below the shop's name that names a commit without parents, whose message is the proof.
	leftRefs  = "refs/shopfleet/left/"
	proofRefs = "refs/shopfleet/proofs/"
)

// departFlags are what offboard and move have in common.
type departFlags struct {
	confirm     string
	secretsFile string
	html        string
	plan, json  bool
	policy      policyFlags
}

func (f *departFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.confirm, "confirm-name", "", "the shop's `name`, where nobody can be asked to type it")
	flags.StringVar(&f.html, "html", "", "write the page to this `file` too")
	flags.BoolVar(&f.plan, "plan", false, "show what would be done, and write nothing")
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	f.policy.add(cmd)
}

// departure is one run of offboard or move.
type departure struct {
	door  *Door
	flags departFlags
	to    string // offboard: where the export goes
	asked asked
	slug  string

	c           *checkout
	hub         *github.Client
	holds       *holds
	hold        *Hold                         // the shop's; nil where it has none
	branch      string                        // the shop's
	tip         string                        // of its branch on GitHub; "" where it is gone
	config      []byte                        // there
	given       secrets.Bundle                // with the command
	clients     map[string]*cloudflare.Client // by account
	homes       map[string]residence          // of a move, by account
	largeCopied bool                          // move: objects that the API does not take are in the new bucket already
	leave       bool                          // move: secrets that no source has may stay behind
	page        report.Departure
}

// depart opens what a departure needs, and reads how far the shop came. The caller closes its checkout.
func (d *Door) depart(ctx context.Context, a asked, f departFlags) (_ *departure, err error) {
	if err := fleet.CheckSlug(a.slug); err != nil {
		return nil, err
	}
	x := &departure{door: d, flags: f, asked: a, slug: a.slug, clients: map[string]*cloudflare.Client{}, homes: map[string]residence{}}
	x.page = report.Departure{Verb: a.verb, Shop: a.slug, Status: report.DepartureUnfinished, Planned: f.plan}
	if x.given, err = d.readSecrets(f.secretsFile); err != nil {
		return nil, err
	}
	if x.c, err = d.open(ctx, f.policy); err != nil {
		return nil, err
	}
	if err = x.find(ctx); err != nil {
		return nil, errors.Join(err, x.c.close())
	}
	return x, nil
}

// find reads the hold and the branch, as GitHub has them.
func (x *departure) find(ctx context.Context) (err error) {
	d, c := x.door, x.c
	if err := d.mayStart(ctx, c, x.asked.verb); err != nil {
		return err
	}
	shop, err := c.policy.Shop(x.slug)
	if err != nil {
		return err
	}
	x.branch = shop.Branch
	if x.hub, err = d.githubOfEnvironments(ctx, c); err != nil {
		return err
	}
	if x.hub == nil {
		return Usage(errors.New("how far a shop came is kept on GitHub, as a hold"), "set GITHUB_TOKEN; GITHUB_REPOSITORY names the repository where origin does not")
	}
	x.holds = &holds{client: x.hub, now: d.Now}
	if err := c.lend(ctx, x.holds, x.flags.policy.main); err != nil {
		return err
	}
	if x.hold, err = x.holds.of(ctx, x.slug); err != nil {
		return err
	}
	if err := x.findBranch(ctx); err != nil {
		return err
	}
	shop, err = c.policy.Shop(x.slug)
	if err == nil {
		x.page.Account, x.page.Hostname, x.page.Commit = shop.Account.Name, shop.Hostname, x.tip
	}
	return err
}

// findBranch is the tip of the shop's branch on GitHub, which counts whatever this clone has, and the account that it names.
func (x *departure) findBranch(ctx context.Context) error {
	tip, err := x.hub.Tip(ctx, x.branch)
	var none *github.NotFoundError
	if errors.As(err, &none) {
		if l := x.leaving(); l != nil { // what is deleted is where its hold says
			x.c.policy = x.c.policy.WithAccounts(map[string]string{x.slug: l.Account})
		}
		return nil
	} else if err != nil {
		return fmt.Errorf("asking GitHub for %s: %w", x.branch, err)
	}
	if _, err := x.c.repo.Commit(ctx, tip); err != nil {
		return Usage(fmt.Errorf("GitHub has %s at %s, and this repository does not", x.branch, shortID(tip)), "git fetch origin, then run the same command again")
	}
	return x.at(ctx, tip)
}

// at takes a commit for the tip of the shop's branch.
func (x *departure) at(ctx context.Context, tip string) error {
	files, err := x.c.repo.Files(ctx, configFile, tip)
	if err != nil {
		return fmt.Errorf("reading %s of %s: %w", configFile, x.branch, err)
	}
	x.tip, x.config = tip, files[0].Data
	if a, ok := x.c.policy.AccountOf(overlayAccount(x.config, x.slug)); ok {
		x.c.policy = x.c.policy.WithAccounts(map[string]string{x.slug: a.Name})
	}
	i := slices.IndexFunc(x.c.tips, func(b git.Branch) bool { return b.Name == x.branch })
	if i < 0 {
		x.c.tips = append(x.c.tips, git.Branch{Name: x.branch, Origin: tip})
	} else {
		x.c.tips[i] = git.Branch{Name: x.branch, Origin: tip, Local: x.c.tips[i].Local}
	}
	return nil
}

// leaving is how far the shop came; nil where it does not leave.
func (x *departure) leaving() *leaving {
	if x.hold == nil {
		return nil
	}
	return x.hold.Leaving
}

// shopOn is the shop as it is called on an account.
func (x *departure) shopOn(account string) (fleet.Shop, error) {
	shop, err := x.c.policy.WithAccounts(map[string]string{x.slug: account}).Shop(x.slug)
	if err == nil && shop.Account.Name != account {
		err = Usage(fmt.Errorf("%s pins shop %s to account %s", policyFile, x.slug, shop.Account.Name),
			fmt.Sprintf("take the account out of shops.%s in %s first", x.slug, policyFile))
	}
	return shop, err
}

// client is that of an account.
func (x *departure) client(a fleet.Account) (*cloudflare.Client, error) {
	if x.clients[a.ID] == nil {
		engines, err := x.door.engines([]fleet.Account{a}, x.flags.plan, nil)
		if err != nil {
			return nil, err
		}
		x.clients[a.ID] = engines[a.ID].CF
	}
	return x.clients[a.ID], nil
}

// look reads the account of a shop.
func (x *departure) look(ctx context.Context, shop fleet.Shop) (*provision.Account, error) {
	cf, err := x.client(shop.Account)
	if err != nil {
		return nil, err
	}
	return provision.Look(ctx, cf, shop.Account, shop)
}

// apply carries a plan out.
func (x *departure) apply(ctx context.Context, shop fleet.Shop, p *provision.Plan) (*provision.Resources, error) {
	if deploy.Findings(p.Findings).Blocking() {
		return nil, deploy.Findings(p.Findings)
	}
	cf, err := x.client(shop.Account)
	if err != nil {
		return nil, err
	}
	return provision.Apply(ctx, cf, p, provision.Options{Now: x.door.Now, Tell: x.say})
}

// step does a part of the work, tells of it and notes how long it took.
func (x *departure) step(ctx context.Context, text string, do func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	x.say(text)
	begun := x.door.Now()
	err := do(ctx)
	x.page.Steps = append(x.page.Steps, report.WorkStep{Text: text, Seconds: x.door.Now().Sub(begun).Seconds(), Failed: err != nil})
	if err != nil && findings(err) == nil && !errors.As(err, new(*usageError)) && !errors.As(err, new(*resultError)) {
		err = fmt.Errorf("%s: %w", text, err)
	}
	return err
}

func (x *departure) say(text string) {
	fmt.Fprintf(x.door.Stderr, "%s: %s\n", x.slug, report.Clean(text))
}

// save writes down how far the shop came, also where the run is to end: what was done is done.
func (x *departure) save(ctx context.Context, l leaving) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	d := x.door
	n := Hold{Shop: x.slug, Owner: d.asker(), Reason: l.reason(), Created: d.Now().UTC().Truncate(time.Second), By: l.Verb, State: holdHeld, Order: d.orderID(), Leaving: &l}
	if x.hold == nil {
		there, placed, err := x.holds.place(ctx, n)
		if err != nil {
			return err
		}
		if !placed {
			return x.held(there)
		}
		x.hold = there
		return nil
	}
	n.Owner, n.Created = x.hold.Owner, x.hold.Created // of who began it
	mine, swapped, err := x.holds.replace(ctx, x.hold, n)
	if err == nil && !swapped {
		err = &staleError{"the hold of " + x.slug}
	}
	if err == nil {
		x.hold = mine
	}
	return err
}

// held says that somebody holds the shop who has nothing to do with this.
func (x *departure) held(h *Hold) error {
	held := &deploy.Held{Owner: h.Owner, Reason: h.Reason, Since: h.Created, Until: h.Expires, Working: h.State == holdWorking}
	if h.Leaving != nil {
		held.Lift = h.Leaving.lift(x.slug)
	}
	f := held.Finding(fleet.Shop{Slug: x.slug})
	if h.State != holdWorking && h.Leaving == nil {
		f.Hint = "shopfleet release-hold " + x.slug + " lifts it; then run the same command again"
	}
	return deploy.Findings{f}
}

// lift ends the hold.
func (x *departure) lift(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	lifted, err := x.holds.lift(ctx, x.hold)
	if err == nil && !lifted {
		err = &staleError{"the hold of " + x.slug}
	}
	if err == nil {
		x.hold = nil
	}
	return err
}

// walk does one step after the other until there is nothing to do, or something is in the way.
func (x *departure) walk(ctx context.Context, take func(ctx context.Context, s stride) error) error {
	if x.hold != nil && x.hold.Leaving == nil {
		return x.held(x.hold)
	}
	for {
		s, found := x.leaving().next(x.asked)
		if found != nil {
			return found
		}
		if s == stepDone {
			return nil
		}
		if err := take(ctx, s); err != nil {
			return err
		}
		if x.hold == nil || x.flags.plan {
			return nil
		}
	}
}

// close makes a shop unreachable where it is: no hostname, no cron, no workers.dev. Everything else stays.
func (x *departure) close(ctx context.Context, account string) error {
	shop, err := x.shopOn(account)
	if err != nil {
		return err
	}
	have, err := x.look(ctx, shop)
	if err != nil {
		return err
	}
	plan := provision.PlanClose(shop, have)
	x.page.Closes = plan
	_, err = x.apply(ctx, shop, plan)
	return err
}

// deploy brings a commit of the shop to an account. It goes through the hold, which is this departure's own, and through
// freezes: a shop that is closed has to be opened again.
func (x *departure) deploy(ctx context.Context, account, commit string, adopt bool) error {
	d, c := x.door, x.c
	c.policy = c.policy.WithAccounts(map[string]string{x.slug: account})
	shop, err := c.policy.Shop(x.slug)
	if err != nil {
		return err
	}
	sources, problems := c.sourcesAt(ctx, []string{x.slug}, map[string]string{x.slug: commit})
	if err := problems[x.slug]; err != nil {
		return err
	}
	// A shop that opens where it was has its secrets there; one that comes to another account needs them all.
	if err := c.withSecrets(ctx, sources, secretUse{given: x.given, apply: adopt}); err != nil {
		return err
	}
	src := sources[x.slug]
	src.Moved, src.RemoveSecrets = true, false
	at, err := d.site(ctx, c, []string{x.slug}, deployFlags{apply: true, parallel: 1, throughFreeze: true, policy: x.flags.policy})
	if err != nil {
		return err
	}
	for _, e := range at.engines {
		e.Holds = nil
	}
	mark := func() (notes []string, err error) {
		engines, err := d.engines([]fleet.Account{shop.Account}, false, nil) // one that has not looked yet
		if err != nil {
			return nil, err
		}
		engine := engines[shop.Account.ID]
		plan, err := engine.PlanAdoption(ctx, src)
		if err != nil {
			return nil, err
		}
		_, err = engine.ApplyAdoption(ctx, plan, nil)
		return plan.Notes, err
	}
	if adopt { // a gate may ask the release whose stores it sees, and records are never copied along
		if _, err := mark(); err != nil {
			return err
		}
	}
	r := at.work(ctx, []string{x.slug}, map[string]deploy.Source{x.slug: src}, nil)[0]
	x.page.Outcome = r.Outcome
	if r.exit() != ExitDone || r.Status == statusSuperseded {
		if r.Status == statusSuperseded {
			return &staleError{"the branch " + x.branch}
		}
		if list := r.found(); r.err == nil && len(list) > 0 {
			return deploy.Findings(list)
		}
		return cmp.Or(r.err, error(&resultError{code: r.exit()}))
	}
	if !adopt {
		return nil
	}
	notes, err := mark()
	x.page.Todo = append(x.page.Todo, notes...)
	return err
}

// others are what the other shops of an account have now.
func (x *departure) others(ctx context.Context, gone fleet.Shop) (*others, error) {
	cf, err := x.client(gone.Account)
	if err != nil {
		return nil, err
	}
	var shops []fleet.Shop
	o := audit.Options{Policy: x.c.policy, Now: x.door.Now}
	for _, b := range x.c.tips {
		slug, ok := x.c.policy.Slug(b.Name)
		if !ok {
			continue
		}
		shop, err := x.c.policy.Shop(slug)
		if err != nil {
			continue // it can have nothing
		}
		shops = append(shops, shop)
		if slug != x.slug && shop.Account.Name == gone.Account.Name {
			o.Deep = append(o.Deep, audit.Shop{Shop: shop})
		}
	}
	all := len(o.Deep)
	if all > deepShops {
		o.Deep = nil
	}
	s := audit.Read(ctx, cf.ReadOnly(), gone.Account, o)
	if s.Error != "" {
		return nil, fmt.Errorf("reading account %s: %s", gone.Account.Name, s.Error)
	}
	found, err := othersOf(s, gone, shops)
	if err == nil {
		found.Deep = s.Deep || all == 0
	}
	return found, err
}

// delete deletes what is kept of the shop in one account, after its name was typed, and proves that nothing of anybody else
// went with it. The Worker goes first, so that at no time a live version references storage that is gone; what a run that was
// killed left is deleted by the next.
func (x *departure) delete(ctx context.Context) error {
	l := *x.leaving()
	shop, err := x.shopOn(l.kept())
	if err != nil {
		return err
	}
	x.page.Account = shop.Account.Name
	if err := x.mayGo(l, shop); err != nil {
		return err
	}
	var plan *provision.Plan
	err = x.step(ctx, "looking at what is kept", func(ctx context.Context) error {
		have, err := x.look(ctx, shop)
		if err != nil {
			return err
		}
		if open := provision.PlanClose(shop, have); open.Changes() {
			hint := "find out who opened it; shopfleet offboard " + x.slug + " --cancel and then offboard closes it again"
			if l.Verb == verbMove || l.Stage == stageDeleting {
				hint = "find out who opened it, and take away what it can be reached by"
			}
			return refuse("closed-no-more", fmt.Sprintf("%s can be reached again in account %s: %s", x.slug, shop.Account.Name, open.Steps[0]), hint)
		}
		plan = provision.PlanDelete(shop, have)
		x.page.Deletes, x.page.Digest = plan, plan.Digest()
		if deploy.Findings(plan.Findings).Blocking() {
			return deploy.Findings(plan.Findings)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if l.Verb == verbOffboard {
		if err := x.step(ctx, "verifying the export", func(ctx context.Context) error { return x.verify(ctx, *l.Backup) }); err != nil {
			return err
		}
		x.page.Backup = &report.LeftBackup{Store: l.Backup.Store, At: l.Backup.At, Digest: l.Backup.Digest, Verified: true}
	}
	if x.flags.plan {
		return nil
	}
	if l.Others == nil {
		if err := x.step(ctx, "noting what the other shops have", func(ctx context.Context) (err error) {
			l.Others, err = x.others(ctx, shop)
			return err
		}); err != nil {
			return err
		}
	}
	if yes, err := x.typed(plan.Digest()); err != nil {
		return err
	} else if !yes {
		return Usage(errors.New("nothing was deleted: the shop's name was not typed"), "run the same command again")
	}
	l = l.before(stepDelete)
	l.Confirmed, l.Began, l.Plan = x.door.asker(), x.door.Now().UTC().Truncate(time.Second), plan.Digest()
	for _, s := range plan.Steps {
		if text := s.String(); !slices.Contains(l.Deleted, text) {
			l.Deleted = append(l.Deleted, text)
		}
	}
	if err := x.save(ctx, l); err != nil {
		return err
	}
	err = x.step(ctx, "deleting", func(ctx context.Context) error {
		_, err := x.apply(ctx, shop, plan)
		return err
	})
	if err != nil {
		return err
	}
	return x.prove(ctx, shop, l)
}

// prove looks once more, and writes down what there is to be seen.
func (x *departure) prove(ctx context.Context, shop fleet.Shop, l leaving) error {
	proof := &report.LeftProof{Shop: x.slug, Account: shop.Account.Name, By: l.Confirmed, Plan: l.Plan, Deleted: l.Deleted, Before: l.Others.Digest, Tool: "shopfleet " + x.door.Version}
	if proof.Deleted == nil {
		proof.Deleted = []string{}
	}
	err := x.step(ctx, "proving it", func(ctx context.Context) error {
		have, err := x.look(ctx, shop)
		if err != nil {
			return err
		}
		for _, s := range provision.PlanDelete(shop, have).Steps {
			proof.Left = append(proof.Left, s.String())
		}
		now, err := x.others(ctx, shop)
		if err != nil {
			return err
		}
		if now.Deep != l.Others.Deep {
			return errors.New("more or fewer shops are on the account than before the deletion; run the same command again")
		}
		proof.After, proof.Changed, proof.Things, proof.Deep = now.Digest, l.Others.changed(now), now.Count, now.Deep
		return nil
	})
	if err != nil {
		return err
	}
	if len(proof.Left) > 0 {
		return fmt.Errorf("deleting: still there: %s; run the same command again", strings.Join(proof.Left, ", "))
	}
	if l.Verb == verbOffboard {
		proof.Backup = x.page.Backup
		if err := x.step(ctx, "taking it off GitHub", func(ctx context.Context) error { return x.takeOff(ctx, shop, proof) }); err != nil {
			return err
		}
	}
	proof.At = x.door.Now().UTC().Truncate(time.Second)
	if err := x.step(ctx, "keeping the proof", func(ctx context.Context) error { return x.keep(ctx, proof) }); err != nil {
		return err
	}
	x.page.Proof, x.page.Status = proof, report.DepartureDeleted
	if err := x.lift(ctx); err != nil {
		return err
	}
	if !proof.Untouched() {
		return deploy.Findings{{Rule: "others-changed", Level: deploy.LevelWarning,
			Message: "while " + x.slug + " was deleted, " + proof.Words(), Expected: "the same digest before and after",
			Hint: "a deploy of theirs in that time explains it: shopfleet releases says; what was deleted is listed, and is " + x.slug + "'s alone"}}
	}
	return nil
}

// takeOff takes the shop's environment and branch from GitHub. The branch stays under another name.
func (x *departure) takeOff(ctx context.Context, shop fleet.Shop, proof *report.LeftProof) error {
	_, err := x.hub.DeleteEnvironment(ctx, shop.Environment())
	var refused *github.Error
	if errors.As(err, &refused) && (refused.Status == 403 || refused.Status == 404) {
		x.page.Todo = append(x.page.Todo, "on GitHub, delete the environment "+shop.Environment()+": the token may not (administration: write)")
	} else if err != nil {
		return fmt.Errorf("deleting the environment %s: %w", shop.Environment(), err)
	}
	if proof.Branch, proof.Commit, err = x.keepBranch(ctx); err != nil {
		return err
	}
	head := rebase.HeadBranch(x.slug)
	tip, err := x.hub.Tip(ctx, head)
	var none *github.NotFoundError
	if err == nil {
		_, err = x.hub.SwapRef(ctx, "refs/heads/"+head, tip, "") // made anew every week; who moved it meanwhile keeps it
	} else if errors.As(err, &none) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("removing the branch %s: %w", head, err)
	}
	if !x.c.track(ctx, x.branch, "") {
		x.page.Todo = append(x.page.Todo, "git fetch --prune origin")
	}
	if i := slices.IndexFunc(x.c.tips, func(b git.Branch) bool { return b.Name == x.branch }); i >= 0 && x.c.tips[i].Local != "" {
		x.page.Todo = append(x.page.Todo, "git branch -D "+x.branch+" in this clone; GitHub has it no more")
	}
	if _, ok := x.c.policy.Shops[x.slug]; ok {
		where := policyFile
		if line, _ := x.c.policy.Position("shops", x.slug); line > 0 {
			where += fmt.Sprintf(", line %d", line)
		}
		x.page.Todo = append(x.page.Todo, fmt.Sprintf("take shops.%s out of %s", x.slug, where))
	}
	if slices.Contains(x.c.policy.Rebase.Waves.Canaries, x.slug) {
		x.page.Todo = append(x.page.Todo, "take "+x.slug+" out of rebase.waves.canaries in "+policyFile)
	}
	x.page.Notes = append(x.page.Notes, "its releases stay in the journal, as deployments of the environment "+shop.Environment())
	return nil
}

// keepBranch puts the branch aside and removes it, if it still is where it was looked at.
func (x *departure) keepBranch(ctx context.Context) (ref, commit string, err error) {
	refs, err := x.hub.Refs(ctx, leftRefs+x.slug)
	if err != nil {
		return "", "", fmt.Errorf("reading what is kept of shops that left: %w", err)
	}
	// A shop of the same name may have left before: its branch stays too, and the names are counted on.
	names, last := map[string]string{}, github.Ref{}
	for _, r := range refs {
		names[r.Name] = r.SHA
	}
	for n := 1; ; n++ {
		name := leftRefs + x.slug
		if n > 1 {
			name = fmt.Sprintf("%s.%d", name, n)
		}
		sha, taken := names[name]
		if taken && sha != x.tip {
			last = github.Ref{Name: name, SHA: sha}
			continue
		}
		if x.tip == "" {
			return last.Name, last.SHA, nil // a run before removed it
		}
		if !taken {
			made, err := x.hub.CreateRef(ctx, github.Ref{Name: name, SHA: x.tip})
			if err != nil {
				return "", "", fmt.Errorf("keeping the branch as %s: %w", name, err)
			}
			if !made {
				return "", "", &staleError{name}
			}
		}
		swapped, err := x.hub.SwapRef(ctx, "refs/heads/"+x.branch, x.tip, "")
		if err == nil && !swapped {
			err = &staleError{"the branch " + x.branch}
		}
		if err != nil {
			return "", "", fmt.Errorf("removing the branch: %w", err)
		}
		return name, x.tip, nil
	}
}

// keep writes the proof where it cannot be lost with somebody's laptop.
func (x *departure) keep(ctx context.Context, proof *report.LeftProof) error {
	text, err := json.MarshalIndent(proof, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the proof: %w", err)
	}
	sha, err := x.hub.NewNote(ctx, x.holds.like, string(text)+"\n")
	if err == nil {
		_, err = x.hub.CreateRef(ctx, github.Ref{Name: proofRefs + x.slug + "/" + proof.At.Format("20060102T150405Z"), SHA: sha})
	}
	return err
}

// kept is the newest proof of a shop that left; nil where there is none.
func (x *departure) kept(ctx context.Context) (*report.LeftProof, error) {
	refs, err := x.hub.Refs(ctx, proofRefs+x.slug+"/")
	if err != nil || len(refs) == 0 {
		return nil, err
	}
	text, err := x.hub.CommitMessage(ctx, refs[len(refs)-1].SHA)
	if err != nil {
		return nil, fmt.Errorf("reading the proof: %w", err)
	}
	var proof report.LeftProof
	if json.Unmarshal([]byte(text), &proof) != nil || proof.Shop != x.slug {
		return nil, nil // anybody may have written it
	}
	return &proof, nil
}

// typed asks for the shop's name. A person types it; where nobody can be asked --confirm-name has it.
func (x *departure) typed(digest string) (bool, error) {
	d, name := x.door, x.flags.confirm
	switch {
	case name == x.slug, d.workflow.confirmed(x.slug):
		return true, nil
	case name != "":
		return false, Usage(fmt.Errorf("--confirm-name is %q, and the shop is %s; nothing was deleted", name, x.slug), "look twice which shop is meant")
	case !d.Asks || d.workflow != nil || d.order != nil:
		return false, Usage(errors.New("nothing was deleted: the shop's name has to be typed, and nobody can be asked"), "look at it with --plan, then add --confirm-name "+x.slug)
	}
	var b bytes.Buffer
	shown := x.page
	shown.Steps = nil
	if err := report.DepartureText(&b, d.style(), &shown); err != nil {
		return false, err
	}
	if _, err := d.Stderr.Write(b.Bytes()); err != nil {
		return false, fmt.Errorf("showing what is deleted: %w", err)
	}
	fmt.Fprintf(d.Stderr, "This cannot be undone. To delete exactly this (%s), type the shop's name: ", digest[:min(12, len(digest))])
	line, err := readLine(d.Stdin)
	if err != nil {
		return false, nil
	}
	return strings.TrimSpace(line) == x.slug, nil
}

// readLine reads one line, and nothing behind it.
func readLine(r io.Reader) (string, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) < 1000 {
		n, err := r.Read(one)
		if n == 1 && one[0] == '\n' {
			return string(line), nil
		}
		line = append(line, one[:n]...)
		if err != nil {
			if len(line) > 0 && errors.Is(err, io.EOF) {
				return string(line), nil
			}
			return "", err
		}
	}
	return "", errors.New("the line is too long")
}

// end prints the page. Of a run that failed it says how far it came, and why.
func (x *departure) end(err error) error {
	d, p := x.door, &x.page
	if l := x.leaving(); l != nil {
		p.Closed, p.Due, p.To = l.Closed, l.Due, l.To
		if l.Backup != nil && p.Backup == nil {
			p.Backup = &report.LeftBackup{Store: l.Backup.Store, At: l.Backup.At, Digest: l.Backup.Digest}
		}
	}
	p.Exit = exitCode(err)
	list := findings(err)
	if list != nil {
		p.Findings = append(p.Findings, list...)
	}
	if list != nil && !deploy.Findings(list).Blocking() {
		err, p.Exit = nil, ExitFindings
	}
	if err != nil && list == nil && !errors.As(err, new(*resultError)) {
		p.Error, p.Hint = report.Clean(oneLine(err.Error())), hintOf(err)
	}
	if d.workflow != nil {
		shown := *p
		if shown.Error != "" {
			shown.Error = reasons[reason(statusFailed, err)] // the cause stays in the log
		}
		d.workflow.page = report.DepartureMarkdown(&shown)
	}
	var printed error
	if x.flags.html != "" {
		var b bytes.Buffer
		if printed = report.DepartureHTML(&b, p); printed == nil {
			printed = d.writeWhole(x.flags.html, b.Bytes())
		}
	}
	if x.flags.json {
		printed = errors.Join(printed, report.JSON(d.Stdout, p))
	} else {
		printed = errors.Join(printed, report.DepartureText(d.Stdout, d.resultStyle(), p))
	}
	switch {
	case printed != nil:
		return fmt.Errorf("printing the result: %w", printed)
	case err != nil && list == nil && !x.flags.json:
		return err
	case p.Exit != ExitDone:
		return &resultError{code: p.Exit}
	}
	return nil
}
