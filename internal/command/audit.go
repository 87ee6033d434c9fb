package command

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/audit"
	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
)

// deepShops is up to how many shops an audit reads everything unless --deep says otherwise.
const deepShops = 20

// auditFlags are the flags of audit.
type auditFlags struct {
	policy      policyFlags
	json        bool
	deep        bool
	deepSet     bool // --deep was given
	html, sarif string
	issue       bool
}

func (d *Door) audit() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit [shop...]",
		Short: "Prove that no Worker reaches another shop's data, and find what is not as it should be",
		Long: `Prove that no Worker reaches another shop's data: read every account of
fleet.yml, look at what every Worker in it is bound to, and compare that with
the shops' branches. Nothing is written. It finds stores that two shops reach,
hostnames that another Worker has, what belongs to no shop, shops that lack
something, differences between the accounts and the branches, and limits that
are near.

Each account costs at most twelve calls and one for each Worker. Live versions,
crons, schemas and identity records are read too (--deep) when at most 20 shops
are audited; what was not read is said. With shops named only what concerns them
is told, and still all Workers of their accounts are looked at.

The exit code is 1 when there are errors or warnings, and 3 when an account
could not be read; the others are audited all the same.

With --issue one issue of the repository says what was found; it is kept up to
date, and closed when there is nothing to do. It needs a token for GitHub
(GITHUB_TOKEN or GH_TOKEN, issues: write).

The API token is read from the environment variable that fleet.yml names for
each account (by default CLOUDFLARE_API_TOKEN); it needs no permission to write.`,
		Example:           "  shopfleet audit\n  shopfleet audit swicked\n  shopfleet audit --deep --html audit.html --sarif audit.sarif",
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.deepSet = cmd.Flags().Changed("deep")
			return d.asJSON(f.json, d.runAudit(cmd.Context(), args, f))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	flags.BoolVar(&f.deep, "deep", false, fmt.Sprintf("read live versions, crons, schemas and identity records too (default for up to %d shops)", deepShops))
	flags.StringVar(&f.html, "html", "", "write a page for an auditor to this `file`")
	flags.StringVar(&f.sarif, "sarif", "", "write a SARIF log to this `file`")
	flags.BoolVar(&f.issue, "issue", false, "keep an issue on GitHub up to date with what was found")
	f.policy.add(cmd)
	return cmd
}

func (d *Door) runAudit(ctx context.Context, args []string, f auditFlags) (err error) {
	for _, name := range []string{f.html, f.sarif} { // before minutes of reading
		if info, err := os.Stat(filepath.Dir(d.at(name))); name != "" && (err != nil || !info.IsDir()) {
			return Usage(fmt.Errorf("there is no folder for %s", name), "name a file in a folder that exists")
		}
	}
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	c.unbuilt = true
	var hub *github.Client
	if f.issue {
		if len(args) > 0 {
			return Usage(errors.New("--issue goes without shop names"), "the issue is about the whole fleet")
		}
		if hub, err = d.github(ctx, c, toAudit()); err != nil {
			return err
		}
		if hub == nil {
			return Usage(errors.New("there is no issue without GitHub"), "set GITHUB_TOKEN; GITHUB_REPOSITORY names the repository where origin does not")
		}
	}
	in := audit.Input{Policy: c.policy, At: d.Now().UTC(), Main: c.base, Tool: "shopfleet " + d.Version}
	if len(args) > 0 {
		if in.Only, err = c.choose(ctx, args, false); err != nil {
			return err
		}
	}
	if in.Shops, err = c.shops(ctx); err != nil {
		return err
	}
	if err := d.markLeaving(ctx, c, in.Shops); err != nil {
		return err
	}
	has := func(slug string) bool {
		return slices.ContainsFunc(in.Shops, func(s audit.Shop) bool { return s.Slug == slug })
	}
	for _, slug := range in.Only {
		if shop, err := c.policy.Shop(slug); err != nil {
			return err
		} else if !has(slug) {
			return Usage(fmt.Errorf("shop %s has no branch %s", slug, shop.Branch), "see git branch --all; git fetch origin gets what others pushed")
		}
	}
	if in.Snapshots, err = d.snapshots(ctx, c.policy, in, f); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err // an account that was not read because of that is no finding
	}
	rep := audit.Audit(in)
	err = d.printAudit(rep, c.policy, f)
	if hub == nil {
		return err
	}
	number, failed := hub.PutIssue(ctx, auditMarker, report.AuditTitle(rep), report.AuditMarkdown(rep, maxIssue), !rep.Clean() || len(rep.Unread()) > 0)
	if failed != nil {
		d.explain(fmt.Errorf("writing the audit's issue: %w", failed)) // what was found is printed; that it is nowhere else is told
		return &resultError{code: ExitFailed}
	}
	if number > 0 {
		fmt.Fprintf(d.Stderr, "issue %d says so too\n", number)
	}
	return err
}

