package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/sim"
)

// How large the fleet is that an audit is measured on.
const (
	auditedAccounts = 10
	auditedShops    = 50 // of each account
)

// audit measures an audit of a fleet in which everything is as it should be: 500 shops that were deployed and adopted, on
// ten accounts with a zone and a token each. How many calls it makes is not measured but required.
func (b *bench) audit() ([]figure, error) {
	a, err := b.fleetOfAccounts()
	if err != nil {
		return nil, err
	}
	defer a.close()
	cmd := exec.Command(b.program, "deploy", "--all", "--json")
	cmd.Dir, cmd.Env = a.repo.Dir, a.env
	start := time.Now()
	if text, err := cmd.Output(); err != nil {
		return nil, fmt.Errorf("deploying the fleet: %w\n%.4000s", err, text)
	}
	fmt.Fprintf(os.Stderr, "audit-500: the fleet was deployed in %.0f s\n", time.Since(start).Seconds())
	if err := a.adopt(); err != nil {
		return nil, err
	}
	a.world.ForgetRequests()
	var took []float64
	for range runs {
		out, err := os.CreateTemp(b.dir, "audit-")
		if err != nil {
			return nil, err
		}
		defer out.Close()
		a.world.ForgetRequests()
		wall, _, err := b.time(a.repo.Dir, a.env, "sh", "-c", `"$0" audit --json > "$1"`, b.program, out.Name())
		if err != nil {
			text, _ := os.ReadFile(out.Name())
			return nil, fmt.Errorf("%w\n%.4000s", err, text)
		}
		took = append(took, wall.Seconds())
		if err := a.proved(out.Name()); err != nil {
			return nil, err
		}
	}
	return []figure{{"audit-500", median(took), "s", "<= 5"}}, nil
}

// proved requires that a report speaks of all shops, has no findings, and cost no more calls than it may.
func (a *arena) proved(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var page struct {
		Exit  int `json:"exit_code"`
		Shops int
		Graph struct{ Workers, Stores, Edges []struct{} }
	}
	if err := json.Unmarshal(text, &page); err != nil {
		return err
	}
	const all = auditedAccounts * auditedShops
	if page.Exit != 0 || page.Shops != all || len(page.Graph.Workers) != all || len(page.Graph.Stores) != 3*all || len(page.Graph.Edges) != 3*all {
		return fmt.Errorf("the audit exits with %d and speaks of %d shops, %d Workers, %d stores and %d bindings", page.Exit, page.Shops,
			len(page.Graph.Workers), len(page.Graph.Stores), len(page.Graph.Edges))
	}
	lists, each := map[string]int{}, map[string]int{}
	for _, r := range a.world.Requests() {
		if r.Write {
			return fmt.Errorf("an audit wrote: %s", r.Op)
		}
		if strings.HasSuffix(r.Path, "/settings") {
			each[r.Token]++
		} else {
			lists[r.Token]++
		}
	}
	for token := range lists {
		if lists[token] > 12 || each[token] > auditedShops {
			return fmt.Errorf("an account was asked for %d lists and %d Workers; at most 12 and %d are allowed", lists[token], each[token], auditedShops)
		}
	}
	fmt.Fprintf(os.Stderr, "audit-500: %d calls in all, for each account %d lists and %d Workers\n", len(a.world.Requests()), lists["account-0"], each["account-0"])
	return nil
}

// fleetOfAccounts is an arena with many accounts, and the stores of their shops.
func (b *bench) fleetOfAccounts() (*arena, error) {
	ctx := context.Background()
	b.count++
	w, err := sim.New(sim.Options{RateLimit: -1})
	if err != nil {
		return nil, err
	}
	main, err := tree(helmMain)
	if err != nil {
		return nil, err
	}
	overlay, err := tree(helmOverlays + "/swicked")
	if err != nil {
		return nil, err
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir, "NO_COLOR=1"}
	var accounts, shops strings.Builder
	drafts := []git.Draft{{Branch: "main", Message: "helm", Files: main}}
	for i := range auditedAccounts {
		id, zone, name := fmt.Sprintf("%032x", 0xa00+i), fmt.Sprintf("kvick-%d.bike", i), fmt.Sprintf("account-%d", i)
		account, err := w.Account(id, name)
		if err != nil {
			return nil, err
		}
		token := "sim-token-" + name
		err = errors.Join(account.AddZone(zone, ""), account.SetSubdomain(name), w.AddToken(sim.Token{Value: token, Name: name, Accounts: []string{id}}))
		env = append(env, fmt.Sprintf("TOKEN_%d=%s", i, token))
		fmt.Fprintf(&accounts, "  %s:\n    id: %q\n    zone: %s\n    max_shops: 100\n    token: TOKEN_%d\n", name, id, zone, i)
		for j := range auditedShops {
			n := i*auditedShops + j
			slug := fmt.Sprintf("shop-%03d", n)
			db, kv := shopIDs(n)
			err = errors.Join(err, account.AddD1("helm-"+slug+"-db", db, "wnam"), account.AddKV("helm-"+slug+"-kv", kv), account.AddR2("helm-"+slug+"-assets"))
			fmt.Fprintf(&shops, "  %s:\n    account: %s\n", slug, name)
			text := strings.NewReplacer("7f3a0c5e9b1d4826a0e4c2d8f6b19357", id, `"helm-`+slug+`.kvick.bike"`, `"helm-`+slug+"."+zone+`"`).
				Replace(string(shopConfig(overlay["wrangler.jsonc"], slug, n)))
			drafts = append(drafts, git.Draft{Branch: "shops/" + slug, From: "main", Message: "overlay", Files: map[string][]byte{"wrangler.jsonc": []byte(text)}})
		}
		if err != nil {
			return nil, err
		}
	}
	if err := askNoCode(main); err != nil {
		return nil, err
	}
	policy := string(main["fleet.yml"])
	before, _, _ := strings.Cut(policy, "accounts:\n")
	_, after, _ := strings.Cut(policy, "    - TWILIO_ACCOUNT_SID\n")
	before = strings.Replace(before, "helm-{slug}.kvick.bike", "helm-{slug}.{zone}", 1)
	main["fleet.yml"] = []byte(before + "accounts:\n" + accounts.String() + "shops:\n" + shops.String() + after)
	repo, err := git.Init(ctx, filepath.Join(b.dir, fmt.Sprintf("world-%d", b.count)))
	if err != nil {
		return nil, err
	}
	if _, err := repo.Write(ctx, drafts...); err != nil {
		return nil, err
	}
	at, err := w.Start("", "")
	if err != nil {
		return nil, err
	}
	env = append(env, "CLOUDFLARE_API_BASE_URL="+at.API, "SHOPFLEET_EDGE_URL="+at.Edge)
	return &arena{world: w, repo: repo, env: env}, nil
}

// adopt puts the owner tags on everything that the shops have.
func (a *arena) adopt() error {
	ctx := context.Background()
	for i := range auditedAccounts {
		cf := a.unlimited()
		cf.AccountID, cf.Token = fmt.Sprintf("%032x", 0xa00+i), cloudflare.Secret(fmt.Sprintf("sim-token-account-%d", i))
		for j := range auditedShops {
			n := i*auditedShops + j
			slug := fmt.Sprintf("shop-%03d", n)
			db, kv := shopIDs(n)
			for typ, id := range map[string]string{"d1_database": db, "kv_namespace": kv, "r2_bucket": "helm-" + slug + "-assets", "worker": "helm-" + slug} {
				if err := cf.PutTags(ctx, cloudflare.ResourceTags{Type: typ, ID: id, Tags: map[string]string{"shop": slug}}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
