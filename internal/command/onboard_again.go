package command

// A shop whose branch was there before onboard: what the branch binds and the account lost is made anew, and bound.

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/provision"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// bindStores makes sure that a branch which was there binds what the account has. An id that the account has no more gives
// way to that of the store which was made in its place, in one commit on the branch; an id that it still has never does.
func (o *onboarding) bindStores(ctx context.Context, made provision.Resources) error {
	ids, err := o.bound(ctx)
	if err != nil {
		return err
	}
	files, err := o.c.repo.Files(ctx, configFile, o.tip)
	if err != nil {
		return err
	}
	p, err := wrangler.Parse("", configFile, files[0].Data)
	if err != nil {
		return err
	}
	var list []wrangler.Replacement
	for _, store := range []struct {
		id, key, field string
		there          func(id string) bool
	}{
		{made.DatabaseID, "d1_databases", "database_id", func(id string) bool {
			return slices.ContainsFunc(o.have.Databases, func(d cloudflare.D1Database) bool { return d.ID == id })
		}},
		{made.NamespaceID, "kv_namespaces", "id", func(id string) bool {
			return slices.ContainsFunc(o.have.Namespaces, func(n cloudflare.KVNamespace) bool { return n.ID == id })
		}},
		{made.Bucket, "r2_buckets", "", nil},
	} {
		if store.id == "" || slices.Contains(ids, store.id) {
			continue
		}
		r, ok := lostStore(p, o.slug, store.key, store.field, store.there)
		if !ok {
			return overlayFinding(p, []any{"env", o.slug, store.key}, "overlay-other-stores",
				fmt.Sprintf("branch %s binds other stores than account %s has for the shop: %s is not in it", o.shop.Branch, o.shop.Account.Name, store.id),
				"the ids of the stores that are there", "correct the branch, or delete it if nothing is in it yet, and run the same command again")
		}
		r.Text = store.id
		list = append(list, r)
	}
	if len(list) == 0 {
		return nil
	}
	text, err := p.Replace(list...)
	if err != nil {
		return err
	}
	if !o.here {
		o.page.Commit = o.tip
		o.track(ctx)
		o.c.tips, o.here = append(o.c.tips, git.Branch{Name: o.shop.Branch, Origin: o.tip}), true
	}
	o.say("writing the ids of new stores to " + o.shop.Branch)
	done, err := (&shopWriter{c: o.c, hub: o.hub, push: o.hub != nil}).write(ctx, o.shop, map[string][]byte{configFile: text},
		o.slug+": stores made anew\n\nAccount "+o.shop.Account.Name+" had lost what the branch bound. Made by shopfleet onboard.\n")
	if err != nil {
		return err
	}
	if done.Todo != "" {
		o.todo(done.Todo)
	}
	o.tip = done.ID
	o.mu.Lock()
	defer o.mu.Unlock()
	o.page.Findings = append(o.page.Findings, deploy.Finding{
		Rule: "stores-remade", Level: deploy.LevelWarning,
		Message:  fmt.Sprintf("account %s has lost stores of shop %s; new ones, which are empty, are in their place", o.shop.Account.Name, o.slug),
		Expected: "the stores that the branch binds",
		Hint:     "shopfleet restore " + o.slug + " --from the newest backup, before anybody writes to the shop",
	})
	return nil
}

// lostStore is the place of the one id that a shop binds and its account does not have. ok is false where it is not one.
func lostStore(p *wrangler.Project, slug, key, field string, there func(id string) bool) (r wrangler.Replacement, ok bool) {
	var entries []map[string]any
	if field == "" || json.Unmarshal(p.Value("env", slug, key), &entries) != nil {
		return r, false
	}
	n := 0
	for i, e := range entries {
		if id, _ := e[field].(string); id != "" && !there(id) {
			n++
			r.Path = []any{"env", slug, key, i, field}
		}
	}
	return r, n == 1
}
