package github

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// User is a person, an organisation or the bot of an App.
type User struct {
	ID    int64
	Login string
	Type  string // User, Organization or Bot
}

// Repository is a repository with everything that hangs on it.
type Repository struct {
	ID    int64
	Owner string
	Name  string
	// Dir is the bare git repository. Tests may read it with git; what they write there is no event.
	Dir string

	w        *World
	owner    *User
	public   bool
	parent   *Repository // what it was forked from
	created  time.Time
	pushed   time.Time
	roles    map[string]string // role by lower-case login
	noIssues bool

	lastNumber   int
	issues       []*issue // pull requests too, by number
	comments     []*comment
	labels       []*label
	deployments  []*deployment
	environments []*environment
	checks       []*checkRun
	suites       []*checkSuite
	statuses     []*commitStatus
	runs         []*Run
	rulesets     []*ruleset
	workflowIDs  map[string]int64 // by path
	// workflowCache holds the workflow files of commits, which never change.
	workflowCache map[string][]workflow
	tips          map[string]ref // what refs pointed to, by sha
}

const defaultBranch = "main"

var (
	loginPattern = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?(?:\[bot\])?$`)
	namePattern  = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)
	rolePattern  = regexp.MustCompile(`^(read|triage|write|maintain|admin)$`)
)

// AddUser adds an account. kind is User, Organization or Bot; "" means User.
func (w *World) AddUser(login, kind string) (*User, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.addUser(login, kind)
}

func (w *World) addUser(login, kind string) (*User, error) {
	if kind == "" {
		kind = "User"
	}
	switch {
	case !loginPattern.MatchString(login):
		return nil, fmt.Errorf("adding user %q: not a login", login)
	case !slices.Contains([]string{"User", "Organization", "Bot"}, kind):
		return nil, fmt.Errorf("adding user %s: type %q is not User, Organization or Bot", login, kind)
	case w.userByLogin[strings.ToLower(login)] != nil:
		return nil, fmt.Errorf("adding user %s: the login is taken", login)
	}
	u := &User{ID: w.nextID(), Login: login, Type: kind}
	w.users = append(w.users, u)
	w.userByLogin[strings.ToLower(login)] = u
	return u, nil
}

// actionsBot is who acts with a GITHUB_TOKEN.
func (w *World) actionsBot() *User {
	if u := w.userByLogin["github-actions[bot]"]; u != nil {
		return u
	}
	u := &User{ID: 41898282, Login: "github-actions[bot]", Type: "Bot"}
	w.users = append(w.users, u)
	w.userByLogin[u.Login] = u
	return u
}

// Repository makes an empty private repository whose default branch is main. An owner that is not known yet becomes an
// organisation.
func (w *World) Repository(owner, name string) (*Repository, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, err := w.addRepository(owner, name)
	if err != nil {
		return nil, err
	}
	if _, err := w.run("", nil, "init", "--quiet", "--bare", "--initial-branch="+defaultBranch, "--template=", "--", r.Dir); err != nil {
		return nil, fmt.Errorf("making repository %s/%s: %w", owner, name, err)
	}
	return r, w.register(r)
}

func (w *World) addRepository(owner, name string) (*Repository, error) {
	key := strings.ToLower(owner + "/" + name)
	switch {
	case !namePattern.MatchString(name) || strings.Trim(name, ".") == "" || strings.HasSuffix(strings.ToLower(name), ".git"):
		return nil, fmt.Errorf("making repository %q: not a repository name", name)
	case w.repoByName[key] != nil:
		return nil, fmt.Errorf("making repository %s/%s: it is there already", owner, name)
	}
	u := w.userByLogin[strings.ToLower(owner)]
	if u == nil {
		var err error
		if u, err = w.addUser(owner, "Organization"); err != nil {
			return nil, err
		}
	}
	r := &Repository{
		ID: w.nextID(), Owner: u.Login, Name: name, owner: u, w: w, created: w.clock(), pushed: w.clock(),
		roles: map[string]string{}, workflowIDs: map[string]int64{}, workflowCache: map[string][]workflow{},
		Dir: filepath.Join(w.dir, strings.ToLower(u.Login), strings.ToLower(name)+".git"),
	}
	if u.Type == "User" {
		r.roles[strings.ToLower(u.Login)] = "admin"
	}
	return r, nil
}

// register configures a new repository and makes it known.
func (w *World) register(r *Repository) error {
	for _, setting := range [][2]string{
		{"uploadpack.allowAnySHA1InWant", "true"}, // actions/checkout fetches by sha
		{"uploadpack.allowFilter", "true"},
		{"core.logAllRefUpdates", "false"},
		{"gc.auto", "0"},
		{"receive.autogc", "false"},
	} {
		if _, err := w.run(r.Dir, nil, "config", setting[0], setting[1]); err != nil {
			return fmt.Errorf("configuring repository %s/%s: %w", r.Owner, r.Name, err)
		}
	}
	w.repos = append(w.repos, r)
	w.repoByName[strings.ToLower(r.Owner+"/"+r.Name)] = r
	return nil
}

// Fork copies the repository to another owner, who gets admin on the copy.
func (r *Repository) Fork(owner string) (*Repository, error) {
	w := r.w
	w.mu.Lock()
	defer w.mu.Unlock()
	f, err := w.addRepository(owner, r.Name)
	if err != nil {
		return nil, err
	}
	if _, err := w.run("", nil, "clone", "--quiet", "--bare", "--template=", "--", r.Dir, f.Dir); err != nil {
		return nil, fmt.Errorf("forking %s/%s: %w", r.Owner, r.Name, err)
	}
	f.parent, f.public = r, r.public
	return f, w.register(f)
}

// MakePublic lets everybody read the repository.
func (r *Repository) MakePublic() {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.public = true
}

// DisableIssues makes creating an issue answer 410.
func (r *Repository) DisableIssues() {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.noIssues = true
}

// SetPermission gives a user a role on the repository: read, triage, write, maintain or admin; "" takes it away.
func (r *Repository) SetPermission(login, role string) error {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if r.w.userByLogin[strings.ToLower(login)] == nil {
		return fmt.Errorf("setting the permission of %s: no such user", login)
	}
	if role == "" {
		delete(r.roles, strings.ToLower(login))
		return nil
	}
	if !rolePattern.MatchString(role) {
		return fmt.Errorf("setting the permission of %s: role %q is not read, triage, write, maintain or admin", login, role)
	}
	r.roles[strings.ToLower(login)] = role
	return nil
}

// roleRank orders the roles; 0 is none.
func roleRank(role string) int {
	return slices.Index([]string{"", "read", "triage", "write", "maintain", "admin"}, role)
}

// role is what a user may do with the repository, "" for nothing.
func (r *Repository) role(u *User) string {
	if u != nil {
		if role := r.roles[strings.ToLower(u.Login)]; role != "" {
			return role
		}
	}
	if r.public {
		return "read"
	}
	return ""
}

// AddToken lets a user come in with a personal access token, which may do what the user may.
func (w *World) AddToken(value, login string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	u := w.userByLogin[strings.ToLower(login)]
	if u == nil {
		return fmt.Errorf("adding a token of %s: no such user", login)
	}
	if value == "" || w.tokens[value] != nil {
		return fmt.Errorf("adding a token of %s: the value is empty or taken", login)
	}
	w.tokens[value] = &credential{kind: personal, name: "token of " + u.Login, user: u}
	return nil
}

// actionsScopes are the permissions that a workflow can ask for its GITHUB_TOKEN; workflows is not among them (wire.md §2a).
var actionsScopes = []string{
	"actions", "artifact_metadata", "attestations", "checks", "contents", "deployments", "discussions", "issues", "packages",
	"pages", "pull_requests", "repository_projects", "security_events", "statuses",
}

// ActionsToken makes the GITHUB_TOKEN of a workflow run with the permissions of its `permissions:` key, such as
// {"contents": "read", "pull-requests": "write"}. metadata:read is always there.
func (r *Repository) ActionsToken(permissions map[string]string) (string, error) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	granted := map[string]string{"metadata": "read"}
	for scope, level := range permissions {
		key := strings.ReplaceAll(scope, "-", "_")
		if !slices.Contains(actionsScopes, key) {
			return "", fmt.Errorf("making a GITHUB_TOKEN: it cannot have permission %q", scope)
		}
		switch level {
		case "read", "write":
			granted[key] = level
		case "none":
		default:
			return "", fmt.Errorf("making a GITHUB_TOKEN: level %q of %s is not read, write or none", level, scope)
		}
	}
	value := "ghs_" + r.w.letters(36)
	r.w.tokens[value] = &credential{
		kind: actions, name: "GITHUB_TOKEN of " + r.Owner + "/" + r.Name, user: r.w.actionsBot(), app: r.w.actionsApp(), repo: r, permissions: granted,
		expires: r.w.clock().Add(24 * time.Hour),
	}
	return value, nil
}

// App is a GitHub App.
type App struct {
	ID       int64
	ClientID string
	Slug     string
	// Bot is the login of its actions: slug[bot].
	Bot string

	w             *World
	bot           *User
	owner         *User
	key           *rsa.PublicKey
	permissions   map[string]string
	events        []string
	hookURL       string
	hookSecret    string
	clientSecret  string         // "" before there is one
	callbacks     []string       // where people are sent back to who said who they are
	authorized    map[*User]bool // who said yes to it before
	tunnel        string         // where webhooks go in truth
	name          string         // "" means the slug
	description   string
	homepage      string
	created       time.Time
	installations []*Installation
	deliveries    []*delivery
}

// NewApp describes an App.
type NewApp struct {
	Owner       string // an account; "" means the owner of the first repository
	Slug        string
	Key         *rsa.PublicKey    // verifies its JWTs
	Permissions map[string]string // what installations grant, such as {"contents": "write"}; metadata:read is always there
	Events      []string          // webhook events it subscribes to
	HookURL     string            // where webhooks go, on loopback; "" for none
	HookSecret  string
	// ClientSecret and Callbacks are for people who sign in with the App.
	ClientSecret string
	Callbacks    []string
}

var slugPattern = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,32}[a-z0-9])?$`)

