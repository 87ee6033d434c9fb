package app

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
)

// What the server reads from the environment, beside what the verbs read.
const (
	envAppID        = "SHOPFLEET_APP_ID"
	envAppKey       = "SHOPFLEET_APP_PRIVATE_KEY"
	envInstallation = "SHOPFLEET_APP_INSTALLATION_ID"
	envSecret       = "SHOPFLEET_WEBHOOK_SECRET"
	envOldSecret    = "SHOPFLEET_WEBHOOK_SECRET_OLD"
	envClientID     = "SHOPFLEET_APP_CLIENT_ID"
	envClientSecret = "SHOPFLEET_APP_CLIENT_SECRET"
	envURL          = "SHOPFLEET_APP_URL"
	envRepository   = "GITHUB_REPOSITORY"
	envAPI          = "GITHUB_API_URL"
	envServer       = "GITHUB_SERVER_URL"
)

// Commands are the verbs of the server, which join the tree of a door.
func Commands(d *command.Door) []*cobra.Command {
	return []*cobra.Command{serve(d), app(d)}
}

func serve(d *command.Door) *cobra.Command {
	var s Server
	var listen, dir string
	var policy command.DeskOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Take GitHub's webhooks, and carry out what people order in comments",
		Long: `Take GitHub's webhooks as the GitHub App, and carry out what people order in
comments and by the buttons of check runs: the same orders, with the same
answers, that the workflow commands.yml carries out, without waiting for a
runner. Both may be there: what one has claimed the other leaves alone.

Deliveries go to POST ` + WebhookPath + `, over TLS that something in front of it ends.
/healthz says whether they are taken, /metrics is for Prometheus. The log is one
JSON object a line, on standard error.

It reads SHOPFLEET_APP_ID, SHOPFLEET_APP_PRIVATE_KEY, SHOPFLEET_WEBHOOK_SECRET
(while it is rotated also SHOPFLEET_WEBHOOK_SECRET_OLD, the one before),
GITHUB_REPOSITORY, and the accounts' API tokens. With SHOPFLEET_APP_CLIENT_ID,
SHOPFLEET_APP_CLIENT_SECRET and SHOPFLEET_APP_URL, its own address, it shows
/status to people who sign in with GitHub and may see the repository. Of state it has a copy of the
repository's branches, which it can lose.

On SIGTERM no more is taken, and what is claimed is finished. Exit code 0 says
that nothing was left, 3 that something was: the next start finds it.`,
		Example: "  shopfleet serve\n  shopfleet serve --listen :8080 --dir /var/lib/shopfleet",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runServe(cmd.Context(), d, s, policy, listen, dir) },
	}
	flags := cmd.Flags()
	flags.StringVar(&listen, "listen", "127.0.0.1:8080", "`address` to listen on")
	flags.StringVar(&dir, "dir", "", "keep the copy of the repository in this `directory` (default: a temporary one)")
	flags.DurationVar(&s.Drain, "drain", 25*time.Second, "how long what is claimed may take after SIGTERM")
	flags.IntVar(&s.Queue, "queue", 2000, "deliveries that may wait, and orders; more are refused with 503")
	flags.StringVar(&policy.Main, "main", "main", "the `branch` that holds the fleet policy and that shops are based on")
	flags.StringVar(&policy.Config, "config", "fleet.yml", "the fleet policy's `file` on that branch")
	flags.DurationVar(&s.Every, "every", 5*time.Minute, "time between two looks for what was missed")
	return cmd
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return command.Usage(fmt.Errorf("%s takes no arguments, got %q", cmd.CommandPath(), args[0]), "run "+cmd.CommandPath()+" --help")
	}
	return nil
}

