package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/secrets"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// rotateFlags are those of secrets rotate.
type rotateFlags struct {
	all, json bool
	command   string
	pass      []string
	older     time.Duration
	parallel  int
	policy    policyFlags
}

func (d *Door) secretsRotate() *cobra.Command {
	var f rotateFlags
	cmd := &cobra.Command{
		Use:   "rotate <name> [shop...]",
		Short: "Give shops a new value of a secret, wave by wave",
		Long: `Give shops a new value of a secret: the canaries of rebase.waves first, then its
percentages, then the rest. Each shop gets its value into its bundle and is
deployed, with its gate. When one of a wave does not come through, no further wave
begins; the release that did not pass is taken back, and its old value with it.

The values are a JSON object {"<shop>": "<value>"} on standard input, or what a
command prints that is run for each shop, with the slug in $SHOP. Run the same
command again to go on: a shop that has the new value live is left out, and with
--command one whose value is younger than --older-than. A value that is in a bundle
and was not deployed yet is deployed, not made anew.

` + bundleHelp,
		Example: "  shopfleet secrets rotate STRIPE_SECRET_KEY < values.json\n  shopfleet secrets rotate SESSION_KEY --all --command 'openssl rand -hex 32' --older-than 24h",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return Usage(errors.New("secrets rotate takes the name of a secret"), "run "+cmd.CommandPath()+" --help")
			}
			return nil
		},
		ValidArgsFunction: d.completeSecret,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.rotate(cmd.Context(), args[0], args[1:], f))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "every shop that has a branch")
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	flags.StringVar(&f.command, "command", "", "shell `command` that prints a shop's value")
	flags.StringSliceVar(&f.pass, "pass", nil, "environment `variables` that the command gets besides PATH and HOME")
	flags.DurationVar(&f.older, "older-than", 0, "with --command, leave out shops whose live value is younger than this")
	flags.IntVar(&f.parallel, "parallel", 16, "how many shops of a wave to deploy at once")
	f.policy.add(cmd)
	return cmd
}

// rotated is what became of one shop.
type rotated struct {
	Shop string `json:"shop"`
	Wave string `json:"wave"`
	// Status is new when a value was made and deployed, deployed when one that was in the bundle was, left out when the shop
	// has it already, failed, or waiting when its wave did not begin.
	Status string `json:"status"`
	*shopCommit
	Result *shopResult `json:"result,omitempty"`
}

// rotation is one secret on its way to several shops.
type rotation struct {
	door   *Door
	c      *checkout
	flags  rotateFlags
	name   string
	values map[string]wrangler.Secret // by slug; nil with a command
	writer *shopWriter
	shops  map[string]*rotating
}

// rotating is one shop of a rotation.
type rotating struct {
	shop   fleet.Shop
	policy fleet.Secrets
	bundle secrets.Bundle
	live   deploy.SecretMark // zero when nobody knows it
}

func (d *Door) rotate(ctx context.Context, name string, args []string, f rotateFlags) (err error) {
	if f.parallel < 1 || f.older < 0 {
		return Usage(errors.New("--parallel and --older-than are no negative numbers"), "see --help")
	}
	r := &rotation{door: d, flags: f, name: name, shops: map[string]*rotating{}}
	if f.command == "" {
		if f.older > 0 {
			return Usage(errors.New("--older-than goes with --command"), "values that are given are compared with those that are live")
		}
		if r.values, err = readValues(d.Stdin); err != nil {
			return err
		}
		for _, v := range r.values {
			d.hideValue(v)
		}
		if len(args) == 0 && !f.all {
			args = sortedKeys(r.values)
		}
	}
	if r.c, err = d.open(ctx, f.policy); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.c.close()) }()
	slugs, err := r.c.choose(ctx, args, f.all)
	if err != nil {
		return err
	}
	if err := r.look(ctx, slugs); err != nil {
		return err
	}
	return r.run(ctx, slugs)
}

// readValues reads a value for each shop.
func readValues(in io.Reader) (map[string]wrangler.Secret, error) {
	src, err := readBounded(in)
	if err != nil {
		return nil, Usage(fmt.Errorf("reading the values: %w", err), "")
	}
	var plain map[string]string
	if json.Unmarshal(src, &plain) != nil || len(plain) == 0 {
		return nil, Usage(errors.New("the values on standard input are not a flat JSON object of strings"), `write {"<shop>": "<value>", …}, or use --command`)
	}
	out := make(map[string]wrangler.Secret, len(plain))
	for slug, v := range plain {
		out[slug] = wrangler.Secret(v)
	}
	return out, nil
}

