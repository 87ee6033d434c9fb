package app

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/command"
)

// Permission is one thing that the App may do, and why.
type Permission struct {
	Name, Level string
	Why         string
}

// ManifestOptions say what App to describe.
type ManifestOptions struct {
	Name     string // "" leaves it to who registers the App: names are unique on all of GitHub
	URL      string // of the server, https://host; deliveries go to its WebhookPath
	Homepage string // "" means URL
	Teams    bool   // fleet.yml names teams under commands:
	Rebase   bool   // the weekly rebase runs as this App too
	Onboard  bool   // shops are onboarded and offboarded as this App too
}

// Permissions are the least that the App can do its work with (contracts/github/wire.md §1.9). Administration is
// there for the environments of new shops alone; secrets are not among them: people set those.
func (o ManifestOptions) Permissions() []Permission {
	list := []Permission{
		{"metadata", "read", "who has write access: asked for each order, before anything else"},
		{"contents", "write", "holds are refs; landing moves a shop's branch; the mirror of the repository is fetched"},
		{"issues", "write", "👀 on a comment, which claims an order: pull_requests does not cover reactions"},
		{"pull_requests", "write", "which shop an order is about, and the answer below it; landing labels and closes"},
		{"deployments", "write", "the journal: what was released, and what a rollback made of it"},
		{"checks", "write", "check runs with the buttons land, deploy and rollback"},
		{"actions", "write", "starts the workflows that deploy, plan, audit and rebase"},
		{"statuses", "read", "whether a pull request is green before it lands"},
	}
	if o.Rebase {
		list = append(list, Permission{"workflows", "write", "carries main's changes of .github/workflows onto the shops' branches: GitHub refuses such pushes without"})
	}
	if o.Onboard {
		list = append(list, Permission{"administration", "write", "makes a new shop's environment and its branch rule, and deletes it with the shop; GitHub has no smaller permission for it"})
	}
	if o.Teams {
		list = append(list, Permission{"members", "read", "whether who orders is in the team that fleet.yml names"})
	}
	return list
}

// Event is a kind of delivery that the App subscribes to, and why.
type Event struct{ Name, Why string }

// Events are those that the server does something about.
func (o ManifestOptions) Events() []Event {
	return []Event{
		{"issue_comment", "orders: a comment's first line"},
		{"check_run", "orders: the buttons of a check run"},
		{"pull_request", "a pull request to a shop's branch gets its check run with buttons"},
		{"deployment_status", "a release gets its button for a rollback"},
	}
}

// Manifest is the App as GitHub's manifest flow takes it; redirect is where GitHub sends whoever registered it, "" for
// nowhere.
func (o ManifestOptions) Manifest(redirect string) ([]byte, error) {
	at, err := o.check()
	if err != nil {
		return nil, err
	}
	type hook struct {
		URL    string `json:"url"`
		Active bool   `json:"active"`
	}
	m := struct {
		Name        string            `json:"name,omitempty"`
		URL         string            `json:"url"`
		Description string            `json:"description"`
		Hook        hook              `json:"hook_attributes"`
		Redirect    string            `json:"redirect_url,omitempty"`
		Callbacks   []string          `json:"callback_urls"`
		Public      bool              `json:"public"`
		Permissions map[string]string `json:"default_permissions"`
		Events      []string          `json:"default_events"`
	}{
		Name: o.Name, URL: orDefault(o.Homepage, at), Description: "Rolls back, lands and answers when people say so on pull requests.",
		Hook: hook{at + WebhookPath, true}, Redirect: redirect, Callbacks: []string{at + CallbackPath}, Permissions: map[string]string{},
	}
	for _, p := range o.Permissions() {
		m.Permissions[p.Name] = p.Level
	}
	for _, e := range o.Events() {
		m.Events = append(m.Events, e.Name)
	}
	return json.MarshalIndent(m, "", "  ")
}

var appName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,33}$`) // GitHub's limit is 34 characters [K]

// check returns the server's address without a slash at its end.
func (o ManifestOptions) check() (string, error) {
	if o.Name != "" && !appName.MatchString(o.Name) {
		return "", command.Usage(fmt.Errorf("--name %q is no App's", o.Name), "up to 34 letters, digits, blanks, dots, hyphens")
	}
	at, err := webAddress("--url", o.URL)
	if err == nil && o.Homepage != "" {
		_, err = webAddress("--homepage", o.Homepage)
	}
	return at, err
}

// webAddress is an https address of nothing but a host, with a path at most; http on this machine alone.
func webAddress(what, text string) (string, error) {
	u, err := url.Parse(text)
	if err == nil && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" && u.Opaque == "" &&
		(u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())) {
		return strings.TrimRight(u.String(), "/"), nil
	}
	return "", command.Usage(fmt.Errorf("%s %q is no https address", what, text), "such as https://shops.example.com")
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// reasons are permissions and events for people, one a line.
func (o ManifestOptions) reasons() []string {
	var lines []string
	for _, p := range o.Permissions() {
		lines = append(lines, fmt.Sprintf("%s: %s: %s", p.Name, p.Level, p.Why))
	}
	for _, e := range o.Events() {
		lines = append(lines, fmt.Sprintf("event %s: %s", e.Name, e.Why))
	}
	return slices.Clip(lines)
}