var repositoryName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,38}/[A-Za-z0-9._-]{1,100}$`)

// settings are what the server is started with.
type settings struct {
	repository, owner, name string
	app                     *github.App
	secrets                 []github.Secret
}

func readSettings(getenv func(string) string) (settings, error) {
	x := settings{repository: getenv(envRepository)}
	var ok bool
	if x.owner, x.name, ok = strings.Cut(x.repository, "/"); !ok || !repositoryName.MatchString(x.repository) {
		return x, command.Usage(fmt.Errorf("%s is %q", envRepository, x.repository), "set it to owner/name")
	}
	for _, name := range []string{envAppID, envAppKey, envSecret} {
		if strings.TrimSpace(getenv(name)) == "" {
			return x, command.Usage(fmt.Errorf("%s is not set", name), "shopfleet app setup registers an App, and prints what to set")
		}
	}
	x.app = &github.App{ID: getenv(envAppID), Key: github.Secret(getenv(envAppKey))}
	if err := x.app.Check(); err != nil {
		return x, command.Usage(err, "the key is a file that begins with -----BEGIN RSA PRIVATE KEY-----; its line ends may be written \\n")
	}
	if id := getenv(envInstallation); id != "" {
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || n <= 0 {
			return x, command.Usage(fmt.Errorf("%s is no installation's id", envInstallation), "it is the number at the end of the installation's address")
		}
		x.app.Installation = n
	}
	x.secrets = []github.Secret{github.Secret(getenv(envSecret))}
	if old := getenv(envOldSecret); old != "" {
		x.secrets = append(x.secrets, github.Secret(old))
	}
	return x, nil
}

func runServe(ctx context.Context, d *command.Door, s Server, policy command.DeskOptions, listen, dir string) (err error) {
	if s.Drain <= 0 || s.Queue <= 0 || s.Every < 10*time.Second {
		return command.Usage(errors.New("--drain and --queue must be more than nothing, and --every 10s or more"), "leave them out for the usual ones")
	}
	x, err := readSettings(d.Getenv)
	if err != nil {
		return err
	}
	hook, err := github.NewHook(0, x.secrets...)
	if err != nil {
		return command.Usage(err, "set "+envSecret+" to the webhook secret of the App")
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "shopfleet-"); err != nil {
			return fmt.Errorf("making a directory for the copy of the repository: %w", err)
		}
		defer func() {
			if gone := os.RemoveAll(dir); gone != nil {
				err = errors.Join(err, fmt.Errorf("removing the copy of the repository: %w", gone))
			}
		}()
	} else if !filepath.IsAbs(dir) {
		dir = filepath.Join(d.Dir, dir)
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return command.Usage(fmt.Errorf("listening on %s: %w", listen, err), "name another --listen")
	}
	defer l.Close()

	client := github.Secret(d.Getenv(envClientSecret))
	log := NewLog(d.Stderr, append(x.secrets, x.app.Key, client)...)
	counted := &counting{next: d.Transport, host: hostOf(d.Getenv(envAPI)), counts: CallCounts{}}
	if counted.next == nil {
		counted.next = http.DefaultTransport.(*http.Transport).Clone()
	}
	if s.Pages, err = readPages(d, x, counted); err != nil {
		return err
	}
	inside := behind(d, counted)
	s.Hook, s.Repository, s.Log, s.Now, s.Version, s.Commit, s.Calls = hook, x.repository, log, d.Now, d.Version, d.Commit, counted.read
	s.Sender = &github.Client{
		BaseURL: d.Getenv(envAPI), Owner: x.owner, Repo: x.name, App: x.app, Permissions: map[string]string{"metadata": "read"},
		Transport: counted, UserAgent: "shopfleet/" + d.Version, Now: d.Now, Timeout: 10 * time.Second,
	}
	s.Open = func(ctx context.Context) (Desk, error) { return openDesk(ctx, inside, dir, policy, log) }
	return s.Serve(ctx, l)
}

// readPages is what people see in a browser, nil where no client secret is set.
func readPages(d *command.Door, x settings, transport http.RoundTripper) (*Pages, error) {
	client := d.Getenv(envClientSecret)
	if client == "" {
		return nil, nil
	}
	at, err := webAddress(envURL, d.Getenv(envURL))
	if err != nil {
		return nil, err
	}
	in := &github.SignIn{Web: d.Getenv(envServer), ClientID: d.Getenv(envClientID), ClientSecret: github.Secret(client), Callback: at + CallbackPath, Transport: transport}
	if err := in.Check(); err != nil {
		return nil, command.Usage(err, "set "+envClientID+", "+envClientSecret+" and "+envURL+", the server's own address")
	}
	// A cookie says who may see one repository: another one's server with the same App must not take it.
	key := sha256.Sum256([]byte("shopfleet pages " + strings.ToLower(x.owner+"/"+x.name) + " " + in.Callback + " " + client))
	return &Pages{SignIn: in, Key: key[:], Access: func(ctx context.Context, token github.Secret) (github.Access, error) {
		return (&github.Client{
			BaseURL: d.Getenv(envAPI), Owner: x.owner, Repo: x.name, Token: token, Transport: transport, UserAgent: "shopfleet/" + d.Version, Now: d.Now, Timeout: 10 * time.Second,
		}).Access(ctx)
	}}, nil
}

// behind is the door that orders come through: with the App's token for everything, nobody to ask, and nothing to read on
// the terminal, which shows the log.
func behind(d *command.Door, transport http.RoundTripper) *command.Door {
	inside := *d
	inside.Args, inside.Terminal, inside.Asks, inside.Transport = nil, false, false, transport
	inside.Stdin, inside.Stdout, inside.Stderr = strings.NewReader(""), io.Discard, io.Discard
	inside.Getenv = func(name string) string {
		switch name {
		case "GITHUB_TOKEN", "GH_TOKEN", "GITHUB_ACTIONS":
			return ""
		}
		return d.Getenv(name)
	}
	return &inside
}

// openDesk clones the repository and opens the desk over it.
func openDesk(ctx context.Context, d *command.Door, dir string, policy command.DeskOptions, log *slog.Logger) (Desk, error) {
	mirror, err := d.Mirror(ctx, dir)
	if err != nil {
		return nil, err
	}
	d.Dir = mirror.Dir()
	policy.Fetch, policy.Log = mirror.Fetch, log
	desk, err := d.Desk(ctx, policy)
	if err != nil {
		return nil, err
	}
	return desk, nil
}

// counting counts requests to the API.
type counting struct {
	next http.RoundTripper
	host string

	mu     sync.Mutex
	counts CallCounts
}

func hostOf(api string) string {
	if u, err := url.Parse(api); err == nil && u.Host != "" {
		return u.Host
	}
	return "api.github.com"
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := c.next.RoundTrip(r)
	if r.URL.Host == c.host {
		what := "error"
		if err == nil {
			what = strconv.Itoa(answer.StatusCode/100) + "xx"
		}
		c.mu.Lock()
		c.counts[what]++
		c.mu.Unlock()
	}
	return answer, err
}

func (c *counting) read() CallCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts)
}

func app(d *command.Door) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "app",
		Short: "Register the GitHub App that the server is",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(manifest(d), appSetup(d))
	return cmd
}

func (o *ManifestOptions) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.URL, "url", "", "`address` of the server, https://host: deliveries go to "+WebhookPath+" there")
	flags.StringVar(&o.Name, "name", "", "the App's `name`, unique on GitHub (default: asked there)")
	flags.StringVar(&o.Homepage, "homepage", "", "`address` that the App's page links to (default: --url)")
	flags.BoolVar(&o.Teams, "teams", false, "fleet.yml names teams under commands: the App reads their members")
	flags.BoolVar(&o.Rebase, "rebase", true, "the weekly rebase runs as this App: it carries workflows")
	flags.BoolVar(&o.Onboard, "onboard", true, "shops are onboarded and offboarded as this App: it makes and deletes their environments")
}

func manifest(d *command.Door) *cobra.Command {
	var o ManifestOptions
	cmd := &cobra.Command{
		Use:   "manifest",
		Short: "Print the App's manifest: what it may do, and what it is told",
		Long: `Print the manifest of the App as JSON: the permissions it needs and no other,