// markLeaving notes which shops cannot be reached on purpose, where there is a GitHub that says so.
func (d *Door) markLeaving(ctx context.Context, c *checkout, shops []audit.Shop) error {
	hub, err := d.github(ctx, c, permissions{"contents": "read"})
	if err != nil || hub == nil {
		return err
	}
	list, err := (&holds{client: hub, now: d.Now}).list(ctx)
	if err != nil {
		// What an account says does not depend on it: a shop that leaves is told to lack its hostname, as without GitHub.
		fmt.Fprintf(d.Stderr, "shopfleet: whether shops are leaving is not known: %s\n", report.Clean(oneLine(err.Error())))
		return nil
	}
	for _, x := range list {
		if x.Leaving == nil || !x.Leaving.reached(stageClosed) || x.Leaving.Stage == stageMoved || x.Leaving.Stage == stageReturned {
			continue
		}
		for i := range shops {
			if shops[i].Slug == x.Shop {
				shops[i].Leaving = oneLineOf(x.Reason, maxReason)
			}
		}
	}
	return nil
}

// auditMarker is the hidden line by which the audit's issue is found again.
const auditMarker = "<!-- shopfleet:audit -->"

// maxIssue is how long the issue's text may be, in bytes: GitHub takes 65,536 characters, and the marker is one of the lines.
const maxIssue = 65_000

// shops says of every shop that has a branch what git does.
func (c *checkout) shops(ctx context.Context) ([]audit.Shop, error) {
	commits := c.tipsByName()
	var out []audit.Shop
	for _, b := range c.tips {
		slug, ok := c.policy.Slug(b.Name)
		if !ok {
			continue
		}
		shop, err := c.policy.Shop(slug)
		if err != nil { // a branch with a bad name: it can neither be deployed nor own anything
			out = append(out, audit.Shop{Shop: fleet.Shop{Slug: slug, Branch: b.Name}, Problems: findings(err)})
			continue
		}
		out = append(out, audit.Shop{Shop: shop, Commit: commits[b.Name]})
	}
	wants, err := c.examine(ctx, out)
	if err != nil {
		return nil, err
	}
	denied := map[string][]deploy.Finding{} // by tree and place of the migrations: most shops have the same
	for i, want := range wants {
		if want == nil || len(want.DenyColumns) == 0 || len(want.Migrations) == 0 {
			continue
		}
		key := filepath.Dir(want.Migrations[0].Path)
		list, ok := denied[key]
		if !ok {
			found, err := want.Lint(ctx, func(string) bool { return false })
			if err != nil {
				return nil, err
			}
			list = slices.DeleteFunc(found, func(f deploy.Finding) bool { return f.Rule != ruleDenied })
			denied[key] = list
		}
		out[i].Denied = list
	}
	return out, nil
}

// ruleDenied is the rule of package d1 about columns that no table may have.
const ruleDenied = "denied-column"

// examine resolves and admits every shop's commit, side by side. It fills in what it learns; a shop that cannot be
// examined has no Desired and says why in its problems.
func (c *checkout) examine(ctx context.Context, shops []audit.Shop) ([]*deploy.Desired, error) {
	wants := make([]*deploy.Desired, len(shops))
	return wants, c.examineEach(ctx, shops, func(i int, want *deploy.Desired) { wants[i] = want })
}

// examineEach is examine for callers that need little of what it finds, so that the rest of it need not stay. It tells of each
// shop that can be examined, by its index, from several goroutines.
func (c *checkout) examineEach(ctx context.Context, shops []audit.Shop, found func(i int, want *deploy.Desired)) error {
	var slugs, tips []string
	for _, s := range shops {
		if s.Commit != "" {
			slugs, tips = append(slugs, s.Slug), append(tips, s.Commit)
		}
	}
	if len(tips) == 0 {
		return nil
	}
	var based []git.Based
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		based, err = c.objects.Bases(gctx, c.main, tips...)
		return err
	})
	sources, problems := c.sources(ctx, slugs)
	if err := group.Wait(); err != nil {
		return err
	}
	at := map[string]git.Based{}
	for i, slug := range slugs {
		at[slug] = based[i]
	}
	group, _ = errgroup.WithContext(ctx)
	group.SetLimit(max(1, runtime.GOMAXPROCS(0)))
	for i := range shops {
		shop := &shops[i]
		if shop.Commit == "" {
			continue
		}
		b := at[shop.Slug]
		shop.Base, shop.Behind, shop.Since = b.Commit, b.Behind, b.Since
		group.Go(func() (err error) {
			var want *deploy.Desired
			if err = problems[shop.Slug]; err == nil {
				want, err = deploy.Examine(sources[shop.Slug])
			}
			if err != nil {
				shop.Problems, err = problemsOf(shop, err)
				return err
			}
			found(i, want)
			shop.Config, shop.RequiredSecrets, shop.Problems = want.Config, want.RequiredSecrets, want.Findings
			return nil
		})
	}
	return group.Wait()
}

// problemsOf are the findings in an error about a shop's branch; an error that is nobody's mistake stays one.
func problemsOf(shop *audit.Shop, err error) ([]deploy.Finding, error) {
	if list := findings(err); list != nil {
		return list, nil
	}
	var unrelated *git.UnrelatedError
	if errors.As(err, &unrelated) && !unrelated.Shallow {
		shop.Behind, shop.Since = 0, time.Time{}
		return []deploy.Finding{{
			Rule: "history-unrelated", Level: deploy.LevelError, Message: fmt.Sprintf("%s and main have no commit in common", shop.Branch),
			Hint: "the shop can be neither planned nor deployed: make its branch anew from main",
		}}, nil
	}
	return nil, err
}

