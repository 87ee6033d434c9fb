package app

import (
	"slices"
	"sort"
	"sync"

	"github.com/kvick/shopfleet/internal/command"
)

// lanes hold claimed orders until they are carried out. Each shop has a lane, and so have the orders about the fleet as a
// whole; one order of a lane is carried out at a time, in the order in which they came, but rollbacks first. No lane waits
// for another: only when very many are at work do new ones wait for a place, and rollbacks do not even then.
//
// Safe for concurrent use; who carries out is elsewhere.
type lanes struct {
	places int // at a time, for all but rollbacks

	mu      sync.Mutex
	number  int
	waiting []*entry // in the order in which they came
	running map[string]*entry
	others  int            // of running, those that need a place
	known   map[int64]bool // comments of orders that are here
}

type entry struct {
	*command.Order
	number int
}

const rollback = "rollback"

func newLanes(places int) *lanes {
	return &lanes{places: places, running: map[string]*entry{}, known: map[int64]bool{}}
}

// add puts an order into its lane. An order about a comment that is here already is not taken.
func (l *lanes) add(o *command.Order) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.Comment != 0 && l.known[o.Comment] {
		return false
	}
	if o.Comment != 0 {
		l.known[o.Comment] = true
	}
	l.number++
	l.waiting = append(l.waiting, &entry{o, l.number})
	return true
}

// next is an order that may be carried out now; nil when there is none. Who gets it calls finished when it is over.
func (l *lanes) next() *command.Order {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := -1
	for i, e := range l.waiting {
		if l.running[e.Shop] != nil || e.Verb != rollback && l.others >= l.places {
			continue
		}
		if e.Verb == rollback {
			at = i
			break
		}
		if at < 0 {
			at = i
		}
	}
	if at < 0 {
		return nil
	}
	e := l.waiting[at]
	l.waiting = slices.Delete(l.waiting, at, at+1)
	l.running[e.Shop] = e
	if e.Verb != rollback {
		l.others++
	}
	return e.Order
}

// finished makes room for the next order of the lane.
func (l *lanes) finished(o *command.Order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.running[o.Shop]; e == nil || e.Order != o {
		return
	}
	delete(l.running, o.Shop)
	delete(l.known, o.Comment)
	if o.Verb != rollback {
		l.others--
	}
}

// counts are how many orders wait and how many are carried out.
func (l *lanes) counts() (waiting, running int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting), len(l.running)
}

// left are all orders that are not over, in the order in which they came.
func (l *lanes) left() []*command.Order {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.waiting)
	for _, e := range l.running {
		all = append(all, e)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].number < all[j].number })
	orders := make([]*command.Order, len(all))
	for i, e := range all {
		orders[i] = e.Order
	}
	return orders
}
