package command

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/provision"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/secrets"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// drillFlags are those of drill.
type drillFlags struct {
	account, secretsFile string
	clean, json          bool
	policy               policyFlags
}

func (d *Door) drill() *cobra.Command {
	var f drillFlags
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "Practise a shop's whole life on a shop of its own, and measure it",
		Long: `Practise a shop's whole life on a shop that nobody uses, with the same verbs that
people use: it is onboarded, deployed, broken (a release that does not pass its gate
is taken back), rolled back, backed up, restored into a second one, exported,
offboarded and deleted. The seconds of each are measured.

The shops are called drill-<seconds since 1970> and the same with -2; no other shop
may be called so. Nothing of them is left in the end, other than entries of the
journal on GitHub. What a drill that was cut off has left is deleted by the next
one; --clean does that at once, and nothing else.

It takes room for two shops on an account for a minute or so, and what a token needs
to onboard and to offboard.`,
		Example:           "  shopfleet drill\n  shopfleet drill --account kvick-2 --json\n  shopfleet drill --clean",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return d.asJSON(f.json, d.runDrill(cmd.Context(), f))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.account, "account", "", "the `account` of fleet.yml to practise on; by default the fleet's default account")
	flags.StringVar(&f.secretsFile, "secrets-file", "", "`file` of values for the shops' secrets; by default they are made up")
	flags.BoolVar(&f.clean, "clean", false, "only delete what drills have left, also of one that may be under way")
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	d.completesAccounts(cmd, "account")
	f.policy.add(cmd)
	return cmd
}

// drillSlug is what the shops of drills are called.
var drillSlug = regexp.MustCompile(`^drill-([0-9]{10})(-2)?$`)

// longestDrill is how old the shop of a drill is before another one takes it for left behind.
const longestDrill = time.Hour

// drilling is one run of drill.
type drilling struct {
	door    *Door
	flags   drillFlags
	c       *checkout
	hub     *github.Client
	account fleet.Account
	slug    string
	second  string
	dir     string // a clone of its own, a folder for backups and one for the export
	secrets secrets.Bundle
	page    report.Drill
}

func (d *Door) runDrill(ctx context.Context, f drillFlags) (err error) {
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := d.mayStart(ctx, c, "drill"); err != nil {
		return err
	}
	account, ok := c.policy.AccountNamed(cmp.Or(f.account, c.policy.DefaultAccount))
	if !ok {
		return (&departure{c: c, asked: asked{to: f.account}}).unknownAccount()
	}
	n := d.Now().Unix()
	x := &drilling{door: d, flags: f, c: c, account: account, slug: fmt.Sprintf("drill-%010d", n), second: fmt.Sprintf("drill-%010d-2", n)}
	x.page = report.Drill{Shop: x.slug, Account: account.Name, Begun: d.Now().UTC(), Tool: "shopfleet " + d.Version, Steps: []report.DrillStep{}}
	if x.secrets, err = d.readSecrets(f.secretsFile); err != nil {
		return err
	}
	if x.secrets == nil {
		if x.secrets, err = drillSecrets(c.policy.Secrets); err != nil {
			return err
		}
	}
	if x.hub, err = d.githubOfEnvironments(ctx, c); err != nil {
		return err
	}
	if x.hub == nil {
		return Usage(errors.New("a drill needs GitHub: branches, holds and the journal are there"), "set GITHUB_TOKEN; GITHUB_REPOSITORY names the repository where origin does not")
	}
	for _, slug := range []string{x.slug, x.second} {
		if _, err := c.policy.Shop(slug); err != nil {
			return err
		}
	}
	return x.end(x.all(ctx))
}

