package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/provision"
)

// Departure is what became of a shop that is taken out of the fleet, or to another account.
type Departure struct {
	Exit    int    `json:"exit_code"`
	Verb    string `json:"verb"` // offboard or move
	Shop    string `json:"shop"`
	Account string `json:"account,omitempty"`
	To      string `json:"to,omitempty"` // the account that it moves to
	// Status is where it stands now; see the constants. Planned says that nothing was written.
	Status  string `json:"status"`
	Planned bool   `json:"planned,omitempty"`
	// Hostname is where it answers, or did; NewHostname where it answers in its new account, if that is another.
	Hostname    string `json:"hostname,omitempty"`
	NewHostname string `json:"new_hostname,omitempty"`
	// Makes, Closes and Deletes are what is done in the accounts, and Digest what the deletion is known by.
	Makes   *provision.Plan `json:"makes,omitempty"`
	Closes  *provision.Plan `json:"closes,omitempty"`
	Deletes *provision.Plan `json:"deletes,omitempty"`
	Digest  string          `json:"digest,omitempty"`
	Backup  *LeftBackup     `json:"backup,omitempty"`
	Copied  []string        `json:"copied,omitempty"`
	// Closed is since when it cannot be reached where it was, Due from when on it may be deleted, Down how many seconds it
	// could not be reached at all.
	Closed  time.Time       `json:"closed,omitzero"`
	Due     time.Time       `json:"due,omitzero"`
	Down    float64         `json:"down_seconds,omitempty"`
	Commit  string          `json:"commit,omitempty"` // of its branch
	Proof   *LeftProof      `json:"proof,omitempty"`
	Outcome *deploy.Outcome `json:"outcome,omitempty"`
	Notes   []string        `json:"notes,omitempty"`
	Work
}

// The values of Departure.Status.
const (
	DepartureUnfinished = "unfinished"
	DepartureClosed     = "closed"
	DepartureOpen       = "open"
	DepartureMoved      = "moved"
	DepartureReturned   = "returned"
	DepartureDeleted    = "deleted"
)

// LeftBackup is the export that a shop leaves behind.
type LeftBackup struct {
	Store    string `json:"store,omitempty"` // the place in fleet.yml; "" is a folder
	At       string `json:"at"`
	Digest   string `json:"manifest_sha256"`
	Verified bool   `json:"verified,omitempty"`
}

// words are the backup in one line.
func (b *LeftBackup) words() string {
	where := "in " + b.Store
	if b.Store == "" {
		where = "in a folder"
	}
	text := fmt.Sprintf("of %s, %s, manifest sha256 %s", b.At, where, b.Digest)
	if b.Verified {
		text += ", verified"
	}
	return text
}

// LeftProof is the proof that a shop's things are gone, and nobody else's.
type LeftProof struct {
	Shop    string `json:"shop"`
	Account string `json:"account"`
	// By is who typed the shop's name, At when the deletion ended, Plan the digest of what they saw.
	By   string    `json:"by"`
	At   time.Time `json:"at"`
	Plan string    `json:"plan"`
	// Deleted is what was deleted, a line each. Left is what is still there: nothing, unless the deletion did not end.
	Deleted []string `json:"deleted"`
	Left    []string `json:"left,omitempty"`
	// Before and After are digests of what the other shops of the account have; Changed are those that differ. Things says
	// how many things were compared, Deep whether crons, live versions and identity records were among them.
	Before  string   `json:"others_before"`
	After   string   `json:"others_after"`
	Changed []string `json:"others_changed,omitempty"`
	Things  int      `json:"others_things"`
	Deep    bool     `json:"others_deep"`
	// Backup is what is kept of the shop's data, Branch the ref that keeps its branch, and Commit where that is.
	Backup *LeftBackup `json:"backup,omitempty"`
	Branch string      `json:"branch_kept_as,omitempty"`
	Commit string      `json:"commit,omitempty"`
	Tool   string      `json:"tool"`
}

// Untouched says that the other shops have after it what they had before.
func (p *LeftProof) Untouched() bool { return p.Before == p.After && len(p.Changed) == 0 }

// Words are what the proof comes to.
func (p *LeftProof) Words() string {
	what := fmt.Sprintf("%d things of other shops and of the account", p.Things)
	if !p.Deep {
		what += " (crons, live versions and identity records left out)"
	}
	if p.Untouched() && p.Things == 0 {
		return "untouched: there was nothing of anybody else in the account, and there is nothing now"
	}
	if p.Untouched() {
		return "untouched: " + what + " are what they were before"
	}
	var names []string
	for _, c := range p.Changed {
		if c == "" {
			c = "what is no shop's"
		}
		names = append(names, c)
	}
	return "changed meanwhile: " + few(names, 10) + " of " + what
}

