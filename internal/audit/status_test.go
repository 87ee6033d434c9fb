package audit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
)

var lookedAt = time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)

// well is a shop about which there is nothing to say.
func well(slug string) Row {
	return Row{
		Shop: slug, Worker: "helm-" + slug, Commit: "c1", SchemaRead: true, Schema: "0001_a.sql", JournalRead: true, Health: Health{Asked: true, OK: true, Status: 200},
		Live:    &LiveRelease{Version: "v1", Commit: "c1", Recorded: true, Good: true, Released: lookedAt.Add(-time.Hour)},
		Last:    &LastDeploy{Version: "v1", State: deploy.StateSuccess, Good: true},
		Secrets: []SecretAge{{Name: "KEY", Since: lookedAt.Add(-24 * time.Hour), Rotate: 48 * time.Hour}, {Name: "OTHER", Since: lookedAt.Add(-9999 * time.Hour)}},
	}
}

func TestNeeds(t *testing.T) {
	hold := func(by string, working bool) []StatusHold {
		return []StatusHold{{Owner: "bob", Reason: "why", By: by, Working: working}}
	}
	down := Health{Asked: true, Status: 503, Reason: "it answered 503"}
	for name, test := range map[string]struct {
		change func(*Row)
		state  ShopsState
		kinds  string
		do     string // of the first
	}{
		"well":                          {func(*Row) {}, StateFine, "", ""},
		"nobody asked whether it is up": {func(r *Row) { r.Health = Health{} }, StateFine, "", ""},
		"down":                          {func(r *Row) { r.Health = down }, StateDown, "unhealthy", "shopfleet rollback anna"},
		"down and held":                 {func(r *Row) { r.Health, r.Holds = down, hold("hold", false) }, StateDown, "unhealthy held", "shopfleet releases anna"},
		"down and not in the journal":   {func(r *Row) { r.Health, r.Live.Recorded = down, false }, StateDown, "unhealthy unproven", "shopfleet releases anna"},
		"down and not read":             {func(r *Row) { r.Health, r.Live, r.Unread = down, nil, []string{"x"} }, StateDown, "unhealthy unread", "shopfleet releases anna"},
		"closed since it leaves":        {func(r *Row) { r.Health, r.Holds = down, hold("offboard", false) }, StateWatch, "held", "shopfleet offboard anna"},
		"closed since it moves":         {func(r *Row) { r.Health, r.Holds, r.Live = down, hold("move", false), nil }, StateWatch, "held", "shopfleet move anna"},
		"not read":                      {func(r *Row) { r.Live, r.Unread = nil, []string{"x"} }, StateUnknown, "unread", ""},
		"nothing live":                  {func(r *Row) { r.Live = nil }, StateAct, "nothing-live", "shopfleet deploy anna"},
		"nothing live and pending":      {func(r *Row) { r.Live, r.Pending = nil, []string{"0002_b.sql"} }, StateAct, "nothing-live", "shopfleet deploy anna"},
		"nothing live and nothing up":   {func(r *Row) { r.Live, r.Health = nil, down }, StateAct, "nothing-live", "shopfleet deploy anna"},
		"outside":                       {func(r *Row) { r.Live.Outside, r.Live.Good = true, false }, StateAct, "outside", "shopfleet plan anna"},
		"not known good":                {func(r *Row) { r.Live.Good = false }, StateAct, "unproven", "shopfleet deploy anna"},
		"not in the journal":            {func(r *Row) { r.Live.Recorded, r.Live.Good = false, false }, StateWatch, "unproven", "shopfleet deploy anna"},
		"no journal":                    {func(r *Row) { r.Live.Recorded, r.Live.Good, r.JournalRead = false, false, false }, StateFine, "", ""},
		"split":                         {func(r *Row) { r.Live.Beside = 1 }, StateWatch, "outside", "shopfleet plan anna"},
		"failed and taken back": {func(r *Row) {
			r.Last = &LastDeploy{Version: "v2", State: deploy.StateFailure, Text: "did not pass its gate"}
		},
			StateAct, "failed", "shopfleet plan anna"},
		"failed once, and good since": {func(r *Row) { r.Last = &LastDeploy{Version: "v1", State: deploy.StateError} }, StateFine, "", ""},
		"under way": {func(r *Row) {
			r.Last = &LastDeploy{Version: "v2", State: deploy.StateInProgress, At: lookedAt.Add(-59 * time.Minute)}
		}, StateFine, "", ""},
		"never finished": {func(r *Row) {
			r.Last = &LastDeploy{Version: "v2", State: deploy.StateInProgress, At: lookedAt.Add(-61 * time.Minute)}
		}, StateAct, "failed", "shopfleet deploy anna"},
		"branch": {func(r *Row) {
			r.Problems = []deploy.Finding{{Rule: "a", Level: deploy.LevelWarning}, {Rule: "b", Level: deploy.LevelError, Message: "bad"}, {Rule: "c", Level: deploy.LevelError}}
		}, StateAct, "branch", "shopfleet plan anna"},
		"held":                       {func(r *Row) { r.Holds = hold("hold", false) }, StateAct, "held", "shopfleet release-hold anna"},
		"held and behind its branch": {func(r *Row) { r.Holds, r.Commit = hold("rollback", false), "c2" }, StateAct, "held", "shopfleet release-hold anna"},
		"a rollback under way":       {func(r *Row) { r.Holds = hold("rollback", true) }, StateWatch, "held", ""},
		"pending":                    {func(r *Row) { r.Pending = []string{"0002_b.sql"} }, StateWatch, "pending", "shopfleet deploy anna"},
		"not deployed":               {func(r *Row) { r.Commit = "c2" }, StateWatch, "undeployed", "shopfleet deploy anna"},
		"a little behind":            {func(r *Row) { r.Behind, r.Since = 50, lookedAt.Add(-14*24*time.Hour) }, StateFine, "", ""},
		"far behind":                 {func(r *Row) { r.Behind, r.Since = 51, lookedAt }, StateWatch, "behind", "shopfleet rebase anna"},
		"long behind":                {func(r *Row) { r.Behind, r.Since = 1, lookedAt.Add(-15*24*time.Hour) }, StateWatch, "behind", "shopfleet rebase anna"},
		"an old secret":              {func(r *Row) { r.Secrets[0].Since = lookedAt.Add(-49 * time.Hour) }, StateWatch, "secrets", "shopfleet secrets rotate KEY anna"},
	} {
		r := well("anna")
		test.change(&r)
		s := &Status{At: lookedAt, Rows: []Row{r}}
		s.Judge()
		got := s.Rows[0]
		var kinds []string
		for _, n := range got.Needs {
			kinds = append(kinds, n.Kind)
			if n.What == "" {
				t.Errorf("%s: %s says nothing", name, n.Kind)
			}
		}
		if got.State != test.state || strings.Join(kinds, " ") != test.kinds {
			t.Errorf("%s: %s with %q; want %s with %q", name, got.State, kinds, test.state, test.kinds)
		}
		if len(got.Needs) > 0 && got.Needs[0].Do != test.do {
			t.Errorf("%s: type %q; want %q", name, got.Needs[0].Do, test.do)
		}
	}
}