// all is the drill, and the cleaning before and behind it.
func (x *drilling) all(ctx context.Context) (err error) {
	if err := x.leftovers(ctx); err != nil || x.flags.clean {
		return err
	}
	if x.dir, err = os.MkdirTemp("", "shopfleet-drill-"); err != nil {
		return fmt.Errorf("making room for the drill: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(x.dir)) }()
	failed := x.practise(ctx)
	if ctx.Err() != nil {
		return failed // no new writes: the next drill deletes what is left
	}
	for _, slug := range []string{x.slug, x.second} {
		if err := x.sweep(ctx, slug); err != nil {
			failed = errors.Join(failed, fmt.Errorf("deleting what is left of %s: %w", slug, err))
		}
	}
	return failed
}

// step practises one thing, and measures it. do returns what shows that it happened.
func (x *drilling) step(ctx context.Context, name string, do func(ctx context.Context) (proof string, err error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	fmt.Fprintf(x.door.Stderr, "drill: %s\n", name)
	begun := x.door.Now()
	proof, err := do(ctx)
	x.page.Steps = append(x.page.Steps, report.DrillStep{Name: name, Seconds: x.door.Now().Sub(begun).Seconds(), Proof: proof, Failed: err != nil})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// practise is what is practised, in order.
func (x *drilling) practise(ctx context.Context) error {
	before, err := x.others(ctx)
	if err != nil {
		return err
	}
	if err := x.clone(ctx); err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		do   func(ctx context.Context) (string, error)
	}{
		{"onboarded", func(ctx context.Context) (string, error) { return x.onboard(ctx, x.slug) }},
		{"deployed", x.deployed},
		{"broken, and taken back", x.broken},
		{"rolled back", x.rolledBack},
		{"backed up", x.backedUp},
		{"second shop onboarded", func(ctx context.Context) (string, error) { return x.onboard(ctx, x.second) }},
		{"restored", x.restored},
		{"exported and closed", x.closed},
		{"deleted", x.deleted},
	} {
		if err := x.step(ctx, part.name, part.do); err != nil {
			return err
		}
	}
	return x.step(ctx, "cleaned up", func(ctx context.Context) (string, error) {
		for _, slug := range []string{x.slug, x.second} {
			if err := x.sweep(ctx, slug); err != nil {
				return "", err
			}
		}
		after, err := x.others(ctx)
		if err != nil {
			return "", err
		}
		if changed := before.changed(after); len(changed) > 0 {
			return "", fmt.Errorf("other shops of account %s changed meanwhile: %s", x.account.Name, strings.Join(changed, ", "))
		}
		return fmt.Sprintf("%s of others untouched", counted(after.Count, "thing")), nil
	})
}

// clone makes a repository of its own: what the drill writes into branches must not be in anybody's.
func (x *drilling) clone(ctx context.Context) error {
	repo, err := git.Init(ctx, filepath.Join(x.dir, "clone"))
	if err != nil {
		return err
	}
	// What a shop is built with is installed where the drill was started.
	for _, name := range []string{"node_modules", "package-lock.json", "pnpm-lock.yaml", "yarn.lock"} {
		from := filepath.Join(x.c.repo.Dir, name)
		if _, err := os.Lstat(from); err == nil {
			if err := os.Symlink(from, filepath.Join(repo.Dir, name)); err != nil {
				return fmt.Errorf("making a clone: %w", err)
			}
		}
	}
	return x.fetch(ctx)
}

// fetch brings the clone up to date.
func (x *drilling) fetch(ctx context.Context) error {
	repo, err := git.Open(ctx, filepath.Join(x.dir, "clone"))
	if err != nil {
		return err
	}
	remote, _, err := x.door.gitRemote(ctx, x.c, x.hub)
	if err != nil {
		return err
	}
	return repo.Mirror(ctx, remote, "+refs/heads/*:refs/remotes/origin/*")
}

// inside is the door as it is for somebody in the clone who runs one verb.
func (x *drilling) inside(out io.Writer, args ...string) *Door {
	d := *x.door
	d.Args, d.Dir, d.Stdout, d.Stdin = args, filepath.Join(x.dir, "clone"), out, strings.NewReader("")
	d.Terminal, d.Asks, d.workflow, d.order, d.drilling = false, false, nil, nil, true
	outer := x.door.Getenv
	d.Getenv = func(name string) string {
		if name == envRepository {
			return x.hub.Owner + "/" + x.hub.Repo
		}
		return outer(name)
	}
	return &d
}

// run runs a verb as anybody would, and reads the document that it prints. want are the exit codes that are right.
func (x *drilling) run(ctx context.Context, into any, stdin string, want int, args ...string) error {
	var out bytes.Buffer
	args = append(args, "--json", "--main", x.flags.policy.main, "--config", x.flags.policy.config)
	d := x.inside(&out, args...)
	d.Stdin = strings.NewReader(stdin)
	code := Run(ctx, d)
	if code != want {
		if err := ctx.Err(); err != nil {
			return err
		}
		return fmt.Errorf("shopfleet %s ended with %d and not %d: %s", strings.Join(args[:2], " "), code, want, report.Clean(excerptOf(out.String())))
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(out.Bytes(), into); err != nil {
		return fmt.Errorf("shopfleet %s printed no document: %w", args[0], err)
	}
	return nil
}

// excerptOf is the part of a document that says what went wrong.
func excerptOf(text string) string {
	var lines []string
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		for _, key := range []string{`"error":`, `"message":`, `"hint":`, `"reason":`} {
			if strings.HasPrefix(l, key) {
				lines = append(lines, strings.TrimSuffix(l, ","))
			}
		}
	}
	return strings.Join(lines[:min(6, len(lines))], "; ")
}

func (x *drilling) onboard(ctx context.Context, slug string) (string, error) {
	text, err := secretsText(x.secrets)
	if err != nil {
		return "", err
	}
	var page report.Onboarded
	args := []string{"onboard", slug, "--name", "Drill", "--account", x.account.Name}
	if len(x.secrets) > 0 {
		args = append(args, "--secrets-file", "-")
	}
	if err := x.run(ctx, &page, text, ExitDone, args...); err != nil {
		return "", err
	}
	return "https://" + page.Hostname + " answers", x.fetch(ctx)
}

// secretsText is what is given to a verb on its standard input.
func secretsText(values secrets.Bundle) (string, error) {
	plain := map[string]string{}
	for name, v := range values {
		plain[name] = string(v)
	}
	text, err := json.Marshal(plain)
	if err != nil {
		return "", errors.New("the secrets cannot be written")
	}
	return string(text), nil
}

// results is what the verbs that deploy print.
type drillResults struct {
	Shops []struct {
		Status  string          `json:"status"`
		Outcome *deploy.Outcome `json:"outcome"`
	} `json:"shops"`
}

func (r drillResults) is(status string) (deploy.Outcome, error) {
	if len(r.Shops) != 1 || r.Shops[0].Status != status || r.Shops[0].Outcome == nil {
		return deploy.Outcome{}, fmt.Errorf("its result is %+v, and was to be %s", r.Shops, status)
	}
	return *r.Shops[0].Outcome, nil
}

// deployed pushes a change of the shop's own config, and deploys it.
func (x *drilling) deployed(ctx context.Context) (_ string, err error) {
	p, err := x.inside(io.Discard).depart(ctx, asked{verb: verbOffboard, slug: x.slug}, departFlags{policy: x.flags.policy})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, p.c.close()) }()
	config, err := wrangler.Parse("", configFile, p.config)
	if err != nil {
		return "", err
	}
	text, err := config.Replace(wrangler.Replacement{Path: []any{"env", x.slug, "vars", "SHOP_NAME"}, Text: "Drill, changed"})
	if err != nil {
		return "", err
	}
	if err := p.put(ctx, text, x.slug+": a change\n"); err != nil {
		return "", err
	}
	if err := x.fetch(ctx); err != nil {
		return "", err
	}
	var r drillResults
	if err := x.run(ctx, &r, "", ExitDone, "deploy", x.slug); err != nil {
		return "", err
	}
	out, err := r.is(statusReleased)
	return "version " + shortVersion(out.VersionID) + " took all traffic", err
}

// teapot is a status that no release answers with (RFC 9110 §15.5.19 keeps it unused): a gate that wants it is one that
// nothing passes, whatever the product is.
const teapot = 418

// broken deploys a release whose gate fails: the gate that is asked wants what no release answers. It has to be taken back.
func (x *drilling) broken(ctx context.Context) (_ string, err error) {
	d := x.inside(io.Discard)
	c, err := d.open(ctx, x.flags.policy)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	policy := *c.policy
	policy.Gate.Status, policy.Gate.Timeout = teapot, min(policy.Gate.Timeout, 5*time.Second)
	policy.Gate.BeforeRelease = fleet.BeforeNever // it is to take traffic, and to lose it again
	c.policy = &policy
	at, err := d.site(ctx, c, []string{x.slug}, deployFlags{apply: true, parallel: 1, throughFreeze: true, policy: x.flags.policy})
	if err != nil {
		return "", err
	}
	sources, problems := c.sources(ctx, []string{x.slug})
	if err := problems[x.slug]; err != nil {
		return "", err
	}
	src := sources[x.slug]
	src.Redeploy = true
	r := at.work(ctx, []string{x.slug}, map[string]deploy.Source{x.slug: src}, nil)[0]
	var gate *deploy.GateError
	if !errors.As(r.err, &gate) || gate.Restored == "" || r.Outcome == nil {
		return "", fmt.Errorf("a release that does not pass its gate was not taken back: %s: %w", r.Status, cmp.Or(r.err, errors.New("it passed")))
	}
	return fmt.Sprintf("version %s was taken back, %s is live again", shortVersion(r.Outcome.Uploaded), shortVersion(gate.Restored)), nil
}

func (x *drilling) rolledBack(ctx context.Context) (string, error) {
	var r drillResults
	if err := x.run(ctx, &r, "", ExitDone, "rollback", x.slug, "--reason", "a drill"); err != nil {
		return "", err
	}
	out, err := r.is(statusRolledBack)
	if err != nil {
		return "", err
	}
	return "version " + shortVersion(out.VersionID) + " is live", x.run(ctx, nil, "", ExitDone, "release-hold", x.slug)
}

// drillMark is what the drill writes into the shop's stores, to be found in what is restored.
const drillMark = "drill-mark"

// backedUp writes something that is worth a backup, and makes one.
func (x *drilling) backedUp(ctx context.Context) (string, error) {
	err := x.marks(ctx, x.slug, func(cf *cloudflare.Client, namespace, bucket string) error {
		return errors.Join(cf.PutKVValue(ctx, namespace, drillMark, x.slug), cf.PutR2Object(ctx, bucket, "", drillMark, []byte(x.slug)))
	})
	if err != nil {
		return "", err
	}
	if err := x.run(ctx, nil, "", ExitDone, "backup", x.slug, "--to", x.vault()); err != nil {
		return "", err
	}
	return "D1, KV and R2, with checksums", nil
}

func (x *drilling) vault() string { return filepath.Join(x.dir, "vault") }

// restored brings the backup into the second shop, and looks for what was written.
func (x *drilling) restored(ctx context.Context) (string, error) {
	if err := x.run(ctx, nil, "", ExitDone, "restore", x.second, "--from", x.vault(), "--of", x.slug); err != nil {
		return "", err
	}
	err := x.marks(ctx, x.second, func(cf *cloudflare.Client, namespace, bucket string) error {
		value, err := cf.KVValue(ctx, namespace, drillMark)
		if err != nil {
			return err
		}
		object, err := cf.R2Object(ctx, bucket, "", drillMark)
		if err == nil && (value != x.slug || string(object) != x.slug) {
			err = errors.New("what came back is not what was backed up")
		}
		return err
	})
	return "what was written is in the second shop", err
}

// marks does something with a shop's KV and R2.
func (x *drilling) marks(ctx context.Context, slug string, do func(cf *cloudflare.Client, namespace, bucket string) error) error {
	shop, cf, have, err := x.look(ctx, slug, x.account)
	if err != nil {
		return err
	}
	for _, n := range have.Namespaces {
		if n.Title == shop.KV {
			return do(cf, n.ID, shop.R2)
		}
	}
	return fmt.Errorf("shop %s has no KV namespace %s", slug, shop.KV)
}

// look reads what a shop has on an account.
func (x *drilling) look(ctx context.Context, slug string, account fleet.Account) (fleet.Shop, *cloudflare.Client, *provision.Account, error) {
	shop, err := x.c.policy.WithAccounts(map[string]string{slug: account.Name}).Shop(slug)
	if err != nil {
		return shop, nil, nil, err
	}
	engines, err := x.door.engines([]fleet.Account{account}, false, nil)
	if err != nil {
		return shop, nil, nil, err
	}
	cf := engines[account.ID].CF
	have, err := provision.Look(ctx, cf, account, shop)
	return shop, cf, have, err
}

// offboard goes on with the offboarding of the shop, without any time in between.
func (x *drilling) offboard(ctx context.Context, what string) (_ *report.Departure, err error) {
	d := x.inside(io.Discard)
	p, err := d.depart(ctx, asked{verb: verbOffboard, what: what, slug: x.slug, at: d.Now()}, departFlags{confirm: x.slug, json: true, policy: x.flags.policy})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.c.close()) }()
	policy := *p.c.policy
	policy.Offboard.Grace = 0
	p.c.policy, p.to = &policy, filepath.Join(x.dir, "export")
	if err := p.offboard(ctx); err != nil {
		return nil, err
	}
	return &p.page, nil
}

