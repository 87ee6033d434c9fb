package command

// What onboard writes: the stores, the branch, the release, in the order that survives a crash.

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/provision"
)

// make carries the plan out. While the stores are tagged they are filled, and the branch is written.
func (o *onboarding) make(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return o.environment(gctx) })
	group.Go(func() error {
		return o.step(gctx, "making the stores and the hostname", func(ctx context.Context) (err error) {
			o.page.Resources, err = provision.Apply(ctx, o.client, o.plan, provision.Options{Now: o.door.Now, Tell: o.say, Looked: o.looked, Then: o.begin})
			return err
		})
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return o.release(ctx, *o.page.Resources)
}

// begin is what needs the stores and nothing else: the branch that binds them, the schema, and the records that say whose
// they are.
func (o *onboarding) begin(ctx context.Context, made provision.Resources) error {
	outer, ctx := errgroup.WithContext(ctx)
	outer.Go(func() error {
		return o.step(ctx, "saying whose the stores are", func(ctx context.Context) error {
			plan := deploy.MarkStores(o.shop, o.c.policy.Identity, o.fresh(made), func(kind, id string) bool { return made.Fresh[kind+"/"+id] })
			_, err := (&deploy.Engine{CF: o.client, Now: o.door.Now}).ApplyAdoption(ctx, plan, nil)
			return err
		})
	})
	outer.Go(func() error {
		if err := o.commit(ctx, made); err != nil {
			return err
		}
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return o.step(ctx, "pushing the branch", o.push) })
		group.Go(func() error {
			return o.step(ctx, "filling the database", func(ctx context.Context) error { return o.fill(ctx, made.Fresh["d1_database/"+made.DatabaseID]) })
		})
		return group.Wait()
	})
	return outer.Wait()
}

func (o *onboarding) fresh(made provision.Resources) deploy.Fresh {
	return deploy.Fresh{Worker: o.shop.Worker, DatabaseID: made.DatabaseID, NamespaceID: made.NamespaceID, Bucket: made.Bucket}
}

// environment makes the shop's environment on GitHub.
func (o *onboarding) environment(ctx context.Context) error {
	if o.hub == nil {
		o.todo("on GitHub, make the environment " + o.shop.Environment() + " for the branch " + o.shop.Branch + " alone")
		return nil
	}
	_, err := o.hub.PutEnvironment(ctx, o.shop.Environment(), o.shop.Branch)
	var refused *github.Error
	if errors.As(err, &refused) && (refused.Status == 403 || refused.Status == 404) {
		// A token that may not administrate the repository is no reason to stop: the environment is made by the first deploy,
		// without its rule.
		o.todo("on GitHub, let only the branch " + o.shop.Branch + " deploy to the environment " + o.shop.Environment() + ": the token may not (administration: write)")
		return nil
	}
	if err != nil {
		return fmt.Errorf("making the environment %s: %w", o.shop.Environment(), err)
	}
	o.page.Environment = o.shop.Environment()
	return o.environmentSecrets(ctx)
}

// environmentSecrets says which secrets the environment needs before a push can deploy, where the product deploys by pushes.
func (o *onboarding) environmentSecrets(ctx context.Context) error {
	files, err := o.c.repo.Files(ctx, workflowDir+"deploy-shop.yml", o.c.base)
	if err != nil || files[0].Err != nil {
		return err
	}
	o.todo("gh secret set CLOUDFLARE_API_TOKEN --env " + o.shop.Environment() + ": the token that pushes to " + o.shop.Branch + " deploy with, unless the repository or the organization has one")
	if len(o.secrets) > 0 && len(o.c.policy.Secrets.Recipients) == 0 {
		o.todo("gh secret set SHOP_SECRETS --env " + o.shop.Environment() + ", if its deploys are to bring secrets; the Worker keeps those that it has now")
	}
	return nil
}