// title is the outcome in one line.
func (d *Departure) title(s Style) string {
	shop := Clean(d.Shop)
	switch {
	case d.Planned && !deploy.Findings(d.Findings).Blocking():
		return shop + "  nothing was written; this is what would be done"
	case d.Exit != 0 && d.Status != DepartureDeleted:
		return shop + "  " + s.Red("not done")
	}
	switch d.Status {
	case DepartureClosed:
		return fmt.Sprintf("%s  %s since %s: everything is there and cannot be reached; it may be deleted from %s on", shop, s.Green("closed"), moment(d.Closed), moment(d.Due))
	case DepartureOpen:
		return shop + "  " + s.Green("open again") + ": https://" + Clean(d.Hostname)
	case DepartureMoved:
		host := d.Hostname
		if d.NewHostname != "" {
			host = d.NewHostname
		}
		return fmt.Sprintf("%s  %s from %s to %s, down for %.1f s: https://%s", shop, s.Green("moved"), Clean(d.Account), Clean(d.To), d.Down, Clean(host))
	case DepartureReturned:
		return fmt.Sprintf("%s  %s to %s: https://%s", shop, s.Green("came back"), Clean(d.Account), Clean(d.Hostname))
	case DepartureDeleted:
		what := s.Green("deleted")
		if d.Verb == "move" {
			what = "what it left in account " + Clean(d.Account) + " is " + what
		}
		if d.Proof != nil && !d.Proof.Untouched() {
			what += "; " + s.Red("other shops changed meanwhile")
		}
		return shop + "  " + what
	}
	if d.Digest != "" && d.Exit == 0 {
		return shop + "  nothing is deleted yet; this is what would be"
	}
	return shop + "  not finished"
}

// facts are a word and a value each.
func (d *Departure) facts(say func(what, is string)) {
	for _, p := range []*provision.Plan{d.Makes, d.Closes, d.Deletes} {
		if p == nil || d.Status == DepartureDeleted {
			continue
		}
		for _, x := range p.Steps {
			what := x.String()
			if p == d.Deletes && d.Closes != nil {
				if slices.ContainsFunc(d.Closes.Steps, func(c provision.Step) bool { return c.String() == what }) {
					continue // closing does it
				}
				what = "later: " + what
			}
			say("in "+p.Account, what)
		}
		for _, n := range p.Notes {
			say("note", n)
		}
	}
	for _, x := range d.Copied {
		say("copied", x)
	}
	if d.Backup != nil {
		say("export", d.Backup.words())
	}
	if d.NewHostname != "" {
		say("hostname", fmt.Sprintf("%s, instead of %s", d.NewHostname, d.Hostname))
	}
	if d.Commit != "" {
		say("branch", "at "+short(d.Commit))
	}
	if d.Digest != "" && d.Status != DepartureDeleted {
		say("digest", d.Digest)
	}
	for _, n := range d.Notes {
		say("note", n)
	}
	switch {
	case d.Planned || d.Exit != 0:
	case d.Status == DepartureClosed:
		to := ""
		if d.Backup != nil && d.Backup.Store == "" {
			to = " --to that folder"
		}
		say("next", "shopfleet offboard "+d.Shop+" --delete"+to+", or --cancel to open it again")
	case d.Status == DepartureMoved && d.Proof == nil:
		say("next", "shopfleet move "+d.Shop+" --confirm deletes what it left in "+d.Account+"; --back returns")
	}
	d.Proof.facts(say)
}

func (p *LeftProof) facts(say func(what, is string)) {
	if p == nil {
		return
	}
	for _, x := range p.Deleted {
		say("deleted", x)
	}
	for _, x := range p.Left {
		say("still there", x)
	}
	say("by", p.By+", on "+moment(p.At))
	say("plan", p.Plan)
	say("others", p.Words())
	say("before", p.Before)
	say("after", p.After)
	if p.Branch != "" {
		say("kept", p.Branch+" at "+short(p.Commit))
	}
}

// DepartureText writes the page for a terminal.
func DepartureText(w io.Writer, s Style, d *Departure) error {
	var b strings.Builder
	b.WriteString(d.title(s) + "\n")
	d.facts(func(what, is string) { fmt.Fprintf(&b, "  %-14s %s\n", Clean(what), Clean(is)) })
	return d.Work.text(w, s, &b)
}

// DepartureMarkdown is the page for a workflow's summary.
func DepartureMarkdown(d *Departure) string {
	var b strings.Builder
	icon := "✅"
	if d.Exit != 0 {
		icon = "❌"
	}
	fmt.Fprintf(&b, "## %s %s\n\n", icon, Code(d.title(Style{})))
	b.WriteString("| | |\n| --- | --- |\n")
	d.facts(func(what, is string) { fmt.Fprintf(&b, "| %s | %s |\n", codeCell(what), codeCell(is)) })
	d.Work.markdown(&b)
	return b.String()
}

// DepartureHTML writes the page for whoever has to be shown that a shop's data is gone: it loads nothing, runs nothing, and
// prints.
func DepartureHTML(w io.Writer, d *Departure) error {
	p := newPage(d.Shop+" – "+d.Status, false)
	p.raw("<h1>").text(d.Shop).raw("</h1>\n")
	class := "good"
	if d.Exit != 0 {
		class = "bad"
	}
	p.raw(`<p class="verdict ` + class + `">`).text(d.title(Style{})).raw("</p>\n")
	p.table("What", "")
	d.facts(func(what, is string) { p.row("", what, is) })
	p.end()
	if len(d.Steps) > 0 {
		p.raw("<h2>Steps</h2>\n")
		p.table("Step", "Seconds")
		for _, x := range d.Steps {
			p.row(map[bool]string{true: "hit"}[x.Failed], x.Text, fmt.Sprintf("%.2f", x.Seconds))
		}
		p.end()
	}
	if len(d.Todo) > 0 {
		p.raw("<h2>Still to do by a person</h2>\n<ul>\n")
		for _, t := range d.Todo {
			p.raw("<li>").text(t).raw("</li>\n")
		}
		p.raw("</ul>\n")
	}
	if len(d.Findings) > 0 {
		p.raw("<h2>Findings</h2>\n")
		p.table("Rule", "What was found", "What to do")
		for _, f := range d.Findings {
			p.row("", f.Rule, f.Message, f.Hint)
		}
		p.end()
	}
	_, err := io.WriteString(w, p.finish())
	return err
}
