package report

// What is answered to orders that people give on GitHub: one comment each. Words of theirs stand in code.

import (
	"fmt"
	"strings"
	"time"
)

// Answer is the comment about one order, without its hidden lines.
type Answer struct {
	Verb, Shop string
	By         string // login; never mentioned, since a mention notifies
	Outcome    string // done, failed, refused, waiting or expired; "" while it is under way
	Page       string // Markdown of ours
	Log        string // address of what says more; "" for none
}

// Markdown is the answer as a page.
func (a Answer) Markdown() string {
	var b strings.Builder
	icon := map[string]string{"": "⏳", "done": "✅", "failed": "❌", "refused": "⛔", "waiting": "⏳", "expired": "⌛"}[a.Outcome]
	what := "/" + a.Verb
	if a.Shop != "" {
		what += " " + a.Shop
	}
	state := a.Outcome
	if state == "" {
		state = "under way"
	}
	fmt.Fprintf(&b, "### %s %s: %s\n\n", icon, Code(what), state)
	b.WriteString(strings.TrimRight(a.Page, "\n") + "\n")
	fmt.Fprintf(&b, "\n<sub>asked for by %s", Code(a.By))
	if a.Log != "" {
		b.WriteString(" · " + link(a.Log))
	}
	b.WriteString("</sub>\n")
	return b.String()
}

// HelpLine is a verb as help shows it; both texts are ours.
type HelpLine struct{ Usage, What string }

// MarkdownHelp lists what can be ordered. word is what could not be read, and why says what is wrong with it; both "" where
// nothing is.
func MarkdownHelp(list []HelpLine, word, why string) string {
	var b strings.Builder
	if why != "" {
		fmt.Fprintf(&b, "%s %s. Nothing was done.\n\n", Code(cutWord(word)), why)
	}
	for _, l := range list {
		fmt.Fprintf(&b, "- %s: %s\n", Code(l.Usage), l.What)
	}
	b.WriteString("\nThe first line of a comment is the command. Without a shop it is that of the pull request.\n")
	return b.String()
}

// cutWord shortens other people's text to what a line takes.
func cutWord(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

// MarkdownConfirm is a plan that waits for its asker's word.
func MarkdownConfirm(page, digest, by string, until time.Time) string {
	return strings.TrimRight(page, "\n") + fmt.Sprintf("\n\n**Nothing was done yet.** To do exactly this, plan %s, %s reacts to this comment with 👍 until %s. "+
		"Nobody else's counts, nor one that was there before the plan was shown.\n", Code(digest), Code(by), moment(until))
}
