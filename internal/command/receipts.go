package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/report"
)

// maxReceipts is how many receipts are shown at most: each costs GitHub a request.
const maxReceipts = 500

func (d *Door) receipts() *cobra.Command {
	var policy policyFlags
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "receipts <shop>",
		Short: "Show what each release was made of and bound to, and that nobody changed the record",
		Long: `Show a shop's receipts, newest first: when a release was made and by whom, its
commit, version and bundle, every binding that reaches data or code with what
proved it to be the shop's, and what the gate said.

Each receipt holds the digest of the one before it. A receipt that was deleted,
changed, moved or put in between breaks that chain, and one that tells of another
release than the version itself does at Cloudflare is said too; the exit code is
1 then. docs/verify.md says what a receipt proves and what it does not.

It needs a token for GitHub (GITHUB_TOKEN or GH_TOKEN, deployments: read) and one
for the account.`,
		Example:           "  shopfleet receipts swicked\n  shopfleet receipts swicked --limit 100 --json",
		Args:              oneShop,
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > maxReceipts {
				return d.asJSON(asJSON, Usage(fmt.Errorf("--limit is %d", limit), fmt.Sprintf("give a number from 1 to %d", maxReceipts)))
			}
			return d.asJSON(asJSON, d.listReceipts(cmd.Context(), args[0], policy, limit, asJSON))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.Flags().IntVar(&limit, "limit", 10, "how many to show")
	policy.add(cmd)
	return cmd
}

// receiptsPage is what receipts prints.
type receiptsPage struct {
	Exit int    `json:"exit_code"`
	Shop string `json:"shop"`
	Live string `json:"live,omitempty"`
	// Holds says that nothing of what was read contradicts anything else, Whole that there is nothing before it.
	Holds    bool             `json:"chain_holds"`
	Whole    bool             `json:"from_the_first"`
	Checked  int              `json:"checked"` // entries that the chain was followed through
	Receipts []receipt        `json:"receipts"`
	Findings []deploy.Finding `json:"findings,omitempty"`
}

// receipt is an entry as it is shown to an auditor.
type receipt struct {
	deploy.Release
	ID      string          `json:"id"`
	Created time.Time       `json:"created"`
	Creator string          `json:"creator,omitempty"`
	Digest  string          `json:"digest"`
	Live    bool            `json:"live"`
	Stands  deploy.Standing `json:"standing"`
}

func (d *Door) listReceipts(ctx context.Context, slug string, policy policyFlags, limit int, asJSON bool) (err error) {
	shop, j, engine, err := d.recorded(ctx, slug, policy)
	if err != nil {
		return err
	}
	page, err := gatherReceipts(ctx, j, engine, shop, limit)
	if err != nil {
		return err
	}
	if d.workflow != nil {
		d.workflow.loose = append(d.workflow.loose, page.Findings...)
	}
	if asJSON {
		err = report.JSON(d.Stdout, page)
	} else {
		err = d.printReceipts(page)
	}
	if err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	if page.Exit != ExitDone {
		return &resultError{code: page.Exit}
	}
	return nil
}