func (x *drilling) closed(ctx context.Context) (string, error) {
	page, err := x.offboard(ctx, askGo)
	if err != nil {
		return "", err
	}
	if page.Status != report.DepartureClosed {
		return "", fmt.Errorf("it is %s and not closed", page.Status)
	}
	return "it cannot be reached, and everything is there", nil
}

func (x *drilling) deleted(ctx context.Context) (string, error) {
	page, err := x.offboard(ctx, askDelete)
	if err != nil {
		return "", err
	}
	if page.Status != report.DepartureDeleted || page.Proof == nil {
		return "", fmt.Errorf("it is %s and not deleted", page.Status)
	}
	return page.Proof.Words(), nil
}

// others are what everybody else has on the account.
func (x *drilling) others(ctx context.Context) (*others, error) {
	shop, err := x.c.policy.WithAccounts(map[string]string{x.slug: x.account.Name}).Shop(x.slug)
	if err != nil {
		return nil, err
	}
	p := &departure{door: x.door, c: x.c, slug: x.slug, clients: map[string]*cloudflare.Client{}}
	return p.others(ctx, shop)
}

// leftovers deletes what earlier drills left that were cut off: whatever has the name of a drill's shop that is older than
// any drill takes, on GitHub and on every account that can be reached.
func (x *drilling) leftovers(ctx context.Context) error {
	found := map[string]bool{}
	note := func(slug string) {
		m := drillSlug.FindStringSubmatch(slug)
		if _, listed := x.c.policy.Shops[slug]; m == nil || listed {
			return
		}
		made, err := strconv.ParseInt(m[1], 10, 64)
		if err == nil && (x.flags.clean || x.door.Now().Sub(time.Unix(made, 0)) > longestDrill) {
			found[slug] = true
		}
	}
	for _, prefix := range []string{"refs/heads/", holdRefs, leftRefs, proofRefs} {
		refs, err := x.hub.Refs(ctx, prefix)
		if err != nil {
			return fmt.Errorf("looking for what earlier drills left: %w", err)
		}
		for _, r := range refs {
			name := strings.TrimPrefix(r.Name, prefix)
			if prefix == "refs/heads/" {
				if slug, ok := x.c.policy.Slug(name); ok {
					note(slug)
				}
				continue
			}
			name, _, _ = strings.Cut(name, "/")
			name, _, _ = strings.Cut(name, ".")
			note(name)
		}
	}
	for _, a := range x.c.policy.Accounts {
		if x.door.Getenv(a.Token) == "" && a.Name != x.account.Name {
			continue
		}
		if err := x.named(ctx, a, note); err != nil {
			return fmt.Errorf("looking for what earlier drills left on account %s: %w", a.Name, err)
		}
	}
	for _, slug := range sortedKeys(found) {
		fmt.Fprintf(x.door.Stderr, "drill: deleting what an earlier drill left: %s\n", slug)
		if err := x.sweep(ctx, slug); err != nil {
			return fmt.Errorf("deleting what an earlier drill left, %s: %w", slug, err)
		}
		x.page.Cleaned = append(x.page.Cleaned, slug)
	}
	return nil
}