// look reads all that can be wrong before anything is written: every bundle, and every value that is given.
func (r *rotation) look(ctx context.Context, slugs []string) error {
	d, c := r.door, r.c
	if err := c.sealable(); err != nil {
		return err
	}
	if err := secrets.CheckIdentity(d.identity(c.policy)); err != nil {
		return Usage(fmt.Errorf("a bundle is opened to change it: %w", err), "set "+c.policy.Secrets.Key+" to the identity that age-keygen made")
	}
	var missing, commits []string
	for _, slug := range slugs {
		shop, err := c.policy.Shop(slug)
		if err != nil {
			return err
		}
		b, err := c.branch(shop)
		if err != nil {
			return err
		}
		if r.values != nil && r.values[slug] == "" {
			missing = append(missing, slug)
		}
		r.shops[slug] = &rotating{shop: shop}
		commits = append(commits, c.tipsByName()[b.Name])
	}
	if len(missing) > 0 {
		return Usage(fmt.Errorf("there is no value for %s", namesOf(missing)), `give each shop one: {"<shop>": "<value>"}`)
	}
	bundles, err := c.bundles(ctx, commits)
	if err != nil {
		return err
	}
	configs, err := c.repo.Files(ctx, configFile, commits...)
	if err != nil {
		return fmt.Errorf("reading the shops' configs: %w", err)
	}
	var found deploy.Findings
	for i, slug := range slugs {
		x := r.shops[slug]
		x.policy, x.bundle = secretPolicy(c.policy, slug, configs[i].Data), bundles[i].bundle
		if bundles[i].err != nil {
			found = append(found, c.unreadable(slug, bundles[i].err))
		} else if r.values != nil {
			found = append(found, r.wrong(slug, r.values[slug])...)
		}
	}
	if found.Blocking() {
		return found
	}
	list, err := d.lookAtSecrets(ctx, c, slugs)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.err != nil {
			return fmt.Errorf("looking at the secrets of %s: %w", s.Shop, s.err)
		}
		for _, row := range s.Secrets {
			if row.Name == r.name && row.Since != nil {
				r.shops[s.Shop].live = deploy.SecretMark{Fingerprint: row.Live, Since: *row.Since}
			}
		}
	}
	r.writer, err = d.writer(ctx, c, true)
	return err
}

// wrong says what fleet.yml has against a shop's bundle with a new value.
func (r *rotation) wrong(slug string, v wrangler.Secret) []deploy.Finding {
	x := r.shops[slug]
	var out []deploy.Finding
	for _, f := range r.c.checkSecrets(x.policy, opened{there: true}, x.bundle.Over(secrets.Bundle{r.name: v})) {
		if f.Level == deploy.LevelError {
			f.Message = slug + ": " + f.Message
			out = append(out, f)
		}
	}
	return out
}

// waves puts shops into the waves of fleet.yml, each by name.
func waves(policy fleet.Waves, slugs []string) (names []string, shops [][]string) {
	add := func(name string, list []string) {
		if len(list) > 0 {
			names, shops = append(names, name), append(shops, list)
		}
	}
	var first, rest []string
	for _, slug := range slugs {
		if slices.Contains(policy.Canaries, slug) {
			first = append(first, slug)
		} else {
			rest = append(rest, slug)
		}
	}
	add("canaries", first)
	done := len(first)
	for _, percent := range policy.Percent {
		take := min(max((len(slugs)*percent+99)/100-done, 0), len(rest))
		add(fmt.Sprintf("%d %%", percent), rest[:take])
		rest, done = rest[take:], done+take
	}
	if len(names) == 0 {
		add("all shops", rest)
	} else {
		add("the rest", rest)
	}
	return names, shops
}

// run takes wave after wave.
func (r *rotation) run(ctx context.Context, slugs []string) error {
	names, groups := waves(r.c.policy.Rebase.Waves, slugs)
	var page []rotated
	var failed error
	code, stopped := ExitDone, false
	for i, group := range groups {
		if stopped {
			for _, slug := range group {
				page = append(page, rotated{Shop: slug, Wave: names[i], Status: "waiting"})
			}
			continue
		}
		list, results, err := r.wave(ctx, names[i], group)
		page = append(page, list...)
		if code = gravest(results); code != ExitDone || err != nil {
			stopped, failed = true, err
		}
	}
	if failed != nil {
		code = exitCode(failed)
	}
	if err := r.print(page, code, failed); err != nil {
		return err
	}
	if code != ExitDone {
		return &resultError{code: code}
	}
	return nil
}

// wave commits the new values of one wave and deploys its shops. The error is about a value that could not be made or
// committed: what was committed until then is deployed all the same, so that no bundle waits for the next run.
func (r *rotation) wave(ctx context.Context, wave string, slugs []string) (list []rotated, results []shopResult, err error) {
	tips := map[string]string{}
	var deploys []string
	for _, slug := range slugs {
		x := rotated{Shop: slug, Wave: wave, Status: "waiting"}
		if err == nil {
			if x.Status, x.shopCommit, err = r.renew(ctx, slug); err != nil {
				x.Status = "failed"
			} else if x.Status != "left out" {
				tips[slug] = r.c.tipsByName()[r.shops[slug].shop.Branch]
				deploys = append(deploys, slug)
			}
		}
		list = append(list, x)
	}
	if len(deploys) == 0 {
		return list, nil, err
	}
	sources, problems := r.c.sourcesAt(ctx, deploys, tips)
	if also := r.c.withSecrets(ctx, sources, secretUse{apply: true}); also != nil {
		return list, nil, errors.Join(err, also)
	}
	// What is known of an account is as old as its wave.
	at, also := r.door.site(ctx, r.c, deploys, deployFlags{apply: true, parallel: r.flags.parallel, policy: r.flags.policy})
	if also != nil {
		return list, nil, errors.Join(err, also)
	}
	results = at.work(ctx, deploys, sources, problems)
	for i := range results {
		n := slices.IndexFunc(list, func(x rotated) bool { return x.Shop == results[i].Shop })
		list[n].Result = &results[i]
		if results[i].exit() != ExitDone {
			list[n].Status = "failed"
		}
	}
	return list, results, err
}

