package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/provision"
)

// hostileDeparture has a forged line, markup and a terminal's escape in everything that comes from outside.
func hostileDeparture() *Departure {
	const bad = "<img src=x onerror=alert(1)>|\n## forged \x1b[2J`@everyone"
	return &Departure{
		Verb: "offboard", Shop: bad, Account: bad, To: bad, Status: DepartureDeleted, Hostname: bad, NewHostname: bad,
		Deletes: &provision.Plan{Account: bad, Steps: []provision.Step{{Action: "delete", Kind: "worker", Name: bad}}, Notes: []string{bad}},
		Backup:  &LeftBackup{Store: bad, At: bad, Digest: bad, Verified: true}, Copied: []string{bad}, Commit: bad, Notes: []string{bad},
		Proof: &LeftProof{Shop: bad, Account: bad, By: bad, At: time.Unix(0, 0), Plan: bad, Deleted: []string{bad}, Left: []string{bad}, Before: bad, After: bad, Changed: []string{bad}, Branch: bad, Commit: bad},
		Work: Work{
			Steps: []WorkStep{{Text: bad, Seconds: 1}}, Todo: []string{bad}, Error: bad,
			Findings: []deploy.Finding{{Rule: "grace-period", Level: deploy.LevelError, Message: bad, Hint: bad}},
		},
	}
}

func TestDepartureIsInert(t *testing.T) {
	d := hostileDeparture()
	var text, page bytes.Buffer
	if err := DepartureText(&text, Style{}, d); err != nil {
		t.Fatal(err)
	}
	if s := text.String(); strings.Contains(s, "\x1b") || strings.Contains(s, "\n## forged") {
		t.Errorf("the terminal's page can be forged:\n%q", s)
	}
	if err := DepartureHTML(&page, d); err != nil {
		t.Fatal(err)
	}
	if s := page.String(); strings.Contains(s, "<img") || !strings.Contains(s, "Content-Security-Policy") || strings.Contains(s, "http://") || strings.Contains(s, "src=\"") {
		t.Errorf("the page is not inert:\n%s", s)
	}
	markdown := DepartureMarkdown(d)
	for line := range strings.Lines(markdown) {
		if strings.HasPrefix(line, "## forged") || strings.Contains(line, "\x1b") {
			t.Errorf("the summary can be forged: %q", line)
		}
	}
}

func TestDepartureTitles(t *testing.T) {
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for want, d := range map[string]*Departure{
		"swicked  closed since 2026-11-28 12:00:00 UTC":                      {Shop: "swicked", Status: DepartureClosed, Closed: at, Due: at.Add(time.Hour)},
		"swicked  open again: https://h.kvick.bike":                          {Shop: "swicked", Status: DepartureOpen, Hostname: "h.kvick.bike"},
		"swicked  moved from a to b, down for 3.5 s: https://h.kvick-2.bike": {Shop: "swicked", Status: DepartureMoved, Account: "a", To: "b", Down: 3.5, Hostname: "h.kvick.bike", NewHostname: "h.kvick-2.bike"},
		"swicked  came back to a: https://h.kvick.bike":                      {Shop: "swicked", Status: DepartureReturned, Account: "a", Hostname: "h.kvick.bike"},
		"swicked  deleted": {Shop: "swicked", Status: DepartureDeleted, Proof: &LeftProof{Before: "x", After: "x"}},
		"swicked  deleted; other shops changed meanwhile": {Shop: "swicked", Status: DepartureDeleted, Proof: &LeftProof{Before: "x", After: "y", Changed: []string{"mikes"}}},
		"swicked  what it left in account a is deleted":   {Verb: "move", Shop: "swicked", Account: "a", Status: DepartureDeleted, Proof: &LeftProof{}},
		"swicked  not done":            {Shop: "swicked", Exit: 1, Status: DepartureUnfinished},
		"swicked  nothing was written": {Shop: "swicked", Planned: true},
	} {
		if got := d.title(Style{}); !strings.HasPrefix(got, want) {
			t.Errorf("the title is %q, want %q", got, want)
		}
	}
	if s := (&LeftProof{Before: "x", After: "y", Changed: []string{"", "mikes"}, Things: 7, Deep: true}).Words(); s != "changed meanwhile: what is no shop's, mikes of 7 things of other shops and of the account" {
		t.Errorf("the proof says %q", s)
	}
}

func TestDrillPage(t *testing.T) {
	d := &Drill{Shop: "drill-1", Account: "kvick-1", Seconds: 12, Steps: []DrillStep{{Name: "onboarded", Seconds: 3, Proof: "it answers"}, {Name: "restored", Seconds: 1, Failed: true, Proof: "x"}}, Cleaned: []string{"drill-0"}, Exit: 3}
	var b bytes.Buffer
	if err := DrillText(&b, Style{}, d); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"drill on kvick-1  failed in 12.0 s", "3.00 s  onboarded", "1.00 s  restored               failed", "an earlier drill had left: drill-0"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page lacks %q:\n%s", want, b.String())
		}
	}
	if s := DrillMarkdown(d); !strings.Contains(s, "| `restored` | 1.00 | **failed** |") || strings.Contains(b.String(), "nothing of it is left") {
		t.Errorf("the summary is\n%s", s)
	}
}
