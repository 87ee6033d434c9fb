package sim

import (
	"net/http"
	"strconv"
	"strings"
)

func identityEndpoints() []endpoint {
	return []endpoint{
		{"GET /accounts", reads, (*call).listAccounts},
		{"GET /accounts/{account}", reads, (*call).getAccount},
		{"GET /accounts/{account}/tokens/verify", reads, (*call).verifyAccountToken},
		{"GET /memberships", reads, (*call).listMemberships},
		{"GET /user", reads, (*call).getUser},
		{"GET /user/tokens/verify", reads, (*call).verifyUserToken},
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

func accountView(a *account) map[string]any {
	return map[string]any{
		"id": a.ID, "name": a.Name, "type": "standard", "created_on": stamp(a.Created),
		"settings": map[string]any{"enforce_twofactor": false},
	}
}

// reachable are the accounts that the caller may see, by id.
func (c *call) reachable() []*account {
	var list []*account
	for _, id := range sortedKeys(c.w.accounts) {
		if c.cred.reaches(id) {
			list = append(list, c.w.accounts[id])
		}
	}
	return list
}

func (c *call) listAccounts() (any, error) {
	list := []map[string]any{}
	for _, a := range c.reachable() {
		if name := c.query("name"); name == "" || strings.EqualFold(name, a.Name) {
			list = append(list, accountView(a))
		}
	}
	return paged(c, list, 20, 50), nil
}

func (c *call) getAccount() (any, error) { return accountView(c.account), nil }

func (c *call) listMemberships() (any, error) {
	if c.cred.Owned {
		return nil, refuse(http.StatusForbidden, 9109, "Unauthorized to access requested resource")
	}
	list := []map[string]any{}
	for _, a := range c.reachable() {
		list = append(list, map[string]any{
			"id": a.ID[16:] + a.ID[:16], "status": "accepted", "account": accountView(a),
			"roles": []string{"Super Administrator - All Privileges"},
		})
	}
	return paged(c, list, 20, 50), nil
}

func (c *call) getUser() (any, error) {
	if c.cred.Owned {
		return nil, refuse(http.StatusForbidden, 9109, "Unauthorized to access requested resource")
	}
	return map[string]any{"id": c.cred.User, "email": c.cred.Email, "suspended": false, "two_factor_authentication_enabled": true}, nil
}

func (c *call) tokenView() map[string]any {
	out := map[string]any{"id": c.cred.ID, "status": "active"}
	if !c.cred.Expires.IsZero() {
		out["expires_on"] = stamp(c.cred.Expires)
	}
	return out
}

// verifyUserToken does not know tokens that belong to an account (wire.md §2: 1000).
func (c *call) verifyUserToken() (any, error) {
	if c.cred.Owned || c.cred.Key {
		return nil, refuse(http.StatusUnauthorized, 1000, "Invalid API Token")
	}
	return c.tokenView(), nil
}

func (c *call) verifyAccountToken() (any, error) {
	if !c.cred.Owned {
		return nil, refuse(http.StatusUnauthorized, 1000, "Invalid API Token")
	}
	return c.tokenView(), nil
}
