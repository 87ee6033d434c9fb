package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/provision"
)

// AccountsPage is what the verb accounts says, and its JSON document.
type AccountsPage struct {
	Exit     int              `json:"exit_code"`
	Accounts []provision.Room `json:"accounts"`
	Findings []deploy.Finding `json:"findings"`
}

// roomHeadline says when an account is full.
func roomHeadline(r provision.Room) string {
	switch {
	case r.Error != "":
		return "could not be read"
	case r.Left == 0:
		return fmt.Sprintf("is full: %d shops (%s)", r.Shops, r.Wall)
	}
	return fmt.Sprintf("is full at %d shops (%s): it has %d, and %d more fit", r.FullAt, r.Wall, r.Shops, r.Left)
}

// limitWords are a limit's numbers, and what a shop takes of it.
func limitWords(l provision.Limit) (used, most, each string) {
	if l.Each > 0 {
		each = strconv.FormatFloat(l.Each, 'f', -1, 64)
		if len(each) > 4 {
			each = strconv.FormatFloat(l.Each, 'f', 1, 64)
		}
	}
	return strconv.Itoa(l.Used), strconv.Itoa(l.Max), each
}

// Accounts writes how much room the accounts have.
func Accounts(w io.Writer, s Style, page AccountsPage) error {
	var b strings.Builder
	for _, r := range page.Accounts {
		line := Clean(roomHeadline(r))
		if r.Error != "" || r.Left == 0 {
			line = s.Red(line)
		}
		fmt.Fprintf(&b, "%s %s\n", s.Bold(Clean(r.Account)), line)
		for _, l := range r.Limits {
			used, most, each := limitWords(l)
			mark := "  "
			if l.What == r.Wall {
				mark = s.Yellow("> ")
			}
			fmt.Fprintf(&b, "  %s%-36s %6s of %6s", mark, Clean(l.What), used, most)
			if each != "" {
				fmt.Fprintf(&b, ", a shop takes %s", each)
			}
			b.WriteString("\n")
		}
	}
	if err := Findings(&b, s, page.Findings); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// AccountsMarkdown is the same page for a workflow's summary.
func AccountsMarkdown(page AccountsPage) string {
	var b strings.Builder
	b.WriteString("| account | shops | fit still | full at | limit met first |\n| --- | ---: | ---: | ---: | --- |\n")
	for _, r := range page.Accounts {
		if r.Error != "" {
			fmt.Fprintf(&b, "| %s | %d | – | – | could not be read |\n", Code(r.Account), r.Shops)
			continue
		}
		for _, l := range r.Limits {
			if used, most, _ := limitWords(l); l.What == r.Wall {
				fmt.Fprintf(&b, "| %s | %d | %d | %d | %s: %s of %s |\n", Code(r.Account), r.Shops, r.Left, r.FullAt, Code(l.What), used, most)
			}
		}
	}
	return b.String()
}