// commit makes the commit of the shop's branch in this repository, or finds that the branch is there, and makes its source
// ready.
func (o *onboarding) commit(ctx context.Context, made provision.Resources) error {
	if o.page.BranchFound = o.tip != ""; o.page.BranchFound {
		if err := o.bindStores(ctx, made); err != nil {
			return err
		}
		o.page.Commit = o.tip
	} else {
		text, err := o.overlay(ctx, made)
		if err != nil {
			return err
		}
		if o.page.Commit, err = o.commitOverlay(ctx, text); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(o.c.tips, func(b git.Branch) bool { return b.Name == o.shop.Branch }) {
		o.c.tips = append(o.c.tips, git.Branch{Name: o.shop.Branch, Local: o.page.Commit})
	}
	sources, problems := o.c.sourcesAt(ctx, []string{o.slug}, map[string]string{o.slug: o.page.Commit})
	if err := problems[o.slug]; err != nil {
		return err
	}
	if o.tip != "" { // its bundle counts, as with every deploy
		if err := o.c.withSecrets(ctx, sources, secretUse{given: o.secrets, apply: true}); err != nil {
			return err
		}
	}
	o.source = sources[o.slug]
	if o.tip == "" { // the bundle of this commit has just these, and nobody needs its identity for them
		o.source.Secrets, o.source.Fingerprints = o.secrets, o.secrets.Fingerprints(o.door.identity(o.c.policy), o.slug)
	}
	o.source.Moved = true // a shop of the name may have left another account
	return nil
}

// push brings the commit to GitHub, unless a branch is there. Where GitHub is left alone the branch is made in this repository.
func (o *onboarding) push(ctx context.Context) error {
	commit := o.page.Commit
	if o.tip != "" {
		o.track(ctx)
		return nil
	}
	if o.hub == nil {
		o.page.BranchMade = true
		if err := (&shopWriter{c: o.c}).move(ctx, []git.RefUpdate{{Name: "refs/heads/" + o.shop.Branch, After: commit}}); err != nil {
			return fmt.Errorf("making %s: %w", o.shop.Branch, err)
		}
		o.todo("git push origin " + o.shop.Branch)
		return nil
	}
	remote, _, err := o.door.gitRemote(ctx, o.c, o.hub)
	if err != nil {
		return err
	}
	err = o.c.repo.Push(ctx, remote, []git.RefUpdate{{Name: "refs/heads/" + o.shop.Branch, After: commit}})
	var refused *git.PushError
	if errors.As(err, &refused) && refused.Has(git.Stale) {
		return Usage(fmt.Errorf("somebody made %s meanwhile", o.shop.Branch), "git fetch origin, then run the same command again: it goes on with that branch")
	}
	if err != nil {
		return err
	}
	o.page.BranchMade = true
	o.track(ctx)
	return nil
}

// track notes in this clone that origin has the branch.
func (o *onboarding) track(ctx context.Context) {
	if !o.here && o.hub != nil && !o.c.track(ctx, o.shop.Branch, o.page.Commit) {
		o.todo("git fetch origin")
	}
}

// overlay is the text of the shop's config.
func (o *onboarding) overlay(ctx context.Context, made provision.Resources) ([]byte, error) {
	configs, err := o.others(ctx)
	if err != nil {
		return nil, err
	}
	policy := o.c.policy.Onboard
	if o.byDomain() {
		policy.Hostname = fleet.HostnameCustomDomain
	}
	x := overlay{Shop: o.shop, Name: o.name, Like: alike(configs), Policy: policy, Resources: made, Crons: o.crons}
	for _, name := range x.Like.Own {
		if _, known := policy.Vars[name]; !known && name != "SHOP_NAME" && name != "SHOP_SLUG" {
			o.todo(fmt.Sprintf("vars.%s in %s of %s: every other shop has a value of its own", name, configFile, o.shop.Branch))
		}
	}
	return x.text(o.main)
}

// others are the configs of the shops that are there, by slug.
func (o *onboarding) others(ctx context.Context) (map[string][]byte, error) {
	commits := o.c.tipsByName()
	var slugs, tips []string
	for _, b := range o.c.tips {
		if slug, ok := o.c.policy.Slug(b.Name); ok && slug != o.slug {
			slugs, tips = append(slugs, slug), append(tips, commits[b.Name])
		}
	}
	out := map[string][]byte{}
	if len(tips) == 0 {
		return out, nil
	}
	files, err := o.c.repo.Files(ctx, configFile, tips...)
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		if f.Err == nil {
			out[slugs[i]] = f.Data
		}
	}
	return out, nil
}

// commitOverlay makes the commit of the overlay on top of main, in this repository and on no branch of it.
func (o *onboarding) commitOverlay(ctx context.Context, text []byte) (string, error) {
	store, err := o.c.repo.Store(ctx)
	if err != nil {
		return "", err
	}
	defer store.Close()
	main, err := store.RawCommit(o.c.base)
	if err != nil {
		return "", fmt.Errorf("reading the tip of main: %w", err)
	}
	files := map[string][]byte{}
	if len(o.secrets) > 0 && len(o.c.policy.Secrets.Recipients) > 0 {
		if files, err = o.c.sealed(o.slug, o.secrets); err != nil {
			return "", err
		}
	}
	files[configFile] = text
	var entries []git.Entry
	for _, path := range sortedKeys(files) {
		entries = append(entries, git.Entry{Path: path, Mode: git.ModeFile, ID: store.PutBlob(files[path])})
	}
	tree, err := store.Edit(main.Tree, entries)
	if err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	when := fmt.Sprintf("%s %d +0000", git.Signature(), o.door.Now().Unix())
	commit := store.PutCommit(git.RawCommit{
		Tree: tree, Parents: []string{o.c.base}, Author: when, Committer: when,
		Message: []byte(o.slug + ": the shop's overlay\n\nMade by shopfleet onboard, for account " + o.shop.Account.Name + ".\n"),
	})
	if err := store.Flush(); err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	return commit, nil
}

// release deploys the commit, and says whose the Worker is.
func (o *onboarding) release(ctx context.Context, made provision.Resources) (err error) {
	d := o.door
	f := deployFlags{apply: true, parallel: 1, noJournal: o.hub == nil, policy: o.flags.policy}
	at, err := d.site(ctx, o.c, []string{o.slug}, f)
	if err != nil {
		return err
	}
	err = o.step(ctx, "deploying", func(ctx context.Context) error {
		r := at.work(ctx, []string{o.slug}, map[string]deploy.Source{o.slug: o.source}, nil)[0]
		o.released, o.page.Outcome, o.page.Status = &r, r.Outcome, r.Status
		if code := r.exit(); code != ExitDone {
			return &resultError{code: code}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return o.step(ctx, "saying whose the Worker is", func(ctx context.Context) error {
		fresh := func(kind, id string) bool { return made.Fresh[kind+"/"+id] || kind == "worker" && o.first }
		_, err := at.engines[o.shop.Account.ID].ApplyAdoption(ctx, deploy.Mark(o.shop, o.c.policy.Identity, o.fresh(made), o.tags, fresh), nil)
		if errors.Is(err, deploy.ErrNoIdentityTable) {
			o.todo(fmt.Sprintf("table %s with columns key and value, which fleet.yml names for the identity record, is not in the database: once a migration makes it, shopfleet adopt %s", o.c.policy.Identity.Table, o.slug))
			return nil
		}
		return err
	})
}
