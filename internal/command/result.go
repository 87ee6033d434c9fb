package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
)

// shopResult is what became of one shop, as --json prints it.
type shopResult struct {
	Shop    string          `json:"shop"`
	Status  string          `json:"status"` // one of the constants below
	Reason  string          `json:"reason"` // why it is that: see reason
	Plan    *deploy.Plan    `json:"plan,omitempty"`
	Digest  string          `json:"plan_digest,omitempty"`
	Outcome *deploy.Outcome `json:"outcome,omitempty"`
	// Adoption is what adopt writes, or would write.
	Adoption *deploy.AdoptPlan `json:"adoption,omitempty"`
	Findings []deploy.Finding  `json:"findings,omitempty"`
	Error    string            `json:"error,omitempty"`
	Hint     string            `json:"hint,omitempty"`
	// Journal says what the journal lacks about the live version; "" when it lacks nothing, or nobody looked.
	Journal string `json:"journal,omitempty"`
	// Rollback is where the shop goes back to, Hold how it is held since, and NotRecorded what could not be written down.
	Rollback    *deploy.RollbackPlan `json:"rollback,omitempty"`
	Hold        string               `json:"hold,omitempty"`
	NotRecorded []string             `json:"not_recorded,omitempty"`
	// By is what stands at the branch instead of the commit, with status superseded.
	By string `json:"superseded_by,omitempty"`

	err error
}

// The values of shopResult.Status.
const (
	statusChecked    = "checked" // as far as can be told without an account
	statusPlanned    = "planned"
	statusUnchanged  = "unchanged"
	statusReleased   = "released"
	statusAdopted    = "adopted"
	statusSuperseded = "superseded" // another commit is the branch's by now; its own run deploys it
	statusSkipped    = "skipped"    // there is nothing to do for this event
	statusRestored   = "restored"
	statusRolledBack = "rolled-back"
	statusFindings   = "findings"
	statusFailed     = "failed"
)

// reasons are the words for why something failed, each with the sentence that GitHub shows: what is public there says no
// more than this, and the log has the cause. docs/github.md lists them.
var reasons = map[string]string{
	"gate-failed-restored":       "the release did not pass its gate, and the version before it is live again",
	"gate-failed-before-release": "the version did not pass before its release, and took no traffic",
	"gate-failed":                "the release did not pass its gate, and there is no version before it",
	"gate-failed-after-contract": "the release does not pass its gate any more since migrations took something away",
	"rollback-gate-failed":       "the shop went back, and what is live now does not pass its gate either",
	"not-confirmed":              "nobody confirmed it in time, and nothing was done",
	"hold-failed":                "nobody could tell on GitHub whether the shop is held, and nothing was done",
	"shop-held":                  "the shop is held, and was not deployed",
	"shop-frozen":                "fleet.yml has a freeze now, and the shop was not deployed",
	"unhealthy":                  "nothing changed, and the live release does not pass its gate",
	"plan-stale":                 "the branch or the account changed since the plan was made",
	"cancelled":                  "it was cancelled",
	"journal-failed":             "the journal on GitHub could not be read or written",
	"github-failed":              "GitHub did not do what it was asked",
	"cloudflare-failed":          "Cloudflare did not do what it was asked",
	"usage":                      "the step's inputs or its environment are wrong",
	"failed":                     "it failed",
}

// reason is a stable word for why a result is what it is, for scripts: the status, or what an error was about.
func reason(status string, err error) string {
	if status != statusFailed && status != statusRestored {
		return status
	}
	var gate *deploy.GateError
	var cf *cloudflare.Error
	var gh *github.Error
	switch {
	case errors.As(err, &gate) && gate.Back:
		return "rollback-gate-failed"
	case errors.As(err, &gate) && gate.Before:
		return "gate-failed-before-release"
	case errors.As(err, &gate) && gate.Restored != "":
		return "gate-failed-restored"
	case errors.As(err, &gate):
		return "gate-failed"
	case errors.As(err, new(*deploy.ContractError)):
		return "gate-failed-after-contract"
	case errors.As(err, new(*deploy.UnhealthyError)):
		return "unhealthy"
	case errors.As(err, new(*deploy.StaleError)), errors.As(err, new(*stalePlan)):
		return "plan-stale"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.As(err, new(*deploy.JournalError)):
		return "journal-failed"
	case errors.As(err, new(*holdError)), errors.As(err, new(*deploy.HoldError)):
		return "hold-failed"
	case exitCode(err) == ExitUsage:
		return "usage"
	case errors.As(err, &gh), errors.As(err, new(*github.NotFoundError)), errors.As(err, new(*github.RateLimitError)):
		return "github-failed"
	case errors.As(err, &cf):
		return "cloudflare-failed"
	}
	return "failed"
}