// named notes every slug of which an account has something: by the owner's tag, or by the names that a shop's things have.
func (x *drilling) named(ctx context.Context, a fleet.Account, note func(slug string)) error {
	_, cf, have, err := x.look(ctx, x.slug, a)
	if err != nil {
		return err
	}
	for _, z := range have.Zones {
		if !slices.Contains(a.Zones(), z.Name) {
			continue
		}
		records, err := cf.DNSRecords(ctx, z.ID, "")
		if err != nil {
			return err
		}
		for _, r := range records {
			if slug, ok := strings.CutPrefix(r.Comment, "shopfleet: shop "); ok {
				note(slug)
			}
		}
	}
	for _, owner := range have.Owners {
		note(owner)
	}
	n := x.c.policy.Naming
	match := func(rule, name string) {
		before, after, ok := strings.Cut(rule, "{slug}")
		if slug := strings.TrimSuffix(strings.TrimPrefix(name, before), after); ok && before+slug+after == name {
			note(slug)
		}
	}
	for _, w := range have.Workers {
		match(n.Worker, w.Name)
	}
	for _, d := range have.Databases {
		match(n.D1, d.Name)
	}
	for _, k := range have.Namespaces {
		match(n.KV, k.Title)
	}
	for _, b := range have.Buckets {
		match(n.R2, b.Name)
	}
	return nil
}

