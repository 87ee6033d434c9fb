package report

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Drill is what became of a practice on a shop of its own.
type Drill struct {
	Exit    int       `json:"exit_code"`
	Shop    string    `json:"shop"`
	Account string    `json:"account"`
	Begun   time.Time `json:"begun"`
	Seconds float64   `json:"seconds"`
	// Steps are what was practised, in order, each with how long it took.
	Steps []DrillStep `json:"steps"`
	// Cleaned are shops of earlier drills that were cut off, and were deleted now.
	Cleaned []string `json:"cleaned,omitempty"`
	// Left is what is still there of this drill; nothing, when all went well.
	Left  []string `json:"left,omitempty"`
	Error string   `json:"error,omitempty"`
	Hint  string   `json:"hint,omitempty"`
	Tool  string   `json:"tool"`
}

// DrillStep is one thing that was practised.
type DrillStep struct {
	Name    string  `json:"name"` // onboarded, deployed, …
	Seconds float64 `json:"seconds"`
	Proof   string  `json:"proof,omitempty"` // what shows that it happened
	Failed  bool    `json:"failed,omitempty"`
}

func (d *Drill) title(s Style) string {
	what := s.Green("passed")
	if d.Exit != 0 {
		what = s.Red("failed")
	}
	return fmt.Sprintf("drill on %s  %s in %.1f s, with shop %s", Clean(d.Account), what, d.Seconds, Clean(d.Shop))
}

// notes are what is to be said besides the steps.
func (d *Drill) notes() []string {
	var out []string
	for _, c := range d.Cleaned {
		out = append(out, "deleted what an earlier drill had left: "+c)
	}
	for _, l := range d.Left {
		out = append(out, "still there: "+l)
	}
	if d.Exit == 0 && len(d.Left) == 0 {
		out = append(out, "nothing of it is left, and the other shops of the account have what they had")
	}
	return out
}

// DrillText writes the page for a terminal.
func DrillText(w io.Writer, s Style, d *Drill) error {
	var b strings.Builder
	b.WriteString(d.title(s) + "\n")
	for _, x := range d.Steps {
		proof := x.Proof
		if x.Failed {
			proof = s.Red("failed")
		} else {
			proof = Clean(proof)
		}
		fmt.Fprintf(&b, "  %8.2f s  %-22s %s\n", x.Seconds, Clean(x.Name), proof)
	}
	for _, n := range d.notes() {
		fmt.Fprintf(&b, "  %s\n", Clean(n))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// DrillMarkdown is the page for a workflow's summary.
func DrillMarkdown(d *Drill) string {
	var b strings.Builder
	icon := "✅"
	if d.Exit != 0 {
		icon = "❌"
	}
	fmt.Fprintf(&b, "## %s %s\n\n| | seconds | |\n| --- | ---: | --- |\n", icon, Code(d.title(Style{})))
	for _, x := range d.Steps {
		proof := codeCell(x.Proof)
		if x.Failed {
			proof = "**failed**"
		} else if x.Proof == "" {
			proof = ""
		}
		fmt.Fprintf(&b, "| %s | %.2f | %s |\n", codeCell(x.Name), x.Seconds, proof)
	}
	for _, n := range d.notes() {
		fmt.Fprintf(&b, "\n- %s", Code(n))
	}
	if d.Error != "" {
		fmt.Fprintf(&b, "\n\n%s", Code(d.Error))
	}
	b.WriteString("\n")
	return b.String()
}
