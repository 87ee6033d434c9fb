package app

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

func TestSeen(t *testing.T) {
	s := newSeen(3)
	if !s.take("a") || s.take("a") {
		t.Error("a delivery is to be taken once")
	}
	s.put("a", done)
	if s.take("a") || s.of("a") != done {
		t.Error("one that is done came through again")
	}
	s.put("a", failed)
	if !s.take("a") || s.of("a") != taken || s.take("a") {
		t.Error("one that failed is to be let through, once")
	}
	s.forget("a")
	if s.of("a") != 0 || !s.take("a") {
		t.Error("there was no room for it: it is new")
	}
	for i := range 3 { // a is mentioned in between, and stays
		s.take(fmt.Sprint("b", i))
		s.take("a")
	}
	if s.of("a") == 0 || s.of("b0") != 0 || s.of("b2") == 0 || len(s.byID) != 3 || s.order.Len() != 3 {
		t.Error("not what was mentioned last is kept")
	}
	s.put("nobody", done)
	s.forget("nobody")
	if s.of("nobody") != 0 {
		t.Error("a delivery that never came is known")
	}
}

func TestSeenSideBySide(t *testing.T) {
	s := newSeen(1000)
	var let atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 500 {
				if s.take(fmt.Sprint(i)) {
					let.Add(1)
				}
			}
		})
	}
	all.Wait()
	if let.Load() != 500 {
		t.Errorf("500 deliveries were taken %d times", let.Load())
	}
}
