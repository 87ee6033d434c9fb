package app

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/kvick/shopfleet/internal/github"
)

const (
	remembered = 3*24*time.Hour - 10*time.Minute // GitHub keeps deliveries for three days (wire.md §2d); a little is left for clocks
	overlap    = 15 * time.Minute                // what a look repeats of the one before: attempts are listed with a delay
	maxAgain   = 3                               // times that a delivery is asked for again
	stale      = 15 * time.Minute                // how old a pressed button may be: unlike a comment's, its payload does not say when that was
)

// ledger is what GitHub's list of deliveries says, and which of them to have delivered again. It is pure: the list and
// the clock are handed in. Not safe for concurrent use.
type ledger struct {
	read  time.Time // when the list was read last
	owing map[string]*debt
}

// debt is a delivery without an attempt that went well.
type debt struct {
	guid  string
	class class
	// pressed says that it is of a button.
	pressed bool
	id      int64 // of the newest attempt
	first   time.Time
	last    time.Time // when it was tried or asked for last
	again   int       // times that it was delivered again, or that we asked for it
}

func newLedger() *ledger { return &ledger{owing: map[string]*debt{}} }

// since is from when on the list has to be read.
func (l *ledger) since(now time.Time) time.Time {
	oldest := now.Add(-remembered)
	if l.read.IsZero() || l.read.Add(-overlap).Before(oldest) {
		return oldest
	}
	return l.read.Add(-overlap)
}

// learn takes in a list that was read at a time. what says what we know of a delivery ourselves: one that was taken and then
// failed here is owing although GitHub was told that all is well.
func (l *ledger) learn(now time.Time, list []github.Sent, what func(guid string) mark) {
	l.read = now
	byGUID := map[string][]github.Sent{}
	for _, s := range list {
		if classOf(s.Event, s.Action) != ignored {
			byGUID[s.GUID] = append(byGUID[s.GUID], s)
		}
	}
	for guid, attempts := range byGUID {
		if slices.ContainsFunc(attempts, func(s github.Sent) bool { return s.OK }) && what(guid) != failed {
			delete(l.owing, guid)
			continue
		}
		d := l.owing[guid]
		if d == nil {
			d = &debt{guid: guid, class: classOf(attempts[0].Event, attempts[0].Action), pressed: attempts[0].Event == "check_run"}
			l.owing[guid] = d
		}
		again := 0
		for _, s := range attempts {
			if s.Redelivery {
				again++
			}
			if d.first.IsZero() || s.DeliveredAt.Before(d.first) {
				d.first = s.DeliveredAt
			}
			if s.DeliveredAt.After(d.last) {
				d.last = s.DeliveredAt
			}
			d.id = max(d.id, s.ID)
		}
		d.again = max(d.again, again)
	}
	for guid, d := range l.owing {
		if d.first.Before(now.Add(-remembered)) || d.pressed && d.first.Before(now.Add(-stale)) {
			delete(l.owing, guid)
		}
	}
}

// due are the deliveries to ask for now, orders before the rest, then the oldest first, and at most limit of them: those
// that are not seen to be taken or done here, were asked for less than maxAgain times, and not a moment ago.
func (l *ledger) due(now time.Time, limit int, what func(guid string) mark) []*debt {
	var list []*debt
	for guid, d := range l.owing {
		switch what(guid) {
		case taken, done:
			continue
		}
		if d.again < maxAgain && !now.Before(d.last.Add(wait(d.again))) {
			list = append(list, d)
		}
	}
	sort.Slice(list, func(i, j int) bool {
		return cmp.Or(cmp.Compare(list[i].class, list[j].class), list[i].first.Compare(list[j].first), cmp.Compare(list[i].guid, list[j].guid)) < 0
	})
	return list[:min(limit, len(list))]
}

// wait is how long after an attempt the next one is due: the first at once, for that is what a start is for.
func wait(again int) time.Duration {
	if again == 0 {
		return 0
	}
	return time.Minute << (2 * (again - 1)) // 1, 4 minutes
}

// asked notes that GitHub was asked to deliver it again.
func (l *ledger) asked(d *debt, now time.Time) {
	d.again++
	d.last = now
}

// lost are the deliveries that are not asked for any more and went wrong every time.
func (l *ledger) lost(what func(guid string) mark) int {
	n := 0
	for guid, d := range l.owing {
		if m := what(guid); d.again >= maxAgain && m != taken && m != done {
			n++
		}
	}
	return n
}