and the events it is told of. Why each is there goes to standard error.`,
		Example: "  shopfleet app manifest --url https://shops.example.com",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := o.Manifest("")
			if err != nil {
				return err
			}
			for _, line := range o.reasons() {
				fmt.Fprintln(d.Stderr, line)
			}
			_, err = fmt.Fprintln(d.Stdout, string(text))
			return err
		},
	}
	o.add(cmd)
	return cmd
}

var ownerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,38}$`)

func appSetup(d *command.Door) *cobra.Command {
	var o ManifestOptions
	var listen, org string
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Register the App with one click, and print what to save",
		Long: `Show a page on this machine with one button, which registers the App on GitHub
with the permissions and events of shopfleet app manifest. GitHub sends you back
to the page; the App's id, its private key and the webhook secret are printed
here, once, with the commands that save them. They are stored nowhere.`,
		Example: "  shopfleet app setup --url https://shops.example.com --org acme",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runSetup(cmd.Context(), d, o, listen, org)
		},
	}
	o.add(cmd)
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "loopback `address` of the page")
	cmd.Flags().StringVar(&org, "org", "", "the `organisation` that the App belongs to (default: whoever clicks)")
	return cmd
}

func runSetup(ctx context.Context, d *command.Door, o ManifestOptions, listen, org string) error {
	if _, err := o.check(); err != nil {
		return err
	}
	if org != "" && !ownerName.MatchString(org) {
		return command.Usage(fmt.Errorf("--org %q is no organisation's name", org), "it is the first part of the repository's address")
	}
	web, err := webAddress(envServer, cmp.Or(d.Getenv(envServer), "https://github.com"))
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil || !isLoopback(host) {
		return command.Usage(fmt.Errorf("--listen %q is no loopback address", listen), "leave it out, or name a port: 127.0.0.1:8765")
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return command.Usage(fmt.Errorf("listening on %s: %w", listen, err), "name another --listen")
	}
	repository := d.Getenv(envRepository)
	if !repositoryName.MatchString(repository) {
		repository = "OWNER/NAME"
	}
	s := &setup{
		manifest: o, owner: org, github: web, self: "http://" + l.Addr().String(), state: newState(), finished: make(chan error, 1),
		convert: func(ctx context.Context, code string) (github.NewApp, error) {
			return github.ConvertManifest(ctx, d.Getenv(envAPI), d.Transport, code)
		},
		made:     func(a github.NewApp) error { return printApp(d.Stdout, a, repository) },
		complain: func(err error) { fmt.Fprintln(d.Stderr, report.Clean(err.Error())) },
	}
	fmt.Fprintf(d.Stderr, "open %s in a browser on this machine; interrupt to stop\n", s.self)
	return s.serve(ctx, l)
}
