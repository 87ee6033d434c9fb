package report

import (
	"fmt"
	"strings"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/rebase"
)

// maxPage is how many bytes a page for GitHub has at most. GitHub takes 65,536 characters, and markers come before it.
const maxPage = 64_000

// Commit is a commit of main for a page.
type Commit struct {
	ID, Subject string
}

// PullPage is what a shop's pull request says.
type PullPage struct {
	Move     rebase.Move
	Branch   string           // the shop's, as shops/swicked
	Incoming []Commit         // what is new from main, the newest first
	Overlay  []string         // in what the branch differs from main, one line each
	Plan     *deploy.Plan     // what deploying it would change; nil when that is not known
	PlanWhy  string           // why there is no plan
	Findings []deploy.Finding // of the plan
	Same     []string         // other shops with one of the same conflicts
	// Land, Replay and Style are the fleet policy's words under rebase:.
	Land, Replay, Style string
}

// RebaseTitle is the title of a shop's pull request.
func RebaseTitle(m *rebase.Move) string {
	title := fmt.Sprintf("Rebase %s onto main %s", Clean(m.Slug), Clean(short(m.Main)))
	switch {
	case m.Problem != "":
		return title + ": nothing could be carried"
	case len(m.Conflicts) > 0:
		return title + ": " + counted(len(m.Conflicts), "conflict")
	case len(m.Drift) > 0:
		return title + ": it changes files that are main's"
	}
	return title
}

// section is a part of a page. What does not fit is left out as a whole and named.
type section struct {
	name, text string
	// keep says that the page means nothing without it.
	keep bool
}

// assemble puts sections together in at most most bytes.
func assemble(sections []section, most int) string {
	notice := func(name string) string {
		return fmt.Sprintf("\n### %s\n\nLeft out: the page would be longer than GitHub takes. `shopfleet rebase --json` has it.\n", name)
	}
	left := most
	for _, s := range sections {
		if s.keep {
			left -= len(s.text)
		} else if s.text != "" {
			left -= len(notice(s.name))
		}
	}
	var b strings.Builder
	for _, s := range sections {
		switch {
		case s.keep:
			b.WriteString(s.text)
		case s.text == "":
		case len(s.text)-len(notice(s.name)) <= left:
			left -= len(s.text) - len(notice(s.name))
			b.WriteString(s.text)
		default:
			b.WriteString(notice(s.name))
		}
	}
	return b.String()
}

// details hides what is long behind a line to click on.
func details(name, summary, text string, open bool) string {
	if open {
		return fmt.Sprintf("\n### %s\n\n%s", name, text)
	}
	return fmt.Sprintf("\n### %s\n\n<details><summary>%s</summary>\n\n%s\n</details>\n", name, summary, text)
}

// cell is text from the user's world in a table. Within a table a bar ends the cell even in code, unless a backslash is
// before it; and where the text has one there already, nothing helps but another character.
func cell(s string, most int) string {
	if s == "" {
		return "–"
	}
	var b strings.Builder
	last := rune(0)
	for _, r := range Code(clip(s, most)) {
		switch {
		case r == '|' && last == '\\':
			b.WriteRune('¦')
		case r == '|':
			b.WriteString(`\|`)
		default:
			b.WriteRune(r)
		}
		last = r
	}
	return b.String()
}

// RebasePull is the text of a shop's pull request, with what must be decided first.
func RebasePull(p PullPage) string {
	m := &p.Move
	var head strings.Builder
	fmt.Fprintf(&head, "%s goes from %s to main %s", Code(m.Slug), Code(short(m.From)), Code(short(m.Main)))
	if m.To != "" {
		fmt.Fprintf(&head, " as %s", Code(short(m.To)))
	}
	fmt.Fprintf(&head, ": %s.\n", Code(clip(moveWords(m), 500)))

	// The decision is always there, with fewer lines if there are too many.
	var decide string
	for _, most := range []int{40, 10, 3} {
		if decide = decision(p, most); len(decide) <= 24_000 {
			break
		}
	}
	sections := []section{
		{"", head.String(), true}, {"", decide, true},
		{"New from main", incoming(p.Incoming), false},
		{"The plan", plan(p), false},
		{"The shop's commits", carried(m), false},
		{"What the branch has over main", overlay(p.Overlay), false},
		{"", landing(p), true},
	}
	return assemble(sections, maxPage)
}

