package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/report"
)

// deployFlags are what plan and deploy have in common.
type deployFlags struct {
	all              bool
	json             bool
	secretsFile      string
	redeploy         bool
	overwriteOutside bool
	allowDestructive bool
	planDigest       string
	parallel         int
	main             string
}

func (f *deployFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "every shop that has a branch")
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	flags.StringVar(&f.secretsFile, "secrets-file", "", "`file` of secrets to upload with the version: JSON or dotenv, - for standard input (one shop)")
	flags.BoolVar(&f.redeploy, "redeploy", false, "upload and release although nothing changed")
	flags.BoolVar(&f.overwriteOutside, "overwrite-outside", false, "replace a live version that shopfleet did not make")
	flags.BoolVar(&f.allowDestructive, "allow-destructive", false, "let migrations lose data although their files do not say why")
	flags.IntVar(&f.parallel, "parallel", 16, "how many shops to work on at once")
	flags.StringVar(&f.main, "main", "main", "the `branch` that holds fleet.yml and that shops are based on")
}

const sourceHelp = `A shop is deployed from the commit at its branch (by default shops/<slug>),
never from the working tree. fleet.yml is read from the main branch.

The API token is read from the environment variable that fleet.yml names for
the shop's account (by default CLOUDFLARE_API_TOKEN). CLOUDFLARE_API_BASE_URL
and SHOPFLEET_EDGE_URL point shopfleet at "shopfleet sim".`

func (d *Door) deploy() *cobra.Command {
	var f deployFlags
	cmd := &cobra.Command{
		Use:   "deploy [shop...]",
		Short: "Bring shops to what their branches say",
		Long: `Bring shops to what their branches say: migrations applied, a version uploaded
and released, crons and hostnames converged, the release checked. Where nothing
changed nothing is written. Without a shop it is the one whose branch is
checked out.

` + sourceHelp,
		Example:           "  shopfleet deploy swicked\n  shopfleet deploy --all\n  shopfleet deploy swicked --plan 3f2a…   # only if the plan is still this one",
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.run(cmd.Context(), args, f, true)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.planDigest, "plan", "", "deploy only if the plan's `digest` is still this one (one shop)")
	return cmd
}

func (d *Door) plan() *cobra.Command {
	var f deployFlags
	cmd := &cobra.Command{
		Use:   "plan [shop...]",
		Short: "Show what deploy would change, and change nothing",
		Long: `Show what deploy would change. Nothing is written: the client that plans refuses
to send a write. The exit code is 1 when there are findings that would stop the
deploy.

` + sourceHelp,
		Example:           "  shopfleet plan swicked\n  shopfleet plan --all --json",
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.run(cmd.Context(), args, f, false)
		},
	}
	f.add(cmd)
	return cmd
}

// shopResult is what became of one shop, as --json prints it.
type shopResult struct {
	Shop     string           `json:"shop"`
	Status   string           `json:"status"` // "planned", "unchanged", "released", "restored", "findings" or "failed"
	Plan     *deploy.Plan     `json:"plan,omitempty"`
	Digest   string           `json:"plan_digest,omitempty"`
	Outcome  *deploy.Outcome  `json:"outcome,omitempty"`
	Findings []deploy.Finding `json:"findings,omitempty"`
	Error    string           `json:"error,omitempty"`
	Hint     string           `json:"hint,omitempty"`

	err error
}

// The values of shopResult.Status.
const (
	statusPlanned   = "planned"
	statusUnchanged = "unchanged"
	statusReleased  = "released"
	statusRestored  = "restored"
	statusFindings  = "findings"
	statusFailed    = "failed"
)

