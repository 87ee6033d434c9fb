package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/audit"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// cause is findings that say the same of several shops.
type cause struct {
	rule, level string
	text        string // the message, with <shop> where there are several
	hint        string
	expected    string
	at          string   // file:line in the branch, where all have the same
	where       []string // "account shop" of each
	shops       []string
}

// causes puts together what is the same but for the shop's name, so that fifty shops with one mistake are one line.
func causes(list []audit.Finding) []cause {
	var out []cause
	at := map[string]int{}
	general := func(text, slug string) string {
		if len(slug) < 2 {
			return text
		}
		return strings.ReplaceAll(text, slug, "<shop>")
	}
	for _, f := range list {
		key := strings.Join([]string{f.Rule, f.Level, general(f.Message, f.Shop), general(f.Hint, f.Shop)}, "\x00")
		if f.Shop == "" {
			key += f.Account
		}
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, cause{rule: f.Rule, level: f.Level, text: f.Message, hint: f.Hint, expected: f.Expected, at: position(f)})
		}
		c := &out[i]
		if c.at != position(f) {
			c.at = ""
		}
		place := f.Account
		if f.Shop != "" {
			place = strings.TrimSpace(f.Account + " " + f.Shop)
			c.shops = append(c.shops, f.Shop)
		}
		c.where = append(c.where, place)
		if len(c.where) == 2 {
			c.text, c.hint, c.expected = general(f.Message, f.Shop), general(f.Hint, f.Shop), general(f.Expected, f.Shop)
		}
	}
	return out
}

// position says where in a branch a finding is; "" when it is nowhere in it.
func position(f audit.Finding) string {
	if f.File == "" || f.Line == 0 {
		return ""
	}
	return fmt.Sprintf("%s:%d", f.File, f.Line)
}

