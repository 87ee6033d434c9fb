package sim

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Token is a credential that the API accepts.
type Token struct {
	// Value is the secret: the bearer token, or the Global API key when Email is used with X-Auth-Email.
	Value string
	// Name appears in the request log in place of the value.
	Name string
	// Email is the person whose token it is; "" means operator@example.com.
	Email string
	// Accounts are the ids of the accounts that the token reaches; nil means all of them.
	Accounts []string
	// Permissions are what the token may do, such as "d1=edit" or "zone dns=read" (permission.go has the names); nil means
	// everything.
	Permissions []string
	// AccountOwned marks a token that belongs to an account and to no user: it cannot read /user.
	AccountOwned bool
	// Key marks a Global API key (X-Auth-Key with X-Auth-Email) instead of a bearer token.
	Key bool
	// Expires is when the token ends; zero means never.
	Expires time.Time
}

// credential is a Token as it is kept.
type credential struct {
	Secret   string   `json:"secret"`
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Email    string   `json:"email"`
	User     string   `json:"user"`
	Accounts []string `json:"accounts"`
	// Permissions: nil is all of them, an empty list none.
	Permissions []string  `json:"permissions"`
	Owned       bool      `json:"account_owned,omitempty"`
	Key         bool      `json:"key,omitempty"`
	Expires     time.Time `json:"expires,omitzero"`
	Created     time.Time `json:"created"`
}

func (t *credential) author() author { return author{Email: t.Email, ID: t.User} }

// reaches tells whether the token may see an account.
func (t *credential) reaches(account string) bool {
	return t.Accounts == nil || slices.Contains(t.Accounts, account)
}

// AddToken lets t in. A token with the same value is replaced; its id stays.
func (w *World) AddToken(t Token) error {
	if err := checkPermissions(t.Permissions); err != nil {
		return fmt.Errorf("adding token %s: %w", t.Name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &credential{
		Secret: t.Value, Name: t.Name, Email: t.Email, Accounts: t.Accounts, Permissions: t.Permissions, Owned: t.AccountOwned, Key: t.Key, Expires: t.Expires,
		ID: w.id(), User: w.id(), Created: w.now(),
	}
	if c.Email == "" {
		c.Email = "operator@example.com"
	}
	for _, other := range w.tokens {
		if other.Email == c.Email {
			c.User = other.User
		}
	}
	if old := w.tokens[t.Value]; old != nil {
		c.ID, c.User, c.Created = old.ID, old.User, old.Created
	}
	w.tokens[t.Value] = c
	w.touchWorld()
	return w.flush()
}

var (
	bearerText = regexp.MustCompile(`^[A-Za-z0-9_.~+/-]+=*$`)
	hexID      = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// authenticate finds out who asks.
func (w *World) authenticate(r *http.Request) (*credential, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if key := r.Header.Get("X-Auth-Key"); key != "" {
		if c := w.tokens[key]; c != nil && c.Key && strings.EqualFold(c.Email, r.Header.Get("X-Auth-Email")) {
			return c, nil
		}
		return nil, refuse(http.StatusForbidden, 9103, "Unknown X-Auth-Key or X-Auth-Email")
	}
	header := r.Header.Get("Authorization")
	if header == "" {
		return nil, refuse(http.StatusBadRequest, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")
	}
	secret, ok := strings.CutPrefix(header, "Bearer ")
	if !ok || !bearerText.MatchString(secret) {
		return nil, &refusal{Status: http.StatusBadRequest, Code: 6003, Message: "Invalid request headers",
			More: []refusal{{Code: 6111, Message: "Invalid format for Authorization header"}}}
	}
	c := w.tokens[secret]
	if c != nil && !c.Key && (c.Expires.IsZero() || w.now().Before(c.Expires)) {
		return c, nil
	}
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/tokens/verify"):
		return nil, refuse(http.StatusUnauthorized, 1000, "Invalid API Token")
	case strings.HasPrefix(path, "/accounts/"):
		return nil, refuse(http.StatusForbidden, 10000, "Authentication error")
	default:
		return nil, refuse(http.StatusForbidden, 9109, "Invalid access token")
	}
}

// authorize checks that the account or the zone in the path exists and that the token reaches it. An account that
// does not exist looks like one that may not be seen.
func (w *World) authorize(c *credential, r *http.Request) error {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	id, _, nested := strings.Cut(rest, "/")
	if id == "" || kind != "accounts" && kind != "zones" {
		return nil
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	account := w.accounts[id]
	if kind == "zones" {
		account, _ = w.findZone(id)
	}
	switch {
	case account != nil && c.reaches(account.ID):
		return nil
	case account == nil && !hexID.MatchString(id): // a seeded zone may have any id, as those of the recordings do
		return &refusal{Status: http.StatusNotFound, Code: 7003,
			Message: "Could not route to " + r.URL.Path + ", perhaps your object identifier is invalid?",
			More:    []refusal{{Code: 7000, Message: "No route for that URI"}}}
	case kind == "zones":
		return refuse(http.StatusForbidden, 9109, "Invalid zone identifier")
	case nested:
		return refuse(http.StatusForbidden, 10000, "Authentication error")
	default:
		return refuse(http.StatusForbidden, 9109, "Unauthorized to access requested resource")
	}
}

// findZone needs mu.
func (w *World) findZone(id string) (*account, *zone) {
	for _, a := range w.accounts {
		for _, z := range a.Zones {
			if z.ID == id {
				return a, z
			}
		}
	}
	return nil, nil
}