// AddApp registers an App.
func (w *World) AddApp(n NewApp) (*App, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	owner := w.userByLogin[strings.ToLower(n.Owner)]
	if n.Owner == "" && len(w.repos) > 0 {
		owner = w.repos[0].owner
	}
	permissions, err := appPermissions(n.Permissions)
	switch {
	case owner == nil:
		return nil, fmt.Errorf("adding App %q: no owner %q", n.Slug, n.Owner)
	case !slugPattern.MatchString(n.Slug):
		return nil, fmt.Errorf("adding App %q: not a slug", n.Slug)
	case n.Key == nil:
		return nil, fmt.Errorf("adding App %s: a public key is needed", n.Slug)
	case err != nil:
		return nil, fmt.Errorf("adding App %s: %w", n.Slug, err)
	}
	if n.HookURL != "" {
		if err := loopbackURL(n.HookURL); err != nil {
			return nil, fmt.Errorf("adding App %s: %w", n.Slug, err)
		}
	}
	for _, e := range n.Events {
		if !slices.Contains(hookEvents, e) {
			return nil, fmt.Errorf("adding App %s: event %q is not played here", n.Slug, e)
		}
	}
	bot, err := w.addUser(n.Slug+"[bot]", "Bot")
	if err != nil {
		return nil, fmt.Errorf("adding App %s: %w", n.Slug, err)
	}
	a := &App{
		ID: w.nextID(), ClientID: "Iv23" + w.letters(16), Slug: n.Slug, Bot: bot.Login, w: w, bot: bot, owner: owner, key: n.Key,
		permissions: permissions, events: slices.Clone(n.Events), hookURL: n.HookURL, hookSecret: n.HookSecret, created: w.clock(),
		clientSecret: n.ClientSecret, callbacks: slices.Clone(n.Callbacks),
	}
	w.apps = append(w.apps, a)
	return a, nil
}

