package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/secrets"
)

func (d *Door) secretsStatus() *cobra.Command {
	var f struct {
		all, json bool
		policy    policyFlags
	}
	cmd := &cobra.Command{
		Use:   "status [shop...]",
		Short: "Show which secrets shops have, and how old they are",
		Long: `Show which secrets shops have, where, and how old they are: never a value. A
fingerprint tells whether two looks saw the same value; it is keyed by the
identity, so that nobody else can find a value by trying.

What is live and since when is in the journal, which needs a token for GitHub;
what the bundle has needs the identity. Without one of them that column is empty.
The exit code is 1 when a bundle cannot be opened, or a required secret is nowhere.

` + bundleHelp,
		Example:           "  shopfleet secrets status swicked\n  shopfleet secrets status --all --json",
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.showSecrets(cmd.Context(), args, f.all, f.json, f.policy))
		},
	}
	cmd.Flags().BoolVar(&f.all, "all", false, "every shop that has a branch")
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON document")
	f.policy.add(cmd)
	return cmd
}

// The states of a secret.
const (
	secretLive       = "live"         // what the bundle has is what is live
	secretUndeployed = "not deployed" // the bundle has another value than what is live, or the Worker none
	secretUnbundled  = "not in the bundle"
	secretPresent    = "present" // the Worker has it; which value nobody can tell
	secretMissing    = "missing"
	secretUnset      = "not set"
	secretUnread     = "unknown" // the bundle has it or not: it was not opened
)

// secretRow is one secret of one shop.
type secretRow struct {
	Name     string `json:"name"`
	Required bool   `json:"required"`
	// Declared says that fleet.yml or the shop's config has it.
	Declared bool   `json:"declared"`
	State    string `json:"state"`
	Bundle   string `json:"bundle_fingerprint,omitempty"`
	Live     string `json:"live_fingerprint,omitempty"`
	// Since is when the live value was released first, Age how long that is.
	Since *time.Time `json:"since,omitempty"`
	Age   int64      `json:"age_seconds,omitempty"`
	// Old says that the value is older than fleet.yml lets it be.
	Old         bool   `json:"old,omitempty"`
	Description string `json:"description,omitempty"`
}

// shopSecrets is what is known of one shop's secrets.
type shopSecrets struct {
	Shop     string           `json:"shop"`
	Version  string           `json:"version_id,omitempty"`
	Secrets  []secretRow      `json:"secrets"`
	Findings []deploy.Finding `json:"findings,omitempty"`
	Error    string           `json:"error,omitempty"`

	err error
}

// secretsLook is what a status is made of.
type secretsLook struct {
	now      time.Time
	slug     string
	policy   fleet.Secrets
	identity string
	bundle   opened
	worker   []string // names of the Worker's secrets
	live     deploy.Live
	entry    deploy.Release // of what is live; zero when the journal has none
}

