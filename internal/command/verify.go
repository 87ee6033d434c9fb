package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/report"
)

func (d *Door) verify() *cobra.Command {
	var policy policyFlags
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [shop...]",
		Short: "Prove that what runs is what is in git, byte for byte",
		Long: `Prove that what runs is what is in git: read which commit the live version says
it is, build that commit again exactly as a deploy would, download the live
script, and compare every module byte for byte, the bindings, the compatibility
settings and the content mark. Nothing is written. Without a shop it is the one
whose branch is checked out.

A difference is a finding and the exit code is 1; so it is when the live version
does not say its commit, or that commit is not in the history of the shop's
branch. The exit code is 3 when Cloudflare hands out other code than the live
version's, so that nothing can be compared. docs/verify.md says more.

It needs the commits in this clone, and a token for the account that may read.`,
		Example:           "  shopfleet verify swicked\n  shopfleet verify --all --json",
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(asJSON, d.runVerify(cmd.Context(), args, policy, all, asJSON))
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every shop that has a branch")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	policy.add(cmd)
	return cmd
}

// verification is what became of one shop.
type verification struct {
	Shop   string `json:"shop"`
	Status string `json:"status"` // verified, findings or failed
	*deploy.Verified
	// Findings are all of them, those of the comparison among them.
	Findings []deploy.Finding `json:"findings,omitempty"`
	Error    string           `json:"error,omitempty"`
	Hint     string           `json:"hint,omitempty"`

	err error
}

