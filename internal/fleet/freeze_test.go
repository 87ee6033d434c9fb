package fleet

import (
	"testing"
	"time"
)

func TestFrozen(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	p := &Policy{Freezes: []Freeze{
		{Name: "christmas", From: at("2026-12-18T18:00:00+01:00"), Until: at("2026-12-27T06:00:00+01:00"), Except: []string{"demo"}},
		{Name: "lunch", Weekly: "wed 12:00 - wed 13:00", Shops: []string{"swicked"}},
		{Name: "weekend", Weekly: "fri 16:00 - mon 06:00", Shops: []string{"swicked"}},
	}}
	for _, c := range []struct{ slug, now, want, ends string }{
		{"swicked", "2026-12-18T16:59:59Z", "weekend", "2026-12-21T06:00:00Z"}, // a Friday; christmas begins an hour east of here
		{"swicked", "2026-12-18T17:00:00Z", "christmas", "2026-12-27T05:00:00Z"},
		{"demo", "2026-12-20T00:00:00Z", "", ""},
		{"other", "2026-12-27T04:59:59Z", "christmas", "2026-12-27T05:00:00Z"},
		{"other", "2026-12-27T05:00:00Z", "", ""},
		{"swicked", "2026-11-27T15:59:59Z", "", ""},
		{"swicked", "2026-11-27T16:00:00Z", "weekend", "2026-11-30T06:00:00Z"},
		{"swicked", "2026-11-30T05:59:59Z", "weekend", "2026-11-30T06:00:00Z"}, // over the end of the week
		{"swicked", "2026-11-30T06:00:00Z", "", ""},
		{"swicked", "2026-11-30T07:59:00+02:00", "weekend", "2026-11-30T06:00:00Z"},
		{"other", "2026-11-28T12:00:00Z", "", ""},
		{"swicked", "2026-11-25T12:59:00Z", "lunch", "2026-11-25T13:00:00Z"},
		{"swicked", "2026-11-25T13:00:00Z", "", ""},
	} {
		f, ok := p.Frozen(c.slug, at(c.now))
		if f.Name != c.want || ok != (c.want != "") {
			t.Errorf("%s at %s: %q, want %q", c.slug, c.now, f.Name, c.want)
		}
		if ok && !f.Ends(at(c.now)).Equal(at(c.ends)) {
			t.Errorf("%s at %s ends at %s, want %s", c.slug, c.now, f.Ends(at(c.now)), c.ends)
		}
	}
}

// TestFrozenEveryMinute compares a window that wraps the week with the one that is left of it.
func TestFrozenEveryMinute(t *testing.T) {
	wraps, rest := Freeze{Weekly: "sat 22:30 - tue 01:15"}, Freeze{Weekly: "tue 01:15 - sat 22:30"}
	start := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC) // a Monday
	frozen := 0
	for i := range week {
		now := start.Add(time.Duration(i) * time.Minute)
		if wraps.covers(now) == rest.covers(now) {
			t.Fatalf("%s is in both or in none", now)
		}
		for _, f := range []Freeze{wraps, rest} {
			from, until, ok := f.Next(now)
			if in := !now.Before(from); !ok || in != f.covers(now) || !f.covers(from) || f.covers(from.Add(-time.Minute)) || !now.Before(until) || from.Sub(now) > 7*24*time.Hour {
				t.Fatalf("%s at %s: next from %s to %s, %v", f.Weekly, now, from, until, ok)
			}
		}
		if !wraps.covers(now) {
			continue
		}
		frozen++
		if end := wraps.Ends(now); wraps.covers(end) || !wraps.covers(end.Add(-time.Minute)) || end.Sub(now) > 7*24*time.Hour {
			t.Fatalf("%s ends at %s", now, end)
		}
	}
	if want := 1*60 + 30 + 24*60*2 + 60 + 15; frozen != want {
		t.Errorf("%d minutes of the week, want %d", frozen, want)
	}
}

func TestCommandRules(t *testing.T) {
	c := Commands{Team: "ops", Verbs: map[string]CommandRule{"rollback": {Permission: PermissionAdmin, Team: "leads"}, "hold": {Users: []string{"alice"}}}}
	for verb, want := range map[string][2]string{"rollback": {"admin", "leads"}, "hold": {"write", "ops"}, "plan": {"write", "ops"}} {
		if r := c.Rule(verb); r.Permission != want[0] || r.Team != want[1] {
			t.Errorf("%s: %+v, want %v", verb, r, want)
		}
	}
	if r := (Commands{}).Rule("plan"); r.Permission != "write" || r.Team != "" || r.Users != nil {
		t.Errorf("without rules: %+v", r)
	}
}
