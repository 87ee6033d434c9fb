package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/kvick/shopfleet/internal/deploy"
)

// Work is how a piece of work went that has several steps: the end of the pages of a new shop, and of one that leaves.
type Work struct {
	Steps    []WorkStep       `json:"steps"`
	Todo     []string         `json:"todo,omitempty"` // what a person still has to do
	Findings []deploy.Finding `json:"findings,omitempty"`
	Error    string           `json:"error,omitempty"`
	Hint     string           `json:"hint,omitempty"`
}

// WorkStep is a part of the work and how long it took.
type WorkStep struct {
	Text    string  `json:"text"`
	Seconds float64 `json:"seconds"`
	Failed  bool    `json:"failed,omitempty"`
}

// text ends a page for a terminal, of which b is the beginning, and writes it.
func (k *Work) text(w io.Writer, s Style, b *strings.Builder) error {
	for _, x := range k.Steps {
		fmt.Fprintf(b, "  %6.2f s  %s%s\n", x.Seconds, Clean(x.Text), map[bool]string{true: s.Red("  failed")}[x.Failed])
	}
	if len(k.Todo) > 0 {
		b.WriteString("still to do by a person:\n")
		for _, t := range k.Todo {
			fmt.Fprintf(b, "  - %s\n", Clean(t))
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	return Findings(w, s, k.Findings)
}

// markdown ends a page of Markdown.
func (k *Work) markdown(b *strings.Builder) {
	if len(k.Steps) > 0 {
		b.WriteString("\n| step | seconds |\n| --- | ---: |\n")
		for _, x := range k.Steps {
			fmt.Fprintf(b, "| %s%s | %.2f |\n", codeCell(x.Text), map[bool]string{true: " **failed**"}[x.Failed], x.Seconds)
		}
	}
	if len(k.Todo) > 0 {
		b.WriteString("\n**Still to do by a person**\n\n")
		for _, t := range k.Todo {
			fmt.Fprintf(b, "- [ ] %s\n", Code(t))
		}
	}
	if len(k.Findings) > 0 {
		b.WriteString("\n" + MarkdownFindings(k.Findings) + "\n")
	}
	if k.Error != "" {
		b.WriteString("\n" + Code(k.Error) + "\n")
	}
}

// codeCell is text from the user's world in a cell of a table, where a bar would end it even in code.
func codeCell(s string) string { return strings.ReplaceAll(Code(s), "|", `\|`) }
