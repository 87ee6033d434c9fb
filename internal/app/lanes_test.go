package app

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/kvick/shopfleet/internal/command"
)

// names are orders as text, for comparing.
func names(orders ...*command.Order) string {
	var list []string
	for _, o := range orders {
		if o == nil {
			list = append(list, "nothing")
			continue
		}
		list = append(list, fmt.Sprintf("%s %s %d", o.Verb, o.Shop, o.Comment))
	}
	return fmt.Sprint(list)
}

func order(verb, shop string, comment int64) *command.Order {
	return &command.Order{Verb: verb, Shop: shop, Comment: comment}
}

func TestLanes(t *testing.T) {
	l := newLanes(2)
	land, plan, back := order("land", "a", 1), order("plan", "a", 2), order(rollback, "a", 3)
	other, third, fleet, backC := order("plan", "b", 4), order("plan", "c", 5), order("rebase", "", 6), order(rollback, "c", 7)
	for _, o := range []*command.Order{land, plan, other, third, fleet} {
		if !l.add(o) {
			t.Fatalf("%s was not taken", names(o))
		}
	}
	if l.add(order("plan", "b", 4)) {
		t.Error("the same comment was taken twice")
	}
	if got, want := names(l.next(), l.next(), l.next()), names(land, other, nil); got != want {
		t.Errorf("%s, want %s: one of a shop, and no more than there are places", got, want)
	}
	l.add(back)
	l.add(backC)
	if got, want := names(l.next(), l.next()), names(backC, nil); got != want {
		t.Errorf("%s, want %s: a rollback needs no place, and waits for its own shop alone", got, want)
	}
	l.finished(land)
	if got, want := names(l.next(), l.next()), names(back, fleet); got != want {
		t.Errorf("%s, want %s: a rollback goes before what came earlier", got, want)
	}
	l.finished(fleet)
	l.finished(fleet) // again is nothing
	l.finished(back)
	if got, want := names(l.next(), l.next()), names(plan, nil); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := names(l.left()...), names(plan, other, third, backC); got != want {
		t.Errorf("left are %s, want %s", got, want)
	}
	l.finished(plan)
	if !l.add(order("plan", "a", 2)) {
		t.Error("what is over may come again")
	}
	for range 2 { // buttons have no comment
		if !l.add(order("deploy", "d", 0)) {
			t.Error("an order by a button was not taken")
		}
	}
}

// TestLanesHold tries random comings and goings: never two of a shop, never more than the places, nothing lost, and a shop
// that is free and has a rollback never waits.
func TestLanesHold(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := newLanes(1 + r.IntN(4))
		var at []*command.Order
		came, went := 0, 0
		for step := range int64(200) {
			if r.IntN(3) > 0 {
				came++
				l.add(order([]string{"plan", "land", rollback}[r.IntN(3)], string(rune('a'+r.IntN(6))), step+1))
			} else if len(at) > 0 {
				i := r.IntN(len(at))
				l.finished(at[i])
				at = slices.Delete(at, i, i+1)
				went++
			}
			for o := l.next(); o != nil; o = l.next() {
				at = append(at, o)
			}
			busy, others := map[string]bool{}, 0
			for _, o := range at {
				if busy[o.Shop] {
					t.Fatalf("seed %d: two orders of shop %s at a time", seed, o.Shop)
				}
				if busy[o.Shop] = true; o.Verb != rollback {
					others++
				}
			}
			if others > l.places {
				t.Fatalf("seed %d: %d at a time in %d places", seed, others, l.places)
			}
			for _, o := range l.left() {
				if !busy[o.Shop] && (o.Verb == rollback || others < l.places) {
					t.Fatalf("seed %d: %s waits and nothing is in its way", seed, names(o))
				}
			}
			if waiting, running := l.counts(); waiting+running+went != came || running != len(at) {
				t.Fatalf("seed %d: %d wait, %d run, %d are over, %d came", seed, waiting, running, went, came)
			}
		}
	}
}
