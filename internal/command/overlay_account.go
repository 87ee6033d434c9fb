package command

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// placed is the policy with every shop on the account that its own branch names: account_id of env.<slug>. A fleet of one
// account has nothing to look up. A branch that cannot be read, or that names no account of the fleet, is left where the
// rules put it, and admission says what is wrong with it.
func placed(ctx context.Context, repo *git.Repository, policy *fleet.Policy, tips map[string]string) (*fleet.Policy, error) {
	if len(policy.Accounts) < 2 {
		return policy, nil
	}
	var slugs, commits []string
	for _, branch := range sortedKeys(tips) {
		if slug, ok := policy.Slug(branch); ok && tips[branch] != "" {
			slugs, commits = append(slugs, slug), append(commits, tips[branch])
		}
	}
	if len(slugs) == 0 {
		return policy, nil
	}
	configs, err := repo.Files(ctx, configFile, commits...)
	if err != nil {
		return nil, fmt.Errorf("reading which accounts the shops are on: %w", err)
	}
	accounts := map[string]string{}
	for i, slug := range slugs {
		if a, ok := policy.AccountOf(overlayAccount(configs[i].Data, slug)); ok {
			accounts[slug] = a.Name
		}
	}
	return policy.WithAccounts(accounts), nil
}

// overlayAccount is the account_id that a shop's config names; "" where it names none.
func overlayAccount(config []byte, slug string) (id string) {
	p, err := wrangler.Parse("", configFile, config)
	if err != nil {
		return ""
	}
	for _, path := range [][]any{{"env", slug, "account_id"}, {"account_id"}} {
		if raw := p.Value(path...); json.Unmarshal(raw, &id) == nil && id != "" {
			return id
		}
	}
	return ""
}