// TestStatusOrder wants the order of a report to be one of urgency, whatever order the rows came in.
func TestStatusOrder(t *testing.T) {
	rows := []Row{}
	add := func(slug string, change func(*Row)) {
		r := well(slug)
		change(&r)
		rows = append(rows, r)
	}
	add("down", func(r *Row) { r.Health = Health{Asked: true, Reason: "x"} })
	add("lost", func(r *Row) { r.Live, r.Unread = nil, []string{"x"} })
	add("worse", func(r *Row) {
		r.Live, r.Commit, r.Last = nil, "c2", &LastDeploy{Version: "v2", State: deploy.StateFailure}
	})
	add("act", func(r *Row) { r.Live = nil })
	add("bad", func(r *Row) { r.Live.Good = false })
	add("look", func(r *Row) { r.Pending = []string{"x"} })
	for i := range 5 {
		add(fmt.Sprint("well-", i), func(*Row) {})
	}
	const want = "down lost worse act bad look well-0 well-1 well-2 well-3 well-4"
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		s := &Status{At: lookedAt, Rows: slices.Clone(rows)}
		random.Shuffle(len(s.Rows), func(i, j int) { s.Rows[i], s.Rows[j] = s.Rows[j], s.Rows[i] })
		s.Judge()
		var got []string
		for _, r := range s.Rows {
			got = append(got, r.Shop)
		}
		if strings.Join(got, " ") != want {
			t.Fatalf("the order is %q; want %q", got, want)
		}
		if s.Count(StateFine) != 5 || s.Count(StateAct) != 3 || s.Count(StateUnknown) != 1 {
			t.Fatalf("%d fine, %d to act on, %d not read", s.Count(StateFine), s.Count(StateAct), s.Count(StateUnknown))
		}
	}
}
