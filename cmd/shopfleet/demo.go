//go:build !noworld

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/github"
)

// demo deploys two shops to a world that lives as long as the command.
func (w *world) demo() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Deploy two bike shops, and make a third, on a Cloudflare account and a GitHub on localhost",
		Long: `Deploy two bike shops to a Cloudflare account on localhost, and make a third: the
product Helm, a git repository with a branch for each shop, and everything that a
deploy does.
Nothing leaves this machine and nothing stays behind.

Worker code runs when a workerd is found (see "shopfleet sim --help"); without
it the shops' static files are served, build_info.json among them, and that is
enough for the gate; which shop a release sees in its stores, and that it sends
strangers away, is asked only where code runs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			dir, err := os.MkdirTemp("", "shopfleet-demo-")
			if err != nil {
				return fmt.Errorf("making room for the demo: %w", err)
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			d := &demonstration{world: w, dir: dir, repo: filepath.Join(dir, "helm"), out: w.door.Stdout}
			return d.run(cmd.Context())
		},
	}
}

// demoNew is the slug of the shop that the demo makes.
const demoNew = "mikes"

// demonstration is one run of the demo.
type demonstration struct {
	world     *world
	dir, repo string
	out       io.Writer
	at        *sim.Listening
	env       map[string]string
}

func (d *demonstration) run(ctx context.Context) error {
	workerd := d.world.workerd()
	if err := repository(ctx, d.repo, workerd != ""); err != nil {
		return fmt.Errorf("building Helm's repository: %w", err)
	}
	world, err := sim.New(sim.Options{Workerd: workerd})
	if err != nil {
		return err
	}
	defer world.Close()
	home, err := seed(world)
	if err != nil {
		return fmt.Errorf("seeding the world: %w", err)
	}
	if d.at, err = world.Start("", ""); err != nil {
		return err
	}
	hub, err := github.New(github.Options{})
	if err != nil {
		return err
	}
	defer hub.Close()
	if _, err := publish(ctx, hub, workerd != ""); err != nil {
		return fmt.Errorf("building GitHub: %w", err)
	}
	journal, err := hub.Start("")
	if err != nil {
		return err
	}
	d.env = map[string]string{
		"GITHUB_API_URL":          journal.API,
		"GITHUB_SERVER_URL":       journal.Git,
		"GITHUB_REPOSITORY":       demoOwner + "/" + demoRepository,
		"GITHUB_TOKEN":            demoGitHubToken,
		"CLOUDFLARE_API_BASE_URL": d.at.API,
		"SHOPFLEET_EDGE_URL":      d.at.Edge,
		home.Token:                demoToken,
	}
	slugs, err := helmShops()
	if err != nil {
		return err
	}
	d.say("A Cloudflare account lives at %s, its shops are served at %s. GitHub is at %s.", d.at.API, d.at.Edge, journal.API)
	if workerd == "" {
		d.say("No workerd was found: static files are served, Worker code is not run. So releases are not asked which shop they see, nor what they do with strangers.")
	} else {
		d.say("Worker code runs in a real workerd.")
	}
	for _, slug := range slugs {
		secrets, err := d.secrets(slug)
		if err != nil {
			return err
		}
		d.say("\n$ shopfleet deploy %s --secrets-file …", slug)
		if err := d.shopfleet(ctx, "deploy", slug, "--secrets-file", secrets); err != nil {
			return err
		}
	}
	d.say("\nEach store is told whose it is, once; from here on a release that sees another shop's never stays:\n\n$ shopfleet adopt --all")
	if err := d.shopfleet(ctx, "adopt", "--all"); err != nil {
		return err
	}
	d.say("\nNothing changed, so nothing is written:\n\n$ shopfleet deploy --all")
	if err := d.shopfleet(ctx, "deploy", "--all"); err != nil {
		return err
	}
	d.say("\nWhat was released, and passed its gate, is in the journal on GitHub:\n\n$ shopfleet releases swicked")
	if err := d.shopfleet(ctx, "releases", "swicked"); err != nil {
		return err
	}
	secrets, err := d.secrets(demoNew)
	if err != nil {
		return err
	}
	d.say("\nA third shop, from nothing: stores, hostname, branch, environment, secrets and its first release:\n\n$ shopfleet onboard %s --name \"Mike's Bikes\" --secrets-file …", demoNew)
	if err := d.shopfleet(ctx, "onboard", demoNew, "--name", "Mike's Bikes", "--secrets-file", secrets); err != nil {
		return err
	}
	for _, slug := range append(slugs, demoNew) {
		if err := d.visit(ctx, slug, workerd != ""); err != nil {
			return err
		}
	}
	d.say("\nTry it by hand: shopfleet sim --checkout helm")
	return nil
}

// shopfleet runs a verb through a door of its own, as a person in the demo's
// repository would.
func (d *demonstration) shopfleet(ctx context.Context, args ...string) error {
	door := *d.world.door
	door.Args, door.Dir = args, d.repo
	outer := door.Getenv
	door.Getenv = func(name string) string {
		if v, ok := d.env[name]; ok {
			return v
		}
		for _, prefix := range []string{"CLOUDFLARE_", "GITHUB_", "GH_", "SHOPFLEET_APP_"} {
			if strings.HasPrefix(name, prefix) {
				return "" // whatever real accounts the caller works with, the demo does not
			}
		}
		return outer(name)
	}
	if code := command.Run(ctx, &door); code != command.ExitDone {
		return fmt.Errorf("shopfleet %s ended with exit code %d", strings.Join(args, " "), code)
	}
	return nil
}

// secrets writes random values for what fleet.yml requires of a shop.
func (d *demonstration) secrets(slug string) (string, error) {
	values := map[string]string{}
	for _, name := range []string{"SESSION_KEY", "OAUTH_CLIENT_SECRET", "STRIPE_SECRET_KEY", "TWILIO_ACCOUNT_SID"} {
		b := make([]byte, 24)
		if _, err := rand.Read(b); err != nil {
			return "", fmt.Errorf("drawing a secret: %w", err)
		}
		values[name] = hex.EncodeToString(b)
	}
	text, err := json.Marshal(values)
	if err != nil {
		return "", fmt.Errorf("encoding the secrets: %w", err)
	}
	file := filepath.Join(d.dir, slug+".json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return "", fmt.Errorf("writing the secrets: %w", err)
	}
	return file, nil
}

// visit asks a shop what a browser would.
func (d *demonstration) visit(ctx context.Context, slug string, code bool) error {
	host := "helm-" + slug + ".kvick.bike"
	status, _, body, err := d.get(ctx, host, "/build_info.json")
	if err != nil {
		return err
	}
	d.say("\n$ curl -H 'Host: %s' %s/build_info.json    # %d\n%s", host, d.at.Edge, status, strings.TrimSpace(body))
	if !code {
		return nil
	}
	status, location, _, err := d.get(ctx, host, "/")
	if err != nil {
		return err
	}
	d.say("$ curl -i -H 'Host: %s' %s/    # %d, a stranger is sent to %s", host, d.at.Edge, status, location)
	return nil
}

func (d *demonstration) get(ctx context.Context, host, path string) (status int, location, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.at.Edge+path, nil)
	if err != nil {
		return 0, "", "", fmt.Errorf("visiting %s: %w", host, err)
	}
	req.Host = host
	transport := d.world.door.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", "", fmt.Errorf("visiting %s: %w", host, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, "", "", fmt.Errorf("visiting %s: %w", host, err)
	}
	return resp.StatusCode, resp.Header.Get("Location"), string(b), nil
}

func (d *demonstration) say(format string, args ...any) {
	fmt.Fprintf(d.out, format+"\n", args...)
}