// actionsApp stands for GitHub Actions in check runs. It is not installed anywhere and has no key.
func (w *World) actionsApp() *App {
	for _, a := range w.apps {
		if a.Slug == "github-actions" {
			return a
		}
	}
	owner := w.userByLogin["github"]
	if owner == nil {
		owner = &User{ID: 9919, Login: "github", Type: "Organization"}
		w.users, w.userByLogin["github"] = append(w.users, owner), owner
	}
	bot := w.actionsBot()
	a := &App{
		ID: 15368, ClientID: "Iv1.05c79e9ad1f6bdfa", Slug: "github-actions", Bot: bot.Login, w: w, bot: bot, owner: owner, created: w.clock(),
		permissions: map[string]string{"actions": "write", "checks": "write", "contents": "write", "deployments": "write", "metadata": "read"},
	}
	w.apps = append(w.apps, a)
	return a
}

// appPermissions checks and copies the permissions of an App.
func appPermissions(in map[string]string) (map[string]string, error) {
	known := append([]string{"administration", "environments", "metadata", "workflows", "secrets", "members"}, actionsScopes...)
	out := map[string]string{"metadata": "read"}
	for name, level := range in {
		switch {
		case !slices.Contains(known, name):
			return nil, fmt.Errorf("permission %q is not known here", name)
		case level != "read" && level != "write" || name == "workflows" && level != "write":
			return nil, fmt.Errorf("level %q of permission %s", level, name)
		}
		out[name] = level
	}
	return out, nil
}