// public is what GitHub may show of a failure.
func (r shopResult) public() string {
	text := reasons[r.Reason]
	var usage *usageError
	if errors.As(r.err, &usage) && errors.Unwrap(usage.err) == nil {
		text = r.Error // about what the person wrote, with no cause below it
	}
	if r.Shop != "" {
		text = r.Shop + ": " + text
	}
	return text
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
		if !deploy.Findings(r.Findings).Blocking() {
			r.Status = statusSkipped // nobody's mistake, and still nothing could be done
		}
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
	r.Reason = reason(r.Status, err)
	for _, f := range findings(err) {
		if f.Rule == "shop-held" || f.Rule == "shop-frozen" {
			r.Reason = f.Rule // nobody's mistake: it can be deployed later
		}
	}
	return r
}

// because is a result that no plan stands behind.
func because(slug, status string, list []deploy.Finding) shopResult {
	if deploy.Findings(list).Blocking() {
		status = statusFindings
	}
	return shopResult{Shop: slug, Status: status, Reason: status, Findings: list}
}

// found are the findings of a result, wherever it keeps them.
func (r shopResult) found() []deploy.Finding {
	switch {
	case len(r.Findings) > 0:
	case r.Plan != nil:
		return r.Plan.Findings
	case r.Rollback != nil:
		return r.Rollback.Findings
	}
	return r.Findings
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
	code := gravest(list)
	if d.workflow != nil {
		d.workflow.results = append(d.workflow.results, list...)
	}
	if d.order != nil {
		d.order.results = append(d.order.results, list...)
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

// gravities are the exit codes, and the statuses that go with the first of them, from the least grave on.
var (
	gravities = []int{ExitDone, ExitFindings, ExitGate, ExitUsage, ExitFailed}
	quiet     = []string{statusUnchanged, statusChecked, statusPlanned, statusReleased, statusRolledBack, statusAdopted, statusSuperseded, statusSkipped}
)

// gravity orders results by how much there is to say of them.
func (r shopResult) gravity() int {
	return slices.Index(gravities, r.exit())*len(quiet) + max(0, slices.Index(quiet, r.Status))
}

// gravest is the exit code of several results: failed, then usage, gate, findings.
func gravest(list []shopResult) int {
	code := 0
	for _, r := range list {
		code = max(code, slices.Index(gravities, r.exit()))
	}
	return gravities[code]
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
	case r.Rollback != nil:
		err = report.Rollback(&b, style, r.Rollback, r.Outcome)
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
	case r.exit() == ExitDone:
		fmt.Fprintf(&b, "%s  %s\n", style.Bold(report.Clean(r.Shop)), style.Green(r.Status))
	default:
		fmt.Fprintf(&b, "%s  %s\n", style.Bold(report.Clean(r.Shop)), style.Red(r.Status))
	}
	if a := r.Adoption; a != nil {
		for _, w := range a.Writes {
			fmt.Fprintf(&b, "  %s\n", report.Clean(w.String()))
		}
		for _, note := range a.Notes {
			fmt.Fprintf(&b, "  %s %s\n", style.Yellow("note:"), report.Clean(note))
		}
	}
	if r.Status == statusSuperseded {
		fmt.Fprintf(&b, "  %s: the branch is at %s by now; nothing was written\n", style.Yellow(r.Status), report.Clean(r.By))
	}
	if r.Journal != "" {
		fmt.Fprintf(&b, "  journal: %s\n", report.Clean(r.Journal))
	}
	if r.Hold != "" {
		fmt.Fprintf(&b, "  %s %s", style.Yellow("held:"), report.Clean(r.Hold))
		if r.Rollback != nil {
			fmt.Fprintf(&b, "; shopfleet release-hold %s lifts it", report.Clean(r.Shop))
		}
		b.WriteString("\n")
	}
	for _, what := range r.NotRecorded {
		fmt.Fprintf(&b, "  %s %s\n", style.Yellow("not recorded:"), report.Clean(what))
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
	s := fmt.Sprintf("%d shops", total)
	sep := ": "
	for _, status := range []string{statusReleased, statusRolledBack, statusAdopted, statusUnchanged, statusPlanned, statusChecked, statusSuperseded, statusSkipped, statusFindings, statusRestored, statusFailed} {
		if n := counts[status]; n > 0 {
			s += fmt.Sprintf("%s%d %s", sep, n, status)
			sep = ", "
		}
	}
	return s
}