// run plans shops, and applies the plans when apply is set. One shop that
// fails does not stop the others; the exit code is the worst of all.
func (d *Door) run(ctx context.Context, args []string, f deployFlags, apply bool) (err error) {
	if f.parallel < 1 {
		return Usage(fmt.Errorf("--parallel is %d", f.parallel), "give a number of at least 1")
	}
	fl, err := d.open(ctx, f.main)
	if err != nil {
		return d.asJSON(f.json, err)
	}
	defer func() { err = errors.Join(err, fl.close()) }()
	slugs, err := fl.choose(ctx, args, f.all)
	if err != nil {
		return d.asJSON(f.json, err)
	}
	if len(slugs) != 1 && (f.secretsFile != "" || f.planDigest != "") {
		return Usage(errors.New("--secrets-file and --plan go with exactly one shop"), "name the shop")
	}
	secrets, err := d.readSecrets(f.secretsFile)
	if err != nil {
		return err
	}
	sources, problems := fl.sources(ctx, slugs)
	var rehearsals deploy.Rehearsals
	accounts, err := d.accounts(sources, !apply, &rehearsals)
	if err != nil {
		return d.asJSON(f.json, err)
	}
	progress := d.newProgress(len(slugs))
	results := make([]shopResult, len(slugs))
	var builder deploy.Builder
	// Preparing is work for the processor (bundling, hashing), applying is
	// waiting for Cloudflare: each has its own limit.
	preparing := make(chan struct{}, max(1, runtime.GOMAXPROCS(0)))
	var group errgroup.Group
	group.SetLimit(f.parallel)
	for i, slug := range slugs {
		if err := problems[slug]; err != nil {
			results[i] = result(slug, nil, nil, err)
			progress.done(results[i])
			continue
		}
		src := sources[slug]
		src.Secrets, src.Redeploy, src.OverwriteOutside, src.AllowDestructive = secrets, f.redeploy, f.overwriteOutside, f.allowDestructive
		group.Go(func() error {
			results[i] = d.one(ctx, src, accounts[src.Shop.Account.ID], &builder, preparing, progress, f, apply)
			progress.done(results[i])
			return nil
		})
	}
	_ = group.Wait() // every shop carries its own error
	progress.finish()
	return d.results(results, rehearsals.Distinct(), f.json)
}

// one takes one shop through prepare, observe, plan and, if asked, apply.
func (d *Door) one(ctx context.Context, src deploy.Source, engine *deploy.Engine, builder *deploy.Builder, preparing chan struct{}, progress *progress, f deployFlags, apply bool) shopResult {
	slug := src.Shop.Slug
	select {
	case preparing <- struct{}{}:
	case <-ctx.Done():
		return result(slug, nil, nil, ctx.Err())
	}
	progress.stage(slug, "building")
	want, err := builder.Prepare(ctx, src)
	<-preparing
	if err != nil {
		return result(slug, nil, nil, err)
	}
	progress.stage(slug, "reading the account")
	have, err := engine.Observe(ctx, want)
	if err != nil {
		return result(slug, nil, nil, err)
	}
	plan := deploy.Diff(want, have)
	if !apply {
		return result(slug, plan, nil, nil)
	}
	if f.planDigest != "" && plan.Digest() != f.planDigest {
		return result(slug, plan, nil, &stalePlan{want: f.planDigest, have: plan.Digest()})
	}
	outcome, err := engine.Apply(ctx, want, have, plan, func(e deploy.Event) { progress.stage(slug, e.Text) })
	return result(slug, plan, outcome, err)
}

type stalePlan struct{ want, have string }

func (e *stalePlan) Error() string {
	return fmt.Sprintf("the plan is %s now, not %s: the branch or the account changed since it was shown", e.have, e.want)
}
func (e *stalePlan) Hint() string {
	return "look at the new plan with shopfleet plan, then deploy that"
}