// snapshots reads the accounts, side by side.
func (d *Door) snapshots(ctx context.Context, policy *fleet.Policy, in audit.Input, f auditFlags) ([]*audit.Snapshot, error) {
	accounts, blind, engines, err := d.readable(policy, func(a fleet.Account) bool {
		return len(in.Only) == 0 || slices.ContainsFunc(in.Shops, func(s audit.Shop) bool {
			return s.Account.Name == a.Name && slices.Contains(in.Only, s.Slug)
		})
	})
	if err != nil || len(accounts) == 0 {
		return nil, err
	}
	audited := slices.DeleteFunc(slices.Clone(in.Shops), func(s audit.Shop) bool { return len(in.Only) > 0 && !slices.Contains(in.Only, s.Slug) })
	options := audit.Options{Policy: policy, Now: d.Now, Jurisdictions: jurisdictions(in.Shops)}
	if f.deep || !f.deepSet && len(audited) <= deepShops {
		options.Deep = slices.DeleteFunc(audited, func(s audit.Shop) bool { return s.Account.Name == "" })
	}
	options.Side = max(2, 20/len(accounts))
	p := d.newProgress(len(accounts))
	out := make([]*audit.Snapshot, len(accounts), len(accounts)+len(blind))
	var group sync.WaitGroup
	for i, a := range accounts {
		group.Add(1)
		go func() {
			defer group.Done()
			out[i] = d.snapshot(ctx, engines[a.ID].CF, a, options, p)
		}()
	}
	group.Wait()
	p.finish()
	for _, a := range blind {
		out = append(out, &audit.Snapshot{Account: a, At: d.Now(), Error: noToken(a)})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Account.Name < out[j].Account.Name })
	return out, nil
}

// snapshot reads one account and tells how it goes.
func (d *Door) snapshot(ctx context.Context, cf *cloudflare.Client, a fleet.Account, o audit.Options, p *progress) *audit.Snapshot {
	p.stage(a.Name, "reading the account")
	if d.Terminal { // in a log a line for each Worker would be noise
		o.Progress = func(text string) { p.stage(a.Name, text) }
	}
	s := audit.Read(ctx, cf, a, o)
	r := shopResult{Shop: a.Name, Status: fmt.Sprintf("%s, %s", counted(len(s.Workers), "Worker"), counted(s.Calls, "call"))}
	if s.Error != "" {
		r.Status = statusFailed
	}
	p.done(r)
	return s
}

// jurisdictions are those that a bucket of some shop's config is in.
func jurisdictions(shops []audit.Shop) []string {
	var out []string
	for _, s := range shops {
		if s.Config == nil {
			continue
		}
		for _, b := range s.Config.Bindings {
			if j := b.Field("jurisdiction"); b.Type == "r2_bucket" && j != "" && j != "default" && !slices.Contains(out, j) {
				out = append(out, j)
			}
		}
	}
	slices.Sort(out)
	return out
}

// printAudit writes the pages and chooses the exit code.
func (d *Door) printAudit(rep *audit.Report, policy *fleet.Policy, f auditFlags) error {
	code := ExitDone
	switch {
	case len(rep.Unread()) > 0:
		code = ExitFailed
	case !rep.Clean():
		code = ExitFindings
	}
	loose := report.AuditFindings(rep, policy, cmp.Or(f.policy.config, policyFile))
	if d.workflow != nil {
		d.workflow.loose = append(d.workflow.loose, loose...)
	}
	for _, page := range []struct {
		name, what string
		write      func(*bytes.Buffer) error
	}{
		{f.html, "the page", func(b *bytes.Buffer) error { return report.AuditHTML(b, rep) }},
		{f.sarif, "the SARIF log", func(b *bytes.Buffer) error { return report.SARIF(b, d.Version, loose) }},
	} {
		if page.name == "" {
			continue
		}
		var b bytes.Buffer
		err := page.write(&b)
		if err == nil {
			err = d.writeWhole(page.name, b.Bytes())
		}
		if err != nil {
			return Usage(fmt.Errorf("writing %s: %w", page.what, err), "name a file in a folder that exists")
		}
	}
	var err error
	if f.json {
		err = report.JSON(d.Stdout, struct {
			Exit int `json:"exit_code"`
			*audit.Report
		}{code, rep})
	} else {
		style := report.Style{}
		if d.Terminal {
			style = d.style()
		}
		err = report.Audit(d.Stdout, style, rep)
	}
	if err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	if code != ExitDone {
		return &resultError{code: code}
	}
	return nil
}

// at is a file's path, as the door's directory has it.
func (d *Door) at(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(d.Dir, name)
}

// writeWhole puts a file in place at once, so that nobody reads half of it.
func (d *Door) writeWhole(name string, content []byte) error {
	name = d.at(name)
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(tmp.Name()))
	}
	return err
}
