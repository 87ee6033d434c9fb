package provision

import (
	"errors"
	"fmt"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// explain turns what only the user can mend into findings: a token that lacks a permission. All else stays what it is.
func explain(account string, err error) error {
	var found deploy.Findings
	if errors.As(err, &found) || !errors.Is(err, cloudflare.ErrUnauthorized) {
		return err
	}
	var e *cloudflare.Error
	if !errors.As(err, &e) || e.Permission() == "" {
		return err
	}
	return deploy.Findings{blocking(rulePermissionMissing,
		fmt.Sprintf("the token of account %s lacks the permission %s, which %s needs", account, e.Permission(), e.Op),
		e.Permission()+", for this account and its zones", "edit the token in the dashboard (Manage Account, API Tokens), add the permission, and run this again; if it has it, the token is another one, or was revoked")}
}

func nameTaken(kind, name, why, hint string) deploy.Finding {
	return blocking(ruleNameTaken, fmt.Sprintf("%s %s %s", words[kind], name, why), "a name that nobody has", hint)
}

func hostnameTaken(host, why, hint string) deploy.Finding {
	return blocking(ruleHostnameTaken, fmt.Sprintf("hostname %s is taken: %s", host, why), "a hostname that nobody holds", hint)
}

// shopOf is as much of the shop as its records are known by.
func shopOf(p *Plan) fleet.Shop { return fleet.Shop{Slug: p.Shop, Worker: p.Worker} }