// result sums up one shop.
func result(slug string, plan *deploy.Plan, outcome *deploy.Outcome, err error) shopResult {
	r := shopResult{Shop: slug, Plan: plan, Outcome: outcome, err: err}
	if plan != nil {
		r.Digest = plan.Digest()
	}
	var gate *deploy.GateError
	switch {
	case err != nil && findings(err) != nil:
		r.Status, r.Findings = statusFindings, findings(err)
	case err != nil:
		r.Status, r.Error, r.Hint = statusFailed, report.Clean(oneLine(err.Error())), hintOf(err)
		if errors.As(err, &gate) && gate.Restored != "" {
			r.Status = statusRestored
		}
	case outcome == nil && deploy.Findings(plan.Findings).Blocking():
		r.Status = statusFindings
	case outcome == nil:
		r.Status = statusPlanned
	case outcome.Changed:
		r.Status = statusReleased
	default:
		r.Status = statusUnchanged
	}
	return r
}

// exit is the exit code of one shop's result.
func (r shopResult) exit() int {
	switch r.Status {
	case statusFindings:
		return ExitFindings
	case statusRestored:
		return ExitGate
	case statusFailed:
		return exitCode(r.err)
	}
	return ExitDone
}

// results prints the page and chooses the exit code: the gravest one wins, in
// the order failed, gate, findings.
func (d *Door) results(list []shopResult, rehearsed int, asJSON bool) error {
	code := ExitDone
	for _, grave := range []int{ExitFindings, ExitGate, ExitUsage, ExitFailed} {
		if slices.ContainsFunc(list, func(r shopResult) bool { return r.exit() == grave }) {
			code = grave
		}
	}
	if asJSON {
		page := struct {
			Exit int `json:"exit_code"`
			// Rehearsed counts the different pairs of a schema and pending files; Drifted are the shops whose schema is
			// not what their migrations make.
			Rehearsed int          `json:"rehearsed,omitempty"`
			Drifted   []string     `json:"drifted,omitempty"`
			Shops     []shopResult `json:"shops"`
		}{code, rehearsed, drifted(list), list}
		if err := report.JSON(d.Stdout, page); err != nil {
			return fmt.Errorf("printing the result: %w", err)
		}
	} else if err := d.printResults(list, rehearsed); err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	if code != ExitDone {
		return &resultError{code: code}
	}
	return nil
}

func (d *Door) printResults(list []shopResult, rehearsed int) error {
	style := report.Style{} // results may be piped: colour only follows the terminal of stderr when both are one
	if d.Terminal {
		style = d.style()
	}
	counts := map[string]int{}
	for _, r := range list {
		counts[r.Status]++
		if err := r.print(d.Stdout, style); err != nil {
			return err
		}
	}
	if len(list) == 1 {
		return nil
	}
	lines := []string{summary(counts, len(list))}
	if rehearsed > 0 {
		lines = append(lines, fmt.Sprintf("migrations were rehearsed on %s", counted(rehearsed, "distinct schema")))
	}
	if names := drifted(list); len(names) > 0 {
		lines = append(lines, fmt.Sprintf("%s drifted from their migrations: %s", counted(len(names), "schema"), strings.Join(names, ", ")))
	}
	_, err := fmt.Fprintln(d.Stdout, strings.Join(lines, "\n"))
	return err
}

// drifted are the shops whose schema is not what their migrations make.
func drifted(list []shopResult) []string {
	var out []string
	for _, r := range list {
		if r.Plan != nil && slices.ContainsFunc(r.Plan.Findings, func(f deploy.Finding) bool { return f.Rule == "schema-drift" }) {
			out = append(out, r.Shop)
		}
	}
	return out
}

