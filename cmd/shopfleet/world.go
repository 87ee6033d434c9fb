//go:build !noworld

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tailscale/hujson"

	shopfleet "github.com/kvick/shopfleet"
	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/github"
)

// The demo's product and token. The token opens a world on this machine and
// nothing else.
const (
	helmMain     = "testdata/helm"
	helmOverlays = "testdata/helm.overlays"
	demoToken    = "sim-token"
)

// world makes the embedded world: a Cloudflare account on localhost and a git
// repository of the product Helm with its shops' branches.
type world struct{ door *command.Door }

// worldCommands are the commands that need a world. The image of the action is
// built without them, with the tag noworld: nothing there asks for one, and the
// simulators, their parsers and the product Helm are 4 MB of it.
func worldCommands(door *command.Door) []*cobra.Command {
	w := &world{door: door}
	return []*cobra.Command{w.demo(), w.sim()}
}

// helmShops are the slugs that have an overlay, in order.
func helmShops() ([]string, error) {
	entries, err := fs.ReadDir(shopfleet.Helm, helmOverlays)
	if err != nil {
		return nil, fmt.Errorf("reading the embedded overlays: %w", err)
	}
	var slugs []string
	for _, e := range entries {
		if e.IsDir() {
			slugs = append(slugs, e.Name())
		}
	}
	return slugs, nil
}

// tree reads an embedded directory: slash-separated path → content.
func tree(root string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := fs.WalkDir(shopfleet.Helm, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(shopfleet.Helm, name)
		files[strings.TrimPrefix(name, root+"/")] = content
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the embedded product: %w", err)
	}
	return files, nil
}

// repository writes Helm's repository into dir: main, and a branch for each
// shop with its overlay on top. Commits have fixed dates and the same ids on
// every machine. runs says whether the world runs Worker code: where it does not,
// fleet.yml asks nothing that only code can answer.
func repository(ctx context.Context, dir string, runs bool) error {
	drafts, err := drafts(runs)
	if err != nil {
		return err
	}
	repo, err := git.Init(ctx, dir)
	if err != nil {
		return err
	}
	if _, err := repo.Write(ctx, drafts...); err != nil {
		return err
	}
	return repo.Checkout(ctx, "main")
}

// drafts are the commits of Helm's repository.
func drafts(runs bool) ([]git.Draft, error) {
	main, err := tree(helmMain)
	if err != nil {
		return nil, err
	}
	if !runs {
		if err := askNoCode(main); err != nil {
			return nil, err
		}
	}
	slugs, err := helmShops()
	if err != nil {
		return nil, err
	}
	when := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	list := []git.Draft{{Branch: "main", Message: "helm: a point of sale for bike shops", Files: main, When: when}}
	for i, slug := range slugs {
		overlay, err := tree(path.Join(helmOverlays, slug))
		if err != nil {
			return nil, err
		}
		list = append(list, git.Draft{
			Branch: "shops/" + slug, From: "main", Message: slug + ": the shop's overlay", Files: overlay,
			When: when.Add(time.Duration(i+1) * time.Hour),
		})
	}
	return list, nil
}

// askNoCode takes out of fleet.yml what only Worker code can answer: which shop it sees, and what it does with strangers.
func askNoCode(main map[string][]byte) error {
	policy := string(main["fleet.yml"])
	for _, setting := range []string{"  path: /__identity\n", "  protected:\n    - /\n"} {
		if !strings.Contains(policy, setting) {
			return fmt.Errorf("the embedded fleet.yml has no %q", setting)
		}
		policy = strings.Replace(policy, setting, "", 1)
	}
	main["fleet.yml"] = []byte(policy)
	return nil
}

// The demo's repository on GitHub, and the token of who owns it; it opens a
// world on this machine and nothing else.
const (
	demoOwner       = "kvick"
	demoRepository  = "helm"
	demoGitHubToken = "sim-github-token"
)

