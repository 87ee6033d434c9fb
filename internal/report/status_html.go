package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/kvick/shopfleet/internal/audit"
)

// statusTags are the buttons of the page that show only some shops: kinds of needs, and what they are called.
var statusTags = []tag{
	{"unhealthy", "Down"}, {"unread", "Not read"}, {"failed", "Last deploy failed"}, {"unproven", "Not known good"}, {"outside", "Released outside"},
	{"nothing-live", "Nothing live"}, {"branch", "Branch broken"}, {"held", "Held"}, {"pending", "Migrations pending"}, {"undeployed", "Not deployed"},
	{"behind", "Behind"}, {"secrets", "Old secrets"},
}

// StatusHTML writes where the fleet stands as one page that loads nothing: it can be mailed, kept, or served (PagePolicy). What
// needs a person comes first; every column sorts, the filter and the buttons narrow it down, and on a phone each shop is a card.
func StatusHTML(w io.Writer, s *audit.Status, links ...Link) error {
	p := newPage("Status of the fleet", true, links...)
	p.raw("<h1>Status of the fleet</h1>\n<p class=\"soft\">")
	p.text(counted(len(s.Rows), "shop")+" on "+counted(len(s.Accounts), "account")+"; read at ").when(s.At, s.At, moment(s.At)).
		text("; main at ").raw("<code>").text(short(s.Main)).raw("</code>; ").text(s.Tool).raw("</p>\n")
	verdict, well := statusVerdict(s)
	class := "warn"
	switch {
	case well:
		class = "good"
	case s.Count(audit.StateDown)+s.Count(audit.StateUnknown) > 0 || s.Failed():
		class = "bad"
	}
	p.raw(`<p class="verdict ` + class + `">`).text(verdict).raw("</p>\n")
	if h := s.Hold; h != nil {
		p.raw(`<p class="warn">All shops are held `).text(holdText(*h, s.At)).raw("</p>\n")
	}
	for _, a := range s.Accounts {
		if a.Error != "" {
			p.raw(`<p class="bad">Account `).text(a.Name).text(" could not be read: " + a.Error).raw("</p>\n")
		}
	}
	for _, what := range s.NotRead {
		p.raw(`<p class="warn">Not read: `).text(what).raw("</p>\n")
	}
	p.raw(`<ul class="tiles">`)
	for _, state := range []audit.ShopsState{audit.StateDown, audit.StateUnknown, audit.StateAct, audit.StateWatch, audit.StateFine} {
		p.raw("<li><b>").text(fmt.Sprint(s.Count(state))).raw("</b>").text(stateWords[state]).raw("</li>")
	}
	p.raw("</ul>\n")
	p.statusTable(s)
	_, err := io.WriteString(w, p.finish())
	return err
}

// when is a time, as how long ago it was, with the time itself for whoever points at it.
func (p *page) when(at, now time.Time, text string) *page {
	return p.raw(`<time datetime="`).text(at.UTC().Format(time.RFC3339)).raw(`" title="`).text(moment(at)).raw(`">`).text(text).raw("</time>")
}

func (p *page) statusTable(s *audit.Status) {
	var tags []tag
	for _, t := range statusTags {
		if slices.ContainsFunc(s.Rows, func(r audit.Row) bool { return r.Has(t.word) }) {
			tags = append(tags, t)
		}
	}
	p.live("shops", "Shops, those first that need a person", tags, "Shop", "State", "Why", "Account", "Live", "Since", "Behind", "Schema", "Health", "Last deploy", "Secrets")
	for i := range s.Rows {
		p.statusRow(&s.Rows[i], i, s.At)
	}
	p.end()
}

// unix is a time for sorting; "" where nobody knows it.
func unix(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprint(t.Unix())
}

func (p *page) statusRow(r *audit.Row, at int, now time.Time) {
	var kinds []string
	for _, n := range r.Needs {
		if !slices.Contains(kinds, n.Kind) {
			kinds = append(kinds, n.Kind)
		}
	}
	p.begin(kinds...)
	p.td("", r.Shop, func() {
		if r.Hostname != "" {
			p.link("https://"+r.Hostname, r.Shop)
		} else {
			p.text(r.Shop)
		}
	})
	class := map[audit.ShopsState]string{audit.StateDown: "bad", audit.StateUnknown: "bad", audit.StateAct: "warn", audit.StateWatch: "warn", audit.StateFine: "good"}[r.State]
	p.plain(class, fmt.Sprint(at), stateWords[r.State])
	if len(r.Needs) == 0 {
		p.td("", "", nil)
	} else {
		p.td("why", "", func() {
			for _, n := range r.Needs {
				p.raw("<p>").text(n.What)
				if n.Do != "" {
					p.raw("<br><code>").text(n.Do).raw("</code>")
				}
				p.raw("</p>")
			}
		})
	}
	p.plain("", "", r.Account)
	p.statusLive(r, now)
	p.plain("number", fmt.Sprint(r.Behind), fmt.Sprint(r.Behind))
	p.plain("brief", "", schemaWords(r))
	h := r.Health
	switch {
	case !h.Asked:
		p.td("", "", nil)
	case h.OK:
		p.plain("good", "", fmt.Sprint(h.Status))
	default:
		p.plain("bad", "", unwell(h))
	}
	if x := r.Last; x == nil {
		p.td("", "", nil)
	} else {
		p.td("", unix(x.At), func() {
			p.when(x.At, now, age(x.At, now)+" ago")
			if x.By != "" {
				p.text(" by " + x.By)
			}
			if !x.Good {
				p.raw(` <span class="warn">`).text(lastState(x)).raw("</span>")
			}
			if x.Run != "" {
				p.raw(" ").link(x.Run, "run")
			}
		})
	}
	if x, ok := r.OldestSecret(); !ok {
		p.td("", "", nil)
	} else {
		p.td("brief", unix(x.Since), func() { p.when(x.Since, now, age(x.Since, now)).text(" " + x.Name) })
	}
	p.done()
}

func unwell(h audit.Health) string {
	if h.Status == 0 {
		return "no answer"
	}
	return fmt.Sprint(h.Status)
}

func lastState(x *audit.LastDeploy) string {
	if x.State == "" {
		return "never finished"
	}
	return string(x.State)
}

// statusLive are the two cells about the release that is live.
func (p *page) statusLive(r *audit.Row, now time.Time) {
	l := r.Live
	if l == nil {
		p.plain("", unsorted, liveWords(r))
		p.td("", "", nil)
		return
	}
	p.td("brief", cmp.Or(l.Commit, unsorted), func() {
		p.raw(`<code title="version `).text(l.Version).raw(`">`)
		if l.Commit == "" {
			p.text("unknown commit")
		} else {
			p.text(short(l.Commit))
		}
		p.raw("</code>")
		switch {
		case l.Outside:
			p.raw(` <span class="warn">outside</span>`)
		case l.Good:
			p.raw(` <span class="good">good</span>`)
		}
	})
	if l.Released.IsZero() {
		p.td("", "", nil)
		return
	}
	p.td("", unix(l.Released), func() { p.when(l.Released, now, age(l.Released, now)) })
}
