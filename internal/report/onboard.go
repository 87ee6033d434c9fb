package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/provision"
)

// Onboarded is what became of a new shop, or would.
type Onboarded struct {
	Exit     int       `json:"exit_code"`
	Shop     string    `json:"shop"`
	Name     string    `json:"name"`
	Account  string    `json:"account,omitempty"`
	Hostname string    `json:"hostname,omitempty"`
	Planned  bool      `json:"planned,omitempty"` // nothing was made
	Begun    time.Time `json:"begun"`
	Seconds  float64   `json:"seconds"`
	// Plan is what is made in the account; Digest is what it is known by.
	Plan        *provision.Plan      `json:"plan,omitempty"`
	Digest      string               `json:"digest,omitempty"`
	Resources   *provision.Resources `json:"resources,omitempty"`
	Branch      string               `json:"branch,omitempty"`
	Commit      string               `json:"commit,omitempty"`
	BranchMade  bool                 `json:"branch_made,omitempty"`  // by this run
	BranchFound bool                 `json:"branch_found,omitempty"` // an earlier run, or somebody, made it
	Environment string               `json:"environment,omitempty"`
	// Baseline is how the database got its schema, in a sentence.
	Baseline string          `json:"baseline,omitempty"`
	Outcome  *deploy.Outcome `json:"outcome,omitempty"`
	// Status is what the deploy came to: released, or unchanged where an earlier try had come so far.
	Status string `json:"status,omitempty"`
	Work
}

// title is the outcome in one line.
func (o *Onboarded) title(s Style) string {
	where := ""
	if o.Account != "" {
		where = " on " + Clean(o.Account)
	}
	switch {
	case deploy.Findings(o.Findings).Blocking():
		return fmt.Sprintf("%s  %s%s", Clean(o.Shop), s.Red("cannot be made"), where)
	case o.Planned:
		return fmt.Sprintf("%s  would be made%s, at https://%s", Clean(o.Shop), where, Clean(o.Hostname))
	case o.Exit != 0:
		return fmt.Sprintf("%s  %s%s", Clean(o.Shop), s.Red("not ready"), where)
	}
	return fmt.Sprintf("%s  %s%s in %.1f s: https://%s", Clean(o.Shop), s.Green("ready"), where, o.Seconds, Clean(o.Hostname))
}

// Onboard writes the page of a new shop.
func Onboard(w io.Writer, s Style, o *Onboarded) error {
	var b strings.Builder
	b.WriteString(o.title(s) + "\n")
	o.facts(func(what, is string) { fmt.Fprintf(&b, "  %-14s %s\n", what, Clean(is)) })
	return o.Work.text(w, s, &b)
}

// facts are what was made, a word and a value each.
func (o *Onboarded) facts(say func(what, is string)) {
	if o.Plan != nil {
		for _, x := range o.Plan.Steps {
			say(x.Action, strings.TrimPrefix(x.String(), x.Action+" "))
		}
		for _, n := range o.Plan.Notes {
			say("note", n)
		}
	}
	if o.Digest != "" && o.Planned {
		say("plan", o.Digest)
	}
	if o.Commit != "" {
		found := ""
		if o.BranchFound {
			found = ", which was there"
		}
		say("branch", fmt.Sprintf("%s at %.12s%s", o.Branch, o.Commit, found))
	}
	if o.Environment != "" {
		say("environment", o.Environment)
	}
	if o.Baseline != "" {
		say("schema", o.Baseline)
	}
	if o.Status != "" {
		say("release", o.Status)
	}
}

// OnboardMarkdown is the page for a workflow's summary.
func OnboardMarkdown(o *Onboarded) string {
	var b strings.Builder
	icon := "✅"
	if o.Exit != 0 {
		icon = "❌"
	}
	fmt.Fprintf(&b, "## %s %s\n\n", icon, Code(o.title(Style{})))
	b.WriteString("| | |\n| --- | --- |\n")
	o.facts(func(what, is string) { fmt.Fprintf(&b, "| %s | %s |\n", what, codeCell(is)) })
	o.Work.markdown(&b)
	return b.String()
}
