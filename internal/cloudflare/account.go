package cloudflare

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"time"

	sdk "github.com/cloudflare/cloudflare-go"
)

// Account is an account the token can see.
type Account struct{ ID, Name string }

// Accounts lists the accounts the token can see.
func (c *Client) Accounts(ctx context.Context) ([]Account, error) {
	return collect(ctx, "Accounts", page{number: 1, size: 50}, func(ctx context.Context, p page) (items []Account, info sdk.ResultInfo, err error) {
		err = c.do(ctx, request{op: "Accounts"}, func(ctx context.Context, api *sdk.API, _ string) error {
			var accounts []sdk.Account
			accounts, info, err = api.Accounts(ctx, sdk.AccountsListParams{PaginationOptions: sdk.PaginationOptions{Page: p.number, PerPage: p.size}})
			for _, a := range accounts {
				items = append(items, Account{ID: a.ID, Name: a.Name})
			}
			return err
		})
		return items, info, err
	})
}

// TokenStatus is what the API says about the token in use.
type TokenStatus struct {
	ID        string    `json:"id"`
	Status    string    `json:"status"` // active, disabled or expired
	NotBefore time.Time `json:"not_before"`
	ExpiresOn time.Time `json:"expires_on"` // zero: never
}

// VerifyToken asks whether the token is good. It asks as for a user's token first, then, when the API answers that it is
// not one (code 1000) and an AccountID is set, as for an account's.
func (c *Client) VerifyToken(ctx context.Context) (TokenStatus, error) {
	var status TokenStatus
	err := c.do(ctx, request{op: "VerifyToken"}, func(ctx context.Context, api *sdk.API, _ string) error {
		body, err := api.VerifyAPIToken(ctx)
		status = TokenStatus(body)
		return err
	})
	var e *Error
	if errors.As(err, &e) && slices.Contains(e.Codes, 1000) && c.AccountID != "" {
		return c.VerifyAccountToken(ctx)
	}
	return status, err
}

// VerifyAccountToken asks whether the token, one owned by the account, is good.
func (c *Client) VerifyAccountToken(ctx context.Context) (TokenStatus, error) {
	var status TokenStatus
	err := c.raw(ctx, request{op: "VerifyAccountToken"}, &status)
	return status, err
}

// Zone is a DNS zone of the account.
type Zone struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status string `json:"status"` // active when Cloudflare serves it
}

// Zones lists the account's zones with this name; "" means all of them.
func (c *Client) Zones(ctx context.Context, name string) ([]Zone, error) {
	query := url.Values{}
	if c.AccountID != "" {
		query.Set("account.id", c.AccountID)
	}
	if name != "" {
		query.Set("name", name)
	}
	return list[Zone](ctx, c, request{op: "Zones", query: query}, page{number: 1, size: 50})
}

// DNSRecord is a record of a zone.
type DNSRecord struct {
	ID, Type, Name, Content, Comment string
	TTL                              int // seconds; 1 means automatic
	Proxied                          bool
	Managed                          bool // made by Cloudflare for a custom domain, and read only
}

// DNSRecords lists the zone's records with this name (a full hostname); "" means all of them.
func (c *Client) DNSRecords(ctx context.Context, zoneID, name string) ([]DNSRecord, error) {
	return collect(ctx, "DNSRecords", page{number: 1, size: 100}, func(ctx context.Context, p page) (items []DNSRecord, info sdk.ResultInfo, err error) {
		err = c.do(ctx, request{op: "DNSRecords", args: []string{zoneID}}, func(ctx context.Context, api *sdk.API, _ string) error {
			records, paging, err := api.ListDNSRecords(ctx, sdk.ZoneIdentifier(zoneID), sdk.ListDNSRecordsParams{
				Name: name, ResultInfo: sdk.ResultInfo{Page: p.number, PerPage: p.size},
			})
			if paging != nil {
				info = *paging
			}
			for _, r := range records {
				meta, _ := r.Meta.(map[string]any)
				managed, _ := meta["read_only"].(bool)
				items = append(items, DNSRecord{ID: r.ID, Type: r.Type, Name: r.Name, Content: r.Content, Comment: r.Comment, TTL: r.TTL, Proxied: r.Proxied != nil && *r.Proxied, Managed: managed})
			}
			return err
		})
		return items, info, err
	})
}

// CreateDNSRecord makes a record of this Type, Name (a full hostname), Content, Comment, TTL (0 is automatic) and Proxied,
// and returns its id (OpenAPI: dns-records-for-a-zone-create-dns-record); ErrConflict when the same record is there already.
func (c *Client) CreateDNSRecord(ctx context.Context, zoneID string, r DNSRecord) (id string, err error) {
	body := struct {
		Type    string `json:"type"`
		Name    string `json:"name"`
		Content string `json:"content"`
		TTL     int    `json:"ttl"`
		Proxied bool   `json:"proxied"`
		Comment string `json:"comment,omitempty"`
	}{r.Type, r.Name, r.Content, max(r.TTL, 1), r.Proxied, r.Comment}
	var made struct {
		ID string `json:"id"`
	}
	err = c.raw(ctx, request{op: "CreateDNSRecord", args: []string{zoneID}, body: body}, need(&made, "id"))
	return made.ID, err
}

// DeleteDNSRecord deletes one record of a zone by its id.
func (c *Client) DeleteDNSRecord(ctx context.Context, zoneID, id string) error {
	return c.raw(ctx, request{op: "DeleteDNSRecord", args: []string{zoneID, id}}, nil)
}

// GraphQL runs a query of the analytics API and decodes its data into out, a pointer. It has no envelope and a limit of
// its own; answers with errors beside the data are failures.
func (c *Client) GraphQL(ctx context.Context, query string, variables map[string]any, out any) error {
	body := map[string]any{"query": query}
	if variables != nil {
		body["variables"] = variables
	}
	return c.raw(ctx, request{op: "GraphQL", body: body}, out)
}