// print writes a shop's page: what was done; or, when nothing was, the plan;
// and why it ended there.
func (r shopResult) print(w io.Writer, style report.Style) error {
	var b bytes.Buffer
	done := r.Outcome != nil && (r.err == nil || r.Outcome.Changed)
	list := r.Findings
	var err error
	switch {
	case done:
		err = report.Outcome(&b, style, r.Outcome)
		if r.err == nil {
			list = r.Plan.Findings
		}
	case r.Plan != nil:
		err = report.Plan(&b, style, r.Plan)
		if deploy.Findings(r.Plan.Findings).Blocking() {
			list = nil // the plan's page has shown them
		}
	default:
		fmt.Fprintf(&b, "%s  %s\n", style.Bold(report.Clean(r.Shop)), style.Red(r.Status))
	}
	err = errors.Join(err, report.Findings(&b, style, list))
	if r.Error != "" {
		fmt.Fprintf(&b, "  %s %s\n", style.Red("error:"), r.Error)
		if r.Hint != "" {
			fmt.Fprintf(&b, "  hint: %s\n", report.Clean(r.Hint))
		}
	}
	if err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

func summary(counts map[string]int, total int) string {
	s := fmt.Sprintf("%d shops:", total)
	sep := " "
	for _, status := range []string{statusReleased, statusUnchanged, statusPlanned, statusFindings, statusRestored, statusFailed} {
		if n := counts[status]; n > 0 {
			s += fmt.Sprintf("%s%d %s", sep, n, status)
			sep = ", "
		}
	}
	return s
}

// asJSON prints an error that came before any shop as a JSON document too, so
// that a program never has to read prose.
func (d *Door) asJSON(asJSON bool, err error) error {
	var printed *resultError
	if !asJSON || err == nil || errors.As(err, &printed) {
		return err
	}
	page := struct {
		Exit     int              `json:"exit_code"`
		Error    string           `json:"error,omitempty"`
		Findings []deploy.Finding `json:"findings,omitempty"`
		Hint     string           `json:"hint,omitempty"`
	}{Exit: exitCode(err), Findings: findings(err)}
	if page.Findings == nil {
		page.Error = report.Clean(oneLine(err.Error()))
	}
	page.Hint = hintOf(err)
	if printErr := report.JSON(d.Stdout, page); printErr != nil {
		return fmt.Errorf("printing the result: %w", printErr)
	}
	return &resultError{code: page.Exit}
}

// accounts makes one engine for each Cloudflare account that the shops lie in.
// Accounts whose token is the same share its budget.
func (d *Door) accounts(sources map[string]deploy.Source, readOnly bool, rehearsals *deploy.Rehearsals) (map[string]*deploy.Engine, error) {
	engines := map[string]*deploy.Engine{}
	var budgets cloudflare.Budgets
	gate := &deploy.Gate{EdgeURL: d.Getenv("SHOPFLEET_EDGE_URL"), Transport: d.Transport, Now: d.Now}
	for _, slug := range sortedKeys(sources) {
		account := sources[slug].Shop.Account
		if engines[account.ID] != nil {
			continue
		}
		token := d.Getenv(account.Token)
		if token == "" {
			return nil, Usage(fmt.Errorf("no API token for account %s", account.Name),
				"set "+account.Token+" to a Cloudflare API token; shopfleet sim prints one for its world")
		}
		client := &cloudflare.Client{
			BaseURL:   d.Getenv("CLOUDFLARE_API_BASE_URL"),
			AccountID: account.ID,
			Token:     cloudflare.Secret(token),
			Budget:    budgets.For(cloudflare.Secret(token)),
			Transport: d.Transport,
			UserAgent: "shopfleet/" + d.Version,
		}
		if readOnly {
			client = client.ReadOnly()
		}
		engines[account.ID] = &deploy.Engine{CF: client, Gate: gate, Rehearsals: rehearsals, Now: d.Now}
	}
	return engines, nil
}

// completeShops completes slugs from the branches of the repository.
func (d *Door) completeShops(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	branch, err := cmd.Flags().GetString("main")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	fl, err := d.open(cmd.Context(), branch)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer fl.close()
	slugs, err := fl.choose(cmd.Context(), nil, true)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.DeleteFunc(slugs, func(s string) bool { return slices.Contains(args, s) }), cobra.ShellCompDirectiveNoFileComp
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