// decision is what a person has to decide or to know.
func decision(p PullPage, most int) string {
	m := &p.Move
	var b strings.Builder
	rest := func(n int) {
		if n > most {
			fmt.Fprintf(&b, "\n… and %d more; `shopfleet rebase --json` has all.\n", n-most)
		}
	}
	if m.Decision(p.Replay) != "" || m.Problem != "" || m.Kept != "" || len(m.Conflicts) > 0 {
		b.WriteString("\n### To decide\n")
		if why := firstOf(m.Decision(p.Replay), m.Problem, m.Kept); why != "" {
			fmt.Fprintf(&b, "\n%s\n", Code(clip(why, 1000)))
		}
	} else {
		b.WriteString("\nNothing is to be decided.\n")
	}
	if len(m.Conflicts) > 0 {
		fmt.Fprintf(&b, "\nMain and the shop changed the same in %s. On the branch %s what differs is between %s and %s: "+
			"leave there what is right, take the markers away and commit. GitHub's own button for conflicts is not for this: it merges the old branch into the new one.\n\n", counted(len(m.Conflicts), "file"), Code(rebase.HeadBranch(m.Slug)), Code("<<<<<<< main"), Code(">>>>>>> "+p.Branch))
		for i, c := range m.Conflicts {
			if i == most {
				break
			}
			fmt.Fprintf(&b, "- %s of commit %s: %s", Code(clip(c.Path, 200)), Code(short(c.Commit)), sides(c))
			if c.Why != "" {
				fmt.Fprintf(&b, "; it is not merged key by key, because %s", Code(clip(c.Why, 500)))
			}
			b.WriteString("\n")
		}
		rest(len(m.Conflicts))
		rows := 0
		var table strings.Builder
		for _, c := range m.Conflicts {
			for _, v := range c.Values {
				if v.Taken != "" {
					continue
				}
				if rows++; rows <= most {
					fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", cell(v.Key, 80), cell(v.Base, 80), cell(v.Main, 80), cell(v.Shop, 80))
				}
			}
		}
		if rows > 0 {
			b.WriteString("\n| key | before | main | shop |\n|---|---|---|---|\n" + table.String())
			rest(rows)
		}
		if len(p.Same) > 0 {
			fmt.Fprintf(&b, "\n%s %s the same conflict: %s. It is decided once: what lands here goes into the others too.\n",
				counted(len(p.Same), "more shop"), plural(len(p.Same), "has", "have"), Code(clip(few(p.Same, 10), 1000)))
		}
	}
	if len(m.Choices) > 0 {
		b.WriteString("\n### Values that both changed\n\n| key | before | main | shop | taken |\n|---|---|---|---|---|\n")
		for i, v := range m.Choices {
			if i == most {
				break
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", cell(v.Key, 80), cell(v.Base, 80), cell(v.Main, 80), cell(v.Shop, 80), cell(v.Taken, 10))
		}
		rest(len(m.Choices))
	}
	if len(m.Replayed) > 0 {
		b.WriteString("\n### Resolved as before\n\n")
		for i, r := range m.Replayed {
			if i == most {
				break
			}
			fmt.Fprintf(&b, "- %s as on %s", Code(clip(r.Path, 200)), Code(r.Shop))
			if r.Unproven {
				b.WriteString(", of which nothing tells that it had the same conflict: look at the file")
			}
			b.WriteString("\n")
		}
		rest(len(m.Replayed))
	}
	if len(m.Drift) > 0 {
		b.WriteString("\n### Files that are main's\n\nThe branch changes them, and only its overlay is its own:\n\n")
		for i, path := range m.Drift {
			if i == most {
				break
			}
			fmt.Fprintf(&b, "- %s\n", Code(clip(path, 200)))
		}
		rest(len(m.Drift))
	}
	if m.Sorted != "" {
		fmt.Fprintf(&b, "\n### Sorted out\n\n%s\n", Code(clip(m.Sorted, 2000)))
	}
	if m.Touched {
		fmt.Fprintf(&b, "\nPeople committed to %s; what they did is part of this.\n", Code(rebase.HeadBranch(m.Slug)))
	}
	return b.String()
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// sides says what each side of a conflict did with the file.
func sides(c rebase.Conflict) string {
	what := func(s rebase.Side) string {
		switch {
		case s == c.Base:
			return "left it"
		case s.Blob == "":
			return "removed it"
		case c.Base.Blob == "":
			return "added it"
		case s.Blob == c.Base.Blob:
			return "changed its mode"
		}
		return "changed it"
	}
	return "main " + what(c.Main) + ", the shop " + what(c.Shop)
}

// manyCommits is how many commits a list shows.
const manyCommits = 30

func incoming(list []Commit) string {
	if len(list) == 0 {
		return ""
	}
	var b strings.Builder
	for i, c := range list {
		if i == manyCommits {
			fmt.Fprintf(&b, "\n… and %d more\n", len(list)-i)
			break
		}
		fmt.Fprintf(&b, "- %s %s\n", Code(short(c.ID)), Code(clip(c.Subject, 120)))
	}
	return details("New from main", counted(len(list), "commit"), b.String(), len(list) <= 10)
}

func carried(m *rebase.Move) string {
	var b strings.Builder
	for i, c := range m.Commits {
		if i == manyCommits {
			fmt.Fprintf(&b, "\n… and %d more\n", len(m.Commits)-i)
			break
		}
		from := "made to keep a merge"
		if c.From != "" {
			from = short(c.From)
		}
		fmt.Fprintf(&b, "- %s → %s %s\n", Code(from), Code(short(c.To)), Code(clip(c.Subject, 120)))
	}
	if len(m.Dropped) > 0 {
		b.WriteString("\nNot carried:\n\n")
	}
	for i, d := range m.Dropped {
		if i == manyCommits {
			fmt.Fprintf(&b, "\n… and %d more\n", len(m.Dropped)-i)
			break
		}
		fmt.Fprintf(&b, "- %s %s: %s\n", Code(short(d.Commit)), Code(clip(d.Subject, 120)), Code(d.Why))
	}
	if b.Len() == 0 {
		return ""
	}
	summary := fmt.Sprintf("%s carried, %d not", counted(len(m.Commits), "commit"), len(m.Dropped))
	return details("The shop's commits", summary, b.String(), len(m.Commits)+len(m.Dropped) <= 5)
}

func overlay(list []string) string {
	if len(list) == 0 {
		return ""
	}
	const most = 100
	var b strings.Builder
	for i, line := range list {
		if i == most {
			fmt.Fprintf(&b, "\n… and %d more\n", len(list)-i)
			break
		}
		fmt.Fprintf(&b, "- %s\n", Code(clip(line, 200)))
	}
	return details("What the branch has over main", counted(len(list), "difference"), b.String(), false)
}

func plan(p PullPage) string {
	var b strings.Builder
	if p.Plan != nil {
		b.WriteString(MarkdownPlan(p.Plan))
	} else if p.PlanWhy != "" {
		fmt.Fprintf(&b, "There is none: %s\n", Code(clip(p.PlanWhy, 1000)))
	}
	if list := MarkdownFindings(p.Findings); list != "" {
		b.WriteString("\n" + list)
	}
	if b.Len() == 0 {
		return ""
	}
	return details("The plan", "what the deploy after landing would do", b.String(), b.Len() < 4000)
}

// landing says how it lands, and what can be typed.
func landing(p PullPage) string {
	m := &p.Move
	var b strings.Builder
	b.WriteString("\n### Landing\n\n")
	ok, _ := m.Landable()
	switch {
	case !ok:
		b.WriteString("It cannot land before what is above is decided.")
	case m.Decision(p.Replay) != "":
		b.WriteString("It waits for a person to agree, and for its checks.")
	case p.Land == fleet.LandManual:
		b.WriteString("The fleet policy has a person land it.")
	case p.Land == fleet.LandSilent:
		b.WriteString("It lands by itself when its wave has come, unless a check fails.")
	default:
		b.WriteString("It lands by itself when its checks are green and its wave has come.")
	}
	b.WriteString("\n\n")
	fmt.Fprintf(&b, "Landing moves %s from %s to the head of %s, and only if it is still there; what was is kept under %s. That push deploys the shop.\n\n",
		Code(p.Branch), Code(short(m.From)), Code(rebase.HeadBranch(m.Slug)), Code("backup/"+m.Slug+"/"))
	switch {
	case p.Style == fleet.StyleMerging && !ok:
		b.WriteString("Do not press the merge button before: what is not decided would be deployed as it stands on this branch, with the marks of its conflicts.\n\n")
	case p.Style == fleet.StyleMerging:
		b.WriteString("The merge button with a merge commit does the same.\n\n")
	default:
		b.WriteString("GitHub's merge buttons are not for this pull request. Pressed all the same they do no harm: the next rebase puts the branch in order.\n\n")
	}
	if ok {
		fmt.Fprintf(&b, "- `/land` as a comment: this commit, %s, lands at once, or when its checks are green\n"+
			"- an approving review and the label `land`: it lands in its wave\n", Code(short(m.To)))
	}
	b.WriteString("- the label `hold`: it does not land while the label is there\n" +
		"- the label `rebase/manual`: this branch and this page are left to people\n")
	return b.String()
}
