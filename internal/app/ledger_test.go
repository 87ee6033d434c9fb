package app

import (
	"fmt"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/github"
)

func TestLedger(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	what := map[string]mark{}
	mine := func(guid string) mark { return what[guid] }
	l := newLedger()
	if !l.since(now).Equal(ago(remembered)) {
		t.Errorf("the first look is from %s", l.since(now))
	}
	due := func() string {
		var list []string
		for _, d := range l.due(now, 10, mine) {
			list = append(list, fmt.Sprintf("%s/%d", d.guid, d.id))
		}
		return fmt.Sprint(list)
	}
	what["here"], what["queued"], what["broke"] = done, taken, failed
	list := []github.Sent{
		{ID: 20, GUID: "fine", Event: "issue_comment", Action: "created", OK: true, Redelivery: true, DeliveredAt: ago(time.Minute)},
		{ID: 19, GUID: "twice", Event: "issue_comment", Action: "created", DeliveredAt: ago(30 * time.Second), Redelivery: true},
		{ID: 18, GUID: "push", Event: "push", DeliveredAt: ago(time.Hour)},
		{ID: 18, GUID: "edited", Event: "issue_comment", Action: "edited", DeliveredAt: ago(time.Hour)},
		{ID: 17, GUID: "here", Event: "issue_comment", Action: "created", DeliveredAt: ago(time.Hour)},
		{ID: 16, GUID: "queued", Event: "issue_comment", Action: "created", DeliveredAt: ago(time.Hour)},
		{ID: 15, GUID: "broke", Event: "deployment_status", Action: "created", OK: true, DeliveredAt: ago(time.Hour)},
		{ID: 14, GUID: "old", Event: "issue_comment", Action: "created", DeliveredAt: ago(71 * time.Hour)},
		{ID: 13, GUID: "new", Event: "issue_comment", Action: "created", DeliveredAt: ago(time.Second)},
		{ID: 12, GUID: "gone", Event: "issue_comment", Action: "created", DeliveredAt: ago(72 * time.Hour)},
		{ID: 11, GUID: "thrice", Event: "issue_comment", Action: "created", Redelivery: true, DeliveredAt: ago(2 * time.Hour)},
		{ID: 10, GUID: "thrice", Event: "issue_comment", Action: "created", Redelivery: true, DeliveredAt: ago(2 * time.Hour)},
		{ID: 9, GUID: "thrice", Event: "issue_comment", Action: "created", Redelivery: true, DeliveredAt: ago(2 * time.Hour)},
		{ID: 8, GUID: "thrice", Event: "issue_comment", Action: "created", DeliveredAt: ago(3 * time.Hour)},
		{ID: 7, GUID: "fine", Event: "issue_comment", Action: "created", DeliveredAt: ago(time.Hour)},
		{ID: 6, GUID: "twice", Event: "issue_comment", Action: "created", DeliveredAt: ago(time.Hour)},
	}
	l.learn(now, list, mine)
	if got, want := due(), "[old/14 new/13 broke/15]"; got != want {
		t.Errorf("due are %s, want %s", got, want)
	}
	if n := l.lost(mine); n != 1 {
		t.Errorf("%d are lost, want that which was tried three times", n)
	}
	if n := len(l.due(now, 2, mine)); n != 2 {
		t.Errorf("%d in a round of two", n)
	}
	// twice was asked for half a minute ago, and is due when a minute has gone by.
	now = now.Add(31 * time.Second)
	if got, want := due(), "[old/14 twice/19 new/13 broke/15]"; got != want {
		t.Errorf("due are %s, want %s", got, want)
	}
	for range maxAgain {
		for _, d := range l.due(now, 10, mine) {
			l.asked(d, now)
		}
		if got := due(); got != "[]" {
			t.Errorf("asked for, and due at once again: %s", got)
		}
		now = now.Add(time.Hour)
	}
	if got := due(); got != "[]" {
		t.Errorf("asked for %d times, and due again: %s", maxAgain, got)
	}
	if from := l.since(now); !from.Equal(l.read.Add(-overlap)) {
		t.Errorf("the next look is from %s", from)
	}
	// What went well meanwhile is owing no more, and what GitHub has forgotten is forgotten.
	l.learn(now, []github.Sent{{ID: 30, GUID: "new", Event: "issue_comment", Action: "created", OK: true, Redelivery: true, DeliveredAt: now}}, mine)
	if l.owing["new"] != nil || l.owing["old"] != nil || l.owing["broke"] == nil {
		t.Error("the wrong ones are owing")
	}
	if now = now.Add(80 * time.Hour); !l.since(now).Equal(now.Add(-remembered)) {
		t.Error("after a long sleep the look is from three days ago")
	}
}

// TestLedgerForgetsPresses: what a button of this morning was pressed for is not done in the evening.
func TestLedgerForgetsPresses(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	nothing := func(string) mark { return 0 }
	l := newLedger()
	l.learn(now, []github.Sent{
		{ID: 2, GUID: "young", Event: "check_run", Action: "requested_action", DeliveredAt: now.Add(-stale + time.Second)},
		{ID: 1, GUID: "old", Event: "check_run", Action: "requested_action", DeliveredAt: now.Add(-stale - time.Second)},
	}, nothing)
	list := l.due(now, 10, nothing)
	if len(list) != 1 || list[0].guid != "young" {
		t.Fatalf("due are %d deliveries", len(list))
	}
	l.learn(now.Add(2*time.Second), nil, nothing)
	if n := len(l.due(now.Add(2*time.Second), 10, nothing)); n != 0 {
		t.Errorf("it grew old while it waited, and is due")
	}
}