// few shortens a list of names for a line.
func few(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// place says where a cause is.
func (c cause) place() string {
	if len(c.where) == 1 {
		return c.where[0]
	}
	return fmt.Sprintf("%d shops (%s)", len(c.where), few(c.shops, 5))
}

// count says how many findings of each level there are, or what was proved when there is nothing to do.
func count(r *audit.Report) string {
	return fmt.Sprintf("%s, %s, %s", counted(r.Count(deploy.LevelError), "error"), counted(r.Count(deploy.LevelWarning), "warning"), counted(r.Count(deploy.LevelNotice), "notice"))
}

// auditProof is what a clean report proves, in one line. A report about a few shops has no findings about the others, so it
// speaks of those few alone.
func auditProof(r *audit.Report) string {
	proof := fmt.Sprintf("%s, %s on %s: ", counted(len(r.Graph.Workers), "Worker"), counted(len(r.Graph.Stores), "store"), counted(len(r.Accounts), "account"))
	if len(r.Only) > 0 {
		return proof + fmt.Sprintf("no store or hostname of %s is another's too; of other shops nothing is said", few(r.Only, 5))
	}
	return proof + "no store is reached by two shops, no hostname is another's"
}

// breaches are the rules about somebody who reaches what is another's, or answers for another.
var breaches = []string{"store-shared", "store-exposed", "binding-foreign", "owner-mismatch", "hostname-taken", "hostname-shadowed"}

// isolated says that nothing was found about who reaches what, and who answers for whom.
func isolated(r *audit.Report) bool {
	return len(r.Unread()) == 0 && !slices.ContainsFunc(r.Findings, func(f audit.Finding) bool { return slices.Contains(breaches, f.Rule) })
}

// limits says of what a report speaks.
func limits(r *audit.Report) string {
	if len(r.Only) > 0 {
		return fmt.Sprintf("only what concerns %s", few(r.Only, 5))
	}
	return fmt.Sprintf("%s on %s", counted(r.Shops, "shop"), counted(len(r.Accounts), "account"))
}

// manyCauses is how many lines of one rule are shown to people.
const manyCauses = 20

// rest says how many lines of a rule are not shown.
func rest(b *strings.Builder, lines int) {
	if lines > manyCauses {
		fmt.Fprintf(b, "  … and %d more; --json and --html have all\n", lines-manyCauses)
	}
}

// Audit writes what an audit found, by cause, and what it did not look at.
func Audit(w io.Writer, s Style, r *audit.Report) error {
	var b strings.Builder
	rule, lines := "", 0
	for _, c := range causes(r.Findings) {
		if c.rule != rule {
			rest(&b, lines)
			rule, lines = c.rule, 0
			n := 0
			for _, f := range r.Findings {
				if f.Rule == rule {
					n++
				}
			}
			level := s.Dim(c.level)
			switch c.level {
			case deploy.LevelError:
				level = s.Red(c.level)
			case deploy.LevelWarning:
				level = s.Yellow(c.level)
			}
			fmt.Fprintf(&b, "%s %s (%d)\n", level, s.Bold(c.rule), n)
		}
		if lines++; lines > manyCauses {
			continue
		}
		fmt.Fprintf(&b, "  %s: %s\n", s.Bold(Clean(c.place())), cleanLines(c.text))
		if c.at != "" {
			fmt.Fprintf(&b, "      at: %s\n", Clean(c.at))
		}
		if c.hint != "" {
			fmt.Fprintf(&b, "      hint: %s\n", cleanLines(c.hint))
		}
	}
	rest(&b, lines)
	if len(r.Findings) > 0 {
		fmt.Fprintf(&b, "%s: %s\n", Clean(limits(r)), count(r))
	}
	if isolated(r) {
		fmt.Fprintf(&b, "%s %s\n", s.Green("isolated:"), auditProof(r))
	}
	for _, a := range r.Accounts {
		if a.Error != "" {
			fmt.Fprintf(&b, "%s account %s: %s\n", s.Red("not read:"), Clean(a.Name), Clean(strings.ReplaceAll(a.Error, "\n", "; ")))
		}
	}
	for _, what := range r.NotRead {
		fmt.Fprintf(&b, "%s %s\n", s.Yellow("not read:"), Clean(what))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// AuditFindings are a report's findings for logs that know nothing of shops: each says whose it is, and one without a
// place is put into the fleet policy, since code scanning shows none without.
func AuditFindings(r *audit.Report, policy *fleet.Policy, policyFile string) []deploy.Finding {
	out := make([]deploy.Finding, len(r.Findings))
	for i, f := range r.Findings {
		out[i] = f.Finding
		if place := strings.TrimSpace(f.Account + " " + f.Shop); place != "" {
			out[i].Message = place + ": " + f.Message
		}
		if f.File == "" {
			line, column := policy.Position("shops", f.Shop)
			if line == 0 {
				line, column = policy.Position("accounts", f.Account)
			}
			out[i].File, out[i].Line, out[i].Column, out[i].Source = policyFile, max(line, 1), max(column, 1), ""
		}
	}
	return out
}

// AuditTitle is the title of the issue that says what is to be done.
func AuditTitle(r *audit.Report) string {
	if r.Clean() {
		return "Audit: nothing to do"
	}
	return fmt.Sprintf("Audit: %s and %s", counted(r.Count(deploy.LevelError), "error"), counted(r.Count(deploy.LevelWarning), "warning"))
}

// AuditMarkdown is an audit as text for an issue, with at most most bytes (GitHub takes 65,536 characters). Everything
// that comes from outside is inside of code, where it can neither mention anybody nor be markup.
func AuditMarkdown(r *audit.Report, most int) string {
	var head, foot strings.Builder
	// No time: an issue that says the same as before is not written again.
	fmt.Fprintf(&head, "%s in %s.\n\n", count(r), limits(r))
	if isolated(r) {
		fmt.Fprintf(&head, "Isolated: %s.\n\n", auditProof(r))
	}
	for _, what := range r.NotRead {
		fmt.Fprintf(&foot, "\nNot read: %s\n", Code(what))
	}
	fmt.Fprintf(&foot, "\n%s\n", Code(r.Tool))
	const over = "\n… and %d more; `shopfleet audit` lists all.\n"
	var body strings.Builder
	list, rule := causes(r.Findings), ""
	for i, c := range list {
		var line strings.Builder
		if c.rule != rule {
			fmt.Fprintf(&line, "\n### %s %s\n\n", level(c.level), Code(c.rule))
		}
		text := c.text
		if c.at != "" {
			text += "\nat: " + c.at
		}
		if c.hint != "" {
			text += "\nhint: " + c.hint
		}
		fmt.Fprintf(&line, "- %s\n%s\n", Code(c.place()), indented(Block(text)))
		if head.Len()+body.Len()+line.Len()+foot.Len()+len(over)+20 > most {
			fmt.Fprintf(&body, over, len(list)-i)
			break
		}
		rule = c.rule
		body.WriteString(line.String())
	}
	return head.String() + body.String() + foot.String()
}

func indented(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ")
}

// level is a sign for a finding's level.
func level(l string) string {
	switch l {
	case deploy.LevelError:
		return "❌"
	case deploy.LevelWarning:
		return "⚠️"
	}
	return "ℹ️"
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
