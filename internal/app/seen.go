package app

import (
	"container/list"
	"sync"
)

// mark is what became of a delivery.
type mark int

const (
	taken  mark = iota + 1 // it waits or is at work
	done                   // there is nothing more to do about it
	failed                 // it was taken and could not be heard
)

// seen remembers the newest deliveries by their GUIDs. It is bounded, and forgets those that were not mentioned for longest:
// what comes again after that is still one, by its claim. Safe for concurrent use.
type seen struct {
	limit int

	mu    sync.Mutex
	byID  map[string]*list.Element
	order *list.List // of *sight, the newest mention first
}

type sight struct {
	guid string
	mark mark
}

func newSeen(limit int) *seen {
	return &seen{limit: limit, byID: map[string]*list.Element{}, order: list.New()}
}

// take says whether a delivery is to be dealt with: it is new, or it failed before. Of several that ask at a time, one is
// told so.
func (s *seen) take(guid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byID[guid]; e != nil {
		s.order.MoveToFront(e)
		x := e.Value.(*sight)
		again := x.mark == failed
		if again {
			x.mark = taken
		}
		return again
	}
	s.byID[guid] = s.order.PushFront(&sight{guid, taken})
	for s.order.Len() > s.limit {
		oldest := s.order.Back()
		delete(s.byID, oldest.Value.(*sight).guid)
		s.order.Remove(oldest)
	}
	return true
}

// put says what became of a delivery that was taken.
func (s *seen) put(guid string, m mark) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byID[guid]; e != nil {
		e.Value.(*sight).mark = m
	}
}

// forget makes a delivery new again: there was no room for it.
func (s *seen) forget(guid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byID[guid]; e != nil {
		s.order.Remove(e)
		delete(s.byID, guid)
	}
}

// of is what became of a delivery; 0 when it is not known.
func (s *seen) of(guid string) mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byID[guid]; e != nil {
		return e.Value.(*sight).mark
	}
	return 0
}