// rows are a shop's secrets, those that fleet.yml has first. It is pure.
func (l *secretsLook) rows() []secretRow {
	names := append(slices.Clone(l.policy.Required), l.policy.Optional...)
	declared := len(names)
	more := slices.Concat(l.bundle.bundle.Names(), l.worker)
	slices.Sort(more)
	for _, n := range slices.Compact(more) {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	prints := l.bundle.bundle.Fingerprints(l.identity, l.slug)
	var out []secretRow
	for i, n := range names {
		about := l.policy.Describe(n)
		r := secretRow{Name: n, Required: slices.Contains(l.policy.Required, n), Declared: i < declared, Bundle: prints[n], Description: about.Description}
		if mark, ok := l.entry.Secrets[n]; ok && slices.Contains(l.worker, n) {
			since := mark.Since
			r.Live, r.Since, r.Age = mark.Fingerprint, &since, int64(l.now.Sub(since).Seconds())
			r.Old = about.Rotate > 0 && l.now.Sub(since) > about.Rotate
		}
		_, bundled := l.bundle.bundle[n]
		switch on := slices.Contains(l.worker, n); {
		case bundled && r.Live != "" && r.Live == r.Bundle:
			r.State = secretLive
		case bundled && (!on || r.Live != "" && r.Bundle != ""):
			r.State = secretUndeployed
		case on && !bundled && l.bundle.bundle != nil:
			r.State = secretUnbundled
		case on:
			r.State = secretPresent
		case l.bundle.there && l.bundle.bundle == nil:
			r.State = secretUnread
		case r.Required:
			r.State = secretMissing
		default:
			r.State = secretUnset
		}
		out = append(out, r)
	}
	return out
}

// findings are what a person should do something about.
func (l *secretsLook) findings(rows []secretRow) []deploy.Finding {
	var out []deploy.Finding
	for _, r := range rows {
		switch {
		case r.State == secretMissing:
			out = append(out, deploy.Finding{Rule: "secret-missing", Level: deploy.LevelError,
				Message: fmt.Sprintf("%s has no secret %s", l.slug, r.Name), Expected: "every secret that fleet.yml or wrangler.jsonc requires",
				Hint: "shopfleet secrets set " + l.slug + " " + r.Name})
		case r.Old:
			out = append(out, deploy.Finding{Rule: "secret-old", Level: deploy.LevelWarning,
				Message:  fmt.Sprintf("the secret %s of %s is %s old", r.Name, l.slug, days(r.Age)),
				Expected: "not older than " + days(int64(l.policy.Describe(r.Name).Rotate.Seconds())),
				Hint:     "shopfleet secrets rotate " + r.Name + " " + l.slug})
		}
	}
	return out
}

// days is a time in days, or in hours where it is less than two of them.
func days(seconds int64) string {
	if h := seconds / 3600; h < 48 {
		return counted(int(h), "hour")
	}
	return counted(int(seconds/86400), "day")
}

func (d *Door) showSecrets(ctx context.Context, args []string, all, asJSON bool, policy policyFlags) (err error) {
	c, err := d.open(ctx, policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	slugs, err := c.choose(ctx, args, all)
	if err != nil {
		return err
	}
	list, err := d.lookAtSecrets(ctx, c, slugs)
	if err != nil {
		return err
	}
	code := ExitDone
	for _, s := range list {
		switch {
		case s.err != nil:
			code = ExitFailed
		case deploy.Findings(s.Findings).Blocking() && code == ExitDone:
			code = ExitFindings
		}
	}
	if asJSON {
		err = report.JSON(d.Stdout, struct {
			Exit  int           `json:"exit_code"`
			Shops []shopSecrets `json:"shops"`
		}{code, list})
	} else {
		err = d.printSecrets(list)
	}
	if err == nil && code != ExitDone {
		err = &resultError{code: code}
	}
	return err
}

// lookAtSecrets reads what is known of shops' secrets: two calls to Cloudflare and one to GitHub for each.
func (d *Door) lookAtSecrets(ctx context.Context, c *checkout, slugs []string) ([]shopSecrets, error) {
	tips := c.tipsByName()
	shops, commits := make([]fleet.Shop, len(slugs)), make([]string, len(slugs))
	var accounts []fleet.Account
	for i, slug := range slugs {
		shop, err := c.policy.Shop(slug)
		if err != nil {
			return nil, err
		}
		if shops[i], commits[i] = shop, tips[shop.Branch]; commits[i] == "" {
			return nil, Usage(fmt.Errorf("shop %s has no branch %s", slug, shop.Branch), "see git branch --all; git fetch origin gets what others pushed")
		}
		accounts = append(accounts, shop.Account)
	}
	bundles, err := c.bundles(ctx, commits)
	if err != nil {
		return nil, err
	}
	configs, err := c.repo.Files(ctx, configFile, commits...)
	if err != nil {
		return nil, fmt.Errorf("reading the shops' configs: %w", err)
	}
	engines, err := d.engines(accounts, true, nil)
	if err != nil {
		return nil, err
	}
	client, err := d.github(ctx, c, toList())
	if err != nil {
		return nil, err
	}
	var book deploy.Journal
	if client != nil {
		book = &journal{client: client}
	}
	identity := d.identity(c.policy)
	out := make([]shopSecrets, len(slugs))
	var group errgroup.Group
	group.SetLimit(16)
	for i, slug := range slugs {
		group.Go(func() error {
			l := secretsLook{now: d.Now(), slug: slug, identity: identity, bundle: bundles[i], policy: secretPolicy(c.policy, slug, configs[i].Data)}
			out[i] = shopSecrets{Shop: slug, Secrets: []secretRow{}}
			if out[i].err = l.read(ctx, shops[i], engines[shops[i].Account.ID], book); out[i].err != nil {
				out[i].Error = report.Clean(oneLine(out[i].err.Error()))
				return nil
			}
			out[i].Version, out[i].Secrets = l.live.Version, l.rows()
			switch e := l.bundle.err; {
			case errors.Is(e, secrets.ErrNoIdentity):
				out[i].Findings = []deploy.Finding{{Rule: "bundle-closed", Level: deploy.LevelNotice, File: c.policy.Secrets.Bundle,
					Message: "the secrets of " + slug + " were not looked at: " + c.policy.Secrets.Key + " is not set", Hint: "set it to see what the bundle has"}}
			case e != nil:
				out[i].Findings = []deploy.Finding{c.unreadable(slug, e)}
			}
			out[i].Findings = append(out[i].Findings, l.findings(out[i].Secrets)...)
			return nil
		})
	}
	return out, group.Wait()
}

// read asks the account and the journal.
func (l *secretsLook) read(ctx context.Context, shop fleet.Shop, e *deploy.Engine, j deploy.Journal) error {
	group, ctx := errgroup.WithContext(ctx)
	var entries []deploy.Release
	group.Go(func() (err error) {
		l.live, err = e.Live(ctx, shop.Worker)
		return err
	})
	group.Go(func() error {
		list, err := e.CF.Secrets(ctx, shop.Worker)
		if errors.Is(err, cloudflare.ErrNotFound) {
			return nil
		}
		for _, s := range list {
			l.worker = append(l.worker, s.Name)
		}
		if err != nil {
			return fmt.Errorf("listing the secrets of %s: %w", shop.Worker, err)
		}
		return nil
	})
	group.Go(func() (err error) {
		if j != nil {
			entries, err = j.Releases(ctx, shop)
		}
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	l.entry, _ = l.live.Entry(entries)
	return nil
}

func (d *Door) printSecrets(list []shopSecrets) error {
	style := report.Style{}
	if d.Terminal {
		style = d.style()
	}
	var b strings.Builder
	paint := map[string]func(string) string{secretLive: style.Green, secretPresent: style.Green, secretUndeployed: style.Yellow, secretUnbundled: style.Yellow, secretMissing: style.Red}
	for _, s := range list {
		b.WriteString(style.Bold(report.Clean(s.Shop)))
		if s.Error != "" {
			b.WriteString("  " + style.Red("failed: ") + s.Error)
		}
		b.WriteString("\n")
		width := 0
		for _, r := range s.Secrets {
			width = max(width, len(r.Name))
		}
		for _, r := range s.Secrets {
			state := r.State + strings.Repeat(" ", max(0, len(secretUnbundled)-len(r.State)))
			if p := paint[r.State]; p != nil {
				state = p(state)
			}
			words := []string{r.Name + strings.Repeat(" ", width-len(r.Name)), state}
			if fp := r.Live; fp != "" {
				words = append(words, fp)
			}
			if r.State == secretUndeployed && r.Bundle != "" {
				words = append(words, "→ "+r.Bundle)
			}
			if r.Since != nil {
				words = append(words, days(r.Age))
			}
			if r.Old {
				words = append(words, style.Yellow("too old"))
			}
			switch {
			case !r.Declared:
				words = append(words, "not in fleet.yml")
			case !r.Required:
				words = append(words, "optional")
			}
			b.WriteString(strings.TrimRight("  "+strings.Join(words, "  "), " ") + "\n")
		}
	}
	if _, err := io.WriteString(d.Stdout, b.String()); err != nil {
		return err
	}
	var findings []deploy.Finding
	for _, s := range list {
		findings = append(findings, s.Findings...)
	}
	if len(findings) == 0 {
		return nil
	}
	return report.Findings(d.Stdout, style, findings)
}