// gatherReceipts reads the journal and what the account says of the same releases.
func gatherReceipts(ctx context.Context, j *journal, e *deploy.Engine, shop fleet.Shop, limit int) (*receiptsPage, error) {
	page := &receiptsPage{Shop: shop.Slug, Receipts: []receipt{}}
	var entries []deploy.Release
	var strays []stray
	var live deploy.Live
	var versions []cloudflare.Version
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		depth := limit + journalDepth // what is shown has to be followed further, and strays count too
		list, err := j.client.Deployments(gctx, shop.Environment(), journalTask, depth)
		entries, strays = entriesOf(shop, list)
		page.Whole = len(list) < depth
		return err
	})
	group.Go(func() (err error) {
		live, err = e.Live(gctx, shop.Worker)
		return err
	})
	group.Go(func() (err error) {
		versions, err = e.CF.Versions(gctx, shop.Worker)
		if errors.Is(err, cloudflare.ErrNotFound) {
			return nil
		}
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	page.Live, page.Checked = live.Version, len(entries)
	entry, known := live.Entry(entries)
	page.Findings = judgeReceipts(entries, strays, versions, page.Whole)
	if live.Version != "" && !known {
		page.Findings = append(page.Findings, noReceipt(live))
	}
	if page.Holds = !deploy.Findings(page.Findings).Blocking(); !page.Holds {
		page.Exit = ExitFindings
	}
	page.Receipts = make([]receipt, min(limit, len(entries)))
	group, gctx = errgroup.WithContext(ctx)
	group.SetLimit(4) // GitHub wants few requests at a time (contracts/github/wire.md §2e)
	for i := range page.Receipts {
		r := &page.Receipts[i]
		*r = receipt{Release: entries[i], ID: entries[i].ID, Created: entries[i].Created, Creator: entries[i].Creator, Digest: entries[i].Digest}
		r.Live = known && r.ID == entry.ID
		group.Go(func() (err error) {
			r.Stands, err = j.Standing(gctx, r.ID)
			return err
		})
	}
	return page, group.Wait()
}

// judgeReceipts says what is wrong with a journal: its chain, what only looks like an entry, and what Cloudflare's versions
// say otherwise.
func judgeReceipts(entries []deploy.Release, strays []stray, versions []cloudflare.Version, whole bool) []deploy.Finding {
	var out []deploy.Finding
	out = append(out, deploy.Chain(entries, whole)...)
	for _, x := range strays {
		out = append(out, deploy.Finding{
			Rule: "receipt-forged", Level: deploy.LevelError,
			Message:  fmt.Sprintf("deployment %d, which %s wrote on %s, looks like a receipt and is none: %s", x.ID, x.Creator, x.Created.UTC().Format("2006-01-02 15:04"), x.why),
			Expected: "deployments of task " + journalTask + " from shopfleet alone",
			Hint:     "find out who wrote it; whoever may write deployments can",
		})
	}
	for _, v := range versions {
		for _, e := range entries {
			if e.VersionID == v.ID && e.Contradicts(v.Annotations["workers/tag"], v.Annotations["workers/message"]) {
				out = append(out, deploy.Finding{
					Rule: "receipt-contradicted", Level: deploy.LevelError,
					Message:  fmt.Sprintf("entry %s tells of another commit or content than version %s itself says at Cloudflare (%s)", e.ID, v.ID, v.Annotations["workers/message"]),
					Expected: "an entry that says what the version says",
					Hint:     "find out who wrote it (" + e.Creator + "); shopfleet verify tells what the live version really runs",
				})
			}
		}
	}
	return out
}

// noReceipt says that the live version has none.
func noReceipt(live deploy.Live) deploy.Finding {
	f := deploy.Finding{
		Rule: "receipt-missing", Level: deploy.LevelError,
		Message:  "version " + live.Version + " takes the traffic and has no receipt: it was released outside shopfleet, or where no journal was",
		Expected: "a receipt for the live version", Hint: "the next deploy writes one; shopfleet verify tells what the version runs",
	}
	if live.SecretsSince > 0 {
		f.Level, f.Message = deploy.LevelWarning, "version "+live.Version+" has no receipt: a secret was changed since the release, which made a version of its own"
	}
	return f
}

func (d *Door) printReceipts(page *receiptsPage) error {
	style := report.Style{}
	if d.Terminal {
		style = d.style()
	}
	var b bytes.Buffer
	live := "version " + page.Live + " is live"
	if page.Live == "" {
		live = "nothing is live"
	}
	chain := style.Green("the chain holds")
	if !page.Holds {
		chain = style.Red("do not rely on this record")
	}
	fmt.Fprintf(&b, "%s  %s; %s\n", style.Bold(report.Clean(page.Shop)), report.Clean(live), chain)
	for _, r := range page.Receipts {
		r.print(&b, style)
	}
	switch shown := len(page.Receipts); {
	case page.Checked == 0:
		b.WriteString("  the journal has no entry of this shop\n")
	case shown < page.Checked:
		fmt.Fprintf(&b, "  %s checked and not shown: --limit\n", counted(page.Checked-shown, "more receipt"))
	}
	switch last := page.Checked; {
	case last == 0:
	case page.Whole:
		fmt.Fprintf(&b, "  checked %s, back to the first\n", counted(last, "receipt"))
	default:
		fmt.Fprintf(&b, "  checked %s; older ones were not read: --limit\n", counted(last, "receipt"))
	}
	if err := report.Findings(&b, style, page.Findings); err != nil {
		return err
	}
	_, err := d.Stdout.Write(b.Bytes())
	return err
}

// print writes a receipt: what, by whom, bound to what, and what the gate said.
func (r receipt) print(b *bytes.Buffer, style report.Style) {
	words := []string{r.Created.UTC().Format("2006-01-02 15:04"), "version " + r.VersionID}
	switch {
	case r.Outside:
		words = append(words, "released outside")
	case r.Late:
		words = append(words, "written down later")
	}
	if r.Live {
		words = append(words, "live")
	}
	fmt.Fprintf(b, "  %s\n", style.Bold(report.Clean(strings.Join(words, "  "))))
	line := func(format string, args ...any) {
		fmt.Fprintf(b, "      %s\n", report.Clean(fmt.Sprintf(format, args...)))
	}
	what := []string{"commit unknown"}
	if r.Commit != "" {
		what[0] = "commit " + shortID(r.Commit)
	}
	if r.Bundle != "" {
		what = append(what, "bundle "+shortID(r.Bundle))
	}
	if r.Assets != "" {
		what = append(what, "assets "+shortID(r.Assets))
	}
	line("%s", strings.Join(what, ", "))
	by := "by " + orUnknown(r.Actor)
	if r.Creator != "" && r.Creator != r.Actor {
		by += ", written by " + r.Creator
	}
	if r.Run != "" {
		by += ", " + r.Run
	}
	line("%s", by)
	for _, x := range r.Bindings {
		proof := strings.Join(x.Proof, ", ")
		if proof == "" {
			proof = "no proof"
		}
		line("%s  %s %s: %s", x.Name, x.Type, strings.TrimSpace(x.ID+" "+x.Resource), proof)
	}
	said := r.Stands.Verdict
	if said == "" {
		said = "said nothing"
	}
	if r.Stands.Passed {
		said += " (known good)"
	}
	line("gate: %s", said)
}

func orUnknown(who string) string {
	if who == "" {
		return "somebody unknown"
	}
	return who
}