// renew puts a shop's new value into its bundle.
func (r *rotation) renew(ctx context.Context, slug string) (status string, done *shopCommit, err error) {
	x := r.shops[slug]
	identity := r.door.identity(r.c.policy)
	print := func(v wrangler.Secret) string { return secrets.Fingerprint(identity, slug, r.name, v) }
	old := x.bundle[r.name]
	v, given := r.values[slug]
	if !given {
		switch {
		case old != "" && x.live.Fingerprint != "" && x.live.Fingerprint != print(old):
			return "deployed", nil, nil
		case r.flags.older > 0 && !x.live.Since.IsZero() && r.door.Now().Sub(x.live.Since) < r.flags.older:
			return "left out", nil, nil
		}
		if v, err = r.ask(ctx, slug); err != nil {
			return "", nil, err
		}
	}
	if v == old {
		if x.live.Fingerprint == print(v) {
			return "left out", nil, nil
		}
		return "deployed", nil, nil
	}
	commit, err := r.writer.bundle(ctx, x.shop, x.bundle.Over(secrets.Bundle{r.name: v}), bundleMessage(slug, []string{r.name}, nil))
	if err != nil {
		return "", nil, err
	}
	return "new", &commit, nil
}

// ask runs the command for a shop. What it prints as an error goes to the user; what it prints as a value goes nowhere else.
func (r *rotation) ask(ctx context.Context, slug string) (wrangler.Secret, error) {
	shell := []string{"sh", "-c", r.flags.command}
	if runtime.GOOS == "windows" {
		shell = []string{"cmd", "/C", r.flags.command}
	}
	cmd := exec.CommandContext(ctx, shell[0], shell[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, r.door.Stderr, r.door.Dir
	cmd.Env = append(r.door.environ(append([]string{"HOME", "USER"}, r.flags.pass...)...), "SHOP="+slug)
	if err := cmd.Run(); err != nil {
		return "", Usage(fmt.Errorf("the command did not make a value for %s: %w", slug, err), "run it by itself with SHOP="+slug)
	}
	v := wrangler.Secret(strings.TrimRight(out.String(), " \t\r\n"))
	r.door.hideValue(v)
	if found := deploy.Findings(r.wrong(slug, v)); found.Blocking() {
		return "", found
	}
	return v, nil
}

func (r *rotation) print(page []rotated, code int, failed error) error {
	d := r.door
	said, found := "", findings(failed)
	if failed != nil && found == nil {
		said = report.Clean(oneLine(failed.Error()))
	}
	if r.flags.json {
		return report.JSON(d.Stdout, struct {
			Exit     int              `json:"exit_code"`
			Secret   string           `json:"secret"`
			Shops    []rotated        `json:"shops"`
			Findings []deploy.Finding `json:"findings,omitempty"`
			Error    string           `json:"error,omitempty"`
			Hint     string           `json:"hint,omitempty"`
		}{code, r.name, page, found, said, hintOf(failed)})
	}
	style := report.Style{}
	if d.Terminal {
		style = d.style()
	}
	var b bytes.Buffer
	wave := ""
	counts := map[string]int{}
	for _, x := range page {
		if x.Wave != wave {
			wave = x.Wave
			fmt.Fprintf(&b, "%s\n", style.Bold(report.Clean(wave)))
		}
		counts[x.Status]++
		status := x.Status
		if x.Status == "failed" {
			status = style.Red(status)
		}
		fmt.Fprintf(&b, "  %s  %s", report.Clean(x.Shop), status)
		if x.shopCommit != nil {
			fmt.Fprintf(&b, "  commit %s", shortID(x.ID))
			if x.Todo != "" {
				fmt.Fprintf(&b, "  next: %s", report.Clean(x.Todo))
			}
		}
		b.WriteString("\n")
		if x.Status == "failed" && x.Result != nil {
			if err := x.Result.print(&b, style); err != nil {
				return err
			}
		}
	}
	if found != nil {
		if err := report.Findings(&b, style, found); err != nil {
			return err
		}
	} else if said != "" {
		fmt.Fprintf(&b, "%s %s\n", style.Red("stopped:"), said)
		if h := hintOf(failed); h != "" {
			fmt.Fprintf(&b, "  hint: %s\n", report.Clean(h))
		}
	}
	if code != ExitDone {
		fmt.Fprintf(&b, "no further wave was begun; run the same command again to go on\n")
	}
	_, err := d.Stdout.Write(b.Bytes())
	return err
}