// publish gives a GitHub on localhost the product's repository, with the same
// commits as every checkout of it.
func publish(ctx context.Context, w *github.World, runs bool) (*github.Repository, error) {
	drafts, err := drafts(runs)
	if err != nil {
		return nil, err
	}
	hub, err := w.Repository(demoOwner, demoRepository)
	if err != nil {
		return nil, err
	}
	if _, err := w.AddUser("operator", "User"); err != nil {
		return nil, err
	}
	if err := errors.Join(hub.SetPermission("operator", "admin"), w.AddToken(demoGitHubToken, "operator")); err != nil {
		return nil, err
	}
	repo, err := git.Open(ctx, hub.Dir)
	if err != nil {
		return nil, err
	}
	_, err = repo.Write(ctx, drafts...)
	return hub, err
}

// seed gives a world the account that fleet.yml names, with the stores that
// the shops' overlays bind, tagged with their shops: what onboarding would have
// made.
func seed(w *sim.World) (fleet.Account, error) {
	src, err := fs.ReadFile(shopfleet.Helm, path.Join(helmMain, "fleet.yml"))
	if err != nil {
		return fleet.Account{}, fmt.Errorf("reading the embedded fleet.yml: %w", err)
	}
	policy, err := fleet.Parse("fleet.yml", src)
	if err != nil {
		return fleet.Account{}, err
	}
	slugs, err := helmShops()
	if err != nil {
		return fleet.Account{}, err
	}
	home := policy.Accounts[0]
	account, err := w.Account(home.ID, home.Name)
	if err != nil {
		return home, err
	}
	err = errors.Join(account.AddToken(demoToken, "demo"), account.AddZone(home.Zone, ""), account.SetSubdomain("kvick"))
	for _, slug := range slugs {
		err = errors.Join(err, seedShop(account, policy, slug))
	}
	return home, err
}

func seedShop(account *sim.Account, policy *fleet.Policy, slug string) error {
	shop, err := policy.Shop(slug)
	if err != nil {
		return err
	}
	src, err := fs.ReadFile(shopfleet.Helm, path.Join(helmOverlays, slug, "wrangler.jsonc"))
	if err != nil {
		return fmt.Errorf("reading the embedded overlay of %s: %w", slug, err)
	}
	plain, err := hujson.Standardize(src)
	if err != nil {
		return fmt.Errorf("reading the embedded overlay of %s: %w", slug, err)
	}
	var overlay struct {
		Env map[string]struct {
			D1 []struct {
				ID string `json:"database_id"`
			} `json:"d1_databases"`
			KV []struct {
				ID string `json:"id"`
			} `json:"kv_namespaces"`
		} `json:"env"`
	}
	if err := json.Unmarshal(plain, &overlay); err != nil {
		return fmt.Errorf("reading the embedded overlay of %s: %w", slug, err)
	}
	for _, db := range overlay.Env[slug].D1 {
		if err := errors.Join(account.AddD1(shop.D1, db.ID, shop.Region), account.AddTag("d1_database", db.ID, "shop", slug)); err != nil {
			return err
		}
	}
	for _, ns := range overlay.Env[slug].KV {
		if err := errors.Join(account.AddKV(shop.KV, ns.ID), account.AddTag("kv_namespace", ns.ID, "shop", slug)); err != nil {
			return err
		}
	}
	return errors.Join(account.AddR2(shop.R2), account.AddTag("r2_bucket", shop.R2, "shop", slug), account.AddTag("worker", shop.Worker, "shop", slug))
}

// workerd finds the runtime that runs Worker code in the world: the path in
// SHOPFLEET_WORKERD, a workerd on PATH, or the one that `make test` installed.
func (w *world) workerd() string {
	if at := w.door.Getenv("SHOPFLEET_WORKERD"); at != "" {
		return at
	}
	candidates := filepath.SplitList(w.door.Getenv("PATH"))
	for i, dir := range candidates {
		candidates[i] = filepath.Join(dir, "workerd")
	}
	installed, err := filepath.Glob(filepath.Join(w.door.Dir, "testdata/judge/node_modules/@cloudflare/workerd-*/bin/workerd"))
	if err == nil {
		candidates = append(candidates, installed...)
	}
	i := slices.IndexFunc(candidates, func(at string) bool {
		info, err := os.Stat(at)
		return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
	})
	if i < 0 {
		return ""
	}
	return candidates[i]
}