// Installation is an App on an account.
type Installation struct {
	ID int64

	app       *App
	account   *User
	repos     []*Repository // nil: all of the account
	created   time.Time
	suspended time.Time
}

// Install puts the App on an account: on the repositories named, or on all that the account has and will have.
func (a *App) Install(account string, repositories ...*Repository) (*Installation, error) {
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	u := w.userByLogin[strings.ToLower(account)]
	if u == nil {
		return nil, fmt.Errorf("installing %s on %s: no such account", a.Slug, account)
	}
	for _, r := range repositories {
		if r.owner != u {
			return nil, fmt.Errorf("installing %s on %s: %s/%s belongs to another", a.Slug, account, r.Owner, r.Name)
		}
	}
	for _, i := range a.installations {
		if i.account == u {
			return nil, fmt.Errorf("installing %s on %s: it is installed there", a.Slug, account)
		}
	}
	i := &Installation{ID: w.nextID(), app: a, account: u, repos: slices.Clone(repositories), created: w.clock()}
	a.installations = append(a.installations, i)
	return i, nil
}

// Suspend stops the installation: its tokens are refused and no new ones are made.
func (i *Installation) Suspend() {
	w := i.app.w
	w.mu.Lock()
	defer w.mu.Unlock()
	i.suspended = w.clock()
}

// covers tells whether the installation reaches a repository.
func (i *Installation) covers(r *Repository) bool {
	return r.owner == i.account && (len(i.repos) == 0 || slices.Contains(i.repos, r))
}

func (w *World) clock() time.Time { return w.now().UTC().Truncate(time.Second) }

// nextID numbers things of all kinds, so that an id of one is never taken for another's.
func (w *World) nextID() int64 {
	w.lastID++
	return w.lastID
}

// letters makes n random letters and digits.
func (w *World) letters(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	w.random(b)
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}

// guid makes a random UUID, as webhooks carry.
func (w *World) guid() string {
	b := make([]byte, 16)
	w.random(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// node makes a node id. GitHub's are opaque; ours only have to differ.
func node(kind string, id any) string {
	return kind + "_" + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s:%v", kind, id))
}

// sortedKeys are the keys of a set in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