// sweep deletes everything that there is of a drill's shop, whatever state it is in. It can be done again.
func (x *drilling) sweep(ctx context.Context, slug string) error {
	if !drillSlug.MatchString(slug) {
		return fmt.Errorf("%s is no shop of a drill", slug)
	}
	for _, a := range x.c.policy.Accounts {
		if x.door.Getenv(a.Token) == "" && a.Name != x.account.Name {
			continue
		}
		shop, cf, have, err := x.look(ctx, slug, a)
		if err != nil {
			return err
		}
		plan := provision.PlanDelete(shop, have)
		if list := deploy.Findings(plan.Findings); list.Blocking() {
			return list
		}
		if !plan.Changes() {
			continue
		}
		if _, err := provision.Apply(ctx, cf, plan, provision.Options{Now: x.door.Now, Tell: func(string) {}}); err != nil {
			return err
		}
	}
	shop, err := x.c.policy.Shop(slug)
	if err != nil {
		return err
	}
	if _, err := x.hub.DeleteEnvironment(ctx, shop.Environment()); err != nil {
		var refused *github.Error
		if !errors.As(err, &refused) || refused.Status != 403 && refused.Status != 404 {
			return fmt.Errorf("deleting the environment %s: %w", shop.Environment(), err)
		}
	}
	for _, prefix := range []string{"refs/heads/" + shop.Branch, holdRefs + slug, leftRefs + slug, proofRefs + slug} {
		refs, err := x.hub.Refs(ctx, prefix)
		if err != nil {
			return fmt.Errorf("reading %s: %w", prefix, err)
		}
		for _, r := range refs {
			if rest := strings.TrimPrefix(r.Name, prefix); rest != "" && rest[0] != '/' && rest[0] != '.' {
				continue // drill-…-2 is another one
			}
			if _, err := x.hub.SwapRef(ctx, r.Name, r.SHA, ""); err != nil {
				return fmt.Errorf("removing %s: %w", r.Name, err)
			}
		}
	}
	return nil
}