func (d *Door) runVerify(ctx context.Context, args []string, f policyFlags, all, asJSON bool) (err error) {
	c, err := d.open(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	slugs, err := c.choose(ctx, args, all)
	if err != nil {
		return err
	}
	var accounts []fleet.Account
	list := make([]verification, len(slugs))
	shops := make([]fleet.Shop, len(slugs))
	for i, slug := range slugs {
		if shops[i], err = c.policy.Shop(slug); err != nil {
			list[i].fail(err)
			continue
		}
		accounts = append(accounts, shops[i].Account)
	}
	engines, err := d.engines(accounts, true, nil)
	if err != nil {
		return err
	}
	c.verify(ctx, shops, slugs, engines, list)
	return d.printVerified(list, asJSON)
}

// verify fills list, one entry for each shop.
func (c *checkout) verify(ctx context.Context, shops []fleet.Shop, slugs []string, engines map[string]*deploy.Engine, list []verification) {
	lives := make([]deploy.Live, len(shops))
	at := make([]string, len(shops))
	var group errgroup.Group
	group.SetLimit(16)
	for i, shop := range shops {
		list[i].Shop = slugs[i]
		if list[i].err != nil || list[i].Findings != nil {
			continue
		}
		group.Go(func() error {
			var err error
			if lives[i], at[i], err = engines[shop.Account.ID].Released(ctx, shop.Worker); err == nil {
				err = c.known(ctx, shop, lives[i], at[i])
			}
			if err != nil {
				list[i].fail(err)
			}
			return nil
		})
	}
	_ = group.Wait() // every shop carries its own error
	var build []string
	commits := map[string]string{}
	for i, slug := range slugs {
		if list[i].err == nil && list[i].Findings == nil {
			build, commits[slug] = append(build, slug), at[i]
		}
	}
	sources, problems := c.sourcesAt(ctx, build, commits)
	var builder deploy.Builder
	group.SetLimit(max(1, runtime.GOMAXPROCS(0)))
	for i, slug := range slugs {
		src, ready := sources[slug]
		var apart *git.UnrelatedError
		if err := problems[slug]; errors.As(err, &apart) {
			list[i].fail(deploy.Findings{astray(shops[i], commits[slug])})
		} else if err != nil {
			list[i].fail(err)
		}
		if !ready {
			continue
		}
		group.Go(func() error {
			out, err := engines[src.Shop.Account.ID].Verify(ctx, &builder, src, lives[i])
			if err != nil {
				list[i].fail(err)
				return nil
			}
			if list[i].Verified, list[i].Findings = out, out.Findings; out.Same() {
				list[i].Status = statusVerified
			} else {
				list[i].Status = statusFindings
			}
			if f := c.astray(ctx, src); f != nil {
				list[i].Status, list[i].Findings = statusFindings, append(list[i].Findings, *f)
			}
			return nil
		})
	}
	_ = group.Wait()
}

// statusVerified is the status of a shop that runs what is in git.
const statusVerified = "verified"

func (v *verification) fail(err error) {
	v.err = err
	if v.Findings = findings(err); v.Findings != nil {
		v.Status = statusFindings
		return
	}
	v.Status, v.Error, v.Hint = statusFailed, report.Clean(oneLine(err.Error())), hintOf(err)
}

// known makes sure that there is one live version, that it says which commit it is, and that the commit is here.
func (c *checkout) known(ctx context.Context, shop fleet.Shop, live deploy.Live, commit string) error {
	f := deploy.Finding{Level: deploy.LevelError}
	switch {
	case live.Version == "":
		f.Rule, f.Message = "nothing-live", "nothing is live on "+shop.Worker
		f.Hint = "shopfleet deploy " + shop.Slug
		f.Level = deploy.LevelWarning
	case len(live.Shares) > 0:
		f.Rule, f.Message = "released-in-part", fmt.Sprintf("%s share the traffic of %s", counted(len(live.Shares), "version"), shop.Worker)
		f.Expected, f.Hint = "one live version", "finish that release, and verify again"
	case commit == "":
		f.Rule, f.Message = "changed-outside", fmt.Sprintf("version %s of %s does not say of which commit it is: it was released outside shopfleet", live.Version, shop.Worker)
		f.Expected, f.Hint = "a version that shopfleet released", "shopfleet plan "+shop.Slug+" shows what a deploy would change"
	default:
		if fullID.MatchString(commit) { // whoever wrote the message may have written anything
			_, err := c.repo.Commit(ctx, commit)
			var none *git.NotFoundError
			if !errors.As(err, &none) {
				return err
			}
		}
		f.Rule, f.Message = "live-commit-unknown", fmt.Sprintf("version %s says that it is commit %s, which is not in this clone", live.Version, commit)
		f.Expected, f.Hint = "a commit of "+shop.Branch, "git fetch origin (in a workflow, fetch-depth: 0 in actions/checkout); if nobody has the commit, somebody released what was never in git"
	}
	return deploy.Findings{f}
}

// fullID is the id of a commit.
var fullID = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// astray says that the live commit is not in the history of the shop's branch; nil when it is.
func (c *checkout) astray(ctx context.Context, src deploy.Source) *deploy.Finding {
	f := astray(src.Shop, src.Commit)
	tip, ok := c.tipsByName()[src.Shop.Branch]
	if !ok {
		return &f
	}
	in, err := c.repo.IsAncestor(ctx, src.Commit, tip)
	if err != nil {
		f.Message += " as far as can be told: " + err.Error()
	}
	if in {
		return nil
	}
	return &f
}

func astray(shop fleet.Shop, commit string) deploy.Finding {
	return deploy.Finding{
		Rule: "live-commit-astray", Level: deploy.LevelError,
		Message:  fmt.Sprintf("commit %s is live and not in the history of %s", commit, shop.Branch),
		Expected: "a commit that the branch has, or had", Hint: "git fetch origin; if the branch was moved since, deploy it: shopfleet deploy " + shop.Slug,
	}
}

func (d *Door) printVerified(list []verification, asJSON bool) error {
	code := ExitDone
	for _, v := range list {
		switch {
		case v.Status == statusFailed:
			code = max(code, exitCode(v.err))
		case deploy.Findings(v.Findings).Blocking():
			code = max(code, ExitFindings)
		}
		if d.workflow != nil {
			r := because(v.Shop, statusChecked, v.Findings)
			if v.Status == statusFailed {
				r = result(v.Shop, nil, nil, v.err)
			}
			d.workflow.results = append(d.workflow.results, r)
		}
	}
	var err error
	if asJSON {
		err = report.JSON(d.Stdout, struct {
			Exit  int            `json:"exit_code"`
			Shops []verification `json:"shops"`
		}{code, list})
	} else {
		err = d.writeVerified(list)
	}
	if err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	if code != ExitDone {
		return &resultError{code: code}
	}
	return nil
}

func (d *Door) writeVerified(list []verification) error {
	style := report.Style{}
	if d.Terminal {
		style = d.style()
	}
	var b bytes.Buffer
	verified := 0
	for _, v := range list {
		name := style.Bold(report.Clean(v.Shop))
		switch {
		case v.Status == statusVerified:
			verified++
			fmt.Fprintf(&b, "%s: %s\n", name, report.Clean(fmt.Sprintf("version %s runs exactly commit %s: %s, %s bytes, byte for byte",
				v.Version, shortID(v.Commit), counted(v.Modules, "module"), thousands(v.Bytes))))
		case v.Status == statusFailed:
			fmt.Fprintf(&b, "%s: %s\n", name, style.Red("could not be compared"))
			fmt.Fprintf(&b, "  %s %s\n", style.Red("error:"), v.Error)
			if v.Hint != "" {
				fmt.Fprintf(&b, "  hint: %s\n", report.Clean(v.Hint))
			}
		case v.Verified != nil:
			fmt.Fprintf(&b, "%s: %s\n", name, style.Red(report.Clean(fmt.Sprintf("version %s is not proved to run commit %s", v.Version, shortID(v.Commit)))))
		case !deploy.Findings(v.Findings).Blocking():
			fmt.Fprintf(&b, "%s: nothing to compare\n", name)
		default:
			fmt.Fprintf(&b, "%s: %s\n", name, style.Red("could not be compared"))
		}
		if err := report.Findings(&b, style, v.Findings); err != nil {
			return err
		}
	}
	if len(list) > 1 {
		fmt.Fprintf(&b, "%d shops: %d verified, %d not\n", len(list), verified, len(list)-verified)
	}
	_, err := d.Stdout.Write(b.Bytes())
	return err
}

// thousands writes a number with commas, as 41,230.
func thousands(n int) string {
	s := strconv.Itoa(n)
	var groups []string
	for ; len(s) > 3; s = s[:len(s)-3] {
		groups = append(groups, s[len(s)-3:])
	}
	groups = append(groups, s)
	slices.Reverse(groups)
	out := groups[0]
	for _, g := range groups[1:] {
		out += "," + g
	}
	return out
}
