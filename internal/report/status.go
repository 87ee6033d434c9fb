package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/audit"
)

// stateWords are the states of shops as people read them.
var stateWords = map[audit.ShopsState]string{
	audit.StateDown: "down", audit.StateUnknown: "not read", audit.StateAct: "needs you", audit.StateWatch: "look", audit.StateFine: "fine",
}

// statusVerdict is a report in one line.
func statusVerdict(s *audit.Status) (verdict string, well bool) {
	var parts []string
	for _, state := range []audit.ShopsState{audit.StateDown, audit.StateUnknown, audit.StateAct, audit.StateWatch} {
		word := stateWords[state]
		switch n := s.Count(state); {
		case n == 0:
			continue
		case state == audit.StateAct:
			word = plural(n, word, "need you")
		case state == audit.StateWatch:
			word = "to look at"
		}
		parts = append(parts, fmt.Sprintf("%d %s", s.Count(state), word))
	}
	if len(parts) == 0 {
		if len(s.Rows) == 0 {
			return "no shop has a branch", false
		}
		if s.Failed() {
			return "not everything could be read", false
		}
		return counted(len(s.Rows), "shop") + ", nothing to do", true
	}
	if n := s.Count(audit.StateFine); n > 0 {
		parts = append(parts, fmt.Sprintf("%d fine", n))
	}
	return fmt.Sprintf("%s: %s", counted(len(s.Rows), "shop"), strings.Join(parts, ", ")), false
}