// end prints the page.
func (x *drilling) end(err error) error {
	d, p := x.door, &x.page
	p.Seconds = d.Now().Sub(p.Begun).Seconds()
	p.Exit = exitCode(err)
	if list := findings(err); err != nil && list != nil {
		var text []string
		for _, f := range list {
			text = append(text, f.Message)
		}
		p.Exit, p.Error = ExitFailed, report.Clean(strings.Join(text, "; "))
	} else if err != nil {
		p.Exit, p.Error, p.Hint = ExitFailed, report.Clean(oneLine(err.Error())), hintOf(err)
	}
	if d.workflow != nil {
		shown := *p
		if shown.Error != "" {
			shown.Error = "the log says why"
		}
		d.workflow.page = report.DrillMarkdown(&shown)
	}
	var printed error
	switch {
	case x.flags.json:
		printed = report.JSON(d.Stdout, p)
	case x.flags.clean && err == nil:
		_, printed = fmt.Fprintf(d.Stdout, "%s\n", cmp.Or(strings.Join(slices.Concat([]string{}, p.Cleaned), "\n"), "drills have left nothing"))
	default:
		printed = report.DrillText(d.Stdout, d.resultStyle(), p)
	}
	switch {
	case printed != nil:
		return fmt.Errorf("printing the result: %w", printed)
	case err != nil && !x.flags.json:
		return errors.New(p.Error)
	case p.Exit != ExitDone:
		return &resultError{code: p.Exit}
	}
	return nil
}