// age is how long ago something was, in the largest unit that fits; "" where nobody knows.
func age(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	d := max(now.Sub(at), 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// liveWords are what is live, on a line.
func liveWords(r *audit.Row) string {
	l := r.Live
	switch {
	case l == nil && len(r.Unread) > 0:
		return "?"
	case l == nil:
		return "nothing"
	}
	words := cmp.Or(short(l.Commit), "unknown commit")
	switch {
	case l.Outside:
		words += " outside"
	case l.Good:
		words += " good"
	}
	return words
}

// schemaWords are where the database is.
func schemaWords(r *audit.Row) string {
	switch {
	case !r.SchemaRead:
		return ""
	case r.Schema == "" && len(r.Pending) == 0:
		return "none"
	case len(r.Pending) == 0:
		return strings.TrimSuffix(r.Schema, ".sql")
	}
	return strings.TrimSpace(fmt.Sprintf("%s +%d", strings.TrimSuffix(r.Schema, ".sql"), len(r.Pending)))
}

func healthWords(h audit.Health) string {
	switch {
	case !h.Asked:
		return ""
	case h.OK:
		return fmt.Sprintf("%d", h.Status)
	case h.Status == 0:
		return "no answer"
	}
	return fmt.Sprintf("%d!", h.Status)
}

func lastWords(r *audit.Row, now time.Time) string {
	x := r.Last
	if x == nil {
		return ""
	}
	words := age(x.At, now) + " ago"
	if x.By != "" {
		words += " by " + x.By
	}
	if !x.Good {
		words += ", " + cmp.Or(string(x.State), "never finished")
	}
	return words
}

// stateStyle colours a text as its state is.
func stateStyle(s Style, state audit.ShopsState, text string) string {
	switch state {
	case audit.StateDown, audit.StateUnknown:
		return s.Red(text)
	case audit.StateAct, audit.StateWatch:
		return s.Yellow(text)
	}
	return s.Green(text)
}

// Status writes where the fleet stands as a table, and below each shop that needs a person why. Of one shop or two it tells
// everything.
func Status(w io.Writer, s Style, st *audit.Status) error {
	var b strings.Builder
	if h := st.Hold; h != nil {
		fmt.Fprintf(&b, "%s %s\n", s.Yellow("all shops are held"), Clean(holdText(*h, st.At)))
	}
	if len(st.Only) > 0 && len(st.Rows) <= 2 {
		for i := range st.Rows {
			statusOne(&b, s, st, &st.Rows[i])
		}
	} else {
		statusTable(&b, s, st)
	}
	verdict, well := statusVerdict(st)
	if well {
		verdict = s.Green(verdict)
	}
	fmt.Fprintf(&b, "%s\n", verdict)
	for _, a := range st.Accounts {
		if a.Error != "" {
			fmt.Fprintf(&b, "%s account %s: %s\n", s.Red("not read:"), Clean(a.Name), Clean(strings.ReplaceAll(a.Error, "\n", "; ")))
		}
	}
	for _, what := range st.NotRead {
		fmt.Fprintf(&b, "%s %s\n", s.Yellow("not read:"), Clean(what))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func holdText(h audit.StatusHold, now time.Time) string {
	text := "by " + h.Owner
	if h.Reason != "" {
		text += ": " + h.Reason
	}
	if a := age(h.Since, now); a != "" {
		text += ", for " + a
	}
	if !h.Until.IsZero() {
		text += ", until " + moment(h.Until)
	}
	return text
}

// statusTable is a line for each shop, and its reasons below it.
func statusTable(b *strings.Builder, s Style, st *audit.Status) {
	heads := []string{"", "SHOP", "ACCOUNT", "LIVE", "BEHIND", "SCHEMA", "HEALTH", "LAST DEPLOY"}
	rows := make([][]string, len(st.Rows))
	width := make([]int, len(heads))
	for j, h := range heads {
		width[j] = len(h)
	}
	for i := range st.Rows {
		r := &st.Rows[i]
		rows[i] = []string{stateWords[r.State], r.Shop, r.Account, liveWords(r), fmt.Sprint(r.Behind), schemaWords(r), healthWords(r.Health), lastWords(r, st.At)}
		for j := range rows[i] {
			rows[i][j] = clip(Clean(rows[i][j]), 40)
			width[j] = max(width[j], len([]rune(rows[i][j])))
		}
	}
	line := func(cells []string, paint func(j int, padded string) string) {
		var l strings.Builder
		for j, c := range cells {
			padded := c + strings.Repeat(" ", width[j]-len([]rune(c)))
			if j == len(cells)-1 {
				padded = c
			}
			if j > 0 {
				l.WriteString("  ")
			}
			l.WriteString(paint(j, padded))
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	if len(rows) > 0 {
		line(heads, func(_ int, c string) string { return s.Dim(c) })
	}
	for i, cells := range rows {
		r := &st.Rows[i]
		line(cells, func(j int, c string) string {
			switch j {
			case 0:
				return stateStyle(s, r.State, c)
			case 1:
				return s.Bold(c)
			}
			return c
		})
		writeNeeds(b, s, r)
	}
}

func writeNeeds(b *strings.Builder, s Style, r *audit.Row) {
	for _, n := range r.Needs {
		fmt.Fprintf(b, "    %s", stateStyle(s, n.State, cleanLines(n.What)))
		if n.Do != "" {
			b.WriteString(s.Dim("  → " + Clean(n.Do)))
		}
		b.WriteString("\n")
	}
}

// statusOne is everything about one shop.
func statusOne(b *strings.Builder, s Style, st *audit.Status, r *audit.Row) {
	line := func(key, format string, args ...any) {
		if text := strings.TrimSpace(Clean(fmt.Sprintf(format, args...))); text != "" {
			fmt.Fprintf(b, "  %-11s %s\n", key, text)
		}
	}
	fmt.Fprintf(b, "%s  %s\n", s.Bold(Clean(r.Shop)), stateStyle(s, r.State, stateWords[r.State]))
	writeNeeds(b, s, r)
	line("account", "%s", r.Account)
	line("address", "https://%s", r.Hostname)
	for _, p := range statusDetails(r, st.At) {
		line(p[0], "%s", p[1])
	}
}

// statusDetails are a shop's facts, each with its name. Those that nobody knows are left out.
func statusDetails(r *audit.Row, now time.Time) (out [][2]string) {
	add := func(key, text string) {
		if text != "" {
			out = append(out, [2]string{key, text})
		}
	}
	if l := r.Live; l != nil {
		text := "version " + l.Version
		switch {
		case l.Good:
			text += ", known good"
		case l.Outside:
			text += ", released outside"
		case r.JournalRead || l.Recorded:
			text += ", not known to be good"
		}
		if a := age(l.Released, now); a != "" {
			text += ", for " + a
		}
		if l.By != "" {
			text += ", by " + l.By
		}
		add("live", text)
		add("commit", cmp.Or(l.Commit, "unknown"))
	} else if len(r.Unread) == 0 {
		add("live", "nothing")
	}
	if r.Commit != "" {
		text := short(r.Commit)
		if r.Live != nil && r.Live.Commit == r.Commit {
			text += ", which is live"
		}
		add("branch", r.Branch+" at "+text)
	}
	behind := counted(r.Behind, "commit") + " behind main"
	if !r.Since.IsZero() && r.Behind > 0 {
		behind += ", for " + age(r.Since, now)
	}
	add("main", behind)
	if r.SchemaRead {
		add("schema", cmp.Or(r.Schema, "no migration applied"))
		if n := len(r.Pending); n > 0 {
			add("pending", fmt.Sprintf("%s: %s", counted(n, "migration"), few(r.Pending, 3)))
		}
	}
	for _, h := range r.Holds {
		add("hold", holdText(h, now))
	}
	if h := r.Health; h.Asked {
		text := "well, " + fmt.Sprintf("%d in %d ms", h.Status, h.Millis)
		if !h.OK {
			text = h.Reason
		}
		add("health", text)
	}
	if x := r.Last; x != nil {
		text := lastWords(r, now)
		if x.Text != "" {
			text += ": " + x.Text
		}
		add("last deploy", text)
	}
	if x, ok := r.OldestSecret(); ok {
		add("secrets", fmt.Sprintf("%s, the oldest is %s from %s ago", counted(len(r.Secrets), "secret"), x.Name, age(x.Since, now)))
	}
	return out
}

// StatusMarkdown is where the fleet stands for a comment or a summary, at most most bytes; 0 is any length. Shops that are fine
// are folded, and the first to be left out. Causes of accounts that could not be read are not in it: it is published.
func StatusMarkdown(st *audit.Status, most int) string {
	var b strings.Builder
	verdict, _ := statusVerdict(st)
	fmt.Fprintf(&b, "**%s**\n", verdict)
	if h := st.Hold; h != nil {
		fmt.Fprintf(&b, "\nAll shops are held %s\n", statusCell(holdText(*h, st.At)))
	}
	if names := st.Unread(); len(names) > 0 {
		fmt.Fprintf(&b, "\nNot read: %s\n", statusCell("account "+few(names, 10)))
	}
	for _, what := range st.NotRead {
		fmt.Fprintf(&b, "\nNot read: %s\n", statusCell(what))
	}
	if len(st.Only) == 1 && len(st.Rows) == 1 {
		r := &st.Rows[0]
		b.WriteString("\n")
		for _, n := range r.Needs {
			b.WriteString("- " + needMarkdown(n) + "\n")
		}
		b.WriteString("\n| | |\n| --- | --- |\n")
		for _, p := range append([][2]string{{"account", r.Account}, {"address", "https://" + r.Hostname}}, statusDetails(r, st.At)...) {
			fmt.Fprintf(&b, "| %s | %s |\n", p[0], statusCell(p[1]))
		}
		return b.String()
	}
	const head = "\n| shop | | account | live | behind | schema | health | last deploy |\n| --- | --- | --- | --- | ---: | --- | --- | --- |\n"
	fine, foldHead, foldEnd := false, "\n<details><summary>%d fine</summary>\n", "\n</details>\n"
	room := func(line string) bool { return most == 0 || b.Len()+len(line)+200 <= most }
	wrote := 0
	for i := range st.Rows {
		r := &st.Rows[i]
		var line strings.Builder
		if r.State == audit.StateFine && !fine {
			fine, wrote = true, 0
			fmt.Fprintf(&line, foldHead, st.Count(audit.StateFine))
		}
		if wrote == 0 {
			line.WriteString(head)
		}
		fmt.Fprintf(&line, "| %s | %s | %s | %s | %d | %s | %s | %s |\n", statusCell(r.Shop), whyMarkdown(r), statusCell(r.Account), statusCell(liveWords(r)), r.Behind, statusCell(schemaWords(r)), statusCell(healthWords(r.Health)), statusCell(lastWords(r, st.At)))
		if !room(line.String()) {
			if fine && wrote > 0 {
				b.WriteString(foldEnd)
				fine = false
			} else if r.State == audit.StateFine && wrote == 0 {
				fine = false
			}
			fmt.Fprintf(&b, "\n%d more are not shown here; %s has all.\n", len(st.Rows)-i, Code("shopfleet status"))
			break
		}
		b.WriteString(line.String())
		wrote++
	}
	if fine {
		b.WriteString(foldEnd)
	}
	return b.String()
}

// statusCell is text from the user's world in a table; a cell without any stays empty.
func statusCell(s string) string {
	if s == "" {
		return ""
	}
	return cell(s, 300)
}

func needMarkdown(n audit.Need) string {
	text := statusCell(n.What)
	if n.Do != "" {
		text += " → " + statusCell(n.Do)
	}
	return text
}

func whyMarkdown(r *audit.Row) string {
	if len(r.Needs) == 0 {
		return stateWords[r.State]
	}
	text := "**" + stateWords[r.State] + "**: " + needMarkdown(r.Needs[0])
	if n := len(r.Needs) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d more)", n)
	}
	return text
}
